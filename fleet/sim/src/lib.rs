//! A fleet in virtual time: real models tuned and measured, the vehicles' own cores, and every other way of learning together
//! beside them.

pub mod compare;
pub mod config;
pub mod data;
pub mod drivers;
pub mod lab;
pub mod lifelong;
pub mod logs;
pub mod membership;
pub mod method;
pub mod moving;
mod packs;
pub mod record;
pub mod report;
pub mod roads;
pub mod run;
pub mod set;
pub mod statistics;
pub mod store;
mod style;
pub mod sweep;
pub mod traffic;
pub mod trivial;
pub mod utility;

pub use packs::OtherPack;
