//! The training graphs of the models that ship, and of the one that `shoal model init --transformer` makes, in every form that nights
//! and `shoal model train` ask for: tract runs them, and comes to what ONNX Runtime comes to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use shoal_hal::Span;
use shoal_hal::backend::synthetic::{Region, Road as Generated, Start, Style};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::gradient::{LossKind, LossSpec, Pull};
use shoal_runtime::onnx::Model;
use shoal_runtime::train::StepReport;
use shoal_shadow::batch::{Lessons, Mix, MixedBatch, Road};
use shoal_shadow::clip::Clips;
use shoal_shadow::fit::{Binding, Source, graft_package, profile_of};
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::hindsight::Known;
use shoal_shadow::package::{Description, Package};
use shoal_shadow::policymodel::transformer::{self, Transformer};
use shoal_shadow::tune::{Options, PolicyTuneOptions, StepOptions, TuneOptions, Tuning, Whole};
use shoal_tract::Tract;

/// What the design promises of two engines.
const APART_MAX: f64 = 1e-4;
const STEPS: u32 = 2;
const MIX: Mix = Mix { own: 2, augmented: 2, replayed: 0 };

struct Subject {
    description: Description,
    model: Model,
}

impl Subject {
    fn shipped(name: &str) -> Self {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let package = Package::open(&models.join(name)).unwrap();
        let model = Model::read(&package.model_path()).unwrap();
        Subject { description: package.description().clone(), model }
    }

    fn transformer() -> Self {
        let size = Transformer::default();
        let model = transformer::build(&size, 5).unwrap();
        Subject { description: transformer::description(&size), model }
    }

    /// An adapter that changes something, so that no gradient is zero for another factor's sake.
    fn start(&self, engine: &dyn Engine) -> Adapter {
        let profile = profile_of(engine);
        let grafted = graft_package(&self.model, &self.description, 1, profile).unwrap();
        let mut adapter = Adapter::start(Arc::clone(&grafted.layout), 3);
        let waves = (0_u16..).map(|at| 0.02 * (f32::from(at) * 0.7).sin());
        adapter.values_mut().iter_mut().zip(waves.cycle()).for_each(|(value, of)| *value += of);
        adapter
    }

    /// What an engine comes to: the gradients of one batch, in absolute terms, and the losses of some steps, held as it is asked for.
    fn tuned<O: Options>(
        &self,
        engine: &dyn Engine,
        options: &O,
        source: &mut impl Source<<O::Kind as Binding>::Batch>,
        pull: Option<Pull>,
    ) -> (Vec<f64>, Vec<f64>) {
        let start = self.start(engine);
        let mut tuner =
            Tuning::new(&self.model, &self.description, engine, Some(&start), options).unwrap();
        match pull {
            None => {}
            Some(Pull::Even) => tuner.pull(&start, 0.1).unwrap(),
            Some(Pull::ByImportance) => {
                tuner.hold(&start, &vec![0.5; start.values().len()], 0.1).unwrap();
            }
        }
        let squared = tuner.squared_gradients(source, 1).unwrap();
        let mut losses = Vec::new();
        tuner.run(source, STEPS, |step| losses.push(f64::from(step.loss))).unwrap();
        (squared.into_iter().map(|of| f64::from(of).sqrt()).collect(), losses)
    }

    /// The losses of some steps of all weights.
    fn tuned_whole<O: Options>(
        &self,
        engine: &dyn Engine,
        options: &O,
        source: &mut impl Source<<O::Kind as Binding>::Batch>,
    ) -> (Vec<f64>, Vec<f64>) {
        let mut whole = Whole::new(&self.model, &self.description, engine, options).unwrap();
        let mut losses = Vec::new();
        let tell = |step: &StepReport| losses.push(f64::from(step.loss));
        whole.stepper().run(source, STEPS, tell).unwrap();
        (Vec::new(), losses)
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

fn form_and_road(shipped: &Subject) -> (Form, shoal_hal::Drive) {
    let form = Form::of(&shipped.description).unwrap();
    let road = Generated { region: Region::Night, seed: 3_000_001 };
    let drive = road.render(form.shape, form.rate_hz, 20);
    (form, drive)
}

#[test]
fn tract_trains_the_world_model_as_onnx_runtime_does() {
    let mut shipped = Subject::shipped("world");
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
        let source = || source(options.ahead);
        agree(what, |engine| shipped.tuned(engine, &options, &mut source(), options.pull));
    }
    let gently = of(StepOptions { learning_rate: 1e-4, ..plain.steps });
    agree("all weights", |engine| shipped.tuned_whole(engine, &gently, &mut source(1)));
    let loss = |kind, factor| LossSpec::new(kind, "next").times(factor);
    shipped.description.loss = vec![loss(LossKind::Charbonnier, 1.0), loss(LossKind::Mse, 0.5)];
    agree("two losses", |engine| shipped.tuned(engine, &plain, &mut source(1), None));
}

#[test]
fn tract_trains_the_policy_as_onnx_runtime_does() {
    trained_alike(&Subject::shipped("policy"));
}

#[test]
fn tract_trains_the_transformer_as_onnx_runtime_does() {
    trained_alike(&Subject::transformer());
}

fn trained_alike(subject: &Subject) {
    let form = Form::of_policy(&subject.description).unwrap();
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
        ("frozen A", of(StepOptions { frozen_a: true, ..plain.steps })),
        ("dropout", of(StepOptions { dropout: 0.2, ..plain.steps })),
        ("held to a place", PolicyTuneOptions { pull: Some(Pull::Even), ..plain }),
        ("held by importance", PolicyTuneOptions { pull: Some(Pull::ByImportance), ..plain }),
    ] {
        agree(what, |engine| subject.tuned(engine, &options, &mut source(), options.pull));
    }
    let gently = of(StepOptions { learning_rate: 1e-4, ..plain.steps });
    agree("all weights", |engine| subject.tuned_whole(engine, &gently, &mut source()));
}
