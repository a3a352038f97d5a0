//! Numbers of the motion as a model wants them: scaled columns and tokens.

use shoal_hal::Motion;

/// One number of a [`Motion`], with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Speed, m/s.
    SpeedMS,
    /// Steering wheel angle, rad, positive to the left.
    SteeringRad,
    /// Steering wheel angle, degrees, positive to the left.
    SteeringDeg,
    /// Acceleration along the vehicle, m/s².
    AccelerationMS2,
    /// Acceleration across the vehicle, m/s², positive to the left.
    LateralAccelerationMS2,
}

impl Field {
    /// Every field with its name in `model.toml`.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("speed_m_s", Self::SpeedMS),
        ("steering_rad", Self::SteeringRad),
        ("steering_deg", Self::SteeringDeg),
        ("acceleration_m_s2", Self::AccelerationMS2),
        ("lateral_acceleration_m_s2", Self::LateralAccelerationMS2),
    ];

    /// The field's name in `model.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, field)| *field == self)
            .map(|(name, _)| *name)
            .expect("every field is in the table of names")
    }

    /// The field's value, or `None` if the vehicle does not know it.
    #[must_use]
    pub fn read(self, motion: &Motion) -> Option<f32> {
        match self {
            Self::SpeedMS => motion.speed_m_s,
            Self::SteeringRad => motion.steering_rad,
            Self::SteeringDeg => motion.steering_rad.map(f32::to_degrees),
            Self::AccelerationMS2 => motion.acceleration_m_s2,
            Self::LateralAccelerationMS2 => motion.lateral_acceleration_m_s2,
        }
    }
}

/// What stands in one column of a signal tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Column {
    /// `value · scale + offset`.
    Field {
        /// Which number.
        field: Field,
        /// Output units per unit of the field, by default 1.
        scale: f32,
        /// Added after scaling, by default 0.
        offset: f32,
    },
    /// Always this value: what the vehicle does not measure.
    Constant(f32),
}

impl Column {
    /// The column's value, or `None` if the vehicle does not know its field.
    #[must_use]
    pub fn value(&self, motion: &Motion) -> Option<f32> {
        match self {
            Self::Field { field, scale, offset } => {
                field.read(motion).map(|value| value * scale + offset)
            }
            Self::Constant(value) => Some(*value),
        }
    }
}

/// Equally spaced edges that cut a number into tokens `0 … count − 1`.
///
/// As numpy's `digitize(clip(value, low, high), linspace(low, high, count), right=True)`: the token
/// is the number of edges below the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bins {
    low: f64,
    high: f64,
    count: usize,
}

impl Bins {
    /// Most bins of one number.
    pub const COUNT_MAX: usize = 65_536;

    /// Bins from `low` to `high`, or `None` unless `low < high` are finite and `count` is 2 to
    /// [`Bins::COUNT_MAX`].
    #[must_use]
    pub fn new(low: f64, high: f64, count: usize) -> Option<Self> {
        let finite = low.is_finite() && high.is_finite() && (high - low).is_finite();
        (finite && low < high && (2..=Self::COUNT_MAX).contains(&count)).then_some(Self {
            low,
            high,
            count,
        })
    }

    /// The lowest edge.
    #[must_use]
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The highest edge.
    #[must_use]
    pub fn high(&self) -> f64 {
        self.high
    }

    /// How many tokens there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Edge `index` of `count`, as numpy's `linspace` computes it.
    #[must_use]
    pub fn edge(&self, index: usize) -> f64 {
        if index + 1 >= self.count {
            return self.high;
        }
        let step = (self.high - self.low) / (self.count - 1) as f64;
        index as f64 * step + self.low
    }

    /// The token of `value`.
    ///
    /// # Panics
    /// If the value is NaN: a motion never holds one.
    #[must_use]
    pub fn token(&self, value: f64) -> usize {
        assert!(!value.is_nan(), "NaN has no token");
        let value = value.clamp(self.low, self.high);
        let position = (value - self.low) / (self.high - self.low) * (self.count - 1) as f64;
        let mut token = (position as usize).min(self.count - 1);
        while token > 0 && self.edge(token - 1) >= value {
            token -= 1;
        }
        while self.edge(token) < value {
            token += 1;
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tinyphysics() -> Bins {
        Bins::new(-5.0, 5.0, 1024).unwrap()
    }

    #[test]
    fn token_is_the_number_of_edges_below_the_value() {
        let bins = Bins::new(0.0, 4.0, 5).unwrap();
        let tokens = [-1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 4.0, 9.0].map(|value| bins.token(value));
        assert_eq!(tokens, [0, 0, 1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn edge_itself_belongs_to_the_token_below_it() {
        let bins = tinyphysics();
        for index in 0..bins.count() {
            assert_eq!(bins.token(bins.edge(index)), index);
            let above = bins.edge(index).next_up();
            assert_eq!(bins.token(above), (index + 1).min(1023), "just above edge {index}");
        }
    }

    #[test]
    fn bins_without_width_or_with_one_edge_are_refused() {
        assert_eq!(Bins::new(1.0, 1.0, 8), None);
        assert_eq!(Bins::new(0.0, f64::NAN, 8), None);
        assert_eq!(Bins::new(f64::MIN, f64::MAX, 8), None);
        assert_eq!(Bins::new(0.0, 1.0, 1), None);
        assert_eq!(Bins::new(0.0, 1.0, Bins::COUNT_MAX + 1), None);
    }

    #[test]
    fn steering_in_degrees_is_steering_in_radians() {
        let motion =
            Motion { steering_rad: Some(std::f32::consts::FRAC_PI_2), ..Motion::default() };
        let column = Column::Field { field: Field::SteeringDeg, scale: 0.01, offset: 0.0 };
        assert!((column.value(&motion).unwrap() - 0.9).abs() < 1e-6);
        assert_eq!(Field::SpeedMS.read(&motion), None);
    }

    proptest! {
        /// The slow and obvious form: count the edges below the value.
        #[test]
        fn token_agrees_with_counting_every_edge(value in -6.0f64..6.0, count in 2usize..300) {
            let bins = Bins::new(-5.0, 5.0, count).unwrap();
            let clipped = value.clamp(-5.0, 5.0);
            let below = (0..count).filter(|index| bins.edge(*index) < clipped).count();
            prop_assert_eq!(bins.token(value), below);
        }
    }
}
