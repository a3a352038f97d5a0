//! A vehicle from its start on: it drives what it has not driven yet, then learns, in a fleet or alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shoal_hal::{Part, Store as _};
use shoal_shadow::replay::OpenReport;
use shoal_swarm::campaign::Mine;
use tracing::{info, warn};

use super::alone;
use super::bench::{Bench, BenchError};
use super::clock::Clock;
use super::look::{Look, Looking};
use super::metrics::Metrics;
use super::run::{Exchange, ExchangeError, Run};
use crate::agent::{Agent, AgentError, Tell, Why};
use crate::config::{CameraConfig, Config, FleetConfig};
use crate::drives::{self, DrivesError};
use crate::ready::{Ready, ReadyError};

/// What was driven: [`Driven`].
const DRIVEN: &str = "driven";
/// How long after a full disk lost spans of a recorded drive it is driven again.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// How often a recorded vehicle drives its roads again for one adapter on trial.
const AGAIN_MAX: usize = 100;

/// Why a vehicle does not go on.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Drives(#[from] DrivesError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error(transparent)]
    Ready(#[from] ReadyError),
    /// Its devices cannot be used.
    #[cfg(all(feature = "linux", target_os = "linux"))]
    #[error(transparent)]
    Live(#[from] super::live::LiveError),
    /// It was built without them.
    #[cfg(not(all(feature = "linux", target_os = "linux")))]
    #[error("this program was built without cameras: build shoal-vehicle with the feature `linux`")]
    NoDevices,
    /// It is not told of any fleet.
    #[error("{file} has no table [fleet]: `shoal fleet init` writes one")]
    NoFleet {
        /// The configuration.
        file: String,
    },
}

/// How far the vehicle drove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Driven {
    /// Drives whose end was seen.
    whole: usize,
    /// When the next begins, or began: UTC in seconds. Nothing else was recorded after that.
    next_at_s: u64,
}

/// Runs a vehicle until it is told to stop, or for as many windows (nights, alone) as are given. It is `ready` when its
/// model has predicted a frame, with the adapter in use.
///
/// # Errors
/// [`MemberError`].
pub fn run(
    file: &str,
    config: Config,
    windows: Option<u32>,
    stop: Arc<AtomicBool>,
    metrics: Metrics,
    mut ready: Ready,
) -> Result<(), MemberError> {
    let Some(fleet) = config.fleet.clone() else {
        return Err(MemberError::NoFleet { file: file.to_owned() });
    };
    let (state, seed) = (config.state.clone(), config.seed);
    let recorded = config.camera.is_none();
    let privacy = config.privacy;
    let run = Run { windows, stop, state, seed, metrics, recorded, privacy };
    let agent = open(&config, &run.metrics)?;
    info!(name = config.name, engine = agent.engine(), "vehicle");
    agent.try_model()?;
    let mut agent = try_parking(&run, &fleet, agent)?;
    ready.tell()?;
    if let Some(camera) = &config.camera {
        return live(&run, &config, camera, &fleet, agent);
    }
    let clock = clock(&run)?;
    forget(&mut agent, &clock, &fleet)?;
    let mut driven = drive(&mut agent, &config, &clock, &run)?;
    while !run.is_stopped() {
        let (since, all) = (now(), driven == Drove::All);
        let mut look = || (all || since.elapsed() < AGAIN_AFTER).then(Look::recorded);
        if !parked(&run, &fleet, agent, &mut look)? {
            break;
        }
        // The engine took the agent; what it keeps is on disk.
        agent = open(&config, &run.metrics)?;
        if !all {
            driven = drive(&mut agent, &config, &clock, &run)?;
        }
        drive_again(&mut agent, &config, &run)?;
    }
    Ok(())
}

/// Opens the agent, and says what of its replay is lost.
fn open(config: &Config, metrics: &Metrics) -> Result<Agent, AgentError> {
    let agent = Agent::open(config.clone())?;
    let OpenReport { partial: _, orphans, dropped, evicted, damaged, erased } = agent.opened();
    if let Some(why) = damaged {
        // Without its row, a file that is not what was written is nobody's.
        metrics.replay_unreadable.inc_by(*orphans as u64);
        warn!(%why, lost = orphans, "the index of replay was made again, of the spans' files");
    }
    for lost in dropped {
        metrics.replay_unreadable.inc();
        warn!(path = %lost.path.display(), why = lost.why, "a span is lost");
    }
    if evicted.spans > 0 {
        info!(spans = evicted.spans, "replay holds less: these have no room in it any more");
    }
    if *erased {
        warn!("the key of replay was gone: what it held can never be read, and is removed");
    }
    Ok(agent)
}

#[expect(clippy::disallowed_methods, reason = "a disk that is full is not asked without end")]
fn now() -> Instant {
    Instant::now()
}

/// Drives what the camera sees, parks, and drives again.
#[cfg(all(feature = "linux", target_os = "linux"))]
fn live(
    run: &Run,
    config: &Config,
    camera: &CameraConfig,
    fleet: &FleetConfig,
    mut agent: Agent,
) -> Result<(), MemberError> {
    let mut devices = super::live::Devices::open(config, camera)?;
    loop {
        let clock = clock(run)?;
        forget(&mut agent, &clock, fleet)?;
        devices.drive(&mut agent, &clock, &run.stop, &run.metrics)?;
        if run.is_stopped() || !parked(run, fleet, agent, &mut || devices.look())? {
            return Ok(());
        }
        // The engine took the agent; what it keeps is on disk.
        agent = open(config, &run.metrics)?;
    }
}

/// Says that this program cannot drive by itself.
#[cfg(not(all(feature = "linux", target_os = "linux")))]
fn live(
    _run: &Run,
    _config: &Config,
    _camera: &CameraConfig,
    _fleet: &FleetConfig,
    _agent: Agent,
) -> Result<(), MemberError> {
    Err(MemberError::NoDevices)
}

/// The vehicle's clock, with what the fleet signed until now.
fn clock(run: &Run) -> Result<Clock, ExchangeError> {
    let (_folder, vault) = run.open_vault()?;
    Ok(Clock::start(vault.utc_at_least()?))
}

/// Forgets what is older than may be kept. A clock that runs ahead must not empty replay: what was signed is believed, the
/// clock itself only by a vehicle to which nobody signs anything.
fn forget(agent: &mut Agent, clock: &Clock, fleet: &FleetConfig) -> Result<(), AgentError> {
    agent.forget_old(if fleet.exchange { clock.passed_seconds() } else { clock.seconds() })
}

/// Looks at what the vehicle will need once it is parked: who says that it is up without its key, pack or trust would have a new
/// image confirmed that cannot read them.
fn try_parking(run: &Run, fleet: &FleetConfig, agent: Agent) -> Result<Agent, MemberError> {
    if fleet.exchange {
        let (_folder, vault) = run.open_vault()?;
        super::keep::try_member(fleet, &vault)?;
    } else {
        fleet.key.open().map_err(ExchangeError::from)?;
    }
    Ok(Bench::open(agent, &fleet.packs)?.into_agent())
}

/// Learns, in the fleet or alone, until the vehicle drives off (true) or there is nothing more to do.
fn parked(
    run: &Run,
    fleet: &FleetConfig,
    agent: Agent,
    looking: &mut Looking<'_>,
) -> Result<bool, MemberError> {
    let Some(look) = looking() else { return Ok(true) };
    let filled = agent.replay();
    run.metrics.replay_spans.set(i64::try_from(filled.spans).unwrap_or(i64::MAX));
    run.metrics.replay_bytes.set(i64::try_from(filled.bytes).unwrap_or(i64::MAX));
    let bench = Bench::open(agent, &fleet.packs)?.counting(&run.metrics);
    if fleet.exchange {
        Ok(Exchange::open(run.clone(), fleet.clone(), bench, look)?.run(looking)?)
    } else {
        let key = fleet.key.open().map_err(ExchangeError::from)?;
        Ok(alone::nights(run, key.public().id(), bench, looking)?)
    }
}

impl Run {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// How much of what there is to drive was driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drove {
    /// All.
    All,
    /// Not all: the disk had no room for what was seen. The drive in which that was, and those after it, are still to be driven.
    UntilTheDiskWasFull,
    /// Not all: the program was told to stop.
    UntilStopped,
}

/// Drives the tuning parts of recorded or generated drives, each once; one that a cut ended, or of which a full disk lost a span,
/// is driven again from its beginning, and what it left before is erased.
fn drive(
    agent: &mut Agent,
    config: &Config,
    clock: &Clock,
    run: &Run,
) -> Result<Drove, MemberError> {
    let metrics = &run.metrics;
    let form = agent.form().clone();
    let own = drives::open(&config.drives, &config.geometry, &form, config.seed)?;
    for skipped in &own.skipped {
        warn!(%skipped, "a drive cannot be used");
    }
    let now_s = clock.seconds();
    let mut driven = agent.driven()?.unwrap_or(Driven { whole: 0, next_at_s: now_s });
    agent.erase_from(driven.next_at_s)?;
    for drive in own.drives.iter().skip(driven.whole) {
        if run.is_stopped() {
            return Ok(Drove::UntilStopped);
        }
        agent.keep_driven(&driven)?;
        let split = drive.split(form.context);
        let spans = split.spans(Part::Tuning);
        let mut lost = false;
        let (from, go_on) = (Some(driven.next_at_s), || !run.is_stopped());
        agent.drive_while(drive, spans, from, go_on, |tell| match tell {
            Tell::NotStored(error) => {
                metrics.replay_lost.inc();
                lost |= error.is_of_the_disk();
                warn!(%error, "a span is not stored");
            }
            Tell::Moment { shed, .. } => metrics.frame(shed),
            Tell::Trial { .. }
            | Tell::Tried(_)
            | Tell::Trained { .. }
            | Tell::Measured { .. }
            | Tell::Night(_)
            | Tell::Unreadable(_)
            | Tell::TrainingFailed(_) => {}
        })?;
        if run.is_stopped() {
            // As after a cut: it may not have come to its end.
            return Ok(Drove::UntilStopped);
        }
        if lost {
            warn!(
                drive = drive.name,
                "not all of it could be stored: it is driven again in an hour"
            );
            return Ok(Drove::UntilTheDiskWasFull);
        }
        let seconds = (drive.len() as f64 / drive.rate_hz).ceil() as u64;
        driven.whole = driven.whole.saturating_add(1);
        // At speed, the next one must still come after it.
        driven.next_at_s = driven.next_at_s.saturating_add(seconds).saturating_add(1);
        agent.keep_driven(&driven)?;
        let filled = agent.replay();
        let shed = metrics.frames_shed.get();
        info!(drive = drive.name, spans = filled.spans, frames = filled.frames, shed, "driven");
    }
    Ok(Drove::All)
}

/// Drives recorded or generated drives again, until it is known what comes of the adapter that a campaign put on trial.
fn drive_again(agent: &mut Agent, config: &Config, run: &Run) -> Result<(), MemberError> {
    let form = agent.form().clone();
    let own = drives::open(&config.drives, &config.geometry, &form, config.seed)?;
    let spans: Vec<_> = own.drives.iter().map(|drive| (drive, drive.split(form.context))).collect();
    for (drive, split) in spans.iter().cycle().take(spans.len().saturating_mul(AGAIN_MAX)) {
        let watching = agent.tried()?.is_some_and(|tried| tried.mine == Mine::Watching);
        if !watching || run.is_stopped() {
            return Ok(());
        }
        let go_on = || !run.is_stopped();
        agent.drive_while(drive, split.spans(Part::Tuning), None, go_on, |_tell| {})?;
        info!(drive = drive.name, "driven again, with an adapter on trial");
    }
    if run.is_stopped() {
        return Ok(());
    }
    let undecided = agent.tried()?.filter(|tried| tried.mine == Mine::Watching);
    if let Some(tried) = undecided {
        // Nothing moves on these roads.
        warn!(campaign = tried.ask.number, "its roads say nothing of the adapter on trial");
        agent.go_back(tried.ask.number, Why::Told)?;
    }
    Ok(())
}

impl Agent {
    fn driven(&self) -> Result<Option<Driven>, AgentError> {
        let mut buffer = [0; 256];
        let length = self.records().get(DRIVEN, &mut buffer)?;
        let bytes = length.and_then(|length| buffer.get(..length));
        Ok(bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()))
    }

    fn keep_driven(&mut self, driven: &Driven) -> Result<(), AgentError> {
        // Numbers can be written.
        let bytes = serde_json::to_vec(driven).unwrap_or_default();
        Ok(self.records_mut().put(DRIVEN, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use tempfile::tempdir;

    use super::*;
    use crate::config::EngineKind;

    /// A vehicle that keeps all of a long generated road.
    fn told(folder: &std::path::Path) -> (Config, Run) {
        let mut config = Config::default();
        config.engine.kind = EngineKind::Tract;
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        config.model.package = models.join("world");
        config.state = folder.join("state");
        (config.drives.frames, config.drives.regions) = (600, vec!["city".into()]);
        config.replay.ordinary_share = 1.0;
        let run = Run {
            windows: None,
            stop: Arc::default(),
            state: config.state.clone(),
            seed: 0,
            metrics: Metrics::default(),
            recorded: true,
            privacy: None,
        };
        (config, run)
    }

    #[test]
    fn a_drive_ends_when_it_is_told_to_and_is_driven_again() {
        let folder = tempdir().unwrap();
        let (config, run) = told(folder.path());
        let mut agent = open(&config, &run.metrics).unwrap();
        let Run { stop, metrics, .. } = run.clone();
        let told = thread::spawn(move || {
            while metrics.frames.get() == 0 {
                thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let drove = drive(&mut agent, &config, &Clock::start(0), &run).unwrap();
        told.join().unwrap();
        assert_eq!(drove, Drove::UntilStopped);
        assert!(run.metrics.frames.get() < 300, "{}", run.metrics.frames.get());
        assert_eq!(agent.driven().unwrap().unwrap().whole, 0);
    }

    #[test]
    fn a_lost_span_is_counted_and_all_are_erased_when_asked_for() {
        let folder = tempdir().unwrap();
        let (mut config, run) = told(folder.path());
        config.drives.frames = 60;
        let mut agent = open(&config, &run.metrics).unwrap();
        drive(&mut agent, &config, &Clock::start(0), &run).unwrap();
        let driven = agent.driven().unwrap();
        let spans = agent.replay().spans;
        drop(agent);
        let files = fs::read_dir(config.state.join("replay")).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        let is_span = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "span");
        fs::remove_file(paths.find(is_span).unwrap()).unwrap();
        let agent = open(&config, &run.metrics).unwrap();
        assert_eq!((agent.replay().spans, run.metrics.replay_unreadable.get()), (spans - 1, 1));
        assert!(Agent::erase(&config).is_err(), "it is in use");
        drop(agent);
        assert_eq!(Agent::erase(&config).unwrap().spans, spans - 1);
        let agent = open(&config, &run.metrics).unwrap();
        assert_eq!((agent.replay().spans, agent.driven().unwrap()), (0, driven));
    }
}
