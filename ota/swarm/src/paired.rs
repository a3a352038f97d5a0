//! The paired measurement of a vote: how much better a nominee is than best on the same clips, and how sure that is.

use alloc::vec::Vec;

use crate::draws::{Chance, Draws, Key, Term};

/// Draws of the bootstrap.
pub const BOOTSTRAP_DRAWS: u32 = 200;

/// Squared errors on the clips of one drive, in order of time: four slices of one length.
#[derive(Clone, Copy, Debug)]
pub struct ClipErrors<'a> {
    /// Of the nominee.
    pub candidate: &'a [f64],
    /// Of what it is compared with.
    pub reference: &'a [f64],
    /// Of the last frame, shown again.
    pub copy: &'a [f64],
    /// The second of each clip: clips of one second of one run have one number, and stand together.
    pub second: &'a [u32],
}

/// Two skills on the same clips. Skill of a drive: 1 − Σ error ÷ Σ error of the copy; of a set: the plain mean over
/// its drives, clamped to [−1, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Of the nominee.
    pub candidate: f64,
    /// Of what it is compared with.
    pub reference: f64,
    /// Standard error of `candidate`.
    pub candidate_standard_error: f64,
    /// Standard error of `candidate − reference`.
    pub difference_standard_error: f64,
}

/// Why a measurement says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairedError {
    /// There is nothing to measure on.
    #[error("no drives")]
    NoDrives,
    /// A drive in which nothing moves has no skill.
    #[error("the copy of drive {drive} has no error")]
    Still {
        /// Its index.
        drive: usize,
    },
    /// What the nominee is compared with predicts no numbers: it was admitted, so this is our fault.
    #[error("an error of the reference or of the copy of drive {drive} is not finite")]
    NotFinite {
        /// Its index.
        drive: usize,
    },
}

/// Sums over one block of clips, or over a drive.
#[derive(Clone, Copy, Default)]
struct Sums {
    candidate: f64,
    reference: f64,
    copy: f64,
}

/// Measures a nominee beside a reference, with the drives fixed and their clips resampled in blocks of a second.
///
/// In each of [`BOOTSTRAP_DRAWS`] draws, each drive draws as many blocks as it has, with replacement; standard
/// errors are the deviations of the draws. The draws are the same on every vehicle: those of
/// [`Term::Bootstrap`] with seed 0, window = the drive's index, step = the draw's.
///
/// A nominee that predicts no numbers has skill −1. A drive of one block adds no error: it says nothing of it.
///
/// # Errors
/// [`PairedError`].
/// # Panics
/// If the slices of a drive differ in length.
pub fn paired(drives: &[ClipErrors<'_>]) -> Result<Paired, PairedError> {
    let blocks: Vec<Vec<Sums>> = drives.iter().map(ClipErrors::blocks).collect();
    for (drive, blocks) in blocks.iter().enumerate() {
        let all = total(blocks.iter().copied());
        if !all.reference.is_finite() || !all.copy.is_finite() {
            return Err(PairedError::NotFinite { drive });
        }
        if all.copy <= 0.0 {
            return Err(PairedError::Still { drive });
        }
    }
    let whole = blocks.iter().map(|blocks| total(blocks.iter().copied()));
    let (candidate, reference) = skills(whole).ok_or(PairedError::NoDrives)?;
    let (mut candidates, mut differences) = (Vec::new(), Vec::new());
    for draw in 0..BOOTSTRAP_DRAWS {
        let resampled =
            blocks.iter().enumerate().map(|(drive, blocks)| resampled(blocks, drive, draw));
        let (candidate, reference) = skills(resampled).unwrap_or((candidate, reference));
        candidates.push(candidate);
        differences.push(candidate - reference);
    }
    Ok(Paired {
        candidate,
        reference,
        candidate_standard_error: deviation(&candidates),
        difference_standard_error: deviation(&differences),
    })
}

impl ClipErrors<'_> {
    fn blocks(&self) -> Vec<Sums> {
        let Self { candidate, reference, copy, second } = *self;
        for other in [candidate.len(), reference.len(), second.len()] {
            assert_eq!(other, copy.len(), "errors of the same clips");
        }
        let mut blocks: Vec<Sums> = Vec::new();
        let mut before = None;
        let errors = candidate.iter().zip(reference).zip(copy).zip(second);
        for (((&candidate, &reference), &copy), &second) in errors {
            let clip = Sums { candidate, reference, copy };
            match blocks.last_mut().filter(|_block| before == Some(second)) {
                Some(block) => *block = block.plus(clip),
                None => blocks.push(clip),
            }
            before = Some(second);
        }
        blocks
    }
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            candidate: self.candidate + other.candidate,
            reference: self.reference + other.reference,
            copy: self.copy + other.copy,
        }
    }
}

fn total(blocks: impl Iterator<Item = Sums>) -> Sums {
    blocks.fold(Sums::default(), Sums::plus)
}

/// A drive with its blocks drawn again. A draw of nothing but still blocks says nothing: then it is the drive as it was.
fn resampled(blocks: &[Sums], drive: usize, draw: u32) -> Sums {
    let window = u32::try_from(drive).unwrap_or(u32::MAX);
    let mut draws =
        Draws::new(Key { seed: 0, vehicle: None, window, step: draw, term: Term::Bootstrap });
    let drawn =
        total(blocks.iter().filter_map(|_block| blocks.get(draws.index(blocks.len())).copied()));
    if drawn.copy > 0.0 { drawn } else { total(blocks.iter().copied()) }
}

/// The skills of nominee and reference; `None` without drives.
fn skills(drives: impl Iterator<Item = Sums>) -> Option<(f64, f64)> {
    let (mut candidate, mut reference, mut count) = (0.0, 0.0, 0_u32);
    for drive in drives {
        candidate += 1.0 - drive.candidate / drive.copy;
        reference += 1.0 - drive.reference / drive.copy;
        count = count.saturating_add(1);
    }
    let mean = |sum: f64| {
        let mean = sum / f64::from(count);
        if mean.is_nan() { -1.0 } else { mean.clamp(-1.0, 1.0) }
    };
    (count > 0).then(|| (mean(candidate), mean(reference)))
}

/// Sample standard deviation (n − 1).
fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    libm::sqrt(squares / (count - 1.0))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// A drive of `clips` clips, ten a second, whose errors vary with the clip.
    fn measured(clips: u32, candidate: impl Fn(f64) -> f64) -> [Vec<f64>; 3] {
        let noise = |clip: f64| 1.0 + 0.5 * libm::sin(clip * 0.7);
        let all = |of: &dyn Fn(f64) -> f64| (0..clips).map(|clip| of(f64::from(clip))).collect();
        let reference: Vec<f64> = all(&|clip| 0.6 * noise(clip));
        [
            reference.iter().map(|e| candidate(*e)).collect(),
            reference,
            all(&|clip| noise(clip + 3.0)),
        ]
    }

    fn seconds(clips: u32) -> Vec<u32> {
        (0..clips).map(|clip| clip / 10).collect()
    }

    fn of<'a>(errors: &'a [Vec<f64>; 3], second: &'a [u32]) -> ClipErrors<'a> {
        let [candidate, reference, copy] = errors;
        ClipErrors { candidate, reference, copy, second }
    }

    #[test]
    fn skill_is_the_plain_mean_over_drives() {
        let (errors, second) = (measured(10, |e| e), seconds(10));
        let half = [vec![0.5; 2], vec![1.0; 2], vec![1.0; 2]];
        let both = paired(&[of(&errors, &second), of(&half, &[0, 1])]).unwrap();
        let alone = paired(&[of(&errors, &second)]).unwrap();
        assert!((both.candidate - (alone.candidate + 0.5) / 2.0).abs() < 1e-12);
        assert!((both.reference - (alone.reference + 0.0) / 2.0).abs() < 1e-12);
    }

    /// What is common to both cancels: that is why votes are paired.
    #[test]
    fn a_difference_is_surer_than_a_value() {
        let (errors, second) = (measured(300, |e| e - 0.01), seconds(300));
        let paired = paired(&[of(&errors, &second)]).unwrap();
        assert!(paired.candidate > paired.reference);
        assert!(paired.difference_standard_error * 5.0 < paired.candidate_standard_error);
    }

    #[test]
    fn the_same_adapter_twice_differs_by_nothing_surely() {
        let (errors, second) = (measured(100, |e| e), seconds(100));
        let paired = paired(&[of(&errors, &second)]).unwrap();
        assert_eq!(paired.candidate.to_bits(), paired.reference.to_bits());
        assert_eq!(paired.difference_standard_error, 0.0);
        assert!(paired.candidate_standard_error > 0.0);
    }

    #[test]
    fn every_vehicle_draws_the_same() {
        let (errors, second) = (measured(200, |e| e * e), seconds(200));
        let once = paired(&[of(&errors, &second), of(&errors, &second)]);
        assert_eq!(once, paired(&[of(&errors, &second), of(&errors, &second)]));
    }

    /// The deviation of a mean of n independent blocks is that of one, divided by √n.
    #[test]
    fn the_standard_error_is_that_of_independent_blocks() {
        let blocks = 400;
        let unit = |block: u32| {
            Draws::new(Key { seed: 9, vehicle: None, window: block, step: 0, term: Term::Dropout })
                .unit()
        };
        let candidate: Vec<f64> = (0..blocks).map(unit).collect();
        let (ones, second) = (vec![1.0; 400], (0..blocks).collect::<Vec<u32>>());
        let errors = [candidate.clone(), ones.clone(), ones];
        let paired = paired(&[of(&errors, &second)]).unwrap();
        let expected = deviation(&candidate) / 20.0;
        let ratio = paired.difference_standard_error / expected;
        assert!((0.85..1.15).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_nominee_that_predicts_no_numbers_has_skill_minus_one() {
        for bad in [f64::NAN, f64::INFINITY] {
            let (errors, second) = (measured(30, |_e| bad), seconds(30));
            let paired = paired(&[of(&errors, &second)]).unwrap();
            assert_eq!((paired.candidate, paired.candidate_standard_error), (-1.0, 0.0));
            assert!(paired.reference > -1.0);
        }
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        assert_eq!(paired(&[]), Err(PairedError::NoDrives));
        let still = [vec![0.0], vec![0.0], vec![0.0]];
        assert_eq!(paired(&[of(&still, &[0])]), Err(PairedError::Still { drive: 0 }));
        let broken = [vec![0.0], vec![f64::NAN], vec![1.0]];
        assert_eq!(paired(&[of(&broken, &[0])]), Err(PairedError::NotFinite { drive: 0 }));
    }
}
