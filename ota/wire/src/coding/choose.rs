//! Which table costs a block the fewest bits.

use super::table::{BENDS, GRID, LOW_BITS, Shape, TOTAL_BITS, Table, grid};
use super::{PAST_LENGTH_BITS, TABLE_BITS};

/// Magnitudes that are counted one by one.
const COUNTED: usize = 512;
/// Costs are counted in 2^-10 bits.
const ONE_BIT: u64 = 1 << FRACTION_BITS;
const FRACTION_BITS: u32 = 10;

/// How often each magnitude occurs in a block.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [u32; COUNTED],
    /// Magnitudes that are not counted one by one, and the bits of all of them above the first.
    larger: u32,
    larger_bits: u64,
    sum: u64,
    max: u32,
}

impl Histogram {
    pub(super) fn new(magnitudes: impl Iterator<Item = u32>) -> Self {
        let mut histogram =
            Self { counts: [0; COUNTED], larger: 0, larger_bits: 0, sum: 0, max: 0 };
        for magnitude in magnitudes {
            match histogram.counts.get_mut(magnitude as usize) {
                Some(count) => *count = count.wrapping_add(1),
                None => {
                    histogram.larger = histogram.larger.wrapping_add(1);
                    let bits = u64::from(magnitude.checked_ilog2().unwrap_or_default());
                    histogram.larger_bits = histogram.larger_bits.wrapping_add(bits);
                }
            }
            histogram.max = histogram.max.max(magnitude);
            histogram.sum = histogram.sum.wrapping_add(u64::from(magnitude));
        }
        histogram
    }

    pub(super) const fn max(&self) -> u32 {
        self.max
    }

    fn zeros(&self) -> u32 {
        self.counts.first().copied().unwrap_or_default()
    }

    fn others(&self) -> u32 {
        let counts = self.counts.iter().skip(1);
        counts.fold(self.larger, |sum, count| sum.wrapping_add(*count))
    }
}

/// A table and what a block costs with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) shape: Shape,
    pub(super) cost: u64,
}

impl Choice {
    /// Bits of the block's levels.
    pub(super) const fn bits(&self) -> u64 {
        self.cost >> FRACTION_BITS
    }

    fn better(self, other: Self) -> Self {
        if other.cost < self.cost { other } else { self }
    }
}

/// The table for these levels: the one before, unless another is cheaper with what it takes to name it.
pub(super) fn choose(histogram: &Histogram, before: Shape) -> Choice {
    let Choice { shape, cost } = cheapest(histogram);
    let named = Choice { shape, cost: cost.saturating_add(u64::from(TABLE_BITS) << FRACTION_BITS) };
    Choice::of(before, histogram).better(named)
}

/// The cheapest of all: the share of zeros by itself, then the tail.
fn cheapest(histogram: &Histogram) -> Choice {
    let (zeros, others) = (histogram.zeros(), histogram.others());
    let zero = match zeros {
        0 => 0,
        _ => least(1..GRID, |index| {
            let share = grid(index);
            let rest = (1_u32 << 16).wrapping_sub(share);
            times(zeros, cost(share, 16)).wrapping_add(times(others, cost(rest, 16)))
        }),
    };
    if histogram.max <= 1 {
        return Choice::of(Shape { zero, ratio: 0, bend: 0, low_bits: 0 }, histogram);
    }
    let low_bits = low_bits(histogram.sum, others);
    let tails = (0..BENDS).map(|bend| {
        let of = |ratio| Choice::of(Shape { zero, ratio, bend, low_bits }, histogram);
        // The cost has one valley along the ratio: down to it by halves.
        let start = (1..GRID).step_by(8).map(of).reduce(Choice::better);
        [4, 2, 1].iter().fold(start, |best, step| {
            let best = best?;
            let ratio = best.shape.ratio;
            let below = of(ratio.saturating_sub(*step).max(1));
            let above = of(ratio.wrapping_add(*step).min(GRID.wrapping_sub(1)));
            Some(best.better(below).better(above))
        })
    });
    let none = Choice { shape: Shape { zero, ratio: 1, bend: 0, low_bits }, cost: u64::MAX };
    tails.flatten().fold(none, Choice::better)
}

/// As many low bits as leave a mean class of few: then a class is a small part of the deviation.
fn low_bits(sum: u64, others: u32) -> u32 {
    let mean = sum.checked_div(u64::from(others)).unwrap_or_default();
    (mean >> 3).checked_ilog2().map_or(0, |bits| bits.wrapping_add(1)).min(LOW_BITS.wrapping_sub(1))
}

fn least(indices: core::ops::Range<u32>, cost: impl Fn(u32) -> u64) -> u32 {
    indices.min_by_key(|index| cost(*index)).unwrap_or_default()
}

impl Choice {
    fn of(shape: Shape, histogram: &Histogram) -> Self {
        let table = Table::new(shape);
        let of_freq = |freq: u16| cost(u32::from(freq), TOTAL_BITS);
        let raw = |bits: u32| u64::from(bits).wrapping_mul(ONE_BIT);
        let mut sum = times(histogram.zeros(), cost(table.zero, TOTAL_BITS));
        let own = table.own();
        let mut counts =
            histogram.counts.iter().take((histogram.max as usize).wrapping_add(1)).skip(1);
        for places in own {
            let of_class = counts.by_ref().take(1 << shape.low_bits);
            let count = of_class.fold(0_u32, |sum, count| sum.wrapping_add(*count));
            let each = of_freq(places.freq).wrapping_add(raw(shape.low_bits));
            sum = sum.wrapping_add(times(count, each));
        }
        // The rest is past the classes: the symbol that says so, a number of bits, then the bits.
        let past = table.past().map_or(NEVER, |places| of_freq(places.freq));
        let past = past.wrapping_add(raw(PAST_LENGTH_BITS));
        for (above, count) in (1_u32..).zip(counts) {
            let each = past.wrapping_add(raw(above.checked_ilog2().unwrap_or_default()));
            sum = sum.wrapping_add(times(*count, each));
        }
        sum = sum.wrapping_add(times(histogram.larger, past));
        sum = sum.wrapping_add(histogram.larger_bits.wrapping_mul(ONE_BIT));
        Self { shape, cost: sum }
    }
}

fn times(count: u32, cost: u64) -> u64 {
    u64::from(count).wrapping_mul(cost)
}

/// Cost of a symbol that a table does not have: more than any block.
const NEVER: u64 = 1 << 48;

/// Cost of a symbol with `freq` of `2^total_bits` places, in 2^-10 bits.
fn cost(freq: u32, total_bits: u32) -> u64 {
    let Some(whole) = freq.checked_ilog2() else { return NEVER };
    // The mantissa in [1, 2) as 6 bits of index and 10 of rest, between two logarithms of the list.
    let mantissa = freq << 16_u32.wrapping_sub(whole) & 0xffff;
    let (index, rest) = (mantissa >> 10, mantissa & 0x3ff);
    let mut pair = LOG2.iter().skip(index as usize).copied();
    let (from, to) = (pair.next().unwrap_or_default(), pair.next().unwrap_or_default());
    let fraction = from.wrapping_add(to.wrapping_sub(from).wrapping_mul(rest) >> 10);
    let log2 = (whole << 16).wrapping_add(fraction);
    u64::from((total_bits << 16).wrapping_sub(log2) >> (16 - FRACTION_BITS))
}

/// log2(1 + i ÷ 64) in 2^-16.
const LOG2: [u32; 65] = {
    let mut list = [0_u32; 65];
    let mut rest: &mut [u32] = &mut list;
    let mut index = 0_u64;
    while let Some((place, after)) = rest.split_first_mut() {
        *place = log2_of_64ths(index.wrapping_add(64));
        rest = after;
        index = index.wrapping_add(1);
    }
    list
};

/// By repeated squaring: each doubling of the logarithm gives one bit of it.
const fn log2_of_64ths(mantissa: u64) -> u32 {
    let mut value = mantissa << 24;
    let mut log2 = 0;
    if value >> 31 > 0 {
        return 1 << 16;
    }
    let mut bit = 0_u32;
    while bit < 16 {
        value = value.wrapping_mul(value) >> 30;
        log2 <<= 1;
        if value >> 31 > 0 {
            value >>= 1;
            log2 |= 1;
        }
        bit = bit.wrapping_add(1);
    }
    log2
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn costs_are_logarithms_within_a_500th_of_a_bit() {
        for freq in 1..=1_u32 << TOTAL_BITS {
            let bits = cost(freq, TOTAL_BITS) as f64 / 1024.0;
            let exact = 15.0 - f64::from(freq).log2();
            assert!((bits - exact).abs() < 0.002, "{freq}: {bits}, not {exact}");
        }
    }

    /// The descent along the ratio ends where trying every table would.
    #[test]
    fn the_choice_costs_as_little_as_the_best_of_all_tables() {
        for deviation in [0.4_f64, 0.8, 1.6, 3.0, 6.0] {
            let magnitude = |index: u32| {
                let uniform = (f64::from(index) + 0.5) / 2000.0;
                let gauss = (-2.0 * uniform.ln()).sqrt() * deviation;
                gauss as u32
            };
            let histogram = Histogram::new((0..2000).map(magnitude));
            let chosen = cheapest(&histogram);
            let Shape { zero, low_bits, .. } = chosen.shape;
            let of = |index: u32| {
                let (ratio, bend) = (index % GRID, index / GRID);
                Choice::of(Shape { zero, ratio, bend, low_bits }, &histogram).cost
            };
            let best = (0..GRID * BENDS).map(of).min().unwrap();
            assert!(chosen.cost <= best + best / 1000, "{deviation}: {} {best}", chosen.cost);
        }
    }
}
