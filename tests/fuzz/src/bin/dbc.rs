//! Fuzz target: the reader of DBC files, and frames of a bus by what it read.
#![cfg_attr(feature = "instrumented", no_main)]

#[cfg(feature = "instrumented")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::dbc(bytes));

#[cfg(not(feature = "instrumented"))]
fn main() -> std::process::ExitCode {
    shoal_fuzz::launch("dbc")
}
