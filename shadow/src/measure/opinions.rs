//! What a fleet's policies hold at logged moments, and how near to drivers a matrix makes it.
//!
//! Every policy is asked once. What it held is kept [quantised](Quantised), and its [hash](sha256) says what: who has it measures
//! every matrix as anybody else does, whatever network it runs itself.
//!
//! ```text
//! value of a drive = Σ weight · (nats of 'as often as before' − nats of the opinion) ÷ (NATS · Σ weight)
//! ```
//!
//! Nats are −ln of the probability of what the driver did, 'as often as before' the driver's habits as of
//! [imitation](super::imitation), which also says which drives count. Imitation's own value is below −1 for networks that have not
//! learned from these drivers, and a term ends at −1, where no matrix differs from another (decision 0051). This one is between the
//! ends unless a matrix is [`NATS`] worse or better than habits in the mean. Whatever a fleet's policies are, 0 means the same.

use sha2::{Digest, Sha256};

use super::imitation::{DriveActs, VARIETY_MIN};
use super::policy::PolicyPredictor;
use super::{Blocks, DriveMeasurement, Errors, MeasureError, Measurement, check_form};
use crate::grid::{ActionMatrix, Context, Distribution, Pool, Quantised, Sample};
use crate::opinion::{Did, Opinion};

/// So many nats better than habits are a value of 1.
pub const NATS: f64 = 8.0;
/// An opinion counts as so wrong at most: beyond, a byte does not tell probabilities apart.
const NATS_MAX: f64 = 16.0;

/// What policies hold at one moment.
#[derive(Clone, Debug)]
struct Moment {
    speed_m_s: f64,
    did: Did,
    weight: f64,
    /// Nats of the driver's habits.
    usual: f64,
    block: u32,
    /// One for each policy of the fleet; `None`: nobody asked it.
    held: Vec<Option<Quantised>>,
}

/// What policies hold at the moments of one drive that count.
#[derive(Clone, Debug)]
pub struct DriveOpinions {
    name: String,
    counted: bool,
    moments: Vec<Moment>,
}

impl Moment {
    fn opinions(&self) -> Vec<Option<Distribution>> {
        self.held.iter().map(|held| held.as_ref().map(Quantised::distribution)).collect()
    }

    /// Where this is, as it is told before anybody acts: by the speed, and by how much the policies would steer in the mean, to
    /// whichever side.
    fn context(&self, opinions: &[Option<Distribution>]) -> Context {
        let bends = || opinions.iter().flatten().map(|one| one.decided().curvature_per_m.abs());
        let count = bends().count().max(1);
        Context::of(self.speed_m_s, bends().sum::<f64>() / count as f64)
    }
}

/// Asks policies at every moment with enough frames before it in its run, a weight above 0 and something that the driver did.
///
/// `policies` has one for each of the fleet; `None`: not at hand.
///
/// # Errors
/// [`MeasureError`], naming the drive and the frame of its run.
pub fn opinions(
    policies: &mut [Option<PolicyPredictor>],
    drives: &[DriveActs<'_>],
) -> Result<Vec<DriveOpinions>, MeasureError> {
    drives.iter().map(|drive| of_drive(policies, drive)).collect()
}

fn of_drive(
    policies: &mut [Option<PolicyPredictor>],
    drive: &DriveActs<'_>,
) -> Result<DriveOpinions, MeasureError> {
    let most = policies.iter().flatten().map(|policy| policy.form().context).max();
    let first = most.unwrap_or(1).max(1) - 1;
    let usual = drive.habits.often(true);
    let mut blocks = Blocks::default();
    let mut moments = Vec::new();
    for (piece, run) in drive.runs.iter().enumerate() {
        for policy in policies.iter().flatten() {
            check_form(&drive.name, run.footage, policy.form().context, policy.form())?;
        }
        for at in first..run.footage.len() {
            let weight = f64::from(run.weights.get(at).copied().unwrap_or(0.0));
            let motion = run.footage.motion(at).unwrap_or_default();
            let did = Did::of(&motion, &drive.geometry);
            let Some(usual) = usual.nats(&did).filter(|_| weight > 0.0) else { continue };
            let speed_m_s = f64::from(motion.speed_m_s.unwrap_or(0.0));
            let mut held = Vec::with_capacity(policies.len());
            for policy in policies.iter_mut() {
                let Some(policy) = policy else {
                    held.push(None);
                    continue;
                };
                let name = || drive.name.clone();
                let opinion = policy.act_at(run.footage, at).map_err(|source| {
                    MeasureError::Predict { drive: name(), first: at, source: Box::new(source) }
                })?;
                let opinion =
                    opinion.ok_or_else(|| MeasureError::NotANumber { drive: name(), first: at })?;
                held.push(Some(Quantised::of(&opinion.actions)));
            }
            let second = ((at - first) as f64 / run.footage.rate_hz()) as usize;
            let block = blocks.number((piece, 0, second));
            moments.push(Moment { speed_m_s, did, weight, usual, block, held });
        }
    }
    let counted = drive.habits.variety(true) >= VARIETY_MIN;
    Ok(DriveOpinions { name: drive.name.clone(), counted, moments })
}

/// SHA-256 over all that policies held at these moments, and which moments these are.
#[must_use]
pub fn sha256(drives: &[DriveOpinions]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(crate::grid::SHA256);
    for drive in drives {
        hasher.update((drive.name.len() as u64).to_le_bytes());
        hasher.update(&drive.name);
        hasher.update((drive.moments.len() as u64).to_le_bytes());
        for moment in &drive.moments {
            let Moment { speed_m_s, did, weight, usual, block, held } = moment;
            for number in [speed_m_s, weight, usual] {
                hasher.update(number.to_le_bytes());
            }
            hasher.update(block.to_le_bytes());
            for bin in [did.curvature, did.acceleration] {
                hasher.update(bin.map_or(u64::MAX, |bin| bin as u64).to_le_bytes());
            }
            hasher.update((held.len() as u64).to_le_bytes());
            for held in held {
                hasher.update([u8::from(held.is_some())]);
                hasher.update(held.as_ref().map_or(&[][..], Quantised::bytes));
            }
        }
    }
    hasher.finalize().into()
}

/// How near to the drivers the policies together are, by this matrix. Moments at which no policy was asked are left out.
#[must_use]
pub fn pooled(matrix: &ActionMatrix, pool: Pool, drives: &[DriveOpinions]) -> Measurement {
    measured(drives, |moment| {
        let opinions = moment.opinions();
        let context = moment.context(&opinions);
        let of: Vec<Option<&Distribution>> = opinions.iter().map(Option::as_ref).collect();
        matrix.opinion(pool, context, &of)
    })
}

/// How near policy `number` of the fleet is by itself.
#[must_use]
pub fn alone(number: usize, drives: &[DriveOpinions]) -> Measurement {
    measured(drives, |moment| moment.held.get(number)?.as_ref().map(Quantised::distribution))
}

fn measured(
    drives: &[DriveOpinions],
    opinion: impl Fn(&Moment) -> Option<Distribution>,
) -> Measurement {
    let of_drive = |drive: &DriveOpinions| {
        let mut next = Errors::default();
        for moment in &drive.moments {
            let Some(actions) = opinion(moment) else { continue };
            let opinion = Opinion { actions, accelerates: true };
            let Some(own) = opinion.nats(&moment.did) else { continue };
            next.model.push(moment.weight * (NATS + own.min(NATS_MAX) - moment.usual));
            next.copy.push(moment.weight * NATS);
            next.block.push(moment.block);
        }
        DriveMeasurement {
            name: drive.name.clone(),
            copy_psnr_db: 0.0,
            counted: drive.counted,
            next,
            rollout: Errors::default(),
        }
    };
    Measurement { predictor: "matrix".into(), drives: drives.iter().map(of_drive).collect() }
}

/// What these moments make of a matrix ([`ActionMatrix::fitted`]); `None` without a moment to learn from.
#[must_use]
pub fn fitted(
    matrix: &ActionMatrix,
    pool: Pool,
    drives: &[DriveOpinions],
    (rounds, held): (u32, f64),
) -> Option<ActionMatrix> {
    let moments = drives.iter().flat_map(|drive| &drive.moments);
    let known: Vec<(&Moment, usize, Vec<Option<Distribution>>)> = moments
        .filter_map(|moment| Some((moment, moment.did.bin()?, moment.opinions())))
        .filter(|(_moment, _bin, opinions)| opinions.iter().any(Option::is_some))
        .collect();
    let samples: Vec<Sample<'_>> = known
        .iter()
        .map(|(moment, bin, opinions)| Sample {
            context: moment.context(opinions),
            opinions: opinions.iter().map(Option::as_ref).collect(),
            bin: *bin,
            weight: moment.weight,
        })
        .collect();
    (!samples.is_empty()).then(|| matrix.fitted(pool, &samples, rounds, held))
}

#[cfg(test)]
mod tests {
    use super::super::term_value;
    use super::*;
    use crate::grid::{ACCELERATION_BINS, Action, ActionGrid, bin_spread};
    use crate::measure::imitation::Habits;

    fn spread(curvature_per_m: f64) -> Distribution {
        let grid = ActionGrid::v1();
        Distribution::from_axes(
            &bin_spread(grid.curvature_edges(), curvature_per_m, 0.004),
            &bin_spread(grid.acceleration_edges(), 0.0, 0.4),
        )
    }

    /// A driver who nearly always goes straight on beside two networks that would turn, one more than the other.
    fn beside_habits() -> (DriveOpinions, Habits) {
        let bin = ActionGrid::v1().bin(Action::default());
        let (curvature, acceleration) = (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
        let did = |at: usize| Did {
            curvature: Some(curvature + at % 2),
            acceleration: Some(acceleration),
        };
        let mut habits = Habits::default();
        (0..40).for_each(|at| habits.add(&did(at), 1.0));
        let usual = habits.often(true);
        let held = [0.004, -0.02].map(|turns| Some(Quantised::of(&spread(turns))));
        let moment = |at: usize| Moment {
            speed_m_s: 10.0,
            did: did(at),
            weight: 1.0,
            usual: usual.nats(&did(at)).unwrap(),
            block: at as u32 / 10,
            held: held.to_vec(),
        };
        let moments = (0..40).map(moment).collect();
        (DriveOpinions { name: "straight".into(), counted: true, moments }, habits)
    }

    /// By imitation's value both are at the end of a term, and no matrix is better than another.
    #[test]
    fn networks_far_from_drivers_are_told_apart_where_imitation_tells_nothing() {
        let (drive, habits) = beside_habits();
        let distance = |opinion: &Opinion| {
            drive.moments.iter().filter_map(|of| opinion.distance(&of.did)).sum::<f64>()
        };
        let near = Opinion { actions: spread(0.004), accelerates: true };
        let imitation = 1.0 - distance(&near) / distance(&habits.often(true));
        assert_eq!(term_value(imitation), -10_000, "{imitation}");

        let drives = [drive];
        let value = |policy: usize, share: f64| {
            let matrix = ActionMatrix::trusting(2, policy, share);
            pooled(&matrix, Pool::Linear, &drives).term_value().unwrap()
        };
        let values = [value(1, 0.75), value(0, 0.5), value(0, 0.75), value(0, 0.99)];
        assert!(values.is_sorted_by(|a, b| a < b), "the nearer is trusted more: {values:?}");
        assert!(values.iter().all(|value| value.abs() < 10_000), "{values:?}");
    }
}
