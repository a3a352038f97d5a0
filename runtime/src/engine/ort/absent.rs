//! Which library a provider lacks, and what to do about it.

use std::path::Path;

use crate::engine::{EngineError, Provider, Providers};

/// What a provider's library itself needs: the start of a file's name, and where it is from.
const NEEDED: [(&str, &str); 6] = [
    ("libonnxruntime_providers", "the wheel `onnxruntime-gpu`"),
    ("libcuda.so", "NVIDIA's driver for the accelerator"),
    ("libcudnn", "NVIDIA's cuDNN, of the version that this `onnxruntime-gpu` was built for"),
    ("libnvinfer", "NVIDIA's TensorRT, of the version that this `onnxruntime-gpu` was built for"),
    (
        "libnvonnxparser",
        "NVIDIA's TensorRT, of the version that this `onnxruntime-gpu` was built for",
    ),
    ("libcu", "CUDA's run time, of the version that this `onnxruntime-gpu` was built for"),
];

/// The providers asked for that the library was not built with.
///
/// # Errors
/// [`EngineError::ProviderAbsent`], which names the library file that is missing.
pub(super) fn check_built(
    asked: &Providers,
    library: &Path,
    built_with: &[String],
) -> Result<(), EngineError> {
    for provider in asked.order() {
        if built_with.iter().any(|have| have == provider.in_words()) {
            continue;
        }
        let folder = library.parent().unwrap_or(Path::new("."));
        return Err(EngineError::ProviderAbsent {
            provider: short(*provider, asked.device),
            reason: format!(
                "{} was built with {} only; `{}` of the wheel `onnxruntime-gpu` belongs into {}: \
                 `python3 -m pip install --target target/tools onnxruntime-gpu` and name its \
                 library (engine.library, --library or SHOAL_ONNXRUNTIME), or ask for cpu",
                library.display(),
                built_with.join(", "),
                file_of(*provider),
                folder.display(),
            ),
        });
    }
    Ok(())
}

/// What ONNX Runtime says when a provider cannot be had, with the library that is missing and where that is from.
pub(super) fn explained(asked: &Providers, said: &str) -> EngineError {
    let provider = asked.to_string();
    let Some((file, from)) = missing(said) else {
        return EngineError::ProviderAbsent { provider, reason: said.to_owned() };
    };
    let reason = format!(
        "`{file}` is missing: it is part of {from}. Its folder must be known to the loader \
         (LD_LIBRARY_PATH, ldconfig). ONNX Runtime says: {said}"
    );
    EngineError::ProviderAbsent { provider, reason }
}

/// The last library that a message of the system's loader misses, and where it is from.
fn missing(said: &str) -> Option<(&str, &'static str)> {
    let end = said.rfind(": cannot open shared object file")?;
    let before = said.get(..end)?;
    let start = before.rfind([' ', '/', ':', '\'', '"']).map_or(0, |at| at.saturating_add(1));
    let file = before.get(start..)?;
    let from = NEEDED.iter().find(|(name, _from)| file.starts_with(name));
    Some((file, from.map_or("what the provider is built on", |(_name, from)| from)))
}

fn file_of(provider: Provider) -> &'static str {
    match provider {
        Provider::TensorRt => "libonnxruntime_providers_tensorrt.so",
        Provider::Cuda => "libonnxruntime_providers_cuda.so",
        Provider::Cpu => "libonnxruntime.so",
    }
}

fn short(provider: Provider, device: u32) -> String {
    match provider {
        Provider::Cpu => "cpu".to_owned(),
        Provider::Cuda | Provider::TensorRt => format!("{}:{device}", provider.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_the_loader_misses_is_named_with_its_maker() {
        let said = "Failed to load library libonnxruntime_providers_tensorrt.so with error: \
                    libnvinfer.so.10: cannot open shared object file: No such file or directory";
        let asked = Providers::in_order(vec![Provider::TensorRt, Provider::Cpu]).unwrap();
        let text = explained(&asked, said).to_string();
        let start = "tensorrt:0+cpu was asked for and is not there: `libnvinfer.so.10` is missing";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("TensorRT"), "{text}");
        for (file, from) in [("libcudnn.so.9", "cuDNN"), ("libcublasLt.so.12", "run time")] {
            let said = format!("/x/y.so: {file}: cannot open shared object file: No such file");
            let found = missing(&said).unwrap();
            assert!(found.0 == file && found.1.contains(from), "{found:?}");
        }
        assert_eq!(missing("CUDA failure 100: no CUDA-capable device is detected"), None);
    }

    #[test]
    fn a_provider_that_is_not_built_in_is_named_with_its_file_and_its_wheel() {
        let asked = Providers::in_order(vec![Provider::TensorRt, Provider::Cuda]).unwrap();
        let built = ["CUDAExecutionProvider", "CPUExecutionProvider"].map(String::from);
        let error = check_built(&asked, Path::new("/a/libonnxruntime.so"), &built).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("tensorrt:0 was asked for and is not there"), "{text}");
        for part in ["libonnxruntime_providers_tensorrt.so", "into /a", "onnxruntime-gpu"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(check_built(&Providers::default(), Path::new("x"), &built).is_ok());
    }
}
