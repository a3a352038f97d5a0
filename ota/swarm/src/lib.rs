//! What a fleet learns together.
//!
//! - [`step`](mod@step), [`populate`](mod@populate), [`search`]: Model Swarms (arXiv 2410.11163), exactly.
//! - [`draws`]: chance by key.
//!
//! A core: no clock, no randomness, no I/O; time, chance and bytes are arguments. It allocates. Arithmetic is + − × ÷ in
//! index order and `libm`, so that every machine computes the same bits. Nothing that comes from outside can panic it.
#![no_std]
#![warn(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

pub mod draws;
pub mod populate;
mod real;
pub mod search;
pub mod step;

pub use real::Real;
