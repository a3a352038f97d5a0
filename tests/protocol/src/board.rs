//! A node of a broker, packet by packet: what it retains, what it keeps for who is away, and what it forgets, says twice
//! or says late.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Packet, PingResp, PubAck, Publish, RetainForwardRule, SubAck,
    SubscribeReasonCode, UnsubAck, UnsubAckReason,
};

use shoal_link::Version;
use shoal_wire::{KeyId, Leaf, Topic};

use crate::chance::Dice;
use crate::speech::{NoPacket, UNSPOKEN, read, write};

/// A connection.
pub type Conn = u64;

/// How a node treats what it hands on: each the chance of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Manners {
    /// What is acknowledged comes twice.
    pub repeats: f64,
    /// It comes after what was published later at other topics.
    pub holds: f64,
    /// What is not acknowledged does not come.
    pub drops: f64,
    /// What was acknowledged within a second of its end, or in the first seconds after, does not stand there. Who was connected has
    /// heard it.
    pub loses: f64,
}

/// A node.
pub struct Board {
    /// The only one that it speaks.
    version: Version,
    manners: Manners,
    dice: Dice,
    /// Of these no chunk is retained or handed on: they claim what they do not serve.
    withheld: BTreeSet<KeyId>,
    /// Claims of these it has, and shows nobody until it is told to.
    late: BTreeMap<KeyId, Vec<(String, Bytes)>>,
    /// What it did, and how often.
    pub did: BTreeMap<&'static str, u64>,
    retained: BTreeMap<String, Bytes>,
    /// By name of the client.
    sessions: BTreeMap<String, Kept>,
    online: BTreeMap<Conn, Online>,
    /// Everything that was ever published, in order: topic and bytes.
    published: Vec<(String, Bytes)>,
    /// The same, with what was published at other nodes.
    came: Vec<(String, Bytes)>,
    /// What clients left last: when, in milliseconds, where, and what had stood there.
    last: VecDeque<(u64, String, Option<Bytes>)>,
    /// Until then what it acknowledges may not be stored.
    shaken_ms: u64,
    /// What it lost.
    lost: Vec<Lost>,
    /// Clients that have connected.
    joined: Vec<String>,
}

/// Something that a node acknowledged and does not have.
#[derive(Clone, Debug)]
pub struct Lost {
    /// When it was published, in milliseconds.
    pub at_ms: u64,
    /// Where.
    pub topic: String,
    /// Whether something was left there since.
    pub mended: bool,
}

impl Lost {
    /// Who published it.
    pub fn publisher(&self) -> Option<KeyId> {
        Topic::decode(&self.topic).ok().map(|place| place.publisher())
    }
}

/// So long before and after its end a node may lose what it acknowledges, in milliseconds.
const LOSES_BEFORE_MS: u64 = 1_000;
const LOSES_AFTER_MS: u64 = 5_000;

/// What is kept of a client.
#[derive(Debug, Default)]
struct Kept {
    /// Filters, and whether what comes is repeated until it is acknowledged.
    filters: BTreeMap<String, bool>,
    waiting: VecDeque<(String, Bytes, bool)>,
    /// Comes later.
    held: VecDeque<(String, Bytes, bool)>,
    unacknowledged: BTreeMap<u16, (String, Bytes, bool)>,
    last_id: u16,
    expires_s: u32,
    /// When it left, in milliseconds.
    left_ms: Option<u64>,
    conn: Option<Conn>,
}

/// A connection that is there.
#[derive(Debug, Default)]
struct Online {
    client: Option<String>,
    input: BytesMut,
    output: BytesMut,
    /// The broker ended it.
    over: bool,
}

impl Board {
    /// A node of a seed with nothing on it.
    #[must_use]
    pub fn new(seed: u64, version: Version, manners: Manners) -> Self {
        Board {
            version,
            manners,
            dice: Dice::new(seed, 5),
            withheld: BTreeSet::new(),
            late: BTreeMap::new(),
            did: BTreeMap::new(),
            retained: BTreeMap::new(),
            sessions: BTreeMap::new(),
            online: BTreeMap::new(),
            published: Vec::new(),
            came: Vec::new(),
            last: VecDeque::new(),
            shaken_ms: 0,
            lost: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// From now on nothing is said twice, late or not at all.
    pub fn calm(&mut self) {
        self.manners = Manners::default();
    }

    /// This vehicle's chunks are not to be had.
    pub fn withhold(&mut self, vehicle: KeyId) {
        self.withheld.insert(vehicle);
    }

    /// This vehicle's claims wait until they are asked for.
    pub fn keep_back(&mut self, vehicle: KeyId) {
        self.late.insert(vehicle, Vec::new());
    }

    /// What was kept back of it.
    pub fn kept_back(&mut self, vehicle: KeyId) -> Vec<(String, Bytes)> {
        self.late.get_mut(&vehicle).map(std::mem::take).unwrap_or_default()
    }

    /// What came late comes now. Names of connections that have something to say.
    pub fn release(&mut self) -> Vec<Conn> {
        let mut spoken = Vec::new();
        for kept in self.sessions.values_mut().filter(|kept| !kept.held.is_empty()) {
            kept.waiting.append(&mut kept.held);
            spoken.extend(kept.conn);
        }
        spoken.iter().for_each(|conn| self.flush(*conn));
        spoken
    }

    /// What stands there.
    pub fn stands(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.retained.iter().map(|(topic, bytes)| (topic.as_str(), &bytes[..]))
    }

    /// What was published since so many.
    pub fn published_since(&self, count: usize) -> &[(String, Bytes)] {
        self.published.get(count..).unwrap_or_default()
    }

    /// What was published here or elsewhere since so many.
    pub fn came_since(&self, count: usize) -> &[(String, Bytes)] {
        self.came.get(count..).unwrap_or_default()
    }

    /// Whether who is on a connection is sent what is published at a topic.
    #[must_use]
    pub fn listens(&self, conn: Conn, topic: &str) -> bool {
        let client = self.online.get(&conn).and_then(|online| online.client.as_ref());
        let kept = client.and_then(|client| self.sessions.get(client));
        kept.is_some_and(|kept| kept.filters.keys().any(|filter| matches(filter, topic)))
    }

    /// How many clients are sent what is published at a topic, at once or when they come back.
    #[must_use]
    pub fn listeners(&self, topic: &str) -> usize {
        let asks = |kept: &&Kept| kept.filters.keys().any(|filter| matches(filter, topic));
        self.sessions.values().filter(asks).count()
    }

    /// A socket was accepted.
    pub fn accept(&mut self, conn: Conn) {
        self.online.insert(conn, Online::default());
    }

    /// A socket is gone.
    pub fn gone(&mut self, conn: Conn, now_ms: u64) {
        let Some(online) = self.online.remove(&conn) else { return };
        let Some(client) = online.client else { return };
        if let Some(kept) = self.sessions.get_mut(&client)
            && kept.conn == Some(conn)
        {
            (kept.conn, kept.left_ms) = (None, Some(now_ms));
            if kept.expires_s == 0 {
                self.sessions.remove(&client);
            }
        }
    }

    /// The broker is killed and comes back.
    pub fn restart(&mut self, keeps_sessions: bool, now_ms: u64) {
        self.end(keeps_sessions, now_ms);
        self.begin(now_ms);
    }

    /// It is there again.
    pub fn begin(&mut self, now_ms: u64) {
        self.shaken_ms = now_ms + LOSES_AFTER_MS;
    }

    /// It is killed. What it retained was written down, but for what came last; who was there is not known any more, and of the sessions
    /// it has those that it keeps on its disk, or none.
    pub fn end(&mut self, keeps_sessions: bool, now_ms: u64) {
        for (at_ms, topic, before) in std::mem::take(&mut self.last).into_iter().rev() {
            if at_ms + LOSES_BEFORE_MS >= now_ms && self.loses() {
                self.stands_as(Lost { at_ms, topic, mended: false }, before);
            }
        }
        let conns: Vec<Conn> = self.online.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.gone(conn, now_ms));
        if !keeps_sessions {
            self.sessions.clear();
        }
    }

    /// Bytes came. Names of connections that have something to say now. What comes on a connection that was ended, as by its client's
    /// next one, is not looked at: it would acknowledge what the next one was sent.
    pub fn receive(&mut self, conn: Conn, bytes: &[u8], now_ms: u64) -> Vec<Conn> {
        let Some(online) = self.online.get_mut(&conn) else { return Vec::new() };
        online.input.extend_from_slice(bytes);
        let mut spoken = vec![conn];
        while let Some(online) = self.online.get_mut(&conn).filter(|online| !online.over) {
            match read(self.version, &mut online.input) {
                Ok(packet) => spoken.extend(self.packet(conn, packet, now_ms)),
                Err(NoPacket::More) => break,
                Err(NoPacket::Unspoken) => {
                    *self.did.entry("unspoken").or_default() += 1;
                    online.output.extend_from_slice(&UNSPOKEN);
                    online.over = true;
                }
                Err(NoPacket::Malformed) => online.over = true,
            }
        }
        spoken
    }

    /// What it says to a connection, and whether it ends it then.
    pub fn say(&mut self, conn: Conn) -> (Vec<u8>, bool) {
        match self.online.get_mut(&conn) {
            Some(online) => (online.output.split().to_vec(), online.over),
            None => (Vec::new(), true),
        }
    }

    /// Leaves something as any client might.
    pub fn leave(&mut self, topic: &str, bytes: Bytes) -> Vec<Conn> {
        self.published.push((topic.to_owned(), bytes.clone()));
        self.mirror(topic, bytes)
    }

    /// Takes over what was left at another node.
    pub fn mirror(&mut self, topic: &str, bytes: Bytes) -> Vec<Conn> {
        self.came.push((topic.to_owned(), bytes.clone()));
        self.mend(topic);
        if bytes.is_empty() {
            self.retained.remove(topic);
        } else {
            self.retained.insert(topic.to_owned(), bytes.clone());
        }
        self.hand_on(topic, bytes)
    }

    /// Hands something on to those who asked for its topic, and keeps nothing of it.
    pub fn hand_on(&mut self, topic: &str, bytes: Bytes) -> Vec<Conn> {
        let mut spoken = Vec::new();
        for kept in self.sessions.values_mut() {
            let filter = kept.filters.iter().find(|(filter, _)| matches(filter, topic));
            let Some((_filter, acknowledged)) = filter else { continue };
            let message = (topic.to_owned(), bytes.clone(), false);
            // Of one topic everything comes in the order in which it was published.
            let behind = kept.held.iter().any(|(held, ..)| held == topic);
            if *acknowledged && (behind || self.dice.happens(self.manners.holds)) {
                *self.did.entry("held").or_default() += 1;
                kept.held.push_back(message);
            } else if *acknowledged || kept.conn.is_some() {
                kept.waiting.push_back(message);
                spoken.extend(kept.conn);
            }
        }
        spoken.iter().for_each(|conn| self.flush(*conn));
        spoken
    }

    fn packet(&mut self, conn: Conn, packet: Packet, now_ms: u64) -> Vec<Conn> {
        let client = self.online.get(&conn).and_then(|online| online.client.clone());
        match (packet, client) {
            (Packet::Connect(connect, _will, _login), None) => {
                let expires = connect.properties.and_then(|p| p.session_expiry_interval);
                self.connect(conn, connect.client_id, connect.clean_start, expires, now_ms)
            }
            (Packet::Publish(publish), Some(_)) => self.publish(conn, publish, now_ms),
            (Packet::PubAck(ack), Some(client)) => {
                if let Some(kept) = self.sessions.get_mut(&client) {
                    kept.unacknowledged.remove(&ack.pkid);
                }
                self.flush(conn);
                Vec::new()
            }
            (Packet::Subscribe(subscribe), Some(client)) => {
                let mut codes = Vec::new();
                for filter in &subscribe.filters {
                    codes.push(SubscribeReasonCode::Success(filter.qos));
                    self.subscribe(&client, filter);
                }
                let ack = SubAck { pkid: subscribe.pkid, return_codes: codes, properties: None };
                self.write(conn, &Packet::SubAck(ack));
                self.flush(conn);
                Vec::new()
            }
            (Packet::Unsubscribe(unsubscribe), Some(client)) => {
                if let Some(kept) = self.sessions.get_mut(&client) {
                    for filter in &unsubscribe.filters {
                        kept.filters.remove(filter);
                    }
                }
                let reasons = vec![UnsubAckReason::Success; unsubscribe.filters.len()];
                let ack = UnsubAck { pkid: unsubscribe.pkid, reasons, properties: None };
                self.write(conn, &Packet::UnsubAck(ack));
                Vec::new()
            }
            (Packet::PingReq(_), Some(_)) => {
                self.write(conn, &Packet::PingResp(PingResp));
                Vec::new()
            }
            (Packet::Disconnect(goodbye), Some(client)) => {
                let expires = goodbye.properties.and_then(|p| p.session_expiry_interval);
                if let (Some(expires), Some(kept)) = (expires, self.sessions.get_mut(&client)) {
                    kept.expires_s = expires;
                }
                self.online.get_mut(&conn).expect("it spoke").over = true;
                Vec::new()
            }
            // Whatever else it says is no MQTT.
            (_other, _client) => {
                self.online.get_mut(&conn).expect("it spoke").over = true;
                Vec::new()
            }
        }
    }

    fn withholds(&self, topic: &str) -> bool {
        let place = Topic::decode(topic).ok();
        place.is_some_and(|place| {
            let chunk = matches!(place.leaf(), Leaf::Chunk { .. });
            chunk && self.withheld.contains(&place.publisher())
        })
    }

    fn publish(&mut self, conn: Conn, publish: Publish, now_ms: u64) -> Vec<Conn> {
        if publish.pkid > 0 {
            self.write(conn, &Packet::PubAck(PubAck::new(publish.pkid, None)));
        }
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if self.withholds(&topic) {
            *self.did.entry("withheld").or_default() += 1;
            return Vec::new();
        }
        match self.comes_late(&topic) {
            Some(late) => {
                late.push((topic, publish.payload));
                Vec::new()
            }
            None if publish.retain => {
                let before = self.retained.get(&topic).cloned();
                let spoken = self.leave(&topic, publish.payload);
                if now_ms < self.shaken_ms && self.loses() {
                    self.stands_as(Lost { at_ms: now_ms, topic, mended: false }, before);
                } else {
                    self.last.retain(|(at_ms, ..)| at_ms + LOSES_BEFORE_MS >= now_ms);
                    self.last.push_back((now_ms, topic, before));
                }
                spoken
            }
            None => {
                for all in [&mut self.published, &mut self.came] {
                    all.push((topic.clone(), publish.payload.clone()));
                }
                self.hand_on(&topic, publish.payload)
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.manners.loses > 0.0 && self.dice.happens(self.manners.loses)
    }

    /// What was left at a topic is lost: what stood there before does again.
    fn stands_as(&mut self, lost: Lost, before: Option<Bytes>) {
        // What was left there once more was there before.
        if before.is_some() && self.retained.get(&lost.topic) == before.as_ref() {
            return;
        }
        *self.did.entry("lost").or_default() += 1;
        match before {
            Some(before) => self.retained.insert(lost.topic.clone(), before),
            None => self.retained.remove(&lost.topic),
        };
        // What was left there again since an earlier loss is lost with it.
        for earlier in self.lost.iter_mut().filter(|earlier| earlier.topic == lost.topic) {
            earlier.mended = false;
        }
        self.lost.push(lost);
    }

    /// What it has lost.
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Something is left at a topic where something was lost.
    pub fn mend(&mut self, topic: &str) {
        for lost in self.lost.iter_mut().filter(|lost| lost.topic == topic && !lost.mended) {
            lost.mended = true;
            *self.did.entry("mended").or_default() += 1;
        }
    }

    /// Where it waits, if it does.
    fn comes_late(&mut self, topic: &str) -> Option<&mut Vec<(String, Bytes)>> {
        let place = Topic::decode(topic).ok()?;
        let kept = matches!(place.leaf(), Leaf::Claim { .. });
        self.late.get_mut(&place.publisher()).filter(|_late| kept)
    }

    fn connect(
        &mut self,
        conn: Conn,
        client: String,
        clean: bool,
        expires_s: Option<u32>,
        now_ms: u64,
    ) -> Vec<Conn> {
        let over = |kept: &Kept| {
            kept.left_ms.is_some_and(|left| left + u64::from(kept.expires_s) * 1000 <= now_ms)
        };
        if clean || self.sessions.get(&client).is_some_and(over) {
            let before = self.sessions.remove(&client).and_then(|kept| kept.conn);
            if let Some(online) = before.and_then(|before| self.online.get_mut(&before)) {
                online.over = true;
            }
        }
        self.joined.push(client.clone());
        let session_present = self.sessions.contains_key(&client);
        let kept = self.sessions.entry(client.clone()).or_default();
        let taken_over = kept.conn.replace(conn);
        (kept.left_ms, kept.expires_s) = (None, expires_s.unwrap_or(0));
        // What was not acknowledged comes again, before what came since.
        let again = std::mem::take(&mut kept.unacknowledged);
        again.into_values().rev().for_each(|message| kept.waiting.push_front(message));
        let spoken: Vec<Conn> = taken_over.into_iter().collect();
        for before in &spoken {
            if let Some(online) = self.online.get_mut(before) {
                online.over = true;
            }
        }
        self.online.get_mut(&conn).expect("it spoke").client = Some(client);
        let code = ConnectReturnCode::Success;
        self.write(conn, &Packet::ConnAck(ConnAck { session_present, code, properties: None }));
        self.flush(conn);
        spoken
    }

    /// Clients that have connected since this was asked.
    pub fn take_joined(&mut self) -> Vec<String> {
        std::mem::take(&mut self.joined)
    }

    /// A client has its session elsewhere now.
    pub fn forget(&mut self, client: &str) {
        let before = self.sessions.remove(client).and_then(|kept| kept.conn);
        if let Some(online) = before.and_then(|before| self.online.get_mut(&before)) {
            online.over = true;
        }
    }

    fn subscribe(&mut self, client: &str, filter: &rumqttc::v5::mqttbytes::v5::Filter) {
        let acknowledged = filter.qos != QoS::AtMostOnce;
        let kept = self.sessions.get_mut(client).expect("it is connected");
        let new = kept.filters.insert(filter.path.clone(), acknowledged).is_none();
        let sends = match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => new,
            RetainForwardRule::Never => false,
        };
        if sends {
            let stand = self.retained.iter().filter(|(topic, _)| matches(&filter.path, topic));
            kept.waiting.extend(stand.map(|(topic, bytes)| (topic.clone(), bytes.clone(), true)));
        }
    }

    /// Sends what waits for a client.
    fn flush(&mut self, conn: Conn) {
        const INFLIGHT_MAX: usize = 20;
        let Some(client) = self.online.get(&conn).and_then(|online| online.client.clone()) else {
            return;
        };
        loop {
            let Some(kept) = self.sessions.get_mut(&client) else { return };
            if kept.unacknowledged.len() >= INFLIGHT_MAX {
                return;
            }
            let Some((topic, bytes, retained)) = kept.waiting.pop_front() else { return };
            let of = kept.filters.iter().find(|(filter, _)| matches(filter, &topic));
            let Some((_filter, acknowledged)) = of else { continue };
            if !*acknowledged && self.dice.happens(self.manners.drops) {
                *self.did.entry("dropped").or_default() += 1;
                continue;
            }
            if *acknowledged && self.dice.happens(self.manners.repeats) {
                *self.did.entry("repeated").or_default() += 1;
                kept.waiting.push_front((topic.clone(), bytes.clone(), retained));
            }
            let qos = if *acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let mut publish = Publish::new(topic.clone(), qos, bytes.clone(), None);
            publish.retain = retained;
            if *acknowledged {
                kept.last_id = kept.last_id.checked_add(1).unwrap_or(1);
                publish.pkid = kept.last_id;
                kept.unacknowledged.insert(publish.pkid, (topic, bytes, retained));
            }
            self.write(conn, &Packet::Publish(publish));
        }
    }

    fn write(&mut self, conn: Conn, packet: &Packet) {
        if let Some(online) = self.online.get_mut(&conn) {
            write(self.version, packet, &mut online.output);
        }
    }
}

/// Whether a topic is one of a filter's: itself, or all below.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            (_, Some(_) | None) => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::{Connect, Filter, Subscribe};

    fn says(board: &mut Board, conn: Conn, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        let _spoken = board.receive(conn, &bytes, 0);
    }

    #[test]
    fn what_comes_on_a_connection_that_was_taken_over_acknowledges_nothing() {
        let mut board = Board::new(1, Version::V5, Manners::default());
        for index in 0..30 {
            let _spoken = board.leave(&format!("a/{index}"), Bytes::from_static(b"stands"));
        }
        for conn in [1, 2] {
            board.accept(conn);
            let connect = Connect {
                keep_alive: 60,
                client_id: "client".to_owned(),
                clean_start: true,
                properties: None,
            };
            says(&mut board, conn, &Packet::Connect(connect, None, None));
            let all = Subscribe::new(Filter::new("a/#", QoS::AtLeastOnce), None);
            says(&mut board, conn, &Packet::Subscribe(all));
        }
        let sent = board.say(2).0.len();
        (1..=20).for_each(|id| says(&mut board, 1, &Packet::PubAck(PubAck::new(id, None))));
        assert!(board.say(2).0.is_empty(), "{sent} bytes are not acknowledged");
        assert_eq!(board.sessions["client"].unacknowledged.len(), 20);
        (1..=20).for_each(|id| says(&mut board, 2, &Packet::PubAck(PubAck::new(id, None))));
        assert_eq!(board.sessions["client"].unacknowledged.len(), 10, "the rest was sent");
    }

    #[test]
    fn a_node_of_3_1_1_refuses_who_greets_in_5_and_lets_in_who_then_greets_as_it_does() {
        let mut board = Board::new(1, Version::V311, Manners::default());
        board.accept(1);
        let (keep_alive, client_id) = (60, "client".to_owned());
        let connect = Connect { keep_alive, client_id, clean_start: true, properties: None };
        says(&mut board, 1, &Packet::Connect(connect, None, None));
        assert_eq!(board.say(1), (UNSPOKEN.to_vec(), true));
        board.accept(2);
        let mut bytes = BytesMut::new();
        let connect = rumqttc::mqttbytes::v4::Connect::new("client");
        rumqttc::mqttbytes::v4::Packet::Connect(connect).write(&mut bytes, usize::MAX).unwrap();
        let _spoken = board.receive(2, &bytes, 0);
        assert_eq!(board.say(2), (vec![0x20, 2, 0, 0], false));
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, is) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "ab", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/+", "a", false),
            ("a/+/5", "a/b/5", true),
            ("a/+/5", "a/b/4", false),
        ] {
            assert_eq!(matches(filter, topic), is, "{filter} {topic}");
        }
    }
}
