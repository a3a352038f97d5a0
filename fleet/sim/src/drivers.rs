//! What a fleet of policies learns from: drives of attentive and of reckless drivers on generated roads, and one pack on which
//! all terms are measured, as a vehicle has one.

use std::collections::BTreeMap;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use shoal_hal::backend::synthetic::{Road, SPLIT, Start, Style, Use};
use shoal_hal::{Drive, Motion, Split};
use shoal_shadow::form::Form;
use shoal_shadow::pack::{
    Acted, BuildPackError, Pack, PackOptions, ReadPackError, build_imitation, manifest_imitation,
};
use shoal_shadow::term::roads::Roads as Closed;
use shoal_vehicle::drives;
use shoal_wire::v1::{Metric, UtilityDocument};

use crate::config::{DriversConfig, SimConfig};
use crate::packs::{self, OtherPack};
use crate::record::RoadKind;
use crate::utility::{self, UtilityError};

/// Seeds of one simulation's roads are so far from the next one's.
const SEEDS_APART: u64 = 1000;

/// Why there are no drives.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum DriversError {
    #[error("the vehicle of a generated road has no geometry")]
    NoGeometry,
    #[error(transparent)]
    Utility(#[from] UtilityError),
    #[error(transparent)]
    Other(#[from] OtherPack),
    #[error(transparent)]
    Build(#[from] BuildPackError),
    #[error(transparent)]
    Read(#[from] ReadPackError),
}

/// One vehicle's drive.
pub struct Driver {
    /// Frames and motion.
    pub drive: Drive,
    /// What of it is for what.
    pub split: Split,
    /// What is known of every frame.
    pub acted: Acted,
    /// Whose it is.
    pub vehicle: u32,
}

/// All drives of a simulation.
pub struct Drivers {
    /// By vehicle.
    pub all: Vec<Driver>,
    /// The evaluation pack: all terms are measured on it.
    pub pack: Pack,
    /// By term, itself or what it gains.
    pub metrics: Vec<Metric>,
    /// What is maximised.
    pub utility: UtilityDocument,
    /// What policies drive in the closed loop; `None`: nothing.
    pub closed: Option<Closed>,
    /// As configured.
    pub does: DriversConfig,
}

impl Drivers {
    /// Lets everybody drive, and builds the pack in `folder` unless it is there.
    ///
    /// # Errors
    /// [`DriversError`].
    pub fn open(
        config: &SimConfig,
        does: &DriversConfig,
        form: &Form,
        folder: &Path,
    ) -> Result<Self, DriversError> {
        let seeds = SPLIT.iter().find(|share| share.of == Use::Drives).map(|share| &share.seeds);
        let (first, room) = seeds.map_or((0, 1), |of| (*of.start(), of.end() - of.start()));
        let regions = does.regions.iter().cycle().take(config.vehicles as usize);
        let mut all = Vec::new();
        for (vehicle, region) in (0..).zip(regions) {
            let offset = config.seed.wrapping_mul(SEEDS_APART).wrapping_add(vehicle.into()) % room;
            let road = Road { region: *region, seed: first + offset };
            let reckless = does.is_reckless(vehicle, config.vehicles);
            let style = match (reckless, does.particular) {
                (true, _) => Style::Reckless,
                (false, true) => Style::Particular,
                (false, false) => Style::Attentive,
            };
            let frames = (form.shape, form.rate_hz, does.frames);
            let driven = road.driven((style, road.seed), Start::default(), frames);
            let mut driven = driven.ok_or(DriversError::NoGeometry)?;
            if reckless && does.perturbed > 0.0 {
                driven.drive = perturbed(&driven.drive, does.perturbed, config.seed);
            }
            let acted = Acted::of_driven(&driven).ok_or(DriversError::NoGeometry)?;
            let split = driven.drive.split(form.context);
            all.push(Driver { drive: driven.drive, split, acted, vehicle });
        }
        let pack = pack(config, does, form, &folder.join("drivers"))?;
        let hashes = vec![pack.sha256(); config.utility.len()];
        let utility = utility::document(&config.utility, &hashes)?;
        let metric = |term: &crate::config::TermConfig| term.metric;
        let metrics = config.utility.iter().map(metric);
        let metrics = metrics.map(|metric| metric.unwrap_or(Metric::Imitation)).collect();
        // Packs have other seeds: see `pack`.
        let closed =
            (does.closed_roads > 0).then(|| Closed::unseen(does.closed_roads, does.closed_seconds));
        Ok(Drivers { all, pack, metrics, utility, closed, does: does.clone() })
    }

    /// Every drive by name.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, RoadKind> {
        let kind = |of: &Driver| (of.drive.name.clone(), RoadKind::Driven(of.vehicle));
        self.all.iter().map(kind).collect()
    }

    /// A vehicle's drives.
    pub fn of(&self, vehicle: u32) -> impl Iterator<Item = &Driver> {
        self.all.iter().filter(move |of| of.vehicle == vehicle)
    }
}

/// The drive with the steering and the acceleration of another of its moments in this share of them: what is seen, and the speed,
/// stay as they were. The same for the same name and seed.
fn perturbed(drive: &Drive, share: f64, seed: u64) -> Drive {
    let key = Sha256::new_with_prefix(b"shoal perturbed")
        .chain_update(seed.to_le_bytes())
        .chain_update(&drive.name);
    let mut draws = ChaCha8Rng::from_seed(key.finalize().into());
    let mut unit = || f64::from(draws.next_u32() >> 8) / f64::from(1 << 24);
    let told = |at: usize| {
        let motion = drive.motion(at)?;
        if unit() >= share {
            return Some(motion);
        }
        let other = drive.motion((unit() * drive.len() as f64) as usize)?;
        let Motion { steering_rad, acceleration_m_s2, .. } = other;
        Some(Motion { steering_rad, acceleration_m_s2, ..motion })
    };
    let motion = (0..drive.len()).map(told).collect();
    let Drive { name, source_sha256, rate_hz, shape, .. } = drive;
    let frames = drive.frames(0..drive.len()).to_vec();
    Drive::new(name.clone(), *source_sha256, *rate_hz, *shape, frames, motion)
}

/// The pack: attentive drivers, and situations of reckless ones.
fn pack(
    config: &SimConfig,
    does: &DriversConfig,
    form: &Form,
    folder: &Path,
) -> Result<Pack, DriversError> {
    let seed = config.seed;
    let (examples, more) = (does.attentive_roads, does.reckless_roads);
    let mut driven = drives::attentive(examples, does.frames, form, seed);
    let examples_driven = driven.len();
    driven.extend(drives::reckless((examples, more), does.frames, form, seed));
    let acted = driven.iter().map(Acted::of_driven).collect::<Option<Vec<_>>>();
    let mut acted = acted.ok_or(DriversError::NoGeometry)?;
    acted.iter_mut().skip(examples_driven).for_each(|acted| acted.imitated = false);
    let drives: Vec<Drive> = driven.into_iter().map(|driven| driven.drive).collect();
    let options = PackOptions {
        id: "drivers".into(),
        version: 1,
        licence: "not published".into(),
        context: form.context,
    };
    if let Some(pack) = packs::there(folder, &manifest_imitation(&drives, &acted, &options)?)? {
        return Ok(pack);
    }
    build_imitation(&drives, &acted, &options, folder)?;
    Ok(Pack::open(folder)?)
}

#[cfg(test)]
mod tests {
    use shoal_hal::FrameShape;

    use super::*;

    #[test]
    fn a_perturbed_log_tells_actions_of_other_moments_in_the_share_that_was_asked_for() {
        let shape = FrameShape { width: 1, height: 1 };
        let motion = |at: u8| {
            let value = Some(f32::from(at));
            Some(Motion {
                speed_m_s: value,
                steering_rad: value,
                acceleration_m_s2: value,
                lateral_acceleration_m_s2: value,
            })
        };
        let frames = (0..200_u8).flat_map(|at| [at; 3]).collect();
        let motion = (0..200_u8).map(motion).collect();
        let drive = Drive::new("d".into(), [1; 32], 10.0, shape, frames, motion);
        let told = perturbed(&drive, 0.3, 7);
        assert_eq!(told.frames(0..200), drive.frames(0..200));
        let changed = |drive: &Drive, at: &usize| {
            let motion = drive.motion(*at).unwrap();
            let own = Some(*at as f32);
            assert_eq!([motion.speed_m_s, motion.lateral_acceleration_m_s2], [own; 2]);
            assert_eq!(motion.steering_rad, motion.acceleration_m_s2, "of one moment");
            motion.steering_rad != own
        };
        let count = (0..200).filter(|at| changed(&told, at)).count();
        assert!((40..=80).contains(&count), "{count}");
        assert_eq!(told, perturbed(&drive, 0.3, 7));
        assert_ne!(told, perturbed(&drive, 0.3, 8));
        assert_eq!(drive, perturbed(&drive, 0.0, 7));
    }
}
