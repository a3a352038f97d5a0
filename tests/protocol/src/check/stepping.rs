//! Where the paper's rule takes a vehicle: where a step of Model Swarms leads from what it tuned to, drawn to its own best and to
//! nothing else than what it has itself measured to be no worse.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use shoal_swarm::draws::pull_draws;
use shoal_swarm::step::{Landmarks, StepLength, Weights, restart, step};
use shoal_swarm::swarm::{Flat, ValuesHash};
use shoal_wire::KeyId;
use shoal_wire::v1::PaperRule;

use super::Checks;
use crate::engine::{Roads, Seen, start};

/// Results of so many tunings are looked at: what came of the last one may have been lost with the power.
const TUNINGS: usize = 3;
/// Steps that a vehicle may have taken and not tuned from, where its power went after each.
const UNSEEN: usize = 2;
/// The numbers of all worlds.
const RULE: PaperRule = PaperRule::USUAL;

/// How a vehicle walks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Walk {
    /// Of its last step; at rest where there was none.
    velocity: Vec<f32>,
    /// Taken so far.
    steps: u32,
}

/// Whose step, and when.
pub(super) struct Stepper<'a> {
    /// Of the fleet.
    pub(super) seed: u64,
    pub(super) key: KeyId,
    /// In which of these windows: its power may have gone before it was written down that it tuned from where it stepped to.
    pub(super) windows: RangeInclusive<u32>,
    /// What it tuned from before, and what came of that.
    pub(super) seen: &'a Seen,
    /// From which of its tunings on it stands where it stepped to.
    pub(super) tuning: usize,
    /// Whether its program began anew since the step before: then it may have taken others, which it did not tune from.
    pub(super) anew: bool,
}

/// What a step may be drawn to, and kept from, in a window.
struct Drawn<'a> {
    window: u32,
    personal_best: &'a Flat,
    global_best: Option<&'a Flat>,
    global_worst: Option<&'a Flat>,
}

impl Checks {
    /// How a vehicle walks on that tunes from `to`, if a step leads there.
    pub(super) fn stepped(
        &self,
        roads: &Roads,
        walk: &Walk,
        by: &Stepper<'_>,
        to: ValuesHash,
    ) -> Option<Walk> {
        let seen = by.seen;
        let stood = by.tuning.checked_sub(1).and_then(|before| seen.tuned_from.get(before));
        let results = seen.results[..by.tuning.min(seen.results.len())].iter().rev().take(TUNINGS);
        let values = |name: &ValuesHash| seen.values.get(name).cloned();
        let froms: Vec<Flat> = results.chain(stood).filter_map(values).collect();
        let worsts = roads.worsts();
        let drawn = self.drawn(roads, &worsts, by);
        let mut walks = vec![(None, walk.clone())];
        for _ in 0..if by.anew { 1 + UNSEEN } else { 1 } {
            let stepped = walks.iter().flat_map(|(x, walk)| {
                let froms: Vec<Flat> = froms.iter().cloned().chain(x.clone()).collect();
                drawn.iter().flat_map(move |drawn| drawn.step(walk, by, &froms))
            });
            let named = stepped.map(|(x, walk): (Flat, Walk)| {
                ((ValuesHash::of(&x), ValuesHash::of(&walk.velocity)), (Some(x), walk))
            });
            let next: BTreeMap<_, _> = named.collect();
            if let Some((_name, (_x, walk))) = next.iter().find(|((x, _v), _walk)| *x == to) {
                return Some(walk.clone());
            }
            walks = next.into_values().collect();
        }
        None
    }

    /// All that may have drawn the vehicle: one of its own particles or where all begin; what it measured to be no worse than that,
    /// or nothing; any worst, or none.
    fn drawn<'a>(&self, roads: &Roads, worsts: &'a [Flat], by: &Stepper<'a>) -> Vec<Drawn<'a>> {
        let seen = by.seen;
        let own: BTreeSet<ValuesHash> =
            seen.published.iter().copied().chain([ValuesHash::of(&start())]).collect();
        let mut drawn = Vec::new();
        for window in by.windows.clone() {
            for best in &own {
                let Some(personal_best) = seen.values.get(best) else { continue };
                let beside = seen.compared.iter().filter(|look| look.beside == *best);
                let no_worse = beside.filter(|look| {
                    let made = roads.merged_in(look.of);
                    made.iter().any(|of| self.looks(seen, (look.of, *of), *best, window).no_worse())
                });
                let no_worse: BTreeSet<ValuesHash> = no_worse.map(|look| look.of).collect();
                let bests = no_worse.iter().filter_map(|name| seen.values.get(name)).map(Some);
                for global_best in bests.chain([None]) {
                    for global_worst in worsts.iter().map(Some).chain([None]) {
                        drawn.push(Drawn { window, personal_best, global_best, global_worst });
                    }
                }
            }
        }
        drawn
    }
}

impl Drawn<'_> {
    /// Where a step from any of these leads, as the vehicle walked, or from its own best at rest.
    fn step(&self, walk: &Walk, by: &Stepper<'_>, froms: &[Flat]) -> Vec<(Flat, Walk)> {
        let Drawn { window, personal_best, global_best, global_worst } = *self;
        let on = |is: bool, weight: f32| if is { f64::from(weight) } else { 0.0 };
        let weights = Weights {
            inertia: f64::from(RULE.inertia),
            cognitive: f64::from(RULE.cognitive),
            social: on(global_best.is_some(), RULE.social),
            repel: on(global_worst.is_some(), RULE.repel),
        };
        let at = Landmarks {
            personal_best: &personal_best[..],
            global_best: &global_best.unwrap_or(personal_best)[..],
            global_worst: &global_worst.unwrap_or(personal_best)[..],
        };
        let length = StepLength {
            first: f64::from(RULE.step_length),
            decay: f64::from(RULE.step_length_decay),
            floor: f64::from(RULE.step_length_min),
        };
        let pull = weights.pull(pull_draws(by.seed, Some(by.key), window, 0));
        let stepped = |mut x: Vec<f32>, mut v: Vec<f32>, restarts: bool| {
            v.resize(x.len(), 0.0);
            if restarts {
                restart(&mut x, &mut v, personal_best);
            }
            step(&mut x, &mut v, at, pull, length.at(walk.steps) as f32).ok()?;
            Some((x.into(), Walk { velocity: v, steps: walk.steps + 1 }))
        };
        let walks = froms.iter().map(|from| stepped(from.to_vec(), walk.velocity.clone(), false));
        let rests = stepped(personal_best.to_vec(), Vec::new(), true);
        walks.chain([rests]).flatten().collect()
    }
}
