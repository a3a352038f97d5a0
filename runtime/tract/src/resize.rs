//! Resize as ONNX Runtime computes it: in two places tract 0.23.9 reads the standard in another way, and would give other values
//! without a word.

use shoal_runtime::engine::RefusedNode;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::resize::{CoordTransformer, Interpolator};
use tract_onnx_opl::resize::{AspectRatio, CoordTransform, Resize};

/// Makes each Resize of a model what ONNX Runtime makes of it; those that cannot be are given.
///
/// - *Aligned at the corners, by factors*: places are spread over the length that comes out, which is a whole number; tract spreads them
///   over factor × length. The same by sizes is what ONNX Runtime computes, without antialiasing, which goes by the factor.
/// - *To one value by `pytorch_half_pixel`*: that place is 0, and −½ for tract; it differs where more than the nearest two values count,
///   by cubic weights or with antialiasing.
///
/// Nodes in the bodies of loops are not looked at.
pub(crate) fn settle(model: &mut TypedModel) -> TractResult<Vec<RefusedNode>> {
    let mut refused = Vec::new();
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(op) = node.op_as::<Resize>() else { continue };
        let Some(lengths) = Lengths::of(model, node, op)? else { continue };
        let wide = op.interpolator == Interpolator::Cubic || op.antialias;
        let is_of = |mode| op.coord_transformer == CoordTransform::Plain(mode);
        let to_one = is_of(CoordTransformer::PytorchHalfPixel) && wide && lengths.are_to_one();
        let cut = is_of(CoordTransformer::AlignCorners) && lengths.are_cut();
        if to_one || cut && op.antialias {
            refused.push(RefusedNode {
                node: node.name.clone(),
                operator: "Resize".to_owned(),
                reason: "tract resizes so otherwise than ONNX Runtime: give another \
                         coordinate_transformation_mode, or no antialias"
                    .to_owned(),
            });
        } else if cut && let Some(slot) = op.optional_scales_input {
            let by_sizes = Resize {
                optional_scales_input: None,
                optional_sizes_input: Some(slot),
                keep_aspect_ratio_policy: AspectRatio::Stretch,
                ..op.clone()
            };
            let name = format!("{}.sizes", node.name);
            let sizes = model.add_const(name, tensor1(&lengths.sizes()))?;
            model.add_edge(sizes, InletId::new(id, slot))?;
            model.node_mut(id).op = Box::new(by_sizes);
        }
    }
    Ok(refused)
}

/// Of an axis that is resized.
struct Length {
    from: usize,
    to: usize,
    /// Where it is resized by a factor that is known.
    factor: Option<f32>,
}

/// Of all of them, in the order of the node's axes.
struct Lengths(Vec<Length>);

impl Lengths {
    /// `None` where shapes are not known.
    fn of(model: &TypedModel, node: &TypedNode, op: &Resize) -> TractResult<Option<Self>> {
        let fact = |slot: usize| node.inputs.get(slot).map(|input| model.outlet_fact(*input));
        let Some(input) = fact(0).transpose()? else { return Ok(None) };
        let Some(output) = node.outputs.first() else { return Ok(None) };
        let shapes = (input.shape.as_concrete(), output.fact.shape.as_concrete());
        let (Some(from), Some(to)) = shapes else { return Ok(None) };
        let axes = op.resized_axes(from.len())?;
        let scales = op.optional_scales_input.and_then(fact).transpose()?;
        let scales = scales.and_then(|scales| scales.konst.as_deref());
        let factors = match scales.filter(|scales| scales.len() == axes.len()) {
            Some(scales) => {
                let scales = scales.cast_to::<f32>()?;
                scales.try_as_plain_ram()?.as_slice::<f32>()?.iter().copied().map(Some).collect()
            }
            None => vec![None; axes.len()],
        };
        let lengths = axes.iter().zip(factors).filter_map(|(axis, factor)| {
            Some(Length { from: *from.get(*axis)?, to: *to.get(*axis)?, factor })
        });
        Ok(Some(Self(lengths.collect())))
    }

    /// Whether some axis is resized to one value.
    fn are_to_one(&self) -> bool {
        self.0.iter().any(|length| length.from > 1 && length.to == 1)
    }

    /// Whether some factor × length is no whole number.
    fn are_cut(&self) -> bool {
        self.0.iter().any(|length| {
            length.factor.is_some_and(|factor| factor * length.from as f32 != length.to as f32)
        })
    }

    fn sizes(&self) -> Vec<i64> {
        self.0.iter().map(|length| length.to as i64).collect()
    }
}
