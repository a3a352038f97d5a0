//! Folding an adapter into a plain ONNX of the same topology.

use std::collections::BTreeMap;

use crate::adapter::{Adapter, Site};
use crate::onnx::fold::functions;
use crate::onnx::proto::GraphProto;
use crate::onnx::{FoldWhy, Model, StoreError, Tensor, TensorError, integers};

mod bits;
mod half;
mod place;

use place::{Graphs, Place};

pub use half::{HALF_MAX, Half, HalfError, half};

/// Before this version of the format every initializer is listed as an input, too: a copy of a weight is not.
const IR_STORED_ALONE: i64 = 4;

/// Why an adapter cannot be baked into a model.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BakeError {
    #[error("site `{site}`: the model has no {operator} node that makes `{output}`")]
    NoNode { site: String, operator: String, output: String },
    #[error("site `{site}`: the weight of node `{node}` is computed by {operator}, not stored")]
    Computed { site: String, node: String, operator: String },
    #[error("site `{site}`: weight `{weight}` is not the one that the adapter was trained on")]
    OtherBase { site: String, weight: String },
    #[error("site `{site}`: weight `{weight}` has dimensions {got:?}, the adapter's ΔW {want:?}")]
    Shape { site: String, weight: String, got: Vec<usize>, want: Vec<usize> },
    #[error(
        "site `{site}`: weight `{weight}` of node `{node}` is quantised, and ΔW would be rounded away in it: bake with --dequantize, which stores it as floats, or run the grafted model with the adapter beside it"
    )]
    Quantised { site: String, weight: String, node: String },
    #[error(
        "site `{site}`: weight `{weight}` is read row by row in the rounds of a loop, and {why}: run the grafted model with the adapter beside it"
    )]
    Row { site: String, weight: String, why: &'static str },
    #[error("site `{site}`: weight `{weight}` cannot be dequantised: {why}")]
    Dequantise { site: String, weight: String, why: &'static str },
    #[error(
        "the products of integers that change are written with operators of operator set {needs}, the model has {has}: raise it (onnx.version_converter)"
    )]
    Opset { has: i64, needs: i64 },
    #[error(transparent)]
    Fold(#[from] FoldWhy),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The model with `W + (α/r)·B·A` in place of every site's weight W.
///
/// `model` is the file as it was read: nothing is pinned or folded in the result, and all that is not a
/// site's weight keeps its bytes. A weight that nodes of no site read as well gets a copy for each that changes it, one that is
/// stored in another element than its node computes in, a copy in that element. Weights in the bodies of loops are found there;
/// of one that the rounds read row by row, each row is a site's.
/// Fused products stay fused. A product of integers whose weight changes becomes one of floats between DequantizeLinear and
/// QuantizeLinear; all others stay.
///
/// # Errors
/// [`BakeError`] if a site's node or weight is not in this model, another weight than was trained on, or quantised;
/// [`BakeError::Opset`] and [`BakeError::Fold`] if a product of integers cannot be written in floats.
pub fn bake(model: &Model, adapter: &Adapter) -> Result<Model, BakeError> {
    bake_all(model, adapter, false)
}

/// As [`bake`]; quantised weights that change are stored as floats.
///
/// # Errors
/// As [`bake`], but for [`BakeError::Quantised`].
pub fn bake_dequantised(model: &Model, adapter: &Adapter) -> Result<Model, BakeError> {
    bake_all(model, adapter, true)
}

fn bake_all(model: &Model, adapter: &Adapter, dequantise: bool) -> Result<Model, BakeError> {
    let model = &*functions::inlined(model)?;
    let nodes = adapter.layout().sites.iter().flat_map(|site| &site.nodes);
    let making = nodes.map(|node| node.output.as_str()).collect();
    let written = integers::products_in_floats(model, &making)?;
    let (has, needs) = (model.opset(), written.as_ref().map_or(0, |written| written.opset_min));
    if has < needs {
        return Err(BakeError::Opset { has, needs });
    }
    let model = written.as_ref().map_or(model, |written| &written.model);
    let mut baked = in_place(model, adapter, dequantise)?;
    if let Some(written) = &written {
        integers::sweep(baked.graph_mut(), &written.loose);
    }
    let is_stored_alone = baked.proto.ir_version() >= IR_STORED_ALONE;
    if !is_stored_alone && baked.graph().initializer.len() > model.graph().initializer.len() {
        baked.proto.ir_version = Some(IR_STORED_ALONE);
    }
    Ok(baked)
}

/// Bakes into a model whose products are those of the adapter's sites.
fn in_place(model: &Model, adapter: &Adapter, dequantise: bool) -> Result<Model, BakeError> {
    let mut baked = model.clone();
    let graphs = Graphs::of(model);
    let mut packed = Vec::new();
    for site in &adapter.layout().sites {
        if let Some(node) = bits::find(model, site) {
            packed.push((node, site));
            continue;
        }
        let places = graphs.places(site)?;
        let is_alone = graphs.read_alone(&places);
        if let Some((place, axis)) = places.iter().find_map(|place| Some((place, place.row?))) {
            let (row, base) = place.read_row(&graphs, site, axis, is_alone)?;
            let mut values = base.to_f64s();
            add(&mut values, &base.dims, adapter, site, place)?;
            place.set_row(&mut baked, axis, row, &values)?;
            continue;
        }
        let mut copies: BTreeMap<_, String> = BTreeMap::new();
        for place in &places {
            if let Some(name) = copies.get(&place.kind()) {
                place.read_from(&mut baked, name);
                continue;
            }
            let base = place.read(&graphs, site, dequantise)?;
            let mut values = base.to_f64s();
            add(&mut values, &base.dims, adapter, site, place)?;
            let tensor = Tensor::from_f64s(base.data.element(), &base.dims, &values);
            if is_alone && place.is_stored(&graphs, base.data.element()) {
                place.set(&mut baked, &tensor)?;
                // One weight, and all nodes that read it are of this site.
                break;
            }
            let name = place.store_copy(&mut baked, site, &tensor);
            place.read_from(&mut baked, &name);
            copies.insert(place.kind(), name);
        }
    }
    // From the last on: one node becomes two, and those behind it move.
    packed.sort_by_key(|(node, _site)| std::cmp::Reverse(*node));
    for (node, site) in packed {
        bits::bake(&mut baked, node, (adapter, site), dequantise)?;
    }
    Ok(baked)
}

/// A name that no tensor of this graph has, nor of those inside it.
fn free_name(graph: &GraphProto, like: &str) -> String {
    let mut name = like.to_owned();
    while names(graph).any(|taken| taken == name) {
        name.push('_');
    }
    name
}

fn names(graph: &GraphProto) -> Box<dyn Iterator<Item = &str> + '_> {
    let made = graph.node.iter().flat_map(|n| &n.output).map(String::as_str);
    let stored = graph.initializer.iter().map(|t| t.name());
    let given = graph.input.iter().map(|i| i.name());
    let inside = graph.node.iter().flat_map(|n| &n.attribute);
    let inside = inside.flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs)).flat_map(names);
    Box::new(made.chain(stored).chain(given).chain(inside))
}

/// Adds ΔW to a weight in the order in which the file stores it.
fn add(
    weight: &mut [f64],
    dims: &[usize],
    adapter: &Adapter,
    site: &Site,
    place: &Place<'_>,
) -> Result<(), BakeError> {
    let delta = adapter.delta(site);
    let out = site.b.dims[0];
    let wrong = |want: Vec<usize>| BakeError::Shape {
        site: site.name.clone(),
        weight: place.weight().to_owned(),
        got: dims.to_vec(),
        want,
    };
    let is_recurrent = ["LSTM", "GRU", "RNN"].contains(&site.operator.as_str());
    if is_recurrent || site.operator.starts_with("Conv") {
        let mut want = site.a.dims.clone();
        want[0] = out;
        // The rows of all directions, one behind the other.
        let fits = match dims {
            [directions, rows, inner] if is_recurrent => want == [directions * rows, *inner],
            _ => !is_recurrent && dims == want,
        };
        if !fits {
            return Err(wrong(want));
        }
        weight.iter_mut().zip(&delta).for_each(|(w, d)| *w += f64::from(*d));
        return Ok(());
    }
    let inner = site.a.dims[1];
    let want = if place.is_out_first { vec![out, inner] } else { vec![inner, out] };
    if dims != want {
        return Err(wrong(want));
    }
    if place.is_out_first {
        weight.iter_mut().zip(&delta).for_each(|(w, d)| *w += f64::from(*d));
        return Ok(());
    }
    for (index, w) in weight.iter_mut().enumerate() {
        let (row, column) = (index / out, index % out);
        *w += f64::from(delta[column * inner + row]);
    }
    Ok(())
}

fn transposed(matrix: &Tensor) -> Tensor {
    let &[rows, columns] = matrix.dims.as_slice() else {
        unreachable!("only matrices are read through a Transpose");
    };
    let values = matrix.to_f64s();
    let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    let turned: Vec<f64> = turned.filter_map(|at| values.get(at).copied()).collect();
    Tensor::from_f64s(matrix.data.element(), &[columns, rows], &turned)
}
