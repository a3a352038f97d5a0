//! The gateway at one vehicle: what it is told, and what its word forbids.

use shoal_gateway::{PhaseName, Refusal};
use shoal_swarm::campaign::Mine;
use shoal_swarm::swarm::Flat;
use shoal_window::Phase;
use shoal_wire::{Kind, ParticleId, RecordId};
use tracing::{debug, info, warn};

use super::key::received;
use super::particles::Got;
use super::run::{Exchange, ExchangeError};
use super::worker::Job;
use crate::agent::{Tried, Why};
use crate::gateway::{Guard, Judged, Sealed, Standing, Tell};

/// The gateway, and what it was told.
pub(super) struct Guarded {
    guard: Box<dyn Guard>,
    standing: Standing,
    /// The window plan that it was told of, by its envelope.
    plan: Option<RecordId>,
    /// Where the vehicle's own window was at the last look.
    phase: Option<Phase>,
    /// The particle that it is being brought, and how many it was brought before.
    bringing: Option<ParticleId>,
    number: u32,
    /// That of which it was told what became of its adapter.
    judged: Option<ParticleId>,
}

impl Guarded {
    pub(super) fn new(guard: Box<dyn Guard>) -> Self {
        Guarded {
            guard,
            standing: Standing::default(),
            plan: None,
            phase: None,
            bringing: None,
            number: 0,
            judged: None,
        }
    }

    pub(super) fn tell(&mut self, tell: Tell) {
        self.guard.tell(tell);
    }

    /// Whether the vehicle may exchange, for all that the gateway says.
    pub(super) fn exchanges(&self) -> bool {
        self.standing.exchanges()
    }

    /// Whether it may ask for what the fleet agreed on.
    pub(super) fn joins(&self) -> bool {
        self.standing.joins()
    }

    /// What is kept of particles for its sake.
    pub(super) fn bringing(&self) -> Option<ParticleId> {
        self.bringing
    }

    /// The window plan, once; and that the vehicle's own window is over.
    fn tell_window(&mut self, plan: Option<&[u8]>, phase: Option<Phase>) {
        if let Some(plan) = plan {
            let name = received(plan);
            if self.plan.replace(name) != Some(name) {
                self.tell(Tell::Plan(plan.to_vec()));
            }
        }
        let was = std::mem::replace(&mut self.phase, phase);
        let ran = matches!(was, Some(Phase::Open { .. } | Phase::Closing { .. }));
        if ran && matches!(phase, Some(Phase::Closed { .. })) {
            self.tell(Tell::Drained);
        }
    }

    /// Tells it what became of what it holds on trial, once; whether the vehicle is to go back from what it kept, since the gateway does not.
    fn settle(&mut self, tried: &Tried) -> bool {
        let particle = Some(tried.ask.particle);
        let decided = match tried.mine {
            Mine::Kept => Some(true),
            Mine::GoneBack => Some(false),
            Mine::Outside | Mine::Watching => None,
        };
        if let Some(kept) = decided
            && self.standing.on_trial == particle
            && self.judged != particle
        {
            self.judged = particle;
            let Tried { frames, gain, .. } = *tried;
            self.tell(Tell::Judged(Judged { kept, frames, gain }));
        }
        decided == Some(true) && self.standing.rolled_back == particle
    }
}

impl Exchange {
    /// Tells the gateway what there is to tell, and does what follows from how things stand with it.
    pub(super) fn mind_gateway(&mut self) -> Result<(), ExchangeError> {
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        gateway.tell_window(self.documents.envelope(Kind::WindowPlan), self.phase);
        let standing = gateway.guard.standing();
        let before = std::mem::replace(&mut gateway.standing, standing);
        let standing = &gateway.standing;
        self.run.metrics.gateway_silent.set(standing.phase.is_none().into());
        if standing.phase.is_some() != before.phase.is_some() {
            tell_answers(standing);
        }
        if standing.phase != before.phase {
            debug!(phase = ?standing.phase, "the gateway's window");
            if standing.phase == Some(PhaseName::NoPlan) {
                // It began anew, or could not take the plan before.
                gateway.plan = None;
            }
        }
        if let Some(why) = standing.refused
            && before.refused != Some(why)
        {
            tell_refused(why);
        }
        let brought = standing.brought;
        let opens = standing.exchanges() != before.exchanges();
        if let Some(tried) = self.promotion.tried.filter(|_| !self.promotion.is_working())
            && gateway.settle(&tried)
        {
            warn!(campaign = tried.ask.number, "the gateway has ended the trial: going back");
            self.promotion.work();
            self.engine.give(Job::GoBack(tried.ask.number, Why::Worse));
        }
        if opens {
            self.tell_conditions();
        }
        match brought {
            Some((number, result)) => self.brought(number, result),
            None => Ok(()),
        }
    }

    /// Brings the gateway a particle whose adapter is to be tried.
    pub(super) fn bring(&mut self, particle: ParticleId) -> Result<(), ExchangeError> {
        let Some(gateway) = &mut self.gateway else { return Ok(()) };
        if gateway.bringing == Some(particle) {
            return Ok(());
        }
        let authority = self.fleet.authority.id();
        if self.particles.forget_but_of(authority, particle, &mut self.vault)? {
            // It was on its way from somebody else already.
            self.promotion.begin_again();
            return Ok(());
        }
        let Some(header) = self.particles.header(particle) else { return Ok(()) };
        let mut chunks = Vec::new();
        for hash in self.particles.chunks(particle) {
            // What the vault lost is fetched again, in the next window.
            let Some(chunk) = self.vault.blob(hash)? else { return Ok(()) };
            chunks.push(chunk);
        }
        info!(%particle, "the gateway is brought it");
        let number = gateway.number.wrapping_add(1);
        (gateway.bringing, gateway.number) = (Some(particle), number);
        gateway.tell(Tell::Bring(Sealed { number, particle, header: header.to_vec(), chunks }));
        Ok(())
    }

    /// The gateway holds a particle now, or will not.
    fn brought(&mut self, number: u32, result: Result<(), Refusal>) -> Result<(), ExchangeError> {
        let Some(gateway) = self.gateway.as_mut().filter(|gateway| gateway.number == number) else {
            return Ok(());
        };
        let Some(particle) = gateway.bringing.take() else { return Ok(()) };
        if let Err(why) = result {
            warn!(%particle, %why, "the gateway refuses what the campaign promotes: it is not tried");
            return Ok(());
        }
        let keys = self.documents.keyring();
        if let Some(Got::Values(_, values)) =
            self.particles.read(particle, keys, &mut self.vault)?
        {
            self.begin_with(particle, &values);
        }
        Ok(())
    }

    /// Puts on trial what a campaign promotes, whose values these are.
    pub(super) fn begin_with(&mut self, particle: ParticleId, values: &Flat) {
        let (Some(campaign), Some(start)) = (self.documents.campaign(), &self.start) else {
            return;
        };
        if campaign.plan.particle != particle || values.len() != start.len() {
            return;
        }
        let Some(ask) = self.promotion.ask(campaign) else { return };
        let adapter: Flat = start.iter().zip(values.iter()).map(|(x_p, more)| x_p + more).collect();
        self.promotion.work();
        self.engine.give(Job::Try { adapter, ask });
    }
}

fn tell_answers(standing: &Standing) {
    match standing.phase {
        Some(phase) => info!(?phase, "the gateway answers"),
        None => warn!("the gateway does not answer: nothing is exchanged until it does"),
    }
}

fn tell_refused(why: Refusal) {
    if why == Refusal::NotProvisioned {
        warn!(
            "the gateway is not provisioned: `shoal fleet gateway` writes the first sector of its flash"
        );
    } else if matches!(why, Refusal::Record { .. }) {
        warn!(
            %why,
            "the gateway does not take the window plan; if its fleet's keys were replaced, `shoal fleet gateway` writes its first sector anew"
        );
    } else {
        warn!(%why, "the gateway does not take the window plan");
    }
}
