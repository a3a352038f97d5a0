//! A particle on its way in: its header, then its chunks, into the inactive slot.

use embassy_time::Duration;
use shoal_hal::Slot;
use shoal_window::{Pace, Phase, RejectTransfer, Transfer, TransferInput};
use shoal_wire::v1::{CHUNK_BYTES_MAX, CHUNKS_MAX, ParticleHeader, RefusalCode};
use shoal_wire::{Now, Verified};

use super::{Gateway, Output, Place, Places, code};
use crate::flash::{PIECE_ALIGN_BYTES, SECTOR_BYTES};
use crate::protocol::{PIECE_BYTES_MAX, Part, Refusal};

/// An agent that brings nothing for so long has gone; the transfer waits for the next.
pub(super) const PACE: Pace = Pace { bytes_min: 1, period: Duration::from_secs(30) };

/// A chunk whose pieces come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coming {
    pub(super) index: u8,
    /// In all, and of those that came.
    bytes: u32,
    offset: u32,
}

impl Gateway {
    /// Begins a transfer, or goes on with the one that is there.
    #[inline(never)]
    pub(super) fn header(&mut self, now: Now, envelope: &[u8]) -> Result<(), Refusal> {
        let Phase::Open { .. } = self.phase else { return Err(Refusal::Closed) };
        // Looked at where it lies: a copy is two kilobytes of an MCU's stack.
        let verified = self.verify::<ParticleHeader>(envelope);
        let header = verified.as_ref().map_err(|why| *why)?;
        let (head, particle) = (*header.head(), header.body().id());
        if head.not_after_seconds < now.utc.earliest_seconds() {
            return Err(code(RefusalCode::Expired));
        }
        if self.slots.has(particle) {
            return Ok(());
        }
        let same = self.slots.receiving == Some(particle);
        let newest = self.newest.counter(head.key);
        if newest.is_some_and(|newest| head.counter < newest || head.counter == newest && !same) {
            return Err(code(RefusalCode::OldCounter));
        }
        if self.slots.state().trial || self.slots.staged {
            return Err(Refusal::OnTrial);
        }
        if newest != Some(head.counter) {
            self.newest.keep(head.key, head.counter, &self.provision);
            self.newest_stored = false;
        }
        if !same {
            self.slots.begin(particle);
            self.slots_stored = false;
            self.places = Places::UNKNOWN;
        }
        self.attempt(now, header)
    }

    #[inline(never)]
    fn attempt(&mut self, now: Now, header: &Verified<'_, ParticleHeader>) -> Result<(), Refusal> {
        let particle = header.body().id();
        let running = self.receiving.as_ref().is_some_and(|one| one.particle() == particle);
        if !running {
            self.cut(now);
            self.begin_transfer(header);
        }
        let Some(transfer) = &mut self.receiving else { return Err(Refusal::NoTransfer) };
        if self.wants.header {
            transfer.handle_input(now, TransferInput::Header(header)).map_err(rejected)?;
        }
        transfer.handle_input(now, TransferInput::Start).map_err(rejected)
    }

    /// Apart: a transfer is large while it is made, and an MCU's stack small.
    #[inline(never)]
    fn begin_transfer(&mut self, header: &Verified<'_, ParticleHeader>) {
        self.receiving = Some(Transfer::with_header(header, PACE));
    }

    pub(super) fn begin(&mut self, now: Now, index: u8, bytes: u32) -> Result<(), Refusal> {
        let Phase::Open { .. } = self.phase else { return Err(Refusal::Closed) };
        let left = self.window.left().down;
        if u64::from(bytes) > left {
            return Err(Refusal::Budget { left });
        }
        self.coming = None;
        let transfer = self.receiving.as_mut().ok_or(Refusal::NoTransfer)?;
        let begin = TransferInput::Begin { index, bytes: u64::from(bytes) };
        transfer.handle_input(now, begin).map_err(rejected)?;
        self.coming = Some(Coming { index, bytes, offset: 0 });
        self.place = Some(Place::Erase { index, bytes });
        if self.places.is_written(index) {
            // Its pieces counted by their bytes: what is erased for them anew counts by the sector.
            self.saw(now, SECTOR_BYTES);
        }
        Ok(())
    }

    pub(super) fn piece(&mut self, now: Now, offset: u32, piece: &[u8]) -> Result<(), Refusal> {
        #[cfg(feature = "seeded-panic")]
        assert!(!piece.starts_with(b"seeded"), "what the check for panics must find");
        let coming = self.coming()?;
        let Coming { index, bytes, offset: expected } = coming;
        if offset != expected {
            return Err(Refusal::Gap { expected });
        }
        let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let last = offset.saturating_add(len) >= bytes;
        let aligned = piece.len().is_multiple_of(PIECE_ALIGN_BYTES);
        if piece.is_empty() || piece.len() > PIECE_BYTES_MAX || !(aligned || last) {
            return Err(Refusal::Piece { bytes: len });
        }
        self.push(now, TransferInput::Piece(piece))?;
        let end = offset.saturating_add(len);
        self.coming = Some(Coming { offset: end, ..coming });
        self.place = Some(Place::Piece { index, offset });
        self.places.write(index, end);
        self.saw(now, len);
        Ok(())
    }

    /// So many bytes came, whatever the agent says.
    fn saw(&mut self, now: Now, bytes: u32) {
        self.counted.seen.down = self.counted.seen.down.saturating_add(u64::from(bytes));
        self.charge(now);
    }

    pub(super) fn end(&mut self, now: Now) -> Result<(), Refusal> {
        self.coming()?;
        let result = self.push(now, TransferInput::End);
        self.coming = None;
        result
    }

    /// The bytes of a chunk are not where they were put: it is asked for again.
    pub(super) fn lose(&mut self, now: Now, index: u8) {
        self.answer = Some(Output::Refused(Refusal::Flash));
        self.places.lose(index);
        if self.coming.is_some() {
            self.cut(now);
        } else if let Some(transfer) = &mut self.receiving {
            match transfer.handle_input(now, TransferInput::Lost { index }) {
                Ok(()) | Err(_) => {}
            }
        }
    }

    pub(super) fn read(&self, slot: u8, part: Part) -> Result<Output, Refusal> {
        let slot = match slot {
            0 => Slot::A,
            1 => Slot::B,
            _ => return Err(Refusal::Malformed),
        };
        let fits = match part {
            Part::Header => true,
            Part::Chunk { index, offset, bytes } => {
                usize::from(index) < CHUNKS_MAX
                    && usize::from(bytes) <= PIECE_BYTES_MAX
                    && offset.saturating_add(u32::from(bytes)) <= CHUNK_BYTES_MAX
            }
        };
        if !fits {
            return Err(Refusal::Malformed);
        }
        let sealed = self.slots.sealed(slot);
        sealed.map(|_particle| Output::Read(slot, part)).ok_or(Refusal::NoAdapter)
    }

    /// What has begun may end while the window closes.
    fn coming(&self) -> Result<Coming, Refusal> {
        match self.phase {
            Phase::Open { .. } | Phase::Closing { .. } => self.coming.ok_or(Refusal::NoChunk),
            Phase::Closed { .. } | Phase::Waiting { .. } => Err(Refusal::Closed),
        }
    }

    fn push(&mut self, now: Now, input: TransferInput<'_>) -> Result<(), Refusal> {
        let transfer = self.receiving.as_mut().ok_or(Refusal::NoTransfer)?;
        let result = transfer.handle_input(now, input).map_err(rejected);
        if result.is_err() {
            self.coming = None;
        }
        result
    }
}

fn rejected(reject: RejectTransfer) -> Refusal {
    match reject {
        RejectTransfer::HeaderNotAsked | RejectTransfer::OtherParticle { .. } => {
            Refusal::NoTransfer
        }
        RejectTransfer::TooMany { index, .. } | RejectTransfer::NotAsked { index } => {
            Refusal::NotAsked { index }
        }
        RejectTransfer::Length { index, .. } | RejectTransfer::TooLong { index, .. } => {
            Refusal::Length { index }
        }
        RejectTransfer::Hash { .. } => code(RefusalCode::ChunkHash),
        RejectTransfer::NoChunk => Refusal::NoChunk,
    }
}
