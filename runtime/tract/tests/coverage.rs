//! The gradient of every generated case (`runtime/tests/cases`) on both engines, against what PyTorch's autograd
//! gave for it in float64; and docs/operators.md, which is what this run finds.
//!
//! `cargo xtask oracle operators` writes the cases, asks PyTorch, and writes the page.
//!
//! # Tolerance
//! The largest difference of a gradient, relative to its largest value, is at most 10⁻⁴: float32 rounds at
//! 6·10⁻⁸, and no case sums or cancels more than a few hundred terms. A wrong term is far above it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what a recording run says goes beside the record")]

#[path = "../../tests/cases/mod.rs"]
mod cases;
#[path = "coverage/page.rs"]
mod page;
#[path = "coverage/refused.rs"]
mod refused;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cases::{Case, Feed, OPSET_MAX, OPSET_RECORDED, Random};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use sha2::{Digest, Sha256};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Builder, Element, Model, Tensor, TensorType, fold};
use shoal_tract::Tract;

const TOLERANCE: f64 = 1e-4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn fixture() -> PathBuf {
    root().join("runtime/tests/fixtures/operators.safetensors")
}

/// The training graph of a case, and its values beside those of the case.
struct Training {
    model: Model,
    labels: Vec<(String, Tensor)>,
    wanted: Vec<(String, usize)>,
    /// Nodes beside those of the case itself.
    added: usize,
}

fn training(case: &Case, profile: Profile) -> Result<Training, String> {
    let folded = fold(&case.model).map_err(|why| why.to_string())?;
    let outputs: Vec<String> =
        folded.model.graph().output.iter().map(|o| o.name().to_owned()).collect();
    let losses = outputs.iter().map(|y| LossSpec::new(LossKind::Mse, y)).collect();
    let wanted: Vec<(String, usize)> = case
        .feeds
        .iter()
        .filter(|feed| feed.wanted)
        .map(|feed| (feed.name.clone(), feed.tensor.ty().values()))
        .collect();
    let wrt = wanted.iter().map(|(name, _)| name.clone()).collect();
    let options = DifferentiateOptions { losses, wrt, strict: true, profile };
    let training = differentiate(&folded, &options).map_err(|why| why.to_string())?;
    let mut random = Random::of(&format!("{}.labels", case.drawn_as));
    let mut labels = Vec::new();
    for y in &outputs {
        let dims = &folded.types[y].dims;
        let samples = dims.first().copied().unwrap_or(1);
        labels.push((format!("target.{y}"), random.floats(dims, -1.0, 1.0)));
        labels.push((format!("weight.{y}"), random.floats(&[samples], 0.5, 1.5)));
    }
    let before = folded.model.graph().node.len();
    let added = training.folded.model.graph().node.len().saturating_sub(before);
    Ok(Training { model: training.folded.model, labels, wanted, added })
}

/// The loss, then every gradient.
fn gradients(
    engine: &dyn Engine,
    case: &Case,
    training: &Training,
) -> Result<Vec<Vec<f32>>, String> {
    let mut session =
        engine.load(&training.model, &plain_options()).map_err(|why| why.to_string())?;
    let fed = case.feeds.iter().map(|feed| (&feed.name, &feed.tensor));
    for (name, tensor) in fed.chain(training.labels.iter().map(|(name, t)| (name, t))) {
        // What nothing reads is no input any more.
        if let Ok(index) = session.input_index(name) {
            session.write(index, tensor).map_err(|why| why.to_string())?;
        }
    }
    session.run().map_err(|why| why.to_string())?;
    let loss = session.output_index("loss").unwrap();
    let mut all = vec![session.output_f32(loss).map_err(|why| why.to_string())?.to_vec()];
    for (name, count) in &training.wanted {
        let index = session.output_index(&format!("grad.{name}")).unwrap();
        let values = session.output_f32(index).map_err(|why| why.to_string())?.to_vec();
        assert_eq!(values.len(), *count, "{}: {name}", case.name);
        all.push(values);
    }
    Ok(all)
}

/// The largest error of any gradient, relative to its largest value.
fn error(got: &[Vec<f32>], want: &[f32]) -> f64 {
    let mut at = 0;
    let mut worst: f64 = 0.0;
    for gradient in got {
        let want = &want[at..at + gradient.len()];
        at += gradient.len();
        let size = want.iter().fold(1e-3, |m: f64, &v| m.max(f64::from(v).abs()));
        for (&g, &w) in gradient.iter().zip(want) {
            let apart = (f64::from(g) - f64::from(w)).abs() / size;
            worst = worst.max(if apart.is_nan() { f64::INFINITY } else { apart });
        }
    }
    worst
}

/// Whether PyTorch was asked for this case itself.
fn is_recorded(case: &Case) -> bool {
    case.opset <= OPSET_RECORDED
}

/// What every recorded case consists of, to know whether it is what was recorded.
fn digest(cases: &[Case]) -> String {
    let mut hash = Sha256::new();
    for case in cases.iter().filter(|case| is_recorded(case)) {
        hash.update(&case.name);
        hash.update(case.model.to_bytes().unwrap());
        for feed in &case.feeds {
            hash.update([u8::from(feed.wanted)]);
            hash.update(feed.tensor.to_le_bytes());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The recorded gradients of each case; of one of a newer version, those of the same graph in the newest recorded one.
fn recorded(cases: &[Case]) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(fixture()).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let made_of = header.metadata().as_ref().and_then(|m| m.get("cases").cloned());
    assert_eq!(
        made_of,
        Some(digest(cases)),
        "the cases changed: run `cargo xtask oracle operators`"
    );
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let raw = stored.tensor("gradients").unwrap();
    let mut values = raw.data().as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c));
    let mut known: BTreeMap<&str, (&Case, Vec<f32>)> = BTreeMap::new();
    for case in cases.iter().filter(|case| is_recorded(case)) {
        let counts = case.feeds.iter().filter(|f| f.wanted).map(|f| f.tensor.ty().values());
        let gradients = values.by_ref().take(counts.sum()).collect();
        known.insert(&case.name, (case, gradients));
    }
    let of = |case: &Case| {
        let (twin, gradients) = &known[case.drawn_as.as_str()];
        assert_eq!(case.model.graph(), twin.model.graph(), "{} is not its twin", case.name);
        assert_eq!(case.feeds, twin.feeds, "{} is not its twin", case.name);
        gradients.clone()
    };
    cases.iter().map(of).collect()
}

/// Which engines run a case, and why one does not.
#[derive(Default)]
struct Found {
    cases: usize,
    ort: usize,
    tract: usize,
    added: usize,
    reasons: Vec<String>,
}

#[test]
fn every_gradient_is_that_of_pytorch_on_both_engines() {
    let Some(ort) = ort_or_skip() else { return };
    let cases = cases::all();
    let recorded = recorded(&cases);
    let mut found: BTreeMap<(&str, i64), Found> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut worst: (f64, &str) = (0.0, "");
    for (case, want) in cases.iter().zip(&recorded) {
        let entry = found.entry((case.operator, case.opset)).or_default();
        entry.cases += 1;
        let engines: [(&dyn Engine, Profile); 2] = [(&ort, Profile::Cpu), (&Tract, Profile::Tract)];
        let mut reference = None;
        for (engine, profile) in engines {
            let outcome = training(case, profile).and_then(|training| {
                entry.added = entry.added.max(training.added);
                gradients(engine, case, &training)
            });
            let got = match outcome {
                Ok(got) => got,
                Err(why) if profile == Profile::Cpu => {
                    wrong.push(format!("{}: {why}", case.name));
                    continue;
                }
                Err(why) => {
                    entry.reasons.push(why);
                    continue;
                }
            };
            let loss = *reference.get_or_insert(got[0][0]);
            if (got[0][0] - loss).abs() > 1e-4 * loss.abs() {
                let name = &case.name;
                wrong.push(format!(
                    "{name} {profile:?}: other values than ONNX Runtime, before any gradient"
                ));
                continue;
            }
            let error = error(&got[1..], want);
            worst = if error > worst.0 { (error, &case.name) } else { worst };
            if error > TOLERANCE {
                wrong.push(format!("{} {profile:?}: off by {error:.1e}", case.name));
            }
            *if profile == Profile::Cpu { &mut entry.ort } else { &mut entry.tract } += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 2000, "{}", cases.len());
    println!("{} cases, worst {:.1e} ({})", cases.len(), worst.0, worst.1);
    let page = page::write(&found, cases.len());
    let path = root().join("docs/operators.md");
    if std::env::var_os("SHOAL_RECORD").is_some() {
        std::fs::write(path, page).unwrap();
    } else {
        let stands = std::fs::read_to_string(path).unwrap();
        assert!(
            stands == page,
            "docs/operators.md is not what is found: run `cargo xtask oracle operators`"
        );
    }
}

/// Versions are those of ONNX Runtime's library: when it runs another, the table says so.
#[test]
fn the_newest_version_of_the_cases_is_the_newest_that_onnx_runtime_runs() {
    let Some(ort) = ort_or_skip() else { return };
    let loads = |opset: i64| {
        let mut b = Builder::new(opset);
        let x = b.input("x", TensorType::new(Element::F32, &[2]));
        let y = b.op("Relu", &[&x], &[]).unwrap();
        b.output("y", &y);
        ort.load(&b.into_model(), &plain_options()).map(drop).map_err(|why| why.to_string())
    };

    assert_eq!(loads(OPSET_MAX), Ok(()));
    let why = loads(OPSET_MAX + 1).unwrap_err();
    assert!(why.contains("under development"), "{why}");
}

/// What exporters make of functions, as files: their names, their composed operators.
#[test]
fn the_graphs_of_both_of_pytorchs_exporters_get_its_gradients() {
    check_exported("exported.safetensors", 150, 150);
}

/// tf2onnx, of operator sets 13 and 18: pictures with their channels last, loops.
#[test]
fn the_graphs_of_tensorflows_exporter_get_its_gradients() {
    check_exported("exported_tensorflow.safetensors", 190, 150);
}

#[test]
fn the_graphs_of_jaxs_exporter_get_its_gradients() {
    check_exported("exported_jax.safetensors", 105, 80);
}

/// So many graphs, and so many of them by tract, too.
fn check_exported(fixture: &str, graphs: usize, by_tract_min: usize) {
    let Some(ort) = ort_or_skip() else { return };
    let bytes = std::fs::read(root().join("runtime/tests/fixtures").join(fixture)).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let names = stored.names().into_iter().filter(|name| !name.starts_with("whole."));
    let names: BTreeSet<&str> = names.filter_map(|name| name.split('/').next()).collect();
    let mut wrong = Vec::new();
    let mut by_tract = 0;
    for &name in &names {
        let read = |part: &str| {
            let view = stored.tensor(&format!("{name}/{part}")).ok()?;
            Tensor::from_le_bytes(Element::F32, view.shape(), view.data())
        };
        let model = stored.tensor(&format!("{name}/model")).unwrap();
        let feeds = (0..).map_while(|index| {
            let tensor = read(&format!("wanted/x{index}"))?;
            Some(Feed { name: format!("x{index}"), tensor, wanted: true })
        });
        let case = Case {
            operator: "exported",
            opset: 0,
            name: name.to_owned(),
            drawn_as: name.to_owned(),
            model: Model::from_bytes(model.data().to_vec().into()).unwrap(),
            feeds: feeds.collect(),
        };
        let want = read("gradients").unwrap();
        let labels = ["target.y0", "weight.y0"]
            .map(|label| (label.to_owned(), read(&format!("read/{label}")).unwrap()));
        let engines: [(&dyn Engine, Profile); 2] = [(&ort, Profile::Cpu), (&Tract, Profile::Tract)];
        for (engine, profile) in engines {
            let outcome = training(&case, profile).and_then(|mut training| {
                training.labels = labels.to_vec();
                gradients(engine, &case, &training)
            });
            match outcome.map(|got| error(&got[1..], want.as_f32().unwrap())) {
                Ok(error) if error <= TOLERANCE => {
                    by_tract += usize::from(profile == Profile::Tract);
                }
                Ok(error) => wrong.push(format!("{name} {profile:?}: off by {error:.1e}")),
                Err(why) if profile == Profile::Cpu => wrong.push(format!("{name}: {why}")),
                Err(why) => println!("{name}: {why}"),
            }
        }
    }
    println!("{} graphs, {by_tract} of them by tract", names.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let enough = names.len() >= graphs && by_tract >= by_tract_min;
    assert!(enough, "{} graphs, {by_tract} by tract", names.len());
}

/// Part of `cargo xtask oracle operators`: what PyTorch reads.
#[test]
#[ignore = "writes the cases for the oracle"]
fn write_the_cases() {
    let mut cases = cases::all();
    cases.retain(is_recorded);
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut refused = Vec::new();
    for case in &cases {
        let model = case.model.to_bytes().unwrap().to_vec();
        tensors.push((format!("{}/model", case.name), Dtype::U8, vec![model.len()], model));
        let labels = match training(case, Profile::Cpu) {
            Ok(training) => training.labels,
            Err(why) => {
                refused.push(format!("{}: {why}", case.name));
                continue;
            }
        };
        let feeds = case.feeds.iter().map(|feed| {
            let kind = if feed.wanted { "wanted" } else { "read" };
            (format!("{}/{kind}/{}", case.name, feed.name), &feed.tensor)
        });
        let labels = labels.iter().map(|(name, t)| (format!("{}/read/{name}", case.name), t));
        for (name, tensor) in feeds.chain(labels) {
            let kinds = [
                (Element::F32, Dtype::F32),
                (Element::I64, Dtype::I64),
                (Element::Bool, Dtype::BOOL),
            ];
            let dtype = kinds.iter().find(|(e, _)| *e == tensor.data.element()).unwrap().1;
            tensors.push((name, dtype, tensor.dims.clone(), tensor.to_le_bytes()));
        }
    }
    assert!(refused.is_empty(), "{} of {}:\n{}", refused.len(), cases.len(), refused.join("\n"));
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let metadata = [("cases".to_owned(), digest(&cases)), ("order".to_owned(), names.join(" "))];
    let views = tensors.iter().map(|(name, dtype, dims, bytes)| {
        (name.clone(), TensorView::new(*dtype, dims.clone(), bytes).unwrap())
    });
    let path = root().join("target/oracle/operators.safetensors");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    serialize_to_file(views, Some(metadata.into_iter().collect()), &path).unwrap();
}
