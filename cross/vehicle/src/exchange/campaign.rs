//! A campaign at one vehicle: it hears what came of it elsewhere, begins when its stage is open, and says what came of it here.

use std::collections::BTreeMap;
use std::mem;

use shoal_swarm::campaign::{Drawn, Duty, Mine, Order, Outcome, PARTICLE_SLOT, Plan};
use shoal_swarm::swarm::Flat;
use shoal_window::Phase;
use shoal_wire::v1::{Presence, Refusal, RefusalCode, RefusalFields, SLOTS};
use shoal_wire::{KeyId, ParticleId, Verified};
use tracing::{info, warn};

use super::key::received;
use super::line::For;
use super::particles::Got;
use super::run::{Exchange, ExchangeError};
use super::worker::Job;
use crate::agent::{Ask, Tried};

/// Where a vehicle says that it went back: the last of its refusals' slots, which no other refusal takes.
pub(super) const REPORT: u8 = SLOTS - 1;

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
    }

    /// What is kept of particles for its sake.
    pub(super) const fn wanted(&self) -> Option<ParticleId> {
        self.wanted
    }

    /// A vehicle says in a record of this counter what came of it; an older one says nothing any more.
    fn says(&mut self, vehicle: KeyId, counter: u64, outcome: Option<Outcome>) {
        let before = self.outcomes.get(&vehicle).copied();
        if before.is_none_or(|(newest, _outcome)| counter > newest) {
            self.outcomes.insert(vehicle, (counter, outcome));
            self.due |= before.and_then(|(_counter, outcome)| outcome) != outcome;
        }
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
        let drawn = self.promotion.drawn.get_or_insert_with(|| campaign.plan.draw(roster));
        let progress = campaign.plan.progress(drawn, &outcomes.collect());
        let utc_s = self.clock.now().utc.earliest_seconds();
        let duty = campaign.duty(drawn.of(self.me), &progress, mine, utc_s);
        let listen = campaign.order == Order::Run && mine == Mine::Outside;
        let (number, plan) = (campaign.plan.number, campaign.plan.clone());
        self.listen(listen);
        match duty {
            Duty::Rest => Ok(()),
            Duty::Begin => self.begin_trial(&plan),
            Duty::GoBack => {
                info!(campaign = number, "going back");
                self.promotion.working = true;
                self.engine.give(Job::GoBack(number));
                Ok(())
            }
        }
    }

    /// Listens to what came of the campaign elsewhere, or no longer.
    fn listen(&mut self, listen: bool) {
        let Some(line) = self.line.as_mut().filter(|line| line.purpose() == For::Window) else {
            return;
        };
        let Promotion { listening, session, .. } = &mut self.promotion;
        let already = if listen { *listening } else { !*session };
        if !already {
            (*listening, *session) = (listen, listen);
            line.listen(&self.board, listen);
        }
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
        let want = (plan.particle, self.fleet.authority.id(), PARTICLE_SLOT);
        let (now, keys) = (self.clock.now(), self.documents.keyring());
        let link = self.line.as_mut().map(super::line::Line::link);
        let got = self.particles.fetch(now, want, &self.board, keys, &mut self.vault, link)?;
        info!(campaign = plan.number, particle = %plan.particle, "its stage is open");
        self.got(got.into_iter().collect())
    }

    /// What came may be what the campaign waits for: it is put on trial.
    pub(super) fn promoted(&mut self, got: &Got) {
        let (Got::Values(particle, _)
        | Got::Missing(particle)
        | Got::Unreached(particle)
        | Got::Refused(particle, ..)) = got;
        if self.promotion.wanted != Some(*particle) {
            return;
        }
        let (Got::Values(_, values), Some(campaign), Some(start)) =
            (got, self.documents.campaign(), &self.start)
        else {
            // In the next window, again.
            return;
        };
        if campaign.plan.particle != *particle || values.len() != start.len() {
            return;
        }
        let adapter: Flat = start.iter().zip(values.iter()).map(|(x_p, more)| x_p + more).collect();
        let ask = Ask {
            number: campaign.plan.number,
            particle: *particle,
            approval: received(campaign.approval()),
            watch: campaign.plan.watch,
        };
        (self.promotion.wanted, self.promotion.working) = (None, true);
        self.engine.give(Job::Try { adapter, ask });
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
        let Some(campaign) = self.documents.campaign() else { return };
        let kept = presence.body().fields().adapter == Some(campaign.plan.particle);
        let (vehicle, counter) = (presence.head().key, presence.head().counter);
        let before = self.promotion.outcomes.get(&vehicle).copied();
        // That it went back stays true.
        let outcome = match before.and_then(|(_counter, outcome)| outcome) {
            Some(Outcome::GoneBack) => Some(Outcome::GoneBack),
            Some(Outcome::Kept) | None => kept.then_some(Outcome::Kept),
        };
        self.promotion.says(vehicle, counter, outcome);
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
    pub(super) fn campaign_came(&mut self) {
        let number = self.documents.campaign().map(|campaign| campaign.plan.number);
        if self.promotion.of != number {
            self.promotion.of = number;
            self.promotion.outcomes.clear();
            self.promotion.drawn = None;
            (self.promotion.wanted, self.promotion.attempted) = (None, None);
            // What stands at the broker is to come again.
            self.listen(false);
        }
        self.promotion.think();
    }

    /// Says that the vehicle went back, if it did by itself.
    pub(super) fn report(&mut self, window: u32) -> Result<(), ExchangeError> {
        let Some(Tried { ask, why: Some(why), .. }) = self.promotion.tried else { return Ok(()) };
        let current = self.documents.campaign().map(|campaign| campaign.plan.number);
        let Some(code) = why.code().filter(|_code| current == Some(ask.number)) else {
            return Ok(());
        };
        let fields = RefusalFields { window, record: ask.approval, code: code.number() };
        self.say_refusal(REPORT, fields)
    }

    /// Whether something is on trial, and nothing is left to do before it is driven with.
    pub(super) fn waits_for_road(&self) -> bool {
        let on_trial = self.promotion.tried.is_some_and(|tried| tried.mine == Mine::Watching);
        on_trial && !self.promotion.working && self.line.is_none()
    }
}
