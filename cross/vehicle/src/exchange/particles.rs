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
    board: Board,
    /// Of an adapter of this vehicle's model: no more are ever decoded.
    values: usize,
    headers: BTreeMap<ParticleId, Known>,
    coming: BTreeMap<ParticleId, Coming>,
}

#[derive(Debug)]
struct Coming {
    fetch: Fetch,
    of: Wanted,
    /// Of whom else it is wanted: who asked for that one is told nothing of this one.
    next: Option<Wanted>,
    attempts: u8,
    /// The broker did not answer in some attempt: no byte was left to ask with, or the line is dead.
    unanswered: bool,
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// Its values: what its chunks hold.
    Values(ParticleId, Flat),
    /// It is not to be had from any publisher that it was wanted of: each was asked.
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
    /// No particle yet, of what stands on this board, and adapters of so many values.
    pub const fn new(board: Board, values: usize) -> Self {
        Particles { board, values, headers: BTreeMap::new(), coming: BTreeMap::new() }
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

    /// Reads a particle out of the vault, or begins to fetch it; of another publisher once the one that was asked does not have it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn fetch(
        &mut self,
        now: Now,
        want: Wanted,
        keys: &impl Keys,
        vault: &mut Vault,
        link: Option<&mut dyn Broker>,
    ) -> Result<Option<Got>, VaultError> {
        let particle = want.particle;
        if let Some(got) = self.read(particle, keys, vault)? {
            return Ok(Some(got));
        }
        let Some(link) = link else { return Ok(Some(Got::Unreached(particle))) };
        if let Some(coming) = self.coming.get_mut(&particle) {
            let same = (coming.of.publisher, coming.of.slot) == (want.publisher, want.slot);
            coming.next = if same { coming.next } else { Some(want) };
            return Ok(None);
        }
        self.begin(now, want, false, keys, vault, link)
    }

    /// Asks a publisher. `unanswered`: the broker did not answer when another one was.
    fn begin(
        &mut self,
        now: Now,
        of: Wanted,
        unanswered: bool,
        keys: &impl Keys,
        vault: &mut Vault,
        link: &mut dyn Broker,
    ) -> Result<Option<Got>, VaultError> {
        let particle = of.particle;
        let transfer = self.transfer(particle, keys, vault)?;
        let Ok(fetch) = fetch(transfer, &self.board, of.publisher, of.slot) else {
            return Ok(Some(Got::Missing(particle)));
        };
        let coming = Coming { fetch, of, next: None, attempts: 0, unanswered };
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
                let attempts_max = if coming.of.once { 1 } else { ATTEMPTS_MAX };
                if coming.attempts >= attempts_max {
                    coming.unanswered |= coming.fetch.is_busy(now.since_boot);
                    return self.give_up(now, particle, keys, vault, link);
                }
                let fetched = coming.fetch.start(now, link, &mut InVault(vault));
                match fetched.map_err(|StoreFailed(error)| error)? {
                    Fetched::Going => Ok(None),
                    Fetched::Complete => self.complete(particle, keys, vault),
                    Fetched::Ended(_) | Fetched::Gone => {
                        self.give_up(now, particle, keys, vault, link)
                    }
                }
            }
            Fetched::Complete => self.complete(particle, keys, vault),
            Fetched::Gone => self.give_up(now, particle, keys, vault, link),
        }
    }

    fn give_up(
        &mut self,
        now: Now,
        particle: ParticleId,
        keys: &impl Keys,
        vault: &mut Vault,
        link: &mut dyn Broker,
    ) -> Result<Option<Got>, VaultError> {
        let Some(coming) = self.coming.remove(&particle) else { return Ok(None) };
        let Coming { of: Wanted { publisher, slot, .. }, next, unanswered, .. } = coming;
        debug!(%particle, %publisher, slot, unanswered, "not to be had");
        coming.fetch.stop(link);
        match next {
            Some(next) => self.begin(now, next, unanswered, keys, vault, link),
            None if unanswered => Ok(Some(Got::Unreached(particle))),
            None => Ok(Some(Got::Missing(particle))),
        }
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

#[cfg(test)]
mod tests {
    use shoal_link::{Addresses, Settings, Unwired};
    use shoal_window::Bytes;
    use shoal_wire::{Kind, PublicKey, Utc};

    use super::*;

    struct NoKeys;

    impl Keys for NoKeys {
        fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
            None
        }
    }

    fn at(seconds: u64) -> Now {
        Now { since_boot: Instant::from_secs(seconds), utc: Utc::AtLeast { seconds } }
    }

    /// A broker that takes all that it is asked for and has nothing. Whether each of these publishers was asked.
    fn answer(link: &Unwired, publishers: [KeyId; 2]) -> [bool; 2] {
        let sent = link.take();
        let mut packets = sent.as_slice();
        while let [kind, length, rest @ ..] = packets {
            let (body, after) = rest.split_at(usize::from(*length));
            let acknowledged = match kind {
                0x82 => Some(0x90),
                0xa2 => Some(0xb0),
                _ => None,
            };
            if let (Some(kind), [high, low, ..]) = (acknowledged, body) {
                link.receive(&[kind, 4, *high, *low, 0, 0]);
            }
            packets = after;
        }
        let said = String::from_utf8_lossy(&sent);
        publishers.map(|key| said.contains(&key.to_string()))
    }

    /// A campaign's particle is asked of the authority, the best one of who has it, and they may be one: who is asked first and does
    /// not have it says nothing of the other, who is asked then, and both are told of what comes of that.
    #[test]
    fn who_does_not_have_it_says_nothing_of_who_is_asked_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(folder.path()).unwrap();
        let (authority, vehicle) = (KeyId::new([0xaa; 8]), KeyId::new([0x11; 8]));
        let board = Board::new("fleet", "region", authority, authority, KeyId::new([7; 8]));
        let mut particles = Particles::new(board, 1);
        let broker: Addresses = "mqtt://broker".parse().unwrap();
        let mut settings = Settings::new(broker, KeyId::new([7; 8]));
        settings.limit = Bytes { up: 1 << 20, down: 1 << 20 };
        let mut link = Unwired::new(settings, Instant::MIN);
        link.opened();
        assert!(!link.take().is_empty());
        // CONNACK of MQTT 5: no session, accepted, no properties.
        link.receive(&[0x20, 3, 0, 0, 0]);
        assert!(matches!(link.next(core::time::Duration::ZERO), Some(Event::Connected { .. })));

        let particle = ParticleId::new([1; 32]);
        let of = |publisher, slot, once| Wanted { particle, publisher, slot, once };
        for want in [of(authority, 0, false), of(vehicle, 4, true), of(authority, 0, false)] {
            let got = particles.fetch(at(0), want, &NoKeys, &mut vault, Some(&mut link)).unwrap();
            assert_eq!(got, None);
        }
        let mut asked = answer(&link, [authority, vehicle]);
        let mut seen = Vec::new();
        for seconds in [10, 20, 30, 40] {
            link.at(Instant::from_secs(seconds));
            while let Some(event) = link.next(core::time::Duration::ZERO) {
                let link = &mut link;
                let none = |_why| ();
                particles
                    .event(at(seconds), &event, &NoKeys, &mut vault, link, &mut { none })
                    .unwrap();
            }
            let got = particles.timeout(at(seconds), &NoKeys, &mut vault, &mut link).unwrap();
            seen.push((asked, got));
            asked = answer(&link, [authority, vehicle]);
        }
        let missing = vec![Got::Missing(particle)];
        let expected = [
            ([true, false], vec![]),
            ([true, false], vec![]),
            ([true, false], vec![]),
            ([true, true], missing),
        ];
        assert_eq!(seen, expected);
    }
}
