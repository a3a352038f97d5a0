//! How policies drive in the end, and whose way of driving it is.

use shoal_shadow::measure::Measurement;
use shoal_swarm::swarm::Flat;

use crate::config::SimConfig;
use crate::data::Data;
use crate::lab::{Lab, LabError, On};
use crate::method::Method;
use crate::record::Row;

/// Tells how these drive in the closed loop: the mean of them, and where they are several each, by its number. Nothing where nobody
/// drives there.
pub(crate) fn closed(lab: &Lab<'_>, of: &[Flat], row: &mut Row) -> Result<(), LabError> {
    let found = lab.closed(of)?;
    let count = found.len() as f64;
    for (number, closed) in found.iter().enumerate() {
        for (name, value) in closed.named() {
            *row.also.entry(format!("closed.{name}")).or_default() += value / count;
            if found.len() > 1 {
                row.also.insert(format!("closed.{name}.{number}"), value);
            }
        }
    }
    Ok(())
}

/// Tells of attentive and of reckless drivers' vehicles how near what they publish, and what they keep, is to their own driver on his
/// held-out frames (every moment with the same weight), and what its terms are on the pack; the means over vehicles that
/// have both.
pub(crate) fn of_drivers(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &dyn Method,
    row: &mut Row,
) -> Result<(), LabError> {
    let Data::Drivers(drivers) = lab.data() else { return Ok(()) };
    for (reckless, whose) in [(false, "attentive"), (true, "reckless")] {
        let of = |vehicle: &u32| drivers.does.is_reckless(*vehicle, config.vehicles) == reckless;
        let pairs: Vec<(u32, Flat)> = (0..config.vehicles)
            .filter(of)
            .filter_map(|vehicle| Some((vehicle, way.published(vehicle)?)))
            .collect();
        for (vehicle, published) in &pairs {
            // What it keeps is what it tuned itself.
            for (what, values) in [("published", published.clone()), ("kept", way.tuned(*vehicle))]
            {
                let mut asked = vec![(values.clone(), On::HeldOutOf(*vehicle))];
                let terms = drivers.metrics.iter().zip(0..);
                asked.extend(terms.clone().map(|(_, term)| (values.clone(), On::Pack { term })));
                let names = std::iter::once("own").chain(terms.map(|(metric, _)| metric.name()));
                let found = lab.measure(&asked)?;
                let skills = found.iter().map(Measurement::skill);
                for (name, skill) in names.zip(skills) {
                    let Some(skill) = skill else { continue };
                    let name = format!("style.{whose}.{what}.{name}");
                    *row.also.entry(name).or_default() += skill / pairs.len() as f64;
                }
            }
        }
    }
    Ok(())
}
