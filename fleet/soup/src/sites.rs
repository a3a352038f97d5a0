//! Where the factors of each site stand in a flat run, and which entries make up a layer.

use std::ops::Range;

use crate::input::InputError;

/// One site: two factors of one weight, ΔW = scale·B·A.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Where A stands, `[rank, in]` row-major. A convolution's kernel counts as part of `in`.
    pub a: Range<usize>,
    /// Where B stands, `[out, rank]` row-major.
    pub b: Range<usize>,
    /// The rank, at least 1.
    pub rank: usize,
    /// α/rank.
    pub scale: f32,
}

impl Site {
    /// Columns of A.
    pub fn inputs(&self) -> usize {
        self.a.len() / self.rank
    }

    /// Rows of B.
    pub fn outputs(&self) -> usize {
        self.b.len() / self.rank
    }
}

/// Why sites or layers are none of a flat run.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SitesError {
    /// A range is empty, or no multiple of the rank.
    #[error("site {site}: factors of {a} and {b} values have no rank {rank}")]
    Rank { site: usize, a: usize, b: usize, rank: usize },
    /// ΔW would be zero or no number.
    #[error("site {site}: the scale is zero or not finite")]
    Scale { site: usize },
    /// A range holds nothing.
    #[error("the range {start}..{end} is empty")]
    Empty { start: usize, end: usize },
    /// The ranges leave a gap or overlap.
    #[error(
        "a range starts at {start}, expected {want}: ranges must follow each other without a gap"
    )]
    Tiling { start: usize, want: usize },
}

/// The sites of an adapter. Their factors fill the flat run, each value in one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sites {
    sites: Vec<Site>,
    dim: usize,
}

impl Sites {
    /// The sites of a flat run.
    ///
    /// # Errors
    /// [`SitesError`] if a factor has not the shape its rank says, or the ranges do not tile `0..dim`.
    pub fn new(sites: Vec<Site>) -> Result<Self, SitesError> {
        for (index, site) in sites.iter().enumerate() {
            let (a, b, rank) = (site.a.len(), site.b.len(), site.rank);
            let fits = |len: usize| len > 0 && len.checked_rem(rank) == Some(0);
            if !fits(a) || !fits(b) {
                return Err(SitesError::Rank { site: index, a, b, rank });
            }
            if !site.scale.is_finite() || site.scale == 0.0 {
                return Err(SitesError::Scale { site: index });
            }
        }
        let dim = tiled(sites.iter().flat_map(|site| [&site.a, &site.b]))?;
        Ok(Self { sites, dim })
    }

    /// In flat order or not: as they were given.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Values of the flat run.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One layer a site: A and B together.
    pub fn layers(&self) -> Layers {
        let group = |site: &Site| vec![site.a.clone(), site.b.clone()];
        Layers { groups: self.sites.iter().map(group).collect(), dim: self.dim }
    }

    /// One layer a factor.
    pub fn factors(&self) -> Layers {
        let ranges = self.sites.iter().flat_map(|site| [site.a.clone(), site.b.clone()]);
        Layers { groups: ranges.map(|range| vec![range]).collect(), dim: self.dim }
    }

    /// A flat run of as many values.
    pub(crate) fn check(&self, member: usize, values: &[f32]) -> Result<(), InputError> {
        if values.len() != self.dim {
            return Err(InputError::Length { member, got: values.len(), want: self.dim });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(InputError::NotFinite { what: "member", at: member, index }),
            None => Ok(()),
        }
    }
}

/// Which entries of a flat run belong together. Each entry is in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    groups: Vec<Vec<Range<usize>>>,
    dim: usize,
}

impl Layers {
    /// Layers of these ranges.
    ///
    /// # Errors
    /// [`SitesError`] if a range is empty, or all together do not tile `0..dim`.
    pub fn new(groups: Vec<Vec<Range<usize>>>) -> Result<Self, SitesError> {
        let dim = tiled(groups.iter().flatten())?;
        Ok(Self { groups, dim })
    }

    /// Layers of these lengths, one behind the other.
    pub fn blocks(lengths: &[usize]) -> Self {
        let mut dim = 0;
        let block = |length: &usize| {
            let start = dim;
            dim += length;
            std::iter::once(start..dim).collect()
        };
        Self { groups: lengths.iter().map(block).collect(), dim }
    }

    /// One layer: the whole run.
    pub fn whole(dim: usize) -> Self {
        Self::blocks(&[dim])
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    /// Values of the flat run.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The ranges of each layer.
    pub fn ranges(&self) -> impl Iterator<Item = &[Range<usize>]> {
        self.groups.iter().map(Vec::as_slice)
    }

    /// Fails unless the run has `dim` values.
    pub(crate) fn check(&self, dim: usize) -> Result<(), InputError> {
        crate::input::count("values in the layers", self.dim, dim)
    }
}

/// The entries of one layer, in the order of its ranges.
pub(crate) fn gather(ranges: &[Range<usize>], values: &[f32]) -> Vec<f32> {
    ranges.iter().flat_map(|range| &values[range.clone()]).copied().collect()
}

/// Puts the entries of one layer back.
pub(crate) fn scatter(ranges: &[Range<usize>], layer: &[f32], values: &mut [f32]) {
    let mut from = 0;
    for range in ranges {
        let to = from + range.len();
        values[range.clone()].copy_from_slice(&layer[from..to]);
        from = to;
    }
}

/// The end of ranges that follow each other from 0, in some order.
fn tiled<'a>(ranges: impl Iterator<Item = &'a Range<usize>>) -> Result<usize, SitesError> {
    let mut ranges: Vec<&Range<usize>> = ranges.collect();
    ranges.sort_by_key(|range| range.start);
    let mut want = 0;
    for range in ranges {
        if range.is_empty() {
            return Err(SitesError::Empty { start: range.start, end: range.end });
        }
        if range.start != want {
            return Err(SitesError::Tiling { start: range.start, want });
        }
        want = range.end;
    }
    Ok(want)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(a: Range<usize>, b: Range<usize>, rank: usize) -> Site {
        Site { a, b, rank, scale: 1.0 }
    }

    #[test]
    fn factors_fill_the_run() {
        let sites = Sites::new(vec![site(6..10, 10..12, 2), site(0..4, 4..6, 1)]).unwrap();
        assert_eq!(sites.dim(), 12);
        assert_eq!((sites.sites()[0].inputs(), sites.sites()[0].outputs()), (2, 1));
        assert_eq!((sites.layers().count(), sites.factors().count()), (2, 4));
    }

    #[test]
    fn gaps_overlaps_and_wrong_ranks_are_errors() {
        let error = Sites::new(vec![site(0..4, 5..7, 1)]).unwrap_err();
        assert_eq!(error, SitesError::Tiling { start: 5, want: 4 });
        let error = Sites::new(vec![site(0..4, 3..7, 1)]).unwrap_err();
        assert_eq!(error, SitesError::Tiling { start: 3, want: 4 });
        for rank in [0, 3] {
            let error = Sites::new(vec![site(0..4, 4..6, rank)]).unwrap_err();
            assert_eq!(error, SitesError::Rank { site: 0, a: 4, b: 2, rank });
        }
        let still = Site { scale: 0.0, ..site(0..4, 4..6, 1) };
        assert_eq!(Sites::new(vec![still]).unwrap_err(), SitesError::Scale { site: 0 });
    }

    #[test]
    fn a_range_that_runs_backwards_is_an_error_and_no_panic() {
        #[expect(clippy::reversed_empty_ranges, reason = "what is refused")]
        let backwards = vec![0..2, 5..3];
        let error = Layers::new(vec![backwards]).unwrap_err();
        assert_eq!(error, SitesError::Empty { start: 5, end: 3 });
    }

    #[test]
    fn a_layer_comes_back_to_where_it_was() {
        let ranges = [4..6, 0..2];
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let layer = gather(&ranges, &values);
        assert_eq!(layer, [5.0, 6.0, 1.0, 2.0]);
        let mut back = [0.0; 6];
        scatter(&ranges, &layer, &mut back);
        assert_eq!(back, [1.0, 2.0, 0.0, 0.0, 5.0, 6.0]);
    }
}
