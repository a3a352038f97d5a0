//! Values into levels: a step relative to the deviation, a dead zone, and the scale the receiver multiplies by.

use super::choose::{Choice, Histogram, choose};
use super::table::Shape;
use super::{LEVEL_MAX, Quality, SCALE_MAX, SCALE_MIN, scale};

/// What a quality does to a value: measured on Gaussian and Laplacian values to cost the fewest bits at its
/// error (docs/benchmarks.md, "Coding").
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Step, in root mean squares of the block.
    step: f64,
    /// From here on, in steps, the level is at least 1.
    first: f32,
    /// Added before rounding down: less than one half widens every level towards zero.
    round: f32,
}

const fn rule(quality: Quality) -> Rule {
    let (step, first, round) = match quality.bits() {
        ..=1 => (1.745, 0.70, 0.18),
        2 => (1.28, 0.62, 0.22),
        3 => (0.6, 0.50, 0.42),
        4 => (0.33, 0.50, 0.46),
        5 => (0.165, 0.5, 0.5),
        6 => (0.0825, 0.5, 0.5),
        7 => (0.04125, 0.5, 0.5),
        8.. => (0.020625, 0.5, 0.5),
    };
    Rule { step, first, round }
}

/// The coarsest qualities fit the scale to the levels once they are known.
const FITTED_BITS_MAX: u8 = 3;
/// What a bit is worth at quality 1, in mean squares: the slope of a Gaussian source at one bit.
const BIT_WORTH: f64 = 0.48;

/// What a block with levels is coded by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantised {
    /// As the wire writes it.
    pub(super) scale: u32,
    pub(super) choice: Choice,
}

/// Writes the level of each value; `None` if every level is zero.
pub(super) fn quantise(
    quality: Quality,
    values: &[f32],
    levels: &mut [f32],
    before: Shape,
) -> Option<Quantised> {
    let squares = sum(values, |value| value * value);
    if squares == 0.0 {
        levels.fill(0.0);
        return None;
    }
    let count = f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX));
    let mean_square = squares / count;
    let rule = rule(quality);
    let step = code(libm::sqrt(mean_square) * rule.step);
    round(scale(step), rule, values, levels);
    let histogram = Histogram::new(levels.iter().map(|level| level.abs() as u32));
    let choice = (histogram.max() > 0).then(|| choose(&histogram, before));
    if quality.bits() > FITTED_BITS_MAX {
        return choice.map(|choice| Quantised { scale: step, choice });
    }
    let fit = Fit::new(values, levels);
    let rounded = choice.map(|choice| Quantised { scale: code(fit.scale()), choice });
    if quality.bits() > 1 {
        return rounded;
    }
    let worth = |bits: f64| BIT_WORTH * mean_square * bits;
    let cost = rounded.map_or(squares, |Quantised { scale: code, choice }| {
        fit.error(squares, scale(code)) + worth(choice.bits() as f64)
    });
    let signs = Fit { products: sum(values, f64::abs), squares: count };
    let scale_of_signs = code(signs.scale());
    if signs.error(squares, scale(scale_of_signs)) + worth(count) >= cost {
        return rounded;
    }
    for (level, value) in levels.iter_mut().zip(values) {
        *level = if *value < 0.0 { -1.0 } else { 1.0 };
    }
    let choice = choose(&Histogram::new(levels.iter().map(|_sign| 1)), before);
    Some(Quantised { scale: scale_of_signs, choice })
}

/// Each value in steps, rounded.
fn round(scale: f32, rule: Rule, values: &[f32], levels: &mut [f32]) {
    let inverse = 1.0 / scale;
    let max = LEVEL_MAX as f32;
    for (level, value) in levels.iter_mut().zip(values) {
        let steps = value.abs() * inverse;
        let rounded = (steps + rule.round).min(max) as i32;
        let first = i32::from(steps >= rule.first);
        *level = (rounded.max(first) as f32).copysign(*value);
    }
}

/// Least squares: the scale at which these levels are closest to the values.
#[derive(Clone, Copy, Debug)]
struct Fit {
    /// Of values and levels.
    products: f64,
    /// Of levels.
    squares: f64,
}

impl Fit {
    fn new(values: &[f32], levels: &[f32]) -> Self {
        Self {
            products: sum_of_pairs(values, levels, |value, level| value * level),
            squares: sum(levels, |level| level * level),
        }
    }

    /// Of levels that are not all zero.
    fn scale(self) -> f64 {
        self.products / self.squares
    }

    /// Sum of the squared errors at this scale, for values whose squares have this sum.
    fn error(self, squares: f64, scale: f32) -> f64 {
        let scale = f64::from(scale);
        squares - 2.0 * scale * self.products + scale * scale * self.squares
    }
}

/// The nearest scale that the wire has.
fn code(scale: f64) -> u32 {
    let bits = (scale as f32).to_bits();
    (bits.wrapping_add(1 << 14) >> 15).clamp(SCALE_MIN, SCALE_MAX)
}

fn sum(values: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    sum_of_pairs(values, values, |value, _same| term(value))
}

/// In four lanes, in one order; every product of two f32 is exact in f64.
fn sum_of_pairs(values: &[f32], others: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    let (fours, rest) = values.as_chunks::<4>();
    let (other_fours, other_rest) = others.as_chunks::<4>();
    let whole = fours.iter().zip(other_fours).map(|(four, other)| (&four[..], &other[..]));
    for (four, other) in whole.chain([(rest, other_rest)]) {
        for (lane, (value, other)) in lanes.iter_mut().zip(four.iter().zip(other)) {
            *lane += term(f64::from(*value), f64::from(*other));
        }
    }
    let [a, b, c, d] = lanes;
    (a + b) + (c + d)
}
