//! Adapters of a smaller rank in the layout of the model's: a smaller rank is a prefix.

use shoal_runtime::adapter::Layout;
use shoal_swarm::swarm::Flat;

/// Which values of an adapter a vehicle of this rank trains: the first rows of every A, the first columns of every B.
#[must_use]
pub fn trained(layout: &Layout, rank: usize) -> Vec<bool> {
    let mut trained = vec![false; layout.values()];
    for site in &layout.sites {
        let inner = site.a.dims.iter().skip(1).product::<usize>().max(1);
        let of_a = trained.get_mut(site.a.range.clone()).unwrap_or_default();
        of_a.iter_mut().enumerate().for_each(|(at, value)| *value = at / inner < rank);
        let columns = site.b.dims.get(1).copied().unwrap_or(1).max(1);
        let inner = site.b.dims.iter().skip(2).product::<usize>().max(1);
        let of_b = trained.get_mut(site.b.range.clone()).unwrap_or_default();
        of_b.iter_mut().enumerate().for_each(|(at, value)| *value = (at / inner) % columns < rank);
    }
    trained
}

/// What was tuned, where it is trained; elsewhere what it was tuned from.
pub(super) fn kept(tuned: &[f32], from: &[f32], trained: &[bool]) -> Flat {
    let each = tuned.iter().zip(from).zip(trained);
    each.map(|((tuned, from), trained)| if *trained { *tuned } else { *from }).collect()
}

#[cfg(test)]
mod tests {
    use shoal_runtime::adapter::{Factor, Site};
    use shoal_runtime::graft::SiteNode;

    use super::*;

    #[test]
    fn a_smaller_rank_is_the_first_rows_of_a_and_the_first_columns_of_b() {
        let factor = |dims: &[usize], start: usize| {
            let values: usize = dims.iter().product();
            Factor { input: String::new(), dims: dims.to_vec(), range: start..start + values }
        };
        // A [3, 2, 1, 1] and B [2, 3, 1, 1] of a convolution.
        let site = Site {
            name: "a".into(),
            weight: "a".into(),
            nodes: vec![SiteNode { index: 0, input: 1, output: "a".into() }],
            operator: "Conv".into(),
            base_sha256: [0; 32],
            a: factor(&[3, 2, 1, 1], 0),
            b: factor(&[2, 3, 1, 1], 6),
            alpha: 3.0,
        };
        let layout = Layout { sites: vec![site], rank: 3, alpha: 3.0 };
        let found: Vec<u8> = trained(&layout, 1).into_iter().map(u8::from).collect();
        assert_eq!(found, [1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
        assert!(trained(&layout, 3).into_iter().all(|trained| trained));
        assert_eq!(*kept(&[1.0, 2.0], &[3.0, 4.0], &[true, false]), [1.0, 4.0]);
    }
}
