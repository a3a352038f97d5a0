//! `shoal fleet …`

mod beacon;
mod chunks;
mod description;
mod documents;
mod enroll;
mod gateway;
mod goodbye;
mod heard;
mod init;
pub(crate) mod journal;
mod plan;
mod provision;
mod reinstate;
mod reissue;
mod renew;
mod report;
mod repositories;
mod rerun;
mod result;
mod roster;
pub(crate) mod rotate;
pub(crate) mod secret;
mod seeds;
mod serve;
mod toml;
mod utility;
mod witness;

use clap::Subcommand;

pub(crate) use chunks::Chunks;
pub(crate) use description::Description;
pub(crate) use documents::{
    Ordered, authority_key, last_order, newest_counter, newest_order, sign_campaign,
    swarm_document, unwritten_orders, was_approved_before,
};
pub(crate) use heard::heard;
pub(crate) use init::cannot_make;

use crate::output::Outcome;

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal fleet init trial --vehicles 4 --pack pack
  shoal fleet serve trial
  shoal fleet report trial -o report";

/// Make fleets of vehicles that exchange what they learn.
#[derive(Subcommand)]
pub(crate) enum Fleet {
    Beacon(beacon::Beacon),
    Enroll(enroll::Enroll),
    Gateway(gateway::Gateway),
    Init(Box<init::Init>),
    Plan(plan::PlanCommand),
    Provision(provision::Provision),
    Reinstate(reinstate::Reinstate),
    Report(report::Report),
    Rerun(rerun::Rerun),
    Revoke(roster::Revoke),
    Seeds(seeds::Seeds),
    Serve(serve::Serve),
    Utility(utility::UtilityCommand),
}

impl Fleet {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Fleet::Beacon(command) => command.run(),
            Fleet::Enroll(command) => command.run(),
            Fleet::Gateway(command) => command.run(),
            Fleet::Init(command) => command.run(),
            Fleet::Plan(command) => command.run(),
            Fleet::Provision(command) => command.run(),
            Fleet::Reinstate(command) => command.run(),
            Fleet::Report(command) => command.run(),
            Fleet::Rerun(command) => command.run(),
            Fleet::Revoke(command) => command.run(),
            Fleet::Seeds(command) => command.run(),
            Fleet::Serve(command) => command.run(),
            Fleet::Utility(command) => command.run(),
        }
    }
}
