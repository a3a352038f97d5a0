//! What the vehicle's conditions are, and whether it is time to drive.

use shoal_hal::{Conditions, Network};

use crate::night::Plan;

/// What a vehicle is known to be while it is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its conditions.
    pub conditions: Conditions,
    /// Whether it may tune: parked, on power or charged enough, cool enough.
    pub may_tune: bool,
}

impl Look {
    /// What a plan makes of these conditions.
    #[must_use]
    pub fn new(conditions: Conditions, plan: &Plan) -> Self {
        let may_tune = plan.obstacle(&conditions).is_none();
        Look { conditions, may_tune }
    }

    /// A recorded drive has ended: the vehicle stands, on power, cool, at its network.
    #[must_use]
    pub const fn recorded() -> Self {
        let conditions = Conditions {
            parked: true,
            external_power: true,
            battery_soc_percent: 80,
            temperature_c: 30,
            network: Network::Unmetered,
        };
        Look { conditions, may_tune: true }
    }
}

/// Looks at the conditions, from time to time; `None` once the vehicle is not parked any more.
pub type Looking<'a> = dyn FnMut() -> Option<Look> + 'a;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_vehicle_tunes_parked_on_power_or_charged_and_cool() {
        let plan = Config::default().plan();
        let good = Look::recorded().conditions;
        let may_tune = |conditions| Look::new(conditions, &plan).may_tune;
        assert!(may_tune(good));
        assert!(!may_tune(Conditions { parked: false, ..good }));
        assert!(!may_tune(Conditions { temperature_c: 71, ..good }));
        let unplugged = Conditions { external_power: false, ..good };
        assert!(may_tune(unplugged));
        assert!(!may_tune(Conditions { battery_soc_percent: 59, ..unplugged }));
    }
}
