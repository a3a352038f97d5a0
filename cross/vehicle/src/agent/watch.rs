//! The road: every frame is predicted and compared with what came; what is unusual is kept.

use std::num::NonZeroU32;
use std::time::Duration;

use shoal_hal::{AdapterSlots, Drive, Span};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::clip::to_planes;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{Predictor, SessionPredictor};
use shoal_shadow::observe::{ObserveOptions, Observer};
use shoal_shadow::package::{Description, Layout};
use shoal_shadow::replay::{NewSpan, Recent};
use shoal_shadow::trigger::{Capture, MomentDraws, Ranks, Trigger, TriggerOptions};

use super::{Agent, AgentError, Tell};
use crate::config::ReplayConfig;

/// Moments that a surprise is ranked among, at least.
const MEMORY: NonZeroU32 = NonZeroU32::new(600).expect("not zero");

impl Agent {
    /// Drives the spans of a drive at speed: observe, trigger, remember. An adapter on trial is watched
    /// beside the active one, and confirmed at the end unless it was the more surprised of the two.
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
        mut tell: impl FnMut(Tell<'_>),
    ) -> Result<(), AgentError> {
        self.replay.retain(recorded_at_s)?;
        let active = self.predictor(self.active()?.as_ref(), 1)?;
        let trial = match self.on_trial()? {
            Some(adapter) => Some(self.predictor(Some(&adapter), 1)?),
            None => None,
        };
        let options = triggers(&self.config.replay);
        let mut watch = Watch::new(self.package.description(), &self.form, active, trial, &options);
        let of: usize = spans.iter().map(|span| span.len()).sum();
        let mut index = 0;
        for span in spans {
            for frame in span.first..=span.last {
                index += 1;
                let seen = watch.moment(drive, frame, *span, self.config.seed)?;
                while let Some(capture) = watch.trigger.poll_capture() {
                    self.store(&watch.recent, drive, capture, recorded_at_s, &mut tell);
                }
                tell(Tell::Moment {
                    drive: &drive.name,
                    index,
                    of,
                    surprise: seen.surprise,
                    rank: seen.rank,
                    disagreement: seen.disagreement,
                    replay: self.replay.filled(),
                });
            }
            watch.trigger.handle_gap();
            while let Some(capture) = watch.trigger.poll_capture() {
                self.store(&watch.recent, drive, capture, recorded_at_s, &mut tell);
            }
        }
        self.judge(&watch, &mut tell)
    }

    fn store(
        &mut self,
        recent: &Recent,
        drive: &Drive,
        capture: Capture,
        recorded_at_s: u64,
        tell: &mut impl FnMut(Tell<'_>),
    ) {
        let Some(moments) = recent.moments(capture.first, capture.last) else { return };
        let start_s = (capture.first as f64 / drive.rate_hz) as u64;
        let span = NewSpan {
            recorded_at_s: recorded_at_s.saturating_add(start_s),
            rate_hz: drive.rate_hz,
            shape: drive.shape,
            reason: capture.reason,
            priority: capture.priority,
            moments: &moments,
        };
        if let Err(error) = self.replay.put(&span) {
            tell(Tell::NotStored(&error));
        }
    }

    /// Ends a trial by what it predicted on the road.
    fn judge(&mut self, watch: &Watch, tell: &mut impl FnMut(Tell<'_>)) -> Result<(), AgentError> {
        if !self.slots.state().trial || watch.seen == 0 {
            return Ok(());
        }
        let (active, trial) = (watch.error / watch.copy, watch.trial_error / watch.copy);
        let confirmed = trial <= active;
        if confirmed {
            self.slots.confirm()?;
        } else {
            self.slots.roll_back()?;
        }
        tell(Tell::Trial { trial: trial as f32, active: active as f32, confirmed });
        Ok(())
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
    recent: Recent,
    frames: Vec<f32>,
    motion: Vec<f32>,
    next: Vec<f32>,
    seen: u64,
    error: f64,
    trial_error: f64,
    copy: f64,
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
            recent: Recent::new(form.shape, trigger.span_moments_max() as usize + 1),
            trigger,
            frames: vec![0.0; form.frames_len()],
            motion: vec![0.0; form.motion.len()],
            next: vec![0.0; form.shape.bytes()],
            form: form.clone(),
            seen: 0,
            error: 0.0,
            trial_error: 0.0,
            copy: 0.0,
        }
    }

    /// Looks at frame `index` of a drive, of which nothing outside `span` is known.
    fn moment(
        &mut self,
        drive: &Drive,
        index: usize,
        span: Span,
        seed: u64,
    ) -> Result<Seen, AgentError> {
        self.recent.push(index as u64, drive.frame(index), drive.motion(index));
        let mut seen = Seen::default();
        if index >= span.first + self.form.context {
            seen = self.compare(drive, index)?;
        }
        let mut draws = Draws::new(Purpose::Trigger, seed, index as u64, 0);
        let chance = MomentDraws { ordinary: draws.unit(), keep: draws.unit() };
        let ranks = Ranks { surprise: seen.rank, disagreement: seen.disagreement_rank };
        self.trigger.handle_moment(index as u64, ranks, chance);
        Ok(seen)
    }

    fn compare(&mut self, drive: &Drive, index: usize) -> Result<Seen, AgentError> {
        let size = self.form.shape.bytes();
        for (past, planes) in self.frames.chunks_exact_mut(size).enumerate() {
            to_planes(drive.frame(index - self.form.frames + past), planes);
        }
        self.form.write_motion(drive, index, &mut self.motion);
        let (last, came) = (drive.frame(index - 1), drive.frame(index));
        if let Some(trial) = &mut self.trial {
            trial.predict(1, &self.frames, &self.motion, &mut self.next)?;
            to_planes(came, &mut self.frames[..size]);
            self.trial_error += mean_square(&self.next, &self.frames[..size]);
            to_planes(drive.frame(index - self.form.frames), &mut self.frames[..size]);
        }
        self.active.predict(1, &self.frames, &self.motion, &mut self.next)?;
        let (surprise, calibrated) = self.observer.frame(&self.next, last, came)?;
        self.error += surprise.error;
        self.copy += surprise.copy_error;
        self.seen += 1;
        let mut seen =
            Seen { surprise: Some(surprise.value), rank: calibrated.rank, ..Seen::default() };
        // The model says what it would have done in the moment before the one that came.
        if let (Some(would), Some(did)) = (self.active.action()?, drive.motion(index - 1))
            && let Some(disagreement) = self.observer.action(would, &did)?
        {
            seen.disagreement = Some(disagreement.value);
            seen.disagreement_rank = disagreement.rank;
        }
        Ok(seen)
    }
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from((a - b) * (a - b))).sum();
    sum / a.len() as f64
}
