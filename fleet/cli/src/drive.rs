//! `shoal drive`

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use shoal_hal::{Conditions, Drive as HalDrive, Network, Part, Split};
use shoal_shadow::baseline::baselines;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{DriveClips, Horizon, Measurement, Report, measure};
use shoal_vehicle::agent::{Agent, Tell};
use shoal_vehicle::config::{Config, EngineKind};
use shoal_vehicle::drives;
use shoal_vehicle::night::{Event, Nominee, Obstacle};

use crate::EngineName;
use crate::output::{Failure, Outcome, Progress, json};

/// Drive one vehicle's roads at speed, tune overnight, and see what it brought.
///
/// Held-out frames are measured before and after, never between. Without drives roads are generated.
///
/// Example: shoal drive vehicle.toml --drives drives
#[derive(Args)]
pub(crate) struct Drive {
    /// The vehicle's configuration
    vehicle: PathBuf,
    /// Directory of drives, instead of the configured ones
    #[arg(long, value_name = "DIR")]
    drives: Option<PathBuf>,
    /// Engine, instead of the configured one
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Seed, instead of the configured one
    #[arg(long)]
    seed: Option<u64>,
    /// A PEFT directory that the staged adapter is written to
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// Machine-readable result on standard output; what happens meanwhile goes to standard error
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; docs/schemas/drive.schema.json describes it.
#[derive(Serialize)]
struct DriveResult {
    schema: u32,
    vehicle: String,
    engine: String,
    seed: u64,
    /// Skill of the set on held-out parts.
    own: BeforeAfter,
    replay: ReplayResult,
    /// Skill of the active adapter and of the staged one on the pack part.
    pack: BeforeAfter,
    staged: bool,
    before: Report,
    after: Report,
}

#[derive(Serialize)]
struct BeforeAfter {
    before: Option<f64>,
    after: Option<f64>,
}

#[derive(Serialize)]
struct ReplayResult {
    spans: usize,
    frames: u64,
    bytes: u64,
}

impl Drive {
    /// Drives, tunes, measures, prints.
    pub(crate) fn run(self) -> Outcome {
        let config = self.config()?;
        let mut agent = Agent::open(config.clone())?;
        let form = agent.form().clone();
        eprintln!("{} with {}, seed {}", config.name, agent.engine(), config.seed);
        let own = drives::open(&config.drives, &form, config.seed)?;
        for skipped in &own.skipped {
            eprintln!("skipped {skipped}");
        }
        let splits: Vec<Split> = own.drives.iter().map(|drive| drive.split(form.context)).collect();
        let held_out = part(&own.drives, &splits, Part::HeldOut, &form);
        let pack = part(&own.drives, &splits, Part::Pack, &form);

        eprintln!("measuring the held-out parts of {} drives", own.drives.len());
        let start = agent.active()?;
        let before =
            measure(&mut agent.predictor(start.as_ref(), 8)?, &held_out, Horizon::NextAndRollout)?;
        let mut shown = Shown::new(config.night.steps);
        for (drive, split) in own.drives.iter().zip(&splits) {
            let spans = split.spans(Part::Tuning);
            agent.drive(drive, spans, now_s(), |tell| shown.tell(tell))?;
        }
        agent.night(&pack, parked, |tell| shown.tell(tell))?;
        let tuned = agent.on_trial()?;
        let adapter = tuned.as_ref().or(start.as_ref());
        let after = measure(&mut agent.predictor(adapter, 8)?, &held_out, Horizon::NextAndRollout)?;
        if let (Some(directory), Some(adapter)) = (&self.export, adapter) {
            adapter.write_peft(directory)?;
        }
        let beside = baselines(&form, &held_out, Horizon::NextAndRollout)?;
        let filled = agent.replay();
        let result = DriveResult {
            schema: 1,
            vehicle: config.name,
            engine: agent.engine(),
            seed: config.seed,
            own: BeforeAfter { before: before.skill(), after: after.skill() },
            replay: ReplayResult {
                spans: filled.spans,
                frames: filled.frames,
                bytes: filled.bytes,
            },
            pack: BeforeAfter { before: shown.active, after: shown.best() },
            staged: tuned.is_some(),
            before: Report::of(&before, &beside),
            after: Report::of(&after, &beside),
        };
        if self.json {
            return json(&result);
        }
        table(&result, &before, &after);
        Ok(())
    }

    fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::read(&self.vehicle)?;
        if let Some(directory) = &self.drives {
            config.drives.directory = Some(directory.clone());
        }
        if let Some(engine) = self.engine {
            config.engine.kind = match engine {
                EngineName::Ort => EngineKind::Ort,
                EngineName::Tract => EngineKind::Tract,
            };
        }
        config.seed = self.seed.unwrap_or(config.seed);
        Ok(config)
    }
}

fn part<'a>(
    drives: &'a [HalDrive],
    splits: &'a [Split],
    part: Part,
    form: &Form,
) -> Vec<DriveClips<'a>> {
    let pairs = drives.iter().zip(splits);
    pairs.map(|(drive, split)| DriveClips::of_part(drive, split, part, form)).collect()
}

/// A recorded drive has ended: the vehicle stands, on power, cool.
fn parked() -> Conditions {
    Conditions {
        parked: true,
        external_power: true,
        battery_soc_percent: 80,
        temperature_c: 30,
        network: Network::None,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program knows the time; what it drives is told it"
)]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// What is shown while the vehicle works, and what is remembered of it.
struct Shown {
    progress: Progress,
    drive: String,
    surprise: f32,
    loss: f32,
    steps: u32,
    active: Option<f64>,
    candidates: Vec<(u32, f64)>,
}

impl Shown {
    fn new(steps: u32) -> Self {
        Shown {
            progress: Progress::new(),
            drive: String::new(),
            surprise: f32::NAN,
            loss: f32::NAN,
            steps,
            active: None,
            candidates: Vec::new(),
        }
    }

    fn best(&self) -> Option<f64> {
        self.candidates.iter().map(|(_, skill)| *skill).max_by(f64::total_cmp)
    }

    fn tell(&mut self, tell: Tell<'_>) {
        match tell {
            Tell::Moment { drive, index, of, surprise, rank, replay } => {
                if self.drive != drive {
                    self.drive = drive.to_owned();
                    (self.progress, self.surprise) = (Progress::new(), f32::NAN);
                }
                self.surprise = smooth(self.surprise, surprise, 0.9);
                let rank = rank.map_or("-".into(), |rank| format!("{:.0} %", 100.0 * rank));
                let text = format!(
                    "{drive}: surprise {:.2} (rank {rank}), replay {} spans, {} frames, {:.1} MB",
                    self.surprise,
                    replay.spans,
                    replay.frames,
                    replay.bytes as f64 / 1e6
                );
                self.progress.show(index as u64, of as u64, text);
            }
            Tell::Trained { step, of, loss } => {
                self.loss = smooth(self.loss, Some(loss), 0.9);
                self.progress.show(
                    u64::from(step),
                    u64::from(of),
                    format!("steps, loss {:.4}", self.loss),
                );
            }
            Tell::Measured { nominee, skill } => {
                match nominee {
                    Nominee::Active => self.active = Some(f64::from(skill)),
                    Nominee::Candidate { steps } => self.candidates.push((steps, f64::from(skill))),
                }
                eprintln!("pack skill of {}: {skill:.4}", name(nominee));
            }
            Tell::Night(event) => self.night(event),
            Tell::Trial { trial, active, confirmed } => eprintln!(
                "trial on this drive: error ÷ copy {trial:.4} against {active:.4} of the active: {}",
                if confirmed { "confirmed" } else { "rolled back" }
            ),
            Tell::NotStored(error) => {
                eprintln!("a span was not stored: {}", Failure::from(error.to_string()))
            }
            Tell::Unreadable(error) => eprintln!("left out: {error}"),
            Tell::TrainingFailed(error) => eprintln!("training failed: {error}"),
        }
    }

    fn night(&mut self, event: Event) {
        match event {
            Event::Began { steps } => {
                self.progress = Progress::new();
                eprintln!("parked: the night begins at step {steps} of {}", self.steps);
            }
            Event::Waiting(obstacle) => eprintln!("waiting: {}", waits_for(obstacle)),
            Event::Staged { steps, value, active } => {
                eprintln!("staged: after {steps} steps, pack skill {value:.4} against {active:.4}");
            }
            Event::Kept { best, active } => {
                let best = best.map_or("none".into(), |best| format!("{best:.4}"));
                eprintln!("nothing better: best candidate {best}, active {active:.4}");
            }
            Event::TrainingFailed => eprintln!("the night ends early"),
        }
    }
}

fn smooth(before: f32, value: Option<f32>, keep: f32) -> f32 {
    match value {
        Some(value) if before.is_nan() => value,
        Some(value) => keep * before + (1.0 - keep) * value,
        None => before,
    }
}

fn name(nominee: Nominee) -> String {
    match nominee {
        Nominee::Active => "the active adapter".into(),
        Nominee::Candidate { steps } => format!("the candidate after {steps} steps"),
    }
}

fn waits_for(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Driving => "the vehicle is driven",
        Obstacle::Power => "no external power and too little charge",
        Obstacle::Temperature => "the computer is too warm",
        Obstacle::Replay => "replay holds too few clips",
    }
}

fn table(result: &DriveResult, before: &Measurement, after: &Measurement) {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    println!("\nskill on held-out frames (1 − error ÷ error of 'nothing moves')");
    println!(
        "{:34} {:>5} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6}",
        "drive", "clips", "before", "after", "gain", "5 steps", "blur", "block"
    );
    for (old, new) in result.before.drives.iter().zip(&result.after.drives) {
        let gain = old.skill.zip(new.skill).map(|(old, new)| new - old);
        let beside: Vec<String> =
            new.baselines.iter().map(|b| format!("{:>6}", figure(b.skill))).collect();
        println!(
            "{:34} {:5} {:>7} {:>7} {:>7} {:>8} {}{}",
            new.name,
            new.clips,
            figure(old.skill),
            figure(new.skill),
            gain.map_or("-".into(), |gain| format!("{gain:+.3}")),
            figure(new.rollout.skill),
            beside.join(" "),
            if new.counted { "" } else { "  (hardly moves: not counted)" }
        );
    }
    let (old, new) = (result.own.before, result.own.after);
    println!(
        "own skill, mean of {} counted drives: {} before, {} after tuning",
        result.after.counted,
        figure(old),
        figure(new)
    );
    if let Some(interval) = after.difference(before, 200, result.seed) {
        println!(
            "difference {:+.4}, 95 % interval {:+.4} … {:+.4} (clips in blocks of a second)",
            interval.mean, interval.low, interval.high
        );
    }
}
