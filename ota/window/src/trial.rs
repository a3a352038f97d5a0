//! The adapter slot: inactive → on trial → confirmed, or rolled back.
//!
//! What the swarm found drives nothing: on trial it runs beside the adapter in use, on the same frames, until
//! enough of them say which is better. [`Trial`] decides; the places themselves, and their durability, are the
//! vehicle's (`hal`'s slots), told by [`TrialOutput`].

use shoal_wire::ParticleId;

use crate::saved::Record;

/// The store's key of the trial.
pub const TRIAL_KEY: &str = "window/trial";

const VERSION: u8 = 1;
const BYTES: usize = 1 + 1 + 32 + 8 + 8 + 1;
/// Failures in a row after which an adapter is rolled back.
const FAILURES_MAX: u8 = 3;
/// Of the frames to watch, a record is made at most so often: a record wears a flash out, and saying that nothing was watched costs nothing.
const RECORDS_MAX: u64 = 16;

/// What a trial must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialPolicy {
    /// Frames to watch before it is confirmed; failures before this many frames count together.
    pub frames_min: u64,
    /// The loss at which it ends at once: as [`TrialInput::Watched`] sums gain, but how much worse.
    pub loss_max: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialInput {
    /// This particle's adapter lies sealed in the inactive slot.
    Staged(ParticleId),
    /// Both adapters ran on this many more frames. A restart may forget the last sixteenth of those to watch, with their gain.
    Watched {
        /// How many.
        frames: u32,
        /// Sum over those frames of how much better the one on trial was, in units of a term value (1e-4);
        /// negative: worse.
        gain: i64,
    },
    /// The agent ended while the trial ran and did not mean to.
    Failed,
    /// Whoever watches has decided, by limits of its own: a campaign's.
    Judged {
        /// Whether the one on trial is kept.
        kept: bool,
    },
}

/// Where an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// Nothing was ever staged.
    Inactive,
    /// Watched beside the one in use.
    OnTrial(ParticleId),
    /// In use.
    Confirmed(ParticleId),
    /// Not in use, and not to be tried again.
    RolledBack(ParticleId),
}

/// What the shell is to do with the slots. After a restart the last one comes again: a slot that is there
/// already stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialOutput {
    /// Put the inactive slot on trial.
    Start,
    /// Make the slot on trial the active one.
    Confirm,
    /// End the trial; what was active stays.
    RollBack,
}

/// Why an input was rejected.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectTrial {
    #[error("{running} is on trial")]
    Running { running: ParticleId },
    /// It was tried and found wanting.
    #[error("{particle} was rolled back before")]
    RolledBack { particle: ParticleId },
    #[error("nothing is on trial")]
    NoTrial,
    /// Stored by another version, or damaged.
    #[error("stored trial of {len} bytes does not decode")]
    Malformed { len: usize },
}

/// One vehicle's trial.
#[derive(Clone, Debug)]
pub struct Trial {
    policy: TrialPolicy,
    state: TrialState,
    frames: u64,
    gain: i64,
    failures: u8,
    /// Frames at the last failure.
    failed_at: u64,
    /// Frames in the last record.
    kept: u64,
    stored: bool,
    told: bool,
    record: [u8; BYTES],
}

impl Trial {
    /// Before anything was staged.
    pub const fn new(policy: TrialPolicy) -> Self {
        Self {
            policy,
            state: TrialState::Inactive,
            frames: 0,
            gain: 0,
            failures: 0,
            failed_at: 0,
            kept: 0,
            stored: true,
            told: true,
            record: [0; BYTES],
        }
    }

    /// The trial as the store holds it under [`TRIAL_KEY`].
    ///
    /// # Errors
    /// [`RejectTrial::Malformed`]: nothing of it is used; the vehicle's slots say what is active.
    pub fn decode(bytes: &[u8], policy: TrialPolicy) -> Result<Self, RejectTrial> {
        decode(bytes, policy).ok_or(RejectTrial::Malformed { len: bytes.len() })
    }

    /// Where the adapter is.
    pub const fn state(&self) -> TrialState {
        self.state
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// [`RejectTrial`]: the input changed nothing.
    pub fn handle_input(&mut self, input: TrialInput) -> Result<(), RejectTrial> {
        let particle = match (self.state, input) {
            (TrialState::OnTrial(running), TrialInput::Staged(particle)) => {
                let same = running == particle;
                return if same { Ok(()) } else { Err(RejectTrial::Running { running }) };
            }
            (TrialState::RolledBack(before), TrialInput::Staged(particle))
                if before == particle =>
            {
                return Err(RejectTrial::RolledBack { particle });
            }
            (_, TrialInput::Staged(particle)) => {
                (self.frames, self.gain, self.failures, self.failed_at) = (0, 0, 0, 0);
                self.kept = 0;
                self.enter(TrialState::OnTrial(particle));
                return Ok(());
            }
            (
                TrialState::OnTrial(particle),
                TrialInput::Watched { .. } | TrialInput::Failed | TrialInput::Judged { .. },
            ) => particle,
            (
                TrialState::Inactive | TrialState::Confirmed(_) | TrialState::RolledBack(_),
                TrialInput::Watched { .. } | TrialInput::Failed | TrialInput::Judged { .. },
            ) => return Err(RejectTrial::NoTrial),
        };
        match input {
            TrialInput::Watched { frames, gain } => {
                self.frames = self.frames.saturating_add(u64::from(frames));
                self.gain = self.gain.saturating_add(gain);
                let more = self.frames.saturating_sub(self.kept);
                if more > 0 && more >= self.policy.frames_min / RECORDS_MAX {
                    self.stored = false;
                }
            }
            TrialInput::Failed => {
                self.stored = false;
                let calm = self.frames.saturating_sub(self.failed_at) >= self.policy.frames_min;
                self.failures = if calm { 1 } else { self.failures.saturating_add(1) };
                self.failed_at = self.frames;
            }
            TrialInput::Judged { kept } => {
                let confirmed = TrialState::Confirmed(particle);
                self.enter(if kept { confirmed } else { TrialState::RolledBack(particle) });
                return Ok(());
            }
            TrialInput::Staged(_) => {}
        }
        self.decide(particle);
        Ok(())
    }

    /// The record to make durable before [`Trial::poll_output`].
    pub fn poll_persist(&mut self) -> Option<Record<'_>> {
        if self.stored {
            return None;
        }
        (self.stored, self.kept) = (true, self.frames);
        self.record = self.encode();
        Some(Record { key: TRIAL_KEY, bytes: &self.record })
    }

    /// What to do with the slots, when the record is durable.
    pub fn poll_output(&mut self) -> Option<TrialOutput> {
        if !self.stored || self.told {
            return None;
        }
        self.told = true;
        match self.state {
            TrialState::Inactive => None,
            TrialState::OnTrial(_) => Some(TrialOutput::Start),
            TrialState::Confirmed(_) => Some(TrialOutput::Confirm),
            TrialState::RolledBack(_) => Some(TrialOutput::RollBack),
        }
    }

    fn decide(&mut self, particle: ParticleId) {
        let lost = self.gain < 0 && self.gain.unsigned_abs() > self.policy.loss_max;
        if lost || self.failures >= FAILURES_MAX {
            self.enter(TrialState::RolledBack(particle));
        } else if self.frames >= self.policy.frames_min {
            let better = self.gain >= 0;
            let confirmed = TrialState::Confirmed(particle);
            self.enter(if better { confirmed } else { TrialState::RolledBack(particle) });
        }
    }

    fn enter(&mut self, state: TrialState) {
        (self.state, self.stored, self.told) = (state, false, false);
    }

    fn encode(&self) -> [u8; BYTES] {
        let nothing = ParticleId::new([0; 32]);
        let (number, particle) = match self.state {
            TrialState::Inactive => (0, nothing),
            TrialState::OnTrial(particle) => (1, particle),
            TrialState::Confirmed(particle) => (2, particle),
            TrialState::RolledBack(particle) => (3, particle),
        };
        let mut bytes = [0; BYTES];
        let fields: [&[u8]; 6] = [
            &[VERSION],
            &[number],
            particle.bytes(),
            &self.frames.to_le_bytes(),
            &self.gain.to_le_bytes(),
            &[self.failures],
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

fn decode(bytes: &[u8], policy: TrialPolicy) -> Option<Trial> {
    let (version, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first()?;
    let (particle, rest) = rest.split_first_chunk()?;
    let (frames, rest) = rest.split_first_chunk()?;
    let (gain, rest) = rest.split_first_chunk()?;
    let (failures, rest) = rest.split_first()?;
    if *version != VERSION || !rest.is_empty() {
        return None;
    }
    let particle = ParticleId::new(*particle);
    let state = match number {
        0 => TrialState::Inactive,
        1 => TrialState::OnTrial(particle),
        2 => TrialState::Confirmed(particle),
        3 => TrialState::RolledBack(particle),
        _ => return None,
    };
    let frames = u64::from_le_bytes(*frames);
    Some(Trial {
        state,
        frames,
        gain: i64::from_le_bytes(*gain),
        failures: *failures,
        // What was watched before a restart does not calm a failure after it.
        failed_at: frames,
        kept: frames,
        told: false,
        ..Trial::new(policy)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use heapless::Vec;

    use super::*;

    const POLICY: TrialPolicy = TrialPolicy { frames_min: 1000, loss_max: 50_000 };

    fn particle(number: u8) -> ParticleId {
        ParticleId::new([number; 32])
    }

    fn on_trial() -> Trial {
        let mut trial = Trial::new(POLICY);
        trial.handle_input(TrialInput::Staged(particle(1))).unwrap();
        assert_eq!(drain(&mut trial), [TrialOutput::Start]);
        trial
    }

    fn drain(trial: &mut Trial) -> Vec<TrialOutput, 4> {
        while trial.poll_persist().is_some() {}
        core::iter::from_fn(|| trial.poll_output()).collect()
    }

    fn watched(frames: u32, gain: i64) -> TrialInput {
        TrialInput::Watched { frames, gain }
    }

    #[test]
    fn one_that_is_no_worse_over_enough_frames_is_confirmed() {
        let mut trial = on_trial();
        trial.handle_input(watched(999, -300)).unwrap();
        assert_eq!(drain(&mut trial), []);
        trial.handle_input(watched(1, 300)).unwrap();
        assert_eq!(drain(&mut trial), [TrialOutput::Confirm]);
        assert_eq!(trial.state(), TrialState::Confirmed(particle(1)));
    }

    #[test]
    fn one_that_is_worse_over_enough_frames_is_rolled_back() {
        let mut trial = on_trial();
        trial.handle_input(watched(1000, -1)).unwrap();
        assert_eq!(drain(&mut trial), [TrialOutput::RollBack]);
    }

    #[test]
    fn whoever_watches_may_decide() {
        for (kept, state, output) in [
            (true, TrialState::Confirmed(particle(1)), TrialOutput::Confirm),
            (false, TrialState::RolledBack(particle(1)), TrialOutput::RollBack),
        ] {
            let mut trial = on_trial();
            trial.handle_input(watched(10, 7)).unwrap();
            trial.handle_input(TrialInput::Judged { kept }).unwrap();
            assert_eq!(trial.state(), state);
            assert_eq!(drain(&mut trial), [output]);
            let again = trial.handle_input(TrialInput::Judged { kept: !kept });
            assert_eq!(again, Err(RejectTrial::NoTrial));
        }
    }

    #[test]
    fn one_that_loses_too_much_is_rolled_back_at_once() {
        let mut trial = on_trial();
        trial.handle_input(watched(10, -50_000)).unwrap();
        assert_eq!(drain(&mut trial), []);
        trial.handle_input(watched(1, -1)).unwrap();
        assert_eq!(drain(&mut trial), [TrialOutput::RollBack]);
    }

    #[test]
    fn the_third_failure_in_a_row_rolls_back() {
        let mut trial = on_trial();
        for _ in 0..2 {
            trial.handle_input(TrialInput::Failed).unwrap();
            // Each is a restart: the last output comes again.
            let stored = trial.poll_persist().unwrap().bytes.to_vec();
            trial = Trial::decode(&stored, POLICY).unwrap();
            assert_eq!(drain(&mut trial), [TrialOutput::Start]);
        }
        trial.handle_input(TrialInput::Failed).unwrap();
        assert_eq!(drain(&mut trial), [TrialOutput::RollBack]);
    }

    #[test]
    fn what_was_rolled_back_is_not_tried_again() {
        let mut trial = on_trial();
        trial.handle_input(watched(1000, -1)).unwrap();
        let again = trial.handle_input(TrialInput::Staged(particle(1)));
        assert_eq!(again, Err(RejectTrial::RolledBack { particle: particle(1) }));
        trial.handle_input(TrialInput::Staged(particle(2))).unwrap();
        assert_eq!(trial.state(), TrialState::OnTrial(particle(2)));
    }

    #[test]
    fn a_trial_is_not_replaced_by_another() {
        let mut trial = on_trial();
        let other = trial.handle_input(TrialInput::Staged(particle(2)));
        assert_eq!(other, Err(RejectTrial::Running { running: particle(1) }));
        trial.handle_input(TrialInput::Staged(particle(1))).unwrap();
        assert_eq!(drain(&mut trial), []);
    }

    /// Whoever watches may say it as often as it likes: a trial is a bounded number of records.
    #[test]
    fn a_record_is_made_for_a_share_of_the_frames_and_for_a_decision() {
        let mut trial = on_trial();
        let records = |trial: &mut Trial, input| {
            trial.handle_input(input).unwrap();
            usize::from(trial.poll_persist().is_some())
        };
        let said = |input| (0..1000).map(move |_| input);
        assert_eq!(said(watched(0, 0)).map(|input| records(&mut trial, input)).sum::<usize>(), 0);
        assert_eq!(said(watched(0, 1)).map(|input| records(&mut trial, input)).sum::<usize>(), 0);
        let kept: usize = (0..999).map(|_| records(&mut trial, watched(1, 0))).sum();
        assert_eq!(kept, 16, "62 frames each");
        assert_eq!(records(&mut trial, TrialInput::Failed), 1);
        assert_eq!(records(&mut trial, watched(0, -2000)), 0);
        assert_eq!(records(&mut trial, watched(0, -50_000)), 1, "it lost too much");
        assert_eq!(trial.state(), TrialState::RolledBack(particle(1)));
    }

    #[test]
    fn nothing_is_done_before_it_is_durable() {
        let mut trial = Trial::new(POLICY);
        trial.handle_input(TrialInput::Staged(particle(1))).unwrap();
        assert_eq!(trial.poll_output(), None);
        assert!(trial.poll_persist().is_some());
        assert_eq!(trial.poll_output(), Some(TrialOutput::Start));
    }

    #[test]
    fn without_a_trial_there_is_nothing_to_watch() {
        let mut trial = Trial::new(POLICY);
        assert_eq!(trial.handle_input(watched(1, 1)), Err(RejectTrial::NoTrial));
        assert_eq!(trial.handle_input(TrialInput::Failed), Err(RejectTrial::NoTrial));
    }

    #[test]
    fn a_damaged_record_is_refused() {
        let bytes = on_trial().encode();
        for len in 0..BYTES {
            assert!(Trial::decode(bytes.get(..len).unwrap(), POLICY).is_err());
        }
        for (at, value) in [(0, 2), (1, 4)] {
            let mut other = bytes;
            other[at] = value;
            assert!(Trial::decode(&other, POLICY).is_err());
        }
    }
}
