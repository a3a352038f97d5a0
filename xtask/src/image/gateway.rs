//! The gateway's firmware: built for both of its targets, measured, and looked through for panics.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use object::read::elf::ElfFile32;
use object::{Object, ObjectSegment, ObjectSymbol};

use super::calls::{Allowed, Calls};
use crate::cargo::target_dir;
use crate::flags::Flags;
use crate::install::{GATEWAY_TARGETS, has_qemu, has_target};
use crate::process::Run;
use crate::steps::{Outcome, Skip};
use crate::{Done, Failure, root};

const HELP: &str = "\
cargo xtask image gateway [--target TARGET]... [-o DIR]

Builds the firmware for thumbv7em-none-eabihf and thumbv8m.main-none-eabihf, or for those named, into DIR
(target/image/gateway): BOARD.elf and BOARD.bin, of the boards mps2-an386 and mps2-an505.";

const PROFILE: &str = "gateway";

/// Where bytes come in, and time, and what the flash holds at a start.
const ROOTS: [&str; 5] = [
    "shoal_gateway::shell::Shell<F>::start",
    "shoal_gateway::shell::Shell<F>::agent",
    "shoal_gateway::shell::Shell<F>::vehicle",
    "shoal_gateway::shell::Shell<F>::timeout",
    "DefaultHandler",
];

/// What is left of panics in the receive code, and cannot be taken out of it.
const ALLOWED: [Allowed; 1] = [Allowed {
    function: "shoal_wire::stream::Stream::finish",
    places: 1,
    why: "curve25519-dalek's NafLookupTable5::select: a digit of a scalar's non-adjacent form of width 5 is odd and \
          below 16, half of it is below 8, and the table has 8 entries",
}];

/// What code and constants, and data and stack, may have at most: as the linker script says, of which both are a part.
const FLASH_BYTES_MAX: u64 = 128 * 1024;
const RAM_BYTES_MAX: u64 = 32 * 1024;

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::parse(args, &["--target", "-o"], &["--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let named: Vec<&str> = flags.all("--target").collect();
    let all: Vec<&str> = GATEWAY_TARGETS.to_vec();
    let folder =
        flags.value("-o").map_or_else(|| root().join("target/image/gateway"), PathBuf::from);
    for target in if named.is_empty() { all } else { named } {
        let image = Image::build(target, &folder)?;
        println!("{image}");
    }
    Ok(())
}

/// Builds, looks for panics, and runs the firmware in the emulator.
pub(crate) fn step(variables: &[(&'static str, OsString)]) -> Done<Outcome> {
    let missing = GATEWAY_TARGETS.iter().find(|target| !has_target(target));
    if let Some(target) = missing {
        return Ok(Outcome::Skipped(Skip::because(format!("no target {target}"))));
    }
    let folder = root().join("target/image/gateway");
    let mut sizes = Vec::new();
    for target in GATEWAY_TARGETS {
        let clippy = ["clippy", "--package", "shoal-gateway", "--bin", "shoal-gateway"];
        Run::cargo()
            .args(clippy)
            // The profile in which its dependencies are built anyway.
            .args(["--features", "firmware", "--profile", PROFILE, "--target", target])
            .args(["--", "-D", "warnings"])
            .run()?;
        let image = Image::build(target, &folder)?;
        println!("{image}");
        image.check_panics()?;
        sizes
            .push(format!("{}: flash {}, RAM {}", image.board, image.flash_bytes, image.ram_bytes));
    }
    println!("panics in the receive code: none but\n");
    for Allowed { function, places, why } in ALLOWED {
        println!("  {places} in {function}: {why}");
    }
    seeded(&folder.join("seeded"))?;
    if !has_qemu() {
        return Ok(Outcome::Skipped(Skip::because("no program qemu-system-arm: built, not run")));
    }
    Run::cargo()
        .args(["test", "--quiet", "--package", "shoal-gateway", "--test", "qemu"])
        .args(["--", "--nocapture"])
        .env("SHOAL_GATEWAY_FIRMWARE", &folder)
        .run()?;
    // The agent's program beside it; the program is built like those of the other tests.
    Run::cargo().args(["build", "--quiet", "--workspace", "--bins"]).run()?;
    Run::cargo()
        .args(["test", "--quiet", "--workspace", "--test", "fleet", "the_firmware"])
        .args(["--", "--nocapture"])
        .envs(variables)
        .env("SHOAL_GATEWAY_FIRMWARE", &folder)
        .run()?;
    Ok(Outcome::PassedWith(sizes.join("; ")))
}

/// The check must find a panic that is there.
fn seeded(folder: &Path) -> Done {
    let [target, ..] = GATEWAY_TARGETS;
    let image = Image::build_with(target, folder, "firmware,seeded-panic")?;
    match image.panics()?.is_empty() {
        false => Ok(()),
        true => Err(Failure::new("the check for panics does not find the one that was seeded")),
    }
}

struct Image {
    board: &'static str,
    elf: Vec<u8>,
    flash_bytes: u64,
    ram_bytes: u64,
    stack_bytes: u64,
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { board, flash_bytes, ram_bytes, stack_bytes, elf: _ } = self;
        write!(f, "{board}: flash {flash_bytes} of {FLASH_BYTES_MAX} bytes, RAM {ram_bytes} of ")?;
        write!(f, "{RAM_BYTES_MAX} bytes, of which the stack {stack_bytes}")
    }
}

impl Image {
    /// Builds for one target, and writes both forms of the image.
    fn build(target: &str, folder: &Path) -> Done<Self> {
        Self::build_with(target, folder, "firmware")
    }

    fn build_with(target: &str, folder: &Path, features: &str) -> Done<Self> {
        let board = match target {
            "thumbv7em-none-eabihf" => "an386",
            "thumbv8m.main-none-eabihf" => "an505",
            other => return Err(Failure(format!("no board of target {other}\n\n{HELP}"))),
        };
        Run::cargo()
            .args(["build", "--package", "shoal-gateway", "--bin", "shoal-gateway"])
            .args(["--features", features, "--profile", PROFILE, "--target", target])
            .run()?;
        let built = target_dir().join(target).join(PROFILE).join("shoal-gateway");
        let elf = fs::read(&built)
            .map_err(|error| Failure(format!("cannot read {}: {error}", built.display())))?;
        let image = Self::measure(board, elf)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(format!("{board}.{name}"));
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, bytes))
                .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
        };
        write("elf", &image.elf)?;
        write("bin", &image.flat()?)?;
        Ok(image)
    }

    fn measure(board: &'static str, elf: Vec<u8>) -> Done<Self> {
        let parsed = parse(&elf)?;
        let symbol = |name: &str| {
            let found = parsed.symbols().find(|symbol| symbol.name() == Ok(name));
            let missing = || Failure(format!("no symbol {name}"));
            found.map(|symbol| symbol.address()).ok_or_else(missing)
        };
        let (bottom, top) = (symbol("_stack_end")?, symbol("_stack_start")?);
        let ram_bytes = symbol("__ebss")?.saturating_sub(bottom);
        let mut image =
            Self { board, flash_bytes: 0, ram_bytes, stack_bytes: top - bottom, elf: Vec::new() };
        drop(parsed);
        image.elf = elf;
        image.flash_bytes = image.flat()?.len() as u64;
        if image.flash_bytes > FLASH_BYTES_MAX || image.ram_bytes > RAM_BYTES_MAX {
            return Err(Failure(format!("too large: {image}")));
        }
        Ok(image)
    }

    /// What is written to the flash, from its first byte on.
    fn flat(&self) -> Done<Vec<u8>> {
        let elf = parse(&self.elf)?;
        let header = |segment: &object::read::elf::ElfSegment32<'_, '_>| {
            u64::from(segment.elf_program_header().p_paddr.get(object::Endianness::Little))
        };
        let mut loaded: Vec<(u64, &[u8])> = Vec::new();
        for segment in elf.segments() {
            let data = segment.data().map_err(|error| Failure(error.to_string()))?;
            loaded.extend((!data.is_empty()).then(|| (header(&segment), data)));
        }
        loaded.sort();
        let start = loaded.first().map_or(0, |(at, _data)| *at);
        let mut flat = Vec::new();
        for (at, data) in loaded {
            let gap = usize::try_from(at - start).unwrap_or(usize::MAX);
            flat.resize(gap.max(flat.len()), 0xff);
            flat.extend_from_slice(data);
        }
        Ok(flat)
    }

    fn panics(&self) -> Done<Vec<String>> {
        Calls::read(&self.elf)?.panics(&ROOTS, &ALLOWED)
    }

    fn check_panics(&self) -> Done {
        let panics = self.panics()?;
        panics.iter().for_each(|panic| println!("{panic}"));
        match panics.len() {
            0 => Ok(()),
            count => Err(Failure(format!("{}: {count} panics in the receive code", self.board))),
        }
    }
}

fn parse(elf: &[u8]) -> Done<ElfFile32<'_>> {
    ElfFile32::parse(elf).map_err(|error| Failure(format!("no ELF file: {error}")))
}
