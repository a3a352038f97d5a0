//! Differential privacy of what a vehicle contributes: clip, noise, and what both have cost so far.
//!
//! The vehicle trusts nobody: noise is added before anything leaves it. Two vehicles are *neighbours* when they are the same
//! vehicle with all that it drove replaced by anything else, so what is protected is the whole of a vehicle's data, not a
//! clip. A displacement of at most length C then moves by at most Δ = 2C; with Gaussian noise of deviation σC a value it is
//! ρ-zCDP with ρ = Δ²/(2(σC)²) = 2/σ². Contributions add up, also when each depends on what was published before. ε at a δ is
//! [`epsilon`].
//!
//! # What ε covers
//! Contributions by the consensus rule, and all that is made of them: what coding makes of the noised run and what it keeps
//! back of it (error feedback), merges, claims, votes and moves. These are measured on the fleet's pack, of particles as
//! everybody reads them.
//!
//! # What it does not cover
//! - Whether a vehicle is there, when it speaks, how many bytes: records of a window come when tuning is done.
//! - What comes of a campaign: a trial on the vehicle's own roads is said as kept or gone back, once a campaign.
//! - What was contributed before the noise was switched on, or after it is switched off.
//! - What its owner reads of it: `/metrics`, logs, its disk.
//! - Numbers are f64 where the proof has reals. What crosses has at most 8 bits a value; tails end at 8.5 deviations.
//!
//! # Source
//! Bun and Steinke, arXiv 1605.02065 (zCDP: Propositions 1.6 and 1.7, Lemma 2.3); Canonne, Kamath and Steinke, arXiv
//! 2004.00010 (Proposition 12, ε at a δ).

use alloc::vec::Vec;
use core::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::draws::{UNIT, normal};
use crate::fold::norm;

/// The store's key of the [`Ledger`].
pub const PRIVACY_KEY: &str = "swarm/privacy";
const VERSION: u8 = 1;
/// Halvings of the interval that α of a bound is looked for in; any α gives a bound.
const SEARCH: usize = 200;

/// How much noise, and how much of its price may be paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Privacy {
    /// C: the longest displacement, Euclidean, in units of the values; above 0.
    pub clip: f64,
    /// σ: deviation of the noise of one value, in units of C; at 0 nothing is hidden.
    pub noise: f64,
    /// δ of what is said of it, in (0, 1): below 1 ÷ vehicles.
    pub delta: f64,
    /// ε that contributions may come to, all together.
    pub epsilon_max: f64,
}

impl Privacy {
    /// ρ of one contribution; infinite without noise.
    pub fn cost(&self) -> f64 {
        2.0 / (self.noise * self.noise)
    }

    /// The length that a noised displacement of so many values has: as much as nobody's data changes.
    pub fn norm(&self, values: usize) -> f64 {
        self.clip * libm::sqrt(1.0 + self.noise * self.noise * values as f64)
    }

    /// Makes a displacement private, in place.
    ///
    /// ```text
    /// d ← d·min(1, C/|d|) + σC·n,    n standard normal, one a value
    /// ```
    ///
    /// # Shapes and units
    /// `displacement`: `[dim]`, finite. Computed in f64, rounded to f32 once.
    pub fn privatise(&self, displacement: &mut [f32], noise: &mut Noise) {
        let length = norm(displacement);
        let scale = if length > self.clip { self.clip / length } else { 1.0 };
        let deviation = self.noise * self.clip;
        for value in displacement {
            *value = (f64::from(*value) * scale + deviation * noise.normal()) as f32;
        }
    }
}

/// ε at this δ of what is ρ-zCDP: the least over α > 1 of
///
/// ```text
/// α·ρ + ln(1/(α·δ))/(α − 1) + ln(1 − 1/α)
/// ```
///
/// which is below ρ + 2·√(ρ·ln(1/δ)). Infinite where ρ is.
///
/// # Source
/// Canonne, Kamath and Steinke, arXiv 2004.00010, Proposition 12; the simpler bound: Bun and Steinke, arXiv 1605.02065,
/// Proposition 1.3.
pub fn epsilon(rho: f64, delta: f64) -> f64 {
    if rho == 0.0 {
        return 0.0;
    }
    if !rho.is_finite() {
        return f64::INFINITY;
    }
    let far = libm::log(1.0 / delta);
    // ln(1 − 1/α) of a large α is lost in rounding; with x = α − 1 it is ln(x) − ln(1 + x).
    let bound = |log: f64| {
        let x = libm::exp(log);
        (x + 1.0) * rho + (far - libm::log1p(x)) / x + log - libm::log1p(x)
    };
    // The simpler bound is at this x; the least lies near it, on a curve that falls and then rises.
    let near = 0.5 * libm::log(far / rho);
    let (mut low, mut high) = (near - 8.0, near + 8.0);
    for _ in 0..SEARCH {
        let third = (high - low) / 3.0;
        if bound(low + third) < bound(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    bound(low).min(bound(near)).max(0.0)
}

/// What a vehicle has paid: it only grows, and is durable before what it was paid for is published.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ledger {
    rho: f64,
}

impl Ledger {
    /// Nothing is left: of a vehicle whose ledger is lost.
    pub const EXHAUSTED: Self = Self { rho: f64::INFINITY };

    /// Reads what the store holds under [`PRIVACY_KEY`]: nothing of a first start. What cannot be read counts as spent.
    pub fn decode(bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::default() };
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                let rho = rest.try_into().map(f64::from_le_bytes).unwrap_or(f64::INFINITY);
                if rho >= 0.0 { Self { rho } } else { Self::EXHAUSTED }
            }
            Some(_) | None => Self::EXHAUSTED,
        }
    }

    /// The record.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![VERSION];
        bytes.extend(self.rho.to_le_bytes());
        bytes
    }

    /// ε at this δ of all that was paid for.
    pub fn epsilon(&self, delta: f64) -> f64 {
        epsilon(self.rho, delta)
    }

    /// Pays for one contribution, if what may be paid reaches that far.
    pub fn pay(&mut self, privacy: &Privacy) -> bool {
        let rho = self.rho + privacy.cost();
        let affords = epsilon(rho, privacy.delta) <= privacy.epsilon_max;
        if affords {
            self.rho = rho;
        }
        affords
    }
}

/// Noise that nobody else can compute: ChaCha20 under a key of this life of the program. No value of it is drawn twice.
#[derive(Clone)]
pub struct Noise(ChaCha20Rng);

impl Noise {
    /// Of a key that was drawn for this start alone and is known to nobody else.
    pub fn new(key: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(key))
    }

    /// Normal with mean 0 and deviation 1.
    fn normal(&mut self) -> f64 {
        normal(|| (self.0.next_u64() >> 11) as f64 * UNIT)
    }
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noise(..)")
    }
}

/// What a core that makes its contributions private begins with.
#[derive(Clone, Debug)]
pub struct Private {
    /// How much.
    pub privacy: Privacy,
    /// What was paid before.
    pub ledger: Ledger,
    /// Where noise comes from.
    pub noise: Noise,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVACY: Privacy = Privacy { clip: 0.5, noise: 2.0, delta: 1e-5, epsilon_max: 8.0 };

    /// Distribution function of the standard normal.
    fn below(x: f64) -> f64 {
        0.5 * libm::erfc(-x / core::f64::consts::SQRT_2)
    }

    /// Exactly what a Gaussian mechanism of this ρ has at a δ, by bisection. Source: Balle and Wang, arXiv 1805.06530, Theorem 8;
    /// composed ones are one of ρ's sum: Dong, Roth and Su, arXiv 1905.02383, Corollary 3.3.
    fn exact(rho: f64, delta: f64) -> f64 {
        let mu = libm::sqrt(2.0 * rho);
        let lost = |epsilon: f64| {
            below(mu / 2.0 - epsilon / mu) - libm::exp(epsilon) * below(-mu / 2.0 - epsilon / mu)
        };
        let (mut low, mut high) = (0.0, 100.0);
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if lost(middle) > delta { low = middle } else { high = middle }
        }
        high
    }

    /// ε of a Gaussian mechanism is between the exact one and the simpler bound of Bun and Steinke.
    #[test]
    fn epsilon_is_above_the_exact_one_and_below_the_simpler_bound() {
        for rho in [1e-4, 1e-3, 0.01, 0.1, 0.5, 1.0, 2.63, 10.0, 24.0] {
            for delta in [1e-4, 1e-5, 1e-6, 1e-10] {
                let simple = rho + 2.0 * libm::sqrt(rho * libm::log(1.0 / delta));
                let (bound, exact) = (epsilon(rho, delta), exact(rho, delta));
                assert!(
                    exact <= bound && bound <= simple,
                    "{rho} {delta}: {exact} {bound} {simple}"
                );
                assert!(bound < 1.25 * exact, "{rho} {delta}: {exact} {bound}");
            }
        }
    }

    /// Golden: the formula of the paper in another language, minimised there.
    #[test]
    fn epsilon_is_the_least_bound() {
        for (rho, delta, want) in [
            (0.0024, 1e-5, 0.252_488),
            (0.1, 1e-6, 2.141_939),
            (1.0, 1e-5, 7.077_197),
            (2.56, 1e-10, 17.158_309),
            (24.0, 1e-5, 55.583_035),
        ] {
            let got = epsilon(rho, delta);
            assert!((got - want).abs() < 2e-6, "{rho} {delta}: {got}, not {want}");
        }
        assert_eq!(epsilon(0.0, 1e-5), 0.0);
        assert_eq!(epsilon(f64::INFINITY, 1e-5), f64::INFINITY);
        // Vast ones stay finite and in order.
        assert!((0..18).all(|n| epsilon(libm::pow(10.0, n.into()), 1e-5).is_finite()));
    }

    /// The published σ of an (1, 1e-5) mechanism of sensitivity 1 is 3.730632 (Balle and Wang's code); ours asks for a little more.
    #[test]
    fn the_exact_reference_is_that_of_its_source() {
        let rho = 0.5 / (3.730_632 * 3.730_632);
        assert!((exact(rho, 1e-5) - 1.0).abs() < 1e-5);
        assert!((1.0..1.12).contains(&epsilon(rho, 1e-5)));
    }

    /// ρ = Δ²/(2(σC)²) with Δ = 2C, whatever C is.
    #[test]
    fn a_contribution_costs_what_replacing_all_data_can_move() {
        for clip in [0.01, 0.5, 30.0] {
            let privacy = Privacy { clip, ..PRIVACY };
            let sensitivity = 2.0 * clip;
            let deviation = privacy.noise * clip;
            let rho = sensitivity * sensitivity / (2.0 * deviation * deviation);
            assert!((privacy.cost() - rho).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_longer_is_clipped_to_the_length_and_what_is_shorter_stays() {
        let clipped = |values: &[f32]| {
            let mut values = values.to_vec();
            Privacy { noise: 0.0, ..PRIVACY }.privatise(&mut values, &mut Noise::new([1; 32]));
            values
        };
        assert_eq!(clipped(&[3.0, -4.0]), [0.3, -0.4]);
        assert_eq!(clipped(&[0.3, 0.4]), [0.3, 0.4]);
        assert_eq!(clipped(&[0.1, 0.0]), [0.1, 0.0]);
        assert_eq!(clipped(&[0.0; 3]), [0.0; 3]);
        let far = clipped(&[f32::MAX; 1000]);
        assert!((norm(&far) - 0.5).abs() < 1e-7, "{}", norm(&far));
    }

    /// Kolmogorov and Smirnov: 1.63/√n is passed by chance once in a hundred keys; this key does not.
    #[test]
    fn noise_is_normal_and_no_value_comes_twice() {
        let mut noise = Noise::new([7; 32]);
        let mut values = alloc::vec![0.0_f32; 20_000];
        PRIVACY.privatise(&mut values, &mut noise);
        let mut more = alloc::vec![0.0_f32; 20_000];
        PRIVACY.privatise(&mut more, &mut noise);
        assert!(
            values.iter().zip(&more).all(|(one, other)| one != other),
            "a value is drawn again"
        );
        let together: f64 =
            values.iter().zip(&more).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!(together.abs() / 20_000.0 < 0.03, "two contributions share noise");
        let mut drawn: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        drawn.sort_by(f64::total_cmp);
        // σC = 1.
        let count = drawn.len() as f64;
        let apart = drawn
            .iter()
            .zip(1_u32..)
            .map(|(value, n)| (below(*value) - f64::from(n) / count).abs());
        let most = apart.fold(0.0, f64::max);
        assert!(most < 1.63 / libm::sqrt(count), "{most}");
    }

    #[test]
    fn noise_is_that_of_its_key() {
        let drawn = |key| {
            let mut values = [0.0_f32; 4];
            PRIVACY.privatise(&mut values, &mut Noise::new(key));
            values
        };
        assert_eq!(drawn([1; 32]), drawn([1; 32]));
        assert_ne!(drawn([1; 32]), drawn([2; 32]));
        assert_eq!(alloc::format!("{:?}", Noise::new([1; 32])), "Noise(..)");
    }

    #[test]
    fn costs_add_up_until_nothing_is_left() {
        let mut ledger = Ledger::default();
        let paid = (0..100).take_while(|_| ledger.pay(&PRIVACY)).count();
        // ρ = 1/2 each, ε(1/2) = 4.73, ε(1) = 7.08, ε(3/2) = 9.04.
        assert_eq!(paid, 2);
        assert!((ledger.epsilon(PRIVACY.delta) - epsilon(1.0, 1e-5)).abs() < 1e-12);
        let before = ledger;
        assert!(!ledger.pay(&PRIVACY));
        assert_eq!(ledger, before, "what is not paid costs nothing");
        assert!(!Ledger::EXHAUSTED.clone().pay(&Privacy { epsilon_max: 1e15, ..PRIVACY }));
        assert!(
            !Ledger::default().pay(&Privacy { noise: 0.0, ..PRIVACY }),
            "without noise nothing is hidden"
        );
    }

    #[test]
    fn a_ledger_survives_the_store_and_a_damaged_one_counts_as_spent() {
        let mut ledger = Ledger::default();
        assert_eq!(Ledger::decode(None), ledger);
        assert!(ledger.pay(&PRIVACY));
        for one in [Ledger::default(), ledger, Ledger::EXHAUSTED] {
            assert_eq!(Ledger::decode(Some(&one.encode())), one);
        }
        let bytes = ledger.encode();
        for len in 0..bytes.len() {
            assert_eq!(Ledger::decode(bytes.get(..len)), Ledger::EXHAUSTED, "cut to {len}");
        }
        let nan = [&[VERSION][..], &f64::NAN.to_le_bytes()].concat();
        let less = [&[VERSION][..], &(-1.0_f64).to_le_bytes()].concat();
        let later = [&[VERSION + 1][..], &0.0_f64.to_le_bytes()].concat();
        for damaged in [nan, less, later] {
            assert_eq!(Ledger::decode(Some(&damaged)), Ledger::EXHAUSTED);
        }
    }
}
