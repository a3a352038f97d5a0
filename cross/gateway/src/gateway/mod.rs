//! The core: what the agent may do, and what becomes of it.

mod kept;
mod places;
mod receive;
mod status;

pub use kept::Kept;
pub(crate) use kept::{Newest, RECORD_BYTES, Slots};

use embassy_time::{Duration, Instant};
use shoal_hal::Slot;
use shoal_window::{
    Because, Bytes, Conditions, Input as WindowInput, Keep, Network, Output as WindowOutput,
    PLAN_KEY, Phase, Reject, SavedTransfer, TRANSFER_HEADER_KEY, Transfer, TransferInput,
    TransferOutput, Trial, TrialInput, TrialOutput, TrialState, Window,
};
use shoal_wire::v1::{Nonce, RefusalCode, WindowPlan};
use shoal_wire::{Body, ChunkHash, Now, ParticleId, RejectEnvelope, Unverified, Verified};

use crate::clock::Clock;
use crate::flash::Key;
use crate::protocol::{Part, PhaseName, Refusal, Request, Stack, Status, VehicleSays, Wants};
use crate::provision::Provision;
use places::Places;
use receive::Coming;

/// Conditions count so long: a vehicle's line that is cut says nothing, and then nothing is allowed.
const CONDITIONS_MS_MAX: u64 = 10_000;
const NO_CONDITIONS: Conditions = Conditions {
    network: Network::None,
    parked: false,
    external_power: false,
    battery_soc_percent: 0,
    temperature_c: i16::MAX,
};

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The agent asks. What it may hear comes out of [`Gateway::poll_output`], or is the error.
    Agent(Request<'a>),
    /// The vehicle's line says.
    Vehicle(VehicleSays),
    /// The place of a chunk does not hold what was written there, or could not be written.
    Lost {
        /// Of the chunk.
        index: u8,
    },
    /// A record could not be made durable.
    Failed,
}

/// What to make durable, before the next output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist<'a> {
    /// A record.
    Record {
        /// Its key.
        key: Key,
        /// All of it.
        bytes: &'a [u8],
    },
    /// Erase so many bytes from the start of a chunk's place on.
    #[expect(missing_docs, reason = "as it says")]
    Erase { slot: Slot, index: u8, bytes: u32 },
    /// Write the piece that was handed in last to the chunk's place, so many bytes into it.
    #[expect(missing_docs, reason = "as it says")]
    Piece { slot: Slot, index: u8, offset: u32 },
    /// See that the place holds the bytes of this hash, or hand in [`Input::Lost`].
    #[expect(missing_docs, reason = "as it says")]
    Check { slot: Slot, index: u8, bytes: u32, hash: ChunkHash },
}

/// What the agent may hear, when everything is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It is so.
    Done,
    /// How things stand; the shell adds what it alone knows.
    Status(Status),
    /// What the store holds of the sealed adapter in this slot.
    Read(Slot, Part),
    /// It is not so.
    Refused(Refusal),
}

/// One vehicle's gateway: the five doors.
#[derive(Debug)]
pub struct Gateway {
    provision: Provision,
    clock: Clock,
    window: Window,
    phase: Phase,
    conditions_until: Option<Instant>,
    counted: Counted,
    slots: Slots,
    slots_stored: bool,
    newest: Newest,
    newest_stored: bool,
    receiving: Option<Transfer>,
    coming: Option<Coming>,
    /// What is to be done to a place, before anything rests on it.
    place: Option<Place>,
    places: Places,
    wants: Wants,
    trial: Trial,
    answer: Option<Output>,
    /// Storage failed: what is held here is not what is durable.
    failed: bool,
    record: [u8; RECORD_BYTES],
}

/// What is to be done to the place of a chunk in the inactive slot.
#[derive(Clone, Copy, Debug)]
enum Place {
    Erase { index: u8, bytes: u32 },
    Piece { index: u8, offset: u32 },
}

/// Bytes of the window: told by the agent, and seen by ourselves. The agent may have used more than we see of it; it
/// cannot have used less.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    window: u32,
    told: Bytes,
    seen: Bytes,
    charged: Bytes,
}

impl Gateway {
    /// The gateway after a start, with what the store held.
    pub fn new(provision: Provision, kept: Kept) -> Self {
        let Kept { window, trial, slots, newest } = kept;
        let trial = trial.unwrap_or_else(|| Trial::new(provision.trial_policy()));
        let mut gateway = Self {
            clock: Clock::new(newest.signed_seconds),
            window: Window::new(provision.vehicle, provision.policy(), window),
            phase: Phase::Closed { because: Because::NoTime },
            conditions_until: None,
            counted: Counted::default(),
            slots,
            slots_stored: true,
            newest,
            newest_stored: true,
            receiving: None,
            coming: None,
            place: None,
            places: Places::UNKNOWN,
            wants: Wants::default(),
            trial,
            answer: None,
            failed: false,
            record: [0; RECORD_BYTES],
            provision,
        };
        if gateway.slots.staged {
            gateway.stage();
        }
        gateway
    }

    /// The particle whose transfer was cut, if one was, and the slot that it comes to.
    pub fn wanted(&self) -> Option<(ParticleId, Slot)> {
        self.slots.receiving.map(|particle| (particle, self.slots.inactive()))
    }

    /// After a start, before anything else: goes on with the transfer of [`Gateway::wanted`], as far as the store holds
    /// it. What is damaged, or of another particle, is none: it begins anew.
    #[inline(never)]
    pub fn resume(&mut self, want: ParticleId, header: &[u8], progress: Option<&[u8]>) {
        for progress in [progress, None] {
            if let Some(saved) = self.saved_transfer(want, header, progress) {
                self.go_on(saved);
                return;
            }
        }
    }

    #[inline(never)]
    fn go_on(&mut self, saved: SavedTransfer) {
        self.receiving = Some(Transfer::resume(saved, receive::PACE));
    }

    /// Apart: verifying takes much of the stack, and so does what is made of it.
    #[inline(never)]
    fn saved_transfer(
        &self,
        want: ParticleId,
        header: &[u8],
        progress: Option<&[u8]>,
    ) -> Option<SavedTransfer> {
        SavedTransfer::decode(want, Some(header), progress, &self.provision).ok()
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed. Of what the vehicle says, one that cannot be is [`Refusal::Malformed`].
    pub fn handle_input(&mut self, since_boot: Instant, input: Input<'_>) -> Result<(), Refusal> {
        // What is over is over before anything new begins.
        self.handle_timeout(since_boot);
        self.advance();
        let now = self.clock.now(since_boot);
        match input {
            Input::Agent(request) => {
                self.answer = None;
                let output = self.ask(now, request)?;
                self.answer = Some(output);
            }
            Input::Vehicle(says) => self.hear(since_boot, says)?,
            Input::Lost { index } => self.lose(now, index),
            Input::Failed => {
                self.failed = true;
                self.answer = Some(Output::Refused(Refusal::Flash));
            }
        }
        Ok(())
    }

    /// Takes that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, since_boot: Instant) {
        let now = self.clock.now(since_boot);
        if self.conditions_until.is_some_and(|until| until <= since_boot) {
            self.conditions_until = None;
            self.tell(now, WindowInput::Conditions(NO_CONDITIONS));
        }
        self.window.handle_timeout(now);
        if let Some(transfer) = &mut self.receiving {
            transfer.handle_timeout(now);
        }
    }

    /// What to make durable next. That it is called again says that what it gave before is.
    pub fn poll_persist(&mut self) -> Option<Persist<'_>> {
        if self.failed {
            return None;
        }
        self.advance();
        let slot = self.slots.inactive();
        // The slot before the counter: cut in between, the same header begins it again.
        if !self.slots_stored {
            self.slots_stored = true;
            let bytes = self.slots.encode(&mut self.record);
            return Some(Persist::Record { key: Key::Slots, bytes });
        }
        if !self.newest_stored {
            self.newest_stored = true;
            let bytes = self.newest.encode(&mut self.record);
            return Some(Persist::Record { key: Key::Newest, bytes });
        }
        if let Some(record) = self.window.poll_persist() {
            let key = if record.key == PLAN_KEY { Key::Plan } else { Key::Ledger };
            return Some(Persist::Record { key, bytes: record.bytes });
        }
        match self.place.take() {
            Some(Place::Erase { index, bytes }) => {
                if let Some(bytes) = self.places.erase(index, bytes) {
                    return Some(Persist::Erase { slot, index, bytes });
                }
            }
            Some(Place::Piece { index, offset }) => {
                return Some(Persist::Piece { slot, index, offset });
            }
            None => {}
        }
        // Found before the transfer is asked, which is borrowed until the end.
        if let Some(persist) = self.receiving.as_mut().and_then(|transfer| keep(transfer, slot)) {
            return Some(persist);
        }
        let record = self.trial.poll_persist()?;
        Some(Persist::Record { key: Key::Trial, bytes: record.bytes })
    }

    /// What the agent may hear.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.answer.take()
    }

    /// When to call [`Gateway::handle_timeout`]; `None`: only an input can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let transfer = self.receiving.as_ref().and_then(Transfer::poll_timeout);
        [self.window.poll_timeout(), self.conditions_until, transfer].into_iter().flatten().min()
    }

    /// Where the vehicle is in its window: what every answer says beside itself.
    pub fn phase(&self) -> PhaseName {
        self.phase.into()
    }

    /// What is waited for.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    fn ask(&mut self, now: Now, request: Request<'_>) -> Result<Output, Refusal> {
        if let Request::Status = request {
            return Ok(Output::Status(self.status(now, Stack::default())));
        }
        if self.failed {
            return Err(Refusal::Flash);
        }
        match request {
            Request::Status => {}
            Request::Plan(envelope) => {
                let plan = self.verify::<WindowPlan>(envelope)?;
                self.window.handle_input(now, WindowInput::Plan(plan)).map_err(|reject| {
                    code(match reject {
                        Reject::NotNewer { .. } => RefusalCode::OldCounter,
                        Reject::Expired { .. } => RefusalCode::Expired,
                    })
                })?;
            }
            Request::Nonce(envelope) => {
                let seconds = self.verify::<Nonce>(envelope)?.body().fields().utc_seconds;
                self.clock.signed(seconds);
                if self.newest.signed_seconds != self.clock.at_least_seconds() {
                    self.newest.signed_seconds = self.clock.at_least_seconds();
                    self.newest_stored = false;
                }
            }
            Request::Used(bytes) => {
                self.counted.told = plus(self.counted.told, bytes.into());
                self.charge(now);
            }
            Request::Needed(bytes) => self.tell(now, WindowInput::Needed(bytes.into())),
            Request::Drained => self.tell(now, WindowInput::Drained),
            Request::Header(envelope) => self.header(now, envelope)?,
            Request::Begin { index, bytes } => self.begin(now, index, bytes)?,
            Request::Piece { offset, bytes } => self.piece(now, offset, bytes)?,
            Request::End => self.end(now)?,
            Request::Cut => self.cut(now),
            Request::Watched { frames, gain } => {
                self.watch(TrialInput::Watched { frames, gain })?;
            }
            Request::Failed => self.watch(TrialInput::Failed)?,
            Request::Judged { kept } => self.watch(TrialInput::Judged { kept })?,
            Request::Read { slot, part } => return self.read(slot, part),
        }
        Ok(Output::Done)
    }

    #[inline(never)]
    fn verify<'a, T: Body<'a>>(&self, envelope: &'a [u8]) -> Result<Verified<'a, T>, Refusal> {
        let verify = |envelope: &'a [u8]| -> Result<Verified<'a, T>, RejectEnvelope> {
            Unverified::decode(envelope)?.verify(&self.provision)
        };
        verify(envelope).map_err(|reject| code(reject.into()))
    }

    fn hear(&mut self, since_boot: Instant, says: VehicleSays) -> Result<(), Refusal> {
        if let VehicleSays::Time { seconds, uncertainty_seconds } = says {
            self.clock.set(since_boot, seconds, uncertainty_seconds);
            self.window.handle_timeout(self.clock.now(since_boot));
            return Ok(());
        }
        let conditions = says.conditions().ok_or(Refusal::Malformed)?;
        let until = Duration::try_from_millis(CONDITIONS_MS_MAX);
        self.conditions_until = until.and_then(|until| since_boot.checked_add(until));
        let conditions = Conditions {
            network: match conditions.network {
                shoal_hal::Network::None => Network::None,
                shoal_hal::Network::Metered => Network::Metered,
                shoal_hal::Network::Unmetered => Network::Unmetered,
            },
            parked: conditions.parked,
            external_power: conditions.external_power,
            battery_soc_percent: conditions.battery_soc_percent,
            temperature_c: conditions.temperature_c,
        };
        let now = self.clock.now(since_boot);
        self.tell(now, WindowInput::Conditions(conditions));
        Ok(())
    }

    fn watch(&mut self, input: TrialInput) -> Result<(), Refusal> {
        self.trial.handle_input(input).map_err(|_reject| Refusal::NoTrial)
    }

    /// The window takes everything but plans.
    fn tell(&mut self, now: Now, input: WindowInput<'_>) {
        match self.window.handle_input(now, input) {
            Ok(()) | Err(_) => {}
        }
    }

    /// The larger of what was told and what was seen is what the window counts.
    fn charge(&mut self, now: Now) {
        let Counted { told, seen, charged, .. } = self.counted;
        let total = Bytes { up: told.up.max(seen.up), down: told.down.max(seen.down) };
        let more = Bytes {
            up: total.up.saturating_sub(charged.up),
            down: total.down.saturating_sub(charged.down),
        };
        if more != Bytes::default() {
            self.counted.charged = total;
            self.tell(now, WindowInput::Used(more));
        }
    }

    /// Takes what window, transfer and trial say: each says it only when what it rests on is durable.
    fn advance(&mut self) {
        while let Some(WindowOutput::Phase(phase)) = self.window.poll_output() {
            self.enter(phase);
        }
        while let Some(output) = self.receiving.as_mut().and_then(Transfer::poll_output) {
            self.received(output);
        }
        while let Some(output) = self.trial.poll_output() {
            self.tried(output);
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        match phase {
            Phase::Open { window, .. } => {
                if self.counted.window != window {
                    self.counted = Counted { window, ..Counted::default() };
                }
            }
            Phase::Closing { .. } => {}
            Phase::Closed { .. } | Phase::Waiting { .. } => {
                // No time is looked at.
                let now = self.clock.now(Instant::MIN);
                self.cut(now);
            }
        }
    }

    fn received(&mut self, output: TransferOutput) {
        let bit = |index: u8| 1_u32.checked_shl(u32::from(index)).unwrap_or(0);
        match output {
            TransferOutput::AskHeader => self.wants.header = true,
            TransferOutput::LeaveHeader => self.wants.header = false,
            TransferOutput::Ask { index, .. } => self.wants.chunks |= bit(index),
            TransferOutput::Leave { index } => self.wants.chunks &= !bit(index),
            TransferOutput::Ended(_) => self.wants = Wants::default(),
            TransferOutput::Gone => self.drop_transfer(),
            TransferOutput::Complete => {
                let particle = self.receiving.as_ref().map(Transfer::particle);
                self.drop_transfer();
                if let Some(particle) = particle {
                    self.slots.seal(particle);
                    self.slots_stored = false;
                    self.stage();
                }
            }
        }
    }

    fn drop_transfer(&mut self) {
        self.receiving = None;
        self.coming = None;
        self.wants = Wants::default();
    }

    /// What is sealed goes on trial; what was tried before and found wanting does not.
    fn stage(&mut self) {
        let Some(particle) = self.slots.sealed(self.slots.inactive()) else { return };
        if self.trial.handle_input(TrialInput::Staged(particle)).is_err() {
            self.slots.staged = false;
            self.slots_stored = false;
        }
    }

    fn tried(&mut self, output: TrialOutput) {
        let before = self.slots;
        match (output, self.trial.state()) {
            (TrialOutput::Start, TrialState::OnTrial(particle)) => self.slots.start_trial(particle),
            (TrialOutput::Confirm, TrialState::Confirmed(particle)) => self.slots.confirm(particle),
            (TrialOutput::RollBack, TrialState::RolledBack(_)) => self.slots.roll_back(),
            (TrialOutput::Start | TrialOutput::Confirm | TrialOutput::RollBack, _) => {}
        }
        if self.slots != before {
            self.slots_stored = false;
        }
    }
}

/// What a transfer wants kept, in this slot.
fn keep(transfer: &mut Transfer, slot: Slot) -> Option<Persist<'_>> {
    let mut bytes = [0; shoal_wire::v1::CHUNKS_MAX];
    let chunks = transfer.header().map(|header| &header.fields().chunks);
    for (to, chunk) in bytes.iter_mut().zip(chunks.into_iter().flatten()) {
        *to = chunk.bytes;
    }
    Some(match transfer.poll_persist()? {
        Keep::Chunk { index, hash } => {
            let bytes = bytes.get(usize::from(index)).copied().unwrap_or(0);
            Persist::Check { slot, index, bytes, hash }
        }
        Keep::Record(record) => {
            let key = match slot {
                _ if record.key != TRANSFER_HEADER_KEY => Key::Progress,
                Slot::A => Key::HeaderA,
                Slot::B => Key::HeaderB,
            };
            Persist::Record { key, bytes: record.bytes }
        }
    })
}

fn code(code: RefusalCode) -> Refusal {
    Refusal::Record { code: code.number() }
}

fn plus(one: Bytes, other: Bytes) -> Bytes {
    Bytes { up: one.up.saturating_add(other.up), down: one.down.saturating_add(other.down) }
}

impl Gateway {
    fn cut(&mut self, now: Now) {
        self.coming = None;
        self.place = None;
        if let Some(transfer) = &mut self.receiving {
            match transfer.handle_input(now, TransferInput::Cut) {
                Ok(()) | Err(_) => {}
            }
        }
        self.wants = Wants::default();
    }
}
