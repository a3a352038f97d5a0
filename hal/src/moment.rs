//! A frame, the motion, a time: what a vehicle sees and does, moment by moment.

use core::time::Duration;

/// Size of a frame: RGB, u8, row by row from the top left, channels last (HWC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameShape {
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl FrameShape {
    /// Bytes of one frame: `width × height × 3`.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

/// How the vehicle moves. A value that its source does not know is `None`; no value is ever NaN or
/// infinite (backends check, [`crate::conformance`] holds them to it).
///
/// Signs are those of ISO 8855 and of the COVESA signals named below: forward and left are positive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// Speed over ground, m/s, negative backwards (`Vehicle.Speed`, there in km/h).
    pub speed_m_s: Option<f32>,
    /// Angle of the steering wheel, rad, positive to the left
    /// (`Vehicle.Chassis.SteeringWheel.Angle`, there in degrees).
    pub steering_rad: Option<f32>,
    /// Acceleration along the vehicle, m/s², positive forward (`Vehicle.Acceleration.Longitudinal`).
    pub acceleration_m_s2: Option<f32>,
    /// Acceleration across the vehicle, m/s², positive to the left (`Vehicle.Acceleration.Lateral`).
    pub lateral_acceleration_m_s2: Option<f32>,
}

impl Motion {
    /// Whether every known value is a finite number.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        [self.speed_m_s, self.steering_rad, self.acceleration_m_s2, self.lateral_acceleration_m_s2]
            .iter()
            .flatten()
            .all(|value| value.is_finite())
    }
}

/// What a vehicle saw and did at one time. It borrows from the backend that yields it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment<'a> {
    /// The frame, [`FrameShape::bytes`] long; `None` where the camera gave none.
    pub frame: Option<&'a [u8]>,
    /// The motion; `None` where the vehicle gave none.
    pub motion: Option<Motion>,
    /// Time since the first moment of this run of moments; never decreases.
    pub since_start: Duration,
}

/// A source of moments, in the order of their time.
pub trait Moments {
    /// Why the next moment could not be read.
    type Error;

    /// Shape of every frame that this source yields.
    fn shape(&self) -> FrameShape;

    /// The next moment, or `None` when the source has ended (and on every call after that).
    ///
    /// # Errors
    /// What the backend could not read; whether a later call may succeed is the backend's to say.
    fn next(&mut self) -> Result<Option<Moment<'_>>, Self::Error>;
}
