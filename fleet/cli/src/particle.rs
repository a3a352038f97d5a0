//! `shoal particle …`

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use shoal_hal::{Part, Split};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::load_predictor;
use shoal_shadow::form::Form;
use shoal_shadow::measure::{DriveClips, Horizon, Measurement, measure};
use shoal_shadow::stats::Interval;
use shoal_vehicle::exchange::weights::{About, Coded, code};
use shoal_wire::coding::Quality;
use shoal_wire::v1::{BITS_MAX, PARTICLE_HEADER_BYTES_MAX, Role};
use shoal_wire::{LayoutHash, ModelHash, SecretKey, seal};

use crate::model::bake::read_adapter;
use crate::output::{Failure, Outcome, json};
use crate::{EngineArgs, PackageArgs, data};

/// Draws of the interval of what is lost.
const DRAWS: usize = 200;

/// Of the page that lists these commands.
pub(crate) const EXAMPLES: &str = "\
Examples:
  shoal particle cost models/world trial/vehicle-0/state/windows/9/best --data drives";

/// Look at particles.
#[derive(Subcommand)]
pub(crate) enum Particle {
    Cost(Cost),
}

impl Particle {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Particle::Cost(command) => command.run(),
        }
    }
}

/// What an adapter costs on the air at 8 to 1 bits a value, and what coding it loses.
///
/// The adapter is coded as best is: once, its difference to the start adapter, without what earlier windows kept
/// back. Skill is that of the held-out parts; what is lost is paired over the same clips.
///
/// Example: shoal particle cost models/world trial/vehicle-0/state/windows/9/best --data drives
#[derive(Args)]
pub(crate) struct Cost {
    #[command(flatten)]
    package: PackageArgs,
    /// A PEFT directory or an .onnx_adapter file
    adapter: PathBuf,
    /// Directory of drives
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Seed of the start adapter, as the fleet's swarm document has it (`shoal fleet init --seed`)
    #[arg(long, value_name = "N", default_value_t = 0)]
    start_seed: u64,
    /// Machine-readable
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What `--json` prints; docs/schemas/particle-cost.schema.json describes it.
#[derive(Serialize)]
struct Report {
    schema: u32,
    /// Bytes of the adapter's values as float32.
    float32_bytes: usize,
    /// Skill of the adapter as it is; null without a counted drive.
    skill: Option<f64>,
    coded: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    bits: u8,
    /// Header and chunks.
    bytes: usize,
    /// `bytes` ÷ `float32_bytes`.
    ratio: f64,
    skill: Option<f64>,
    /// Skill of the adapter as it is less that of what is received.
    lost: Option<Interval>,
}

impl Cost {
    fn run(self) -> Outcome {
        let package = self.package.open()?;
        let description = package.description();
        let form = Form::of(description)?;
        let model = Model::read(&package.model_path())?;
        let adapter = read_adapter(&model, &self.adapter)?;
        let engine = self.engine.open()?;
        let drives = data::recorded(&self.data, form.shape, form.rate_hz, Some(form.context))?;
        let splits: Vec<Split> = drives.iter().map(|drive| drive.split(form.context)).collect();
        let clips: Vec<DriveClips<'_>> = drives
            .iter()
            .zip(&splits)
            .map(|(drive, split)| DriveClips::of_part(drive, split, Part::HeldOut, &form))
            .collect();
        let skill = |adapter: &Adapter| -> Result<Measurement, Failure> {
            let threads = self.engine.threads();
            let mut predictor =
                load_predictor(&model, description, &*engine, threads, Some(adapter), 8)?;
            Ok(measure(&mut predictor, &clips, Horizon::Next)?)
        };
        let whole = skill(&adapter)?;
        let start = Adapter::start(Arc::clone(adapter.layout()), self.start_seed);
        let float32_bytes = 4 * adapter.values().len();
        let mut coded = Vec::new();
        for bits in (1..=BITS_MAX).rev() {
            let (received, bytes) = receive(&adapter, &start, bits)?;
            let measured = skill(&received)?;
            coded.push(Row {
                bits,
                bytes,
                ratio: bytes as f64 / float32_bytes as f64,
                skill: measured.skill(),
                lost: whole.difference(&measured, DRAWS, 0),
            });
        }
        let report = Report { schema: 1, float32_bytes, skill: whole.skill(), coded };
        if self.json { json(&report) } else { table(&report) }
    }
}

/// An adapter as a particle of this model, at so many bits a value: its difference to the start adapter, coded once.
pub(crate) fn as_particle(
    adapter: &Adapter,
    start: &Adapter,
    base_model: ModelHash,
    bits: u8,
) -> Result<Coded, Failure> {
    let layout = adapter.layout();
    let about = About {
        role: Role::Best,
        window: 0,
        base_model,
        layout: LayoutHash::new(layout.hash()),
        anchor: None,
        inputs: Vec::new(),
    };
    let pairs = adapter.values().iter().zip(start.values());
    let difference = pairs.map(|(value, start)| value - start).collect();
    let tensors: Vec<u32> = layout.factors().map(|factor| factor.range.len() as u32).collect();
    let quality = Quality::new(bits).ok_or("no such number of bits")?;
    Ok(code(about, difference, &tensors, quality)?)
}

/// What others receive of an adapter at so many bits a value, and bytes of header and chunks.
fn receive(adapter: &Adapter, start: &Adapter, bits: u8) -> Result<(Adapter, usize), Failure> {
    let coded = as_particle(adapter, start, ModelHash::new([0; 32]), bits)?;
    let chunks: usize = coded.chunks.iter().map(Vec::len).sum();
    let values = start.values().iter().zip(&coded.received).map(|(start, more)| start + more);
    let received = Adapter::from_values(Arc::clone(adapter.layout()), values.collect())?;
    let mut header = [0; PARTICLE_HEADER_BYTES_MAX];
    // Whoever signs it, it is as long.
    let header = seal(&coded.header, 0, 0, &SecretKey::from_seed(&[0; 32]), &mut header)?;
    Ok((received, chunks + header.bytes().len()))
}

fn table(report: &Report) -> Outcome {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    println!(
        "float32  {:>9} bytes              skill {}",
        report.float32_bytes,
        figure(report.skill)
    );
    for Row { bits, bytes, ratio, skill, lost } in &report.coded {
        let lost = lost.as_ref().map_or("-".into(), |lost| {
            format!("{:+.4} (95 % {:+.4} … {:+.4})", lost.mean, lost.low, lost.high)
        });
        println!(
            "{bits} bits   {bytes:>9} bytes  1/{:<6.1}  skill {}  lost {lost}",
            1.0 / ratio,
            figure(*skill)
        );
    }
    Ok(())
}
