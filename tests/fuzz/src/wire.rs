//! The entry of the target `wire`: what comes from a broker, through everything that reads it before a signature
//! is checked or after it held.

use shoal_wire::v1::{
    Claim, Document, Nonce, ParticleHeader, Presence, Refusal, Roster, RosterPage, SwarmDocument,
    UtilityDocument, Vote, WindowPlan,
};
use shoal_wire::{
    Body, KeyId, Keys, Kind, PublicKey, RejectEnvelope, Stream, Topic, Unverified, decode_body,
    relayed,
};

/// Reads the bytes as an envelope, as a body behind the number of its kind, and as a topic.
///
/// # Panics
/// If an envelope in pieces is read otherwise than as a whole, or something accepted has another form.
pub fn wire(bytes: &[u8]) {
    envelope(bytes);
    if let Some((kind, body)) = bytes.split_first() {
        Kind::from_number(*kind).into_iter().for_each(|kind| any_body(kind, body));
    }
    if let Ok([Some(first), second]) = relayed(bytes) {
        let len = |record: &Unverified<'_>| record.head().envelope_bytes();
        let whole = len(&first) + second.as_ref().map_or(0, len);
        assert!(whole == bytes.len() as u64, "what is passed on has an end");
    }
    let text = str::from_utf8(bytes).unwrap_or_default();
    if let Ok(topic) = Topic::decode(text) {
        assert!(topic.text() == text, "a topic has one form");
    }
}

/// No signature can be guessed: what an envelope would carry is read without one.
struct NoKeys;

impl Keys for NoKeys {
    fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
        None
    }
}

fn envelope(bytes: &[u8]) {
    let whole = Unverified::decode(bytes);
    let pieces = in_pieces(bytes);
    match whole {
        Ok(whole) => {
            let (key, kind) = (whole.head().key, whole.head().kind);
            assert_eq!(pieces, RejectEnvelope::UnknownKey { key, kind });
            let body = bytes.get(shoal_wire::HEAD_BYTES..).unwrap_or_default();
            let bytes = whole.head().body_bytes as usize;
            any_body(kind, body.get(..bytes).unwrap_or_default());
        }
        Err(whole) => assert_eq!(pieces, whole, "pieces are refused as the whole is"),
    }
}

fn in_pieces(bytes: &[u8]) -> RejectEnvelope {
    let mut stream = Stream::new();
    let pushed = bytes.chunks(7).try_for_each(|piece| stream.push(piece));
    match pushed.and_then(|()| stream.finish(&NoKeys)) {
        Ok(_authentic) => panic!("no key is known"),
        Err(why) => why,
    }
}

fn any_body(kind: Kind, bytes: &[u8]) {
    /// Writes the fields of what is accepted, and compares.
    macro_rules! check {
        ($body:ident) => {
            if let Some(body) = accepted::<$body>(bytes) {
                let mut buffer = vec![0; bytes.len()];
                let written = postcard::to_slice(body.fields(), &mut buffer);
                assert_eq!(written.ok().as_deref(), Some(bytes), "a body has one form");
            }
        };
    }
    match kind {
        Kind::Claim => check!(Claim),
        Kind::Vote => check!(Vote),
        Kind::ParticleHeader => check!(ParticleHeader),
        Kind::Presence => check!(Presence),
        Kind::Nonce => check!(Nonce),
        Kind::WindowPlan => check!(WindowPlan),
        Kind::Roster => {
            check!(Roster);
            if let Some(roster) = accepted::<Roster>(bytes) {
                let pages = roster.fields().vehicles.div_ceil(1_024);
                assert_eq!(roster.pages().len() as u32, pages);
            }
        }
        Kind::RosterPage => {
            check!(RosterPage);
            accepted::<RosterPage>(bytes).iter().for_each(vehicles);
        }
        Kind::UtilityDocument => check!(UtilityDocument),
        Kind::SwarmDocument => check!(SwarmDocument),
        Kind::Refusal => check!(Refusal),
        Kind::Document => check!(Document),
    }
}

fn accepted<'a, T: Body<'a>>(bytes: &'a [u8]) -> Option<T> {
    decode_body(bytes).ok()
}

/// Every vehicle of a page has a key of its id, and its place.
fn vehicles(page: &RosterPage<'_>) {
    for (place, vehicle) in (0..).zip(page.vehicles()) {
        assert!(PublicKey::decode(&vehicle.public_key).is_ok_and(|key| key.id() == vehicle.id()));
        assert_eq!(page.vehicle(place), Some(vehicle));
    }
}
