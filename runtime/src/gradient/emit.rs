//! Writes the nodes of a backward pass: equal nodes once, nothing that only renames, one form per opset.

use std::collections::BTreeMap;

use crate::graft::Profile;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Builder, Data, Element, InferError, Tensor, Value};

use half::{bf16, f16};

use super::{Reason, stored};

/// A [`Builder`] that shares equal nodes and leaves out those that change nothing.
///
/// All shapes are known, so every shape, axis and pad it writes is a constant.
pub(super) struct Emit {
    pub(super) builder: Builder,
    pub(super) profile: Profile,
    /// What was written already: operator, inputs, attributes.
    seen: BTreeMap<String, Value>,
    /// What a reshaped value was reshaped from.
    reshaped: BTreeMap<Value, Value>,
    /// What a transposed value was transposed from, and how.
    transposed: BTreeMap<Value, (Value, Vec<usize>)>,
}

type Emitted = Result<Value, InferError>;

impl Emit {
    pub(super) fn new(builder: Builder, profile: Profile) -> Emit {
        Emit {
            builder,
            profile,
            seen: BTreeMap::new(),
            reshaped: BTreeMap::new(),
            transposed: BTreeMap::new(),
        }
    }

    /// The dimensions of a value.
    pub(super) fn dims(&self, value: &Value) -> Vec<usize> {
        self.builder.ty(value).dims.clone()
    }

    /// The type of one of its values.
    pub(super) fn element(&self, value: &Value) -> Element {
        self.builder.ty(value).element
    }

    /// Any operator with one output.
    pub(super) fn op(&mut self, op: &str, inputs: &[&Value], attrs: &[(&str, Attr)]) -> Emitted {
        let names: Vec<&str> = inputs.iter().map(|v| v.name()).collect();
        let key = format!("{op} {names:?} {attrs:?}");
        if let Some(value) = self.seen.get(&key) {
            return Ok(value.clone());
        }
        let value = self.builder.op(op, inputs, attrs)?;
        self.seen.insert(key, value.clone());
        Ok(value)
    }

    /// The operator of a node of the graph once more, with its attributes and this many outputs.
    pub(super) fn again(
        &mut self,
        node: &NodeProto,
        inputs: &[&Value],
        outputs: usize,
    ) -> Result<Vec<Value>, InferError> {
        let mut names = Vec::with_capacity(outputs);
        for index in 0..outputs {
            let here = self.builder.fresh(node.op_type());
            let ty = self.builder.ty_of(node.output_name(index)).cloned();
            self.builder.declare(node, &here, ty.as_ref());
            names.push(here);
        }
        let name = self.builder.fresh(node.op_type());
        self.builder.node(NodeProto {
            name: Some(name),
            input: inputs.iter().map(|v| v.name().to_owned()).collect(),
            output: names,
            ..node.clone()
        })
    }

    /// A constant of any dimensions, of the element of `like`: its values are made once it is known that they may be stored.
    pub(super) fn values(
        &mut self,
        dims: &[usize],
        like: Element,
        values: impl FnOnce(usize) -> Vec<f64>,
    ) -> Result<Value, Reason> {
        let values = values(stored::fits(dims)?);
        Ok(self.store(dims, &values, like))
    }

    fn store(&mut self, dims: &[usize], values: &[f64], like: Element) -> Value {
        let data = match like {
            Element::F64 => Data::F64(values.to_vec()),
            Element::F16 => Data::F16(values.iter().map(|&v| f16::from_f64(v)).collect()),
            Element::Bf16 => Data::Bf16(values.iter().map(|&v| bf16::from_f64(v)).collect()),
            Element::I64 => Data::I64(values.iter().map(|&v| v as i64).collect()),
            Element::F32
            | Element::I32
            | Element::I16
            | Element::I8
            | Element::U64
            | Element::U32
            | Element::U16
            | Element::U8
            | Element::Bool => Data::F32(values.iter().map(|&v| v as f32).collect()),
        };
        self.builder.constant_of(&Tensor::new(dims, data))
    }

    /// A constant of rank 0, of the element of `like`.
    pub(super) fn scalar(&mut self, value: f64, like: &Value) -> Value {
        let element = self.element(like);
        self.store(&[], &[value], element)
    }

    pub(super) fn add(&mut self, a: &Value, b: &Value) -> Emitted {
        self.op("Add", &[a, b], &[])
    }

    pub(super) fn sub(&mut self, a: &Value, b: &Value) -> Emitted {
        self.op("Sub", &[a, b], &[])
    }

    pub(super) fn mul(&mut self, a: &Value, b: &Value) -> Emitted {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        self.op("Mul", &[a, b], &[])
    }

    pub(super) fn div(&mut self, a: &Value, b: &Value) -> Emitted {
        self.op("Div", &[a, b], &[])
    }

    pub(super) fn neg(&mut self, a: &Value) -> Emitted {
        self.op("Neg", &[a], &[])
    }

    /// `factor · a`.
    pub(super) fn scale(&mut self, a: &Value, factor: f64) -> Emitted {
        if factor == 1.0 {
            return Ok(a.clone());
        }
        if factor == -1.0 {
            return self.neg(a);
        }
        let factor = self.scalar(factor, a);
        self.op("Mul", &[a, &factor], &[])
    }

    /// `a + constant`.
    pub(super) fn shift(&mut self, a: &Value, constant: f64) -> Emitted {
        let constant = self.scalar(constant, a);
        self.op("Add", &[a, &constant], &[])
    }

    /// `1 − a`.
    pub(super) fn one_less(&mut self, a: &Value) -> Emitted {
        let one = self.scalar(1.0, a);
        self.sub(&one, a)
    }

    /// Means over `axes`, which stay with one value.
    pub(super) fn mean(&mut self, a: &Value, axes: &[usize]) -> Emitted {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        self.builder.reduce("ReduceMean", a, &axes, true)
    }

    /// A value in another type.
    pub(super) fn cast(&mut self, a: &Value, to: Element) -> Emitted {
        if self.element(a) == to {
            return Ok(a.clone());
        }
        self.op("Cast", &[a], &[("to", Attr::Int(i64::from(to.to_onnx())))])
    }

    /// 1 where two values are equal, else 0, as the first.
    pub(super) fn hit(&mut self, a: &Value, b: &Value) -> Emitted {
        let hit = self.op("Equal", &[a, b], &[])?;
        let to = self.element(a);
        self.cast(&hit, to)
    }

    /// `condition ? a : 0`, at the shape that all three broadcast to.
    pub(super) fn keep_where(&mut self, condition: &Value, a: &Value) -> Emitted {
        let zero = self.scalar(0.0, a);
        self.op("Where", &[condition, a, &zero], &[])
    }

    /// `condition ? 0 : a`.
    pub(super) fn drop_where(&mut self, condition: &Value, a: &Value) -> Emitted {
        let zero = self.scalar(0.0, a);
        self.op("Where", &[condition, &zero, a], &[])
    }

    /// The same values in other dimensions.
    pub(super) fn reshape(&mut self, a: &Value, dims: &[usize]) -> Emitted {
        let from = self.reshaped.get(a).unwrap_or(a).clone();
        if self.builder.ty(&from).dims == dims {
            return Ok(from);
        }
        let shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let shape = self.builder.i64s(&shape);
        let value = self.op("Reshape", &[&from, &shape], &[])?;
        self.reshaped.insert(value.clone(), from);
        Ok(value)
    }

    /// Axes in another order; a `Reshape` where only axes of one value move.
    pub(super) fn transpose(&mut self, a: &Value, perm: &[usize]) -> Emitted {
        let (from, perm) = match self.transposed.get(a) {
            Some((from, before)) => {
                (from.clone(), perm.iter().map(|&axis| before[axis]).collect::<Vec<_>>())
            }
            None => (a.clone(), perm.to_vec()),
        };
        let dims = self.dims(&from);
        let out: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
        let moved: Vec<usize> = perm.iter().copied().filter(|&axis| dims[axis] != 1).collect();
        if moved.is_sorted() {
            return self.reshape(&from, &out);
        }
        if let Some(value) = self.moved_constant(&from, &format!("transpose {perm:?}"), |tensor| {
            super::constant::transpose(&tensor, &perm)
        }) {
            return Ok(value);
        }
        let order = perm.iter().map(|&axis| axis as i64).collect();
        let value = self.op("Transpose", &[&from], &[("perm", Attr::Ints(order))])?;
        self.transposed.insert(value.clone(), (from, perm));
        Ok(value)
    }

    /// A constant computed from the constant `from`, once per `how`; `None` if it is none.
    pub(super) fn moved_constant(
        &mut self,
        from: &Value,
        how: &str,
        f: impl FnOnce(Tensor) -> Tensor,
    ) -> Option<Value> {
        let key = format!("{how} of constant {from}");
        if let Some(value) = self.seen.get(&key) {
            return Some(value.clone());
        }
        let tensor = f(self.builder.constant(from)?);
        let value = self.builder.constant_of(&tensor);
        self.seen.insert(key, value.clone());
        Some(value)
    }

    /// Exchanges the last two axes.
    pub(super) fn swap_last(&mut self, a: &Value) -> Emitted {
        let rank = self.dims(a).len();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        self.transpose(a, &perm)
    }

    /// Sums over `axes`; they stay with one value, or go.
    pub(super) fn reduce_sum(&mut self, a: &Value, axes: &[usize], keep: bool) -> Emitted {
        let dims = self.dims(a);
        let summed: Vec<i64> =
            axes.iter().filter(|&&axis| dims[axis] != 1).map(|&axis| axis as i64).collect();
        let out = reduced(&dims, axes, keep);
        if summed.is_empty() {
            return self.reshape(a, &out);
        }
        // Where no axis of one value hides in `axes`, the operator itself gives the shape wanted.
        let exact = summed.len() == axes.len();
        let keeps = ("keepdims", Attr::Int(i64::from(keep || !exact)));
        let value = if self.builder.opset() >= 13 {
            let axes = self.builder.i64s(&summed);
            self.op("ReduceSum", &[a, &axes], &[keeps])?
        } else {
            self.op("ReduceSum", &[a], &[("axes", Attr::Ints(summed)), keeps])?
        };
        self.reshape(&value, &out)
    }

    /// The adjoint of broadcasting: sums a value over the axes along which `dims` was repeated.
    pub(super) fn unbroadcast(&mut self, a: &Value, dims: &[usize]) -> Emitted {
        let from = self.dims(a);
        let lead = from.len() - dims.len();
        let axes: Vec<usize> = (0..from.len())
            .filter(|&axis| axis < lead || (dims[axis - lead] == 1 && from[axis] != 1))
            .collect();
        if axes.is_empty() {
            return Ok(a.clone());
        }
        if axes.iter().all(|&axis| axis < lead) {
            return self.reduce_sum(a, &axes, false);
        }
        let sum = self.reduce_sum(a, &axes, true)?;
        self.reshape(&sum, dims)
    }

    /// Repeats a value to `dims`.
    pub(super) fn expand(&mut self, a: &Value, dims: &[usize]) -> Emitted {
        if self.builder.ty(a).dims == dims {
            return Ok(a.clone());
        }
        let shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let shape = self.builder.i64s(&shape);
        self.op("Expand", &[a, &shape], &[])
    }

    /// The part from `starts` to `ends` (of every axis).
    pub(super) fn crop(&mut self, a: &Value, starts: &[usize], ends: &[usize]) -> Emitted {
        let dims = self.dims(a);
        let axes: Vec<usize> =
            (0..dims.len()).filter(|&i| starts[i] != 0 || ends[i] != dims[i]).collect();
        if axes.is_empty() {
            return Ok(a.clone());
        }
        let of = |all: &[usize]| axes.iter().map(|&i| all[i] as i64).collect::<Vec<_>>();
        let (starts, ends) = (of(starts), of(ends));
        let axes: Vec<i64> = axes.iter().map(|&i| i as i64).collect();
        if self.builder.opset() < 10 {
            let attrs = [
                ("starts", Attr::Ints(starts)),
                ("ends", Attr::Ints(ends)),
                ("axes", Attr::Ints(axes)),
            ];
            return self.op("Slice", &[a], &attrs);
        }
        let starts = self.builder.i64s(&starts);
        let ends = self.builder.i64s(&ends);
        let axes = self.builder.i64s(&axes);
        self.op("Slice", &[a, &starts, &ends, &axes], &[])
    }

    /// Zeros around a value.
    pub(super) fn pad(&mut self, a: &Value, before: &[usize], after: &[usize]) -> Emitted {
        if before.iter().chain(after).all(|&p| p == 0) {
            return Ok(a.clone());
        }
        let pads: Vec<i64> = before.iter().chain(after).map(|&p| p as i64).collect();
        if self.builder.opset() < 11 {
            return self.op("Pad", &[a], &[("pads", Attr::Ints(pads))]);
        }
        // The constant value is left out: zero, and some engines want it of rank 0, others of rank 1.
        let pads = self.builder.i64s(&pads);
        self.op("Pad", &[a, &pads], &[])
    }

    pub(super) fn concat(&mut self, parts: &[Value], axis: usize) -> Emitted {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let parts: Vec<&Value> = parts.iter().collect();
        self.op("Concat", &parts, &[("axis", Attr::Int(axis as i64))])
    }

    /// A list of so many constant indices.
    pub(super) fn indices(
        &mut self,
        count: usize,
        index: impl Fn(usize) -> i64,
    ) -> Result<Value, Reason> {
        let indices: Vec<i64> = (0..stored::fits(&[count])?).map(index).collect();
        Ok(self.builder.i64s(&indices))
    }

    /// So many values along `axis`, by constant index.
    pub(super) fn pick(
        &mut self,
        a: &Value,
        axis: usize,
        count: usize,
        index: impl Fn(usize) -> i64,
    ) -> Result<Value, Reason> {
        let indices = self.indices(count, index)?;
        Ok(self.op("Gather", &[a, &indices], &[("axis", Attr::Int(axis as i64))])?)
    }

    pub(super) fn matmul(&mut self, a: &Value, b: &Value) -> Emitted {
        self.op("MatMul", &[a, b], &[])
    }

    /// `alpha · op(a) · op(b)` of two matrices.
    pub(super) fn gemm(&mut self, a: (&Value, bool), b: (&Value, bool), alpha: f32) -> Emitted {
        if self.builder.opset() < 11 {
            // Without its third input, Gemm came with opset 11.
            let left = if a.1 { self.swap_last(a.0)? } else { a.0.clone() };
            let right = if b.1 { self.swap_last(b.0)? } else { b.0.clone() };
            let product = self.matmul(&left, &right)?;
            return self.scale(&product, f64::from(alpha));
        }
        let mut attrs = Vec::new();
        if a.1 {
            attrs.push(("transA", Attr::Int(1)));
        }
        if b.1 {
            attrs.push(("transB", Attr::Int(1)));
        }
        if alpha != 1.0 {
            attrs.push(("alpha", Attr::Float(alpha)));
        }
        self.op("Gemm", &[a.0, b.0], &attrs)
    }

    /// Zeros of these dimensions.
    pub(super) fn zeros(&mut self, dims: &[usize], like: &Value) -> Emitted {
        let zero = self.scalar(0.0, like);
        if dims.iter().product::<usize>() <= SMALL_VALUES_MAX {
            let element = self.element(like);
            return Ok(self.store(dims, &vec![0.0; dims.iter().product()], element));
        }
        self.expand(&zero, dims)
    }
}

/// Zeros up to this size are stored; larger ones are made when the graph runs.
const SMALL_VALUES_MAX: usize = 1024;

/// Dimensions after summing over `axes`.
fn reduced(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let mut out = Vec::with_capacity(dims.len());
    for (axis, &dim) in dims.iter().enumerate() {
        match (axes.contains(&axis), keep) {
            (false, _) => out.push(dim),
            (true, true) => out.push(1),
            (true, false) => {}
        }
    }
    out
}
