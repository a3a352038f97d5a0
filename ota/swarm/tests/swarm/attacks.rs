//! The attacks on learning, one test of each name: what liars who hold keys of the fleet may try, and what comes of it. The
//! eighth, `slow_drift`, needs a fleet that learns: it is in [`super::fleet`]. docs/security.md lists them.

use std::collections::BTreeSet;

use shoal_swarm::quorum::Quorum;
use shoal_swarm::records::RejectRecord;
use shoal_swarm::reinstated::Reinstated;
use shoal_swarm::roster::Roster;
use shoal_wire::v1::{ClaimFields, FORMER, ParticleHeader, RefusalCode, Role, VACANT};
use shoal_wire::{KeyId, ModelHash, PackHash, ParticleId};

use crate::make::{
    Book, claim, header, measured, nonce_bytes, signed, utility, utility_of, vehicle, vote, when,
};

/// Ten vehicles; nine vote on each claim, and four of these may lie. One honest window says how good x_p is.
const VEHICLES: u8 = 10;
const LIARS: u8 = 4;
/// What honest voters find of a particle that is no better than x_p.
const SAME: (f64, f64, f64) = (0.40, 0.40, 0.01);
const BETTER: (f64, f64, f64) = (0.45, 0.40, 0.01);

fn fleet() -> Book {
    let mut book = Book::new(VEHICLES);
    let before = book.claim(9, 4, Role::Merge, 0.4);
    for number in 0..VEHICLES {
        book.vote(number, 5, 0, before, None, SAME).unwrap();
    }
    book
}

fn read<T>(book: &Book, window: u32, of: impl Fn(&Quorum<'_>) -> T) -> T {
    of(&Quorum::new(&book.records, &book.roster, &utility(), window).unwrap())
}

fn best(book: &Book, window: u32) -> Option<ParticleId> {
    read(book, window, |quorum| quorum.best().map(|best| best.particle))
}

/// Who stands aside; the ledger says the same, and why.
fn quarantined(book: &Book, window: u32) -> BTreeSet<KeyId> {
    quarantined_but(book, window, &[])
}

/// The same, where the authority reinstated these vehicles from these windows on.
fn quarantined_but(book: &Book, window: u32, orders: &[(u8, u32)]) -> BTreeSet<KeyId> {
    let orders = orders.iter().map(|(number, from)| (vehicle(*number), *from));
    let reinstated = Reinstated::new(orders.collect()).unwrap();
    let utility = utility();
    let quorum = Quorum::new(&book.records, &book.roster, &utility, window).unwrap();
    let quorum = quorum.reinstating(&reinstated);
    let aside = quorum.quarantined(window);
    let ledger = quorum.ledger(window);
    for (vehicle, account) in &ledger {
        let waits = account.good_from.is_some_and(|from| from > window);
        assert_eq!(waits, aside.contains(vehicle), "{vehicle}: {account:?}");
        for finding in &account.findings {
            assert!(finding.found_by * 2 > finding.of, "{vehicle}: {finding:?}");
        }
    }
    assert!(aside.iter().all(|vehicle| ledger.contains_key(vehicle)));
    aside
}

/// Another roster: these vehicles have other keys, and this one is gone. What was there is read by it.
fn changed(book: &mut Book, renamed: &[(u8, u8)], gone: Option<u8>) {
    let is_now = |number| renamed.iter().find(|(was, _is)| *was == number).map(|(_was, is)| *is);
    let place = |number| match (gone == Some(number), is_now(number)) {
        (true, _) => (vehicle(100), VACANT),
        (false, is) => (vehicle(is.unwrap_or(number)), 0),
    };
    let mut rows: Vec<(KeyId, u16)> = (0..VEHICLES).map(place).collect();
    rows.push((vehicle(101), FORMER));
    rows.extend(renamed.iter().map(|(was, _is)| (vehicle(*was), u16::from(*was))));
    book.roster = Roster::of_rows(rows).unwrap();
    book.records.keep(&book.roster);
}

/// The liars 0 to 3 vote this on a particle claimed in window 5, the others that.
fn votes(
    book: &mut Book,
    place: u8,
    particle: ParticleId,
    liars: (f64, f64, f64),
    honest: (f64, f64, f64),
) {
    for number in 0..VEHICLES {
        let found = if number < LIARS { liars } else { honest };
        book.vote(number, 6, place, particle, None, found).unwrap();
    }
}

/// Claims more than is there. Voters measure it themselves: it is not elected, and who claimed it stands aside.
#[test]
fn inflated_utility() {
    let mut book = fleet();
    let lie = book.claim(0, 5, Role::Merge, 0.99);
    votes(&mut book, 0, lie, SAME, SAME);
    assert_eq!(best(&book, 7), None);
    assert_eq!(quarantined(&book, 7), [vehicle(0)].into());
}

/// Four of nine voters say that a lie is good and that what is good is bad: it is not elected, the good one is, and nobody
/// honest is quarantined.
#[test]
fn colluding_voters() {
    let mut book = fleet();
    let good = book.claim(9, 5, Role::Merge, 0.45);
    let lie = book.claim(0, 5, Role::Merge, 0.99);
    votes(&mut book, 0, lie, (1.0, -1.0, 0.0), SAME);
    votes(&mut book, 1, good, (-1.0, 1.0, 0.0), BETTER);
    assert_eq!(best(&book, 7), Some(good));
    assert!(quarantined(&book, 7).is_subset(&(0..LIARS).map(vehicle).collect()));
}

/// Votes what those who voted beside it did not find. Where three in four of those drawn found the same it stands aside; where
/// fewer did, nobody does, for nobody knows who lies.
#[test]
fn false_votes() {
    for (liars, aside) in [(0, 0..0), (1, 0..1), (2, 0..2), (3, 0..0), (6, 0..0), (7, 7..9)] {
        let mut book = fleet();
        let good = book.claim(9, 5, Role::Merge, 0.45);
        for number in 0..VEHICLES {
            // Engines round: what differs by less than three standard errors is no lie.
            let rounded = (BETTER.0 + f64::from(number) * 0.003, BETTER.1, BETTER.2);
            let found = if number < liars { (-1.0, 1.0, 0.0) } else { rounded };
            book.vote(number, 6, 0, good, None, found).unwrap();
        }
        let aside: BTreeSet<KeyId> = aside.map(vehicle).collect();
        let misvoted = read(&book, 7, |quorum| quorum.misvoted(5));
        assert_eq!(misvoted, aside.iter().map(|voter| (good, *voter)).collect(), "{liars}");
        // A majority that lies breaks the claim, too.
        let honest = quarantined(&book, 7).into_iter().filter(|one| *one != vehicle(9));
        assert_eq!(honest.collect::<BTreeSet<_>>(), aside, "{liars}");
    }
}

/// Five of nine voters break a claim that holds. In the next window one of them votes falsely among honest ones, or all find that what it
/// claims is not there: what it found before is held against nobody, and what four of nine found breaks no claim.
#[test]
fn who_is_sure_to_lie_has_condemned_nobody() {
    let lie = (-1.0, 0.40, 0.0);
    for (votes, claims, aside) in [(false, false, 9), (true, false, 0), (false, true, 0)] {
        let mut book = fleet();
        let good = book.claim(9, 5, Role::Merge, 0.45);
        for number in 0..9 {
            let found = if number <= LIARS { lie } else { BETTER };
            book.vote(number, 6, 0, good, None, found).unwrap();
        }
        assert_eq!(quarantined(&book, 7), [vehicle(9)].into());
        let (claimant, utility) = if claims { (0, 0.99) } else { (8, 0.45) };
        let other = book.claim(claimant, 6, Role::Merge, utility);
        for number in (0..VEHICLES).filter(|number| *number != claimant) {
            let found = if number == 0 && votes { lie } else { BETTER };
            book.vote(number, 7, 0, other, None, found).unwrap();
        }
        assert_eq!(quarantined(&book, 8), [vehicle(aside)].into(), "{votes} {claims}");
        // Reinstated, it is in good standing; what it found is not believed for that.
        let but = quarantined_but(&book, 8, &[(aside, 8)]);
        assert_eq!(but, BTreeSet::new(), "{votes} {claims}");
        // What it said and what it voted, in window 7, is a lie after a reinstatement from there on.
        let but = quarantined_but(&book, 8, &[(0, 7)]);
        assert_eq!(but, [vehicle(aside)].into(), "{votes} {claims}");
        assert_eq!(read(&book, 8, |quorum| quorum.broken(5)), [vehicle(9)].into(), "it was said");
    }
}

/// Claims a good particle as worst, so that all keep away from it: voters find it no worse than x_p, and it repels nobody.
#[test]
fn forged_worst() {
    let mut book = fleet();
    let good = header(Role::Worst, 5, 9);
    let forged = book.claim_of(0, &good, -0.99);
    votes(&mut book, 0, forged, (-1.0, 1.0, 0.0), BETTER);
    assert_eq!(read(&book, 7, |quorum| quorum.worst().map(|worst| worst.particle)), None);
    assert_eq!(quarantined(&book, 7), [vehicle(0)].into());
}

/// Publishes somebody's particle as its own, to be counted twice: equal particles have one name and are one nominee, and
/// whoever claims it highest answers for it.
#[test]
fn duplicate_particle() {
    let mut book = fleet();
    let merge = header(Role::Merge, 5, 9);
    book.claim_of(9, &merge, 0.45);
    for copier in 0..LIARS {
        book.claim_of(copier, &merge, 0.99);
    }
    let nominees = read(&book, 6, |quorum| quorum.nominees(5));
    assert_eq!(nominees.len(), 1);
    votes(&mut book, 0, merge.id(), BETTER, BETTER);
    assert_eq!(best(&book, 7), Some(merge.id()), "it is as good as it is");
    assert_eq!(quarantined(&book, 7), (0..LIARS).map(vehicle).collect(), "they claimed more");
}

/// Claims much once voters have begun, so that what they vote on is no nominee any more, and nothing is elected: nobody votes on such
/// claims, so that nobody finds out. What was put to the vote counts, as long as no more than two vehicles do that in a window.
#[test]
fn claims_behind_the_vote() {
    let mut book = fleet();
    let good = book.claim(9, 5, Role::Merge, 0.45);
    let other = book.claim(8, 5, Role::Merge, 0.44);
    let asked = read(&book, 6, |quorum| quorum.nominees(5));
    assert_eq!(asked.iter().map(|one| one.particle).collect::<Vec<_>>(), [good, other]);
    votes(&mut book, 0, good, BETTER, BETTER);
    let worse = (0.2, 0.40, 0.01);
    votes(&mut book, 1, other, worse, worse);
    assert_eq!((best(&book, 7), quarantined(&book, 7)), (Some(good), [vehicle(8)].into()));
    for late in [0, 1] {
        book.claim(late, 5, Role::Merge, 0.99);
    }
    let asked = read(&book, 6, |quorum| quorum.nominees(5));
    assert!(asked.iter().take(2).all(|one| one.claimant < vehicle(2)), "they would be asked about");
    assert_eq!((best(&book, 7), quarantined(&book, 7)), (Some(good), [vehicle(8)].into()));
}

/// Claims what is true of the utility, and false of a term that has no weight but a gate: voters refuse the particle for it, and it held a
/// nominee's place in every window. What is near the gate by no more than was measured is no lie, nor what passes it.
#[test]
fn false_of_a_gate_alone() {
    let gated = utility_of(&[&[(0, 1.0)], &[(0, 0.0)]], Some(3000));
    for (claims, finds, broken) in
        [(0.5, 0.1, true), (0.31, 0.29, false), (0.9, 0.5, false), (0.32, -0.2, true)]
    {
        for role in [Role::Merge, Role::Worst] {
            let mut book = Book::new(VEHICLES);
            let all =
                |book: &mut Book, (claimant, window), role, of: (f64, f64), found: (f64, f64)| {
                    let header = header(role, window, claimant);
                    let terms = [measured(of.0, 0.01), measured(of.1, 0.01)];
                    let claim = signed(claimant, 0, claim(&header, &terms));
                    book.records.claim(&when(window), &book.roster, &claim).unwrap();
                    let header = signed(claimant, 0, header);
                    book.records.header(&when(window), &book.roster, &header, 1).unwrap();
                    for number in (0..VEHICLES).filter(|number| *number != claimant) {
                        let vote =
                            |value| vote(window + 1, 0, header.body.id(), None, (value, 0.4, 0.01));
                        let mut fields = vote(found.0).fields().clone();
                        fields.terms.extend(vote(found.1).fields().terms.clone());
                        let vote = signed(number, 0, shoal_wire::v1::Vote::new(fields).unwrap());
                        book.records.vote(&when(window + 1), &book.roster, &vote).unwrap();
                    }
                    header.body.id()
                };
            all(&mut book, (9, 4), Role::Merge, (0.4, 0.4), (0.4, 0.4));
            let value = if role == Role::Worst { 0.35 } else { 0.45 };
            let lie = all(&mut book, (0, 5), role, (value, claims), (value, finds));
            let quorum = Quorum::new(&book.records, &book.roster, &gated, 7).unwrap();
            let aside: BTreeSet<KeyId> = broken.then(|| vehicle(0)).into_iter().collect();
            assert_eq!(quorum.quarantined(7), aside, "{role:?}: {claims} {finds}");
            let mut elected = [quorum.best(), quorum.worst()].into_iter().flatten();
            let elected = elected.any(|one| one.particle == lie);
            assert_eq!(elected, finds >= 0.3, "{role:?}: {claims} {finds}");
        }
    }
}

/// A particle of another base model is refused by its header; its claim counts for nothing.
#[test]
fn base_mismatch() {
    let mut book = fleet();
    let mut fields = header(Role::Merge, 5, 1).fields().clone();
    fields.base_model = ModelHash::new([9; 32]);
    let other = ParticleHeader::new(fields).unwrap();
    let rejected = book.records.header(&when(5), &book.roster, &signed(1, 0, other.clone()), 1);
    assert_eq!(rejected.unwrap_err().code(), RefusalCode::WrongBaseModel);
    let claim = signed(1, 0, claim(&other, &[measured(0.99, 0.01)]));
    book.records.claim(&when(5), &book.roster, &claim).unwrap();
    assert!(read(&book, 6, |quorum| quorum.nominees(5).is_empty()));
}

/// Measures on an older pack, which it knows by heart: neither its claims nor its votes count.
#[test]
fn pack_rollback() {
    let mut book = fleet();
    let lie = header(Role::Merge, 5, 1);
    let of_old = ClaimFields {
        pack: PackHash::new([0x0d; 32]),
        ..claim(&lie, &[measured(0.99, 0.01)]).fields().clone()
    };
    let of_old = signed(1, 0, shoal_wire::v1::Claim::new(of_old).unwrap());
    book.records.header(&when(5), &book.roster, &signed(1, 0, lie), 1).unwrap();
    book.records.claim(&when(5), &book.roster, &of_old).unwrap();
    assert!(read(&book, 6, |quorum| quorum.nominees(5).is_empty()));

    let good = book.claim(9, 5, Role::Merge, 0.45);
    for number in 0..VEHICLES {
        let mut fields = vote(6, 0, good, None, BETTER).fields().clone();
        fields.pack = PackHash::new([0x0d; 32]);
        let old = signed(number, 0, shoal_wire::v1::Vote::new(fields).unwrap());
        book.records.vote(&when(6), &book.roster, &old).unwrap();
    }
    assert_eq!(best(&book, 7), None, "votes on another pack elect nothing");
}

/// One certificate has one voice: keys that are not on the roster say nothing, and one that says a thing in every place of its
/// votes has said it once.
#[test]
fn sybil() {
    let mut book = fleet();
    let lie = book.claim(0, 5, Role::Merge, 0.99);
    let strangers = (20..60).map(|number| book.vote(number, 6, 0, lie, None, BETTER));
    let refused: Vec<_> = strangers.map(Result::unwrap_err).collect();
    assert!(refused.iter().all(|why| matches!(why, RejectRecord::UnknownVehicle { .. })));
    let voters = book.roster.at(6).voters(&nonce_bytes(6), lie, vehicle(0), &BTreeSet::new());
    assert!(voters.contains(&vehicle(1)) && voters.len() == 9);
    for place in 0..4 {
        book.vote(1, 6, place, lie, None, BETTER).unwrap();
    }
    let ballots = read(&book, 7, |quorum| quorum.ballots(5).to_vec());
    assert!(ballots.iter().all(|ballot| ballot.particle != lie), "one vote of nine");
    assert_eq!(best(&book, 7), None);
}

/// A liar has another key by now: it stands aside all the same, for those who were there, and for who comes later and takes in what it
/// signed with the one before.
#[test]
fn another_key_sheds_no_quarantine() {
    let mut book = fleet();
    let lie = book.claim(0, 5, Role::Merge, 0.99);
    votes(&mut book, 0, lie, SAME, SAME);
    changed(&mut book, &[(0, 20)], None);
    assert_eq!(quarantined(&book, 7), [vehicle(0), vehicle(20)].into());

    // Reinstated by either key, it is under both.
    for by in [0, 20] {
        assert_eq!(quarantined_but(&book, 7, &[(by, 7)]), BTreeSet::new(), "{by}");
    }

    let mut later = Book::new(VEHICLES);
    changed(&mut later, &[(0, 20)], None);
    let before = later.claim(9, 4, Role::Merge, 0.4);
    for number in 0..VEHICLES {
        later.vote(number, 5, 0, before, None, SAME).unwrap();
    }
    let lie = later.claim(0, 5, Role::Merge, 0.99);
    votes(&mut later, 0, lie, SAME, SAME);
    assert_eq!(later.records, book.records);
    assert_eq!(quarantined(&later, 7), [vehicle(0), vehicle(20)].into());

    // The same of who claimed and did not serve.
    let mut book = fleet();
    let gone = book.claim(0, 5, Role::Merge, 0.4);
    for voter in 1..VEHICLES {
        book.missing(voter, 6, 0, gone);
    }
    assert_eq!(quarantined(&book, 7), [vehicle(0)].into());
    changed(&mut book, &[(0, 20)], None);
    assert_eq!(quarantined(&book, 7), [vehicle(0), vehicle(20)].into());
}

/// A claimant and two voters have other keys by now. What they said before counts as before; what the claimant says of that window
/// under its other key, and is not the same, voids both.
#[test]
fn what_was_said_under_the_key_before_counts_and_is_not_said_twice() {
    let mut book = fleet();
    let good = book.claim(8, 5, Role::Merge, 0.46);
    votes(&mut book, 0, good, BETTER, BETTER);
    assert_eq!(best(&book, 7), Some(good));
    changed(&mut book, &[(1, 21), (5, 25), (8, 28)], None);
    assert_eq!(best(&book, 7), Some(good));
    book.claim(28, 5, Role::Merge, 0.99);
    assert!(read(&book, 6, |quorum| quorum.nominees(5)).is_empty());
    assert_eq!(best(&book, 7), None);
}

/// Who is put out of the fleet takes with it what it said, and nothing else.
#[test]
fn who_is_revoked_counts_no_more_and_others_as_before() {
    let mut book = fleet();
    let (good, other) = (book.claim(8, 5, Role::Merge, 0.46), book.claim(7, 5, Role::Merge, 0.45));
    votes(&mut book, 0, good, BETTER, BETTER);
    let less = (0.44, 0.40, 0.01);
    votes(&mut book, 1, other, less, less);
    changed(&mut book, &[], Some(3));
    assert_eq!(best(&book, 7), Some(good), "eight voters of nine say so");
    changed(&mut book, &[], Some(8));
    assert_eq!(best(&book, 7), Some(other));
    let when = when(5);
    let claim = signed(8, 0, claim(&header(Role::Merge, 5, 8), &[measured(0.46, 0.01)]));
    let refused = book.records.claim(&when, &book.roster, &claim).unwrap_err();
    assert_eq!(refused.code(), RefusalCode::UnknownKey);
}
