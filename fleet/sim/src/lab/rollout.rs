//! How good roll-outs are on what is held out: the fifth prediction in a row, each from those before it, against the last true
//! frame shown again.

use std::collections::BTreeMap;

use shoal_shadow::measure::{Horizon, Measurement, measure};
use shoal_swarm::swarm::{Flat, ValuesHash};

use super::frames::{BATCH, predictor};
use super::{Bench, Lab, LabError, On, SKILL_MIN, in_parallel};
use crate::record::{RoadKind, Row};
use crate::store::Key;

/// Skill of the fifth frame of roll-outs, by road: of the roads that are counted and have room for one.
pub type RolledOut = BTreeMap<String, f64>;

impl Lab<'_> {
    /// Skill of roll-outs of adapters, in the order they are asked for; nothing of models without frames.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn rollouts(&self, asked: &[Flat]) -> Result<Vec<RolledOut>, LabError> {
        let Bench::Frames(frames) = &self.bench else { return Ok(Vec::new()) };
        in_parallel(self.jobs, asked, |values| {
            let key = Key::of("rollout", &[&self.context, ValuesHash::of(values).bytes()]);
            let read = |bytes: Vec<u8>| postcard::from_bytes(&bytes).ok();
            if let Some(kept) = self.store.get(&key).and_then(read) {
                return Ok(kept);
            }
            let adapter = self.base.adapter(values)?;
            let mut predictor = predictor(self.base, Some(&adapter), BATCH)?;
            let clips = frames.clips(On::HeldOut, self.phase);
            let found = skills(&measure(&mut predictor, &clips, Horizon::NextAndRollout)?);
            // Names and numbers can be written.
            self.store.put(&key, &postcard::to_stdvec(&found).unwrap_or_default())?;
            Ok(found)
        })
    }
}

fn skills(measured: &Measurement) -> RolledOut {
    let counted = measured.drives.iter().filter(|drive| drive.counted);
    counted
        .filter_map(|drive| Some((drive.name.clone(), drive.rollout.skill()?.max(SKILL_MIN))))
        .collect()
}

/// Tells how good roll-outs of these are: on roads that somebody drives and on those that nobody does, the means over roads and
/// over what was asked for. Nothing where the model has no frames.
///
/// # Errors
/// [`LabError`].
pub fn tell_rollouts(lab: &Lab<'_>, of: &[Flat], row: &mut Row) -> Result<(), LabError> {
    let found = lab.rollouts(of)?;
    let kinds = lab.data().kinds();
    let driven = |road: &String| matches!(kinds.get(road), Some(RoadKind::Driven(_)));
    for (name, wanted) in [("rollout.driven", true), ("rollout.others", false)] {
        let roads = found.iter().flatten().filter(|(road, _skill)| driven(road) == wanted);
        let skills: Vec<f64> = roads.map(|(_road, skill)| *skill).collect();
        if !skills.is_empty() {
            row.also.insert(name.into(), skills.iter().sum::<f64>() / skills.len() as f64);
        }
    }
    Ok(())
}
