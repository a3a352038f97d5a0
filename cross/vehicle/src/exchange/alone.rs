//! The same vehicle without a fleet: night after night it tunes from what it has, and keeps what is no worse on the
//! pack, or better by the margin that it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shoal_runtime::adapter::Adapter;
use shoal_swarm::swarm::{Flat, On, STATE_KEY, Saved, TermResult};
use shoal_swarm::utility::value_of;
use shoal_wire::KeyId;
use shoal_wire::v1::PARTS;
use tracing::{info, warn};

use super::around::Engine as _;
use super::bench::{Bench, BenchError};
use super::clock::Clock;
use super::diary::{Diary, Entry};
use super::keep::night_seed;
use super::look::Looking;
use super::metrics::Memory;
use super::run::{ExchangeError, Run, bytes, flat};
use super::vault::Vault;
use super::worker::{Done, Job, Worker};
use crate::config::Config;

/// What the vehicle drives with, in the vault.
const ACTIVE: &str = "active";
const WAIT: Duration = Duration::from_millis(200);
/// How long a night that failed is followed by nothing: what failed once mostly fails again.
const PAUSE: Duration = Duration::from_secs(10);
/// A term is told in units of 1e-4.
const UNITS: f64 = 1e4;

/// Learns alone for as many nights as `run` says, without end if it says none, or until the vehicle, which `looking`
/// looks at, is not parked any more. Whether it was that. Nights that were done before count.
///
/// # Errors
/// [`ExchangeError`]: the nights until then are durable.
pub fn nights(
    run: &Run,
    vehicle: KeyId,
    mut bench: Bench,
    looking: &mut Looking<'_>,
) -> Result<bool, ExchangeError> {
    let (folder, mut vault) = run.open_vault()?;
    let clock = Clock::start(vault.utc_at_least()?);
    let layout = Arc::clone(bench.agent().layout());
    let margin = margin(bench.agent().config());
    let mut diary = Diary::open(&run.state, Arc::clone(&layout))?;
    let start: Flat = Adapter::start(layout, run.seed).values().into();
    let mut active = match active(&mut vault)? {
        Some(active) if active.len() == start.len() => active,
        Some(_) => {
            warn!("what was learned alone is of another model or layout: learning begins anew");
            start
        }
        None => start,
    };
    let mut worker = Worker::start(bench, &folder).map_err(ExchangeError::Thread)?;
    let mut parked = Parked { stop: &run.stop, looking, may_tune: true, driving: false };
    let first = diary.written().map_or(0, |night| night.saturating_add(1));
    for night in first..run.windows.unwrap_or(u32::MAX) {
        let mut entry = Entry::new(night);
        let seed = night_seed(run.seed, vehicle.bytes(), night);
        // Nobody signs it anything: it has no clock but its own.
        let passed_s = clock.seconds();
        // The parts take turns, as nonces have them take turns in a fleet.
        let part = (night % u32::from(PARTS)) as u8;
        let tune = Job::Tune { from: Arc::clone(&active), window: night, seed, passed_s };
        let (tuned, term) =
            match learn(&mut worker, &mut parked, &mut entry, (tune, &active, part))? {
                Came::Done(learnt) => learnt,
                Came::Failed(error) => {
                    tell_failed(run, night, &error);
                    diary.write(&entry, &active, None)?;
                    parked.pause(&mut worker)?;
                    continue;
                }
                Came::Stopped => break,
            };
        entry.part = Some(part);
        if let Some(term) = term {
            let better = i32::from(term.value) >= i32::from(term.beside) + margin;
            info!(night, from = term.beside, to = term.value, kept = better, "night over");
            entry.value = Some(if better { term.value } else { term.beside });
            if better {
                active = tuned;
                keep(&mut vault, &active)?;
            }
        } else {
            warn!(night, "nothing to measure on: what was tuned is not used");
        }
        entry.seconds.window = entry.seconds.tuning + entry.seconds.measuring;
        entry.memory_bytes = Memory::read().peak_bytes;
        count(run, &entry);
        diary.write(&entry, &active, None)?;
    }
    Ok(parked.driving)
}

/// By how much what was tuned must be better, in the units in which a term is told.
fn margin(config: &Config) -> i32 {
    (f64::from(config.night.margin) * UNITS).round() as i32
}

/// Whether the vehicle goes on with its night.
struct Parked<'a, 'b> {
    stop: &'a AtomicBool,
    looking: &'a mut Looking<'b>,
    may_tune: bool,
    driving: bool,
}

impl Parked<'_, '_> {
    /// Looks, and tells the engine whether it may tune.
    fn goes_on(&mut self, worker: &mut Worker) -> bool {
        let look = (self.looking)();
        self.driving = look.is_none();
        let may_tune = look.is_some_and(|look| look.may_tune);
        if may_tune != self.may_tune {
            self.may_tune = may_tune;
            worker.give(Job::MayTune(may_tune));
        }
        !self.driving && !self.stop.load(Ordering::Relaxed)
    }

    /// Does nothing for a while.
    fn pause(&mut self, worker: &mut Worker) -> Result<(), ExchangeError> {
        let mut left = PAUSE;
        while !left.is_zero() && self.goes_on(worker) {
            worker.next(WAIT)?;
            left = left.saturating_sub(WAIT);
        }
        Ok(())
    }
}

/// Says that a night failed.
fn tell_failed(run: &Run, night: u32, error: &BenchError) {
    run.metrics.engine_failures.inc();
    warn!(night, %error, "the night failed, and nothing of it is kept");
}

/// Tells the metrics of a night.
fn count(run: &Run, entry: &Entry) {
    let metrics = &run.metrics;
    metrics.window.set(entry.window.into());
    metrics.tuning_steps.inc_by(entry.steps.into());
    metrics.seconds.tuning.inc_by(entry.seconds.tuning);
    metrics.seconds.measuring.inc_by(entry.seconds.measuring);
    metrics.measurements.inc();
    if let Some(value) = entry.value {
        metrics.own_utility(value_of(value));
    }
}

fn active(vault: &mut Vault) -> Result<Option<Flat>, ExchangeError> {
    let Some(hash) = active_hash(vault)? else { return Ok(None) };
    let values = vault.blob(&hash)?;
    if values.is_none() {
        warn!("what was learned alone is gone: learning begins anew");
    }
    Ok(values.map(|values| flat(&values)))
}

/// What the vehicle drives with, of what it learned alone.
pub(super) fn active_hash(vault: &Vault) -> Result<Option<[u8; 32]>, ExchangeError> {
    Ok(vault.get(ACTIVE)?.and_then(|hash| <[u8; 32]>::try_from(hash).ok()))
}

/// Makes what the vehicle drives with durable, and lets go of what it drove with before. Where it was in a fleet, the rest of the
/// vault is that fleet's: it may go back to it.
fn keep(vault: &mut Vault, values: &Flat) -> Result<(), ExchangeError> {
    let before = active_hash(vault)?;
    let hash = vault.keep_blob(&bytes(values))?;
    vault.put(ACTIVE, &hash)?;
    let Some(state) = vault.get(STATE_KEY)? else {
        vault.sweep(&[hash].into_iter().collect())?;
        return Ok(());
    };
    let fleets = Saved::decode(Some(&state)).unwrap_or_default().values();
    let named = |before: &[u8; 32]| fleets.iter().any(|values| values.bytes() == before);
    if let Some(before) = before.filter(|before| *before != hash && !named(before)) {
        vault.remove_blob(&before)?;
    }
    Ok(())
}

/// What became of a job.
enum Came<T> {
    Done(T),
    /// Its engine or its disk failed: the next night may do better.
    Failed(BenchError),
    /// The vehicle drives, or was told to stop.
    Stopped,
}

/// Tunes, and measures what came of it beside what is in use.
fn learn(
    worker: &mut Worker,
    parked: &mut Parked<'_, '_>,
    entry: &mut Entry,
    (tune, active, part): (Job, &Flat, u8),
) -> Result<Came<(Flat, Option<TermResult>)>, ExchangeError> {
    worker.give(tune);
    let tuned = match tuned(worker, parked, entry)? {
        Came::Done(tuned) => tuned,
        Came::Failed(error) => return Ok(Came::Failed(error)),
        Came::Stopped => return Ok(Came::Stopped),
    };
    let (candidate, beside) = (Arc::clone(&tuned), Some(Arc::clone(active)));
    let (on, asked) = (On::Part(part), Vec::new());
    worker.give(Job::Measure { job: 0, candidate, beside, on, asked, awaited: true });
    Ok(match measured(worker, parked, entry)? {
        Came::Done(term) => Came::Done((tuned, term)),
        Came::Failed(error) => Came::Failed(error),
        Came::Stopped => Came::Stopped,
    })
}

/// What was tuned.
fn tuned(
    worker: &mut Worker,
    parked: &mut Parked<'_, '_>,
    entry: &mut Entry,
) -> Result<Came<Flat>, ExchangeError> {
    while parked.goes_on(worker) {
        match worker.next(WAIT)? {
            Some(Done::Tuned { values, steps, loss, seconds, .. }) => {
                (entry.steps, entry.loss, entry.seconds.tuning) = (steps, loss, seconds);
                return Ok(Came::Done(values));
            }
            Some(Done::Failed { error, .. }) => return Ok(Came::Failed(error)),
            Some(
                Done::Step { .. } | Done::Measured { .. } | Done::Coded { .. } | Done::Tried(_),
            )
            | None => {}
        }
    }
    Ok(Came::Stopped)
}

/// What was measured; nothing where there is nothing to measure on.
fn measured(
    worker: &mut Worker,
    parked: &mut Parked<'_, '_>,
    entry: &mut Entry,
) -> Result<Came<Option<TermResult>>, ExchangeError> {
    while parked.goes_on(worker) {
        match worker.next(WAIT)? {
            Some(Done::Measured { terms, seconds, .. }) => {
                entry.seconds.measuring = seconds;
                return Ok(Came::Done(terms.first().map(|(_asked, term)| *term)));
            }
            Some(Done::Failed { error, .. }) => return Ok(Came::Failed(error)),
            Some(Done::Step { .. } | Done::Tuned { .. } | Done::Coded { .. } | Done::Tried(_))
            | None => {}
        }
    }
    Ok(Came::Stopped)
}

#[cfg(test)]
mod tests {
    use shoal_hal::backend::synthetic::Region;
    use shoal_swarm::privacy::{Ledger, PRIVACY_KEY, Privacy};
    use shoal_swarm::swarm::ValuesHash;
    use tempfile::tempdir;

    use super::*;
    use crate::exchange::bench::tests::benches_of;
    use crate::exchange::look::Look;
    use crate::exchange::metrics::Metrics;

    fn run(folder: &std::path::Path) -> Run {
        Run {
            windows: Some(1),
            stop: Arc::default(),
            state: folder.join("state"),
            seed: 0,
            metrics: Metrics::default(),
            recorded: true,
            privacy: None,
        }
    }

    /// What a vehicle drives with after a night of no steps, which leaves it exactly as good.
    fn after_a_night(margin: f32, before: Option<Flat>) -> Option<[u8; 32]> {
        let folder = tempdir().unwrap();
        let bench = benches_of(folder.path(), &[("road", Region::ALL[0])], |config| {
            (config.night.steps, config.night.margin) = (0, margin);
        });
        let run = run(folder.path());
        if let Some(before) = before {
            let (_folder, mut vault) = run.open_vault().unwrap();
            keep(&mut vault, &before).unwrap();
        }
        let mut parked = || Some(Look::recorded());
        assert!(!nights(&run, KeyId::new([1; 8]), bench, &mut parked).unwrap());
        let (_folder, vault) = run.open_vault().unwrap();
        active_hash(&vault).unwrap()
    }

    /// So that a supervisor takes it for no bad image: the next night may measure on another part.
    #[test]
    fn a_night_whose_pack_is_damaged_ends_no_vehicle() {
        let folder = tempdir().unwrap();
        let mut bench = benches_of(folder.path(), &[("road", Region::ALL[0])], |config| {
            config.night.steps = 0;
        });
        for file in std::fs::read_dir(folder.path().join("road")).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        let (run, layout) = (run(folder.path()), Arc::clone(bench.agent().layout()));
        let mut parked = || (run.metrics.engine_failures.get() == 0).then(Look::recorded);
        assert!(nights(&run, KeyId::new([1; 8]), bench, &mut parked).unwrap(), "it drives off");
        assert_eq!(Diary::open(&run.state, layout).unwrap().written(), Some(0));
        let (_folder, vault) = run.open_vault().unwrap();
        assert_eq!(active_hash(&vault).unwrap(), None);
    }

    /// The power goes between setting the vault aside and writing down that all of the budget counts as spent.
    #[test]
    fn what_a_damaged_vault_had_counted_of_privacy_is_not_given_back() {
        let folder = tempdir().unwrap();
        let privacy = Privacy { clip: 1.0, noise: 1.0, delta: 1e-6, epsilon_max: 8.0 };
        let run = Run { privacy: Some(privacy), ..run(folder.path()) };
        let (kept, vault) = run.open_vault().unwrap();
        assert_eq!(vault.get(PRIVACY_KEY).unwrap(), None, "nothing was paid yet");
        drop(vault);
        std::fs::write(kept.join("vault.redb"), b"noise").unwrap();
        assert!(Vault::open(&kept).unwrap().found().set_aside.is_some());
        for _start in 0..2 {
            let (_folder, vault) = run.open_vault().unwrap();
            let ledger = Ledger::decode(vault.get(PRIVACY_KEY).unwrap().as_deref());
            assert_eq!(ledger, Ledger::EXHAUSTED);
        }
    }

    #[test]
    fn a_night_alone_keeps_what_is_better_by_the_margin() {
        assert!(after_a_night(0.0, None).is_some());
        assert!(after_a_night(1e-4, None).is_none());
    }

    /// As when its package has changed.
    #[test]
    fn what_was_learned_with_another_model_ends_no_night() {
        let other: Flat = [1.0, 2.0].into();
        let after = after_a_night(0.0, Some(Arc::clone(&other))).unwrap();
        assert_ne!(after, *ValuesHash::of(&other).bytes());
    }

    #[test]
    fn a_night_alone_leaves_what_a_fleet_will_want_again() {
        let folder = tempdir().unwrap();
        let mut vault = Vault::open(folder.path()).unwrap();
        let values = |value: f32| -> Flat { [value, 1.0].into() };
        let there = |vault: &mut Vault, value: f32| {
            vault.blob(ValuesHash::of(&values(value)).bytes()).unwrap().is_some()
        };
        vault.keep_blob(&bytes(&values(1.0))).unwrap();
        keep(&mut vault, &values(2.0)).unwrap();
        assert!(!there(&mut vault, 1.0), "of no fleet, nothing else is of use");

        vault.put(STATE_KEY, &Saved::default().encode()).unwrap();
        vault.keep_blob(&bytes(&values(1.0))).unwrap();
        keep(&mut vault, &values(3.0)).unwrap();
        assert!(there(&mut vault, 1.0) && there(&mut vault, 3.0));
        assert!(!there(&mut vault, 2.0), "what it drove with before");
        keep(&mut vault, &values(3.0)).unwrap();
        assert_eq!(active(&mut vault).unwrap(), Some(values(3.0)));
    }
}
