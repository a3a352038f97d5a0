//! One vehicle's part in the swarm: the five doors.
//!
//! [`Swarm`] decides; its shell measures, codes, seals, fetches and tunes. In one window a vehicle publishes what it tuned
//! as a contribution, votes on the nominees of the window before, folds what the others contributed into a merge,
//! measures and claims it, and moves to what it has itself measured to be no worse ([`ConsensusRule`]); or it claims its own
//! particle and takes one step of Model Swarms ([`PaperRule`]).
//!
//! [`ConsensusRule`]: shoal_wire::v1::ConsensusRule
//! [`PaperRule`]: shoal_wire::v1::PaperRule

mod anchor;
mod consensus;
mod deploy;
mod describe;
mod door;
mod following;
mod moving;
mod night;
mod paper;
mod private;
mod state;
mod store;
mod voting;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use embassy_time::Instant;
use shoal_wire::v1::{
    BITS_MAX, Claim, ClaimFields, MergeInput, Nonce, ParticleHeader, RefusalFields, Role, Rule,
    SwarmDocument, SwarmDocumentFields, UtilityDocument, Vote, VoteFields,
};
use shoal_wire::{KeyId, ParticleId};

use crate::privacy::Private;
use crate::quorum::{Elected, Nominee, Quorum};
use crate::records::{Records, RejectRecord, Shape, Signed};
use crate::reinstated::Reinstated;
use crate::roster::Roster;
use crate::utility::{RejectSuccessor, Utility, Weighing};
use night::Night;
use state::State;
pub use state::{RejectSaved, STATE_KEY, Saved, ValuesHash};
use store::Store;

/// A flat run of f32: an adapter, or a difference of two. Shared, never copied at a door.
pub type Flat = Arc<[f32]>;

/// What one term of a particle was, beside that of another where there is one. Units of 1e-4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TermResult {
    /// Of the candidate.
    pub value: i16,
    /// Of what it was measured beside; 0 of nothing.
    pub beside: i16,
    /// The standard error of `value`.
    pub value_error: u16,
    /// The standard error of the difference.
    pub difference_error: u16,
}

/// Where the vehicle is in its OTA window, as its window core says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Exchange.
    Open {
        /// The window's number.
        window: u32,
        /// When to begin to end.
        closes_at: Instant,
    },
    /// Finish what is in flight, begin nothing. Particles that were asked for do not come any more: should the same window open
    /// again, they are asked for again.
    Closing,
    /// Nothing may be sent or asked for.
    Closed,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A claim came.
    Claim(&'a Signed<Claim>),
    /// A vote came.
    Vote(&'a Signed<Vote>),
    /// A particle's header came.
    Header {
        /// The header.
        header: &'a Signed<ParticleHeader>,
        /// The publisher's slot, as the topic says.
        slot: u8,
    },
    /// The timekeeper's nonce of a window came.
    Nonce(&'a Signed<Nonce>),
    /// A utility document came, of the authority.
    Utility(&'a UtilityDocument),
    /// The roster is another, of the authority.
    Roster(&'a Roster),
    /// Whom the authority reinstated, by its newest document.
    Reinstated(&'a Reinstated),
    /// The window is in this phase.
    Phase(Phase),
    /// Every record that was there when the window opened has been handed in.
    Current,
    /// The adapter has been tuned, from where [`Output::Tune`] said; after a start, from [`Swarm::position`].
    Tuned(&'a Flat),
    /// The values of a particle are here: what its chunks hold, a difference to what its header names.
    Fetched {
        /// The particle.
        particle: ParticleId,
        /// Its values.
        values: &'a Flat,
    },
    /// That publisher was asked, the broker answered, and the particle is not to be had.
    Missing {
        /// The particle.
        particle: ParticleId,
    },
    /// It is not to be had, and that is not its publisher's doing: no line, no bytes left, or no answer of the broker.
    Unreached {
        /// The particle.
        particle: ParticleId,
    },
    /// A measurement is done.
    Measured {
        /// Of the output that asked for it.
        job: u64,
        /// One a term, in the order of the utility document.
        terms: &'a [TermResult],
    },
    /// A measurement failed: our resource, not the particle. It counts as not made.
    Unmeasured {
        /// Of the output that asked for it.
        job: u64,
    },
    /// A particle is coded, durable and ready to be published.
    Coded {
        /// Of the output that asked for it.
        job: u64,
        /// Its name.
        particle: ParticleId,
        /// What its chunks hold, as every receiver will read it.
        values: &'a Flat,
        /// The slot it was given; `None`: each holds what others build on.
        slot: Option<u8>,
    },
    /// A particle could not be coded.
    Uncoded {
        /// Of the output that asked for it.
        job: u64,
    },
}

/// On what to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// On this part of the pack of every term.
    Part(u8),
    /// On frames of the vehicle's own last drives that were not tuned on: one term.
    Own,
}

/// A particle to be coded.
#[derive(Clone, Debug, PartialEq)]
pub struct Particle {
    /// What it is for.
    pub role: Role,
    /// The window in which it is made.
    pub window: u32,
    /// What a contribution is a difference to; `None`: the start adapter.
    pub anchor: Option<ParticleId>,
    /// What a merge was folded from, by growing name.
    pub inputs: Vec<MergeInput>,
    /// What to code: its difference to the anchor.
    pub difference: Flat,
    /// Bits a value, 1 to 8.
    pub bits: u8,
    /// Whether noise that nobody else knows is in it: then no log names its values, which a rerun cannot make again.
    pub noised: bool,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Fetch a particle, or read it from the store; answer with [`Input::Fetched`], [`Input::Missing`] or
    /// [`Input::Unreached`].
    Fetch {
        /// The particle.
        particle: ParticleId,
        /// Whose.
        publisher: KeyId,
        /// In which slot.
        slot: u8,
        /// Others published it, too: one attempt is enough, for who was not there in time is asked at length once the others were.
        once: bool,
    },
    /// Measure an adapter; answer with [`Input::Measured`] or [`Input::Unmeasured`].
    Measure {
        /// Names the answer.
        job: u64,
        /// The adapter.
        candidate: Flat,
        /// The adapter to measure beside it, on the same clips.
        beside: Option<Flat>,
        /// On what.
        on: On,
        /// Whether others wait for what depends on it; what nobody waits for gives way to tuning.
        awaited: bool,
    },
    /// Code a particle and keep its chunks; answer with [`Input::Coded`] or [`Input::Uncoded`].
    Code {
        /// Names the answer.
        job: u64,
        /// The particle.
        particle: Particle,
    },
    /// Publish a coded particle in its slot: its header, and its chunks unless others did. Again after a power cut:
    /// what is published already stays.
    Publish {
        /// The particle.
        particle: ParticleId,
        /// Whether to publish the chunks, too.
        chunks: bool,
    },
    /// Seal and publish a claim.
    Claim(ClaimFields),
    /// Seal and publish a vote.
    Vote(VoteFields),
    /// Seal and publish a refusal.
    Refusal(RefusalFields),
    /// Tune from this adapter on: the vehicle has moved, or stays with what it tuned.
    Tune {
        /// The adapter.
        from: Flat,
        /// The particle it is; `None`: it is none that was published.
        particle: Option<ParticleId>,
        /// The window in which that was decided, which may be over.
        window: u32,
    },
    /// The swarm's candidate for the adapter slot.
    Stage(Flat),
    /// Something an operator wants to see.
    Event(Event),
}

/// What was decided, for logs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The vehicle takes part in a window.
    Began {
        /// The window.
        window: u32,
        /// Best by the records: what contributions are a difference to.
        best: Option<ParticleId>,
        /// Worst by the records.
        worst: Option<ParticleId>,
        /// How many nominees it may vote on.
        votes: usize,
        /// Whether the nonce asked it for a contribution.
        asked: bool,
    },
    /// A merge was folded.
    Merged {
        /// Its name.
        particle: ParticleId,
        /// How many contributions are in it.
        contributions: usize,
        /// How many were dropped.
        dropped: usize,
        /// Whether weights were searched for.
        searched: bool,
        /// How long the step is, of the one meant.
        length: f64,
        /// Whether it was halved.
        braked: bool,
    },
    /// A contribution is paid for: all of them come to this ε.
    Paid {
        /// At the δ that was asked for.
        epsilon: f64,
    },
    /// Nothing is contributed: what may be paid does not reach so far.
    Withheld {
        /// What was paid before.
        epsilon: f64,
    },
    /// The vehicle moved to a particle, which it measured to be this much better.
    Moved {
        /// Where to.
        particle: ParticleId,
        /// By how much.
        gain: f64,
    },
    /// The vehicle stays with what it tuned: nothing was measured to be no worse.
    Stayed,
    /// A step of Model Swarms was taken.
    Stepped {
        /// Drawn to which best; `None`: to none.
        towards: Option<ParticleId>,
        /// Kept from which worst; `None`: from none.
        from: Option<ParticleId>,
        /// Whether it began anew from the personal best.
        restarted: bool,
    },
}

/// What to make durable before the next output, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// Values that the next state names. Those that no state names any more can go.
    Values {
        /// Their name.
        hash: ValuesHash,
        /// The values.
        values: Flat,
    },
    /// The state: it replaces the one before, as a whole or not at all.
    State {
        /// [`STATE_KEY`].
        key: &'static str,
        /// The record.
        bytes: Vec<u8>,
    },
}

/// Why an input was rejected.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reject {
    #[error("record rejected")]
    Record(#[source] RejectRecord),
    #[error("utility document rejected")]
    Utility(#[source] RejectSuccessor),
    #[error("values rejected")]
    Values(#[source] RejectValues),
    /// The answer to a question that is not asked, or not any more.
    #[error("nobody waits for this")]
    NotAsked,
}

/// Why values were rejected.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RejectValues {
    #[error("{got} values, expected {want}")]
    Length { got: usize, want: usize },
    #[error("value {index} is not finite")]
    NotFinite { index: usize },
    /// Longer than any honest displacement.
    #[error("of length {norm}, at most {max} allowed")]
    Norm { norm: f64, max: f64 },
}

/// Why there is no such swarm.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RejectSetup {
    /// A rule of later software.
    #[error("the rule of the swarm document is not known")]
    UnknownRule,
    #[error("the start adapter is rejected")]
    Start(#[source] RejectValues),
    #[error("the stored state is rejected")]
    Saved(#[source] RejectSaved),
    /// The store gave the state back, but not all values it names, and nobody said so: [`Saved::forget`].
    #[error("values {hash:?} are missing from the store")]
    MissingValues { hash: ValuesHash },
    /// That rule claims what the vehicle tuned as it is.
    #[error(
        "contributions can be made private by the consensus rule alone: take [privacy] out, or leave this fleet"
    )]
    NotPrivate,
}

/// What a vehicle begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The vehicle.
    pub vehicle: KeyId,
    /// The swarm it is part of.
    pub document: SwarmDocument,
    /// x_p's adapter: drawn from the document's seed, it changes nothing.
    pub start: Flat,
    /// What is maximised.
    pub utility: Utility,
    /// Who is of the fleet.
    pub roster: Roster,
    /// From one window to the next, in seconds.
    pub period_seconds: u32,
    /// What the vehicle settles by itself.
    pub conduct: Conduct,
    /// How its contributions are made private; `None`: they are not.
    pub private: Option<Private>,
}

/// By the consensus rule: what vehicles need not agree on, but do best to do alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conduct {
    /// How many of a window's contributors fold it: at least 1. The others fetch the merge that one of these claims, instead
    /// of all contributions.
    pub folders: usize,
    /// How many more stand by: where no merge is claimed when three quarters of the window are over, or one that is surely
    /// worse (who folds was cut off, or lied), they fold, too.
    pub standby: usize,
    /// What is left of the vehicle's own steps a window later, in [0, 1): the sum of them, so fading, is what it may add to
    /// the fleet's adapter on its own roads.
    pub own_kept: f32,
    /// Whether a particle that is worse than what the vehicle has on one part of the pack is measured on another part as well,
    /// and the mean of both counts. Stretches of road differ by more than the frames of one do: one part alone would hold the
    /// whole fleet back, as all measure on the same.
    pub second_look: bool,
    /// Whether who folds searches for the length of the step, at two more measurements, and two more where longer is better: what
    /// nights have learnt is often too short, what several agree on can be walked on (docs/decisions/0061 and 0064).
    pub line_search: bool,
    /// Whether what was staged is measured on the pack once more: it has the vehicle's own steps in it, and is told to whoever looks on.
    pub measures_staged: bool,
}

impl Conduct {
    /// How many are drawn to fold or to stand by.
    const fn drawn(&self) -> usize {
        self.folders.saturating_add(self.standby)
    }
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            folders: 1,
            standby: 1,
            own_kept: 0.8,
            second_look: true,
            line_search: true,
            measures_staged: true,
        }
    }
}

/// The core. Records that it took in (true from [`Swarm::handle_input`]) are handed in again after a start, before the
/// first phase.
#[derive(Debug)]
pub struct Swarm {
    vehicle: KeyId,
    document: SwarmDocumentFields,
    start: Flat,
    utility: Utility,
    roster: Roster,
    reinstated: Reinstated,
    age_windows: u32,
    conduct: Conduct,
    private: Option<Private>,
    records: Records,
    state: State,
    /// Values that the state names.
    kept: state::Kept,
    store: Store,
    /// Where the vehicle tunes from.
    position: Flat,
    /// What it tuned last.
    tuned: Option<Flat>,
    /// The particle that the vehicle stood on when it was tuned; `None`: the start adapter.
    tuned_at: anchor::Anchor,
    /// Whether it was tuned from where the vehicle stands now: else it was before that was decided.
    has_tuned: bool,
    /// Whether it is still to be contributed or claimed.
    fresh: bool,
    /// By the paper's rule: claims in a row without a better personal best.
    stagnation: u32,
    /// What was chosen to deploy of these particles.
    fleet: Option<(Vec<ParticleId>, Flat)>,
    /// How terms were weighed in the last window of this life.
    weighed: Option<Weighing>,
    /// The window taken part in before this one.
    before: u32,
    night: Option<Night>,
    /// Whether a window opened in this life: what is handed in before was taken in before the start.
    awake: bool,
    /// The last outputs were given for this window.
    window: u32,
    job: u64,
    keeps: VecDeque<Keep>,
    outputs: VecDeque<Output>,
}

impl Swarm {
    /// A vehicle that starts: for the first time, or with what its store gives back. `values` finds the values that
    /// the state names.
    ///
    /// # Errors
    /// [`RejectSetup`].
    pub fn new(
        setup: Setup,
        saved: Saved,
        mut values: impl FnMut(&ValuesHash) -> Option<Flat>,
    ) -> Result<Self, RejectSetup> {
        let document = *setup.document.fields();
        if document.rule == Rule::Coefficients {
            return Err(RejectSetup::UnknownRule);
        }
        let count = usize::try_from(document.values).unwrap_or(usize::MAX);
        store::check(&setup.start, count).map_err(RejectSetup::Start)?;
        let mut state = saved.state;
        if setup.private.is_some() {
            private::check(&document.rule)?;
            // What coding kept back in an earlier life may be of a contribution without noise.
            (state.pending, state.owed) = (None, None);
        }
        let kept = state::Kept::load(&state, |hash| {
            let found = values(hash).filter(|found| found.len() == count);
            found.ok_or(RejectSetup::MissingValues { hash: *hash })
        })?;
        let stagnation = state.walk.map_or(1, |walk| walk.stagnation);
        let state_window = state.window;
        let shape = Shape {
            base_model: document.base_model,
            layout: document.layout,
            values: document.values,
        };
        Ok(Self {
            vehicle: setup.vehicle,
            document,
            position: kept.position.clone().unwrap_or_else(|| setup.start.clone()),
            start: setup.start,
            utility: setup.utility,
            roster: setup.roster,
            reinstated: Reinstated::NOBODY,
            age_windows: crate::records::age_windows(setup.period_seconds),
            conduct: setup.conduct,
            private: setup.private,
            records: Records::new(shape),
            window: state_window,
            state,
            kept,
            store: Store::default(),
            tuned: None,
            has_tuned: false,
            tuned_at: None,
            fresh: false,
            stagnation,
            fleet: None,
            weighed: None,
            before: state_window,
            night: None,
            awake: false,
            job: 0,
            keeps: VecDeque::new(),
            outputs: VecDeque::new(),
        })
    }

    /// The records.
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// Best by the records in this window; `None`: x_p.
    pub fn best(&self, window: u32) -> Option<Elected> {
        self.quorum(window)?.best()
    }

    /// Worst by the records in this window, if any.
    pub fn worst(&self, window: u32) -> Option<Elected> {
        self.quorum(window)?.worst()
    }

    /// What this window's claims put to the vote, as far as they are known.
    pub fn nominees(&self, window: u32) -> Vec<Nominee> {
        let voting = window.checked_add(1).and_then(|window| self.quorum(window));
        voting.map(|quorum| quorum.nominees(window)).unwrap_or_default()
    }

    /// Who is not in good standing in this window.
    pub fn quarantined(&self, window: u32) -> BTreeSet<KeyId> {
        self.quorum(window).map(|quorum| quorum.quarantined(window)).unwrap_or_default()
    }

    /// The particle the vehicle moved to last; `None`: the start adapter, or none that was published.
    pub const fn base(&self) -> Option<ParticleId> {
        self.state.base
    }

    /// Where the vehicle tunes from. After a start: what was tuned from here is handed in again, or is tuned from here on.
    pub const fn position(&self) -> &Flat {
        &self.position
    }

    /// The newest window that it took part in.
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// What was chosen last for the whole fleet to drive with, before the vehicle mixes in its own; `None` before there is one,
    /// and by the paper's rule.
    pub fn chosen_for_all(&self) -> Option<&Flat> {
        self.fleet.as_ref().map(|(_bests, chosen)| chosen)
    }

    /// What the vehicle's slots must not lose: best, worst and anchor, and what it claimed last.
    pub fn held(&self) -> Vec<ParticleId> {
        // One reading for both: most of it is to judge every window.
        let quorum = self.quorum(self.window);
        let elected = quorum.map(|quorum| [quorum.best(), quorum.worst()]);
        let elected = elected.into_iter().flatten().flatten();
        let mut held: Vec<ParticleId> = elected.map(|elected| elected.particle).collect();
        held.extend(self.state.base);
        held.extend(self.state.claimed.map(|(_window, particle)| particle));
        held.sort();
        held.dedup();
        held
    }

    /// What the vehicle's store must not lose: what its slots must not, where it stood, and the last bests.
    pub fn needed(&self) -> Vec<ParticleId> {
        let mut needed = self.held();
        needed.extend(self.state.base.into_iter().chain(self.state.before));
        needed.extend(self.state.bests.iter().map(|(_window, best)| *best));
        needed.sort();
        needed.dedup();
        needed
    }

    /// What the records mean in this window; `None` when every term of the utility has weight 0.
    pub fn quorum(&self, window: u32) -> Option<Quorum<'_>> {
        let quorum = Quorum::new(&self.records, &self.roster, &self.utility, window)?;
        Some(quorum.reinstating(&self.reinstated))
    }

    /// Bits a value of what the vehicle sends up, and of what others fetch.
    const fn bits(&self) -> (u8, u8) {
        match self.document.rule {
            Rule::Consensus(rule) => (rule.up_bits, rule.down_bits),
            // The paper's rule sends whole particles, and names no bits.
            Rule::Paper(_) | Rule::Coefficients => (BITS_MAX, BITS_MAX),
        }
    }

    fn next_job(&mut self) -> u64 {
        self.job = self.job.saturating_add(1);
        self.job
    }

    /// Makes the state durable before the outputs that follow.
    fn keep_state(&mut self) {
        self.keeps.push_back(Keep::State { key: STATE_KEY, bytes: self.state.encode() });
    }

    /// Makes values durable before the state that names them.
    fn keep_values(&mut self, values: &Flat) -> ValuesHash {
        let hash = ValuesHash::of(values);
        self.keeps.push_back(Keep::Values { hash, values: values.clone() });
        hash
    }

    fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
