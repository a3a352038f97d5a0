//! What waits for the vehicle's key while the token that holds it is gone. It is sealed in its order once the token is back; what came
//! too late by then is left out, as after a cut of power.

use std::collections::VecDeque;
use std::mem;

use embassy_time::{Duration, Instant};
use shoal_wire::v1::{Activity, Claim, RefusalFields, Vote};
use shoal_wire::{Leaf, Unsigned};
use tracing::{info, warn};

use super::line::{For, Line};
use super::run::{Exchange, ExchangeError};
use super::weights::Coded;

/// The token is not asked more often.
const AGAIN: Duration = Duration::from_secs(1);
/// More than a vehicle says in a window. The oldest goes for one more.
const WAITING_MAX: usize = 1024;

/// Something to seal.
pub(super) enum Unsealed {
    Particle { job: u64, coded: Box<Coded> },
    Claim { window: u32, leaf: Leaf, claim: Claim },
    Vote { window: u32, leaf: Leaf, vote: Vote },
    Refusal { slot: u8, fields: RefusalFields },
    Presence(Activity),
}

/// What waits, and when the key is asked again.
#[derive(Default)]
pub(super) struct Waiting {
    all: VecDeque<Unsealed>,
    again: Option<Instant>,
}

impl Waiting {
    /// Whether something waits: what is new takes its place behind it.
    pub(super) fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// When the key is asked again.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.again
    }
}

impl Exchange {
    /// The key does not sign.
    pub(super) fn key_is_gone(&mut self, why: Unsigned) {
        if self.waiting.again.is_none() {
            warn!(%why, "the vehicle's key is not there: what it would say waits");
        }
        self.waiting.again = Some(self.clock.now().since_boot + AGAIN);
    }

    /// This is sealed when the key is back.
    pub(super) fn wait_for_key(&mut self, what: Unsealed) {
        let same = |other: &Unsealed| match (other, &what) {
            (Unsealed::Presence(other), Unsealed::Presence(what)) => other == what,
            (_, _) => false,
        };
        if self.waiting.all.iter().any(same) {
            return;
        }
        if self.waiting.all.len() >= WAITING_MAX {
            self.waiting.all.pop_front();
        }
        self.waiting.all.push_back(what);
        self.count_unsigned();
    }

    /// Asks the key again, if it is time.
    pub(super) fn seal_what_waits(&mut self) -> Result<(), ExchangeError> {
        let now = self.clock.now().since_boot;
        let Some(again) = self.waiting.again else { return Ok(()) };
        if again > now {
            return Ok(());
        }
        let window = self.tonight.entry.as_ref().map(|entry| entry.window);
        let late = |of: u32| window.is_some_and(|window| of < window);
        for what in mem::take(&mut self.waiting.all) {
            match what {
                // Does not count any more.
                Unsealed::Claim { window, .. } if late(window) => {}
                Unsealed::Claim { window, leaf, claim } => self.say_claim(window, leaf, claim)?,
                Unsealed::Vote { window, leaf, vote } => self.say_vote(window, leaf, vote)?,
                Unsealed::Particle { job, coded } => self.seal_particle(job, *coded)?,
                Unsealed::Refusal { slot, fields } => self.say_refusal(slot, fields)?,
                Unsealed::Presence(activity) => self.say_late(activity)?,
            }
        }
        if !self.waiting.any() {
            self.waiting.again = None;
            info!("nothing waits for the vehicle's key any more");
        }
        self.count_unsigned();
        Ok(())
    }

    /// Says what the vehicle is doing, if it still can be heard.
    fn say_late(&mut self, activity: Activity) -> Result<(), ExchangeError> {
        if self.line_for() != Some(For::Window) || !self.line.as_ref().is_some_and(Line::connected)
        {
            return Ok(());
        }
        let presence = self.say_presence(activity)?;
        if activity == Activity::Exchanging {
            self.tonight.echo = presence;
            self.promotion.said(presence);
        }
        Ok(())
    }

    fn count_unsigned(&self) {
        let waiting = i64::try_from(self.waiting.all.len()).unwrap_or(i64::MAX);
        self.run.metrics.unsigned_records.set(waiting);
    }
}
