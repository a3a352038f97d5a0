//! What a night trains with: a world model on the frames that came next, a policy on what the driver did.

use shoal_hal::{Drive, Span};
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

use super::disagree::Disagreement;
use super::eyes::observer_of;
use super::{Agent, AgentError, LESSONS_A_CLIP};
use crate::config::NightConfig;

/// The vehicle's own roads, read back for one tuning.
pub(crate) struct Roads {
    pub(crate) spans: Vec<Frames>,
    pub(crate) footage: Vec<Drive>,
}

/// A tuner, and what it is tuned on.
pub(crate) enum Learning<'a> {
    /// Of a world model.
    Foresight(Box<Tuner>, Box<MixedBatch<'a>>),
    /// Of a policy.
    Imitation(Box<PolicyTuner>, Box<Rehearsed<'a>>),
}

impl<'a> Learning<'a> {
    /// A tuner that begins at `start`, or at the adapter that changes nothing; `None` where there is nothing to learn from.
    pub(crate) fn begin(
        agent: &Agent,
        roads: &'a Roads,
        start: Option<&Adapter>,
        seed: u64,
    ) -> Result<Option<Self>, AgentError> {
        let Roads { spans, footage } = roads;
        if agent.foresees() {
            let Some(source) = agent.batches(spans, footage, seed) else { return Ok(None) };
            let tuner = agent.tuner(start, seed)?;
            return Ok(Some(Learning::Foresight(Box::new(tuner), Box::new(source))));
        }
        let lessons = agent.lessons(spans, seed)?;
        if lessons.is_empty() {
            return Ok(None);
        }
        let tuner = agent.policy_tuner(&lessons, start, seed)?;
        let source = agent.rehearsed(lessons, start, seed)?;
        Ok(Some(Learning::Imitation(Box::new(tuner), Box::new(source))))
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
        let own: Vec<Clips<'a>> =
            own.iter().map(|span| Clips::of_all(span, form.context, 1)).collect();
        let own = Road::new(&own, form).into_iter().collect();
        let replayed = footage
            .iter()
            .filter_map(|drive| Road::new(&[Clips::of_all(drive, form.context, 1)], form))
            .collect();
        let mix = Mix::of(self.config.night.batch);
        let (package, geometry) = (self.package.description(), &self.config.geometry);
        MixedBatch::new(form.clone(), mix, own, replayed, seed)?
            .imitating(package, geometry)
            .with_ahead(self.config.night.ahead)
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
