//! The few objects of ONNX Runtime's C interface that a bound run needs, each released once.
#![expect(unsafe_code, reason = "objects of the C interface have no other handle")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{NonNull, null, null_mut};

use ::ort::AsPointer;
use ::ort::memory::Allocator;
use ::ort::sys::{
    ONNXTensorElementDataType, OrtAllocatorType, OrtIoBinding, OrtMemType, OrtMemoryInfo,
    OrtStatusPtr, OrtValue,
};

use super::buffer::HostBuffer;
use crate::onnx::{Element, TensorType};

pub(super) type OrtError = ::ort::Error;

/// Turns the status of a call into a result; no allocation when it is a success.
pub(super) fn check(status: OrtStatusPtr) -> Result<(), OrtError> {
    // SAFETY: every caller passes the status it got from a call, once.
    unsafe { OrtError::result_from_status(status) }
}

fn made<T>(pointer: *mut T) -> Result<NonNull<T>, OrtError> {
    NonNull::new(pointer).ok_or_else(|| OrtError::new("ONNX Runtime returned a null object"))
}

/// The providers the library was built with, in its own words.
pub(super) fn available_providers() -> Result<Vec<String>, OrtError> {
    let api = ::ort::api();
    let (mut names, mut count) = (null_mut(), 0);
    // SAFETY: both pointers are valid for writes; the array is released below with its own count.
    check(unsafe { (api.GetAvailableProviders)(&raw mut names, &raw mut count) })?;
    // SAFETY: on success the array holds `count` NUL-terminated strings.
    let list = (0..usize::try_from(count).unwrap_or(0))
        .map(|i| unsafe { string(*names.add(i)) })
        .collect();
    // SAFETY: released once, with the pointer and count of the call above.
    check(unsafe { (api.ReleaseAvailableProviders)(names, count) })?;
    Ok(list)
}

/// A copy of a NUL-terminated string.
///
/// # Safety
/// `text` points to one, or is null.
pub(super) unsafe fn string(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Describes host memory that belongs to us.
struct HostMemory(NonNull<OrtMemoryInfo>);

impl HostMemory {
    fn new() -> Result<Self, OrtError> {
        let mut info = null_mut();
        // SAFETY: `info` is valid for writes.
        check(unsafe {
            (::ort::api().CreateCpuMemoryInfo)(
                OrtAllocatorType::OrtDeviceAllocator,
                OrtMemType::OrtMemTypeDefault,
                &raw mut info,
            )
        })?;
        Ok(Self(made(info)?))
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: created in `new`, released once.
        unsafe { (::ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) }
    }
}

/// A tensor that ONNX Runtime can bind.
#[derive(Debug)]
pub(super) struct TensorValue(NonNull<OrtValue>);

// SAFETY: a tensor has no thread affinity; it is used from one thread at a time, under `&mut`.
unsafe impl Send for TensorValue {}

impl TensorValue {
    /// A tensor over `buffer`, which the caller keeps alive as long as the tensor is bound.
    pub(super) fn over(buffer: &HostBuffer, ty: &TensorType) -> Result<Self, OrtError> {
        let (memory, dims) = (HostMemory::new()?, dims(ty));
        let mut value = null_mut();
        // SAFETY: the buffer has the bytes of `ty`; ONNX Runtime copies info and dims and keeps
        // only the address, which the caller keeps valid.
        check(unsafe {
            (::ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0.as_ptr(),
                buffer.address().cast(),
                buffer.bytes(),
                dims.as_ptr(),
                dims.len(),
                element_type(ty.element),
                &raw mut value,
            )
        })?;
        Ok(Self(made(value)?))
    }

    /// A tensor over values that ONNX Runtime only reads: those of an input. The caller keeps them where they are as long as the
    /// tensor is bound.
    ///
    /// # Panics
    /// If these are not as many bytes as `ty` has.
    pub(super) fn reading(values: &[u8], ty: &TensorType) -> Result<Self, OrtError> {
        assert_eq!(values.len(), ty.values() * ty.element.bytes(), "values do not fill {ty}");
        let (memory, dims) = (HostMemory::new()?, dims(ty));
        let mut value = null_mut();
        // SAFETY: the values have the bytes of `ty`; ONNX Runtime copies info and dims, keeps the address, which the caller
        // keeps valid, and writes to no input.
        check(unsafe {
            (::ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0.as_ptr(),
                values.as_ptr().cast_mut().cast(),
                values.len(),
                dims.as_ptr(),
                dims.len(),
                element_type(ty.element),
                &raw mut value,
            )
        })?;
        Ok(Self(made(value)?))
    }

    /// A tensor in the memory of `allocator`, which the caller keeps alive; content unspecified.
    pub(super) fn on(allocator: &Allocator, ty: &TensorType) -> Result<Self, OrtError> {
        let dims = dims(ty);
        let mut value = null_mut();
        // SAFETY: the allocator is alive; dims are copied.
        check(unsafe {
            (::ort::api().CreateTensorAsOrtValue)(
                allocator.ptr().cast_mut(),
                dims.as_ptr(),
                dims.len(),
                element_type(ty.element),
                &raw mut value,
            )
        })?;
        Ok(Self(made(value)?))
    }
}

impl Drop for TensorValue {
    fn drop(&mut self) {
        // SAFETY: created by us, released once.
        unsafe { (::ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

/// Inputs and outputs of one session, tied to tensors.
#[derive(Debug)]
pub(super) struct Binding(NonNull<OrtIoBinding>);

// SAFETY: as for `TensorValue`.
unsafe impl Send for Binding {}

impl Binding {
    pub(super) fn new(session: &mut ::ort::session::Session) -> Result<Self, OrtError> {
        let mut binding = null_mut();
        // SAFETY: the session is alive.
        check(unsafe { (::ort::api().CreateIoBinding)(session.ptr_mut(), &raw mut binding) })?;
        Ok(Self(made(binding)?))
    }

    /// Ties an input to a tensor. A tensor on another device than the session's is copied there
    /// now; otherwise the binding refers to it.
    pub(super) fn input(&mut self, name: &CString, value: &TensorValue) -> Result<(), OrtError> {
        let (binding, value) = (self.0.as_ptr(), value.0.as_ptr());
        // SAFETY: both are alive; the binding keeps its own reference to the value.
        check(unsafe { (::ort::api().BindInput)(binding, name.as_ptr(), value) })
    }

    /// Ties an output to a tensor of its type and shape.
    pub(super) fn output(&mut self, name: &CString, value: &TensorValue) -> Result<(), OrtError> {
        let (binding, value) = (self.0.as_ptr(), value.0.as_ptr());
        // SAFETY: both are alive; the binding keeps its own reference to the value.
        check(unsafe { (::ort::api().BindOutput)(binding, name.as_ptr(), value) })
    }

    /// Runs the session the binding was made for. Allocates nothing on our side.
    pub(super) fn run(&mut self, session: &mut ::ort::session::Session) -> Result<(), OrtError> {
        let binding = self.0.as_ptr();
        // SAFETY: both are alive and borrowed mutably; the bound tensors are kept alive by the
        // owner of the binding; null run options mean the defaults.
        check(unsafe { (::ort::api().RunWithBinding)(session.ptr_mut(), null(), binding) })
    }

    /// Waits until the device has the inputs of this binding.
    pub(super) fn wait_for_inputs(&mut self) -> Result<(), OrtError> {
        // SAFETY: the binding is alive.
        check(unsafe { (::ort::api().SynchronizeBoundInputs)(self.0.as_ptr()) })
    }

    /// Waits until the outputs of this binding hold their values.
    pub(super) fn wait_for_outputs(&mut self) -> Result<(), OrtError> {
        // SAFETY: the binding is alive.
        check(unsafe { (::ort::api().SynchronizeBoundOutputs)(self.0.as_ptr()) })
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: created in `new`, released once.
        unsafe { (::ort::api().ReleaseIoBinding)(self.0.as_ptr()) }
    }
}

fn dims(ty: &TensorType) -> Vec<i64> {
    ty.dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect()
}

fn element_type(element: Element) -> ONNXTensorElementDataType {
    use ONNXTensorElementDataType as Ort;
    match element {
        Element::F32 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        Element::F64 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        Element::F16 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        Element::Bf16 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        Element::I64 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        Element::I32 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        Element::I16 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        Element::I8 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        Element::U64 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        Element::U32 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        Element::U16 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        Element::U8 => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        Element::Bool => Ort::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    }
}
