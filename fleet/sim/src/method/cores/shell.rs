//! The shell of one vehicle: what a real one does with sockets, files and an engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use embassy_time::{Duration, Instant};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use shoal_swarm::records::Signed;
use shoal_swarm::swarm::{Event, Flat, Input, On, Output, Particle, Phase, Swarm};
use shoal_vehicle::exchange::weights::{About, code};
use shoal_window::Slots;
use shoal_wire::coding::Quality;
use shoal_wire::v1::{Claim, ParticleHeader, Role, Vote};
use shoal_wire::{KeyId, LayoutHash, Leaf, ModelHash, Now, ParticleId, SecretKey, Utc};

use super::super::{MethodError, moved};
use super::believing::Belief;
use super::board::{Board, Held, Record, What, topic_bytes};
use super::lying::Liar;
use crate::traffic::Traffic;

/// Filters that a vehicle subscribes to in a window: what is agreed (six), records of three kinds, its presence.
const FILTERS: [usize; 10] = [39, 37, 40, 38, 45, 40, 24, 23, 27, 43];

/// What is unlike in vehicles.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways {
    /// Whether it lies, and how.
    pub(super) liar: Option<Liar>,
    /// Whether it believes what others claim, instead of measuring it.
    pub(super) believes: bool,
    /// Whether what it contributes is what it tuned the night before.
    pub(super) stale: bool,
}

/// One vehicle. What it has coded stands in `coded`, in order.
pub(super) struct Shell {
    key: SecretKey,
    pub(super) swarm: Swarm,
    pub(super) online: bool,
    /// Where the next night begins.
    pub(super) from: Flat,
    /// What the last night brought.
    pub(super) tuned: Flat,
    /// What the swarm would have the vehicle drive with.
    pub(super) staged: Option<Flat>,
    pub(super) told: Told,
    /// What its contributions have cost, where they are private.
    pub(super) epsilon: Option<f64>,
    pub(super) ways: Ways,
    /// What it claims in this window in place of what it folded, where it fits that to a part of the pack.
    pub(super) fitted: Option<Flat>,
    /// What it has coded of that since it was asked last, as adapters.
    claimed: Vec<Flat>,
    start: Flat,
    /// Of a vehicle that is always late: what it tuned for this window, which its core hears of in the next.
    late: Option<Flat>,
    /// What its core was told last that it tuned.
    heard: Option<Flat>,
    slots: Slots,
    /// The window after which the broker keeps its session for one more, and what the broker holds back for it.
    pub(super) attended: Option<u32>,
    held_back: Vec<Record>,
    particles: BTreeMap<ParticleId, Flat>,
    coded: Vec<CodedParticle>,
    busy_until_ms: u64,
    traffic: Traffic,
    chance: ChaCha8Rng,
}

/// A particle of its own.
struct CodedParticle {
    header: Arc<Signed<ParticleHeader>>,
    payload: usize,
    slot: Option<u8>,
    values: Flat,
    chunks: Vec<usize>,
}

/// What was decided in a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) moved: u32,
    pub(super) stayed: u32,
    pub(super) dropped: u32,
    pub(super) searched: u32,
    pub(super) braked: u32,
    /// Inputs that the core rejected.
    pub(super) rejected: u32,
    /// Contributions that were not paid for.
    pub(super) withheld: u32,
    /// Bytes received of chunks, of records as they were published, and of what was published before the window.
    pub(super) chunks: u64,
    pub(super) records: u64,
    pub(super) before: u64,
}

/// What a vehicle asks of the world.
pub(super) enum Asked {
    Publish(Record),
    Measure { job: u64, candidate: Flat, beside: Option<Flat>, on: On, belief: Option<Belief> },
    Coded { job: u64, coded: usize },
    Fetch { particle: ParticleId, publisher: KeyId, slot: u8 },
    Wake(u64),
}

/// What the core asked for: some of it the shell does with the board at hand.
pub(super) enum Doing {
    World(Asked),
    Code { job: u64, particle: Particle },
    Publish { particle: ParticleId, chunks: bool },
    Claim(Claim),
    Vote(Vote),
}

impl Shell {
    pub(super) fn lies(&self) -> bool {
        self.ways.liar.is_some()
    }

    pub(super) fn new(key: SecretKey, swarm: Swarm, start: Flat, ways: Ways) -> Self {
        let mut seed = [0; 32];
        seed.iter_mut().zip(key.public().id().bytes()).for_each(|(seed, byte)| *seed = *byte);
        Shell {
            key,
            swarm,
            online: false,
            from: start.clone(),
            tuned: start.clone(),
            staged: None,
            told: Told::default(),
            epsilon: None,
            ways,
            fitted: None,
            claimed: Vec::new(),
            start,
            late: None,
            heard: None,
            slots: Slots::new(),
            attended: None,
            held_back: Vec::new(),
            particles: BTreeMap::new(),
            coded: Vec::new(),
            busy_until_ms: 0,
            traffic: Traffic::default(),
            chance: ChaCha8Rng::from_seed(seed),
        }
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.chance.next_u32() >> 8) / f64::from(1 << 24)
    }

    /// A seed.
    pub(super) fn draw(&mut self) -> u64 {
        u64::from(self.chance.next_u32())
    }

    /// Its key's name.
    pub(super) fn id(&self) -> KeyId {
        self.key.public().id()
    }

    /// What it contributed in this window, as others read it: an adapter.
    pub(super) fn published(&self, start: &Flat, window: u32) -> Option<Flat> {
        let contributed = self.coded.iter().rev().find(|coded| {
            let fields = coded.header.body.fields();
            fields.role == Role::Contribution && fields.window == window
        })?;
        let anchor = match contributed.header.body.fields().anchor {
            Some(anchor) => moved(start, self.values(&anchor)?),
            None => start.clone(),
        };
        Some(moved(&anchor, &contributed.values))
    }

    /// Which particle that it made or fetched this adapter is, by what merges and the paper's particles are: differences to the
    /// start adapter.
    pub(super) fn particle(&self, adapter: &Flat) -> Option<ParticleId> {
        let is = |by: &Flat| {
            let place = self.start.iter().zip(by.iter()).map(|(start, by)| start + by);
            place.eq(adapter.iter().copied())
        };
        self.particles.iter().find(|(_particle, by)| is(by)).map(|(particle, _by)| *particle)
    }

    /// When its engine has done what was asked of it.
    pub(super) const fn free_at(&self) -> u64 {
        self.busy_until_ms
    }

    pub(super) const fn busy_until(&mut self, ms: u64) {
        self.busy_until_ms = ms;
    }

    /// A window is over: what nobody builds on any more is forgotten, and the session of who was not there.
    pub(super) fn forget(&mut self, window: u32) {
        if self.attended != Some(window) {
            self.attended = None;
            self.held_back.clear();
        }
        let needed = self.swarm.needed();
        self.particles.retain(|particle, _values| needed.contains(particle));
        self.coded.retain(|coded| needed.contains(&coded.header.body.id()));
    }

    /// What its core was told last that it tuned.
    pub(super) const fn heard(&self) -> Option<&Flat> {
        self.heard.as_ref()
    }

    /// What it began with.
    pub(super) const fn start(&self) -> &Flat {
        &self.start
    }

    /// What it has coded since this was asked last that is fitted to a part of the pack.
    pub(super) fn take_claimed(&mut self) -> Vec<Flat> {
        std::mem::take(&mut self.claimed)
    }

    pub(super) fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// The values of a particle that it made or fetched: differences to the start adapter are added to it by the core.
    pub(super) fn values(&self, particle: &ParticleId) -> Option<&Flat> {
        self.particles.get(particle)
    }

    /// Chunks came over the line.
    pub(super) fn fetched(&mut self, held: &Held) {
        let before = self.traffic.down;
        for chunk in &held.chunks {
            self.traffic.receives(held.topic, *chunk);
        }
        self.told.chunks += self.traffic.down - before;
    }

    pub(super) fn tell_tuned(&mut self, now_ms: u64) -> Vec<Doing> {
        let tuned = self.tuned.clone();
        let told = if self.ways.stale { self.late.replace(tuned) } else { Some(tuned) };
        let Some(told) = told else { return Vec::new() };
        self.heard = Some(told.clone());
        self.input(now_ms, Input::Tuned(&told))
    }

    pub(super) fn open(
        &mut self,
        now_ms: u64,
        window: u32,
        closes_ms: u64,
        board: &Board,
    ) -> Vec<Doing> {
        self.online = true;
        self.traffic.session(&FILTERS);
        let closes_at = Instant::MIN + Duration::from_millis(closes_ms);
        let mut doing = self.input(now_ms, Input::Phase(Phase::Open { window, closes_at }));
        let before = self.traffic.down;
        // A session is kept until the next window: what is new since then comes, else all that stands there.
        let held_back = std::mem::take(&mut self.held_back);
        let kept = self.attended.is_some_and(|attended| attended + 1 == window);
        let all = board.retained().filter(|_record| !kept);
        for record in held_back.iter().filter(|_record| kept).chain(all) {
            self.traffic.receives(record.topic, record.payload);
            doing.extend(self.take_in(now_ms, record));
        }
        self.attended = Some(window);
        self.told.before += self.traffic.down - before;
        doing.extend(self.input(now_ms, Input::Current));
        doing
    }

    pub(super) fn closing(&mut self, now_ms: u64) -> Vec<Doing> {
        self.input(now_ms, Input::Phase(Phase::Closing))
    }

    pub(super) fn closed(&mut self, now_ms: u64) -> Vec<Doing> {
        self.online = false;
        self.input(now_ms, Input::Phase(Phase::Closed))
    }

    /// A record does not come: the broker holds it back for the session.
    pub(super) fn misses(&mut self, record: &Record) {
        if self.attended.is_some() {
            self.held_back.push(record.clone());
        }
    }

    /// A record came over the line.
    pub(super) fn record(&mut self, now_ms: u64, record: &Record) -> Vec<Doing> {
        let before = self.traffic.down;
        self.traffic.receives(record.topic, record.payload);
        self.told.records += self.traffic.down - before;
        self.take_in(now_ms, record)
    }

    fn take_in(&mut self, now_ms: u64, record: &Record) -> Vec<Doing> {
        match &record.what {
            What::Claim(claim) => self.input(now_ms, Input::Claim(claim)),
            What::Vote(vote) => self.input(now_ms, Input::Vote(vote)),
            What::Header(header, slot) => self.input(now_ms, Input::Header { header, slot: *slot }),
            What::Nonce(nonce) => self.input(now_ms, Input::Nonce(nonce)),
        }
    }

    pub(super) fn measured(
        &mut self,
        now_ms: u64,
        job: u64,
        terms: &[shoal_swarm::swarm::TermResult],
    ) -> Vec<Doing> {
        if terms.is_empty() {
            return self.input(now_ms, Input::Unmeasured { job });
        }
        self.input(now_ms, Input::Measured { job, terms })
    }

    pub(super) fn coded(&mut self, now_ms: u64, job: u64, coded: usize) -> Vec<Doing> {
        let Some(coded) = self.coded.get(coded) else {
            return self.input(now_ms, Input::Uncoded { job });
        };
        let (particle, slot) = (coded.header.body.id(), coded.slot);
        let values = coded.values.clone();
        self.input(now_ms, Input::Coded { job, particle, values: &values, slot })
    }

    pub(super) fn got(
        &mut self,
        now_ms: u64,
        particle: ParticleId,
        values: Option<Flat>,
    ) -> Vec<Doing> {
        match values.or_else(|| self.particles.get(&particle).cloned()) {
            Some(values) => {
                self.particles.insert(particle, values.clone());
                self.input(now_ms, Input::Fetched { particle, values: &values })
            }
            None => self.input(now_ms, Input::Missing { particle }),
        }
    }

    pub(super) fn wake(&mut self, now_ms: u64) -> Vec<Doing> {
        if self.swarm.poll_timeout().is_some_and(|at| at.as_millis() <= now_ms) {
            self.swarm.handle_timeout(now(now_ms));
        }
        self.drain()
    }

    fn input(&mut self, now_ms: u64, input: Input<'_>) -> Vec<Doing> {
        if self.swarm.handle_input(now(now_ms), input).is_err() {
            self.told.rejected += 1;
        }
        self.drain()
    }

    /// Drains the doors; what is to be kept is kept: a simulated disk has no faults.
    fn drain(&mut self) -> Vec<Doing> {
        let mut doing = Vec::new();
        loop {
            while self.swarm.poll_persist().is_some() {}
            let Some(output) = self.swarm.poll_output() else { break };
            match output {
                Output::Fetch { particle, publisher, slot, once: _ } => {
                    doing.push(Doing::World(Asked::Fetch { particle, publisher, slot }));
                }
                Output::Measure { job, candidate, beside, on, awaited } => {
                    let belief = self.belief(&candidate, beside.as_ref(), on, awaited);
                    let asked = Asked::Measure { job, candidate, beside, on, belief };
                    doing.push(Doing::World(asked));
                }
                Output::Code { job, particle } => doing.push(Doing::Code { job, particle }),
                Output::Publish { particle, chunks } => {
                    doing.push(Doing::Publish { particle, chunks });
                }
                Output::Claim(mut fields) => {
                    if let Some(liar) = &self.ways.liar {
                        liar.claim(&mut fields);
                    }
                    let liar = self.ways.liar.as_ref();
                    let again = liar.and_then(|liar| liar.claim_again(&fields));
                    let said = [Some(fields), again].into_iter().flatten();
                    doing.extend(said.filter_map(|one| Claim::new(one).ok().map(Doing::Claim)));
                }
                Output::Vote(mut fields) => {
                    if let Some(liar) = &self.ways.liar {
                        liar.vote(&mut fields, self.swarm.records());
                    }
                    doing.extend(Vote::new(fields).ok().map(Doing::Vote));
                }
                Output::Refusal(_) => {}
                Output::Tune { from, particle: _, window: _ } => {
                    // Who is late and stays, stays with what it tuned last.
                    let stays = self.ways.stale && self.heard.as_ref() == Some(&from);
                    self.from = if stays { self.tuned.clone() } else { from };
                }
                Output::Stage(adapter) => self.staged = Some(adapter),
                Output::Event(event) => self.hear(&event),
            }
        }
        if let Some(at) = self.swarm.poll_timeout() {
            doing.push(Doing::World(Asked::Wake(at.as_millis())));
        }
        doing
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Moved { .. } => self.told.moved += 1,
            Event::Stayed => self.told.stayed += 1,
            Event::Merged { dropped, searched, braked, .. } => {
                self.told.dropped += *dropped as u32;
                self.told.searched += u32::from(*searched);
                self.told.braked += u32::from(*braked);
            }
            Event::Paid { epsilon } => self.epsilon = Some(*epsilon),
            Event::Withheld { epsilon } => {
                self.epsilon = Some(*epsilon);
                self.told.withheld += 1;
            }
            Event::Began { .. } | Event::Stepped { .. } => {}
        }
    }

    /// Codes, seals and publishes what the core asked for; what is left is the world's.
    pub(super) fn code(
        &mut self,
        doing: Vec<Doing>,
        tensors: &[u32],
        base_model: ModelHash,
        layout: LayoutHash,
        board: &mut Board,
    ) -> Result<Vec<Asked>, MethodError> {
        let mut asked = Vec::new();
        for doing in doing {
            match doing {
                Doing::World(one) => asked.push(one),
                Doing::Code { job, mut particle } => {
                    let meant = self.meant(&mut particle, board);
                    let role = particle.role;
                    let about = About {
                        role,
                        window: particle.window,
                        base_model,
                        layout,
                        anchor: particle.anchor,
                        inputs: particle.inputs,
                    };
                    let Some(quality) = Quality::new(particle.bits) else { continue };
                    let coded = code(about, meant, tensors, quality)?;
                    let id = coded.header.id();
                    let (header, payload) = board.sign(&self.key, coded.header);
                    let slot = self.slots.take(id, &self.swarm.held()).ok();
                    while self.slots.poll_persist().is_some() {}
                    let values: Flat = coded.received.into();
                    if self.fitted.is_some() && role != Role::Contribution {
                        self.claimed.push(moved(&self.start, &values));
                    }
                    self.particles.insert(id, values.clone());
                    let chunks = coded.chunks.iter().map(Vec::len).collect();
                    let header = Arc::new(header);
                    self.coded.push(CodedParticle { header, payload, slot, values, chunks });
                    asked.push(Asked::Coded { job, coded: self.coded.len() - 1 });
                }
                Doing::Publish { particle, chunks } => {
                    asked.extend(self.publish(particle, chunks, board).map(Asked::Publish));
                }
                Doing::Claim(claim) => {
                    let record = board.claim(&self.key, claim);
                    asked.push(Asked::Publish(self.sent(record)));
                }
                Doing::Vote(vote) => {
                    let record = board.vote(&self.key, vote);
                    asked.push(Asked::Publish(self.sent(record)));
                }
            }
        }
        Ok(asked)
    }

    fn publish(&mut self, particle: ParticleId, chunks: bool, board: &mut Board) -> Option<Record> {
        let slot = self.slots.find(particle)?;
        let me = self.key.public().id();
        let coded = self.coded.iter().rev().find(|coded| coded.header.body.id() == particle)?;
        let (header, payload) = (Arc::clone(&coded.header), coded.payload);
        let window = coded.header.body.fields().window;
        let chunks = chunks && self.ways.liar.as_ref().is_none_or(|liar| liar.serves(window));
        let bytes = if chunks { coded.chunks.iter().sum() } else { 0 };
        if chunks {
            let topic = topic_bytes(me, Leaf::Chunk { slot, index: 0 });
            coded.chunks.iter().for_each(|chunk| self.traffic.sends(topic, *chunk));
            let (values, chunks) = (coded.values.clone(), coded.chunks.clone());
            board.put(me, slot, Held { particle, values, chunks, topic });
        }
        let mut record = board.header(&self.key, &header, payload, slot);
        record.chunks = bytes;
        Some(self.sent(record))
    }

    /// A record of its own goes out; it comes back, as it is subscribed to.
    fn sent(&mut self, record: Record) -> Record {
        self.traffic.sends(record.topic, record.payload);
        record
    }
}

fn now(ms: u64) -> Now {
    Now {
        since_boot: Instant::MIN + Duration::from_millis(ms),
        utc: Utc::Known { seconds: ms / 1000, uncertainty_seconds: 0 },
    }
}
