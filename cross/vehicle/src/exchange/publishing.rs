//! What is published: records sealed and kept, particles coded and kept, refusals, and what the vehicle says of itself.

use embassy_time::Instant;
use shoal_link::SHAKEN;
use shoal_swarm::campaign::REPORT_SLOT;
use shoal_swarm::swarm::{Flat, Input, Swarm};
use shoal_wire::v1::{
    Activity, Claim, ParticleHeader, Presence, PresenceFields, Refusal, RefusalCode, RefusalFields,
    Role, VOTE_WINDOWS, Vote,
};
use shoal_wire::{Body, Leaf, ParticleId, RecordId, SealError, Topic, seal};
use tracing::warn;

use super::key::{received, verified};
use super::line::Line;
use super::run::{Exchange, ExchangeError};
use super::unsigned::Unsealed;
use super::weights::{CodeError, Coded};

/// What a vehicle signs counts for so many periods, and at least so long.
const PERIODS_VALID: u64 = 8;
const SECONDS_VALID_MIN: u64 = 9 * 24 * 3600;

/// Records on their way to the broker: `outgoing/<window>/<topic>`.
pub(super) const OUTGOING: &str = "outgoing/";
/// Headers of particles, sealed: `header/<particle>`.
pub(super) const HEADER: &str = "header/";

/// Window and topic of what is kept under this key.
fn outgoing(key: &str) -> Option<(u32, &str)> {
    let (window, topic) = key.strip_prefix(OUTGOING)?.split_once('/')?;
    Some((window.parse().ok()?, topic))
}

impl Exchange {
    /// What has not come back from the broker is published again: records of this window, and votes of those before whose
    /// places are still theirs. A claim or a header of an earlier window comes too late: it was never said. What has come back and has
    /// not stood there for long is published again after all else, also the header of a particle whose claim is voted on in this window.
    pub(super) fn republish(&mut self, window: u32) -> Result<(), ExchangeError> {
        for key in self.vault.keys(OUTGOING)? {
            let Some((of, text)) = outgoing(&key) else { continue };
            let leaf = Topic::decode(text).ok().map(|topic| topic.leaf());
            let Some(envelope) = self.vault.get(&key)? else { continue };
            let again = self.counts_here(of, &envelope);
            let counts_for = match leaf {
                Some(Leaf::Vote { .. }) => u32::from(VOTE_WINDOWS),
                Some(Leaf::Particle { slot }) if again && self.is_claimed(of, slot, &envelope) => 2,
                Some(_) | None => 1,
            };
            if !(of..of.saturating_add(counts_for)).contains(&window) {
                self.vault.remove(&key)?;
                continue;
            }
            if let Some(Leaf::Particle { slot }) = leaf {
                self.publish_chunks(slot, &envelope, again)?;
            }
            match &mut self.line {
                Some(line) if again => line.publish_again(text.to_owned(), envelope),
                Some(line) => line.publish(text.to_owned(), envelope),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether a record of ours counts here: then it has come back.
    fn counts_here(&self, window: u32, envelope: &[u8]) -> bool {
        let Some(swarm) = &self.swarm else { return false };
        let (records, id) = (swarm.records(), received(envelope));
        records.claims(window).any(|claim| claim.id == id)
            || records.votes(window).any(|vote| vote.id == id)
            || records.particles(window).any(|header| header.id == id)
    }

    /// Whether what this header of ours names is claimed, and still has its slot.
    fn is_claimed(&self, window: u32, slot: u8, envelope: &[u8]) -> bool {
        let own = self.own();
        let (Some(swarm), Ok(header)) = (&self.swarm, verified::<ParticleHeader>(envelope, &own))
        else {
            return false;
        };
        let particle = header.body().id();
        let mut claims = swarm.records().claims(window);
        claims.any(|claim| claim.signer == self.me && claim.body.particle == particle)
            && self.slots.find(particle) == Some(slot)
    }

    /// A record of ours stands at the broker.
    pub(super) fn came_back(&mut self, text: &str, bytes: &[u8]) -> Result<(), ExchangeError> {
        let now = self.clock.now().since_boot;
        for key in self.vault.keys(OUTGOING)? {
            let here = outgoing(&key).is_some_and(|(_window, topic)| topic == text);
            if here && self.vault.get(&key)?.is_some_and(|envelope| envelope == bytes) {
                self.tonight.came_back.entry(key).or_insert(now);
            }
        }
        Ok(())
    }

    /// There is a connection: what came back on another one has not stood on this one yet.
    pub(super) fn stands_anew(&mut self) {
        let now = self.clock.now().since_boot;
        self.tonight.came_back.values_mut().for_each(|at| *at = now);
    }

    /// What has come back, and has stood there for as long as a broker may not keep what it acknowledged, is not published again.
    pub(super) fn settle_outgoing(&mut self) -> Result<(), ExchangeError> {
        if !self.line.as_ref().is_some_and(Line::connected) {
            return Ok(());
        }
        let now = self.clock.now().since_boot;
        let settled = |_key: &String, at: &mut Instant| *at + SHAKEN <= now;
        let settled: Vec<String> =
            self.tonight.came_back.extract_if(.., settled).map(|(key, _at)| key).collect();
        for key in settled {
            self.vault.remove(&key)?;
        }
        Ok(())
    }

    /// A particle is coded: its chunks and its sealed header are durable before the core hears of it.
    pub(super) fn coded(
        &mut self,
        job: u64,
        coded: Result<Coded, CodeError>,
    ) -> Result<(), ExchangeError> {
        let coded = match coded {
            Ok(coded) => coded,
            Err(error) => {
                warn!(%error, "a particle cannot be coded");
                self.tell_swarm(Input::Uncoded { job });
                return Ok(());
            }
        };
        for chunk in &coded.chunks {
            self.vault.keep_blob(chunk)?;
        }
        self.seal_particle(job, coded)
    }

    /// Seals the header of a particle whose chunks are kept, and keeps it, before the core hears of it.
    pub(super) fn seal_particle(&mut self, job: u64, coded: Coded) -> Result<(), ExchangeError> {
        let particle = coded.header.id();
        let key = header_key(particle);
        // Coded before a cut: it is not sealed twice.
        let envelope = match self.vault.get(&key)? {
            Some(envelope) => envelope,
            None => match self.seal(&coded.header)? {
                Some(envelope) => {
                    self.vault.put(&key, &envelope)?;
                    envelope
                }
                None => {
                    let coded = Box::new(coded);
                    self.wait_for_key(Unsealed::Particle { job, coded });
                    return Ok(());
                }
            },
        };
        self.particles.know(self.me, &coded.header, &envelope);
        let held = self.swarm.as_ref().map(Swarm::held).unwrap_or_default();
        let slot = self.slots.take(particle, &held).ok();
        if let Some(record) = self.slots.poll_persist() {
            self.vault.put(record.key, record.bytes)?;
        }
        let values: Flat = coded.received.into();
        self.log.sealed(&coded.header);
        self.tell_swarm(Input::Coded { job, particle, values: &values, slot });
        Ok(())
    }

    pub(super) fn publish_particle(
        &mut self,
        particle: ParticleId,
        chunks: bool,
    ) -> Result<(), ExchangeError> {
        let Some(slot) = self.slots.find(particle) else { return Ok(()) };
        let Some(envelope) = self.vault.get(&header_key(particle))? else { return Ok(()) };
        if chunks {
            self.publish_chunks(slot, &envelope, false)?;
        }
        let own = self.own();
        let Ok(header) = verified::<ParticleHeader>(&envelope, &own) else { return Ok(()) };
        let fields = header.body().fields();
        if let (Some(entry), Role::Contribution) = (&mut self.tonight.entry, fields.role) {
            entry.contributed = true;
        }
        let window = fields.window;
        self.publish_record(window, Leaf::Particle { slot }, &envelope)
    }

    fn publish_chunks(
        &mut self,
        slot: u8,
        envelope: &[u8],
        again: bool,
    ) -> Result<(), ExchangeError> {
        let own = self.own();
        let Ok(header) = verified::<ParticleHeader>(envelope, &own) else { return Ok(()) };
        for (index, chunk) in (0..=u8::MAX).zip(&header.body().fields().chunks) {
            let Some(bytes) = self.vault.blob(chunk.hash.bytes())? else { continue };
            let (Some(line), Ok(topic)) =
                (&mut self.line, self.board.own(Leaf::Chunk { slot, index }))
            else {
                continue;
            };
            let header = envelope.to_vec();
            if again {
                line.publish_chunk_again(topic, header, index, bytes);
            } else {
                line.publish_chunk(topic, header, index, bytes);
            }
        }
        Ok(())
    }

    /// Seals a claim and publishes it.
    pub(super) fn say_claim(
        &mut self,
        window: u32,
        leaf: Leaf,
        claim: Claim,
    ) -> Result<(), ExchangeError> {
        match self.seal(&claim)? {
            Some(envelope) => self.publish_record(window, leaf, &envelope)?,
            None => self.wait_for_key(Unsealed::Claim { window, leaf, claim }),
        }
        Ok(())
    }

    /// The same for a vote.
    pub(super) fn say_vote(
        &mut self,
        window: u32,
        leaf: Leaf,
        vote: Vote,
    ) -> Result<(), ExchangeError> {
        match self.seal(&vote)? {
            Some(envelope) => self.publish_record(window, leaf, &envelope)?,
            None => self.wait_for_key(Unsealed::Vote { window, leaf, vote }),
        }
        Ok(())
    }

    /// Keeps a record of ours until it has come back from the broker, and publishes it. It counts here when it counts
    /// elsewhere: by what nobody else can see, this vehicle alone would elect.
    fn publish_record(
        &mut self,
        window: u32,
        leaf: Leaf,
        envelope: &[u8],
    ) -> Result<(), ExchangeError> {
        let Ok(text) = self.board.own(leaf) else { return Ok(()) };
        let key = format!("{OUTGOING}{window}/{text}");
        self.vault.put(&key, envelope)?;
        self.tonight.came_back.remove(&key);
        if let Some(line) = &mut self.line {
            line.publish(text, envelope.to_vec());
        }
        Ok(())
    }

    /// An envelope of this; `None`: the key is not there, or others wait for it.
    fn seal<'a, T: Body<'a>>(&mut self, body: &T) -> Result<Option<Vec<u8>>, ExchangeError> {
        if self.waiting.any() {
            return Ok(None);
        }
        let counter = self.vault.counter(self.said.highest())?;
        let period = self.documents.plan().map_or(0, |plan| plan.fields().period_seconds);
        let valid = (u64::from(period).saturating_mul(PERIODS_VALID)).max(SECONDS_VALID_MIN);
        let not_after = self.clock.now().utc.earliest_seconds().saturating_add(valid);
        let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
        match seal(body, counter, not_after, &*self.key, &mut buffer) {
            Ok(sealed) => {
                let envelope = sealed.bytes().to_vec();
                self.said.sign(counter, received(&envelope));
                Ok(Some(envelope))
            }
            Err(SealError::Unsigned(why)) => {
                self.key_is_gone(why);
                Ok(None)
            }
            // A buffer for the longest of its kind is long enough.
            Err(SealError::BufferTooSmall { .. }) => Ok(None),
        }
    }

    /// Says what the vehicle is doing; the record's name.
    pub(super) fn say_presence(
        &mut self,
        activity: Activity,
    ) -> Result<Option<RecordId>, ExchangeError> {
        let Some(line) = &self.line else { return Ok(None) };
        let used = line.used();
        // What is staged has the vehicle's own steps in it, and how many there were says what it remembers.
        let private = self.run.privacy.is_some();
        let staged = self.staged.as_ref().filter(|_staged| !private);
        let terms = staged.and_then(|own| self.terms_of(own)).map(|(_part, terms)| terms);
        let fields = PresenceFields {
            window: self.tonight.entry.as_ref().map(|entry| entry.window),
            activity,
            adapter: self.promotion.tried.and_then(|tried| tried.active),
            software: crate::SOFTWARE.try_into().unwrap_or_default(),
            up_bytes: used.up,
            down_bytes: used.down,
            terms: terms.into_iter().flatten().copied().collect(),
            steps: if private { 0 } else { self.tonight.steps },
        };
        let Ok(presence) = Presence::new(fields) else { return Ok(None) };
        let Some(envelope) = self.seal(&presence)? else {
            self.wait_for_key(Unsealed::Presence(activity));
            return Ok(None);
        };
        let id = received(&envelope);
        if let (Some(line), Ok(topic)) = (&mut self.line, self.board.own(Leaf::Presence)) {
            line.publish(topic, envelope);
        }
        // It takes the place of one that is still waited for, and may keep it from ever being sent.
        for echo in [&mut self.tonight.echo, &mut self.promotion.echo] {
            *echo = echo.map(|_before| id);
        }
        Ok(Some(id))
    }

    /// Refuses what stands at a topic, aloud; not what the vehicle itself left there.
    pub(super) fn refuse(
        &mut self,
        topic: &Topic<'_>,
        bytes: &[u8],
        code: RefusalCode,
    ) -> Result<(), ExchangeError> {
        if topic.publisher() == self.me {
            return Ok(());
        }
        self.refuse_record(received(bytes), code)
    }

    pub(super) fn refuse_record(
        &mut self,
        record: RecordId,
        code: RefusalCode,
    ) -> Result<(), ExchangeError> {
        let Some(window) = self.tonight.entry.as_ref().map(|entry| entry.window) else {
            return Ok(());
        };
        self.publish_refusal(RefusalFields { window, record, code: code.number() })
    }

    pub(super) fn publish_refusal(&mut self, fields: RefusalFields) -> Result<(), ExchangeError> {
        // Once a window; and no more of them than there are places for.
        let place = self.tonight.refused.len();
        if !self.tonight.refused.insert(fields.record) {
            return Ok(());
        }
        if let Some(code) = RefusalCode::from_number(fields.code) {
            self.count_refusal(code);
        }
        let slot = match u8::try_from(place) {
            Ok(slot) if slot < REPORT_SLOT => slot,
            Ok(_) | Err(_) => return Ok(()),
        };
        self.say_refusal(slot, fields)
    }

    /// Leaves a refusal in this slot.
    pub(super) fn say_refusal(
        &mut self,
        slot: u8,
        fields: RefusalFields,
    ) -> Result<(), ExchangeError> {
        let (Ok(refusal), Ok(topic)) =
            (Refusal::new(fields), self.board.own(Leaf::Refusal { slot }))
        else {
            return Ok(());
        };
        let Some(envelope) = self.seal(&refusal)? else {
            self.wait_for_key(Unsealed::Refusal { slot, fields });
            return Ok(());
        };
        if let Some(line) = &mut self.line {
            line.publish(topic, envelope);
        }
        Ok(())
    }

    pub(super) fn count_refusal(&mut self, code: RefusalCode) {
        self.run.metrics.rejected(code.name());
        if let Some(entry) = &mut self.tonight.entry {
            entry.refuse(code.name());
        }
    }
}

fn header_key(particle: ParticleId) -> String {
    format!("{HEADER}{particle}")
}
