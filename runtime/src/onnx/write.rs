//! Writing a model piece by piece, so that its values are never there twice.
//!
//! The pieces, one behind the other, are what protobuf makes of the messages; the values of an initializer are a piece that
//! shares its bytes. What no file of protobuf holds goes with its values in a file beside it (ONNX's external data).
//! # Source
//! Protocol Buffers, "Encoding"; ONNX `ExternalData.md`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};

/// Values of fewer bytes are a part of the piece around them, and stay in the model's file.
const SHARED_BYTES_MIN: usize = 1024;
/// Where values in a file beside begin: at multiples of this, so that engines can map them.
const ALIGNED: u64 = 4096;

/// The bytes of a model, in pieces.
pub(super) fn pieces(model: &ModelProto) -> impl Iterator<Item = Bytes> + '_ {
    let head = ModelProto {
        graph: None,
        opset_import: Vec::new(),
        metadata_props: Vec::new(),
        training_info: Vec::new(),
        functions: Vec::new(),
        configuration: Vec::new(),
        ..light(model)
    };
    let tail = ModelProto {
        ir_version: None,
        producer_name: None,
        producer_version: None,
        domain: None,
        model_version: None,
        doc_string: None,
        graph: None,
        ..light(model)
    };
    let graph = model.graph.iter().flat_map(graph_pieces);
    std::iter::once(encoded(&head)).chain(graph).chain(std::iter::once(encoded(&tail)))
}

/// A model without its graph.
fn light(model: &ModelProto) -> ModelProto {
    ModelProto {
        ir_version: model.ir_version,
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        domain: model.domain.clone(),
        model_version: model.model_version,
        doc_string: model.doc_string.clone(),
        graph: None,
        opset_import: model.opset_import.clone(),
        metadata_props: model.metadata_props.clone(),
        training_info: model.training_info.clone(),
        functions: model.functions.clone(),
        configuration: model.configuration.clone(),
    }
}

fn graph_pieces(graph: &GraphProto) -> impl Iterator<Item = Bytes> + '_ {
    let mut head = field(7, graph.encoded_len());
    let nodes =
        GraphProto { node: graph.node.clone(), name: graph.name.clone(), ..GraphProto::default() };
    head.extend(nodes.encode_to_vec());
    let tail = GraphProto {
        doc_string: graph.doc_string.clone(),
        input: graph.input.clone(),
        output: graph.output.clone(),
        value_info: graph.value_info.clone(),
        quantization_annotation: graph.quantization_annotation.clone(),
        sparse_initializer: graph.sparse_initializer.clone(),
        metadata_props: graph.metadata_props.clone(),
        ..GraphProto::default()
    };
    let tensors = graph.initializer.iter().flat_map(tensor_pieces);
    std::iter::once(Bytes::from(head)).chain(tensors).chain(std::iter::once(encoded(&tail)))
}

fn tensor_pieces(tensor: &TensorProto) -> Vec<Bytes> {
    let mut head = field(5, tensor.encoded_len());
    let Some(raw) = shared(tensor) else {
        head.extend(tensor.encode_to_vec());
        return vec![Bytes::from(head)];
    };
    let before = TensorProto {
        dims: tensor.dims.clone(),
        data_type: tensor.data_type,
        segment: tensor.segment.clone(),
        float_data: tensor.float_data.clone(),
        int32_data: tensor.int32_data.clone(),
        string_data: tensor.string_data.clone(),
        int64_data: tensor.int64_data.clone(),
        name: tensor.name.clone(),
        ..TensorProto::default()
    };
    let after = TensorProto {
        double_data: tensor.double_data.clone(),
        uint64_data: tensor.uint64_data.clone(),
        doc_string: tensor.doc_string.clone(),
        external_data: tensor.external_data.clone(),
        data_location: tensor.data_location,
        metadata_props: tensor.metadata_props.clone(),
        ..TensorProto::default()
    };
    head.extend(before.encode_to_vec());
    head.extend(field(9, raw.len()));
    vec![Bytes::from(head), raw.clone(), encoded(&after)]
}

/// The values of a tensor that are a piece of their own.
fn shared(tensor: &TensorProto) -> Option<&Bytes> {
    tensor.raw_data.as_ref().filter(|raw| raw.len() >= SHARED_BYTES_MIN)
}

/// What stands before a message or bytes of this length.
fn field(number: u32, length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut head);
    encode_varint(length as u64, &mut head);
    head
}

fn encoded(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

/// Writes a model whose larger values stand in a file beside it: that one first, by a name that no file has. So the model is the old
/// one, whole, until its own file is renamed, and no other model loses its values.
pub(super) fn beside(model: &ModelProto, path: &Path) -> io::Result<()> {
    let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the file's name is no Unicode text")
    })?;
    let mut location = format!("{name}.data");
    for number in 1_u64.. {
        if !path.with_file_name(&location).exists() {
            break;
        }
        location = format!("{name}.{number}.data");
    }
    let mut old = locations(path);
    old.retain(|location| is_of(name, location));
    let data = path.with_file_name(&location);
    let mut light = model.clone();
    let mut end = 0_u64;
    let mut values = Vec::new();
    for tensor in light.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        if shared(tensor).is_none() {
            continue;
        }
        let Some(raw) = tensor.raw_data.take() else { continue };
        let offset = end.next_multiple_of(ALIGNED);
        let length = raw.len() as u64;
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.external_data = vec![
            entry("location", location.clone()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
        tensor.data_location = Some(1);
        values.push((usize::try_from(offset - end).unwrap_or(0), raw));
        end = offset + length;
    }
    whole(&data, |file| {
        values.iter().try_for_each(|(gap, raw)| {
            file.write_all(&vec![0; *gap])?;
            file.write_all(raw)
        })
    })?;
    let written = whole(path, |file| pieces(&light).try_for_each(|piece| file.write_all(&piece)));
    if written.is_err() {
        // Nothing reads them.
        drop(std::fs::remove_file(&data));
    }
    written?;
    // The rename first, then what only the old model read.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    for other in old {
        match std::fs::remove_file(path.with_file_name(other)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Whether a model of this name would have its values there: what else it reads is not its own.
fn is_of(name: &str, location: &str) -> bool {
    let number = location.strip_prefix(name).and_then(|rest| rest.strip_suffix(".data"));
    number.is_some_and(|number| {
        let digits = number.strip_prefix('.').unwrap_or("0");
        (number.is_empty() || number.starts_with('.'))
            && !digits.is_empty()
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// The files beside it in which the model in this file, if it is one, has values.
fn locations(path: &Path) -> BTreeSet<String> {
    let model = std::fs::read(path).ok().and_then(|bytes| ModelProto::decode(&*bytes).ok());
    let tensors = model.iter().flat_map(|model| &model.graph).flat_map(|graph| &graph.initializer);
    let entries = tensors.flat_map(|tensor| &tensor.external_data);
    entries
        .filter(|entry| entry.key() == "location")
        .map(|entry| entry.value().to_owned())
        .collect()
}

/// Writes a file whole or not at all: to a name beside it, synced, then renamed.
pub(super) fn whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = File::create(&part)?;
    write(&mut file)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_a_model_reads_is_not_its_own() {
        for own in ["m.onnx.data", "m.onnx.1.data", "m.onnx.12.data"] {
            assert!(is_of("m.onnx", own), "{own}");
        }
        for other in ["n.onnx.data", "m.onnxx.data", "m.onnx.a/../1.data", "m.onnx..data", "m.onnx"]
        {
            assert!(!is_of("m.onnx", other), "{other}");
        }
    }
}
