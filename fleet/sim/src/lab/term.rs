//! What a term of the utility is: skill, of next frames or of roll-outs, or what of it is gained over the model as it ships.

use shoal_shadow::measure::Measurement;
use shoal_swarm::swarm::Flat;
use shoal_vehicle::exchange::measured::gain_in;

use super::{Lab, LabError, On, SKILL_MIN};

/// The value of a term that was measured, at least [`SKILL_MIN`]. A pack in which nothing moves tells no adapter from another.
pub(super) fn value(found: &Measurement) -> f64 {
    found.skill().unwrap_or(0.0).max(SKILL_MIN)
}

impl Lab<'_> {
    /// What a gain is counted from: an adapter of zeros changes nothing.
    pub(super) fn shipped(&self) -> Flat {
        vec![0.0; self.base.layout.values()].into()
    }

    /// Whether a term is what is gained over the model as it ships.
    pub(super) fn gains(&self, on: On) -> bool {
        let (On::Part { term, .. } | On::Pack { term }) = on else { return false };
        let metric = self.utility.terms().nth(term.into()).map(|(_pack, metric)| metric);
        metric.and_then(gain_in).is_some()
    }

    /// What is told of what was measured there by itself: that, or what is gained.
    pub(super) fn told(&self, own: Measurement, on: On) -> Result<Measurement, LabError> {
        if !self.gains(on) {
            return Ok(own);
        }
        Ok(own.gain_over(&self.measured(&self.shipped(), on, 1)?))
    }
}
