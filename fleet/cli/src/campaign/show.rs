//! `shoal campaign show`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use shoal_console::reader::Reader;
use shoal_console::view::Campaign;
use shoal_link::Addresses;

use crate::fleet::Description;
use crate::output::{Outcome, json};

/// How long a broker may take to tell of the fleet.
const PATIENCE: Duration = Duration::from_secs(60);

/// Show the campaign that stands on the broker, and what vehicles say came of it, stage by stage.
///
/// Example: shoal campaign show fleet
#[derive(Args)]
pub(crate) struct Show {
    /// The fleet's directory; of it only fleet.toml is read
    dir: PathBuf,
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
        let broker = self.broker.map_or_else(|| description.broker.parse(), Ok)?;
        let reading = description.reading(broker, self.certificates.as_deref())?;
        let mut reader = Reader::open(&reading)?;
        reader.settle(PATIENCE)?;
        let now = reader.utc_seconds();
        let campaign = reader.state_mut().view(now).campaign;
        if self.json {
            return json(&campaign);
        }
        match campaign {
            Some(campaign) => table(&campaign),
            None => println!("no campaign"),
        }
        Ok(())
    }
}

fn table(campaign: &Campaign) {
    println!("campaign {}  {}  {}", campaign.number, campaign.order, campaign.particle);
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
