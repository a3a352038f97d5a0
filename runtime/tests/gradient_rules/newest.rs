//! What the operators' versions 25 and 26 brought, and `Attention` against the engine's own.

use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::gradient::{DifferentiateOptions, LossKind, LossSpec, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::proto::{NodeProto, TensorProto};
use shoal_runtime::onnx::{Attr, Builder, Data, Folded, Model, Tensor, TensorType, Value, fold};

use crate::finite::Feed::{Wanted, Whole};
use crate::finite::{Case, even};

/// Queries and keys of the cases: more keys than queries, and fewer.
const LENGTHS: [[usize; 2]; 2] = [[3, 5], [5, 3]];

type Attrs = [(&'static str, Attr)];

/// One `Attention` of opset 25, two heads of three values; a mask is its fourth input.
fn attention([queries, keys]: [usize; 2], mask: Option<&Tensor>, attrs: &Attrs) -> Folded {
    let mut b = Builder::new(25);
    let q = b.input("q", TensorType::f32(&[1, 2, queries, 3]));
    let k = b.input("k", TensorType::f32(&[1, 2, keys, 3]));
    let v = b.input("v", TensorType::f32(&[1, 2, keys, 3]));
    let mask = mask.map(|mask| b.constant_of(mask));
    let y = b.op_n("Attention", &[Some(&q), Some(&k), Some(&v), mask.as_ref()], attrs, 1).unwrap();
    b.output("y", &y[0]);
    b.finish()
}

fn fed([queries, keys]: [usize; 2]) -> Vec<(&'static str, Tensor)> {
    let lengths = [("q", queries), ("k", keys), ("v", keys)];
    let values = |(at, (name, length)): (usize, (&'static str, usize))| {
        (name, even(&[1, 2, length, 3], at as u64 + 1))
    };
    lengths.into_iter().enumerate().map(values).collect()
}

/// The values of every output; the inputs that are not fed do not exist.
fn run(engine: &dyn Engine, model: &Model, feeds: &[(&str, Tensor)]) -> Vec<Vec<f32>> {
    let mut session = engine.load(model, &plain_options()).unwrap();
    for (name, tensor) in feeds {
        let index = session.input_index(name).unwrap();
        session.write(index, tensor).unwrap();
    }
    session.run().unwrap();
    let outputs = 0..model.graph().output.len();
    outputs.map(|index| session.output_f32(index).unwrap().to_vec()).collect()
}

/// Loss and gradients by q, k and v, where the outputs should have been `target`.
fn trained(
    engine: &dyn Engine,
    folded: &Folded,
    lengths: [usize; 2],
    target: &[f32],
) -> Vec<Vec<f32>> {
    let wrt = ["q", "k", "v"].map(str::to_owned).to_vec();
    let losses = vec![LossSpec::new(LossKind::Mse, "y")];
    let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
    let training = differentiate(folded, &options).unwrap();
    let mut feeds = fed(lengths);
    feeds.push(("target.y", Tensor::f32(&[1, 2, lengths[0], 3], target)));
    feeds.push(("weight.y", Tensor::f32(&[1], &[1.0])));
    run(engine, &training.folded.model, &feeds)
}

fn seen([rows, columns]: [usize; 2], sees: impl Fn(usize, usize) -> bool) -> Tensor {
    let all = (0..rows * columns).map(|at| sees(at / columns, at % columns)).collect();
    Tensor::new(&[rows, columns], Data::Bool(all))
}

/// Written out, it gives what the engine's own gives: cap before mask, and 0 for a query that sees nothing.
#[test]
fn attention_written_out_is_the_engines_own() {
    let Some(engine) = ort_or_skip() else { return };
    let cap = ("softcap", Attr::Float(0.4));
    let causal = ("is_causal", Attr::Int(1));
    for lengths in LENGTHS {
        let blind = seen(lengths, |row, key| row != 1 && (row + key) % 2 == 0);
        let added = even(&lengths, 9);
        let cases: [(Option<&Tensor>, &Attrs); 6] = [
            (None, std::slice::from_ref(&cap)),
            (None, &[cap.clone(), causal.clone()]),
            (Some(&added), std::slice::from_ref(&cap)),
            (Some(&blind), std::slice::from_ref(&cap)),
            (Some(&blind), std::slice::from_ref(&causal)),
            (Some(&added), &[cap.clone(), causal.clone()]),
        ];
        for (mask, attrs) in cases {
            let folded = attention(lengths, mask, attrs);
            let own = run(&engine, &folded.model, &fed(lengths)).remove(0);

            let loss = trained(&engine, &folded, lengths, &own)[0][0];

            assert!(loss.abs() < 1e-10, "{lengths:?} {attrs:?}: {loss:e}");
        }
    }
}

/// Keys and values of the past stand before the new ones and are given back with them; a query that looks back sees all of them.
#[test]
fn attention_written_out_goes_on_from_the_past_as_the_engine_does() {
    let Some(engine) = ort_or_skip() else { return };
    let causal = [("is_causal", Attr::Int(1))];
    for (opset, [queries, keys]) in [23, 24].into_iter().flat_map(|o| LENGTHS.map(|l| (o, l))) {
        for attrs in [&[][..], &causal] {
            let mut b = Builder::new(opset);
            let mut feeds = fed([queries, keys]);
            feeds.push(("old.k", even(&[1, 2, 4, 3], 7)));
            feeds.push(("old.v", even(&[1, 2, 4, 3], 8)));
            let all: Vec<_> = feeds.iter().map(|(name, t)| b.input(name, t.ty())).collect();
            let inputs = [Some(&all[0]), Some(&all[1]), Some(&all[2]), None, Some(&all[3])];
            let inputs = [&inputs[..], &[Some(&all[4])]].concat();
            let outputs = b.op_n("Attention", &inputs, attrs, 3).unwrap();
            let names = ["y", "new.k", "new.v"];
            names.iter().zip(&outputs).for_each(|(name, value)| b.output(name, value));
            let folded = b.finish();
            let own = run(&engine, &folded.model, &feeds);

            let losses = names.map(|name| LossSpec::new(LossKind::Mse, name)).to_vec();
            let wrt = feeds.iter().map(|(name, _)| (*name).to_owned()).collect();
            let options = DifferentiateOptions { losses, wrt, strict: true, profile: Profile::Cpu };
            let training = differentiate(&folded, &options).unwrap().folded.model;
            let targets = ["target.y", "target.new.k", "target.new.v"];
            for ((target, name), values) in targets.into_iter().zip(names).zip(&own) {
                feeds.push((target, Tensor::f32(&folded.types[name].dims, values)));
            }
            for weight in ["weight.y", "weight.new.k", "weight.new.v"] {
                feeds.push((weight, Tensor::f32(&[1], &[1.0])));
            }
            let loss = run(&engine, &training, &feeds)[0][0];

            assert!(loss.abs() < 1e-10, "{opset} {queries} {keys} {attrs:?}: {loss:e}");
        }
    }
}

/// A window is the mask of the places it leaves. The engine knows no windows, so its own is given that mask.
/// Source: ONNX `Attention`, operator set 25: p − left ≤ key ≤ p + right.
#[test]
fn a_window_of_attention_is_the_mask_of_the_places_it_leaves() {
    let Some(engine) = ort_or_skip() else { return };
    for lengths in LENGTHS {
        for (left, right) in [(2, 1), (0, 0), (-1, 0), (1, -1), (0, 100)] {
            let inside = |row: usize, key: usize| {
                let apart = key as i64 - row as i64;
                (left < 0 || -apart <= left) && (right < 0 || apart <= right)
            };
            let window =
                [("left_window_size", Attr::Int(left)), ("right_window_size", Attr::Int(right))];
            let windowed = attention(lengths, None, &window);
            let masked = attention(lengths, Some(&seen(lengths, inside)), &[]);
            let own = run(&engine, &masked.model, &fed(lengths)).remove(0);

            let loss = trained(&engine, &windowed, lengths, &own)[0][0];
            let other = vec![0.3; own.len()];
            let got = trained(&engine, &windowed, lengths, &other);
            let want = trained(&engine, &masked, lengths, &other);

            assert!(loss.abs() < 1e-10, "{lengths:?} {left} {right}: {loss:e}");
            assert_eq!(got, want, "{lengths:?} {left} {right}");
        }
    }
}

/// A mask that is too large to be stored is the same mask: here of two queries, of which none sees more than three keys.
#[test]
fn what_many_keys_are_seen_by_is_computed_and_the_same() {
    let Some(engine) = ort_or_skip() else { return };
    let int = |name: &'static str, value: i64| (name, Attr::Int(value));
    let windows: [&Attrs; 3] = [
        &[int("is_causal", 1)],
        &[int("left_window_size", 0), int("right_window_size", 1)],
        &[int("is_causal", 1), int("left_window_size", 1)],
    ];
    for attrs in windows {
        let trained = |keys: usize| {
            let mut b = Builder::new(25);
            let q = b.input("q", TensorType::f32(&[1, 1, 2, 1]));
            let [k, v] = ["k", "v"].map(|name| b.input(name, TensorType::f32(&[1, 1, keys, 1])));
            let y = b.op("Attention", &[&q, &k, &v], attrs).unwrap();
            b.output("y", &y);
            let options = DifferentiateOptions {
                losses: Vec::new(),
                wrt: vec!["q".to_owned()],
                strict: true,
                profile: Profile::Cpu,
            };
            let model = differentiate(&b.finish(), &options).unwrap().folded.model;
            let mut values: Vec<f32> = vec![0.5, -0.3, 0.9, 0.1];
            values.resize(keys, 0.7);
            let keys = [1, 1, keys, 1];
            let v = [&values[1..], &[0.2]].concat();
            let feeds = [
                ("q", Tensor::f32(&[1, 1, 2, 1], &[0.4, -0.8])),
                ("k", Tensor::f32(&keys, &values)),
                ("v", Tensor::f32(&keys, &v)),
                ("target.y", Tensor::f32(&[1, 1, 2, 1], &[0.3, 0.6])),
                ("weight.y", Tensor::f32(&[1], &[1.0])),
            ];
            run(&engine, &model, &feeds)
        };
        let (few, many) = (trained(4), trained((1 << 23) + 1));
        let off =
            few.concat().iter().zip(&many.concat()).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(off < 1e-6, "{attrs:?}: {few:?} {many:?}");
        assert_ne!(few[1], [0.0; 2], "{attrs:?}");
    }
}

#[test]
fn a_window_below_minus_one_is_refused_by_name() {
    let folded = attention(LENGTHS[0], None, &[("left_window_size", Attr::Int(-2))]);
    let options = DifferentiateOptions {
        losses: vec![LossSpec::new(LossKind::Mse, "y")],
        wrt: vec!["q".to_owned()],
        strict: true,
        profile: Profile::Cpu,
    };

    let why = differentiate(&folded, &options).unwrap_err().to_string();

    assert!(why.contains("Attention") && why.contains("left_window_size = -2"), "{why}");
}

/// Operators of sets 26 to 28 that are not known here.
#[test]
fn new_operators_are_refused_by_name() {
    for (opset, op) in [(27, "LinearAttention"), (27, "CausalConvWithState"), (28, "SwiGLU")] {
        let mut b = Builder::new(opset);
        let x = b.input("x", TensorType::f32(&[2, 3]));
        let y = b.op("Relu", &[&x], &[]).unwrap();
        b.output("y", &y);
        let mut model = b.into_model();
        model.graph_mut().node[0] =
            NodeProto { op_type: Some(op.to_owned()), ..model.graph().node[0].clone() };

        let why = fold(&model).unwrap_err().to_string();

        assert!(why.contains(op), "{why}");
    }
}

/// UINT2 and INT2, of operator set 25.
#[test]
fn weights_of_two_bits_are_refused_by_their_type() {
    for number in [25, 26] {
        let mut b = Builder::new(25);
        let x = b.input("x", TensorType::f32(&[4]));
        let w = b.initializer("w", &Tensor::f32(&[4], &[0.0; 4]));
        let y = b.op("Add", &[&x, &w], &[]).unwrap();
        b.output("y", &y);
        let mut model = b.into_model();
        model.graph_mut().initializer = vec![TensorProto {
            dims: vec![4],
            data_type: Some(number),
            name: Some("w".to_owned()),
            raw_data: Some(vec![0b11_10_01_00].into()),
            ..TensorProto::default()
        }];

        let why = fold(&model).unwrap_err().to_string();

        assert!(why.contains("`w`") && why.contains(&number.to_string()), "{why}");
    }
}

/// Heads side by side or behind one another, pairs of neighbours or of halves, all of a head or its beginning turned, places given
/// or numbered.
#[test]
fn turns_by_places() {
    let places = || Tensor::new(&[2, 3], Data::I64(vec![0, 2, 4, 1, 1, 3]));
    for (dims, more) in
        [(&[2usize, 2, 3, 4][..], None), (&[2, 3, 8], Some(("num_heads", Attr::Int(2))))]
    {
        for interleaved in [0, 1] {
            for turned in [0, 2] {
                let half = if turned == 0 { 2 } else { 1 };
                let attrs: Vec<(&str, Attr)> = [
                    ("interleaved", Attr::Int(interleaved)),
                    ("rotary_embedding_dim", Attr::Int(turned)),
                ]
                .into_iter()
                .chain(more.clone())
                .collect();
                let by_number = [&[5, half][..], &[5, half]];
                let given = [&[2, 3, half][..], &[2, 3, half]];
                for (angles, numbered) in [(by_number, true), (given, false)] {
                    let mut feeds = vec![Wanted(even(dims, 1))];
                    feeds.extend((2..).zip(angles).map(|(seed, dims)| Wanted(even(dims, seed))));
                    if numbered {
                        feeds.push(Whole(places()));
                    }
                    Case::new(feeds).opset(23).check(|b, x| {
                        let all: Vec<&Value> = x.iter().collect();
                        b.op("RotaryEmbedding", &all, &attrs).unwrap()
                    });
                }
            }
        }
    }
}
