//! What a vehicle measures, codes and tunes with when others ask: its engine, the fleet's pack and its own roads.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use shoal_runtime::adapter::{Adapter, AdapterError};
use shoal_runtime::graft::Profile;
use shoal_shadow::clip::{Clips, Frames};
use shoal_shadow::fit::profile_of;
use shoal_shadow::measure::driving::{DrivingMetric, driving};
use shoal_shadow::measure::imitation::{ActedRun, DriveActs, judged};
use shoal_shadow::measure::{
    DriveClips, Horizon, MeasureError, Measurement, Predictor, SessionPredictor, measure,
    measure_together,
};
use shoal_shadow::pack::{Metric, Pack, ReadPackError};
use shoal_swarm::swarm::{Flat, On, ValuesHash};
use shoal_wire::{ModelHash, PackHash};
use tracing::info;

use super::measured::{Terms, asked_as, term};
use crate::agent::{Agent, AgentError, Learning, Roads};

/// Measurements that are remembered: within a window the same adapter is measured beside many others.
const REMEMBERED: usize = 64;
/// Clips predicted at a time: pieces of a pack are short, and a batch that is not full costs a full one.
const BATCH: usize = 1;
/// Runs of each way that are timed before several adapters are measured in one.
const RUNS_TIMED: usize = 3;
/// A span gives this part of its frames, the last ones, to measuring on the vehicle's own roads.
const HELD_BACK_PART: u32 = 6;

/// Why the bench cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The agent cannot.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The evaluation pack cannot be read.
    #[error(transparent)]
    Pack(#[from] ReadPackError),
    /// The pack is one of actions, and the package has no opinion of any.
    #[error(
        "the evaluation pack is one of {metric}, and this vehicle's package says nothing on the action grid: install the fleet's \
         package"
    )]
    NoPolicy {
        /// What is measured on the pack.
        metric: &'static str,
    },
    /// The pack is one of frames, and the package foresees none.
    #[error(
        "the evaluation pack is one of {metric}, and this vehicle's package foresees no frames: install the fleet's package"
    )]
    NoForesight {
        /// What is measured on the pack.
        metric: &'static str,
    },
    /// The pack holds no frames.
    #[error("the evaluation pack holds no frames")]
    EmptyPack,
    /// What came is no adapter of this model.
    #[error("no adapter of this model")]
    Adapter(#[from] AdapterError),
    /// The model file cannot be read.
    #[error("cannot read {path}")]
    Model {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// One adapter by each metric of the pack.
type Measured = Vec<(shoal_wire::v1::Metric, Measurement)>;

/// A vehicle's engine with what it measures on.
pub struct Bench {
    agent: Agent,
    pack: Pack,
    remembered: VecDeque<((ValuesHash, On), Measured)>,
    /// Whether several adapters in one run are quicker than one after the other; `None`: nobody has asked yet.
    together_pays: Option<bool>,
}

impl Bench {
    /// A bench of this agent and the evaluation pack in `pack`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn open(agent: Agent, pack: &Path) -> Result<Self, BenchError> {
        let pack = Pack::open(pack)?;
        if pack.parts().is_empty() {
            return Err(BenchError::EmptyPack);
        }
        let metric = pack.manifest().metric;
        match metric {
            Metric::Skill if agent.foresees() => {}
            Metric::Skill => return Err(BenchError::NoForesight { metric: metric.name() }),
            Metric::Imitation if agent.acts() => {}
            Metric::Imitation => return Err(BenchError::NoPolicy { metric: metric.name() }),
        }
        Ok(Bench { agent, pack, remembered: VecDeque::new(), together_pays: None })
    }

    /// The agent.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// What the utility document calls the pack.
    pub fn pack(&self) -> PackHash {
        PackHash::new(self.pack.sha256())
    }

    /// What a utility document may ask for on it.
    pub fn metrics(&self) -> Vec<shoal_wire::v1::Metric> {
        super::measured::metrics(self.pack.manifest())
    }

    /// SHA-256 of the model file.
    ///
    /// # Errors
    /// [`BenchError::Model`].
    pub fn base_model(&self) -> Result<ModelHash, BenchError> {
        let path = self.agent.model_path();
        let bytes = std::fs::read(&path).map_err(|source| {
            let path = path.display().to_string();
            BenchError::Model { path, source }
        })?;
        Ok(ModelHash::new(Sha256::digest(&bytes).into()))
    }

    /// Lengths of the tensors of an adapter's flat run.
    pub fn tensors(&self) -> Vec<u32> {
        self.agent.layout().factors().map(|factor| factor.range.len() as u32).collect()
    }

    /// These values as an adapter.
    ///
    /// # Errors
    /// [`BenchError::Adapter`].
    pub fn adapter(&self, values: &[f32]) -> Result<Adapter, BenchError> {
        Ok(Adapter::from_values(Arc::clone(self.agent.layout()), values.to_vec())?)
    }

    /// An adapter by every metric of the pack, beside another one on the same clips; metrics of which there is nothing to measure on
    /// are left out. On the vehicle's own roads by one.
    ///
    /// # Errors
    /// [`BenchError`]: it could not be measured.
    pub fn measure(
        &mut self,
        candidate: &Flat,
        beside: Option<&Flat>,
        on: On,
    ) -> Result<Terms, BenchError> {
        let candidate = self.measured(candidate, on)?;
        let beside = beside.map(|beside| self.measured(beside, on)).transpose()?;
        let beside = |index: usize| Some(&beside.as_ref()?.get(index)?.1);
        let terms = candidate.iter().enumerate().filter_map(|(index, (metric, candidate))| {
            Some((*metric, term(candidate, beside(index))?))
        });
        Ok(terms.collect())
    }

    /// Measures adapters on the same, as many in one run as the vehicle's configuration allows, where that takes less time than
    /// one after the other; what is measured is remembered for [`Bench::measure`]. The two differ by the rounding of the
    /// engine, about 1e-6 of an error: a hundredth of the steps in which a term is told.
    ///
    /// # Errors
    /// [`BenchError`]: one of them could not be measured. Each may be by itself.
    pub fn measure_ahead(&mut self, asked: &[&Flat], on: On) -> Result<(), BenchError> {
        let most = self.agent.config().engine.together;
        match self.pack.manifest().metric {
            Metric::Skill => {}
            // A policy acts by one adapter at a time.
            Metric::Imitation => return Ok(()),
        }
        let mut wanted: Vec<(ValuesHash, &Flat)> = Vec::new();
        for values in asked {
            let hash = ValuesHash::of(values);
            let is_known = self.remembered.iter().any(|(other, _)| *other == (hash, on))
                || wanted.iter().any(|(other, _)| *other == hash);
            if !is_known && wanted.len() < most {
                wanted.push((hash, values));
            }
        }
        // Every number of adapters is another graph, and there an engine to build for minutes.
        let builds = profile_of(self.agent.runs_on().0) == Profile::TensorRt;
        if wanted.len() < 2 || builds || self.together_pays == Some(false) {
            return Ok(());
        }
        let adapters = wanted.iter().map(|(_, values)| self.adapter(values));
        let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        let mut predictor = self.agent.predictor_of_many(&adapters, BATCH)?;
        if self.together_pays.is_none() {
            let pays = self.pays(&mut predictor, adapters[0])?;
            self.together_pays = Some(pays);
            if !pays {
                return Ok(());
            }
        }
        let measured = self.on(on, |clips| measure_together(&mut predictor, clips))?;
        for ((hash, _), measured) in wanted.into_iter().zip(measured) {
            self.remember((hash, on), vec![(shoal_wire::v1::Metric::Skill, measured)]);
        }
        Ok(())
    }

    /// Whether a run of several adapters is quicker than as many runs of one, timed here: an engine's kernels decide that.
    fn pays(&self, many: &mut SessionPredictor, one: &Adapter) -> Result<bool, BenchError> {
        let mut alone = self.agent.predictor(Some(one), BATCH)?;
        let count = many.adapters();
        let (together, single) = (run_time(many)?, run_time(&mut alone)?);
        let (together_ms, single_ms) = (together.as_secs_f64() * 1e3, single.as_secs_f64() * 1e3);
        let pays = together_ms < single_ms * count as f64;
        info!(count, together_ms, single_ms, pays, "adapters measured in one run");
        Ok(pays)
    }

    fn measured(&mut self, values: &Flat, on: On) -> Result<Measured, BenchError> {
        let key = (ValuesHash::of(values), on);
        if let Some((_key, known)) = self.remembered.iter().find(|(other, _)| *other == key) {
            return Ok(known.clone());
        }
        let adapter = self.adapter(values)?;
        let measured = match self.pack.manifest().metric {
            Metric::Skill => {
                let mut predictor = self.agent.predictor(Some(&adapter), BATCH)?;
                let measured =
                    self.on(on, |clips| measure(&mut predictor, clips, Horizon::Next))?;
                vec![(shoal_wire::v1::Metric::Skill, measured)]
            }
            Metric::Imitation => self.driven(&adapter, on)?,
        };
        self.remember(key, measured.clone());
        Ok(measured)
    }

    /// What the policy with this adapter proposes; on the vehicle's own roads, how near it is to the driver.
    fn driven(&mut self, adapter: &Adapter, on: On) -> Result<Measured, BenchError> {
        let mut policy = self.agent.policy(Some(adapter))?;
        let (measured, metrics) = match on {
            On::Part(part) => {
                let footages = self.pack.read_turn(usize::from(part))?;
                let metrics = self.pack.manifest().driving();
                (driving(&mut policy, &footages.acts(), &metrics), metrics)
            }
            On::Own => {
                let geometry = self.agent.config().geometry;
                let spans = self.held_back();
                let (habits, weights) = judged(&spans, &geometry);
                let runs = spans.iter().zip(&weights);
                let runs =
                    runs.map(|(span, weights)| ActedRun { footage: span, weights, leaders: &[] });
                let own = DriveActs {
                    name: "own".into(),
                    copy_psnr_db: 0.0,
                    geometry,
                    habits: &habits,
                    runs: runs.collect(),
                };
                let metrics = vec![DrivingMetric::Imitation];
                (driving(&mut policy, &[own], &metrics), metrics)
            }
        };
        let measured = measured.map_err(AgentError::from)?;
        Ok(metrics.into_iter().map(asked_as).zip(measured).collect())
    }

    /// Spans of the vehicle's own roads that nothing is tuned on.
    fn held_back(&mut self) -> Vec<Frames> {
        let context = self.agent.form().context;
        let held = |frames| held_back(frames, context).unwrap_or(frames)..frames;
        self.agent.remembered(held, &mut |_tell| {})
    }

    /// Gives what is measured on to a measurement.
    fn on<R>(
        &mut self,
        on: On,
        measure: impl FnOnce(&[DriveClips<'_>]) -> Result<R, MeasureError>,
    ) -> Result<R, BenchError> {
        let context = self.agent.form().context;
        let measured = match on {
            On::Part(part) => {
                let footages = self.pack.read_turn(usize::from(part))?;
                measure(&footages.clips(context))
            }
            On::Own => {
                let spans = self.held_back();
                let clips = clips(&spans, context);
                // A vehicle's own roads count whether or not they move much.
                measure(&[DriveClips { name: "own".into(), copy_psnr_db: 0.0, clips }])
            }
        };
        Ok(measured.map_err(AgentError::from)?)
    }

    fn remember(&mut self, key: (ValuesHash, On), measured: Measured) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, measured));
    }

    /// Reads back what is tuned on: what the vehicle remembers before what it holds back, and the footage that ships
    /// with the model.
    pub(super) fn roads(&mut self) -> Result<Roads, BenchError> {
        let context = self.agent.form().context;
        let tuned_on = |frames| 0..held_back(frames, context).unwrap_or(frames);
        let spans = self.agent.remembered(tuned_on, &mut |_tell| {});
        Ok(Roads { spans, footage: self.agent.footage()? })
    }

    /// A tuner that begins at these values, and its batches of these roads; `None` where there is nothing to learn from.
    pub(super) fn learning<'a>(
        &self,
        roads: &'a Roads,
        from: &Flat,
        seed: u64,
    ) -> Result<Option<Learning<'a>>, BenchError> {
        Ok(Learning::begin(&self.agent, roads, Some(&self.adapter(from)?), seed)?)
    }
}

/// The time of a run on black frames: the quickest of some, after one that warms up.
#[expect(clippy::disallowed_methods, reason = "which of two ways is quicker is measured")]
fn run_time(predictor: &mut SessionPredictor) -> Result<Duration, AgentError> {
    let form = predictor.form();
    let (frames, motion) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
    let mut next = vec![0.0; predictor.adapters() * form.shape.bytes()];
    let mut quickest = Duration::MAX;
    predictor.predict(1, &frames, &motion, &mut next)?;
    for _ in 0..RUNS_TIMED {
        let begun = Instant::now();
        predictor.predict(1, &frames, &motion, &mut next)?;
        quickest = quickest.min(begun.elapsed());
    }
    Ok(quickest)
}

fn clips(spans: &[Frames], context: usize) -> Vec<Clips<'_>> {
    spans.iter().map(|span| Clips::of_all(span, context, 1)).collect()
}

/// The first of the frames that a span of this many holds back; `None`: it is too short to spare any.
fn held_back(frames: u32, context: usize) -> Option<u32> {
    let clip = u32::try_from(context).ok()?.checked_add(1)?;
    let back = (frames / HELD_BACK_PART).max(clip);
    // What is left must still give clips to tune on.
    (frames >= back + 2 * clip).then(|| frames - back)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use shoal_hal::Drive;
    use shoal_hal::backend::synthetic::{Region, Road};
    use shoal_runtime::onnx::{Builder, TensorType};
    use shoal_shadow::grid::{self, ACCELERATION_BINS, Action, ActionGrid};
    use shoal_shadow::pack::{Acted, PackOptions, build, build_imitation};

    use super::*;
    use crate::config::{Config, EngineKind};

    #[test]
    fn a_span_holds_back_its_end_and_keeps_enough_to_tune_on() {
        for frames in 0..200 {
            let Some(first) = held_back(frames, 4) else {
                assert!(frames < 15, "{frames} frames can spare a clip");
                continue;
            };
            // A clip has four past frames and the next.
            assert!(frames - first >= 5 && first >= 10, "{frames} frames held back from {first}");
        }
        assert_eq!(held_back(120, 4), Some(100));
    }

    /// A bench with the default model on tract and a pack of one generated road.
    fn bench(directory: &Path) -> Bench {
        let mut config = Config::default();
        config.engine.kind = EngineKind::Tract;
        config.engine.together = 3;
        config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
        config.state = directory.join("state");
        let agent = Agent::open(config).unwrap();
        let form = agent.form();
        let road = Road { region: Region::ALL[0], seed: 7 };
        let drives = [road.render(form.shape, form.rate_hz, 300)];
        let options = PackOptions {
            id: "road".into(),
            version: 1,
            licence: "CC0-1.0".into(),
            context: form.context,
        };
        build(&drives, &options, &directory.join("pack")).unwrap();
        Bench::open(agent, &directory.join("pack")).unwrap()
    }

    /// A package whose model both foresees and acts, 8×4 at 10 Hz: black frames, and straight on at one speed, unless an adapter
    /// says otherwise.
    fn acting(directory: &Path) -> PathBuf {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
        let rows = b.i64s(&[1, -1]);
        let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
        let mut matrix = |columns: usize| {
            let weight = b.f32s(&[96, columns], &vec![0.0; 96 * columns]);
            b.op("MatMul", &[&flat, &weight], &[]).unwrap()
        };
        let (next, seen) = (matrix(96), matrix(grid::BINS));
        let straight = ActionGrid::v1().bin(Action::default());
        let (column, row) = (straight / ACCELERATION_BINS, straight % ACCELERATION_BINS);
        let away = |bin: usize| {
            let (x, y) = (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
            -0.4 * (x.abs_diff(column) + y.abs_diff(row)) as f32
        };
        let bias: Vec<f32> = (0..grid::BINS).map(away).collect();
        let bias = b.f32s(&[grid::BINS], &bias);
        let logits = b.op("Add", &[&seen, &bias], &[]).unwrap();
        let shape = b.i64s(&[1, 3, 4, 8]);
        let next = b.op("Reshape", &[&next, &shape], &[]).unwrap();
        b.output("next", &next);
        b.output("logits", &logits);
        let package = directory.join("acting");
        std::fs::create_dir(&package).unwrap();
        b.into_model().write(&package.join("model.onnx")).unwrap();
        let grid: String = grid::SHA256.iter().map(|byte| format!("{byte:02x}")).collect();
        let toml = format!(
            "rate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
             [next_frame]\noutput = 'next'\n[action]\noutput = 'logits'\ngrid = '{grid}'\n\
             [adapter]\nrank = 2\nalpha = 2.0\n"
        );
        std::fs::write(package.join("model.toml"), toml).unwrap();
        package
    }

    /// An agent of a package, and a pack of attentive drivers for it.
    fn imitates(directory: &Path, package: PathBuf) -> Result<Bench, BenchError> {
        let mut config = Config::default();
        config.engine.kind = EngineKind::Tract;
        config.model.package = package;
        config.state = directory.join("state");
        let agent = Agent::open(config).unwrap();
        let form = agent.form();
        // The fourth road has tight curves.
        let mut driven = vec![crate::drives::attentive(4, 400, form, 1).remove(3)];
        driven.extend(crate::drives::reckless((4, 6), 400, form, 1));
        let acted = driven.iter().map(Acted::of_driven);
        let mut acted: Vec<Acted> = acted.map(Option::unwrap).collect();
        acted[1..].iter_mut().for_each(|acted| acted.imitated = false);
        let drives: Vec<Drive> = driven.into_iter().map(|driven| driven.drive).collect();
        let options = PackOptions {
            id: "drivers".into(),
            version: 1,
            licence: "CC0-1.0".into(),
            context: form.context,
        };
        build_imitation(&drives, &acted, &options, &directory.join("pack")).unwrap();
        Bench::open(agent, &directory.join("pack"))
    }

    #[test]
    fn a_pack_of_imitation_is_measured_by_what_the_model_would_do() {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = imitates(directory.path(), acting(directory.path())).unwrap();
        assert!(bench.metrics().starts_with(&[shoal_wire::v1::Metric::Imitation]));
        let count = bench.agent().layout().values();
        let flat = |more: f32| -> Flat {
            (0..count).map(|i| more * ((i * 7919 % 1009) as f32 / 1009.0 - 0.5)).collect()
        };
        let (one, other) = (flat(1.0), flat(0.3));
        let on = On::Part(1);
        bench.measure_ahead(&[&one, &other], on).unwrap();
        assert!(bench.remembered.is_empty(), "a policy acts by one adapter at a time");
        let compared = bench.measure(&one, Some(&other), on).unwrap()[0].1;
        let alone = bench.measure(&other, None, on).unwrap()[0].1;
        assert_eq!(compared.beside, alone.value);
        assert_ne!(compared.value, alone.value, "adapters that all do the same show nothing");
        assert!(compared.value_error > 0 && compared.difference_error > 0, "{compared:?}");
        let again = bench.measure(&one, Some(&other), on).unwrap();
        assert_eq!(again[0].1, compared);
    }

    /// Half a second behind someone, and closing: who is tuned to go on as fast as it can is gated, who brakes passes.
    #[test]
    fn an_adapter_that_closes_up_on_who_is_ahead_is_below_the_gate() {
        use shoal_wire::v1::{Knot, Metric, Term, UtilityDocument, UtilityDocumentFields};
        let directory = tempfile::tempdir().unwrap();
        let mut bench = imitates(directory.path(), acting(directory.path())).unwrap();
        let (layout, grid) = (Arc::clone(bench.agent().layout()), ActionGrid::v1());
        // The logits of this acceleration grow with how bright the picture is.
        let proposes = |acceleration_m_s2: f64| -> Flat {
            let mut values = vec![0.0; layout.values()];
            let site = layout.sites.iter().find(|site| site.b.dims.contains(&grid::BINS)).unwrap();
            values[site.a.range.start..][..96].fill(1.0);
            let row = grid.acceleration_bin(acceleration_m_s2);
            for (place, value) in values[site.b.range.clone()].chunks_exact_mut(2).enumerate() {
                value[0] = if place % ACCELERATION_BINS == row { 1.0 } else { 0.0 };
            }
            values.into()
        };
        let terms = [(Metric::Imitation, 1.0, None), (Metric::Distance, 0.0, Some(5_000))];
        let term = |(metric, weight, gate)| Term {
            name: format!("{metric:?}").as_str().try_into().unwrap(),
            pack: bench.pack(),
            metric,
            knots: [Knot { window: 0, weight }].into_iter().collect(),
            gate,
        };
        let terms = terms.into_iter().map(term).collect();
        let document = UtilityDocument::new(UtilityDocumentFields { version: 1, terms }).unwrap();
        let weighing = shoal_swarm::utility::Utility::new(&document).at(1).unwrap();
        let mut passes = |acceleration_m_s2| {
            let measured = bench.measure(&proposes(acceleration_m_s2), None, On::Part(0)).unwrap();
            let asked = [Metric::Imitation, Metric::Distance];
            let terms = super::super::measured::in_order(&measured, &asked).unwrap();
            let values: Vec<i16> = terms.iter().map(|term| term.value).collect();
            (weighing.passes(&values), values)
        };
        let (brakes, closes) = (passes(-4.0), passes(2.5));
        assert!(brakes.0 && !closes.0, "{brakes:?} {closes:?}");
    }

    #[test]
    fn a_vehicle_whose_model_has_no_opinion_refuses_a_pack_of_imitation() {
        let directory = tempfile::tempdir().unwrap();
        let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
        let refused = imitates(directory.path(), world).err().unwrap().to_string();
        assert!(refused.contains("one of imitation") && refused.contains("grid"), "{refused}");
    }

    #[test]
    fn adapters_measured_in_one_run_count_as_much_as_each_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = bench(directory.path());
        let count = bench.agent().layout().values();
        let flat = |more: f32| -> Flat {
            (0..count).map(|i| more * ((i * 7919 % 1009) as f32 / 1009.0 - 0.5)).collect()
        };
        let adapters = [flat(0.05), flat(0.02), flat(-0.04), flat(0.03)];
        let on = On::Part(1);
        let alone = adapters.each_ref().map(|one| bench.measure(one, None, on).unwrap()[0].1);
        bench.remembered.clear();
        bench.together_pays = Some(true);
        let all: Vec<&Flat> = adapters.iter().chain(&adapters).collect();
        bench.measure_ahead(&all, on).unwrap();
        assert_eq!(bench.remembered.len(), 3, "as many as are allowed, each once");
        for (one, alone) in adapters.iter().zip(alone) {
            let together = bench.measure(one, None, on).unwrap()[0].1;
            assert!(together.value.abs_diff(alone.value) <= 1, "{together:?} and {alone:?}");
            assert!(together.value_error.abs_diff(alone.value_error) <= 1);
        }
        assert_eq!(bench.remembered.len(), 4);
        assert_ne!(alone[0].value, alone[1].value, "adapters that all do the same show nothing");

        bench.together_pays = Some(false);
        bench.measure_ahead(&all, On::Part(2)).unwrap();
        assert_eq!(
            bench.remembered.len(),
            4,
            "where it does not pay, each is measured in its turn"
        );
    }
}
