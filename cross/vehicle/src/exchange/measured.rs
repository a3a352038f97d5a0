//! What a measurement on a pack says on the wire: one term of a candidate, beside what it is compared with.

use shoal_shadow::measure::Measurement;
use shoal_swarm::paired::{ClipErrors, Paired, PairedError, paired};
use shoal_swarm::swarm::TermResult;

/// One term of a candidate beside a reference, measured on the same clips; without a reference only what the candidate
/// is counts. Drives that hardly move are left out, unless all do.
///
/// # Errors
/// [`PairedError`]: there is nothing to measure on.
/// # Panics
/// If the two did not measure the same clips.
pub fn term(
    candidate: &Measurement,
    reference: Option<&Measurement>,
) -> Result<TermResult, PairedError> {
    let skilled = |index: &usize| candidate.drives[*index].next.skill().is_some();
    let all: Vec<usize> = (0..candidate.drives.len()).filter(skilled).collect();
    let moving: Vec<usize> =
        all.iter().copied().filter(|&index| candidate.drives[index].counted).collect();
    let chosen = if moving.is_empty() { all } else { moving };
    let against = reference.unwrap_or(candidate);
    let drives: Vec<ClipErrors<'_>> = chosen
        .into_iter()
        .map(|index| {
            let (drive, against) = (&candidate.drives[index].next, &against.drives[index].next);
            assert_eq!(drive.copy, against.copy, "the same clips");
            ClipErrors {
                candidate: &drive.model,
                reference: &against.model,
                copy: &drive.copy,
                second: &drive.block,
            }
        })
        .collect();
    let found: Paired = paired(&drives)?;
    let result = TermResult::from(&found);
    Ok(match reference {
        Some(_) => result,
        None => TermResult { beside: 0, difference_error: 0, ..result },
    })
}

#[cfg(test)]
mod tests {
    use shoal_shadow::measure::{DriveMeasurement, Errors};

    use super::*;

    /// A drive whose clips, one a second, have these errors; the copy's error is 1.
    fn drive(counted: bool, model: &[f64]) -> DriveMeasurement {
        let next = Errors {
            model: model.to_vec(),
            copy: vec![1.0; model.len()],
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
    fn a_term_is_the_mean_skill_of_the_drives_that_move() {
        let candidate = measured(vec![drive(true, &[0.5, 0.3]), drive(false, &[0.9, 0.9])]);
        let reference = measured(vec![drive(true, &[0.6, 0.4]), drive(false, &[0.1, 0.1])]);
        let term = term(&candidate, Some(&reference)).unwrap();
        assert_eq!((term.value, term.beside), (6000, 5000));
        assert_eq!(term.difference_error, 0, "better by the same in every second");
        assert!(term.value_error > 0);
    }

    #[test]
    fn where_nothing_moves_all_drives_count_and_without_any_there_is_no_term() {
        let still = measured(vec![drive(false, &[0.9, 0.7])]);
        assert_eq!(term(&still, None).unwrap().value, 2000);
        assert_eq!(term(&still, None).unwrap().beside, 0);
        assert_eq!(term(&measured(vec![]), None), Err(PairedError::NoDrives));
    }
}
