//! A fleet that takes more vehicles in.

use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::fleet::{Fleet, Plan, shoal, text};
use shoal_tests::invariants::{
    no_record_contradicts_another, no_window_is_counted_twice, the_log_reruns,
};
use shoal_tests::observer::Observer;

/// Two become four: what two elected stays best, and from their window on the others elect with them.
#[test]
fn who_is_taken_in_elects_with_the_others_and_what_was_best_stays() {
    let broker = Embedded::start();
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let observer = Observer::start(&fleet.told(0));
    let _serve = fleet.serve();
    let mut vehicles: Vec<_> = (0..2).map(|number| fleet.start(number, &[])).collect();
    fleet.line(0, "a best", |line| line["best"].is_string());
    let said = shoal(&["fleet", "enroll", text(&fleet.path()), "--vehicles", "2"]).unwrap();
    let from = said.split_once("from window ").and_then(|(_, rest)| rest.split(' ').next());
    let from: u64 = from.and_then(|window| window.parse().ok()).unwrap();
    vehicles.extend((2..4).map(|number| fleet.start(number, &[])));
    for number in 2..4 {
        let line = fleet.line(number, "a window with the others", |line| {
            line["window"].as_u64() >= Some(from)
                && line["took_part"] == true
                && line["best"].is_string()
        });
        let same = |other: &serde_json::Value| {
            other["window"] == line["window"] && other["best"].is_string()
        };
        assert_eq!(fleet.line(0, "the same window", same)["best"], line["best"], "{number}");
    }
    // Of four a nominee has three voters, of whom two elect: more than there were.
    fleet.line(0, "a best of all", |line| line["window"].as_u64() >= Some(from + 3));
    let lines = fleet.windows(0);
    let mut since = lines.iter().skip_while(|line| !line["best"].is_string());
    assert!(since.all(|line| line["best"].is_string() || line["took_part"] == false), "{lines:#?}");
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
    for number in 0..4 {
        no_window_is_counted_twice(&fleet, number);
        assert!(no_record_contradicts_another(&fleet, number, &observer) > 0, "it said something");
        assert!(the_log_reruns(&fleet, number) > 0);
    }
}
