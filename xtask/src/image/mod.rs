//! `cargo xtask image`: what is flashed.

pub(crate) mod debian;
mod disk;
mod tree;
pub(crate) mod vehicle;

use crate::{Done, Failure};

const HELP: &str = "\
cargo xtask image vehicle [--help]

  vehicle   a disk image of an aarch64 vehicle computer: kernel, agent, engine, model";

pub(crate) fn run(args: &[String]) -> Done {
    let (command, args) = match args.split_first() {
        Some((command, args)) => (command.as_str(), args),
        None => ("--help", args),
    };
    match command {
        "vehicle" => vehicle::run(args),
        "--help" | "-h" | "help" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(Failure(format!("no image {other:?}\n\n{HELP}"))),
    }
}
