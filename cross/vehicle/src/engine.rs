//! Which engine runs models, by configuration.

use std::path::Path;

use shoal_runtime::engine::{Engine, Provider, Providers};

use crate::config::{EngineConfig, EngineKind};

/// Why an engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenEngineError {
    /// ONNX Runtime's library was not found or is not fit.
    #[cfg(feature = "ort")]
    #[error(
        "ONNX Runtime cannot be used; `tract` always can (engine.kind = \"tract\", --engine tract)"
    )]
    Library(#[from] shoal_runtime::engine::ort::LibraryError),
    /// A provider was asked for that the library has not.
    #[error("the providers of models cannot be had")]
    Providers(#[from] shoal_runtime::engine::EngineError),
    /// Providers of ONNX Runtime, asked of another engine.
    #[error(
        "{asked} was asked of tract, which runs on the processor alone: leave the providers out, or take ONNX Runtime \
         (engine.kind = \"ort\", --engine ort)"
    )]
    TractHasNone {
        /// The providers.
        asked: String,
    },
    /// TensorRT, and nowhere to keep what it builds.
    #[error(
        "tensorrt builds engines for minutes: name the folder that keeps them (engine.cache, --cache)"
    )]
    NoCache,
    /// Left out when this program was built.
    #[error("this program was built without the engine `{name}`")]
    NotBuilt {
        /// Its name.
        name: &'static str,
    },
}

/// Forbids engines to report to their makers: some do unless they are told before they start.
///
/// # Safety
/// No other thread runs: first of all in `main`.
#[expect(unsafe_code, reason = "it is told by the environment of this process")]
pub unsafe fn forbid_telemetry() {
    #[cfg(feature = "ort")]
    // SAFETY: this function's own condition.
    unsafe {
        shoal_runtime::engine::ort::forbid_telemetry();
    }
}

/// Opens the engine that is asked for; never another one.
///
/// # Errors
/// [`OpenEngineError`].
pub fn open(config: &EngineConfig) -> Result<Box<dyn Engine>, OpenEngineError> {
    let providers = &config.providers;
    if providers.has(Provider::TensorRt) && providers.cache.is_none() {
        return Err(OpenEngineError::NoCache);
    }
    match config.kind {
        EngineKind::Ort => ort(config.library.as_deref(), providers),
        EngineKind::Tract if providers.accelerated() => {
            Err(OpenEngineError::TractHasNone { asked: providers.to_string() })
        }
        EngineKind::Tract => tract(),
    }
}

#[cfg(feature = "ort")]
fn ort(library: Option<&Path>, providers: &Providers) -> Result<Box<dyn Engine>, OpenEngineError> {
    let library = shoal_runtime::engine::ort::Ort::load_library(library)?;
    Ok(Box::new(library.with_providers(providers.clone())?))
}

#[cfg(not(feature = "ort"))]
fn ort(
    _library: Option<&Path>,
    _providers: &Providers,
) -> Result<Box<dyn Engine>, OpenEngineError> {
    Err(OpenEngineError::NotBuilt { name: "ort" })
}

#[cfg(feature = "tract")]
fn tract() -> Result<Box<dyn Engine>, OpenEngineError> {
    Ok(Box::new(shoal_tract::Tract))
}

#[cfg(not(feature = "tract"))]
fn tract() -> Result<Box<dyn Engine>, OpenEngineError> {
    Err(OpenEngineError::NotBuilt { name: "tract" })
}
