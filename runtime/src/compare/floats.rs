//! A model that quantises while it runs, without its steps: one rounding lets a value fall to the other side of a step, and all that
//! is behind it moves, which hides what two such models differ in.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::NodeProto;
use crate::onnx::{Element, Folded, Model, Tensor};

/// Operators that move what they read first and change none of it. What else they read says where to.
const MOVING: [&str; 12] = [
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// What integers stand for.
#[derive(Clone, Debug, PartialEq)]
enum Steps {
    /// So much each, from this one on, of floats of that type.
    Of { scale: f64, zero: f64, real: Element },
    /// As their own range says: by the tensors that hold scale and zero point.
    Own { scale: String, zero: String, real: Element },
}

/// The same model in floats wherever it quantises while it runs: a value is held within the bounds that its integers have, and not
/// rounded. `None` if it quantises nothing so, or where anything but DequantizeLinear by the same scale and operators that move
/// values reads such integers.
pub(super) fn in_floats(folded: &Folded) -> Option<Model> {
    let mut floats = Floats::new(folded);
    for node in &folded.model.graph().node {
        floats.node(node)?;
    }
    let Floats { nodes, constants, integers, own, .. } = floats;
    if integers.is_empty() {
        return None;
    }
    let mut model = folded.model.clone();
    let graph = model.graph_mut();
    let gone = |name: &str| integers.contains_key(name) || own.contains(name);
    if graph.output.iter().any(|output| gone(output.name())) {
        return None;
    }
    graph.value_info.retain(|value| !gone(value.name()));
    graph.node = nodes;
    let read: BTreeSet<&str> =
        graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let given: BTreeSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    graph
        .initializer
        .retain(|stored| read.contains(stored.name()) || given.contains(stored.name()));
    graph.initializer.extend(constants);
    Some(model)
}

/// The graph as it is written anew.
struct Floats<'a> {
    folded: &'a Folded,
    /// Stored tensors of one value.
    single: BTreeMap<&'a str, f64>,
    nodes: Vec<NodeProto>,
    constants: Vec<crate::onnx::proto::TensorProto>,
    /// Tensors of integers that are floats now.
    integers: BTreeMap<String, Steps>,
    /// Scales and zero points that were made of what came.
    own: BTreeSet<String>,
}

impl<'a> Floats<'a> {
    fn new(folded: &'a Folded) -> Self {
        let stored = folded.model.graph().initializer.iter();
        let one = stored
            .filter(|stored| folded.types.get(stored.name()).is_some_and(|ty| ty.values() == 1));
        let one = one.filter_map(|stored| {
            let value = *Tensor::from_proto(stored).ok()?.to_f64s().first()?;
            Some((stored.name(), value))
        });
        Self {
            folded,
            single: one.collect(),
            nodes: Vec::new(),
            constants: Vec::new(),
            integers: BTreeMap::new(),
            own: BTreeSet::new(),
        }
    }

    /// Writes what a node is without steps; `None` if that is not known.
    fn node(&mut self, node: &NodeProto) -> Option<()> {
        if node.is("QuantizeLinear") {
            return self.quantises(node);
        }
        if node.is("DynamicQuantizeLinear") {
            return self.by_own_range(node);
        }
        let first = node.input_name(0).and_then(|name| self.integers.get(name)).cloned();
        let reads = |name: &String| self.integers.contains_key(name) || self.own.contains(name);
        let read = node.input.iter().filter(|name| reads(name)).count();
        match first {
            Some(steps) if node.is("DequantizeLinear") => return self.dequantises(node, &steps),
            Some(steps) if self.moves(node, &steps, read) => {
                self.integers
                    .extend(node.output.iter().map(|output| (output.clone(), steps.clone())));
            }
            // What a graph within reads from outside is not looked for.
            Some(_) | None if read > 0 || node.subgraphs().next().is_some() => return None,
            Some(_) | None => {}
        }
        self.nodes.push(node.clone());
        Some(())
    }

    /// Whether a node moves integers of these steps alone.
    fn moves(&self, node: &NodeProto, steps: &Steps, read: usize) -> bool {
        let same = |name: &String| self.integers.get(name) == Some(steps);
        let joins = node.is("Concat") && node.input.iter().all(same);
        let splits = node.is("Split") && read == 1;
        let moves = MOVING.iter().any(|op| node.is(op)) && read == 1 && node.output.len() == 1;
        joins || splits || moves
    }

    fn element(&self, name: &str) -> Option<Element> {
        self.folded.types.get(name).map(|ty| ty.element)
    }

    fn quantises(&mut self, node: &NodeProto) -> Option<()> {
        let (real, output) = (node.input_name(0)?, node.output_name(0));
        let element = self.element(real).filter(|element| element.is_float())?;
        let scale = *self.single.get(node.input_name(1)?)?;
        let zero = node.input_name(2).map_or(Some(&0.0), |name| self.single.get(name)).copied()?;
        let (least, most) = match self.element(output)? {
            Element::I8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
            Element::U8 => (0.0, f64::from(u8::MAX)),
            Element::I16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
            Element::U16 => (0.0, f64::from(u16::MAX)),
            Element::F16 | Element::Bf16 | Element::F32 | Element::F64 | Element::Bool => {
                return None;
            }
            Element::I32 | Element::I64 | Element::U32 | Element::U64 => return None,
        };
        let [low, high, above] =
            [".low", ".high", ".above"].map(|what| super::free(&self.folded.types, output, what));
        for (name, end) in [(&low, least), (&high, most)] {
            let bound = Tensor::from_f64s(element, &[], &[(end - zero) * scale]);
            self.constants.push(bound.to_proto(name));
        }
        let bounded = [
            NodeProto::operator("Max", vec![real.to_owned(), low], &above, Vec::new()),
            NodeProto::operator("Min", vec![above.clone(), high], output, Vec::new()),
        ];
        self.nodes.extend(bounded);
        let steps = Steps::Of { scale, zero, real: element };
        self.integers.insert(output.to_owned(), steps);
        Some(())
    }

    fn by_own_range(&mut self, node: &NodeProto) -> Option<()> {
        let real = node.input_name(0)?;
        let [integers, scale, zero] = [0, 1, 2].map(|at| node.output_name(at).to_owned());
        self.nodes.push(NodeProto::operator(
            "Identity",
            vec![real.to_owned()],
            &integers,
            Vec::new(),
        ));
        self.own.extend([scale.clone(), zero.clone()]);
        let real = self.element(real)?;
        self.integers.insert(integers, Steps::Own { scale, zero, real });
        Some(())
    }

    fn dequantises(&mut self, node: &NodeProto, steps: &Steps) -> Option<()> {
        let (scale, zero) = (node.input_name(1)?, node.input_name(2));
        let (same, from) = match steps {
            Steps::Own { scale: by, zero: from, real } => (by == scale && zero == Some(from), real),
            Steps::Of { scale: by, zero: from, real } => {
                let zero = zero.map_or(Some(&0.0), |zero| self.single.get(zero));
                (self.single.get(scale) == Some(by) && zero == Some(from), real)
            }
        };
        if !same || self.element(node.output_name(0)) != Some(*from) {
            return None;
        }
        let input = vec![node.input_name(0)?.to_owned()];
        self.nodes.push(NodeProto::operator("Identity", input, node.output_name(0), Vec::new()));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Builder, Data, TensorType};

    fn operators(model: &Model) -> Vec<&str> {
        model.graph().node.iter().map(NodeProto::op_type).collect()
    }

    /// `x` quantised by one scale, moved, and dequantised by a scale.
    fn pair(by: f32) -> Folded {
        let mut b = Builder::new(13);
        let x = b.input("x", TensorType::f32(&[2, 3]));
        let (scale, other) = (b.scalar(0.1), b.initializer("by", &Tensor::f32(&[], &[by])));
        let zero = b.initializer("zero", &Tensor::new(&[], Data::I8(vec![28])));
        let q = b.op("QuantizeLinear", &[&x, &scale, &zero], &[]).unwrap();
        let q = b.op("Transpose", &[&q], &[]).unwrap();
        let y = b.op("DequantizeLinear", &[&q, &other, &zero], &[]).unwrap();
        let y = b.op("Relu", &[&y], &[]).unwrap();
        b.output("y", &y);
        b.finish()
    }

    #[test]
    fn a_pair_becomes_its_bounds_and_what_it_moves_between_stays() {
        let folded = pair(0.1);
        let model = in_floats(&folded).unwrap();
        assert_eq!(operators(&model), ["Max", "Min", "Transpose", "Identity", "Relu", "Identity"]);
        let bounds: Vec<f64> = model
            .graph()
            .initializer
            .iter()
            .flat_map(|stored| Tensor::from_proto(stored).unwrap().to_f64s())
            .collect();
        let want = [(-128.0 - 28.0) * 0.1, (127.0 - 28.0) * 0.1];
        assert_eq!(bounds.len(), 2, "scales are read no more");
        assert!(bounds.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{bounds:?}");
    }

    #[test]
    fn integers_that_stand_for_something_else_behind_are_left() {
        assert!(in_floats(&pair(0.2)).is_none());
        let mut b = Builder::new(13);
        let x = b.input("x", TensorType::f32(&[2, 3]));
        b.output("y", &x);
        assert!(in_floats(&b.finish()).is_none(), "nothing is quantised");
    }
}
