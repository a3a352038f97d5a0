//! Rosters that grow: what was said in a window is read by who was of the fleet in it.

use std::collections::BTreeSet;

use shoal_swarm::roster::Roster;
use shoal_wire::KeyId;
use shoal_wire::v1::{Growth, Role};

use crate::make::{Book, vehicle};
use crate::quorum::{GAIN, LOSS, with_level};

/// The same roster, whose vehicles from this number on are of the fleet from this window on, where it says so.
fn grow(book: &mut Book, of: u8, (window, places): (u32, u32), says: bool) {
    let rows = (0..of).map(|number| (vehicle(number), 0)).collect();
    let growths = says.then_some(Growth { window, places });
    book.roster = Roster::of_rows(rows).unwrap().grown(growths);
}

/// What four elected stands when twenty more come: they were not there to vote on it. From their window on they are drawn as the others.
#[test]
fn what_was_elected_before_a_fleet_grew_stands() {
    let elected = |says| {
        let mut book = with_level();
        let good = book.claim(1, 5, Role::Merge, 0.5);
        let lie = book.claim(2, 5, Role::Best, 0.9);
        book.all_vote(5, good, None, GAIN);
        book.all_vote(5, lie, None, LOSS);
        let of_four = book.read(7, |quorum| (quorum.best(), quorum.broken(5)));
        assert_eq!(of_four.0.as_ref().map(|best| best.particle), Some(good));
        assert_eq!(of_four.1, [vehicle(2)].into());
        grow(&mut book, 24, (8, 4), says);
        book.read(7, |quorum| (quorum.best(), quorum.broken(5))) == of_four
    };
    assert!(elected(true));
    assert!(!elected(false), "else their votes were missing");
}

#[test]
fn who_is_taken_into_the_fleet_counts_from_its_window_on() {
    let mut book = with_level();
    grow(&mut book, 8, (6, 4), true);
    for window in [5, 6] {
        book.claim(2, window, Role::Best, 0.41);
        book.claim(6, window, Role::Best, 0.43);
    }
    let claimants = |window: u32| -> BTreeSet<KeyId> {
        let nominees = book.read(window + 1, |quorum| quorum.nominees(window));
        nominees.iter().map(|nominee| nominee.claimant).collect()
    };
    assert_eq!(claimants(5), [vehicle(2)].into(), "it was not of the fleet yet");
    assert_eq!(claimants(6), [2, 6].map(vehicle).into());
}
