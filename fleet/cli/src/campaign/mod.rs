//! `shoal campaign …`

mod approve;
mod best;
mod folder;
mod new;
mod order;
mod show;

use clap::Subcommand;

use crate::output::Outcome;

/// Put what was learned to use, stage by stage: made by the authority, approved by a second key.
#[derive(Subcommand)]
pub(crate) enum Campaign {
    /// Make a campaign of what the fleet elected best, or of an adapter
    New(new::New),
    /// Approve a campaign with the second key
    Approve(approve::Approve),
    /// Begin an approved campaign
    Start(order::Command<order::Start>),
    /// Let nobody begin; who watches goes on watching
    Pause(order::Command<order::Pause>),
    /// Go on after a pause
    Resume(order::Command<order::Resume>),
    /// Let nobody begin, and whoever watches go back
    Abort(order::Command<order::Abort>),
    /// Let everybody go back to what was used before
    RollBack(order::Command<order::RollBack>),
    /// Show a campaign, and how far it is
    Show(show::Show),
}

impl Campaign {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Campaign::New(command) => command.run(),
            Campaign::Approve(command) => command.run(),
            Campaign::Start(command) => command.run(),
            Campaign::Pause(command) => command.run(),
            Campaign::Resume(command) => command.run(),
            Campaign::Abort(command) => command.run(),
            Campaign::RollBack(command) => command.run(),
            Campaign::Show(command) => command.run(),
        }
    }
}
