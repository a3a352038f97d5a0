//! Which tensors can carry a gradient, and where losses go.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::NodeProto;
use crate::onnx::{Element, Folded};

use super::{DifferentiateOptions, LossKind, LossSpec, PlacedLoss, Refusal, WrongLoss, rules};

/// Tensors that depend on a wanted one.
pub(super) struct Reach {
    wanted: Vec<String>,
    /// Through operators with slopes only: these have a gradient.
    pub(super) differentiable: BTreeSet<String>,
    /// In any way, indices and comparisons included.
    touched: BTreeSet<String>,
    /// The nodes behind which there is no gradient any more, in graph order.
    pub(super) ends: Vec<String>,
}

/// Operators whose slope is 0 wherever they have one, and one that reads a shape alone.
const FLAT: [&str; 5] = ["Ceil", "EyeLike", "Floor", "Round", "Sign"];
/// Operators that move quantised values, or choose among them.
const MOVING: [&str; 14] = [
    "Clip",
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Max",
    "Min",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Follows the wanted tensors forward through the graph.
pub(super) fn reach(folded: &Folded, wanted: &[String]) -> Reach {
    let mut touched: BTreeSet<String> = wanted.iter().cloned().collect();
    let mut differentiable = touched.clone();
    let mut ends = Vec::new();
    for node in &folded.model.graph().node {
        let inputs: Vec<&str> = node.names_read().collect();
        let reads = |set: &BTreeSet<String>| inputs.iter().any(|name| set.contains(*name));
        let (touches, differs) = (reads(&touched), reads(&differentiable));
        let passes = differs && !counts_steps(folded, node);
        let mut goes_on = false;
        let named = node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
        for (index, output) in named {
            if touches {
                touched.insert(output.clone());
            }
            let element = folded.types.get(output).map(|ty| ty.element);
            if passes && element.is_some_and(|element| has_slope(node, index, element)) {
                differentiable.insert(output.clone());
                goes_on = true;
            }
        }
        if differs && !goes_on {
            ends.push(format!("{} `{}`", rules::operator(node), node.label()));
        }
    }
    Reach { wanted: wanted.to_vec(), differentiable, touched, ends }
}

/// Whether a gradient of output `index`, if it has one, says anything: floats do, and integers that stand for
/// floats. Scales and zero points that are made of what comes do not.
fn has_slope(node: &NodeProto, index: usize, output: Element) -> bool {
    if node.is("DynamicQuantizeLinear") {
        return index == 0;
    }
    if output.is_float() {
        return !FLAT.iter().any(|flat| node.is(flat));
    }
    let quantised = matches!(output, Element::I8 | Element::U8 | Element::I16 | Element::U16);
    node.is("QuantizeLinear") || (quantised && MOVING.iter().any(|moving| node.is(moving)))
}

/// Whether a node takes integers for numbers. What they stand for is known with their scale alone, which DequantizeLinear reads; a
/// Cast gives how many steps there are.
fn counts_steps(folded: &Folded, node: &NodeProto) -> bool {
    let read = node.input_name(0).and_then(|name| folded.types.get(name));
    (node.is("Cast") || node.is("CastLike")) && read.is_some_and(|ty| !ty.element.is_float())
}

/// The losses asked for, or the default ones, each on a tensor that has a gradient.
pub(super) fn place(
    folded: &Folded,
    options: &DifferentiateOptions,
    reach: &Reach,
) -> Result<Vec<PlacedLoss>, Refusal> {
    let placed = if options.losses.is_empty() {
        place_default(folded, options.strict, reach)?
    } else {
        let asked = options.losses.iter();
        let placed =
            asked.map(|loss| place_asked(folded, reach, loss)).collect::<Result<_, _>>()?;
        apart_on_one_tensor(placed)?
    };
    if placed.is_empty() { Err(Refusal::NoLoss) } else { Ok(placed) }
}

/// Tells losses on one tensor by their kind, and feeds a cross-entropy beside others its classes by an input of its own.
fn apart_on_one_tensor(placed: Vec<PlacedLoss>) -> Result<Vec<PlacedLoss>, Refusal> {
    let mut told = placed.clone();
    for (index, loss) in told.iter_mut().enumerate() {
        let kind = loss.kind.name();
        let mut beside = false;
        let others = placed.iter().enumerate().filter(|(other, _)| *other != index);
        for (_, other) in others.filter(|(_, other)| other.tensor == loss.tensor) {
            if other.kind.name() == kind {
                let why = WrongLoss::Twice { kind };
                return Err(Refusal::Loss { output: loss.output.clone(), why });
            }
            beside = true;
        }
        if beside {
            loss.term = format!("{}.{kind}", loss.term);
            if loss.is_of_classes() {
                loss.target = format!("{}.{kind}", loss.target);
                loss.weight = format!("{}.{kind}", loss.weight);
            }
        }
    }
    Ok(told)
}

fn place_asked(folded: &Folded, reach: &Reach, loss: &LossSpec) -> Result<PlacedLoss, Refusal> {
    let tensor = loss.output.as_str();
    let wrong = |why| Refusal::Loss { output: tensor.to_owned(), why };
    let Some(ty) = folded.types.get(tensor) else {
        let outputs = folded.model.graph().output.iter().map(|o| o.name().to_owned()).collect();
        return Err(wrong(WrongLoss::NoSuchTensor { outputs }));
    };
    if !ty.element.is_float() {
        return Err(wrong(WrongLoss::NotFloat { element: ty.element }));
    }
    if !reach.differentiable.contains(tensor) {
        let ends = if reach.touched.contains(tensor) { reach.ends.clone() } else { Vec::new() };
        return Err(wrong(WrongLoss::Independent { ends }));
    }
    if ty.values() == 0 {
        return Err(wrong(WrongLoss::Empty));
    }
    if !(loss.factor.is_finite() && loss.factor > 0.0) {
        return Err(wrong(WrongLoss::Factor { factor: loss.factor }));
    }
    match &loss.kind {
        LossKind::CrossEntropy if ty.dims.is_empty() => return Err(wrong(WrongLoss::NoClasses)),
        LossKind::GaussianNll { log_variance } if folded.types.get(log_variance) != Some(ty) => {
            let got = folded.types.get(log_variance).cloned();
            let (tensor, want) = (log_variance.clone(), ty.clone());
            return Err(wrong(WrongLoss::LogVariance { tensor, got, want }));
        }
        LossKind::Mse
        | LossKind::Charbonnier
        | LossKind::CrossEntropy
        | LossKind::GaussianNll { .. } => {}
    }
    Ok(PlacedLoss::new(loss.kind.clone(), loss.factor, tensor, tensor))
}

/// Squared error on every output that depends on a wanted tensor, or on the last tensor before it that
/// has a gradient; on that one as well where wanted tensors have no other way to any loss (logits of which the greatest
/// picks from a table that is wanted, too).
fn place_default(folded: &Folded, strict: bool, reach: &Reach) -> Result<Vec<PlacedLoss>, Refusal> {
    let mut placed: Vec<PlacedLoss> = Vec::new();
    let mut moved = Vec::new();
    for output in folded.model.graph().output.iter().map(|o| o.name()) {
        let is_float = |name: &str| folded.types.get(name).is_some_and(|ty| ty.element.is_float());
        let tensor = if reach.differentiable.contains(output) && is_float(output) {
            output.to_owned()
        } else if reach.touched.contains(output) {
            let Some(before) = last_differentiable(folded, reach, output) else { continue };
            moved.push((output.to_owned(), before.clone()));
            before
        } else {
            continue;
        };
        if folded.types.get(&tensor).is_some_and(|ty| ty.values() == 0) {
            return Err(Refusal::Loss { output: output.to_owned(), why: WrongLoss::Empty });
        }
        placed.push(PlacedLoss::new(LossKind::Mse, 1.0, output, &tensor));
    }
    if strict && !moved.is_empty() {
        return Err(Refusal::Strict { moved, ends: reach.ends.clone() });
    }
    if !strict {
        place_behind(folded, reach, &mut placed);
    }
    // A tensor that several outputs stand for has one loss, called by the first of them.
    let mut seen = BTreeSet::new();
    placed.retain(|loss| seen.insert(loss.tensor.clone()));
    Ok(placed)
}

/// Adds losses for wanted tensors from which no loss that is placed has a gradient, though outputs depend on them.
fn place_behind(folded: &Folded, reach: &Reach, placed: &mut Vec<PlacedLoss>) {
    let mut reached = BTreeSet::new();
    for loss in &*placed {
        reached.append(&mut slopes(folded, reach, &loss.tensor));
    }
    for output in folded.model.graph().output.iter().map(|o| o.name()) {
        for before in before_ends(folded, reach, output) {
            if reach.wanted.iter().all(|wanted| reached.contains(wanted)) {
                return;
            }
            let mut more = slopes(folded, reach, before);
            let is_new = |wanted: &String| more.contains(wanted) && !reached.contains(wanted);
            if reach.wanted.iter().any(is_new) {
                placed.push(PlacedLoss::new(LossKind::Mse, 1.0, output, before));
                reached.append(&mut more);
            }
        }
    }
}

/// The tensors that have a gradient and are read where there is none any more, on the way to `output`; the last one, in graph
/// order, first.
fn before_ends<'f>(folded: &'f Folded, reach: &Reach, output: &str) -> Vec<&'f str> {
    let mut on_the_way = BTreeSet::from([output]);
    let mut found = Vec::new();
    for node in folded.model.graph().node.iter().rev() {
        if !node.output.iter().any(|name| on_the_way.contains(name.as_str())) {
            continue;
        }
        let goes_on = node.output.iter().any(|name| reach.differentiable.contains(name));
        for read in node.names_read() {
            let fits =
                folded.types.get(read).is_some_and(|ty| ty.element.is_float() && ty.values() > 0);
            if !goes_on && fits && reach.differentiable.contains(read) && !found.contains(&read) {
                found.push(read);
            }
            on_the_way.insert(read);
        }
    }
    found
}

/// The tensors from which a gradient of `tensor` comes, itself among them.
fn slopes(folded: &Folded, reach: &Reach, tensor: &str) -> BTreeSet<String> {
    let mut from = BTreeSet::from([tensor.to_owned()]);
    for node in folded.model.graph().node.iter().rev() {
        if node.output.iter().any(|output| from.contains(output)) {
            let read = node.names_read().filter(|name| reach.differentiable.contains(*name));
            from.extend(read.map(str::to_owned));
        }
    }
    from
}

/// The last tensor, in graph order, that has a gradient and from which `output` is computed without one.
fn last_differentiable(folded: &Folded, reach: &Reach, output: &str) -> Option<String> {
    let nodes = &folded.model.graph().node;
    let mut producers = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in &node.output {
            producers.insert(name.as_str(), index);
        }
    }
    let mut found: Option<(usize, &str)> = None;
    let mut open = vec![output];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(&index) = producers.get(name) else { continue };
        for read in nodes[index].names_read() {
            let is_float = folded.types.get(read).is_some_and(|ty| ty.element.is_float());
            if reach.differentiable.contains(read) && is_float {
                let at = producers.get(read).map_or(0, |&index| index + 1);
                found = found.max(Some((at, read)));
            } else if reach.touched.contains(read) && seen.insert(read) {
                open.push(read);
            }
        }
    }
    found.map(|(_, name)| name.to_owned())
}

/// Refuses wanted tensors that are no inputs of the graph (weights count as such) or hold no floats.
pub(super) fn check_wanted(folded: &Folded, wanted: &[String]) -> Result<(), Refusal> {
    if wanted.is_empty() {
        return Err(Refusal::NothingWanted);
    }
    let computed: BTreeSet<&String> =
        folded.model.graph().node.iter().flat_map(|node| &node.output).collect();
    for name in wanted {
        match folded.types.get(name).filter(|_| !computed.contains(name)) {
            None => return Err(Refusal::NoSuchInput { input: name.clone() }),
            Some(ty) if !ty.element.is_float() => {
                return Err(Refusal::WantedNotFloat { input: name.clone(), element: ty.element });
            }
            Some(_) => {}
        }
    }
    Ok(())
}
