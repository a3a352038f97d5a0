//! A document: bytes that the authority signed, by name. The manifest of a pack travels so.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::canonical::{U32_WIRE_BYTES_MAX, body};
use crate::envelope::ENVELOPE_OVERHEAD_BYTES;
use crate::v1::check::is_shown;

/// The longest envelope of a document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// The longest name of a document, in bytes.
pub const DOCUMENT_NAME_BYTES_MAX: usize = 64;
/// Names of documents that carry metadata of The Update Framework begin so.
pub const METADATA_NAME: &str = "tuf/";
/// The first slot of such documents.
pub const METADATA_SLOT: u8 = 16;
/// The most bytes a document carries.
pub const DOCUMENT_CONTENT_BYTES_MAX: usize = 60_000;

const WIRE_BYTES_MAX: usize = (1 + DOCUMENT_NAME_BYTES_MAX)
    + U32_WIRE_BYTES_MAX
    + (U32_WIRE_BYTES_MAX + DOCUMENT_CONTENT_BYTES_MAX);
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + WIRE_BYTES_MAX <= DOCUMENT_BYTES_MAX);

/// The fields of a document, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentFields<'a> {
    /// What it is, as shown to people: 1 to [`DOCUMENT_NAME_BYTES_MAX`] bytes, no control characters.
    #[serde(deserialize_with = "name")]
    pub name: &'a str,
    /// Grows with every document of this name.
    pub version: u32,
    /// At most [`DOCUMENT_CONTENT_BYTES_MAX`].
    pub bytes: &'a [u8],
}

/// A document within its bounds, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a>(DocumentFields<'a>);

/// Which bound of a document is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectDocument {
    #[error("the name is empty, or is not shown as it is")]
    Name,
    #[error("a name of {bytes} bytes, at most {DOCUMENT_NAME_BYTES_MAX} allowed")]
    NameLength { bytes: usize },
    #[error("{bytes} bytes, at most {DOCUMENT_CONTENT_BYTES_MAX} allowed")]
    TooLong { bytes: usize },
}

impl<'a> Document<'a> {
    /// A document with these fields.
    ///
    /// # Errors
    /// [`RejectDocument`] names the first bound that is broken.
    pub fn new(fields: DocumentFields<'a>) -> Result<Self, RejectDocument> {
        let DocumentFields { name, bytes, .. } = fields;
        if name.len() > DOCUMENT_NAME_BYTES_MAX {
            return Err(RejectDocument::NameLength { bytes: name.len() });
        }
        if !is_shown(name) {
            return Err(RejectDocument::Name);
        }
        if bytes.len() > DOCUMENT_CONTENT_BYTES_MAX {
            return Err(RejectDocument::TooLong { bytes: bytes.len() });
        }
        Ok(Self(fields))
    }
}

/// A text longer than its bound does not decode, here as in every body.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    let name = <&str>::deserialize(deserializer)?;
    let short = name.len() <= DOCUMENT_NAME_BYTES_MAX;
    if short { Ok(name) } else { Err(Error::invalid_length(name.len(), &"a name")) }
}

body!(Document<'a>, DocumentFields, 1);
