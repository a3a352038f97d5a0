//! What must hold, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shoal_swarm::swarm::{Swarm, ValuesHash};
use shoal_vehicle::exchange::run::Exchange;
use shoal_wire::v1::{Claim, ParticleHeader, Role, Vote};
use shoal_wire::{KeyId, Kind, ParticleId, RecordId, Topic, Unverified};

use crate::board::Board;
use crate::documents::Fleet;
use crate::engine::{Character, start};
use crate::intruder::Everybody;
use crate::vehicle::{Vehicle, records};

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Checks {
    /// Publications that were looked at.
    looked: usize,
    /// By signer and topic: the highest counter, and all that stood there.
    counters: BTreeMap<(KeyId, String), (u64, BTreeSet<Bytes>)>,
    /// What vehicles said, by what they may say once.
    said: BTreeMap<(KeyId, Said), Bytes>,
    /// Bytes by vehicle and window, up and down.
    pub crossed: BTreeMap<(usize, u32), (u64, u64)>,
    /// How many of the tunings of each vehicle were looked at.
    moves: BTreeMap<usize, usize>,
}

/// What is said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Claim(u32),
    Contribution(u32),
    Vote(u32, ParticleId),
    VoteAt(u32, u8),
}

impl Checks {
    /// So many bytes crossed the socket of a vehicle in a window, of so many that may, each way.
    pub fn crosses(&mut self, (number, window): (usize, u32), up: u64, down: u64, may: u64) {
        let crossed = self.crossed.entry((number, window)).or_default();
        (crossed.0, crossed.1) = (crossed.0 + up, crossed.1 + down);
        assert!(
            crossed.0 <= may && crossed.1 <= may,
            "vehicle {number} in window {window}: {crossed:?} bytes of {may}"
        );
    }

    /// After everything that happens.
    pub fn after(&mut self, board: &Board, vehicles: &[Vehicle], fleet: &Fleet, now_us: u64) {
        let new: Vec<(String, Bytes)> = board.published_since(self.looked).to_vec();
        self.looked += new.len();
        for (topic, bytes) in new {
            self.published(&topic, &bytes, fleet, now_us);
        }
        for vehicle in vehicles.iter().filter(|vehicle| vehicle.character == Character::Honest) {
            self.moved(vehicle, now_us);
        }
    }

    /// What counted before the power went counts after it, but for what came at that moment.
    pub fn remembered(&self, vehicle: &mut Vehicle, now_us: u64) {
        let Some(swarm) = vehicle.exchange.as_ref().and_then(Exchange::swarm) else { return };
        let before = std::mem::take(&mut vehicle.counted);
        if before.is_empty() {
            return;
        }
        let lost = before.difference(&records(swarm)).count();
        assert!(lost <= 1, "{now_us}: vehicle {} lost {lost} records", vehicle.number);
    }

    /// Counters do not go back, and nothing is said twice and differently.
    fn published(&mut self, topic: &str, bytes: &Bytes, fleet: &Fleet, now_us: u64) {
        let place = Topic::decode(topic).expect("honest programs publish at places");
        let Ok(record) = Unverified::decode(bytes) else { return };
        let head = *record.head();
        let (counter, stood) = self.counters.entry((head.key, topic.to_owned())).or_default();
        // The same again is no news: after a cut a vehicle leaves again what it sealed before.
        if stood.insert(bytes.clone()) {
            let got = head.counter;
            assert!(got > *counter, "{now_us}: {topic} goes back to {got} from {counter}");
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
            Kind::Presence
            | Kind::Nonce
            | Kind::WindowPlan
            | Kind::Roster
            | Kind::RosterPage
            | Kind::UtilityDocument
            | Kind::SwarmDocument
            | Kind::Refusal
            | Kind::Document => Vec::new(),
        };
        for said in said {
            let before = self.said.insert((place.publisher(), said), bytes.clone());
            let same = before.is_none_or(|before| before == *bytes);
            assert!(same, "{now_us}: {topic} says {said:?} twice");
        }
    }

    /// A vehicle tunes from where everybody began, from what it tuned itself, or from what it has measured to be no worse.
    fn moved(&mut self, vehicle: &Vehicle, now_us: u64) {
        let seen = vehicle.engine.seen();
        let looked = self.moves.entry(vehicle.number).or_default();
        for from in &seen.tuned_from[*looked..] {
            let compared = seen.compared.iter().filter(|((candidate, _), _)| candidate == from);
            // What it voted with came before; then one look or two.
            let looked = |gains: &[i32]| {
                let (one, two) = (gains.iter().rev().take(1), gains.iter().rev().take(2));
                one.sum::<i32>().max(two.sum())
            };
            let better = compared.map(|(_, gains)| looked(gains)).max();
            let known = *from == ValuesHash::of(&start()) || seen.tuned.contains(from);
            assert!(
                known || better.is_some_and(|gain| gain >= 0),
                "{now_us}: vehicle {} moved to what it measured as {better:?}",
                vehicle.number
            );
        }
        *looked = seen.tuned_from.len();
    }

    /// After windows in which nothing went wrong: those who can talk agree.
    pub fn end(&self, board: &Board, vehicles: &[Vehicle], window: u32) {
        let honest = || vehicles.iter().filter(|vehicle| vehicle.character == Character::Honest);
        let swarms: Vec<_> = honest()
            .map(|vehicle| vehicle.exchange.as_ref().and_then(|exchange| exchange.swarm()))
            .collect();
        let genuine: BTreeSet<RecordId> = board
            .published_since(0)
            .iter()
            .map(|(_topic, bytes)| RecordId::new(Sha256::digest(bytes).into()))
            .collect();
        for swarm in swarms.iter().flatten() {
            nothing_forged(swarm, &genuine);
        }
        // Of windows that were calm for a while all know the same.
        for of in window.saturating_sub(6)..window.saturating_sub(2) {
            let said: BTreeSet<Vec<RecordId>> = swarms
                .iter()
                .flatten()
                .map(|swarm| {
                    let records = swarm.records();
                    let claims = records.claims(of).map(|claim| claim.id);
                    claims.chain(records.votes(of).map(|vote| vote.id)).collect()
                })
                .collect();
            assert!(said.len() <= 1, "window {of}: not all know the same: {said:?}");
        }
        let mut agreed = BTreeSet::new();
        for swarm in &swarms {
            let swarm = swarm.expect("every honest vehicle has joined");
            let best = swarm.best(window).map(|best| best.particle);
            let worst = swarm.worst(window).map(|worst| worst.particle);
            agreed.insert((best, worst, swarm.quarantined(window)));
        }
        let known = || -> Vec<String> {
            swarms.iter().flatten().map(|swarm| known(swarm, window)).collect()
        };
        assert!(agreed.len() == 1, "they do not agree: {agreed:?}\n{}", known().join("\n"));
        let liars = vehicles.iter().filter(|vehicle| vehicle.character == Character::Liar).count();
        for (_best, _worst, quarantined) in &agreed {
            assert!(quarantined.len() <= liars, "no honest vehicle is quarantined");
        }
    }
}

/// All that a vehicle counts was published by who may.
fn nothing_forged(swarm: &Swarm, genuine: &BTreeSet<RecordId>) {
    let forged = records(swarm).difference(genuine).copied().next();
    assert!(forged.is_none(), "{forged:?} counts and was never published");
}

/// What a vehicle knows of the claims behind its best, for who looks for the reason of a disagreement.
fn known(swarm: &Swarm, window: u32) -> String {
    let records = swarm.records();
    let mut text = format!("a vehicle that knows {} records:\n", records.count());
    let best = swarm.best(window).map(|best| best.window);
    let worst = swarm.worst(window).map(|worst| worst.window);
    let _infallible = writeln!(text, "  best of window {best:?}, worst of {worst:?}");
    for window in records.claimed_windows() {
        for claim in records.claims(window) {
            let (who, fields) = (claim.signer, &claim.body);
            let header = records.particle(window, who, fields.role).is_some();
            let _infallible = writeln!(
                text,
                "  {window}: {who} claims {:?} {} {:?}, header {header}",
                fields.role, fields.particle, fields.terms
            );
        }
        let nonces = [window, window + 1].map(|of| records.nonce_of(of).is_some());
        let _infallible = writeln!(text, "  {window}: nonces {nonces:?}");
        for vote in records.votes(window + 1) {
            let (who, fields) = (vote.signer, &vote.body);
            let (of, best, terms) = (fields.nominee, fields.best, &fields.terms);
            let _infallible =
                writeln!(text, "  {window}: {who} votes on {of} beside {best:?}: {terms:?}");
        }
    }
    text
}
