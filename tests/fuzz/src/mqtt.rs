//! The entry of the target `mqtt`: what a broker sends, packet by packet, to a vehicle that publishes and asks.

use std::time::Duration;

use embassy_time::{Duration as Span, Instant};
use shoal_link::{Addresses, Broker, Sealed, Settings, Subscription, Unwired, Version, Why};
use shoal_window::Bytes;
use shoal_wire::v1::{Activity, Presence, PresenceFields};
use shoal_wire::{KeyId, Label, Leaf, SecretKey, Topic, seal};

/// What crosses at most: a vehicle never runs without a bound.
const LIMIT: Bytes = Bytes { up: 1 << 20, down: 1 << 20 };

/// Feeds the bytes to a link, in pieces each behind a byte: their length, or, from 250 on, what else happens (time passes, the socket closes, the
/// vehicle asks or publishes). The first byte says by which version of MQTT.
///
/// # Panics
/// If the link panics, or counts more bytes than it was sent.
pub fn mqtt(bytes: &[u8]) {
    let Some((version, mut rest)) = bytes.split_first() else { return };
    let brokers: Addresses = "mqtt://broker".parse().expect("an address");
    let mut settings = Settings::new(brokers, KeyId::new([7; 8]));
    settings.version = if version.is_multiple_of(2) { Version::V5 } else { Version::V311 };
    settings.limit = LIMIT;
    let (mut now, mut heard) = (Instant::MIN, 0);
    let mut link = Unwired::new(settings, now);
    link.opened();
    while let Some((step, after)) = rest.split_first() {
        rest = after;
        match step {
            250 => ask(&mut link),
            251 => publish(&mut link),
            252 => {
                link.closed(Why::Silent);
                if link.wants_socket() {
                    link.opened();
                }
            }
            253.. => {
                now += Span::from_secs(u64::from(step - 252) * 10);
                link.at(now);
            }
            length => {
                let (piece, after) = rest.split_at(usize::from(*length).min(rest.len()));
                rest = after;
                heard += piece.len() as u64;
                link.receive(piece);
            }
        }
        let _said = link.take();
        while link.next(Duration::ZERO).is_some() {}
        assert!(link.used().down <= heard, "no more is counted than came");
    }
    let _ending = (link.ending(), link.unacknowledged(), link.poll_timeout());
    let _counted = link.close();
}

fn ask(link: &mut Unwired) {
    link.subscribe(Subscription::Standing { filter: "shoal/1/#", acknowledged: true });
}

fn publish(link: &mut Unwired) {
    let key = SecretKey::from_seed(&[7; 32]);
    let presence = Presence::new(PresenceFields {
        window: Some(1),
        activity: Activity::Idle,
        adapter: None,
        software: "fuzz".try_into().expect("a short text"),
        up_bytes: 0,
        down_bytes: 0,
        terms: Default::default(),
        steps: 0,
    });
    let [fleet, region] = ["fleet", "region"].map(|text| Label::new(text).expect("a name"));
    let topic = Topic::new(fleet, region, key.public().id(), Leaf::Presence).expect("a leaf");
    let mut buffer = vec![0; 1 << 12];
    let sealed = seal(&presence.expect("within bounds"), 1, u64::MAX, &key, &mut buffer);
    let _ticket = link.publish(&topic, Sealed::Record(sealed.expect("it fits")), None);
}
