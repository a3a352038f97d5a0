use std::path::PathBuf;

use clap::Args;
use shoal_shadow::worldmodel::{self, Architecture};

use crate::output::Outcome;

/// Write a package with the default world model, untrained.
///
/// Example: shoal model init world
#[derive(Args)]
pub(crate) struct Init {
    /// The package's directory; it must not exist
    package: PathBuf,
    /// Seed of the start values
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Init {
    pub(crate) fn run(self) -> Outcome {
        let architecture = Architecture::default();
        let model = worldmodel::build(&architecture, self.seed)?;
        std::fs::create_dir(&self.package)
            .map_err(|error| format!("cannot create {}: {error}", self.package.display()))?;
        let description = worldmodel::description(&architecture);
        model.write(&self.package.join(&description.model))?;
        let file = self.package.join(shoal_shadow::package::DESCRIPTION_FILE);
        std::fs::write(&file, description.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        println!("{}", self.package.display());
        Ok(())
    }
}
