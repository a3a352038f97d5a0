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
mod open;
mod packaged;
mod pretrain;
mod saved;
mod steps;
mod train;
mod warm;

use clap::Subcommand;

use crate::output::Outcome;

/// Inspect, graft, differentiate, pretrain, train and bake ONNX models; convert adapters.
#[derive(Subcommand)]
pub(crate) enum Model {
    /// Operators, LoRA sites, parameters, what can be differentiated and what not
    Inspect(inspect::Inspect),
    /// Make LoRA factors inputs of a model
    Graft(graft::Graft),
    /// Write the training graph of a model
    Differentiate(differentiate::Differentiate),
    /// Write a package with the default world model, untrained
    Init(init::Init),
    /// Train all weights of a package on generated roads, and on footage if given
    Pretrain(pretrain::Pretrain),
    /// Train an adapter: of a package on drives, of a bare ONNX file on its own outputs
    Train(Box<train::Train>),
    /// Fold an adapter into a model: a plain ONNX again
    Bake(bake::Bake),
    /// Write an adapter as PEFT's directory or as ONNX Runtime's file
    Convert(convert::Convert),
    /// Load all graphs a vehicle loads of a model, and build and keep what its providers need for that
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
