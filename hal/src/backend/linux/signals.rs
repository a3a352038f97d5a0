//! What is read off the bus: named signals of a DBC file, in the units of [`Motion`], while they are fresh.

use std::collections::VecDeque;
use std::time::Duration;

use super::dbc::{Dbc, FrameId, Signal, SignalError};
use crate::Motion;

/// km/h in m/s.
pub const KM_H: f64 = 1.0 / 3.6;
/// mph in m/s.
pub const MPH: f64 = 0.447_04;
/// Degrees in radians.
pub const DEGREE: f64 = std::f64::consts::PI / 180.0;
/// Standard gravity in m/s².
pub const GRAVITY: f64 = 9.806_65;

/// Most signals that are summed to one value.
pub const SUM_MAX: usize = 4;

/// Values of one signal that are kept at least: pictures are looked at a little later than they were taken.
const HEARD_MIN: usize = 64;
/// For how long they are kept at least: of a signal that comes a thousand times a second 64 values are not even two pictures.
const HEARD_FOR: Duration = Duration::from_secs(1);
/// Most values that are kept, whatever comes.
const HEARD_MAX: usize = 4096;

/// Where a value is on the bus, and its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// `MESSAGE.SIGNAL`; or several signals of one message, joined by `+`, whose values are added: a coarse
    /// angle and a fine one.
    pub signal: String,
    /// The unit in that of [`Motion`], as [`KM_H`]; negative where the bus counts the other way.
    pub scale: f64,
}

/// Where the motion is on the bus. What is not named is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MotionSources {
    /// `Vehicle.Speed`, m/s.
    pub speed: Option<Source>,
    /// `Vehicle.Chassis.SteeringWheel.Angle`, rad, positive to the left.
    pub steering: Option<Source>,
    /// `Vehicle.Acceleration.Longitudinal`, m/s², positive forward.
    pub acceleration: Option<Source>,
    /// `Vehicle.Acceleration.Lateral`, m/s², positive to the left.
    pub lateral_acceleration: Option<Source>,
}

/// Why the signals that are named cannot be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MappingError {
    /// One of them is not in the file, or cannot be read.
    #[error("`{what}` is on no signal that can be read")]
    Signal {
        what: &'static str,
        #[source]
        source: Box<SignalError>,
    },
    /// The sum is of too many signals, or of more than one message.
    #[error(
        "{what}: `{signal}` is no sum of at most {SUM_MAX} signals of one message: they would not be of \
         one moment"
    )]
    Sum { what: &'static str, signal: String },
    /// The unit is no number that can be multiplied by.
    #[error("{what}: a scale of {scale} makes no value")]
    Scale { what: &'static str, scale: f64 },
}

/// What a frame says of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    /// This.
    Value(f64),
    /// Nothing, though it is the frame that holds it: it is too short, or the value is no number or outside of its range.
    Nothing,
    /// It is another frame, or an older one.
    Other,
}

/// A value that was outside of the range that the DBC file gives it, and so counts as not said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outside {
    /// What is on the signal, `speed`.
    pub what: &'static str,
    /// The first such value, in the file's unit.
    pub value: f64,
}

/// One value on the bus, as it was heard of late.
#[derive(Clone, Debug)]
pub struct Reading {
    what: &'static str,
    id: FrameId,
    parts: Vec<Signal>,
    scale: f64,
    /// Whether a value is one only within its range.
    bounded: bool,
    outside: Option<f64>,
    heard: VecDeque<(f64, Duration)>,
}

impl Reading {
    /// Finds `source` in a DBC file; `what` names it in errors.
    ///
    /// # Errors
    /// [`MappingError`].
    pub fn new(dbc: &Dbc, what: &'static str, source: &Source) -> Result<Self, MappingError> {
        let sum = || MappingError::Sum { what, signal: source.signal.clone() };
        let mut found = Vec::new();
        for name in source.signal.split('+') {
            if found.len() == SUM_MAX {
                return Err(sum());
            }
            let signal = dbc.signal(name.trim());
            let failed = |source| MappingError::Signal { what, source: Box::new(source) };
            found.push(signal.map_err(failed)?);
        }
        let id = found.first().ok_or_else(sum)?.0;
        if found.iter().any(|(other, _)| *other != id) {
            return Err(sum());
        }
        if !source.scale.is_finite() || source.scale == 0.0 {
            return Err(MappingError::Scale { what, scale: source.scale });
        }
        let parts = found.into_iter().map(|(_, signal)| signal).collect();
        let scale = source.scale;
        let heard = VecDeque::new();
        Ok(Self { what, id, parts, scale, bounded: true, outside: None, heard })
    }

    /// The same for a value that is compared with some and is otherwise none of them: its range does not matter.
    #[must_use]
    pub(super) fn unbounded(self) -> Self {
        Self { bounded: false, ..self }
    }

    /// The frame it is in.
    #[must_use]
    pub const fn id(&self) -> FrameId {
        self.id
    }

    /// Hears a frame that came at `at`.
    pub fn hear(&mut self, id: FrameId, data: &[u8], at: Duration) -> Said {
        if id != self.id || self.last().is_some_and(|(_, before)| at < before) {
            return Said::Other;
        }
        let Some(value) = self.value(data) else { return Said::Nothing };
        while self.heard.len() >= HEARD_MIN && self.forgets(at) {
            self.heard.pop_front();
        }
        self.heard.push_back((value, at));
        Said::Value(value)
    }

    /// Whether the oldest value is too old at `now`, or one too many.
    fn forgets(&self, now: Duration) -> bool {
        let is_old = |(_, at): &(f64, Duration)| now - *at > HEARD_FOR;
        self.heard.len() >= HEARD_MAX || self.heard.front().is_some_and(is_old)
    }

    /// The value in a frame's `data`.
    fn value(&mut self, data: &[u8]) -> Option<f64> {
        let mut sum = 0.0;
        for part in &self.parts {
            let value = part.written(data)?;
            if self.bounded && !part.is_said(value) {
                self.outside.get_or_insert(value);
                return None;
            }
            sum += value;
        }
        Some(sum * self.scale).filter(|value| value.is_finite())
    }

    /// The first value that was outside of its range.
    #[must_use]
    pub fn outside(&self) -> Option<Outside> {
        self.outside.map(|value| Outside { what: self.what, value })
    }

    /// The value that was heard last, and when.
    #[must_use]
    pub fn last(&self) -> Option<(f64, Duration)> {
        self.heard.back().copied()
    }

    /// The value that was heard last at `time`, if that was no longer than `age_max` before it.
    #[must_use]
    pub fn fresh(&self, time: Duration, age_max: Duration) -> Option<f64> {
        let (value, at) = self.heard.iter().rev().find(|(_, at)| *at <= time)?;
        (time - *at <= age_max).then_some(*value)
    }
}

/// The motion, as it was last heard on the bus.
#[derive(Clone, Debug)]
pub struct HeardMotion {
    speed: Option<Reading>,
    steering: Option<Reading>,
    acceleration: Option<Reading>,
    lateral_acceleration: Option<Reading>,
    age_max: Duration,
}

impl HeardMotion {
    /// Finds the sources in a DBC file. A value older than `age_max` is not known.
    ///
    /// # Errors
    /// [`MappingError`].
    pub fn new(
        dbc: &Dbc,
        sources: &MotionSources,
        age_max: Duration,
    ) -> Result<Self, MappingError> {
        let reading = |what, source: &Option<Source>| {
            source.as_ref().map(|source| Reading::new(dbc, what, source)).transpose()
        };
        Ok(Self {
            speed: reading("speed", &sources.speed)?,
            steering: reading("steering", &sources.steering)?,
            acceleration: reading("acceleration", &sources.acceleration)?,
            lateral_acceleration: reading("lateral_acceleration", &sources.lateral_acceleration)?,
            age_max,
        })
    }

    /// The frames that hold any of it, each once.
    #[must_use]
    pub fn ids(&self) -> Vec<FrameId> {
        let mut ids: Vec<FrameId> = self.readings().map(Reading::id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Hears a frame that came at `at`.
    pub fn hear(&mut self, id: FrameId, data: &[u8], at: Duration) {
        let all = [
            &mut self.speed,
            &mut self.steering,
            &mut self.acceleration,
            &mut self.lateral_acceleration,
        ];
        for reading in all.into_iter().flatten() {
            reading.hear(id, data, at);
        }
    }

    /// The motion at `time`, which may be a little ago; `None` if nothing of it is known.
    #[must_use]
    pub fn motion(&self, time: Duration) -> Option<Motion> {
        let value = |reading: &Option<Reading>| {
            let value = reading.as_ref()?.fresh(time, self.age_max)? as f32;
            value.is_finite().then_some(value)
        };
        let motion = Motion {
            speed_m_s: value(&self.speed),
            steering_rad: value(&self.steering),
            acceleration_m_s2: value(&self.acceleration),
            lateral_acceleration_m_s2: value(&self.lateral_acceleration),
        };
        (motion != Motion::default()).then_some(motion)
    }

    /// What was outside of its range, each once.
    pub fn outside(&self) -> impl Iterator<Item = Outside> + '_ {
        self.readings().filter_map(Reading::outside)
    }

    fn readings(&self) -> impl Iterator<Item = &Reading> {
        [&self.speed, &self.steering, &self.acceleration, &self.lateral_acceleration]
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAR: &[u8] = b"BO_ 180 SPEED: 8 X\n SG_ SPEED : 47|16@0+ (0.01,0) [0|250] \"km/h\" X\n\
        BO_ 37 STEER: 8 X\n SG_ ANGLE : 3|12@0- (1.5,0) [0|0] \"deg\" X\n SG_ FINE : 39|4@0- (0.1,0) [0|0] \"deg\" X\n";
    const AGE_MAX: Duration = Duration::from_millis(500);

    fn source(signal: &str, scale: f64) -> Option<Source> {
        Some(Source { signal: signal.to_owned(), scale })
    }

    fn heard() -> HeardMotion {
        let sources = MotionSources {
            speed: source("SPEED.SPEED", KM_H),
            steering: source("STEER.ANGLE + STEER.FINE", -DEGREE),
            ..MotionSources::default()
        };
        HeardMotion::new(&Dbc::parse("car.dbc", CAR).unwrap(), &sources, AGE_MAX).unwrap()
    }

    fn id(number: u32) -> FrameId {
        FrameId { number, extended: false }
    }

    #[test]
    fn values_come_in_the_units_of_motion_and_grow_stale_one_by_one() {
        let mut heard = heard();
        assert_eq!(heard.ids(), [id(37), id(180)]);
        assert_eq!(heard.motion(Duration::ZERO), None);
        // 36 km/h; −3 + 0.5 degrees, of a bus that counts to the right.
        heard.hear(id(180), &[0, 0, 0, 0, 0, 0x0e, 0x10, 0], Duration::from_secs(1));
        heard.hear(id(37), &[0x0f, 0xfe, 0, 0, 0x50, 0, 0, 0], Duration::from_millis(1200));
        let motion = heard.motion(Duration::from_millis(1500)).unwrap();
        assert_eq!(motion.speed_m_s, Some(10.0));
        assert!((motion.steering_rad.unwrap() - 2.5f32.to_radians()).abs() < 1e-6);
        let motion = heard.motion(Duration::from_millis(1501)).unwrap();
        assert!(motion.speed_m_s.is_none() && motion.steering_rad.is_some());
        assert_eq!(heard.motion(Duration::from_millis(1701)), None);
    }

    #[test]
    fn frames_of_others_short_ones_and_older_ones_change_nothing() {
        let mut heard = heard();
        let at = Duration::from_secs(5);
        heard.hear(id(180), &[0, 0, 0, 0, 0, 0x0e, 0x10], at);
        let before = heard.motion(at);
        heard.hear(FrameId { number: 180, extended: true }, &[9; 8], at);
        heard.hear(id(181), &[9; 8], at);
        heard.hear(id(180), &[9; 6], at);
        heard.hear(id(180), &[9; 8], Duration::from_secs(4));
        assert_eq!(heard.motion(at), before);
    }

    #[test]
    fn what_is_outside_of_its_range_is_not_said_and_is_told_of() {
        let mut heard = heard();
        let speed = |raw: u16| {
            let [high, low] = raw.to_be_bytes();
            [0, 0, 0, 0, 0, high, low, 0]
        };
        heard.hear(id(180), &speed(3600), Duration::from_secs(1));
        assert_eq!(heard.outside().count(), 0);
        // Not available: the speed of before grows stale.
        heard.hear(id(180), &speed(0xffff), Duration::from_millis(1400));
        heard.hear(id(180), &speed(0xfffe), Duration::from_millis(1600));
        let motion = |at_ms| heard.motion(Duration::from_millis(at_ms));
        assert_eq!(motion(1500).unwrap().speed_m_s, Some(10.0));
        assert_eq!(motion(1600), None);
        let told: Vec<Outside> = heard.outside().collect();
        assert_eq!(told, [Outside { what: "speed", value: 655.35 }]);
    }

    #[test]
    fn a_picture_of_a_little_ago_has_the_motion_of_then() {
        let mut heard = heard();
        for step in 0..200u8 {
            let at = Duration::from_millis(1000 + 10 * u64::from(step));
            heard.hear(id(180), &[0, 0, 0, 0, 0, 0, step, 0], at);
        }
        let speed = |at_ms| heard.motion(Duration::from_millis(at_ms))?.speed_m_s;
        assert_eq!(speed(2990), Some((1.99 / 3.6) as f32));
        assert_eq!(speed(2505), Some((1.50 / 3.6) as f32));
        // Further back is not kept, and nothing is made up.
        assert_eq!(speed(1500), None);
    }

    #[test]
    fn a_fast_signal_is_still_known_where_its_picture_is_looked_at_late() {
        let mut heard = heard();
        for step in 0..3000_u64 {
            let [high, low] = (step as u16).to_be_bytes();
            heard.hear(id(180), &[0, 0, 0, 0, 0, high, low, 0], Duration::from_millis(step));
        }
        let speed = |at_ms| heard.motion(Duration::from_millis(at_ms))?.speed_m_s;
        for at_ms in [2999, 2900, 2300] {
            assert_eq!(speed(at_ms), Some((at_ms as f64 * 0.01 / 3.6) as f32));
        }
        assert_eq!(speed(1500), None, "what is kept has a bound");
        // A burst without time between is bounded by how many there are.
        let end = Duration::from_secs(3);
        (0..2 * HEARD_MAX).for_each(|_| heard.hear(id(180), &[0; 8], end));
        assert_eq!(heard.speed.as_ref().unwrap().heard.len(), HEARD_MAX);
    }

    #[test]
    fn a_mapping_that_cannot_be_is_refused_by_name() {
        let dbc = Dbc::parse("car.dbc", CAR).unwrap();
        let refused = |signal: &str, scale| {
            let source = Source { signal: signal.to_owned(), scale };
            let error = Reading::new(&dbc, "steering", &source).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        };
        let unknown = refused("STEER.ANGEL", 1.0);
        assert!(unknown.contains("`steering` is on no signal"), "{unknown}");
        assert!(unknown.contains("car.dbc has no signal `ANGEL`"), "{unknown}");
        assert!(refused("STEER.ANGEL", 1.0).contains("did you mean `ANGLE`"));
        assert!(refused("STEER.ANGLE + SPEED.SPEED", 1.0).contains("one message"));
        assert!(refused(&["STEER.FINE"; 5].join("+"), 1.0).contains("at most 4"));
        assert!(refused("STEER.FINE", 0.0).contains("scale of 0"));
        assert!(refused("STEER.FINE", f64::NAN).contains("NaN"));
    }
}
