//! ONNX Runtime's shared library, out of the wheel that Python's package index has, into target/tools.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::{Done, Failure, tools};

pub(crate) const VERSION: &str = "1.31.1";
/// Version and hashes of the wheel, one a processor: another file of that name is refused by pip.
const REQUIREMENTS: &str = "xtask/onnxruntime.txt";

/// Where `Ort::load_library` looks without being told: target/tools/onnxruntime.
pub(crate) fn folder() -> PathBuf {
    tools().join("onnxruntime").join(VERSION)
}

/// The library, when it is there: the one that was named by `SHOAL_ONNXRUNTIME`, or ours.
pub(crate) fn library() -> Option<PathBuf> {
    match std::env::var_os("SHOAL_ONNXRUNTIME") {
        Some(named) => Some(named.into()),
        None => find(&folder()),
    }
}

/// Gets the library by pip.
pub(crate) fn install() -> Done {
    let (arch, system) = (std::env::consts::ARCH, std::env::consts::OS);
    if system != "linux" || !["x86_64", "aarch64"].contains(&arch) {
        return Err(Failure(format!(
            "no pinned ONNX Runtime for {arch} on {system}: set SHOAL_ONNXRUNTIME to a library of version {VERSION}"
        )));
    }
    fetch(arch, &folder()).map(|_library| ())
}

/// Gets the library for Linux on a processor (`x86_64` or `aarch64`) into a folder, unless it is there.
pub(crate) fn fetch(arch: &str, unpacked: &Path) -> Done<PathBuf> {
    if let Some(library) = find(unpacked) {
        return Ok(library);
    }
    let pip = pip()?;
    let wheels = tools().join("wheels");
    let platform = format!("manylinux_2_28_{arch}");
    // The library is the same for every Python: the wheel of one is taken, whichever is installed.
    Run::new(&pip)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--python-version", "3.11", "--platform", &platform])
        .args(["--require-hashes", "--requirement", REQUIREMENTS, "--dest"])
        .arg(&wheels)
        .run()?;
    let wheel = newest_wheel(&wheels, &platform)?;
    fs::create_dir_all(unpacked)
        .map_err(|error| Failure(format!("cannot make {}: {error}", unpacked.display())))?;
    Run::new(&pip).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(unpacked).run()?;
    find(unpacked).ok_or_else(|| Failure(format!("no libonnxruntime.so in {}", wheel.display())))
}

/// A Python that has pip: the system's, or one of a virtual environment in target/tools.
pub(crate) fn pip() -> Done<PathBuf> {
    let has_pip = |python: &Path| Run::new(python).args(["-m", "pip", "--version"]).succeeds();
    let system = PathBuf::from("python3");
    if has_pip(&system) {
        return Ok(system);
    }
    let environment = tools().join("python");
    let own = environment.join("bin/python3");
    if has_pip(&own) {
        return Ok(own);
    }
    if Run::new(&system).args(["-m", "venv"]).arg(&environment).succeeds() && has_pip(&own) {
        return Ok(own);
    }
    Err(Failure::new("no Python with pip: install the packages python3 and python3-pip"))
}

fn newest_wheel(wheels: &Path, platform: &str) -> Done<PathBuf> {
    let entries = fs::read_dir(wheels)
        .map_err(|error| Failure(format!("cannot read {}: {error}", wheels.display())))?;
    let prefix = format!("onnxruntime-{VERSION}-");
    let suffix = format!("{platform}.whl");
    let wheel = entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(&suffix)
    });
    wheel.ok_or_else(|| Failure(format!("pip left no wheel of {prefix}* in {}", wheels.display())))
}

fn find(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("onnxruntime/capi").join(format!("libonnxruntime.so.{VERSION}"));
    library.is_file().then_some(library)
}
