//! Bytes at a vehicle's socket: every MQTT 5 packet with its headers and acknowledgements, as the vehicle's own counter has
//! them; what TCP and TLS add is not in it.

use crate::record::UpDown;

/// Packet identifier, and a property length of zero.
const PUBLISH_FIXED: usize = 2 + 1;
/// PUBACK without a reason.
const PUBACK: u64 = 4;
/// CONNECT: protocol name and level, flags, keep-alive, four properties, a client identifier of 16 characters.
const CONNECT: u64 = 2 + 6 + 1 + 1 + 2 + 16 + 18;
/// CONNACK with what brokers usually say of themselves.
const CONNACK: u64 = 2 + 2 + 20;
const DISCONNECT: u64 = 2;

/// What crossed one vehicle's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub up: u64,
    /// Received.
    pub down: u64,
}

impl Traffic {
    /// A session: connected, subscribed to filters of these lengths (one packet each), and said goodbye.
    pub fn session(&mut self, filters: &[usize]) {
        self.up += CONNECT + DISCONNECT;
        self.down += CONNACK;
        for filter in filters {
            self.up += packet(2 + 1 + 2 + filter + 1);
            // SUBACK: identifier, no properties, one reason.
            self.down += packet(2 + 1 + 1);
        }
    }

    /// A message sent with QoS 1: topic and payload of these lengths.
    pub fn sends(&mut self, topic: usize, payload: usize) {
        self.up += publish(topic, payload);
        self.down += PUBACK;
    }

    /// A message received with QoS 1.
    pub fn receives(&mut self, topic: usize, payload: usize) {
        self.down += publish(topic, payload);
        self.up += PUBACK;
    }
}

/// The mean over vehicles.
#[must_use]
pub fn mean(traffic: &[Traffic]) -> UpDown {
    let of = |bytes: fn(&Traffic) -> u64| {
        traffic.iter().map(bytes).sum::<u64>() as f64 / traffic.len().max(1) as f64
    };
    UpDown { up: of(|traffic| traffic.up), down: of(|traffic| traffic.down) }
}

fn publish(topic: usize, payload: usize) -> u64 {
    packet(2 + topic + PUBLISH_FIXED + payload)
}

/// A packet with so many bytes after its fixed header.
fn packet(remaining: usize) -> u64 {
    let length = match remaining {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    (1 + length + remaining) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_with_its_headers_and_its_acknowledgement() {
        let mut traffic = Traffic::default();
        // 1 + 1 + 2 + 5 + 3 + 10.
        traffic.sends(5, 10);
        assert_eq!(traffic, Traffic { up: 22, down: 4 });
        // The length needs two bytes from 128 on.
        traffic.receives(5, 118);
        assert_eq!(traffic, Traffic { up: 26, down: 4 + 1 + 2 + 128 });
    }
}
