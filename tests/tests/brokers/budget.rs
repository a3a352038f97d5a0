//! Every byte is counted, and none crosses above the limit.

use embassy_time::Instant;
use shoal_link::{Broker, Event, Fetched, Meter, Why};
use shoal_tests::brokers::TestBroker;
use shoal_tests::clock::Deadline;
use shoal_tests::relay::Relay;
use shoal_window::{Bytes, Conditions, Input, Network, Output, Phase, Policy, Saved, Window};
use shoal_wire::v1::{WindowPlan, WindowPlanFields};
use shoal_wire::{KeyId, Now, Unverified, Utc, seal};

use crate::party::{OneKey, Particle, Party, key, on, through};
use crate::transfers::{CHUNK_BYTES, Receiver, publisher};

/// Both ways, over connections, publications, subscriptions, retained and live messages and acknowledgements.
pub(crate) fn bytes_are_those_of_the_socket(broker: &mut dyn TestBroker) {
    let relay = Relay::to(broker.address());
    let particle = Particle::new(1, 5, CHUNK_BYTES);
    let mut party = publisher(through(broker, relay.address(), 1), &[&particle]);
    party.watch();
    for vehicle in 1..=50 {
        party.publish_presence(vehicle, 1);
    }
    (1..=50).for_each(|_vehicle| drop(party.message()));
    let mut receiver = Receiver::new(party, particle.id(), 0);
    assert_eq!(receiver.run(), Fetched::Complete);
    receiver.party.link.finish();
    receiver.party.wait_for("the end", |event| *event == Event::Drained);
    let used = receiver.party.link.close();
    let passed = relay.finish();
    // Bytes are MQTT's; on the line TLS adds some to them.
    let tls = broker.tls_bytes();
    for (used, passed) in [(used.up, passed.up), (used.down, passed.down)] {
        assert!((used..=used + tls).contains(&passed), "{used} counted, {passed} passed");
        assert_eq!(used == passed, tls == 0, "{used} counted, {passed} passed");
    }
    // One that finds out what the broker speaks.
    let greetings = if broker.speaks_mqtt_5() { 1 } else { 2 };
    assert_eq!(passed.connections, greetings);
    assert!(used.up > 5 * 65_536 && used.down > 5 * 65_536, "{used:?}");
}

pub(crate) fn nothing_crosses_above_the_limit(broker: &mut dyn TestBroker) {
    let particle = Particle::new(1, 20, CHUNK_BYTES);
    let _publisher = publisher(on(broker, 1), &[&particle]);
    let relay = Relay::to(broker.address());
    let limit = Bytes { up: 100_000, down: 300_000 };
    let mut limited = through(broker, relay.address(), 2);
    limited.limit = limit;
    let mut receiver = Receiver::new(Party::open(limited), particle.id(), 0);
    let deadline = Deadline::seconds(60);
    while receiver.party.link.needs().is_none() {
        deadline.check("the limit");
        receiver.step();
    }
    // Four chunks fit whole into 300,000 bytes; a fifth is not begun. Those on their way arrive.
    while receiver.store.chunks.len() < 4 {
        deadline.check("what is in flight");
        receiver.step();
    }
    let used = receiver.party.link.used();
    assert!(used.down <= limit.down && used.up <= limit.up, "{used:?}");
    assert!(receiver.store.chunks.len() == 4 && used.down >= 4 * 65_536, "{used:?}");
    assert!(relay.passed().down <= limit.down + broker.tls_bytes(), "{:?}", relay.passed());

    // A flood that nobody can refuse: what is subscribed to comes. The connection ends before the limit.
    receiver.party.watch_chunks_unacknowledged();
    let ended = receiver.party.wait_for("the end", |event| {
        matches!(event, Event::Disconnected { why: Why::Budget, again: None })
    });
    assert!(matches!(ended, Event::Disconnected { .. }));
    assert_eq!(receiver.party.link.used().down, limit.down, "to the byte, and not one more");

    receiver.party.link.limit(crate::party::PLENTY);
    assert_eq!(receiver.run(), Fetched::Complete);
}

/// 1 MiB down a window, granted in eighths: less than the half of a chunk is sometimes left of a grant.
pub(crate) fn a_window_grants_in_slices_and_a_transfer_goes_to_its_end(
    broker: &mut dyn TestBroker,
) {
    let particle = Particle::new(1, 15, CHUNK_BYTES);
    let _publisher = publisher(on(broker, 1), &[&particle]);
    let mut limited = on(broker, 2);
    limited.limit = Bytes::default();
    let mut receiver = Receiver::new(Party::open(limited), particle.id(), 0);
    let mut window = open_window();
    let mut meter = Meter::default();
    let mut grants = Vec::new();
    let deadline = Deadline::seconds(60);
    loop {
        deadline.check("the end of the transfer");
        for input in meter.inputs(&receiver.party.link).into_iter().flatten() {
            window.handle_input(now(), input).unwrap();
        }
        while window.poll_persist().is_some() {}
        while let Some(Output::Phase(phase)) = window.poll_output() {
            if let Phase::Open { granted, .. } = phase {
                grants.push(granted);
            }
        }
        meter.grant(&window, &mut receiver.party.link);
        if receiver.step() == Fetched::Complete {
            break;
        }
    }
    assert!(receiver.store.holds(&particle));
    assert!(grants.len() > 4, "{grants:?}");
    let last = grants.last().unwrap();
    assert!(receiver.party.link.used().down <= last.down && last.down <= 1 << 20, "{grants:?}");
}

fn now() -> Now {
    let utc = Utc::Known { seconds: 1000, uncertainty_seconds: 0 };
    Now { since_boot: Instant::from_secs(1), utc }
}

fn open_window() -> Window {
    let plan = WindowPlan::new(WindowPlanFields {
        epoch_seconds: 1000,
        period_seconds: 1000,
        open_seconds: 1000,
        jitter_ms_max: 0,
        up_bytes_max: 1 << 20,
        down_bytes_max: 1 << 20,
    });
    let mut buffer = [0; 256];
    let sealed = seal(&plan.unwrap(), 1, u64::MAX, &key(1), &mut buffer).unwrap();
    let plan = Unverified::decode(sealed.bytes()).unwrap().verify(&OneKey).unwrap();
    let policy = Policy {
        metered: true,
        driving: true,
        battery_soc_percent_min: 0,
        temperature_c_max: i16::MAX,
    };
    let mut window = Window::new(KeyId::new([2; 8]), policy, Saved::default());
    window.handle_input(now(), Input::Plan(plan)).unwrap();
    let conditions = Conditions {
        network: Network::Unmetered,
        parked: true,
        external_power: true,
        battery_soc_percent: 100,
        temperature_c: 20,
    };
    window.handle_input(now(), Input::Conditions(conditions)).unwrap();
    window
}
