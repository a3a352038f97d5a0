//! Values that a model keeps in files beside it (ONNX's external data).
//!
//! They are read when the model is: what is written again is one file up to 2 GiB, beyond that two. A place outside the model's folder is refused,
//! by its name and by where links lead.
//! # Source
//! ONNX `ExternalData.md`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use super::tensor::Tensor;

/// The most that a model and the files beside it may have, in bytes: what a large computer holds in memory.
pub const ALL_BYTES_MAX: u64 = 1 << 36;

/// Why values in another file are not read. The files are untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    #[error("tensor `{tensor}` keeps its values in another file and does not say in which")]
    NoLocation { tensor: String },
    #[error(
        "tensor `{tensor}` keeps its values in `{location}`, which is outside the model's folder"
    )]
    Outside { tensor: String, location: String },
    #[error("tensor `{tensor}` keeps its values in {}, which cannot be read", file.display())]
    Io {
        tensor: String,
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("tensor `{tensor}`: `{key}` of its place in another file is `{value}`, not a number")]
    Number { tensor: String, key: &'static str, value: String },
    #[error(
        "tensor `{tensor}` keeps {length} bytes at {offset} of {}, which has {bytes}: it is truncated, or of another model",
        file.display()
    )]
    Truncated { tensor: String, file: PathBuf, offset: u64, length: u64, bytes: u64 },
    #[error(
        "the model and the files beside it have more than {ALL_BYTES_MAX} bytes (at `{tensor}`)"
    )]
    TooLarge { tensor: String },
}

/// The files beside one model, each read once.
struct Files<'m> {
    folder: &'m Path,
    read: BTreeMap<PathBuf, Bytes>,
    bytes_left: u64,
}

/// Puts the values of every tensor that keeps them in another file into the model. Whether there was one.
///
/// # Errors
/// [`ExternalError`] names the tensor and the file.
pub(super) fn gather(
    proto: &mut ModelProto,
    file: &Path,
    bytes: u64,
) -> Result<bool, ExternalError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let bytes_left = ALL_BYTES_MAX.saturating_sub(bytes);
    let mut files = Files { folder, read: BTreeMap::new(), bytes_left };
    if let Some(graph) = &mut proto.graph {
        files.graph(graph)?;
    }
    for function in &mut proto.functions {
        files.nodes(&mut function.node)?;
    }
    Ok(!files.read.is_empty())
}

impl Files<'_> {
    /// How deep graphs nest was bounded when the file was read.
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), ExternalError> {
        graph.initializer.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
        self.nodes(&mut graph.node)
    }

    fn nodes(&mut self, nodes: &mut [NodeProto]) -> Result<(), ExternalError> {
        for attribute in nodes.iter_mut().flat_map(|node| &mut node.attribute) {
            let tensors = attribute.t.as_deref_mut().into_iter().chain(&mut attribute.tensors);
            for tensor in tensors {
                self.tensor(tensor)?;
            }
            for graph in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
                self.graph(graph)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<(), ExternalError> {
        if tensor.data_location() != 1 {
            return Ok(());
        }
        let name = tensor.name().to_owned();
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key);
        let number = |key: &'static str| match entry(key).map(|e| e.value()) {
            None => Ok(None),
            Some(value) => value.parse::<u64>().map(Some).map_err(|_| ExternalError::Number {
                tensor: name.clone(),
                key,
                value: value.to_owned(),
            }),
        };
        let location = entry("location").map(|e| e.value().to_owned());
        let location =
            location.ok_or_else(|| ExternalError::NoLocation { tensor: name.clone() })?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let (file, all) = self.file(&name, &location)?;
        let bytes = all.len() as u64;
        let rest = bytes.saturating_sub(offset);
        // Without a length the values end where their type says, or with the file.
        let typed = Tensor::stored_bytes(tensor).map(|bytes| bytes as u64);
        let length = length.or(typed).unwrap_or(rest);
        if length > rest {
            return Err(ExternalError::Truncated { tensor: name, file, offset, length, bytes });
        }
        let start = usize::try_from(offset.min(bytes)).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        tensor.raw_data = Some(all.slice(start..end.min(all.len())));
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }

    fn file(&mut self, tensor: &str, location: &str) -> Result<(PathBuf, Bytes), ExternalError> {
        let tensor = || tensor.to_owned();
        let outside = || ExternalError::Outside { tensor: tensor(), location: location.to_owned() };
        let mut parts = Path::new(location).components();
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !parts.all(inside) {
            return Err(outside());
        }
        let file = self.folder.join(location);
        if let Some(bytes) = self.read.get(&file) {
            return Ok((file, bytes.clone()));
        }
        let io = |source| ExternalError::Io { tensor: tensor(), file: file.clone(), source };
        let real = file.canonicalize().map_err(io)?;
        if !real.starts_with(self.folder.canonicalize().map_err(io)?) {
            return Err(outside());
        }
        let bytes = std::fs::metadata(&real).map_err(io)?.len();
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or_else(|| ExternalError::TooLarge { tensor: tensor() })?;
        let read = Bytes::from(std::fs::read(&real).map_err(io)?);
        self.read.insert(file.clone(), read.clone());
        Ok((file, read))
    }
}
