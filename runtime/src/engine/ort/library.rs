//! Finds the ONNX Runtime library, asks its version before anything else trusts it, opens it once.
#![expect(unsafe_code, reason = "the version of a library is known by calling into it")]

use std::ffi::{CStr, OsStr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::ort::environment::Environment;
use ::ort::logging::LogLevel;

/// The environment variable that names the library file, or a folder to search for it.
pub const LIBRARY_VARIABLE: &str = "SHOAL_ONNXRUNTIME";

/// What ONNX Runtime looks at before it makes its environment: `1` forbids its telemetry.
const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Oldest `1.N` whose C interface has what the engine calls: it is the interface version that the
/// `api-N` feature of the `ort` crate compiles against.
pub const MINOR_VERSION_MIN: u32 = ::ort::MINOR_VERSION;

/// Where `cargo xtask` and the text of [`LibraryError::NotFound`] put the library, below a folder
/// of the workspace.
const TOOLS: &str = "target/tools/onnxruntime";

/// How deep a folder is searched for the library: a wheel keeps it in `onnxruntime/capi`.
const SEARCH_DEPTH_MAX: usize = 4;

/// Why there is no ONNX Runtime.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// Nothing was named and nothing was found.
    #[error(
        "no ONNX Runtime library found (looked in {looked}); install it with \
         `python3 -m pip install --target target/tools onnxruntime`, or set SHOAL_ONNXRUNTIME to \
         the file libonnxruntime.so, or use the tract engine, which needs no library"
    )]
    NotFound { looked: String },
    /// A place was named and holds no library.
    #[error(
        "{origin} names {}, where there is no ONNX Runtime library; install it with \
         `python3 -m pip install --target target/tools onnxruntime`",
        path.display()
    )]
    Absent { origin: &'static str, path: PathBuf },
    /// The file is there and the system's loader refuses it.
    #[error("{} cannot be loaded: {reason}", path.display())]
    Open { path: PathBuf, reason: String },
    /// A library, but not ONNX Runtime.
    #[error("{} is not ONNX Runtime: it has no OrtGetApiBase", path.display())]
    Foreign { path: PathBuf },
    /// Too old for the interface we call.
    #[error(
        "{} is ONNX Runtime {found}, at least 1.{MINOR_VERSION_MIN} is needed; \
         `python3 -m pip install --upgrade --target target/tools onnxruntime`",
        path.display()
    )]
    TooOld { path: PathBuf, found: String },
    /// One process has one ONNX Runtime, and it has another one already.
    #[error("{} was asked for, but this process runs {} already", asked.display(), loaded.display())]
    OtherLoaded { asked: PathBuf, loaded: PathBuf },
    /// The library was loaded and its environment could not be made.
    #[error("ONNX Runtime at {} has no environment: {reason}", path.display())]
    Environment { path: PathBuf, reason: String },
}

/// The library of this process.
#[derive(Clone, Debug)]
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) version: String,
    pub(super) environment: Environment,
}

/// ONNX Runtime allows one environment per process; it lives as long as the process.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// Opens the library (see [`super::Ort::load_library`] for where it is looked for).
pub(super) fn open(named: Option<&Path>) -> Result<Library, LibraryError> {
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(library), None) = (library.as_ref(), named) {
        return Ok(library.clone());
    }
    let path = find(named, std::env::var_os(LIBRARY_VARIABLE).as_deref())?;
    if let Some(library) = library.as_ref() {
        return if library.path == path {
            Ok(library.clone())
        } else {
            Err(LibraryError::OtherLoaded { asked: path, loaded: library.path.clone() })
        };
    }
    let version = version(&path)?;
    if std::env::var_os(TELEMETRY_VARIABLE).is_none_or(|value| value != "1") {
        tracing::warn!(
            "ONNX Runtime makes a device id while it starts: set {TELEMETRY_VARIABLE}=1"
        );
    }
    let environment = environment(&path)?;
    tracing::info!(path = %path.display(), %version, "ONNX Runtime loaded");
    Ok(library.insert(Library { path, version, environment }).clone())
}

/// Forbids ONNX Runtime its own telemetry, before there is a moment in which it is allowed: without it, version 1.31
/// makes a database and a lasting device id in the user's cache folder while it starts, and only then asks.
///
/// # Safety
/// No other thread runs: first of all in `main`.
pub unsafe fn forbid_telemetry() {
    // SAFETY: nobody else reads or writes the environment, by this function's own condition.
    unsafe { std::env::set_var(TELEMETRY_VARIABLE, "1") };
}

fn environment(path: &Path) -> Result<Environment, LibraryError> {
    let open = |reason: String| LibraryError::Environment { path: path.to_owned(), reason };
    let environment = ::ort::init_from(path)
        .map_err(|error| open(error.to_string()))?
        .with_name("shoal")
        .with_telemetry(false)
        .with_logger(Arc::new(forward))
        .build()
        .map_err(|error| open(error.to_string()))?;
    // Below a warning nothing is even formatted: a run must not reach our allocator.
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// Hands a message of ONNX Runtime to `tracing`.
fn forward(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose => tracing::trace!(target: "onnxruntime", category, location, message),
        LogLevel::Info => tracing::debug!(target: "onnxruntime", category, location, message),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", category, location, message),
        LogLevel::Error | LogLevel::Fatal => {
            tracing::error!(target: "onnxruntime", category, location, message);
        }
    }
}

/// The version string of the library at `path`, refused when older than [`MINOR_VERSION_MIN`].
fn version(path: &Path) -> Result<String, LibraryError> {
    // SAFETY: loading runs the library's initialisers: the operator named this file as ONNX Runtime.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
        let reason = std::error::Error::source(&error).map_or(error.to_string(), |s| s.to_string());
        LibraryError::Open { path: path.to_owned(), reason }
    })?;
    type Base = unsafe extern "system" fn() -> *const ::ort::sys::OrtApiBase;
    // SAFETY: the symbol of that name has this signature since ONNX Runtime 1.0.
    let base = unsafe { library.get::<Base>(b"OrtGetApiBase") }
        .map_err(|_| LibraryError::Foreign { path: path.to_owned() })?;
    // SAFETY: as above; the returned table and string are statics of the library, which is open.
    let found = unsafe {
        let base = base();
        if base.is_null() {
            return Err(LibraryError::Foreign { path: path.to_owned() });
        }
        CStr::from_ptr(((*base).GetVersionString)()).to_string_lossy().into_owned()
    };
    if is_new_enough(&found) {
        Ok(found)
    } else {
        Err(LibraryError::TooOld { path: path.to_owned(), found })
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (major, minor) >= (1, MINOR_VERSION_MIN)
}

fn find(named: Option<&Path>, variable: Option<&OsStr>) -> Result<PathBuf, LibraryError> {
    let given = match (named, variable) {
        (Some(path), _) => Some((path, "the configuration")),
        (None, Some(path)) if !path.is_empty() => Some((Path::new(path), LIBRARY_VARIABLE)),
        (None, _) => None,
    };
    if let Some((path, origin)) = given {
        return at(path).ok_or_else(|| LibraryError::Absent { origin, path: path.to_owned() });
    }
    let places = tool_folders();
    places.iter().find_map(|place| at(place)).ok_or_else(|| LibraryError::NotFound {
        looked: places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// `target/tools/onnxruntime` below the working directory, the running program, and their parents.
fn tool_folders() -> Vec<PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let mut folders: Vec<PathBuf> = Vec::new();
    for start in starts.iter().flatten() {
        for folder in start.ancestors().map(|folder| folder.join(TOOLS)) {
            if folder.is_dir() && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    if folders.is_empty() {
        folders.push(PathBuf::from(TOOLS));
    }
    folders
}

/// The library at `path`: the file itself, or the newest one in the folder.
fn at(path: &Path) -> Option<PathBuf> {
    let file = if path.is_dir() { newest_in(path, SEARCH_DEPTH_MAX)? } else { path.to_owned() };
    file.canonicalize().ok().filter(|file| file.is_file())
}

fn newest_in(folder: &Path, depth: usize) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort_by_key(|path| (version_of_name(path), path.clone()));
    let file = entries.iter().rev().find(|path| is_library(path) && path.is_file());
    file.cloned().or_else(|| {
        let folders = entries.iter().filter(|path| depth > 0 && path.is_dir());
        folders.filter_map(|folder| newest_in(folder, depth - 1)).next()
    })
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.31.1`, `libonnxruntime.1.31.1.dylib`,
/// `onnxruntime.dll`; not the `_providers_` beside them.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let rest = name.strip_prefix(std::env::consts::DLL_PREFIX).unwrap_or(name);
    rest.strip_prefix("onnxruntime.").is_some_and(|rest| {
        let suffix = std::env::consts::DLL_EXTENSION;
        rest.split('.').all(|part| part == suffix || part.parse::<u32>().is_ok())
            && rest.split('.').any(|part| part == suffix)
    })
}

fn version_of_name(path: &Path) -> Vec<u32> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_that_is_absent_is_an_error_that_says_what_to_install() {
        let error = find(Some(Path::new("/nowhere/libonnxruntime.so")), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/libonnxruntime.so"), "{text}");
        assert!(text.contains("pip install"), "{text}");
    }

    #[test]
    fn the_variable_is_used_when_nothing_is_named_and_its_absence_names_it() {
        let error = find(None, Some(OsStr::new("/nowhere/else"))).unwrap_err();
        assert!(error.to_string().starts_with("SHOAL_ONNXRUNTIME names /nowhere/else"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").unwrap();
        let error = version(&path).unwrap_err();
        assert!(matches!(error, LibraryError::Open { .. }), "{error:?}");
        assert!(error.to_string().contains("libonnxruntime.so"), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_of_something_else_is_foreign() {
        // Every dynamically linked test binary has this one loaded.
        let error = version(Path::new("libc.so.6")).unwrap_err();
        assert_eq!(error, LibraryError::Foreign { path: "libc.so.6".into() });
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(!is_new_enough("1.9.0"));
        assert!(!is_new_enough(&format!("1.{}.9", MINOR_VERSION_MIN - 1)));
        assert!(is_new_enough(&format!("1.{MINOR_VERSION_MIN}.0")));
        assert!(is_new_enough("2.0.0"));
        assert!(!is_new_enough("nonsense"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_newest_library_of_a_wheel_is_found_and_its_providers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        for name in [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime_providers_shared.so",
            "onnxruntime_pybind11_state.so",
        ] {
            std::fs::write(capi.join(name), b"").unwrap();
        }
        let found = at(folder.path()).unwrap();
        assert_eq!(found.file_name().unwrap(), "libonnxruntime.so.1.31.1");
    }
}
