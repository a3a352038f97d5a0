//! Evaluation packs: frames of the fleet authority on which every vehicle measures the same.
//!
//! ```text
//! pack.json                     the manifest: what is in the parts, and their hashes
//! part-0.bin … part-3.bin       u8 RGB frames one after another, row by row, runs in the manifest's order
//! ```
//!
//! A pack is cut into four parts: every drive's pack frames in four runs of time, so that what was
//! chosen on one part can be measured again on another; two parts never share a frame. The folder is
//! all this module reads. Signing is its caller's: the exact bytes of `pack.json`
//! ([`Pack::manifest_bytes`]) fit into one envelope of kind document.
//!
//! A pack of skill holds no motion: models that read it are given zeros. A pack of imitation holds, after the frames of every
//! run, a row of five f32 (little-endian) a frame: speed (m/s), angle of the steering wheel (rad), acceleration along (m/s²) and
//! across (m/s²), each NaN where nobody knows it, and the weight that hindsight gives the moment, 0 to 1; where its manifest says
//! `"leaders":true`, two more: the gap to who is ahead (m) and his speed (m/s), NaN both where nobody is. Its manifest names the
//! action grid and every vehicle's geometry, so that whoever names the pack's hash commits to both.

mod build;
mod manifest;
mod read;
mod rows;

pub use build::{
    Acted, BuildPackError, PackOptions, build, build_imitation, manifest, manifest_imitation,
};
pub use manifest::{Manifest, ManifestError, Metric, PackDrive, PackGeometry, PackPart, PackRun};
pub use read::{Footages, Pack, PackFootage, ReadPackError};
pub use rows::{RejectRow, Row};

/// Name of the manifest in a pack's directory.
pub const MANIFEST_FILE: &str = "pack.json";

/// Parts of a pack.
pub const PARTS: usize = 4;

/// Most bytes of a manifest: a signed document carries no more.
pub const MANIFEST_BYTES_MAX: usize = 60_000;

/// Most bytes of one part.
pub const PART_BYTES_MAX: u64 = 1 << 30;

/// Clips that every run of a drive has at least, as every part of a drive.
const RUN_CLIPS_MIN: usize = 2;

/// File name of part `index`.
fn part_file(index: usize) -> String {
    format!("part-{index}.bin")
}

#[cfg(test)]
mod tests;
