//! `shoal model warm`: all that a vehicle loads is loaded ahead of it, so that nothing is built at the first frame.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::compare::apart;
use shoal_runtime::engine::{Engine, EngineError, Kept, LoadOptions, Providers, Session};
use shoal_runtime::onnx::Model;
use shoal_runtime::onnx::fold::fold;
use shoal_shadow::batch::Mix;
use shoal_shadow::fit::{FitError, graft_package, load_policy, load_predictor, profile_of};
use shoal_shadow::package::Package;
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions, TuneOptions, Tuner};
use shoal_vehicle::agent::{CLIPS_AT_ONCE, LESSONS_A_CLIP};

use super::open::Axes;
use crate::EngineArgs;
use crate::output::{Failure, Outcome, Progress, clock, json};

/// Load all graphs that a vehicle loads of a package, run each, and say which nodes went to which provider.
///
/// TensorRT builds
/// its engines then, which takes minutes, and keeps them in --cache; a vehicle with the same cache, driver and device finds
/// them there.
///
/// Example: shoal model warm models/world --providers tensorrt,cuda,cpu --cache vehicle-0.state/engines
#[derive(Args)]
pub(crate) struct Warm {
    /// The package, or an ONNX file
    model: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    axes: Axes,
    /// Runs of each graph; their median time is told
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Run each graph on the processor as well, on the same drawn inputs, and say how far apart they are
    #[arg(long)]
    compare: bool,
    /// Machine-readable, every node with its provider
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; docs/schemas/warm.schema.json describes it.
#[derive(Serialize)]
struct Report {
    schema: u32,
    model: String,
    engine: String,
    graphs: Vec<Graph>,
    /// Graphs that the package has no use for, or its providers no way, and why.
    left_out: BTreeMap<&'static str, String>,
    failed: BTreeMap<&'static str, String>,
}

/// One graph that was loaded.
#[derive(Clone, Serialize)]
struct Graph {
    name: &'static str,
    providers: BTreeMap<String, usize>,
    /// Whether runs are one CUDA graph.
    replays: bool,
    /// Seconds of loading, building included.
    load_s: f64,
    /// Median of the runs, in ms.
    run_ms: f64,
    /// Where what was built is kept.
    kept: Option<PathBuf>,
    /// Whether it was there before.
    was_kept: bool,
    /// Of each output, the greatest difference to the processor's, over its greatest value.
    apart: Option<BTreeMap<String, f64>>,
    nodes: Vec<Node>,
}

#[derive(Clone, Serialize)]
struct Node {
    node: String,
    operator: String,
    provider: String,
}

impl Warm {
    pub(crate) fn run(self) -> Outcome {
        let engine = self.engine.open()?;
        let beside = EngineArgs {
            providers: Providers::default(),
            fp16: false,
            cuda_graphs: false,
            ..self.engine.clone()
        };
        let beside = self.compare.then(|| beside.open()).transpose()?;
        let watched = Watched {
            engine: &*engine,
            beside: beside.as_deref(),
            runs: self.runs,
            name: Mutex::new(""),
            graphs: Mutex::new(Vec::new()),
            shown: Mutex::new(Shown { progress: Progress::new(), done: 0, all: 1 }),
        };
        let mut report = Report {
            schema: 1,
            model: self.model.display().to_string(),
            engine: engine.describe(),
            graphs: Vec::new(),
            left_out: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        if self.model.is_dir() {
            if self.axes.has_dims() {
                return Err("the axes of a package are known: --dim is for a bare ONNX file".into());
            }
            self.package(&watched, &mut report)?;
        } else {
            let (_model, opened) = self.axes.open(&self.model)?;
            let options = LoadOptions { threads: self.engine.threads(), ..LoadOptions::default() };
            let loaded = watched.graph("inference", || {
                let _session = watched.load(&opened.folded.model, &options)?;
                Ok(())
            });
            report.note("inference", loaded);
        }
        report.graphs = watched.graphs.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.json {
            json(&report)?;
        } else {
            report.print();
        }
        match report.failed.iter().next() {
            None => Ok(()),
            Some((name, why)) => Err(format!("{name}: {why}").into()),
        }
    }

    /// Loads what the agent loads: on the road, to measure a night, and to tune in it.
    fn package(&self, watched: &Watched<'_>, report: &mut Report) -> Result<(), Failure> {
        let package = Package::open(&self.model)?;
        let (description, threads) = (package.description(), self.engine.threads());
        let model = Model::read(&package.model_path())?;
        let layout = match graft_package(&model, description, 1, profile_of(watched)) {
            Ok(grafted) => Some(grafted.layout),
            Err(why) => {
                report.left_out.insert("adapted", why.to_string());
                None
            }
        };
        let adapter = layout.map(|layout| Adapter::start(layout, 0));
        let loads = |name: &'static str, adapter: Option<&Adapter>, batch: usize| {
            watched.graph(name, || {
                // As the agent: what foresees is asked for frames, also where it acts.
                if description.foresees() {
                    drop(load_predictor(&model, description, watched, threads, adapter, batch)?);
                } else {
                    drop(load_policy(&model, description, watched, threads, adapter)?);
                }
                Ok(())
            })
        };
        if !description.foresees() && !description.acts() {
            return Err(
                "a vehicle carries a package that foresees frames or acts on the grid".into()
            );
        }
        let measures = adapter.is_some() && description.foresees();
        // For inference and for training; with an adapter, and to measure that.
        watched.expect(2 + u64::from(adapter.is_some()) + u64::from(measures));
        report.note("inference", loads("inference", None, 1));
        if let Some(adapter) = &adapter {
            report.note("adapted", loads("adapted", Some(adapter), 1));
            if description.foresees() {
                report.note("measuring", loads("measuring", Some(adapter), CLIPS_AT_ONCE));
            }
        }
        let samples = self.axes.batch().unwrap_or(Mix::RECIPE_R.samples());
        let training = watched.graph(TRAINING, || {
            let steps = StepOptions { threads, ..StepOptions::default() };
            if description.foresees() {
                let mix = Mix::of(samples);
                let options = TuneOptions { mix, steps, ..TuneOptions::default() };
                drop(Tuner::new(&model, description, watched, adapter.as_ref(), &options)?);
            } else {
                let samples = samples.saturating_mul(LESSONS_A_CLIP);
                let options = PolicyTuneOptions { samples, pull: None, steps };
                drop(PolicyTuner::new(&model, description, watched, adapter.as_ref(), &options)?);
            }
            Ok(())
        });
        report.note(TRAINING, training);
        Ok(())
    }
}

/// The graph that tunes.
const TRAINING: &str = "training";

impl Report {
    /// How loading a graph ended: training that the package has no graph for is left out, all else has failed.
    fn note(&mut self, name: &'static str, loaded: Result<(), FitError>) {
        let Err(why) = loaded else { return };
        let unfit = name == TRAINING && !matches!(why, FitError::Engine(_));
        let place = if unfit { &mut self.left_out } else { &mut self.failed };
        place.insert(name, Failure::from(why).to_string());
    }

    fn print(&self) {
        println!("{} on {}", self.model, self.engine);
        for graph in &self.graphs {
            let Graph { name, load_s, run_ms, .. } = graph;
            let replayed = if graph.replays { ", replayed" } else { "" };
            println!("{name}: loaded in {load_s:.1} s, {run_ms:.2} ms a run{replayed}");
            for (provider, count) in &graph.providers {
                let of = |node: &&Node| node.provider == *provider;
                let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
                for node in graph.nodes.iter().filter(of) {
                    let seen = operators.entry(&node.operator).or_default();
                    *seen = seen.saturating_add(1);
                }
                let operators: Vec<String> =
                    operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
                println!("  {provider:28} {count:5} nodes: {}", operators.join(", "));
            }
            if let Some(kept) = &graph.kept {
                let was = if graph.was_kept { "kept before" } else { "built and kept" };
                println!("  {was} in {}", kept.display());
            }
            for (output, apart) in graph.apart.iter().flatten() {
                println!("  {output}: {apart:.1e} from the processor's");
            }
        }
        for (name, why) in &self.left_out {
            println!("{name}: none: {why}");
        }
    }
}

/// An engine that notes what it loads.
struct Watched<'a> {
    engine: &'a dyn Engine,
    beside: Option<&'a dyn Engine>,
    runs: u32,
    name: Mutex<&'static str>,
    graphs: Mutex<Vec<Graph>>,
    shown: Mutex<Shown>,
}

/// Which of how many graphs is loaded, as it is shown.
struct Shown {
    progress: Progress,
    done: u64,
    all: u64,
}

impl Shown {
    /// Shows that a graph is loaded by now, or has been for so long.
    fn loading(&mut self, name: &str, spent: Duration) {
        self.progress.show(self.done, self.all, said(name, spent, None));
    }

    /// Shows that a graph is loaded, or is not to be.
    fn done(&mut self, name: &str, spent: Duration, is_loaded: bool) {
        self.done = self.done.saturating_add(1).min(self.all);
        self.progress.show_now(self.done, self.all, said(name, spent, Some(is_loaded)));
    }
}

/// What is shown behind the count of graphs.
fn said(name: &str, spent: Duration, is_loaded: Option<bool>) -> String {
    let how = match is_loaded {
        None => "loading for",
        Some(true) => "loaded and run in",
        Some(false) => "not loaded, after",
    };
    format!("graphs, {name}: {how} {}", clock(spent))
}

impl Watched<'_> {
    /// Tells how many graphs there are.
    fn expect(&self, all: u64) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).all = all;
    }

    /// Does what loads the graph of this name, and says on standard error which of all it is and how long it has taken so far.
    fn graph(
        &self,
        name: &'static str,
        load: impl FnOnce() -> Result<(), FitError>,
    ) -> Result<(), FitError> {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        let (loaded, wait) = channel::<bool>();
        let begun = now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.loading(name, begun.elapsed());
                let is_loaded = loop {
                    match wait.recv_timeout(SHOWN) {
                        Err(RecvTimeoutError::Timeout) => shown.loading(name, begun.elapsed()),
                        Err(RecvTimeoutError::Disconnected) => break false,
                        Ok(is_loaded) => break is_loaded,
                    }
                };
                shown.done(name, begun.elapsed(), is_loaded);
            });
            let done = load();
            // Who shows it waits for it.
            let _shown = loaded.send(done.is_ok());
            done
        })
    }

    fn tried(
        &self,
        model: &Model,
        session: &mut dyn Session,
        options: &LoadOptions,
    ) -> Result<(f64, Option<BTreeMap<String, f64>>), EngineError> {
        let mut times = Vec::new();
        for _run in 0..self.runs {
            let begun = now();
            session.run()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        let folded = fold(model).ok().filter(|_| self.beside.is_some());
        let apart = match (self.beside, folded) {
            (Some(beside), Some(folded)) => {
                let mut other = beside.load(model, options)?;
                Some(apart(&folded, session, &mut *other, 0)?)
            }
            (None, _) | (_, None) => None,
        };
        Ok((median, apart))
    }
}

/// How often a wait is shown.
const SHOWN: Duration = Duration::from_secs(1);

impl Engine for Watched<'_> {
    fn trains_on_device(&self) -> bool {
        self.engine.trains_on_device()
    }

    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn kept(&self, model: &Model, options: &LoadOptions) -> Result<Option<Kept>, EngineError> {
        self.engine.kept(model, options)
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let kept = self.kept(model, options)?;
        let begun = now();
        let mut session = self.engine.load(model, options)?;
        let load_s = begun.elapsed().as_secs_f64();
        let (run_ms, apart) = self.tried(model, &mut *session, options)?;
        let proven = session.proven();
        let providers = proven.count_by_provider().into_iter();
        let nodes = proven.nodes.iter().map(|placed| Node {
            node: placed.node.clone(),
            operator: placed.operator.clone(),
            provider: placed.provider.clone(),
        });
        let graph = Graph {
            name: *self.name.lock().unwrap_or_else(PoisonError::into_inner),
            providers: providers.map(|(name, count)| (name.to_owned(), count)).collect(),
            replays: proven.replays,
            load_s,
            run_ms,
            was_kept: kept.as_ref().is_some_and(|kept| kept.is_there),
            kept: kept.map(|kept| kept.folder),
            apart,
            nodes: nodes.collect(),
        };
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner).push(graph);
        Ok(session)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an engine takes is what is told")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_shown_with_its_name_and_how_long_it_has_taken() {
        let spent = Duration::from_secs(65);
        let of = |is_loaded| said("training", spent, is_loaded);
        assert_eq!(of(None), "graphs, training: loading for 1:05");
        assert_eq!(of(Some(true)), "graphs, training: loaded and run in 1:05");
        assert_eq!(of(Some(false)), "graphs, training: not loaded, after 1:05");
    }
}
