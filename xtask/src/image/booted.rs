//! The vehicle computer's image, booted as often as its tests do.

use std::ffi::OsString;
use std::thread::available_parallelism;

use super::vehicle::{self, Asked};
use crate::install::has_target;
use crate::process::Run;
use crate::steps::{Outcome, Skip};
use crate::{Done, Failure, onnxruntime};

/// The smallest data partition that its tests fit on.
const DATA_MIB: u64 = 96;

/// Makes the vehicle computer's image, and boots it as often as its tests do; with so many power cuts, or as many as
/// they have by themselves.
pub(crate) fn step(cuts: Option<u32>, variables: &[(&'static str, OsString)]) -> Done<Outcome> {
    let missing = vehicle::missing();
    if !missing.is_empty() {
        let list = missing.join(" ");
        return Ok(Outcome::Skipped(Skip::because(format!("packages are missing: {list}"))));
    }
    if !has_target(vehicle::TARGET) {
        return Ok(Outcome::Skipped(Skip::because(format!("no target {}", vehicle::TARGET))));
    }
    if onnxruntime::library().is_none() {
        return Ok(Outcome::Skipped(Skip::because("no ONNX Runtime for the vehicle it meets")));
    }
    let image = vehicle::folder().join("test.img");
    let sizes = vehicle::make(&Asked { vehicle: None, data_mib: DATA_MIB }, &image)?;
    let devices = vehicle::build(
        "devices",
        &["--package", "shoal-hal", "--features", "linux", "--example", "devices"],
    )?;
    // The programs it meets are those of this tree, whatever was built before.
    Run::cargo().args(["test", "--workspace", "--no-run", "--quiet"]).run()?;
    // An emulated computer boots on one processor, and waits for its fleet.
    let at_once = available_parallelism().map_or(1, usize::from).to_string();
    let mut tests = Run::cargo()
        .args(["test", "--workspace", "--test", "image", "--", "--test-threads", &at_once])
        .envs(variables)
        .env("SHOAL_IMAGE", &image)
        .env("SHOAL_DEVICES", &devices)
        .env("SHOAL_REQUIRE_ORT", "1")
        .env("SHOAL_REQUIRE_IMAGE", "1");
    if let Some(cuts) = cuts {
        tests = tests.env("SHOAL_IMAGE_CUTS", cuts.to_string());
    }
    tests.run()?;
    Ok(Outcome::PassedWith(sizes))
}

/// Makes the root and what the kernel starts with twice: the same files give the same bytes.
pub(crate) fn is_repeatable() -> Done {
    let image = vehicle::folder().join("test.img");
    let asked = Asked { vehicle: None, data_mib: DATA_MIB };
    let parts = ["root.squashfs", "initrd"].map(|name| vehicle::folder().join(name));
    let mut made = Vec::new();
    for _time in 0..2 {
        vehicle::make(&asked, &image)?;
        let read = parts.each_ref().map(std::fs::read);
        made.push(read.map(|bytes| bytes.map_err(|error| Failure(error.to_string()))));
    }
    match made.as_slice() {
        [one, other] if one == other && one.iter().all(Result::is_ok) => Ok(()),
        _ => Err(Failure::new("the same files gave another root, or another first tree")),
    }
}
