//! The gateway's library on a host: the same scenarios as in the emulators, and those that need a clock that is turned
//! and a flash that is cut at every step.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod cuts;
mod frames;
mod port;
mod records;
mod refusals;
mod times;

use common::client::Client;
use common::{every_scenario, scenarios};
use port::Host;

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            scenarios::$name(&mut Client::new(Host::new()));
        }
    )*};
}

every_scenario! { scenarios! }
