//! What is shown of a token model: nats a token, and always what they stand beside.

use super::{Nats, Saved, TokenMeasureError, TokenPredictor, fit_scale, measure_nats};
use crate::baseline::TokenBaseline;
use crate::tokens::{TokenLog, TokenRows};
use serde::{Deserialize, Serialize};
use shoal_hal::Part;

/// Version of the form of [`TokenReport`].
const SCHEMA: u32 = 1;

/// Seed of the bootstrap's draws.
const SEED: u64 = 0;

/// A measurement of a token model for people and programs, baselines beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenReport {
    /// Version of this form: 1.
    pub schema: u32,
    /// The model.
    pub model: String,
    /// Rows that are predicted in every part.
    pub rows: TokenParts<usize>,
    /// The one number that the logits of the scaled model are multiplied with, fitted on the tuning part.
    pub logit_scale: f64,
    /// The model without an adapter, the baseline of its kind (fitted on the tuning part), the scaled
    /// model, and the model with the adapter if there is one.
    pub predictors: Vec<TokenFigures>,
    /// What the last of them saves on the held-out part against each before it.
    pub saved: Vec<TokenDifference>,
}

/// One value for each part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenParts<T> {
    /// Rows that are trained on.
    pub tuning: T,
    /// Rows that an adapter is chosen on.
    pub pack: T,
    /// Rows that nothing was fitted to.
    pub held_out: T,
}

/// Nats a token of one prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFigures {
    /// What predicted.
    pub predictor: String,
    /// Nats a token.
    pub nats: TokenParts<f64>,
}

/// What one prediction saves against another on the same rows, nats a token: above 0 it is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenDifference {
    /// What predicted.
    pub predictor: String,
    /// What it stands beside.
    pub against: String,
    /// `against − predictor`, over blocks of [`BLOCK_TOKENS`](super::BLOCK_TOKENS) rows, of codes of a second's at least.
    pub nats: Saved,
}

/// Measures a token model on every part of some logs, beside the baseline of its kind and the model with
/// its logits scaled; `tuned` is the same model with an adapter.
///
/// # Errors
/// [`TokenMeasureError`], naming the log and the row.
/// # Panics
/// If a part has no rows: a log that is too short is refused before.
pub fn report(
    model: &str,
    untuned: &mut TokenPredictor,
    tuned: Option<&mut TokenPredictor>,
    logs: &[TokenLog],
) -> Result<TokenReport, TokenMeasureError> {
    let form = untuned.form().clone();
    let parts = [Part::Tuning, Part::Pack, Part::HeldOut]
        .map(|part| TokenRows::of_part(logs, part, &form).expect("every part of a log has a row"));
    let scale = fit_scale(untuned, &parts[0])?;
    let baseline = TokenBaseline::fit(&parts[0], &form);
    let (mut plain, mut scaled) = (Vec::new(), Vec::new());
    for rows in &parts {
        let [one, other] = measure_nats(untuned, rows, [1.0, scale])?;
        plain.push(one);
        scaled.push(other);
    }
    let mut all = vec![
        (String::from("untuned"), plain),
        (String::from(baseline.name()), parts.iter().map(|rows| baseline.measure(rows)).collect()),
        (format!("untuned, logits × {scale:.2}"), scaled),
    ];
    if let Some(tuned) = tuned {
        let mut measured = Vec::new();
        for rows in &parts {
            let [one] = measure_nats(tuned, rows, [1.0])?;
            measured.push(one);
        }
        all.push((String::from("tuned"), measured));
    }
    let [tuning, pack, held_out] = parts.map(|rows| rows.count());
    Ok(TokenReport {
        schema: SCHEMA,
        model: model.to_owned(),
        rows: TokenParts { tuning, pack, held_out },
        logit_scale: scale,
        saved: saved(&all),
        predictors: all.iter().map(|(name, nats)| figures(name, nats)).collect(),
    })
}

/// `nats` has the parts in order, the held-out one last.
fn figures(name: &str, nats: &[Nats]) -> TokenFigures {
    let [tuning, pack, held_out] = [0, 1, 2].map(|part: usize| nats[part].mean());
    TokenFigures { predictor: name.to_owned(), nats: TokenParts { tuning, pack, held_out } }
}

fn saved(all: &[(String, Vec<Nats>)]) -> Vec<TokenDifference> {
    let Some(((name, last), before)) = all.split_last() else { return Vec::new() };
    before
        .iter()
        .map(|(against, other)| TokenDifference {
            predictor: name.clone(),
            against: against.clone(),
            nats: last[2].saved_against(&other[2], SEED),
        })
        .collect()
}
