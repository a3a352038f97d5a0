//! A tensor of the model that is called as the training graph's own output is.

use std::borrow::Cow;

use crate::onnx::Folded;
use crate::train::LOSS;

use super::{DifferentiateOptions, LossKind};

/// The same graph and options with the model's own tensor `loss` under another name, if it has one. An input keeps its name, by
/// which callers feed it: that is refused.
pub(super) fn apart<'a>(
    folded: &'a Folded,
    options: &'a DifferentiateOptions,
) -> (Cow<'a, Folded>, Cow<'a, DifferentiateOptions>) {
    let mut inputs = folded.model.graph().input.iter().map(|input| input.name());
    let is_fed = inputs.any(|name| name == LOSS) || options.wrt.iter().any(|name| name == LOSS);
    if is_fed || !folded.types.contains_key(LOSS) {
        return (Cow::Borrowed(folded), Cow::Borrowed(options));
    }
    let mut other = format!("model.{LOSS}");
    while folded.types.contains_key(&other) {
        other.push('_');
    }
    let rename = |name: &mut String| {
        if name == LOSS {
            name.clone_from(&other);
        }
    };
    let mut folded = folded.clone();
    let graph = folded.model.graph_mut();
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
    }
    let values = graph.output.iter_mut().chain(&mut graph.value_info);
    let names = values.map(|value| &mut value.name);
    let stored = graph.initializer.iter_mut().map(|tensor| &mut tensor.name);
    names.chain(stored).flatten().for_each(rename);
    if let Some(ty) = folded.types.remove(LOSS) {
        folded.types.insert(other.clone(), ty);
    }
    let mut options = options.clone();
    for loss in &mut options.losses {
        rename(&mut loss.output);
        match &mut loss.kind {
            LossKind::GaussianNll { log_variance } => rename(log_variance),
            LossKind::Mse | LossKind::Charbonnier | LossKind::CrossEntropy => {}
        }
    }
    (Cow::Owned(folded), Cow::Owned(options))
}
