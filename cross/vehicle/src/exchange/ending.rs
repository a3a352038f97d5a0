//! What is written down of a window, from its beginning to its end, and what is forgotten then.

use shoal_swarm::swarm::Flat;
use shoal_swarm::utility::value_of;
use shoal_window::{Phase, number};
use tracing::{info, warn};

use super::diary::Entry;
use super::line::For;
use super::metrics::Memory;
use super::particles::Got;
use super::run::{Exchange, ExchangeError};

/// Windows without this vehicle that are written down at most.
const MISSED_MAX: u32 = 64;

/// A clock that is behind by so much is told of: what was signed on another computer may be a little ahead.
const BEHIND_SECONDS: u64 = 60;

impl Exchange {
    /// A window begins: those before it are written down, also those that were missed.
    pub(super) fn begin_entry(&mut self, window: u32) -> Result<(), ExchangeError> {
        if self.tonight.entry.as_ref().is_some_and(|entry| entry.window == window) {
            return Ok(());
        }
        self.write_entry()?;
        self.write_missed(window)?;
        let mut entry = Entry::new(window);
        entry.crossed(std::mem::take(&mut self.tonight.before_line), For::Joining);
        (entry.seconds.tuning, entry.loss) = std::mem::take(&mut self.tonight.before_window);
        entry.steps = std::mem::take(&mut self.tonight.steps);
        self.tonight.entry = Some(entry);
        self.tonight.values.clear();
        self.tonight.refused.clear();
        self.tonight.opened = Some(self.clock.now().since_boot);
        Ok(())
    }

    /// Windows before this one that the vehicle took no part in.
    fn write_missed(&mut self, window: u32) -> Result<(), ExchangeError> {
        if self.start.is_none() {
            return Ok(());
        }
        let next = self.diary.written().map_or(0, |written| written.saturating_add(1));
        for missed in next.max(window.saturating_sub(MISSED_MAX))..window {
            let own = self.driving_with();
            self.diary.write(&Entry::new(missed), &own, None)?;
        }
        Ok(())
    }

    /// Writes the window down once it is over and all of it is done.
    pub(super) fn end_of_window(&mut self) -> Result<(), ExchangeError> {
        let closed = matches!(self.phase, Some(Phase::Closed { .. } | Phase::Waiting { .. }));
        if !closed || !self.engine.idle() || self.line.is_some() {
            return Ok(());
        }
        self.write_entry()?;
        // Of the last windows, those that passed without this vehicle.
        let (Some(windows), Some(plan)) = (self.run.windows, self.documents.plan()) else {
            return Ok(());
        };
        match number(plan, self.clock.now().utc.earliest_seconds()) {
            Some(now) if now >= windows => self.write_missed(windows),
            Some(_) | None => Ok(()),
        }
    }

    fn write_entry(&mut self) -> Result<(), ExchangeError> {
        let Some(mut entry) = self.tonight.entry.take() else { return Ok(()) };
        let (Some(swarm), Some(start)) = (&self.swarm, self.start.clone()) else { return Ok(()) };
        // Votes of this window count from the next one on.
        let best = swarm.best(entry.window.saturating_add(1)).map(|best| best.particle);
        entry.best = best.map(|best| best.to_string());
        let keys = self.documents.keyring();
        let difference = match best {
            Some(best) => self.particles.read(best, keys, &mut self.vault)?,
            None => None,
        };
        let best: Option<Flat> = match difference {
            Some(Got::Values(_, difference)) => Some(
                start.iter().zip(difference.iter()).map(|(start, more)| start + more).collect(),
            ),
            Some(_) | None => None,
        };
        let own = self.driving_with();
        if let Some((part, terms)) = self.terms_of(&own) {
            entry.part = Some(*part);
            entry.value = self.utility_of(terms, entry.window);
            entry.terms.clone_from(terms);
        }
        if let Some((_part, terms)) = best.as_ref().and_then(|best| self.terms_of(best)) {
            entry.best_value = self.utility_of(terms, entry.window);
            entry.best_terms.clone_from(terms);
        }
        if entry.took_part && swarm.records().nonce_of(entry.window).is_none() {
            warn!(
                window = entry.window,
                utc = self.clock.seconds(),
                signed = self.clock.passed_seconds(),
                "no nonce of this window came: `shoal fleet serve` does not run, or this computer's clock (utc) is ahead of the fleet's (signed); nothing is elected in it"
            );
        }
        let now = self.clock.now().since_boot;
        let opened = self.tonight.opened.take().unwrap_or(now);
        entry.seconds.window = now.saturating_duration_since(opened).as_micros() as f64 / 1e6;
        entry.memory_bytes = Memory::peak_bytes();
        if let Some(value) = entry.value {
            self.run.metrics.own_utility(value_of(value));
        }
        if let Some(value) = entry.best_value {
            self.run.metrics.best_utility(value_of(value));
        }
        self.diary.write(&entry, &own, best.as_deref())?;
        info!(window = entry.window, best = entry.best, value = entry.value, "window over");
        self.forget(entry.window)
    }

    /// Says that the computer's clock is behind what was signed: nothing opens by such a clock.
    pub(super) fn mind_clock(&self) {
        let behind = self.clock.behind_seconds();
        self.run.metrics.clock_behind.set(i64::try_from(behind).unwrap_or(i64::MAX));
        if behind > BEHIND_SECONDS {
            warn!(
                seconds = behind,
                "this computer's clock is behind what the fleet signed: it is not believed, and no window opens until it is set"
            );
        }
    }

    /// What the vehicle would drive with: what was staged last, else x_p.
    fn driving_with(&self) -> Flat {
        self.staged.clone().or_else(|| self.start.clone()).unwrap_or_else(|| Flat::from([]))
    }
}
