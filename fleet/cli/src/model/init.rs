use std::path::PathBuf;

use clap::Args;
use shoal_runtime::onnx::Model;
use shoal_shadow::package::Description;
use shoal_shadow::policymodel::{self, transformer};
use shoal_shadow::{tokenmodel, worldmodel};

use crate::output::{Failure, Outcome};

/// Write a package with the default world model, untrained; or with one of codes, or the default policy.
///
/// Example: shoal model init world
#[derive(Args)]
pub(crate) struct Init {
    /// The package's directory; it must not exist
    package: PathBuf,
    /// A small model of a camera's frames as codes, as commaVQ has them: 1,024 codes, 128 a frame, 20 frames a second
    #[arg(long)]
    codes: bool,
    /// The default policy: what to do by the frames and the speed, on the action grid
    #[arg(long, conflicts_with = "codes")]
    policy: bool,
    /// With --policy: a small transformer in the place of the convolutional network
    #[arg(long, requires = "policy")]
    transformer: bool,
    /// Seed of the start values
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Init {
    pub(crate) fn run(self) -> Outcome {
        let (model, description) = self.build()?;
        std::fs::create_dir(&self.package)
            .map_err(|error| format!("cannot create {}: {error}", self.package.display()))?;
        model.write(&self.package.join(&description.model))?;
        let file = self.package.join(shoal_shadow::package::DESCRIPTION_FILE);
        std::fs::write(&file, description.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        println!("{}", self.package.display());
        Ok(())
    }

    fn build(&self) -> Result<(Model, Description), Failure> {
        if self.codes {
            let architecture = tokenmodel::Architecture::codes();
            return Ok((tokenmodel::build(&architecture, self.seed)?, tokenmodel::description()));
        }
        if self.transformer {
            let size = transformer::Transformer::default();
            return Ok((transformer::build(&size, self.seed)?, transformer::description(&size)));
        }
        if self.policy {
            let architecture = policymodel::Architecture::default();
            let model = policymodel::build(&architecture, self.seed)?;
            return Ok((model, policymodel::description(&architecture)));
        }
        let architecture = worldmodel::Architecture::default();
        let model = worldmodel::build(&architecture, self.seed)?;
        Ok((model, worldmodel::description(&architecture)))
    }
}
