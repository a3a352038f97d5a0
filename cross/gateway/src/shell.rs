//! The shell around the core: two lines and a flash. It is the same on a host and on the MCU.

use embassy_time::Instant;
use embedded_storage::nor_flash::NorFlash;
use shoal_hal::Slot;
use shoal_window::{Saved, Trial};
use shoal_wire::v1::{PARTICLE_HEADER_BYTES_MAX, WINDOW_PLAN_BYTES_MAX};

use crate::crc::Crc;
use crate::flash::{
    FlashError, Key, PROVISION_BYTES_MAX, Records, chunk_offset, erase_chunk, fits, holds, read,
    write_piece,
};
use crate::frame::{Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, encode_frame};
use crate::gateway::{Gateway, Input, Kept, Newest, Output, Persist, RECORD_BYTES, Slots};
use crate::protocol::{
    Answer, Asking, PIECE_BYTES_MAX, Part, PhaseName, Refusal, Reply, Request, Stack, VehicleSays,
    Wants, decode,
};
use crate::provision::Provision;

/// The longest message on the vehicle's line, with its CRC.
const VEHICLE_BYTES_MAX: usize = 32;
/// The longest record that is read at a start, beside the envelopes.
const _: () = assert!(WINDOW_PLAN_BYTES_MAX <= PROVISION_BYTES_MAX);
const _: () = assert!(PARTICLE_HEADER_BYTES_MAX <= PIECE_BYTES_MAX);
const _: () = assert!(PIECE_BYTES_MAX <= LINE_BYTES_MAX);
const SMALL_BYTES: usize = if RECORD_BYTES > 64 { RECORD_BYTES } else { 64 };

/// A gateway with its lines and its flash.
#[derive(Debug)]
pub struct Shell<F> {
    flash: F,
    records: Option<Records>,
    /// `None`: nobody is believed, for the reason beside it.
    gateway: Option<Gateway>,
    why_none: Refusal,
    agent: Decoder<FRAME_BYTES_MAX>,
    vehicle: Decoder<VEHICLE_BYTES_MAX>,
    /// The CRC of the last request that was answered, and its answer's frame.
    last: Option<u32>,
    line: [u8; LINE_BYTES_MAX],
    line_bytes: usize,
}

/// What became of bytes from the agent.
#[derive(Clone, Copy, Debug)]
pub struct Agent<'a> {
    /// How many were taken: hand in the rest again.
    pub taken: usize,
    /// What to send back.
    pub reply: Option<&'a [u8]>,
}

impl<F: NorFlash> Shell<F> {
    /// Before [`Shell::start`]. A constant, so that an MCU has it in its place from the beginning and never on its stack.
    pub const fn new(flash: F) -> Self {
        const { assert!(fits::<F>(), "the flash reads single bytes, writes 32 or less") };
        Self {
            flash,
            records: None,
            gateway: None,
            why_none: Refusal::NotProvisioned,
            agent: Decoder::new(),
            vehicle: Decoder::new(),
            last: None,
            line: [0; LINE_BYTES_MAX],
            line_bytes: 0,
        }
    }

    /// After a start: takes up what the flash holds.
    #[inline(never)]
    pub fn start(&mut self) {
        if let Err(why) = self.load() {
            (self.gateway, self.why_none) = (None, why);
        }
        // What a trial says again after a start.
        self.settle(Instant::MIN);
    }

    /// Takes bytes of the agent's line, up to the end of one frame.
    #[inline(never)]
    pub fn agent(&mut self, now: Instant, bytes: &[u8], stack: Stack) -> Agent<'_> {
        let taken = self.agent.push(bytes);
        let Some(message) = self.agent.message() else { return Agent { taken, reply: None } };
        let crc = Crc::of(message);
        let asking = decode::<Asking<'_>>(message);
        let status = asking.is_some_and(|asking| asking.request == Request::Status);
        if self.last != Some(crc) || status {
            self.last = Some(crc);
            self.line_bytes = self.answer(now, stack).unwrap_or(0);
        }
        Agent { taken, reply: self.line.get(..self.line_bytes) }
    }

    /// Takes bytes of the vehicle's line.
    #[inline(never)]
    pub fn vehicle(&mut self, now: Instant, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.vehicle.push(rest);
            rest = rest.get(taken..).unwrap_or_default();
            let says = self.vehicle.message().and_then(decode::<VehicleSays>);
            if let (Some(says), Some(gateway)) = (says, &mut self.gateway) {
                match gateway.handle_input(now, Input::Vehicle(says)) {
                    Ok(()) | Err(_) => {}
                }
            }
        }
        self.settle(now);
    }

    /// Takes that time has passed.
    #[inline(never)]
    pub fn timeout(&mut self, now: Instant) {
        if let Some(gateway) = &mut self.gateway {
            gateway.handle_timeout(now);
        }
        self.settle(now);
    }

    /// When to call [`Shell::timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.gateway.as_ref()?.poll_timeout()
    }

    /// The flash, at the end of a test.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Does what the message in the agent's decoder asks; bytes of the frame that answers it.
    fn answer(&mut self, now: Instant, stack: Stack) -> Option<usize> {
        let Self { flash, records, gateway, why_none, agent, line, .. } = self;
        let asking = decode::<Asking<'_>>(agent.message()?);
        let (mut phase, mut wants) = (PhaseName::NoPlan, Wants::default());
        let Some(Asking { number, request }) = asking else {
            let answer = Answer::Refused(Refusal::Malformed);
            return reply(&Reply { number: 0, phase, wants, answer }, line);
        };
        let (Some(gateway), Some(records)) = (gateway, records) else {
            let answer = Answer::Refused(*why_none);
            return reply(&Reply { number, phase, wants, answer }, line);
        };
        let piece = if let Request::Piece { bytes, .. } = request { bytes } else { &[] };
        let asked = gateway.handle_input(now, Input::Agent(request));
        settle(gateway, flash, records, now, piece);
        (phase, wants) = (gateway.phase(), gateway.wants());
        let answer = match (asked, gateway.poll_output()) {
            (Err(why), _) | (Ok(()), Some(Output::Refused(why))) => Answer::Refused(why),
            (Ok(()), Some(Output::Done)) => Answer::Done,
            (Ok(()), Some(Output::Status(mut status))) => {
                (status.dropped, status.stack) = (agent.dropped(), stack);
                Answer::Status(status)
            }
            (Ok(()), Some(Output::Read(slot, part))) => {
                let mut buffer = [0; PIECE_BYTES_MAX];
                let answer = read_back(flash, records, slot, part, &mut buffer)
                    .map_or(Answer::Refused(Refusal::Flash), Answer::Bytes);
                return reply(&Reply { number, phase, wants, answer }, line);
            }
            (Ok(()), None) => Answer::Refused(Refusal::Flash),
        };
        reply(&Reply { number, phase, wants, answer }, line)
    }

    fn settle(&mut self, now: Instant) {
        if let (Some(gateway), Some(records)) = (&mut self.gateway, &mut self.records) {
            settle(gateway, &mut self.flash, records, now, &[]);
        }
    }

    /// What the flash holds, checked. A record that is damaged counts as none, but for those against rollback.
    fn load(&mut self) -> Result<(), Refusal> {
        let flash = &mut self.flash;
        let records = *self.records.insert(Records::open(flash).map_err(failed)?);
        load_small(flash, &records, &mut self.gateway)?;
        if let Some(gateway) = &mut self.gateway {
            load_transfer(flash, &records, gateway, &mut self.line)?;
        }
        Ok(())
    }
}

/// Makes durable what the core wants durable.
fn settle<F: NorFlash>(
    gateway: &mut Gateway,
    flash: &mut F,
    records: &mut Records,
    now: Instant,
    piece: &[u8],
) {
    while let Some(persist) = gateway.poll_persist() {
        let wrong = match persist {
            Persist::Record { key, bytes } => {
                records.put(flash, key, bytes).is_err().then_some(Input::Failed)
            }
            Persist::Erase { slot, index, bytes } => {
                let erased = erase_chunk(flash, slot, index, bytes);
                erased.is_err().then_some(Input::Lost { index })
            }
            Persist::Piece { slot, index, offset } => {
                let written = write_piece(flash, (slot, index), offset, piece);
                written.is_err().then_some(Input::Lost { index })
            }
            Persist::Check { slot, index, bytes, hash } => {
                let there = holds(flash, (slot, index), bytes, hash) == Ok(true);
                (!there).then_some(Input::Lost { index })
            }
        };
        if let Some(input) = wrong {
            match gateway.handle_input(now, input) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

#[inline(never)]
fn reply(reply: &Reply<'_>, line: &mut [u8; LINE_BYTES_MAX]) -> Option<usize> {
    let mut message = [0; FRAME_BYTES_MAX];
    let message = postcard::to_slice(reply, &mut message).ok()?;
    Some(encode_frame(message, line)?.len())
}

/// Some bytes of a sealed adapter.
#[inline(never)]
fn read_back<'a, F: NorFlash>(
    flash: &mut F,
    records: &Records,
    slot: Slot,
    part: Part,
    buffer: &'a mut [u8; PIECE_BYTES_MAX],
) -> Result<&'a [u8], FlashError> {
    match part {
        Part::Header => records.get(flash, header_key(slot), buffer)?.ok_or(FlashError::Failed),
        Part::Chunk { index, offset, bytes } => {
            let bytes = buffer.get_mut(..usize::from(bytes)).ok_or(FlashError::Failed)?;
            read(flash, chunk_offset(slot, index).saturating_add(offset), bytes)?;
            Ok(bytes)
        }
    }
}

fn header_key(slot: Slot) -> Key {
    match slot {
        Slot::A => Key::HeaderA,
        Slot::B => Key::HeaderB,
    }
}

fn failed(_error: FlashError) -> Refusal {
    Refusal::Flash
}

/// Everything but the transfer.
#[inline(never)]
fn load_small<F: NorFlash>(
    flash: &mut F,
    records: &Records,
    gateway: &mut Option<Gateway>,
) -> Result<(), Refusal> {
    // The provision, then the plan.
    let mut large = [0; PROVISION_BYTES_MAX];
    let mut small = [0; SMALL_BYTES];
    read(flash, 0, &mut large).map_err(failed)?;
    let provision = Provision::decode(&large).map_err(|_reject| Refusal::NotProvisioned)?;

    let newest = match records.get(flash, Key::Newest, &mut small).map_err(failed)? {
        Some(bytes) => Newest::decode(bytes).ok_or(Refusal::Flash)?,
        None => Newest::default(),
    };
    let slots = records.get(flash, Key::Slots, &mut small).map_err(failed)?;
    let slots = slots.and_then(Slots::decode).unwrap_or_default();
    let trial = records.get(flash, Key::Trial, &mut small).map_err(failed)?;
    let trial = trial.and_then(|bytes| Trial::decode(bytes, provision.trial_policy()).ok());
    let plan = records.get(flash, Key::Plan, &mut large).map_err(failed)?;
    let ledger = records.get(flash, Key::Ledger, &mut small).map_err(failed)?;
    let window = Saved::decode(plan, ledger, &provision)
        // Its key may not sign any more: what was granted still counts.
        .or_else(|_reject| Saved::decode(None, ledger, &provision))
        .map_err(|_reject| Refusal::Flash)?;
    begin(gateway, provision, Kept { window, trial, slots, newest });
    Ok(())
}

/// Apart: a gateway is large, and an MCU's stack small.
#[inline(never)]
fn begin(gateway: &mut Option<Gateway>, provision: Provision, kept: Kept) {
    *gateway = Some(Gateway::new(provision, kept));
}

/// The transfer that a cut ended.
#[inline(never)]
fn load_transfer<F: NorFlash>(
    flash: &mut F,
    records: &Records,
    gateway: &mut Gateway,
    scratch: &mut [u8; LINE_BYTES_MAX],
) -> Result<(), Refusal> {
    let Some((want, slot)) = gateway.wanted() else { return Ok(()) };
    let mut small = [0; SMALL_BYTES];
    let Some(header) = records.get(flash, header_key(slot), scratch).map_err(failed)? else {
        return Ok(());
    };
    let progress = records.get(flash, Key::Progress, &mut small).map_err(failed)?;
    gateway.resume(want, header, progress);
    Ok(())
}
