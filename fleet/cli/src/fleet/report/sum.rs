//! From measurements and lines to what is reported.

use std::collections::BTreeMap;

use shoal_shadow::measure::Measurement;

use super::bench::{Bench, Measured, Name, Set};
use super::folder::{self, Best, Run, Vehicle};
use crate::fleet::result::{Bytes, Differences, DriveRow, Skill, Skills, VehicleRow, WindowRow};
use crate::output::{Failure, Outcome};

/// Draws of the intervals.
const DRAWS: usize = 200;

/// Everything that is measured, by name.
pub(super) struct Asked {
    pub(super) windows: u32,
    /// After every window.
    best: Vec<(Best, Name)>,
    /// Of every vehicle that was run alone, after every night; `None`: it keeps none of that night any more.
    alone: Vec<Option<Vec<Option<Name>>>>,
    /// Of every vehicle, after the last window.
    own: Vec<Name>,
}

impl Asked {
    /// Asks for all that a report needs.
    pub(super) fn of(vehicles: &[Vehicle], bench: &mut Bench<'_>) -> Result<Self, Failure> {
        let last = vehicles.iter().filter_map(|vehicle| vehicle.swarm.last()).max().unwrap_or(0);
        bench.ask(None, Set::HeldOut)?;
        let mut best = Vec::new();
        for window in 0..=last {
            let found = folder::best(vehicles, window);
            let name = bench.ask(found.adapter.as_deref(), Set::HeldOut)?;
            best.push((found, name));
        }
        check_last(&best)?;
        let (mut alone, mut own) = (Vec::new(), Vec::new());
        for vehicle in vehicles {
            own.push(bench.ask(vehicle.swarm.own(last).as_deref(), Set::HeldOut)?);
            alone.push(match vehicle.alone.last() {
                None => None,
                Some(_ran) => Some(nights(&vehicle.alone, last, bench)?),
            });
        }
        Ok(Asked { windows: last + 1, best, alone, own })
    }

    pub(super) fn skill(&self, measured: &Measured, own: &Own<'_>) -> Skill {
        let held_out = |name: Name| measured.of(name, Set::HeldOut);
        let chosen = self.chosen(measured);
        let last = self.windows as usize - 1;
        let pretrained = held_out(None);
        let by_window: Vec<WindowRow> =
            (0..self.windows).map(|window| self.window(window, chosen, measured)).collect();
        let of_last = |pick: fn(&WindowRow) -> Option<f64>| by_window.last().and_then(pick);
        let alone = self.alone.iter().map(|nights| nights.as_ref().and_then(|nights| nights[last]));
        Skill {
            pretrained: pretrained.skill(),
            pretrained_own: own.mean(self.own.iter().map(|_vehicle| Some(pretrained))),
            alone_best: of_last(|row| row.alone_best),
            alone_mean: of_last(|row| row.alone_mean),
            alone_own: own.mean(alone.map(|name| name.map(held_out))),
            swarm_best: by_window.iter().rev().find_map(|row| row.swarm_best),
            swarm_own: own.mean(self.own.iter().map(|name| Some(held_out(*name)))),
            by_window,
        }
    }

    /// The lone vehicle whose last adapter the pack values most.
    fn chosen(&self, measured: &Measured) -> Option<usize> {
        let values = self.alone.iter().enumerate().filter_map(|(vehicle, nights)| {
            let last = (*nights.as_ref()?.last()?)?;
            Some((vehicle, measured.of(last, Set::Pack).skill()?))
        });
        values
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
            .map(|(vehicle, _value)| vehicle)
    }

    fn window(&self, window: u32, chosen: Option<usize>, measured: &Measured) -> WindowRow {
        let index = window as usize;
        let held_out = |name: Name| measured.of(name, Set::HeldOut);
        let (found, name) = &self.best[index];
        let (best, is_known) = (held_out(*name), found.is_known);
        let alone: Vec<Option<&Measurement>> = self
            .alone
            .iter()
            .map(|nights| nights.as_ref().and_then(|nights| nights[index]).map(held_out))
            .collect();
        let chosen = chosen.and_then(|vehicle| alone[vehicle]);
        let by_drive = best.drives.iter().enumerate().map(|(drive, of)| {
            let skill = |measurement: &Measurement| measurement.drives[drive].next.skill();
            let skills = Skills {
                swarm_best: skill(best).filter(|_skill| is_known),
                alone_best: chosen.and_then(skill),
                alone_mean: mean(alone.iter().flatten().filter_map(|alone| skill(alone))),
            };
            (of.name.clone(), skills)
        });
        let by_drive = by_drive.collect();
        let alone: Vec<Option<f64>> =
            alone.into_iter().map(|alone| alone.and_then(Measurement::skill)).collect();
        WindowRow {
            window,
            swarm_best: best.skill().filter(|_skill| is_known),
            alone_best: chosen.and_then(Measurement::skill),
            alone_mean: mean(alone.iter().copied().flatten()),
            alone,
            best_is_pretrained: is_known && name.is_none(),
            agreed: found.agreed,
            took_part: found.of,
            by_drive,
        }
    }

    /// The swarm's last best beside x_p and the lone vehicle that the pack chooses.
    pub(super) fn differences(&self, measured: &Measured, seed: u64) -> Differences {
        let held_out = |name: Name| measured.of(name, Set::HeldOut);
        let known = self.best.iter().rev().find(|(found, _name)| found.is_known);
        let best = known.map(|(_found, name)| held_out(*name));
        let beside = |other: Option<&Measurement>| best?.difference(other?, DRAWS, seed);
        let chosen = self.chosen(measured);
        let alone = chosen.and_then(|vehicle| *self.alone[vehicle].as_ref()?.last()?);
        Differences {
            swarm_best_pretrained: beside(Some(held_out(None))),
            swarm_best_alone_best: beside(alone.map(held_out)),
        }
    }

    pub(super) fn vehicles(
        &self,
        vehicles: &[Vehicle],
        measured: &Measured,
        own: &Own<'_>,
    ) -> Vec<VehicleRow> {
        let held_out = |name: Name| measured.of(name, Set::HeldOut);
        let rows = vehicles.iter().enumerate().map(|(number, vehicle)| {
            let alone = self.alone[number].as_ref().and_then(|nights| *nights.last()?);
            let of = |pick: fn(&folder::Line) -> u64| {
                let lines = &vehicle.swarm.lines;
                (0..self.windows).map(|window| lines.get(&window).map_or(0, pick)).collect()
            };
            VehicleRow {
                name: vehicle.config.name.clone(),
                pretrained_own: own.of(number, held_out(None)),
                alone_own: alone.and_then(|name| own.of(number, held_out(name))),
                swarm_own: own.of(number, held_out(self.own[number])),
                alone: alone.and_then(|name| held_out(name).skill()),
                alone_pack: alone.and_then(|name| measured.of(name, Set::Pack).skill()),
                missed: missed(&vehicle.swarm, self.windows),
                bytes_up: of(|line| line.bytes_up),
                bytes_down: of(|line| line.bytes_down),
            }
        });
        rows.collect()
    }

    pub(super) fn drives(&self, measured: &Measured, own: &Own<'_>) -> Vec<DriveRow> {
        let pretrained = &measured.of(None, Set::HeldOut).drives;
        let rows = pretrained.iter().enumerate().map(|(index, drive)| DriveRow {
            name: drive.name.clone(),
            vehicle: own.whose(index),
            counted: drive.counted,
            clips: drive.next.clips(),
            copy_psnr_db: Some(drive.copy_psnr_db).filter(|db| db.is_finite()),
            pretrained: drive.next.skill(),
        });
        rows.collect()
    }
}

/// Fails where what was best in the last window in which anybody took part is not kept: a report is of that.
fn check_last(best: &[(Best, Name)]) -> Outcome {
    let mut windows = best.iter().enumerate().rev();
    match windows.find(|(_window, (found, _name))| found.of > 0) {
        Some((window, (found, _name))) if !found.is_known => Err(format!(
            "window {window} is the last in which any vehicle took part, and none keeps what was best then: windows/{window}/best is \
             missing in the state of each; report again after another window"
        )
        .into()),
        Some(_) | None => Ok(()),
    }
}

/// A lone vehicle's adapters, night after night; the last is measured on the pack, too.
fn nights(alone: &Run, last: u32, bench: &mut Bench<'_>) -> Result<Vec<Option<Name>>, Failure> {
    let night = |window| {
        if alone.has_removed(window) {
            return Ok(None);
        }
        let own = alone.own(window);
        if window == last {
            bench.ask(own.as_deref(), Set::Pack)?;
        }
        bench.ask(own.as_deref(), Set::HeldOut).map(Some)
    };
    (0..=last).map(night).collect()
}

fn missed(run: &Run, windows: u32) -> usize {
    let took_part = |window: &u32| run.lines.get(window).is_some_and(|line| line.took_part);
    (0..windows).filter(|window| !took_part(window)).count()
}

/// Which drives are whose: drive i is vehicle i mod N's.
pub(super) struct Own<'a>(pub(super) &'a [Vehicle]);

impl Own<'_> {
    fn whose(&self, drive: usize) -> usize {
        let has = |vehicle: &Vehicle| {
            let drives = &vehicle.config.drives;
            drive % drives.vehicles == drives.vehicle
        };
        self.0.iter().position(has).unwrap_or(drive % self.0.len())
    }

    /// A skill on the counted drives of one vehicle; `None` if it has none.
    fn of(&self, vehicle: usize, measured: &Measurement) -> Option<f64> {
        let drives = measured.drives.iter().enumerate();
        let own = drives.filter(|(index, drive)| drive.counted && self.whose(*index) == vehicle);
        mean(own.filter_map(|(_index, drive)| drive.next.skill()))
    }

    /// Mean over vehicles, each with its own adapter on its own drives; `None` where a vehicle has no adapter to measure.
    fn mean<'m>(&self, measured: impl Iterator<Item = Option<&'m Measurement>>) -> Option<f64> {
        let measured: Option<Vec<&Measurement>> = measured.collect();
        mean(measured?.into_iter().enumerate().filter_map(|(vehicle, of)| self.of(vehicle, of)))
    }
}

/// What crossed the air.
pub(super) fn bytes(rows: &[VehicleRow], windows: u32, pack: u64, float32_adapter: u64) -> Bytes {
    let per = rows.len() as f64 * f64::from(windows);
    let all =
        |pick: fn(&VehicleRow) -> &Vec<u64>| rows.iter().flat_map(pick).sum::<u64>() as f64 / per;
    Bytes {
        up_per_vehicle_window: all(|row| &row.bytes_up),
        down_per_vehicle_window: all(|row| &row.bytes_down),
        pack_down_per_vehicle: pack,
        float32_adapter,
    }
}

/// Means over windows and vehicles of what each stage took, and over lone nights.
pub(super) fn stages(vehicles: &[Vehicle]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for vehicle in vehicles {
        for (of, run) in [("window", &vehicle.swarm), ("night", &vehicle.alone)] {
            for (stage, seconds) in run.lines.values().flat_map(|line| &line.seconds) {
                let (sum, count) = sums.entry(format!("{of}_{stage}")).or_default();
                (*sum, *count) = (*sum + seconds, *count + 1.0);
            }
        }
    }
    sums.into_iter().map(|(stage, (sum, count))| (stage, sum / count)).collect()
}

/// What was refused, by code, over all vehicles and windows.
pub(super) fn rejected(vehicles: &[Vehicle]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for line in vehicles.iter().flat_map(|vehicle| vehicle.swarm.lines.values()) {
        for (code, count) in &line.rejected {
            *all.entry(code.clone()).or_default() += count;
        }
    }
    all
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}
