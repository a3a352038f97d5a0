//! Numbers for the axes that a model leaves open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::model::{Model, place};
use super::proto::{Dimension, ValueInfoProto, dimension, type_proto};

/// Which numbers open axes get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinOptions {
    /// For an open first axis; 1 where nothing is said.
    pub batch: Option<usize>,
    /// For named axes, wherever they are, and for axis AXIS of an input as `INPUT:AXIS`; goes before `batch`.
    pub dims: BTreeMap<String, usize>,
    /// For open axes behind the first that no name pins; refused where nothing is said.
    pub open: Option<OpenAxes>,
}

/// Lengths of open axes behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAxes {
    /// Of inputs with four axes or more: height and width.
    pub space: usize,
    /// Of inputs with fewer: steps, tokens, features.
    pub other: usize,
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
}

fn listed(axes: &[String]) -> String {
    match axes {
        [] => ": the model leaves none open".to_owned(),
        _ => format!("; there are {}", axes.join(", ")),
    }
}

/// Gives every open axis of a graph input a number.
///
/// An axis named in `dims` gets that; an open first axis gets `batch`. Every other axis of the model with
/// the same name follows. What already is a number stays.
///
/// # Errors
/// [`PinError`] if an axis that is not the first stays open, an input has no shape at all, or a length is for an axis that is none.
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
    for input in graph.input.iter_mut().filter(|i| !initializers.contains(i.name())) {
        pin_input(input, options, (&mut names, &mut open))?;
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
    match options.dims.keys().find(|name| !open.contains(*name)) {
        Some(name) => {
            Err(PinWhy::NoSuchAxis { name: name.clone(), axes: open.into_iter().collect() })
        }
        None => Ok(pinned),
    }
}

/// Notes the lengths of named axes, and by what names all that are open may be meant.
fn pin_input(
    input: &mut ValueInfoProto,
    options: &PinOptions,
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
