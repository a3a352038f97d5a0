//! The roster: who is of the fleet. A head names every page by its hash; a page lists 1,024 vehicles. Both are read in
//! place: rows of fixed width, borrowed from the bytes received.

use serde::{Deserialize, Serialize};

use crate::canonical::{U16_WIRE_BYTES_MAX, U32_WIRE_BYTES_MAX, body};
use crate::envelope::{ENVELOPE_OVERHEAD_BYTES, Verified};
use crate::key::{KeyId, PublicKey, RejectKey};
use crate::name::RecordId;
use crate::topic::Leaf;

/// The longest envelope of a roster's head, in bytes.
pub const ROSTER_BYTES_MAX: usize = 64 * 1024;
/// The longest envelope of a roster's page, in bytes.
pub const ROSTER_PAGE_BYTES_MAX: usize = 64 * 1024;
/// The most pages of a roster.
pub const ROSTER_PAGES_MAX: u32 = 1024;
/// Vehicles of a page; the last one may have fewer.
pub const ROSTER_PAGE_VEHICLES_MAX: u32 = 1024;
/// The most vehicles of a roster.
pub const ROSTER_VEHICLES_MAX: u32 = ROSTER_PAGES_MAX * ROSTER_PAGE_VEHICLES_MAX;
/// Bytes of a vehicle in a page.
pub const VEHICLE_BYTES: usize = 32 + 2;
/// The most growths that a head names.
pub const GROWTHS_MAX: usize = 32;
/// Bytes of a growth in a head.
pub const GROWTH_BYTES: usize = 4 + 4;

/// In place of a region: nobody's place. Its key is one that nobody has; who had the place before is of the fleet no more, and the numbers
/// of all others stay.
pub const VACANT: u16 = u16::MAX;
/// In place of a region: what follows to the roster's end are keys that vehicles had before, not vehicles. In place of a region such a
/// row bears the number of the vehicle mod 65,534: each such mark after the first adds 65,534 to the numbers that follow.
pub const FORMER: u16 = u16::MAX - 1;

const PAGE_HASH_BYTES: usize = 32;
const ROSTER_WIRE_BYTES_MAX: usize = 3 * U32_WIRE_BYTES_MAX
    + ROSTER_PAGES_MAX as usize * PAGE_HASH_BYTES
    + GROWTHS_MAX * GROWTH_BYTES;
const PAGE_WIRE_BYTES_MAX: usize = U32_WIRE_BYTES_MAX
    + U16_WIRE_BYTES_MAX
    + U32_WIRE_BYTES_MAX
    + ROSTER_PAGE_VEHICLES_MAX as usize * VEHICLE_BYTES;
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + ROSTER_WIRE_BYTES_MAX <= ROSTER_BYTES_MAX);
const _: () = assert!(ENVELOPE_OVERHEAD_BYTES + PAGE_WIRE_BYTES_MAX <= ROSTER_PAGE_BYTES_MAX);

/// The fields of a roster's head, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterFields<'a> {
    /// Grows with every head.
    pub version: u32,
    /// How many vehicles there are: 1 to [`ROSTER_VEHICLES_MAX`].
    pub vehicles: u32,
    /// The [`RecordId`] of each page, 32 bytes a page, for as many pages as `vehicles` fill; behind them 0 to [`GROWTHS_MAX`]
    /// growths of [`GROWTH_BYTES`].
    pub pages: &'a [u8],
}

/// Vehicles that were added: those behind the first `places` of the roster are of the fleet from `window` on. Whoever reads what was said
/// in windows before draws as those did who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The first window in which they are of the fleet.
    pub window: u32,
    /// How many places there were until then.
    pub places: u32,
}

impl Growth {
    /// The row of a head.
    pub fn encode(&self) -> [u8; GROWTH_BYTES] {
        let mut row = [0; GROWTH_BYTES];
        let bytes = self.window.to_le_bytes().into_iter().chain(self.places.to_le_bytes());
        row.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        row
    }

    fn decode(row: &[u8; GROWTH_BYTES]) -> Self {
        let [w0, w1, w2, w3, p0, p1, p2, p3] = *row;
        let (window, places) = ([w0, w1, w2, w3], [p0, p1, p2, p3]);
        Growth { window: u32::from_le_bytes(window), places: u32::from_le_bytes(places) }
    }
}

/// A roster's head within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roster<'a>(RosterFields<'a>);

/// Which bound of a roster's head is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRoster {
    #[error("{vehicles} vehicles, 1 to {ROSTER_VEHICLES_MAX} allowed")]
    Vehicles { vehicles: u32 },
    #[error("{bytes} bytes of page hashes and growths for {vehicles} vehicles")]
    Pages { bytes: usize, vehicles: u32 },
    #[error("growth {index} is not after the one before, or has not fewer places than there are")]
    Growth { index: usize },
}

/// Why a page is none of a roster.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectPage {
    #[error("the roster names another page {index}, or none")]
    NotNamed { index: u16 },
    #[error("page {index} has {vehicles} vehicles, but the roster counts {want}")]
    Vehicles { index: u16, vehicles: u32, want: u32 },
}

impl<'a> Roster<'a> {
    /// A head with these fields.
    ///
    /// # Errors
    /// [`RejectRoster`] names the first bound that is broken.
    pub fn new(fields: RosterFields<'a>) -> Result<Self, RejectRoster> {
        let RosterFields { vehicles, pages, .. } = fields;
        if !(1..=ROSTER_VEHICLES_MAX).contains(&vehicles) {
            return Err(RejectRoster::Vehicles { vehicles });
        }
        let wrong = RejectRoster::Pages { bytes: pages.len(), vehicles };
        let (_hashes, rows) = split(&fields).ok_or(wrong)?;
        let (growths, rest) = rows.as_chunks::<GROWTH_BYTES>();
        if growths.len() > GROWTHS_MAX || !rest.is_empty() {
            return Err(wrong);
        }
        let mut before = Growth { window: 0, places: 0 };
        for (index, growth) in growths.iter().map(Growth::decode).enumerate() {
            let follows = growth.window > before.window && growth.places > before.places;
            if !follows || growth.places >= vehicles {
                return Err(RejectRoster::Growth { index });
            }
            before = growth;
        }
        Ok(Self(fields))
    }

    /// The record of each page, in order of its index.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = RecordId> + use<'a> {
        let (hashes, _growths) = split(&self.0).unwrap_or_default();
        let (hashes, _none) = hashes.as_chunks::<PAGE_HASH_BYTES>();
        hashes.iter().map(|hash| RecordId::new(*hash))
    }

    /// The growths of the last windows, in order.
    pub fn growths(&self) -> impl ExactSizeIterator<Item = Growth> + use<'a> {
        let (_hashes, growths) = split(&self.0).unwrap_or_default();
        let (growths, _none) = growths.as_chunks::<GROWTH_BYTES>();
        growths.iter().map(Growth::decode)
    }

    /// Whether this page is the one the head names, and full: only then do numbers of vehicles hold.
    ///
    /// # Errors
    /// [`RejectPage`].
    pub fn check(&self, page: &Verified<'_, RosterPage<'_>>) -> Result<(), RejectPage> {
        let index = page.body().fields().index;
        if self.pages().nth(usize::from(index)) != Some(page.id()) {
            return Err(RejectPage::NotNamed { index });
        }
        let before = u32::from(index).saturating_mul(ROSTER_PAGE_VEHICLES_MAX);
        let want = self.0.vehicles.saturating_sub(before).min(ROSTER_PAGE_VEHICLES_MAX);
        let vehicles = page.body().vehicles().len() as u32;
        if vehicles != want {
            return Err(RejectPage::Vehicles { index, vehicles, want });
        }
        Ok(())
    }
}

body!(Roster<'a>, RosterFields, 1);

/// The bytes of the pages' hashes, and those behind them.
fn split<'a>(fields: &RosterFields<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let count = fields.vehicles.div_ceil(ROSTER_PAGE_VEHICLES_MAX) as usize;
    fields.pages.split_at_checked(count.checked_mul(PAGE_HASH_BYTES)?)
}

/// A vehicle of the fleet, as a page lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vehicle {
    /// Its public key; in a [`RosterPage`], one that [`PublicKey::decode`] takes.
    pub public_key: [u8; 32],
    /// Where it exchanges; [`VACANT`] and [`FORMER`] are no regions.
    pub region: u16,
}

impl Vehicle {
    /// The row of a page.
    pub fn encode(&self) -> [u8; VEHICLE_BYTES] {
        let mut row = [0; VEHICLE_BYTES];
        let bytes = self.public_key.into_iter().chain(self.region.to_le_bytes());
        row.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        row
    }

    /// How envelopes name it.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public_key)
    }

    fn decode(row: &[u8; VEHICLE_BYTES]) -> Self {
        let [public_key @ .., r0, r1] = *row;
        Self { public_key, region: u16::from_le_bytes([r0, r1]) }
    }
}

/// The fields of a roster's page, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPageFields<'a> {
    /// The roster's version for which the page was written: later heads name it too, as long as it stays.
    pub version: u32,
    /// Which page: below [`ROSTER_PAGES_MAX`].
    pub index: u16,
    /// 1 to [`ROSTER_PAGE_VEHICLES_MAX`] rows of [`VEHICLE_BYTES`]: public key (32 bytes), region u16 little-endian. The
    /// keys are distinct, and each can verify.
    pub vehicles: &'a [u8],
}

/// A roster's page within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RosterPage<'a>(RosterPageFields<'a>);

/// Which bound of a roster's page is broken.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectRosterPage {
    #[error("page {index}, but pages are 0 to {}", ROSTER_PAGES_MAX - 1)]
    Index { index: u16 },
    #[error("{bytes} bytes of vehicles: not 1 to {ROSTER_PAGE_VEHICLES_MAX} of {VEHICLE_BYTES}")]
    Length { bytes: usize },
    #[error("vehicle {place} has the key of an earlier one")]
    SameKey { place: usize },
    #[error("the key of vehicle {place} is none")]
    Key {
        place: usize,
        #[source]
        source: RejectKey,
    },
}

impl<'a> RosterPage<'a> {
    /// A page with these fields.
    ///
    /// # Errors
    /// [`RejectRosterPage`] names the first bound that is broken.
    pub fn new(fields: RosterPageFields<'a>) -> Result<Self, RejectRosterPage> {
        let RosterPageFields { index, vehicles, .. } = fields;
        if u32::from(index) >= ROSTER_PAGES_MAX {
            return Err(RejectRosterPage::Index { index });
        }
        let (rows, rest) = vehicles.as_chunks::<VEHICLE_BYTES>();
        if !(1..=ROSTER_PAGE_VEHICLES_MAX as usize).contains(&rows.len()) || !rest.is_empty() {
            return Err(RejectRosterPage::Length { bytes: vehicles.len() });
        }
        for (place, row) in rows.iter().enumerate() {
            let key = Vehicle::decode(row).public_key;
            if rows.iter().take(place).any(|before| before.starts_with(&key)) {
                return Err(RejectRosterPage::SameKey { place });
            }
            PublicKey::decode(&key).map_err(|source| RejectRosterPage::Key { place, source })?;
        }
        Ok(Self(fields))
    }

    /// The vehicles, by place.
    pub fn vehicles(&self) -> impl ExactSizeIterator<Item = Vehicle> + use<'a> {
        let (rows, _none) = self.0.vehicles.as_chunks::<VEHICLE_BYTES>();
        rows.iter().map(Vehicle::decode)
    }

    /// The vehicle at this place: number 1,024 · page + place of the roster.
    pub fn vehicle(&self, place: u16) -> Option<Vehicle> {
        let (rows, _none) = self.0.vehicles.as_chunks::<VEHICLE_BYTES>();
        rows.get(usize::from(place)).map(Vehicle::decode)
    }
}

body!(RosterPage<'a>, RosterPageFields, 1, |page| Leaf::RosterPage { index: page.0.index });
