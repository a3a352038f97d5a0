//! How sure a measured skill is: block bootstrap over clips, Student's t over seeds and drives.

use crate::chance::{Draws, Purpose};
use serde::{Deserialize, Serialize};

/// Draws of the bootstrap that a vote reports.
pub const BOOTSTRAP_DRAWS: usize = 200;

/// A mean with what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value that was measured (not the mean of the draws).
    pub mean: f64,
    /// Standard error of `mean`.
    pub standard_error: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

/// Errors of two predictions on the same clips of one drive, in order of time.
#[derive(Clone, Copy, Debug)]
pub struct PairedClips<'a> {
    /// Squared errors of the first prediction, one per clip.
    pub first: &'a [f64],
    /// Squared errors of the second, of the same clips.
    pub second: &'a [f64],
    /// Squared errors of the copied last frame.
    pub copy: &'a [f64],
    /// The block of every clip: clips of one second of one run have one number, and stand together.
    pub block: &'a [u32],
}

/// Fewer blocks than these do not say how a drive's errors spread: of one block, every draw is the same.
const BLOCKS_MIN: usize = 4;

impl PairedClips<'_> {
    /// Sums of (first, second, copy) over what is resampled: every block, or every clip of a drive of few blocks.
    fn resampled(&self) -> Vec<[f64; 3]> {
        let blocks = self.blocks();
        if blocks.len() >= BLOCKS_MIN {
            return blocks;
        }
        let errors = self.first.iter().zip(self.second).zip(self.copy);
        errors.map(|((first, second), copy)| [*first, *second, *copy]).collect()
    }

    /// Sums of (first, second, copy) over every block.
    fn blocks(&self) -> Vec<[f64; 3]> {
        let count = self.copy.len();
        assert_eq!(self.first.len(), count, "errors of the same clips");
        assert_eq!(self.second.len(), count, "errors of the same clips");
        assert_eq!(self.block.len(), count, "a block for every clip");
        let mut blocks: Vec<[f64; 3]> = Vec::new();
        for clip in 0..count {
            let errors = [self.first[clip], self.second[clip], self.copy[clip]];
            match blocks.last_mut() {
                Some(sums) if self.block[clip - 1] == self.block[clip] => {
                    for (sum, error) in sums.iter_mut().zip(errors) {
                        *sum += error;
                    }
                }
                _ => blocks.push(errors),
            }
        }
        blocks
    }
}

/// Paired difference `skill(first) − skill(second)` of a set of drives, with the drives fixed and
/// their clips resampled in blocks of a second.
///
/// Per draw, each drive draws as many blocks as it has, with replacement, and its two skills are
/// ratios of the sums; the set's two are plain means over drives, each no further from 0 than `bound`.
/// The standard error is the draws' standard deviation, the interval their 2.5 % and 97.5 % percentiles (linear between ranks).
/// A drive of fewer than four blocks is resampled clip by clip: too sure by what its clips have in common, where its
/// blocks would say next to nothing, or zero.
///
/// `None` if there is no drive, or one whose copy error is zero. One seed gives one answer.
/// # Panics
/// If the lengths of a drive's slices differ or `draws` is 0.
pub fn bootstrap(
    drives: &[PairedClips<'_>],
    draws: usize,
    seed: u64,
    bound: f64,
) -> Option<Interval> {
    assert!(draws > 0, "an interval needs draws");
    let blocks: Vec<Vec<[f64; 3]>> = drives.iter().map(PairedClips::resampled).collect();
    let mean = difference(blocks.iter().map(|blocks| blocks.iter().copied()), bound)?;
    let mut values = Vec::with_capacity(draws);
    for draw in 0..draws {
        let resampled = blocks.iter().enumerate().map(|(drive, blocks)| {
            let mut random = Draws::new(Purpose::Bootstrap, seed, draw as u64, drive as u64);
            (0..blocks.len()).map(move |_| blocks[random.index(blocks.len())])
        });
        // A draw of nothing but still blocks has no skill; it says that nothing differs.
        values.push(difference(resampled, bound).unwrap_or(0.0));
    }
    let standard_error = deviation(&values);
    values.sort_by(f64::total_cmp);
    let (low, high) = (percentile(&values, 0.025), percentile(&values, 0.975));
    Some(Interval { mean, standard_error, low, high })
}

/// skill(first) − skill(second), each the mean over drives of `1 − Σ errors / Σ copy`, within the bound. A prediction that
/// is beyond it in every draw is then surely so, however wild its errors are.
fn difference(
    drives: impl Iterator<Item = impl Iterator<Item = [f64; 3]>>,
    bound: f64,
) -> Option<f64> {
    let (mut first, mut second, mut count) = (0.0, 0.0, 0_u32);
    for blocks in drives {
        let mut total = [0.0; 3];
        for block in blocks {
            for (total, value) in total.iter_mut().zip(block) {
                *total += value;
            }
        }
        if total[2] <= 0.0 {
            return None;
        }
        first += 1.0 - total[0] / total[2];
        second += 1.0 - total[1] / total[2];
        count += 1;
    }
    let skill = |sum: f64| (sum / f64::from(count)).clamp(-bound, bound);
    (count > 0).then(|| skill(first) - skill(second))
}

/// Student's t interval of the mean of independent differences: mean ± t₀.₉₇₅(n − 1)·s/√n.
///
/// `None` for fewer than two values.
pub fn student_t(differences: &[f64]) -> Option<Interval> {
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let mean = average(differences);
    let standard_error = deviation(differences) / (n as f64).sqrt();
    let reach = t_quantile_975(n - 1) * standard_error;
    Some(Interval { mean, standard_error, low: mean - reach, high: mean + reach })
}

/// Paired differences by seed and drive, seen three ways.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedsAndDrives {
    /// Over all seed × drive pairs as if they were independent: the narrowest.
    pub pairs: Option<Interval>,
    /// Over the drives' means: how sure it is for another road. `None` where each seed has roads of its own.
    pub drives: Option<Interval>,
    /// Over the seeds' means: how sure it is for another seed on these roads. Where each seed has roads of its own, and
    /// one adapter is measured on all of them, their differences depend on each other: then this is the one to read.
    pub seeds: Option<Interval>,
}

/// Student's t intervals of `differences[seed][drive]`; `same_drives` if place d is one drive in every seed.
///
/// Seeds of one drive share its frames, so `pairs` is too sure when drives differ; `drives` is not.
/// # Panics
/// If the seeds have the same drives, and different numbers of them.
pub fn seeds_and_drives(differences: &[Vec<f64>], same_drives: bool) -> SeedsAndDrives {
    let drives = if same_drives { differences.first().map_or(0, Vec::len) } else { 0 };
    assert!(
        !same_drives || differences.iter().all(|seed| seed.len() == drives),
        "every seed has every drive"
    );
    let seeds = differences.iter().filter(|seed| !seed.is_empty());
    let by_seed: Vec<f64> = seeds.map(|seed| average(seed)).collect();
    let by_drive: Vec<f64> = (0..drives)
        .map(|drive| average(&differences.iter().map(|seed| seed[drive]).collect::<Vec<_>>()))
        .collect();
    SeedsAndDrives {
        pairs: student_t(&differences.concat()),
        drives: student_t(&by_drive),
        seeds: student_t(&by_seed),
    }
}

/// Plain mean; not a number without values.
pub fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation (n − 1); 0 for a single value.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = average(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Value at `share` of the sorted values, linear between neighbouring ranks.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

/// The t that 97.5 % of Student's distribution with `freedom` degrees lie below.
///
/// Found by bisection on the exact finite series of its distribution function (Abramowitz and Stegun,
/// 26.7.3 and 26.7.4); from 1,000 degrees on the answer moves by less than 0.1 %, so it stays. At least one degree.
pub fn t_quantile_975(freedom: usize) -> f64 {
    let freedom = freedom.min(1000);
    let (mut low, mut high) = (1.0, 13.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if within(middle, freedom) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Probability that |T| ≤ t.
fn within(t: f64, freedom: usize) -> f64 {
    let angle = libm::atan(t / (freedom as f64).sqrt());
    let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
    let odd = freedom % 2 == 1;
    // Terms cos·(1 + 2/3 cos² + 2·4/(3·5) cos⁴ …) for odd, 1 + 1/2 cos² + 1·3/(2·4) cos⁴ … for even.
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = if freedom == 1 { 0.0 } else { term };
    let mut k = if odd { 3 } else { 2 };
    while k < freedom {
        term *= (k - 1) as f64 / k as f64 * cosine * cosine;
        sum += term;
        k += 2;
    }
    if odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: any printed table of Student's t, 97.5 % column.
    #[test]
    fn t_quantiles_are_those_of_the_printed_table() {
        let table =
            [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (30, 2.042)];
        for (freedom, t) in table {
            let got = t_quantile_975(freedom);
            assert!((got - t).abs() < 6e-4, "{freedom}: {got}, expected {t}");
        }
        assert!((t_quantile_975(5000) - 1.962).abs() < 1e-3);
    }

    #[test]
    fn student_interval_of_three_numbers_is_the_one_computed_by_hand() {
        // Mean 2, s = 1, standard error 1/√3, t(2) = 4.3027.
        let interval = student_t(&[1.0, 2.0, 3.0]).unwrap();
        assert!((interval.mean - 2.0).abs() < 1e-12);
        assert!((interval.standard_error - 0.577_350).abs() < 1e-6);
        assert!((interval.low - (2.0 - 2.484_14)).abs() < 1e-3, "{interval:?}");
        assert!((interval.high - (2.0 + 2.484_14)).abs() < 1e-3);
        assert_eq!(student_t(&[1.0]), None);
    }

    #[test]
    fn equal_predictions_differ_by_zero_with_an_interval_of_zero() {
        let errors = [0.1, 0.5, 0.2, 0.9];
        let drive =
            PairedClips { first: &errors, second: &errors, copy: &[1.0; 4], block: &[0, 0, 1, 1] };
        let interval = bootstrap(&[drive], 50, 1, 1.0).unwrap();
        assert_eq!(interval, Interval { mean: 0.0, standard_error: 0.0, low: 0.0, high: 0.0 });
    }

    #[test]
    fn a_difference_that_every_block_shows_is_found_and_repeats_from_its_seed() {
        // skill(first) − skill(second) = (Σ second − Σ first) / Σ copy = 0.5 in every block.
        let copy = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0];
        let second = copy;
        let first = copy.map(|error| 0.5 * error);
        let drive = PairedClips {
            first: &first,
            second: &second,
            copy: &copy,
            block: &[0, 0, 1, 1, 2, 2, 3],
        };
        let interval = bootstrap(&[drive, drive], BOOTSTRAP_DRAWS, 9, 1.0).unwrap();
        assert!((interval.mean - 0.5).abs() < 1e-12);
        assert!((interval.low - 0.5).abs() < 1e-12 && (interval.high - 0.5).abs() < 1e-12);

        let noisy = [0.1, 0.9, 0.4, 0.2, 0.8, 0.3, 0.7];
        let drive = PairedClips { first: &noisy, ..drive };
        let again = bootstrap(&[drive], BOOTSTRAP_DRAWS, 9, 1.0).unwrap();
        assert_eq!(Some(again), bootstrap(&[drive], BOOTSTRAP_DRAWS, 9, 1.0));
        assert_ne!(Some(again), bootstrap(&[drive], BOOTSTRAP_DRAWS, 10, 1.0));
        assert!(again.low < again.mean && again.mean < again.high);
    }

    /// Clips of one second err together: an interval over single clips would be too narrow.
    #[test]
    fn blocks_of_a_second_widen_the_interval_of_errors_that_come_together() {
        let first: Vec<f64> = (0..80).map(|i| if (i / 10) % 2 == 0 { 0.2 } else { 0.8 }).collect();
        let ones = vec![1.0; 80];
        let spread = |clips: u32| {
            let block: Vec<u32> = (0..80).map(|clip| clip / clips).collect();
            let drive = PairedClips { first: &first, second: &ones, copy: &ones, block: &block };
            bootstrap(&[drive], BOOTSTRAP_DRAWS, 3, 1.0).unwrap().standard_error
        };
        assert!(spread(10) > 2.0 * spread(1), "{} {}", spread(10), spread(1));
    }

    /// A short piece of a pack is within one second: the standard error of its skill is not zero for that.
    #[test]
    fn a_drive_of_few_blocks_is_resampled_clip_by_clip() {
        let (first, ones) = ([0.2, 0.8, 0.4, 0.6], [1.0; 4]);
        let spread = |block: &[u32]| {
            let drive = PairedClips { first: &first, second: &ones, copy: &ones, block };
            bootstrap(&[drive], BOOTSTRAP_DRAWS, 3, 1.0).unwrap().standard_error
        };
        // The deviation of the mean of four draws, √(.05 / 4) = .11.
        assert!((0.08..0.14).contains(&spread(&[0; 4])), "{}", spread(&[0; 4]));
        assert_eq!(spread(&[0; 4]), spread(&[0, 1, 2, 3]));
    }

    /// Who claims a wild particle must not be safe behind its spread.
    #[test]
    fn a_prediction_that_is_lost_in_every_draw_has_no_spread() {
        let (wild, ones) = ([20.0, 900.0, 50.0, 4000.0], [1.0; 4]);
        let drive = PairedClips { first: &wild, second: &ones, copy: &ones, block: &[0, 1, 2, 3] };
        let interval = bootstrap(&[drive], BOOTSTRAP_DRAWS, 3, 1.0).unwrap();
        assert_eq!((interval.mean, interval.standard_error), (-1.0, 0.0));
    }

    #[test]
    fn no_drive_or_a_still_one_gives_no_interval() {
        assert_eq!(bootstrap(&[], 10, 0, 1.0), None);
        let drive = PairedClips { first: &[0.0], second: &[0.0], copy: &[0.0], block: &[0] };
        assert_eq!(bootstrap(&[drive], 10, 0, 1.0), None);
    }

    #[test]
    fn drives_that_disagree_widen_the_interval_over_drives_beyond_that_over_pairs() {
        // Two seeds that agree on three drives that do not.
        let both = vec![vec![0.1, 0.2, 0.6], vec![0.1, 0.2, 0.6]];
        let seen = seeds_and_drives(&both, true);
        let (pairs, drives) = (seen.pairs.unwrap(), seen.drives.unwrap());
        assert!((pairs.mean - 0.3).abs() < 1e-12 && (drives.mean - 0.3).abs() < 1e-12);
        assert!(drives.high - drives.low > 1.5 * (pairs.high - pairs.low));
        assert_eq!(seen.seeds.unwrap().standard_error, 0.0);
        assert_eq!(seeds_and_drives(&[], true).pairs, None);
    }

    #[test]
    fn seeds_with_roads_of_their_own_are_seen_over_pairs_and_seeds_only() {
        let seen = seeds_and_drives(&[vec![0.1, 0.3], vec![0.2]], false);
        assert!((seen.pairs.unwrap().mean - 0.2).abs() < 1e-12);
        assert!((seen.seeds.unwrap().mean - 0.2).abs() < 1e-12);
        assert_eq!(seen.drives, None);
    }
}
