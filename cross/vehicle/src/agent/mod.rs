//! The shell around the cores: it opens files and engines, drives, and carries out what the night asks.
//!
//! An agent is given its own drives' tuning moments and an evaluation pack, nothing else. What it sees
//! and does is told through [`Tell`]; it prints nothing and has no way to act on the vehicle.

mod beside;
mod disagree;
mod eyes;
mod keep;
mod learning;
mod parked;
mod trial;
mod watch;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use shoal_hal::backend::files::{DirSlots, DirStore, FilesError, make_private};
use shoal_hal::backend::recorded::OpenError;
use shoal_hal::{AdapterSlots, Slot};
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::{Model, ReadError};
use shoal_shadow::fit::{
    FitError, graft_package, load_policy, load_policy_of_many, load_predictor,
    load_predictor_of_many, profile_of,
};
use shoal_shadow::form::{Form, FormError};
use shoal_shadow::measure::policy::PolicyPredictor;
use shoal_shadow::measure::{MeasureError, Predictor as _, SessionPredictor};
use shoal_shadow::package::{Description, OpenPackageError, Package};
use shoal_shadow::replay::{
    Filled, OpenReplayError, OpenReport, PutError, ReadReplayError, RemoveError, Removed, Replay,
    ReplayOptions, StoredSpan,
};
use tracing::warn;

use crate::config::Config;
use crate::engine::OpenEngineError;
use crate::night::{Event, Nominee};

use beside::Beside;

pub use beside::BesideError;
pub use keep::{KeepError, from_bytes as adapter_from_bytes, to_bytes as adapter_to_bytes};
use learning::Said;
pub(crate) use learning::{Learning, Roads};
pub use trial::{Ask, Tried, Why};
pub use watch::{About, WatchError};

/// Folders of the vehicle's state: what it recorded, and its adapters.
const REPLAY: &str = "replay";
const SLOTS: &str = "slots";
/// Clips that a night measures at once.
pub const CLIPS_AT_ONCE: usize = 8;
/// Lessons of a step of a policy, for every clip that a step of a world model would have: a label is one number where a frame is
/// thousands.
pub const LESSONS_A_CLIP: usize = 2;

/// What an agent tells whoever watches it.
#[derive(Clone, Copy, Debug)]
pub enum Tell<'a> {
    /// A moment of a drive went by.
    Moment {
        /// The drive's name.
        drive: &'a str,
        /// Moments of it that went by, this one included.
        index: usize,
        /// Moments of it in all; those until now, while it goes on.
        of: usize,
        /// Error of the prediction ÷ error of 'nothing moves'; `None` without enough past frames.
        surprise: Option<f32>,
        /// Its running quantile rank, 0 to 1.
        rank: Option<f32>,
        /// How far from what the driver did is what the model would have done, in tolerances (or in nats); `None`
        /// if the package binds no action, or the vehicle does not know what the driver did.
        disagreement: Option<f32>,
        /// Whether the frame was remembered and not looked at: the budget of time was spent.
        shed: bool,
        /// How full replay is.
        replay: Filled,
    },
    /// A span could not be stored; the drive goes on.
    NotStored(&'a PutError),
    /// What the adapter on trial did on this drive: mean surprise of it and of the active one.
    Trial {
        /// Of the adapter on trial.
        trial: f32,
        /// Of the active one.
        active: f32,
        /// Whether it was confirmed; otherwise it was rolled back.
        confirmed: bool,
    },
    /// What was watched of an adapter that a campaign put on trial, and what came of it until now.
    Tried(Tried),
    /// A training step.
    Trained {
        /// Steps made this night.
        step: u32,
        /// Steps of the night.
        of: u32,
        /// Loss of the step.
        loss: f32,
    },
    /// A nominee was measured on the evaluation pack.
    Measured {
        /// Which.
        nominee: Nominee,
        /// Its skill on the pack.
        skill: f32,
    },
    /// The night's core decided something.
    Night(Event),
    /// A replayed span could not be read; it is left out.
    Unreadable(&'a ReadReplayError),
    /// Training failed; what came before stands.
    TrainingFailed(&'a FitError),
}

/// Why an agent cannot go on.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Package(#[from] OpenPackageError),
    #[error(transparent)]
    Model(#[from] ReadError),
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Beside(#[from] BesideError),
    #[error(transparent)]
    Engine(#[from] OpenEngineError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error("the prediction failed")]
    Run(#[from] shoal_runtime::engine::EngineError),
    #[error("what came cannot be compared with the prediction")]
    Observe(#[from] shoal_shadow::observe::ObserveError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error("the replay store cannot be opened")]
    Replay(#[from] OpenReplayError),
    #[error("replay cannot forget or erase")]
    Retain(#[from] RemoveError),
    #[error("the vehicle's state cannot be kept")]
    Files(#[from] FilesError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error("the footage that ships with the model cannot be read")]
    Footage(#[source] OpenError),
    /// Nothing moves in the pack.
    #[error("nothing moves in the evaluation pack: nothing can be measured on it")]
    EmptyPack,
}

/// One vehicle.
pub struct Agent {
    config: Config,
    package: Package,
    form: Form,
    model: Model,
    beside: Option<Beside>,
    engine: Box<dyn Engine>,
    layout: Arc<Layout>,
    replay: Replay,
    opened: OpenReport,
    store: DirStore,
    slots: DirSlots,
    state: PathBuf,
    clock: fn() -> Duration,
    said: Said,
}

#[cfg(test)]
impl Agent {
    /// One with a package that ships here, by the embedded engine, and this folder for its state.
    fn shipped(model: &str, state: &std::path::Path) -> Self {
        let mut config = Config::default();
        config.engine.kind = crate::config::EngineKind::Tract;
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        config.model.package = models.join(model);
        config.state = state.to_owned();
        Self::open(config).expect("a package that ships")
    }
}

impl Agent {
    /// Opens the package, the engine and the vehicle's state, and puts right what a cut left behind. An adapter in use that cannot be
    /// used is left for the base model.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn open(config: Config) -> Result<Self, AgentError> {
        let package = Package::open(&config.model.package)?;
        let form = Form::carried(package.description())?;
        let model = Model::read(&package.model_path())?;
        let beside = config.model.beside.as_deref();
        let beside =
            beside.map(|path| Beside::open(path, package.description(), &form)).transpose()?;
        // Adapters, the log and the replay's key are nobody else's.
        make_private(&config.state)?;
        let engine = crate::engine::open(&config.engine.kept_below(&config.state))?;
        let profile = profile_of(&*engine);
        let layout = graft_package(&model, package.description(), 1, profile)?.layout;
        let state = config.state.clone();
        let (replay, opened) = Replay::open(&state.join(REPLAY), &options(&config))?;
        let store = DirStore::open(&state.join("records"))?;
        let slots = DirSlots::open(&state.join(SLOTS))?;
        if slots.was_damaged() {
            let place = state.join(SLOTS);
            warn!(place = %place.display(), "which adapter was in use is lost: the vehicle drives on the base model");
        }
        let mut agent = Agent {
            config,
            package,
            form,
            model,
            beside,
            engine,
            layout,
            replay,
            opened,
            store,
            slots,
            state,
            clock: monotonic,
            said: Said::default(),
        };
        agent.settle_trial()?;
        agent.leave_unusable()?;
        Ok(agent)
    }

    /// Erases all that a vehicle of this configuration recorded: the key first, then the files. What it learnt and said stays.
    ///
    /// # Errors
    /// [`AgentError`]; [`OpenReplayError::Held`] in it while the vehicle runs. Once the key is gone nothing can be read, whatever
    /// fails after it.
    pub fn erase(config: &Config) -> Result<Removed, AgentError> {
        let (mut replay, _) = Replay::open(&config.state.join(REPLAY), &options(config))?;
        Ok(replay.erase_all()?)
    }

    /// The same agent, with another clock to time its looks at frames by: the time since any moment.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> Duration) -> Self {
        Agent { clock, ..self }
    }

    /// What the model reads.
    #[must_use]
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How an adapter of the model is laid out.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// What the package says of its model.
    #[must_use]
    pub fn description(&self) -> &Description {
        self.package.description()
    }

    /// The model and its description, as whoever measures it needs them.
    #[must_use]
    pub fn parts(&self) -> (&Model, &Description) {
        (&self.model, self.description())
    }

    /// The engine, and the threads that it may use.
    #[must_use]
    pub fn runs_on(&self) -> (&dyn Engine, NonZeroUsize) {
        (&*self.engine, self.threads())
    }

    /// The file of the model, as the package has it.
    #[must_use]
    pub fn model_path(&self) -> PathBuf {
        self.package.model_path()
    }

    /// The engine, by its own description.
    #[must_use]
    pub fn engine(&self) -> String {
        self.engine.describe()
    }

    /// What opening the replay store found.
    #[must_use]
    pub fn opened(&self) -> &OpenReport {
        &self.opened
    }

    /// How full replay is.
    #[must_use]
    pub fn replay(&self) -> Filled {
        self.replay.filled()
    }

    /// When the last of what replay holds was recorded, UTC seconds; 0: it holds nothing.
    #[must_use]
    pub fn recorded_until_s(&self) -> u64 {
        self.replay.spans().map(StoredSpan::ended_at_s).max().unwrap_or(0)
    }

    /// The adapter in use; `None` while the vehicle drives on the base model alone.
    ///
    /// # Errors
    /// [`AgentError::Keep`] if the slot holds an adapter of another model or layout.
    pub fn active(&self) -> Result<Option<Adapter>, AgentError> {
        self.slots.state().active.map(|slot| self.adapter_in(slot)).transpose()
    }

    /// The adapter on trial, if one is.
    ///
    /// # Errors
    /// As for [`Agent::active`].
    pub fn on_trial(&self) -> Result<Option<Adapter>, AgentError> {
        let state = self.slots.state();
        state.trial.then(|| self.adapter_in(state.inactive())).transpose()
    }

    /// Loads the model with an adapter baked in, for batches of `batch` clips.
    ///
    /// # Errors
    /// [`AgentError::Fit`].
    pub fn predictor(
        &self,
        adapter: Option<&Adapter>,
        batch: usize,
    ) -> Result<SessionPredictor, AgentError> {
        let description = self.package.description();
        let engine = &*self.engine;
        Ok(load_predictor(&self.model, description, engine, self.threads(), adapter, batch)?)
    }

    /// Whether the package says on the action grid what it would do.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.package.description().acts()
    }

    /// Whether the package foresees frames: then its adapter is tuned on those that came, else on what the driver did.
    #[must_use]
    pub fn foresees(&self) -> bool {
        self.package.description().foresees()
    }

    /// As [`Agent::predictor`], what the model would do, one moment at a time.
    ///
    /// # Errors
    /// [`AgentError::Fit`], also where the package is no policy.
    pub fn policy(&self, adapter: Option<&Adapter>) -> Result<PolicyPredictor, AgentError> {
        let (description, engine) = (self.package.description(), &*self.engine);
        Ok(load_policy(&self.model, description, engine, self.threads(), adapter)?)
    }

    /// Loads the model with several adapters that predict together, for batches of `batch` clips.
    ///
    /// # Errors
    /// [`AgentError::Fit`].
    /// # Panics
    /// If there is no adapter.
    pub fn predictor_of_many(
        &self,
        adapters: &[&Adapter],
        batch: usize,
    ) -> Result<SessionPredictor, AgentError> {
        let description = self.package.description();
        let (engine, threads) = (&*self.engine, self.threads());
        Ok(load_predictor_of_many(&self.model, description, engine, threads, adapters, batch)?)
    }

    /// As [`Agent::policy`], with several adapters that act on the same moments.
    ///
    /// # Errors
    /// As [`Agent::policy`].
    /// # Panics
    /// If there is no adapter.
    pub fn policy_of_many(&self, adapters: &[&Adapter]) -> Result<PolicyPredictor, AgentError> {
        let (description, engine) = (self.package.description(), &*self.engine);
        Ok(load_policy_of_many(&self.model, description, engine, self.threads(), adapters)?)
    }

    /// Predicts a frame, or an action, after nothing but black frames: the engine, the model and the adapter in use go together.
    ///
    /// # Errors
    /// [`AgentError`]: what the vehicle cannot drive with.
    pub fn try_model(&self) -> Result<(), AgentError> {
        let active = self.active()?;
        let frames = vec![0.0; self.form.frames_len()];
        let motion = vec![0.0; self.form.motion.len()];
        if !self.foresees() {
            self.policy(active.as_ref())?.act(&frames, &motion)?;
            return Ok(());
        }
        let mut next = vec![0.0; self.form.shape.bytes()];
        Ok(self.predictor(active.as_ref(), 1)?.predict(1, &frames, &motion, &mut next)?)
    }

    /// Small records of the vehicle.
    pub(crate) const fn records(&self) -> &DirStore {
        &self.store
    }

    pub(crate) const fn records_mut(&mut self) -> &mut DirStore {
        &mut self.store
    }

    /// Forgets what is older than may be kept, at a moment that has passed for certain, UTC in seconds.
    ///
    /// # Errors
    /// [`AgentError`]: what is old could not be removed.
    pub fn forget_old(&mut self, passed_s: u64) -> Result<(), AgentError> {
        self.replay.retain(passed_s)?;
        Ok(())
    }

    /// Erases what was recorded from this moment on, UTC in seconds.
    pub(crate) fn erase_from(&mut self, first_s: u64) -> Result<(), AgentError> {
        self.replay.erase_between(first_s, u64::MAX)?;
        Ok(())
    }

    fn adapter_in(&self, slot: Slot) -> Result<Adapter, AgentError> {
        Ok(keep::read_slot(&self.slots, slot, &self.layout, &self.state.join(SLOTS))?)
    }

    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.config.engine.threads).unwrap_or(NonZeroUsize::MIN)
    }
}

/// The bounds of replay.
const fn options(config: &Config) -> ReplayOptions {
    ReplayOptions { bytes_max: config.replay.bytes_max, days_max: config.replay.retention_days }
}

/// Time since the program first asked.
#[expect(clippy::disallowed_methods, reason = "how long a look takes is what is watched")]
fn monotonic() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
