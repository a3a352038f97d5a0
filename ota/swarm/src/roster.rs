//! Who is of the fleet, and whom a nonce draws of them. Numbers of vehicles are those of the signed roster.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use shoal_wire::v1::PARTS;
use shoal_wire::{KeyId, ParticleId};

/// The most voters on one nominee.
pub const VOTERS_MAX: usize = 9;
/// Of so many claims of a window, at most, the usual standard error is that of all.
pub const ERRORS_DRAWN: usize = 31;

/// The vehicles, by number and by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    ids: Vec<KeyId>,
    by_id: Vec<(KeyId, u32)>,
}

/// Why there is no roster of these vehicles.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRoster {
    /// One would sign for the other.
    #[error("two vehicles have one id, {id}")]
    SameId { id: KeyId },
}

impl Roster {
    /// The vehicles in order of number, from 0.
    ///
    /// # Errors
    /// [`RejectRoster`]: two with one id.
    pub fn new(ids: Vec<KeyId>) -> Result<Self, RejectRoster> {
        let mut by_id: Vec<(KeyId, u32)> = ids.iter().copied().zip(0..).collect();
        by_id.sort_unstable();
        for (first, second) in by_id.iter().zip(by_id.iter().skip(1)) {
            if first.0 == second.0 {
                return Err(RejectRoster::SameId { id: first.0 });
            }
        }
        Ok(Self { ids, by_id })
    }

    /// The number of the vehicle with this id.
    pub fn number(&self, id: KeyId) -> Option<u32> {
        let place = self.by_id.binary_search_by_key(&id, |(id, _number)| *id).ok()?;
        self.by_id.get(place).map(|(_id, number)| *number)
    }

    /// The vehicle with this number.
    pub fn id(&self, number: u32) -> Option<KeyId> {
        self.ids.get(usize::try_from(number).ok()?).copied()
    }

    /// How many vehicles there are.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// k: how many vote on one nominee. One vehicle alone has no voters, so nothing becomes best; of two, the
    /// other one votes.
    pub fn voters_count(&self) -> usize {
        self.ids.len().saturating_sub(1).min(VOTERS_MAX)
    }

    /// Whom this nonce asks for a contribution: the `count` lowest SHA-256(nonce (32 bytes) ‖ `ask` ‖ number u32).
    /// Numbers little-endian, hashes compared as big-endian numbers.
    pub fn asked(&self, nonce: &[u8; 32], count: usize) -> BTreeSet<KeyId> {
        self.lowest(count, None, |number| hash(&[nonce, b"ask", &number.to_le_bytes()]))
    }

    /// Who of these vehicles folds, if so many do: those of the lowest SHA-256(nonce (32 bytes) ‖ `fold` ‖ number u32), the
    /// lowest first. Who is not of the fleet does not.
    pub fn folders(&self, nonce: &[u8; 32], of: &BTreeSet<KeyId>, count: usize) -> Vec<KeyId> {
        let numbered = of.iter().filter_map(|id| Some((self.number(*id)?, *id)));
        let mut drawn: Vec<([u8; 32], KeyId)> = numbered
            .map(|(number, id)| (hash(&[nonce, b"fold", &number.to_le_bytes()]), id))
            .collect();
        drawn.sort_unstable();
        drawn.into_iter().take(count).map(|(_hash, id)| id).collect()
    }

    /// Who may vote on this nominee of a vehicle: of all others, the k lowest
    /// SHA-256(nonce ‖ particle ‖ number u32).
    pub fn voters(
        &self,
        nonce: &[u8; 32],
        nominee: ParticleId,
        claimant: KeyId,
    ) -> BTreeSet<KeyId> {
        let particle = nominee.bytes().as_slice();
        self.lowest(self.voters_count(), Some(claimant), |number| {
            hash(&[nonce, particle, &number.to_le_bytes()])
        })
    }

    /// Whose claims say what standard error is usual: of these vehicles the lowest SHA-256(nonce (32 bytes) ‖ `error` ‖ number
    /// u32), [`ERRORS_DRAWN`] of them: no claim foresees the draw. Who is not of the fleet is none of them.
    pub fn errors(&self, nonce: &[u8; 32], of: impl IntoIterator<Item = KeyId>) -> BTreeSet<KeyId> {
        let mut lowest = BTreeSet::new();
        for (number, id) in of.into_iter().filter_map(|id| Some((self.number(id)?, id))) {
            lowest.insert((hash(&[nonce, b"error", &number.to_le_bytes()]), id));
            if lowest.len() > ERRORS_DRAWN {
                lowest.pop_last();
            }
        }
        lowest.into_iter().map(|(_hash, id)| id).collect()
    }

    fn lowest(
        &self,
        count: usize,
        without: Option<KeyId>,
        hash: impl Fn(u32) -> [u8; 32],
    ) -> BTreeSet<KeyId> {
        let mut lowest = BTreeSet::new();
        for (id, number) in self.ids.iter().copied().zip(0..) {
            if without == Some(id) {
                continue;
            }
            lowest.insert((hash(number), id));
            if lowest.len() > count {
                lowest.pop_last();
            }
        }
        lowest.into_iter().map(|(_hash, id)| id).collect()
    }
}

/// How many votes elect: more than half of those who may vote, and one at least.
pub const fn majority(voters: usize) -> usize {
    (voters / 2).saturating_add(1)
}

/// The part of a pack that this nonce says to measure on: SHA-256(nonce), as a big-endian number, mod 4.
pub fn part(nonce: &[u8; 32]) -> u8 {
    let [.., last] = hash(&[nonce]);
    last.checked_rem(PARTS).unwrap_or(0)
}

/// The part so many after this one, around the pack.
pub const fn part_after(part: u8, count: u8) -> u8 {
    part.wrapping_add(count) % PARTS
}

/// By which lot the last nominee is drawn: the lowest SHA-256(nonce (32 bytes) ‖ particle (32 bytes)).
pub fn lot(nonce: &[u8; 32], particle: ParticleId) -> [u8; 32] {
    hash(&[nonce, particle.bytes()])
}

fn hash(fields: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    fields.iter().for_each(|field| hasher.update(field));
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn fleet(count: u8) -> Roster {
        Roster::new((0..count).map(|number| KeyId::new([number; 8])).collect()).unwrap()
    }

    #[test]
    fn numbers_and_ids_are_each_others() {
        let ids = [7, 3, 9].map(|byte| KeyId::new([byte; 8])).to_vec();
        let roster = Roster::new(ids.clone()).unwrap();
        for (number, id) in (0..).zip(&ids) {
            assert_eq!((roster.number(*id), roster.id(number)), (Some(number), Some(*id)));
        }
        assert_eq!(roster.number(KeyId::new([1; 8])), None);
        let twice = vec![KeyId::new([7; 8]), KeyId::new([7; 8])];
        assert_eq!(Roster::new(twice), Err(RejectRoster::SameId { id: KeyId::new([7; 8]) }));
    }

    /// k = min(9, N − 1), and more than half of them elect.
    #[test]
    fn all_others_vote_in_a_small_fleet_and_nine_in_a_large_one() {
        let particle = ParticleId::new([5; 32]);
        for (count, voters, elect) in [(1, 0, 1), (2, 1, 1), (4, 3, 2), (10, 9, 5), (200, 9, 5)] {
            let roster = fleet(count);
            let claimant = KeyId::new([0; 8]);
            let drawn = roster.voters(&[1; 32], particle, claimant);
            assert_eq!((drawn.len(), majority(drawn.len())), (voters, elect), "of {count}");
            assert!(!drawn.contains(&claimant));
        }
    }

    #[test]
    fn each_nonce_and_each_nominee_has_voters_of_its_own() {
        let roster = fleet(100);
        let claimant = KeyId::new([0; 8]);
        let voters = |nonce, particle| {
            roster.voters(&[nonce; 32], ParticleId::new([particle; 32]), claimant)
        };
        assert_eq!(voters(1, 2), voters(1, 2));
        assert_ne!(voters(1, 2), voters(2, 2));
        assert_ne!(voters(1, 2), voters(1, 3));
    }

    #[test]
    fn a_nonce_asks_as_many_as_the_document_says() {
        let roster = fleet(40);
        assert_eq!(roster.asked(&[3; 32], 16).len(), 16);
        assert_eq!(roster.asked(&[3; 32], 100).len(), 40);
        assert_ne!(roster.asked(&[3; 32], 16), roster.asked(&[4; 32], 16));
    }

    /// Every vehicle is drawn about as often.
    #[test]
    fn draws_are_fair() {
        let roster = fleet(20);
        let mut count: vec::Vec<u32> = vec![0; 20];
        for nonce in 0..200 {
            let drawn = roster.asked(&[nonce; 32], 5);
            for (number, count) in (0..).zip(&mut count) {
                *count = count
                    .saturating_add(roster.id(number).is_some_and(|id| drawn.contains(&id)).into());
            }
        }
        assert!(count.iter().all(|count| (30..72).contains(count)), "{count:?}");
    }

    /// Golden: computed by another implementation.
    #[test]
    fn hashes_are_those_of_the_text() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(|byte| part(&[byte; 32])), [1, 3, 2, 3, 1, 0]);
        let drawn = fleet(12).voters(&[1; 32], ParticleId::new([2; 32]), KeyId::new([4; 8]));
        let voters = [0, 2, 5, 6, 7, 8, 9, 10, 11].map(|byte| KeyId::new([byte; 8]));
        assert_eq!(drawn, voters.into());
        let all = (0..12).map(|byte| KeyId::new([byte; 8])).collect();
        let folders = fleet(12).folders(&[1; 32], &all, 3);
        assert_eq!(folders, [6, 2, 11].map(|byte| KeyId::new([byte; 8])));
        let asked = fleet(12).asked(&[1; 32], 3);
        assert_eq!(asked, [1, 5, 9].map(|byte| KeyId::new([byte; 8])).into());
        assert_eq!(lot(&[1; 32], ParticleId::new([2; 32])).first(), Some(&248));
    }
}
