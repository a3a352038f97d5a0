//! Writes the graphs inside `If`, `Loop` and `Scan` into the graph around them: a branch that is known, and as
//! many copies of a body as a known number of rounds asks for.
//!
//! Nothing is left of the node itself, so that everything after it (shapes, grafts, gradients, both engines)
//! sees ordinary operators. What is the same in every round (a weight, and what is made of it) is written once and keeps its
//! name, so that it is one weight still. What depends on values of the run is refused.
//! # Source
//! ONNX `If`, `Loop`, `Scan` (operator documents).

use std::collections::{BTreeMap, BTreeSet};

use super::hoist::hoisted;
use super::{FOLDED, FoldWhy, Folder, Known, checked};
use crate::onnx::builder::Attr;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::onnx::tensor::{Data, Tensor};

/// The most nodes that one model's loops may become, and what of a recurrent kind a gradient writes out. A file of a few bytes
/// must not ask for millions.
pub(crate) const UNROLLED_NODES_MAX: usize = 1 << 17;

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
        return Err(refuse(
            node,
            "its condition depends on values of the run (an input that decides it can be given one: --value NAME=VALUE)",
        ));
    };
    let graph = body(node, if condition { "then_branch" } else { "else_branch" })?;
    let stored = Fixed::stored(folder, node, graph)?;
    let results = inline(folder, node, graph, &[], &stored)?;
    for (output, result) in node.output.iter().zip(&results) {
        rename(folder, output, result)?;
    }
    Ok(())
}

fn truth(folder: &Folder<'_>, name: &str) -> Option<bool> {
    folder.constant(name)?.to_i64s()?.first().map(|&value| value != 0)
}

fn rounds(folder: &mut Folder<'_>, node: &NodeProto) -> Result<(), FoldWhy> {
    let graph = &*hoisted(folder, body(node, "body")?);
    let known = |name: &str| folder.constant(name).and_then(|t| t.to_i64s()?.first().copied());
    let limit = match node.input_name(0) {
        Some(name) => {
            known(name).ok_or_else(|| refuse(node, "its number of rounds depends on the run"))?
        }
        None => i64::MAX,
    };
    let open = "its condition depends on values of the run (an input that decides it can be given one: --value NAME=VALUE)";
    let mut going = match node.input_name(1) {
        Some(name) => truth(folder, name).ok_or_else(|| refuse(node, open))?,
        None => true,
    };
    let mut carried: Vec<String> = node.input.iter().skip(2).cloned().collect();
    let mut rows: Vec<Vec<String>> =
        vec![Vec::new(); node.output.len().saturating_sub(carried.len())];
    let fixed = Fixed::of(folder, node, graph)?;
    let mut round = 0;
    while going && round < limit {
        let counter = constant(folder, node, Tensor::new(&[], Data::I64(vec![round])));
        let condition = constant(folder, node, Tensor::new(&[], Data::Bool(vec![true])));
        let given: Vec<String> = [counter, condition].into_iter().chain(carried.clone()).collect();
        let mut results = inline(folder, node, graph, &given, &fixed)?.into_iter();
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
    let graph = &*hoisted(folder, body(node, "body")?);
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
    let fixed = Fixed::of(folder, node, graph)?;
    for round in 0..length {
        let mut given = carried.clone();
        for (at, name) in node.input.iter().skip(states).enumerate() {
            let backwards = list("scan_input_directions", at) != 0;
            let index = if backwards { length - 1 - round } else { round } as i64;
            let index = constant(folder, node, Tensor::new(&[], Data::I64(vec![index])));
            let row = folder.fresh_name(node.label());
            let axis = Attr::Int(axes[at] as i64).to_proto("axis");
            count(folder, node, 1)?;
            folder.place(NodeProto::operator(
                "Gather",
                vec![name.clone(), index],
                &row,
                vec![axis],
            ))?;
            given.push(row);
        }
        let mut results = inline(folder, node, graph, &given, &fixed)?.into_iter();
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

/// What of an inner graph is the same in every round.
#[derive(Default)]
struct Fixed {
    /// The name in the folded graph, by that in the inner one.
    names: BTreeMap<String, String>,
    /// The places of the nodes that were written.
    nodes: BTreeSet<usize>,
}

impl Fixed {
    /// The weights that an inner graph stores.
    fn stored(
        folder: &mut Folder<'_>,
        outer: &NodeProto,
        graph: &GraphProto,
    ) -> Result<Fixed, FoldWhy> {
        if !graph.sparse_initializer.is_empty() {
            return Err(refuse(outer, "its graph keeps sparse weights"));
        }
        let mut fixed = Fixed::default();
        for stored in &graph.initializer {
            let (ty, nan) = checked(stored)?;
            let value = Tensor::from_proto(stored)?;
            let name = own_name(folder, stored.name());
            folder.nan.extend(nan.map(|index| (name.clone(), index)));
            folder.know(&name, ty, Known::Made(value));
            fixed.names.insert(stored.name().to_owned(), name);
        }
        Ok(fixed)
    }

    /// Writes the nodes of a body that read nothing that a round changes.
    fn of(
        folder: &mut Folder<'_>,
        outer: &NodeProto,
        graph: &GraphProto,
    ) -> Result<Fixed, FoldWhy> {
        let mut fixed = Fixed::stored(folder, outer, graph)?;
        let mut changing: BTreeSet<&str> = graph.input.iter().map(|input| input.name()).collect();
        for (input, given) in passed_on(outer, graph) {
            changing.remove(input);
            fixed.names.insert(input.to_owned(), given.to_owned());
        }
        for (index, node) in graph.node.iter().enumerate() {
            let reads = |name: &String| changing.contains(name.as_str());
            if is_control(node) || is_random(node) || node.input.iter().any(reads) {
                changing.extend(node.output.iter().map(String::as_str));
                continue;
            }
            write(folder, outer, node, &mut fixed.names, own_name)?;
            fixed.nodes.insert(index);
        }
        Ok(fixed)
    }
}

/// What a body carries from round to round and never changes: its name inside, and that of what the node is given.
pub(crate) fn passed_on<'n>(
    outer: &'n NodeProto,
    graph: &'n GraphProto,
) -> impl Iterator<Item = (&'n str, &'n str)> {
    let scanned = usize::try_from(outer.int("num_scan_inputs", 0)).unwrap_or(usize::MAX);
    // A Loop's body takes a counter and a condition before what is carried, and gives a condition.
    let (from, to, behind) = match outer.op_type() {
        "Loop" => (2, 1, 0),
        "Scan" => (0, 0, scanned),
        _ => (0, 0, usize::MAX),
    };
    let carried = outer.input.len().saturating_sub(from).saturating_sub(behind);
    let same = graph.node.iter().filter(|node| node.is("Identity"));
    let same = same.filter_map(|node| Some((node.output_name(0), node.input_name(0)?)));
    let same: BTreeMap<&str, &str> = same.collect();
    let inside = graph.input.iter().skip(from).take(carried).zip(graph.output.iter().skip(to));
    inside.zip(outer.input.iter().skip(from)).filter_map(move |((input, output), given)| {
        let result = same.get(output.name()).copied().unwrap_or(output.name());
        (result == input.name()).then_some((input.name(), given.as_str()))
    })
}

/// What a Scan's body reads row by row: the name of a row inside, that of all rows around it, and the axis that they lie along.
pub(crate) fn scanned<'n>(
    outer: &'n NodeProto,
    graph: &'n GraphProto,
) -> impl Iterator<Item = (&'n str, (&'n str, i64))> {
    let count = if outer.is("Scan") { outer.int("num_scan_inputs", 0) } else { 0 };
    let count = usize::try_from(count).unwrap_or(0);
    let states = outer.input.len().saturating_sub(count);
    let axes = outer.ints("scan_input_axes").unwrap_or(&[]);
    let rows = graph.input.iter().zip(&outer.input).skip(states).take(count);
    rows.enumerate()
        .map(|(at, (row, all))| (row.name(), (all.as_str(), axes.get(at).copied().unwrap_or(0))))
}

/// Whether a node gives other values every time it runs.
fn is_random(node: &NodeProto) -> bool {
    let drawn = ["Bernoulli", "Multinomial", "Dropout"].iter().any(|op| node.is(op));
    drawn || node.op_type().starts_with("Random")
}

/// Writes one copy of an inner graph; gives the names of its outputs.
fn inline(
    folder: &mut Folder<'_>,
    outer: &NodeProto,
    graph: &GraphProto,
    given: &[String],
    fixed: &Fixed,
) -> Result<Vec<String>, FoldWhy> {
    if given.len() < graph.input.len() {
        return Err(refuse(outer, "its graph takes other inputs than it gives"));
    }
    let mut names = fixed.names.clone();
    for (input, name) in graph.input.iter().zip(given) {
        names.entry(input.name().to_owned()).or_insert_with(|| name.clone());
    }
    // A body without nodes is written, too.
    count(folder, outer, 1)?;
    for (index, inner) in graph.node.iter().enumerate() {
        if !fixed.nodes.contains(&index) {
            let path = |folder: &mut Folder<'_>, name: &str| {
                folder.fresh_name(&inner_path(outer.label(), name))
            };
            write(folder, outer, inner, &mut names, path)?;
        }
    }
    let result = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
    let results = graph.output.iter().map(|output| result(output.name()));
    results.map(|name| defined(folder, outer, &name)).collect()
}

fn count(folder: &mut Folder<'_>, outer: &NodeProto, nodes: usize) -> Result<(), FoldWhy> {
    folder.unrolled = folder.unrolled.saturating_add(nodes);
    match folder.unrolled > UNROLLED_NODES_MAX {
        true => Err(refuse(outer, "its rounds would become more than 131072 nodes")),
        false => Ok(()),
    }
}

/// The name of a tensor that there is once: its own, if no other has it.
pub(super) fn own_name(folder: &mut Folder<'_>, name: &str) -> String {
    if folder.is_taken(name) { folder.fresh_name(name) } else { name.to_owned() }
}

/// What a tensor is called in the folded graph, which must have it.
fn defined(folder: &Folder<'_>, reader: &NodeProto, name: &str) -> Result<String, FoldWhy> {
    let target = folder.alias.get(name).map_or(name, String::as_str);
    match folder.types.contains_key(target) {
        true => Ok(target.to_owned()),
        false => Err(FoldWhy::Undefined {
            operator: reader.op_type().to_owned(),
            node: reader.label().to_owned(),
            tensor: name.to_owned(),
        }),
    }
}

/// Writes one node of an inner graph, and notes what its outputs are called now.
fn write(
    folder: &mut Folder<'_>,
    outer: &NodeProto,
    inner: &NodeProto,
    names: &mut BTreeMap<String, String>,
    name: impl Fn(&mut Folder<'_>, &str) -> String,
) -> Result<(), FoldWhy> {
    count(folder, outer, 1)?;
    let mut node = inner.clone();
    node.name = Some(folder.fresh_name(&inner_path(outer.label(), inner.label())));
    node_reads(&mut node, names);
    for input in node.input.iter_mut().filter(|name| !name.is_empty()) {
        *input = defined(folder, inner, input)?;
    }
    for output in node.output.iter_mut().filter(|name| !name.is_empty()) {
        let name = name(folder, output);
        names.insert(std::mem::replace(output, name.clone()), name);
    }
    folder.node(&node)
}

/// What a node or tensor of a graph inside the node `outer` is called in the folded graph, but for numbers
/// ([`without_numbers`]).
pub(crate) fn inner_path(outer: &str, inner: &str) -> String {
    format!("{outer}/{inner}")
}

/// A name without the numbers that folding puts behind what it writes anew.
pub(crate) fn without_numbers(name: &str) -> String {
    let mut parts = name.split(FOLDED);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Renames what a graph and those inside it read.
pub(super) fn read_as(graph: &mut GraphProto, names: &BTreeMap<String, String>) {
    graph.node.iter_mut().for_each(|node| node_reads(node, names));
    // A branch may give a tensor of the graph around it as it is.
    for output in &mut graph.output {
        if let Some(name) = names.get(output.name()) {
            output.name = Some(name.clone());
        }
    }
}

/// Renames what a node and the graphs inside it read.
pub(super) fn node_reads(node: &mut NodeProto, names: &BTreeMap<String, String>) {
    for input in &mut node.input {
        if let Some(name) = names.get(input) {
            input.clone_from(name);
        }
    }
    for attribute in &mut node.attribute {
        let graphs = attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs);
        graphs.for_each(|graph| read_as(graph, names));
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
        count(folder, outer, 1)?;
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
