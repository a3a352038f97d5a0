//! `cargo xtask oracle adapters`: ONNX Runtime's own Python runs a grafted model with an adapter file of ours and is compared with
//! the baked one; what it writes is read here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::{Done, Failure, onnxruntime, root, test, tools};

/// The sites, of two ranks.
const SITES: [&str; 4] = ["--targets", "*", "--targets", "enc*=3"];

pub(super) fn run() -> Done {
    if onnxruntime::library().is_none() {
        onnxruntime::install()?;
    }
    println!("installs ONNX Runtime's Python into target/tools/adapters");
    let python = super::install_into(&tools().join("adapters"), &["adapters.txt"])?;
    let folder = root().join("target/oracle/adapters");
    let used = |error| Failure(format!("cannot use {}: {error}", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(used)?;
    }
    fs::create_dir_all(&folder).map_err(used)?;
    Run::cargo().args(["build", "--quiet", "--workspace", "--bin", "shoal"]).run()?;
    let built =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let shoal: PathBuf = built.join("debug/shoal");
    let world = root().join("models/world/model.onnx");
    let on_world = |command: &str, rest: &[&str]| {
        Run::new(&shoal)
            .args(["model", command])
            .arg(&world)
            .args(rest)
            .envs(&test::variables())
            .at(&folder)
            .run()
    };
    on_world("train", &[&SITES[..], &["-o", "a.onnx_adapter"]].concat())?;
    on_world("graft", &[&SITES[..], &["--optional", "-o", "grafted.onnx"]].concat())?;
    on_world("bake", &["a.onnx_adapter", "-o", "baked.onnx"])?;
    Run::new(&python)
        .arg(root().join("xtask/oracle/onnx_adapter.py"))
        .args(["check", "baked.onnx", "grafted.onnx", "a.onnx_adapter", "again.onnx_adapter"])
        .at(&folder)
        .run()?;
    on_world("convert", &["a.onnx_adapter", "ours"])?;
    on_world("convert", &["again.onnx_adapter", "theirs", "--alpha", "16"])?;
    let tensors = |directory: &str| {
        let file = folder.join(directory).join("adapter_model.safetensors");
        read(&file)
    };
    if tensors("ours")? != tensors("theirs")? {
        return Err(Failure::new("what ONNX Runtime wrote is read to another adapter"));
    }
    println!("what ONNX Runtime wrote of it is read to the same adapter");
    Ok(())
}

fn read(file: &Path) -> Done<Vec<u8>> {
    fs::read(file).map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))
}
