//! What an authority signed, signed again by the one that follows it: the same documents, in the same order, by another key.

use std::path::{Path, PathBuf};

use shoal_hal::backend::files::write_whole;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{Document, Nonce, ParticleHeader, SwarmDocument, UtilityDocument, WindowPlan};
use shoal_wire::{Body, Kind, PublicKey, RejectEnvelope, Signer, Unverified, seal};

use super::description::Description;
use super::documents::{envelopes, newest_counter};
use super::roster::Roster;
use crate::output::{Failure, Outcome};

/// Signs every document of the authority of `before`, and the particles that campaigns promote, by this key. Counters go on: who
/// knows a document refuses an older one, whoever signed it.
pub(super) fn reissue(dir: &Path, before: &Description, key: &dyn Signer) -> Outcome {
    let old = before.authority;
    let documents = dir.join("documents");
    let mut counter = newest_counter(dir, old.id())?.max(newest_counter(dir, key.public().id())?);
    let mut told = envelopes(&documents)?;
    for folder in campaigns(dir)? {
        told.extend(envelopes(&folder)?);
    }
    for (path, bytes) in told {
        let again = Again { old, key, counter: counter + 1, until: None };
        let sealed = again.seal(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(sealed) = sealed {
            counter += 1;
            write_whole(&path, &sealed)?;
        }
    }
    let head = std::fs::read(documents.join("roster.shl"))?;
    if Unverified::decode(&head)?.head().key == old.id() {
        Roster::read(dir, before)?.sign_by(dir, key, counter)?;
    }
    Ok(())
}

/// Signs every nonce that the timekeeper of `before` drew by this key, into a folder that is to take the place of theirs: the same draws
/// for the same windows, whichever of the two keys a vehicle believes.
pub(super) fn reissue_nonces(
    dir: &Path,
    next: &Path,
    before: &Description,
    key: &dyn Signer,
) -> Outcome {
    if next.exists() {
        // Of a command that was cut short.
        std::fs::remove_dir_all(next)?;
    }
    std::fs::create_dir(next)?;
    let drawn = dir.join("timekeeper");
    if !drawn.exists() {
        return Ok(());
    }
    let old = before.timekeeper;
    for (path, bytes) in envelopes(&drawn)? {
        let counter = Unverified::decode(&bytes)?.head().counter;
        let sealed = Again { old, key, counter, until: None }.seal(&bytes);
        let sealed = sealed.map_err(|error| format!("{}: {error}", path.display()))?;
        if let (Some(sealed), Some(name)) = (sealed, path.file_name()) {
            write_whole(&next.join(name), &sealed)?;
        }
    }
    Ok(())
}

/// The folders of a fleet's campaigns.
fn campaigns(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let campaigns = dir.join("campaigns");
    if !campaigns.exists() {
        return Ok(Vec::new());
    }
    let folders = std::fs::read_dir(&campaigns)?.map(|entry| Ok(entry?.path()));
    let mut folders = folders.collect::<Result<Vec<_>, std::io::Error>>()?;
    folders.sort();
    Ok(folders)
}

/// One envelope, by another key.
pub(super) struct Again<'k> {
    pub(super) old: PublicKey,
    pub(super) key: &'k dyn Signer,
    pub(super) counter: u64,
    /// `None`: it ends when it did.
    pub(super) until: Option<u64>,
}

impl Again<'_> {
    /// `None`: it is not of the key before, or it is the roster's, whose head names its pages.
    pub(super) fn seal(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let head = *Unverified::decode(bytes)?.head();
        if head.key != self.old.id() {
            return Ok(None);
        }
        match head.kind {
            Kind::WindowPlan => self.body::<WindowPlan>(bytes),
            Kind::UtilityDocument => self.body::<UtilityDocument>(bytes),
            Kind::SwarmDocument => self.body::<SwarmDocument>(bytes),
            Kind::Document => self.body::<Document<'_>>(bytes),
            Kind::ParticleHeader => self.body::<ParticleHeader>(bytes),
            Kind::Roster | Kind::RosterPage => Ok(None),
            Kind::Nonce => self.body::<Nonce>(bytes),
            Kind::Claim | Kind::Vote | Kind::Presence | Kind::Refusal => {
                Err(format!("a {:?} is no document", head.kind).into())
            }
        }
    }

    fn body<'b, T: Body<'b>>(&self, bytes: &'b [u8]) -> Result<Option<Vec<u8>>, Failure> {
        let record: Result<_, RejectEnvelope> = verified::<T>(bytes, &Own(self.old));
        let record = record?;
        let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
        let until = self.until.unwrap_or(record.head().not_after_seconds);
        let sealed = seal(record.body(), self.counter, until, self.key, &mut buffer)?;
        Ok(Some(sealed.bytes().to_vec()))
    }
}
