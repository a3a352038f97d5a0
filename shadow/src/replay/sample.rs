//! Draws of clips for training.

use super::span::StoredSpan;
use super::{ReadReplayError, Replay};
use crate::chance::{Draws, Purpose};
use crate::clip::Frames;

/// A clip in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipAt {
    /// Number of its span.
    pub span: u64,
    /// Its first frame in the span.
    pub first: u32,
}

/// Draws clips with probabilities proportional to the priority of their span.
///
/// Draw (step, sample) is a pure function of the seed, of the spans the sampler was made of and of
/// those it had to leave out since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampler {
    seed: u64,
    clip_frames: u32,
    clips: u64,
    spans: Vec<Weighed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weighed {
    id: u64,
    /// Weight of one clip.
    weight: u64,
    clips: u64,
    /// Weight of all clips up to the last of this span.
    until: u64,
}

impl Sampler {
    fn new<'a>(spans: impl Iterator<Item = &'a StoredSpan>, seed: u64, clip_frames: u32) -> Self {
        let mut sampler = Self { seed, clip_frames, clips: 0, spans: Vec::new() };
        for span in spans.filter(|span| span.frames >= clip_frames) {
            let clips = u64::from(span.frames - clip_frames) + 1;
            let weight = u64::from(span.priority.bits()) + 1;
            sampler.spans.push(Weighed { id: span.id, weight, clips, until: 0 });
        }
        sampler.add_up();
        sampler
    }

    /// How many clips it draws from.
    #[must_use]
    pub fn clips(&self) -> u64 {
        self.clips
    }

    /// The clip of one sample of one step; `None` if there is none to draw.
    #[must_use]
    pub fn draw(&self, step: u64, sample: u64) -> Option<ClipAt> {
        self.draw_from(&mut Draws::new(Purpose::Replay, self.seed, step, sample))
    }

    /// Leaves a span out of every later draw.
    pub fn leave_out(&mut self, span: u64) {
        self.spans.retain(|weighed| weighed.id != span);
        self.add_up();
    }

    fn draw_from(&self, draws: &mut Draws) -> Option<ClipAt> {
        let total = usize::try_from(self.spans.last()?.until).ok()?;
        let drawn = draws.index(total) as u64;
        let at = self.spans.partition_point(|weighed| weighed.until <= drawn);
        let Weighed { id, weight, clips, until } = self.spans[at];
        let first = (drawn - (until - weight * clips)) / weight;
        Some(ClipAt { span: id, first: u32::try_from(first).expect("fewer clips than frames") })
    }

    fn add_up(&mut self) {
        let mut until = 0;
        for weighed in &mut self.spans {
            until += weighed.weight * weighed.clips;
            weighed.until = until;
        }
        self.clips = self.spans.iter().map(|weighed| weighed.clips).sum();
    }
}

impl Replay {
    /// A sampler of clips of `clip_frames` frames from the spans that are in the store and, as far
    /// as is known, readable. Spans stored later are not drawn.
    ///
    /// # Panics
    /// If a clip has no frame.
    #[must_use]
    pub fn sampler(&self, seed: u64, clip_frames: u32) -> Sampler {
        assert!(clip_frames > 0, "a clip has frames");
        let readable = self.spans.values().filter(|span| !self.unreadable.contains_key(&span.id));
        Sampler::new(readable, seed, clip_frames)
    }

    /// Draws a clip and decrypts it. A span that cannot be read, or is no longer there, is left out
    /// and the draw repeated; `None` when no clip is left.
    pub fn sample(
        &mut self,
        sampler: &mut Sampler,
        step: u64,
        sample: u64,
    ) -> Option<(ClipAt, Frames)> {
        let mut draws = Draws::new(Purpose::Replay, sampler.seed, step, sample);
        loop {
            let at = sampler.draw_from(&mut draws)?;
            match self.read(at.span, at.first..at.first + sampler.clip_frames) {
                Ok(frames) => return Some((at, frames)),
                Err(
                    ReadReplayError::NoSpan { .. }
                    | ReadReplayError::Range { .. }
                    | ReadReplayError::Damaged { .. }
                    | ReadReplayError::Disk { .. },
                ) => sampler.leave_out(at.span),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Priority, Reason};
    use shoal_hal::FrameShape;

    fn span(id: u64, frames: u32, share: f64) -> StoredSpan {
        StoredSpan {
            id,
            recorded_at_s: 0,
            rate_hz: 10.0,
            shape: FrameShape { width: 1, height: 1 },
            frames,
            reason: Reason::Surprise,
            priority: Priority::from_share(share),
            sha256: [0; 32],
        }
    }

    #[test]
    fn clips_are_drawn_in_proportion_to_the_priority_of_their_span() {
        // Weights per clip ¼ and ¾; 6 and 2 clips; span 7 is too short for one.
        let spans = [span(3, 10, 0.25), span(7, 4, 1.0), span(9, 6, 0.75)];
        let sampler = Sampler::new(spans.iter(), 1, 5);
        assert_eq!(sampler.clips(), 8);
        let mut counts = [[0_u32; 6]; 2];
        for step in 0..6000 {
            let ClipAt { span, first } = sampler.draw(step, 0).unwrap();
            counts[usize::from(span == 9)][first as usize] += 1;
            assert!(span == 3 || span == 9);
        }
        // 500 of each clip of the first span, 1,500 of each of the other; deviations 21 and 34.
        assert!(counts[0].iter().all(|count| (400..600).contains(count)), "{counts:?}");
        assert!(counts[1][..2].iter().all(|count| (1340..1660).contains(count)), "{counts:?}");
        assert_eq!(counts[1][2..], [0; 4]);
    }

    #[test]
    fn draw_depends_on_nothing_but_seed_step_and_sample() {
        let spans = [span(0, 100, 0.5), span(1, 50, 0.1)];
        let sampler = Sampler::new(spans.iter(), 7, 5);
        let forwards: Vec<_> = (0..50).map(|step| sampler.draw(step, 3)).collect();
        let backwards: Vec<_> = (0..50).rev().map(|step| sampler.draw(step, 3)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
        let other = Sampler::new(spans.iter(), 8, 5);
        assert!((0..50).any(|step| other.draw(step, 3) != sampler.draw(step, 3)));
        assert!((0..50).any(|step| sampler.draw(step, 4) != sampler.draw(step, 3)));
    }

    #[test]
    fn span_that_was_left_out_is_not_drawn() {
        let spans = [span(0, 10, 1.0), span(1, 10, 0.0), span(2, 10, 1.0)];
        let mut sampler = Sampler::new(spans.iter(), 7, 5);
        sampler.leave_out(0);
        assert!((0..200).all(|step| sampler.draw(step, 0).unwrap().span != 0));
        sampler.leave_out(2);
        assert_eq!(sampler.draw(0, 0).unwrap().span, 1);
        sampler.leave_out(1);
        assert_eq!((sampler.draw(0, 0), sampler.clips()), (None, 0));
    }
}
