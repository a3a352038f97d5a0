//! What stands beside a frame of a pack of actions.

use shoal_hal::Motion;
use shoal_hal::backend::synthetic::Leader;

use super::manifest::Metric;

/// How the vehicle moved at a frame, and what the moment weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What is known of the motion.
    pub motion: Motion,
    /// What hindsight gives it, 0 to 1; a moment of weight 0 is not compared.
    pub weight: f32,
}

/// Why bytes are not a row.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {got}, expected {want}")]
pub struct RejectRow {
    /// Which of the five values.
    pub field: &'static str,
    /// As read.
    pub got: f32,
    /// What is allowed.
    pub want: &'static str,
}

/// The motion's values in the order of the row.
const FIELDS: [&str; 4] =
    ["speed_m_s", "steering_rad", "acceleration_m_s2", "lateral_acceleration_m_s2"];

impl Row {
    /// Bytes of a row: five f32.
    pub const BYTES: usize = 20;

    /// The row as it stands in a part, little-endian; NaN for what nobody knows.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let Motion { speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2 } =
            self.motion;
        let motion = [speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2];
        let values = motion.map(|value| value.unwrap_or(f32::NAN)).into_iter().chain([self.weight]);
        let mut bytes = [0; Self::BYTES];
        for (place, value) in bytes.chunks_exact_mut(4).zip(values) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`RejectRow`] if a value of the motion is infinite, or the weight not within 0 and 1.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, RejectRow> {
        let value = |place: usize| {
            let at = 4 * place;
            f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let known = |place: usize| match value(place) {
            unknown if unknown.is_nan() => Ok(None),
            known if known.is_finite() => Ok(Some(known)),
            got => Err(RejectRow { field: FIELDS[place], got, want: "a number, or NaN" }),
        };
        let motion = Motion {
            speed_m_s: known(0)?,
            steering_rad: known(1)?,
            acceleration_m_s2: known(2)?,
            lateral_acceleration_m_s2: known(3)?,
        };
        let weight = value(4);
        if !(0.0..=1.0).contains(&weight) {
            return Err(RejectRow { field: "weight", got: weight, want: "0 to 1" });
        }
        Ok(Row { motion, weight })
    }
}

/// Bytes of who is ahead: two f32.
const LEADER_BYTES: usize = 8;

/// Bytes beside a frame.
pub(super) const fn row_bytes(metric: Metric, leaders: bool) -> usize {
    match metric {
        Metric::Skill => 0,
        Metric::Imitation if leaders => Row::BYTES + LEADER_BYTES,
        Metric::Imitation => Row::BYTES,
    }
}

/// Who is ahead as he stands in a part after the row, little-endian: gap (m) and speed (m/s), NaN both where nobody is.
#[must_use]
pub(super) fn leader_to_bytes(leader: Option<Leader>) -> [u8; LEADER_BYTES] {
    let [gap, speed] = leader
        .map_or([f32::NAN; 2], |leader| [leader.gap_m, leader.speed_m_s])
        .map(f32::to_le_bytes);
    [gap[0], gap[1], gap[2], gap[3], speed[0], speed[1], speed[2], speed[3]]
}

/// Reads him.
///
/// # Errors
/// [`RejectRow`] if one of the two is infinite, or only one is a number.
pub(super) fn leader_from_bytes(bytes: &[u8; LEADER_BYTES]) -> Result<Option<Leader>, RejectRow> {
    let [a, b, c, d, e, f, g, h] = *bytes;
    let (gap_m, speed_m_s) = (f32::from_le_bytes([a, b, c, d]), f32::from_le_bytes([e, f, g, h]));
    let want = "two numbers, or two NaN";
    if gap_m.is_nan() && speed_m_s.is_nan() {
        return Ok(None);
    }
    let refused = |field, got| Err(RejectRow { field, got, want });
    match (gap_m.is_finite(), speed_m_s.is_finite()) {
        (true, true) => Ok(Some(Leader { gap_m, speed_m_s })),
        (false, _) => refused("gap_m", gap_m),
        (true, false) => refused("leader_m_s", speed_m_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any five values: read as they are, or refused by the one that is wrong.
    fn read(values: [f32; 5]) -> Result<Row, RejectRow> {
        Row::from_bytes(&std::array::from_fn(|at| values[at / 4].to_le_bytes()[at % 4]))
    }

    #[test]
    fn an_infinite_motion_and_a_weight_that_is_none_are_refused_by_name() {
        for (place, field) in FIELDS.into_iter().enumerate() {
            let mut values = [1.0; 5];
            values[place] = f32::NEG_INFINITY;
            assert_eq!(read(values).unwrap_err().field, field);
            values[place] = f32::NAN;
            assert!(read(values).is_ok(), "{field} may be unknown");
        }
        for weight in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            let said = read([0.0, 0.0, 0.0, 0.0, weight]).unwrap_err().to_string();
            assert_eq!(said, format!("weight is {weight}, expected 0 to 1"));
        }
    }

    #[test]
    fn half_of_who_is_ahead_and_an_infinite_gap_are_refused_by_name() {
        let read = |gap_m, speed_m_s| {
            leader_from_bytes(&leader_to_bytes(Some(Leader { gap_m, speed_m_s })))
        };
        for (gap_m, speed_m_s, field) in [
            (f32::INFINITY, 3.0, "gap_m"),
            (f32::NAN, 3.0, "gap_m"),
            (3.0, f32::NAN, "leader_m_s"),
            (3.0, f32::INFINITY, "leader_m_s"),
        ] {
            assert_eq!(read(gap_m, speed_m_s).unwrap_err().field, field);
        }
        let leader = Some(Leader { gap_m: -0.5, speed_m_s: -20.0 });
        assert_eq!(leader_from_bytes(&leader_to_bytes(leader)), Ok(leader));
        assert_eq!(leader_from_bytes(&leader_to_bytes(None)), Ok(None));
    }

    proptest! {
        #[test]
        fn a_row_survives_the_file(
            values in prop::array::uniform4(prop::option::of(-1e30_f32..1e30)), weight in 0.0_f32..=1.0,
        ) {
            let [speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2] = values;
            let motion = Motion { speed_m_s, steering_rad, acceleration_m_s2, lateral_acceleration_m_s2 };
            let row = Row { motion, weight };
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Ok(row));
        }
    }
}
