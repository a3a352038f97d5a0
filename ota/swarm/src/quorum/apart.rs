//! Votes that have fallen apart for good (docs/decisions/0103).

use super::Quorum;
use crate::roster::majority;

/// After so many windows of votes that do not add up: as many as votes stand on the board, so that whoever is there sees the same.
const APART_WINDOWS: usize = 4;

impl Quorum<'_> {
    /// How many of these windows go up to the last in which votes had fallen apart: in it and in the three before, a majority
    /// measured a nominee and none of them beside the same particle, so that nothing could be elected ever again. Windows in which
    /// too few voted say nothing. 0: they have not.
    pub(super) fn apart(&self, windows: &[u32]) -> usize {
        let mut row = 0_usize;
        let mut until = 0;
        for (count, window) in (1..).zip(windows) {
            match self.is_apart(*window) {
                Some(true) => row = row.saturating_add(1),
                Some(false) => row = 0,
                None => continue,
            }
            if row >= APART_WINDOWS {
                until = count;
            }
        }
        until
    }

    /// Whether a majority measured a nominee of this window and no majority measured one beside the same particle; `None`: no
    /// majority measured one.
    fn is_apart(&self, window: u32) -> Option<bool> {
        let judged = self.judged().get(&window)?;
        let most = majority(judged.voters);
        let asked = judged.votes.values().any(|votes| votes.measured.len() >= most);
        asked.then_some(judged.ballots.is_empty())
    }
}
