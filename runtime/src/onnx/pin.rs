//! Numbers for the axes that a model leaves open, and values for inputs that are no data but decide what is computed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::fold::input_type;
use super::model::{Model, place};
use super::proto::{Dimension, GraphProto, ValueInfoProto, dimension, type_proto};
use super::tensor::{Element, Tensor};

/// Places of an input that gets one value for all: more are data.
const PLACES_MAX: usize = 1 << 16;

/// Which numbers open axes get, and which inputs become constants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PinOptions {
    /// For an open first axis; 1 where nothing is said.
    pub batch: Option<usize>,
    /// For named axes, wherever they are, and for axis AXIS of an input as `INPUT:AXIS`; goes before `batch`.
    pub dims: BTreeMap<String, usize>,
    /// For open axes behind the first that no name pins; refused where nothing is said.
    pub open: Option<OpenAxes>,
    /// For inputs that become constants: the one value that each of their places has. A sampling rate, or a flag that chooses a
    /// branch.
    pub values: BTreeMap<String, f64>,
}

/// Lengths of open axes behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAxes {
    /// Of inputs with four axes or more: height and width.
    pub space: usize,
    /// Of inputs with fewer: steps, tokens, features.
    pub other: usize,
    /// Whether these are the first input's alone: open axes of the others are as long as the batch then, which those of the states
    /// of a recurrent network are.
    pub first_alone: bool,
}

/// Why an axis gets no number, and of which file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", place(file.as_deref()))]
pub struct PinError {
    /// The file of the model, where it was read from one.
    pub file: Option<PathBuf>,
    /// What is wrong with it.
    pub why: PinWhy,
}

/// Why an axis gets no number.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinWhy {
    #[error("axis {axis} of input `{input}` is open (named `{name}`): say how long it is")]
    Open { input: String, axis: usize, name: String },
    #[error("input `{input}` has no shape: re-export the model with one")]
    NoShape { input: String },
    #[error("axis `{name}` is pinned to {one} and to {other}")]
    TwoLengths { name: String, one: usize, other: usize },
    #[error("no open axis is called `{name}`{}", listed(axes))]
    NoSuchAxis { name: String, axes: Vec<String> },
    #[error("no input is called `{name}`; there are {}", inputs.join(", "))]
    NoSuchInput { name: String, inputs: Vec<String> },
    #[error("input `{input}` is {element}, which {value} is not")]
    NoValue { input: String, element: Element, value: String },
    #[error("input `{input}` is no tensor of a supported type: it gets no value")]
    InputType { input: String },
    #[error("input `{input}` has {places} places: what gets one value has at most {PLACES_MAX}")]
    Places { input: String, places: usize },
}

fn listed(axes: &[String]) -> String {
    match axes {
        [] => ": the model leaves none open".to_owned(),
        _ => format!("; there are {}", axes.join(", ")),
    }
}

/// Gives every open axis of a graph input a number, and inputs that are named in `values` their value: they are constants then.
///
/// An axis named in `dims` gets that; an open first axis gets `batch`. Every other axis of the model with
/// the same name follows. What already is a number stays.
///
/// # Errors
/// [`PinError`] if an axis that is not the first stays open, an input has no shape at all, a length is for an axis that is none, or a
/// value for what is no input, or none of its element.
pub fn pin(model: &Model, options: &PinOptions) -> Result<Model, PinError> {
    pinned(model, options).map_err(|why| PinError { file: model.origin().map(Path::to_owned), why })
}

fn pinned(model: &Model, options: &PinOptions) -> Result<Model, PinWhy> {
    let mut pinned = model.clone();
    let mut names = options.dims.clone();
    let initializers: BTreeSet<String> =
        model.graph().initializer.iter().map(|t| t.name().to_owned()).collect();
    let graph = pinned.graph_mut();
    let mut open = BTreeSet::new();
    let is_given = |input: &&mut ValueInfoProto| {
        !initializers.contains(input.name()) && !options.values.contains_key(input.name())
    };
    let (given, fixed): (Vec<_>, Vec<_>) = graph.input.iter_mut().partition(is_given);
    let fixed = fixed.into_iter().filter(|input| !initializers.contains(input.name()));
    let given = given.into_iter().chain(fixed);
    for (place, input) in given.enumerate() {
        pin_input(input, (options, place), (&mut names, &mut open))?;
    }
    for value in graph.output.iter_mut().chain(&mut graph.value_info) {
        for dim in dims_of(value).into_iter().flatten() {
            if let Some(dimension::Value::DimParam(name)) = &dim.value
                && let Some(&length) = names.get(name)
            {
                open.insert(name.clone());
                dim.value = Some(dimension::Value::DimValue(length as i64));
            }
        }
    }
    if let Some(name) = options.dims.keys().find(|name| !open.contains(*name)) {
        return Err(PinWhy::NoSuchAxis { name: name.clone(), axes: open.into_iter().collect() });
    }
    for (name, &value) in &options.values {
        fix(graph, name, value, &initializers)?;
    }
    Ok(pinned)
}

/// Makes an input a constant that is this value everywhere.
fn fix(
    graph: &mut GraphProto,
    name: &str,
    value: f64,
    initializers: &BTreeSet<String>,
) -> Result<(), PinWhy> {
    let is_input = |input: &ValueInfoProto| !initializers.contains(input.name());
    let place = graph.input.iter().position(|input| is_input(input) && input.name() == name);
    let Some(place) = place else {
        let inputs = graph.input.iter().filter(|input| is_input(input));
        let inputs = inputs.map(|input| input.name().to_owned()).collect();
        return Err(PinWhy::NoSuchInput { name: name.to_owned(), inputs });
    };
    let input = graph.input.remove(place);
    let ty = input_type(&input).map_err(|_| PinWhy::InputType { input: name.to_owned() })?;
    if ty.values() > PLACES_MAX {
        return Err(PinWhy::Places { input: name.to_owned(), places: ty.values() });
    }
    let tensor = Tensor::from_f64s(ty.element, &ty.dims, &vec![value; ty.values()]);
    if !ty.element.is_float() && tensor.to_f64s().iter().any(|&stored| stored != value) {
        let (input, element, value) = (name.to_owned(), ty.element, value.to_string());
        return Err(PinWhy::NoValue { input, element, value });
    }
    graph.initializer.push(tensor.to_proto(name));
    Ok(())
}

/// Notes the lengths of named axes, and by what names all that are open may be meant.
fn pin_input(
    input: &mut ValueInfoProto,
    (options, number): (&PinOptions, usize),
    (names, open): (&mut BTreeMap<String, usize>, &mut BTreeSet<String>),
) -> Result<(), PinWhy> {
    let label = input.name().to_owned();
    let Some(dims) = dims_of(input) else {
        return match is_tensor(input) {
            true => Err(PinWhy::NoShape { input: label }),
            false => Ok(()),
        };
    };
    let rank = dims.len();
    for (axis, dim) in dims.iter_mut().enumerate() {
        let name = match &dim.value {
            Some(dimension::Value::DimValue(length)) if *length > 0 => continue,
            Some(dimension::Value::DimParam(name)) => name.clone(),
            // Some exporters write 0 or −1 for an open axis.
            Some(dimension::Value::DimValue(_)) | None => String::new(),
        };
        let place = format!("{label}:{axis}");
        let said = options.dims.get(&place).or_else(|| options.dims.get(&name));
        open.extend([place, name.clone()].into_iter().filter(|name| !name.is_empty()));
        let length = match (said, axis) {
            (Some(&length), _) => length,
            (None, 0) => options.batch.unwrap_or(1),
            (None, _) => match names.get(&name).filter(|_| !name.is_empty()) {
                Some(&length) => length,
                None => match options.open {
                    Some(open) if open.first_alone && number > 0 => options.batch.unwrap_or(1),
                    Some(open) if rank >= 4 => open.space,
                    Some(open) => open.other,
                    None => return Err(PinWhy::Open { input: label, axis, name }),
                },
            },
        };
        if !name.is_empty() {
            let other = *names.entry(name.clone()).or_insert(length);
            if other != length {
                return Err(PinWhy::TwoLengths { name, one: length, other });
            }
        }
        dim.value = Some(dimension::Value::DimValue(length as i64));
    }
    Ok(())
}

fn is_tensor(value: &ValueInfoProto) -> bool {
    let ty = value.r#type.as_ref().and_then(|t| t.value.as_ref());
    matches!(ty, Some(type_proto::Value::TensorType(_)))
}

fn dims_of(value: &mut ValueInfoProto) -> Option<&mut Vec<Dimension>> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut()?.value.as_mut() else {
        return None;
    };
    Some(&mut tensor.shape.as_mut()?.dim)
}
