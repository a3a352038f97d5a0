//! Where a session keeps its tensors when its memory is not the host's.
//!
//! ONNX Runtime copies a host tensor to the device when it is bound, into memory of its own
//! choosing. So that a device buffer keeps its address, values go through a graph of one Identity
//! node: bound from the host (or from another device buffer), bound to the device buffer, run.

use std::ffi::CString;

use ::ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};

use super::raw::{Binding, OrtError, TensorValue};
use crate::engine::Providers;
use crate::onnx::proto::{GraphProto, NodeProto, TypeProto, ValueInfoProto, type_proto};
use crate::onnx::{Element, Model, TensorType, WriteError};

/// Where the tensors of a session live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// The host's memory: the program's buffers are bound as they are.
    Host,
    /// Memory of a device, which each buffer has a staging copy for.
    Device { name: &'static str, number: u32 },
}

impl Memory {
    pub(super) fn of(providers: &Providers) -> Self {
        if providers.accelerated() {
            Self::Device { name: "Cuda", number: providers.device }
        } else {
            Self::Host
        }
    }
}

/// Opset of the copying graph; Identity has been the same since 1.
const OPSET: i64 = 17;

const FROM: &str = "from";
const TO: &str = "to";

/// A graph that copies a tensor of any shape.
pub(super) fn copying_model(element: Element) -> Result<bytes::Bytes, WriteError> {
    let value = |name: &str| ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(element.to_onnx()),
                shape: None,
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    let graph = GraphProto {
        name: Some("copy".to_owned()),
        node: vec![NodeProto {
            op_type: Some("Identity".to_owned()),
            input: vec![FROM.to_owned()],
            output: vec![TO.to_owned()],
            ..NodeProto::default()
        }],
        input: vec![value(FROM)],
        output: vec![value(TO)],
        ..GraphProto::default()
    };
    Model::new(graph, OPSET).to_bytes()
}

/// Copies tensors of one element type to and on the device.
#[derive(Debug)]
pub(super) struct Copier {
    from: CString,
    to: CString,
    session: ::ort::session::Session,
}

impl Copier {
    pub(super) fn new(session: ::ort::session::Session) -> Self {
        let name = |name: &str| CString::new(name).expect("no NUL in a constant");
        Self { from: name(FROM), to: name(TO), session }
    }

    /// A binding whose runs overwrite `target` in place.
    pub(super) fn bind(&mut self, target: &TensorValue) -> Result<Binding, OrtError> {
        let mut binding = Binding::new(&mut self.session)?;
        binding.output(&self.to, target)?;
        Ok(binding)
    }

    /// Overwrites the target of `binding` with `source`, a tensor of the same shape.
    pub(super) fn copy(
        &mut self,
        source: &TensorValue,
        binding: &mut Binding,
    ) -> Result<(), OrtError> {
        binding.input(&self.from, source)?;
        binding.wait_for_inputs()?;
        binding.run(&mut self.session)?;
        binding.wait_for_outputs()
    }
}

/// The memory of a device.
#[derive(Debug)]
pub(super) struct DeviceMemory(Allocator);

impl DeviceMemory {
    pub(super) fn new(
        session: &::ort::session::Session,
        name: &str,
        number: u32,
    ) -> Result<Self, OrtError> {
        let info = MemoryInfo::new(
            AllocationDevice::new(name),
            i32::try_from(number).unwrap_or(i32::MAX),
            AllocatorType::Device,
            MemoryType::Default,
        )?;
        Ok(Self(Allocator::new(session, info)?))
    }

    pub(super) fn tensor(&self, ty: &TensorType) -> Result<TensorValue, OrtError> {
        TensorValue::on(&self.0, ty)
    }
}
