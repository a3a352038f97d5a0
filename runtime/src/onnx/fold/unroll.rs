//! Writes the graphs inside `If`, `Loop` and `Scan` into the graph around them: a branch that is known, and as
//! many copies of a body as a known number of rounds asks for.
//!
//! Nothing is left of the node itself, so that everything after it (shapes, grafts, gradients, both engines)
//! sees ordinary operators. What depends on values of the run is refused.
//! # Source
//! ONNX `If`, `Loop`, `Scan` (operator documents).

use std::collections::BTreeMap;

use super::{FoldWhy, Folder, Known, checked};
use crate::onnx::builder::Attr;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::onnx::tensor::{Data, Tensor};

/// The most nodes that one model's loops may become. A file of a few bytes must not ask for millions.
const UNROLLED_NODES_MAX: usize = 1 << 17;

/// Whether this is one of the operators that hold graphs.
pub(super) fn is_control(node: &NodeProto) -> bool {
    ["If", "Loop", "Scan"].iter().any(|op| node.is(op))
}

/// Takes one `If`, `Loop` or `Scan`, whose inputs have the names they have in the folded graph.
pub(super) fn node(folder: &mut Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    match node.op_type() {
        "If" => branch(folder, node),
        "Loop" => rounds(folder, node),
        _ => scan(folder, node),
    }
}

fn refuse(node: &NodeProto, reason: &'static str) -> FoldWhy {
    let (operator, label) = (node.op_type().to_owned(), node.label().to_owned());
    FoldWhy::Unroll { operator, node: label, reason }
}

fn body<'n>(node: &'n NodeProto, name: &str) -> Result<&'n GraphProto, FoldWhy> {
    let graph = node.attr(name).and_then(|attribute| attribute.g.as_deref());
    graph.ok_or_else(|| refuse(node, "it holds no graph"))
}

fn branch(folder: &mut Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    let name = node.input_name(0).unwrap_or_default();
    let Some(condition) = truth(folder, name) else {
        return Err(refuse(node, "its condition depends on values of the run"));
    };
    let graph = body(node, if condition { "then_branch" } else { "else_branch" })?;
    let results = inline(folder, node, graph, &[])?;
    for (output, result) in node.output.iter().zip(&results) {
        rename(folder, output, result)?;
    }
    Ok(())
}

fn truth(folder: &Folder<'_>, name: &str) -> Option<bool> {
    folder.constant(name)?.to_i64s()?.first().map(|&value| value != 0)
}

fn rounds(folder: &mut Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    let graph = body(node, "body")?;
    let known = |name: &str| folder.constant(name).and_then(|t| t.to_i64s()?.first().copied());
    let limit = match node.input_name(0) {
        Some(name) => {
            known(name).ok_or_else(|| refuse(node, "its number of rounds depends on the run"))?
        }
        None => i64::MAX,
    };
    let open = "its condition depends on values of the run";
    let mut going = match node.input_name(1) {
        Some(name) => truth(folder, name).ok_or_else(|| refuse(node, open))?,
        None => true,
    };
    let mut carried: Vec<String> = node.input.iter().skip(2).cloned().collect();
    let mut rows: Vec<Vec<String>> =
        vec![Vec::new(); node.output.len().saturating_sub(carried.len())];
    let mut round = 0;
    while going && round < limit {
        let counter = constant(folder, node, Tensor::new(&[], Data::I64(vec![round])));
        let condition = constant(folder, node, Tensor::new(&[], Data::Bool(vec![true])));
        let given: Vec<String> = [counter, condition].into_iter().chain(carried.clone()).collect();
        let mut results = inline(folder, node, graph, &given)?.into_iter();
        let next = results.next().ok_or_else(|| refuse(node, "its body gives no condition"))?;
        going = truth(folder, &next).ok_or_else(|| refuse(node, open))?;
        carried = results.by_ref().take(carried.len()).collect();
        for (row, result) in rows.iter_mut().zip(results) {
            row.push(result);
        }
        round += 1;
    }
    for (output, result) in node.output.iter().zip(&carried) {
        rename(folder, output, result)?;
    }
    for (output, row) in node.output.iter().skip(carried.len()).zip(&rows) {
        stack(folder, node, output, row, 0)?;
    }
    Ok(())
}

fn scan(folder: &mut Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    let graph = body(node, "body")?;
    let scanned = usize::try_from(node.int("num_scan_inputs", 0)).unwrap_or(0);
    let states = node.input.len().checked_sub(scanned).filter(|_| folder.from >= 9);
    let states = states.ok_or_else(|| refuse(node, "its inputs are fewer than it says"))?;
    let list =
        |name: &str, at: usize| node.ints(name).and_then(|v| v.get(at)).copied().unwrap_or(0);
    let mut axes = Vec::new();
    let mut length = None;
    for (at, name) in node.input.iter().skip(states).enumerate() {
        let dims = folder.types.get(name).map(|ty| ty.dims.clone()).unwrap_or_default();
        let axis = crate::onnx::infer::axis_of(list("scan_input_axes", at), dims.len());
        let axis = axis.map_err(|why| super::infer_error(node, why))?;
        if *length.get_or_insert(dims[axis]) != dims[axis] {
            return Err(refuse(node, "its sequences differ in length"));
        }
        axes.push(axis);
    }
    let length = length.ok_or_else(|| refuse(node, "it has no sequence"))?;
    let mut carried: Vec<String> = node.input.iter().take(states).cloned().collect();
    let mut rows: Vec<Vec<String>> = vec![Vec::new(); node.output.len().saturating_sub(states)];
    for round in 0..length {
        let mut given = carried.clone();
        for (at, name) in node.input.iter().skip(states).enumerate() {
            let backwards = list("scan_input_directions", at) != 0;
            let index = if backwards { length - 1 - round } else { round } as i64;
            let index = constant(folder, node, Tensor::new(&[], Data::I64(vec![index])));
            let row = folder.fresh_name(node.label());
            let axis = Attr::Int(axes[at] as i64).to_proto("axis");
            folder.place(NodeProto::operator(
                "Gather",
                vec![name.clone(), index],
                &row,
                vec![axis],
            ))?;
            given.push(row);
        }
        let mut results = inline(folder, node, graph, &given)?.into_iter();
        carried = results.by_ref().take(states).collect();
        for (row, result) in rows.iter_mut().zip(results) {
            row.push(result);
        }
    }
    for (output, result) in node.output.iter().zip(&carried) {
        rename(folder, output, result)?;
    }
    for (at, (output, row)) in node.output.iter().skip(states).zip(&mut rows).enumerate() {
        if list("scan_output_directions", at) != 0 {
            row.reverse();
        }
        stack(folder, node, output, row, list("scan_output_axes", at))?;
    }
    Ok(())
}

/// Writes one copy of an inner graph; gives the names of its outputs.
fn inline(
    folder: &mut Folder<'_>,
    outer: &NodeProto,
    graph: &GraphProto,
    given: &[String],
) -> Result<Vec<String>, FoldWhy> {
    folder.unrolled = folder.unrolled.saturating_add(graph.node.len().max(1));
    if folder.unrolled > UNROLLED_NODES_MAX {
        return Err(refuse(outer, "its rounds would become more than 131072 nodes"));
    }
    if given.len() < graph.input.len() || !graph.sparse_initializer.is_empty() {
        return Err(refuse(outer, "its graph takes other inputs than it gives"));
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (input, name) in graph.input.iter().zip(given) {
        names.insert(input.name().to_owned(), name.clone());
    }
    for stored in &graph.initializer {
        let ty = checked(stored)?;
        let value = Tensor::from_proto(stored)?;
        let name = folder.fresh_name(outer.label());
        folder.know(&name, ty, Known::Made(value));
        names.insert(stored.name().to_owned(), name);
    }
    for inner in &graph.node {
        let mut node = inner.clone();
        let label = folder.fresh_name(&format!("{}/{}", outer.label(), inner.label()));
        read_as(&mut node, &names);
        for output in node.output.iter_mut().filter(|name| !name.is_empty()) {
            let name = folder.fresh_name(&label);
            names.insert(std::mem::replace(output, name.clone()), name);
        }
        node.name = Some(label);
        folder.node(&node)?;
    }
    let result = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
    let results = graph.output.iter().map(|output| result(output.name()));
    Ok(results.map(|name| folder.alias.get(&name).cloned().unwrap_or(name)).collect())
}

/// Renames what a node and the graphs inside it read.
fn read_as(node: &mut NodeProto, names: &BTreeMap<String, String>) {
    for input in &mut node.input {
        if let Some(name) = names.get(input) {
            input.clone_from(name);
        }
    }
    for attribute in &mut node.attribute {
        for graph in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
            for inner in &mut graph.node {
                read_as(inner, names);
            }
            // A branch may give a tensor of the graph around it as it is.
            for output in &mut graph.output {
                if let Some(name) = names.get(output.name()) {
                    output.name = Some(name.clone());
                }
            }
        }
    }
}

fn rename(folder: &mut Folder<'_>, output: &str, result: &str) -> Result<(), FoldWhy> {
    if output.is_empty() {
        return Ok(());
    }
    folder.place(NodeProto::operator("Identity", vec![result.to_owned()], output, Vec::new()))
}

/// Lays the results of all rounds along a new axis.
fn stack(
    folder: &mut Folder<'_>,
    outer: &NodeProto,
    output: &str,
    row: &[String],
    axis: i64,
) -> Result<(), FoldWhy> {
    if output.is_empty() {
        return Ok(());
    }
    if row.is_empty() {
        return Err(refuse(outer, "it has no rounds, so nothing to lay side by side"));
    }
    let rank = folder.types.get(&row[0]).map_or(0, |ty| ty.dims.len()) as i64;
    let axis = if axis < 0 { axis + rank + 1 } else { axis };
    let mut thin = Vec::new();
    for value in row {
        let name = folder.fresh_name(outer.label());
        let axes = constant(folder, outer, Tensor::i64s(&[axis]));
        folder.place(NodeProto::operator(
            "Unsqueeze",
            vec![value.clone(), axes],
            &name,
            Vec::new(),
        ))?;
        thin.push(folder.alias.get(&name).cloned().unwrap_or(name));
    }
    let axis = Attr::Int(axis).to_proto("axis");
    folder.place(NodeProto::operator("Concat", thin, output, vec![axis]))
}

fn constant(folder: &mut Folder<'_>, node: &NodeProto, value: Tensor) -> String {
    let name = folder.fresh_name(node.label());
    folder.know(&name, value.ty(), Known::Made(value));
    name
}
