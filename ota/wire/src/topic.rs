//! Topics: where records stand on a broker. `SPEC.md` §5. One text is one topic and one topic one text, and each has one
//! writer: the key it names.

use core::fmt::{self, Write};

use heapless::String;

use crate::envelope::{Head, Verified};
use crate::key::KeyId;
use crate::kind::{Body, Kind};
use crate::v1::{CHUNKS_MAX, NOMINEES, NONCE_WINDOWS, ROSTER_PAGES_MAX, SLOTS, VOTE_WINDOWS};

/// The longest fleet or region, in bytes.
pub const LABEL_BYTES_MAX: usize = 32;
/// The longest topic, in bytes: a page of a roster.
pub const TOPIC_BYTES_MAX: usize =
    PREFIX.len() + 2 * (LABEL_BYTES_MAX + 1) + "rosterpage/".len() + 16 + "/1023".len();
/// Slots for documents of one publisher, numbered from 0: a pack for every term, and as many in preparation.
pub const DOCUMENT_SLOTS: u8 = 32;

/// Windows whose records a beacon keeps on the board: as many as standing looks back on.
pub const BEACON_WINDOWS: u8 = 8;

const PREFIX: &str = "shoal/1/";
/// In a filter of MQTT, in the place of a level: any.
const ANY: &str = "+";

/// The name of a fleet or a region: 1 to [`LABEL_BYTES_MAX`] of `a` to `z`, `0` to `9` and `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a>(&'a str);

/// Not the name of a fleet or a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {LABEL_BYTES_MAX} of a-z, 0-9 and -")]
pub struct RejectLabel;

impl<'a> Label<'a> {
    /// The label with this text.
    ///
    /// # Errors
    /// [`RejectLabel`]: empty, too long, or another character.
    pub fn new(text: &'a str) -> Result<Self, RejectLabel> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text));
        }
        Err(RejectLabel)
    }

    /// The text.
    pub const fn text(&self) -> &'a str {
        self.0
    }
}

/// What stands at a topic of a publisher, and in which of its places.
#[expect(missing_docs, reason = "SPEC.md §5 is the table of them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    Claim {
        slot: u8,
    },
    /// `window` is the vote's window mod [`VOTE_WINDOWS`].
    Vote {
        window: u8,
        place: u8,
    },
    Particle {
        slot: u8,
    },
    /// The one leaf without an envelope.
    Chunk {
        slot: u8,
        index: u8,
    },
    Presence,
    /// `window` is the nonce's window mod [`NONCE_WINDOWS`]: who comes late reads the claims of the windows before.
    Nonce {
        window: u8,
    },
    Plan,
    Roster,
    RosterPage {
        index: u16,
    },
    Utility,
    Swarm,
    Refusal {
        slot: u8,
    },
    Document {
        slot: u8,
    },
    /// Records of others, as a beacon passes them on: no record of the publisher's own. `window` is the window of the first one
    /// mod [`BEACON_WINDOWS`].
    Beacon {
        window: u8,
        index: u8,
    },
}

impl Leaf {
    /// Of a vote in this window, at this place.
    pub const fn vote(window: u32, place: u8) -> Self {
        // 256 is a multiple: the lowest byte is enough.
        let [lowest, ..] = window.to_le_bytes();
        Self::Vote { window: lowest % VOTE_WINDOWS, place }
    }

    /// Of the nonce of this window.
    pub const fn nonce(window: u32) -> Self {
        let [lowest, ..] = window.to_le_bytes();
        Self::Nonce { window: lowest % NONCE_WINDOWS }
    }

    /// Of records of this window that a beacon passes on, at this index.
    pub const fn beacon(window: u32, index: u8) -> Self {
        let [lowest, ..] = window.to_le_bytes();
        Self::Beacon { window: lowest % BEACON_WINDOWS, index }
    }

    /// The kind of the record that stands there; `None`: a chunk, or records of others.
    pub const fn kind(self) -> Option<Kind> {
        match self {
            Self::Claim { .. } => Some(Kind::Claim),
            Self::Vote { .. } => Some(Kind::Vote),
            Self::Particle { .. } => Some(Kind::ParticleHeader),
            Self::Chunk { .. } | Self::Beacon { .. } => None,
            Self::Presence => Some(Kind::Presence),
            Self::Nonce { .. } => Some(Kind::Nonce),
            Self::Plan => Some(Kind::WindowPlan),
            Self::Roster => Some(Kind::Roster),
            Self::RosterPage { .. } => Some(Kind::RosterPage),
            Self::Utility => Some(Kind::UtilityDocument),
            Self::Swarm => Some(Kind::SwarmDocument),
            Self::Refusal { .. } => Some(Kind::Refusal),
            Self::Document { .. } => Some(Kind::Document),
        }
    }

    /// Whether vehicles publish it: it counts in whatever region it stands. The rest is of its own region alone.
    pub const fn is_of_vehicles(self) -> bool {
        match self {
            Self::Claim { .. }
            | Self::Vote { .. }
            | Self::Particle { .. }
            | Self::Chunk { .. }
            | Self::Presence
            | Self::Refusal { .. } => true,
            Self::Nonce { .. }
            | Self::Plan
            | Self::Roster
            | Self::RosterPage { .. }
            | Self::Utility
            | Self::Swarm
            | Self::Document { .. }
            | Self::Beacon { .. } => false,
        }
    }

    /// Its name in a topic.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Vote { .. } => "vote",
            Self::Particle { .. } => "particle",
            Self::Chunk { .. } => "chunk",
            Self::Presence => "presence",
            Self::Nonce { .. } => "nonce",
            Self::Plan => "plan",
            Self::Roster => "roster",
            Self::RosterPage { .. } => "rosterpage",
            Self::Utility => "utility",
            Self::Swarm => "swarm",
            Self::Refusal { .. } => "refusal",
            Self::Document { .. } => "document",
            Self::Beacon { .. } => "beacon",
        }
    }

    /// The leaf with this name and these numbers, each below its bound.
    fn read(name: &str, numbers: [Option<u16>; 2]) -> Option<Self> {
        let below = |number: u16, bound: u8| u8::try_from(number).ok().filter(|n| *n < bound);
        let leaf = match (name, numbers) {
            ("claim", [Some(slot), None]) => Self::Claim { slot: below(slot, SLOTS)? },
            ("vote", [Some(window), Some(place)]) => {
                Self::Vote { window: below(window, VOTE_WINDOWS)?, place: below(place, NOMINEES)? }
            }
            ("particle", [Some(slot), None]) => Self::Particle { slot: below(slot, SLOTS)? },
            ("chunk", [Some(slot), Some(index)]) => {
                Self::Chunk { slot: below(slot, SLOTS)?, index: below(index, CHUNKS)? }
            }
            ("presence", [None, None]) => Self::Presence,
            ("nonce", [Some(window), None]) => {
                Self::Nonce { window: below(window, NONCE_WINDOWS)? }
            }
            ("plan", [None, None]) => Self::Plan,
            ("roster", [None, None]) => Self::Roster,
            ("rosterpage", [Some(index), None]) if u32::from(index) < ROSTER_PAGES_MAX => {
                Self::RosterPage { index }
            }
            ("utility", [None, None]) => Self::Utility,
            ("swarm", [None, None]) => Self::Swarm,
            ("refusal", [Some(slot), None]) => Self::Refusal { slot: below(slot, SLOTS)? },
            ("document", [Some(slot), None]) => {
                Self::Document { slot: below(slot, DOCUMENT_SLOTS)? }
            }
            ("beacon", [Some(window), Some(index)]) => Self::Beacon {
                window: below(window, BEACON_WINDOWS)?,
                index: u8::try_from(index).ok()?,
            },
            _ => return None,
        };
        Some(leaf)
    }

    /// What stands after the id.
    fn numbers(self) -> [Option<u16>; 2] {
        let one = |number: u8| Some(u16::from(number));
        match self {
            Self::Claim { slot }
            | Self::Particle { slot }
            | Self::Refusal { slot }
            | Self::Document { slot } => [one(slot), None],
            Self::Vote { window, place } => [one(window), one(place)],
            Self::Nonce { window } => [one(window), None],
            Self::Chunk { slot, index } => [one(slot), one(index)],
            Self::Beacon { window, index } => [one(window), one(index)],
            Self::RosterPage { index } => [Some(index), None],
            Self::Presence | Self::Plan | Self::Roster | Self::Utility | Self::Swarm => {
                [None, None]
            }
        }
    }
}

const _: () = assert!(256 % VOTE_WINDOWS as u32 == 0 && 256 % NONCE_WINDOWS as u32 == 0);
const _: () = assert!(256 % BEACON_WINDOWS as u32 == 0);
const CHUNKS: u8 = CHUNKS_MAX as u8;
const _: () = assert!(CHUNKS_MAX <= u8::MAX as usize);

/// A topic within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a> {
    fleet: Label<'a>,
    region: Label<'a>,
    publisher: KeyId,
    leaf: Leaf,
}

/// Why a text is no topic, or a leaf has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectTopic {
    /// Of another application, or of another version of this one.
    #[error("does not begin with shoal/1/")]
    Prefix,
    /// The fleet is none.
    #[error("the fleet is none")]
    Fleet(#[source] RejectLabel),
    /// The region is none.
    #[error("the region is none")]
    Region(#[source] RejectLabel),
    /// Not 16 hexadecimal digits in lower case.
    #[error("the publisher's id is not 16 hexadecimal digits")]
    Publisher,
    /// No such kind, or not its numbers: too few, too many, not decimal, out of range.
    #[error("no such kind, or not a place of it")]
    Leaf,
}

/// Why a record may not stand at a topic.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectPlace {
    #[error("signed by {signer} on a topic of {publisher}")]
    Publisher { signer: KeyId, publisher: KeyId },
    #[error("{kind:?} on a topic for {leaf:?}")]
    Kind { kind: Kind, leaf: Leaf },
    /// The slot, place or index that the body names is another.
    #[error("another place of its publisher than {leaf:?}")]
    Leaf { leaf: Leaf },
}

impl<'a> Topic<'a> {
    /// The topic of a publisher.
    ///
    /// # Errors
    /// [`RejectTopic::Leaf`]: a slot, place or index out of range.
    pub fn new(
        fleet: Label<'a>,
        region: Label<'a>,
        publisher: KeyId,
        leaf: Leaf,
    ) -> Result<Self, RejectTopic> {
        if Leaf::read(leaf.name(), leaf.numbers()).is_none() {
            return Err(RejectTopic::Leaf);
        }
        Ok(Self { fleet, region, publisher, leaf })
    }

    /// Reads a topic.
    ///
    /// # Errors
    /// [`RejectTopic`] names the first part that is wrong.
    pub fn decode(text: &'a str) -> Result<Self, RejectTopic> {
        let mut parts = text.strip_prefix(PREFIX).ok_or(RejectTopic::Prefix)?.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let fleet = Label::new(next()).map_err(RejectTopic::Fleet)?;
        let region = Label::new(next()).map_err(RejectTopic::Region)?;
        let name = next();
        let publisher = decode_id(next()).ok_or(RejectTopic::Publisher)?;
        let mut numbers = [None; 2];
        for number in &mut numbers {
            let Some(part) = parts.next() else { break };
            *number = Some(decode_number(part).ok_or(RejectTopic::Leaf)?);
        }
        let leaf = Leaf::read(name, numbers).filter(|_leaf| parts.next().is_none());
        Ok(Self { fleet, region, publisher, leaf: leaf.ok_or(RejectTopic::Leaf)? })
    }

    /// The text: what [`Topic::decode`] reads.
    pub fn text(&self) -> String<TOPIC_BYTES_MAX> {
        let mut text = String::new();
        // The longest topic has room.
        let _written = write!(text, "{self}");
        text
    }

    /// The fleet.
    pub const fn fleet(&self) -> Label<'a> {
        self.fleet
    }

    /// The region.
    pub const fn region(&self) -> Label<'a> {
        self.region
    }

    /// The one key that may write here.
    pub const fn publisher(&self) -> KeyId {
        self.publisher
    }

    /// What stands here.
    pub const fn leaf(&self) -> Leaf {
        self.leaf
    }

    /// The filter of this place in every region: whoever asks need not know where its publisher is.
    pub fn in_any_region(&self) -> String<TOPIC_BYTES_MAX> {
        let mut text = String::new();
        // `+` is no longer than a region.
        let _written = self.write(&mut text, ANY);
        text
    }

    fn write(&self, to: &mut impl Write, region: &str) -> fmt::Result {
        let Self { fleet, publisher, leaf, .. } = self;
        write!(to, "{PREFIX}{}/{region}/{}/{publisher}", fleet.0, leaf.name())?;
        leaf.numbers().into_iter().flatten().try_for_each(|number| write!(to, "/{number}"))
    }

    /// Whether a record with this head may stand here. To be asked before its signature is checked.
    ///
    /// # Errors
    /// [`RejectPlace`]: of another signer, or of another kind.
    pub fn check(&self, head: &Head) -> Result<(), RejectPlace> {
        if head.key != self.publisher {
            return Err(RejectPlace::Publisher { signer: head.key, publisher: self.publisher });
        }
        if self.leaf.kind() != Some(head.kind) {
            return Err(RejectPlace::Kind { kind: head.kind, leaf: self.leaf });
        }
        Ok(())
    }

    /// Whether this record stands where it says it does.
    ///
    /// # Errors
    /// [`RejectPlace`]: as [`Topic::check`], or the body names another place.
    pub fn check_record<'b, T: Body<'b>>(
        &self,
        record: &Verified<'b, T>,
    ) -> Result<(), RejectPlace> {
        self.check(record.head())?;
        if !record.body().stands_at(self.leaf) {
            return Err(RejectPlace::Leaf { leaf: self.leaf });
        }
        Ok(())
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, self.region.0)
    }
}

/// Sixteen digits, lower case.
fn decode_id(text: &str) -> Option<KeyId> {
    let digits: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 8];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0_u8, |sum, digit| {
            let value = match digit {
                b'0'..=b'9' => digit.wrapping_sub(b'0'),
                b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
                _ => return None,
            };
            Some(sum.wrapping_mul(16).wrapping_add(value))
        })?;
    }
    Some(KeyId::new(bytes))
}

/// Decimal, without a sign or leading zeros.
fn decode_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_number| digits && !leading_zero)
}
