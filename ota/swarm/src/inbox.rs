//! What stands at a topic, as a record that is what it says: its place, its signer and its body are checked.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use shoal_wire::v1::{
    Claim, Document, Nonce, ParticleHeader, Presence, Refusal, RefusalCode, Roster, RosterPage,
    SwarmDocument, UtilityDocument, Vote, WindowPlan,
};
use shoal_wire::{
    Body, Head, Keys, Kind, Leaf, Outbound, RejectEnvelope, RejectPlace, RejectRelayed, Topic,
    Unverified, Verified, relayed,
};

/// One record of any kind.
#[expect(missing_docs, reason = "each is the record of its name")]
#[derive(Clone, Debug)]
pub enum Record<'a> {
    Claim(Verified<'a, Claim>),
    Vote(Verified<'a, Vote>),
    ParticleHeader(Box<Verified<'a, ParticleHeader>>),
    Presence(Verified<'a, Presence>),
    Nonce(Verified<'a, Nonce>),
    WindowPlan(Verified<'a, WindowPlan>),
    Roster(Verified<'a, Roster<'a>>),
    RosterPage(Verified<'a, RosterPage<'a>>),
    UtilityDocument(Box<Verified<'a, UtilityDocument>>),
    SwarmDocument(Verified<'a, SwarmDocument>),
    Refusal(Verified<'a, Refusal>),
    Document(Verified<'a, Document<'a>>),
}

impl<'a> Record<'a> {
    /// The same bytes, to be published again: by their signer, or by who passes them on.
    pub fn outbound(&self) -> Outbound<'a> {
        match self {
            Self::Claim(record) => Outbound::from(record),
            Self::Vote(record) => Outbound::from(record),
            Self::ParticleHeader(record) => Outbound::from(&**record),
            Self::Presence(record) => Outbound::from(record),
            Self::Nonce(record) => Outbound::from(record),
            Self::WindowPlan(record) => Outbound::from(record),
            Self::Roster(record) => Outbound::from(record),
            Self::RosterPage(record) => Outbound::from(record),
            Self::UtilityDocument(record) => Outbound::from(&**record),
            Self::SwarmDocument(record) => Outbound::from(record),
            Self::Refusal(record) => Outbound::from(record),
            Self::Document(record) => Outbound::from(record),
        }
    }

    /// Who signed, when it ends to count, and its counter.
    pub fn head(&self) -> &Head {
        match self {
            Self::Claim(record) => record.head(),
            Self::Vote(record) => record.head(),
            Self::ParticleHeader(record) => record.head(),
            Self::Presence(record) => record.head(),
            Self::Nonce(record) => record.head(),
            Self::WindowPlan(record) => record.head(),
            Self::Roster(record) => record.head(),
            Self::RosterPage(record) => record.head(),
            Self::UtilityDocument(record) => record.head(),
            Self::SwarmDocument(record) => record.head(),
            Self::Refusal(record) => record.head(),
            Self::Document(record) => record.head(),
        }
    }
}

/// Why what stands at a topic is no record. Its writer is untrusted: no variant is a bug of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectMessage {
    /// Not an envelope, or not one whose signature and body hold.
    #[error("no record")]
    Envelope(#[from] RejectEnvelope),
    /// A record, but not for this place.
    #[error("a record that does not stand here")]
    Place(#[from] RejectPlace),
    /// Not what a beacon passes on.
    #[error("no records that are passed on")]
    Relayed(#[from] RejectRelayed),
}

impl RejectMessage {
    /// How a refusal names it.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Envelope(reject) => RefusalCode::from(*reject),
            Self::Place(reject) => RefusalCode::from(*reject),
            Self::Relayed(RejectRelayed::Envelope(reject)) => RefusalCode::from(*reject),
            Self::Relayed(RejectRelayed::TooLong { .. }) => RefusalCode::TooLong,
            Self::Relayed(RejectRelayed::Kinds { .. }) => RefusalCode::Misplaced,
        }
    }
}

/// Reads what stands at a topic: the place is checked first, then signature, body, and the place that the body names.
///
/// # Errors
/// [`RejectMessage`].
pub fn read<'a>(
    topic: &Topic<'_>,
    bytes: &'a [u8],
    keys: &impl Keys,
) -> Result<Record<'a>, RejectMessage> {
    let record = Unverified::decode(bytes)?;
    topic.check(record.head())?;
    Ok(match record.head().kind {
        Kind::Claim => Record::Claim(verified(topic, record, keys)?),
        Kind::Vote => Record::Vote(verified(topic, record, keys)?),
        Kind::ParticleHeader => Record::ParticleHeader(Box::new(verified(topic, record, keys)?)),
        Kind::Presence => Record::Presence(verified(topic, record, keys)?),
        Kind::Nonce => Record::Nonce(verified(topic, record, keys)?),
        Kind::WindowPlan => Record::WindowPlan(verified(topic, record, keys)?),
        Kind::Roster => Record::Roster(verified(topic, record, keys)?),
        Kind::RosterPage => Record::RosterPage(verified(topic, record, keys)?),
        Kind::UtilityDocument => Record::UtilityDocument(Box::new(verified(topic, record, keys)?)),
        Kind::SwarmDocument => Record::SwarmDocument(verified(topic, record, keys)?),
        Kind::Refusal => Record::Refusal(verified(topic, record, keys)?),
        Kind::Document => Record::Document(verified(topic, record, keys)?),
    })
}

/// Reads what a beacon passed on: each record with the topic of its signer at which it counts. Who passed it on is not asked.
///
/// # Errors
/// [`RejectMessage`]: one of the records is none, or not of this window, or the header is not that of the claim.
pub fn read_relayed<'a>(
    topic: &Topic<'a>,
    bytes: &'a [u8],
    keys: &impl Keys,
) -> Result<Vec<(Topic<'a>, Record<'a>)>, RejectMessage> {
    let misplaced = RejectPlace::Leaf { leaf: topic.leaf() };
    let [first, second] = relayed(bytes)?;
    let first = first.ok_or(misplaced)?;
    let signer = first.head().key;
    let place = |leaf| {
        let place = Topic::new(topic.fleet(), topic.region(), signer, leaf);
        place.map_err(|_none| RejectMessage::Place(misplaced))
    };
    let here = |window| {
        let leaf = topic.leaf();
        let same = |index| Leaf::beacon(window, index) == leaf;
        let here = matches!(leaf, Leaf::Beacon { index, .. } if same(index));
        if here { Ok(()) } else { Err(misplaced) }
    };
    if first.head().kind == Kind::Nonce {
        let nonce = first.verify::<Nonce>(keys)?;
        let window = nonce.body().fields().window;
        here(window)?;
        return Ok(vec![(place(Leaf::nonce(window))?, Record::Nonce(nonce))]);
    }
    if first.head().kind == Kind::Vote {
        let vote = first.verify::<Vote>(keys)?;
        let fields = vote.body().fields();
        here(fields.window)?;
        let leaf = Leaf::vote(fields.window, fields.place);
        return Ok(vec![(place(leaf)?, Record::Vote(vote))]);
    }
    let claim = first.verify::<Claim>(keys)?;
    let fields = claim.body().fields().clone();
    here(fields.window)?;
    let mut records = vec![(place(Leaf::Claim { slot: fields.slot })?, Record::Claim(claim))];
    if let Some(second) = second {
        let publisher = second.head().key;
        if publisher != signer {
            return Err(RejectPlace::Publisher { signer, publisher }.into());
        }
        let header = second.verify::<ParticleHeader>(keys)?;
        let of = header.body().fields();
        // One of another particle contradicts the claimant's own.
        if (of.window, of.role) != (fields.window, fields.role) {
            return Err(misplaced.into());
        }
        let topic = place(Leaf::Particle { slot: fields.slot })?;
        records.push((topic, Record::ParticleHeader(Box::new(header))));
    }
    Ok(records)
}

fn verified<'a, T: Body<'a>>(
    topic: &Topic<'_>,
    record: Unverified<'a>,
    keys: &impl Keys,
) -> Result<Verified<'a, T>, RejectMessage> {
    let verified = record.verify::<T>(keys)?;
    topic.check_record(&verified)?;
    Ok(verified)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use shoal_wire::v1::NonceFields;
    use shoal_wire::{Label, SecretKey, seal};

    use super::*;
    use crate::keyring::Keyring;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn nonce(signer: &SecretKey) -> Vec<u8> {
        let fields = NonceFields { window: 3, nonce: [9; 32], utc_seconds: 1 };
        let mut buffer = vec![0; 256];
        let sealed = seal(&Nonce::new(fields).unwrap(), 1, 99, signer, &mut buffer).unwrap();
        sealed.bytes().to_vec()
    }

    /// What the timekeeper, key 2, wrote at `leaf` of the publisher with key `publisher`.
    fn refused(bytes: &[u8], publisher: u8, leaf: Leaf) -> Option<RefusalCode> {
        let label = Label::new("f").unwrap();
        let topic = Topic::new(label, label, key(publisher).public().id(), leaf).unwrap();
        let ring = Keyring::new(key(1).public(), key(2).public());
        read(&topic, bytes, &ring).err().map(|reject| reject.code())
    }

    #[test]
    fn a_record_is_read_at_its_own_place_alone() {
        let bytes = nonce(&key(2));
        assert_eq!(refused(&bytes, 2, Leaf::nonce(3)), None);
        assert_eq!(refused(&bytes, 1, Leaf::nonce(3)), Some(RefusalCode::Misplaced));
        assert_eq!(refused(&bytes, 2, Leaf::Plan), Some(RefusalCode::Misplaced));
    }

    #[test]
    fn who_may_not_sign_a_kind_and_a_flipped_bit_have_codes_of_their_own() {
        assert_eq!(refused(&nonce(&key(1)), 1, Leaf::nonce(3)), Some(RefusalCode::UnknownKey));
        let mut bytes = nonce(&key(2));
        let last = bytes.len() - 70;
        bytes[last] ^= 1;
        assert_eq!(refused(&bytes, 2, Leaf::nonce(3)), Some(RefusalCode::Signature));
        assert_eq!(refused(&bytes[..40], 2, Leaf::nonce(3)), Some(RefusalCode::TooShort));
    }
}
