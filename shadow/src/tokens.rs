//! Token models: what one reads of a log of motion, a log as rows of tokens, and the batches of a step.
//!
//! A model of tokens predicts one number of the motion, cut into bins, from rows of signals and of that
//! number before it; or a code of a camera's frame from the codes before it. Its data are [`TokenLog`]s; a *row* is one tick of the model's rate, a *sample* is
//! one row that is predicted.
//!
//! # Parts
//! A log of n rows is cut in time as a drive is: tuning up to row ⌊0.6 n⌋, then pack up to ⌊0.8 n⌋, then
//! held-out. What is predicted belongs to one part only; the rows it is predicted from may reach back
//! into the part before, as they would on the road.

use std::ops::Range;

use shoal_hal::{Motion, Part};
use shoal_runtime::engine::EngineError;

use crate::chance::{Draws, Purpose};
use crate::fit::Source;
use crate::form::MotionInput;
use crate::package::{Column, Description, TokenKind};

/// What a token model reads and predicts, as its package describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenForm {
    /// Rows of signals; none if the model reads only tokens.
    pub signals: MotionInput,
    /// Token rows of a sample.
    pub rows: usize,
    /// Rows from the newest given token to the predicted one, at least 1.
    pub lag: usize,
    /// What a token is.
    pub kind: TokenKind,
    /// Rows before the predicted one that a sample reaches back.
    pub context: usize,
    /// Rows per second; of codes frames per second.
    pub rate_hz: f64,
}

/// Why a package is not one of a token model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFormError {
    /// The model predicts no token.
    #[error(
        "model.toml binds no [next_token]: only a model that predicts tokens is measured in nats"
    )]
    NoNextToken,
    /// The model reads no tokens.
    #[error("model.toml binds no [tokens]: they say what the next token is")]
    NoTokens,
    /// The model sees frames too.
    #[error("model.toml binds [frames] beside [tokens]: logs of motion have none")]
    Frames,
    /// The token that is predicted is given.
    #[error("tokens.lag is 0: the token that is to be predicted would be among the given ones")]
    Given,
    /// Codes come without motion.
    #[error("model.toml binds [signals] beside codes: streams of codes have no motion")]
    Signals,
}

impl TokenForm {
    /// The form of the token model that a package describes.
    ///
    /// # Errors
    /// [`TokenFormError`].
    pub fn of(package: &Description) -> Result<Self, TokenFormError> {
        package.next_token.as_ref().ok_or(TokenFormError::NoNextToken)?;
        let tokens = package.tokens.as_ref().ok_or(TokenFormError::NoTokens)?;
        if package.frames.is_some() {
            return Err(TokenFormError::Frames);
        }
        if tokens.lag == 0 {
            return Err(TokenFormError::Given);
        }
        if package.signals.is_some() && matches!(tokens.kind, TokenKind::Codes(_)) {
            return Err(TokenFormError::Signals);
        }
        let signals = package.signals.as_ref().map_or(MotionInput::NONE, |signals| {
            let columns = signals.columns.clone();
            MotionInput { rows: signals.rows, lag: signals.lag, columns }
        });
        Ok(TokenForm {
            signals,
            rows: tokens.rows,
            lag: tokens.lag,
            kind: tokens.kind.clone(),
            context: package.context(),
            rate_hz: package.rate_hz,
        })
    }
}

impl TokenForm {
    /// Rows of a second, at least 1: of codes those of all its frames.
    fn second(&self) -> usize {
        let frame = match &self.kind {
            TokenKind::Motion { .. } => 1,
            TokenKind::Codes(codes) => codes.frame,
        };
        (self.rate_hz.round().max(1.0) as usize).saturating_mul(frame.max(1))
    }
}

/// A log of motion whose every row has a token, and all that a model reads beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLog {
    name: String,
    motion: Vec<Motion>,
    tokens: Vec<i64>,
}

/// Why a log has no tokens.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenLogError {
    /// The vehicle did not know a number that the model reads.
    #[error("{log}, row {row}: {field} is not known, and the model reads it")]
    Unknown { log: String, row: usize, field: &'static str },
    /// Too short: a part has nothing to predict.
    #[error("{log} has {rows} rows, at least {needed} are needed for every part to have one")]
    TooShort { log: String, rows: usize, needed: usize },
    /// Motion for a model of codes, or codes for a model of motion.
    #[error("{log} is not of the model's kind: {want} is what the model reads")]
    Kind { log: String, want: &'static str },
    /// A code that the model does not know.
    #[error("{log}, row {row}: the code {code} is not one of {vocabulary}")]
    Code { log: String, row: usize, code: i64, vocabulary: usize },
}

impl TokenLog {
    /// Cuts the motion of a log, one row for each tick of the model's rate, into tokens.
    ///
    /// # Errors
    /// [`TokenLogError`]: every row must know what the model reads, every part have a row.
    pub fn new(name: &str, motion: Vec<Motion>, form: &TokenForm) -> Result<Self, TokenLogError> {
        let TokenKind::Motion { field: cut, bins } = &form.kind else {
            return Err(TokenLogError::Kind { log: name.to_owned(), want: "a stream of codes" });
        };
        let fields = form.signals.columns.iter().filter_map(|column| match column {
            Column::Field { field, .. } => Some(*field),
            Column::Constant(_) => None,
        });
        for field in fields.chain([*cut]) {
            if let Some(row) = motion.iter().position(|motion| field.read(motion).is_none()) {
                let (log, field) = (name.to_owned(), field.name());
                return Err(TokenLogError::Unknown { log, row, field });
            }
        }
        long_enough(name, motion.len(), form)?;
        let token = |motion: &Motion| {
            let value = cut.read(motion).expect("every row was looked at");
            bins.token(f64::from(value)) as i64
        };
        Ok(TokenLog { name: name.to_owned(), tokens: motion.iter().map(token).collect(), motion })
    }

    /// A stream of codes that begins with the first of a frame.
    ///
    /// # Errors
    /// [`TokenLogError`]: every code must be one of the model's, every part have a row.
    pub fn of_codes(name: &str, codes: Vec<i64>, form: &TokenForm) -> Result<Self, TokenLogError> {
        let TokenKind::Codes(of) = &form.kind else {
            return Err(TokenLogError::Kind { log: name.to_owned(), want: "a log of motion" });
        };
        let known = 0..of.vocabulary as i64;
        if let Some((row, code)) = codes.iter().enumerate().find(|(_, code)| !known.contains(code))
        {
            let (log, vocabulary) = (name.to_owned(), of.vocabulary);
            return Err(TokenLogError::Code { log, row, code: *code, vocabulary });
        }
        long_enough(name, codes.len(), form)?;
        Ok(TokenLog { name: name.to_owned(), tokens: codes, motion: Vec::new() })
    }

    /// Name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token of every row.
    pub fn tokens(&self) -> &[i64] {
        &self.tokens
    }

    /// The rows of a part that can be predicted.
    pub fn part(&self, part: Part, form: &TokenForm) -> Range<usize> {
        let n = self.tokens.len();
        let (tuned, packed) = (n * 3 / 5, n * 4 / 5);
        match part {
            Part::Tuning => form.context..tuned,
            Part::Pack => tuned..packed,
            Part::HeldOut => packed..n,
        }
    }
}

/// Three fifths are more rows than the context, and a fifth is at least one.
fn long_enough(name: &str, rows: usize, form: &TokenForm) -> Result<(), TokenLogError> {
    let needed = (5 * (form.context + 1)).div_ceil(3).max(5);
    if rows < needed {
        return Err(TokenLogError::TooShort { log: name.to_owned(), rows, needed });
    }
    Ok(())
}

/// The samples of one part of some logs, in order of time.
#[derive(Clone, Debug)]
pub struct TokenRows<'a> {
    pieces: Vec<(&'a TokenLog, Range<usize>)>,
    second: usize,
}

impl<'a> TokenRows<'a> {
    /// The samples of one part of every log; `None` if there are none.
    pub fn of_part(logs: &'a [TokenLog], part: Part, form: &TokenForm) -> Option<Self> {
        let pieces: Vec<_> = logs.iter().map(|log| (log, log.part(part, form))).collect();
        let rows = TokenRows { pieces, second: form.second() };
        (rows.count() > 0).then_some(rows)
    }

    /// The samples of these rows of these logs, in this order; `None` if there are none.
    ///
    /// # Panics
    /// If a row's context, or the row itself, is not in its log.
    pub fn of_pieces(pieces: Vec<(&'a TokenLog, Range<usize>)>, form: &TokenForm) -> Option<Self> {
        for (log, rows) in &pieces {
            let whole = form.context..log.tokens.len() + 1;
            let within =
                rows.is_empty() || whole.contains(&rows.start) && whole.contains(&rows.end);
            assert!(within, "{}: rows {rows:?} with their context", log.name);
        }
        let rows = TokenRows { pieces, second: form.second() };
        (rows.count() > 0).then_some(rows)
    }

    /// Rows of a second, at least 1.
    pub fn second(&self) -> usize {
        self.second
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pieces.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// The logs, and the rows of each.
    pub fn pieces(&self) -> &[(&'a TokenLog, Range<usize>)] {
        &self.pieces
    }

    /// Every sample: its log and the row that is predicted.
    pub fn iter(&self) -> impl Iterator<Item = (&'a TokenLog, usize)> {
        self.pieces.iter().flat_map(|(log, rows)| rows.clone().map(move |row| (*log, row)))
    }

    /// Sample `index`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn at(&self, index: usize) -> (&'a TokenLog, usize) {
        let mut left = index;
        for (log, rows) in &self.pieces {
            if left < rows.len() {
                return (log, rows.start + left);
            }
            left -= rows.len();
        }
        panic!("sample {index} of {}", self.count());
    }
}

/// The tensors of some samples, reused from step to step.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    form: TokenForm,
    signals: Vec<f32>,
    tokens: Vec<i64>,
    place: Vec<i64>,
    target: Vec<i64>,
}

impl TokenBatch {
    /// Room for `samples` samples of `form`, all zero.
    pub fn new(form: TokenForm, samples: usize) -> Self {
        TokenBatch {
            signals: vec![0.0; samples * form.signals.len()],
            tokens: vec![0; samples * form.rows],
            place: vec![0; samples],
            target: vec![0; samples],
            form,
        }
    }

    /// How many samples it holds.
    pub fn samples(&self) -> usize {
        self.target.len()
    }

    /// `[samples, rows, columns]`, oldest first.
    pub fn signals(&self) -> &[f32] {
        &self.signals
    }

    /// `[samples, rows]`, oldest first.
    pub fn tokens(&self) -> &[i64] {
        &self.tokens
    }

    /// Where in their frames the codes to be predicted are, `[samples]`; 0 of other tokens.
    pub fn place(&self) -> &[i64] {
        &self.place
    }

    /// The tokens to be predicted, `[samples]`.
    pub fn target(&self) -> &[i64] {
        &self.target
    }

    /// Makes sample `index` the one that predicts `row` of `log`.
    ///
    /// # Panics
    /// If the batch has no such sample, or the row's context is not in the log.
    pub fn set(&mut self, index: usize, log: &TokenLog, row: usize) {
        let form = &self.form;
        assert!((form.context..log.tokens.len()).contains(&row), "a row with its context");
        let values = form.signals.len();
        let signals = &mut self.signals[index * values..][..values];
        form.signals.write(|back| Some(log.motion[row - back]), signals);
        let first = row + 1 - form.lag - form.rows;
        self.tokens[index * form.rows..][..form.rows]
            .copy_from_slice(&log.tokens[first..first + form.rows]);
        self.place[index] = match &form.kind {
            TokenKind::Motion { .. } => 0,
            TokenKind::Codes(codes) => (row % codes.frame) as i64,
        };
        self.target[index] = log.tokens[row];
    }
}

/// Draws the batches that tune a token model: every sample with equal chances, with replacement.
pub struct TokenSource<'a> {
    rows: TokenRows<'a>,
    seed: u64,
}

impl<'a> TokenSource<'a> {
    /// Draws from `rows`; all draws come from `seed`.
    pub fn new(rows: TokenRows<'a>, seed: u64) -> Self {
        TokenSource { rows, seed }
    }
}

impl Source<TokenBatch> for TokenSource<'_> {
    fn fill(&mut self, step: u64, batch: &mut TokenBatch) -> Result<(), EngineError> {
        let count = self.rows.count();
        for index in 0..batch.samples() {
            let mut draws = Draws::new(Purpose::Tuning, self.seed, step, index as u64);
            let (log, row) = self.rows.at(draws.index(count));
            batch.set(index, log, row);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two rows of speed with the target row's own, three tokens of lateral acceleration before it.
    pub(crate) const PACKAGE: &str = "
        rate_hz = 10.0
        [signals]
        input = 'states'
        rows = 2
        lag = 0
        columns = [{ field = 'speed_m_s', scale = 0.5 }, { constant = 7.0 }]
        [tokens]
        input = 'tokens'
        rows = 3
        field = 'lateral_acceleration_m_s2'
        low = 0.0
        high = 15.0
        bins = 16
        [next_token]
        output = 'logits'
    ";

    pub(crate) fn package() -> Description {
        Description::parse("model.toml", PACKAGE, "test").unwrap()
    }

    /// Row k has speed k and token k mod 16.
    pub(crate) fn log(rows: usize, form: &TokenForm) -> TokenLog {
        let motion = |k: usize| Motion {
            speed_m_s: Some(k as f32),
            lateral_acceleration_m_s2: Some((k % 16) as f32),
            ..Motion::default()
        };
        TokenLog::new("log", (0..rows).map(motion).collect(), form).unwrap()
    }

    #[test]
    fn a_sample_has_the_target_rows_signals_and_only_tokens_before_it() {
        let form = TokenForm::of(&package()).unwrap();
        let log = log(20, &form);
        let mut batch = TokenBatch::new(form, 2);
        batch.set(1, &log, 9);
        assert_eq!(batch.signals()[4..], [4.0, 7.0, 4.5, 7.0]);
        assert_eq!(batch.tokens()[3..], [6, 7, 8]);
        assert_eq!(batch.target()[1], 9);
    }

    #[test]
    fn parts_are_three_fifths_and_two_fifths_of_the_time_and_share_no_row() {
        let form = TokenForm::of(&package()).unwrap();
        let log = log(598, &form);
        let [tuning, pack, held_out] =
            [Part::Tuning, Part::Pack, Part::HeldOut].map(|part| log.part(part, &form));
        assert_eq!((tuning, pack, held_out), (3..358, 358..478, 478..598));
    }

    #[test]
    fn draws_repeat_from_their_seed_and_reach_every_row_of_the_part_and_no_other() {
        let form = TokenForm::of(&package()).unwrap();
        let logs = [log(20, &form), log(30, &form)];
        let rows = TokenRows::of_part(&logs, Part::Tuning, &form).unwrap();
        let mut batch = TokenBatch::new(form.clone(), 8);
        let mut seen = std::collections::BTreeSet::new();
        let mut source = TokenSource::new(rows.clone(), 5);
        for step in 0..50 {
            source.fill(step, &mut batch).unwrap();
            // The newest speed is twice what was scaled; rows 16 and 17 wear the tokens 0 and 1.
            seen.extend(batch.signals().chunks(4).map(|rows| (rows[2] * 2.0) as usize));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), (3..18).collect::<Vec<_>>());
        let last = batch.clone();
        TokenSource::new(rows, 5).fill(49, &mut batch).unwrap();
        assert_eq!((batch.tokens(), batch.target()), (last.tokens(), last.target()));
    }

    #[test]
    fn a_log_that_does_not_know_what_the_model_reads_is_refused_by_row_and_field() {
        let form = TokenForm::of(&package()).unwrap();
        let mut motion = log(20, &form).motion;
        motion[7].speed_m_s = None;
        let said = TokenLog::new("a.csv", motion, &form).unwrap_err().to_string();
        assert_eq!(said, "a.csv, row 7: speed_m_s is not known, and the model reads it");
        let said = TokenLog::new("a.csv", Vec::new(), &form).unwrap_err().to_string();
        assert_eq!(said, "a.csv has 0 rows, at least 7 are needed for every part to have one");
    }

    #[test]
    fn a_log_of_the_smallest_length_has_a_row_in_every_part() {
        let form = TokenForm::of(&package()).unwrap();
        let log = log(7, &form);
        for part in [Part::Tuning, Part::Pack, Part::HeldOut] {
            assert!(!log.part(part, &form).is_empty(), "{part:?}");
        }
    }

    #[test]
    fn a_sample_of_codes_knows_its_place_and_codes_that_are_unknown_are_refused() {
        let toml = "rate_hz = 20.0\n[tokens]\ninput = 'tokens'\nrows = 8\nvocabulary = 16\nframe = 4\n\
             place = 'place'\n[next_token]\noutput = 'logits'\n";
        let package = Description::parse("model.toml", toml, "test").unwrap();
        assert_eq!(Description::parse("model.toml", &package.to_toml(), "test").unwrap(), package);
        let form = TokenForm::of(&package).unwrap();
        let codes: Vec<i64> = (0..40).map(|row| row % 16).collect();
        let log = TokenLog::of_codes("codes", codes.clone(), &form).unwrap();
        let mut batch = TokenBatch::new(form.clone(), 1);
        batch.set(0, &log, 10);
        assert_eq!((batch.place(), batch.target()), (&[2][..], &[10][..]));
        assert_eq!(batch.tokens(), [2, 3, 4, 5, 6, 7, 8, 9]);
        let wild = codes.into_iter().map(|code| code + 1).collect();
        let said = TokenLog::of_codes("codes", wild, &form).unwrap_err().to_string();
        assert_eq!(said, "codes, row 15: the code 16 is not one of 16");
        let said = TokenLog::new("log", vec![Motion::default(); 40], &form).unwrap_err();
        assert!(matches!(said, TokenLogError::Kind { .. }));
    }

    #[test]
    fn packages_that_are_no_token_model_are_refused() {
        let of = |toml: &str| {
            TokenForm::of(&Description::parse("model.toml", toml, "test").unwrap()).unwrap_err()
        };
        assert_eq!(of(&PACKAGE.replace("rows = 3", "rows = 3\nlag = 0")), TokenFormError::Given);
        let camera = "rate_hz = 10.0\n[frames]\ninput = 'frames'\nwidth = 8\nheight = 8\n\
             [next_frame]\noutput = 'next'\n";
        assert_eq!(of(camera), TokenFormError::NoNextToken);
    }
}
