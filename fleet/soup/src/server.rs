//! Rules over rounds: a server's, a pair's, and what stands against liars.
//!
//! A round takes the *locals*: the positions that vehicles reached from the global one by training. State is `f64`, positions
//! that leave a rule are `f32`.

mod adam;
mod average;
mod cocktail;
mod diloco;
mod noloco;
mod robust;

pub use adam::{FedAdam, FedAdamSettings};
pub use average::{FedAvg, proximal};
pub use cocktail::{Cocktail, CocktailSettings, Sparse};
pub use diloco::{DiLoCo, DiLoCoSettings};
pub use noloco::{NoLoCo, NoLoCoSettings, gossip, pairs};
pub use robust::{clip_to_median, coordinate_median, krum, multi_krum, trimmed_mean};

use crate::input::{InputError, Members, count, run};

/// The global position of a rule, in `f64`.
fn wide(global: &[f32]) -> Result<Vec<f64>, InputError> {
    run("values of the global position", global, global.len())?;
    Ok(global.iter().map(|value| f64::from(*value)).collect())
}

/// mean (xᵢ − global), `[dim]`.
fn mean_step(global: &[f64], locals: &Members<'_>) -> Result<Vec<f64>, InputError> {
    count("values", locals.dim(), global.len())?;
    let share = 1.0 / locals.count() as f64;
    let sum = locals.sum(&vec![1.0; locals.count()]);
    Ok(sum.iter().zip(global).map(|(sum, global)| sum * share - global).collect())
}
