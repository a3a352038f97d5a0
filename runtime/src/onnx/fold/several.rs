//! Every node that stands in the way, named at once: one that is refused hides none that does not read from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{FoldWhy, Folder};
use crate::onnx::proto::NodeProto;

/// A node whose values differ from run to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Its operator.
    pub operator: String,
    /// Its name, or its first output.
    pub node: String,
}

impl Drawing {
    pub(crate) fn of(node: &NodeProto) -> Drawing {
        Drawing { operator: node.op_type().to_owned(), node: node.label().to_owned() }
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} node `{}`", self.operator, self.node)
    }
}

/// Whether the values of a node differ from run to run. `is_off`: whether the tensor of this name says that a Dropout does not
/// train.
pub(crate) fn draws(node: &NodeProto, is_off: impl Fn(&str) -> bool) -> bool {
    let drawn = ["Bernoulli", "Multinomial"].iter().any(|op| node.is(op));
    let dropped = node.is("Dropout") && node.input_name(2).is_some_and(|name| !is_off(name));
    drawn || dropped || node.op_type().starts_with("Random")
}

/// One line for each node, as the rest of a sentence.
pub(super) fn lines(nodes: &[FoldWhy], drawing: &[Drawing]) -> String {
    let drawing = drawing.iter().map(|node| {
        format!(
            "\n  {node} gives other values at every run: export the model for inference, or make what it draws an input"
        )
    });
    nodes.iter().map(|why| format!("\n  {why}")).chain(drawing).collect()
}

/// The nodes that cannot be folded, while the others are.
pub(super) struct Refused<'m> {
    why: Vec<FoldWhy>,
    /// Why nodes are refused before they are folded, by the first thing that each gives.
    before: BTreeMap<String, FoldWhy>,
    /// What they would have given, and what is made of that: nothing can be said of it.
    unknown: BTreeSet<&'m str>,
    /// What they read, and the nodes behind them.
    read: BTreeSet<&'m str>,
    /// The nodes behind them that draw.
    drawing: Vec<Drawing>,
}

impl<'m> Refused<'m> {
    /// `before`: why nodes are refused already, by the first thing that each gives.
    pub(super) fn new(before: BTreeMap<String, FoldWhy>) -> Self {
        let (unknown, read) = (BTreeSet::new(), BTreeSet::new());
        Refused { why: Vec::new(), before, unknown, read, drawing: Vec::new() }
    }

    /// Folds a node of the source, unless it reads what nothing is known of.
    pub(super) fn take(&mut self, folder: &mut Folder<'_>, node: &'m NodeProto) {
        let names: Vec<&str> = node.names_read().collect();
        if let Some(why) = self.before.remove(node.first_output()) {
            self.why.push(why);
        } else if names.iter().any(|name| self.unknown.contains(name)) {
            if draws(node, |name| folder.is_false(name)) {
                self.drawing.push(Drawing::of(node));
            }
        } else {
            match folder.node(node) {
                Ok(()) => return,
                Err(why) => self.why.push(why),
            }
        }
        self.read.extend(names);
        self.unknown.extend(node.output.iter().map(String::as_str));
    }

    /// Why the graph cannot be folded, if it cannot.
    pub(super) fn why(mut self, folder: &mut Folder<'_>) -> Option<FoldWhy> {
        if self.why.is_empty() {
            return None;
        }
        // What draws and is read by no node that is left stands in nobody's way.
        let called = |name: &&str| folder.alias.get(*name).map_or(*name, String::as_str).to_owned();
        let read = self.read.iter().map(called).collect();
        folder.sweep_but(read);
        let folded = folder.nodes.iter().filter(|node| draws(node, |name| folder.is_false(name)));
        let mut drawing: Vec<Drawing> = folded.map(Drawing::of).collect();
        drawing.append(&mut self.drawing);
        if self.why.len() == 1 && drawing.is_empty() {
            return self.why.pop();
        }
        Some(FoldWhy::Several { nodes: self.why, drawing })
    }
}
