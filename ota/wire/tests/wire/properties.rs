//! What holds for every envelope and every bytes.

use crate::common::{keys, sealed, secret, verify};
use crate::samples::{header, plan};
use proptest::prelude::*;
use shoal_wire::v1::{
    CHUNK_BYTES_MAX, CHUNKS_MAX, Chunk, ParticleHeader, ParticleHeaderFields, Role, WindowPlan,
    WindowPlanFields,
};
use shoal_wire::{
    Body, ChunkHash, LayoutHash, ModelHash, ParticleId, PublicKey, RejectEnvelope, Stream,
    Unverified, seal,
};

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

prop_compose! {
    fn headers()(
        role in prop_oneof![Just(Role::Best), Just(Role::Worst), Just(Role::Contribution)],
        window: u32,
        hashes: [[u8; 32]; 3],
        anchored: bool,
        chunks in prop::collection::vec((1..u32::MAX / 32, 1..=CHUNK_BYTES_MAX, any::<[u8; 32]>()), 1..=CHUNKS_MAX),
    ) -> ParticleHeader {
        let mut next = 0;
        let chunks = chunks
            .into_iter()
            .map(|(values, bytes, hash)| {
                let first_value = next;
                next += values;
                Chunk { first_value, bytes, hash: ChunkHash::new(hash) }
            })
            .collect();
        let [base_model, layout, anchor] = hashes;
        ParticleHeader::new(ParticleHeaderFields {
            role, window, chunks, values: next,
            inputs: heapless::Vec::new(),
            coding: 1,
            base_model: ModelHash::new(base_model),
            layout: LayoutHash::new(layout),
            anchor: (anchored && role == Role::Contribution).then(|| ParticleId::new(anchor)),
        }).unwrap()
    }
}

prop_compose! {
    fn plans()(
        epoch_seconds: u64, up_bytes_max in 1..=u64::MAX, down_bytes_max in 1..=u64::MAX,
        period_seconds in 1..=u32::MAX, open: u32, jitter: u32,
    ) -> WindowPlan {
        let open_seconds = 1 + open % period_seconds;
        let jitter_ms_max = u64::from(jitter) % (u64::from(open_seconds) * 500 + 1);
        let jitter_ms_max = u32::try_from(jitter_ms_max).unwrap();
        WindowPlan::new(WindowPlanFields {
            epoch_seconds, period_seconds, open_seconds, jitter_ms_max, up_bytes_max, down_bytes_max,
        }).unwrap()
    }
}

proptest! {
    #[test]
    fn every_header_survives_the_air(header in headers(), counter: u64, not_after: u64) {
        let mut buffer = [0; 1024];
        let bytes = seal(&header, counter, not_after, &secret(), &mut buffer).unwrap().bytes();
        let verified = Unverified::decode(bytes).unwrap().verify::<ParticleHeader>(&keys()).unwrap();
        prop_assert_eq!(verified.body(), &header);
        prop_assert_eq!(verified.head().counter, counter);
        prop_assert_eq!(verified.head().not_after_seconds, not_after);
    }

    #[test]
    fn every_plan_survives_the_air(plan in plans()) {
        let bytes = sealed(&plan);
        let verified = Unverified::decode(&bytes).unwrap().verify::<WindowPlan>(&keys()).unwrap();
        prop_assert_eq!(verified.body(), &plan);
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
        mut bytes in prop::collection::vec(any::<u8>(), 0..400), real_head: bool, kind in 0_u8..8,
    ) {
        if real_head && bytes.len() >= 98 {
            bytes[..4].copy_from_slice(b"SHL1");
            bytes[4..6].copy_from_slice(&[kind, 1]);
            bytes[6..14].copy_from_slice(secret().public().id().bytes());
            let body_bytes = u32::try_from(bytes.len() - 98).unwrap();
            bytes[30..34].copy_from_slice(&body_bytes.to_le_bytes());
        }
        prop_assert!(verify::<ParticleHeader>(&bytes).is_err());
        prop_assert!(verify::<WindowPlan>(&bytes).is_err());
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
