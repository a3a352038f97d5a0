//! Training on a device whose memory the program cannot see: what crosses the border in a step.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shoal_runtime::engine::testing::{ort_or_skip, regression};
use shoal_runtime::engine::{
    Engine, EngineError, LoadOptions, Place, Placement, Session, TensorPort,
};
use shoal_runtime::onnx::Element;
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainOptions, Trainer};

/// Tensors that crossed, by name: how often.
#[derive(Debug, Default)]
struct Traffic {
    written: BTreeMap<String, usize>,
    read: BTreeMap<String, usize>,
}

/// A session whose inputs are a device's: they can be written, and neither seen nor filled in place.
struct OnDevice {
    session: Box<dyn Session>,
    inputs: Vec<TensorPort>,
    traffic: Arc<Mutex<Traffic>>,
}

impl OnDevice {
    fn new(session: Box<dyn Session>) -> (Self, Arc<Mutex<Traffic>>) {
        let mut inputs = session.inputs().to_vec();
        inputs.iter_mut().for_each(|port| port.place = Place::Device);
        let traffic = Arc::<Mutex<Traffic>>::default();
        (OnDevice { session, inputs, traffic: Arc::clone(&traffic) }, traffic)
    }

    fn read(&self, output: usize) {
        let name = self.session.outputs()[output].name.clone();
        *self.traffic.lock().unwrap().read.entry(name).or_default() += 1;
    }
}

impl Session for OnDevice {
    fn inputs(&self) -> &[TensorPort] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorPort] {
        self.session.outputs()
    }

    fn write_bytes(&mut self, input: usize, of: Element, bytes: &[u8]) -> Result<(), EngineError> {
        let name = self.inputs[input].name.clone();
        *self.traffic.lock().unwrap().written.entry(name).or_default() += 1;
        self.session.write_bytes(input, of, bytes)
    }

    fn input_f32(&mut self, _input: usize) -> Option<&mut [f32]> {
        None
    }

    fn run(&mut self) -> Result<(), EngineError> {
        self.session.run()
    }

    fn output_bytes(&self, output: usize) -> Result<&[u8], EngineError> {
        self.read(output);
        self.session.output_bytes(output)
    }

    fn output_f32(&self, output: usize) -> Result<&[f32], EngineError> {
        self.read(output);
        self.session.output_f32(output)
    }

    fn output_i64(&self, output: usize) -> Result<&[i64], EngineError> {
        self.read(output);
        self.session.output_i64(output)
    }

    fn copy_output_to_input(&mut self, output: usize, input: usize) -> Result<(), EngineError> {
        self.session.copy_output_to_input(output, input)
    }

    fn proven(&self) -> &Placement {
        self.session.proven()
    }
}

const OPTIONS: TrainOptions = TrainOptions {
    optimiser: AdamW { beta_mean: 0.9, beta_square: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
    schedule: Schedule { peak: 0.05, warm_up_steps: 3, decay: Decay::Constant },
    gradient_norm_max: Some(1.0),
    average: Some(0.9),
};
const STEPS: usize = 12;

/// The factors after some steps, to the bit.
fn train(session: Box<dyn Session>) -> Vec<u32> {
    let mut trainer = Trainer::new(session, OPTIONS, |_| Some(&[0.0; 6])).unwrap();
    for step in 0..STEPS {
        let x: Vec<f32> = (0..12).map(|i| ((i * 7 + step * 5) % 11) as f32 / 5.0 - 1.0).collect();
        let target: Vec<f32> = (0..8).map(|i| x[i] - x[i + 1]).collect();
        trainer.session().write_f32(0, &x).unwrap();
        trainer.session().write_f32(1, &target).unwrap();
        trainer.step().unwrap();
    }
    let (_name, factors) = trainer.parameters().next().unwrap();
    factors.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn no_step_reads_factors_back_from_a_device() {
    let Some(ort) = ort_or_skip() else { return };
    let load = || ort.load(&regression(4, 3, 2).unwrap(), &LoadOptions::default()).unwrap();
    let host = train(load());
    let (session, traffic) = OnDevice::new(load());
    let outputs: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
    assert_eq!(train(Box::new(session)), host);
    let traffic = traffic.lock().unwrap();
    // Each step brings its batch and the factors there once; the factors once more at the start.
    let factor = "w";
    assert!(outputs.iter().all(|output| output != factor), "{outputs:?}");
    assert_eq!(traffic.written[factor], STEPS + 1, "{traffic:?}");
    assert!(traffic.written.values().all(|count| (STEPS..=STEPS + 1).contains(count)));
    // What comes back is what the step is decided by: the loss and the gradient of what is trained.
    let read: Vec<&str> = traffic.read.keys().map(String::as_str).collect();
    assert_eq!(read.len(), 2, "{traffic:?}");
    assert!(read.iter().all(|name| name.contains("loss") || name.contains("grad")), "{read:?}");
}
