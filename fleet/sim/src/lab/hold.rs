//! What a night is held to: a place that a method gives (FedProx), or what was learnt before (elastic weight consolidation).
//!
//! Before the first night of a phase of a journey, everybody's place is where that night starts, and there it is measured how
//! much each value matters for what must not be forgotten: the diagonal of the empirical Fisher matrix, on the clips of the
//! vehicle's own roads of the phases that have ended since it was measured last, as far as it has seen them, and as many of the
//! footage that ships with the model; in the first phase on the footage alone. It is divided by its mean over all values and
//! added to what was measured before. Every night of the phase then minimises (λ/2)·Σ importance·(x − place)² besides.
//!
//! At x_p every B is zero, and with it the gradient of every A: before the first phase only values of B matter.
//!
//! # Source
//! Kirkpatrick et al., arXiv 1612.00796, equation 3; one sum and one place, each measurement scaled alike: Schwarz et al.,
//! Progress & Compress, arXiv 1805.06370, section 4, with γ = 1 (nothing fades).

use std::collections::BTreeMap;

use shoal_shadow::batch::Road as Clipped;
use shoal_shadow::clip::Clips;
use shoal_swarm::swarm::{Flat, ValuesHash};

use super::information::squared_gradients;
use super::{Lab, LabError, Tune, Who, flat, in_parallel};
use crate::store::Key;

/// Gradients on former roads, and as many on the footage: one sample each.
const SAMPLES: u32 = 32;

/// (μ/2)·Σ importance·(x − towards)² in what a night minimises.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Where to, `[values]`.
    pub towards: Flat,
    /// μ; of what was learnt before, λ.
    pub mu: f64,
    /// How much each value matters, `[values]`, `>= 0`; `None`: all alike, FedProx.
    pub importance: Option<Flat>,
}

impl Pull {
    /// What names it among all that decides a night.
    pub(super) fn parts(&self) -> Vec<Vec<u8>> {
        let name = |values: &Flat| ValuesHash::of(values).bytes().to_vec();
        let mut parts = vec![name(&self.towards), self.mu.to_le_bytes().to_vec()];
        parts.extend(self.importance.as_ref().map(name));
        parts
    }

    /// What a file calls it.
    pub(super) const fn named(&self) -> &'static str {
        if self.importance.is_some() { "ewc" } else { "fedprox" }
    }
}

/// What somebody is held to in a phase.
pub(super) struct Held {
    phase: usize,
    place: Flat,
    importance: Flat,
}

/// What has to be measured before somebody's first night of a phase.
struct Asked<'a> {
    night: &'a Tune,
    /// The first phase whose roads were not measured on, and the one that begins.
    phases: [usize; 2],
}

impl Lab<'_> {
    /// Nights that are held to what was learnt before, if the file asks for that; else as they are. Nights have to come in the
    /// order of their windows: what is held to comes from the first one of each phase.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn consolidated(&mut self, mut nights: Vec<Tune>) -> Result<Vec<Tune>, LabError> {
        if self.night.ewc == 0.0 {
            return Ok(nights);
        }
        let mut due: BTreeMap<Who, Asked<'_>> = BTreeMap::new();
        for night in &nights {
            let (phase, held) = (self.data.phase(night.window), self.held.get(&night.who));
            if held.is_none_or(|held| held.phase != phase) {
                let phases = [held.map_or(0, |held| held.phase), phase];
                due.entry(night.who).or_insert(Asked { night, phases });
            }
        }
        let due: Vec<Asked<'_>> = due.into_values().collect();
        let measured = in_parallel(self.jobs, &due, |asked| self.importance(asked))?;
        for (Asked { night, phases: [_since, phase] }, mut importance) in due.iter().zip(measured) {
            if let Some(before) = self.held.get(&night.who) {
                let each = importance.iter_mut().zip(before.importance.iter());
                each.for_each(|(sum, before)| *sum += before);
            }
            let (phase, place) = (*phase, night.from.clone());
            self.held.insert(night.who, Held { phase, place, importance: importance.into() });
        }
        for night in &mut nights {
            if let Some(Held { place, importance, .. }) = self.held.get(&night.who) {
                let (towards, importance) = (place.clone(), Some(importance.clone()));
                night.pull = Some(Pull { towards, mu: self.night.ewc, importance });
            }
        }
        Ok(nights)
    }

    /// How much each value matters where a night starts: `[values]`, mean 1, or zeros where there is nothing to forget.
    fn importance(&self, asked: &Asked<'_>) -> Result<Vec<f32>, LabError> {
        let Asked { night, phases: [since, phase] } = *asked;
        let (who, name) = (night.who.named().to_le_bytes(), ValuesHash::of(&night.from));
        let phases = [since as u64, phase as u64].map(u64::to_le_bytes);
        let (seed, samples) = (night.seed.to_le_bytes(), SAMPLES.to_le_bytes());
        let key = Key::of(
            "importance",
            &[&self.context, &who, phases.as_flattened(), name.bytes(), &seed, &samples],
        );
        if let Some(values) = self.store.get(&key).map(|bytes| flat(&bytes))
            && values.len() == self.base.layout.values()
        {
            return Ok(values.to_vec());
        }
        let frames = self.bench.frames("ewc")?;
        let (roads, form) = (frames.roads, frames.form);
        let former = roads
            .former(night.who, since..phase)
            .into_iter()
            .filter_map(|(road, seen)| Clipped::new(&[roads.clips(road, seen)], form));
        let footage = frames
            .footage
            .iter()
            .filter_map(|drive| Clipped::new(&[Clips::of_all(drive, form.context, 1)], form));
        let from = [former.collect(), footage.collect()];
        let found = squared_gradients(self.base, form, from, &night.from, SAMPLES, night.seed)?;
        let values = scaled(&found, self.base.layout.values());
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store.put(&key, &bytes)?;
        Ok(values)
    }
}

/// The sum of what was measured, divided by its mean; zeros if that is zero.
fn scaled(measured: &[Vec<f32>], values: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; values];
    for measured in measured {
        sums.iter_mut().zip(measured).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let mean = sums.iter().sum::<f64>() / values.max(1) as f64;
    let scale = if mean > 0.0 { 1.0 / mean } else { 0.0 };
    sums.into_iter().map(|sum| (sum * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_summed_and_has_mean_one() {
        let measured = [vec![1e-6, 0.0, 2e-6], vec![0.0, 0.0, 3e-6]];
        for (got, want) in scaled(&measured, 3).iter().zip([0.5, 0.0, 2.5]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
        assert_eq!(scaled(&[vec![0.0; 2]], 2), [0.0; 2]);
        assert_eq!(scaled(&[], 2), [0.0; 2]);
    }

    #[test]
    fn a_pull_without_importance_has_the_name_that_it_had() {
        let pull = |importance| Pull { towards: vec![1.0].into(), mu: 0.5, importance };
        let parts = pull(None).parts();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1], 0.5_f64.to_le_bytes());
        let held = pull(Some(vec![2.0].into()));
        assert_eq!((held.parts().len(), held.named()), (3, "ewc"));
    }
}
