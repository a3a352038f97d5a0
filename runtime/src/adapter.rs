//! Adapters: the layout of their factors, their values, and their forms on disk: PEFT and ONNX Runtime.

mod flat;
mod layout;
mod nested;
mod onnxruntime;
mod peft;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::tensor::SafeTensorError;
use sha2::{Digest, Sha256};

pub use layout::{Factor, Layout, Site};
pub use nested::NestedError;
pub use onnxruntime::{OnnxAdapter, OnnxAdapterError};
pub use peft::{PeftConfig, PeftError};

/// The values of all factors of one layout: one flat run of float32, sites by their place in the graph, A then
/// B, row-major, in PEFT's orientation.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    layout: Arc<Layout>,
    values: Vec<f32>,
}

/// Why values are no adapter of a layout.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    #[error("{got} values were given, the layout has {want}")]
    Length { got: usize, want: usize },
    #[error("factor `{factor}` is not finite at index {index}")]
    NotFinite { factor: String, index: usize },
}

/// Why an adapter is not written.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum WriteAdapterError {
    #[error("cannot write {}", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Values(#[from] AdapterError),
    #[error("cannot serialise the tensors")]
    Tensors(#[source] SafeTensorError),
    #[error("an adapter file of ONNX Runtime holds less than 2 GiB: write a PEFT directory")]
    TooLarge,
}

impl Adapter {
    /// Where training starts: A uniform in ±1/√fan-in (PEFT's), B zero, so that ΔW is zero.
    ///
    /// Row-major words of ChaCha8 with key SHA-256(`shoal/adapter/start` ‖ seed u64 ‖ site u32, little-endian),
    /// nonce 0; word w gives (w ≫ 8)·2⁻²³ − 1 times the bound. Sites are counted in the layout.
    pub fn start(layout: impl Into<Arc<Layout>>, seed: u64) -> Adapter {
        let mut adapter = Adapter::zero(layout);
        for (number, site) in adapter.layout.sites.iter().enumerate() {
            let mut key = Sha256::new();
            key.update(b"shoal/adapter/start");
            key.update(seed.to_le_bytes());
            key.update((number as u32).to_le_bytes());
            let mut random = ChaCha8Rng::from_seed(key.finalize().into());
            let fan_in: usize = site.a.dims[1..].iter().product();
            let bound = 1.0 / (fan_in as f32).sqrt();
            for value in &mut adapter.values[site.a.range.clone()] {
                let unit = (random.next_u32() >> 8) as f32 * (1.0 / 8_388_608.0) - 1.0;
                *value = unit * bound;
            }
        }
        adapter
    }

    /// The adapter that changes nothing and cannot be trained: A and B zero.
    pub fn zero(layout: impl Into<Arc<Layout>>) -> Adapter {
        let layout = layout.into();
        let values = vec![0.0; layout.values()];
        Adapter { layout, values }
    }

    /// An adapter from one flat run of values.
    ///
    /// # Errors
    /// [`AdapterError`] if the run has another length than the layout, or a value is not finite.
    pub fn from_values(
        layout: impl Into<Arc<Layout>>,
        values: Vec<f32>,
    ) -> Result<Adapter, AdapterError> {
        let layout = layout.into();
        if values.len() != layout.values() {
            return Err(AdapterError::Length { got: values.len(), want: layout.values() });
        }
        for factor in layout.factors() {
            let bad = values[factor.range.clone()].iter().position(|x| !x.is_finite());
            if let Some(index) = bad {
                return Err(AdapterError::NotFinite { factor: factor.input.clone(), index });
            }
        }
        Ok(Adapter { layout, values })
    }

    /// What the values mean.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The flat run of values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The flat run of values, to change.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The values of one factor of this adapter's layout.
    ///
    /// # Panics
    /// If the factor is of a longer layout.
    pub fn factor(&self, factor: &Factor) -> &[f32] {
        &self.values[factor.range.clone()]
    }

    /// ΔW = (α/r)·B·A of one site, row-major `[out, in·k…]`: the weight's own order for a convolution and
    /// for a weight stored `[out, in]`.
    ///
    /// # Panics
    /// If the site is of a longer layout.
    pub fn delta(&self, site: &Site) -> Vec<f32> {
        let (a, b) = (self.factor(&site.a), self.factor(&site.b));
        let rank = site.a.dims[0];
        let inner = a.len() / rank;
        let scale = f64::from(site.alpha) / rank as f64;
        let mut delta = Vec::with_capacity(site.b.dims[0] * inner);
        let mut row = vec![0.0f64; inner];
        for b_row in b.chunks_exact(rank) {
            row.fill(0.0);
            for (&b, a_row) in b_row.iter().zip(a.chunks_exact(inner)) {
                row.iter_mut().zip(a_row).for_each(|(sum, &a)| *sum += f64::from(b) * f64::from(a));
            }
            delta.extend(row.iter().map(|&sum| (scale * sum) as f32));
        }
        delta
    }
}

/// The bytes of a file whose length was looked at first.
fn read_bounded(file: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut opened = File::open(file)?;
    let bytes = opened.metadata()?.len();
    if bytes > max {
        let why = format!("it has {bytes} bytes, at most {max} are read");
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, why));
    }
    let mut read = Vec::with_capacity(bytes as usize);
    opened.by_ref().take(max).read_to_end(&mut read)?;
    Ok(read)
}
