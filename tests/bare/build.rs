//! Links by our own script when there is no operating system below.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=bare.ld");
    let variable = |name| env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") == "none" {
        let script = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("bare.ld");
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
        println!("cargo::rustc-link-arg-bins=--nmagic");
    }
}
