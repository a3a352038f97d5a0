//! What a vehicle measures, codes and tunes with when others ask: its engine, the fleet's pack and its own roads.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use sha2::{Digest, Sha256};
use shoal_runtime::adapter::{Adapter, AdapterError};
use shoal_runtime::graft::Profile;
use shoal_shadow::clip::{Clips, Frames};
use shoal_shadow::fit::profile_of;
use shoal_shadow::measure::driving::{DrivingMetric, driving_together};
use shoal_shadow::measure::imitation::{ActedRun, DriveActs, judged};
use shoal_shadow::measure::policy::PolicyPredictor;
use shoal_shadow::measure::{
    DriveClips, Horizon, MeasureError, Measurement, Predictor, SessionPredictor, measure,
    measure_together,
};
use shoal_shadow::pack::{Metric, Pack, ReadPackError};
use shoal_swarm::swarm::{Flat, On, TermResult, ValuesHash};
use shoal_wire::v1::Metric as By;
use shoal_wire::{ModelHash, PackHash};
use tracing::{info, warn};

use super::measured::{self, Asked, Terms, asked_as, term};
use super::metrics::Metrics;
use crate::agent::{Agent, AgentError, Learning, Roads, Tell};

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
    /// A pack holds no frames.
    #[error("the evaluation pack {id} holds no frames")]
    EmptyPack {
        /// Its name.
        id: String,
    },
    /// None of a pack's drives is counted.
    #[error(
        "no drive of the evaluation pack {id} moves enough to be counted ('nothing moves' is above 33 dB on each): stage another"
    )]
    Uncounted {
        /// Its name.
        id: String,
    },
    /// There is none.
    #[error("a vehicle of a fleet measures on an evaluation pack, and has none")]
    NoPack,
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

/// One adapter on a part of a pack, or on the vehicle's own roads, by metrics none of which is a gain.
type Measured = Vec<(By, Measurement)>;

/// What was measured: an adapter, on which part of the pack of this number, or of the first pack's kind on the own roads.
type Key = (ValuesHash, usize, On);

/// A vehicle's engine with what it measures on.
pub struct Bench {
    agent: Agent,
    packs: Vec<Pack>,
    remembered: VecDeque<(Key, Measured)>,
    /// Whether so many adapters in one run are quicker than one after the other, of what was timed.
    together_pays: Vec<(Metric, usize, bool)>,
    /// Counts spans that could not be read back.
    unreadable: Counter,
}

impl Bench {
    /// A bench of this agent and the evaluation packs in these directories; what the first is of is what the vehicle's own roads are
    /// measured by.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn open(agent: Agent, packs: &[PathBuf]) -> Result<Self, BenchError> {
        let packs = packs.iter().map(|pack| Pack::open(pack)).collect::<Result<Vec<_>, _>>()?;
        if packs.is_empty() {
            return Err(BenchError::NoPack);
        }
        for pack in &packs {
            pack.check_lengths()?;
            if pack.parts().is_empty() {
                return Err(BenchError::EmptyPack { id: pack.manifest().id.clone() });
            }
            if !pack.is_counted()? {
                return Err(BenchError::Uncounted { id: pack.manifest().id.clone() });
            }
            let metric = pack.manifest().metric;
            match metric {
                Metric::Skill if agent.foresees() => {}
                Metric::Skill => return Err(BenchError::NoForesight { metric: metric.name() }),
                Metric::Imitation if agent.acts() => {}
                Metric::Imitation => return Err(BenchError::NoPolicy { metric: metric.name() }),
            }
        }
        let (remembered, unreadable) = (VecDeque::new(), Counter::default());
        Ok(Bench { agent, packs, remembered, together_pays: Vec::new(), unreadable })
    }

    /// The same, which tells these metrics of spans that cannot be read back.
    #[must_use]
    pub fn counting(self, metrics: &Metrics) -> Self {
        Bench { unreadable: metrics.replay_unreadable.clone(), ..self }
    }

    /// The agent, given back.
    pub fn into_agent(self) -> Agent {
        self.agent
    }

    /// The agent.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// What a utility document may ask for on the packs; first what the first is of.
    pub fn measures(&self) -> Vec<Asked> {
        let of = |pack: &Pack| {
            let hash = PackHash::new(pack.sha256());
            measured::metrics(pack.manifest()).into_iter().map(move |metric| (hash, metric))
        };
        self.packs.iter().flat_map(of).collect()
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

    /// An adapter by each of these metrics, beside another one on the same clips; those of which there is nothing to measure on are
    /// left out. By what the pack is of where none is asked for, and on the vehicle's own roads.
    ///
    /// # Errors
    /// [`BenchError`]: it could not be measured.
    pub fn measure(
        &mut self,
        candidate: &Flat,
        beside: Option<&Flat>,
        on: On,
        asked: &[Asked],
    ) -> Result<Terms, BenchError> {
        let mut terms = Terms::new();
        for (number, metrics) in self.by_pack(asked, on) {
            let hash = self.hash(number);
            let told = self.measure_on((number, on), candidate, beside, &metrics)?;
            terms.extend(told.into_iter().map(|(metric, term)| ((hash, metric), term)));
        }
        Ok(terms)
    }

    /// Numbers of the packs that something is asked on, and what; by what the first is of where nothing is asked for, and on the
    /// vehicle's own roads. A policy by what it gains at imitation: what ships is beyond the end of that scale (docs/decisions/0092).
    fn by_pack(&self, asked: &[Asked], on: On) -> Vec<(usize, Vec<By>)> {
        if asked.is_empty() || on == On::Own {
            let usual = self.measures().into_iter().take(1).map(|(_pack, metric)| metric);
            let gained = |of| if of == By::Imitation { By::ImitationGain } else { of };
            return vec![(0, usual.map(gained).collect())];
        }
        let of_pack = |number| {
            let hash = self.hash(number);
            let asked = asked.iter().filter(|(pack, _)| *pack == hash);
            (number, asked.map(|(_pack, metric)| *metric).collect::<Vec<By>>())
        };
        let all = (0..self.packs.len()).map(of_pack);
        all.filter(|(_number, metrics)| !metrics.is_empty()).collect()
    }

    /// The same on one pack.
    fn measure_on(
        &mut self,
        place: (usize, On),
        candidate: &Flat,
        beside: Option<&Flat>,
        metrics: &[By],
    ) -> Result<Vec<(By, TermResult)>, BenchError> {
        let far = looks_far(metrics);
        let candidate = self.measured(candidate, place, far)?;
        let beside = beside.map(|beside| self.measured(beside, place, far)).transpose()?;
        let shipped = if metrics.iter().any(|of| measured::gain_in(*of).is_some()) {
            // An adapter of zeros changes nothing.
            let zeros = vec![0.0; self.agent.layout().values()];
            self.measured(&zeros.into(), place, far)?
        } else {
            Measured::new()
        };
        let told = |measured: &Measured, metric: By| {
            let plain = measured::gain_in(metric);
            let of = |all: &Measured| {
                let found = all.iter().find(|(other, _)| *other == plain.unwrap_or(metric));
                found.map(|(_metric, measured)| measured.clone())
            };
            let own = of(measured)?;
            Some(if plain.is_some() { own.gain_over(&of(&shipped)?) } else { own })
        };
        let terms = metrics.iter().filter_map(|&metric| {
            let beside = beside.as_ref().and_then(|beside| told(beside, metric));
            Some((metric, term(&told(&candidate, metric)?, beside.as_ref())?))
        });
        Ok(terms.collect())
    }

    fn hash(&self, pack: usize) -> PackHash {
        PackHash::new(self.packs[pack].sha256())
    }

    /// Measures adapters on the same, as many in one run as the vehicle's configuration allows, where that takes less time than
    /// one after the other; what is measured is remembered for [`Bench::measure`]. The two differ by the rounding of the
    /// engine, about 1e-6 of an error: a hundredth of the steps in which a term is told.
    ///
    /// # Errors
    /// [`BenchError`]: one of them could not be measured. Each may be by itself.
    pub fn measure_ahead(
        &mut self,
        asked: &[&Flat],
        on: On,
        by: &[Asked],
    ) -> Result<(), BenchError> {
        for (number, metrics) in self.by_pack(by, on) {
            match self.packs[number].manifest().metric {
                // What is foreseen of what was foreseen is so adapter by adapter.
                Metric::Skill if looks_far(&metrics) => {}
                Metric::Skill | Metric::Imitation => self.together(asked, (number, on))?,
            }
        }
        Ok(())
    }

    fn together(&mut self, asked: &[&Flat], place: (usize, On)) -> Result<(), BenchError> {
        let most = self.agent.config().engine.together;
        let mut wanted: Vec<(ValuesHash, &Flat)> = Vec::new();
        for values in asked {
            let hash = ValuesHash::of(values);
            let key = (hash, place.0, place.1);
            let is_known = self.remembered.iter().any(|(other, _)| *other == key)
                || wanted.iter().any(|(other, _)| *other == hash);
            if !is_known && wanted.len() < most {
                wanted.push((hash, values));
            }
        }
        // Every number of adapters is another graph, and there an engine to build for minutes.
        let builds = profile_of(self.agent.runs_on().0) == Profile::TensorRt;
        if wanted.len() < 2 || builds {
            return Ok(());
        }
        let adapters = wanted.iter().map(|(_, values)| self.adapter(values));
        let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        let (metric, count) = (self.packs[place.0].manifest().metric, adapters.len());
        let pays = self.pays(metric, count);
        if pays == Some(false) {
            return Ok(());
        }
        let measured: Vec<Measured> = match metric {
            Metric::Skill => {
                let mut many = self.agent.predictor_of_many(&adapters, BATCH)?;
                if pays.is_none() {
                    let mut one = self.agent.predictor(Some(adapters[0]), BATCH)?;
                    let times = (foreseen_in(&mut many)?, foreseen_in(&mut one)?);
                    if !self.timed(metric, count, times) {
                        return Ok(());
                    }
                }
                let measured = self.on(place, |clips| measure_together(&mut many, clips))?;
                measured.into_iter().map(|measured| vec![(By::Skill, measured)]).collect()
            }
            Metric::Imitation => {
                let mut many = self.agent.policy_of_many(&adapters)?;
                if pays.is_none() {
                    let mut one = self.agent.policy(Some(adapters[0]))?;
                    let times = (acted_in(&mut many)?, acted_in(&mut one)?);
                    if !self.timed(metric, count, times) {
                        return Ok(());
                    }
                }
                self.driven(&mut many, place)?
            }
        };
        for ((hash, _), measured) in wanted.into_iter().zip(measured) {
            self.remember((hash, place.0, place.1), measured);
        }
        Ok(())
    }

    /// Whether a run of so many adapters is quicker than as many runs of one; `None`: nobody has timed it yet. What is quicker with
    /// some is so with more, what they share being computed once.
    fn pays(&self, metric: Metric, count: usize) -> Option<bool> {
        let tells = |(of, timed, pays): &&(Metric, usize, bool)| {
            *of == metric && if *pays { *timed <= count } else { *timed >= count }
        };
        self.together_pays.iter().find(tells).map(|(.., pays)| *pays)
    }

    /// Remembers it of what was timed here, with so many and with one: an engine's kernels decide that.
    fn timed(&mut self, metric: Metric, count: usize, times: (Duration, Duration)) -> bool {
        let (together_ms, single_ms) = (times.0.as_secs_f64() * 1e3, times.1.as_secs_f64() * 1e3);
        let pays = together_ms < single_ms * count as f64;
        let of = metric.name();
        info!(of, count, together_ms, single_ms, pays, "adapters measured in one run");
        self.together_pays.push((metric, count, pays));
        pays
    }

    /// By all that is no gain; by roll-outs if it is to look `far`, which takes as long as four more.
    fn measured(
        &mut self,
        values: &Flat,
        place: (usize, On),
        far: bool,
    ) -> Result<Measured, BenchError> {
        let key = (ValuesHash::of(values), place.0, place.1);
        let is_told = |all: &Measured| !far || all.iter().any(|(of, _)| *of == By::Rollout);
        let known = self.remembered.iter().find(|(other, known)| *other == key && is_told(known));
        if let Some((_key, known)) = known {
            return Ok(known.clone());
        }
        let adapter = self.adapter(values)?;
        let measured = match self.packs[place.0].manifest().metric {
            Metric::Skill => {
                let mut predictor = self.agent.predictor(Some(&adapter), BATCH)?;
                let horizon = if far { Horizon::NextAndRollout } else { Horizon::Next };
                let measured = self.on(place, |clips| measure(&mut predictor, clips, horizon))?;
                let rollouts = far.then(|| (By::Rollout, measured.of_rollouts()));
                std::iter::once((By::Skill, measured)).chain(rollouts).collect()
            }
            Metric::Imitation => {
                self.driven(&mut self.agent.policy(Some(&adapter))?, place)?.swap_remove(0)
            }
        };
        self.remember(key, measured.clone());
        Ok(measured)
    }

    /// What the policy proposes with each of its adapters; on the vehicle's own roads, how near it is to the driver.
    fn driven(
        &mut self,
        policy: &mut PolicyPredictor,
        (pack, on): (usize, On),
    ) -> Result<Vec<Measured>, BenchError> {
        let (measured, metrics) = match on {
            On::Part(part) => {
                let footages = self.packs[pack].read_turn(usize::from(part))?;
                let metrics = self.packs[pack].manifest().driving();
                (driving_together(policy, &footages.acts(), &metrics), metrics)
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
                (driving_together(policy, &[own], &metrics), metrics)
            }
        };
        let measured = measured.map_err(AgentError::from)?;
        let metrics: Vec<By> = metrics.into_iter().map(asked_as).collect();
        Ok(measured.into_iter().map(|of| metrics.iter().copied().zip(of).collect()).collect())
    }

    /// Spans of the vehicle's own roads that nothing is tuned on.
    fn held_back(&mut self) -> Vec<Frames> {
        let context = self.agent.form().context;
        self.read_back(|frames| held_back(frames, context).unwrap_or(frames)..frames)
    }

    /// Reads replay back: of a span with so many frames those that are wanted.
    fn read_back(&mut self, wanted: impl Fn(u32) -> Range<u32>) -> Vec<Frames> {
        let unreadable = &self.unreadable;
        self.agent.remembered(wanted, &mut |tell| {
            if let Tell::Unreadable(error) = tell {
                unreadable.inc();
                warn!(%error, "a span is left out");
            }
        })
    }

    /// Gives what is measured on to a measurement.
    fn on<R>(
        &mut self,
        (pack, on): (usize, On),
        measure: impl FnOnce(&[DriveClips<'_>]) -> Result<R, MeasureError>,
    ) -> Result<R, BenchError> {
        let context = self.agent.form().context;
        let measured = match on {
            On::Part(part) => {
                let footages = self.packs[pack].read_turn(usize::from(part))?;
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

    fn remember(&mut self, key: Key, measured: Measured) {
        self.remembered.retain(|(other, _)| *other != key);
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, measured));
    }

    /// Reads back what is tuned on: what the vehicle remembers before what it holds back, and the footage that ships
    /// with the model.
    pub(super) fn roads(&mut self) -> Result<Roads, BenchError> {
        let context = self.agent.form().context;
        let spans = self.read_back(|frames| 0..held_back(frames, context).unwrap_or(frames));
        Ok(Roads { spans, footage: self.agent.footage()? })
    }

    /// A tuner that begins at these values, and its batches of these roads; `None` where there is nothing to learn from, or too
    /// little.
    pub(super) fn learning<'a>(
        &self,
        roads: &'a Roads,
        from: &Flat,
        seed: u64,
    ) -> Result<Option<Learning<'a>>, BenchError> {
        if self.agent.clips() < self.agent.config().night.clips_min {
            return Ok(None);
        }
        Ok(Learning::begin(&self.agent, roads, Some(&self.adapter(from)?), seed)?)
    }
}

/// Whether any of these wants roll-outs.
fn looks_far(metrics: &[By]) -> bool {
    metrics.iter().any(|of| measured::rolls_out(*of))
}

/// The time in which a frame is foreseen, of black ones.
fn foreseen_in(predictor: &mut SessionPredictor) -> Result<Duration, AgentError> {
    let form = predictor.form();
    let (frames, motion) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
    let mut next = vec![0.0; predictor.adapters() * form.shape.bytes()];
    quickest(|| Ok(predictor.predict(1, &frames, &motion, &mut next)?))
}

/// The time in which a policy acts on black frames.
fn acted_in(policy: &mut PolicyPredictor) -> Result<Duration, AgentError> {
    let form = policy.form();
    let (frames, motion) = (vec![0.0; form.frames_len()], vec![0.0; form.motion.len()]);
    quickest(|| Ok(policy.act(&frames, &motion).map(drop)?))
}

/// The quickest of some runs, after one that warms up.
#[expect(clippy::disallowed_methods, reason = "which of two ways is quicker is measured")]
fn quickest(mut run: impl FnMut() -> Result<(), AgentError>) -> Result<Duration, AgentError> {
    let mut quickest = Duration::MAX;
    run()?;
    for _ in 0..RUNS_TIMED {
        let begun = Instant::now();
        run()?;
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
pub(super) mod tests;
