//! Parked: the shell of the night. It trains, measures and keeps what the core asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use embassy_time::Instant;
use shoal_hal::backend::files::write_whole;
use shoal_hal::{AdapterSlots as _, Conditions, Drive, Store};
use shoal_runtime::adapter::Adapter;
use shoal_shadow::clip::Frames;
use shoal_shadow::fit::FitError;
use shoal_shadow::measure::imitation::imitation;
use shoal_shadow::measure::{Horizon, measure};
use shoal_shadow::pack::Footages;
use tracing::warn;

use super::learning::{Learning, Roads};
use super::{Agent, AgentError, CLIPS_AT_ONCE, Tell, keep};
use crate::drives::footage;
use crate::night::{Event, Input, Night, Nominee, Obstacle, Output, Record};

/// Key of the night's record in the store.
const RECORD: &str = "night";
/// Most bytes of replayed frames that are decrypted into memory at a time; no span takes more than half of them.
const REPLAY_BYTES_MAX: u64 = 128 << 20;

impl Agent {
    /// One night, from parking to the last decision: measures on `pack`, tunes on replay.
    ///
    /// `conditions` is asked whenever the core wants to know; `now` only moves when it waits, by the
    /// time it wants to wait. A night that was cut goes on where its last slice ended. With too few clips in replay it ends at
    /// once, and goes on when there are more.
    ///
    /// # Errors
    /// [`AgentError`]. Failed training is no error: the night ends with what was measured before.
    pub fn night(
        &mut self,
        pack: &Footages,
        mut conditions: impl FnMut() -> Conditions,
        mut tell: impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        let mut now = Instant::from_ticks(0);
        let record = match self.record()?.filter(|record| !record.done) {
            Some(record) if self.has_lost(&record)? => None,
            record => record,
        };
        if record.is_none() {
            remove_if_there(self.checkpoint_path())?;
        }
        let made = record.map_or(0, |record| record.steps);
        let mut night = Night::new(self.config.plan(), record, now);
        let spans = self.remembered(|frames| 0..frames, &mut tell);
        let roads = Roads { spans, footage: self.footage()? };
        let mut bench = Bench::new(&roads, made);
        let clips = self.clips();
        night.handle_timeout(now);
        loop {
            if let Some(record) = night.poll_persist() {
                self.persist(&record)?;
            }
            let Some(output) = night.poll_output() else {
                match night.poll_timeout() {
                    None => break,
                    Some(at) => {
                        now = at;
                        night.handle_timeout(now);
                        continue;
                    }
                }
            };
            let input = match output {
                Output::ReadConditions => {
                    Some(Input::Conditions { conditions: conditions(), clips })
                }
                Output::Measure(nominee) => {
                    let value = self.measure_nominee(&mut bench, nominee, pack)?;
                    // What diverged is worse than anything.
                    let value = if value.is_finite() { value } else { f32::MIN };
                    tell(Tell::Measured { nominee, skill: value });
                    Some(Input::Measured { nominee, value })
                }
                Output::Tune { steps } => Some(self.tune(&mut bench, steps, &mut tell)?),
                Output::Stage(nominee) => {
                    if let Some(adapter) = self.nominee(&mut bench, nominee)? {
                        self.stage(&adapter)?;
                    }
                    Some(Input::Staged)
                }
                Output::Event(event) => {
                    tell(Tell::Night(event));
                    if event == Event::Waiting(Obstacle::Replay) {
                        // Nothing comes into replay while it is parked.
                        return Ok(());
                    }
                    None
                }
            };
            if let Some(input) = input {
                // An answer to a question of this very loop is never stale.
                night.handle_input(now, input).expect("the core asked for it");
            }
        }
        self.tidy(&bench)
    }

    /// Whether a candidate is lost for good that a night which was cut is still to measure, or to stage: what is left of it is removed.
    fn has_lost(&self, record: &Record) -> Result<bool, AgentError> {
        let measured = record.best.map(|(steps, _value)| steps);
        let unmeasured = (record.steps > record.measured).then_some(record.steps);
        for steps in measured.into_iter().chain(unmeasured) {
            let path = self.candidate_path(steps);
            let read = keep::read_file(&path, &self.layout);
            if let Some(error) = read.err().filter(keep::KeepError::is_for_good) {
                warn!(%error, "the night that was cut cannot go on: it begins anew");
                remove_if_there(path)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts an adapter on trial, in the place of one that is: a cut may have come between that and its record.
    fn stage(&mut self, adapter: &Adapter) -> Result<(), AgentError> {
        if self.slots.state().trial {
            self.slots.roll_back()?;
        }
        Ok(keep::stage(&mut self.slots, adapter)?)
    }

    /// Clips that can be drawn from replay.
    pub(crate) fn clips(&self) -> usize {
        self.replay.clips(self.form.context as u32 + 1) as usize
    }

    /// Reads replay back, the highest priorities first: of a span with so many frames those that are wanted, or the first of them. One
    /// that could not be read is told of, and not read again.
    pub(crate) fn remembered(
        &mut self,
        wanted: impl Fn(u32) -> Range<u32>,
        tell: &mut impl FnMut(Tell<'_>),
    ) -> Vec<Frames> {
        self.remembered_within(REPLAY_BYTES_MAX, wanted, tell)
    }

    /// The same within so many bytes. What has no room any more is left out, and what is smaller may have.
    fn remembered_within(
        &mut self,
        bytes_max: u64,
        wanted: impl Fn(u32) -> Range<u32>,
        tell: &mut impl FnMut(Tell<'_>),
    ) -> Vec<Frames> {
        let lost: BTreeSet<u64> = self.replay.unreadable().map(|span| span.id).collect();
        let spans = self.replay.spans().filter(|span| !lost.contains(&span.id));
        let mut spans: Vec<_> = spans.copied().collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.priority));
        let (mut left, mut frames) = (bytes_max, Vec::new());
        for span in spans {
            let Range { start, end } = wanted(span.frames);
            let frame = span.shape.bytes() as u64;
            // Long spans of large frames would leave nothing for others, or not even fit.
            let most = u32::try_from(bytes_max / 2 / frame.max(1)).unwrap_or(u32::MAX);
            let wanted = start..end.min(start.saturating_add(most));
            let bytes = frame.saturating_mul(wanted.len() as u64);
            if wanted.is_empty() || bytes > left {
                continue;
            }
            match self.replay.read(span.id, wanted) {
                Ok(read) => {
                    left = left.saturating_sub(bytes);
                    frames.push(read);
                }
                Err(error) => tell(Tell::Unreadable(&error)),
            }
        }
        frames
    }

    /// The pretraining footage that ships with the package.
    pub(crate) fn footage(&self) -> Result<Vec<Drive>, AgentError> {
        footage(&self.package, &self.form).map_err(AgentError::Footage)
    }

    fn measure_nominee(
        &self,
        bench: &mut Bench<'_>,
        nominee: Nominee,
        pack: &Footages,
    ) -> Result<f32, AgentError> {
        let adapter = self.nominee(bench, nominee)?;
        let measured = if self.foresees() {
            let mut predictor = self.predictor(adapter.as_ref(), CLIPS_AT_ONCE)?;
            measure(&mut predictor, &pack.clips(self.form.context), Horizon::Next)?
        } else {
            imitation(&mut self.policy(adapter.as_ref())?, &pack.acts())?
        };
        // Where every road hardly moves none is counted; the vehicle learns from them all the same.
        let listed = measured.drives.iter().filter_map(|drive| drive.next.skill());
        let (sum, count) = listed.fold((0.0, 0_u32), |(sum, n), skill| (sum + skill, n + 1));
        let all = (count > 0).then(|| sum / f64::from(count));
        measured.skill().or(all).map(|skill| skill as f32).ok_or(AgentError::EmptyPack)
    }

    fn nominee(
        &self,
        bench: &mut Bench<'_>,
        nominee: Nominee,
    ) -> Result<Option<Adapter>, AgentError> {
        match nominee {
            Nominee::Active => self.active(),
            Nominee::Candidate { steps } => match bench.candidates.get(&steps) {
                Some(adapter) => Ok(Some(adapter.clone())),
                None => Ok(Some(keep::read_file(&self.candidate_path(steps), &self.layout)?)),
            },
        }
    }

    /// Trains a slice and makes its result durable: candidate and checkpoint, before the core hears.
    fn tune(
        &self,
        bench: &mut Bench<'_>,
        steps: u32,
        tell: &mut impl FnMut(Tell<'_>),
    ) -> Result<Input, AgentError> {
        let learning = match bench.ready(self)? {
            Ok(Some(learning)) => learning,
            Ok(None) => return Ok(Input::Failed),
            Err(error) => {
                tell(Tell::TrainingFailed(&error));
                remove_if_there(self.checkpoint_path())?;
                return Ok(Input::Failed);
            }
        };
        let of = self.config.night.steps;
        let trained = learning.run(steps, |report| {
            tell(Tell::Trained { step: report.step.get() as u32, of, loss: report.loss });
        });
        let loss = match trained {
            Ok(loss) => loss,
            Err(error) => {
                tell(Tell::TrainingFailed(&error));
                return Ok(Input::Failed);
            }
        };
        let done = learning.step_count() as u32;
        let adapter = learning.adapter()?;
        let checkpoint = learning.checkpoint()?;
        keep::write_file(&self.candidate_path(done), &adapter)?;
        write_whole(&self.checkpoint_path(), &checkpoint)?;
        bench.candidates.insert(done, adapter);
        Ok(Input::Tuned { steps: done, loss })
    }

    fn record(&self) -> Result<Option<Record>, AgentError> {
        let mut buffer = [0; 1024];
        let length = self.store.get(RECORD, &mut buffer)?;
        // A record of another version starts the night anew; its candidates are overwritten.
        Ok(length.and_then(|length| serde_json::from_slice(&buffer[..length]).ok()))
    }

    fn persist(&mut self, record: &Record) -> Result<(), AgentError> {
        let bytes = serde_json::to_vec(record).expect("numbers can be written");
        Ok(self.store.put(RECORD, &bytes)?)
    }

    fn candidate_path(&self, steps: u32) -> PathBuf {
        self.state.join(format!("candidate-{steps}"))
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.state.join("checkpoint")
    }

    /// Removes what only served this night.
    fn tidy(&self, bench: &Bench<'_>) -> Result<(), AgentError> {
        let candidates = bench.candidates.keys().map(|steps| self.candidate_path(*steps));
        let candidates: Vec<PathBuf> = candidates.chain(self.left_candidates()).collect();
        candidates.into_iter().chain([self.checkpoint_path()]).try_for_each(remove_if_there)
    }

    /// Those of starts before this one. A folder that cannot be listed is left as it is.
    fn left_candidates(&self) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(&self.state).into_iter().flatten().flatten();
        let is_one = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let steps = name.and_then(|name| name.strip_prefix("candidate-"));
            steps.is_some_and(|steps| steps.parse::<u32>().is_ok())
        };
        entries.map(|entry| entry.path()).filter(is_one)
    }
}

fn remove_if_there(path: PathBuf) -> Result<(), AgentError> {
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(keep::KeepError::Remove { path, source }.into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a night trains with, built when the first slice is asked for.
struct Bench<'a> {
    roads: &'a Roads,
    /// Steps made before this start.
    made: u32,
    learning: Option<Learning<'a>>,
    candidates: BTreeMap<u32, Adapter>,
}

impl<'a> Bench<'a> {
    fn new(roads: &'a Roads, made: u32) -> Self {
        Bench { roads, made, learning: None, candidates: BTreeMap::new() }
    }

    /// The tuner, at its checkpoint if the night was cut; `None` without that checkpoint. The inner error: there is nothing to train
    /// on, or the checkpoint cannot be used, and the night ends with what was measured before.
    fn ready(
        &mut self,
        agent: &Agent,
    ) -> Result<Result<Option<&mut Learning<'a>>, FitError>, AgentError> {
        if self.learning.is_none() {
            let start = agent.active()?;
            let seed = agent.config.seed;
            let mut learning = match Learning::try_begin(agent, self.roads, start.as_ref(), seed)? {
                Ok(learning) => learning,
                Err(why) => return Ok(Err(FitError::NothingToLearn { why: why.to_string() })),
            };
            if let Ok(checkpoint) = std::fs::read(agent.checkpoint_path())
                && let Err(error) = learning.resume(&checkpoint)
            {
                return Ok(Err(error));
            }
            if learning.step_count() < u64::from(self.made) {
                return Ok(Ok(None));
            }
            self.learning = Some(learning);
        }
        Ok(Ok(self.learning.as_mut()))
    }
}

#[cfg(test)]
mod tests {
    use shoal_hal::FrameShape;
    use shoal_shadow::clip::Footage as _;
    use shoal_shadow::replay::{NewSpan, Priority, Reason, StoredMoment};

    use super::*;

    /// Spans may be larger than all that is read back: `[replay] seconds_around` and the size of frames say so.
    #[test]
    fn a_span_that_is_too_large_leaves_room_for_those_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Agent::shipped("world", folder.path());
        let shape = FrameShape { width: 8, height: 4 };
        let frame = vec![7; shape.bytes()];
        for (share, frames) in [(0.9, 40), (0.8, 10), (0.7, 30), (0.6, 3)] {
            let moments: Vec<StoredMoment<'_>> = vec![(&frame, None); frames];
            let span = NewSpan {
                recorded_at_s: 1_800_000_000,
                rate_hz: 10.0,
                shape,
                reason: Reason::Ordinary,
                priority: Priority::from_share(share),
                moments: &moments,
            };
            agent.replay.put(&span).unwrap();
        }
        let mut read = |frames_max: usize, wanted: fn(u32) -> Range<u32>| -> Vec<usize> {
            let bytes_max = (frames_max * shape.bytes()) as u64;
            let read = agent.remembered_within(bytes_max, wanted, &mut |tell| panic!("{tell:?}"));
            read.iter().map(|read| read.len()).collect()
        };
        let all = |frames| 0..frames;
        assert_eq!(read(25, all), [12, 10, 3]);
        assert_eq!(read(83, all), [40, 10, 30, 3]);
        // What counts is what is wanted, not the span that it is of.
        assert_eq!(read(12, |frames| frames - 3..frames), [3; 4]);
        assert_eq!(read(1, all), [0; 0]);
    }
}
