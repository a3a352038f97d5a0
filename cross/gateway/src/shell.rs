//! The shell around the core: two lines and a flash. It is the same on a host and on the MCU.

use embassy_time::Instant;
use embedded_storage::nor_flash::NorFlash;
use shoal_hal::Slot;
use shoal_window::{Saved, SavedTransfer, Trial};
use shoal_wire::v1::{Chunk, PARTICLE_HEADER_BYTES_MAX, ParticleHeader, WINDOW_PLAN_BYTES_MAX};
use shoal_wire::{HEAD_BYTES, SIGNATURE_BYTES, decode_body};

use crate::crc::Crc;
use crate::flash::{
    FlashError, Key, PROVISION_BYTES_MAX, Records, erase_chunk, fits, holds, read, read_adapter,
    write_piece,
};
use crate::frame::{Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, encode_frame};
use crate::gateway::{Gateway, Input, Kept, Newest, Output, Persist, RECORD_BYTES, Slots};
use crate::protocol::{
    Answer, Asking, PIECE_BYTES_MAX, PhaseName, Refusal, Reply, Request, Stack, VehicleSays, Wants,
    decode,
};
use crate::provision::Provision;

/// The longest message on the vehicle's line, with its CRC.
const VEHICLE_BYTES_MAX: usize = 32;
/// The longest record that is read at a start, beside the envelopes.
const SMALL_BYTES: usize = if RECORD_BYTES > 64 { RECORD_BYTES } else { 64 };

/// A gateway with its lines and its flash.
#[derive(Debug)]
pub struct Shell<F> {
    flash: F,
    records: Option<Records>,
    /// `None`: nobody is believed, by this refusal.
    gateway: Result<Gateway, Refusal>,
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
    /// After a start: takes up what the flash holds.
    pub fn start(mut flash: F) -> Self {
        const { assert!(fits::<F>(), "the flash reads single bytes, writes 32 or less") };
        let records = Records::open(&mut flash).ok();
        let gateway = match &records {
            Some(records) => load(&mut flash, records),
            None => Err(Refusal::Flash),
        };
        let mut shell = Self {
            flash,
            records,
            gateway,
            agent: Decoder::new(),
            vehicle: Decoder::new(),
            last: None,
            line: [0; LINE_BYTES_MAX],
            line_bytes: 0,
        };
        // What a trial says again after a start.
        shell.settle(Instant::MIN);
        shell
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
            if let (Some(says), Ok(gateway)) = (says, &mut self.gateway) {
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
        if let Ok(gateway) = &mut self.gateway {
            gateway.handle_timeout(now);
        }
        self.settle(now);
    }

    /// When to call [`Shell::timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.gateway.as_ref().ok()?.poll_timeout()
    }

    /// The flash, at the end of a test.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Does what the message in the agent's decoder asks; bytes of the frame that answers it.
    fn answer(&mut self, now: Instant, stack: Stack) -> Option<usize> {
        let Self { flash, records, gateway, agent, line, .. } = self;
        let message = agent.message()?;
        let mut buffer = [0; PIECE_BYTES_MAX];
        let asking = decode::<Asking<'_>>(message);
        let number = asking.map_or(0, |asking| asking.number);
        let (Ok(gateway), Some(records), Some(Asking { request, .. })) =
            (gateway.as_mut(), records, asking)
        else {
            let why = gateway.as_ref().err().copied().unwrap_or(Refusal::Malformed);
            let why = if asking.is_none() { Refusal::Malformed } else { why };
            let (phase, wants) = (PhaseName::NoPlan, Wants::default());
            return reply(Reply { number, phase, wants, answer: Answer::Refused(why) }, line);
        };
        let piece = match request {
            Request::Piece { bytes, .. } => bytes,
            _ => &[],
        };
        let asked = gateway.handle_input(now, Input::Agent(request));
        settle(gateway, flash, records, now, piece);
        let answer = match (asked, gateway.poll_output()) {
            (Err(why), _) | (Ok(()), Some(Output::Refused(why))) => Answer::Refused(why),
            (Ok(()), Some(Output::Done)) => Answer::Done,
            (Ok(()), Some(Output::Status(mut status))) => {
                (status.dropped, status.stack) = (agent.dropped(), stack);
                Answer::Status(status)
            }
            (Ok(()), Some(Output::Read { slot, offset })) => {
                read_back(flash, records, slot, offset, &mut buffer)
                    .map_or(Answer::Refused(Refusal::Flash), Answer::Bytes)
            }
            (Ok(()), None) => Answer::Refused(Refusal::Flash),
        };
        reply(Reply { number, phase: gateway.phase(), wants: gateway.wants(), answer }, line)
    }

    fn settle(&mut self, now: Instant) {
        if let (Ok(gateway), Some(records)) = (&mut self.gateway, &mut self.records) {
            settle(gateway, &mut self.flash, records, now, &[]);
        }
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

fn reply(reply: Reply<'_>, line: &mut [u8; LINE_BYTES_MAX]) -> Option<usize> {
    let mut message = [0; FRAME_BYTES_MAX];
    let message = postcard::to_slice(&reply, &mut message).ok()?;
    Some(encode_frame(message, line)?.len())
}

/// Some bytes of a sealed adapter.
fn read_back<'a, F: NorFlash>(
    flash: &mut F,
    records: &Records,
    slot: Slot,
    offset: u32,
    buffer: &'a mut [u8; PIECE_BYTES_MAX],
) -> Result<&'a [u8], FlashError> {
    let mut envelope = [0; PARTICLE_HEADER_BYTES_MAX];
    let envelope = records.get(flash, header_key(slot), &mut envelope)?;
    let body = envelope
        .and_then(|bytes| bytes.get(HEAD_BYTES..bytes.len().saturating_sub(SIGNATURE_BYTES)));
    // Its signature held when it was stored.
    let header = body.and_then(|body| decode_body::<ParticleHeader>(body).ok());
    let chunks: &[Chunk] = &header.as_ref().ok_or(FlashError::Failed)?.fields().chunks;
    let filled = read_adapter(flash, slot, chunks, offset, buffer)?;
    buffer.get(..filled).ok_or(FlashError::Failed)
}

fn header_key(slot: Slot) -> Key {
    match slot {
        Slot::A => Key::HeaderA,
        Slot::B => Key::HeaderB,
    }
}

/// What a flash holds, checked. A record that is damaged counts as none, but for the one against rollback.
#[inline(never)]
fn load<F: NorFlash>(flash: &mut F, records: &Records) -> Result<Gateway, Refusal> {
    let mut sector = [0; PROVISION_BYTES_MAX];
    read(flash, 0, &mut sector).map_err(|_error| Refusal::Flash)?;
    let provision = Provision::decode(&sector).map_err(|_reject| Refusal::NotProvisioned)?;
    let mut envelope = [0; PARTICLE_HEADER_BYTES_MAX];
    let mut small = [0; SMALL_BYTES];
    let failed = |_error| Refusal::Flash;

    let newest = match records.get(flash, Key::Newest, &mut small).map_err(failed)? {
        Some(bytes) => Newest::decode(bytes).ok_or(Refusal::Flash)?,
        None => Newest::default(),
    };
    let slots = records.get(flash, Key::Slots, &mut small).map_err(failed)?;
    let slots = slots.and_then(Slots::decode).unwrap_or_default();
    let trial = records.get(flash, Key::Trial, &mut small).map_err(failed)?;
    let trial = trial.and_then(|bytes| Trial::decode(bytes, provision.trial_policy()).ok());

    let plan = envelope.first_chunk_mut::<WINDOW_PLAN_BYTES_MAX>().ok_or(Refusal::Flash)?;
    let plan = records.get(flash, Key::Plan, plan).map_err(failed)?;
    let ledger = records.get(flash, Key::Ledger, &mut small).map_err(failed)?;
    let window = Saved::decode(plan, ledger, &provision)
        // Its key may not sign any more: what was granted still counts.
        .or_else(|_reject| Saved::decode(None, ledger, &provision))
        .map_err(|_reject| Refusal::Flash)?;

    let mut receiving = None;
    if let Some(want) = slots.receiving {
        let key = header_key(slots.inactive());
        let header = records.get(flash, key, &mut envelope).map_err(failed)?;
        let progress = records.get(flash, Key::Progress, &mut small).map_err(failed)?;
        // Progress of another particle is none of this one.
        let saved = SavedTransfer::decode(want, header, progress, &provision)
            .or_else(|_reject| SavedTransfer::decode(want, header, None, &provision));
        receiving = header.and(saved.ok());
    }
    Ok(Gateway::new(provision, Kept { window, trial, slots, newest, receiving }))
}
