//! A campaign as a folder: `DIR/campaigns/NUMBER` with what two people sign.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use shoal_hal::backend::files::write_whole;
use shoal_swarm::campaign::{ALL, Plan};
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::PublicKey;
use shoal_wire::v1::ParticleHeader;

use crate::fleet::{Chunks, Description, newest_order};
use crate::output::{Failure, Outcome};

/// The folder of all.
const CAMPAIGNS: &str = "campaigns";
/// The plan, as it is signed.
const PLAN: &str = "plan.bin";
/// The header of the particle, signed by the authority.
const PARTICLE: &str = "particle.shl";
/// The plan's digest, signed by the second key.
const APPROVAL: &str = "approval.shl";

/// The folder of one campaign.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Of this number.
    pub(super) fn of(fleet: &Path, number: u32) -> Self {
        Folder(fleet.join(CAMPAIGNS).join(number.to_string()))
    }

    /// Of this number, which there must be.
    pub(super) fn open(fleet: &Path, number: u32) -> Result<Self, Failure> {
        let numbers = numbers(fleet)?;
        if numbers.contains(&number) {
            return Ok(Folder::of(fleet, number));
        }
        let there = match numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "there is none: `shoal campaign new` makes one".to_owned(),
            there => format!("there are: {there}"),
        };
        Err(format!("no campaign {number} in {}; {there}", fleet.join(CAMPAIGNS).display()).into())
    }

    /// The number after the highest there is.
    pub(super) fn next_number(fleet: &Path) -> Result<u32, Failure> {
        std::fs::create_dir_all(fleet.join(CAMPAIGNS))?;
        Ok(numbers(fleet)?.last().copied().unwrap_or(0) + 1)
    }

    /// Writes a new one.
    pub(super) fn create(&self, plan: &Plan, header: &[u8], particle: &Particle) -> Outcome {
        std::fs::create_dir_all(&self.0)?;
        self.chunks().write(&particle.header, &particle.chunks)?;
        write_whole(&self.0.join(PARTICLE), header)?;
        Ok(write_whole(&self.0.join(PLAN), &plan.encode())?)
    }

    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let bytes = self.read(PLAN)?;
        let plan = Plan::decode(&bytes);
        Ok(plan.map_err(|reject| format!("{}: {reject}", self.0.join(PLAN).display()))?)
    }

    /// The particle, whose header the authority signed.
    pub(super) fn particle(&self, authority: PublicKey) -> Result<Particle, Failure> {
        let bytes = self.read(PARTICLE)?;
        let header = verified::<ParticleHeader>(&bytes, &Own(authority))?.body().clone();
        let chunks = self.chunks().read(&header)?;
        Ok(Particle { header, chunks })
    }

    pub(super) fn approve(&self, envelope: &[u8]) -> Outcome {
        Ok(write_whole(&self.0.join(APPROVAL), envelope)?)
    }

    pub(super) fn approval(&self) -> Result<Vec<u8>, Failure> {
        self.read(APPROVAL)
            .map_err(|_missing| "nobody has approved it: `shoal campaign approve`".into())
    }

    fn chunks(&self) -> Chunks {
        Chunks::at(self.0.join("chunks"))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.0.join(name);
        Ok(std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?)
    }
}

/// For which region the campaign of this number is, or without one that of which something was ordered last. `None`: the folder does not
/// tell, as one that is not whole.
pub(crate) fn region_of(
    fleet: &Path,
    description: &Description,
    number: Option<u32>,
) -> Option<String> {
    let plan = match number {
        Some(number) => Folder::of(fleet, number).plan().ok()?,
        None => newest_order(fleet, description).ok()??.campaign.plan,
    };
    Some(plan.region).filter(|region| description.regions.contains(region))
}

/// The campaigns of a fleet's folder.
fn numbers(fleet: &Path) -> Result<BTreeSet<u32>, Failure> {
    let folder = fleet.join(CAMPAIGNS);
    if !folder.is_dir() {
        return Ok(BTreeSet::new());
    }
    let names = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    let names = names.into_iter().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// What is promoted.
pub(super) struct Particle {
    pub(super) header: ParticleHeader,
    /// In the header's order.
    pub(super) chunks: Vec<Vec<u8>>,
}

/// A plan in words, for whoever signs it.
pub(super) fn describe(plan: &Plan) -> String {
    let Plan { number, fleet, region, particle, base_model, layout, stages, watch } = plan;
    let mut text = format!(
        "campaign {number}\n  for        {fleet} / {region}\n  particle   {particle}\n  base model {base_model}\n  layout     {layout}\n"
    );
    for (index, stage) in stages.iter().enumerate() {
        let per_cent = |per_mille: u16| f64::from(per_mille) * 100.0 / f64::from(ALL);
        text += &format!(
            "  stage {index}: {} % of the fleet; the next when {} % keep it; halts when more than {} % go back\n",
            per_cent(stage.share),
            per_cent(stage.kept_min),
            per_cent(stage.gone_back_max)
        );
    }
    text += &format!(
        "  a vehicle watches {} moments; keeps it if at most {:.4} of skill is lost, it predicts at most {:.2} of what moved \
         apart, and takes at most {:.2} times as long\n",
        watch.moments_min,
        f64::from(watch.worse_max) / 1e4,
        f64::from(watch.apart_max) / 1e4,
        f64::from(watch.latency_max) / 1e3
    );
    text
}
