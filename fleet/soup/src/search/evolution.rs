//! Evolution strategies whose messages are a seed and a utility.

use super::meter::{Found, Meter, SearchError};
use crate::chance::Draws;
use crate::input::{InputError, positive, run, within};

/// What one evaluation sends: 16 bytes. The perturbation is rebuilt from the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Two seeds 2k and 2k + 1 are a pair: one noise, added and taken away.
    pub seed: u64,
    /// As measured at the perturbed position.
    pub utility: f64,
}

/// Bytes of a [`Report`].
pub const REPORT_BYTES: usize = 16;

/// A position that moves towards what perturbations of it were better.
///
/// ```text
/// x(s) = θ ± σ·ε(⌊s/2⌋),  ε ~ N(0, I);  + for even s
/// z_s = (u_s − mean u) / deviation of u
/// θ ← θ + α·(1/n)·Σ ±z_s·ε(⌊s/2⌋)
/// ```
///
/// All that know θ, σ and α and the same reports reach the same θ, to the bit, in whatever order reports came: they are added in
/// the order of their seeds. A report whose mirror is missing counts alone.
///
/// # Source
/// Salimans et al., arXiv 1703.03864, algorithm 2 and its mirrored sampling; z-scores and σ within α as in Evolution strategies at
/// scale, arXiv 2509.24372, algorithm 1.
#[derive(Clone, Debug, PartialEq)]
pub struct EvolutionStrategy {
    centre: Vec<f32>,
    deviation: f64,
    step: f64,
}

impl EvolutionStrategy {
    /// A search around this position.
    ///
    /// # Shapes and units
    /// `centre`: θ, `[dim]`. `deviation`: σ, in units of the values. `step`: α, in units of the values.
    /// # Errors
    /// [`InputError`] if a value is not finite, or σ or α not positive.
    pub fn new(centre: Vec<f32>, deviation: f64, step: f64) -> Result<Self, InputError> {
        run("values of the centre", &centre, centre.len())?;
        positive("deviation", deviation)?;
        positive("step", step)?;
        Ok(Self { centre, deviation, step })
    }

    /// θ, `[dim]`.
    pub fn centre(&self) -> &[f32] {
        &self.centre
    }

    /// The position that a seed stands for, `[dim]`.
    pub fn position(&self, seed: u64) -> Vec<f32> {
        let factor = sign(seed) * self.deviation;
        let noise = noise(seed, self.centre.len());
        let value = |(x, noise): (&f32, f64)| (f64::from(*x) + factor * noise) as f32;
        self.centre.iter().zip(noise).map(value).collect()
    }

    /// One step by these reports. None at all, or equal ones, move nothing.
    ///
    /// # Errors
    /// [`InputError`] if a seed was reported twice or a utility is not finite; nothing moves then.
    pub fn update(&mut self, reports: &[Report]) -> Result<(), InputError> {
        let mut reports = reports.to_vec();
        reports.sort_by_key(|report| report.seed);
        if let Some(twice) = reports.windows(2).find(|pair| pair[0].seed == pair[1].seed) {
            return Err(InputError::Twice { seed: twice[0].seed });
        }
        if let Some(at) = reports.iter().position(|report| !report.utility.is_finite()) {
            return Err(InputError::NotFinite { what: "utility", at, index: at });
        }
        let count = reports.len() as f64;
        let mean = reports.iter().map(|report| report.utility).sum::<f64>() / count;
        let away = |report: &Report| (report.utility - mean) * (report.utility - mean);
        let deviation = (reports.iter().map(away).sum::<f64>() / count).sqrt();
        if deviation == 0.0 || !deviation.is_finite() {
            return Ok(());
        }
        let mut step = vec![0.0; self.centre.len()];
        // Neighbours in this order share their noise: it is drawn once a pair.
        for pair in reports.chunk_by(|a, b| a.seed / 2 == b.seed / 2) {
            let signed = |report: &Report| sign(report.seed) * (report.utility - mean);
            let weight = pair.iter().map(signed).sum::<f64>() / deviation / count;
            let noise = noise(pair[0].seed, step.len());
            step.iter_mut().zip(noise).for_each(|(sum, noise)| *sum += weight * noise);
        }
        for (value, step) in self.centre.iter_mut().zip(step) {
            *value = (f64::from(*value) + self.step * step) as f32;
        }
        Ok(())
    }
}

/// How [`evolve_by_seeds`] goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evolution {
    /// σ, in units of the values.
    pub deviation: f64,
    /// α, in units of the values.
    pub step: f64,
    /// Pairs of perturbations a step, at least 1.
    pub pairs: u32,
}

/// An [`EvolutionStrategy`] on one machine, until the budget is spent: the centre is measured, then `pairs` mirrored pairs, then
/// the centre moves. A generation that the budget cuts short counts for the best, and a gate that did not hold (−∞) for nothing.
///
/// # Shapes and units
/// `centre`: `[dim]`. Seeds of reports count on from `first_seed`.
/// # Errors
/// [`SearchError`] without a budget, if a setting is out of its range, or a measurement fails.
pub fn evolve_by_seeds<F, E>(
    centre: &[f32],
    settings: Evolution,
    first_seed: u32,
    meter: &mut Meter<F>,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    let mut strategy = EvolutionStrategy::new(centre.to_vec(), settings.deviation, settings.step)?;
    within("pairs", f64::from(settings.pairs), 1.0.., "at least 1")?;
    let before = meter.used();
    let mut next = u64::from(first_seed) * 2;
    let mut best: Option<Found> = None;
    let mut measure = |values: Vec<f32>| -> Result<Option<f64>, SearchError<E>> {
        let Some(utility) = meter.measure(&values)? else { return Ok(None) };
        let evaluations = meter.used() - before;
        let last = best.take().map(|best| Found { evaluations, ..best });
        let found = Found { values, coefficients: Vec::new(), utility, evaluations };
        best = Some(last.filter(|last| last.utility >= utility).unwrap_or(found));
        Ok(Some(utility))
    };
    'generations: while measure(strategy.centre().to_vec())?.is_some() {
        let mut reports = Vec::new();
        for seed in next..next + u64::from(settings.pairs) * 2 {
            let Some(utility) = measure(strategy.position(seed))? else { break 'generations };
            if utility.is_finite() {
                reports.push(Report { seed, utility });
            }
        }
        next += u64::from(settings.pairs) * 2;
        strategy.update(&reports)?;
    }
    best.ok_or(SearchError::NoBudget)
}

/// ε of a seed, and of its mirror: independent N(0, 1), `[dim]`.
pub fn noise(seed: u64, dim: usize) -> impl Iterator<Item = f64> {
    /// Number of the stream in [`Draws`].
    const STREAM: u64 = u64::from_le_bytes(*b"es/noise");
    let mut draws = Draws::new(seed / 2, STREAM);
    (0..dim).map(move |_index| draws.normal())
}

fn sign(seed: u64) -> f64 {
    if seed.is_multiple_of(2) { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utility(x: &[f32]) -> f64 {
        let apart = |(x, best): (&f32, f64)| (f64::from(*x) - best) * (f64::from(*x) - best);
        -x.iter().zip([0.5, -0.25, 1.0, 0.0]).map(apart).sum::<f64>()
    }

    fn reports(strategy: &EvolutionStrategy, seeds: std::ops::Range<u64>) -> Vec<Report> {
        seeds.map(|seed| Report { seed, utility: utility(&strategy.position(seed)) }).collect()
    }

    #[test]
    fn a_seed_and_its_mirror_lie_on_both_sides() {
        let strategy = EvolutionStrategy::new(vec![1.0, 2.0, 3.0], 0.5, 0.1).unwrap();
        let (one, other) = (strategy.position(6), strategy.position(7));
        for ((one, other), centre) in one.iter().zip(&other).zip(strategy.centre()) {
            assert!((one + other - 2.0 * centre).abs() < 1e-6 && one != other);
        }
        assert_ne!(strategy.position(8), one);
    }

    #[test]
    fn both_sides_rebuild_the_same_from_seeds_and_utilities_in_any_order() {
        let mut vehicle = EvolutionStrategy::new(vec![0.0; 4], 0.1, 0.1).unwrap();
        let mut authority = vehicle.clone();
        for round in 0..5 {
            let mut sent = reports(&vehicle, round * 16..round * 16 + 16);
            // So far from 0 another order of sums gives another mean.
            sent.iter_mut().for_each(|sent| sent.utility = 1e15 + 4.0 * sent.utility);
            let mut came = sent.clone();
            came.reverse();
            came.swap(0, 7);
            vehicle.update(&sent).unwrap();
            authority.update(&came).unwrap();
        }
        assert_eq!(vehicle, authority);
        assert_ne!(vehicle.centre(), [0.0; 4]);
    }

    #[test]
    fn it_climbs() {
        let mut strategy = EvolutionStrategy::new(vec![0.0; 4], 0.05, 0.05).unwrap();
        let before = utility(strategy.centre());
        for round in 0..60 {
            let sent = reports(&strategy, round * 32..round * 32 + 32);
            strategy.update(&sent).unwrap();
        }
        let after = utility(strategy.centre());
        assert!(after > -0.03 && before < -1.0, "{before} {after}");
    }

    #[test]
    fn on_one_machine_it_climbs_within_its_budget() {
        let settings = Evolution { deviation: 0.05, step: 0.05, pairs: 16 };
        let measure = |x: &[f32]| Ok::<f64, ()>(utility(x));
        for (budget, least) in [(1, -2.0), (20, -1.3), (2000, -0.03)] {
            let mut meter = Meter::new(budget, measure);
            let found = evolve_by_seeds(&[0.0; 4], settings, 7, &mut meter).unwrap();
            assert_eq!((found.evaluations, meter.used()), (budget, budget));
            assert!(found.utility > least, "{found:?}");
            assert_eq!(found.utility, utility(&found.values));
        }
        let nothing = evolve_by_seeds(&[0.0; 4], settings, 7, &mut Meter::new(0, measure));
        assert_eq!(nothing, Err(SearchError::NoBudget));
    }

    #[test]
    fn a_gate_that_does_not_hold_ends_no_search() {
        let settings = Evolution { deviation: 0.05, step: 0.05, pairs: 16 };
        let gated =
            |x: &[f32]| Ok::<f64, ()>(if x[0] > 0.1 { f64::NEG_INFINITY } else { utility(x) });
        let found = evolve_by_seeds(&[0.0; 4], settings, 7, &mut Meter::new(600, gated)).unwrap();
        assert!(found.values[0] <= 0.1 && found.utility > -0.5, "{found:?}");
    }

    #[test]
    fn duplicates_and_gates_move_nothing() {
        let mut strategy = EvolutionStrategy::new(vec![0.0; 4], 0.1, 0.1).unwrap();
        let before = strategy.clone();
        let twice = [3, 8, 3].map(|seed| Report { seed, utility: seed as f64 });
        assert_eq!(strategy.update(&twice), Err(InputError::Twice { seed: 3 }));
        let gated = [Report { seed: 1, utility: f64::NEG_INFINITY }];
        assert!(strategy.update(&gated).is_err());
        strategy.update(&[]).unwrap();
        strategy.update(&[Report { seed: 1, utility: 0.5 }]).unwrap();
        assert_eq!(strategy, before);
    }
}
