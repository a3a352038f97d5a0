//! What a skill stands beside: predictions without any learning.
//!
//! A fixed slight blur of the last frame reaches about .09 without any motion; block matching applied
//! again (constant velocity) about .40. A model below the second has learnt little of value.

mod block;
mod blur;
mod copies;
mod steps;
mod tokens;

pub use block::BlockMatching;
pub use blur::Blur;
pub use copies::TokenCopies;
pub use steps::TokenSteps;
pub use tokens::TokenBaseline;

use crate::form::Form;
use crate::measure::{DriveClips, Horizon, MeasureError, Measurement, Predictor, measure};
use shoal_runtime::engine::EngineError;

/// Standard deviations of the blurs that are tried, in pixels.
pub const BLURS_PX: [f32; 5] = [0.5, 0.8, 1.2, 1.8, 2.6];

/// The last frame shown again: skill 0 by definition.
pub struct Copy(Form);

impl Copy {
    /// Copies frames of `form`.
    pub fn new(form: Form) -> Self {
        Copy(form)
    }
}

impl Predictor for Copy {
    fn describe(&self) -> String {
        "last frame".into()
    }

    fn form(&self) -> &Form {
        &self.0
    }

    fn batch(&self) -> usize {
        8
    }

    fn predict(
        &mut self,
        clips: usize,
        frames: &[f32],
        _motion: &[f32],
        next: &mut [f32],
    ) -> Result<(), EngineError> {
        for (last, next) in last_frames(&self.0, clips, frames, next) {
            next.copy_from_slice(last);
        }
        Ok(())
    }
}

/// Measures both baselines on `drives`: the best fixed blur first, then block matching.
///
/// The blur is one width for the whole set, the one of [`BLURS_PX`] with the highest skill on these very
/// clips (the narrower of equals): that choice flatters the baseline, never the model. Where no drive is
/// counted the plain mean over all drives decides.
///
/// # Errors
/// [`MeasureError`] if a drive is not of `form`.
pub fn baselines(
    form: &Form,
    drives: &[DriveClips<'_>],
    horizon: Horizon,
) -> Result<[Measurement; 2], MeasureError> {
    let mut best: Option<(f64, f32)> = None;
    for sigma_px in BLURS_PX {
        let measured = measure(&mut Blur::new(form.clone(), sigma_px), drives, Horizon::Next)?;
        let skill = measured
            .skill()
            .unwrap_or_else(|| measured.drives.iter().filter_map(|drive| drive.next.skill()).sum());
        if best.is_none_or(|(highest, _)| skill > highest) {
            best = Some((skill, sigma_px));
        }
    }
    let (_, sigma_px) = best.expect("there are blurs to try");
    let blur = measure(&mut Blur::new(form.clone(), sigma_px), drives, horizon)?;
    let block = measure(&mut BlockMatching::new(form.clone()), drives, horizon)?;
    Ok([blur, block])
}

/// The last past frame of every clip beside where its prediction goes.
fn last_frames<'a>(
    form: &Form,
    clips: usize,
    frames: &'a [f32],
    next: &'a mut [f32],
) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    let (past, frame) = (form.frames_len(), form.shape.bytes());
    assert_eq!((frames.len(), next.len()), (clips * past, clips * frame), "values of the clips");
    frames
        .chunks_exact(past)
        .map(move |past| &past[past.len() - frame..])
        .zip(next.chunks_exact_mut(frame))
}
