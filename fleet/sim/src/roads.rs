//! What is driven and what is measured: recorded or generated roads, each cut into what is tuned on, what the pack is made of,
//! and what nobody sees before the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use shoal_hal::backend::recorded::{Drives, OpenError, RecordedOptions, Skipped};
use shoal_hal::backend::synthetic::{Region, Road as Generated, SPLIT, Use};
use shoal_hal::{Drive, Part, Span, Split};
use shoal_shadow::clip::Clips;
use shoal_shadow::form::Form;
use shoal_shadow::measure::ROLLOUT_FRAMES;
use shoal_shadow::pack::{BuildPackError, Pack, PackOptions, ReadPackError, build, manifest};
use shoal_vehicle::exchange::measured::rolls_out;
use shoal_wire::v1::UtilityDocument;

use crate::config::{SimConfig, TermConfig};
use crate::lab::Who;
use crate::packs::{self, OtherPack};
use crate::record::RoadKind;
use crate::utility::{self, UtilityError};

/// Seeds of one simulation's roads are so far from the next one's.
const SEEDS_APART: u64 = 1000;

/// Why there are no roads.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum RoadsError {
    #[error("roads.recorded")]
    Recorded(#[from] OpenError),
    #[error(
        "{vehicles} vehicles and {drives} drives: every vehicle needs one; ask for fewer vehicles"
    )]
    TooFew { vehicles: u32, drives: usize },
    #[error(
        "roads.recorded: both {} and {} have a drive `{drive}`, and figures are by name: give one of the two another", one.display(), other.display()
    )]
    Twice { drive: String, one: PathBuf, other: PathBuf },
    #[error("roads.unseen_drives: no recorded drive is `{drive}`; there are {known}")]
    NoDrive { drive: String, known: String },
    #[error("utility.{term}: no road `{road}` is in a pack")]
    NoRoad { term: String, road: String },
    #[error(
        "utility.{term}: a part of its pack has no {frames} frames in a row on a drive that moves: set `[roads] frames` to 500 or more"
    )]
    NoRoom { term: String, frames: usize },
    #[error(transparent)]
    Utility(#[from] UtilityError),
    #[error(transparent)]
    Other(#[from] OtherPack),
    #[error(transparent)]
    Build(#[from] BuildPackError),
    #[error(transparent)]
    Read(#[from] ReadPackError),
}

/// One road.
#[derive(Clone, Debug)]
pub struct Road {
    /// Its frames.
    pub drive: Drive,
    /// What of them is for what.
    pub split: Split,
    /// What it is to the fleet.
    pub kind: RoadKind,
    /// In which phase of the journey it is driven, from 0 on; without a journey there is one.
    pub phase: usize,
}

/// All roads of a simulation.
pub struct Roads {
    /// The roads, in the order of the configuration.
    pub all: Vec<Road>,
    /// Recorded drives that cannot be used.
    pub skipped: Vec<Skipped>,
    /// The evaluation packs, one a term of utility.
    pub packs: Vec<Pack>,
    /// What is maximised.
    pub utility: UtilityDocument,
    form: Form,
    windows_to_drive: u32,
    /// The window before which each phase begins.
    phases: Vec<u32>,
}

impl Roads {
    /// Opens or draws the roads, and builds the packs in `folder` unless they are there.
    ///
    /// # Errors
    /// [`RoadsError`].
    pub fn open(config: &SimConfig, form: &Form, folder: &Path) -> Result<Self, RoadsError> {
        let mut skipped = Vec::new();
        let mut all = Vec::new();
        let mut add = |drive: Drive, kind, phase| {
            let split = drive.split(form.context);
            all.push(Road { drive, split, kind, phase });
        };
        let mut number = 0;
        if config.roads.recorded.is_empty() {
            for (phase, vehicle, region) in driven(config) {
                let drive = generated(config, form, region, number);
                add(drive, RoadKind::Driven(vehicle), phase);
                number += 1;
            }
        } else {
            number = u64::from(config.vehicles);
            let recorded = Recorded::open(config, form)?;
            for (drive, vehicle) in recorded.driven.into_iter().zip((0..config.vehicles).cycle()) {
                add(drive, RoadKind::Driven(vehicle), 0);
            }
            recorded.unseen.into_iter().for_each(|drive| add(drive, RoadKind::Unseen, 0));
            skipped = recorded.skipped;
        }
        for (regions, kind) in
            [(&config.roads.listed, RoadKind::Listed), (&config.roads.unseen, RoadKind::Unseen)]
        {
            for region in regions {
                add(generated(config, form, *region, number), kind, 0);
                number += 1;
            }
        }
        let packs = config.utility.iter().map(|term| pack(&all, form, term, folder));
        let packs = packs.collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<[u8; 32]> = packs.iter().map(Pack::sha256).collect();
        let utility = utility::document(&config.utility, &hashes)?;
        let windows_to_drive = config.roads.windows_to_drive;
        let phases = config.roads.journey.iter().map(|phase| phase.from_window).collect();
        let form = form.clone();
        Ok(Roads { all, skipped, packs, utility, form, windows_to_drive, phases })
    }

    /// Every road by name.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, RoadKind> {
        self.all.iter().map(|road| (road.drive.name.clone(), road.kind)).collect()
    }

    /// Roads that a vehicle drives in a phase of the journey.
    pub fn of(&self, vehicle: u32, phase: usize) -> impl Iterator<Item = &Road> {
        let driven = self.all.iter().filter(move |road| road.kind == RoadKind::Driven(vehicle));
        driven.filter(move |road| road.phase == phase)
    }

    /// The phase of the journey before this window, from 0 on.
    #[must_use]
    pub fn phase(&self, window: u32) -> usize {
        self.phases.iter().filter(|from| **from <= window).count().saturating_sub(1)
    }

    /// Names of the roads that are driven in each phase of the journey; none without one.
    #[must_use]
    pub fn by_phase(&self) -> Vec<Vec<String>> {
        let of = |phase: usize| {
            let driven = self.all.iter().filter(|road| matches!(road.kind, RoadKind::Driven(_)));
            let of_phase = driven.filter(|road| road.phase == phase);
            of_phase.map(|road| road.drive.name.clone()).collect()
        };
        (0..self.phases.len()).map(of).collect()
    }

    /// What a vehicle has seen of the road before this window (from 1 on): as much more before each, until it has driven
    /// the whole of its tuning part.
    #[must_use]
    pub fn seen(&self, road: &Road, window: u32) -> Vec<Span> {
        let spans = road.split.spans(Part::Tuning);
        let frames: usize = spans.iter().map(|span| span.len()).sum();
        let before = self.phases.get(road.phase).map_or(0, |from| from - 1);
        let part = window.saturating_sub(before).min(self.windows_to_drive) as usize;
        let seen = frames * part / self.windows_to_drive as usize;
        // The first drive is long enough to learn anything from.
        let mut left = seen.max((self.form.context + 1) * 3);
        let mut of = Vec::new();
        for span in spans {
            let taken = span.len().min(left);
            left -= taken;
            if taken > self.form.context {
                of.push(Span { first: span.first, last: span.first + taken - 1 });
            }
        }
        of
    }

    /// Roads of former phases of the journey, with what had been seen of each when its phase ended.
    #[must_use]
    pub fn former(&self, who: Who, phases: Range<usize>) -> Vec<(&Road, Vec<Span>)> {
        let driven = |road: &&Road| match (road.kind, who) {
            (RoadKind::Driven(by), Who::Vehicle(vehicle)) => by == vehicle,
            (RoadKind::Driven(_), Who::All) => true,
            (RoadKind::Driven(_), Who::Part(_))
            | (RoadKind::Listed | RoadKind::Unseen, Who::Vehicle(_) | Who::All | Who::Part(_)) => {
                false
            }
        };
        let of = self.all.iter().filter(driven).filter(|road| phases.contains(&road.phase));
        let ended = |road: &Road| self.phases.get(road.phase + 1).map_or(u32::MAX, |next| next - 1);
        of.map(|road| (road, self.seen(road, ended(road)))).collect()
    }

    /// The clips of what was seen of a road.
    #[must_use]
    pub fn clips<'a>(&self, road: &'a Road, spans: Vec<Span>) -> Clips<'a> {
        Clips::of_spans(&road.drive, spans, self.form.context, 1)
    }
}

/// Recorded drives.
struct Recorded {
    driven: Vec<Drive>,
    unseen: Vec<Drive>,
    skipped: Vec<Skipped>,
}

impl Recorded {
    fn open(config: &SimConfig, form: &Form) -> Result<Self, RoadsError> {
        let options = RecordedOptions { context: Some(form.context), ..RecordedOptions::default() };
        let (mut all, mut skipped) = (Vec::new(), Vec::new());
        let mut found_in: BTreeMap<String, &Path> = BTreeMap::new();
        for folder in &config.roads.recorded {
            let opened = Drives::open(folder, form.shape, form.rate_hz, &options)?;
            for drive in &opened.drives {
                if let Some(one) = found_in.insert(drive.name.clone(), folder) {
                    let (drive, one, other) = (drive.name.clone(), one.to_owned(), folder.clone());
                    return Err(RoadsError::Twice { drive, one, other });
                }
            }
            all.extend(opened.drives);
            skipped.extend(opened.skipped);
        }
        let names: Vec<&str> = all.iter().map(|drive| drive.name.as_str()).collect();
        let unknown = |drive: &&String| !names.contains(&drive.as_str());
        if let Some(drive) = config.roads.unseen_drives.iter().find(unknown) {
            return Err(RoadsError::NoDrive { drive: drive.clone(), known: names.join(", ") });
        }
        let is_unseen = |drive: &Drive| config.roads.unseen_drives.contains(&drive.name);
        let (unseen, driven): (Vec<Drive>, Vec<Drive>) = all.into_iter().partition(is_unseen);
        let (drives, vehicles) = (driven.len(), config.vehicles);
        if drives < vehicles as usize {
            return Err(RoadsError::TooFew { vehicles, drives });
        }
        Ok(Recorded { driven, unseen, skipped })
    }
}

/// What is driven of generated roads: in which phase, by whom, in which region.
fn driven(config: &SimConfig) -> Vec<(usize, u32, Region)> {
    let plain = vec![config.roads.regions.clone()];
    let journey: Vec<_> = config.roads.journey.iter().map(|phase| phase.regions.clone()).collect();
    let phases = if journey.is_empty() { plain } else { journey };
    let of = |(phase, regions): (usize, Vec<Region>)| {
        let regions: Vec<Region> =
            regions.into_iter().cycle().take(config.vehicles as usize).collect();
        (0..).zip(regions).map(move |(vehicle, region)| (phase, vehicle, region))
    };
    phases.into_iter().enumerate().flat_map(of).collect()
}

/// A generated road: the simulation's seed and the road's number decide which.
fn generated(config: &SimConfig, form: &Form, region: Region, number: u64) -> Drive {
    // The table has a share for every use.
    let seeds = SPLIT.iter().find(|share| share.of == Use::Drives).map(|share| &share.seeds);
    let (first, room) = seeds.map_or((0, 1), |seeds| (*seeds.start(), seeds.end() - seeds.start()));
    let offset = config.seed.wrapping_mul(SEEDS_APART).wrapping_add(number) % room;
    let road = Generated { region, seed: first + offset };
    road.render(form.shape, form.rate_hz, config.roads.frames)
}

/// The pack of a term, in a folder of its name.
fn pack(roads: &[Road], form: &Form, term: &TermConfig, folder: &Path) -> Result<Pack, RoadsError> {
    let folder = folder.join(&term.name);
    let drives = in_pack(roads, term)?;
    let options = PackOptions {
        id: term.name.clone(),
        version: 1,
        licence: "not published".into(),
        context: form.context,
    };
    let there = packs::there(&folder, &manifest(&drives, &options)?)?;
    let pack = match there {
        Some(pack) => pack,
        None => {
            build(&drives, &options, &folder)?;
            Pack::open(&folder)?
        }
    };
    if term.metric.is_some_and(rolls_out) && !pack.manifest().has_rollouts() {
        let (term, frames) = (term.name.clone(), form.context + ROLLOUT_FRAMES);
        return Err(RoadsError::NoRoom { term, frames });
    }
    Ok(pack)
}

/// What a term's pack is made of.
fn in_pack(roads: &[Road], term: &TermConfig) -> Result<Vec<Drive>, RoadsError> {
    let listed = || roads.iter().filter(|road| road.kind != RoadKind::Unseen);
    let is = |road: &Road, named: &str| {
        let name = road.drive.name.as_str();
        let region = name.strip_prefix("synthetic/").and_then(|rest| rest.split('/').next());
        name == named || region == Some(named)
    };
    for named in &term.roads {
        if !listed().any(|road| is(road, named)) {
            let (term, road) = (term.name.clone(), named.clone());
            return Err(RoadsError::NoRoad { term, road });
        }
    }
    let of = listed()
        .filter(|road| term.roads.is_empty() || term.roads.iter().any(|named| is(road, named)));
    Ok(of.map(|road| road.drive.clone()).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shoal_hal::FrameShape;
    use shoal_shadow::form::MotionInput;

    use super::*;

    /// A folder of gray frames, each brighter than the one before.
    fn frames(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for at in 0..60_u8 {
            let file = fs::File::create(folder.join(format!("{at}.png"))).unwrap();
            let mut encoder = png::Encoder::new(file, 16, 8);
            encoder.set_color(png::ColorType::Grayscale);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&[4 * at; 128]).unwrap();
            writer.finish().unwrap();
        }
    }

    #[test]
    fn two_recorded_drives_of_one_name_are_refused_with_both_folders() {
        let folder = tempfile::tempdir().unwrap();
        for place in ["one/a", "two/a", "three/b"] {
            frames(&folder.path().join(place));
        }
        let open = |recorded: &str| {
            let text = format!(
                "vehicles = 2\nwindows = 1\n[roads]\nrecorded = [\"one\", \"{recorded}\"]\n[[methods]]\n\
                 name = \"alone\"\nkind = \"local\"\n"
            );
            let config = SimConfig::parse("fleet.toml", &text).unwrap();
            let shape = FrameShape { width: 16, height: 8 };
            let motion = MotionInput::NONE;
            let form = Form { shape, frames: 2, context: 2, rate_hz: 10.0, motion };
            let config = config.beside(&folder.path().join("fleet.toml"));
            Roads::open(&config, &form, &folder.path().join("pack"))
        };
        let Err(error) = open("two") else { panic!("figures would be by one name") };
        let said = error.to_string();
        let folders = ["one", "two"].map(|name| folder.path().join(name).display().to_string());
        assert!(said.contains("`a`") && folders.iter().all(|of| said.contains(of)), "{said}");
        let names: Vec<String> = open("three").unwrap().kinds().into_keys().collect();
        assert_eq!(names, ["a", "b"]);
    }
}
