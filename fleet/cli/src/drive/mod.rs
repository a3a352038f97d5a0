//! `shoal drive`

mod picture;
pub(crate) mod run;
mod shown;
mod table;

use std::path::{Path, PathBuf};

use clap::Args;
use shoal_vehicle::config::{Config, EngineKind};

use crate::EngineName;
use crate::output::{Failure, Outcome, json};

/// Drive one vehicle's roads at speed, tune overnight, and see what it brought.
///
/// Held-out frames are measured before and after, never between: a world model by what it foresees, a policy by how near to the
/// driver it is. Without drives roads are generated.
///
/// Example: shoal drive vehicle.toml --drives drives
#[derive(Args)]
pub(crate) struct Drive {
    #[command(flatten)]
    vehicle: VehicleArgs,
    /// Evaluation pack; without one it is built of the pack parts of the drives
    #[arg(long, value_name = "PACK")]
    pack: Option<PathBuf>,
    /// Where the adapter goes that was staged, or else the one in use: a PEFT directory, or a file of ONNX Runtime if it ends in
    /// .onnx_adapter. Where there is neither the command fails when it has said what came of the night
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// A PNG of one held-out clip of each drive, a row each: the last frame, predicted before tuning, predicted
    /// after it, what came, and the error after it (enlarged four times, gray is none)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Machine-readable result on standard output; what happens meanwhile goes to standard error
    #[arg(long)]
    json: bool,
}

/// A vehicle's configuration, and what replaces parts of it.
#[derive(Args, Clone)]
pub(crate) struct VehicleArgs {
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
}

impl VehicleArgs {
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::read(&self.vehicle)?;
        if config.camera.is_some() && self.drives.is_none() {
            return Err(camera_drives_nothing(&self.vehicle, "--drives DIR"));
        }
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

/// What a vehicle with a camera drives is what happens: its table `[drives]` is not read, and nothing here has footage of it.
pub(crate) fn camera_drives_nothing(vehicle: &Path, instead: &str) -> Failure {
    let file = vehicle.display();
    format!("{file}: [camera]: what it sees is driven, and [drives] is not read: name footage ({instead})").into()
}

impl Drive {
    /// Drives, tunes, measures, prints.
    pub(crate) fn run(self) -> Outcome {
        let config = self.vehicle.config()?;
        let result = run::run(&config, &self.extras())?;
        if self.json {
            json(&result)?;
        } else {
            table::print(&result);
        }
        if let Some(path) = self.export.as_ref().filter(|_path| !result.has_adapter) {
            return Err(format!(
                "nothing was written to {}: no adapter is in use, and the night staged none; a longer night ([night] steps) may find one",
                path.display()
            )
            .into());
        }
        Ok(())
    }

    fn extras(&self) -> run::Extras<'_> {
        run::Extras {
            pack: self.pack.as_deref(),
            export: self.export.as_deref(),
            picture: self.picture.as_deref(),
        }
    }
}
