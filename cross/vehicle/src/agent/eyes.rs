//! Everything that looks at the road, with its buffers: what the world model foresees, what the policy would do, and the triggers
//! that both feed. What is exchanged is tuned on one of the two; an adapter on trial is watched beside the active one of that.

use std::num::NonZeroU32;
use std::time::Duration;

use shoal_hal::Motion;
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::clip::to_planes;
use shoal_shadow::measure::imitation::Habits;
use shoal_shadow::measure::policy::PolicyPredictor;
use shoal_shadow::measure::{Predictor as _, SessionPredictor};
use shoal_shadow::observe::{ObserveError, ObserveOptions, Observer, Surprise};
use shoal_shadow::opinion::{Did, Opinion};
use shoal_shadow::package::{Description, Layout};
use shoal_shadow::quantile::Calibrated;
use shoal_shadow::replay::Recent;
use shoal_shadow::trigger::{MomentDraws, Ranks, Trigger, TriggerOptions};

use super::disagree::{Disagreement, Parted};
use super::trial::Sums;
use super::{Agent, AgentError};
use crate::budget::FrameBudget;
use crate::config::ReplayConfig;

/// Moments that a surprise is ranked among, at least.
const MEMORY: NonZeroU32 = NonZeroU32::new(600).expect("not zero");

/// What was seen at one moment.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) surprise: Option<f32>,
    pub(super) rank: Option<f32>,
    pub(super) disagreement: Option<f32>,
    /// There was no time to look at it.
    pub(super) shed: bool,
    /// The vehicle's own model said nothing that is a number.
    blind: bool,
}

/// What a vehicle watches the road with. Predictions write into buffers that are there.
pub(super) struct Watch {
    foresight: Option<Foresight>,
    policy: Option<Acting>,
    disagreement: Option<Disagreement>,
    pub(super) trigger: Trigger,
    pub(super) recent: Recent,
    /// Index that follows on the last frame; `None` after a gap.
    pub(super) next: Option<u64>,
    /// Frames since the last gap.
    run: usize,
    /// What was seen of both adapters while one was on trial.
    pub(super) saw: Sums,
    /// The one on trial cannot be used.
    pub(super) failed: bool,
    /// Moments in a row in which the vehicle's own model said nothing that is a number.
    pub(super) blind: u32,
    /// Whether that is the one that foresees; else the policy.
    foresees: bool,
    budget: FrameBudget,
    clock: fn() -> Duration,
}

impl Watch {
    /// Loads the vehicle's models with its adapters. One on trial that cannot even be loaded is no reason not to drive.
    pub(super) fn new(agent: &Agent) -> Result<Self, AgentError> {
        let own = agent.package.description();
        let active = agent.active()?;
        let trial = agent.on_trial();
        let mut failed = trial.is_err();
        let trial = trial.ok().flatten();
        let (mut foresight, mut policy) = (None, None);
        if agent.foresees() {
            let tried = trial.as_ref().map(|trial| agent.predictor(Some(trial), 1)).transpose();
            failed |= tried.is_err();
            let active = agent.predictor(active.as_ref(), 1)?;
            foresight = Some(Foresight::new(active, tried.ok().flatten(), own));
        } else {
            let tried = trial.as_ref().map(|trial| agent.policy(Some(trial))).transpose();
            failed |= tried.is_err();
            policy = Some(Acting::new(agent.policy(active.as_ref())?, tried.ok().flatten()));
        }
        let mut acts = own;
        if let Some(beside) = &agent.beside {
            let (engine, threads) = (&*agent.engine, agent.threads());
            if let Some(world) = beside.predictor(engine, threads)? {
                foresight = Some(Foresight::new(world, None, beside.description()));
            }
            if let Some(acting) = beside.policy(engine, threads)? {
                policy = Some(Acting::new(acting, None));
                acts = beside.description();
            }
        }
        let rate_hz = agent.form.rate_hz;
        let trigger = Trigger::new(&triggers(&agent.config.replay), rate_hz);
        let contexts = foresight.iter().map(Foresight::context);
        let context = contexts.chain(policy.iter().map(Acting::context)).max().unwrap_or(0);
        let kept = (trigger.span_moments_max() as usize).max(context) + 1;
        let disagreement = acts.action.is_some();
        Ok(Watch {
            foresight,
            policy,
            disagreement: disagreement.then(|| Disagreement::new(acts, &agent.config, rate_hz)),
            trigger,
            recent: Recent::new(agent.form.shape, kept),
            next: None,
            run: 0,
            saw: Sums::default(),
            failed,
            blind: 0,
            foresees: agent.foresees(),
            budget: FrameBudget::new(agent.config.engine.frame_time_max),
            clock: agent.clock,
        })
    }

    /// Nothing that comes follows what was: spans end here.
    pub(super) fn gap(&mut self) {
        self.trigger.handle_gap();
        if let Some(disagreement) = &mut self.disagreement {
            disagreement.handle_gap();
        }
        (self.next, self.run) = (None, 0);
    }

    /// Enough was seen of the adapter on trial.
    pub(super) fn end_trial(&mut self) {
        if let Some(foresight) = &mut self.foresight {
            foresight.trial = None;
        }
        if let Some(policy) = &mut self.policy {
            policy.trial = None;
        }
    }

    /// Remembers the frame `index`, of whose past so much is known as was seen since the last gap, and looks at it where there is
    /// time for that. A frame that is shed is in the past of those after it, and in the span that it lies in, as any other is.
    /// `seed` is that of what is kept by chance, and `drive` tells this drive from others of it.
    pub(super) fn moment(
        &mut self,
        frame: &[u8],
        motion: Option<Motion>,
        index: u64,
        (seed, drive): (u64, u64),
    ) -> Result<Seen, AgentError> {
        self.recent.push(index, frame, motion);
        let may = self.budget.handle_frame();
        let (seen, disagreement_rank) = if may || !self.is_due() {
            let begun = (self.clock)();
            let compared = self.compare(index)?;
            self.budget.handle_look((self.clock)().saturating_sub(begun));
            self.blind = if compared.0.blind { self.blind.saturating_add(1) } else { 0 };
            compared
        } else {
            self.shed(index)
        };
        (self.next, self.run) = (index.checked_add(1), self.run.saturating_add(1));
        let mut draws = Draws::new(Purpose::Trigger, seed, index, drive);
        let chance = MomentDraws { ordinary: draws.unit(), keep: draws.unit() };
        let ranks = Ranks { surprise: seen.rank, disagreement: disagreement_rank };
        self.trigger.handle_moment(index, ranks, chance);
        Ok(seen)
    }

    /// Whether the past is long enough for anything to be seen.
    fn is_due(&self) -> bool {
        self.foresight.as_ref().is_some_and(|it| self.run >= it.context())
            || self.policy.as_ref().is_some_and(|it| self.run + 1 >= it.context())
    }

    /// What is known without a look: whether the driver corrected what was seen before.
    fn shed(&mut self, index: u64) -> (Seen, Option<f32>) {
        let Watch { policy, disagreement, recent, .. } = self;
        // A policy is compared with what the driver did in its moment, a model that foresees with the one before.
        let at = if policy.is_some() { Some(index) } else { index.checked_sub(1) };
        let did = at.and_then(|at| recent.get(at)).and_then(|(_frame, motion)| motion);
        let parted = match (disagreement, did) {
            (Some(disagreement), Some(did)) => disagreement.unseen(index, &did),
            (Some(_) | None, _) => Parted::default(),
        };
        (Seen { shed: true, ..Seen::default() }, parted.rank)
    }

    /// What was seen, and the rank of the disagreement.
    fn compare(&mut self, index: u64) -> Result<(Seen, Option<f32>), AgentError> {
        let Watch { foresight, policy, disagreement, recent, saw, failed, run, clock, .. } = self;
        let (mut seen, mut parted) = (Seen::default(), Parted::default());
        if let Some(foresight) = foresight.as_mut().filter(|it| *run >= it.context()) {
            let looked = is_number(foresight.look(recent, index, saw, failed, *clock))?;
            seen.blind = self.foresees && looked.is_none();
            if let Some((surprise, calibrated)) = looked {
                (seen.surprise, seen.rank) = (Some(surprise.value), calibrated.rank);
            }
            // A model that foresees says what it would have done in the moment before the one that came.
            let did = recent.get(index - 1).and_then(|(_frame, motion)| motion);
            if let (None, Some(disagreement), Some(did)) = (&policy, &mut *disagreement, did)
                && let Some(would) = foresight.active.action()?
            {
                let output = disagreement.output(index, would, &did);
                parted = is_number(output.map_err(AgentError::from))?.unwrap_or_default();
            }
        }
        if let Some(policy) = policy.as_mut().filter(|it| *run + 1 >= it.context()) {
            let did = recent.get(index).and_then(|(_frame, motion)| motion).unwrap_or_default();
            let seen_of = disagreement.as_ref().map(|it| it.did(&did)).unwrap_or_default();
            let opinion = policy.look(recent, index, (&seen_of, *clock), saw, failed)?;
            seen.blind |= !self.foresees && opinion.is_none();
            if let (Some(disagreement), Some(opinion)) = (disagreement, opinion) {
                parted = disagreement.opinion(index, &opinion, &did);
            }
        }
        seen.disagreement = parted.value;
        Ok((seen, parted.rank))
    }
}

/// What a world model foresees against what came.
struct Foresight {
    active: SessionPredictor,
    trial: Option<SessionPredictor>,
    observer: Observer,
    frames: Vec<f32>,
    motion: Vec<f32>,
    next_frame: Vec<f32>,
    /// What the adapter on trial predicted, and what came.
    trial_frame: Vec<f32>,
    came: Vec<f32>,
}

impl Foresight {
    fn new(
        active: SessionPredictor,
        trial: Option<SessionPredictor>,
        description: &Description,
    ) -> Self {
        let form = active.form();
        let (frames, motion) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
        let [next_frame, trial_frame, came] = [(); 3].map(|()| vec![0.0; form.shape.bytes()]);
        let observer = observer_of(description);
        Foresight { active, trial, observer, frames, motion, next_frame, trial_frame, came }
    }

    /// Frames before the one that comes.
    fn context(&self) -> usize {
        self.active.form().context
    }

    fn look(
        &mut self,
        recent: &Recent,
        index: u64,
        saw: &mut Sums,
        failed: &mut bool,
        clock: fn() -> Duration,
    ) -> Result<(Surprise, Calibrated), AgentError> {
        let form = self.active.form();
        // A clip's past is held: there were as many frames since the last gap.
        let back = |back: usize| recent.get(index - back as u64).expect("the past is held");
        for (past, planes) in self.frames.chunks_exact_mut(form.shape.bytes()).enumerate() {
            to_planes(back(form.frames - past).0, planes);
        }
        form.motion.write(|rows| back(rows).1, &mut self.motion);
        let (last, came) = (back(1).0, back(0).0);
        let begun = clock();
        self.active.predict(1, &self.frames, &self.motion, &mut self.next_frame)?;
        let active_s = clock().saturating_sub(begun).as_secs_f64();
        let (surprise, calibrated) = self.observer.frame(&self.next_frame, last, came)?;
        if let Some(trial) = &mut self.trial {
            let begun = clock();
            let predicted = trial.predict(1, &self.frames, &self.motion, &mut self.trial_frame);
            let trial_s = clock().saturating_sub(begun).as_secs_f64();
            to_planes(came, &mut self.came);
            let error = mean_square(&self.trial_frame, &self.came);
            if predicted.is_ok() && error.is_finite() {
                let apart = mean_square(&self.trial_frame, &self.next_frame);
                saw.count([surprise.error, error, surprise.copy_error, apart], [active_s, trial_s]);
            } else {
                (self.trial, *failed) = (None, true);
            }
        }
        Ok((surprise, calibrated))
    }
}

/// What a policy would do.
struct Acting {
    active: PolicyPredictor,
    trial: Option<PolicyPredictor>,
    /// What the driver usually does, while an adapter is on trial: what skill at imitation is counted from.
    habits: Habits,
    planes: Vec<f32>,
    moved: Vec<f32>,
}

impl Acting {
    fn new(active: PolicyPredictor, trial: Option<PolicyPredictor>) -> Self {
        let form = active.form();
        let (planes, moved) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
        Acting { active, trial, habits: Habits::default(), planes, moved }
    }

    /// Frames that it sees, that of the moment itself among them.
    fn context(&self) -> usize {
        self.active.form().context.max(1)
    }

    /// What it would do in the newest moment, in which the driver did `did`; `None` if its output is not finite.
    fn look(
        &mut self,
        recent: &Recent,
        index: u64,
        (did, clock): (&Did, fn() -> Duration),
        saw: &mut Sums,
        failed: &mut bool,
    ) -> Result<Option<Opinion>, AgentError> {
        let form = self.active.form();
        let back = |back: usize| recent.get(index - back as u64).expect("the past is held");
        for (past, planes) in self.planes.chunks_exact_mut(form.shape.bytes()).enumerate() {
            to_planes(back(form.frames - 1 - past).0, planes);
        }
        // The newest row that is given is that of this moment.
        form.motion.write(|rows| back(rows - 1).1, &mut self.moved);
        let begun = clock();
        let opinion = self.active.act(&self.planes, &self.moved)?;
        let active_s = clock().saturating_sub(begun).as_secs_f64();
        if let Some(trial) = &mut self.trial {
            let begun = clock();
            let other = trial.act(&self.planes, &self.moved);
            let trial_s = clock().saturating_sub(begun).as_secs_f64();
            let Ok(Some(other)) = other else {
                (self.trial, *failed) = (None, true);
                return Ok(opinion);
            };
            if let Some(opinion) = &opinion {
                let usual = self.habits.often(opinion.accelerates);
                let distances = [opinion, &other, &usual].map(|one| one.distance(did));
                if let [Some(active), Some(trial), Some(usual)] = distances {
                    saw.count([active, trial, usual, opinion.apart(&other)], [active_s, trial_s]);
                }
            }
            self.habits.add(did, 1.0);
        }
        Ok(opinion)
    }
}

/// `None`: what the model said is no number.
fn is_number<T>(looked: Result<T, AgentError>) -> Result<Option<T>, AgentError> {
    match looked {
        Err(AgentError::Observe(ObserveError::NotFinite { .. })) => Ok(None),
        looked => looked.map(Some),
    }
}

/// An observer of what a predictor hands over: planes in `[0, 1]`, whatever the model's own order and range are.
pub(super) fn observer_of(description: &Description) -> Observer {
    let mut planes = description.clone();
    if let Some(next) = &mut planes.next_frame {
        (next.layout, next.range) = (Layout::Nchw, [0.0, 1.0]);
    }
    Observer::new(&planes, &ObserveOptions { memory: MEMORY, moments_min: 20 })
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

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from((a - b) * (a - b))).sum();
    sum / a.len() as f64
}
