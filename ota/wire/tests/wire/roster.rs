//! The roster: pages that a head names, read in place.

use shoal_wire::v1::{
    Document, GROWTHS_MAX, Growth, ROSTER_PAGE_VEHICLES_MAX, RejectPage, RejectRoster, Roster,
    RosterFields, RosterPage, RosterPageFields, VEHICLE_BYTES,
};
use shoal_wire::{PublicKey, Unverified, Verified};

use crate::common::{keys, sealed};
use crate::samples;

fn page(index: u16, rows: &[u8]) -> Vec<u8> {
    let fields = RosterPageFields { version: 1, index, vehicles: rows };
    sealed(&RosterPage::new(fields).unwrap())
}

fn verified(bytes: &[u8]) -> Verified<'_, RosterPage<'_>> {
    Unverified::decode(bytes).unwrap().verify(&keys()).unwrap()
}

#[test]
fn a_full_page_is_read_in_place() {
    let bytes = page(3, &samples::vehicles(0, ROSTER_PAGE_VEHICLES_MAX));
    let page = verified(&bytes);
    assert_eq!(page.body().vehicles().len(), 1_024);
    let last = page.body().vehicle(1_023).unwrap();
    assert_eq!(last.region, 258);
    assert_eq!(PublicKey::decode(&last.public_key).unwrap().id(), last.id());
    assert_eq!(page.body().vehicle(1_024), None);
    let rows = page.body().fields().vehicles.as_ptr_range();
    assert!(bytes.as_ptr_range().contains(&rows.start), "borrowed, not copied");
}

/// A gateway of 32 KiB keeps a page in flash, and reads it there.
#[test]
fn the_large_bodies_take_no_room_of_their_own() {
    assert!(size_of::<Verified<'_, Roster<'_>>>() <= 128);
    assert!(size_of::<Verified<'_, RosterPage<'_>>>() <= 128);
    assert!(size_of::<Verified<'_, Document<'_>>>() <= 192);
}

#[test]
fn a_page_counts_only_if_the_head_names_it_at_its_index_and_it_is_full() {
    let full = samples::vehicles(0, ROSTER_PAGE_VEHICLES_MAX);
    let (first, second) = (page(0, &full), page(1, &samples::vehicles(2_000, 2)));
    let other = page(1, &samples::vehicles(3_000, 2));
    let short = page(0, &full[VEHICLE_BYTES..]);
    let hashes = |pages: [&[u8]; 2]| pages.map(|page| *verified(page).id().bytes()).concat();

    let pages = hashes([&first, &second]);
    let roster = Roster::new(RosterFields { version: 1, vehicles: 1_026, pages: &pages }).unwrap();
    assert_eq!(roster.check(&verified(&first)), Ok(()));
    assert_eq!(roster.check(&verified(&second)), Ok(()));
    assert_eq!(roster.check(&verified(&other)), Err(RejectPage::NotNamed { index: 1 }));

    let swapped = hashes([&second, &first]);
    let fields = RosterFields { version: 1, vehicles: 1_026, pages: &swapped };
    let roster = Roster::new(fields).unwrap();
    assert_eq!(roster.check(&verified(&first)), Err(RejectPage::NotNamed { index: 0 }));

    let pages = hashes([&short, &second]);
    let roster = Roster::new(RosterFields { version: 1, vehicles: 1_026, pages: &pages }).unwrap();
    let why = RejectPage::Vehicles { index: 0, vehicles: 1_023, want: 1_024 };
    assert_eq!(roster.check(&verified(&short)), Err(why));

    let one = Roster::new(RosterFields { version: 1, vehicles: 1, pages: &pages[..32] }).unwrap();
    assert_eq!(one.check(&verified(&second)), Err(RejectPage::NotNamed { index: 1 }));
}

/// A head of two pages that says so.
fn grown(growths: &[Growth]) -> Result<Vec<Growth>, RejectRoster> {
    let rows = growths.iter().flat_map(Growth::encode);
    let pages: Vec<u8> = [0x77; 64].into_iter().chain(rows).collect();
    let head = Roster::new(RosterFields { version: 3, vehicles: 1_030, pages: &pages })?;
    assert_eq!(head.pages().len(), 2);
    let bytes = sealed(&head);
    let read: Verified<'_, Roster<'_>> =
        Unverified::decode(&bytes).unwrap().verify(&keys()).unwrap();
    assert_eq!(read.body(), &head);
    Ok(read.body().growths().collect())
}

#[test]
fn a_head_says_what_the_roster_grew_by_in_order() {
    let growth = |window, places| Growth { window, places };
    let several = [growth(1, 4), growth(20, 1_024), growth(u32::MAX, 1_029)];
    for growths in [&several[..], &several[..1], &[]] {
        assert_eq!(grown(growths).unwrap(), growths);
    }
    let most: Vec<Growth> = (1..).map(|n| growth(n, n)).take(GROWTHS_MAX).collect();
    assert_eq!(grown(&most).unwrap(), most);
    let more: Vec<Growth> = (1..).map(|n| growth(n, n)).take(GROWTHS_MAX + 1).collect();
    let bytes = 64 + 8 * more.len();
    assert_eq!(grown(&more), Err(RejectRoster::Pages { bytes, vehicles: 1_030 }));
    let wrong = |index| Err(RejectRoster::Growth { index });
    assert_eq!(grown(&[growth(0, 4)]), wrong(0), "before the first window");
    assert_eq!(grown(&[growth(1, 0)]), wrong(0), "of nobody");
    assert_eq!(grown(&[growth(1, 1_030)]), wrong(0), "by nobody");
    assert_eq!(grown(&[growth(5, 4), growth(5, 6)]), wrong(1), "twice in a window");
    assert_eq!(grown(&[growth(5, 6), growth(7, 6)]), wrong(1), "by nobody");
}
