//! ONNX files that others made, by their path alone: inspected, grafted, differentiated, trained, baked and compared.
//! Real ones where they are at hand (`../shared/data`, or `SHOAL_DATA`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shoal_runtime::engine::testing::noise;
use shoal_runtime::onnx::proto::{NodeProto, OperatorSetIdProto};
use shoal_runtime::onnx::{Attr, Builder, Data, Model, Tensor, TensorType};

use super::{SHOAL, engine, package, text};

/// The real models; none (said on standard error) where the material is not at hand.
fn models() -> Vec<PathBuf> {
    let data = std::env::var_os("SHOAL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(data.join("models")) else {
        eprintln!("SKIPPED: no models in {}", data.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    files.sort();
    files
}

/// Runs `shoal model` in a folder of its own.
pub(super) fn model(folder: &Path, args: &[&str]) -> Output {
    Command::new(SHOAL).arg("model").args(args).current_dir(folder).output().unwrap()
}

pub(super) fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = model(folder, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The two losses of `loss A before, B after …`.
pub(super) fn losses(said: &str) -> (f32, f32) {
    let line = said.lines().find(|line| line.starts_with("loss ")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether a model is written in float16, which its bytes show, or refused by how far it is off.
fn bake_in_float16(
    folder: &Path,
    (path, adapter, baked): (&str, &str, &str),
    how: &[&str],
) -> bool {
    let args = [&["bake", path, adapter, "--float16", "-o", "half.onnx"], how].concat();
    let output = model(folder, &args);
    let made = folder.join("half.onnx");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("nothing was written") && !made.exists(), "{path}: {said}");
        return false;
    }
    let bytes = |file: &Path| std::fs::metadata(file).unwrap().len();
    assert!(bytes(&made) < bytes(&folder.join(baked)) * 2 / 3, "{path}: {}", bytes(&made));
    succeeds(folder, &["inspect", "half.onnx"]);
    true
}

/// Every command on one file; `how` is what is said beyond its path where an engine runs.
fn bring(file: &Path, how: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let path = text(file);
    succeeds(folder.path(), &["inspect", path]);
    let grafted = format!("{stem}.grafted.onnx");
    assert!(succeeds(folder.path(), &["graft", path]).starts_with(&grafted));
    succeeds(folder.path(), &["differentiate", path, "-o", "training.onnx"]);
    let said = succeeds(folder.path(), &[&["train", path], how].concat());
    let (before, after) = losses(&said);
    assert!(after < before, "{path}: {said}");
    let adapter = format!("{stem}.adapter");
    assert!(said.ends_with(&format!("{adapter}\n")), "{said}");
    let said = succeeds(folder.path(), &[&["bake", path, &adapter], how].concat());
    assert!(said.contains("greatest difference of"), "{path}: {said}");
    let baked = format!("{stem}.baked.onnx");
    let halved = bake_in_float16(folder.path(), (path, &adapter, &baked), how);
    // Its boxes are exponentials of what 113 convolutions give: for drawn images they are off by half.
    assert_eq!(halved, stem != "yolox_nano_416", "{path}");
    for made in [grafted, "training.onnx".to_owned(), baked] {
        succeeds(folder.path(), &["inspect", &made]);
    }
}

#[test]
fn every_real_model_is_inspected_grafted_differentiated_trained_and_baked_by_its_path_alone() {
    if engine() != "ort" {
        return;
    }
    models().iter().for_each(|file| bring(file, &[]));
}

/// The quick ones: an image network of the oldest operators, and a transformer.
#[test]
fn the_embedded_engine_trains_and_bakes_real_models_too() {
    let quick = ["dave_small", "pilotnet_gray_66x200", "tinyphysics"];
    let files = models();
    let quick =
        files.iter().filter(|file| quick.iter().any(|name| file.ends_with(format!("{name}.onnx"))));
    quick.for_each(|file| bring(file, &["--engine", "tract"]));
}

#[test]
fn a_package_still_asks_for_its_data_and_a_bare_file_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let world = package();
    let output = model(folder.path(), &["train", text(&world)]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--data DIR"));
    let output = model(folder.path(), &["train", text(&world), "--data", ".", "--rank", "4"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("as its recipe says"));
    let file = world.join("model.onnx");
    let output = model(folder.path(), &["train", text(&file), "--data", "."]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--data is for a package"));
}

#[test]
fn what_a_step_takes_is_said_before_the_first_one_and_refused_above_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let world = package().join("model.onnx");
    let train = |limit: &str| {
        let args = ["train", text(&world), "--steps", "1", "--memory-limit", limit, "-o", "made"];
        let output = model(folder.path(), &args);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (trained, said) = train("1000");
    assert!(!trained && said.contains("bytes by plan"), "{said}");
    assert!(!folder.path().join("made").exists());
    let (trained, said) = train("1000000000");
    assert!(trained && said.contains("MiB at its highest, by plan"), "{said}");
}

/// Length of all B of an adapter: how far it came, since they start at nothing.
pub(super) fn length(adapter: &Path) -> f64 {
    let bytes = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..8 + head]).unwrap();
    let ups = tensors.as_object().unwrap().iter().filter(|(name, _)| name.contains("lora_B"));
    let squares = ups.flat_map(|(_, of)| {
        let at = |end: usize| 8 + head + of["data_offsets"][end].as_u64().unwrap() as usize;
        let values = bytes[at(0)..at(1)].chunks_exact(4);
        values.map(|value| f64::from(f32::from_le_bytes(value.try_into().unwrap())).powi(2))
    });
    squares.sum::<f64>().sqrt()
}

#[test]
fn what_holds_an_adapter_back_keeps_it_nearer_to_where_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let frames = super::drives(folder.path(), 60);
    let train = |how: &[&str]| {
        let world = package();
        let given = ["train", text(&world), "--data", text(&frames), "--engine", engine()];
        let output = model(folder.path(), &[&given, how, &["--steps", "8", "-o", "made"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        length(&folder.path().join("made"))
    };
    let free = train(&[]);
    for how in [["--pull", "1000"], ["--ewc", "1000"]] {
        let held = train(&how);
        assert!(held > 0.0 && held < 0.9 * free, "{how:?}: {held} of {free}");
    }
    assert_ne!(train(&["--distil", "3"]), free);
    let output = model(folder.path(), &["train", text(&package()), "--pull", "1", "--ewc", "1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be used with"));
}

#[test]
fn an_adapter_becomes_a_file_of_onnx_runtime_and_a_directory_again_and_its_graph_has_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let world = package().join("model.onnx");
    let path = text(&world);
    succeeds(folder.path(), &["train", path, "--engine", engine(), "--steps", "1", "-o", "made"]);
    for (from, to) in [("made", "made.onnx_adapter"), ("made.onnx_adapter", "again")] {
        assert_eq!(succeeds(folder.path(), &["convert", path, from, to]), format!("{to}\n"));
    }
    let values = |name: &str| {
        std::fs::read(folder.path().join(name).join("adapter_model.safetensors")).unwrap()
    };
    assert!(length(&folder.path().join("made")) > 0.0 && values("made") == values("again"));
    let output = model(folder.path(), &["convert", path, "made", "other", "--alpha", "4"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--alpha"), "{said}");
    assert!(!folder.path().join("other").exists());

    for (how, defaults) in [(&[][..], false), (&["--optional"][..], true)] {
        succeeds(folder.path(), &[&["graft", path, "-o", "grafted.onnx"], how].concat());
        let grafted = Model::read(&folder.path().join("grafted.onnx")).unwrap();
        let graph = grafted.graph();
        let factors: Vec<&str> =
            graph.input.iter().map(|i| i.name()).filter(|name| name.starts_with("lora.")).collect();
        let stored = |name: &&str| graph.initializer.iter().any(|t| t.name() == *name);
        assert!(!factors.is_empty());
        assert_eq!(factors.iter().filter(|name| stored(name)).count() == factors.len(), defaults);
    }
}

#[test]
fn a_bare_file_is_held_back_by_terms_of_its_training_graph() {
    let folder = tempfile::tempdir().unwrap();
    let world = package().join("model.onnx");
    let train = |how: &[&str]| {
        let given = ["train", text(&world), "--engine", engine(), "--batch", "2", "--steps", "6"];
        succeeds(folder.path(), &[&given, how, &["-o", "made"]].concat());
        length(&folder.path().join("made"))
    };
    let free = train(&[]);
    for how in [["--pull", "10000"], ["--ewc", "10000"]] {
        let held = train(&how);
        assert!(held > 0.0 && held < 0.9 * free, "{how:?}: {held} of {free}");
    }
    assert_ne!(train(&["--distil", "1"]), free);
    let output = model(folder.path(), &["train", text(&world), "--batch", "2", "--distil", "2"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("one must stay to be fitted"));

    let given = ["differentiate", text(&world), "--ewc", "--distil", "-o", "made.onnx"];
    succeeds(folder.path(), &given);
    let graph = Model::read(&folder.path().join("made.onnx")).unwrap();
    let outputs: Vec<&str> = graph.graph().output.iter().map(|o| o.name()).collect();
    assert!(outputs.contains(&"loss.keep"), "{outputs:?}");
    assert!(outputs.iter().any(|name| name.starts_with("loss.distil.")), "{outputs:?}");
    let inputs: Vec<&str> = graph.graph().input.iter().map(|i| i.name()).collect();
    assert!(inputs.contains(&"keep.strength"), "{inputs:?}");
}

#[test]
fn a_result_never_takes_the_place_of_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::copy(package().join("model.onnx"), &file).unwrap();
    let before = std::fs::read(&file).unwrap();
    let output = model(folder.path(), &["graft", "model.onnx", "-o", "./model.onnx"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is the model itself"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

/// A network with an int8 weight behind a DequantizeLinear.
fn quantised() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 16]));
    let q: Vec<i8> = noise(1, 256).iter().map(|v| (v * 127.0) as i8).collect();
    let q = b.initializer("layer.weight", &Tensor::new(&[16, 16], Data::I8(q)));
    let scale = b.initializer("layer.scale", &Tensor::f32(&[16], &[0.004; 16]));
    let zero = b.initializer("layer.zero", &Tensor::new(&[16], Data::I8(vec![0; 16])));
    let w = b.op("DequantizeLinear", &[&q, &scale, &zero], &[("axis", Attr::Int(1))]).unwrap();
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let y = b.op("Tanh", &[&h], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

/// The same with a weight of 4 bits in blocks.
fn four_bits() -> Model {
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[1, 32]));
    let packed = noise(1, 8 * 16).iter().map(|v| (v * 127.0) as i8 as u8).collect();
    b.initializer("layer.weight", &Tensor::new(&[8, 1, 16], Data::U8(packed)));
    b.initializer("layer.scale", &Tensor::f32(&[8], &[0.05; 8]));
    let mut model = b.into_model();
    let attrs = [("K", 32), ("N", 8), ("bits", 4), ("block_size", 32)];
    model.graph_mut().node.push(NodeProto {
        input: ["x", "layer.weight", "layer.scale"].map(str::to_owned).to_vec(),
        output: vec!["y".to_owned()],
        op_type: Some("MatMulNBits".to_owned()),
        domain: Some("com.microsoft".to_owned()),
        attribute: attrs.map(|(name, n)| Attr::Int(n).to_proto(name)).to_vec(),
        ..NodeProto::default()
    });
    model.graph_mut().output.push(TensorType::f32(&[1, 8]).to_value_info("y"));
    let domain = Some("com.microsoft".to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
    model
}

#[test]
fn quantised_weights_are_tuned_beside_on_both_engines_and_baked_into_floats_which_is_said() {
    for (name, made) in [("int8", quantised()), ("bits", four_bits())] {
        for engine in ["tract", engine()] {
            let folder = tempfile::tempdir().unwrap();
            let (file, adapter) = (format!("{name}.onnx"), format!("{name}.adapter"));
            made.write(&folder.path().join(&file)).unwrap();
            let how = ["--engine", engine];
            let said = succeeds(folder.path(), &[&["train", &file], &how[..]].concat());
            let (before, after) = losses(&said);
            assert!(after < before, "{name}, {engine}: {said}");
            let bake = [&["bake", &file, &adapter], &how[..]].concat();
            let refused = model(folder.path(), &[&bake[..], &["--no-dequantize"]].concat());
            assert!(!refused.status.success());
            let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
            let named = [&file, "`layer.weight`", "--dequantize"];
            assert!(named.iter().all(|part| refused.contains(part)), "{refused}");
            let flags: [&[&str]; 2] = [&[], &["--dequantize"]];
            let [told, known] = flags.map(|flag| model(folder.path(), &[&bake[..], flag].concat()));
            assert!(told.status.success() && known.status.success());
            let notes = [told, known].map(|done| {
                let said = String::from_utf8_lossy(&done.stderr).into_owned();
                said.contains("note: weight `layer.weight` is quantised")
            });
            assert_eq!(notes, [true, false]);
        }
    }
}
