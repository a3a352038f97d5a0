//! Nominees, voters, best, worst and standing: one sentence of design.md a test.

use std::collections::BTreeSet;

use shoal_swarm::quorum::{Account, Elected, Fault, Quorum};
use shoal_swarm::reinstated::Reinstated;
use shoal_swarm::utility::Utility;
use shoal_wire::v1::Role;
use shoal_wire::{KeyId, ParticleId};

use crate::make::{Book, header, nonce_bytes, signed, utility, utility_of, vehicle, vote, when};

/// Surely better than best, and surely worse.
pub(crate) const GAIN: (f64, f64, f64) = (0.5, 0.4, 0.01);
pub(crate) const LOSS: (f64, f64, f64) = (0.3, 0.4, 0.01);

impl Book {
    pub(crate) fn read<T>(&self, window: u32, of: impl Fn(&Quorum<'_>) -> T) -> T {
        self.read_by(&utility(), window, of)
    }

    fn read_by<T>(&self, utility: &Utility, window: u32, of: impl Fn(&Quorum<'_>) -> T) -> T {
        of(&Quorum::new(&self.records, &self.roster, utility, window).unwrap())
    }

    fn nominated(&self, window: u32) -> Vec<ParticleId> {
        self.read(window + 1, |quorum| {
            quorum.nominees(window).iter().map(|nominee| nominee.particle).collect()
        })
    }

    pub(crate) fn best(&self, window: u32) -> Option<ParticleId> {
        self.read(window, |quorum| quorum.best()).map(|elected: Elected| elected.particle)
    }

    /// All voters but these liars find the same.
    pub(crate) fn all_vote(
        &mut self,
        claimed: u32,
        particle: ParticleId,
        best: Option<ParticleId>,
        found: (f64, f64, f64),
    ) {
        let place = self.nominated(claimed).iter().position(|one| *one == particle).unwrap_or(3);
        for number in 0..self.roster.count() as u8 {
            self.vote(number, claimed + 1, place as u8, particle, best, found).unwrap();
        }
    }
}

#[test]
fn nominees_are_the_two_highest_claims_the_merge_of_who_folds_first_and_one_drawn() {
    let mut book = Book::new(9);
    let merges: Vec<ParticleId> =
        [(0, 0.1), (1, 0.3)].map(|(i, value)| book.claim(i, 5, Role::Merge, value)).to_vec();
    let others: Vec<ParticleId> = [(2, 0.9), (3, 0.8), (4, 0.7), (5, 0.6), (6, 0.2)]
        .map(|(i, value)| book.claim(i, 5, Role::Best, value))
        .to_vec();
    let folders = book.roster.folders(&nonce_bytes(5), &[vehicle(0), vehicle(1)].into(), 2);
    let of = |folder| merges[usize::from(folder == vehicle(1))];
    let nominated = book.nominated(5);
    assert_eq!(nominated[..3], [others[0], others[1], of(folders[0])]);
    assert_eq!(nominated.len(), 4);
    let rest = [others[2], others[3], others[4], of(folders[1])];
    let nonce = nonce_bytes(6);
    let lowest = rest.iter().min_by_key(|c| shoal_swarm::roster::lot(&nonce, **c)).unwrap();
    assert_eq!(nominated[3], *lowest);
}

/// Two equal merges have one id: they are one nominee.
#[test]
fn a_particle_that_several_claim_is_nominated_once() {
    let mut book = Book::new(4);
    let merge = header(Role::Merge, 5, 9);
    for (number, value) in [(0, 0.50), (1, 0.52), (2, 0.51), (3, 0.49)] {
        book.claim_of(number, &merge, value);
    }
    book.read(6, |quorum| {
        let nominees = quorum.nominees(5);
        assert_eq!(nominees.len(), 1);
        assert_eq!((nominees[0].particle, nominees[0].claimant), (merge.id(), vehicle(1)));
    });
}

#[test]
fn a_claim_on_another_part_or_without_a_header_is_not_nominated() {
    let mut book = Book::new(4);
    let real = book.claim(0, 5, Role::Best, 0.1);
    let without = header(Role::Best, 5, 1);
    let terms = [crate::make::measured(0.9, 0.01)];
    let claim = crate::make::claim(&without, &terms);
    book.records.claim(&when(5), &book.roster, &signed(1, 0, claim)).unwrap();
    let mut other = crate::make::claim(&header(Role::Best, 5, 2), &terms).fields().clone();
    other.part = (other.part + 1) % 4;
    let claim = shoal_wire::v1::Claim::new(other).unwrap();
    let with = signed(2, 0, header(Role::Best, 5, 2));
    book.records.header(&when(5), &book.roster, &with, 1).unwrap();
    book.records.claim(&when(5), &book.roster, &signed(2, 0, claim)).unwrap();
    assert_eq!(book.nominated(5), [real]);
}

#[test]
fn a_window_without_nonce_has_no_votes_and_loses_nothing() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 29, Role::Best, 0.5);
    assert_eq!(book.nominated(29), [], "window 30 has no nonce");
    let nonce = crate::make::nonce(30);
    book.records.nonce(&when(30), &nonce).unwrap();
    assert_eq!(book.nominated(29), [particle]);
}

#[test]
fn a_particle_is_best_two_windows_after_its_claim_by_a_majority_of_its_voters() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Merge, 0.5);
    assert_eq!(book.best(7), None, "x_p");
    book.vote(1, 6, 0, particle, None, GAIN).unwrap();
    assert_eq!(book.best(7), None, "one of three");
    book.vote(2, 6, 0, particle, None, GAIN).unwrap();
    assert_eq!(book.best(7), Some(particle));
    assert_eq!(book.best(6), None, "not in the window of its votes");
}

#[test]
fn votes_beside_what_was_best_before_do_not_bring_it_back() {
    let mut book = Book::new(4);
    let old = book.claim(0, 5, Role::Merge, 0.5);
    book.all_vote(5, old, None, GAIN);
    let new = book.claim(1, 7, Role::Merge, 0.6);
    book.all_vote(7, new, Some(old), GAIN);
    assert_eq!(book.best(9), Some(new));
    // A majority was away when the new one was elected.
    let next = book.claim(2, 9, Role::Merge, 0.6);
    book.all_vote(9, next, Some(old), LOSS);
    assert_eq!(book.best(11), Some(new));
}

#[test]
fn votes_that_come_late_elect_in_a_later_window() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Merge, 0.5);
    book.vote(1, 6, 0, particle, None, GAIN).unwrap();
    let late = signed(2, 0, vote(6, 0, particle, None, GAIN));
    book.records.vote(&when(8), &book.roster, &late).unwrap();
    assert_eq!(book.best(9), Some(particle));
}

#[test]
fn who_was_not_drawn_does_not_count() {
    let mut book = Book::new(40);
    let particle = book.claim(0, 5, Role::Best, 0.5);
    let drawn = book.roster.at(6).voters(&nonce_bytes(6), particle, vehicle(0), &BTreeSet::new());
    let (mut yes, no): (Vec<u8>, Vec<u8>) =
        (0..40).partition(|number| drawn.contains(&vehicle(*number)));
    assert_eq!(yes.len(), 9);
    for number in no {
        book.vote(number, 6, 0, particle, None, GAIN).unwrap();
    }
    assert_eq!(book.best(7), None);
    for number in yes.drain(..5) {
        book.vote(number, 6, 0, particle, None, GAIN).unwrap();
    }
    assert_eq!(book.best(7), Some(particle));
}

/// The claimant does not vote on its own particle.
#[test]
fn a_claimant_has_no_vote() {
    let mut book = Book::new(3);
    let particle = book.claim(0, 5, Role::Best, 0.5);
    book.vote(0, 6, 0, particle, None, GAIN).unwrap();
    book.vote(1, 6, 0, particle, None, GAIN).unwrap();
    assert_eq!(book.best(7), None);
}

/// A bound is Σ weight·(c − best) − 1.645·√Σ(weight·se)².
#[test]
fn a_gain_within_its_noise_elects_nothing() {
    for (error, elects) in [(0.0600, true), (0.0610, false)] {
        let mut book = Book::new(4);
        let particle = book.claim(0, 5, Role::Best, 0.5);
        book.all_vote(5, particle, None, (0.5, 0.4, error));
        assert_eq!(book.best(7).is_some(), elects, "0.1 − 1.645 × {error}");
    }
}

#[test]
fn one_liar_of_three_voters_neither_elects_nor_prevents() {
    for (liar, honest, elects) in [((1.0, -1.0, 0.0), LOSS, false), ((-1.0, 1.0, 0.0), GAIN, true)]
    {
        let mut book = Book::new(4);
        let particle = book.claim(0, 5, Role::Best, 0.5);
        book.vote(1, 6, 0, particle, None, liar).unwrap();
        for number in [2, 3] {
            book.vote(number, 6, 0, particle, None, honest).unwrap();
        }
        assert_eq!(book.best(7).is_some(), elects);
    }
}

/// With two of three votes the lower one decides: staying away helps no liar.
#[test]
fn a_liar_and_an_absent_voter_elect_nothing() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Best, 0.5);
    book.vote(1, 6, 0, particle, None, (1.0, -1.0, 0.0)).unwrap();
    book.vote(2, 6, 0, particle, None, LOSS).unwrap();
    assert_eq!(book.best(7), None);
}

/// Of two vehicles the other one votes; one alone elects nothing.
#[test]
fn fleets_of_two_and_of_one() {
    let mut two = Book::new(2);
    let particle = two.claim(0, 5, Role::Best, 0.5);
    two.vote(1, 6, 0, particle, None, GAIN).unwrap();
    assert_eq!(two.best(7), Some(particle));
    let mut one = Book::new(1);
    let particle = one.claim(0, 5, Role::Best, 0.5);
    one.vote(0, 6, 0, particle, None, GAIN).unwrap();
    assert_eq!(one.best(7), None);
}

#[test]
fn votes_beside_different_particles_are_not_added() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Best, 0.5);
    let [a, b] = [1, 2].map(|byte| Some(ParticleId::new([byte; 32])));
    for (number, best) in [(1, a), (2, b), (3, None)] {
        book.vote(number, 6, 0, particle, best, GAIN).unwrap();
    }
    assert_eq!(book.best(7), None);
}

#[test]
fn a_voter_who_says_two_things_of_one_nominee_has_not_voted() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Best, 0.5);
    book.vote(1, 6, 0, particle, None, GAIN).unwrap();
    book.vote(2, 6, 0, particle, None, GAIN).unwrap();
    assert!(book.best(7).is_some());
    book.vote(2, 6, 1, particle, None, LOSS).unwrap();
    assert_eq!(book.best(7), None);
}

#[test]
fn the_best_of_the_latest_window_is_best() {
    let mut book = Book::new(4);
    let first = book.claim(0, 5, Role::Merge, 0.5);
    book.all_vote(5, first, None, GAIN);
    let second = book.claim(1, 6, Role::Merge, 0.6);
    book.all_vote(6, second, None, (0.6, 0.4, 0.01));
    assert_eq!([7, 8].map(|window| book.best(window)), [Some(first), Some(second)]);
    let third = book.claim(2, 7, Role::Merge, 0.7);
    book.all_vote(7, third, Some(second), LOSS);
    assert_eq!(book.best(9), Some(second), "what is not eligible changes nothing");
}

#[test]
fn of_two_eligible_ones_the_surer_gain_is_best() {
    let mut book = Book::new(4);
    let (small, large) = (book.claim(0, 5, Role::Best, 0.9), book.claim(1, 5, Role::Merge, 0.3));
    book.all_vote(5, small, None, (0.45, 0.4, 0.01));
    book.all_vote(5, large, None, (0.60, 0.4, 0.01));
    assert_eq!(book.best(7), Some(large));
}

/// Only what was nominated can be elected: liars choose neither their voters nor how often they try.
#[test]
fn what_was_not_nominated_is_not_elected() {
    let mut book = Book::new(8);
    let claims: Vec<ParticleId> =
        (0..8).map(|i| book.claim(i, 5, Role::Best, 0.1 * f64::from(i))).collect();
    let nominated = book.nominated(5);
    assert_eq!(nominated.len(), 3, "two highest and one drawn");
    let left_out = *claims.iter().find(|claim| !nominated.contains(claim)).unwrap();
    book.all_vote(5, left_out, None, GAIN);
    assert_eq!(book.best(7), None);
}

#[test]
fn a_particle_below_a_gate_is_neither_nominated_nor_best() {
    let gated = utility_of(&[&[(0, 1.0)]], Some(4500));
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Best, 0.5);
    book.all_vote(5, particle, None, (0.44, 0.3, 0.001));
    assert_eq!(book.best(7), Some(particle));
    assert_eq!(book.read_by(&gated, 7, |quorum| quorum.best()), None, "measured below the gate");
    book.claim(1, 6, Role::Best, 0.44);
    assert!(book.read_by(&gated, 7, |quorum| quorum.nominees(6).is_empty()));
}

/// A gate that is raised ends what is best below it, also where others have measured beside it since.
#[test]
fn what_a_raised_gate_leaves_out_is_best_no_more_whoever_measured_beside_it() {
    let gated = utility_of(&[&[(0, 1.0)]], Some(4500));
    let mut book = Book::new(4);
    let first = book.claim(0, 5, Role::Best, 0.44);
    book.all_vote(5, first, None, (0.44, 0.3, 0.001));
    let second = book.claim(1, 6, Role::Best, 0.6);
    book.all_vote(6, second, Some(first), (0.4, 0.44, 0.001));
    assert_eq!(book.best(8), Some(first));
    assert_eq!(book.read_by(&gated, 8, |quorum| quorum.best()), None);
}

/// Nor by who is still on the document before.
#[test]
fn a_vote_that_is_short_takes_no_gate_away() {
    let gated = utility_of(&[&[(0, 1.0)], &[(0, 0.0)]], Some(4500));
    let mut book = Book::new(10);
    let particle = header(Role::Best, 5, 0);
    let terms = [crate::make::measured(0.5, 0.01); 2];
    let claim = signed(0, 0, crate::make::claim(&particle, &terms));
    book.records.claim(&when(5), &book.roster, &claim).unwrap();
    book.records.header(&when(5), &book.roster, &signed(0, 0, particle.clone()), 1).unwrap();
    let short = vote(6, 0, particle.id(), None, (0.6, 0.4, 0.01)).fields().clone();
    let mut whole = short.clone();
    whole.terms.extend(vote(6, 0, particle.id(), None, (0.4, 0.4, 0.01)).fields().terms.clone());
    let mut best = |numbers: core::ops::Range<u8>, fields: &shoal_wire::v1::VoteFields| {
        for number in numbers {
            let vote = signed(number, 0, shoal_wire::v1::Vote::new(fields.clone()).unwrap());
            book.records.vote(&when(6), &book.roster, &vote).unwrap();
        }
        book.read_by(&gated, 7, |quorum| quorum.best())
    };
    best(1..2, &short);
    assert_eq!(best(2..10, &whole), None, "below the gate");
    // What most have not measured has not failed.
    let gated_later = utility_of(&[&[(0, 1.0)], &[(0, 0.0)]], Some(4500));
    let mut book = Book::new(10);
    book.records.claim(&when(5), &book.roster, &claim).unwrap();
    book.records.header(&when(5), &book.roster, &signed(0, 0, particle.clone()), 1).unwrap();
    for number in 1..10 {
        let fields = if number < 6 { &short } else { &whole };
        let vote = signed(number, 0, shoal_wire::v1::Vote::new(fields.clone()).unwrap());
        book.records.vote(&when(6), &book.roster, &vote).unwrap();
    }
    let best = book.read_by(&gated_later, 7, |quorum| quorum.best());
    assert_eq!(best.map(|best| best.particle), Some(particle.id()));
}

/// Values are kept a term: when weights move, best is known again without a measurement.
#[test]
fn best_follows_the_weights() {
    let moving = utility_of(&[&[(7, 1.0), (9, 0.0)], &[(7, 0.0), (9, 1.0)]], None);
    let mut book = Book::new(4);
    let particle = header(Role::Best, 5, 0);
    let terms = [crate::make::measured(0.5, 0.01); 2];
    let claim = signed(0, 0, crate::make::claim(&particle, &terms));
    book.records.claim(&when(5), &book.roster, &claim).unwrap();
    let head = signed(0, 0, particle.clone());
    book.records.header(&when(5), &book.roster, &head, 1).unwrap();
    // Better by the first term, worse by the second.
    let mut fields = vote(6, 0, particle.id(), None, (0.6, 0.4, 0.01)).fields().clone();
    fields.terms.extend(vote(6, 0, particle.id(), None, (0.3, 0.4, 0.01)).fields().terms.clone());
    for number in 1..4 {
        let vote = signed(number, 0, shoal_wire::v1::Vote::new(fields.clone()).unwrap());
        book.records.vote(&when(6), &book.roster, &vote).unwrap();
    }
    let best = |window| book.read_by(&moving, window, |quorum| quorum.best()).is_some();
    assert_eq!([7, 8, 9].map(best), [true, true, false]);
}

#[test]
fn worst_goes_the_same_way_and_lasts_two_windows() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Worst, 0.1);
    assert_eq!(book.nominated(5), [particle]);
    book.all_vote(5, particle, None, LOSS);
    let worst = |window| book.read(window, |quorum| quorum.worst()).map(|elected| elected.particle);
    let found = Some(particle);
    assert_eq!([6, 7, 8, 9].map(worst), [None, found, found, None]);
    assert_eq!(book.best(7), None, "what is claimed as worst cannot be best");
}

/// A forged worst: the quorum finds it no worse.
#[test]
fn a_worst_that_is_not_worse_repels_nobody() {
    let mut book = Book::new(4);
    let particle = book.claim(0, 5, Role::Worst, 0.1);
    book.all_vote(5, particle, None, GAIN);
    assert_eq!(book.read(7, |quorum| quorum.worst()), None);
}

/// One honest window before: voters of window 5 say how good x_p is on its part.
pub(crate) fn with_level() -> Book {
    let mut book = Book::new(4);
    let before = book.claim(0, 4, Role::Merge, 0.4);
    book.all_vote(4, before, None, (0.40, 0.40, 0.01));
    book
}

#[test]
fn a_claim_is_broken_when_the_quorum_finds_three_standard_errors_less() {
    for (found, broken) in [(0.46, false), (0.44, true)] {
        let mut book = with_level();
        // Claimed .1 above x_p, with an error of .01; voters find less, with an error of .01, and parts differ by a quarter of what
        // they find: .04 is missing of at most 3 √(.01² + .01² + .015²) = .062, or .06 of 3 √(.01² + .01² + .01²) = .052.
        let particle = book.claim(1, 5, Role::Best, 0.5);
        book.all_vote(5, particle, None, (found, 0.4, 0.01));
        book.read(7, |quorum| {
            assert_eq!(quorum.broken(5).contains(&vehicle(1)), broken, "found {found}");
            assert_eq!(quorum.quarantined(7).contains(&vehicle(1)), broken);
        });
    }
}

/// Of two votes one may be a liar's, with the third voter away.
#[test]
fn half_of_the_votes_break_no_claim() {
    let mut book = with_level();
    let particle = book.claim(1, 5, Role::Best, 0.5);
    book.vote(2, 6, 0, particle, None, GAIN).unwrap();
    book.vote(3, 6, 0, particle, None, (-1.0, 1.0, 0.0)).unwrap();
    assert!(book.read(7, |quorum| quorum.broken(5).is_empty()));
    book.vote(0, 6, 0, particle, None, LOSS).unwrap();
    assert_eq!(book.read(7, |quorum| quorum.broken(5)), [vehicle(1)].into(), "two of three do");
}

/// Parts differ in how hard they are: a claim is judged by how much better it was than the same particle.
#[test]
fn an_honest_claim_on_an_easier_part_is_not_broken() {
    let mut book = with_level();
    let particle = book.claim(1, 5, Role::Best, 0.5);
    book.all_vote(5, particle, None, (0.20, 0.10, 0.01));
    assert!(book.read(7, |quorum| quorum.broken(5).is_empty()));
}

/// Nor is the claim of a particle that is far from its reference: what parts differ by is a share of that.
#[test]
fn an_honest_claim_of_what_is_much_worse_is_not_broken_by_another_part() {
    let mut book = with_level();
    // On its own part .2 below x_p, on that of the votes .3; their errors alone are .014.
    let particle = book.claim(1, 5, Role::Best, 0.2);
    book.all_vote(5, particle, None, (0.1, 0.4, 0.01));
    assert!(book.read(7, |quorum| quorum.broken(5).is_empty()));
}

/// That excuses nobody who claims to be as good as the reference, however bad the particle is.
#[test]
fn a_bad_particle_that_is_claimed_as_good_breaks_its_claim_at_any_size() {
    for found in [0.3, 0.0, -0.6, -1.0] {
        let mut book = with_level();
        let particle = book.claim(1, 5, Role::Best, 0.4);
        book.all_vote(5, particle, None, (found, 0.4, 0.01));
        assert_eq!(book.read(7, |quorum| quorum.broken(5)), [vehicle(1)].into(), "found {found}");
    }
    let mut book = with_level();
    let forged = book.claim(1, 5, Role::Worst, -1.0);
    book.all_vote(5, forged, None, (0.1, 0.4, 0.01));
    assert_eq!(book.read(7, |quorum| quorum.broken(5)), [vehicle(1)].into(), "a forged worst");
}

/// Who was not asked says nothing: liars who are drawn on a claim that is no nominee cannot condemn its claimant.
#[test]
fn votes_on_what_was_not_nominated_condemn_nobody() {
    let mut book = Book::new(9);
    let before = book.claim(0, 4, Role::Merge, 0.4);
    book.all_vote(4, before, None, (0.40, 0.40, 0.01));
    let claims: Vec<ParticleId> = (0..9)
        .map(|number| book.claim(number, 5, Role::Best, 0.5 + f64::from(number) / 100.0))
        .collect();
    let nominated = book.nominated(5);
    assert_eq!(nominated.len(), 3);
    let other = claims.iter().find(|one| !nominated.contains(one)).unwrap();
    book.all_vote(5, *other, None, (0.0, 0.4, 0.01));
    book.read(7, |quorum| {
        assert!(quorum.broken(5).is_empty() && quorum.ballots(5).is_empty());
    });
    book.all_vote(5, nominated[0], None, (0.0, 0.4, 0.01));
    assert_eq!(book.read(7, |quorum| quorum.broken(5).len()), 1, "a nominee's is judged");
}

/// Weights change in window 20: what was put to the vote before it stays what was put to the vote.
#[test]
fn nominees_are_those_of_the_window_that_voted_whatever_weights_come() {
    let utility = utility_of(&[&[(6, 1.0), (20, 0.0)], &[(6, 0.0), (20, 1.0)]], None);
    let mut book = Book::new(9);
    for number in 0..6_u8 {
        let header = header(Role::Best, 5, number);
        let value = f64::from(number) / 10.0;
        let terms = [crate::make::measured(value, 0.01), crate::make::measured(-value, 0.01)];
        let claim = signed(number, 0, crate::make::claim(&header, &terms));
        book.records.header(&when(5), &book.roster, &signed(number, 0, header), 1).unwrap();
        book.records.claim(&when(5), &book.roster, &claim).unwrap();
    }
    let nominees = |window| {
        let quorum = Quorum::new(&book.records, &book.roster, &utility, window).unwrap();
        quorum.nominees(5).iter().map(|nominee| nominee.claimant).collect::<Vec<_>>()
    };
    assert_eq!(nominees(6)[..2], [vehicle(5), vehicle(4)]);
    assert_eq!(nominees(6), nominees(21));
}

/// Nobody makes a claim unbreakable by saying that it is uncertain.
#[test]
fn a_claimants_own_error_counts_only_as_far_as_it_is_usual() {
    let mut book = with_level();
    for number in [0, 2] {
        book.claim(number, 5, Role::Best, 0.41);
    }
    let lie = header(Role::Best, 5, 1);
    let claim = crate::make::claim(&lie, &[crate::make::measured(1.0, 6.0)]);
    book.records.claim(&when(5), &book.roster, &signed(1, 0, claim)).unwrap();
    book.records.header(&when(5), &book.roster, &signed(1, 0, lie.clone()), 1).unwrap();
    book.all_vote(5, lie.id(), None, (0.3, 0.4, 0.01));
    assert_eq!(book.read(7, |quorum| quorum.broken(5)), [vehicle(1)].into());
}

/// Claims of no error at all make an honest error no smaller than what its voters find.
#[test]
fn claims_without_an_error_break_no_honest_claim() {
    let mut book = with_level();
    let mut claim = |number: u8, error: f64| {
        let particle = header(Role::Best, 5, number);
        let claim = crate::make::claim(&particle, &[crate::make::measured(0.5, error)]);
        book.records.claim(&when(5), &book.roster, &signed(number, 0, claim)).unwrap();
        let particle_id = particle.id();
        book.records.header(&when(5), &book.roster, &signed(number, 0, particle), 1).unwrap();
        particle_id
    };
    let [_none, honest, _neither] = [(0, 0.0), (1, 0.02), (2, 0.0)].map(|(n, e)| claim(n, e));
    // .05 is missing of at most 3 √(.01² + .01² + .0125²) = .057.
    book.all_vote(5, honest, None, (0.45, 0.4, 0.01));
    assert!(book.read(7, |quorum| quorum.broken(5).is_empty()));
}

#[test]
fn the_ledger_says_whose_word_was_kept_and_on_what_evidence_who_stands_aside() {
    let mut book = with_level();
    let good = book.claim(2, 5, Role::Merge, 0.5);
    book.all_vote(5, good, None, GAIN);
    let lie = book.claim(1, 6, Role::Best, 0.9);
    book.all_vote(6, lie, None, LOSS);
    book.read(8, |quorum| {
        let ledger = quorum.ledger(8);
        let account = |number| ledger.get(&vehicle(number)).cloned().unwrap();
        for honest in [0, 2] {
            assert_eq!(account(honest), Account { kept: 1, findings: Vec::new(), good_from: None });
        }
        let liar = account(1);
        assert_eq!((liar.kept, liar.good_from), (0, Some(15)));
        let [finding] = liar.findings.as_slice() else { panic!("{liar:?}") };
        assert_eq!((finding.window, finding.particle), (6, lie));
        assert_eq!((finding.fault, finding.counts), (Fault::Broken, true));
        assert_eq!(finding.found_by, finding.of);
        let near = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() < 1e-3;
        assert!(near(finding.said, 0.5) && near(finding.found, -0.1), "{finding:?}");
    });
    assert!(
        book.read(15, |quorum| quorum.ledger(15).is_empty()),
        "eight windows are looked back on"
    );
}

#[test]
fn who_broke_a_claim_is_not_nominated_as_highest_for_eight_windows() {
    let mut book = with_level();
    let lie = book.claim(1, 5, Role::Best, 0.9);
    book.all_vote(5, lie, None, LOSS);
    for window in [7, 13] {
        book.claim(2, window, Role::Best, 0.41);
        book.claim(3, window, Role::Best, 0.40);
        book.claim(1, window, Role::Best, 0.99);
    }
    let first = |window: u32| {
        book.read(window + 1, |quorum| quorum.nominees(window).first().unwrap().claimant)
    };
    assert_eq!([7, 13].map(first), [vehicle(2), vehicle(1)]);
    assert_eq!(book.read(13, |quorum| quorum.quarantined(13)), [vehicle(1)].into());
    assert!(book.read(14, |quorum| quorum.quarantined(14)).is_empty());
}

#[test]
fn a_merge_of_a_quarantined_vehicle_takes_no_place_of_its_own() {
    let mut book = with_level();
    let lie = book.claim(1, 5, Role::Best, 0.9);
    book.all_vote(5, lie, None, LOSS);
    book.claim(0, 7, Role::Best, 0.50);
    book.claim(2, 7, Role::Best, 0.49);
    let honest = book.claim(3, 7, Role::Merge, 0.48);
    let liars = book.claim(1, 7, Role::Merge, 0.99);
    let nominated = book.nominated(7);
    assert_eq!(nominated[2], honest);
    assert_eq!(nominated[3], liars, "it can be drawn as any other");
}

/// Vehicle 1 claims too much in window 5, which is found in window 6.
fn found_out() -> Book {
    let mut book = with_level();
    let lie = book.claim(1, 5, Role::Best, 0.9);
    book.all_vote(5, lie, None, LOSS);
    book
}

fn reinstated(orders: &[(u8, u32)]) -> Reinstated {
    Reinstated::new(orders.iter().map(|(number, from)| (vehicle(*number), *from)).collect())
        .unwrap()
}

impl Book {
    fn aside(&self, window: u32, by: &Reinstated) -> Vec<KeyId> {
        let utility = utility();
        let quorum = Quorum::new(&self.records, &self.roster, &utility, window);
        let quarantined = quorum.unwrap().reinstating(by).quarantined(window);
        quarantined.into_iter().collect()
    }
}

#[test]
fn who_is_reinstated_is_in_good_standing_from_that_window_on_and_stood_aside_before() {
    let book = found_out();
    let by = reinstated(&[(1, 9)]);
    for window in 7..15 {
        let aside = if window < 9 { vec![vehicle(1)] } else { Vec::new() };
        assert_eq!(book.aside(window, &by), aside, "{window}");
    }
    // The order is no rebate: what it names was found before.
    assert_eq!(book.aside(7, &reinstated(&[(1, 6)])), [vehicle(1)]);
    assert_eq!(book.aside(7, &reinstated(&[(1, 7)])), []);
}

#[test]
fn a_reinstatement_is_of_one_vehicle_and_of_one_that_nobody_knows_it_is_nothing() {
    let book = found_out();
    assert_eq!(book.aside(9, &reinstated(&[(0, 9), (2, 9), (99, 9)])), [vehicle(1)]);
    assert_eq!(book.aside(9, &reinstated(&[(0, 9), (1, 9), (99, 9)])), []);
}

/// A lie that is found in the window of the order, or later, counts as ever.
#[test]
fn a_lie_after_a_reinstatement_counts() {
    let mut book = found_out();
    let again = book.claim(1, 6, Role::Best, 0.95);
    book.all_vote(6, again, None, LOSS);
    for (from, aside) in [(7, vec![vehicle(1)]), (8, Vec::new())] {
        assert_eq!(book.aside(8, &reinstated(&[(1, from)])), aside, "{from}");
    }
    let both = reinstated(&[(1, 7), (1, 8)]);
    assert!([7, 8].iter().all(|window| book.aside(*window, &both).is_empty()), "each for itself");
    assert_eq!(book.aside(7, &reinstated(&[(1, 8)])), [vehicle(1)]);
}

/// What was put to the vote, and who was drawn to vote, in windows before the order's does not change with it; from then on it does.
#[test]
fn windows_before_a_reinstatement_are_read_as_before() {
    let mut book = found_out();
    for window in [7, 9] {
        book.claim(2, window, Role::Best, 0.41);
        book.claim(3, window, Role::Best, 0.40);
        book.claim(1, window, Role::Best, 0.99);
    }
    let utility = utility();
    let nominees = |claimed: u32, by: &Reinstated| {
        let quorum = Quorum::new(&book.records, &book.roster, &utility, 11).unwrap();
        quorum.reinstating(by).nominees(claimed)
    };
    // The claims of window 7 are put to the vote in window 8.
    assert_eq!(nominees(7, &reinstated(&[(1, 9)])), nominees(7, &Reinstated::NOBODY));
    assert_eq!(nominees(9, &reinstated(&[(1, 9)])).first().unwrap().claimant, vehicle(1));
    assert_eq!(nominees(9, &Reinstated::NOBODY).first().unwrap().claimant, vehicle(2));
}

#[test]
fn the_ledger_keeps_what_was_found_and_says_from_when_on_it_is_held_against_nobody() {
    let book = found_out();
    let utility = utility();
    let account = |window, by: &Reinstated| {
        let quorum = Quorum::new(&book.records, &book.roster, &utility, window).unwrap();
        quorum.reinstating(by).ledger(window).remove(&vehicle(1)).unwrap()
    };
    let by = reinstated(&[(1, 9)]);
    let (before, after) = (account(8, &by), account(9, &by));
    assert_eq!((before.good_from, before.reinstated_from()), (Some(9), Some(9)));
    assert_eq!((after.good_from, after.reinstated_from()), (None, Some(9)));
    assert_eq!([&before, &after].map(|account| account.findings.len()), [1, 1]);
    assert_eq!([&before, &after].map(|account| account.findings[0].counts), [true, false]);
    let never = account(8, &Reinstated::NOBODY);
    assert_eq!((never.good_from, never.reinstated_from()), (Some(14), None));
    // An order that comes when it is over anyway shortens nothing.
    assert_eq!(account(8, &reinstated(&[(1, 40)])).good_from, Some(14));
}
