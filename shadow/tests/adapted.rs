//! Adapters as inputs of a graph: where an engine is built of it for minutes, all share what was built, and weights that are
//! integers hold none.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::bake::{BakeError, bake};
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Builder, Data, Model, Tensor, TensorType};
use shoal_shadow::batch::Batch;
use shoal_shadow::fit::{SiteInputs, graft_package, load_predictor, profile_of};
use shoal_shadow::form::Form;
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

fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
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
    for (adapter, seen) in adapters.iter().zip(&seen) {
        let baked = predicted(&model, package, &ort, adapter.as_ref());
        assert!(apart(&baked, seen) < 1e-4, "{}", apart(&baked, seen));
    }
    assert!(apart(&seen[1], &seen[2]) > 1e-3 && apart(&seen[0], &seen[1]) > 1e-3);
}

/// A world model of three products by integers, or by the floats that these stand for.
fn products(integers: bool) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let flat = b.i64s(&[1, 96]);
    let mut h = b.op("Reshape", &[&x, &flat], &[]).unwrap();
    for (name, dims) in [("in", [96, 16]), ("mid", [16, 16]), ("out", [16, 96])] {
        let values = noise(name.len(), dims[0] * dims[1]);
        let values: Vec<i8> = values.iter().map(|value| (value * 127.0) as i8).collect();
        let weight = if integers {
            let weight = b.initializer(name, &Tensor::new(&dims, Data::I8(values)));
            let scale = b.scalar(0.004);
            b.op("DequantizeLinear", &[&weight, &scale], &[]).unwrap()
        } else {
            let values: Vec<f32> = values.iter().map(|value| f32::from(*value) * 0.004).collect();
            b.initializer(name, &Tensor::f32(&dims, &values))
        };
        h = b.op("MatMul", &[&h, &weight], &[]).unwrap();
        let bias = b.f32s(&[dims[1]], &noise(5, dims[1]));
        h = b.op("Add", &[&h, &bias], &[]).unwrap();
        h = b.op("Sigmoid", &[&h], &[]).unwrap();
    }
    let frame = b.i64s(&[1, 3, 4, 8]);
    let next = b.op("Reshape", &[&h, &frame], &[]).unwrap();
    b.output("next", &next);
    b.into_model()
}

fn small(rank: usize, alpha: f32) -> Description {
    let toml = format!(
        "rate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
         [next_frame]\noutput = 'next'\n[adapter]\nrank = {rank}\nalpha = {alpha:?}\n"
    );
    Description::parse("model.toml", &toml, "small").unwrap()
}

fn layout(model: &Model, package: &Description) -> Layout {
    (*graft_package(model, package, 1, Profile::Cpu).unwrap().layout).clone()
}

fn tuned(layout: Layout) -> Adapter {
    let values = noise(3, layout.values()).iter().map(|value| 0.3 * value).collect();
    Adapter::from_values(layout, values).unwrap()
}

#[test]
fn weights_of_integers_have_their_adapter_beside_them() {
    let Some(ort) = ort_or_skip() else { return };
    let (integers, floats, package) = (products(true), products(false), small(4, 8.0));
    let own = layout(&integers, &package);
    let zero = Adapter::zero(own.clone());
    assert!(matches!(bake(&integers, &zero), Err(BakeError::Quantised { .. })));
    let seen = |model, adapter: Option<&Adapter>| predicted(model, &package, &ort, adapter);
    let alone = seen(&integers, None);
    assert!(apart(&alone, &seen(&integers, Some(&zero))) < 1e-5);
    let adapted = seen(&integers, Some(&tuned(own.clone())));
    assert!(apart(&alone, &adapted) > 1e-3, "{}", apart(&alone, &adapted));
    let baked = seen(&floats, Some(&tuned(layout(&floats, &package))));
    assert!(apart(&baked, &adapted) < 1e-4, "{}", apart(&baked, &adapted));

    // One of other ranks and another α than the package names is used as it is, as a baked one is.
    let other = tuned(layout(&integers, &small(2, 3.0)));
    let baked = seen(&floats, Some(&tuned(layout(&floats, &small(2, 3.0)))));
    assert!(apart(&baked, &seen(&integers, Some(&other))) < 1e-4);
    let mut changed = own;
    changed.sites[0].base_sha256 = [0; 32];
    let changed = Adapter::zero(changed);
    let one = NonZeroUsize::MIN;
    let refused = load_predictor(&integers, &package, &ort, one, Some(&changed), 1).err().unwrap();
    assert!(refused.to_string().contains("is another weight there"), "{refused}");
}

#[test]
fn what_goes_into_sites_is_the_same_beside_integers_and_baked_into_floats() {
    let Some(ort) = ort_or_skip() else { return };
    let package = small(4, 8.0);
    let rows = |model: &Model, adapter: &Adapter| {
        let one = NonZeroUsize::MIN;
        let mut inputs = SiteInputs::load(model, &package, &ort, one, adapter).unwrap();
        let mut rows = Vec::new();
        let batch = Batch::new(Form::of(&package).unwrap(), 1);
        inputs.see(&batch, |site, row| rows.push((site, row.to_vec()))).unwrap();
        rows
    };
    let (integers, floats) = (products(true), products(false));
    let beside = rows(&integers, &tuned(layout(&integers, &package)));
    let baked = rows(&floats, &tuned(layout(&floats, &package)));
    let plain = rows(&integers, &Adapter::zero(layout(&integers, &package)));
    let sites = |rows: &[(usize, Vec<f32>)]| rows.iter().map(|(site, _)| *site).collect::<Vec<_>>();
    assert_eq!((sites(&beside), sites(&baked)), (vec![0, 1, 2], vec![0, 1, 2]));
    for (one, other) in beside.iter().zip(&baked) {
        assert!(apart(&one.1, &other.1) < 1e-4);
    }
    // The frames are black, so that the first product gives nothing, with or without an adapter.
    let moved: Vec<bool> =
        beside.iter().zip(&plain).map(|(one, other)| apart(&one.1, &other.1) > 1e-3).collect();
    assert_eq!(moved, [false, false, true]);
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
