//! What a driver usually does: what skill at imitation is counted from.

use crate::grid::{ACCELERATION_BINS, CURVATURE_BINS, Distribution};
use crate::opinion::{Did, Opinion};

/// How often a driver chose each bin of both axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Habits {
    curvature: [f64; CURVATURE_BINS],
    acceleration: [f64; ACCELERATION_BINS],
}

impl Default for Habits {
    /// One count, spread evenly, before any was seen: nothing is impossible.
    fn default() -> Self {
        Habits {
            curvature: [1.0 / CURVATURE_BINS as f64; CURVATURE_BINS],
            acceleration: [1.0 / ACCELERATION_BINS as f64; ACCELERATION_BINS],
        }
    }
}

impl Habits {
    /// Counts a moment `weight` times.
    pub fn add(&mut self, did: &Did, weight: f64) {
        if let Some(bin) = did.curvature {
            self.curvature[bin] += weight;
        }
        if let Some(bin) = did.acceleration {
            self.acceleration[bin] += weight;
        }
    }

    /// The opinion that holds every bin for as probable as it was often chosen.
    #[must_use]
    pub fn often(&self, accelerates: bool) -> Opinion {
        let actions = Distribution::from_axes(&self.curvature, &self.acceleration);
        Opinion { actions, accelerates }
    }

    pub(super) fn curvature(&self) -> [f64; CURVATURE_BINS] {
        self.curvature
    }

    pub(super) fn acceleration(&self) -> [f64; ACCELERATION_BINS] {
        self.acceleration
    }
}
