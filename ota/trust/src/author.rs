//! Making metadata: what people and the timekeeper sign.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use serde::Serialize;
use serde_json::Value;
use shoal_wire::{Message, PublicKey, Signer};
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{
    Hashes, Metafile, Role, RoleKeys, RoleType, Root, Signature, Signed, Snapshot, Targets,
    Timestamp,
};

use crate::repository::{Metadata, Target};

/// The version of TUF that is written.
const SPEC: &str = "1.0.0";

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// A role of nobody, or one that asks for more signatures than it has keys.
    #[error("the role {role} has {keys} keys and asks for {threshold} signatures")]
    Threshold {
        /// The role.
        role: RoleType,
        /// Its keys.
        keys: usize,
        /// Signatures it asks for.
        threshold: u64,
    },
    /// Version 0, or a time that no calendar has.
    #[error("no version or time: {0}")]
    Number(u64),
    /// A name that could leave its folder.
    #[error("`{0}` is no name of a target")]
    Name(String),
    /// A device does not sign.
    #[error("no signature: {0}")]
    Sign(String),
    /// No metadata, or such as cannot be written.
    #[error("no metadata of TUF in JSON")]
    Json(#[from] serde_json::Error),
}

/// Who signs what in a repository. A role's first key comes first in its list.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Say who signs what, and how many of them must.
    pub root: (Vec<PublicKey>, u64),
    /// Names what there is.
    pub targets: PublicKey,
    /// Says that what is named belongs together, and that nothing newer is known.
    pub timestamp: PublicKey,
}

/// A root, signed by all these keys: those of the root before it and its own.
///
/// # Errors
/// [`AuthorError`].
pub fn root(
    version: u64,
    ends_s: u64,
    roles: &Roles,
    signers: &[&dyn Signer],
) -> Result<String, AuthorError> {
    let Roles { root: (people, threshold), targets, timestamp } = roles;
    let mut keys = HashMap::new();
    let mut role = |role, named: &[PublicKey], threshold: u64| {
        let mut ids: Vec<Decoded<Hex>> = Vec::new();
        for key in named.iter().map(tuf_key) {
            let id = key.key_id().map_err(|error| AuthorError::Sign(error.to_string()))?;
            ids.push(id.clone());
            keys.insert(id, key);
        }
        let fits = NonZeroU64::new(threshold).filter(|asked| asked.get() <= ids.len() as u64);
        let failed = AuthorError::Threshold { role, keys: ids.len(), threshold };
        let threshold = fits.ok_or(failed)?;
        Ok::<_, AuthorError>((role, RoleKeys { keyids: ids, threshold, _extra: HashMap::new() }))
    };
    let roles = HashMap::from([
        role(RoleType::Root, people, *threshold)?,
        role(RoleType::Targets, &[*targets], 1)?,
        role(RoleType::Snapshot, &[*timestamp], 1)?,
        role(RoleType::Timestamp, &[*timestamp], 1)?,
    ]);
    let root = Root {
        spec_version: SPEC.to_owned(),
        consistent_snapshot: false,
        version: number(version)?,
        expires: time(ends_s)?,
        keys,
        roles,
        _extra: HashMap::new(),
    };
    sign(root, signers)
}

/// What a repository names.
///
/// # Errors
/// [`AuthorError`].
pub fn targets(
    version: u64,
    ends_s: u64,
    named: &BTreeMap<String, Target>,
    signer: &dyn Signer,
) -> Result<String, AuthorError> {
    let mut targets = Targets::new(SPEC.to_owned(), number(version)?, time(ends_s)?);
    targets.delegations = None;
    for (name, Target { length, sha256 }) in named {
        let name = TargetName::new(name).map_err(|_error| AuthorError::Name(name.clone()))?;
        let target = tough::schema::Target {
            length: *length,
            hashes: hashes(sha256),
            custom: HashMap::new(),
            _extra: HashMap::new(),
        };
        targets.add_target(name, target);
    }
    sign(targets, &[signer])
}

/// Snapshot and timestamp of these targets (`targets.json` as it was signed, and its version): version and end of both.
///
/// # Errors
/// [`AuthorError`].
pub fn metadata(
    version: u64,
    ends_s: u64,
    (targets, targets_version): (String, u64),
    signer: &dyn Signer,
) -> Result<Metadata, AuthorError> {
    let mut snapshot = Snapshot::new(SPEC.to_owned(), number(version)?, time(ends_s)?);
    let file = metafile(&targets, number(targets_version)?);
    snapshot.meta.insert("targets.json".to_owned(), file);
    let snapshot = sign(snapshot, &[signer])?;
    let mut timestamp = Timestamp::new(SPEC.to_owned(), number(version)?, time(ends_s)?);
    let file = metafile(&snapshot, number(version)?);
    timestamp.meta.insert("snapshot.json".to_owned(), file);
    Ok(Metadata { timestamp: sign(timestamp, &[signer])?, snapshot, targets })
}

/// Version of `targets.json`, and what it names, without a look at its signature: for who signs what follows from it.
///
/// # Errors
/// [`AuthorError::Json`].
pub fn read_targets(json: &str) -> Result<(u64, BTreeMap<String, Target>), AuthorError> {
    let read: Signed<Targets> = serde_json::from_str(json)?;
    let named = read.signed.targets_iter().filter_map(|(name, target)| {
        let sha256 = target.hashes.sha256.as_ref().try_into().ok()?;
        Some((name.resolved().to_owned(), Target { length: target.length, sha256 }))
    });
    Ok((read.signed.version.get(), named.collect()))
}

/// Whether a `snapshot.json` names this `targets.json`, without a look at signatures.
///
/// # Errors
/// [`AuthorError::Json`].
pub fn names_targets(snapshot: &str, targets: &str) -> Result<bool, AuthorError> {
    let read: Signed<Snapshot> = serde_json::from_str(snapshot)?;
    let named = read.signed.meta.get("targets.json").and_then(|file| file.hashes.as_ref());
    let sha256 = Target::of(targets.as_bytes()).sha256;
    Ok(named.is_some_and(|hashes| hashes.sha256.as_ref() == sha256))
}

/// Version of `snapshot.json`, likewise.
///
/// # Errors
/// [`AuthorError::Json`].
pub fn read_snapshot(json: &str) -> Result<u64, AuthorError> {
    let read: Signed<Snapshot> = serde_json::from_str(json)?;
    Ok(read.signed.version.get())
}

/// Whether a `timestamp.json` names this `snapshot.json`, likewise.
///
/// # Errors
/// [`AuthorError::Json`].
pub fn names_snapshot(timestamp: &str, snapshot: &str) -> Result<bool, AuthorError> {
    let read: Signed<Timestamp> = serde_json::from_str(timestamp)?;
    let named = read.signed.meta.get("snapshot.json").and_then(|file| file.hashes.as_ref());
    let sha256 = Target::of(snapshot.as_bytes()).sha256;
    Ok(named.is_some_and(|hashes| hashes.sha256.as_ref() == sha256))
}

/// Version and end (UTC in seconds since 1970) of `timestamp.json`, likewise.
///
/// # Errors
/// [`AuthorError::Json`].
pub fn read_timestamp(json: &str) -> Result<(u64, i64), AuthorError> {
    let read: Signed<Timestamp> = serde_json::from_str(json)?;
    Ok((read.signed.version.get(), read.signed.expires.as_second()))
}

/// Whether metadata bear the name of this key among their signatures, likewise.
///
/// # Errors
/// [`AuthorError`].
pub fn is_by(json: &str, key: &PublicKey) -> Result<bool, AuthorError> {
    let read: Signed<Value> = serde_json::from_str(json)?;
    let id = tuf_key(key).key_id().map_err(|error| AuthorError::Sign(error.to_string()))?;
    Ok(read.signatures.iter().any(|signature| signature.keyid == id))
}

/// Signs, and writes in one form: the same metadata are the same bytes.
fn sign<T: Role + Serialize>(role: T, signers: &[&dyn Signer]) -> Result<String, AuthorError> {
    let failed = |error: tough::schema::Error| AuthorError::Sign(error.to_string());
    let canonical = role.canonical_form().map_err(failed)?;
    let no_metadata = || AuthorError::Sign("no metadata".to_owned());
    let message = Message::metadata(&canonical).ok_or_else(no_metadata)?;
    let mut signatures = Vec::new();
    let signed = |signer: &dyn Signer| {
        signer.sign(message).map_err(|error| AuthorError::Sign(error.to_string()))
    };
    for signer in signers {
        let keyid = tuf_key(&signer.public()).key_id().map_err(failed)?;
        signatures.push(Signature { keyid, sig: signed(*signer)?.to_vec().into() });
    }
    // A `Value` has its keys in order.
    let written: Value = serde_json::to_value(Signed { signed: role, signatures })?;
    Ok(written.to_string())
}

fn tuf_key(key: &PublicKey) -> Key {
    let public = key.bytes().to_vec().into();
    Key::Ed25519 {
        keyval: Ed25519Key { public, _extra: HashMap::new() },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

fn metafile(text: &str, version: NonZeroU64) -> Metafile {
    let Target { length, sha256 } = Target::of(text.as_bytes());
    Metafile {
        length: Some(length),
        hashes: Some(hashes(&sha256)),
        version,
        _extra: HashMap::new(),
    }
}

fn hashes(sha256: &[u8; 32]) -> Hashes {
    Hashes { sha256: sha256.to_vec().into(), _extra: HashMap::new() }
}

fn number(value: u64) -> Result<NonZeroU64, AuthorError> {
    NonZeroU64::new(value).ok_or(AuthorError::Number(value))
}

fn time(seconds: u64) -> Result<jiff::Timestamp, AuthorError> {
    let failed = || AuthorError::Number(seconds);
    let seconds = i64::try_from(seconds).map_err(|_error| failed())?;
    jiff::Timestamp::from_second(seconds).map_err(|_error| failed())
}
