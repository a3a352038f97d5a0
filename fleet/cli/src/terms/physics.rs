//! tinyphysics in a session as a learnt vehicle, and controllers that steer it.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;
use shoal_hal::backend::recorded::comma::Log;
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::onnx::Model;
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::fit::prepare;
use shoal_shadow::package::Bins;
use shoal_shadow::policymodel::{PolicySession, Reflex};
use shoal_shadow::term::controls::{
    CONTEXT, CONTROL_FROM, COST_TO, Controller, Cost, Pid, Plant, Row, roll_out,
};
use shoal_shadow::term::roads::Roads;

use crate::output::Failure;

/// Lateral accelerations of tinyphysics' tokens, m/s².
const RANGE: (f64, f64, usize) = (-5.0, 5.0, 1024);
/// Gains of the challenge's own PID example.
const PID: [f64; 3] = [0.195, 0.1, -0.053];
/// Draws of each cost: the next token is drawn.
const REPEATS: u64 = 3;

/// Costs of one controller: means over draws.
#[derive(Serialize)]
pub(super) struct Controlled {
    pub(super) controller: String,
    pub(super) lataccel_cost: f64,
    pub(super) jerk_cost: f64,
    pub(super) total_cost: f64,
    pub(super) value: f64,
}

/// A session of the model, one sample.
struct TinyPhysics {
    session: Box<dyn Session>,
    inputs: [usize; 2],
    output: usize,
    bins: Bins,
    values: Vec<f64>,
    states: Vec<f32>,
}

impl TinyPhysics {
    fn open(file: &Path, engine: &dyn Engine, threads: NonZeroUsize) -> Result<Self, Failure> {
        let model = Model::read(file)?;
        let options = LoadOptions { threads, ..LoadOptions::default() };
        let session = engine.load(&prepare(&model, 1)?.model, &options)?;
        let (low, high, count) = RANGE;
        let bins = Bins::new(low, high, count).ok_or("the bins of tinyphysics")?;
        let output = session.output_index("output")?;
        if session.outputs()[output].ty.values() != CONTEXT * count {
            return Err(format!(
                "{} is not tinyphysics: its output is not 20 × 1024",
                file.display()
            )
            .into());
        }
        Ok(TinyPhysics {
            inputs: [session.input_index("states")?, session.input_index("tokens")?],
            output,
            values: (0..count).map(|index| bins.edge(index)).collect(),
            bins,
            session,
            states: Vec::new(),
        })
    }
}

impl Plant for TinyPhysics {
    type Error = EngineError;

    fn respond(
        &mut self,
        states: &[[f32; 4]; CONTEXT],
        before: &[f64; CONTEXT],
    ) -> Result<(&[f64], &[f32]), EngineError> {
        self.states.clear();
        self.states.extend(states.iter().flatten());
        let (low, high, _) = RANGE;
        let tokens = before.map(|value| self.bins.token(value.clamp(low, high)) as i64);
        let [to_states, to_tokens] = self.inputs;
        self.session.write_f32(to_states, &self.states)?;
        self.session.write_i64(to_tokens, &tokens)?;
        self.session.run()?;
        let logits = self.session.output_f32(self.output)?;
        let last = logits.len() - self.values.len();
        Ok((&self.values, &logits[last..]))
    }
}

/// The vehicle that controllers steer, and the log along which.
pub(super) struct Steered {
    plant: TinyPhysics,
    log: Vec<Row>,
}

impl Steered {
    /// Opens both: what is wrong with one is said before anybody drives.
    pub(super) fn open(
        (physics, log): (&Path, &Path),
        engine: &dyn Engine,
        threads: NonZeroUsize,
    ) -> Result<Self, Failure> {
        let log = rows(log)?;
        Ok(Steered { plant: TinyPhysics::open(physics, engine, threads)?, log })
    }

    /// Costs of controllers along the log, and along what the policy asks for on the first roads.
    pub(super) fn controlled(
        self,
        roads: &Roads,
        policy: &mut PolicySession,
    ) -> Result<Vec<Controlled>, Failure> {
        let Steered { mut plant, log } = self;
        let gain = forward_gain(&log);
        let mut all = Vec::new();
        let controllers = [
            ("nothing", [0.0; 3], 0.0),
            ("forward", [0.0; 3], gain),
            ("PID", PID, 0.0),
            ("PID, forward", PID, gain),
        ];
        for (name, gains, forward) in controllers {
            let costs = costs(&mut plant, || Pid::new(gains, forward), &log)?;
            all.push(mean(format!("log: {name}"), &costs));
        }
        let shape = policy.shape();
        let mut asked = Vec::new();
        for road in roads.all().iter().take(5) {
            let mut reflex = Reflex::Policy(&mut *policy);
            if let Some(mut rows) =
                shoal_shadow::term::roads::demand(road, shape, &mut reflex, COST_TO)?
            {
                rows.iter_mut().for_each(|row| row.steer = gain * row.target_m_s2);
                asked.extend(costs(&mut plant, || Pid::new(PID, gain), &rows)?);
            }
        }
        all.push(mean("policy's roads: PID, forward".into(), &asked));
        Ok(all)
    }
}

fn costs<C: Controller>(
    plant: &mut TinyPhysics,
    controller: impl Fn() -> C,
    log: &[Row],
) -> Result<Vec<Cost>, Failure> {
    let mut costs = Vec::new();
    for repeat in 0..REPEATS {
        let mut draws = Draws::new(Purpose::Bootstrap, 0, repeat, 0);
        let (actual, target) = roll_out(plant, &mut controller(), log, &mut draws)?;
        costs.extend(Cost::of(&actual, &target));
    }
    Ok(costs)
}

fn mean(controller: String, costs: &[Cost]) -> Controlled {
    let count = costs.len().max(1) as f64;
    let lataccel = costs.iter().map(|cost| cost.lataccel).sum::<f64>() / count;
    let jerk = costs.iter().map(|cost| cost.jerk).sum::<f64>() / count;
    let cost = Cost { lataccel, jerk };
    Controlled {
        controller,
        lataccel_cost: lataccel,
        jerk_cost: jerk,
        total_cost: cost.total(),
        value: cost.value(),
    }
}

/// Rows of a log at 10 Hz: the steering wheel's angle in hundreds of degrees stands for the steer command, the logged
/// lateral acceleration for what is wanted.
fn rows(file: &Path) -> Result<Vec<Row>, Failure> {
    let log = Log::read_csv(file)?;
    if log.len() < COST_TO {
        return Err(format!(
            "{} has {} rows, the challenge needs {COST_TO}",
            file.display(),
            log.len()
        )
        .into());
    }
    let row = |index| {
        let motion = log.motion(index);
        let number = |value: Option<f32>| f64::from(value.unwrap_or(0.0));
        Row {
            speed_m_s: number(motion.speed_m_s),
            acceleration_m_s2: number(motion.acceleration_m_s2),
            roll_m_s2: 0.0,
            target_m_s2: number(motion.lateral_acceleration_m_s2),
            steer: number(motion.steering_rad).to_degrees() / 100.0,
        }
    };
    Ok((0..log.len()).map(row).collect())
}

/// Steer command for a wanted lateral acceleration: least squares over the rows before the controller's.
fn forward_gain(log: &[Row]) -> f64 {
    let seen = log.iter().take(CONTROL_FROM);
    let (both, square) = seen.fold((0.0, 1e-6), |(both, square), row| {
        (both + row.steer * row.target_m_s2, square + row.target_m_s2 * row.target_m_s2)
    });
    both / square
}
