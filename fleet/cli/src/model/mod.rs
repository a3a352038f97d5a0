//! `shoal model …`

pub(crate) mod bake;
mod convert;
mod differentiate;
mod fit;
mod frozen;
mod graft;
mod init;
mod inspect;
mod keep;
mod losses;
mod open;
mod packaged;
mod pretrain;
mod saved;
mod steps;
mod train;
mod warm;

use clap::Subcommand;

use crate::output::Outcome;

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal model inspect model.onnx
  shoal model train models/world --data drives --steps 100 -o adapter";

/// Inspect, graft, differentiate, pretrain, train and bake ONNX models; convert adapters.
#[derive(Subcommand)]
pub(crate) enum Model {
    Inspect(inspect::Inspect),
    Graft(graft::Graft),
    Differentiate(differentiate::Differentiate),
    Init(init::Init),
    Pretrain(pretrain::Pretrain),
    Train(Box<train::Train>),
    Bake(bake::Bake),
    Convert(convert::Convert),
    Warm(Box<warm::Warm>),
}

impl Model {
    /// Does what was asked.
    pub(crate) fn run(self) -> Outcome {
        match self {
            Model::Inspect(command) => command.run(),
            Model::Graft(command) => command.run(),
            Model::Differentiate(command) => command.run(),
            Model::Init(command) => command.run(),
            Model::Pretrain(command) => command.run(),
            Model::Train(command) => command.run(),
            Model::Bake(command) => command.run(),
            Model::Convert(command) => command.run(),
            Model::Warm(command) => command.run(),
        }
    }
}
