//! Fuzz target: what lies on a disk, and files that others bring.
#![cfg_attr(feature = "instrumented", no_main)]

#[cfg(feature = "instrumented")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::stored(bytes));

#[cfg(not(feature = "instrumented"))]
fn main() -> std::process::ExitCode {
    shoal_fuzz::launch("stored")
}
