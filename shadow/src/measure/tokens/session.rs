//! A token model in a session.

use super::TokenMeasureError;
use crate::package::{Description, TokenKind};
use crate::tokens::{TokenBatch, TokenForm, TokenFormError, TokenLog, TokenRows};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::{EngineError, Session, TensorPort};
use shoal_runtime::onnx::Element;

/// Why a session cannot be bound to a package.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum TokenPredictorError {
    /// The package is not one of a token model.
    #[error(transparent)]
    Form(#[from] TokenFormError),
    /// The model has no tensor of a name that the package gives.
    #[error("model.toml does not fit the model")]
    Binding(#[from] EngineError),
    /// A tensor that the package names has another type or shape.
    #[error("model.toml binds `{tensor}` to {bound}, {want} a sample; the model has {got}")]
    Shape { tensor: String, bound: &'static str, want: String, got: String },
}

/// Where signals and tokens go in a session, and how many samples at once.
#[derive(Clone, Copy, Debug)]
pub struct TokenInputs {
    signals: Option<usize>,
    tokens: usize,
    place: Option<usize>,
    batch: usize,
}

impl TokenInputs {
    /// Finds the inputs of a package; the batch is the first dimension of its tokens.
    ///
    /// # Errors
    /// [`TokenPredictorError`], naming the tensor.
    pub fn bind(
        session: &dyn Session,
        package: &Description,
        form: &TokenForm,
    ) -> Result<Self, TokenPredictorError> {
        let bound = package.tokens.as_ref().ok_or(TokenFormError::NoTokens)?;
        let tokens = session.input_index(&bound.input)?;
        let port = &session.inputs()[tokens];
        let batch = port.ty.dims.first().copied().unwrap_or(0).max(1);
        let fits = port.ty.element == Element::I64 && port.ty.values() == batch * form.rows;
        check(port, fits, "the tokens", || format!("{} int64 values", form.rows))?;
        let signals = package.signals.as_ref().filter(|_| !form.signals.is_empty());
        let signals = match signals {
            Some(bound) => {
                let index = session.input_index(&bound.input)?;
                let (port, len) = (&session.inputs()[index], form.signals.len());
                let fits = port.ty.element == Element::F32 && port.ty.values() == batch * len;
                check(port, fits, "the signals", || format!("{len} f32 values"))?;
                Some(index)
            }
            None => None,
        };
        let place = match &form.kind {
            TokenKind::Motion { .. } => None,
            TokenKind::Codes(codes) => codes.place.as_deref(),
        };
        let place = match place {
            Some(name) => {
                let index = session.input_index(name)?;
                let port = &session.inputs()[index];
                let fits = port.ty.element == Element::I64 && port.ty.values() == batch;
                check(port, fits, "the place", || "1 int64 value".to_owned())?;
                Some(index)
            }
            None => None,
        };
        Ok(TokenInputs { signals, tokens, place, batch })
    }

    /// Samples of one run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Writes a batch of as many samples.
    ///
    /// # Errors
    /// [`EngineError::WrongLength`] if it holds another number of samples.
    pub fn write(&self, session: &mut dyn Session, batch: &TokenBatch) -> Result<(), EngineError> {
        if batch.samples() == self.batch {
            return self.write_part(session, batch, 0);
        }
        session.write_i64(self.tokens, batch.tokens())
    }

    /// Writes the samples of a larger batch that begin with `first`, as many as a run takes.
    ///
    /// # Errors
    /// [`EngineError::WrongLength`] if it holds fewer samples.
    pub fn write_part(
        &self,
        session: &mut dyn Session,
        batch: &TokenBatch,
        first: usize,
    ) -> Result<(), EngineError> {
        fn part<T>(values: &[T], samples: usize, first: usize, count: usize) -> &[T] {
            let each = values.len() / samples.max(1);
            values.get(first * each..(first + count) * each).unwrap_or_default()
        }
        let (samples, count) = (batch.samples(), self.batch);
        if let Some(signals) = self.signals {
            session.write_f32(signals, part(batch.signals(), samples, first, count))?;
        }
        if let Some(place) = self.place {
            session.write_i64(place, part(batch.place(), samples, first, count))?;
        }
        session.write_i64(self.tokens, part(batch.tokens(), samples, first, count))
    }
}

fn check(
    port: &TensorPort,
    fits: bool,
    bound: &'static str,
    want: impl Fn() -> String,
) -> Result<(), TokenPredictorError> {
    if fits {
        return Ok(());
    }
    let (tensor, got) = (port.name.clone(), format!("{} {:?}", port.ty.element, port.ty.dims));
    Err(TokenPredictorError::Shape { tensor, bound, want: want(), got })
}

/// A token model in a [`Session`], with its tensors bound as the package describes.
pub struct TokenPredictor {
    form: TokenForm,
    session: Box<dyn Session>,
    inputs: TokenInputs,
    batch: TokenBatch,
    output: usize,
    positions: usize,
}

impl TokenPredictor {
    /// Binds a session of a pinned model. Its logits are `[batch, bins]`, or `[batch, positions, bins]`
    /// of which the last position is the predicted row's.
    ///
    /// # Errors
    /// [`TokenPredictorError`], naming the tensor.
    pub fn new(
        session: Box<dyn Session>,
        package: &Description,
    ) -> Result<Self, TokenPredictorError> {
        let form = TokenForm::of(package)?;
        let inputs = TokenInputs::bind(&*session, package, &form)?;
        let bound = package.next_token.as_ref().ok_or(TokenFormError::NoNextToken)?;
        let output = session.output_index(&bound.output)?;
        let (port, bins) = (&session.outputs()[output], form.kind.count());
        let dims = &port.ty.dims;
        let is_logits = dims.len() >= 2 && dims[0] == inputs.batch && dims[dims.len() - 1] == bins;
        let fits = port.ty.element == Element::F32 && is_logits && port.ty.values() > 0;
        check(port, fits, "the next token", || format!("f32 logits of {bins} bins"))?;
        let positions = port.ty.values() / inputs.batch / bins;
        let batch = TokenBatch::new(form.clone(), inputs.batch);
        Ok(TokenPredictor { form, session, inputs, batch, output, positions })
    }

    /// What it reads.
    pub fn form(&self) -> &TokenForm {
        &self.form
    }

    /// Writes an adapter into a model that has its factors as inputs.
    ///
    /// # Errors
    /// [`EngineError`] if the model has no such inputs.
    pub fn write_adapter(&mut self, adapter: &Adapter) -> Result<(), EngineError> {
        for factor in adapter.layout().factors() {
            let input = self.session.input_index(&factor.input)?;
            self.session.write_f32(input, adapter.factor(factor))?;
        }
        Ok(())
    }

    /// Predicts every row, in order, and gives `each` the token that came and the logits.
    ///
    /// # Errors
    /// [`TokenMeasureError`], naming the log and the row.
    pub fn predict(
        &mut self,
        rows: &TokenRows<'_>,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), TokenMeasureError> {
        let (bins, mut rows) = (self.form.kind.count(), rows.iter());
        loop {
            let taken: Vec<(&TokenLog, usize)> = rows.by_ref().take(self.inputs.batch).collect();
            let [(log, row), ..] = taken[..] else { return Ok(()) };
            self.run(&taken).map_err(|source| TokenMeasureError::Predict {
                log: log.name().to_owned(),
                row,
                source: Box::new(source),
            })?;
            let logits = self.session.output_f32(self.output).map_err(|source| {
                let source = Box::new(source);
                TokenMeasureError::Predict { log: log.name().to_owned(), row, source }
            })?;
            for ((log, row), sample) in taken.iter().zip(logits.chunks_exact(self.positions * bins))
            {
                let last = &sample[(self.positions - 1) * bins..];
                if last.iter().any(|logit| !logit.is_finite()) {
                    let (log, row) = (log.name().to_owned(), *row);
                    return Err(TokenMeasureError::NotFinite { log, row });
                }
                // Every token of a log is one of the form's bins.
                each(log.tokens()[*row] as usize, last);
            }
        }
    }

    /// Runs a batch; one that is not full repeats its last row, so that nothing of an earlier is in it.
    fn run(&mut self, taken: &[(&TokenLog, usize)]) -> Result<(), EngineError> {
        for index in 0..self.inputs.batch {
            let (log, row) = taken[index.min(taken.len() - 1)];
            self.batch.set(index, log, row);
        }
        self.inputs.write(&mut *self.session, &self.batch)?;
        self.session.run()
    }
}
