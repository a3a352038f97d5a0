//! Campaigns of a world: what the authority says when, what comes of it on the road, and what must hold.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shoal_swarm::campaign::{
    self, APPROVAL, Campaign, Duty, Mine, Order, Outcome, PARTICLE_SLOT, Plan, Stage, Watch,
};
use shoal_swarm::roster::Roster;
use shoal_swarm::swarm::ValuesHash;
use shoal_vehicle::agent::{Tried, Why};
use shoal_vehicle::exchange::weights::{About, Coded, code};
use shoal_wire::coding::{Encoder, Quality};
use shoal_wire::v1::{Chunk, Document, DocumentFields, ParticleHeader, ParticleHeaderFields, Role};
use shoal_wire::{ChunkHash, KeyId, LayoutHash, Leaf};

use crate::calendar::{SPAN_S, utc_ms};
use crate::chance::Dice;
use crate::documents::{FLEET, Fleet, REGION, place, sealed};
use crate::engine::{Character, layout, start};
use crate::must::must;
use crate::vehicle::{Vehicle, utc_seconds};
use crate::weather::PLENTY;
use crate::world::{Happening, SECOND_US, World};

/// The authority's envelopes of campaigns have counters from here on.
const COUNTER: u64 = 100;
/// Windows in which nothing came of a campaign any more, after which there is nothing left to do.
const QUIET_WINDOWS: u32 = 4;
/// Windows after which all have heard what a vehicle says of a campaign.
const HEARD_WINDOWS: u32 = 3;
/// The campaign that nobody approved as it is, and the one that two people signed.
const UNAPPROVED: u32 = 1;
const APPROVED: u32 = 2;

/// What was published and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Promotions {
    /// The approved campaign, as it was ordered last.
    campaign: Option<Campaign>,
    /// The adapter that it promotes.
    adapter: Option<ValuesHash>,
    /// Every vehicle that ever kept it.
    kept: BTreeSet<KeyId>,
    /// Who has gone back by itself, and when.
    gone_back: BTreeMap<KeyId, u64>,
    /// Beginnings of each vehicle that were looked at.
    looked: BTreeMap<usize, usize>,
    /// When an outcome was the last to come.
    last_us: u64,
    counter: u64,
    /// Whether what is promoted has several chunks, and every other order leaves every other one, and takes away the rest.
    halves: bool,
}

impl World {
    /// Draws when the authority says what.
    pub(crate) fn draw_campaigns(&mut self) {
        if !self.weather.campaign {
            return;
        }
        let last = u64::from(self.weather.windows);
        let calendar = self.calendar;
        let at = |dice: &mut Dice, from: u64, to: u64| {
            let window = dice.between(from, to.max(from + 1)) as u32;
            calendar.opens_us(window) + dice.between(0, u64::from(SPAN_S)) * SECOND_US
        };
        let mut dice = Dice::new(self.seed, 7);
        if dice.happens(0.5) {
            let when = at(&mut dice, 0, 2);
            self.at(when, Happening::Ordered(UNAPPROVED, Order::Run));
        }
        let begins = at(&mut dice, 2, 3);
        self.at(begins, Happening::Ordered(APPROVED, Order::Run));
        let orders = [Order::Pause, Order::Abort, Order::RollBack];
        if dice.happens(0.6) {
            let order = orders[dice.between(0, 3) as usize];
            let when = at(&mut dice, 3, last).max(begins + SECOND_US);
            self.at(when, Happening::Ordered(APPROVED, order));
            if order == Order::Pause {
                let again = when + self.calendar.windows_us(2);
                self.at(again, Happening::Ordered(APPROVED, Order::Run));
            }
        }
    }

    /// The authority publishes an order.
    pub(crate) fn order(&mut self, number: u32, order: Order) {
        self.trouble("campaign");
        let halves = self.promotions.halves;
        let coded = adapter(&self.fleet, self.seed, number, halves);
        let plan = plan(&self.fleet, &coded, number);
        // Two people signed this plan; of the first campaign the authority publishes another one with it.
        let approval = approval(&self.fleet, &plan);
        let mut campaign =
            Campaign::new(plan, order, &approval, self.fleet.approver.public()).unwrap();
        if number == UNAPPROVED {
            campaign.plan.stages = vec![Stage { share: 1_000, kept_min: 0, gone_back_max: 1_000 }];
        } else {
            let x_p = start();
            let start = x_p.iter().zip(&coded.received);
            let values: Vec<f32> = start.map(|(start, more)| start + more).collect();
            self.promotions.adapter = Some(ValuesHash::of(&values));
            self.promotions.campaign = Some(campaign.clone());
        }
        self.promotions.last_us = self.now_us.get();
        let now_ms = utc_ms(self.now_us.get());
        for (index, chunk) in (0..).zip(&coded.chunks) {
            let topic = place(&self.fleet.authority, Leaf::Chunk { slot: PARTICLE_SLOT, index });
            let there = !halves || u64::from(index) % 2 == self.promotions.counter % 2;
            let chunk = if there { Bytes::from(chunk.clone()) } else { Bytes::new() };
            let spoken = self.cluster.leave(&topic, chunk);
            spoken.into_iter().for_each(|conn| self.hear(conn));
        }
        let authority = &self.fleet.authority;
        let (header, _id) = sealed(authority, COUNTER + u64::from(number), &coded.header);
        self.promotions.counter += 1;
        let counter = COUNTER + 10 + self.promotions.counter;
        let bytes = campaign.encode();
        let fields = DocumentFields { name: campaign::NAME, version: number, bytes: &bytes };
        let (document, _id) = sealed(authority, counter, &Document::new(fields).unwrap());
        self.keeper.learn(&self.fleet, header, now_ms);
        self.keeper.learn(&self.fleet, document, now_ms);
        self.keep_time();
    }

    /// Those with something on trial drive before the next window, or later.
    pub(crate) fn drive_off(&mut self, window: u32) {
        if window + 3 > self.weather.all_windows() {
            return;
        }
        for number in 0..self.vehicles.len() {
            let watching = self.vehicles[number].engine.tried().map(|tried| tried.mine);
            let drives = watching == Some(Mine::Watching) && (self.calm || self.dice.happens(0.5));
            if drives && self.vehicles[number].exchange.is_some() {
                let at = self.now_us.get() + self.dice.between(5, 30) * SECOND_US;
                self.at(at, Happening::Drives(number));
            }
        }
    }

    /// A vehicle drives; it sees what its roads say of what is on trial, and parks again.
    pub(crate) fn drives(&mut self, number: usize) {
        if self.vehicles[number].exchange.is_none() {
            return;
        }
        let keeps = self.dice.happens(0.8);
        let verdict = if keeps { Ok(()) } else { Err(Why::Worse) };
        self.power_off(number);
        self.trouble(if keeps { "kept" } else { "gone back" });
        self.vehicles[number].engine.decide(verdict);
        self.promotions.last_us = self.now_us.get();
        let key = self.vehicles[number].key;
        if keeps {
            self.promotions.kept.insert(key);
        } else if self.vehicles[number].character == Character::Honest {
            self.promotions.gone_back.insert(key, self.now_us.get());
        }
        self.at(self.now_us.get() + 3 * SECOND_US, Happening::Start(number));
    }

    /// What was begun was approved, and its stage was open.
    pub(crate) fn check_campaigns(&mut self) {
        let begun = |vehicle: &Vehicle| vehicle.engine.seen().begun.len();
        let all: usize = self.vehicles.iter().map(begun).sum();
        if all == self.promotions.looked.values().sum::<usize>() {
            return;
        }
        let roster = self.roster();
        // By then it stands there, and who begins has heard it.
        let calm_us = self.calendar.opens_us(self.weather.windows);
        let said_us = self.now_us.get().saturating_sub(self.calendar.windows_us(HEARD_WINDOWS));
        let heard = said_us > calm_us && self.weather.bytes_max == PLENTY;
        let Promotions { campaign, adapter, kept, gone_back, looked, .. } = &mut self.promotions;
        for vehicle in &self.vehicles {
            let seen = vehicle.engine.seen();
            let looked = looked.entry(vehicle.number).or_default();
            for (ask, values) in &seen.begun[*looked..] {
                let who = vehicle.number;
                let campaign = campaign.as_ref().filter(|one| one.plan.number == ask.number);
                let plan =
                    &campaign.unwrap_or_else(|| panic!("{who} begins what nobody approved")).plan;
                must!(
                    self.checks.looked_at,
                    Approved,
                    Some(*values) == *adapter,
                    "{who} tries another adapter than was approved"
                );
                let drawn = plan.draw(&roster, 0);
                let stage = drawn.of(vehicle.key).expect("its stage");
                for (of, limits) in plan.stages.iter().enumerate().filter(|_| heard) {
                    let all = self.vehicles.iter().filter(|one| drawn.of(one.key) == Some(of));
                    let gone =
                        |one: &&Vehicle| gone_back.get(&one.key).is_some_and(|at| *at < said_us);
                    let back = all.clone().filter(gone).count();
                    must!(
                        self.checks.looked_at,
                        Halted,
                        back * 1_000 <= all.count() * usize::from(limits.gone_back_max),
                        "{who} begins, and {back} of stage {of} have gone back"
                    );
                }
                for before in 0..stage {
                    let all = self.vehicles.iter().filter(|one| drawn.of(one.key) == Some(before));
                    let keep = all.clone().filter(|one| kept.contains(&one.key)).count();
                    let enough =
                        keep * 1_000 >= all.count() * usize::from(plan.stages[before].kept_min);
                    must!(
                        self.checks.looked_at,
                        Stages,
                        enough,
                        "{who} of stage {stage} begins before stage {before} has kept it"
                    );
                }
            }
            *looked = seen.begun.len();
        }
    }

    fn roster(&self) -> Roster {
        let region = |number: usize| (number % self.fleet.regions) as u16;
        let rows = self.vehicles.iter().map(|vehicle| (vehicle.key, region(vehicle.number)));
        Roster::of_rows(rows.collect()).unwrap()
    }

    /// At the end orders were heard, and nobody waits whose stage is open.
    pub(crate) fn end_campaigns(&self) {
        let Some(campaign) = &self.promotions.campaign else { return };
        let mine = |tried: Option<Tried>| match tried {
            Some(tried) if tried.ask.number == campaign.plan.number => tried.mine,
            Some(_) | None => Mine::Outside,
        };
        let outcomes = self.vehicles.iter().filter_map(|vehicle| {
            let tried = vehicle.engine.tried().filter(|tried| tried.ask.number == APPROVED)?;
            let outcome = match (tried.mine, tried.why) {
                (Mine::Kept, _) => Outcome::Kept,
                (Mine::GoneBack, Some(Why::Worse)) => Outcome::GoneBack,
                (Mine::GoneBack | Mine::Outside | Mine::Watching, _) => return None,
            };
            Some((vehicle.key, outcome))
        });
        let drawn = campaign.plan.draw(&self.roster(), 0);
        let progress = campaign.plan.progress(&drawn, &outcomes.collect());
        let now = self.now_us.get();
        let quiet = now > self.promotions.last_us + self.calendar.windows_us(QUIET_WINDOWS);
        for vehicle in &self.vehicles {
            let honest = vehicle.character == Character::Honest;
            let mine = mine(vehicle.engine.tried());
            let duty = campaign.duty(drawn.of(vehicle.key), &progress, mine, utc_seconds(now));
            let number = vehicle.number;
            if honest && quiet && self.weather.bytes_max == PLENTY {
                must!(
                    self.checks.looked_at,
                    Waits,
                    duty == Duty::Rest,
                    "vehicle {number} is {mine:?}, {campaign:?}, {progress:?}"
                );
            }
        }
    }
}

/// What a campaign promotes; in several chunks, if asked for.
fn adapter(fleet: &Fleet, seed: u64, number: u32, chunks: bool) -> Coded {
    let mut dice = Dice::new(seed, 8 + u64::from(number));
    let meant: Vec<f32> = (0..layout().values()).map(|_| dice.signed()).collect();
    let about = About {
        role: Role::Best,
        window: 0,
        base_model: fleet.model(),
        layout: LayoutHash::new(layout().hash()),
        anchor: None,
        inputs: Vec::new(),
    };
    let quality = Quality::new(4).unwrap();
    if chunks {
        let coded = code(about, meant.clone(), &[32, 16], quality).unwrap();
        return in_chunks(&coded.header, meant, quality);
    }
    code(about, meant, &[32, 16], quality).unwrap()
}

/// The same in chunks that are far shorter than they may be.
fn in_chunks(whole: &ParticleHeader, mut meant: Vec<f32>, quality: Quality) -> Coded {
    let mut received = vec![0.0; meant.len()];
    let mut encoder = Encoder::new(quality, &[32, 16], &mut meant, &mut received).unwrap();
    let (mut buffer, mut chunks, mut named) = ([0; 28], Vec::new(), Vec::new());
    while let Some(chunk) = encoder.next_chunk(&mut buffer).unwrap() {
        let hash = ChunkHash::new(Sha256::digest(chunk.bytes).into());
        let bytes = chunk.bytes.len() as u32;
        named.push(Chunk { first_value: chunk.first_value, bytes, hash });
        chunks.push(chunk.bytes.to_vec());
    }
    assert!(chunks.len() > 1, "{chunks:?}");
    let fields = whole.fields().clone();
    let named = named.into_iter().collect();
    let header = ParticleHeader::new(ParticleHeaderFields { chunks: named, ..fields }).unwrap();
    Coded { header, chunks, received, remainder: meant }
}

fn plan(fleet: &Fleet, coded: &Coded, number: u32) -> Plan {
    let stage = |share| Stage { share, kept_min: 500, gone_back_max: 250 };
    Plan {
        number,
        fleet: FLEET.to_owned(),
        region: REGION.to_owned(),
        particle: coded.header.id(),
        base_model: fleet.model(),
        layout: LayoutHash::new(layout().hash()),
        stages: [300, 1_000].map(stage).to_vec(),
        watch: Watch { moments_min: 100, worse_max: 0, apart_max: 1_000, latency_max: 1_500 },
    }
}

fn approval(fleet: &Fleet, plan: &Plan) -> Vec<u8> {
    let bytes = plan.digest();
    let fields = DocumentFields { name: APPROVAL, version: plan.number, bytes: &bytes };
    sealed(&fleet.approver, 1, &Document::new(fields).unwrap()).0
}

#[cfg(test)]
mod tests {
    use shoal_swarm::campaign::{Mine, Order};

    use super::APPROVED;
    use crate::weather::Weather;
    use crate::world::{Happening, SECOND_US, World};

    /// One window brings a half of what is promoted, the next one the other.
    #[test]
    fn what_no_window_brings_whole_is_tried_once_all_of_it_is_there() {
        let mut world = World::new(1, Weather::fair(4, 2));
        world.promotions.halves = true;
        // Late enough that nobody waits in vain for the half that is gone by then.
        let last = world.weather.all_windows();
        for window in [last - 3, last - 2] {
            let at = world.calendar.opens_us(window) - 30 * SECOND_US;
            world.at(at, Happening::Ordered(APPROVED, Order::Run));
        }
        world.run();
        let tried = world.vehicles.iter().filter_map(|vehicle| vehicle.engine.tried());
        let mine: Vec<Mine> = tried.map(|tried| tried.mine).collect();
        assert_eq!(mine, [Mine::Watching; 2], "those of the first stage");
    }
}
