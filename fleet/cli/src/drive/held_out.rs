//! The held-out parts of a vehicle's drives, and what its package makes of them: foresight, or imitation.

use shoal_hal::{Drive, Part, Split};
use shoal_runtime::adapter::Adapter;
use shoal_shadow::baseline::baselines;
use shoal_shadow::clip::{Footage, Frames};
use shoal_shadow::measure::imitation::{DriveActs, Habits, imitation, judged};
use shoal_shadow::measure::{DriveClips, Horizon, Measurement, Report, measure};
use shoal_shadow::pack::Metric;
use shoal_vehicle::agent::Agent;

use super::run::held_out;
use crate::output::Failure;

/// Clips for a world model, moments of drivers for a policy that foresees nothing.
pub(super) struct HeldOut<'a> {
    pub(super) clips: Vec<DriveClips<'a>>,
    moments: Vec<Moments>,
}

/// What the driver of one drive did on its held-out frames.
struct Moments {
    name: String,
    spans: Vec<Frames>,
    habits: Habits,
    weights: Vec<Vec<f32>>,
}

impl<'a> HeldOut<'a> {
    pub(super) fn of(agent: &Agent, drives: &'a [Drive], splits: &'a [Split]) -> Self {
        let clips = held_out(drives, splits, agent.form());
        let pairs = drives.iter().zip(splits);
        let moments = pairs.map(|(drive, split)| Moments::of(agent, drive, split));
        let moments = if agent.foresees() { Vec::new() } else { moments.collect() };
        HeldOut { clips, moments }
    }

    /// What is measured.
    pub(super) fn metric(agent: &Agent) -> Metric {
        if agent.foresees() { Metric::Skill } else { Metric::Imitation }
    }

    pub(super) fn measure(
        &self,
        agent: &Agent,
        adapter: Option<&Adapter>,
    ) -> Result<Measurement, Failure> {
        if agent.foresees() {
            let mut predictor = agent.predictor(adapter, 8)?;
            return Ok(measure(&mut predictor, &self.clips, Horizon::NextAndRollout)?);
        }
        let acts: Vec<DriveActs<'_>> =
            self.moments.iter().map(|moments| moments.acts(agent)).collect();
        Ok(imitation(&mut agent.policy(adapter)?, &acts)?)
    }

    /// Reports of measurements, each beside what nobody needs to learn.
    pub(super) fn reports<const N: usize>(
        &self,
        agent: &Agent,
        measured: [&Measurement; N],
    ) -> Result<[Report; N], Failure> {
        if agent.foresees() {
            let beside = baselines(agent.form(), &self.clips, Horizon::NextAndRollout)?;
            return Ok(measured.map(|measured| Report::of(measured, &beside)));
        }
        Ok(measured.map(|measured| {
            let mut report = Report::of(measured, &[]);
            for drive in &mut report.drives {
                // A distance between actions is no error of a picture.
                (drive.psnr_db, drive.copy_psnr_db) = (None, None);
            }
            report
        }))
    }
}

impl Moments {
    fn of(agent: &Agent, drive: &Drive, split: &Split) -> Self {
        let frames = |span: &shoal_hal::Span| {
            let all = span.first..span.last + 1;
            let motion = all.clone().map(|index| drive.motion(index)).collect();
            let bytes = drive.frames(all).to_vec();
            Frames::new(drive.shape, drive.rate_hz, bytes, motion)
        };
        let spans = split.spans(Part::HeldOut).iter().filter_map(|span| frames(span).ok());
        let spans: Vec<Frames> = spans.collect();
        let (habits, weights) = judged(&spans, &agent.config().geometry);
        Moments { name: drive.name.clone(), spans, habits, weights }
    }

    fn acts(&self, agent: &Agent) -> DriveActs<'_> {
        let runs = self.spans.iter().zip(&self.weights);
        DriveActs {
            name: self.name.clone(),
            copy_psnr_db: 0.0,
            geometry: agent.config().geometry,
            habits: &self.habits,
            runs: runs.map(|(run, weights)| (run as &dyn Footage, weights.as_slice())).collect(),
        }
    }
}
