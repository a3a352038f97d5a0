//! What drives a gateway from outside, on a host and in an emulator alike.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod client;
pub(crate) mod flash;
pub(crate) mod fleet;
pub(crate) mod scenarios;

/// Hands the name of every scenario to a macro, after what it is told besides: what runs anywhere runs everywhere.
macro_rules! every_scenario {
    ($then:ident! $($told:tt)*) => {
        $then! {
            $($told)*
            a_full_window
            a_header_that_is_not_to_be_believed
            a_flipped_byte
            a_skipped_chunk
            a_reset_in_the_middle
            endless_data
            garbage_on_the_line
            conditions_are_the_vehicles
        }
    };
}
pub(crate) use every_scenario;
