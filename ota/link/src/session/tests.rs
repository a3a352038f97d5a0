//! The session against a broker that a test speaks for, byte by byte.

use proptest::prelude::*;
use rumqttc::v5::mqttbytes::v5::{Packet, RetainForwardRule};

use super::*;
use crate::settings::Version;

mod again;
mod clocks;

const PLENTY: Bytes = Bytes { up: 1 << 30, down: 1 << 30 };

/// A session, its clock, and the wire.
struct Wire {
    session: Session,
    ms: u64,
    events: Vec<Event>,
}

fn settings() -> Settings {
    let address: crate::Addresses = "mqtt://broker".parse().unwrap();
    let mut settings = Settings::new(address, shoal_wire::KeyId::new([7; 8]));
    settings.limit = PLENTY;
    settings
}

impl Wire {
    fn new(settings: Settings) -> Self {
        Self { session: Session::new(settings, Instant::MIN), ms: 0, events: Vec::new() }
    }

    /// Connected, with nothing said yet but the greeting.
    fn online() -> Self {
        let mut wire = Self::new(settings());
        wire.connect(&[0x20, 3, 0, 0, 0]);
        wire
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.ms)
    }

    fn connect(&mut self, connack: &[u8]) {
        self.session.open(self.now());
        assert!(matches!(self.said()[..], [Packet::Connect(..)]));
        self.hear(connack);
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.session.receive(self.now(), BytesMut::from(bytes));
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    fn cut(&mut self) {
        self.session.close(self.now(), Why::Network(std::io::ErrorKind::ConnectionReset));
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    /// What was said since the last call.
    fn said(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            let mut output = self.session.take_output();
            if output.is_empty() {
                return packets;
            }
            self.session.sent(self.now(), output.len());
            while !output.is_empty() {
                packets.push(Packet::read(&mut output, None).unwrap());
            }
        }
    }

    /// Topic and number of every publication that was said since the last call.
    fn published(&mut self) -> Vec<(String, u16)> {
        let publish = |packet: Packet| {
            let Packet::Publish(publish) = packet else { return None };
            Some((String::from_utf8(publish.topic.to_vec()).unwrap(), publish.pkid))
        };
        self.said().into_iter().filter_map(publish).collect()
    }

    fn publish(&mut self, topic: &str, bytes: usize) -> Ticket {
        self.session.publish(topic, Payload::from(vec![7; bytes]), None).unwrap()
    }

    fn standing(&mut self, filter: &str) {
        self.session.subscribe(Subscription::Standing { filter, acknowledged: true });
    }

    fn once(&mut self, topic: &str, bytes: u32) {
        self.session.subscribe(Subscription::Once { topic, bytes, acknowledged: false });
    }

    fn wait_ms(&mut self, ms: u64) {
        self.ms += ms;
        self.session.handle_timeout(self.now());
    }
}

fn puback(id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [0x40, 2, high, low]
}

fn suback(id: u16, code: u8) -> [u8; 6] {
    let [high, low] = id.to_be_bytes();
    [0x90, 4, high, low, 0, code]
}

/// A retained message of quality 0.
fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
    let length = 2 + topic.len() + 1 + payload.len();
    let mut bytes = vec![0x31, length as u8 | 0x80, (length >> 7) as u8];
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.push(0);
    bytes.extend(payload);
    bytes
}

/// A message of quality 1, number 7, with nothing in it.
fn asked_to_acknowledge(topic: &str) -> Vec<u8> {
    let mut bytes = vec![0x32, (2 + topic.len() + 3) as u8];
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend([0, 7, 0]);
    bytes
}

#[test]
fn nothing_is_said_before_the_broker_accepts() {
    let mut wire = Wire::new(settings());
    wire.publish("a", 10);
    wire.standing("b");
    wire.session.open(wire.now());
    assert_eq!(wire.said().len(), 1, "CONNECT");
    wire.hear(&[0x20, 3, 0, 0, 0]);
    assert_eq!(wire.said().len(), 2);
}

#[test]
fn a_publication_is_done_when_it_is_acknowledged() {
    let mut wire = Wire::online();
    let ticket = wire.publish("a", 10);
    let [(_topic, id)] = &wire.published()[..] else { panic!() };
    assert!(!wire.events.contains(&Event::Published(ticket)));
    wire.hear(&puback(*id));
    assert!(wire.events.contains(&Event::Published(ticket)));
}

#[test]
fn a_publication_the_broker_refuses_has_failed() {
    let mut wire = Wire::online();
    let ticket = wire.publish("a", 10);
    let id = wire.published()[0].1;
    let [high, low] = id.to_be_bytes();
    wire.hear(&[0x40, 3, high, low, 0x97]);
    let why = NotPublished::Refused("QuotaExceeded".to_owned());
    assert!(wire.events.contains(&Event::Failed { ticket, why }));
}

#[test]
fn after_a_cut_what_was_not_acknowledged_is_published_again_and_nothing_else() {
    let mut wire = Wire::online();
    for topic in ["a", "b", "c"] {
        wire.publish(topic, 10);
    }
    let ids = wire.published();
    wire.hear(&puback(ids[1].1));
    wire.wait_ms(10_001);
    wire.hear(&[0xd0, 0]);
    wire.cut();
    wire.publish("d", 10);
    wire.connect(&[0x20, 3, 0, 0, 0]);
    let topics: Vec<String> = wire.published().into_iter().map(|(topic, _id)| topic).collect();
    assert_eq!(topics, ["a", "c", "d"]);
}

#[test]
fn no_more_publications_are_on_their_way_than_32_or_the_broker_allows() {
    for (connack, count) in [(&[0x20, 3, 0, 0, 0][..], 32), (&[0x20, 6, 0, 0, 3, 0x21, 0, 5], 5)] {
        let mut wire = Wire::new(settings());
        for index in 0..40 {
            wire.publish(&format!("topic/{index}"), 10);
        }
        wire.connect(connack);
        let published = wire.published();
        assert_eq!(published.len(), count);
        wire.hear(&puback(published[3].1));
        assert_eq!(wire.published().len(), 1);
    }
}

#[test]
fn a_publication_longer_than_the_broker_takes_has_failed_and_holds_up_no_other() {
    let mut wire = Wire::new(settings());
    let ticket = wire.publish("a", 1000);
    wire.publish("b", 10);
    // Its longest packet: 256 bytes.
    wire.connect(&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 1, 0]);
    assert_eq!(wire.published()[0].0, "b");
    let failed = wire.events.iter().any(|event| {
        matches!(event, Event::Failed { ticket: of, why: NotPublished::TooLong { max: 256, .. } } if *of == ticket)
    });
    assert!(failed, "{:?}", wire.events);
}

#[test]
fn subscriptions_that_stand_are_asked_for_again_on_every_connection() {
    let mut wire = Wire::online();
    wire.standing("a/+");
    assert_eq!(wire.said().len(), 1);
    wire.cut();
    wire.connect(&[0x20, 3, 0, 0, 0]);
    let said = wire.said();
    let [Packet::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(subscribe.filters[0].path, "a/+");
    assert_eq!(subscribe.filters[0].retain_forward_rule, RetainForwardRule::OnEverySubscribe);
}

#[test]
fn a_session_that_was_kept_does_not_repeat_what_it_retains() {
    let mut wire = Wire::online();
    wire.standing("a/+");
    wire.said();
    wire.cut();
    wire.connect(&[0x20, 3, 1, 0, 0]);
    assert!(wire.events.contains(&Event::Connected { session_present: true }));
    let said = wire.said();
    let [Packet::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(subscribe.filters[0].retain_forward_rule, RetainForwardRule::OnNewSubscribe);
}

#[test]
fn only_the_first_connection_may_begin_a_session_of_its_own() {
    for (session_seconds, fresh, cleans) in
        [(0, true, [true, true]), (60, true, [true, false]), (60, false, [false, false])]
    {
        let mut wire = Wire::new(Settings { session_seconds, fresh, ..settings() });
        for clean in cleans {
            wire.session.open(wire.now());
            let said = wire.said();
            let [Packet::Connect(connect, ..)] = &said[..] else { panic!("{said:?}") };
            assert_eq!(connect.clean_start, clean);
            wire.hear(&[0x20, 3, 0, 0, 0]);
            wire.cut();
        }
    }
}

/// A goodbye ends a session that would go on sending what nobody asks for any more, or that has lost a message.
#[test]
fn a_session_is_kept_over_a_goodbye_unless_something_is_open() {
    let forgets = |open: fn(&mut Wire)| {
        let mut wire = Wire::new(Settings { session_seconds: 60, ..settings() });
        wire.connect(&[0x20, 3, 0, 0, 0]);
        wire.standing("a/+");
        open(&mut wire);
        wire.said();
        wire.session.goodbye();
        // `rumqttc` writes a DISCONNECT without properties and does not read it.
        let said = wire.session.take_output();
        let forgets = said[..] == [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0];
        assert!(forgets || said[..] == [0xe0, 0], "{said:x?}");
        forgets
    };
    assert!(!forgets(|_wire| {}));
    assert!(forgets(|wire| wire.once("chunk/0", 100)));
    let unsubscribed = |wire: &mut Wire| {
        wire.once("chunk/0", 100);
        wire.said();
        wire.session.unsubscribe("chunk/0");
    };
    assert!(forgets(unsubscribed), "not confirmed yet");
    let untaken = |wire: &mut Wire| {
        let message: &[u8] = &[0x32, 7, 0, 1, b'a', 0, 9, 0, b'x'];
        wire.session.receive(wire.now(), BytesMut::from(message));
    };
    assert!(forgets(untaken));
}

#[test]
fn what_was_asked_of_one_connection_is_asked_again_by_its_caller_alone() {
    let mut wire = Wire::online();
    wire.once("chunk/0", 100);
    assert_eq!(wire.said().len(), 1);
    wire.session.close(wire.now(), Why::Silent);
    wire.session.open(wire.now());
    wire.session.receive(wire.now(), BytesMut::from(&[0x20, 3, 0, 0, 0][..]));
    // The caller does not know yet: it asks the connection that is gone.
    wire.once("chunk/1", 100);
    assert_eq!(wire.said().len(), 1, "CONNECT");
    wire.hear(&[]);
    wire.once("chunk/1", 100);
    assert_eq!(wire.said().len(), 1, "SUBSCRIBE");
}

/// A session that the broker kept holds back what it has sent before, if it may: what is wanted now must come all the same.
#[test]
fn what_is_wanted_once_comes_again_in_a_session_that_was_kept() {
    let mut wire = Wire::new(settings());
    wire.connect(&[0x20, 3, 1, 0, 0]);
    wire.standing("a");
    let (topic, bytes, acknowledged) = ("chunk/0", 100, true);
    wire.session.subscribe(Subscription::Once { topic, bytes, acknowledged });
    let said = wire.said();
    let asked: Vec<_> = said
        .iter()
        .filter_map(|packet| {
            let Packet::Subscribe(subscribe) = packet else { return None };
            subscribe.filters.first()
        })
        .map(|filter| (filter.path.as_str(), filter.qos as u8, filter.retain_forward_rule.clone()))
        .collect();
    assert_eq!(
        asked,
        [
            ("a", 1, RetainForwardRule::OnNewSubscribe),
            ("chunk/0", 1, RetainForwardRule::OnEverySubscribe)
        ]
    );
}

#[test]
fn a_refused_subscription_is_asked_for_again() {
    let mut wire = Wire::online();
    wire.standing("a");
    let said = wire.said();
    let [Packet::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
    wire.hear(&suback(subscribe.pkid, 0x87));
    let refused = |event: &Event| matches!(event, Event::SubscribeRefused { reason, .. } if reason == "NotAuthorized");
    assert!(wire.events.iter().any(refused));
    wire.wait_ms(400);
    assert_eq!(wire.said().len(), 0);
    wire.wait_ms(700);
    assert_eq!(wire.said().len(), 1, "within the first wait of the backoff");
}

#[test]
fn a_broker_that_retains_nothing_or_acknowledges_nothing_is_not_used() {
    for property in [0x25, 0x24] {
        let mut wire = Wire::new(settings());
        wire.connect(&[0x20, 5, 0, 0, 2, property, 0]);
        assert_eq!(wire.session.ending(), Some(&Why::Unfit));
    }
}

#[test]
fn one_whose_name_was_taken_stays_away_until_it_is_told() {
    let mut wire = Wire::online();
    wire.hear(&[0xe0, 1, 0x8e]);
    assert_eq!(wire.session.ending(), Some(&Why::TakenOver));
    wire.session.close(wire.now(), Why::TakenOver);
    wire.session.limit(wire.now(), PLENTY);
    assert_eq!(wire.session.todo(Instant::from_secs(1 << 30)), Todo::Wait(None));
    wire.session.resume(wire.now());
    assert_eq!(wire.session.todo(wire.now()), Todo::Connect);
}

#[test]
fn connections_that_do_not_last_are_tried_less_and_less() {
    let mut wire = Wire::new(settings());
    let mut waits = Vec::new();
    for _ in 0..12 {
        wire.connect(&[0x20, 3, 0, 0, 0]);
        let before = wire.now();
        wire.ms += 1000;
        wire.cut();
        let Todo::Wait(Some(at)) = wire.session.todo(wire.now()) else { panic!() };
        waits.push((at - before).as_secs());
        wire.ms = at.as_millis();
    }
    assert!(waits[0] <= 2 && waits[11] >= 30, "{waits:?}");
    // One that lasts as long as the longest wait begins anew.
    wire.connect(&[0x20, 3, 0, 0, 0]);
    wire.ms += 60_000;
    wire.cut();
    let Todo::Wait(Some(at)) = wire.session.todo(wire.now()) else { panic!() };
    assert!((at - wire.now()).as_secs() <= 1);
}

#[test]
fn silence_is_broken_by_a_ping_and_a_broker_that_stays_silent_is_left() {
    let mut wire = Wire::online();
    wire.wait_ms(14_999);
    assert!(wire.said().is_empty());
    wire.wait_ms(1);
    assert!(matches!(wire.said()[..], [Packet::PingReq(_)]));
    wire.hear(&[0xd0, 0]);
    wire.wait_ms(15_000);
    assert_eq!(wire.said().len(), 1);
    wire.wait_ms(29_999);
    assert_eq!(wire.session.ending(), None);
    wire.wait_ms(1);
    assert_eq!(wire.session.ending(), Some(&Why::Silent));
}

/// A request that is dropped: pings are answered, and what was asked is not.
#[test]
fn drop_request_a_broker_that_answers_pings_alone_is_left() {
    let mut wire = Wire::online();
    wire.standing("a");
    wire.said();
    for _ping in 0..3 {
        assert_eq!(wire.session.ending(), None);
        wire.wait_ms(15_000);
        wire.said();
        wire.hear(&[0xd0, 0]);
    }
    assert_eq!(wire.session.ending(), Some(&Why::Silent));
    // The next one, perhaps another node, is asked again.
    wire.cut();
    wire.wait_ms(1_000);
    wire.connect(&[0x20, 3, 0, 0, 0]);
    assert!(matches!(wire.said()[..], [Packet::Subscribe(_)]));
}

#[test]
fn a_broker_that_does_not_accept_in_time_is_left() {
    let mut wire = Wire::new(settings());
    wire.session.open(wire.now());
    wire.wait_ms(20_000);
    assert_eq!(wire.session.ending(), Some(&Why::Silent));
}

#[test]
fn an_oversized_message_is_passed_over_and_what_follows_is_read() {
    let mut settings = settings();
    settings.packet_bytes_max = 100;
    let mut wire = Wire::new(settings);
    wire.connect(&[0x20, 3, 0, 0, 0]);
    let mut bytes = message("long", &[0; 200]);
    bytes.extend(message("short", b"x"));
    wire.hear(&bytes);
    let topics: Vec<&Event> = wire.events[1..].iter().collect();
    assert!(matches!(topics[0], Event::Oversized { bytes: 210 }), "{topics:?}");
    assert!(matches!(topics[1], Event::Message(message) if message.topic == "short"));
}

#[test]
fn nothing_is_begun_that_does_not_fit_with_its_answer() {
    let mut wire = Wire::online();
    let used = wire.session.used();
    wire.session.limit(wire.now(), Bytes { up: used.up + 1000, down: used.down + 1000 });
    wire.publish("a", 2000);
    wire.once("b", 2000);
    assert!(wire.said().is_empty());
    let needs = wire.session.needs().unwrap();
    wire.session.limit(wire.now(), needs);
    assert!(matches!(wire.said()[..], [Packet::Subscribe(_)]));
    let needs = wire.session.needs().unwrap();
    assert!(needs.up > used.up + 2000, "the publication is next: {needs:?}");
    wire.session.limit(wire.now(), needs);
    assert!(matches!(wire.said()[..], [Packet::Publish(_)]));
    assert_eq!(wire.session.needs(), None);
}

#[test]
fn not_one_byte_crosses_above_the_limit() {
    let mut wire = Wire::online();
    wire.standing("#");
    wire.said();
    let used = wire.session.used();
    wire.session.limit(wire.now(), Bytes { up: 1 << 20, down: used.down + 300 });
    assert_eq!(wire.session.read_bytes_max(), 300);
    let flood = message("flood", &[0; 1000]);
    wire.hear(&flood[..300]);
    assert_eq!(wire.session.read_bytes_max(), 0);
    assert_eq!(wire.session.ending(), Some(&Why::Budget));
    wire.session.close(wire.now(), Why::Budget);
    assert_eq!(wire.session.todo(Instant::from_secs(1 << 30)), Todo::Wait(None));
    wire.session.limit(wire.now(), PLENTY);
    assert_eq!(wire.session.todo(wire.now()), Todo::Connect);
}

#[test]
fn what_finishes_begins_nothing_and_says_when_nothing_is_in_flight() {
    let mut wire = Wire::online();
    wire.once("b", 3);
    let said = wire.said();
    let [Packet::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
    wire.publish("a", 10);
    let id = wire.published()[0].1;
    wire.session.finish();
    let refused = wire.session.publish("c", Payload::new(), None);
    assert_eq!(refused, Err(PublishError::Finishing));
    for (bytes, what) in [
        (&puback(id)[..], "a subscription is not confirmed"),
        (&suback(subscribe.pkid, 0), "a message is still to come"),
    ] {
        wire.hear(bytes);
        assert!(!wire.events.contains(&Event::Drained), "{what}");
    }
    wire.hear(&message("b", b"abc"));
    assert_eq!(wire.events.last(), Some(&Event::Drained));
}

#[test]
fn an_acknowledgement_of_nothing_ends_the_connection() {
    for bytes in [&puback(9)[..], &suback(9, 0), &[0xb0, 4, 0, 9, 0, 0]] {
        let mut wire = Wire::online();
        wire.hear(bytes);
        assert_eq!(wire.session.ending(), Some(&Why::Malformed));
    }
}

#[test]
fn a_caller_who_is_behind_is_waited_for() {
    let mut wire = Wire::online();
    let flood = message("flood", &[0; 1000]);
    while wire.session.read_bytes_max() > 0 {
        wire.session.receive(wire.now(), BytesMut::from(&flood[..]));
    }
    assert!(wire.session.event_bytes <= EVENT_BYTES_MAX + 1000);
    while wire.session.poll_event().is_some() {}
    assert!(wire.session.read_bytes_max() > 0);
}

/// It sends what is to be acknowledged, and reads nothing of that.
#[test]
fn a_broker_that_reads_nothing_is_read_no_more() {
    let mut wire = Wire::online();
    let mut came = 0;
    while wire.session.read_bytes_max() > 0 {
        came += 1;
        wire.session.receive(wire.now(), BytesMut::from(&asked_to_acknowledge("flood")[..]));
        while wire.session.poll_event().is_some() {}
        assert!(came < 200_000);
    }
    let unread = wire.session.take_output().len();
    assert!((2 * READY_BYTES_MAX..2 * READY_BYTES_MAX + 8).contains(&unread), "{unread}");
    assert_eq!(wire.session.read_bytes_max(), 0, "it is not sent yet");
    wire.session.sent(wire.now(), unread);
    assert!(wire.session.read_bytes_max() > 0);
}

/// While last words are sent, what comes is counted and let go.
#[test]
fn nothing_is_kept_of_what_comes_after_the_end() {
    let mut wire = Wire::online();
    wire.hear(&[0xf0, 0]);
    assert_eq!(wire.session.ending(), Some(&Why::Malformed));
    let used = wire.session.used().down;
    let flood = message("flood", &[0; 1000]);
    for _message in 0..100 {
        wire.session.receive(wire.now(), BytesMut::from(&flood[..]));
    }
    assert_eq!(wire.session.used().down, used + 100 * flood.len() as u64);
    assert!(matches!(wire.session.frames.next(), Ok(None)), "nothing waits");
}

proptest! {
    /// Neither version's reader panics, whatever a broker sends.
    #[test]
    fn no_bytes_panic_it(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
        v5: bool,
    ) {
        let mut settings = settings();
        settings.version = if v5 { Version::V5 } else { Version::V311 };
        let mut session = Session::new(settings, Instant::MIN);
        session.open(Instant::MIN);
        session.receive(Instant::MIN, BytesMut::from(&[0x20, 2, 0, 0][..]));
        for piece in pieces {
            session.receive(Instant::MIN, BytesMut::from(&piece[..]));
        }
    }

    /// As `no_bytes_panic_it`, with bytes that begin as packets do: type, flags and a length that fits.
    #[test]
    fn no_packet_panics_it(
        packets in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(prop_oneof![Just(0), 0..8_u8, any::<u8>()], 0..60)),
            1..8,
        ),
        v5: bool,
    ) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        for (first, body) in packets {
            let mut frame = BytesMut::from(&[first, body.len() as u8][..]);
            frame.extend_from_slice(&body);
            let _read_or_refused = decode(version, frame);
        }
    }

    /// Cuts at any moment, acknowledgements in any order: in the end each topic's newest was acknowledged once.
    #[test]
    fn every_publication_is_acknowledged_in_the_end(
        steps in prop::collection::vec((0..4_u8, any::<u16>()), 0..60),
    ) {
        let mut wire = Wire::online();
        let mut newest = BTreeMap::new();
        let mut waiting: Vec<u16> = Vec::new();
        for (step, pick) in steps {
            match step {
                0 | 1 => {
                    let topic = format!("topic/{}", pick % 5);
                    let ticket = wire.publish(&topic, 10);
                    newest.insert(topic, ticket);
                }
                2 if !waiting.is_empty() => {
                    let id = waiting.remove(usize::from(pick) % waiting.len());
                    wire.hear(&puback(id));
                }
                3 => {
                    wire.cut();
                    waiting.clear();
                    wire.connect(&[0x20, 3, 0, 0, 0]);
                }
                _ => {}
            }
            waiting.extend(wire.published().into_iter().map(|(_topic, id)| id));
        }
        while !waiting.is_empty() {
            for id in std::mem::take(&mut waiting) {
                wire.hear(&puback(id));
            }
            waiting.extend(wire.published().into_iter().map(|(_topic, id)| id));
        }
        for (topic, ticket) in newest {
            let count = wire.events.iter().filter(|event| **event == Event::Published(ticket)).count();
            prop_assert_eq!(count, 1, "{}", topic);
        }
    }
}

/// Its answer is that of MQTT 5, or that of those before.
#[test]
fn a_broker_that_does_not_speak_mqtt_5_is_spoken_to_in_3_1_1() {
    const LEVEL: usize = 8;
    for answer in [&[0x20, 3, 0, 0x84, 0][..], &[0x20, 2, 0, 1]] {
        let mut wire = Wire::new(settings());
        wire.connect(answer);
        assert!(matches!(wire.session.ending(), Some(Why::Refused(_))));
        wire.cut();
        wire.wait_ms(1_000);
        wire.session.open(wire.now());
        assert_eq!(wire.session.take_output().get(LEVEL), Some(&4));
        wire.hear(&[0x20, 2, 0, 0]);
        assert!(matches!(wire.events.last(), Some(Event::Connected { .. })), "{:?}", wire.events);
    }
}
