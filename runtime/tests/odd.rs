//! Models that are odd in a way real ones are: each goes from its file through inspection, grafting, ten steps of
//! training and baking, and the baked one agrees with the grafted one; or it is refused by an error that names the
//! file, the node and the tensor.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brought;

use std::path::{Path, PathBuf};

use brought::{Folder, agrees, brought, fitted, works};
use shoal_runtime::bake::{BakeError, bake, bake_dequantised};
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::fit::FitError;
use shoal_runtime::graft::{GraftOptions, graft, sites};
use shoal_runtime::onnx::proto::{
    GraphProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, ValueInfoProto, type_proto,
};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Model, PinOptions, Tensor, TensorType, Value, open,
};

fn weight(b: &mut Builder, name: &str, dims: &[usize]) -> Value {
    let count: usize = dims.iter().product();
    let values: Vec<f32> = noise(name.len(), count).iter().map(|v| v * 0.4).collect();
    b.initializer(name, &Tensor::f32(dims, &values))
}

/// `y = tanh(x·a)·b` of two samples.
fn two_layers(a: &str, b_name: &str) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 6]));
    let first = weight(&mut b, a, &[6, 8]);
    let second = weight(&mut b, b_name, &[8, 3]);
    let h = b.op("MatMul", &[&x, &first], &[]).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    let y = b.op("MatMul", &[&h, &second], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attrs: &[(&str, Attr)]) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        op_type: Some(op.to_owned()),
        name: Some(format!("the {op}")),
        attribute: attrs.iter().map(|(name, attr)| attr.to_proto(name)).collect(),
        ..NodeProto::default()
    }
}

/// The refusal, which must name the file and all of `parts`.
#[track_caller]
fn refused(model: &Model, parts: &[&str]) -> String {
    let folder = Folder::new();
    let error = brought(&folder.write(model), &GraftOptions::default()).unwrap_err();
    for part in parts {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    error
}

#[test]
fn declared_shapes_that_are_wrong_are_not_believed() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut model = two_layers("a", "b");
    let wrong = |output: &mut ValueInfoProto, ty: TensorType| {
        output.r#type = ty.to_value_info("").r#type;
    };
    for ty in [TensorType::f32(&[7]), TensorType::f32(&[]), TensorType::new(Element::I64, &[2, 3])]
    {
        wrong(&mut model.graph_mut().output[0], ty);
        works(&model);
    }
    model.graph_mut().output[0].r#type = None;
    works(&model);
}

#[test]
fn outputs_without_axes_and_inputs_without_a_batch_are_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[6]));
    let w = weight(&mut b, "w", &[6, 4]);
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let mean = b.op("ReduceMean", &[&h], &[("keepdims", Attr::Int(0))]).unwrap();
    b.output("mean", &mean);
    works(&b.into_model());
}

#[test]
fn names_of_every_kind_and_weights_listed_as_inputs_are_sites() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut model = two_layers("onnx::MatMul_12", "/decoder/head/MatMul.weight");
    let listed: Vec<ValueInfoProto> = [("onnx::MatMul_12", [6, 8])]
        .map(|(name, dims)| TensorType::f32(&dims).to_value_info(name))
        .to_vec();
    model.graph_mut().input.extend(listed);
    model.graph_mut().input.push(TensorType::f32(&[3]).to_value_info("unused"));
    for node in &mut model.graph_mut().node {
        node.name = Some("the same".to_owned());
    }
    let fitted = works(&model);
    let sites: Vec<&str> =
        fitted.adapter.layout().sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!(sites, ["onnx::MatMul_12", "/decoder/head/MatMul.weight"]);
}

#[test]
fn an_adapter_of_names_of_every_kind_is_written_and_read_again() {
    if ort_or_skip().is_none() {
        return;
    }
    let fitted = works(&two_layers("onnx::MatMul_12", "/decoder/head/MatMul.weight"));
    let folder = tempfile::tempdir().unwrap();
    fitted.adapter.write_peft(folder.path()).unwrap();
    let layout = fitted.adapter.layout().clone();
    let read = shoal_runtime::adapter::Adapter::read_peft(folder.path(), layout).unwrap();
    assert_eq!(read, fitted.adapter);
}

#[test]
fn channels_last_with_transposes_are_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(13);
    let x = b.input("image", TensorType::f32(&[1, 8, 8, 3]));
    let perm = |p: &[i64]| [("perm", Attr::Ints(p.to_vec()))];
    let h = b.op("Transpose", &[&x], &perm(&[0, 3, 1, 2])).unwrap();
    let w = weight(&mut b, "conv/kernel", &[4, 3, 3, 3]);
    let h = b.op("Conv", &[&h, &w], &[("auto_pad", Attr::Str("SAME_UPPER".into()))]).unwrap();
    let h = b.op("Relu", &[&h], &[]).unwrap();
    let y = b.op("Transpose", &[&h], &perm(&[0, 2, 3, 1])).unwrap();
    b.output("y", &y);
    works(&b.into_model());
}

/// Weights and activations between QuantizeLinear and DequantizeLinear, as quantisers of other tools write them.
fn quantised(layers: usize) -> Model {
    let mut b = Builder::new(13);
    let mut h = b.input("x", TensorType::f32(&[2, 8]));
    let scale = b.initializer("act.scale", &Tensor::f32(&[], &[0.02]));
    let zero = b.initializer("act.zero", &Tensor::new(&[], Data::U8(vec![128])));
    for layer in 0..layers {
        let q = b.op("QuantizeLinear", &[&h, &scale, &zero], &[]).unwrap();
        let x = b.op("DequantizeLinear", &[&q, &scale, &zero], &[]).unwrap();
        let values: Vec<i8> = noise(layer, 64).iter().map(|v| (v * 127.0) as i8).collect();
        let q = b.initializer(&format!("layer{layer}.q"), &Tensor::new(&[8, 8], Data::I8(values)));
        let scales: Vec<f32> = noise(layer + 7, 8).iter().map(|v| 0.004 + 0.001 * v).collect();
        let s = b.initializer(&format!("layer{layer}.s"), &Tensor::f32(&[8], &scales));
        let z = b.initializer(&format!("layer{layer}.z"), &Tensor::new(&[8], Data::I8(vec![0; 8])));
        let w = b.op("DequantizeLinear", &[&q, &s, &z], &[("axis", Attr::Int(1))]).unwrap();
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        h = b.op("Add", &[&y, &x], &[]).unwrap();
        h = b.op("Tanh", &[&h], &[]).unwrap();
    }
    b.output("y", &h);
    b.into_model()
}

#[test]
fn a_quantised_graph_of_a_thousand_nodes_is_tuned_beside_its_integers() {
    if ort_or_skip().is_none() {
        return;
    }
    let model = quantised(167);
    assert!(model.graph().node.len() > 1000);
    let folder = Folder::new();
    let (model, grafted, fitted) =
        brought(&folder.write(&model), &GraftOptions::default()).unwrap();
    assert_eq!(grafted.layout.sites.len(), 167);
    let refused = bake(&model, &fitted.adapter).unwrap_err();
    assert!(matches!(&refused, BakeError::Quantised { weight, .. } if weight == "layer0.q"));
    assert!(refused.to_string().contains("--dequantize"));
    let few = quantised(3);
    let (model, grafted, fitted) = brought(&folder.write(&few), &GraftOptions::default()).unwrap();
    agrees(&bake_dequantised(&model, &fitted.adapter).unwrap(), &grafted, &fitted);
}

#[test]
fn a_recurrent_network_is_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[5, 2, 4]));
    let w = weight(&mut b, "lstm.w", &[1, 24, 4]);
    let r = weight(&mut b, "lstm.r.", &[1, 24, 6]);
    let attrs = [("hidden_size", Attr::Int(6))];
    let first = weight(&mut b, "in", &[4, 4]);
    let h = b.op("MatMul", &[&x, &first], &[]).unwrap();
    // Biases, lengths and the first cell are left out by empty names.
    let given = [Some(&h), Some(&w), Some(&r)];
    let out = b.op_n("LSTM", &given, &attrs, 3).unwrap();
    let state = b.i64s(&[2, 6]);
    let h = b.op("Reshape", &[&out[1], &state], &[]).unwrap();
    let head = weight(&mut b, "head", &[6, 2]);
    let y = b.op("MatMul", &[&h, &head], &[]).unwrap();
    b.output("y", &y);
    works(&b.into_model());
}

#[test]
fn inputs_that_are_left_out_by_an_empty_name_are_left_out() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut model = two_layers("a", "b");
    let graph = model.graph_mut();
    graph.initializer.push(Tensor::f32(&[], &[0.9]).to_proto("high"));
    graph.node.push(node("Clip", &["y", "", "high"], &["clipped"], &[]));
    graph.output = vec![TensorType::f32(&[2, 3]).to_value_info("clipped")];
    works(&model);
}

#[test]
fn what_differs_from_run_to_run_is_refused_by_its_node() {
    if ort_or_skip().is_none() {
        return;
    }
    let noisy = |node: NodeProto| {
        let mut model = two_layers("a", "b");
        let graph = model.graph_mut();
        graph.initializer.push(Tensor::f32(&[], &[0.5]).to_proto("ratio"));
        graph.initializer.push(Tensor::new(&[], Data::Bool(vec![true])).to_proto("training"));
        graph.node.push(node);
        graph.output = vec![TensorType::f32(&[2, 3]).to_value_info("noisy")];
        model
    };
    for op in ["RandomNormalLike", "RandomUniformLike", "Bernoulli"] {
        let seeded = [("seed", Attr::Float(1.0))];
        refused(
            &noisy(node(op, &["y"], &["noisy"], &seeded)),
            &["odd.onnx", op, "the ", "every run"],
        );
    }
    let dropout = node("Dropout", &["y", "ratio", "training"], &["noisy"], &[]);
    refused(&noisy(dropout), &["odd.onnx", "Dropout", "the Dropout"]);
    let drawn = node("Multinomial", &["y"], &["noisy"], &[]);
    refused(&noisy(drawn), &["odd.onnx", "Multinomial", "the Multinomial"]);
    // What nothing reads is no matter.
    let mut unread = noisy(node("RandomNormalLike", &["y"], &["noisy"], &[]));
    unread.graph_mut().output = vec![TensorType::f32(&[2, 3]).to_value_info("y")];
    works(&unread);
}

#[test]
fn weights_of_half_and_double_precision_are_sites() {
    if ort_or_skip().is_none() {
        return;
    }
    for element in [Element::F16, Element::F64] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::new(element, &[2, 6]));
        let real = |b: &mut Builder, name: &str, dims: &[usize]| {
            let values: Vec<f64> = noise(name.len(), dims.iter().product())
                .iter()
                .map(|v| f64::from(v * 0.4))
                .collect();
            b.initializer(name, &Tensor::from_f64s(element, dims, &values))
        };
        let a = real(&mut b, "a", &[6, 8]);
        let second = real(&mut b, "second", &[3, 8]);
        let h = b.op("MatMul", &[&x, &a], &[]).unwrap();
        let h = b.op("Tanh", &[&h], &[]).unwrap();
        let y = b.op("Gemm", &[&h, &second], &[("transB", Attr::Int(1))]).unwrap();
        b.output("y", &y);
        assert_eq!(works(&b.into_model()).adapter.layout().sites.len(), 2, "{element}");
    }
}

#[test]
fn weights_stored_in_half_precision_behind_a_cast_are_sites() {
    if ort_or_skip().is_none() {
        return;
    }
    for element in [Element::F16, Element::Bf16] {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[2, 6]));
        let values: Vec<f64> = noise(1, 48).iter().map(|&v| f64::from(v)).collect();
        let w = b.initializer("half", &Tensor::from_f64s(element, &[6, 8], &values));
        let wide = b.op("Cast", &[&w], &[("to", Attr::Int(1))]).unwrap();
        let y = b.op("MatMul", &[&x, &wide], &[]).unwrap();
        b.output("y", &y);
        works(&b.into_model());
    }
}

/// `two_layers` with both weights in one file beside it.
fn external(folder: &Folder, location: &str, bytes_kept: usize) -> PathBuf {
    let mut model = two_layers("a", "b");
    let mut all = Vec::new();
    for tensor in &mut model.graph_mut().initializer {
        let raw = tensor.raw_data.take().unwrap();
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", all.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(1);
        all.extend_from_slice(&raw);
    }
    all.truncate(bytes_kept);
    std::fs::write(folder.0.path().join("weights.bin"), all).unwrap();
    folder.write(&model)
}

#[test]
fn values_in_a_file_beside_the_model_are_read_and_written_into_it() {
    if ort_or_skip().is_none() {
        return;
    }
    let folder = Folder::new();
    let file = external(&folder, "weights.bin", usize::MAX);
    let (model, grafted, fitted) = brought(&file, &GraftOptions::default()).unwrap();
    let baked = bake(&model, &fitted.adapter).unwrap();
    agrees(&baked, &grafted, &fitted);
    let file = folder.0.path().join("baked.onnx");
    baked.write(&file).unwrap();
    assert_eq!(Model::read(&file).unwrap(), Model::read_with_data(&file).unwrap());
    assert_eq!(model.graph().initializer, two_layers("a", "b").graph().initializer);
}

#[test]
fn values_that_are_missing_cut_off_or_elsewhere_are_refused_by_tensor_and_file() {
    let folder = Folder::new();
    let said = |file: &Path| Model::read_with_data(file).unwrap_err().to_string();
    let cut = said(&external(&folder, "weights.bin", 200));
    assert!(["odd.onnx", "`b`", "weights.bin", "200"].iter().all(|p| cut.contains(p)), "{cut}");
    let gone = said(&external(&folder, "gone.bin", 0));
    assert!(["odd.onnx", "`a`", "gone.bin"].iter().all(|p| gone.contains(p)), "{gone}");
    for location in ["../weights.bin", "/etc/passwd", "a/../../weights.bin", ""] {
        let outside = said(&external(&folder, location, 0));
        assert!(outside.contains("outside the model's folder"), "{outside}");
    }
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("secret"), [0; 400]).unwrap();
    let file = external(&folder, "link", 0);
    std::os::unix::fs::symlink(other.path().join("secret"), folder.0.path().join("link")).unwrap();
    assert!(said(&file).contains("outside the model's folder"), "{}", said(&file));
}

#[test]
fn circles_and_names_for_two_tensors_are_refused() {
    let mut model = two_layers("a", "b");
    let last = model.graph().node[2].output[0].clone();
    model.graph_mut().node[0].input[0] = last.clone();
    refused(&model, &["odd.onnx", "circle"]);
    let mut model = two_layers("a", "b");
    model.graph_mut().node.push(node("Relu", &["x"], &[&last], &[]));
    refused(&model, &["odd.onnx", &format!("`{last}`"), "two tensors"]);
}

#[test]
fn outputs_that_are_weights_or_inputs_stand_beside_those_that_are_trained() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut model = two_layers("a", "b");
    let extra = [("table", vec![3]), ("x", vec![2, 6])];
    model.graph_mut().initializer.push(Tensor::f32(&[3], &[1.0, 2.0, 3.0]).to_proto("table"));
    for (name, dims) in extra {
        model.graph_mut().output.push(TensorType::f32(&dims).to_value_info(name));
    }
    works(&model);
}

fn branch(output: &str, nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: Some(output.to_owned()),
        node: nodes,
        output: vec![TensorType::f32(&[2, 3]).to_value_info(output)],
        ..GraphProto::default()
    }
}

#[test]
fn a_branch_by_a_constant_is_taken_and_one_by_the_run_is_refused_by_its_node() {
    if ort_or_skip().is_none() {
        return;
    }
    let with = |condition: &str| {
        let mut model = two_layers("a", "b");
        let y = model.graph().output[0].name().to_owned();
        let graph = model.graph_mut();
        graph.initializer.push(Tensor::new(&[], Data::Bool(vec![true])).to_proto("known"));
        let mut choice = node("If", &[condition], &["z"], &[]);
        let graphs = [("then_branch", "Tanh"), ("else_branch", "Relu")];
        for (name, op) in graphs {
            let mut attribute = Attr::Int(0).to_proto(name);
            (attribute.i, attribute.r#type) = (None, Some(5));
            attribute.g = Some(Box::new(branch(op, vec![node(op, &[&y], &[op], &[])])));
            choice.attribute.push(attribute);
        }
        graph.node.push(choice);
        graph.output = vec![TensorType::f32(&[2, 3]).to_value_info("z")];
        graph.input.push(TensorType::new(Element::Bool, &[]).to_value_info("asked"));
        model
    };
    works(&with("known"));
    refused(&with("asked"), &["odd.onnx", "the If", "values of the run"]);
}

#[test]
fn inputs_that_are_no_tensors_of_numbers_are_refused_by_name() {
    let mut model = two_layers("a", "b");
    let mut words = TensorType::f32(&[2]).to_value_info("words");
    let Some(type_proto::Value::TensorType(tensor)) = words.r#type.as_mut().unwrap().value.as_mut()
    else {
        unreachable!()
    };
    tensor.elem_type = Some(8);
    model.graph_mut().input.push(words);
    refused(&model, &["odd.onnx", "`words`"]);
    let mut model = two_layers("a", "b");
    let y = model.graph().output[0].name().to_owned();
    model.graph_mut().node.push(node("SequenceConstruct", &[&y], &["list"], &[]));
    model.graph_mut().output.push(TensorType::f32(&[1]).to_value_info("list"));
    refused(&model, &["odd.onnx", "SequenceConstruct", "the SequenceConstruct"]);
}

/// A node of ONNX Runtime's own domain behind or before what is trained.
fn with_foreign(model: &mut Model, foreign: NodeProto, declared: TensorType) {
    let domain = || Some("com.microsoft".to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain: domain(), version: Some(1) });
    let output = foreign.output[0].clone();
    model.graph_mut().node.push(NodeProto { domain: domain(), ..foreign });
    model.graph_mut().output = vec![declared.to_value_info(&output)];
}

#[test]
fn an_operator_of_another_domain_is_run_where_its_shape_is_declared_and_has_no_gradient() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut model = two_layers("a", "b");
    let y = model.graph().output[0].name().to_owned();
    let upper = node("Trilu", &[&y], &["z"], &[]);
    with_foreign(&mut model, upper, TensorType::f32(&[2, 3]));
    refused(&model, &["odd.onnx", "com.microsoft.Trilu", "the Trilu", "no gradient"]);
    // Before the first site nothing needs its gradient.
    let mut b = two_layers("a", "b");
    let upper = node("Trilu", &["x"], &["bent"], &[]);
    b.graph_mut().value_info.push(TensorType::f32(&[2, 6]).to_value_info("bent"));
    let output = b.graph().output[0].name().to_owned();
    b.graph_mut().node[0].input[0] = "bent".to_owned();
    with_foreign(&mut b, upper, TensorType::f32(&[2, 6]));
    b.graph_mut().output = vec![TensorType::f32(&[2, 3]).to_value_info(&output)];
    works(&b);
    let grafted =
        graft(&open(&b, &PinOptions::default()).unwrap().folded, &GraftOptions::default());
    assert!(
        open(&grafted.unwrap().folded.model, &PinOptions::default()).is_ok(),
        "written and read again"
    );
}

#[test]
fn open_axes_get_lengths_that_fit_and_are_named() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("image", TensorType::f32(&[1, 3, 64, 64]));
    let w = weight(&mut b, "conv", &[2, 3, 8, 8]);
    let h = b.op("Conv", &[&x, &w], &[("strides", Attr::Ints(vec![8, 8]))]).unwrap();
    let h = b.op("Flatten", &[&h], &[]).unwrap();
    let head = weight(&mut b, "head", &[128, 2]);
    let y = b.op("MatMul", &[&h, &head], &[]).unwrap();
    b.output("y", &y);
    let mut model = b.into_model();
    let ty = model.graph_mut().input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = ty else { unreachable!() };
    for (axis, name) in [(0, "n"), (2, "height"), (3, "width")] {
        use shoal_runtime::onnx::proto::dimension::Value::DimParam;
        tensor.shape.as_mut().unwrap().dim[axis].value = Some(DimParam(name.to_owned()));
    }
    let opened = open(&model, &PinOptions::default()).unwrap();
    let said: Vec<String> = opened.pinned.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "axis 0 of `image` (`n`) = 1",
            "axis 2 of `image` (`height`) = 64",
            "axis 3 of `image` (`width`) = 64"
        ]
    );
    works(&model);
    let dims = [("height".to_owned(), 24)].into_iter().collect();
    assert!(
        open(&model, &PinOptions { dims, ..PinOptions::default() })
            .unwrap_err()
            .to_string()
            .contains("MatMul")
    );
}

/// A switch is never perturbed, and a head that was never trained is nothing but zeros.
#[test]
fn a_model_whose_outputs_stand_still_is_fitted_to_what_an_adapter_gives() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut b = Builder::new(17);
    let x = b.input("mask", TensorType::new(Element::I64, &[2, 6]));
    let x = b.op("Cast", &[&x], &[("to", Attr::Int(1))]).unwrap();
    let w = weight(&mut b, "w", &[6, 2]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    assert!(works(&b.into_model()).by_drawn_adapter);
    let mut model = two_layers("a", "head");
    assert!(!works(&model).by_drawn_adapter);
    let head = model.graph_mut().initializer.iter_mut().find(|t| t.name() == "head").unwrap();
    *head = Tensor::f32(&[8, 3], &[0.0; 24]).to_proto("head");
    assert!(works(&model).by_drawn_adapter);
}

#[test]
fn a_model_that_nothing_reaches_says_so() {
    let Some(_ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("mask", TensorType::f32(&[2, 6]));
    let nothing = b.scalar(0.0);
    let x = b.op("Mul", &[&x, &nothing], &[]).unwrap();
    let w = weight(&mut b, "w", &[6, 2]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    let folded = open(&b.into_model(), &PinOptions::default()).unwrap().folded;
    let grafted = graft(&folded, &GraftOptions::default()).unwrap();
    let why = fitted(&grafted).unwrap_err();
    assert!(matches!(why, FitError::NothingMoves { .. }) && why.to_string().contains("mask"));
}

#[test]
fn a_pattern_has_a_rank_of_its_own_and_peft_reads_it() {
    if ort_or_skip().is_none() {
        return;
    }
    let folder = Folder::new();
    let file = folder.write(&two_layers("dec.a.weight", "head.b.weight"));
    let targets = vec!["*".to_owned(), "head.*=2".to_owned()];
    let options = GraftOptions { targets, rank: 4, ..GraftOptions::default() };
    let (model, grafted, fitted) = brought(&file, &options).unwrap();
    let ranks: Vec<usize> = grafted.layout.sites.iter().map(|site| site.a.dims[0]).collect();
    assert_eq!(ranks, [4, 2]);
    agrees(&bake(&model, &fitted.adapter).unwrap(), &grafted, &fitted);
    let peft = folder.0.path().join("adapter");
    fitted.adapter.write_peft(&peft).unwrap();
    let config = shoal_runtime::adapter::PeftConfig::read(&peft).unwrap();
    assert_eq!(config.rank_pattern, [("head.b".to_owned(), 2)].into_iter().collect());
    let folded = open(&model, &PinOptions::default()).unwrap().folded;
    let again = graft(&folded, &config.graft_options(&sites(&folded)));
    assert_eq!(again.unwrap().layout.hash(), grafted.layout.hash());
}
