//! What the agent and the vehicle say to the gateway, and what it answers. Each message is postcard in one frame.
//!
//! The agent asks and waits for the answer, one at a time; a question that is repeated byte for byte, because its answer was
//! lost, gets the same answer and happens once.

use serde::{Deserialize, Serialize};
use shoal_hal::{Conditions, Network};
use shoal_window::{Because, Bytes, Phase, TrialState};
use shoal_wire::{ParticleId, Utc};

use crate::frame::encode_frame;

/// The longest piece of a chunk.
pub const PIECE_BYTES_MAX: usize = 1024;

/// What the agent asks. Envelopes are as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// How things stand; changes nothing.
    Status,
    /// A window plan of the authority.
    Plan(&'a [u8]),
    /// A nonce of the timekeeper.
    Nonce(&'a [u8]),
    /// So much more crossed the vehicle computer's socket.
    Used(BytesBoth),
    /// The next exchange takes so much, with its answer.
    Needed(BytesBoth),
    /// Nothing is in flight any more.
    Drained,
    /// The particle that is to come: begins its transfer, or goes on with it.
    Header(&'a [u8]),
    /// A chunk begins.
    Begin {
        /// Of the chunk.
        index: u8,
        /// All of it.
        bytes: u32,
    },
    /// The next bytes of the chunk: a multiple of [`crate::PIECE_ALIGN_BYTES`], but for the last.
    Piece {
        /// Bytes of the chunk before these.
        offset: u32,
        /// At most [`PIECE_BYTES_MAX`].
        bytes: &'a [u8],
    },
    /// The chunk ends.
    End,
    /// What was begun does not go on.
    Cut,
    /// Both adapters ran on so many more frames; the one on trial was better by `gain`, in units of 1e-4.
    Watched {
        /// How many.
        frames: u32,
        /// Negative: worse.
        gain: i64,
    },
    /// The agent ended while a trial ran, and did not mean to.
    Failed,
    /// What lies in a slot, sealed.
    Read {
        /// 0: A, 1: B.
        slot: u8,
        /// Of it.
        part: Part,
    },
    /// The agent has decided, by a campaign's limits, what becomes of the adapter on trial.
    Judged {
        /// Whether it is kept.
        kept: bool,
    },
}

/// A part of a sealed adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The envelope of its header, which says how long its chunks are.
    Header,
    /// Of the place of a chunk.
    Chunk {
        /// Which.
        index: u8,
        /// From this byte of it on.
        offset: u32,
        /// So many, up to [`PIECE_BYTES_MAX`].
        bytes: u16,
    },
}

/// A request with its number, which the reply repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asking<'a> {
    pub(crate) number: u16,
    #[serde(borrow)]
    pub(crate) request: Request<'a>,
}

/// Bytes both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BytesBoth {
    /// Sent by the vehicle.
    pub up: u64,
    /// Received by it.
    pub down: u64,
}

impl From<BytesBoth> for Bytes {
    fn from(BytesBoth { up, down }: BytesBoth) -> Self {
        Self { up, down }
    }
}

impl From<Bytes> for BytesBoth {
    fn from(Bytes { up, down }: Bytes) -> Self {
        Self { up, down }
    }
}

/// What the gateway answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// Of the request; 0 where it could not be read.
    pub number: u16,
    /// Where the vehicle is in its window.
    pub phase: PhaseName,
    /// What the gateway waits for.
    pub wants: Wants,
    /// The answer.
    #[serde(borrow)]
    pub answer: Answer<'a>,
}

/// The answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// It is so, and durable.
    Done,
    /// How things stand.
    Status(Status),
    /// What was read.
    Bytes(&'a [u8]),
    /// It is not so; nothing was changed.
    Refused(Refusal),
}

/// Where the vehicle is in its window, as [`shoal_window::Phase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the variants of Phase and Because")]
pub enum PhaseName {
    NoPlan,
    PlanExpired,
    NoTime,
    Between,
    Spent,
    Past,
    Waiting,
    Open,
    Closing,
}

impl From<Phase> for PhaseName {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Closed { because } => match because {
                Because::NoPlan => Self::NoPlan,
                Because::PlanExpired => Self::PlanExpired,
                Because::NoTime => Self::NoTime,
                Because::Between => Self::Between,
                Because::Spent => Self::Spent,
                Because::Past => Self::Past,
            },
            Phase::Waiting { .. } => Self::Waiting,
            Phase::Open { .. } => Self::Open,
            Phase::Closing { .. } => Self::Closing,
        }
    }
}

/// What the gateway waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// The header, again: bytes came that are not its own.
    pub header: bool,
    /// A bit for each chunk, the lowest for chunk 0.
    pub chunks: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
pub enum Refusal {
    /// By a code of ota/wire/SPEC.md, section 4.
    #[error("the record is refused by code {code}")]
    Record { code: u16 },
    #[error("not a request")]
    Malformed,
    /// No provision in flash: nobody is believed.
    #[error("the gateway is not provisioned")]
    NotProvisioned,
    /// Storage failed: nothing more is taken until a reset.
    #[error("the flash failed")]
    Flash,
    #[error("no window is open")]
    Closed,
    /// More than is granted: ask for what is needed first.
    #[error("{left} bytes are left")]
    Budget { left: u64 },
    /// The adapter on trial stays where it is.
    #[error("an adapter is on trial")]
    OnTrial,
    #[error("no trial runs")]
    NoTrial,
    #[error("no transfer runs")]
    NoTransfer,
    #[error("chunk {index} was not asked for")]
    NotAsked { index: u8 },
    /// Another length than the header's.
    #[error("chunk {index} has another length")]
    Length { index: u8 },
    #[error("no chunk has begun")]
    NoChunk,
    /// Pieces come in order.
    #[error("the next piece is that at {expected}")]
    Gap { expected: u32 },
    /// See [`Request::Piece`].
    #[error("a piece of {bytes} bytes")]
    Piece { bytes: u32 },
    #[error("no sealed adapter there")]
    NoAdapter,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Since the start, in milliseconds.
    pub up_ms: u64,
    /// The gateway's own time.
    pub utc: UtcSeconds,
    /// Of the plan in force: the window that is open, or was last.
    pub window: Option<u32>,
    /// How much more may cross the socket.
    pub left: BytesBoth,
    /// The transfer that runs.
    pub receiving: Option<Receiving>,
    /// The adapter slots.
    pub slots: SlotStatus,
    /// The trial.
    pub trial: TrialName,
    /// Frames on the agent's line that were none.
    pub dropped: u32,
    /// The stack.
    pub stack: Stack,
}

/// The gateway's time, as [`Utc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as the fields of Utc")]
pub enum UtcSeconds {
    Known { seconds: u64, uncertainty_seconds: u32 },
    AtLeast { seconds: u64 },
}

impl From<Utc> for UtcSeconds {
    fn from(utc: Utc) -> Self {
        match utc {
            Utc::Known { seconds, uncertainty_seconds } => {
                Self::Known { seconds, uncertainty_seconds }
            }
            Utc::AtLeast { seconds } => Self::AtLeast { seconds },
        }
    }
}

/// A transfer, as far as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiving {
    /// Which particle.
    pub particle: ParticleId,
    /// Chunks that are there, checked and durable.
    pub have: u8,
    /// Chunks in all.
    pub count: u8,
}

/// Which slot does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The slot in use: 0 is A, 1 is B.
    pub active: Option<u8>,
    /// Whether the other is on trial.
    pub trial: bool,
    /// The particles sealed in A and B.
    pub sealed: [Option<ParticleId>; 2],
}

/// Where the last adapter is, as [`TrialState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the variants of TrialState")]
pub enum TrialName {
    Inactive,
    OnTrial,
    Confirmed,
    RolledBack,
}

impl From<TrialState> for TrialName {
    fn from(state: TrialState) -> Self {
        match state {
            TrialState::Inactive => Self::Inactive,
            TrialState::OnTrial(_) => Self::OnTrial,
            TrialState::Confirmed(_) => Self::Confirmed,
            TrialState::RolledBack(_) => Self::RolledBack,
        }
    }
}

/// The stack, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// What there is.
    pub bytes: u32,
    /// The most that was ever used since the start.
    pub bytes_max: u32,
}

/// What the vehicle's own line says, every second or so: the agent has no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as shoal_hal::Conditions and shoal_wire::Utc::Known")]
pub enum VehicleSays {
    Conditions {
        parked: bool,
        external_power: bool,
        battery_soc_percent: u8,
        temperature_c: i16,
        /// 0: none; 1: paid by the byte; 2: free.
        network: u8,
    },
    Time {
        seconds: u64,
        uncertainty_seconds: u32,
    },
}

impl VehicleSays {
    /// The conditions, if that is what it says and they can be.
    pub(crate) fn conditions(self) -> Option<Conditions> {
        match self {
            Self::Conditions {
                parked,
                external_power,
                battery_soc_percent,
                temperature_c,
                network,
            } => {
                let network = match network {
                    0 => Network::None,
                    1 => Network::Metered,
                    2 => Network::Unmetered,
                    _ => return None,
                };
                (battery_soc_percent <= 100).then_some(Conditions {
                    parked,
                    external_power,
                    battery_soc_percent,
                    temperature_c,
                    network,
                })
            }
            Self::Time { .. } => None,
        }
    }
}

/// Reads exactly one message: bytes left over are an error.
pub(crate) fn decode<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(message).ok()?;
    rest.is_empty().then_some(value)
}

/// Reads a reply from a frame's message. `None`: it is none.
pub fn decode_reply(message: &[u8]) -> Option<Reply<'_>> {
    decode(message)
}

/// Writes a request as a frame, by way of `message`. `None`: there is no room.
pub fn encode_request<'a>(
    number: u16,
    request: Request<'_>,
    message: &mut [u8],
    line: &'a mut [u8],
) -> Option<&'a [u8]> {
    encode_frame(postcard::to_slice(&Asking { number, request }, message).ok()?, line)
}

/// Writes what the vehicle says as a frame. `None`: there is no room.
pub fn encode_vehicle<'a>(
    says: VehicleSays,
    message: &mut [u8],
    line: &'a mut [u8],
) -> Option<&'a [u8]> {
    encode_frame(postcard::to_slice(&says, message).ok()?, line)
}
