//! Tensors with their values, and the types of tensors.

use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};

use super::narrow::Narrow;
use super::proto::{
    Dimension, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, data_type, dimension,
    type_proto,
};

/// The largest number of values one tensor may have: ONNX files end at 2 GiB, and sizes stay in `i64`.
pub const TENSOR_VALUES_MAX: usize = 1 << 31;

/// The most dimensions a tensor may have.
pub const RANK_MAX: usize = 16;

/// The type of one value of a tensor.
#[expect(missing_docs, reason = "each is named as the type it is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Element {
    /// The lowest and the highest value of an integer of 8 or 16 bits; `None` of others.
    pub(crate) fn narrow_bounds(self) -> Option<(f64, f64)> {
        match self {
            Element::I8 => Some((-128.0, 127.0)),
            Element::U8 => Some((0.0, 255.0)),
            Element::I16 => Some((-32_768.0, 32_767.0)),
            Element::U16 => Some((0.0, 65_535.0)),
            Element::F32
            | Element::F64
            | Element::F16
            | Element::Bf16
            | Element::I64
            | Element::I32
            | Element::U64
            | Element::U32
            | Element::Bool => None,
        }
    }

    /// The element with this `TensorProto.data_type`; `None` for strings, complex and sub-byte types.
    pub fn from_onnx(number: i32) -> Option<Element> {
        Some(match number {
            data_type::FLOAT => Element::F32,
            data_type::DOUBLE => Element::F64,
            data_type::FLOAT16 => Element::F16,
            data_type::BFLOAT16 => Element::Bf16,
            data_type::INT64 => Element::I64,
            data_type::INT32 => Element::I32,
            data_type::INT16 => Element::I16,
            data_type::INT8 => Element::I8,
            data_type::UINT64 => Element::U64,
            data_type::UINT32 => Element::U32,
            data_type::UINT16 => Element::U16,
            data_type::UINT8 => Element::U8,
            data_type::BOOL => Element::Bool,
            _ => return None,
        })
    }

    /// The `TensorProto.data_type` of this element.
    pub fn to_onnx(self) -> i32 {
        match self {
            Element::F32 => data_type::FLOAT,
            Element::F64 => data_type::DOUBLE,
            Element::F16 => data_type::FLOAT16,
            Element::Bf16 => data_type::BFLOAT16,
            Element::I64 => data_type::INT64,
            Element::I32 => data_type::INT32,
            Element::I16 => data_type::INT16,
            Element::I8 => data_type::INT8,
            Element::U64 => data_type::UINT64,
            Element::U32 => data_type::UINT32,
            Element::U16 => data_type::UINT16,
            Element::U8 => data_type::UINT8,
            Element::Bool => data_type::BOOL,
        }
    }

    /// Bytes of one value in `raw_data`.
    pub fn bytes(self) -> usize {
        match self {
            Element::F64 | Element::I64 | Element::U64 => 8,
            Element::F32 | Element::I32 | Element::U32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }

    /// Whether values of this element can carry a gradient.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F64 | Element::F16 | Element::Bf16)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F32 => "float32",
            Element::F64 => "float64",
            Element::F16 => "float16",
            Element::Bf16 => "bfloat16",
            Element::I64 => "int64",
            Element::I32 => "int32",
            Element::I16 => "int16",
            Element::I8 => "int8",
            Element::U64 => "uint64",
            Element::U32 => "uint32",
            Element::U16 => "uint16",
            Element::U8 => "uint8",
            Element::Bool => "bool",
        })
    }
}

/// Element and dimensions of a tensor; every dimension is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// The type of one value.
    pub element: Element,
    /// The dimensions, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(element: Element, dims: &[usize]) -> TensorType {
        TensorType { element, dims: dims.to_vec() }
    }

    /// A float32 tensor of these dimensions.
    pub fn f32(dims: &[usize]) -> TensorType {
        TensorType::new(Element::F32, dims)
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The number of values.
    pub fn values(&self) -> usize {
        self.dims.iter().product()
    }

    /// This type as ONNX writes it.
    pub fn to_proto(&self) -> TypeProto {
        let dim = self
            .dims
            .iter()
            .map(|&d| Dimension {
                value: Some(dimension::Value::DimValue(d as i64)),
                denotation: None,
            })
            .collect();
        let tensor = type_proto::Tensor {
            elem_type: Some(self.element.to_onnx()),
            shape: Some(TensorShapeProto { dim }),
        };
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }
    }

    /// A named value of this type, as graph inputs and outputs are declared.
    pub fn to_value_info(&self, name: &str) -> ValueInfoProto {
        ValueInfoProto {
            name: Some(name.to_owned()),
            r#type: Some(self.to_proto()),
            doc_string: None,
            metadata_props: Vec::new(),
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.element, self.dims)
    }
}

/// The values of a tensor, row-major, by element.
#[expect(missing_docs, reason = "each is named as the element it holds")]
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    I8(Vec<i8>),
    U64(Vec<u64>),
    U32(Vec<u32>),
    U16(Vec<u16>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// Runs `$body` with `$v` bound to the vector inside, whatever its element.
macro_rules! each_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::onnx::Data::F32($v) => $body,
            $crate::onnx::Data::F64($v) => $body,
            $crate::onnx::Data::F16($v) => $body,
            $crate::onnx::Data::Bf16($v) => $body,
            $crate::onnx::Data::I64($v) => $body,
            $crate::onnx::Data::I32($v) => $body,
            $crate::onnx::Data::I16($v) => $body,
            $crate::onnx::Data::I8($v) => $body,
            $crate::onnx::Data::U64($v) => $body,
            $crate::onnx::Data::U32($v) => $body,
            $crate::onnx::Data::U16($v) => $body,
            $crate::onnx::Data::U8($v) => $body,
            $crate::onnx::Data::Bool($v) => $body,
        }
    };
}

/// As [`each_data`], but wraps the vector that `$body` gives in the same variant.
macro_rules! map_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::onnx::Data::F32($v) => $crate::onnx::Data::F32($body),
            $crate::onnx::Data::F64($v) => $crate::onnx::Data::F64($body),
            $crate::onnx::Data::F16($v) => $crate::onnx::Data::F16($body),
            $crate::onnx::Data::Bf16($v) => $crate::onnx::Data::Bf16($body),
            $crate::onnx::Data::I64($v) => $crate::onnx::Data::I64($body),
            $crate::onnx::Data::I32($v) => $crate::onnx::Data::I32($body),
            $crate::onnx::Data::I16($v) => $crate::onnx::Data::I16($body),
            $crate::onnx::Data::I8($v) => $crate::onnx::Data::I8($body),
            $crate::onnx::Data::U64($v) => $crate::onnx::Data::U64($body),
            $crate::onnx::Data::U32($v) => $crate::onnx::Data::U32($body),
            $crate::onnx::Data::U16($v) => $crate::onnx::Data::U16($body),
            $crate::onnx::Data::U8($v) => $crate::onnx::Data::U8($body),
            $crate::onnx::Data::Bool($v) => $crate::onnx::Data::Bool($body),
        }
    };
}
pub(crate) use map_data;

impl Data {
    /// The number of values.
    pub fn len(&self) -> usize {
        each_data!(self, v => v.len())
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of one value.
    pub fn element(&self) -> Element {
        match self {
            Data::F32(_) => Element::F32,
            Data::F64(_) => Element::F64,
            Data::F16(_) => Element::F16,
            Data::Bf16(_) => Element::Bf16,
            Data::I64(_) => Element::I64,
            Data::I32(_) => Element::I32,
            Data::I16(_) => Element::I16,
            Data::I8(_) => Element::I8,
            Data::U64(_) => Element::U64,
            Data::U32(_) => Element::U32,
            Data::U16(_) => Element::U16,
            Data::U8(_) => Element::U8,
            Data::Bool(_) => Element::Bool,
        }
    }
}

/// A tensor with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The dimensions, outermost first; their product is the length of `data`.
    pub dims: Vec<usize>,
    /// The values, row-major.
    pub data: Data,
}

/// Why a stored tensor cannot be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error(
        "tensor `{tensor}` has data type {number}, which is not supported: convert it to float32"
    )]
    Element { tensor: String, number: i32 },
    #[error("tensor `{tensor}` has dimension {dim}: dimensions are 0 to {TENSOR_VALUES_MAX}")]
    Dimension { tensor: String, dim: i64 },
    #[error("tensor `{tensor}` has {rank} dimensions, at most {RANK_MAX} are read")]
    Rank { tensor: String, rank: usize },
    #[error("tensor `{tensor}` has dimensions {dims:?}: more than {TENSOR_VALUES_MAX} values")]
    TooLarge { tensor: String, dims: Vec<i64> },
    #[error("tensor `{tensor}` holds {got} {unit}, its type {ty} needs {want}")]
    Length { tensor: String, ty: String, unit: &'static str, got: usize, want: usize },
    #[error(
        "tensor `{tensor}` keeps its values in another file (`{location}`): save the model as one file (onnx.save with save_as_external_data=False)"
    )]
    External { tensor: String, location: String },
    #[error("tensor `{tensor}` is a segment of a larger one, which is not supported")]
    Segment { tensor: String },
}

impl Tensor {
    /// A tensor from its parts.
    ///
    /// # Panics
    /// If the product of `dims` is not the length of `data`.
    pub fn new(dims: &[usize], data: Data) -> Tensor {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "values do not fill {dims:?}");
        Tensor { dims: dims.to_vec(), data }
    }

    /// A float32 tensor. Panics as [`Tensor::new`].
    pub fn f32(dims: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(dims, Data::F32(values.to_vec()))
    }

    /// A one-dimensional int64 tensor.
    pub fn i64s(values: &[i64]) -> Tensor {
        Tensor::new(&[values.len()], Data::I64(values.to_vec()))
    }

    /// Element and dimensions.
    pub fn ty(&self) -> TensorType {
        TensorType { element: self.data.element(), dims: self.dims.clone() }
    }

    /// The values, if they are float32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let Data::F32(v) = &self.data { Some(v) } else { None }
    }

    /// The values as int64, if they are signed integers of any size, `uint8` to `uint32` or bool.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        Some(match &self.data {
            Data::I64(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U64(_) | Data::F32(_) | Data::F64(_) | Data::F16(_) | Data::Bf16(_) => {
                return None;
            }
        })
    }

    /// The values as float64, exact but for 64-bit integers above 2⁵³.
    pub fn to_f64s(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => v.clone(),
            Data::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Data::Bf16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Data::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::I16(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::I8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::U64(v) => v.iter().map(|&x| x as f64).collect(),
            Data::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::U16(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }
    }

    /// The index of the first value that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<usize> {
        match &self.data {
            Data::F32(v) => v.iter().position(|x| !x.is_finite()),
            Data::F64(v) => v.iter().position(|x| !x.is_finite()),
            Data::F16(v) => v.iter().position(|x| !x.is_finite()),
            Data::Bf16(v) => v.iter().position(|x| !x.is_finite()),
            Data::I64(_)
            | Data::I32(_)
            | Data::I16(_)
            | Data::I8(_)
            | Data::U64(_)
            | Data::U32(_)
            | Data::U16(_)
            | Data::U8(_)
            | Data::Bool(_) => None,
        }
    }

    /// The values as `raw_data` stores them: little-endian, row-major, their own type.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        fn cat<const N: usize>(parts: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
            parts.flatten().collect()
        }
        match &self.data {
            Data::F32(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::F64(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::F16(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::Bf16(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::I64(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::I32(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::I16(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::I8(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::U64(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::U32(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::U16(v) => cat(v.iter().map(|x| x.to_le_bytes())),
            Data::U8(v) => v.clone(),
            Data::Bool(v) => v.iter().map(|&x| u8::from(x)).collect(),
        }
    }

    /// A tensor of this element and these dimensions from what [`Tensor::to_le_bytes`] gives; `None` if the
    /// bytes do not fill it.
    pub fn from_le_bytes(element: Element, dims: &[usize], bytes: &[u8]) -> Option<Tensor> {
        let values = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        if values.checked_mul(element.bytes())? != bytes.len() {
            return None;
        }
        Some(Tensor { dims: dims.to_vec(), data: raw_values(element, bytes) })
    }

    /// A tensor of this element from float64 values, rounded; integers are cut off.
    ///
    /// # Panics
    /// As [`Tensor::new`].
    pub fn from_f64s(element: Element, dims: &[usize], values: &[f64]) -> Tensor {
        fn each<T>(values: &[f64], to: impl Fn(f64) -> T) -> Vec<T> {
            values.iter().map(|&x| to(x)).collect()
        }
        let data = match element {
            Element::F32 => Data::F32(each(values, |x| x as f32)),
            Element::F64 => Data::F64(values.to_vec()),
            Element::F16 => Data::F16(each(values, f16::from_f64)),
            Element::Bf16 => Data::Bf16(each(values, bf16::from_f64)),
            Element::I64 => Data::I64(each(values, |x| x as i64)),
            Element::I32 => Data::I32(each(values, |x| x as i32)),
            Element::I16 => Data::I16(each(values, |x| x as i16)),
            Element::I8 => Data::I8(each(values, |x| x as i8)),
            Element::U64 => Data::U64(each(values, |x| x as u64)),
            Element::U32 => Data::U32(each(values, |x| x as u32)),
            Element::U16 => Data::U16(each(values, |x| x as u16)),
            Element::U8 => Data::U8(each(values, |x| x as u8)),
            Element::Bool => Data::Bool(each(values, |x| x != 0.0)),
        };
        Tensor::new(dims, data)
    }

    /// One value, rounded to this element; integers are cut off.
    pub fn scalar(element: Element, value: f32) -> Tensor {
        let data = match element {
            Element::F32 => Data::F32(vec![value]),
            Element::F64 => Data::F64(vec![f64::from(value)]),
            Element::F16 => Data::F16(vec![f16::from_f32(value)]),
            Element::Bf16 => Data::Bf16(vec![bf16::from_f32(value)]),
            Element::I64 => Data::I64(vec![value as i64]),
            Element::I32 => Data::I32(vec![value as i32]),
            Element::I16 => Data::I16(vec![value as i16]),
            Element::I8 => Data::I8(vec![value as i8]),
            Element::U64 => Data::U64(vec![value as u64]),
            Element::U32 => Data::U32(vec![value as u32]),
            Element::U16 => Data::U16(vec![value as u16]),
            Element::U8 => Data::U8(vec![value as u8]),
            Element::Bool => Data::Bool(vec![value != 0.0]),
        };
        Tensor { dims: Vec::new(), data }
    }

    /// This tensor as ONNX stores it, with `raw_data`.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        TensorProto {
            dims: self.dims.iter().map(|&d| d as i64).collect(),
            data_type: Some(self.data.element().to_onnx()),
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::from(self.to_le_bytes())),
            ..TensorProto::default()
        }
    }

    /// How many bytes a stored tensor of this type has as `raw_data`.
    pub(crate) fn stored_bytes(proto: &TensorProto) -> Option<usize> {
        let ty = Tensor::stored_type(proto).ok()?;
        let narrow = Narrow::from_onnx(proto.data_type());
        Some(narrow.map_or(ty.values() * ty.element.bytes(), |narrow| narrow.bytes(ty.values())))
    }

    /// Element and dimensions of a stored tensor, without its values. Elements of fewer bits than there is arithmetic for are
    /// read as wider ones (INT4 as int8, FLOAT8E4M3FN as float16).
    ///
    /// # Errors
    /// [`TensorError`] if the type is not supported or the dimensions are out of bounds.
    pub fn stored_type(proto: &TensorProto) -> Result<TensorType, TensorError> {
        let tensor = || proto.name().to_owned();
        let number = proto.data_type();
        let narrow = Narrow::from_onnx(number).map(Narrow::wide);
        let element = Element::from_onnx(number)
            .or(narrow)
            .ok_or_else(|| TensorError::Element { tensor: tensor(), number })?;
        if proto.dims.len() > RANK_MAX {
            return Err(TensorError::Rank { tensor: tensor(), rank: proto.dims.len() });
        }
        let mut values = 1usize;
        let mut dims = Vec::with_capacity(proto.dims.len());
        for &dim in &proto.dims {
            let d = usize::try_from(dim)
                .ok()
                .filter(|&d| d <= TENSOR_VALUES_MAX)
                .ok_or_else(|| TensorError::Dimension { tensor: tensor(), dim })?;
            // Of what has no values, too, parts are counted.
            let within = values.checked_mul(d.max(1)).filter(|&v| v <= TENSOR_VALUES_MAX);
            values = within.ok_or_else(|| TensorError::TooLarge {
                tensor: tensor(),
                dims: proto.dims.clone(),
            })?;
            dims.push(d);
        }
        Ok(TensorType { element, dims })
    }

    /// Reads a stored tensor. Lengths are compared before anything is allocated.
    ///
    /// # Errors
    /// [`TensorError`] if the type is not supported, the dimensions are out of bounds, the values do not
    /// fill them, or the values are in another file.
    pub fn from_proto(proto: &TensorProto) -> Result<Tensor, TensorError> {
        let ty = Tensor::stored_here(proto)?;
        let data = match (Narrow::from_onnx(proto.data_type()), &proto.raw_data) {
            (Some(narrow), Some(raw)) => narrow.values(raw, ty.values()),
            (Some(narrow), None) => {
                let bytes: Vec<u8> = proto.int32_data.iter().map(|&byte| byte as u8).collect();
                narrow.values(&bytes, ty.values())
            }
            (None, Some(raw)) => raw_values(ty.element, raw),
            (None, None) => typed_values(proto, ty.element),
        };
        if data.len() != ty.values() {
            return Err(length(proto, &ty, "values", (data.len(), ty.values())));
        }
        Ok(Tensor { dims: ty.dims, data })
    }

    /// The type of a stored tensor and, where it has them as `raw_data` of its element, its values: they fill it.
    ///
    /// # Errors
    /// As [`Tensor::from_proto`].
    pub(crate) fn stored_raw(
        proto: &TensorProto,
    ) -> Result<(TensorType, Option<&Bytes>), TensorError> {
        let ty = Tensor::stored_here(proto)?;
        let is_plain = proto.data_type() == ty.element.to_onnx();
        Ok((ty, proto.raw_data.as_ref().filter(|_| is_plain)))
    }

    /// The type of a tensor that is stored in its model; `raw_data`, where there is any, fills it.
    fn stored_here(proto: &TensorProto) -> Result<TensorType, TensorError> {
        let ty = Tensor::stored_type(proto)?;
        let tensor = || proto.name().to_owned();
        if proto.data_location() == 1 {
            let location = proto.external_data.iter().find(|e| e.key() == "location");
            let location = location.map_or_else(String::new, |e| e.value().to_owned());
            return Err(TensorError::External { tensor: tensor(), location });
        }
        if proto.segment.is_some() {
            return Err(TensorError::Segment { tensor: tensor() });
        }
        let bytes = Tensor::stored_bytes(proto).unwrap_or_default();
        match &proto.raw_data {
            Some(raw) if raw.len() != bytes => Err(length(proto, &ty, "bytes", (raw.len(), bytes))),
            _ => Ok(ty),
        }
    }
}

fn length(
    proto: &TensorProto,
    ty: &TensorType,
    unit: &'static str,
    (got, want): (usize, usize),
) -> TensorError {
    TensorError::Length { tensor: proto.name().to_owned(), ty: ty.to_string(), unit, got, want }
}

fn raw_values(element: Element, raw: &[u8]) -> Data {
    fn each<const N: usize, T>(raw: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|c| from(*c)).collect()
    }
    match element {
        Element::F32 => Data::F32(each(raw, f32::from_le_bytes)),
        Element::F64 => Data::F64(each(raw, f64::from_le_bytes)),
        Element::F16 => Data::F16(each(raw, f16::from_le_bytes)),
        Element::Bf16 => Data::Bf16(each(raw, bf16::from_le_bytes)),
        Element::I64 => Data::I64(each(raw, i64::from_le_bytes)),
        Element::I32 => Data::I32(each(raw, i32::from_le_bytes)),
        Element::I16 => Data::I16(each(raw, i16::from_le_bytes)),
        Element::I8 => Data::I8(each(raw, i8::from_le_bytes)),
        Element::U64 => Data::U64(each(raw, u64::from_le_bytes)),
        Element::U32 => Data::U32(each(raw, u32::from_le_bytes)),
        Element::U16 => Data::U16(each(raw, u16::from_le_bytes)),
        Element::U8 => Data::U8(raw.to_vec()),
        Element::Bool => Data::Bool(raw.iter().map(|&b| b != 0).collect()),
    }
}

/// Values out of the typed fields; which field holds which element is fixed by `onnx.proto`.
fn typed_values(proto: &TensorProto, element: Element) -> Data {
    let int32 = &proto.int32_data;
    match element {
        Element::F32 => Data::F32(proto.float_data.clone()),
        Element::F64 => Data::F64(proto.double_data.clone()),
        Element::F16 => Data::F16(int32.iter().map(|&x| f16::from_bits(x as u16)).collect()),
        Element::Bf16 => Data::Bf16(int32.iter().map(|&x| bf16::from_bits(x as u16)).collect()),
        Element::I64 => Data::I64(proto.int64_data.clone()),
        Element::I32 => Data::I32(int32.clone()),
        Element::I16 => Data::I16(int32.iter().map(|&x| x as i16).collect()),
        Element::I8 => Data::I8(int32.iter().map(|&x| x as i8).collect()),
        Element::U64 => Data::U64(proto.uint64_data.clone()),
        Element::U32 => Data::U32(proto.uint64_data.iter().map(|&x| x as u32).collect()),
        Element::U16 => Data::U16(int32.iter().map(|&x| x as u16).collect()),
        Element::U8 => Data::U8(int32.iter().map(|&x| x as u8).collect()),
        Element::Bool => Data::Bool(int32.iter().map(|&x| x != 0).collect()),
    }
}
