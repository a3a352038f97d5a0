//! Where the factors of an adapter stand, as shoal-soup has it.

use std::ops::Range;

use shoal_runtime::adapter::Layout;
use shoal_soup::sites::{Layers, Site, Sites, SitesError};

/// The sites of a layout. The kernel of a convolution counts as part of its inputs.
pub(super) fn sites(layout: &Layout) -> Result<Sites, SitesError> {
    let site = |site: &shoal_runtime::adapter::Site| Site {
        a: site.a.range.clone(),
        b: site.b.range.clone(),
        rank: site.a.dims[0],
        scale: site.alpha / site.a.dims[0] as f32,
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

#[cfg(test)]
mod tests {
    use shoal_runtime::adapter::{Factor, Site};
    use shoal_runtime::graft::SiteNode;

    use super::*;

    /// So many sites of a `[2, 3]` weight at rank 1.
    fn layout(count: usize) -> Layout {
        let factor = |dims: [usize; 2], start: usize| Factor {
            input: String::new(),
            dims: dims.to_vec(),
            range: start..start + dims[0] * dims[1],
        };
        let site = |number: usize| Site {
            name: format!("{number}"),
            module: None,
            weight: String::new(),
            nodes: vec![SiteNode { index: number, input: 1, output: String::new() }],
            operator: "MatMul".into(),
            base_sha256: [0; 32],
            a: factor([1, 3], 5 * number),
            b: factor([2, 1], 5 * number + 3),
            alpha: 2.0,
        };
        Layout { sites: (0..count).map(site).collect(), rank: 1, alpha: 2.0 }
    }

    #[test]
    fn sites_have_the_shapes_and_the_scale_of_the_layout() {
        let sites = sites(&layout(3)).unwrap();
        assert_eq!((sites.dim(), sites.sites().len()), (15, 3));
        let last = &sites.sites()[2];
        assert_eq!((last.inputs(), last.outputs(), last.scale), (3, 2, 2.0));
    }

    #[test]
    fn groups_are_neighbours_about_alike() {
        let groups = grouped(&layout(5), 2).unwrap();
        let values: Vec<usize> =
            groups.ranges().map(|ranges| ranges.iter().map(Range::len).sum()).collect();
        assert_eq!(values, [15, 10]);
        assert_eq!(grouped(&layout(3), 64).unwrap().count(), 3, "no more than there are sites");
    }
}
