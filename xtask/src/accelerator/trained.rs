//! What ten steps of training leave of each file's loss, on the accelerator and on the processor.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Asked;
use crate::process::Run;
use crate::{Done, Failure, root, test};

/// How far the losses of both may be apart, of a loss that is 1 before: sums in other orders, ten steps of them.
const APART_MAX: f64 = 1e-2;

/// Every bare file, its adapter and all of its weights, by the path alone. All that was trained is told after each.
pub(super) fn check(
    program: &Path,
    asked: &Asked,
    files: &[PathBuf],
    mut told: impl FnMut(&[Value]) -> Done,
) -> Done {
    let mut rows = Vec::new();
    for file in files {
        for all_weights in [false, true] {
            println!(
                "  ten steps of {}{}",
                file.display(),
                if all_weights { ", all weights" } else { "" }
            );
            let loss = |providers: &str| loss(program, asked, providers, file, all_weights);
            let both = loss(&asked.providers).and_then(|there| Ok((there, loss("cpu")?)));
            let (losses, failed) = match both {
                Ok((there, here)) => (json!({ "there": there, "processor": here }), None),
                Err(Failure(why)) => (Value::Null, Some(why)),
            };
            let model = file.display().to_string();
            rows.push(json!({ "model": model, "all_weights": all_weights, "loss": losses, "failed": failed }));
            told(&rows)?;
        }
    }
    Ok(())
}

/// The loss after ten steps; before, it is 1 for every output.
fn loss(
    program: &Path,
    asked: &Asked,
    providers: &str,
    file: &Path,
    all_weights: bool,
) -> Done<f64> {
    let out = root().join(format!("target/accelerator-trained-{}", std::process::id()));
    let written = if all_weights { out.with_extension("onnx") } else { out };
    let mut run = Run::new(program).args(["model", "train"]).arg(file).arg("-o").arg(&written);
    run = run.args(["--providers", providers, "--device", &asked.device]);
    if all_weights {
        run = run.arg("--all-weights");
    }
    let printed = run.envs(&test::variables()).output();
    // What it wrote is not looked at.
    let _absent =
        std::fs::remove_dir_all(&written).or_else(|_error| std::fs::remove_file(&written));
    last(&printed?)
}

/// The last number of `loss A before, B after ten steps`.
fn last(printed: &str) -> Done<f64> {
    let after = printed.lines().rev().find_map(|line| {
        let (before, after) = line.strip_prefix("loss ")?.split_once(" before, ")?;
        let _is_number: f64 = before.parse().ok()?;
        after.split_once(' ')?.0.parse().ok()
    });
    after.ok_or_else(|| Failure(format!("no loss in what training said: {printed}")))
}

/// What is not as it should be of each row.
pub(super) fn faults(rows: &[Value]) -> Vec<String> {
    let fault = |row: &Value| {
        let of = format!("ten steps of {}, all weights {}", row["model"], row["all_weights"]);
        if let Some(why) = row["failed"].as_str() {
            return Some(format!("{of}: {why}"));
        }
        let (there, here) = (&row["loss"]["there"], &row["loss"]["processor"]);
        // JSON has no NaN: what is no number there is null.
        let apart = there.as_f64().zip(here.as_f64()).map(|(there, here)| (there - here).abs());
        let far = apart.is_none_or(|apart| apart > APART_MAX);
        far.then(|| format!("{of}: the loss is {there}, on the processor {here}"))
    };
    rows.iter().filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_number_behind_before() {
        assert_eq!(last("x\nloss 1.0000 before, 0.0420 after 10 steps\n").unwrap(), 0.042);
        assert!(last("loss nan\n").is_err());
    }

    #[test]
    fn losses_far_apart_and_training_that_fails_are_faults() {
        let row = |there: f64, failed: Option<&str>| {
            json!({ "model": "m", "all_weights": true, "failed": failed,
                "loss": { "there": there, "processor": 0.5 } })
        };
        assert!(faults(&[row(0.505, None)]).is_empty());
        assert_eq!(faults(&[row(0.6, None), row(0.5, Some("no")), row(f64::NAN, None)]).len(), 3);
    }
}
