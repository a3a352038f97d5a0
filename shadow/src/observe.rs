//! Prediction against what came, policy against driver.
//!
//! An [`Observer`] is given what a model put out and what the vehicle then sensed; who runs the
//! model is none of its business, and it has no way to act. Nothing here allocates per frame.

use std::num::NonZeroU32;

use shoal_hal::{FrameShape, Motion};

use crate::grid::{BINS, Geometry};
use crate::opinion::{Did, Opinion};
use crate::package::{Action, Bins, Description, Field, Layout, NextFrame, Reading, TokenKind};
use crate::quantile::{Calibrated, Calibration};

/// Rows and columns of the parts that a frame's surprise is cut into.
pub const PARTS: usize = 3;

/// Added to the error of a copy before dividing by it: the noise of a camera at rest.
pub const COPY_ERROR_FLOOR: f64 = 3e-4;

/// How far a predicted frame was from the one that came.
///
/// Errors are mean squared differences in RGB `[0, 1]`, the prediction clamped to that range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surprise {
    /// Error of the prediction.
    pub error: f64,
    /// Error of the last frame shown again.
    pub copy_error: f64,
    /// `error ÷ (copy_error + `[`COPY_ERROR_FLOOR`]`)`: below 1 the model knew more than 'nothing
    /// moves'.
    pub value: f32,
    /// The same quotient with the error of each third of the rows (far to near) and of the columns
    /// (left to right): where the surprise was.
    pub parts: [[f32; PARTS]; PARTS],
}

/// Why an output could not be compared with what came.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The output or a frame is not of the size that the package says.
    #[error("{what} has {got} values, expected {want}")]
    Size { what: &'static str, got: usize, want: usize },
    /// The model put out a NaN or an infinity.
    #[error("output `{output}` has a value that is not finite, at index {index}")]
    NotFinite { output: String, index: usize },
    /// The package binds no such output.
    #[error("the package has no table [{table}]")]
    Unbound { table: &'static str },
}

/// How unusual a value must be and against how many it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserveOptions {
    /// Moments that a rank is taken among: the last so many to twice as many.
    pub memory: NonZeroU32,
    /// Moments before the first rank is given.
    pub moments_min: u32,
}

/// Compares what one model put out with what came, and ranks it among what it saw before.
#[derive(Clone, Debug)]
pub struct Observer {
    frame: Option<(FrameShape, NextFrame)>,
    token: Option<(String, Field, Bins)>,
    action: Option<Action>,
    geometry: Geometry,
    surprise: Calibration,
    disagreement: Calibration,
}

impl Observer {
    /// An observer of the outputs that `description` binds.
    #[must_use]
    pub fn new(description: &Description, options: &ObserveOptions) -> Self {
        let calibration = Calibration::new(options.memory, u64::from(options.moments_min));
        let shape = description.frames.as_ref().map(|frames| frames.shape);
        let next_token = description.next_token.as_ref().map(|next| next.output.clone());
        let tokens = description.tokens.as_ref().and_then(|tokens| match tokens.kind {
            TokenKind::Motion { field, bins } => Some((field, bins)),
            // A vehicle's camera gives frames, not codes.
            TokenKind::Codes(_) => None,
        });
        Self {
            frame: shape.zip(description.next_frame.clone()),
            token: next_token.zip(tokens).map(|(output, (field, bins))| (output, field, bins)),
            action: description.action.clone(),
            geometry: Geometry::default(),
            surprise: calibration.clone(),
            disagreement: calibration,
        }
    }

    /// Compares a predicted frame with the one that `came`; `last` is the frame before it.
    ///
    /// # Shapes
    /// `prediction` is one sample of the `next_frame` output in its layout and range, frames are
    /// RGB, HWC, of the package's size.
    /// # Errors
    /// [`ObserveError`]; nothing was counted then.
    pub fn frame(
        &mut self,
        prediction: &[f32],
        last: &[u8],
        came: &[u8],
    ) -> Result<(Surprise, Calibrated), ObserveError> {
        let unbound = ObserveError::Unbound { table: "next_frame" };
        let (shape, next) = self.frame.as_ref().ok_or(unbound)?;
        let surprise = surprise(*shape, next, prediction, last, came)?;
        Ok((surprise, self.surprise.rank(surprise.value)))
    }

    /// Compares predicted logits with the token that came: the surprise is −ln of the probability
    /// that the model gave it, in nats. `None` if the vehicle does not know the field.
    ///
    /// # Shapes
    /// `logits` is one sample's last row of the `next_token` output, `[bins]`.
    /// # Errors
    /// [`ObserveError`]; nothing was counted then.
    pub fn token(
        &mut self,
        logits: &[f32],
        came: &Motion,
    ) -> Result<Option<Calibrated>, ObserveError> {
        let unbound = ObserveError::Unbound { table: "next_token" };
        let (output, field, bins) = self.token.as_ref().ok_or(unbound)?;
        let Some(value) = field.read(came) else { return Ok(None) };
        let nats = nats(output, logits, bins, f64::from(value))?;
        Ok(Some(self.surprise.rank(nats)))
    }

    /// Compares what the model would have done with what the driver did: the distance on the grid
    /// ([`Opinion::distance`]), the difference in tolerances, or the nats of the driver's bin. `None` if the vehicle does not
    /// know what it takes.
    ///
    /// # Shapes
    /// `output` is one sample of the `action` output; of a value only the first counts.
    /// # Errors
    /// [`ObserveError`]; nothing was counted then.
    pub fn action(
        &mut self,
        output: &[f32],
        driver: &Motion,
    ) -> Result<Option<Calibrated>, ObserveError> {
        let action = self.action.as_ref().ok_or(ObserveError::Unbound { table: "action" })?;
        let disagreement = match &action.reading {
            Reading::Logits { field, bins } => {
                let Some(did) = field.read(driver) else { return Ok(None) };
                nats(&action.output, output, bins, f64::from(did))?
            }
            Reading::Value { field, scale, tolerance } => {
                let Some(did) = field.read(driver) else { return Ok(None) };
                size("the action's output", output.len().min(1), 1)?;
                finite(&action.output, &output[..1])?;
                ((output[0] * scale - did) / tolerance).abs()
            }
            Reading::Grid | Reading::Steering(_) => {
                let opinion = opinion(action, output)?;
                return Ok(self.opinion(&opinion, driver));
            }
        };
        Ok(Some(self.disagreement.rank(disagreement)))
    }

    /// The same of an opinion that was read already: its distance from what the driver did; `None` if the vehicle does not know
    /// that.
    pub fn opinion(&mut self, opinion: &Opinion, driver: &Motion) -> Option<Calibrated> {
        let distance = opinion.distance(&Did::of(driver, &self.geometry))?;
        Some(self.disagreement.rank(distance as f32))
    }

    /// What a motion says the driver did, on the grid.
    #[must_use]
    pub fn did(&self, driver: &Motion) -> Did {
        Did::of(driver, &self.geometry)
    }

    /// The bin of the curvature that the model proposed (its median); `None` if it says nothing on the grid.
    #[must_use]
    pub fn proposed(&self, output: &[f32]) -> Option<usize> {
        let opinion = Opinion::read(&self.action.as_ref()?.reading, output)?;
        Some(opinion.curvature_median())
    }

    /// The same observer in a vehicle of another [`Geometry`]: it says which curvature the driver steers.
    #[must_use]
    pub fn with_geometry(mut self, geometry: Geometry) -> Self {
        self.geometry = geometry;
        self
    }
}

fn surprise(
    shape: FrameShape,
    next: &NextFrame,
    prediction: &[f32],
    last: &[u8],
    came: &[u8],
) -> Result<Surprise, ObserveError> {
    size("the predicted frame", prediction.len(), shape.bytes())?;
    size("the last frame", last.len(), shape.bytes())?;
    size("the frame that came", came.len(), shape.bytes())?;
    finite(&next.output, prediction)?;
    let mut sums = [[0.0_f64; PARTS]; PARTS];
    let mut copy_sum = 0.0_f64;
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    for row in 0..height {
        for (part, sum) in sums[row * PARTS / height].iter_mut().enumerate() {
            let columns = part * width / PARTS..(part + 1) * width / PARTS;
            let (error, copy) = row_errors(shape, next, row, columns, prediction, last, came);
            *sum += f64::from(error);
            copy_sum += f64::from(copy);
        }
    }
    let values = shape.bytes() as f64;
    let copy_error = copy_sum / values;
    let error = sums.iter().flatten().sum::<f64>() / values;
    let scale = 1.0 / (copy_error + COPY_ERROR_FLOOR);
    let parts = std::array::from_fn(|y| {
        std::array::from_fn(|x| (sums[y][x] / part_values(shape, y, x) * scale) as f32)
    });
    Ok(Surprise { error, copy_error, value: (error * scale) as f32, parts })
}

/// Sums of squared differences over some columns of one row: prediction and copy against `came`.
fn row_errors(
    shape: FrameShape,
    next: &NextFrame,
    row: usize,
    columns: std::ops::Range<usize>,
    prediction: &[f32],
    last: &[u8],
    came: &[u8],
) -> (f32, f32) {
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    let [low, high] = next.range;
    let (mut error, mut copy) = (0.0_f32, 0.0_f32);
    for column in columns {
        let pixel = row * width + column;
        for channel in 0..3 {
            let at = 3 * pixel + channel;
            let predicted = match next.layout {
                Layout::Nchw => prediction[channel * width * height + pixel],
                Layout::Nhwc | Layout::Nthwc => prediction[at],
            };
            let predicted = ((predicted - low) / (high - low)).clamp(0.0, 1.0);
            let truth = f32::from(came[at]) / 255.0;
            error += (predicted - truth) * (predicted - truth);
            let still = f32::from(last[at]) / 255.0;
            copy += (still - truth) * (still - truth);
        }
    }
    (error, copy)
}

/// Values of one part, at least 1: a frame narrower than the parts leaves some empty.
fn part_values(shape: FrameShape, y: usize, x: usize) -> f64 {
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    let rows = (0..height).filter(|row| row * PARTS / height == y).count();
    let columns = (x + 1) * width / PARTS - x * width / PARTS;
    (3 * rows * columns).max(1) as f64
}

/// What the output says on the grid.
fn opinion(action: &Action, output: &[f32]) -> Result<Opinion, ObserveError> {
    let values = match action.reading {
        Reading::Grid => BINS,
        Reading::Steering(_) | Reading::Value { .. } | Reading::Logits { .. } => 1,
    };
    size("the action's output", output.len().min(values), values)?;
    finite(&action.output, output)?;
    Opinion::read(&action.reading, output).ok_or(ObserveError::Unbound { table: "action" })
}

/// −ln softmax of the value's bin; at most what an f32 holds.
fn nats(output: &str, logits: &[f32], bins: &Bins, value: f64) -> Result<f32, ObserveError> {
    size("a row of logits", logits.len(), bins.count())?;
    finite(output, logits)?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| libm::exp(f64::from(logit - largest))).sum();
    let given = f64::from(logits[bins.token(value)] - largest);
    Ok((libm::log(sum) - given).max(0.0) as f32)
}

fn size(what: &'static str, got: usize, want: usize) -> Result<(), ObserveError> {
    if got == want { Ok(()) } else { Err(ObserveError::Size { what, got, want }) }
}

fn finite(output: &str, values: &[f32]) -> Result<(), ObserveError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ObserveError::NotFinite { output: output.into(), index }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: &str = "
        rate_hz = 10
        [frames]\ninput = 'frames'\nwidth = 7\nheight = 6
        [next_frame]\noutput = 'next'\n";
    const SHAPE: FrameShape = FrameShape { width: 7, height: 6 };

    fn observer(source: &str) -> Observer {
        let description = Description::parse("model.toml", source, "test").unwrap();
        let options = ObserveOptions { memory: NonZeroU32::new(1000).unwrap(), moments_min: 3 };
        Observer::new(&description, &options)
    }

    fn frame(seed: usize) -> Vec<u8> {
        (0..SHAPE.bytes()).map(|index| ((index * 37 + seed * 101) % 251) as u8).collect()
    }

    fn planes(frame: &[u8], range: [f32; 2]) -> Vec<f32> {
        let value = |byte: u8| range[0] + f32::from(byte) / 255.0 * (range[1] - range[0]);
        let channel = |c| frame.iter().skip(c).step_by(3).map(move |byte| value(*byte));
        (0..3).flat_map(channel).collect()
    }

    #[test]
    fn prediction_of_what_came_is_no_surprise() {
        let (last, came) = (frame(1), frame(2));
        let (surprise, _) =
            observer(CAMERA).frame(&planes(&came, [0.0, 1.0]), &last, &came).unwrap();
        assert!(surprise.error < 1e-12, "{surprise:?}");
        assert!(surprise.value < 1e-8, "{surprise:?}");
    }

    #[test]
    fn prediction_that_nothing_moves_has_the_copys_error() {
        let (last, came) = (frame(1), frame(2));
        let (surprise, _) =
            observer(CAMERA).frame(&planes(&last, [0.0, 1.0]), &last, &came).unwrap();
        assert!((surprise.error - surprise.copy_error).abs() < 1e-9);
        assert!((surprise.copy_error - crate::clip::copy_error(&last, &came)).abs() < 1e-7);
        assert!(surprise.value < 1.0 && surprise.value > 0.99);
    }

    #[test]
    fn layout_and_range_do_not_change_the_surprise() {
        let (last, came, other) = (frame(1), frame(2), frame(3));
        let (want, _) = observer(CAMERA).frame(&planes(&other, [0.0, 1.0]), &last, &came).unwrap();

        let signed = format!("{CAMERA}range = [-1.0, 1.0]");
        let (got, _) = observer(&signed).frame(&planes(&other, [-1.0, 1.0]), &last, &came).unwrap();
        assert!((got.value - want.value).abs() < 1e-4, "{got:?} {want:?}");

        let nhwc = format!("{CAMERA}layout = 'nhwc'");
        let values: Vec<f32> = other.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        let (got, _) = observer(&nhwc).frame(&values, &last, &came).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn parts_say_where_the_surprise_was() {
        let (last, came) = (frame(1), frame(2));
        let mut wrong = planes(&came, [0.0, 1.0]);
        wrong[5 * 7 + 6] = 1.0 - wrong[5 * 7 + 6]; // Red of the last row's last pixel.
        let (surprise, _) = observer(CAMERA).frame(&wrong, &last, &came).unwrap();
        assert!(surprise.parts[2][2] > 0.0);
        let elsewhere = surprise.parts.iter().flatten().filter(|part| **part > 1e-6).count();
        assert_eq!(elsewhere, 1, "{surprise:?}");
    }

    #[test]
    fn parts_weighted_by_their_size_make_the_whole() {
        let (last, came, other) = (frame(1), frame(2), frame(3));
        let (surprise, _) =
            observer(CAMERA).frame(&planes(&other, [0.0, 1.0]), &last, &came).unwrap();
        let mut sum = 0.0;
        for (y, row) in surprise.parts.iter().enumerate() {
            for (x, part) in row.iter().enumerate() {
                sum += f64::from(*part) * part_values(SHAPE, y, x);
            }
        }
        assert!((sum / SHAPE.bytes() as f64 - f64::from(surprise.value)).abs() < 1e-5);
    }

    #[test]
    fn unusual_error_gets_a_high_rank_and_only_after_enough_moments() {
        let mut observer = observer(CAMERA);
        let (last, came) = (frame(1), frame(2));
        let still = planes(&last, [0.0, 1.0]);
        for _ in 0..3 {
            assert_eq!(observer.frame(&still, &last, &came).unwrap().1.rank, None);
        }
        let black = vec![0.0; SHAPE.bytes()];
        assert_eq!(observer.frame(&black, &last, &came).unwrap().1.rank, Some(1.0));
    }

    #[test]
    fn output_that_is_not_finite_is_named_and_not_counted() {
        let mut observer = observer(CAMERA);
        let mut prediction = planes(&frame(1), [0.0, 1.0]);
        prediction[17] = f32::NAN;
        let error = observer.frame(&prediction, &frame(1), &frame(2)).unwrap_err();
        assert_eq!(error, ObserveError::NotFinite { output: "next".into(), index: 17 });
        assert_eq!(observer.surprise.quantiles().seen(), 0);
    }

    #[test]
    fn output_of_another_size_is_refused() {
        let mut observer = observer(CAMERA);
        let error = observer.frame(&[0.0; 5], &frame(1), &frame(2)).unwrap_err();
        assert_eq!(error, ObserveError::Size { what: "the predicted frame", got: 5, want: 126 });
        let error = observer.action(&[0.0], &Motion::default()).unwrap_err();
        assert_eq!(error, ObserveError::Unbound { table: "action" });
    }

    const POLICY: &str = "
        rate_hz = 10
        [tokens]\ninput = 't'\nfield = 'speed_m_s'\nlow = 0\nhigh = 2\nbins = 3
        [next_token]\noutput = 'logits'
        [action]\noutput = 'steer'\nfield = 'steering_rad'\nscale = 2\ntolerance = 0.1\n";

    #[test]
    fn disagreement_is_the_difference_in_tolerances() {
        let mut observer = observer(POLICY);
        let driver = Motion { steering_rad: Some(0.2), ..Motion::default() };
        let value = observer.action(&[0.25], &driver).unwrap().unwrap().value;
        assert!((value - 3.0).abs() < 1e-5, "{value}"); // 2 · 0.25 − 0.2 = 0.3 rad
        assert_eq!(observer.action(&[0.25], &Motion::default()).unwrap(), None);
        let error = observer.action(&[f32::INFINITY], &driver).unwrap_err();
        assert_eq!(error, ObserveError::NotFinite { output: "steer".into(), index: 0 });
        assert!(observer.action(&[], &driver).is_err());
    }

    #[test]
    fn disagreement_on_the_grid_is_the_distance_from_the_drivers_bins() {
        let hash = crate::digits::hex(&crate::grid::SHA256);
        let policy = format!("{CAMERA}[action]\noutput = 'logits'\ngrid = '{hash}'\n");
        let geometry = Geometry::new(2.5, 10.0).unwrap();
        let mut observer = observer(&policy).with_geometry(geometry);
        let driver = Motion {
            steering_rad: Some(geometry.steering_rad(0.0) as f32),
            acceleration_m_s2: Some(0.0),
            ..Motion::default()
        };
        let mut logits = vec![0.0; BINS];
        logits[Did::of(&driver, &geometry).bin().unwrap()] = 60.0;
        assert!(observer.action(&logits, &driver).unwrap().unwrap().value < 1e-6);
        let left = Motion { steering_rad: Some(geometry.steering_rad(0.1) as f32), ..driver };
        let value = observer.action(&logits, &left).unwrap().unwrap().value;
        assert!((value - 0.25).abs() < 1e-3, "half of one axis, none of the other: {value}");
        assert_eq!(observer.action(&logits, &Motion::default()).unwrap(), None);
        let error = observer.action(&logits[1..], &driver).unwrap_err();
        let what = "the action's output";
        assert_eq!(error, ObserveError::Size { what, got: BINS - 1, want: BINS });
        logits[3] = f32::NAN;
        let error = observer.action(&logits, &driver).unwrap_err();
        assert_eq!(error, ObserveError::NotFinite { output: "logits".into(), index: 3 });
    }

    #[test]
    fn surprise_of_a_token_is_minus_the_logarithm_of_its_probability() {
        let mut observer = observer(POLICY);
        let came = Motion { speed_m_s: Some(1.0), ..Motion::default() };
        // Probabilities 1/4, 1/2, 1/4, from logits that would overflow if they were not shifted.
        let logits = [200.0, 200.0 + std::f32::consts::LN_2, 200.0];
        let value = observer.token(&logits, &came).unwrap().unwrap().value;
        assert!((value - std::f32::consts::LN_2).abs() < 1e-5, "{value}");
        assert_eq!(observer.token(&logits, &Motion::default()).unwrap(), None);
    }
}
