//! `action_grid/v1`: the action space that models of every kind share.
//!
//! An action is a curvature of the path and an acceleration along it: what a driver asks of the vehicle, whatever
//! its wheelbase and steering gear. [`Geometry`] leads from the steering wheel to the curvature and back. Both axes are cut
//! into bins that are narrow near zero and wider by a nearly constant factor further out (sinh), so a bin is about as much to
//! a driver anywhere. The grid is a published file, [`FILE`]; its SHA-256 is its identity.

mod geometry;
mod matrix;
mod pool;
mod quantised;
mod spread;

use std::sync::OnceLock;

pub use geometry::{Geometry, ROAD_WHEEL_RAD_MAX, TELLING_M_S};
pub use matrix::{ActionMatrix, Context, MatrixError, Sample};
pub use pool::{Pool, pooled};
pub use quantised::Quantised;
pub use spread::{Distribution, bin_spread};

/// The grid's name.
pub const NAME: &str = "action_grid/v1";

/// The grid's file: names, units, signs and the edges of the bins.
pub const FILE: &str = include_str!("grid/action_grid_v1.json");

/// SHA-256 of [`FILE`]'s bytes: what a package that speaks of the grid names.
pub const SHA256: [u8; 32] = [
    0x81, 0xdf, 0x86, 0xba, 0xdc, 0x75, 0x68, 0x9c, 0x82, 0x68, 0x7e, 0xa4, 0x5c, 0x15, 0x40, 0x6f,
    0x14, 0x11, 0x26, 0xa5, 0xb4, 0xff, 0xe4, 0x36, 0xa3, 0x69, 0x55, 0xb3, 0x16, 0xc7, 0x0f, 0x80,
];

/// Bins of the curvature.
pub const CURVATURE_BINS: usize = 61;

/// Bins of the acceleration.
pub const ACCELERATION_BINS: usize = 21;

/// Bins of the grid; bin = curvature bin × [`ACCELERATION_BINS`] + acceleration bin.
pub const BINS: usize = CURVATURE_BINS * ACCELERATION_BINS;

/// What a driver or a policy wants the vehicle to do. Signs are those of ISO 8855.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Action {
    /// Curvature of the path, 1/m, positive to the left.
    pub curvature_per_m: f64,
    /// Acceleration along the path, m/s², positive forward.
    pub acceleration_m_s2: f64,
}

/// The bins of `action_grid/v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionGrid {
    curvature: [f64; CURVATURE_BINS + 1],
    acceleration: [f64; ACCELERATION_BINS + 1],
}

impl ActionGrid {
    /// The grid.
    #[must_use]
    pub fn v1() -> &'static Self {
        static GRID: OnceLock<ActionGrid> = OnceLock::new();
        GRID.get_or_init(|| {
            let side = |limit, bins| Side { limit, bins };
            Self {
                curvature: edges(1.0 / 6.0, side(-0.1, 30.5), side(0.1, 30.5), 1e7),
                acceleration: edges(1.0 / 4.0, side(-5.0, 11.5), side(3.0, 9.5), 1e4),
            }
        })
    }

    /// Edges of the curvature's bins, 1/m, rising.
    #[must_use]
    pub fn curvature_edges(&self) -> &[f64; CURVATURE_BINS + 1] {
        &self.curvature
    }

    /// Edges of the acceleration's bins, m/s², rising.
    #[must_use]
    pub fn acceleration_edges(&self) -> &[f64; ACCELERATION_BINS + 1] {
        &self.acceleration
    }

    /// The bin of a curvature (1/m): `edge[i] ≤ value < edge[i + 1]`; what lies outside belongs to the outermost bin.
    ///
    /// # Panics
    /// If the value is NaN: a motion never holds one.
    #[must_use]
    pub fn curvature_bin(&self, curvature_per_m: f64) -> usize {
        bin(&self.curvature, curvature_per_m)
    }

    /// The bin of an acceleration (m/s²), as [`Self::curvature_bin`].
    ///
    /// # Panics
    /// If the value is NaN.
    #[must_use]
    pub fn acceleration_bin(&self, acceleration_m_s2: f64) -> usize {
        bin(&self.acceleration, acceleration_m_s2)
    }

    /// The flat index of an action's bin, below [`BINS`].
    ///
    /// # Panics
    /// If a value is NaN.
    #[must_use]
    pub fn bin(&self, action: Action) -> usize {
        let curvature = self.curvature_bin(action.curvature_per_m);
        curvature * ACCELERATION_BINS + self.acceleration_bin(action.acceleration_m_s2)
    }

    /// The middle of a bin.
    ///
    /// # Panics
    /// If `bin` is not below [`BINS`].
    #[must_use]
    pub fn centre(&self, bin: usize) -> Action {
        let (curvature, acceleration) = (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
        Action {
            curvature_per_m: middle(&self.curvature, curvature),
            acceleration_m_s2: middle(&self.acceleration, acceleration),
        }
    }
}

/// Half of an axis: the value of its last edge, and how many bins it is away from zero.
#[derive(Clone, Copy)]
struct Side {
    limit: f64,
    bins: f64,
}

/// The file's formula: `limit · sinh(b·|t|) ÷ sinh(b·side)`, rounded to `1 ÷ per_unit`.
fn edges<const N: usize>(b: f64, below: Side, above: Side, per_unit: f64) -> [f64; N] {
    std::array::from_fn(|index| {
        let t = index as f64 - below.bins;
        let side = if t < 0.0 { below } else { above };
        let value = side.limit * libm::sinh(b * t.abs()) / libm::sinh(b * side.bins);
        // A quotient of two whole numbers: the same number as the decimals of the file.
        libm::round(value * per_unit) / per_unit
    })
}

fn bin(edges: &[f64], value: f64) -> usize {
    assert!(!value.is_nan(), "NaN has no bin");
    let above = edges.partition_point(|edge| *edge <= value);
    above.clamp(1, edges.len() - 1) - 1
}

fn middle(edges: &[f64], bin: usize) -> f64 {
    (edges[bin] + edges[bin + 1]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    /// A change here is another action space: claims of the one mean nothing in the other.
    #[test]
    fn hash_of_the_file_is_the_grids_identity() {
        assert_eq!(digits::hex(&SHA256), digits::hex(&Sha256::digest(FILE)));
        let golden = "81df86badc75689c82687ea45c15406f141126a5b4ffe436a36955b316c70f80";
        assert_eq!(digits::hex(&SHA256), golden);
    }

    #[test]
    fn edges_of_the_formula_are_those_of_the_file() {
        let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
        assert_eq!(file["name"], NAME);
        let axis = |name: &str| -> Vec<f64> {
            let edges = file[name]["edges"].as_array().unwrap();
            assert_eq!(file[name]["bins"].as_u64().unwrap() as usize + 1, edges.len());
            edges.iter().map(|edge| edge.as_f64().unwrap()).collect()
        };
        let grid = ActionGrid::v1();
        assert_eq!(axis("curvature"), grid.curvature_edges());
        assert_eq!(axis("acceleration"), grid.acceleration_edges());
    }

    #[test]
    fn axes_end_where_they_should_and_zero_is_inside_a_bin() {
        let grid = ActionGrid::v1();
        let (curvature, acceleration) = (grid.curvature_edges(), grid.acceleration_edges());
        assert_eq!((curvature[0], curvature[61]), (-0.1, 0.1));
        assert_eq!((acceleration[0], acceleration[21]), (-5.0, 3.0));
        for (low, high) in curvature.iter().zip(curvature.iter().rev()) {
            assert_eq!(*low, -high, "left and right are alike");
        }
        assert_eq!(grid.centre(grid.bin(Action::default())).curvature_per_m, 0.0);
        let at = grid.acceleration_bin(0.0);
        assert!(acceleration[at] < -0.05 && acceleration[at + 1] > 0.05);
    }

    #[test]
    fn bins_widen_away_from_zero() {
        for edges in
            [&ActionGrid::v1().curvature_edges()[..], &ActionGrid::v1().acceleration_edges()[..]]
        {
            let widths: Vec<f64> = edges.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let zero = bin(edges, 0.0);
            assert!(widths[..zero].windows(2).all(|pair| pair[0] > pair[1]), "{widths:?}");
            assert!(widths[zero + 1..].windows(2).all(|pair| pair[0] < pair[1]), "{widths:?}");
        }
    }

    #[test]
    fn what_lies_outside_belongs_to_the_outermost_bin() {
        let grid = ActionGrid::v1();
        let action =
            |curvature_per_m, acceleration_m_s2| Action { curvature_per_m, acceleration_m_s2 };
        assert_eq!(grid.bin(action(f64::NEG_INFINITY, -9.0)), 0);
        assert_eq!(grid.bin(action(0.1, 3.0)), BINS - 1);
        assert_eq!(grid.bin(action(7.0, f64::INFINITY)), BINS - 1);
        assert_eq!(grid.bin(action(7.0, -9.0)), (CURVATURE_BINS - 1) * ACCELERATION_BINS);
    }

    proptest! {
        /// The slow and obvious form, and the way back.
        #[test]
        fn bin_is_the_one_whose_edges_enclose_the_value(c in -0.1f64..0.1, a in -5.0f64..3.0) {
            let grid = ActionGrid::v1();
            let bin = grid.bin(Action { curvature_per_m: c, acceleration_m_s2: a });
            let (x, y) = (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
            prop_assert!(grid.curvature[x] <= c && c < grid.curvature[x + 1]);
            prop_assert!(grid.acceleration[y] <= a && a < grid.acceleration[y + 1]);
            prop_assert_eq!(grid.bin(grid.centre(bin)), bin);
        }
    }
}
