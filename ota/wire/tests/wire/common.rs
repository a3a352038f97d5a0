//! What the tests share: keys, envelopes, and forgeries of them.

use std::path::PathBuf;

use ed25519_dalek::Signer;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shoal_wire::v1::{
    Claim, Document, Nonce, ParticleHeader, Presence, Refusal, Roster, RosterPage, SwarmDocument,
    UtilityDocument, Vote, WindowPlan,
};
use shoal_wire::{
    Body, HEAD_BYTES, KeyId, Keys, Kind, PublicKey, RejectBody, RejectEnvelope, SIGNATURE_BYTES,
    SecretKey, Unverified, seal,
};

pub(crate) const COUNTER: u64 = 41;
pub(crate) const NOT_AFTER_SECONDS: u64 = 1_800_000_000;
const SEED: [u8; 32] = [7; 32];

/// One key that may sign every kind.
pub(crate) struct OneKey(pub(crate) PublicKey);

impl Keys for OneKey {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (self.0.id() == id).then_some(self.0)
    }
}

pub(crate) fn secret() -> SecretKey {
    SecretKey::from_seed(&SEED)
}

pub(crate) fn keys() -> OneKey {
    OneKey(secret().public())
}

pub(crate) fn sealed<'a, T: Body<'a>>(body: &T) -> Vec<u8> {
    let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
    seal(body, COUNTER, NOT_AFTER_SECONDS, &secret(), &mut buffer).unwrap().bytes().to_vec()
}

/// Signs what the code would refuse to write: any body bytes under any kind and version.
pub(crate) fn forged(kind: u8, version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"SHL1".to_vec();
    bytes.extend([kind, version]);
    bytes.extend(secret().public().id().bytes());
    bytes.extend(COUNTER.to_le_bytes());
    bytes.extend(NOT_AFTER_SECONDS.to_le_bytes());
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend(body);
    let mut message = b"shoal/1/".to_vec();
    message.extend([kind, version]);
    message.extend(Sha256::digest(&bytes));
    bytes.extend(ed25519_dalek::SigningKey::from_bytes(&SEED).sign(&message).to_bytes());
    bytes
}

pub(crate) fn body_of(envelope: &[u8]) -> &[u8] {
    &envelope[HEAD_BYTES..envelope.len() - SIGNATURE_BYTES]
}

pub(crate) fn verify<'a, T: Body<'a>>(bytes: &'a [u8]) -> Result<(), RejectEnvelope> {
    Unverified::decode(bytes)?.verify::<T>(&keys()).map(|_verified| ())
}

/// As the kind that the envelope says it is; sealed again, if it is accepted.
pub(crate) fn verify_as_said(bytes: &[u8], keys: &OneKey) -> Result<Vec<u8>, RejectEnvelope> {
    fn by<'a, T: Body<'a>>(
        record: Unverified<'a>,
        keys: &OneKey,
    ) -> Result<Vec<u8>, RejectEnvelope> {
        record.verify::<T>(keys).map(|verified| sealed(verified.body()))
    }
    let record = Unverified::decode(bytes)?;
    match record.head().kind {
        Kind::Claim => by::<Claim>(record, keys),
        Kind::Vote => by::<Vote>(record, keys),
        Kind::ParticleHeader => by::<ParticleHeader>(record, keys),
        Kind::Presence => by::<Presence>(record, keys),
        Kind::Nonce => by::<Nonce>(record, keys),
        Kind::WindowPlan => by::<WindowPlan>(record, keys),
        Kind::Roster => by::<Roster>(record, keys),
        Kind::RosterPage => by::<RosterPage>(record, keys),
        Kind::UtilityDocument => by::<UtilityDocument>(record, keys),
        Kind::SwarmDocument => by::<SwarmDocument>(record, keys),
        Kind::Refusal => by::<Refusal>(record, keys),
        Kind::Document => by::<Document>(record, keys),
    }
}

/// Why these body bytes are refused, well signed as they are.
pub(crate) fn refused(kind: Kind, body: &[u8]) -> Option<RejectBody> {
    match verify_as_said(&forged(kind.number(), 1, body), &keys()) {
        Ok(_sealed) => None,
        Err(RejectEnvelope::Body(why)) => Some(why),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The golden file of this name holds these cases. Writes it first, when asked to.
pub(crate) fn golden(name: &str, cases: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = format!("{cases:#}\n");
    if std::env::var_os("SHOAL_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let line = kept.lines().zip(text.lines()).position(|(kept, written)| kept != written);
    assert_eq!(line, None, "the first line of {name} that differs, from 0");
    assert_eq!(kept.len(), text.len(), "length of {name}");
}
