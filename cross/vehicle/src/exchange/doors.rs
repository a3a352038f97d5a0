//! What goes out: the outputs of the window's core and of the swarm's, carried out in their order.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use shoal_swarm::records::Signed;
use shoal_swarm::swarm::{self, Flat, Input, Keep, On, Output, Particle, Swarm, ValuesHash};
use shoal_swarm::utility::value_of;
use shoal_window::{Bytes, Phase, number};
use shoal_wire::coding::Quality;
use shoal_wire::v1::{
    Activity, Claim, ParticleHeader, Presence, PresenceFields, Refusal, RefusalCode, RefusalFields,
    SLOTS, Vote,
};
use shoal_wire::{Body, Kind, Leaf, ParticleId, RecordId, Topic, Unverified, Verified, seal};
use tracing::{debug, info, warn};

use super::diary::Entry;
use super::incoming::received;
use super::line::{For, Line};
use super::metrics::{Memory, PhaseName, UpDown};
use super::run::{Exchange, ExchangeError, JOINING, bytes};
use super::weights::{About, CodeError, Coded};
use super::worker::Job;

/// Version of the software, as the presence shows it.
const SOFTWARE: &str = concat!("shoal-vehicle ", env!("CARGO_PKG_VERSION"));
/// What a vehicle signs counts for so many periods, and at least so long.
const PERIODS_VALID: u64 = 8;
const SECONDS_VALID_MIN: u64 = 9 * 24 * 3600;
/// Windows without this vehicle that are written down at most.
const MISSED_MAX: u32 = 64;

impl Exchange {
    /// Keeps what the window's core wants kept, then does what it says.
    pub(super) fn drain_window(&mut self) -> Result<(), ExchangeError> {
        loop {
            if let Some(record) = self.window.poll_persist() {
                self.vault.put(record.key, record.bytes)?;
                continue;
            }
            let Some(output) = self.window.poll_output() else { return Ok(()) };
            self.log.window_output(&output);
            let shoal_window::Output::Phase(phase) = output;
            self.run.metrics.phase(PhaseName::from(&phase));
            let before = self.phase.replace(phase);
            self.phase(before, phase)?;
        }
    }

    fn phase(&mut self, before: Option<Phase>, phase: Phase) -> Result<(), ExchangeError> {
        match phase {
            Phase::Open { window, closes_at, granted } => {
                self.run.metrics.window.set(window.into());
                set(&self.run.metrics.granted_bytes, granted);
                // The grant of an open window grows.
                let same = |before| matches!(before, Phase::Open { window: w, .. } if w == window);
                if before.is_some_and(same) {
                    return Ok(());
                }
                info!(window, "window open");
                self.begin_entry(window)?;
                if self.line_for() != Some(For::Window) {
                    self.hang_up();
                    self.call(For::Window)?;
                }
                let phase = swarm::Phase::Open { window, closes_at };
                self.tell_swarm(Input::Phase(phase));
            }
            Phase::Closing { why, .. } => {
                debug!(?why, "window closing");
                self.tell_swarm(Input::Phase(swarm::Phase::Closing));
                self.particles.stop(self.line.as_mut().map(Line::link));
            }
            Phase::Closed { because } => {
                debug!(?because, "window closed");
                self.tell_swarm(Input::Phase(swarm::Phase::Closed));
                if self.line_for() == Some(For::Window) {
                    self.hang_up();
                }
            }
            Phase::Waiting { window, .. } => debug!(window, "waiting for the window"),
        }
        Ok(())
    }

    /// Hands the swarm's core an input, once it is in the log; `None`: there is no swarm yet.
    pub(super) fn hand_in(&mut self, input: Input<'_>) -> Option<Result<bool, swarm::Reject>> {
        let now = self.clock.now();
        let swarm = self.swarm.as_mut()?;
        self.log.swarm_input(now, &input);
        Some(swarm.handle_input(now, input))
    }

    /// The same for what nobody else can do anything about: an answer that comes too late.
    pub(super) fn tell_swarm(&mut self, input: Input<'_>) {
        if let Some(Err(error)) = self.hand_in(input) {
            debug!(%error, "of no use any more");
        }
    }

    /// Hands the window's core an input that it never rejects.
    pub(super) fn tell_window(&mut self, input: shoal_window::Input<'_>) {
        let now = self.clock.now();
        self.log.window_input(now, &input);
        if let Err(error) = self.window.handle_input(now, input) {
            warn!(%error, "the window does not take it");
        }
    }

    /// Hands the window's core the plan.
    pub(super) fn tell_plan(&mut self) {
        let now = self.clock.now();
        let Some(plan) = self.documents.signed_plan() else { return };
        let input = shoal_window::Input::Plan(plan);
        self.log.window_input(now, &input);
        if let Err(error) = self.window.handle_input(now, input) {
            warn!(%error, "the window plan is refused");
        }
    }

    /// The line is there (again): says so, and leaves again what a cut may have kept from being published.
    pub(super) fn connected(&mut self) -> Result<(), ExchangeError> {
        let Some(Phase::Open { window, .. }) = self.phase else { return Ok(()) };
        if self.line_for() != Some(For::Window) {
            return Ok(());
        }
        if let Some(entry) = &mut self.tonight.entry {
            entry.took_part = true;
        }
        if self.tonight.republished != Some(window) {
            self.tonight.republished = Some(window);
            self.republish(window)?;
        }
        let presence = self.say_presence(Activity::Exchanging)?;
        self.tonight.echo = presence;
        Ok(())
    }

    /// What was sealed in this window before a start: it may or may not have reached the broker.
    fn republish(&mut self, window: u32) -> Result<(), ExchangeError> {
        for kept in self.vault.records()? {
            let Ok(topic) = Topic::decode(&kept.topic) else { continue };
            if kept.window != window || topic.publisher() != self.me {
                continue;
            }
            if let Leaf::Particle { slot } = topic.leaf() {
                self.publish_chunks(slot, &kept.bytes)?;
            }
            if let Some(line) = &mut self.line {
                line.publish(kept.topic, kept.bytes);
            }
        }
        Ok(())
    }

    /// Connects to learn what the fleet agreed on, for as long as something is missing.
    pub(super) fn join_if_needed(&mut self) -> Result<(), ExchangeError> {
        match self.line_for() {
            None if !self.documents.whole() => {
                info!(broker = self.fleet.broker, "joining");
                self.call(For::Joining)?;
            }
            Some(For::Joining) if self.documents.whole() => self.hang_up(),
            Some(For::Joining | For::Window) | None => {}
        }
        Ok(())
    }

    fn call(&mut self, purpose: For) -> Result<(), ExchangeError> {
        // Before there is a plan, as often as there is no hurry.
        let open = self.documents.plan().map_or(u32::MAX, |plan| plan.fields().open_seconds);
        let (broker, own) = (&self.fleet.broker, self.own());
        self.line = Some(Line::open(broker, &self.board, own, purpose, JOINING, open)?);
        Ok(())
    }

    /// While the window closes: once nothing is being made that would be published, nothing more is begun.
    pub(super) fn finish(&mut self) -> Result<(), ExchangeError> {
        let closing = matches!(self.phase, Some(Phase::Closing { .. }));
        if !closing || self.tonight.finishing || self.worker.busy() {
            return Ok(());
        }
        self.say_presence(Activity::Tuning)?;
        self.tonight.finishing = true;
        if let Some(line) = &mut self.line {
            line.finish();
        }
        Ok(())
    }

    /// Closes the line, and counts what crossed it.
    pub(super) fn hang_up(&mut self) {
        self.particles.stop(self.line.as_mut().map(Line::link));
        self.tonight.echo = None;
        self.tonight.finishing = false;
        let Some(line) = self.line.take() else { return };
        let used = line.close();
        self.tonight.counted = Bytes::default();
        match &mut self.tonight.entry {
            Some(entry) => entry.crossed(used),
            None => {
                let before = &mut self.tonight.before_line;
                before.up = before.up.saturating_add(used.up);
                before.down = before.down.saturating_add(used.down);
            }
        }
    }

    /// Keeps what the swarm's core wants kept, then does what it says.
    pub(super) fn drain_swarm(&mut self) -> Result<(), ExchangeError> {
        loop {
            let Some(swarm) = &mut self.swarm else { return Ok(()) };
            match swarm.poll_persist() {
                Some(Keep::Values { values, .. }) => {
                    self.vault.keep_blob(&bytes(&values))?;
                    continue;
                }
                Some(Keep::State { key, bytes }) => {
                    self.vault.put(key, &bytes)?;
                    continue;
                }
                None => {}
            }
            let Some(output) = swarm.poll_output() else { return Ok(()) };
            self.log.swarm_output(&output);
            self.act(output)?;
        }
    }

    fn act(&mut self, output: Output) -> Result<(), ExchangeError> {
        match output {
            Output::Fetch { particle, publisher, slot } => {
                let now = self.clock.now();
                let keys = self.documents.keyring();
                let link = self.line.as_mut().map(Line::link);
                let want = (particle, publisher, slot);
                let got =
                    self.particles.fetch(now, want, &self.board, keys, &mut self.vault, link)?;
                self.got(got.into_iter().collect())
            }
            Output::Measure { job, candidate, beside, on } => {
                let part = match on {
                    On::Part(part) => Some(part),
                    On::Own => None,
                };
                let names =
                    (ValuesHash::of(&candidate), beside.as_ref().map(|b| ValuesHash::of(b)));
                self.tonight.measuring.insert(job, (names.0, names.1, part));
                self.worker.give(Job::Measure { job, candidate, beside, on });
                Ok(())
            }
            Output::Code { job, particle } => {
                self.code(job, particle);
                Ok(())
            }
            Output::Publish { particle, chunks } => self.publish_particle(particle, chunks),
            Output::Claim(fields) => {
                let (window, slot) = (fields.window, fields.slot);
                let Ok(claim) = Claim::new(fields) else { return Ok(()) };
                if let Some(entry) = &mut self.tonight.entry {
                    entry.claimed = true;
                }
                self.seal_record(window, Leaf::Claim { slot }, &claim)
            }
            Output::Vote(fields) => {
                let leaf = Leaf::vote(fields.window, fields.place);
                let window = fields.window;
                let Ok(vote) = Vote::new(fields) else { return Ok(()) };
                self.seal_record(window, leaf, &vote)
            }
            Output::Refusal(fields) => self.publish_refusal(fields),
            Output::Tune { from, particle } => {
                let window = self.tonight.entry.as_ref().map_or(0, |entry| entry.window);
                if let (Some(entry), Some(particle)) = (&mut self.tonight.entry, particle) {
                    entry.moved_to = Some(particle.to_string());
                }
                self.tune(from, window)
            }
            Output::Stage(adapter) => {
                self.keep_staged(&adapter)?;
                self.worker.give(Job::Stage(Arc::clone(&adapter)));
                self.staged = Some(adapter);
                Ok(())
            }
            Output::Event(event) => {
                self.tell_event(&event);
                Ok(())
            }
        }
    }

    fn tell_event(&self, event: &swarm::Event) {
        use swarm::Event;
        match event {
            Event::Began { window, best, worst, votes, asked } => {
                info!(window, ?best, ?worst, votes, asked, "began");
            }
            Event::Merged { particle, contributions, dropped, searched, braked } => {
                info!(%particle, contributions, dropped, searched, braked, "merged");
            }
            Event::Moved { particle, gain } => {
                self.run.metrics.moved.inc();
                info!(%particle, gain, "moved");
            }
            Event::Stayed => {
                self.run.metrics.stayed.inc();
                info!("stayed");
            }
            Event::Stepped { towards, from, restarted } => {
                info!(?towards, ?from, restarted, "stepped");
            }
        }
    }

    fn code(&mut self, job: u64, particle: Particle) {
        let Particle { role, window, anchor, inputs, difference, bits } = particle;
        let layout = shoal_wire::LayoutHash::new(self.layout.hash());
        let about = About { role, window, base_model: self.base_model, layout, anchor, inputs };
        match Quality::new(bits) {
            Some(quality) => self.worker.give(Job::Code { job, about, difference, quality }),
            None => self.tell_swarm(Input::Uncoded { job }),
        }
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
        let particle = coded.header.id();
        for chunk in &coded.chunks {
            self.vault.keep_blob(chunk)?;
        }
        let key = header_key(particle);
        let envelope = match self.vault.get(&key)? {
            // Coded before a cut: it is not sealed twice.
            Some(envelope) => envelope,
            None => {
                let envelope = self.seal(&coded.header)?;
                self.vault.put(&key, &envelope)?;
                envelope
            }
        };
        self.particles.know(particle, &envelope);
        let held = self.swarm.as_ref().map(Swarm::held).unwrap_or_default();
        let slot = self.slots.take(particle, &held).ok();
        if let Some(record) = self.slots.poll_persist() {
            self.vault.put(record.key, record.bytes)?;
        }
        let values: Flat = coded.received.into();
        self.tell_swarm(Input::Coded { job, particle, values: &values, slot });
        Ok(())
    }

    fn publish_particle(
        &mut self,
        particle: ParticleId,
        chunks: bool,
    ) -> Result<(), ExchangeError> {
        let Some(slot) = self.slots.find(particle) else { return Ok(()) };
        let Some(envelope) = self.vault.get(&header_key(particle))? else { return Ok(()) };
        if chunks {
            self.publish_chunks(slot, &envelope)?;
        }
        let own = self.own();
        let Some(header) = verified::<ParticleHeader>(&envelope, &own) else { return Ok(()) };
        let fields = header.body().fields();
        if let (Some(entry), shoal_wire::v1::Role::Contribution) =
            (&mut self.tonight.entry, fields.role)
        {
            entry.contributed = true;
        }
        let window = fields.window;
        let input = Signed::from(&header);
        self.publish_record(window, Leaf::Particle { slot }, &envelope)?;
        self.tell_own(Input::Header { header: &input, slot });
        Ok(())
    }

    fn publish_chunks(&mut self, slot: u8, envelope: &[u8]) -> Result<(), ExchangeError> {
        let own = self.own();
        let Some(header) = verified::<ParticleHeader>(envelope, &own) else { return Ok(()) };
        for (index, chunk) in (0..=u8::MAX).zip(&header.body().fields().chunks) {
            let Some(bytes) = self.vault.blob(chunk.hash.bytes())? else { continue };
            let (Some(line), Ok(topic)) =
                (&mut self.line, self.board.own(Leaf::Chunk { slot, index }))
            else {
                continue;
            };
            line.publish_chunk(topic, envelope.to_vec(), index, bytes);
        }
        Ok(())
    }

    /// Seals a claim or a vote, keeps it, publishes it, and hands it in: the vehicle's own records count like all others.
    fn seal_record<'a, T>(&mut self, window: u32, leaf: Leaf, body: &T) -> Result<(), ExchangeError>
    where
        T: Body<'a>,
    {
        let envelope = self.seal(body)?;
        self.publish_record(window, leaf, &envelope)?;
        let own = self.own();
        let Ok(record) = Unverified::decode(&envelope) else { return Ok(()) };
        match T::KIND {
            Kind::Claim => {
                if let Ok(claim) = record.verify::<Claim>(&own) {
                    self.tell_own(Input::Claim(&Signed::from(&claim)));
                }
            }
            Kind::Vote => {
                if let Ok(vote) = record.verify::<Vote>(&own) {
                    self.tell_own(Input::Vote(&Signed::from(&vote)));
                }
            }
            Kind::ParticleHeader
            | Kind::Presence
            | Kind::Nonce
            | Kind::WindowPlan
            | Kind::Roster
            | Kind::RosterPage
            | Kind::UtilityDocument
            | Kind::SwarmDocument
            | Kind::Refusal
            | Kind::Document => {}
        }
        Ok(())
    }

    fn tell_own(&mut self, input: Input<'_>) {
        if let Some(Err(error)) = self.hand_in(input) {
            warn!(%error, "a record of our own is of no use");
        }
    }

    fn publish_record(
        &mut self,
        window: u32,
        leaf: Leaf,
        envelope: &[u8],
    ) -> Result<(), ExchangeError> {
        let Ok(topic) = self.board.own(leaf) else { return Ok(()) };
        self.vault.keep_record(window, &topic, envelope)?;
        if let Some(line) = &mut self.line {
            line.publish(topic, envelope.to_vec());
        }
        Ok(())
    }

    fn seal<'a, T: Body<'a>>(&mut self, body: &T) -> Result<Vec<u8>, ExchangeError> {
        let counter = self.vault.counter(self.counter_seen)?;
        let period = self.documents.plan().map_or(0, |plan| plan.fields().period_seconds);
        let valid = (u64::from(period).saturating_mul(PERIODS_VALID)).max(SECONDS_VALID_MIN);
        let not_after = self.clock.now().utc.earliest_seconds().saturating_add(valid);
        let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
        let sealed = seal(body, counter, not_after, &self.key, &mut buffer);
        // A buffer for the longest of its kind is long enough.
        Ok(sealed.map(|sealed| sealed.bytes().to_vec()).unwrap_or_default())
    }

    /// Says what the vehicle is doing; the record's name.
    fn say_presence(&mut self, activity: Activity) -> Result<Option<RecordId>, ExchangeError> {
        let Some(line) = &self.line else { return Ok(None) };
        let used = line.used();
        let fields = PresenceFields {
            window: self.tonight.entry.as_ref().map(|entry| entry.window),
            activity,
            adapter: self.swarm.as_ref().and_then(Swarm::base),
            software: SOFTWARE.try_into().unwrap_or_default(),
            up_bytes: used.up,
            down_bytes: used.down,
            terms: self
                .staged
                .as_ref()
                .and_then(|own| self.value_of(own))
                .map(|(_, v)| v)
                .into_iter()
                .collect(),
            steps: self.tonight.steps,
        };
        let Ok(presence) = Presence::new(fields) else { return Ok(None) };
        let envelope = self.seal(&presence)?;
        let id = received(&envelope);
        if let (Some(line), Ok(topic)) = (&mut self.line, self.board.own(Leaf::Presence)) {
            line.publish(topic, envelope);
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

    fn publish_refusal(&mut self, fields: RefusalFields) -> Result<(), ExchangeError> {
        // Once a window; and no more of them than there are places for.
        let place = self.tonight.refused.len();
        if !self.tonight.refused.insert(fields.record) {
            return Ok(());
        }
        if let Some(code) = RefusalCode::from_number(fields.code) {
            self.count_refusal(code);
        }
        let slot = match u8::try_from(place) {
            Ok(slot) if slot < SLOTS => slot,
            Ok(_) | Err(_) => return Ok(()),
        };
        let (Ok(refusal), Ok(topic)) =
            (Refusal::new(fields), self.board.own(Leaf::Refusal { slot }))
        else {
            return Ok(());
        };
        let envelope = self.seal(&refusal)?;
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

    /// A window begins: those before it are written down, also those that were missed.
    fn begin_entry(&mut self, window: u32) -> Result<(), ExchangeError> {
        if self.tonight.entry.as_ref().is_some_and(|entry| entry.window == window) {
            return Ok(());
        }
        self.write_entry()?;
        self.write_missed(window)?;
        let mut entry = Entry::new(window);
        entry.crossed(std::mem::take(&mut self.tonight.before_line));
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
        if !closed || self.worker.busy() || self.line.is_some() {
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
        let best = swarm.best(entry.window.saturating_add(1)).map(|best| best.ballot.particle);
        entry.best = best.map(|best| best.to_string());
        let keys = self.documents.keyring();
        let difference = match best {
            Some(best) => self.particles.read(best, keys, &mut self.vault)?,
            None => None,
        };
        let best: Option<Flat> = match difference {
            Some(super::particles::Got::Values(_, difference)) => Some(
                start.iter().zip(difference.iter()).map(|(start, more)| start + more).collect(),
            ),
            Some(_) | None => None,
        };
        let own = self.driving_with();
        let measured = self.value_of(&own);
        entry.part = measured.map(|(part, _value)| part);
        entry.value = measured.map(|(_part, value)| value);
        entry.best_value =
            best.as_ref().and_then(|best| self.value_of(best)).map(|(_part, value)| value);
        let now = self.clock.now().since_boot;
        let opened = self.tonight.opened.take().unwrap_or(now);
        entry.seconds.window = now.saturating_duration_since(opened).as_micros() as f64 / 1e6;
        entry.memory_bytes = Memory::read().peak_bytes;
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

    /// What the vehicle would drive with: what was staged last, else x_p.
    fn driving_with(&self) -> Flat {
        self.staged.clone().or_else(|| self.start.clone()).unwrap_or_else(|| Flat::from([]))
    }
}

/// Both ways, as gauges.
pub(super) fn set(gauges: &UpDown<Gauge>, bytes: Bytes) {
    gauges.up.set(i64::try_from(bytes.up).unwrap_or(i64::MAX));
    gauges.down.set(i64::try_from(bytes.down).unwrap_or(i64::MAX));
}

fn header_key(particle: ParticleId) -> String {
    format!("header/{particle}")
}

fn verified<'a, T: Body<'a>>(bytes: &'a [u8], own: &super::key::Own) -> Option<Verified<'a, T>> {
    Unverified::decode(bytes).ok()?.verify(own).ok()
}
