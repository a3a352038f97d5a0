//! What merges: a set of signed records. Joining is union, so order, loss and repetition do not matter.
//!
//! The set keeps what is true of each key and nothing of how it came: two sets that took in the same records are equal.
//! What it means (nominees, best, worst, quarantine) is a pure function of it: [`crate::quorum`].

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use shoal_wire::v1::{
    Claim, ClaimFields, MergeInput, Nonce, ParticleHeader, ParticleHeaderFields, RefusalCode, Role,
    Vote, VoteFields,
};
use shoal_wire::{Body, KeyId, LayoutHash, ModelHash, PackHash, ParticleId, RecordId, Verified};

use crate::roster::Roster;

/// Windows of claims that standing looks back on; older ones are kept so long for its sake.
pub const STANDING_WINDOWS: u32 = 8;
/// Of so many windows claims are judged by who counts them, each with the standing that its own eight windows before leave.
pub(crate) const JUDGED_WINDOWS: u32 = STANDING_WINDOWS + 1;
/// A claim or vote leaves after so many windows…
const AGE_WINDOWS_MIN: u32 = 4;
/// …or after so long, whichever is longer…
const AGE_SECONDS_MIN: u32 = 8 * 24 * 3600;
/// …but after so many windows at the latest: a vehicle's memory has an end.
const AGE_WINDOWS_MAX: u32 = 64;

/// A record whose signature holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signed<T> {
    /// SHA-256 of its bytes.
    pub id: RecordId,
    /// Who signed it.
    pub signer: KeyId,
    /// Of the envelope.
    pub counter: u64,
    /// After it the record counts no more: UTC in seconds.
    pub not_after_seconds: u64,
    /// What it says.
    pub body: T,
}

impl<'a, T: Body<'a> + Clone> From<&Verified<'a, T>> for Signed<T> {
    fn from(verified: &Verified<'a, T>) -> Self {
        let head = verified.head();
        Self {
            id: verified.id(),
            signer: head.key,
            counter: head.counter,
            not_after_seconds: head.not_after_seconds,
            body: verified.body().clone(),
        }
    }
}

/// Why a record was not taken into the set. The signer is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRecord {
    /// Not a vehicle of the roster.
    #[error("{signer} is not on the roster")]
    UnknownVehicle { signer: KeyId },
    #[error("counts until {not_after_seconds}, and it is {utc_seconds} or later")]
    Expired { not_after_seconds: u64, utc_seconds: u64 },
    /// Too old, or of a window that is not there yet, or it comes after what it should have been part of.
    #[error("of window {got}, but {from} to {to} are open to it")]
    WrongWindow { got: u32, from: u32, to: u32 },
    /// A rollback.
    #[error("counter {got} is not after {newest}")]
    OldCounter { got: u64, newest: u64 },
    /// The signer said something else under the same key: both are void.
    #[error("contradicts another record of {signer}")]
    Contradicted { signer: KeyId },
    /// It has contradicted itself before: whatever it says under this key is void.
    #[error("{signer} contradicted itself there before")]
    Void { signer: KeyId },
    #[error("of base model {got}, expected {want}")]
    WrongBaseModel { got: ModelHash, want: ModelHash },
    #[error("of layout {got}, expected {want}")]
    WrongLayout { got: LayoutHash, want: LayoutHash },
    #[error("{got} values, expected {want}")]
    WrongLength { got: u32, want: u32 },
    /// What was measured on another pack cannot be compared.
    #[error("measured on pack {got}, expected {want}")]
    WrongPack { got: PackHash, want: PackHash },
}

impl RejectRecord {
    /// How a refusal names it.
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::UnknownVehicle { .. } => RefusalCode::UnknownKey,
            Self::Expired { .. } => RefusalCode::Expired,
            Self::WrongWindow { .. } => RefusalCode::WrongWindow,
            Self::OldCounter { .. } => RefusalCode::OldCounter,
            Self::Contradicted { .. } | Self::Void { .. } => RefusalCode::Contradicted,
            Self::WrongBaseModel { .. } => RefusalCode::WrongBaseModel,
            Self::WrongLayout { .. } | Self::WrongLength { .. } => RefusalCode::WrongLayout,
            Self::WrongPack { .. } => RefusalCode::WrongPack,
        }
    }
}

/// What particles of this swarm are: what a header must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The model they adapt.
    pub base_model: ModelHash,
    /// Their layout.
    pub layout: LayoutHash,
    /// Values of the flat run.
    pub values: u32,
}

impl Shape {
    /// Whether a header is of such a particle.
    pub(crate) fn check(&self, fields: &ParticleHeaderFields) -> Result<(), RejectRecord> {
        let Self { base_model, layout, values } = *self;
        if fields.base_model != base_model {
            return Err(RejectRecord::WrongBaseModel { got: fields.base_model, want: base_model });
        }
        if fields.layout != layout {
            return Err(RejectRecord::WrongLayout { got: fields.layout, want: layout });
        }
        if fields.values != values {
            return Err(RejectRecord::WrongLength { got: fields.values, want: values });
        }
        Ok(())
    }
}

/// A particle's header, as far as it matters to the swarm: how to fetch it is the shell's.
#[derive(Clone, Debug, PartialEq)]
pub struct Particle {
    /// Its name.
    pub id: ParticleId,
    /// What it is for.
    pub role: Role,
    /// The window in which it was made.
    pub window: u32,
    /// Of a contribution: what it is a difference to; `None`: the start adapter.
    pub anchor: Option<ParticleId>,
    /// Of a merge: what it was folded from.
    pub inputs: Vec<MergeInput>,
    /// The publisher's slots in which it stands, as its topics say: one bit each, from the lowest.
    slots: u8,
}

impl Particle {
    /// Whether it stands in this slot.
    pub(crate) const fn stands_in(&self, slot: u8) -> bool {
        self.slots & bit(slot) != 0
    }

    /// The lowest slot in which it stands.
    pub const fn slot(&self) -> u8 {
        self.slots.trailing_zeros() as u8
    }
}

/// A slot, in a set of them.
pub(crate) const fn bit(slot: u8) -> u8 {
    1_u8.wrapping_shl(slot as u32)
}

/// What is known under one key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry<T> {
    /// One record; of several that say the same, the one with the lowest id.
    One(Signed<T>),
    /// Two that contradict each other: neither counts.
    Void,
}

/// The set.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    shape: Shape,
    claims: BTreeMap<(u32, KeyId), Entry<ClaimFields>>,
    particles: BTreeMap<(u32, KeyId, Role), Entry<Particle>>,
    votes: BTreeMap<(u32, KeyId, u8), Entry<VoteFields>>,
    nonces: BTreeMap<u32, Signed<[u8; 32]>>,
    /// The vehicle was there to the end of this window: earlier claims that it has not seen come too late.
    attended: Option<u32>,
}

/// What has happened so far when a record comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// The window that is open, or was last.
    pub window: u32,
    /// The earliest that true time can be, UTC in seconds.
    pub utc_seconds: u64,
    /// How many windows a claim or vote lives: [`age_windows`].
    pub age_windows: u32,
}

/// After how many windows a claim or vote leaves the set: four windows or eight days, whichever is longer, 64 windows at
/// most.
pub fn age_windows(period_seconds: u32) -> u32 {
    let in_days = AGE_SECONDS_MIN.div_ceil(period_seconds.max(1));
    in_days.clamp(AGE_WINDOWS_MIN, AGE_WINDOWS_MAX)
}

impl When {
    /// The oldest window whose records are kept.
    const fn oldest(&self) -> u32 {
        let age = if self.age_windows > JUDGED_WINDOWS { self.age_windows } else { JUDGED_WINDOWS };
        self.window.saturating_sub(age.saturating_add(STANDING_WINDOWS))
    }

    /// A record of a window that a fast clock has opened already is taken; a later one is not.
    const fn newest(&self) -> u32 {
        self.window.saturating_add(1)
    }

    /// Whether a record counts at this time.
    pub(crate) fn fresh<T>(&self, record: &Signed<T>) -> Result<(), RejectRecord> {
        let (not_after_seconds, utc_seconds) = (record.not_after_seconds, self.utc_seconds);
        if not_after_seconds < utc_seconds {
            return Err(RejectRecord::Expired { not_after_seconds, utc_seconds });
        }
        Ok(())
    }

    fn open(&self, got: u32, from: u32) -> Result<(), RejectRecord> {
        let (from, to) = (from.max(self.oldest()), self.newest());
        if (from..=to).contains(&got) {
            return Ok(());
        }
        Err(RejectRecord::WrongWindow { got, from, to })
    }
}

impl Records {
    /// An empty set of records of particles like these.
    pub const fn new(shape: Shape) -> Self {
        Self {
            shape,
            claims: BTreeMap::new(),
            particles: BTreeMap::new(),
            votes: BTreeMap::new(),
            nonces: BTreeMap::new(),
            attended: None,
        }
    }

    /// What particles must be.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes a claim. True: the set has changed.
    ///
    /// # Errors
    /// [`RejectRecord`]; only after [`RejectRecord::Contradicted`] the set has changed.
    pub fn claim(
        &mut self,
        when: &When,
        roster: &Roster,
        claim: &Signed<Claim>,
    ) -> Result<bool, RejectRecord> {
        let window = claim.body.fields().window;
        let key = (window, claim.signer);
        if holds(&self.claims, &key, claim.id) {
            return Ok(false);
        }
        self.admit(when, roster, claim, window)?;
        insert(&mut self.claims, key, claim.of(claim.body.fields().clone()))
    }

    /// Takes a particle's header from the topic of this slot. True: the set has changed. A header that is too old to count is taken
    /// where a vote takes its particle for best, and is none of what was claimed: by it, who was away when that was elected, or is
    /// new, learns whose it is. It enters no election.
    ///
    /// # Errors
    /// [`RejectRecord`]; only after [`RejectRecord::Contradicted`] the set has changed.
    pub fn header(
        &mut self,
        when: &When,
        roster: &Roster,
        header: &Signed<ParticleHeader>,
        slot: u8,
    ) -> Result<bool, RejectRecord> {
        let fields = header.body.fields();
        let key = (fields.window, header.signer, fields.role);
        let kept = self.particles.get(&key).and_then(Entry::one);
        if kept.is_some_and(|kept| kept.id == header.id && kept.body.stands_in(slot)) {
            return Ok(false);
        }
        if let Err(reject) = self.admit(when, roster, header, fields.window) {
            known(roster, header)?;
            if fields.window > when.window || !self.is_stood_on(&key, header.body.id()) {
                return Err(reject);
            }
        }
        self.shape.check(fields)?;
        let mut particle = Particle {
            id: header.body.id(),
            role: fields.role,
            window: fields.window,
            anchor: fields.anchor,
            inputs: fields.inputs.iter().copied().collect(),
            slots: bit(slot),
        };
        // The same in another slot is no other.
        let mut another_slot = false;
        if let Some(Entry::One(kept)) = self.particles.get_mut(&key) {
            let slots = kept.body.slots | particle.slots;
            let same = Particle { slots: kept.body.slots, ..particle.clone() } == kept.body;
            if same {
                another_slot = slots != kept.body.slots;
                (kept.body.slots, particle.slots) = (slots, slots);
            }
        }
        Ok(insert(&mut self.particles, key, header.of(particle))? | another_slot)
    }

    /// Whether voters measured beside this particle, of which nothing else is known: neither a claim, nor another header in its place.
    fn is_stood_on(&self, key: &(u32, KeyId, Role), particle: ParticleId) -> bool {
        let mut votes = self.votes.values().filter_map(Entry::one);
        !self.particles.contains_key(key)
            && !self.claims(key.0).any(|claim| claim.body.particle == particle)
            && votes.any(|vote| vote.body.best == Some(particle))
    }

    /// Lets go of what was signed by who is not on this roster: it counts no more.
    pub fn keep(&mut self, roster: &Roster) {
        let known = |signer: &KeyId| roster.number(*signer).is_some();
        self.claims.retain(|(_window, signer), _entry| known(signer));
        self.particles.retain(|(_window, signer, _role), _entry| known(signer));
        self.votes.retain(|(_window, signer, _place), _entry| known(signer));
    }

    /// Takes a vote. True: the set has changed.
    ///
    /// # Errors
    /// [`RejectRecord`]; only after [`RejectRecord::Contradicted`] the set has changed.
    pub fn vote(
        &mut self,
        when: &When,
        roster: &Roster,
        vote: &Signed<Vote>,
    ) -> Result<bool, RejectRecord> {
        let VoteFields { window, place, .. } = *vote.body.fields();
        let key = (window, vote.signer, place);
        if holds(&self.votes, &key, vote.id) {
            return Ok(false);
        }
        known(roster, vote)?;
        when.fresh(vote)?;
        when.open(window, 0)?;
        insert(&mut self.votes, key, vote.of(vote.body.fields().clone()))
    }

    /// Takes a nonce of the timekeeper: the highest counter of a window counts, and of one that another signed again, the
    /// copy that came last. True: the set has changed.
    ///
    /// # Errors
    /// [`RejectRecord`].
    pub fn nonce(&mut self, when: &When, nonce: &Signed<Nonce>) -> Result<bool, RejectRecord> {
        let fields = nonce.body.fields();
        when.fresh(nonce)?;
        when.open(fields.window, 0)?;
        let new = nonce.of(fields.nonce);
        if let Some(kept) = self.nonces.get(&fields.window) {
            if kept.id == new.id {
                return Ok(false);
            }
            let newest = kept.counter;
            let again =
                kept.signer != new.signer && (kept.counter, kept.body) == (new.counter, new.body);
            if !again && (new.counter, new.id) <= (newest, kept.id) {
                return Err(RejectRecord::OldCounter { got: new.counter, newest });
            }
        }
        self.nonces.insert(fields.window, new);
        Ok(true)
    }

    fn admit<T>(
        &self,
        when: &When,
        roster: &Roster,
        record: &Signed<T>,
        window: u32,
    ) -> Result<(), RejectRecord> {
        known(roster, record)?;
        when.fresh(record)?;
        when.open(window, self.attended.unwrap_or(0))
    }

    /// The vehicle has taken in what there was of this window, to its end. A claim or header of an earlier one that it
    /// has not seen comes too late: who votes had no chance to know of it.
    pub fn attend(&mut self, window: u32) {
        self.attended = self.attended.max(Some(window));
    }

    /// Lets go of what is too old, except for these particles: best, worst and anchor.
    pub fn expire(&mut self, when: &When, keep: &[ParticleId]) {
        let oldest = when.oldest();
        let kept: Vec<(u32, ParticleId)> = self
            .claims
            .iter()
            .filter_map(|((window, _signer), entry)| Some((*window, entry.one()?.body.particle)))
            .filter(|(_window, particle)| keep.contains(particle))
            .collect();
        let stays = |window: u32, particle| window >= oldest || kept.contains(&(window, particle));
        self.claims.retain(|(window, _), entry| {
            entry.one().map_or(*window >= oldest, |claim| stays(*window, claim.body.particle))
        });
        self.particles.retain(|(window, ..), entry| {
            let held = |header: &Signed<Particle>| keep.contains(&header.body.id);
            *window >= oldest || entry.one().is_some_and(held)
        });
        // Votes are those of the window after the claim's.
        self.votes.retain(|(window, ..), entry| {
            let asked = window.saturating_sub(1);
            *window >= oldest || entry.one().is_some_and(|vote| stays(asked, vote.body.nominee))
        });
        self.nonces.retain(|window, _nonce| {
            let asks = |(claimed, _): &(u32, ParticleId)| {
                claimed == window || claimed.checked_add(1) == Some(*window)
            };
            *window >= oldest || kept.iter().any(asks)
        });
    }

    /// The claims of a window that count, by vehicle.
    pub fn claims(&self, window: u32) -> impl Iterator<Item = &Signed<ClaimFields>> {
        let of_window = (window, KeyId::new([0; 8]))..=(window, KeyId::new([u8::MAX; 8]));
        self.claims.range(of_window).filter_map(|(_key, entry)| entry.one())
    }

    /// Whether what a vehicle claims of this window counts, if it has had other keys: under one of them it says nothing else.
    pub(crate) fn is_heard(&self, roster: &Roster, claim: &Signed<ClaimFields>) -> bool {
        roster.others(claim.signer).all(|other| {
            match self.claims.get(&(claim.body.window, other)) {
                None => true,
                Some(Entry::Void) => false,
                Some(Entry::One(one)) => one.body == claim.body && claim.id < one.id,
            }
        })
    }

    /// Windows that have claims, the earliest first.
    pub fn claimed_windows(&self) -> Vec<u32> {
        let mut windows: Vec<u32> = self.claims.keys().map(|(window, _)| *window).collect();
        windows.dedup();
        windows
    }

    /// The headers of a window that count, by vehicle and role.
    pub fn particles(&self, window: u32) -> impl Iterator<Item = &Signed<Particle>> {
        let (first, last) = (KeyId::new([0; 8]), KeyId::new([u8::MAX; 8]));
        let of_window = (window, first, Role::Best)..=(window, last, Role::Merge);
        self.particles.range(of_window).filter_map(|(_key, entry)| entry.one())
    }

    /// The header of this particle by this vehicle.
    pub fn particle(&self, window: u32, signer: KeyId, role: Role) -> Option<&Signed<Particle>> {
        self.particles.get(&(window, signer, role))?.one()
    }

    /// Every header of this particle, the newest first.
    pub fn with_id(&self, particle: ParticleId) -> Vec<&Signed<Particle>> {
        let headers = self.particles.values().rev().filter_map(Entry::one);
        headers.filter(|header| header.body.id == particle).collect()
    }

    /// Who may have published what this claim is of: whose header names it, and who published two that contradict each other where
    /// one of them may have.
    pub(crate) fn may_have(&self, claim: &ClaimFields) -> impl Iterator<Item = KeyId> {
        let of_claim = move |(window, role)| (claim.window, claim.role) == (window, role);
        self.particles.iter().filter_map(move |((window, signer, role), entry)| {
            let may_have = match entry.one() {
                Some(header) => header.body.id == claim.particle,
                None => of_claim((*window, *role)),
            };
            may_have.then_some(*signer)
        })
    }

    /// The votes that this window's nonce asked for and that count, by voter.
    pub fn votes(&self, window: u32) -> impl Iterator<Item = &Signed<VoteFields>> {
        let (first, last) = (KeyId::new([0; 8]), KeyId::new([u8::MAX; 8]));
        let of_window = (window, first, 0)..=(window, last, u8::MAX);
        self.votes.range(of_window).filter_map(|(_key, entry)| entry.one())
    }

    /// What a vehicle's vote at this place is on, if it counts.
    pub(crate) fn voted(&self, window: u32, signer: KeyId, place: u8) -> Option<ParticleId> {
        Some(self.votes.get(&(window, signer, place))?.one()?.body.nominee)
    }

    /// The records of the nonces that count.
    pub fn nonces(&self) -> impl Iterator<Item = RecordId> {
        self.nonces.values().map(|nonce| nonce.id)
    }

    /// The nonce of a window.
    pub fn nonce_of(&self, window: u32) -> Option<&[u8; 32]> {
        self.nonces.get(&window).map(|nonce| &nonce.body)
    }

    /// Who signed the nonce of a window that counts.
    pub fn nonce_by(&self, window: u32) -> Option<KeyId> {
        self.nonces.get(&window).map(|nonce| nonce.signer)
    }

    /// How many records there are, void ones included.
    pub fn count(&self) -> usize {
        let vehicles = self.claims.len().saturating_add(self.particles.len());
        vehicles.saturating_add(self.votes.len()).saturating_add(self.nonces.len())
    }
}

impl<T> Signed<T> {
    /// The same record with another reading of its body.
    pub(crate) fn of<U>(&self, body: U) -> Signed<U> {
        let Self { id, signer, counter, not_after_seconds, body: _ } = *self;
        Signed { id, signer, counter, not_after_seconds, body }
    }
}

impl<T> Entry<T> {
    pub(crate) const fn one(&self) -> Option<&Signed<T>> {
        match self {
            Self::One(record) => Some(record),
            Self::Void => None,
        }
    }
}

fn known<T>(roster: &Roster, record: &Signed<T>) -> Result<(), RejectRecord> {
    let signer = record.signer;
    roster.number(signer).map(|_number| ()).ok_or(RejectRecord::UnknownVehicle { signer })
}

/// Whether this very record stands under its key: brokers repeat what they retain.
fn holds<K: Ord, T>(set: &BTreeMap<K, Entry<T>>, key: &K, id: RecordId) -> bool {
    set.get(key).and_then(Entry::one).is_some_and(|kept| kept.id == id)
}

/// Joins one record to what is known under its key. Two that say the same are one; two that do not are a lie.
fn insert<K: Ord, T: PartialEq>(
    set: &mut BTreeMap<K, Entry<T>>,
    key: K,
    record: Signed<T>,
) -> Result<bool, RejectRecord> {
    match set.get_mut(&key) {
        None => {
            set.insert(key, Entry::One(record));
            Ok(true)
        }
        Some(entry) => join(entry, record),
    }
}

/// The same, of what is known. True: it has changed.
pub(crate) fn join<T: PartialEq>(
    entry: &mut Entry<T>,
    record: Signed<T>,
) -> Result<bool, RejectRecord> {
    let signer = record.signer;
    match entry {
        Entry::One(kept) if kept.body == record.body => {
            let lower = record.id < kept.id;
            if lower {
                *kept = record;
            }
            Ok(lower)
        }
        entry @ Entry::One(_) => {
            *entry = Entry::Void;
            Err(RejectRecord::Contradicted { signer })
        }
        Entry::Void => Err(RejectRecord::Void { signer }),
    }
}
