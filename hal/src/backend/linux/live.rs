//! What the vehicle sees and does as it happens: pictures of a camera, each with the motion of its time.

use std::time::Duration;

use super::signals::HeardMotion;
use super::socketcan::Bus;
use super::v4l2::{Camera, CameraError, CameraOptions};
use crate::{FrameShape, Moment, Moments};

/// Fastest and slowest rate of live moments, Hz.
pub const RATE_HZ: std::ops::RangeInclusive<f64> = 0.1..=1000.0;

/// Which pictures of a camera stand for which tick of the model's rate.
///
/// Tick k is at k/rate after the first picture. The first picture no earlier than half a picture's time
/// before a tick stands for it: the nearest one, where pictures come evenly.
#[derive(Clone, Debug)]
struct Ticks {
    rate_hz: f64,
    /// Half of the time between two pictures, s.
    early_s: f64,
    start: Option<Duration>,
    next: u64,
}

impl Ticks {
    fn new(rate_hz: f64, interval: Option<Duration>) -> Self {
        let early_s = interval.unwrap_or_default().as_secs_f64().min(1.0 / rate_hz) / 2.0;
        Self { rate_hz, early_s, start: None, next: 0 }
    }

    /// Whether a picture at `at` stands for a tick that no other stands for.
    fn wants(&self, at: Duration) -> bool {
        let Some(start) = self.start else { return true };
        // A picture before the first is of a clock that went back.
        let since = at.saturating_sub(start).as_secs_f64();
        since + self.early_s >= self.next as f64 / self.rate_hz
    }

    /// The tick of a picture that is wanted, and ticks before it that have none.
    fn take(&mut self, at: Duration) -> (u64, u64) {
        let start = *self.start.get_or_insert(at);
        let nearest = (at.saturating_sub(start).as_secs_f64() * self.rate_hz).round() as u64;
        let tick = nearest.max(self.next);
        let missing = tick - self.next;
        self.next = tick + 1;
        (tick, missing)
    }

    fn time(&self, tick: u64) -> Duration {
        Duration::try_from_secs_f64(tick as f64 / self.rate_hz).unwrap_or(Duration::MAX)
    }
}

/// A camera and a bus as [`Moments`]. It has no end of its own.
///
/// A frame that came too late for its tick leaves one moment without a frame, so that what follows is not
/// taken for what comes next. The motion is what was heard last when the picture was taken, no older than
/// allowed.
#[derive(Debug)]
pub struct Live {
    camera: Camera,
    bus: Option<(Bus, HeardMotion)>,
    ticks: Ticks,
    /// The tick of the frame that is in `frame` and was not yet given.
    pending: Option<(u64, Duration)>,
    frame: Vec<u8>,
}

impl Live {
    /// Opens a camera for frames of `shape` at `rate_hz`, and listens to `bus` for the motion.
    ///
    /// # Errors
    /// [`CameraError`].
    ///
    /// # Panics
    /// If the shape has no pixel or the rate is not one of [`RATE_HZ`].
    pub fn open(
        options: CameraOptions,
        bus: Option<(Bus, HeardMotion)>,
        shape: FrameShape,
        rate_hz: f64,
    ) -> Result<Self, CameraError> {
        assert!(RATE_HZ.contains(&rate_hz), "{rate_hz} Hz");
        let camera = Camera::open(options, shape, rate_hz)?;
        let ticks = Ticks::new(rate_hz, camera.interval());
        Ok(Self { camera, bus, ticks, pending: None, frame: Vec::with_capacity(shape.bytes()) })
    }

    /// The camera.
    #[must_use]
    pub const fn camera(&self) -> &Camera {
        &self.camera
    }

    /// The bus, if there is one.
    #[must_use]
    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref().map(|(bus, _)| bus)
    }

    /// What the bus says of the motion, if there is one.
    #[must_use]
    pub fn heard(&self) -> Option<&HeardMotion> {
        self.bus.as_ref().map(|(_, heard)| heard)
    }

    /// Waits until there is something to look at, at most for `longest`; [`Moments::next`] waits for as long as the camera
    /// may be silent.
    ///
    /// # Errors
    /// [`CameraError`].
    pub fn ready(&self, longest: Duration) -> Result<bool, CameraError> {
        Ok(self.pending.is_some() || self.camera.ready(longest)?)
    }
}

impl Moments for Live {
    type Error = CameraError;

    fn shape(&self) -> FrameShape {
        self.camera.shape()
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, CameraError> {
        let (tick, at) = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let ticks = &self.ticks;
                let shot = self.camera.next(|at| ticks.wants(at))?;
                self.frame.clear();
                self.frame.extend_from_slice(shot.frame);
                let at = shot.at;
                let (tick, missing) = self.ticks.take(at);
                if missing > 0 {
                    self.pending = Some((tick, at));
                    let since_start = self.ticks.time(tick - 1);
                    return Ok(Some(Moment { frame: None, motion: None, since_start }));
                }
                (tick, at)
            }
        };
        let motion = self.bus.as_mut().and_then(|(bus, heard)| {
            bus.drain(|frame| heard.hear(frame.id, frame.data, frame.at));
            heard.motion(at)
        });
        let since_start = self.ticks.time(tick);
        Ok(Some(Moment { frame: Some(&self.frame), motion, since_start }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks of pictures at `times_ms`, and how many were missing before each.
    fn taken(rate_hz: f64, interval_ms: u64, times_ms: &[u64]) -> Vec<(u64, u64)> {
        let mut ticks = Ticks::new(rate_hz, Some(Duration::from_millis(interval_ms)));
        let mut taken = Vec::new();
        for &time in times_ms {
            let at = Duration::from_millis(1000 + time);
            if ticks.wants(at) {
                taken.push(ticks.take(at));
            }
        }
        taken
    }

    #[test]
    fn of_thirty_pictures_a_second_every_third_is_a_tick_of_ten() {
        let times: Vec<u64> = (0..30).map(|k| k * 100 / 3).collect();
        let ticks: Vec<(u64, u64)> = (0..10).map(|tick| (tick, 0)).collect();
        assert_eq!(taken(10.0, 33, &times), ticks);
        // The chosen ones are the nearest.
        let mut chooser = Ticks::new(10.0, Some(Duration::from_millis(33)));
        let chosen: Vec<u64> = times
            .into_iter()
            .filter(|time| {
                let at = Duration::from_millis(*time);
                chooser.wants(at) && chooser.take(at).1 == 0
            })
            .collect();
        assert_eq!(chosen[..5], [0, 100, 200, 300, 400]);
    }

    #[test]
    fn a_camera_of_the_models_rate_may_tremble() {
        let ticks: Vec<(u64, u64)> = (0..6).map(|tick| (tick, 0)).collect();
        assert_eq!(taken(10.0, 100, &[0, 130, 170, 330, 395, 461]), ticks);
    }

    #[test]
    fn a_gap_is_counted_and_nothing_is_shown_twice() {
        assert_eq!(taken(10.0, 100, &[0, 100, 500, 600]), [(0, 0), (1, 0), (5, 3), (6, 0)]);
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_picture_and_no_earlier_time() {
        assert_eq!(taken(10.0, 100, &[900, 300, 950, 1000]), [(0, 0), (1, 0)]);
    }
}
