//! Pictures with times in, frames at the model's rate out: the one way for video, folder and tub.

use std::path::Path;

use super::clock::{Ratio, Ticks, TimeOverflow};
use super::{ReadError, SIDE_PIXELS_MAX};
use crate::backend::area::Area;
use crate::{FrameShape, Motion};

/// Bytes that may still be kept, over all drives of one opening.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) bytes_left: u64,
}

/// Collects the frames of one drive.
pub(super) struct Gather<'a> {
    path: &'a Path,
    shape: FrameShape,
    budget: &'a mut Budget,
    ticks: Ticks,
    unit: Ratio,
    area: Option<Area>,
    frames: Vec<u8>,
    motion: Vec<Option<Motion>>,
}

/// The frames of one drive, and the motion at each.
pub(super) struct Gathered {
    pub(super) frames: Vec<u8>,
    pub(super) motion: Vec<Option<Motion>>,
}

impl<'a> Gather<'a> {
    /// For a drive at `path`, whose times count in `unit` seconds.
    pub(super) fn new(
        path: &'a Path,
        shape: FrameShape,
        rate: Ratio,
        unit: Ratio,
        budget: &'a mut Budget,
    ) -> Self {
        let ticks = Ticks::new(rate);
        let (frames, motion) = (Vec::new(), Vec::new());
        Self { path, shape, budget, ticks, unit, area: None, frames, motion }
    }

    /// How many ticks the source frame `index` stands for: see [`Ticks::take`]. The caller decodes
    /// and [`add`](Self::add)s it when that is not 0.
    pub(super) fn ticks(
        &mut self,
        index: usize,
        this: i64,
        next: Option<i64>,
    ) -> Result<usize, ReadError> {
        let path = || self.path.to_owned();
        let count = self
            .ticks
            .take(self.unit, this, next)
            .map_err(|TimeOverflow| ReadError::TimeTooLarge { path: path(), frame: index })?;
        let bytes = count.checked_mul(self.shape.bytes() as u64);
        match bytes.and_then(|bytes| self.budget.bytes_left.checked_sub(bytes)) {
            Some(left) => self.budget.bytes_left = left,
            None => return Err(ReadError::TooMuch { path: path(), frame: index }),
        }
        usize::try_from(count).map_err(|_| ReadError::TooMuch { path: path(), frame: index })
    }

    /// Adds the picture `rgb` of `width`×`height` for `count` ticks.
    ///
    /// # Panics
    /// If `rgb` has another length: [`check_size`] comes first.
    pub(super) fn add(
        &mut self,
        rgb: &[u8],
        (width, height): (usize, usize),
        motion: Option<Motion>,
        count: usize,
    ) {
        if count == 0 {
            return;
        }
        if !self.area.as_ref().is_some_and(|area| area.is_for(width, height)) {
            self.area = None;
        }
        let area = self.area.get_or_insert_with(|| Area::new(width, height, self.shape));
        let start = self.frames.len();
        area.average(rgb, &mut self.frames);
        for _ in 1..count {
            self.frames.extend_from_within(start..start + self.shape.bytes());
        }
        self.motion.extend(std::iter::repeat_n(motion, count));
    }

    /// What was gathered.
    pub(super) fn finish(self) -> Gathered {
        Gathered { frames: self.frames, motion: self.motion }
    }
}

/// Whether a picture of this size is one we read: at least a pixel, no side beyond
/// [`SIDE_PIXELS_MAX`].
pub(super) fn check_size(path: &Path, width: usize, height: usize) -> Result<(), ReadError> {
    let sides = 1..=SIDE_PIXELS_MAX;
    if sides.contains(&width) && sides.contains(&height) {
        Ok(())
    } else {
        Err(ReadError::PictureSize { path: path.to_owned(), width, height })
    }
}

/// Whether frame `frame`, found at `path`, has the size of those before it.
pub(super) fn check_same_size(
    path: &Path,
    frame: usize,
    (first_width, first_height): (usize, usize),
    (width, height): (usize, usize),
) -> Result<(), ReadError> {
    if (width, height) == (first_width, first_height) {
        return Ok(());
    }
    let path = path.to_owned();
    Err(ReadError::SizeChanged { path, frame, width, height, first_width, first_height })
}
