//! A model file: read, checked, and written again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::external::ExternalError;
use super::proto::{GraphProto, IR_VERSION_MAX, ModelProto, OperatorSetIdProto, TensorProto};
use super::tensor::{Element, Tensor, TensorError, TensorType};
use super::wire::{self, DEPTH_MAX, FIELDS_MAX, Malformed};
use super::write;

/// The largest file that is read: protobuf's own limit.
pub const MODEL_BYTES_MAX: u64 = 1 << 31;
/// The oldest IR version that is read: the first with operator sets.
pub const IR_VERSION_MIN: i64 = 3;
/// The newest version of the standard operators whose meanings are known here.
pub const OPSET_MAX: i64 = 28;

/// What a file begins with that stands for one that git-lfs keeps elsewhere.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// An ONNX model.
///
/// What is read from a file and written unchanged keeps its bytes. Values of tensors are not copied: they
/// share the bytes of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The messages of the file.
    pub proto: ModelProto,
    /// The bytes it was read from.
    source: Option<Bytes>,
    /// The path of the first field that the schema does not know.
    unknown: Option<String>,
    /// The file it was read from.
    origin: Option<PathBuf>,
}

/// A model whose every tensor has a static type; the result of folding, and what graphs are built into.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The graph: standard operators in topological order, constants as initializers.
    pub model: Model,
    /// The type of every tensor: inputs, initializers and outputs of nodes, by name.
    pub types: BTreeMap<String, TensorType>,
    /// The initializers of float32 that the file stores, or makes of what it stores, in bfloat16.
    pub halves: BTreeSet<String>,
}

impl Folded {
    /// An initializer as the file has it: one of bfloat16 is read as float32, which has each of its values.
    ///
    /// # Errors
    /// [`TensorError`] if its values do not fill it.
    pub(crate) fn as_stored<'t>(
        &self,
        tensor: &'t TensorProto,
    ) -> Result<Cow<'t, TensorProto>, TensorError> {
        if !self.halves.contains(tensor.name()) {
            return Ok(Cow::Borrowed(tensor));
        }
        let wide = Tensor::from_proto(tensor)?;
        let half = Tensor::from_f64s(Element::Bf16, &wide.dims, &wide.to_f64s());
        Ok(Cow::Owned(half.to_proto(tensor.name())))
    }
}

/// An initializer that is not in the message of its model.
#[derive(Clone, Debug)]
pub(crate) struct Apart {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) ty: TensorType,
    /// Its values, little-endian and row-major: as many bytes as the type has.
    pub(crate) values: Bytes,
}

/// Why a model cannot be read. The file is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {}", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} has {bytes} bytes, at most {MODEL_BYTES_MAX} are read", file.display())]
    TooLarge { file: PathBuf, bytes: u64 },
    #[error("{} is empty: it was not downloaded or not written to its end", file.display())]
    Empty { file: PathBuf },
    #[error(
        "{} is a pointer of git-lfs, which keeps the model elsewhere: `git lfs pull` fetches it",
        file.display()
    )]
    Pointer { file: PathBuf },
    #[error("{} ends inside `{field}`: it is truncated, or no ONNX model", file.display())]
    Truncated { file: PathBuf, field: String },
    #[error("{}: `{field}` is not what ONNX stores there: no ONNX model", file.display())]
    WireType { file: PathBuf, field: String },
    #[error("{}: `{field}` nests deeper than {DEPTH_MAX} messages", file.display())]
    TooDeep { file: PathBuf, field: String },
    #[error("{} has more than {FIELDS_MAX} messages and strings (at `{field}`)", file.display())]
    TooManyFields { file: PathBuf, field: String },
    #[error("cannot decode {}", file.display())]
    Decode {
        file: PathBuf,
        #[source]
        source: prost::DecodeError,
    },
    #[error("{} has IR version {got}; {IR_VERSION_MIN} to {IR_VERSION_MAX} are read", file.display())]
    IrVersion { file: PathBuf, got: i64 },
    #[error("{} uses operator set {got}; 1 to {OPSET_MAX} are read", file.display())]
    Opset { file: PathBuf, got: i64 },
    #[error("{} does not say which operator set it uses", file.display())]
    NoOpset { file: PathBuf },
    #[error("{} imports two versions of the standard operator set", file.display())]
    TwoOpsets { file: PathBuf },
    #[error("{} has no graph", file.display())]
    NoGraph { file: PathBuf },
    #[error("{}: {source}", file.display())]
    External { file: PathBuf, source: ExternalError },
}

/// Why a model is not written.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot write {}", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the model has the field `{field}`, which this version does not know and would lose: re-export it with an IR version up to {IR_VERSION_MAX}"
    )]
    UnknownField { field: String },
    #[error("the model would have {bytes} bytes, at most {MODEL_BYTES_MAX} fit one file")]
    TooLarge { bytes: u64 },
}

impl Model {
    /// Reads a model file.
    ///
    /// # Errors
    /// [`ReadError`] if the file cannot be read, is no ONNX model, or one of a version not known here.
    pub fn read(path: &Path) -> Result<Model, ReadError> {
        let io = |source| ReadError::Io { file: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes >= MODEL_BYTES_MAX {
            return Err(ReadError::TooLarge { file: path.to_owned(), bytes });
        }
        Model::parse(Bytes::from(std::fs::read(path).map_err(io)?), path)
    }

    /// Reads a model file, and the files beside it where it keeps values in them: what is written again is one file.
    ///
    /// What vouches for a model file (a hash, a signature) says nothing of the files beside it.
    ///
    /// # Errors
    /// As [`Model::read`]; [`ReadError::External`] names the tensor whose values cannot be had.
    pub fn read_with_data(path: &Path) -> Result<Model, ReadError> {
        let mut model = Model::read(path)?;
        let bytes = model.source.as_ref().map_or(0, Bytes::len) as u64;
        let gathered = super::external::gather(&mut model.proto, path, bytes)
            .map_err(|source| ReadError::External { file: path.to_owned(), source })?;
        if gathered {
            model.source = None;
        }
        Ok(model)
    }

    /// Reads a model from memory; errors call it `<bytes>`.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(bytes: Bytes) -> Result<Model, ReadError> {
        Model::parse(bytes, Path::new("<bytes>"))
    }

    /// The file that this model, or the one it was made of, was read from.
    pub fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    fn parse(bytes: Bytes, file: &Path) -> Result<Model, ReadError> {
        let file = || file.to_owned();
        if bytes.len() as u64 >= MODEL_BYTES_MAX {
            return Err(ReadError::TooLarge { file: file(), bytes: bytes.len() as u64 });
        }
        if bytes.is_empty() {
            return Err(ReadError::Empty { file: file() });
        }
        if bytes.starts_with(POINTER) {
            return Err(ReadError::Pointer { file: file() });
        }
        let unknown = wire::scan(&bytes, &wire::MODEL).map_err(|why| match why {
            Malformed::Truncated { path } => ReadError::Truncated { file: file(), field: path },
            Malformed::WireType { path } => ReadError::WireType { file: file(), field: path },
            Malformed::TooDeep { path } => ReadError::TooDeep { file: file(), field: path },
            Malformed::TooMany { path } => ReadError::TooManyFields { file: file(), field: path },
        })?;
        let proto = ModelProto::decode(bytes.clone())
            .map_err(|source| ReadError::Decode { file: file(), source })?;
        let got = proto.ir_version();
        if !(IR_VERSION_MIN..=IR_VERSION_MAX).contains(&got) {
            return Err(ReadError::IrVersion { file: file(), got });
        }
        let mut standard = proto.opset_import.iter().filter(|o| is_standard(o.domain()));
        let opset = standard.next().ok_or_else(|| ReadError::NoOpset { file: file() })?.version();
        // Tools that merge models say the same one again.
        if standard.any(|set| set.version() != opset) {
            return Err(ReadError::TwoOpsets { file: file() });
        }
        if !(1..=OPSET_MAX).contains(&opset) {
            return Err(ReadError::Opset { file: file(), got: opset });
        }
        if proto.graph.is_none() {
            return Err(ReadError::NoGraph { file: file() });
        }
        Ok(Model { proto, source: Some(bytes), unknown, origin: Some(file()) })
    }

    /// A model around a graph, in the given version of the standard operators.
    pub fn new(graph: GraphProto, opset: i64) -> Model {
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
        let proto = ModelProto {
            ir_version: Some(8),
            producer_name: Some("shoal".to_owned()),
            graph: Some(graph),
            opset_import: vec![opset],
            ..ModelProto::default()
        };
        Model { proto, source: None, unknown: None, origin: None }
    }

    /// The graph.
    pub fn graph(&self) -> &GraphProto {
        static EMPTY: GraphProto = GraphProto {
            node: Vec::new(),
            name: None,
            initializer: Vec::new(),
            doc_string: None,
            input: Vec::new(),
            output: Vec::new(),
            value_info: Vec::new(),
            quantization_annotation: Vec::new(),
            sparse_initializer: Vec::new(),
            metadata_props: Vec::new(),
        };
        self.proto.graph.as_ref().unwrap_or(&EMPTY)
    }

    /// The graph, to change.
    pub fn graph_mut(&mut self) -> &mut GraphProto {
        self.proto.graph.get_or_insert_default()
    }

    /// The version of the standard operators; 1 if the model names none.
    pub fn opset(&self) -> i64 {
        let standard = self.proto.opset_import.iter().find(|o| is_standard(o.domain()));
        standard.map_or(1, OperatorSetIdProto::version)
    }

    /// The path of the first field that the schema does not know: such a model is not written.
    pub fn unknown_field(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// The model as one file. A model that was read and not changed gives the bytes it was read from.
    ///
    /// # Errors
    /// [`WriteError::UnknownField`] if the file it came from has fields that would be lost;
    /// [`WriteError::TooLarge`] beyond the limit of protobuf.
    pub fn to_bytes(&self) -> Result<Bytes, WriteError> {
        let bytes = self.writable()?;
        if bytes >= MODEL_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes });
        }
        if let Some(source) = self.unchanged() {
            return Ok(source.clone());
        }
        let mut written = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        write::pieces(&self.proto).for_each(|piece| written.extend_from_slice(&piece));
        Ok(Bytes::from(written))
    }

    /// The model as one message whose initializers of `bytes_min` bytes or more are inputs, and these, which share its bytes: for
    /// who gives them by reference. What is stored in typed fields, or of an element that is not known here, stays in it.
    ///
    /// # Errors
    /// As [`Model::to_bytes`], of that message.
    pub(crate) fn to_bytes_apart(
        &self,
        bytes_min: usize,
    ) -> Result<(Bytes, Vec<Apart>), WriteError> {
        self.writable()?;
        let mut light = self.proto.clone();
        let mut apart = Vec::new();
        if let Some(graph) = &mut light.graph {
            let fed: BTreeSet<String> =
                graph.input.iter().map(|input| input.name().to_owned()).collect();
            let mut inputs = Vec::new();
            graph.initializer.retain(|tensor| {
                let Ok((ty, Some(values))) = Tensor::stored_raw(tensor) else { return true };
                if values.len() < bytes_min {
                    return true;
                }
                let name = tensor.name().to_owned();
                if !fed.contains(&name) {
                    inputs.push(ty.to_value_info(&name));
                }
                apart.push(Apart { name, ty, values: values.clone() });
                false
            });
            graph.input.extend(inputs);
        }
        let bytes = light.encoded_len() as u64;
        if bytes >= MODEL_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes });
        }
        Ok((Bytes::from(light.encode_to_vec()), apart))
    }

    /// The length of the model as one file, in bytes.
    ///
    /// # Errors
    /// [`WriteError::UnknownField`] if the file it came from has fields that would be lost.
    pub(crate) fn writable(&self) -> Result<u64, WriteError> {
        match &self.unknown {
            Some(field) => Err(WriteError::UnknownField { field: field.clone() }),
            None => Ok(self.proto.encoded_len() as u64),
        }
    }

    /// The bytes that the model was read from, if it is as it was.
    ///
    /// Some writers order or pack fields in their own way: unchanged, their bytes are kept as well. A file may hold a value that
    /// does not equal itself (NaN), so what differs is compared once more as it is written.
    fn unchanged(&self) -> Option<&Bytes> {
        let source = self.source.as_ref()?;
        let read = ModelProto::decode(source.clone()).ok()?;
        let same = read == self.proto
            || (read.encoded_len() == self.proto.encoded_len()
                && write::pieces(&read).eq(write::pieces(&self.proto)));
        same.then_some(source)
    }

    /// Writes the model to a file, whole or not at all (a temporary file beside it is renamed). What is too large for one file
    /// keeps its values in another beside it, as [`Model::write_beside`] says.
    ///
    /// # Errors
    /// [`WriteError::UnknownField`], [`WriteError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        if self.writable()? >= MODEL_BYTES_MAX {
            return self.write_beside(path);
        }
        let written = match self.unchanged() {
            Some(source) => crate::onnx::write_whole(path, source),
            None => write::whole(path, |file| {
                write::pieces(&self.proto).try_for_each(|piece| file.write_all(&piece))
            }),
        };
        written.map_err(|source| WriteError::Io { file: path.to_owned(), source })
    }

    /// Writes the model with the values of its larger initializers in a file beside it (ONNX's external data), called as the
    /// model with `.data` behind, or `.1.data` and so on where there is such a file. What held the values of the model that is replaced
    /// is removed last.
    /// [`Model::read_with_data`] reads both.
    ///
    /// # Errors
    /// As [`Model::write`].
    pub fn write_beside(&self, path: &Path) -> Result<(), WriteError> {
        self.writable()?;
        write::beside(&self.proto, path)
            .map_err(|source| WriteError::Io { file: path.to_owned(), source })
    }
}

/// What an error about a model begins with: its file, where it has one.
pub(crate) fn place(origin: Option<&Path>) -> String {
    origin.map_or_else(String::new, |file| format!("{}: ", file.display()))
}

/// Whether a domain is that of the standard operators.
pub(crate) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}
