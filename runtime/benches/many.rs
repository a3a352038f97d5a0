//! What several adapters in one run save against a run each.
//!
//! ```text
//! cargo bench --profile dev -p shoal-runtime --bench many -- MODEL.onnx [all|half|GLOB,…] [BATCH [ROUNDS]]
//! ```
//!
//! One model in one process, grafted (rank 8, α 16) at all its sites, at those behind the half of its work (`half`: found by
//! timing: the sites from which on half of a run's time is left), or at those that match the globs. For K = 1, 2, 4, 8, 16 adapters a round runs
//! one graph of K, the grafted graph K times, and K models with their adapters baked in once each, one after the other, in alternating order; a
//! sample is the CPU time of this thread. Prints a line of JSON for each K: medians over the rounds, and
//! the ratios of the K runs to the one. Outputs are compared first.
#![expect(unsafe_code, reason = "CPU time is asked of the system")]
#![expect(clippy::print_stdout, reason = "the result is a line on standard output")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::bake::bake;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::noise;
use shoal_runtime::engine::{Engine, LoadOptions, Session};
use shoal_runtime::graft::{GraftOptions, Grafted, graft, graft_to_run, sites};
use shoal_runtime::many::{ManyFactors, many_adapters};
use shoal_runtime::onnx::{Element, Folded, Model, PinOptions, fold, pin};

type Failure = Box<dyn Error>;

const ROUNDS: usize = 15;
const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];

fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test` add flags of their own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let Some(path) = arguments.first() else {
        println!("{{\"bench\":\"many\",\"skipped\":\"no model named\"}}");
        return Ok(());
    };
    let which = arguments.get(1).map_or("all", String::as_str);
    let batch = arguments.get(2).map_or(Ok(1), |text| text.parse())?;
    let rounds = arguments.get(3).map_or(Ok(ROUNDS), |text| text.parse())?;
    let engine = Ort::load_library(None)?;
    let model = Model::read(Path::new(path))?;
    let pinned = pin(&model, &PinOptions { batch: Some(batch), ..PinOptions::default() })?;
    let folded = fold(&pinned)?;
    let targets = match which {
        "all" => Vec::new(),
        "half" => behind_half(&engine, &folded)?,
        globs => globs.split(',').map(str::to_owned).collect(),
    };
    let options = GraftOptions { targets, ..GraftOptions::default() };
    let (grafted, to_run) = (graft(&folded, &options)?, graft_to_run(&folded, &options)?);
    for count in COUNTS {
        let mut bench = Bench::new(&engine, &pinned, (&grafted, &to_run), count)?;
        bench.compare()?;
        let samples = bench.samples(rounds)?;
        let [one, grafted_runs, baked_runs] =
            [0, 1, 2].map(|side| 1e3 * median(samples.iter().map(|s: &[f64; 3]| s[side])));
        let result = serde_json::json!({
            "bench": "many", "model": path, "engine": engine.describe(), "sites": which,
            "sites_count": grafted.layout.sites.len(), "batch": batch, "adapters": count,
            "shared_nodes": bench.shared_nodes, "single_nodes": bench.single_nodes,
            "cpu_ms": { "together": one, "grafted_runs": grafted_runs, "baked_runs": baked_runs },
            "ratio_grafted": grafted_runs / one, "ratio_baked": baked_runs / one,
        });
        println!("{result}");
    }
    Ok(())
}

/// The sites behind half of the time of a run: with all nodes before a site cut off, half of it is left.
fn behind_half(engine: &dyn Engine, folded: &Folded) -> Result<Vec<String>, Failure> {
    let all = sites(folded);
    let whole = time(engine, &folded.model)?;
    let mut best = (f64::INFINITY, 0);
    for (number, site) in all.iter().enumerate() {
        // The graph up to what the site makes.
        let mut head = folded.clone();
        let graph = head.model.graph_mut();
        let first = &site.nodes[0];
        graph.node.truncate(first.index + 1);
        graph.output = vec![folded.types[&first.output].to_value_info(&first.output)];
        let off = (time(engine, &head.model)? / whole - 0.5).abs();
        if off < best.0 {
            best = (off, number);
        }
    }
    Ok(all[best.1..].iter().map(|site| site.name.clone()).collect())
}

/// CPU seconds of some runs.
fn time(engine: &dyn Engine, model: &Model) -> Result<f64, Failure> {
    let mut session = engine.load(model, &LoadOptions::default())?;
    fill(&mut *session)?;
    let mut samples = Vec::new();
    for _ in 0..7 {
        let start = cpu_s()?;
        for _ in 0..4 {
            session.run()?;
        }
        samples.push(cpu_s()? - start);
    }
    Ok(median(samples.into_iter()))
}

struct Bench {
    together: Box<dyn Session>,
    /// The adapter of the last run is in it: each run writes its own.
    single: Box<dyn Session>,
    baked: Vec<Box<dyn Session>>,
    factors: ManyFactors,
    alone: ManyFactors,
    adapters: Vec<Adapter>,
    shared_nodes: usize,
    single_nodes: usize,
    shared_outputs: Vec<String>,
}

impl Bench {
    fn new(
        engine: &dyn Engine,
        pinned: &Model,
        (grafted, to_run): (&Grafted, &Grafted),
        count: usize,
    ) -> Result<Self, Failure> {
        let k = NonZeroUsize::new(count).ok_or("no adapters")?;
        let layout = &grafted.layout;
        let adapters = (0..count).map(|place| {
            let values = noise(place, layout.values()).iter().map(|v| v * 0.02).collect();
            Adapter::from_values(layout.clone(), values)
        });
        let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
        let options = LoadOptions::default();
        let many = many_adapters(to_run, k)?;
        let mut together = engine.load(&many.folded.model, &options)?;
        let mut single = engine.load(&grafted.folded.model, &options)?;
        fill(&mut *together)?;
        fill(&mut *single)?;
        let mut baked = Vec::new();
        for adapter in &adapters {
            let folded = fold(&bake(pinned, adapter)?)?;
            let mut session = engine.load(&folded.model, &options)?;
            fill(&mut *session)?;
            baked.push(session);
        }
        let factors = ManyFactors::new(&*together, layout, k)?;
        let alone = ManyFactors::new(&*single, layout, NonZeroUsize::MIN)?;
        let (shared_nodes, single_nodes) = (many.shared_nodes, many.single_nodes.len());
        let shared_outputs = many.shared_outputs;
        let mut bench = Bench {
            together,
            single,
            baked,
            factors,
            alone,
            adapters,
            shared_nodes,
            single_nodes,
            shared_outputs,
        };
        let values: Vec<&[f32]> = bench.adapters.iter().map(Adapter::values).collect();
        bench.factors.write(&mut *bench.together, &values)?;
        Ok(bench)
    }

    /// A comparison of different results would mean nothing.
    fn compare(&mut self) -> Result<(), Failure> {
        self.together.run()?;
        for (place, adapter) in self.adapters.iter().enumerate() {
            self.alone.write(&mut *self.single, &[adapter.values()])?;
            self.single.run()?;
            for (index, port) in self.single.outputs().iter().enumerate() {
                if port.ty.element != Element::F32 || self.shared_outputs.contains(&port.name) {
                    continue;
                }
                let (want, got) =
                    (self.single.output_f32(index)?, self.together.output_f32(index)?);
                let got = &got[place * want.len()..][..want.len()];
                let largest = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
                let apart = want.iter().zip(got).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                if apart.is_nan() || apart > 1e-4 * largest {
                    return Err(format!("`{}` differs by {apart} of {largest}", port.name).into());
                }
            }
        }
        Ok(())
    }

    fn samples(&mut self, rounds: usize) -> Result<Vec<[f64; 3]>, Failure> {
        let mut samples = Vec::with_capacity(rounds);
        for round in 0..rounds + 2 {
            let mut sample = [0.0; 3];
            for step in 0..3 {
                let side = (round + step) % 3;
                let start = cpu_s()?;
                match side {
                    0 => self.together.run()?,
                    1 => {
                        for adapter in &self.adapters {
                            self.alone.write(&mut *self.single, &[adapter.values()])?;
                            self.single.run()?;
                        }
                    }
                    _ => self.baked.iter_mut().try_for_each(|session| session.run())?,
                }
                sample[side] = cpu_s()? - start;
            }
            // The first two warm up.
            if round > 1 {
                samples.push(sample);
            }
        }
        Ok(samples)
    }
}

/// Values in [0, 1] for float inputs; zeros for others, which every vocabulary has.
fn fill(session: &mut dyn Session) -> Result<(), Failure> {
    for index in 0..session.inputs().len() {
        let port = &session.inputs()[index];
        if port.ty.element == Element::F32 {
            let values: Vec<f32> = noise(1, port.ty.values()).iter().map(|v| v.abs()).collect();
            session.write_f32(index, &values)?;
        }
    }
    Ok(())
}

/// CPU time of this thread, seconds, to the nanosecond: the user's share alone is counted in ticks on some systems.
fn cpu_s() -> Result<f64, Failure> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the time that it is given.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
