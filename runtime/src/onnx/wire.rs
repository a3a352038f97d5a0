//! A pass over the bytes of a file before they are decoded: every field must be in the schema, every
//! length inside its message, nesting and counts bounded. Decoding then cannot run away, and a field that
//! the schema does not know (and decoding would drop) is found.

/// The deepest nesting of messages that is read; a subgraph inside a node takes three.
pub(crate) const DEPTH_MAX: usize = 60;
/// The most messages, strings and byte fields in one file: bounds what decoding allocates.
pub(crate) const FIELDS_MAX: usize = 1 << 22;

/// What a field holds, as far as its bytes show it.
#[derive(Clone, Copy)]
enum Kind {
    Varint,
    Fixed32,
    Bytes,
    /// A repeated varint, packed or not.
    Varints,
    /// A repeated 32-bit value, packed or not.
    Fixed32s,
    /// A repeated 64-bit value, packed or not.
    Fixed64s,
    Message(&'static Schema),
}

/// The fields of one message: number, name, kind.
pub(crate) struct Schema(&'static [(u32, &'static str, Kind)]);

use Kind::{Bytes, Fixed32, Fixed32s, Fixed64s, Message, Varint, Varints};

pub(crate) static MODEL: Schema = Schema(&[
    (1, "ir_version", Varint),
    (2, "producer_name", Bytes),
    (3, "producer_version", Bytes),
    (4, "domain", Bytes),
    (5, "model_version", Varint),
    (6, "doc_string", Bytes),
    (7, "graph", Message(&GRAPH)),
    (8, "opset_import", Message(&OPERATOR_SET)),
    (14, "metadata_props", Message(&ENTRY)),
    (20, "training_info", Message(&TRAINING)),
    (25, "functions", Message(&FUNCTION)),
    (26, "configuration", Message(&CONFIGURATION)),
]);
static OPERATOR_SET: Schema = Schema(&[(1, "domain", Bytes), (2, "version", Varint)]);
static ENTRY: Schema = Schema(&[(1, "key", Bytes), (2, "value", Bytes)]);
static GRAPH: Schema = Schema(&[
    (1, "node", Message(&NODE)),
    (2, "name", Bytes),
    (5, "initializer", Message(&TENSOR)),
    (10, "doc_string", Bytes),
    (11, "input", Message(&VALUE_INFO)),
    (12, "output", Message(&VALUE_INFO)),
    (13, "value_info", Message(&VALUE_INFO)),
    (14, "quantization_annotation", Message(&ANNOTATION)),
    (15, "sparse_initializer", Message(&SPARSE)),
    (16, "metadata_props", Message(&ENTRY)),
]);
static NODE: Schema = Schema(&[
    (1, "input", Bytes),
    (2, "output", Bytes),
    (3, "name", Bytes),
    (4, "op_type", Bytes),
    (5, "attribute", Message(&ATTRIBUTE)),
    (6, "doc_string", Bytes),
    (7, "domain", Bytes),
    (8, "overload", Bytes),
    (9, "metadata_props", Message(&ENTRY)),
    (10, "device_configurations", Message(&NODE_DEVICES)),
]);
static ATTRIBUTE: Schema = Schema(&[
    (1, "name", Bytes),
    (2, "f", Fixed32),
    (3, "i", Varint),
    (4, "s", Bytes),
    (5, "t", Message(&TENSOR)),
    (6, "g", Message(&GRAPH)),
    (7, "floats", Fixed32s),
    (8, "ints", Varints),
    (9, "strings", Bytes),
    (10, "tensors", Message(&TENSOR)),
    (11, "graphs", Message(&GRAPH)),
    (13, "doc_string", Bytes),
    (14, "tp", Message(&TYPE)),
    (15, "type_protos", Message(&TYPE)),
    (20, "type", Varint),
    (21, "ref_attr_name", Bytes),
    (22, "sparse_tensor", Message(&SPARSE)),
    (23, "sparse_tensors", Message(&SPARSE)),
]);
static VALUE_INFO: Schema = Schema(&[
    (1, "name", Bytes),
    (2, "type", Message(&TYPE)),
    (3, "doc_string", Bytes),
    (4, "metadata_props", Message(&ENTRY)),
]);
static TENSOR: Schema = Schema(&[
    (1, "dims", Varints),
    (2, "data_type", Varint),
    (3, "segment", Message(&SEGMENT)),
    (4, "float_data", Fixed32s),
    (5, "int32_data", Varints),
    (6, "string_data", Bytes),
    (7, "int64_data", Varints),
    (8, "name", Bytes),
    (9, "raw_data", Bytes),
    (10, "double_data", Fixed64s),
    (11, "uint64_data", Varints),
    (12, "doc_string", Bytes),
    (13, "external_data", Message(&ENTRY)),
    (14, "data_location", Varint),
    (16, "metadata_props", Message(&ENTRY)),
]);
static SEGMENT: Schema = Schema(&[(1, "begin", Varint), (2, "end", Varint)]);
static SPARSE: Schema = Schema(&[
    (1, "values", Message(&TENSOR)),
    (2, "indices", Message(&TENSOR)),
    (3, "dims", Varints),
]);
static ANNOTATION: Schema =
    Schema(&[(1, "tensor_name", Bytes), (2, "quant_parameter_tensor_names", Message(&ENTRY))]);
static SHAPE: Schema = Schema(&[(1, "dim", Message(&DIMENSION))]);
static DIMENSION: Schema =
    Schema(&[(1, "dim_value", Varint), (2, "dim_param", Bytes), (3, "denotation", Bytes)]);
static TYPE: Schema = Schema(&[
    (1, "tensor_type", Message(&TENSOR_TYPE)),
    (4, "sequence_type", Message(&WRAPPED_TYPE)),
    (5, "map_type", Message(&MAP_TYPE)),
    (6, "denotation", Bytes),
    (7, "opaque_type", Message(&OPAQUE_TYPE)),
    (8, "sparse_tensor_type", Message(&TENSOR_TYPE)),
    (9, "optional_type", Message(&WRAPPED_TYPE)),
]);
static TENSOR_TYPE: Schema = Schema(&[(1, "elem_type", Varint), (2, "shape", Message(&SHAPE))]);
static WRAPPED_TYPE: Schema = Schema(&[(1, "elem_type", Message(&TYPE))]);
static MAP_TYPE: Schema = Schema(&[(1, "key_type", Varint), (2, "value_type", Message(&TYPE))]);
static OPAQUE_TYPE: Schema = Schema(&[(1, "domain", Bytes), (2, "name", Bytes)]);
static TRAINING: Schema = Schema(&[
    (1, "initialization", Message(&GRAPH)),
    (2, "algorithm", Message(&GRAPH)),
    (3, "initialization_binding", Message(&ENTRY)),
    (4, "update_binding", Message(&ENTRY)),
]);
static FUNCTION: Schema = Schema(&[
    (1, "name", Bytes),
    (4, "input", Bytes),
    (5, "output", Bytes),
    (6, "attribute", Bytes),
    (7, "node", Message(&NODE)),
    (8, "doc_string", Bytes),
    (9, "opset_import", Message(&OPERATOR_SET)),
    (10, "domain", Bytes),
    (11, "attribute_proto", Message(&ATTRIBUTE)),
    (12, "value_info", Message(&VALUE_INFO)),
    (13, "overload", Bytes),
    (14, "metadata_props", Message(&ENTRY)),
]);
static CONFIGURATION: Schema =
    Schema(&[(1, "name", Bytes), (2, "num_devices", Varint), (3, "device", Bytes)]);
static NODE_DEVICES: Schema = Schema(&[
    (1, "configuration_id", Bytes),
    (2, "sharding_spec", Message(&SHARDING)),
    (3, "pipeline_stage", Varint),
]);
static SHARDING: Schema = Schema(&[
    (1, "tensor_name", Bytes),
    (2, "device", Varints),
    (3, "index_to_device_group_map", Message(&INT_LIST)),
    (4, "sharded_dim", Message(&SHARDED_DIM)),
]);
static INT_LIST: Schema = Schema(&[(1, "key", Varint), (2, "value", Varints)]);
static SHARDED_DIM: Schema =
    Schema(&[(1, "axis", Varint), (2, "simple_sharding", Message(&SIMPLE_SHARDED_DIM))]);
static SIMPLE_SHARDED_DIM: Schema =
    Schema(&[(1, "dim_value", Varint), (2, "dim_param", Bytes), (3, "num_shards", Varint)]);

/// Why the bytes are no message of this schema, or none we read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The file ends, or a message ends, inside the field at this path.
    Truncated { path: String },
    /// The field at this path has another wire type than the schema says.
    WireType { path: String },
    /// Messages nest deeper than [`DEPTH_MAX`].
    TooDeep { path: String },
    /// More than [`FIELDS_MAX`] messages and strings.
    TooMany { path: String },
}

/// Looks at every field of `bytes`. Gives the path of the first field that the schema does not have,
/// such as `graph.node[3].attribute[0].31`.
pub(crate) fn scan(bytes: &[u8], schema: &'static Schema) -> Result<Option<String>, Malformed> {
    let mut scan = Scan { path: Vec::new(), fields: 0, unknown: None };
    match scan.message(bytes, schema) {
        Ok(()) => Ok(scan.unknown),
        Err(why) => {
            let path = scan.text();
            Err(match why {
                Why::Truncated => Malformed::Truncated { path },
                Why::WireType => Malformed::WireType { path },
                Why::TooDeep => Malformed::TooDeep { path },
                Why::TooMany => Malformed::TooMany { path },
            })
        }
    }
}

enum Why {
    Truncated,
    WireType,
    TooDeep,
    TooMany,
}

struct Scan {
    /// Field name (or number) and index of each message we are in; the last may be a plain field.
    path: Vec<(&'static str, u32, usize)>,
    fields: usize,
    unknown: Option<String>,
}

impl Scan {
    fn text(&self) -> String {
        let parts = self.path.iter().map(|&(name, number, index)| match (name, index) {
            ("", _) => number.to_string(),
            (name, 0) => name.to_owned(),
            (name, index) => format!("{name}[{index}]"),
        });
        parts.collect::<Vec<_>>().join(".")
    }

    fn message(&mut self, mut rest: &[u8], schema: &'static Schema) -> Result<(), Why> {
        if self.path.len() >= DEPTH_MAX {
            return Err(Why::TooDeep);
        }
        // How often each field of this message was seen, by its place in the schema.
        let mut seen = [0usize; 20];
        while !rest.is_empty() {
            let key = varint(&mut rest).ok_or(Why::Truncated)?;
            let number = u32::try_from(key >> 3).map_err(|_| Why::WireType)?;
            let wire = key & 7;
            let place = schema.0.iter().position(|f| f.0 == number);
            let Some(place) = place else {
                self.path.push(("", number, 0));
                skip(&mut rest, wire)?;
                if self.unknown.is_none() {
                    self.unknown = Some(self.text());
                }
                self.path.pop();
                continue;
            };
            let (_, name, kind) = schema.0[place];
            self.path.push((name, number, seen[place]));
            seen[place] += 1;
            self.field(&mut rest, wire, kind)?;
            self.path.pop();
        }
        Ok(())
    }

    fn field(&mut self, rest: &mut &[u8], wire: u64, kind: Kind) -> Result<(), Why> {
        match (kind, wire) {
            (Varint | Varints, 0) | (Fixed64s, 1) | (Fixed32 | Fixed32s, 5) => skip(rest, wire),
            (Bytes | Varints | Fixed32s | Fixed64s | Message(_), 2) => {
                self.fields += 1;
                if self.fields > FIELDS_MAX {
                    return Err(Why::TooMany);
                }
                let inner = delimited(rest).ok_or(Why::Truncated)?;
                match kind {
                    Message(schema) => self.message(inner, schema),
                    Fixed32s if inner.len() % 4 != 0 => Err(Why::Truncated),
                    Fixed64s if inner.len() % 8 != 0 => Err(Why::Truncated),
                    Varint | Fixed32 | Bytes | Varints | Fixed32s | Fixed64s => Ok(()),
                }
            }
            _ => Err(Why::WireType),
        }
    }
}

fn skip(rest: &mut &[u8], wire: u64) -> Result<(), Why> {
    match wire {
        0 => varint(rest).map(|_| ()).ok_or(Why::Truncated),
        1 => take(rest, 8).map(|_| ()).ok_or(Why::Truncated),
        2 => delimited(rest).map(|_| ()).ok_or(Why::Truncated),
        5 => take(rest, 4).map(|_| ()).ok_or(Why::Truncated),
        _ => Err(Why::WireType),
    }
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).ok()?;
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
