//! `shoal fleet …`

mod beacon;
mod chunks;
mod description;
mod documents;
mod goodbye;
mod init;
pub(crate) mod journal;
mod plan;
mod provision;
mod reinstate;
mod reissue;
mod report;
mod repositories;
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
    authority_key, last_order, newest_counter, sign_campaign, swarm_document,
};

use crate::output::Outcome;

/// Make fleets of vehicles that exchange what they learn.
#[derive(Subcommand)]
pub(crate) enum Fleet {
    /// Fold a region's records to those that matter, for vehicles that listen to beacons
    Beacon(beacon::Beacon),
    /// Make a fleet: its authority, its vehicles' keys, and every document they agree on
    Init(Box<init::Init>),
    /// Sign a new window plan
    Plan(plan::PlanCommand),
    /// Collect what lies on one vehicle's computer
    Provision(provision::Provision),
    /// Put a vehicle that stands aside into good standing again
    Reinstate(reinstate::Reinstate),
    /// Measure what a fleet learnt: held-out frames, on the adapters that its vehicles kept
    Report(report::Report),
    /// Put a vehicle out of the fleet
    Revoke(roster::Revoke),
    /// Say how sure a fleet's gain is, from the reports of several seeds
    Seeds(seeds::Seeds),
    /// Keep a fleet's time: its documents on the broker, and a nonce for every window
    Serve(serve::Serve),
    /// Sign what counts from now on, and how much in which window
    Utility(utility::UtilityCommand),
}

impl Fleet {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Fleet::Beacon(command) => command.run(),
            Fleet::Init(command) => command.run(),
            Fleet::Plan(command) => command.run(),
            Fleet::Provision(command) => command.run(),
            Fleet::Reinstate(command) => command.run(),
            Fleet::Report(command) => command.run(),
            Fleet::Revoke(command) => command.run(),
            Fleet::Seeds(command) => command.run(),
            Fleet::Serve(command) => command.run(),
            Fleet::Utility(command) => command.run(),
        }
    }
}
