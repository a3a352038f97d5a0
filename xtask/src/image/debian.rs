//! Packages of Debian for another processor, unpacked into a folder: nothing is installed, no privilege is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::{Done, Failure};

/// What the image's kernel and programs are built for, in Debian's word.
pub(crate) const ARCHITECTURE: &str = "arm64";

/// A package that was unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The files of it, as they would lie below `/`.
    pub(crate) tree: PathBuf,
}

/// A folder that apt takes for a system of its own: it has the host's sources and keys, and another architecture.
pub(crate) struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// Reads the lists of packages.
    pub(crate) fn open(folder: &Path) -> Done<Self> {
        let debian = Self { folder: folder.to_owned() };
        for name in ["lists/partial", "cache/archives/partial", "debs", "trees"] {
            make_folder(&folder.join(name))?;
        }
        write(&folder.join("status"), "")?;
        let folder = folder.display();
        let settings = format!(
            "APT::Architecture \"{ARCHITECTURE}\";\nAPT::Architectures {{ \"{ARCHITECTURE}\"; }};\n\
             Dir::State \"{folder}\";\nDir::State::status \"{folder}/status\";\nDir::Cache \"{folder}/cache\";\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\n"
        );
        write(&debian.settings(), &settings)?;
        debian.apt("apt-get").args(["--quiet=2", "update"]).run()?;
        Ok(debian)
    }

    /// The package that a package without files of its own stands for: `linux-image-arm64`, say.
    pub(crate) fn behind(&self, name: &str) -> Done<String> {
        let shown = self.apt("apt-cache").args(["depends", name]).output()?;
        let depends = shown.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        depends.map(str::to_owned).ok_or_else(|| Failure(format!("{name} depends on nothing")))
    }

    /// Downloads and unpacks the newest version of a package.
    pub(crate) fn unpack(&self, name: &str) -> Done<Package> {
        let shown = self.apt("apt-cache").args(["policy", name]).output()?;
        let candidate = shown.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        let version = match candidate {
            Some(version) if version != "(none)" => version.to_owned(),
            Some(_) | None => {
                return Err(Failure(format!(
                    "this system's package sources have no {name} for {ARCHITECTURE}: Debian's do"
                )));
            }
        };
        let tree = self.folder.join("trees").join(format!("{name}_{version}"));
        if !tree.is_dir() {
            let debs = self.folder.join("debs");
            self.apt("apt-get").args(["--quiet=2", "download", name]).at(&debs).run()?;
            let archive = newest(&debs, name, &version)?;
            // Renamed when it is whole: an unpacking that was cut is done again.
            let unfinished = self.folder.join("trees/.unfinished");
            remove_folder(&unfinished)?;
            Run::new("dpkg-deb").arg("-x").arg(&archive).arg(&unfinished).run()?;
            fs::rename(&unfinished, &tree)
                .map_err(|error| Failure(format!("cannot make {}: {error}", tree.display())))?;
        }
        Ok(Package { name: name.to_owned(), version, tree })
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    fn apt(&self, program: &str) -> Run {
        Run::new(program).env("APT_CONFIG", self.settings())
    }
}

/// The archive that apt left: a colon of a version is `%3a` in its name.
fn newest(debs: &Path, name: &str, version: &str) -> Done<PathBuf> {
    let archive = debs.join(format!("{name}_{}_{ARCHITECTURE}.deb", version.replace(':', "%3a")));
    if archive.is_file() {
        return Ok(archive);
    }
    Err(Failure(format!("apt left no {}", archive.display())))
}

/// A folder that all may enter, as those that it is in and that were not there; whatever this user's own folders allow.
pub(crate) fn make_folder(path: &Path) -> Done {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    let open = |folder: &&Path| fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    fs::create_dir_all(path)
        .and_then(|()| missing.iter().try_for_each(open))
        .map_err(|error| Failure(format!("cannot make {}: {error}", path.display())))
}

/// Removes a folder with all in it, if there is one.
pub(crate) fn remove_folder(path: &Path) -> Done {
    if !path.exists() {
        return Ok(());
    }
    fs::remove_dir_all(path)
        .map_err(|error| Failure(format!("cannot remove {}: {error}", path.display())))
}

pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Done {
    fs::write(path, contents)
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
}
