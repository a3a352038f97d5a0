//! `shoal campaign approve`

use std::path::PathBuf;

use clap::Args;
use shoal_keys::KeyAt;
use shoal_swarm::campaign::APPROVAL;
use shoal_wire::v1::{Document, DocumentFields};
use shoal_wire::{Kind, seal};

use super::folder::{Folder, describe};
use crate::clock::utc_ms;
use crate::fleet::Description;
use crate::output::Outcome;

/// Approve a campaign with the second key.
///
/// The plan is shown and signed. Vehicles do what this plan says and nothing else: whoever changes it afterwards, the
/// authority included, has no approval any more.
///
/// Example: shoal campaign approve trial 1 --key /media/stick/approver.key
#[derive(Args)]
pub(crate) struct Approve {
    /// The fleet's directory; of it only fleet.toml and campaigns/NUMBER are needed
    dir: PathBuf,
    /// The campaign's number
    number: u32,
    /// The second key
    #[arg(long, value_name = "FILE|URI", value_parser = KeyAt::parse)]
    key: KeyAt,
    /// For how many days vehicles may begin: ten years at most
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3653))]
    days: u32,
}

impl Approve {
    pub(crate) fn run(self) -> Outcome {
        let (description, _held) = Description::hold(&self.dir)?;
        let key = self.key.open()?;
        if key.public() != description.approver {
            return Err(format!("{} is not the approver's key of fleet.toml", self.key).into());
        }
        let folder = Folder::open(&self.dir, self.number)?;
        let plan = folder.plan()?;
        plan.check()?;
        if plan.fleet != description.name || !description.regions.contains(&plan.region) {
            return Err(format!("the plan is for {} / {}", plan.fleet, plan.region).into());
        }
        let particle = folder.particle(description.authority)?;
        if particle.header.id() != plan.particle {
            return Err("the particle in the folder is not the plan's".into());
        }
        print!("{}", describe(&plan));
        let now = utc_ms()?;
        let until = (now / 1000).saturating_add(u64::from(self.days) * 86_400);
        let bytes = plan.digest();
        let fields = DocumentFields { name: APPROVAL, version: plan.number, bytes: &bytes };
        let mut buffer = vec![0; Kind::Document.envelope_bytes_max()];
        // Milliseconds grow faster than anybody approves.
        let sealed = seal(&Document::new(fields)?, now, until, &*key, &mut buffer)?;
        folder.approve(sealed.bytes())?;
        println!("approved by {} for {} days", key.public().id(), self.days);
        Ok(())
    }
}
