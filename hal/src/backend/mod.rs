//! Where moments come from: one module per backend, each behind its feature; and where records and
//! adapters are kept.

pub mod files;
#[cfg(feature = "recorded")]
pub mod recorded;
#[cfg(feature = "synthetic")]
pub mod synthetic;
