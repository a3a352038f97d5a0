//! Packages of token models in the commands: their logs, `train`, `pretrain` and `eval` for them.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use shoal_hal::Part;
use shoal_hal::backend::recorded::codes::read_codes;
use shoal_hal::backend::recorded::comma::{LOG_RATE_HZ, Log};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::Engine;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::{load_grafted_token_predictor, load_token_predictor};
use shoal_shadow::measure::tokens::{TokenPredictor, TokenReport, report};
use shoal_shadow::package::{Description, Package, TokenKind};
use shoal_shadow::pretrain::{PretrainOptions, pretrain_tokens};
use shoal_shadow::stats::Interval;
use shoal_shadow::tokens::{TokenForm, TokenLog, TokenRows};

use crate::output::{Failure, Outcome, Progress};

/// Rows that are predicted at once.
const BATCH: usize = 24;

/// Whether a package is one of a token model.
pub(crate) fn is_token_model(package: &Description) -> bool {
    package.next_token.is_some() && package.next_frame.is_none()
}

/// A token model and its logs, as every command wants them.
pub(crate) struct Tokens<'a> {
    pub(crate) package: &'a Package,
    pub(crate) model: Model,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) logs: Vec<TokenLog>,
}

impl<'a> Tokens<'a> {
    /// Reads the model and its logs.
    pub(crate) fn open(
        package: &'a Package,
        data: &[PathBuf],
        engine: Box<dyn Engine>,
    ) -> Result<Self, Failure> {
        let form = TokenForm::of(package.description())?;
        let mut logs = Vec::new();
        for path in data {
            logs.extend(read_logs(path, &form)?);
        }
        if logs.is_empty() {
            return Err(
                "no log: --data names a comma2k19 segment, a CSV of one, or a folder of them"
                    .into(),
            );
        }
        Ok(Tokens { package, model: Model::read(&package.model_path())?, engine, logs })
    }

    /// The rows of a part.
    pub(crate) fn rows(&self, part: Part) -> Result<TokenRows<'_>, Failure> {
        let form = TokenForm::of(self.package.description())?;
        Ok(TokenRows::of_part(&self.logs, part, &form).ok_or("a part of the logs has no rows")?)
    }

    /// The model with its adapter as inputs, to measure adapters with.
    pub(crate) fn predictor(&self, threads: NonZeroUsize) -> Result<TokenPredictor, Failure> {
        let (description, engine) = (self.package.description(), &*self.engine);
        Ok(load_grafted_token_predictor(&self.model, description, engine, threads, BATCH)?)
    }

    /// Trains all weights on the tuning part.
    pub(crate) fn pretrain(&self, options: &PretrainOptions) -> Result<Model, Failure> {
        let (description, engine) = (self.package.description(), &*self.engine);
        let rows = self.rows(Part::Tuning)?;
        let mut progress = Progress::new();
        Ok(pretrain_tokens(&self.model, description, engine, &[], rows, options, |step| {
            let text = format!("steps with {}, loss {:.4}", engine.describe(), step.loss);
            progress.show(step.step.get(), u64::from(options.steps), text);
        })?)
    }

    /// Measures the model, with its adapter if there is one, beside the baselines.
    pub(crate) fn eval(
        &self,
        adapter: Option<&Adapter>,
        threads: NonZeroUsize,
    ) -> Result<TokenReport, Failure> {
        let (description, engine) = (self.package.description(), &*self.engine);
        let load = |adapter| {
            load_token_predictor(&self.model, description, engine, threads, adapter, BATCH)
        };
        let mut untuned = load(None)?;
        let mut tuned = adapter.map(|adapter| load(Some(adapter))).transpose()?;
        Ok(report(&description.name, &mut untuned, tuned.as_mut(), &self.logs)?)
    }
}

/// Reads the log at `path`: a CSV, a segment, or a folder with some of both; of codes a numpy array.
pub(crate) fn read_logs(path: &Path, form: &TokenForm) -> Result<Vec<TokenLog>, Failure> {
    if let TokenKind::Codes(codes) = &form.kind {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        return Ok(vec![TokenLog::of_codes(&name, read_codes(path, codes.frame)?, form)?]);
    }
    if form.rate_hz != LOG_RATE_HZ {
        let rate = form.rate_hz;
        return Err(
            format!("the model runs at {rate} Hz, logs are read at {LOG_RATE_HZ} Hz").into()
        );
    }
    if let Some(log) = read_log(path, form)? {
        return Ok(vec![log]);
    }
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .map_err(cannot)?;
    entries.sort();
    entries.iter().filter_map(|entry| read_log(entry, form).transpose()).collect()
}

/// Reads one log, if it is one.
fn read_log(path: &Path, form: &TokenForm) -> Result<Option<TokenLog>, Failure> {
    let log = if path.is_file() && path.extension().is_some_and(|ending| ending == "csv") {
        Log::read_csv(path)?
    } else if path.join("processed_log").is_dir() {
        Log::read_segment(path)?
    } else {
        return Ok(None);
    };
    let motion = (0..log.len()).map(|row| log.motion(row)).collect();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok(Some(TokenLog::new(&name, motion, form)?))
}

/// Prints a report as a table.
///
/// # Errors
/// None; the type is that of commands.
pub(crate) fn table(report: &TokenReport) -> Outcome {
    println!("{:28} {:>8} {:>8} {:>8}", "nats a token", "tuning", "pack", "held-out");
    for figures in &report.predictors {
        let nats = figures.nats;
        println!(
            "{:28} {:8.3} {:8.3} {:8.3}",
            figures.predictor, nats.tuning, nats.pack, nats.held_out
        );
    }
    let rows = report.rows;
    println!("{:28} {:8} {:8} {:8}", "rows", rows.tuning, rows.pack, rows.held_out);
    let range = |interval: &Interval| format!("[{:+.3}, {:+.3}]", interval.low, interval.high);
    for saved in &report.saved {
        let nats = &saved.nats;
        let student = nats.student.as_ref().map_or("-".into(), range);
        println!(
            "{} saves {:+.3} against {}: 95 % over {} blocks: bootstrap {}, t {student}",
            saved.predictor,
            nats.bootstrap.mean,
            saved.against,
            nats.blocks,
            range(&nats.bootstrap)
        );
    }
    Ok(())
}
