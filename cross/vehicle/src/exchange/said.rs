//! What this vehicle signed, to know what stands on the broker in its name and is another's.

use std::collections::VecDeque;

use shoal_wire::RecordId;

/// Records of this life whose names are kept, the newest.
const KEPT: usize = 256;

/// Counters and names of the vehicle's own records.
#[derive(Debug)]
pub(super) struct Said {
    /// Counters from this one on are of this life.
    begin: u64,
    /// The highest counter that is known, signed or seen.
    highest: u64,
    /// What was signed last, in the order of counters.
    newest: VecDeque<(u64, RecordId)>,
}

impl Said {
    /// A life that signs with counters from this one on.
    pub(super) const fn begin(counter: u64) -> Self {
        Self { begin: counter, highest: counter.saturating_sub(1), newest: VecDeque::new() }
    }

    /// What is signed next has a counter above this one.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// The vehicle signed this.
    pub(super) fn sign(&mut self, counter: u64, record: RecordId) {
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back((counter, record));
        self.highest = self.highest.max(counter);
    }

    /// A record of the vehicle's key stands on the broker. Whether it is known to be another's: its counter is of this life, and
    /// this life did not sign it. Of what is older than is kept, nothing is known.
    pub(super) fn is_foreign(&mut self, counter: u64, record: RecordId) -> bool {
        self.highest = self.highest.max(counter);
        let known_from = match self.newest.front() {
            Some((first, _record)) if self.newest.len() == KEPT => *first,
            Some(_) | None => self.begin,
        };
        counter >= known_from && !self.newest.contains(&(counter, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> RecordId {
        RecordId::new([byte; 32])
    }

    #[test]
    fn what_another_signed_with_the_same_key_is_known() {
        let mut said = Said::begin(100);
        assert!(!said.is_foreign(99, id(9)), "of a life before");
        said.sign(100, id(1));
        said.sign(101, id(2));
        assert!(!said.is_foreign(101, id(2)));
        // A copy of the key counts further, or counts the same with other words.
        assert!(said.is_foreign(101, id(3)) && said.is_foreign(5_000, id(4)));
        assert_eq!(said.highest(), 5_000, "what is signed next counts above it");
        said.sign(5_001, id(5));
        assert!(!said.is_foreign(5_001, id(5)) && said.is_foreign(5_000, id(4)));
    }

    #[test]
    fn of_what_is_too_old_to_be_kept_nothing_is_said() {
        let mut said = Said::begin(1);
        (1..=KEPT as u64 + 10).for_each(|counter| said.sign(counter, id(counter as u8)));
        assert!(!said.is_foreign(10, id(200)));
        assert!(said.is_foreign(11, id(200)) && !said.is_foreign(11, id(11)));
    }
}
