//! A particle on its way to the gateway: header, then the chunks that it wants, piece by piece.

use embassy_time::{Duration, Instant};
use shoal_gateway::{BytesBoth, PIECE_BYTES_MAX, Refusal, Request, Status, Wants};
use shoal_wire::v1::RefusalCode;

use super::Sealed;

/// How often it begins again before a chunk has come whole.
const TRIES_MAX: u8 = 5;
/// How long until it is tried again where the window, or its bytes, forbid it.
const AGAIN: Duration = Duration::from_secs(10);

/// What is asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Header,
    Look,
    Needed,
    Begin,
    Piece { offset: usize },
    End,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It goes on.
    Goes,
    /// Another adapter is on trial there.
    OnTrial,
    /// The gateway holds it, whole.
    Sealed,
    /// It never will.
    Refused(Refusal),
}

/// The particle.
#[derive(Debug)]
pub(super) struct Bringing {
    sealed: Sealed,
    step: Step,
    index: u8,
    tries: u8,
    not_before: Instant,
}

impl Bringing {
    pub(super) fn new(sealed: Sealed) -> Self {
        Bringing { sealed, step: Step::Header, index: 0, tries: 0, not_before: Instant::MIN }
    }

    pub(super) fn number(&self) -> u32 {
        self.sealed.number
    }

    /// When there is something to ask.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    pub(super) fn request(&self) -> Request<'_> {
        let (index, chunk) = (self.index, self.chunk());
        let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        match self.step {
            Step::Header => Request::Header(&self.sealed.header),
            Step::Look => Request::Status,
            Step::Needed => Request::Needed(BytesBoth { up: 0, down: bytes.into() }),
            Step::Begin => Request::Begin { index, bytes },
            Step::Piece { offset } => Request::Piece {
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                bytes: piece(chunk, offset),
            },
            Step::End => Request::End,
        }
    }

    /// Takes what the gateway answered to that; `status`, if it was asked for.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        wants: Wants,
        answer: Result<Option<&Status>, Refusal>,
    ) -> Came {
        let status = match answer {
            Ok(status) => status,
            Err(why) => return self.refused(now, why),
        };
        self.step = match self.step {
            Step::Header | Step::End => Step::Look,
            Step::Look => return self.looked(wants, status),
            Step::Needed => Step::Begin,
            Step::Begin => self.after(0),
            Step::Piece { offset } => self.after(offset.saturating_add(PIECE_BYTES_MAX)),
        };
        Came::Goes
    }

    /// The piece from here on, or the end.
    fn after(&self, offset: usize) -> Step {
        if offset < self.chunk().len() { Step::Piece { offset } } else { Step::End }
    }

    fn looked(&mut self, wants: Wants, status: Option<&Status>) -> Came {
        let particle = Some(self.sealed.particle);
        let Some(status) = status else { return self.again(Refusal::NoTransfer) };
        if status.slots.sealed.contains(&particle) {
            return Came::Sealed;
        }
        let mine = status.receiving.map(|receiving| receiving.particle) == particle;
        if !mine || wants.header || wants.chunks == 0 {
            return self.again(Refusal::NoTransfer);
        }
        let Ok(index) = u8::try_from(wants.chunks.trailing_zeros()) else {
            return Came::Refused(Refusal::Malformed);
        };
        if usize::from(index) >= self.sealed.chunks.len() {
            return Came::Refused(Refusal::NotAsked { index });
        }
        if self.index != index {
            self.tries = 0;
        }
        (self.index, self.step) = (index, Step::Needed);
        Came::Goes
    }

    fn refused(&mut self, now: Instant, why: Refusal) -> Came {
        match why {
            Refusal::Closed | Refusal::Budget { .. } => {
                (self.step, self.not_before) = (Step::Header, now + AGAIN);
                Came::Goes
            }
            Refusal::OnTrial => match self.again(why) {
                Came::Goes => Came::OnTrial,
                came @ (Came::OnTrial | Came::Sealed | Came::Refused(_)) => came,
            },
            Refusal::NoTransfer
            | Refusal::NotAsked { .. }
            | Refusal::NoChunk
            | Refusal::Gap { .. }
            | Refusal::Length { .. }
            | Refusal::Piece { .. } => self.again(why),
            Refusal::Record { code } if code == RefusalCode::ChunkHash.number() => self.again(why),
            Refusal::Record { .. }
            | Refusal::Malformed
            | Refusal::NotProvisioned
            | Refusal::Flash
            | Refusal::NoTrial
            | Refusal::NoAdapter => Came::Refused(why),
        }
    }

    /// From the header on again, unless that was done often enough.
    fn again(&mut self, why: Refusal) -> Came {
        self.tries = self.tries.saturating_add(1);
        self.step = Step::Header;
        if self.tries > TRIES_MAX { Came::Refused(why) } else { Came::Goes }
    }

    fn chunk(&self) -> &[u8] {
        self.sealed.chunks.get(usize::from(self.index)).map_or(&[], Vec::as_slice)
    }
}

fn piece(chunk: &[u8], offset: usize) -> &[u8] {
    let rest = chunk.get(offset..).unwrap_or_default();
    rest.get(..PIECE_BYTES_MAX).unwrap_or(rest)
}
