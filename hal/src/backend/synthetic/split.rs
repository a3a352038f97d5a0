//! Which regions and seeds are for what: a world model that was pretrained on generated roads is
//! measured on others.

use core::ops::RangeInclusive;

use super::Region;

/// What generated roads are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// Pretraining of the models that ship.
    Pretraining,
    /// Drives of vehicles: the demo, simulated fleets.
    Drives,
    /// Evaluation packs.
    Packs,
    /// Tests and benches.
    Tests,
}

/// Regions of one use, and the seeds of their roads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What for.
    pub of: Use,
    /// Kinds of roads.
    pub regions: &'static [Region],
    /// Seeds of [`super::Road`], and of [`super::pretraining_clip`].
    pub seeds: RangeInclusive<u64>,
}

/// Regions that models are pretrained on.
pub const PRETRAINING: &[Region] = &[
    Region::Highway,
    Region::Autobahn,
    Region::Rural,
    Region::Forest,
    Region::City,
    Region::Suburb,
    Region::Mountain,
    Region::Desert,
    Region::Coast,
    Region::Haze,
    Region::Dusk,
    Region::Rain,
    Region::Tunnel,
    Region::RcTrack,
];

/// How often each region comes in the pretraining mixture, in the order of [`PRETRAINING`].
const WEIGHTS: [u8; PRETRAINING.len()] = [5, 4, 4, 4, 3, 3, 3, 1, 1, 2, 2, 2, 1, 5];

/// The region of the pretraining mixture that a number in [0, 1) names.
pub(super) fn mixed(draw: f32) -> Region {
    let total: u32 = WEIGHTS.iter().map(|&weight| u32::from(weight)).sum();
    let mut left = draw * total as f32;
    for (&region, &weight) in PRETRAINING.iter().zip(&WEIGHTS) {
        left -= f32::from(weight);
        if left < 0.0 {
            return region;
        }
    }
    PRETRAINING[0]
}

/// Regions that no shipped model has seen: what a fleet can learn.
pub const UNSEEN: &[Region] =
    &[Region::Night, Region::Snow, Region::LeftHand, Region::TightCurves, Region::DenseTraffic];

/// The table: no two uses share a seed, and pretraining shares no region with any other use.
pub const SPLIT: [Share; 4] = [
    Share { of: Use::Pretraining, regions: PRETRAINING, seeds: 0..=999_999 },
    Share { of: Use::Drives, regions: UNSEEN, seeds: 1_000_000..=1_999_999 },
    Share { of: Use::Packs, regions: UNSEEN, seeds: 2_000_000..=2_999_999 },
    Share { of: Use::Tests, regions: &Region::ALL, seeds: 3_000_000..=3_999_999 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_uses_share_a_seed() {
        for (i, a) in SPLIT.iter().enumerate() {
            for b in &SPLIT[i + 1..] {
                assert!(a.seeds.end() < b.seeds.start() || b.seeds.end() < a.seeds.start());
            }
        }
    }

    #[test]
    fn vehicles_and_packs_have_regions_that_pretraining_never_sees() {
        for share in &SPLIT {
            if matches!(share.of, Use::Drives | Use::Packs) {
                assert!(share.regions.iter().all(|region| !PRETRAINING.contains(region)));
            }
        }
    }

    #[test]
    fn every_region_is_seen_or_unseen() {
        for region in Region::ALL {
            assert!(PRETRAINING.contains(&region) != UNSEEN.contains(&region), "{region:?}");
        }
    }
}
