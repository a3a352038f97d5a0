//! `shoal fleet plan`

use std::path::{Path, PathBuf};

use clap::Args;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::PublicKey;
use shoal_wire::v1::{Nonce, RejectWindowPlan, WindowPlan, WindowPlanFields};

use super::description::Description;
use super::documents::{Desk, authority_key, envelopes, newest_counter, not_after_seconds};
use super::heard::heard;
use super::renew;
use super::repositories::Repositories;
use super::roster::Roster;
use super::utility::next_window;
use crate::clock::{utc, utc_ms};
use crate::output::{Failure, Outcome};

/// Windows that a named epoch may pass over.
const SKIPPED_MAX: u32 = 1_000;
/// How far ahead window 0 may be.
const AHEAD_S_MAX: u64 = 366 * 86_400;

/// Sign a new window plan; with nothing but DIR, show the one that is in force.
///
/// What is not named stays as it is, and windows are numbered on: with another period the next one opens when it would have, or
/// a period from now if that is sooner. A `shoal fleet serve` that runs publishes it by itself; vehicles follow it when they see it.
///
/// A plan counts for a year from when it is signed: no window opens after that. `--renew` signs it again, and roster, utility, swarm
/// and whatever else ends with it; and new roots where some would end before the next renewal, if two of authority.key, approver.key
/// and recovery.key are in DIR.
///
/// Example: shoal fleet plan trial --period 20 --open 15
///
/// Example: shoal fleet plan trial
///
/// Example: shoal fleet plan trial --renew
#[derive(Args)]
pub(crate) struct PlanCommand {
    /// The fleet's directory
    dir: PathBuf,
    #[command(flatten)]
    calendar: Calendar,
    /// Sign again all that ends with the plan, for another year
    #[arg(long)]
    renew: bool,
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
    /// Take bytes with which vehicles may hear of no other plan any more: for trials
    #[arg(long)]
    few_bytes: bool,
}

/// Room for one exchange, each way. In a small fleet the model that ships takes some 12 KiB up and 40 KiB down.
const EXCHANGE_BYTES: u64 = 64 << 10;
/// Documents come whole, and again where a line was cut.
const TIMES_HEARD: u64 = 2;

impl Calendar {
    /// Fails where a vehicle could not receive these documents and exchange anything with a plan's bytes: it would not hear of the
    /// next plan, either.
    pub(super) fn check_bytes(&self, plan: &WindowPlanFields, documents: u64) -> Outcome {
        match too_few(plan, documents).filter(|_few| !self.few_bytes) {
            None => Ok(()),
            Some(few) => Err(few.into()),
        }
    }

    /// Whether nothing is named.
    fn is_empty(&self) -> bool {
        let Calendar { epoch, period, open, jitter, bytes_up, bytes_down, few_bytes } = self;
        let seconds = epoch.is_none() && period.is_none() && open.is_none();
        seconds && jitter.is_none() && bytes_up.is_none() && bytes_down.is_none() && !few_bytes
    }

    /// Of a new fleet.
    pub(super) fn first(
        &self,
        epoch_seconds: impl FnOnce() -> Result<u64, Failure>,
    ) -> Result<WindowPlanFields, Failure> {
        let epoch_seconds = self.epoch.map_or_else(epoch_seconds, Ok)?;
        soon(epoch_seconds, utc_ms()? / 1000)?;
        Ok(self.after(&WindowPlanFields {
            epoch_seconds,
            period_seconds: 86_400,
            open_seconds: 14_400,
            jitter_ms_max: 0,
            up_bytes_max: 4 << 20,
            down_bytes_max: 16 << 20,
        }))
    }

    /// Of a fleet that has one, and whose timekeeper announced windows up to `reached`: vehicles take part in none twice, and in none
    /// before the last that they know of.
    fn following(
        &self,
        old: &WindowPlanFields,
        reached: Option<u32>,
        now_s: u64,
    ) -> Result<WindowPlanFields, Failure> {
        let mut plan = self.after(old);
        let next = next_window(old, now_s);
        let (before, after) = (u64::from(old.period_seconds), u64::from(plan.period_seconds));
        if self.epoch.is_none() && before != after && next > 0 {
            let opens = old.epoch_seconds.saturating_add(u64::from(next) * before);
            let opens = opens.min(now_s.saturating_add(after));
            let epoch = opens.checked_sub(u64::from(next) * after);
            let most = opens / u64::from(next);
            plan.epoch_seconds = epoch.ok_or_else(|| {
                format!(
                    "window {next} is the next, and with this period window 0 were before 1970: a period of {most} s at most goes on \
                     from there; a longer one needs a new fleet, or a trial of fewer windows"
                )
            })?;
        }
        soon(plan.epoch_seconds, now_s)?;
        // What is announced and has not opened yet may open by the new calendar.
        let Some(reached) = reached else { return Ok(plan) };
        let next = reached.saturating_add(u32::from(reached < next));
        let got = next_window(&plan, now_s);
        // Where no epoch is named windows are numbered on, also after many that no timekeeper announced.
        let most = self.epoch.map_or(u32::MAX, |_named| next.saturating_add(SKIPPED_MAX));
        if (next..=most).contains(&got) {
            return Ok(plan);
        }
        let latest = now_s.saturating_sub(u64::from(next.saturating_sub(1)) * after);
        Err(format!(
            "window {next} is the next, and with this calendar it would be {got}: vehicles take part in no window before the last that \
             they know of, and a number that was reached is never taken back. Leave --epoch out, or name one up to {latest}, by which at \
             most {SKIPPED_MAX} windows are passed over"
        )
        .into())
    }

    /// What is named, and else as it was.
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

/// Why a plan gives too few bytes for these documents, if it does.
fn too_few(plan: &WindowPlanFields, documents: u64) -> Option<String> {
    let down = documents.saturating_mul(TIMES_HEARD).saturating_add(EXCHANGE_BYTES);
    let ways = [
        ("--bytes-up", plan.up_bytes_max, EXCHANGE_BYTES),
        ("--bytes-down", plan.down_bytes_max, down),
    ];
    let few = ways.into_iter().find(|(_flag, bytes, least)| bytes < least);
    few.map(|(flag, bytes, least)| {
        format!(
            "{flag} {bytes} strands vehicles: documents and metadata of this fleet are {documents} bytes, and who cannot receive them \
             and exchange once hears of no other plan. It takes {flag} {least} at least"
        )
    })
}

/// The same of the plan and the documents of a fleet's folder.
pub(super) fn few_bytes(dir: &Path, authority: PublicKey) -> Result<Option<String>, Failure> {
    let documents = dir.join("documents");
    let plan = read(&documents.join("plan.shl"), authority)?;
    let told = envelopes(&documents)?.iter().map(|(_path, bytes)| bytes.len() as u64).sum();
    Ok(too_few(&plan, told))
}

/// Whether windows begin within reach: a calendar that is followed by mistake is followed to its first window.
fn soon(epoch_seconds: u64, now_s: u64) -> Outcome {
    if epoch_seconds <= now_s.saturating_add(AHEAD_S_MAX) {
        return Ok(());
    }
    Err(format!(
        "--epoch {epoch_seconds} is more than a year ahead: it is UTC in seconds since 1970, and that is {now_s} now"
    )
    .into())
}

/// A plan with these fields.
///
/// # Errors
/// The first bound that is broken, with the flags that say otherwise.
pub(super) fn within_bounds(fields: WindowPlanFields) -> Result<WindowPlan, Failure> {
    WindowPlan::new(fields).map_err(|why| {
        let cure = match why {
            RejectWindowPlan::NoPeriod => "--period is 1 at least",
            RejectWindowPlan::Open { .. } => "--open is 1 to --period",
            RejectWindowPlan::Jitter { .. } => "--jitter is half of --open at most",
            RejectWindowPlan::NoBytes => "--bytes-up and --bytes-down are 1 at least",
        };
        format!("windows: {why}: {cure}").into()
    })
}

impl PlanCommand {
    pub(crate) fn run(self) -> Outcome {
        if self.calendar.is_empty() && !self.renew {
            return self.show();
        }
        let (description, _held) = Description::hold(&self.dir)?;
        let key = authority_key(&self.dir, &description)?;
        let documents = self.dir.join("documents");
        let old = read(&documents.join("plan.shl"), description.authority)?;
        let now_s = utc_ms()? / 1000;
        let reached = reached(&self.dir.join("timekeeper"), description.timekeeper)?;
        let plan = within_bounds(self.calendar.following(&old, reached, now_s)?)?;
        let told = envelopes(&documents)?.iter().map(|(_path, bytes)| bytes.len() as u64).sum();
        self.calendar.check_bytes(plan.fields(), told)?;
        let counter = newest_counter(&self.dir, key.public().id())?;
        let roster = self.renew.then(|| Roster::read(&self.dir, &description)).transpose()?;
        let until = not_after_seconds(plan.fields(), now_s);
        Desk::new(&documents, &*key, counter, until).sign("plan", &plan)?;
        if let Some(roster) = roster {
            renew::renew(&self.dir, &roster, &*key, until)?;
            renew::renew_roots(&self.dir, &description, until, now_s)?;
        }
        Repositories::of(&self.dir, &description).name_documents(now_s)?;
        print(plan.fields(), now_s);
        self.warn(&description, (now_s, self.renew.then_some(until)))?;
        println!("{}", heard(&self.dir));
        Ok(())
    }

    /// What is in force.
    fn show(&self) -> Outcome {
        let fleet = Description::read(&self.dir)?;
        let now_s = utc_ms()? / 1000;
        print(&read(&self.dir.join("documents/plan.shl"), fleet.authority)?, now_s);
        self.warn(&fleet, (now_s, None))
    }

    /// Says what ends soon.
    fn warn(&self, fleet: &Description, times: (u64, Option<u64>)) -> Outcome {
        let told = envelopes(&self.dir.join("documents"))?;
        for warning in renew::warnings(&self.dir, fleet, &told, times) {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }
}

fn print(plan: &WindowPlanFields, now_s: u64) {
    let WindowPlanFields { epoch_seconds, period_seconds, open_seconds, .. } = *plan;
    let next = next_window(plan, now_s);
    let opens = epoch_seconds.saturating_add(u64::from(next) * u64::from(period_seconds));
    println!(
        "window {next} opens at {}; one every {period_seconds} s, open for {open_seconds} s",
        utc(opens)
    );
    println!(
        "window 0 at {epoch_seconds} (UTC, seconds since 1970); in each a vehicle waits at most {} ms for its turn, sends at most {} bytes \
         and receives at most {}",
        plan.jitter_ms_max, plan.up_bytes_max, plan.down_bytes_max
    );
}

/// The last window that the timekeeper of this folder announced.
fn reached(kept: &Path, timekeeper: PublicKey) -> Result<Option<u32>, Failure> {
    if !kept.is_dir() {
        return Ok(None);
    }
    let mut last = None;
    for (_path, bytes) in envelopes(kept)? {
        // One of the timekeeper before, or what a cut left, announces nothing.
        if let Ok(nonce) = verified::<Nonce>(&bytes, &Own(timekeeper)) {
            last = last.max(Some(nonce.body().fields().window));
        }
    }
    Ok(last)
}

/// The plan in this file, if the authority signed it.
pub(super) fn read(path: &Path, authority: PublicKey) -> Result<WindowPlanFields, Failure> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(*verified::<WindowPlan>(&bytes, &Own(authority))?.body().fields())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn calendar(epoch: Option<u64>, period: Option<u32>) -> Calendar {
        let (open, jitter, bytes_up, bytes_down) = (None, None, None, None);
        Calendar { epoch, period, open, jitter, bytes_up, bytes_down, few_bytes: false }
    }

    /// Forty-five windows of forty seconds have opened.
    fn old() -> WindowPlanFields {
        let first = calendar(Some(NOW - 44 * 40 - 7), Some(40)).after(&WindowPlanFields {
            epoch_seconds: 0,
            period_seconds: 1,
            open_seconds: 30,
            jitter_ms_max: 0,
            up_bytes_max: 1,
            down_bytes_max: 1,
        });
        assert_eq!(next_window(&first, NOW), 45);
        first
    }

    /// One byte less than the least each way, and the least; what is small on purpose is taken.
    #[test]
    fn a_plan_leaves_room_for_the_documents_and_an_exchange() {
        let plan = |up_bytes_max, down_bytes_max| WindowPlanFields {
            up_bytes_max,
            down_bytes_max,
            ..old()
        };
        let (up, down) = (65_536, 65_536 + 2 * 10_000);
        let checked = |plan: &WindowPlanFields| {
            let checked = calendar(None, None).check_bytes(plan, 10_000);
            checked.map_err(|refused| refused.to_string())
        };
        assert_eq!(checked(&plan(up, down)), Ok(()));
        assert!(checked(&plan(up - 1, down)).unwrap_err().contains("--bytes-up 65536 at least"));
        assert!(checked(&plan(up, down - 1)).unwrap_err().contains("--bytes-down 85536 at least"));
        let small = Calendar { few_bytes: true, ..calendar(None, None) };
        assert!(small.check_bytes(&plan(1, 1), 10_000).is_ok());
    }

    #[test]
    fn another_period_numbers_windows_on() {
        for period in [20, 60, 86_400] {
            let plan = calendar(None, Some(period)).following(&old(), Some(44), NOW).unwrap();
            assert_eq!(next_window(&plan, NOW), 45);
            let opens = plan.epoch_seconds + 45 * u64::from(period);
            assert_eq!(opens, NOW + 33.min(u64::from(period)), "when it would have, or sooner");
        }
    }

    /// No timekeeper ran for two thousand windows: vehicles counted them all the same.
    #[test]
    fn a_calendar_that_is_signed_again_goes_on_after_windows_that_nobody_announced() {
        let now = NOW + 2_000 * 40;
        for period in [None, Some(20)] {
            let plan = calendar(None, period).following(&old(), Some(2), now).unwrap();
            assert_eq!(next_window(&plan, now), 2_045, "{period:?}");
        }
    }

    #[test]
    fn an_epoch_that_nobody_comes_back_from_is_refused() {
        let refused = |epoch| {
            calendar(Some(epoch), None).following(&old(), Some(44), NOW).unwrap_err().to_string()
        };
        assert!(refused(NOW * 1000).contains("seconds since 1970"));
        assert!(refused(NOW + 40).contains("window 45 is the next"), "{}", refused(NOW + 40));
        assert!(refused(0).contains("it would be 45000001"));
        let latest = NOW - 44 * 40;
        assert!(refused(latest + 1).contains(&format!("up to {latest}")));
        let plan = calendar(Some(latest), None).following(&old(), Some(44), NOW).unwrap();
        assert_eq!(next_window(&plan, NOW), 45);
        // Of a fleet in which no window was announced nothing is to be counted on.
        let plan = calendar(Some(NOW + 40), None).following(&old(), None, NOW).unwrap();
        assert_eq!(next_window(&plan, NOW), 0);
        assert!(calendar(Some(NOW * 1000), None).following(&old(), None, NOW).is_err());
    }
}
