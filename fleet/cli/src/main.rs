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

const EXAMPLES: &str = "\
Examples:
  shoal model train models/world --data drives --steps 100 -o adapter
  shoal fleet init trial --vehicles 4 --pack pack
  shoal sim compare fleet.toml -o sim --seeds 5";

/// Fleets that learn from their own driving; no frame ever leaves a vehicle.
#[derive(Parser)]
#[command(name = "shoal", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Command {
    #[command(subcommand)]
    what: What,
}

// What a command is, its arguments say: a line here would take the place of their page. So it is with commands of commands.
#[derive(Subcommand)]
enum What {
    /// Inspect, graft, differentiate, pretrain, train and bake ONNX models
    #[command(subcommand, after_help = model::EXAMPLES)]
    Model(model::Model),
    Eval(eval::Eval),
    Terms(terms::Terms),
    Drive(drive::Drive),
    Study(study::Study),
    /// Make and check evaluation packs
    #[command(subcommand, after_help = pack::EXAMPLES)]
    Pack(pack::PackCommand),
    /// Look at particles: what an adapter costs on the air
    #[command(subcommand, after_help = particle::EXAMPLES)]
    Particle(particle::Particle),
    /// Make fleets of vehicles that exchange what they learn
    #[command(subcommand, after_help = fleet::EXAMPLES)]
    Fleet(fleet::Fleet),
    /// Keep the keys of a fleet
    #[command(subcommand, after_help = key::EXAMPLES)]
    Key(key::Key),
    /// Put what was learned to use, stage by stage
    #[command(subcommand, after_help = campaign::EXAMPLES)]
    Campaign(campaign::Campaign),
    /// Write and check a campaign's record, for auditors
    #[command(subcommand, after_help = evidence::EXAMPLES)]
    Evidence(evidence::Evidence),
    Sim(sim::Sim),
    Broker(broker::BrokerCommand),
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
        if self.providers.order().iter().all(|provider| *provider == Provider::Cpu) {
            let cache = self.cache.is_some().then_some("--cache");
            if let Some(flag) = (self.device > 0).then_some("--device").or(cache) {
                return Err(format!("{flag} is of accelerators: --providers names none").into());
            }
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// What is said of a command and of those below it, each with its name.
    fn pages(command: &clap::Command, name: &str, found: &mut Vec<(String, String)>) {
        let said = [command.get_long_about().or(command.get_about()), command.get_after_help()];
        let said = said.into_iter().flatten().map(|text| format!("{text}\n"));
        found.push((name.to_owned(), said.collect()));
        for below in command.get_subcommands() {
            pages(below, &format!("{name} {}", below.get_name()), found);
        }
    }

    /// The words of a line, as a shell takes them.
    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
    }

    #[test]
    fn every_help_page_has_an_example_and_each_is_a_command() {
        let mut all = Vec::new();
        pages(&Command::command(), "shoal", &mut all);
        assert!(all.len() > 30, "{}", all.len());
        let mut wrong = Vec::new();
        for (name, said) in all {
            let lines = said.lines().map(|line| line.trim().trim_start_matches("Example: "));
            let examples: Vec<&str> = lines.filter(|line| line.starts_with("shoal ")).collect();
            if examples.is_empty() {
                wrong.push(format!("{name} has none"));
            }
            wrong.extend(examples.into_iter().filter_map(|example| {
                let refused = Command::try_parse_from(words(example)).err()?;
                Some(format!("{name}: {example}: {refused}"))
            }));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
