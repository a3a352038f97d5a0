//! Several adapters in one run: a graph whose factors have an axis of adapters in front.
//!
//! What depends on no factor is computed once; what does is computed for K adapters at once. The walk is that of a
//! vectorising transformation: every tensor that depends on a factor stands for K tensors of its own shape, and every operator
//! is written so that its K runs become one.
//!
//! | operator | how K become one |
//! |---|---|
//! | elementwise, `Where`, `Cast` | on all K at once; what does not depend on a factor is broadcast |
//! | `Conv`, pooling, normalisation of a sample, softmax, … | K more samples of the batch |
//! | `MatMul`, `Gemm` whose weight is a factor | batched `MatMul` `[K, rows, in]`·`[K, in, out]` |
//! | `Conv`, `ConvTranspose` whose weight is a factor | K times the channels of one `Conv`, or its K groups; 1×1: batched `MatMul` |
//! | `Reshape`, `Transpose`, `Expand`, `Tile`, `Concat`, … | the same with the axis of adapters before the others |
//! | anything else, and what mixes samples of a batch | K nodes, one an adapter: never wrong, and never faster |
//!
//! # Source
//! Serving many adapters by batched factors: S-LoRA (arXiv 2311.03285), Punica (arXiv 2310.18547).

mod product;
mod rules;
mod stack;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::adapter::Layout;
use crate::engine::{EngineError, Session};
use crate::graft::Grafted;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Builder, Folded, InferError, TensorType, Value, prune};

use stack::Stack;

/// The most adapters of one graph.
pub const MANY_MAX: usize = 256;

/// What the names of new tensors begin with.
const MANY: &str = "many.";

/// A graph that runs K adapters at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Many {
    /// The graph. Inputs that are stacked are `[K, …]`; an output that depends on one is `[K·d0, …]`, adapter after adapter
    /// (`[K]` if it has rank 0); everything else is as it was.
    pub folded: Folded,
    /// K.
    pub count: NonZeroUsize,
    /// The outputs that depend on no stacked input: one for all adapters.
    pub shared_outputs: Vec<String>,
    /// Nodes that are computed once for all adapters.
    pub shared_nodes: usize,
    /// Nodes that are run K times, one an adapter.
    pub single_nodes: Vec<String>,
}

/// Why a graph cannot run several adapters at once.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManyError {
    #[error("{count} adapters at once: 1 to {MANY_MAX} can be")]
    Count { count: usize },
    #[error("the graph has no input `{input}`")]
    NoInput { input: String },
    #[error("{operator} node `{node}` draws numbers: K at once would draw others")]
    Random { operator: String, node: String },
    #[error("{operator} node `{node}` would become {got} for all adapters, {want} was expected")]
    Shape { operator: String, node: String, got: String, want: String },
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// The graph of a grafted model for `count` adapters at once: its factors are stacked.
///
/// # Errors
/// As [`many`].
pub fn many_adapters(grafted: &Grafted, count: NonZeroUsize) -> Result<Many, ManyError> {
    let factors: Vec<&str> = grafted.layout.factors().map(|f| f.input.as_str()).collect();
    many(&grafted.folded, &factors, count)
}

/// The graph that computes what `folded` does for `count` values of each input in `stacked`, in one run.
///
/// # Errors
/// [`ManyError`] if an input is not there, the count is too large, or a node that draws random numbers depends on one.
pub fn many(folded: &Folded, stacked: &[&str], count: NonZeroUsize) -> Result<Many, ManyError> {
    if count.get() > MANY_MAX {
        return Err(ManyError::Count { count: count.get() });
    }
    let mut rest = folded.clone();
    rest.model.graph_mut().input.retain(|i| !stacked.contains(&i.name()));
    rest.types.retain(|name, _| !stacked.contains(&name.as_str()));
    let mut walk = Walk {
        builder: Builder::before(&rest, MANY),
        types: &folded.types,
        count: count.get(),
        stacks: BTreeMap::new(),
        renamed: BTreeMap::new(),
        reshaped: BTreeMap::new(),
        single: Vec::new(),
    };
    for &input in stacked {
        let is_input = folded.model.graph().input.iter().any(|i| i.name() == input);
        let ty = folded.types.get(input).filter(|_| is_input);
        let ty = ty.ok_or_else(|| ManyError::NoInput { input: input.to_owned() })?;
        let dims: Vec<usize> = std::iter::once(walk.count).chain(ty.dims.iter().copied()).collect();
        let value = walk.builder.input(input, TensorType::new(ty.element, &dims));
        walk.stacks.insert(input.to_owned(), Stack::lifted(&ty.dims, value));
    }
    let mut shared_nodes = 0;
    for node in &folded.model.graph().node {
        if node.input.iter().any(|name| walk.stacks.contains_key(name)) {
            walk.node(node)?;
        } else {
            walk.builder.node(node.clone())?;
            shared_nodes += 1;
        }
    }
    let mut shared_outputs = Vec::new();
    for output in &folded.model.graph().output {
        let name = output.name();
        let value = if walk.stacks.contains_key(name) {
            walk.merged(name)?
        } else {
            shared_outputs.push(name.to_owned());
            Value::named(name)
        };
        // A stacked input that is an output as well keeps its name, and so is one already.
        walk.builder.output(name, &value);
    }
    let single_nodes = walk.single;
    let folded = prune(walk.builder.finish());
    Ok(Many { folded, count, shared_outputs, shared_nodes, single_nodes })
}

/// A graph on its way to K adapters.
struct Walk<'f> {
    builder: Builder,
    /// Types in the graph for one adapter.
    types: &'f BTreeMap<String, TensorType>,
    /// K.
    count: usize,
    /// The tensors that depend on a stacked input, by name.
    stacks: BTreeMap<String, Stack>,
    /// What a tensor is the same values of, in other dimensions.
    renamed: BTreeMap<Value, Value>,
    /// What was given other dimensions already.
    reshaped: BTreeMap<(Value, Vec<usize>), Value>,
    /// Nodes that run once an adapter.
    single: Vec<String>,
}

impl Walk<'_> {
    /// The dimensions that a tensor has in the graph for one adapter.
    fn dims(&self, name: &str) -> &[usize] {
        self.types.get(name).map_or(&[], |ty| &ty.dims)
    }

    fn is_stacked(&self, name: &str) -> bool {
        self.stacks.contains_key(name)
    }

    /// Appends a node like this one with other inputs; its outputs get new names.
    fn again(&mut self, node: &NodeProto, inputs: Vec<String>) -> Result<Vec<Value>, ManyError> {
        let output = node.output.iter().map(|name| match name.as_str() {
            "" => String::new(),
            _ => {
                let here = self.builder.fresh(node.op_type());
                self.builder.declare(node, &here, self.types.get(name));
                here
            }
        });
        let output: Vec<String> = output.collect();
        let name = self.builder.fresh(node.op_type());
        let again = NodeProto {
            name: Some(name),
            input: inputs,
            output,
            doc_string: None,
            metadata_props: Vec::new(),
            ..node.clone()
        };
        Ok(self.builder.node(again)?)
    }
}

/// Adapters written into a session of a [`Many`]: the buffers are made once.
#[derive(Clone, Debug)]
pub struct ManyFactors {
    /// By factor, in flat order: its input, its values.
    ports: Vec<(usize, std::ops::Range<usize>)>,
    count: usize,
    values: Vec<f32>,
}

impl ManyFactors {
    /// Finds the factors of a layout in a session.
    ///
    /// # Errors
    /// [`EngineError::NoSuchTensor`] if the session has not one of them.
    pub fn new(
        session: &dyn Session,
        layout: &Layout,
        count: NonZeroUsize,
    ) -> Result<Self, EngineError> {
        let port = |factor: &crate::adapter::Factor| {
            Ok((session.input_index(&factor.input)?, factor.range.clone()))
        };
        let ports = layout.factors().map(port).collect::<Result<Vec<_>, EngineError>>()?;
        let longest = ports.iter().map(|(_, range)| range.len()).max().unwrap_or(0);
        Ok(ManyFactors {
            ports,
            count: count.get(),
            values: Vec::with_capacity(longest * count.get()),
        })
    }

    /// Writes adapters, each a flat run of values in the layout's order; the last one also fills the places that are left.
    ///
    /// # Errors
    /// [`EngineError::WrongLength`] if a run is not one of the layout.
    /// # Panics
    /// If there is no adapter, or there are more than K.
    pub fn write(
        &mut self,
        session: &mut dyn Session,
        adapters: &[&[f32]],
    ) -> Result<(), EngineError> {
        assert!((1..=self.count).contains(&adapters.len()), "1 to {} adapters", self.count);
        for (port, range) in &self.ports {
            self.values.clear();
            for place in 0..self.count {
                let adapter = adapters[place.min(adapters.len() - 1)];
                self.values.extend(adapter.get(range.clone()).unwrap_or(&[]));
            }
            session.write_f32(*port, &self.values)?;
        }
        Ok(())
    }
}
