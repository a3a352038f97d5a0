//! The trainer on a graph whose answer is known.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::engine::testing::{ort_or_skip, regression};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::onnx::Model;
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
    let (name, w) = trainer.parameters().next().unwrap();
    assert_eq!(name, "w");
    for (got, want) in w.iter().zip([1.0, -2.0, 0.5, 3.0, -1.0, 0.0]) {
        assert!((got - want).abs() < 0.05, "{w:?}");
    }
    let (_, average) = trainer.averaged().next().unwrap();
    assert!((average[3] - 3.0).abs() < 0.05 && average != w, "{average:?}");
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
fn training_resumes_from_a_checkpoint_to_the_bit() {
    let Some(mut whole) = trainer(OPTIONS) else { return };
    let Some(mut resumed) = trainer(OPTIONS) else { return };
    let mut checkpoint = Vec::new();
    for t in 0..40 {
        if t == 17 {
            checkpoint = whole.checkpoint();
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

    assert_eq!(resumed.checkpoint(), whole.checkpoint());
}

#[test]
fn a_damaged_or_foreign_checkpoint_leaves_the_trainer_untouched() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    feed(&mut trainer, 0);
    trainer.step().unwrap();
    let good = trainer.checkpoint();

    for place in [4, 8, 40, 60, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        let error = trainer.restore(&bad).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{place}: {error:?}");
    }
    for length in [0, 3] {
        let error = trainer.restore(&good[..length]).unwrap_err();
        assert!(matches!(error, CheckpointError::Foreign), "{error:?}");
    }
    for length in [4, 40, 80, good.len() - 1] {
        let error = trainer.restore(&good[..length]).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{length}: {error:?}");
    }

    assert_eq!(trainer.checkpoint(), good);
}

#[test]
fn a_checkpoint_without_an_average_is_refused_by_a_trainer_that_keeps_one() {
    let Some(mut with) = trainer(OPTIONS) else { return };
    let Some(without) = trainer(TrainOptions { average: None, ..OPTIONS }) else { return };
    let error = with.restore(&without.checkpoint()).unwrap_err();
    assert!(matches!(error, CheckpointError::Average { has: false }), "{error:?}");
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_good_parameters() {
    let Some(mut trainer) = trainer(OPTIONS) else { return };
    for t in 0..3 {
        feed(&mut trainer, t);
        trainer.step().unwrap();
    }
    let good = trainer.checkpoint();
    trainer.session().write_f32(1, &[f32::NAN; 8]).unwrap();

    let error = trainer.step().unwrap_err();

    let TrainError::NotFinite { step, ref output, .. } = error else { panic!("{error:?}") };
    assert_eq!((step.get(), output.as_str()), (4, "loss"));
    assert!(error.to_string().contains("the parameters are those of step 3"), "{error}");
    assert_eq!(trainer.checkpoint(), good);
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
