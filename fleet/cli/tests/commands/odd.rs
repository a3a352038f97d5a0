//! `shoal model` on files and flags that are odd: what is said names the file and what to do.

use std::path::Path;

use shoal_runtime::engine::testing::noise;
use shoal_runtime::onnx::proto::{NodeProto, StringStringEntryProto, dimension, type_proto};
use shoal_runtime::onnx::{Attr, Builder, Data, Model, Tensor, TensorType};

use super::bring::{losses, model, succeeds};
use super::{engine, package, text};

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = model(folder, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A product by integers that stand for floats, and a recurrent layer.
fn mixed() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[3, 8]));
    let integers = noise(1, 64).iter().map(|value| (value * 127.0) as i8).collect();
    let integers = b.initializer("integers", &Tensor::new(&[8, 8], Data::I8(integers)));
    let scales = b.initializer("scales", &Tensor::f32(&[8], &[0.004; 8]));
    let real = b.op("DequantizeLinear", &[&integers, &scales], &[("axis", Attr::Int(1))]).unwrap();
    let h = b.op("MatMul", &[&x, &real], &[]).unwrap();
    let shape = b.i64s(&[3, 1, 8]);
    let h = b.op("Reshape", &[&h, &shape], &[]).unwrap();
    let [w, r] = [("w", 8), ("r", 4)].map(|(name, wide)| {
        b.initializer(name, &Tensor::f32(&[1, 12, wide], &noise(wide, 12 * wide)))
    });
    let y = b.op_n("GRU", &[Some(&h), Some(&w), Some(&r)], &[("hidden_size", Attr::Int(4))], 1);
    b.output("y", &y.unwrap()[0]);
    b.into_model()
}

#[test]
fn all_weights_are_those_of_recurrent_layers_too_and_what_stays_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    mixed().write(&at("mixed.onnx")).unwrap();
    let given = ["train", "mixed.onnx", "--engine", engine(), "--all-weights"];
    let said = succeeds(folder.path(), &given);
    let (before, after) = losses(&said);
    assert!(after < before && said.contains("not trained: integers"), "{said}");
    let (old, new) = (mixed(), Model::read(&at("mixed.tuned.onnx")).unwrap());
    let pairs = old.graph().initializer.iter().zip(&new.graph().initializer);
    let others: Vec<&str> = pairs.filter(|(a, b)| a != b).map(|(a, _)| a.name()).collect();
    assert_eq!(others, ["w", "r"]);
}

#[test]
fn flags_of_nothing_or_of_no_number_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    mixed().write(&folder.path().join("mixed.onnx")).unwrap();
    let said = |flags: &[&str]| refused(folder.path(), &[&["train", "mixed.onnx"], flags].concat());
    assert!(said(&["--batch", "0"]).contains("'0' for '--batch"), "{}", said(&["--batch", "0"]));
    for rate in ["nan", "inf", "0", "fast"] {
        let said = said(&["--learning-rate", rate]);
        assert!(said.contains(rate) && said.contains("a finite number above 0"), "{said}");
    }
    let said = said(&["--dim", "height=3"]);
    assert!(said.contains("mixed.onnx: no open axis is called `height`"), "{said}");
}

/// A flag that would change nothing is a mistake of who gave it.
#[test]
fn flags_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    mixed().write(&folder.path().join("mixed.onnx")).unwrap();
    open_axes(&[Some("n")]).write(&folder.path().join("open.onnx")).unwrap();
    succeeds(folder.path(), &["graft", "open.onnx", "-o", "grafted.onnx"]);
    let frames = package();
    let frames = text(&frames);
    let has_factors = "the model has factors already: --targets, --rank and --alpha are for";
    let no_factors = "--rank and --alpha are of factors: --all-weights has none";
    let one_of_both =
        "--batch 2 is for the first axis, and --dim says that axis 0 of `x` (`n`) = 3";
    for (args, why) in [
        (&["differentiate", "grafted.onnx", "--rank", "4"][..], has_factors),
        (&["differentiate", "grafted.onnx", "--alpha", "4"], has_factors),
        (&["differentiate", "grafted.onnx", "--targets", "*"], has_factors),
        (&["differentiate", "open.onnx", "--all-weights", "--rank", "4"], no_factors),
        (&["differentiate", "open.onnx", "--all-weights", "--alpha", "4"], no_factors),
        (&["train", "mixed.onnx", "--every", "5"], "--every is for a package"),
        (&["train", "mixed.onnx", "--wheelbase", "2.7"], "--wheelbase is for packages of a policy"),
        (&["train", "mixed.onnx", "--steering-ratio", "15"], "--steering-ratio is for packages"),
        (&["train", frames, "--wheelbase", "2.7"], "--wheelbase is for packages that learn"),
        (&["train", frames, "--steering-ratio", "15"], "--steering-ratio is for packages"),
        (&["train", frames, "--every", "5"], "--every is for packages of tokens"),
        (&["train", "mixed.onnx", "--device", "3"], "--device is of accelerators"),
        (&["train", "mixed.onnx", "--cache", "kept"], "--cache is of accelerators"),
        (&["inspect", "open.onnx", "--batch", "2", "--dim", "n=3"], one_of_both),
        (&["inspect", "open.onnx", "--dim", "n=3", "--dim", "n=4"], "--dim n is given twice"),
        (&["graft", "open.onnx", "--targets", "!nosuch"], "`!nosuch` is no site"),
    ] {
        let said = refused(folder.path(), args);
        assert!(said.contains(why), "{args:?}: {said}");
    }
    succeeds(folder.path(), &["inspect", "open.onnx", "--batch", "3", "--dim", "n=3"]);
}

/// x·w, whose first axes are open: a name for each that has one.
fn open_axes(names: &[Option<&str>]) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 11]));
    let w = b.initializer("w", &Tensor::f32(&[11, 2], &noise(1, 22)));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let mut open = b.into_model();
    let ty = open.graph_mut().input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
    let axes = &mut tensor.shape.as_mut().unwrap().dim;
    for (axis, name) in axes.iter_mut().zip(names) {
        axis.value = name.map(|name| dimension::Value::DimParam(name.to_owned()));
    }
    open
}

/// Writes a model whose weight is in a file beside it.
fn write_apart(folder: &Path, seed: usize) {
    let mut model = open_axes(&[Some("n")]);
    let stored = &mut model.graph_mut().initializer[0];
    let values: Vec<u8> = noise(seed, 22).iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.join("w.bin"), values).unwrap();
    (stored.raw_data, stored.data_location) = (None, Some(1));
    let (key, value) = (Some("location".to_owned()), Some("w.bin".to_owned()));
    stored.external_data = vec![StringStringEntryProto { key, value }];
    model.write(&folder.join("apart.onnx")).unwrap();
}

#[test]
fn a_checkpoint_is_of_the_weights_beside_the_model_and_of_the_values_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_apart(at, 1);
    let given = ["train", "apart.onnx", "--engine", engine(), "--batch", "4", "--steps"];
    let how = |more: &[&'static str]| [&given[..], more].concat();
    succeeds(at, &how(&["2", "-o", "one"]));
    succeeds(at, &how(&["4", "-o", "two"]));
    succeeds(at, &how(&["2", "--adapter", "one", "-o", "first", "--checkpoint", "state"]));
    std::fs::rename(at.join("one"), at.join("elsewhere")).unwrap();
    let other = how(&["4", "--adapter", "two", "-o", "other", "--checkpoint", "state"]);
    assert!(refused(at, &other).contains("state is of another seed"));
    let same = how(&["4", "--adapter", "elsewhere", "-o", "rest", "--checkpoint", "state"]);
    succeeds(at, &same);
    write_apart(at, 2);
    let said = refused(at, &same);
    assert!(said.contains("state is of another") && said.contains("model"), "{said}");
    std::fs::remove_file(at.join("state")).unwrap();
    succeeds(at, &how(&["2", "-o", "third", "--checkpoint", "state"]));
    write_apart(at, 3);
    let said = refused(at, &how(&["4", "-o", "fourth", "--checkpoint", "state"]));
    assert!(said.contains("state is of another seed"), "{said}");
}

#[test]
fn a_model_that_is_not_there_is_no_package() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["train", "inspect"] {
        let said = refused(folder.path(), &[command, "missing.onnx"]);
        assert!(said.contains("missing.onnx") && !said.contains("model.toml"), "{said}");
    }
    std::fs::write(folder.path().join("empty.onnx"), []).unwrap();
    let said = refused(folder.path(), &["train", "empty.onnx"]);
    assert!(said.contains("empty.onnx is empty"), "{said}");
}

#[test]
fn errors_of_differentiate_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let world = package().join("model.onnx");
    let said = refused(folder.path(), &["differentiate", text(&world), "--loss", "mse:none"]);
    assert!(said.contains(text(&world)) && said.contains("`none`"), "{said}");
}

#[test]
fn an_open_axis_without_a_name_is_meant_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let open = open_axes(&[Some("n"), None]);
    open.write(&folder.path().join("open.onnx")).unwrap();
    let said = refused(folder.path(), &["inspect", "open.onnx"]);
    assert!(said.contains("`x:1`") && said.contains("--dim NAME=LENGTH"), "{said}");
    succeeds(folder.path(), &["inspect", "open.onnx", "--dim", "x:1=11"]);
}

/// What picks the greatest has no gradient: without `--strict` the loss sits before, with it every such node is named at once.
#[test]
fn strict_names_every_node_that_ends_a_gradient() {
    let folder = tempfile::tempdir().unwrap();
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 8]));
    for output in ["steer", "brake"] {
        let weight = b.f32s(&[8, 4], &noise(output.len(), 32));
        let logits = b.op("MatMul", &[&x, &weight], &[]).unwrap();
        let bin = b.op("ArgMax", &[&logits], &[("axis", Attr::Int(1))]).unwrap();
        b.output(output, &bin);
    }
    b.into_model().write(&folder.path().join("picks.onnx")).unwrap();
    let said = refused(folder.path(), &["differentiate", "picks.onnx", "--strict"]);
    assert!(said.contains("`steer`") && said.contains("`brake`"), "{said}");
    assert_eq!(said.matches("ArgMax `").count(), 2, "{said}");
    let output = model(folder.path(), &["differentiate", "picks.onnx"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("steer") && said.contains("brake"), "{said}");
}

/// What draws and what cannot be folded stand in the way wherever they are: all of them are named in one message.
#[test]
fn every_node_in_the_way_of_a_training_graph_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, drawing: &[&str], jumping: &[&str]| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2, 8]));
        let weight = b.f32s(&[8, 4], &noise(1, 32));
        let y = b.op("MatMul", &[&x, &weight], &[]).unwrap();
        let mut sum = y.clone();
        for op in drawing {
            let drawn = b.op_named(&format!("the {op}"), op, &[&y], &[]).unwrap();
            sum = b.op("Add", &[&sum, &drawn], &[]).unwrap();
        }
        b.output("y", &sum);
        let mut model = b.into_model();
        for name in jumping {
            let node = NodeProto {
                input: vec![y.name().to_owned()],
                output: vec![(*name).to_owned()],
                op_type: Some("NonZero".to_owned()),
                ..NodeProto::default()
            };
            let graph = model.graph_mut();
            graph.node.push(node);
            graph.output.push(TensorType::f32(&[1]).to_value_info(name));
        }
        model.write(&folder.path().join(name)).unwrap();
    };
    let drawing = ["RandomNormalLike", "Bernoulli"];
    written("draws.onnx", &drawing, &[]);
    written("jumps.onnx", &[], &["one", "other"]);
    written("both.onnx", &drawing, &["one", "other"]);
    for strict in [&[][..], &["--strict"]] {
        let said = |name| refused(folder.path(), &[&["differentiate", name], strict].concat());
        let draws = said("draws.onnx");
        assert!(draws.contains("draws.onnx") && draws.contains("every run"), "{draws}");
        let jumps = said("jumps.onnx");
        assert!(jumps.contains("jumps.onnx: 2 nodes stand in the way"), "{jumps}");
        let both = said("both.onnx");
        assert!(both.contains("both.onnx: 4 nodes stand in the way"), "{both}");
        for said in [&draws, &both] {
            for op in drawing {
                let named = format!("{op} node `");
                assert_eq!(said.matches(&named).count(), 1, "{said}");
            }
        }
        for said in [jumps, both] {
            assert!(said.contains("NonZero node `one`"), "{said}");
            assert!(said.contains("NonZero node `other`"), "{said}");
        }
    }
}
