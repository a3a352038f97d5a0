//! What a node reads and writes, in the words of MQTT 5: of one that speaks 3.1.1 alone, as NATS does, there are no properties, no
//! reasons, no end of a session but by a clean one, and all that stands there comes with every subscription.

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Disconnect, DisconnectReasonCode, Filter, Packet, PubAck, Publish,
    Subscribe, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use shoal_link::Version;

/// A CONNACK of 3.1.1: this version of the protocol is not spoken.
pub(crate) const UNSPOKEN: [u8; 4] = [0x20, 2, 0, 1];

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPacket {
    /// There is more to come of it.
    More,
    /// It greets in MQTT 5.
    Unspoken,
    /// It is none.
    Malformed,
}

/// The next packet that a client has sent.
pub(crate) fn read(version: Version, input: &mut BytesMut) -> Result<Packet, NoPacket> {
    match version {
        Version::V5 => {
            let packet = Packet::read(input, None);
            packet.map_err(|error| more(matches!(error, Error::InsufficientBytes(_))))
        }
        Version::V311 if greets_in_5(input) => Err(NoPacket::Unspoken),
        Version::V311 => {
            let packet = v4::Packet::read(input, usize::MAX);
            let is_short = |error| matches!(error, mqttbytes::Error::InsufficientBytes(_));
            translated(packet.map_err(|error| more(is_short(error)))?)
        }
    }
}

fn more(is_short: bool) -> NoPacket {
    if is_short { NoPacket::More } else { NoPacket::Malformed }
}

/// Whether it is a CONNECT of MQTT 5: type, length in one byte, the protocol's name, its level.
fn greets_in_5(input: &[u8]) -> bool {
    let name = [0, 4, b'M', b'Q', b'T', b'T', 5];
    input.first() == Some(&0x10) && input.get(2..9) == Some(&name[..])
}

fn quality(of: mqttbytes::QoS) -> QoS {
    match of {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn translated(packet: v4::Packet) -> Result<Packet, NoPacket> {
    Ok(match packet {
        v4::Packet::Connect(connect) => {
            let mut properties = ConnectProperties::new();
            properties.session_expiry_interval =
                Some(if connect.clean_session { 0 } else { u32::MAX });
            let connect = Connect {
                keep_alive: connect.keep_alive,
                client_id: connect.client_id,
                clean_start: connect.clean_session,
                properties: Some(properties),
            };
            Packet::Connect(connect, None, None)
        }
        v4::Packet::Publish(publish) => {
            let mut of = Publish::new(publish.topic, quality(publish.qos), publish.payload, None);
            (of.pkid, of.retain) = (publish.pkid, publish.retain);
            Packet::Publish(of)
        }
        v4::Packet::PubAck(ack) => Packet::PubAck(PubAck::new(ack.pkid, None)),
        v4::Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.into_iter();
            let filters = filters.map(|filter| Filter::new(filter.path, quality(filter.qos)));
            let (filters, pkid) = (filters.collect(), subscribe.pkid);
            Packet::Subscribe(Subscribe { pkid, filters, properties: None })
        }
        v4::Packet::Unsubscribe(unsubscribe) => {
            let (filters, pkid) = (unsubscribe.topics, unsubscribe.pkid);
            Packet::Unsubscribe(Unsubscribe { pkid, filters, properties: None })
        }
        v4::Packet::PingReq => Packet::PingReq(rumqttc::v5::mqttbytes::v5::PingReq),
        v4::Packet::Disconnect => {
            Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))
        }
        v4::Packet::ConnAck(_)
        | v4::Packet::PubRec(_)
        | v4::Packet::PubRel(_)
        | v4::Packet::PubComp(_)
        | v4::Packet::SubAck(_)
        | v4::Packet::UnsubAck(_)
        | v4::Packet::PingResp => return Err(NoPacket::Malformed),
    })
}

/// Writes what the node says.
///
/// # Panics
/// When that cannot be written.
pub(crate) fn write(version: Version, packet: &Packet, output: &mut BytesMut) {
    let written = match version {
        Version::V5 => packet.write(output, None).is_ok(),
        Version::V311 => plain(packet).write(output, usize::MAX).is_ok(),
    };
    assert!(written, "what the broker says can be written: {packet:?}");
}

fn plain(packet: &Packet) -> v4::Packet {
    let of = |quality: &QoS| match quality {
        QoS::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => mqttbytes::QoS::ExactlyOnce,
    };
    match packet {
        Packet::ConnAck(ack) => {
            let code = v4::ConnectReturnCode::Success;
            v4::Packet::ConnAck(v4::ConnAck::new(code, ack.session_present))
        }
        Packet::Publish(publish) => {
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            let payload = publish.payload.clone();
            let mut plain = v4::Publish::from_bytes(topic, of(&publish.qos), payload);
            (plain.pkid, plain.retain) = (publish.pkid, publish.retain);
            v4::Packet::Publish(plain)
        }
        Packet::PubAck(ack) => v4::Packet::PubAck(v4::PubAck::new(ack.pkid)),
        Packet::SubAck(ack) => {
            let codes = ack.return_codes.iter().map(|code| {
                if let SubscribeReasonCode::Success(quality) = code {
                    v4::SubscribeReasonCode::Success(of(quality))
                } else {
                    v4::SubscribeReasonCode::Failure
                }
            });
            v4::Packet::SubAck(v4::SubAck::new(ack.pkid, codes.collect()))
        }
        Packet::UnsubAck(ack) => v4::Packet::UnsubAck(v4::UnsubAck::new(ack.pkid)),
        Packet::PingResp(_) => v4::Packet::PingResp,
        Packet::Auth(_)
        | Packet::Connect(..)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq(_)
        | Packet::Disconnect(_) => panic!("no node says {packet:?}"),
    }
}
