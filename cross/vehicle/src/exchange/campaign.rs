//! A campaign at one vehicle: it hears what came of it elsewhere, begins when its stage is open, and says what came of it here.

use std::collections::BTreeMap;
use std::mem;

use shoal_swarm::campaign::{
    Campaign, Drawn, Duty, Mine, Order, Outcome, PARTICLE_SLOT, Plan, REPORT_SLOT,
};
use shoal_window::Phase;
use shoal_wire::v1::{Activity, Presence, Refusal, RefusalCode, RefusalFields};
use shoal_wire::{KeyId, ParticleId, RecordId, Verified};
use tracing::{info, warn};

use super::key::received;
use super::line::For;
use super::particles::{Got, Wanted};
use super::run::{Exchange, ExchangeError};
use super::worker::Job;
use crate::agent::{Ask, Tried, Why};

/// The vehicle's part in a campaign.
#[derive(Debug, Default)]
pub(super) struct Promotion {
    /// How the vehicle stands to the last one that it had a part in.
    pub(super) tried: Option<Tried>,
    /// The campaign that these say something of.
    of: Option<u32>,
    /// Who is in which of its stages, by the roster.
    drawn: Option<Drawn>,
    /// What vehicles say came of it, if anything, each with the counter of the last record that says so.
    outcomes: BTreeMap<KeyId, (u64, Option<Outcome>)>,
    /// Something has happened since it was last thought about.
    due: bool,
    /// The engine is at it.
    working: bool,
    /// The particle that is wanted for it.
    wanted: Option<ParticleId>,
    /// The window in which it was begun last: what fails is tried again in the next.
    attempted: Option<u32>,
    /// Whether this line listens to what came of it elsewhere.
    listening: bool,
    /// Whether the broker's session may still, from a line before.
    session: bool,
    /// What the vehicle said of itself since it listens: once that is back, all that stood there has come.
    pub(super) echo: Option<RecordId>,
    /// Whether it has.
    current: bool,
}

impl Promotion {
    pub(super) fn new(tried: Option<Tried>) -> Self {
        Promotion { tried, due: true, ..Promotion::default() }
    }

    /// Stages are drawn of another roster.
    pub(super) fn roster_came(&mut self) {
        (self.drawn, self.due) = (None, true);
    }

    /// Something has happened.
    pub(super) fn think(&mut self) {
        self.due = true;
    }

    /// A new line listens to nothing yet, and nothing is on its way.
    pub(super) fn hung_up(&mut self) {
        (self.listening, self.wanted) = (false, None);
        (self.echo, self.current) = (None, false);
    }

    /// This vehicle has said this of itself on a line that listens, or not yet.
    pub(super) fn said(&mut self, presence: Option<RecordId>) {
        if self.listening {
            self.echo = presence;
        }
    }

    /// Whether the engine is at it.
    pub(super) const fn is_working(&self) -> bool {
        self.working
    }

    /// The engine is told.
    pub(super) fn work(&mut self) {
        (self.wanted, self.working) = (None, true);
    }

    /// What it wants is fetched anew.
    pub(super) fn begin_again(&mut self) {
        (self.attempted, self.due) = (None, true);
    }

    /// What a running campaign asks of this vehicle, which has no part in it yet.
    pub(super) fn ask(&self, campaign: &Campaign) -> Option<Ask> {
        let plan = &campaign.plan;
        let begins = campaign.order == Order::Run && self.mine(plan.number) == Some(Mine::Outside);
        begins.then(|| Ask {
            number: plan.number,
            particle: plan.particle,
            approval: received(campaign.approval()),
            watch: plan.watch,
        })
    }

    /// A vehicle says in a record of this counter what came of it. That it went back stays true, in whatever order its topics
    /// come; of the rest an older record says nothing any more.
    fn says(&mut self, vehicle: KeyId, counter: u64, outcome: Option<Outcome>) {
        let (newest, before) = self.outcomes.get(&vehicle).copied().unwrap_or_default();
        let outcome = match (before, outcome) {
            (Some(Outcome::GoneBack), _) | (_, Some(Outcome::GoneBack)) => Some(Outcome::GoneBack),
            (Some(Outcome::Kept) | None, said) if counter > newest => said,
            (Some(Outcome::Kept) | None, _) => before,
        };
        self.outcomes.insert(vehicle, (newest.max(counter), outcome));
        self.due |= before != outcome;
    }

    /// How the vehicle stands to the campaign of this number; `None`: it had a part in a later one.
    fn mine(&self, number: u32) -> Option<Mine> {
        match self.tried {
            Some(Tried { ask, .. }) if ask.number > number => None,
            Some(Tried { ask, mine, .. }) if ask.number == number => Some(mine),
            Some(_) | None => Some(Mine::Outside),
        }
    }
}

impl Exchange {
    /// Does what the campaign asks of this vehicle now.
    pub(super) fn promote(&mut self) -> Result<(), ExchangeError> {
        if self.promotion.working || !mem::take(&mut self.promotion.due) {
            return Ok(());
        }
        let Some(campaign) = self.documents.campaign() else { return Ok(()) };
        let Some(mine) = self.promotion.mine(campaign.plan.number) else { return Ok(()) };
        let outcomes = self.promotion.outcomes.iter();
        let outcomes = outcomes.filter_map(|(vehicle, (_, outcome))| Some((*vehicle, (*outcome)?)));
        let roster = self.documents.keyring().roster();
        // It is for the region that this vehicle is in.
        let region = roster.region(self.me).unwrap_or_default();
        let drawn = self.promotion.drawn.get_or_insert_with(|| campaign.plan.draw(roster, region));
        let progress = campaign.plan.progress(drawn, &outcomes.collect());
        let utc_s = self.clock.now().utc.earliest_seconds();
        let duty = campaign.duty(drawn.of(self.me), &progress, mine, utc_s);
        // Sent here by its configuration alone: it is of no stage, and who is would not count it.
        let elsewhere = self.fleet.is_elsewhere(region);
        let listen = campaign.order == Order::Run && mine == Mine::Outside && !elsewhere;
        let (number, plan) = (campaign.plan.number, campaign.plan.clone());
        let current = self.documents.is_current(utc_s);
        self.listen(listen)?;
        match duty {
            Duty::Begin if elsewhere => {
                info!(
                    campaign = number,
                    "the roster has this vehicle in another region: nothing is begun here"
                );
                Ok(())
            }
            // An order to stop may be withheld, with the metadata that name it.
            Duty::Begin if !current => {
                info!(campaign = number, "metadata have ended: nothing is begun before newer ones");
                Ok(())
            }
            // Who keeps it may be heard before who went back.
            Duty::Begin if self.promotion.current => self.begin_trial(&plan),
            Duty::Rest | Duty::Begin => Ok(()),
            Duty::GoBack => {
                info!(campaign = number, "going back");
                self.promotion.working = true;
                self.engine.give(Job::GoBack(number, Why::Told));
                Ok(())
            }
        }
    }

    /// Listens to what came of the campaign elsewhere, or no longer.
    fn listen(&mut self, listen: bool) -> Result<(), ExchangeError> {
        let Some(line) = self.line.as_mut().filter(|line| line.purpose() == For::Window) else {
            return Ok(());
        };
        let Promotion { listening, session, .. } = &mut self.promotion;
        let already = if listen { *listening } else { !*session };
        if already {
            return Ok(());
        }
        let held = *session && !*listening;
        (*listening, *session) = (listen, listen);
        line.listen(&self.board, listen, held);
        if listen && line.connected() {
            let presence = self.say_presence(Activity::Exchanging)?;
            self.promotion.said(presence);
        }
        Ok(())
    }

    /// Fetches the adapter, in a window.
    fn begin_trial(&mut self, plan: &Plan) -> Result<(), ExchangeError> {
        let Some(Phase::Open { window, .. }) = self.phase else { return Ok(()) };
        if self.line_for() != Some(For::Window) || self.promotion.attempted == Some(window) {
            return Ok(());
        }
        self.promotion.attempted = Some(window);
        let own = shoal_wire::LayoutHash::new(self.layout.hash());
        if plan.base_model != self.base_model || plan.layout != own {
            warn!(campaign = plan.number, "it is for another model or layout than this vehicle's");
            return Ok(());
        }
        self.promotion.wanted = Some(plan.particle);
        let authority = self.fleet.authority.id();
        if self.gateway.is_some() {
            // It believes the authority's word of it, whose else this vehicle may have.
            self.particles.forget_but_of(authority, plan.particle, &mut self.vault)?;
        }
        let want = Wanted {
            particle: plan.particle,
            publisher: authority,
            slot: PARTICLE_SLOT,
            once: false,
        };
        let (now, keys) = (self.clock.now(), self.documents.keyring());
        let link = self.line.as_mut().map(super::line::Line::link);
        let got = self.particles.fetch(now, want, keys, &mut self.vault, link)?;
        info!(campaign = plan.number, particle = %plan.particle, "its stage is open");
        self.got(got.into_iter().collect())
    }

    /// What came may be what the campaign waits for: it is put on trial, once the gateway has it, too, if there is one.
    pub(super) fn promoted(&mut self, got: &Got) -> Result<(), ExchangeError> {
        let (Got::Values(particle, _)
        | Got::Missing(particle)
        | Got::Unreached(particle)
        | Got::Refused(particle, ..)) = got;
        if self.promotion.wanted != Some(*particle) {
            return Ok(());
        }
        // What did not come is asked for in the next window, again.
        let Got::Values(_, values) = got else { return Ok(()) };
        if self.gateway.is_some() {
            return self.bring(*particle);
        }
        self.begin_with(*particle, values);
        Ok(())
    }

    /// How the vehicle stands to a campaign now.
    pub(super) fn tried(&mut self, tried: Option<Tried>) {
        if let Some(Tried { ask, mine, why, .. }) = tried {
            info!(campaign = ask.number, ?mine, ?why, "campaign");
        }
        // What has failed left all as it was: there is nothing new to think about.
        self.promotion.due |= tried != self.promotion.tried;
        (self.promotion.tried, self.promotion.working) = (tried, false);
    }

    /// What a vehicle drives with, as it says itself.
    pub(super) fn heard_presence(&mut self, presence: &Verified<'_, Presence>) {
        if self.promotion.echo == Some(presence.id()) {
            (self.promotion.echo, self.promotion.current) = (None, true);
            self.promotion.think();
        }
        let Some(campaign) = self.documents.campaign() else { return };
        let kept = presence.body().fields().adapter == Some(campaign.plan.particle);
        let (vehicle, counter) = (presence.head().key, presence.head().counter);
        self.promotion.says(vehicle, counter, kept.then_some(Outcome::Kept));
    }

    /// What a vehicle refuses may be the campaign.
    pub(super) fn heard_refusal(&mut self, refusal: &Verified<'_, Refusal>) {
        let Some(campaign) = self.documents.campaign() else { return };
        let RefusalFields { record, code, .. } = *refusal.body().fields();
        let outcome = RefusalCode::from_number(code).and_then(Outcome::refused);
        let Some(outcome) = outcome.filter(|_| record == received(campaign.approval())) else {
            return;
        };
        self.promotion.says(refusal.head().key, refusal.head().counter, Some(outcome));
    }

    /// There is a campaign, or another order. What came of the one before is not said of this one.
    pub(super) fn campaign_came(&mut self) -> Result<(), ExchangeError> {
        let number = self.documents.campaign().map(|campaign| campaign.plan.number);
        if self.promotion.of != number {
            self.promotion.of = number;
            self.promotion.outcomes.clear();
            self.promotion.drawn = None;
            (self.promotion.wanted, self.promotion.attempted) = (None, None);
            // What stands at the broker is to come again.
            (self.promotion.echo, self.promotion.current) = (None, false);
            self.listen(false)?;
        }
        self.promotion.think();
        Ok(())
    }

    /// Says that the vehicle went back, if it did by itself.
    pub(super) fn report(&mut self, window: u32) -> Result<(), ExchangeError> {
        let Some(Tried { ask, why: Some(why), .. }) = self.promotion.tried else { return Ok(()) };
        let current = self.documents.campaign().map(|campaign| campaign.plan.number);
        let Some(code) = why.code().filter(|_code| current == Some(ask.number)) else {
            return Ok(());
        };
        let fields = RefusalFields { window, record: ask.approval, code: code.number() };
        self.say_refusal(REPORT_SLOT, fields)
    }

    /// Whether something is on trial, and nothing is left to do before it is driven with.
    pub(super) fn waits_for_road(&self) -> bool {
        let on_trial = self.promotion.tried.is_some_and(|tried| tried.mine == Mine::Watching);
        on_trial && !self.promotion.working && self.line.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vehicle that starts anew reads them as they stand at the broker: presence first, though it was said last.
    #[test]
    fn that_a_vehicle_went_back_is_heard_in_whatever_order_its_topics_come() {
        let vehicle = KeyId::new([1; 8]);
        let refusal = (7, Some(Outcome::GoneBack));
        let orders =
            [[refusal, (8, None)], [(8, None), refusal], [(6, Some(Outcome::Kept)), refusal]];
        for order in orders {
            let mut promotion = Promotion::new(None);
            promotion.due = false;
            for (counter, outcome) in order {
                promotion.says(vehicle, counter, outcome);
            }
            let said = promotion.outcomes.get(&vehicle).and_then(|(_counter, outcome)| *outcome);
            assert_eq!((said, promotion.due), (Some(Outcome::GoneBack), true), "{order:?}");
        }
    }

    #[test]
    fn the_last_that_a_vehicle_drives_with_counts() {
        let vehicle = KeyId::new([1; 8]);
        let mut promotion = Promotion::new(None);
        promotion.says(vehicle, 8, None);
        promotion.says(vehicle, 7, Some(Outcome::Kept));
        assert_eq!(promotion.outcomes.get(&vehicle), Some(&(8, None)));
        promotion.says(vehicle, 9, Some(Outcome::Kept));
        assert_eq!(promotion.outcomes.get(&vehicle), Some(&(9, Some(Outcome::Kept))));
    }
}
