//! Folding an adapter into a plain ONNX of the same topology.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::adapter::{Adapter, Site};
use crate::onnx::infer::layout::permutation;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::onnx::store::stored;
use crate::onnx::{Element, Model, StoreError, Tensor, TensorError, set_tensor};

mod bits;
mod half;

pub use half::{HALF_MAX, Half, HalfError, half};

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
    #[error("site `{site}`: weight `{weight}` cannot be dequantised: {why}")]
    Dequantise { site: String, weight: String, why: &'static str },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The model with `W + (α/r)·B·A` in place of every site's weight W.
///
/// `model` is the file as it was read: nothing is pinned or folded in the result, and all that is not a
/// site's weight keeps its bytes. A weight that several nodes share gets a copy for each that changes it, one that is
/// stored in another element than its node computes in, a copy in that element.
///
/// # Errors
/// [`BakeError`] if a site's node or weight is not in this model, another weight than was trained on, or quantised.
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
    let mut baked = model.clone();
    let uses = uses(model.graph());
    for site in &adapter.layout().sites {
        if let Some(node) = bits::find(model, site) {
            bits::bake(&mut baked, node, (adapter, site), dequantise)?;
            continue;
        }
        let place = Place::find(model, site)?;
        let other =
            || BakeError::OtherBase { site: site.name.clone(), weight: place.weight.clone() };
        let file = Tensor::from_proto(place.stored(model, site)?)?;
        let base = place.read_as(model, &file, dequantise, site)?;
        // What was hashed is what folding left: a cast weight was cast, a quantised one was not dequantised.
        let hashed = if place.quantiser.is_some() { &file } else { &base };
        if <[u8; 32]>::from(Sha256::digest(hashed.to_le_bytes())) != site.base_sha256 {
            return Err(other());
        }
        let mut values = base.to_f64s();
        add(&mut values, &base.dims, adapter, site, &place)?;
        let tensor = Tensor::from_f64s(base.data.element(), &base.dims, &values);
        let is_shared = place.path.iter().any(|name| uses.get(name.as_str()) != Some(&1));
        if is_shared || file.data.element() != base.data.element() {
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
    /// The tensors between: the weight, then what Identity, Transpose, Cast and DequantizeLinear nodes make of it.
    path: Vec<String>,
    /// The element it is cast to.
    cast: Option<Element>,
    /// The index of the DequantizeLinear that reads it.
    quantiser: Option<usize>,
    /// Whether the node sees the weight transposed.
    is_turned: bool,
    /// Whether the stored matrix is `[out, in]`.
    is_out_first: bool,
}

impl Place {
    fn find(model: &Model, site: &Site) -> Result<Place, BakeError> {
        let graph = model.graph();
        let makers: BTreeMap<&str, (usize, &NodeProto)> = graph
            .node
            .iter()
            .enumerate()
            .flat_map(|(index, n)| n.output.iter().map(move |o| (o.as_str(), (index, n))))
            .collect();
        let node = graph
            .node
            .iter()
            .position(|n| n.output_name(0) == site.output && n.is(&site.operator))
            .ok_or_else(|| BakeError::NoNode {
                site: site.name.clone(),
                operator: site.operator.clone(),
                output: site.output.clone(),
            })?;
        let name = graph.node[node].input_name(1).unwrap_or("").to_owned();
        let mut place = Place {
            node,
            path: vec![name.clone()],
            weight: name,
            cast: None,
            quantiser: None,
            is_turned: false,
            is_out_first: false,
        };
        // A graph with a circle was refused when it was folded; the bound holds for any other caller.
        for _ in 0..graph.node.len() {
            let Some(&(index, maker)) = makers.get(place.weight.as_str()) else { break };
            if maker.is("Constant") {
                break;
            }
            let computed = || BakeError::Computed {
                site: site.name.clone(),
                node: graph.node[node].label().to_owned(),
                operator: maker.op_type().to_owned(),
            };
            place.pass(index, maker).ok_or_else(computed)?;
        }
        let reads_out_first = graph.node[node].int("transB", 0) != 0;
        place.is_out_first = reads_out_first != place.is_turned;
        Ok(place)
    }

    /// Goes on to what a node makes the weight of; `None` if it computes it.
    fn pass(&mut self, index: usize, maker: &NodeProto) -> Option<()> {
        let turns = maker.is("Transpose") && permutation(maker, 2) == Ok(vec![1, 0]);
        if maker.is("DequantizeLinear") && self.quantiser.is_none() && self.cast.is_none() {
            self.quantiser = Some(index);
        } else if maker.is("Cast") && self.quantiser.is_none() {
            let to = i32::try_from(maker.int("to", 0)).ok().and_then(Element::from_onnx);
            // The last cast is met first.
            self.cast = self.cast.or(Some(to.filter(|to| to.is_float())?));
        } else if !turns && !maker.is("Identity") {
            return None;
        }
        self.weight = maker.input_name(0)?.to_owned();
        self.is_turned ^= turns;
        self.path.push(self.weight.clone());
        Some(())
    }

    /// The weight as its node reads it, but for a Transpose.
    fn read_as(
        &self,
        model: &Model,
        file: &Tensor,
        dequantise: bool,
        site: &Site,
    ) -> Result<Tensor, BakeError> {
        let (name, weight) = (|| site.name.clone(), || self.weight.clone());
        let Some(index) = self.quantiser else {
            let element = self.cast.unwrap_or(file.data.element());
            return Ok(Tensor::from_f64s(element, &file.dims, &file.to_f64s()));
        };
        let quantiser = &model.graph().node[index];
        if !dequantise {
            let node = model.graph().node[self.node].label().to_owned();
            return Err(BakeError::Quantised { site: name(), weight: weight(), node });
        }
        dequantised(quantiser, file, |name| Tensor::from_proto(stored(model, name)?).ok())
            .map_err(|why| BakeError::Dequantise { site: name(), weight: weight(), why })
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
        let name = free_name(graph, &format!("{}.baked", site.name));
        let tensor = if self.is_turned { transposed(tensor) } else { tensor.clone() };
        graph.initializer.push(tensor.to_proto(&name));
        graph.node[self.node].input[1] = name;
    }
}

/// A name that no tensor has.
fn free_name(graph: &GraphProto, like: &str) -> String {
    let taken = |name: &str| {
        let nodes = graph.node.iter().flat_map(|n| &n.output).any(|o| o == name);
        nodes
            || graph.initializer.iter().any(|t| t.name() == name)
            || graph.input.iter().any(|i| i.name() == name)
    };
    let mut name = like.to_owned();
    while taken(&name) {
        name.push('_');
    }
    name
}

/// Adds ΔW to a weight in the order in which the file stores it.
fn add(
    weight: &mut [f64],
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

/// What a DequantizeLinear makes of a stored tensor: by one scale, by one for each index of an axis, or by blocks of it.
fn dequantised(
    node: &NodeProto,
    file: &Tensor,
    stored: impl Fn(&str) -> Option<Tensor>,
) -> Result<Tensor, &'static str> {
    let scales = node.input_name(1).and_then(&stored).ok_or("its scale is not stored")?;
    let zeros = match node.input_name(2) {
        Some(name) => stored(name).ok_or("its zero point is not stored")?.to_f64s(),
        None => vec![0.0; scales.data.len()],
    };
    let by = scales.to_f64s();
    if by.len() != zeros.len() {
        return Err("its scale and its zero point differ in shape");
    }
    let axis = crate::onnx::infer::axis_of(node.int("axis", 1), file.dims.len()).unwrap_or(0);
    let length = file.dims.get(axis).copied().unwrap_or(1);
    let inner: usize = file.dims.iter().skip(axis + 1).product();
    let block = usize::try_from(node.int("block_size", 0)).ok().filter(|&b| b > 0);
    let place = |at: usize| match (by.len(), block) {
        (1, _) => 0,
        (_, None) => at / inner.max(1) % length.max(1),
        (_, Some(block)) => {
            let (outer, along) =
                (at / inner.max(1) / length.max(1), at / inner.max(1) % length.max(1));
            (outer * length.div_ceil(block) + along / block) * inner + at % inner.max(1)
        }
    };
    let values = file.to_f64s().into_iter().enumerate().map(|(at, q)| {
        let at = place(at);
        Some((q - zeros.get(at)?) * by.get(at)?)
    });
    let values = values.collect::<Option<Vec<f64>>>().ok_or("its scale does not fit it")?;
    Ok(Tensor::from_f64s(scales.data.element(), &file.dims, &values))
}
