//! Values from a seed, for the tests and the bench: the same on every machine but for the last bits of a logarithm.

/// Lengths of the tensors of the shipped world model's adapter at rank 8: 53,928 values.
pub(crate) const ADAPTER: [u32; 26] = [
    2880, 320, 6336, 704, 1280, 704, 2816, 1024, 1960, 320, 384, 320, 2880, 320, 6336, 704, 6336,
    704, 9216, 1024, 320, 1216, 704, 1280, 1024, 2816,
];

/// SplitMix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn gauss(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub(crate) fn laplace(&mut self) -> f64 {
        let magnitude = -(1.0 - self.uniform()).ln() * std::f64::consts::FRAC_1_SQRT_2;
        if self.uniform() < 0.5 { -magnitude } else { magnitude }
    }

    /// One displacement of an adapter with these tensors: Gaussian, each tensor of its own deviation.
    pub(crate) fn displacement(&mut self, tensors: &[u32]) -> Vec<f32> {
        let mut values = Vec::new();
        for len in tensors {
            let deviation = 0.01 + 0.02 * self.uniform();
            values.extend((0..*len).map(|_index| (deviation * self.gauss()) as f32));
        }
        values
    }
}

/// Ratio of the squares of what was sent to those of the error, in dB.
pub(crate) fn snr_db(sent: &[f32], received: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let signal: f64 = sent.iter().map(|value| square(f64::from(*value))).sum();
    let pairs = sent.iter().zip(received);
    let noise: f64 = pairs.map(|(sent, seen)| square(f64::from(*sent) - f64::from(*seen))).sum();
    10.0 * (signal / noise).log10()
}

/// Bits a value that a Gaussian source needs at least for this error.
pub(crate) fn bound_bits(snr_db: f64) -> f64 {
    snr_db / (20.0 * 2_f64.log10())
}

/// Bits of all values at the entropy of their levels: of each tensor by itself, and of all together. What it takes
/// to say how often each level occurs is not counted.
pub(crate) fn entropies(tensors: &[u32], received: &[f32]) -> (f64, f64) {
    let mut rest = received;
    let (mut each, mut all) = (0.0, Counts::new());
    for len in tensors {
        let (tensor, after) = rest.split_at(*len as usize);
        rest = after;
        let magnitudes = tensor.iter().map(|value| value.abs()).filter(|value| *value > 0.0);
        let scale = magnitudes.fold(f32::INFINITY, f32::min);
        let mut counts = Counts::new();
        for value in tensor {
            let level = (value / scale).round() as i32;
            *counts.entry(level).or_insert(0) += 1;
            *all.entry(level).or_insert(0) += 1;
        }
        each += entropy(&counts);
    }
    (each, entropy(&all))
}

type Counts = std::collections::BTreeMap<i32, u32>;

fn entropy(counts: &Counts) -> f64 {
    let total: f64 = counts.values().map(|count| f64::from(*count)).sum();
    counts.values().map(|n| -f64::from(*n) * (f64::from(*n) / total).log2()).sum()
}
