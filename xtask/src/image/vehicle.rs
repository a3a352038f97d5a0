//! `cargo xtask image vehicle`: a disk image of an aarch64 vehicle computer, made of Debian's packages and ours.

use std::fs;
use std::path::{Path, PathBuf};

use super::bill;
use super::debian::{Debian, Package, make_folder, remove_folder};
use super::disk::Contents;
use super::tree::Parts;
use crate::cargo::target_dir;
use crate::flags::Flags;
use crate::install::has_target;
use crate::process::{Run, found};
use crate::{Done, Failure, onnxruntime, root, tools};

const HELP: &str = "\
cargo xtask image vehicle [--vehicle DIR] [-o FILE] [--data-mib N] [--boot]

Cross-compiles the agent for aarch64 and makes a bootable disk image (UEFI): two image slots with boot counting,
a read-only root with agent, ONNX Runtime and the default model, a data partition.

--vehicle DIR   what lies on the data partition as /data/vehicle: a folder of `shoal fleet provision`
-o FILE         the image [target/image/vehicle.img]; beside it, as .cdx.json, what it is made of (CycloneDX)
--data-mib N    size of the data partition [what the vehicle may keep, at least 512]
--boot          boot it in the emulator, on this terminal; Ctrl-A X ends it

Example: shoal fleet provision trial 0 -o equipped --broker mqtt://10.0.2.2:1883
         cargo xtask image vehicle --vehicle equipped --boot";

pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The agent, without the embedded engine.
pub(crate) const AGENT: [&str; 5] =
    ["--package", "shoal-vehicle", "--no-default-features", "--features", "ort,linux"];
/// What the root is made of, beside the agent.
const PACKAGES: [&str; 10] = [
    "busybox-static",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "e2fsprogs",
    "libext2fs2",
    "libcom-err2",
    "libblkid1",
    "libuuid1",
    "systemd-boot-efi",
];
const BOOT_LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootaa64.efi";
/// Firmware of the emulated computer.
const FIRMWARE: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";
const DATA_MIB: u64 = 512;

/// What a vehicle keeps beside replay, at most: event log, adapters of its windows, particles, the vault, a model that
/// replaces another.
const KEPT_MIB: u64 = 192;

/// Programs that make or boot an image, and the packages they come in.
const PROGRAMS: [(&str, &str); 9] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("mcopy", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mksquashfs", "squashfs-tools"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("sgdisk", "gdisk"),
];

/// Packages that are missing here, by name.
pub(crate) fn missing() -> Vec<&'static str> {
    let gone = PROGRAMS.iter().filter(|(program, _package)| !found(program));
    let mut packages: Vec<&str> = gone.map(|(_program, package)| *package).collect();
    if packages.contains(&"gcc-aarch64-linux-gnu") {
        packages.push("libc6-dev-arm64-cross");
    }
    if !Path::new(FIRMWARE).is_file() {
        packages.push("qemu-efi-aarch64");
    }
    packages
}

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::parse(args, &["--vehicle", "-o", "--data-mib"], &["--boot", "--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let data_mib = flags.value("--data-mib").map(|text| {
        let number = text.parse().ok().filter(|mib| (64..=1 << 20).contains(mib));
        number.ok_or_else(|| Failure(format!("--data-mib {text} is not 64 to {}", 1 << 20)))
    });
    let data_mib = data_mib.transpose()?;
    if !has_target(TARGET) {
        return Err(Failure(format!("no target {TARGET}: rustup target add {TARGET}")));
    }
    let absolute = |name: &str| flags.value(name).map(std::path::absolute).transpose();
    let named = |error| Failure(format!("where are we? {error}"));
    let image = absolute("-o").map_err(named)?.unwrap_or_else(|| folder().join("vehicle.img"));
    let vehicle = absolute("--vehicle").map_err(named)?;
    let needed = vehicle.as_deref().map(needed_mib).transpose()?.unwrap_or_default();
    let data_mib = data_mib.unwrap_or_else(|| needed.max(DATA_MIB));
    if data_mib < needed {
        return Err(Failure(format!(
            "{data_mib} MiB of data are too few: this vehicle may keep up to {needed}; ask for more with --data-mib, or \
             let it keep less ([replay] bytes_max)"
        )));
    }
    let sizes = make(&Asked { vehicle, data_mib }, &image)?;
    println!("{}: {sizes}", image.display());
    if flags.has("--boot") { boot(&image) } else { Ok(()) }
}

/// What an image is to hold.
pub(crate) struct Asked {
    pub(crate) vehicle: Option<PathBuf>,
    pub(crate) data_mib: u64,
}

/// Where images are made.
pub(crate) fn folder() -> PathBuf {
    root().join("target/image")
}

/// Makes an image; how large its parts are.
pub(crate) fn make(asked: &Asked, image: &Path) -> Done<String> {
    let missing = missing();
    if !missing.is_empty() {
        let list = missing.join(" ");
        return Err(Failure(format!("packages are missing: apt-get install {list}")));
    }
    if let Some(vehicle) = &asked.vehicle
        && !vehicle.join("vehicle.toml").is_file()
    {
        let shown = vehicle.display();
        return Err(Failure(format!(
            "no vehicle.toml in {shown}: `shoal fleet provision` writes one"
        )));
    }
    let folder = folder();
    make_folder(&folder)?;
    let agent = agent()?;
    let library = onnxruntime::fetch("aarch64", &tools().join("onnxruntime-aarch64"))?;
    let debian = Debian::open(&tools().join("debian"))?;
    let kernel = debian.unpack(&debian.behind("linux-image-arm64")?)?;
    let packages: Vec<Package> =
        PACKAGES.into_iter().map(|name| debian.unpack(name)).collect::<Done<_>>()?;
    let parts = Parts { kernel: &kernel, packages: &packages, agent: &agent, library: &library };
    let (initrd, squashed) = (folder.join("initrd"), folder.join("root.squashfs"));
    parts.pack_initrd(&folder.join("initrd.tree"), &initrd)?;
    parts.pack_root(&folder.join("root.tree"), &squashed)?;
    let data = folder.join("data.tree");
    let kernel_file = parts.kernel_file()?;
    bill::put(&parts, &image.with_extension("cdx.json"))?;
    let boot_loader = parts.find(BOOT_LOADER)?;
    with_data(&data, asked.vehicle.as_deref(), || {
        Contents {
            boot_loader: &boot_loader,
            loader_settings: &root().join("cross/vehicle/image/esp/loader/loader.conf"),
            kernel: &kernel_file,
            initrd: &initrd,
            root: &squashed,
            data: &data,
            data_mib: asked.data_mib,
        }
        .write(&folder, image)
    })?;
    let mib = |path: &Path| fs::metadata(path).map_or(0.0, |file| file.len() as f64 / 1_048_576.0);
    Ok(format!(
        "kernel {:.1} MiB, initrd {:.1}, root {:.1} (agent {:.1} and ONNX Runtime {:.1} before packing); {}",
        mib(&kernel_file),
        mib(&initrd),
        mib(&squashed),
        mib(&agent),
        mib(&library),
        kernel.name,
    ))
}

/// MiB of the data partition that a vehicle may fill: what lies there from the first, replay, and what it keeps besides.
fn needed_mib(vehicle: &Path) -> Done<u64> {
    let file = vehicle.join("vehicle.toml");
    let failed = |why: String| Failure(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(&file).map_err(|error| failed(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error| failed(format!("{error}")))?;
    let replay = table.get("replay").and_then(|replay| replay.get("bytes_max"));
    let replay = replay.and_then(toml::Value::as_integer);
    let replay = replay.and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| {
        failed("[replay] bytes_max is needed: `shoal fleet provision` writes it".to_owned())
    })?;
    let listed = Run::new("du").args(["--summarize", "--block-size=1M"]).arg(vehicle).output()?;
    let lies = listed.split_whitespace().next().and_then(|mib| mib.parse::<u64>().ok());
    let lies = lies.ok_or_else(|| Failure(format!("what does {listed} say?")))?;
    // The file system's own tables, and what it keeps back.
    Ok((lies + replay.div_ceil(1 << 20) + KEPT_MIB) * 11 / 10)
}

fn agent() -> Done<PathBuf> {
    build("shoal-vehicle", &AGENT)
}

/// Builds a program for the vehicle computer; the file of it, without symbols.
pub(crate) fn build(name: &str, args: &[&str]) -> Done<PathBuf> {
    Run::cargo().args(["build", "--target", TARGET]).args(args).run()?;
    let built = target_dir().join(TARGET).join("debug");
    let built = if args.contains(&"--example") { built.join("examples") } else { built };
    let stripped = folder().join(name);
    Run::new("aarch64-linux-gnu-strip").arg("-o").arg(&stripped).arg(built.join(name)).run()?;
    Ok(stripped)
}

fn boot(image: &Path) -> Done {
    Run::new("qemu-system-aarch64")
        .args(["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-nographic"])
        .args(["-bios", FIRMWARE])
        .arg("-drive")
        .arg(format!("if=none,id=disk,format=raw,file={}", image.display()))
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="])
        .args(["-device", "virtio-rng-pci"])
        .on_terminal()
        .run()
}

/// Does something with the folder of the image's data, which holds the vehicle's key: it is gone behind that, whatever came of it.
fn with_data(data: &Path, vehicle: Option<&Path>, work: impl FnOnce() -> Done) -> Done {
    remove_folder(data)?;
    make_folder(data)?;
    let copied = match vehicle {
        // Modes too: a key is for one reader.
        Some(vehicle) => {
            Run::new("cp").arg("--archive").arg(vehicle).arg(data.join("vehicle")).run()
        }
        None => Ok(()),
    };
    let done = copied.and_then(|()| work());
    remove_folder(data)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vehicles_key_stays_nowhere_when_its_image_cannot_be_made() {
        let folder = std::env::temp_dir().join(format!("shoal-data-{}", std::process::id()));
        let (vehicle, data) = (folder.join("vehicle"), folder.join("data.tree"));
        make_folder(&vehicle).unwrap();
        fs::write(vehicle.join("vehicle.key"), "x").unwrap();
        let failed = with_data(&data, Some(&vehicle), || {
            assert!(data.join("vehicle/vehicle.key").exists());
            Err(Failure("no room".to_owned()))
        });
        assert_eq!(failed.unwrap_err().0, "no room");
        assert!(!data.exists());
        remove_folder(&folder).unwrap();
    }

    #[test]
    fn a_vehicle_needs_room_for_all_that_it_may_keep() {
        let vehicle = std::env::temp_dir().join(format!("shoal-needed-{}", std::process::id()));
        make_folder(&vehicle).unwrap();
        let told = |text: &str| {
            fs::write(vehicle.join("vehicle.toml"), text).unwrap();
            needed_mib(&vehicle)
        };
        let needed = told("[replay]\nbytes_max = 1073741824\n").unwrap();
        assert!((1300..1400).contains(&needed), "{needed} MiB for a GiB of replay and the rest");
        assert!(told("[replay]\nretention_days = 3\n").unwrap_err().0.contains("bytes_max"));
        remove_folder(&vehicle).unwrap();
    }
}
