//! What a broker acknowledged and may not have kept.

use embassy_time::Duration;

use super::*;

/// Publishes under these topics, and has it acknowledged.
fn acknowledged(wire: &mut Wire, topics: &[&str]) {
    for topic in topics {
        wire.publish(topic, 10);
    }
    for (_topic, id) in wire.published() {
        wire.hear(&puback(id));
    }
}

/// Topics of what was said since the last call; it is acknowledged.
fn topics(wire: &mut Wire) -> Vec<String> {
    let published = wire.published();
    published.iter().for_each(|(_topic, id)| wire.hear(&puback(*id)));
    published.into_iter().map(|(topic, _id)| topic).collect()
}

const ACCEPTED: [u8; 5] = [0x20, 3, 0, 0, 0];

/// After all else, and who published it hears of it once.
#[test]
fn after_a_cut_what_was_acknowledged_just_before_is_published_again() {
    let mut wire = Wire::online();
    acknowledged(&mut wire, &["old"]);
    wire.wait_ms(6_000);
    acknowledged(&mut wire, &["b", "a"]);
    wire.wait_ms(5_000);
    wire.publish("unacknowledged", 10);
    assert_eq!(wire.published().len(), 1);
    wire.hear(&[0xd0, 0]);
    wire.cut();
    wire.publish("new", 10);
    wire.connect(&ACCEPTED);
    assert_eq!(topics(&mut wire), ["unacknowledged", "new", "b", "a"]);
    let told = |event: &&Event| matches!(event, Event::Published(_));
    assert_eq!(wire.events.iter().filter(told).count(), 5, "{:?}", wire.events);
}

#[test]
fn where_something_newer_is_published_what_was_acknowledged_is_not() {
    for before_the_cut in [true, false] {
        let mut wire = Wire::online();
        acknowledged(&mut wire, &["a", "b"]);
        if before_the_cut {
            wire.publish("a", 20);
            wire.cut();
        } else {
            wire.cut();
            wire.publish("a", 20);
        }
        wire.connect(&ACCEPTED);
        let said = wire.said();
        let sent = said.iter().map(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            (&publish.topic[..], publish.payload.len())
        });
        let sent: Vec<(&[u8], usize)> = sent.collect();
        assert_eq!(sent, [(&b"a"[..], 20), (&b"b"[..], 10)]);
    }
}

/// One topic, one publication on its way, whichever it is.
#[test]
fn what_is_newer_waits_for_what_is_published_again() {
    let mut wire = Wire::online();
    acknowledged(&mut wire, &["a"]);
    wire.cut();
    wire.connect(&ACCEPTED);
    let again = wire.published();
    let ticket = wire.publish("a", 20);
    assert_eq!(wire.published(), []);
    wire.hear(&puback(again[0].1));
    assert!(!wire.events.contains(&Event::Published(ticket)));
    assert_eq!(topics(&mut wire), ["a"]);
    assert!(wire.events.contains(&Event::Published(ticket)));
}

/// A broker that comes back acknowledges what it does not keep, for as long as it looks for its majority.
#[test]
fn what_is_acknowledged_soon_after_a_cut_is_published_again_once_the_broker_has_settled() {
    let mut wire = Wire::online();
    wire.wait_ms(1_000);
    acknowledged(&mut wire, &["a"]);
    wire.wait_ms(20_000);
    assert_eq!(topics(&mut wire), [""; 0], "nothing was cut");
    wire.hear(&[0xd0, 0]);
    wire.cut();
    wire.connect(&ACCEPTED);
    wire.wait_ms(3_000);
    acknowledged(&mut wire, &["b"]);
    let settles = wire.session.poll_timeout();
    assert_eq!(settles, Some(wire.now() + Duration::from_secs(7)));
    wire.wait_ms(7_000);
    assert_eq!(topics(&mut wire), ["b"]);
    wire.wait_ms(11_000);
    assert_eq!(topics(&mut wire), [""; 0], "once");
}

/// Nor what it acknowledges after a first connection that it did not take, or ended before it said a word.
#[test]
fn what_is_acknowledged_soon_after_a_try_that_failed_is_published_again_too() {
    use std::io::ErrorKind;

    let reset = || Why::Network(ErrorKind::ConnectionReset);
    let unready = || Why::Refused("server unavailable".to_owned());
    let refused = || Why::Network(ErrorKind::ConnectionRefused);
    let nowhere = || Why::Network(ErrorKind::HostUnreachable);
    let tries = [(true, reset()), (true, unready()), (false, refused())];
    let others = [(true, Why::Budget), (false, nowhere()), (false, Why::Silent)];
    let all = tries.into_iter().map(|one| (one, true));
    for ((had_socket, why), again) in all.chain(others.into_iter().map(|one| (one, false))) {
        let mut wire = Wire::new(settings());
        if had_socket {
            wire.session.open(wire.now());
            wire.said();
        }
        wire.session.close(wire.now(), why.clone());
        wire.connect(&ACCEPTED);
        acknowledged(&mut wire, &["a"]);
        wire.wait_ms(10_000);
        assert_eq!(topics(&mut wire), if again { &["a"][..] } else { &[] }, "{why:?}");
    }
}

/// The rest is for what was never published.
#[test]
fn what_is_published_again_takes_no_more_bytes_than_it_may() {
    let mut wire = Wire::new(Settings { again_bytes_max: 5_000, ..settings() });
    wire.connect(&ACCEPTED);
    for topic in ["a", "b", "c"] {
        wire.publish(topic, 2_000);
    }
    assert_eq!(topics(&mut wire).len(), 3);
    wire.cut();
    wire.connect(&ACCEPTED);
    assert_eq!(topics(&mut wire), ["a", "b"]);
    assert_eq!(wire.session.needs(), None, "nor is more asked for");
    wire.publish("new", 2_000);
    assert_eq!(topics(&mut wire), ["new"]);
    wire.cut();
    wire.connect(&ACCEPTED);
    assert_eq!(topics(&mut wire), [""; 0]);
}

/// A connection that this side ended took nothing with it, and one that never was neither.
#[test]
fn after_our_own_goodbye_nothing_is_published_again() {
    let ends = [Why::Budget, Why::TakenOver, Why::Unfit];
    for why in ends {
        let mut wire = Wire::online();
        acknowledged(&mut wire, &["a"]);
        wire.session.close(wire.now(), why);
        wire.session.resume(wire.now());
        wire.connect(&ACCEPTED);
        assert_eq!(topics(&mut wire), [""; 0]);
        wire.wait_ms(10_000);
        assert_eq!(topics(&mut wire), [""; 0]);
    }
}

/// A node that is gone without a word is missed later: what it acknowledged last was long ago by then.
#[test]
fn what_a_broker_acknowledged_before_it_fell_silent_is_published_again() {
    let mut wire = Wire::online();
    acknowledged(&mut wire, &["a"]);
    wire.wait_ms(30_000);
    wire.session.close(wire.now(), Why::Silent);
    wire.connect(&ACCEPTED);
    assert_eq!(topics(&mut wire), ["a"]);
}

/// Who is at its address by then resets the connection: that is no word of the node that is gone.
#[test]
fn what_a_broker_acknowledged_before_its_address_was_anothers_is_published_again() {
    let mut wire = Wire::online();
    acknowledged(&mut wire, &["a"]);
    wire.wait_ms(15_000);
    wire.cut();
    wire.connect(&ACCEPTED);
    assert_eq!(topics(&mut wire), ["a"]);
}

/// What is kept is bounded: the oldest goes first.
#[test]
fn no_more_is_published_again_than_a_particle_and_what_surrounds_it() {
    let mut wire = Wire::online();
    let names: Vec<String> = (0..80).map(|index| format!("topic/{index}")).collect();
    for name in &names {
        acknowledged(&mut wire, &[name]);
    }
    wire.cut();
    wire.connect(&ACCEPTED);
    let mut again = Vec::new();
    loop {
        let more = topics(&mut wire);
        if more.is_empty() {
            break;
        }
        again.extend(more);
    }
    assert_eq!(again, names[16..]);
}
