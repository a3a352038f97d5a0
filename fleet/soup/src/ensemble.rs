//! Weights over members when their predictions are mixed, input by input.

use crate::input::{
    InputError, Members, all_finite, at_least, count, distance_squared, positive, within,
};

/// exp(xᵢ/T) / Σ exp(x_k/T), computed from the largest x down.
///
/// # Errors
/// [`InputError`] without values, if one is not finite, or T is not a positive number.
pub fn softmax(values: &[f64], temperature: f64) -> Result<Vec<f64>, InputError> {
    at_least(values.len(), 1)?;
    all_finite("value", values)?;
    positive("temperature", temperature)?;
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> =
        values.iter().map(|value| libm::exp((value - most) / temperature)).collect();
    let sum: f64 = exponentials.iter().sum();
    Ok(exponentials.into_iter().map(|value| value / sum).collect())
}

/// Least mean squared error that counts: squared units of values in `[0, 1]`, 60 dB.
const ERROR_MIN: f64 = 1e-6;

/// ln(mean squared error + 10⁻⁶): up to a factor and a constant the log-perplexity of a Gaussian, for [`pack_weights`] of members
/// that predict values and no words.
///
/// # Panics
/// If lengths differ.
pub fn error_loss(predicted: &[f32], true_values: &[f32]) -> f64 {
    assert_eq!(predicted.len(), true_values.len(), "one prediction a value");
    let mean = distance_squared(predicted, true_values) / predicted.len().max(1) as f64;
    libm::log(mean + ERROR_MIN)
}

/// Weights of members by how well each predicts the input itself: softmax(−lossᵢ/T).
///
/// # Shapes and units
/// `losses`: of each member on the input at hand (log-perplexity in the paper), `[count]`.
/// # Errors
/// [`InputError`] as for [`softmax`].
/// # Source
/// Pack of LLMs, arXiv 2404.11531, the simple variant (PackLLM-sim).
pub fn pack_weights(losses: &[f64], temperature: f64) -> Result<Vec<f64>, InputError> {
    softmax(&losses.iter().map(|loss| -loss).collect::<Vec<f64>>(), temperature)
}

/// Weights of members by the cluster each was trained on: softmax(−|h − cᵢ|²/T) of the `keep` nearest, 0 for the others.
///
/// # Shapes and units
/// `feature`: h of the input, `[dim]`. `centres`: the cluster centre of each member, `[count][dim]`;
/// [`k_means`](crate::cluster::k_means) finds some.
/// # Errors
/// [`InputError`] if lengths differ, T is not a positive number, or `keep` is 0.
/// # Source
/// cBTM, arXiv 2303.14177, equations 1 and 2.
pub fn cbtm_weights(
    feature: &[f32],
    centres: &Members<'_>,
    temperature: f64,
    keep: usize,
) -> Result<Vec<f64>, InputError> {
    crate::input::run("values of a feature", feature, centres.dim())?;
    let near: Vec<f64> =
        centres.rows().iter().map(|centre| -distance_squared(feature, centre)).collect();
    top_k(&softmax(&near, temperature)?, keep)
}

/// The `keep` largest weights (the first of equals), divided by their sum; 0 for the others.
///
/// # Errors
/// [`InputError`] if a weight is negative or not finite, `keep` is 0, or nothing is left.
pub fn top_k(weights: &[f64], keep: usize) -> Result<Vec<f64>, InputError> {
    within("number of members kept", keep as f64, 1.0.., "at least 1")?;
    for weight in weights {
        within("weight", *weight, 0.0..=f64::MAX, "a number, at least 0")?;
    }
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    order.truncate(keep);
    let sum: f64 = order.iter().map(|index| weights[*index]).sum();
    if sum <= 0.0 || !sum.is_finite() {
        return Err(InputError::NoMass { what: "weights", sum });
    }
    let mut kept = vec![0.0; weights.len()];
    order.into_iter().for_each(|index| kept[index] = weights[index] / sum);
    Ok(kept)
}

/// Equal weights for the `keep` members of the highest utility (the first of equals), 0 for the others.
///
/// # Errors
/// [`InputError`] without members, if a utility is NaN, or `keep` is 0.
/// # Source
/// The vote of the ten best particles, `BunsenFeng/model_swarm`, `overall_metrics.py`.
pub fn top_members(utilities: &[f64], keep: usize) -> Result<Vec<f64>, InputError> {
    within("number of members kept", keep as f64, 1.0.., "at least 1")?;
    at_least(utilities.len(), 1)?;
    if let Some(index) = utilities.iter().position(|utility| utility.is_nan()) {
        return Err(InputError::NotFinite { what: "utility", at: index, index });
    }
    let mut order: Vec<usize> = (0..utilities.len()).collect();
    order.sort_by(|a, b| utilities[*b].total_cmp(&utilities[*a]));
    order.truncate(keep);
    let share = 1.0 / order.len() as f64;
    let mut weights = vec![0.0; utilities.len()];
    order.into_iter().for_each(|index| weights[index] = share);
    Ok(weights)
}

/// Σ wᵢ·Pᵢ of distributions over one list of choices: the linear pool.
///
/// # Shapes and units
/// `distributions`: `[count][choices]`. `weights`: `[count]`, of sum 1.
/// # Errors
/// [`InputError`] unless there is one finite weight a member.
pub fn linear_pool(distributions: &Members<'_>, weights: &[f64]) -> Result<Vec<f64>, InputError> {
    distributions.check(weights)?;
    Ok(distributions.sum(weights))
}

/// Π Pᵢ^wᵢ, divided by its sum: the logarithmic pool, which keeps one mode instead of averaging two.
///
/// # Shapes and units
/// As [`linear_pool`]; every probability positive.
/// # Errors
/// [`InputError`] unless there is one finite weight a member and every probability is positive.
pub fn log_pool(distributions: &Members<'_>, weights: &[f64]) -> Result<Vec<f64>, InputError> {
    count("weights", weights.len(), distributions.count())?;
    all_finite("weight", weights)?;
    let mut logs = vec![0.0; distributions.dim()];
    for (row, weight) in distributions.rows().iter().zip(weights) {
        for (log, probability) in logs.iter_mut().zip(*row) {
            positive("probability", f64::from(*probability))?;
            *log += weight * libm::log(f64::from(*probability));
        }
    }
    softmax(&logs, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_predicts_better_weighs_more() {
        let weights = pack_weights(&[1.0, 3.0], 1.0).unwrap();
        assert!((weights[0] / weights[1] - libm::exp(2.0)).abs() < 1e-9, "{weights:?}");
        let cold = pack_weights(&[1.0, 3.0], 0.01).unwrap();
        assert!(cold[0] > 0.999_999, "{cold:?}");
        // Far from 0, too.
        assert_eq!(pack_weights(&[5000.0, 5000.0], 1.0).unwrap(), [0.5, 0.5]);
        assert!(pack_weights(&[1.0], 0.0).is_err());
        assert!(pack_weights(&[], 1.0).is_err());
    }

    #[test]
    fn at_temperature_1_a_member_weighs_by_the_inverse_of_its_error() {
        let losses = [0.1_f32, 0.2].map(|away| error_loss(&[0.5 + away, 0.5], &[0.5, 0.5]));
        let weights = pack_weights(&losses, 1.0).unwrap();
        assert!((weights[0] / weights[1] - 4.0).abs() < 1e-2, "{weights:?}");
        assert!(error_loss(&[0.5], &[0.5]).is_finite());
    }

    #[test]
    fn the_nearest_cluster_leads_and_far_ones_are_left_out() {
        let centres = [[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]];
        let centres = Members::new(&centres).unwrap();
        let weights = cbtm_weights(&[0.0, 0.0], &centres, 1.0, 2).unwrap();
        assert_eq!(weights[1], 0.0);
        assert!((weights[0] / weights[2] - libm::exp(1.0)).abs() < 1e-9, "{weights:?}");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(cbtm_weights(&[0.0], &centres, 1.0, 2).is_err());
        assert!(cbtm_weights(&[0.0, 0.0], &centres, 1.0, 0).is_err());
    }

    #[test]
    fn the_best_members_vote_alike() {
        let weights = top_members(&[0.1, f64::NEG_INFINITY, 0.9, 0.1], 2).unwrap();
        assert_eq!(weights, [0.5, 0.0, 0.5, 0.0]);
        assert_eq!(top_members(&[0.1, 0.2], 9).unwrap(), [0.5, 0.5]);
        assert!(top_members(&[f64::NAN], 1).is_err());
        assert!(top_k(&[0.0, 0.0], 1).is_err());
    }
}
