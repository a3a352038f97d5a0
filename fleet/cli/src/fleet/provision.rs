//! `shoal fleet provision`

use std::path::{Path, PathBuf};

use clap::Args;
use shoal_keys::KeyAt;
use shoal_link::Addresses;
use shoal_vehicle::config::Config;

use super::description::Description;
use super::init::{CERTIFICATES, KEY, cannot_make};
use super::toml::vehicle;
use crate::output::{Failure, Outcome};

/// The folder of the vehicle's keys: who runs the agent may put the next one in the place of the one before.
const KEYS: &str = "keys";

/// Collect what lies on one vehicle's computer: one folder, in which nothing points out of it.
///
/// Its vehicle.toml, its key and certificates, the evaluation pack, recorded drives if it replays some, the DBC file of its bus, what looks on beside the model, and the model's
/// package unless that is on the vehicle already.
///
/// Example: shoal fleet provision trial 0 -o equipped --package /usr/share/shoal/world
#[derive(Args)]
pub(crate) struct Provision {
    /// The fleet's directory
    dir: PathBuf,
    /// The vehicle's number
    number: u32,
    /// The folder to make
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Where the package is on the vehicle; without it, it is copied
    #[arg(long, value_name = "PATH")]
    package: Option<PathBuf>,
    /// The broker, as the vehicle reaches it
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
}

impl Provision {
    pub(crate) fn run(self) -> Outcome {
        let from = self.dir.join(format!("vehicle-{}", self.number));
        let file = from.join("vehicle.toml");
        if !file.exists() {
            let there = Description::read(&self.dir)?.vehicles.saturating_sub(1);
            let missing = file.display();
            return Err(
                format!("there is no {missing}: vehicles of this fleet are 0 to {there}").into()
            );
        }
        let mut config = Config::read(&file)?;
        let fleet = config
            .fleet
            .as_mut()
            .ok_or_else(|| format!("{} has no table [fleet]", file.display()))?;
        if let Some(broker) = &self.broker {
            fleet.broker = broker.to_string();
        }
        let broker: Addresses = fleet.broker.parse()?;
        if broker.tls() && fleet.certificates.is_none() {
            let named = file.display();
            return Err(format!(
                "{broker} needs certificates: name their folder in {named}, [fleet] certificates"
            )
            .into());
        }
        std::fs::create_dir(&self.output).map_err(|error| cannot_make(&self.output, &error))?;
        let collected = self.collect(config);
        if collected.is_err() {
            // What is there now is ours, and no use to anybody.
            let _removed = std::fs::remove_dir_all(&self.output);
        }
        collected
    }

    fn collect(&self, mut config: Config) -> Outcome {
        let mut bytes = 0;
        std::fs::create_dir(self.output.join(KEYS))?;
        let mut take = |from: &mut PathBuf, name: &str| {
            bytes += copy(from, &self.output.join(name))?;
            *from = name.into();
            Ok::<(), Failure>(())
        };
        if let Some(fleet) = &mut config.fleet {
            // What is in a token stays there.
            if let KeyAt::File(key) = &mut fleet.key {
                take(key, &format!("{KEYS}/{KEY}"))?;
            }
            if let Some(KeyAt::File(key)) = &mut fleet.next_key {
                take(key, &format!("{KEYS}/{KEY}.next"))?;
            }
            for (number, pack) in fleet.packs.iter_mut().enumerate() {
                let name = if number == 0 { "pack".into() } else { format!("pack-{number}") };
                take(pack, &name)?;
            }
            if let Some(trust) = &mut fleet.trust {
                take(trust, "trust")?;
            }
            if let Some(certificates) = &mut fleet.certificates {
                take(certificates, CERTIFICATES)?;
            }
        }
        if let Some(drives) = &mut config.drives.directory {
            take(drives, "drives")?;
        }
        if let Some(can) = &mut config.can {
            take(&mut can.dbc, "car.dbc")?;
        }
        if let Some(beside) = &mut config.model.beside {
            take(beside, "beside")?;
        }
        match &self.package {
            Some(package) => config.model.package.clone_from(package),
            None => take(&mut config.model.package, "model")?,
        }
        config.state = "state".into();
        // This computer's library is not the vehicle's.
        config.engine.library = None;
        config.engine.providers.cache = None;
        let toml = vehicle(&config, |path| Ok(path.to_path_buf()))?;
        std::fs::write(self.output.join("vehicle.toml"), toml)?;
        readable(&self.output)?;
        println!("{}: {bytes} bytes and a vehicle.toml in {}", config.name, self.output.display());
        Ok(())
    }
}

/// Of what lies in the folder of certificates this is for everybody to read.
const OPEN: [&str; 2] = ["authority.pem", "certificate.pem"];

/// Whoever runs the agent may read what it is told, and nobody else its keys: not for a moment, for a command can be ended at any.
fn readable(output: &Path) -> std::io::Result<()> {
    let (keys, certificates) = (output.join(KEYS), output.join(CERTIFICATES));
    allow_all(output, &|path| {
        if path.starts_with(&keys) {
            return false;
        }
        let open = OPEN.iter().any(|name| path.file_name().is_some_and(|file| file == *name));
        path.is_dir() || !path.starts_with(&certificates) || open
    })
}

/// Gives all in a folder to everybody, or to its owner alone.
fn allow_all(path: &Path, is_open: &impl Fn(&Path) -> bool) -> std::io::Result<()> {
    let open = is_open(path);
    if !path.is_dir() {
        return allow(path, if open { 0o644 } else { 0o600 });
    }
    for inside in std::fs::read_dir(path)? {
        allow_all(&inside?.path(), is_open)?;
    }
    allow(path, if open { 0o755 } else { 0o700 })
}

#[cfg(unix)]
fn allow(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn allow(_path: &Path, _mode: u32) -> std::io::Result<()> {
    Ok(())
}

/// Copies a file or a folder with all in it, modes too; how many bytes that was.
fn copy(from: &Path, to: &Path) -> Result<u64, Failure> {
    let failed = |error| format!("cannot copy {} to {}: {error}", from.display(), to.display());
    if !from.is_dir() {
        return Ok(std::fs::copy(from, to).map_err(failed)?);
    }
    std::fs::create_dir(to).map_err(failed)?;
    let mut bytes = 0;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        bytes += copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Each file once: keys are at no moment what they are not to stay.
    #[test]
    fn keys_are_for_their_owner_alone_and_all_else_is_for_whoever_runs_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("keys/vehicle.key", 0o600),
            ("keys/vehicle.key.next", 0o600),
            ("certificates/key.pem", 0o600),
            ("certificates/before/key.pem", 0o600),
            ("certificates/authority.pem", 0o644),
            ("certificates/certificate.pem", 0o644),
            ("pack/pack.json", 0o644),
            ("vehicle.toml", 0o644),
        ];
        for (name, _mode) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            allow(&path, 0o600).unwrap();
        }
        readable(folder.path()).unwrap();
        let folders = [("keys", 0o700), ("certificates", 0o755), ("pack", 0o755), ("", 0o755)];
        for (name, mode) in files.into_iter().chain(folders) {
            let found = std::fs::metadata(folder.path().join(name)).unwrap().permissions();
            assert_eq!(found.mode() & 0o777, mode, "{name}");
        }
    }
}
