//! Builds a target with coverage instrumentation, by stable Rust, and runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A count of inputs ends after so long all the same: a slow target tries the first of them.
const RUNS_SECONDS_MAX: u64 = 8;
/// The largest input that is tried.
const BYTES_MAX: usize = 1 << 16;

/// Files in memory: a target that lays its input down as files tries ten times as many there.
const MEMORY: &str = "/dev/shm";

/// How variables begin by which cargo says what package it runs.
const OF_PACKAGE: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// For how long a target runs.
#[derive(Clone, Copy)]
enum Length {
    /// So long, from random numbers of its own each time, keeping what it finds for the next time.
    Seconds(u64),
    /// So many inputs, or those of [`RUNS_SECONDS_MAX`]: the same ones each time for the same code.
    Runs(u64),
}

/// Runs the target of this name for `--seconds N` (default 60), or `--runs N`, from the corpus on. Ends with
/// failure if some input panics, takes longer than 20 s or more than 2 GiB.
pub fn launch(target: &str) -> ExitCode {
    let mut length = Length::Seconds(60);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        length = match (arg.as_str(), args.next().map(|n| n.parse())) {
            ("--seconds", Some(Ok(n))) => Length::Seconds(n),
            ("--runs", Some(Ok(n))) => Length::Runs(n),
            _ => {
                eprintln!(
                    "usage: cargo run -p shoal-fuzz --bin {target} -- [--seconds N | --runs N]"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    match run(target, length) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(target: &str, length: Length) -> Result<bool, String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target_dir = std::env::var_os("CARGO_TARGET_DIR");
    let built = target_dir.map_or_else(|| package.join("../../target"), PathBuf::from);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(package)
        // With all of the workspace dependencies have the features that they have in every other build.
        .args(["build", "--quiet", "--workspace", "--features", "shoal-fuzz/instrumented"])
        .args(["--bin", target])
        .env("RUSTC_WORKSPACE_WRAPPER", package.join("instrument.sh"));
    // What `cargo run` tells of this package would be a reason to build ring, and all that is above it, anew.
    for (name, _value) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_PACKAGE.iter().any(|of| name.starts_with(of))) {
            cargo.env_remove(name);
        }
    }
    if !succeeds(&mut cargo)? {
        return Ok(false);
    }
    let built_at = built.join("debug").join(target);
    let built = built.join("fuzz");
    let binary = folder(&built, "bin", target)?.join(target);
    // Without instrumentation it is built at the same place.
    let copied = std::fs::copy(&built_at, &binary);
    copied.map_err(|why| format!("{}: {why}", built_at.display()))?;
    let found = folder(&built, "found", target)?;
    let mut fuzzer = Command::new(binary);
    if Path::new(MEMORY).is_dir() {
        fuzzer.env("TMPDIR", MEMORY);
    }
    fuzzer
        .arg(format!("-max_len={BYTES_MAX}"))
        .args([
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            "-print_funcs=0",
            "-verbosity=0",
        ])
        .arg(format!("-artifact_prefix={}/", found.display()));
    // What is found goes to the first folder named.
    let kept = match length {
        Length::Seconds(n) => {
            fuzzer.arg(format!("-max_total_time={n}"));
            folder(&built, "corpus", target)?
        }
        Length::Runs(n) => {
            fuzzer.args([format!("-runs={n}"), "-seed=1".to_owned()]);
            fuzzer.arg(format!("-max_total_time={RUNS_SECONDS_MAX}"));
            empty(folder(&built, "fresh", target)?)?
        }
    };
    fuzzer.args([kept, package.join("corpus").join(target)]);
    succeeds(&mut fuzzer)
}

fn folder(built: &Path, kind: &str, target: &str) -> Result<PathBuf, String> {
    let folder = built.join(kind).join(target);
    std::fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    Ok(folder)
}

fn empty(folder: PathBuf) -> Result<PathBuf, String> {
    std::fs::remove_dir_all(&folder)
        .and_then(|()| std::fs::create_dir(&folder))
        .map_err(|why| format!("{}: {why}", folder.display()))?;
    Ok(folder)
}

fn succeeds(command: &mut Command) -> Result<bool, String> {
    let status = command.status();
    Ok(status.map_err(|why| format!("{}: {why}", command.get_program().display()))?.success())
}
