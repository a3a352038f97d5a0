//! Where moments come from: one module per backend, each behind its feature.

#[cfg(feature = "recorded")]
pub mod recorded;
#[cfg(feature = "synthetic")]
pub mod synthetic;
