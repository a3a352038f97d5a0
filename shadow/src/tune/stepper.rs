//! What takes the steps: a training graph and the room for its batches.

use shoal_runtime::train::StepReport;

use crate::fit::{Binding, Fit, FitError, Source};

/// A training graph of a package and the room for its batches.
pub struct Stepper<B: Binding> {
    pub(super) fit: Fit<B>,
    pub(super) batch: B::Batch,
}

impl<B: Binding> Stepper<B> {
    /// Takes `steps` steps on batches drawn from `source`, telling of each; returns the mean loss.
    ///
    /// # Errors
    /// [`FitError::Train`], [`FitError::Engine`] if the source fails: what is trained is then as after the last good step.
    pub fn run(
        &mut self,
        source: &mut impl Source<B::Batch>,
        steps: u32,
        mut tell: impl FnMut(&StepReport),
    ) -> Result<f32, FitError> {
        let mut sum = 0.0;
        for _ in 0..steps {
            source.fill(self.fit.trainer().step_count(), &mut self.batch)?;
            let report = self.fit.step(&self.batch)?;
            sum += f64::from(report.loss);
            tell(&report);
        }
        Ok((sum / f64::from(steps.max(1))) as f32)
    }

    /// Steps taken, those before a resumed checkpoint included.
    pub fn step_count(&mut self) -> u64 {
        self.fit.trainer().step_count()
    }

    /// Everything that training goes on from: what is trained, moments, step.
    ///
    /// # Errors
    /// [`FitError::Train`] where a device does not give it.
    pub fn checkpoint(&mut self) -> Result<Vec<u8>, FitError> {
        Ok(self.fit.trainer().checkpoint()?)
    }

    /// Goes on from a checkpoint of the same package and options.
    ///
    /// # Errors
    /// [`FitError::Checkpoint`] if the bytes are none of this training graph; nothing is changed.
    pub fn resume(&mut self, checkpoint: &[u8]) -> Result<(), FitError> {
        Ok(self.fit.trainer().restore(checkpoint)?)
    }
}
