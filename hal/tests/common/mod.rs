#![allow(dead_code, reason = "each test uses its part")]
//! What the tests of the recorded backend need from outside, and how they say that it is absent.

pub(crate) mod make;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of real drives and logs: `SHOAL_DATA`, or `../shared/data` beside the workspace.
pub(crate) fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = std::env::var_os("SHOAL_DATA").map_or(beside, PathBuf::from);
    present(dir.is_dir(), "SHOAL_REQUIRE_DATA", "no folder of real drives; SHOAL_DATA names one")
        .then_some(dir)
}

/// Whether there is an ffmpeg to make and to read videos with.
pub(crate) fn ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status();
    present(found.is_ok_and(|s| s.success()), "SHOAL_REQUIRE_FFMPEG", "no program ffmpeg")
}

/// Says aloud that a test is skipped; fails where `require` is set.
fn present(present: bool, require: &str, what: &str) -> bool {
    if !present {
        let set = std::env::var_os(require).is_some_and(|value| value == "1");
        assert!(!set, "{what}, and {require}=1");
        // Past the capture of the harness: a skipped test must be seen.
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let line = format!("SKIPPED {test}: {what}\n");
        std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    }
    present
}
