//! Somebody on the network without a key of the fleet, and a broker that hands on what anybody says: envelopes with a flipped bit,
//! cut short, at another's place, of long ago, documents
//! that newer ones have replaced, and signed anew by a key that nobody knows or that may not say this.

use std::collections::BTreeMap;

use bytes::Bytes;
use shoal_wire::v1::{
    Claim, Document, Nonce, NonceFields, ParticleHeader, Presence, Refusal, Roster, RosterPage,
    SwarmDocument, UtilityDocument, Vote,
};
use shoal_wire::{Body, KeyId, Keys, Kind, Leaf, PublicKey, SecretKey, Topic, Unverified};

use crate::chance::Dice;
use crate::documents::{Fleet, nonce_of, sealed};

/// Forges what it hears.
#[derive(Debug)]
pub struct Intruder {
    key: SecretKey,
}

/// What it does to what it heard.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    Flipped,
    CutShort,
    Longer,
    Elsewhere,
    Again,
    Older,
    Unknown,
    Insider,
}

const FORGERIES: [Forgery; 8] = [
    Forgery::Flipped,
    Forgery::CutShort,
    Forgery::Longer,
    Forgery::Elsewhere,
    Forgery::Again,
    Forgery::Older,
    Forgery::Unknown,
    Forgery::Insider,
];

/// Every key that ever signed something true.
pub struct Everybody<'a>(pub &'a Fleet);

impl Keys for Everybody<'_> {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        let Fleet { authority, timekeeper, vehicles, .. } = self.0;
        let all = vehicles.iter().chain([authority, timekeeper]);
        all.map(SecretKey::public).find(|key| key.id() == id)
    }
}

impl Intruder {
    /// Of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0x13; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Intruder { key: SecretKey::from_seed(&bytes) }
    }

    /// Something false made of what was published, and where it says it.
    pub fn forge(
        &self,
        dice: &mut Dice,
        fleet: &Fleet,
        heard: &[(String, Bytes)],
    ) -> Option<(String, Vec<u8>)> {
        if heard.is_empty() {
            return None;
        }
        let any = |dice: &mut Dice| &heard[dice.between(0, heard.len() as u64) as usize];
        let (topic, bytes) = any(dice);
        let mut bytes = bytes.to_vec();
        if bytes.is_empty() {
            return None;
        }
        match FORGERIES[dice.between(0, FORGERIES.len() as u64) as usize] {
            Forgery::Flipped => {
                let at = dice.between(0, bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.between(0, 8);
            }
            Forgery::CutShort => bytes.truncate(dice.between(0, bytes.len() as u64) as usize),
            Forgery::Longer => bytes.extend_from_slice(&[0; 7]),
            Forgery::Elsewhere => {
                let (other, stands) = any(dice);
                return (other != topic && *stands != bytes).then(|| (other.clone(), bytes));
            }
            Forgery::Again => {}
            Forgery::Older => return any_of(dice, &replaced(heard)),
            Forgery::Unknown => bytes = again(&bytes, fleet, &self.key)?,
            // A vehicle of the fleet speaks where only the authority or the timekeeper may, or for another vehicle.
            Forgery::Insider => {
                let key = &fleet.vehicles[dice.between(0, fleet.vehicles.len() as u64) as usize];
                let place = Topic::decode(topic).ok()?;
                // What it signs counts at its own place, and among what a beacon passes on, which stands for the signer's place.
                let own = place.publisher() == key.public().id();
                if own || matches!(place.leaf(), Leaf::Beacon { .. }) {
                    return None;
                }
                bytes = again(&bytes, fleet, key)?;
            }
        }
        Some((topic.clone(), bytes))
    }
}

/// Documents that have another at their place since: once they were true.
fn replaced(heard: &[(String, Bytes)]) -> Vec<(String, Vec<u8>)> {
    let document = |topic: &str| {
        let kind = Topic::decode(topic).ok().and_then(|place| place.leaf().kind());
        matches!(
            kind,
            Some(
                Kind::WindowPlan
                    | Kind::Roster
                    | Kind::UtilityDocument
                    | Kind::SwarmDocument
                    | Kind::Document
            )
        )
    };
    let newest: BTreeMap<&String, &Bytes> =
        heard.iter().map(|(topic, bytes)| (topic, bytes)).collect();
    let older = heard.iter().filter(|(topic, bytes)| newest.get(topic) != Some(&bytes));
    let older = older.filter(|(topic, _bytes)| document(topic));
    older.map(|(topic, bytes)| (topic.clone(), bytes.to_vec())).collect()
}

fn any_of<T: Clone>(dice: &mut Dice, all: &[T]) -> Option<T> {
    all.get(dice.between(0, all.len() as u64) as usize).cloned()
}

/// The same body, signed by this key, later. Of a nonce and a plan: another.
fn again(bytes: &[u8], fleet: &Fleet, key: &SecretKey) -> Option<Vec<u8>> {
    let record = Unverified::decode(bytes).ok()?;
    let (head, keys) = (*record.head(), Everybody(fleet));
    let counter = head.counter + 1;
    match head.kind {
        Kind::Claim => signed::<Claim>(record, fleet, key),
        Kind::Vote => signed::<Vote>(record, fleet, key),
        Kind::ParticleHeader => signed::<ParticleHeader>(record, fleet, key),
        Kind::Nonce => {
            let nonce = record.verify::<Nonce>(&keys).ok()?;
            let NonceFields { window, utc_seconds, .. } = *nonce.body().fields();
            Some(sealed(key, counter, &nonce_of(window, [0x66; 32], utc_seconds)).0)
        }
        Kind::WindowPlan => Some(sealed(key, counter, &fleet.plan(u64::MAX / 4)).0),
        Kind::Presence => signed::<Presence>(record, fleet, key),
        Kind::Roster => signed::<Roster>(record, fleet, key),
        Kind::RosterPage => signed::<RosterPage>(record, fleet, key),
        Kind::UtilityDocument => signed::<UtilityDocument>(record, fleet, key),
        Kind::SwarmDocument => signed::<SwarmDocument>(record, fleet, key),
        Kind::Refusal => signed::<Refusal>(record, fleet, key),
        Kind::Document => signed::<Document>(record, fleet, key),
    }
}

/// The same body, signed by this key, later.
fn signed<'b, T: Body<'b>>(
    record: Unverified<'b>,
    fleet: &Fleet,
    key: &SecretKey,
) -> Option<Vec<u8>> {
    let counter = record.head().counter + 1;
    Some(sealed(key, counter, record.verify::<T>(&Everybody(fleet)).ok()?.body()).0)
}
