//! The steps of `shoal model train`, and how they end.

use std::path::Path;

use shoal_runtime::train::TrainError;
use shoal_shadow::fit::{Binding, FitError, Source};
use shoal_shadow::tune::Stepper;

use super::saved::Saved;
use crate::output::{Failure, Outcome, Progress};

/// Steps from one checkpoint to the next.
pub(super) const STEPS_A_CHECKPOINT: u32 = 50;

/// How many steps are taken, and how they are shown and kept.
pub(super) struct Steps<'a> {
    pub(super) count: u32,
    pub(super) saved: Option<Saved<'a>>,
    /// The engine's name for people.
    pub(super) engine: String,
}

impl Steps<'_> {
    /// Takes all steps that are left, with a checkpoint now and then; why training stopped before, where a loss or a gradient
    /// was not finite, or why a checkpoint was not written.
    pub(super) fn take<B: Binding>(
        &self,
        stepper: &mut Stepper<B>,
        source: &mut impl Source<B::Batch>,
    ) -> Result<Option<Failure>, Failure> {
        if let Some(saved) = &self.saved {
            saved.resume(stepper)?;
        }
        let mut unwritten = None;
        let (all, mut progress) = (u64::from(self.count), Progress::new());
        while let left @ 1.. = all.saturating_sub(stepper.step_count()) {
            let count = u32::try_from(left).unwrap_or(u32::MAX).min(STEPS_A_CHECKPOINT);
            let ran = stepper.run(source, count, |report| {
                let text = format!("steps with {}, loss {:.4}", self.engine, report.loss);
                progress.show(report.step.get(), all, text);
            });
            match ran {
                Ok(_loss) => {}
                Err(why) if is_not_finite(&why) => return Ok(Some(why.into())),
                Err(why) => return Err(why.into()),
            }
            let checkpoint = stepper.checkpoint()?;
            unwritten = unwritten.or(self.save(&[&checkpoint]));
        }
        Ok(unwritten)
    }

    /// Writes where training is; why not, if it is to be written and is not: what was learnt is worth more than its checkpoint.
    pub(super) fn save(&self, parts: &[&[u8]]) -> Option<Failure> {
        let why = self.saved.as_ref()?.write(parts).err()?;
        eprintln!("warning: {why}");
        Some(why)
    }
}

/// Whether training met a loss or a gradient that is not finite.
pub(super) fn is_not_finite(why: &FitError) -> bool {
    matches!(why, FitError::Train(TrainError::NotFinite { .. }))
}

/// Says what was written; fails where training stopped before its last step.
pub(super) fn ended(stopped: Option<Failure>, output: &Path) -> Outcome {
    match stopped {
        None => {
            println!("{}", output.display());
            Ok(())
        }
        Some(why) => Err(stopped_with(&why, output)),
    }
}

/// The failure of training that stopped and wrote what it had.
pub(super) fn stopped_with(why: &Failure, output: &Path) -> Failure {
    format!("{why}\n  {} has what the last good step left", output.display()).into()
}
