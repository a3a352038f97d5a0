//! A disk made of files: GPT, the boot partition, two roots, data. No loop device, no privilege.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::debian::{make_folder, remove_folder, write};
use crate::process::Run;
use crate::{Done, Failure};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Two kernels with what they start with, and room for a third while one is replaced.
const ESP_MIB: u64 = 160;
/// Of each root: twice what it needs today.
const ROOT_MIB: u64 = 128;

/// The two image slots. A new one has three tries; the other is there for when they fail.
const SLOTS: [(&str, &str); 2] = [("a", "slot-a+3.conf"), ("b", "slot-b.conf")];

/// What a disk is made of.
pub(crate) struct Contents<'a> {
    pub(crate) boot_loader: &'a Path,
    pub(crate) loader_settings: &'a Path,
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: &'a Path,
    pub(crate) root: &'a Path,
    /// The tree of the data partition.
    pub(crate) data: &'a Path,
    pub(crate) data_mib: u64,
}

/// A partition: where it begins and how long it is, in MiB; Debian's `sgdisk` knows its type by this code.
struct Partition {
    part: &'static str,
    code: &'static str,
    first_mib: u64,
    mib: u64,
}

impl Contents<'_> {
    /// Writes the disk, with `folder` to work in.
    pub(crate) fn write(&self, folder: &Path, disk: &Path) -> Done {
        let root_bytes = fs::metadata(self.root).map_or(0, |root| root.len());
        if root_bytes > ROOT_MIB * MIB {
            return Err(Failure(format!("the root has {root_bytes} bytes, a slot {ROOT_MIB} MiB")));
        }
        let mut partitions = Vec::new();
        let mut first_mib = 1;
        for (part, code, mib) in [
            ("esp", "ef00", ESP_MIB),
            ("root-a", "8305", ROOT_MIB),
            ("root-b", "8305", ROOT_MIB),
            ("data", "8300", self.data_mib),
        ] {
            partitions.push(Partition { part, code, first_mib, mib });
            first_mib += mib;
        }
        let id = id()?;
        let esp = self.esp(folder, &id)?;
        let data = self.data(folder)?;

        // Written beside it and renamed: an image is whole or not there.
        let unfinished = disk.with_extension("unfinished");
        make_private(&unfinished, (first_mib + 1) * MIB)?;
        let mut table = Run::new("sgdisk").arg("--clear");
        for (index, partition) in partitions.iter().enumerate() {
            let Partition { part, code, first_mib, mib } = partition;
            let (number, first) = (index + 1, first_mib * MIB / SECTOR);
            let last = first + mib * MIB / SECTOR - 1;
            table = table
                .arg(format!("--new={number}:{first}:{last}"))
                .arg(format!("--typecode={number}:{code}"))
                .arg(format!("--change-name={number}:shoal-{id}-{part}"));
        }
        table.arg(&unfinished).quiet().run()?;
        for (partition, source) in
            partitions.iter().zip([esp.as_path(), self.root, self.root, data.as_path()])
        {
            place(source, &unfinished, partition.first_mib)?;
        }
        let _removed = fs::remove_file(&data);
        fs::rename(&unfinished, disk)
            .map_err(|error| Failure(format!("cannot make {}: {error}", disk.display())))
    }

    /// The boot partition: boot loader, its entries, and a kernel with its first tree for each slot.
    fn esp(&self, folder: &Path, id: &str) -> Done<PathBuf> {
        let tree = folder.join("esp");
        remove_folder(&tree)?;
        for name in ["EFI/BOOT", "loader/entries", "a", "b"] {
            make_folder(&tree.join(name))?;
        }
        let copy = |from: &Path, to: &str| {
            fs::copy(from, tree.join(to))
                .map(|_bytes| ())
                .map_err(|error| Failure(format!("cannot copy {}: {error}", from.display())))
        };
        copy(self.boot_loader, "EFI/BOOT/BOOTAA64.EFI")?;
        copy(self.loader_settings, "loader/loader.conf")?;
        // Of two good slots the later one boots.
        for (version, (slot, entry)) in (1..=2).rev().zip(SLOTS) {
            copy(self.kernel, &format!("{slot}/linux"))?;
            copy(self.initrd, &format!("{slot}/initrd"))?;
            let text = format!(
                "title Shoal, slot {slot}\nsort-key shoal\nversion {version}\nlinux /{slot}/linux\ninitrd /{slot}/initrd\n\
                 options shoal.disk={id} shoal.slot={slot} panic=10 quiet\n"
            );
            write(&tree.join("loader/entries").join(entry), text)?;
        }
        let image = folder.join("esp.img");
        let _removed = fs::remove_file(&image);
        Run::new("mkfs.vfat")
            .args(["-C", "-F", "32", "-n", "ESP"])
            .arg(&image)
            .arg((ESP_MIB * 1024).to_string())
            .quiet()
            .run()?;
        let parts = ["EFI", "loader", "a", "b"].map(|name| tree.join(name));
        Run::new("mcopy").arg("-i").arg(&image).arg("-s").args(parts).arg("::/").quiet().run()?;
        Ok(image)
    }

    fn data(&self, folder: &Path) -> Done<PathBuf> {
        let image = folder.join("data.img");
        make_private(&image, self.data_mib * MIB)?;
        Run::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "data", "-e", "remount-ro"])
            .args(["-E", "root_owner=0:0", "-d"])
            .arg(self.data)
            .arg(&image)
            .arg(format!("{}M", self.data_mib))
            .quiet()
            .run()?;
        Ok(image)
    }
}

/// What tells this image from another on the same computer: its partitions and its kernel have it in their names.
fn id() -> Done<String> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut chance| chance.read_exact(&mut bytes))
        .map_err(|error| Failure(format!("cannot draw a number: {error}")))?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

/// Makes a file of so many zeros that only its owner reads: a vehicle's key will be in it.
fn make_private(path: &Path, bytes: u64) -> Done {
    let _removed = fs::remove_file(path);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|file| file.set_len(bytes))
        .map_err(|error| Failure(format!("cannot make {}: {error}", path.display())))
}

/// Copies a file into the disk, from this MiB on; what is zero stays a hole.
fn place(source: &Path, disk: &Path, first_mib: u64) -> Done {
    let name = |key: &str, path: &Path| format!("{key}={}", path.display());
    Run::new("dd")
        .args([name("if", source), name("of", disk), format!("seek={first_mib}")])
        .args(["bs=1M", "conv=notrunc,sparse", "status=none"])
        .quiet()
        .run()
}
