//! The two trees of files in an image: what the kernel starts with, and the read-only root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::debian::{Package, make_folder, remove_folder, write};
use crate::process::Run;
use crate::{Done, Failure, root};

/// Folders of packages that hold shared libraries.
const LIBRARIES: [&str; 2] = ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
/// What the kernel mounts on, and what programs expect.
const EMPTY: [&str; 7] = ["boot", "data", "dev", "proc", "run", "sys", "tmp"];

/// What goes into an image.
pub(crate) struct Parts<'a> {
    pub(crate) kernel: &'a Package,
    pub(crate) packages: &'a [Package],
    /// `shoal-vehicle`, stripped.
    pub(crate) agent: &'a Path,
    /// ONNX Runtime.
    pub(crate) library: &'a Path,
}

/// A kernel's modules and what each needs.
struct Modules {
    version: String,
    /// `lib/modules/VERSION`.
    folder: PathBuf,
    /// File ← files that must be there before it; by name, `-` and `_` alike.
    needs: BTreeMap<String, (String, Vec<String>)>,
}

impl Parts<'_> {
    /// The file that holds the kernel.
    pub(crate) fn kernel_file(&self) -> Done<PathBuf> {
        let Modules { version, .. } = Modules::of(self.kernel)?;
        Ok(self.kernel.tree.join(format!("boot/vmlinuz-{version}")))
    }

    /// Packs the tree the kernel starts with.
    pub(crate) fn pack_initrd(&self, folder: &Path, file: &Path) -> Done {
        remove_folder(folder)?;
        for name in ["bin", "etc", "proc", "sys", "dev", "new"] {
            make_folder(&folder.join(name))?;
        }
        let sources = sources().join("initrd");
        copy(&sources.join("init"), &folder.join("init"))?;
        copy(&sources.join("modules"), &folder.join("etc/modules"))?;
        copy(&self.find("bin/busybox")?, &folder.join("bin/busybox"))?;
        Modules::of(self.kernel)?.copy(&names(&sources.join("modules"))?, folder)?;
        // The order of names and no times: the same files give the same archive.
        let script = format!(
            "find . -exec touch --no-dereference --date=@0 {{}} + && find . -print0 | LC_ALL=C sort --zero-terminated \
             | cpio --null --create --format=newc --owner=0:0 --reproducible --quiet | gzip --no-name -9 > '{}'",
            file.display()
        );
        Run::new("bash").args(["-o", "pipefail", "-c", &script]).at(folder).quiet().run()
    }

    /// Packs the read-only root.
    pub(crate) fn pack_root(&self, folder: &Path, file: &Path) -> Done {
        remove_folder(folder)?;
        for name in EMPTY {
            make_folder(&folder.join(name))?;
        }
        let sources = sources();
        copy_tree(&sources.join("rootfs"), folder)?;
        self.programs(folder)?;
        Modules::of(self.kernel)?.copy(&names(&sources.join("rootfs/etc/modules"))?, folder)?;
        let shared = folder.join("usr/share/shoal");
        copy_tree(&root().join("models/world"), &shared.join("world"))?;
        self.papers(&shared)?;
        symlink_at("/run/resolv.conf", &folder.join("etc/resolv.conf"))?;
        let _removed = fs::remove_file(file);
        Run::new("mksquashfs")
            .arg(folder)
            .arg(file)
            .args([
                "-comp",
                "zstd",
                "-all-root",
                "-noappend",
                "-no-xattrs",
                "-quiet",
                "-no-progress",
            ])
            .args(["-reproducible", "-mkfs-time", "0", "-all-time", "0"])
            .quiet()
            .run()
    }

    fn programs(&self, folder: &Path) -> Done {
        for name in ["bin", "sbin", "usr/bin", "usr/lib/shoal"] {
            make_folder(&folder.join(name))?;
        }
        copy(&self.find("bin/busybox")?, &folder.join("bin/busybox"))?;
        for applet in names(&sources().join("applets"))? {
            symlink_at("busybox", &folder.join("bin").join(applet))?;
        }
        symlink_at("../bin/busybox", &folder.join("sbin/init"))?;
        copy(&self.find("sbin/e2fsck")?, &folder.join("sbin/e2fsck"))?;
        copy(self.agent, &folder.join("usr/bin/shoal-vehicle"))?;
        copy(self.library, &folder.join("usr/lib/shoal/libonnxruntime.so"))?;
        copy(&self.find("lib/ld-linux-aarch64.so.1")?, &folder.join("lib/ld-linux-aarch64.so.1"))?;
        for package in self.packages {
            for libraries in LIBRARIES {
                for file in list(&package.tree.join(libraries))? {
                    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    if name.contains(".so") {
                        copy(&file, &folder.join(libraries).join(name))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What is in the image, and under which licences.
    fn papers(&self, folder: &Path) -> Done {
        let licences = folder.join("licences");
        make_folder(&licences)?;
        let mut lines = String::new();
        for package in self.packages.iter().chain([self.kernel]) {
            let Package { name, version, tree } = package;
            lines.push_str(&format!("{name} {version}\n"));
            let copyright = tree.join("usr/share/doc").join(name).join("copyright");
            // A package may leave it to another of the same source.
            if copyright.is_file() {
                copy(&copyright, &licences.join(name))?;
            }
        }
        write(&folder.join("packages"), lines)
    }

    /// A file of one of the packages.
    pub(crate) fn find(&self, name: &str) -> Done<PathBuf> {
        let mut files = self.packages.iter().map(|package| package.tree.join(name));
        let found = files.find(|file| file.exists());
        found.ok_or_else(|| Failure(format!("no package brought {name}")))
    }
}

impl Modules {
    fn of(kernel: &Package) -> Done<Self> {
        let all = kernel.tree.join("lib/modules");
        let folders = list(&all)?;
        let [folder] = folders.as_slice() else {
            return Err(Failure(format!("{} holds not one kernel's modules", all.display())));
        };
        let version = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let table = folder.join("modules.dep");
        if !table.is_file() {
            Run::new("depmod").arg("--basedir").arg(&kernel.tree).arg(&version).quiet().run()?;
        }
        let text = fs::read_to_string(&table)
            .map_err(|error| Failure(format!("cannot read {}: {error}", table.display())))?;
        let needs = text.lines().filter_map(|line| line.split_once(':')).map(|(file, needs)| {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            (module_name(file), (file.to_owned(), needs))
        });
        Ok(Self { version, folder: folder.clone(), needs: needs.collect() })
    }

    /// Copies the modules with these names, and what they need, into a tree.
    fn copy(&self, names: &[String], tree: &Path) -> Done {
        let mut files = BTreeSet::new();
        for name in names {
            let (file, needs) = self
                .needs
                .get(&module_name(name))
                .ok_or_else(|| Failure(format!("kernel {} has no module {name}", self.version)))?;
            files.insert(file);
            files.extend(needs);
        }
        let target = tree.join("lib/modules").join(&self.version);
        for file in files {
            copy(&self.folder.join(file), &target.join(file))?;
        }
        for name in ["modules.builtin", "modules.order"] {
            copy(&self.folder.join(name), &target.join(name))?;
        }
        Run::new("depmod").arg("--basedir").arg(tree).arg(&self.version).quiet().run()
    }
}

fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

fn sources() -> PathBuf {
    root().join("cross/vehicle/image")
}

/// The lines of a list.
fn names(file: &Path) -> Done<Vec<String>> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What lies in a folder, by name; nothing when there is none.
fn list(folder: &Path) -> Done<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut paths: Vec<PathBuf> = entries
        .map_err(|error| Failure(format!("cannot list {}: {error}", folder.display())))?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    Ok(paths)
}

/// Copies a file, following links; who may read it may be anyone.
fn copy(from: &Path, to: &Path) -> Done {
    let failed =
        |error| Failure(format!("cannot copy {} to {}: {error}", from.display(), to.display()));
    if let Some(parent) = to.parent() {
        make_folder(parent)?;
    }
    fs::copy(from, to).map_err(failed)?;
    let executable = fs::metadata(from).map_err(failed)?.permissions().mode() & 0o111 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed)
}

/// Copies a folder with all in it.
fn copy_tree(from: &Path, to: &Path) -> Done {
    make_folder(to)?;
    for path in list(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

fn symlink_at(to: &str, path: &Path) -> Done {
    symlink(to, path).map_err(|error| Failure(format!("cannot make {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_file_or_its_name() {
        assert_eq!(module_name("kernel/drivers/net/can/vcan.ko"), "vcan");
        assert_eq!(module_name("can-raw"), module_name("kernel/net/can/can-raw.ko.xz"));
    }

    #[test]
    fn every_program_that_the_image_calls_is_in_it() {
        let applets = names(&sources().join("applets")).unwrap();
        let programs = [
            "cat", "chown", "grep", "ip", "kill", "mkdir", "modprobe", "mount", "mv", "reboot",
            "rm", "sed", "sleep", "sync", "udhcpc", "umount",
        ];
        let mut called = BTreeSet::new();
        for folder in ["etc/init.d", "usr/sbin", "usr/share/udhcpc"] {
            for file in list(&sources().join("rootfs").join(folder)).unwrap() {
                let script = fs::read_to_string(file).unwrap();
                let words = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                called.extend(words.filter(|word| programs.contains(word)).map(str::to_owned));
            }
        }
        let missing: Vec<_> = called.iter().filter(|name| !applets.contains(name)).collect();
        assert!(missing.is_empty() && called.len() > 10, "{missing:?} of {called:?}");
    }
}
