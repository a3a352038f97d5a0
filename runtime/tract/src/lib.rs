//! The embedded engine: runs models, training graphs too, in pure Rust by tract.
//!
//! It needs no library on the machine and is three to four times slower than ONNX Runtime. It runs
//! on the calling thread alone, whatever [`LoadOptions::threads`] says.

mod resize;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use shoal_runtime::engine::{
    Engine, EngineError, LoadOptions, Optimise, PlacedNode, Placement, RefusedNode, Session,
    TensorPort, ports,
};
use shoal_runtime::onnx::{Element, Model};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::*;

/// Version of tract, as it stands in [`Engine::describe`].
pub const TRACT_VERSION: &str = "0.23.9";

/// The engine. It has no state: every session stands alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Engine for Tract {
    fn describe(&self) -> String {
        format!("tract-{TRACT_VERSION}/cpu")
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let (inputs, outputs) = ports(model)?;
        for port in inputs.iter().chain(&outputs) {
            datum_type(port)?;
        }
        self.refuse_dangling(model)?;
        let bytes = model.to_bytes().map_err(EngineError::Write)?;
        // tract asserts where a graph surprises it, and a graph comes from outside.
        let plan = catch_unwind(AssertUnwindSafe(|| self.plan(&bytes, options.optimise)))
            .map_err(|panic| self.refused(&panic_text(&*panic)))??;
        let values = inputs.iter().map(zeros).collect::<Result<_, _>>()?;
        let results = outputs.iter().map(zeros).collect::<Result<_, _>>()?;
        let placement = placement(&plan);
        let state = plan.spawn().map_err(|error| self.refused(&text(&error)))?;
        let fresh = state.clone();
        let mut session =
            TractSession { inputs, outputs, values, results, state, fresh, placement };
        // tract finds out only while it evaluates that it lacks an operator for some type: here,
        // not at the first frame.
        session.try_out()?;
        Ok(Box::new(session))
    }
}

type State = TypedSimpleState;

impl Tract {
    fn refused(&self, reason: &str) -> EngineError {
        EngineError::Load { engine: self.describe(), reason: reason.to_owned() }
    }

    /// tract indexes by the names of outputs without looking.
    fn refuse_dangling(&self, model: &Model) -> Result<(), EngineError> {
        let graph = model.graph();
        for output in &graph.output {
            let name = output.name();
            let made = graph.node.iter().flat_map(|node| &node.output).any(|o| o == name)
                || graph.input.iter().any(|input| input.name() == name)
                || graph.initializer.iter().any(|tensor| tensor.name() == name);
            if !made {
                return Err(self.refused(&format!("nothing makes the output `{name}`")));
            }
        }
        Ok(())
    }

    fn plan(&self, bytes: &[u8], optimise: Optimise) -> Result<Arc<TypedSimplePlan>, EngineError> {
        let refused = |error: TractError| self.refused(&text(&error));
        let onnx = tract_onnx::onnx();
        let proto = onnx.proto_model_for_read(&mut &*bytes).map_err(refused)?;
        let nodes = refused_nodes(&onnx, &proto);
        if !nodes.is_empty() {
            return Err(EngineError::Nodes { engine: self.describe(), nodes });
        }
        let mut typed = onnx
            .model_for_proto_model(&proto)
            .and_then(|model| model.into_typed())
            .map_err(refused)?;
        let nodes = resize::settle(&mut typed).map_err(refused)?;
        if !nodes.is_empty() {
            return Err(EngineError::Nodes { engine: self.describe(), nodes });
        }
        let model = match optimise {
            Optimise::No => typed,
            Optimise::Basic => typed.into_decluttered().map_err(refused)?,
            Optimise::All => typed.into_optimized().map_err(refused)?,
        };
        model.into_runnable().map_err(refused)
    }
}

/// Every node that tract cannot even build, with its reason.
fn refused_nodes(onnx: &tract_onnx::Onnx, proto: &ModelProto) -> Vec<RefusedNode> {
    let Some(graph) = &proto.graph else { return Vec::new() };
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = proto.opset_import.iter().find(|opset| standard(&opset.domain));
    let context = ParsingContext {
        onnx_operator_set_version: opset.map_or(0, |opset| opset.version),
        framework: onnx,
        model: proto,
        parent_graphs: vec![graph],
        model_dir: None,
        template: InferenceModel::default(),
    };
    let mut refused = Vec::new();
    for node in &graph.node {
        let reason = match onnx.op_register.0.get(&node.op_type) {
            None => "unknown to tract".to_owned(),
            Some(_) if bends_otherwise(node) => "tract knows it with alpha = 1 only".to_owned(),
            Some(_) if fills_up(node) => "tract does not look at output_shape".to_owned(),
            Some(_) if looks_back_otherwise(node) => {
                "tract counts no places of the past, and looks at no window".to_owned()
            }
            Some(_) if orders_otherwise(node) => "tract does not look at mode".to_owned(),
            Some(_) if keeps_proportions(node) => {
                "tract does not look at keep_aspect_ratio_policy".to_owned()
            }
            Some(_) if cuts(node, graph) => "tract pads, and does not cut".to_owned(),
            Some(_) if recurs_otherwise(node) => {
                "tract runs it forward or both ways, with its own activations and no bounds"
                    .to_owned()
            }
            Some(build) => match build(&context, node) {
                Ok(_) => continue,
                Err(error) => text(&error),
            },
        };
        let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        let (node, operator) = (name.cloned().unwrap_or_default(), node.op_type.clone());
        refused.push(RefusedNode { node, operator, reason });
    }
    refused
}

/// tract 0.23.9 scales the result of `Celu` where ONNX scales the exponent, and reads no `alpha` of `Swish`.
fn bends_otherwise(node: &NodeProto) -> bool {
    let bends = matches!(node.op_type.as_str(), "Celu" | "Swish");
    bends && node.attribute.iter().any(|a| a.name == "alpha" && a.f != 1.0)
}

/// tract 0.23.9 gives what there would be without it. Folding writes pads for it where less is asked for than there is: what is left
/// asks for more.
fn fills_up(node: &NodeProto) -> bool {
    let asks = node.attribute.iter().any(|a| a.name == "output_shape" && !a.ints.is_empty());
    node.op_type == "ConvTranspose" && asks
}

/// tract 0.23.9 looks at no direction (it sees by the weights whether there are two), activation, bound or coupling of gates.
fn recurs_otherwise(node: &NodeProto) -> bool {
    let usual: &[&str] = match node.op_type.as_str() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        "RNN" => &["Tanh"],
        _ => return false,
    };
    node.attribute.iter().any(|a| match a.name.as_str() {
        "direction" => a.s == b"reverse",
        "activations" => {
            let own = usual.iter().cycle();
            a.strings.iter().zip(own).any(|(asked, own)| asked.as_slice() != own.as_bytes())
        }
        "clip" => true,
        "input_forget" => a.i != 0,
        _ => false,
    })
}

/// tract 0.23.9 lets the first query of a causal `Attention` see the first key alone, whatever came before it, and reads no window.
fn looks_back_otherwise(node: &NodeProto) -> bool {
    let number = |name: &str, left_out: i64| {
        node.attribute.iter().find(|a| a.name == name).map_or(left_out, |a| a.i)
    };
    let is_causal = number("is_causal", 0) != 0;
    let has_past = node.input.get(4).is_some_and(|past| !past.is_empty());
    let windows = ["left_window_size", "right_window_size"].map(|name| number(name, -1));
    node.op_type == "Attention"
        && ((is_causal && has_past) || windows.iter().any(|size| *size >= 0))
}

/// tract 0.23.9 reads no order of channels of a `SpaceToDepth`.
fn orders_otherwise(node: &NodeProto) -> bool {
    let is_other = |name: &str, usual: &[u8]| {
        node.attribute.iter().any(|a| a.name == name && a.s.as_slice() != usual)
    };
    node.op_type == "SpaceToDepth" && is_other("mode", b"DCR")
}

/// tract 0.23.9 resizes every axis to its own size.
fn keeps_proportions(node: &NodeProto) -> bool {
    let policy = node.attribute.iter().find(|a| a.name == "keep_aspect_ratio_policy");
    node.op_type == "Resize" && policy.is_some_and(|a| a.s.as_slice() != b"stretch")
}

/// tract 0.23.9 gives up where a Pad has a pad below 0.
fn cuts(node: &NodeProto, graph: &GraphProto) -> bool {
    let attribute = node.attribute.iter().find(|a| a.name == "pads");
    let input = node.input.get(1).filter(|name| !name.is_empty());
    let stored = graph.initializer.iter().find(|stored| Some(&stored.name) == input);
    let raw = stored.map_or(&[][..], |stored| stored.raw_data.as_slice());
    let raw = raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
    let written = attribute.map_or(&[][..], |pads| pads.ints.as_slice());
    let given = stored.map_or(&[][..], |stored| stored.int64_data.as_slice());
    node.op_type == "Pad" && written.iter().chain(given).copied().chain(raw).any(|pad| pad < 0)
}

/// The whole chain of an error: tract names the node in one link and the reason in another.
fn text(error: &TractError) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("tract gave up: {}", text.unwrap_or_default())
}

fn placement(plan: &TypedSimplePlan) -> Placement {
    let nodes = plan.model().nodes();
    let placed = plan.order_without_consts().iter().filter_map(|&index| nodes.get(index));
    let placed = placed.map(|node| PlacedNode {
        node: node.name.clone(),
        operator: node.op.name().into_owned(),
        provider: "tract".to_owned(),
    });
    Placement { nodes: placed.collect(), replays: false }
}

fn datum_type(port: &TensorPort) -> Result<DatumType, EngineError> {
    Ok(match port.ty.element {
        Element::F32 => DatumType::F32,
        Element::F64 => DatumType::F64,
        Element::F16 => DatumType::F16,
        Element::I64 => DatumType::I64,
        Element::I32 => DatumType::I32,
        Element::I16 => DatumType::I16,
        Element::I8 => DatumType::I8,
        Element::U64 => DatumType::U64,
        Element::U32 => DatumType::U32,
        Element::U16 => DatumType::U16,
        Element::U8 => DatumType::U8,
        Element::Bool => DatumType::Bool,
        Element::Bf16 => {
            let (tensor, got) = (port.name.clone(), Element::Bf16.to_string());
            return Err(EngineError::UnsupportedElement { tensor, got });
        }
    })
}

fn zeros(port: &TensorPort) -> Result<Arc<Tensor>, EngineError> {
    let tensor = Tensor::zero_dt(datum_type(port)?, &port.ty.dims);
    tensor.map(Arc::new).map_err(|error| EngineError::UnsupportedElement {
        tensor: port.name.clone(),
        got: text(&error),
    })
}

struct TractSession {
    inputs: Vec<TensorPort>,
    outputs: Vec<TensorPort>,
    /// What the next run reads. Shared with tract during a run only, so that a write finds them
    /// unshared; one that became an output as it is gets copied by the write.
    values: Vec<Arc<Tensor>>,
    /// What the last run made.
    results: Vec<Arc<Tensor>>,
    state: State,
    /// Before any run: tract's recurrent operators begin where they ended.
    fresh: State,
    placement: Placement,
}

impl TractSession {
    fn failed(reason: String) -> EngineError {
        EngineError::Run { engine: Tract.describe(), reason }
    }

    /// Runs once on zeros, and forgets the results.
    fn try_out(&mut self) -> Result<(), EngineError> {
        let zeros = self.results.clone();
        self.run().map_err(|error| {
            if let EngineError::Run { engine, reason } = error {
                EngineError::Load { engine, reason }
            } else {
                error
            }
        })?;
        self.results = zeros;
        Ok(())
    }

    /// Keeps the results of a run, in the types and shapes the file declares.
    fn keep(&mut self, results: TVec<TValue>) -> Result<(), EngineError> {
        for (index, result) in results.into_iter().enumerate() {
            let port = &self.outputs[index];
            let want = datum_type(port)?;
            let mut result = result.into_arc_tensor();
            if result.datum_type() != want {
                let cast = result.cast_to_dt(want).map_err(|e| Self::failed(text(&e)))?;
                result = Arc::new(cast.into_owned());
            }
            if result.shape() != port.ty.dims {
                return Err(Self::failed(format!(
                    "`{}` came out as {:?}, declared is {:?}",
                    port.name,
                    result.shape(),
                    port.ty.dims
                )));
            }
            self.results[index] = result;
        }
        Ok(())
    }

    fn output<D: Datum>(&self, output: usize, element: Element) -> Result<&[D], EngineError> {
        let port = &self.outputs[output];
        if port.ty.element != element {
            return Err(EngineError::WrongElement {
                tensor: port.name.clone(),
                want: port.ty.element,
                got: element,
            });
        }
        let view = self.results[output].try_as_plain_ram();
        view.and_then(|view| view.as_slice::<D>()).map_err(|error| Self::failed(text(&error)))
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[TensorPort] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorPort] {
        &self.outputs
    }

    fn write_bytes(
        &mut self,
        input: usize,
        element: Element,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        EngineError::check(&self.inputs[input], element, bytes.len())?;
        Arc::make_mut(&mut self.values[input]).as_bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    fn input_f32(&mut self, input: usize) -> Option<&mut [f32]> {
        if self.inputs[input].ty.element != Element::F32 {
            return None;
        }
        let tensor = Arc::make_mut(&mut self.values[input]);
        tensor.to_plain_array_view_mut().ok()?.into_slice()
    }

    fn run(&mut self) -> Result<(), EngineError> {
        let values = self.values.iter().map(|value| value.clone().into_tvalue()).collect();
        let state = &mut self.state;
        state.op_states.clone_from(&self.fresh.op_states);
        let results = catch_unwind(AssertUnwindSafe(|| state.run(values)))
            .map_err(|panic| Self::failed(panic_text(&*panic)))?
            .map_err(|error| Self::failed(text(&error)))?;
        self.keep(results)
    }

    fn output_bytes(&self, output: usize) -> Result<&[u8], EngineError> {
        Ok(self.results[output].as_bytes())
    }

    fn output_f32(&self, output: usize) -> Result<&[f32], EngineError> {
        self.output(output, Element::F32)
    }

    fn output_i64(&self, output: usize) -> Result<&[i64], EngineError> {
        self.output(output, Element::I64)
    }

    fn copy_output_to_input(&mut self, output: usize, input: usize) -> Result<(), EngineError> {
        let (from, to) = (&self.outputs[output], &self.inputs[input]);
        if from.ty != to.ty {
            return Err(EngineError::NotAlike {
                output: from.name.clone(),
                from: from.ty.clone(),
                input: to.name.clone(),
                to: to.ty.clone(),
            });
        }
        // Shared until one of them is written: the copy is made by whoever writes first.
        self.values[input] = Arc::clone(&self.results[output]);
        Ok(())
    }

    fn proven(&self) -> &Placement {
        &self.placement
    }
}
