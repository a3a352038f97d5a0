//! Adapters whose predictions are mixed, clip by clip.

use shoal_hal::FrameShape;
use shoal_runtime::engine::EngineError;
use shoal_shadow::clip::to_planes;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{Measurement, Predictor};
use shoal_soup::ensemble::{cbtm_weights, error_loss, pack_weights};
use shoal_soup::input::Members;
use shoal_swarm::swarm::{Flat, ValuesHash};

use super::frames::{BATCH, predictor};
use super::{Lab, LabError, On, in_parallel, measured, term};
use crate::store::Key;

/// Cells of a feature: across and down, three colours each.
const CELLS: [usize; 2] = [4, 2];
/// Values of a feature.
pub const FEATURE_VALUES: usize = 3 * CELLS[0] * CELLS[1];

/// Adapters whose predictions are mixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// At least one.
    pub members: Vec<Flat>,
    /// How.
    pub weighing: Weighing,
}

/// Which weights predictions have, of sum 1; the mixture is clamped to `[0, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Weighing {
    /// Always these, one a member.
    Fixed(Vec<f64>),
    /// By how well each member predicts the newest past frame from those before it (the oldest is shown twice, the motion is
    /// that of the next frame): softmax(−ln error / T). What Pack of LLMs does with a prompt. In a roll-out the newest past frame
    /// is what the mixture predicted last.
    Seen {
        /// T.
        temperature: f64,
    },
    /// By whose roads look most like the newest past frame: softmax(−|h − c|²/T) of the `keep` nearest, as in cBTM.
    Nearest {
        /// Features of the members' roads, one a member.
        centres: Vec<Vec<f32>>,
        /// T.
        temperature: f64,
        /// How many weigh anything.
        keep: usize,
    },
}

impl Lab<'_> {
    /// Measures an ensemble on all of `on`, in their order.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn measure_ensemble(
        &mut self,
        ensemble: &Ensemble,
        on: &[On],
    ) -> Result<Vec<Measurement>, LabError> {
        self.counts.evaluations += on.len() as u64;
        in_parallel(self.jobs, on, |on| self.told(self.mixed(ensemble, *on)?, *on))
    }

    /// Utility of an ensemble in this window, as [`Lab::utility`] has it of an adapter.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn ensemble_utility(&mut self, ensemble: &Ensemble, window: u32) -> Result<f64, LabError> {
        let terms = self.terms(window);
        let on: Vec<On> = terms.iter().map(|(term, _)| On::Pack { term: *term }).collect();
        let found = self.measure_ensemble(ensemble, &on)?;
        let shares = terms.iter().map(|(_, share)| share);
        Ok(shares.zip(&found).map(|(share, found)| share * term::value(found)).sum())
    }

    /// The mean feature of what a vehicle has seen before this window, `[FEATURE_VALUES]`: what a cluster's centre is.
    ///
    /// # Errors
    /// [`LabError`]: tokens have no colours.
    pub fn centre(&self, vehicle: u32, window: u32) -> Result<Vec<f32>, LabError> {
        let frames = self.bench.frames("an ensemble")?;
        let (shape, roads) = (frames.form.shape, frames.roads);
        let mut planes = vec![0.0; shape.bytes()];
        let (mut sums, mut count) = (vec![0.0_f64; FEATURE_VALUES], 0_u32);
        for road in roads.of(vehicle, roads.phase(window)) {
            let clips = roads.clips(road, roads.seen(road, window));
            for index in clips.spans().iter().flat_map(|span| span.first..=span.last) {
                to_planes(clips.footage().frame(index), &mut planes);
                let feature = feature(&planes, shape);
                sums.iter_mut().zip(&feature).for_each(|(sum, value)| *sum += f64::from(*value));
                count += 1;
            }
        }
        Ok(sums.into_iter().map(|sum| (sum / f64::from(count.max(1))) as f32).collect())
    }

    fn mixed(&self, ensemble: &Ensemble, on: On) -> Result<Measurement, LabError> {
        let (kind, of) = self.place(on);
        let weighing = format!("{:?}", ensemble.weighing);
        let names: Vec<u8> =
            ensemble.members.iter().flat_map(|values| *ValuesHash::of(values).bytes()).collect();
        let parts: [&[u8]; 5] =
            [&self.context, &[kind], &of.to_le_bytes(), weighing.as_bytes(), &names];
        let key = Key::of("ensemble", &parts);
        if let Some(measured) = self.store.get(&key).and_then(|bytes| measured::read(&bytes)) {
            return Ok(measured);
        }
        let (base, frames) = (self.base, self.bench.frames("an ensemble")?);
        let load = |values: &Flat| {
            let adapter = base.adapter(values)?;
            predictor(base, Some(&adapter), BATCH)
        };
        let members = ensemble.members.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let mut mixed = Mixed::new(members, &ensemble.weighing, frames.form.clone());
        let measured = frames.measure_by(&mut mixed, on, self.phase)?;
        self.store.put(&key, &measured::write(&measured))?;
        Ok(measured)
    }
}

/// Mean colours of the cells of a frame in planes: red, green, blue, each row by row, `[FEATURE_VALUES]`.
fn feature(planes: &[f32], shape: FrameShape) -> Vec<f32> {
    let [across, down] = CELLS;
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    let mut cells = Vec::with_capacity(FEATURE_VALUES);
    for plane in planes.chunks_exact(width * height) {
        for (row, column) in (0..down).flat_map(|row| (0..across).map(move |at| (row, at))) {
            let rows = row * height / down..(row + 1) * height / down;
            let columns = column * width / across..(column + 1) * width / across;
            let count = (rows.len() * columns.len()).max(1);
            let sum: f64 = rows
                .flat_map(|y| plane[y * width..][columns.clone()].iter())
                .map(|value| f64::from(*value))
                .sum();
            cells.push((sum / count as f64) as f32);
        }
    }
    cells
}

/// Several predictors as one.
struct Mixed<'w, P> {
    members: Vec<P>,
    weighing: &'w Weighing,
    form: Form,
    /// What one member predicts.
    one: Vec<f32>,
    /// The past, one frame earlier.
    earlier: Vec<f32>,
    sum: Vec<f64>,
}

impl<'w, P: Predictor> Mixed<'w, P> {
    fn new(members: Vec<P>, weighing: &'w Weighing, form: Form) -> Self {
        let frame = form.shape.bytes();
        let earlier = vec![0.0; form.frames_len()];
        Mixed { members, weighing, one: vec![0.0; frame], earlier, sum: vec![0.0; frame], form }
    }

    /// One a member, for a clip with this past.
    fn weights(&mut self, frames: &[f32], motion: &[f32]) -> Result<Vec<f64>, EngineError> {
        let frame = self.form.shape.bytes();
        let (_, newest) = frames.split_at(frames.len() - frame);
        let weights = match self.weighing {
            Weighing::Fixed(weights) => Ok(weights.clone()),
            Weighing::Seen { temperature } => {
                let (oldest, before) = (&frames[..frame], &frames[..frames.len() - frame]);
                self.earlier[..frame].copy_from_slice(oldest);
                self.earlier[frame..].copy_from_slice(before);
                let mut losses = Vec::with_capacity(self.members.len());
                for member in &mut self.members {
                    member.predict(1, &self.earlier, motion, &mut self.one)?;
                    losses.push(error_loss(&self.one, newest));
                }
                pack_weights(&losses, *temperature)
            }
            Weighing::Nearest { centres, temperature, keep } => {
                Members::new(centres).and_then(|centres| {
                    let feature = feature(newest, self.form.shape);
                    cbtm_weights(&feature, &centres, *temperature, *keep)
                })
            }
        };
        // A member that predicts no numbers: what is mixed evenly is none either, and measuring says so.
        let count = self.members.len();
        Ok(weights.unwrap_or_else(|_not_finite| vec![1.0 / count as f64; count]))
    }
}

impl<P: Predictor> Predictor for Mixed<'_, P> {
    fn describe(&self) -> String {
        let named = self.members.first().map(Predictor::describe).unwrap_or_default();
        format!("{} of {named}", self.members.len())
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn predict(
        &mut self,
        clips: usize,
        frames: &[f32],
        motion: &[f32],
        next: &mut [f32],
    ) -> Result<(), EngineError> {
        assert!(clips == 1, "weights are those of one clip");
        let weights = self.weights(frames, motion)?;
        self.sum.fill(0.0);
        for (member, weight) in self.members.iter_mut().zip(&weights) {
            if *weight == 0.0 {
                continue;
            }
            member.predict(1, frames, motion, &mut self.one)?;
            for (sum, value) in self.sum.iter_mut().zip(&self.one) {
                *sum += weight * f64::from(*value);
            }
        }
        for (next, sum) in next.iter_mut().zip(&self.sum) {
            *next = sum.clamp(0.0, 1.0) as f32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use shoal_runtime::engine::testing::ort_or_skip;
    use shoal_shadow::form::MotionInput;
    use shoal_shadow::package::DESCRIPTION_FILE;
    use shoal_shadow::worldmodel::{self, Architecture};

    use super::*;
    use crate::config::SimConfig;
    use crate::data::Data;
    use crate::lab::Base;
    use crate::store::Store;

    /// Predicts one value everywhere.
    struct Even(f32, Form);

    impl Predictor for Even {
        fn describe(&self) -> String {
            "even".into()
        }

        fn form(&self) -> &Form {
            &self.1
        }

        fn batch(&self) -> usize {
            1
        }

        fn predict(
            &mut self,
            _clips: usize,
            frames: &[f32],
            _motion: &[f32],
            next: &mut [f32],
        ) -> Result<(), EngineError> {
            assert_eq!(frames.len(), self.1.frames_len());
            next.fill(self.0);
            Ok(())
        }
    }

    fn form() -> Form {
        let shape = FrameShape { width: 4, height: 2 };
        Form { shape, frames: 2, context: 2, rate_hz: 10.0, motion: MotionInput::NONE }
    }

    fn mixed(weighing: &Weighing, past: f32) -> f32 {
        let members = [0.2, 0.6, 1.5].map(|value| Even(value, form())).into();
        let mut mixed = Mixed::new(members, weighing, form());
        let (frames, mut next) = (vec![past; 48], vec![0.0; 24]);
        mixed.predict(1, &frames, &[], &mut next).unwrap();
        assert!(next.iter().all(|value| *value == next[0]));
        next[0]
    }

    #[test]
    fn a_mixture_is_the_weighted_mean_within_bounds() {
        let found = mixed(&Weighing::Fixed(vec![0.5, 0.5, 0.0]), 0.0);
        assert!((found - 0.4).abs() < 1e-6, "{found}");
        assert_eq!(mixed(&Weighing::Fixed(vec![0.0, 0.0, 1.0]), 0.0), 1.0);
    }

    #[test]
    fn who_predicted_the_last_frame_weighs_most() {
        let found = mixed(&Weighing::Seen { temperature: 0.1 }, 0.6);
        assert!((found - 0.6).abs() < 1e-4, "{found}");
        let warm = mixed(&Weighing::Seen { temperature: 1e6 }, 0.6);
        assert!((warm - 0.766).abs() < 1e-2, "{warm}");
    }

    #[test]
    fn whose_roads_are_near_weighs_most() {
        let centres = [0.0, 0.5, 1.0].map(|value| vec![value; FEATURE_VALUES]).into();
        let weighing = Weighing::Nearest { centres, temperature: 0.1, keep: 1 };
        assert_eq!(mixed(&weighing, 0.1), 0.2);
        assert_eq!(mixed(&weighing, 0.6), 0.6);
    }

    /// The lab of a small model of frames in this folder, whose terms are of every metric that such a model has.
    fn of_every_metric(folder: &Path) -> (SimConfig, Base, Data) {
        let small = Architecture {
            width: 32,
            height: 16,
            channels: [8, 12, 16],
            pairs_half: 1,
            pairs_full: 0,
            differences: false,
        };
        let (package, description) = (folder.join("model"), worldmodel::description(&small));
        fs::create_dir(&package).unwrap();
        worldmodel::build(&small, 1).unwrap().write(&package.join(&description.model)).unwrap();
        fs::write(package.join(DESCRIPTION_FILE), description.to_toml()).unwrap();
        let kind = if ort_or_skip().is_some() { "ort" } else { "tract" };
        let term = |metric| format!("[[utility]]\nname = \"{metric}\"\nmetric = \"{metric}\"\n");
        let terms = ["skill", "rollout", "skill_gain", "rollout_gain"].map(term).concat();
        let text = format!(
            "vehicles = 2\nwindows = 1\nseed = 5\n[model]\npackage = \"model\"\n[engine]\nkind = \"{kind}\"\n\
             [roads]\nregions = [\"highway\", \"rural\"]\nframes = 500\n{terms}\
             [[methods]]\nname = \"a\"\nkind = \"local\"\n"
        );
        let config = SimConfig::parse("fleet.toml", &text).unwrap();
        let config = config.beside(&folder.join("fleet.toml"));
        let base = Base::open(&config, crate::lab::engine(&config).unwrap()).unwrap();
        let data = Data::open(&config, &base.task, &folder.join("pack")).unwrap();
        (config, base, data)
    }

    #[test]
    fn an_ensemble_of_one_is_worth_what_its_member_is_by_every_metric() {
        let folder = tempfile::tempdir().unwrap();
        let (config, base, data) = of_every_metric(folder.path());
        let store = Store::open(&folder.path().join("results")).unwrap();
        let mut lab = Lab::new(&base, &data, &config, store).unwrap();
        let member: Flat = base.start(1).iter().map(|value| value + 0.02).collect();
        let weighing = Weighing::Fixed(vec![1.0]);
        let one = Ensemble { members: vec![member.clone()], weighing };
        let mut skills = Vec::new();
        for term in 0..4 {
            let on = On::Pack { term };
            let alone = lab.measure(&[(member.clone(), on)]).unwrap();
            let mixed = lab.measure_ensemble(&one, &[on]).unwrap();
            assert_eq!(mixed[0].drives, alone[0].drives, "term {term}");
            skills.push(alone[0].skill().unwrap());
        }
        assert!(skills[1..].iter().all(|skill| *skill != skills[0]), "{skills:?}");
        let alone = lab.utility(&[member], 1).unwrap();
        assert_eq!(lab.ensemble_utility(&one, 1).unwrap(), alone[0]);
    }

    #[test]
    fn a_feature_is_the_colours_of_cells() {
        let mut planes = vec![0.0; 24];
        // Green, second row, third column: a cell of one pixel.
        planes[8 + 4 + 2] = 1.0;
        let mut want = vec![0.0; 24];
        want[8 + 4 + 2] = 1.0;
        assert_eq!(feature(&planes, form().shape), want);
    }
}
