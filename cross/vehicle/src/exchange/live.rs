//! A vehicle with devices of its own: it drives what its camera sees until it is parked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shoal_hal::backend::linux::bus_speed::BusSpeed;
use shoal_hal::backend::linux::dbc::{Dbc, DbcError};
use shoal_hal::backend::linux::live::{Live, RATE_HZ};
use shoal_hal::backend::linux::monotonic;
use shoal_hal::backend::linux::signals::{HeardMotion, MappingError, MotionSources, Source};
use shoal_hal::backend::linux::socketcan::{Bus, BusError};
use shoal_hal::backend::linux::v4l2::{CameraError, CameraOptions, PixelFormat};
use shoal_hal::backend::linux::vehicle::{
    Assumed, HeardState, LinuxVehicle, StateOptions, StateSources,
};
use shoal_hal::{Conditions, Vehicle as _};
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
        look
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
    /// lost is opened again; the first time it must be there.
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
        let mut moments = Some(self.moments(agent)?);
        while !stop.load(Ordering::Relaxed) && self.look().is_none() {
            let Some(live) = &mut moments else {
                match self.moments(agent) {
                    Ok(opened) => moments = Some(opened),
                    Err(error) => {
                        warn!(%error, "the camera is not there");
                        pause();
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
            let go_on = |_since_start| !stop.load(Ordering::Relaxed) && self.look().is_none();
            let watched = agent.watch(live, &about, go_on, |tell| {
                if let Tell::NotStored(error) = tell {
                    metrics.replay_lost.inc();
                    warn!(%error, "a span is not stored");
                } else if let Tell::Moment { shed, .. } = tell {
                    metrics.frame(shed);
                }
            });
            match watched {
                Ok(()) => {}
                Err(WatchError::Agent(error)) => return Err(error.into()),
                Err(WatchError::Source(error)) => {
                    warn!(%error, "the camera is lost");
                    moments = None;
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
}

#[expect(clippy::disallowed_methods, reason = "a device that is gone is not asked without end")]
fn pause() {
    std::thread::sleep(RETRY);
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
        metered: conditions.metered_interfaces.clone(),
        assumed: Assumed {
            external_power: conditions.external_power,
            battery_soc_percent: conditions.battery_soc_percent,
            temperature_c: conditions.temperature_c,
        },
    }
}

fn speed(can: &CanConfig) -> Option<BusSpeed> {
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
