//! What goes wrong, and how often: drawn from the seed.

use shoal_link::Version;

use crate::board::Manners;
use crate::calendar::Calendar;
use crate::chance::Dice;
use crate::engine::{LIES, Lie};

/// More bytes than a vehicle ever needs in a window: sixteen that two beacons tell of everything read 200 kB.
pub const PLENTY: u64 = 400_000;

/// How many vehicles a nonce asks in most worlds: all of them.
const ASKED: u16 = 16;

/// Claims of windows of two days leave after twelve.
const PAUSE: u32 = 13;

/// How bad a world is.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// Vehicles.
    pub vehicles: usize,
    /// How many regions they are in.
    pub regions: usize,
    /// How many of them a nonce asks for a contribution.
    pub asked: u16,
    /// Whether vehicles go by the paper's rule, and not by the usual one.
    pub paper: bool,
    /// When windows are.
    pub calendar: Calendar,
    /// Windows in which something may go wrong.
    pub windows: u32,
    /// In so many of them, the last ones, nobody has a network.
    pub pause: u32,
    /// How the last vehicles lie: half at most of those who vote on a claim of another.
    pub lies: Vec<Lie>,
    /// How many vehicles, the last ones, are taken into the fleet when it has begun.
    pub grows: usize,
    /// The chance that a vehicle comes later than the others, and the last window that it may come before.
    pub newcomers: f64,
    /// Whether the fleet is told another utility.
    pub news: bool,
    /// Whether what was learned is put to use.
    pub campaign: bool,
    /// Whether documents count by metadata alone.
    pub metadata: bool,
    /// Whether another key takes the place of the timekeeper's, where there are metadata.
    pub rotates: bool,
    /// The chance a window that the broker's nodes cannot talk for a while.
    pub parted: f64,
    /// How many nodes the broker has.
    pub nodes: usize,
    /// The chance a window that the last of three is killed in it, and there again some time later.
    pub away: f64,
    /// What the broker speaks, and nothing else.
    pub version: Version,
    /// How many beacons there are: at the nodes in turn, and in the regions.
    pub beacons: usize,
    /// Whether they pass on that they are there, and nothing else.
    pub beacons_withhold: bool,
    /// Whether each, where every region has one, reads its own region alone, and of others what their beacons pass on.
    pub beacons_fold: bool,
    /// The chance that a vehicle listens to them.
    pub listens: f64,
    /// The chance a window that a beacon is killed, and there again some time later.
    pub beacon_dies: f64,
    /// How these treat messages.
    pub manners: Manners,
    /// The chance that a vehicle has no network in a window.
    pub absent: f64,
    /// The chance a second that a connection is cut.
    pub cuts: f64,
    /// The chance that it is cut while what a vehicle just said is on its way.
    pub speaking: f64,
    /// What may cross a vehicle's socket in a window, each way.
    pub bytes_max: u64,
    /// The longest way of a packet, in milliseconds.
    pub delay_ms: u64,
    /// The chance a window that a vehicle loses power, at some operation of its disk.
    pub power: f64,
    /// The chance a window that the broker is killed.
    pub broker: f64,
    /// Whether the broker keeps sessions over that.
    pub keeps_sessions: bool,
    /// The chance a window that a vehicle's clock jumps, and how far at most, in seconds.
    pub clock: f64,
    /// How far a clock jumps, in seconds.
    pub jump_s: i64,
    /// The chance that the timekeeper is away when a window's nonce is to be drawn, and until it has closed.
    pub no_nonce: f64,
    /// The chance a second that somebody without a right to it says something.
    pub forged: f64,
    /// The chance a window that a vehicle's disk is full for a while.
    pub full: f64,
    /// The chance a window that the authority reinstates somebody.
    pub reinstates: f64,
    /// The chance a window that a vehicle's conditions do not allow an exchange for a while.
    pub unfit: f64,
}

impl Weather {
    /// Nothing goes wrong.
    #[must_use]
    pub fn fair(vehicles: usize, windows: u32) -> Self {
        Weather {
            vehicles,
            regions: 1,
            asked: ASKED,
            paper: false,
            calendar: Calendar::default(),
            windows,
            pause: 0,
            lies: Vec::new(),
            grows: 0,
            newcomers: 0.0,
            news: false,
            campaign: false,
            metadata: false,
            rotates: false,
            parted: 0.0,
            nodes: 1,
            away: 0.0,
            version: Version::V5,
            beacons: 0,
            beacons_withhold: false,
            beacons_fold: false,
            listens: 0.0,
            beacon_dies: 0.0,
            manners: Manners::default(),
            absent: 0.0,
            cuts: 0.0,
            speaking: 0.0,
            bytes_max: PLENTY,
            delay_ms: 40,
            power: 0.0,
            broker: 0.0,
            keeps_sessions: true,
            clock: 0.0,
            jump_s: 0,
            no_nonce: 0.0,
            forged: 0.0,
            full: 0.0,
            reinstates: 0.0,
            unfit: 0.0,
        }
    }

    /// All windows: calm ones come after those with trouble. A vehicle whose clock was ahead takes part in no window before the
    /// one that it believed to be in; and who came late never hears of lies that do not stand on the board any more, but they
    /// are forgotten by all after eight windows.
    #[must_use]
    pub fn all_windows(&self) -> u32 {
        self.windows + self.calm_windows()
    }

    /// How many of them are calm.
    #[must_use]
    pub fn calm_windows(&self) -> u32 {
        let ahead =
            if self.clock > 0.0 { self.jump_s as u32 / self.calendar.period_s + 1 } else { 0 };
        ahead + 10
    }

    /// Whether no honest vehicle may ever be thought a liar: also when as few vote as may, no more than half of them lie.
    #[must_use]
    pub fn liars_are_few(&self) -> bool {
        let voters = (self.vehicles - 1).min(9);
        let all_vote = self.only_lies() && 2 * self.lies.len() <= voters;
        all_vote || 2 * self.lies.len() <= voters / 2 + 1
    }

    /// Whether nothing goes wrong but that some lie.
    #[must_use]
    pub fn only_lies(&self) -> bool {
        let Weather { vehicles, regions, asked, paper, calendar, windows, pause, delay_ms, .. } =
            *self;
        let (metadata, lies) = (self.metadata, self.lies.clone());
        let fair = Weather::fair(vehicles, windows);
        *self
            == Weather { regions, asked, paper, calendar, pause, lies, delay_ms, metadata, ..fair }
    }

    /// The weather of a seed: each trouble is there in about half of all worlds; in every fourth there are only lies.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let ((regions, folds), weather) = (several(seed), Self::of_one_region(seed));
        // Where each region has one.
        let beacons_fold = folds && weather.beacons >= regions;
        let grows = grows(seed, &weather);
        Weather { regions, beacons_fold, grows, ..weather }
    }

    fn of_one_region(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 3);
        let vehicles = dice.between(2, 8) as usize;
        let windows = dice.between(4, 9) as u32;
        let delay_ms = [5, 40, 300, 2_000][dice.between(0, 4) as usize];
        let only_lies = seed % 4 == 3;
        let liars = if only_lies || dice.happens(0.4) {
            dice.between(u64::from(only_lies), (vehicles as u64 - 1) / 2 + 1) as usize
        } else {
            0
        };
        let lies = (0..liars).map(|_| LIES[dice.between(0, LIES.len() as u64) as usize]).collect();
        let lies = together(lies, seed);
        let paper = Dice::new(seed, 21).happens(0.2);
        let (vehicles, asked) = large(seed).unwrap_or((vehicles, ASKED));
        let (calendar, pause) = slow(seed).unwrap_or_default();
        let windows = windows + pause;
        if only_lies {
            let fair = Weather::fair(vehicles, windows);
            return Weather { asked, paper, calendar, pause, lies, delay_ms, ..fair };
        }
        let (version, three, away) = clusters(seed);
        // Who speaks 3.1.1 is sent all that stands there with every connection: by the slowest lines that takes as long as windows
        // are open here.
        let delay_ms = if version == Version::V311 { delay_ms.min(300) } else { delay_ms };
        let mut some = |chances: [f64; 3]| {
            let one = dice.between(0, 6) as usize;
            chances.get(one).copied().unwrap_or(0.0)
        };
        Weather {
            absent: some([0.1, 0.3, 0.6]),
            cuts: some([0.005, 0.02, 0.08]),
            speaking: some([0.005, 0.02, 0.08]),
            power: some([0.05, 0.2, 0.5]),
            broker: some([0.1, 0.3, 0.3]),
            clock: some([0.05, 0.2, 0.2]),
            no_nonce: some([0.1, 0.2, 0.2]),
            forged: some([0.02, 0.1, 0.3]),
            full: some([0.05, 0.2, 0.2]),
            newcomers: some([0.2, 0.5, 0.5]),
            manners: Manners {
                repeats: some([0.02, 0.1, 0.3]),
                holds: some([0.02, 0.1, 0.3]),
                drops: some([0.02, 0.1, 0.3]),
                // Where no node is killed, nothing is lost.
                loses: [0.0, 0.1, 0.5][Dice::new(seed, 23).between(0, 3) as usize],
            },
            parted: some([0.2, 0.5, 0.5]),
            nodes: three.unwrap_or(dice.between(1, 3) as usize),
            away,
            version,
            bytes_max: [PLENTY, PLENTY, PLENTY, 5_000][dice.between(0, 4) as usize],
            keeps_sessions: dice.happens(0.5),
            news: dice.happens(0.3),
            jump_s: [2, 40, 400][dice.between(0, 3) as usize],
            campaign: dice.happens(0.4),
            metadata: seed.is_multiple_of(2),
            rotates: seed % 5 < 2,
            beacons: [0, 0, 1, 2][dice.between(0, 4) as usize],
            listens: [0.3, 1.0][dice.between(0, 2) as usize],
            beacon_dies: [0.0, 0.2, 0.5][dice.between(0, 3) as usize],
            beacons_withhold: dice.happens(0.2),
            // What else is drawn for a seed stays what it is.
            reinstates: [0.0, 0.1, 0.4][Dice::new(seed, 12).between(0, 3) as usize],
            unfit: [0.0, 0.1, 0.4][Dice::new(seed, 16).between(0, 3) as usize],
            lies,
            delay_ms,
            asked,
            paper,
            calendar,
            pause,
            ..Weather::fair(vehicles, windows)
        }
    }
}

/// In some worlds the broker speaks 3.1.1 alone, as NATS does, and in some it has three nodes, of which one is away now and then: what
/// it speaks, how many nodes it has, and the chance a window that one goes. What else is drawn for a seed stays what it is.
fn clusters(seed: u64) -> (Version, Option<usize>, f64) {
    let mut dice = Dice::new(seed, 31);
    let version = if dice.happens(0.2) { Version::V311 } else { Version::V5 };
    let three = dice.happens(0.2);
    let away = if three { [0.2, 0.6][dice.between(0, 2) as usize] } else { 0.0 };
    (version, three.then_some(3), away)
}

/// How liars lie who lie so: nobody colludes alone.
fn together(mut lies: Vec<Lie>, seed: u64) -> Vec<Lie> {
    let all = lies.contains(&Lie::Colludes).then_some(Lie::Colludes);
    if let Some(lie) = newer_lie(seed).or(all) {
        lies.fill(lie);
    }
    lies
}

/// In few worlds all liars lie in one of the ways that came last. What else is drawn for a seed stays what it is.
fn newer_lie(seed: u64) -> Option<Lie> {
    let mut dice = Dice::new(seed, 22);
    let lie = [Lie::Copies, Lie::GoodAsWorst][dice.between(0, 2) as usize];
    dice.happens(0.2).then_some(lie)
}

/// In few worlds there are so many vehicles that not all vote on a claim, or contribute: how many there are, and are asked. What
/// else is drawn for a seed stays what it is.
fn large(seed: u64) -> Option<(usize, u16)> {
    let mut dice = Dice::new(seed, 19);
    let vehicles = [11, 16][dice.between(0, 2) as usize];
    let asked = [4, ASKED][dice.between(0, 2) as usize];
    dice.happens(0.03).then_some((vehicles, asked))
}

/// In some worlds vehicles are in two regions: how many there are, and whether beacons would fold. What else is drawn for a seed stays
/// what it is.
fn several(seed: u64) -> (usize, bool) {
    let mut dice = Dice::new(seed, 24);
    (if dice.happens(0.3) { 2 } else { 1 }, dice.happens(0.5))
}

/// In some worlds without liars the fleet grows: by so few that those who were there still elect, or in some by more where votes come in
/// time. Who learns late that its particle was elected has given the slot away: nobody who comes after that can have it, nor vote
/// (docs/decisions/0114). What else is drawn for a seed stays what it is.
fn grows(seed: u64, weather: &Weather) -> usize {
    let mut dice = Dice::new(seed, 33);
    let may = dice.happens(0.3) && weather.lies.is_empty() && !weather.campaign;
    let most = (weather.vehicles * 2 / 3).max(1) as u64;
    let grows = dice.between(1, most + 1) as usize;
    let majority = (weather.vehicles - 1).min(9) / 2 + 1;
    let they_elect = weather.vehicles - grows > majority;
    let in_time = weather.parted == 0.0
        && weather.away == 0.0
        && weather.absent == 0.0
        && weather.bytes_max == PLENTY;
    if may && !weather.only_lies() && (they_elect || in_time) { grows } else { 0 }
}

/// In few worlds there are days between windows, and so many windows in which nobody is there that all records grow too old.
fn slow(seed: u64) -> Option<(Calendar, u32)> {
    let slow = Calendar { period_s: 2 * 86_400 };
    Dice::new(seed, 20).happens(0.05).then_some((slow, PAUSE))
}
