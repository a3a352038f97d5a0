//! One party of a test: a link and the events it has seen.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use embassy_time::{Duration, Instant};
use heapless::String as Text;
use sha2::{Digest, Sha256};
use shoal_link::{
    Address, Backoff, Broker, Event, Link, Message, Sealed, SealedChunk, Settings, Subscription,
    Ticket, Tls, filter,
};
use shoal_tests::brokers::TestBroker;
use shoal_tests::clock::{Deadline, Stopwatch};
use shoal_window::Bytes;
use shoal_wire::v1::{
    Activity, Chunk, ParticleHeader, ParticleHeaderFields, Presence, PresenceFields, Role,
};
use shoal_wire::{
    ChunkHash, KeyId, Keys, Kind, Label, LayoutHash, Leaf, ModelHash, Now, ParticleId, PublicKey,
    SecretKey, Topic, Unverified, Utc, seal,
};

pub(crate) const PLENTY: Bytes = Bytes { up: 1 << 40, down: 1 << 40 };
/// By when anything must have happened; a test that passes needs a small part of it.
const SECONDS_MAX: u64 = 60;

pub(crate) fn label(text: &'static str) -> Label<'static> {
    Label::new(text).unwrap()
}

/// The key of a vehicle.
pub(crate) fn key(number: u16) -> SecretKey {
    let [low, high] = number.to_le_bytes();
    let mut seed = [9; 32];
    (seed[0], seed[1]) = (low, high);
    SecretKey::from_seed(&seed)
}

pub(crate) fn topic(vehicle: u16, leaf: Leaf) -> Topic<'static> {
    Topic::new(label("test"), label("here"), key(vehicle).public().id(), leaf).unwrap()
}

/// Vehicle 1's key, for what it signs.
pub(crate) struct OneKey;

impl Keys for OneKey {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        let public = key(1).public();
        (public.id() == id).then_some(public)
    }
}

/// How tests connect: again at once, with all the bytes there are.
pub(crate) fn settings(broker: SocketAddr, vehicle: u16) -> Settings {
    let address: Address = format!("mqtt://{broker}").parse().unwrap();
    let mut settings = Settings::new(address, key(vehicle).public().id());
    settings.limit = PLENTY;
    settings.backoff = Backoff {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(100),
        seed: u64::from(vehicle),
    };
    settings
}

/// The same on this broker, with what it asks for.
pub(crate) fn on(broker: &dyn TestBroker, vehicle: u16) -> Settings {
    through(broker, broker.address(), vehicle)
}

/// The same through a relay at this address.
pub(crate) fn through(broker: &dyn TestBroker, address: SocketAddr, vehicle: u16) -> Settings {
    let mut settings = settings(address, vehicle);
    if let Some(folder) = broker.certificates(&settings.client_id) {
        settings.brokers[0].host = "localhost".to_owned();
        settings.brokers[0].tls = true;
        settings.tls = Some(Tls::read(&folder).unwrap());
    }
    settings
}

pub(crate) struct Party {
    pub(crate) link: Link,
    /// Taken from the link and not asked for yet.
    waiting: VecDeque<Event>,
    clock: Stopwatch,
}

impl Party {
    pub(crate) fn open(settings: Settings) -> Self {
        let link = Link::open(settings).unwrap();
        Self { link, waiting: VecDeque::new(), clock: Stopwatch::start() }
    }

    /// A link that is connected.
    pub(crate) fn connected(settings: Settings) -> Self {
        let mut party = Self::open(settings);
        party.wait_for("a connection", |event| matches!(event, Event::Connected { .. }));
        party
    }

    pub(crate) fn now(&self) -> Now {
        let since = u64::try_from(self.clock.elapsed().as_micros()).unwrap();
        Now { since_boot: Instant::from_micros(since), utc: Utc::AtLeast { seconds: 0 } }
    }

    /// The next event, whatever it is.
    pub(crate) fn next(&mut self) -> Event {
        let deadline = Deadline::seconds(SECONDS_MAX);
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            deadline.check("an event");
            self.waiting.extend(self.link.next(deadline.left()));
        }
    }

    /// The first event that is it; those before it are dropped.
    pub(crate) fn wait_for(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let deadline = Deadline::seconds(SECONDS_MAX);
        loop {
            deadline.check(what);
            let event = self.next();
            if is_it(&event) {
                return event;
            }
        }
    }

    pub(crate) fn wait_published(&mut self, tickets: &[Ticket]) {
        let mut left: Vec<Ticket> = tickets.to_vec();
        while !left.is_empty() {
            let event = self.wait_for("an acknowledgement", |event| {
                matches!(event, Event::Published(_) | Event::Failed { .. })
            });
            let Event::Published(ticket) = event else { panic!("{event:?}") };
            left.retain(|other| *other != ticket);
        }
    }

    /// Asks for presences.
    pub(crate) fn watch_all(&mut self) {
        let filter = filter(label("test"), Some(label("here")), Leaf::Presence);
        self.link.subscribe(Subscription::Standing { filter: &filter, acknowledged: false });
    }

    /// Asks for presences, acknowledged.
    pub(crate) fn watch_acknowledged(&mut self) {
        let filter = filter(label("test"), Some(label("here")), Leaf::Presence);
        self.link.subscribe(Subscription::Standing { filter: &filter, acknowledged: true });
    }

    /// Asks for presences, and waits until the broker has taken that: for when none stands there yet.
    pub(crate) fn watch(&mut self) {
        self.watch_all();
        self.wait_for("a subscription", |event| matches!(event, Event::Subscribed { .. }));
    }

    /// Asks for every chunk there is, and waits for nothing.
    pub(crate) fn watch_chunks_unacknowledged(&mut self) {
        let filter = filter(label("test"), None, Leaf::Chunk { slot: 0, index: 0 });
        self.link.subscribe(Subscription::Standing { filter: &filter, acknowledged: false });
    }

    /// Asks for every chunk there is, and waits until the broker has taken that.
    pub(crate) fn watch_chunks(&mut self) {
        let filter = filter(label("test"), None, Leaf::Chunk { slot: 0, index: 0 });
        self.link.subscribe(Subscription::Standing { filter: &filter, acknowledged: true });
        self.wait_for("a subscription", |event| matches!(event, Event::Subscribed { .. }));
    }

    /// The topics of messages, until there are so many or none came for so long.
    pub(crate) fn topics(&mut self, count: usize, quiet_seconds: u64) -> BTreeSet<String> {
        let mut topics = BTreeSet::new();
        let mut quiet = Deadline::seconds(quiet_seconds);
        while topics.len() < count && !quiet.left().is_zero() {
            self.waiting.extend(self.link.next(quiet.left()));
            while let Some(event) = self.waiting.pop_front() {
                if let Event::Message(message) = event {
                    topics.insert(message.topic);
                    quiet = Deadline::seconds(quiet_seconds);
                }
            }
        }
        topics
    }

    /// The next message.
    pub(crate) fn message(&mut self) -> Message {
        let event = self.wait_for("a message", |event| matches!(event, Event::Message(_)));
        let Event::Message(message) = event else { unreachable!() };
        message
    }

    /// Publishes a vehicle's presence: any record would do.
    pub(crate) fn publish_presence(&mut self, vehicle: u16, steps: u32) -> Ticket {
        let mut buffer = [0; 512];
        let presence = presence(steps);
        let key = key(vehicle);
        let sealed = seal(&presence, u64::from(steps) + 1, u64::MAX, &key, &mut buffer).unwrap();
        let topic = topic(vehicle, Leaf::Presence);
        self.link.publish(&topic, Sealed::Record(sealed), None).unwrap()
    }

    /// Leaves a particle of vehicle 1 in a slot, chunks first, and waits until all of it stands there.
    pub(crate) fn publish_particle(&mut self, particle: &Particle, slot: u8) {
        let header = Unverified::decode(&particle.envelope).unwrap();
        let header = header.verify::<ParticleHeader>(&OneKey).unwrap();
        let mut tickets = Vec::new();
        for (index, chunk) in (0..).zip(&particle.chunks) {
            let sealed = Sealed::Chunk(SealedChunk::new(&header, index, chunk).unwrap());
            let topic = topic(1, Leaf::Chunk { slot, index });
            tickets.push(self.link.publish(&topic, sealed, None).unwrap());
        }
        let mut buffer = [0; 1024];
        let counter = particle.counter;
        let sealed = seal(&particle.header, counter, u64::MAX, &key(1), &mut buffer).unwrap();
        let topic = topic(1, Leaf::Particle { slot });
        tickets.push(self.link.publish(&topic, Sealed::Record(sealed), None).unwrap());
        self.wait_published(&tickets);
    }
}

pub(crate) fn presence(steps: u32) -> Presence {
    Presence::new(PresenceFields {
        window: None,
        activity: Activity::Idle,
        adapter: None,
        software: Text::try_from("test").unwrap(),
        up_bytes: 0,
        down_bytes: 0,
        terms: heapless::Vec::new(),
        steps,
    })
    .unwrap()
}

/// The steps that a presence says: which of several it is.
pub(crate) fn steps(message: &Message) -> u32 {
    let record = Unverified::decode(&message.payload).unwrap();
    let any_key = AnyKey(message.place().unwrap().publisher());
    record.verify::<Presence>(&any_key).unwrap().body().fields().steps
}

struct AnyKey(KeyId);

impl Keys for AnyKey {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        let vehicles = (0..=u16::MAX).map(|number| key(number).public());
        vehicles.take(2000).find(|public| public.id() == id && id == self.0)
    }
}

/// A particle with its chunks.
pub(crate) struct Particle {
    counter: u64,
    header: ParticleHeader,
    pub(crate) envelope: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Particle {
    /// Another in each number; every byte depends on number, chunk and place.
    pub(crate) fn new(number: u8, chunks: u8, bytes: usize) -> Self {
        let chunk = |index: u8| {
            let byte =
                |at: usize| (at as u8) ^ ((at >> 8) as u8).wrapping_mul(number) ^ (index << 3);
            (0..bytes).map(byte).collect::<Vec<u8>>()
        };
        let chunks: Vec<Vec<u8>> = (0..chunks).map(chunk).collect();
        let named = chunks.iter().zip(0_u32..).map(|(chunk, index)| Chunk {
            first_value: 1000 * index,
            bytes: chunk.len() as u32,
            hash: ChunkHash::new(Sha256::digest(chunk).into()),
        });
        let header = ParticleHeader::new(ParticleHeaderFields {
            role: Role::Contribution,
            window: u32::from(number),
            base_model: ModelHash::new([1; 32]),
            layout: LayoutHash::new([2; 32]),
            anchor: None,
            inputs: heapless::Vec::new(),
            coding: 1,
            values: 1_000_000,
            chunks: named.collect(),
        });
        let (header, counter) = (header.unwrap(), u64::from(number) + 1);
        let mut buffer = [0; 1024];
        let sealed = seal(&header, counter, u64::MAX, &key(1), &mut buffer).unwrap();
        Self { counter, envelope: sealed.bytes().to_vec(), header, chunks }
    }

    pub(crate) fn id(&self) -> ParticleId {
        self.header.id()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }
}
