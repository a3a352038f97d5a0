//! `shoal fleet gateway`

use std::path::PathBuf;

use clap::Args;
use shoal_gateway::{PROVISION_BYTES_MAX, Provision};
use shoal_hal::backend::files::write_whole;
use shoal_vehicle::config::Config;

use super::description::Description;
use super::roster::Roster;
use crate::output::Outcome;

/// Write what a vehicle's gateway is told once: the start of the first sector of its flash.
///
/// Whose it is, whom it believes, and under which conditions it opens a window: those of `[fleet]` in the vehicle's vehicle.toml. It takes particles that the authority
/// publishes, which is what campaigns promote, and those of vehicles that are named. Where the authority's or the timekeeper's key is replaced, it is to be written again.
///
/// `[gateway]` in the vehicle's vehicle.toml names the line to it: docs/vehicle.md.
///
/// Example: shoal fleet gateway trial 0 -o gateway.bin
#[derive(Args)]
pub(crate) struct Gateway {
    /// The fleet's directory
    dir: PathBuf,
    /// The vehicle's number
    number: u32,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take particles of this vehicle, too; may be given several times
    #[arg(long = "publisher", value_name = "NUMBER")]
    publishers: Vec<u32>,
    /// Frames to watch an adapter on trial before it is confirmed
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..))]
    trial_frames: u64,
    /// The loss at which a trial ends at once, in units of 1e-4, summed over frames
    #[arg(long, value_name = "UNITS", default_value_t = 100_000)]
    trial_loss: u64,
}

impl Gateway {
    pub(crate) fn run(self) -> Outcome {
        // Whoever reads the roster may put its pages in their places.
        let (description, _held) = Description::hold(&self.dir)?;
        let roster = Roster::read(&self.dir, &description)?;
        let file = self.dir.join(format!("vehicle-{}", self.number)).join("vehicle.toml");
        let vehicle = roster.vehicle(self.number)?.id();
        let config = Config::read(&file)?;
        let fleet =
            config.fleet.ok_or_else(|| format!("{} has no table [fleet]", file.display()))?;
        let mut provision = Provision {
            authority: *description.authority.bytes(),
            timekeeper: *description.timekeeper.bytes(),
            vehicle,
            metered: fleet.metered,
            driving: fleet.while_driving,
            battery_soc_percent_min: fleet.battery_soc_min_percent,
            temperature_c_max: fleet.temperature_max_c,
            trial_frames_min: self.trial_frames,
            trial_loss_max: self.trial_loss,
            publishers: [*description.authority.bytes()].into_iter().collect(),
        };
        for number in &self.publishers {
            let key = roster.vehicle(*number)?.public_key;
            let room = provision.publishers.capacity() - 1;
            provision.publishers.push(key).map_err(|_key| {
                format!(
                    "a gateway has room for {room} --publisher beside the authority: name fewer"
                )
            })?;
        }
        let mut sector = [0; PROVISION_BYTES_MAX];
        let bytes = provision.encode(&mut sector).ok_or("a provision has no room in its sector")?;
        write_whole(&self.output, bytes)?;
        let (vehicle, file) = (self.number, self.output.display());
        println!(
            "{file}: {} bytes for the start of the flash of vehicle {vehicle}'s gateway",
            bytes.len()
        );
        Ok(())
    }
}
