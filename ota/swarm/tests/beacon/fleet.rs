//! A fleet that signs: its documents, and what its vehicles publish.

use shoal_swarm::roster::part;
use shoal_wire::v1::{
    Chunk, Claim, ClaimFields, Knot, Measured, MergeInput, Metric, Nonce, NonceFields,
    ParticleHeader, ParticleHeaderFields, ROSTER_PAGE_VEHICLES_MAX, Role, Roster, RosterFields,
    RosterPage, RosterPageFields, Rule, SwarmDocument, SwarmDocumentFields, Term, UtilityDocument,
    UtilityDocumentFields, Vehicle,
};
use shoal_wire::{
    Body, ChunkHash, KeyId, Label, LayoutHash, Leaf, ModelHash, PackHash, ParticleId, SecretKey,
    Topic, seal,
};

pub(crate) const PACK: PackHash = PackHash::new([0xAA; 32]);
/// When the nonce of window 0 was drawn; every window takes as long.
const UTC: u64 = 1_000;

pub(crate) fn authority() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub(crate) fn timekeeper() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

/// The key of vehicle `number`.
pub(crate) fn key(number: u32) -> SecretKey {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(&seed)
}

/// A topic with what stands there.
pub(crate) type Post = (Topic<'static>, Vec<u8>);

pub(crate) fn topic(publisher: KeyId, leaf: Leaf) -> Topic<'static> {
    let label = |text| Label::new(text).unwrap();
    Topic::new(label("fleet"), label("region"), publisher, leaf).unwrap()
}

pub(crate) fn post<'b, T: Body<'b>>(
    signer: &SecretKey,
    leaf: Leaf,
    counter: u64,
    body: &T,
) -> Post {
    let mut buffer = vec![0; 1 << 16];
    let bytes = seal(body, counter, u64::MAX, signer, &mut buffer).unwrap().bytes().to_vec();
    (topic(signer.public().id(), leaf), bytes)
}

/// A version of the roster: pages, then the head.
pub(crate) fn roster(vehicles: u32, version: u32) -> Vec<Post> {
    let (mut posts, mut hashes) = (Vec::new(), Vec::new());
    let numbers: Vec<u32> = (0..vehicles).collect();
    for (index, numbers) in (0..).zip(numbers.chunks(ROSTER_PAGE_VEHICLES_MAX as usize)) {
        let row = |number: &u32| {
            Vehicle { public_key: *key(*number).public().bytes(), region: 0 }.encode()
        };
        let rows: Vec<u8> = numbers.iter().flat_map(row).collect();
        let fields = RosterPageFields { version, index, vehicles: &rows };
        let page = RosterPage::new(fields).unwrap();
        let page = post(&authority(), Leaf::RosterPage { index }, 20 * u64::from(version), &page);
        hashes.extend(sha256(&page.1));
        posts.push(page);
    }
    let head = RosterFields { version, vehicles, pages: &hashes };
    posts.push(post(
        &authority(),
        Leaf::Roster,
        20 * u64::from(version) + 1,
        &Roster::new(head).unwrap(),
    ));
    posts
}

/// What the authority signs of a fleet of so many vehicles.
pub(crate) fn documents(vehicles: u32) -> Vec<Post> {
    let mut posts = roster(vehicles, 1);
    let term = Term {
        name: "skill".try_into().unwrap(),
        pack: PACK,
        metric: Metric::Skill,
        knots: [Knot { window: 0, weight: 1.0 }].into_iter().collect(),
        gate: None,
    };
    let utility = UtilityDocumentFields { version: 1, terms: [term].into_iter().collect() };
    let utility = UtilityDocument::new(utility).unwrap();
    posts.push(post(&authority(), Leaf::Utility, 3, &utility));
    let swarm = SwarmDocumentFields {
        version: 1,
        seed: 1,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        values: 3,
        rank: 1,
        start_seed: 1,
        asked: 16,
        rule: Rule::Coefficients,
    };
    posts.push(post(&authority(), Leaf::Swarm, 4, &SwarmDocument::new(swarm).unwrap()));
    posts
}

pub(crate) fn nonce_bytes(window: u32) -> [u8; 32] {
    let mut nonce = [7; 32];
    nonce[..4].copy_from_slice(&window.to_le_bytes());
    nonce
}

pub(crate) fn nonce(window: u32) -> Post {
    let utc_seconds = UTC * (u64::from(window) + 1);
    let fields = NonceFields { window, nonce: nonce_bytes(window), utc_seconds };
    let counter = u64::from(window) + 1;
    post(&timekeeper(), Leaf::nonce(window), counter, &Nonce::new(fields).unwrap())
}

/// A particle of its own of vehicle `number`.
pub(crate) fn header(number: u32, window: u32, role: Role) -> ParticleHeader {
    let mut hash = [3; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    let input = MergeInput { particle: ParticleId::new(hash), weight: 1.0 };
    let merge = role == Role::Merge;
    ParticleHeader::new(ParticleHeaderFields {
        role,
        window,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        anchor: None,
        inputs: merge.then_some(input).into_iter().collect(),
        coding: 1,
        values: 3,
        chunks: [Chunk { first_value: 0, bytes: 1, hash: ChunkHash::new(hash) }]
            .into_iter()
            .collect(),
    })
    .unwrap()
}

pub(crate) fn claim(header: &ParticleHeader, slot: u8, value: i16) -> Claim {
    let window = header.fields().window;
    Claim::new(ClaimFields {
        window,
        slot,
        particle: header.id(),
        role: header.fields().role,
        pack: PACK,
        part: part(&nonce_bytes(window)),
        utility_version: 1,
        terms: [Measured { value, standard_error: 100 }].into_iter().collect(),
    })
    .unwrap()
}

/// What vehicle `number` publishes when it claims a particle of its own: header, then claim.
pub(crate) fn claimed(number: u32, window: u32, role: Role, value: i16) -> [Post; 2] {
    let (key, header) = (key(number), header(number, window, role));
    let slot = (window % 6) as u8;
    let claim = claim(&header, slot, value);
    let counter = u64::from(window) * 10;
    [
        post(&key, Leaf::Particle { slot }, counter + 1, &header),
        post(&key, Leaf::Claim { slot }, counter + 2, &claim),
    ]
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}
