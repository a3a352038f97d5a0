//! Particles in the vault: what this vehicle coded, what it fetched, and what is on its way.

use std::collections::{BTreeMap, BTreeSet};

use embassy_time::{Duration, Instant};
use shoal_link::{Broker, Event, Fetch, Fetched, RejectFetched, Store, StoreFailed};
use shoal_swarm::swarm::Flat;
use shoal_window::{Pace, SavedTransfer, TRANSFER_HEADER_KEY, TRANSFER_PROGRESS_KEY, Transfer};
use shoal_wire::v1::{ParticleHeader, RefusalCode};
use shoal_wire::{ChunkHash, KeyId, Keys, Now, ParticleId, RecordId, RejectTopic};
use tracing::{debug, warn};

use super::key::verified;
use super::line::Board;
use super::vault::{Vault, VaultError};
use super::weights::decode;

/// Less than this a period, and an attempt to fetch a particle ends.
const PACE: Pace = Pace { bytes_min: 1024, period: Duration::from_secs(10) };
/// Attempts in a row before a publisher is given up.
const ATTEMPTS_MAX: u8 = 3;

/// A particle that is wanted, of whom, and whether others have it, too: then one attempt is enough.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its name.
    pub particle: ParticleId,
    /// Who published it.
    pub publisher: KeyId,
    /// Where.
    pub slot: u8,
    /// Whether one attempt is enough.
    pub once: bool,
}

/// Headers that are known and particles on their way.
#[derive(Debug)]
pub struct Particles {
    /// Of an adapter of this vehicle's model: no more are ever decoded.
    values: usize,
    headers: BTreeMap<ParticleId, Known>,
    coming: BTreeMap<ParticleId, Coming>,
}

#[derive(Debug)]
struct Coming {
    fetch: Fetch,
    publisher: KeyId,
    slot: u8,
    attempts: u8,
    attempts_max: u8,
    /// The broker did not answer in some attempt: no byte was left to ask with, or the line is dead.
    unanswered: bool,
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// Its values: what its chunks hold.
    Values(ParticleId, Flat),
    /// It is not to be had from its publisher, who was asked.
    Missing(ParticleId),
    /// It is not to be had, and that says nothing of its publisher.
    Unreached(ParticleId),
    /// It is no adapter of this model: its header, and why.
    Refused(ParticleId, RecordId, RefusalCode),
}

/// A header whose signature held when it came, who signed it, and the chunks that it names.
#[derive(Debug)]
struct Known {
    signer: KeyId,
    envelope: Vec<u8>,
    chunks: Vec<[u8; 32]>,
}

/// The store of transfers: chunks by their hash, records by the particle.
struct InVault<'a>(&'a mut Vault);

impl Store for InVault<'_> {
    type Error = VaultError;

    fn keep_chunk(
        &mut self,
        _particle: ParticleId,
        _index: u8,
        _hash: ChunkHash,
        bytes: &[u8],
    ) -> Result<(), VaultError> {
        self.0.keep_blob(bytes).map(|_hash| ())
    }

    fn keep_record(
        &mut self,
        particle: ParticleId,
        key: &'static str,
        bytes: &[u8],
    ) -> Result<(), VaultError> {
        self.0.put(&transfer_key(particle, key), bytes)
    }
}

/// What is known of transfers: `transfer/<particle>/<key>`.
pub(super) const TRANSFER: &str = "transfer/";

fn transfer_key(particle: ParticleId, key: &str) -> String {
    format!("{TRANSFER}{particle}/{key}")
}

impl Particles {
    /// No particle yet, of adapters of so many values.
    pub const fn new(values: usize) -> Self {
        Particles { values, headers: BTreeMap::new(), coming: BTreeMap::new() }
    }

    /// Knows the header of a particle, and who signed it; of two publishers' the first one will do.
    pub fn know(&mut self, signer: KeyId, header: &ParticleHeader, envelope: &[u8]) {
        let chunks = || header.fields().chunks.iter().map(|chunk| *chunk.hash.bytes()).collect();
        let known = || Known { signer, envelope: envelope.to_vec(), chunks: chunks() };
        self.headers.entry(header.id()).or_insert_with(known);
    }

    /// Forgets what is known of a particle by another's word than this publisher's, so that it is fetched from there: not everybody believes the
    /// same ones. Whether there was anything to forget.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn forget_but_of(
        &mut self,
        publisher: KeyId,
        particle: ParticleId,
        vault: &mut Vault,
    ) -> Result<bool, VaultError> {
        if self.headers.get(&particle).is_none_or(|known| known.signer == publisher) {
            return Ok(false);
        }
        self.headers.remove(&particle);
        for key in [TRANSFER_HEADER_KEY, TRANSFER_PROGRESS_KEY] {
            vault.remove(&transfer_key(particle, key))?;
        }
        Ok(true)
    }

    /// The header's envelope.
    pub fn header(&self, particle: ParticleId) -> Option<&[u8]> {
        self.headers.get(&particle).map(|known| known.envelope.as_slice())
    }

    /// How many particles are on their way.
    pub fn coming(&self) -> usize {
        self.coming.len()
    }

    /// Reads a particle out of the vault, or begins to fetch it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn fetch(
        &mut self,
        now: Now,
        want: Wanted,
        board: &Board,
        keys: &impl Keys,
        vault: &mut Vault,
        link: Option<&mut dyn Broker>,
    ) -> Result<Option<Got>, VaultError> {
        let Wanted { particle, publisher, slot, once } = want;
        if let Some(got) = self.read(particle, keys, vault)? {
            return Ok(Some(got));
        }
        let Some(link) = link else { return Ok(Some(Got::Unreached(particle))) };
        if self.coming.contains_key(&particle) {
            return Ok(None);
        }
        let transfer = self.transfer(particle, keys, vault)?;
        let Ok(fetch) = fetch(transfer, board, publisher, slot) else {
            return Ok(Some(Got::Missing(particle)));
        };
        let attempts_max = if once { 1 } else { ATTEMPTS_MAX };
        let coming =
            Coming { fetch, publisher, slot, attempts: 0, attempts_max, unanswered: false };
        let coming = self.coming.entry(particle).or_insert(coming);
        let fetched = coming.fetch.start(now, link, &mut InVault(vault));
        let fetched = fetched.map_err(|StoreFailed(error)| error)?;
        self.ended(now, particle, fetched, keys, vault, link)
    }

    /// Takes an event of the broker, to each that is on its way.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn event(
        &mut self,
        now: Now,
        event: &Event,
        keys: &impl Keys,
        vault: &mut Vault,
        link: &mut dyn Broker,
        rejected: &mut impl FnMut(RejectFetched),
    ) -> Result<Vec<Got>, VaultError> {
        let mut all = Vec::new();
        let names: Vec<ParticleId> = self.coming.keys().copied().collect();
        for particle in names {
            let Some(coming) = self.coming.get_mut(&particle) else { continue };
            let fetched = coming.fetch.handle_event(now, event, keys, link, &mut InVault(vault));
            let fetched = fetched.map_err(|StoreFailed(error)| error)?;
            if let Some(reject) = coming.fetch.poll_rejected() {
                rejected(reject);
            }
            all.extend(self.ended(now, particle, fetched, keys, vault, link)?);
        }
        Ok(all)
    }

    /// Takes that time has passed.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn timeout(
        &mut self,
        now: Now,
        keys: &impl Keys,
        vault: &mut Vault,
        link: &mut dyn Broker,
    ) -> Result<Vec<Got>, VaultError> {
        let mut all = Vec::new();
        let due =
            |coming: &Coming| coming.fetch.poll_timeout().is_some_and(|at| at <= now.since_boot);
        let names: Vec<ParticleId> =
            self.coming.iter().filter(|(_, coming)| due(coming)).map(|(name, _)| *name).collect();
        for particle in names {
            let Some(coming) = self.coming.get_mut(&particle) else { continue };
            let fetched = coming.fetch.handle_timeout(now, link, &mut InVault(vault));
            let fetched = fetched.map_err(|StoreFailed(error)| error)?;
            all.extend(self.ended(now, particle, fetched, keys, vault, link)?);
        }
        Ok(all)
    }

    /// When to call [`Particles::timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.coming.values().filter_map(|coming| coming.fetch.poll_timeout()).min()
    }

    /// The window is over: what is on its way goes on in the next one, if it is still wanted.
    pub fn stop(&mut self, link: Option<&mut dyn Broker>) {
        let coming = std::mem::take(&mut self.coming);
        if let Some(link) = link {
            coming.into_values().for_each(|coming| coming.fetch.stop(link));
        }
    }

    /// Knows the header of a particle that was on its way, if its transfer has it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn know_begun(
        &mut self,
        particle: ParticleId,
        keys: &impl Keys,
        vault: &Vault,
    ) -> Result<(), VaultError> {
        if let Some(envelope) = vault.get(&transfer_key(particle, TRANSFER_HEADER_KEY))?
            && let Ok(header) = verified::<ParticleHeader>(&envelope, keys)
        {
            self.know(header.head().key, header.body(), &envelope);
        }
        Ok(())
    }

    /// Forgets headers but these, and names the chunks that these have.
    pub fn retain(&mut self, keep: &BTreeSet<ParticleId>) -> BTreeSet<[u8; 32]> {
        self.headers.retain(|particle, _known| keep.contains(particle));
        self.headers.values().flat_map(|known| &known.chunks).copied().collect()
    }

    /// The chunks that the header of a particle names.
    pub fn chunks(&self, particle: ParticleId) -> &[[u8; 32]] {
        self.headers.get(&particle).map_or(&[], |known| &known.chunks)
    }

    /// The values of a particle that is whole in the vault.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn read(
        &self,
        particle: ParticleId,
        keys: &impl Keys,
        vault: &mut Vault,
    ) -> Result<Option<Got>, VaultError> {
        let Some(header) =
            self.header(particle).and_then(|bytes| verified::<ParticleHeader>(bytes, keys).ok())
        else {
            return Ok(None);
        };
        let fields = header.body().fields();
        let mut chunks = Vec::with_capacity(fields.chunks.len());
        for chunk in &fields.chunks {
            match vault.blob(chunk.hash.bytes())? {
                Some(bytes) => chunks.push(bytes),
                None => return Ok(None),
            }
        }
        Ok(Some(match decode(header.body(), &chunks, self.values) {
            Ok(values) => Got::Values(particle, values.into()),
            Err(error) => {
                debug!(%particle, %error, "particle refused");
                Got::Refused(particle, header.id(), RefusalCode::ChunkMalformed)
            }
        }))
    }

    fn transfer(
        &self,
        particle: ParticleId,
        keys: &impl Keys,
        vault: &Vault,
    ) -> Result<Transfer, VaultError> {
        let header = vault.get(&transfer_key(particle, TRANSFER_HEADER_KEY))?;
        let progress = vault.get(&transfer_key(particle, TRANSFER_PROGRESS_KEY))?;
        if header.is_some() {
            match SavedTransfer::decode(particle, header.as_deref(), progress.as_deref(), keys) {
                Ok(saved) => return Ok(Transfer::resume(saved, PACE)),
                Err(error) => warn!(%particle, %error, "a transfer begins anew"),
            }
        }
        let known =
            self.header(particle).and_then(|bytes| verified::<ParticleHeader>(bytes, keys).ok());
        Ok(match known {
            Some(header) => Transfer::with_header(&header, PACE),
            None => Transfer::new(particle, PACE),
        })
    }

    /// What is to be done when a fetch has gone so far.
    fn ended(
        &mut self,
        now: Now,
        particle: ParticleId,
        fetched: Fetched,
        keys: &impl Keys,
        vault: &mut Vault,
        link: &mut dyn Broker,
    ) -> Result<Option<Got>, VaultError> {
        match fetched {
            Fetched::Going => Ok(None),
            Fetched::Ended(why) => {
                let Some(coming) = self.coming.get_mut(&particle) else { return Ok(None) };
                coming.attempts = coming.attempts.saturating_add(1);
                coming.unanswered |= !coming.fetch.is_answered();
                debug!(%particle, ?why, "an attempt has ended");
                if coming.attempts >= coming.attempts_max {
                    coming.unanswered |= coming.fetch.is_busy(now.since_boot);
                    return Ok(self.give_up(particle, link));
                }
                let fetched = coming.fetch.start(now, link, &mut InVault(vault));
                match fetched.map_err(|StoreFailed(error)| error)? {
                    Fetched::Going => Ok(None),
                    Fetched::Complete => self.complete(particle, keys, vault),
                    Fetched::Ended(_) | Fetched::Gone => Ok(self.give_up(particle, link)),
                }
            }
            Fetched::Complete => self.complete(particle, keys, vault),
            Fetched::Gone => Ok(self.give_up(particle, link)),
        }
    }

    fn give_up(&mut self, particle: ParticleId, link: &mut dyn Broker) -> Option<Got> {
        let coming = self.coming.remove(&particle)?;
        let Coming { publisher, slot, unanswered, .. } = coming;
        debug!(%particle, %publisher, slot, unanswered, "not to be had");
        coming.fetch.stop(link);
        Some(if coming.unanswered { Got::Unreached(particle) } else { Got::Missing(particle) })
    }

    fn complete(
        &mut self,
        particle: ParticleId,
        keys: &impl Keys,
        vault: &mut Vault,
    ) -> Result<Option<Got>, VaultError> {
        self.coming.remove(&particle);
        // A transfer that began without its header has it now.
        self.know_begun(particle, keys, vault)?;
        let got = self.read(particle, keys, vault)?;
        vault.remove(&transfer_key(particle, TRANSFER_HEADER_KEY))?;
        vault.remove(&transfer_key(particle, TRANSFER_PROGRESS_KEY))?;
        // A blob that was damaged between being kept and being read.
        Ok(Some(got.unwrap_or(Got::Unreached(particle))))
    }
}

fn fetch(
    transfer: Transfer,
    board: &Board,
    publisher: KeyId,
    slot: u8,
) -> Result<Fetch, RejectTopic> {
    let (fleet, region) = board.of_publisher(publisher)?;
    Fetch::new(transfer, fleet, region, publisher, slot)
}
