//! A fleet in virtual time: real models tuned and measured, the vehicles' own cores, and every other way of learning together
//! beside them.

pub mod record;
pub mod report;
pub mod statistics;
