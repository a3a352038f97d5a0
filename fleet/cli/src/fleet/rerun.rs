//! `shoal fleet rerun`

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use shoal_shadow::replay::Folder;
use shoal_vehicle::config::{Config, FleetConfig};
use shoal_vehicle::exchange::log::{
    self, Core, PARTS_KEPT, Rerun as Done, Signers, Step, kept, runs,
};
use shoal_vehicle::exchange::vault::Vault;

use crate::clock::utc;
use crate::output::{Failure, Outcome};

/// Of the name of a particle, or of values.
const NAME_DIGITS: usize = 64;
/// Of it, on a line.
const SHOWN_DIGITS: usize = 12;

/// Run again, step by step, what a vehicle was told and decided in its windows.
///
/// A vehicle writes down what its cores are told and what they say, in state/exchange/log, the newest 64 windows of it. Here fresh cores are told the
/// same: they must say the same, to the letter. Where they do not, this is another version of the program, or there is a fault to be found; the
/// first step that differs is named. A run of the program that took more windows than are kept has lost its beginning, and cannot be run again.
/// The vehicle must not run; its folder stays as it is.
///
/// Example: shoal fleet rerun trial/vehicle-0/vehicle.toml --steps
#[derive(Args)]
pub(crate) struct Rerun {
    /// The vehicle's vehicle.toml
    vehicle: PathBuf,
    /// Of this run of the program, by its number (default: the newest)
    #[arg(long, value_name = "N")]
    run: Option<u32>,
    /// Show each step: when, which core, what it was told (>) or said (<)
    #[arg(long)]
    steps: bool,
}

impl Rerun {
    pub(crate) fn run(self) -> Outcome {
        let config = Config::read(&self.vehicle)?;
        let fleet = config
            .fleet
            .ok_or_else(|| format!("{} has no table [fleet]", self.vehicle.display()))?;
        let folder = config.state.join("exchange");
        let logs = folder.join("log");
        let none =
            || format!("{} holds no log: the vehicle has taken part in no window", logs.display());
        let all = runs(&logs).map_err(|error| format!("{}: {error}", none()))?;
        let newest = all.last().copied().ok_or_else(none)?;
        let run = self.run.unwrap_or(newest);
        let done = self.again(&fleet, &folder, run)?;
        said(run, &all, done)
    }

    /// What the vehicle keeps is looked at as a copy: who opens it puts right what a cut left, and sets aside what is damaged.
    fn again(&self, fleet: &FleetConfig, folder: &Path, run: u32) -> Result<Done, Failure> {
        let copy = tempfile::tempdir().map_err(|error| format!("no folder for a copy: {error}"))?;
        {
            let _held = Folder::open(folder).map_err(|error| {
                format!("cannot hold {} (does the vehicle run?): {error}", folder.display())
            })?;
            copy_files(folder, copy.path())?;
            copy_files(&folder.join("blobs"), &copy.path().join("blobs"))?;
        }
        let mut vault = Vault::open(copy.path())?;
        if let Some(aside) = &vault.found().set_aside {
            let why = aside.why.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(
                format!("{}: what the vehicle keeps is damaged: {why}", folder.display()).into()
            );
        }
        let keys = Signers::of(fleet, &vault)?;
        let mut failed = None;
        let values = |values: &_, header: Option<&_>| {
            let found = kept(&mut vault, values, header);
            found.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                None
            })
        };
        let mut show = |step: Step| {
            if self.steps {
                println!("{}", line(&step));
            }
        };
        let done = log::rerun(&folder.join("log"), run, &keys, values, &mut show);
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(done?),
        }
    }
}

/// The files of a folder, without what is in folders there; nothing where there is none.
fn copy_files(from: &Path, to: &Path) -> Outcome {
    let failed = |path: &Path, error| format!("cannot copy {}: {error}", path.display());
    fs::create_dir_all(to).map_err(|error| failed(to, error))?;
    let Ok(files) = fs::read_dir(from) else { return Ok(()) };
    for file in files {
        let file = file.map_err(|error| failed(from, error))?.path();
        if let Some(name) = file.file_name().filter(|_name| file.is_file()) {
            fs::copy(&file, to.join(name)).map_err(|error| failed(&file, error))?;
        }
    }
    Ok(())
}

/// UTC, seconds since the computer started, core, direction, words.
fn line(step: &Step) -> String {
    let since = Duration::from_micros(step.since_boot_us).as_secs_f64();
    let (core, text) = (core(step.core), shortened(&step.text));
    let way = if step.told { '>' } else { '<' };
    format!("{} {since:>12.3} {core:<6} {way} {text}", utc(step.utc_seconds))
}

/// Names of particles and values by their first digits, which tell them apart.
fn shortened(text: &str) -> String {
    let is_digit = |digit: char| digit.is_ascii_hexdigit();
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_digit) {
        let (before, digits) = rest.split_at(at);
        let end = digits.find(|one| !is_digit(one)).unwrap_or(digits.len());
        let (digits, after) = digits.split_at(end);
        short.push_str(before);
        let shown = digits.get(..SHOWN_DIGITS).filter(|_first| digits.len() == NAME_DIGITS);
        short.push_str(shown.unwrap_or(digits));
        rest = after;
    }
    short + rest
}

fn core(core: Core) -> &'static str {
    match core {
        Core::Window => "window",
        Core::Swarm => "swarm",
    }
}

fn said(run: u32, all: &[u32], done: Done) -> Outcome {
    let Done { inputs, outputs, skipped, whole, difference } = done;
    if let Some(other) = difference {
        let text = |said: Option<String>| said.unwrap_or_else(|| "nothing".to_owned());
        return Err(Failure::from(format!(
            "{}, entry {}: the {} said\n  {}\nand says now\n  {}",
            other.path.display(),
            other.index,
            core(other.core),
            text(other.logged),
            text(other.rerun)
        )));
    }
    if outputs == 0 {
        let why = match (skipped, whole) {
            (1.., _) => {
                format!("its beginning is not among the newest {PARTS_KEPT} windows any more")
            }
            (0, false) => "its log is cut short, or damaged, before anything was said".to_owned(),
            (0, true) => "nothing was said in it".to_owned(),
        };
        return Err(format!(
            "nothing of run {run} can be run again: {why}; there are runs {all:?}"
        )
        .into());
    }
    println!("run {run} of {all:?}: {inputs} inputs, {outputs} outputs, all as they were");
    if !whole {
        println!("only up to there: the log is cut short, or damaged, after these");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_and_all_else_is_kept() {
        let name = "0123456789abcdef".repeat(4);
        let text = format!("é measure 12 ValuesHash({name}) of fedc, {name}0 {name}");
        let want = format!("é measure 12 ValuesHash(0123456789ab) of fedc, {name}0 0123456789ab");
        assert_eq!(shortened(&text), want);
        assert_eq!(shortened(""), "");
    }
}
