//! `shoal model` on files and flags that are odd: what is said names the file and what to do.

use std::path::Path;

use shoal_runtime::engine::testing::noise;
use shoal_runtime::onnx::proto::{Dimension, dimension, type_proto};
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
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 11]));
    let w = b.initializer("w", &Tensor::f32(&[11, 2], &noise(1, 22)));
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let mut open = b.into_model();
    let ty = open.graph_mut().input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
    let batch = Some(dimension::Value::DimParam("n".to_owned()));
    tensor.shape.as_mut().unwrap().dim =
        [batch, None].map(|value| Dimension { value, denotation: None }).to_vec();
    open.write(&folder.path().join("open.onnx")).unwrap();
    let said = refused(folder.path(), &["inspect", "open.onnx"]);
    assert!(said.contains("`x:1`") && said.contains("--dim NAME=LENGTH"), "{said}");
    succeeds(folder.path(), &["inspect", "open.onnx", "--dim", "x:1=11"]);
}
