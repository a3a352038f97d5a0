//! What logs of earlier runs need to be run again: a new life sweeps what nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shoal_swarm::swarm;
use shoal_wire::v1::ParticleHeader;
use shoal_wire::{ParticleId, decode_body};

use super::entry::{Entry, SwarmInput};
use super::rerun::read;
use super::{MAGIC, next_entry, path};

/// By run, the SHA-256 of blobs: of values that its parts name, and of the chunks of particles whose header they have. What cannot be read
/// needs nothing.
pub(super) fn by_runs(folder: &Path, parts: &[(u32, u32)]) -> BTreeMap<u32, BTreeSet<[u8; 32]>> {
    let mut needed: BTreeMap<u32, Needed> = BTreeMap::new();
    for (run, part) in parts {
        let Ok(bytes) = read(&path(folder, *run, *part)) else { continue };
        let Some(mut rest) = bytes.strip_prefix(&MAGIC) else { continue };
        let of_run = needed.entry(*run).or_default();
        while let Some(entry) = next_entry(&mut rest) {
            of_run.read(&entry);
        }
    }
    needed.into_iter().map(|(run, needed)| (run, needed.blobs)).collect()
}

#[derive(Default)]
struct Needed {
    blobs: BTreeSet<[u8; 32]>,
    /// The chunks of particles.
    chunks: BTreeMap<ParticleId, Vec<[u8; 32]>>,
}

impl Needed {
    fn read(&mut self, entry: &Entry) {
        match entry {
            Entry::BeginSwarm(begin) => {
                self.blobs.insert(*begin.start.bytes());
                let saved = swarm::Saved::decode(begin.state.as_deref()).unwrap_or_default();
                self.blobs.extend(saved.values().iter().map(|hash| *hash.bytes()));
            }
            Entry::SwarmInput(_, SwarmInput::Header { header, .. }) => {
                if let Ok(header) = header.signed::<ParticleHeader>() {
                    self.know(&header.body);
                }
            }
            Entry::Sealed(body) => {
                if let Ok(header) = decode_body::<ParticleHeader>(body) {
                    self.know(&header);
                }
            }
            Entry::SwarmInput(_, input) => {
                let Some(values) = input.values() else { return };
                self.blobs.insert(*values.hash.bytes());
                let chunks = values.particle.and_then(|particle| self.chunks.get(&particle));
                self.blobs.extend(chunks.into_iter().flatten());
            }
            Entry::BeginWindow(_)
            | Entry::WindowInput(..)
            | Entry::WindowTimeout(_)
            | Entry::WindowOutput(_)
            | Entry::SwarmTimeout(_)
            | Entry::SwarmOutput(_)
            | Entry::End
            | Entry::Private(_) => {}
        }
    }

    fn know(&mut self, header: &ParticleHeader) {
        let chunks = header.fields().chunks.iter().map(|chunk| *chunk.hash.bytes());
        self.chunks.insert(header.id(), chunks.collect());
    }
}
