//! `com.microsoft.Attention` and `MultiHeadAttention`: `softmax(q·kᵀ·scale + bias + mask)·v` for each head, in products, sums and a
//! Softmax. Of the first the product that makes queries, keys and values is the node's; of the second they come from elsewhere.
//!
//! A mask is given as one value for each key, or for each query and key: 0 is not looked at. Lengths, what is kept of tokens before
//! and rotated positions have no form here.
//! # Source
//! ONNX Runtime 1.31.1 `ContribOperators.md`; `attention_cpu_base.h` and `multihead_attention_helper.h` for masks and scales.

use super::{Done, Written, element, given};
use crate::onnx::builder::Attr;
use crate::onnx::fold::upgrade::fresh_constant;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Data, Tensor};

/// What is added where a mask says 0, if the node does not say.
const MASKED: f32 = -10_000.0;

/// What both operators have in common, and where their inputs are.
struct Form {
    heads: usize,
    mask: usize,
    bias: usize,
}

/// Queries, keys and values: `[batch, heads, length, width]`, keys `[batch, heads, width, length]`.
struct Heads {
    q: String,
    k: String,
    v: String,
    /// Lengths of queries and of keys, and how wide a key is.
    lengths: [usize; 2],
    width: usize,
}

/// Of `[batch, length, in]`, by a product for queries, keys and values together.
pub(super) fn from_product(written: &mut Written<'_, '_>) -> Done {
    let node = written.node;
    if node.int("do_rotary", 0) != 0 {
        return Err("its positions are rotated (do_rotary)");
    }
    let form = form(node, [3, 5], &[4, 6], &[1])?;
    let (x, weights) = (given(node, 0)?.to_owned(), given(node, 1)?.to_owned());
    let (dims, weight) = (written.dims(&x), written.dims(&weights));
    let (&[_, length, _], &[_, all]) = (&dims[..], &weight[..]) else {
        return Err("what it reads has no three axes, or its weights no two");
    };
    let sizes = match node.ints("qkv_hidden_sizes") {
        Some(&[q, k, v]) => [q, k, v],
        Some(_) => return Err("it has no three sizes (qkv_hidden_sizes)"),
        None => [(all / 3) as i64; 3],
    };
    let mut product = written.product("MatMul", &[&x, &weights], Vec::new(), false);
    if let Some(bias) = node.input_name(2) {
        product = written.op("Add", &[&product, bias], Vec::new());
    }
    let [q, k, v] = written.split(&product, sizes, -1);
    let apart = (length, form.heads);
    let heads = Heads {
        q: written.heads(&q, apart, false),
        k: written.heads(&k, apart, true),
        v: written.heads(&v, apart, false),
        lengths: [length; 2],
        width: usize::try_from(sizes[0]).unwrap_or(0) / form.heads,
    };
    written.attend(&form, &heads)
}

/// Of queries, keys and values, `[batch, length, heads·width]`, the last two perhaps `[batch, heads, length, width]`.
pub(super) fn of_three(written: &mut Written<'_, '_>) -> Done {
    let node = written.node;
    let form = form(node, [4, 5], &[6, 7, 8, 9], &[1, 2, 3])?;
    const PACKED: &str = "its queries, keys and values lie in one tensor";
    let names =
        [given(node, 0)?, node.input_name(1).unwrap_or(""), node.input_name(2).unwrap_or("")];
    if names[1..].iter().any(|name| name.is_empty()) {
        return Err(PACKED);
    }
    let dims = names.map(|name| written.dims(name));
    let &[_, length, wide] = &dims[0][..] else { return Err(PACKED) };
    let mut parts = names.map(str::to_owned);
    if let Some(bias) = node.input_name(3) {
        if dims.iter().any(|dims| dims.len() != 3) {
            return Err("it has a bias, and keys or values that are apart already");
        }
        let sizes = [0, 1, 2].map(|at: usize| dims[at].get(2).map_or(0, |&wide| wide as i64));
        let biases = written.split(bias, sizes, 0);
        for (part, bias) in parts.iter_mut().zip(&biases) {
            *part = written.op("Add", &[part, bias], Vec::new());
        }
    }
    let [q, k, v] = &parts;
    let keys = match dims[1][..] {
        [_, keys, _] | [_, _, keys, _] => keys,
        _ => return Err(PACKED),
    };
    let q = written.heads(q, (length, form.heads), false);
    let k = match dims[1].len() {
        3 => written.heads(k, (keys, form.heads), true),
        _ => written.turned(k, [0, 1, 3, 2]),
    };
    let v = match dims[2].len() {
        3 => written.heads(v, (keys, form.heads), false),
        _ => v.clone(),
    };
    let heads = Heads { q, k, v, lengths: [length, keys], width: wide / form.heads };
    written.attend(&form, &heads)
}

/// `inputs` and `outputs` have no form here.
fn form(
    node: &NodeProto,
    [mask, bias]: [usize; 2],
    inputs: &[usize],
    outputs: &[usize],
) -> Result<Form, &'static str> {
    let heads = usize::try_from(node.int("num_heads", 0)).ok().filter(|&heads| heads > 0);
    let heads = heads.ok_or("it does not say how many heads it has (num_heads)")?;
    if inputs.iter().any(|&at| node.input_name(at).is_some())
        || outputs.iter().any(|&at| !node.output_name(at).is_empty())
    {
        return Err("it reads or gives what is kept of tokens before");
    }
    Ok(Form { heads, mask, bias })
}

impl Written<'_, '_> {
    fn dims(&self, name: &str) -> Vec<usize> {
        self.folder.types.get(name).map(|ty| ty.dims.clone()).unwrap_or_default()
    }

    /// Three parts of a tensor along an axis.
    fn split(&mut self, from: &str, sizes: [i64; 3], axis: i64) -> [String; 3] {
        let parts = [(); 3].map(|()| self.folder.fresh_name(self.node.output_name(0)));
        let output = self.node.output_name(0);
        let sizes = fresh_constant(self.folder, output, Tensor::i64s(&sizes));
        let axis = vec![Attr::Int(axis).to_proto("axis")];
        let split = NodeProto::operator("Split", vec![from.to_owned(), sizes], &parts[0], axis);
        self.nodes.push(NodeProto { output: parts.to_vec(), ..split });
        parts
    }

    fn turned(&mut self, from: &str, order: [i64; 4]) -> String {
        self.op("Transpose", &[from], vec![Attr::Ints(order.to_vec()).to_proto("perm")])
    }

    /// `[batch, length, heads·width]` as `[batch, heads, length, width]`, or its last two axes swapped.
    fn heads(&mut self, from: &str, (length, heads): (usize, usize), swapped: bool) -> String {
        let apart = Tensor::i64s(&[0, length as i64, heads as i64, -1]);
        let apart = fresh_constant(self.folder, self.node.output_name(0), apart);
        let apart = self.op("Reshape", &[from, &apart], Vec::new());
        self.turned(&apart, if swapped { [0, 2, 3, 1] } else { [0, 2, 1, 3] })
    }

    fn attend(&mut self, form: &Form, heads: &Heads) -> Done {
        let node = self.node;
        let [queries, keys] = heads.lengths;
        let scale = match node.float("scale", 0.0) {
            0.0 => 1.0 / (heads.width as f32).sqrt(),
            scale => scale,
        };
        let scale = self.scalar(scale);
        // On the smaller of both sides of the product.
        let q = self.op("Mul", &[&heads.q, &scale], Vec::new());
        let mut scores = self.op("MatMul", &[&q, &heads.k], Vec::new());
        if let Some(bias) = node.input_name(form.bias) {
            scores = self.op("Add", &[&scores, bias], Vec::new());
        }
        if let Some(mask) = node.input_name(form.mask) {
            let mask = self.mask(mask, heads.lengths)?;
            scores = self.op("Add", &[&scores, &mask], Vec::new());
        }
        if node.int("unidirectional", 0) != 0 {
            if queries != keys {
                return Err("it looks back only, at more keys than queries");
            }
            let spent = self.folder.spend(node, queries.saturating_mul(keys));
            spent.map_err(
                |_too_large| "the mask that it stands for is larger than what folding may make",
            )?;
            let later = (0..queries).flat_map(|at| (0..keys).map(move |key| key > at));
            let later: Vec<f64> =
                later.map(|later| if later { f64::from(MASKED) } else { 0.0 }).collect();
            let element = element(self.folder, node);
            let later = Tensor::from_f64s(element, &[queries, keys], &later);
            let later = fresh_constant(self.folder, node.output_name(0), later);
            scores = self.op("Add", &[&scores, &later], Vec::new());
        }
        let weights = self.op("Softmax", &[&scores], vec![Attr::Int(-1).to_proto("axis")]);
        let seen = self.op("MatMul", &[&weights, &heads.v], Vec::new());
        let seen = self.turned(&seen, [0, 2, 1, 3]);
        let flat = fresh_constant(self.folder, node.output_name(0), Tensor::i64s(&[0, 0, -1]));
        self.last("Reshape", &[&seen, &flat], Vec::new());
        Ok(())
    }

    /// What is added to the scores where a mask of integers says 0.
    fn mask(&mut self, mask: &str, [queries, keys]: [usize; 2]) -> Result<String, &'static str> {
        let dims = self.dims(mask);
        let apart = match dims[..] {
            [_, length] if length == keys => [0, 1, 1, keys],
            [_, one, length] if (one, length) == (queries, keys) => [0, 1, queries, keys],
            _ => return Err("its mask is of lengths, not of one value for each key"),
        };
        let output = self.node.output_name(0);
        let apart = apart.map(|length| length as i64);
        let apart = fresh_constant(self.folder, output, Tensor::i64s(&apart));
        let mask = self.op("Reshape", &[mask, &apart], Vec::new());
        let zero = fresh_constant(self.folder, output, Tensor::new(&[], Data::I32(vec![0])));
        let hidden = self.op("Equal", &[&mask, &zero], Vec::new());
        let (none, filter) =
            (self.scalar(0.0), self.scalar(self.node.float("mask_filter_value", MASKED)));
        Ok(self.op("Where", &[&hidden, &filter, &none], Vec::new()))
    }
}
