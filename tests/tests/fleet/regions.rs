//! Vehicles of several regions: one swarm, whichever region each is in.

use std::fs;
use std::path::Path;

use shoal_tests::brokers::{Embedded, Mosquitto, TestBroker};
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, Program, text};
use shoal_tests::observer::Observer;
use shoal_tests::publisher::Publisher;
use shoal_wire::{KeyId, Leaf, Topic};

const REGIONS: &[&str] = &["eu", "us"];

fn fleet(broker: &dyn TestBroker, vehicles: u32) -> Option<Fleet> {
    let fleet =
        Fleet::make(&Plan { vehicles, regions: REGIONS, ..Plan::default() }, broker.address())?;
    for number in 0..vehicles {
        assert_eq!(fleet.told(number).region, REGIONS[number as usize % 2]);
    }
    Some(fleet)
}

fn end(programs: impl IntoIterator<Item = Program>) {
    for program in programs {
        assert_eq!(program.terminate().code(), Some(0));
    }
}

/// One of them folds what both contributed: it has fetched a particle of the other region.
fn exchange(broker: &dyn TestBroker) {
    let Some(fleet) = fleet(broker, 2) else { return };
    let observer = Observer::start(&fleet.told(0));
    let _serve = fleet.serve();
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    fleet.agree_after(0);
    let keys = [0, 1].map(|number| fleet.key(number).public());
    until("a merge of both", || observer.saw_a_merge_of(&keys, 0).then_some(()));
    end(vehicles);
}

#[test]
fn two_regions_elect_one_best_over_the_embedded_broker() {
    exchange(&Embedded::start());
}

#[test]
fn two_regions_elect_one_best_over_mosquitto() {
    if let Some(broker) = Mosquitto::start("") {
        exchange(&broker);
    }
}

/// Each listens to its own region's beacon alone, which reads its own region's vehicles alone.
#[test]
fn two_regions_elect_one_best_through_a_beacon_each() {
    let broker = Embedded::start();
    let Some(fleet) = fleet(&broker, 2) else { return };
    let path = fleet.path();
    let unnamed = fleet.shoal(&["fleet", "beacon", text(&path)]).unwrap_err();
    assert!(unnamed.contains("--region") && unnamed.contains("eu, us"), "{unnamed}");
    for number in [0, 1] {
        fleet.tell(number, "beacons = false", "beacons = true");
    }
    let _serve = fleet.serve();
    let beacon = |number, region| fleet.beacon_with(number, &["--region", region, "--own-region"]);
    let (of_eu, of_us) = (beacon(1, "eu"), beacon(2, "us"));
    for one in [&of_eu, &of_us] {
        one.says("claims of the one before passed on", 1);
    }
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    let window = fleet.agree_after(0);
    let added = beacon(3, "us");
    added.says("claims of the one before passed on", 1);
    of_us.kill();
    fleet.agree_after(window + 2);
    for vehicle in &vehicles {
        assert!(!vehicle.said().contains("no beacon is there"), "{}", vehicle.said());
    }
    end(vehicles);
}

/// What it left where it was is taken away: whoever fetches from it finds one particle in a slot.
#[test]
fn a_vehicle_that_moves_to_another_region_leaves_nothing_behind() {
    let broker = Embedded::start();
    let Some(fleet) = fleet(&broker, 2) else { return };
    let _serve = fleet.serve();
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    let window = fleet.agree_after(0);
    let [stays, moves] = vehicles;
    assert_eq!(moves.terminate().code(), Some(0));
    let key = fleet.key(1).public().id();
    leave_longer_ones(&fleet, key, &broker);
    fleet.tell(1, "region = \"us\"", "region = \"eu\"");
    fleet.tell(1, "trust/us", "trust/eu");
    let moves = fleet.start(1, &[]);
    fleet.agree_after(window + 1);
    until("nothing of it in the other region", || {
        let observer = Observer::start(&fleet.told(0));
        until("what it says where it is", || {
            let here = |topic: &str| {
                let topic = Topic::decode(topic).unwrap();
                topic.publisher() == key && topic.region().text() == "eu"
            };
            observer.seen().iter().any(|(topic, _bytes)| here(topic)).then_some(())
        });
        let left = |topic: &str| {
            let topic = Topic::decode(topic).unwrap();
            topic.publisher() == key && topic.region().text() == "us"
        };
        let there = observer.seen().iter().any(|(topic, bytes)| left(topic) && !bytes.is_empty());
        (!there).then_some(())
    });
    end([stays, moves]);
}

/// As if in its slots there had been particles of more chunks before those that are there.
fn leave_longer_ones(fleet: &Fleet, key: KeyId, broker: &Embedded) {
    let observer = Observer::start(&fleet.told(0));
    let particles = until("what it published", || {
        let particles = observer.seen().into_iter().filter_map(|(topic, _bytes)| {
            let place = Topic::decode(&topic).unwrap();
            let of_it = place.publisher() == key && matches!(place.leaf(), Leaf::Particle { .. });
            of_it.then(|| topic.clone())
        });
        let particles: Vec<String> = particles.collect();
        (!particles.is_empty()).then_some(particles)
    });
    let mut publisher = Publisher::connect(broker.address());
    for particle in particles {
        publisher.publish(&format!("{}/19", particle.replace("/particle/", "/chunk/")), b"old");
    }
}

/// Which vehicles have an active adapter.
fn active(fleet: &Fleet) -> Vec<u32> {
    let is_active = |number: &u32| {
        let state = fs::read_to_string(fleet.vehicle_path(*number).join("state/slots/state"));
        state.is_ok_and(|line| line.split_whitespace().nth(1).is_some_and(|of| of != "none"))
    };
    (0..fleet.vehicles()).filter(is_active).collect()
}

/// Of a campaign that anybody keeps.
const LIMITS: [&str; 14] = [
    "--stages",
    "50,100",
    "--kept",
    "100",
    "--gone-back",
    "0",
    "--moments",
    "40",
    "--worse",
    "2",
    "--apart",
    "5",
    "--latency",
    "60",
];

/// Begins a campaign for this region.
fn promote(fleet: &Fleet, region: &str) {
    let made = fleet.campaign("new", &[&LIMITS[..], &["--region", region]].concat()).unwrap();
    assert!(made.contains(&format!("/ {region}")), "{made}");
    let key = fleet.path().join("approver.key");
    fleet.campaign("approve", &["1", "--key", text(&key)]).unwrap();
    fleet.campaign("start", &["1"]).unwrap();
}

/// Its configuration has it in the region of a campaign and the roster has not: it is of no stage, and nobody would count it.
#[test]
fn who_was_moved_by_its_configuration_alone_begins_no_campaign() {
    let broker = Embedded::start();
    let Some(fleet) = fleet(&broker, 3) else { return };
    fleet.tell(1, "region = \"us\"", "region = \"eu\"");
    fleet.tell(1, "trust/us", "trust/eu");
    let _serve = fleet.serve();
    let vehicles: Vec<Program> = (0..3).map(|number| fleet.start(number, &[])).collect();
    fleet.agree_after(0);
    promote(&fleet, "eu");
    until("those whom the roster has there keep it", || {
        let active = active(&fleet);
        assert!(!active.contains(&1), "{active:?}");
        (active == [0, 2]).then_some(())
    });
    fleet.agree_after(0);
    assert_eq!(active(&fleet), [0, 2]);
    end(vehicles);
}

/// What all learned is put to use in one region, by its vehicles alone, and told of by one journal.
#[test]
fn a_campaign_is_for_the_vehicles_of_its_region() {
    let broker = Embedded::start();
    let Some(fleet) = fleet(&broker, 4) else { return };
    let _serve = fleet.serve();
    let vehicles: Vec<Program> = (0..4).map(|number| fleet.start(number, &[])).collect();
    fleet.agree_after(0);
    let unnamed = fleet.campaign("new", &LIMITS).unwrap_err();
    assert!(unnamed.contains("--region") && unnamed.contains("eu, us"), "{unnamed}");
    let unknown =
        fleet.campaign("new", &[&LIMITS[..], &["--region", "asia"]].concat()).unwrap_err();
    assert!(unknown.contains("no region asia") && unknown.contains("eu, us"), "{unknown}");
    promote(&fleet, "us");
    until("all of the region keep it", || (active(&fleet) == [1, 3]).then_some(()));
    let path = fleet.path();
    let record = path.join("record");
    until("the journal has it", || {
        let _before = fs::remove_dir_all(&record);
        let args = ["evidence", "write", text(&path), "1", "--region", "us", "-o", text(&record)];
        fleet.shoal(&args).unwrap();
        let text = fs::read_to_string(record.join("record.json")).unwrap();
        (text.matches("\"kept\"").count() >= 2).then_some(())
    });
    fleet.check_evidence(Path::new(&record)).unwrap();
    fleet.agree_after(0);
    assert_eq!(active(&fleet), [1, 3], "nobody of the other region");
    end(vehicles);
}
