//! What must hold, whatever happens.

mod apart;
mod ending;
mod moving;
mod stepping;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shoal_swarm::swarm::Swarm;
use shoal_vehicle::exchange::run::Exchange;
use shoal_wire::v1::{Claim, Nonce, NonceFields, ParticleHeader, Role, Vote};
use shoal_wire::{KeyId, Kind, Leaf, ParticleId, RecordId, Topic, Unverified};

use crate::board::{Board, Lost};
use crate::calendar::{Calendar, FINISHES_S};
use crate::cluster::Cluster;
use crate::documents::{Fleet, MISTAKEN_COUNTER, PLENTY_COUNTER, place_in};
use crate::engine::{Character, Lie, Roads};
use crate::intruder::Everybody;
use crate::must::{Looked, must};
use crate::vehicle::{Vehicle, WINDOWS_MAX, Wire, records, windows};
use apart::fell_apart;
use ending::known;
use moving::Way;

/// So many windows after a plan with enough bytes for what is said, whoever is behind goes by it: as many as may be behind in a row,
/// and one in which the line was cut.
const HEARD: u32 = 5;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Checks {
    calendar: Calendar,
    /// How often it was looked at what.
    pub looked_at: Looked,
    /// Publications of each node that were looked at.
    looked: Vec<usize>,
    /// All that was published by who may.
    genuine: BTreeSet<RecordId>,
    /// What honest vehicles said of a window at a node, and when.
    spoken: Vec<Spoken>,
    /// How many records counted at each vehicle when these were looked at.
    counted: BTreeMap<usize, usize>,
    /// Who said two things of a window, and when the second.
    pub contradicted: Vec<(u32, KeyId, u64)>,
    /// The UTC that the nonce of each window told.
    told_utc: BTreeMap<u32, u64>,
    /// By signer and topic: the highest counter, and all that stood there.
    counters: BTreeMap<(KeyId, String), (u64, BTreeSet<Bytes>)>,
    /// What vehicles said, by what they may say once.
    said: BTreeMap<(KeyId, Said), Bytes>,
    /// Bytes by vehicle and window, up and down.
    pub crossed: BTreeMap<(usize, u32), (u64, u64)>,
    /// Who has known of a best.
    knew_best: BTreeSet<usize>,
    /// From where each vehicle tuned.
    ways: BTreeMap<usize, Way>,
    /// The nonce of each window.
    nonces: BTreeMap<u32, [u8; 32]>,
    /// The highest counter of every document that each vehicle went by.
    documents: BTreeMap<(usize, u8), u64>,
    /// What counted at each vehicle after the last thing that happened.
    known: BTreeMap<usize, BTreeSet<RecordId>>,
    /// Claims that were looked at…
    claimed: BTreeSet<RecordId>,
    /// …and those that were published first when the window after their own was over: of which window, and when.
    late: Vec<(u32, RecordId, u64)>,
    /// Those that were published first while exchanges of the window after their own were being finished: some were gone by then, and
    /// some were not.
    last_minute: BTreeSet<RecordId>,
    /// Each vehicle's windows.
    presence: BTreeMap<usize, Presence>,
    /// Who has heard in this window and since when its program runs: with that, it was there to the end.
    hearing: Vec<(usize, u32, u64)>,
    /// Windows to the end of which each vehicle was there, as far as that is sure.
    ends: BTreeMap<usize, BTreeSet<u32>>,
    /// The first window at whose end each vehicle went by the plan that has bytes enough.
    plenty: BTreeMap<usize, u32>,
    /// The first window in which somebody honest had a liar in quarantine.
    aside: BTreeMap<usize, u32>,
}

/// When a vehicle was there, by true time.
#[derive(Clone, Copy, Debug, Default)]
struct Presence {
    /// The last window in which it was seen…
    window: u32,
    /// …and up to which one it may have been before: its clock may be ahead, and a window's nonce comes when the one before closes.
    before: Option<u32>,
    now: Option<u32>,
}

/// What all of a fleet go by, each kind by the newest that came.
const DOCUMENTS: [Kind; 4] =
    [Kind::WindowPlan, Kind::Roster, Kind::UtilityDocument, Kind::SwarmDocument];

/// A claim, header or vote.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    node: usize,
    at_us: u64,
    window: u32,
    id: RecordId,
    who: KeyId,
    said: Said,
}

/// By when what was said has come to who is connected, and who connects has asked for it, in microseconds.
pub(crate) const SOON_US: u64 = 20_000_000;
/// What is older may leave the set before it leaves the vault.
const RECENT_WINDOWS: u32 = 4;
/// By when what was said in a calm window is known to all.
const SAID_US: u64 = 10_000_000;
/// By when what was sent is acknowledged, if the connection lasts.
const ACKNOWLEDGED_US: u64 = 30_000_000;

/// What is said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Claim(u32),
    Contribution(u32),
    Vote(u32, ParticleId),
    VoteAt(u32, u8),
    Nonce(u32),
}

impl Checks {
    /// Of a world with these windows.
    #[must_use]
    pub fn new(calendar: Calendar) -> Self {
        Checks { calendar, ..Checks::default() }
    }

    /// So many bytes crossed the socket of a vehicle in a window, of so many that may, each way.
    pub fn crosses(&mut self, (number, window): (usize, u32), up: u64, down: u64, may: u64) {
        let crossed = self.crossed.entry((number, window)).or_default();
        (crossed.0, crossed.1) = (crossed.0 + up, crossed.1 + down);
        must!(
            self.looked_at,
            Budget,
            crossed.0 <= may && crossed.1 <= may,
            "vehicle {number} in window {window}: {crossed:?} bytes of {may}"
        );
    }

    /// After everything that happens.
    pub fn after(
        &mut self,
        cluster: &Cluster,
        vehicles: &[Vehicle],
        (fleet, roads): (&Fleet, &Roads),
        now_us: u64,
    ) {
        self.looked.resize(cluster.count(), 0);
        for node in 0..cluster.count() {
            let new: Vec<(String, Bytes)> = cluster.published(node)[self.looked[node]..].to_vec();
            self.looked[node] += new.len();
            for (topic, bytes) in new {
                let id = RecordId::new(Sha256::digest(&bytes).into());
                self.genuine.insert(id);
                let place = Topic::decode(&topic).expect("honest programs publish at places");
                if matches!(place.leaf(), Leaf::Claim { .. }) && self.claimed.insert(id) {
                    self.comes_late(&bytes, fleet, (id, now_us));
                }
                let by = vehicles.iter().find(|vehicle| vehicle.key == place.publisher());
                let liar = by.is_some_and(|by| by.character != Character::Honest);
                // What a beacon passes on is what stood elsewhere.
                let again = matches!(place.leaf(), Leaf::Beacon { .. });
                if !liar && !again {
                    self.published((&topic, &place), &bytes, fleet, (node, now_us));
                }
            }
        }
        for vehicle in vehicles.iter().filter(|vehicle| vehicle.character == Character::Honest) {
            self.moved(vehicle, (fleet, roads), now_us);
            self.goes_by(vehicle, now_us);
            self.counts(vehicle, now_us);
        }
    }

    /// No vehicle goes back to an older document, or by a utility document by which other things are compared.
    fn goes_by(&mut self, vehicle: &Vehicle, now_us: u64) {
        let (number, Some(exchange)) = (vehicle.number, &vehicle.exchange) else { return };
        for kind in DOCUMENTS {
            let document = exchange.goes_by(kind).map(Unverified::decode);
            let Some(Ok(document)) = document else { continue };
            let got = document.head().counter;
            let before = self.documents.insert((number, kind as u8), got).unwrap_or(0);
            let new = exchange.goes_by(kind).filter(|_bytes| got != before);
            let genuine =
                |bytes: &[u8]| self.genuine.contains(&RecordId::new(Sha256::digest(bytes).into()));
            must!(
                self.looked_at,
                Documents,
                new.is_none_or(genuine),
                "{now_us}: {number} goes by {kind:?} {got}, which nobody published"
            );
            must!(
                self.looked_at,
                Documents,
                kind != Kind::UtilityDocument || got != MISTAKEN_COUNTER,
                "{now_us}: {number} goes by a utility document that does not follow the one before"
            );
            must!(
                self.looked_at,
                Documents,
                got >= before,
                "{now_us}: {number} goes back to {kind:?} {got} from {before}"
            );
        }
    }

    /// All that a vehicle counts was published by who may, and it believes no time before one that it was told.
    fn counts(&mut self, vehicle: &Vehicle, now_us: u64) {
        let Some(exchange) = &vehicle.exchange else { return };
        let Some(swarm) = exchange.swarm() else { return };
        let count = swarm.records().count();
        if self.counted.insert(vehicle.number, count) == Some(count) {
            return;
        }
        let number = vehicle.number;
        let counting = records(swarm);
        let forged = counting.difference(&self.genuine).copied().next();
        must!(
            self.looked_at,
            Genuine,
            forged.is_none(),
            "{now_us}: {forged:?} counts at {number} and was not published"
        );
        let false_nonce = swarm.records().nonces().find(|id| !self.genuine.contains(id));
        must!(
            self.looked_at,
            Genuine,
            false_nonce.is_none(),
            "{now_us}: nonce {false_nonce:?} counts at {number} and was not published"
        );
        // What a timekeeper signed whose place another took counts no more.
        let timekeeper = exchange.timekeeper();
        let of = |window: &u32| swarm.records().nonce_by(*window) == Some(timekeeper);
        let told = windows(swarm).filter(of);
        let told = told.filter_map(|window| self.told_utc.get(&window)).max();
        let (told, believes) = (told.copied().unwrap_or(0), exchange.utc_seconds());
        must!(
            self.looked_at,
            Time,
            believes >= told,
            "{now_us}: {number} was told {told} and believes {believes}"
        );
        self.known.insert(number, counting);
        self.comes_too_late(number, swarm, now_us);
    }

    /// Before exchanges finish: a vehicle whose clock is right and that is connected for a while…
    pub fn hears(&mut self, vehicle: &Vehicle, window: u32, now_us: u64) {
        let swarm = vehicle.exchange.as_ref().and_then(Exchange::swarm);
        let begun = swarm.is_some_and(|swarm| swarm.records().nonce_of(window).is_some());
        let since = vehicle.connected_in(window);
        if begun && vehicle.off_s.get() == 0 && since.is_some_and(|since| since + SOON_US < now_us)
        {
            self.hearing.push((vehicle.number, window, vehicle.started_us));
        }
    }

    /// …is there to the end of the window, unless its program started anew by now.
    pub fn saw_the_end(&mut self, vehicles: &[Vehicle]) {
        for (number, window, started_us) in self.hearing.drain(..) {
            if vehicles[number].exchange.is_some() && vehicles[number].started_us == started_us {
                self.ends.entry(number).or_default().insert(window);
            }
        }
    }

    /// Every second: who is there, and has joined.
    pub fn attended(&mut self, vehicles: &[Vehicle], now_us: u64) {
        let window = self.calendar.window_of(now_us);
        for vehicle in vehicles {
            let joined = vehicle.exchange.as_ref().is_some_and(|one| one.swarm().is_some());
            let connected = vehicle.wires.iter().any(|wire| wire.conn.is_some());
            let there = self.presence.entry(vehicle.number).or_default();
            if there.window != window {
                (there.window, there.before) = (window, there.before.max(there.now));
            }
            if joined && connected {
                there.now = there.now.max(Some(window + 1));
            }
        }
    }

    /// Before exchanges finish: who was connected for a while knows of the claims that stand there, also those of windows in which it
    /// was not there. A claim of a window before the last that it saw to its end comes too late for it.
    pub fn who_comes_back_knows<'a>(
        &self,
        stands: impl Iterator<Item = (&'a str, &'a [u8])>,
        vehicle: &Vehicle,
        window: u32,
        now_us: u64,
    ) {
        let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) else { return };
        let since = vehicle.connected_in(window);
        let Some(since) = since.filter(|since| since + SOON_US < now_us) else { return };
        let before = self.presence.get(&vehicle.number).and_then(|there| there.before);
        let number = vehicle.number;
        for (topic, bytes) in stands {
            let place = Topic::decode(topic).expect("honest programs publish at places");
            if !matches!(place.leaf(), Leaf::Claim { .. }) {
                continue;
            }
            let id = RecordId::new(Sha256::digest(bytes).into());
            let said = self.spoken.iter().find(|spoken| spoken.id == id);
            let Some(said) = said.filter(|said| said.at_us < since) else { continue };
            let missed = before.is_none_or(|before| before < said.window);
            if !missed || said.window + RECENT_WINDOWS < window {
                continue;
            }
            let counts = swarm.records().claims(said.window).any(|claim| claim.id == id);
            must!(
                self.looked_at,
                ComesBack,
                counts,
                "{now_us}: vehicle {number} was last there in {before:?}, is connected since {since} and does not count a claim of window {}: {id:?}",
                said.window
            );
        }
    }

    /// A claim is published for the first time.
    fn comes_late(&mut self, bytes: &Bytes, fleet: &Fleet, (id, now_us): (RecordId, u64)) {
        let claim = Unverified::decode(bytes).ok();
        let claim = claim.and_then(|claim| claim.verify::<Claim>(&Everybody(fleet)).ok());
        let Some(window) = claim.map(|claim| claim.body().fields().window) else { return };
        let last_minute = self.calendar.opens_us(window + 1) + FINISHES_S * 1_000_000
            ..self.calendar.opens_us(window + 2);
        if last_minute.contains(&now_us) {
            self.last_minute.insert(id);
        }
        if self.calendar.opens_us(window + 2) < now_us {
            self.late.push((window, id, now_us));
        }
    }

    /// A claim that comes when the window after its own is over counts at nobody who was there in that one to its end: those who
    /// voted could not know of it.
    fn comes_too_late(&self, number: usize, swarm: &Swarm, now_us: u64) {
        let Some(ends) = self.ends.get(&number) else { return };
        for (of, id, came) in &self.late {
            if ends.iter().any(|end| end > of && self.calendar.opens_us(end + 1) < *came) {
                must!(
                    self.looked_at,
                    TooLate,
                    swarm.records().claims(*of).all(|claim| claim.id != *id),
                    "{now_us}: a claim of window {of} came at {came} and counts at {number}, who was there"
                );
            }
        }
    }

    /// Between two windows: no honest vehicle is taken for a liar, but for those of which the broker lost what it had acknowledged and
    /// which did not know, or came back too late: it looks as if they had claimed what they do not serve.
    pub fn nobody_is_slandered(
        &self,
        vehicles: &[Vehicle],
        lost_of: &BTreeSet<KeyId>,
        window: u32,
        now_us: u64,
    ) {
        for vehicle in vehicles {
            let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) else { continue };
            let quarantined = swarm.quarantined(window);
            let honest = vehicles.iter().filter(|other| other.character == Character::Honest);
            for other in honest.filter(|other| !lost_of.contains(&other.key)) {
                let (number, honest) = (vehicle.number, other.number);
                must!(
                    self.looked_at,
                    Slander,
                    !quarantined.contains(&other.key),
                    "{now_us}: vehicle {honest} is honest and in quarantine at {number}:\n{}",
                    known(swarm, window)
                );
            }
        }
    }

    /// Something was lost that is to stand there again by now: its vehicle is connected since this moment.
    pub fn stands_again(&self, number: usize, lost: &Lost, (since, now_us): (u64, u64)) {
        let Lost { at_ms, topic, mended } = lost;
        must!(
            self.looked_at,
            Again,
            *mended,
            "{now_us}: vehicle {number} is connected since {since}, and what it left at {at_ms} ms and the broker lost is not there: {topic}"
        );
    }

    /// The liars that some honest vehicle has in quarantine.
    pub fn stand_aside(&mut self, vehicles: &[Vehicle], window: u32) -> Vec<usize> {
        let honest = vehicles.iter().filter(|vehicle| vehicle.character == Character::Honest);
        let swarms =
            honest.filter_map(|vehicle| vehicle.exchange.as_ref().and_then(Exchange::swarm));
        let aside: BTreeSet<KeyId> = swarms.flat_map(|swarm| swarm.quarantined(window)).collect();
        let liars = vehicles.iter().filter(|vehicle| vehicle.character != Character::Honest);
        let aside: Vec<usize> =
            liars.filter(|liar| aside.contains(&liar.key)).map(|liar| liar.number).collect();
        for liar in &aside {
            self.aside.entry(*liar).or_insert(window);
        }
        aside
    }

    /// The first window in which somebody honest had this vehicle in quarantine.
    pub(crate) fn first_aside(&self, number: usize) -> Option<u32> {
        self.aside.get(&number).copied()
    }

    /// Before a window closes, where nothing goes wrong but lies: what honest voters could not get in the window before, nobody could.
    pub fn who_withholds_stands_aside(&self, vehicles: &[Vehicle], window: u32, now_us: u64) {
        let Some(claimed) = window.checked_sub(2) else { return };
        let of = |key: KeyId| vehicles.iter().find(|vehicle| vehicle.key == key);
        let withholds =
            |key| of(key).is_some_and(|one| one.character == Character::Liar(Lie::Withholds));
        let honest = |key| of(key).is_some_and(|one| one.character == Character::Honest);
        for vehicle in vehicles.iter().filter(|vehicle| vehicle.character == Character::Honest) {
            let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) else { continue };
            let records = swarm.records();
            for claim in records.claims(claimed).filter(|claim| withholds(claim.signer)) {
                let particle = claim.body.particle;
                let votes = records.votes(claimed + 1).filter(|vote| honest(vote.signer));
                let mut votes = votes.filter(|vote| vote.body.nominee == particle).peekable();
                let alone = records.with_id(particle).len() == 1;
                let nobody = votes.peek().is_some() && votes.all(|vote| vote.body.is_missing());
                if !alone || !nobody {
                    continue;
                }
                must!(
                    self.looked_at,
                    Withholds,
                    swarm.quarantined(window).contains(&claim.signer),
                    "{now_us}: {} claimed what nobody could get, and stands as before at {}:\n{}",
                    claim.signer,
                    vehicle.number,
                    known(swarm, window)
                );
            }
        }
    }

    /// Before exchanges finish: who was connected for a while knows what the honest said in it at that node a while ago. What the
    /// node lost (`lost`) and nobody left there since it may not know: it had not asked for it yet when it was said.
    pub fn who_listens_knows(
        &self,
        (node, lost): (usize, &[Lost]),
        vehicle: &Vehicle,
        window: u32,
        now_us: u64,
    ) {
        let Some(exchange) = &vehicle.exchange else { return };
        let Some(swarm) = exchange.swarm() else { return };
        let since = vehicle.connected_in(window);
        if since.is_none_or(|since| since + SOON_US > now_us) {
            return;
        }
        if vehicle.character == Character::Honest {
            let foreign = vehicle.metrics.foreign_records.get();
            must!(self.looked_at, Own, foreign == 0, "{now_us}: {foreign} at {}", vehicle.number);
        }
        let counts = records(swarm);
        let is_lost = |spoken: &Spoken| {
            let mut lost = lost.iter().filter(|lost| !lost.mended);
            lost.any(|lost| {
                lost.at_ms == spoken.at_us / 1000 && lost.publisher() == Some(spoken.who)
            })
        };
        let spoken = self.spoken.iter().filter(|spoken| {
            spoken.node == node && spoken.window == window && spoken.at_us + SOON_US < now_us
        });
        let spoken = spoken.filter(|spoken| !is_lost(spoken));
        for Spoken { id, at_us, who, said, .. } in spoken {
            let number = vehicle.number;
            must!(
                self.looked_at,
                Hears,
                counts.contains(id),
                "{now_us}: vehicle {number} is connected since {since:?} and has not heard what {who} said at {at_us}: {said:?}, {id:?}"
            );
        }
    }

    /// Before exchanges finish: who is connected for a while is sent what it says of itself, by which it knows that it has heard all
    /// that stood there before.
    pub fn who_is_connected_listens(&self, node: &Board, vehicle: &Vehicle, now_us: u64) {
        for wire in vehicle.wires.iter().filter(|wire| wire.since_us + SOON_US < now_us) {
            let Some(conn) = wire.conn else { continue };
            let presence = place_in(vehicle.region, vehicle.key, Leaf::Presence);
            must!(
                self.looked_at,
                Listens,
                node.listens(conn, &presence),
                "{now_us}: vehicle {} is connected since {} and asks for nothing",
                vehicle.number,
                wire.since_us
            );
        }
    }

    /// Every second: what was sent on a connection that lasts is acknowledged.
    pub fn acknowledged(&self, number: usize, wire: &mut Wire, now_us: u64) {
        if wire.conn.is_none() || wire.link.unacknowledged() == 0 {
            wire.waits_us = None;
        }
        let since = *wire.waits_us.get_or_insert(now_us);
        let wait = now_us - since;
        must!(
            self.looked_at,
            Acknowledged,
            wait < ACKNOWLEDGED_US,
            "{now_us}: vehicle {number} waits for {wait} µs"
        );
    }

    /// What counted before the power went counts after it; and no lie that was found out counts again. What came at that very
    /// moment may have been counted and not kept, or have voided what it contradicts and not been kept: nothing was said that rests
    /// on it, and it is asked for again.
    pub fn remembered(&self, vehicle: &mut Vehicle, now_us: u64) {
        let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) else { return };
        let before = std::mem::take(&mut vehicle.counted);
        if before.is_empty() {
            return;
        }
        let after = records(swarm);
        let lost: Vec<&RecordId> = before.difference(&after).collect();
        let known = self.known.get(&vehicle.number);
        let forgot = lost.iter().any(|id| known.is_some_and(|known| known.contains(id)));
        must!(
            self.looked_at,
            Kept,
            lost.len() <= 1 && !forgot,
            "{now_us}: vehicle {} lost {lost:?}",
            vehicle.number
        );
        // By the same records the same vehicles stand aside.
        let (window, aside) = std::mem::take(&mut vehicle.aside);
        if before == after {
            must!(
                self.looked_at,
                Standing,
                swarm.quarantined(window) == aside,
                "{now_us}: at vehicle {}",
                vehicle.number
            );
        }
        if vehicle.character != Character::Honest {
            return;
        }
        for window in self.calendar.window_of(now_us).saturating_sub(RECENT_WINDOWS)..WINDOWS_MAX {
            for claim in swarm.records().claims(window) {
                let (number, id) = (vehicle.number, claim.id);
                must!(
                    self.looked_at,
                    NothingNew,
                    before.contains(&id) || known.is_some_and(|known| known.contains(&id)),
                    "{now_us}: {id:?} counts at {number} since its start"
                );
            }
        }
    }

    /// Counters do not go back, and nothing is said twice and differently.
    fn published(
        &mut self,
        (topic, place): (&str, &Topic<'_>),
        bytes: &Bytes,
        fleet: &Fleet,
        (node, now_us): (usize, u64),
    ) {
        let Ok(record) = Unverified::decode(bytes) else { return };
        let (head, who) = (*record.head(), place.publisher());
        let (counter, stood) = self.counters.entry((head.key, topic.to_owned())).or_default();
        // The same again is no news: after a cut a vehicle leaves again what it sealed before.
        if stood.insert(bytes.clone()) {
            let got = head.counter;
            must!(
                self.looked_at,
                Counters,
                got > *counter,
                "{now_us}: {topic} goes back to {got} from {counter}"
            );
            *counter = got;
        }
        let keys = Everybody(fleet);
        let said = match head.kind {
            Kind::Claim => {
                let claim = record.verify::<Claim>(&keys).expect("a claim");
                vec![Said::Claim(claim.body().fields().window)]
            }
            Kind::Vote => {
                let vote = record.verify::<Vote>(&keys).expect("a vote");
                let fields = vote.body().fields();
                let (window, nominee) = (fields.window, fields.nominee);
                vec![Said::Vote(window, nominee), Said::VoteAt(window, fields.place)]
            }
            Kind::ParticleHeader => {
                let header = record.verify::<ParticleHeader>(&keys).expect("a header");
                let fields = header.body().fields();
                let contribution = fields.role == Role::Contribution;
                Vec::from_iter(contribution.then_some(Said::Contribution(fields.window)))
            }
            Kind::Nonce => {
                let nonce = record.verify::<Nonce>(&keys).expect("a nonce");
                let NonceFields { window, utc_seconds, nonce } = *nonce.body().fields();
                self.nonces.insert(window, nonce);
                self.told_utc.insert(window, utc_seconds);
                vec![Said::Nonce(window)]
            }
            Kind::Presence
            | Kind::WindowPlan
            | Kind::Roster
            | Kind::RosterPage
            | Kind::UtilityDocument
            | Kind::SwarmDocument
            | Kind::Refusal
            | Kind::Document => Vec::new(),
        };
        for said in said {
            let merges = match said {
                Said::Claim(window) | Said::Contribution(window) | Said::VoteAt(window, _) => {
                    Some(window)
                }
                Said::Vote(..) | Said::Nonce(_) => None,
            };
            let id = RecordId::new(Sha256::digest(bytes).into());
            let spoken = merges.map(|window| Spoken { node, at_us: now_us, window, id, who, said });
            self.spoken.extend(spoken);
            if let Some(before) = self.said.insert((who, said), bytes.clone()) {
                let same = before == *bytes;
                must!(self.looked_at, Once, same, "{now_us}: {topic} says {said:?} twice");
            }
        }
    }

    /// Before a window closes, where nobody lies: what is best is known for as long as it is, however old its records are, unless
    /// votes fell apart.
    pub fn remembers(&mut self, vehicles: &[Vehicle], window: u32) {
        for vehicle in vehicles {
            let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) else { continue };
            let (number, knows) = (vehicle.number, swarm.best(window).is_some());
            if self.knew_best.contains(&number) {
                must!(
                    self.looked_at,
                    Remembers,
                    knows || fell_apart(swarm, vehicles.len()),
                    "vehicle {number} knows of no best in window {window} any more:\n{}",
                    known(swarm, window)
                );
            } else if knows {
                self.knew_best.insert(number);
            }
        }
    }

    /// Before a window closes: who goes by the second plan.
    pub fn has_plenty(&mut self, vehicles: &[Vehicle], window: u32) {
        for number in vehicles.iter().map(|vehicle| vehicle.number) {
            if self.documents.get(&(number, Kind::WindowPlan as u8)) == Some(&PLENTY_COUNTER) {
                self.plenty.entry(number).or_insert(window);
            }
        }
    }
}
