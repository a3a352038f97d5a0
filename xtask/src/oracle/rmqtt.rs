//! `cargo xtask oracle rmqtt`: builds a node of rmqtt, and runs on it what links are tested with.

use crate::process::Run;
use crate::{Done, install, root};

/// Outside the workspace: its crates are built for this alone.
const MANIFEST: &str = "tests/rmqtt/Cargo.toml";

pub(super) fn run() -> Done {
    install::rmqtt()?;
    println!(
        "builds rmqtt into target/rmqtt: 320 crates, about ten minutes of two processors at first"
    );
    let target = root().join("target/rmqtt");
    Run::cargo()
        .args(["build", "--locked", "--manifest-path", MANIFEST, "--target-dir"])
        .arg(&target)
        .run()?;
    let tests = ["test", "--workspace", "--test", "brokers", "rmqtt", "--", "--nocapture"];
    Run::cargo().args(tests).env("SHOAL_RMQTT", target.join("debug/shoal-rmqtt")).run()
}
