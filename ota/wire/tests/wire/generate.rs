//! Any body within its bounds.

use heapless::{String, Vec as List};
use proptest::prelude::*;
use shoal_wire::v1::{
    Activity, CHUNK_BYTES_MAX, CHUNKS_MAX, Chunk, Claim, ClaimFields, Compared, ConsensusRule,
    INPUTS_MAX, KNOTS_MAX, Knot, Measured, MergeInput, Metric, Nonce, NonceFields, PaperRule,
    ParticleHeader, ParticleHeaderFields, Presence, PresenceFields, Refusal, RefusalFields, Role,
    Rule, SwarmDocument, SwarmDocumentFields, TERMS_MAX, Term, UtilityDocument,
    UtilityDocumentFields, Vote, VoteFields, WindowPlan, WindowPlanFields,
};
use shoal_wire::{ChunkHash, LayoutHash, ModelHash, PackHash, ParticleId, RecordId};

fn particle() -> impl Strategy<Value = ParticleId> {
    any::<[u8; 32]>().prop_map(ParticleId::new)
}

fn value() -> impl Strategy<Value = i16> {
    -10_000_i16..=10_000
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(&[Role::Best, Role::Worst, Role::Contribution, Role::Merge][..])
}

fn list<T: std::fmt::Debug, const N: usize>(
    of: impl Strategy<Value = T>,
    min: usize,
) -> impl Strategy<Value = List<T, N>> {
    prop::collection::vec(of, min..=N).prop_map(|list| list.into_iter().collect())
}

/// Shown text of at most `N` bytes.
fn text<const N: usize>() -> impl Strategy<Value = String<N>> {
    "[ -~é-ü𝄞]{1,32}".prop_map(|text| {
        let fits = |end: &usize| *end <= N && text.is_char_boundary(*end);
        let end = (1..=text.len()).rev().find(fits).unwrap();
        text[..end].try_into().unwrap()
    })
}

/// Finite, not negative, of any size.
fn factor() -> impl Strategy<Value = f32> {
    (0..f32::INFINITY.to_bits()).prop_map(f32::from_bits)
}

/// Above 0, at most 1.
fn unit() -> impl Strategy<Value = f32> {
    (1..=1.0_f32.to_bits()).prop_map(f32::from_bits)
}

prop_compose! {
    pub(crate) fn claims()(
        window: u32, slot in 0_u8..6, particle in particle(), role in role(), pack: [u8; 32],
        part in 0_u8..4, utility_version: u32,
        terms in list::<_, TERMS_MAX>((value(), any::<u16>()), 1),
    ) -> Claim {
        let terms = terms.into_iter()
            .map(|(value, standard_error)| Measured { value, standard_error })
            .collect();
        let pack = PackHash::new(pack);
        Claim::new(ClaimFields { window, slot, particle, role, pack, part, utility_version, terms })
            .unwrap()
    }
}

prop_compose! {
    pub(crate) fn votes()(
        window: u32, place in 0_u8..4, nominee in particle(), best in prop::option::of(particle()),
        pack: [u8; 32], part in 0_u8..4, utility_version: u32,
        terms in list::<_, TERMS_MAX>((value(), value(), any::<u16>()), 1),
    ) -> Vote {
        let terms = terms.into_iter()
            .map(|(value, best, standard_error)| Compared { value, best, standard_error })
            .collect();
        let pack = PackHash::new(pack);
        Vote::new(VoteFields { window, place, nominee, best, pack, part, utility_version, terms })
            .unwrap()
    }
}

prop_compose! {
    /// With so many inputs and chunks as fit.
    pub(crate) fn headers()(
        role in role(),
        window: u32,
        hashes: [[u8; 32]; 3],
        anchored: bool,
        inputs in prop::collection::btree_map(any::<[u8; 32]>(), (factor(), any::<bool>()), 1..=INPUTS_MAX),
        chunks in prop::collection::vec((1..u32::MAX / 32, 1..=CHUNK_BYTES_MAX, any::<[u8; 32]>()), 1..=CHUNKS_MAX),
    ) -> ParticleHeader {
        let mut next = 0;
        let chunks_fit = if role == Role::Merge { 6 } else { CHUNKS_MAX };
        let chunks = chunks
            .into_iter()
            .take(chunks_fit)
            .map(|(values, bytes, hash)| {
                let first_value = next;
                next += values;
                Chunk { first_value, bytes, hash: ChunkHash::new(hash) }
            })
            .collect();
        let inputs = inputs.into_iter().map(|(particle, (weight, negative))| MergeInput {
            particle: ParticleId::new(particle),
            weight: if weight == 0.0 { 1.0 } else if negative { -weight } else { weight },
        });
        let [base_model, layout, anchor] = hashes;
        ParticleHeader::new(ParticleHeaderFields {
            role, window, chunks, values: next,
            base_model: ModelHash::new(base_model),
            layout: LayoutHash::new(layout),
            anchor: (anchored && role == Role::Contribution).then(|| ParticleId::new(anchor)),
            inputs: inputs.filter(|_input| role == Role::Merge).collect(),
            coding: 1,
        }).unwrap()
    }
}

prop_compose! {
    pub(crate) fn presences()(
        window: Option<u32>,
        activity in prop::sample::select(&[
            Activity::Starting, Activity::Driving, Activity::Parked, Activity::Tuning,
            Activity::Measuring, Activity::Exchanging, Activity::Idle,
        ][..]),
        adapter in prop::option::of(particle()), software in text(), up_bytes: u64,
        down_bytes: u64, terms in list(value(), 0), steps: u32,
    ) -> Presence {
        Presence::new(PresenceFields {
            window, activity, adapter, software, up_bytes, down_bytes, terms, steps,
        }).unwrap()
    }
}

prop_compose! {
    pub(crate) fn nonces()(window: u32, nonce: [u8; 32], utc_seconds: u64) -> Nonce {
        let nonce = if nonce == [0; 32] { [1; 32] } else { nonce };
        Nonce::new(NonceFields { window, nonce, utc_seconds }).unwrap()
    }
}

prop_compose! {
    pub(crate) fn plans()(
        epoch_seconds: u64, up_bytes_max in 1..=u64::MAX, down_bytes_max in 1..=u64::MAX,
        period_seconds in 1..=u32::MAX, open: u32, jitter: u32,
    ) -> WindowPlan {
        let open_seconds = 1 + open % period_seconds;
        let jitter_ms_max = u64::from(jitter) % (u64::from(open_seconds) * 500 + 1);
        let jitter_ms_max = u32::try_from(jitter_ms_max).unwrap();
        WindowPlan::new(WindowPlanFields {
            epoch_seconds, period_seconds, open_seconds, jitter_ms_max, up_bytes_max, down_bytes_max,
        }).unwrap()
    }
}

prop_compose! {
    fn terms()(
        name in text::<26>(), pack: [u8; 32], gate in prop::option::of(value()),
        metric in prop::sample::select(vec![
            Metric::Skill, Metric::Imitation, Metric::Comfort, Metric::Distance, Metric::Progress,
            Metric::Rollout, Metric::SkillGain, Metric::ImitationGain, Metric::ComfortGain,
            Metric::DistanceGain, Metric::ProgressGain, Metric::RolloutGain,
        ]),
        knots in prop::collection::btree_map(any::<u32>(), factor(), 1..=KNOTS_MAX),
    ) -> Term {
        let knots = knots.into_iter().map(|(window, weight)| Knot { window, weight }).collect();
        Term {
            name: String::try_from(name.as_str()).unwrap(),
            pack: PackHash::new(pack), metric, knots, gate,
        }
    }
}

prop_compose! {
    pub(crate) fn utilities()(
        version: u32, mut terms in list::<_, TERMS_MAX>(terms(), 1),
    ) -> UtilityDocument {
        // No two of one name.
        for (index, term) in terms.iter_mut().enumerate() {
            term.name.push_str(&format!(" {index}")).unwrap();
        }
        UtilityDocument::new(UtilityDocumentFields { version, terms }).unwrap()
    }
}

prop_compose! {
    fn papers()(
        weights in [factor(), factor(), factor()], repel in unit(), step_length in unit(),
        step_length_decay in unit(), least in 0_u32.., patience in 1_u16..,
        restart_patience in 1_u16..,
    ) -> Rule {
        let [inertia, cognitive, social] = weights;
        let step_length_min = f32::from_bits(least % (step_length.to_bits() + 1));
        Rule::Paper(PaperRule {
            inertia, cognitive, social, repel, step_length, step_length_decay, step_length_min,
            patience, restart_patience,
        })
    }
}

prop_compose! {
    fn consensuses()(
        inertia in 0..1.0_f32.to_bits(), bits in [1_u8..=8, 1_u8..=8], brake in factor(),
        clip: bool, mean_last in 1_u8..=16, mix: bool,
    ) -> Rule {
        let (inertia, [up_bits, down_bits]) = (f32::from_bits(inertia), bits);
        Rule::Consensus(ConsensusRule { inertia, up_bits, down_bits, brake, clip, mean_last, mix })
    }
}

prop_compose! {
    pub(crate) fn swarms()(
        version: u32, seed: u64, hashes: [[u8; 32]; 2],
        values in 1_u32.., rank in 1_u8.., start_seed: u64,
        asked in 1_u16.., rule in prop_oneof![papers(), consensuses(), Just(Rule::Coefficients)],
    ) -> SwarmDocument {
        let [base_model, layout] = hashes;
        let (base_model, layout) = (ModelHash::new(base_model), LayoutHash::new(layout));
        SwarmDocument::new(SwarmDocumentFields {
            version, seed, base_model, layout, values, rank, start_seed, asked, rule,
        }).unwrap()
    }
}

prop_compose! {
    pub(crate) fn refusals()(window: u32, record: [u8; 32], code in 1_u16..) -> Refusal {
        Refusal::new(RefusalFields { window, record: RecordId::new(record), code }).unwrap()
    }
}
