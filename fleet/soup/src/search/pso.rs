//! PSO-Merging: a classic particle swarm that starts with the base, the experts, and thinned experts.

use super::meter::{Found, Meter, SearchError};
use crate::chance::Draws;
use crate::input::{Members, within};
use crate::merge::drop_entries;

/// How particles move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PsoMerging {
    /// w: what of the velocity stays.
    pub inertia: f64,
    /// c₁: pull of the personal best.
    pub cognitive: f64,
    /// c₂: pull of the global best.
    pub social: f64,
    /// Share of entries that a thinned expert loses; the others are rescaled, as with DARE. At least 0 and less than 1.
    pub dropped: f64,
}

impl PsoMerging {
    /// A classic swarm's setting (Clerc and Kennedy, 2002) with the drop rate of DARE's examples; ours, not the paper's.
    pub const CLASSIC: Self =
        Self { inertia: 0.729, cognitive: 1.494, social: 1.494, dropped: 0.8 };
}

struct Particle {
    x: Vec<f64>,
    v: Vec<f64>,
    personal: Vec<f64>,
    utility: f64,
}

/// A swarm over displacements, from 2n + 1 particles at rest: 0 (the base), the n experts, and each expert thinned.
///
/// ```text
/// v ← w·v + c₁·r₁·(p − x) + c₂·r₂·(g − x)
/// x ← x + v
/// ```
///
/// r₁ and r₂ uniform in `[0, 1)`, one each a particle and step; g the best so far, the same for all in a step. Thinned experts
/// lead out of the hull of the experts. Until the budget is spent.
///
/// # Errors
/// [`SearchError`] without a budget, if a setting is out of its range, or a measurement fails.
/// # Source
/// PSO-Merging, arXiv 2508.19839: the start is its abstract's; settings and the one draw a particle were not checked against its
/// body.
pub fn pso_merging<F, E>(
    displacements: &Members<'_>,
    settings: PsoMerging,
    meter: &mut Meter<F>,
    draws: &mut Draws,
) -> Result<Found, SearchError<E>>
where
    F: FnMut(&[f32]) -> Result<f64, E>,
{
    let finite = |what, got| within(what, got, 0.0..=f64::MAX, "a number, at least 0");
    finite("inertia", settings.inertia)?;
    finite("cognitive", settings.cognitive)?;
    finite("social", settings.social)?;
    let before = meter.used();
    let mut particles = Vec::new();
    let mut best: Option<Found> = None;
    for values in first(displacements, settings.dropped, draws)? {
        let Some(utility) = meter.measure(&values)? else { break };
        let x: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        let v = vec![0.0; x.len()];
        particles.push(Particle { personal: x.clone(), x, v, utility });
        better(&mut best, values, utility);
    }
    let mut best = best.ok_or(SearchError::NoBudget)?;
    while meter.left() > 0 {
        let global: Vec<f64> = best.values.iter().map(|value| f64::from(*value)).collect();
        for particle in &mut particles {
            particle.step(&global, settings, draws);
            let values = crate::input::narrow(&particle.x);
            let Some(utility) = meter.measure(&values)? else { break };
            if utility > particle.utility {
                (particle.personal, particle.utility) = (particle.x.clone(), utility);
            }
            if utility > best.utility {
                best = Found { values, utility, ..best };
            }
        }
    }
    Ok(Found { evaluations: meter.used() - before, ..best })
}

/// The first swarm. Draws: one an entry, expert after expert.
fn first(
    displacements: &Members<'_>,
    dropped: f64,
    draws: &mut Draws,
) -> Result<Vec<Vec<f32>>, crate::input::InputError> {
    let mut all = vec![vec![0.0; displacements.dim()]];
    all.extend(displacements.rows().iter().map(|row| row.to_vec()));
    for row in displacements.rows() {
        all.push(drop_entries(row, dropped, draws)?);
    }
    Ok(all)
}

fn better(best: &mut Option<Found>, values: Vec<f32>, utility: f64) {
    if best.as_ref().is_none_or(|best| utility > best.utility) {
        *best = Some(Found { values, coefficients: Vec::new(), utility, evaluations: 0 });
    }
}

impl Particle {
    fn step(&mut self, global: &[f64], settings: PsoMerging, draws: &mut Draws) {
        let cognitive = settings.cognitive * draws.unit();
        let social = settings.social * draws.unit();
        for (index, x) in self.x.iter_mut().enumerate() {
            self.v[index] = settings.inertia * self.v[index]
                + cognitive * (self.personal[index] - *x)
                + social * (global[index] - *x);
            *x += self.v[index];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const ROWS: [[f32; 3]; 3] = [[1.0, 0.2, 0.0], [0.0, 1.0, 0.3], [-0.5, 0.0, 1.0]];

    fn utility(x: &[f32]) -> Result<f64, Infallible> {
        let apart = |(x, best): (&f32, f64)| (f64::from(*x) - best) * (f64::from(*x) - best);
        Ok(-x.iter().zip([0.4, 0.5, 0.2]).map(apart).sum::<f64>())
    }

    fn search(budget: usize) -> Found {
        let members = Members::new(&ROWS).unwrap();
        let mut meter = Meter::new(budget, utility);
        let found =
            pso_merging(&members, PsoMerging::CLASSIC, &mut meter, &mut Draws::new(1, 0)).unwrap();
        assert_eq!((found.evaluations, meter.used()), (budget, budget));
        found
    }

    #[test]
    fn the_base_is_the_first_particle_and_the_experts_are_next() {
        assert_eq!(search(1).values, [0.0; 3]);
        let members = Members::new(&ROWS).unwrap();
        let all = first(&members, 0.5, &mut Draws::new(1, 0)).unwrap();
        assert_eq!(all.len(), 7);
        assert_eq!(all[2], ROWS[1]);
        assert!(all[4..].iter().flatten().any(|value| *value == 2.0), "{all:?}");
    }

    #[test]
    fn the_swarm_finds_more_than_it_starts_with() {
        let (start, found) = (search(7), search(400));
        assert!(found.utility > start.utility / 10.0, "{start:?} {found:?}");
        assert!(found.utility > -0.01, "{found:?}");
    }

    #[test]
    fn settings_have_their_ranges() {
        let members = Members::new(&ROWS).unwrap();
        for settings in [
            PsoMerging { dropped: 1.0, ..PsoMerging::CLASSIC },
            PsoMerging { inertia: f64::NAN, ..PsoMerging::CLASSIC },
        ] {
            let mut meter = Meter::new(10, utility);
            let error = pso_merging(&members, settings, &mut meter, &mut Draws::new(1, 0));
            assert!(error.is_err() && meter.used() == 0);
        }
    }
}
