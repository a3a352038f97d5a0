//! How long a silence may last, and what of a connection that is gone the broker is still to be told.

use super::*;

/// CONNACK of MQTT 5 with a Server Keep Alive of so many seconds.
fn keeps_alive(seconds: u16) -> [u8; 8] {
    let [high, low] = seconds.to_be_bytes();
    [0x20, 6, 0, 0, 3, 0x13, high, low]
}

/// A broker may ask for a ping sooner; that it would wait for longer makes a dead line no better.
#[test]
fn a_broker_makes_the_silence_shorter_and_not_longer() {
    for (told, pings_at_ms) in [(10, 5_000), (3_600, 15_000)] {
        let mut wire = Wire::new(settings());
        wire.connect(&keeps_alive(told));
        wire.wait_ms(pings_at_ms - 1);
        assert!(wire.said().is_empty(), "{told}");
        wire.wait_ms(1);
        assert!(matches!(wire.said()[..], [Packet::PingReq(_)]), "{told}");
        wire.wait_ms(2 * pings_at_ms);
        assert_eq!(wire.session.ending(), Some(&Why::Silent), "{told}");
    }
}

/// Nothing is read of it meanwhile, its answers least of all.
#[test]
fn a_broker_is_not_silent_while_the_caller_is_behind() {
    let mut wire = Wire::online();
    wire.standing("a");
    wire.said();
    let flood = message("flood", &[0; 1000]);
    while wire.session.read_bytes_max() > 0 {
        wire.session.receive(wire.now(), BytesMut::from(&flood[..]));
    }
    for _ in 0..20 {
        wire.wait_ms(10_000);
        wire.said();
        assert_eq!(wire.session.ending(), None);
        assert!(wire.session.poll_timeout().is_none_or(|at| at > wire.now()), "or it spins");
    }
    while wire.session.poll_event().is_some() {}
    wire.wait_ms(1);
    assert_eq!(wire.session.ending(), None, "it has its time again");
    wire.wait_ms(29_999);
    assert_eq!(wire.session.ending(), None);
    wire.wait_ms(15_001);
    assert_eq!(wire.session.ending(), Some(&Why::Silent));
}

fn changes(said: &[Packet]) -> Vec<&'static str> {
    let change = |packet: &Packet| {
        let subscribes = matches!(packet, Packet::Subscribe(_));
        let unsubscribes = matches!(packet, Packet::Unsubscribe(_));
        assert_ne!(subscribes, unsubscribes, "{packet:?}");
        if subscribes { "subscribe" } else { "unsubscribe" }
    };
    said.iter().map(change).collect()
}

#[test]
fn what_a_session_of_before_may_hold_is_let_go_of_before_it_is_asked_for() {
    let mut wire = Wire::online();
    wire.session.let_go("a/+");
    wire.standing("a/+");
    assert_eq!(changes(&wire.said()), ["unsubscribe", "subscribe"]);
    for (present, said) in [(1, &["unsubscribe", "subscribe"][..]), (0, &["subscribe"])] {
        let mut wire = Wire::new(settings());
        wire.session.let_go("a/+");
        wire.standing("a/+");
        wire.connect(&[0x20, 3, present, 0, 0]);
        assert_eq!(changes(&wire.said()), said);
    }
}

#[test]
fn what_was_asked_of_a_connection_that_is_gone_may_be_in_the_session() {
    let mut wire = Wire::online();
    wire.standing("a/+");
    wire.said();
    wire.cut();
    assert!(!wire.session.leaves(), "what stands is wanted still");
    wire.connect(&[0x20, 3, 0, 0, 0]);
    wire.once("chunk/0", 100);
    wire.said();
    assert!(!wire.session.leaves(), "a goodbye would say so");
    wire.cut();
    assert!(wire.session.leaves());
    wire.connect(&[0x20, 3, 0, 0, 0]);
    wire.cut();
    assert!(!wire.session.leaves(), "the broker has forgotten all");
}
