//! Frames on a serial line: a message and its CRC-32, little-endian, by COBS, ended by a zero.
//!
//! COBS takes every zero out of the bytes, so a zero is an end and nothing else: after garbage, a cut or a reset the next
//! frame is whole again.

use heapless::Vec;

use crate::crc::Crc;

/// The longest message with its CRC, in bytes.
pub const FRAME_BYTES_MAX: usize = 1088;
/// The longest frame on the line: a byte more for every 254, one for the last of them, and the zero.
pub const LINE_BYTES_MAX: usize = FRAME_BYTES_MAX + FRAME_BYTES_MAX / 254 + 2;

const CRC_BYTES: usize = 4;

/// Takes frames out of a stream of bytes, in pieces of any size. What is no frame is dropped and counted.
#[derive(Clone, Debug)]
pub struct Decoder<const BYTES: usize> {
    bytes: Vec<u8, BYTES>,
    state: State,
    dropped: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next byte says how many follow before a zero stood.
    Code { zero_before: bool },
    /// So many bytes follow as they are; then, if `zero`, there stood a zero.
    Plain { left: u8, zero: bool },
    /// Nothing of this frame counts.
    Skip,
    /// The frame was handed out.
    Done,
}

const START: State = State::Code { zero_before: false };

impl<const BYTES: usize> Decoder<BYTES> {
    /// Between two frames.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), state: START, dropped: 0 }
    }

    /// Frames that were too long, cut short, or whose CRC is another: noise, or the rest of a frame before a reset.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes bytes up to the end of a frame, and says how many. With a whole frame, [`Decoder::message`] is there
    /// until the next call.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        if self.state == State::Done {
            self.restart();
        }
        for (index, byte) in bytes.iter().enumerate() {
            if *byte == 0 {
                if self.end() {
                    return index.saturating_add(1);
                }
            } else {
                self.step(*byte);
            }
        }
        bytes.len()
    }

    /// The message of the frame that has just ended.
    pub fn message(&self) -> Option<&[u8]> {
        let (message, _crc) = self.bytes.split_last_chunk::<CRC_BYTES>()?;
        (self.state == State::Done).then_some(message)
    }

    fn step(&mut self, byte: u8) {
        let fits = match self.state {
            State::Code { zero_before } => {
                let left = byte.saturating_sub(1);
                self.state = next(left, byte < u8::MAX);
                !zero_before || self.bytes.push(0).is_ok()
            }
            State::Plain { left, zero } => {
                self.state = next(left.saturating_sub(1), zero);
                self.bytes.push(byte).is_ok()
            }
            State::Skip | State::Done => return,
        };
        if !fits {
            self.state = State::Skip;
        }
    }

    /// A zero came: whether a whole frame stands before it.
    fn end(&mut self) -> bool {
        let between = self.state == START && self.bytes.is_empty();
        let whole = matches!(self.state, State::Code { .. })
            && self
                .bytes
                .split_last_chunk::<CRC_BYTES>()
                .is_some_and(|(message, crc)| u32::from_le_bytes(*crc) == Crc::of(message));
        if whole {
            self.state = State::Done;
            return true;
        }
        if !between {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.restart();
        false
    }

    fn restart(&mut self) {
        self.bytes.clear();
        self.state = START;
    }
}

impl<const BYTES: usize> Default for Decoder<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

fn next(left: u8, zero: bool) -> State {
    if left == 0 { State::Code { zero_before: zero } } else { State::Plain { left, zero } }
}

/// Writes a message as a frame, zero and all. `None`: there is no room.
pub fn encode_frame<'a>(message: &[u8], line: &'a mut [u8]) -> Option<&'a [u8]> {
    let crc = Crc::of(message).to_le_bytes();
    let mut rest = Source { message, crc: &crc };
    let mut written = 0_usize;
    loop {
        // A run of up to 254 bytes without a zero, behind its code.
        let code_at = written;
        let mut code = 1_u8;
        written = written.checked_add(1)?;
        let mut zero = false;
        while code < u8::MAX {
            match rest.next() {
                Some(0) => {
                    zero = true;
                    break;
                }
                Some(byte) => {
                    *line.get_mut(written)? = byte;
                    written = written.checked_add(1)?;
                    code = code.saturating_add(1);
                }
                None => break,
            }
        }
        *line.get_mut(code_at)? = code;
        // After a zero there is always a run, an empty one at the end; after a full run only if bytes are left.
        if !zero && rest.is_empty() {
            break;
        }
    }
    *line.get_mut(written)? = 0;
    line.get(..=written)
}

/// The message, then its CRC.
struct Source<'a> {
    message: &'a [u8],
    crc: &'a [u8],
}

impl Source<'_> {
    fn next(&mut self) -> Option<u8> {
        let from = if self.message.is_empty() { &mut self.crc } else { &mut self.message };
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }

    fn is_empty(&self) -> bool {
        self.message.is_empty() && self.crc.is_empty()
    }
}
