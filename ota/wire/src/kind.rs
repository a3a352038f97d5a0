//! Kinds: what an envelope can carry, and how long each may be.

use crate::canonical::Fields;

/// What an envelope carries. The number is on the wire; `SPEC.md` lists those that are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The header of a particle: [`crate::v1::ParticleHeader`].
    ParticleHeader = 3,
    /// The calendar of OTA windows: [`crate::v1::WindowPlan`].
    WindowPlan = 6,
}

impl Kind {
    /// Every kind this crate reads, in order of number.
    pub const ALL: [Self; 2] = [Self::ParticleHeader, Self::WindowPlan];

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
            Self::ParticleHeader | Self::WindowPlan => 1,
        }
    }

    /// The longest whole envelope of this kind, in bytes.
    pub const fn envelope_bytes_max(self) -> usize {
        match self {
            Self::ParticleHeader => crate::v1::PARTICLE_HEADER_BYTES_MAX,
            Self::WindowPlan => crate::v1::WINDOW_PLAN_BYTES_MAX,
        }
    }
}

/// A value that may cross the air. Sealed: only the bodies of this crate are, so that a type of another
/// crate (a frame, a motion) cannot be sent by mistake.
pub trait Body: Fields {
    /// The kind of envelope that carries it.
    const KIND: Kind;
    /// The version of its coding.
    const VERSION: u8;
}
