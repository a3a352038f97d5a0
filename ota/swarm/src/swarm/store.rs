//! Values of particles at hand, and on their way.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use shoal_wire::v1::{RefusalCode, Role};
use shoal_wire::{KeyId, ParticleId, RecordId};

use super::{Flat, Output, Reject, RejectValues, Swarm};
use crate::fold::norm;
use crate::records;

/// No honest vehicle goes this many times as far in a window as this one did.
const NORMS_MAX: f64 = 32.0;

/// Where a particle is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    publisher: KeyId,
    slot: u8,
    header: RecordId,
}

/// A particle on its way.
#[derive(Clone, Debug)]
struct Fetching {
    role: Role,
    /// The first is asked.
    sources: Vec<Source>,
    /// So many of them, from the first on, are asked once before each is asked at length: of several who publish a particle
    /// some have no copy of its chunks.
    once: usize,
    /// One of those who published it could not be asked.
    unreached: bool,
}

/// What is at hand: adapters, and contributions as differences.
#[derive(Debug, Default)]
pub(super) struct Store {
    values: BTreeMap<ParticleId, Flat>,
    fetching: BTreeMap<ParticleId, Fetching>,
    /// Not to be had in this window, or refused.
    lost: BTreeSet<ParticleId>,
    /// Of these, what nobody had of those who published it.
    missing: BTreeSet<ParticleId>,
}

/// Whether values are there.
#[derive(Clone, Debug)]
pub(super) enum Want {
    Here(Flat),
    Coming,
    Lost,
}

impl Store {
    pub(super) fn put(&mut self, particle: ParticleId, values: Flat) {
        self.fetching.remove(&particle);
        self.values.insert(particle, values);
    }

    pub(super) fn get(&self, particle: ParticleId) -> Option<&Flat> {
        self.values.get(&particle)
    }

    pub(super) fn lose(&mut self, particle: ParticleId) {
        self.fetching.remove(&particle);
        self.lost.insert(particle);
    }

    /// Whether it was asked of all who published it, and none of them had it.
    pub(super) fn is_missing(&self, particle: ParticleId) -> bool {
        self.missing.contains(&particle)
    }

    /// A window begins: what was not to be had may be now, and what nobody needs can go.
    pub(super) fn begin(&mut self, needed: &[ParticleId]) {
        self.fetching.clear();
        self.lost.clear();
        self.missing.clear();
        self.values.retain(|particle, _values| needed.contains(particle));
    }

    /// The window closes: what is on its way does not come. It is asked for again should the window open once more.
    pub(super) fn cut(&mut self) {
        self.fetching.clear();
    }
}

/// As long as they should be, and finite.
pub(super) fn check(values: &[f32], want: usize) -> Result<(), RejectValues> {
    if values.len() != want {
        return Err(RejectValues::Length { got: values.len(), want });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(RejectValues::NotFinite { index }),
        None => Ok(()),
    }
}

impl RejectValues {
    /// How a refusal names it.
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::Length { .. } => RefusalCode::WrongLayout,
            Self::NotFinite { .. } => RefusalCode::NotFinite,
            Self::Norm { .. } => RefusalCode::Norm,
        }
    }
}

impl Swarm {
    /// An adapter by name, the start adapter without one; asked for if it is not there.
    pub(super) fn want(&mut self, particle: Option<ParticleId>, online: bool) -> Want {
        let Some(particle) = particle else { return Want::Here(self.start.clone()) };
        if let Some(values) = self.store.values.get(&particle) {
            return Want::Here(values.clone());
        }
        if self.store.fetching.contains_key(&particle) {
            return Want::Coming;
        }
        // What the vehicle stood on lies in its own store: it is read without a line, too.
        if self.store.lost.contains(&particle) || (!online && !self.stood_on(particle)) {
            return Want::Lost;
        }
        let headers = self.records.with_id(particle);
        let source = |header: &records::Signed<records::Particle>| Source {
            publisher: header.signer,
            slot: header.body.slot(),
            header: header.id,
        };
        let role = headers.first().map(|header| header.body.role);
        let sources: Vec<Source> = headers.into_iter().map(source).collect();
        let (role, publisher, slot) = match (role, sources.first()) {
            (Some(role), Some(first)) => (role, first.publisher, first.slot),
            // What the vehicle stood on lies in its own store, however old it is.
            _unknown if self.stood_on(particle) => (Role::Merge, self.vehicle, 0),
            _unknown => return Want::Lost,
        };
        let once = if sources.len() > 1 { sources.len() } else { 0 };
        self.outputs.push_back(Output::Fetch { particle, publisher, slot, once: once > 0 });
        self.store.fetching.insert(particle, Fetching { role, sources, once, unreached: false });
        Want::Coming
    }

    /// Values came: admitted, they become an adapter (or stay the difference that a contribution is). What is not
    /// admitted is refused, and asked of the next who has it.
    pub(super) fn fetched(&mut self, particle: ParticleId, values: &Flat) -> Result<(), Reject> {
        let Some(fetching) = self.store.fetching.get(&particle) else {
            return Err(Reject::NotAsked);
        };
        let role = fetching.role;
        if let Err(reject) = self.admit(role, values) {
            let header = fetching.sources.first().map(|source| source.header);
            if let Some(header) = header {
                self.refuse(header, reject.code());
            }
            // Its name says what its chunks hold: another publisher has the same.
            self.store.lose(particle);
            return Err(Reject::Values(reject));
        }
        let values = if role == Role::Contribution { values.clone() } else { self.adapter(values) };
        self.store.put(particle, values);
        Ok(())
    }

    /// Its publisher does not have it, or could not be asked: on to the next; each once, and then each at length.
    pub(super) fn missing(&mut self, particle: ParticleId, asked: bool) -> Result<(), Reject> {
        let Some(fetching) = self.store.fetching.get_mut(&particle) else {
            return Err(Reject::NotAsked);
        };
        let Fetching { sources, once, unreached, .. } = fetching;
        if let Some(asked_last) = sources.first().copied() {
            if *once > 0 {
                *once = once.saturating_sub(1);
                sources.rotate_left(1);
            } else {
                sources.remove(0);
                *unreached |= !asked;
            }
            if let Some(Source { publisher, slot, .. }) = sources.first().copied() {
                let once = *once > 0;
                self.outputs.push_back(Output::Fetch { particle, publisher, slot, once });
                return Ok(());
            }
            if !*unreached {
                self.refuse(asked_last.header, RefusalCode::Missing);
                self.store.missing.insert(particle);
            }
        }
        self.store.lose(particle);
        Ok(())
    }

    /// The adapter whose difference to the start this is.
    pub(super) fn adapter(&self, difference: &[f32]) -> Flat {
        self.start.iter().zip(difference).map(|(start, difference)| start + difference).collect()
    }

    fn stood_on(&self, particle: ParticleId) -> bool {
        let bests = self.state.bests.iter().map(|(_window, best)| *best);
        self.state.base.into_iter().chain(self.state.before).chain(bests).any(|one| one == particle)
    }

    fn admit(&self, role: Role, values: &Flat) -> Result<(), RejectValues> {
        check(values, self.start.len())?;
        let own = self.night.as_ref().map_or(0.0, |night| night.own_norm);
        if role == Role::Contribution && own > 0.0 {
            let (norm, max) = (norm(values), NORMS_MAX * own);
            if norm > max {
                return Err(RejectValues::Norm { norm, max });
            }
        }
        Ok(())
    }
}
