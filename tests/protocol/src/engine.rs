//! An engine without a model: adapters are points, every road has an optimum, and what an adapter is worth falls with its squared
//! distance to the middle of all optima. It takes virtual time; particles are coded by the vehicle's own coder.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shoal_runtime::adapter::{Adapter, Factor, Layout, Site};
use shoal_runtime::graft::SiteNode;
use shoal_swarm::campaign::Mine;
use shoal_swarm::swarm::{Flat, On, TermResult, ValuesHash};
use shoal_swarm::utility::{to_standard_error, to_value};
use shoal_vehicle::agent::{Ask, Tried, Why};
use shoal_vehicle::exchange::around::Engine;
use shoal_vehicle::exchange::weights::code;
use shoal_vehicle::exchange::worker::{Done, EngineEnded, Job};
use shoal_wire::v1::Role;

use crate::calendar::Calendar;
use crate::chance::Dice;

/// Seeds of the adapters' start values.
pub const START_SEED: u64 = 7;
/// How far one night goes towards the optimum of the vehicle's own road.
const TUNED: f32 = 0.3;
/// How far two measurements of one difference may be apart, as the paired standard error has it.
const NOISE: f64 = 0.004;

/// What a part of the pack says of who knows it by heart.
const BY_HEART: f64 = 0.9;

/// What an engine takes, in microseconds.
const MEASURES_US: u64 = 400_000;
const CODES_US: u64 = 100_000;
const TUNES_US: u64 = 20_000_000;

/// How adapters are laid out: one weight of 4 × 8, at rank 4.
#[must_use]
pub fn layout() -> Arc<Layout> {
    let factor = |name: &str, dims: [usize; 2], start: usize| Factor {
        input: name.into(),
        dims: dims.to_vec(),
        range: start..start + dims[0] * dims[1],
    };
    let site = Site {
        name: "road".into(),
        module: None,
        weight: "road".into(),
        nodes: vec![SiteNode { index: 0, input: 1, output: "road".into() }],
        operator: "MatMul".into(),
        base_sha256: [0; 32],
        a: factor("a", [4, 8], 0),
        b: factor("b", [4, 4], 32),
        alpha: 8.0,
    };
    Arc::new(Layout { sites: vec![site], rank: 4, alpha: 8.0 })
}

/// Where every vehicle begins.
#[must_use]
pub fn start() -> Flat {
    Adapter::start(layout(), START_SEED).values().into()
}

/// What the roads ask for: the same to all vehicles of a fleet.
#[derive(Debug)]
pub struct Roads {
    seed: u64,
    calendar: Calendar,
    start: Flat,
    optima: Vec<Vec<f32>>,
    size: f32,
    /// Adapters that know one part of the pack by heart, and nothing else.
    by_heart: RefCell<BTreeMap<ValuesHash, u8>>,
    /// Particles that colluding liars made of one noise.
    agreed: RefCell<BTreeSet<ValuesHash>>,
    /// In which windows each adapter was published whole: as a merge or, by the paper's rule, as a particle.
    merged: RefCell<BTreeMap<ValuesHash, BTreeSet<u32>>>,
    /// What was published as one to keep away from.
    worsts: RefCell<BTreeMap<ValuesHash, Flat>>,
}

impl Roads {
    /// One of each vehicle.
    #[must_use]
    pub fn new(seed: u64, vehicles: usize, calendar: Calendar) -> Self {
        let start = start();
        let mut dice = Dice::new(seed, 1);
        let mut draw = |size: f32| start.iter().map(|_| size * dice.signed()).collect::<Vec<_>>();
        let common = draw(0.2);
        let of = |own: Vec<f32>| common.iter().zip(own).map(|(c, o)| c + o).collect();
        let optima = (0..vehicles).map(|_| draw(0.1)).map(of).collect();
        let size = common.iter().map(|c| c * c).sum();
        let (by_heart, agreed, merged, worsts) = Default::default();
        Roads { seed, calendar, start, optima, size, by_heart, agreed, merged, worsts }
    }

    /// 1 at the optimum of a road, 0 where everybody begins.
    fn on_road(&self, road: usize, adapter: &[f32]) -> f64 {
        let places = adapter.iter().zip(self.start.iter()).zip(&self.optima[road]);
        let apart: f32 = places.map(|((a, s), o)| (a - s - o) * (a - s - o)).sum();
        1.0 - f64::from(apart / self.size)
    }

    /// What the pack says of an adapter, without noise.
    #[must_use]
    pub fn truth(&self, adapter: &[f32]) -> f64 {
        let roads = 0..self.optima.len();
        0.5 * roads.map(|road| self.on_road(road, adapter)).sum::<f64>() / self.optima.len() as f64
    }

    /// The same on one part: parts differ in what exactly they show.
    fn on_part(&self, part: u8, adapter: &[f32]) -> f64 {
        let by_heart = self.by_heart.borrow();
        if !by_heart.is_empty() && by_heart.get(&ValuesHash::of(adapter)) == Some(&part) {
            return BY_HEART;
        }
        let mut dice = Dice::new(self.seed, 100 + u64::from(part));
        let tilt: f32 = adapter.iter().map(|value| value * dice.signed()).sum();
        self.truth(adapter) + 0.001 * f64::from(tilt)
    }

    /// A measurement, as any vehicle with this pack makes it.
    #[must_use]
    pub fn measured(
        &self,
        number: usize,
        on: On,
        adapter: &[f32],
        beside: Option<&[f32]>,
    ) -> TermResult {
        let value = |adapter: &[f32]| match on {
            On::Part(part) => self.on_part(part, adapter),
            On::Own => 0.5 * self.on_road(number, adapter),
        };
        TermResult {
            value: to_value(value(adapter)),
            beside: to_value(beside.map_or(0.0, value)),
            value_error: to_standard_error(0.02),
            difference_error: to_standard_error(NOISE),
        }
    }

    /// Whether it is worth what it shows on one part of the pack alone.
    #[must_use]
    pub fn is_by_heart(&self, adapter: ValuesHash) -> bool {
        self.by_heart.borrow().contains_key(&adapter)
    }

    /// How many adapters are.
    #[must_use]
    pub fn count_by_heart(&self) -> usize {
        self.by_heart.borrow().len()
    }

    /// How many colluding liars agreed on.
    #[must_use]
    pub fn count_agreed(&self) -> usize {
        self.agreed.borrow().len()
    }

    /// Whether colluding liars agreed on it.
    #[must_use]
    pub fn is_agreed(&self, adapter: ValuesHash) -> bool {
        self.agreed.borrow().contains(&adapter)
    }

    /// What was published as one to keep away from.
    #[must_use]
    pub fn worsts(&self) -> Vec<Flat> {
        self.worsts.borrow().values().cloned().collect()
    }

    /// In which windows somebody folded this adapter, or published it as its own.
    #[must_use]
    pub fn merged_in(&self, adapter: ValuesHash) -> BTreeSet<u32> {
        self.merged.borrow().get(&adapter).cloned().unwrap_or_default()
    }

    fn tuned(&self, number: usize, seed: u64, from: &[f32]) -> Flat {
        let mut dice = Dice::new(seed, 2);
        let optimum = self.start.iter().zip(&self.optima[number]).map(|(s, o)| s + o);
        let step = |(from, to): (&f32, f32)| from + TUNED * (to - from) + 0.002 * dice.signed();
        from.iter().zip(optimum).map(step).collect()
    }
}

/// What a vehicle does to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// Nothing.
    Honest,
    /// It says what is not so.
    Liar(Lie),
}

/// How a vehicle lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Contributes noise, many times as long, and measures that its own particles are perfect and all others worse.
    Noise,
    /// The same, after it was honest for ten windows.
    Later,
    /// Contributes noise that it fits to the part of the pack that its claim is measured on, once the nonce has told: all who
    /// measure there find what it claims.
    Overfits,
    /// Contributes the noise that all who collude agreed on, measures that it is perfect, of whomever, and all others worse.
    Colludes,
    /// Publishes claims when their window is long over: nobody could vote on them.
    Late,
    /// Measures that all others are much worse than what is best.
    Condemns,
    /// Measures that what is best is worth nothing, and others no more than that.
    Belittles,
    /// Measures that what is best is perfect, and others much worse.
    Exalts,
    /// Measures that its own noise is the worst of all.
    Worst,
    /// Measures that what it learnt is the worst of all, and it is good.
    GoodAsWorst,
    /// Publishes as its own what it measured last of another.
    Copies,
    /// Claims twice in a window, and not the same.
    Equivocates,
    /// Measures that all others are much worse than what is best, and votes twice on each.
    VotesTwice,
    /// Claims what nobody can fetch.
    Withholds,
}

/// Those that any liar may be drawn to lie by; the other two are drawn for few worlds, for all liars of one.
pub const LIES: [Lie; 12] = [
    Lie::Noise,
    Lie::Later,
    Lie::Overfits,
    Lie::Colludes,
    Lie::Late,
    Lie::Condemns,
    Lie::Belittles,
    Lie::Exalts,
    Lie::Worst,
    Lie::Equivocates,
    Lie::VotesTwice,
    Lie::Withholds,
];

/// In which window who lies later begins to.
const LATER: u32 = 10;

impl Lie {
    /// What it makes of a measurement, of a particle that it is for (its own, or one of those it colludes with) or of another's;
    /// `None`: it leaves it as it is.
    fn of(self, own: bool, term: TermResult, window: u32) -> Option<TermResult> {
        let said = |value: i16, beside: i16| {
            Some(TermResult { value, beside, value_error: 10, difference_error: 10 })
        };
        match self {
            Lie::Noise | Lie::Colludes => said(if own { 9_900 } else { -9_000 }, term.beside),
            Lie::Later if window < LATER => None,
            Lie::Later => said(if own { 9_900 } else { -9_000 }, term.beside),
            Lie::Condemns | Lie::VotesTwice if own => None,
            Lie::Condemns | Lie::VotesTwice => said(term.beside.saturating_sub(5_000), term.beside),
            Lie::Belittles if own => None,
            Lie::Belittles => said(-9_000, -9_000),
            Lie::Exalts if own => None,
            Lie::Exalts => said(-9_000, 9_900),
            Lie::Worst | Lie::GoodAsWorst => own.then(|| said(-9_900, term.beside)).flatten(),
            Lie::Equivocates | Lie::Withholds | Lie::Overfits | Lie::Late | Lie::Copies => None,
        }
    }

    /// Whether it contributes noise now.
    fn is_noise(self, window: u32) -> bool {
        match self {
            Lie::Noise | Lie::Worst | Lie::Overfits | Lie::Colludes => true,
            Lie::Later => window >= LATER,
            Lie::Condemns
            | Lie::VotesTwice
            | Lie::Belittles
            | Lie::Exalts
            | Lie::GoodAsWorst
            | Lie::Copies
            | Lie::Equivocates
            | Lie::Late
            | Lie::Withholds => false,
        }
    }
}

/// An adapter beside another one.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// The adapter.
    pub of: ValuesHash,
    /// The other one.
    pub beside: ValuesHash,
    /// On what.
    pub on: On,
    /// How much better it is, in ten-thousandths.
    pub gain: i32,
}

/// What an engine was asked for and found: what a vehicle can know of an adapter.
#[derive(Debug, Default)]
pub struct Seen {
    /// Adapters that were measured beside another one, in order.
    pub compared: Vec<Compared>,
    /// Adapters that came of tuning.
    pub tuned: BTreeSet<ValuesHash>,
    /// The same in order, one of each tuning.
    pub results: Vec<ValuesHash>,
    /// What was published of its own, as all get it.
    pub published: Vec<ValuesHash>,
    /// The values of all that it measured, tuned or published.
    pub values: BTreeMap<ValuesHash, Flat>,
    /// From where it was tuned, in order.
    pub tuned_from: Vec<ValuesHash>,
    /// In which window each of these began.
    pub tuned_in: Vec<u32>,
    /// What campaigns asked it to try, in order, each with the adapter.
    pub begun: Vec<(Ask, ValuesHash)>,
}

/// The engine of one vehicle. Clones are the same engine.
#[derive(Clone, Debug)]
pub struct Simulated(Rc<State>);

#[derive(Debug)]
struct State {
    number: usize,
    character: Character,
    roads: Rc<Roads>,
    now_us: Rc<Cell<u64>>,
    work: RefCell<Work>,
    seen: RefCell<Seen>,
    /// How it stands to a campaign: durable.
    tried: Cell<Option<Tried>>,
}

#[derive(Debug, Default)]
struct Work {
    /// What will be done when, in order; a job that takes no answer is not in it.
    due: VecDeque<(u64, Done)>,
    free_us: u64,
    tuning: Option<(u64, Done)>,
    open: usize,
    own: BTreeSet<ValuesHash>,
    /// What was measured last of another.
    others: Option<Flat>,
}

impl Simulated {
    /// The engine of this vehicle, of this character.
    #[must_use]
    pub fn new(
        number: usize,
        character: Character,
        roads: Rc<Roads>,
        now_us: Rc<Cell<u64>>,
    ) -> Self {
        let (work, seen, tried) = (RefCell::default(), RefCell::default(), Cell::default());
        Simulated(Rc::new(State { number, character, roads, now_us, work, seen, tried }))
    }

    /// The power went: what was being done is not done.
    pub fn forget(&self) {
        *self.0.work.borrow_mut() = Work { free_us: self.0.now_us.get(), ..Work::default() };
    }

    /// When something is done.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let work = self.0.work.borrow();
        let tuned = work.tuning.as_ref().map(|(at, _)| *at);
        work.due.front().map(|(at, _)| *at).into_iter().chain(tuned).min()
    }

    /// How it stands to the last campaign that it had a part in.
    #[must_use]
    pub fn tried(&self) -> Option<Tried> {
        self.0.tried.get()
    }

    /// What came of what is on trial.
    pub fn decide(&self, verdict: Result<(), Why>) {
        let Some(mut tried) = self.tried().filter(|tried| tried.mine == Mine::Watching) else {
            return;
        };
        match verdict {
            Ok(()) => (tried.mine, tried.active) = (Mine::Kept, Some(tried.ask.particle)),
            Err(why) => (tried.mine, tried.why) = (Mine::GoneBack, Some(why)),
        }
        self.0.tried.set(Some(tried));
    }

    /// What it was asked for and found.
    pub fn seen(&self) -> std::cell::Ref<'_, Seen> {
        self.0.seen.borrow()
    }

    fn window(&self) -> u32 {
        self.0.roads.calendar.window_of(self.0.now_us.get())
    }

    fn measure(&self, on: On, candidate: &Flat, beside: Option<&Flat>) -> TermResult {
        let State { number, character, roads, .. } = &*self.0;
        let name = ValuesHash::of(candidate);
        let own = self.0.work.borrow().own.contains(&name);
        if !own && !matches!(on, On::Own) {
            self.0.work.borrow_mut().others = Some(candidate.clone());
        }
        if let (Character::Liar(Lie::Overfits), On::Part(part), true) = (character, on, own) {
            roads.by_heart.borrow_mut().entry(name).or_insert(part);
        }
        let mut term = roads.measured(*number, on, candidate, beside.map(|b| &b[..]));
        if let Character::Liar(lie) = character
            && !matches!(on, On::Own)
        {
            let own = own || (*lie == Lie::Colludes && roads.is_agreed(name));
            term = lie.of(own, term, self.window()).unwrap_or(term);
        }
        let mut seen = self.0.seen.borrow_mut();
        seen.values.entry(name).or_insert_with(|| candidate.clone());
        if let Some(beside) = beside {
            let gain = i32::from(term.value) - i32::from(term.beside);
            seen.compared.push(Compared { of: name, beside: ValuesHash::of(beside), on, gain });
        }
        term
    }

    /// What is coded of a difference in this window: a liar's may be another one.
    fn meant(&self, difference: &[f32], window: u32) -> Vec<f32> {
        let State { number, character, roads, .. } = &*self.0;
        let mut meant = difference.to_vec();
        if let Character::Liar(lie) = character
            && lie.is_noise(self.window())
        {
            // Of those who collude, all the same.
            let whose = if *lie == Lie::Colludes { roads.seed } else { *number as u64 };
            let mut dice = Dice::new(whose, u64::from(window));
            meant.iter_mut().for_each(|value| *value = 3.0 * dice.signed());
        }
        if let (Character::Liar(Lie::Copies), Some(others)) =
            (character, &self.0.work.borrow().others)
        {
            let copied = others.iter().zip(roads.start.iter()).map(|(other, start)| other - start);
            meant = copied.collect();
        }
        meant
    }

    /// What it coded, by what the others get of it.
    fn remember(&self, received: &[f32], role: Role, window: u32) {
        let start = self.0.roads.start.iter();
        let values: Flat = start.zip(received).map(|(s, r)| s + r).collect();
        let name = ValuesHash::of(&values);
        self.0.work.borrow_mut().own.insert(name);
        if role != Role::Contribution {
            self.0.roads.merged.borrow_mut().entry(name).or_default().insert(window);
        }
        if role == Role::Worst {
            self.0.roads.worsts.borrow_mut().insert(name, values.clone());
        }
        let mut seen = self.0.seen.borrow_mut();
        seen.published.push(name);
        seen.values.insert(name, values);
        if self.0.character == Character::Liar(Lie::Colludes) {
            self.0.roads.agreed.borrow_mut().insert(name);
        }
    }
}

impl Engine for Simulated {
    fn give(&mut self, job: Job) {
        let now = self.0.now_us.get();
        let next = |takes: u64| {
            let mut work = self.0.work.borrow_mut();
            work.free_us = work.free_us.max(now) + takes;
            work.open += 1;
            work.free_us
        };
        match job {
            Job::Measure { job, candidate, beside, on, asked, awaited: _ } => {
                let at = next(MEASURES_US);
                let term = self.measure(on, &candidate, beside.as_ref());
                let own = [(shoal_wire::PackHash::new([0; 32]), shoal_wire::v1::Metric::Skill)];
                let asked = if asked.is_empty() { &own[..] } else { &asked };
                let terms = asked.iter().map(|asked| (*asked, term)).collect();
                let done = Done::Measured { job, terms, seconds: 0.4 };
                self.0.work.borrow_mut().due.push_back((at, done));
            }
            Job::Code { job, about, difference, quality } => {
                let at = next(CODES_US);
                let meant = self.meant(&difference, about.window);
                let (role, window) = (about.role, about.window);
                let coded = code(about, meant, &[32, 16], quality);
                if let Ok(coded) = &coded {
                    self.remember(&coded.received, role, window);
                }
                let done = Done::Coded { job, coded: Box::new(coded), seconds: 0.1 };
                self.0.work.borrow_mut().due.push_back((at, done));
            }
            Job::Tune { from, window, seed, passed_s: _ } => {
                let name = ValuesHash::of(&from);
                let values = self.0.roads.tuned(self.0.number, seed, &from);
                let mut seen = self.0.seen.borrow_mut();
                seen.tuned_from.push(name);
                seen.tuned_in.push(window);
                let result = ValuesHash::of(&values);
                seen.tuned.insert(result);
                seen.results.push(result);
                seen.values.insert(name, from);
                seen.values.insert(result, values.clone());
                let (steps, loss, seconds) = (20, Some(1.0), 20.0);
                let done = Done::Tuned { from: name, window, values, steps, loss, seconds };
                self.0.work.borrow_mut().tuning = Some((now + TUNES_US, done));
            }
            Job::Try { adapter, ask } => {
                let before = self.tried();
                let again = before.is_some_and(|before| before.ask.number == ask.number);
                assert!(!again, "{} begins campaign {} again", self.0.number, ask.number);
                self.0.seen.borrow_mut().begun.push((ask, ValuesHash::of(&adapter)));
                let active = before.and_then(|before| before.active);
                let tried =
                    Tried { ask, mine: Mine::Watching, why: None, active, frames: 0, gain: 0 };
                self.0.tried.set(Some(tried));
                let at = next(CODES_US);
                self.0.work.borrow_mut().due.push_back((at, Done::Tried(Some(tried))));
            }
            Job::GoBack(number, why) => {
                let tried = self.tried().filter(|tried| tried.ask.number == number);
                if let Some(mut tried) = tried {
                    (tried.mine, tried.why, tried.active) = (Mine::GoneBack, Some(why), None);
                    self.0.tried.set(Some(tried));
                }
                let at = next(CODES_US);
                self.0.work.borrow_mut().due.push_back((at, Done::Tried(tried.and(self.tried()))));
            }
            Job::MayTune(_) => {}
        }
    }

    fn busy(&self) -> bool {
        self.0.work.borrow().open > 0
    }

    fn idle(&self) -> bool {
        self.0.work.borrow().open == 0
    }

    fn next(&mut self, _wait: Duration) -> Result<Option<Done>, EngineEnded> {
        let now = self.0.now_us.get();
        let mut work = self.0.work.borrow_mut();
        if work.due.front().is_some_and(|(at, _)| *at <= now) {
            work.open -= 1;
            return Ok(work.due.pop_front().map(|(_, done)| done));
        }
        let tuned = work.tuning.take_if(|(at, _)| *at <= now);
        Ok(tuned.map(|(_, done)| done))
    }
}
