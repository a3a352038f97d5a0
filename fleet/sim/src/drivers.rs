//! What a fleet of policies learns from: drives of attentive and of reckless drivers on generated roads, and one pack on which
//! all terms are measured, as a vehicle has one.

use std::collections::BTreeMap;
use std::path::Path;

use shoal_hal::backend::synthetic::{Road, SPLIT, Start, Style, Use};
use shoal_hal::{Drive, Split};
use shoal_shadow::form::Form;
use shoal_shadow::measure::driving::DrivingMetric;
use shoal_shadow::pack::{
    Acted, BuildPackError, Pack, PackOptions, ReadPackError, build_imitation,
};
use shoal_shadow::term::roads::Roads as Closed;
use shoal_vehicle::drives;
use shoal_wire::v1::UtilityDocument;

use crate::config::{DriversConfig, SimConfig};
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
    /// By term.
    pub metrics: Vec<DrivingMetric>,
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
            let style = if reckless { Style::Reckless } else { Style::Attentive };
            let frames = (form.shape, form.rate_hz, does.frames);
            let driven = road.driven((style, road.seed), Start::default(), frames);
            let driven = driven.ok_or(DriversError::NoGeometry)?;
            let acted = Acted::of_driven(&driven).ok_or(DriversError::NoGeometry)?;
            let split = driven.drive.split(form.context);
            all.push(Driver { drive: driven.drive, split, acted, vehicle });
        }
        let pack = pack(config, does, form, &folder.join("drivers"))?;
        let hashes = vec![pack.sha256(); config.utility.len()];
        let utility = utility::document(&config.utility, &hashes)?;
        let metric = |term: &crate::config::TermConfig| term.metric;
        let metrics = config.utility.iter().map(metric);
        let metrics = metrics.map(|metric| metric.unwrap_or(DrivingMetric::Imitation)).collect();
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

/// The pack: attentive drivers, and situations of reckless ones.
fn pack(
    config: &SimConfig,
    does: &DriversConfig,
    form: &Form,
    folder: &Path,
) -> Result<Pack, DriversError> {
    if let Ok(pack) = Pack::open(folder) {
        return Ok(pack);
    }
    // The first thousand seeds are those of the closed loop.
    let seed = config.seed.wrapping_add(1);
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
    build_imitation(&drives, &acted, &options, folder)?;
    Ok(Pack::open(folder)?)
}
