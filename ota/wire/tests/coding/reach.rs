//! What the coding must reach (docs/benchmarks.md, "Coding", has the figures).

use crate::chance::{ADAPTER, Chance, bound_bits, entropies, snr_db};
use crate::common::{Coded, encode};

#[test]
fn a_million_gaussian_values_are_close_to_the_rate_distortion_bound() {
    let mut chance = Chance(1);
    let values: Vec<f32> = (0..1_000_000).map(|_i| chance.gauss() as f32).collect();
    for bits in 1..=8 {
        let coded = encode(bits, &[1_000_000], &values).unwrap();
        let rate = 8.0 * coded.bytes() as f64 / 1e6;
        let over = rate - bound_bits(snr_db(&values, &coded.received));
        assert!(over < 0.275, "{bits} bits: {rate:.3} a value, {over:.3} over the bound");
        assert!(rate < f64::from(bits) + 0.01, "{bits} bits: {rate:.3} a value");
    }
}

/// Heavy tails: below the Gaussian bound of the same deviation plus what Gaussian values take.
#[test]
fn a_million_laplacian_values_cost_less_than_gaussian_ones() {
    let mut chance = Chance(2);
    let values: Vec<f32> = (0..1_000_000).map(|_i| chance.laplace() as f32).collect();
    for bits in 1..=8 {
        let coded = encode(bits, &[1_000_000], &values).unwrap();
        let rate = 8.0 * coded.bytes() as f64 / 1e6;
        let over = rate - bound_bits(snr_db(&values, &coded.received));
        assert!(over < 0.17, "{bits} bits: {rate:.3} a value, {over:.3} over the bound");
    }
}

#[test]
fn an_adapter_is_an_eighth_at_4_bits_and_a_twentieth_at_2_and_1() {
    let values = Chance(3).displacement(&ADAPTER);
    for (bits, ratio) in [(4, 8), (2, 20), (1, 20)] {
        let coded = encode(bits, &ADAPTER, &values).unwrap();
        assert!(coded.bytes() * ratio <= 4 * values.len(), "{bits} bits: {} bytes", coded.bytes());
    }
}

/// All that a chunk holds counts: heads of 26 blocks, tables, the end.
#[test]
fn an_adapter_costs_little_over_the_entropy_of_its_levels() {
    let values = Chance(3).displacement(&ADAPTER);
    for bits in 2..=7 {
        let coded = encode(bits, &ADAPTER, &values).unwrap();
        let (_each, all) = entropies(&ADAPTER, &coded.received);
        let over = (8.0 * coded.bytes() as f64 - all) / values.len() as f64;
        assert!(over < 0.02, "{bits} bits: {over:.4} a value over the entropy");
    }
}

/// Error feedback: the remainder stays below a few steps, so the sum of what is received follows the sum of what
/// was sent. Every window's displacement points the same way by half: what is never received would pile up.
#[test]
fn over_many_windows_what_is_received_adds_up_to_what_was_sent() {
    const WINDOWS: u32 = 100;
    let tensors = [1000, 24, 3000];
    for bits in 1..=8 {
        let mut chance = Chance(u64::from(bits));
        let drift = chance.displacement(&tensors);
        let (mut sent, mut seen) = (vec![0.0_f64; drift.len()], vec![0.0_f64; drift.len()]);
        let mut remainder = vec![0.0_f32; drift.len()];
        let mut last = Vec::new();
        for _window in 0..WINDOWS {
            let noise = chance.displacement(&tensors);
            let moved: Vec<f32> = drift.iter().zip(noise).map(|(a, b)| 0.5 * a + b).collect();
            let carried: Vec<f32> = moved.iter().zip(&remainder).map(|(a, b)| a + b).collect();
            let coded: Coded = encode(bits, &tensors, &carried).unwrap();
            for (sum, value) in sent.iter_mut().zip(&moved) {
                *sum += f64::from(*value);
            }
            for (sum, value) in seen.iter_mut().zip(&coded.received) {
                *sum += f64::from(*value);
            }
            remainder = coded.remainder;
            last = moved.iter().map(|value| f64::from(*value)).collect();
        }
        let square = |run: &[f64]| run.iter().map(|value| value * value).sum::<f64>().sqrt();
        let missing: Vec<f64> = sent.iter().zip(&seen).map(|(sent, seen)| sent - seen).collect();
        let one_window = square(&last);
        // The errors of one window, not those of a hundred.
        let bound = [1.6, 0.65, 0.2, 0.11, 0.055, 0.028, 0.014, 0.007][usize::from(bits - 1)];
        let ratio = square(&missing) / one_window;
        assert!(ratio < bound, "{bits} bits: {ratio:.4} of one window is missing");
        let follows = square(&missing) / square(&sent);
        assert!(follows < 0.05, "{bits} bits: {follows:.4} of all that was sent is missing");
    }
}
