//! Kinds: what an envelope can carry, and how long each may be.

use crate::canonical::Fields;
use crate::topic::Leaf;
use crate::v1;

/// What an envelope carries: the body of the same name in [`crate::v1`]. The number is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// What one vehicle measured of its own particle.
    Claim = 1,
    /// What one voter measured of a nominee.
    Vote = 2,
    /// What a particle's weights are, and the hash of every chunk.
    ParticleHeader = 3,
    /// What a vehicle is doing.
    Presence = 4,
    /// The timekeeper's random bytes for a window.
    Nonce = 5,
    /// The calendar of OTA windows.
    WindowPlan = 6,
    /// The head of the list of vehicles.
    Roster = 7,
    /// 1,024 vehicles of it.
    RosterPage = 8,
    /// What the swarm maximises.
    UtilityDocument = 9,
    /// How the swarm moves, and what it adapts.
    SwarmDocument = 10,
    /// That a record was refused, and why.
    Refusal = 11,
    /// Bytes the authority signed, by name.
    Document = 12,
}

impl Kind {
    /// Every kind, in order of number.
    pub const ALL: [Self; 12] = [
        Self::Claim,
        Self::Vote,
        Self::ParticleHeader,
        Self::Presence,
        Self::Nonce,
        Self::WindowPlan,
        Self::Roster,
        Self::RosterPage,
        Self::UtilityDocument,
        Self::SwarmDocument,
        Self::Refusal,
        Self::Document,
    ];

    /// The kind with this number on the wire; `None` for one this crate does not read.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The newest version of the body this crate reads; older ones, down to 1, are read too.
    pub const fn version_max(self) -> u8 {
        match self {
            Self::Claim
            | Self::Vote
            | Self::ParticleHeader
            | Self::Presence
            | Self::Nonce
            | Self::WindowPlan
            | Self::Roster
            | Self::RosterPage
            | Self::UtilityDocument
            | Self::SwarmDocument
            | Self::Refusal
            | Self::Document => 1,
        }
    }

    /// The longest whole envelope of this kind, in bytes.
    pub const fn envelope_bytes_max(self) -> usize {
        match self {
            Self::Claim => v1::CLAIM_BYTES_MAX,
            Self::Vote => v1::VOTE_BYTES_MAX,
            Self::ParticleHeader => v1::PARTICLE_HEADER_BYTES_MAX,
            Self::Presence => v1::PRESENCE_BYTES_MAX,
            Self::Nonce => v1::NONCE_BYTES_MAX,
            Self::WindowPlan => v1::WINDOW_PLAN_BYTES_MAX,
            Self::Roster => v1::ROSTER_BYTES_MAX,
            Self::RosterPage => v1::ROSTER_PAGE_BYTES_MAX,
            Self::UtilityDocument => v1::UTILITY_DOCUMENT_BYTES_MAX,
            Self::SwarmDocument => v1::SWARM_DOCUMENT_BYTES_MAX,
            Self::Refusal => v1::REFUSAL_BYTES_MAX,
            Self::Document => v1::DOCUMENT_BYTES_MAX,
        }
    }
}

/// A value that may cross the air, read from bytes that live for `'a`: the large ones borrow from them. Sealed: only
/// the bodies of this crate are, so that a type of another crate (a frame, a motion) cannot be sent by mistake.
pub trait Body<'a>: Fields<'a> {
    /// The kind of envelope that carries it.
    const KIND: Kind;
    /// The version of its coding.
    const VERSION: u8;

    /// Whether a topic that ends so is for this body: of its kind, and the place that it names, if it names one.
    fn stands_at(&self, leaf: Leaf) -> bool {
        leaf.kind() == Some(Self::KIND)
    }
}
