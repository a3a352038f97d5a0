//! Receiving one particle: its header, then its chunks, in any order, over links that are cut and from a
//! broker that loses, repeats and lies.
//!
//! [`Transfer`] is a core with the five doors. It holds the header and which chunks arrived, never their
//! values: those pass through in pieces and lie where the shell puts them. Each chunk is hashed as it passes;
//! only the header, which is signed and whose name the caller gave, says what a chunk may be. An *attempt*
//! ends when the link is cut, progress is too little or nothing fits; the transfer goes on with the next one.

use embassy_time::{Duration, Instant};
use sha2::{Digest, Sha256};
use shoal_wire::v1::{CHUNK_BYTES_MAX, CHUNKS_MAX, Chunk, ParticleHeader};
use shoal_wire::{ChunkHash, Now, ParticleId, Verified};

use crate::arrived::{Bits, KeptHeader, SavedTransfer};
use crate::saved::Record;

/// Chunks asked for at a time: enough to fill 10 Mbit/s at a round trip of 80 ms, few enough that a
/// receiver which stops has little on its way.
pub const ASKED_MAX: usize = 4;
/// How often an attempt may find bytes that are not the header's, and the header the same, before it ends.
const MISMATCHES_MAX: u8 = 3;

/// How much progress keeps an attempt alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of wanted chunks that must arrive in every period.
    pub bytes_min: u32,
    /// How long a period is. What was asked for and did not come in one is asked for again in the next.
    pub period: Duration,
}

/// What happened.
#[derive(Clone, Copy)]
pub enum TransferInput<'a> {
    /// There is a link: begin an attempt.
    Start,
    /// This header lies on its topic.
    Header(&'a Verified<'a, ParticleHeader>),
    /// On a chunk's topic a message begins.
    Begin {
        /// Of the chunk, as its topic says.
        index: u8,
        /// Bytes of the message, as its sender says.
        bytes: u64,
    },
    /// The next bytes of the message, as many as there are.
    Piece(&'a [u8]),
    /// The message ends.
    End,
    /// The store does not hold this chunk, though it was told to.
    Lost {
        /// Of the chunk.
        index: u8,
    },
    /// The link is cut, or the window closes: what was asked for does not come.
    Cut,
}

/// Why an input was rejected. The sender is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectTransfer {
    /// A header that nobody asked for: unwanted once it is known.
    #[error("the header was not asked for")]
    HeaderNotAsked,
    /// The topic holds another particle: this one was overwritten, or an older one was put back.
    #[error("the header is that of {got}, not of {want}")]
    OtherParticle { got: ParticleId, want: ParticleId },
    /// More chunks than the header names.
    #[error("chunk {index} of {count}")]
    TooMany { index: u8, count: u8 },
    /// A chunk that arrived before, or that nobody asked for.
    #[error("chunk {index} was not asked for")]
    NotAsked { index: u8 },
    /// Not as long as the header says: overwritten, or cut short, or endless; nothing of it was taken.
    #[error("chunk {index} has {got} bytes, its header says {want}")]
    Length { index: u8, got: u64, want: u32 },
    /// More bytes than its own announcement: endless data.
    #[error("chunk {index} goes on after its {want} bytes")]
    TooLong { index: u8, want: u32 },
    /// Other bytes than the header says.
    #[error("chunk {index} is not the one its header names")]
    Hash { index: u8 },
    /// Bytes, or an end, of a message that did not begin.
    #[error("no chunk has begun")]
    NoChunk,
}

/// What to make durable, in this order, before the next output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep<'a> {
    /// The bytes that passed between the last begin and end, under this name.
    Chunk {
        /// Of the chunk.
        index: u8,
        /// Their SHA-256, checked.
        hash: ChunkHash,
    },
    /// A record of this transfer; keys are alike in all transfers, so the store adds the particle's name.
    Record(Record<'a>),
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferOutput {
    /// Subscribe to the header's topic; if it is subscribed to, unsubscribe first: a retained message
    /// comes with the subscription.
    AskHeader,
    /// Unsubscribe from the header's topic.
    LeaveHeader,
    /// Subscribe to this chunk's topic.
    Ask {
        /// Of the chunk.
        index: u8,
        /// Bytes of the chunk: what the answer costs of the budget.
        bytes: u32,
    },
    /// Unsubscribe from this chunk's topic.
    Leave {
        /// Of the chunk.
        index: u8,
    },
    /// The attempt is over, the transfer is not: start again when there is reason to hope.
    Ended(Ended),
    /// Every chunk is there, checked and durable. Nothing follows.
    Complete,
    /// Its topic holds another particle. Nothing follows.
    Gone,
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The link was cut.
    Cut,
    /// Less came in a period than [`Pace`] asks for: a broker that drips or freezes.
    TooSlow,
    /// Chunks kept coming that are not the header's: they are being overwritten, or mixed and matched.
    Mismatch,
}

/// One particle on its way: the five doors.
#[derive(Clone, Debug)]
pub struct Transfer {
    want: ParticleId,
    pace: Pace,
    header: Option<KeptHeader>,
    header_stored: bool,
    /// Chunks that are there.
    have: Bits,
    have_stored: Bits,
    /// Of those, the one whose bytes are not durable yet.
    fresh: Option<u8>,
    /// Chunks asked for in this attempt, and of those the ones asked for before this period.
    asked: Bits,
    overdue: Bits,
    /// Chunks to unsubscribe from.
    leave: Bits,
    header_topic: HeaderTopic,
    incoming: Option<Incoming>,
    state: State,
    told: Option<TransferOutput>,
    mismatches: u8,
    /// The end of this period, and what came in it.
    until: Instant,
    came_bytes: u32,
    record: [u8; SavedTransfer::BYTES],
}

/// What is wanted of the header's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderTopic {
    Left,
    /// To be asked for.
    Wanted,
    Asked,
    /// To be left.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No attempt.
    Resting,
    /// In an attempt.
    Active,
    /// An attempt ended; to be told.
    Ending(Ended),
    Complete,
    Gone,
}

/// A chunk whose bytes are coming.
#[derive(Clone, Debug)]
struct Incoming {
    index: u8,
    chunk: Chunk,
    bytes: u32,
    hasher: Sha256,
}

impl Transfer {
    /// The transfer of this particle, with nothing of it here yet.
    pub fn new(want: ParticleId, pace: Pace) -> Self {
        Self::resume(SavedTransfer::nothing(want), pace)
    }

    /// The transfer of the particle with this header: it need not be asked for.
    pub fn with_header(header: &Verified<'_, ParticleHeader>, pace: Pace) -> Self {
        let kept = Some(KeptHeader::new(header));
        let nothing = SavedTransfer::nothing(header.body().id());
        let saved = SavedTransfer { header: kept, ..nothing };
        Self { header_stored: false, ..Self::resume(saved, pace) }
    }

    /// The transfer as the store holds it.
    pub fn resume(saved: SavedTransfer, pace: Pace) -> Self {
        let SavedTransfer { want, header, have } = saved;
        let mut transfer = Self {
            want,
            pace,
            header,
            header_stored: true,
            have,
            have_stored: have,
            fresh: None,
            asked: Bits::NONE,
            overdue: Bits::NONE,
            leave: Bits::NONE,
            header_topic: HeaderTopic::Left,
            incoming: None,
            state: State::Resting,
            told: None,
            mismatches: 0,
            until: Instant::MAX,
            came_bytes: 0,
            record: [0; SavedTransfer::BYTES],
        };
        transfer.settle();
        transfer
    }

    /// The particle.
    pub const fn particle(&self) -> ParticleId {
        self.want
    }

    /// The header, once it is known.
    pub fn header(&self) -> Option<&ParticleHeader> {
        self.header.as_ref().map(|kept| &kept.header)
    }

    /// Chunks that are here and chunks there are; `None` before the header is known.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let chunks = &self.header()?.fields().chunks;
        Some((self.have.count(), chunks.len()))
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// [`RejectTransfer`]: what came is not kept. What that means for the attempt comes out of
    /// [`Transfer::poll_output`].
    pub fn handle_input(
        &mut self,
        now: Now,
        input: TransferInput<'_>,
    ) -> Result<(), RejectTransfer> {
        let result = match input {
            TransferInput::Start => {
                self.start(now);
                Ok(())
            }
            TransferInput::Header(header) => self.take_header(now, header),
            TransferInput::Begin { index, bytes } => self.begin(index, bytes),
            TransferInput::Piece(piece) => self.push(piece),
            TransferInput::End => self.end(),
            TransferInput::Lost { index } => {
                self.lose(index);
                Ok(())
            }
            TransferInput::Cut => {
                self.close(Ended::Cut);
                Ok(())
            }
        };
        self.settle();
        result
    }

    /// Takes that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.state != State::Active || now.since_boot < self.until {
            return;
        }
        if self.came_bytes < self.pace.bytes_min {
            self.close(Ended::TooSlow);
            return;
        }
        // What a period did not bring was lost on the way: a message of quality 0 may be.
        let coming = self.incoming.as_ref().map_or(Bits::NONE, |one| Bits::one(one.index));
        let lost = self.overdue.and(self.asked).without(coming);
        self.leave = self.leave.or(lost);
        self.asked = self.asked.without(lost);
        self.overdue = self.asked;
        self.new_period(now);
    }

    /// The next thing to make durable.
    pub fn poll_persist(&mut self) -> Option<Keep<'_>> {
        if !self.header_stored {
            self.header_stored = true;
            let kept = self.header.as_ref()?;
            return Some(Keep::Record(kept.record()));
        }
        if let Some(index) = self.fresh.take() {
            let hash = self.chunk(index)?.hash;
            return Some(Keep::Chunk { index, hash });
        }
        if self.have_stored == self.have {
            return None;
        }
        self.have_stored = self.have;
        self.record = SavedTransfer::encode(self.want, self.have);
        Some(Keep::Record(SavedTransfer::record(&self.record)))
    }

    /// What to do, when all of [`Transfer::poll_persist`] is durable.
    pub fn poll_output(&mut self) -> Option<TransferOutput> {
        if !self.header_stored || self.fresh.is_some() || self.have_stored != self.have {
            return None;
        }
        if let Some(index) = self.leave.first() {
            self.leave = self.leave.without(Bits::one(index));
            return Some(TransferOutput::Leave { index });
        }
        match (self.header_topic, self.state) {
            (HeaderTopic::Leave, _) => {
                self.header_topic = HeaderTopic::Left;
                return Some(TransferOutput::LeaveHeader);
            }
            (HeaderTopic::Wanted, State::Active) => {
                self.header_topic = HeaderTopic::Asked;
                return Some(TransferOutput::AskHeader);
            }
            (HeaderTopic::Left | HeaderTopic::Wanted | HeaderTopic::Asked, _) => {}
        }
        match self.state {
            State::Resting => None,
            State::Active => self.ask(),
            State::Ending(ended) => {
                self.state = State::Resting;
                Some(TransferOutput::Ended(ended))
            }
            State::Complete => self.tell(TransferOutput::Complete),
            State::Gone => self.tell(TransferOutput::Gone),
        }
    }

    /// When to call [`Transfer::handle_timeout`]; `None` outside an attempt.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.state == State::Active).then_some(self.until)
    }

    fn start(&mut self, now: Now) {
        match self.state {
            State::Resting | State::Ending(_) => {}
            State::Active | State::Complete | State::Gone => return,
        }
        self.state = State::Active;
        self.mismatches = 0;
        if self.header.is_none() {
            self.header_topic = HeaderTopic::Wanted;
        }
        self.new_period(now);
    }

    fn new_period(&mut self, now: Now) {
        self.came_bytes = 0;
        self.until = now.since_boot.checked_add(self.pace.period).unwrap_or(Instant::MAX);
    }

    fn take_header(
        &mut self,
        now: Now,
        header: &Verified<'_, ParticleHeader>,
    ) -> Result<(), RejectTransfer> {
        if self.state != State::Active || self.header_topic != HeaderTopic::Asked {
            return Err(RejectTransfer::HeaderNotAsked);
        }
        self.header_topic = HeaderTopic::Leave;
        let got = header.body().id();
        if got != self.want {
            self.state = State::Gone;
            self.leave_all();
            return Err(RejectTransfer::OtherParticle { got, want: self.want });
        }
        if self.header.is_none() {
            self.header = Some(KeptHeader::new(header));
            self.header_stored = false;
        }
        self.new_period(now);
        Ok(())
    }

    fn begin(&mut self, index: u8, bytes: u64) -> Result<(), RejectTransfer> {
        self.incoming = None;
        let count = self.header.as_ref().map_or(0, |kept| kept.count());
        let Some(chunk) = self.chunk(index) else {
            return Err(RejectTransfer::TooMany { index, count });
        };
        if self.state != State::Active || !self.asked.has(index) {
            return Err(RejectTransfer::NotAsked { index });
        }
        if bytes != u64::from(chunk.bytes) {
            self.doubt(index);
            return Err(RejectTransfer::Length { index, got: bytes, want: chunk.bytes });
        }
        self.incoming = Some(Incoming { index, chunk, bytes: 0, hasher: Sha256::new() });
        Ok(())
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), RejectTransfer> {
        let Some(incoming) = &mut self.incoming else { return Err(RejectTransfer::NoChunk) };
        let Incoming { index, chunk, .. } = *incoming;
        let more = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let bytes = incoming.bytes.saturating_add(more);
        if bytes > chunk.bytes {
            self.incoming = None;
            self.doubt(index);
            return Err(RejectTransfer::TooLong { index, want: chunk.bytes });
        }
        incoming.hasher.update(piece);
        incoming.bytes = bytes;
        self.came_bytes = self.came_bytes.saturating_add(more);
        Ok(())
    }

    fn end(&mut self) -> Result<(), RejectTransfer> {
        let Some(incoming) = self.incoming.take() else { return Err(RejectTransfer::NoChunk) };
        let Incoming { index, chunk, bytes, hasher } = incoming;
        if bytes != chunk.bytes {
            self.doubt(index);
            return Err(RejectTransfer::Length { index, got: u64::from(bytes), want: chunk.bytes });
        }
        if ChunkHash::new(hasher.finalize().into()) != chunk.hash {
            self.doubt(index);
            return Err(RejectTransfer::Hash { index });
        }
        self.have = self.have.or(Bits::one(index));
        self.fresh = Some(index);
        self.drop_asked(index);
        Ok(())
    }

    /// These are not the bytes of the header: perhaps the slot holds another particle by now.
    fn doubt(&mut self, index: u8) {
        self.drop_asked(index);
        match self.header_topic {
            // What comes while it is in doubt says nothing new.
            HeaderTopic::Wanted | HeaderTopic::Asked => return,
            HeaderTopic::Left | HeaderTopic::Leave => self.header_topic = HeaderTopic::Wanted,
        }
        self.mismatches = self.mismatches.saturating_add(1);
        if self.mismatches >= MISMATCHES_MAX {
            self.close(Ended::Mismatch);
        }
    }

    fn drop_asked(&mut self, index: u8) {
        let one = Bits::one(index);
        self.asked = self.asked.without(one);
        self.overdue = self.overdue.without(one);
        self.leave = self.leave.or(one);
    }

    fn lose(&mut self, index: u8) {
        let lost = Bits::one(index).and(self.have);
        self.have = self.have.without(lost);
        if lost != Bits::NONE && self.state == State::Complete {
            self.state = State::Resting;
            self.told = None;
        }
    }

    /// Ends the attempt, if there is one.
    fn close(&mut self, ended: Ended) {
        self.incoming = None;
        if self.state != State::Active {
            return;
        }
        self.state = State::Ending(ended);
        if ended == Ended::Cut {
            // Nothing is subscribed to on a link that is not there.
            self.asked = Bits::NONE;
            self.leave = Bits::NONE;
            self.header_topic = HeaderTopic::Left;
        }
        self.leave_all();
    }

    fn leave_all(&mut self) {
        self.leave = self.leave.or(self.asked);
        self.asked = Bits::NONE;
        self.overdue = Bits::NONE;
        if self.header_topic == HeaderTopic::Asked {
            self.header_topic = HeaderTopic::Leave;
        } else if self.header_topic == HeaderTopic::Wanted {
            self.header_topic = HeaderTopic::Left;
        }
    }

    /// Whether that was the last chunk.
    fn settle(&mut self) {
        let Some(kept) = &self.header else { return };
        let running = match self.state {
            State::Resting | State::Active | State::Ending(_) => true,
            State::Complete | State::Gone => false,
        };
        if running && self.have == Bits::all(kept.count()) {
            self.state = State::Complete;
            self.leave_all();
        }
    }

    /// The next chunk to ask for. While the header is in doubt, none.
    fn ask(&mut self) -> Option<TransferOutput> {
        let kept = self.header.as_ref()?;
        if self.header_topic != HeaderTopic::Left || self.asked.count() >= ASKED_MAX {
            return None;
        }
        let missing = Bits::all(kept.count()).without(self.have).without(self.asked);
        let index = missing.first()?;
        let bytes = self.chunk(index)?.bytes;
        self.asked = self.asked.or(Bits::one(index));
        Some(TransferOutput::Ask { index, bytes })
    }

    fn tell(&mut self, output: TransferOutput) -> Option<TransferOutput> {
        if self.told == Some(output) {
            return None;
        }
        self.told = Some(output);
        Some(output)
    }

    fn chunk(&self, index: u8) -> Option<Chunk> {
        self.header.as_ref()?.header.fields().chunks.get(usize::from(index)).copied()
    }
}

const _: () = assert!(CHUNKS_MAX <= Bits::COUNT_MAX as usize, "a bit for every chunk");
const _: () = assert!(CHUNK_BYTES_MAX < u32::MAX, "a length that is too long by one is a u32 too");
