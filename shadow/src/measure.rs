//! Skill: how much better than 'nothing moves' the next frame is predicted.
//!
//! ```text
//! skill of a drive = 1 − Σ e_model ÷ Σ e_copy        over its clips
//! e                = mean squared error in RGB [0, 1], prediction clamped to [0, 1]
//! copy             = the last frame shown again
//! skill of a set   = plain mean over its counted drives
//! ```
//!
//! A drive is counted unless it hardly moves: unless its copy PSNR over the whole drive exceeds
//! [`COPY_PSNR_MAX_DB`]. Skill may be negative. Clips are read in batches; what is kept of each is
//! three numbers.

pub mod driving;
mod habits;
pub mod imitation;
pub mod opinions;
pub mod policy;
mod report;
mod session;
pub mod tokens;

pub use report::{BaselineReport, DriveReport, Report, RolloutReport};
pub use session::{SessionPredictor, SessionPredictorError};

use crate::batch::mean_square;
use crate::clip::{Clip, Clips, Footage, psnr_db, to_planes};
use crate::form::Form;
use crate::stats::{Interval, PairedClips, bootstrap};
use shoal_hal::{Drive, FrameShape, Part, Split};
use shoal_runtime::engine::EngineError;

/// Drives whose copy PSNR is above this are listed, not counted, in dB.
pub const COPY_PSNR_MAX_DB: f64 = 33.0;

/// Frames of a roll-out.
pub const ROLLOUT_FRAMES: usize = 5;

/// Anything that predicts the next frame: a model in a session, a baseline.
pub trait Predictor {
    /// What predicts, for people.
    fn describe(&self) -> String;

    /// What it reads.
    fn form(&self) -> &Form;

    /// Most clips that it takes at once, at least 1.
    fn batch(&self) -> usize;

    /// How many adapters it predicts with at once, each on the same clips.
    fn adapters(&self) -> usize {
        1
    }

    /// Predicts the next frames of `clips` clips.
    ///
    /// `frames` is `[clips, frames, 3, height, width]` in `[0, 1]`, oldest first; `motion` is
    /// `[clips, rows, columns]`; `next` is `[adapters, clips, 3, height, width]`, clamped to `[0, 1]`.
    ///
    /// # Errors
    /// [`EngineError`] if the engine that runs it fails.
    /// # Panics
    /// If the slices are not of `clips` clips, or these are more than [`Predictor::batch`].
    fn predict(
        &mut self,
        clips: usize,
        frames: &[f32],
        motion: &[f32],
        next: &mut [f32],
    ) -> Result<(), EngineError>;
}

/// The clips of one drive that are measured.
#[derive(Clone)]
pub struct DriveClips<'a> {
    /// The drive's name.
    pub name: String,
    /// PSNR of the mean copy error over the whole drive, whatever part is measured, in dB.
    pub copy_psnr_db: f64,
    /// Its clips with one frame ahead; several where the drive comes in several pieces.
    pub clips: Vec<Clips<'a>>,
}

impl<'a> DriveClips<'a> {
    /// The clips of one part of a drive.
    pub fn of_part(drive: &'a Drive, split: &'a Split, part: Part, form: &Form) -> Self {
        DriveClips {
            name: drive.name.clone(),
            copy_psnr_db: copy_psnr_db(drive),
            clips: vec![Clips::of_part(drive, split, part, form.context, 1)],
        }
    }

    /// Whether the drive moves enough to be counted.
    pub fn is_counted(&self) -> bool {
        self.copy_psnr_db <= COPY_PSNR_MAX_DB
    }

    fn measured(&self, next: Errors, rollout: Errors) -> DriveMeasurement {
        DriveMeasurement {
            name: self.name.clone(),
            copy_psnr_db: self.copy_psnr_db,
            counted: self.is_counted(),
            next,
            rollout,
        }
    }
}

/// PSNR of the mean copy error over every step of a whole drive, in dB: one figure for all its parts,
/// and the same for every model.
///
/// Infinite for a still drive and for one without a step: neither is counted.
pub fn copy_psnr_db(footage: &dyn Footage) -> f64 {
    let mean = Clips::of_all(footage, 1, 1).copy_error_mean();
    mean.map_or(f64::INFINITY, psnr_db)
}

/// Squared errors of one drive's clips, in order of time; of a log of tokens the nats of its rows; of imitation the weighted
/// distances of its moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    /// Of the prediction, per clip or row.
    pub model: Vec<f64>,
    /// Of the last past frame shown again, per clip; per row of what skill is counted from.
    pub copy: Vec<f64>,
    /// The clip's block: clips that start in one second of one span have one number.
    pub block: Vec<u32>,
}

impl Errors {
    /// How many clips were measured.
    pub fn clips(&self) -> usize {
        self.copy.len()
    }

    /// 1 − Σ e_model ÷ Σ e_copy; `None` without clips, or if nothing moves in any.
    pub fn skill(&self) -> Option<f64> {
        let copy: f64 = self.copy.iter().sum();
        (copy > 0.0).then(|| 1.0 - self.model.iter().sum::<f64>() / copy)
    }

    /// PSNR of the mean error of the prediction, in dB; infinite for a perfect one.
    pub fn psnr_db(&self) -> f64 {
        psnr_db(self.model.iter().sum::<f64>() / self.model.len() as f64)
    }

    /// PSNR of the mean error of the copied frame, in dB.
    pub fn copy_psnr_db(&self) -> f64 {
        psnr_db(self.copy.iter().sum::<f64>() / self.copy.len() as f64)
    }
}

/// What one predictor did on one drive.
#[derive(Clone, Debug, PartialEq)]
pub struct DriveMeasurement {
    /// The drive's name.
    pub name: String,
    /// Copy PSNR of the whole drive, in dB.
    pub copy_psnr_db: f64,
    /// Whether the drive is counted.
    pub counted: bool,
    /// Of the next frame.
    pub next: Errors,
    /// Of the last frame of five-step roll-outs; without clips if none was measured or has room.
    pub rollout: Errors,
}

/// What one predictor did on a set of drives.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// What predicted.
    pub predictor: String,
    /// Every drive, in the order given.
    pub drives: Vec<DriveMeasurement>,
}

impl Measurement {
    /// Drives that are counted and whose clips move.
    fn counted(&self) -> impl Iterator<Item = &DriveMeasurement> {
        self.drives.iter().filter(|drive| drive.counted)
    }

    /// Plain mean of the skills of the counted drives; `None` if none is counted.
    pub fn skill(&self) -> Option<f64> {
        mean(self.counted().filter_map(|drive| drive.next.skill()))
    }

    /// The same of the five-step roll-out, over the counted drives that have one.
    pub fn rollout_skill(&self) -> Option<f64> {
        mean(self.counted().filter_map(|drive| drive.rollout.skill()))
    }

    /// The set's skill as a term value.
    pub fn term_value(&self) -> Option<i16> {
        self.skill().map(term_value)
    }

    /// Paired difference `self − other` of the set's skill on the same clips: drives fixed, clips
    /// resampled in blocks of a second, as a vote reports it. Drives without a skill here are left out, as in
    /// [`Measurement::skill`].
    ///
    /// `None` if no drive is left.
    /// # Panics
    /// If the two did not measure the same clips.
    pub fn difference<'a>(
        &'a self,
        other: &'a Measurement,
        draws: usize,
        seed: u64,
    ) -> Option<Interval> {
        assert_eq!(self.drives.len(), other.drives.len(), "the same drives");
        let against = |index: usize| {
            let (drive, against) = (&self.drives[index], &other.drives[index]);
            assert_eq!(drive.name, against.name, "the same drives");
            assert_eq!(drive.next.copy, against.next.copy, "the same clips");
            against.next.model.as_slice()
        };
        self.bootstrap(against, draws, seed)
    }

    /// What this gains over `base`, measured on the same clips: drive by drive a measurement whose skill is the difference of theirs.
    /// Its errors are the copy's and what `self` errs more than `base`; they may lie below 0.
    ///
    /// # Panics
    /// If the two did not measure the same clips.
    #[must_use]
    pub fn gain_over(&self, base: &Measurement) -> Measurement {
        let of_errors = |own: &Errors, base: &Errors| {
            assert_eq!(own.copy, base.copy, "the same clips");
            let more = own.model.iter().zip(&base.model).map(|(own, base)| own - base);
            let model = more.zip(&own.copy).map(|(more, copy)| copy + more).collect();
            Errors { model, copy: own.copy.clone(), block: own.block.clone() }
        };
        assert_eq!(self.drives.len(), base.drives.len(), "the same drives");
        let drives = self.drives.iter().zip(&base.drives).map(|(own, base)| DriveMeasurement {
            name: own.name.clone(),
            copy_psnr_db: own.copy_psnr_db,
            counted: own.counted,
            next: of_errors(&own.next, &base.next),
            rollout: of_errors(&own.rollout, &base.rollout),
        });
        Measurement { predictor: self.predictor.clone(), drives: drives.collect() }
    }

    /// The roll-outs in the place of the next frames: what is said of those is then said of the fifth frame.
    #[must_use]
    pub fn of_rollouts(&self) -> Measurement {
        let mut of = self.clone();
        of.drives.iter_mut().for_each(|drive| drive.next = std::mem::take(&mut drive.rollout));
        of
    }

    /// The set's skill, resampled alike: how sure it is by itself.
    ///
    /// `None` as for [`Measurement::skill`].
    pub fn interval(&self, draws: usize, seed: u64) -> Option<Interval> {
        // The skill of 'nothing moves' is 0 in every draw.
        self.bootstrap(|index| &self.drives[index].next.copy, draws, seed)
    }

    fn bootstrap<'a>(
        &'a self,
        second: impl Fn(usize) -> &'a [f64],
        draws: usize,
        seed: u64,
    ) -> Option<Interval> {
        let drives = self.drives.iter().enumerate();
        let pairs: Vec<PairedClips<'_>> = drives
            .filter(|(_, drive)| drive.counted && drive.next.skill().is_some())
            .map(|(index, drive)| PairedClips {
                first: &drive.next.model,
                second: second(index),
                copy: &drive.next.copy,
                block: &drive.next.block,
            })
            .collect();
        // As term values are.
        bootstrap(&pairs, draws, seed, 1.0)
    }
}

/// A skill (or another metric in [−1, 1]) as a term value: clamped, in units of 1e-4, nearest.
///
/// # Panics
/// If `metric` is NaN: what was measured is a number.
pub fn term_value(metric: f64) -> i16 {
    assert!(!metric.is_nan(), "a term value is a number");
    (metric.clamp(-1.0, 1.0) * 1e4).round() as i16
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// What is measured beside the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// Nothing.
    Next,
    /// The five-step roll-out, wherever a clip has room for it.
    NextAndRollout,
}

/// Why a measurement failed.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The predictor reads other frames than the drive has.
    #[error("{drive}: the frames are {got}; the model reads {want}")]
    Form { drive: String, got: String, want: String },
    /// The engine failed.
    #[error("{drive}, clip at frame {first}: the prediction failed")]
    Predict { drive: String, first: usize, source: Box<EngineError> },
    /// The prediction is not a number everywhere.
    #[error("{drive}, clip at frame {first}: the model predicts NaN")]
    NotANumber { drive: String, first: usize },
}

/// Measures a predictor on drives, in their order; the same clips give the same bits.
///
/// In a roll-out each prediction (clamped) becomes the newest past frame of the next; the motion of the
/// first step is held, nothing that a vehicle could not know is given. Its error is that of the fifth
/// frame, against that of the last true past frame shown again.
///
/// # Errors
/// [`MeasureError`], naming the drive and the clip.
/// # Panics
/// If it predicts with several adapters: see [`measure_together`].
pub fn measure(
    predictor: &mut dyn Predictor,
    drives: &[DriveClips<'_>],
    horizon: Horizon,
) -> Result<Measurement, MeasureError> {
    assert_eq!(predictor.adapters(), 1, "one measurement is of one adapter");
    let mut buffers = Buffers::new(predictor);
    let mut measured = Vec::with_capacity(drives.len());
    for drive in drives {
        for clips in &drive.clips {
            check_form(&drive.name, clips.footage(), clips.context(), predictor.form())?;
        }
        let next = buffers.errors(predictor, drive, 1)?.swap_remove(0);
        let rollout = match horizon {
            Horizon::Next => Errors::default(),
            Horizon::NextAndRollout => {
                buffers.errors(predictor, drive, ROLLOUT_FRAMES)?.swap_remove(0)
            }
        };
        measured.push(drive.measured(next, rollout));
    }
    Ok(Measurement { predictor: predictor.describe(), drives: measured })
}

/// Measures the next frames of every adapter that a predictor predicts with: one measurement each, in their order.
///
/// Each is what [`measure`] gives of a predictor with that adapter alone, but for the rounding of an engine that computes them
/// together: about 1e-6 of an error.
///
/// # Errors
/// As [`measure`].
pub fn measure_together(
    predictor: &mut dyn Predictor,
    drives: &[DriveClips<'_>],
) -> Result<Vec<Measurement>, MeasureError> {
    let mut buffers = Buffers::new(predictor);
    let of_one = Measurement { predictor: predictor.describe(), drives: Vec::new() };
    let mut measured = vec![of_one; predictor.adapters()];
    for drive in drives {
        for clips in &drive.clips {
            check_form(&drive.name, clips.footage(), clips.context(), predictor.form())?;
        }
        let errors = buffers.errors(predictor, drive, 1)?;
        for (measured, next) in measured.iter_mut().zip(errors) {
            measured.drives.push(drive.measured(next, Errors::default()));
        }
    }
    Ok(measured)
}

fn check_form(
    drive: &str,
    footage: &dyn Footage,
    context: usize,
    form: &Form,
) -> Result<(), MeasureError> {
    let (shape, rate_hz) = (footage.shape(), footage.rate_hz());
    let same_rate = (rate_hz - form.rate_hz).abs() <= 1e-6 * form.rate_hz;
    if shape == form.shape && same_rate && context == form.context {
        return Ok(());
    }
    let text = |shape: FrameShape, rate_hz: f64, context: usize| {
        let FrameShape { width, height } = shape;
        format!("{width}×{height} at {rate_hz} Hz with {context} past frames a clip")
    };
    Err(MeasureError::Form {
        drive: drive.to_owned(),
        got: text(shape, rate_hz, context),
        want: text(form.shape, form.rate_hz, form.context),
    })
}

/// Room for one batch; all that measuring holds beside the clips' errors.
struct Buffers {
    form: Form,
    batch: usize,
    adapters: usize,
    frames: Vec<f32>,
    motion: Vec<f32>,
    next: Vec<f32>,
    truth: Vec<f32>,
    copy: Vec<f64>,
}

impl Buffers {
    fn new(predictor: &dyn Predictor) -> Self {
        let (form, batch, adapters) = (predictor.form(), predictor.batch(), predictor.adapters());
        assert!(batch > 0, "a batch has clips");
        let frame = form.shape.bytes();
        Buffers {
            form: form.clone(),
            batch,
            adapters,
            frames: vec![0.0; batch * form.frames_len()],
            motion: vec![0.0; batch * form.motion.len()],
            next: vec![0.0; adapters * batch * frame],
            truth: vec![0.0; frame],
            copy: vec![0.0; batch],
        }
    }

    /// Errors of the frame `ahead` steps after the past ones, over all clips of a drive, by adapter.
    fn errors(
        &mut self,
        predictor: &mut dyn Predictor,
        drive: &DriveClips<'_>,
        ahead: usize,
    ) -> Result<Vec<Errors>, MeasureError> {
        let mut errors = vec![Errors::default(); self.adapters];
        let mut blocks = Blocks::default();
        for (piece, clips) in drive.clips.iter().enumerate() {
            let clips = clips.with_ahead(ahead);
            let mut starts = clips.iter();
            loop {
                let batch: Vec<Clip> = starts.by_ref().take(self.batch).collect();
                let Some(first) = batch.first() else { break };
                self.load(&clips, &batch, ahead);
                self.predict(predictor, &clips, &batch, ahead).map_err(|source| {
                    MeasureError::Predict {
                        drive: drive.name.clone(),
                        first: first.first,
                        source: Box::new(source),
                    }
                })?;
                for (index, clip) in batch.iter().enumerate() {
                    let second = blocks.second(&clips, *clip);
                    let block = blocks.number((piece, clip.span, second));
                    self.see(clips.footage(), *clip, ahead);
                    for (adapter, errors) in errors.iter_mut().enumerate() {
                        let error = self.error(adapter * batch.len() + index);
                        if !error.is_finite() {
                            let (drive, first) = (drive.name.clone(), clip.first);
                            return Err(MeasureError::NotANumber { drive, first });
                        }
                        errors.model.push(error);
                        errors.copy.push(self.copy[index]);
                        errors.block.push(block);
                    }
                }
            }
        }
        Ok(errors)
    }

    /// Past frames of every clip, and the error of its last one shown again.
    fn load(&mut self, clips: &Clips<'_>, batch: &[Clip], ahead: usize) {
        let (form, frame) = (&self.form, self.form.shape.bytes());
        let footage = clips.footage();
        let samples = self.frames.chunks_exact_mut(form.frames_len());
        for ((clip, frames), copy) in batch.iter().zip(samples).zip(&mut self.copy) {
            let next = clip.first + form.context;
            for (back, planes) in frames.rchunks_exact_mut(frame).enumerate() {
                to_planes(footage.frame(next - 1 - back), planes);
            }
            to_planes(footage.frame(next + ahead - 1), &mut self.truth);
            *copy = mean_square(&frames[frames.len() - frame..], &self.truth);
        }
    }

    /// Predicts `ahead` frames of every clip, each from those before it.
    fn predict(
        &mut self,
        predictor: &mut dyn Predictor,
        clips: &Clips<'_>,
        batch: &[Clip],
        ahead: usize,
    ) -> Result<(), EngineError> {
        let (past, frame) = (self.form.frames_len(), self.form.shape.bytes());
        let (frames, next) = (
            &mut self.frames[..batch.len() * past],
            &mut self.next[..self.adapters * batch.len() * frame],
        );
        let values = self.form.motion.len();
        for step in 0..ahead {
            if step > 0 {
                for (frames, next) in frames.chunks_exact_mut(past).zip(next.chunks_exact(frame)) {
                    frames.copy_within(frame.., 0);
                    frames[past - frame..].copy_from_slice(next);
                }
            }
            for (index, clip) in batch.iter().enumerate() {
                let motion = &mut self.motion[index * values..][..values];
                let (next, newest) = (clip.first + self.form.context, self.form.motion.lag);
                let at = |back: usize| (next + step - back).min(next - newest);
                self.form.motion.write(|back| clips.footage().motion(at(back)), motion);
            }
            let motion = &self.motion[..batch.len() * values];
            predictor.predict(batch.len(), frames, motion, next)?;
        }
        Ok(())
    }

    /// The frame that came.
    fn see(&mut self, footage: &dyn Footage, clip: Clip, ahead: usize) {
        to_planes(footage.frame(clip.first + self.form.context + ahead - 1), &mut self.truth);
    }

    fn error(&self, index: usize) -> f64 {
        let frame = self.form.shape.bytes();
        mean_square(&self.next[index * frame..][..frame], &self.truth)
    }
}

/// Numbers the seconds in which clips start, in order of time.
#[derive(Clone, Default)]
struct Blocks {
    last: Option<(usize, usize, usize)>,
    count: u32,
}

impl Blocks {
    /// The second of its span in which a clip starts.
    fn second(&self, clips: &Clips<'_>, clip: Clip) -> usize {
        let offset = clip.first - clips.spans()[clip.span].first;
        (offset as f64 / clips.footage().rate_hz()) as usize
    }

    fn number(&mut self, place: (usize, usize, usize)) -> u32 {
        if self.last.is_some_and(|last| last != place) {
            self.count += 1;
        }
        self.last = Some(place);
        self.count
    }
}

#[cfg(test)]
mod tests;
