//! `shoal fleet plan`

use std::path::{Path, PathBuf};

use clap::Args;
use shoal_wire::v1::{WindowPlan, WindowPlanFields};
use shoal_wire::{KeyId, Keys, Kind, PublicKey, Unverified};

use super::description::Description;
use super::documents::{Desk, authority_key, newest_counter, not_after_seconds};
use super::repositories::Repositories;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// Sign a new window plan.
///
/// What is not named stays as it is. A `shoal fleet serve` that runs publishes it by itself; vehicles follow it when they
/// see it.
///
/// Example: shoal fleet plan fleet --period 20 --open 15
#[derive(Args)]
pub(crate) struct PlanCommand {
    /// The fleet's directory
    dir: PathBuf,
    #[command(flatten)]
    calendar: Calendar,
}

/// The calendar of windows.
#[derive(Args)]
pub(super) struct Calendar {
    /// When window 0 opens, UTC in seconds since 1970 [a new fleet: the next full second]
    #[arg(long, value_name = "SECONDS")]
    epoch: Option<u64>,
    /// From one window to the next, in seconds [a new fleet: 86400]
    #[arg(long, value_name = "SECONDS")]
    period: Option<u32>,
    /// How long a window is open, in seconds [a new fleet: 14400]
    #[arg(long, value_name = "SECONDS")]
    open: Option<u32>,
    /// The longest a vehicle waits for its turn, in milliseconds [a new fleet: 0]
    #[arg(long, value_name = "MS")]
    jitter: Option<u32>,
    /// What a vehicle may send in a window [a new fleet: 4 MiB]
    #[arg(long, value_name = "BYTES")]
    bytes_up: Option<u64>,
    /// What it may receive [a new fleet: 16 MiB]
    #[arg(long, value_name = "BYTES")]
    bytes_down: Option<u64>,
}

impl Calendar {
    /// Of a new fleet.
    pub(super) fn first(
        &self,
        epoch_seconds: impl FnOnce() -> Result<u64, Failure>,
    ) -> Result<WindowPlanFields, Failure> {
        Ok(self.after(&WindowPlanFields {
            epoch_seconds: self.epoch.map_or_else(epoch_seconds, Ok)?,
            period_seconds: 86_400,
            open_seconds: 14_400,
            jitter_ms_max: 0,
            up_bytes_max: 4 << 20,
            down_bytes_max: 16 << 20,
        }))
    }

    /// Of a fleet that has one.
    fn after(&self, old: &WindowPlanFields) -> WindowPlanFields {
        WindowPlanFields {
            epoch_seconds: self.epoch.unwrap_or(old.epoch_seconds),
            period_seconds: self.period.unwrap_or(old.period_seconds),
            open_seconds: self.open.unwrap_or(old.open_seconds),
            jitter_ms_max: self.jitter.unwrap_or(old.jitter_ms_max),
            up_bytes_max: self.bytes_up.unwrap_or(old.up_bytes_max),
            down_bytes_max: self.bytes_down.unwrap_or(old.down_bytes_max),
        }
    }
}

impl PlanCommand {
    pub(crate) fn run(self) -> Outcome {
        let description = Description::read(&self.dir)?;
        let key = authority_key(&self.dir, &description)?;
        let documents = self.dir.join("documents");
        let old = read(&documents.join("plan.shl"), description.authority)?;
        let plan = WindowPlan::new(self.calendar.after(&old))?;
        let counter = newest_counter(&self.dir, key.public().id())?;
        Desk::new(&documents, &*key, counter, not_after_seconds(plan.fields()))
            .sign("plan", &plan)?;
        Repositories::of(&self.dir, &description).name_documents(utc_ms()? / 1000)?;
        let WindowPlanFields { epoch_seconds, period_seconds, open_seconds, .. } = plan.fields();
        println!(
            "window 0 opens at {epoch_seconds}; one every {period_seconds} s, open for {open_seconds} s"
        );
        Ok(())
    }
}

/// The plan in this file, if the authority signed it.
pub(super) fn read(path: &Path, authority: PublicKey) -> Result<WindowPlanFields, Failure> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let plan = Unverified::decode(&bytes)?.verify::<WindowPlan>(&Authority(authority))?;
    Ok(*plan.body().fields())
}

/// The key that signs plans.
struct Authority(PublicKey);

impl Keys for Authority {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        (kind == Kind::WindowPlan && id == self.0.id()).then_some(self.0)
    }
}
