//! An adapter on its way between a vehicle and a server, as the messages it takes.

use shoal_wire::ENVELOPE_OVERHEAD_BYTES;

use crate::traffic::Traffic;

/// Bytes of a chunk that is not coded, at most.
const RAW_CHUNK_BYTES: usize = 64 * 1024;
/// Topics of `shoal/1/sim/road/…`: of a header, and of a chunk.
const HEADER_TOPIC: usize = 45;
const CHUNK_TOPIC: usize = 45;
/// Filters that a vehicle subscribes to: the plan, and what the server publishes.
const FILTERS: [usize; 3] = [40, 43, 43];

/// Payloads: of the signed header, and of each chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    header: usize,
    chunks: Vec<usize>,
}

impl Carried {
    /// A coded adapter: its header's body and its chunks.
    pub(super) fn coded(header: usize, chunks: impl Iterator<Item = usize>) -> Self {
        Carried { header: ENVELOPE_OVERHEAD_BYTES + header, chunks: chunks.collect() }
    }

    /// So many values as they are, of four bytes each.
    pub(super) fn raw(values: usize) -> Self {
        Carried::bytes(values * 4)
    }

    /// So many bytes as they are, in chunks that a header names.
    pub(super) fn bytes(bytes: usize) -> Self {
        let mut chunks = vec![RAW_CHUNK_BYTES; bytes / RAW_CHUNK_BYTES];
        chunks.extend(Some(bytes % RAW_CHUNK_BYTES).filter(|rest| *rest > 0));
        // Name, window and the hash of each chunk.
        Carried { header: ENVELOPE_OVERHEAD_BYTES + 80 + 40 * chunks.len(), chunks }
    }

    /// One signed message with a body of so many bytes.
    pub(super) fn signed(body: usize) -> Self {
        Carried { header: ENVELOPE_OVERHEAD_BYTES + body, chunks: Vec::new() }
    }

    pub(super) fn up(&self, traffic: &mut Traffic) {
        traffic.sends(HEADER_TOPIC, self.header);
        self.chunks.iter().for_each(|chunk| traffic.sends(CHUNK_TOPIC, *chunk));
    }

    pub(super) fn down(&self, traffic: &mut Traffic) {
        traffic.receives(HEADER_TOPIC, self.header);
        self.chunks.iter().for_each(|chunk| traffic.receives(CHUNK_TOPIC, *chunk));
    }
}

/// A vehicle connects to a server.
pub(super) fn connect(traffic: &mut Traffic) {
    traffic.session(&FILTERS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_coded_takes_four_bytes_a_value_and_a_little() {
        let mut traffic = Traffic::default();
        let carried = Carried::raw(50_000);
        assert_eq!(carried.chunks.iter().sum::<usize>(), 200_000);
        carried.up(&mut traffic);
        assert!((200_000..201_000).contains(&traffic.up) && traffic.down < 40, "{traffic:?}");
    }
}
