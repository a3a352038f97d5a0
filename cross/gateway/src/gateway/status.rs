//! How things stand, for who asks.

use shoal_window::{Phase, Transfer};
use shoal_wire::Now;

use super::Gateway;
use crate::protocol::{Receiving, Stack, Status};

impl Gateway {
    pub(super) fn status(&self, now: Now, stack: Stack) -> Status {
        Status {
            up_ms: now.since_boot.as_millis(),
            utc: now.utc.into(),
            window: match self.phase {
                Phase::Closed { .. } => None,
                Phase::Waiting { window, .. }
                | Phase::Open { window, .. }
                | Phase::Closing { window, .. } => Some(window),
            },
            left: self.window.left().into(),
            receiving: self.receiving.as_ref().map(receiving),
            slots: self.slots.status(),
            trial: self.trial.state().into(),
            dropped: 0,
            stack,
        }
    }
}

fn receiving(transfer: &Transfer) -> Receiving {
    let (have, count) = transfer.progress().unwrap_or((0, 0));
    let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    Receiving { particle: transfer.particle(), have: byte(have), count: byte(count) }
}
