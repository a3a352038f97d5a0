//! Ranks in one another: an A that is drawn from a shared seed and not trained, of which a smaller rank is a prefix.
//!
//! Who trains B alone exchanges B alone, and adapters of several ranks add up: with one A, ΔW is linear in B, and a B of a
//! smaller rank is one of a larger whose last columns are nothing.
//!
//! ```text
//! key of row i of A = SHA-256(base model [32] ‖ seed u64 ‖ site u32 ‖ i u32), little-endian
//! value = ((w ≫ 8)·2⁻²⁴·2 − 1)·√(3/in)           w: the u32 words of ChaCha8 with that key, nonce 0; float32
//! ```
//!
//! # Source
//! A frozen at its start, B trained: Sun et al., FFA-LoRA, arXiv 2403.12313. A uniform of this bound has the variance 1/in.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::{Adapter, Layout, Site};

/// Why an adapter's A is not the one that is asked for.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NestedError {
    #[error("the adapter has the sites {}, wanted are {}", got.join(", "), want.join(", "))]
    Sites { got: Vec<String>, want: Vec<String> },
    #[error(
        "site `{site}`: factors {got:?} are no part of {want:?}: all but the rank must be equal, and the rank not larger"
    )]
    Shape { site: String, got: [Vec<usize>; 2], want: [Vec<usize>; 2] },
    #[error(
        "site `{site}`: row {row} of A is not the one that is drawn: the adapter is of another seed or base model, or its A was \
         trained"
    )]
    OtherA { site: String, row: usize },
}

impl Adapter {
    /// Where training of B alone starts: A drawn row by row as the head of this file says, B zero.
    ///
    /// `base_model` is the SHA-256 of the base model's file. Sites are counted in the layout: adapters whose A are to be one
    /// are of the same sites. `in` is what a row of A holds: all but its first dimension.
    pub fn start_frozen(
        layout: impl Into<Arc<Layout>>,
        base_model: &[u8; 32],
        seed: u64,
    ) -> Adapter {
        let mut adapter = Adapter::zero(layout);
        for (number, site) in adapter.layout.sites.iter().enumerate() {
            let columns = columns(site);
            let bound = (3.0 / columns as f32).sqrt();
            let rows = adapter.values[site.a.range.clone()].chunks_exact_mut(columns);
            for (row, values) in rows.enumerate() {
                let mut key = Sha256::new();
                key.update(base_model);
                key.update(seed.to_le_bytes());
                key.update((number as u32).to_le_bytes());
                key.update((row as u32).to_le_bytes());
                let mut random = ChaCha8Rng::from_seed(key.finalize().into());
                for value in values {
                    let unit = (random.next_u32() >> 8) as f32 * (1.0 / 8_388_608.0) - 1.0;
                    *value = unit * bound;
                }
            }
        }
        adapter
    }

    /// Checks that this adapter's A begin with those of `wide`, another of the same sites, ranks being equal or smaller.
    ///
    /// # Errors
    /// [`NestedError`] names the site.
    pub fn is_within(&self, wide: &Adapter) -> Result<(), NestedError> {
        let names = |of: &Adapter| -> Vec<String> {
            of.layout.sites.iter().map(|site| site.name.clone()).collect()
        };
        if names(self) != names(wide) {
            return Err(NestedError::Sites { got: names(self), want: names(wide) });
        }
        for (site, into) in self.layout.sites.iter().zip(&wide.layout.sites) {
            // A is [r, in…], B [out, r, 1…].
            let fits = site.a.dims[1..] == into.a.dims[1..]
                && site.a.dims[0] <= into.a.dims[0]
                && site.b.dims[0] == into.b.dims[0];
            if !fits {
                let dims = |of: &Site| [of.a.dims.clone(), of.b.dims.clone()];
                let (got, want) = (dims(site), dims(into));
                return Err(NestedError::Shape { site: site.name.clone(), got, want });
            }
            let columns = columns(site);
            let rows = self.factor(&site.a).chunks_exact(columns);
            let same = |(a, b): (&[f32], &[f32])| {
                a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
            };
            let mut pairs = rows.zip(wide.factor(&into.a).chunks_exact(columns));
            if let Some(row) = pairs.position(|pair| !same(pair)) {
                return Err(NestedError::OtherA { site: site.name.clone(), row });
            }
        }
        Ok(())
    }

    /// This adapter in the layout of `wide`, of the same A and of the same or larger ranks: A is that of `wide`, B has columns
    /// of zeros behind its own, and is scaled where α/r differs. ΔW stays what it was; B of several such adapters add up.
    ///
    /// # Errors
    /// [`NestedError`] names the site whose A is not the beginning of the one of `wide`.
    pub fn widened(&self, wide: &Adapter) -> Result<Adapter, NestedError> {
        self.is_within(wide)?;
        let mut made = Adapter::zero(Arc::clone(&wide.layout));
        for (site, into) in self.layout.sites.iter().zip(&wide.layout.sites) {
            made.values[into.a.range.clone()].copy_from_slice(wide.factor(&into.a));
            let (rank, wider) = (site.a.dims[0], into.a.dims[0]);
            let scale = |alpha: f32, rank: usize| f64::from(alpha) / rank as f64;
            let times = scale(site.alpha, rank) / scale(into.alpha, wider);
            let rows = made.values[into.b.range.clone()].chunks_exact_mut(wider);
            for (to, from) in rows.zip(self.factor(&site.b).chunks_exact(rank)) {
                to.iter_mut().zip(from).for_each(|(b, x)| *b = (times * f64::from(*x)) as f32);
            }
        }
        Ok(made)
    }
}

impl Layout {
    /// Which values an adapter of a smaller rank has: the first rows of every A, the first columns of every B. In this order
    /// they are the values of an adapter of that rank.
    pub fn of_rank(&self, rank: usize) -> Vec<bool> {
        let mut has = vec![false; self.values()];
        for site in &self.sites {
            let inner = columns(site);
            let of_a = &mut has[site.a.range.clone()];
            of_a.iter_mut().enumerate().for_each(|(at, value)| *value = at / inner < rank);
            let wide = site.a.dims[0].max(1);
            let of_b = &mut has[site.b.range.clone()];
            of_b.iter_mut().enumerate().for_each(|(at, value)| *value = at % wide < rank);
        }
        has
    }
}

/// Values of a row of A, at least one.
fn columns(site: &Site) -> usize {
    site.a.dims[1..].iter().product::<usize>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Factor;
    use crate::graft::SiteNode;

    #[test]
    fn a_smaller_rank_is_the_first_rows_of_a_and_the_first_columns_of_b() {
        let factor = |dims: &[usize], start: usize| {
            let values: usize = dims.iter().product();
            Factor { input: String::new(), dims: dims.to_vec(), range: start..start + values }
        };
        // A [3, 2, 1, 1] and B [2, 3, 1, 1] of a convolution.
        let site = Site {
            name: "a".into(),
            module: None,
            weight: "a".into(),
            nodes: vec![SiteNode { index: 0, input: 1, output: "a".into() }],
            operator: "Conv".into(),
            base_sha256: [0; 32],
            a: factor(&[3, 2, 1, 1], 0),
            b: factor(&[2, 3, 1, 1], 6),
            alpha: 3.0,
        };
        let layout = Layout { sites: vec![site], rank: 3, alpha: 3.0 };
        let found: Vec<u8> = layout.of_rank(1).into_iter().map(u8::from).collect();
        assert_eq!(found, [1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
        assert!(layout.of_rank(3).into_iter().all(|has| has));
    }
}
