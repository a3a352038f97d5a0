//! What one member of a fleet trusts: the map and its repositories, opened from a folder, brought up to date by documents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shoal_wire::PublicKey;
use shoal_wire::v1::METADATA_NAME;
use tough::schema::RoleType;

use crate::map::{Map, RejectMap, RejectTarget};
use crate::repository::{Expired, Kept, Metadata, Reject, Repository, Target, Why};

/// The repository whose roots say who signs envelopes.
const IMAGE: &str = "image";
/// The document of newer roots: JSON, the repositories' names and for each its roots from the second on. The authority's.
pub const ROOTS: &str = "tuf/roots";

/// The name of the document with a repository's [`Metadata`]: the timekeeper's.
#[must_use]
pub fn document_name(repository: &str) -> String {
    format!("{METADATA_NAME}{repository}")
}

/// Who signs the envelopes of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// Documents: the first key of the role `targets`.
    pub authority: PublicKey,
    /// Nonces: the first key of the role `timestamp`.
    pub timekeeper: PublicKey,
    /// A campaign's second signature: the first key of the role `root` that is not the authority's.
    pub approver: PublicKey,
}

/// What is trusted.
#[derive(Debug)]
pub struct Trust {
    map: Map,
    repositories: BTreeMap<String, Repository>,
}

/// Why a folder says nothing that could be trusted.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}", path.display())]
    Map { path: PathBuf, source: RejectMap },
    #[error("{}", path.display())]
    Root { path: PathBuf, source: Reject },
    #[error(
        "{}: no root of the repository `image` that says who signs what: an ed25519 key for targets, \
         one for timestamp, and a second one for root",
        path.display()
    )]
    NoKeys { path: PathBuf },
}

impl Trust {
    /// Reads `map.json`, and `NAME.root.json` of each repository that it names.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(folder: &Path) -> Result<Self, TrustError> {
        let read = |name: &str| {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((path, text)),
                Err(source) => Err(TrustError::Read { path, source }),
            }
        };
        let (path, map) = read("map.json")?;
        let map = Map::parse(&map).map_err(|source| TrustError::Map { path, source })?;
        let mut repositories = BTreeMap::new();
        for name in map.repositories() {
            let (path, root) = read(&format!("{name}.root.json"))?;
            let repository = Repository::new(&root);
            let repository = repository.map_err(|source| TrustError::Root { path, source })?;
            repositories.insert(name.to_owned(), repository);
        }
        let trust = Trust { map, repositories };
        match trust.signed_by() {
            Some(_keys) => Ok(trust),
            None => Err(TrustError::NoKeys { path: folder.join(format!("{IMAGE}.root.json")) }),
        }
    }

    /// Who signs envelopes; `None`: the root of `image` names not all of them, or no ed25519 keys.
    #[must_use]
    pub fn signed_by(&self) -> Option<SignedBy> {
        let image = self.repositories.get(IMAGE)?;
        let authority = image.signer()?;
        Some(SignedBy {
            authority,
            timekeeper: image.keys(RoleType::Timestamp).next()?,
            approver: image.keys(RoleType::Root).find(|key| *key != authority)?,
        })
    }

    /// Takes up what [`Trust::kept`] gave. What is of no use is passed over: it comes again.
    pub fn restore(&mut self, kept: &[u8]) {
        let kept: BTreeMap<String, Kept> = serde_json::from_slice(kept).unwrap_or_default();
        for (name, kept) in kept {
            if let Some(repository) = self.repositories.get_mut(&name) {
                repository.restore(kept);
            }
        }
    }

    /// What is to outlive the program, before anything rests on it.
    #[must_use]
    pub fn kept(&self) -> Vec<u8> {
        let kept: BTreeMap<&str, Kept> =
            self.repositories.iter().map(|(name, of)| (name.as_str(), of.keep())).collect();
        // Texts can be written.
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    /// Whether a document of this name is for [`Trust::take`].
    #[must_use]
    pub fn is_for(document: &str) -> bool {
        document.starts_with(METADATA_NAME)
    }

    /// Takes a document with roots or metadata; whether anything is new. `now_s`: UTC in seconds that has surely been reached.
    ///
    /// # Errors
    /// [`Reject`].
    pub fn take(&mut self, document: &str, bytes: &[u8], now_s: u64) -> Result<bool, Reject> {
        if document == ROOTS {
            let roots: BTreeMap<String, Vec<String>> = read(bytes)?;
            // What one repository followed is news, whatever is wrong with another's.
            let mut followed = Ok(false);
            for (name, roots) in &roots {
                let Some(repository) = self.repositories.get_mut(name) else { continue };
                let one = repository.follow(roots);
                if !matches!(followed, Ok(true)) && !matches!(one, Ok(false)) {
                    followed = one;
                }
            }
            return followed;
        }
        let name = document.strip_prefix(METADATA_NAME).unwrap_or(document);
        match self.repositories.get_mut(name) {
            Some(repository) => repository.take(read::<Metadata>(bytes)?, now_s),
            // Of a region that is none of ours.
            None => Ok(false),
        }
    }

    /// Whether these bytes are what a name stands for, by as many repositories as must agree on it: Uptane's full verification.
    ///
    /// # Errors
    /// [`RejectTarget`].
    pub fn check(&self, name: &str, bytes: &[u8]) -> Result<(), RejectTarget> {
        let target = self.map.find(name, |of| self.repositories.get(of))?;
        if *target == Target::of(bytes) {
            Ok(())
        } else {
            Err(RejectTarget::Other { name: name.to_owned() })
        }
    }

    /// The repositories, by name.
    pub fn repositories(&self) -> impl Iterator<Item = (&str, &Repository)> {
        self.repositories.iter().map(|(name, repository)| (name.as_str(), repository))
    }

    /// Whether all metadata are there and none has ended: what is begun now is begun on what is surely not long withheld. `now_s`: UTC in
    /// seconds that has surely been reached.
    #[must_use]
    pub fn is_current(&self, now_s: u64) -> bool {
        self.ends().is_some_and(|ends| !ends.before(now_s))
    }

    /// When the first of the metadata stops to count; `None`: some are missing.
    #[must_use]
    pub fn ends(&self) -> Option<Expired> {
        let ends: Option<Vec<Expired>> = self.repositories.values().map(Repository::ends).collect();
        ends?.into_iter().min_by_key(|ends| ends.at_s)
    }
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Reject> {
    serde_json::from_slice(bytes)
        .map_err(|error| Reject { why: Why::Malformed, what: error.to_string() })
}
