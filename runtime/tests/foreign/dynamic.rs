//! Products that are quantised as they come.

use super::*;

/// Behind a form whose weight has the scale 1, which the optimiser leaves out.
const BY_ONE: &str = " by one";

/// A product of x, quantised as it comes, and a stored weight: as the quantiser writes it, and as the optimiser fuses it.
fn dynamic(opset: i64, form: &str) -> Model {
    let mut g = Graph::new(opset);
    let image = form.starts_with("ConvInteger");
    g.input("x", if image { &[2, 3, 6, 6] } else { &[4, 6] });
    let (dims, scales): (&[usize], _) =
        if image { (&[5, 3, 3, 3], None) } else { (&[6, 5], Some(5)) };
    g.weight("w", dims, scales);
    g.floats("bias", &[5], 0.5);
    if form != ":DynamicQuantizeMatMul" {
        g.node("DynamicQuantizeLinear", "x", "q", &[]);
        g.model.graph_mut().node[0].output = words("q s z");
    }
    match form {
        ":DynamicQuantizeMatMul" => g.node(form, "x w w.s w.z bias", "y", &[]),
        ":MatMulIntegerToFloat" => g.node(form, "q w s w.s z w.z bias", "y", &[]),
        form => {
            let op = form.trim_end_matches(BY_ONE);
            g.node(op, "q w z w.z", "i", &[]);
            g.node("Cast", "i", "c", &[("to", Attr::Int(1))]);
            if op == form {
                g.node("Mul", "s w.s", "m", &[]);
            } else {
                g.model.graph_mut().initializer.retain(|stored| stored.name() != "w.s");
            }
            g.node("Mul", if op == form { "c m" } else { "c s" }, "y", &[]);
        }
    }
    g.output("y", &[]);
    g.model
}

#[test]
fn products_that_are_quantised_as_they_come_are_tuned_and_baked() {
    if ort_or_skip().is_none() {
        return;
    }
    let ops = words("MatMulInteger ConvInteger :DynamicQuantizeMatMul :MatMulIntegerToFloat");
    let by_one = ["MatMulInteger", "ConvInteger"].map(|op| format!("{op}{BY_ONE}"));
    for form in ops.iter().chain(&by_one) {
        let model = dynamic(11, form);
        same_and_differentiable(&model);
        let baked = works(&model, &[], bake_dequantised);
        let left = operators(&baked);
        let name = form.trim_start_matches(':').trim_end_matches(BY_ONE);
        assert!(!left.contains(&name) && !left.contains(&"Cast"), "{left:?}");
        assert!(baked.graph().initializer.iter().all(|t| !["w", "w.s", "w.z"].contains(&t.name())));
    }
    // Before there was a standard operator for it: tuned, and the file would have to be of a newer set.
    let model = dynamic(10, ":DynamicQuantizeMatMul");
    let grafted = grafted(&model, &[]);
    let values = noise(5, grafted.layout.values());
    let adapter = Adapter::from_values(grafted.layout.clone(), values).unwrap();
    let refused = bake_dequantised(&model, &adapter).unwrap_err();
    assert_eq!(refused, BakeError::Opset { has: 10, needs: 11 });
}

#[test]
fn a_weight_that_heads_of_one_quantised_input_read_keeps_its_place_in_a_loop() {
    if ort_or_skip().is_none() {
        return;
    }
    // Two rounds of tanh(h·w), quantised as it comes.
    let mut g = Graph::new(13);
    g.input("x", &[4, 6]);
    g.weight("w", &[6, 6], Some(6));
    g.store("rounds", &Tensor::new(&[], Data::I64(vec![2])));
    g.store("going", &Tensor::new(&[], Data::Bool(vec![true])));
    let mut body = Graph::new(13);
    body.node(":DynamicQuantizeMatMul", "h w w.s w.z", "m", &[]);
    body.node("Tanh", "m", "t", &[]);
    body.node("Identity", "again", "still", &[]);
    let body = body.model.graph_mut();
    body.input = vec![
        TensorType::new(Element::I64, &[]).to_value_info("round"),
        TensorType::new(Element::Bool, &[]).to_value_info("again"),
        TensorType::f32(&[4, 6]).to_value_info("h"),
    ];
    body.output = vec![
        TensorType::new(Element::Bool, &[]).to_value_info("still"),
        TensorType::f32(&[4, 6]).to_value_info("t"),
    ];
    g.node("Loop", "rounds going x", "y", &[]);
    let mut inner = Attr::Int(0).to_proto("body");
    (inner.i, inner.r#type, inner.g) = (None, Some(5), Some(Box::new(body.clone())));
    g.model.graph_mut().node[0].attribute = vec![inner];
    g.output("y", &[4, 6]);
    let baked = works(&g.model, &[], bake_dequantised);
    assert_eq!(operators(&baked), ["Loop"]);
}
