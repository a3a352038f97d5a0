//! Shoal's own rules, by the very cores that vehicles run: sealed records over a board that retains, one queue of what
//! happens in virtual time. A measurement is made when its answer is due, together with all others that wait.

mod believing;
mod board;
mod lying;
mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_swarm::privacy::{Ledger, Privacy, Private};
use shoal_swarm::roster::{RejectRoster, Roster, part};
use shoal_swarm::swarm::{Conduct, Flat, RejectSetup, Saved, Setup, Swarm, TermResult, ValuesHash};
use shoal_swarm::utility::Utility;
use shoal_vehicle::exchange::measured::term;
use shoal_wire::v1::{Measured, Rule, SwarmDocument, SwarmDocumentFields, UtilityDocument};
use shoal_wire::{KeyId, LayoutHash, ModelHash, SecretKey};

use self::believing::{Belief, believed};
use self::board::{Board, Record, drawn};
use self::lying::Liar;
use self::shell::{Asked, Shell, Ways};
use super::{Fleet, Method, MethodError, Window, lie, moved};
use crate::config::{CalendarConfig, NetworkConfig, SimConfig};
use crate::lab::{Base, On, Tune, Who};

/// How long a measurement takes on a vehicle, in milliseconds.
const MEASURE_MS: u64 = 4_000;
/// Before a window opens the night is over, and before it closes nothing more is begun, in milliseconds.
const NIGHT_ENDS_MS: u64 = 10_000;
const CLOSING_MS: u64 = 30_000;

/// Why the cores cannot be run.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum CoresError {
    #[error("the roster is refused")]
    Roster(#[from] RejectRoster),
    #[error("the swarm is refused")]
    Setup(#[from] RejectSetup),
    #[error("{what} is refused: {why}")]
    Document { what: &'static str, why: String },
}

/// Who does what in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duties {
    /// How many vehicles a nonce asks for a contribution.
    pub(super) asked: u16,
    /// What vehicles settle by themselves.
    pub(super) conduct: Conduct,
    /// Whether vehicles measure what others claim.
    pub(super) measure: bool,
    /// How contributions are made private.
    pub(super) privacy: Option<Privacy>,
}

/// Something that happens to a vehicle, or to nobody.
#[derive(Clone, Debug)]
enum Happening {
    Tuned,
    Open,
    Closing,
    Closed,
    Nonce,
    Deliver(Record),
    Measured { job: u64 },
    Plain { job: u64 },
    Coded { job: u64, coded: usize },
    Fetched { particle: shoal_wire::ParticleId, values: Option<Flat> },
    Wake,
}

/// A measurement that was asked for and whose answer is not due yet.
struct Waiting {
    vehicle: usize,
    job: u64,
    candidate: Flat,
    beside: Option<Flat>,
    /// One a term.
    on: Vec<On>,
    /// What is claimed of a candidate that is believed: `candidate` is then what it stands beside.
    claimed: Option<Vec<Measured>>,
    /// Once it was made.
    terms: Option<Vec<TermResult>>,
}

/// A fleet of cores.
pub(super) struct Cores<'a> {
    fleet: Fleet,
    base: &'a Base,
    tensors: Vec<u32>,
    /// Terms of the utility.
    terms: u8,
    shells: Vec<Shell>,
    timekeeper: SecretKey,
    board: Board,
    calendar: CalendarConfig,
    network: NetworkConfig,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), (usize, Happening)>,
    count: u64,
    waiting: Vec<Waiting>,
    window: u32,
    /// Best by the records at the end of the last window.
    best: Option<Flat>,
    /// Vehicles from here on have reckless drivers; `None`: nobody learns from drivers.
    reckless_from: Option<usize>,
    /// What each vehicle contributed in it, as others read it.
    published: Vec<Option<Flat>>,
}

impl<'a> Cores<'a> {
    pub(super) fn new(
        fleet: Fleet,
        rule: Rule,
        duties: Duties,
        config: &SimConfig,
        base: &'a Base,
        utility: &UtilityDocument,
    ) -> Result<Self, CoresError> {
        let keys: Vec<SecretKey> = (0..fleet.vehicles).map(|number| key(&fleet, number)).collect();
        let roster = Roster::new(keys.iter().map(|key| key.public().id()).collect())?;
        let document = document(&fleet, rule, duties.asked, base)?;
        let utility = Utility::new(utility);
        let terms = utility.terms().len() as u8;
        let ways = ways(&fleet, &keys, duties);
        let mut shells = Vec::new();
        for (number, (ways, key)) in ways.into_iter().zip(keys).enumerate() {
            // A liar folds, and claims, whether it is drawn or not.
            let folders = if ways.liar.is_some() { usize::MAX } else { duties.conduct.folders };
            let setup = Setup {
                vehicle: key.public().id(),
                document,
                start: fleet.start.clone(),
                utility: utility.clone(),
                roster: roster.clone(),
                period_seconds: config.calendar.period_s,
                conduct: Conduct { folders, ..duties.conduct },
                private: duties.privacy.map(|privacy| Private {
                    privacy,
                    ledger: Ledger::default(),
                    noise: fleet.noise_of(number),
                }),
            };
            let swarm = Swarm::new(setup, Saved::default(), |_hash| None)?;
            shells.push(Shell::new(key, swarm, fleet.start.clone(), ways));
        }
        Ok(Cores {
            base,
            tensors: base.tensors(),
            terms,
            shells,
            timekeeper: key(&fleet, u32::MAX),
            board: Board::default(),
            calendar: config.calendar,
            network: config.network,
            now_ms: 0,
            queue: BTreeMap::new(),
            count: 0,
            waiting: Vec::new(),
            window: 0,
            best: None,
            reckless_from: config
                .drivers
                .as_ref()
                .map(|drivers| config.vehicles.saturating_sub(drivers.reckless) as usize),
            published: Vec::new(),
            fleet,
        })
    }

    fn at(&mut self, ms: u64, vehicle: usize, happening: Happening) {
        self.count += 1;
        self.queue.insert((ms, self.count), (vehicle, happening));
    }

    /// When the window opens, in milliseconds.
    fn opens_ms(&self) -> u64 {
        u64::from(self.window) * u64::from(self.calendar.period_s) * 1000
    }

    /// Makes all measurements that wait, several at a time.
    fn measure(&mut self, window: &mut Window<'_, '_>) -> Result<(), MethodError> {
        let open = || self.waiting.iter().filter(|waiting| waiting.terms.is_none());
        let mut asked: BTreeMap<(ValuesHash, On), Flat> = BTreeMap::new();
        let mut made = 0;
        for one in open() {
            for values in [Some(&one.candidate), one.beside.as_ref()].into_iter().flatten() {
                let hash = ValuesHash::of(values);
                asked.extend(one.on.iter().map(|on| ((hash, *on), values.clone())));
                made += one.on.len();
            }
        }
        let list: Vec<(Flat, On)> =
            asked.iter().map(|((_, on), values)| (values.clone(), *on)).collect();
        let measured = window.lab.measure(&list)?;
        // Done once here, and by each vehicle that asks for it.
        window.lab.made_besides((made - list.len()) as u64);
        let found: BTreeMap<_, _> = asked.into_keys().zip(measured).collect();
        for one in self.waiting.iter_mut().filter(|waiting| waiting.terms.is_none()) {
            let candidate = ValuesHash::of(&one.candidate);
            let beside = one.beside.as_ref().map(|beside| ValuesHash::of(beside));
            // All terms, or none.
            let terms = one.on.iter().map(|on| {
                let beside = beside.and_then(|beside| found.get(&(beside, *on)));
                term(found.get(&(candidate, *on))?, beside)
            });
            let terms = terms.collect::<Option<Vec<_>>>().unwrap_or_default();
            one.terms = Some(match &one.claimed {
                Some(claimed) => believed(claimed, &terms),
                None => terms,
            });
        }
        Ok(())
    }

    /// Who fits what it claims to a part of the pack does so once the nonce has said which: from what it tuned, for a night.
    fn fit(&mut self, window: &mut Window<'_, '_>, tuned: &[Flat]) -> Result<(), MethodError> {
        let (number, part) = (window.number, part(&drawn(&self.timekeeper, window.number)));
        let (mut who, mut nights) = (Vec::new(), Vec::new());
        for (vehicle, (shell, from)) in self.shells.iter_mut().zip(tuned).enumerate() {
            shell.fitted = None;
            let fits = shell.ways.liar.as_ref().is_some_and(|liar| liar.fits(number));
            if fits && window.present.get(vehicle).copied().unwrap_or(false) {
                let (from, seed) = (from.clone(), self.fleet.night_seed(vehicle as u32, number));
                let fit = Who::Part(part);
                who.push(vehicle);
                nights.push(Tune {
                    who: fit,
                    window: number,
                    from,
                    seed,
                    pull: None,
                    teacher: None,
                });
            }
        }
        for (vehicle, fitted) in who.into_iter().zip(window.lab.tune(&nights)?) {
            if let Some(shell) = self.shells.get_mut(vehicle) {
                shell.fitted = Some(fitted);
            }
        }
        Ok(())
    }

    /// A measurement that a vehicle asks for.
    fn waiting(
        &self,
        vehicle: usize,
        job: u64,
        on: shoal_swarm::swarm::On,
        candidate: Flat,
        beside: Option<Flat>,
    ) -> Waiting {
        let on = match on {
            shoal_swarm::swarm::On::Part(part) => {
                (0..self.terms).map(|term| On::Part { term, part }).collect()
            }
            shoal_swarm::swarm::On::Own => vec![On::OwnPack(vehicle as u32)],
        };
        Waiting { vehicle, job, candidate, beside, on, claimed: None, terms: None }
    }

    /// Lets its answer be due when the vehicle's engine has done it.
    fn ask(&mut self, waiting: Waiting) {
        let (vehicle, job) = (waiting.vehicle, waiting.job);
        let both = if waiting.beside.is_some() { 2 } else { 1 };
        self.waiting.push(waiting);
        let free = self.shells.get(vehicle).map_or(0, Shell::free_at);
        let done = free.max(self.now_ms) + both * MEASURE_MS;
        if let Some(shell) = self.shells.get_mut(vehicle) {
            shell.busy_until(done);
        }
        self.at(done, vehicle, Happening::Measured { job });
    }

    /// Takes what a vehicle asks for, and lets it happen when it is due.
    fn act(&mut self, vehicle: usize, asked: Vec<Asked>) -> Result<(), MethodError> {
        for asked in asked {
            match asked {
                Asked::Publish(record) => self.publish(vehicle, record),
                Asked::Measure { job, candidate, beside, on, belief } => match belief {
                    None => self.ask(self.waiting(vehicle, job, on, candidate, beside)),
                    Some(Belief::Plain) => {
                        self.at(self.now_ms + 1, vehicle, Happening::Plain { job });
                    }
                    Some(Belief::Claimed { part, terms }) => {
                        let on = shoal_swarm::swarm::On::Part(part);
                        let has = beside.unwrap_or(candidate);
                        let waiting = self.waiting(vehicle, job, on, has, None);
                        self.ask(Waiting { claimed: Some(terms), ..waiting });
                    }
                },
                Asked::Coded { job, coded } => {
                    self.at(self.now_ms + 1, vehicle, Happening::Coded { job, coded });
                }
                Asked::Fetch { particle, publisher, slot } => {
                    let held = self.board.chunks(publisher, slot, particle).cloned();
                    let bytes: usize = held.iter().flat_map(|held| &held.chunks).sum();
                    let ms = 2 * self.network.delay_ms
                        + (bytes as f64 * 8000.0 / self.network.down_bits_s) as u64;
                    if let (Some(held), Some(shell)) = (&held, self.shells.get_mut(vehicle)) {
                        shell.fetched(held);
                    }
                    let values = held.map(|held| held.values);
                    self.at(self.now_ms + ms, vehicle, Happening::Fetched { particle, values });
                }
                Asked::Wake(ms) => self.at(ms.max(self.now_ms + 1), vehicle, Happening::Wake),
            }
        }
        Ok(())
    }

    /// Retains a record and delivers it to who is there; what is lost comes with the next window.
    fn publish(&mut self, by: usize, record: Record) {
        self.board.retain(&record);
        for number in 0..self.shells.len() {
            let Some(shell) = self.shells.get_mut(number) else { continue };
            if number == by {
                // The core hears of its own at once.
                self.at(self.now_ms + 1, number, Happening::Deliver(record.clone()));
                continue;
            }
            if !shell.online || shell.unit() < self.network.loss {
                shell.misses(&record);
                continue;
            }
            let sent = (record.payload + record.chunks) as f64 * 8000.0 / self.network.up_bits_s;
            let ms = 2 * self.network.delay_ms + (sent + shell.unit() * 200.0) as u64;
            self.at(self.now_ms + ms, number, Happening::Deliver(record.clone()));
        }
    }

    fn happen(
        &mut self,
        number: usize,
        happening: Happening,
        window: &mut Window<'_, '_>,
    ) -> Result<(), MethodError> {
        let (now_ms, count) = (self.now_ms, self.window);
        if let Happening::Nonce = happening {
            let nonce = self.board.nonce(&self.timekeeper, count, now_ms / 1000);
            self.publish(usize::MAX, nonce);
            return Ok(());
        }
        if let Happening::Measured { .. } = happening {
            self.measure(window)?;
        }
        let closes_ms = self.opens_ms() + u64::from(self.calendar.open_s) * 1000;
        let Some(shell) = self.shells.get_mut(number) else { return Ok(()) };
        let asked = match happening {
            Happening::Tuned => shell.tell_tuned(now_ms),
            Happening::Open => {
                shell.open(now_ms, count, closes_ms.saturating_sub(CLOSING_MS), &self.board)
            }
            Happening::Closing => shell.closing(now_ms),
            Happening::Closed => shell.closed(now_ms),
            Happening::Deliver(record) if shell.online => shell.record(now_ms, &record),
            Happening::Deliver(_) | Happening::Nonce => Vec::new(),
            Happening::Measured { job } => {
                let of = |one: &Waiting| one.vehicle == number && one.job == job;
                let place = self.waiting.iter().position(of);
                let terms = place.and_then(|place| self.waiting.swap_remove(place).terms);
                shell.measured(now_ms, job, &terms.unwrap_or_default())
            }
            Happening::Plain { job } => {
                let alike = vec![TermResult::default(); usize::from(self.terms)];
                shell.measured(now_ms, job, &alike)
            }
            Happening::Coded { job, coded } => shell.coded(now_ms, job, coded),
            Happening::Fetched { particle, values } => shell.got(now_ms, particle, values),
            Happening::Wake => shell.wake(now_ms),
        };
        let (hash, layout) = (self.base.hash, self.base.layout.hash());
        let part = part(&drawn(&self.timekeeper, count));
        let asked = self.shells.get_mut(number).map_or(Ok(Vec::new()), |shell| {
            shell.code(
                asked,
                &self.tensors,
                ModelHash::new(hash),
                LayoutHash::new(layout),
                &mut self.board,
            )
        })?;
        let claimed = self.shells.get_mut(number).map(Shell::take_claimed).unwrap_or_default();
        claimed.iter().for_each(|adapter| window.lab.knows_by_heart(adapter, part));
        self.act(number, asked)
    }
}

impl Method for Cores<'_> {
    fn nights(&self, window: u32) -> Vec<Tune> {
        self.fleet.nights(window, self.shells.iter().map(|shell| &shell.from))
    }

    fn exchange(
        &mut self,
        window: &mut Window<'_, '_>,
        tuned: Vec<Flat>,
    ) -> Result<(), MethodError> {
        self.window = window.number;
        let opens = self.opens_ms();
        let closes = opens + u64::from(self.calendar.open_s) * 1000;
        self.at(opens, 0, Happening::Nonce);
        self.fit(window, &tuned)?;
        for (number, tuned) in tuned.into_iter().enumerate() {
            let Some(shell) = self.shells.get_mut(number) else { continue };
            shell.tuned = tuned;
            let jitter = (shell.unit() * 5000.0) as u64;
            self.at(opens.saturating_sub(NIGHT_ENDS_MS), number, Happening::Tuned);
            if window.present.get(number).copied().unwrap_or(false) {
                self.at(opens + jitter, number, Happening::Open);
                self.at(closes.saturating_sub(CLOSING_MS), number, Happening::Closing);
                self.at(closes, number, Happening::Closed);
            }
        }
        while let Some(((ms, _count), (number, happening))) = self.queue.pop_first() {
            self.now_ms = ms;
            self.happen(number, happening, window)?;
        }
        for (shell, traffic) in self.shells.iter_mut().zip(window.traffic.iter_mut()) {
            *traffic = shell.take_traffic();
        }
        self.look(window);
        let (start, number) = (&self.fleet.start, self.window);
        self.published = self.shells.iter().map(|shell| shell.published(start, number)).collect();
        self.shells.iter_mut().for_each(|shell| shell.forget(self.window));
        Ok(())
    }

    fn fleet(&self) -> Option<Flat> {
        // What most honest vehicles would be given; before there is one, x_p's.
        let honest = self.shells.iter().filter(|shell| !shell.lies());
        let told = honest.filter_map(|shell| Some((shell.swarm.chosen_for_all()?, shell.attended)));
        most_common(told).or_else(|| self.best.clone()).or_else(|| Some(self.fleet.start.clone()))
    }

    /// Who was away has what it chose before.
    fn teacher(&self, vehicle: u32) -> Option<Flat> {
        let chosen = self.shells.get(vehicle as usize)?.swarm.chosen_for_all();
        chosen.cloned().or_else(|| Some(self.fleet.start.clone()))
    }

    fn tuned(&self, vehicle: u32) -> Flat {
        let shell = self.shells.get(vehicle as usize);
        shell.map_or_else(|| self.fleet.start.clone(), |shell| shell.tuned.clone())
    }

    fn published(&self, vehicle: u32) -> Option<Flat> {
        self.published.get(vehicle as usize)?.clone()
    }

    fn personal(&self, vehicle: u32) -> Option<Flat> {
        self.shells.get(vehicle as usize)?.staged.clone()
    }
}

impl Cores<'_> {
    /// What best is at the end of the window, and what else there is to tell.
    fn look(&mut self, window: &mut Window<'_, '_>) {
        let next = self.window + 1;
        // Merges, and particles of the paper's rule, are differences to the start adapter.
        let best =
            self.shells.iter().find_map(|shell| shell.values(&shell.swarm.best(next)?.particle));
        self.best =
            best.map(|values| moved(&self.fleet.start, values)).or_else(|| self.best.take());
        if let Some(from) = self.reckless_from {
            let elected = self.shells.iter().find_map(|shell| shell.swarm.best(next));
            let of = elected.and_then(|elected| {
                self.shells.iter().position(|shell| shell.id() == elected.claimant)
            });
            let reckless = of.is_some_and(|number| number >= from);
            window.also.insert("best_is_reckless".into(), f64::from(u8::from(reckless)));
            window.also.extend(of.map(|number| ("best_of".to_owned(), number as f64)));
        }
        let mut places = |name: &str, lies: bool| {
            let honest = self.shells.iter().find(|shell| !shell.lies());
            let aside = honest.map(|shell| shell.swarm.quarantined(next)).unwrap_or_default();
            let of = self.shells.iter().filter(|shell| shell.lies() == lies);
            let aside = of.filter(|shell| aside.contains(&shell.id())).count();
            window.also.insert(name.into(), aside as f64);
        };
        places("quarantined", false);
        if self.shells.iter().any(Shell::lies) {
            places("quarantined_liars", true);
        }
        let mut sum = |name: &str, of: fn(&shell::Told) -> u32| {
            let sum: u32 = self.shells.iter().map(|shell| of(&shell.told)).sum();
            window.also.insert(name.into(), f64::from(sum));
        };
        sum("moved", |told| told.moved);
        sum("stayed", |told| told.stayed);
        sum("dropped", |told| told.dropped);
        sum("searched", |told| told.searched);
        sum("braked", |told| told.braked);
        sum("rejected", |told| told.rejected);
        if let Some(most) = self.shells.iter().filter_map(|shell| shell.epsilon).reduce(f64::max) {
            sum("withheld", |told| told.withheld);
            window.tell_paid(most);
        }
        let vehicles = self.shells.len().max(1) as f64;
        let mut mean = |name: &str, of: fn(&shell::Told) -> u64| {
            let sum: u64 = self.shells.iter().map(|shell| of(&shell.told)).sum();
            window.also.insert(name.into(), sum as f64 / vehicles);
        };
        mean("down_chunks", |told| told.chunks);
        mean("down_records", |told| told.records);
        mean("down_before", |told| told.before);
        self.shells.iter_mut().for_each(|shell| shell.told = shell::Told::default());
    }
}

/// What most are given, each with the window in which it was there last; of as many the one that was given last.
fn most_common<'s>(given: impl Iterator<Item = (&'s Flat, Option<u32>)>) -> Option<Flat> {
    let mut counts: BTreeMap<ValuesHash, (u32, Option<u32>, &Flat)> = BTreeMap::new();
    for (values, there) in given {
        let (count, latest, _values) =
            counts.entry(ValuesHash::of(values)).or_insert((0, None, values));
        (*count, *latest) = (*count + 1, there.max(*latest));
    }
    let most = counts.into_values().max_by_key(|(count, latest, _values)| (*count, *latest));
    most.map(|(_count, _latest, values)| values.clone())
}

/// How each vehicle is.
fn ways(fleet: &Fleet, keys: &[SecretKey], duties: Duties) -> Vec<Ways> {
    let lying = keys.iter().enumerate().filter(|(number, _key)| fleet.lie_of(*number).is_some());
    let liars = Arc::new(lying.map(|(_number, key)| key.public().id()).collect());
    let liar = |lie| {
        let (liars, agreed) = (Arc::clone(&liars), lie::agreed(fleet.seed));
        Liar { lie, from: fleet.lies_from, liars, agreed }
    };
    let of = |number: usize| Ways {
        liar: fleet.lie_of(number).map(liar),
        believes: !duties.measure,
        stale: fleet.is_stale(number),
    };
    (0..keys.len()).map(of).collect()
}

/// A key of the simulation: of a vehicle, or, numbered [`u32::MAX`], of the timekeeper.
fn key(fleet: &Fleet, number: u32) -> SecretKey {
    let mut seed = *b"shoal simulation key ........ sd";
    let (head, tail) = (fleet.seed.to_le_bytes(), number.to_le_bytes());
    seed.iter_mut().zip(head.iter().chain(&tail)).for_each(|(seed, byte)| *seed ^= byte);
    SecretKey::from_seed(&seed)
}

fn document(
    fleet: &Fleet,
    rule: Rule,
    asked: u16,
    base: &Base,
) -> Result<SwarmDocument, CoresError> {
    let fields = SwarmDocumentFields {
        version: 1,
        seed: fleet.seed,
        base_model: ModelHash::new(base.hash),
        layout: LayoutHash::new(base.layout.hash()),
        values: fleet.start.len() as u32,
        rank: base.rank(),
        start_seed: fleet.seed,
        asked,
        rule,
    };
    SwarmDocument::new(fields)
        .map_err(|why| CoresError::Document { what: "the swarm document", why: why.to_string() })
}

/// Who a record on the board is of.
type Publisher = KeyId;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;
    use crate::lab::{Lab, engine};
    use crate::store::Store;

    /// Who measures the same as another one measures all the same.
    #[test]
    fn what_several_vehicles_measure_is_counted_for_each_of_them() {
        let file = "vehicles = 4\n[trivial]\nvalues = 10\n[[utility]]\nname = \"a\"\n[[utility]]\nname = \"b\"\n\
            windows = [0]\nweights = [1.0]\n[[methods]]\nname = \"ours\"\nkind = \"consensus\"\n";
        let config = SimConfig::parse("fleet.toml", file).unwrap();
        let base = Base::open(&config, engine(&config).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(&config, &base.task, folder.path()).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut lab = Lab::new(&base, &data, &config, store).unwrap();
        let fleet = Fleet::honest(4, base.start(0));
        let (conduct, rule) = (Conduct::default(), shoal_wire::v1::ConsensusRule::USUAL);
        let duties = Duties { asked: 16, conduct, measure: true, privacy: None };
        let rule = Rule::Consensus(rule);
        let mut cores = Cores::new(fleet, rule, duties, &config, &base, data.utility()).unwrap();
        let (nominee, best): (Flat, Flat) = ([1.0; 10].into(), base.start(0));
        for vehicle in 0..4 {
            let on = shoal_swarm::swarm::On::Part(1);
            let beside = (vehicle < 3).then(|| best.clone());
            cores.waiting.push(cores.waiting(vehicle, 1, on, nominee.clone(), beside));
        }
        let mut window = Window {
            number: 1,
            last: false,
            present: &[true; 4],
            lab: &mut lab,
            traffic: &mut [],
            also: &mut BTreeMap::new(),
        };
        cores.measure(&mut window).unwrap();
        // Two terms each: of two adapters for three vehicles, of one for the last.
        assert_eq!(lab.take_counts().evaluations, 3 * 4 + 2);
    }

    #[test]
    fn a_fleet_has_what_most_have_and_of_as_many_what_was_given_last() {
        let [old, new, other]: [Flat; 3] = [1.0, 2.0, 3.0].map(|value| [value].as_slice().into());
        let of = |given: &[(&Flat, u32)]| {
            most_common(given.iter().map(|(values, there)| (*values, Some(*there))))
        };
        assert_eq!(of(&[(&old, 9), (&new, 2), (&new, 1)]), Some(new.clone()), "not the first's");
        assert_eq!(of(&[(&old, 3), (&new, 5), (&old, 1), (&new, 2), (&other, 4)]), Some(new));
        assert_eq!(of(&[]), None);
    }
}
