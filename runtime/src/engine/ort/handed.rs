//! What ONNX Runtime is given of a model: its message, and beside it values by reference where they are too many for one.
//!
//! A message of protobuf has less than 2 GiB. Of a model that has more, larger initializers are inputs of the message, and are
//! bound once to where the values are: nothing is copied. As external initializers ONNX Runtime 1.31 copies them all, once for
//! each session.

use std::ffi::CString;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::buffer::{HostBuffer, NoMemory};
use super::raw::{Binding, OrtError, TensorValue};
use crate::engine::EngineError;
use crate::onnx::{Model, TensorType};

/// Values of fewer bytes stay in the message: what is small may be a shape, or a part of an operator that ONNX Runtime fuses.
const BYTES_MIN: usize = 1 << 16;

/// A model as ONNX Runtime takes it.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    /// The message.
    pub(super) bytes: Bytes,
    /// The values that are not in it.
    pub(super) held: Held,
}

/// Values at addresses that a session has: they are kept as long as it.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Vec<Values>>);

/// The values of one initializer.
#[derive(Debug)]
struct Values {
    name: CString,
    ty: TensorType,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In the bytes of the model.
    Shared(Bytes),
    /// In a copy: in those bytes they begin where no value of their element may.
    Copied(HostBuffer),
}

impl Handed {
    /// A message alone.
    pub(super) fn whole(bytes: Bytes) -> Handed {
        Handed { bytes, held: Held::default() }
    }

    /// A model of fewer bytes than `apart_from` as one message, another with its larger values apart.
    ///
    /// # Errors
    /// [`EngineError::Write`] if it has fields that would be lost, or no message even so;
    /// [`EngineError::Load`] if an initializer has a name that C has not, or there is no memory for a copy of it.
    pub(super) fn of(model: &Model, apart_from: u64, engine: &str) -> Result<Handed, EngineError> {
        if model.writable().map_err(EngineError::Write)? < apart_from {
            return Ok(Handed::whole(model.to_bytes().map_err(EngineError::Write)?));
        }
        let (bytes, apart) = model.to_bytes_apart(BYTES_MIN).map_err(EngineError::Write)?;
        let mut values = Vec::with_capacity(apart.len());
        for one in apart {
            let name = CString::new(one.name.as_str()).map_err(|_zero| EngineError::Load {
                engine: engine.to_owned(),
                reason: format!("the name of `{}` has a zero in it", one.name.escape_debug()),
            })?;
            let place = Place::of(one.values, one.ty.element.bytes()).map_err(|error| {
                let reason = format!("`{}`: {error}", one.name.escape_debug());
                EngineError::Load { engine: engine.to_owned(), reason }
            })?;
            values.push(Values { name, ty: one.ty, place });
        }
        Ok(Handed { bytes, held: Held(Arc::new(values)) })
    }

    /// The hash of all of it.
    pub(super) fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&self.bytes);
        self.held.0.iter().for_each(|values| hash.update(values.place.bytes()));
        hash.finalize().into()
    }
}

impl Held {
    /// Binds every value; on a device, the session has it there from now on.
    pub(super) fn bind(&self, binding: &mut Binding) -> Result<(), OrtError> {
        self.0.iter().try_for_each(|values| {
            let tensor = TensorValue::reading(values.place.bytes(), &values.ty)?;
            binding.input(&values.name, &tensor)
        })
    }
}

impl Place {
    fn of(values: Bytes, align: usize) -> Result<Place, NoMemory> {
        if values.as_ptr().addr().is_multiple_of(align) {
            return Ok(Place::Shared(values));
        }
        let mut copy = HostBuffer::new(values.len())?;
        copy.as_mut_slice::<u8>().copy_from_slice(&values);
        Ok(Place::Copied(copy))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Place::Shared(bytes) => bytes,
            Place::Copied(buffer) => buffer.as_slice::<u8>(),
        }
    }
}
