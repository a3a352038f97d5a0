//! The swarm from outside: the vectors of its rule, one claim of the paper a test, and a slow obvious swarm
//! beside the fast one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apart;
mod attacks;
mod beacon;
mod campaign;
mod doors;
mod fleet;
mod following;
mod growing;
mod json;
mod make;
mod model;
mod newcomers;
mod paper;
mod privacy;
mod quorum;
mod records;
mod reference;
mod reinstated;
mod starts;
mod vectors;
mod withheld;
