//! Why the lab cannot work.

use shoal_hal::backend::recorded::OpenError;
use shoal_runtime::adapter::AdapterError;
use shoal_runtime::engine::EngineError;
use shoal_runtime::onnx::ReadError;
use shoal_shadow::clip::FramesError;
use shoal_shadow::fit::FitError;
use shoal_shadow::form::FormError;
use shoal_shadow::grid::MatrixError;
use shoal_shadow::measure::MeasureError;
use shoal_shadow::measure::tokens::TokenMeasureError;
use shoal_shadow::pack::ReadPackError;
use shoal_shadow::package::OpenPackageError;
use shoal_shadow::tokens::TokenFormError;

use crate::store::StoreError;

/// Why the lab cannot work.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Package(#[from] OpenPackageError),
    #[error(transparent)]
    Model(#[from] ReadError),
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    TokenForm(#[from] TokenFormError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error(transparent)]
    MeasureTokens(#[from] TokenMeasureError),
    #[error("the footage that ships with the model cannot be read")]
    Footage(#[from] OpenError),
    #[error(transparent)]
    Pack(#[from] ReadPackError),
    #[error("what was made is no adapter of this model")]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("vehicle {vehicle} has seen nothing to tune on: use longer drives")]
    Nothing { vehicle: u32 },
    #[error("hardware.{class}: rank {rank}, but adapters of this model have {most}")]
    Rank { class: String, rank: u8, most: usize },
    #[error("the data are of another kind than the model")]
    OtherData,
    #[error("{what} is for models of frames alone: take it out of the file")]
    FramesAlone { what: &'static str },
    #[error("liars.lie: `overfitting` is for models of frames or tokens, and for trivial clients")]
    Unfitted,
    #[error("night.distilled: {asked} samples, but only {most} of a batch are augmented")]
    Distilled { asked: usize, most: usize },
    #[error(
        "night.ahead: vehicle {vehicle} has seen no clip with {ahead} next frames: use longer drives"
    )]
    Ahead { vehicle: u32, ahead: usize },
    /// More layers stay at home than have an adapter.
    #[error("night.home: {home} layers of {of} that have an adapter: no more can stay at home")]
    Home { home: usize, of: usize },
    #[error("a drive cannot be cut")]
    Cut(#[from] FramesError),
    #[error("the engine failed in the closed loop")]
    Closed(#[from] EngineError),
    #[error(
        "{policy}: its frames are of another size, rate or number than those of the first policy"
    )]
    OtherForm { policy: String },
    #[error("{policy}: it says nothing of the acceleration; a matrix needs logits on the grid")]
    OffGrid { policy: String },
    #[error("the values are no matrix")]
    Matrix(#[from] MatrixError),
    #[error("trivial clients have no model")]
    NoModel,
}
