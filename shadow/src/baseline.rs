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

/// Measures the baselines on `drives`: the best fixed blur first, then block matching, for which a model must see two frames.
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
) -> Result<Vec<Measurement>, MeasureError> {
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
    let mut all = vec![measure(&mut Blur::new(form.clone(), sigma_px), drives, horizon)?];
    if form.frames >= BlockMatching::FRAMES_MIN {
        all.push(measure(&mut BlockMatching::new(form.clone()), drives, horizon)?);
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    use shoal_hal::FrameShape;

    use super::*;
    use crate::clip::{Clips, Frames};
    use crate::form::MotionInput;

    #[test]
    fn a_model_that_sees_one_frame_stands_beside_what_needs_no_more() {
        let shape = FrameShape { width: 16, height: 8 };
        let bytes = (0..20 * shape.bytes()).map(|at| (at * 31 % 251) as u8).collect();
        let road = Frames::new(shape, 10.0, bytes, Vec::new()).unwrap();
        let named = |frames| -> Vec<String> {
            let motion = MotionInput::NONE;
            let form = Form { shape, frames, context: frames, rate_hz: 10.0, motion };
            let clips = vec![Clips::of_all(&road, frames, 1)];
            let drive = DriveClips { name: "road".into(), copy_psnr_db: 0.0, clips };
            let all = baselines(&form, &[drive], Horizon::NextAndRollout).unwrap();
            all.into_iter().map(|measured| measured.predictor).collect()
        };
        let [one, two] = [1, 2].map(named);
        assert_eq!((one.len(), two.len()), (1, 2), "{one:?} {two:?}");
        assert_eq!(one[0].split(' ').next(), two[0].split(' ').next());
    }
}
