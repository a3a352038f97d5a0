//! One claim of SPEC.md §1 a test.

use crate::common::{OneKey, body_of, forged, keys, refused, sealed, secret, verify};
use crate::refusals::written;
use crate::samples::{header, header_fields, merge_fields, plan, plan_fields};
use sha2::{Digest, Sha256};
use shoal_wire::v1::{
    CHUNKS_MAX, INPUTS_MAX, PARTICLE_HEADER_BYTES_MAX, ParticleHeader, ParticleHeaderFields,
    RejectParticleHeader, WindowPlan,
};
use shoal_wire::{
    ENVELOPE_OVERHEAD_BYTES, HEAD_BYTES, KeyId, Keys, Kind, PublicKey, RejectBody, RejectEnvelope,
    RejectKey, SealError, SecretKey, Stream, Unverified, seal,
};

#[test]
fn what_was_sealed_is_what_is_verified() {
    let bytes = sealed(&header(3));
    let verified = Unverified::decode(&bytes).unwrap().verify::<ParticleHeader>(&keys()).unwrap();
    assert_eq!(verified.body(), &header(3));
    assert_eq!(verified.bytes(), bytes);
    assert_eq!(verified.head().counter, 41);
    assert_eq!(verified.head().not_after_seconds, 1_800_000_000);
    assert_eq!(verified.head().key, secret().public().id());
    assert_eq!(verified.id().bytes()[..], Sha256::digest(&bytes)[..]);
}

#[test]
fn an_independent_reading_of_the_spec_writes_the_same_bytes() {
    let bytes = sealed(&plan());
    assert_eq!(bytes, forged(Kind::WindowPlan.number(), 1, body_of(&bytes)));
}

/// Every number at its longest.
fn longest(mut fields: ParticleHeaderFields) -> ParticleHeaderFields {
    fields.window = u32::MAX;
    fields.values = u32::MAX;
    for (before_last, chunk) in fields.chunks.iter_mut().skip(1).enumerate() {
        chunk.first_value = u32::MAX - 100 + u32::try_from(before_last).unwrap();
    }
    fields
}

#[test]
fn a_header_with_every_chunk_is_within_its_bound() {
    let fields = longest(header_fields(u8::try_from(CHUNKS_MAX).unwrap()));
    let bytes = sealed(&ParticleHeader::new(fields).unwrap());
    assert!(bytes.len() <= PARTICLE_HEADER_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(verify::<ParticleHeader>(&bytes), Ok(()));
}

#[test]
fn a_merge_of_every_input_and_six_chunks_is_within_its_bound() {
    let inputs = u8::try_from(INPUTS_MAX).unwrap();
    let bytes = sealed(&ParticleHeader::new(longest(merge_fields(inputs, 6))).unwrap());
    assert!(bytes.len() <= PARTICLE_HEADER_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(verify::<ParticleHeader>(&bytes), Ok(()));
}

#[test]
fn a_header_too_long_for_its_envelope_is_refused_before_it_is_sealed() {
    let rejected = ParticleHeader::new(longest(merge_fields(16, 7))).unwrap_err();
    assert!(matches!(rejected, RejectParticleHeader::TooLong { .. }), "{rejected:?}");
}

#[test]
fn a_particle_is_named_by_its_header_whoever_publishes_it() {
    let body = header(2);
    let mut other = [0; 1024];
    let other = seal(&body, 1, 2, &SecretKey::from_seed(&[8; 32]), &mut other).unwrap();
    let bytes = sealed(&body);
    let verified = Unverified::decode(&bytes).unwrap().verify::<ParticleHeader>(&keys()).unwrap();
    assert_ne!(verified.id(), other.id());
    assert_eq!(body_of(&bytes), body_of(other.bytes()));
    let hash = Sha256::digest(body_of(&bytes));
    assert_eq!(verified.body().id().bytes()[..], hash[..]);
    assert_eq!(body.id(), verified.body().id());
}

#[test]
fn a_key_signs_only_the_kinds_it_is_found_for() {
    struct PlansOnly(PublicKey);
    impl Keys for PlansOnly {
        fn find(&self, _id: KeyId, kind: Kind) -> Option<PublicKey> {
            (kind == Kind::WindowPlan).then_some(self.0)
        }
    }
    let keys = PlansOnly(secret().public());
    let key = secret().public().id();

    let bytes = sealed(&plan());
    assert!(Unverified::decode(&bytes).unwrap().verify::<WindowPlan>(&keys).is_ok());
    let bytes = sealed(&header(1));
    let rejected = Unverified::decode(&bytes).unwrap().verify::<ParticleHeader>(&keys).unwrap_err();
    assert_eq!(rejected, RejectEnvelope::UnknownKey { key, kind: Kind::ParticleHeader });
}

/// A source of keys that answers with another key than the named one must not make it count.
#[test]
fn the_key_that_verifies_is_the_one_that_is_named() {
    struct Any(PublicKey);
    impl Keys for Any {
        fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
            Some(self.0)
        }
    }
    let mut bytes = sealed(&plan());
    bytes[6] ^= 1;
    let rejected = Unverified::decode(&bytes)
        .unwrap()
        .verify::<WindowPlan>(&Any(secret().public()))
        .unwrap_err();
    assert!(matches!(rejected, RejectEnvelope::UnknownKey { .. }), "{rejected:?}");
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let other = SecretKey::from_seed(&[8; 32]);
    let mut buffer = [0; 512];
    let mut bytes = seal(&plan(), 1, 2, &other, &mut buffer).unwrap().bytes().to_vec();
    let key = secret().public().id();
    bytes[6..14].copy_from_slice(key.bytes());
    assert_eq!(verify::<WindowPlan>(&bytes), Err(RejectEnvelope::Signature { key }));
}

#[test]
fn a_body_is_not_taken_for_another_kind() {
    let rejected = verify::<WindowPlan>(&sealed(&header(1))).unwrap_err();
    assert!(matches!(rejected, RejectEnvelope::NotAsked { .. }), "{rejected:?}");
}

#[test]
fn kinds_and_versions_that_are_not_known_are_refused() {
    assert_eq!(
        verify::<WindowPlan>(&forged(200, 1, &[0])),
        Err(RejectEnvelope::UnknownKind { kind: 200 })
    );
    for version in [0, 2] {
        let kind = Kind::WindowPlan;
        assert_eq!(
            verify::<WindowPlan>(&forged(kind.number(), version, &[0])),
            Err(RejectEnvelope::UnknownVersion { kind, version })
        );
    }
}

#[test]
fn an_envelope_one_byte_too_long_for_its_kind_is_refused_before_its_body() {
    let kind = Kind::WindowPlan;
    let max = kind.envelope_bytes_max();
    let just_fits = forged(kind.number(), 1, &vec![0; max - ENVELOPE_OVERHEAD_BYTES]);
    assert!(Unverified::decode(&just_fits).is_ok());
    let too_long = forged(kind.number(), 1, &vec![0; max - ENVELOPE_OVERHEAD_BYTES + 1]);
    let rejected = RejectEnvelope::TooLong { kind, len: max as u64 + 1, max };
    assert_eq!(Unverified::decode(&too_long).unwrap_err(), rejected);
    assert_eq!(Stream::new().push(&too_long[..HEAD_BYTES]), Err(rejected));
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = sealed(&plan());
    bytes.push(0);
    assert_eq!(verify::<WindowPlan>(&bytes), Err(RejectEnvelope::Trailing));
    let mut stream = Stream::new();
    assert_eq!(stream.push(&bytes), Err(RejectEnvelope::Trailing));
    assert_eq!(stream.push(&[]), Err(RejectEnvelope::Trailing), "a rejected stream stays rejected");
    assert_eq!(stream.finish(&keys()), Err(RejectEnvelope::Trailing));
}

/// Wrong in every way at once, and mended one by one.
#[test]
fn reasons_are_looked_for_in_the_order_of_the_document() {
    let kind = Kind::WindowPlan.number();
    let key = secret().public().id();
    let mut bytes = forged(200, 9, &[0xff; 300]);
    bytes[0] = b'X';
    bytes[6] ^= 1;
    bytes.push(0);
    let mut next = |change: &mut dyn FnMut(&mut Vec<u8>)| {
        change(&mut bytes);
        verify::<WindowPlan>(&bytes).unwrap_err()
    };
    assert_eq!(next(&mut |_bytes| {}), RejectEnvelope::Magic);
    assert_eq!(next(&mut |bytes| bytes[0] = b'S'), RejectEnvelope::UnknownKind { kind: 200 });
    let version = RejectEnvelope::UnknownVersion { kind: Kind::WindowPlan, version: 9 };
    assert_eq!(next(&mut |bytes| bytes[4] = kind), version);
    let too_long = RejectEnvelope::TooLong { kind: Kind::WindowPlan, len: 398, max: 256 };
    assert_eq!(next(&mut |bytes| bytes[5] = 1), too_long);
    assert_eq!(
        next(&mut |bytes| bytes[30..32].copy_from_slice(&[100, 0])),
        RejectEnvelope::Trailing
    );
    let mut unknown = key.bytes().to_owned();
    unknown[0] ^= 1;
    let unknown = RejectEnvelope::UnknownKey { key: KeyId::new(unknown), kind: Kind::WindowPlan };
    assert_eq!(next(&mut |bytes| bytes.truncate(198)), unknown);
    let named = |bytes: &mut Vec<u8>| bytes[6..14].copy_from_slice(key.bytes());
    assert_eq!(next(&mut { named }), RejectEnvelope::Signature { key });

    // What is signed and wrong in its body: it does not decode, then has a byte too many, then is never open.
    let mut fields = plan_fields();
    fields.open_seconds = 0;
    let mut body = written(&fields);
    body.push(0xff);
    let why = |body: &[u8]| refused(Kind::WindowPlan, body).unwrap();
    assert_eq!(why(&body[..3]), RejectBody::Malformed);
    assert_eq!(why(&body), RejectBody::NotCanonical);
    body.pop();
    assert!(matches!(why(&body), RejectBody::WindowPlan(_)));
}

#[test]
fn an_authentic_body_that_does_not_decode_is_refused() {
    for body in [&[][..], &[0xff; 40], &[4, 0, 0]] {
        assert_eq!(
            verify::<ParticleHeader>(&forged(Kind::ParticleHeader.number(), 1, body)),
            Err(RejectEnvelope::Body(RejectBody::Malformed))
        );
    }
}

#[test]
fn a_chunk_table_one_longer_than_its_bound_is_refused() {
    let full = body_of(&sealed(&header(u8::try_from(CHUNKS_MAX).unwrap()))).to_vec();
    let one_chunk = body_of(&sealed(&header(1))).to_vec();
    // The count of chunks is the byte before the first chunk, in both.
    let count_index = one_chunk.iter().zip(&full).position(|(one, other)| one != other).unwrap();
    let mut body = full.clone();
    body[count_index] += 1;
    body.extend(&full[full.len() - 40..]);
    let bytes = forged(Kind::ParticleHeader.number(), 1, &body);
    assert_eq!(verify::<ParticleHeader>(&bytes), Err(RejectEnvelope::Body(RejectBody::Malformed)));
}

#[test]
fn a_stream_gives_the_head_as_soon_as_it_is_in() {
    let bytes = sealed(&header(2));
    let mut stream = Stream::new();
    stream.push(&bytes[..HEAD_BYTES - 1]).unwrap();
    assert_eq!(stream.head(), None);
    stream.push(&bytes[HEAD_BYTES - 1..HEAD_BYTES]).unwrap();
    assert_eq!(stream.head().map(|head| head.kind), Some(Kind::ParticleHeader));
}

#[test]
fn stored_bytes_that_changed_after_verification_are_refused() {
    let mut bytes = sealed(&header(2));
    let mut stream = Stream::new();
    stream.push(&bytes).unwrap();
    let authentic = stream.finish(&keys()).unwrap();
    assert_eq!(authentic.open::<ParticleHeader>(&bytes).unwrap().body(), &header(2));
    bytes[60] ^= 1;
    assert_eq!(authentic.open::<ParticleHeader>(&bytes).unwrap_err(), RejectEnvelope::Changed);
}

#[test]
fn a_buffer_too_small_is_an_error_at_every_length() {
    let len_needed = sealed(&header(2)).len();
    for len in 0..len_needed {
        let mut buffer = vec![0; len];
        assert_eq!(
            seal(&header(2), 1, 2, &secret(), &mut buffer),
            Err(SealError::BufferTooSmall { kind: Kind::ParticleHeader, len })
        );
    }
}

#[test]
fn keys_of_small_order_and_other_bytes_of_a_point_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(PublicKey::decode(&identity), Err(RejectKey::SmallOrder));
    assert_eq!(PublicKey::decode(&[0; 32]), Err(RejectKey::SmallOrder)); // order 4
    let mut not_canonical = [0xff; 32]; // p + 1: the identity again
    not_canonical[0] = 0xee;
    not_canonical[31] = 0x7f;
    assert_eq!(PublicKey::decode(&not_canonical), Err(RejectKey::NotCanonical));
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert_eq!(PublicKey::decode(&no_point), Err(RejectKey::NotAPoint));
    let OneKey(good) = keys();
    assert_eq!(PublicKey::decode(good.bytes()), Ok(good));
}

#[test]
fn a_secret_key_is_not_shown() {
    let shown = format!("{:?}", secret());
    assert_eq!(shown, format!("SecretKey(of {})", secret().public().id()));
}
