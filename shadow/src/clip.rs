//! Clips: short runs of consecutive frames, and frames as the model sees them.

use shoal_hal::{Drive, FrameShape, Motion, Part, Span, Split};
use std::borrow::Cow;

/// Frames of one road in order: a recorded or generated drive, a replayed span, a run of a pack.
pub trait Footage {
    /// Size of every frame.
    fn shape(&self) -> FrameShape;
    /// Frames per second.
    fn rate_hz(&self) -> f64;
    /// How many frames there are.
    fn len(&self) -> usize;
    /// Whether there is no frame.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Frame `index`: RGB, u8, rows of pixels.
    ///
    /// # Panics
    /// If `index` is not below [`Footage::len`].
    fn frame(&self, index: usize) -> &[u8];
    /// The motion at frame `index`, if it was recorded.
    ///
    /// # Panics
    /// If `index` is not below [`Footage::len`].
    fn motion(&self, index: usize) -> Option<Motion>;
}

impl Footage for Drive {
    fn shape(&self) -> FrameShape {
        self.shape
    }

    fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    fn len(&self) -> usize {
        Drive::len(self)
    }

    fn frame(&self, index: usize) -> &[u8] {
        Drive::frame(self, index)
    }

    fn motion(&self, index: usize) -> Option<Motion> {
        Drive::motion(self, index)
    }
}

/// Why bytes are not the frames they were said to be.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FramesError {
    /// The bytes do not make whole frames of the shape.
    #[error(
        "{bytes} bytes are not whole frames of {width}×{height} RGB ({frame_bytes} bytes each)"
    )]
    Partial { bytes: usize, width: u16, height: u16, frame_bytes: usize },
    /// There must be one motion (or its absence) per frame, or none at all.
    #[error("{motions} motions for {frames} frames")]
    Motions { motions: usize, frames: usize },
    /// The rate must be a positive number.
    #[error("frame rate {rate_hz} Hz is not a positive number")]
    Rate { rate_hz: f64 },
}

/// Frames held in memory one after another: what the replay store and a pack's parts hand over.
#[derive(Clone, Debug)]
pub struct Frames {
    shape: FrameShape,
    rate_hz: f64,
    bytes: Vec<u8>,
    motion: Vec<Option<Motion>>,
}

impl Frames {
    /// Takes frames of `shape`, row-major RGB, one after another, and a motion per frame; an empty
    /// `motion` means that none is known.
    ///
    /// # Errors
    /// [`FramesError`] if the bytes or motions do not match, or the rate is not a positive number.
    pub fn new(
        shape: FrameShape,
        rate_hz: f64,
        bytes: Vec<u8>,
        motion: Vec<Option<Motion>>,
    ) -> Result<Self, FramesError> {
        let frame_bytes = shape.bytes();
        if frame_bytes == 0 || !bytes.len().is_multiple_of(frame_bytes) {
            let (width, height) = (shape.width, shape.height);
            return Err(FramesError::Partial { bytes: bytes.len(), width, height, frame_bytes });
        }
        let frames = bytes.len() / frame_bytes;
        if !motion.is_empty() && motion.len() != frames {
            return Err(FramesError::Motions { motions: motion.len(), frames });
        }
        if !(rate_hz.is_finite() && rate_hz > 0.0) {
            return Err(FramesError::Rate { rate_hz });
        }
        Ok(Frames { shape, rate_hz, bytes, motion })
    }
}

impl Footage for Frames {
    fn shape(&self) -> FrameShape {
        self.shape
    }

    fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.shape.bytes()
    }

    fn frame(&self, index: usize) -> &[u8] {
        let size = self.shape.bytes();
        &self.bytes[index * size..(index + 1) * size]
    }

    fn motion(&self, index: usize) -> Option<Motion> {
        assert!(index < self.len(), "frame {index} of {}", self.len());
        self.motion.get(index).copied().flatten()
    }
}

/// One clip: where it starts, and the span that it must not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Index of its first frame.
    pub first: usize,
    /// Number of its span among those of its [`Clips`].
    pub span: usize,
}

/// The clips of one road: every start inside one of its spans from which all frames are in that span.
#[derive(Clone)]
pub struct Clips<'a> {
    footage: &'a dyn Footage,
    spans: Cow<'a, [Span]>,
    context: usize,
    ahead: usize,
}

impl<'a> Clips<'a> {
    /// Clips of `context` past frames and `ahead` frames after them, in the given spans.
    ///
    /// # Panics
    /// If a span ends before it starts or outside the footage, or `context` or `ahead` is 0.
    pub fn of_spans(
        footage: &'a dyn Footage,
        spans: impl Into<Cow<'a, [Span]>>,
        context: usize,
        ahead: usize,
    ) -> Self {
        let spans = spans.into();
        assert!(context > 0 && ahead > 0, "a clip has past frames and a next one");
        for span in spans.iter() {
            assert!(
                span.first <= span.last && span.last < footage.len(),
                "{span:?} in the footage"
            );
        }
        Clips { footage, spans, context, ahead }
    }

    /// Clips of one part of a drive.
    pub fn of_part(
        drive: &'a Drive,
        split: &'a Split,
        part: Part,
        context: usize,
        ahead: usize,
    ) -> Self {
        Clips::of_spans(drive, split.spans(part), context, ahead)
    }

    /// Clips of all frames as one span: footage nobody measures on, replayed spans.
    pub fn of_all(footage: &'a dyn Footage, context: usize, ahead: usize) -> Self {
        let spans = match footage.len() {
            0 => Vec::new(),
            frames => vec![Span { first: 0, last: frames - 1 }],
        };
        Clips::of_spans(footage, spans, context, ahead)
    }

    /// The same spans with another number of frames after the past ones.
    pub fn with_ahead(&self, ahead: usize) -> Self {
        assert!(ahead > 0, "a clip has a next frame");
        Clips { ahead, ..self.clone() }
    }

    /// The road.
    pub fn footage(&self) -> &'a dyn Footage {
        self.footage
    }

    /// Spans that clips stay inside.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Past frames of a clip.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Frames after the past ones.
    pub fn ahead(&self) -> usize {
        self.ahead
    }

    /// How many clips there are.
    pub fn len(&self) -> usize {
        self.spans.iter().map(|&span| self.starts(span)).sum()
    }

    /// Whether there is no clip.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Clip number `index`, in order of time.
    pub fn get(&self, index: usize) -> Option<Clip> {
        let mut left = index;
        for (number, &span) in self.spans.iter().enumerate() {
            let starts = self.starts(span);
            if left < starts {
                return Some(Clip { first: span.first + left, span: number });
            }
            left -= starts;
        }
        None
    }

    /// All clips in order of time.
    pub fn iter(&self) -> impl Iterator<Item = Clip> + '_ {
        self.spans.iter().enumerate().flat_map(|(number, &span)| {
            (0..self.starts(span))
                .map(move |offset| Clip { first: span.first + offset, span: number })
        })
    }

    /// Mean over the clips of the error of the last past frame against the next one.
    ///
    /// `None` if there is no clip.
    pub fn copy_error_mean(&self) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0_u32);
        for clip in self.iter() {
            let next = clip.first + self.context;
            sum += copy_error(self.footage.frame(next - 1), self.footage.frame(next));
            count += 1;
        }
        (count > 0).then(|| sum / f64::from(count))
    }

    fn starts(&self, span: Span) -> usize {
        (span.last - span.first + 2).saturating_sub(self.context + self.ahead)
    }
}

/// Mean squared difference of two frames, RGB in `[0, 1]`.
///
/// # Panics
/// If they differ in size or are empty.
pub fn copy_error(before: &[u8], after: &[u8]) -> f64 {
    assert_eq!(before.len(), after.len(), "frames of one size");
    assert!(!before.is_empty(), "a frame has pixels");
    let squares: u64 = before
        .chunks(4096)
        .zip(after.chunks(4096))
        .map(|(before, after)| {
            let squares: u32 = before
                .iter()
                .zip(after)
                .map(|(&a, &b)| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b)))
                .sum();
            u64::from(squares)
        })
        .sum();
    squares as f64 / (before.len() as f64 * 255.0 * 255.0)
}

/// Peak signal-to-noise ratio of a mean squared error in `[0, 1]` units, in dB: −10·log₁₀(error).
///
/// Infinite for an error of 0.
pub fn psnr_db(error: f64) -> f64 {
    -10.0 * libm::log10(error)
}

/// Writes a frame (u8, rows of RGB pixels) as three planes of f32 in `[0, 1]`: red, green, blue.
///
/// # Panics
/// If `planes` does not have as many values as `frame` has bytes, or these are not whole pixels.
pub fn to_planes(frame: &[u8], planes: &mut [f32]) {
    assert_eq!(frame.len(), planes.len(), "one value per byte");
    assert!(frame.len().is_multiple_of(3), "whole RGB pixels");
    let (red, rest) = planes.split_at_mut(frame.len() / 3);
    let (green, blue) = rest.split_at_mut(frame.len() / 3);
    for (((pixel, red), green), blue) in frame.chunks_exact(3).zip(red).zip(green).zip(blue) {
        *red = f32::from(pixel[0]) / 255.0;
        *green = f32::from(pixel[1]) / 255.0;
        *blue = f32::from(pixel[2]) / 255.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: FrameShape = FrameShape { width: 1, height: 1 };

    fn road(frames: u8) -> Frames {
        Frames::new(SHAPE, 10.0, (0..frames).flat_map(|i| [i; 3]).collect(), Vec::new()).unwrap()
    }

    #[test]
    fn a_clip_never_crosses_a_cut() {
        let road = road(20);
        let spans = vec![
            Span { first: 2, last: 6 },
            Span { first: 8, last: 11 },
            Span { first: 13, last: 18 },
        ];
        let clips = Clips::of_spans(&road, spans.clone(), 4, 1);

        let starts: Vec<usize> = clips.iter().map(|clip| clip.first).collect();
        assert_eq!(starts, [2, 13, 14]); // The middle span has four frames: no clip of five.
        assert_eq!(clips.len(), 3);
        for (index, clip) in clips.iter().enumerate() {
            assert_eq!(clips.get(index), Some(clip));
            assert!(
                clip.first >= spans[clip.span].first && clip.first + 4 <= spans[clip.span].last
            );
        }
        assert_eq!(clips.get(3), None);
        assert_eq!(clips.with_ahead(2).iter().map(|clip| clip.first).collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn planes_are_red_then_green_then_blue_from_zero_to_one() {
        let mut planes = [9.0; 6];
        to_planes(&[0, 51, 255, 102, 153, 204], &mut planes);
        assert_eq!(planes, [0.0, 0.4, 0.2, 0.6, 1.0, 0.8]);
    }

    #[test]
    fn the_copy_error_of_frames_half_way_apart_is_that_of_the_hand() {
        assert_eq!(copy_error(&[0, 0, 0], &[51, 51, 51]), 0.04);
        assert_eq!(copy_error(&[255; 6], &[0; 6]), 1.0);
        assert!((psnr_db(0.001) - 30.0).abs() < 1e-12);
        assert_eq!(psnr_db(0.0), f64::INFINITY);
        // Frames 0, 1, 2 …: every step has the error 1/255².
        let mean = Clips::of_all(&road(9), 4, 1).copy_error_mean().unwrap();
        assert!((mean * 255.0 * 255.0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn bytes_that_are_no_whole_frames_are_refused() {
        let two = FrameShape { width: 2, height: 1 };
        assert!(matches!(
            Frames::new(two, 10.0, vec![0; 7], Vec::new()),
            Err(FramesError::Partial { bytes: 7, frame_bytes: 6, .. })
        ));
        assert!(matches!(
            Frames::new(two, 10.0, vec![0; 12], vec![None]),
            Err(FramesError::Motions { motions: 1, frames: 2 })
        ));
        assert!(matches!(
            Frames::new(two, f64::NAN, vec![0; 12], Vec::new()),
            Err(FramesError::Rate { .. })
        ));
        let none = FrameShape { width: 0, height: 3 };
        assert!(Frames::new(none, 10.0, Vec::new(), Vec::new()).is_err());
    }
}
