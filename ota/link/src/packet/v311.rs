//! MQTT 3.1.1: no reasons, no limits told, no expiry.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, PubAck, Publish, Subscribe, SubscribeReasonCode,
    Unsubscribe,
};
use rumqttc::mqttbytes::{Protocol, QoS};

use super::{Accepted, Incoming, Malformed, Outgoing, Written};

pub(super) fn decode(mut frame: BytesMut) -> Result<Incoming, Malformed> {
    let packet = Packet::read(&mut frame, usize::MAX).map_err(|_error| Malformed)?;
    match packet {
        Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {
            Ok(Incoming::Accepted(Accepted {
                session_present: ack.session_present,
                inflight_max: u16::MAX,
                packet_bytes_max: u32::MAX,
                keep_alive_seconds: None,
                fit: true,
            }))
        }
        Packet::ConnAck(ack) => Ok(Incoming::Refused { reason: format!("{:?}", ack.code) }),
        Packet::Publish(publish) => {
            let Publish { qos, retain, topic, pkid, payload, .. } = publish;
            let ack = match qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce => Some(pkid),
                QoS::ExactlyOnce => return Err(Malformed),
            };
            Ok(Incoming::Publish { topic, payload, retained: retain, ack })
        }
        Packet::PubAck(ack) => Ok(Incoming::Published { id: ack.pkid, refused: None }),
        Packet::SubAck(ack) => {
            let failed = |code: &&SubscribeReasonCode| **code == SubscribeReasonCode::Failure;
            let refused = ack.return_codes.iter().find(failed).map(|code| format!("{code:?}"));
            Ok(Incoming::Subscribed { id: ack.pkid, refused })
        }
        Packet::UnsubAck(ack) => Ok(Incoming::Unsubscribed { id: ack.pkid }),
        Packet::PingResp => Ok(Incoming::Pong),
        Packet::Connect(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::Disconnect => Err(Malformed),
    }
}

pub(super) fn encode(packet: Outgoing<'_>, bytes_max: usize, out: &mut BytesMut) -> Written {
    let packet = match packet {
        Outgoing::Connect { client_id, keep_alive_seconds, session_seconds, clean, .. } => {
            Packet::Connect(Connect {
                protocol: Protocol::V4,
                keep_alive: keep_alive_seconds,
                client_id: client_id.to_owned(),
                clean_session: clean || session_seconds == 0,
                last_will: None,
                login: None,
            })
        }
        Outgoing::Publish { id, topic, payload, expiry_seconds: _ } => {
            let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
            (publish.pkid, publish.retain) = (id, true);
            Packet::Publish(publish)
        }
        Outgoing::Ack { id } => Packet::PubAck(PubAck::new(id)),
        Outgoing::Subscribe { id, filter, acknowledged, again: _ } => {
            let quality = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let mut subscribe = Subscribe::new(filter, quality);
            subscribe.pkid = id;
            Packet::Subscribe(subscribe)
        }
        Outgoing::Unsubscribe { id, filter } => {
            Packet::Unsubscribe(Unsubscribe { pkid: id, topics: vec![filter.to_owned()] })
        }
        Outgoing::Ping => Packet::PingReq,
        Outgoing::Goodbye { forget: _ } => Packet::Disconnect,
    };
    let bytes = packet.size();
    if bytes > bytes_max || packet.write(out, usize::MAX).is_err() {
        return Written::TooLong { bytes };
    }
    Written::Yes
}
