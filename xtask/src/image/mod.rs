//! `cargo xtask image`: what is flashed.

mod bill;
pub(crate) mod booted;
mod calls;
mod debian;
mod disk;
pub(crate) mod gateway;
mod tree;
pub(crate) mod vehicle;

use crate::{Done, Failure};

const HELP: &str = "\
cargo xtask image IMAGE

  vehicle  a disk of an aarch64 vehicle computer: kernel, agent, engine, model   [--help]
  gateway  the firmware of the MCU that guards the OTA window                     [--help]
";

pub(crate) fn run(args: &[String]) -> Done {
    let (image, args) = args.split_first().ok_or_else(|| Failure::new(HELP))?;
    match image.as_str() {
        "vehicle" => vehicle::run(args),
        "gateway" => gateway::run(args),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure(format!("no image {other:?}\n\n{HELP}"))),
    }
}
