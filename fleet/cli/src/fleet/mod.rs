//! `shoal fleet …`

mod documents;
mod init;
mod secret;

use clap::Subcommand;

use crate::output::Outcome;

/// Make fleets of vehicles that exchange what they learn.
#[derive(Subcommand)]
pub(crate) enum Fleet {
    /// Make a fleet: its authority, its vehicles' keys, and every document they agree on
    Init(init::Init),
}

impl Fleet {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Fleet::Init(command) => command.run(),
        }
    }
}
