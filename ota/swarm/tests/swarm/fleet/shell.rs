//! The shell of one vehicle: what a real one does with sockets, files and an engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use embassy_time::{Duration, Instant};
use sha2::{Digest, Sha256};
use shoal_swarm::draws::Chance;
use shoal_swarm::records::{RejectRecord, Signed};
use shoal_swarm::swarm::{
    Event, Flat, Input, Keep, On, Output, Particle, Phase, Reject, Saved, Setup, Swarm, ValuesHash,
};
use shoal_wire::v1::{
    Chunk, Claim, ClaimFields, Nonce, ParticleHeader, ParticleHeaderFields, Role, SLOTS, Vote,
};
use shoal_wire::{ChunkHash, Now, ParticleId, Utc};

use super::world::{Happening, OPEN_MS, PERIOD_MS, World, draws};
use crate::make::{signed, vehicle};

/// A record as it travels.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Claim(Arc<Signed<Claim>>),
    Header(Arc<Signed<ParticleHeader>>, u8),
    Vote(Arc<Signed<Vote>>),
    Nonce(Arc<Signed<Nonce>>),
}

impl Record {
    /// One writer a topic: kind, vehicle, slot, place.
    pub(crate) fn topic(&self) -> (u8, u8, u32, u8) {
        match self {
            Self::Claim(claim) => (1, claim.signer.bytes()[0], claim.body.fields().slot.into(), 0),
            Self::Vote(vote) => {
                let fields = vote.body.fields();
                (2, vote.signer.bytes()[0], fields.window % 4, fields.place)
            }
            Self::Header(header, slot) => (3, header.signer.bytes()[0], (*slot).into(), 0),
            Self::Nonce(nonce) => (5, 0, nonce.body.fields().window % 16, 0),
        }
    }
}

/// What a vehicle does to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Character {
    Honest,
    /// Contributes and claims noise, ten times as far, and says that it is perfect; votes the opposite.
    Liar,
    /// The same, and what it claims is not to be had.
    Withholder,
    /// Sends a little more than it has learned, always the same way.
    Drifter,
    /// Sends what is not a number.
    Broken,
    /// Measures every particle to be worse than what it has.
    Doubter,
}

impl Character {
    fn lies(self) -> bool {
        matches!(self, Self::Liar | Self::Withholder)
    }
}

/// One vehicle. What is durable survives a power cut; `swarm` and `asked` do not.
pub(crate) struct Shell {
    setup: Setup,
    pub(crate) character: Character,
    pub(crate) swarm: Swarm,
    pub(crate) online: bool,
    window: u32,
    // Durable:
    state: Option<Vec<u8>>,
    values: BTreeMap<ValuesHash, Flat>,
    pub(crate) particles: BTreeMap<ParticleId, Flat>,
    /// Headers of particles of its own, sealed, with their slots; and what their chunks hold.
    coded: BTreeMap<ParticleId, (Arc<Signed<ParticleHeader>>, u8)>,
    sent: BTreeMap<ParticleId, Flat>,
    known: Vec<Record>,
    slots: Vec<(ParticleId, u64)>,
    /// From where it tunes; what came of the last tuning, and from where that was.
    pub(crate) checkpoint: Flat,
    tuned: Option<(ValuesHash, Flat)>,
    pub(crate) staged: Option<Flat>,
    pub(crate) sealed: Vec<Record>,
    pub(crate) published: Vec<Arc<Signed<ParticleHeader>>>,
    pub(crate) events: Vec<Event>,
    /// Outputs taken and values kept so far.
    acts: u64,
}

impl Shell {
    pub(crate) fn new(number: u8, setup: Setup, character: Character) -> Self {
        let mut setup = setup;
        setup.vehicle = vehicle(number);
        if character.lies() {
            // It folds, and claims, whether it is drawn or not.
            setup.conduct.folders = usize::MAX;
        }
        let swarm = Swarm::new(setup.clone(), Saved::default(), |_hash| None).unwrap();
        Self {
            checkpoint: setup.start.clone(),
            tuned: None,
            setup,
            character,
            swarm,
            online: false,
            window: 0,
            coded: BTreeMap::new(),
            sent: BTreeMap::new(),
            state: None,
            values: BTreeMap::new(),
            particles: BTreeMap::new(),
            known: Vec::new(),
            slots: Vec::new(),
            staged: None,
            sealed: Vec::new(),
            published: Vec::new(),
            events: Vec::new(),
            acts: 0,
        }
    }

    /// The slot of a new particle: the oldest that nobody builds on.
    fn slot(&mut self, particle: ParticleId) -> Option<u8> {
        let held = self.swarm.held();
        let newest = self.slots.iter().map(|(_, order)| *order).max().unwrap_or(0);
        if let Some(slot) = self.slots.iter().position(|(one, _)| *one == particle) {
            return Some(slot as u8);
        }
        if self.slots.len() < usize::from(SLOTS) {
            self.slots.push((particle, newest + 1));
            return Some(self.slots.len() as u8 - 1);
        }
        let free = self.slots.iter_mut().enumerate().filter(|(_, (one, _))| !held.contains(one));
        let (slot, place) = free.min_by_key(|(_, (_, order))| *order)?;
        *place = (particle, newest + 1);
        Some(slot as u8)
    }

    /// Values that the stored state names.
    pub(crate) fn kept_values(&self) -> Vec<ValuesHash> {
        let named = Saved::decode(self.state.as_deref()).unwrap().values();
        assert!(named.iter().all(|hash| self.values.contains_key(hash)), "all are there");
        named
    }

    /// The power is cut and comes back: only what is durable is left.
    fn restart(&mut self) {
        let saved = Saved::decode(self.state.as_deref()).unwrap();
        let named = saved.values();
        self.values.retain(|hash, _values| named.contains(hash));
        let values = |hash: &ValuesHash| self.values.get(hash).cloned();
        self.swarm = Swarm::new(self.setup.clone(), saved, values).unwrap();
        self.online = false;
    }
}

/// 1 bit to 8: as coarse as swarm-science.md says, one scale for all.
fn quantised(values: &[f32], bits: u8) -> Flat {
    let squares: f32 = values.iter().map(|value| value * value).sum();
    let sigma = (squares / values.len() as f32).sqrt();
    let step = sigma * [0.8, 1.22, 0.6, 0.33, 0.16, 0.08, 0.04, 0.02][usize::from(bits) - 1];
    let most = [0.5, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0][usize::from(bits) - 1];
    if step == 0.0 {
        return values.into();
    }
    values.iter().map(|value| (value / step).round().clamp(-most, most) * step).collect()
}

fn header(setup: &Setup, particle: &Particle, values: &[f32]) -> ParticleHeader {
    let document = setup.document.fields();
    let mut hasher = Sha256::new();
    values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
    let hash = ChunkHash::new(hasher.finalize().into());
    ParticleHeader::new(ParticleHeaderFields {
        role: particle.role,
        window: particle.window,
        base_model: document.base_model,
        layout: document.layout,
        anchor: particle.anchor,
        inputs: particle.inputs.iter().copied().collect(),
        coding: 1,
        values: values.len() as u32,
        chunks: [Chunk { first_value: 0, bytes: 1, hash }].into_iter().collect(),
    })
    .unwrap()
}

impl World {
    fn shell(&mut self, number: u8) -> &mut Shell {
        &mut self.shells[usize::from(number)]
    }

    fn now(&self) -> Now {
        let seconds = self.now_ms / 1000;
        Now {
            since_boot: Instant::MIN + Duration::from_millis(self.now_ms),
            utc: Utc::Known { seconds, uncertainty_seconds: 0 },
        }
    }

    pub(crate) fn happen(&mut self, number: u8, happening: Happening) {
        match happening {
            Happening::Open { window } => self.open(number, window),
            Happening::Closing => self.input(number, Input::Phase(Phase::Closing)),
            Happening::Closed => {
                self.shell(number).online = false;
                self.input(number, Input::Phase(Phase::Closed));
            }
            Happening::Tuned { night } => {
                let from = self.shell(number).checkpoint.clone();
                let tuned = self.roads.tune(number, night, &from);
                self.shell(number).tuned = Some((ValuesHash::of(&from), tuned.clone()));
                self.input(number, Input::Tuned(&tuned));
            }
            Happening::Deliver(record) => {
                if self.shell(number).online {
                    self.record(number, &record);
                }
            }
            Happening::Measured { job, terms } => {
                self.input(number, Input::Measured { job, terms: &terms });
            }
            Happening::Coded { job, particle, slot } => {
                let values = self.shell(number).particles[&particle].clone();
                self.input(number, Input::Coded { job, particle, values: &values, slot });
            }
            Happening::Fetched { particle, values } => match values {
                Some(values) => {
                    self.shell(number).particles.insert(particle, values.clone());
                    self.input(number, Input::Fetched { particle, values: &values });
                }
                None if self.weather.deaf => self.input(number, Input::Unreached { particle }),
                None => self.input(number, Input::Missing { particle }),
            },
            Happening::Wake => {
                let now = self.now();
                self.shell(number).swarm.handle_timeout(now);
                self.drain(number);
            }
        }
    }

    fn open(&mut self, number: u8, window: u32) {
        let closes_at =
            Instant::MIN + Duration::from_millis(u64::from(window) * PERIOD_MS + OPEN_MS - 5_000);
        let shell = self.shell(number);
        (shell.online, shell.window) = (true, window);
        self.input(number, Input::Phase(Phase::Open { window, closes_at }));
        for record in self.broker.retained() {
            self.record(number, &record);
        }
        self.input(number, Input::Current);
    }

    pub(crate) fn record(&mut self, number: u8, record: &Record) {
        let now = self.now();
        let shell = self.shell(number);
        let input = match record {
            Record::Claim(claim) => Input::Claim(claim),
            Record::Vote(vote) => Input::Vote(vote),
            Record::Header(header, slot) => Input::Header { header, slot: *slot },
            Record::Nonce(nonce) => Input::Nonce(nonce),
        };
        match shell.swarm.handle_input(now, input) {
            Ok(true) => shell.known.push(record.clone()),
            Ok(false) => {}
            // Retained records of long ago come at every opening.
            Err(Reject::Record(RejectRecord::WrongWindow { .. })) => {}
            Err(reject) => self.log.push(format!("{number} rejects {reject:?}")),
        }
        self.drain(number);
    }

    fn input(&mut self, number: u8, input: Input<'_>) {
        let now = self.now();
        if let Err(reject) = self.shell(number).swarm.handle_input(now, input) {
            self.log.push(format!("{number} rejects {reject:?}"));
        }
        self.drain(number);
    }

    /// Drains the doors in their order; a power cut may come after any act.
    fn drain(&mut self, number: u8) {
        loop {
            let cuts = self.weather.cuts;
            let shell = self.shell(number);
            let output = match shell.swarm.poll_persist() {
                Some(Keep::Values { hash, values }) => {
                    shell.values.insert(hash, values);
                    None
                }
                Some(Keep::State { key: _, bytes }) => {
                    shell.state = Some(bytes);
                    None
                }
                None => match shell.swarm.poll_output() {
                    Some(output) => Some(output),
                    None => break,
                },
            };
            shell.acts += 1;
            let cut = cuts.is_some_and(|(whose, every)| {
                // 0 + every, then every + 1 later, …: no period of the vehicle's own acts.
                let later = |n: u64| n * every + n * (n - 1) / 2;
                whose == number && (1..200).map(later).any(|at| at == shell.acts)
            });
            if let Some(output) = output {
                self.act(number, output);
            }
            if cut {
                self.power_cut(number);
                return;
            }
        }
        if let Some(at) = self.shell(number).swarm.poll_timeout() {
            self.at(at.as_millis().max(self.now_ms + 1), number, Happening::Wake);
        }
    }

    pub(crate) fn power_cut(&mut self, number: u8) {
        self.log.push(format!("{} {number} restarts", self.now_ms));
        let was_online = self.shell(number).online;
        let shell = self.shell(number);
        shell.restart();
        let (known, position) = (std::mem::take(&mut shell.known), shell.swarm.position().clone());
        let name = ValuesHash::of(&position);
        let tuned = shell.tuned.clone().filter(|(from, _tuned)| *from == name);
        shell.checkpoint = position;
        for record in known {
            self.record(number, &record);
        }
        if let Some((_from, tuned)) = tuned {
            self.input(number, Input::Tuned(&tuned));
        }
        if was_online {
            let window = self.shell(number).window;
            // Sealed and durable: published again, in case it was not.
            for record in self.shell(number).sealed.clone() {
                self.publish(Some(number), &record);
            }
            self.open(number, window);
        }
    }

    fn act(&mut self, number: u8, output: Output) {
        let now_ms = self.now_ms;
        self.log.push(format!("{now_ms} {number} {output}"));
        match output {
            Output::Fetch { particle, publisher, slot, once: _ } => {
                let local = self.shell(number).particles.get(&particle).cloned();
                let values = local.or_else(|| self.broker.chunks(publisher, slot, particle));
                let late = 200 + (self.unit() * 1500.0) as u64;
                self.at(now_ms + late, number, Happening::Fetched { particle, values });
            }
            Output::Measure { job, candidate, beside, on, awaited: _ } => {
                let mut terms = match on {
                    On::Part(part) => self.roads.measure(part, &candidate, beside.as_deref()),
                    On::Own => self.roads.measure_own(number, &candidate),
                };
                if self.shell(number).character == Character::Doubter && beside.is_some() {
                    terms.iter_mut().for_each(|term| term.value = term.beside - 1);
                }
                self.at(now_ms + 200, number, Happening::Measured { job, terms });
            }
            Output::Code { job, particle } => self.code(number, job, &particle),
            Output::Publish { particle, chunks } => self.chunks(number, particle, chunks),
            Output::Claim(fields) => self.claim(number, fields),
            Output::Vote(mut fields) => {
                if self.shell(number).character.lies() {
                    fields.terms.iter_mut().for_each(|term| {
                        std::mem::swap(&mut term.value, &mut term.best);
                    });
                }
                let vote = signed(number, 0, Vote::new(fields).unwrap());
                self.seal(number, Record::Vote(Arc::new(vote)));
            }
            Output::Refusal(_) => {}
            Output::Tune { from, .. } => self.shell(number).checkpoint = from,
            Output::Stage(adapter) => self.shell(number).staged = Some(adapter),
            Output::Event(event) => self.shell(number).events.push(event),
        }
    }

    /// What is coded is durable before the core is told.
    fn code(&mut self, number: u8, job: u64, particle: &Particle) {
        let shell = self.shell(number);
        let honest = quantised(&particle.difference, particle.bits);
        let sent: Flat = match shell.character {
            Character::Honest | Character::Doubter => honest.clone(),
            Character::Liar | Character::Withholder => {
                let mut noise = draws(99, number, particle.window);
                honest.iter().map(|_| 10.0 * (noise.unit() as f32 - 0.5)).collect()
            }
            Character::Broken => honest.iter().map(|_| f32::NAN).collect(),
            // Always the same way, a little: a third of what it adds honestly.
            Character::Drifter => {
                let mut way = draws(98, 0, 0);
                let size =
                    honest.iter().map(|value| value.abs()).sum::<f32>() / honest.len() as f32;
                honest.iter().map(|value| value + 0.33 * size * way.normal() as f32).collect()
            }
        };
        let seen = if shell.character == Character::Broken { honest } else { sent.clone() };
        let header = header(&shell.setup, particle, &sent);
        let name = header.id();
        let slot = shell.slot(name);
        shell.particles.insert(name, seen);
        shell.sent.insert(name, sent);
        shell.coded.insert(name, (Arc::new(signed(number, 0, header)), slot.unwrap_or(0)));
        let ms = self.now_ms + 100;
        self.at(ms, number, Happening::Coded { job, particle: name, slot });
    }

    fn chunks(&mut self, number: u8, particle: ParticleId, chunks: bool) {
        let coded = self.shell(number).coded.get(&particle).cloned();
        let (header, slot) = coded.expect("a coded particle is durable");
        if chunks && self.shell(number).character != Character::Withholder {
            let values = self.shell(number).sent[&particle].clone();
            self.broker.put(vehicle(number), slot, particle, &values);
        }
        if !self.shell(number).published.iter().any(|one| one.id == header.id) {
            self.shell(number).published.push(header.clone());
        }
        self.seal(number, Record::Header(header, slot));
    }

    fn claim(&mut self, number: u8, mut fields: ClaimFields) {
        if self.shell(number).character.lies() {
            fields
                .terms
                .iter_mut()
                .for_each(|term| (term.value, term.standard_error) = (9_900, 10));
        }
        let claim = signed(number, 0, Claim::new(fields).unwrap());
        self.seal(number, Record::Claim(Arc::new(claim)));
    }

    fn seal(&mut self, number: u8, record: Record) {
        self.shell(number).sealed.push(record.clone());
        self.publish(Some(number), &record);
        self.record(number, &record);
    }
}

impl Shell {
    /// The particles that it claimed, by window.
    pub(crate) fn claimed(&self) -> Vec<(u32, ParticleId)> {
        let claims = self.sealed.iter().filter_map(|record| match record {
            Record::Claim(claim) => {
                Some((claim.body.fields().window, claim.body.fields().particle))
            }
            Record::Header(..) | Record::Vote(_) | Record::Nonce(_) => None,
        });
        claims.collect()
    }

    /// What it voted on, by window.
    pub(crate) fn voted(&self) -> Vec<(u32, ParticleId)> {
        let votes = self.sealed.iter().filter_map(|record| match record {
            Record::Vote(vote) => Some((vote.body.fields().window, vote.body.fields().nominee)),
            Record::Header(..) | Record::Claim(_) | Record::Nonce(_) => None,
        });
        votes.collect()
    }

    /// What it contributed and published, by window.
    pub(crate) fn contributed(&self) -> Vec<(u32, ParticleId)> {
        let headers =
            self.published.iter().filter(|header| header.body.fields().role == Role::Contribution);
        headers.map(|header| (header.body.fields().window, header.body.id())).collect()
    }
}
