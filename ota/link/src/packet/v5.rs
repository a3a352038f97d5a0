//! MQTT 5.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectProperties,
    DisconnectReasonCode, Filter, Packet, PingReq, PubAck, PubAckReason, Publish,
    PublishProperties, RetainForwardRule, Subscribe, SubscribeReasonCode, Unsubscribe,
};

use super::{Accepted, Incoming, Malformed, Outgoing, Written, header};

/// CONNACK, and its codes of a broker that does not speak MQTT 5: that of MQTT 5, and that of those before it.
const CONNACK: u8 = 2;
const UNSPOKEN: [u8; 2] = [0x84, 0x01];
/// DISCONNECT, and its reason when another link has our name.
const DISCONNECT: u8 = 14;
const SESSION_TAKEN_OVER: u8 = 0x8e;

pub(super) fn decode(mut frame: BytesMut) -> Result<Incoming, Malformed> {
    // `rumqttc` does not read one without properties, or without a reason: both are allowed.
    if frame.first().is_some_and(|first| first >> 4 == DISCONNECT) {
        let reason = header(&frame)?.and_then(|header| frame.get(header.header_bytes).copied());
        let reason = reason.unwrap_or(0);
        let taken_over = reason == SESSION_TAKEN_OVER;
        return Ok(Incoming::Goodbye { taken_over, reason: format!("{reason:#04x}") });
    }
    // One who does not speak it may answer in the form of another version.
    if frame.first().is_some_and(|first| first >> 4 == CONNACK) {
        let code = header(&frame)?.and_then(|header| frame.get(header.header_bytes + 1).copied());
        if code.is_some_and(|code| UNSPOKEN.contains(&code)) {
            return Ok(Incoming::Unspoken);
        }
    }
    let packet = Packet::read(&mut frame, None).map_err(|_error| Malformed)?;
    match packet {
        Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {
            let told = ack.properties.as_ref();
            Ok(Incoming::Accepted(Accepted {
                session_present: ack.session_present,
                inflight_max: told.and_then(|told| told.receive_max).unwrap_or(u16::MAX).max(1),
                packet_bytes_max: told.and_then(|told| told.max_packet_size).unwrap_or(u32::MAX),
                keep_alive_seconds: told.and_then(|told| told.server_keep_alive),
                fit: told
                    .is_none_or(|told| told.retain_available != Some(0) && told.max_qos != Some(0)),
            }))
        }
        Packet::ConnAck(ack) => Ok(Incoming::Refused { reason: format!("{:?}", ack.code) }),
        Packet::Publish(publish) => message(publish),
        Packet::PubAck(ack) => {
            let taken =
                matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            let refused = (!taken).then(|| format!("{:?}", ack.reason));
            Ok(Incoming::Published { id: ack.pkid, refused })
        }
        Packet::SubAck(ack) => {
            let refused = ack
                .return_codes
                .iter()
                .find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
                .map(|code| format!("{code:?}"));
            Ok(Incoming::Subscribed { id: ack.pkid, refused })
        }
        Packet::UnsubAck(ack) => Ok(Incoming::Unsubscribed { id: ack.pkid }),
        Packet::PingResp(_) => Ok(Incoming::Pong),
        Packet::Disconnect(_)
        | Packet::Auth(_)
        | Packet::Connect(..)
        | Packet::PingReq(_)
        | Packet::Subscribe(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Unsubscribe(_) => Err(Malformed),
    }
}

fn message(publish: Publish) -> Result<Incoming, Malformed> {
    let Publish { qos, retain, topic, pkid, payload, .. } = publish;
    let ack = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(pkid),
        // Never subscribed to.
        QoS::ExactlyOnce => return Err(Malformed),
    };
    // An alias for the topic, which we never offered, leaves it empty.
    let topic = String::from_utf8(topic.to_vec()).map_err(|_error| Malformed)?;
    if topic.is_empty() {
        return Err(Malformed);
    }
    Ok(Incoming::Publish { topic, payload, retained: retain, ack })
}

fn expiring(seconds: u32) -> PublishProperties {
    PublishProperties { message_expiry_interval: Some(seconds), ..PublishProperties::default() }
}

pub(super) fn encode(packet: Outgoing<'_>, bytes_max: usize, out: &mut BytesMut) -> Written {
    let packet = match packet {
        Outgoing::Connect {
            client_id,
            keep_alive_seconds,
            session_seconds,
            clean,
            packet_bytes_max,
        } => {
            let properties = ConnectProperties {
                max_packet_size: Some(packet_bytes_max),
                session_expiry_interval: (session_seconds > 0).then_some(session_seconds),
                ..ConnectProperties::new()
            };
            let connect = Connect {
                keep_alive: keep_alive_seconds,
                client_id: client_id.to_owned(),
                clean_start: clean,
                properties: Some(properties),
            };
            Packet::Connect(connect, None, None)
        }
        Outgoing::Publish { id, topic, payload, expiry_seconds } => {
            let properties = expiry_seconds.map(expiring);
            Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: Bytes::copy_from_slice(topic.as_bytes()),
                pkid: id,
                payload,
                properties,
            })
        }
        Outgoing::Ack { id } => Packet::PubAck(PubAck::new(id, None)),
        Outgoing::Subscribe { id, filter, acknowledged, again } => {
            let quality = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let mut filter = Filter::new(filter, quality);
            filter.retain_forward_rule = if again {
                RetainForwardRule::OnEverySubscribe
            } else {
                RetainForwardRule::OnNewSubscribe
            };
            let mut subscribe = Subscribe::new(filter, None);
            subscribe.pkid = id;
            Packet::Subscribe(subscribe)
        }
        Outgoing::Unsubscribe { id, filter } => {
            let mut unsubscribe = Unsubscribe::new(filter, None);
            unsubscribe.pkid = id;
            Packet::Unsubscribe(unsubscribe)
        }
        Outgoing::Ping => Packet::PingReq(PingReq),
        Outgoing::Goodbye { forget } => {
            let mut disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
            disconnect.properties = forget.then_some(DisconnectProperties {
                session_expiry_interval: Some(0),
                reason_string: None,
                user_properties: Vec::new(),
                server_reference: None,
            });
            Packet::Disconnect(disconnect)
        }
    };
    let bytes = packet.size();
    if bytes > bytes_max || packet.write(out, None).is_err() {
        return Written::TooLong { bytes };
    }
    Written::Yes
}
