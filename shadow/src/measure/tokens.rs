//! Nats: how surprised a token model is by the tokens that came.
//!
//! ```text
//! nats of a row = −log softmax(scale · logits)[token that came]        nats a token = plain mean over rows
//! ```
//!
//! Logits are those of the last position, the predicted row's. Scale 1 is the model as it is. Where two
//! predictions are compared, rows come in blocks of [`BLOCK_TOKENS`], of codes of at least a second's frames: tokens that follow
//! each other err together, as do those of one frame, and an interval over single ones would be too narrow.

mod report;
mod session;

pub use report::{TokenDifference, TokenFigures, TokenParts, TokenReport, report};
pub use session::{TokenInputs, TokenPredictor, TokenPredictorError};

use crate::stats::{Interval, PairedClips, bootstrap, student_t};
use crate::tokens::{TokenLog, TokenRows};
use serde::{Deserialize, Serialize};
use shoal_runtime::engine::EngineError;

/// Rows of one block, at least.
pub const BLOCK_TOKENS: usize = 20;

/// Draws of the block bootstrap.
const DRAWS: usize = 2000;

/// Why a measurement failed.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum TokenMeasureError {
    /// The engine failed.
    #[error("{log}, row {row}: the prediction failed")]
    Predict { log: String, row: usize, source: Box<EngineError> },
    /// A logit is NaN or infinite.
    #[error("{log}, row {row}: the model's logits are not finite")]
    NotFinite { log: String, row: usize },
}

/// Nats of one prediction on some rows, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Nats {
    /// Of every row.
    pub each: Vec<f64>,
    /// The row's block: so many rows that follow each other have one number.
    pub block: Vec<u32>,
}

impl Nats {
    /// Room for the nats of some rows; the blocks are set.
    fn room(rows: &TokenRows<'_>) -> Self {
        let mut block = Vec::with_capacity(rows.count());
        let (mut first, long) = (0, rows.second().max(BLOCK_TOKENS));
        for (_, piece) in rows.pieces() {
            block.extend((0..piece.len()).map(|row| first + (row / long) as u32));
            first += piece.len().div_ceil(long) as u32;
        }
        Nats { each: Vec::with_capacity(block.len()), block }
    }

    /// The nats that `of` gives every row.
    pub fn of(rows: &TokenRows<'_>, mut of: impl FnMut(&TokenLog, usize) -> f64) -> Self {
        let mut nats = Nats::room(rows);
        nats.each.extend(rows.iter().map(|(log, row)| of(log, row)));
        nats
    }

    /// Nats a token.
    pub fn mean(&self) -> f64 {
        self.each.iter().sum::<f64>() / self.each.len() as f64
    }

    /// What this prediction saves against `other` on the same rows: `other − self`, nats a token.
    ///
    /// # Panics
    /// If the two did not measure the same rows.
    pub fn saved_against(&self, other: &Nats, seed: u64) -> Saved {
        assert_eq!(self.block, other.block, "the same rows");
        let ones = vec![1.0; self.each.len()];
        let pair =
            PairedClips { first: &self.each, second: &other.each, copy: &ones, block: &self.block };
        let blocks: Vec<f64> = self.blocks().zip(other.blocks()).map(|(a, b)| b - a).collect();
        Saved {
            bootstrap: bootstrap(&[pair], DRAWS, seed, f64::INFINITY)
                .expect("there are rows, each of weight 1"),
            student: student_t(&blocks),
            blocks: blocks.len(),
        }
    }

    /// The mean of every block.
    fn blocks(&self) -> impl Iterator<Item = f64> {
        let mut start = 0;
        self.block.chunk_by(|a, b| a == b).map(move |block| {
            let rows = &self.each[start..start + block.len()];
            start += block.len();
            rows.iter().sum::<f64>() / rows.len() as f64
        })
    }
}

/// How much one prediction saves against another, nats a token, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Blocks drawn with replacement: the 2.5 % and 97.5 % percentiles of 2,000 draws.
    pub bootstrap: Interval,
    /// Student's t over the means of the blocks, which few blocks make wide; null for one block.
    pub student: Option<Interval>,
    /// How many blocks there are.
    pub blocks: usize,
}

/// Nats of one token.
///
/// # Panics
/// If there is no such logit.
pub fn nats(logits: &[f32], scale: f64, token: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = |logit: f32| scale * (f64::from(logit) - f64::from(highest));
    let sum: f64 = logits.iter().map(|&logit| libm::exp(above(logit))).sum();
    libm::log(sum) - above(logits[token])
}

/// Measures a model on rows, once for every scale of its logits.
///
/// # Errors
/// [`TokenMeasureError`], naming the log and the row.
pub fn measure_nats<const N: usize>(
    predictor: &mut TokenPredictor,
    rows: &TokenRows<'_>,
    scales: [f64; N],
) -> Result<[Nats; N], TokenMeasureError> {
    let mut measured = scales.map(|_| Nats::room(rows));
    predictor.predict(rows, |token, logits| {
        for (measured, scale) in measured.iter_mut().zip(scales) {
            measured.each.push(nats(logits, scale, token));
        }
    })?;
    Ok(measured)
}

/// The scales that [`fit_scale`] tries: 2^(k/32) from ¼ to 8.
fn scales() -> impl Iterator<Item = f64> {
    (-64..=96).map(|k| libm::exp2(f64::from(k) / 32.0))
}

/// The scale of the logits under which a model is least surprised by `rows`: the best of a grid whose
/// steps are 2.2 % wide, which costs less than 1e-3 nats at a minimum.
///
/// # Errors
/// [`TokenMeasureError`], naming the log and the row.
pub fn fit_scale(
    predictor: &mut TokenPredictor,
    rows: &TokenRows<'_>,
) -> Result<f64, TokenMeasureError> {
    let mut sums: Vec<(f64, f64)> = scales().map(|scale| (0.0, scale)).collect();
    predictor.predict(rows, |token, logits| {
        for (sum, scale) in &mut sums {
            *sum += nats(logits, *scale, token);
        }
    })?;
    let best = sums.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    Ok(best.map_or(1.0, |(_, scale)| scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::TokenForm;
    use crate::tokens::tests::{log, package};
    use shoal_hal::Part;

    #[test]
    fn equal_logits_cost_the_logarithm_of_their_number_under_every_scale() {
        for scale in [0.25, 1.0, 8.0] {
            assert!((nats(&[3.0; 8], scale, 5) - libm::log(8.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn logits_of_any_size_cost_what_softmax_says() {
        // p = e² / (e² + 1), far from where exp overflows and where it does.
        let want = libm::log(1.0 + libm::exp(-2.0));
        assert!((nats(&[1.0, -1.0], 1.0, 0) - want).abs() < 1e-12);
        assert!((nats(&[1001.0, 999.0], 1.0, 0) - want).abs() < 1e-12);
        assert!((nats(&[0.5, -0.5], 2.0, 0) - want).abs() < 1e-12);
    }

    #[test]
    fn blocks_are_twenty_rows_and_begin_again_in_every_log() {
        let form = TokenForm::of(&package()).unwrap();
        let logs = [log(110, &form), log(50, &form)];
        let rows = TokenRows::of_part(&logs, Part::HeldOut, &form).unwrap();
        let nats = Nats::of(&rows, |_, _| 1.0);
        let lengths: Vec<usize> = nats.block.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        assert_eq!(lengths, [20, 2, 10]);
    }

    /// A frame's codes err together: two frames a second of sixteen codes are blocks of 32.
    #[test]
    fn blocks_of_codes_are_a_second() {
        let toml = "rate_hz = 2.0\n[tokens]\ninput = 'tokens'\nrows = 16\nvocabulary = 16\nframe = 16\n\
             place = 'place'\n[next_token]\noutput = 'logits'\n";
        let package = crate::package::Description::parse("model.toml", toml, "test").unwrap();
        let form = TokenForm::of(&package).unwrap();
        let codes = (0..640).map(|row| row % 16).collect();
        let logs = [TokenLog::of_codes("codes", codes, &form).unwrap()];
        let rows = TokenRows::of_part(&logs, Part::HeldOut, &form).unwrap();
        let nats = Nats::of(&rows, |_, _| 1.0);
        let mut lengths: Vec<usize> =
            nats.block.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        let last = lengths.pop().unwrap();
        assert!(lengths.len() > 2 && lengths.iter().all(|length| *length == 32), "{lengths:?}");
        assert!(last <= 32, "{last}");
    }

    #[test]
    fn what_every_token_saves_is_saved_whatever_blocks_are_drawn() {
        let form = TokenForm::of(&package()).unwrap();
        let logs = [log(300, &form)];
        let rows = TokenRows::of_part(&logs, Part::HeldOut, &form).unwrap();
        let (good, bad) =
            (Nats::of(&rows, |_, row| row as f64), Nats::of(&rows, |_, r| r as f64 + 0.5));
        let saved = good.saved_against(&bad, 1);
        assert_eq!(saved.blocks, 3);
        for interval in [saved.bootstrap, saved.student.unwrap()] {
            for value in [interval.mean, interval.low, interval.high] {
                assert!((value - 0.5).abs() < 1e-9, "{saved:?}");
            }
        }
        assert!((bad.saved_against(&good, 1).bootstrap.mean + 0.5).abs() < 1e-9);
    }
}
