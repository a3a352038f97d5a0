//! Recipe R: the vehicle's own clips as they are, its own clips augmented, and shipped footage.

use std::ops::Range;

use super::view::{self, Painter, Tone, View, Window};
use super::{Batch, HORIZON_S, MOTION_HIDDEN, NOISE_FLOOR, colours, gain, window};
use crate::chance::{Draws, Purpose};
use crate::clip::{Clips, Footage, copy_error};
use crate::fit::Source;
use crate::form::Form;
use crate::grid::Geometry;
use crate::hindsight::{Known, weight};
use crate::opinion::Did;
use crate::package::Description;
use shoal_hal::Span;
use shoal_runtime::engine::EngineError;

/// How many samples of each kind a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Own clips, only flipped and made brighter or darker.
    pub own: usize,
    /// Own clips seen through another camera: zoom, speed, colours.
    pub augmented: usize,
    /// Clips of the footage that ships with the model, so that it is not forgotten.
    pub replayed: usize,
}

impl Mix {
    /// 3 + 3 + 2, as measured: with it tuning on one road no longer forgets the others.
    pub const RECIPE_R: Mix = Mix { own: 3, augmented: 3, replayed: 2 };

    /// The same shares of a batch of another size.
    pub fn of(samples: usize) -> Mix {
        let replayed = samples / 4;
        let augmented = (samples - replayed) / 2;
        Mix { own: samples - replayed - augmented, augmented, replayed }
    }

    /// Samples of a batch.
    pub fn samples(&self) -> usize {
        self.own + self.augmented + self.replayed
    }
}

/// The clips of one road, and how much changes on it from frame to frame.
#[derive(Clone)]
pub struct Road<'a> {
    spans: Vec<(&'a dyn Footage, Span)>,
    copy_error_mean: f64,
}

impl<'a> Road<'a> {
    /// Collects the spans of one road (a drive's tuning part, its replayed spans, shipped footage).
    ///
    /// Spans without room for a clip of `form` are left out; `None` if none is left.
    pub fn new(clips: &[Clips<'a>], form: &Form) -> Option<Self> {
        let mut spans = Vec::new();
        let (mut sum, mut count) = (0.0, 0_u32);
        for clips in clips {
            let footage = clips.footage();
            let ratio = footage.rate_hz() / form.rate_hz;
            let one = view::reach(1, ratio).max(1);
            for &span in clips.spans() {
                if span.last - span.first < view::reach(form.context, view::true_step(ratio, 1.0)) {
                    continue;
                }
                spans.push((footage, span));
                for index in span.first..=span.last - one {
                    sum += copy_error(footage.frame(index), footage.frame(index + one));
                    count += 1;
                }
            }
        }
        (count > 0).then(|| Road { spans, copy_error_mean: sum / f64::from(count) })
    }

    /// Mean error of 'nothing moves' over all steps of its spans, squared RGB in `[0, 1]`.
    pub fn copy_error_mean(&self) -> f64 {
        self.copy_error_mean
    }

    /// How many clips that reach over `rows` rows before their last one start in a span.
    fn starts(&(footage, span): &(&'a dyn Footage, Span), form: &Form, rows: usize) -> usize {
        let step = view::true_step(footage.rate_hz() / form.rate_hz, 1.0);
        (span.last - span.first + 1).saturating_sub(view::reach(rows, step))
    }
}

/// What is drawn for every kind of sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Own,
    Augmented,
    Replayed,
}

/// Makes the batches that tune an adapter.
///
/// | sample | drawn | weight |
/// |---|---|---|
/// | own | flip ½, gain 0.8–1.25 | 1 / (e + 0.1·ē + 3e-4) |
/// | augmented | flip ½, window 0.6–1 anywhere, speed ½–2 (true frames only), colours in any order ½, gain 0.7–1.25, offset ±0.08 | 1 / (e + 0.5·ē + 3e-4) |
/// | replayed | flip ½, gain 0.8–1.25 | 1 / (e + 3e-4) |
///
/// e = copy error of the sample as it is shown, ē = mean copy error of its road. The next frame is
/// always a true one. Motion is withheld in half of the samples; flipping mirrors the steering, speed
/// scales the speed. Without shipped footage the places of replayed samples go to augmented ones.
///
/// Of a model that acts, too, own and replayed samples tell what the driver did ([`MixedBatch::imitating`]), mirrored with the
/// picture; augmented ones do not, whose camera looks elsewhere.
pub struct MixedBatch<'a> {
    form: Form,
    ahead: usize,
    mix: Mix,
    seed: u64,
    own: Vec<Road<'a>>,
    replayed: Vec<Road<'a>>,
    painter: Painter,
    /// The vehicle that was driven, where its driver is imitated.
    geometry: Option<Geometry>,
    holds_speed: bool,
}

impl Source<Batch> for MixedBatch<'_> {
    fn fill(&mut self, step: u64, batch: &mut Batch) -> Result<(), EngineError> {
        MixedBatch::fill(self, step, batch);
        Ok(())
    }
}

impl<'a> MixedBatch<'a> {
    /// Draws from `own` roads and the footage `replayed`; `None` if there is no own road.
    ///
    /// Clips are drawn with equal chances: a road with more clips is seen more often.
    pub fn new(
        form: Form,
        mix: Mix,
        own: Vec<Road<'a>>,
        replayed: Vec<Road<'a>>,
        seed: u64,
    ) -> Option<Self> {
        let painter = Painter::default();
        (!own.is_empty()).then_some(MixedBatch {
            form,
            ahead: 1,
            mix,
            seed,
            own,
            replayed,
            painter,
            geometry: None,
            holds_speed: false,
        })
    }

    /// The same with what the driver of a vehicle of this geometry did, if the package has a loss on its action beside those on
    /// its frames ([`Description::imitates`]). A moment counts by hindsight, [`HORIZON_S`] of its span ahead, as in
    /// [`Lessons`](super::Lessons).
    #[must_use]
    pub fn imitating(self, package: &Description, geometry: &Geometry) -> Self {
        MixedBatch { geometry: package.imitates().then_some(*geometry), ..self }
    }

    /// The same for logs that know no acceleration: as [`Lessons::holding_speed`](super::Lessons::holding_speed).
    #[must_use]
    pub fn holding_speed(self) -> Self {
        MixedBatch { holds_speed: true, ..self }
    }

    /// What the driver did in frame `at`, and how much it counts; `None` if it is not known.
    fn did(
        &self,
        (footage, span): (&dyn Footage, Span),
        at: usize,
        flip: bool,
    ) -> Option<(usize, f32)> {
        let geometry = self.geometry?;
        let motion = footage.motion(at)?;
        let did = Did::of_log(&motion, &geometry, self.holds_speed);
        let bin = if flip { did.mirrored() } else { did }.bin()?;
        let rows = (HORIZON_S * footage.rate_hz()).round() as usize;
        let known = |at| Known::of(&footage.motion(at).unwrap_or_default(), &geometry);
        let came: Vec<Known> = (at..=span.last.min(at + rows)).map(known).collect();
        let weight = weight(&came, footage.rate_hz(), HORIZON_S)?;
        Some((bin, weight))
    }

    /// The same with `ahead` true next frames in every clip; `None` if no own road has a clip as long.
    #[must_use]
    pub fn with_ahead(mut self, ahead: usize) -> Option<Self> {
        self.ahead = ahead;
        let rows = self.rows();
        for roads in [&mut self.own, &mut self.replayed] {
            for road in &mut *roads {
                road.spans.retain(|span| Road::starts(span, &self.form, rows) > 0);
            }
            roads.retain(|road| !road.spans.is_empty());
        }
        (!self.own.is_empty()).then_some(self)
    }

    /// Rows of a clip before its last one.
    fn rows(&self) -> usize {
        self.form.context + self.ahead - 1
    }

    /// Which samples of a batch are own clips augmented.
    #[must_use]
    pub fn augmented(&self) -> Range<usize> {
        let replayed = if self.replayed.is_empty() { 0 } else { self.mix.replayed };
        self.mix.own..self.mix.samples() - replayed
    }

    /// Makes the batch of step `step`: own samples first, then augmented, then replayed.
    ///
    /// # Panics
    /// If `batch` was made for another form or number of samples.
    pub fn fill(&mut self, step: u64, batch: &mut Batch) {
        assert_eq!(batch.samples(), self.mix.samples(), "samples of the mix");
        assert_eq!(batch.form, self.form, "a batch of this model");
        assert_eq!(batch.ahead(), self.ahead, "next frames of a clip");
        let augmented = self.augmented();
        for index in 0..self.mix.samples() {
            let kind = if index < augmented.start {
                Kind::Own
            } else if index < augmented.end {
                Kind::Augmented
            } else {
                Kind::Replayed
            };
            let mut draws = Draws::new(Purpose::Tuning, self.seed, step, index as u64);
            self.sample(kind, index, &mut draws, batch);
        }
    }

    fn sample(&mut self, kind: Kind, index: usize, draws: &mut Draws, batch: &mut Batch) {
        let roads = if kind == Kind::Replayed { &self.replayed } else { &self.own };
        let rows = self.rows();
        let (road, (footage, span), start) = pick(roads, &self.form, rows, draws);
        let ratio = footage.rate_hz() / self.form.rate_hz;
        let plain = view::true_step(ratio, 1.0);
        let flip = draws.happens(0.5);
        let hide_motion = draws.happens(MOTION_HIDDEN);
        let (window, tone, colours, step) = match kind {
            Kind::Own | Kind::Replayed => {
                (Window::WHOLE, gain(draws.between(0.8, 1.25)), [0, 1, 2], plain)
            }
            Kind::Augmented => {
                let zoom = draws.between(0.6, 1.0);
                let window = window(draws, zoom, zoom);
                let speed = libm::exp2(f64::from(draws.between(-1.0, 1.0)));
                let (gain, offset) = (draws.between(0.7, 1.25), draws.between(-0.08, 0.08));
                let tone = Tone { gain, offset, gamma: 1.0 };
                (window, tone, colours(draws, 0.5), view::true_step(ratio, speed))
            }
        };
        let (first, step) = view::place(span, start, rows, step, plain)
            .expect("a road keeps only spans with room for a clip");
        let view = View { window, flip, tone, colours, first, step, drift: None, hide_motion };
        let floor = match kind {
            Kind::Own => 0.1 * road.copy_error_mean + NOISE_FLOOR,
            Kind::Augmented => 0.5 * road.copy_error_mean + NOISE_FLOOR,
            Kind::Replayed => NOISE_FLOOR,
        };
        batch.set(index, footage, &view, floor, &mut self.painter);
        for step in 0..self.ahead {
            let at = view.index(self.form.context + step - 1);
            let told = (kind != Kind::Augmented).then(|| self.did((footage, span), at, flip));
            batch.set_bin(index, step, told.flatten());
        }
    }
}

/// One clip of all with equal chances: its road, its span, its first frame.
fn pick<'r, 'a>(
    roads: &'r [Road<'a>],
    form: &Form,
    rows: usize,
    draws: &mut Draws,
) -> (&'r Road<'a>, (&'a dyn Footage, Span), usize) {
    let spans = || roads.iter().flat_map(|road| road.spans.iter().map(move |span| (road, span)));
    let count = spans().map(|(_, span)| Road::starts(span, form, rows)).sum();
    let mut left = draws.index(count);
    for (road, span) in spans() {
        let starts = Road::starts(span, form, rows);
        if left < starts {
            return (road, *span, span.1.first + left);
        }
        left -= starts;
    }
    unreachable!("a number below the count of clips is the number of one")
}

#[cfg(test)]
mod tests {
    use super::super::NO_BIN;
    use super::*;
    use crate::clip::Frames;
    use crate::form::MotionInput;
    use shoal_hal::{FrameShape, Motion};

    const SHAPE: FrameShape = FrameShape { width: 4, height: 2 };
    /// Speed is read in units of 30 m/s.
    fn form() -> Form {
        let motion = MotionInput::speed_and_steering();
        Form { shape: SHAPE, frames: 4, context: 4, rate_hz: 10.0, motion }
    }

    /// Frame k is bright by k on its left half and black on its right, steering left at 15 m/s.
    fn road(from: u8, frames: u8) -> Frames {
        let motion =
            Motion { speed_m_s: Some(15.0), steering_rad: Some(0.25), ..Motion::default() };
        let bytes =
            (from..from + frames).flat_map(|k| [[k; 6], [0; 6], [k; 6], [0; 6]].concat()).collect();
        Frames::new(SHAPE, 10.0, bytes, vec![Some(motion); usize::from(frames)]).unwrap()
    }

    fn mixed<'a>(own: &'a Frames, shipped: Option<&'a Frames>, seed: u64) -> MixedBatch<'a> {
        let road = |frames: &'a Frames| Road::new(&[Clips::of_all(frames, 4, 1)], &form()).unwrap();
        let replayed = shipped.map(road).into_iter().collect();
        MixedBatch::new(form(), Mix::RECIPE_R, vec![road(own)], replayed, seed).unwrap()
    }

    #[test]
    fn draws_repeat_from_seed_and_step_in_any_order() {
        let own = road(100, 40);
        let fill = |mixed: &mut MixedBatch<'_>, step| {
            let mut batch = Batch::new(form(), 8);
            mixed.fill(step, &mut batch);
            (batch.frames, batch.motion, batch.target, batch.weight)
        };
        let mut mixed_7 = mixed(&own, None, 7);
        let (first, second) = (fill(&mut mixed_7, 0), fill(&mut mixed_7, 1));

        let mut again = mixed(&own, None, 7);
        assert_eq!(fill(&mut again, 1), second);
        assert_eq!(fill(&mut again, 0), first);
        assert_ne!(fill(&mut mixed(&own, None, 8), 0), first);
        assert_ne!(first, second);
    }

    #[test]
    fn a_flip_mirrors_picture_and_steering_together() {
        let own = road(100, 40);
        let mut mixed = mixed(&own, None, 1);
        let mut batch = Batch::new(form(), 8);
        let mut seen = [0; 2];
        for step in 0..50 {
            mixed.fill(step, &mut batch);
            for sample in 0..3 {
                let motion = &batch.motion()[2 * sample..][..2];
                let row = &batch.target()[sample * SHAPE.bytes()..][..4];
                if motion == [0.0, 0.0] {
                    continue; // Withheld.
                }
                assert_eq!(motion[0], 0.5);
                let flipped = row[0] == 0.0 && row[3] > 0.0;
                assert_eq!(motion[1], if flipped { -0.25 } else { 0.25 });
                seen[usize::from(flipped)] += 1;
            }
        }
        assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
    }

    #[test]
    fn own_samples_are_their_frames_times_one_gain() {
        let own = road(100, 40);
        let mut mixed = mixed(&own, None, 3);
        let mut batch = Batch::new(form(), 8);
        mixed.fill(0, &mut batch);
        for sample in 0..3 {
            let size = SHAPE.bytes();
            let frame = |k: usize| &batch.frames()[(sample * 4 + k) * size..][..size];
            let bright = |planes: &[f32]| planes.iter().copied().fold(0.0, f32::max);
            // Frame k shows (k₀ + k)·gain/255: equal steps up to the next frame.
            let steps: Vec<f32> = (0..3).map(|k| bright(frame(k + 1)) - bright(frame(k))).collect();
            let next = bright(&batch.target()[sample * size..][..size]) - bright(frame(3));
            let gain = next * 255.0;
            assert!((0.8..1.25).contains(&gain), "{gain}");
            assert!(steps.iter().all(|step| (step - next).abs() < 1e-6));
            // Half of the picture changes by gain/255 in all colours.
            let error = 0.5 * f64::from(next) * f64::from(next);
            let mean = 0.5 / (255.0 * 255.0);
            let weight = 1.0 / (error + 0.1 * mean + 3e-4);
            assert!((f64::from(batch.weight()[sample]) / weight - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn replayed_samples_come_from_the_shipped_footage_and_others_from_the_own() {
        let (own, shipped) = (road(200, 40), road(20, 12));
        let mut mixed = mixed(&own, Some(&shipped), 5);
        let mut batch = Batch::new(form(), 8);
        for step in 0..20 {
            mixed.fill(step, &mut batch);
            for sample in 0..8 {
                let target = &batch.target()[sample * SHAPE.bytes()..][..SHAPE.bytes()];
                let bright = 255.0 * target.iter().copied().fold(0.0, f32::max);
                // Shipped frames are at most 31 · 1.25 bright, own ones at least 200 · 0.7 − 0.08.
                assert_eq!(bright < 45.0, sample >= 6, "sample {sample}: {bright}");
            }
        }
    }

    #[test]
    fn augmented_samples_skip_frames_and_keep_the_motion_true() {
        let own = road(100, 40);
        let mut mixed = mixed(&own, None, 11);
        let mut batch = Batch::new(form(), 8);
        let mut twice = 0;
        for step in 0..60 {
            mixed.fill(step, &mut batch);
            for sample in 3..8 {
                let speed = batch.motion()[2 * sample];
                assert!([0.0, 0.5, 1.0].contains(&speed), "{speed}");
                twice += u32::from(speed == 1.0);
            }
        }
        assert!(twice > 20, "{twice}");
    }

    /// Own and replayed samples tell the driver's bin at the newest frame, mirrored with it; augmented ones tell none.
    #[test]
    fn what_the_driver_did_is_told_where_the_camera_is_the_vehicles() {
        let (own, shipped) = (road(100, 40), road(20, 12));
        let geometry = Geometry::default();
        let left = Did::of(
            &Motion { steering_rad: Some(0.25), acceleration_m_s2: Some(0.0), ..Motion::default() },
            &geometry,
        );
        let bins = [left, left.mirrored()].map(|did| did.bin().unwrap() as i64);
        let acts = |holds: bool| {
            let source = mixed(&own, Some(&shipped), 5);
            let source = MixedBatch { geometry: Some(geometry), ..source };
            if holds { source.holding_speed() } else { source }
        };
        let (mut batch, mut seen) = (Batch::new(form(), 8), [0; 2]);
        let mut told = acts(true);
        for step in 0..20 {
            told.fill(step, &mut batch);
            for sample in 0..8 {
                let (bin, weight) = (batch.bins()[sample], batch.bin_weight()[sample]);
                if (3..6).contains(&sample) {
                    assert_eq!((bin, weight), (NO_BIN, 0.0));
                    continue;
                }
                let row = &batch.target()[sample * SHAPE.bytes()..][..4];
                let flipped = usize::from(row[0] == 0.0 && row[3] > 0.0);
                assert_eq!((bin, weight), (bins[flipped], 1.0), "sample {sample}");
                seen[flipped] += 1;
            }
        }
        assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
        // The road knows no acceleration, and without imitation nothing is told.
        for mut silent in [acts(false), mixed(&own, Some(&shipped), 5)] {
            silent.fill(0, &mut batch);
            assert!(batch.bins().iter().all(|bin| *bin == NO_BIN));
            assert!(batch.bin_weight().iter().all(|weight| *weight == 0.0));
        }
    }

    #[test]
    fn spans_without_room_for_a_clip_are_left_out() {
        let short = road(100, 4);
        assert!(Road::new(&[Clips::of_all(&short, 4, 1)], &form()).is_none());
        let own = road(100, 5);
        let mut mixed = mixed(&own, None, 0);
        let mut batch = Batch::new(form(), 8);
        mixed.fill(0, &mut batch); // The only clip, eight times.
        assert!(batch.weight().iter().all(|&weight| weight > 0.0));
    }
}
