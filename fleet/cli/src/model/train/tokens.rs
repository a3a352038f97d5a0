//! `shoal model train` of a package of tokens: an adapter is measured as it is trained, and the best one is kept.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use shoal_hal::Part;
use shoal_runtime::adapter::Adapter;
use shoal_shadow::fit::FitError;
use shoal_shadow::measure::tokens::TokenMeasureError;
use shoal_shadow::package::{Description, Package};
use shoal_shadow::tokens::{TokenForm, TokenLog, TokenRows, TokenSource};
use shoal_shadow::tune::{ChooseError, Choosing, Chosen, TokenTuneOptions, TokenTuner};

use super::super::keep::{FISHER_SAMPLES, of_one};
use super::super::steps::{Steps, ended, is_not_finite};
use super::{Opened, Train};
use crate::output::{Failure, Outcome, Progress};
use crate::tokens::{Tokens, read_logs};

/// Steps between two measurements where nothing is said.
const EVERY: NonZeroU32 = NonZeroU32::new(10).expect("more than none");

impl Train {
    pub(super) fn train_tokens(&self, package: &Package, output: &Path) -> Outcome {
        let data = std::slice::from_ref(self.data()?);
        let tokens = Tokens::open(package, data, self.engine.open()?)?;
        let with = Opened { package, model: &tokens.model, engine: &*tokens.engine };
        let options = TokenTuneOptions::default();
        let (pull, steps) = (self.keep.term(), self.asked(options.steps));
        let options = TokenTuneOptions { pull, steps, ..options };
        let options = TokenTuneOptions { steps: self.plan(&with, &options)?, ..options };
        let logs: Vec<Vec<u8>> = tokens.logs.iter().map(bytes_of).collect();
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let steps = self.steps(&with, &options.steps, &logs)?;
        let mut source = TokenSource::new(tokens.rows(Part::Tuning)?, options.steps.seed);
        if self.all_weights {
            return self.train_whole(&with, &options, &mut source, &steps, output);
        }
        let (start, engine) = (self.start(&with)?, with.engine);
        let description = package.description();
        let mut tuner =
            TokenTuner::new(&tokens.model, description, engine, start.as_ref(), &options)?;
        self.keep.hold(&mut tuner, |place| importance(&tokens, place, &options))?;
        let mut predictor = tokens.predictor(options.steps.threads)?;
        let best = resumed(&steps, &mut tuner)?;
        let rows = tokens.rows(Part::Pack)?;
        let mut choosing = Choosing::new(&mut predictor, &rows, best);
        let stopped = self.look_and_step(&mut tuner, &mut choosing, &mut source, &steps)?;
        let Some(chosen) = choosing.best() else {
            // Nothing could be measured: what there is, is where it starts.
            tuner.adapter()?.write_trained(output, self.dropout as f32)?;
            return ended(stopped, output);
        };
        chosen.adapter.write_trained(output, self.dropout as f32)?;
        let (steps, nats) = (chosen.steps, chosen.nats);
        let said = format!("the adapter after {steps} steps, {nats:.4} nats on the pack part");
        match stopped {
            Some(why) => {
                let output = output.display();
                Err(format!("{why}\n  {output} has {said}: the best that was measured").into())
            }
            None => {
                println!("{}: {said}", output.display());
                Ok(())
            }
        }
    }

    /// Measures and takes steps in turn; why it stopped before the last, where something was not finite, or why a checkpoint was not
    /// written.
    fn look_and_step(
        &self,
        tuner: &mut TokenTuner,
        choosing: &mut Choosing<'_, '_>,
        source: &mut TokenSource<'_>,
        steps: &Steps<'_>,
    ) -> Result<Option<Failure>, Failure> {
        let (all, every, mut progress) =
            (u64::from(steps.count), u64::from(self.every.unwrap_or(EVERY).get()), Progress::new());
        let mut unwritten = None;
        loop {
            let nats = match choosing.look(tuner) {
                Ok(nats) => nats,
                Err(why @ ChooseError::Measure(TokenMeasureError::NotFinite { .. })) => {
                    return Ok(Some(why.into()));
                }
                Err(why) => return Err(why.into()),
            };
            let (step, best) = (tuner.step_count(), choosing.best());
            if let (Some(_), Some(best)) = (&steps.saved, best) {
                let parts = (bytes_of_best(best), tuner.checkpoint()?);
                unwritten = unwritten.or(steps.save(&[&parts.0, &parts.1]));
            }
            if step >= all {
                return Ok(unwritten);
            }
            // A run that goes on measures where one without a break does.
            let count = (every - step % every).min(all - step);
            let ran = tuner.run(source, u32::try_from(count)?, |report| {
                let loss = report.loss;
                let text = format!(
                    "steps with {}, loss {loss:.3}, {nats:.4} nats on the pack part",
                    steps.engine
                );
                progress.show(report.step.get(), all, text);
            });
            match ran {
                Ok(_loss) => {}
                Err(why) if is_not_finite(&why) => {
                    return Ok(Some(self.last(why, tuner, choosing)));
                }
                Err(why) => return Err(why.into()),
            }
        }
    }

    /// What the last good step left may be chosen, too.
    fn last(
        &self,
        why: FitError,
        tuner: &mut TokenTuner,
        choosing: &mut Choosing<'_, '_>,
    ) -> Failure {
        match choosing.look(tuner) {
            Ok(_nats) => why.into(),
            Err(unmeasured) => {
                let (why, unmeasured) = (Failure::from(why), Failure::from(unmeasured));
                format!("{why}\n  what it left is not measured: {unmeasured}").into()
            }
        }
    }
}

/// Mean of squared gradients over single rows of the logs that ship with the package.
fn importance(
    tokens: &Tokens<'_>,
    place: &Adapter,
    options: &TokenTuneOptions,
) -> Result<Vec<f32>, Failure> {
    let (package, engine) = (tokens.package, &*tokens.engine);
    let description = package.description();
    let path = package.footage_path();
    let path =
        path.ok_or("--ewc holds what matters for the footage of the package, which has none")?;
    let logs = read_logs(&path, &TokenForm::of(description)?)?;
    let rows = all_rows(&logs, description)?;
    let mut source = TokenSource::new(rows, options.steps.seed);
    let one = TokenTuneOptions { samples: 1, pull: None, steps: of_one(options.steps) };
    let mut looking = TokenTuner::new(&tokens.model, description, engine, Some(place), &one)?;
    Ok(looking.squared_gradients(&mut source, FISHER_SAMPLES)?)
}

/// All rows of logs that have what they are told from before them.
fn all_rows<'a>(logs: &'a [TokenLog], description: &Description) -> Result<TokenRows<'a>, Failure> {
    let form = TokenForm::of(description)?;
    let of = |log: &'a TokenLog| (log, form.context..log.tokens().len());
    let rows = TokenRows::of_pieces(logs.iter().map(of).collect(), &form);
    Ok(rows.ok_or("--ewc: the footage of the package has no log")?)
}

/// What tells a log from others.
fn bytes_of(log: &TokenLog) -> Vec<u8> {
    let tokens = log.tokens().iter().flat_map(|token| token.to_le_bytes());
    log.name().bytes().chain(tokens).collect()
}

/// Steps u64, nats f64, values f32…: little-endian.
fn bytes_of_best(best: &Chosen) -> Vec<u8> {
    let head = best.steps.to_le_bytes().into_iter().chain(best.nats.to_le_bytes());
    head.chain(best.adapter.values().iter().flat_map(|value| value.to_le_bytes())).collect()
}

/// Goes on where a checkpoint says; what was chosen by then.
fn resumed(steps: &Steps<'_>, tuner: &mut TokenTuner) -> Result<Option<Chosen>, Failure> {
    let Some(saved) = &steps.saved else { return Ok(None) };
    let Some(bytes) = saved.read()? else { return Ok(None) };
    let damaged = || Failure::from("the checkpoint ends too soon: delete it, or name another file");
    let start = tuner.adapter()?;
    let (taken, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (nats, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (values, rest) = rest.split_at_checked(4 * start.values().len()).ok_or_else(damaged)?;
    let (values, _) = values.as_chunks::<4>();
    let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let adapter = Adapter::from_values(Arc::clone(start.layout()), values)?;
    tuner.resume(rest)?;
    let (steps, nats) = (u64::from_le_bytes(*taken), f64::from_le_bytes(*nats));
    Ok(Some(Chosen { adapter, steps, nats }))
}
