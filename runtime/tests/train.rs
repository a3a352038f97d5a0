//! The trainer on a graph whose answer is known.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sha2::{Digest as _, Sha256};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{noise, ort_or_skip, regression, small_model};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft, graft_all_weights};
use shoal_runtime::onnx::{Folded, Model};
use shoal_runtime::train::{
    AdamW, CheckpointError, Decay, Schedule, TrainError, TrainOptions, Trainer,
};

const OPTIONS: TrainOptions = TrainOptions {
    optimiser: AdamW { beta_mean: 0.9, beta_square: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
    schedule: Schedule { peak: 0.05, warm_up_steps: 3, decay: Decay::Constant },
    gradient_norm_max: Some(1.0),
    average: Some(0.9),
};

/// x of batch `t`: deterministic, well conditioned; the target is `x · [[1, −2], [0.5, 3], [−1, 0]]`.
fn batch(t: usize) -> (Vec<f32>, Vec<f32>) {
    let x: Vec<f32> = (0..12).map(|i| (((i * 7 + t * 5) % 11) as f32 - 5.0) / 5.0).collect();
    let w = [[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]];
    let target = x
        .chunks(3)
        .flat_map(|row| [0, 1].map(|o| (0..3).map(|i| row[i] * w[i][o]).sum::<f32>()))
        .collect();
    (x, target)
}

fn feed(trainer: &mut Trainer, t: usize) {
    let (x, target) = batch(t);
    trainer.session().write_f32(0, &x).unwrap();
    trainer.session().write_f32(1, &target).unwrap();
}

fn trainer(options: TrainOptions) -> Option<Trainer> {
    let ort = ort_or_skip()?;
    let model = regression(4, 3, 2).unwrap();
    let session = ort.load(&model, &LoadOptions::default()).unwrap();
    Some(Trainer::new(session, options, |_| Some(&[0.0; 6])).unwrap())
}

#[test]
fn the_loss_falls_to_the_known_answer() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    let mut losses = Vec::new();
    for t in 0..600 {
        feed(&mut trainer, t);
        losses.push(trainer.step().unwrap().loss);
    }
    assert!(losses[0] > 1.0, "{}", losses[0]);
    assert!(losses[599] < 1e-3, "{}", losses[599]);
    let (name, w) = trainer.parameters().unwrap().next().unwrap();
    let (name, w) = (name.to_owned(), w.to_vec());
    assert_eq!(name, "w");
    for (got, want) in w.iter().zip([1.0, -2.0, 0.5, 3.0, -1.0, 0.0]) {
        assert!((got - want).abs() < 0.05, "{w:?}");
    }
    let (_, average) = trainer.averaged().unwrap().next().unwrap();
    assert!((average[3] - 3.0).abs() < 0.05 && average != &w[..], "{average:?}");
}

#[test]
fn a_step_reports_its_number_its_rate_and_the_norm_before_clipping() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    feed(&mut trainer, 0);
    let report = trainer.step().unwrap();
    assert_eq!(report.step.get(), 1);
    assert_eq!(report.learning_rate, 0.05 / 3.0);
    assert!(report.gradient_norm > 1.0, "{report:?}");
    let gradient = trainer.session().output_f32(2).unwrap();
    let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
    assert!((report.gradient_norm - norm).abs() < 1e-5);
}

#[test]
fn a_gradient_is_read_without_a_step() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    feed(&mut trainer, 0);
    let (before, mut gradient) = (trainer.checkpoint().unwrap(), Vec::new());
    let loss = trainer.gradient(&mut gradient).unwrap();
    assert_eq!(trainer.checkpoint().unwrap(), before);
    assert_eq!(trainer.session().output_f32(2).unwrap(), gradient);
    assert!(loss.is_finite());
}

#[test]
fn training_resumes_from_a_checkpoint_to_the_bit() {
    let Some(mut whole) = trainer(OPTIONS) else { return };
    let Some(mut resumed) = trainer(OPTIONS) else { return };
    let mut checkpoint = Vec::new();
    for t in 0..40 {
        if t == 17 {
            checkpoint = whole.checkpoint().unwrap();
        }
        feed(&mut whole, t);
        whole.step().unwrap();
    }

    resumed.restore(&checkpoint).unwrap();
    assert_eq!(resumed.step_count(), 17);
    for t in 17..40 {
        feed(&mut resumed, t);
        resumed.step().unwrap();
    }

    assert_eq!(resumed.checkpoint().unwrap(), whole.checkpoint().unwrap());
}

#[test]
fn a_damaged_or_foreign_checkpoint_leaves_the_trainer_untouched() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    feed(&mut trainer, 0);
    trainer.step().unwrap();
    let good = trainer.checkpoint().unwrap();

    for place in [4, 8, 40, 60, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        let error = trainer.restore(&bad).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{place}: {error:?}");
    }
    // An average is there or not: 2 says neither. The digest is as it should be.
    let mut other = good.clone();
    let (body, hash) = other.split_last_chunk_mut::<32>().unwrap();
    let flag = body.len() - 1 - (body.len() - 48 - 1) / 4;
    assert_eq!(body[flag], 1);
    body[flag] = 2;
    *hash = Sha256::digest(body).into();
    let error = trainer.restore(&other).unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { .. }), "{error:?}");
    for length in [0, 3] {
        let error = trainer.restore(&good[..length]).unwrap_err();
        assert!(matches!(error, CheckpointError::Foreign), "{error:?}");
    }
    for length in [4, 40, 80, good.len() - 1] {
        let error = trainer.restore(&good[..length]).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{length}: {error:?}");
    }

    assert_eq!(trainer.checkpoint().unwrap(), good);
}

#[test]
fn a_checkpoint_without_an_average_is_refused_by_a_trainer_that_keeps_one() {
    let Some(mut with) = trainer(OPTIONS) else { return };
    let Some(mut without) = trainer(TrainOptions { average: None, ..OPTIONS }) else { return };
    let error = with.restore(&without.checkpoint().unwrap()).unwrap_err();
    assert!(matches!(error, CheckpointError::Average { has: false }), "{error:?}");
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_good_parameters() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    for t in 0..3 {
        feed(&mut trainer, t);
        trainer.step().unwrap();
    }
    let good = trainer.checkpoint().unwrap();
    trainer.session().write_f32(1, &[f32::NAN; 8]).unwrap();

    let error = trainer.step().unwrap_err();

    let TrainError::NotFinite { step, ref output, .. } = error else { panic!("{error:?}") };
    assert_eq!((step.get(), output.as_str()), (4, "loss"));
    assert!(error.to_string().contains("the parameters are those of step 3"), "{error}");
    assert_eq!(trainer.checkpoint().unwrap(), good);
    feed(&mut trainer, 3);
    assert_eq!(trainer.step().unwrap().step.get(), 4);
}

#[test]
fn a_gradient_that_is_not_finite_is_named() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    // The differences of 1e15 have finite squares; their products with x do not fit into f32.
    trainer.session().write_f32(0, &[1e30; 12]).unwrap();
    trainer.session().write_f32(1, &[1e15; 8]).unwrap();
    let error = trainer.step().unwrap_err();
    let TrainError::NotFinite { output, .. } = error else { panic!("{error:?}") };
    assert_eq!(output, "grad.w");
}

#[test]
fn a_graph_that_does_not_train_is_refused() {
    let Some(ort) = ort_or_skip() else { return };
    let mut model = regression(4, 3, 2).unwrap();
    let load = |model: &Model| ort.load(model, &LoadOptions::default()).unwrap();

    let start = Trainer::new(load(&model), OPTIONS, |_| Some(&[0.0; 5])).err().unwrap();
    assert_eq!(start.to_string(), "parameter `w` has 6 values, 5 were given to start from");

    model.graph_mut().output.retain(|output| output.name() != "grad.w");
    let error = Trainer::new(load(&model), OPTIONS, |_| None).err().unwrap();
    assert!(matches!(error, TrainError::NoGradients), "{error:?}");

    model.graph_mut().output.retain(|output| output.name() != "loss");
    let error = Trainer::new(load(&model), OPTIONS, |_| None).err().unwrap();
    assert!(matches!(error, TrainError::NoLoss), "{error:?}");
}

const LORA: TrainOptions = TrainOptions {
    optimiser: AdamW { beta_mean: 0.9, beta_square: 0.999, epsilon: 1e-8, weight_decay: 0.0 },
    schedule: Schedule { peak: 0.01, warm_up_steps: 5, decay: Decay::Constant },
    gradient_norm_max: Some(1.0),
    average: None,
};

fn training_session(
    ort: &Ort,
    graph: &Folded,
    wrt: Vec<String>,
) -> Box<dyn shoal_runtime::engine::Session> {
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile: Profile::Cpu };
    let graph = differentiate(graph, &options).unwrap().folded;
    ort.load(&graph.model, &LoadOptions::default()).unwrap()
}

/// Image, target and per-sample weight of the small model, the same at every step.
fn feed_small(trainer: &mut Trainer) {
    for (name, values) in
        [("image", noise(1, 384)), ("target.y", noise(2, 10)), ("weight.y", vec![1.0; 2])]
    {
        let input = trainer.session().input_index(name).unwrap();
        trainer.session().write_f32(input, &values).unwrap();
    }
}

fn output_of(ort: &Ort, model: &Model) -> Vec<f32> {
    let mut session = ort.load(model, &LoadOptions::default()).unwrap();
    session.write_f32(0, &noise(1, 384)).unwrap();
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

#[test]
fn an_adapter_trains_and_the_baked_model_computes_what_was_trained() {
    let Some(ort) = ort_or_skip() else { return };
    let base = small_model().unwrap();
    let grafted = graft(&base, &GraftOptions { rank: 2, ..GraftOptions::default() }).unwrap();
    let start = Adapter::start(grafted.layout, 7);
    let wrt = start.layout().factors().map(|factor| factor.input.clone()).collect();
    let session = training_session(&ort, &grafted.folded, wrt);
    let mut trainer = Trainer::from_adapter(session, LORA, &start).unwrap();
    assert_eq!(trainer.adapter(&start).unwrap(), start);

    feed_small(&mut trainer);
    let first = trainer.step().unwrap().loss;
    let last = (0..150).map(|_| trainer.step().unwrap().loss).last().unwrap();

    assert!(last < first / 10.0, "{first} fell to {last}");
    let trained = trainer.adapter(&start).unwrap();
    let baked = output_of(&ort, &bake(&base.model, &trained).unwrap());
    let loss: f32 =
        baked.iter().zip(noise(2, 10)).map(|(y, t)| (y - t) * (y - t)).sum::<f32>() / 10.0;
    let by_graph = trainer.loss().unwrap();
    assert!((loss - by_graph).abs() < 1e-5, "baked {loss}, training graph {by_graph}");

    trainer.restart(&start).unwrap();
    assert_eq!(trainer.step().unwrap().loss, first);
}

#[test]
fn a_factor_without_a_gradient_stays_as_it_was() {
    let Some(ort) = ort_or_skip() else { return };
    let grafted = graft(&small_model().unwrap(), &GraftOptions::default()).unwrap();
    let start = Adapter::start(grafted.layout, 7);
    let factors = || start.layout().sites.iter();
    let wrt = factors().map(|site| site.b.input.clone()).collect();
    let session = training_session(&ort, &grafted.folded, wrt);
    let mut trainer = Trainer::from_adapter(session, LORA, &start).unwrap();
    feed_small(&mut trainer);
    let first = trainer.step().unwrap().loss;
    let last = (0..50).map(|_| trainer.step().unwrap().loss).last().unwrap();
    assert!(last < first, "{first} rose to {last}");
    let trained = trainer.adapter(&start).unwrap();
    for site in factors() {
        assert_eq!(trained.factor(&site.a), start.factor(&site.a), "{}", site.name);
        assert_ne!(trained.factor(&site.b), start.factor(&site.b), "{}", site.name);
    }
}

#[test]
fn all_weights_train_and_are_written_into_a_plain_model() {
    let Some(ort) = ort_or_skip() else { return };
    let base = small_model().unwrap();
    let weights = graft_all_weights(&base, &[]).unwrap();
    let wrt = weights.weights.iter().map(|weight| weight.input.clone()).collect();
    let session = training_session(&ort, &weights.folded, wrt);
    let mut trainer = Trainer::from_weights(session, LORA, &weights).unwrap();
    feed_small(&mut trainer);
    let first = trainer.step().unwrap().loss;
    let last = (0..100).map(|_| trainer.step().unwrap().loss).last().unwrap();
    assert!(last < first / 10.0, "{first} fell to {last}");

    let trained = weights.write_into(&base.model, &trainer.weights(&weights).unwrap()).unwrap();

    let y = output_of(&ort, &trained);
    let loss: f32 = y.iter().zip(noise(2, 10)).map(|(y, t)| (y - t) * (y - t)).sum::<f32>() / 10.0;
    let by_graph = trainer.loss().unwrap();
    assert!((loss - by_graph).abs() < 1e-6, "written {loss}, training graph {by_graph}");
}

#[test]
fn an_adapter_of_another_graph_is_refused() {
    let Some(ort) = ort_or_skip() else { return };
    let grafted = graft(&small_model().unwrap(), &GraftOptions::default()).unwrap();
    let session = ort.load(&regression(4, 3, 2).unwrap(), &LoadOptions::default()).unwrap();
    let error = Trainer::from_adapter(session, LORA, &Adapter::zero(grafted.layout)).err().unwrap();
    assert!(matches!(error, TrainError::NoInput { .. }), "{error:?}");
}

/// Rows of a batch, in one graph of four rows or in two parts of two; the weights of samples are their own.
#[test]
fn parts_of_a_batch_give_the_step_of_the_whole() {
    let Some(ort) = ort_or_skip() else { return };
    let graph = |rows: usize| {
        let mut b = shoal_runtime::onnx::Builder::new(17);
        let x = b.input("x", shoal_runtime::onnx::TensorType::f32(&[rows, 3]));
        let w = b.input("w", shoal_runtime::onnx::TensorType::f32(&[3, 2]));
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        b.output("y", &y);
        let session = training_session(&ort, &b.finish(), vec!["w".into()]);
        Trainer::new(session, OPTIONS, |_| Some(&[0.1, -0.2, 0.3, 0.4, -0.5, 0.6])).unwrap()
    };
    let weight = [1.0, 4.0, 0.0, 0.5];
    let write = |trainer: &mut Trainer, t: usize, rows: std::ops::Range<usize>| {
        let (x, target) = batch(t);
        let parts: [(&str, &[f32]); 3] = [
            ("x", &x[rows.start * 3..rows.end * 3]),
            ("target.y", &target[rows.start * 2..rows.end * 2]),
            ("weight.y", &weight[rows]),
        ];
        for (name, values) in parts {
            let input = trainer.session().input_index(name).unwrap();
            trainer.session().write_f32(input, values).unwrap();
        }
    };
    let (mut whole, mut parted) = (graph(4), graph(2));
    for t in 0..5 {
        write(&mut whole, t, 0..4);
        write(&mut parted, t, 0..2);
        parted.gather().unwrap();
        write(&mut parted, t, 2..4);
        let (want, got) = (whole.step().unwrap(), parted.step().unwrap());
        assert_eq!(want.step, got.step);
        assert!((want.loss / got.loss - 1.0).abs() < 1e-5, "{want:?} {got:?}");
        assert!((want.gradient_norm / got.gradient_norm - 1.0).abs() < 1e-5, "{want:?} {got:?}");
    }
    // A part that is no number ends its batch: what follows is another one.
    let good = parted.checkpoint().unwrap();
    write(&mut parted, 5, 0..2);
    parted.gather().unwrap();
    parted.session().write_f32(0, &[f32::NAN; 6]).unwrap();
    assert!(matches!(parted.gather(), Err(TrainError::NotFinite { .. })));
    assert_eq!(parted.checkpoint().unwrap(), good);
    write(&mut whole, 6, 0..4);
    write(&mut parted, 6, 0..2);
    parted.gather().unwrap();
    write(&mut parted, 6, 2..4);
    assert!((whole.step().unwrap().loss / parted.step().unwrap().loss - 1.0).abs() < 1e-5);
}

#[test]
fn of_several_losses_the_one_that_is_no_number_is_named() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = shoal_runtime::onnx::Builder::new(17);
    let x = b.input("x", shoal_runtime::onnx::TensorType::f32(&[4, 3]));
    let w = b.input("w", shoal_runtime::onnx::TensorType::f32(&[3, 2]));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let z = b.op("Tanh", &[&y], &[]).unwrap();
    b.output("y", &y);
    b.output("z", &z);
    let session = training_session(&ort, &b.finish(), vec!["w".into()]);
    let mut trainer = Trainer::new(session, OPTIONS, |_| Some(&[0.1; 6])).unwrap();
    for (name, values) in [
        ("x", vec![0.5; 12]),
        ("target.y", vec![0.0; 8]),
        ("weight.y", vec![1.0; 4]),
        ("target.z", vec![f32::INFINITY; 8]),
        ("weight.z", vec![1.0; 4]),
    ] {
        let input = trainer.session().input_index(name).unwrap();
        trainer.session().write_f32(input, &values).unwrap();
    }
    let error = trainer.step().unwrap_err();
    let TrainError::NotFinite { step, output, .. } = error else { panic!("{error:?}") };
    assert_eq!((step.get(), output.as_str()), (1, "loss.z"));
}
