//! Links the cores for a machine without a system, and says how large they are.

use std::fs;

use crate::cargo::target_dir;
use crate::install::{BARE_TARGET, has_bare_target};
use crate::process::Run;
use crate::steps::{Outcome, Skip};
use crate::{Done, Failure};

pub(crate) fn step() -> Done<Outcome> {
    if !has_bare_target() {
        return Ok(Outcome::Skipped(Skip::because(format!("no target {BARE_TARGET}"))));
    }
    // It has an allocator, so nothing of it is linked; but it needs no system.
    Run::cargo().args(["check", "--package", "shoal-swarm", "--target", BARE_TARGET]).run()?;
    Run::cargo()
        .args(["build", "--package", "shoal-bare", "--profile", "firmware"])
        .args(["--target", BARE_TARGET])
        .run()?;
    let binary = target_dir().join(BARE_TARGET).join("firmware/shoal-bare");
    let bytes = fs::read(&binary)
        .map_err(|error| Failure(format!("cannot read {}: {error}", binary.display())))?;
    let sections = sections(&bytes)
        .ok_or_else(|| Failure(format!("{} is no 32-bit ELF file", binary.display())))?;
    let size = |name: &str| {
        let of_name = sections.iter().filter(|section| section.name == name);
        of_name.map(|section| u64::from(section.bytes)).sum::<u64>()
    };
    if size(".text") == 0 {
        return Err(Failure::new("the bare-metal binary holds no code: nothing was linked"));
    }
    let names = [".text", ".rodata", ".data", ".bss"];
    let sizes: Vec<String> = names.iter().map(|name| format!("{name} {}", size(name))).collect();
    Ok(Outcome::PassedWith(format!("{} bytes", sizes.join(", "))))
}

#[derive(Debug, PartialEq, Eq)]
struct Section {
    name: String,
    bytes: u32,
}

/// The sections of a little-endian 32-bit ELF file.
fn sections(elf: &[u8]) -> Option<Vec<Section>> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    if elf.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let (table, entry_bytes) = (u32_at(32)? as usize, usize::from(u16_at(46)?));
    let (count, names_index) = (usize::from(u16_at(48)?), usize::from(u16_at(50)?));
    let header = |index: usize| table.checked_add(index.checked_mul(entry_bytes)?);
    let names = u32_at(header(names_index)? + 16)? as usize;
    (0..count)
        .map(|index| {
            let at = header(index)?;
            let name = elf.get(names.checked_add(u32_at(at)? as usize)?..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            let name = String::from_utf8_lossy(name).into_owned();
            Some(Section { name, bytes: u32_at(at + 20)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_elf_is_none_and_no_panic() {
        let mut bytes = b"\x7fELF\x01\x01".to_vec();
        bytes.extend([0xff; 60]);
        for len in 0..bytes.len() {
            assert_eq!(sections(bytes.get(..len).unwrap()), None);
        }
    }
}
