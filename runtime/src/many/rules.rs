//! How each operator runs for K adapters at once.

use super::{ManyError, Walk};
use crate::onnx::infer::{axis_of, layout::permutation};
use crate::onnx::model::is_standard;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attr, Value};

/// How K runs of a node become one.
enum How {
    /// On all values alike, with broadcasting.
    Elementwise,
    /// Axis 0 is that of samples, and stays as it is: K times the samples.
    Samples,
    /// The same values in other dimensions.
    Renamed,
    /// With the axis of adapters before the others.
    Lifted,
    /// As samples, what depends on no factor being repeated.
    Together,
    /// A product or convolution with a factor.
    Product,
    /// K nodes.
    Single,
}

impl Walk<'_> {
    /// Appends what computes this node for every adapter.
    pub(super) fn node(&mut self, node: &NodeProto) -> Result<(), ManyError> {
        let random = ["RandomNormalLike", "RandomUniformLike", "Bernoulli"];
        if random.contains(&node.op_type()) || node.int("training_mode", 0) != 0 {
            let operator = node.op_type().to_owned();
            return Err(ManyError::Random { operator, node: node.label().to_owned() });
        }
        if !is_standard(node.domain()) {
            // It may mean anything, whatever it is called.
            return self.single(node);
        }
        match self.how(node) {
            How::Elementwise => self.elementwise(node),
            How::Samples => self.samples(node),
            How::Renamed => {
                let x = self.merged(&node.input[0])?;
                let dims = self.merged_dims(self.dims(node.output_name(0)));
                let y = self.reshaped(&x, &dims)?;
                self.set_merged(node.output_name(0), y);
                Ok(())
            }
            How::Lifted => self.with_axis_before(node),
            How::Together => {
                let inputs = node.input.iter().map(|name| self.merged_or_tiled(name));
                let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
                let inputs = inputs.iter().map(|value| value.name().to_owned()).collect();
                let made = self.again(node, inputs)?;
                self.keep_merged(node, made)
            }
            How::Product => match self.product(node)? {
                true => Ok(()),
                false => self.single(node),
            },
            How::Single => self.single(node),
        }
    }

    fn how(&self, node: &NodeProto) -> How {
        // Every rule but those of several operands is about a first input that depends on a factor, and no other that does.
        let only_first = node.input_name(0).is_some_and(|name| self.is_stacked(name))
            && !node.input.iter().skip(1).any(|name| self.is_stacked(name));
        let rank = node.input_name(0).map_or(0, |name| self.dims(name).len());
        let samples =
            |is: bool| if is && only_first && rank > 0 { How::Samples } else { How::Single };
        match node.op_type() {
            "Abs" | "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "BitwiseNot"
            | "Cast" | "Ceil" | "Celu" | "Cos" | "Cosh" | "Elu" | "Erf" | "Exp" | "Floor"
            | "Gelu" | "HardSigmoid" | "HardSwish" | "Identity" | "IsInf" | "IsNaN"
            | "LeakyRelu" | "Log" | "Mish" | "Neg" | "Not" | "Reciprocal" | "Relu" | "Round"
            | "Selu" | "Shrink" | "Sigmoid" | "Sign" | "Sin" | "Sinh" | "Softplus" | "Softsign"
            | "Sqrt" | "Swish" | "Tan" | "Tanh" | "ThresholdedRelu" | "Add" | "Sub" | "Mul"
            | "Div" | "Pow" | "Mod" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitShift"
            | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or"
            | "Xor" | "Min" | "Max" | "Sum" | "Mean" | "Where" => How::Elementwise,
            "Clip" | "PRelu" | "CastLike" if only_first => How::Elementwise,
            "MatMul" | "Gemm" => How::Product,
            "Conv" | "ConvTranspose" if !only_first => How::Product,
            "Conv"
            | "ConvTranspose"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "AveragePool"
            | "LpPool"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "GlobalLpPool"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "LRN" => samples(true),
            "MaxPool" => samples(node.output.len() == 1),
            "Trilu" => samples(rank > 2),
            "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" | "LayerNormalization"
            | "RMSNormalization" => {
                samples(not_first(node.int("axis", -1), rank) && self.others_below(node, rank))
            }
            "ArgMax" | "ArgMin" => samples(self.keeps_first(&[node.int("axis", 0)], rank)),
            "TopK" => samples(not_first(node.int("axis", -1), rank)),
            "Split" | "Gather" => samples(not_first(node.int("axis", 0), rank)),
            "DequantizeLinear" | "QuantizeLinear" => {
                let scale = node.input_name(1).map_or(0, |name| self.dims(name).len());
                samples(scale == 0 || (scale == 1 && not_first(node.int("axis", 1), rank)))
            }
            "CumSum" => samples(self.keeps_first(&self.ints_of(node, "axis", 1), rank)),
            "Slice" => samples(self.keeps_first(&self.sliced_axes(node), rank)),
            "Pad" => samples(self.pads_first_by_nothing(node, rank)),
            "Resize" => samples(self.scales_first_by_nothing(node, rank)),
            op if op.starts_with("Reduce") => {
                samples(self.keeps_first(&self.ints_of(node, "axes", 1), rank))
            }
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" if only_first => How::Renamed,
            "Transpose" => match permutation(node, rank) {
                Ok(order) => {
                    if order.first() == Some(&0) {
                        How::Samples
                    } else {
                        How::Lifted
                    }
                }
                Err(_) => How::Single,
            },
            "Expand" | "Tile" if only_first => How::Lifted,
            "Concat" if not_first(node.int("axis", 0), rank) => How::Together,
            _ => How::Single,
        }
    }

    /// Whether no input behind the first reaches up to its first axis.
    fn others_below(&self, node: &NodeProto, rank: usize) -> bool {
        node.input.iter().skip(1).all(|name| self.dims(name).len() < rank)
    }

    /// Integers of an attribute, or of a constant input; none if they are neither.
    fn ints_of(&self, node: &NodeProto, name: &str, input: usize) -> Vec<i64> {
        match (node.ints(name), node.input_name(input)) {
            (Some(ints), _) => ints.to_vec(),
            (None, Some(input)) => self.constants(input),
            (None, None) => Vec::new(),
        }
    }

    fn constants(&self, name: &str) -> Vec<i64> {
        let tensor = self.builder.constant(&Value::named(name));
        tensor.and_then(|tensor| tensor.to_i64s()).unwrap_or_default()
    }

    /// Whether these are axes, and the first is not among them.
    fn keeps_first(&self, axes: &[i64], rank: usize) -> bool {
        !axes.is_empty() && axes.iter().all(|&axis| not_first(axis, rank))
    }

    fn sliced_axes(&self, node: &NodeProto) -> Vec<i64> {
        match node.input_name(3) {
            Some(axes) => self.constants(axes),
            // Without axes it begins at the first.
            None => Vec::new(),
        }
    }

    fn pads_first_by_nothing(&self, node: &NodeProto, rank: usize) -> bool {
        let pads = self.ints_of(node, "pads", 1);
        if node.input_name(3).is_some() {
            return self.keeps_first(&self.ints_of(node, "axes", 3), rank);
        }
        pads.len() == 2 * rank && pads.first() == Some(&0) && pads.get(rank) == Some(&0)
    }

    fn scales_first_by_nothing(&self, node: &NodeProto, rank: usize) -> bool {
        if node.text("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
            return false;
        }
        if let Some(axes) = node.ints("axes") {
            return self.keeps_first(axes, rank);
        }
        let [from, to] = [node.input_name(0).unwrap_or(""), node.output_name(0)];
        let scales = node.input_name(2).and_then(|name| self.builder.constant(&Value::named(name)));
        match scales.as_ref().and_then(|scales| scales.as_f32()) {
            Some([first, ..]) => *first == 1.0,
            Some([]) | None => self.dims(from).first() == self.dims(to).first(),
        }
    }

    /// K times the samples; what the node says of their number is said anew.
    fn samples(&mut self, node: &NodeProto) -> Result<(), ManyError> {
        let mut inputs = node.input.clone();
        inputs[0] = self.merged(&node.input[0])?.name().to_owned();
        let sizes = node.input_name(3).filter(|_| node.is("Resize") && node.ints("axes").is_none());
        if let Some(sizes) = sizes {
            let mut sizes = self.constants(sizes);
            sizes.iter_mut().take(1).for_each(|first| *first *= self.count as i64);
            inputs[3] = self.builder.i64s(&sizes).name().to_owned();
        }
        let made = self.again(node, inputs)?;
        self.keep_merged(node, made)
    }

    fn elementwise(&mut self, node: &NodeProto) -> Result<(), ManyError> {
        let out = self.dims(node.output_name(0)).to_vec();
        let fits = |name: &String| {
            let dims = self.dims(name);
            match self.is_stacked(name) {
                true => dims.len() == out.len() && dims.first() == out.first(),
                false => dims.len() < out.len() || dims.first().is_none_or(|&d| d == 1),
            }
        };
        let stacked = || node.input.iter().filter(|name| self.is_stacked(name));
        // What has the one form alone is not brought into the other: scales of transposed factors stay beside their products.
        let as_samples = node.input.iter().filter(|name| !name.is_empty()).all(fits)
            && !stacked().all(|name| self.is_lifted_alone(name));
        let mut inputs = node.input.clone();
        for name in &mut inputs {
            if self.is_stacked(name) {
                let value = match as_samples {
                    true => self.merged(name)?,
                    false => self.with_rank(name, out.len())?,
                };
                value.name().clone_into(name);
            }
        }
        let made = self.again(node, inputs)?;
        if as_samples { self.keep_merged(node, made) } else { self.keep_lifted(node, made) }
    }

    /// Transpose, Expand and Tile with one axis more.
    fn with_axis_before(&mut self, node: &NodeProto) -> Result<(), ManyError> {
        let (x, out) = (node.input[0].clone(), self.dims(node.output_name(0)).to_vec());
        let rank = self.dims(&x).len();
        let lifted = self.lifted(&x)?;
        let y = if node.is("Transpose") {
            let order = permutation(node, rank).unwrap_or_default();
            let order = std::iter::once(0).chain(order.iter().map(|&axis| axis as i64 + 1));
            let order = [("perm", Attr::Ints(order.collect()))];
            self.builder.op("Transpose", &[&lifted], &order)?
        } else if node.is("Tile") {
            let repeats = self.constants(node.input_name(1).unwrap_or(""));
            let repeats: Vec<i64> = std::iter::once(1).chain(repeats).collect();
            let repeats = self.builder.i64s(&repeats);
            self.builder.op("Tile", &[&lifted, &repeats], &[])?
        } else {
            let x = self.with_rank(&x, out.len())?;
            let to: Vec<i64> = self.lifted_dims(&out).iter().map(|&d| d as i64).collect();
            let to = self.builder.i64s(&to);
            self.builder.op("Expand", &[&x, &to], &[])?
        };
        self.keep_lifted(node, vec![y])
    }

    /// K nodes, one an adapter.
    fn single(&mut self, node: &NodeProto) -> Result<(), ManyError> {
        let mut pieces = Vec::with_capacity(node.input.len());
        for name in &node.input {
            pieces.push(match self.is_stacked(name) {
                true => Some(self.pieces(name)?),
                false => None,
            });
        }
        let mut made = vec![Vec::with_capacity(self.count); node.output.len()];
        for place in 0..self.count {
            let inputs = node.input.iter().zip(&pieces).map(|(name, pieces)| match pieces {
                Some(pieces) => pieces[place].name().to_owned(),
                None => name.clone(),
            });
            let inputs = inputs.collect();
            let outputs = self.again(node, inputs)?;
            made.iter_mut().zip(outputs).for_each(|(made, output)| made.push(output));
        }
        for (name, made) in node.output.iter().zip(made).filter(|(name, _)| !name.is_empty()) {
            self.set_pieces(name, made);
        }
        self.single.push(node.label().to_owned());
        Ok(())
    }

    /// Keeps what a node made of all samples.
    pub(super) fn keep_merged(
        &mut self,
        node: &NodeProto,
        made: Vec<Value>,
    ) -> Result<(), ManyError> {
        for (name, value) in node.output.iter().zip(made).filter(|(name, _)| !name.is_empty()) {
            let want = self.merged_dims(self.dims(name));
            self.check(node, &value, &want)?;
            self.set_merged(name, value);
        }
        Ok(())
    }

    /// Keeps what a node made with the axis of adapters before the others.
    pub(super) fn keep_lifted(
        &mut self,
        node: &NodeProto,
        made: Vec<Value>,
    ) -> Result<(), ManyError> {
        for (name, value) in node.output.iter().zip(made).filter(|(name, _)| !name.is_empty()) {
            let want = self.lifted_dims(self.dims(name));
            self.check(node, &value, &want)?;
            self.set_lifted(name, value);
        }
        Ok(())
    }

    /// A rule that misunderstood its operator must not be believed.
    fn check(&self, node: &NodeProto, value: &Value, want: &[usize]) -> Result<(), ManyError> {
        let got = &self.builder.ty(value).dims;
        if got == want {
            return Ok(());
        }
        Err(ManyError::Shape {
            operator: node.op_type().to_owned(),
            node: node.label().to_owned(),
            got: format!("{got:?}"),
            want: format!("{want:?}"),
        })
    }
}

/// Whether this is an axis, and not the first.
fn not_first(axis: i64, rank: usize) -> bool {
    axis_of(axis, rank).is_ok_and(|axis| axis > 0)
}
