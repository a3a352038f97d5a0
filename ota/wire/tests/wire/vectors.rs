//! Golden bytes: what another implementation reads and refuses. A change here is a change of the format.
//! `SHOAL_WRITE_VECTORS=1 cargo test -p shoal-wire` writes the file anew.

use crate::common::{OneKey, from_hex, golden, hex, sealed, secret, verify_as_said};
use crate::samples::{header, header_fields, plan};
use curve25519_dalek::Scalar;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use shoal_wire::v1::{CHUNKS_MAX, ParticleHeader};
use shoal_wire::{Kind, PublicKey, RejectEnvelope};

/// Order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn case(name: &str, key: &[u8; 32], envelope: &[u8], outcome: &str) -> Value {
    let id = hex(&Sha256::digest(envelope));
    json!({
        "name": name, "public_key": hex(key), "envelope": hex(envelope), "sha256": id,
        "outcome": outcome,
    })
}

/// What is signed for an envelope whose last 64 bytes are its signature.
fn message(envelope: &[u8]) -> Vec<u8> {
    let (before, _signature) = envelope.split_last_chunk::<64>().unwrap();
    let mut message = b"shoal/1/".to_vec();
    message.extend(&envelope[4..6]);
    message.extend(Sha256::digest(before));
    message
}

fn with_signature(envelope: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let mut envelope = envelope.to_vec();
    *envelope.last_chunk_mut().unwrap() = *signature;
    envelope
}

/// S + order: the same signature to a library that does not check that S is reduced.
fn not_reduced(envelope: &[u8]) -> Vec<u8> {
    let mut signature = *envelope.last_chunk::<64>().unwrap();
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    with_signature(envelope, &signature)
}

/// R the identity, in these bytes, and S = k·a: the equation holds, but R has small order.
fn small_order_r(envelope: &[u8], r: [u8; 32]) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut hasher = Sha512::new();
    hasher.update(r);
    hasher.update(key.verifying_key().as_bytes());
    hasher.update(message(envelope));
    let k = Scalar::from_bytes_mod_order_wide(&hasher.finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice((k * key.to_scalar()).as_bytes());
    with_signature(envelope, &signature)
}

/// Signs with another start of the message than `shoal/1/`, kind and version.
fn signed_over(envelope: &[u8], message: &[u8]) -> Vec<u8> {
    with_signature(envelope, &SigningKey::from_bytes(&[7; 32]).sign(message).to_bytes())
}

fn named_by(envelope: &[u8], key: &[u8; 32]) -> Vec<u8> {
    let mut envelope = envelope.to_vec();
    envelope[6..14].copy_from_slice(&Sha256::digest(key)[..8]);
    envelope
}

fn cases() -> Value {
    let key = *secret().public().bytes();
    let plain = sealed(&plan());
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut identity_again = [0xff; 32]; // y = p + 1
    identity_again[0] = 0xee;
    identity_again[31] = 0x7f;

    let mut other_context = message(&plain);
    other_context[6] = b'2';
    let mut other_kind = message(&plain);
    other_kind[8] = Kind::ParticleHeader.number();
    let (before, _signature) = plain.split_last_chunk::<64>().unwrap();

    let mut unanchored = header_fields(1);
    unanchored.anchor = None;
    let unanchored = ParticleHeader::new(unanchored).unwrap();
    let full = header(u8::try_from(CHUNKS_MAX).unwrap());
    let forge = |r: [u8; 32], key: [u8; 32]| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        with_signature(&named_by(&plain, &key), &signature)
    };
    json!([
        case("window plan", &key, &plain, "accepted"),
        case("particle header, three chunks", &key, &sealed(&header(3)), "accepted"),
        case("particle header, no anchor", &key, &sealed(&unanchored), "accepted"),
        case("particle header, every chunk", &key, &sealed(&full), "accepted"),
        case("S not reduced", &key, &not_reduced(&plain), "signature"),
        case("R of small order", &key, &small_order_r(&plain, identity), "signature"),
        case("R not canonical", &key, &small_order_r(&plain, identity_again), "signature"),
        case("signature of zeros", &key, &with_signature(&plain, &[0; 64]), "signature"),
        case("signed under shoal/2/", &key, &signed_over(&plain, &other_context), "signature"),
        case("signed as another kind", &key, &signed_over(&plain, &other_kind), "signature"),
        case("signed without the hash", &key, &signed_over(&plain, before), "signature"),
        case("key of small order", &identity, &forge(identity, identity), "key"),
        case("key not canonical", &identity_again, &forge(identity, identity_again), "key"),
    ])
}

fn outcome(key: &[u8], envelope: &[u8]) -> &'static str {
    let Ok(key) = PublicKey::decode(key.try_into().unwrap()) else { return "key" };
    match verify_as_said(envelope, &OneKey(key)) {
        Ok(_sealed) => "accepted",
        Err(RejectEnvelope::Signature { .. }) => "signature",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_code_writes_the_golden_envelopes() {
    golden("envelope.json", &cases());
}

#[test]
fn the_code_accepts_and_refuses_as_the_vectors_say() {
    for case in cases().as_array().unwrap() {
        let field = |name: &str| case[name].as_str().unwrap();
        let envelope = from_hex(field("envelope"));
        assert_eq!(outcome(&from_hex(field("public_key")), &envelope), field("outcome"), "{case}");
        assert_eq!(hex(&Sha256::digest(&envelope)), field("sha256"));
    }
}

/// The forgeries are real: a library without the strict checks takes them for good.
#[test]
fn lax_verification_accepts_the_forgeries() {
    let cases = cases();
    for name in ["R of small order", "key of small order"] {
        let case = cases.as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        let key = from_hex(case["public_key"].as_str().unwrap());
        let envelope = from_hex(case["envelope"].as_str().unwrap());
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key.try_into().unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(envelope.last_chunk().unwrap());
        assert!(ed25519_dalek::Verifier::verify(&key, &message(&envelope), &signature).is_ok());
    }
}
