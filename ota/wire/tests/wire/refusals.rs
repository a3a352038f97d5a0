//! Bodies that are refused, each with its reason: one past every bound of SPEC.md §4.

use heapless::Vec as List;
use serde::Serialize;
use shoal_wire::v1::{
    CHUNK_BYTES_MAX, Compared, Document, DocumentFields, Knot, Measured, NonceFields,
    RefusalFields, RejectClaim, RejectDocument, RejectNonce, RejectParticleHeader, RejectPresence,
    RejectRefusal, RejectRoster, RejectRosterPage, RejectSwarmDocument, RejectTerms,
    RejectUtilityDocument, RejectVote, RejectWindowPlan, Role, RosterFields, RosterPageFields,
    Rule,
};
use shoal_wire::{Kind, RejectBody, RejectKey};

use crate::common::refused;
use crate::samples;

/// A body that is refused.
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) reason: RejectBody,
}

pub(crate) fn written(fields: &impl Serialize) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 17];
    postcard::to_slice(fields, &mut buffer).unwrap().to_vec()
}

/// What is refused of one kind: its fields, as changed.
struct Changed<F> {
    kind: Kind,
    fields: F,
    found: Vec<Refused>,
}

impl<F: Clone + Serialize> Changed<F> {
    fn new(kind: Kind, fields: F) -> Self {
        assert_eq!(refused(kind, &written(&fields)), None, "what is changed is good");
        Self { kind, fields, found: Vec::new() }
    }

    fn with(mut self, name: &'static str, reason: RejectBody, change: impl FnOnce(&mut F)) -> Self {
        let mut fields = self.fields.clone();
        change(&mut fields);
        self.found.push(Refused { kind: self.kind, name, body: written(&fields), reason });
        self
    }
}

fn claims() -> Vec<Refused> {
    let why = RejectBody::Claim;
    let terms = |why| RejectBody::Claim(RejectClaim::Terms(why));
    let value = |value| Measured { value, standard_error: 0 };
    Changed::new(Kind::Claim, samples::claim_fields())
        .with("slot 6", why(RejectClaim::Slot { slot: 6 }), |f| f.slot = 6)
        .with("part 4", why(RejectClaim::Part { part: 4 }), |f| f.part = 4)
        .with("no terms", terms(RejectTerms::NoTerms), |f| f.terms.clear())
        .with("value 10,001", terms(RejectTerms::Value { index: 1, value: 10_001 }), |f| {
            f.terms[1] = value(10_001);
        })
        .with("value -10,001", terms(RejectTerms::Value { index: 0, value: -10_001 }), |f| {
            f.terms[0] = value(-10_001);
        })
        .found
}

fn votes() -> Vec<Refused> {
    let why = RejectBody::Vote;
    let terms = |why| RejectBody::Vote(RejectVote::Terms(why));
    let term = |value, best| Compared { value, best, standard_error: 0 };
    Changed::new(Kind::Vote, samples::vote_fields())
        .with("place 4", why(RejectVote::Place { place: 4 }), |f| f.place = 4)
        .with("part 4", why(RejectVote::Part { part: 4 }), |f| f.part = 4)
        .with("no terms", terms(RejectTerms::NoTerms), |f| f.terms.clear())
        .with("value 10,001", terms(RejectTerms::Value { index: 0, value: 10_001 }), |f| {
            f.terms[0] = term(10_001, 0);
        })
        .with("best -10,001", terms(RejectTerms::Value { index: 1, value: -10_001 }), |f| {
            f.terms[1] = term(0, -10_001);
        })
        .found
}

fn headers() -> Vec<Refused> {
    use RejectParticleHeader as Why;
    let why = RejectBody::ParticleHeader;
    let contribution = Role::Contribution;
    let order = |index, first_value| Why::ChunkOrder { index, first_value };
    let mut found = Changed::new(Kind::ParticleHeader, samples::header_fields(2))
        .with("best with an anchor", why(Why::Anchor { role: Role::Best }), |f| f.role = Role::Best)
        .with("contribution with inputs", why(Why::Inputs { role: contribution, count: 1 }), |f| {
            f.inputs = samples::merge_fields(1, 1).inputs
        })
        .with("coding 0", why(Why::Coding { coding: 0 }), |f| f.coding = 0)
        .with("coding 2", why(Why::Coding { coding: 2 }), |f| f.coding = 2)
        .with("no chunks", why(Why::NoChunks), |f| f.chunks.clear())
        .with("first chunk at 1", why(order(0, 1)), |f| f.chunks[0].first_value = 1)
        .with("two chunks at 0", why(order(1, 0)), |f| f.chunks[1].first_value = 0)
        .with(
            "a chunk without a value",
            why(Why::ChunkStart { index: 1, first_value: 40_000, values: 40_000 }),
            |f| f.values = 40_000,
        )
        .with("an empty chunk", why(Why::ChunkBytes { index: 0, bytes: 0 }), |f| {
            f.chunks[0].bytes = 0;
        })
        .with(
            "a chunk of 65,537 bytes",
            why(Why::ChunkBytes { index: 1, bytes: CHUNK_BYTES_MAX + 1 }),
            |f| f.chunks[1].bytes = CHUNK_BYTES_MAX + 1,
        )
        .found;
    found.extend(
        Changed::new(Kind::ParticleHeader, samples::merge_fields(2, 1))
            .with("merge of nothing", why(Why::Inputs { role: Role::Merge, count: 0 }), |f| {
                f.inputs.clear();
            })
            .with("inputs in another order", why(Why::InputOrder { index: 1 }), |f| {
                f.inputs.swap(0, 1);
            })
            .with("one input twice", why(Why::InputOrder { index: 1 }), |f| {
                f.inputs[1].particle = f.inputs[0].particle;
            })
            .with("weight 0", why(Why::Weight { index: 0 }), |f| f.inputs[0].weight = 0.0)
            .with("weight -0", why(Why::Weight { index: 0 }), |f| f.inputs[0].weight = -0.0)
            .with("weight NaN", why(Why::Weight { index: 1 }), |f| f.inputs[1].weight = f32::NAN)
            .found,
    );
    found
}

fn presences() -> Vec<Refused> {
    let why = RejectBody::Presence;
    let value = |index, value| why(RejectPresence::Value { index, value });
    Changed::new(Kind::Presence, samples::presence_fields())
        .with("no software", why(RejectPresence::Software), |f| f.software.clear())
        .with("software with an escape", why(RejectPresence::Software), |f| {
            f.software = "0.1\u{1b}[2J".try_into().unwrap();
        })
        .with("software that turns its line", why(RejectPresence::Software), |f| {
            f.software = "0.1\u{202e}0.2".try_into().unwrap();
        })
        .with("value 10,001", value(1, 10_001), |f| f.terms[1] = 10_001)
        .found
}

fn nonces_and_refusals() -> Vec<Refused> {
    let nonce: NonceFields = *samples::nonce().fields();
    let refusal: RefusalFields = *samples::refusal().fields();
    let mut found = Changed::new(Kind::Nonce, nonce)
        .with("zeros", RejectBody::Nonce(RejectNonce::Zeros), |f| f.nonce = [0; 32])
        .found;
    found.extend(
        Changed::new(Kind::Refusal, refusal)
            .with("code 0", RejectBody::Refusal(RejectRefusal::NoCode), |f| f.code = 0)
            .found,
    );
    found
}

fn plans() -> Vec<Refused> {
    use RejectWindowPlan as Why;
    let why = RejectBody::WindowPlan;
    let open = |open_seconds| why(Why::Open { open_seconds, period_seconds: 86_400 });
    let jitter = Why::Jitter { jitter_ms_max: 1_800_001, open_seconds: 3_600 };
    Changed::new(Kind::WindowPlan, samples::plan_fields())
        .with("no period", why(Why::NoPeriod), |f| f.period_seconds = 0)
        .with("never open", open(0), |f| f.open_seconds = 0)
        .with("open for longer than a period", open(86_401), |f| f.open_seconds = 86_401)
        .with("jitter of more than half", why(jitter), |f| f.jitter_ms_max = 1_800_001)
        .with("no bytes up", why(Why::NoBytes), |f| f.up_bytes_max = 0)
        .with("no bytes down", why(Why::NoBytes), |f| f.down_bytes_max = 0)
        .found
}

fn rosters() -> Vec<Refused> {
    use RejectRoster as Why;
    let why = RejectBody::Roster;
    let (hashes, growths) = ([0x77; 64], [0x77; 64 + 8]);
    let fields = RosterFields { version: 3, vehicles: 1_025, pages: &hashes };
    let bytes = |bytes| why(Why::Pages { bytes, vehicles: 1_025 });
    Changed::new(Kind::Roster, fields)
        .with("no vehicles", why(Why::Vehicles { vehicles: 0 }), |f| f.vehicles = 0)
        .with(
            "more vehicles than pages can list",
            why(Why::Vehicles { vehicles: (1 << 20) + 1 }),
            |f| f.vehicles = (1 << 20) + 1,
        )
        .with("a page too few", bytes(32), |f| f.pages = &hashes[..32])
        .with("a hash too short", bytes(63), |f| f.pages = &hashes[..63])
        .with("a page too many", why(Why::Growth { index: 0 }), |f| f.vehicles = 1_024)
        .with("a growth too short", bytes(63 + 8), |f| f.pages = &growths[..63 + 8])
        .with("a growth after none", why(Why::Growth { index: 0 }), |f| f.pages = &growths)
        .found
}

fn roster_pages() -> Vec<Refused> {
    use RejectRosterPage as Why;
    let why = RejectBody::RosterPage;
    let rows = samples::vehicles(1, 2);
    let twice = [&rows[..34], &rows[..32], &[1, 0]].concat();
    let small_order = [&rows[..34], &[0; 34]].concat();
    let too_many = vec![0; 1_025 * 34];
    let length = |bytes| why(Why::Length { bytes });
    let key = Why::Key { place: 1, source: RejectKey::SmallOrder };
    Changed::new(Kind::RosterPage, RosterPageFields { version: 3, index: 1, vehicles: &rows })
        .with("page 1,024", why(Why::Index { index: 1_024 }), |f| f.index = 1_024)
        .with("no vehicles", length(0), |f| f.vehicles = &[])
        .with("a row too short", length(67), |f| f.vehicles = &rows[..67])
        .with("1,025 vehicles", length(1_025 * 34), |f| f.vehicles = &too_many)
        .with("one key twice", why(Why::SameKey { place: 1 }), |f| f.vehicles = &twice)
        .with("a key of small order", why(key), |f| f.vehicles = &small_order)
        .found
}

fn utilities() -> Vec<Refused> {
    use RejectUtilityDocument as Why;
    let why = RejectBody::UtilityDocument;
    let weight = |weight| Knot { window: 10, weight };
    Changed::new(Kind::UtilityDocument, samples::utility_fields())
        .with("no terms", why(Why::NoTerms), |f| f.terms.clear())
        .with("no name", why(Why::Name { index: 1 }), |f| f.terms[1].name.clear())
        .with("a name with a line break", why(Why::Name { index: 0 }), |f| {
            f.terms[0].name = "a\nb".try_into().unwrap();
        })
        .with("one name twice", why(Why::SameName { index: 1 }), |f| {
            f.terms[1].name = f.terms[0].name.clone();
        })
        .with("no knots", why(Why::NoKnots { index: 0 }), |f| f.terms[0].knots.clear())
        .with("two knots at one window", why(Why::KnotOrder { index: 1, knot: 1 }), |f| {
            f.terms[1].knots[1].window = 10;
        })
        .with("a negative weight", why(Why::Weight { index: 1, knot: 0 }), |f| {
            f.terms[1].knots[0] = weight(-0.5);
        })
        .with("weight -0", why(Why::Weight { index: 1, knot: 0 }), |f| {
            f.terms[1].knots[0] = weight(-0.0);
        })
        .with("an infinite weight", why(Why::Weight { index: 1, knot: 0 }), |f| {
            f.terms[1].knots[0] = weight(f32::INFINITY);
        })
        .with("gate 10,001", why(Why::Gate { index: 0, gate: 10_001 }), |f| {
            f.terms[0].gate = Some(10_001);
        })
        .found
}

fn swarms() -> Vec<Refused> {
    use RejectSwarmDocument as Why;
    let why = RejectBody::SwarmDocument;
    let paper = samples::paper();
    let consensus = samples::consensus();
    let kind = Kind::SwarmDocument;
    let mut found = Changed::new(kind, samples::swarm_fields(Rule::Coefficients))
        .with("values 0", why(Why::Values), |f| f.values = 0)
        .with("rank 0", why(Why::Rank), |f| f.rank = 0)
        .with("nobody asked", why(Why::Asked), |f| f.asked = 0)
        .found;
    macro_rules! changed {
        ($rule:ident, $of:ident, $($name:literal $why:expr => $field:ident = $value:expr;)*) => {{
            let mut changed = $of;
            let list = Changed::new(kind, samples::swarm_fields(Rule::$rule($of)))
                $(.with($name, why($why), |f| {
                    changed = $of;
                    changed.$field = $value;
                    f.rule = Rule::$rule(changed);
                }))*;
            found.extend(list.found);
        }};
    }
    changed! { Paper, paper,
        "a weight of the rule is NaN" Why::Weights => social = f32::NAN;
        "a weight of the rule is negative" Why::Weights => repel = -0.1;
        "step length 0" Why::StepLength => step_length = 0.0;
        "step length above 1" Why::StepLength => step_length = 1.5;
        "step length grows" Why::StepLength => step_length_decay = 1.01;
        "least step length above the first" Why::StepLength => step_length_min = 0.9;
        "no patience" Why::Patience => patience = 0;
        "no restart patience" Why::Patience => restart_patience = 0;
    }
    changed! { Consensus, consensus,
        "inertia 1" Why::Inertia => inertia = 1.0;
        "0 bits up" Why::Bits { bits: 0 } => up_bits = 0;
        "9 bits down" Why::Bits { bits: 9 } => down_bits = 9;
        "a negative brake" Why::Brake => brake = -0.01;
        "the mean of no bests" Why::MeanLast { count: 0 } => mean_last = 0;
        "the mean of 17 bests" Why::MeanLast { count: 17 } => mean_last = 17;
    }
    let still = shoal_wire::v1::PaperRule {
        inertia: 0.0,
        cognitive: 0.0,
        social: 0.0,
        repel: 0.0,
        ..paper
    };
    found.extend(
        Changed::new(kind, samples::swarm_fields(Rule::Paper(paper)))
            .with("every weight of the rule is 0", why(Why::Weights), |f| {
                f.rule = Rule::Paper(still);
            })
            .found,
    );
    found
}

fn documents() -> Vec<Refused> {
    use RejectDocument as Why;
    let why = RejectBody::Document;
    let fields: DocumentFields<'static> = *samples::document().fields();
    let long = "n".repeat(65);
    let bytes = vec![0; 60_001];
    let list: Changed<DocumentFields<'_>> = Changed::new(Kind::Document, fields);
    list.with("no name", why(Why::Name), |f| f.name = "")
        .with("a name with a tab", why(Why::Name), |f| f.name = "a\tb")
        .with("a name of 65 bytes", RejectBody::Malformed, |f| f.name = &long)
        .with("60,001 bytes", why(Why::TooLong { bytes: 60_001 }), |f| f.bytes = &bytes)
        .found
}

/// Lists one longer than they may be do not decode, whatever else is in them.
fn malformed() -> Vec<Refused> {
    let terms: List<Measured, 17> =
        (0..17).map(|value| Measured { value, standard_error: 0 }).collect();
    let claim = samples::claim_fields();
    let long_claim = (
        (claim.window, claim.slot, claim.particle, claim.role),
        (claim.pack, claim.part, claim.utility_version, terms),
    );
    let mut role = written(&samples::header_fields(1));
    role[0] = 4;
    let mut rule = written(&samples::swarm_fields(Rule::Coefficients));
    *rule.last_mut().unwrap() = 3;
    let mut flag = written(&samples::swarm_fields(Rule::Consensus(samples::consensus())));
    *flag.last_mut().unwrap() = 2;
    let mut text = written(&samples::presence_fields());
    let at = text.windows(5).position(|five| five == b"0.1.0").unwrap();
    text[at] = 0xff;
    let cut = |mut body: Vec<u8>| {
        body.pop();
        body
    };
    [
        (Kind::Claim, "17 terms", written(&long_claim)),
        (Kind::Vote, "the last byte is missing", cut(written(&samples::vote_fields()))),
        (Kind::ParticleHeader, "role 4", role),
        (Kind::Presence, "software is not UTF-8", text),
        (Kind::Nonce, "empty", Vec::new()),
        (Kind::SwarmDocument, "rule 3", rule),
        (Kind::SwarmDocument, "a flag of 2", flag),
        (Kind::Refusal, "code of 17 bits", {
            let mut body = written(&(300_u32, [0x66_u8; 32]));
            body.extend([0x80, 0x80, 0x04]);
            body
        }),
    ]
    .map(|(kind, name, body)| Refused { kind, name, body, reason: RejectBody::Malformed })
    .into()
}

/// The same value, written otherwise.
fn not_canonical() -> Vec<Refused> {
    let plan = written(&samples::plan_fields());
    let mut trailing = plan.clone();
    trailing.push(0);
    // 1 << 20 ends in byte 0x40: written as 0xc0 0x00 it is the same number.
    let at = plan.iter().position(|byte| *byte == 0x40).unwrap();
    let mut overlong = plan;
    overlong[at] |= 0x80;
    overlong.insert(at + 1, 0);
    [("a byte after the end", trailing), ("a number of two bytes for one", overlong)]
        .map(|(name, body)| Refused {
            kind: Kind::WindowPlan,
            name,
            body,
            reason: RejectBody::NotCanonical,
        })
        .into()
}

pub(crate) fn all() -> Vec<Refused> {
    [
        claims(),
        votes(),
        headers(),
        presences(),
        nonces_and_refusals(),
        plans(),
        rosters(),
        roster_pages(),
        utilities(),
        swarms(),
        documents(),
        malformed(),
        not_canonical(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn one_past_every_bound_is_refused_with_its_reason() {
    for Refused { kind, name, body, reason } in all() {
        assert_eq!(refused(kind, &body), Some(reason), "{kind:?}: {name}");
    }
}

#[test]
fn every_kind_has_a_body_that_is_refused() {
    for kind in Kind::ALL {
        assert!(all().iter().any(|refused| refused.kind == kind), "{kind:?}");
    }
}

#[test]
fn a_document_whose_name_is_too_long_is_not_made() {
    let name = "n".repeat(65);
    let made = Document::new(DocumentFields { name: &name, version: 1, bytes: &[] });
    assert_eq!(made, Err(RejectDocument::NameLength { bytes: 65 }));
}
