//! A vehicle with devices of its own: it drives what its camera sees until it is parked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shoal_hal::backend::linux::bus_speed::BusSpeed;
use shoal_hal::backend::linux::dbc::{Dbc, DbcError};
use shoal_hal::backend::linux::live::{Live, RATE_HZ};
use shoal_hal::backend::linux::monotonic;
use shoal_hal::backend::linux::signals::{
    HeardMotion, MappingError, MotionSources, Outside, Source,
};
use shoal_hal::backend::linux::socketcan::{Bus, BusError};
use shoal_hal::backend::linux::v4l2::{CameraError, CameraOptions, PixelFormat};
use shoal_hal::backend::linux::vehicle::{
    Assumed, HeardState, LinuxVehicle, StateOptions, StateSources,
};
use shoal_hal::{Conditions, FrameShape, Moment, Moments, Vehicle as _};
use tracing::{info, warn};

use super::clock::Clock;
use super::look::Look;
use super::metrics::Metrics;
use crate::agent::{About, Agent, AgentError, Tell, WatchError};
use crate::config::{CameraConfig, CanConfig, ConditionsConfig, Config, PixelLayout, SignalConfig};
use crate::night::Plan;

/// Time between two looks at the conditions.
const LOOK: Duration = Duration::from_secs(1);
/// Time until a camera that was lost is opened again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest wait without a look at what goes on: the bus keeps little of what it says meanwhile, and nobody waits long for
/// a program that is told to stop.
const WAIT: Duration = Duration::from_millis(200);

/// Why a vehicle's devices cannot be used.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Camera(#[from] CameraError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Dbc(#[from] DbcError),
    #[error(transparent)]
    Mapping(#[from] MappingError),
    #[error("the model's rate of {rate_hz} Hz is none a camera is read at")]
    Rate { rate_hz: f64 },
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// The devices of a vehicle.
pub struct Devices {
    camera: CameraConfig,
    can: Option<(CanConfig, Dbc)>,
    vehicle: LinuxVehicle,
    plan: Plan,
    looked: Option<(Duration, Option<Look>)>,
    /// What was said last of conditions that could not be read.
    trouble: String,
    /// Whether the camera was there once: what was asked of it is right, and it is waited for from then on.
    seen: bool,
    /// What was told once.
    told: BTreeSet<&'static str>,
}

impl Devices {
    /// The devices that a configuration with `camera` names. The camera itself is opened to drive.
    ///
    /// # Errors
    /// [`LiveError`]: no such bus, a signal that is in no DBC file.
    pub fn open(config: &Config, camera: &CameraConfig) -> Result<Self, LiveError> {
        let mut devices = Devices {
            camera: camera.clone(),
            can: None,
            vehicle: LinuxVehicle::new(state_options(&config.conditions), None),
            plan: config.plan(),
            looked: None,
            trouble: String::new(),
            seen: false,
            told: BTreeSet::new(),
        };
        if let Some(can) = &config.can {
            let dbc = Dbc::read(&can.dbc)?;
            let state = HeardState::new(&dbc, &state_sources(can))?;
            // The motion is looked for now, not when the vehicle drives off.
            HeardMotion::new(&dbc, &motion_sources(can), Duration::ZERO)?;
            let bus = Bus::open(&can.interface, &state.ids(), speed(can))?;
            let options = state_options(&config.conditions);
            devices.vehicle = LinuxVehicle::new(options, Some((bus, state)));
            devices.can = Some((can.clone(), dbc));
        }
        Ok(devices)
    }

    /// What is known of the parked vehicle, looked at once a second; `None` if it is not known to be parked.
    pub fn look(&mut self) -> Option<Look> {
        let now = monotonic();
        if let Some((at, look)) = self.looked
            && now.saturating_sub(at) < LOOK
        {
            return look;
        }
        let look = self.conditions().map(|conditions| Look::new(conditions, &self.plan));
        let look = look.filter(|look| look.conditions.parked);
        self.looked = Some((monotonic(), look));
        for outside in self.vehicle.outside() {
            tell_outside(&mut self.told, outside);
        }
        look
    }

    /// Whether there is a reason to drive on.
    fn drives(&mut self, stop: &AtomicBool) -> bool {
        !stop.load(Ordering::Relaxed) && self.look().is_none()
    }

    /// The conditions; `None`, told once, while they cannot be read: nothing is allowed then.
    fn conditions(&mut self) -> Option<Conditions> {
        match self.vehicle.conditions() {
            Ok(conditions) => {
                self.trouble.clear();
                Some(conditions)
            }
            Err(error) => {
                let trouble = error.to_string();
                if trouble != self.trouble {
                    warn!(%error, "the conditions are not known");
                    self.trouble = trouble;
                }
                None
            }
        }
    }

    /// Drives what the camera sees until the vehicle is parked or the program is told to stop. A camera that is
    /// lost, or is not there when the vehicle drives off, is opened again and again; the first time it must be there.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn drive(
        &mut self,
        agent: &mut Agent,
        clock: &Clock,
        stop: &AtomicBool,
        metrics: &Metrics,
    ) -> Result<(), LiveError> {
        let mut moments = None;
        while self.drives(stop) {
            let Some(live) = &mut moments else {
                match self.moments(agent) {
                    Ok(opened) => {
                        self.seen = true;
                        moments = Some(opened);
                    }
                    Err(error) if !self.seen => return Err(error),
                    Err(error) => {
                        warn!(%error, "the camera is not there");
                        self.pause(stop);
                    }
                }
                continue;
            };
            let about = About {
                name: "live",
                of: None,
                rate_hz: agent.form().rate_hz,
                recorded_at_s: Some(clock.recorded_at(agent.recorded_until_s())),
            };
            let mut watching = Watching { live, devices: self, stop };
            let tell = |tell: Tell<'_>| {
                if let Tell::NotStored(error) = tell {
                    metrics.replay_lost.inc();
                    warn!(%error, "a span is not stored");
                } else if let Tell::Moment { shed, .. } = tell {
                    metrics.frame(shed);
                }
            };
            match agent.watch(&mut watching, &about, |_since_start| true, tell) {
                Ok(()) => {}
                Err(WatchError::Agent(error)) => return Err(error.into()),
                Err(WatchError::Source(error)) => {
                    warn!(%error, "the camera is lost");
                    moments = None;
                    // One that opens and gives no picture would be opened without end, and the models with it.
                    self.pause(stop);
                }
            }
            let filled = agent.replay();
            let shed = metrics.frames_shed.get();
            info!(spans = filled.spans, frames = filled.frames, shed, "driven");
        }
        Ok(())
    }

    /// The camera, with the motion on the bus.
    fn moments(&self, agent: &Agent) -> Result<Live, LiveError> {
        let form = agent.form();
        if !RATE_HZ.contains(&form.rate_hz) {
            return Err(LiveError::Rate { rate_hz: form.rate_hz });
        }
        let bus = match &self.can {
            Some((can, dbc)) => {
                let age_max = Duration::from_secs_f64(can.age_s);
                let heard = HeardMotion::new(dbc, &motion_sources(can), age_max);
                let heard = heard?;
                Some((Bus::open(&can.interface, &heard.ids(), speed(can))?, heard))
            }
            None => None,
        };
        let live = Live::open(camera_options(&self.camera), bus, form.shape, form.rate_hz)?;
        let camera = live.camera();
        info!(card = camera.card(), format = ?camera.format(), size = ?camera.size(), "camera");
        Ok(live)
    }

    /// Waits before a camera is asked again, for as long as the vehicle drives.
    #[expect(clippy::disallowed_methods, reason = "a device that is gone is not asked without end")]
    fn pause(&mut self, stop: &AtomicBool) {
        let begun = monotonic();
        while monotonic().saturating_sub(begun) < RETRY && self.drives(stop) {
            std::thread::sleep(WAIT);
        }
    }

    /// Tells once of pictures and values that cannot be what they say.
    fn tell(&mut self, live: &Live) {
        if live.camera().misdated() > 0 && self.told.insert("misdated") {
            warn!("the camera gives times that cannot be true: those of reading are taken");
        }
        for outside in live.heard().into_iter().flat_map(HeardMotion::outside) {
            tell_outside(&mut self.told, outside);
        }
    }
}

fn tell_outside(told: &mut BTreeSet<&'static str>, outside: Outside) {
    let Outside { what, value } = outside;
    if told.insert(what) {
        warn!(
            signal = what,
            value, "a value outside of the range in the DBC file counts as not said"
        );
    }
}

/// What a camera sees while the vehicle drives: it ends when the vehicle is parked or the program is told to stop, also while
/// no picture comes.
struct Watching<'a> {
    live: &'a mut Live,
    devices: &'a mut Devices,
    stop: &'a AtomicBool,
}

impl Moments for Watching<'_> {
    type Error = CameraError;

    fn shape(&self) -> FrameShape {
        self.live.shape()
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, CameraError> {
        let silence_max = Duration::from_secs_f64(self.devices.camera.silence_s);
        let begun = monotonic();
        loop {
            self.devices.tell(self.live);
            if !self.devices.drives(self.stop) {
                return Ok(None);
            }
            let silence = monotonic().saturating_sub(begun);
            let Some(left) = silence_max.checked_sub(silence) else {
                return Err(self.live.camera().silent(silence));
            };
            if self.live.ready(left.min(WAIT))? {
                return self.live.next();
            }
        }
    }
}

fn camera_options(camera: &CameraConfig) -> CameraOptions {
    CameraOptions {
        device: camera.device.clone(),
        size: camera.size,
        format: camera.format.map(|layout| match layout {
            PixelLayout::Rgb24 => PixelFormat::Rgb24,
            PixelLayout::Yuyv => PixelFormat::Yuyv,
            PixelLayout::Nv12 => PixelFormat::Nv12,
            PixelLayout::Mjpeg => PixelFormat::Mjpeg,
            PixelLayout::Grey => PixelFormat::Grey,
        }),
        read_write: camera.read_write,
        silence_max: Duration::from_secs_f64(camera.silence_s),
    }
}

fn state_options(conditions: &ConditionsConfig) -> StateOptions {
    StateOptions {
        sysfs: conditions.sysfs.clone(),
        parked_after: Duration::from_secs(conditions.parked_after_s),
        power_age: Duration::from_secs(conditions.power_age_s),
        metered: conditions.metered_interfaces.clone(),
        assumed: Assumed {
            external_power: conditions.external_power,
            battery_soc_percent: conditions.battery_soc_percent,
            temperature_c: conditions.temperature_c,
        },
    }
}

/// How its bus is to be brought up; `None`: something else does.
pub(crate) fn speed(can: &CanConfig) -> Option<BusSpeed> {
    let CanConfig { data_bit_rate, listen_only, .. } = *can;
    can.bit_rate.map(|bit_rate| BusSpeed { bit_rate, data_bit_rate, listen_only })
}

fn source(signal: &SignalConfig) -> Source {
    Source { signal: signal.signal.clone(), scale: signal.scale }
}

fn motion_sources(can: &CanConfig) -> MotionSources {
    MotionSources {
        speed: can.speed.as_ref().map(source),
        steering: can.steering.as_ref().map(source),
        acceleration: can.acceleration.as_ref().map(source),
        lateral_acceleration: can.lateral_acceleration.as_ref().map(source),
    }
}

fn state_sources(can: &CanConfig) -> StateSources {
    StateSources {
        speed: can.speed.as_ref().map(source),
        parked: can.parked.as_ref().map(|(signal, values)| (source(signal), values.clone())),
        external_power: can.external_power.as_ref().map(source),
        battery_soc_percent: can.battery_soc_percent.as_ref().map(source),
    }
}

#[cfg(test)]
mod tests {
    use shoal_hal::backend::synthetic::Region;

    use super::*;
    use crate::exchange::bench::tests::benches_of;

    /// How a drive ends without a camera: of a vehicle that counts as driving for `drives_s` and a second more, then as
    /// parked, and whose camera was there before or not.
    fn driven(agent: &mut Agent, drives_s: Option<u64>, seen: bool) -> Result<(), LiveError> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::parse("x", "[camera]\ndevice = \"/dev/none\"\n").unwrap();
        let conditions = &mut config.conditions;
        conditions.sysfs = folder.path().join("sys");
        conditions.external_power = Some(true);
        conditions.battery_soc_percent = Some(80);
        conditions.temperature_c = Some(30);
        let camera = config.camera.clone().unwrap();
        let mut devices = Devices::open(&config, &camera).unwrap();
        devices.looked = drives_s.map(|seconds| (monotonic() + Duration::from_secs(seconds), None));
        devices.seen = seen;
        devices.drive(agent, &Clock::start(0), &AtomicBool::new(false), &Metrics::default())
    }

    #[test]
    fn a_camera_must_be_there_only_the_first_time_that_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = benches_of(folder.path(), &[("road", Region::ALL[0])], |_config| {});
        driven(bench.agent(), None, false).unwrap();
        let missing = driven(bench.agent(), Some(600), false).unwrap_err();
        assert!(matches!(missing, LiveError::Camera(CameraError::Open { .. })), "{missing}");
        driven(bench.agent(), Some(0), true).unwrap();
    }
}
