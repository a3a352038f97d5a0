//! What is best, for who was not there when it was elected.

use shoal_swarm::records::{RejectRecord, Signed};
use shoal_wire::v1::{ParticleHeader, Role};

use crate::make::{Book, claim, header, measured, signed, vehicle, when};

/// Surely better than best, and surely worse.
const GAIN: (f64, f64, f64) = (0.5, 0.4, 0.01);
const LOSS: (f64, f64, f64) = (0.3, 0.4, 0.01);

/// Votes leave the board after four windows; what they elected stays best, and later votes say so.
#[test]
fn who_missed_an_election_takes_best_from_a_majority_that_voted_later() {
    let mut newcomer = Book::new(4);
    let best = header(Role::Merge, 5, 0);
    newcomer.records.header(&when(5), &newcomer.roster, &signed(0, 0, best.clone()), 1).unwrap();
    let nominee = newcomer.claim(1, 9, Role::Merge, 0.5);
    newcomer.vote(0, 10, 0, nominee, Some(best.id()), LOSS).unwrap();
    assert_eq!(newcomer.best(11), None, "one voter is no majority");
    newcomer.vote(2, 10, 0, nominee, Some(best.id()), LOSS).unwrap();
    assert_eq!(newcomer.best(11), Some(best.id()));
    assert_eq!(newcomer.best(10), None, "not in the window of its votes");
    let found = newcomer.read(11, |quorum| quorum.best()).unwrap();
    assert_eq!((found.window, found.claimant, found.values), (5, vehicle(0), vec![4000]));
    // Who knows of a later election knows better than who voted without it.
    let later = newcomer.claim(2, 8, Role::Merge, 0.5);
    newcomer.all_vote(8, later, None, GAIN);
    assert_eq!(newcomer.best(11), Some(best.id()), "it is before those votes");
    let latest = newcomer.claim(3, 10, Role::Merge, 0.5);
    newcomer.all_vote(10, latest, Some(best.id()), GAIN);
    assert_eq!(newcomer.best(12), Some(latest));
}

/// Nothing better may come for longer than any record lives.
#[test]
fn who_is_new_takes_best_from_who_votes_however_long_it_is_best() {
    let mut newcomer = Book::new(4);
    let best = signed(0, 0, header(Role::Merge, 5, 0));
    let (of, now) = (best.body.id(), when(29));
    let hear = |newcomer: &mut Book, header: &Signed<ParticleHeader>| {
        newcomer.records.header(&now, &newcomer.roster, header, 1)
    };
    let old = RejectRecord::WrongWindow { got: 5, from: 12, to: 30 };
    assert_eq!(hear(&mut newcomer, &best), Err(old), "nobody says what it is");
    let nominee = newcomer.claim(1, 27, Role::Merge, 0.5);
    newcomer.all_vote(27, nominee, Some(of), LOSS);
    newcomer.records.attend(28);
    assert_eq!(hear(&mut newcomer, &best), Ok(true));
    assert_eq!(newcomer.best(29), Some(of));
    let expired = Signed { not_after_seconds: 999, ..best.clone() };
    assert_eq!(hear(&mut newcomer, &expired), Ok(false), "the same");
    newcomer.records.expire(&when(30), &[of]);
    assert!(newcomer.records.particle(5, vehicle(0), Role::Merge).is_some(), "while it is best");

    // What contradicts it comes too late, as it does for who knows it from then.
    let other = signed(0, 1, header(Role::Merge, 5, 1));
    newcomer.vote(3, 28, 1, nominee, Some(other.body.id()), LOSS).unwrap();
    let late = RejectRecord::WrongWindow { got: 5, from: 28, to: 30 };
    assert_eq!(hear(&mut newcomer, &other), Err(late));
    let stranger = signed(9, 0, header(Role::Merge, 5, 0));
    let unknown = RejectRecord::UnknownVehicle { signer: vehicle(9) };
    assert_eq!(hear(&mut newcomer, &stranger), Err(unknown));
}

/// Else who claims and keeps its header back would enter an election of the past with it.
#[test]
fn the_header_of_a_claim_comes_no_later_for_being_voted_for() {
    let mut book = Book::new(4);
    let held_back = header(Role::Merge, 5, 0);
    let claim = signed(0, 0, claim(&held_back, &[measured(0.5, 0.01)]));
    book.records.claim(&when(5), &book.roster, &claim).unwrap();
    let nominee = book.claim(1, 9, Role::Merge, 0.5);
    book.all_vote(9, nominee, Some(held_back.id()), LOSS);
    book.records.attend(10);
    let header = signed(0, 0, held_back);
    let late = RejectRecord::WrongWindow { got: 5, from: 10, to: 12 };
    assert_eq!(book.records.header(&when(11), &book.roster, &header, 1), Err(late));
}
