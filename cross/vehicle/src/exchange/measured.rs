//! What a measurement on a pack says on the wire: one term of a candidate, beside what it is compared with.

use shoal_shadow::measure::Measurement;
use shoal_shadow::measure::driving::DrivingMetric;
use shoal_shadow::pack::{self, Manifest};
use shoal_shadow::stats::BOOTSTRAP_DRAWS;
use shoal_swarm::swarm::TermResult;
use shoal_swarm::utility::{Utility, to_standard_error, to_value};
use shoal_wire::PackHash;
use shoal_wire::v1::Metric;

use super::run::ExchangeError;

/// What a term is measured on, and how.
pub type Asked = (PackHash, Metric);

/// What was measured of a candidate on a part of packs, or one term on the vehicle's own roads.
pub type Terms = Vec<(Asked, TermResult)>;

/// Every vehicle draws alike: two that measure the same say the same.
const SEED: u64 = 0;

/// What a utility document may ask for on a pack: what the pack is of comes first.
#[must_use]
pub fn metrics(of: &Manifest) -> Vec<Metric> {
    let mut all = match of.metric {
        pack::Metric::Skill if of.has_rollouts() => vec![Metric::Skill, Metric::Rollout],
        pack::Metric::Skill => vec![Metric::Skill],
        pack::Metric::Imitation => of.driving().into_iter().map(asked_as).collect(),
    };
    let gains = NAMES.iter().map(|(metric, _name)| *metric);
    let gains = gains.filter(|of| gain_in(*of).is_some_and(|plain| all.contains(&plain)));
    let gains: Vec<Metric> = gains.collect();
    all.extend(gains);
    all
}

/// What a utility document calls what is measured of a policy.
#[must_use]
pub const fn asked_as(of: DrivingMetric) -> Metric {
    match of {
        DrivingMetric::Imitation => Metric::Imitation,
        DrivingMetric::Comfort => Metric::Comfort,
        DrivingMetric::Distance => Metric::Distance,
        DrivingMetric::Progress => Metric::Progress,
    }
}

/// What is measured of a policy under this name, itself or what it gains; `None`: of a model of frames.
#[must_use]
pub const fn driven_as(of: Metric) -> Option<DrivingMetric> {
    match of {
        Metric::Imitation | Metric::ImitationGain => Some(DrivingMetric::Imitation),
        Metric::Comfort | Metric::ComfortGain => Some(DrivingMetric::Comfort),
        Metric::Distance | Metric::DistanceGain => Some(DrivingMetric::Distance),
        Metric::Progress | Metric::ProgressGain => Some(DrivingMetric::Progress),
        Metric::Skill | Metric::SkillGain | Metric::Rollout | Metric::RolloutGain => None,
    }
}

/// Of a gain over the model as it ships: what it is a gain in.
#[must_use]
pub const fn gain_in(metric: Metric) -> Option<Metric> {
    match metric {
        Metric::SkillGain => Some(Metric::Skill),
        Metric::RolloutGain => Some(Metric::Rollout),
        Metric::ImitationGain => Some(Metric::Imitation),
        Metric::ComfortGain => Some(Metric::Comfort),
        Metric::DistanceGain => Some(Metric::Distance),
        Metric::ProgressGain => Some(Metric::Progress),
        Metric::Skill
        | Metric::Rollout
        | Metric::Imitation
        | Metric::Comfort
        | Metric::Distance
        | Metric::Progress => None,
    }
}

/// Whether it is of roll-outs, the fifth frame.
#[must_use]
pub const fn rolls_out(metric: Metric) -> bool {
    matches!(metric, Metric::Rollout | Metric::RolloutGain)
}

/// Every metric, as people call it.
pub const NAMES: [(Metric, &str); 12] = [
    (Metric::Skill, pack::Metric::Skill.name()),
    (Metric::Rollout, "rollout"),
    (Metric::Imitation, DrivingMetric::Imitation.name()),
    (Metric::Comfort, DrivingMetric::Comfort.name()),
    (Metric::Distance, DrivingMetric::Distance.name()),
    (Metric::Progress, DrivingMetric::Progress.name()),
    (Metric::SkillGain, "skill_gain"),
    (Metric::RolloutGain, "rollout_gain"),
    (Metric::ImitationGain, "imitation_gain"),
    (Metric::ComfortGain, "comfort_gain"),
    (Metric::DistanceGain, "distance_gain"),
    (Metric::ProgressGain, "progress_gain"),
];

/// What people call it.
#[must_use]
pub fn name(metric: Metric) -> &'static str {
    NAMES.iter().find(|(other, _name)| *other == metric).map_or("", |(_metric, name)| name)
}

/// What people call several.
pub(super) fn names(metrics: &[Metric]) -> String {
    metrics.iter().map(|metric| name(*metric)).collect::<Vec<_>>().join(", ")
}

/// Hashes of several packs.
pub(super) fn packs(of: &[PackHash]) -> String {
    of.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a vehicle measures by this utility, if it can, by `own`: all that it measures on the packs it has.
pub(super) fn fits(utility: &Utility, own: &[Asked]) -> Result<Vec<Asked>, ExchangeError> {
    for (pack, asked) in utility.terms() {
        let metrics: Vec<Metric> =
            own.iter().filter(|(of, _)| *of == pack).map(|(_, metric)| *metric).collect();
        if metrics.is_empty() {
            let mut packs: Vec<PackHash> = own.iter().map(|(of, _)| *of).collect();
            packs.dedup();
            return Err(ExchangeError::OtherPack { fleet: pack, own: packs });
        }
        if !metrics.contains(&asked) {
            return Err(ExchangeError::OtherMetric { pack, fleet: asked, own: metrics });
        }
    }
    Ok(utility.terms().collect())
}

/// What was measured of a candidate, in the order of the document's terms. `None`: not all of it was.
pub(super) fn in_order(terms: &Terms, asked: &[Asked]) -> Option<Vec<TermResult>> {
    let of = |asked: &Asked| {
        let found = terms.iter().find(|(other, _term)| other == asked);
        found.map(|(_asked, term)| *term)
    };
    asked.iter().map(of).collect()
}

/// One term of a candidate beside a reference, measured on the same clips; without a reference only what the candidate
/// is counts. Its value is the skill of the drives that are counted. `None`: there is none to measure on.
///
/// # Panics
/// If the two did not measure the same clips.
pub fn term(candidate: &Measurement, reference: Option<&Measurement>) -> Option<TermResult> {
    let own = candidate.interval(BOOTSTRAP_DRAWS, SEED)?;
    let alone = TermResult {
        value: to_value(own.mean),
        value_error: to_standard_error(own.standard_error),
        ..TermResult::default()
    };
    let Some(reference) = reference else { return Some(alone) };
    let difference = candidate.difference(reference, BOOTSTRAP_DRAWS, SEED)?;
    Some(TermResult {
        beside: to_value(reference.skill()?),
        difference_error: to_standard_error(difference.standard_error),
        ..alone
    })
}

#[cfg(test)]
mod tests {
    use shoal_shadow::measure::{DriveMeasurement, Errors};
    use shoal_wire::v1::{Knot, Term, UtilityDocument, UtilityDocumentFields};

    use super::*;

    /// A drive whose clips, one a second, have these errors; the copy's error is `copy`.
    fn drive(counted: bool, copy: f64, model: &[f64]) -> DriveMeasurement {
        let next = Errors {
            model: model.to_vec(),
            copy: vec![copy; model.len()],
            block: (0..model.len() as u32).collect(),
        };
        DriveMeasurement {
            name: "road".into(),
            copy_psnr_db: 20.0,
            counted,
            next,
            rollout: Errors::default(),
        }
    }

    fn measured(drives: Vec<DriveMeasurement>) -> Measurement {
        Measurement { predictor: "test".into(), drives }
    }

    #[test]
    fn a_term_is_the_mean_skill_of_the_drives_that_are_counted() {
        let still = || drive(true, 0.0, &[0.1, 0.1]);
        let candidate =
            measured(vec![drive(true, 1.0, &[0.5, 0.3]), drive(false, 1.0, &[0.9, 0.9]), still()]);
        let reference =
            measured(vec![drive(true, 1.0, &[0.6, 0.4]), drive(false, 1.0, &[0.1, 0.1]), still()]);
        let compared = term(&candidate, Some(&reference)).unwrap();
        assert_eq!((compared.value, compared.beside), (6000, 5000));
        assert_eq!(compared.difference_error, 0, "better by the same in every second");
        assert!(compared.value_error > 0);
        let alone = term(&candidate, None).unwrap();
        assert_eq!((alone.value, alone.value_error), (6000, compared.value_error));
        assert_eq!((alone.beside, alone.difference_error), (0, 0));
    }

    /// The one at −3, the other at −2.5: as values both are at the end of a term, and of what is gained one is better by a half.
    #[test]
    fn a_gain_tells_policies_apart_whose_values_are_at_their_end() {
        let at = |value: f64| measured(vec![drive(true, 1.0, &[1.0 - value; 4])]);
        let (base, candidate) = (at(-3.0), at(-2.5));
        let plain = term(&candidate, Some(&base)).unwrap();
        assert_eq!((plain.value, plain.beside), (-10_000, -10_000));
        let gained = term(&candidate.gain_over(&base), Some(&base.gain_over(&base))).unwrap();
        assert_eq!((gained.value, gained.beside), (5_000, 0));
    }

    #[test]
    fn a_utility_of_another_pack_or_metric_is_refused_by_its_name() {
        let (own, other) = (PackHash::new([1; 32]), PackHash::new([2; 32]));
        let utility = |terms: &[(PackHash, Metric)]| {
            let term = |(index, (pack, metric)): (usize, &(PackHash, Metric))| Term {
                name: format!("term {index}").as_str().try_into().unwrap(),
                pack: *pack,
                metric: *metric,
                knots: [Knot { window: 0, weight: 1.0 }].into_iter().collect(),
                gate: None,
            };
            let terms = terms.iter().enumerate().map(term).collect();
            let fields = UtilityDocumentFields { version: 1, terms };
            Utility::new(&UtilityDocument::new(fields).unwrap())
        };
        let refused = |terms: &[(PackHash, Metric)], metrics: &[Metric]| {
            let has: Vec<Asked> = metrics.iter().map(|metric| (own, *metric)).collect();
            let refused = fits(&utility(terms), &has);
            refused.map(drop).map_err(|why| why.to_string())
        };
        let both = [(own, Metric::Skill), (own, Metric::Imitation)];
        for metric in [Metric::Skill, Metric::Imitation] {
            assert_eq!(refused(&[(own, metric)], &[metric]), Ok(()));
            let said = refused(&both, &[metric]).unwrap_err();
            assert!(said.contains("skill") && said.contains("imitation"), "{said}");
        }
        let driving = [Metric::Imitation, Metric::Comfort];
        assert_eq!(refused(&driving.map(|metric| (own, metric)), &driving), Ok(()));
        let said = refused(&[(own, Metric::Distance)], &driving).unwrap_err();
        assert!(said.contains("distance") && said.contains("imitation, comfort"), "{said}");
        let said = refused(&[(other, Metric::Skill)], &[Metric::Skill]).unwrap_err();
        assert!(said.contains("stage the fleet's pack"), "{said}");
    }

    #[test]
    fn where_nothing_is_counted_there_is_no_term() {
        assert_eq!(term(&measured(vec![drive(false, 1.0, &[0.9, 0.7])]), None), None);
        assert_eq!(term(&measured(vec![]), None), None);
    }
}
