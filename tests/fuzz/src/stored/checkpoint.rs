//! Checkpoints of training.

use sha2::{Digest as _, Sha256};
use shoal_runtime::engine::{EngineError, Place, Placement, Session, TensorPort};
use shoal_runtime::onnx::{Element, TensorType};
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainOptions, Trainer};

/// Values of the one parameter.
const VALUES: usize = 3;
/// What stands before the step: magic, version, hash of the parameters.
const HEAD_BYTES: usize = 4 + 4 + 32;
const HASH_BYTES: usize = 32;

/// The bytes as they are, and behind the head and before the digest that they should have; by a trainer that keeps an average
/// and by one that keeps none.
pub(super) fn checkpoint(bytes: &[u8]) {
    for average in [None, Some(0.9)] {
        let mut trainer = trainer(average);
        let begun = trainer.checkpoint().expect("the state is here");
        let mut mended = begun[..HEAD_BYTES].to_vec();
        mended.extend(bytes);
        mended.extend(Sha256::digest(&mended));
        for bytes in [bytes, &mended] {
            let length = begun.len();
            if trainer.restore(bytes).is_err() {
                continue;
            }
            assert_eq!(bytes.len(), length);
            let again = trainer.checkpoint().expect("the state is here");
            assert!(again == bytes, "a checkpoint is what it is written as");
            let values = trainer.parameters().expect("the state is here");
            assert!(values.flat_map(|(_name, values)| values).all(|value| value.is_finite()));
            let report = trainer.step().expect("the gradient is finite");
            assert_eq!(report.step.get(), trainer.step_count());
        }
        let untouched = trainer.checkpoint().expect("the state is here");
        assert!(trainer.restore(&untouched[..untouched.len() - HASH_BYTES]).is_err());
    }
}

fn trainer(average: Option<f32>) -> Trainer {
    let options = TrainOptions {
        optimiser: AdamW::default(),
        schedule: Schedule { peak: 0.01, warm_up_steps: 3, decay: Decay::Constant },
        gradient_norm_max: Some(1.0),
        average,
    };
    let start = [0.5; VALUES];
    Trainer::new(Box::new(Flat::new()), options, |_name| Some(&start)).expect("it has a gradient")
}

/// A session that computes nothing: its loss and its gradient are constants.
struct Flat {
    inputs: [TensorPort; 1],
    outputs: [TensorPort; 2],
    written: [f32; VALUES],
    loss: [f32; 1],
    gradient: [f32; VALUES],
    proven: Placement,
}

impl Flat {
    fn new() -> Self {
        let port = |name: &str, dims: &[usize]| TensorPort {
            name: name.to_owned(),
            ty: TensorType::f32(dims),
            place: Place::Host,
        };
        Flat {
            inputs: [port("w", &[VALUES])],
            outputs: [port("loss", &[]), port("grad.w", &[VALUES])],
            written: [0.0; VALUES],
            loss: [1.0],
            gradient: [0.25; VALUES],
            proven: Placement::default(),
        }
    }

    fn none(&self) -> EngineError {
        EngineError::Run { engine: "none".into(), reason: "it computes nothing".into() }
    }
}

impl Session for Flat {
    fn inputs(&self) -> &[TensorPort] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorPort] {
        &self.outputs
    }

    fn write_bytes(
        &mut self,
        _input: usize,
        _element: Element,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let values = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
        self.written.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        Ok(())
    }

    fn input_f32(&mut self, _input: usize) -> Option<&mut [f32]> {
        Some(&mut self.written)
    }

    fn run(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn output_bytes(&self, _output: usize) -> Result<&[u8], EngineError> {
        Err(self.none())
    }

    fn output_f32(&self, output: usize) -> Result<&[f32], EngineError> {
        Ok(if output == 0 { &self.loss } else { &self.gradient })
    }

    fn output_i64(&self, _output: usize) -> Result<&[i64], EngineError> {
        Err(self.none())
    }

    fn copy_output_to_input(&mut self, _output: usize, _input: usize) -> Result<(), EngineError> {
        Err(self.none())
    }

    fn proven(&self) -> &Placement {
        &self.proven
    }
}
