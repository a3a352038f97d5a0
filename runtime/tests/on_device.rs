//! Training on a device whose memory the program cannot see: what crosses the border in a step.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{ort_or_skip, regression};
use shoal_runtime::engine::{
    Engine, EngineError, LoadOptions, Place, Placement, Session, TensorPort,
};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Builder, Element, Model, TensorType, fold};
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainError, TrainOptions, Trainer};

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
    let (_name, factors) = trainer.parameters().unwrap().next().unwrap();
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

/// ONNX Runtime on the processor, with the optimiser where a device's would be: behind the graph.
struct InGraph(Ort);

impl Engine for InGraph {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        assert!(options.resident.iter().any(|output| output == "next.train.values"));
        // Of more ONNX Runtime's CUDA makes no graph that it replays.
        let nodes = &model.graph().node;
        assert!(nodes.iter().all(|node| node.input.len() <= 32 && node.output.len() <= 32));
        let (session, _traffic) = OnDevice::new(self.0.load(model, options)?);
        Ok(Box::new(session))
    }

    fn trains_on_device(&self) -> bool {
        true
    }
}

/// A trainer on the host and one whose optimiser is behind the graph, of y = w·x on a batch of four.
fn both(ort: &Ort, options: TrainOptions) -> [Trainer; 2] {
    let graph = fold(&regression(4, 3, 2).unwrap()).unwrap();
    let load = LoadOptions::default();
    let start: [f32; 6] = [0.1, -0.2, 0.3, 0.4, -0.5, 0.6];
    let inside = InGraph(ort.clone());
    let engines: [&dyn Engine; 2] = [ort, &inside];
    engines.map(|engine| {
        Trainer::load(engine, &graph, &load, options, |_| Some(start.as_slice())).unwrap()
    })
}

fn feed(trainer: &mut Trainer, step: usize, scale: f32) {
    let x: Vec<f32> = (0..12).map(|i| ((i * 7 + step * 5) % 11) as f32 / 5.0 - 1.0).collect();
    let target: Vec<f32> = (0..8).map(|i| scale * (x[i] - x[i + 1])).collect();
    trainer.session().write_f32(0, &x).unwrap();
    trainer.session().write_f32(1, &target).unwrap();
}

fn values(trainer: &mut Trainer) -> Vec<f32> {
    let mut all = Vec::new();
    trainer.parameters().unwrap().for_each(|(_name, values)| all.extend_from_slice(values));
    trainer.averaged().unwrap().for_each(|(_name, values)| all.extend_from_slice(values));
    all
}

/// The greatest difference, over the greatest value.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let most = b.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / most
}

/// Nine decimal digits of float32, a few steps long.
const NEAR: f32 = 2e-6;

#[test]
fn an_optimiser_behind_the_graph_takes_the_steps_of_the_one_on_the_host() {
    let Some(ort) = ort_or_skip() else { return };
    let decays = AdamW { weight_decay: 0.1, ..OPTIONS.optimiser };
    for options in [
        OPTIONS,
        TrainOptions { gradient_norm_max: None, average: None, ..OPTIONS },
        TrainOptions { optimiser: decays, ..OPTIONS },
    ] {
        let [mut host, mut device] = both(&ort, options);
        for step in 0..STEPS {
            let [a, b] = [&mut host, &mut device].map(|trainer| {
                feed(trainer, step, 1.0);
                trainer.step().unwrap()
            });
            assert_eq!((a.step, a.learning_rate), (b.step, b.learning_rate));
            assert!((a.loss - b.loss).abs() <= NEAR * a.loss.abs(), "{a:?} {b:?}");
            assert!((a.gradient_norm - b.gradient_norm).abs() <= NEAR * a.gradient_norm);
            assert!(apart(&values(&mut device), &values(&mut host)) < NEAR, "step {step}");
        }
        let mut gradients = [Vec::new(), Vec::new()];
        let losses = [host.gradient(&mut gradients[0]), device.gradient(&mut gradients[1])];
        let [a, b] = losses.map(Result::unwrap);
        assert!((a - b).abs() <= NEAR * a && apart(&gradients[1], &gradients[0]) < NEAR);
        assert!((host.loss().unwrap() - device.loss().unwrap()).abs() <= NEAR * a);
        assert!(apart(&values(&mut device), &values(&mut host)) < NEAR, "no step was asked for");
    }
}

#[test]
fn hundreds_of_factors_are_joined_behind_the_graph() {
    let Some(ort) = ort_or_skip() else { return };
    let mut builder = Builder::new(17);
    let mut y = builder.input("x", TensorType::f32(&[2]));
    // 32·32 and a few: parts of parts of parts.
    let names: Vec<String> = (0..1030).map(|number| format!("w{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let w = builder.input(name, TensorType::f32(&[2]));
        let share = builder.scalar((number + 1) as f32 / 1030.0);
        let share = builder.op("Mul", &[&w, &share], &[]).unwrap();
        y = builder.op("Add", &[&y, &share], &[]).unwrap();
    }
    builder.output("y", &y);
    let profile = Profile::Cuda;
    let options = DifferentiateOptions { losses: Vec::new(), wrt: names, strict: false, profile };
    let graph = differentiate(&builder.finish(), &options).unwrap().folded;
    let inside = InGraph(ort.clone());
    let engines: [&dyn Engine; 2] = [&ort, &inside];
    let [host, device] = engines.map(|engine| {
        let start = [0.01, -0.01];
        let load = LoadOptions::default();
        let mut trainer =
            Trainer::load(engine, &graph, &load, OPTIONS, |_| Some(start.as_slice())).unwrap();
        for step in 0..3 {
            let session = trainer.session();
            for (name, values) in [("x", [0.5, -0.5]), ("target.y", [step as f32, -1.0])] {
                session.write_f32(session.input_index(name).unwrap(), &values).unwrap();
            }
            session.write_f32(session.input_index("weight.y").unwrap(), &[1.0, 1.0]).unwrap();
            trainer.step().unwrap();
        }
        values(&mut trainer)
    });
    assert!(apart(&device, &host) < NEAR && host[0] != 0.01, "{}", apart(&device, &host));
}

#[test]
fn a_batch_in_parts_is_gathered_behind_the_graph() {
    let Some(ort) = ort_or_skip() else { return };
    let [mut host, mut device] = both(&ort, OPTIONS);
    for step in 0..STEPS {
        let [a, b] = [&mut host, &mut device].map(|trainer| {
            // One, two and three parts by turns: what was gathered before must be gone.
            for part in 0..step % 3 {
                feed(trainer, step + part + 1, 2.0);
                trainer.gather().unwrap();
            }
            feed(trainer, step, 1.0);
            trainer.step().unwrap()
        });
        assert!((a.loss - b.loss).abs() <= NEAR * a.loss, "{a:?} {b:?}");
        assert!(apart(&values(&mut device), &values(&mut host)) < NEAR, "step {step}");
    }
}

#[test]
fn a_step_that_is_not_finite_moves_nothing_behind_the_graph() {
    let Some(ort) = ort_or_skip() else { return };
    let [_host, mut device] = both(&ort, OPTIONS);
    for step in 0..3 {
        feed(&mut device, step, 1.0);
        device.step().unwrap();
    }
    let good = device.checkpoint().unwrap();
    for scale in [f32::NAN, f32::INFINITY] {
        feed(&mut device, 3, 1.0);
        device.gather().unwrap();
        feed(&mut device, 3, scale);
        let error = device.step().unwrap_err();
        assert!(
            matches!(&error, TrainError::NotFinite { output, .. } if output == "loss"),
            "{error}"
        );
        assert_eq!(device.checkpoint().unwrap(), good);
    }
    // A loss that is finite, and a gradient that is not.
    feed(&mut device, 3, 1e19);
    let error = device.step().unwrap_err().to_string();
    assert!(error.contains("step 4") && error.contains("are those of step 3"), "{error}");
    assert_eq!(device.checkpoint().unwrap(), good);
    feed(&mut device, 3, 1.0);
    assert_eq!(device.step().unwrap().step.get(), 4);
}

#[test]
fn training_behind_the_graph_goes_on_from_a_checkpoint_to_the_bit() {
    let Some(ort) = ort_or_skip() else { return };
    let [_, mut whole] = both(&ort, OPTIONS);
    let [_, mut second] = both(&ort, OPTIONS);
    for step in 0..STEPS {
        feed(&mut whole, step, 1.0);
        whole.step().unwrap();
        if step == 4 {
            second.restore(&whole.checkpoint().unwrap()).unwrap();
        }
        if step > 4 {
            feed(&mut second, step, 1.0);
            second.step().unwrap();
        }
    }
    assert_eq!(second.checkpoint().unwrap(), whole.checkpoint().unwrap());
}
