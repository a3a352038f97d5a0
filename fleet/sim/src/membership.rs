//! Membership inference: whether somebody who listens can tell the clips that a vehicle tuned on from others of the same drive.
//!
//! Members are the clips of the tuning part of each vehicle's drives, the others those of its held-out part. A clip is scored
//! by the loss of what the vehicle published, mean over all windows, in units of the error of 'nothing moves':
//!
//! ```text
//! loss        −e_p ÷ e_copy
//! difference  (e_x_p − e_p) ÷ e_copy      x_p calibrates how hard a clip is
//! ```
//!
//! Source: Yeom, Giacomelli, Fredrikson and Jha, arXiv 1709.01604 (loss); Watson, Guo, Cormode and Sablayrolles, arXiv 2111.08440
//! (difference to a reference model).

use std::path::Path;

use serde::Serialize;
use shoal_shadow::measure::Measurement;
use shoal_soup::chance::Draws;
use shoal_swarm::swarm::Flat;

use crate::config::{MethodConfig, SimConfig};
use crate::data::Data;
use crate::lab::{Base, Lab, On};
use crate::method;
use crate::run::{RunError, window};
use crate::store::Store;

/// Resamples of an interval.
const DRAWS: usize = 1000;
/// Share of others that may be taken for members, where the share of members that is found is given.
const FALSE_MAX: f64 = 0.01;

/// Whose particles are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listens {
    /// The contributions of the vehicle whose clips these are.
    Own,
    /// Those of the vehicle after it, which never saw them: what is found here is no membership.
    Another,
    /// What the fleet was given after the last window.
    Fleet,
}

/// How a clip is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// By the loss.
    Loss,
    /// By the loss less that of x_p.
    Difference,
}

impl Listens {
    const ALL: [Self; 3] = [Self::Own, Self::Another, Self::Fleet];
}

impl Score {
    const ALL: [Self; 2] = [Self::Loss, Self::Difference];
}

/// Scores of the clips of one second of a drive.
type Block = Vec<f64>;

/// The clips of an attack: blocks of members, and of others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    members: Vec<Block>,
    others: Vec<Block>,
}

/// One attack on all vehicles of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Attack {
    /// On whose particles.
    pub listens: Listens,
    /// By which score.
    pub score: Score,
    /// What it found.
    pub scored: Scored,
}

/// How good an attack is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Clips that were tuned on, and others.
    pub members: usize,
    /// Clips that were not.
    pub others: usize,
    /// Chance that a member scores higher than another clip; ½: nothing is found.
    pub auc: f64,
    /// Its 95 % interval: blocks of a second resampled.
    pub auc_low: f64,
    /// Upper end.
    pub auc_high: f64,
    /// Share of members found where 1 % of others are taken for one.
    pub found_at_1_percent: f64,
}

/// Runs a method and attacks what its vehicles published.
///
/// # Errors
/// [`RunError`].
pub fn attack(
    config: &SimConfig,
    method: &MethodConfig,
    base: &Base,
    data: &Data,
    folder: &Path,
) -> Result<Vec<Attack>, RunError> {
    let config = &config.under(method);
    let mut lab = Lab::new(base, data, config, Store::open(folder)?)?;
    let mut way = method::open(method, config, base, data.utility())?;
    let start = base.start(config.seed);
    let mut published = vec![Vec::new(); config.vehicles as usize];
    for number in 1..=config.windows {
        window(&mut lab, config, &mut *way, number)?;
        for (vehicle, all) in (0..).zip(&mut published) {
            all.extend(way.published(vehicle));
        }
    }
    let fleet: Vec<Flat> = way.fleet().into_iter().collect();
    let mut attacks = Vec::new();
    for listens in Listens::ALL {
        let mut by_score = Score::ALL.map(|_| Scored::default());
        for (vehicle, own) in (0..).zip(&published) {
            let of = match listens {
                Listens::Own => own,
                Listens::Another => {
                    let next = (vehicle as usize + 1) % published.len();
                    published.get(next).filter(|_| published.len() > 1).unwrap_or(&fleet)
                }
                Listens::Fleet => &fleet,
            };
            for (member, on) in [(true, On::TunedOn(vehicle)), (false, On::HeldOutOf(vehicle))] {
                let asked = std::iter::once(&start).chain(of).map(|values| (values.clone(), on));
                let measured = lab.measure(&asked.collect::<Vec<_>>())?;
                let Some((at_start, of)) = measured.split_first().filter(|(_, of)| !of.is_empty())
                else {
                    continue;
                };
                for (score, scored) in Score::ALL.into_iter().zip(&mut by_score) {
                    let to = if member { &mut scored.members } else { &mut scored.others };
                    to.extend(blocks(at_start, of, score));
                }
            }
        }
        let all = Score::ALL.into_iter().zip(by_score);
        attacks.extend(all.map(|(score, scored)| Attack { listens, score, scored }));
    }
    Ok(attacks)
}

/// Scores of the clips of all drives that were measured, in blocks of a second.
fn blocks(at_start: &Measurement, of: &[Measurement], score: Score) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (drive, x_p) in at_start.drives.iter().enumerate() {
        let mut last = None;
        for (clip, copy) in x_p.next.copy.iter().enumerate().filter(|(_, copy)| **copy > 0.0) {
            let error = |one: &Measurement| one.drives.get(drive)?.next.model.get(clip).copied();
            let errors: Vec<f64> = of.iter().filter_map(error).collect();
            let loss = errors.iter().sum::<f64>() / errors.len() as f64;
            let calibrated = match score {
                Score::Loss => 0.0,
                Score::Difference => error(at_start).unwrap_or(0.0),
            };
            let block = x_p.next.block.get(clip).copied();
            if block != last || blocks.is_empty() {
                blocks.push(Block::new());
                last = block;
            }
            if let Some(block) = blocks.last_mut() {
                block.push((calibrated - loss) / copy);
            }
        }
    }
    blocks
}

impl Scored {
    /// Takes the clips of another run of the same attack.
    pub fn extend(&mut self, other: Scored) {
        self.members.extend(other.members);
        self.others.extend(other.others);
    }

    /// How good the attack is; `None` without clips of both kinds.
    #[must_use]
    pub fn found(&self, seed: u64) -> Option<Found> {
        let (members, others) = (self.members.concat(), self.others.concat());
        let auc = area(&members, &others)?;
        let mut draws = Draws::new(seed, 0);
        let mut drawn = |blocks: &[Block]| -> Vec<f64> {
            let picked = (0..blocks.len()).map(|_| draws.index(blocks.len()));
            picked.filter_map(|block| blocks.get(block)).flatten().copied().collect()
        };
        let resampled =
            (0..DRAWS).filter_map(|_| area(&drawn(&self.members), &drawn(&self.others)));
        let mut resampled: Vec<f64> = resampled.collect();
        resampled.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (share * (resampled.len() - 1) as f64).round() as usize;
            resampled.get(place).copied().unwrap_or(auc)
        };
        Some(Found {
            members: members.len(),
            others: others.len(),
            auc,
            auc_low: at(0.025),
            auc_high: at(0.975),
            found_at_1_percent: found(&members, &others),
        })
    }
}

/// Chance that one of the first is higher than one of the second, ties counting half: Mann and Whitney's statistic.
fn area(first: &[f64], second: &[f64]) -> Option<f64> {
    let mut second = second.to_vec();
    second.sort_by(f64::total_cmp);
    let below = |value: &f64| {
        let less = second.partition_point(|other| other < value);
        let no_more = second.partition_point(|other| other <= value);
        (less + no_more) as f64 / 2.0
    };
    let pairs = first.len() as f64 * second.len() as f64;
    (pairs > 0.0).then(|| first.iter().map(below).sum::<f64>() / pairs)
}

/// Share of members above a threshold that at most [`FALSE_MAX`] of others are above.
fn found(members: &[f64], others: &[f64]) -> f64 {
    let mut others = others.to_vec();
    others.sort_by(|one, other| other.total_cmp(one));
    let wrong = (FALSE_MAX * others.len() as f64).floor() as usize;
    let threshold = others.get(wrong).copied().unwrap_or(f64::INFINITY);
    let above = members.iter().filter(|score| **score > threshold).count();
    above as f64 / members.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(members: impl Iterator<Item = f64>, others: impl Iterator<Item = f64>) -> Scored {
        let blocks = |scores: &mut dyn Iterator<Item = f64>| {
            scores.collect::<Vec<_>>().chunks(10).map(<[f64]>::to_vec).collect()
        };
        Scored {
            members: blocks(&mut members.into_iter()),
            others: blocks(&mut others.into_iter()),
        }
    }

    #[test]
    fn the_area_is_that_of_all_pairs() {
        assert_eq!(area(&[1.0, 2.0], &[0.0, 1.5]), Some(0.75));
        assert_eq!(area(&[1.0, 1.0], &[1.0]), Some(0.5));
        assert_eq!(area(&[2.0], &[1.0]), Some(1.0));
        assert_eq!(area(&[], &[1.0]), None);
    }

    #[test]
    fn members_that_stand_out_are_found_and_others_are_not() {
        let mut draws = Draws::new(1, 1);
        let mut normal = |mean: f64| (0..1000).map(|_| mean + draws.normal()).collect::<Vec<_>>();
        let (same, other, far) = (normal(0.0), normal(0.0), normal(2.0));
        let nothing = scored(same.iter().copied(), other.iter().copied()).found(0).unwrap();
        assert!(nothing.auc_low < 0.5 && 0.5 < nothing.auc_high, "{nothing:?}");
        assert!(nothing.found_at_1_percent < 0.03, "{nothing:?}");
        let all = scored(far.iter().copied(), other.iter().copied()).found(0).unwrap();
        // Φ(2/√2) = .921, and a member is above the others' last hundredth with Φ(2 − 2.33) = .37.
        assert!((all.auc - 0.921).abs() < 0.02 && all.auc_low > 0.88, "{all:?}");
        assert!((0.2..0.55).contains(&all.found_at_1_percent), "{all:?}");
        assert_eq!((all.members, all.others), (1000, 1000));
    }

    #[test]
    fn of_a_hundred_others_one_may_be_taken_for_a_member() {
        let others: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(found(&[98.5, 99.5, 98.0, 3.0], &others), 0.5);
    }
}
