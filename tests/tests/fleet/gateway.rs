//! A vehicle beside a gateway: nothing crosses the network unless both have their window open, and no adapter is tried that the gateway does not
//! hold.

use std::fs;

use serde_json::Value;
use shoal_gateway::{SlotStatus, TrialName};
use shoal_tests::brokers::{Embedded, TestBroker as _};
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, text};
use shoal_tests::gateway::{Gateway, firmware_or_skip};

fn took_part(fleet: &Fleet, vehicle: u32) -> Vec<u64> {
    let windows = fleet.windows(vehicle).into_iter();
    let took_part = windows.filter(|line| line["took_part"] == true);
    took_part.filter_map(|line| line["window"].as_u64()).collect()
}

/// Makes, approves and starts a campaign of one stage.
fn campaign(fleet: &Fleet) {
    let limits = ["--worse", "2", "--apart", "5", "--latency", "60"];
    let stages = ["--stages", "100", "--kept", "100", "--gone-back", "0", "--moments", "40"];
    fleet.campaign("new", &[&stages[..], &limits].concat()).unwrap();
    let key = fleet.path().join("approver.key");
    fleet.campaign("approve", &["1", "--key", text(&key)]).unwrap();
    fleet.campaign("start", &["1"]).unwrap();
}

#[test]
fn a_vehicle_exchanges_and_tries_what_its_gateway_lets_it() {
    beside(Gateway::start);
}

/// The same program beside what is flashed.
#[test]
fn a_vehicle_exchanges_and_tries_what_the_firmware_lets_it() {
    if let Some(firmware) = firmware_or_skip() {
        beside(|sector| Gateway::emulated(sector, firmware));
    }
}

fn beside(gateway: impl FnOnce(&[u8]) -> Gateway) {
    let broker = Embedded::start();
    // Two clocks that are a second apart at most leave less of a window.
    let plan = Plan { vehicles: 3, period_seconds: 8, open_seconds: 7, ..Plan::default() };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let (path, sector) = (fleet.path(), fleet.path().join("gateway.bin"));
    fleet.shoal(&["fleet", "gateway", text(&path), "0", "-o", text(&sector)]).unwrap();
    let gateway = gateway(&fs::read(&sector).unwrap());
    let table = format!("[gateway]\nline = \"{}\"\n\n[fleet]", gateway.line().display());
    fleet.tell(0, "[fleet]", &table);
    let _serve = fleet.serve();
    let vehicles = [0, 1, 2].map(|number| fleet.start(number, &[]));

    // It has the fleet's documents, and its computer says that it stands: the gateway knows better.
    until("the others exchange", || took_part(&fleet, 1).get(1).copied());
    vehicles[0].says("joined", 1);
    assert!(took_part(&fleet, 0).is_empty());
    assert_eq!(gateway.status().unwrap().slots, SlotStatus::default());

    gateway.park(true);
    fleet.line(0, "a best", |line| line["best"].is_string());
    campaign(&fleet);
    let kept = until("the gateway keeps what the vehicle kept", || {
        gateway.status().filter(|status| status.trial == TrialName::Confirmed)
    });
    assert_eq!((kept.slots.active, kept.slots.trial), (Some(0), false));
    let shown: Value = serde_json::from_str(&fleet.campaign("show", &["--json"]).unwrap()).unwrap();
    let particle = kept.slots.sealed[0].unwrap().to_string();
    assert_eq!(shown["particle"], particle.as_str(), "{shown}");

    gateway.silence(true);
    vehicles[0].says("the gateway does not answer", 1);
    let last = took_part(&fleet, 0).last().copied().unwrap();
    let others = took_part(&fleet, 1).last().copied().unwrap();
    until("two windows more", || {
        took_part(&fleet, 1).last().filter(|window| **window >= others + 3).copied()
    });
    // The one that it was in.
    assert!(took_part(&fleet, 0).last().unwrap() <= &(last + 1));
    // A workshop put another one there: it knows whose word counts, and no plan.
    gateway.replace(&fs::read(&sector).unwrap());
    gateway.silence(false);
    until("it exchanges again", || {
        took_part(&fleet, 0).last().filter(|window| **window > others + 2).copied()
    });
}
