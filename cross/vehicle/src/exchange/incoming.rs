//! What comes in: events of the line, records, particles, and what the engine has done.

use shoal_link::{Event, RejectFetched, Why};
use shoal_swarm::inbox::{Record, read};
use shoal_swarm::records::{RejectRecord, Signed};
use shoal_swarm::swarm::{Flat, Input, Reject, ValuesHash};
use shoal_swarm::utility::{Utility, to_value};
use shoal_window::RejectTransfer;
use shoal_wire::v1::{CHUNKS_MAX, NonceFields, RefusalCode, Role, SLOTS};
use shoal_wire::{Leaf, Topic};
use tracing::{debug, info, warn};

use super::documents::News;
use super::key::received;
use super::line::{For, Line};
use super::measured::{Terms, fits, in_order};
use super::particles::Got;
use super::run::{Exchange, ExchangeError};
use super::worker::Done;
use crate::gateway::Tell;

/// Nonces whose time waits for the plan.
const EARLY_MAX: usize = 64;

impl Exchange {
    pub(super) fn event(&mut self, event: &Event) -> Result<(), ExchangeError> {
        let now = self.clock.now();
        match event {
            Event::Message(message) if message.payload.is_empty() => {}
            Event::Message(message) => {
                if let Ok(topic) = message.place() {
                    self.message(&topic, &message.topic, &message.payload)?;
                }
            }
            Event::Connected { .. } => {
                debug!("connected");
                self.run.metrics.connected(true);
                self.beacons.connected(now.since_boot);
                if self.line.as_mut().is_some_and(Line::take_begun_anew) {
                    (self.tonight.resumes, self.tonight.ahead) = (true, false);
                }
                self.connected()?;
            }
            Event::Disconnected { why, .. } => {
                if *why == Why::TakenOver {
                    warn!(
                        "another program connects with this vehicle's key: one of them is a copy; stop it, or replace the key and revoke this one"
                    );
                } else {
                    debug!(?why, "disconnected");
                }
                self.run.metrics.connected(false);
                self.beacons.disconnected(now.since_boot);
            }
            Event::SubscribeRefused { filter, reason, .. } => {
                warn!(filter, reason, "the broker refuses a subscription");
            }
            Event::Oversized { bytes } => {
                debug!(bytes, "a message is too long");
                self.count_refusal(RefusalCode::TooLong);
            }
            Event::Drained => {
                self.tell_window(shoal_window::Input::Drained);
            }
            Event::Published(_) | Event::Failed { .. } | Event::Subscribed { .. } => {}
        }
        let Some(line) = &mut self.line else { return Ok(()) };
        let mut rejected = Vec::new();
        let keys = self.documents.keyring();
        let got =
            self.particles.event(now, event, keys, &mut self.vault, line.link(), &mut |why| {
                rejected.push(why);
            })?;
        for why in rejected {
            self.rejected_transfer(&why);
        }
        self.got(got)
    }

    /// What stands at a topic.
    pub(super) fn message(
        &mut self,
        topic: &Topic<'_>,
        text: &str,
        bytes: &[u8],
    ) -> Result<(), ExchangeError> {
        if matches!(topic.leaf(), Leaf::Beacon { .. }) {
            return self.passed_on(topic, text, bytes);
        }
        // Chunks are the transfers' business.
        if topic.leaf().kind().is_none() {
            return Ok(());
        }
        let record = match read(topic, bytes, self.documents.keyring()) {
            Ok(record) => record,
            Err(reject) => {
                debug!(topic = text, %reject, "refused");
                if reject.code() == RefusalCode::UnknownKey {
                    self.documents.strangers.hold(text, bytes);
                }
                return self.refuse(topic, bytes, reject.code());
            }
        };
        self.record(topic, text, &record, bytes)
    }

    /// A roster came: what was said by those whom it names may have come before it.
    fn hear_strangers(&mut self) -> Result<(), ExchangeError> {
        for (text, bytes) in self.documents.strangers.take() {
            if let Ok(topic) = Topic::decode(&text) {
                self.message(&topic, &text, &bytes)?;
            }
        }
        Ok(())
    }

    /// A record whose signature and place hold.
    pub(super) fn record(
        &mut self,
        topic: &Topic<'_>,
        text: &str,
        record: &Record<'_>,
        bytes: &[u8],
    ) -> Result<(), ExchangeError> {
        if topic.publisher() == self.me {
            self.mind_own(record.head().counter, text, bytes);
            self.leave_region(topic);
        }
        match record {
            Record::Presence(presence) => {
                self.heard_presence(presence);
                if self.tonight.echo == Some(presence.id()) {
                    (self.tonight.echo, self.tonight.behind) = (None, 0);
                    debug!("all that stood there has come");
                    self.tell_swarm(Input::Current);
                }
                return Ok(());
            }
            Record::Nonce(nonce) => {
                if self.take_time(*nonce.body().fields())?
                    && let Some(gateway) = &mut self.gateway
                {
                    gateway.tell(Tell::Nonce(bytes.to_vec()));
                }
            }
            Record::Roster(_)
            | Record::RosterPage(_)
            | Record::WindowPlan(_)
            | Record::UtilityDocument(_)
            | Record::SwarmDocument(_)
            | Record::Document(_) => return self.document(topic, text, record, bytes),
            Record::Refusal(refusal) => {
                self.heard_refusal(refusal);
                return Ok(());
            }
            // What a campaign promotes: it stands outside the swarm.
            Record::ParticleHeader(header) if header.head().key == self.fleet.authority.id() => {
                return Ok(());
            }
            Record::Claim(_) | Record::Vote(_) | Record::ParticleHeader(_) => {}
        }
        self.merge(topic, text, record, bytes)
    }

    /// True time is not before a nonce was drawn, as far as the authority's plan has one drawn: who stole the timekeeper's key would
    /// else put every clock ahead for good. Whether that is news.
    fn take_time(&mut self, nonce: NonceFields) -> Result<bool, ExchangeError> {
        let NonceFields { window, utc_seconds: seconds, .. } = nonce;
        let Some(latest) = self.documents.drawn_until_s(window) else {
            // Until the plan comes.
            if self.early.len() < EARLY_MAX {
                self.early.push(nonce);
            }
            return Ok(false);
        };
        if seconds > latest {
            warn!(
                window,
                seconds, latest, "a nonce from after its window's end: no time is taken from it"
            );
        } else if self.clock.accept(seconds) {
            self.vault.accept_utc(seconds)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Sees whether what stands there in this vehicle's name is its own.
    fn mind_own(&mut self, counter: u64, topic: &str, bytes: &[u8]) {
        if self.said.is_foreign(counter, received(bytes)) {
            self.run.metrics.foreign_records.inc();
            warn!(
                topic,
                "signed with this vehicle's key, and not by it: another program has the key, or this one's state was put back; stop the other, or replace the key and revoke this one"
            );
        }
    }

    /// Takes away what this vehicle left in another region: whoever fetches from its slots would find two particles in one.
    fn leave_region(&mut self, topic: &Topic<'_>) {
        let Some(line) = self.line.as_mut().filter(|_line| self.board.is_left(topic)) else {
            return;
        };
        let mut clear = |leaf| match Topic::new(topic.fleet(), topic.region(), self.me, leaf) {
            Ok(there) => line.clear(&there),
            Err(error) => debug!(%topic, %error, "no such place"),
        };
        // What it said of itself there is read by that region alone, and does not come.
        if self.tonight.left.insert(topic.region().text().to_owned()) {
            clear(Leaf::Presence);
            (0..SLOTS).for_each(|slot| clear(Leaf::Refusal { slot }));
        }
        if let Leaf::Particle { slot } = topic.leaf() {
            // What lay there before this one may have had more chunks.
            (0..CHUNKS_MAX as u8).for_each(|index| clear(Leaf::Chunk { slot, index }));
        }
        // Last: where a line ends before, this comes again, and all of it is cleared then.
        clear(topic.leaf());
    }

    /// Takes what merges, keeps it, and refuses it aloud if it is not to be taken.
    fn merge(
        &mut self,
        topic: &Topic<'_>,
        text: &str,
        record: &Record<'_>,
        bytes: &[u8],
    ) -> Result<(), ExchangeError> {
        // Before the vehicle has joined, records are of no use: they come again with the window.
        let Some((taken, window)) = self.hand_in_record(topic, record, bytes) else {
            return Ok(());
        };
        // What proves a lie is remembered like what counts: after a power cut the first would count again.
        let lie = matches!(taken, Err(Reject::Record(RejectRecord::Contradicted { .. })));
        if lie || matches!(taken, Ok(true)) {
            self.run.metrics.taken(topic.leaf().name());
            self.vault.keep_record(window, text, bytes)?;
        }
        if topic.publisher() == self.me {
            self.came_back(text, bytes)?;
        }
        self.mind_old(topic, record, &taken, bytes)?;
        match taken {
            Ok(_) => Ok(()),
            // What was retained long ago comes with every window.
            Err(Reject::Record(RejectRecord::WrongWindow { got, to, .. })) => {
                self.tonight.ahead |= got > to;
                Ok(())
            }
            Err(Reject::Record(reject)) => {
                debug!(topic = text, %reject, "refused");
                self.refuse(topic, bytes, reject.code())
            }
            Err(error) => {
                debug!(topic = text, %error, "refused");
                Ok(())
            }
        }
    }

    /// A header that came too late waits for a vote that takes its particle for best; whichever comes first, a vehicle that was away
    /// when that was elected learns whose it is.
    fn mind_old(
        &mut self,
        topic: &Topic<'_>,
        record: &Record<'_>,
        taken: &Result<bool, Reject>,
        bytes: &[u8],
    ) -> Result<(), ExchangeError> {
        match (record, taken) {
            (Record::Vote(vote), Ok(true)) => {
                let Some(best) = vote.body().fields().best else { return Ok(()) };
                for (text, header) in self.particles.take_old(best) {
                    if let Ok(topic) = Topic::decode(&text) {
                        self.message(&topic, &text, &header)?;
                    }
                }
            }
            (
                Record::ParticleHeader(header),
                Err(Reject::Record(
                    RejectRecord::WrongWindow { .. } | RejectRecord::Expired { .. },
                )),
            ) => {
                let Leaf::Particle { slot } = topic.leaf() else { return Ok(()) };
                if header.body().fields().role != Role::Contribution {
                    let (place, id) = ((header.head().key, slot), header.body().id());
                    self.particles.keep_old(place, id, &topic.text(), bytes);
                }
            }
            (_, _) => {}
        }
        Ok(())
    }

    /// Hands in what merges, and its window; `None` of other kinds, and before the vehicle has joined.
    pub(super) fn hand_in_record(
        &mut self,
        topic: &Topic<'_>,
        record: &Record<'_>,
        bytes: &[u8],
    ) -> Option<(Result<bool, Reject>, u32)> {
        match record {
            Record::Claim(claim) => {
                let taken = self.hand_in(Input::Claim(&Signed::from(claim)))?;
                Some((taken, claim.body().fields().window))
            }
            Record::Vote(vote) => {
                let taken = self.hand_in(Input::Vote(&Signed::from(vote)))?;
                Some((taken, vote.body().fields().window))
            }
            Record::ParticleHeader(header) => {
                let Leaf::Particle { slot } = topic.leaf() else { return None };
                let signed = &Signed::from(&**header);
                let taken = self.hand_in(Input::Header { header: signed, slot })?;
                if taken.is_ok() {
                    self.particles.know(header.head().key, header.body(), bytes);
                }
                Some((taken, header.body().fields().window))
            }
            Record::Nonce(nonce) => {
                let taken = self.hand_in(Input::Nonce(&Signed::from(nonce)))?;
                Some((taken, nonce.body().fields().window))
            }
            Record::Presence(_)
            | Record::WindowPlan(_)
            | Record::Roster(_)
            | Record::RosterPage(_)
            | Record::UtilityDocument(_)
            | Record::SwarmDocument(_)
            | Record::Refusal(_)
            | Record::Document(_) => None,
        }
    }

    fn document(
        &mut self,
        topic: &Topic<'_>,
        text: &str,
        record: &Record<'_>,
        bytes: &[u8],
    ) -> Result<(), ExchangeError> {
        let now_s = self.clock.now().utc.earliest_seconds();
        let news = match self.documents.take(text, record, now_s) {
            Ok(Some(news)) => news,
            Ok(None) => return Ok(()),
            Err(reject) => {
                warn!(topic = text, %reject, "a document is refused");
                return self.refuse(topic, bytes, reject.code());
            }
        };
        match news {
            News::Metadata => {}
            News::Roster => self.keep_roster(topic)?,
            News::Plan | News::Utility | News::Swarm | News::Campaign | News::Reinstated => {
                self.keep_document(text, bytes)?;
            }
        }
        match news {
            News::Metadata => self.metadata_came()?,
            News::Plan => {
                for nonce in std::mem::take(&mut self.early) {
                    self.take_time(nonce)?;
                }
                self.tell_plan();
            }
            News::Roster => {
                self.roster_is_new = true;
                let roster = self.documents.keyring().roster().clone();
                self.tell_swarm(Input::Roster(&roster));
                self.promotion.roster_came();
                self.hear_strangers()?;
            }
            News::Campaign => self.campaign_came()?,
            News::Reinstated => self.tell_reinstated(),
            News::Utility => {
                let Some(utility) = self.documents.utility().cloned() else { return Ok(()) };
                match self.hand_in(Input::Utility(&utility)) {
                    Some(Ok(_)) => {
                        let fits = fits(&Utility::new(&utility), &self.measures);
                        if let Err(error) = &fits {
                            warn!(%error, "nothing is measured until then");
                        }
                        self.terms = fits.ok();
                    }
                    Some(Err(error)) => warn!(%error, "the utility document is refused"),
                    None => {}
                }
            }
            News::Swarm => {
                if self.swarm.is_some() {
                    warn!("a swarm document came: what it changes counts from the next start on");
                }
            }
        }
        Ok(())
    }

    /// Tells the core whom the authority reinstated.
    pub(super) fn tell_reinstated(&mut self) {
        let reinstated = self.documents.reinstated().clone();
        self.tell_swarm(Input::Reinstated(&reinstated));
    }

    /// Particles that came, or do not.
    pub(super) fn got(&mut self, got: Vec<Got>) -> Result<(), ExchangeError> {
        for one in got {
            self.promoted(&one)?;
            match one {
                Got::Values(particle, values) => {
                    self.run.metrics.particles_fetched.inc();
                    let taken = self.hand_in(Input::Fetched { particle, values: &values });
                    let Some(Err(error)) = taken else { continue };
                    debug!(%particle, %error, "a particle is of no use");
                }
                Got::Missing(particle) => self.tell_swarm(Input::Missing { particle }),
                Got::Unreached(particle) => self.tell_swarm(Input::Unreached { particle }),
                Got::Refused(particle, header, code) => {
                    self.refuse_record(header, code)?;
                    self.tell_swarm(Input::Missing { particle });
                }
            }
        }
        Ok(())
    }

    fn rejected_transfer(&mut self, why: &RejectFetched) {
        debug!(%why, "of a transfer");
        let code = match why {
            RejectFetched::Header(reject) => RefusalCode::from(*reject),
            RejectFetched::Topic(_) | RejectFetched::Place(_) => RefusalCode::Misplaced,
            RejectFetched::Transfer(
                RejectTransfer::Hash { .. } | RejectTransfer::Length { .. },
            ) => RefusalCode::ChunkHash,
            RejectFetched::Transfer(
                RejectTransfer::HeaderNotAsked
                | RejectTransfer::OtherParticle { .. }
                | RejectTransfer::TooMany { .. }
                | RejectTransfer::NotAsked { .. }
                | RejectTransfer::TooLong { .. }
                | RejectTransfer::NoChunk,
            ) => return,
        };
        self.count_refusal(code);
    }

    pub(super) fn done(&mut self, done: Done) -> Result<(), ExchangeError> {
        match done {
            Done::Step { step, loss } => {
                self.tonight.steps = self.tonight.steps.saturating_add(1);
                self.run.metrics.tuning_steps.inc();
                debug!(step, loss, "trained");
            }
            Done::Tuned { from, window, values, steps, loss, seconds } => {
                info!(steps, loss, seconds, "tuned");
                self.run.metrics.seconds.tuning.inc_by(seconds);
                if let Some(entry) = &mut self.tonight.entry {
                    entry.seconds.tuning += seconds;
                    entry.loss = loss;
                } else {
                    self.tonight.before_window = (self.tonight.before_window.0 + seconds, loss);
                }
                self.tuned(from, window, &values)?;
            }
            Done::Measured { job, terms, seconds } => {
                self.run.metrics.seconds.measuring.inc_by(seconds);
                self.run.metrics.measurements.inc();
                self.spent(|entry| entry.seconds.measuring += seconds);
                self.measured(job, &terms);
            }
            Done::Coded { job, coded, seconds } => {
                self.run.metrics.seconds.coding.inc_by(seconds);
                self.spent(|entry| entry.seconds.coding += seconds);
                self.coded(job, *coded)?;
            }
            Done::Tried(tried) => self.tried(tried),
            Done::Failed { job, error } => {
                self.run.metrics.engine_failures.inc();
                warn!(%error, "the engine failed");
                if let Some(job) = job {
                    self.tell_swarm(Input::Unmeasured { job });
                }
            }
        }
        Ok(())
    }

    fn measured(&mut self, job: u64, measured: &Terms) {
        let asked = self.tonight.measuring.remove(&job);
        let Some((candidate, beside, part)) = asked else {
            return self.tell_swarm(Input::Unmeasured { job });
        };
        // Every term of the document is measured on this pack; the vehicle's own frames are one.
        let terms = match part {
            Some(_) => self.terms.as_ref().and_then(|terms| in_order(measured, terms)),
            None => Some(measured.iter().take(1).map(|(_asked, term)| *term).collect()),
        };
        let Some(terms) = terms.filter(|terms| !terms.is_empty()) else {
            if let (Some(part), Some(asked)) = (part, &self.terms) {
                let (got, asked) = (measured.len(), asked.len());
                warn!(part, got, asked, "terms have nothing to be measured on in this part");
            }
            return self.tell_swarm(Input::Unmeasured { job });
        };
        self.tell_swarm(Input::Measured { job, terms: &terms });
        if let Some(part) = part {
            let values = terms.iter().map(|term| term.value).collect();
            self.tonight.values.insert(candidate, (part, values));
            if let Some(beside) = beside {
                let values = terms.iter().map(|term| term.beside).collect();
                self.tonight.values.insert(beside, (part, values));
            }
        }
    }

    fn spent(&mut self, on: impl FnOnce(&mut super::diary::Entry)) {
        if let Some(entry) = &mut self.tonight.entry {
            on(entry);
        }
    }

    /// What this adapter was measured to be in this window: on which part, and by each term.
    pub(super) fn terms_of(&self, adapter: &Flat) -> Option<&(u8, Vec<i16>)> {
        self.tonight.values.get(&ValuesHash::of(adapter))
    }

    /// The utility of such values in a window; `None` where nothing counts, or a term that does was not measured.
    pub(super) fn utility_of(&self, terms: &[i16], window: u32) -> Option<i16> {
        let weighing = Utility::new(self.documents.utility()?).at(window)?;
        weighing.utility(terms).map(to_value)
    }

    /// The purpose of the line, if there is one.
    pub(super) fn line_for(&self) -> Option<For> {
        self.line.as_ref().map(super::line::Line::purpose)
    }
}
