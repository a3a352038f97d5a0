//! A session whose inputs and outputs are bound once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;

use ::ort::session::Session as OrtSession;

use super::buffer::HostBuffer;
use super::device::{Copier, DeviceMemory, Memory};
use super::handed::Held;
use super::raw::{Binding, OrtError, TensorValue};
use crate::engine::{EngineError, LoadOptions, Place, Placement, Session, TensorPort};
use crate::onnx::Element;

/// The fields are dropped in this order: bindings before tensors, tensors before their memory,
/// all before the session, and that before the values it reads.
pub(super) struct Bound {
    engine: String,
    binding: Binding,
    inputs: Side,
    outputs: Side,
    device: Option<Device>,
    placement: Placement,
    session: OrtSession,
    /// Kept alive for the session.
    _held: Held,
}

/// What a session on a device has on top.
pub(super) struct Device {
    /// Bindings that overwrite the input of this index.
    into: BTreeMap<usize, Binding>,
    /// Bindings that overwrite the host's copy of the output of this index.
    back: BTreeMap<usize, Binding>,
    copiers: BTreeMap<Element, Copier>,
    inputs: Vec<TensorValue>,
    /// Outputs that the run leaves on the device: those that stay there and, where runs are replayed, all.
    resident: BTreeMap<usize, TensorValue>,
    /// Kept alive for the tensors above, which are dropped first.
    _memory: DeviceMemory,
}

/// All inputs, or all outputs.
struct Side {
    ports: Vec<TensorPort>,
    names: Vec<CString>,
    values: Vec<TensorValue>,
    buffers: Vec<HostBuffer>,
}

impl Side {
    fn new(ports: Vec<TensorPort>) -> Result<Self, OrtError> {
        let buffers = ports
            .iter()
            .map(|port| HostBuffer::new(port.ty.values() * port.ty.element.bytes()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(::ort::Error::wrap)?;
        let values = ports
            .iter()
            .zip(&buffers)
            .map(|(port, buffer)| TensorValue::over(buffer, &port.ty))
            .collect::<Result<_, _>>()?;
        let names = ports
            .iter()
            .map(|port| CString::new(port.name.as_str()).map_err(::ort::Error::wrap))
            .collect::<Result<_, _>>()?;
        Ok(Self { ports, names, values, buffers })
    }

    /// Checks that a port is of the type the caller reads it as.
    fn expect(&self, index: usize, element: Element) -> Result<&HostBuffer, EngineError> {
        let port = &self.ports[index];
        if port.place == Place::Device {
            return Err(EngineError::Resident { tensor: port.name.clone() });
        }
        if port.ty.element != element {
            return Err(EngineError::WrongElement {
                tensor: port.name.clone(),
                want: port.ty.element,
                got: element,
            });
        }
        Ok(&self.buffers[index])
    }
}

impl Bound {
    /// Binds every input and output of `session`, which `placement` was read back from; `copier` makes a session that copies tensors of
    /// an element type on the same provider, and is asked only when memory is a device's.
    pub(super) fn new(
        engine: String,
        (mut session, held): (OrtSession, Held),
        ports: (Vec<TensorPort>, Vec<TensorPort>),
        placement: Placement,
        memory: Memory,
        options: &LoadOptions,
        copier: impl Fn(Element) -> Result<OrtSession, EngineError>,
    ) -> Result<Self, EngineError> {
        let refused = |error: OrtError| EngineError::Load {
            engine: engine.clone(),
            reason: error.to_string(),
        };
        let on_device = memory != Memory::Host;
        let stays = |name: &str| on_device && options.resident.iter().any(|r| r == name);
        let (mut inputs, mut outputs) = ports;
        for port in &mut inputs {
            port.place = if on_device { Place::Device } else { Place::Host };
        }
        for port in &mut outputs {
            port.place = if stays(&port.name) { Place::Device } else { Place::Host };
        }
        let inputs = Side::new(inputs).map_err(refused)?;
        let outputs = Side::new(outputs).map_err(refused)?;
        let mut binding = Binding::new(&mut session).map_err(refused)?;
        let device = match memory {
            Memory::Host => None,
            Memory::Device { name, number } => {
                let memory = DeviceMemory::new(&session, name, number).map_err(refused)?;
                let ports = inputs.ports.iter().chain(&outputs.ports);
                let elements: BTreeSet<Element> = ports.map(|port| port.ty.element).collect();
                let copiers = elements
                    .into_iter()
                    .map(|element| Ok((element, Copier::new(copier(element)?))))
                    .collect::<Result<_, EngineError>>()?;
                let all = placement.replays;
                Some(Device::new(memory, copiers, &inputs, (&outputs, all)).map_err(refused)?)
            }
        };
        held.bind(&mut binding).map_err(refused)?;
        for (index, name) in inputs.names.iter().enumerate() {
            let value = device.as_ref().map_or(&inputs.values[index], |d| &d.inputs[index]);
            binding.input(name, value).map_err(refused)?;
        }
        for (index, name) in outputs.names.iter().enumerate() {
            let resident = device.as_ref().and_then(|device| device.resident.get(&index));
            let value = resident.unwrap_or(&outputs.values[index]);
            binding.output(name, value).map_err(refused)?;
        }
        Ok(Self { engine, binding, inputs, outputs, device, placement, session, _held: held })
    }

    fn failed(&self, error: &OrtError) -> EngineError {
        EngineError::Run { engine: self.engine.clone(), reason: error.to_string() }
    }

    /// Brings the staging copy of an input to the device, when there is one.
    fn upload(&mut self, input: usize) -> Result<(), EngineError> {
        let element = self.inputs.ports[input].ty.element;
        let Some(device) = &mut self.device else { return Ok(()) };
        let done = device.copy(element, input, &self.inputs.values[input]);
        done.map_err(|error| self.failed(&error))
    }
}

impl Device {
    fn new(
        memory: DeviceMemory,
        mut copiers: BTreeMap<Element, Copier>,
        inputs: &Side,
        (outputs, all): (&Side, bool),
    ) -> Result<Self, OrtError> {
        let tensor = |port: &TensorPort| memory.tensor(&port.ty);
        let targets = inputs.ports.iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
        let mut into = BTreeMap::new();
        for (index, (port, target)) in inputs.ports.iter().zip(&targets).enumerate() {
            if let Some(copier) = copiers.get_mut(&port.ty.element) {
                let mut binding = copier.bind(target)?;
                // An input nobody writes holds zeros, as it does on the host.
                copier.copy(&inputs.values[index], &mut binding)?;
                into.insert(index, binding);
            }
        }
        let (mut resident, mut back) = (BTreeMap::new(), BTreeMap::new());
        for (index, port) in outputs.ports.iter().enumerate() {
            if (all || port.place == Place::Device)
                && let Some(copier) = copiers.get_mut(&port.ty.element)
            {
                resident.insert(index, tensor(port)?);
                back.insert(index, copier.bind(&outputs.values[index])?);
            }
        }
        Ok(Self { into, back, copiers, inputs: targets, resident, _memory: memory })
    }

    /// Brings an output that the run left on the device to the host's copy.
    fn bring(&mut self, element: Element, output: usize) -> Result<(), OrtError> {
        let found = (
            self.resident.get(&output),
            self.copiers.get_mut(&element),
            self.back.get_mut(&output),
        );
        match found {
            (Some(source), Some(copier), Some(binding)) => copier.copy(source, binding),
            (None, _, _) | (_, None, _) | (_, _, None) => Ok(()),
        }
    }

    /// Brings all that the run left on the device and that does not stay there.
    fn bring_back(&mut self, outputs: &[TensorPort]) -> Result<(), OrtError> {
        for (index, port) in outputs.iter().enumerate() {
            if port.place == Place::Host {
                self.bring(port.ty.element, index)?;
            }
        }
        Ok(())
    }

    fn copy(
        &mut self,
        element: Element,
        input: usize,
        source: &TensorValue,
    ) -> Result<(), OrtError> {
        match (self.copiers.get_mut(&element), self.into.get_mut(&input)) {
            (Some(copier), Some(binding)) => copier.copy(source, binding),
            (None, _) | (_, None) => Ok(()),
        }
    }

    fn copy_resident(
        &mut self,
        element: Element,
        output: usize,
        input: usize,
    ) -> Option<Result<(), OrtError>> {
        let source = self.resident.get(&output)?;
        let copier = self.copiers.get_mut(&element)?;
        let binding = self.into.get_mut(&input)?;
        Some(copier.copy(source, binding))
    }
}

impl Session for Bound {
    fn inputs(&self) -> &[TensorPort] {
        &self.inputs.ports
    }

    fn outputs(&self) -> &[TensorPort] {
        &self.outputs.ports
    }

    fn write_bytes(
        &mut self,
        input: usize,
        element: Element,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        EngineError::check(&self.inputs.ports[input], element, bytes.len())?;
        self.inputs.buffers[input].as_mut_slice().copy_from_slice(bytes);
        self.upload(input)
    }

    fn input_f32(&mut self, input: usize) -> Option<&mut [f32]> {
        let port = &self.inputs.ports[input];
        let in_place = port.ty.element == Element::F32 && port.place == Place::Host;
        in_place.then(|| self.inputs.buffers[input].as_mut_slice())
    }

    fn run(&mut self) -> Result<(), EngineError> {
        let mut done = self.binding.run(&mut self.session);
        if let Some(device) = &mut self.device {
            done = done.and_then(|()| self.binding.wait_for_outputs());
            done = done.and_then(|()| device.bring_back(&self.outputs.ports));
        }
        done.map_err(|error| self.failed(&error))
    }

    fn output_bytes(&self, output: usize) -> Result<&[u8], EngineError> {
        let element = self.outputs.ports[output].ty.element;
        Ok(self.outputs.expect(output, element)?.as_slice())
    }

    fn output_f32(&self, output: usize) -> Result<&[f32], EngineError> {
        Ok(self.outputs.expect(output, Element::F32)?.as_slice())
    }

    fn output_i64(&self, output: usize) -> Result<&[i64], EngineError> {
        Ok(self.outputs.expect(output, Element::I64)?.as_slice())
    }

    fn copy_output_to_input(&mut self, output: usize, input: usize) -> Result<(), EngineError> {
        let (from, to) = (&self.outputs.ports[output], &self.inputs.ports[input]);
        if from.ty != to.ty {
            return Err(EngineError::NotAlike {
                output: from.name.clone(),
                from: from.ty.clone(),
                input: to.name.clone(),
                to: to.ty.clone(),
            });
        }
        let element = to.ty.element;
        let device = self.device.as_mut();
        if let Some(done) = device.and_then(|d| d.copy_resident(element, output, input)) {
            return done.map_err(|error| self.failed(&error));
        }
        let target = self.inputs.buffers[input].as_mut_slice::<u8>();
        target.copy_from_slice(self.outputs.buffers[output].as_slice());
        self.upload(input)
    }

    fn fetch_f32(&mut self, output: usize, into: &mut [f32]) -> Result<(), EngineError> {
        let port = &self.outputs.ports[output];
        EngineError::check(port, Element::F32, size_of_val(into))?;
        if port.place == Place::Device
            && let Some(device) = &mut self.device
        {
            device.bring(Element::F32, output).map_err(|error| self.failed(&error))?;
        }
        into.copy_from_slice(self.outputs.buffers[output].as_slice());
        Ok(())
    }

    fn proven(&self) -> &Placement {
        &self.placement
    }
}
