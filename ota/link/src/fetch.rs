//! Fetching a particle: the transfer of `shoal-window`, over a broker and into a store.

use embassy_time::{Duration, Instant};
use shoal_window::{Ended, Keep, RejectTransfer, Transfer, TransferInput, TransferOutput};
use shoal_wire::v1::{CHUNKS_MAX, PARTICLE_HEADER_BYTES_MAX, ParticleHeader};
use shoal_wire::{
    ChunkHash, KeyId, Keys, Label, Leaf, Now, ParticleId, RejectEnvelope, RejectPlace, RejectTopic,
    Topic, Unverified, Verified,
};

use crate::broker::{Broker, Event, Message, Subscription};

/// A broker that sent something else that stood there so shortly before is still at what it was asked before.
const BUSY: Duration = Duration::from_secs(5);

const HEADER_BYTES: u32 = PARTICLE_HEADER_BYTES_MAX as u32;

/// Where a transfer's parts are kept: durable when a door returns.
pub trait Store {
    /// Why a door failed.
    type Error;

    /// Keeps a chunk under its hash; the bytes were checked.
    ///
    /// # Errors
    /// When they cannot be made durable.
    fn keep_chunk(
        &mut self,
        particle: ParticleId,
        index: u8,
        hash: ChunkHash,
        bytes: &[u8],
    ) -> Result<(), Self::Error>;

    /// Keeps a record of the transfer of this particle, in place of the one with this key.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn keep_record(
        &mut self,
        particle: ParticleId,
        key: &'static str,
        bytes: &[u8],
    ) -> Result<(), Self::Error>;
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It goes on.
    Going,
    /// The attempt ended, and not because of a cut; [`Fetch::start`] begins the next.
    Ended(Ended),
    /// All of it lies in the store.
    Complete,
    /// The slot holds another particle.
    Gone,
}

/// Why something that came was rejected: worth counting, and nothing else.
#[expect(missing_docs, reason = "the sources say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectFetched {
    #[error("header rejected")]
    Header(#[source] RejectEnvelope),
    #[error("not on a topic of ours")]
    Topic(#[source] RejectTopic),
    #[error("on a topic of another")]
    Place(#[source] RejectPlace),
    #[error("chunk or header rejected")]
    Transfer(#[source] RejectTransfer),
}

/// Our store failed, and nothing is asked for any more. What it holds is the truth: resume from it.
#[derive(Debug, thiserror::Error)]
#[error("the store failed")]
pub struct StoreFailed<E>(#[source] pub E);

/// One particle on its way from a broker into a store.
#[derive(Debug)]
pub struct Fetch {
    transfer: Transfer,
    fleet: String,
    /// `None`: the publisher may be in any.
    region: Option<String>,
    publisher: KeyId,
    slot: u8,
    /// Filters of what is asked for: topics, with `+` in the region's place where that is not known.
    header_topic: String,
    /// By index.
    chunk_topics: Vec<String>,
    /// Whether an attempt is under way.
    started: bool,
    /// Whether an attempt ended with nothing. What comes once may be lost on its way: from then on the broker repeats it until it is
    /// acknowledged, so that what does not come is not there.
    acknowledged: bool,
    /// Whether the broker has taken a subscription of ours in it, on the connection that is.
    answered: bool,
    /// When it sent something that stood there and was asked for before, last: no particle, or one that was asked for earlier.
    other: Option<Instant>,
    rejected: Option<RejectFetched>,
}

impl Fetch {
    /// The transfer, begun or resumed, of what this publisher left in this slot; `None`: in whatever region it is. Nothing happens
    /// before [`Fetch::start`].
    ///
    /// # Errors
    /// [`RejectTopic`]: no such slot.
    pub fn new(
        transfer: Transfer,
        fleet: Label<'_>,
        region: Option<Label<'_>>,
        publisher: KeyId,
        slot: u8,
    ) -> Result<Self, RejectTopic> {
        let text = |leaf| {
            Ok(match region {
                Some(region) => Topic::new(fleet, region, publisher, leaf)?.text().to_string(),
                // The name of a fleet is one of a region, too.
                None => Topic::new(fleet, fleet, publisher, leaf)?.in_any_region().to_string(),
            })
        };
        let indices = (0..=u8::MAX).take(CHUNKS_MAX);
        Ok(Self {
            transfer,
            fleet: fleet.text().to_owned(),
            region: region.map(|region| region.text().to_owned()),
            publisher,
            slot,
            header_topic: text(Leaf::Particle { slot })?,
            chunk_topics: indices
                .map(|index| text(Leaf::Chunk { slot, index }))
                .collect::<Result<_, _>>()?,
            started: false,
            acknowledged: false,
            answered: false,
            other: None,
            rejected: None,
        })
    }

    /// The transfer.
    pub const fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// Whether the broker answered in this attempt: if not, that nothing came says nothing of who published it.
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the broker is still at what it was asked before: it acknowledges at once what it is asked for, and sends what stands
    /// there in its turn. Then, too, that nothing came says nothing.
    pub fn is_busy(&self, now: Instant) -> bool {
        self.other.is_some_and(|at| at.saturating_add(BUSY) > now)
    }

    /// The broker is at what was asked for before this.
    pub const fn wait_behind(&mut self, now: Instant) {
        self.other = Some(now);
    }

    /// Whether this is a part of what is fetched: a topic that stands for it.
    pub fn is_of(&self, topic: &Topic<'_>) -> bool {
        self.part(topic).is_some()
    }

    /// Begins an attempt: the window is open. It lasts over cuts: with every [`Event::Connected`] it goes on
    /// where it was.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn start<S: Store>(
        &mut self,
        now: Now,
        broker: &mut (impl Broker + ?Sized),
        store: &mut S,
    ) -> Result<Fetched, StoreFailed<S::Error>> {
        (self.started, self.answered) = (true, false);
        self.input(now, TransferInput::Start);
        self.drain(broker, store, &[])
    }

    /// Takes an event of the broker; those of other topics change nothing.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn handle_event<S: Store>(
        &mut self,
        now: Now,
        event: &Event,
        keys: &impl Keys,
        broker: &mut (impl Broker + ?Sized),
        store: &mut S,
    ) -> Result<Fetched, StoreFailed<S::Error>> {
        let mut chunk: &[u8] = &[];
        match event {
            Event::Message(message) => {
                let place = message.place().ok();
                match place.as_ref().and_then(|place| self.part(place)) {
                    Some(Leaf::Particle { .. }) => self.header(now, message, keys),
                    Some(Leaf::Chunk { index, .. }) => {
                        self.chunk(now, index, &message.payload);
                        chunk = &message.payload;
                    }
                    Some(_) | None if message.retained && !place.is_some_and(is_fetched) => {
                        self.other = Some(now.since_boot);
                    }
                    Some(_) | None => {}
                }
            }
            Event::Subscribed { filter } => self.answered |= self.is_ours(filter),
            Event::Disconnected { .. } => {
                self.answered = false;
                self.input(now, TransferInput::Cut);
            }
            Event::Connected { .. } if self.started => {
                // What was asked before was asked of no connection, or of one that is gone.
                self.input(now, TransferInput::Cut);
                self.input(now, TransferInput::Start);
            }
            Event::Connected { .. }
            | Event::Published(_)
            | Event::Failed { .. }
            | Event::SubscribeRefused { .. }
            | Event::Oversized { .. }
            | Event::Drained => {}
        }
        self.drain(broker, store, chunk)
    }

    /// Takes that time has passed.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn handle_timeout<S: Store>(
        &mut self,
        now: Now,
        broker: &mut (impl Broker + ?Sized),
        store: &mut S,
    ) -> Result<Fetched, StoreFailed<S::Error>> {
        self.transfer.handle_timeout(now);
        self.drain(broker, store, &[])
    }

    /// When to call [`Fetch::handle_timeout`]; `None` outside an attempt.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.transfer.poll_timeout()
    }

    /// What was rejected, the newest since the last call.
    pub fn poll_rejected(&mut self) -> Option<RejectFetched> {
        self.rejected.take()
    }

    /// Asks for nothing more. What arrived is kept, as far as the store has it.
    pub fn stop(self, broker: &mut (impl Broker + ?Sized)) {
        self.leave(broker);
    }

    fn leave(&self, broker: &mut (impl Broker + ?Sized)) {
        broker.unsubscribe(&self.header_topic);
        self.chunk_topics.iter().for_each(|topic| broker.unsubscribe(topic));
    }

    /// What of the particle stands at a topic.
    fn part(&self, topic: &Topic<'_>) -> Option<Leaf> {
        let region = self.region.as_deref();
        let here = topic.fleet().text() == self.fleet
            && region.is_none_or(|region| topic.region().text() == region)
            && topic.publisher() == self.publisher;
        let leaf = topic.leaf();
        let slot =
            matches!(leaf, Leaf::Particle { slot } | Leaf::Chunk { slot, .. } if slot == self.slot);
        (here && slot).then_some(leaf)
    }

    fn is_ours(&self, topic: &str) -> bool {
        self.header_topic == topic || self.chunk_topics.iter().any(|chunk| chunk == topic)
    }

    fn header(&mut self, now: Now, message: &Message, keys: &impl Keys) {
        match verified(message, keys) {
            Ok(header) => {
                self.input(now, TransferInput::Header(&header));
            }
            Err(reject) => self.rejected = Some(reject),
        }
    }

    fn chunk(&mut self, now: Now, index: u8, payload: &[u8]) {
        let begin = TransferInput::Begin { index, bytes: payload.len() as u64 };
        if self.input(now, begin) && self.input(now, TransferInput::Piece(payload)) {
            self.input(now, TransferInput::End);
        }
    }

    /// Whether it was taken.
    fn input(&mut self, now: Now, input: TransferInput<'_>) -> bool {
        let result = self.transfer.handle_input(now, input);
        self.rejected = result.err().map(RejectFetched::Transfer).or(self.rejected);
        result.is_ok()
    }

    /// Keeps what is to be kept, then does what is to be done. `chunk` is the message that came last.
    fn drain<S: Store>(
        &mut self,
        broker: &mut (impl Broker + ?Sized),
        store: &mut S,
        chunk: &[u8],
    ) -> Result<Fetched, StoreFailed<S::Error>> {
        let particle = self.transfer.particle();
        while let Some(keep) = self.transfer.poll_persist() {
            let kept = match keep {
                Keep::Chunk { index, hash } => store.keep_chunk(particle, index, hash, chunk),
                Keep::Record(record) => store.keep_record(particle, record.key, record.bytes),
            };
            if let Err(error) = kept {
                self.leave(broker);
                return Err(StoreFailed(error));
            }
        }
        let mut fetched = Fetched::Going;
        while let Some(output) = self.transfer.poll_output() {
            match output {
                TransferOutput::AskHeader => {
                    let topic = self.header_topic.as_str();
                    broker.unsubscribe(topic);
                    let (bytes, acknowledged) = (HEADER_BYTES, self.acknowledged);
                    broker.subscribe(Subscription::Once { topic, bytes, acknowledged });
                }
                TransferOutput::LeaveHeader => broker.unsubscribe(&self.header_topic),
                TransferOutput::Ask { index, bytes } => {
                    if let Some(topic) = self.chunk_topics.get(usize::from(index)) {
                        let acknowledged = self.acknowledged;
                        broker.subscribe(Subscription::Once { topic, bytes, acknowledged });
                    }
                }
                TransferOutput::Leave { index } => {
                    if let Some(topic) = self.chunk_topics.get(usize::from(index)) {
                        broker.unsubscribe(topic);
                    }
                }
                TransferOutput::Ended(Ended::Cut) => {}
                TransferOutput::Ended(ended) => {
                    self.acknowledged = true;
                    fetched = Fetched::Ended(ended);
                }
                TransferOutput::Complete => fetched = Fetched::Complete,
                TransferOutput::Gone => fetched = Fetched::Gone,
            }
        }
        self.started &= fetched == Fetched::Going;
        Ok(fetched)
    }
}

/// Cheapest check first.
fn verified<'a>(
    message: &'a Message,
    keys: &impl Keys,
) -> Result<Verified<'a, ParticleHeader>, RejectFetched> {
    let header = Unverified::decode(&message.payload).map_err(RejectFetched::Header)?;
    let place = message.place().map_err(RejectFetched::Topic)?;
    place.check(header.head()).map_err(RejectFetched::Place)?;
    header.verify(keys).map_err(RejectFetched::Header)
}

/// Whether what stands there is of a particle.
fn is_fetched(place: Topic<'_>) -> bool {
    matches!(place.leaf(), Leaf::Particle { .. } | Leaf::Chunk { .. })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use embassy_time::Duration;
    use shoal_window::Pace;
    use shoal_wire::{Kind, PublicKey, Utc};

    use super::*;
    use crate::broker::Why;
    use crate::settings::Settings;
    use crate::unwired::Unwired;

    const PERIOD: Duration = Duration::from_secs(10);
    const PACE: Pace = Pace { bytes_min: 1024, period: PERIOD };

    struct Nowhere;

    impl Store for Nowhere {
        type Error = Infallible;

        fn keep_chunk(
            &mut self,
            _particle: ParticleId,
            _index: u8,
            _hash: ChunkHash,
            _bytes: &[u8],
        ) -> Result<(), Infallible> {
            Ok(())
        }

        fn keep_record(
            &mut self,
            _particle: ParticleId,
            _key: &'static str,
            _bytes: &[u8],
        ) -> Result<(), Infallible> {
            Ok(())
        }
    }

    /// A broker that hears what is asked of it, and says nothing.
    #[derive(Default)]
    struct Mute(Vec<bool>);

    impl Broker for Mute {
        fn publish(
            &mut self,
            _topic: &Topic<'_>,
            _sealed: crate::Sealed<'_>,
            _expiry_seconds: Option<u32>,
        ) -> Result<crate::Ticket, crate::PublishError> {
            Err(crate::PublishError::Finishing)
        }

        fn publish_again(
            &mut self,
            _topic: &Topic<'_>,
            _sealed: crate::Sealed<'_>,
        ) -> Result<(), crate::PublishError> {
            Err(crate::PublishError::Finishing)
        }

        fn clear(&mut self, _topic: &Topic<'_>) -> Result<crate::Ticket, crate::PublishError> {
            Err(crate::PublishError::Finishing)
        }

        fn subscribe(&mut self, subscription: Subscription<'_>) {
            match subscription {
                Subscription::Once { acknowledged, .. }
                | Subscription::Standing { acknowledged, .. } => self.0.push(acknowledged),
            }
        }

        fn unsubscribe(&mut self, _filter: &str) {}

        fn let_go(&mut self, _filter: &str) {}

        fn leaves(&self) -> bool {
            false
        }

        fn next(&mut self, _wait: core::time::Duration) -> Option<Event> {
            None
        }

        fn used(&self) -> shoal_window::Bytes {
            shoal_window::Bytes::default()
        }

        fn limit(&mut self, _until: shoal_window::Bytes) {}

        fn needs(&self) -> Option<shoal_window::Bytes> {
            None
        }

        fn version(&self) -> crate::Version {
            crate::Version::V5
        }

        fn finish(&mut self) {}

        fn close(&mut self) -> shoal_window::Bytes {
            shoal_window::Bytes::default()
        }
    }

    /// A message that is sent once may be lost: what did not come so is asked for with acknowledgement before anybody says that it
    /// is not there. A cut is no answer.
    #[test]
    fn what_did_not_come_is_asked_for_again_with_acknowledgement() {
        let label = |text| Label::new(text).unwrap();
        let transfer = Transfer::new(ParticleId::new([1; 32]), PACE);
        let mut fetch =
            Fetch::new(transfer, label("fleet"), Some(label("region")), KeyId::new([9; 8]), 3)
                .unwrap();
        let mut broker = Mute::default();
        fetch.start(at(0), &mut broker, &mut Nowhere).unwrap();
        for event in [
            Event::Disconnected { why: Why::Silent, again: None },
            Event::Connected { session_present: false },
        ] {
            fetch.handle_event(at(1), &event, &NoKeys, &mut broker, &mut Nowhere).unwrap();
        }
        fetch.handle_timeout(at(11), &mut broker, &mut Nowhere).unwrap();
        fetch.start(at(11), &mut broker, &mut Nowhere).unwrap();
        assert_eq!(broker.0, [false, false, true]);
    }

    /// What the publisher left in another region is asked for and taken; where the region is known, it is not.
    #[test]
    fn a_particle_is_fetched_from_whatever_region_it_stands_in() {
        let label = |text| Label::new(text).unwrap();
        let publisher = KeyId::new([9; 8]);
        for (region, taken) in
            [(None, true), (Some(label("other")), true), (Some(label("us")), false)]
        {
            let transfer = Transfer::new(ParticleId::new([1; 32]), PACE);
            let mut fetch = Fetch::new(transfer, label("fleet"), region, publisher, 3).unwrap();
            let mut broker = Mute::default();
            fetch.start(at(0), &mut broker, &mut Nowhere).unwrap();
            let mut tell = |leaf, of| {
                let topic = Topic::new(label("fleet"), label("other"), of, leaf).unwrap();
                let (topic, payload) = (topic.text().to_string(), bytes::Bytes::from_static(b"x"));
                let event = Event::Message(Message { topic, payload, retained: true });
                fetch.handle_event(at(1), &event, &NoKeys, &mut broker, &mut Nowhere).unwrap();
                // It is none, but it was looked at.
                fetch.poll_rejected().is_some()
            };
            assert_eq!(tell(Leaf::Particle { slot: 3 }, publisher), taken);
            assert_eq!(tell(Leaf::Chunk { slot: 3, index: 1 }, publisher), taken);
            assert!(!tell(Leaf::Particle { slot: 2 }, publisher));
            assert!(!tell(Leaf::Particle { slot: 3 }, KeyId::new([8; 8])));
        }
    }

    struct NoKeys;

    impl Keys for NoKeys {
        fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
            None
        }
    }

    fn at(seconds: u64) -> Now {
        Now { since_boot: Instant::from_secs(seconds), utc: Utc::AtLeast { seconds } }
    }

    /// Nothing came in either of two attempts; only in the second one, the broker took what was asked for.
    #[test]
    fn what_was_not_asked_for_is_told_from_what_did_not_come() {
        let address: crate::Addresses = "mqtt://broker".parse().unwrap();
        let settings = Settings::new(address, KeyId::new([7; 8]));
        let mut broker = Unwired::new(settings, Instant::MIN);
        let label = |text| Label::new(text).unwrap();
        let transfer = Transfer::new(ParticleId::new([1; 32]), PACE);
        let mut fetch =
            Fetch::new(transfer, label("fleet"), Some(label("region")), KeyId::new([9; 8]), 3)
                .unwrap();
        assert_eq!(fetch.start(at(0), &mut broker, &mut Nowhere).unwrap(), Fetched::Going);
        let ended = fetch.handle_timeout(at(10), &mut broker, &mut Nowhere).unwrap();
        assert_eq!(ended, Fetched::Ended(Ended::TooSlow));
        assert!(!fetch.is_answered());

        fetch.start(at(10), &mut broker, &mut Nowhere).unwrap();
        let mut tell = |fetch: &mut Fetch, event| {
            fetch.handle_event(at(11), &event, &NoKeys, &mut broker, &mut Nowhere).unwrap();
            fetch.is_answered()
        };
        let of = |filter: &str| Event::Subscribed { filter: filter.to_owned() };
        assert!(!tell(&mut fetch, of("shoal/1/fleet/region/claim/#")));
        let ours = fetch.header_topic.clone();
        assert!(tell(&mut fetch, of(&ours)));
        // What a connection that is gone had answered is asked of the next one again.
        let why = Why::Network(std::io::ErrorKind::ConnectionReset);
        assert!(!tell(&mut fetch, Event::Disconnected { why, again: None }));
        let ours = fetch.chunk_topics[0].clone();
        assert!(tell(&mut fetch, of(&ours)));
        // It took what was asked for, and is still at what was asked before: what stands there. What is said now is none of that, nor is
        // what others fetch.
        let other = |place: &str, retained| {
            let topic = format!("shoal/1/fleet/region/{place}");
            Event::Message(Message { topic, payload: bytes::Bytes::new(), retained })
        };
        let id = "0909090909090909";
        for (place, retained, busy) in [
            (format!("claim/{id}/4"), false, false),
            (format!("chunk/{id}/4/0"), true, false),
            (format!("particle/{id}/4"), true, false),
            (format!("claim/{id}/4"), true, true),
        ] {
            tell(&mut fetch, other(&place, retained));
            assert_eq!(fetch.is_busy(at(15).since_boot), busy, "{place}");
        }
        assert!(!fetch.is_busy(at(16).since_boot));
    }
}
