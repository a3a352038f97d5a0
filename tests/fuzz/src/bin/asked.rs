//! Fuzz target: what is asked over HTTP, named as a key, or handed in as evidence.
#![cfg_attr(feature = "instrumented", no_main)]

#[cfg(feature = "instrumented")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::asked(bytes));

#[cfg(not(feature = "instrumented"))]
fn main() -> std::process::ExitCode {
    shoal_fuzz::launch("asked")
}
