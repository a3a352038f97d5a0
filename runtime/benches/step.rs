//! What a LoRA training step costs: time, processor, memory.
//!
//! ```text
//! cargo bench --profile dev -p shoal-runtime --bench step -- MODEL.onnx [BATCH [THREADS [STEPS]]] [key=value]…
//! ```
//!
//! The model is pinned, folded, grafted (rank 8, α 16) and differentiated with its default losses; a step is the graph, the norm of the gradients, AdamW, and the parameters written
//! back. Prints one line of JSON: medians over the steps after a warm-up, user CPU time of the whole
//! process (`getrusage`), and the highest resident memory above what was resident once the model was
//! loaded, beside what was planned, and how many nodes the graph has. Keys: `segments` = segments of the forward pass, recomputed on the way back; `arena`, `pattern`, `spin` = 0 | 1;
//! `targets` = globs on site names, comma between them (all sites without it); `providers` = those of ONNX Runtime, in order;
//! `graphs` = 1: CUDA replays its first run; `optimiser=host`: gradients and factors cross between host and accelerator.
#![expect(unsafe_code, reason = "user CPU time is asked of the system")]
#![expect(clippy::print_stdout, reason = "the result is a line on standard output")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::noise;
use shoal_runtime::engine::{
    Engine, EngineError, LoadOptions, Provider, Providers, Session, TensorPort,
};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate, peak_bytes, recompute};
use shoal_runtime::graft::{FACTOR, GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Element, Model, PinOptions, fold, pin};
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainOptions, Trainer};

type Failure = Box<dyn Error>;

const STEPS: usize = 50;
const WARM_UP: usize = 10;
const TARGETS: &str = "targets=";
const SEGMENTS: &str = "segments=";

fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test` add flags of their own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let (settings, arguments): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| argument.contains('='));
    let Some(path) = arguments.first() else {
        println!("{{\"bench\":\"step\",\"skipped\":\"no model named\"}}");
        return Ok(());
    };
    let batch = arguments.get(1).map(|text| text.parse()).transpose()?;
    let threads = arguments.get(2).map_or(Ok(NonZeroUsize::MIN), |text| text.parse())?;
    let steps = arguments.get(3).map_or(Ok(STEPS), |text| text.parse())?;
    let (targets, settings): (Vec<_>, Vec<_>) =
        settings.into_iter().partition(|setting| setting.starts_with(TARGETS));
    let targets: Vec<String> = targets
        .iter()
        .flat_map(|list| list[TARGETS.len()..].split(','))
        .map(String::from)
        .collect();
    let segments = settings.iter().find_map(|setting| setting.strip_prefix(SEGMENTS));
    let segments = segments.map_or(Ok(1), str::parse)?;
    let options = options(threads, &settings)?;

    let engine = Ort::load_library(None)?.with_providers(providers(&settings)?)?;
    let engine = Engines { engine, host: settings.iter().any(|one| one == "optimiser=host") };
    let Loaded { mut trainer, planned, nodes } =
        trainer(&engine, path, (batch, segments), targets, &options)?;
    // The high water mark begins anew: what loading took is not counted.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let loaded = resident_bytes("VmRSS:")?;
    let (mut wall, mut user, mut loss) = (Vec::new(), Vec::new(), f32::NAN);
    for step in 0..WARM_UP + steps {
        let (start, start_user) = (Instant::now(), user_s()?);
        loss = trainer.step()?.loss;
        if step >= WARM_UP {
            wall.push(start.elapsed().as_secs_f64());
            user.push(user_s()? - start_user);
        }
    }
    let result = serde_json::json!({
        "bench": "step",
        "model": path,
        "engine": engine.describe(),
        "threads": threads,
        "settings": settings,
        "steps": steps,
        "loss": loss,
        "parameters": trainer.parameters()?.map(|(_, values)| values.len()).sum::<usize>(),
        "user_ms": 1e3 * median(user),
        "wall_ms": 1e3 * median(wall),
        "loaded_bytes": loaded,
        "planned_bytes": planned,
        "nodes_forward": nodes.0,
        "nodes_in_all": nodes.1,
        "peak_above_loaded_bytes": resident_bytes("VmHWM:")?.saturating_sub(loaded),
    });
    println!("{result}");
    Ok(())
}

fn options(threads: NonZeroUsize, settings: &[String]) -> Result<LoadOptions, Failure> {
    let mut options = LoadOptions::training(threads);
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or("a setting is key=value")?;
        match key {
            "segments" | "providers" | "graphs" | "optimiser" => {}
            "arena" => options.arena = value == "1",
            "pattern" => options.memory_pattern = value == "1",
            "spin" => options.spin = value == "1",
            _ => options.entries.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(options)
}

/// ONNX Runtime, asked to train on the host wherever its memory is.
struct Engines {
    engine: Ort,
    host: bool,
}

impl Engine for Engines {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn load(&self, model: &Model, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.engine.load(model, options)
    }

    fn trains_on_device(&self) -> bool {
        self.engine.trains_on_device() && !self.host
    }
}

fn providers(settings: &[String]) -> Result<Providers, Failure> {
    let of = |key: &str| settings.iter().find_map(|setting| setting.strip_prefix(key));
    let mut order = Vec::new();
    for name in of("providers=").unwrap_or("cpu").split(',') {
        let known = Provider::ALL.iter().find(|(known, _)| *known == name);
        order.push(known.ok_or("providers are tensorrt, cuda, cpu")?.1);
    }
    let cuda_graphs = of("graphs=") == Some("1");
    let mut providers = Providers::in_order(order)?;
    providers.cuda_graphs = cuda_graphs;
    Ok(providers)
}

/// A trainer that is ready.
struct Loaded {
    trainer: Trainer,
    /// The most bytes that its graph is planned to hold.
    planned: u64,
    /// Nodes of the forward pass with its factors, and of the training graph.
    nodes: (usize, usize),
}

fn trainer(
    engine: &Engines,
    path: &str,
    (batch, segments): (Option<usize>, usize),
    targets: Vec<String>,
    options: &LoadOptions,
) -> Result<Loaded, Failure> {
    let pinning = PinOptions { batch, ..PinOptions::default() };
    let folded = fold(&pin(&Model::read(Path::new(path))?, &pinning)?)?;
    let grafted = graft(&folded, &GraftOptions { targets, ..GraftOptions::default() })?;
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let on_cuda = engine.engine.trains_on_device();
    let profile = if on_cuda { Profile::Cuda } else { Profile::Cpu };
    let plan = DifferentiateOptions { losses: Vec::new(), wrt, strict: false, profile };
    let graph = recompute(&differentiate(&grafted.folded, &plan)?.folded, segments)?;
    let planned = peak_bytes(&graph);
    let [forward, all] = [&grafted.folded, &graph].map(|of| of.model.graph().node.len());
    let training = TrainOptions {
        optimiser: AdamW::default(),
        schedule: Schedule { peak: 1e-4, warm_up_steps: 10, decay: Decay::Constant },
        gradient_norm_max: Some(1.0),
        average: None,
    };
    let start = Adapter::start(grafted.layout, 1);
    let mut trainer = Trainer::load_adapter(engine, &graph, options, training, &start)?;
    let session = trainer.session();
    let ours = |name: &str| name.starts_with(FACTOR) || name.starts_with("train.");
    let ports: Vec<TensorPort> = session.inputs().to_vec();
    let fed = ports.iter().enumerate().filter(|(_, port)| !ours(&port.name));
    // Drawn by its number among what is fed: the same wherever factors are inputs, too.
    for (number, (index, port)) in fed.enumerate() {
        if port.ty.element == Element::F32 {
            let values: Vec<f32> =
                noise(number, port.ty.values()).iter().map(|value| 0.5 + 0.5 * value).collect();
            session.write_f32(index, &values)?;
        }
    }
    trainer.restart(&start)?;
    Ok(Loaded { trainer, planned, nodes: (forward, all) })
}

/// A line of `/proc/self/status`, in bytes.
fn resident_bytes(line: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|text| text.strip_prefix(line)).ok_or("no such line")?;
    Ok(1024 * kib.trim().trim_end_matches(" kB").parse::<u64>()?)
}

/// User CPU time of the process, seconds.
fn user_s() -> Result<f64, Failure> {
    // SAFETY: all-zero bytes are a valid `rusage`; the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        usage
    };
    Ok(usage.ru_utime.tv_sec as f64 + usage.ru_utime.tv_usec as f64 * 1e-6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
