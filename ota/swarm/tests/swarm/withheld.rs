//! Claims of what nobody could get.

use shoal_wire::v1::Role;

use crate::make::{Book, header, signed, vehicle, when};

/// Surely better than best.
const GAIN: (f64, f64, f64) = (0.5, 0.4, 0.01);

/// Neither the half of those who are drawn nor those who were not can say that nobody had it; and who did measure it is counted
/// as before.
#[test]
fn who_claims_what_a_majority_cannot_get_stands_aside() {
    let mut book = Book::new(6);
    let particle = book.claim(1, 5, Role::Merge, 0.9);
    book.missing(1, 6, 0, particle);
    for voter in [0, 2] {
        book.missing(voter, 6, 0, particle);
        assert!(book.read(7, |quorum| quorum.withheld(5).is_empty()), "three of five do");
    }
    book.missing(3, 6, 0, particle);
    assert_eq!(book.read(7, |quorum| quorum.withheld(5)), [vehicle(1)].into());
    assert!(book.read(7, |quorum| quorum.broken(5).is_empty() && quorum.ballots(5).is_empty()));
    assert_eq!(book.read(7, |quorum| quorum.quarantined(7)), [vehicle(1)].into());
    assert_eq!(book.read(13, |quorum| quorum.quarantined(13)), [vehicle(1)].into());
    assert!(book.read(14, |quorum| quorum.quarantined(14)).is_empty());

    // A vote that it is missing is none on what it is worth, and the other way round.
    let mut book = Book::new(6);
    let particle = book.claim(1, 5, Role::Merge, 0.9);
    for voter in [0, 2] {
        book.missing(voter, 6, 0, particle);
    }
    for voter in [3, 4, 5] {
        book.vote(voter, 6, 0, particle, None, GAIN).unwrap();
    }
    assert!(book.read(7, |quorum| quorum.withheld(5).is_empty()));
    assert_eq!(book.best(7), Some(particle), "three of five measured it");
}

/// The first two who claim a particle publish its chunks; the third finds them there, and cannot help it when they are not.
#[test]
fn who_relied_on_the_copies_of_others_keeps_its_standing() {
    let merge = header(Role::Merge, 5, 9);
    for claimants in 1..=4 {
        let mut book = Book::new(9);
        for claimant in 0..claimants {
            book.claim_of(claimant, &merge, 0.5);
        }
        for voter in 4..9 {
            book.missing(voter, 6, 0, merge.id());
        }
        let withheld = book.read(7, |quorum| quorum.withheld(5));
        let both = (0..claimants).map(vehicle).filter(|_| claimants <= 2).collect();
        assert_eq!(withheld, both, "of {claimants}");
    }
}

/// Who saw two others publish it left its chunks to them: that one of them contradicts itself later is not its fault.
#[test]
fn who_relied_on_a_copy_that_was_taken_back_keeps_its_standing() {
    let merge = header(Role::Merge, 5, 9);
    let mut book = Book::new(9);
    for claimant in 0..3 {
        book.claim_of(claimant, &merge, 0.5);
    }
    let other = signed(2, 1, header(Role::Merge, 5, 10));
    book.records.header(&when(5), &book.roster, &other, 1).unwrap_err();
    for voter in 4..9 {
        book.missing(voter, 6, 0, merge.id());
    }
    assert!(book.read(7, |quorum| quorum.withheld(5).is_empty()));
}
