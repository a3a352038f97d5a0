//! Many links in one process: what the simulator and the console need, and what a leak would show in.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures, seen with --nocapture")]

use std::fs;

use shoal_link::{Addresses, Broker, Event, Link, Settings, Subscription};
use shoal_tests::brokers::{Embedded, Mosquitto, TestBroker};
use shoal_tests::clock::Deadline;
use shoal_window::Bytes;
use shoal_wire::KeyId;

const LINKS: u64 = 100;
/// What a link may take, with its thread. `rumqttc` alone took 13.9 MB for its table of publications.
const LINK_KIB_MAX: u64 = 256;

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Connected, and subscribed.
fn link(broker: &dyn TestBroker, number: u64) -> Link {
    let address: Addresses = format!("mqtt://{}", broker.address()).parse().unwrap();
    let mut settings = Settings::new(address, KeyId::new(number.to_le_bytes()));
    settings.limit = Bytes { up: 1 << 20, down: 1 << 20 };
    let mut link = Link::open(settings).unwrap();
    link.subscribe(Subscription::Standing { filter: "shoal/1/test/here/#", acknowledged: true });
    let deadline = Deadline::seconds(60);
    while !matches!(link.next(deadline.left()), Some(Event::Subscribed { .. })) {
        deadline.check("a subscription");
    }
    link
}

#[test]
fn a_hundred_links_take_little_memory() {
    // In a process of its own it does not count.
    let mosquitto = Mosquitto::start("").map(|broker| Box::new(broker) as Box<dyn TestBroker>);
    let broker = mosquitto.unwrap_or_else(|| Box::new(Embedded::start()));
    let _first = link(broker.as_ref(), 0);
    let before = resident_kib();
    let links: Vec<Link> = (1..=LINKS).map(|number| link(broker.as_ref(), number)).collect();
    let after = resident_kib();
    let each = (after - before) / LINKS;
    println!("{LINKS} links: {} KiB, {each} KiB each", after - before);
    assert!(each <= LINK_KIB_MAX, "{each} KiB each");
    drop(links);
}
