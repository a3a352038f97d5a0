//! Reading and writing model files: what is kept, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use shoal_runtime::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
};
use shoal_runtime::onnx::{Attr, Builder, Model, ReadError, TensorType, WriteError};

/// A file with a convolution, a weight and two attributes.
fn small() -> Vec<u8> {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 1, 4, 4]));
    let w = b.f32s(&[2, 1, 3, 3], &[0.5; 18]);
    let pads = ("pads", Attr::Ints(vec![1, 1, 1, 1]));
    let y = b.op("Conv", &[&x, &w], &[pads]).unwrap();
    b.output("y", &y);
    b.into_model().to_bytes().unwrap().to_vec()
}

fn read(bytes: &[u8]) -> Result<Model, ReadError> {
    Model::from_bytes(Bytes::copy_from_slice(bytes))
}

/// One protobuf field: its number, wire type 2, and its bytes.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

fn with_graph_field(inner: &[u8]) -> Vec<u8> {
    let mut bytes = small();
    bytes.extend(field(7, inner));
    bytes
}

#[test]
fn an_unchanged_model_keeps_its_bytes_even_where_a_writer_ordered_them_in_its_own_way() {
    let mut bytes = field(2, b"a producer before the version");
    bytes.extend(small().strip_prefix(&[][..]).unwrap());

    assert!(read(&bytes).unwrap().to_bytes().unwrap() == bytes);
}

#[test]
fn a_value_that_is_no_number_is_no_change() {
    let mut bytes = field(2, b"a producer before the version");
    let mut proto = ModelProto::decode(&small()[..]).unwrap();
    let slope = AttributeProto {
        name: Some("slope".to_owned()),
        f: Some(f32::NAN),
        ..AttributeProto::default()
    };
    proto.graph.as_mut().unwrap().node[0].attribute.push(slope);
    bytes.extend(proto.encode_to_vec());

    assert!(read(&bytes).unwrap().to_bytes().unwrap() == bytes);
}

#[test]
fn a_change_touches_nothing_else() {
    let mut model = read(&small()).unwrap();
    let before = ModelProto::decode(&small()[..]).unwrap();

    model.graph_mut().name = Some("renamed".to_owned());

    let mut after = ModelProto::decode(model.to_bytes().unwrap()).unwrap();
    after.graph.as_mut().unwrap().name.clone_from(&before.graph.as_ref().unwrap().name);
    assert_eq!(after, before);
}

#[test]
fn an_unknown_field_is_read_but_refused_for_writing_with_its_path() {
    // graph.node[1].attribute[0], field 31.
    let attribute = [AttributeProto::default().encode_to_vec(), field(31, b"new")].concat();
    let node = [NodeProto::default().encode_to_vec(), field(5, &attribute)].concat();
    let graph = [field(1, &NodeProto::default().encode_to_vec()), field(1, &node)].concat();

    let model = read(&with_graph_field(&graph)).unwrap();

    // The graph of the small model is the first; protobuf merges the two.
    assert_eq!(model.unknown_field(), Some("graph[1].node[1].attribute.31"));
    let refused = model.to_bytes();
    assert!(
        matches!(&refused, Err(WriteError::UnknownField { field }) if field.ends_with(".31")),
        "{refused:?}"
    );
}

#[test]
fn a_model_changed_after_reading_an_unknown_field_is_refused_as_well() {
    let mut model = read(&[small(), field(99, b"?")].concat()).unwrap();
    model.graph_mut().name = None;
    assert!(matches!(model.to_bytes(), Err(WriteError::UnknownField { field }) if field == "99"));
}

#[test]
fn every_truncation_is_an_error_or_another_model_but_never_a_panic() {
    let bytes = small();
    let mut truncated = 0;
    for length in 0..bytes.len() {
        match read(&bytes[..length]) {
            Ok(model) => assert_ne!(model.to_bytes().unwrap(), bytes),
            Err(ReadError::Truncated { .. }) => truncated += 1,
            Err(_) => {}
        }
    }
    assert!(truncated > bytes.len() / 2, "{truncated} of {}", bytes.len());
}

#[test]
fn versions_beyond_the_schema_are_refused() {
    let version = |ir: i64, opset: i64| {
        let mut proto = ModelProto::decode(&small()[..]).unwrap();
        proto.ir_version = Some(ir);
        proto.opset_import[0].version = Some(opset);
        read(&proto.encode_to_vec()).err()
    };
    assert!(version(14, 28).is_none() && version(3, 7).is_none());
    assert!(matches!(version(15, 17), Some(ReadError::IrVersion { got: 15, .. })));
    assert!(matches!(version(2, 17), Some(ReadError::IrVersion { got: 2, .. })));
    assert!(matches!(version(8, 29), Some(ReadError::Opset { got: 29, .. })));
    assert!(matches!(version(8, -1), Some(ReadError::Opset { got: -1, .. })));
}

#[test]
fn a_model_without_graph_or_operator_set_is_refused() {
    let mut proto = ModelProto::decode(&small()[..]).unwrap();
    proto.graph = None;
    assert!(matches!(read(&proto.encode_to_vec()), Err(ReadError::NoGraph { .. })));
    proto.opset_import.clear();
    assert!(matches!(read(&proto.encode_to_vec()), Err(ReadError::NoOpset { .. })));
    proto.ir_version = None;
    assert!(matches!(read(&proto.encode_to_vec()), Err(ReadError::IrVersion { got: 0, .. })));
    assert!(matches!(read(b""), Err(ReadError::Empty { .. })));
}

/// Tools that merge models say the same operator set again.
#[test]
fn an_operator_set_may_be_said_twice_and_two_versions_may_not() {
    let mut proto = ModelProto::decode(&small()[..]).unwrap();
    let domain = Some("ai.onnx".to_owned());
    proto.opset_import.push(OperatorSetIdProto { domain, version: Some(17) });
    assert_eq!(read(&proto.encode_to_vec()).unwrap().opset(), 17);
    proto.opset_import[1].version = Some(12);
    assert!(matches!(read(&proto.encode_to_vec()), Err(ReadError::TwoOpsets { .. })));
}

#[test]
fn graphs_nested_without_end_are_refused_before_they_are_decoded() {
    let mut graph = GraphProto::default().encode_to_vec();
    for _ in 0..10_000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(matches!(read(&with_graph_field(&graph)), Err(ReadError::TooDeep { .. })));
}

#[test]
fn a_length_beyond_the_file_is_refused_before_anything_is_allocated() {
    // graph.initializer.raw_data that says it has 2^60 bytes.
    let mut tensor = vec![9 << 3 | 2];
    prost::encoding::encode_varint(1 << 60, &mut tensor);
    let refused = read(&with_graph_field(&field(5, &tensor)));
    assert!(
        matches!(&refused, Err(ReadError::Truncated { field, .. }) if field.ends_with("initializer.raw_data")),
        "{refused:?}"
    );
}

#[test]
fn millions_of_empty_messages_are_refused_before_they_are_decoded() {
    let nodes = [1 << 3 | 2, 0].repeat(5_000_000);
    assert!(matches!(read(&with_graph_field(&nodes)), Err(ReadError::TooManyFields { .. })));
}

#[test]
fn another_wire_type_than_the_schema_says_is_named() {
    let refused = read(&[small(), field(1, b"version")].concat());
    assert!(
        matches!(&refused, Err(ReadError::WireType { field, .. }) if field == "ir_version[1]"),
        "{refused:?}"
    );
}

#[test]
fn errors_name_the_file() {
    let missing = Model::read(Path::new("no/such/model.onnx")).unwrap_err();
    assert!(missing.to_string().contains("no/such/model.onnx"), "{missing}");
}

#[test]
fn a_file_is_written_whole_and_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    read(&small()).unwrap().write(&path).unwrap();

    assert_eq!(std::fs::read(&path).unwrap(), small());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Values below and above the length from which they are a piece of their own, and fields before and behind them.
#[test]
fn a_model_is_written_as_protobuf_encodes_it_and_beside_its_values_it_is_the_same() {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 40]));
    let w = b.f32s(&[40, 40], &[0.5; 1600]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let few = b.f32s(&[40], &[0.25; 40]);
    let y = b.op("Add", &[&y, &few], &[]).unwrap();
    b.output("y", &y);
    let mut model = b.into_model();
    model.proto.domain = Some("a.b".to_owned());
    let graph = model.graph_mut();
    graph.doc_string = Some("behind".to_owned());
    for tensor in &mut graph.initializer {
        tensor.doc_string = Some("behind the values".to_owned());
    }
    let bytes = model.to_bytes().unwrap();
    assert!(bytes == model.proto.encode_to_vec());

    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.onnx", "two.onnx"].map(|name| folder.path().join(name));
    model.write(&one).unwrap();
    assert!(std::fs::read(&one).unwrap() == bytes);
    model.write_beside(&two).unwrap();
    let values = std::fs::read(folder.path().join("two.onnx.data")).unwrap();
    assert!(values == 0.5_f32.to_le_bytes().repeat(1600));
    let again = Model::read_with_data(&two).unwrap();
    assert_eq!(again.proto, model.proto);
    assert!(Model::read(&two).unwrap().to_bytes().unwrap().len() < 6400, "they are beside it");
}

fn product(value: f32) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 40]));
    let w = b.f32s(&[40, 40], &[value; 1600]);
    let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
    b.output("y", &y);
    b.into_model()
}

/// A model that was given another name still reads the values by the name that they had.
#[test]
fn values_of_another_model_are_left_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let [path, base] = ["m.onnx", "base.onnx"].map(|name| folder.path().join(name));
    let [first, second, third] = [0.25, 0.5, 0.75].map(product);
    first.write_beside(&path).unwrap();
    std::fs::rename(&path, &base).unwrap();
    for model in [&second, &third] {
        model.write_beside(&path).unwrap();
        assert!(Model::read_with_data(&path).unwrap().proto == model.proto);
        assert!(Model::read_with_data(&base).unwrap().proto == first.proto);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}

/// The values are written before the graph that reads them: until that is there, the graph before has its own.
#[test]
fn a_model_and_its_values_are_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let holds = |model: &Model| Model::read_with_data(&path).unwrap().proto == model.proto;
    let [first, second, third] = [0.25, 0.5, 0.75].map(product);
    first.write_beside(&path).unwrap();
    for (old, new, removed) in [(&first, &second, ".data"), (&second, &third, ".1.data")] {
        // What the graph would be written to is taken: as if the power went before it.
        let part = folder.path().join("m.onnx.part");
        std::fs::create_dir(&part).unwrap();
        assert!(matches!(new.write_beside(&path), Err(WriteError::Io { .. })));
        assert!(holds(old));
        std::fs::remove_dir(&part).unwrap();

        new.write_beside(&path).unwrap();

        assert!(holds(new));
        assert!(!folder.path().join(format!("m.onnx{removed}")).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
