//! `shoal pack …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use shoal_hal::Drive;
use shoal_shadow::form::Form;
use shoal_shadow::pack::{self, Pack, PackOptions};
use shoal_shadow::package::Package;
use shoal_vehicle::config::Config;
use shoal_vehicle::drives;

use crate::data;
use crate::output::{Failure, Outcome};

/// Make and check evaluation packs.
#[derive(Subcommand)]
pub(crate) enum PackCommand {
    /// Build a pack of the pack parts of drives
    Build(Build),
    /// Read a pack whole and check every hash
    Check(Check),
}

impl PackCommand {
    pub(crate) fn run(self) -> Outcome {
        match self {
            PackCommand::Build(command) => command.run(),
            PackCommand::Check(command) => command.run(),
        }
    }
}

/// Build a pack of the pack parts of drives. It counts once an authority has signed it: `shoal fleet init`.
///
/// Example: shoal pack build drives -o pack
#[derive(Args)]
pub(crate) struct Build {
    /// Directory of drives that the authority owns
    #[arg(required_unless_present = "vehicle", conflicts_with = "vehicle")]
    drives: Option<PathBuf>,
    /// A vehicle's configuration: the drives of it and of all that share them with it, recorded or generated
    #[arg(long, value_name = "FILE")]
    vehicle: Option<PathBuf>,
    /// The pack's directory; it must not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Package of the model that is measured on it: its frame size, rate and past frames
    #[arg(long, value_name = "PACKAGE", default_value = "models/world")]
    package: PathBuf,
    /// Name of the pack
    #[arg(long, default_value = "pack")]
    id: String,
    /// Version of the pack
    #[arg(long, default_value_t = 1)]
    version: u32,
    /// Licence of the footage
    #[arg(long, default_value = "unknown")]
    licence: String,
}

impl Build {
    fn run(self) -> Outcome {
        let package = Package::open(&self.package)?;
        let form = Form::of(package.description())?;
        let drives = self.drives(&form)?;
        let options = PackOptions {
            id: self.id,
            version: self.version,
            licence: self.licence,
            context: form.context,
        };
        let manifest = pack::build(&drives, &options, &self.output)?;
        for (index, part) in manifest.parts.iter().enumerate() {
            println!("part {index}: {} runs, {} bytes", part.runs.len(), part.bytes);
        }
        println!("{}", self.output.display());
        Ok(())
    }
}

impl Build {
    fn drives(&self, form: &Form) -> Result<Vec<Drive>, Failure> {
        if let Some(directory) = &self.drives {
            return data::recorded(directory, form.shape, form.rate_hz, Some(form.context));
        }
        let file = self.vehicle.as_deref().ok_or("no drives are named")?;
        let Config { mut drives, seed, .. } = Config::read(file)?;
        (drives.vehicle, drives.vehicles) = (0, 1);
        let opened = drives::open(&drives, form, seed)?;
        for skipped in &opened.skipped {
            eprintln!("skipped {skipped}");
        }
        Ok(opened.drives)
    }
}

/// Read a pack whole and check every hash.
///
/// Example: shoal pack check pack
#[derive(Args)]
pub(crate) struct Check {
    /// The pack's directory
    pack: PathBuf,
}

impl Check {
    fn run(self) -> Outcome {
        let pack = Pack::open(&self.pack)?;
        let footages = pack.read(&pack.parts())?;
        let manifest = pack.manifest();
        println!(
            "{} version {}: {} drives in {} parts, every hash holds",
            manifest.id,
            manifest.version,
            footages.drives().len(),
            pack.parts().len()
        );
        Ok(())
    }
}
