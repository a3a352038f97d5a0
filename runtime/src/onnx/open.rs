//! A model folded with nothing said beyond its file: open axes get the first lengths that the graph takes.

use super::fold::{FoldError, FoldWhy, fold};
use super::infer::InferWhy;
use super::model::{Folded, Model};
use super::pin::{OpenAxes, PinError, PinOptions, pin};
use super::proto::{Dimension, ValueInfoProto, dimension, type_proto};

/// What is tried for open axes behind the first, in this order: sizes of images that networks take, and lengths
/// of sequences and of sound; of all inputs first, then of the first input alone.
const TRIED: [(usize, usize); 9] = [
    (224, 16),
    (64, 8),
    (256, 32),
    (32, 64),
    (416, 128),
    (512, 1),
    (640, 256),
    (128, 512),
    (1024, 2048),
];

/// A folded model, and which axes got which number for it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The graph.
    pub folded: Folded,
    /// How the model was pinned: pinned so again, it folds to the same graph.
    pub options: PinOptions,
    /// The axes that the file leaves open.
    pub pinned: Vec<PinnedAxis>,
}

/// An axis that the file leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedAxis {
    /// The graph input.
    pub input: String,
    /// The place of the axis, from 0.
    pub axis: usize,
    /// Its name in the file; empty where it has none.
    pub name: String,
    /// What it was given.
    pub length: usize,
}

impl std::fmt::Display for PinnedAxis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PinnedAxis { input, axis, name, length } = self;
        match name.as_str() {
            "" => write!(f, "axis {axis} of `{input}` (`{input}:{axis}`) = {length}"),
            _ => write!(f, "axis {axis} of `{input}` (`{name}`) = {length}"),
        }
    }
}

/// Why a model cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// An axis gets no number.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The graph cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The graph cannot be folded with the lengths that its open axes were given.
    #[error(
        "{why}; its open axes were given lengths, which may not be those it takes ({}): say them by --dim NAME=LENGTH",
        listed(axes)
    )]
    Axes {
        /// What each was given.
        axes: Vec<PinnedAxis>,
        /// What did not fit.
        why: Box<FoldError>,
    },
}

fn listed(axes: &[PinnedAxis]) -> String {
    axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Pins and folds a model. Every open axis of which `options` say nothing gets the first of a few usual lengths with which the
/// graph can be folded.
///
/// # Errors
/// [`OpenError`]: that of the first attempt, if none fits.
pub fn open(model: &Model, options: &PinOptions) -> Result<Opened, OpenError> {
    let with = |open: Option<OpenAxes>| {
        let options = PinOptions { open: open.or(options.open), ..options.clone() };
        let pinned = pin(model, &options)?;
        let axes = axes(model, &pinned);
        match fold(&pinned) {
            Ok(folded) => Ok(Opened { folded, options, pinned: axes }),
            Err(why) if !axes.is_empty() && is_of_lengths(&why) => {
                Err(OpenError::Axes { axes, why: Box::new(why) })
            }
            Err(why) => Err(OpenError::Fold(why)),
        }
    };
    let mut first = match with(None) {
        Err(OpenError::Pin(why)) => OpenError::Pin(why),
        other => return other,
    };
    let all = [false, true]
        .into_iter()
        .flat_map(|first_alone| TRIED.map(|(space, other)| OpenAxes { space, other, first_alone }));
    for (attempt, lengths) in all.enumerate() {
        match with(Some(lengths)) {
            Ok(opened) => return Ok(opened),
            Err(why) if attempt == 0 => first = why,
            Err(_) => {}
        }
    }
    Err(first)
}

/// Whether other lengths of axes might mend it.
fn is_of_lengths(why: &FoldError) -> bool {
    let one = |why: &FoldWhy| {
        let FoldWhy::Infer(why) = why else { return false };
        matches!(why.why, InferWhy::Shape { .. } | InferWhy::TooLarge { .. })
    };
    if let FoldWhy::Several { nodes, .. } = &why.why {
        return nodes.iter().any(one);
    }
    one(&why.why)
}

/// The axes that differ between a model and what it was pinned to.
fn axes(model: &Model, pinned: &Model) -> Vec<PinnedAxis> {
    let mut axes = Vec::new();
    for after in &pinned.graph().input {
        // What got a value is no input any more.
        let before = model.graph().input.iter().find(|before| before.name() == after.name());
        let Some(before) = before else { continue };
        for (axis, (was, is)) in dims(before).iter().zip(dims(after)).enumerate() {
            let Some(dimension::Value::DimValue(length)) = is.value else { continue };
            if was.value == is.value {
                continue;
            }
            let name = match &was.value {
                Some(dimension::Value::DimParam(name)) => name.clone(),
                Some(dimension::Value::DimValue(_)) | None => String::new(),
            };
            let length = usize::try_from(length).unwrap_or(0);
            axes.push(PinnedAxis { input: before.name().to_owned(), axis, name, length });
        }
    }
    axes
}

fn dims(value: &ValueInfoProto) -> &[Dimension] {
    let ty = value.r#type.as_ref().and_then(|ty| ty.value.as_ref());
    match ty {
        Some(type_proto::Value::TensorType(tensor)) => {
            tensor.shape.as_ref().map_or(&[], |shape| shape.dim.as_slice())
        }
        Some(
            type_proto::Value::SequenceType(_)
            | type_proto::Value::MapType(_)
            | type_proto::Value::OpaqueType(_)
            | type_proto::Value::SparseTensorType(_)
            | type_proto::Value::OptionalType(_),
        )
        | None => &[],
    }
}
