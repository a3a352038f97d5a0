//! One session with a broker over many connections: a core without socket, clock or thread.
//!
//! The shell opens and closes sockets, moves bytes and calls in time; all that is decided is decided here: what
//! to say when, what was acknowledged, whether a byte may still cross.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes as Payload, BytesMut};
use embassy_time::Instant;
use shoal_window::Bytes;
use shoal_wire::Topic;

use crate::broker::{
    Event, Message, NotPublished, PublishError, Sealed, Subscription, Ticket, Why,
};
use crate::outbox::Outbox;
use crate::packet::{Accepted, Frame, Frames, Incoming, NoRoom, Outgoing, Written, decode, encode};
use crate::settings::{Settings, Version};
use crate::subscriptions::{Change, Subscriptions};

/// Publications on their way at a time.
const INFLIGHT_MAX: u16 = 32;
/// Bytes that lie ready for the socket before nothing more is begun.
const READY_BYTES_MAX: usize = 128 * 1024;
/// Events, and bytes of them, that wait for the application before nothing more is read.
const EVENTS_MAX: usize = 1024;
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Kept free both ways for what must still be said: acknowledgements, pings, goodbye.
const SPARE_BYTES: u64 = 64;
/// The longest acknowledgement that is counted on.
const ACK_BYTES: u64 = 16;

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No socket; the next try is at this time. None: not before something changes.
    Away(Option<Instant>),
    /// A socket, and CONNECT sent.
    Greeting,
    Online,
}

/// What a packet of ours with this number asked for.
#[derive(Clone, Debug)]
enum Pending {
    Publish(String),
    Subscribe(String),
    Unsubscribe(String),
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Open a socket.
    Connect,
    /// Nothing, until then or until something changes.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(crate) struct Session {
    settings: Settings,
    phase: Phase,
    frames: Frames,
    /// Ready for the socket.
    output: BytesMut,
    /// Taken by the shell and not sent yet.
    taken: usize,
    pending: BTreeMap<u16, Pending>,
    /// Since when none of these was answered.
    unanswered: Option<Instant>,
    last_id: u16,
    inflight: u16,
    broker: Option<Accepted>,
    outbox: Outbox,
    subscriptions: Subscriptions,
    events: VecDeque<Event>,
    event_bytes: usize,
    used: Bytes,
    limit: Bytes,
    needs: Option<Bytes>,
    /// Why the connection is to end, once the output is sent.
    ending: Option<Why>,
    finishing: bool,
    drained: bool,
    closed: bool,
    taken_over: bool,
    /// Whether the application knows of this connection.
    told_connected: bool,
    /// Tries in vain.
    attempt: u32,
    connected_at: Instant,
    last_received: Instant,
    /// Whether nothing was read, when it was looked at last: the application is behind.
    stalled: bool,
    last_sent: Instant,
    ping_sent: bool,
}

impl Session {
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        let limit = settings.limit;
        let mut session = Self {
            phase: Phase::Away(None),
            frames: Frames::new(settings.packet_bytes_max),
            output: BytesMut::new(),
            taken: 0,
            pending: BTreeMap::new(),
            unanswered: None,
            last_id: 0,
            inflight: 0,
            broker: None,
            outbox: Outbox::default(),
            subscriptions: Subscriptions::default(),
            events: VecDeque::new(),
            event_bytes: 0,
            used: Bytes::default(),
            limit: Bytes::default(),
            needs: None,
            ending: None,
            finishing: false,
            drained: false,
            closed: false,
            taken_over: false,
            told_connected: false,
            attempt: 0,
            connected_at: now,
            last_received: now,
            stalled: false,
            last_sent: now,
            ping_sent: false,
            settings,
        };
        session.limit(now, limit);
        session
    }

    // What the application says.

    /// Leaves what was sealed at its place.
    pub(crate) fn leave(
        &mut self,
        topic: &Topic<'_>,
        sealed: Sealed<'_>,
        expiry_seconds: Option<u32>,
    ) -> Result<Ticket, PublishError> {
        sealed.check(topic)?;
        let payload = Payload::copy_from_slice(sealed.bytes());
        self.publish(&topic.text(), payload, expiry_seconds)
    }

    /// Leaves once more what may stand there already.
    pub(crate) fn leave_again(
        &mut self,
        topic: &Topic<'_>,
        sealed: Sealed<'_>,
    ) -> Result<(), PublishError> {
        sealed.check(topic)?;
        self.outbox.push_again(&topic.text(), Payload::copy_from_slice(sealed.bytes()))?;
        self.pump();
        Ok(())
    }

    pub(crate) fn publish(
        &mut self,
        topic: &str,
        payload: Payload,
        expiry_seconds: Option<u32>,
    ) -> Result<Ticket, PublishError> {
        if self.finishing {
            return Err(PublishError::Finishing);
        }
        let (ticket, replaced) = self.outbox.push(topic, payload, expiry_seconds)?;
        if let Some(replaced) = replaced {
            self.tell(Event::Failed { ticket: replaced, why: NotPublished::Superseded });
        }
        self.pump();
        Ok(ticket)
    }

    pub(crate) fn subscribe(&mut self, subscription: Subscription<'_>) {
        if matches!(subscription, Subscription::Once { .. }) && !self.told_connected {
            return;
        }
        self.subscriptions.subscribe(subscription);
        self.pump();
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        self.subscriptions.unsubscribe(filter);
        self.pump();
    }

    pub(crate) fn let_go(&mut self, filter: &str) {
        self.subscriptions.let_go(filter);
        self.pump();
    }

    /// Whether the broker's session may hold, when it is next there, what was asked of a connection that is gone.
    pub(crate) fn leaves(&self) -> bool {
        self.phase != Phase::Online && self.subscriptions.leaves_something()
    }

    pub(crate) fn limit(&mut self, now: Instant, until: Bytes) {
        self.limit = until;
        if self.phase == Phase::Away(None) && !self.taken_over && self.may_connect() {
            self.phase = Phase::Away(Some(now));
        }
        self.pump();
    }

    /// Comes back after another link had our name.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.taken_over = false;
        if self.phase == Phase::Away(None) && self.may_connect() {
            self.phase = Phase::Away(Some(now));
        }
    }

    pub(crate) fn finish(&mut self) {
        self.finishing = true;
        self.look_drained();
    }

    /// Says goodbye and stays away.
    pub(crate) fn goodbye(&mut self) {
        (self.finishing, self.closed) = (true, true);
        if self.phase == Phase::Online {
            // Nobody would end what was asked of this connection alone; and what was acknowledged and not taken by the
            // application must come again.
            let untaken = self.events.iter().any(|event| matches!(event, Event::Message(_)));
            let forget = self.settings.session_seconds > 0
                && (untaken || self.subscriptions.leaves_something());
            let _fits_or_not = self.say(Outgoing::Goodbye { forget });
        }
        match self.phase {
            Phase::Away(_) => self.phase = Phase::Away(None),
            Phase::Greeting | Phase::Online => self.end(Why::Closed),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.event_bytes -= event.payload_bytes();
        if let Event::Connected { .. } = event {
            // Not of a connection that is gone by now.
            let again = |event: &Event| matches!(event, Event::Disconnected { .. });
            self.told_connected = self.phase == Phase::Online && !self.events.iter().any(again);
        }
        Some(event)
    }

    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn used(&self) -> Bytes {
        self.used
    }

    pub(crate) fn needs(&self) -> Option<Bytes> {
        self.needs
    }

    // What the socket says.

    /// What to do without a socket.
    pub(crate) fn todo(&self, now: Instant) -> Todo {
        match self.phase {
            Phase::Away(Some(at)) if at <= now => Todo::Connect,
            Phase::Away(at) => Todo::Wait(at),
            Phase::Greeting | Phase::Online => Todo::Wait(None),
        }
    }

    /// Which MQTT the broker speaks, as far as is known.
    pub(crate) const fn version(&self) -> Version {
        self.settings.version
    }

    /// Publications that were sent and are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.outbox.on_their_way()
    }

    /// Whether it said goodbye: there is no next connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// There is a socket.
    pub(crate) fn open(&mut self, now: Instant) {
        self.phase = Phase::Greeting;
        (self.connected_at, self.last_received, self.last_sent) = (now, now, now);
        let seconds = self.settings.keep_alive.as_secs();
        let client_id = self.settings.client_id.clone();
        let connect = Outgoing::Connect {
            client_id: &client_id,
            keep_alive_seconds: u16::try_from(seconds.max(1)).unwrap_or(u16::MAX),
            session_seconds: self.settings.session_seconds,
            clean: self.settings.session_seconds == 0 || self.settings.fresh,
            packet_bytes_max: self.settings.packet_bytes_max,
        };
        if self.closed {
            self.end(Why::Closed);
        } else if self.say(connect).is_err() {
            self.end(Why::Budget);
        }
    }

    /// No socket came of it, or there is none any more.
    pub(crate) fn close(&mut self, now: Instant, why: Why) {
        let lasted = now.saturating_duration_since(self.connected_at);
        if self.phase == Phase::Online && lasted >= self.settings.backoff.longest {
            self.attempt = 0;
        }
        self.frames.clear();
        self.output.clear();
        self.taken = 0;
        self.pending.clear();
        self.unanswered = None;
        self.inflight = 0;
        self.broker = None;
        self.ending = None;
        (self.ping_sent, self.stalled) = (false, false);
        self.told_connected = false;
        self.subscriptions.disconnected();
        self.outbox.shake(why.shakes(!matches!(self.phase, Phase::Away(_))));
        let lost = why.lost_at(self.last_received).filter(|_at| self.phase == Phase::Online);
        for (ticket, why) in self.outbox.unsend(lost) {
            self.tell(Event::Failed { ticket, why });
        }
        self.taken_over = why == Why::TakenOver;
        let stays = self.taken_over || self.closed || !self.may_connect();
        let again = (!stays).then(|| self.settings.backoff.wait(self.attempt));
        self.attempt = self.attempt.saturating_add(1);
        self.phase = Phase::Away(again.and_then(|wait| now.checked_add(wait)));
        self.tell(Event::Disconnected { why, again });
        self.look_drained();
    }

    /// Bytes came.
    pub(crate) fn receive(&mut self, now: Instant, bytes: BytesMut) {
        self.used.down += bytes.len() as u64;
        self.last_received = now;
        if self.ending.is_some() {
            // Nobody would take it out again.
            return;
        }
        self.frames.push(bytes);
        while self.ending.is_none() {
            match self.frames.next() {
                Ok(Some(Frame::Whole(frame))) => match decode(self.settings.version, frame) {
                    Ok(incoming) => self.handle(now, incoming),
                    Err(_malformed) => self.end(Why::Malformed),
                },
                Ok(Some(Frame::Oversized { bytes, ack })) => {
                    self.tell(Event::Oversized { bytes });
                    self.acknowledge(ack);
                }
                Ok(None) => break,
                Err(_malformed) => self.end(Why::Malformed),
            }
        }
        self.pump();
        self.look_spent();
        self.look_drained();
    }

    /// What lies ready for the socket.
    pub(crate) fn take_output(&mut self) -> BytesMut {
        self.taken += self.output.len();
        self.output.split()
    }

    /// The socket took this many of the bytes.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize) {
        self.taken -= bytes;
        self.used.up += bytes as u64;
        self.last_sent = now;
        if !self.pending.is_empty() {
            self.unanswered.get_or_insert(now);
        }
        self.pump();
        self.look_spent();
    }

    /// The most bytes to read next; none while the application is behind, or the broker, which is to read what it is answered.
    pub(crate) fn read_bytes_max(&self) -> usize {
        if self.is_behind() || self.taken + self.output.len() >= 2 * READY_BYTES_MAX {
            return 0;
        }
        usize::try_from(self.limit.down.saturating_sub(self.used.down)).unwrap_or(usize::MAX)
    }

    /// Why to close the socket, once all output is sent.
    pub(crate) fn ending(&self) -> Option<&Why> {
        self.ending.as_ref()
    }

    // What follows from it.

    fn handle(&mut self, now: Instant, incoming: Incoming) {
        let asked = self.pending.len();
        self.take(now, incoming);
        if self.pending.len() < asked {
            self.unanswered = (!self.pending.is_empty()).then_some(now);
        }
    }

    fn take(&mut self, now: Instant, incoming: Incoming) {
        match (self.phase, incoming) {
            (Phase::Greeting, Incoming::Accepted(accepted)) => self.accepted(now, accepted),
            (Phase::Greeting, Incoming::Refused { reason }) => self.end(Why::Refused(reason)),
            (Phase::Greeting, Incoming::Unspoken) => {
                self.settings.version = Version::V311;
                self.end(Why::Refused("no MQTT 5: from now on 3.1.1".into()));
            }
            (Phase::Online, Incoming::Publish { topic, payload, retained, ack }) => {
                self.acknowledge(ack);
                self.subscriptions.came(&topic);
                self.tell(Event::Message(Message { topic, payload, retained }));
            }
            (Phase::Online, Incoming::Published { id, refused }) => {
                self.published(now, id, refused);
            }
            (Phase::Online, Incoming::Subscribed { id, refused }) => {
                self.subscribed(now, id, refused);
            }
            (Phase::Online, Incoming::Unsubscribed { id }) => match self.pending.remove(&id) {
                Some(Pending::Unsubscribe(filter)) => self.subscriptions.dropped(&filter),
                Some(Pending::Publish(_) | Pending::Subscribe(_)) | None => {
                    self.end(Why::Malformed);
                }
            },
            (Phase::Online, Incoming::Pong) => self.ping_sent = false,
            (Phase::Online | Phase::Greeting, Incoming::Goodbye { taken_over, reason }) => {
                self.end(if taken_over { Why::TakenOver } else { Why::Goodbye(reason) });
            }
            (Phase::Away(_) | Phase::Greeting | Phase::Online, _) => self.end(Why::Malformed),
        }
    }

    fn accepted(&mut self, now: Instant, accepted: Accepted) {
        if !accepted.fit {
            return self.end(Why::Unfit);
        }
        let session_present = accepted.session_present;
        self.settings.fresh = false;
        self.phase = Phase::Online;
        self.broker = Some(accepted);
        self.subscriptions.connected(session_present);
        self.outbox.connected(now);
        self.tell(Event::Connected { session_present });
    }

    fn published(&mut self, now: Instant, id: u16, refused: Option<String>) {
        let Some(Pending::Publish(topic)) = self.pending.remove(&id) else {
            return self.end(Why::Malformed);
        };
        self.inflight = self.inflight.saturating_sub(1);
        let acknowledged = refused.is_none().then_some(now);
        if let Some(ticket) = self.outbox.done(&topic, acknowledged) {
            let event = match refused {
                None => Event::Published(ticket),
                Some(reason) => Event::Failed { ticket, why: NotPublished::Refused(reason) },
            };
            self.tell(event);
        }
    }

    fn subscribed(&mut self, now: Instant, id: u16, refused: Option<String>) {
        let Some(Pending::Subscribe(filter)) = self.pending.remove(&id) else {
            return self.end(Why::Malformed);
        };
        let Some(reason) = refused else {
            if self.subscriptions.held(&filter) {
                self.tell(Event::Subscribed { filter });
            }
            return;
        };
        let Some(before) = self.subscriptions.refused(&filter) else { return };
        let again = self.settings.backoff.wait(before);
        self.subscriptions.ask_again(&filter, now.checked_add(again).unwrap_or(Instant::MAX));
        self.tell(Event::SubscribeRefused { filter, reason, again });
    }

    fn acknowledge(&mut self, ack: Option<u16>) {
        if let Some(id) = ack
            && self.say(Outgoing::Ack { id }).is_err()
        {
            self.end(Why::Budget);
        }
    }

    /// Begins what may begin.
    fn pump(&mut self) {
        self.needs = None;
        if self.phase != Phase::Online || self.ending.is_some() {
            return;
        }
        for change in self.subscriptions.changes() {
            // One that does not fit holds up no other.
            self.change(&change);
        }
        if self.finishing {
            return;
        }
        let inflight_max = self.broker.map_or(1, |broker| broker.inflight_max).min(INFLIGHT_MAX);
        while self.output.len() < READY_BYTES_MAX && self.inflight < inflight_max {
            if !self.publish_first() {
                return;
            }
        }
    }

    /// Sends one change of subscriptions, if there is room for it.
    fn change(&mut self, change: &Change) {
        if self.finishing && matches!(change, Change::Subscribe(_)) {
            return;
        }
        let session_present = self.broker.is_some_and(|broker| broker.session_present);
        let answer_bytes = self.subscriptions.answer_bytes(change) + ACK_BYTES;
        let id = self.free_id();
        let (packet, pending) = match change {
            Change::Subscribe(filter) => {
                let asked = self.subscriptions.get(filter);
                let acknowledged = asked.is_some_and(|asked| asked.acknowledged);
                // A session that was kept holds back nothing that was to be acknowledged; what is wanted once is wanted now.
                let standing = asked.is_some_and(|asked| asked.once.is_none());
                let again = !(session_present && acknowledged && standing);
                let packet = Outgoing::Subscribe { id, filter, acknowledged, again };
                (packet, Pending::Subscribe(filter.clone()))
            }
            Change::Unsubscribe(filter) => {
                (Outgoing::Unsubscribe { id, filter }, Pending::Unsubscribe(filter.clone()))
            }
        };
        if self.begin(packet, answer_bytes).is_ok() {
            self.pending.insert(id, pending);
            self.subscriptions.sent(change);
        }
    }

    /// Sends the first publication; whether there was one, and room for it.
    fn publish_first(&mut self) -> bool {
        let id = self.free_id();
        let Some((topic, parcel)) = self.outbox.first(self.settings.again_bytes_max) else {
            return false;
        };
        let (topic, payload) = (topic.to_owned(), parcel.payload.clone());
        let expiry_seconds = parcel.expiry_seconds;
        let packet = Outgoing::Publish { id, topic: &topic, payload, expiry_seconds };
        match self.begin(packet, ACK_BYTES) {
            Ok(()) => {
                self.outbox.sent();
                self.pending.insert(id, Pending::Publish(topic));
                self.inflight += 1;
                true
            }
            Err(NoRoom::Broker { bytes, max }) => {
                if let Some(ticket) = self.outbox.give_up_first() {
                    let why = NotPublished::TooLong { bytes, max };
                    self.tell(Event::Failed { ticket, why });
                }
                true
            }
            Err(NoRoom::Budget) => false,
        }
    }

    /// Says something that has an answer, if both fit.
    fn begin(&mut self, packet: Outgoing<'_>, answer_bytes: u64) -> Result<(), NoRoom> {
        let promised = self.subscriptions.expected_bytes() + ACK_BYTES * self.pending.len() as u64;
        let down = self.used.down + promised + answer_bytes + SPARE_BYTES;
        let up = self.used.up + (self.taken + self.output.len()) as u64 + SPARE_BYTES;
        let room = self.limit.up.saturating_sub(up);
        let room = if down > self.limit.down { 0 } else { room };
        let broker_max = self.broker.map_or(u32::MAX, |broker| broker.packet_bytes_max);
        let bytes_max = usize::try_from(room.min(u64::from(broker_max))).unwrap_or(usize::MAX);
        match encode(self.settings.version, packet, bytes_max, &mut self.output) {
            Written::Yes => Ok(()),
            Written::TooLong { bytes } if bytes as u64 > u64::from(broker_max) => {
                Err(NoRoom::Broker { bytes, max: broker_max })
            }
            Written::TooLong { bytes } => {
                self.needs.get_or_insert(Bytes { up: up + bytes as u64, down });
                Err(NoRoom::Budget)
            }
        }
    }

    /// Says something that must be said, of the spare bytes too.
    fn say(&mut self, packet: Outgoing<'_>) -> Result<(), NoRoom> {
        let ready = (self.taken + self.output.len()) as u64;
        let room = self.limit.up.saturating_sub(self.used.up + ready);
        let bytes_max = usize::try_from(room).unwrap_or(usize::MAX);
        match encode(self.settings.version, packet, bytes_max, &mut self.output) {
            Written::Yes => Ok(()),
            Written::TooLong { .. } => Err(NoRoom::Budget),
        }
    }

    /// Whether a connection has room for more than its greeting.
    fn may_connect(&self) -> bool {
        let least = 4 * SPARE_BYTES + self.settings.client_id.len() as u64;
        self.limit.up.saturating_sub(self.used.up) > least
            && self.limit.down.saturating_sub(self.used.down) > least
    }

    fn look_spent(&mut self) {
        let spent = self.used.up >= self.limit.up || self.used.down >= self.limit.down;
        if spent && self.ending.is_none() {
            self.end(Why::Budget);
        }
    }

    fn look_drained(&mut self) {
        let away = matches!(self.phase, Phase::Away(_));
        let idle = self.pending.is_empty() && self.subscriptions.expected_bytes() == 0;
        if self.finishing && !self.drained && (away || idle) {
            self.drained = true;
            self.tell(Event::Drained);
        }
    }

    fn end(&mut self, why: Why) {
        if self.ending.is_none() {
            self.ending = Some(why);
        }
    }

    fn tell(&mut self, event: Event) {
        self.event_bytes += event.payload_bytes();
        self.events.push_back(event);
    }

    /// A number that no packet of ours has that waits for its answer.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.pending.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

mod clocks;
#[cfg(test)]
mod tests;
