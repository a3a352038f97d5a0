//! All automation of the repository: `cargo xtask` lists what there is. One file a command.

#[macro_use]
mod output;

mod accelerator;
mod bare;
mod bench;
mod cargo;
mod clock;
mod cuts;
mod demo;
mod flags;
mod fuzz;
mod image;
mod install;
mod onnxruntime;
mod oracle;
mod process;
mod soak;
mod steps;
mod test;
mod tidy;
mod worlds;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo    a fleet learns over a broker, alone and together                [--help]
  test    all that finds a fault of today's change; what CI runs           [--help]
  tidy    the parts of `test` that need no compiler: lengths, arrows, links, markers   [--help]
  bench   every benchmark of the workspace, one after the other
  soak    long runs: properties, fuzz, cuts into a fleet; docs/evidence     [--help]
  oracle  installs PyTorch, records anew what tests compare with; Flower; rmqtt   [--help]
  accelerator  which provider gets which node, how far from the CPU, how fast; one JSON report  [--help]
  image   what is flashed: a vehicle computer's disk, a gateway's firmware [--help]
";

fn main() -> ExitCode {
    output::until_cut_off(command)
}

fn command() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let args: Vec<String> = args.collect();
    let result = match command.as_deref() {
        Some("demo") => demo::run(&args),
        Some("test") => test::run(&args),
        Some("tidy") => tidy::run(&args),
        Some("bench") => bench::run(&args),
        Some("soak") => soak::run(&args),
        Some("oracle") => oracle::run(&args),
        Some("accelerator") => accelerator::run(&args),
        Some("image") => image::run(&args),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        None => Err(Failure(HELP.to_owned())),
        Some(other) => Err(Failure(format!("no command {other:?}\n\n{HELP}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(why)) => {
            eprintln!("\n{why}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command did not do what was asked, for who asked: what is missing, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure(String);

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

type Done<T = ()> = Result<T, Failure>;

/// The root of the repository.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Where programs and libraries go that only the repository uses: nothing is installed beside it but
/// what the system's package manager and rustup hold.
fn tools() -> PathBuf {
    root().join("target/tools")
}
