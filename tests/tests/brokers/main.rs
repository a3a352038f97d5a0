//! What a link needs of a broker, on every broker: the embedded one always, Mosquitto, open and guarded, and NATS where they are installed,
//! rmqtt where `SHOAL_RMQTT` names its program (`cargo xtask oracle rmqtt`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures, seen with --nocapture")]

mod board;
mod budget;
mod cluster;
mod party;
mod rmqtt_alone;
mod tls;
mod transfers;

use shoal_tests::brokers::{Embedded, Mosquitto};
use shoal_tests::manual::Guarded;
use shoal_tests::nats::Nats;
use shoal_tests::rmqtt::Rmqtt;

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

        /// As docs/running-a-fleet.md has it: certificates on both ends, names bound to them, access rules.
        mod mosquitto_with_tls {
            $($(#[test]
            fn $case() {
                let vehicle = crate::party::key(1).public().id();
                if let Some(mut broker) = super::Guarded::start(vehicle) {
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

        /// Three nodes: it has no cluster of one.
        mod rmqtt {
            $($(#[test]
            fn $case() {
                if let Some(mut broker) = super::Rmqtt::start(3) {
                    crate::$file::$case(&mut broker);
                }
            })*)*
        }
    };
}

/// Every case on three nodes of every broker that has some.
macro_rules! on_three_nodes {
    ($($broker:ident $name:ident { $($case:ident)* })*) => {
        $(mod $name {
            $(#[test]
            fn $case() {
                if let Some(mut cluster) = super::$broker::start(3) {
                    crate::cluster::$case(&mut cluster);
                }
            })*
        })*
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
        every_record_that_stands_there_arrives
        what_a_vehicle_leaves_is_no_more_after_a_thousand_windows
    }
    transfers {
        a_particle_arrives
        twenty_cuts_cost_no_more_than_a_chunk_each
        a_broker_that_restarts_in_the_middle_costs_no_chunk_that_arrived
        a_receiver_that_restarts_goes_on_where_its_store_is
        a_transfer_takes_as_many_windows_as_its_budget_needs
        a_slot_that_is_overwritten_in_the_middle_is_given_up
    }
    budget {
        bytes_are_those_of_the_socket
        nothing_crosses_above_the_limit
        a_window_grants_in_slices_and_a_transfer_goes_to_its_end
    }
}

on_three_nodes! {
    Nats three_of_nats {
        what_one_node_took_stands_on_the_others
        a_node_that_dies_in_the_middle_loses_nothing
        what_a_node_acknowledged_outlives_it
        the_newest_record_stands_on_every_node
        what_is_published_without_a_majority_is_taken_when_there_is_one_again
    }
    // The other two it fails: rmqtt_alone.rs.
    Rmqtt three_of_rmqtt {
        what_one_node_took_stands_on_the_others
        a_node_that_dies_in_the_middle_loses_nothing
        the_newest_record_stands_on_every_node
    }
}
