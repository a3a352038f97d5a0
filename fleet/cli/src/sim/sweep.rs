//! `shoal sim sweep`

use clap::Args;
use shoal_sim::report;
use shoal_sim::sweep::{Axis, better_half, rungs, variants};

use super::{Files, told};
use crate::output::Outcome;

/// Run one method with other numbers.
///
/// With every combination of some values of its keys, or of the fleet's: all, some by chance, or by successive halving, which gives the better half (by the pack) twice as many windows.
///
/// Example: shoal sim sweep fleet.toml -o sweep --method consensus --key inertia=0.0,0.3,0.6 --key up_bits=1,2 --halving
#[derive(Args)]
pub(super) struct Sweep {
    #[command(flatten)]
    files: Files,
    /// The method to vary
    #[arg(long, value_name = "NAME")]
    method: String,
    /// A key with its values: of the method, or of the fleet, as calendar.absent=0.0,0.5
    #[arg(long, value_name = "KEY=VALUE,…", required = true, value_parser = Axis::parse)]
    key: Vec<Axis>,
    /// Only so many of the combinations, drawn by chance
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    draws: Option<u32>,
    /// Begin with few windows, and go on with the better half
    #[arg(long)]
    halving: bool,
}

impl Sweep {
    pub(super) fn run(self) -> Outcome {
        let file = &self.files.file;
        // What is wrong in the file, or set wrong, is said of itself.
        let asked = self.files.config()?;
        let source = shoal_sim::set::with(&std::fs::read_to_string(file)?, &self.files.set)?;
        let draws = self.draws.map(usize::try_from).transpose()?.map(|draws| (draws, asked.seed));
        let shown = file.display().to_string();
        let fleets = variants(&shown, &source, &self.method, &self.key, draws)?;
        let mut fleets: Vec<_> = fleets.into_iter().map(|fleet| fleet.beside(file)).collect();
        let count: usize = fleets.iter().map(|fleet| fleet.methods.len()).sum();
        let windows = if self.halving { rungs(asked.windows, count) } else { vec![asked.windows] };
        let mut records = Vec::new();
        let last = windows.len().saturating_sub(1);
        for (rung, windows) in windows.into_iter().enumerate() {
            let count: usize = fleets.iter().map(|fleet| fleet.methods.len()).sum();
            eprintln!("{count} variants, {windows} windows");
            records.clear();
            for fleet in &mut fleets {
                fleet.windows = windows;
                records.extend(self.files.records(fleet, Some(&format!("sweep-{windows}")))?);
            }
            if rung < last {
                let better = better_half(&records);
                for fleet in &mut fleets {
                    fleet.methods.retain(|method| better.contains(&method.name));
                }
                fleets.retain(|fleet| !fleet.methods.is_empty());
            }
        }
        let first = fleets.iter().find_map(|fleet| fleet.methods.first());
        let reference = first.map(|method| method.name.clone()).unwrap_or_default();
        print!("{}", report::markdown(&records, &reference)?);
        told(report::compare(&records, &reference, &self.files.output)?);
        Ok(())
    }
}
