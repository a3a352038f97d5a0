//! One vehicle's day and night, measured from outside before and after.

use std::path::Path;

use image::ImageFormat;
use serde::Serialize;
use shoal_hal::backend::recorded::write_split_json;
use shoal_hal::{Drive, Part, Split};
use shoal_runtime::adapter::{Adapter, OnnxAdapter};
use shoal_shadow::baseline::baselines;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{Horizon, Measurement, Report};
use shoal_shadow::pack::{self, Acted, Metric, Pack, PackOptions};
use shoal_shadow::stats::Interval;
use shoal_vehicle::agent::Agent;
use shoal_vehicle::config::Config;
use shoal_vehicle::drives;
use shoal_vehicle::exchange::look::Look;

use super::picture;
use super::shown::Shown;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};
use crate::yardstick::{HeldOut, check_pack, metric_of};

/// Draws of the interval of the difference.
const DRAWS: usize = 200;

/// What `--json` prints; docs/schemas/drive.schema.json describes it.
#[derive(Serialize)]
pub(crate) struct DriveResult {
    pub(crate) schema: u32,
    /// What is measured: `skill` of a world model, `imitation` of a policy.
    pub(crate) metric: &'static str,
    pub(crate) vehicle: String,
    pub(crate) engine: String,
    pub(crate) seed: u64,
    /// Skill of the set on held-out parts.
    pub(crate) own: BeforeAfter,
    /// Paired difference of the two, clips resampled in blocks of a second.
    pub(crate) difference: Option<Interval>,
    pub(crate) looked: Looked,
    pub(crate) replay: ReplayResult,
    /// Skill of the active adapter and of the best candidate on the evaluation pack.
    pub(crate) pack: BeforeAfter,
    /// Whether an adapter was staged.
    pub(crate) staged: bool,
    /// Whether there is one to export: staged, or else in use.
    #[serde(skip)]
    pub(crate) has_adapter: bool,
    pub(crate) before: Report,
    pub(crate) after: Report,
}

/// A skill before and after tuning; null without a counted drive.
#[derive(Serialize)]
pub(crate) struct BeforeAfter {
    pub(crate) before: Option<f64>,
    pub(crate) after: Option<f64>,
}

/// How many frames there were to look at.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Looked {
    pub(crate) frames: u64,
    /// Frames that were kept without a look, so that the vehicle's computer stays within its budget.
    pub(crate) shed: u64,
}

/// What replay held at the end.
#[derive(Serialize)]
pub(crate) struct ReplayResult {
    pub(crate) spans: usize,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

/// What a run takes and leaves beside its result.
#[derive(Default)]
pub(crate) struct Extras<'a> {
    /// The evaluation pack; without one it is built of the pack parts of the vehicle's drives.
    pub(crate) pack: Option<&'a Path>,
    /// Where the adapter goes, if there is one.
    pub(crate) export: Option<&'a Path>,
    /// Where a picture of predicted and seen frames goes.
    pub(crate) picture: Option<&'a Path>,
}

/// Drives, tunes and measures. Held-out frames are measured before and after, never between.
pub(crate) fn run(config: &Config, extras: &Extras<'_>) -> Result<DriveResult, Failure> {
    check_places(extras)?;
    let mut agent = Agent::open(asked_nothing(config.clone()))?;
    let form = agent.form().clone();
    eprintln!("{} with {}, seed {}", config.name, agent.engine(), config.seed);
    let own = drives::open(&config.drives, &config.geometry, &form, config.seed)?;
    for skipped in &own.skipped {
        eprintln!("skipped {skipped}");
    }
    let split_file = config.state.join("split.json");
    write_split_json(&split_file, &own.drives, &own.skipped, form.context)?;
    let splits: Vec<Split> = own.drives.iter().map(|drive| drive.split(form.context)).collect();
    let metric = metric_of(agent.description());
    if extras.picture.is_some() && metric != Metric::Skill {
        return Err("--picture shows predicted frames, and this package foresees none".into());
    }
    let held_out = HeldOut::of(&own.drives, &splits, (&form, metric), config.geometry);
    let pack = match extras.pack {
        Some(path) => Pack::open(path)?,
        None => own_pack(config, &own.drives, &form, metric)?,
    };
    check_pack(pack.manifest().metric, metric)?;
    let footages = pack.read(&pack.parts())?;

    eprintln!("measuring the held-out parts of {} drives", own.drives.len());
    let start = agent.active()?;
    let yardstick = held_out.yardstick();
    let measure = |agent: &Agent, adapter: Option<&Adapter>| {
        let (package, engine) = (agent.parts(), agent.runs_on());
        yardstick.measure(package, engine, adapter, Horizon::NextAndRollout)
    };
    let before = measure(&agent, start.as_ref())?;
    let mut shown = Shown::new(config.night.steps);
    agent.forget_old(utc_ms()? / 1000)?;
    for (drive, split) in own.drives.iter().zip(&splits) {
        let now_s = utc_ms()? / 1000;
        agent.drive(drive, split.spans(Part::Tuning), now_s, |tell| shown.tell(tell))?;
    }
    agent.night(&footages, || Look::recorded().conditions, |tell| shown.tell(tell))?;
    let tuned = agent.on_trial()?;
    // Driving may have confirmed one that was on trial.
    let now = agent.active()?;
    let adapter = tuned.as_ref().or(now.as_ref());
    let after = measure(&agent, adapter)?;
    if let (Some(directory), Some(adapter)) = (extras.export, adapter) {
        adapter.write(directory)?;
    }
    if let Some(path) = extras.picture {
        let (mut old, mut new) =
            (agent.predictor(start.as_ref(), 1)?, agent.predictor(adapter, 1)?);
        picture::draw(path, &held_out.clips(), &mut [&mut old, &mut new])?;
    }
    let [old, new] = reports(&form, &held_out, metric, [&before, &after])?;
    let filled = agent.replay();
    Ok(DriveResult {
        schema: 1,
        metric: metric.name(),
        vehicle: config.name.clone(),
        engine: agent.engine(),
        seed: config.seed,
        own: BeforeAfter { before: before.skill(), after: after.skill() },
        difference: after.difference(&before, DRAWS, config.seed),
        looked: shown.looked,
        replay: ReplayResult { spans: filled.spans, frames: filled.frames, bytes: filled.bytes },
        pack: BeforeAfter { before: shown.active, after: shown.best() },
        staged: tuned.is_some(),
        has_adapter: adapter.is_some(),
        before: old,
        after: new,
    })
}

/// Fails where what is asked for beside the result could not be written: after the night it is too late.
fn check_places(extras: &Extras<'_>) -> Outcome {
    if let Some(path) = extras.export {
        let shown = path.display();
        let is_file = OnnxAdapter::is_called_so(path);
        if path.exists() && path.is_dir() == is_file {
            return Err(format!("--export {shown}: an adapter is a file where its name ends in .onnx_adapter, and else a folder: name another").into());
        }
        if is_file {
            check_folder("--export", path)?;
        } else if let Some(above) = path.ancestors().find(|above| above.exists())
            && !above.is_dir()
        {
            return Err(format!("--export {shown}: {} is no folder", above.display()).into());
        }
    }
    if let Some(path) = extras.picture {
        let shown = path.display();
        let known = ImageFormat::from_path(path).is_ok_and(|format| format.writing_enabled());
        if !known || path.is_dir() {
            return Err(format!("--picture {shown}: name a file that ends in .png or .jpg").into());
        }
        check_folder("--picture", path)?;
    }
    Ok(())
}

/// Fails unless the folder of this file is there.
fn check_folder(flag: &str, path: &Path) -> Outcome {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() && !above.is_dir() => {
            let (path, above) = (path.display(), above.display());
            Err(format!("{flag} {path}: {above} is no folder: make it, or name another").into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Reports of two measurements, each beside what nobody needs to learn.
fn reports(
    form: &Form,
    held_out: &HeldOut<'_>,
    metric: Metric,
    measured: [&Measurement; 2],
) -> Result<[Report; 2], Failure> {
    match metric {
        Metric::Skill => {
            let beside = baselines(form, &held_out.clips(), Horizon::NextAndRollout)?;
            Ok(measured.map(|measured| Report::of(measured, &beside)))
        }
        Metric::Imitation => Ok(measured.map(|measured| {
            let mut report = Report::of(measured, &[]);
            for drive in &mut report.drives {
                // A distance between actions is no error of a picture.
                (drive.psnr_db, drive.copy_psnr_db, drive.copy_psnr_db_whole) = (None, None, None);
            }
            report
        })),
    }
}

/// Whoever runs the command owns the drives: the pack is theirs to make.
fn own_pack(
    config: &Config,
    drives: &[Drive],
    form: &Form,
    metric: Metric,
) -> Result<Pack, Failure> {
    let path = config.state.join("pack");
    if path.exists() {
        std::fs::remove_dir_all(&path)
            .map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
    }
    let options = PackOptions {
        id: "own-roads".into(),
        version: 1,
        licence: "as the drives".into(),
        context: form.context,
    };
    match metric {
        Metric::Skill => pack::build(drives, &options, &path)?,
        Metric::Imitation => {
            let acted = drives.iter().map(|drive| Acted::of(drive, config.geometry));
            pack::build_imitation(drives, &acted.collect::<Vec<_>>(), &options, &path)?
        }
    };
    Ok(Pack::open(&path)?)
}

/// Nobody asks a drive that was recorded how warm its computer is or how far it is charged: what a night of it waited for would never
/// come.
fn asked_nothing(mut config: Config) -> Config {
    (config.night.temperature_max_c, config.night.battery_soc_min_percent) = (i16::MAX, 0);
    let obstacle = config.plan().obstacle(&Look::recorded().conditions);
    assert_eq!(obstacle, None, "a recorded night waits for nothing");
    config
}
