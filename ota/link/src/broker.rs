//! What a vehicle needs of a broker: a notice board.

use core::time::Duration;
use std::io;

use embassy_time::{Duration as Wait, Instant};
use sha2::{Digest, Sha256};
use shoal_window::Bytes;
use shoal_wire::v1::{Chunk, ParticleHeader};
use shoal_wire::{
    ChunkHash, KeyId, Label, Leaf, Outbound, RejectPlace, RejectTopic, Relayed, Topic, Unverified,
    Verified,
};

use crate::settings::Version;

/// A broker may not keep what it acknowledged so long before a node of it ended, or after: a node of rmqtt that dies takes its last
/// second with it, and NATS regains its majority in some ten seconds (decision 13).
pub const SHAKEN: Wait = Wait::from_secs(10);

/// A broker, as a vehicle sees it. What is published is retained; what is lost is said to be.
pub trait Broker {
    /// Leaves something at a topic, in place of what stood there. Acknowledged or failed, an [`Event`] with the
    /// ticket says so: over as many connections as it takes. With MQTT 5 it stands there for `expiry_seconds`, if
    /// given.
    ///
    /// # Errors
    /// [`PublishError`]: nothing was taken.
    fn publish(
        &mut self,
        topic: &Topic<'_>,
        sealed: Sealed<'_>,
        expiry_seconds: Option<u32>,
    ) -> Result<Ticket, PublishError>;

    /// Leaves once more what was acknowledged and may not have been kept: after all else, within
    /// [`Settings::again_bytes_max`](crate::Settings::again_bytes_max), and no event tells of it. What the broker acknowledged within ten seconds before it ended a connection, and within the first
    /// ten of the next one, the link leaves once more by itself.
    ///
    /// # Errors
    /// [`PublishError`]: nothing was taken.
    fn publish_again(&mut self, topic: &Topic<'_>, sealed: Sealed<'_>) -> Result<(), PublishError>;

    /// Takes away what stands at a topic.
    ///
    /// # Errors
    /// [`PublishError`]: as for [`Broker::publish`].
    fn clear(&mut self, topic: &Topic<'_>) -> Result<Ticket, PublishError>;

    /// Asks for what stands at topics. It comes again when it is asked for again.
    fn subscribe(&mut self, subscription: Subscription<'_>);

    /// Asks for no more of what was asked for here.
    fn unsubscribe(&mut self, filter: &str);

    /// Asks for no more of what a session of before may hold. What is asked for there after it counts as new.
    fn let_go(&mut self, filter: &str);

    /// Whether the broker's session may hold what was asked of a connection that is gone, and what nobody would end: the next link
    /// is to begin anew.
    fn leaves(&self) -> bool;

    /// The next event, waiting this long for one.
    fn next(&mut self, wait: Duration) -> Option<Event>;

    /// Bytes of MQTT packets that crossed the socket so far, all of them: TLS and TCP not counted.
    fn used(&self) -> Bytes;

    /// What [`Broker::used`] may come to. At it not one byte more crosses: nothing is begun that does not fit
    /// with its answer; when nothing more can cross, the connection ends.
    fn limit(&mut self, until: Bytes);

    /// What [`Broker::limit`] would have to be for the next thing to begin; none when nothing waits for it.
    fn needs(&self) -> Option<Bytes>;

    /// Which MQTT the broker speaks, as far as is known.
    fn version(&self) -> Version;

    /// Begins nothing more. [`Event::Drained`] comes when nothing is in flight.
    fn finish(&mut self);

    /// Says goodbye, and waits until it is said or a second has passed; nothing comes after. What crossed the socket in all.
    fn close(&mut self) -> Bytes;
}

/// What may be published: nothing that was not sealed, or named by something sealed.
///
/// ```compile_fail,E0308
/// fn leave(broker: &mut dyn shoal_link::Broker, topic: &shoal_wire::Topic<'_>, frame: &[u8]) {
///     broker.publish(topic, frame, None).ok();
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Sealed<'a> {
    /// An envelope of ours.
    Record(Outbound<'a>),
    /// A chunk that a header names.
    Chunk(SealedChunk<'a>),
    /// Envelopes of others, passed on as they are.
    Relayed(Relayed<'a>),
}

impl<'a> Sealed<'a> {
    /// Whether it may stand at this topic: its signer's, for its kind or its chunk.
    pub(crate) fn check(&self, topic: &Topic<'_>) -> Result<(), PublishError> {
        match self {
            Self::Record(outbound) => {
                // What was sealed decodes.
                let record = Unverified::decode(outbound.bytes());
                let record = record.map_err(|_reject| PublishError::Topic)?;
                topic.check(record.head()).map_err(PublishError::Place)
            }
            Self::Chunk(chunk) => {
                let leaf = topic.leaf();
                let index = matches!(leaf, Leaf::Chunk { index, .. } if index == chunk.index);
                let publisher = topic.publisher() == chunk.signer;
                if index && publisher { Ok(()) } else { Err(PublishError::Topic) }
            }
            // A beacon has no key that could say whose topic it is.
            Self::Relayed(_) => {
                let beacon = matches!(topic.leaf(), Leaf::Beacon { .. });
                if beacon { Ok(()) } else { Err(PublishError::Topic) }
            }
        }
    }

    /// The bytes to send.
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Record(outbound) => outbound.bytes(),
            Self::Chunk(chunk) => chunk.bytes,
            Self::Relayed(records) => records.bytes(),
        }
    }
}

/// A chunk whose length and hash a signed header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedChunk<'a> {
    signer: KeyId,
    index: u8,
    bytes: &'a [u8],
}

/// Why bytes are not a header's chunk.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefuseChunk {
    #[error("the header names {count} chunks, not chunk {index}")]
    NoSuchChunk { index: u8, count: usize },
    #[error("chunk {index} has {len} bytes, its header says {want}")]
    Length { index: u8, len: usize, want: u32 },
    #[error("chunk {index} is not the one its header names")]
    Hash { index: u8 },
}

impl<'a> SealedChunk<'a> {
    /// The chunk of this index.
    ///
    /// # Errors
    /// [`RefuseChunk`]: other bytes than the header names.
    pub fn new(
        header: &Verified<'_, ParticleHeader>,
        index: u8,
        bytes: &'a [u8],
    ) -> Result<Self, RefuseChunk> {
        let chunks = &header.body().fields().chunks;
        let Some(chunk) = chunks.get(usize::from(index)) else {
            return Err(RefuseChunk::NoSuchChunk { index, count: chunks.len() });
        };
        let Chunk { bytes: want, hash, .. } = *chunk;
        if u32::try_from(bytes.len()) != Ok(want) {
            return Err(RefuseChunk::Length { index, len: bytes.len(), want });
        }
        if ChunkHash::new(Sha256::digest(bytes).into()) != hash {
            return Err(RefuseChunk::Hash { index });
        }
        Ok(Self { signer: header.head().key, index, bytes })
    }
}

/// One publication, to be recognised when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// Why something was not taken for publication.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too much waits for an acknowledgement. Wait for some.
    #[error("{waiting} bytes wait to be acknowledged, at most {max} may")]
    Full { waiting: usize, max: usize },
    /// A record on a topic of another publisher or for another kind.
    #[error("not a place for this record")]
    Place(#[source] RejectPlace),
    /// A chunk on a topic of another publisher, or of another chunk.
    #[error("not a place for this chunk")]
    Topic,
    /// [`Broker::finish`] was called.
    #[error("the link begins nothing more")]
    Finishing,
}

/// Something to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription<'a> {
    /// All that stands, and will stand, at the topics of a filter: in this connection and every later one.
    Standing {
        /// As [`filter`] makes it.
        filter: &'a str,
        /// Whether the broker repeats what is not acknowledged: with a session it then survives a cut.
        acknowledged: bool,
    },
    /// The one message that stands at a topic, in this connection alone: after [`Event::Connected`] who wants it
    /// asks again. Until that was taken by [`Broker::next`], nothing is asked: whoever asks does not know yet
    /// that what it asked for before was lost.
    Once {
        /// The topic.
        topic: &'a str,
        /// Bytes of the message: what the answer costs of the budget.
        bytes: u32,
        /// Whether the broker repeats it until it is acknowledged.
        acknowledged: bool,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A broker accepted the connection. What is standing is asked for again, what was not acknowledged is
    /// published again.
    Connected {
        /// Whether it knew the session: then it does not repeat what it retains.
        session_present: bool,
    },
    /// The connection ended, or could not be made.
    Disconnected {
        /// Why.
        why: Why,
        /// When the next try is; none: not before something changes.
        again: Option<Wait>,
    },
    /// Something stands at a topic.
    Message(Message),
    /// It stands on the broker.
    Published(Ticket),
    /// It does not, and will not.
    Failed {
        /// Which.
        ticket: Ticket,
        /// Why.
        why: NotPublished,
    },
    /// The broker took the subscription.
    Subscribed {
        /// Its filter.
        filter: String,
    },
    /// It did not; it is asked again.
    SubscribeRefused {
        /// The filter.
        filter: String,
        /// Why, in the broker's words.
        reason: String,
        /// When.
        again: Wait,
    },
    /// A message longer than allowed was passed over.
    Oversized {
        /// Its bytes.
        bytes: u64,
    },
    /// After [`Broker::finish`]: nothing is in flight any more.
    Drained,
}

impl Event {
    /// Bytes of what came with it.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.payload.len(),
            Self::Connected { .. }
            | Self::Disconnected { .. }
            | Self::Published(_)
            | Self::Failed { .. }
            | Self::Subscribed { .. }
            | Self::SubscribeRefused { .. }
            | Self::Oversized { .. }
            | Self::Drained => 0,
        }
    }
}

/// What stands at a topic. Nothing in it is to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The bytes; none when what stood there was taken away.
    pub payload: bytes::Bytes,
    /// Whether it stood there before it was asked for.
    pub retained: bool,
}

impl Message {
    /// Its topic, read.
    ///
    /// # Errors
    /// [`RejectTopic`]: none of ours.
    pub fn place(&self) -> Result<Topic<'_>, RejectTopic> {
        Topic::decode(&self.topic)
    }
}

/// The filter for every topic of this leaf's kind in a region, or (`None`) in each of them: all publishers, all places.
pub fn filter(fleet: Label<'_>, region: Option<Label<'_>>, leaf: Leaf) -> String {
    let region = region.as_ref().map_or("+", Label::text);
    format!("shoal/1/{}/{region}/{}/#", fleet.text(), leaf.name())
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The network, or nobody listens.
    Network(io::ErrorKind),
    /// No certificate, or one that is not accepted, or no TLS in this build.
    Tls(String),
    /// The broker does not want us.
    Refused(String),
    /// It retains nothing, or acknowledges nothing.
    Unfit,
    /// It did not answer in time.
    Silent,
    /// It sent what is no MQTT.
    Malformed,
    /// It said goodbye.
    Goodbye(String),
    /// Another link has our name. This one stays away until [`crate::Link::resume`].
    TakenOver,
    /// Nothing more may cross the socket.
    Budget,
    /// We ended it.
    Closed,
}

impl Why {
    /// When the broker was last heard, if it or the network ended the connection: a node of it may be gone, with what it acknowledged
    /// last, and who resets the connection then is another one, or nothing in between.
    pub(crate) const fn lost_at(&self, last_received: Instant) -> Option<Instant> {
        match self {
            Self::Silent
            | Self::Network(_)
            | Self::Tls(_)
            | Self::Refused(_)
            | Self::Malformed
            | Self::Goodbye(_) => Some(last_received),
            Self::Unfit | Self::TakenOver | Self::Budget | Self::Closed => None,
        }
    }

    /// Whether the broker may keep nothing yet when it is next there: it or the network ended a connection that had a socket, be it
    /// before the broker said a word, or nobody took one where it should be. Where no network is, nothing is known of the broker.
    pub(crate) fn shakes(&self, had_socket: bool) -> bool {
        let refused = *self == Self::Network(io::ErrorKind::ConnectionRefused);
        refused || (had_socket && self.lost_at(Instant::MIN).is_some())
    }
}

/// Why something does not stand on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPublished {
    /// The broker refused it.
    Refused(String),
    /// Longer than the broker takes.
    TooLong {
        /// Bytes of the packet.
        bytes: usize,
        /// What the broker takes.
        max: u32,
    },
    /// Something newer was published under its topic before it was sent.
    Superseded,
}
