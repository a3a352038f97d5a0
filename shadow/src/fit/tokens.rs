//! The batches of a token model in its training graph.

use shoal_runtime::engine::{EngineError, Session};
use shoal_runtime::gradient::{LossSpec, PlacedLoss};
use shoal_runtime::rollout::Feed;

use super::losses::{classes_only, fitting_losses};
use super::{Binding, FitError};
use crate::measure::tokens::TokenInputs;
use crate::package::Description;
use crate::tokens::{TokenBatch, TokenForm, TokenFormError};

/// Signals and tokens in, the target row's token at the last position as target.
///
/// Of a model with logits at every position only the last one is trained, as only it is measured: the
/// others predict rows from fewer. Its weight is the number of positions, because the graph divides
/// by all of them: the loss is the mean over samples, in nats a token.
pub struct Tokens {
    inputs: TokenInputs,
    target: usize,
    positions: usize,
    targets: Vec<i64>,
}

impl Binding for Tokens {
    type Batch = TokenBatch;

    fn losses(package: &Description) -> Result<Vec<LossSpec>, FitError> {
        let next = package.next_token.as_ref().ok_or(TokenFormError::NoNextToken)?;
        fitting_losses(package, |loss| match loss.output == next.output {
            true => classes_only(loss, "a token"),
            false => Some(format!(
                "rows of tokens have a target for [next_token] `{}` alone",
                next.output
            )),
        })
    }

    fn feed(_package: &Description) -> Result<Feed, FitError> {
        Err(FitError::NotFedBack { why: "a token is drawn, which has no gradient" })
    }

    fn bind(
        package: &Description,
        session: &mut dyn Session,
        losses: &[PlacedLoss],
    ) -> Result<Self, FitError> {
        let form = TokenForm::of(package)?;
        let loss = losses.first().ok_or(TokenFormError::NoNextToken)?;
        let inputs = TokenInputs::bind(session, package, &form)?;
        let (target, weight) =
            (session.input_index(&loss.target)?, session.input_index(&loss.weight)?);
        let values = session.inputs()[target].ty.values();
        let positions = values / inputs.batch();
        let mut weights = vec![0.0; values];
        for sample in weights.chunks_exact_mut(positions) {
            sample[positions - 1] = positions as f32;
        }
        session.write_f32(weight, &weights)?;
        Ok(Tokens { inputs, target, positions, targets: vec![0; values] })
    }

    fn write(
        &mut self,
        session: &mut dyn Session,
        batch: &TokenBatch,
        first: usize,
    ) -> Result<(), EngineError> {
        self.inputs.write_part(session, batch, first)?;
        let targets = batch.target().iter().skip(first);
        for (sample, &token) in self.targets.chunks_exact_mut(self.positions).zip(targets) {
            sample[self.positions - 1] = token;
        }
        session.write_i64(self.target, &self.targets)
    }
}
