//! Every other way of merging adapters: what the tables compare the swarm's own rule with.
//!
//! - [`merge`]: closed forms, from the plain mean to FlexLoRA; each a function of the members' values.
//! - [`search`]: what measures a utility and has a budget of evaluations: CMA-ES, evolution, swarms, seeds alone.
//! - [`server`]: rules over rounds, with state: FedAvg to gossip, compression, robust means.
//! - [`ensemble`]: weights over members when predictions are mixed, not values.
//! - [`metrics`]: what lifelong learning reports; [`harmonic`]: the utility as a harmonic mean.
//! - [`input`], [`sites`], [`product`], [`cluster`], [`chance`]: what the above is made of.
//!
//! An adapter is one flat run of `f32`: A and B of every site. A *position* is such a run, a *displacement* the difference of
//! two. Most rules act on the flat run, that is in factor space; those that act on ΔW = scale·B·A say so, and [`product`]
//! takes any rule there and back. A result is comparable only with its space named.
//!
//! No clock, no I/O; chance is an argument. Sums are `f64` in index order and transcendental functions `libm`'s, so that
//! every machine computes the same bits.

pub mod chance;
pub mod cluster;
pub mod ensemble;
pub mod harmonic;
pub mod input;
mod matrix;
pub mod merge;
pub mod metrics;
pub mod product;
pub mod search;
pub mod server;
pub mod sites;
