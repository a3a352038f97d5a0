//! Vehicles that listen to beacons: some of which die, and some of which come; or there are none.

use shoal_tests::brokers::{Embedded, TestBroker as _};
use shoal_tests::fleet::{Fleet, Plan, Program};

/// What a vehicle says when it listens to everybody.
const ALONE: &str = "no beacon is there";

/// A fleet of two that listen to beacons.
fn fleet(broker: &Embedded) -> Option<Fleet> {
    let fleet = Fleet::make(&Plan::default(), broker.address())?;
    for number in [0, 1] {
        fleet.tell(number, "beacons = false", "beacons = true");
    }
    Some(fleet)
}

fn end(vehicles: [Program; 2], alone: bool) {
    for vehicle in vehicles {
        assert_eq!(vehicle.said().contains(ALONE), alone, "{}", vehicle.said());
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

#[test]
fn a_best_is_elected_through_beacons_though_one_is_killed_and_one_added() {
    let broker = Embedded::start();
    let Some(fleet) = fleet(&broker) else { return };
    let _serve = fleet.serve();
    let (first, second) = (fleet.beacon(1), fleet.beacon(2));
    for beacon in [&first, &second] {
        beacon.says("claims of the one before passed on", 1);
    }
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    let window = fleet.agree_after(0);
    first.kill();
    let window = fleet.agree_after(window + 1);
    let _third = fleet.beacon(3);
    fleet.agree_after(window + 1);
    end(vehicles, false);
}

#[test]
fn a_best_is_elected_though_no_beacon_is_there() {
    let broker = Embedded::start();
    let Some(fleet) = fleet(&broker) else { return };
    let _serve = fleet.serve();
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    fleet.agree_after(0);
    end(vehicles, true);
}
