//! From the id of a key to the number of its vehicle: twelve bytes a vehicle, in memory that the caller brings.

use crate::key::KeyId;

/// A vehicle's id and its number in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbered {
    /// How envelopes name the vehicle.
    pub id: KeyId,
    /// 1,024 · page + place.
    pub number: u32,
}

/// A whole roster by id. Pages are in order of number, which does not change when vehicles are added; who verifies a
/// record has an id. The index answers in the time of a binary search, and knows that no two vehicles share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RosterIndex<'m>(&'m [Numbered]);

/// Why there is no index of these vehicles.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRosterIndex {
    /// One would sign for the other: the roster is to be refused.
    #[error("vehicles {first} and {second} have one id, {id}")]
    SameId { id: KeyId, first: u32, second: u32 },
}

impl<'m> RosterIndex<'m> {
    /// Sorts what [`RosterPage::numbered`](crate::v1::RosterPage::numbered) gave of every page.
    ///
    /// # Errors
    /// [`RejectRosterIndex`]: two vehicles with one id.
    pub fn new(vehicles: &'m mut [Numbered]) -> Result<Self, RejectRosterIndex> {
        vehicles.sort_unstable();
        for (first, second) in vehicles.iter().zip(vehicles.iter().skip(1)) {
            if first.id == second.id {
                let (id, first, second) = (first.id, first.number, second.number);
                return Err(RejectRosterIndex::SameId { id, first, second });
            }
        }
        Ok(Self(vehicles))
    }

    /// The number of the vehicle with this id.
    pub fn number(&self, id: KeyId) -> Option<u32> {
        let index = self.0.binary_search_by_key(&id, |vehicle| vehicle.id).ok()?;
        self.0.get(index).map(|vehicle| vehicle.number)
    }
}
