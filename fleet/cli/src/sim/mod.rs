//! `shoal sim`: a fleet in virtual time.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use shoal_sim::compare::{Tell, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::report;

use crate::output::{Failure, Outcome};

/// Simulate a fleet: real models are tuned and measured in virtual time, by every method the file names.
///
/// What is done is kept: the same command goes on where a cut left it, and comes to the same result.
///
/// Example: shoal sim fleet.toml -o sim --seeds 5
#[derive(Args)]
pub(crate) struct Sim {
    /// The simulation's file
    file: PathBuf,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Only these of the file's methods
    #[arg(long, value_name = "NAME")]
    method: Vec<String>,
    /// The method that others are compared with; without it the file's first
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Run with so many seeds: the file's and those after it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
}

impl Sim {
    pub(crate) fn run(self) -> Outcome {
        let mut config = SimConfig::read(&self.file)?;
        for name in self.method.iter().chain(&self.reference) {
            if !config.methods.iter().any(|method| method.name == *name) {
                let known: Vec<&str> = config.methods.iter().map(|m| m.name.as_str()).collect();
                let known = known.join(", ");
                return Err(
                    format!("no method `{name}` in {}: {known}", self.file.display()).into()
                );
            }
        }
        if !self.method.is_empty() {
            config.methods.retain(|method| self.method.contains(&method.name));
        }
        let engine = shoal_vehicle::engine::open(&config.engine)?;
        let seeds = config.seed..config.seed.saturating_add(self.seeds);
        let mut began = now();
        let records = compare(&config, seeds, &self.output, engine, |tell| match tell {
            Tell::Skipped(why) => eprintln!("left out: {why}"),
            Tell::Begins { method, seed, written } => {
                began = now();
                let before = if written > 0 {
                    format!(", {written} windows are there")
                } else {
                    String::new()
                };
                eprintln!("{method}, seed {seed}{before}");
            }
            Tell::Window(head, row) => {
                let figure =
                    |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
                eprintln!(
                    "  window {:3} of {}: skill {} driven, {} unseen, {:.4} pack; {:.1} kB sent, {:.1} received; {:.0} s",
                    row.window,
                    head.windows,
                    figure(row.driven(head)),
                    figure(row.unseen(head)),
                    row.utility,
                    row.bytes.up / 1000.0,
                    row.bytes.down / 1000.0,
                    began.elapsed().as_secs_f64(),
                );
            }
        })?;
        let reference = self.reference.as_deref();
        let first = config.methods.first().map(|method| method.name.as_str());
        let files = match (records.as_slice(), reference.or(first)) {
            ([record], _) => report::run(record, &self.output)?,
            (records, Some(reference)) => {
                print!("{}", report::markdown(records, reference)?);
                report::compare(records, reference, &self.output)?
            }
            (_, None) => Vec::new(),
        };
        for file in files {
            println!("{}", file.display());
        }
        Ok::<(), Failure>(())
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it took is for people")]
fn now() -> Instant {
    Instant::now()
}
