//! One night of one vehicle, as a pure state machine: measure what is active, tune in slices, measure
//! each candidate, stage the best one if it is better. It decides; the shell trains, measures, stores.
//!
//! The shell hands in what happened through [`Night::handle_input`] and [`Night::handle_timeout`], then
//! drains [`Night::poll_persist`] (made durable first), [`Night::poll_output`] and
//! [`Night::poll_timeout`] until each returns `None`.
//!
//! ```text
//! waiting ──conditions hold──▶ measuring active ──▶ tuning a slice ──▶ measuring the candidate ─┐
//!    ▲                                                   ▲                                      │
//!    └──── conditions fail: paused, nothing is lost ─────┴────────── steps left ◀───────────────┤
//!                                                              no steps left ──▶ staged | kept ─┘
//! ```

use std::collections::VecDeque;

use embassy_time::{Duration, Instant};
use serde::{Deserialize, Serialize};
use shoal_hal::Conditions;

/// What a night may cost and when it may run; every field comes from the vehicle's configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Gradient steps of the whole night.
    pub steps: u32,
    /// Steps between two measurements of the candidate.
    pub slice: u32,
    /// Clips that replay must hold before tuning is worth it.
    pub clips_min: usize,
    /// A candidate is staged when its pack value exceeds the active one by this much (skill).
    pub margin: f32,
    /// Warmest computer at which tuning may run, in °C.
    pub temperature_max_c: i16,
    /// Lowest state of charge at which tuning may run without external power, in percent; over 100
    /// means: only on external power.
    pub battery_soc_min_percent: u8,
    /// How long to wait before conditions are asked for again.
    pub retry: Duration,
}

impl Plan {
    /// Why a vehicle in these conditions may not tune; `None`: it may.
    #[must_use]
    pub fn obstacle(&self, conditions: &Conditions) -> Option<Obstacle> {
        let charged = conditions.battery_soc_percent >= self.battery_soc_min_percent;
        if !conditions.parked {
            Some(Obstacle::Driving)
        } else if !conditions.external_power && !charged {
            Some(Obstacle::Power)
        } else if conditions.temperature_c > self.temperature_max_c {
            Some(Obstacle::Temperature)
        } else {
            None
        }
    }
}

/// What happened in the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// The vehicle's conditions now, and how many clips replay holds.
    Conditions {
        /// As `hal` read them.
        conditions: Conditions,
        /// Clips that can be drawn for tuning.
        clips: usize,
    },
    /// A slice was trained: steps made this night in all, and the mean loss of the slice.
    Tuned {
        /// Steps since the night began.
        steps: u32,
        /// Mean training loss of the slice.
        loss: f32,
    },
    /// A nominee was measured on the evaluation pack.
    Measured {
        /// What was measured.
        nominee: Nominee,
        /// Its pack value: skill, plain mean over the pack's counted drives.
        value: f32,
    },
    /// Training failed (a loss that is no number, an engine error); the last good factors stand.
    Failed,
    /// The nominee is in its slot, durably.
    Staged,
}

/// An adapter that can be measured or staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nominee {
    /// The adapter in use.
    Active,
    /// The adapter under training, as it stood after so many steps.
    Candidate {
        /// Steps since the night began.
        steps: u32,
    },
}

/// What the core asks of its shell, and what it reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// Read conditions and answer with [`Input::Conditions`].
    ReadConditions,
    /// Measure on the evaluation pack; answer with [`Input::Measured`].
    Measure(Nominee),
    /// Train so many more steps and keep the factors under the new step count; answer with
    /// [`Input::Tuned`] or [`Input::Failed`].
    Tune {
        /// Steps of this slice.
        steps: u32,
    },
    /// Write the nominee to the inactive adapter slot; answer with [`Input::Staged`]. After a cut it is asked for again.
    Stage(Nominee),
    /// For the log and the terminal.
    Event(Event),
}

/// What an operator sees of a night.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Tuning may not run now.
    Waiting(Obstacle),
    /// The night began or went on after a pause or a restart, with so many steps made.
    Began {
        /// Steps made before.
        steps: u32,
    },
    /// The best candidate beats the active adapter and was staged.
    Staged {
        /// Steps after which the candidate was taken.
        steps: u32,
        /// Its pack value.
        value: f32,
        /// The active adapter's pack value.
        active: f32,
    },
    /// Nothing better was found; the active adapter stays.
    Kept {
        /// Best pack value of a candidate, if one was measured.
        best: Option<f32>,
        /// The active adapter's pack value.
        active: f32,
    },
    /// Training failed; what was measured before still counts.
    TrainingFailed,
}

/// Why tuning waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The vehicle is being driven.
    Driving,
    /// Neither external power nor enough charge.
    Power,
    /// The computer is too warm.
    Temperature,
    /// Replay holds too few clips.
    Replay,
}

/// What must outlive a power cut: enough to go on where the night stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps made.
    pub steps: u32,
    /// Steps after which a candidate was last measured.
    pub measured: u32,
    /// Pack value of the active adapter, once measured.
    pub active: Option<f32>,
    /// Best candidate: steps and pack value.
    pub best: Option<(u32, f32)>,
    /// The night ended: staged or kept.
    pub done: bool,
}

impl Record {
    /// Whether all that was measured is a number: nothing is better than infinity, whatever comes after it.
    fn is_sound(&self) -> bool {
        let best = self.best.map(|(_steps, value)| value);
        self.active.into_iter().chain(best).all(f32::is_finite)
    }
}

/// An input that does not fit the state: a bug of the shell or a stale answer; it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Nothing of the kind was asked for.
    #[error("an answer came that was not asked for")]
    NotAsked,
    /// A value or loss that is no number.
    #[error("a measured value or loss is not a finite number")]
    NotFinite,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting { retry_at: Instant },
    Asking,
    MeasuringActive,
    Tuning,
    MeasuringCandidate,
    Staging { steps: u32, value: f32 },
    Done,
}

/// The night's core. See the module for its doors.
#[derive(Clone, Debug)]
pub struct Night {
    plan: Plan,
    state: State,
    record: Record,
    unsaved: bool,
    failed: bool,
    outputs: VecDeque<Output>,
}

impl Night {
    /// A night that starts, or goes on from what was made durable before.
    #[must_use]
    pub fn new(plan: Plan, resumed: Option<Record>, now: Instant) -> Self {
        let record = resumed.filter(|record| !record.done && record.is_sound()).unwrap_or_default();
        let state = State::Waiting { retry_at: now };
        Night { plan, state, record, unsaved: false, failed: false, outputs: VecDeque::new() }
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// [`Reject`] when the input answers no question; the state is then unchanged.
    pub fn handle_input(&mut self, now: Instant, input: Input) -> Result<(), Reject> {
        match (input, self.state) {
            (Input::Conditions { conditions, clips }, State::Asking) => {
                self.conditions(now, conditions, clips);
                Ok(())
            }
            (Input::Measured { nominee: Nominee::Active, value }, State::MeasuringActive) => {
                self.record.active = Some(finite(value)?);
                self.unsaved = true;
                self.ask();
                Ok(())
            }
            (Input::Tuned { steps, loss }, State::Tuning) if steps > self.record.steps => {
                finite(loss)?;
                self.record.steps = steps;
                self.unsaved = true;
                self.measure_candidate();
                Ok(())
            }
            (Input::Measured { nominee, value }, State::MeasuringCandidate)
                if nominee == (Nominee::Candidate { steps: self.record.steps }) =>
            {
                let value = finite(value)?;
                if self.record.best.is_none_or(|(_, best)| value > best) {
                    self.record.best = Some((self.record.steps, value));
                }
                self.record.measured = self.record.steps;
                self.unsaved = true;
                self.ask();
                Ok(())
            }
            (Input::Failed, State::Tuning) => {
                self.failed = true;
                self.emit(Output::Event(Event::TrainingFailed));
                self.finish();
                Ok(())
            }
            (Input::Staged, State::Staging { steps, value }) => {
                let active = self.record.active.unwrap_or(0.0);
                self.end(Event::Staged { steps, value, active });
                Ok(())
            }
            (
                Input::Conditions { .. }
                | Input::Measured { .. }
                | Input::Tuned { .. }
                | Input::Failed
                | Input::Staged,
                _,
            ) => Err(Reject::NotAsked),
        }
    }

    /// Time passed; early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Waiting { retry_at } = self.state
            && now >= retry_at
        {
            self.ask();
        }
    }

    /// What must be durable before any output is carried out.
    pub fn poll_persist(&mut self) -> Option<Record> {
        std::mem::take(&mut self.unsaved).then_some(self.record)
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Night::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { retry_at } => Some(retry_at),
            State::Asking
            | State::MeasuringActive
            | State::Tuning
            | State::MeasuringCandidate
            | State::Staging { .. }
            | State::Done => None,
        }
    }

    /// Whether the night has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn ask(&mut self) {
        if self.failed || (self.record.active.is_some() && self.record.measured >= self.plan.steps)
        {
            return self.finish();
        }
        self.state = State::Asking;
        self.emit(Output::ReadConditions);
    }

    fn conditions(&mut self, now: Instant, conditions: Conditions, clips: usize) {
        if let Some(obstacle) = self.obstacle(conditions, clips) {
            self.state = State::Waiting { retry_at: now + self.plan.retry };
            self.emit(Output::Event(Event::Waiting(obstacle)));
            return;
        }
        if self.record.active.is_none() {
            self.emit(Output::Event(Event::Began { steps: self.record.steps }));
            self.state = State::MeasuringActive;
            self.emit(Output::Measure(Nominee::Active));
            return;
        }
        if self.record.steps > self.record.measured {
            return self.measure_candidate();
        }
        let left = self.plan.steps.saturating_sub(self.record.steps);
        self.state = State::Tuning;
        self.emit(Output::Tune { steps: left.min(self.plan.slice.max(1)) });
    }

    fn obstacle(&self, conditions: Conditions, clips: usize) -> Option<Obstacle> {
        let few = || (clips < self.plan.clips_min).then_some(Obstacle::Replay);
        self.plan.obstacle(&conditions).or_else(few)
    }

    fn measure_candidate(&mut self) {
        self.state = State::MeasuringCandidate;
        self.emit(Output::Measure(Nominee::Candidate { steps: self.record.steps }));
    }

    fn finish(&mut self) {
        let active = self.record.active.unwrap_or(0.0);
        match self.record.best {
            Some((steps, value)) if value > active + self.plan.margin => {
                self.state = State::Staging { steps, value };
                self.emit(Output::Stage(Nominee::Candidate { steps }));
            }
            best => self.end(Event::Kept { best: best.map(|(_, value)| value), active }),
        }
    }

    fn end(&mut self, event: Event) {
        self.state = State::Done;
        self.record.done = true;
        self.unsaved = true;
        self.emit(Output::Event(event));
    }

    fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

fn finite(value: f32) -> Result<f32, Reject> {
    if value.is_finite() { Ok(value) } else { Err(Reject::NotFinite) }
}

#[cfg(test)]
mod tests {
    use shoal_hal::Network;

    use super::*;

    const PLAN: Plan = Plan {
        steps: 80,
        slice: 40,
        clips_min: 8,
        margin: 0.0,
        temperature_max_c: 70,
        battery_soc_min_percent: 60,
        retry: Duration::from_secs(60),
    };
    const PARKED: Conditions = Conditions {
        parked: true,
        external_power: true,
        battery_soc_percent: 40,
        temperature_c: 30,
        network: Network::None,
    };
    const START: Instant = Instant::from_ticks(0);

    fn drain(night: &mut Night) -> Vec<Output> {
        std::iter::from_fn(|| night.poll_output()).collect()
    }

    fn conditions(night: &mut Night, conditions: Conditions, clips: usize) -> Vec<Output> {
        night.handle_input(START, Input::Conditions { conditions, clips }).unwrap();
        drain(night)
    }

    /// Runs a night whose candidates measure as given, one value a slice.
    fn run(night: &mut Night, active: f32, candidates: &[f32]) -> Vec<Output> {
        let mut all = Vec::new();
        let mut values = candidates.iter();
        night.handle_timeout(START);
        while let Some(output) = night.poll_output() {
            let answer = match output {
                Output::ReadConditions => {
                    Some(Input::Conditions { conditions: PARKED, clips: 100 })
                }
                Output::Measure(Nominee::Active) => {
                    Some(Input::Measured { nominee: Nominee::Active, value: active })
                }
                Output::Measure(nominee @ Nominee::Candidate { .. }) => {
                    Some(Input::Measured { nominee, value: *values.next().unwrap() })
                }
                Output::Tune { steps } => {
                    Some(Input::Tuned { steps: night.record.steps + steps, loss: 0.1 })
                }
                Output::Stage(_) => Some(Input::Staged),
                Output::Event(_) => None,
            };
            all.push(output);
            if let Some(input) = answer {
                night.handle_input(START, input).unwrap();
            }
        }
        all
    }

    /// A record is as good as the disk that it lies on.
    #[test]
    fn a_record_without_numbers_begins_the_night_anew() {
        for (active, best) in [(f32::NAN, 0.2), (0.1, f32::INFINITY)] {
            let record = Record {
                steps: 40,
                active: Some(active),
                best: Some((40, best)),
                ..Record::default()
            };
            let night = Night::new(PLAN, Some(record), START);
            assert_eq!(night.record, Record::default());
        }
    }

    #[test]
    fn the_best_candidate_is_staged_not_the_last() {
        let mut night = Night::new(PLAN, None, START);
        let outputs = run(&mut night, 0.40, &[0.45, 0.43]);
        assert!(outputs.contains(&Output::Stage(Nominee::Candidate { steps: 40 })));
        assert!(night.is_done());
    }

    #[test]
    fn a_night_that_was_cut_before_its_candidate_was_staged_stages_it_again() {
        let best = Some((40, 0.45));
        let record = Record { steps: 80, measured: 80, active: Some(0.4), best, done: false };
        let mut saved = Some(record);
        for _cut in 0..2 {
            let mut night = Night::new(PLAN, saved, START);
            night.handle_timeout(START);
            assert_eq!(drain(&mut night), [Output::Stage(Nominee::Candidate { steps: 40 })]);
            saved = night.poll_persist().or(saved);
        }
        let mut night = Night::new(PLAN, saved, START);
        let outputs = run(&mut night, 0.4, &[]);
        let staged = Event::Staged { steps: 40, value: 0.45, active: 0.4 };
        assert_eq!(outputs.last(), Some(&Output::Event(staged)));
        assert!(night.is_done() && night.poll_persist().unwrap().done);
    }

    #[test]
    fn nothing_is_staged_that_is_not_better() {
        let mut night = Night::new(PLAN, None, START);
        let outputs = run(&mut night, 0.40, &[0.40, 0.39]);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Stage(_))));
        assert!(outputs.contains(&Output::Event(Event::Kept { best: Some(0.40), active: 0.40 })));
    }

    #[test]
    fn a_driven_cold_or_empty_vehicle_waits_and_asks_again() {
        let cases = [
            (Conditions { parked: false, ..PARKED }, 100, Obstacle::Driving),
            (Conditions { external_power: false, ..PARKED }, 100, Obstacle::Power),
            (Conditions { temperature_c: 71, ..PARKED }, 100, Obstacle::Temperature),
            (PARKED, 7, Obstacle::Replay),
        ];
        for (state, clips, obstacle) in cases {
            let mut night = Night::new(PLAN, None, START);
            night.handle_timeout(START);
            assert_eq!(drain(&mut night), [Output::ReadConditions]);
            let outputs = conditions(&mut night, state, clips);
            assert_eq!(outputs, [Output::Event(Event::Waiting(obstacle))]);
            let retry = night.poll_timeout().unwrap();
            assert_eq!(retry, START + PLAN.retry);
            night.handle_timeout(retry);
            assert_eq!(drain(&mut night), [Output::ReadConditions]);
        }
    }

    #[test]
    fn a_night_that_was_cut_goes_on_where_it_stopped() {
        let mut night = Night::new(PLAN, None, START);
        night.handle_timeout(START);
        drain(&mut night);
        conditions(&mut night, PARKED, 100);
        let active = Input::Measured { nominee: Nominee::Active, value: 0.4 };
        night.handle_input(START, active).unwrap();
        let mut saved = night.poll_persist();
        drain(&mut night);
        conditions(&mut night, PARKED, 100);
        night.handle_input(START, Input::Tuned { steps: 40, loss: 0.1 }).unwrap();
        saved = night.poll_persist().or(saved);

        // Power is cut here; what was made durable is all that is left.
        let mut night = Night::new(PLAN, saved, START);
        let outputs = run(&mut night, 0.0, &[0.45, 0.5]);
        assert!(!outputs.contains(&Output::Measure(Nominee::Active)));
        assert!(outputs.contains(&Output::Stage(Nominee::Candidate { steps: 80 })));
    }

    #[test]
    fn an_answer_to_no_question_changes_nothing() {
        let mut night = Night::new(PLAN, None, START);
        let before = format!("{night:?}");
        let answer = Input::Tuned { steps: 40, loss: 0.1 };
        assert_eq!(night.handle_input(START, answer), Err(Reject::NotAsked));
        assert_eq!(format!("{night:?}"), before);
    }

    #[test]
    fn a_value_that_is_no_number_is_refused_and_the_question_stands() {
        let mut night = Night::new(PLAN, None, START);
        night.handle_timeout(START);
        drain(&mut night);
        conditions(&mut night, PARKED, 100);
        let nan = Input::Measured { nominee: Nominee::Active, value: f32::NAN };
        assert_eq!(night.handle_input(START, nan), Err(Reject::NotFinite));
        let value = Input::Measured { nominee: Nominee::Active, value: 0.4 };
        assert_eq!(night.handle_input(START, value), Ok(()));
    }

    #[test]
    fn failed_training_keeps_what_was_measured_before() {
        let mut night = Night::new(PLAN, None, START);
        night.handle_timeout(START);
        drain(&mut night);
        conditions(&mut night, PARKED, 100);
        let steps = [
            Input::Measured { nominee: Nominee::Active, value: 0.4 },
            Input::Conditions { conditions: PARKED, clips: 100 },
            Input::Tuned { steps: 40, loss: 0.1 },
            Input::Measured { nominee: Nominee::Candidate { steps: 40 }, value: 0.5 },
            Input::Conditions { conditions: PARKED, clips: 100 },
            Input::Failed,
        ];
        let mut outputs = Vec::new();
        for input in steps {
            night.handle_input(START, input).unwrap();
            outputs.extend(drain(&mut night));
        }
        assert!(outputs.contains(&Output::Event(Event::TrainingFailed)));
        assert!(outputs.contains(&Output::Stage(Nominee::Candidate { steps: 40 })));
    }
}
