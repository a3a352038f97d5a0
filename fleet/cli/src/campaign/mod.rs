//! `shoal campaign …`

mod approve;
mod best;
mod folder;
mod new;
mod order;
mod show;

use clap::Subcommand;

pub(crate) use folder::region_of;

use crate::output::Outcome;

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal campaign new trial --stages 5,30,100
  shoal campaign approve trial 1 --key trial/approver.key
  shoal campaign start trial 1";

/// Put what was learned to use, stage by stage: made by the authority, approved by a second key.
#[derive(Subcommand)]
pub(crate) enum Campaign {
    New(new::New),
    Approve(approve::Approve),
    /// Begin an approved campaign
    #[command(after_help = "Example: shoal campaign start fleet 1")]
    Start(order::Command<order::Start>),
    /// Let nobody begin; who watches goes on watching
    #[command(after_help = "Example: shoal campaign pause fleet 1")]
    Pause(order::Command<order::Pause>),
    /// Go on after a pause
    #[command(after_help = "Example: shoal campaign resume fleet 1")]
    Resume(order::Command<order::Resume>),
    /// Let nobody begin, and whoever watches go back
    #[command(after_help = "Example: shoal campaign abort fleet 1")]
    Abort(order::Command<order::Abort>),
    /// Let everybody go back to what was used before
    #[command(after_help = "Example: shoal campaign roll-back fleet 1")]
    RollBack(order::Command<order::RollBack>),
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
