//! The `shoal` command.

#[macro_use]
mod output;

mod broker;
mod campaign;
mod clock;
mod console;
mod data;
mod drive;
mod eval;
mod evidence;
mod fleet;
mod key;
mod model;
mod pack;
mod particle;
mod policy;
mod sim;
mod stop;
mod study;
mod terms;
mod tokens;
mod yardstick;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shoal_runtime::engine::{Engine, Provider, Providers};
use shoal_shadow::package::Package;
use shoal_vehicle::config::{EngineConfig, EngineKind};

/// Fleets that learn from their own driving; no frame ever leaves a vehicle.
#[derive(Parser)]
#[command(name = "shoal", version, about, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Inspect, graft, differentiate, pretrain, train and bake ONNX models
    #[command(subcommand)]
    Model(model::Model),
    /// Measure a model package on drives or logs: skill or nats, and the baselines beside it
    Eval(eval::Eval),
    /// Let a policy drive generated roads, and print the terms of driving
    Terms(terms::Terms),
    /// Drive one vehicle's roads at speed, tune overnight, and see what it brought
    Drive(drive::Drive),
    /// Repeat `drive` over seeds, each drive as a vehicle of its own, and say how sure the gain is
    Study(study::Study),
    /// Make and check evaluation packs
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Look at particles: what an adapter costs on the air
    #[command(subcommand)]
    Particle(particle::Particle),
    /// Make fleets of vehicles that exchange what they learn
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// Keep the keys of a fleet
    #[command(subcommand)]
    Key(key::Key),
    /// Put what was learned to use, stage by stage
    #[command(subcommand)]
    Campaign(campaign::Campaign),
    /// Write and check a campaign's record, for auditors
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Simulate a fleet in virtual time, by every way of learning together
    Sim(sim::Sim),
    /// Run the embedded MQTT broker
    Broker(broker::BrokerCommand),
    /// Show a fleet in a browser
    Console(console::ConsoleCommand),
}

/// Which engine runs the model.
#[derive(Args, Clone, Debug)]
struct EngineArgs {
    /// ONNX Runtime (its library is looked for) or tract (always there, three to four times slower)
    #[arg(long, value_enum, default_value = "ort")]
    engine: EngineName,
    /// Threads of one run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// ONNX Runtime's shared library; without it $SHOAL_ONNXRUNTIME and the usual places are tried
    #[arg(long, value_name = "FILE")]
    library: Option<std::path::PathBuf>,
    /// What ONNX Runtime runs nodes on, in this order: tensorrt, cuda, cpu. What is absent is an error, never another one
    #[arg(long, value_name = "NAME,…", default_value = "cpu", value_parser = providers)]
    providers: Providers,
    /// Number of the accelerator
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..1024))]
    device: u32,
    /// Let TensorRT compute in half precision
    #[arg(long)]
    fp16: bool,
    /// Let CUDA, as the first of the providers, replay its first run of a graph as one CUDA graph, where it got every node
    #[arg(long)]
    cuda_graphs: bool,
    /// Folder that keeps the engines TensorRT builds; tensorrt needs one
    #[arg(long, value_name = "DIR")]
    cache: Option<std::path::PathBuf>,
}

fn providers(text: &str) -> Result<Providers, String> {
    shoal_vehicle::config::providers(text.split(',').map(str::trim))
}

/// Which model a command works on.
#[derive(Args, Clone, Debug)]
struct PackageArgs {
    /// The package
    package: std::path::PathBuf,
    /// An ONNX file in place of the package's own model
    #[arg(long, value_name = "FILE")]
    model: Option<std::path::PathBuf>,
}

impl PackageArgs {
    fn open(&self) -> Result<Package, output::Failure> {
        Ok(Package::open_with(&self.package, self.model.as_deref())?)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EngineName {
    Ort,
    Tract,
}

impl EngineArgs {
    fn config(&self) -> EngineConfig {
        let kind = match self.engine {
            EngineName::Ort => EngineKind::Ort,
            EngineName::Tract => EngineKind::Tract,
        };
        let threads = usize::from(self.threads);
        let Self { library, device, fp16, cuda_graphs, cache, .. } = self.clone();
        let mut providers = self.providers.clone();
        (providers.device, providers.fp16, providers.cache) = (device, fp16, cache);
        providers.cuda_graphs = cuda_graphs;
        EngineConfig { kind, threads, library, providers, ..EngineConfig::default() }
    }

    fn open(&self) -> Result<Box<dyn Engine>, output::Failure> {
        if self.fp16 && !self.providers.has(Provider::TensorRt) {
            return Err("--fp16 is of tensorrt, which is not among --providers".into());
        }
        if self.cuda_graphs && !self.providers.begins_with_cuda() {
            return Err("--cuda-graphs is of cuda, which is not the first of --providers".into());
        }
        Ok(shoal_vehicle::engine::open(&self.config())?)
    }

    /// What graphs are written for.
    fn profile(&self) -> shoal_runtime::graft::Profile {
        use shoal_runtime::graft::Profile;
        match (self.engine, self.providers.order().first()) {
            (EngineName::Tract, _) => Profile::Tract,
            (EngineName::Ort, Some(Provider::TensorRt)) => Profile::TensorRt,
            (EngineName::Ort, Some(Provider::Cuda)) => Profile::Cuda,
            (EngineName::Ort, Some(Provider::Cpu) | None) => Profile::Cpu,
        }
    }

    fn threads(&self) -> std::num::NonZeroUsize {
        std::num::NonZeroUsize::new(usize::from(self.threads))
            .unwrap_or(std::num::NonZeroUsize::MIN)
    }
}

#[expect(unsafe_code, reason = "the environment of this process is set once, before all else")]
fn main() -> ExitCode {
    // SAFETY: this is the first that the program does; it has one thread.
    unsafe { shoal_vehicle::engine::forbid_telemetry() };
    let result = match Command::parse().what {
        What::Model(command) => command.run(),
        What::Eval(command) => command.run(),
        What::Terms(command) => command.run(),
        What::Drive(command) => command.run(),
        What::Study(command) => command.run(),
        What::Pack(command) => command.run(),
        What::Particle(command) => command.run(),
        What::Fleet(command) => command.run(),
        What::Key(command) => command.run(),
        What::Campaign(command) => command.run(),
        What::Evidence(command) => command.run(),
        What::Sim(command) => command.run(),
        What::Broker(command) => command.run(),
        What::Console(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
