//! Packages trained by losses of every kind, and by weighted sums of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_hal::{FrameShape, Motion};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::onnx::{Attr, Builder, Model, Tensor, TensorType, Value};
use shoal_shadow::batch::{Mix, MixedBatch, Road};
use shoal_shadow::clip::{Clips, Frames};
use shoal_shadow::fit::FitError;
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::package::Description;
use shoal_shadow::pretrain::{PoolOptions, PretrainOptions, pretrain};
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions, TuneOptions, Tuner};
use shoal_shadow::worldmodel::free_batch;

const SHAPE: FrameShape = FrameShape { width: 8, height: 4 };
const MIX: Mix = Mix { own: 3, augmented: 1, replayed: 0 };
const WORLD: &str = "
    rate_hz = 10
    [frames]
    input = 'frames'
    count = 2
    width = 8
    height = 4
    [next_frame]
    output = 'next'
    [adapter]
    rank = 4
    targets = ['first']
";
const ACTION: &str = "
    [action]
    output = 'logits'
    grid = '81df86badc75689c82687ea45c15406f141126a5b4ffe436a36955b316c70f80'
";

fn loss(kind: &str, output: &str, weight: f64) -> String {
    let doubt = if kind == "gaussian-nll" { "log_variance = 'doubt'\n" } else { "" };
    format!("[[loss]]\nkind = '{kind}'\noutput = '{output}'\nweight = {weight}\n{doubt}")
}

fn package(toml: &str) -> Description {
    Description::parse("model.toml", toml, "model").unwrap()
}

/// Two frames to the next one, the logarithm of its variance, and logits of the grid, of one layer.
fn model() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("frames", TensorType::f32(&[1, 6, 4, 8]));
    let stored = |b: &mut Builder, name: &str, dims: &[usize]| -> Value {
        let count = dims.iter().product();
        let values: Vec<f32> = noise(name.len(), count).iter().map(|v| v * 0.1).collect();
        b.initializer(name, &Tensor::f32(dims, &values))
    };
    let pads = [("pads", Attr::Ints(vec![1; 4])), ("kernel_shape", Attr::Ints(vec![3, 3]))];
    let w = stored(&mut b, "first", &[8, 6, 3, 3]);
    let h = b.op("Conv", &[&x, &w], &pads).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    for (output, name) in [("next", "of.next"), ("doubt", "of.doubts")] {
        let w = stored(&mut b, name, &[3, 8, 3, 3]);
        let y = b.op("Conv", &[&h, &w], &pads).unwrap();
        b.output(output, &y);
    }
    let flat = b.op("Flatten", &[&h], &[("axis", Attr::Int(1))]).unwrap();
    let w = stored(&mut b, "of.actions", &[256, 1281]);
    let logits = b.op("MatMul", &[&flat, &w], &[]).unwrap();
    b.output("logits", &logits);
    let mut model = b.into_model();
    free_batch(&mut model);
    model
}

/// A light that moves, of a driver who steers to the left at a constant speed.
fn road() -> Frames {
    let frame =
        |time: usize| (0..SHAPE.bytes()).map(move |at| ((at / 3 % 8 + time) % 8 * 25 + 20) as u8);
    let motion = Motion {
        speed_m_s: Some(10.0),
        steering_rad: Some(0.2),
        acceleration_m_s2: Some(0.0),
        ..Motion::default()
    };
    Frames::new(SHAPE, 10.0, (0..40).flat_map(frame).collect(), vec![Some(motion); 40]).unwrap()
}

/// The loss of every step of training an adapter.
fn trained(
    engine: &dyn Engine,
    package: &Description,
    (ahead, steps): (usize, u32),
) -> Result<Vec<f32>, FitError> {
    let steps_options = StepOptions { seed: 3, learning_rate: 1e-2, ..StepOptions::default() };
    let options = TuneOptions { mix: MIX, ahead, steps: steps_options, ..TuneOptions::default() };
    let mut tuner = Tuner::new(&model(), package, engine, None, &options)?;
    let (frames, form) = (road(), Form::of(package).unwrap());
    let road = Road::new(&[Clips::of_all(&frames, form.context, 1)], &form).unwrap();
    let source = MixedBatch::new(form, MIX, vec![road], Vec::new(), 5).unwrap();
    let source = source.imitating(package, &Geometry::default()).with_ahead(ahead);
    let mut losses = Vec::new();
    tuner.run(&mut source.unwrap(), steps, |report| losses.push(report.loss))?;
    Ok(losses)
}

fn world(losses: &[(&str, &str, f64)]) -> Description {
    let asked: String =
        losses.iter().map(|(kind, output, weight)| loss(kind, output, *weight)).collect();
    package(&format!("{WORLD}{ACTION}{asked}"))
}

/// Every kind by itself, sums on one output and on several: each falls.
#[test]
fn packages_are_trained_by_losses_of_every_kind_and_by_their_sums() {
    let Some(ort) = ort_or_skip() else { return };
    let kinds: [&[(&str, &str, f64)]; 6] = [
        &[("charbonnier", "next", 1.0)],
        &[("gaussian-nll", "next", 1.0)],
        &[("cross-entropy", "logits", 1.0)],
        &[("mse", "next", 0.75), ("charbonnier", "next", 0.5)],
        &[("gaussian-nll", "next", 0.25), ("cross-entropy", "logits", 3.0)],
        &[("mse", "next", 0.5), ("charbonnier", "next", 0.25), ("cross-entropy", "logits", 2.0)],
    ];
    for losses in kinds {
        let of = trained(&ort, &world(losses), (1, 40)).unwrap();
        let mean = |of: &[f32]| of.iter().sum::<f32>() / of.len() as f32;
        assert!(mean(&of[30..]) < mean(&of[..5]), "{losses:?}: {of:?}");
    }
}

/// Batches are drawn by seed and step: what the first step tells is of the same values whatever the losses.
#[test]
fn the_loss_of_a_package_is_the_weighted_sum_of_its_losses() {
    let Some(ort) = ort_or_skip() else { return };
    for ahead in [1, 2] {
        let all =
            [("mse", "next", 2.0), ("charbonnier", "next", 0.5), ("cross-entropy", "logits", 3.0)];
        let first = |losses: &[(&str, &str, f64)]| {
            f64::from(trained(&ort, &world(losses), (ahead, 1)).unwrap()[0])
        };
        let sum = first(&all);
        let each = all.map(|(kind, output, weight)| weight * first(&[(kind, output, 1.0)]));
        assert!(each.iter().all(|part| *part > 0.05 * sum), "{each:?} of {sum}");
        assert!((sum / each.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{each:?} of {sum}");
    }
}

#[test]
fn a_loss_that_no_batch_has_a_target_for_is_refused_by_name_and_reason() {
    let Some(ort) = ort_or_skip() else { return };
    let refused = |package: &Description| {
        let why = trained(&ort, package, (1, 1)).unwrap_err();
        assert!(matches!(why, FitError::Loss { .. }), "{why}");
        why.to_string()
    };
    for (losses, parts) in [
        (("cross-entropy", "next"), ["cross-entropy on `next`", "not classes"]),
        (("mse", "logits"), ["mse on `logits`", "ask for cross-entropy"]),
        (("mse", "doubt"), ["mse on `doubt`", "[next_frame] `next` and [action] `logits`"]),
    ] {
        let said = refused(&world(&[("mse", "next", 1.0), (losses.0, losses.1, 1.0)]));
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    let alone = package(&format!("{WORLD}{}", loss("cross-entropy", "logits", 1.0)));
    assert!(refused(&alone).contains("[next_frame] `next` alone"));
    let value = "[action]\noutput = 'logits'\nfield = 'steering_rad'\ntolerance = 0.1\n";
    let steers = format!("{WORLD}{value}{}", loss("cross-entropy", "logits", 1.0));
    assert!(refused(&package(&steers)).contains("only logits of action_grid/v1"));

    let twice = world(&[("mse", "next", 1.0), ("mse", "next", 2.0)]);
    let why = trained(&ort, &twice, (1, 1)).unwrap_err();
    assert!(matches!(why, FitError::Differentiate(_)), "{why}");

    // A policy alone has no next frame to be told.
    let policy = WORLD.replace("[next_frame]\n    output = 'next'\n", "");
    let losses = [loss("cross-entropy", "logits", 1.0), loss("mse", "next", 1.0)].concat();
    let policy = package(&format!("{policy}{ACTION}{losses}"));
    let options = PolicyTuneOptions::default();
    let why = PolicyTuner::new(&model(), &policy, &ort, None, &options).err().unwrap();
    assert!(why.to_string().contains("mse on `next`"), "{why}");
}

/// Generated clips are shown without what was done there.
#[test]
fn pretraining_refuses_what_drivers_do_beside_frames() {
    let Some(ort) = ort_or_skip() else { return };
    let both = world(&[("mse", "next", 1.0), ("cross-entropy", "logits", 1.0)]);
    let (pool, options) = (PoolOptions::default(), PretrainOptions::default());
    let why = pretrain(&model(), &both, &ort, &[], (&|_| road(), pool, &[]), &options, |_| {})
        .unwrap_err();
    let said = why.to_string();
    assert!(said.contains("cross-entropy on `logits`") && said.contains("on drives"), "{said}");
}
