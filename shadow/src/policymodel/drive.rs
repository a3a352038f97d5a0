//! A policy that drives in the closed loop on generated roads, and what it is held against.

use std::num::NonZeroUsize;

use shoal_hal::backend::synthetic::{SimulatedAction, SimulatedDriver, Truth};
use shoal_hal::{FrameShape, Moment, Motion};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::{Engine, EngineError};
use shoal_runtime::onnx::Model;

use crate::clip::to_planes;
use crate::fit::{FitError, load_policy};
use crate::measure::policy::PolicyPredictor;
use crate::package::Description;

/// Moments of the closed loop in a second, and of lessons: the drivers who know the truth act so often.
pub const DRIVEN_HZ: f64 = 10.0;

/// Whether a policy of this rate sees on generated roads what it is made for: frames at another one show other speeds.
///
/// # Errors
/// [`FitError::OtherRate`].
pub(super) fn check_rate(rate_hz: f64) -> Result<(), FitError> {
    let same = (rate_hz / DRIVEN_HZ - 1.0).abs() <= 1e-6;
    if same { Ok(()) } else { Err(FitError::OtherRate { rate_hz }) }
}

/// A policy in a session of one sample, and what it still has before it of the moments before.
pub struct PolicySession {
    policy: PolicyPredictor,
    /// The last frames in planes, oldest first.
    seen: Vec<f32>,
    /// The last rows of motion, oldest first; none at the start of a drive.
    moved: Vec<Motion>,
    values: Vec<f32>,
}

impl PolicySession {
    /// Loads the policy of a package, of whatever kind, if it speaks of the action grid; with an adapter if there is one.
    ///
    /// # Errors
    /// [`FitError`]; [`FitError::OtherRate`] if it reads other than [`DRIVEN_HZ`] moments a second.
    pub fn load(
        model: &Model,
        package: &Description,
        engine: &dyn Engine,
        threads: NonZeroUsize,
        adapter: Option<&Adapter>,
    ) -> Result<Self, FitError> {
        check_rate(package.rate_hz)?;
        let policy = load_policy(model, package, engine, threads, adapter)?;
        let form = policy.form();
        let (seen, values) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
        Ok(PolicySession { policy, seen, moved: Vec::new(), values })
    }

    /// Size of the frames that it reads.
    #[must_use]
    pub fn shape(&self) -> FrameShape {
        self.policy.form().shape
    }

    /// Forgets what it saw: another drive begins.
    pub fn restart(&mut self) {
        self.moved.clear();
    }

    /// What it does at this moment ([`Distribution::decided`](crate::grid::Distribution::decided)): holds the speed if it says
    /// nothing of that, and does nothing where its output is not finite. Before the first moment of a drive is that moment again.
    ///
    /// # Errors
    /// [`EngineError`].
    /// # Panics
    /// If the frame is of another size.
    pub fn act(&mut self, moment: &Moment<'_>) -> Result<SimulatedAction, EngineError> {
        let form = self.policy.form();
        let (size, rows) = (form.shape.bytes(), form.context.max(1));
        let motion = moment.motion.unwrap_or_default();
        let shows = if self.moved.is_empty() { form.frames } else { 1 };
        if self.moved.is_empty() {
            self.moved.resize(rows, motion);
        }
        self.moved.rotate_left(1);
        self.moved[rows - 1] = motion;
        for _ in 0..shows {
            self.seen.copy_within(size.., 0);
            let newest = self.seen.len() - size;
            to_planes(moment.frame.unwrap_or_default(), &mut self.seen[newest..]);
        }
        form.motion
            .write(|back| self.moved.get(rows.checked_sub(back)?).copied(), &mut self.values);
        let Some(opinion) = self.policy.act(&self.seen, &self.values)? else {
            return Ok(SimulatedAction::default());
        };
        let decided = opinion.actions.decided();
        let acceleration = if opinion.accelerates { decided.acceleration_m_s2 } else { 0.0 };
        Ok(SimulatedAction {
            curvature_1_m: decided.curvature_per_m as f32,
            acceleration_m_s2: acceleration as f32,
        })
    }
}

/// Who drives in the closed loop.
pub enum Reflex<'a> {
    /// A policy, by what it sees.
    Policy(&'a mut PolicySession),
    /// A driver who sees the truth.
    Driver(Box<SimulatedDriver>),
    /// Straight on at the speed there is.
    Straight,
    /// What an attentive driver did at the start, for ever.
    Hold(Option<SimulatedAction>),
}

impl Reflex<'_> {
    /// What is done at this moment.
    ///
    /// # Errors
    /// [`EngineError`] of the policy.
    pub fn act(
        &mut self,
        moment: &Moment<'_>,
        truth: &Truth,
    ) -> Result<SimulatedAction, EngineError> {
        match self {
            Reflex::Policy(session) => session.act(moment),
            Reflex::Driver(driver) => Ok(driver.act(truth)),
            Reflex::Straight => Ok(SimulatedAction::default()),
            Reflex::Hold(held) => {
                let first = || SimulatedAction {
                    curvature_1_m: truth.curvature_1_m,
                    acceleration_m_s2: truth.acceleration_m_s2,
                };
                Ok(*held.get_or_insert_with(first))
            }
        }
    }

    /// Forgets the drive before.
    pub fn restart(&mut self) {
        match self {
            Reflex::Policy(session) => session.restart(),
            Reflex::Hold(held) => *held = None,
            Reflex::Driver(driver) => driver.forget(),
            Reflex::Straight => {}
        }
    }
}
