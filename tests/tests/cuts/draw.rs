//! What happens to whom and when: all of it is drawn from one seed before anything runs.

use serde::Serialize;
use shoal_shadow::chance::{Draws, Purpose};

use crate::shaper::{Way, Weather};

/// Vehicles of the fleet.
pub(crate) const VEHICLES: usize = 4;
/// From one window to the next, and how long one is open, in seconds.
pub(crate) const PERIOD_S: u32 = 4;
pub(crate) const OPEN_S: u32 = 3;

/// To whom it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Vehicle(usize),
    Broker,
    Timekeeper,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Kind {
    /// SIGKILL, and a start after a while.
    Kill,
    /// The same, and what it kept on its disk is gone: of the broker alone.
    Forget,
    /// SIGSTOP, for longer than a window; some for longer than the broker waits for a sign of life.
    Stop,
    /// Nothing crosses its line, both ways or one.
    Cut,
    /// Packets are lost, doubled, and overtake each other.
    Lossy,
    /// Packets come late, and few at a time.
    Slow,
    /// Its disk is full.
    Full,
    /// Its clock is moved.
    Clock,
}

/// The moment at which it happens: an instant that was waited for, then so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Moment {
    /// Whatever is going on.
    Any,
    /// It has just said this in its log.
    Says(&'static str),
    /// A packet with a part of a topic has just come by; with `true`, nothing crosses after it.
    Passes(Way, &'static str, bool),
    /// The file of its vault has just changed.
    Writes,
}

/// One cut.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) number: usize,
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    pub(crate) moment: Moment,
    /// After that moment.
    pub(crate) later_ms: u64,
    /// How long it lasts at least.
    pub(crate) lasts_ms: u64,
    /// From the one before to the wait for this.
    pub(crate) rest_ms: u64,
    pub(crate) up: Weather,
    pub(crate) down: Weather,
    /// How far its clock is moved, in seconds.
    pub(crate) clock_s: i64,
    /// Whether it is started once while its disk is full.
    pub(crate) again: bool,
}

/// What a vehicle says when something was kept, sent, received, or is about to be.
const SAYS: [&str; 9] = [
    "\"message\":\"connected\"",
    "\"message\":\"window open\"",
    "\"message\":\"all that stood there has come\"",
    "\"message\":\"trained\"",
    "\"message\":\"tuned\"",
    "\"message\":\"began\"",
    "\"message\":\"merged\"",
    "\"message\":\"window closing\"",
    "\"message\":\"window over\"",
];
/// What comes from a vehicle, each followed by its key, and what comes to it.
const SENDS: [&str; 5] = ["/claim/", "/vote/", "/particle/", "/chunk/", "/presence/"];
const RECEIVES: [&str; 5] = ["/claim/", "/vote/", "/particle/", "/chunk/", "/nonce/"];

/// What happens to vehicles.
const EACH: [Kind; 7] =
    [Kind::Kill, Kind::Stop, Kind::Cut, Kind::Lossy, Kind::Slow, Kind::Full, Kind::Clock];

/// So many cuts of a seed; with `clocks`, some move clocks.
pub(crate) fn cuts(count: usize, seed: u64, clocks: bool) -> Vec<Cut> {
    let mut dice = Dice(Draws::new(Purpose::World, seed, 78, 0));
    let mut deck = Vec::new();
    let mut cuts = Vec::new();
    for number in 0..count {
        if deck.is_empty() {
            deck = deal(&mut dice, number == 0);
            deck.retain(|(_, kind)| clocks || *kind != Kind::Clock);
        }
        let (target, kind) = deck.remove(0);
        cuts.push(dice.cut(number, target, kind));
    }
    cuts
}

/// A deck: all kinds, to each vehicle in turn, in any order.
fn deal(dice: &mut Dice, first: bool) -> Vec<(Target, Kind)> {
    let mut kinds = EACH.to_vec();
    if !first {
        kinds.extend([Kind::Kill, Kind::Kill, Kind::Kill, Kind::Stop, Kind::Cut, Kind::Lossy]);
        kinds.extend([Kind::Full, Kind::Clock]);
    }
    let begin = dice.below(VEHICLES as u64) as usize;
    let mut deck: Vec<(Target, Kind)> = kinds
        .into_iter()
        .enumerate()
        .map(|(index, kind)| (Target::Vehicle((begin + index) % VEHICLES), kind))
        .collect();
    let broker = [Kind::Kill, Kind::Forget].map(|kind| (Target::Broker, kind));
    deck.extend(broker);
    deck.push((Target::Timekeeper, Kind::Kill));
    if !first {
        let kind = [Kind::Stop, Kind::Cut][dice.below(2) as usize];
        deck.push((Target::Broker, kind));
        deck.push((Target::Timekeeper, [Kind::Stop, Kind::Cut][dice.below(2) as usize]));
    }
    for last in (1..deck.len()).rev() {
        deck.swap(last, dice.below(last as u64 + 1) as usize);
    }
    deck
}

struct Dice(Draws);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0.index(end.max(1) as usize) as u64
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn cut(&mut self, number: usize, target: Target, kind: Kind) -> Cut {
        let period_ms = u64::from(PERIOD_S) * 1000;
        let lasts_ms = match kind {
            Kind::Kill | Kind::Forget => self.below(2 * period_ms),
            Kind::Stop if self.0.happens(0.2) => 16_000 + self.below(4_000),
            Kind::Stop | Kind::Cut => period_ms + self.below(2 * period_ms),
            Kind::Lossy | Kind::Slow | Kind::Clock => period_ms + self.below(3 * period_ms),
            Kind::Full => self.below(period_ms),
        };
        let (up, down) = self.weather(kind);
        let ahead = i64::from(PERIOD_S) * 3;
        let clock_s = match self.below(3) {
            // So long ago that no signed time is so old; by some windows, either way.
            0 => -1_000_000,
            _ => self.below(2 * ahead as u64 + 1) as i64 - ahead,
        };
        Cut {
            number,
            target,
            kind,
            moment: self.moment(target, kind),
            later_ms: if self.0.happens(0.5) { 0 } else { self.below(60) },
            lasts_ms,
            rest_ms: self.below(period_ms),
            up,
            down,
            clock_s: if clock_s.abs() < 3 { 5 } else { clock_s },
            again: self.0.happens(0.5),
        }
    }

    fn weather(&mut self, kind: Kind) -> (Weather, Weather) {
        let fair = Weather::default();
        let bad = match kind {
            Kind::Cut => Weather { cut: true, ..fair },
            Kind::Lossy => Weather {
                loss: self.0.between(0.05, 0.35),
                doubles: self.0.between(0.0, 0.2),
                jitter_ms: self.below(80) as u32,
                ..fair
            },
            Kind::Slow => Weather {
                delay_ms: 50 + self.below(500) as u32,
                jitter_ms: self.below(100) as u32,
                bytes_a_second: self.one(&[2_000, 6_000, 20_000]),
                ..fair
            },
            Kind::Kill | Kind::Forget | Kind::Stop | Kind::Full | Kind::Clock => fair,
        };
        match self.below(4) {
            0 => (bad, fair),
            1 => (fair, bad),
            _ => (bad, bad),
        }
    }

    fn moment(&mut self, target: Target, kind: Kind) -> Moment {
        let way = self.one(&[Way::Up, Way::Down]);
        let holds = matches!(kind, Kind::Kill | Kind::Cut) && self.0.happens(0.5);
        let topic = if way == Way::Up { self.one(&SENDS) } else { self.one(&RECEIVES) };
        match target {
            Target::Vehicle(_) => match self.below(10) {
                0 => Moment::Any,
                1..4 => Moment::Says(self.one(&SAYS)),
                4..6 => Moment::Writes,
                _ => Moment::Passes(way, topic, holds),
            },
            Target::Broker => match self.below(4) {
                0 => Moment::Any,
                _ => Moment::Passes(way, self.one(&RECEIVES), false),
            },
            Target::Timekeeper => match self.below(2) {
                0 => Moment::Any,
                _ => Moment::Passes(Way::Up, "/nonce/", holds),
            },
        }
    }
}
