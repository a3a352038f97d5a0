//! ONNX Runtime behind the engine trait.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use shoal_runtime::engine::ort::{LibraryError, Ort};
use shoal_runtime::engine::testing::{ort_or_skip, plain_options, regression};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Place, Provider, Providers};
use shoal_runtime::onnx::proto::{Dimension, dimension, type_proto};
use shoal_runtime::onnx::{Builder, Element, Model, Tensor, TensorType};

fn doubled() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 3]));
    let y = b.op("Add", &[&x, &x], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

#[test]
fn the_engine_says_its_version_and_provider() {
    let Some(ort) = ort_or_skip() else { return };
    let text = ort.describe();
    assert!(text.starts_with("ort-1.") && text.ends_with("/cpu"), "{text}");
    assert_eq!(text, format!("ort-{}/cpu", ort.version()));
}

#[test]
fn a_bound_run_reads_inputs_in_place_and_writes_outputs_in_place() {
    let Some(ort) = ort_or_skip() else { return };
    let mut session = ort.load(&doubled(), &LoadOptions::default()).unwrap();
    assert_eq!(session.inputs()[0].place, Place::Host);
    session.write_f32(0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    session.run().unwrap();
    assert_eq!(session.output_f32(0).unwrap(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    let address = session.output_f32(0).unwrap().as_ptr();

    session.input_f32(0).unwrap()[5] = -1.0;
    session.run().unwrap();

    assert_eq!(session.output_f32(0).unwrap()[5], -2.0);
    assert_eq!(session.output_f32(0).unwrap().as_ptr(), address);
}

#[test]
fn an_output_copied_to_an_input_feeds_the_next_run() {
    let Some(ort) = ort_or_skip() else { return };
    let mut session = ort.load(&doubled(), &LoadOptions::default()).unwrap();
    session.write_f32(0, &[1.0; 6]).unwrap();
    for _ in 0..5 {
        session.run().unwrap();
        session.copy_output_to_input(0, 0).unwrap();
    }
    assert_eq!(session.input_f32(0).unwrap(), [32.0; 6]);
}

/// An engine might hand back the input or the constant itself instead of filling our buffer.
#[test]
fn outputs_that_are_inputs_or_constants_are_filled_too() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2]));
    let constant = b.f32s(&[2], &[7.0, 8.0]);
    let shape = b.i64s(&[2, 1]);
    let reshaped = b.op("Reshape", &[&x, &shape], &[]).unwrap();
    b.output("same", &x);
    b.output("constant", &constant);
    b.output("reshaped", &reshaped);
    let mut session = ort.load(&b.into_model(), &LoadOptions::default()).unwrap();
    for values in [[1.0, 2.0], [3.0, 4.0]] {
        session.write_f32(0, &values).unwrap();
        session.run().unwrap();
        assert_eq!(session.output_f32(0).unwrap(), values);
        assert_eq!(session.output_f32(1).unwrap(), [7.0, 8.0]);
        assert_eq!(session.output_f32(2).unwrap(), values);
    }
}

#[test]
fn integers_go_in_and_out() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::new(Element::I64, &[3]));
    let y = b.op("Mul", &[&x, &x], &[]).unwrap();
    b.output("y", &y);
    let mut session = ort.load(&b.into_model(), &LoadOptions::default()).unwrap();
    session.write_i64(0, &[1, -2, 1 << 20]).unwrap();
    session.run().unwrap();
    assert_eq!(session.output_i64(0).unwrap(), [1, 4, 1 << 40]);
    let error = session.output_f32(0).unwrap_err();
    assert_eq!(error.to_string(), "`y` is int64, not float32");
}

#[test]
fn every_node_is_reported_with_the_provider_that_runs_it() {
    let Some(ort) = ort_or_skip() else { return };
    let session = ort.load(&regression(4, 3, 2).unwrap(), &plain_options()).unwrap();
    let proven = session.proven();
    assert_eq!(
        proven.count_by_provider().into_keys().collect::<Vec<_>>(),
        ["CPUExecutionProvider"]
    );
    let operators = |op: &str| proven.nodes.iter().filter(|node| node.operator == op).count();
    assert_eq!(operators("ReduceMean"), 1, "{proven:?}");
    assert_eq!(operators("Sub"), 1, "{proven:?}");
}

#[test]
fn a_provider_that_is_asked_for_and_absent_is_an_error_not_the_cpu() {
    let Some(ort) = ort_or_skip() else { return };
    let all = Provider::ALL.map(|(_name, provider)| provider);
    for (order, first, file) in [
        (&all[..], "tensorrt:0", "libonnxruntime_providers_tensorrt.so"),
        (&all[1..], "cuda:0", "libonnxruntime_providers_cuda.so"),
    ] {
        let asked = Providers::in_order(order.to_vec()).unwrap();
        // On a library built with it the error comes with the first model instead.
        let Some(error) = ort.clone().with_providers(asked).err() else { continue };
        let text = error.to_string();
        assert!(text.starts_with(&format!("{first} was asked for and is not there")), "{text}");
        assert!(text.contains(file) && text.contains("onnxruntime-gpu"), "{text}");
    }
}

#[test]
fn wrong_input_names_the_tensor_and_leaves_it_untouched() {
    let Some(ort) = ort_or_skip() else { return };
    let mut session = ort.load(&doubled(), &LoadOptions::default()).unwrap();
    session.write_f32(0, &[1.0; 6]).unwrap();

    let error = session.write_f32(0, &[9.0; 5]).unwrap_err();
    assert_eq!(error.to_string(), "`x` has shape [2, 3]: 6 values, not 5");
    let error = session.write_i64(0, &[9; 6]).unwrap_err();
    assert_eq!(error.to_string(), "`x` is float32, not int64");
    let error = session.write(0, &Tensor::f32(&[3, 2], &[9.0; 6])).unwrap_err();
    assert_eq!(error.to_string(), "`x` has shape [2, 3], not [3, 2]");
    let error = session.write_bytes(0, Element::F32, &[0; 23]).unwrap_err();
    assert!(matches!(error, EngineError::WrongLength { .. }), "{error:?}");

    assert_eq!(session.input_f32(0).unwrap(), [1.0; 6]);
    let error = session.input_index("y").unwrap_err();
    assert_eq!(error.to_string(), "no input `y`; there are: x");
}

#[test]
fn an_open_dimension_is_refused_by_name() {
    let Some(ort) = ort_or_skip() else { return };
    let mut model = doubled();
    let ty = model.graph_mut().input[0].r#type.as_mut().unwrap();
    let Some(type_proto::Value::TensorType(tensor)) = ty.value.as_mut() else { unreachable!() };
    tensor.shape.as_mut().unwrap().dim[0] = Dimension {
        value: Some(dimension::Value::DimParam("batch".to_owned())),
        ..Dimension::default()
    };
    let error = ort.load(&model, &LoadOptions::default()).err().unwrap();
    assert_eq!(error.to_string(), "`x` has the open shape [batch, 3]: pin the model first");
}

#[test]
fn a_tensor_of_unknown_rank_is_refused_not_taken_for_a_scalar() {
    let Some(ort) = ort_or_skip() else { return };
    let mut model = doubled();
    let ty = model.graph_mut().input[0].r#type.as_mut().unwrap();
    let Some(type_proto::Value::TensorType(tensor)) = ty.value.as_mut() else { unreachable!() };
    tensor.shape = None;
    let error = ort.load(&model, &LoadOptions::default()).err().unwrap();
    assert!(matches!(error, EngineError::OpenShape { .. }), "{error:?}");
}

#[test]
fn an_unknown_operator_is_named_when_loading() {
    let Some(ort) = ort_or_skip() else { return };
    let mut model = doubled();
    model.graph_mut().node[0].op_type = Some("Frobnicate".to_owned());
    let error = ort.load(&model, &LoadOptions::default()).err().unwrap();
    assert!(error.to_string().contains("Frobnicate"), "{error}");
}

#[test]
fn one_process_has_one_library() {
    let Some(ort) = ort_or_skip() else { return };
    let again = Ort::load_library(Some(ort.library_path())).unwrap();
    assert_eq!(again.library_path(), ort.library_path());
    let error = Ort::load_library(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
    assert!(matches!(error, LibraryError::Absent { .. }), "{error:?}");
}

#[test]
fn a_missing_library_is_an_error_that_says_what_to_install() {
    let error = Ort::load_library(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/nowhere/libonnxruntime.so") && text.contains("pip install"), "{text}");
}

#[test]
fn two_sessions_run_on_two_threads() {
    let Some(ort) = ort_or_skip() else { return };
    let run = |value: f32| {
        let ort = ort.clone();
        std::thread::spawn(move || {
            let mut session = ort.load(&doubled(), &LoadOptions::default()).unwrap();
            session.write_f32(0, &[value; 6]).unwrap();
            session.run().unwrap();
            session.output_f32(0).unwrap()[0]
        })
    };
    let (one, two) = (run(1.0), run(2.0));
    assert_eq!((one.join().unwrap(), two.join().unwrap()), (2.0, 4.0));
}
