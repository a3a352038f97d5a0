//! `com.microsoft.DynamicQuantizeLSTM`: LSTM with weights of 8 bits, which are stored as `[directions, in, gates·hidden]` and have a
//! scale for each direction, or for each of its columns.
//!
//! It becomes LSTM with the floats that the weights stand for, `[directions, gates·hidden, in]`; what goes in is quantised by its own
//! range, as the operator does. The operator quantises the state before each step, too; here it stays as it is.
//! # Source
//! ONNX Runtime 1.31.1, `dynamic_quantize_lstm.cc` and `quantization/operators/lstm.py`.

use super::products::Done;
use super::{Along, Quantised, Writer, dynamic};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Element, Tensor};

/// Where the weights of inputs and of states stand, their scales and their zero points.
const WEIGHTS: [[usize; 3]; 2] = [[1, 8, 9], [2, 10, 11]];

pub(super) fn lstm(writer: &mut Writer<'_>, node: &NodeProto) -> Done {
    if !node.output.iter().any(|output| !output.is_empty() && writer.wants(output)) {
        return Ok(false);
    }
    let x = node.input_name(0).ok_or("an operand is left out")?.to_owned();
    let mut quantised = Vec::new();
    for at in WEIGHTS {
        let operand = Writer::operand(node, at)?;
        quantised.push((floats(writer, &operand)?, operand));
    }
    let mut written = NodeProto { op_type: Some("LSTM".to_owned()), domain: None, ..node.clone() };
    written.input.truncate(8);
    let x = dynamic::quantised(writer, &x);
    written.input[0] = writer.real(&x, Along::Whole)?;
    for ([at, ..], (floats, [integers, scale, zero])) in WEIGHTS.into_iter().zip(quantised) {
        written.input[at] = writer.constant(&integers, ".real", &floats);
        writer.left.extend([integers, scale, zero].into_iter().filter(|name| !name.is_empty()));
    }
    writer.nodes.push(written);
    Ok(true)
}

/// The floats that weights stand for, as LSTM wants them.
fn floats(writer: &Writer<'_>, of: &Quantised) -> Result<Tensor, &'static str> {
    let stored = |name: &String| writer.stored(name).ok_or("its weights are not stored");
    let [integers, scale, zero] = of;
    let (weights, scales) = (stored(integers)?, stored(scale)?.to_f64s());
    let zeros = if zero.is_empty() { vec![0.0] } else { stored(zero)?.to_f64s() };
    let &[directions, inputs, gates] = &weights.dims[..] else {
        return Err("its weights have no three axes");
    };
    let values = weights.to_f64s();
    // One for all, for each direction, or for each column of each.
    let at = |of: &[f64], direction: usize, gate: usize| match of.len() {
        1 => of.first().copied(),
        count if count == directions => of.get(direction).copied(),
        count if count == directions * gates => of.get(direction * gates + gate).copied(),
        _ => None,
    };
    let mut floats = Vec::with_capacity(values.len());
    for direction in 0..directions {
        for gate in 0..gates {
            let both = at(&scales, direction, gate).zip(at(&zeros, direction, gate));
            let (scale, zero) =
                both.ok_or("its scales are not one for each direction or column")?;
            let column = (0..inputs).map(|input| (direction * inputs + input) * gates + gate);
            let values =
                column.map(|at| values.get(at).map_or(0.0, |value| (value - zero) * scale));
            floats.extend(values);
        }
    }
    Ok(Tensor::from_f64s(Element::F32, &[directions, gates, inputs], &floats))
}
