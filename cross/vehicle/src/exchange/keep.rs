//! What a start reads back: documents, records, the adapter on trial, and the tuning that a cut ended.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shoal_swarm::inbox::{Record, read};
use shoal_swarm::swarm::{Flat, Input, STATE_KEY, Saved, ValuesHash};
use shoal_trust::Trust;
use shoal_wire::v1::ParticleHeader;
use shoal_wire::{KeyId, Keys, Kind, Leaf, ParticleId, PublicKey, RecordId, Topic, Unverified};
use tracing::{debug, info, warn};

use super::certificates::Certificates;
use super::guarded::Guarded;
use super::key::{ReadBack, received, verified};
use super::line::Board;
use super::particles::TRANSFER;
use super::publishing::HEADER;
use super::run::{Exchange, ExchangeError, bytes, flat};
use super::vault::{KeptRecord, Vault, VaultError};
use super::worker::Job;
use crate::agent::Ask;
use crate::config::FleetConfig;

const DOCUMENT: &str = "document/";
/// What says which documents count.
const TRUST: &str = "trust";
/// Who signed nonces before: their public keys, the last one last.
const TIMEKEEPERS: &str = "timekeepers";
/// So many of them.
const TIMEKEEPERS_MAX: usize = 16;
/// The id of the timekeeper's key that signed the newest time.
const TIMED_BY: &str = "timed-by";
/// What is on trial: the hash of its values.
const STAGED: &str = "staged";
/// What is tuned: [`Tuning`].
const TUNING: &str = "tuning";
/// So many windows' records are kept whether they count or not.
const RECENT: u32 = 16;

/// The tuning under way, or the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tuning {
    from: [u8; 32],
    window: u32,
    /// What came of it, once it is done.
    tuned: Option<[u8; 32]>,
}

impl Exchange {
    pub(super) fn read_documents(&mut self) -> Result<(), ExchangeError> {
        self.tell_metadata_end();
        for key in self.vault.keys(DOCUMENT)? {
            let Some(envelope) = self.vault.get(&key)? else { continue };
            let text = key.strip_prefix(DOCUMENT).unwrap_or(&key);
            let Ok(topic) = Topic::decode(text) else { continue };
            let taken = match read(&topic, &envelope, self.documents.keyring()) {
                Ok(record) => self.documents.take_again(&record).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = taken {
                // Another authority, or a store that was put back.
                warn!(topic = text, error, "a stored document is not used");
            }
        }
        Ok(())
    }

    /// Metadata came: they are durable, then those who sign are who they say, and what waited for them is looked at again.
    pub(super) fn metadata_came(&mut self) -> Result<(), ExchangeError> {
        let Some(trust) = self.documents.trust() else { return Ok(()) };
        let timekeeper = self.fleet.timekeeper;
        if trust.signed_by().is_some_and(|by| by.timekeeper != timekeeper) {
            keep_timekeeper(&mut self.vault, timekeeper)?;
        }
        self.vault.put(TRUST, &trust.kept())?;
        self.tell_metadata_end();
        self.promotion.think();
        if let Some(signed_by) = self.documents.signed_by()
            && self.fleet.sign(signed_by)
        {
            info!("other keys sign from now on");
            if settle_clock(&mut self.vault, self.fleet.timekeeper)? {
                self.clock.forget();
                // What waits for a plan is of who signed before, too.
                self.early.clear();
            }
            let before = std::mem::replace(&mut self.board, Board::of(&self.fleet, self.me));
            self.documents.rekey(&self.fleet);
            self.forget_documents()?;
            self.read_documents()?;
            self.joins = None;
            // What the new keys sign stands elsewhere. On another line it could be overtaken by what is still on its way on this one.
            if let Some(line) = &mut self.line {
                line.follow(&before, &self.board);
                if line.connected() {
                    self.connected()?;
                }
            }
        }
        for (topic, envelope) in self.documents.waited() {
            if let Ok(place) = Topic::decode(&topic) {
                self.message(&place, &topic, &envelope)?;
            }
        }
        Ok(())
    }

    /// Forgets what an authority signed that is none any more.
    fn forget_documents(&mut self) -> Result<(), ExchangeError> {
        let authority = self.fleet.authority.id();
        for key in self.vault.keys(DOCUMENT)? {
            let topic = Topic::decode(key.strip_prefix(DOCUMENT).unwrap_or(&key));
            if topic.is_ok_and(|topic| topic.publisher() != authority) {
                self.vault.remove(&key)?;
            }
        }
        Ok(())
    }

    /// Says until when it is known which documents count.
    fn tell_metadata_end(&self) {
        let ends = self.documents.trust().and_then(Trust::ends);
        self.run.metrics.metadata_end.set(ends.map_or(0, |ends| ends.at_s));
    }

    pub(super) fn keep_document(
        &mut self,
        topic: &str,
        envelope: &[u8],
    ) -> Result<(), ExchangeError> {
        Ok(self.vault.put(&format!("{DOCUMENT}{topic}"), envelope)?)
    }

    /// Makes a roster durable, its head and its pages at once, when it is whole: until then the one before counts, after a start,
    /// too. Where there is none before, what there is of the first is kept.
    pub(super) fn keep_roster(&mut self, topic: &Topic<'_>) -> Result<(), ExchangeError> {
        let keyring = self.documents.keyring();
        if keyring.roster().count() > 0 && keyring.missing().next().is_some() {
            return Ok(());
        }
        let head = self.documents.envelope(Kind::Roster).map(|head| (Leaf::Roster, head));
        let pages = self.documents.pages();
        let pages = pages.map(|(index, page)| (Leaf::RosterPage { index }, page));
        let mut rows = Vec::new();
        for (leaf, envelope) in head.into_iter().chain(pages) {
            if let Ok(place) = Topic::new(topic.fleet(), topic.region(), topic.publisher(), leaf) {
                rows.push((format!("{DOCUMENT}{place}"), Some(envelope)));
            }
        }
        Ok(self.vault.put_all(&rows)?)
    }

    /// Hands the core what it had taken in before the start.
    pub(super) fn read_records(&mut self) -> Result<(), ExchangeError> {
        let timekeepers = timekeepers(&self.vault)?;
        for KeptRecord { topic, bytes, .. } in self.vault.records()? {
            let Ok(topic) = Topic::decode(&topic) else { continue };
            let keys = ReadBack { now: self.documents.keyring(), timekeepers: &timekeepers };
            let Ok(record) = read(&topic, &bytes, &keys) else { continue };
            // A header that is too old to count still names what the vehicle stood on.
            if let Record::ParticleHeader(header) = &record {
                self.particles.know(header.head().key, header.body(), &bytes);
            }
            let taken = self.hand_in_record(&topic, &record, &bytes);
            if let Some((Err(error), _window)) = taken {
                debug!(%error, "a stored record is not used");
            }
        }
        // What the vehicle made itself and stands on, whether or not that ever came back from the broker.
        let own = self.own();
        for key in self.vault.keys(HEADER)? {
            let Some(bytes) = self.vault.get(&key)? else { continue };
            if let Ok(header) = verified::<ParticleHeader>(&bytes, &own) {
                self.particles.know(self.me, header.body(), &bytes);
            }
        }
        Ok(())
    }

    /// The id of the key that signs nonces, as far as this vehicle knows.
    #[must_use]
    pub fn timekeeper(&self) -> KeyId {
        self.fleet.timekeeper.id()
    }

    /// Forgets what no longer counts: records, particles, values, blobs.
    pub(super) fn forget(&mut self, window: u32) -> Result<(), ExchangeError> {
        let Some(swarm) = &self.swarm else { return Ok(()) };
        let mut particles: BTreeSet<ParticleId> = swarm.needed().into_iter().collect();
        particles.extend((0..shoal_wire::v1::SLOTS).filter_map(|slot| self.slots.particle(slot)));
        // No window alone may have the bytes for it.
        let wanted = self.documents.campaign().and_then(|campaign| self.promotion.ask(campaign));
        if let Some(Ask { particle, .. }) = wanted {
            self.particles.know_begun(particle, self.documents.keyring(), &self.vault)?;
            particles.insert(particle);
        }
        particles.extend(self.gateway.as_ref().and_then(Guarded::bringing));
        let mut records: BTreeSet<RecordId> = swarm.records().nonces().collect();
        // Votes on what was claimed in a window are those of the next one.
        let claimed = swarm.records().claimed_windows().into_iter();
        let windows: BTreeSet<u32> = claimed
            .flat_map(|window| [window, window.saturating_add(1)])
            .chain(window.saturating_sub(RECENT)..=window)
            .collect();
        for of in windows {
            records.extend(swarm.records().claims(of).map(|claim| claim.id));
            records.extend(swarm.records().votes(of).map(|vote| vote.id));
            for header in swarm.records().particles(of) {
                records.insert(header.id);
                particles.insert(header.body.id);
            }
        }
        let keys = self.documents.keyring();
        let mut said = BTreeSet::new();
        self.vault.forget_records(|kept| {
            // The same statement in many envelopes is kept once, and as it counts.
            let again = statement(&kept.bytes).is_some_and(|statement| !said.insert(statement));
            let recent = kept.window.saturating_add(RECENT) >= window;
            let counts = || records.contains(&received(&kept.bytes));
            let named = || named(kept, keys).is_some_and(|particle| particles.contains(&particle));
            (again || !recent && !named()) && !counts()
        })?;
        self.forget_rows(&particles)?;
        let mut blobs = self.particles.retain(&particles);
        let state = Saved::decode(self.vault.get(STATE_KEY)?.as_deref()).unwrap_or_default();
        blobs.extend(state.values().iter().map(|hash| *hash.bytes()));
        if let Some(tuning) = self.tuning()? {
            blobs.extend([Some(tuning.from), tuning.tuned].into_iter().flatten());
        }
        blobs.extend(self.staged.as_ref().map(|staged| *ValuesHash::of(staged).bytes()));
        // What was learned alone, before there was a fleet: the vehicle may go back to that.
        blobs.extend(super::alone::active_hash(&self.vault)?);
        // What a rerun needs.
        blobs.extend(self.log.needed());
        self.vault.sweep(&blobs)?;
        Ok(())
    }

    /// Headers that this vehicle sealed, and transfers that were given up, of particles that nobody names any more.
    fn forget_rows(&mut self, particles: &BTreeSet<ParticleId>) -> Result<(), ExchangeError> {
        let names: BTreeSet<String> = particles.iter().map(ParticleId::to_string).collect();
        let mut gone = Vec::new();
        for prefix in [HEADER, TRANSFER] {
            for key in self.vault.keys(prefix)? {
                let name = key.strip_prefix(prefix).and_then(|rest| rest.split('/').next());
                if !name.is_some_and(|name| names.contains(name)) {
                    gone.push((key, None));
                }
            }
        }
        if !gone.is_empty() {
            self.vault.put_all(&gone)?;
        }
        Ok(())
    }

    /// What the swarm had come to, and the values that it names. A vehicle that lost some of them, or has other ones by now,
    /// goes on without.
    pub(super) fn restore_swarm(
        &mut self,
        count: usize,
    ) -> Result<(Saved, BTreeMap<ValuesHash, Flat>), ExchangeError> {
        let saved = Saved::decode(self.vault.get(STATE_KEY)?.as_deref());
        let mut saved = saved.unwrap_or_else(|error| {
            warn!(%error, "the swarm begins anew");
            Saved::default()
        });
        let (mut named, mut lost) = (BTreeMap::new(), Vec::new());
        for hash in saved.values() {
            let values = self.vault.blob(hash.bytes())?.map(|bytes| flat(&bytes));
            match values.filter(|values| values.len() == count) {
                Some(values) => {
                    named.insert(hash, values);
                }
                None => lost.push(hash),
            }
        }
        if !lost.is_empty() {
            warn!(
                lost = lost.len(),
                "values of the swarm's state are not there any more: what was made of them begins anew"
            );
            saved.forget(&lost);
        }
        Ok((saved, named))
    }

    pub(super) fn restore_staged(&mut self) -> Result<(), ExchangeError> {
        let hash = self.vault.get(STAGED)?.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        if let Some(hash) = hash {
            self.staged = self.vault.blob(&hash)?.map(|values| flat(&values));
        }
        Ok(())
    }

    pub(super) fn keep_staged(&mut self, adapter: &Flat) -> Result<(), ExchangeError> {
        let hash = self.vault.keep_blob(&bytes(adapter))?;
        Ok(self.vault.put(STAGED, &hash)?)
    }

    fn tuning(&self) -> Result<Option<Tuning>, ExchangeError> {
        let kept = self.vault.get(TUNING)?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn keep_tuning(&mut self, tuning: &Tuning) -> Result<(), ExchangeError> {
        // Numbers can be written.
        let bytes = serde_json::to_vec(tuning).unwrap_or_default();
        Ok(self.vault.put(TUNING, &bytes)?)
    }

    /// Begins to tune, durably: after a cut the same tuning goes on.
    pub(super) fn tune(&mut self, from: Flat, window: u32) -> Result<(), ExchangeError> {
        let hash = self.vault.keep_blob(&bytes(&from))?;
        self.keep_tuning(&Tuning { from: hash, window, tuned: None })?;
        self.tuning = Some(ValuesHash::of(&from));
        let seed = night_seed(self.run.seed, self.me.bytes(), window);
        let passed_s = self.clock.passed_seconds();
        self.engine.give(Job::Tune { from, window, seed, passed_s });
        Ok(())
    }

    /// What was tuned is durable, then the core is told.
    pub(super) fn tuned(
        &mut self,
        from: ValuesHash,
        window: u32,
        values: &Flat,
    ) -> Result<(), ExchangeError> {
        if self.tuning != Some(from) {
            return Ok(());
        }
        let hash = self.vault.keep_blob(&bytes(values))?;
        self.keep_tuning(&Tuning { from: *from.bytes(), window, tuned: Some(hash) })?;
        self.hand_in_tuned(values);
        Ok(())
    }

    fn hand_in_tuned(&mut self, values: &Flat) {
        if let Some(Err(error)) = self.hand_in(Input::Tuned(values)) {
            warn!(%error, "what was tuned is of no use");
        }
    }

    /// After a start: what was tuned from where the swarm says that the vehicle stands is handed in again, or the tuning from there goes
    /// on, or begins: the power may have gone when a move was written down and its tuning was not.
    pub(super) fn resume_tuning(&mut self) -> Result<(), ExchangeError> {
        let Some(swarm) = &self.swarm else { return Ok(()) };
        let (from, window) = (swarm.position().clone(), swarm.window());
        let name = ValuesHash::of(&from);
        let tuning = self.tuning()?.filter(|tuning| tuning.from == *name.bytes());
        let window = tuning.map_or(window, |tuning| tuning.window);
        let tuned = tuning.and_then(|tuning| tuning.tuned);
        let tuned = tuned.map(|hash| self.vault.blob(&hash)).transpose()?.flatten();
        match tuned.map(|values| flat(&values)) {
            Some(values) => {
                self.tuning = Some(name);
                self.hand_in_tuned(&values);
                Ok(())
            }
            None => self.tune(from, window),
        }
    }
}

/// What a vehicle trusts, with what it kept of it: then the fleet's keys are those of the newest roots.
pub(super) fn trust(
    fleet: &mut FleetConfig,
    vault: &Vault,
) -> Result<Option<Trust>, ExchangeError> {
    let Some(folder) = &fleet.trust else {
        warn!(
            "no [fleet] trust: documents count by the authority's signature alone, and nothing says which of them are the newest"
        );
        return Ok(None);
    };
    let mut trust = Trust::open(folder)?;
    if let Some(kept) = vault.get(TRUST)? {
        trust.restore(&kept);
    }
    if let Some(signed_by) = trust.signed_by() {
        fleet.sign(signed_by);
    }
    Ok(Some(trust))
}

/// Whether key, trust and certificates of a vehicle can be read.
pub(super) fn try_member(fleet: &FleetConfig, vault: &Vault) -> Result<(), ExchangeError> {
    let key = super::identity::open(fleet, vault)?;
    if fleet.trust.is_some() {
        trust(&mut fleet.clone(), vault)?;
    }
    Certificates::default().settings(fleet, key.public().id())?;
    Ok(())
}

/// Whose word it is that true time is not before what the vault says: the timekeeper's. That of one whose place another took counts no
/// more: its key may have been stolen, and have put every clock ahead. Whether it was so, and is forgotten.
pub(super) fn settle_clock(vault: &mut Vault, timekeeper: PublicKey) -> Result<bool, VaultError> {
    let (before, now) = (vault.get(TIMED_BY)?, timekeeper.id());
    if before.as_deref() == Some(now.bytes().as_slice()) {
        return Ok(false);
    }
    // A vault of before does not say whose word it has.
    if before.is_some() {
        vault.forget_utc()?;
    }
    vault.put(TIMED_BY, now.bytes())?;
    Ok(before.is_some())
}

/// Who signed nonces before who signs them now.
fn timekeepers(vault: &Vault) -> Result<Vec<PublicKey>, VaultError> {
    let kept = vault.get(TIMEKEEPERS)?.unwrap_or_default();
    Ok(kept.as_chunks().0.iter().filter_map(|key| PublicKey::decode(key).ok()).collect())
}

/// Remembers who signs nonces, before another one does.
fn keep_timekeeper(vault: &mut Vault, timekeeper: PublicKey) -> Result<(), VaultError> {
    let mut all = timekeepers(vault)?;
    all.retain(|before| *before != timekeeper);
    all.push(timekeeper);
    let over = all.len().saturating_sub(TIMEKEEPERS_MAX);
    let bytes: Vec<u8> = all.iter().skip(over).flat_map(|key| *key.bytes()).collect();
    vault.put(TIMEKEEPERS, &bytes)
}

/// Every night of every vehicle draws other batches.
pub(super) fn night_seed(seed: u64, vehicle: &[u8; 8], night: u32) -> u64 {
    let text = [&seed.to_le_bytes()[..], vehicle, &night.to_le_bytes()].concat();
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *received(&text).bytes();
    u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
}

/// The particle that a kept record is the header of.
fn named(kept: &KeptRecord, keys: &impl Keys) -> Option<ParticleId> {
    let Leaf::Particle { .. } = Topic::decode(&kept.topic).ok()?.leaf() else { return None };
    Some(verified::<ParticleHeader>(&kept.bytes, keys).ok()?.body().id())
}

/// Who says what, whatever envelope it is in.
fn statement(envelope: &[u8]) -> Option<(KeyId, u8, RecordId)> {
    let record = Unverified::decode(envelope).ok()?;
    let head = record.head();
    Some((head.key, head.kind as u8, received(record.body())))
}

#[cfg(test)]
mod tests {
    use shoal_swarm::keyring::Keyring;
    use shoal_wire::v1::{Document, DocumentFields, Nonce, NonceFields};
    use shoal_wire::{Body, Label, SecretKey, seal};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn sealed<'b>(signer: &SecretKey, body: &impl Body<'b>) -> Vec<u8> {
        let mut buffer = vec![0; 256];
        seal(body, 1, 99, signer, &mut buffer).unwrap().bytes().to_vec()
    }

    /// Nonces that were taken before the timekeeper was replaced say after a start what they said: else nobody stands aside by them.
    #[test]
    fn a_nonce_of_the_timekeeper_before_is_read_back_and_nothing_else_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(dir.path()).unwrap();
        keep_timekeeper(&mut vault, key(2).public()).unwrap();
        let ring = Keyring::new(key(1).public(), key(3).public());
        let timekeepers = timekeepers(&vault).unwrap();
        let keys = ReadBack { now: &ring, timekeepers: &timekeepers };
        let place = |signer: &SecretKey, leaf| {
            let label = Label::new("f").unwrap();
            Topic::new(label, label, signer.public().id(), leaf).unwrap()
        };
        let nonce = NonceFields { window: 3, nonce: [9; 32], utc_seconds: 1 };
        let nonce = Nonce::new(nonce).unwrap();
        let reads = |signer: &SecretKey| {
            let bytes = sealed(signer, &nonce);
            read(&place(signer, Leaf::nonce(3)), &bytes, &keys).is_ok()
        };
        assert_eq!([2, 3, 4].map(|seed| reads(&key(seed))), [true, true, false]);
        let said = DocumentFields { name: "tuf/r", version: 1, bytes: &[1] };
        let document = sealed(&key(2), &Document::new(said).unwrap());
        assert!(read(&place(&key(2), Leaf::Document { slot: 0 }), &document, &keys).is_err());
    }

    #[test]
    fn timekeepers_are_remembered_once_each_and_the_last_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(dir.path()).unwrap();
        for seed in (0..20).chain([7]) {
            keep_timekeeper(&mut vault, key(seed).public()).unwrap();
        }
        let kept: Vec<u8> = (4..20).filter(|seed| *seed != 7).chain([7]).collect();
        let kept: Vec<PublicKey> = kept.into_iter().map(|seed| key(seed).public()).collect();
        assert_eq!(timekeepers(&vault).unwrap(), kept);
    }
}
