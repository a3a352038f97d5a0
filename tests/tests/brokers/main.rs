//! What a link needs of a broker, on every broker: the embedded one always, Mosquitto and NATS where they are installed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures, seen with --nocapture")]

mod board;
mod budget;
mod cluster;
mod party;
mod tls;
mod transfers;

use shoal_tests::brokers::{Embedded, Mosquitto};
use shoal_tests::nats::Nats;

/// Every case on every broker. A case leaves nothing behind: it has its broker for itself.
macro_rules! on_every_broker {
    ($($file:ident { $($case:ident)* })*) => {
        mod embedded {
            $($(#[test]
            fn $case() {
                crate::$file::$case(&mut super::Embedded::start());
            })*)*
        }

        mod mosquitto {
            $($(#[test]
            fn $case() {
                if let Some(mut broker) = super::Mosquitto::start("") {
                    crate::$file::$case(&mut broker);
                }
            })*)*
        }

        /// It speaks MQTT 3.1.1 alone: links find that out.
        mod nats {
            $($(#[test]
            fn $case() {
                if let Some(mut broker) = super::Nats::start(1) {
                    crate::$file::$case(&mut broker);
                }
            })*)*
        }
    };
}

on_every_broker! {
    board {
        what_is_published_stands_there_for_who_comes_later
        what_is_cleared_is_gone
        a_newer_record_replaces_an_older_one
        a_cut_link_subscribes_again
        a_kept_session_is_sent_what_is_new
        what_is_published_in_an_outage_stands_there_once_acknowledged
        no_order_is_assumed
        mqtt_3_1_1_does_all_of_it_too
        two_links_of_one_name_fight_less_and_less_where_they_are_not_told
        an_oversized_message_is_ignored
        a_broker_that_went_away_is_found_again
        every_record_of_a_thousand_vehicles_arrives
        what_a_vehicle_leaves_is_no_more_after_a_thousand_windows
    }
    transfers {
        a_particle_arrives
        twenty_cuts_cost_no_more_than_a_chunk_each
        a_broker_that_restarts_in_the_middle_costs_no_chunk_that_arrived
        a_receiver_that_restarts_goes_on_where_its_store_is
        a_slot_that_is_overwritten_in_the_middle_is_given_up
    }
    budget {
        bytes_are_those_of_the_socket
        nothing_crosses_above_the_limit
        a_window_grants_in_slices_and_a_transfer_goes_to_its_end
    }
}
