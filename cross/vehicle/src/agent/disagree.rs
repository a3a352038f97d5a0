//! Where policy and driver part: how unusual that is, and whether the driver then came back towards what the policy had proposed.

use shoal_hal::Motion;
use shoal_shadow::observe::{ObserveError, Observer};
use shoal_shadow::opinion::{Correction, Corrections, Did, Opinion};
use shoal_shadow::package::Description;
use shoal_shadow::quantile::Calibrated;

use super::eyes::observer_of;
use crate::config::Config;

/// Seconds within which a driver who comes back towards the policy's proposal has corrected.
const CORRECTED_WITHIN_S: f64 = 3.0;

/// What one moment showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parted {
    /// How far apart they were; `None` if the vehicle does not know what the driver did.
    pub(super) value: Option<f32>,
    /// Its rank among those before; as high as can be if an earlier one was corrected now.
    pub(super) rank: Option<f32>,
    /// What was corrected now.
    pub(super) corrected: Option<Correction>,
}

/// Compares one policy with its driver, moment by moment.
pub(super) struct Disagreement {
    observer: Observer,
    corrections: Corrections,
    /// Rank from which a disagreement may be followed by a correction.
    rank_min: f32,
}

impl Disagreement {
    pub(super) fn new(description: &Description, config: &Config, rate_hz: f64) -> Self {
        Disagreement {
            observer: observer_of(description).with_geometry(config.geometry),
            corrections: Corrections::new((CORRECTED_WITHIN_S * rate_hz).round() as u64),
            rank_min: config.replay.surprise_quantile,
        }
    }

    /// What a world model put out as its action in moment `index`, of whatever kind.
    pub(super) fn output(
        &mut self,
        index: u64,
        output: &[f32],
        did: &Motion,
    ) -> Result<Parted, ObserveError> {
        let Some(calibrated) = self.observer.action(output, did)? else {
            return Ok(Parted::default());
        };
        let proposed = self.is_unusual(&calibrated).then(|| self.observer.proposed(output));
        Ok(self.parted(index, calibrated, did, proposed.flatten()))
    }

    /// What a policy would have done in moment `index`.
    pub(super) fn opinion(&mut self, index: u64, opinion: &Opinion, did: &Motion) -> Parted {
        let Some(calibrated) = self.observer.opinion(opinion, did) else {
            return Parted::default();
        };
        let proposed = self.is_unusual(&calibrated).then(|| opinion.curvature_median());
        self.parted(index, calibrated, did, proposed)
    }

    /// What the driver did in moment `index`, at which nobody looked: it may correct an earlier one.
    pub(super) fn unseen(&mut self, index: u64, did: &Motion) -> Parted {
        let did = self.observer.did(did);
        let corrected = self.corrections.handle_moment(index, &did, None);
        Parted { value: None, rank: corrected.map(|_earlier| 1.0), corrected }
    }

    /// What the driver did, on the grid.
    pub(super) fn did(&self, motion: &Motion) -> Did {
        self.observer.did(motion)
    }

    /// Nothing that comes follows what was.
    pub(super) fn handle_gap(&mut self) {
        self.corrections.handle_gap();
    }

    fn is_unusual(&self, calibrated: &Calibrated) -> bool {
        calibrated.rank.is_some_and(|rank| rank >= self.rank_min)
    }

    fn parted(
        &mut self,
        index: u64,
        calibrated: Calibrated,
        did: &Motion,
        proposed: Option<usize>,
    ) -> Parted {
        let did = self.observer.did(did);
        let corrected = self.corrections.handle_moment(index, &did, proposed);
        // The policy saw it earlier: as unusual as anything can be.
        let rank = if corrected.is_some() { Some(1.0) } else { calibrated.rank };
        Parted { value: Some(calibrated.value), rank, corrected }
    }
}
