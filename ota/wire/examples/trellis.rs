//! What trellis-coded quantisation would save: `cargo run -p shoal-wire --example trellis` (docs/decisions/0071).
//!
//! Two quantisers of double step, one of even and one of odd multiples, take turns by the parities of levels before; the encoder
//! looks for the cheapest path (Viterbi). Four states are those of dependent quantisation in VVC (ITU-T H.266, 8.7.4), eight those
//! of JPEG 2000 (ITU-T T.801, annex D). Rates are entropies given the quantiser, without what tables and chunks take, about .01 bit a value.
#![expect(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "an experiment beside the crate: indices are those of its own tables"
)]

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, TAU};
use std::time::Instant;

const VALUES: usize = 200_000;
/// Levels from −LEVELS to LEVELS.
const LEVELS: i32 = 60;

/// States, each with its quantiser and where an even and an odd level lead.
struct Trellis {
    name: &'static str,
    /// 0: even multiples, 1: odd ones and zero.
    quantiser: &'static [usize],
    next: &'static [[usize; 2]],
}

const TRELLISES: [Trellis; 3] = [
    Trellis { name: "plain", quantiser: &[0], next: &[[0, 0]] },
    Trellis { name: "4 states", quantiser: &[0, 0, 1, 1], next: &[[0, 2], [2, 0], [1, 3], [3, 1]] },
    Trellis {
        name: "8 states",
        quantiser: &[0, 1, 0, 1, 0, 1, 0, 1],
        next: &[[0, 1], [2, 3], [5, 4], [7, 6], [1, 0], [3, 2], [4, 5], [6, 7]],
    },
];

impl Trellis {
    /// The multiple of the step that a level of this quantiser stands for.
    fn multiple(&self, quantiser: usize, level: i32) -> f64 {
        if self.next.len() == 1 {
            return f64::from(level);
        }
        match quantiser {
            0 => f64::from(2 * level),
            _odd => f64::from(2 * level - level.signum()),
        }
    }

    /// The cheapest levels by squared error and λ·bits: rate in bits a value, and mean squared error.
    fn code(&self, values: &[f64], step: f64) -> (f64, f64) {
        // The slope of the curve at high rates, for which errors are as large as of a plain step of this width.
        let wide = if self.next.len() == 1 { 1.0 } else { 2.0 };
        let bits_worth = LN_2 / 6.0 * (step * wide).powi(2) * if wide > 1.0 { 0.3 } else { 1.0 };
        let mut bits = vec![vec![4.0; (2 * LEVELS + 1) as usize]; 2];
        let mut found = (0.0, 0.0);
        for _round in 0..8 {
            let levels = self.path(values, step, bits_worth, &bits);
            let mut counts = vec![vec![0.01; (2 * LEVELS + 1) as usize]; 2];
            let (mut state, mut error) = (0, 0.0);
            let mut used = Vec::with_capacity(levels.len());
            for (value, level) in values.iter().zip(&levels) {
                let quantiser = self.quantiser[state];
                error += (value - step * self.multiple(quantiser, *level)).powi(2);
                counts[quantiser][(level + LEVELS) as usize] += 1.0;
                used.push((quantiser, (level + LEVELS) as usize));
                state = self.next[state][(level & 1) as usize];
            }
            for (bits, counts) in bits.iter_mut().zip(&counts) {
                let all: f64 = counts.iter().sum();
                for (bits, count) in bits.iter_mut().zip(counts) {
                    *bits = -(count / all).log2();
                }
            }
            let rate: f64 = used.iter().map(|(quantiser, level)| bits[*quantiser][*level]).sum();
            found = (rate / values.len() as f64, error / values.len() as f64);
        }
        found
    }

    /// Viterbi's search.
    fn path(&self, values: &[f64], step: f64, bits_worth: f64, bits: &[Vec<f64>]) -> Vec<i32> {
        let states = self.next.len();
        let mut cost = vec![f64::INFINITY; states];
        cost[0] = 0.0;
        let mut came: Vec<Vec<(usize, i32)>> = Vec::with_capacity(values.len());
        for value in values {
            let mut after = vec![f64::INFINITY; states];
            let mut from = vec![(0, 0); states];
            for state in (0..states).filter(|state| cost[*state].is_finite()) {
                let quantiser = self.quantiser[state];
                let near = (value / step / if states == 1 { 1.0 } else { 2.0 }).round() as i32;
                for level in [near - 2, near - 1, near, near + 1, near + 2, 0] {
                    let level = level.clamp(-LEVELS, LEVELS);
                    let error = (value - step * self.multiple(quantiser, level)).powi(2);
                    let rate = bits[quantiser][(level + LEVELS) as usize];
                    let total = cost[state] + error + bits_worth * rate;
                    let next = self.next[state][(level & 1) as usize];
                    if total < after[next] {
                        (after[next], from[next]) = (total, (state, level));
                    }
                }
            }
            cost = after;
            came.push(from);
        }
        let mut state = (0..states).min_by(|a, b| cost[*a].total_cmp(&cost[*b])).unwrap_or(0);
        let mut levels: Vec<i32> = Vec::with_capacity(values.len());
        for from in came.iter().rev() {
            let (before, level) = from[state];
            levels.push(level);
            state = before;
        }
        levels.reverse();
        levels
    }

    /// Bits over R(D) of a Gaussian source of deviation 1, at the step that gives this rate.
    fn over(&self, values: &[f64], rate: f64) -> (f64, f64) {
        let (mut low, mut high) = (0.01, 4.0);
        for _halving in 0..14 {
            let middle = f64::sqrt(low * high);
            let (found, _error) = self.code(&values[..values.len() / 20], middle);
            if found > rate { low = middle } else { high = middle }
        }
        let (rate, error) = self.code(values, f64::sqrt(low * high));
        (rate, rate + 0.5 * error.log2())
    }
}

fn main() {
    let mut state = 1_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let gauss: Vec<f64> = (0..VALUES)
        .map(|_| (-2.0 * (1.0 - uniform()).ln()).sqrt() * (TAU * uniform()).cos())
        .collect();
    let laplace: Vec<f64> = (0..VALUES)
        .map(|_| {
            let magnitude = -(1.0 - uniform()).ln() * FRAC_1_SQRT_2;
            if uniform() < 0.5 { -magnitude } else { magnitude }
        })
        .collect();
    println!("| source | rate | quantiser | bit a value | over R(D) |");
    println!("|---|---|---|---|---|");
    for (name, values) in [("Gaussian", &gauss), ("Laplacian", &laplace)] {
        for rate in [1.0, 1.55, 2.77, 4.65] {
            for trellis in &TRELLISES {
                let (got, over) = trellis.over(values, rate);
                println!("| {name} | {rate} | {} | {got:.3} | {over:.3} |", trellis.name);
            }
        }
    }
    let flat = vec![vec![3.0; (2 * LEVELS + 1) as usize]; 2];
    for trellis in &TRELLISES {
        let begun = Instant::now();
        let levels = trellis.path(&gauss, 0.3, 0.01, &flat);
        let speed = levels.len() as f64 / begun.elapsed().as_secs_f64() / 1e6;
        println!("{}: {speed:.1} million values/s to find a path", trellis.name);
    }
}
