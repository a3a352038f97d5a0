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
/// So many headers that came too late are kept, at most.
const OLD_MAX: usize = 1024;
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
    /// Headers that were too old to count, by who signed them and the slot: a vote may name one of them as best yet.
    old: BTreeMap<(KeyId, u8), Old>,
    coming: BTreeMap<ParticleId, Coming>,
    /// How many were asked for.
    count: u64,
}

/// A header that came too late.
#[derive(Debug)]
struct Old {
    particle: ParticleId,
    topic: String,
    envelope: Vec<u8>,
}

#[derive(Debug)]
struct Coming {
    fetch: Fetch,
    /// It was asked for after all with lower numbers.
    number: u64,
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
        let headers = BTreeMap::new();
        Particles {
            board,
            values,
            headers,
            old: BTreeMap::new(),
            coming: BTreeMap::new(),
            count: 0,
        }
    }

    /// Keeps a header that was too old to count, as it stood at its topic.
    pub fn keep_old(
        &mut self,
        place: (KeyId, u8),
        particle: ParticleId,
        topic: &str,
        envelope: &[u8],
    ) {
        if self.old.len() < OLD_MAX || self.old.contains_key(&place) {
            let (topic, envelope) = (topic.into(), envelope.into());
            self.old.insert(place, Old { particle, topic, envelope });
        }
    }

    /// The headers of this particle that were too old, with their topics: a vote names it.
    pub fn take_old(&mut self, particle: ParticleId) -> Vec<(String, Vec<u8>)> {
        let named = self.old.extract_if(.., |_place, old| old.particle == particle);
        named.map(|(_place, old)| (old.topic, old.envelope)).collect()
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
        self.count = self.count.saturating_add(1);
        let number = self.count;
        let coming = Coming { fetch, number, of, next: None, attempts: 0, unanswered };
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
        self.queue_behind(now.since_boot, event);
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

    /// A broker sends what stands there in the order in which it was asked for: on a slow line a particle waits for those that were
    /// asked for before it, and its publisher is not to be blamed for that.
    fn queue_behind(&mut self, now: Instant, event: &Event) {
        let Event::Message(message) = event else { return };
        let Some(place) = message.place().ok().filter(|_place| message.retained) else { return };
        let of = self.coming.values().filter(|coming| coming.fetch.is_of(&place));
        let Some(first) = of.map(|coming| coming.number).min() else { return };
        let later = self.coming.values_mut().filter(|coming| coming.number > first);
        later.for_each(|coming| coming.fetch.wait_behind(now));
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
    use shoal_link::{Addresses, Message, Settings, Unwired};
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

    /// A line to a broker that is there.
    fn online() -> Unwired {
        let broker: Addresses = "mqtt://broker".parse().unwrap();
        let mut settings = Settings::new(broker, KeyId::new([7; 8]));
        settings.limit = Bytes { up: 1 << 20, down: 1 << 20 };
        let mut link = Unwired::new(settings, Instant::MIN);
        link.opened();
        assert!(!link.take().is_empty());
        // CONNACK of MQTT 5: no session, accepted, no properties.
        link.receive(&[0x20, 3, 0, 0, 0]);
        assert!(matches!(link.next(core::time::Duration::ZERO), Some(Event::Connected { .. })));
        link
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
        let mut link = online();

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

    /// A line that carries so little that what was asked for first takes all the time that an attempt has.
    #[test]
    fn who_waits_behind_what_was_asked_for_before_is_not_blamed() {
        let (first, second) = (KeyId::new([0x11; 8]), KeyId::new([0x22; 8]));
        let of = |byte, publisher| {
            let particle = ParticleId::new([byte; 32]);
            Wanted { particle, publisher, slot: 4, once: false }
        };
        for (comes, blamed) in
            [(Some(first), [true, false]), (Some(second), [true; 2]), (None, [true; 2])]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut vault = Vault::open(folder.path()).unwrap();
            let me = KeyId::new([7; 8]);
            let mut particles = Particles::new(Board::new("fleet", "region", me, me, me), 1);
            let mut link = online();
            for want in [of(1, first), of(2, second)] {
                let got = particles.fetch(at(0), want, &NoKeys, &mut vault, Some(&mut link));
                assert_eq!(got.unwrap(), None);
            }
            let mut got = Vec::new();
            for seconds in 1..=32 {
                answer(&link, [first, second]);
                link.at(Instant::from_secs(seconds));
                let said = std::iter::from_fn(|| link.next(core::time::Duration::ZERO));
                let mut events: Vec<Event> = said.collect();
                events.extend(comes.map(|publisher| {
                    // No chunk that fits: it is on its way still.
                    let topic = format!("shoal/1/fleet/region/chunk/{publisher}/4/0");
                    Event::Message(Message { topic, payload: Default::default(), retained: true })
                }));
                for event in events {
                    let none = |_why| ();
                    let link = &mut link;
                    let came =
                        particles
                            .event(at(seconds), &event, &NoKeys, &mut vault, link, &mut { none });
                    got.extend(came.unwrap());
                }
                got.extend(particles.timeout(at(seconds), &NoKeys, &mut vault, &mut link).unwrap());
            }
            let is_blamed =
                |byte| got.iter().any(|one| *one == Got::Missing(ParticleId::new([byte; 32])));
            assert_eq!([1, 2].map(is_blamed), blamed, "{comes:?}: {got:?}");
            assert_eq!(got.len(), 2);
        }
    }

    #[test]
    fn a_header_that_came_too_late_waits_for_who_names_its_particle() {
        let me = KeyId::new([7; 8]);
        let mut particles = Particles::new(Board::new("fleet", "region", me, me, me), 1);
        let [one, other] = [1, 2].map(|byte| ParticleId::new([byte; 32]));
        particles.keep_old((me, 1), one, "topic", b"before");
        particles.keep_old((me, 1), one, "topic", b"header");
        particles.keep_old((me, 2), other, "elsewhere", b"another");
        assert_eq!(particles.take_old(one), [("topic".to_owned(), b"header".to_vec())]);
        assert_eq!(particles.take_old(one), []);
        for number in 0..2 * OLD_MAX as u64 {
            let signer = KeyId::new(number.to_le_bytes());
            particles.keep_old((signer, 0), other, "topic", b"header");
        }
        assert_eq!(particles.take_old(other).len(), OLD_MAX);
    }
}
