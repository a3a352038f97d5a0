//! The particle of a token swarm: what a fleet has learned to change in the opinions of its policies, whatever networks these are.
//!
//! In each [`Context`] it holds a weight for every policy of the fleet, and for each axis of the grid a banded matrix that moves
//! probability to neighbouring bins: where the driver's action really was, given where the policies saw it. A vehicle that runs one of
//! the policies uses and learns the same matrices as a vehicle that runs another.

use super::pool::{Pool, pooled};
use super::{ACCELERATION_BINS, BINS, CURVATURE_BINS, Distribution};

/// Bins to either side that a matrix moves probability to.
const REACH: usize = 2;
/// Values of a matrix's row.
const BAND: usize = 2 * REACH + 1;
/// Added to the middle of every row: all values 0 leave 99 % of the probability where it is.
const STAY: f64 = 6.0;
/// No probability of a matrix is below, so that what was never seen can still be learned.
const LEAST: f64 = 1e-5;
/// Bounds of a value.
const VALUE_MAX: f32 = 32.0;

/// Upper edges of the speed bands, m/s: walking pace, town, country, motorway.
const SPEEDS_M_S: [f64; 3] = [5.0, 12.0, 22.0];
/// A path that is bent as much is a bend, 1/m.
const BEND_PER_M: f64 = 0.002;

/// Where a matrix holds: a band of the speed, on a straight or in a bend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(usize);

impl Context {
    /// How many there are.
    pub const COUNT: usize = 2 * (SPEEDS_M_S.len() + 1);

    /// The context of a vehicle that drives so fast (m/s) on a path of this curvature (1/m).
    #[must_use]
    pub fn of(speed_m_s: f64, curvature_per_m: f64) -> Self {
        let band = SPEEDS_M_S.iter().filter(|edge| speed_m_s >= **edge).count();
        Self(2 * band + usize::from(curvature_per_m.abs() >= BEND_PER_M))
    }
}

/// A moment that is learned from: what the policies held probable, and what the driver did.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// Where.
    pub context: Context,
    /// One for each policy of the fleet; `None`: this vehicle does not run it.
    pub opinions: Vec<Option<&'a Distribution>>,
    /// The driver's bin, below [`BINS`].
    pub bin: usize,
    /// How much the moment counts, not negative.
    pub weight: f64,
}

/// Why values are no matrices.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    #[error("{got} values for {policies} policies, expected {want}")]
    Length { got: usize, want: usize, policies: usize },
    #[error("value {index} is not within −32 to 32")]
    Value { index: usize },
}

/// The matrices and weights of every context.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionMatrix {
    policies: usize,
    contexts: Vec<Part>,
}

/// Those of one context.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// Of the policies, sum 1.
    weights: Vec<f64>,
    curvature: Banded,
    acceleration: Banded,
}

impl ActionMatrix {
    /// How many values there are for so many policies: of each context the policies' weights (before softmax), the rows of the
    /// curvature's matrix, the rows of the acceleration's; each row from two bins below to two above.
    #[must_use]
    pub const fn values_count(policies: usize) -> usize {
        Context::COUNT * (policies + BAND * (CURVATURE_BINS + ACCELERATION_BINS))
    }

    /// Nothing learned: the policies weigh the same, and 99 % of every probability stays where it is.
    #[must_use]
    pub fn new(policies: usize) -> Self {
        let part = Part {
            weights: vec![1.0 / policies.max(1) as f64; policies],
            curvature: Banded::new(CURVATURE_BINS),
            acceleration: Banded::new(ACCELERATION_BINS),
        };
        Self { policies, contexts: vec![part; Context::COUNT] }
    }

    /// The same where `policy` has `share` of the trust in every context, and the others what is left: what a vehicle begins with that
    /// knows its own network. Out of vehicles that begin so, a fleet finds whom to trust where.
    ///
    /// A `share` beyond 1 % to 99 % is taken for those.
    #[must_use]
    pub fn trusting(policies: usize, policy: usize, share: f64) -> Self {
        let mut this = Self::new(policies);
        let share = share.clamp(0.01, 0.99);
        let rest = (1.0 - share) / policies.saturating_sub(1).max(1) as f64;
        for part in this.contexts.iter_mut().filter(|_| policies > 1) {
            for (number, weight) in part.weights.iter_mut().enumerate() {
                *weight = if number == policy { share } else { rest };
            }
        }
        this
    }

    /// That of a particle's values, in the order of [`Self::values_count`].
    ///
    /// # Errors
    /// [`MatrixError`].
    pub fn from_values(policies: usize, values: &[f32]) -> Result<Self, MatrixError> {
        let want = Self::values_count(policies);
        if values.len() != want {
            return Err(MatrixError::Length { got: values.len(), want, policies });
        }
        let allowed = |value: &f32| (-VALUE_MAX..=VALUE_MAX).contains(value);
        if let Some(index) = values.iter().position(|value| !allowed(value)) {
            return Err(MatrixError::Value { index });
        }
        let mut this = Self::new(policies);
        for (part, values) in
            this.contexts.iter_mut().zip(values.chunks_exact(want / Context::COUNT))
        {
            let (weights, rest) = values.split_at(policies);
            let (curvature, acceleration) = rest.split_at(BAND * CURVATURE_BINS);
            part.weights = softmax(weights.iter().map(|value| f64::from(*value)));
            part.curvature.read(curvature);
            part.acceleration.read(acceleration);
        }
        Ok(this)
    }

    /// The values of it, one of the many that mean the same: of every softmax the middle of a row and the mean of the weights are 0.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(Self::values_count(self.policies));
        for part in &self.contexts {
            let logs: Vec<f64> =
                part.weights.iter().map(|weight| libm::log(weight.max(LEAST))).collect();
            let mean = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
            values.extend(logs.iter().map(|log| (log - mean) as f32));
            part.curvature.write(&mut values);
            part.acceleration.write(&mut values);
        }
        values
    }

    /// What the fleet holds probable here, given what its policies hold; `None` unless this vehicle runs any.
    #[must_use]
    pub fn opinion(
        &self,
        pool: Pool,
        context: Context,
        opinions: &[Option<&Distribution>],
    ) -> Option<Distribution> {
        let part = &self.contexts[context.0];
        let before = part.pooled(pool, opinions)?;
        let mut half = [0.0; BINS];
        let rows = before.joint().chunks_exact(ACCELERATION_BINS);
        for (row, out) in rows.zip(half.chunks_exact_mut(ACCELERATION_BINS)) {
            out.copy_from_slice(&part.acceleration.applied(row));
        }
        let mut joint = [0.0; BINS];
        for acceleration in 0..ACCELERATION_BINS {
            let column: Vec<f64> =
                half.iter().skip(acceleration).step_by(ACCELERATION_BINS).copied().collect();
            for (bin, p) in part.curvature.applied(&column).into_iter().enumerate() {
                joint[bin * ACCELERATION_BINS + acceleration] = p;
            }
        }
        Some(Distribution::normalised(joint))
    }

    /// Mean of −ln of the probability of what the drivers did, nats, by weight; `None` without a sample that counts.
    #[must_use]
    pub fn nats(&self, pool: Pool, samples: &[Sample<'_>]) -> Option<f64> {
        let (mut sum, mut weights) = (0.0, 0.0);
        for sample in samples.iter().filter(|sample| sample.weight > 0.0) {
            let part = &self.contexts[sample.context.0];
            let Some(before) = part.pooled(pool, &sample.opinions) else { continue };
            sum -= sample.weight * libm::log(part.came(&before, sample.bin).1.max(LEAST * LEAST));
            weights += sample.weight;
        }
        (weights > 0.0).then(|| sum / weights)
    }

    /// That which these samples say, where `held` samples' weight of every row are of this one: so much a vehicle needs to see to
    /// move halfway from what the fleet has learned.
    ///
    /// # Source
    /// Expectation maximisation (A. Dempster, N. Laird and D. Rubin, 1977) of a mixture over who said it and which bin it was moved
    /// from; rows with Dirichlet priors around this one's. Of a linear pool no round makes samples and prior together less likely;
    /// of a logarithmic one the weights are those of the linear one, for lack of a closed form.
    #[must_use]
    pub fn fitted(&self, pool: Pool, samples: &[Sample<'_>], rounds: u32, held: f64) -> Self {
        let mut at = self.clone();
        for _ in 0..rounds {
            let mut counts: Vec<Counts> =
                self.contexts.iter().map(|part| Counts::of(part, held)).collect();
            for sample in samples.iter().filter(|sample| sample.weight > 0.0) {
                counts[sample.context.0].add(&at.contexts[sample.context.0], pool, sample);
            }
            for (part, counts) in at.contexts.iter_mut().zip(counts) {
                counts.settle(part);
            }
        }
        at
    }
}

impl Part {
    /// The policies' opinions as one; `None` without any.
    fn pooled(&self, pool: Pool, opinions: &[Option<&Distribution>]) -> Option<Distribution> {
        let there: Vec<(&Distribution, f64)> =
            opinions.iter().zip(&self.weights).filter_map(|(o, w)| Some(((*o)?, *w))).collect();
        let sum: f64 = there.iter().map(|(_opinion, weight)| weight).sum();
        if sum <= 0.0 {
            return None;
        }
        let (opinions, weights): (Vec<_>, Vec<_>) =
            there.into_iter().map(|(opinion, weight)| (opinion, weight / sum)).unzip();
        Some(pooled(pool, &opinions, &weights))
    }

    /// How probable it is that `bin` comes of each bin near it (flat index, probability), and of all.
    fn came(&self, before: &Distribution, bin: usize) -> (Vec<(usize, f64)>, f64) {
        let (curvature, acceleration) = (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
        let mut from = Vec::with_capacity(BAND * BAND);
        for c in near(curvature, CURVATURE_BINS) {
            for a in near(acceleration, ACCELERATION_BINS) {
                let at = c * ACCELERATION_BINS + a;
                let moved =
                    self.curvature.moved(c, curvature) * self.acceleration.moved(a, acceleration);
                from.push((at, before.joint()[at] * moved));
            }
        }
        let sum = from.iter().map(|(_at, p)| p).sum();
        (from, sum)
    }
}

/// What a round counts of one context.
struct Counts {
    /// Of the policies, where several had an opinion.
    weights: Vec<f64>,
    curvature: Vec<[f64; BAND]>,
    acceleration: Vec<[f64; BAND]>,
}

impl Counts {
    /// What was held before, as if it had been seen.
    fn of(part: &Part, held: f64) -> Self {
        let rows = |banded: &Banded| banded.rows.iter().map(|row| row.map(|p| held * p)).collect();
        Self {
            weights: part.weights.iter().map(|weight| held * weight).collect(),
            curvature: rows(&part.curvature),
            acceleration: rows(&part.acceleration),
        }
    }

    fn add(&mut self, part: &Part, pool: Pool, sample: &Sample<'_>) {
        let Some(before) = part.pooled(pool, &sample.opinions) else { return };
        let (from, sum) = part.came(&before, sample.bin);
        if sum <= 0.0 {
            return;
        }
        let (curvature, acceleration) =
            (sample.bin / ACCELERATION_BINS, sample.bin % ACCELERATION_BINS);
        for (at, p) in from {
            let share = sample.weight * p / sum;
            let (c, a) = (at / ACCELERATION_BINS, at % ACCELERATION_BINS);
            self.curvature[c][curvature + REACH - c] += share;
            self.acceleration[a][acceleration + REACH - a] += share;
        }
        // Whose opinion it was: of a mixture the share of each in it, of a product who alone would have known it best.
        let alone: Vec<f64> = sample
            .opinions
            .iter()
            .zip(&part.weights)
            .map(|(opinion, weight)| {
                opinion.map_or(0.0, |opinion| weight * part.came(opinion, sample.bin).1)
            })
            .collect();
        let total: f64 = alone.iter().sum();
        if total > 0.0 && sample.opinions.iter().flatten().count() > 1 {
            for (count, alone) in self.weights.iter_mut().zip(alone) {
                *count += sample.weight * alone / total;
            }
        }
    }

    fn settle(self, part: &mut Part) {
        let sum: f64 = self.weights.iter().sum();
        if sum > 0.0 {
            part.weights = self.weights.into_iter().map(|count| count / sum).collect();
        }
        for (banded, rows) in
            [(&mut part.curvature, self.curvature), (&mut part.acceleration, self.acceleration)]
        {
            for (row, counts) in banded.rows.iter_mut().zip(rows) {
                let sum: f64 = counts.iter().sum();
                if sum > 0.0 {
                    *row = counts.map(|count| count / sum);
                }
            }
        }
    }
}

/// A row-stochastic matrix in which a bin's probability goes no further than [`REACH`] bins.
#[derive(Clone, Debug, PartialEq)]
struct Banded {
    /// Of each bin, where its probability goes: from two bins below to two above; 0 beyond the ends.
    rows: Vec<[f64; BAND]>,
}

impl Banded {
    fn new(bins: usize) -> Self {
        let mut this = Self { rows: vec![[0.0; BAND]; bins] };
        this.read(&vec![0.0; BAND * bins]);
        this
    }

    fn read(&mut self, values: &[f32]) {
        let bins = self.rows.len();
        for (bin, (row, values)) in self.rows.iter_mut().zip(values.chunks_exact(BAND)).enumerate()
        {
            let inside = |at: usize| near(bin, bins).contains(&(bin + at).wrapping_sub(REACH));
            let logits = values.iter().enumerate().map(|(at, value)| {
                let stays = if at == REACH { STAY } else { 0.0 };
                if inside(at) { f64::from(*value) + stays } else { f64::NEG_INFINITY }
            });
            for (p, got) in row.iter_mut().zip(softmax(logits)) {
                *p = got;
            }
        }
    }

    fn write(&self, values: &mut Vec<f32>) {
        for row in &self.rows {
            let middle = libm::log(row[REACH].max(LEAST));
            values.extend(row.iter().enumerate().map(|(at, p)| {
                // Beyond the ends nothing is.
                if at == REACH || *p == 0.0 {
                    return 0.0;
                }
                (libm::log(p.max(LEAST)) - middle + STAY) as f32
            }));
        }
    }

    /// How much of `from`'s probability goes to `to`, which is near it.
    fn moved(&self, from: usize, to: usize) -> f64 {
        self.rows[from][to + REACH - from]
    }

    /// The row vector times the matrix.
    fn applied(&self, before: &[f64]) -> Vec<f64> {
        let bins = self.rows.len();
        (0..bins)
            .map(|to| near(to, bins).map(|from| before[from] * self.moved(from, to)).sum())
            .collect()
    }
}

/// The bins within [`REACH`] of one.
fn near(bin: usize, bins: usize) -> std::ops::Range<usize> {
    bin.saturating_sub(REACH)..(bin + REACH + 1).min(bins)
}

fn softmax(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.clone().map(|logit| libm::exp(logit - largest)).sum();
    logits.map(|logit| libm::exp(logit - largest) / sum).collect()
}

#[cfg(test)]
mod tests;
