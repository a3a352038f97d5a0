//! Which losses of a package can be trained, and why others cannot.

use shoal_runtime::gradient::{LossKind, LossSpec};

use super::FitError;
use crate::package::{Description, loss_name};

/// The losses of a package if every one can be trained; `unfit` says why one cannot.
pub(super) fn fitting_losses(
    package: &Description,
    unfit: impl Fn(&LossSpec) -> Option<String>,
) -> Result<Vec<LossSpec>, FitError> {
    if package.loss.is_empty() {
        return Err(FitError::NoLoss);
    }
    for loss in &package.loss {
        if let Some(why) = unfit(loss) {
            return Err(FitError::Loss { loss: named(loss), why });
        }
    }
    Ok(package.loss.clone())
}

/// A loss as errors call it.
pub(crate) fn named(loss: &LossSpec) -> String {
    format!("{} on `{}`", loss_name(&loss.kind), loss.output)
}

/// Why a loss is none of classes, where a batch has nothing else to tell.
pub(super) fn classes_only(loss: &LossSpec, what: &str) -> Option<String> {
    let is_of_classes = matches!(loss.kind, LossKind::CrossEntropy);
    (!is_of_classes).then(|| format!("{what} is a class: ask for cross-entropy"))
}
