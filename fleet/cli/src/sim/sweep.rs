//! `shoal sim sweep`

use clap::Args;
use shoal_sim::report;
use shoal_sim::sweep::{Axis, better_half, rungs, variants};

use super::{Files, told};
use crate::output::Outcome;

/// Run one method with every combination of some values of its keys: all, some by chance, or by successive halving, which
/// gives the better half (by the pack) twice as many windows.
///
/// Example: shoal sim sweep fleet.toml -o sweep --method consensus --key inertia=0.0,0.3,0.6 --key up_bits=1,2 --halving
#[derive(Args)]
pub(super) struct Sweep {
    #[command(flatten)]
    files: Files,
    /// The method to vary
    #[arg(long, value_name = "NAME")]
    method: String,
    /// A key with its values
    #[arg(long, value_name = "KEY=VALUE,…", required = true, value_parser = Axis::parse)]
    key: Vec<Axis>,
    /// Only so many of the combinations, drawn by chance
    #[arg(long, value_name = "N")]
    draws: Option<usize>,
    /// Begin with few windows, and go on with the better half
    #[arg(long)]
    halving: bool,
}

impl Sweep {
    pub(super) fn run(self) -> Outcome {
        let file = &self.files.file;
        // What is wrong in the file is said with its lines.
        let asked = shoal_sim::config::SimConfig::read(file)?;
        let source = std::fs::read_to_string(file)?;
        let draws = self.draws.map(|draws| (draws, asked.seed));
        let shown = file.display().to_string();
        let mut config = variants(&shown, &source, &self.method, &self.key, draws)?;
        // Paths are relative to the file.
        (config.package, config.engine) = (asked.package, asked.engine);
        config.roads.recorded = asked.roads.recorded;
        let windows = if self.halving {
            rungs(config.windows, config.methods.len())
        } else {
            vec![config.windows]
        };
        let mut records = Vec::new();
        let last = windows.len().saturating_sub(1);
        for (rung, windows) in windows.into_iter().enumerate() {
            config.windows = windows;
            eprintln!("{} variants, {windows} windows", config.methods.len());
            records = self.files.records(&config, Some(&format!("sweep-{windows}")))?;
            if rung < last {
                let better = better_half(&records);
                config.methods.retain(|method| better.contains(&method.name));
            }
        }
        let reference =
            config.methods.first().map(|method| method.name.clone()).unwrap_or_default();
        print!("{}", report::markdown(&records, &reference)?);
        told(report::compare(&records, &reference, &self.files.output)?);
        Ok(())
    }
}
