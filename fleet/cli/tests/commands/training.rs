//! `shoal model train`, of packages and of bare files alike: what is trained, from where, and how it ends.

use std::collections::BTreeMap;
use std::path::Path;

use shoal_runtime::onnx::{Model, Tensor};

use super::bring::{model, succeeds};
use super::{engine, package, text};

/// The tensors of a PEFT directory, by name.
fn tensors(adapter: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let told: serde_json::Value = serde_json::from_slice(&bytes[8..8 + head]).unwrap();
    let told = told.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let of = |(name, of): (&String, &serde_json::Value)| {
        let at = |end: usize| 8 + head + of["data_offsets"][end].as_u64().unwrap() as usize;
        let values = bytes[at(0)..at(1)].chunks_exact(4);
        let values = values.map(|value| f32::from_le_bytes(value.try_into().unwrap()));
        (name.clone(), values.collect())
    };
    told.map(of).collect()
}

fn downs(adapter: &Path) -> BTreeMap<String, Vec<f32>> {
    let mut of = tensors(adapter);
    of.retain(|name, _| name.contains("lora_A"));
    of
}

fn is_trained(adapter: &Path) -> bool {
    let ups = tensors(adapter).into_iter().filter(|(name, _)| name.contains("lora_B"));
    ups.flat_map(|(_, values)| values).any(|value| value != 0.0)
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = model(folder, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn adapters_of_one_seed_share_their_a_whatever_their_rank() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let world = package().join("model.onnx");
    for (rank, made) in [("2", "small"), ("4", "large")] {
        let given = ["train", text(&world), "--engine", engine(), "--steps", "3"];
        let how = ["--freeze-a", "5", "--rank", rank, "-o", made];
        succeeds(folder.path(), &[&given[..], &how].concat());
        assert!(is_trained(&at(made)));
    }
    let (small, large) = (downs(&at("small")), downs(&at("large")));
    assert!(!small.is_empty() && small.keys().eq(large.keys()));
    for (name, a) in &small {
        assert_eq!(large[name][..a.len()], a[..], "{name}");
    }
}

#[test]
fn a_package_trains_b_alone_and_goes_on_with_the_same_seed_only() {
    let folder = tempfile::tempdir().unwrap();
    let frames = super::drives(folder.path(), 60);
    let world = package();
    let given = ["train", text(&world), "--data", text(&frames), "--engine", engine()];
    let train = |how: &[&str]| [&given[..], &["--steps", "3"], how].concat();
    succeeds(folder.path(), &train(&["--freeze-a", "5", "-o", "first"]));
    let more = ["--freeze-a", "5", "--adapter", "first", "--roll-out", "2", "-o", "second"];
    succeeds(folder.path(), &train(&more));
    let at = |name: &str| folder.path().join(name);
    assert!(is_trained(&at("first")) && downs(&at("first")) == downs(&at("second")));
    assert_ne!(tensors(&at("first")), tensors(&at("second")));
    let other = ["--freeze-a", "6", "--adapter", "first", "-o", "third"];
    let said = refused(folder.path(), &train(&other));
    assert!(said.contains("row 0 of A") && said.contains("another seed"), "{said}");
    assert!(!at("third").exists());
}

#[test]
fn graphs_of_a_frozen_a_take_b_alone() {
    let folder = tempfile::tempdir().unwrap();
    let world = package().join("model.onnx");
    let path = text(&world);
    succeeds(folder.path(), &["graft", path, "--freeze-a", "5", "-o", "grafted.onnx"]);
    succeeds(folder.path(), &["differentiate", path, "--freeze-a", "5", "-o", "one.onnx"]);
    succeeds(folder.path(), &["differentiate", "grafted.onnx", "-o", "two.onnx"]);
    for made in ["grafted.onnx", "one.onnx", "two.onnx"] {
        let made_model = Model::read(&folder.path().join(made)).unwrap();
        let graph = made_model.graph();
        let of = |name: &&str| name.starts_with("lora.");
        let inputs: Vec<&str> = graph.input.iter().map(|i| i.name()).filter(of).collect();
        let stored: Vec<&str> = graph.initializer.iter().map(|t| t.name()).filter(of).collect();
        assert!(!inputs.is_empty() && inputs.iter().all(|name| name.ends_with(".B")), "{made}");
        assert!(stored.len() == inputs.len() && stored.iter().all(|name| name.ends_with(".A")));
        let outputs = graph.output.iter().map(|o| o.name());
        let gradients = outputs.filter(|name| name.starts_with("grad.")).count();
        assert_eq!(gradients, if made == "grafted.onnx" { 0 } else { inputs.len() }, "{made}");
    }
    succeeds(folder.path(), &["graft", path, "--optional", "--freeze-a", "5", "-o", "open.onnx"]);
    let open = Model::read(&folder.path().join("open.onnx")).unwrap();
    let drawn = open.graph().initializer.iter().find(|t| t.name().ends_with(".A")).unwrap();
    let drawn = Tensor::from_proto(drawn).unwrap();
    assert!(drawn.as_f32().unwrap().iter().all(|value| *value != 0.0));
    let said = refused(folder.path(), &["differentiate", path, "--all-weights", "--freeze-a", "5"]);
    assert!(said.contains("cannot be used with"), "{said}");
    let again = ["differentiate", "grafted.onnx", "--freeze-a", "5", "-o", "three.onnx"];
    assert!(refused(folder.path(), &again).contains("has factors already"));
}
