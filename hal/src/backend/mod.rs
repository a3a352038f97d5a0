//! Where moments come from: one module per backend, each behind its feature; and where records and
//! adapters are kept.

#[cfg(any(feature = "recorded", all(feature = "linux", target_os = "linux")))]
mod area;
pub mod files;
pub mod hold;
#[cfg(all(feature = "linux", target_os = "linux"))]
pub mod linux;
#[cfg(feature = "recorded")]
pub mod recorded;
#[cfg(feature = "synthetic")]
pub mod synthetic;
