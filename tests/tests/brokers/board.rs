//! The notice board: what stands there, for whom, and over what.

use std::collections::{BTreeMap, BTreeSet};
use std::time;

use embassy_time::Duration;
use shoal_link::{Broker as _, Event, Settings, Subscription, Version, Why};
use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::clock::{Stopwatch, until};
use shoal_tests::publisher::Publisher;
use shoal_tests::relay::Relay;
use shoal_wire::Leaf;
use shoal_wire::v1::{NOMINEES, SLOTS};

use crate::party::{Particle, Party, key, on, steps, through, topic};

/// All that stands on a board has come when nothing came for so long.
const QUIET: time::Duration = time::Duration::from_millis(700);
/// One look for an event.
const LOOK: time::Duration = time::Duration::from_millis(100);

/// What this broker speaks.
fn versions(broker: &mut dyn TestBroker) -> Vec<Version> {
    let five = broker.speaks_mqtt_5().then_some(Version::V5);
    five.into_iter().chain([Version::V311]).collect()
}

pub(crate) fn what_is_published_stands_there_for_who_comes_later(broker: &mut dyn TestBroker) {
    let mut writer = Party::connected(on(broker, 1));
    let ticket = writer.publish_presence(1, 7);
    writer.wait_published(&[ticket]);

    let mut reader = Party::connected(on(broker, 2));
    reader.watch_all();
    let message = reader.message();
    assert!(message.retained);
    assert_eq!(message.place().unwrap(), topic(1, Leaf::Presence));
    assert_eq!(steps(&message), 7);
}

pub(crate) fn what_is_cleared_is_gone(broker: &mut dyn TestBroker) {
    let mut writer = Party::connected(on(broker, 1));
    let tickets = [writer.publish_presence(1, 1), writer.publish_presence(2, 2)];
    writer.wait_published(&tickets);
    let cleared = writer.link.clear(&topic(1, Leaf::Presence)).unwrap();
    writer.wait_published(&[cleared]);

    let mut reader = Party::connected(on(broker, 3));
    reader.watch_all();
    assert_eq!(reader.message().place().unwrap(), topic(2, Leaf::Presence));
    // What comes live ends the retained ones.
    writer.publish_presence(3, 3);
    assert_eq!(reader.message().place().unwrap(), topic(3, Leaf::Presence));
}

pub(crate) fn a_newer_record_replaces_an_older_one(broker: &mut dyn TestBroker) {
    let mut writer = Party::connected(on(broker, 1));
    for round in 0..50 {
        writer.publish_presence(1, round);
    }
    let last = writer.publish_presence(1, 50);
    writer.wait_for("the last acknowledgement", |event| *event == Event::Published(last));
    let mut reader = Party::connected(on(broker, 2));
    reader.watch_all();
    assert_eq!(steps(&reader.message()), 50);
}

pub(crate) fn a_cut_link_subscribes_again(broker: &mut dyn TestBroker) {
    let relay = Relay::to(broker.address());
    let mut reader = Party::connected(through(broker, relay.address(), 2));
    reader.watch();
    let mut writer = Party::connected(on(broker, 1));
    for round in 0..3 {
        relay.cut();
        reader.wait_for("the cut", |event| matches!(event, Event::Disconnected { .. }));
        reader.wait_for("a subscription", |event| matches!(event, Event::Subscribed { .. }));
        writer.publish_presence(1, round);
        // The one before comes again: it is retained.
        while steps(&reader.message()) != round {}
    }
}

/// From one window to the next: what stood there before does not come again, what is new does, and so does what was published
/// in between.
pub(crate) fn a_kept_session_is_sent_what_is_new(broker: &mut dyn TestBroker) {
    let mut writer = Party::connected(on(broker, 1));
    let before: Vec<_> = (2..=40).map(|vehicle| writer.publish_presence(vehicle, 1)).collect();
    writer.wait_published(&before);
    let reader = |fresh| {
        let settings = Settings { session_seconds: 60, fresh, ..on(broker, 50) };
        let mut reader = Party::connected(settings);
        reader.watch_acknowledged();
        reader
    };
    let mut first = reader(true);
    let seen: BTreeSet<String> = (2..=40).map(|_vehicle| first.message().topic).collect();
    assert_eq!(seen.len(), 39);
    first.link.close();

    let between = writer.publish_presence(41, 2);
    writer.wait_published(&[between]);
    let mut second = reader(false);
    let mut came = Vec::new();
    while came.last() != Some(&2) {
        came.push(steps(&second.message()));
    }
    // What was acknowledged just before the goodbye may come again. In 3.1.1 nobody can ask for what is new alone.
    assert!(came.len() < 4 || !broker.speaks_mqtt_5(), "{} of 39 again", came.len());
    writer.publish_presence(2, 3);
    let live = loop {
        let message = second.message();
        if broker.speaks_mqtt_5() || steps(&message) == 3 {
            break message;
        }
    };
    assert_eq!((live.place().unwrap(), steps(&live)), (topic(2, Leaf::Presence), 3));
    second.link.close();

    // Who begins anew is sent all of it.
    let mut third = reader(true);
    let seen: BTreeSet<String> = (2..=41).map(|_vehicle| third.message().topic).collect();
    assert_eq!(seen.len(), 40);
}

/// Every connection is refused for ten seconds.
pub(crate) fn what_is_published_in_an_outage_stands_there_once_acknowledged(
    broker: &mut dyn TestBroker,
) {
    let relay = Relay::to(broker.address());
    let mut writer = Party::connected(through(broker, relay.address(), 1));
    let outage = Stopwatch::start();
    relay.refuse(true);
    relay.cut();
    writer.wait_for("the cut", |event| matches!(event, Event::Disconnected { .. }));
    let tickets: Vec<_> = (1..=40).map(|vehicle| writer.publish_presence(vehicle, 3)).collect();
    while outage.elapsed() < time::Duration::from_secs(10) {
        writer.wait_for("another try", |event| matches!(event, Event::Disconnected { .. }));
    }
    relay.refuse(false);
    writer.wait_published(&tickets);

    let mut reader = Party::connected(on(broker, 2));
    reader.watch_all();
    let seen: BTreeSet<String> = (1..=40).map(|_vehicle| reader.message().topic).collect();
    assert_eq!(seen.len(), 40);
}

pub(crate) fn no_order_is_assumed(broker: &mut dyn TestBroker) {
    let relay = Relay::to(broker.address());
    let mut writer = Party::connected(through(broker, relay.address(), 1));
    let mut tickets = Vec::new();
    for vehicle in 1..=200 {
        tickets.push(writer.publish_presence(vehicle, 3));
        if vehicle % 50 == 0 {
            relay.cut();
        }
    }
    writer.wait_published(&tickets);
    let mut reader = Party::connected(on(broker, 2));
    reader.watch_all();
    // All of them come; what was acknowledged just before a cut is published again, and may come twice.
    let mut seen = BTreeSet::new();
    while seen.len() < 200 {
        seen.insert(reader.message().topic);
    }
}

pub(crate) fn mqtt_3_1_1_does_all_of_it_too(broker: &mut dyn TestBroker) {
    let relay = Relay::to(broker.address());
    let old = |vehicle| {
        let mut settings = through(broker, relay.address(), vehicle);
        settings.version = Version::V311;
        settings
    };
    let mut writer = Party::connected(old(1));
    let mut reader = Party::connected(old(2));
    let ticket = writer.publish_presence(1, 1);
    writer.wait_published(&[ticket]);
    reader.watch_all();
    assert_eq!(steps(&reader.message()), 1);
    relay.cut();
    reader.wait_for("a connection", |event| matches!(event, Event::Connected { .. }));
    let ticket = writer.publish_presence(1, 2);
    writer.wait_published(&[ticket]);
    while steps(&reader.message()) != 2 {}
    let cleared = writer.link.clear(&topic(1, Leaf::Presence)).unwrap();
    writer.wait_published(&[cleared]);
    while !reader.message().payload.is_empty() {}
}

/// Mosquitto 2.0 does not tell even those of MQTT 5.
pub(crate) fn two_links_of_one_name_fight_less_and_less_where_they_are_not_told(
    broker: &mut dyn TestBroker,
) {
    for version in versions(broker) {
        let link = || {
            let mut settings = on(broker, 1);
            settings.version = version;
            settings.backoff.first = Duration::from_millis(1);
            // A try that fails between two fights doubles the wait, too.
            settings.backoff.longest = Duration::from_secs(1);
            settings
        };
        let mut parties = [Party::open(link()), Party::open(link())];
        let (mut longest, clock) = (Duration::MIN, Stopwatch::start());
        for turn in 0..14 {
            // Whichever was there first: told or not, it is the one that is cut.
            let cut = until("a fight", || {
                let event = parties.iter_mut().find_map(|party| party.link.next(LOOK))?;
                if let Event::Disconnected { again, .. } = event { Some(again) } else { None }
            });
            // Told: it stays away, and the fight is over.
            let Some(again) = cut else { break };
            longest = longest.max(again);
            // NATS keeps them apart by itself: what is connected for a while has not failed.
            let apart = clock.elapsed() >= 12 * time::Duration::from_millis(32);
            let waits = longest >= Duration::from_millis(32);
            assert!(turn < 12 || waits || apart, "{longest:?}");
        }
    }
}

pub(crate) fn an_oversized_message_is_ignored(broker: &mut dyn TestBroker) {
    let mut writer = Party::connected(on(broker, 1));
    let particle = Particle::new(1, 1, 60_000);
    let spared = broker.holds_back_what_is_too_long();
    let versions = versions(broker).into_iter();
    for version in versions.filter(|version| spared || *version == Version::V311) {
        let mut small = on(broker, 2);
        (small.packet_bytes_max, small.version) = (1024, version);
        let mut reader = Party::connected(small);
        reader.watch();
        reader.watch_chunks();
        writer.publish_particle(&particle, 0);
        // MQTT 5 tells the broker, which does not send it; 3.1.1 cannot.
        if version == Version::V311 {
            let oversized = |event: &Event| matches!(event, Event::Oversized { bytes: 60_000.. });
            reader.wait_for("an oversized message", oversized);
        }
        writer.publish_presence(1, 9);
        while steps(&reader.message()) != 9 {}
        let used = reader.link.used().down;
        assert_eq!(used > 60_000, version == Version::V311, "{used}");
    }
}

pub(crate) fn a_broker_that_went_away_is_found_again(broker: &mut dyn TestBroker) {
    broker.keep();
    let mut reader = Party::connected(on(broker, 2));
    reader.watch();
    let mut writer = Party::connected(on(broker, 1));
    let ticket = writer.publish_presence(1, 1);
    writer.wait_published(&[ticket]);
    broker.restart();
    reader.wait_for("the end", |event| matches!(event, Event::Disconnected { .. }));
    reader.wait_for("a subscription", |event| matches!(event, Event::Subscribed { .. }));
    writer.publish_presence(2, 2);
    while steps(&reader.message()) != 2 {}

    let mut late = Party::connected(on(broker, 3));
    late.watch_all();
    let mut seen = [late.message(), late.message()].map(|message| steps(&message));
    seen.sort();
    assert_eq!(seen, [1, 2], "what it retained outlived it");
}

/// Three times what Mosquitto keeps for a client unless it is told otherwise.
pub(crate) fn every_record_that_stands_there_arrives(broker: &mut dyn TestBroker) {
    all_arrive(broker, 3_000);
}

/// More than the embedded broker keeps for a client unless it is told otherwise: 10,000 on their way and as many behind them.
#[test]
fn every_record_of_fifteen_hundred_vehicles_arrives_from_the_embedded_broker() {
    all_arrive(&mut Embedded::start(), 24_000);
}

/// A vehicle asks for what stands there to be repeated until it has acknowledged it, and takes it that all of it has come once its own
/// has: a broker that leaves some of it out for want of room says nothing.
fn all_arrive(broker: &mut dyn TestBroker, records: u16) {
    let mut writer = Party::connected(on(broker, 1));
    let all: Vec<u16> = (1..=records).collect();
    // So many wait in a link.
    for some in all.chunks(3_000) {
        let tickets: Vec<_> =
            some.iter().map(|vehicle| writer.publish_presence(*vehicle, 0)).collect();
        writer.wait_published(&tickets);
    }
    let mut reader = Party::connected(on(broker, 2));
    reader.watch_acknowledged();
    let mut seen = BTreeSet::new();
    while seen.len() < usize::from(records) {
        seen.insert(reader.message().topic);
    }
}

#[test]
fn of_two_links_of_one_name_the_newer_stays_where_they_are_told() {
    let broker = Embedded::start();
    let mut first = Party::connected(on(&broker, 1));
    let mut second = Party::connected(on(&broker, 1));
    let event = first.wait_for("to be told", |event| matches!(event, Event::Disconnected { .. }));
    assert_eq!(event, Event::Disconnected { why: Why::TakenOver, again: None });
    let ticket = second.publish_presence(1, 1);
    second.wait_published(&[ticket]);

    // Told to, it comes back, and the other one stays away.
    first.link.resume();
    first.wait_for("a connection", |event| matches!(event, Event::Connected { .. }));
    let event = second.wait_for("to be told", |event| matches!(event, Event::Disconnected { .. }));
    assert_eq!(event, Event::Disconnected { why: Why::TakenOver, again: None });
}

/// What stands on the board, by topic, and how long it is.
fn stands(broker: &mut dyn TestBroker) -> BTreeMap<String, usize> {
    let mut reader = Party::connected(on(broker, 3));
    reader.link.subscribe(Subscription::Standing { filter: "shoal/1/#", acknowledged: true });
    let mut stands = BTreeMap::new();
    while let Some(event) = reader.link.next(QUIET) {
        if let Event::Message(message) = event {
            stands.insert(message.topic, message.payload.len());
        }
    }
    stands
}

/// What one vehicle publishes in a window: each at its place.
fn window_of(number: u32) -> Vec<(Leaf, usize)> {
    let slot = (number % u32::from(SLOTS)) as u8;
    let chunks = (0..3).map(|index| (Leaf::Chunk { slot, index }, 3_000));
    let votes = (0..NOMINEES).map(|place| (Leaf::vote(number, place), 250));
    let rest = [
        (Leaf::Particle { slot }, 400),
        (Leaf::Claim { slot }, 300),
        (Leaf::Refusal { slot: 0 }, 170),
        (Leaf::Presence, 220),
    ];
    chunks.chain(votes).chain(rest).collect()
}

pub(crate) fn what_a_vehicle_leaves_is_no_more_after_a_thousand_windows(
    broker: &mut dyn TestBroker,
) {
    let own = key(1).public().id().to_string();
    let mut vehicle = match broker.certificates(&own) {
        Some(folder) => Publisher::connect_with(broker.address(), &folder),
        None => Publisher::connect(broker.address()),
    };
    let mut publish = |windows: std::ops::Range<u32>| {
        for window in windows {
            for (leaf, bytes) in window_of(window) {
                // Every window other bytes, as long as the ones before.
                let mut record = vec![0x5A; bytes];
                record[..4].copy_from_slice(&window.to_le_bytes());
                vehicle.publish(&topic(1, leaf).to_string(), &record);
            }
        }
    };
    publish(0..20);
    let before = stands(broker);
    publish(20..1_000);
    let after = stands(broker);
    let bytes: usize = after.values().sum();
    println!("{} topics, {bytes} bytes", after.len());
    assert_eq!(after, before);
}
