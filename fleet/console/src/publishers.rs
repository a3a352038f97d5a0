//! Who published what was refused: a refusal names a record by its hash and not its publisher.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};
use shoal_wire::{KeyId, RecordId};

/// Records that are remembered; the oldest goes first.
const KEPT: usize = 10_000;

/// At whose topics the latest records stood, whether anybody believes them or not.
#[derive(Debug, Default)]
pub(crate) struct Publishers {
    of: BTreeMap<RecordId, KeyId>,
    in_order: VecDeque<RecordId>,
}

impl Publishers {
    /// These bytes stood at a topic of this publisher.
    pub(crate) fn stood(&mut self, publisher: KeyId, bytes: &[u8]) {
        let id = RecordId::new(Sha256::digest(bytes).into());
        if self.of.insert(id, publisher).is_none() {
            self.in_order.push_back(id);
        }
        while self.in_order.len() > KEPT {
            if let Some(oldest) = self.in_order.pop_front() {
                self.of.remove(&oldest);
            }
        }
    }

    /// The publisher of a record, if it is known.
    pub(crate) fn of(&self, record: RecordId) -> Option<KeyId> {
        self.of.get(&record).copied()
    }
}
