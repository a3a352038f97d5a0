//! Where an engine is built of a graph for minutes, adapters are inputs of it: all share what was built.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::{graft_package, load_predictor, profile_of};
use shoal_shadow::measure::Predictor as _;
use shoal_shadow::package::{Description, Package};

/// ONNX Runtime on the processor, which says that it is TensorRT, and notes which graphs it is given.
struct Builds {
    ort: Ort,
    graphs: Mutex<BTreeSet<Vec<u8>>>,
}

impl Engine for Builds {
    fn describe(&self) -> String {
        format!("ort-{}/tensorrt:0+cuda:0+cpu", self.ort.version())
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.graphs.lock().unwrap().insert(model.to_bytes().unwrap().to_vec());
        self.ort.load(model, options)
    }
}

fn predicted(
    model: &Model,
    package: &Description,
    engine: &dyn Engine,
    adapter: Option<&Adapter>,
) -> Vec<f32> {
    let one = NonZeroUsize::MIN;
    let mut predictor = load_predictor(model, package, engine, one, adapter, 1).unwrap();
    let form = predictor.form().clone();
    let frames: Vec<f32> = noise(1, form.frames_len()).iter().map(|x| x.abs().fract()).collect();
    let mut next = vec![0.0; form.shape.bytes()];
    predictor.predict(1, &frames, &vec![0.0; form.motion.len()], &mut next).unwrap();
    next
}

#[test]
fn an_adapter_is_swapped_without_another_graph_where_engines_are_built() {
    let Some(ort) = ort_or_skip() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/world");
    let package = Package::open(&root).unwrap();
    let (model, package) = (Model::read(&package.model_path()).unwrap(), package.description());
    let layout = graft_package(&model, package, 1, Profile::TensorRt).unwrap().layout;
    let adapter = |seed: usize| {
        let mut adapter = Adapter::zero(layout.clone());
        let values = noise(seed, adapter.values().len());
        adapter.values_mut().iter_mut().zip(values).for_each(|(value, x)| *value = 0.05 * x);
        adapter
    };
    let adapters = [None, Some(adapter(3)), Some(adapter(4))];
    let builds = Builds { ort: ort.clone(), graphs: Mutex::default() };
    let seen: Vec<Vec<f32>> = adapters
        .iter()
        .map(|adapter| predicted(&model, package, &builds, adapter.as_ref()))
        .collect();
    assert_eq!(builds.graphs.lock().unwrap().len(), 1);
    let apart =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for (adapter, seen) in adapters.iter().zip(&seen) {
        let baked = predicted(&model, package, &ort, adapter.as_ref());
        assert!(apart(&baked, seen) < 1e-4, "{}", apart(&baked, seen));
    }
    assert!(apart(&seen[1], &seen[2]) > 1e-3 && apart(&seen[0], &seen[1]) > 1e-3);
}

#[test]
fn graphs_are_written_for_the_provider_that_is_asked_first() {
    struct Called(&'static str);
    impl Engine for Called {
        fn describe(&self) -> String {
            self.0.to_owned()
        }

        fn load(&self, _: &Model, _: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
            Err(EngineError::Load { engine: self.describe(), reason: "it is a name".into() })
        }
    }
    for (name, profile) in [
        ("ort-1.31.1/cpu", Profile::Cpu),
        ("ort-1.31.1/cuda:0", Profile::Cuda),
        ("ort-1.31.1/cuda:1+cpu", Profile::Cuda),
        ("ort-1.31.1/tensorrt:0/fp16+cuda:0+cpu", Profile::TensorRt),
        ("tract-0.23.9/cpu", Profile::Tract),
    ] {
        assert_eq!(profile_of(&Called(name)), profile, "{name}");
    }
}
