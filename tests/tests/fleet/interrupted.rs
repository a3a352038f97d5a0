//! Vehicles that are killed, brokers that restart, lines that are cut.

use std::collections::BTreeSet;

use shoal_tests::brokers::{Embedded, Mosquitto, TestBroker};
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, Program, text};
use shoal_tests::invariants::{
    no_record_contradicts_another, no_window_is_counted_twice, the_log_reruns,
};
use shoal_tests::nats::Nats;
use shoal_tests::observer::Observer;
use shoal_tests::relay::{Relay, Way};
use shoal_wire::KeyId;

/// After a kill, the vehicle takes part again.
fn takes_part_again(fleet: &Fleet, number: u32) {
    let before = fleet.windows(number).last().map(|line| line["window"].as_u64());
    fleet.line(number, "it takes part again", |line| {
        Some(line["window"].as_u64()) > before
            && line["contributed"] == true
            && line["took_part"] == true
    });
}

#[test]
fn a_vehicle_killed_while_it_tunes_goes_on() {
    let broker = Embedded::start();
    let plan = Plan { steps: 40, ..Plan::default() };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let observer = Observer::start(&fleet.told(0));
    let _serve = fleet.serve();
    let _other = fleet.start(0, &[]);
    let trained = |vehicle: &Program| vehicle.said().matches("\"message\":\"trained\"").count();
    // In its first tuning, and in a later one.
    let vehicle = fleet.start(1, &[]);
    until("some steps", || (trained(&vehicle) > 5).then_some(()));
    vehicle.kill();
    assert_eq!(the_log_reruns(&fleet, 1), 1);
    let vehicle = fleet.start(1, &[]);
    fleet.line(1, "a window", |line| line["contributed"] == true);
    let before = trained(&vehicle);
    until("some steps", || (trained(&vehicle) > before + 5).then_some(()));
    vehicle.kill();
    assert_eq!(the_log_reruns(&fleet, 1), 2);
    let vehicle = fleet.start(1, &[]);
    takes_part_again(&fleet, 1);
    assert_eq!(vehicle.terminate().code(), Some(0));
    no_window_is_counted_twice(&fleet, 1);
    assert!(no_record_contradicts_another(&fleet, 1, &observer) > 0, "it said something");
    assert_eq!(the_log_reruns(&fleet, 1), 3);
    it_is_seen_step_by_step(&fleet);
}

/// The command shows what the cores of vehicle 1 were told and said.
fn it_is_seen_step_by_step(fleet: &Fleet) {
    let vehicle = fleet.vehicle_path(1);
    let told = vehicle.join("vehicle.toml");
    let rerun = |more: &[&str]| fleet.shoal(&[&["fleet", "rerun", text(&told)], more].concat());
    let shown = rerun(&["--steps"]).unwrap();
    for step in [
        "window > conditions: parked",
        "window < open",
        "swarm  > the nonce of window",
        "swarm  < Event(Began",
        "swarm  > the window is closed",
    ] {
        assert!(shown.contains(step), "`{step}` in {shown}");
    }
    assert!(shown.contains("run 2 of [0, 1, 2]"), "{shown}");
    // Those of lives that ended long ago, too.
    for run in ["0", "1"] {
        let shown = rerun(&["--run", run]).unwrap();
        assert!(shown.contains("all as they were"), "{shown}");
    }
    assert!(rerun(&["--run", "7"]).unwrap_err().contains("no log of run 7"));
    let logs = vehicle.join("state/exchange/log");
    std::fs::rename(&logs, vehicle.join("aside")).unwrap();
    assert!(rerun(&[]).unwrap_err().contains("no window"), "nothing is made where there is none");
}

/// A disk without room while it drives: what was lost is driven again, and the vehicle takes part meanwhile.
#[test]
fn a_drive_that_could_not_be_stored_is_driven_again() {
    let broker = Embedded::start();
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let _serve = fleet.serve();
    // Where a span's file would begin there is something in the way.
    let way = fleet.vehicle_path(0).join("state/replay/tmp-span");
    std::fs::create_dir_all(&way).unwrap();
    let vehicle = fleet.start(0, &[]);
    vehicle.says("it is driven again", 1);
    fleet.line(0, "a window", |line| line["took_part"] == true);
    assert_eq!(said(&vehicle, "driven").len(), 0, "{}", vehicle.said());
    assert_eq!(vehicle.terminate().code(), Some(0));
    std::fs::remove_dir(&way).unwrap();
    let vehicle = fleet.start(0, &[]);
    fleet.line(0, "a contribution", |line| line["contributed"] == true);
    let driven = said(&vehicle, "driven");
    assert!(driven.last().is_some_and(|said| said["spans"].as_u64() > Some(0)), "{driven:?}");
}

/// Killed when this part of a topic is in the middle of its line, twice; `topic` is told which vehicle it is.
fn killed_at(way: Way, topic: impl Fn(KeyId) -> String) {
    let broker = Embedded::start();
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let observer = Observer::start(&fleet.told(0));
    let relay = Relay::to(broker.address());
    fleet.send(1, relay.address());
    let _serve = fleet.serve();
    let _other = fleet.start(0, &[]);
    let topic = topic(fleet.key(1).public().id());
    for lives in 1..=2 {
        let vehicle = fleet.start(1, &[]);
        vehicle.says("\"message\":\"joined\"", lives);
        relay.hold_at(way, topic.as_bytes());
        until("the line holds", || relay.holds().then_some(()));
        vehicle.kill();
        relay.release();
        assert_eq!(the_log_reruns(&fleet, 1), lives);
    }
    let vehicle = fleet.start(1, &[]);
    takes_part_again(&fleet, 1);
    assert_eq!(vehicle.terminate().code(), Some(0));
    no_window_is_counted_twice(&fleet, 1);
    assert!(no_record_contradicts_another(&fleet, 1, &observer) > 0, "it said something");
    assert_eq!(the_log_reruns(&fleet, 1), 3);
}

#[test]
fn a_vehicle_killed_while_it_fetches_goes_on() {
    killed_at(Way::Down, |_me| "/chunk/".into());
}

#[test]
fn a_vehicle_killed_while_it_publishes_a_particle_goes_on() {
    killed_at(Way::Up, |me| format!("/chunk/{me}/"));
}

#[test]
fn a_vehicle_killed_while_it_publishes_a_claim_goes_on() {
    killed_at(Way::Up, |me| format!("/claim/{me}/"));
}

#[test]
fn what_crossed_before_a_vehicle_slept_is_written_down_with_its_window() {
    let broker = Embedded::start();
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let _serve = fleet.serve();
    let (other, vehicle) = (fleet.start(1, &[]), fleet.start(0, &[]));
    vehicle.says("\"message\":\"began\"", 2);
    let window = said(&vehicle, "window open").last().unwrap()["window"].clone();
    vehicle.signal("-STOP");
    // It wakes when a later window is open.
    until("a later window", || {
        let open = said(&other, "window open").last().cloned()?;
        (open["window"].as_u64() > window.as_u64()).then_some(())
    });
    vehicle.signal("-CONT");
    let line = fleet.line(0, "its line", |line| line["window"] == window);
    assert!(line["bytes_down"].as_u64() > Some(0), "{line}");
}

/// The broker ends in the middle of a vehicle's first window, or of a later one, and comes back with what it had retained.
fn restarted(mut broker: impl TestBroker, plan: &Plan, in_window: usize) {
    broker.keep();
    let Some(fleet) = Fleet::make(plan, broker.address()) else { return };
    let _serve = fleet.serve();
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    for vehicle in &vehicles {
        vehicle.says("\"message\":\"window open\"", in_window);
    }
    broker.restart();
    let windows: BTreeSet<u64> =
        fleet.windows(0).iter().filter_map(|line| line["window"].as_u64()).collect();
    // A vote that came late in a window counts for one of them in it, and for the other in the next.
    until("a best of both", || {
        let mut elected = fleet.windows(0);
        elected.retain(|line| {
            line["best"].is_string() && !windows.contains(&line["window"].as_u64().unwrap())
        });
        let others = fleet.windows(1);
        let is_same = |line: &serde_json::Value| {
            let same = |other: &serde_json::Value| {
                (&other["window"], &other["best"]) == (&line["window"], &line["best"])
            };
            others.iter().any(same)
        };
        elected.iter().any(is_same).then_some(())
    });
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

#[test]
fn a_best_is_elected_though_the_embedded_broker_restarts_in_a_window() {
    restarted(Embedded::start(), &Plan::default(), 1);
}

#[test]
fn a_best_is_elected_though_mosquitto_restarts_in_a_window() {
    if let Some(broker) = Mosquitto::start("") {
        restarted(broker, &Plan::default(), 1);
    }
}

/// One node of three, the one that they know, is killed.
#[test]
fn a_best_is_elected_though_a_node_of_nats_is_killed_in_a_window() {
    // Every record is written by two of three before it is acknowledged.
    let plan = Plan { period_seconds: 8, open_seconds: 6, ..Plan::default() };
    if let Some(broker) = Nats::start(3) {
        restarted(broker, &plan, 2);
    }
}

#[test]
fn a_particle_arrives_over_twenty_cuts() {
    const CUTS: u64 = 20;
    let broker = Embedded::start();
    let plan = Plan { period_seconds: 30, open_seconds: 28, ..Plan::default() };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let relay = Relay::to(broker.address());
    fleet.send(1, relay.address());
    relay.cut_at(Way::Down, b"/chunk/", CUTS);
    let _serve = fleet.serve();
    let other = fleet.start(0, &[]);
    let vehicle = fleet.start(1, &[]);
    until("twenty cuts", || (relay.cuts() >= CUTS).then_some(()));
    // It moves to a merge of both contributions; whoever folds first, the other fetches what came of it.
    until("a move to a merge of both", || {
        let mut both = said(&other, "merged");
        both.extend(said(&vehicle, "merged"));
        both.retain(|fields| fields["contributions"] == 2);
        let moved = said(&vehicle, "moved");
        moved.iter().any(|to| both.iter().any(|of| of["particle"] == to["particle"])).then_some(())
    });
}

/// What it said in lines of this message.
fn said(program: &Program, message: &str) -> Vec<serde_json::Value> {
    let said = program.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    let fields = lines.map(|line: serde_json::Value| line["fields"].clone());
    fields.filter(|fields| fields["message"] == message).collect()
}
