//! `shoal campaign new`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use shoal_link::Addresses;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::onnx::Model;
use shoal_shadow::package::Package;
use shoal_swarm::campaign::{ALL, Plan, RejectPlan, Stage, Watch};
use shoal_wire::v1::{BITS_MAX, SwarmDocumentFields};
use shoal_wire::{Kind, LayoutHash, ModelHash, ParticleId, seal};

use super::best;
use super::folder::{Folder, Particle, describe};
use crate::fleet::{self, Description};
use crate::model::bake::read_adapter;
use crate::output::{Failure, Outcome};
use crate::particle::as_particle;

/// Make a campaign of what the fleet elected best, or of an adapter.
///
/// DIR/campaigns/N gets the plan and the particle, which the authority signs anew: its name stays the one that the voters
/// measured. Nothing happens until a second key has approved it (`shoal campaign approve`) and it is begun (`start`).
///
/// Example: shoal campaign new trial --stages 5,30,100 --moments 3000
#[derive(Args)]
pub(crate) struct New {
    /// The fleet's directory, with authority.key
    dir: PathBuf,
    /// Promote this adapter (a PEFT directory or an .onnx_adapter file) in place of what is best
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The package of the model that the adapter is for
    #[arg(long, value_name = "PACKAGE", default_value = "models/world")]
    package: PathBuf,
    /// Share of the fleet that has begun when each stage is open, in per cent, growing
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "5,30,100")]
    stages: Vec<f64>,
    /// The next stage opens when so many of one keep the adapter, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 80.0)]
    kept: f64,
    /// The campaign halts when more of one stage have gone back, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    gone_back: f64,
    /// Moments that a vehicle watches
    #[arg(long, value_name = "N", default_value_t = 3000)]
    moments: u32,
    /// Skill that the adapter may lose on a vehicle's roads
    #[arg(long, value_name = "SKILL", default_value_t = 0.002)]
    worse: f64,
    /// How far apart from the active one it may predict: a share of what moves
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    apart: f64,
    /// How many times as long it may take
    #[arg(long, value_name = "TIMES", default_value_t = 1.5)]
    latency: f64,
    /// The broker, or its nodes with commas between them, if not the one in fleet.toml
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
    /// The region whose vehicles it is for, of a fleet that has several
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Directory of authority.pem, certificate.pem and key.pem, for a broker with TLS
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
}

/// Who loses more of skill foresees with more than twice the error of 'nothing moves', however good the one before was.
const WORSE_MAX: f64 = 2.0;

impl New {
    pub(crate) fn run(self) -> Outcome {
        let (description, _held) = Description::hold(&self.dir)?;
        let description = description.at_one(self.region.as_deref())?;
        let key = fleet::authority_key(&self.dir, &description)?;
        let number = Folder::next_number(&self.dir)?;
        let limits = self.limits(number, &description)?;
        let particle = match &self.adapter {
            Some(adapter) => self.coded(adapter, &description)?,
            None => {
                let broker = self.broker.clone().map_or_else(|| description.broker.parse(), Ok)?;
                best::fetch(&description, broker, self.certificates.as_deref())?
            }
        };
        let fields = particle.header.fields();
        let plan = Plan {
            particle: particle.header.id(),
            base_model: fields.base_model,
            layout: fields.layout,
            ..limits
        };
        let mut buffer = vec![0; Kind::ParticleHeader.envelope_bytes_max()];
        let counter = fleet::newest_counter(&self.dir, key.public().id())? + 1;
        let header = seal(&particle.header, counter, u64::MAX, &*key, &mut buffer)?;
        Folder::of(&self.dir, number).create(&plan, header.bytes(), &particle)?;
        print!("{}", describe(&plan));
        if let Some(last) = plan.stages.last().filter(|last| last.share < ALL) {
            let share = f64::from(last.share) / 10.0;
            eprintln!("warning: the last stage is {share} % of the fleet: the others never begin");
        }
        println!("to be approved by whoever has the approver's key: {}", self.next_step(number));
        Ok(())
    }

    /// The command that comes next, as a shell takes it.
    fn next_step(&self, number: u32) -> String {
        let [dir, key] = [self.dir.clone(), self.dir.join("approver.key")]
            .map(|path| quoted(&path.to_string_lossy()));
        format!("shoal campaign approve {dir} {number} --key {key}")
    }

    /// A plan of what was asked for, in which no particle is named: nobody is asked for one before it is known to be of use.
    fn limits(&self, number: u32, description: &Description) -> Result<Plan, Failure> {
        self.check_use()?;
        let per_mille = |per_cent: f64| part(per_cent, 10.0, 1_000, "a share in per cent");
        let (kept_min, gone_back_max) = (per_mille(self.kept)?, per_mille(self.gone_back)?);
        let stages = self
            .stages
            .iter()
            .map(|share| Ok(Stage { share: per_mille(*share)?, kept_min, gone_back_max }))
            .collect::<Result<Vec<Stage>, Failure>>()?;
        let plan = Plan {
            number,
            fleet: description.name.clone(),
            region: description.region.clone(),
            particle: ParticleId::new([0; 32]),
            base_model: ModelHash::new([0; 32]),
            layout: LayoutHash::new([0; 32]),
            stages,
            watch: Watch {
                moments_min: self.moments,
                worse_max: part(self.worse, 1e4, u16::MAX, "--worse")?,
                apart_max: part(self.apart, 1e4, u16::MAX, "--apart")?,
                latency_max: part(self.latency, 1e3, u16::MAX, "--latency")?,
            },
        };
        plan.check().map_err(wrong_plan)?;
        Ok(plan)
    }

    /// Fails where no vehicle could keep the adapter, or where a limit holds nothing back.
    fn check_use(&self) -> Outcome {
        let least = |figure: f64, parts: f64| (figure * parts).round() < 1.0;
        let wrong = [
            (
                "--latency",
                least(self.latency, 1e3),
                "no vehicle could keep the adapter: everything takes some time",
            ),
            (
                "--apart",
                least(self.apart, 1e4),
                "no vehicle could keep the adapter: another one predicts otherwise",
            ),
            (
                "--kept",
                least(self.kept, 10.0),
                "every stage would open at once, though nobody keeps the adapter",
            ),
            ("--worse", self.worse > WORSE_MAX, "it guards nothing: skill is 1 at most"),
        ];
        match wrong.into_iter().find(|(_flag, wrong, _why)| *wrong) {
            None => Ok(()),
            Some((flag, _wrong, why)) => Err(format!("{flag}: {why}").into()),
        }
    }

    /// An adapter as a particle: at the most bits, once, for all.
    fn coded(&self, adapter: &Path, description: &Description) -> Result<Particle, Failure> {
        let package = Package::open(&self.package)?;
        let model = Model::read(&package.model_path())?;
        let adapter = read_adapter(&model, adapter)?;
        let swarm: SwarmDocumentFields = fleet::swarm_document(&self.dir, description.authority)?;
        let layout = adapter.layout();
        if LayoutHash::new(layout.hash()) != swarm.layout {
            return Err("the adapter has another layout than the fleet's".into());
        }
        let start = Adapter::start(Arc::clone(layout), swarm.start_seed);
        let coded = as_particle(&adapter, &start, swarm.base_model, BITS_MAX)?;
        Ok(Particle { header: coded.header, chunks: coded.chunks })
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A figure as a whole number of parts.
fn part(figure: f64, parts: f64, most: u16, what: &str) -> Result<u16, Failure> {
    let whole = (figure * parts).round();
    if (0.0..=f64::from(most)).contains(&whole) {
        return Ok(whole as u16);
    }
    Err(format!("{what}: {figure} is not within 0 to {}", f64::from(most) / parts).into())
}

/// Why a plan is none, in the words and units of the flags.
fn wrong_plan(why: RejectPlan) -> Failure {
    let per_cent = |share: u16| f64::from(share) / 10.0;
    match why {
        RejectPlan::Share { stage, share, before } => {
            let (share, before) = (per_cent(share), per_cent(before));
            format!(
                "--stages: stage {stage} is for {share} % of the vehicles and comes after {before} %: each is for more than the one before"
            )
            .into()
        }
        RejectPlan::Stages { .. }
        | RejectPlan::PerMille { .. }
        | RejectPlan::NoMoments
        | RejectPlan::Name(_) => why.into(),
    }
}
