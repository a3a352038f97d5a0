//! What a vehicle in a fleet has around it: time, brokers, an engine, noise. A program has those of its computer; who simulates a fleet
//! has others, and the vehicle is the same.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use embassy_time::Instant;
use shoal_link::{Broker, Link, LinkError, Settings};
use shoal_swarm::privacy::Noise;

use super::bench::Bench;
use super::clock::Clock;
use super::run::ExchangeError;
use super::worker::{Done, EngineEnded, Job, Worker};
use crate::config::Config;
use crate::gateway::Guard;
#[cfg(all(feature = "linux", target_os = "linux"))]
use crate::gateway::SerialGateway;

/// A clock that runs, and one that people set.
pub trait Time: fmt::Debug {
    /// Since the program began; it never goes back.
    fn since_start(&self) -> Instant;

    /// UTC in seconds, as the system believes it.
    fn utc_seconds(&self) -> u64;
}

/// Reaches brokers.
pub trait Dial: fmt::Debug {
    /// Begins to connect.
    ///
    /// # Errors
    /// [`LinkError`]: there is no link.
    fn dial(&mut self, settings: Settings) -> Result<Box<dyn Broker>, LinkError>;
}

/// Measures, codes and tunes, one thing at a time.
pub trait Engine {
    /// Gives a job.
    fn give(&mut self, job: Job);

    /// Whether a measurement or a particle is being made that somebody waits for.
    fn busy(&self) -> bool;

    /// Whether none is being made at all.
    fn idle(&self) -> bool;

    /// What was done, if anything, after waiting this long for it.
    ///
    /// # Errors
    /// [`EngineEnded`]: nothing will be done any more.
    fn next(&mut self, wait: Duration) -> Result<Option<Done>, EngineEnded>;
}

/// All of it.
pub struct Around {
    /// The vehicle's clock.
    pub clock: Clock,
    /// Reaches the fleet's broker.
    pub dial: Box<dyn Dial>,
    /// Does what takes long.
    pub engine: Box<dyn Engine>,
    /// What contributions are hidden in: of a key that no other start has, and nobody else.
    pub noise: Noise,
    /// The gateway that guards the window beside the vehicle; `None`: there is none.
    pub guard: Option<Box<dyn Guard>>,
}

impl Around {
    /// Those of this computer. Checkpoints of training go to `folder`; true time is not before `at_least_seconds`.
    ///
    /// # Errors
    /// [`ExchangeError::Thread`], [`ExchangeError::Noise`]; the gateway's line cannot be opened.
    pub fn computer(
        mut bench: Bench,
        folder: &Path,
        at_least_seconds: u64,
    ) -> Result<Self, ExchangeError> {
        let guard = guard(bench.agent().config())?;
        let engine = Worker::start(bench, folder).map_err(ExchangeError::Thread)?;
        let clock = Clock::start(at_least_seconds);
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(ExchangeError::Noise)?;
        let noise = Noise::new(key);
        Ok(Around { clock, dial: Box::new(Network), engine: Box::new(engine), noise, guard })
    }
}

/// The gateway that the vehicle is told of.
#[cfg(all(feature = "linux", target_os = "linux"))]
fn guard(config: &Config) -> Result<Option<Box<dyn Guard>>, ExchangeError> {
    let Some(config) = &config.gateway else { return Ok(None) };
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(ExchangeError::Noise)?;
    let gateway = SerialGateway::open(config, u16::from_le_bytes(number))?;
    Ok(Some(Box::new(gateway)))
}

/// Says that this program has no serial lines.
#[cfg(not(all(feature = "linux", target_os = "linux")))]
fn guard(config: &Config) -> Result<Option<Box<dyn Guard>>, ExchangeError> {
    if config.gateway.is_some() { Err(ExchangeError::NoGateway) } else { Ok(None) }
}

/// The computer's clocks.
#[derive(Debug)]
pub struct Clocks {
    started: std::time::Instant,
}

impl Clocks {
    /// They run from now on.
    #[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
    #[must_use]
    pub fn start() -> Self {
        Clocks { started: std::time::Instant::now() }
    }
}

impl Time for Clocks {
    fn since_start(&self) -> Instant {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(micros)
    }

    #[expect(clippy::disallowed_methods, reason = "a program knows the time; cores are told it")]
    fn utc_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }
}

/// The network: a thread and a socket a link.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Dial for Network {
    fn dial(&mut self, settings: Settings) -> Result<Box<dyn Broker>, LinkError> {
        Ok(Box::new(Link::open(settings)?))
    }
}
