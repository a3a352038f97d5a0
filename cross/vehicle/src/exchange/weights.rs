//! Adapters as particles: a flat run of values becomes chunks and the header that names them, and back.

use sha2::{Digest, Sha256};
use shoal_wire::coding::{EncodeError, Encoder, Quality, RejectChunk, decode_chunk};
use shoal_wire::v1::{
    CHUNK_BYTES_MAX, CHUNKS_MAX, CODING_VERSION_MAX, Chunk, MergeInput, ParticleHeader,
    ParticleHeaderFields, RejectParticleHeader, Role,
};
use shoal_wire::{ChunkHash, LayoutHash, ModelHash, ParticleId};

/// What the weights of a particle are.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// What they are for.
    pub role: Role,
    /// The window in which the particle is claimed.
    pub window: u32,
    /// The model they adapt.
    pub base_model: ModelHash,
    /// The layout of the flat run.
    pub layout: LayoutHash,
    /// What a contribution is a difference to; `None`: the start adapter.
    pub anchor: Option<ParticleId>,
    /// What a merge was folded from, by growing particle id.
    pub inputs: Vec<MergeInput>,
}

/// A particle ready to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Coded {
    /// Its header.
    pub header: ParticleHeader,
    /// Its chunks, in order.
    pub chunks: Vec<Vec<u8>>,
    /// What every receiver sees: the difference to the reference, `[values]`. This is what is measured.
    pub received: Vec<f32>,
    /// What was meant less what is received: added to what is meant in the next window.
    pub remainder: Vec<f32>,
}

/// Why weights are no particle.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("the weights cannot be coded")]
    Encode(#[from] EncodeError),
    #[error("the weights need more than {CHUNKS_MAX} chunks: lower the rank or the bits")]
    TooManyChunks,
    #[error("more inputs than a header can name")]
    TooManyInputs,
    #[error("the particle has no header")]
    Header(#[from] RejectParticleHeader),
}

/// Why received chunks are no weights. The sender is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectWeights {
    #[error("the particle has {got} values, an adapter of this model {want}")]
    Values { got: u32, want: usize },
    #[error("{got} chunks for a header that names {want}")]
    Chunks { got: usize, want: usize },
    #[error("chunk {index} cannot be decoded")]
    Chunk { index: usize, source: RejectChunk },
}

/// Codes what a particle means: the difference to its reference, plus what earlier windows kept back.
///
/// # Shapes and units
/// `meant`: `[values]`, the tensors of `tensors` (counts of values) one behind the other.
/// # Errors
/// [`CodeError`].
pub fn code(
    about: About,
    mut meant: Vec<f32>,
    tensors: &[u32],
    quality: Quality,
) -> Result<Coded, CodeError> {
    let mut received = vec![0.0; meant.len()];
    let mut encoder = Encoder::new(quality, tensors, &mut meant, &mut received)?;
    let mut buffer = vec![0; CHUNK_BYTES_MAX as usize];
    let (mut chunks, mut named) = (Vec::new(), heapless::Vec::new());
    while let Some(chunk) = encoder.next_chunk(&mut buffer)? {
        let name = Chunk {
            first_value: chunk.first_value,
            // At most `CHUNK_BYTES_MAX`.
            bytes: chunk.bytes.len() as u32,
            hash: ChunkHash::new(Sha256::digest(chunk.bytes).into()),
        };
        named.push(name).map_err(|_full| CodeError::TooManyChunks)?;
        chunks.push(chunk.bytes.to_vec());
    }
    let About { role, window, base_model, layout, anchor, inputs } = about;
    let header = ParticleHeader::new(ParticleHeaderFields {
        role,
        window,
        base_model,
        layout,
        anchor,
        inputs: inputs.as_slice().try_into().map_err(|_full| CodeError::TooManyInputs)?,
        coding: CODING_VERSION_MAX,
        // The encoder refuses a run of more.
        values: received.len() as u32,
        chunks: named,
    })?;
    Ok(Coded { header, chunks, received, remainder: meant })
}

/// Decodes the chunks of a particle whose hashes were checked: the difference to its reference, `[values]`.
///
/// # Errors
/// [`RejectWeights`]; memory is taken for `values` values only.
pub fn decode(
    header: &ParticleHeader,
    chunks: &[impl AsRef<[u8]>],
    values: usize,
) -> Result<Vec<f32>, RejectWeights> {
    let fields = header.fields();
    if fields.values as usize != values {
        return Err(RejectWeights::Values { got: fields.values, want: values });
    }
    if chunks.len() != fields.chunks.len() {
        return Err(RejectWeights::Chunks { got: chunks.len(), want: fields.chunks.len() });
    }
    let mut decoded = vec![0.0; values];
    let mut rest = decoded.as_mut_slice();
    let ends = fields.chunks.iter().skip(1).map(|next| next.first_value).chain([fields.values]);
    for (index, ((chunk, named), end)) in chunks.iter().zip(&fields.chunks).zip(ends).enumerate() {
        // A header's chunks begin at value 0, and each after the one before.
        let (mine, after) = rest.split_at_mut((end - named.first_value) as usize);
        decode_chunk(chunk.as_ref(), mine)
            .map_err(|source| RejectWeights::Chunk { index, source })?;
        rest = after;
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENSORS: [u32; 3] = [300, 7, 40_000];

    fn about() -> About {
        About {
            role: Role::Contribution,
            window: 3,
            base_model: ModelHash::new([1; 32]),
            layout: LayoutHash::new([2; 32]),
            anchor: None,
            inputs: Vec::new(),
        }
    }

    fn meant() -> Vec<f32> {
        (0..40_307_u32).map(|i| (i.wrapping_mul(2_654_435_761) as i32) as f32 * 1e-12).collect()
    }

    fn coded(bits: u8) -> Coded {
        code(about(), meant(), &TENSORS, Quality::new(bits).unwrap()).unwrap()
    }

    #[test]
    fn a_receiver_sees_what_the_sender_says_it_sees() {
        for bits in 1..=8 {
            let sent = coded(bits);
            let got = decode(&sent.header, &sent.chunks, 40_307).unwrap();
            assert_eq!(got, sent.received, "{bits} bits");
            let kept = sent.remainder.iter().zip(&got).map(|(kept, got)| kept + got);
            assert!(
                kept.zip(meant()).all(|(sum, meant)| (sum - meant).abs() < 1e-9),
                "{bits} bits"
            );
        }
    }

    #[test]
    fn equal_weights_are_one_particle() {
        assert_eq!(coded(2).header.id(), coded(2).header.id());
        assert_ne!(coded(2).header.id(), coded(3).header.id());
    }

    #[test]
    fn long_runs_take_several_chunks_each_of_which_is_named() {
        let sent = code(about(), vec![0.5; 400_000], &[400_000], Quality::new(8).unwrap());
        let meant: Vec<f32> = (0..400_000_u32).map(|i| (i % 251) as f32 - 125.0).collect();
        let sent = sent.and(code(about(), meant, &[400_000], Quality::new(8).unwrap())).unwrap();
        assert!(sent.chunks.len() > 1);
        for (chunk, named) in sent.chunks.iter().zip(&sent.header.fields().chunks) {
            assert_eq!(named.bytes as usize, chunk.len());
            assert_eq!(named.hash.bytes()[..], Sha256::digest(chunk)[..]);
        }
        assert_eq!(decode(&sent.header, &sent.chunks, 400_000).unwrap(), sent.received);
    }

    #[test]
    fn what_is_no_adapter_of_this_model_is_refused_before_memory_is_taken() {
        let sent = coded(2);
        let refused = decode(&sent.header, &sent.chunks, 40_306);
        assert_eq!(refused, Err(RejectWeights::Values { got: 40_307, want: 40_306 }));
        let refused = decode(&sent.header, &sent.chunks[1..], 40_307);
        assert!(matches!(refused, Err(RejectWeights::Chunks { got: 0, want: 1 })));
        let mut torn = sent.chunks.clone();
        torn[0].truncate(9);
        let refused = decode(&sent.header, &torn, 40_307);
        assert!(matches!(refused, Err(RejectWeights::Chunk { index: 0, .. })));
    }
}
