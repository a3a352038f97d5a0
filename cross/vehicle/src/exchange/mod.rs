//! The exchange with a fleet: what a vehicle learnt becomes signed particles, and what others learnt comes in.

pub mod log;
pub mod measured;
pub mod metrics;
pub mod vault;
pub mod weights;
