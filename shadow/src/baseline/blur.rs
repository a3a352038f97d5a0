//! The last frame, blurred.

use super::last_frames;
use crate::form::Form;
use crate::measure::Predictor;
use shoal_runtime::engine::EngineError;

/// The last frame through a fixed Gaussian, edges repeated.
pub struct Blur {
    form: Form,
    sigma_px: f32,
    /// One half of the kernel, from its middle outwards; the whole sums to 1.
    kernel: Vec<f32>,
    across: Vec<f32>,
}

impl Blur {
    /// A blur of standard deviation `sigma_px` pixels, cut off at four of them.
    ///
    /// # Panics
    /// If `sigma_px` is not a positive number.
    pub fn new(form: Form, sigma_px: f32) -> Self {
        assert!(sigma_px.is_finite() && sigma_px > 0.0, "a blur of {sigma_px} pixels");
        let reach = (4.0 * sigma_px).ceil() as usize;
        let mut kernel: Vec<f32> = (0..=reach)
            .map(|x| libm::expf(-0.5 * (x * x) as f32 / (sigma_px * sigma_px)))
            .collect();
        let sum = 2.0 * kernel.iter().sum::<f32>() - kernel[0];
        kernel.iter_mut().for_each(|weight| *weight /= sum);
        let across = vec![0.0; form.shape.bytes() / 3];
        Blur { form, sigma_px, kernel, across }
    }

    /// Standard deviation, in pixels.
    pub fn sigma_px(&self) -> f32 {
        self.sigma_px
    }
}

impl Predictor for Blur {
    fn describe(&self) -> String {
        format!("last frame blurred, {} px", self.sigma_px)
    }

    fn form(&self) -> &Form {
        &self.form
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
        let width = usize::from(self.form.shape.width);
        for (last, next) in last_frames(&self.form, clips, frames, next) {
            let planes = last.chunks_exact(self.across.len());
            for (last, next) in planes.zip(next.chunks_exact_mut(self.across.len())) {
                blur_rows(last, width, &self.kernel, &mut self.across);
                blur_columns(&self.across, width, &self.kernel, next);
            }
        }
        Ok(())
    }
}

fn blur_rows(plane: &[f32], width: usize, kernel: &[f32], out: &mut [f32]) {
    for (row, out) in plane.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for (x, out) in out.iter_mut().enumerate() {
            *out = kernel[0] * row[x];
            for (reach, weight) in kernel.iter().enumerate().skip(1) {
                let (left, right) = (x.saturating_sub(reach), (x + reach).min(width - 1));
                *out += weight * (row[left] + row[right]);
            }
        }
    }
}

fn blur_columns(plane: &[f32], width: usize, kernel: &[f32], out: &mut [f32]) {
    let height = plane.len() / width;
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        let row = |y: usize| &plane[y * width..][..width];
        for (out, middle) in out.iter_mut().zip(row(y)) {
            *out = kernel[0] * middle;
        }
        for (reach, weight) in kernel.iter().enumerate().skip(1) {
            let (above, below) = (row(y.saturating_sub(reach)), row((y + reach).min(height - 1)));
            for ((out, above), below) in out.iter_mut().zip(above).zip(below) {
                *out += weight * (above + below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::MotionInput;
    use shoal_hal::FrameShape;

    fn blur(width: u16, height: u16, red: &[f32]) -> Vec<f32> {
        let shape = FrameShape { width, height };
        let motion = MotionInput::NONE;
        let form = Form { shape, frames: 1, context: 1, rate_hz: 10.0, motion };
        let mut frames = red.to_vec();
        frames.resize(shape.bytes(), 0.25);
        let mut next = vec![0.0; shape.bytes()];
        Blur::new(form, 0.5).predict(1, &frames, &[], &mut next).unwrap();
        assert!(next[red.len()..].iter().all(|value| (value - 0.25).abs() < 1e-6));
        next.truncate(red.len());
        next
    }

    #[test]
    fn one_bright_point_becomes_the_kernel() {
        let side = (-2.0_f32).exp(); // e^(−1²/2·0.5²)
        let far = (-8.0_f32).exp();
        let sum = 1.0 + 2.0 * side + 2.0 * far;
        let row = blur(7, 1, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert!((row[3] - 1.0 / sum).abs() < 1e-6, "{row:?}");
        assert!((row[2] - side / sum).abs() < 1e-6 && (row[4] - row[2]).abs() < 1e-7);
        let column = blur(1, 7, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(row.iter().zip(&column).all(|(a, b)| (a - b).abs() < 1e-7));
    }
}
