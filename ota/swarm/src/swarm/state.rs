//! What must survive a power cut, so that nothing is counted twice.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shoal_wire::ParticleId;

use super::{Flat, RejectSetup};

/// The store's key of the state.
pub const STATE_KEY: &str = "swarm/state";
const VERSION: u8 = 3;
/// The versions before, each without the last fields: how many bytes say that there is none of them.
const BEFORE: [(u8, &[u8]); 2] = [(1, &[0; 4]), (2, &[0; 3])];
/// A damaged store must not make us allocate.
const BYTES_MAX: usize = 4096;

/// The name of values in the store: SHA-256 over them, f32 little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValuesHash([u8; 32]);

impl ValuesHash {
    /// The name of these values.
    pub fn of(values: &[f32]) -> Self {
        let mut hasher = Sha256::new();
        values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        Self(hasher.finalize().into())
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ValuesHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValuesHash(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// What coding kept back of the last contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Of which.
    pub(super) contribution: ParticleId,
    /// The values.
    pub(super) values: ValuesHash,
}

/// The particle of the paper's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walk {
    pub(super) position: ValuesHash,
    pub(super) velocity: ValuesHash,
    pub(super) personal_best: ValuesHash,
    /// Steps taken.
    pub(super) steps: u32,
    /// Claims in a row without a better personal best.
    pub(super) stagnation: u32,
}

/// The state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The newest window taken part in.
    pub(super) window: u32,
    /// The newest window whose records were all taken in.
    pub(super) attended: Option<u32>,
    /// The newest window with a contribution of ours.
    pub(super) contributed: Option<u32>,
    /// Owed as soon as the vehicle moves to a merge of that contribution: until then nothing of it was lost.
    pub(super) pending: Option<Pending>,
    /// What the particle moved to last lacks of what was contributed to it: the next contribution brings it.
    pub(super) owed: Option<ValuesHash>,
    /// The newest window with a claim of ours, and of what.
    pub(super) claimed: Option<(u32, ParticleId)>,
    /// The newest window with votes of ours, and on what.
    pub(super) voted: Option<(u32, Vec<ParticleId>)>,
    /// The particle moved to last; `None`: the start adapter.
    pub(super) base: Option<ParticleId>,
    /// The one before.
    pub(super) before: Option<ParticleId>,
    /// The last bests with the windows of their claims, the newest last.
    pub(super) bests: Vec<(u32, ParticleId)>,
    /// Since which window best is what it is.
    pub(super) best_since: u32,
    pub(super) walk: Option<Walk>,
    /// The vehicle's own steps, fading.
    pub(super) own: Option<ValuesHash>,
    /// By the consensus rule, where the vehicle tunes from; `None`: the start adapter.
    pub(super) position: Option<ValuesHash>,
    /// What came of tuning from there was contributed or claimed.
    pub(super) given: bool,
    /// At which of the scales of deployment what was chosen last lies; `None`: at full length.
    pub(super) scale: Option<u8>,
}

/// What a store gave back, checked. The default is an empty store: a first start.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub(super) state: State,
}

/// Why what a store gave back was rejected. Nothing of it is used.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectSaved {
    /// Of another version or length, or cut short.
    #[error("stored state of {len} bytes does not decode")]
    Malformed { len: usize },
}

impl Saved {
    /// Reads what the store holds under [`STATE_KEY`], if anything.
    ///
    /// # Errors
    /// [`RejectSaved`]: a store can be damaged.
    pub fn decode(bytes: Option<&[u8]>) -> Result<Self, RejectSaved> {
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let malformed = RejectSaved::Malformed { len: bytes.len() };
        if bytes.len() > BYTES_MAX {
            return Err(malformed);
        }
        let (version, rest) = bytes.split_first().ok_or(malformed)?;
        let mut rest = rest.to_vec();
        let before = BEFORE.iter().find(|(of, _none)| of == version);
        match before {
            Some((_version, none)) => rest.extend_from_slice(none),
            None if *version == VERSION => {}
            None => return Err(malformed),
        }
        let (mut state, left) =
            postcard::take_from_bytes::<State>(&rest).map_err(|_error| malformed)?;
        if before.is_some() {
            state.stand_at_the_start();
        }
        if left.is_empty() { Ok(Self { state }) } else { Err(malformed) }
    }

    /// The values that the state names: what the store must still hold.
    pub fn values(&self) -> Vec<ValuesHash> {
        self.state.values()
    }

    /// The store has lost these values: what was made of them begins anew. What was contributed, claimed and voted on stays known.
    pub fn forget(&mut self, lost: &[ValuesHash]) {
        let kept = |hash: &ValuesHash| !lost.contains(hash);
        if self.state.position.is_some_and(|position| !kept(&position)) {
            self.state.stand_at_the_start();
        }
        let State { pending, owed, walk, own, .. } = &mut self.state;
        *pending = pending.filter(|pending| kept(&pending.values));
        *owed = owed.filter(kept);
        *own = own.filter(kept);
        *walk = walk.filter(|walk| {
            let Walk { position, velocity, personal_best, .. } = walk;
            [position, velocity, personal_best].into_iter().all(kept)
        });
    }

    /// As a store holds it.
    pub fn encode(&self) -> Vec<u8> {
        self.state.encode()
    }
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        // A state of bounded lists can be written; an empty record would be refused when read.
        postcard::to_extend(self, alloc::vec![VERSION]).unwrap_or_default()
    }

    /// It is not known any more where the vehicle stood: it stands where all began, and says so.
    fn stand_at_the_start(&mut self) {
        (self.position, self.base, self.before, self.given) = (None, None, None, false);
    }

    fn values(&self) -> Vec<ValuesHash> {
        let mut values = Vec::new();
        values.extend(self.pending.map(|pending| pending.values).into_iter().chain(self.owed));
        values.extend(self.own.into_iter().chain(self.position));
        if let Some(walk) = self.walk {
            values.extend([walk.position, walk.velocity, walk.personal_best]);
        }
        values
    }
}

/// The values that the state names, in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) pending: Option<Flat>,
    pub(super) owed: Option<Flat>,
    pub(super) position: Option<Flat>,
    pub(super) velocity: Option<Flat>,
    pub(super) personal_best: Option<Flat>,
    pub(super) own: Option<Flat>,
}

impl Kept {
    pub(super) fn load(
        state: &State,
        mut values: impl FnMut(&ValuesHash) -> Result<Flat, RejectSetup>,
    ) -> Result<Self, RejectSetup> {
        let mut load = |hash: Option<ValuesHash>| hash.map(|hash| values(&hash)).transpose();
        Ok(Self {
            pending: load(state.pending.map(|pending| pending.values))?,
            owed: load(state.owed)?,
            position: load(state.position.or(state.walk.map(|walk| walk.position)))?,
            velocity: load(state.walk.map(|walk| walk.velocity))?,
            personal_best: load(state.walk.map(|walk| walk.personal_best))?,
            own: load(state.own)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn state() -> State {
        let id = |byte| ParticleId::new([byte; 32]);
        let values = |value: f32| ValuesHash::of(&[value]);
        State {
            window: 7,
            attended: Some(6),
            contributed: Some(7),
            pending: Some(Pending { contribution: id(1), values: values(1.0) }),
            owed: Some(values(5.0)),
            claimed: Some((7, id(2))),
            voted: Some((7, vec![id(3), id(4)])),
            base: Some(id(2)),
            before: None,
            bests: vec![(1, id(5)), (3, id(6))],
            best_since: 5,
            walk: Some(Walk {
                position: values(2.0),
                velocity: values(3.0),
                personal_best: values(4.0),
                steps: 9,
                stagnation: 2,
            }),
            own: Some(values(6.0)),
            position: Some(values(7.0)),
            given: true,
            scale: Some(2),
        }
    }

    /// They do not say where the vehicle stood.
    #[test]
    fn states_of_versions_before_are_read() {
        let state = State { base: None, position: None, given: false, scale: None, ..state() };
        for (version, own) in [(1, None), (2, state.own)] {
            let state = State { own, ..state.clone() };
            let written = State { base: Some(ParticleId::new([9; 32])), ..state.clone() };
            let mut bytes = written.encode();
            bytes.truncate(bytes.len() - if version == 1 { 4 } else { 3 });
            bytes.iter_mut().take(1).for_each(|written| *written = version);
            assert_eq!(Saved::decode(Some(&bytes)).unwrap().state, state);
        }
    }

    #[test]
    fn a_state_survives_the_store() {
        for state in [State::default(), state()] {
            assert_eq!(Saved::decode(Some(&state.encode())).unwrap().state, state);
        }
        assert_eq!(Saved::decode(None).unwrap().state, State::default());
        assert_eq!(Saved { state: state() }.values().len(), 7);
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let bytes = state().encode();
        for len in 0..bytes.len() {
            assert!(Saved::decode(bytes.get(..len)).is_err(), "cut to {len}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Saved::decode(Some(&longer)).is_err());
        let mut other = bytes;
        other.iter_mut().take(1).for_each(|version| *version = 4);
        assert!(Saved::decode(Some(&other)).is_err());
        let endless = vec![1; BYTES_MAX.saturating_add(1)];
        assert!(Saved::decode(Some(&endless)).is_err());
    }

    #[test]
    fn of_what_a_store_has_lost_the_rest_stays() {
        let whole = Saved { state: state() };
        let values = |value: f32| ValuesHash::of(&[value]);
        let mut saved = whole.clone();
        saved.forget(&[]);
        assert_eq!(saved.state, whole.state);
        saved.forget(&[values(1.0), values(4.0), values(6.0)]);
        assert_eq!(saved.values(), [values(5.0), values(7.0)], "a walk is whole or none");
        saved.forget(&[values(5.0)]);
        let bare = State { pending: None, owed: None, walk: None, own: None, ..state() };
        assert_eq!(saved.state, bare);
        // Who does not know where it stood does not say that it stands on what it moved to.
        saved.forget(&[values(7.0)]);
        assert_eq!(saved.values(), []);
        let bare = State { position: None, base: None, given: false, ..bare };
        assert_eq!(saved.state, bare);
        assert_eq!(Saved::decode(Some(&saved.encode())).unwrap().state, bare);
    }

    /// Golden: another language names the same values alike.
    #[test]
    fn values_are_named_by_their_little_endian_bytes() {
        let bytes: [u8; 8] = [0, 0, 128, 63, 0, 0, 0, 192];
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        assert_eq!(ValuesHash::of(&[1.0, -2.0]).bytes(), &hash);
    }
}
