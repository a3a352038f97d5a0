//! An adapter as the file that ONNX Runtime puts beside a model (`.onnx_adapter`): its parameters are the factor inputs of
//! the grafted graph, by their names, so that a run with the adapter active is given no factors.
//!
//! The format has no place for α, which is in the graph, and two integers that ONNX Runtime leaves to whoever writes: the
//! adapter's version is α as the bits of a float32, the model's version says which weights it was trained on. Integers too small
//! for a normal float32 are versions of somebody else's counting and say nothing of α.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::flat::{self, Broken, Contents, Parameter};
use super::layout::{Factor, Layout};
use super::{Adapter, AdapterError, WriteAdapterError};
use crate::graft::{FACTOR, GraftOptions, Profile};
use crate::onnx::{Element, Tensor, write_whole};

/// What the name of such a file ends with, behind a dot.
const ENDING: &str = "onnx_adapter";

/// A file of ONNX Runtime that was read, and is not yet an adapter of a layout.
#[derive(Clone, Debug)]
pub struct OnnxAdapter {
    file: PathBuf,
    bytes: Vec<u8>,
    contents: Contents,
}

/// Why a file is no adapter for a model. It is untrusted: no variant is a bug of ours.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum OnnxAdapterError {
    #[error("cannot read {}", file.display())]
    Io {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no adapter file of ONNX Runtime: {what} (byte {at})", file.display())]
    Broken { file: PathBuf, what: &'static str, at: usize },
    #[error(
        "{} does not say with which alpha it was trained: `shoal model convert --alpha ALPHA` makes one that does",
        file.display()
    )]
    NoAlpha { file: PathBuf },
    #[error("{} was trained with alpha {says}, not {asked}", file.display())]
    OtherAlpha { file: PathBuf, says: f32, asked: f32 },
    #[error("{} was trained on other weights than the model has", file.display())]
    OtherModel { file: PathBuf },
    #[error("{}: `{parameter}` is no `lora.SITE.A` or `lora.SITE.B` of a site of the model", file.display())]
    Unknown { file: PathBuf, parameter: String },
    #[error("{} lacks parameter `{parameter}`", file.display())]
    Missing { file: PathBuf, parameter: String },
    #[error("{}: `{parameter}` has shape {got:?}, the model needs {want:?}", file.display())]
    Shape { file: PathBuf, parameter: String, got: Vec<usize>, want: Vec<usize> },
    #[error("{}: `{parameter}` has ONNX's type {got}; float, float16 and bfloat16 are read", file.display())]
    Type { file: PathBuf, parameter: String, got: i32 },
    #[error("{}: `{parameter}` has {got} bytes of values, its shape needs {want}", file.display())]
    Length { file: PathBuf, parameter: String, got: usize, want: usize },
    #[error("{}: {source}", file.display())]
    Values {
        file: PathBuf,
        #[source]
        source: AdapterError,
    },
}

impl OnnxAdapter {
    /// Whether a path is called as such a file is.
    pub fn is_called_so(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending == ENDING)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`OnnxAdapterError::Io`] and [`OnnxAdapterError::Broken`].
    pub fn read(file: &Path) -> Result<OnnxAdapter, OnnxAdapterError> {
        let io = |source| OnnxAdapterError::Io { file: file.to_owned(), source };
        let bytes = super::read_bounded(file, flat::BYTES_MAX as u64).map_err(io)?;
        OnnxAdapter::from_bytes(bytes, file)
    }

    /// Reads the bytes of a file; errors call them `file`.
    ///
    /// # Errors
    /// [`OnnxAdapterError::Broken`].
    pub fn from_bytes(bytes: Vec<u8>, file: &Path) -> Result<OnnxAdapter, OnnxAdapterError> {
        let file = file.to_owned();
        match flat::parse(&bytes) {
            Ok(contents) => Ok(OnnxAdapter { file, bytes, contents }),
            Err(Broken { what, at }) => Err(OnnxAdapterError::Broken { file, what, at }),
        }
    }

    /// The α that the file says it was trained with.
    pub fn alpha(&self) -> Option<f32> {
        let alpha = f32::from_bits(self.contents.adapter_version.cast_unsigned());
        Some(alpha).filter(|alpha| alpha.is_normal() && *alpha > 0.0)
    }

    /// How to graft a model with these sites so that this adapter fits it. `alpha` is for a file that says none.
    ///
    /// # Errors
    /// [`OnnxAdapterError`] if no α is known, or two are, and for a parameter that is no factor of a site.
    pub fn graft_options(
        &self,
        sites: &[String],
        alpha: Option<f32>,
    ) -> Result<GraftOptions, OnnxAdapterError> {
        let file = || self.file.clone();
        let alpha = match (self.alpha(), alpha) {
            (Some(says), Some(asked)) if says != asked => {
                return Err(OnnxAdapterError::OtherAlpha { file: file(), says, asked });
            }
            (says, asked) => {
                says.or(asked).ok_or_else(|| OnnxAdapterError::NoAlpha { file: file() })?
            }
        };
        let (mut targets, mut ranks) = (Vec::new(), Vec::new());
        for (name, parameter) in &self.contents.parameters {
            let factor = name.strip_prefix(FACTOR);
            let site = factor.and_then(|f| f.strip_suffix(".A").or(f.strip_suffix(".B")));
            let Some(site) = site.filter(|site| sites.iter().any(|s| s == site)) else {
                return Err(OnnxAdapterError::Unknown { file: file(), parameter: name.clone() });
            };
            if name.ends_with(".A") {
                let rank = parameter.dims.first().copied().unwrap_or_default();
                targets.push(format!("{site}={rank}"));
                ranks.push(rank);
            }
        }
        let rank = ranks.first().copied().unwrap_or(GraftOptions::default().rank);
        Ok(GraftOptions { targets, rank, alpha, profile: Profile::default() })
    }

    /// The adapter of this layout: every factor must be there, and nothing else.
    ///
    /// # Errors
    /// [`OnnxAdapterError`] names the parameter that does not fit.
    pub fn adapter(&self, layout: impl Into<Arc<Layout>>) -> Result<Adapter, OnnxAdapterError> {
        let layout = layout.into();
        let file = || self.file.clone();
        if let Some(says) = self.alpha() {
            if says != layout.alpha {
                return Err(OnnxAdapterError::OtherAlpha {
                    file: file(),
                    says,
                    asked: layout.alpha,
                });
            }
            if self.contents.model_version != weights_version(&layout) {
                return Err(OnnxAdapterError::OtherModel { file: file() });
            }
        }
        let known = |name: &str| layout.factors().any(|factor| factor.input == name);
        let mut names = self.contents.parameters.keys();
        if let Some(parameter) = names.find(|name| !known(name)).cloned() {
            return Err(OnnxAdapterError::Unknown { file: file(), parameter });
        }
        let mut values = Vec::with_capacity(layout.values());
        for factor in layout.factors() {
            values.extend(self.values(factor)?);
        }
        Adapter::from_values(layout, values)
            .map_err(|source| OnnxAdapterError::Values { file: file(), source })
    }

    /// The values of one factor.
    fn values(&self, factor: &Factor) -> Result<Vec<f32>, OnnxAdapterError> {
        let (file, parameter) = (|| self.file.clone(), || factor.input.clone());
        let Some(Parameter { dims, data_type, range }) =
            self.contents.parameters.get(&factor.input)
        else {
            return Err(OnnxAdapterError::Missing { file: file(), parameter: parameter() });
        };
        if *dims != factor.dims {
            let (got, want) = (dims.clone(), factor.dims.clone());
            return Err(OnnxAdapterError::Shape {
                file: file(),
                parameter: parameter(),
                got,
                want,
            });
        }
        let element = Element::from_onnx(*data_type);
        let element = element.filter(|e| matches!(e, Element::F32 | Element::F16 | Element::Bf16));
        let Some(element) = element else {
            let got = *data_type;
            return Err(OnnxAdapterError::Type { file: file(), parameter: parameter(), got });
        };
        let bytes = self.bytes.get(range.clone()).unwrap_or_default();
        let Some(tensor) = Tensor::from_le_bytes(element, dims, bytes) else {
            let (got, want) = (range.len(), factor.range.len() * element.bytes());
            return Err(OnnxAdapterError::Length {
                file: file(),
                parameter: parameter(),
                got,
                want,
            });
        };
        Ok(tensor.to_f64s().into_iter().map(|value| value as f32).collect())
    }
}

impl Adapter {
    /// Writes the adapter where `path` says: a file of ONNX Runtime if its name ends so, else a PEFT directory.
    ///
    /// # Errors
    /// As [`Adapter::write_peft`] and [`Adapter::to_onnx_adapter`].
    pub fn write(&self, path: &Path) -> Result<(), WriteAdapterError> {
        self.write_trained(path, 0.0)
    }

    /// As [`Adapter::write`], with the dropout that it was trained with, in `[0, 1)`: a PEFT directory says it.
    ///
    /// # Errors
    /// As [`Adapter::write`].
    pub fn write_trained(&self, path: &Path, dropout: f32) -> Result<(), WriteAdapterError> {
        if !OnnxAdapter::is_called_so(path) {
            return self.write_peft_of(path, dropout);
        }
        let io = |source| WriteAdapterError::Io { file: path.to_owned(), source };
        write_whole(path, &self.to_onnx_adapter()?).map_err(io)
    }

    /// The adapter as a file of ONNX Runtime, for a graph with one α: another α of a site goes into its B.
    ///
    /// # Errors
    /// [`WriteAdapterError`] if a value is not finite, or the file would have 2 GiB.
    pub fn to_onnx_adapter(&self) -> Result<Vec<u8>, WriteAdapterError> {
        let layout = self.layout();
        let of_one = self.of_one_alpha()?;
        let tensors = layout.factors().map(|f| (f.input.as_str(), &f.dims[..], of_one.factor(f)));
        let tensors: Vec<flat::Named<'_>> = tensors.collect();
        let alpha = layout.alpha.to_bits().cast_signed();
        flat::write(alpha, weights_version(layout), &tensors).ok_or(WriteAdapterError::TooLarge)
    }
}

impl Adapter {
    /// The values with which every ΔW is the same where all sites have the layout's α.
    fn of_one_alpha(&self) -> Result<Adapter, AdapterError> {
        let layout = self.layout();
        let mut values = self.values().to_vec();
        for site in layout.sites.iter().filter(|site| site.alpha != layout.alpha) {
            let ratio = f64::from(site.alpha) / f64::from(layout.alpha);
            for value in values.get_mut(site.b.range.clone()).unwrap_or_default() {
                *value = (f64::from(*value) * ratio) as f32;
            }
        }
        Adapter::from_values(Arc::clone(layout), values)
    }
}

/// Which weights a layout is of: the first four bytes, little-endian, of SHA-256 over the hashes of its base weights.
fn weights_version(layout: &Layout) -> i32 {
    let mut hash = Sha256::new();
    layout.sites.iter().for_each(|site| hash.update(site.base_sha256));
    let hash: [u8; 32] = hash.finalize().into();
    i32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]])
}
