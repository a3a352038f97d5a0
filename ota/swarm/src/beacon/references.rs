//! What votes are measured beside: claim and header of what was elected long ago. Who begins to listen now must learn whose it is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use shoal_wire::{BEACON_WINDOWS, KeyId, ParticleId};

/// So many particles are remembered, at most.
const PAIRS_MAX: usize = 4096;
/// What stands on the board is passed on again after so many windows, long before its place is another window's.
const AGAIN_WINDOWS: u32 = BEACON_WINDOWS as u32 / 2;

/// Claims with their headers, of what votes may be measured beside.
#[derive(Debug, Default)]
pub(super) struct References {
    pairs: BTreeMap<ParticleId, Pair>,
    /// What a majority measured beside and nobody has passed on; the last window in which they did.
    sought: BTreeMap<ParticleId, (u32, BTreeMap<KeyId, Halves>)>,
}

/// A claim with its header.
#[derive(Debug)]
struct Pair {
    /// The window of its topic: the claim's, or the last in which it was passed on again.
    stands: u32,
    /// As it is passed on.
    message: Vec<u8>,
}

/// What has come of a pair, each with its slot.
#[derive(Debug, Default)]
struct Halves {
    claim: Option<(u8, Vec<u8>)>,
    header: Option<(u8, Vec<u8>)>,
}

/// One half of a pair.
#[derive(Clone, Copy, Debug)]
pub(super) enum Half {
    Claim,
    Header,
}

/// What is to be done about what a majority measured beside.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Named {
    /// It stands on the board, or nobody knows where it is.
    Enough,
    /// It is passed on again.
    PassOn(Vec<u8>),
    /// All that stands on the board is asked for again: it may be there.
    Seek,
}

impl References {
    /// Remembers a claim with its header, which stands, or stood, at a topic of this window.
    pub(super) fn learn(&mut self, particle: ParticleId, window: u32, message: &[u8]) {
        let sought = self.sought.remove(&particle).is_some();
        if let Some(pair) = self.pairs.get_mut(&particle) {
            pair.stands = pair.stands.max(window);
        } else if sought || self.pairs.len() < PAIRS_MAX {
            self.pairs.insert(particle, Pair { stands: window, message: message.to_vec() });
        }
    }

    /// A majority of the votes of this window are measured beside this particle.
    pub(super) fn named(&mut self, window: u32, particle: ParticleId) -> Named {
        let Some(pair) = self.pairs.get_mut(&particle) else {
            let before = self.sought.get_mut(&particle).map(|(of, _halves)| *of = window);
            if before.is_some() {
                return Named::Enough;
            }
            self.sought.insert(particle, (window, BTreeMap::new()));
            return Named::Seek;
        };
        if window < pair.stands.saturating_add(AGAIN_WINDOWS) {
            return Named::Enough;
        }
        pair.stands = window;
        Named::PassOn(pair.message.clone())
    }

    pub(super) fn is_sought(&self, particle: ParticleId) -> bool {
        self.sought.contains_key(&particle)
    }

    pub(super) fn seeks(&self) -> bool {
        !self.sought.is_empty()
    }

    /// Half of what may be sought stands in this slot of a vehicle. True: both halves have come.
    pub(super) fn found(
        &mut self,
        (particle, signer): (ParticleId, KeyId),
        (half, slot): (Half, u8),
        bytes: &[u8],
    ) -> bool {
        let Some((_window, halves)) = self.sought.get_mut(&particle) else { return false };
        let halves = halves.entry(signer).or_default();
        let place = match half {
            Half::Claim => &mut halves.claim,
            Half::Header => &mut halves.header,
        };
        *place = Some((slot, bytes.to_vec()));
        let (Some((of, claim)), Some((slot, header))) = (&halves.claim, &halves.header) else {
            return false;
        };
        if of != slot {
            return false;
        }
        let message = [claim.as_slice(), header].concat();
        // It stands on no beacon's topic.
        self.learn(particle, 0, &message);
        true
    }

    /// What was passed on, and named, up to this window is settled.
    pub(super) fn settle(&mut self, old: u32) {
        let kept = old.saturating_sub(AGAIN_WINDOWS);
        self.pairs.retain(|_particle, pair| pair.stands >= kept);
        self.sought.retain(|_particle, (window, _halves)| *window >= old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_beside_is_passed_on_for_as_long_as_it_is() {
        let (particle, mut references) = (ParticleId::new([1; 32]), References::default());
        references.learn(particle, 3, b"pair");
        let mut passed_on = Vec::new();
        for window in 4..60 {
            references.settle(window.max(4) - 4);
            match references.named(window, particle) {
                Named::PassOn(message) => {
                    assert_eq!(message, b"pair");
                    passed_on.push(window);
                }
                named @ (Named::Enough | Named::Seek) => {
                    assert_eq!(named, Named::Enough, "{window}")
                }
            }
        }
        assert_eq!(passed_on, (7..60).step_by(4).collect::<Vec<u32>>());
        // Nobody measures beside it any more.
        references.settle(80);
        assert_eq!(references.named(81, particle), Named::Seek);
    }

    #[test]
    fn what_nobody_passed_on_is_sought_once_and_found_at_its_publishers() {
        let (particle, key) = (ParticleId::new([1; 32]), KeyId::new([2; 8]));
        let mut references = References::default();
        let of = (particle, key);
        assert!(!references.found(of, (Half::Claim, 2), b"not sought"));
        assert_eq!(references.named(30, particle), Named::Seek);
        for window in 31..50 {
            references.settle(window - 4);
            assert_eq!(references.named(window, particle), Named::Enough, "it is asked for once");
        }
        assert!(!references.found(of, (Half::Claim, 2), b"claim"));
        assert!(!references.found(of, (Half::Header, 1), b"header of another slot"));
        assert!(!references.found((particle, KeyId::new([3; 8])), (Half::Header, 2), b"his"));
        assert!(references.found(of, (Half::Header, 2), b"header"));
        assert_eq!(references.named(50, particle), Named::PassOn(b"claimheader".to_vec()));
        assert!(!references.seeks());
    }
}
