//! Searches: what measures a utility, counts each measurement, and ends with its budget.
//!
//! | search | looks in | starts with |
//! |---|---|---|
//! | [`random`] | coefficients of members | the plain mean |
//! | [`cma_es`], [`learned_soup`] | coefficients of members | the plain mean |
//! | [`lorahub`] | coefficients within bounds, with a price | 0 |
//! | [`evolve_recipe`] | weights and densities by layer of a TIES or DARE merge | the plain recipe |
//! | [`differential_evolution`], [`genome`], [`pso_merging`] | values themselves | the members |
//! | [`evolve_by_seeds`], [`EvolutionStrategy`] | values themselves, by seeds alone | one position |
//!
//! Utilities are maximised. −∞ is one (a gate that did not hold); NaN is an error.

mod cmaes;
mod coefficients;
mod differential;
mod evolution;
mod genome;
mod lorahub;
mod meter;
mod probe;
mod pso;
mod recipe;
mod space;

pub use cmaes::CmaEs;
pub use coefficients::{cma_es, learned_soup, random};
pub use differential::{Differential, differential_evolution};
pub use evolution::{Evolution, EvolutionStrategy, REPORT_BYTES, Report, evolve_by_seeds, noise};
pub use genome::{Genome, genome};
pub use lorahub::{LoraHub, lorahub, objective};
pub use meter::{Found, Meter, SearchError};
pub use pso::{PsoMerging, pso_merging};
pub use recipe::{Recipe, Recipes, Thinning, evolve_recipe};
pub use space::Space;

pub(crate) use meter::not_a_number;
