//! What is shown of a measurement: skill, and always what it stands beside.

use super::{Errors, Measurement, ROLLOUT_FRAMES, term_value};
use serde::{Deserialize, Serialize};

/// Version of the form of [`Report`].
const SCHEMA: u32 = 1;

/// A measurement for people and programs, baselines beside it.
///
/// A number that does not exist (no counted drive, a perfect prediction's PSNR) is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Version of this form: 1.
    pub schema: u32,
    /// What predicted.
    pub predictor: String,
    /// Skill of the set: plain mean over its counted drives.
    pub skill: Option<f64>,
    /// The skill as a term value, in units of 1e-4.
    pub term_value: Option<i16>,
    /// Drives that are counted.
    pub counted: usize,
    /// The five-step roll-out over the set.
    pub rollout: RolloutReport,
    /// The same figures of the baselines over the set.
    pub baselines: Vec<BaselineReport>,
    /// Every drive, listed or counted.
    pub drives: Vec<DriveReport>,
}

/// Figures of one drive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveReport {
    /// The drive's name.
    pub name: String,
    /// Whether it is counted, or moves too little.
    pub counted: bool,
    /// PSNR of 'nothing moves' over the whole drive, in dB.
    pub copy_psnr_db_whole: Option<f64>,
    /// Clips that were measured.
    pub clips: usize,
    /// Skill.
    pub skill: Option<f64>,
    /// PSNR of the prediction on these clips, in dB.
    pub psnr_db: Option<f64>,
    /// PSNR of 'nothing moves' on these clips, in dB.
    pub copy_psnr_db: Option<f64>,
    /// The five-step roll-out.
    pub rollout: RolloutReport,
    /// The baselines on the same clips.
    pub baselines: Vec<BaselineReport>,
}

/// A five-step roll-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutReport {
    /// Frames ahead.
    pub frames: usize,
    /// Counted drives that have such a clip; of a drive: 1 or 0.
    pub drives: usize,
    /// Clips of those drives.
    pub clips: usize,
    /// Skill of the last frame.
    pub skill: Option<f64>,
    /// PSNR of the last frame, in dB; of a set null.
    pub psnr_db: Option<f64>,
}

/// What a baseline reaches on the same clips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineReport {
    /// What predicted.
    pub predictor: String,
    /// Its skill.
    pub skill: Option<f64>,
    /// Its PSNR, in dB; of a set null.
    pub psnr_db: Option<f64>,
    /// Skill of its five-step roll-out.
    pub rollout_skill: Option<f64>,
}

impl Report {
    /// Brings a measurement and those of the baselines on the same clips into the form of a report.
    ///
    /// # Panics
    /// If a baseline was measured on other drives.
    pub fn of(measured: &Measurement, baselines: &[Measurement]) -> Self {
        for baseline in baselines {
            assert_eq!(baseline.drives.len(), measured.drives.len(), "the same drives");
        }
        let with_rollout: Vec<&Errors> = measured
            .counted()
            .map(|drive| &drive.rollout)
            .filter(|errors| errors.clips() > 0)
            .collect();
        Report {
            schema: SCHEMA,
            predictor: measured.predictor.clone(),
            skill: measured.skill(),
            term_value: measured.skill().map(term_value),
            counted: measured.counted().count(),
            rollout: RolloutReport {
                frames: ROLLOUT_FRAMES,
                drives: with_rollout.len(),
                clips: with_rollout.iter().map(|errors| errors.clips()).sum(),
                skill: measured.rollout_skill(),
                psnr_db: None,
            },
            baselines: baselines
                .iter()
                .map(|baseline| BaselineReport {
                    predictor: baseline.predictor.clone(),
                    skill: baseline.skill(),
                    psnr_db: None,
                    rollout_skill: baseline.rollout_skill(),
                })
                .collect(),
            drives: (0..measured.drives.len())
                .map(|index| drive_report(measured, baselines, index))
                .collect(),
        }
    }
}

fn drive_report(measured: &Measurement, baselines: &[Measurement], index: usize) -> DriveReport {
    let drive = &measured.drives[index];
    let beside = baselines.iter().map(|baseline| {
        let other = &baseline.drives[index];
        assert_eq!(other.name, drive.name, "the same drives");
        BaselineReport {
            predictor: baseline.predictor.clone(),
            skill: other.next.skill(),
            psnr_db: finite(other.next.psnr_db()),
            rollout_skill: other.rollout.skill(),
        }
    });
    DriveReport {
        name: drive.name.clone(),
        counted: drive.counted,
        copy_psnr_db_whole: finite(drive.copy_psnr_db),
        clips: drive.next.clips(),
        skill: drive.next.skill(),
        psnr_db: finite(drive.next.psnr_db()),
        copy_psnr_db: finite(drive.next.copy_psnr_db()),
        rollout: RolloutReport {
            frames: ROLLOUT_FRAMES,
            drives: usize::from(drive.rollout.clips() > 0),
            clips: drive.rollout.clips(),
            skill: drive.rollout.skill(),
            psnr_db: finite(drive.rollout.psnr_db()),
        },
        baselines: beside.collect(),
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
