//! `shoal sim`: a fleet in virtual time.

mod membership;
mod shown;
mod sweep;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use shoal_sim::compare::{Place, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Record;
use shoal_sim::report;
use shoal_sim::set::Set;

use crate::output::{Failure, Outcome};
use shown::Shown;

/// Simulate a fleet: real models are tuned and measured in virtual time.
///
/// What is done is kept: the same command goes on where a cut left it, and comes to the same result. A run that is there whole is read; whether
/// somebody edited it is not checked.
///
/// Example: shoal sim fleet.toml -o sim
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Sim {
    #[command(subcommand)]
    several: Option<Several>,
    /// The simulation's file
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// The folder to write
    #[arg(short, long, value_name = "DIR", required = true)]
    output: Option<PathBuf>,
    /// Run with so many seeds: the file's and those after it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Which of the file's methods; without it the first
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// A key of the file with another value, as calendar.absent=0.5 or methods.NAME.up_bits=1
    #[arg(long, value_name = "KEY=VALUE", value_parser = Set::parse)]
    set: Vec<Set>,
}

#[derive(Subcommand)]
enum Several {
    Compare(Compare),
    Sweep(sweep::Sweep),
    Membership(membership::Membership),
}

/// Run the file's methods on the same roads, and say how far they are apart.
///
/// Every method of a file, or some, with several seeds; the report says how far each is from the reference.
///
/// Example: shoal sim compare fleet.toml -o sim --seeds 5
#[derive(Args)]
struct Compare {
    #[command(flatten)]
    files: Files,
    /// Only these of the file's methods
    #[arg(long, value_name = "NAME")]
    method: Vec<String>,
    /// The method that others are compared with; without it the file's first
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
}

/// What is read and written.
#[derive(Args)]
#[group(skip)]
struct Files {
    /// The simulation's file
    file: PathBuf,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Run with so many seeds: the file's and those after it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// A key of the file with another value, as calendar.absent=0.5 or methods.NAME.up_bits=1
    #[arg(long, value_name = "KEY=VALUE", value_parser = Set::parse)]
    set: Vec<Set>,
}

impl Sim {
    pub(crate) fn run(self) -> Outcome {
        match (self.several, self.file, self.output) {
            (Some(Several::Compare(compare)), ..) => compare.run(),
            (Some(Several::Sweep(sweep)), ..) => sweep.run(),
            (Some(Several::Membership(membership)), ..) => membership.run(),
            (None, Some(file), Some(output)) => {
                one(&Files { file, output, seeds: self.seeds, set: self.set }, self.method)
            }
            (None, ..) => Err("name a file, and a folder with -o: shoal sim --help".into()),
        }
    }
}

/// Runs one method.
fn one(files: &Files, method: Option<String>) -> Outcome {
    let mut config = files.config()?;
    let first = config.methods.first().map(|method| method.name.clone());
    let named: Vec<String> = method.or(first).into_iter().collect();
    keep(&mut config, &named, &files.file)?;
    let records = files.records(&config, None)?;
    match records.as_slice() {
        [record] => told(report::run(record, &files.output)?),
        several => told(report::compare(several, &named.concat(), &files.output)?),
    }
    Ok(())
}

impl Compare {
    fn run(self) -> Outcome {
        let mut config = self.files.config()?;
        if let Some(reference) = &self.reference {
            known(&config, reference, &self.files.file)?;
        }
        if !self.method.is_empty() {
            keep(&mut config, &self.method, &self.files.file)?;
        }
        let first = config.methods.first().map(|method| method.name.clone());
        let reference = self.reference.or(first).unwrap_or_default();
        if !config.methods.iter().any(|method| method.name == reference) {
            return Err(format!("--reference: `{reference}` is not among --method").into());
        }
        let records = self.files.records(&config, None)?;
        print!("{}", report::markdown(&records, &reference)?);
        told(report::compare(&records, &reference, &self.files.output)?);
        Ok(())
    }
}

impl Files {
    /// The file, with what is set beside it.
    fn config(&self) -> Result<SimConfig, Failure> {
        Ok(SimConfig::read_with(&self.file, &self.set)?)
    }

    /// Runs what is not there yet, and reads all.
    fn records(&self, config: &SimConfig, part: Option<&str>) -> Result<Vec<Record>, Failure> {
        let seeds = config.seed..config.seed.saturating_add(self.seeds);
        let engine = shoal_sim::lab::engine(config)?;
        let mut shown = Shown::new();
        let place = Place { folder: &self.output, part };
        Ok(compare(config, seeds, place, engine, |tell| shown.tell(tell))?)
    }
}

/// Leaves only these methods.
fn keep(config: &mut SimConfig, names: &[String], file: &Path) -> Outcome {
    names.iter().try_for_each(|name| known(config, name, file))?;
    config.methods.retain(|method| names.contains(&method.name));
    Ok(())
}

fn known(config: &SimConfig, name: &str, file: &Path) -> Outcome {
    if config.methods.iter().any(|method| method.name == name) {
        return Ok(());
    }
    let known: Vec<&str> = config.methods.iter().map(|method| method.name.as_str()).collect();
    Err(format!("no method `{name}` in {}: {}", file.display(), known.join(", ")).into())
}

fn told(files: Vec<PathBuf>) {
    for file in files {
        println!("{}", file.display());
    }
}
