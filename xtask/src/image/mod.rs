//! `cargo xtask image`: what is flashed.

mod calls;
pub(crate) mod gateway;

use crate::{Done, Failure};

const HELP: &str = "\
cargo xtask image IMAGE

  gateway  the firmware of the MCU that guards the OTA window   [--help]
";

pub(crate) fn run(args: &[String]) -> Done {
    let (image, args) = args.split_first().ok_or_else(|| Failure::new(HELP))?;
    match image.as_str() {
        "gateway" => gateway::run(args),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure(format!("no image {other:?}\n\n{HELP}"))),
    }
}
