//! `cargo xtask oracle conformance`: ONNX's own conformance suite, as a page.

use std::fs;

use super::forms::unusable;
use crate::cargo::target_dir;
use crate::process::Run;
use crate::{Done, onnxruntime, root, test, tools};

const HEAD: &str = "\
# ONNX's conformance suite

Written by `cargo xtask oracle conformance`; not by hand. The cases are those of the package `onnx` 1.23.2: single operators and their
expansions, each with what the standard says it gives; sequences, optional values, strings and operators of machine learning and training are left out. *Folded* with
its inputs stored is what `shoal` computes itself when it reads a model; where it leaves an operator to the engine, nothing is asked. Engines: ONNX
Runtime 1.31.1, tract 0.23.9, bounds as in the suite (1e-3 relative), eight times that in halves of floats. Gradients are those of the squares of all
that a case gives, by each float32 input, moved a little away from where the suite has it, beside central differences.

";

pub(super) fn run() -> Done {
    println!("installs onnx into target/tools/conformance");
    let python = super::install_into(&tools().join("conformance"), &["conformance.txt"])?;
    if onnxruntime::library().is_none() {
        onnxruntime::install()?;
    }
    let folder = root().join("target/oracle/conformance");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|why| unusable(&folder, &why))?;
    }
    let script = root().join("xtask/oracle/conformance.py");
    let said = Run::new(&python).arg(script).arg(&folder).output()?;
    println!("cases, and how many are left out: {said}");
    Run::cargo().args(["build", "--quiet", "--workspace", "--example", "conformance"]).run()?;
    let program = target_dir().join("debug/examples/conformance");
    let page = Run::new(program)
        .arg(&folder)
        .envs(&test::variables())
        .env("RUST_BACKTRACE", "0")
        .output()?;
    let to = root().join("docs/evidence/conformance.md");
    fs::write(&to, format!("{HEAD}{page}\n")).map_err(|why| unusable(&to, &why))?;
    println!("{}", to.display());
    Ok(())
}
