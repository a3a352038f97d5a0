//! LSTM, GRU and RNN with the batch before time (`layout` 1), which ONNX Runtime does not run: the same node with time first, between
//! Transposes of what it reads and gives.
//!
//! | tensor | `layout` 1 | `layout` 0 |
//! |---|---|---|
//! | X | `[B, T, in]` | `[T, B, in]` |
//! | initial and last states | `[B, directions, hidden]` | `[directions, B, hidden]` |
//! | Y | `[B, T, directions, hidden]` | `[T, directions, B, hidden]` |
//! # Source
//! ONNX `LSTM`, `GRU`, `RNN` (version 14).

use super::{Folder, Known};
use crate::onnx::builder::Attr;
use crate::onnx::eval;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::TensorType;

/// The inputs with a batch: X, and the initial states.
const INPUTS: [usize; 3] = [0, 5, 6];

/// The nodes that do the same with time first; `None` if the node is no such one.
pub(super) fn turned(folder: &mut Folder<'_>, node: &NodeProto) -> Option<Vec<NodeProto>> {
    let is_recurrent = ["LSTM", "GRU", "RNN"].iter().any(|op| node.is(op));
    if !is_recurrent || node.int("layout", 0) != 1 {
        return None;
    }
    let mut nodes = Vec::new();
    let mut inner = node.clone();
    inner.attribute.retain(|attribute| attribute.name() != "layout");
    for input in INPUTS {
        let Some(name) = inner.input.get_mut(input).filter(|name| !name.is_empty()) else {
            continue;
        };
        let here = folder.fresh_name(name);
        let turn = transpose(name, &here, vec![1, 0, 2]);
        if !is_made(folder, &turn) {
            nodes.push(turn);
        }
        *name = here;
    }
    let mut behind = Vec::new();
    for (index, name) in inner.output.iter_mut().enumerate().filter(|(_, name)| !name.is_empty()) {
        let here = folder.fresh_name(name);
        let order = if index == 0 { vec![2, 0, 1, 3] } else { vec![1, 0, 2] };
        behind.push(transpose(&here, name, order));
        *name = here;
    }
    nodes.push(inner);
    nodes.extend(behind);
    Some(nodes)
}

fn transpose(from: &str, to: &str, perm: Vec<i64>) -> NodeProto {
    let perm = Attr::Ints(perm).to_proto("perm");
    NodeProto::operator("Transpose", vec![from.to_owned()], to, vec![perm])
}

/// Makes what a Transpose gives of a stored state, which is no weight that is read the other way round.
fn is_made(folder: &mut Folder<'_>, turn: &NodeProto) -> bool {
    let stored = turn.input_name(0).and_then(|name| folder.constant(name));
    let dims = stored.as_ref().map(|stored| stored.dims.as_slice());
    let (Some(stored), Some([batch, directions, hidden])) = (&stored, dims) else { return false };
    let ty = TensorType::new(stored.data.element(), &[*directions, *batch, *hidden]);
    let made = eval::eval(turn, &[Some(stored.clone())], std::slice::from_ref(&ty));
    match made.and_then(|mut made| made.pop()) {
        Some(made) => {
            folder.know(turn.output_name(0), ty, Known::Made(made));
            true
        }
        None => false,
    }
}
