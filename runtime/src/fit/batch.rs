//! Drawn batches: perturbed inputs, what is wanted for them, and how much each loss counts.

use super::{FitError, FitOptions};
use crate::draw::{Drawn, InputRange, draw};
use crate::engine::{EngineError, Session};
use crate::gradient::{Differentiated, PlacedLoss};
use crate::onnx::{Element, Tensor, TensorType};

/// Writes the weight of one loss for every sample: the last `asked` ones count for its distillation in its place.
fn write_weight(
    session: &mut dyn Session,
    loss: &PlacedLoss,
    distilled: Option<&PlacedLoss>,
    asked: usize,
    weight: f64,
) -> Result<(), FitError> {
    let input = session.input_index(&loss.weight)?;
    let ty = session.inputs()[input].ty.clone();
    let (element, samples) = (ty.element, ty.values());
    let target = session.inputs()[session.input_index(&loss.target)?].ty.element;
    let one = Tensor::scalar(element, weight.min(greatest(target)) as f32).to_le_bytes();
    let mut own = one.repeat(samples);
    if let Some(distilled) = distilled {
        if asked >= samples {
            let tensor = loss.tensor.clone();
            return Err(FitError::Distilled { asked, tensor, samples });
        }
        let mut taught = own.clone();
        let place = (samples - asked) * element.bytes();
        own[place..].fill(0);
        taught[..place].fill(0);
        let input = session.input_index(&distilled.weight)?;
        session.write_bytes(input, element, &taught)?;
    }
    Ok(session.write_bytes(input, element, &own)?)
}

/// Perturbed inputs and what is wanted for them.
pub(super) struct Batch {
    /// Input, perturbed values.
    perturbed: Vec<(usize, Tensor)>,
    /// Input, what is wanted: what the model gives for clean inputs.
    targets: Vec<(usize, Tensor)>,
}

impl Batch {
    /// Every batch, with what the model gives as it is now.
    pub(super) fn all(
        session: &mut dyn Session,
        inputs: &[InputRange],
        training: &Differentiated,
        options: &FitOptions,
    ) -> Result<Vec<Batch>, FitError> {
        let of = |number| {
            let drawn = draw(inputs, options.seed, number);
            Batch::of(&mut *session, drawn, &training.losses)
        };
        (0..options.batches.max(1)).map(of).collect()
    }

    /// Runs the model on the clean inputs.
    fn of(
        session: &mut dyn Session,
        drawn: Vec<Drawn>,
        losses: &[PlacedLoss],
    ) -> Result<Batch, FitError> {
        let mut perturbed = Vec::new();
        for one in drawn {
            // A training graph keeps inputs that it does not read.
            let input = session.input_index(&one.input)?;
            session.write(input, &one.clean)?;
            perturbed.push((input, one.perturbed));
        }
        session.run()?;
        let mut targets = Vec::new();
        for loss in losses {
            let target = read(session, &loss.tensor)?;
            if let Some(value) = target.to_f64s().into_iter().find(|x| !x.is_finite()) {
                return Err(FitError::NotFinite { tensor: loss.tensor.clone(), value });
            }
            targets.push((session.input_index(&loss.target)?, target));
        }
        Ok(Batch { perturbed, targets })
    }

    pub(super) fn write(&self, session: &mut dyn Session) -> Result<(), EngineError> {
        let all = self.perturbed.iter().chain(&self.targets);
        all.into_iter().try_for_each(|(input, tensor)| session.write(*input, tensor))
    }
}

fn read(session: &dyn Session, tensor: &str) -> Result<Tensor, EngineError> {
    let output = session.output_index(tensor)?;
    let TensorType { element, dims } = session.outputs()[output].ty.clone();
    let read = Tensor::from_le_bytes(element, &dims, session.output_bytes(output)?);
    Ok(read.unwrap_or_else(|| unreachable!("an output has the bytes of its type")))
}

/// Sets the weight of every loss to one over its mean squared error before the first step.
pub(super) fn weigh(
    session: &mut dyn Session,
    batches: &[Batch],
    (training, asked): (&Differentiated, usize),
    inputs: &[InputRange],
) -> Result<(), FitError> {
    let losses = &training.losses;
    let (mut errors, mut squares) = (vec![0.0; losses.len()], vec![0.0; losses.len()]);
    for batch in batches {
        batch.write(session)?;
        session.run()?;
        for (at, (loss, (_, target))) in losses.iter().zip(&batch.targets).enumerate() {
            let (want, got) = (target.to_f64s(), read(session, &loss.tensor)?.to_f64s());
            let count = (want.len().max(1) * batches.len()) as f64;
            if let Some(&value) = got.iter().find(|value| !value.is_finite()) {
                return Err(FitError::Perturbed { tensor: loss.tensor.clone(), value });
            }
            let error = want.iter().zip(&got).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            errors[at] += error / count;
            squares[at] += want.iter().map(|x| x * x).sum::<f64>() / count;
        }
    }
    // Rounding alone is no change; what is not finite is one, and training says so.
    let moves = |at: usize| !errors[at].is_finite() || errors[at] > 1e-12 * squares[at];
    if !(0..losses.len()).any(moves) {
        let inputs = inputs.iter().map(|of| format!("{} {}", of.input, of.range)).collect();
        return Err(FitError::NothingMoves { inputs });
    }
    for (at, loss) in losses.iter().enumerate() {
        let weight = match moves(at) {
            true if errors[at].is_finite() => 1.0 / errors[at],
            true => 1.0,
            false => 0.0,
        };
        write_weight(session, loss, training.distilled.get(at), asked, weight)?;
    }
    Ok(())
}

/// The greatest weight of a loss whose gradients are of this element: it must hold them with room for a sum.
fn greatest(element: Element) -> f64 {
    if element == Element::F16 { 1e4 } else { 1e30 }
}
