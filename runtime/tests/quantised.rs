//! Factors in float32 beside weights that stay quantised: int8 behind a DequantizeLinear, and 4 bits in blocks.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::{bake, bake_dequantised};
use shoal_runtime::compare::compare;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, graft};
use shoal_runtime::onnx::proto::{NodeProto, OperatorSetIdProto};
use shoal_runtime::onnx::{
    Attr, Builder, Data, Element, Model, PinOptions, Tensor, TensorType, Value, open,
};

const WIDE: usize = 64;

/// Integers of this many bits, signed or not, that repeat.
fn integers(seed: usize, count: usize, low: f32, high: f32) -> Vec<f64> {
    let half = (high - low) / 2.0;
    noise(seed, count).iter().map(|v| f64::from((low + half * (v + 1.0)).round())).collect()
}

/// One weight `[WIDE, WIDE]`: the quantised form, or the same values as floats.
fn weight(b: &mut Builder, layer: usize, (scales, axis): (usize, i64), as_floats: bool) -> Value {
    let q = integers(layer, WIDE * WIDE, -127.0, 127.0);
    let s: Vec<f32> = noise(layer + 9, scales).iter().map(|v| 0.002 + 0.001 * v).collect();
    if as_floats {
        let of = |at: usize| if axis == 0 { at / WIDE } else { at % WIDE } % scales;
        let real = q.iter().enumerate().map(|(at, q)| *q as f32 * s[of(at)]);
        return b.initializer(
            &format!("w{layer}"),
            &Tensor::f32(&[WIDE, WIDE], &real.collect::<Vec<_>>()),
        );
    }
    let q = b.initializer(&format!("w{layer}"), &Tensor::from_f64s(Element::I8, &[WIDE, WIDE], &q));
    let dims: &[usize] = if scales == 1 { &[] } else { &[scales] };
    let s = b.initializer(&format!("w{layer}.scale"), &Tensor::f32(dims, &s));
    let zeros = Tensor::new(dims, Data::I8(vec![0; scales]));
    let z = b.initializer(&format!("w{layer}.zero"), &zeros);
    b.op("DequantizeLinear", &[&q, &s, &z], &[("axis", Attr::Int(axis))]).unwrap()
}

/// Three layers of products; the last one's weight is stored `[out, in]`.
fn network(scales: usize, as_floats: bool) -> Model {
    let mut b = Builder::new(17);
    let mut h = b.input("x", TensorType::f32(&[4, WIDE]));
    for layer in 0..2 {
        let w = weight(&mut b, layer, (scales, 1), as_floats);
        h = b.op("MatMul", &[&h, &w], &[]).unwrap();
        h = b.op("Tanh", &[&h], &[]).unwrap();
    }
    let w = weight(&mut b, 2, (scales, 0), as_floats);
    let y = b.op("Gemm", &[&h, &w], &[("transB", Attr::Int(1))]).unwrap();
    b.output("y", &y);
    b.into_model()
}

fn grafted(model: &Model, profile: Profile) -> Grafted {
    let folded = open(model, &PinOptions::default()).unwrap().folded;
    graft(&folded, &GraftOptions { profile, ..GraftOptions::default() }).unwrap()
}

fn tuned(grafted: &Grafted) -> Adapter {
    let count = grafted.layout.values();
    let values = noise(5, count).iter().map(|v| v * 0.05).collect();
    Adapter::from_values(grafted.layout.clone(), values).unwrap()
}

/// The gradients of every factor.
fn gradients(
    engine: &dyn Engine,
    grafted: &Grafted,
    profile: Profile,
    options: &LoadOptions,
) -> BTreeMap<String, Vec<f32>> {
    let wrt = grafted.layout.factors().map(|f| f.input.clone()).collect();
    let how = DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile };
    let training = differentiate(&grafted.folded, &how).unwrap();
    let mut session = engine.load(&training.folded.model, options).unwrap();
    let adapter = tuned(grafted);
    for index in 0..session.inputs().len() {
        let port = session.inputs()[index].clone();
        let factor = adapter.layout().factors().find(|f| f.input == port.name);
        let values = factor.map_or_else(
            || noise(port.name.len(), port.ty.values()),
            |factor| adapter.factor(factor).to_vec(),
        );
        session.write_f32(index, &values).unwrap();
    }
    session.run().unwrap();
    let outputs = session.outputs().iter().enumerate();
    let outputs = outputs.filter(|(_, port)| port.name != "loss");
    outputs.map(|(i, port)| (port.name.clone(), session.output_f32(i).unwrap().to_vec())).collect()
}

/// The greatest error of a gradient, over its norm.
fn off(want: &BTreeMap<String, Vec<f32>>, got: &BTreeMap<String, Vec<f32>>) -> f64 {
    let one = |(want, got): (&Vec<f32>, &Vec<f32>)| {
        let norm = want.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let off = want.iter().zip(got).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        off / norm
    };
    assert!(want.keys().eq(got.keys()));
    want.values().zip(got.values()).map(one).fold(0.0, f64::max)
}

/// What ONNX Runtime does by itself.
fn by_itself() -> LoadOptions {
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    LoadOptions {
        entries: vec![
            entry("session.qdq_matmulnbits_accuracy_level", "4"),
            entry("session.disable_quant_qdq", "0"),
        ],
        ..LoadOptions::default()
    }
}

#[test]
fn gradients_beside_int8_weights_are_those_beside_the_floats_they_stand_for() {
    let Some(ort) = ort_or_skip() else { return };
    for scales in [1, WIDE] {
        let floats = grafted(&network(scales, true), Profile::Cpu);
        let want =
            gradients(&ort, &floats, Profile::Cpu, &LoadOptions::training(NonZeroUsize::MIN));
        let model = grafted(&network(scales, false), Profile::Cpu);
        assert_eq!(model.layout.sites.len(), 3);
        let kept =
            model.folded.model.graph().initializer.iter().find(|t| t.name() == "w0").unwrap();
        assert_eq!(kept.raw_data.as_ref().unwrap().len(), WIDE * WIDE, "a byte a value");
        for options in [LoadOptions::training(NonZeroUsize::MIN), LoadOptions::default()] {
            let got = gradients(&ort, &model, Profile::Cpu, &options);
            assert!(off(&want, &got) < 1e-5, "{scales} scales: off by {:.1e}", off(&want, &got));
        }
        let wrong = off(&want, &gradients(&ort, &model, Profile::Cpu, &by_itself()));
        // 2.7 % and 2.5 % with 1.31.1: the multiplication in int8 that the engine's settings forbid.
        assert!(wrong > 1e-3, "off by {wrong:.1e}: those settings are needed no more");
    }
}

#[test]
fn an_adapter_of_int8_weights_is_baked_into_floats_when_asked() {
    let Some(ort) = ort_or_skip() else { return };
    for scales in [1, WIDE] {
        let model = network(scales, false);
        let grafted = grafted(&model, Profile::Cpu);
        let adapter = tuned(&grafted);
        let refused = bake(&model, &adapter).unwrap_err().to_string();
        assert!(refused.contains("`w0`") && refused.contains("--dequantize"), "{refused}");
        let baked = bake_dequantised(&model, &adapter).unwrap();
        let folded = open(&baked, &PinOptions::default()).unwrap().folded;
        let found = compare(&folded, &grafted, &adapter, &ort, (3, NonZeroUsize::MIN)).unwrap();
        assert!(found.agrees(), "{found:?}");
    }
}

/// A product by a weight of 4 bits, `[rows, columns]` in blocks of 16, with or without zero points and a bias; and
/// what the weight stands for, `[columns, rows]`.
fn four_bits(rows: usize, columns: usize, whole: bool) -> (Model, Vec<f32>) {
    let blocks = columns.div_ceil(16);
    let q = integers(1, rows * blocks * 16, 0.0, 15.0);
    let packed = q.chunks_exact(2).map(|two| two[0] as u8 | (two[1] as u8) << 4).collect();
    let scales: Vec<f32> = noise(3, rows * blocks).iter().map(|v| 0.05 + 0.02 * v).collect();
    let zeros = integers(2, rows * blocks.next_multiple_of(2), 4.0, 11.0);
    let packed_zeros =
        zeros.chunks_exact(2).map(|two| two[0] as u8 | (two[1] as u8) << 4).collect();
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[3, columns]));
    b.initializer("w", &Tensor::new(&[rows, blocks, 8], Data::U8(packed)));
    b.initializer("w.scale", &Tensor::f32(&[rows * blocks], &scales));
    let packed_zeros: Vec<u8> = packed_zeros;
    b.initializer("w.zero", &Tensor::new(&[packed_zeros.len()], Data::U8(packed_zeros)));
    b.initializer("bias", &Tensor::f32(&[rows], &noise(4, rows)));
    let mut model = b.into_model();
    let given = if whole {
        vec!["x", "w", "w.scale", "w.zero", "", "bias"]
    } else {
        vec!["x", "w", "w.scale"]
    };
    let attrs = [("K", columns), ("N", rows), ("bits", 4), ("block_size", 16)];
    let mut attribute: Vec<_> =
        attrs.iter().map(|(name, n)| Attr::Int(*n as i64).to_proto(name)).collect();
    // 1: in float32.
    attribute.push(Attr::Int(1).to_proto("accuracy_level"));
    model.graph_mut().node.push(NodeProto {
        input: given.iter().map(|&name| name.to_owned()).collect(),
        output: vec!["y".to_owned()],
        name: Some("product".to_owned()),
        op_type: Some("MatMulNBits".to_owned()),
        domain: Some("com.microsoft".to_owned()),
        attribute,
        ..NodeProto::default()
    });
    model.graph_mut().output.push(TensorType::f32(&[3, rows]).to_value_info("y"));
    let domain = Some("com.microsoft".to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
    let zero = |row: usize, block: usize| match whole {
        true => zeros[row * blocks.next_multiple_of(2) + block],
        false => 8.0,
    };
    let at = |column: usize, row: usize| {
        let block = column / 16;
        (q[(row * blocks + block) * 16 + column % 16] - zero(row, block)) as f32
            * scales[row * blocks + block]
    };
    let real =
        (0..columns).flat_map(|c| (0..rows).map(move |r| (c, r))).map(|(c, r)| at(c, r)).collect();
    (model, real)
}

#[test]
fn weights_of_four_bits_are_sites_with_the_gradients_of_the_floats_they_stand_for() {
    let Some(ort) = ort_or_skip() else { return };
    for (rows, columns, whole) in [(32, 64, false), (24, 48, true), (8, 40, true)] {
        let (model, real) = four_bits(rows, columns, whole);
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[3, columns]));
        let w = b.initializer("w", &Tensor::f32(&[columns, rows], &real));
        let mut y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        if whole {
            let bias = b.initializer("bias", &Tensor::f32(&[rows], &noise(4, rows)));
            y = b.op("Add", &[&y, &bias], &[]).unwrap();
        }
        b.output("y", &y);
        let floats = grafted(&b.into_model(), Profile::Cpu);
        let options = LoadOptions::training(NonZeroUsize::MIN);
        let want = gradients(&ort, &floats, Profile::Cpu, &options);
        let quantised = grafted(&model, Profile::Cpu);
        let got: Vec<Vec<f32>> =
            gradients(&ort, &quantised, Profile::Cpu, &options).into_values().collect();
        let got = want.keys().cloned().zip(got).collect();
        assert!(off(&want, &got) < 1e-5, "off by {:.1e}", off(&want, &got));
        // Baked it computes what ONNX Runtime makes of the packed weight, and ΔW.
        let adapter = tuned(&quantised);
        assert!(bake(&model, &adapter).unwrap_err().to_string().contains("`product`"));
        let baked = bake_dequantised(&model, &adapter).unwrap();
        let folded = open(&baked, &PinOptions::default()).unwrap().folded;
        let found = compare(&folded, &quantised, &adapter, &ort, (3, NonZeroUsize::MIN)).unwrap();
        assert!(found.agrees(), "{found:?}");
    }
}

/// With its bias such a product becomes two nodes: what stands behind it has moved.
#[test]
fn what_comes_behind_a_product_of_four_bits_is_baked_where_it_is() {
    let Some(ort) = ort_or_skip() else { return };
    let (mut model, _) = four_bits(24, 48, true);
    let graph = model.graph_mut();
    for (number, rows) in [(0, 24), (1, 8)] {
        let weight = Tensor::f32(&[rows, 8], &noise(7 + number, rows * 8));
        graph.initializer.push(weight.to_proto(&format!("head.{number}")));
    }
    for (weight, from, to) in [("head.0", "y", "h"), ("head.1", "h", "z")] {
        graph.node.push(NodeProto {
            input: vec![from.to_owned(), weight.to_owned()],
            output: vec![to.to_owned()],
            op_type: Some("MatMul".to_owned()),
            ..NodeProto::default()
        });
    }
    // Tied to an output as well, so that it is copied and the node is told to read the copy.
    let tied = TensorType::f32(&[8, 8]).to_value_info("head.1");
    graph.output = vec![TensorType::f32(&[3, 8]).to_value_info("z"), tied];
    let quantised = grafted(&model, Profile::Cpu);
    let adapter = tuned(&quantised);

    let baked = bake_dequantised(&model, &adapter).unwrap();

    let folded = open(&baked, &PinOptions::default()).unwrap().folded;
    let found = compare(&folded, &quantised, &adapter, &ort, (3, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees(), "{found:?}");
}

/// What folding writes for a packed weight is what ONNX Runtime's own kernel computes.
#[test]
fn a_product_of_four_bits_computes_what_onnx_runtimes_own_does() {
    let Some(ort) = ort_or_skip() else { return };
    for (rows, columns, whole) in [(32, 64, false), (24, 48, true)] {
        let (model, _) = four_bits(rows, columns, whole);
        let folded = open(&model, &PinOptions::default()).unwrap().folded;
        let run = |model: &Model| {
            let mut session = ort.load(model, &LoadOptions::default()).unwrap();
            session.write_f32(0, &noise(8, 3 * columns)).unwrap();
            session.run().unwrap();
            session.output_f32(0).unwrap().to_vec()
        };
        let (want, got) = (run(&model), run(&folded.model));
        let scale = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let worst = want.iter().zip(&got).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / scale;
        assert!(worst < 1e-5, "{worst:.1e}");
    }
}

/// A product of x, quantised as it comes, with a bias in whole steps of both scales: as quantisers up to 2021 wrote it.
fn with_a_bias_in_steps() -> Model {
    let mut b = Builder::new(12);
    let x = b.input("x", TensorType::f32(&[4, 6]));
    let q = b.op_n("DynamicQuantizeLinear", &[Some(&x)], &[], 3).unwrap();
    let w = integers(1, 6 * 5, -127.0, 127.0);
    let w = b.initializer("w", &Tensor::from_f64s(Element::I8, &[6, 5], &w));
    let zero = b.initializer("w.zero", &Tensor::new(&[], Data::I8(vec![3])));
    let scale = b.initializer("w.scale", &Tensor::scalar(Element::F32, 0.004));
    let bias = b.initializer("bias", &Tensor::f32(&[5], &[0.3, -0.2, 0.0, 0.11, -0.5]));
    let whole = b.op("MatMulInteger", &[&q[0], &w, &q[2], &zero], &[]).unwrap();
    let both = b.op("Mul", &[&q[1], &scale], &[]).unwrap();
    let steps = b.op("Div", &[&bias, &both], &[]).unwrap();
    let steps = b.op("Floor", &[&steps], &[]).unwrap();
    let steps = b.op("Cast", &[&steps], &[("to", Attr::Int(6))]).unwrap();
    let row = b.i64s(&[1, 5]);
    let steps = b.op("Reshape", &[&steps, &row], &[]).unwrap();
    let sum = b.op("Add", &[&whole, &steps], &[]).unwrap();
    let sum = b.op("Cast", &[&sum], &[("to", Attr::Int(1))]).unwrap();
    let y = b.op("Mul", &[&sum, &both], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

#[test]
fn a_product_with_a_bias_in_steps_is_one_of_floats_and_baked() {
    let Some(ort) = ort_or_skip() else { return };
    let model = with_a_bias_in_steps();
    let folded = open(&model, &PinOptions::default()).unwrap().folded;
    let run = |model: &Model| {
        let mut session = ort.load(model, &LoadOptions::training(NonZeroUsize::MIN)).unwrap();
        session.write_f32(0, &noise(3, 24)).unwrap();
        session.run().unwrap();
        session.output_f32(0).unwrap().to_vec()
    };
    let (want, got) = (run(&model), run(&folded.model));
    assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-5), "{want:?} and {got:?}");
    let grafted = grafted(&model, Profile::Cpu);
    assert_eq!(grafted.layout.sites.len(), 1);
    let adapter = tuned(&grafted);
    let baked = bake_dequantised(&model, &adapter).unwrap();
    let whole = baked.graph().node.iter().find(|node| node.is("MatMulInteger"));
    assert!(whole.is_none(), "{whole:?}");
    let baked = open(&baked, &PinOptions::default()).unwrap().folded;
    let found = compare(&baked, &grafted, &adapter, &ort, (1, NonZeroUsize::MIN)).unwrap();
    assert!(found.agrees() && found.values > 0, "{found:?}");
}

const STATE: usize = 5;

/// LSTM as ONNX Runtime's dynamic quantiser leaves it, in this many directions, with a scale for each of them or for each column.
fn quantised_lstm(directions: usize, by_column: bool) -> Model {
    let mut b = Builder::new(17);
    b.input("x", TensorType::f32(&[4, 2, 6]));
    let columns = 4 * STATE;
    let scales: &[usize] = if by_column { &[directions, columns] } else { &[directions] };
    let count: usize = scales.iter().product();
    for (seed, (name, inputs)) in [("w", 6), ("r", STATE)].into_iter().enumerate() {
        let dims = [directions, inputs, columns];
        let values = integers(seed, dims.iter().product(), -127.0, 127.0);
        b.initializer(name, &Tensor::from_f64s(Element::I8, &dims, &values));
        let scale: Vec<f32> = noise(seed + 9, count).iter().map(|v| 0.004 + 0.002 * v).collect();
        b.initializer(&format!("{name}.scale"), &Tensor::f32(scales, &scale));
        let zeros = if by_column { vec![0.0; count] } else { integers(seed + 5, count, -3.0, 3.0) };
        b.initializer(&format!("{name}.zero"), &Tensor::from_f64s(Element::I8, scales, &zeros));
    }
    b.initializer(
        "bias",
        &Tensor::f32(&[directions, 8 * STATE], &noise(3, directions * 8 * STATE)),
    );
    let mut model = b.into_model();
    let inputs = ["x", "w", "r", "bias", "", "", "", "", "w.scale", "w.zero", "r.scale", "r.zero"];
    let direction = if directions == 2 { "bidirectional" } else { "reverse" };
    let lstm = NodeProto {
        input: inputs.map(str::to_owned).to_vec(),
        output: vec!["y".to_owned()],
        op_type: Some("DynamicQuantizeLSTM".to_owned()),
        domain: Some("com.microsoft".to_owned()),
        attribute: vec![
            Attr::Int(STATE as i64).to_proto("hidden_size"),
            Attr::Str(direction.to_owned()).to_proto("direction"),
        ],
        ..NodeProto::default()
    };
    let graph = model.graph_mut();
    graph.node.push(lstm);
    let dims = [4, directions, 2, STATE];
    graph.output = vec![TensorType::f32(&dims).to_value_info("y")];
    let domain = Some("com.microsoft".to_owned());
    model.proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
    model
}

fn outputs(engine: &impl Engine, model: &Model) -> Vec<f32> {
    let mut session = engine.load(model, &LoadOptions::default()).unwrap();
    session.write_f32(0, &noise(3, 4 * 2 * 6)).unwrap();
    session.run().unwrap();
    session.output_f32(0).unwrap().to_vec()
}

#[test]
fn a_quantised_lstm_is_one_of_floats_and_baked() {
    let Some(engine) = ort_or_skip() else { return };
    for (directions, by_column) in [(1, false), (1, true), (2, false), (2, true)] {
        let model = quantised_lstm(directions, by_column);
        let pinned = open(&model, &PinOptions::default()).unwrap().folded;
        let pairs = outputs(&engine, &model).into_iter().zip(outputs(&engine, &pinned.model));
        let off = pairs.clone().map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(pairs.clone().any(|(a, _)| a.abs() > 0.3), "it says something");
        // A 127th of a state of at most 1, in each of four steps and two products.
        assert!(off < 0.01, "{off} in {directions} directions, by column: {by_column}");

        let grafted = grafted(&model, Profile::Cpu);
        let names: Vec<&str> = grafted.layout.sites.iter().map(|site| site.name.as_str()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let adapter = tuned(&grafted);
        let written = bake(&model, &adapter).unwrap();

        let baked = open(&written, &PinOptions::default()).unwrap().folded;
        let found = compare(&baked, &grafted, &adapter, &engine, (2, NonZeroUsize::MIN)).unwrap();
        assert!(found.agrees() && found.values > 0, "{found:?}");
        let operators: Vec<&str> = written.graph().node.iter().map(NodeProto::op_type).collect();
        assert!(operators.contains(&"LSTM"), "{operators:?}");
        let stored = written.graph().initializer.iter().map(|stored| stored.data_type());
        assert!(stored.into_iter().all(|ty| ty == Element::F32.to_onnx()), "no integers are left");
    }
}
