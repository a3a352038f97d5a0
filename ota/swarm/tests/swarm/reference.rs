//! What a claim's reference is worth: by whose word, and what it is to the claim where parts of the pack do not agree.

use shoal_swarm::quorum::Quorum;
use shoal_wire::v1::Role;

use crate::make::{Book, utility};

/// Whether a claim of window 5 is broken where these voters said that its reference is worth so much on its part, and all found so
/// much of its particle and of the reference on that of the votes.
fn breaks(levels: &[(u8, f64)], role: Role, claimed: f64, (value, reference): (f64, f64)) -> bool {
    let mut book = Book::new(4);
    let before = book.claim(0, 4, Role::Merge, 0.4);
    for (voter, level) in levels {
        book.vote(*voter, 5, 0, before, None, (0.4, *level, 0.01)).unwrap();
    }
    let particle = book.claim(1, 5, role, claimed);
    for voter in [0, 2, 3] {
        book.vote(voter, 6, 0, particle, None, (value, reference, 0.01)).unwrap();
    }
    let utility = utility();
    let quorum = Quorum::new(&book.records, &book.roster, &utility, 7).unwrap();
    !quorum.broken(5).is_empty()
}

/// Somebody fitted the reference to the part of the votes: what is found to be worth what was claimed is no lie beside it.
#[test]
fn a_claim_of_what_voters_find_is_not_broken_by_what_its_reference_is_elsewhere() {
    let level = [(1, 0.4), (2, 0.4), (3, 0.4)];
    let found = |claimed| breaks(&level, Role::Best, claimed, (0.5, 0.9));
    assert_eq!([0.5, 0.9].map(found), [false, true]);
    let worst = |claimed| breaks(&level, Role::Worst, claimed, (0.5, -0.8));
    assert_eq!([0.5, -0.6].map(worst), [false, true]);
}

/// A liar says that the reference is worth nothing, and the part of the votes is the harder one.
#[test]
fn one_voter_alone_does_not_say_what_the_reference_is_worth() {
    let breaks = |levels: &[(u8, f64)]| breaks(levels, Role::Best, 0.5, (0.2, 0.1));
    assert!(!breaks(&[(1, -1.0)]));
    assert!(breaks(&[(1, -1.0), (2, -1.0)]), "two of three do");
}
