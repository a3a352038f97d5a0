//! Who is of the fleet, and whom a nonce draws of them. Numbers of vehicles are those of the signed roster.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use shoal_wire::v1::{FORMER, Growth, PARTS, VACANT};
use shoal_wire::{KeyId, ParticleId};

/// The most voters on one nominee.
pub const VOTERS_MAX: usize = 9;
/// Of so many claims of a window, at most, the usual standard error is that of all.
pub const ERRORS_DRAWN: usize = 31;

/// The vehicles, by number and by id, and the keys they had before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// As they are signed: id and region.
    rows: Vec<(KeyId, u16)>,
    /// Rows that are places of vehicles.
    places: u32,
    /// Places that are somebody's.
    count: usize,
    by_id: Vec<(KeyId, u32)>,
    /// By number.
    former: Vec<(u32, KeyId)>,
    /// What it grew by, in order, with how many of the places before were somebody's.
    grown: Vec<(Growth, usize)>,
}

/// The vehicles that are of the fleet in one window, by number.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    roster: &'a Roster,
    places: u32,
    count: usize,
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
        Self::of_rows(ids.into_iter().map(|id| (id, 0)).collect())
    }

    /// The rows of a signed roster: id and region. A former key of nobody's place is nobody's.
    ///
    /// # Errors
    /// [`RejectRoster`]: two with one id.
    pub fn of_rows(rows: Vec<(KeyId, u16)>) -> Result<Self, RejectRoster> {
        let places = rows.iter().position(|(_id, region)| *region == FORMER).unwrap_or(rows.len());
        let (vehicles, rest) = rows.split_at_checked(places).unwrap_or((&rows, &[]));
        let is_somebodys = |number: u32| {
            let row = usize::try_from(number).ok().and_then(|number| vehicles.get(number));
            row.is_some_and(|(_id, region)| *region != VACANT)
        };
        let present = vehicles.iter().zip(0..).filter(|(_row, number)| is_somebodys(*number));
        let mut by_id: Vec<(KeyId, u32)> = present.map(|((id, _), number)| (*id, number)).collect();
        let count = by_id.len();
        let (mut former, mut above) = (Vec::new(), 0_u32);
        for (id, low) in rest.iter().skip(1) {
            if *low == FORMER {
                above = above.saturating_add(u32::from(FORMER));
            } else if is_somebodys(above.saturating_add(u32::from(*low))) {
                former.push((above.saturating_add(u32::from(*low)), *id));
            }
        }
        by_id.extend(former.iter().map(|(number, id)| (*id, *number)));
        by_id.sort_unstable();
        former.sort_unstable();
        for (first, second) in by_id.iter().zip(by_id.iter().skip(1)) {
            if first.0 == second.0 {
                return Err(RejectRoster::SameId { id: first.0 });
            }
        }
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        Ok(Self { rows, places, count, by_id, former, grown: Vec::new() })
    }

    /// The same, where vehicles were added: in order, as a head names them.
    #[must_use]
    pub fn grown(mut self, growths: impl IntoIterator<Item = Growth>) -> Self {
        let count = |growth: &Growth| {
            let places = usize::try_from(growth.places).unwrap_or(usize::MAX);
            let rows = self.rows.iter().take(places.min(self.places()));
            rows.filter(|(_id, region)| *region != VACANT).count()
        };
        self.grown = growths.into_iter().map(|growth| (growth, count(&growth))).collect();
        self
    }

    /// What it grew by.
    pub fn growths(&self) -> impl Iterator<Item = Growth> + '_ {
        self.grown.iter().map(|(growth, _count)| *growth)
    }

    /// Who is of the fleet in this window: whoever was added later is not.
    pub fn at(&self, window: u32) -> Present<'_> {
        let grown = self.grown.iter().find(|(growth, _count)| window < growth.window);
        let (places, count) = grown.map_or((self.places, self.count), |(growth, count)| {
            (growth.places.min(self.places), *count)
        });
        Present { roster: self, places, count }
    }

    /// The rows, as [`Roster::of_rows`] takes them.
    pub fn rows(&self) -> &[(KeyId, u16)] {
        &self.rows
    }

    /// The number of the vehicle with this id, or that had it before.
    pub fn number(&self, id: KeyId) -> Option<u32> {
        let place = self.by_id.binary_search_by_key(&id, |(id, _number)| *id).ok()?;
        self.by_id.get(place).map(|(_id, number)| *number)
    }

    /// The vehicle with this number.
    pub fn id(&self, number: u32) -> Option<KeyId> {
        let row = self.rows.get(usize::try_from(number).ok()?);
        let (id, region) = row.filter(|_row| number < self.places)?;
        (*region != VACANT).then_some(*id)
    }

    /// The vehicles, by number.
    pub fn vehicles(&self) -> impl Iterator<Item = (u32, KeyId)> + '_ {
        (0..self.places).filter_map(|number| Some((number, self.id(number)?)))
    }

    /// The vehicles of a region.
    pub fn of_region(&self, region: u16) -> impl Iterator<Item = KeyId> + '_ {
        let places = usize::try_from(self.places).unwrap_or(usize::MAX);
        let rows = self.rows.iter().take(places);
        rows.filter(move |(_id, of)| *of == region && *of != VACANT).map(|(id, _of)| *id)
    }

    /// The region of a vehicle.
    pub fn region(&self, id: KeyId) -> Option<u16> {
        let number = usize::try_from(self.number(id)?).ok()?;
        self.rows.get(number).map(|(_id, region)| *region)
    }

    /// The id that the vehicle has which has this one, or had it.
    pub fn present(&self, id: KeyId) -> Option<KeyId> {
        self.id(self.number(id)?)
    }

    /// The other ids of the same vehicle: what it is and was called beside this.
    pub fn others(&self, id: KeyId) -> impl Iterator<Item = KeyId> + '_ {
        // Nearly always there are none.
        let number = if self.former.is_empty() { None } else { self.number(id) };
        let from = number.map_or(self.former.len(), |number| {
            self.former.partition_point(|(of, _id)| *of < number)
        });
        let former = self.former.iter().skip(from);
        let former = former.take_while(move |(of, _id)| Some(*of) == number).map(|(_of, id)| *id);
        let all = number.and_then(|number| self.id(number)).into_iter().chain(former);
        all.filter(move |other| *other != id)
    }

    /// How many vehicles there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many numbers there are, those of nobody with them.
    pub fn places(&self) -> usize {
        usize::try_from(self.places).unwrap_or(usize::MAX)
    }

    /// Who of these vehicles folds, if so many do: those of the lowest SHA-256(nonce (32 bytes) ‖ `fold` ‖ number u32), the
    /// lowest first. Who is not of the fleet does not.
    pub fn folders(&self, nonce: &[u8; 32], of: &BTreeSet<KeyId>, count: usize) -> Vec<KeyId> {
        let mut drawn: Vec<([u8; 32], KeyId)> =
            of.iter().filter_map(|id| Some((self.fold_lot(nonce, *id)?, *id))).collect();
        drawn.sort_unstable();
        drawn.into_iter().take(count).map(|(_hash, id)| id).collect()
    }

    /// By which those who fold are drawn: the lowest is first. `None`: it is not of the fleet.
    pub(crate) fn fold_lot(&self, nonce: &[u8; 32], id: KeyId) -> Option<[u8; 32]> {
        let number = self.number(id)?;
        Some(hash(&[nonce, b"fold", &number.to_le_bytes()]))
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
}

impl Present<'_> {
    /// Whether the vehicle that has this id, or had it, is one of them.
    pub fn has(&self, id: KeyId) -> bool {
        self.roster.number(id).is_some_and(|number| number < self.places)
    }

    /// How many numbers there are, those of nobody with them.
    pub fn places(&self) -> usize {
        usize::try_from(self.places).unwrap_or(usize::MAX)
    }

    /// k: how many vote on one nominee. One vehicle alone has no voters, so nothing becomes best; of two, the
    /// other one votes.
    pub fn voters_count(&self) -> usize {
        self.count.saturating_sub(1).min(VOTERS_MAX)
    }

    /// Whom this nonce asks for a contribution: the `count` lowest SHA-256(nonce (32 bytes) ‖ `ask` ‖ number u32).
    /// Numbers little-endian, hashes compared as big-endian numbers. Who stands `aside` is not asked.
    pub fn asked(
        &self,
        nonce: &[u8; 32],
        count: usize,
        aside: &BTreeSet<KeyId>,
    ) -> BTreeSet<KeyId> {
        let lot =
            |number: u32, id| (aside.contains(&id), hash(&[nonce, b"ask", &number.to_le_bytes()]));
        let mut asked = self.lowest(count, None, lot);
        asked.retain(|id| !aside.contains(id));
        asked
    }

    /// Who may vote on this nominee of a vehicle: of all others, the k lowest
    /// SHA-256(nonce ‖ particle ‖ number u32). Who stands `aside` is drawn where there are not enough others.
    pub fn voters(
        &self,
        nonce: &[u8; 32],
        nominee: ParticleId,
        claimant: KeyId,
        aside: &BTreeSet<KeyId>,
    ) -> BTreeSet<KeyId> {
        let particle = nominee.bytes().as_slice();
        let claimant = self.roster.present(claimant).unwrap_or(claimant);
        self.lowest(self.voters_count(), Some(claimant), |number, id| {
            (aside.contains(&id), hash(&[nonce, particle, &number.to_le_bytes()]))
        })
    }

    fn lowest<T: Ord>(
        &self,
        count: usize,
        without: Option<KeyId>,
        lot: impl Fn(u32, KeyId) -> T,
    ) -> BTreeSet<KeyId> {
        let mut lowest = BTreeSet::new();
        let present = self.roster.vehicles().take_while(|(number, _id)| *number < self.places);
        for (number, id) in present {
            if without == Some(id) {
                continue;
            }
            lowest.insert((lot(number, id), id));
            if lowest.len() > count {
                lowest.pop_last();
            }
        }
        lowest.into_iter().map(|(_lot, id)| id).collect()
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

    const NOBODY: BTreeSet<KeyId> = BTreeSet::new();

    fn fleet(count: u8) -> Roster {
        Roster::new((0..count).map(|number| KeyId::new([number; 8])).collect()).unwrap()
    }

    /// Vehicle 1 is called 5 where it was called 3 and 4; nobody has place 2.
    fn changed() -> Roster {
        let rows = [(0, 0), (5, 0), (9, VACANT), (6, 0), (8, FORMER), (3, 1), (4, 1), (7, 2)];
        Roster::of_rows(rows.map(|(id, region)| (KeyId::new([id; 8]), region)).to_vec()).unwrap()
    }

    #[test]
    fn numbers_stay_when_a_key_is_another_or_a_place_is_nobodys() {
        let (roster, id) = (changed(), |byte| KeyId::new([byte; 8]));
        assert_eq!((roster.count(), roster.places(), roster.at(0).voters_count()), (3, 4, 2));
        let vehicles: Vec<_> = roster.vehicles().collect();
        assert_eq!(vehicles, [(0, id(0)), (1, id(5)), (3, id(6))]);
        for (of, number) in [(5, Some(1)), (3, Some(1)), (4, Some(1)), (6, Some(3)), (9, None)] {
            assert_eq!(roster.number(id(of)), number, "{of}");
        }
        // The key before of who is gone, and marks, are nobody's.
        assert_eq!((roster.number(id(7)), roster.number(id(8)), roster.id(4)), (None, None, None));
        assert_eq!(roster.present(id(3)), Some(id(5)));
        assert_eq!(roster.others(id(3)).collect::<Vec<_>>(), [id(5), id(4)]);
        assert_eq!(roster.others(id(0)).count(), 0);
        assert_eq!(Roster::of_rows(roster.rows().to_vec()), Ok(roster));
    }

    #[test]
    fn numbers_that_a_region_cannot_hold_have_a_mark_more() {
        let id = |number: u32| KeyId::of(&[number.to_le_bytes(); 8].concat().try_into().unwrap());
        let mut rows: Vec<(KeyId, u16)> = (0..70_000).map(|number| (id(number), 0)).collect();
        rows.extend([(id(80_000), FORMER), (id(80_001), FORMER), (id(80_002), 4_465)]);
        assert_eq!(Roster::of_rows(rows).unwrap().number(id(80_002)), Some(69_999));
    }

    /// Draws of others are what they were: who is gone is passed over.
    #[test]
    fn who_is_gone_is_not_drawn_and_others_are_as_before() {
        let (roster, id) = (changed(), |byte| KeyId::new([byte; 8]));
        let before = Roster::new([0, 3, 9, 6].map(id).to_vec()).unwrap();
        for nonce in 0..64 {
            let all = before.at(0).asked(&[nonce; 32], 4, &NOBODY);
            let order = |roster: &Roster| roster.folders(&[nonce; 32], &all, 4);
            let mut without = order(&before);
            without.retain(|one| *one != id(9));
            assert_eq!(order(&roster), without);
            assert_eq!(roster.at(0).asked(&[nonce; 32], 4, &NOBODY), [0, 5, 6].map(id).into());
            let voters =
                roster.at(0).voters(&[nonce; 32], ParticleId::new([1; 32]), id(3), &NOBODY);
            assert_eq!(voters, [0, 6].map(id).into(), "nobody votes on its own under another key");
        }
    }

    /// Whoever reads what was said before draws as those did who said it.
    #[test]
    fn who_was_added_is_drawn_from_its_window_on() {
        let all: Vec<(KeyId, u16)> = (0..12).map(|number| (KeyId::new([number; 8]), 0)).collect();
        let growths = [(20, 4), (30, 9)].map(|(window, places)| Growth { window, places });
        let grown = Roster::of_rows(all.clone()).unwrap().grown(growths);
        assert_eq!(grown.growths().collect::<Vec<_>>(), growths);
        for (window, of) in [(0, 4), (19, 4), (20, 9), (29, 9), (30, 12), (40, 12)] {
            let (there, before) = (grown.at(window), fleet(of));
            let before = before.at(0);
            assert_eq!((there.places(), there.voters_count()), (of.into(), before.voters_count()));
            for nonce in 0..8 {
                let nonce = [nonce; 32];
                assert_eq!(there.asked(&nonce, 3, &NOBODY), before.asked(&nonce, 3, &NOBODY));
                let voters = |of: &Present<'_>| {
                    of.voters(&nonce, ParticleId::new([1; 32]), KeyId::new([3; 8]), &NOBODY)
                };
                assert_eq!(voters(&there), voters(&before));
            }
            let has = |number: u8| there.has(KeyId::new([number; 8]));
            assert!((0..of).all(has) && !(of..13).any(has), "window {window}");
        }
        // Who had a place that is nobody's is not counted.
        let mut vacant = all;
        vacant.iter_mut().skip(2).take(1).for_each(|(_id, region)| *region = VACANT);
        let grown = Roster::of_rows(vacant).unwrap().grown(growths);
        assert_eq!([19, 20, 30].map(|window| grown.at(window).voters_count()), [2, 7, 9]);
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
            let drawn = roster.at(0).voters(&[1; 32], particle, claimant, &NOBODY);
            assert_eq!((drawn.len(), majority(drawn.len())), (voters, elect), "of {count}");
            assert!(!drawn.contains(&claimant));
        }
    }

    #[test]
    fn each_nonce_and_each_nominee_has_voters_of_its_own() {
        let roster = fleet(100);
        let claimant = KeyId::new([0; 8]);
        let voters = |nonce, particle| {
            roster.at(0).voters(&[nonce; 32], ParticleId::new([particle; 32]), claimant, &NOBODY)
        };
        assert_eq!(voters(1, 2), voters(1, 2));
        assert_ne!(voters(1, 2), voters(2, 2));
        assert_ne!(voters(1, 2), voters(1, 3));
    }

    #[test]
    fn a_nonce_asks_as_many_as_the_document_says() {
        let roster = fleet(40);
        assert_eq!(roster.at(0).asked(&[3; 32], 16, &NOBODY).len(), 16);
        assert_eq!(roster.at(0).asked(&[3; 32], 100, &NOBODY).len(), 40);
        assert_ne!(
            roster.at(0).asked(&[3; 32], 16, &NOBODY),
            roster.at(0).asked(&[4; 32], 16, &NOBODY)
        );
    }

    #[test]
    fn who_stands_aside_votes_where_there_are_too_few_others_and_is_not_asked() {
        let (particle, claimant) = (ParticleId::new([5; 32]), KeyId::new([0; 8]));
        let aside: BTreeSet<KeyId> = (1..12).map(|byte| KeyId::new([byte; 8])).collect();
        let voters = |count| fleet(count).at(0).voters(&[1; 32], particle, claimant, &aside);
        assert!(voters(40).is_disjoint(&aside));
        let few = voters(16);
        assert_eq!(
            (few.len(), few.difference(&aside).count()),
            (9, 4),
            "all four others, and five"
        );
        assert_eq!(fleet(4).at(0).asked(&[1; 32], 3, &aside), [claimant].into());
        assert_eq!(fleet(40).at(0).asked(&[1; 32], 9, &aside).len(), 9);
        assert!(fleet(40).at(0).asked(&[1; 32], 9, &aside).is_disjoint(&aside));
    }

    /// Every vehicle is drawn about as often.
    #[test]
    fn draws_are_fair() {
        let roster = fleet(20);
        let mut count: vec::Vec<u32> = vec![0; 20];
        for nonce in 0..200 {
            let drawn = roster.at(0).asked(&[nonce; 32], 5, &NOBODY);
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
        let drawn =
            fleet(12).at(0).voters(&[1; 32], ParticleId::new([2; 32]), KeyId::new([4; 8]), &NOBODY);
        let voters = [0, 2, 5, 6, 7, 8, 9, 10, 11].map(|byte| KeyId::new([byte; 8]));
        assert_eq!(drawn, voters.into());
        let all = (0..12).map(|byte| KeyId::new([byte; 8])).collect();
        let folders = fleet(12).folders(&[1; 32], &all, 3);
        assert_eq!(folders, [6, 2, 11].map(|byte| KeyId::new([byte; 8])));
        let asked = fleet(12).at(0).asked(&[1; 32], 3, &NOBODY);
        assert_eq!(asked, [1, 5, 9].map(|byte| KeyId::new([byte; 8])).into());
        assert_eq!(lot(&[1; 32], ParticleId::new([2; 32])).first(), Some(&248));
    }
}
