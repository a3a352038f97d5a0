//! From factors to ΔW and back: product space, where the mean of members is the mean of what they do.
//!
//! The mean of factors is not the mean of products: mean(B·A) − mean(B)·mean(A) = ¼(B₁ − B₂)(A₁ − A₂) for two members. Any
//! rule on flat runs acts in product space when its members go through [`deltas`] and its result through [`factors`].

use crate::input::{InputError, run};
use crate::matrix::{Matrix, Svd};
use crate::sites::{Site, Sites};

/// ΔW = scale·B·A of every site, one behind the other in the order of the sites, each `[out, in]` row-major.
///
/// # Errors
/// [`InputError`] if the values are not of these sites, or not finite.
pub fn deltas(sites: &Sites, values: &[f32]) -> Result<Vec<f32>, InputError> {
    sites.check(0, values)?;
    let of = |site: &Site| {
        let (b, a) = pair(site, values);
        b.times(&a).scaled(f64::from(site.scale))
    };
    let all = sites.sites().iter().map(of);
    Ok(all.flat_map(|delta| delta.values().to_vec()).map(|value| value as f32).collect())
}

/// Factors whose products are nearest to these ΔW, site by site: the singular value decomposition, cut at the rank.
///
/// B = U·√S and A = √S·Vᵀ, divided by √scale each (with scale's sign in B); of each pair of singular vectors, that of the
/// outputs has its largest entry positive. Costs a decomposition of every whole ΔW; where the ΔW are sums of few products,
/// [`flexlora`](crate::merge::flexlora) is the same for less.
///
/// # Shapes and units
/// `deltas` as [`deltas`] gives them; the result in the order of the sites' ranges.
/// # Errors
/// [`InputError`] if there are not as many values as the sites' ΔW have, or one is not finite.
/// # Source
/// Eckart and Young, 1936.
pub fn factors(sites: &Sites, deltas: &[f32]) -> Result<Vec<f32>, InputError> {
    let len = |site: &Site| site.outputs() * site.inputs();
    run("values of products", deltas, sites.sites().iter().map(len).sum())?;
    let mut values = vec![0.0; sites.dim()];
    let mut from = 0;
    for site in sites.sites() {
        let delta = Matrix::wide(site.inputs(), &deltas[from..from + len(site)]);
        from += len(site);
        put(site, &delta.svd(), &mut values);
    }
    Ok(values)
}

/// B `[out, rank]` and A `[rank, in]` of one site.
pub(crate) fn pair(site: &Site, values: &[f32]) -> (Matrix, Matrix) {
    let b = Matrix::wide(site.rank, &values[site.b.clone()]);
    (b, Matrix::wide(site.inputs(), &values[site.a.clone()]))
}

/// The decomposition of left `[out, k]` · right `[k, in]`, without their product: QR of both, then of the small core.
pub(crate) fn decompose(left: &Matrix, right: &Matrix) -> Svd {
    let (q_left, r_left) = left.qr();
    let (q_right, r_right) = right.transposed().qr();
    let Svd { u, singular, v } = r_left.times(&r_right.transposed()).svd();
    Svd { u: q_left.times(&u), singular, v: q_right.times(&v) }
}

/// Writes the factors of one site: the decomposition of its ΔW, cut at its rank.
pub(crate) fn put(site: &Site, svd: &Svd, values: &mut [f32]) {
    let (inputs, scale) = (site.inputs(), f64::from(site.scale));
    for unit in 0..site.rank.min(svd.singular.len()) {
        let share = (svd.singular[unit] / scale.abs()).sqrt();
        let largest = (0..svd.u.rows()).map(|row| svd.u[(row, unit)]).fold(0.0, farther);
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        for row in 0..site.outputs() {
            let value = svd.u[(row, unit)] * share * sign * scale.signum();
            values[site.b.start + row * site.rank + unit] = value as f32;
        }
        for column in 0..inputs {
            let value = svd.v[(column, unit)] * share * sign;
            values[site.a.start + unit * inputs + column] = value as f32;
        }
    }
}

fn farther(a: f64, b: f64) -> f64 {
    if b.abs() > a.abs() { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draws;

    fn sites(scale: f32) -> Sites {
        let first = Site { a: 0..10, b: 10..16, rank: 2, scale };
        let second = Site { a: 18..21, b: 16..18, rank: 1, scale: 0.5 };
        Sites::new(vec![first, second]).unwrap()
    }

    fn values(seed: u64) -> Vec<f32> {
        let mut draws = Draws::new(seed, 0);
        (0..21).map(|_index| draws.normal() as f32).collect()
    }

    #[test]
    fn a_product_comes_back_from_its_factors() {
        for scale in [2.0, -0.25] {
            let (sites, values) = (sites(scale), values(1));
            let before = deltas(&sites, &values).unwrap();
            let back = factors(&sites, &before).unwrap();
            assert_ne!(back, values, "the gauge is ours");
            for (after, before) in deltas(&sites, &back).unwrap().iter().zip(&before) {
                assert!((after - before).abs() < 1e-5, "{after} {before}");
            }
        }
    }

    #[test]
    fn the_small_core_has_the_singular_values_of_the_product() {
        let mut draws = Draws::new(2, 0);
        let left = Matrix::of(3, (0..15).map(|_index| draws.normal()));
        let right = Matrix::of(4, (0..12).map(|_index| draws.normal()));
        let (core, whole) = (decompose(&left, &right), left.times(&right).svd());
        for (core, whole) in core.singular.iter().zip(&whole.singular) {
            assert!((core - whole).abs() < 1e-12, "{core} {whole}");
        }
    }

    #[test]
    fn what_is_of_other_sites_is_refused() {
        assert!(deltas(&sites(1.0), &[0.0; 20]).is_err());
        assert!(factors(&sites(1.0), &[0.0; 20]).is_err());
        assert!(deltas(&sites(1.0), &[f32::NAN; 21]).is_err());
    }
}
