//! Products and convolutions whose weights are K factors.

use super::{ManyError, Walk};
use crate::onnx::infer::Window;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Value};

impl Walk<'_> {
    /// Appends a MatMul, Gemm, Conv or ConvTranspose for every adapter; `false`: it is none that can be run for all at once.
    pub(super) fn product(&mut self, node: &NodeProto) -> Result<bool, ManyError> {
        match node.op_type() {
            "MatMul" => self.matmul(node),
            "Gemm" => self.gemm(node),
            _ => self.convolution(node),
        }
    }

    fn matmul(&mut self, node: &NodeProto) -> Result<bool, ManyError> {
        let [a, b] = [&node.input[0], &node.input[1]];
        let [a_dims, b_dims] = [self.dims(a).to_vec(), self.dims(b).to_vec()];
        let out = self.dims(node.output_name(0)).to_vec();
        let (Some((inner, rows)), true) = (a_dims.split_last(), b_dims.len() >= 2) else {
            return Ok(false);
        };
        if rows.is_empty() {
            return Ok(false);
        }
        let made = match (self.is_stacked(a), self.is_stacked(b), b_dims.len()) {
            // The rows of all adapters, in one product by one weight.
            (true, false, 2) => {
                let x = self.merged(a)?;
                let made = self.again(node, vec![x.name().to_owned(), b.clone()])?;
                self.keep_merged(node, made)?;
                return Ok(true);
            }
            // One weight an adapter: all axes of rows are one.
            (is_stacked, true, 2) => {
                let flat = [rows.iter().product(), *inner];
                let x = match is_stacked {
                    true => {
                        let (x, flat) = (self.lifted(a)?, self.lifted_dims(&flat));
                        self.reshaped(&x, &flat)?
                    }
                    false => self.reshaped(&Value::named(a), &flat)?,
                };
                let w = self.lifted(b)?;
                let y = self.builder.op("MatMul", &[&x, &w], &[])?;
                let lifted = self.lifted_dims(&out);
                vec![self.reshaped(&y, &lifted)?]
            }
            // Products of as many samples on either side, and K times of them.
            (true, true, rank) if rank == a_dims.len() && a_dims[0] == b_dims[0] => {
                let (a, b) = (self.merged(a)?, self.merged(b)?);
                let made = self.builder.op("MatMul", &[&a, &b], &[])?;
                self.keep_merged(node, vec![made])?;
                return Ok(true);
            }
            _ => {
                let rank = a_dims.len().max(b_dims.len());
                let a = self.with_rank(a, rank)?;
                let b = self.with_rank(b, rank)?;
                vec![self.builder.op("MatMul", &[&a, &b], &[])?]
            }
        };
        self.keep_lifted(node, made)?;
        Ok(true)
    }

    fn gemm(&mut self, node: &NodeProto) -> Result<bool, ManyError> {
        let [a, b] = [&node.input[0], &node.input[1]];
        let c = node.input_name(2);
        let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
        let [turns_a, turns_b] = ["transA", "transB"].map(|name| node.int(name, 0) != 0);
        let out = self.dims(node.output_name(0)).to_vec();
        let c_is_row = c.is_none_or(|c| {
            !self.is_stacked(c) && (self.dims(c).len() < 2 || self.dims(c).first() == Some(&1))
        });
        if self.is_stacked(a) && !self.is_stacked(b) && !turns_a && c_is_row {
            let x = self.merged(a)?;
            let mut inputs = node.input.clone();
            x.name().clone_into(&mut inputs[0]);
            let made = self.again(node, inputs)?;
            self.keep_merged(node, made)?;
            return Ok(true);
        }
        let x = self.operand(a, turns_a)?;
        // The factor of a whole product is that of its smaller side.
        let x = self.scaled(x, alpha)?;
        let w = self.operand(b, turns_b)?;
        let mut y = self.builder.op("MatMul", &[&x, &w], &[])?;
        if let Some(c) = c {
            let c = match self.is_stacked(c) {
                true => self.with_rank(c, 2)?,
                false => Value::named(c),
            };
            let c = self.scaled(c, beta)?;
            y = self.builder.op("Add", &[&y, &c], &[])?;
        }
        // Only the summand depends on the adapter.
        let lifted = self.lifted_dims(&out);
        if self.builder.ty(&y).dims != lifted {
            return Ok(false);
        }
        self.keep_lifted(node, vec![y])?;
        Ok(true)
    }

    /// A side of a Gemm: `[K, m, k]`, or `[m, k]` where it depends on no adapter.
    fn operand(&mut self, name: &str, turns: bool) -> Result<Value, ManyError> {
        let (value, order) = match self.is_stacked(name) {
            true => (self.lifted(name)?, vec![0, 2, 1]),
            false => (Value::named(name), vec![1, 0]),
        };
        if !turns {
            return Ok(value);
        }
        Ok(self.builder.op("Transpose", &[&value], &[("perm", Attr::Ints(order))])?)
    }

    fn scaled(&mut self, x: Value, factor: f32) -> Result<Value, ManyError> {
        if factor == 1.0 {
            return Ok(x);
        }
        let factor = self.builder.scalar(factor);
        Ok(self.builder.op("Mul", &[&x, &factor], &[])?)
    }

    fn convolution(&mut self, node: &NodeProto) -> Result<bool, ManyError> {
        let [x, w] = [node.input[0].clone(), node.input[1].clone()];
        let bias = node.input_name(2);
        if !self.is_stacked(&w) || bias.is_some_and(|bias| self.is_stacked(bias)) {
            return Ok(false);
        }
        let group = node.int("group", 1);
        let made = match self.is_stacked(&x) {
            false if group == 1 => {
                let wide = match node.is("ConvTranspose") {
                    // Its weight is [in, out, …]: one behind the other, the adapters' are more channels that go in.
                    true => self.outputs_side_by_side(&w)?,
                    false => self.merged(&w)?,
                };
                self.channels(node, Value::named(&x), &wide, 1)?
            }
            false => return Ok(false),
            true if bias.is_none() && self.is_pointwise(node) => self.pointwise(&x, &w)?,
            true => {
                let dims = self.dims(&x).to_vec();
                let x = self.lifted(&x)?;
                let x = self.turned(&x)?;
                let mut side_by_side = dims;
                side_by_side[1] *= self.count;
                let x = self.reshaped(&x, &side_by_side)?;
                let wide = self.merged(&w)?;
                self.channels(node, x, &wide, group * self.count as i64)?
            }
        };
        self.keep_lifted(node, vec![made])?;
        Ok(true)
    }

    /// A convolution to K times the channels: `[samples, K·out, …]`, given back as `[K, samples, out, …]`.
    fn channels(
        &mut self,
        node: &NodeProto,
        x: Value,
        w: &Value,
        group: i64,
    ) -> Result<Value, ManyError> {
        let out = self.dims(node.output_name(0)).to_vec();
        let mut inputs = vec![x.name().to_owned(), w.name().to_owned()];
        if let Some(bias) = node.input_name(2) {
            inputs.push(self.merged_or_tiled(bias)?.name().to_owned());
        }
        let mut wide = node.clone();
        wide.attribute.retain(|attr| attr.name() != "group");
        wide.attribute.push(Attr::Int(group).to_proto("group"));
        let made = self.again(&wide, inputs)?;
        let [samples, channels, space @ ..] = out.as_slice() else { return Ok(made[0].clone()) };
        let apart = [&[*samples, self.count, *channels], space].concat();
        if *samples == 1 {
            let lifted = self.lifted_dims(&out);
            return self.reshaped(&made[0], &lifted);
        }
        let y = self.reshaped(&made[0], &apart)?;
        self.turned(&y)
    }

    /// K weights `[in, out, …]` as `[in, K·out, …]`.
    fn outputs_side_by_side(&mut self, w: &str) -> Result<Value, ManyError> {
        let mut dims = self.dims(w).to_vec();
        let lifted = self.lifted(w)?;
        let turned = self.turned(&lifted)?;
        dims[1] *= self.count;
        self.reshaped(&turned, &dims)
    }

    /// The first two axes the other way round; one of length 1 needs no copy.
    fn turned(&mut self, x: &Value) -> Result<Value, ManyError> {
        let mut dims = self.builder.ty(x).dims.clone();
        if dims.iter().take(2).any(|&d| d == 1) {
            dims.swap(0, 1);
            return self.reshaped(x, &dims);
        }
        let mut order: Vec<i64> = (0..dims.len() as i64).collect();
        order.swap(0, 1);
        Ok(self.builder.op("Transpose", &[x], &[("perm", Attr::Ints(order))])?)
    }

    /// Whether a convolution sees one place at a time, all of them, in one group.
    fn is_pointwise(&self, node: &NodeProto) -> bool {
        let [x, w] = [&node.input[0], &node.input[1]].map(|name| self.dims(name));
        let (Some(space), Some(kernel)) = (x.get(2..), w.get(2..)) else { return false };
        let window = Window::of(node, space, kernel);
        node.is("Conv")
            && node.int("group", 1) == 1
            && kernel.iter().all(|&k| k == 1)
            && window.is_ok_and(|w| w.out == space && w.strides.iter().all(|&stride| stride == 1))
    }

    /// `[K, 1, out, in]`·`[K, samples, in, places]`.
    fn pointwise(&mut self, x: &str, w: &str) -> Result<Value, ManyError> {
        let (x_dims, w_dims) = (self.dims(x).to_vec(), self.dims(w).to_vec());
        let places: usize = x_dims.iter().skip(2).product();
        let (lifted, factor) = (self.lifted(x)?, self.lifted(w)?);
        let (samples, inner, out) = (x_dims[0], x_dims[1], w_dims[0]);
        let (rows, one) = match samples {
            1 => (vec![self.count, inner, places], vec![self.count, out, inner]),
            _ => (vec![self.count, samples, inner, places], vec![self.count, 1, out, inner]),
        };
        let x = self.reshaped(&lifted, &rows)?;
        let w = self.reshaped(&factor, &one)?;
        let y = self.builder.op("MatMul", &[&w, &x], &[])?;
        let dims = [&[self.count, samples, out], &x_dims[2..]].concat();
        self.reshaped(&y, &dims)
    }
}
