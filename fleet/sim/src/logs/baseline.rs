//! What the skill of a token model is counted from: a prediction that knows no model, fitted once for the whole simulation.

use shoal_hal::Part;
use shoal_shadow::baseline::TokenBaseline;
use shoal_shadow::tokens::{TokenForm, TokenLog, TokenRows};

use super::Raw;
use crate::record::RoadKind;

/// Fitted on the tuning parts of all logs that are driven: of a number of the motion the histogram of steps from the newest
/// given token, of codes the code of the frame before with the chance that it comes again.
pub(super) struct Baseline(TokenBaseline);

impl Baseline {
    /// Fits it; logs have rows in every part, and one of them at least is driven.
    pub(super) fn fitted(logs: &[Raw], form: &TokenForm) -> Self {
        let driven = logs.iter().filter(|log| log.kind != RoadKind::Unseen);
        let pieces = driven.map(|log| (&log.rows, log.rows.part(Part::Tuning, form))).collect();
        let rows = TokenRows::of_pieces(pieces, form);
        Baseline(TokenBaseline::fit(&rows.expect("a part of a log has rows"), form))
    }

    /// Nats of every row of a log; 0 of those before the first that can be predicted.
    pub(super) fn nats(&self, log: &TokenLog, form: &TokenForm) -> Vec<f64> {
        let all = form.context..log.tokens().len();
        let mut nats = vec![0.0; all.start];
        let rows = TokenRows::of_pieces(vec![(log, all)], form);
        nats.extend(rows.into_iter().flat_map(|rows| self.0.measure(&rows).each));
        nats
    }
}
