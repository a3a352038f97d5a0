//! Where the paper's rule takes a vehicle: where a step of Model Swarms leads from what it tuned to, drawn to its own best and to
//! nothing else than what it has itself measured to be no worse.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use shoal_swarm::draws::pull_draws;
use shoal_swarm::step::{Landmarks, Pull, StepLength, Weights, restart, step};
use shoal_swarm::swarm::{Flat, ValuesHash};
use shoal_wire::KeyId;
use shoal_wire::v1::PaperRule;

use super::Checks;
use crate::engine::{Roads, Seen, start};

/// How many times in a row the utility may move by more than ramps do without a step between.
const EXCITED: usize = 2;
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

impl Walk {
    /// The same, after the utility has moved so often by more than ramps do.
    fn excited(&self, times: usize) -> Walk {
        let mut walk = self.clone();
        for _ in 0..times {
            walk.velocity.iter_mut().for_each(|value| *value *= 0.5);
            walk.steps = walk.steps.min(schedule().longer_than_half());
        }
        walk
    }
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
    /// Whether the utility may have moved by more than ramps do.
    pub(super) excited: bool,
}

/// What a step may be drawn to, and kept from, in a window.
struct Drawn<'a> {
    pull: Pull,
    personal_best: &'a Flat,
    global_best: Option<&'a Flat>,
    global_worst: Option<&'a Flat>,
}

impl Checks {
    /// How a vehicle may walk on that tunes from `to`: not at all where no step leads there.
    pub(super) fn stepped(
        &self,
        roads: &Roads,
        walk: &Walk,
        by: &Stepper<'_>,
        to: ValuesHash,
    ) -> Vec<Walk> {
        let seen = by.seen;
        let stood = by.tuning.checked_sub(1).and_then(|before| seen.tuned_from.get(before));
        let results = seen.results[..by.tuning].last();
        let values = |name: &ValuesHash| seen.values.get(name).cloned();
        let froms: Vec<Flat> = results.into_iter().chain(stood).filter_map(values).collect();
        let worsts = roads.worsts();
        let drawn = self.drawn(roads, &worsts, by);
        let Some(target) = seen.values.get(&to) else { return Vec::new() };
        let times = if by.excited { EXCITED } else { 0 };
        let mut walks: Vec<(Option<Flat>, Walk)> =
            (0..=times).map(|times| (None, walk.excited(times))).collect();
        let steps = if by.anew { 1 + UNSEEN } else { 1 };
        for number in 1..=steps {
            let with = |x: &Option<Flat>| -> Vec<Flat> { froms.iter().chain(x).cloned().collect() };
            // Of ways that nothing tells apart, one. Who was not drawn anywhere may have gone steps of any length.
            let mut there = BTreeMap::new();
            for (x, walk) in &walks {
                let froms = with(x);
                let leads = drawn.iter().filter(|drawn| drawn.may_lead(walk, &froms, target));
                let led = leads.flat_map(|drawn| drawn.step(walk, &froms));
                let led = led.filter(|(x, _walk)| ValuesHash::of(x) == to);
                there.extend(
                    led.map(|(_x, walk)| ((ValuesHash::of(&walk.velocity), walk.steps), walk)),
                );
            }
            if !there.is_empty() || number == steps {
                return there.into_values().collect();
            }
            // Each once: there are as many as there are ways to be drawn, and of two steps the square of it.
            let mut next = BTreeMap::new();
            for (x, walk) in &walks {
                let froms = with(x);
                for (x, walk) in drawn.iter().flat_map(|drawn| drawn.step(walk, &froms)) {
                    let name = (ValuesHash::of(&x), ValuesHash::of(&walk.velocity), walk.steps);
                    next.entry(name).or_insert((Some(x), walk));
                }
            }
            walks = next.into_values().collect();
        }
        Vec::new()
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
                        let pull = pull(by, window, global_best.is_some(), global_worst.is_some());
                        drawn.push(Drawn { pull, personal_best, global_best, global_worst });
                    }
                }
            }
        }
        drawn
    }
}

impl Drawn<'_> {
    /// Where a step from any of these leads, as the vehicle walked, or from its own best at rest.
    fn step(&self, walk: &Walk, froms: &[Flat]) -> Vec<(Flat, Walk)> {
        let at = self.landmarks(|values| values);
        let stepped = |x: &[f32], velocity: &[f32], restarts: bool| {
            let (mut x, mut v) = (x.to_vec(), velocity.to_vec());
            v.resize(x.len(), 0.0);
            if restarts {
                restart(&mut x, &mut v, self.personal_best);
            }
            step(&mut x, &mut v, at, self.pull, length(walk)).ok()?;
            Some((x.into(), Walk { velocity: v, steps: walk.steps + 1 }))
        };
        let walks = froms.iter().map(|from| stepped(from, &walk.velocity, false));
        let rests = stepped(self.personal_best, &[], true);
        walks.chain([rests]).flatten().collect()
    }

    /// Whether the first value of any of these steps is that of a place: the same arithmetic on one value, which most do not pass.
    fn may_lead(&self, walk: &Walk, froms: &[Flat], target: &Flat) -> bool {
        let Some(wanted) = target.first() else { return true };
        let at = self.landmarks(|values| values.get(..1).unwrap_or(values));
        let leads = |x: f32, v: f32| {
            let (mut x, mut v) = ([x], [v]);
            step(&mut x, &mut v, at, self.pull, length(walk)).is_ok() && x == [*wanted]
        };
        let v = walk.velocity.first().copied().unwrap_or(0.0);
        let mut firsts = froms.iter().filter_map(|from| from.first());
        firsts.any(|&x| leads(x, v)) || self.personal_best.first().is_some_and(|&x| leads(x, 0.0))
    }

    fn landmarks<'d>(&'d self, of: impl Fn(&'d [f32]) -> &'d [f32]) -> Landmarks<'d, f32> {
        Landmarks {
            personal_best: of(self.personal_best),
            global_best: of(self.global_best.unwrap_or(self.personal_best)),
            global_worst: of(self.global_worst.unwrap_or(self.personal_best)),
        }
    }
}

/// How long the next step of a vehicle is.
fn length(walk: &Walk) -> f32 {
    schedule().at(walk.steps) as f32
}

fn schedule() -> StepLength {
    StepLength {
        first: f64::from(RULE.step_length),
        decay: f64::from(RULE.step_length_decay),
        floor: f64::from(RULE.step_length_min),
    }
}

/// How much each term of a step weighs in a window.
fn pull(by: &Stepper<'_>, window: u32, has_best: bool, has_worst: bool) -> Pull {
    let on = |is: bool, weight: f32| if is { f64::from(weight) } else { 0.0 };
    let weights = Weights {
        inertia: f64::from(RULE.inertia),
        cognitive: f64::from(RULE.cognitive),
        social: on(has_best, RULE.social),
        repel: on(has_worst, RULE.repel),
    };
    weights.pull(pull_draws(by.seed, Some(by.key), window, 0))
}
