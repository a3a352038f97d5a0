//! The set of records: joining is union, lies void, age ends.

use proptest::prelude::*;
use shoal_swarm::records::{Records, RejectRecord, Signed, When, age_windows};
use shoal_swarm::roster::Roster;
use shoal_wire::v1::{Claim, Nonce, NonceFields, ParticleHeader, RefusalCode, Role, Vote};
use shoal_wire::{LayoutHash, ModelHash, ParticleId};

use crate::make::{
    Book, SHAPE, claim, header, measured, nonce, nonce_bytes, roster, signed, vehicle, vote, when,
};

/// Any record.
#[derive(Clone, Debug)]
enum Any {
    Claim(Signed<Claim>),
    Header(Box<Signed<ParticleHeader>>, u8),
    Vote(Signed<Vote>),
    Nonce(Signed<Nonce>),
}

fn take(
    records: &mut Records,
    roster: &Roster,
    at: &When,
    any: &Any,
) -> Result<bool, RejectRecord> {
    match any {
        Any::Claim(claim) => records.claim(at, roster, claim),
        Any::Header(header, slot) => records.header(at, roster, header, *slot),
        Any::Vote(vote) => records.vote(at, roster, vote),
        Any::Nonce(nonce) => records.nonce(at, nonce),
    }
}

/// Records of a small fleet with few keys, so that many collide: the same twice, the same sealed anew, lies.
fn record() -> impl Strategy<Value = Any> {
    let id = |mark: u8| ParticleId::new([mark; 32]);
    prop_oneof![
        (0_u8..5, 0_u8..2, 0_u32..3, 0_u8..2).prop_map(|(signer, mark, window, value)| {
            let header = header(Role::Best, window, 3);
            let terms = [measured(f64::from(value) / 10.0, 0.01)];
            Any::Claim(signed(signer, mark, claim(&header, &terms)))
        }),
        (0_u8..5, 0_u8..2, 0_u32..3, 0_u8..2, 0_u8..3).prop_map(
            |(signer, mark, window, particle, slot)| {
                let header = header(Role::Merge, window, particle);
                Any::Header(Box::new(signed(signer, mark, header)), slot)
            }
        ),
        (0_u8..5, 0_u8..2, 1_u32..4, 0_u8..2, 0_u8..2).prop_map(
            move |(signer, mark, window, place, value)| {
                let found = (f64::from(value) / 10.0, 0.0, 0.01);
                Any::Vote(signed(signer, mark, vote(window, place, id(3), None, found)))
            }
        ),
        (0_u8..3, 0_u32..3).prop_map(|(mark, window)| {
            let mut nonce = nonce_bytes(window);
            nonce[9] = mark;
            let fields = NonceFields { window, nonce, utc_seconds: 1 };
            Any::Nonce(signed(200, mark, Nonce::new(fields).unwrap()))
        }),
    ]
}

proptest! {
    /// Order, loss of some that come again, and repetition do not matter.
    #[test]
    fn any_order_of_arrival_gives_the_same_set(
        records in prop::collection::vec(record(), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 120),
    ) {
        let roster = roster(4);
        let mut once = Records::new(SHAPE);
        for record in &records {
            let _rejected = take(&mut once, &roster, &when(3), record);
        }
        let mut again = Records::new(SHAPE);
        for index in &order {
            let _rejected = take(&mut again, &roster, &when(3), index.get(&records));
        }
        for record in records.iter().rev() {
            let _rejected = take(&mut again, &roster, &when(3), record);
        }
        prop_assert_eq!(once, again);
    }
}

#[test]
fn two_records_that_contradict_each_other_are_both_void() {
    let mut book = Book::new(4);
    let header = header(Role::Best, 5, 1);
    let claim = |value, mark| signed(1, mark, claim(&header, &[measured(value, 0.01)]));
    let mut take = |claim: &Signed<Claim>| book.records.claim(&when(5), &book.roster, claim);
    let lie = RejectRecord::Contradicted { signer: vehicle(1) };
    assert_eq!(take(&claim(0.5, 0)), Ok(true));
    assert_eq!(take(&claim(0.9, 0)), Err(lie));
    assert_eq!(lie.code(), RefusalCode::Contradicted);
    let void = Err(RejectRecord::Void { signer: vehicle(1) });
    assert_eq!(take(&claim(0.5, 0)), void, "and it stays so");
    assert_eq!(book.records.claims(5).count(), 0);
}

/// Sealed anew after a power cut: another record, but no other statement.
#[test]
fn the_same_statement_twice_is_no_lie() {
    let mut book = Book::new(4);
    let header = header(Role::Best, 5, 1);
    for mark in [3, 1, 2] {
        let claim = signed(1, mark, claim(&header, &[measured(0.5, 0.01)]));
        assert!(book.records.claim(&when(5), &book.roster, &claim).is_ok());
    }
    assert_eq!(book.records.claims(5).count(), 1);
}

#[test]
fn what_a_record_may_not_be_has_its_own_error() {
    let mut book = Book::new(4);
    let good = signed(1, 0, claim(&header(Role::Best, 5, 1), &[measured(0.5, 0.01)]));
    let mut take = |at: &When, claim: &Signed<Claim>| book.records.claim(at, &book.roster, claim);
    let stranger = Signed { signer: vehicle(9), ..good.clone() };
    let rejected = take(&when(5), &stranger).unwrap_err();
    assert_eq!(rejected, RejectRecord::UnknownVehicle { signer: vehicle(9) });
    let over = Signed { not_after_seconds: 999, ..good.clone() };
    let expired = RejectRecord::Expired { not_after_seconds: 999, utc_seconds: 1_000 };
    assert_eq!(take(&when(5), &over), Err(expired));
    for (window, from, to) in [(3, 0, 4), (23, 6, 24)] {
        let rejected = RejectRecord::WrongWindow { got: 5, from, to };
        assert_eq!(take(&when(window), &good), Err(rejected));
    }

    let mut fields = header(Role::Best, 5, 1).fields().clone();
    let mut header = |fields: &shoal_wire::v1::ParticleHeaderFields| {
        let header = signed(1, 0, ParticleHeader::new(fields.clone()).unwrap());
        book.records.header(&when(5), &book.roster, &header, 1).unwrap_err().code()
    };
    fields.base_model = ModelHash::new([9; 32]);
    assert_eq!(header(&fields), RefusalCode::WrongBaseModel);
    fields.base_model = SHAPE.base_model;
    fields.layout = LayoutHash::new([9; 32]);
    assert_eq!(header(&fields), RefusalCode::WrongLayout);
    fields.layout = SHAPE.layout;
    fields.values = 4;
    assert_eq!(header(&fields), RefusalCode::WrongLayout);
}

/// A claim that nobody could have voted on must not change who was nominated.
#[test]
fn a_claim_of_the_past_comes_too_late_for_who_was_there() {
    let mut book = Book::new(4);
    let claim = signed(1, 0, claim(&header(Role::Best, 5, 1), &[measured(0.5, 0.01)]));
    book.records.attend(6);
    let late = RejectRecord::WrongWindow { got: 5, from: 6, to: 8 };
    assert_eq!(book.records.claim(&when(7), &book.roster, &claim), Err(late));

    let mut absent = Book::new(4);
    absent.records.attend(2);
    assert_eq!(absent.records.claim(&when(7), &absent.roster, &claim), Ok(true));
    absent.records.attend(7);
    assert_eq!(absent.records.claim(&when(8), &absent.roster, &claim), Ok(false), "a repetition");
}

#[test]
fn the_newest_nonce_of_a_window_counts() {
    let mut records = Records::new(SHAPE);
    let nonce = |counter, byte| {
        let fields = NonceFields { window: 3, nonce: [byte; 32], utc_seconds: 1 };
        Signed { counter, ..signed(200, byte, Nonce::new(fields).unwrap()) }
    };
    assert_eq!(records.nonce(&when(3), &nonce(5, 1)), Ok(true));
    assert_eq!(records.nonce(&when(3), &nonce(5, 1)), Ok(false));
    assert_eq!(records.nonce(&when(3), &nonce(6, 2)), Ok(true));
    let old = RejectRecord::OldCounter { got: 5, newest: 6 };
    assert_eq!(records.nonce(&when(3), &nonce(5, 1)), Err(old));
    assert_eq!(records.nonce_of(3), Some(&[2; 32]));
}

/// After the timekeeper was replaced, the one before is no longer read by who joins: the copy of the one after stays.
#[test]
fn a_nonce_that_another_timekeeper_signed_again_is_no_old_one() {
    let nonce = |signer, byte| {
        let fields = NonceFields { window: 3, nonce: [byte; 32], utc_seconds: 1 };
        Signed { counter: 5, ..signed(signer, signer, Nonce::new(fields).unwrap()) }
    };
    for (before, after) in [(200, 201), (201, 200)] {
        let mut records = Records::new(SHAPE);
        assert_eq!(records.nonce(&when(3), &nonce(before, 1)), Ok(true));
        assert_eq!(records.nonce(&when(3), &nonce(after, 1)), Ok(true));
        assert_eq!(records.nonces().collect::<Vec<_>>(), [nonce(after, 1).id]);
        assert_eq!(records.nonce(&when(3), &nonce(after, 1)), Ok(false));
    }
    let mut others = [nonce(200, 1), nonce(201, 2)];
    others.sort_by_key(|nonce| nonce.id);
    let [low, high] = others;
    let mut records = Records::new(SHAPE);
    assert_eq!(records.nonce(&when(3), &high), Ok(true));
    let old = RejectRecord::OldCounter { got: 5, newest: 5 };
    assert_eq!(records.nonce(&when(3), &low), Err(old), "it says something else");
}

/// Four windows or eight days, whichever is longer; no sooner than claims are judged; then eight more, because standing looks back on them.
#[test]
fn a_record_leaves_by_age_alone_unless_its_particle_is_held() {
    assert_eq!(
        [30 * 86_400, 7 * 86_400, 86_400, 3600, 5, 0].map(age_windows),
        [4, 4, 8, 64, 64, 64]
    );
    let mut book = Book::new(4);
    let (held, other) = (book.claim(1, 5, Role::Best, 0.5), book.claim(2, 5, Role::Best, 0.4));
    for particle in [held, other] {
        book.vote(3, 6, (particle == other).into(), particle, None, (0.5, 0.4, 0.01)).unwrap();
    }
    book.records.expire(&when(22), &[held]);
    assert_eq!((book.records.claims(5).count(), book.records.votes(6).count()), (2, 2));

    book.records.expire(&when(24), &[held]);
    let left: Vec<ParticleId> = book.records.claims(5).map(|claim| claim.body.particle).collect();
    assert_eq!(left, [held]);
    assert_eq!(book.records.particles(5).count(), 1);
    assert_eq!(book.records.votes(6).count(), 1);
    assert!(book.records.nonce_of(5).is_some() && book.records.nonce_of(6).is_some());
    assert!(book.records.nonce_of(4).is_none());

    book.records.expire(&when(24), &[]);
    assert_eq!(book.records.claimed_windows(), Vec::<u32>::new());
}

/// However many a liar sends, each vehicle has so many places.
#[test]
fn a_vehicle_fills_a_bounded_number_of_places() {
    let mut book = Book::new(4);
    for mark in 0..100 {
        let header = header(Role::Best, 5, mark);
        let claim = signed(1, mark, claim(&header, &[measured(0.1, 0.01)]));
        let _rejected = book.records.claim(&when(5), &book.roster, &claim);
        let header = signed(1, mark, header);
        let _rejected = book.records.header(&when(5), &book.roster, &header, 1);
        let vote = vote(5, mark % 4, header.body.id(), None, (0.1, 0.1, 0.1));
        let _rejected = book.records.vote(&when(5), &book.roster, &signed(1, mark, vote));
    }
    assert_eq!(book.records.count(), 30 + 1 + 1 + 4);
}

#[test]
fn a_nonce_is_kept_by_window() {
    let mut records = Records::new(SHAPE);
    records.nonce(&when(3), &nonce(2)).unwrap();
    assert_eq!(records.nonce_of(2), Some(&nonce_bytes(2)));
    assert_eq!(records.nonce_of(3), None);
}

/// Some read claims and headers themselves, others what beacons passed on of them: the header of the slot that the claim names.
#[test]
fn a_header_counts_in_the_slot_that_its_claim_names() {
    for (slots, counts) in [(&[1_u8][..], true), (&[0, 1], true), (&[1, 4], true), (&[0], false)] {
        let mut book = Book::new(4);
        let header = header(Role::Merge, 5, 1);
        let claim = signed(1, 0, claim(&header, &[measured(0.5, 0.01)]));
        book.records.claim(&when(5), &book.roster, &claim).unwrap();
        for (mark, slot) in (0..).zip(slots) {
            // Sealed once for each, or one for both.
            for header in [signed(1, 0, header.clone()), signed(1, mark, header.clone())] {
                book.records.header(&when(5), &book.roster, &header, *slot).unwrap();
            }
        }
        assert_eq!(
            book.read(6, |quorum| quorum.nominees(5).len()),
            usize::from(counts),
            "{slots:?}"
        );
        assert_eq!(book.records.particles(5).count(), 1, "{slots:?}");
    }
}
