//! Products that are computed only to be turned.
//!
//! A site whose factor is read turned has its gradient turned back: Gemm, then Transpose. ONNX Runtime makes one node of the two, a new
//! one, and runs it in another order than it stands in: the gradients of all such factors before those of all others, with every
//! layer held until then. So it is one node already.
//!
//! ```text
//! (α · op(a) · op(b))ᵀ = α · op(b)ᵀ · op(a)ᵀ
//! ```
//!
//! # Source
//! ONNX Runtime 1.31.1, `GemmTransposeFusion`.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::{GraphProto, NodeProto};
use crate::onnx::{Attr, Folded};

use super::GRADIENTS;

/// The same graph in which no product of the backward pass is computed only to be turned.
pub(super) fn products_turned(mut folded: Folded) -> Folded {
    let graph = folded.model.graph_mut();
    let turned = turned(graph);
    let mut products: BTreeMap<String, NodeProto> = BTreeMap::new();
    graph.node.retain(|node| {
        let is_turned = turned.contains(node.output_name(0));
        if is_turned {
            products.insert(node.output_name(0).to_owned(), node.clone());
        }
        !is_turned
    });
    for node in &mut graph.node {
        if let Some(product) = products.get(node.input_name(0).unwrap_or_default()) {
            *node = other_way(product, node.output_name(0));
        }
    }
    graph.value_info.retain(|info| !turned.contains(info.name()));
    for name in &turned {
        folded.types.remove(name);
    }
    folded
}

/// The products of the backward pass that nothing reads but one Transpose.
fn turned(graph: &GraphProto) -> BTreeSet<String> {
    let outputs: BTreeSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for name in graph.node.iter().flat_map(|node| &node.input) {
        *readers.entry(name).or_default() += 1;
    }
    let product = |node: &&NodeProto| {
        let name = node.output_name(0);
        let once = readers.get(name) == Some(&1) && !outputs.contains(name);
        node.is("Gemm") && node.input.len() == 2 && once && name.starts_with(GRADIENTS)
    };
    let products: BTreeSet<&str> =
        graph.node.iter().filter(product).map(|node| node.output_name(0)).collect();
    let turns = graph.node.iter().filter(|node| node.is("Transpose"));
    let turns = turns.filter(|node| node.ints("perm").is_none_or(|perm| perm == [1, 0]));
    let read = turns.filter_map(|node| node.input_name(0));
    read.filter(|name| products.contains(name)).map(str::to_owned).collect()
}

/// What turns this product, as one product.
fn other_way(product: &NodeProto, output: &str) -> NodeProto {
    let [left, right] = ["transA", "transB"].map(|name| product.int(name, 0) != 0);
    let mut attributes = Vec::new();
    for (name, turned) in [("transA", !right), ("transB", !left)] {
        if turned {
            attributes.push(Attr::Int(1).to_proto(name));
        }
    }
    attributes.extend(product.attr("alpha").cloned());
    let input = product.input.iter().rev().cloned().collect();
    NodeProto::operator("Gemm", input, output, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Builder, TensorType};

    /// `(α · op(a) · op(b))ᵀ` with a product that the backward pass made, or another.
    fn model(prefix: &str, turned: [bool; 2]) -> Folded {
        let [a, b] = [(3, 4), (4, 5)];
        let dims = |(rows, columns), turned| if turned { [columns, rows] } else { [rows, columns] };
        let mut builder = Builder::new(17);
        let left = builder.input("a", TensorType::f32(&dims(a, turned[0])));
        let right = builder.input("b", TensorType::f32(&dims(b, turned[1])));
        let mut attributes = vec![("alpha", Attr::Float(0.5))];
        for (name, turned) in ["transA", "transB"].into_iter().zip(turned) {
            if turned {
                attributes.push((name, Attr::Int(1)));
            }
        }
        let product = builder.op("Gemm", &[&left, &right], &attributes).unwrap();
        let back = builder.op("Transpose", &[&product], &[("perm", Attr::Ints(vec![1, 0]))]);
        builder.output("y", &back.unwrap());
        let mut folded = builder.finish();
        let name = format!("{prefix}product");
        let graph = folded.model.graph_mut();
        let old = graph.node[0].output[0].clone();
        for node in &mut graph.node {
            for other in node.input.iter_mut().chain(&mut node.output) {
                if *other == old {
                    other.clone_from(&name);
                }
            }
        }
        folded
    }

    #[test]
    fn a_product_that_is_only_turned_is_one_product() {
        for turned in [[false, false], [true, false], [false, true], [true, true]] {
            let made = products_turned(model(GRADIENTS, turned));
            let product = made.model.graph().node.iter().find(|node| node.is("Gemm")).unwrap();
            assert!(made.model.graph().node.iter().all(|node| !node.is("Transpose")));
            assert_eq!(product.input, ["b", "a"]);
            let now = ["transA", "transB"].map(|name| product.int(name, 0) != 0);
            assert_eq!(now, [!turned[1], !turned[0]], "{turned:?}");
            assert_eq!(product.float("alpha", 1.0), 0.5);
        }
        let of_others = model("theirs/", [false, false]);
        assert!(products_turned(of_others.clone()) == of_others, "nobody else's is touched");
    }
}
