//! One suite of cases for every backend of [`Moments`]: what the trait promises, checked.

use core::time::Duration;

use crate::{FrameShape, Moments, Motion};

/// What a source of moments did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There are frames, and their shape has no pixel.
    EmptyShape {
        /// Index of the moment.
        moment: usize,
    },
    /// A frame has another number of bytes than its shape says.
    FrameBytes {
        /// Index of the moment.
        moment: usize,
        /// Bytes it has.
        got: usize,
        /// Bytes it should have.
        want: usize,
    },
    /// A value of the motion is NaN or infinite.
    MotionNotFinite {
        /// Index of the moment.
        moment: usize,
    },
    /// The first moment is not at time zero.
    StartNotZero,
    /// A moment is before the one it follows.
    TimeWentBack {
        /// Index of the moment.
        moment: usize,
    },
    /// The shape changed while reading.
    ShapeChanged {
        /// Index of the moment.
        moment: usize,
    },
    /// A moment came after the end.
    EndWasNotTheEnd,
}

/// What a source of moments gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Moments in all.
    pub moments: usize,
    /// Moments with a frame.
    pub frames: usize,
    /// Moments with a motion.
    pub motions: usize,
    /// Time of the last moment.
    pub last: Duration,
}

/// Reads `moments` to its end, or `moments_max` of them, and checks what the trait promises.
///
/// # Errors
/// `Err(Err(error))` is the backend's own error; `Err(Ok(broken))` the promise it did not keep.
pub fn check<M: Moments>(
    moments: &mut M,
    moments_max: usize,
) -> Result<Summary, Result<Broken, M::Error>> {
    let shape = moments.shape();
    let mut summary = Summary::default();
    while summary.moments < moments_max {
        let Some(seen) = look(moments, shape, &summary)? else {
            return if moments.next().map_err(Err)?.is_some() {
                Err(Ok(Broken::EndWasNotTheEnd))
            } else {
                Ok(summary)
            };
        };
        summary = seen;
    }
    Ok(summary)
}

/// Reads and checks one moment; `None` at the end.
fn look<M: Moments>(
    moments: &mut M,
    shape: FrameShape,
    before: &Summary,
) -> Result<Option<Summary>, Result<Broken, M::Error>> {
    let index = before.moments;
    let Some(moment) = moments.next().map_err(Err)? else { return Ok(None) };
    let seen = Summary {
        moments: index + 1,
        frames: before.frames + usize::from(moment.frame.is_some()),
        motions: before.motions + usize::from(moment.motion.is_some()),
        last: moment.since_start,
    };
    let broken = match moment.frame {
        Some(_) if shape.bytes() == 0 => Some(Broken::EmptyShape { moment: index }),
        Some(frame) if frame.len() != shape.bytes() => {
            Some(Broken::FrameBytes { moment: index, got: frame.len(), want: shape.bytes() })
        }
        _ if !moment.motion.as_ref().is_none_or(Motion::is_finite) => {
            Some(Broken::MotionNotFinite { moment: index })
        }
        _ if index == 0 && !seen.last.is_zero() => Some(Broken::StartNotZero),
        _ if seen.last < before.last => Some(Broken::TimeWentBack { moment: index }),
        _ => None,
    };
    if let Some(broken) = broken {
        return Err(Ok(broken));
    }
    if moments.shape() != shape {
        return Err(Ok(Broken::ShapeChanged { moment: index }));
    }
    Ok(Some(seen))
}
