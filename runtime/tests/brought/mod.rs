#![allow(dead_code, reason = "each test uses its part")]
//! A model's whole way: from its file through inspection, grafting, ten steps of training and baking.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::compare::compare;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::fit::{FitError, FitOptions, Subject, fit};
use shoal_runtime::graft::{GraftOptions, Grafted, graft};
use shoal_runtime::inspect::inspect;
use shoal_runtime::onnx::{Model, PinOptions, open};

/// Where a model's file lies for the time of a test.
pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, model: &Model) -> PathBuf {
        let file = self.0.path().join("odd.onnx");
        model.write(&file).unwrap();
        file
    }
}

/// What ten steps made of a grafted model.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) adapter: Adapter,
    pub(crate) by_drawn_adapter: bool,
}

/// Ten steps, by which the loss falls.
pub(crate) fn fitted(grafted: &Grafted) -> Result<Fit, FitError> {
    let start = Adapter::start(grafted.layout.clone(), 0);
    let subject = Subject::Adapter { grafted, start: &start, frozen_a: false };
    let fitted = fit(subject, &ort_or_skip().unwrap(), &FitOptions::default(), None, |_| {})?;
    assert!(fitted.after < fitted.before, "{} to {}", fitted.before, fitted.after);
    let adapter = fitted.trained.adapter().unwrap().clone();
    Ok(Fit { adapter, by_drawn_adapter: fitted.by_drawn_adapter })
}

/// Everything that is done with a file; the error of the step that refuses it.
pub(crate) fn brought(
    file: &Path,
    options: &GraftOptions,
) -> Result<(Model, Grafted, Fit), String> {
    let model = Model::read_with_data(file).map_err(|why| why.to_string())?;
    let opened = open(&model, &PinOptions::default()).map_err(|why| why.to_string())?;
    inspect(&model, &opened.options, 8).map_err(|why| why.to_string())?;
    // As the command says it.
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let grafted = graft(&opened.folded, options).map_err(|why| named(&why))?;
    let fitted = fitted(&grafted).map_err(|why| named(&why))?;
    Ok((model, grafted, fitted))
}

/// That the baked model gives what the grafted one gives with the adapter.
pub(crate) fn agrees(baked: &Model, grafted: &Grafted, fitted: &Fit) {
    let ort = ort_or_skip().unwrap();
    let folded = open(baked, &PinOptions::default()).unwrap().folded;
    let how = (1, NonZeroUsize::MIN);
    let found = compare(&folded, grafted, &fitted.adapter, &ort, how).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
}

/// What came of ten steps of a model that goes all the way.
#[track_caller]
pub(crate) fn works(model: &Model) -> Fit {
    let folder = Folder::new();
    let (model, grafted, fitted) = brought(&folder.write(model), &GraftOptions::default()).unwrap();
    agrees(&bake(&model, &fitted.adapter).unwrap(), &grafted, &fitted);
    fitted
}
