//! Two places for an adapter: one in use, one to put the next on trial.
//!
//! ```text
//!             seal             start_trial             confirm
//!  inactive ───────▶ sealed ───────────────▶ on trial ─────────▶ active (the other is inactive)
//!      ▲                ▲                        │
//!      └── begin        └──────── roll_back ─────┘
//! ```
//!
//! Every door either happens whole or not at all, also when power is cut in the middle of it.

/// One of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The first place.
    A,
    /// The second place.
    B,
}

impl Slot {
    /// The other place.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Which place does what. Before the first adapter is confirmed no slot is active: the vehicle
/// drives on the base model alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// The slot whose adapter is in use.
    pub active: Option<Slot>,
    /// Whether the inactive slot is on trial.
    pub trial: bool,
}

impl SlotState {
    /// The slot that may be written: the one that is not active, [`Slot::A`] when none is.
    #[must_use]
    pub const fn inactive(self) -> Slot {
        match self.active {
            Some(active) => active.other(),
            None => Slot::A,
        }
    }
}

/// The adapter slots of a vehicle. Contents are opaque bytes; who fills a slot has verified them.
pub trait AdapterSlots {
    /// Why a door failed.
    type Error;

    /// Which place does what.
    fn state(&self) -> SlotState;

    /// Bytes of the sealed adapter in `slot`; `None` when the slot holds no sealed adapter.
    ///
    /// # Errors
    /// When the storage cannot be read.
    fn bytes(&self, slot: Slot) -> Result<Option<u64>, Self::Error>;

    /// Reads from the sealed adapter in `slot`, starting at byte `offset`. Returns how many bytes of
    /// `buffer` were filled: fewer than its length only at the end of the adapter.
    ///
    /// # Errors
    /// When `slot` holds no sealed adapter, or the storage cannot be read.
    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// Empties the inactive slot for an adapter of `bytes` bytes.
    ///
    /// # Errors
    /// While a trial runs, when `bytes` is more than a slot holds, or when the storage fails.
    fn begin(&mut self, bytes: u64) -> Result<(), Self::Error>;

    /// Adds `piece` to the adapter that [`begin`](Self::begin) announced.
    ///
    /// # Errors
    /// Without `begin`, when more comes than it announced, or when the storage fails.
    fn append(&mut self, piece: &[u8]) -> Result<(), Self::Error>;

    /// Makes the inactive slot's adapter durable. Until then a restart finds the slot empty.
    ///
    /// # Errors
    /// Without `begin`, when fewer bytes came than it announced, or when the storage fails.
    fn seal(&mut self) -> Result<(), Self::Error>;

    /// Puts the sealed adapter of the inactive slot on trial: watched beside the active one.
    ///
    /// # Errors
    /// When a trial runs, the slot holds no sealed adapter, or the storage fails.
    fn start_trial(&mut self) -> Result<(), Self::Error>;

    /// Makes the adapter on trial the active one.
    ///
    /// # Errors
    /// When no trial runs, or the storage fails; then the trial goes on.
    fn confirm(&mut self) -> Result<(), Self::Error>;

    /// Ends the trial; the active adapter stays what it was.
    ///
    /// # Errors
    /// When no trial runs, or the storage fails; then the trial goes on.
    fn roll_back(&mut self) -> Result<(), Self::Error>;

    /// Takes off the active adapter: the vehicle drives on the base model again. What the slots hold stays.
    ///
    /// # Errors
    /// While a trial runs, or when the storage fails.
    fn deactivate(&mut self) -> Result<(), Self::Error>;
}
