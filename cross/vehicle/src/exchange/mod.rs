//! The exchange with a fleet: what a vehicle learnt becomes signed particles, and what others learnt comes in.

pub mod alone;
pub mod around;
mod beacons;
pub mod bench;
mod campaign;
mod certificates;
pub mod clock;
pub mod diary;
pub mod documents;
mod doors;
mod ending;
mod guarded;
pub mod identity;
mod incoming;
mod keep;
pub mod key;
pub mod line;
#[cfg(all(feature = "linux", target_os = "linux"))]
pub mod live;
pub mod log;
pub mod look;
pub mod measured;
pub mod member;
pub mod metrics;
pub mod particles;
mod publishing;
pub mod run;
mod said;
mod strangers;
mod unsigned;
pub mod vault;
pub mod weights;
pub mod worker;
