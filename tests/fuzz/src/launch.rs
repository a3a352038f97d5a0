//! Builds a target with coverage instrumentation, by stable Rust, and runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What LLVM's SanitizerCoverage pass does to the code under test: counters at every edge, and the operands
/// of comparisons, which let the fuzzer guess magic numbers.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Clink-dead-code",
    "-Cdebug-assertions=yes",
    // The lints of the code under test are judged where it is built for use.
    "-Awarnings",
];

/// A count of inputs ends after so long all the same: a slow target tries the first of them.
const RUNS_SECONDS_MAX: u64 = 20;
/// The largest input that is tried.
const BYTES_MAX: usize = 1 << 16;

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
    // Build scripts and procedural macros run here: with a target named, the flags leave them alone.
    let host = host()?;
    let built = package.join("../../target/fuzz");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(package)
        .args(["build", "--quiet", "--features", "instrumented", "--bin", target])
        .args(["--target", &host])
        .env("CARGO_TARGET_DIR", &built)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    if !succeeds(&mut cargo)? {
        return Ok(false);
    }
    let found = folder(&built, "found", target)?;
    let mut fuzzer = Command::new(built.join(&host).join("debug").join(target));
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

/// The triple of this machine.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().map_err(|why| format!("rustc: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|l| l.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| "rustc does not say its host".to_owned())
}
