//! Vehicles that nothing happens to.

use serde_json::Value;
use shoal_tests::brokers::{Embedded, Mosquitto, TestBroker};
use shoal_tests::fleet::{Fleet, Plan};

/// Two vehicles exchange until both name the same best; both end well.
fn exchange(broker: &dyn TestBroker) {
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let _serve = fleet.serve();
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    let first = fleet.line(0, "a best", |line| line["best"].is_string());
    let other = fleet.line(1, "the other's line", |line| line["window"] == first["window"]);
    assert_eq!(first["best"], other["best"]);
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
    for number in [0, 1] {
        let lines = fleet.windows(number);
        let some = |key: &str| lines.iter().any(|line| line[key] == true);
        assert!(some("took_part") && some("contributed") && some("claimed"), "{lines:?}");
        let crossed = |line: &Value| line["bytes_up"].as_u64() > Some(0);
        assert!(lines.iter().filter(|line| line["took_part"] == true).all(crossed), "{lines:?}");
    }
}

#[test]
fn two_vehicles_elect_one_best_over_mosquitto() {
    if let Some(broker) = Mosquitto::start("") {
        exchange(&broker);
    }
}

#[test]
fn two_vehicles_elect_one_best_over_the_embedded_broker() {
    exchange(&Embedded::start());
}
