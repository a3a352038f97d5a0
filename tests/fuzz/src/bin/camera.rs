//! Fuzz target: pictures of cameras and of decoders.
#![cfg_attr(feature = "instrumented", no_main)]

#[cfg(feature = "instrumented")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::camera(bytes));

#[cfg(not(feature = "instrumented"))]
fn main() -> std::process::ExitCode {
    shoal_fuzz::launch("camera")
}
