//! Records of a fleet whose vehicle i has id i, i, … and whose signatures were checked before.

use shoal_swarm::records::{Records, RejectRecord, Shape, Signed, When};
use shoal_swarm::roster::{Roster, part};
use shoal_swarm::utility::{Utility, to_standard_error, to_value};
use shoal_wire::v1::{
    Chunk, Claim, ClaimFields, Compared, Knot, Measured, Metric, Nonce, NonceFields,
    ParticleHeader, ParticleHeaderFields, Role, Term, UtilityDocument, UtilityDocumentFields, Vote,
    VoteFields,
};
use shoal_wire::{ChunkHash, KeyId, LayoutHash, ModelHash, PackHash, ParticleId, RecordId};

pub(crate) const PACK: PackHash = PackHash::new([0xAA; 32]);
pub(crate) const SHAPE: Shape =
    Shape { base_model: ModelHash::new([1; 32]), layout: LayoutHash::new([2; 32]), values: 3 };

pub(crate) fn vehicle(number: u8) -> KeyId {
    KeyId::new([number; 8])
}

pub(crate) fn roster(count: u8) -> Roster {
    Roster::new((0..count).map(vehicle).collect()).unwrap()
}

/// A utility of one term that does not change, without a gate.
pub(crate) fn utility() -> Utility {
    utility_of(&[&[(0, 1.0)]], None)
}

/// Terms with these knots, on packs of their own, each with this gate.
pub(crate) fn utility_of(terms: &[&[(u32, f32)]], gate: Option<i16>) -> Utility {
    Utility::new(&document(1, terms, gate))
}

pub(crate) fn document(
    version: u32,
    terms: &[&[(u32, f32)]],
    gate: Option<i16>,
) -> UtilityDocument {
    let term = |(index, knots): (usize, &&[(u32, f32)])| Term {
        name: format!("term {index}").as_str().try_into().unwrap(),
        pack: if index == 0 { PACK } else { PackHash::new([index as u8; 32]) },
        metric: Metric::Skill,
        knots: knots.iter().map(|&(window, weight)| Knot { window, weight }).collect(),
        gate,
    };
    let terms = terms.iter().enumerate().map(term).collect();
    UtilityDocument::new(UtilityDocumentFields { version, terms }).unwrap()
}

pub(crate) fn when(window: u32) -> When {
    When { window, utc_seconds: 1_000, age_windows: 4 }
}

/// A record with this body; `mark` tells two apart that say the same.
pub(crate) fn signed<T: std::fmt::Debug>(signer: u8, mark: u8, body: T) -> Signed<T> {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update([signer, mark]);
    hasher.update(format!("{body:?}"));
    Signed {
        id: RecordId::new(hasher.finalize().into()),
        signer: vehicle(signer),
        counter: u64::from(mark) + 1,
        not_after_seconds: u64::MAX,
        body,
    }
}

pub(crate) fn nonce_bytes(window: u32) -> [u8; 32] {
    let mut nonce = [7; 32];
    nonce[..4].copy_from_slice(&window.to_le_bytes());
    nonce
}

pub(crate) fn nonce(window: u32) -> Signed<Nonce> {
    let fields = NonceFields { window, nonce: nonce_bytes(window), utc_seconds: 1 };
    signed(200, 0, Nonce::new(fields).unwrap())
}

/// A particle that differs from others by its mark.
pub(crate) fn header(role: Role, window: u32, mark: u8) -> ParticleHeader {
    header_of(role, window, mark, None, &[])
}

pub(crate) fn header_of(
    role: Role,
    window: u32,
    mark: u8,
    anchor: Option<ParticleId>,
    inputs: &[ParticleId],
) -> ParticleHeader {
    let filler = [ParticleId::new([mark; 32])];
    let inputs = if role == Role::Merge && inputs.is_empty() { &filler } else { inputs };
    let mut inputs = inputs.to_vec();
    inputs.sort();
    let input = |particle| shoal_wire::v1::MergeInput { particle, weight: 1.0 };
    ParticleHeader::new(ParticleHeaderFields {
        role,
        window,
        base_model: SHAPE.base_model,
        layout: SHAPE.layout,
        anchor,
        inputs: inputs.into_iter().map(input).collect(),
        coding: 1,
        values: SHAPE.values,
        chunks: [Chunk { first_value: 0, bytes: 1, hash: ChunkHash::new([mark; 32]) }]
            .into_iter()
            .collect(),
    })
    .unwrap()
}

pub(crate) fn measured(value: f64, error: f64) -> Measured {
    Measured { value: to_value(value), standard_error: to_standard_error(error) }
}

pub(crate) fn claim(header: &ParticleHeader, terms: &[Measured]) -> Claim {
    let window = header.fields().window;
    Claim::new(ClaimFields {
        window,
        slot: 1,
        particle: header.id(),
        role: header.fields().role,
        pack: PACK,
        part: part(&nonce_bytes(window)),
        utility_version: 1,
        terms: terms.iter().copied().collect(),
    })
    .unwrap()
}

/// What a voter of `window` measured of a nominee beside a reference.
pub(crate) fn vote(
    window: u32,
    place: u8,
    nominee: ParticleId,
    best: Option<ParticleId>,
    (value, beside, error): (f64, f64, f64),
) -> Vote {
    let term = Compared {
        value: to_value(value),
        best: to_value(beside),
        standard_error: to_standard_error(error),
    };
    Vote::new(VoteFields {
        window,
        place,
        nominee,
        best,
        pack: PACK,
        part: part(&nonce_bytes(window)),
        utility_version: 1,
        terms: [term].into_iter().collect(),
    })
    .unwrap()
}

/// A set of records with those who fill it.
pub(crate) struct Book {
    pub(crate) records: Records,
    pub(crate) roster: Roster,
}

impl Book {
    /// A fleet that has the nonces of its first windows.
    pub(crate) fn new(vehicles: u8) -> Self {
        let mut records = Records::new(SHAPE);
        for window in 0..30 {
            records.nonce(&when(window), &nonce(window)).unwrap();
        }
        Self { records, roster: roster(vehicles) }
    }

    /// Vehicle `number` claims a particle of its own with this value.
    pub(crate) fn claim(&mut self, number: u8, window: u32, role: Role, value: f64) -> ParticleId {
        let header = header(role, window, number);
        self.claim_of(number, &header, value)
    }

    pub(crate) fn claim_of(
        &mut self,
        number: u8,
        header: &ParticleHeader,
        value: f64,
    ) -> ParticleId {
        let claim = signed(number, 0, claim(header, &[measured(value, 0.01)]));
        let header = signed(number, 0, header.clone());
        let when = when(header.body.fields().window);
        self.records.header(&when, &self.roster, &header, 1).unwrap();
        self.records.claim(&when, &self.roster, &claim).unwrap();
        header.body.id()
    }

    /// A vote of vehicle `number`, taken in right away.
    pub(crate) fn vote(
        &mut self,
        number: u8,
        window: u32,
        place: u8,
        nominee: ParticleId,
        best: Option<ParticleId>,
        found: (f64, f64, f64),
    ) -> Result<bool, RejectRecord> {
        let vote = signed(number, 0, vote(window, place, nominee, best, found));
        self.records.vote(&when(window), &self.roster, &vote)
    }

    /// A vote of vehicle `number` that the nominee was not to be had.
    pub(crate) fn missing(&mut self, number: u8, window: u32, place: u8, nominee: ParticleId) {
        let vote = vote(window, place, nominee, None, (0.0, 0.0, 0.0));
        let vote = Vote::new(vote.fields().clone().missing()).unwrap();
        self.records.vote(&when(window), &self.roster, &signed(number, 0, vote)).unwrap();
    }
}
