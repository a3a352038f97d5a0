//! How long a step is: the lengths of a merge that are measured, and which of them is best. Parts of a small pack differ by more than
//! steps do, so a longer step must be better on two of them.

use alloc::vec::Vec;

use crate::merge::Look;

/// The longest step that is tried, of the one meant.
const LONGEST: f64 = 16.0;
/// The shortest.
const SHORTEST: f64 = 0.25;
/// Where a parabola is highest is rounded to so many parts of its middle length, so that vehicles that measure nearly alike make one
/// merge.
const ROUNDED: f64 = 0.25;

/// A length, and how good it was found to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tried {
    /// Of the step meant; 0: where the fleet stands.
    length: f64,
    /// On the part that is chosen by…
    first: f64,
    /// …and on a fresh one, where that was looked at.
    again: Option<f64>,
}

/// What to measure next of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ask {
    /// Of the step meant; 0: where the fleet stands.
    pub(crate) length: f64,
    pub(crate) look: Look,
}

/// A step, and how good it was found to be at the lengths that were tried.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) weights: Vec<f64>,
    /// Length 0.
    pub(crate) none: Tried,
    /// In the order in which they were tried.
    pub(crate) tried: Vec<Tried>,
}

impl Tried {
    pub(crate) const fn new(length: f64, first: f64, again: Option<f64>) -> Self {
        Self { length, first, again }
    }

    /// Its utility on the part that is chosen by.
    pub(crate) const fn first(&self) -> f64 {
        self.first
    }

    /// How much more utility this has, a mean of the looks that both have had.
    fn gain(&self, over: &Self) -> f64 {
        let first = self.first - over.first;
        let again = self.again.zip(over.again).map(|(again, other)| again - other);
        again.map_or(first, |again| f64::midpoint(first, again))
    }

    /// Whether this is better than the best so far: a longer step on both looks, a shorter one on the first.
    ///
    /// # Errors
    /// The length whose second look is missing.
    fn beats(&self, best: &Self) -> Result<bool, f64> {
        if self.first <= best.first {
            return Ok(false);
        }
        if self.length < best.length {
            return Ok(true);
        }
        let other = best.again.ok_or(best.length)?;
        let again = self.again.ok_or(self.length)?;
        Ok(again > other)
    }
}

impl Line {
    /// What to measure next: the step as it is, and twice as long as long as that is better; then where the parabola through the
    /// last three is highest, no step at all among them, on the part that says that it is too long. Whether that is any good, its
    /// measurement says.
    pub(crate) fn next(&self) -> Option<Ask> {
        let best = match self.best_known() {
            Ok(best) => best,
            Err(length) => return Some(Ask { length, look: Look::Fresh }),
        };
        let length = match self.tried.as_slice() {
            [] => 1.0,
            [_once] => 2.0,
            [.., shorter, longer] if longer.length > shorter.length => {
                if best == longer.length && longer.length < LONGEST {
                    2.0 * longer.length
                } else {
                    match self.between(shorter, longer) {
                        Ok(length) => length,
                        Err(length) => return Some(Ask { length, look: Look::Fresh }),
                    }
                }
            }
            [..] => return None,
        };
        let new = self.tried.iter().all(|one| one.length != length);
        new.then_some(Ask { length, look: Look::Choosing })
    }

    /// Where the parabola through these and what is half as long as the shorter is highest. Where the second look alone says that
    /// the longer is too long, on that look: what the first says is shorter yet was not better there.
    ///
    /// # Errors
    /// The length whose second look is missing.
    fn between(&self, shorter: &Tried, longer: &Tried) -> Result<f64, f64> {
        let half = self.tried.iter().find(|one| one.length == shorter.length / 2.0);
        let all = [half.unwrap_or(&self.none), shorter, longer];
        if longer.first <= shorter.first || longer.again > shorter.again {
            let [half, shorter, longer] = all.map(|one| (one.length, one.first));
            return Ok(highest(half, shorter, longer));
        }
        let mut again = [(0.0, 0.0); 3];
        for (point, one) in again.iter_mut().zip(all) {
            *point = (one.length, one.again.ok_or(one.length)?);
        }
        let [half, shorter, longer] = again;
        Ok(highest(half, shorter, longer).max(shorter.0))
    }

    /// What was measured of what [`next`](Self::next) asked for.
    pub(crate) fn take(&mut self, ask: Ask, utility: f64) {
        let Ask { length, look } = ask;
        match look {
            Look::Choosing => self.tried.push(Tried::new(length, utility, None)),
            Look::Fresh => {
                let all = self.tried.iter_mut().chain([&mut self.none]);
                for one in all.filter(|one| one.length == length) {
                    one.again = Some(utility);
                }
            }
        }
    }

    /// The first of the best, as far as looks go; with how much utility it gains.
    pub(crate) fn best(&self) -> (f64, f64) {
        let mut all = self.tried.iter();
        let Some(mut best) = all.next() else { return (1.0, f64::MIN) };
        for one in all {
            if one.beats(best) == Ok(true) {
                best = one;
            }
        }
        (best.length, best.gain(&self.none))
    }

    /// The length of the first of the best.
    ///
    /// # Errors
    /// A length whose second look decides, and is missing.
    fn best_known(&self) -> Result<f64, f64> {
        let mut all = self.tried.iter();
        let Some(mut best) = all.next() else { return Ok(0.0) };
        for one in all {
            if one.beats(best)? {
                best = one;
            }
        }
        Ok(best.length)
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
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use crate::merge::tests::{ALONG, run, run_on};
    use crate::merge::{Look, Merger, Recipe, Settings};

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
        // Looks on the part that is chosen by, and on the fresh one.
        for (best, length, looks) in [
            (1.0, 1.0, 2),
            (2.0, 2.0, 3 + 2),
            (3.2, 3.0, 5 + 3),
            (0.6, 0.5, 3),
            (9.2, 10.0, 6 + 5),
            (30.0, 16.0, 5 + 5),
            (-1.0, 0.25, 3),
        ] {
            let (found, measured) = run(ALONG, vec![1.0; 4], steps_away(best));
            let weight = 0.25 * length as f32;
            assert_eq!((found.length, measured), (length, 5 + looks), "{best} steps away");
            assert_eq!(found.recipe.contributions, [weight; 4]);
        }
    }

    /// Source: `docs/decisions/0064-a-longer-step-on-two-parts.md`.
    #[test]
    fn a_longer_step_is_better_on_two_parts() {
        for (first, fresh, length, looks) in [
            // No step, one and two on the fresh part.
            (4.0, 1.0, 1.0, 2 + 3),
            (4.0, 0.6, 1.0, 2 + 3),
            // One and a half times is better on both.
            (4.0, 1.4, 1.5, 3 + 4),
            // Two times is; four times is too long on the fresh one, and so is the three that it promises by a parabola.
            (8.0, 2.0, 2.0, 3 + 3),
            (8.0, 2.6, 2.5, 4 + 4),
            // What is too long on the first look is measured no second time.
            (1.0, 8.0, 1.0, 2),
            (2.0, 8.0, 2.0, 3 + 2),
            // A shorter step needs one look.
            (0.5, 8.0, 0.5, 3),
        ] {
            let (found, measured) = run_on(ALONG, vec![1.0; 4], |recipe, look| match look {
                Look::Choosing => steps_away(first)(recipe),
                Look::Fresh => steps_away(fresh)(recipe),
            });
            let named = format!("{first} and {fresh} steps away");
            assert_eq!((found.length, measured), (length, 5 + looks), "{named}");
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
        assert_eq!((found.length, found.braked, measured), (2.0, false, 9 + 2));
        let flat = |_recipe: &Recipe| 0.0;
        assert_eq!(run(ALONG, vec![1.0; 4], flat).0.length, 1.0, "no better is no reason");
    }

    #[test]
    fn a_longer_step_takes_as_much_more_of_the_last_one() {
        let with = Settings { inertia: 0.5, ..ALONG };
        let (found, measured) = run(with, vec![1.0; 2], steps_away(2.0));
        assert_eq!(found.recipe, Recipe { contributions: vec![1.0; 2], base: 1.0, before: -1.0 });
        assert_eq!(measured, 7 + 2);
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
        // Twice as long is better after three, and on both parts after five.
        for (steps, length, was) in [
            (1, None, false),
            (2, Some(1.0), true),
            (3, Some(1.0), true),
            (4, Some(1.0), true),
            (5, Some(2.0), true),
        ] {
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
