//! The invariants with real programs: a fleet in network namespaces, so many cuts of one seed (tests/tests/cuts).

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::Run;
use crate::{Done, Failure};

/// So many cuts of this seed. Each stands in the log at this path, with what shows that it happened.
pub(crate) fn cuts(
    count: u64,
    seed: u64,
    log: &Path,
    variables: &[(&'static str, OsString)],
) -> (Value, Done) {
    match run(count, seed, log, variables) {
        Err(failure) => (json!({"passed": false}), Err(failure)),
        Ok((passed, None)) => {
            let why = "it was passed over, or ended before its end: see above";
            (json!({"passed": passed, "told": why}), Err(Failure::new(why)))
        }
        Ok((passed, Some(mut told))) => {
            let fired = told["fired"] == json!(count);
            told["passed"] = json!(passed && fired);
            let done = match (passed, fired) {
                (true, true) => Ok(()),
                (false, _) => Err(Failure(format!("does not hold: {:#}", told["failures"]))),
                (true, false) => Err(Failure(format!("{} of {count} fired", told["fired"]))),
            };
            (told, done)
        }
    }
}

fn run(
    count: u64,
    seed: u64,
    log: &Path,
    variables: &[(&'static str, OsString)],
) -> Done<(bool, Option<Value>)> {
    if let Some(folder) = log.parent() {
        let failed = |error| Failure(format!("cannot make {}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // With the test, so that programs and test are built of the same features.
    Run::cargo().args(["build", "--workspace", "--bins", "--test", "cuts"]).run()?;
    let mut told = None;
    let passed = Run::cargo()
        .args(["test", "--quiet", "--workspace", "--test", "cuts", "--", "--nocapture"])
        .envs(variables)
        .env("SHOAL_CUTS", count.to_string())
        .env("SHOAL_SEED", seed.to_string())
        .env("SHOAL_CUTS_LOG", log)
        .env("RUST_BACKTRACE", "0")
        .lines(|line| {
            if let Some(json) = line.strip_prefix("cuts: ") {
                told = serde_json::from_str(json).ok();
            }
        })?;
    Ok((passed, told))
}
