//! A drive held in memory, and how it is cut into tuning, pack and held-out frames.

use core::convert::Infallible;
use core::ops::Range;
use core::time::Duration;

use crate::{FrameShape, Moment, Moments, Motion};

/// Most context frames a split is made for: keeps [`TooShort`]'s search and all sums small.
pub const CONTEXT_FRAMES_MAX: usize = 1000;

/// Frames that a cycle has at least, before a drive is cut into more than one.
const CYCLE_FRAMES_MIN: usize = 120;

/// Most cycles of one drive.
const CYCLES_MAX: usize = 4;

/// Clips that every part of a drive has at least; with fewer the drive is skipped.
const CLIPS_MIN: usize = 2;

/// One drive at the model's size and rate: what the recorded and the synthetic backend both give.
#[derive(Clone, Debug, PartialEq)]
pub struct Drive {
    /// Path relative to the folder of drives, `/` between names; or `synthetic/<region>/<seed>`.
    pub name: String,
    /// SHA-256 of the source: of a file's bytes, of several files' bytes in their order.
    pub source_sha256: [u8; 32],
    /// Frames in a second.
    pub rate_hz: f64,
    /// Shape of every frame.
    pub shape: FrameShape,
    frames: Vec<u8>,
    motion: Vec<Option<Motion>>,
}

impl Drive {
    /// A drive of `frames`, one after another, with the motion at each.
    ///
    /// # Panics
    /// If `frames` is not `motion.len()` frames of `shape`, `rate_hz` is not a positive number or a
    /// motion is not finite: who makes a drive has checked what came from outside.
    #[must_use]
    pub fn new(
        name: String,
        source_sha256: [u8; 32],
        rate_hz: f64,
        shape: FrameShape,
        frames: Vec<u8>,
        motion: Vec<Option<Motion>>,
    ) -> Self {
        assert!(rate_hz.is_finite() && rate_hz > 0.0, "rate {rate_hz} Hz");
        assert!(shape.bytes() > 0, "frames of {}×{}", shape.width, shape.height);
        assert_eq!(Some(frames.len()), shape.bytes().checked_mul(motion.len()));
        assert!(motion.iter().flatten().all(Motion::is_finite), "motion is not finite");
        Self { name, source_sha256, rate_hz, shape, frames, motion }
    }

    /// Frames of this drive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.motion.len()
    }

    /// Whether this drive has no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.motion.is_empty()
    }

    /// Frame `index`, RGB, HWC.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn frame(&self, index: usize) -> &[u8] {
        self.frames(index..index + 1)
    }

    /// The frames of `range`, one after another.
    ///
    /// # Panics
    /// If the range is not of this drive.
    #[must_use]
    pub fn frames(&self, range: Range<usize>) -> &[u8] {
        let bytes = self.shape.bytes();
        &self.frames[range.start * bytes..range.end * bytes]
    }

    /// Motion at frame `index`.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn motion(&self, index: usize) -> Option<Motion> {
        self.motion[index]
    }

    /// Time of frame `index` after the first.
    #[must_use]
    pub fn since_start(&self, index: usize) -> Duration {
        Duration::try_from_secs_f64(index as f64 / self.rate_hz).unwrap_or(Duration::MAX)
    }

    /// The drive as a source of moments, from its first frame.
    #[must_use]
    pub fn moments(&self) -> DriveMoments<'_> {
        DriveMoments { drive: self, index: 0 }
    }

    /// How this drive is cut for a model with `context` past frames.
    #[must_use]
    pub fn split(&self, context: usize) -> Split {
        Split::new(self.len(), context)
    }
}

/// The moments of a [`Drive`] in memory.
#[derive(Clone, Debug)]
pub struct DriveMoments<'a> {
    drive: &'a Drive,
    index: usize,
}

impl Moments for DriveMoments<'_> {
    type Error = Infallible;

    fn shape(&self) -> FrameShape {
        self.drive.shape
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, Infallible> {
        let index = self.index;
        if index >= self.drive.len() {
            return Ok(None);
        }
        self.index += 1;
        Ok(Some(Moment {
            frame: Some(self.drive.frame(index)),
            motion: self.drive.motion(index),
            since_start: self.drive.since_start(index),
        }))
    }
}

/// A run of frames by their indexes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index of the first frame.
    pub first: usize,
    /// Index of the last frame.
    pub last: usize,
}

impl Span {
    /// Frames in the span.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a span holds at least one frame")]
    pub const fn len(self) -> usize {
        self.last - self.first + 1
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The vehicle tunes on it.
    Tuning,
    /// The evaluation pack is made of it.
    Pack,
    /// Nobody sees it before the end.
    HeldOut,
}

impl Part {
    /// Every part, in the order of time within a cycle.
    pub const ALL: [Self; 3] = [Self::Tuning, Self::Pack, Self::HeldOut];

    /// Its name in files and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tuning => "tuning",
            Self::Pack => "pack",
            Self::HeldOut => "held_out",
        }
    }
}

/// Which frames of a drive are for what.
///
/// A drive of `n` frames is cut into `max(1, min(4, ⌊n/120⌋))` cycles at `⌊i·n/cycles⌋`; a cycle of
/// `m` frames into tuning, pack and held-out at `⌊0.6·m⌋` and `⌊0.8·m⌋`. The first `context` frames
/// after every cut, between cycles too, are used by no part: what a clip sees of the past is never
/// another part's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    frames: usize,
    context: usize,
    spans: [Vec<Span>; 3],
}

impl Split {
    /// Cuts `frames` frames for a model with `context` past frames.
    ///
    /// # Panics
    /// If `context` exceeds [`CONTEXT_FRAMES_MAX`].
    #[must_use]
    pub fn new(frames: usize, context: usize) -> Self {
        assert!(context <= CONTEXT_FRAMES_MAX, "{context} context frames");
        let mut spans = [Vec::new(), Vec::new(), Vec::new()];
        let cycles = (frames / CYCLE_FRAMES_MIN).clamp(1, CYCLES_MAX);
        let cycle_start = |cycle: usize| cycle * frames / cycles;
        for cycle in 0..cycles {
            let (start, end) = (cycle_start(cycle), cycle_start(cycle + 1));
            let pack = start + (end - start) * 3 / 5;
            let held_out = start + (end - start) * 4 / 5;
            for (part, (from, to)) in
                [(start, pack), (pack, held_out), (held_out, end)].into_iter().enumerate()
            {
                // The drive's own beginning is no cut.
                let first = if from == 0 { 0 } else { from + context };
                if first < to {
                    spans[part].push(Span { first, last: to - 1 });
                }
            }
        }
        Self { frames, context, spans }
    }

    /// The spans of `part`, in the order of time.
    #[must_use]
    pub fn spans(&self, part: Part) -> &[Span] {
        match part {
            Part::Tuning => &self.spans[0],
            Part::Pack => &self.spans[1],
            Part::HeldOut => &self.spans[2],
        }
    }

    /// Past frames this split was made for.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Index of the first frame of every clip of `context + ahead` consecutive frames within `part`:
    /// one starts at every frame, none crosses the end of a span.
    #[must_use]
    pub fn clips(&self, part: Part, context: usize, ahead: usize) -> Clips<'_> {
        Clips { spans: self.spans(part), clip_frames: context + ahead, next: None }
    }

    /// Whether every part has the two clips (of `context + 1` frames) that a drive must have.
    ///
    /// # Errors
    /// [`TooShort`] names the first part that has fewer, and the frames that the drive lacks.
    pub fn check(&self) -> Result<(), TooShort> {
        let short = |split: &Self| {
            Part::ALL
                .map(|part| (part, split.clips(part, split.context, 1).take(CLIPS_MIN).count()))
                .into_iter()
                .find(|&(_, clips)| clips < CLIPS_MIN)
        };
        let Some((part, clips)) = short(self) else { return Ok(()) };
        let mut wanted = self.frames + 1;
        while short(&Self::new(wanted, self.context)).is_some() {
            wanted += 1;
        }
        Err(TooShort { part, clips, frames: self.frames, frames_lacking: wanted - self.frames })
    }
}

/// Starts of the clips of a part: see [`Split::clips`].
#[derive(Clone, Debug)]
pub struct Clips<'a> {
    spans: &'a [Span],
    clip_frames: usize,
    next: Option<usize>,
}

impl Iterator for Clips<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while let Some((span, rest)) = self.spans.split_first() {
            let start = self.next.unwrap_or(span.first);
            if start + self.clip_frames <= span.last + 1 {
                self.next = Some(start + 1);
                return Some(start);
            }
            (self.spans, self.next) = (rest, None);
        }
        None
    }
}

/// Why a drive is skipped: a part has fewer than two clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    /// The first part, in the order of time, that has too few.
    pub part: Part,
    /// Clips of that part.
    pub clips: usize,
    /// Frames of the drive, at the model's rate.
    pub frames: usize,
    /// Frames that it lacks: with so many more every part would have two clips.
    pub frames_lacking: usize,
}

impl core::fmt::Display for TooShort {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { part, clips, frames, frames_lacking } = self;
        write!(
            f,
            "{frames} frames at the model's rate give {clips} clips to the part {}, {CLIPS_MIN} are \
             needed: {frames_lacking} more frames",
            part.name()
        )
    }
}

impl core::error::Error for TooShort {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the table of clips in the notes on the measured drives, four past frames.
    #[test]
    fn clips_of_pack_and_held_out_are_those_of_the_protocol() {
        for (frames, pack, held_out) in
            [(500, 68, 68), (123, 17, 17), (130, 18, 18), (88, 10, 10), (51, 2, 3), (66, 5, 6)]
        {
            let split = Split::new(frames, 4);
            assert_eq!(split.clips(Part::Pack, 4, 1).count(), pack, "{frames}");
            assert_eq!(split.clips(Part::HeldOut, 4, 1).count(), held_out, "{frames}");
        }
    }

    #[test]
    fn context_frames_after_every_cut_belong_to_no_part() {
        let split = Split::new(240, 4);
        let span = |first, last| Span { first, last };
        assert_eq!(split.spans(Part::Tuning), [span(0, 71), span(124, 191)]);
        assert_eq!(split.spans(Part::Pack), [span(76, 95), span(196, 215)]);
        assert_eq!(split.spans(Part::HeldOut), [span(100, 119), span(220, 239)]);
    }

    #[test]
    fn a_drive_has_one_to_four_cycles() {
        for (frames, cycles) in
            [(60, 1), (119, 1), (239, 1), (240, 2), (359, 2), (480, 4), (4_800, 4)]
        {
            assert_eq!(Split::new(frames, 4).spans(Part::Tuning).len(), cycles, "{frames}");
        }
    }

    #[test]
    fn clips_start_at_every_frame_and_cross_no_span() {
        for frames in 0..700 {
            let split = Split::new(frames, 4);
            for part in Part::ALL {
                let clips: Vec<usize> = split.clips(part, 4, 5).collect();
                let slow: Vec<usize> = (0..frames)
                    .filter(|&start| {
                        split.spans(part).iter().any(|s| s.first <= start && start + 8 <= s.last)
                    })
                    .collect();
                assert_eq!(clips, slow, "{frames} {part:?}");
            }
        }
    }

    #[test]
    fn a_short_drive_names_the_frames_it_lacks() {
        let short = Split::new(40, 4).check().unwrap_err();
        assert_eq!((short.part, short.frames_lacking), (Part::Pack, 8));
        let enough = short.frames + short.frames_lacking;
        assert_eq!(Split::new(enough, 4).check(), Ok(()));
        assert!(Split::new(enough - 1, 4).check().is_err());
        assert!(Split::new(0, CONTEXT_FRAMES_MAX).check().is_err());
    }

    #[test]
    fn moments_of_a_drive_are_its_frames_at_its_rate() {
        let shape = FrameShape { width: 2, height: 1 };
        let motion = Motion { speed_m_s: Some(3.0), ..Motion::default() };
        let frames: Vec<u8> = (0..12).collect();
        let drive =
            Drive::new("d".into(), [0; 32], 10.0, shape, frames.clone(), vec![Some(motion), None]);
        let mut moments = drive.moments();
        let first = moments.next().unwrap().unwrap();
        assert_eq!((first.frame, first.motion), (Some(&frames[..6]), Some(motion)));
        let second = moments.next().unwrap().unwrap();
        assert_eq!((second.frame, second.motion), (Some(&frames[6..]), None));
        assert_eq!(second.since_start, Duration::from_millis(100));
        assert_eq!(moments.next().unwrap(), None);
    }
}
