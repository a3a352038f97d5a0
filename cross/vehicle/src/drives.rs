//! The drives of one vehicle: recorded ones of a directory, or generated roads.

use shoal_hal::backend::recorded::{Drives, OpenError, RecordedOptions, Skipped};
use shoal_hal::backend::synthetic::{Driven, Region, Road, SPLIT, Start, Style, UNSEEN, Use};
use shoal_hal::{Drive, Motion};
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::package::Package;

use crate::config::DrivesConfig;

/// Why there is nothing to drive.
#[derive(Debug, thiserror::Error)]
pub enum DrivesError {
    /// The directory has no drive that can be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No such region.
    #[error("no generated region is called `{name}`; there are: {known}")]
    Region {
        /// As configured.
        name: String,
        /// All names.
        known: String,
    },
    /// The other vehicles have them all.
    #[error("vehicle {vehicle} of {vehicles} has no drive: there are only {drives}")]
    None {
        /// This vehicle's number.
        vehicle: usize,
        /// How many share the drives.
        vehicles: usize,
        /// How many drives there are.
        drives: usize,
    },
}

/// What one vehicle drives.
#[derive(Debug)]
pub struct OwnDrives {
    /// The vehicle's drives, in order.
    pub drives: Vec<Drive>,
    /// Drives of the directory that no vehicle can use.
    pub skipped: Vec<Skipped>,
}

/// Opens the drives that are this vehicle's: drive i goes to vehicle i mod the number of vehicles.
///
/// Generated roads are those of `regions` (by default those that no shipped model was pretrained on), of
/// the seeds that the split keeps for drives. With a driver they are driven in the closed loop, by a vehicle of this geometry, and
/// tracks for small cars are left out.
///
/// # Errors
/// [`DrivesError`].
pub fn open(
    config: &DrivesConfig,
    geometry: &Geometry,
    form: &Form,
    seed: u64,
) -> Result<OwnDrives, DrivesError> {
    let (all, skipped): (Vec<Drive>, _) = match &config.directory {
        Some(directory) => {
            let options = RecordedOptions {
                context: Some(form.context),
                folder_rate_hz: config.folder_rate_hz,
                ..RecordedOptions::default()
            };
            let opened = Drives::open(directory, form.shape, form.rate_hz, &options)?;
            (opened.drives, opened.skipped)
        }
        None => {
            let roads = roads(config, seed)?;
            let mine = |(index, road): (usize, Road)| {
                // Only this vehicle's roads are drawn; the others keep their places.
                let frames =
                    if index % config.vehicles == config.vehicle { config.frames } else { 0 };
                match config.driver {
                    Some(style) => driven(&road, style, geometry, form, frames),
                    None => Some(road.render(form.shape, form.rate_hz, frames)),
                }
            };
            (roads.into_iter().enumerate().filter_map(mine).collect(), Vec::new())
        }
    };
    let count = all.len();
    let own = all.into_iter().enumerate().filter(|(i, _)| i % config.vehicles == config.vehicle);
    let drives: Vec<Drive> = own.map(|(_, drive)| drive).collect();
    if drives.is_empty() {
        let (vehicle, vehicles) = (config.vehicle, config.vehicles);
        return Err(DrivesError::None { vehicle, vehicles, drives: count });
    }
    Ok(OwnDrives { drives, skipped })
}

/// A generated road in the hands of a driver, as a vehicle of this geometry notes it; `None` on a track for small cars.
fn driven(
    road: &Road,
    style: Style,
    geometry: &Geometry,
    form: &Form,
    frames: usize,
) -> Option<Drive> {
    let start = Start::default();
    let driven = road.driven((style, road.seed), start, (form.shape, form.rate_hz, frames))?;
    let (wheelbase, ratio) = (driven.wheelbase_m.into(), driven.steering_ratio.into());
    let its = Geometry::new(wheelbase, ratio)?;
    let drive = driven.drive;
    let motion = (0..drive.len()).map(|index| {
        let motion = drive.motion(index)?;
        let steering = |rad: f32| geometry.steering_rad(its.curvature_per_m(rad.into())) as f32;
        Some(Motion { steering_rad: motion.steering_rad.map(steering), ..motion })
    });
    let motion = motion.collect();
    let frames = drive.frames(0..drive.len()).to_vec();
    let Drive { name, source_sha256, rate_hz, shape, .. } = drive;
    Some(Drive::new(name, source_sha256, rate_hz, shape, frames, motion))
}

/// Drives of attentive drivers in the closed loop, for packs: `frames` frames each of so many generated roads that no shipped
/// model was pretrained on, of the seeds that the split keeps for packs; `seed` chooses them. Tracks for small cars are left out.
///
/// No `seed` chooses the first thousand: those are what [`Roads::unseen`](shoal_shadow::term::roads::Roads::unseen) judges by.
#[must_use]
pub fn attentive(roads: usize, frames: usize, form: &Form, seed: u64) -> Vec<Driven> {
    simulated(Style::Attentive, UNSEEN, (0, roads), frames, form, seed)
}

/// The same of reckless drivers in dense traffic, on roads after the first `after`: situations, not examples.
#[must_use]
pub fn reckless(
    (after, roads): (usize, usize),
    frames: usize,
    form: &Form,
    seed: u64,
) -> Vec<Driven> {
    simulated(Style::Reckless, &[Region::DenseTraffic], (after, roads), frames, form, seed)
}

/// Roads of the share for packs, from its beginning, that drives in the closed loop are judged by: no pack is of them.
const JUDGED: u64 = 1000;

fn simulated(
    style: Style,
    regions: &[Region],
    (after, roads): (usize, usize),
    frames: usize,
    form: &Form,
    seed: u64,
) -> Vec<Driven> {
    let share = SPLIT.iter().find(|share| share.of == Use::Packs);
    let share = share.expect("the split has a share for packs");
    let first = share.seeds.start() + JUDGED;
    let room = share.seeds.end() - first;
    let drive = |(index, region): (usize, &Region)| {
        let offset = (seed.wrapping_mul(1000).wrapping_add(index as u64)) % room;
        let road = Road { region: *region, seed: first + offset };
        let driver = (style, road.seed);
        road.driven(driver, Start::default(), (form.shape, form.rate_hz, frames))
    };
    let regions = regions.iter().cycle().enumerate().skip(after).take(roads);
    regions.filter_map(drive).collect()
}

/// The pretraining footage that ships with a package; none if it has none.
///
/// # Errors
/// [`OpenError`].
pub fn footage(package: &Package, form: &Form) -> Result<Vec<Drive>, OpenError> {
    let Some(path) = package.footage_path() else { return Ok(Vec::new()) };
    let options = RecordedOptions {
        context: None,
        folder_rate_hz: form.rate_hz,
        ..RecordedOptions::default()
    };
    Ok(Drives::open(&path, form.shape, form.rate_hz, &options)?.drives)
}

fn roads(config: &DrivesConfig, seed: u64) -> Result<Vec<Road>, DrivesError> {
    let share = SPLIT.iter().find(|share| share.of == Use::Drives);
    let seeds = &share.expect("the split has a share for drives").seeds;
    let regions = if config.regions.is_empty() {
        UNSEEN.to_vec()
    } else {
        config.regions.iter().map(|name| region(name)).collect::<Result<_, _>>()?
    };
    let room = seeds.end() - seeds.start();
    let road = |(index, region): (usize, Region)| {
        let offset = (seed.wrapping_mul(1000) + index as u64) % room;
        Road { region, seed: seeds.start() + offset }
    };
    Ok(regions.into_iter().enumerate().map(road).collect())
}

fn region(name: &str) -> Result<Region, DrivesError> {
    Region::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Region::ALL.iter().map(|region| region.name()).collect();
        DrivesError::Region { name: name.to_owned(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use shoal_hal::FrameShape;
    use shoal_shadow::form::MotionInput;
    use shoal_shadow::term::roads::Roads;

    use super::*;

    fn form() -> Form {
        let shape = FrameShape { width: 32, height: 16 };
        Form { shape, frames: 4, context: 4, rate_hz: 10.0, motion: MotionInput::NONE }
    }

    fn config(vehicle: usize, vehicles: usize) -> DrivesConfig {
        DrivesConfig { frames: 60, vehicle, vehicles, ..DrivesConfig::default() }
    }

    #[test]
    fn every_generated_drive_goes_to_one_vehicle() {
        let names = |vehicle, vehicles| -> Vec<String> {
            let own = open(&config(vehicle, vehicles), &Geometry::default(), &form(), 3).unwrap();
            own.drives.into_iter().map(|drive| drive.name).collect()
        };
        let mut shared: Vec<String> = [names(0, 2), names(1, 2)].concat();
        let mut alone = names(0, 1);
        shared.sort();
        alone.sort();
        assert_eq!(shared, alone);
        assert_eq!(alone.len(), UNSEEN.len());
    }

    #[test]
    fn no_pack_is_of_a_road_that_driving_is_judged_by() {
        let judged = Roads::unseen(1000, 20);
        for seed in [0, 1, u64::MAX] {
            for driven in attentive(5, 1, &form(), seed) {
                let drive = &driven.drive.name;
                let of = |road: &Road| drive.starts_with(&format!("{}/", road.name()));
                assert!(!judged.all().iter().any(of), "{drive} of seed {seed}");
            }
        }
        let first = &attentive(1, 1, &form(), 0)[0].drive.name;
        assert_eq!(first, "synthetic/night/2001000/attentive/2001000");
    }

    #[test]
    fn a_vehicle_without_a_drive_is_told_so() {
        let error = open(&config(7, 8), &Geometry::default(), &form(), 0).unwrap_err().to_string();
        assert!(error.contains("vehicle 7 of 8") && error.contains('5'), "{error}");
    }

    #[test]
    fn an_unknown_region_is_refused_with_the_names_there_are() {
        let config = DrivesConfig { regions: vec!["moon".into()], ..config(0, 1) };
        let error = open(&config, &Geometry::default(), &form(), 0).unwrap_err().to_string();
        assert!(error.contains("moon") && error.contains("night"), "{error}");
    }
}
