//! The gradient of every operator with a rule, against finite differences. One test per operator; its
//! cases are the forms the operator has.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arithmetic;
mod convolution;
mod finite;
mod layout;
mod loss;
mod newest;
mod product;
mod slice;
mod window;
