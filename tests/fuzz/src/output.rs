//! What a command's reader fails with: as in `shoal`, whose readers are taken from there as source.

/// Any error.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a command's `run` returns.
pub(crate) type Outcome = Result<(), Failure>;
