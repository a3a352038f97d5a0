//! What holds for every envelope and every bytes.

use crate::common::{forged, keys, sealed, secret, verify, verify_as_said};
use crate::generate;
use crate::refusals::written;
use crate::samples::{self, header, plan};
use proptest::prelude::*;
use shoal_wire::v1::{
    Document, DocumentFields, Growth, ParticleHeader, Roster, RosterFields, RosterPage,
    RosterPageFields, Rule, WindowPlan,
};
use shoal_wire::{Body, Kind, PublicKey, RejectEnvelope, Stream, Unverified, seal};

/// By a stream, in pieces of these sizes, around and around.
fn verify_in_pieces<'a, T: Body<'a>>(
    bytes: &'a [u8],
    sizes: &[usize],
) -> Result<(), RejectEnvelope> {
    let mut stream = Stream::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, left) = rest.split_at((*size).min(rest.len()));
        stream.push(piece)?;
        rest = left;
        if rest.is_empty() {
            break;
        }
    }
    stream.finish(&keys())?.open::<T>(bytes).map(|_verified| ())
}

/// Sealed and read again: the same body, from bytes that say nothing else.
fn survives<'a, T: Body<'a> + PartialEq>(body: &T, bytes: &'a mut Vec<u8>) -> bool {
    *bytes = sealed(body);
    let verified = Unverified::decode(bytes).unwrap().verify::<T>(&keys()).unwrap();
    verified.body() == body
}

/// The body of a sample, of any kind.
fn sample_bodies() -> Vec<(Kind, Vec<u8>)> {
    let rows = samples::vehicles(1, 3);
    let page = RosterPageFields { version: 1, index: 0, vehicles: &rows };
    let roster = RosterFields { version: 1, vehicles: 1_500, pages: &[0x55; 64] };
    vec![
        (Kind::Claim, written(&samples::claim_fields())),
        (Kind::Vote, written(&samples::vote_fields())),
        (Kind::ParticleHeader, written(&samples::header_fields(3))),
        (Kind::ParticleHeader, written(&samples::merge_fields(3, 2))),
        (Kind::Presence, written(&samples::presence_fields())),
        (Kind::Nonce, written(samples::nonce().fields())),
        (Kind::WindowPlan, written(&samples::plan_fields())),
        (Kind::Roster, written(&roster)),
        (Kind::RosterPage, written(&page)),
        (Kind::UtilityDocument, written(&samples::utility_fields())),
        (Kind::SwarmDocument, written(&samples::swarm_fields(Rule::Paper(samples::paper())))),
        (
            Kind::SwarmDocument,
            written(&samples::swarm_fields(Rule::Consensus(samples::consensus()))),
        ),
        (Kind::Refusal, written(samples::refusal().fields())),
        (Kind::Document, written(samples::document().fields())),
    ]
}

proptest! {
    #[test]
    fn every_claim_survives_the_air(body in generate::claims()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_vote_survives_the_air(body in generate::votes()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_header_survives_the_air(body in generate::headers()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_presence_survives_the_air(body in generate::presences()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_nonce_survives_the_air(body in generate::nonces()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_plan_survives_the_air(body in generate::plans()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_utility_survives_the_air(body in generate::utilities()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_swarm_survives_the_air(body in generate::swarms()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_refusal_survives_the_air(body in generate::refusals()) {
        prop_assert!(survives(&body, &mut Vec::new()));
    }

    #[test]
    fn every_page_and_its_roster_survive_the_air(
        version: u32, first in 0_u32..1_000, count in 1_u32..8, index in 0_u16..1_024,
    ) {
        let rows = samples::vehicles(first, count);
        let fields = RosterPageFields { version, index, vehicles: &rows };
        prop_assert!(survives(&RosterPage::new(fields).unwrap(), &mut Vec::new()));
        let mut hashes = vec![0x55; 32 * (usize::from(index) + 1)];
        let vehicles = 1_024 * u32::from(index) + count;
        hashes.extend((1..vehicles).take(3).flat_map(|n| Growth { window: first + n, places: n }.encode()));
        let fields = RosterFields { version, vehicles, pages: &hashes };
        prop_assert!(survives(&Roster::new(fields).unwrap(), &mut Vec::new()));
    }

    #[test]
    fn every_document_survives_the_air(
        name in "[ -~]{1,64}", version: u32, bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let fields = DocumentFields { name: &name, version, bytes: &bytes };
        prop_assert!(survives(&Document::new(fields).unwrap(), &mut Vec::new()));
    }

    #[test]
    fn a_head_survives_the_air(counter: u64, not_after: u64) {
        let mut buffer = [0; 256];
        let bytes = seal(&plan(), counter, not_after, &secret(), &mut buffer).unwrap().bytes();
        let verified = Unverified::decode(bytes).unwrap().verify::<WindowPlan>(&keys()).unwrap();
        prop_assert_eq!(verified.head().counter, counter);
        prop_assert_eq!(verified.head().not_after_seconds, not_after);
    }

    #[test]
    fn bytes_of_a_body_are_refused_or_written_again_as_they_are(
        sample in prop::sample::select(sample_bodies()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4),
    ) {
        let (kind, mut body) = sample;
        for (index, byte, how) in changes {
            let at = index.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => _ = body.remove(at),
            }
        }
        let envelope = forged(kind.number(), 1, &body);
        match verify_as_said(&envelope, &keys()) {
            Ok(sealed) => prop_assert_eq!(sealed, envelope),
            Err(RejectEnvelope::Body(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn pieces_of_any_size_verify_as_the_whole_does(sizes in prop::collection::vec(1_usize..80, 1..6)) {
        prop_assert_eq!(verify_in_pieces::<ParticleHeader>(&sealed(&header(3)), &sizes), Ok(()));
    }

    #[test]
    fn a_changed_byte_is_refused_in_pieces_too(
        sizes in prop::collection::vec(1_usize..80, 1..6), index: prop::sample::Index, change in 1_u8..,
    ) {
        let mut bytes = sealed(&header(3));
        let index = index.index(bytes.len());
        bytes[index] ^= change;
        prop_assert!(verify_in_pieces::<ParticleHeader>(&bytes, &sizes).is_err());
    }

    #[test]
    fn no_bytes_panic_a_decoder(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400), real_head: bool, kind in 0_u8..14,
    ) {
        if real_head && bytes.len() >= 98 {
            bytes[..4].copy_from_slice(b"SHL1");
            bytes[4..6].copy_from_slice(&[kind, 1]);
            bytes[6..14].copy_from_slice(secret().public().id().bytes());
            let body_bytes = u32::try_from(bytes.len() - 98).unwrap();
            bytes[30..34].copy_from_slice(&body_bytes.to_le_bytes());
        }
        prop_assert!(verify_as_said(&bytes, &keys()).is_err());
        prop_assert!(verify_in_pieces::<WindowPlan>(&bytes, &[1, 7, 300]).is_err());
        if let Some(key) = bytes.first_chunk() {
            let _either = PublicKey::decode(key);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for bytes in [sealed(&header(2)), sealed(&plan())] {
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(verify::<ParticleHeader>(&bytes).is_err(), "bit {bit}");
            assert!(verify::<WindowPlan>(&bytes).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_truncation_is_too_short() {
    let bytes = sealed(&header(2));
    for len in 0..bytes.len() {
        let rejected = verify::<ParticleHeader>(&bytes[..len]).unwrap_err();
        assert!(matches!(rejected, RejectEnvelope::TooShort { .. }), "{len}: {rejected:?}");
        let rejected = verify_in_pieces::<ParticleHeader>(&bytes[..len], &[16]).unwrap_err();
        assert!(matches!(rejected, RejectEnvelope::TooShort { .. }), "{len}: {rejected:?}");
    }
}
