//! What a camera world model reads and writes: the form into which clips are brought for it.

use crate::clip::Footage;
use crate::package::{Column, Description, Field, Layout};
use shoal_hal::{FrameShape, Motion};

/// The inputs of a camera world model, as its package describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Size of a frame.
    pub shape: FrameShape,
    /// Frames that the model reads: the last so many rows before the next frame.
    pub frames: usize,
    /// Rows before the next frame that a clip has: at least `frames`.
    pub context: usize,
    /// Rows per second.
    pub rate_hz: f64,
    /// What is known of the motion.
    pub motion: MotionInput,
}

/// Rows of numbers of the motion: `[rows, columns]`, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct MotionInput {
    /// Rows of a sample.
    pub rows: usize,
    /// Rows from the newest given row to the next frame's; 0 gives the motion at the next frame.
    pub lag: usize,
    /// What stands in each column; none if the model reads no motion.
    pub columns: Vec<Column>,
}

impl MotionInput {
    /// No motion.
    pub const NONE: MotionInput = MotionInput { rows: 0, lag: 1, columns: Vec::new() };

    /// Speed (30 m/s reads as 1) and steering (rad) at the last frame: the default world model's.
    pub fn speed_and_steering() -> Self {
        let column = |field, scale| Column::Field { field, scale, offset: 0.0 };
        let columns = vec![column(Field::SpeedMS, 1.0 / 30.0), column(Field::SteeringRad, 1.0)];
        MotionInput { rows: 1, lag: 1, columns }
    }

    /// Values of one sample.
    pub fn len(&self) -> usize {
        self.rows * self.columns.len()
    }

    /// Whether the model reads no motion.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the rows of one sample; `at(k)` is the motion k rows before the next frame. What is not
    /// known is 0.
    ///
    /// # Panics
    /// If `values` has another length than [`MotionInput::len`].
    pub fn write(&self, at: impl Fn(usize) -> Option<Motion>, values: &mut [f32]) {
        assert_eq!(values.len(), self.len(), "values of one sample");
        if self.is_empty() {
            return;
        }
        for (row, values) in values.chunks_exact_mut(self.columns.len()).enumerate() {
            let motion = at(self.lag + self.rows - 1 - row).unwrap_or_default();
            for (value, column) in values.iter_mut().zip(&self.columns) {
                *value = column.value(&motion).unwrap_or(0.0);
            }
        }
    }
}

/// Why a package is not one of a camera world model, or of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The model sees no frames.
    #[error("model.toml binds no [frames]: only a model that sees frames can predict the next one")]
    NoFrames,
    /// The model predicts no frame.
    #[error("model.toml binds no [next_frame]: skill is measured on predicted frames")]
    NoNextFrame,
    /// The model says nothing on the grid.
    #[error(
        "model.toml binds no [action] with `grid`: only a policy on it is compared with drivers"
    )]
    NoPolicy,
    /// The model is given what it is to foresee.
    #[error("signals.lag is 0: a policy acts before the next row comes")]
    Given,
}

impl Form {
    /// The form of the camera world model that a package describes.
    ///
    /// # Errors
    /// [`FormError`] if it reads or predicts no frames.
    pub fn of(description: &Description) -> Result<Self, FormError> {
        let form = Form::read(description)?;
        description.next_frame.as_ref().ok_or(FormError::NoNextFrame)?;
        Ok(form)
    }

    /// The form of the policy that a package describes: what it reads, the newest row being the one it acts in.
    ///
    /// # Errors
    /// [`FormError`] if it sees no frames, or says nothing on the grid.
    pub fn of_policy(description: &Description) -> Result<Self, FormError> {
        let form = Form::read(description)?;
        if !description.acts() {
            return Err(FormError::NoPolicy);
        }
        if !form.motion.is_empty() && form.motion.lag == 0 {
            return Err(FormError::Given);
        }
        Ok(form)
    }

    /// The form of whichever a package describes that a vehicle can carry: a world model, or a policy that foresees nothing.
    ///
    /// # Errors
    /// [`FormError`] if it is neither.
    pub fn carried(description: &Description) -> Result<Self, FormError> {
        if description.acts() && !description.foresees() {
            Self::of_policy(description)
        } else {
            Self::of(description)
        }
    }

    fn read(description: &Description) -> Result<Self, FormError> {
        let frames = description.frames.as_ref().ok_or(FormError::NoFrames)?;
        let motion = description.signals.as_ref().map_or(MotionInput::NONE, |signals| {
            let columns = signals.columns.clone();
            MotionInput { rows: signals.rows, lag: signals.lag, columns }
        });
        Ok(Form {
            shape: frames.shape,
            frames: frames.count,
            context: description.context(),
            rate_hz: description.rate_hz,
            motion,
        })
    }

    /// Values of one sample's frames, `frames × 3 × height × width`.
    pub fn frames_len(&self) -> usize {
        self.frames * self.shape.bytes()
    }

    /// Writes the motion of the clip whose next frame is `next`.
    ///
    /// # Panics
    /// If `next` is nearer to the beginning of the footage than a clip reaches, or `values` has
    /// another length than [`MotionInput::len`].
    pub fn write_motion(&self, footage: &dyn Footage, next: usize, values: &mut [f32]) {
        self.motion.write(|back| footage.motion(next - back), values);
    }
}

/// Brings frames of planes in `[0, 1]` (`[count, 3, height, width]`) into a model's order and range.
///
/// # Panics
/// If the lengths differ or are not whole frames of `shape`.
pub fn arrange(
    planes: &[f32],
    shape: FrameShape,
    layout: Layout,
    range: [f32; 2],
    out: &mut [f32],
) {
    assert_eq!(planes.len(), out.len(), "as many values as the model reads");
    let [low, high] = range;
    for_each_value(planes.len(), shape, layout, |plane, place| {
        out[place] = low + (high - low) * planes[plane];
    });
}

/// Brings a model's predicted frames back into planes, undoing [`arrange`]; the values are clamped
/// to `[0, 1]`; a NaN stays one.
///
/// # Panics
/// If the lengths differ or are not whole frames of `shape`.
pub fn restore(
    out: &[f32],
    shape: FrameShape,
    layout: Layout,
    range: [f32; 2],
    planes: &mut [f32],
) {
    assert_eq!(planes.len(), out.len(), "as many values as the model writes");
    let [low, high] = range;
    for_each_value(planes.len(), shape, layout, |plane, place| {
        planes[plane] = ((out[place] - low) / (high - low)).clamp(0.0, 1.0);
    });
}

/// Calls `pair` with the place of every value in planes and in `layout`.
fn for_each_value(
    values: usize,
    shape: FrameShape,
    layout: Layout,
    mut pair: impl FnMut(usize, usize),
) {
    let (size, area) = (shape.bytes(), shape.bytes() / 3);
    assert!(size > 0 && values.is_multiple_of(size), "whole frames");
    let channels = values / area;
    match layout {
        Layout::Nchw => (0..values).for_each(|place| pair(place, place)),
        Layout::Nhwc => {
            for plane in 0..values {
                pair(plane, plane % area * channels + plane / area);
            }
        }
        Layout::Nthwc => {
            for plane in 0..values {
                let (frame, rest) = (plane / size, plane % size);
                pair(plane, frame * size + rest % area * 3 + rest / area);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_motion_reads_as_zeros() {
        let input = MotionInput::speed_and_steering();
        let mut values = [9.0; 2];
        let motion = Motion { speed_m_s: Some(15.0), ..Motion::default() };
        input.write(|_| Some(motion), &mut values);
        assert_eq!(values, [0.5, 0.0]);
        input.write(|_| None, &mut values);
        assert_eq!(values, [0.0, 0.0]);
    }

    #[test]
    fn motion_rows_end_lag_rows_before_the_next_frame() {
        let column = Column::Field { field: Field::SpeedMS, scale: 1.0, offset: 0.0 };
        let input = MotionInput { rows: 3, lag: 2, columns: vec![column] };
        let mut values = [0.0; 3];
        let speed = |back: usize| Motion { speed_m_s: Some(back as f32), ..Motion::default() };
        input.write(|back| Some(speed(back)), &mut values);
        assert_eq!(values, [4.0, 3.0, 2.0]);
    }

    #[test]
    fn arranged_frames_are_restored_in_every_layout() {
        let shape = FrameShape { width: 2, height: 1 };
        // Two frames of two pixels: r r g g b b.
        let planes: Vec<f32> = (0..12).map(|value| value as f32 / 16.0).collect();
        let arranged = |layout| {
            let (mut out, mut back) = ([0.0; 12], [0.0; 12]);
            arrange(&planes, shape, layout, [-8.0, 8.0], &mut out);
            restore(&out, shape, layout, [-8.0, 8.0], &mut back);
            assert_eq!(back[..], planes[..]);
            out.map(|value| (value + 8.0) as i32)
        };
        assert_eq!(arranged(Layout::Nchw), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(arranged(Layout::Nhwc), [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
        assert_eq!(arranged(Layout::Nthwc), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn restored_frames_are_clamped() {
        let shape = FrameShape { width: 1, height: 1 };
        let mut planes = [9.0; 3];
        restore(&[-0.5, 0.25, 1.5], shape, Layout::Nchw, [0.0, 1.0], &mut planes);
        assert_eq!(planes, [0.0, 0.25, 1.0]);
    }

    #[test]
    fn a_package_without_frames_has_no_form() {
        let parse = |toml| Description::parse("model.toml", toml, "test").unwrap();
        let blind = parse(
            "rate_hz = 10.0\n[signals]\ninput = 's'\ncolumns = [{ field = 'speed_m_s' }]\n\
             [tokens]\ninput = 't'\nfield = 'speed_m_s'\nlow = 0.0\nhigh = 1.0\nbins = 8\n\
             [next_token]\noutput = 'o'\n",
        );
        assert_eq!(Form::of(&blind), Err(FormError::NoFrames));
        let seeing = parse(
            "rate_hz = 10.0\n[frames]\ninput = 'frames'\ncount = 4\nwidth = 128\nheight = 64\n\
             [next_frame]\noutput = 'next'\n",
        );
        let form = Form::of(&seeing).unwrap();
        assert_eq!((form.frames, form.context, form.motion.len()), (4, 4, 0));
    }
}
