//! Which factors an adapter has, and where each stands in its flat run of values.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::graft::{FACTOR, SiteNode, WeightSite};
use crate::onnx::proto::TensorProto;
use crate::onnx::{Tensor, TensorError};

/// One factor of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// The graph input that takes it: `lora.<site>.A` or `lora.<site>.B`.
    pub input: String,
    /// The dimensions, in PEFT's orientation, which is also the graph's.
    pub dims: Vec<usize>,
    /// Where its values stand in the flat run.
    pub range: Range<usize>,
}

/// One weight with its two factors.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The name of the weight, made unique where nodes of several kinds use one.
    pub name: String,
    /// What people call it, where the weight has a made-up name.
    pub module: Option<String>,
    /// The name of the weight in the file.
    pub weight: String,
    /// The nodes that read it, in the order of the folded graph; never none.
    pub nodes: Vec<SiteNode>,
    /// The operator of the nodes.
    pub operator: String,
    /// SHA-256 of the weight as the file stores it: little-endian, row-major, its own type.
    pub base_sha256: [u8; 32],
    /// A: `[r, in]`, or `[r, in/g, k…]` of a convolution.
    pub a: Factor,
    /// B: `[out, r]`, or `[out, r, 1…]` of a convolution.
    pub b: Factor,
    /// The numerator α of the scale α/r.
    pub alpha: f32,
}

/// The factors of an adapter, in flat order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The sites, by the place of their first node in the folded graph.
    pub sites: Vec<Site>,
    /// The rank r of every factor pair whose A has no other first dimension.
    pub rank: usize,
    /// The α of every site that has no other.
    pub alpha: f32,
}

impl Site {
    /// The site of one weight; its ranges are set when it becomes part of a layout.
    ///
    /// # Errors
    /// [`TensorError`] if the weight is not stored as its type says.
    pub(crate) fn of(
        site: &WeightSite,
        weight: &TensorProto,
        rank: usize,
        alpha: f32,
    ) -> Result<Site, TensorError> {
        let (a_dims, b_dims) = site.factor_dims(rank);
        let factor = |letter: char, dims: Vec<usize>| {
            let values = dims.iter().product();
            Factor { input: format!("{FACTOR}{}.{letter}", site.name), dims, range: 0..values }
        };
        // A weight may be most of its model: what is stored as it is hashed is not copied.
        let base_sha256 = match Tensor::stored_raw(weight)? {
            (_, Some(raw)) => Sha256::digest(raw),
            (_, None) => Sha256::digest(Tensor::from_proto(weight)?.to_le_bytes()),
        };
        Ok(Site {
            name: site.name.clone(),
            module: site.module.clone(),
            weight: site.weight.clone(),
            nodes: site.nodes.clone(),
            operator: site.operator.clone(),
            base_sha256: base_sha256.into(),
            a: factor('A', a_dims),
            b: factor('B', b_dims),
            alpha,
        })
    }
}

impl Site {
    /// What it is called in messages.
    fn label(&self) -> &str {
        self.module.as_deref().unwrap_or(&self.name)
    }

    /// What another layout has otherwise of this site, as the rest of a sentence.
    fn difference(&self, other: &Site) -> Option<String> {
        let [own, its] = [self, other].map(|site| (&site.a.dims, &site.b.dims));
        if self.a.dims.first() != other.a.dims.first() {
            let [own, its] = [own, its].map(|(a, _b)| a.first().copied().unwrap_or(0));
            return Some(format!("has rank {its} there and {own} here"));
        }
        if self.alpha != other.alpha {
            return Some(format!("has alpha {} there and {} here", other.alpha, self.alpha));
        }
        if own != its {
            return Some(format!("has factors {its:?} there and {own:?} here"));
        }
        (self.base_sha256 != other.base_sha256).then(|| "is another weight there".to_owned())
    }
}

impl Layout {
    /// A layout of these sites, whose factors are put one behind the other.
    pub(crate) fn new(mut sites: Vec<Site>, rank: usize, alpha: f32) -> Layout {
        let mut end = 0;
        for factor in sites.iter_mut().flat_map(|s| [&mut s.a, &mut s.b]) {
            let start = end;
            end += factor.range.len();
            factor.range = start..end;
        }
        Layout { sites, rank, alpha }
    }

    /// Every factor in flat order: A and B of the first site, A and B of the second, …
    pub fn factors(&self) -> impl Iterator<Item = &Factor> {
        self.sites.iter().flat_map(|s| [&s.a, &s.b])
    }

    /// The factors that training moves: all, or, where A is frozen, B alone.
    pub fn trained(&self, frozen_a: bool) -> impl Iterator<Item = &Factor> {
        self.sites
            .iter()
            .flat_map(move |s| [Some(&s.a).filter(|_| !frozen_a), Some(&s.b)])
            .flatten()
    }

    /// The number of values of an adapter.
    pub fn values(&self) -> usize {
        self.factors().last().map_or(0, |f| f.range.end)
    }

    /// What first keeps an adapter of another layout from being one of this: the site, and how either has it.
    pub fn difference(&self, other: &Layout) -> Option<String> {
        let named = |sites: &[Site], name: &str| sites.iter().find(|s| s.name == name).cloned();
        let more = other.sites.iter().find(|site| named(&self.sites, &site.name).is_none());
        if let Some(site) = more {
            return Some(format!("it has factors for `{}`, which has none here", site.label()));
        }
        for own in &self.sites {
            let Some(site) = named(&other.sites, &own.name) else {
                return Some(format!("it has no factors for `{}`", own.label()));
            };
            if let Some(how) = own.difference(&site) {
                return Some(format!("`{}` {how}", own.label()));
            }
        }
        let names = |of: &Layout| of.sites.iter().map(|site| site.name.clone()).collect::<Vec<_>>();
        (names(self) != names(other)).then(|| "its sites have another order".to_owned())
    }

    /// What names this layout: adapters with one hash fit each other, value by value.
    ///
    /// SHA-256 over, per site in flat order: index of the first node u32 ‖ SHA-256 of the base weight ‖ length u8 and
    /// name of the operator ‖ rank u8 and dimensions u32… of A, of B ‖ α as float32; little-endian.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for site in &self.sites {
            let first = site.nodes.first().map_or(0, |node| node.index);
            hash.update((first as u32).to_le_bytes());
            hash.update(site.base_sha256);
            hash.update([site.operator.len() as u8]);
            hash.update(site.operator.as_bytes());
            for dims in [&site.a.dims, &site.b.dims] {
                hash.update([dims.len() as u8]);
                dims.iter().for_each(|&d| hash.update((d as u32).to_le_bytes()));
            }
            hash.update(site.alpha.to_le_bytes());
        }
        hash.finalize().into()
    }
}
