//! Closed forms: each a function of the members' values, and of chance where it says so.
//!
//! | rule | acts on | needs beside the members |
//! |---|---|---|
//! | [`uniform`], [`weighted`], [`greedy`], [`slerp`], [`fisher`] | positions or displacements | weights, utilities, Fisher diagonals |
//! | [`task_arithmetic`], [`dare`], [`ties`], [`dare_ties`], [`model_stock`] | displacements | a scale, densities, draws |
//! | [`flexlora`], [`regmean`], [`lego`] | factors, by site | [`Sites`](crate::sites::Sites), Gram matrices, draws |

mod dare;
mod fisher;
mod flexlora;
mod greedy;
mod lego;
mod mean;
mod model_stock;
mod regmean;
mod slerp;
mod ties;

pub use dare::{dare, drop_entries, rescale};
pub use fisher::fisher;
pub use flexlora::{Part, flexlora};
pub use greedy::{GreedySoup, greedy};
pub use lego::lego;
pub use mean::{displacement, onto, task_arithmetic, uniform, weighted};
pub use model_stock::{mean_cosine, model_stock, ratio};
pub use regmean::{Gram, regmean};
pub use slerp::{slerp, slerp_sequence};
pub use ties::{dare_ties, disjoint_mean, elect, ties, trim};

pub(crate) use ties::by_magnitude;
