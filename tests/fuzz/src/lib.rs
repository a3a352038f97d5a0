//! What the fuzz targets do with bytes, and how they are run.
//!
//! A target is a binary of this package. `cargo run -p shoal-fuzz --bin onnx -- --seconds 60` builds it again
//! with coverage instrumentation of the workspace's crates, and runs it on its corpus: new inputs are kept in
//! target/fuzz/corpus, and one that panics in target/fuzz/found. Put such a file into the corpus beside this
//! package once it is understood: the corpus runs as an ordinary test.

mod asked;
mod camera;
mod campaign;
mod coding;
mod dbc;
mod disk;
mod entry;
mod evidence;
mod external;
mod fleet;
mod gateway;
mod insider;
mod launch;
mod log;
mod metadata;
mod mqtt;
mod output;
mod pack;
mod parts;
mod recorded;
mod saved;
mod stored;
mod wire;

pub use asked::asked;
pub use camera::camera;
pub use campaign::campaign;
pub use coding::coding;
pub use dbc::dbc;
pub use entry::{onnx, onnx_adapter, safetensors};
pub use external::external;
pub use gateway::gateway;
pub use insider::insider;
pub use launch::launch;
pub use log::log;
pub use metadata::metadata;
pub use mqtt::mqtt;
pub use pack::pack;
pub use recorded::recorded;
pub use saved::saved;
pub use stored::stored;
pub use wire::wire;
