//! The particle that a campaign promotes, as files beside the documents, and on its way to the broker.

use std::path::{Path, PathBuf};

use shoal_hal::backend::files::write_whole;
use shoal_link::{Broker as _, Link, PublishError, Sealed, SealedChunk};
use shoal_shadow::digits::hex;
use shoal_swarm::inbox::read;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::ParticleHeader;
use shoal_wire::{ChunkHash, Leaf, PublicKey, Topic};

use crate::output::{Failure, Outcome};

/// A folder of chunks, each named by its hash.
pub(crate) struct Chunks(PathBuf);

/// Something of a particle that is published: a chunk, or the header itself.
pub(super) struct Piece {
    topic: String,
    header: Vec<u8>,
    chunk: Option<(u8, Vec<u8>)>,
}

impl Chunks {
    /// Those of a fleet's folder.
    pub(super) fn of(fleet: &Path) -> Self {
        Chunks(fleet.join("documents/chunks"))
    }

    /// Those in this folder.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Chunks(folder)
    }

    fn path(&self, hash: &ChunkHash) -> PathBuf {
        self.0.join(hex(hash.bytes()))
    }

    /// Writes the chunks that a header names, in its order.
    pub(crate) fn write(&self, header: &ParticleHeader, chunks: &[Vec<u8>]) -> Outcome {
        std::fs::create_dir_all(&self.0)?;
        for (named, bytes) in header.fields().chunks.iter().zip(chunks) {
            write_whole(&self.path(&named.hash), bytes)?;
        }
        Ok(())
    }

    /// Reads the chunks that a header names, in its order.
    pub(crate) fn read(&self, header: &ParticleHeader) -> Result<Vec<Vec<u8>>, Failure> {
        let read = |hash: &ChunkHash| {
            let path = self.path(hash);
            std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        Ok(header
            .fields()
            .chunks
            .iter()
            .map(|chunk| read(&chunk.hash))
            .collect::<Result<_, _>>()?)
    }

    /// What is published of a particle whose header goes to this topic: its chunks, then the header.
    pub(super) fn pieces(
        &self,
        topic: &Topic<'_>,
        header: Vec<u8>,
        authority: PublicKey,
    ) -> Result<Vec<Piece>, Failure> {
        let Leaf::Particle { slot } = topic.leaf() else { return Ok(Vec::new()) };
        let read = verified::<ParticleHeader>(&header, &Own(authority))?;
        let chunks = self.read(read.body())?;
        let mut pieces = Vec::new();
        for (index, bytes) in (0..).zip(chunks) {
            let leaf = Leaf::Chunk { slot, index };
            let topic = Topic::new(topic.fleet(), topic.region(), topic.publisher(), leaf)?;
            let chunk = Some((index, bytes));
            pieces.push(Piece { topic: topic.to_string(), header: header.clone(), chunk });
        }
        pieces.push(Piece { topic: topic.to_string(), header, chunk: None });
        Ok(pieces)
    }
}

impl Piece {
    /// Leaves it at its topic.
    ///
    /// # Errors
    /// [`PublishError`]; [`PublishError::Topic`] if its bytes are not what the header names.
    pub(super) fn publish(
        &self,
        link: &mut Link,
        authority: PublicKey,
    ) -> Result<(), PublishError> {
        let own = Own(authority);
        let topic = Topic::decode(&self.topic).map_err(|_reject| PublishError::Topic)?;
        match &self.chunk {
            Some((index, bytes)) => {
                let header = verified::<ParticleHeader>(&self.header, &own)
                    .map_err(|_reject| PublishError::Topic)?;
                let chunk = SealedChunk::new(&header, *index, bytes)
                    .map_err(|_refused| PublishError::Topic)?;
                link.publish(&topic, Sealed::Chunk(chunk), None)?;
            }
            None => {
                let record =
                    read(&topic, &self.header, &own).map_err(|_reject| PublishError::Topic)?;
                link.publish(&topic, Sealed::Record(record.outbound()), None)?;
            }
        }
        Ok(())
    }
}
