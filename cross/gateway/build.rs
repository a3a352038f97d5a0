//! Which board a target is, and what goes where on it.

use std::path::PathBuf;
use std::{env, fs};

/// Code and constants.
const FLASH_KIB: u32 = 128;
/// Data and stack.
const RAM_KIB: u32 = 32;
const RAM_BYTES: u32 = RAM_KIB * 1024;
/// Of it, the stack: at the bottom, so that nothing lies where it would grow to.
const STACK_BYTES: u32 = 24 * 1024 - 512;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(board, values(\"an386\", \"an505\"))");
    let variable = |name| env::var(name).unwrap_or_default();
    let (board, flash, ram) = match variable("TARGET").as_str() {
        "thumbv7em-none-eabihf" => ("an386", 0x0000_0000_u32, 0x2000_0000_u32),
        "thumbv8m.main-none-eabihf" => ("an505", 0x1000_0000, 0x3000_0000),
        _ => return,
    };
    println!("cargo::rustc-cfg=board=\"{board}\"");
    if variable("CARGO_FEATURE_FIRMWARE").is_empty() {
        return;
    }
    let stack_top = ram + STACK_BYTES;
    let script = format!(
        "MEMORY {{\n\
         FLASH : ORIGIN = {flash:#x}, LENGTH = {FLASH_KIB}K\n\
         RAM : ORIGIN = {stack_top:#x}, LENGTH = {}\n\
         }}\n\
         _stack_end = {ram:#x};\n\
         _stack_start = {stack_top:#x};\n",
        RAM_BYTES - STACK_BYTES,
    );
    let folder = PathBuf::from(variable("OUT_DIR"));
    let written = fs::write(folder.join("memory.x"), script);
    assert!(written.is_ok(), "cannot write memory.x");
    println!("cargo::rustc-link-search={}", folder.display());
    for arg in ["-Tlink.x", "--nmagic", "--emit-relocs"] {
        println!("cargo::rustc-link-arg-bin=shoal-gateway={arg}");
    }
}
