//! Where the factors of an adapter stand, as shoal-soup has it.

use std::ops::Range;

use shoal_runtime::adapter::Layout;
use shoal_soup::sites::{Layers, Site, Sites, SitesError};

/// The sites of a layout. The kernel of a convolution counts as part of its inputs.
pub(super) fn sites(layout: &Layout) -> Result<Sites, SitesError> {
    let scale = layout.alpha / layout.rank as f32;
    let site = |site: &shoal_runtime::adapter::Site| Site {
        a: site.a.range.clone(),
        b: site.b.range.clone(),
        rank: layout.rank,
        scale,
    };
    Sites::new(layout.sites.iter().map(site).collect())
}

/// Neighbouring sites in `count` groups about alike, or as many as there are sites.
pub(super) fn grouped(layout: &Layout, count: usize) -> Result<Layers, SitesError> {
    let ranges: Vec<[Range<usize>; 2]> =
        layout.sites.iter().map(|site| [site.a.range.clone(), site.b.range.clone()]).collect();
    let count = count.clamp(1, ranges.len().max(1));
    let mut groups = vec![Vec::new(); count];
    for (index, ranges_of_site) in ranges.iter().enumerate() {
        if let Some(group) = groups.get_mut(index * count / ranges.len()) {
            group.extend_from_slice(ranges_of_site);
        }
    }
    Layers::new(groups)
}
