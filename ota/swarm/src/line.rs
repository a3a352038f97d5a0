//! How long a step is: the lengths of a merge that are measured, and which of them is best.

use alloc::vec::Vec;

/// The longest step that is tried, of the one meant.
const LONGEST: f64 = 16.0;
/// The shortest.
const SHORTEST: f64 = 0.25;
/// Where a parabola is highest is rounded to so many parts of its middle length, so that vehicles that measure nearly alike make one
/// merge.
const ROUNDED: f64 = 0.25;

/// A step, and how good it was found to be at the lengths that were tried.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) weights: Vec<f64>,
    /// Lengths with their utilities.
    pub(crate) tried: Vec<(f64, f64)>,
}

impl Line {
    /// The length to try next: as it is, and twice as long as long as that is better; then where the parabola through the last three
    /// is highest, no step at all among them. Whether that is any good, its measurement says.
    pub(crate) fn next(&self, none: f64) -> Option<f64> {
        let next = match self.tried.as_slice() {
            [] => 1.0,
            [_once] => 2.0,
            [.., (length, shorter), (twice, longer)] if twice > length => {
                if longer > shorter && *twice < LONGEST {
                    2.0 * twice
                } else {
                    let half = length / 2.0;
                    let known = self.tried.iter().find(|(tried, _)| *tried == half).copied();
                    highest(known.unwrap_or((0.0, none)), (*length, *shorter), (*twice, *longer))
                }
            }
            [..] => return None,
        };
        let new = self.tried.iter().all(|(length, _)| *length != next);
        new.then_some(next)
    }

    /// The first of the best.
    pub(crate) fn best(&self) -> (f64, f64) {
        let mut best = (1.0, f64::MIN);
        for (length, utility) in &self.tried {
            if *utility > best.1 {
                best = (*length, *utility);
            }
        }
        best
    }
}

/// Where the parabola through three lengths with their utilities is highest, as a length that is tried. No step is b's utility: who
/// moved with the fleet stands at the anchor.
///
/// # Source
/// Line search by quadratic interpolation (Nocedal and Wright, Numerical Optimization, 3.5), with values alone.
fn highest(short: (f64, f64), middle: (f64, f64), long: (f64, f64)) -> f64 {
    let slope = |from: (f64, f64), to: (f64, f64)| (to.1 - from.1) / (to.0 - from.0);
    let (first, second) = (slope(short, middle), slope(middle, long));
    let curvature = (second - first) / (long.0 - short.0);
    let at = if curvature < 0.0 {
        f64::midpoint(short.0, middle.0) - first / (2.0 * curvature)
    } else if long.1 > short.1 {
        long.0
    } else {
        short.0
    };
    let unit = ROUNDED * middle.0;
    (libm::round(at / unit) * unit).clamp(SHORTEST, LONGEST)
}

/// Weights of a step that is so many times as long.
pub(crate) fn times(weights: &[f64], length: f64) -> Vec<f64> {
    weights.iter().map(|weight| weight * length).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use crate::merge::tests::{ALONG, run};
    use crate::merge::{Merger, Recipe, Settings};

    /// The best place is so many steps away, and utility falls with the square of the way to it.
    fn steps_away(best: f64) -> impl Fn(&Recipe) -> f64 {
        move |recipe| {
            let step: f32 = recipe.contributions.iter().sum();
            if recipe.contributions.iter().all(|weight| *weight > 0.0) {
                -0.001 * (f64::from(step) - best).powi(2)
            } else {
                -0.001 * best.powi(2)
            }
        }
    }

    #[test]
    fn a_step_is_as_long_as_the_pack_says() {
        for (best, length, looks) in [
            (1.0, 1.0, 2),
            (2.0, 2.0, 3),
            (3.2, 3.0, 5),
            (0.6, 0.5, 3),
            (9.2, 10.0, 6),
            (30.0, 16.0, 5),
            (-1.0, 0.25, 3),
        ] {
            let (found, measured) = run(ALONG, vec![1.0; 4], steps_away(best));
            let weight = 0.25 * length as f32;
            assert_eq!((found.length, measured), (length, 5 + looks), "{best} steps away");
            assert_eq!(found.recipe.contributions, [weight; 4]);
        }
    }

    /// What the parabola promises is measured, and taken where it is so alone.
    #[test]
    fn a_length_that_is_no_better_is_not_taken() {
        let falls = |recipe: &Recipe| {
            let step: f32 = recipe.contributions.iter().sum();
            let alone = recipe.contributions.contains(&0.0);
            if alone {
                0.0
            } else if step == 1.0 {
                0.001
            } else if step == 2.0 {
                0.002
            } else {
                -0.5
            }
        };
        let (found, measured) = run(ALONG, vec![1.0; 4], falls);
        assert_eq!((found.length, found.braked, measured), (2.0, false, 9));
        let flat = |_recipe: &Recipe| 0.0;
        assert_eq!(run(ALONG, vec![1.0; 4], flat).0.length, 1.0, "no better is no reason");
    }

    #[test]
    fn a_longer_step_takes_as_much_more_of_the_last_one() {
        let with = Settings { inertia: 0.5, ..ALONG };
        let (found, measured) = run(with, vec![1.0; 2], steps_away(2.0));
        assert_eq!(found.recipe, Recipe { contributions: vec![1.0; 2], base: 1.0, before: -1.0 });
        assert_eq!(measured, 7);
    }

    /// Half of what lost least.
    #[test]
    fn a_step_that_loses_at_every_length_is_halved() {
        let loses = |recipe: &Recipe| {
            let step: f32 = recipe.contributions.iter().sum();
            if recipe.base == 1.0 { 0.0 } else { -0.1 * f64::from(step) - 0.2 }
        };
        let (found, _) = run(ALONG, vec![1.0], loses);
        let contributions = vec![0.125];
        assert_eq!(found.recipe, Recipe { contributions, base: 0.5, before: 0.0 });
        assert!(found.braked);
    }

    #[test]
    fn a_length_is_searched_for_as_long_as_there_is_time() {
        for (steps, length, was) in [(1, None, false), (2, Some(1.0), true), (3, Some(2.0), true)] {
            let mut merger = Merger::new(ALONG, vec![1.0; 4]).unwrap();
            for _step in 0..steps {
                let utilities: Vec<f64> = merger.asks().iter().map(steps_away(3.2)).collect();
                merger.take(&utilities);
            }
            assert_eq!(merger.hurry(), was, "after {steps}");
            assert_eq!(merger.found().map(|found| found.length), length);
        }
        let mut late = Merger::new(ALONG, vec![1.0; 4]).unwrap();
        late.hurry();
        while let Some(ask) = late.asks().first().cloned() {
            let utilities = vec![steps_away(3.2)(&ask); late.asks().len()];
            late.take(&utilities);
        }
        assert_eq!(late.found().unwrap().length, 1.0);
    }
}
