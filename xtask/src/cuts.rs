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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::root;

    /// What was kept of long runs is as docs/schemas/cuts.schema.json says.
    #[test]
    fn every_cut_that_is_kept_has_the_form_of_its_schema() {
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let schema = read(&root().join("docs/schemas/cuts.schema.json"));
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let required: BTreeSet<String> =
            serde_json::from_value(schema["required"].clone()).unwrap();
        let known = keys(&schema["properties"]["proof"]["properties"]);
        let kept = fs::read_dir(root().join("docs/evidence")).unwrap();
        let kept = kept.map(|entry| entry.unwrap().path());
        let is_log = |path: &Path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuts-"))
        };
        let mut count = 0;
        for path in kept.filter(|path| is_log(path)) {
            for line in read(&path).lines() {
                let cut: Value = serde_json::from_str(line).unwrap();
                assert_eq!(keys(&cut), required, "{line}");
                for (key, field) in cut.as_object().unwrap() {
                    assert!(fits(&schema["properties"][key], field), "{key}: {line}");
                }
                if !cut["proof"].is_null() {
                    assert!(keys(&cut["proof"]).is_subset(&known), "{line}");
                }
                count += 1;
            }
        }
        assert!(count > 0, "no cut is kept");
    }

    /// Whether a value is of a type that a schema names.
    fn fits(schema: &Value, value: &Value) -> bool {
        let is = |name: &Value| match name.as_str() {
            Some("object") => value.is_object(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("null") => value.is_null(),
            _ => false,
        };
        schema["type"].as_array().map_or_else(|| is(&schema["type"]), |types| types.iter().any(is))
    }
}
