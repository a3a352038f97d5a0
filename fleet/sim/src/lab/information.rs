//! How much each value of an adapter matters on a vehicle's own road: the diagonal of the empirical Fisher matrix. What is asked
//! for it is asked for Gram matrices, too.

use std::num::NonZeroUsize;

use shoal_shadow::batch::{Mix, MixedBatch, Road as Clipped};
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuner};
use shoal_swarm::swarm::{Flat, ValuesHash};

use super::frames::Frames;
use super::{Base, Lab, LabError, Modelled, flat, in_parallel};
use crate::store::Key;

/// Samples one at a time, all of the vehicle's own clips as they are.
const ONE: Mix = Mix { own: 1, augmented: 0, replayed: 0 };

/// What is asked of one vehicle.
#[derive(Clone, Debug)]
pub struct Information {
    /// On whose roads.
    pub vehicle: u32,
    /// In which window, from 1 on: what has been seen by then.
    pub window: u32,
    /// At which adapter.
    pub at: Flat,
    /// Samples of what it has seen, each by itself.
    pub samples: u32,
    /// Seed of the samples.
    pub seed: u64,
}

impl Information {
    /// What names a result of this kind in these circumstances.
    pub(super) fn key(&self, kind: &str, context: &[u8; 32]) -> Key {
        let Information { vehicle, window, at, samples, seed } = self;
        let name = ValuesHash::of(at);
        let parts: [&[u8]; 6] = [
            context,
            &vehicle.to_le_bytes(),
            &window.to_le_bytes(),
            name.bytes(),
            &samples.to_le_bytes(),
            &seed.to_le_bytes(),
        ];
        Key::of(kind, &parts)
    }
}

impl Lab<'_> {
    /// Means of squared gradients of the loss, of one sample at a time drawn as a night draws the vehicle's own clips, in the
    /// order they are asked for. No step is taken, and none is counted.
    ///
    /// # Shapes and units
    /// `[values]` each, in the layout's order, `>= 0`.
    /// # Errors
    /// [`LabError`].
    pub fn information(&mut self, asked: &[Information]) -> Result<Vec<Flat>, LabError> {
        in_parallel(self.jobs, asked, |asked| self.informed(asked))
    }

    fn informed(&self, asked: &Information) -> Result<Flat, LabError> {
        let key = asked.key("information", &self.context);
        if let Some(values) = self.store.get(&key).map(|bytes| flat(&bytes))
            && values.len() == self.base.layout.values()
        {
            return Ok(values);
        }
        let frames = self.bench.frames("fisher")?;
        let own = frames.own_roads(asked);
        let Information { vehicle, at, samples, seed, .. } = asked;
        let found = squared_gradients(self.base, frames.form, [own], at, *samples, *seed)?;
        let values = found.into_iter().next().ok_or(LabError::Nothing { vehicle: *vehicle })?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store.put(&key, &bytes)?;
        Ok(values.into())
    }
}

/// Means of squared gradients at a place, on so many samples of each of these; of those without a road, nothing.
///
/// # Shapes and units
/// `[values]` each, in the layout's order.
/// # Errors
/// [`LabError`].
pub(super) fn squared_gradients<'a>(
    base: &Base,
    form: &Form,
    from: impl IntoIterator<Item = Vec<Clipped<'a>>>,
    at: &Flat,
    samples: u32,
    seed: u64,
) -> Result<Vec<Vec<f32>>, LabError> {
    let steps = StepOptions { seed, threads: NonZeroUsize::MIN, ..StepOptions::default() };
    let options = TuneOptions { mix: ONE, steps, ..TuneOptions::default() };
    let start = base.adapter(at)?;
    let Modelled { package, model, engine } = base.modelled()?;
    let mut tuner = Tuner::new(model, package.description(), &**engine, Some(&start), &options)?;
    let of = |roads| MixedBatch::new(form.clone(), ONE, roads, Vec::new(), seed);
    let sources = from.into_iter().filter_map(of);
    let vehicle = Geometry::default();
    let sources = sources.map(|source| source.imitating(package.description(), &vehicle));
    sources.map(|mut source| Ok(tuner.squared_gradients(&mut source, samples)?)).collect()
}

impl Frames<'_> {
    /// A vehicle's own clips, as far as it has seen them.
    fn own_roads(&self, asked: &Information) -> Vec<Clipped<'_>> {
        let roads = self.roads;
        let seen = |road| {
            let clips = roads.clips(road, roads.seen(road, asked.window));
            Clipped::new(&[clips], self.form)
        };
        roads.of(asked.vehicle, roads.phase(asked.window)).filter_map(seen).collect()
    }

    /// Samples one at a time of what a vehicle has seen, drawn and shown as a night does its own clips.
    pub(super) fn own_clips(&self, asked: &Information) -> Result<MixedBatch<'_>, LabError> {
        let own = self.own_roads(asked);
        let source = MixedBatch::new(self.form.clone(), ONE, own, Vec::new(), asked.seed);
        source.ok_or(LabError::Nothing { vehicle: asked.vehicle })
    }
}
