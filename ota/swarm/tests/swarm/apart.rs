//! Votes that have fallen apart for good (docs/decisions/0103).

use shoal_wire::ParticleId;
use shoal_wire::v1::Role;

use crate::make::Book;

/// Surely better than what it is beside, and not.
const GAIN: (f64, f64, f64) = (0.5, 0.4, 0.01);
const LOSS: (f64, f64, f64) = (0.3, 0.4, 0.01);

/// Seven vehicles that elected something in window 3; one of them claimed something before.
fn fleet() -> (Book, ParticleId, ParticleId) {
    let mut book = Book::new(7);
    let [old, elected] =
        [(1, 2), (2, 3)].map(|(number, window)| book.claim(number, window, Role::Best, 0.5));
    book.all_vote(3, elected, None, GAIN);
    assert_eq!(book.best(9), Some(elected));
    (book, old, elected)
}

impl Book {
    /// The first vehicle claims something in this window, on which the others vote beside these.
    fn votes_beside(
        &mut self,
        claimed: u32,
        beside: &[Option<ParticleId>],
        found: (f64, f64, f64),
    ) -> ParticleId {
        let particle = self.claim(0, claimed, Role::Best, found.0);
        for (number, best) in (1..).zip(beside) {
            self.vote(number, claimed + 1, 0, particle, *best, found).unwrap();
        }
        particle
    }

    /// In these windows no majority of four measures beside one particle.
    fn fall_apart(
        &mut self,
        windows: std::ops::Range<u32>,
        three: Option<ParticleId>,
        two: Option<ParticleId>,
    ) {
        let other = Some(ParticleId::new([9; 32]));
        for window in windows {
            self.votes_beside(window, &[three, two, other, two, three, three], GAIN);
        }
    }
}

#[test]
fn after_four_windows_of_votes_that_do_not_add_up_best_is_the_start_again() {
    let (mut book, old, elected) = fleet();
    book.fall_apart(10..13, Some(elected), Some(old));
    assert_eq!(book.best(14), Some(elected), "three windows");
    book.fall_apart(13..14, Some(elected), Some(old));
    assert_eq!([14, 15].map(|window| book.best(window)), [Some(elected), None]);
    // All measure beside it, and the next election is one.
    for window in 14..20 {
        book.votes_beside(window, &[None; 6], LOSS);
    }
    assert_eq!(book.best(21), None, "nothing was better");
    let next = book.votes_beside(20, &[None; 6], GAIN);
    assert_eq!([21, 22].map(|window| book.best(window)), [None, Some(next)]);
}

/// Most were away in the windows of the row, and know nothing of it.
#[test]
fn what_a_majority_measures_beside_since_is_best_whoever_elected_it() {
    let (mut book, old, elected) = fleet();
    book.fall_apart(10..14, Some(elected), Some(old));
    assert_eq!(book.best(15), None);
    book.votes_beside(14, &[Some(elected); 4], LOSS);
    assert_eq!(book.best(16), Some(elected));
}

#[test]
fn one_window_of_votes_that_add_up_ends_the_row_and_one_of_too_few_does_not() {
    let (mut book, old, elected) = fleet();
    book.fall_apart(10..12, Some(elected), Some(old));
    book.votes_beside(12, &[Some(elected); 6], LOSS);
    book.fall_apart(13..15, Some(elected), Some(old));
    assert_eq!(book.best(16), Some(elected), "two and two");
    book.votes_beside(15, &[Some(old), Some(elected), None], LOSS);
    book.fall_apart(16..17, Some(elected), Some(old));
    assert_eq!(book.best(18), Some(elected), "three votes are too few to fall apart");
    book.fall_apart(17..18, Some(elected), Some(old));
    assert_eq!(book.best(19), None);
}

/// A row of before an election says nothing of what was elected.
#[test]
fn what_is_elected_after_it_is_best() {
    let (mut book, old, elected) = fleet();
    book.fall_apart(10..14, Some(elected), Some(old));
    let next = book.votes_beside(14, &[Some(elected); 4], GAIN);
    assert_eq!(book.best(16), Some(next));
    book.fall_apart(16..19, Some(elected), Some(old));
    assert_eq!(book.best(21), Some(next), "three windows since");
}
