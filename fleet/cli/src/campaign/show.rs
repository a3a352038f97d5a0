//! `shoal campaign show`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shoal_console::names;
use shoal_console::reader::Reader;
use shoal_console::view::Campaign;
use shoal_link::Addresses;
use shoal_swarm::campaign::Order;

use super::folder::{Folder, region_of};
use crate::clock::utc;
use crate::fleet::{self, Description, Ordered};
use crate::output::{Failure, Outcome, json};

/// How long a broker may take to tell of the fleet.
const PATIENCE: Duration = Duration::from_secs(60);

/// Show the campaign that stands on the broker, and what vehicles say came of it, stage by stage.
///
/// What --json prints is described by docs/schemas/campaign.schema.json; without a campaign it is null.
///
/// Example: shoal campaign show trial
///
/// Example: shoal campaign show trial 2 --json
#[derive(Args)]
pub(crate) struct Show {
    /// The fleet's directory; of it only fleet.toml is needed. What it orders that the broker has not heard of is said on standard
    /// error
    dir: PathBuf,
    /// The campaign's number; one that another has taken the place of is told of by what was ordered last
    number: Option<u32>,
    /// The region, of a fleet that has several [that of the campaign, or of the last order]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The broker, or its nodes with commas between them, if not the one in fleet.toml
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
    /// Directory of authority.pem, certificate.pem and key.pem, for a broker with TLS
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self) -> Outcome {
        let description = Description::read(&self.dir)?;
        let of_it = || region_of(&self.dir, &description, self.number);
        let region = self.region.clone().or_else(of_it);
        let description = description.at(region.as_deref())?;
        let broker = self.broker.clone().map_or_else(|| description.broker.parse(), Ok)?;
        let reading = description.reading(broker, self.certificates.as_deref())?;
        let mut reader = Reader::open(&reading)?;
        reader.settle(PATIENCE)?;
        let now = reader.utc_seconds();
        let campaign = reader.state_mut().view(now).campaign;
        let standing = campaign.as_ref().map(|campaign| campaign.number);
        if let Some(number) = self.number.filter(|number| standing != Some(*number)) {
            return Err(self.not_standing(&description, number, standing)?.into());
        }
        self.warn_of_newer(&description, campaign.as_ref());
        if self.json {
            return json(&campaign);
        }
        match campaign {
            Some(campaign) => table(&campaign, now),
            None => println!("no campaign"),
        }
        Ok(())
    }
}

impl Show {
    /// Says where the folder, if it is a whole one, orders what the broker has not heard of.
    fn warn_of_newer(&self, description: &Description, standing: Option<&Campaign>) {
        if !self.dir.join("documents").is_dir() {
            return;
        }
        match fleet::newest_order(&self.dir, description) {
            // A broker keeps what was ordered for a region last, whatever became of it.
            Ok(Some(Ordered { number, campaign, .. }))
                if campaign.plan.region != description.region =>
            {
                if let Some(standing) = standing {
                    eprintln!(
                        "warning: campaign {number} of {} has taken the place of campaign {}, which nobody begins any more",
                        campaign.plan.region, standing.number
                    );
                }
            }
            Ok(Some(Ordered { number, campaign, .. }))
                if is_newer((number, campaign.order), standing) =>
            {
                eprintln!(
                    "warning: in {} campaign {number} {}, and the broker has not heard of it: {}",
                    self.dir.display(),
                    is_ordered(campaign.order),
                    fleet::heard(&self.dir)
                )
            }
            Ok(_) => {}
            Err(why) => {
                eprintln!("warning: what {} orders is not known: {why}", self.dir.display())
            }
        }
    }

    /// Why nothing is shown of this one.
    fn not_standing(
        &self,
        description: &Description,
        number: u32,
        standing: Option<u32>,
    ) -> Result<String, Failure> {
        let instead = match standing {
            Some(other) => format!("campaign {other} does"),
            None => "none does".to_owned(),
        };
        Folder::open(&self.dir, number)?;
        let ordered = match fleet::last_order(&self.dir, description, number)? {
            None if fleet::was_approved_before(&self.dir, description, number)? => {
                "was approved by an approver before this one, whose key was replaced"
            }
            None => "has not begun",
            Some(Order::Run) => {
                "was running when another took its place, or waits for `shoal fleet serve`"
            }
            Some(Order::Pause) => "was paused last",
            Some(Order::Abort) => "was aborted",
            Some(Order::RollBack) => "was rolled back",
        };
        Ok(format!("campaign {number} does not stand on the broker, {instead}; it {ordered}"))
    }
}

/// In words.
fn is_ordered(order: Order) -> &'static str {
    match order {
        Order::Run => "is to run",
        Order::Pause => "is paused",
        Order::Abort => "is aborted",
        Order::RollBack => "is rolled back",
    }
}

/// Whether what was ordered last is not what stands.
fn is_newer((number, order): (u32, Order), standing: Option<&Campaign>) -> bool {
    let Some(standing) = standing else { return true };
    (number, names::order(order)) != (standing.number, standing.order)
}

fn table(campaign: &Campaign, now_s: u64) {
    println!("campaign {}  {}  {}", campaign.number, campaign.state, campaign.particle);
    if [Order::Run, Order::Pause].map(names::order).contains(&campaign.order) {
        println!("{}", approved(campaign.approved_until_s, now_s));
    }
    for (index, stage) in campaign.stages.iter().enumerate() {
        let state = if campaign.halted == Some(index) {
            "halted"
        } else if index < campaign.open {
            "open"
        } else {
            "closed"
        };
        println!(
            "stage {index}  {:>5.1} %  {:>6} vehicles  {:>6} kept  {:>6} gone back  {state}",
            f64::from(stage.share) / 10.0,
            stage.vehicles,
            stage.kept,
            stage.gone_back
        );
    }
}

/// Until when vehicles begin.
fn approved(until_s: u64, now_s: u64) -> String {
    let until = utc(until_s);
    if now_s <= until_s {
        return format!("approved until {until}; nobody begins after that");
    }
    format!(
        "approved until {until}: nobody begins any more, until it is approved again (`shoal campaign approve`), paused and resumed"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_that_has_ended_is_said_to_have() {
        assert!(approved(1_000, 1_000).contains("1970-01-01T00:16:40Z; nobody begins after that"));
        assert!(approved(1_000, 1_001).contains("nobody begins any more"));
    }
}
