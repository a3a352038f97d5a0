//! The road: every frame is predicted and compared with what came; what is unusual is kept.

use std::convert::Infallible;
use std::mem;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use shoal_hal::{AdapterSlots, Drive, FrameShape, Moment, Moments, Motion, Span};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::clip::to_planes;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{Predictor, SessionPredictor};
use shoal_shadow::observe::{ObserveOptions, Observer};
use shoal_shadow::opinion::Corrections;
use shoal_shadow::package::{Description, Layout};
use shoal_shadow::replay::{NewSpan, Recent};
use shoal_shadow::trigger::{Capture, MomentDraws, Ranks, Trigger, TriggerOptions};
use shoal_swarm::campaign::Mine;

use super::trial::{Record, Sums};
use super::{Agent, AgentError, Tell};
use crate::config::ReplayConfig;

/// Moments that a surprise is ranked among, at least.
const MEMORY: NonZeroU32 = NonZeroU32::new(600).expect("not zero");

/// After so many moments what was seen of an adapter on trial is kept, and thought about: a cut takes no more.
const LOOKED_AT: u32 = 100;

/// Seconds within which a driver who comes back towards the policy's proposal has corrected.
const CORRECTED_WITHIN_S: f64 = 3.0;

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
        self.drive_spans(drive, spans, Some(recorded_at_s), tell)
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
        self.drive_spans(drive, spans, None, tell)
    }

    fn drive_spans(
        &mut self,
        drive: &Drive,
        spans: &[Span],
        recorded_at_s: Option<u64>,
        tell: impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        let of = Some(spans.iter().map(|span| span.len()).sum());
        let about = About { name: &drive.name, of, rate_hz: drive.rate_hz, recorded_at_s };
        let frames = spans.iter().flat_map(|span| span.first..=span.last);
        let mut moments = SpanMoments { drive, frames };
        match self.watch(&mut moments, &about, |_since_start| true, tell) {
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
        let active = self.predictor(self.active()?.as_ref(), 1)?;
        let mut campaign = self.begin_watch()?;
        let trial = self.on_trial();
        let trial = trial
            .and_then(|trial| trial.map(|adapter| self.predictor(Some(&adapter), 1)).transpose());
        let options = triggers(&self.config.replay);
        // One that cannot even be loaded is no reason not to drive.
        let failed = trial.is_err();
        let trial = trial.ok().flatten();
        let mut watch = Watch::new(self.package.description(), &self.form, active, trial, &options);
        watch.observer = watch.observer.with_geometry(self.config.geometry);
        watch.failed = failed;
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
                let seen = watch.moment(frame, moment.motion, index, self.config.seed)?;
                self.keep(&mut watch, about, &mut tell);
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

    /// Nothing that comes follows what was: spans end here.
    fn gap(&mut self, watch: &mut Watch, about: &About<'_>, tell: &mut impl FnMut(Tell<'_>)) {
        watch.trigger.handle_gap();
        watch.corrections.handle_gap();
        self.keep(watch, about, tell);
        (watch.next, watch.run) = (None, 0);
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
        watch.trial = None;
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

fn triggers(config: &ReplayConfig) -> TriggerOptions {
    let around = Duration::from_secs_f32(config.seconds_around);
    TriggerOptions {
        before: around,
        after: around,
        cool_down: Duration::ZERO,
        rank_min: config.surprise_quantile,
        ordinary_share: config.ordinary_share,
        ..TriggerOptions::default()
    }
}

/// What was seen at one moment.
#[derive(Default)]
struct Seen {
    surprise: Option<f32>,
    rank: Option<f32>,
    disagreement: Option<f32>,
    disagreement_rank: Option<f32>,
}

/// Everything that looks at the road, with its buffers: nothing is allocated per frame.
struct Watch {
    form: Form,
    active: SessionPredictor,
    trial: Option<SessionPredictor>,
    observer: Observer,
    trigger: Trigger,
    /// Of the policy's disagreements: which the driver corrected.
    corrections: Corrections,
    /// Rank from which a disagreement may be followed by a correction.
    rank_min: f32,
    recent: Recent,
    frames: Vec<f32>,
    motion: Vec<f32>,
    next_frame: Vec<f32>,
    /// What the adapter on trial predicted, and what came.
    trial_frame: Vec<f32>,
    came: Vec<f32>,
    /// Index that follows on the last frame; `None` after a gap.
    next: Option<u64>,
    /// Frames since the last gap.
    run: usize,
    /// What was seen of both adapters while one was on trial.
    saw: Sums,
    /// The one on trial cannot be used.
    failed: bool,
}

impl Watch {
    fn new(
        description: &Description,
        form: &Form,
        active: SessionPredictor,
        trial: Option<SessionPredictor>,
        triggers: &TriggerOptions,
    ) -> Self {
        // Predictors hand over planes in [0, 1], whatever the model's own order and range are.
        let mut planes = description.clone();
        if let Some(next) = &mut planes.next_frame {
            (next.layout, next.range) = (Layout::Nchw, [0.0, 1.0]);
        }
        let trigger = Trigger::new(triggers, form.rate_hz);
        Watch {
            active,
            trial,
            observer: Observer::new(&planes, &ObserveOptions { memory: MEMORY, moments_min: 20 }),
            recent: Recent::new(
                form.shape,
                (trigger.span_moments_max() as usize).max(form.context) + 1,
            ),
            corrections: Corrections::new((CORRECTED_WITHIN_S * form.rate_hz).round() as u64),
            rank_min: triggers.rank_min,
            trigger,
            frames: vec![0.0; form.frames_len()],
            motion: vec![0.0; form.motion.len()],
            next_frame: vec![0.0; form.shape.bytes()],
            trial_frame: vec![0.0; form.shape.bytes()],
            came: vec![0.0; form.shape.bytes()],
            form: form.clone(),
            next: None,
            run: 0,
            saw: Sums::default(),
            failed: false,
        }
    }

    /// Looks at the frame `index`, of whose past so much is known as was seen since the last gap.
    fn moment(
        &mut self,
        frame: &[u8],
        motion: Option<Motion>,
        index: u64,
        seed: u64,
    ) -> Result<Seen, AgentError> {
        self.recent.push(index, frame, motion);
        let mut seen = Seen::default();
        if self.run >= self.form.context {
            seen = self.compare(index)?;
        }
        (self.next, self.run) = (index.checked_add(1), self.run.saturating_add(1));
        let mut draws = Draws::new(Purpose::Trigger, seed, index, 0);
        let chance = MomentDraws { ordinary: draws.unit(), keep: draws.unit() };
        let ranks = Ranks { surprise: seen.rank, disagreement: seen.disagreement_rank };
        self.trigger.handle_moment(index, ranks, chance);
        Ok(seen)
    }

    fn compare(&mut self, index: u64) -> Result<Seen, AgentError> {
        let size = self.form.shape.bytes();
        let recent = &self.recent;
        // A clip's past is held: there were as many frames since the last gap.
        let back = |back: usize| recent.get(index - back as u64).expect("the past is held");
        for (past, planes) in self.frames.chunks_exact_mut(size).enumerate() {
            to_planes(back(self.form.frames - past).0, planes);
        }
        self.form.motion.write(|rows| back(rows).1, &mut self.motion);
        let ((last, did), (came, _)) = (back(1), back(0));
        let begun = now();
        self.active.predict(1, &self.frames, &self.motion, &mut self.next_frame)?;
        let active_s = begun.elapsed().as_secs_f64();
        let (surprise, calibrated) = self.observer.frame(&self.next_frame, last, came)?;
        if let Some(trial) = &mut self.trial {
            let begun = now();
            let predicted = trial.predict(1, &self.frames, &self.motion, &mut self.trial_frame);
            let trial_s = begun.elapsed().as_secs_f64();
            to_planes(came, &mut self.came);
            let (error, apart) = (
                mean_square(&self.trial_frame, &self.came),
                mean_square(&self.trial_frame, &self.next_frame),
            );
            if predicted.is_ok() && error.is_finite() {
                self.saw.moments = self.saw.moments.saturating_add(1);
                self.saw.active += surprise.error;
                self.saw.trial += error;
                self.saw.copy += surprise.copy_error;
                self.saw.apart += apart;
                self.saw.active_s += active_s;
                self.saw.trial_s += trial_s;
            } else {
                (self.trial, self.failed) = (None, true);
            }
        }
        let mut seen =
            Seen { surprise: Some(surprise.value), rank: calibrated.rank, ..Seen::default() };
        // The model says what it would have done in the moment before the one that came.
        if let (Some(would), Some(did)) = (self.active.action()?, did)
            && let Some(disagreement) = self.observer.action(would, &did)?
        {
            seen.disagreement = Some(disagreement.value);
            seen.disagreement_rank = disagreement.rank;
            let unusual = disagreement.rank.is_some_and(|rank| rank >= self.rank_min);
            let proposed = if unusual { self.observer.proposed(would) } else { None };
            // The policy saw it earlier: as unusual as anything can be.
            let did = self.observer.did(&did);
            if self.corrections.handle_moment(index, &did, proposed).is_some() {
                seen.disagreement_rank = Some(1.0);
            }
        }
        Ok(seen)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a prediction takes is what is watched")]
fn now() -> Instant {
    Instant::now()
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from((a - b) * (a - b))).sum();
    sum / a.len() as f64
}
