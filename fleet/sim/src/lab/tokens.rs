//! A model of tokens on logs: tuned on rows, measured in nats against a baseline that knows no model.
//!
//! ```text
//! skill of a log = 1 − Σ nats ÷ Σ nats of the baseline, over the same rows
//! ```
//!
//! A row stands where a clip of frames does: its nats for the clip's error, the baseline's nats for the error of 'nothing moves'.
//! So skills, terms and paired standard errors are made by the same code, and are as comparable. Rows come in blocks of a second,
//! or of a quarter of a log's rows where these are fewer: rows that follow each other err together.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use sha2::{Digest, Sha256};
use shoal_hal::Part;
use shoal_shadow::fit::{FitError, load_grafted_token_predictor};
use shoal_shadow::measure::tokens::{TokenPredictor, measure_nats};
use shoal_shadow::measure::{DriveMeasurement, Errors, Measurement};
use shoal_shadow::package::TokenKind;
use shoal_shadow::tokens::{TokenForm, TokenLog, TokenRows, TokenSource};
use shoal_shadow::tune::{StepOptions, TokenTuneOptions, TokenTuner};
use shoal_swarm::swarm::Flat;

use super::pool::Pool;
use super::{Base, LabError, On, Tune, Who, in_parallel};
use crate::config::{NightConfig, SimConfig};
use crate::logs::{Log, Logs};
use crate::record::RoadKind;

/// Rows predicted at a time: of a model of motion, and of codes, of which there are many more.
const BATCH: usize = 24;
const BATCH_OF_CODES: usize = 128;
/// Blocks of a log's rows, at least: what is told from one alone has no standard error.
const BLOCKS_MIN: usize = 4;

/// What is tuned and measured.
pub(super) struct Tokens<'a> {
    form: &'a TokenForm,
    logs: &'a Logs,
    tuners: Pool<TokenTuneOptions, TokenTuner>,
    predictors: Pool<(), TokenPredictor>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(form: &'a TokenForm, logs: &'a Logs) -> Self {
        Tokens { form, logs, tuners: Pool::default(), predictors: Pool::default() }
    }

    pub(super) fn train(
        &self,
        base: &Base,
        nights: &NightConfig,
        night: &Tune,
    ) -> Result<Flat, LabError> {
        let seen = |log: &'a Log| (log, self.logs.seen(log, night.window));
        let pieces: Vec<(&Log, Range<usize>)> = match night.who {
            Who::Vehicle(vehicle) => self.logs.of(vehicle).map(seen).collect(),
            Who::All => {
                let driven = |log: &&Log| matches!(log.kind, RoadKind::Driven(_));
                self.logs.all.iter().filter(driven).map(seen).collect()
            }
            Who::Part(part) => {
                let terms = 0..self.logs.utility.fields().terms.len() as u8;
                terms.flat_map(|term| self.pieces(On::Part { term, part })).collect()
            }
        };
        let pieces = pieces.into_iter().map(|(log, rows)| (&log.rows, rows));
        let rows = TokenRows::of_pieces(pieces.collect(), self.form);
        let rows = rows.ok_or(LabError::Nothing { vehicle: night.who.number() })?;
        let mut source = TokenSource::new(rows, night.seed);
        let options = TokenTuneOptions {
            samples: nights.batch,
            pull: None,
            steps: StepOptions {
                learning_rate: nights.learning_rate,
                threads: NonZeroUsize::MIN,
                ..StepOptions::default()
            },
        };
        let start = base.adapter(&night.from)?;
        let base = base.modelled()?;
        let description = base.package.description();
        let load =
            || TokenTuner::new(&base.model, description, &*base.engine, Some(&start), &options);
        self.tuners.night(options, &start, load, |tuner| {
            tuner.run(&mut source, nights.steps, |_report| {})?;
            Ok(())
        })
    }

    /// Batches are measured `jobs` at a time.
    pub(super) fn measure(
        &self,
        base: &Base,
        values: &Flat,
        on: On,
        jobs: usize,
    ) -> Result<Measurement, LabError> {
        let pieces: Vec<(&Log, Range<usize>)> =
            self.pieces(on).into_iter().filter(|(_log, rows)| !rows.is_empty()).collect();
        let adapter = base.adapter(values)?;
        let base = base.modelled()?;
        let description = base.package.description();
        let batch = match self.form.kind {
            TokenKind::Motion { .. } => BATCH,
            TokenKind::Codes(_) => BATCH_OF_CODES,
        };
        let load = || -> Result<TokenPredictor, LabError> {
            let (model, engine, one) = (&base.model, &*base.engine, NonZeroUsize::MIN);
            Ok(load_grafted_token_predictor(model, description, engine, one, batch)?)
        };
        let measured = in_parallel(jobs, &batches(&pieces, batch), |batch| {
            let Some(rows) = TokenRows::of_pieces(batch.clone(), self.form) else {
                return Ok(Vec::new());
            };
            self.predictors.with((), load, |predictor| {
                predictor.write_adapter(&adapter).map_err(FitError::from)?;
                let [nats] = measure_nats(predictor, &rows, [1.0])?;
                Ok::<_, LabError>(nats.each)
            })
        })?;
        let mut each = measured.into_iter().flatten();
        let drives = pieces.into_iter().map(|(log, rows)| {
            let model = each.by_ref().take(rows.len()).collect();
            self.drive(log, rows, model)
        });
        Ok(Measurement { predictor: description.name.clone(), drives: drives.collect() })
    }

    fn pieces(&self, on: On) -> Vec<(&'a Log, Range<usize>)> {
        let logs = self.logs;
        let of_part = |of: &mut dyn Iterator<Item = &'a Log>, part| {
            of.map(|log| (log, log.rows.part(part, self.form))).collect()
        };
        match on {
            On::Part { term, part } => logs.pack(term, Some(part)),
            On::Pack { term } => logs.pack(term, None),
            On::HeldOut => of_part(&mut logs.all.iter(), Part::HeldOut),
            On::HeldOutOf(vehicle) => of_part(&mut logs.of(vehicle), Part::HeldOut),
            On::OwnPack(vehicle) => of_part(&mut logs.of(vehicle), Part::Pack),
            On::TunedOn(vehicle) => of_part(&mut logs.of(vehicle), Part::Tuning),
        }
    }

    fn drive(&self, log: &Log, rows: Range<usize>, model: Vec<f64>) -> DriveMeasurement {
        let rows_a_tick = match &self.form.kind {
            TokenKind::Motion { .. } => 1,
            TokenKind::Codes(codes) => codes.frame,
        };
        let second = (self.form.rate_hz.round() as usize).max(1) * rows_a_tick;
        let length = second.min(rows.len() / BLOCKS_MIN).max(1);
        let block = (0..rows.len()).map(|row| (row / length) as u32).collect();
        let copy = log.baseline.get(rows).unwrap_or_default().to_vec();
        DriveMeasurement {
            name: log.rows.name().to_owned(),
            copy_psnr_db: 0.0,
            counted: true,
            next: Errors { model, copy, block },
            rollout: Errors::default(),
        }
    }

    /// Nats a token (of codes bits) on what is held out, plain means over logs: of those that are driven, beside the
    /// baseline's, and of those that nobody drives.
    pub(super) fn figures(&self, held_out: &Measurement) -> BTreeMap<String, f64> {
        let kinds = self.logs.kinds();
        let mut figures = BTreeMap::new();
        let (unit, in_nats) = match self.form.kind {
            TokenKind::Motion { .. } => ("nats", 1.0),
            TokenKind::Codes(_) => ("bits", std::f64::consts::LN_2),
        };
        let mut put = |of: &str, nats: Vec<f64>| {
            if !nats.is_empty() {
                let mean = nats.iter().sum::<f64>() / nats.len() as f64;
                figures.insert(format!("{unit}{of}"), mean / in_nats);
            }
        };
        let mean = |nats: &[f64]| nats.iter().sum::<f64>() / nats.len() as f64;
        let of = |is: &dyn Fn(RoadKind) -> bool| {
            let drives = held_out.drives.iter();
            drives
                .filter(|drive| kinds.get(&drive.name).copied().is_some_and(is))
                .collect::<Vec<_>>()
        };
        let driven = of(&|kind| matches!(kind, RoadKind::Driven(_)));
        put("", driven.iter().map(|drive| mean(&drive.next.model)).collect());
        put("_baseline", driven.iter().map(|drive| mean(&drive.next.copy)).collect());
        let unseen = of(&|kind| kind == RoadKind::Unseen);
        put("_unseen", unseen.iter().map(|drive| mean(&drive.next.model)).collect());
        figures
    }

    /// What decides results beside what is asked, model and engine: logs, night.
    pub(super) fn digest(&self, config: &SimConfig, hasher: &mut Sha256) {
        self.logs.digest(hasher);
        super::digest_night(&config.night, hasher);
        // Measured by a graph that takes the adapter as an input: rounded in another way than where it was baked in.
        hasher.update(b"grafted");
    }
}

/// The rows of these pieces, in their order, so many together: what one run of the model predicts.
fn batches<'a>(
    pieces: &[(&'a Log, Range<usize>)],
    batch: usize,
) -> Vec<Vec<(&'a TokenLog, Range<usize>)>> {
    let (mut batches, mut room) = (Vec::new(), 0);
    for (log, rows) in pieces {
        let mut first = rows.start;
        while first < rows.end {
            if room == 0 {
                batches.push(Vec::new());
                room = batch;
            }
            let last = rows.end.min(first + room);
            if let Some(of) = batches.last_mut() {
                of.push((&log.rows, first..last));
            }
            room -= last - first;
            first = last;
        }
    }
    batches
}
