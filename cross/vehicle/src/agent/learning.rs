//! What a night trains with: a world model on the frames that came next, a policy on what the driver did.

use std::cell::Cell;

use shoal_hal::{Drive, Motion, Span};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::train::StepReport;
use shoal_shadow::batch::{Lessons, Mix, MixedBatch, Road};
use shoal_shadow::clip::{Clips, Footage as _, Frames, to_planes};
use shoal_shadow::fit::FitError;
use shoal_shadow::hindsight::Known;
use shoal_shadow::measure::{Predictor as _, SessionPredictor};
use shoal_shadow::observe::Observer;
use shoal_shadow::opinion::Correction;
use shoal_shadow::policymodel::{PolicySession, Rehearsal, Rehearsed};
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions, TuneOptions, Tuner};
use tracing::{info, warn};

use super::disagree::Disagreement;
use super::eyes::observer_of;
use super::{Agent, AgentError, LESSONS_A_CLIP};
use crate::config::NightConfig;

/// The vehicle's own roads, read back for one tuning.
pub(crate) struct Roads {
    pub(crate) spans: Vec<Frames>,
    pub(crate) footage: Vec<Drive>,
}

/// Why there is nothing to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Barren {
    #[error("nothing of replay that can be read back has a clip")]
    NoClip,
    #[error("replay was recorded at another rate than the model's")]
    OtherRate,
    #[error(
        "replay does not tell how the driver steered, which a policy learns from: name `steering` in [can], or drives that know it"
    )]
    NoSteering,
}

/// What the log was told of the learning already: night after night it would be the same.
#[derive(Default)]
pub(crate) struct Said {
    barren: Cell<Option<Barren>>,
    holds_speed: Cell<bool>,
    frames_alone: Cell<bool>,
}

/// A tuner, and what it is tuned on.
pub(crate) enum Learning<'a> {
    /// Of a world model.
    Foresight(Box<Tuner>, Box<MixedBatch<'a>>),
    /// Of a policy.
    Imitation(Box<PolicyTuner>, Box<Rehearsed<'a>>),
}

impl<'a> Learning<'a> {
    /// A tuner that begins at `start`, or at the adapter that changes nothing; `None` where there is nothing to learn from, which the
    /// log is told once.
    pub(crate) fn begin(
        agent: &Agent,
        roads: &'a Roads,
        start: Option<&Adapter>,
        seed: u64,
    ) -> Result<Option<Self>, AgentError> {
        let begun = Learning::try_begin(agent, roads, start, seed)?;
        let why = begun.as_ref().err().copied();
        if let Some(why) = why.filter(|_| agent.said.barren.get() != why) {
            warn!(%why, "there is nothing to learn from: what is in use stays");
        }
        agent.said.barren.set(why);
        Ok(begun.ok())
    }

    /// The same, and why there is nothing to learn from.
    pub(crate) fn try_begin(
        agent: &Agent,
        roads: &'a Roads,
        start: Option<&Adapter>,
        seed: u64,
    ) -> Result<Result<Self, Barren>, AgentError> {
        let Roads { spans, footage } = roads;
        if agent.foresees() {
            let Some(source) = agent.batches(spans, footage, seed) else {
                return Ok(Err(Barren::NoClip));
            };
            let tuner = agent.tuner(start, seed)?;
            return Ok(Ok(Learning::Foresight(Box::new(tuner), Box::new(source))));
        }
        let lessons = agent.lessons(spans, seed)?;
        if lessons.is_empty() {
            return Ok(Err(agent.barren(spans)));
        }
        let tuner = agent.policy_tuner(&lessons, start, seed)?;
        let source = agent.rehearsed(lessons, start, seed)?;
        Ok(Ok(Learning::Imitation(Box::new(tuner), Box::new(source))))
    }

    /// Takes so many steps; their mean loss.
    pub(crate) fn run(
        &mut self,
        steps: u32,
        tell: impl FnMut(&StepReport),
    ) -> Result<f32, FitError> {
        match self {
            Learning::Foresight(tuner, source) => tuner.run(&mut **source, steps, tell),
            Learning::Imitation(tuner, source) => tuner.run(&mut **source, steps, tell),
        }
    }

    pub(crate) fn step_count(&mut self) -> u64 {
        match self {
            Learning::Foresight(tuner, _) => tuner.step_count(),
            Learning::Imitation(tuner, _) => tuner.step_count(),
        }
    }

    /// As trained so far.
    pub(crate) fn adapter(&mut self) -> Result<Adapter, FitError> {
        match self {
            Learning::Foresight(tuner, _) => tuner.adapter(),
            Learning::Imitation(tuner, _) => tuner.adapter(),
        }
    }

    pub(crate) fn checkpoint(&mut self) -> Result<Vec<u8>, FitError> {
        match self {
            Learning::Foresight(tuner, _) => tuner.checkpoint(),
            Learning::Imitation(tuner, _) => tuner.checkpoint(),
        }
    }

    pub(crate) fn resume(&mut self, checkpoint: &[u8]) -> Result<(), FitError> {
        match self {
            Learning::Foresight(tuner, _) => tuner.resume(checkpoint),
            Learning::Imitation(tuner, _) => tuner.resume(checkpoint),
        }
    }
}

impl Agent {
    /// Batches of the vehicle's own clips and the footage that ships with the model; `None` without own clips.
    fn batches<'a>(
        &self,
        own: &'a [Frames],
        footage: &'a [Drive],
        seed: u64,
    ) -> Option<MixedBatch<'a>> {
        let form = &self.form;
        let acts = self.package.description().imitates();
        let holds = acts && self.holds_speed(own);
        if acts && !self.tells_steering(own) && !self.said.frames_alone.replace(true) {
            warn!(
                "{}: of this model what it foresees is tuned, and not what it would do",
                Barren::NoSteering
            );
        }
        let own: Vec<Clips<'a>> =
            own.iter().map(|span| Clips::of_all(span, form.context, 1)).collect();
        let own = Road::new(&own, form).into_iter().collect();
        let replayed = footage
            .iter()
            .filter_map(|drive| Road::new(&[Clips::of_all(drive, form.context, 1)], form))
            .collect();
        let mix = Mix::of(self.config.night.batch);
        let (package, geometry) = (self.package.description(), &self.config.geometry);
        let source =
            MixedBatch::new(form.clone(), mix, own, replayed, seed)?.imitating(package, geometry);
        let source = if holds { source.holding_speed() } else { source };
        source.with_ahead(self.config.night.ahead)
    }

    /// Whether the driver is to be taken to hold the speed, so that at least his steering is learnt: where no moment of the spans
    /// knows an acceleration, as of a bus that does not tell it and of a tub.
    fn holds_speed(&self, spans: &[Frames]) -> bool {
        let unknown = !some_moment(spans, |motion| motion.acceleration_m_s2.is_some());
        let holds = unknown && self.tells_steering(spans);
        if holds && !self.said.holds_speed.replace(true) {
            info!(
                "nothing tells the acceleration: the driver is taken to hold the speed, and his steering is learnt"
            );
        }
        holds
    }

    /// Whether any moment of the spans tells how the driver steered.
    fn tells_steering(&self, spans: &[Frames]) -> bool {
        some_moment(spans, |motion| self.config.geometry.curvature_of(motion).is_some())
    }

    /// Why these spans have no lesson for a policy.
    fn barren(&self, spans: &[Frames]) -> Barren {
        let mut long =
            spans.iter().filter(|span| span.len() >= self.form.context.max(1)).peekable();
        if long.peek().is_none() {
            Barren::NoClip
        } else if long.all(|span| (span.rate_hz() / self.form.rate_hz - 1.0).abs() > 1e-6) {
            Barren::OtherRate
        } else {
            Barren::NoSteering
        }
    }

    /// How a night's steps are taken.
    fn steps(&self, seed: u64) -> StepOptions {
        let learning_rate = f64::from(self.config.night.learning_rate);
        StepOptions { learning_rate, seed, threads: self.threads(), ..StepOptions::default() }
    }

    fn tuner(&self, start: Option<&Adapter>, seed: u64) -> Result<Tuner, AgentError> {
        let options = TuneOptions {
            mix: Mix::of(self.config.night.batch),
            ahead: self.config.night.ahead,
            steps: self.steps(seed),
            ..TuneOptions::default()
        };
        let description = self.package.description();
        Ok(Tuner::new(&self.model, description, &*self.engine, start, &options)?)
    }

    /// Samples of a policy's step.
    fn lessons_a_step(&self) -> usize {
        self.config.night.batch.saturating_mul(LESSONS_A_CLIP)
    }

    /// A tuner whose steps are as long as these lessons are worth.
    fn policy_tuner(
        &self,
        lessons: &Lessons<'_>,
        start: Option<&Adapter>,
        seed: u64,
    ) -> Result<PolicyTuner, AgentError> {
        let (samples, steps) = (self.lessons_a_step(), self.steps(seed));
        let learning_rate = lessons.learning_rate(steps.learning_rate);
        let steps = StepOptions { learning_rate, ..steps };
        let options = PolicyTuneOptions { samples, pull: None, steps };
        let description = self.package.description();
        Ok(PolicyTuner::new(&self.model, description, &*self.engine, start, &options)?)
    }

    /// The own lessons, and those that are rehearsed: with the policy that the night begins with at the wheel.
    fn rehearsed<'a>(
        &self,
        own: Lessons<'a>,
        start: Option<&Adapter>,
        seed: u64,
    ) -> Result<Rehearsed<'a>, AgentError> {
        let NightConfig { rehearsal, steps, .. } = self.config.night;
        let (description, threads) = (self.package.description(), self.threads());
        let share = description.rehearsal(rehearsal);
        let rehearsal = Rehearsal { share, samples: self.lessons_a_step(), steps, seed };
        let wheel = || PolicySession::load(&self.model, description, &*self.engine, threads, start);
        Ok(Rehearsed::new(own, &self.form, &rehearsal, wheel)?)
    }

    /// What the driver did in these spans: each moment by what came of it, and more if it corrected an earlier one.
    fn lessons<'a>(&self, spans: &'a [Frames], seed: u64) -> Result<Lessons<'a>, AgentError> {
        let geometry = self.config.geometry;
        let corrected = self.corrected(spans)?;
        let mut world = match &self.beside {
            Some(beside) => beside
                .predictor(&*self.engine, self.threads())?
                .map(|world| (world, observer_of(beside.description()))),
            None => None,
        };
        let turn = self.config.night.turn_rad;
        let mut lessons = Lessons::new(self.form.clone(), seed).turning(turn);
        if self.holds_speed(spans) {
            lessons = lessons.holding_speed();
        }
        for (span, corrected) in spans.iter().zip(&corrected) {
            let motion = |at| span.motion(at).unwrap_or_default();
            let mut known: Vec<Known> =
                (0..span.len()).map(|at| Known::of(&motion(at), &geometry)).collect();
            if let Some((world, observer)) = &mut world {
                came_true(world, observer, span, &mut known)?;
            }
            let all = Span { first: 0, last: span.len().saturating_sub(1) };
            lessons.add(span, &[all], &known, &geometry, corrected);
        }
        Ok(lessons)
    }

    /// What the driver corrected in spans, as the policy in use sees it tonight: the road told which spans to
    /// keep, not which of their moments.
    fn corrected(&self, spans: &[Frames]) -> Result<Vec<Vec<Correction>>, AgentError> {
        let mut policy = self.policy(self.active()?.as_ref())?;
        let description = self.package.description();
        let mut disagreement = Disagreement::new(description, &self.config, self.form.rate_hz);
        let context = policy.form().context.max(1);
        let mut all = Vec::with_capacity(spans.len());
        for span in spans {
            disagreement.handle_gap();
            let mut corrected = Vec::new();
            for at in context - 1..span.len() {
                let Some(did) = span.motion(at) else { continue };
                let Some(opinion) = policy.act_at(span, at)? else { continue };
                let seen = disagreement.opinion(at as u64, &opinion, &did);
                corrected.extend(seen.corrected);
            }
            all.push(corrected);
        }
        Ok(all)
    }
}

/// Whether any moment's motion is so.
fn some_moment(spans: &[Frames], is: impl Fn(&Motion) -> bool) -> bool {
    let mut motions = spans.iter().flat_map(|span| (0..span.len()).map(|at| span.motion(at)));
    motions.any(|motion| motion.is_some_and(|motion| is(&motion)))
}

/// Notes at every moment how far the world model was from what came.
fn came_true(
    world: &mut SessionPredictor,
    observer: &mut Observer,
    span: &Frames,
    known: &mut [Known],
) -> Result<(), AgentError> {
    let form = world.form().clone();
    let size = form.shape.bytes();
    let (mut frames, mut motion) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
    let mut next = vec![0.0; size];
    for (at, known) in known.iter_mut().enumerate().skip(form.context) {
        for (back, planes) in (1..=form.frames).rev().zip(frames.chunks_exact_mut(size)) {
            to_planes(span.frame(at - back), planes);
        }
        form.motion.write(|back| span.motion(at - back), &mut motion);
        world.predict(1, &frames, &motion, &mut next)?;
        let (surprise, _rank) = observer.frame(&next, span.frame(at - 1), span.frame(at))?;
        known.surprise = Some(surprise.value.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(agent: &Agent, rate_hz: f64, motions: &[Motion]) -> Vec<Frames> {
        let shape = agent.form.shape;
        let motion = motions.iter().copied().map(Some).collect();
        vec![Frames::new(shape, rate_hz, vec![0; motions.len() * shape.bytes()], motion).unwrap()]
    }

    #[test]
    fn the_speed_is_held_where_nothing_tells_the_acceleration_and_where_something_does_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::shipped("policy", folder.path());
        let (speed_m_s, steering_rad) = (Some(9.0), Some(0.1));
        let steers = Motion { speed_m_s, steering_rad, ..Motion::default() };
        let knows = Motion { acceleration_m_s2: Some(1.0), ..steers };
        let lessons = |motions: &[Motion]| {
            let spans = span(&agent, 10.0, motions);
            agent.lessons(&spans, 1).unwrap().len()
        };
        assert!(!agent.said.holds_speed.get());
        assert_eq!(lessons(&[steers; 10]), 8);
        assert!(agent.said.holds_speed.get());
        let some = [&[steers; 5][..], &[knows; 5]].concat();
        assert_eq!(lessons(&some), 5, "only of those moments is it known what he did");
    }

    #[test]
    fn why_there_is_nothing_to_learn_from_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::shipped("policy", folder.path());
        let fast = Motion { speed_m_s: Some(9.0), ..Motion::default() };
        let begin = |spans: Vec<Frames>| {
            let roads = Roads { spans, footage: Vec::new() };
            assert!(Learning::begin(&agent, &roads, None, 1).unwrap().is_none());
            agent.said.barren.get()
        };
        assert_eq!(begin(Vec::new()), Some(Barren::NoClip));
        assert_eq!(begin(span(&agent, 10.0, &[fast; 2])), Some(Barren::NoClip));
        assert_eq!(begin(span(&agent, 20.0, &[fast; 10])), Some(Barren::OtherRate));
        // It stands there until something else is so.
        assert_eq!(begin(span(&agent, 10.0, &[fast; 10])), Some(Barren::NoSteering));
        assert_eq!(begin(span(&agent, 10.0, &[fast; 10])), Some(Barren::NoSteering));
    }
}
