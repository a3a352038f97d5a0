//! How policies drive in the end, and whose road and driver is in what they are.

use shoal_shadow::measure::Measurement;
use shoal_swarm::swarm::Flat;
use shoal_vehicle::exchange::measured::name;

use crate::config::SimConfig;
use crate::data::Data;
use crate::drivers::Drivers;
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
/// held-out frames (every moment with the same weight), what others like them publish and keep is to him, and what the terms of
/// theirs are on the pack; the means over vehicles. What is nearer to a driver than what others have is of his road and of him: every
/// vehicle has a road of its own, so this doesn't tell his style from where he drove.
pub(crate) fn of_drivers(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &dyn Method,
    row: &mut Row,
) -> Result<(), LabError> {
    let Data::Drivers(drivers) = lab.data() else { return Ok(()) };
    for (reckless, whose) in [(false, "attentive"), (true, "reckless")] {
        let of = |vehicle: &u32| drivers.does.is_reckless(*vehicle, config.vehicles) == reckless;
        let published: Vec<(u32, Flat)> = (0..config.vehicles)
            .filter(of)
            .filter_map(|vehicle| Some((vehicle, way.published(vehicle)?)))
            .collect();
        // What it keeps is what it tuned itself; where everything stays at home, nobody publishes.
        let keeps = !published.is_empty() || config.night.home > 0;
        let kept: Vec<(u32, Flat)> = (0..config.vehicles)
            .filter(|vehicle| keeps && of(vehicle))
            .map(|vehicle| (vehicle, lab.at_home(vehicle, &way.tuned(vehicle))))
            .collect();
        for (what, all) in [("published", published), ("kept", kept)] {
            for (name, value) in styles(lab, drivers, &all)? {
                row.also.insert(format!("style.{whose}.{what}.{name}"), value);
            }
            if config.night.home > 0 && what == "kept" {
                let all: Vec<Flat> = all.into_iter().map(|(_vehicle, values)| values).collect();
                let driven = lab.closed(&all)?;
                for (name, value) in driven.iter().flat_map(|closed| closed.named()) {
                    let name = format!("style.{whose}.{what}.closed.{name}");
                    *row.also.entry(name).or_default() += value / driven.len() as f64;
                }
            }
        }
    }
    Ok(())
}

/// Means by name: of what vehicles have, on their own driver's frames, that of the others there, and the terms.
fn styles(
    lab: &mut Lab<'_>,
    drivers: &Drivers,
    all: &[(u32, Flat)],
) -> Result<Vec<(String, f64)>, LabError> {
    let names = ["own", "of_others"].into_iter().map(str::to_owned);
    let terms = drivers.metrics.iter().map(|metric| name(*metric).to_owned());
    let mut sums: Vec<(String, f64, u32)> = names.chain(terms).map(|name| (name, 0.0, 0)).collect();
    for (vehicle, values) in all {
        let on = On::HeldOutOf(*vehicle);
        let others = all.iter().filter(|(other, _)| other != vehicle);
        let terms = (0..drivers.metrics.len()).map(|term| On::Pack { term: term as u8 });
        let mut asked = vec![(0, values.clone(), on)];
        asked.extend(others.map(|(_, values)| (1, values.clone(), on)));
        asked.extend((2..).zip(terms).map(|(place, on)| (place, values.clone(), on)));
        let (places, asked): (Vec<usize>, Vec<(Flat, On)>) =
            asked.into_iter().map(|(place, values, on)| (place, (values, on))).unzip();
        for (place, found) in places.into_iter().zip(lab.measure(&asked)?) {
            let skill = Measurement::skill(&found);
            if let Some((sum, skill)) = sums.get_mut(place).zip(skill) {
                (sum.1, sum.2) = (sum.1 + skill, sum.2 + 1);
            }
        }
    }
    let known = sums.into_iter().filter(|(_, _, count)| *count > 0);
    Ok(known.map(|(name, sum, count)| (name, sum / f64::from(count))).collect())
}
