//! The fleet that the insiders are of: its keys, its documents, and how a record is published.

use sha2::{Digest, Sha256};
use shoal_swarm::roster::{part, part_after};
use shoal_wire::v1::{
    ConsensusRule, Knot, Metric, Nonce, NonceFields, Roster, RosterFields, RosterPage,
    RosterPageFields, Rule, SwarmDocument, SwarmDocumentFields, Term, UtilityDocument,
    UtilityDocumentFields, Vehicle, WindowPlan, WindowPlanFields,
};
use shoal_wire::{
    Body, Label, LayoutHash, Leaf, ModelHash, PackHash, PublicKey, SecretKey, Topic, seal,
};

pub(super) const VEHICLES: u8 = 4;
pub(super) const PERIOD_S: u32 = 100;
pub(super) const VALUES: u32 = 3;
pub(super) const PACK: PackHash = PackHash::new([0xAA; 32]);
pub(super) const MODEL: ModelHash = ModelHash::new([1; 32]);
pub(super) const LAYOUT: LayoutHash = LayoutHash::new([2; 32]);

/// A topic, and what is published there.
pub(super) struct Post {
    pub(super) topic: String,
    pub(super) bytes: Vec<u8>,
}

/// The key of this vehicle.
pub(super) fn key(vehicle: u8) -> SecretKey {
    SecretKey::from_seed(&[vehicle; 32])
}

pub(super) fn authority() -> SecretKey {
    key(100)
}

pub(super) fn timekeeper() -> SecretKey {
    key(101)
}

/// Whose approval a campaign needs.
pub(super) fn approver() -> PublicKey {
    key(102).public()
}

pub(super) fn labels() -> [Label<'static>; 2] {
    ["fleet", "region"].map(|text| Label::new(text).expect("a name is a label"))
}

/// A record of this signer at this leaf; `None`: it is longer than its kind may be, or no such leaf is.
pub(super) fn post<'b, T: Body<'b>>(
    signer: &SecretKey,
    leaf: Leaf,
    counter: u64,
    body: &T,
) -> Option<Post> {
    let mut buffer = vec![0; 1 << 16];
    let bytes = seal(body, counter, u64::MAX, signer, &mut buffer).ok()?.bytes().to_vec();
    let [fleet, region] = labels();
    let topic = Topic::new(fleet, region, signer.public().id(), leaf).ok()?;
    Some(Post { topic: topic.text().as_str().to_owned(), bytes })
}

fn nonce_bytes(window: u32) -> [u8; 32] {
    let mut nonce = [7; 32];
    nonce.iter_mut().zip(window.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    nonce
}

/// The part of a pack that is drawn for a window, or, `after` not 0, another one.
pub(super) fn part_of(window: u32, after: u8) -> u8 {
    part_after(part(&nonce_bytes(window)), after)
}

/// The timekeeper's nonce of a window.
pub(super) fn nonce(window: u32) -> Option<Post> {
    let utc_seconds = u64::from(window) * u64::from(PERIOD_S);
    let nonce = Nonce::new(NonceFields { window, nonce: nonce_bytes(window), utc_seconds }).ok()?;
    post(&timekeeper(), Leaf::nonce(window), u64::from(window) + 1, &nonce)
}

pub(super) fn utility() -> UtilityDocument {
    let term = Term {
        name: "skill".try_into().expect("a name is short"),
        pack: PACK,
        metric: Metric::Skill,
        knots: [Knot { window: 0, weight: 1.0 }].into_iter().collect(),
        gate: None,
    };
    let fields = UtilityDocumentFields { version: 1, terms: [term].into_iter().collect() };
    UtilityDocument::new(fields).expect("one term is within bounds")
}

pub(super) fn swarm() -> SwarmDocument {
    SwarmDocument::new(SwarmDocumentFields {
        version: 1,
        seed: 1,
        base_model: MODEL,
        layout: LAYOUT,
        values: VALUES,
        rank: 1,
        start_seed: 1,
        asked: 16,
        rule: Rule::Consensus(ConsensusRule::USUAL),
    })
    .expect("the usual rule is within bounds")
}

/// What the authority published of the fleet before: the roster's head and page, the plan, and what is maximised by which rule.
pub(super) fn documents() -> [Post; 5] {
    let all = || {
        let row = |vehicle| {
            let public_key = *key(vehicle).public().bytes();
            Vehicle { public_key, region: 0 }.encode()
        };
        let rows: Vec<u8> = (0..VEHICLES).flat_map(row).collect();
        let page = RosterPageFields { version: 1, index: 0, vehicles: &rows };
        let page = RosterPage::new(page).ok()?;
        let page = post(&authority(), Leaf::RosterPage { index: 0 }, 1, &page)?;
        let pages: [u8; 32] = Sha256::digest(&page.bytes).into();
        let head = RosterFields { version: 1, vehicles: VEHICLES.into(), pages: &pages };
        let plan = WindowPlanFields {
            epoch_seconds: 0,
            period_seconds: PERIOD_S,
            open_seconds: PERIOD_S,
            jitter_ms_max: 0,
            up_bytes_max: 1 << 20,
            down_bytes_max: 1 << 20,
        };
        let head = post(&authority(), Leaf::Roster, 2, &Roster::new(head).ok()?)?;
        let plan = post(&authority(), Leaf::Plan, 3, &WindowPlan::new(plan).ok()?)?;
        let utility = post(&authority(), Leaf::Utility, 4, &utility())?;
        let swarm = post(&authority(), Leaf::Swarm, 5, &swarm())?;
        Some([head, page, plan, utility, swarm])
    };
    all().expect("a fleet of four is within bounds")
}
