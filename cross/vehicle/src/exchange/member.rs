//! A vehicle from its start on: it drives what it has not driven yet, then learns, in a fleet or alone.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shoal_hal::{Conditions, Network, Part, Store as _};
use tracing::{info, warn};

use super::alone;
use super::bench::{Bench, BenchError};
use super::metrics::Metrics;
use super::run::{Exchange, ExchangeError, Run};
use crate::agent::{Agent, AgentError, Tell};
use crate::config::Config;
use crate::drives::{self, DrivesError};
use crate::ready::{Ready, ReadyError};

/// What was driven: [`Driven`].
const DRIVEN: &str = "driven";

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

/// Runs a vehicle until it is told to stop, or for as many windows (nights, alone) as are given. It is `ready` when a
/// prediction was compared with a frame, or when all it has to drive is driven.
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
    let run = Run { windows, stop, state, seed, metrics };
    let mut agent = Agent::open(config.clone())?;
    info!(name = config.name, engine = agent.engine(), "vehicle");
    drive(&mut agent, &config, &mut ready)?;
    ready.tell()?;
    let filled = agent.replay();
    run.metrics.replay_spans.set(i64::try_from(filled.spans).unwrap_or(i64::MAX));
    run.metrics.replay_bytes.set(i64::try_from(filled.bytes).unwrap_or(i64::MAX));
    let bench = Bench::open(agent, &fleet.pack)?;
    if fleet.exchange {
        Exchange::open(run, fleet, bench, parked())?.run()?;
    } else {
        let key = super::key::read(&fleet.key).map_err(ExchangeError::from)?;
        alone::nights(&run, key.public().id(), bench)?;
    }
    Ok(())
}

/// Drives the tuning parts of recorded or generated drives, each once; one that a cut ended is driven again from its
/// beginning, and what it left before is erased.
fn drive(agent: &mut Agent, config: &Config, ready: &mut Ready) -> Result<(), MemberError> {
    let form = agent.form().clone();
    let own = drives::open(&config.drives, &form, config.seed)?;
    for skipped in &own.skipped {
        warn!(%skipped, "a drive cannot be used");
    }
    let mut driven = agent.driven()?.unwrap_or(Driven { whole: 0, next_at_s: now_s() });
    agent.erase_from(driven.next_at_s)?;
    for drive in own.drives.iter().skip(driven.whole) {
        agent.keep_driven(&driven)?;
        let split = drive.split(form.context);
        let spans = split.spans(Part::Tuning);
        let mut told = Ok(());
        agent.drive(drive, spans, driven.next_at_s, |tell| match tell {
            Tell::NotStored(error) => warn!(%error, "a span is not stored"),
            Tell::Moment { surprise: Some(_), .. } if told.is_ok() => told = ready.tell(),
            Tell::Moment { .. }
            | Tell::Trial { .. }
            | Tell::Trained { .. }
            | Tell::Measured { .. }
            | Tell::Night(_)
            | Tell::Unreadable(_)
            | Tell::TrainingFailed(_) => {}
        })?;
        told?;
        let seconds = (drive.len() as f64 / drive.rate_hz).ceil() as u64;
        driven.whole = driven.whole.saturating_add(1);
        // At speed, the next one must still come after it.
        driven.next_at_s = driven.next_at_s.saturating_add(seconds).saturating_add(1);
        agent.keep_driven(&driven)?;
        let filled = agent.replay();
        info!(drive = drive.name, spans = filled.spans, frames = filled.frames, "driven");
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

/// A recorded drive has ended: the vehicle stands, on power, cool, at its network.
fn parked() -> Conditions {
    Conditions {
        parked: true,
        external_power: true,
        battery_soc_percent: 80,
        temperature_c: 30,
        network: Network::Unmetered,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program knows the time; what it drives is told it"
)]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
