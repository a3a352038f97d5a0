//! Names: 32-byte hashes, one type for each thing that is named, so that none stands in for another.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! hash {
    ($(#[doc = $doc:literal] $name:ident;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The name whose bytes these are: any 32 bytes can be a hash.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        /// Lower-case hexadecimal, 64 digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hexadecimal(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

hash! {
    #[doc = "SHA-256 of a base model's ONNX bytes."] ModelHash;
    #[doc = "Hash of an adapter's layout: sites, shapes, order and scale of its flat run of f32."] LayoutHash;
    #[doc = "SHA-256 of the manifest of an evaluation pack."] PackHash;
    #[doc = "A particle: SHA-256 of its header's body, so that who publishes it does not matter."] ParticleId;
    #[doc = "A record: SHA-256 of its envelope, as received."] RecordId;
    #[doc = "SHA-256 of a chunk's bytes."] ChunkHash;
}

pub(crate) fn hexadecimal(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
