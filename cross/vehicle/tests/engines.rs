//! The training graphs of the models that ship, in every form that nights and `shoal model train` ask for: tract runs them, and
//! comes to what ONNX Runtime comes to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use shoal_hal::Span;
use shoal_hal::backend::synthetic::{Region, Road as Generated, Start, Style};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::gradient::Pull;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{Lessons, Mix, MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::fit::{Binding, Source, graft_package, profile_of};
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::hindsight::Known;
use shoal_shadow::package::Package;
use shoal_shadow::tune::{
    Options, PolicyTuneOptions, StepOptions, TuneOptions, Tuner, Tuning, Whole,
};
use shoal_tract::Tract;

/// What the design promises of two engines.
const APART_MAX: f64 = 1e-4;
const STEPS: u32 = 2;
const MIX: Mix = Mix { own: 2, augmented: 2, replayed: 0 };

struct Shipped {
    package: Package,
    model: Model,
}

impl Shipped {
    fn open(name: &str) -> Self {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let package = Package::open(&models.join(name)).unwrap();
        let model = Model::read(&package.model_path()).unwrap();
        Shipped { package, model }
    }

    /// An adapter that changes something, so that no gradient is zero for another factor's sake.
    fn start(&self, engine: &dyn Engine) -> Adapter {
        let package = self.package.description();
        let grafted = graft_package(&self.model, package, 1, profile_of(engine)).unwrap();
        let mut adapter = Adapter::start(Arc::clone(&grafted.layout), 3);
        let waves = (0_u16..).map(|at| 0.02 * (f32::from(at) * 0.7).sin());
        adapter.values_mut().iter_mut().zip(waves.cycle()).for_each(|(value, of)| *value += of);
        adapter
    }

    /// What an engine comes to: the gradients of one batch, in absolute terms, and the losses of some steps.
    fn tuned<O: Options>(
        &self,
        engine: &dyn Engine,
        options: &O,
        source: &mut impl Source<<O::Kind as Binding>::Batch>,
        hold: impl Fn(&mut Tuning<O::Kind>, &Adapter),
    ) -> (Vec<f64>, Vec<f64>) {
        let (start, package) = (self.start(engine), self.package.description());
        let mut tuner = Tuning::new(&self.model, package, engine, Some(&start), options).unwrap();
        hold(&mut tuner, &start);
        let squared = tuner.squared_gradients(source, 1).unwrap();
        let mut losses = Vec::new();
        tuner.run(source, STEPS, |step| losses.push(f64::from(step.loss))).unwrap();
        (squared.into_iter().map(|of| f64::from(of).sqrt()).collect(), losses)
    }
}

/// Both engines come to the same.
fn agree(what: &str, of: impl Fn(&dyn Engine) -> (Vec<f64>, Vec<f64>)) {
    let Some(ort) = ort_or_skip() else { return };
    let ((gradients, losses), (by_tract, losses_by_tract)) = (of(&ort), of(&Tract));
    let apart = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len(), "{what}");
        let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
        let apart = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
        let whole = norm(&mut a.iter().copied());
        assert!(whole > 0.0, "{what}: nothing is compared");
        apart / whole
    };
    if !gradients.is_empty() {
        let apart = apart(&gradients, &by_tract);
        assert!(apart <= APART_MAX, "{what}: gradients {apart:e} apart");
    }
    let apart = apart(&losses, &losses_by_tract);
    assert!(apart <= APART_MAX, "{what}: losses {losses:?} and {losses_by_tract:?}");
}

fn form_and_road(shipped: &Shipped) -> (Form, shoal_hal::Drive) {
    let form = Form::of(shipped.package.description()).unwrap();
    let road = Generated { region: Region::Night, seed: 3_000_001 };
    let drive = road.render(form.shape, form.rate_hz, 20);
    (form, drive)
}

#[test]
fn tract_trains_the_world_model_as_onnx_runtime_does() {
    let shipped = Shipped::open("world");
    let (form, drive) = form_and_road(&shipped);
    let source = |ahead: usize| {
        let road = Road::new(&[Clips::of_all(&drive, form.context, 1)], &form).unwrap();
        let batches = MixedBatch::new(form.clone(), MIX, vec![road], Vec::new(), 5);
        batches.and_then(|batches| batches.with_ahead(ahead)).unwrap()
    };
    let plain = TuneOptions { mix: MIX, ..TuneOptions::default() };
    let of = |steps: StepOptions| TuneOptions { steps, ..plain };
    for (what, options) in [
        ("a night", plain),
        ("three frames in a row", TuneOptions { ahead: 3, ..plain }),
        ("parts", of(StepOptions { parts: 2, ..plain.steps })),
        ("segments", of(StepOptions { segments: 3, ..plain.steps })),
        ("frozen A", of(StepOptions { frozen_a: true, ..plain.steps })),
        ("dropout", of(StepOptions { dropout: 0.2, ..plain.steps })),
        ("held to a place", TuneOptions { pull: Some(Pull::Even), ..plain }),
        ("held by importance", TuneOptions { pull: Some(Pull::ByImportance), ..plain }),
    ] {
        let hold = |tuner: &mut Tuner, start: &Adapter| match options.pull {
            None => {}
            Some(Pull::Even) => tuner.pull(start, 0.1).unwrap(),
            Some(Pull::ByImportance) => {
                tuner.hold(start, &vec![0.5; start.values().len()], 0.1).unwrap();
            }
        };
        agree(what, |engine| shipped.tuned(engine, &options, &mut source(options.ahead), hold));
    }
}

#[test]
fn tract_trains_the_policy_as_onnx_runtime_does() {
    let shipped = Shipped::open("policy");
    let form = Form::of_policy(shipped.package.description()).unwrap();
    let road = Generated { region: Region::TightCurves, seed: 3_000_002 };
    let frames = (form.shape, form.rate_hz, 40);
    let drive = road.driven((Style::Attentive, 1), Start::default(), frames).unwrap().drive;
    let known = vec![Known::default(); drive.len()];
    let source = || {
        let mut lessons = Lessons::new(form.clone(), 3);
        let span = Span { first: 0, last: drive.len() - 1 };
        lessons.add(&drive, &[span], &known, &Geometry::default(), &[]);
        lessons
    };
    let plain = PolicyTuneOptions { samples: 4, ..PolicyTuneOptions::default() };
    let of = |steps: StepOptions| PolicyTuneOptions { steps, ..plain };
    for (what, options) in [
        ("a night", plain),
        ("parts", of(StepOptions { parts: 2, ..plain.steps })),
        ("segments", of(StepOptions { segments: 3, ..plain.steps })),
        ("dropout", of(StepOptions { dropout: 0.2, ..plain.steps })),
    ] {
        agree(what, |engine| shipped.tuned(engine, &options, &mut source(), |_, _| {}));
    }
    agree("all weights", |engine| {
        let steps = StepOptions { learning_rate: 1e-4, ..plain.steps };
        let (package, mut losses) = (shipped.package.description(), Vec::new());
        let mut whole = Whole::new(&shipped.model, package, engine, &of(steps)).unwrap();
        let tell = |step: &shoal_runtime::train::StepReport| losses.push(f64::from(step.loss));
        whole.stepper().run(&mut source(), STEPS, tell).unwrap();
        (Vec::new(), losses)
    });
}
