//! The gateway beside the vehicle computer (`cross/gateway`): whether it has its window open, and whether it holds an adapter that is to be tried.
//!
//! ```text
//!  exchange ── Tell ──▶ Asker: what is asked next ──▶ frames ──▶ a serial line ──▶ the gateway
//!           ◀ Standing ─┘         (a core)                       (a thread)
//! ```
//!
//! What the gateway says can only forbid: the vehicle's own window, budget and campaigns hold beside it. A gateway that does not
//! answer has no window open.

mod asker;
mod bringing;
#[cfg(all(feature = "linux", target_os = "linux"))]
mod serial;

pub use asker::{Asker, Input};
#[cfg(all(feature = "linux", target_os = "linux"))]
pub use serial::{OpenSerialError, SerialGateway};

use shoal_gateway::{PhaseName, Refusal};
use shoal_window::Bytes;
use shoal_wire::ParticleId;

/// What the vehicle tells its gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// The envelope of the window plan that it goes by.
    Plan(Vec<u8>),
    /// The envelope of a nonce whose time it believes.
    Nonce(Vec<u8>),
    /// So much more crossed its socket.
    Used(Bytes),
    /// Nothing is in flight any more.
    Drained,
    /// A particle whose adapter is to be put on trial.
    Bring(Sealed),
    /// What became of an adapter on trial.
    Judged(Judged),
}

/// A particle as its publisher sealed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Of this bringing: what comes of it has it, too.
    pub number: u32,
    /// Which.
    pub particle: ParticleId,
    /// The envelope of its header.
    pub header: Vec<u8>,
    /// Its chunks, in the header's order.
    pub chunks: Vec<Vec<u8>>,
}

/// What was decided of an adapter on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it is kept.
    pub kept: bool,
    /// Frames on which both adapters ran.
    pub frames: u32,
    /// By how much the one on trial was better, summed over them, in units of 1e-4.
    pub gain: i64,
}

/// How a vehicle stands with its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Where the gateway has the vehicle in its window; `None`: it does not answer.
    pub phase: Option<PhaseName>,
    /// Why it does not take the window plan, or anything.
    pub refused: Option<Refusal>,
    /// The particle whose adapter it holds on trial.
    pub on_trial: Option<ParticleId>,
    /// That whose trial it has ended, for it was no better.
    pub rolled_back: Option<ParticleId>,
    /// What came of the particle that was brought last, by the number of that: it holds it, or will not.
    pub brought: Option<(u32, Result<(), Refusal>)>,
}

impl Standing {
    /// Whether the vehicle may exchange.
    #[must_use]
    pub fn exchanges(&self) -> bool {
        self.phase == Some(PhaseName::Open)
    }

    /// Whether it may ask for what the fleet agreed on: also where no plan counts, for no window opens without one.
    #[must_use]
    pub fn joins(&self) -> bool {
        matches!(self.phase, Some(PhaseName::Open | PhaseName::NoPlan | PhaseName::PlanExpired))
    }
}

/// A gateway, as the exchange sees it.
pub trait Guard: Send {
    /// Tells it something, in its turn.
    fn tell(&mut self, tell: Tell);

    /// How the vehicle stands with it now.
    fn standing(&self) -> Standing;
}
