//! A link whose socket and clock are somebody else's: who simulates a network moves the bytes, and what decides is what decides
//! in a [`crate::Link`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes as Payload, BytesMut};
use embassy_time::Instant;
use shoal_window::Bytes;
use shoal_wire::Topic;

use crate::broker::{Broker, Event, PublishError, Sealed, Subscription, Ticket, Why};
use crate::session::{Session, Todo};
use crate::settings::{Settings, Version};

/// A link without a wire. Clones are the same link: one for the vehicle, one for the network.
#[derive(Clone, Debug)]
pub struct Unwired(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    session: Session,
    now: Instant,
}

impl Unwired {
    /// A link that begins at this moment.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let session = Session::new(settings, now);
        Unwired(Arc::new(Mutex::new(State { session, now })))
    }

    /// It is so late.
    pub fn at(&self, now: Instant) {
        let mut state = self.lock();
        state.now = now;
        state.session.handle_timeout(now);
    }

    /// Whether a socket is wanted now.
    #[must_use]
    pub fn wants_socket(&self) -> bool {
        let state = self.lock();
        !state.session.is_closed() && state.session.todo(state.now) == Todo::Connect
    }

    /// There is a socket.
    pub fn opened(&self) {
        let mut state = self.lock();
        let now = state.now;
        state.session.open(now);
    }

    /// There is none any more, or none came of it.
    pub fn closed(&self, why: Why) {
        let mut state = self.lock();
        let now = state.now;
        state.session.close(now, why);
    }

    /// Bytes came out of the socket.
    pub fn receive(&self, bytes: &[u8]) {
        let mut state = self.lock();
        let now = state.now;
        state.session.receive(now, BytesMut::from(bytes));
    }

    /// How many bytes it would take now.
    #[must_use]
    pub fn takes(&self) -> usize {
        self.lock().session.read_bytes_max()
    }

    /// Bytes that the socket takes.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        let mut state = self.lock();
        let now = state.now;
        let bytes = state.session.take_output();
        state.session.sent(now, bytes.len());
        bytes.to_vec()
    }

    /// Why the socket is to be closed, once nothing is to be sent any more.
    #[must_use]
    pub fn ending(&self) -> Option<Why> {
        self.lock().session.ending().cloned()
    }

    /// Whether goodbye was said: there is no next connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().session.is_closed()
    }

    /// Whether there is something for the vehicle.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.lock().session.has_event()
    }

    /// Publications that were sent on this connection and are not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.lock().session.unacknowledged()
    }

    /// When to call [`Unwired::at`], or to look whether a socket is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = self.lock();
        let socket = match state.session.todo(state.now) {
            Todo::Connect => Some(state.now),
            Todo::Wait(until) => until,
        };
        [socket, state.session.poll_timeout()].into_iter().flatten().min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker for Unwired {
    fn publish(
        &mut self,
        topic: &Topic<'_>,
        sealed: Sealed<'_>,
        expiry_seconds: Option<u32>,
    ) -> Result<Ticket, PublishError> {
        self.lock().session.leave(topic, sealed, expiry_seconds)
    }

    fn publish_again(&mut self, topic: &Topic<'_>, sealed: Sealed<'_>) -> Result<(), PublishError> {
        self.lock().session.leave_again(topic, sealed)
    }

    fn clear(&mut self, topic: &Topic<'_>) -> Result<Ticket, PublishError> {
        self.lock().session.publish(&topic.text(), Payload::new(), None)
    }

    fn subscribe(&mut self, subscription: Subscription<'_>) {
        self.lock().session.subscribe(subscription);
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.lock().session.unsubscribe(filter);
    }

    fn let_go(&mut self, filter: &str) {
        self.lock().session.let_go(filter);
    }

    fn leaves(&self) -> bool {
        self.lock().session.leaves()
    }

    /// The next event, if there is one: waiting would change nothing.
    fn next(&mut self, _wait: Duration) -> Option<Event> {
        self.lock().session.poll_event()
    }

    fn used(&self) -> Bytes {
        self.lock().session.used()
    }

    fn limit(&mut self, until: Bytes) {
        let mut state = self.lock();
        let now = state.now;
        state.session.limit(now, until);
    }

    fn needs(&self) -> Option<Bytes> {
        self.lock().session.needs()
    }

    fn version(&self) -> Version {
        self.lock().session.version()
    }

    fn finish(&mut self) {
        self.lock().session.finish();
    }

    /// Says goodbye; the network has the last words when it next looks. They count already.
    fn close(&mut self) -> Bytes {
        let mut state = self.lock();
        state.session.goodbye();
        state.session.used()
    }
}
