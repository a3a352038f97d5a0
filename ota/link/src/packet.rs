//! MQTT packets as the session sees them, of either version; `rumqttc` reads and writes their bytes.

mod v311;
mod v5;

use bytes::{Bytes, BytesMut};

use crate::settings::Version;

/// What a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Accepted(Accepted),
    /// The broker does not speak this version of MQTT.
    Unspoken,
    /// CONNACK with another reason than success.
    Refused {
        reason: String,
    },
    Publish {
        topic: String,
        payload: Bytes,
        retained: bool,
        /// The packet to acknowledge; none for quality 0.
        ack: Option<u16>,
    },
    /// An acknowledgement of ours, or why not.
    Published {
        id: u16,
        refused: Option<String>,
    },
    Subscribed {
        id: u16,
        refused: Option<String>,
    },
    Unsubscribed {
        id: u16,
    },
    Pong,
    /// The broker ends the connection.
    Goodbye {
        /// Another client has our name.
        taken_over: bool,
        reason: String,
    },
}

/// What a broker promises when it accepts a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) session_present: bool,
    /// Publications it takes before it has acknowledged the first.
    pub(crate) inflight_max: u16,
    /// The longest packet it takes.
    pub(crate) packet_bytes_max: u32,
    /// Its own keep-alive, if it wants another.
    pub(crate) keep_alive_seconds: Option<u16>,
    /// Whether it retains and acknowledges: what a notice board must do.
    pub(crate) fit: bool,
}

/// What we say.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing<'a> {
    Connect {
        client_id: &'a str,
        keep_alive_seconds: u16,
        /// How long the broker keeps the session after the connection; 0: not at all.
        session_seconds: u32,
        /// Whether a session it kept is thrown away.
        clean: bool,
        packet_bytes_max: u32,
    },
    /// Retained, quality 1.
    Publish {
        id: u16,
        topic: &'a str,
        payload: Bytes,
        expiry_seconds: Option<u32>,
    },
    Ack {
        id: u16,
    },
    Subscribe {
        id: u16,
        filter: &'a str,
        acknowledged: bool,
        /// Whether retained messages come again although the broker knows the subscription.
        again: bool,
    },
    Unsubscribe {
        id: u16,
        filter: &'a str,
    },
    Ping,
    Goodbye {
        /// Whether the broker is to forget the session.
        forget: bool,
    },
}

/// Bytes that are no MQTT, or not for a client; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One whole packet, or the beginning of one that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Whole(BytesMut),
    /// A message longer than allowed; its bytes are passed over.
    Oversized {
        bytes: u64,
        ack: Option<u16>,
    },
}

/// Cuts a stream of bytes into packets. Holds at most one packet and what came with its end.
#[derive(Debug)]
pub(crate) struct Frames {
    input: BytesMut,
    packet_bytes_max: usize,
    /// Bytes to pass over.
    skip: usize,
}

/// Of a packet: one byte of type and flags, then its length.
struct Header {
    first: u8,
    header_bytes: usize,
    packet_bytes: usize,
}

impl Frames {
    pub(crate) fn new(packet_bytes_max: u32) -> Self {
        let packet_bytes_max = usize::try_from(packet_bytes_max).unwrap_or(usize::MAX);
        Self { input: BytesMut::new(), packet_bytes_max, skip: 0 }
    }

    pub(crate) fn push(&mut self, bytes: BytesMut) {
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            self.input.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.input = BytesMut::new();
        self.skip = 0;
    }

    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let skipped = self.skip.min(self.input.len());
        let _passed_over = self.input.split_to(skipped);
        self.skip -= skipped;
        let Some(header) = header(&self.input)? else { return Ok(None) };
        let Header { first, header_bytes, packet_bytes } = header;
        if packet_bytes > self.packet_bytes_max {
            return self.oversized(first, header_bytes, packet_bytes);
        }
        if self.input.len() < packet_bytes {
            self.input.reserve(packet_bytes - self.input.len());
            return Ok(None);
        }
        Ok(Some(Frame::Whole(self.input.split_to(packet_bytes))))
    }

    /// Of a message that is too long, what must be known to acknowledge it: else it comes for ever.
    fn oversized(
        &mut self,
        first: u8,
        header_bytes: usize,
        packet_bytes: usize,
    ) -> Result<Option<Frame>, Malformed> {
        const PUBLISH: u8 = 3;
        if first >> 4 != PUBLISH {
            return Err(Malformed);
        }
        let ack = if (first >> 1) & 3 == 0 {
            None
        } else {
            let after = self.input.get(header_bytes..).unwrap_or_default();
            let Some(topic_bytes) = number(after, 0) else { return Ok(None) };
            let Some(id) = number(after, 2 + usize::from(topic_bytes)) else { return Ok(None) };
            Some(id)
        };
        self.skip = packet_bytes;
        Ok(Some(Frame::Oversized { bytes: packet_bytes as u64, ack }))
    }
}

/// Two bytes, the most significant first.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn header(input: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((first, rest)) = input.split_first() else { return Ok(None) };
    let mut length = 0_usize;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let header_bytes = 2 + index;
            let packet_bytes = header_bytes + length;
            return Ok(Some(Header { first: *first, header_bytes, packet_bytes }));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(Malformed) }
}

/// Types of packet that a broker sends to one who subscribes and publishes with quality 1 at most.
const FROM_BROKER: [u8; 7] = [2, 3, 4, 9, 11, 13, 14];

/// Reads one whole packet.
pub(crate) fn decode(version: Version, frame: BytesMut) -> Result<Incoming, Malformed> {
    if !frame.first().is_some_and(|first| FROM_BROKER.contains(&(first >> 4))) {
        return Err(Malformed);
    }
    match version {
        Version::V5 => v5::decode(frame),
        Version::V311 => v311::decode(frame),
    }
}

/// Adds a packet to `out` if it is no longer than `bytes_max`; its bytes either way.
pub(crate) fn encode(
    version: Version,
    packet: Outgoing<'_>,
    bytes_max: usize,
    out: &mut BytesMut,
) -> Written {
    match version {
        Version::V5 => v5::encode(packet, bytes_max, out),
        Version::V311 => v311::encode(packet, bytes_max, out),
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It lies in the output.
    Yes,
    /// It has this many bytes, too many; nothing was written.
    TooLong { bytes: usize },
}

/// Why something was not said.
pub(crate) enum NoRoom {
    Budget,
    /// The broker takes no packet that long.
    Broker {
        bytes: usize,
        max: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(pieces: &[&[u8]]) -> (Vec<Frame>, Frames) {
        let mut frames = Frames::new(100);
        let mut found = Vec::new();
        for piece in pieces {
            frames.push(BytesMut::from(*piece));
            while let Some(frame) = frames.next().unwrap() {
                found.push(frame);
            }
        }
        (found, frames)
    }

    #[test]
    fn a_stream_is_cut_into_packets_wherever_it_breaks() {
        let stream = [0xd0, 0, 0x40, 2, 0, 7, 0xd0, 0];
        for at in 0..stream.len() {
            let (found, _rest) = frames(&[&stream[..at], &stream[at..]]);
            let whole = |bytes: &[u8]| Frame::Whole(BytesMut::from(bytes));
            assert_eq!(found, [whole(&[0xd0, 0]), whole(&[0x40, 2, 0, 7]), whole(&[0xd0, 0])]);
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_passed_over_and_acknowledged() {
        // Quality 1, topic "ab", packet 0x0102.
        let mut stream = vec![0x32, 0xc8, 1, 0, 2, b'a', b'b', 1, 2];
        stream.resize(3 + 200, 0);
        stream.extend([0xd0, 0]);
        for at in 0..stream.len() {
            let (found, rest) = frames(&[&stream[..at], &stream[at..]]);
            let oversized = Frame::Oversized { bytes: 203, ack: Some(0x0102) };
            assert_eq!(found, [oversized, Frame::Whole(BytesMut::from(&[0xd0, 0][..]))]);
            assert!(rest.input.is_empty());
        }
    }

    #[test]
    fn what_is_passed_over_is_not_held() {
        let mut frames = Frames::new(100);
        frames.push(BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..]));
        let endless = Frame::Oversized { bytes: 5 + 0x0fff_ffff, ack: None };
        assert_eq!(frames.next(), Ok(Some(endless)));
        for _ in 0..100 {
            frames.push(BytesMut::zeroed(10_000));
            assert_eq!(frames.next(), Ok(None));
            assert!(frames.input.is_empty());
        }
    }

    #[test]
    fn a_length_without_end_and_a_long_packet_that_is_no_message_are_malformed() {
        for bytes in [&[0x30, 0xff, 0xff, 0xff, 0xff][..], &[0x90, 0xff, 0x7f]] {
            let mut frames = Frames::new(100);
            frames.push(BytesMut::from(bytes));
            assert_eq!(frames.next(), Err(Malformed));
        }
    }
}
