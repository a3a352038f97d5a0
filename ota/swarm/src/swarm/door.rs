//! The five doors.

use embassy_time::Instant;
use shoal_wire::{Now, PackHash};

use crate::records::RejectRecord;

use super::{Input, Keep, Output, Reject, Swarm, Utility, store};

impl Swarm {
    /// Takes what happened. True: a record that was not known; the shell stores it and hands it in again after a start, before
    /// the first phase, for as long as [`Records`](crate::records::Records) hold it. What comes over the air comes after the
    /// phase of the window in which it came: a record of a window that is not known to be open is refused. The
    /// vehicle's own records are handed in like all others, once they are sealed.
    ///
    /// # Errors
    /// [`Reject`]: the input changed nothing but what its documentation says.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) -> Result<bool, Reject> {
        let taken = self.take(now, input);
        self.advance(now);
        taken
    }

    /// The pack of the first term stays what it is from one utility document to the next.
    fn is_of_our_pack(&self, got: PackHash) -> Result<(), Reject> {
        match self.utility.pack().filter(|want| *want != got) {
            Some(want) => Err(Reject::Record(RejectRecord::WrongPack { got, want })),
            None => Ok(()),
        }
    }

    fn take(&mut self, now: Now, input: Input<'_>) -> Result<bool, Reject> {
        let when = self.when(now);
        match input {
            Input::Claim(claim) => {
                self.is_of_our_pack(claim.body.fields().pack)?;
                self.records.claim(&when, &self.roster, claim).map_err(Reject::Record)
            }
            Input::Vote(vote) => {
                self.is_of_our_pack(vote.body.fields().pack)?;
                self.records.vote(&when, &self.roster, vote).map_err(Reject::Record)
            }
            Input::Header { header, slot } => {
                self.records.header(&when, &self.roster, header, slot).map_err(Reject::Record)
            }
            Input::Nonce(nonce) => self.records.nonce(&when, nonce).map_err(Reject::Record),
            Input::Utility(document) => {
                let utility = Utility::new(document);
                if utility == self.utility {
                    return Ok(false);
                }
                utility.follows(&self.utility).map_err(Reject::Utility)?;
                self.utility = utility;
                Ok(true)
            }
            Input::Roster(roster) => {
                let changed = *roster != self.roster;
                if changed {
                    self.roster = roster.clone();
                    self.records.keep(roster);
                }
                Ok(changed)
            }
            Input::Reinstated(reinstated) => {
                let changed = *reinstated != self.reinstated;
                if changed {
                    self.reinstated = reinstated.clone();
                }
                Ok(changed)
            }
            Input::Phase(phase) => {
                self.phase(now, phase);
                Ok(false)
            }
            Input::Current => {
                if let Some(night) = &mut self.night {
                    night.current = true;
                }
                Ok(false)
            }
            Input::Tuned(tuned) => {
                store::check(tuned, self.start.len()).map_err(Reject::Values)?;
                self.tuned = Some(tuned.clone());
                self.tuned_at = self.state.base;
                (self.has_tuned, self.fresh) = (true, !self.state.given);
                Ok(false)
            }
            Input::Fetched { particle, values } => self.fetched(particle, values).map(|()| false),
            Input::Missing { particle } => self.missing(particle, true).map(|()| false),
            Input::Unreached { particle } => self.missing(particle, false).map(|()| false),
            Input::Measured { job, terms } => self.measured(job, Some(terms)).map(|()| false),
            Input::Unmeasured { job } => self.measured(job, None).map(|()| false),
            Input::Coded { job, particle, values, slot } => {
                store::check(values, self.start.len()).map_err(Reject::Values)?;
                self.coded(job, Some((particle, values, slot))).map(|()| false)
            }
            Input::Uncoded { job } => self.coded(job, None).map(|()| false),
        }
    }

    /// Takes that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
    }

    /// The next thing to make durable, before any output that follows.
    pub fn poll_persist(&mut self) -> Option<Keep> {
        self.keeps.pop_front()
    }

    /// What to do; nothing while there is something to make durable.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.keeps.is_empty() { self.outputs.pop_front() } else { None }
    }

    /// When to call [`Swarm::handle_timeout`]; `None`: only an input can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let night = self.night.as_ref().filter(|night| night.online)?;
        if !night.started {
            return Some(night.begin_by);
        }
        let next = if night.late { night.claim_by } else { night.fold_by };
        (!night.hurried).then_some(next)
    }
}
