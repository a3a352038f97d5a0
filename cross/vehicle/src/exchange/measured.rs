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

/// What was measured of a candidate on a part of a pack, by metric, or one term on the vehicle's own roads.
pub type Terms = Vec<(Metric, TermResult)>;

/// Every vehicle draws alike: two that measure the same say the same.
const SEED: u64 = 0;

/// What a utility document may ask for on a pack.
#[must_use]
pub fn metrics(of: &Manifest) -> Vec<Metric> {
    match of.metric {
        pack::Metric::Skill => vec![Metric::Skill],
        pack::Metric::Imitation => of.driving().into_iter().map(asked_as).collect(),
    }
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

/// What people call it.
pub(super) const fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Skill => pack::Metric::Skill.name(),
        Metric::Imitation => DrivingMetric::Imitation.name(),
        Metric::Comfort => DrivingMetric::Comfort.name(),
        Metric::Distance => DrivingMetric::Distance.name(),
        Metric::Progress => DrivingMetric::Progress.name(),
    }
}

/// What people call several.
pub(super) fn names(metrics: &[Metric]) -> String {
    metrics.iter().map(|metric| name(*metric)).collect::<Vec<_>>().join(", ")
}

/// Whether a vehicle with this pack, on which this is measured, can measure every term.
pub(super) fn fits(
    utility: &Utility,
    own: PackHash,
    metrics: &[Metric],
) -> Result<(), ExchangeError> {
    for (pack, asked) in utility.terms() {
        if pack != own {
            return Err(ExchangeError::OtherPack { fleet: pack, own });
        }
        if !metrics.contains(&asked) {
            let own = metrics.to_vec();
            return Err(ExchangeError::OtherMetric { pack, fleet: asked, own });
        }
    }
    Ok(())
}

/// What was measured of a candidate, by metric: in the order of the document's terms. `None`: not all of it was.
pub(super) fn in_order(terms: &Terms, asked: &[Metric]) -> Option<Vec<TermResult>> {
    let of = |metric: &Metric| {
        let found = terms.iter().find(|(other, _term)| other == metric);
        found.map(|(_metric, term)| *term)
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
            let refused = fits(&utility(terms), own, metrics);
            refused.map_err(|why| why.to_string())
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
