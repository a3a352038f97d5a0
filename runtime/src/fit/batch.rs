//! Drawn batches: perturbed inputs, what is wanted for them, and how much each loss counts.

use super::{FitError, FitOptions};
use crate::draw::{Drawn, InputRange, draw};
use crate::engine::{EngineError, Session};
use crate::gradient::{Differentiated, PlacedLoss};
use crate::onnx::{Data, Element, Tensor, TensorType};

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
    let (element, values) = (ty.element, ty.values());
    let target = session.inputs()[session.input_index(&loss.target)?].ty.element;
    let one = Tensor::scalar(element, weight.min(greatest(target)) as f32).to_le_bytes();
    let mut own = one.repeat(values);
    if let Some(distilled) = distilled {
        let input = session.input_index(&distilled.weight)?;
        let samples = session.inputs()[input].ty.values();
        if asked >= samples {
            let tensor = loss.tensor.clone();
            return Err(FitError::Distilled { asked, tensor, samples });
        }
        let mut taught = one.repeat(samples);
        let kept = samples - asked;
        taught[..kept * element.bytes()].fill(0);
        // A cross-entropy weighs every row of a sample by itself.
        own[kept * (values / samples) * element.bytes()..].fill(0);
        session.write_bytes(input, element, &taught)?;
    }
    Ok(session.write_bytes(input, element, &own)?)
}

/// Perturbed inputs and what is wanted for them.
pub(super) struct Batch {
    /// Input, perturbed values.
    perturbed: Vec<(usize, Tensor)>,
    /// Of every loss what is wanted.
    targets: Vec<Target>,
}

/// What the model gives for clean inputs.
struct Target {
    input: usize,
    given: Tensor,
    /// The likeliest class of each row, where the loss is one of classes.
    classes: Option<Tensor>,
}

impl Target {
    fn wanted(&self) -> &Tensor {
        self.classes.as_ref().unwrap_or(&self.given)
    }
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
            let given = read(session, &loss.tensor)?;
            if let Some(value) = given.to_f64s().into_iter().find(|x| !x.is_finite()) {
                return Err(FitError::NotFinite { tensor: loss.tensor.clone(), value });
            }
            let classes = loss.is_of_classes().then(|| likeliest(&given));
            targets.push(Target { input: session.input_index(&loss.target)?, given, classes });
        }
        Ok(Batch { perturbed, targets })
    }

    pub(super) fn write(&self, session: &mut dyn Session) -> Result<(), EngineError> {
        let targets = self.targets.iter().map(|target| (target.input, target.wanted()));
        let all = self.perturbed.iter().map(|(input, tensor)| (*input, tensor)).chain(targets);
        all.into_iter().try_for_each(|(input, tensor)| session.write(input, tensor))
    }
}

/// The place of the greatest value of each row along the last axis; of equals the first.
fn likeliest(logits: &Tensor) -> Tensor {
    let (dims, values) = (logits.ty().dims, logits.to_f64s());
    let (classes, rows) = dims.split_last().map_or((1, &[][..]), |(last, rows)| (*last, rows));
    let greatest = |row: &[f64]| {
        let places = row.iter().enumerate();
        let found = places.reduce(|best, of| if of.1 > best.1 { of } else { best });
        found.map_or(0, |(place, _)| place as i64)
    };
    let found: Vec<i64> = values.chunks(classes.max(1)).map(greatest).collect();
    Tensor::new(rows, Data::I64(found))
}

fn read(session: &dyn Session, tensor: &str) -> Result<Tensor, EngineError> {
    let output = session.output_index(tensor)?;
    let TensorType { element, dims } = session.outputs()[output].ty.clone();
    let read = Tensor::from_le_bytes(element, &dims, session.output_bytes(output)?);
    Ok(read.unwrap_or_else(|| unreachable!("an output has the bytes of its type")))
}

/// Sets the weight of every loss to one over its mean squared error before the first step; of losses that were asked for to 1.
pub(super) fn weigh(
    session: &mut dyn Session,
    batches: &[Batch],
    (training, options): (&Differentiated, &FitOptions),
    inputs: &[InputRange],
) -> Result<(), FitError> {
    let losses = &training.losses;
    let (mut errors, mut squares) = (vec![0.0; losses.len()], vec![0.0; losses.len()]);
    for batch in batches {
        batch.write(session)?;
        session.run()?;
        for (at, (loss, target)) in losses.iter().zip(&batch.targets).enumerate() {
            let (want, got) = (target.given.to_f64s(), read(session, &loss.tensor)?.to_f64s());
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
            _ if !options.losses.is_empty() => 1.0,
            true if errors[at].is_finite() => 1.0 / errors[at],
            true => 1.0,
            false => 0.0,
        };
        let distilled = training.distilled.iter().find(|held| held.tensor == loss.tensor);
        write_weight(session, loss, distilled, options.distil, weight)?;
    }
    Ok(())
}

/// The greatest weight of a loss whose gradients are of this element: it must hold them with room for a sum.
fn greatest(element: Element) -> f64 {
    if element == Element::F16 { 1e4 } else { 1e30 }
}
