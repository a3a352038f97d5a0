//! Fuzz target: the gateway, from both of its lines to its flash.
#![cfg_attr(feature = "instrumented", no_main)]

#[cfg(feature = "instrumented")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shoal_fuzz::gateway(bytes));

#[cfg(not(feature = "instrumented"))]
fn main() -> std::process::ExitCode {
    shoal_fuzz::launch("gateway")
}
