//! Random draws and small mathematics that give the same bits on every machine.
//!
//! Parameters of a scene are drawn from ChaCha8; what is needed again and again at any place of a
//! road (a tree, a cloud, a crack) is a hash of its index. Only `+ − × ÷ √` and the `libm` crate.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A colour or a sum of weighted colours, R, G, B, 0..1 as displayed (not linear light).
pub(super) type Rgb = [f32; 3];

/// `a` where `t` is 0, `b` where it is 1.
#[inline]
pub(super) fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// [`lerp`] of colours.
#[inline]
pub(super) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t)]
}

/// A colour, brighter or darker.
#[inline]
pub(super) fn scaled(a: Rgb, by: f32) -> Rgb {
    [a[0] * by, a[1] * by, a[2] * by]
}

/// Channel by channel product.
#[inline]
pub(super) fn tinted(a: Rgb, by: Rgb) -> Rgb {
    [a[0] * by[0], a[1] * by[1], a[2] * by[2]]
}

/// 0 below `from`, 1 above `to`, smooth between.
#[inline]
pub(super) fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Largest integer not above `x`, for |x| < 2³¹ (the platform's `floor` is a call on old CPUs).
#[inline]
pub(super) fn floor(x: f32) -> i32 {
    let i = x as i32;
    if (i as f32) > x { i - 1 } else { i }
}

/// Mixes the bits of a number (a bijection without visible pattern; C. Wellons' `lowbias32`).
#[inline]
pub(super) const fn bits(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Hash of a place: `index` in the world that `seed` names.
#[inline]
pub(super) const fn hash(seed: u32, index: i32) -> u32 {
    bits(seed ^ bits(index as u32))
}

/// A number in [0, 1) from a hash.
#[inline]
pub(super) fn unit(hash: u32) -> f32 {
    (hash >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Smooth noise over a line, −1..1, with a period of about 1 between independent values.
#[inline]
pub(super) fn noise(seed: u32, x: f32) -> f32 {
    let i = floor(x);
    let t = x - i as f32;
    let a = unit(hash(seed, i));
    let b = unit(hash(seed, i.wrapping_add(1)));
    lerp(a, b, t * t * (3.0 - 2.0 * t)) * 2.0 - 1.0
}

/// The stream of draws that makes one scene.
#[derive(Clone, Debug)]
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream named by what it is for, a seed and an index. Streams of different names are
    /// independent.
    pub(super) fn new(purpose: u32, seed: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(b"shoal-rd");
        key[8..12].copy_from_slice(&purpose.to_le_bytes());
        key[16..24].copy_from_slice(&seed.to_le_bytes());
        key[24..].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 32 random bits.
    pub(super) fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        unit(self.word())
    }

    /// A number between two bounds.
    pub(super) fn range(&mut self, (from, to): (f32, f32)) -> f32 {
        lerp(from, to, self.unit())
    }

    /// A number between two positive bounds, uniform in its logarithm.
    pub(super) fn log_range(&mut self, (from, to): (f32, f32)) -> f32 {
        from * libm::expf(self.unit() * libm::logf(to / from))
    }

    /// About a normal draw: mean 0, standard deviation 1, never beyond ±3.5.
    pub(super) fn normal(&mut self) -> f32 {
        let sum = self.unit() + self.unit() + self.unit() + self.unit();
        (sum - 2.0) * 1.732_050_8
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// An index below `count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f32) as usize
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A colour near `base`: brighter or darker by up to `light`, each channel by up to `hue`.
    pub(super) fn near(&mut self, base: Rgb, light: f32, hue: f32) -> Rgb {
        let by = 1.0 + self.range((-light, light));
        base.map(|channel| (channel * by * (1.0 + self.range((-hue, hue)))).clamp(0.0, 1.0))
    }
}
