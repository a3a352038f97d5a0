//! One trait for whatever runs a model.
//!
//! A session is bound once: every input and output has one buffer for the life of the session, of
//! the shape the graph declares. A run then reads and writes in place; nothing is allocated, named
//! or looked up per frame.
//!
//! ```text
//! engine.load(model, options) ─► session ─ write_* / input_f32 ─► run ─► output_*
//!                                    ▲                               │
//!                                    └──── copy_output_to_input ◄────┘
//! ```
//!
//! Devices: a port says where its buffer lives ([`Place`]). Inputs on a device are written through
//! `write_*` only; outputs come back to the host in `run` unless they were asked to stay
//! ([`LoadOptions::resident`]).

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::onnx::{Element, Model, Tensor, TensorType, WriteError};

use plain::bytes_of;

#[cfg(feature = "ort")]
pub mod ort;
mod plain;
mod ports;
mod provider;
pub mod testing;

pub use ports::ports;
pub use provider::{OrderError, Provider, Providers};

/// Loads models.
pub trait Engine: Send + Sync {
    /// Name, version and the provider asked for: `ort-1.31.1/cpu`, `tract-0.23.9/cpu`.
    fn describe(&self) -> String;

    /// Prepares a model for running and binds a buffer to each of its inputs and outputs.
    ///
    /// # Errors
    /// Any [`EngineError`] that is not about one run: the model cannot be written or has open
    /// dimensions, the engine does not know an operator, the provider asked for is not there or
    /// did not get every node.
    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError>;

    /// Whether what is trained stays with the engine's sessions, whose memory is not the host's.
    fn trains_on_device(&self) -> bool {
        false
    }

    /// Where this engine keeps what it builds of a model that is loaded so; `None` of one that builds nothing worth keeping.
    ///
    /// # Errors
    /// [`EngineError::Write`].
    fn kept(&self, _model: &Model, _options: &LoadOptions) -> Result<Option<Kept>, EngineError> {
        Ok(None)
    }
}

/// What an engine builds of a model, in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The folder.
    pub folder: PathBuf,
    /// Whether it was built: else loading builds it, which may take minutes.
    pub is_there: bool,
}

/// A model ready to run, with its buffers.
///
/// # Panics
/// Every method with an index panics when the index is not one of [`Session::inputs`] or
/// [`Session::outputs`].
pub trait Session: Send {
    /// The inputs, in the order of the graph.
    fn inputs(&self) -> &[TensorPort];

    /// The outputs, in the order of the graph.
    fn outputs(&self) -> &[TensorPort];

    /// Overwrites an input with raw values: little-endian, row-major, of type `element`.
    ///
    /// # Errors
    /// [`EngineError::WrongElement`], [`EngineError::WrongLength`]: the buffer is then untouched.
    fn write_bytes(
        &mut self,
        input: usize,
        element: Element,
        bytes: &[u8],
    ) -> Result<(), EngineError>;

    /// Overwrites an f32 input, row-major.
    ///
    /// # Errors
    /// As for [`Session::write_bytes`].
    fn write_f32(&mut self, input: usize, values: &[f32]) -> Result<(), EngineError> {
        self.write_bytes(input, Element::F32, bytes_of(values))
    }

    /// Overwrites an i64 input, row-major.
    ///
    /// # Errors
    /// As for [`Session::write_bytes`].
    fn write_i64(&mut self, input: usize, values: &[i64]) -> Result<(), EngineError> {
        self.write_bytes(input, Element::I64, bytes_of(values))
    }

    /// The buffer of an f32 input, to fill in place without a copy; `None` when it is not f32 or
    /// lives on a device (then [`Session::write_f32`] is the way).
    fn input_f32(&mut self, input: usize) -> Option<&mut [f32]>;

    /// Runs the model on what the inputs hold. Returns when every output holds its values.
    ///
    /// # Errors
    /// [`EngineError::Run`] with the engine's own words; outputs are then unspecified.
    fn run(&mut self) -> Result<(), EngineError>;

    /// The raw values of an output: little-endian, row-major. Before the first run: zeros.
    ///
    /// # Errors
    /// [`EngineError::Resident`] when the output was asked to stay on the device.
    fn output_bytes(&self, output: usize) -> Result<&[u8], EngineError>;

    /// The values of an f32 output, row-major.
    ///
    /// # Errors
    /// [`EngineError::WrongElement`] when it is of another type; as for [`Session::output_bytes`].
    fn output_f32(&self, output: usize) -> Result<&[f32], EngineError>;

    /// The values of an i64 output, row-major.
    ///
    /// # Errors
    /// As for [`Session::output_f32`].
    fn output_i64(&self, output: usize) -> Result<&[i64], EngineError>;

    /// Copies an output of the last run into an input, on the device when both live there.
    ///
    /// # Errors
    /// [`EngineError::NotAlike`] when their types or shapes differ.
    fn copy_output_to_input(&mut self, output: usize, input: usize) -> Result<(), EngineError>;

    /// Copies the values of an f32 output here, from the device if it stays there.
    ///
    /// # Errors
    /// [`EngineError::WrongElement`], [`EngineError::WrongLength`]; [`EngineError::Run`] where the device does not give them.
    fn fetch_f32(&mut self, output: usize, into: &mut [f32]) -> Result<(), EngineError> {
        EngineError::check(&self.outputs()[output], Element::F32, size_of_val(into))?;
        into.copy_from_slice(self.output_f32(output)?);
        Ok(())
    }

    /// What was read back from the engine after loading: which provider got which node.
    fn proven(&self) -> &Placement;
}

impl dyn Session + '_ {
    /// The index of the input called `name`.
    ///
    /// # Errors
    /// [`EngineError::NoSuchTensor`], which lists the inputs there are.
    pub fn input_index(&self, name: &str) -> Result<usize, EngineError> {
        index(self.inputs(), "input", name)
    }

    /// The index of the output called `name`.
    ///
    /// # Errors
    /// [`EngineError::NoSuchTensor`], which lists the outputs there are.
    pub fn output_index(&self, name: &str) -> Result<usize, EngineError> {
        index(self.outputs(), "output", name)
    }

    /// Overwrites an input with a tensor of exactly its type and shape.
    ///
    /// # Errors
    /// [`EngineError::WrongElement`], [`EngineError::WrongShape`]: the buffer is then untouched.
    pub fn write(&mut self, input: usize, tensor: &Tensor) -> Result<(), EngineError> {
        let port = &self.inputs()[input];
        let (want, got) = (&port.ty, tensor.ty());
        if want.element == got.element && want.dims != got.dims {
            return Err(EngineError::WrongShape {
                tensor: port.name.clone(),
                want: want.dims.clone(),
                got: got.dims.clone(),
            });
        }
        self.write_bytes(input, got.element, &tensor.to_le_bytes())
    }
}

fn index(ports: &[TensorPort], side: &'static str, name: &str) -> Result<usize, EngineError> {
    ports.iter().position(|port| port.name == name).ok_or_else(|| EngineError::NoSuchTensor {
        side,
        name: name.to_owned(),
        have: ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// One input or output of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPort {
    /// Name of the tensor in the graph.
    pub name: String,
    /// Element type and shape; every dimension is a number.
    pub ty: TensorType,
    /// Where the values live between runs.
    pub place: Place,
}

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory the program reads and writes itself.
    Host,
    /// In memory of the accelerator.
    Device,
}

/// How a model is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads that share the work of one operator, the calling thread among them.
    pub threads: NonZeroUsize,
    /// How much the engine may rewrite the graph.
    pub optimise: Optimise,
    /// Keep memory of past runs in an arena (faster) rather than give it back (smaller).
    pub arena: bool,
    /// Plan one block for all activations from the second run on. A training graph then holds the
    /// block beside what the first run took: measured on the default world model, batch 8, twice
    /// the memory for 1 % of the time.
    pub memory_pattern: bool,
    /// Let idle worker threads of the engine burn a core while they wait for the next operator.
    pub spin: bool,
    /// Let the engine multiply quantised values as integers, where it can, rather than dequantise and quantise as the
    /// graph says: faster, and rounded otherwise.
    pub integers: bool,
    /// What to do about nodes that did not go to the provider asked for.
    pub elsewhere: Elsewhere,
    /// Outputs that stay on the device; they can only be copied into inputs. On an engine whose
    /// memory is the host's this changes nothing.
    pub resident: Vec<String>,
    /// Further settings in the engine's own words, applied last.
    pub entries: Vec<(String, String)>,
}

impl Default for LoadOptions {
    /// One thread, all optimisations, arena, nodes elsewhere refused.
    fn default() -> Self {
        Self {
            threads: NonZeroUsize::MIN,
            optimise: Optimise::All,
            arena: true,
            memory_pattern: true,
            spin: false,
            integers: true,
            elsewhere: Elsewhere::Refuse,
            resident: Vec::new(),
            entries: Vec::new(),
        }
    }
}

impl LoadOptions {
    /// The default, with the memory of one pass instead of two, and quantised values as the graph says.
    pub fn training(threads: NonZeroUsize) -> Self {
        Self { threads, memory_pattern: false, integers: false, ..Self::default() }
    }
}

/// How much an engine may rewrite a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimise {
    /// Runs the nodes as they are written.
    No,
    /// Folds constants and drops what is redundant.
    Basic,
    /// Everything the engine has, fusions and layouts of this machine included.
    All,
}

/// What to do about nodes that did not go to the provider asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Loading fails and names them.
    Refuse,
    /// Loading succeeds and [`Session::proven`] names them; not one node on the provider asked for
    /// is still an error.
    Report,
}

/// Which provider got which node, as the engine itself reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The nodes that were left after folding, in the engine's order.
    pub nodes: Vec<PlacedNode>,
    /// Whether the accelerator replays its first run as one CUDA graph.
    pub replays: bool,
}

/// A node and its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedNode {
    /// Name of the node; the engine's own for those it made.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// The provider that runs it, in the engine's words: `CPUExecutionProvider`.
    pub provider: String,
}

impl Placement {
    /// Number of nodes per provider.
    pub fn count_by_provider(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for node in &self.nodes {
            *count.entry(node.provider.as_str()).or_insert(0) += 1;
        }
        count
    }
}

/// A node that stands in the way of loading a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedNode {
    /// Name of the node, or of its first output when it has none.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why, or where it went.
    pub reason: String,
}

/// Why a model could not be loaded, fed, run or read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model cannot be put into the bytes an engine reads.
    #[error("the model cannot be handed to the engine")]
    Write(#[source] WriteError),
    /// The engine refuses the model as a whole.
    #[error("{engine} cannot load the model: {reason}")]
    Load { engine: String, reason: String },
    /// The engine cannot run these nodes.
    #[error("{engine} cannot run {} of the model: {}", count(nodes), list(nodes))]
    Nodes { engine: String, nodes: Vec<RefusedNode> },
    /// An input or output has a dimension without a number, so no buffer can be bound.
    #[error("`{tensor}` has the open shape [{dims}]: pin the model first")]
    OpenShape { tensor: String, dims: String },
    /// An input or output is of a type that has no buffer here.
    #[error("`{tensor}` is of type {got}, which sessions do not bind")]
    UnsupportedElement { tensor: String, got: String },
    /// The provider asked for is not in this build of the engine or not on this machine.
    #[error("{provider} was asked for and is not there: {reason}")]
    ProviderAbsent { provider: String, reason: String },
    /// The provider is there and did not take these nodes.
    #[error("{provider} was asked for and did not take {}: {}", count(nodes), list(nodes))]
    Elsewhere { provider: String, nodes: Vec<RefusedNode> },
    /// No input or output of that name.
    #[error("no {side} `{name}`; there are: {have}")]
    NoSuchTensor { side: &'static str, name: String, have: String },
    /// Values of another type than the tensor's.
    #[error("`{tensor}` is {want}, not {got}")]
    WrongElement { tensor: String, want: Element, got: Element },
    /// More or fewer values than the tensor's shape has.
    #[error("`{tensor}` has shape {dims:?}: {want} values, not {got}")]
    WrongLength { tensor: String, dims: Vec<usize>, want: usize, got: usize },
    /// A tensor of another shape.
    #[error("`{tensor}` has shape {want:?}, not {got:?}")]
    WrongShape { tensor: String, want: Vec<usize>, got: Vec<usize> },
    /// Two tensors that cannot be copied into each other.
    #[error("output `{output}` ({from}) cannot be copied into input `{input}` ({to})")]
    NotAlike { output: String, from: TensorType, input: String, to: TensorType },
    /// The output stays on the device.
    #[error("output `{tensor}` was asked to stay on the device and cannot be read")]
    Resident { tensor: String },
    /// The engine failed while running.
    #[error("{engine} failed to run the model: {reason}")]
    Run { engine: String, reason: String },
}

/// How many refused nodes an error lists by name.
const NODES_LISTED_MAX: usize = 8;

fn count(nodes: &[RefusedNode]) -> String {
    if nodes.len() == 1 { "one node".to_owned() } else { format!("{} nodes", nodes.len()) }
}

fn list(nodes: &[RefusedNode]) -> String {
    let mut text = String::new();
    for node in nodes.iter().take(NODES_LISTED_MAX) {
        let separator = if text.is_empty() { "" } else { "; " };
        text += &format!("{separator}{} `{}` ({})", node.operator, node.node, node.reason);
    }
    if nodes.len() > NODES_LISTED_MAX {
        text += &format!("; and {} more", nodes.len() - NODES_LISTED_MAX);
    }
    text
}

impl EngineError {
    /// Checks raw values against a port; the one place where both errors are made.
    pub fn check(port: &TensorPort, element: Element, bytes: usize) -> Result<(), Self> {
        if port.ty.element != element {
            return Err(Self::WrongElement {
                tensor: port.name.clone(),
                want: port.ty.element,
                got: element,
            });
        }
        let want = port.ty.values();
        let got = bytes / element.bytes();
        if want != got || !bytes.is_multiple_of(element.bytes()) {
            return Err(Self::WrongLength {
                tensor: port.name.clone(),
                dims: port.ty.dims.clone(),
                want,
                got,
            });
        }
        Ok(())
    }
}
