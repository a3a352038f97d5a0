//! What the cores act in: roads, packs, the broker and the clock.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use shoal_swarm::draws::{Chance, Draws, Key, Term};
use shoal_swarm::swarm::{Flat, TermResult};
use shoal_swarm::utility::{to_standard_error, to_value};
use shoal_wire::{KeyId, ParticleId};

use super::shell::{Record, Shell};
use crate::make::nonce;

/// A window opens every…
pub(crate) const PERIOD_MS: u64 = 100_000;
/// …and is open for…
pub(crate) const OPEN_MS: u64 = 60_000;
/// How far one night of tuning goes towards the optimum of the vehicle's own road.
const TUNED: f32 = 0.3;
pub(crate) const DIM: usize = 48;

/// Draws of the world, not of the swarm.
pub(crate) fn draws(seed: u64, vehicle: u8, step: u32) -> Draws {
    let vehicle = Some(KeyId::new([vehicle; 8]));
    Draws::new(Key { seed, vehicle, window: 77, step, term: Term::Dropout })
}

fn normal(seed: u64, vehicle: u8, step: u32) -> Vec<f32> {
    let mut draws = draws(seed, vehicle, step);
    (0..DIM).map(|_| draws.normal() as f32).collect()
}

/// Roads and packs. The utility of an adapter on a road falls with its squared distance to the road's optimum; the
/// pack's term is the mean over all roads.
pub(crate) struct Roads {
    seed: u64,
    pub(crate) optima: Vec<Vec<f32>>,
    /// What all roads have in common is of this size; beside it, each differs by this much from it.
    scale: f32,
    /// Weights of the second term's pack: it holds the last half of the roads only.
    pub(crate) terms: usize,
}

impl Roads {
    pub(crate) fn new(seed: u64, vehicles: u8, apart: f32, terms: usize) -> Self {
        let common = normal(seed, 250, 0);
        let of = |number: u8| {
            let own = normal(seed, number, 1);
            common.iter().zip(own).map(|(common, own)| common + apart * own).collect()
        };
        let scale = common.iter().map(|value| value * value).sum::<f32>();
        Self { seed, optima: (0..vehicles).map(of).collect(), scale, terms }
    }

    /// 1 at the road's optimum, 0 where nothing is adapted.
    fn on_road(&self, road: usize, adapter: &[f32]) -> f64 {
        let apart = adapter.iter().zip(&self.optima[road]).map(|(a, b)| (a - b) * (a - b));
        1.0 - f64::from(apart.sum::<f32>() / self.scale)
    }

    /// What the whole pack says of an adapter, by term: exactly.
    pub(crate) fn truth(&self, term: usize, adapter: &[f32]) -> f64 {
        let from = if term == 0 { 0 } else { self.optima.len() / 2 };
        let roads = from..self.optima.len();
        let count = roads.len() as f64;
        roads.map(|road| self.on_road(road, adapter)).sum::<f64>() / count * 0.5
    }

    /// A measurement on a part: parts differ in how hard they are, and in what exactly they show.
    fn on_part(&self, term: usize, part: u8, adapter: &[f32]) -> f64 {
        let shows = normal(self.seed, 240 + part, term as u32);
        let tilt = adapter.iter().zip(shows).map(|(value, shows)| value * shows).sum::<f32>();
        let hard = 0.03 * f64::from(part) - 0.05;
        self.truth(term, adapter) + hard + 0.0005 * f64::from(tilt)
    }

    pub(crate) fn measure(
        &self,
        part: u8,
        adapter: &[f32],
        beside: Option<&[f32]>,
    ) -> Vec<TermResult> {
        let of = |term| {
            let value = self.on_part(term, part, adapter);
            let other = beside.map_or(0.0, |other| self.on_part(term, part, other));
            TermResult {
                value: to_value(value),
                beside: to_value(other),
                value_error: to_standard_error(0.02),
                difference_error: to_standard_error(0.004),
            }
        };
        (0..self.terms).map(of).collect()
    }

    pub(crate) fn measure_own(&self, number: u8, adapter: &[f32]) -> Vec<TermResult> {
        let value = to_value(self.on_road(usize::from(number), adapter) * 0.5);
        vec![TermResult { value, ..TermResult::default() }]
    }

    /// A night of tuning: towards the own optimum, with some noise.
    pub(crate) fn tune(&self, number: u8, night: u32, from: &[f32]) -> Flat {
        let noise = normal(self.seed, number, 1000 + night);
        let optimum = &self.optima[usize::from(number)];
        let step = from.iter().zip(optimum).zip(noise);
        step.map(|((from, to), noise)| from + TUNED * (to - from + 0.2 * noise)).collect()
    }
}

/// What stands on the broker: one record a topic, chunks while their slot holds the particle.
#[derive(Default)]
pub(crate) struct Broker {
    records: BTreeMap<(u8, u8, u32, u8), Record>,
    chunks: BTreeMap<(KeyId, u8), (ParticleId, Flat)>,
}

impl Broker {
    pub(crate) fn retain(&mut self, record: &Record) {
        self.records.insert(record.topic(), record.clone());
    }

    pub(crate) fn put(&mut self, publisher: KeyId, slot: u8, particle: ParticleId, values: &Flat) {
        self.chunks.insert((publisher, slot), (particle, values.clone()));
    }

    pub(crate) fn chunks(&self, publisher: KeyId, slot: u8, particle: ParticleId) -> Option<Flat> {
        let (held, values) = self.chunks.get(&(publisher, slot))?;
        (*held == particle).then(|| values.clone())
    }

    pub(crate) fn retained(&self) -> Vec<Record> {
        self.records.values().cloned().collect()
    }
}

/// What happens to whom.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Open { window: u32 },
    Closing,
    Closed,
    Tuned { night: u32 },
    Deliver(Record),
    Measured { job: u64, terms: Vec<TermResult> },
    Coded { job: u64, particle: ParticleId, slot: Option<u8> },
    Fetched { particle: ParticleId, values: Option<Flat> },
    Wake,
}

/// How bad the world is.
#[derive(Clone)]
pub(crate) struct Weather {
    /// Of live messages, how many are lost: what is retained comes at the next opening.
    pub(crate) loss: f64,
    /// Of live messages, how many come twice.
    pub(crate) repeat: f64,
    pub(crate) absent: Arc<dyn Fn(u8, u32) -> bool>,
    pub(crate) no_nonce: Vec<u32>,
    /// After so many of its acts a vehicle loses power, again and again, each time one later.
    pub(crate) cuts: Option<(u8, u64)>,
    /// What is not fetched was never asked for: the broker does not answer.
    pub(crate) deaf: bool,
}

impl Weather {
    pub(crate) fn fair() -> Self {
        let absent = Arc::new(|_number, _window| false);
        Self { loss: 0.0, repeat: 0.0, absent, no_nonce: Vec::new(), cuts: None, deaf: false }
    }
}

/// Who publishes nonces: no vehicle.
const TIMEKEEPER: u8 = 255;

/// All of it.
pub(crate) struct World {
    pub(crate) roads: Roads,
    pub(crate) broker: Broker,
    pub(crate) shells: Vec<Shell>,
    pub(crate) weather: Weather,
    /// Every output of every core, and every input that was rejected.
    pub(crate) log: Vec<String>,
    pub(crate) now_ms: u64,
    queue: BTreeMap<(u64, u64), (u8, Happening)>,
    count: u64,
    chance: Draws,
}

impl World {
    pub(crate) fn new(seed: u64, roads: Roads, shells: Vec<Shell>, weather: Weather) -> Self {
        Self {
            roads,
            broker: Broker::default(),
            shells,
            weather,
            log: Vec::new(),
            now_ms: 0,
            queue: BTreeMap::new(),
            count: 0,
            chance: draws(seed, 251, 0),
        }
    }

    pub(crate) fn at(&mut self, ms: u64, number: u8, happening: Happening) {
        self.count += 1;
        self.queue.insert((ms, self.count), (number, happening));
    }

    pub(crate) fn unit(&mut self) -> f64 {
        self.chance.unit()
    }

    /// Runs windows from the first to the last.
    pub(crate) fn run(&mut self, windows: RangeInclusive<u32>) {
        for window in windows {
            let opens = u64::from(window) * PERIOD_MS;
            if !self.weather.no_nonce.contains(&window) {
                let nonce = Record::Nonce(Arc::new(nonce(window)));
                self.at(opens, TIMEKEEPER, Happening::Deliver(nonce));
            }
            for number in 0..self.shells.len() as u8 {
                self.at(opens - 10_000, number, Happening::Tuned { night: window });
                if !(self.weather.absent)(number, window) {
                    let jitter = (self.unit() * 5000.0) as u64;
                    self.at(opens + jitter, number, Happening::Open { window });
                    self.at(opens + OPEN_MS - 5_000, number, Happening::Closing);
                    self.at(opens + OPEN_MS, number, Happening::Closed);
                }
            }
        }
        while let Some(((ms, _count), (number, happening))) = self.queue.pop_first() {
            self.now_ms = ms;
            match (number, happening) {
                (TIMEKEEPER, Happening::Deliver(record)) => self.publish(None, &record),
                (number, happening) => self.happen(number, happening),
            }
        }
    }

    /// Retains a record, and delivers it to who is there: late, twice or not at all, as the weather is.
    pub(crate) fn publish(&mut self, by: Option<u8>, record: &Record) {
        self.broker.retain(record);
        for number in 0..self.shells.len() as u8 {
            let away = !self.shells[usize::from(number)].online;
            if by == Some(number) || away || self.unit() < self.weather.loss {
                continue;
            }
            let copies = if self.unit() < self.weather.repeat { 2 } else { 1 };
            for _ in 0..copies {
                let late = 50 + (self.unit() * 4000.0) as u64;
                self.at(self.now_ms + late, number, Happening::Deliver(record.clone()));
            }
        }
    }

    /// What best is worth by the pack, as this vehicle sees it in this window.
    pub(crate) fn best_truth(&self, number: u8, window: u32) -> f64 {
        let shell = &self.shells[usize::from(number)];
        let best = shell.swarm.best(window).map(|elected| elected.particle);
        let start = [0.0; DIM];
        let best = best.map_or(start.as_slice(), |best| &shell.particles[&best]);
        self.roads.truth(0, best)
    }
}
