//! The road: every frame is compared with what was foreseen, every action with what the policy would have done; what is unusual
//! is kept.

use std::convert::Infallible;
use std::mem;
use std::time::Duration;

use shoal_hal::{AdapterSlots, Drive, FrameShape, Moment, Moments, Span};
use shoal_shadow::replay::{NewSpan, Recent};
use shoal_shadow::trigger::Capture;
use shoal_swarm::campaign::Mine;
use tracing::warn;

use super::eyes::Watch;
use super::trial::{Record, Sums, Why};
use super::{Agent, AgentError, Tell};

/// After so many moments what was seen of an adapter on trial is kept, and thought about: a cut takes no more.
const LOOKED_AT: u32 = 100;
/// So many moments in a row without a number are more than one strange scene.
const BLIND_MAX: u32 = 100;

/// What is being driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About<'a> {
    /// Its name.
    pub name: &'a str,
    /// Moments of it in all; `None` while nobody knows.
    pub of: Option<usize>,
    /// Moments in a second.
    pub rate_hz: f64,
    /// UTC second of its first moment; `None`: it was driven before, and nothing of it is kept.
    pub recorded_at_s: Option<u64>,
}

impl About<'_> {
    /// What tells the draws of this drive from those of others. Trips begin at moment 0, each of them: by the seed alone the same
    /// places of a road were kept by chance, day after day. A recorded drive, whose end is known, is the same whenever it is driven,
    /// and so are its draws.
    const fn chance(&self) -> u64 {
        match (self.of, self.recorded_at_s) {
            (None, Some(recorded_at_s)) => recorded_at_s,
            (Some(_), _) | (None, None) => 0,
        }
    }
}

/// Why watching ended before the moments did. What was seen until then is kept.
#[derive(Debug, thiserror::Error)]
pub enum WatchError<E> {
    /// The agent cannot go on.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The next moment could not be read.
    #[error("the next moment could not be read")]
    Source(#[source] E),
}

impl Agent {
    /// Drives the spans of a drive at speed: observe, trigger, remember. An adapter on trial is watched
    /// beside the active one: by a campaign's limits if that put it there, else it is confirmed at the end unless it was the
    /// more surprised of the two.
    ///
    /// `recorded_at_s` is the UTC second of the drive's first frame.
    ///
    /// # Errors
    /// [`AgentError`]; a span that cannot be stored is told of and left out.
    pub fn drive(
        &mut self,
        drive: &Drive,
        spans: &[Span],
        recorded_at_s: u64,
        tell: impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        self.drive_while(drive, spans, Some(recorded_at_s), || true, tell)
    }

    /// Drives spans that were driven before, for the sake of an adapter on trial: nothing of them is kept.
    ///
    /// # Errors
    /// As for [`Agent::drive`].
    pub fn drive_again(
        &mut self,
        drive: &Drive,
        spans: &[Span],
        tell: impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        self.drive_while(drive, spans, None, || true, tell)
    }

    /// As [`Agent::drive`], or without a time as [`Agent::drive_again`], until `go_on`, asked after each moment, says no.
    pub(crate) fn drive_while(
        &mut self,
        drive: &Drive,
        spans: &[Span],
        recorded_at_s: Option<u64>,
        go_on: impl Fn() -> bool,
        tell: impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        let of = Some(spans.iter().map(|span| span.len()).sum());
        let about = About { name: &drive.name, of, rate_hz: drive.rate_hz, recorded_at_s };
        let frames = spans.iter().flat_map(|span| span.first..=span.last);
        let mut moments = SpanMoments { drive, frames };
        match self.watch(&mut moments, &about, |_since_start| go_on(), tell) {
            Ok(()) => Ok(()),
            Err(WatchError::Agent(error)) => Err(error),
            Err(WatchError::Source(never)) => match never {},
        }
    }

    /// Watches moments as [`drive`](Self::drive) does, until they end or `go_on`, asked after each with its time,
    /// says no. A moment without a frame, or one whose time is not the next, begins a new span.
    ///
    /// # Errors
    /// [`WatchError`]; a span that cannot be stored is told of and left out.
    pub fn watch<M: Moments>(
        &mut self,
        moments: &mut M,
        about: &About<'_>,
        mut go_on: impl FnMut(Duration) -> bool,
        mut tell: impl FnMut(Tell<'_>),
    ) -> Result<(), WatchError<M::Error>> {
        // Before the adapter on trial is loaded: the program may not outlive that.
        let mut campaign = self.begin_watch()?;
        let mut watch = Watch::new(self)?;
        let chance = (self.config.seed, about.chance());
        let mut count = 0;
        let ended = loop {
            let moment = match moments.next() {
                Ok(Some(moment)) => moment,
                Ok(None) => break Ok(()),
                Err(error) => break Err(WatchError::Source(error)),
            };
            let since_start = moment.since_start;
            count += 1;
            // The number of its tick, which a time rounded to nanoseconds still tells.
            let index = (since_start.as_secs_f64() * about.rate_hz).round() as u64;
            if moment.frame.is_none() || watch.next.is_some_and(|next| next != index) {
                self.gap(&mut watch, about, &mut tell);
            }
            if let Some(frame) = moment.frame {
                let seen = watch.moment(frame, moment.motion, index, chance)?;
                self.keep(&mut watch, about, &mut tell);
                if watch.blind >= BLIND_MAX {
                    self.leave_blind(&mut watch, about, &mut tell)?;
                }
                if watch.saw.moments >= LOOKED_AT
                    && let Some(record) = campaign.take()
                {
                    campaign = self.look(&mut watch, record, &mut tell)?;
                }
                tell(Tell::Moment {
                    drive: about.name,
                    index: count,
                    of: about.of.unwrap_or(count),
                    surprise: seen.surprise,
                    rank: seen.rank,
                    disagreement: seen.disagreement,
                    shed: seen.shed,
                    replay: self.replay.filled(),
                });
            }
            if !go_on(since_start) {
                break Ok(());
            }
        };
        self.gap(&mut watch, about, &mut tell);
        self.judge(&watch, campaign, &mut tell)?;
        ended
    }

    /// The model has said nothing that is a number for a while: an adapter that a campaign put to use is gone back from.
    fn leave_blind(
        &mut self,
        watch: &mut Watch,
        about: &About<'_>,
        tell: &mut impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        watch.blind = 0;
        let kept = self.tried()?.filter(|tried| tried.mine == Mine::Kept);
        let Some(tried) =
            kept.map(|kept| self.go_back(kept.ask.number, Why::Failed)).transpose()?
        else {
            warn!(moments = BLIND_MAX, "the model says nothing that is a number");
            return Ok(());
        };
        warn!(moments = BLIND_MAX, "the model says nothing that is a number: going back");
        self.gap(watch, about, tell);
        *watch = Watch::new(self)?;
        if let Some(tried) = tried {
            tell(Tell::Tried(tried));
        }
        Ok(())
    }

    /// Nothing that comes follows what was: spans end here.
    fn gap(&mut self, watch: &mut Watch, about: &About<'_>, tell: &mut impl FnMut(Tell<'_>)) {
        watch.gap();
        self.keep(watch, about, tell);
    }

    /// Stores what the trigger wants kept.
    fn keep(&mut self, watch: &mut Watch, about: &About<'_>, tell: &mut impl FnMut(Tell<'_>)) {
        while let Some(capture) = watch.trigger.poll_capture() {
            if let Some(recorded_at_s) = about.recorded_at_s {
                self.store(&watch.recent, about.rate_hz, recorded_at_s, capture, tell);
            }
        }
    }

    fn store(
        &mut self,
        recent: &Recent,
        rate_hz: f64,
        recorded_at_s: u64,
        capture: Capture,
        tell: &mut impl FnMut(Tell<'_>),
    ) {
        let Some(moments) = recent.moments(capture.first, capture.last) else { return };
        let start_s = (capture.first as f64 / rate_hz) as u64;
        let span = NewSpan {
            recorded_at_s: recorded_at_s.saturating_add(start_s),
            rate_hz,
            shape: self.form.shape,
            reason: capture.reason,
            priority: capture.priority,
            moments: &moments,
        };
        if let Err(error) = self.replay.put(&span) {
            tell(Tell::NotStored(&error));
        }
    }

    /// Keeps what was seen of an adapter that a campaign put on trial; the trial goes on, unless enough was seen.
    fn look(
        &mut self,
        watch: &mut Watch,
        record: Record,
        tell: &mut impl FnMut(Tell<'_>),
    ) -> Result<Option<Record>, AgentError> {
        let tried = self.end_watch(record, &mem::take(&mut watch.saw), watch.failed)?;
        if tried.mine == Mine::Watching {
            return self.begin_watch();
        }
        watch.end_trial();
        tell(Tell::Tried(tried));
        Ok(None)
    }

    /// Ends a trial by what it predicted on the road.
    fn judge(
        &mut self,
        watch: &Watch,
        campaign: Option<Record>,
        tell: &mut impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        if let Some(record) = campaign {
            tell(Tell::Tried(self.end_watch(record, &watch.saw, watch.failed)?));
            return Ok(());
        }
        let Sums { moments, active, trial, copy, .. } = watch.saw;
        if !self.slots.state().trial || (moments == 0 && !watch.failed) {
            return Ok(());
        }
        let confirmed = !watch.failed && trial <= active;
        if confirmed {
            self.slots.confirm()?;
        } else {
            self.slots.roll_back()?;
        }
        let (active, trial) = (active / copy, trial / copy);
        tell(Tell::Trial { trial: trial as f32, active: active as f32, confirmed });
        Ok(())
    }
}

/// Frames of a recorded drive, at the times they have in it.
struct SpanMoments<'a, I> {
    drive: &'a Drive,
    frames: I,
}

impl<I: Iterator<Item = usize>> Moments for SpanMoments<'_, I> {
    type Error = Infallible;

    fn shape(&self) -> FrameShape {
        self.drive.shape
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, Infallible> {
        Ok(self.frames.next().map(|index| Moment {
            frame: Some(self.drive.frame(index)),
            motion: self.drive.motion(index),
            since_start: self.drive.since_start(index),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use shoal_hal::backend::synthetic::{Region, Road};
    use shoal_runtime::adapter::Adapter;
    use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
    use shoal_runtime::onnx::Model;
    use shoal_swarm::campaign::Watch as Limits;
    use shoal_wire::{ParticleId, RecordId};

    use super::*;
    use crate::agent::Ask;

    /// Leaves what lies on the disk when the first model is loaded: nothing comes after that.
    struct Ends {
        engine: Box<dyn Engine>,
        state: PathBuf,
        left: PathBuf,
    }

    impl Engine for Ends {
        fn describe(&self) -> String {
            self.engine.describe()
        }

        fn load(
            &self,
            model: &Model,
            options: &LoadOptions,
        ) -> Result<Box<dyn Session>, EngineError> {
            if !self.left.exists() {
                copy(&self.state, &self.left);
            }
            self.engine.load(model, options)
        }
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    /// A clock by which an hour passes between two looks at it.
    fn slow() -> Duration {
        thread_local!(static HOURS: Cell<u64> = const { Cell::new(0) });
        Duration::from_secs(3600 * HOURS.replace(HOURS.get() + 1))
    }

    const MOMENTS: usize = 400;

    /// Second of the trip and priority of what a calm road leaves in replay.
    fn kept(recorded_at_s: u64, of: Option<usize>) -> Vec<(u64, f64)> {
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Agent::shipped("world", folder.path()).with_clock(slow);
        // What is not looked at is kept by chance alone.
        agent.config.engine.frame_time_max = Some(Duration::from_millis(1));
        agent.config.replay.seconds_around = 0.5;
        agent.config.replay.ordinary_share = 0.3;
        let (shape, rate_hz) = (agent.form.shape, agent.form.rate_hz);
        let frames = vec![100; MOMENTS * shape.bytes()];
        let motion = vec![None; MOMENTS];
        let road = Drive::new("calm".into(), [0; 32], rate_hz, shape, frames, motion);
        let about = About { name: "calm", of, rate_hz, recorded_at_s: Some(recorded_at_s) };
        agent.watch(&mut road.moments(), &about, |_| true, |_tell| {}).unwrap();
        let spans = agent.replay.spans();
        spans.map(|span| (span.recorded_at_s - recorded_at_s, span.priority.share())).collect()
    }

    #[test]
    fn what_is_kept_by_chance_is_another_part_of_every_trip_and_the_same_of_a_recorded_drive() {
        let (first, second) = (kept(1_800_000_000, None), kept(1_800_086_400, None));
        assert!(first.len() > 3 && second.len() > 3, "{first:?} {second:?}");
        let places = |trip: &[(u64, f64)]| trip.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_ne!(places(&first), places(&second));
        let same = |(_, priority): &&(u64, f64)| second.iter().any(|(_, other)| other == priority);
        assert_eq!(first.iter().filter(same).count(), 0, "nor with the same chances to stay");
        assert_eq!(first, kept(1_800_000_000, None));
        let recorded = kept(1_800_000_000, Some(MOMENTS));
        assert_eq!(recorded, kept(1_800_086_400, Some(MOMENTS)));
    }

    #[test]
    fn an_adapter_with_which_the_program_ends_when_it_is_loaded_is_gone_back_from() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = folder.path().join("0");
        let mut first = Agent::shipped("world", &state);
        let watch = Limits { moments_min: 1000, worse_max: 0, apart_max: 0, latency_max: u16::MAX };
        let (particle, approval) = (ParticleId::new([1; 32]), RecordId::new([9; 32]));
        let candidate = Adapter::start(Arc::clone(first.layout()), 3);
        first.put_on_trial(&candidate, Ask { number: 1, particle, approval, watch }).unwrap();
        let form = first.form().clone();
        drop(first);
        let road = Road { region: Region::ALL[0], seed: 7 }.render(form.shape, form.rate_hz, 1);
        for life in 1..=3 {
            let mut agent = Agent::shipped("world", &state);
            assert_eq!(agent.tried().unwrap().unwrap().mine, Mine::Watching);
            let left = folder.path().join(life.to_string());
            let engine = crate::engine::open(&agent.config.engine).unwrap();
            agent.engine = Box::new(Ends { engine, state, left: left.clone() });
            agent.drive_again(&road, &[Span { first: 0, last: 0 }], |_tell| {}).unwrap();
            state = left;
        }
        assert_eq!(Agent::shipped("world", &state).tried().unwrap().unwrap().mine, Mine::GoneBack);
    }

    /// A scene that takes the numbers of a kept adapter beyond all bounds ends neither the drive nor, each time again, the program.
    #[test]
    fn an_adapter_that_says_nothing_that_is_a_number_is_gone_back_from() {
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Agent::shipped("world", folder.path());
        let form = agent.form().clone();
        let frames = BLIND_MAX as usize + 60;
        let road = Road { region: Region::ALL[0], seed: 7 };
        let road = road.render(form.shape, form.rate_hz, frames);
        let all = [Span { first: 0, last: frames - 1 }];
        let (particle, approval) = (ParticleId::new([1; 32]), RecordId::new([9; 32]));
        let most = u16::MAX;
        let watch = Limits { moments_min: 10, worse_max: most, apart_max: most, latency_max: most };
        let start = Adapter::start(Arc::clone(agent.layout()), 3);
        agent.put_on_trial(&start, Ask { number: 1, particle, approval, watch }).unwrap();
        agent.drive_again(&road, &all, |_tell| {}).unwrap();
        assert_eq!(agent.tried().unwrap().unwrap().mine, Mine::Kept);
        // In the place of what was kept: over the other slot.
        let values = start.values().iter().map(|value| value.signum() * f32::MAX);
        let wild = Adapter::from_values(Arc::clone(agent.layout()), values.collect()).unwrap();
        for _slot in 0..2 {
            super::super::keep::stage(&mut agent.slots, &wild).unwrap();
            agent.slots.confirm().unwrap();
        }
        let (mut seen, mut told) = (0, None);
        agent
            .drive_again(&road, &all, |tell| match tell {
                Tell::Moment { surprise, .. } => seen += u32::from(surprise.is_some()),
                Tell::Tried(tried) => told = Some((tried.mine, tried.why)),
                Tell::NotStored(_)
                | Tell::Trial { .. }
                | Tell::Trained { .. }
                | Tell::Measured { .. }
                | Tell::Night(_)
                | Tell::Unreadable(_)
                | Tell::TrainingFailed(_) => {}
            })
            .unwrap();
        assert_eq!(told, Some((Mine::GoneBack, Some(Why::Failed))));
        assert!((20..60).contains(&seen), "{seen}: those after it was gone back from");
    }
}
