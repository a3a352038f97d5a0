//! Baking into products by weights of a few bits: they become products by floats.

use sha2::{Digest, Sha256};

use super::BakeError;
use crate::adapter::{Adapter, Site};
use crate::onnx::fold::FOLDED;
use crate::onnx::fold::nbits::{is_product, unpack};
use crate::onnx::proto::NodeProto;
use crate::onnx::store::stored;
use crate::onnx::{Model, Tensor};

/// The node of a site, if it is such a product. Folding gave its weight and its product names that begin with
/// those of the file.
pub(super) fn find(model: &Model, site: &Site) -> Option<usize> {
    let of_fold = |name: &str, made: &str| {
        made == name || made.strip_prefix(name).is_some_and(|rest| rest.starts_with(FOLDED))
    };
    let output = site.nodes.first().map_or("", |node| node.output.as_str());
    model.graph().node.iter().position(|node| {
        let weight = node.input_name(1).unwrap_or("");
        let output = output == node.output_name(0) || of_fold(weight, output);
        is_product(node) && of_fold(weight, &site.weight) && output
    })
}

/// Puts a MatMul by the changed weight in the place of the node, and an Add behind it where there is a bias.
pub(super) fn bake(
    model: &mut Model,
    index: usize,
    (adapter, site): (&Adapter, &Site),
    dequantise: bool,
) -> Result<(), BakeError> {
    let node = model.graph().node[index].clone();
    let weight = node.input_name(1).unwrap_or("").to_owned();
    if !dequantise {
        let node = node.label().to_owned();
        return Err(BakeError::Quantised { site: site.name.clone(), weight, node });
    }
    let refuse =
        |why| BakeError::Dequantise { site: site.name.clone(), weight: weight.clone(), why };
    let constant = |name: &str| Tensor::from_proto(stored(model, name)?).ok();
    let unpacked = unpack(&node, constant).map_err(refuse)?;
    if <[u8; 32]>::from(Sha256::digest(unpacked.values.to_le_bytes())) != site.base_sha256 {
        return Err(BakeError::OtherBase { site: site.name.clone(), weight });
    }
    let element = node.input_name(2).and_then(constant).map(|scales| scales.data.element());
    let element = element.ok_or_else(|| refuse("its scales are not stored"))?;
    let (rows, columns) = (unpacked.rows, unpacked.columns);
    let (base, delta) = (unpacked.dequantised(), adapter.delta(site));
    if base.len() != delta.len() {
        let want = vec![site.b.dims[0], site.a.dims[1]];
        let (site, got) = (site.name.clone(), vec![rows, columns]);
        return Err(BakeError::Shape { site, weight, got, want });
    }
    let sums: Vec<f64> = base.iter().zip(&delta).map(|(w, d)| w + f64::from(*d)).collect();
    let matrix = super::transposed(&Tensor::from_f64s(element, &[rows, columns], &sums));
    let graph = model.graph_mut();
    let name = super::free_name(graph, &format!("{}.baked", site.name));
    graph.initializer.push(matrix.to_proto(&name));
    let (x, output) = (node.input[0].clone(), node.output_name(0).to_owned());
    match node.input_name(5) {
        None => {
            graph.node[index] = NodeProto::operator("MatMul", vec![x, name], &output, Vec::new())
        }
        Some(bias) => {
            let product = super::free_name(graph, &format!("{name}.product"));
            graph.node[index] = NodeProto::operator("MatMul", vec![x, name], &product, Vec::new());
            let given = vec![product, bias.to_owned()];
            graph.node.insert(index + 1, NodeProto::operator("Add", given, &output, Vec::new()));
        }
    }
    Ok(())
}
