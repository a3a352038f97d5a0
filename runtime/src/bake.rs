//! Folding an adapter into a plain ONNX of the same topology.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::adapter::{Adapter, Site};
use crate::onnx::infer::layout::permutation;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::onnx::store::stored;
use crate::onnx::{Data, Model, StoreError, Tensor, TensorError, set_tensor};

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
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The model with `W + (α/r)·B·A` in place of every site's weight W.
///
/// `model` is the file as it was read: nothing is pinned or folded in the result, and all that is not a
/// site's weight keeps its bytes. A weight that several nodes share gets a copy for each that changes it.
///
/// # Errors
/// [`BakeError`] if a site's node or weight is not in this model, or another weight than was trained on.
pub fn bake(model: &Model, adapter: &Adapter) -> Result<Model, BakeError> {
    let mut baked = model.clone();
    let uses = uses(model.graph());
    for site in &adapter.layout().sites {
        let place = Place::find(model, site)?;
        let base = Tensor::from_proto(place.stored(model, site)?)?;
        let hash: [u8; 32] = Sha256::digest(base.to_le_bytes()).into();
        let values = base.as_f32().filter(|_| hash == site.base_sha256);
        let other =
            || BakeError::OtherBase { site: site.name.clone(), weight: place.weight.clone() };
        let mut values = values.ok_or_else(other)?.to_vec();
        add(&mut values, &base.dims, adapter, site, &place)?;
        let tensor = Tensor::new(&base.dims, Data::F32(values));
        let is_shared = place.path.iter().any(|name| uses.get(name.as_str()) != Some(&1));
        if is_shared {
            place.copy_for_node(&mut baked, site, &tensor);
        } else {
            set_tensor(&mut baked, &place.weight, &tensor)?;
        }
    }
    Ok(baked)
}

/// How often each tensor is read, by nodes and as an output of the graph.
fn uses(graph: &GraphProto) -> BTreeMap<&str, usize> {
    let read = graph.node.iter().flat_map(|n| &n.input).map(String::as_str);
    let mut uses = BTreeMap::new();
    for name in read.chain(graph.output.iter().map(|o| o.name())) {
        *uses.entry(name).or_default() += 1;
    }
    uses
}

/// Where the weight of a site's node is stored in a model that is not folded.
struct Place {
    /// The index of the node.
    node: usize,
    /// The name under which the weight is stored.
    weight: String,
    /// The tensors between: the weight, then what Identity and Transpose nodes make of it.
    path: Vec<String>,
    /// Whether the node sees the weight transposed.
    is_turned: bool,
    /// Whether the stored matrix is `[out, in]`.
    is_out_first: bool,
}

impl Place {
    fn find(model: &Model, site: &Site) -> Result<Place, BakeError> {
        let graph = model.graph();
        let makers: BTreeMap<&str, &NodeProto> =
            graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
        let node = graph
            .node
            .iter()
            .position(|n| n.output_name(0) == site.output && n.is(&site.operator))
            .ok_or_else(|| BakeError::NoNode {
                site: site.name.clone(),
                operator: site.operator.clone(),
                output: site.output.clone(),
            })?;
        let mut name = graph.node[node].input_name(1).unwrap_or("");
        let mut path = vec![name.to_owned()];
        let mut is_turned = false;
        // A graph with a circle was refused when it was folded; the bound holds for any other caller.
        for _ in 0..graph.node.len() {
            let Some(maker) = makers.get(name) else { break };
            if maker.is("Constant") {
                break;
            }
            let turns = maker.is("Transpose") && permutation(maker, 2) == Ok(vec![1, 0]);
            match maker.input_name(0).filter(|_| turns || maker.is("Identity")) {
                Some(source) => name = source,
                None => {
                    return Err(BakeError::Computed {
                        site: site.name.clone(),
                        node: graph.node[node].label().to_owned(),
                        operator: maker.op_type().to_owned(),
                    });
                }
            }
            is_turned ^= turns;
            path.push(name.to_owned());
        }
        let reads_out_first = graph.node[node].int("transB", 0) != 0;
        let is_out_first = reads_out_first != is_turned;
        Ok(Place { node, weight: name.to_owned(), path, is_turned, is_out_first })
    }

    fn stored<'m>(
        &self,
        model: &'m Model,
        site: &Site,
    ) -> Result<&'m crate::onnx::proto::TensorProto, BakeError> {
        stored(model, &self.weight).ok_or_else(|| BakeError::NoNode {
            site: site.name.clone(),
            operator: "Constant".to_owned(),
            output: self.weight.clone(),
        })
    }

    /// Gives the node an initializer of its own, transposed if the node read it so.
    fn copy_for_node(&self, model: &mut Model, site: &Site, tensor: &Tensor) {
        let graph = model.graph_mut();
        let taken = |name: &str| {
            let nodes = graph.node.iter().flat_map(|n| &n.output).any(|o| o == name);
            nodes
                || graph.initializer.iter().any(|t| t.name() == name)
                || graph.input.iter().any(|i| i.name() == name)
        };
        let mut name = format!("{}.baked", site.name);
        while taken(&name) {
            name.push('_');
        }
        let tensor = if self.is_turned { transposed(tensor) } else { tensor.clone() };
        graph.initializer.push(tensor.to_proto(&name));
        graph.node[self.node].input[1] = name;
    }
}

/// Adds ΔW to a weight in the order in which the file stores it.
fn add(
    weight: &mut [f32],
    dims: &[usize],
    adapter: &Adapter,
    site: &Site,
    place: &Place,
) -> Result<(), BakeError> {
    let delta = adapter.delta(site);
    let out = site.b.dims[0];
    let wrong = |want: Vec<usize>| BakeError::Shape {
        site: site.name.clone(),
        weight: place.weight.clone(),
        got: dims.to_vec(),
        want,
    };
    if site.operator == "Conv" {
        let mut want = site.a.dims.clone();
        want[0] = out;
        if dims != want {
            return Err(wrong(want));
        }
        weight.iter_mut().zip(&delta).for_each(|(w, d)| *w += d);
        return Ok(());
    }
    let inner = site.a.dims[1];
    let want = if place.is_out_first { vec![out, inner] } else { vec![inner, out] };
    if dims != want {
        return Err(wrong(want));
    }
    if place.is_out_first {
        weight.iter_mut().zip(&delta).for_each(|(w, d)| *w += d);
        return Ok(());
    }
    for (index, w) in weight.iter_mut().enumerate() {
        let (row, column) = (index / out, index % out);
        *w += delta[column * inner + row];
    }
    Ok(())
}

fn transposed(matrix: &Tensor) -> Tensor {
    let (&[rows, columns], Some(values)) = (matrix.dims.as_slice(), matrix.as_f32()) else {
        unreachable!("only matrices of float32 are read through a Transpose");
    };
    let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c]));
    Tensor::new(&[columns, rows], Data::F32(turned.collect()))
}
