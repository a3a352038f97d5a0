//! One body of every kind, and fields to change.

use shoal_wire::v1::{
    Activity, CHUNK_BYTES_MAX, Chunk, Claim, ClaimFields, Compared, ConsensusRule, Document,
    DocumentFields, Knot, Measured, MergeInput, Metric, Nonce, NonceFields, PaperRule,
    ParticleHeader, ParticleHeaderFields, Presence, PresenceFields, Refusal, RefusalCode,
    RefusalFields, Role, Rule, SwarmDocument, SwarmDocumentFields, Term, UtilityDocument,
    UtilityDocumentFields, Vehicle, Vote, VoteFields, WindowPlan, WindowPlanFields,
};
use shoal_wire::{ChunkHash, LayoutHash, ModelHash, PackHash, ParticleId, RecordId, SecretKey};

fn particle(byte: u8) -> ParticleId {
    ParticleId::new([byte; 32])
}

pub(crate) fn claim_fields() -> ClaimFields {
    let term = |value, standard_error| Measured { value, standard_error };
    ClaimFields {
        window: 300,
        slot: 5,
        particle: particle(0x11),
        role: Role::Merge,
        pack: PackHash::new([0x22; 32]),
        part: 3,
        utility_version: 7,
        terms: [term(4_580, 31), term(-10_000, 65_535), term(10_000, 0)].into_iter().collect(),
    }
}

pub(crate) fn claim() -> Claim {
    Claim::new(claim_fields()).unwrap()
}

pub(crate) fn vote_fields() -> VoteFields {
    let term = |value, best, standard_error| Compared { value, best, standard_error };
    VoteFields {
        window: 301,
        place: 3,
        nominee: particle(0x11),
        best: Some(particle(0x33)),
        pack: PackHash::new([0x22; 32]),
        part: 1,
        utility_version: 7,
        terms: [term(4_580, 4_360, 12), term(-1, 1, 300)].into_iter().collect(),
    }
}

pub(crate) fn vote() -> Vote {
    Vote::new(vote_fields()).unwrap()
}

pub(crate) fn header_fields(chunks: u8) -> ParticleHeaderFields {
    ParticleHeaderFields {
        role: Role::Contribution,
        window: 300,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        anchor: Some(particle(3)),
        inputs: heapless::Vec::new(),
        coding: 1,
        values: 1_000_000,
        chunks: (0..chunks)
            .map(|index| Chunk {
                first_value: u32::from(index) * 40_000,
                bytes: CHUNK_BYTES_MAX - u32::from(index),
                hash: ChunkHash::new([index; 32]),
            })
            .collect(),
    }
}

pub(crate) fn header(chunks: u8) -> ParticleHeader {
    ParticleHeader::new(header_fields(chunks)).unwrap()
}

pub(crate) fn merge_fields(inputs: u8, chunks: u8) -> ParticleHeaderFields {
    let input = |byte| MergeInput { particle: particle(byte), weight: 0.25 };
    ParticleHeaderFields {
        role: Role::Merge,
        anchor: None,
        inputs: (0..inputs).map(input).collect(),
        ..header_fields(chunks)
    }
}

pub(crate) fn presence_fields() -> PresenceFields {
    PresenceFields {
        window: Some(300),
        activity: Activity::Measuring,
        adapter: Some(particle(0x33)),
        software: "0.1.0".try_into().unwrap(),
        up_bytes: 7_700,
        down_bytes: 61_000,
        terms: [4_820, -3].into_iter().collect(),
        steps: 40,
    }
}

pub(crate) fn presence() -> Presence {
    Presence::new(presence_fields()).unwrap()
}

pub(crate) fn nonce() -> Nonce {
    let fields = NonceFields { window: 301, nonce: [0x5a; 32], utc_seconds: 1_750_000_300 };
    Nonce::new(fields).unwrap()
}

pub(crate) fn plan_fields() -> WindowPlanFields {
    WindowPlanFields {
        epoch_seconds: 1_750_000_000,
        period_seconds: 86_400,
        open_seconds: 3_600,
        jitter_ms_max: 600_000,
        up_bytes_max: 1 << 20,
        down_bytes_max: 1 << 24,
    }
}

pub(crate) fn plan() -> WindowPlan {
    WindowPlan::new(plan_fields()).unwrap()
}

/// Rows of so many vehicles, with keys of seeds that count from `first`.
pub(crate) fn vehicles(first: u32, count: u32) -> Vec<u8> {
    let vehicle = |index: u32| {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&index.to_le_bytes());
        let public_key = *SecretKey::from_seed(&seed).public().bytes();
        Vehicle { public_key, region: 258 }.encode()
    };
    (first..first + count).flat_map(vehicle).collect()
}

pub(crate) fn utility_fields() -> UtilityDocumentFields {
    let knot = |window, weight| Knot { window, weight };
    UtilityDocumentFields {
        version: 7,
        terms: [
            Term {
                name: "motorway".try_into().unwrap(),
                pack: PackHash::new([0x22; 32]),
                metric: Metric::Skill,
                knots: [knot(0, 1.0)].into_iter().collect(),
                gate: Some(-500),
            },
            Term {
                name: "forêt, la nuit".try_into().unwrap(),
                pack: PackHash::new([0x44; 32]),
                metric: Metric::Skill,
                knots: [knot(10, 0.0), knot(20, 0.5), knot(40, 0.125)].into_iter().collect(),
                gate: None,
            },
        ]
        .into_iter()
        .collect(),
    }
}

pub(crate) fn utility() -> UtilityDocument {
    UtilityDocument::new(utility_fields()).unwrap()
}

/// The same, its second term one of imitation.
pub(crate) fn utility_of_both() -> UtilityDocument {
    let mut fields = utility_fields();
    fields.terms[1].metric = Metric::Imitation;
    UtilityDocument::new(fields).unwrap()
}

/// Terms of driving: imitation counts, two are gates without weight, progress counts less.
pub(crate) fn utility_of_driving() -> UtilityDocument {
    let term = |name: &str, metric, weight, gate| Term {
        name: name.try_into().unwrap(),
        pack: PackHash::new([0x66; 32]),
        metric,
        knots: [Knot { window: 0, weight }].into_iter().collect(),
        gate,
    };
    let terms = [
        term("imitation", Metric::Imitation, 1.0, None),
        term("comfort", Metric::Comfort, 0.0, Some(2_000)),
        term("distance", Metric::Distance, 0.0, Some(8_500)),
        term("progress", Metric::Progress, 0.25, None),
    ];
    let terms = terms.into_iter().collect();
    UtilityDocument::new(UtilityDocumentFields { version: 8, terms }).unwrap()
}

/// Terms of roll-outs and of gains: the fifth frame counts, and nobody falls behind the model as it ships.
pub(crate) fn utility_of_gains() -> UtilityDocument {
    let gains = [
        ("rollout", Metric::Rollout, 1.0, None),
        ("skill_gain", Metric::SkillGain, 0.0, Some(-100)),
        ("imitation_gain", Metric::ImitationGain, 0.5, None),
        ("comfort_gain", Metric::ComfortGain, 0.0, Some(-500)),
        ("distance_gain", Metric::DistanceGain, 0.0, Some(-200)),
        ("progress_gain", Metric::ProgressGain, 0.0, None),
        ("rollout_gain", Metric::RolloutGain, 0.0, Some(0)),
    ];
    let term = |(name, metric, weight, gate): (&str, Metric, f32, Option<i16>)| Term {
        name: name.try_into().unwrap(),
        pack: PackHash::new([0x77; 32]),
        metric,
        knots: [Knot { window: 0, weight }].into_iter().collect(),
        gate,
    };
    let terms = gains.into_iter().map(term).collect();
    UtilityDocument::new(UtilityDocumentFields { version: 9, terms }).unwrap()
}

pub(crate) fn swarm_fields(rule: Rule) -> SwarmDocumentFields {
    SwarmDocumentFields {
        version: 2,
        seed: 20_241_016,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        values: 53_928,
        rank: 8,
        start_seed: 11,
        asked: 16,
        rule,
    }
}

pub(crate) fn paper() -> PaperRule {
    PaperRule {
        inertia: 0.2,
        cognitive: 0.3,
        social: 0.4,
        repel: 0.1,
        step_length: 0.8,
        step_length_decay: 0.95,
        step_length_min: 0.1,
        patience: 10,
        restart_patience: 7,
    }
}

pub(crate) fn consensus() -> ConsensusRule {
    ConsensusRule {
        inertia: 0.5,
        up_bits: 2,
        down_bits: 2,
        brake: 0.01,
        clip: true,
        mean_last: 5,
        mix: true,
    }
}

pub(crate) fn swarm(rule: Rule) -> SwarmDocument {
    SwarmDocument::new(swarm_fields(rule)).unwrap()
}

pub(crate) fn refusal() -> Refusal {
    let code = RefusalCode::ChunkHash.number();
    Refusal::new(RefusalFields { window: 300, record: RecordId::new([0x66; 32]), code }).unwrap()
}

pub(crate) fn document() -> Document<'static> {
    let fields = DocumentFields { name: "pack motorway", version: 4, bytes: b"[[clip]]\n" };
    Document::new(fields).unwrap()
}
