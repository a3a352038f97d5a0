//! Running quantiles in bounded memory: how unusual is a value among those before it?
//!
//! A histogram whose buckets grow with their values: every octave from 2⁻²⁰ to 2¹² is cut into
//! [`BUCKETS_PER_OCTAVE`] equal pieces, read straight from the bits of the `f32`. That is the
//! *linearly interpolated* mapping of DDSketch, which bounds the relative error of every quantile;
//! a fixed range bounds the memory. It is preferred here to P² (Jain and Chlamtac, CACM 28, 1985),
//! whose five markers depend on the order of arrival and are misled by ties and by sorted input:
//! a road is sorted input. Here the order does not matter.
//!
//! *Running*: once the total weight reaches twice the `memory`, every weight is halved. So a value
//! counts half as much after `memory` to 2·`memory` values, and what was usual long ago is forgotten.
//!
//! # Source
//! Masson, Rim and Lee, DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees, PVLDB 12 (2019), §2.2 and §3.

use std::num::NonZeroU32;

/// Pieces of an octave; a power of two.
pub const BUCKETS_PER_OCTAVE: usize = 32;

/// Quantiles of values inside the range are off by at most this factor of the value.
pub const RELATIVE_ERROR_MAX: f32 = 1.0 / BUCKETS_PER_OCTAVE as f32;

/// Values below this are one bucket.
pub const VALUE_MIN: f32 = 1.0 / (1 << 20) as f32;

/// Values from here on are one bucket.
pub const VALUE_MAX: f32 = (1 << 12) as f32;

/// A bucket with more than this part of all values has such as hardly differ: a still scene, a car that stands.
const CROWDED: f64 = 0.05;

const OCTAVES: usize = 32;
const BUCKETS: usize = OCTAVES * BUCKETS_PER_OCTAVE + 2;
const MANTISSA_BITS: u32 = f32::MANTISSA_DIGITS - 1;
const SHIFT: u32 = MANTISSA_BITS - BUCKETS_PER_OCTAVE.trailing_zeros();

/// A running histogram of values ≥ 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles {
    weights: Box<[f64; BUCKETS]>,
    total: f64,
    seen: u64,
    memory: NonZeroU32,
}

impl Quantiles {
    /// An empty histogram that remembers `memory` to 2·`memory` values.
    #[must_use]
    pub fn new(memory: NonZeroU32) -> Self {
        Self { weights: Box::new([0.0; BUCKETS]), total: 0.0, seen: 0, memory }
    }

    /// How many values were ever added.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Adds a value. No allocation.
    ///
    /// # Panics
    /// If the value is negative or NaN: who computed it has checked what came from outside.
    pub fn add(&mut self, value: f32) {
        self.weights[bucket(value)] += 1.0;
        self.total += 1.0;
        self.seen += 1;
        if self.total >= 2.0 * f64::from(self.memory.get()) {
            for weight in self.weights.iter_mut() {
                *weight *= 0.5;
            }
            self.total *= 0.5;
        }
    }

    /// The share of the remembered values below `value`, 0 to 1; `None` before the first value.
    ///
    /// Values of the same bucket are counted as spread evenly over it; where it has more than a twentieth of all, they hardly differ,
    /// and are counted as half below, as are those below [`VALUE_MIN`] and from [`VALUE_MAX`] on.
    ///
    /// # Panics
    /// If the value is negative or NaN.
    #[must_use]
    pub fn rank(&self, value: f32) -> Option<f32> {
        if self.total <= 0.0 {
            return None;
        }
        let at = bucket(value);
        let below: f64 = self.weights[..at].iter().sum();
        let crowded = self.weights[at] > CROWDED * self.total;
        let share = match edges(at).filter(|_edges| !crowded) {
            Some((low, high)) => f64::from((value - low) / (high - low)),
            None => 0.5,
        };
        Some(((below + share * self.weights[at]) / self.total) as f32)
    }
}

/// A value with its rank among those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibrated {
    /// The value as measured.
    pub value: f32,
    /// Its running quantile rank, 0 to 1; `None` while there is too little to compare with.
    pub rank: Option<f32>,
}

/// Makes values comparable: to each its running quantile rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    quantiles: Quantiles,
    values_min: u64,
}

impl Calibration {
    /// Ranks among the last `memory` to 2·`memory` values, from the value after `values_min` on.
    #[must_use]
    pub fn new(memory: NonZeroU32, values_min: u64) -> Self {
        Self { quantiles: Quantiles::new(memory), values_min }
    }

    /// The rank of `value` among those before it; then it is one of them. No allocation.
    ///
    /// # Panics
    /// If the value is negative or NaN.
    pub fn rank(&mut self, value: f32) -> Calibrated {
        let known = self.quantiles.seen() >= self.values_min;
        let rank = if known { self.quantiles.rank(value) } else { None };
        self.quantiles.add(value);
        Calibrated { value, rank }
    }

    /// The values so far.
    #[must_use]
    pub fn quantiles(&self) -> &Quantiles {
        &self.quantiles
    }
}

fn bucket(value: f32) -> usize {
    assert!(value >= 0.0, "{value} has no bucket");
    if value < VALUE_MIN {
        return 0;
    }
    if value >= VALUE_MAX {
        return BUCKETS - 1;
    }
    1 + ((value.to_bits() - VALUE_MIN.to_bits()) >> SHIFT) as usize
}

/// The values of a bucket: `low ≤ value < high`; `None` for the two outside of the range.
fn edges(bucket: usize) -> Option<(f32, f32)> {
    if bucket == 0 || bucket == BUCKETS - 1 {
        return None;
    }
    let edge = |index: usize| f32::from_bits(VALUE_MIN.to_bits() + ((index as u32) << SHIFT));
    Some((edge(bucket - 1), edge(bucket)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Draws, Purpose};
    use proptest::prelude::*;

    fn long() -> Quantiles {
        Quantiles::new(NonZeroU32::new(1 << 30).unwrap())
    }

    fn of(values: &[f32]) -> Quantiles {
        let mut quantiles = long();
        values.iter().for_each(|value| quantiles.add(*value));
        quantiles
    }

    #[test]
    fn every_edge_begins_its_own_bucket() {
        for at in 1..BUCKETS - 1 {
            let (low, high) = edges(at).unwrap();
            assert!(high <= low * (1.0 + RELATIVE_ERROR_MAX), "bucket {at}");
            assert_eq!((bucket(low), bucket(high.next_down()), bucket(high)), (at, at, at + 1));
        }
        assert_eq!((bucket(0.0), bucket(VALUE_MIN.next_down())), (0, 0));
        assert_eq!((bucket(VALUE_MAX), bucket(f32::INFINITY)), (BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn rank_is_unknown_until_there_is_enough_to_compare_with() {
        let mut calibration = Calibration::new(NonZeroU32::new(100).unwrap(), 2);
        assert_eq!(calibration.rank(1.0).rank, None);
        assert_eq!(calibration.rank(2.0).rank, None);
        assert_eq!(calibration.rank(9.0).rank, Some(1.0));
        assert_eq!(calibration.rank(0.5).rank, Some(0.0));
    }

    /// Ranks of values from the distribution that was learnt are uniform: the meaning of
    /// *calibrated*. Exponential draws; Kolmogorov's bound at 0.1 % for 5,000 ranks is 0.028.
    #[test]
    fn ranks_of_a_steady_source_are_uniform() {
        let mut draws = Draws::new(Purpose::Tuning, 5, 0, 0);
        let mut draw = || -(1.0 - draws.unit()).ln();
        let quantiles = of(&(0..50_000).map(|_| draw()).collect::<Vec<_>>());
        let mut ranks: Vec<f32> = (0..5000).map(|_| quantiles.rank(draw()).unwrap()).collect();
        ranks.sort_by(f32::total_cmp);
        let gap = |(index, rank): (usize, &f32)| (rank - index as f32 / 5000.0).abs();
        let widest = ranks.iter().enumerate().map(gap).fold(0.0, f32::max);
        assert!(widest < 0.03, "{widest}");
    }

    #[test]
    fn what_was_usual_long_ago_is_forgotten() {
        let mut quantiles = Quantiles::new(NonZeroU32::new(100).unwrap());
        (0..10_000).for_each(|_| quantiles.add(1.0));
        assert!(quantiles.rank(8.0).unwrap() > 0.999);
        (0..1000).for_each(|_| quantiles.add(10.0));
        assert!(quantiles.rank(8.0).unwrap() < 0.01);
    }

    #[test]
    fn equal_values_rank_inside_their_own_bucket() {
        // Wherever in its bucket the value lies.
        for value in [1.0, 1.01, 1.02] {
            assert_eq!(of(&[value; 1000]).rank(value), Some(0.5));
        }
        let quantiles = of(&[1.0; 1000]);
        assert_eq!(quantiles.rank(0.5), Some(0.0));
        assert_eq!(quantiles.rank(2.0), Some(1.0));
        assert_eq!(of(&[0.0; 10]).rank(0.0), Some(0.5));
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_same_state(
            values in prop::collection::vec(0.0f32..5000.0, 0..200),
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f32::total_cmp);
            prop_assert_eq!(of(&values), of(&sorted));
        }

        #[test]
        fn rank_never_decreases_with_the_value(
            values in prop::collection::vec(0.0f32..5000.0, 1..200),
            a in 0.0f32..5000.0,
            b in 0.0f32..5000.0,
        ) {
            let quantiles = of(&values);
            let (low, high) = (a.min(b), a.max(b));
            let (low, high) = (quantiles.rank(low).unwrap(), quantiles.rank(high).unwrap());
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
            prop_assert!(low <= high + 1e-6);
        }

        #[test]
        fn rank_is_off_by_no_more_than_the_values_of_its_own_bucket(
            values in prop::collection::vec(1e-5f32..4000.0, 1..400),
            value in 1e-5f32..4000.0,
        ) {
            let (low, high) = edges(bucket(value)).unwrap();
            let share = |edge: f32| {
                values.iter().filter(|value| **value < edge).count() as f32 / values.len() as f32
            };
            let rank = of(&values).rank(value).unwrap();
            prop_assert!(share(low) - 1e-6 <= rank && rank <= share(high) + 1e-6);
        }

        #[test]
        fn weights_stay_below_twice_the_memory(
            memory in 1u32..50,
            values in prop::collection::vec(0.0f32..10.0, 0..500),
        ) {
            let mut quantiles = Quantiles::new(NonZeroU32::new(memory).unwrap());
            for value in values {
                quantiles.add(value);
                prop_assert!(quantiles.total < 2.0 * f64::from(memory));
                let sum: f64 = quantiles.weights.iter().sum();
                prop_assert!((sum - quantiles.total).abs() < 1e-6);
            }
        }
    }
}
