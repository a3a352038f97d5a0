//! Reading, writing, folding and building ONNX graphs. No engine is needed for any of it.

pub mod builder;
pub(crate) mod eval;
pub mod external;
pub mod fold;
pub mod infer;
pub(crate) mod integers;
pub mod model;
pub mod node;
pub mod open;
pub mod pin;
pub mod proto;
pub mod store;
pub mod tensor;

pub use builder::{Attr, Builder, Value};
pub(crate) use dequantise::{dequantised, dequantised_to};
pub use external::ExternalError;
pub(crate) use fold::draws;
pub use fold::{Drawing, FoldError, FoldWhy, fold};
pub use infer::{InferError, InferWhy, infer};
pub use model::{Folded, Model, ReadError, WriteError};
pub use open::{OpenError, Opened, PinnedAxis, open};
pub use pin::{OpenAxes, PinError, PinOptions, PinWhy, pin};
pub(crate) use prune::prune;
pub use store::{StoreError, set_tensor};
pub use tensor::{Data, Element, Tensor, TensorError, TensorType};

mod dequantise;
pub(crate) mod narrow;
mod prune;
mod wire;
mod write;

/// Writes a file whole or not at all: to a name beside it, synced, then renamed.
///
/// # Errors
/// What the system says; the file is then as it was.
pub fn write_whole(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;

    write::whole(path, |file| file.write_all(bytes))
}
