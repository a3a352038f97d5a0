//! The controls challenge: a controller steers a learnt vehicle along a wanted lateral acceleration.
//!
//! The published facts (commaai/controls_challenge, README and simulator): 10 Hz; the model sees 20 rows (steer command, lateral
//! acceleration by the road's roll, speed, acceleration) and the tokens of the 20 lateral accelerations before; its next token is
//! drawn at temperature 0.8 and held within 0.5 m/s² of the last; until row 100 the log steers, from then on the
//! controller, within ±2; costs are over rows 100 to 499.
//!
//! ```text
//! lataccel_cost = 100 · mean((actual − target)²)
//! jerk_cost     = 100 · mean((Δactual ÷ 0.1 s)²)
//! total_cost    = 50 · lataccel_cost + jerk_cost
//! ```

use crate::chance::Draws;

/// Rows that the learnt vehicle sees.
pub const CONTEXT: usize = 20;
/// First row that is the controller's.
pub const CONTROL_FROM: usize = 100;
/// First row that costs nothing any more.
pub const COST_TO: usize = 500;
/// Seconds between rows.
const INTERVAL_S: f64 = 0.1;
/// Greatest change of the lateral acceleration in a row, m/s².
const CHANGE_MAX: f64 = 0.5;
/// Greatest steer command.
const STEER_MAX: f64 = 2.0;
const TEMPERATURE: f64 = 0.8;
/// Total cost at which the term's value is −1: the challenge's PID has about 85 to 110, a good controller half of it.
const COST_WORST: f64 = 200.0;

/// One row of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Speed, m/s.
    pub speed_m_s: f64,
    /// Acceleration, m/s².
    pub acceleration_m_s2: f64,
    /// Lateral acceleration by the road's roll, m/s².
    pub roll_m_s2: f64,
    /// Lateral acceleration that is wanted, m/s².
    pub target_m_s2: f64,
    /// Steer command of the log.
    pub steer: f64,
}

/// A learnt vehicle.
pub trait Plant {
    /// Why it cannot tell.
    type Error;

    /// The lateral acceleration (m/s²) that each next token stands for, and its logits, after 20 rows of (steer, roll, speed,
    /// acceleration) and the lateral accelerations before.
    ///
    /// # Errors
    /// As the plant says.
    fn respond(
        &mut self,
        states: &[[f32; 4]; CONTEXT],
        before: &[f64; CONTEXT],
    ) -> Result<(&[f64], &[f32]), Self::Error>;
}

/// What steers.
pub trait Controller {
    /// The steer command, given what is wanted and what is, m/s², and the row.
    fn steer(&mut self, target_m_s2: f64, actual_m_s2: f64, row: &Row) -> f64;
}

/// A proportional-integral-derivative controller of the error of the lateral acceleration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pid {
    gains: [f64; 3],
    forward: f64,
    sum: f64,
    last: f64,
}

impl Pid {
    /// With these gains (per m/s², per m/s² and row, per m/s² a row), and a part of the wanted acceleration itself.
    #[must_use]
    pub fn new(gains: [f64; 3], forward: f64) -> Self {
        Pid { gains, forward, sum: 0.0, last: 0.0 }
    }
}

impl Controller for Pid {
    fn steer(&mut self, target_m_s2: f64, actual_m_s2: f64, _row: &Row) -> f64 {
        let error = target_m_s2 - actual_m_s2;
        self.sum += error;
        let change = error - self.last;
        self.last = error;
        let [p, i, d] = self.gains;
        self.forward * target_m_s2 + p * error + i * self.sum + d * change
    }
}

/// The published cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Of the error.
    pub lataccel: f64,
    /// Of the jerk.
    pub jerk: f64,
}

impl Cost {
    /// Cost of lateral accelerations against what was wanted, from the controller's first row on.
    ///
    /// `None` of fewer than two rows.
    #[must_use]
    pub fn of(actual: &[f64], target: &[f64]) -> Option<Self> {
        let errors = actual.iter().zip(target).map(|(actual, target)| (actual - target).powi(2));
        let jerks = actual.iter().zip(actual.get(1..)?);
        let jerks = jerks.map(|(before, after)| ((after - before) / INTERVAL_S).powi(2));
        let (lataccel, jerk) = (super::mean(errors)?, super::mean(jerks)?);
        Some(Cost { lataccel: 100.0 * lataccel, jerk: 100.0 * jerk })
    }

    /// `50 · lataccel + jerk`.
    #[must_use]
    pub fn total(&self) -> f64 {
        50.0 * self.lataccel + self.jerk
    }

    /// The term's value: 1 − 2·min(1, total ÷ 200).
    #[must_use]
    pub fn value(&self) -> f64 {
        1.0 - 2.0 * (self.total() / COST_WORST).min(1.0)
    }
}

/// Drives the plant along a log; gives the lateral accelerations and what was wanted over the rows that cost.
///
/// # Errors
/// The plant's.
pub fn roll_out<P: Plant>(
    plant: &mut P,
    controller: &mut dyn Controller,
    log: &[Row],
    draws: &mut Draws,
) -> Result<(Vec<f64>, Vec<f64>), P::Error> {
    let log = log.get(..COST_TO).unwrap_or(log);
    let mut states: Vec<[f32; 4]> = Vec::with_capacity(log.len());
    let mut actual: Vec<f64> = Vec::with_capacity(log.len());
    for (index, row) in log.iter().enumerate() {
        let controlled = index >= CONTROL_FROM;
        let steer = match actual.last() {
            Some(&last) if controlled => controller.steer(row.target_m_s2, last, row),
            Some(_) | None => row.steer,
        };
        let steer = steer.clamp(-STEER_MAX, STEER_MAX);
        let state = [steer, row.roll_m_s2, row.speed_m_s, row.acceleration_m_s2];
        states.push(state.map(|value| value as f32));
        if !controlled {
            actual.push(row.target_m_s2);
            continue;
        }
        let (Some(seen), Some(before)) = (states.last_chunk(), actual.last_chunk::<CONTEXT>())
        else {
            continue;
        };
        let last = before[CONTEXT - 1];
        let (values, logits) = plant.respond(seen, before)?;
        let drawn = draw(values, logits, draws);
        actual.push(drawn.clamp(last - CHANGE_MAX, last + CHANGE_MAX));
    }
    let from = CONTROL_FROM.min(actual.len());
    let target = log.iter().map(|row| row.target_m_s2).skip(from).collect();
    Ok((actual.split_off(from), target))
}

/// One of `values` by the softmax of `logits` at the published temperature.
fn draw(values: &[f64], logits: &[f32], draws: &mut Draws) -> f64 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let weight = |logit: &f32| libm::exp(f64::from(logit - most) / TEMPERATURE);
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = f64::from(draws.unit()) * total;
    for (value, logit) in values.iter().zip(logits) {
        left -= weight(logit);
        if left < 0.0 {
            return *value;
        }
    }
    values.last().copied().unwrap_or(0.0)
}
