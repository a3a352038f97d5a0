//! Reinstatements: their bytes, one form each, within their bounds.

use proptest::prelude::*;
use shoal_swarm::reinstated::{ORDERS_MAX, Reinstated, RejectReinstated};
use shoal_wire::KeyId;
use shoal_wire::v1::DOCUMENT_CONTENT_BYTES_MAX;

use crate::make::vehicle;

/// Golden: ota/wire/SPEC.md, 'Document (kind 12)'.
#[test]
fn bytes_are_those_of_the_specification() {
    let (one, other) = (KeyId::new([0, 1, 2, 3, 4, 5, 6, 7]), KeyId::new([0xff; 8]));
    let orders = vec![(one, 9), (one, 300), (other, u32::MAX)];
    let bytes = [
        &[3][..],
        &[0, 1, 2, 3, 4, 5, 6, 7, 9],
        &[0, 1, 2, 3, 4, 5, 6, 7, 0xac, 0x02],
        &[0xff; 8],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ]
    .concat();
    let reinstated = Reinstated::new(orders.clone()).unwrap();
    assert_eq!(reinstated.encode(), bytes);
    assert_eq!(Reinstated::decode(&bytes).unwrap().orders(), orders);
    assert_eq!(Reinstated::decode(&[0]), Ok(Reinstated::NOBODY));
}

#[test]
fn what_is_no_list_or_has_another_form_or_order_is_refused() {
    let one = [1; 8];
    let list = |rows: &[&[u8]]| [&[rows.len() as u8][..], &rows.concat()].concat();
    let row = |window: u8| [&one[..], &[window]].concat();
    for (bytes, why) in [
        (Vec::new(), RejectReinstated::Malformed),
        (list(&[&row(9)])[..9].to_vec(), RejectReinstated::Malformed),
        (vec![0xff; 8], RejectReinstated::Malformed),
        ([list(&[&row(9)]), vec![0]].concat(), RejectReinstated::NotCanonical),
        (list(&[&[&one[..], &[0x89, 0]].concat()]), RejectReinstated::NotCanonical),
        (list(&[&row(9), &row(9)]), RejectReinstated::Order { index: 1 }),
        (list(&[&row(7), &row(9), &row(8)]), RejectReinstated::Order { index: 2 }),
    ] {
        assert_eq!(Reinstated::decode(&bytes), Err(why), "{bytes:02x?}");
    }
}

/// One past the bound; at the bound a document has room for it.
#[test]
fn there_are_not_more_than_fit() {
    let orders = |count: usize| (0..count as u32).map(|n| (vehicle(0), u32::MAX - n)).rev();
    let most = Reinstated::new(orders(ORDERS_MAX).collect()).unwrap();
    assert!(most.encode().len() <= DOCUMENT_CONTENT_BYTES_MAX);
    let count = ORDERS_MAX + 1;
    let more = Reinstated::new(orders(count).collect());
    assert_eq!(more, Err(RejectReinstated::TooMany { count }));
}

/// Records of 64 windows may count, and their standing looks back on eight more.
#[test]
fn one_more_is_added_and_what_no_reading_needs_is_dropped() {
    let order = |window| (vehicle(0), window);
    let before = Reinstated::new([19, 20, 21].map(order).to_vec()).unwrap();
    let after = before.and(order(103), 100, 64).unwrap();
    assert_eq!(after.orders(), [20, 21, 103].map(order));
    assert_eq!(after.and(order(103), 100, 64), Ok(after), "twice the same is one");
    let full = (0..ORDERS_MAX as u32).map(|number| order(100 + number)).collect();
    let full = Reinstated::new(full).unwrap();
    let count = ORDERS_MAX + 1;
    assert_eq!(full.and(order(99), 100, 64), Err(RejectReinstated::TooMany { count }));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        orders in prop::collection::btree_set((any::<[u8; 8]>(), any::<u32>()), 0..50),
    ) {
        let orders = orders.into_iter().map(|(id, window)| (KeyId::new(id), window)).collect();
        let reinstated = Reinstated::new(orders).unwrap();
        prop_assert_eq!(Reinstated::decode(&reinstated.encode()), Ok(reinstated));
    }
}
