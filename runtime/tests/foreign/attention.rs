//! Attention as ONNX Runtime's optimiser fuses it.

use super::*;

const LENGTH: usize = 5;
const WIDE: usize = 12;

/// Attention of x `[2, 5, 12]` behind nothing but itself: its inputs from the third on, and what is stored for them.
fn attention(inputs: &str, settings: &[(&str, Attr)], store: impl FnOnce(&mut Graph)) -> Model {
    let mut g = Graph::new(17);
    g.input("x", &[2, LENGTH, WIDE]);
    g.floats("weights", &[WIDE, 3 * WIDE], 0.4);
    g.floats("biases", &[3 * WIDE], 0.3);
    store(&mut g);
    let settings = [&[("num_heads", Attr::Int(3))], settings].concat();
    g.node(":Attention", &format!("x weights {inputs}"), "y", &settings);
    g.output("y", &[]);
    g.model
}

fn mask(dims: &[usize]) -> Tensor {
    let count = dims.iter().product();
    // Whatever is masked, every query sees the first key.
    let kept = (0..count).map(|at| i32::from(at % LENGTH == 0 || at % 3 != 1));
    Tensor::new(dims, Data::I32(kept.collect()))
}

#[test]
fn attention_of_one_product_is_tuned_and_baked() {
    if ort_or_skip().is_none() {
        return;
    }
    let none = |_: &mut Graph| {};
    let models = [
        attention("biases", &[], none),
        attention("biases", &[("scale", Attr::Float(0.7))], none),
        attention("biases", &[("unidirectional", Attr::Int(1))], none),
        attention("biases mask", &[], |g| g.store("mask", &mask(&[2, LENGTH]))),
        attention("biases mask", &[], |g| g.store("mask", &mask(&[2, LENGTH, LENGTH]))),
        attention("biases - - bias", &[], |g| g.floats("bias", &[1, 3, LENGTH, LENGTH], 1.5)),
    ];
    for model in models {
        same(&model);
        let baked = works(&model, &[], bake);
        assert_eq!(operators(&baked), ["Attention"], "it stays fused");
    }
}

/// ONNX Runtime 1.31.1 ends the process where its Attention has no bias.
#[test]
fn attention_without_a_bias_is_that_with_none_but_zeros() {
    if ort_or_skip().is_none() {
        return;
    }
    let zeros = |g: &mut Graph| g.floats("none", &[3 * WIDE], 0.0);
    let models = [attention("-", &[], |_| {}), attention("none", &[], zeros)];
    let [without, zeros] = models.map(|model| {
        let folded = open(&model, &PinOptions::default()).unwrap().folded;
        run(&folded.model, &LoadOptions::default(), &noise(5, 2 * LENGTH * WIDE))
    });
    assert_eq!(without, zeros);
}

#[test]
fn values_may_be_narrower_than_queries_and_keys() {
    if ort_or_skip().is_none() {
        return;
    }
    let mut model = attention(
        "biases",
        &[("qkv_hidden_sizes", Attr::Ints(vec![WIDE as i64, WIDE as i64, 6]))],
        |_| {},
    );
    let stored = &mut model.graph_mut().initializer;
    stored.clear();
    for (name, dims) in [("weights", &[WIDE, 2 * WIDE + 6][..]), ("biases", &[2 * WIDE + 6])] {
        let count = dims.iter().product();
        stored.push(Tensor::f32(dims, &noise(name.len(), count)).to_proto(name));
    }
    same(&model);
}

/// Queries, keys and values of three products, keys and values of more steps than there are queries where this says so.
fn of_three(inputs: &str, others: bool, store: impl FnOnce(&mut Graph)) -> Model {
    let mut g = Graph::new(17);
    g.input("x", &[2, LENGTH, WIDE]);
    for name in ["q", "k", "v"] {
        g.floats(&format!("{name}.weight"), &[WIDE, WIDE], 0.4);
        g.node("MatMul", &format!("x {name}.weight"), name, &[]);
    }
    g.floats("biases", &[3 * WIDE], 0.3);
    store(&mut g);
    if others {
        for name in ["k", "v"] {
            g.node(
                "Concat",
                &format!("{name} {name}"),
                &format!("{name}.twice"),
                &[("axis", Attr::Int(1))],
            );
        }
    }
    g.node(":MultiHeadAttention", inputs, "y", &[("num_heads", Attr::Int(3))]);
    g.output("y", &[]);
    g.model
}

#[test]
fn attention_of_three_products_is_tuned_and_baked() {
    if ort_or_skip().is_none() {
        return;
    }
    let none = |_: &mut Graph| {};
    let models = [
        of_three("q k v", false, none),
        of_three("q k v biases", false, none),
        of_three("q k.twice v.twice biases", true, none),
        of_three("q k v - mask", false, |g| g.store("mask", &mask(&[2, LENGTH]))),
        of_three("q k v - - bias", false, |g| g.floats("bias", &[2, 3, LENGTH, LENGTH], 1.5)),
    ];
    for model in models {
        same(&model);
        let baked = works(&model, &[], bake);
        assert!(operators(&baked).contains(&"MultiHeadAttention"), "it stays fused");
    }
}

/// A few bytes that stand for a mask of ten thousand million values.
fn endless() -> Model {
    let mut model = attention("biases", &[("unidirectional", Attr::Int(1))], |_| {});
    model.graph_mut().input[0] = TensorType::f32(&[1, 100_000, WIDE]).to_value_info("x");
    model
}

#[test]
fn attention_that_has_no_form_says_why() {
    let lengths = |g: &mut Graph| g.store("mask", &Tensor::new(&[2], Data::I32(vec![5, 3])));
    let past = |g: &mut Graph| g.floats("past", &[2, 2, 3, 4, 4], 0.1);
    let none = |_: &mut Graph| {};
    let cases = [
        (attention("biases mask", &[], lengths), "its mask is of lengths"),
        (attention("biases - past", &[], past), "tokens before"),
        (attention("biases", &[("do_rotary", Attr::Int(1))], none), "its positions are rotated"),
        (of_three("q", false, none), "lie in one tensor"),
        (endless(), "the mask that it stands for"),
    ];
    for (model, why) in cases {
        let refused = open(&model, &PinOptions::default()).unwrap_err().to_string();
        assert!(refused.contains("the y") && refused.contains(why), "{refused}");
    }
}
