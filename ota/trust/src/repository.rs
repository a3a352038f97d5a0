//! One repository, as a client sees it: the root it trusts, the metadata it has verified, and what these name.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shoal_wire::PublicKey;
use tough::schema::key::Key;
use tough::schema::{Role, RoleType, Root, Signed};
use tough::{
    Bytes, ExpirationEnforcement, Limits, RepositoryLoader, Transport, TransportError,
    TransportErrorKind, TransportStream, async_trait,
};
use url::Url;

/// No file of metadata is longer, in bytes: what a document of the wire carries.
const FILE_BYTES_MAX: u64 = 60_000;

/// The files of a repository that change together, as they were signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// `timestamp.json`.
    pub timestamp: String,
    /// `snapshot.json`.
    pub snapshot: String,
    /// `targets.json`.
    pub targets: String,
}

/// What a file must be, to be the one that a repository names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bytes.
    pub length: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

impl Target {
    /// What these bytes are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Target { length: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
    }
}

/// Metadata was rejected; what was trusted before is trusted still.
#[derive(Debug, thiserror::Error)]
#[error("{why}: {what}")]
pub struct Reject {
    /// In one word.
    pub why: Why,
    /// In many, as the one who looked puts it.
    pub what: String,
}

/// Why metadata was rejected: the attack that it would be, were it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not signed by as many keys of its role as the root asks for: arbitrary software.
    #[error("signature")]
    Signature,
    /// Older than what is trusted already.
    #[error("rollback")]
    Rollback,
    /// Past its time: whoever holds back what is newer freezes the fleet.
    #[error("expired")]
    Expired,
    /// Not the file that the one before it names: mix and match.
    #[error("changed")]
    Changed,
    /// Longer than it may be: endless data.
    #[error("too long")]
    TooLong,
    /// A file is not there: a partial bundle.
    #[error("missing")]
    Missing,
    /// No metadata at all.
    #[error("malformed")]
    Malformed,
    /// The scratch folder cannot be used.
    #[error("scratch folder")]
    Scratch,
}

/// Until when a repository's metadata counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The role whose time is over first.
    pub role: RoleType,
    /// Its end, UTC in seconds since 1970.
    pub at_s: i64,
}

/// One repository.
#[derive(Debug)]
pub struct Repository {
    /// The newest root that is trusted, as it was signed.
    root: String,
    parsed: Signed<Root>,
    view: Option<View>,
    /// Metadata that were trusted and could not be read again: there was no room for it.
    unread: Option<Metadata>,
}

/// What verified metadata says.
#[derive(Debug)]
struct View {
    metadata: Metadata,
    version: u64,
    targets: BTreeMap<String, Target>,
    ends: Expired,
}

/// What a client keeps of a repository, to go on from after a start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    root: String,
    metadata: Option<Metadata>,
}

impl Repository {
    /// A repository of which only this root is known, which came with the vehicle.
    ///
    /// # Errors
    /// [`Why::Malformed`] or [`Why::Signature`]: it is no root, or is not signed by its own keys.
    pub fn new(root: &str) -> Result<Self, Reject> {
        Ok(Repository { root: root.to_owned(), parsed: parse(root)?, view: None, unread: None })
    }

    /// Takes up what was kept: its root, unless the one that came with the vehicle is newer, and the metadata if they are of it.
    pub(crate) fn restore(&mut self, kept: Kept) {
        if let Ok(parsed) = parse(&kept.root)
            && parsed.signed.version > self.parsed.signed.version
        {
            (self.root, self.parsed) = (kept.root, parsed);
        }
        self.unread = kept.metadata;
        // Where it cannot be read now, it is before anything newer is taken.
        let _later = self.read_kept();
    }

    /// Reads what was kept. What expired meanwhile is still what was trusted: nothing older may follow.
    fn read_kept(&mut self) -> Result<(), Reject> {
        let Some(metadata) = self.unread.take() else { return Ok(()) };
        match self.load(metadata.clone()) {
            Ok(view) => self.view = Some(view),
            Err(reject) if reject.why == Why::Scratch => {
                self.unread = Some(metadata);
                return Err(reject);
            }
            // Of keys that count no more.
            Err(_reject) => {}
        }
        Ok(())
    }

    pub(crate) fn keep(&self) -> Kept {
        let view = self.view.as_ref().map(|view| &view.metadata);
        Kept { root: self.root.clone(), metadata: view.or(self.unread.as_ref()).cloned() }
    }

    /// Follows newer roots, oldest first; whether there was one. Each is signed by the keys of the one before and by its own. What
    /// is of a key that the last one no longer names counts no more.
    ///
    /// # Errors
    /// [`Reject`]: the first that is newer does not follow. If a later one does not, those before it are trusted, and that is news.
    pub fn follow(&mut self, roots: &[String]) -> Result<bool, Reject> {
        let newest = self.parsed.signed.version;
        let followed = roots.iter().try_for_each(|root| self.follow_one(root));
        let advanced = self.parsed.signed.version > newest;
        if advanced {
            let view = self.view.take().map(|view| view.metadata);
            self.unread = view.or(self.unread.take());
            // As when it was kept.
            let _later = self.read_kept();
        }
        if advanced { Ok(true) } else { followed.map(|()| false) }
    }

    fn follow_one(&mut self, root: &str) -> Result<(), Reject> {
        let next = parse(root)?;
        let (trusted, version) = (self.parsed.signed.version.get(), next.signed.version.get());
        if version <= trusted {
            return Ok(());
        }
        if version.checked_sub(trusted) != Some(1) {
            let what = format!("root {version}, but {trusted} is the newest that is trusted");
            return Err(Reject { why: Why::Missing, what });
        }
        self.parsed.signed.verify_role(&next).map_err(signature)?;
        (self.root, self.parsed) = (root.to_owned(), next);
        Ok(())
    }

    /// Takes metadata; whether they are others than before. `now_s`: UTC in seconds that has surely been reached.
    ///
    /// # Errors
    /// [`Reject`].
    pub fn take(&mut self, metadata: Metadata, now_s: u64) -> Result<bool, Reject> {
        self.read_kept()?;
        if self.view.as_ref().is_some_and(|view| view.metadata == metadata) {
            return Ok(false);
        }
        let view = self.load(metadata)?;
        if view.ends.before(now_s) {
            let Expired { role, at_s } = view.ends;
            let what = format!("{role} ended at {at_s}, it is {now_s} at least");
            return Err(Reject { why: Why::Expired, what });
        }
        self.view = Some(view);
        Ok(true)
    }

    /// What a name stands for; `None`: the repository names no such thing, or nothing yet.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.view.as_ref()?.targets.get(name)
    }

    /// Every name, with what it stands for.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        let targets = self.view.iter().flat_map(|view| &view.targets);
        targets.map(|(name, target)| (name.as_str(), target))
    }

    /// Version of the root that is trusted, and of the timestamp.
    #[must_use]
    pub fn versions(&self) -> (u64, Option<u64>) {
        (self.parsed.signed.version.get(), self.view.as_ref().map(|view| view.version))
    }

    /// Until when its metadata counts; `None`: there is none.
    #[must_use]
    pub fn ends(&self) -> Option<Expired> {
        self.view.as_ref().map(|view| view.ends)
    }

    /// The keys of a role that can sign envelopes, too, in the order of the root's list.
    pub fn keys(&self, role: RoleType) -> impl Iterator<Item = PublicKey> + '_ {
        self.parsed.signed.keys(role).filter_map(|key| match key {
            Key::Ed25519 { keyval, .. } => {
                let bytes: &[u8; 32] = keyval.public.as_ref().try_into().ok()?;
                PublicKey::decode(bytes).ok()
            }
            Key::Rsa { .. } | Key::Ecdsa { .. } | Key::EcdsaOld { .. } => None,
        })
    }

    /// The key of the role that names what there is.
    #[must_use]
    pub fn signer(&self) -> Option<PublicKey> {
        self.keys(RoleType::Targets).next()
    }

    /// Verifies metadata against the trusted root, and as newer than what was trusted.
    fn load(&self, metadata: Metadata) -> Result<View, Reject> {
        let scratch = |error: std::io::Error| Reject { why: Why::Scratch, what: error.to_string() };
        // `tough` compares with files. What must outlive a power cut, the caller keeps.
        let store = tempfile::tempdir().map_err(scratch)?;
        if let Some(trusted) = &self.view {
            for (name, text) in trusted.metadata.files() {
                std::fs::write(store.path().join(name), text).map_err(scratch)?;
            }
        }
        let files = metadata.files().map(|(name, text)| (name, Bytes::from(text.clone())));
        let loader = RepositoryLoader::new(&self.root, base()?, base()?)
            .transport(Held(files.into()))
            .limits(LIMITS)
            // Time is told, not looked at: `take` compares.
            .expiration_enforcement(ExpirationEnforcement::Unsafe)
            .datastore(store.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(scratch)?;
        let loaded = runtime.block_on(loader.load()).map_err(|error| rejected(&error))?;
        let root = &loaded.root().signed;
        let ends = [
            ends(root),
            ends(&loaded.timestamp().signed),
            ends(&loaded.snapshot().signed),
            ends(&loaded.targets().signed),
        ];
        let target = |(name, target): (&tough::TargetName, &tough::schema::Target)| {
            let sha256 = target.hashes.sha256.as_ref().try_into().ok()?;
            Some((name.resolved().to_owned(), Target { length: target.length, sha256 }))
        };
        Ok(View {
            version: loaded.timestamp().signed.version.get(),
            targets: loaded.all_targets().filter_map(target).collect(),
            ends: ends.into_iter().min_by_key(|ends| ends.at_s).unwrap_or(ends[0]),
            metadata,
        })
    }
}

impl Metadata {
    fn files(&self) -> [(&'static str, &String); 3] {
        let Metadata { timestamp, snapshot, targets } = self;
        [("timestamp.json", timestamp), ("snapshot.json", snapshot), ("targets.json", targets)]
    }
}

impl Expired {
    /// Whether it is over.
    #[must_use]
    pub fn before(&self, now_s: u64) -> bool {
        i64::try_from(now_s).unwrap_or(i64::MAX) > self.at_s
    }
}

fn ends<T: Role>(role: &T) -> Expired {
    Expired { role: T::TYPE, at_s: role.expires().as_second() }
}

/// Where `tough` looks for files: names below nothing.
fn base() -> Result<Url, Reject> {
    Url::parse("held:///").map_err(|error| Reject { why: Why::Scratch, what: error.to_string() })
}

/// A root that is signed by its own keys.
fn parse(root: &str) -> Result<Signed<Root>, Reject> {
    let parsed: Signed<Root> = serde_json::from_str(root)
        .map_err(|error| Reject { why: Why::Malformed, what: format!("root: {error}") })?;
    parsed.signed.verify_role(&parsed).map_err(signature)?;
    Ok(parsed)
}

fn signature(error: tough::schema::Error) -> Reject {
    Reject { why: Why::Signature, what: error.to_string() }
}

/// Files that are held in memory.
#[derive(Clone, Debug)]
struct Held(HashMap<&'static str, Bytes>);

#[async_trait]
impl Transport for Held {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        match self.0.get(url.path().trim_start_matches('/')) {
            Some(bytes) if !bytes.is_empty() => Ok(Box::pin(tokio_stream::once(Ok(bytes.clone())))),
            Some(_) | None => {
                Err(TransportError::new(TransportErrorKind::FileNotFound, url.as_str()))
            }
        }
    }
}

/// What `tough` says, in one word and in its own.
fn rejected(error: &tough::error::Error) -> Reject {
    use tough::error::Error;
    let mut what = Vec::new();
    let mut why = Why::Malformed;
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(said) = cause {
        what.push(said.to_string());
        if let Some(missing) = said.downcast_ref::<TransportError>()
            && missing.kind() == TransportErrorKind::FileNotFound
        {
            why = Why::Missing;
        }
        why = match said.downcast_ref::<Error>() {
            Some(Error::VerifyMetadata { .. } | Error::VerifyTrustedMetadata { .. }) => {
                Why::Signature
            }
            Some(Error::OlderMetadata { .. } | Error::OlderSnapshotInTimestamp { .. }) => {
                Why::Rollback
            }
            Some(Error::HashMismatch { .. } | Error::VersionMismatch { .. }) => Why::Changed,
            Some(Error::MaxSizeExceeded { .. }) => Why::TooLong,
            Some(_) | None => why,
        };
        cause = said.source();
    }
    Reject { why, what: what.join(": ") }
}

const LIMITS: Limits = Limits {
    max_root_size: FILE_BYTES_MAX,
    max_targets_size: FILE_BYTES_MAX,
    max_timestamp_size: FILE_BYTES_MAX,
    max_snapshot_size: FILE_BYTES_MAX,
    // Roots are followed by `Repository::follow`.
    max_root_updates: 1,
};
