//! The bench of a whole fleet: adapters tuned on what vehicles have seen, adapters measured, several at a time, every result kept
//! by what it was made of. It takes no time of the simulation's: the calendar says how long work takes.

mod actions;
mod base;
mod ensemble;
mod error;
mod frames;
mod gram;
mod hold;
mod home;
mod information;
mod matrices;
mod measured;
mod pool;
mod rank;
mod rollout;
mod term;
mod tokens;
mod trivial;
mod worth;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest, Sha256};
use shoal_runtime::adapter::Layout;
use shoal_shadow::measure::Measurement;
use shoal_swarm::swarm::{Flat, ValuesHash};
use shoal_swarm::utility::Utility;
use shoal_wire::v1::PARTS;

use self::actions::Actions;
use self::base::Modelled;
use self::frames::Frames;
use self::hold::Held;
use self::home::Home;
use self::matrices::Matrices;
use self::tokens::Tokens;
use self::trivial::Trivial;
use crate::config::{Habits, HardwareConfig, NightConfig, SimConfig};
use crate::data::Data;
use crate::store::{Key, Store};

pub use actions::Closed;
pub use base::{Base, Task, engine};
pub use ensemble::{Ensemble, FEATURE_VALUES, Weighing};
pub use error::LabError;
pub use gram::{Grams, triangles};
pub use hold::Pull;
pub use information::Information;
pub use matrices::Policies;
pub use rollout::{RolledOut, tell_rollouts};

/// The skill of a model that has diverged, whatever its error: a further digit would say nothing, and would drown the mean.
pub const SKILL_MIN: f64 = -1000.0;

/// Whose roads are tuned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// This vehicle's.
    Vehicle(u32),
    /// Everybody's.
    All,
    /// Nobody's: this part of the packs of all terms. Vehicles that lie do so.
    Part(u8),
}

impl Who {
    /// The vehicle's number; 0 for all, and for none.
    const fn number(self) -> u32 {
        match self {
            Who::Vehicle(vehicle) => vehicle,
            Who::All | Who::Part(_) => 0,
        }
    }

    /// What names it in results.
    fn named(self) -> i64 {
        match self {
            Who::Vehicle(vehicle) => vehicle.into(),
            Who::All => -1,
            Who::Part(part) => -2 - i64::from(part),
        }
    }
}

/// A night of tuning.
#[derive(Clone, Debug)]
pub struct Tune {
    /// On whose roads.
    pub who: Who,
    /// Before which window, from 1 on: what has been seen by then.
    pub window: u32,
    /// From where.
    pub from: Flat,
    /// Seed of the batches.
    pub seed: u64,
    /// What it is held to; `None`: nothing.
    pub pull: Option<Pull>,
    /// The adapter of who predicts the targets of distilled samples; `None`: the shipped model.
    pub teacher: Option<Flat>,
}

/// What to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// A part of a term's pack, as a vehicle measures it when that part is asked for.
    Part {
        /// Of the utility, from 0 on.
        term: u8,
        /// 0 to 3.
        part: u8,
    },
    /// The whole pack of a term.
    Pack {
        /// Of the utility, from 0 on.
        term: u8,
    },
    /// What is held out of every road.
    HeldOut,
    /// What is held out of the roads of a vehicle.
    HeldOutOf(u32),
    /// What a vehicle tunes on, all of it.
    TunedOn(u32),
    /// The pack's frames of a vehicle's own roads: frames of the same drive that it does not tune on.
    OwnPack(u32),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Training steps, those that were read back included.
    pub steps: u64,
    /// Measurements, likewise.
    pub evaluations: u64,
}

/// The lab of one simulation.
pub struct Lab<'a> {
    base: &'a Base,
    data: &'a Data,
    bench: Bench<'a>,
    store: Store,
    night: NightConfig,
    /// Who is parked for how long.
    habits: Habits,
    /// By vehicle, where it can less than the night asks for.
    classes: Vec<Option<Class>>,
    /// Of the journey, from 0 on: whose roads a vehicle's own are.
    phase: usize,
    /// What nights are held to, where the file asks for that.
    held: BTreeMap<Who, Held>,
    /// What stays with its vehicle, where the file asks for that.
    home: Option<Home>,
    jobs: usize,
    /// What decides results beside what is asked: model, engine, data, night.
    context: [u8; 32],
    utility: Utility,
    /// What was done since it was last asked.
    counts: Counts,
}

/// What a class of vehicles can.
#[derive(Clone, Debug)]
struct Class {
    steps: u32,
    batch: Option<usize>,
    /// Which values it trains; `None`: all.
    trained: Option<Vec<bool>>,
    /// What names a result of it.
    name: Vec<u8>,
}

impl Class {
    fn new(hardware: &HardwareConfig, night: &NightConfig, layout: &Layout) -> Self {
        let steps = hardware.steps(night.steps);
        let rank = hardware.rank.filter(|rank| usize::from(*rank) < layout.rank);
        let mut name = vec![rank.unwrap_or(0)];
        name.extend(steps.to_le_bytes());
        // Held against the file's night there; a method may have a smaller batch of its own.
        let batch = hardware.batch.map(|batch| batch.min(night.batch));
        name.extend(batch.iter().flat_map(|batch| batch.to_le_bytes()));
        Class { steps, batch, trained: rank.map(|rank| layout.of_rank(rank.into())), name }
    }
}

/// What is tuned and measured, by what the model reads.
enum Bench<'a> {
    Frames(Frames<'a>),
    Tokens(Tokens<'a>),
    Actions(Actions<'a>),
    Matrices(Matrices<'a>),
    Trivial(Trivial<'a>),
}

impl<'a> Bench<'a> {
    fn new(base: &'a Base, data: &'a Data) -> Result<Self, LabError> {
        match (&base.task, data) {
            (Task::Frames { form, footage }, Data::Roads(roads)) => {
                Ok(Bench::Frames(Frames::new(form, footage, roads)?))
            }
            (Task::Tokens(form), Data::Logs(logs)) => Ok(Bench::Tokens(Tokens::new(form, logs))),
            (Task::Trivial, Data::Trivial(clients)) => {
                Ok(Bench::Trivial(Trivial::new(clients, &base.layout)))
            }
            (Task::Actions(form), Data::Drivers(drivers)) => {
                Ok(Bench::Actions(Actions::new(base, form, drivers)?))
            }
            (Task::Matrices(policies), Data::Drivers(drivers)) => {
                Ok(Bench::Matrices(Matrices::new(policies, drivers)?))
            }
            (Task::Frames { .. }, Data::Logs(_) | Data::Drivers(_) | Data::Trivial(_))
            | (Task::Tokens(_), Data::Roads(_) | Data::Drivers(_) | Data::Trivial(_))
            | (
                Task::Actions(_) | Task::Matrices(_),
                Data::Roads(_) | Data::Logs(_) | Data::Trivial(_),
            )
            | (Task::Trivial, Data::Roads(_) | Data::Logs(_) | Data::Drivers(_)) => {
                Err(LabError::OtherData)
            }
        }
    }

    /// What is tuned and measured of a model of frames; `what` wants one.
    fn frames(&self, what: &'static str) -> Result<&Frames<'a>, LabError> {
        match self {
            Bench::Frames(frames) => Ok(frames),
            Bench::Tokens(_) | Bench::Actions(_) | Bench::Matrices(_) | Bench::Trivial(_) => {
                Err(LabError::FramesAlone { what })
            }
        }
    }

    fn train(&self, base: &Base, nights: &NightConfig, night: &Tune) -> Result<Flat, LabError> {
        match self {
            Bench::Frames(frames) => frames.train(base, nights, night),
            Bench::Tokens(tokens) => match &night.pull {
                Some(pull) => Err(LabError::FramesAlone { what: pull.named() }),
                None => tokens.train(base, nights, night),
            },
            Bench::Actions(actions) => match &night.pull {
                Some(pull) => Err(LabError::FramesAlone { what: pull.named() }),
                None => actions.train(base, nights, night),
            },
            Bench::Matrices(matrices) => match &night.pull {
                Some(pull) => Err(LabError::FramesAlone { what: pull.named() }),
                None => matrices.train(nights, night),
            },
            Bench::Trivial(trivial) => match &night.pull {
                Some(pull) => Err(LabError::FramesAlone { what: pull.named() }),
                None => Ok(trivial.night(night)),
            },
        }
    }

    fn measure(
        &self,
        base: &Base,
        values: &Flat,
        (on, phase): (On, usize),
        jobs: usize,
    ) -> Result<Measurement, LabError> {
        match self {
            Bench::Frames(frames) => frames.measure(base, values, on, phase),
            Bench::Tokens(tokens) => tokens.measure(base, values, on, jobs),
            Bench::Actions(actions) => actions.measure(base, values, on),
            Bench::Matrices(matrices) => matrices.measure(values, on),
            Bench::Trivial(trivial) => Ok(trivial.measured(values, on)),
        }
    }

    fn digest(&self, config: &SimConfig, hasher: &mut Sha256) {
        match self {
            Bench::Frames(frames) => frames.digest(config, hasher),
            Bench::Tokens(tokens) => tokens.digest(config, hasher),
            Bench::Actions(actions) => actions.digest(config, hasher),
            Bench::Matrices(matrices) => matrices.digest(config, hasher),
            // Nothing is kept.
            Bench::Trivial(_) => {}
        }
    }
}

impl<'a> Lab<'a> {
    /// A lab whose results are kept in `store`.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn new(
        base: &'a Base,
        data: &'a Data,
        config: &SimConfig,
        store: Store,
    ) -> Result<Self, LabError> {
        let bench = Bench::new(base, data)?;
        let utility = Utility::new(data.utility());
        let context = context(base, &bench, config);
        let (night, jobs) = (config.night, config.jobs);
        let classes = HardwareConfig::of(&config.hardware, config.vehicles, config.seed);
        let classes =
            classes.into_iter().map(|class| Some(Class::new(class?, &night, &base.layout)));
        Ok(Lab {
            base,
            data,
            bench,
            store,
            night,
            habits: Habits::new(config.calendar, &config.habits, config.vehicles, config.seed),
            classes: classes.collect(),
            phase: 0,
            held: BTreeMap::new(),
            home: Home::new(config.night.home, &base.layout)?,
            jobs,
            context,
            utility,
            counts: Counts::default(),
        })
    }

    /// The model.
    #[must_use]
    pub fn base(&self) -> &'a Base {
        self.base
    }

    /// The roads or logs.
    #[must_use]
    pub fn data(&self) -> &'a Data {
        self.data
    }

    /// What is told of a measurement on what is held out beside skill: of a model of tokens nats a token.
    #[must_use]
    pub fn figures(&self, held_out: &Measurement) -> BTreeMap<String, f64> {
        match &self.bench {
            Bench::Frames(_) | Bench::Actions(_) | Bench::Matrices(_) | Bench::Trivial(_) => {
                BTreeMap::new()
            }
            Bench::Tokens(tokens) => tokens.figures(held_out),
        }
    }

    /// How near to drivers each policy of a fleet of several is by itself on the pack, by name and number.
    #[must_use]
    pub fn policies(&self) -> Vec<(String, f64)> {
        match &self.bench {
            Bench::Matrices(matrices) => matrices.alone(),
            Bench::Frames(_) | Bench::Tokens(_) | Bench::Actions(_) | Bench::Trivial(_) => {
                Vec::new()
            }
        }
    }

    /// A window begins: from now on a vehicle's own roads are those that it drives before this window.
    pub fn begin(&mut self, window: u32) {
        self.phase = self.data.phase(window);
    }

    /// What was done since this was asked last.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Tunes adapters, in the order they are asked for.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn tune(&mut self, nights: &[Tune]) -> Result<Vec<Flat>, LabError> {
        let steps = nights.iter().map(|night| u64::from(self.steps(night)));
        self.counts.steps += steps.sum::<u64>();
        // What is made again as quickly is not kept.
        if let Bench::Trivial(trivial) = &self.bench
            && nights.iter().all(|night| night.pull.is_none())
        {
            return Ok(trivial.tune(self.jobs, nights));
        }
        let begun: Vec<Tune> = match &self.home {
            Some(home) => nights.iter().map(|night| home.begins(night)).collect(),
            None => nights.to_vec(),
        };
        let tuned = in_parallel(self.jobs, &begun, |night| self.tuned(night))?;
        Ok(match &mut self.home {
            Some(home) => {
                nights.iter().zip(tuned).map(|(night, of)| home.ends(night, of)).collect()
            }
            None => tuned,
        })
    }

    /// An adapter is fitted to this part of the packs. Of a model that is so; where there is none, it is measured as if it were.
    pub fn knows_by_heart(&mut self, adapter: &Flat, part: u8) {
        match &mut self.bench {
            Bench::Trivial(trivial) => trivial.knows_by_heart(adapter, part),
            Bench::Frames(_) | Bench::Tokens(_) | Bench::Actions(_) | Bench::Matrices(_) => {}
        }
    }

    /// What a vehicle drives with where it has this of the fleet's or its own: with the layers that stay with it.
    #[must_use]
    pub fn at_home(&self, vehicle: u32, values: &Flat) -> Flat {
        self.home.as_ref().map_or_else(|| values.clone(), |home| home.with(vehicle, values))
    }

    /// Measures adapters, in the order they are asked for.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn measure(&mut self, asked: &[(Flat, On)]) -> Result<Vec<Measurement>, LabError> {
        self.counts.evaluations += asked.len() as u64;
        if let Bench::Trivial(trivial) = &self.bench {
            return Ok(trivial.measure(self.jobs, asked));
        }
        let shipped = self.shipped();
        let name = |values: &Flat, on: On| (ValuesHash::of(values), on);
        // The same is measured once: two that do it at a time would write one file.
        let mut once: BTreeMap<_, _> =
            asked.iter().map(|(values, on)| (name(values, *on), (values, *on))).collect();
        for (_values, on) in asked.iter().filter(|(_values, on)| self.gains(*on)) {
            once.insert(name(&shipped, *on), (&shipped, *on));
        }
        let (names_once, asked_once): (Vec<_>, Vec<_>) = once.into_iter().unzip();
        // Who measures alone, as a vehicle does that nobody waits beside, works in parts.
        let each = (self.jobs / asked_once.len().max(1)).max(1);
        let measured =
            in_parallel(self.jobs, &asked_once, |(values, on)| self.measured(values, *on, each))?;
        let measured: BTreeMap<_, _> = names_once.into_iter().zip(measured).collect();
        let told = |(values, on): &(Flat, On)| {
            let own = measured.get(&name(values, *on))?;
            match measured.get(&name(&shipped, *on)).filter(|_| self.gains(*on)) {
                Some(shipped) => Some(own.gain_over(shipped)),
                None => Some(own.clone()),
            }
        };
        Ok(asked.iter().filter_map(told).collect())
    }

    /// So many more measurements were made than were asked for here: whoever measures by itself does not know that another one finds the
    /// same.
    pub fn made_besides(&mut self, evaluations: u64) {
        self.counts.evaluations += evaluations;
    }

    /// How adapters drive in the closed loop, in the order they are asked for; nothing where nobody drives there.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn closed(&self, asked: &[Flat]) -> Result<Vec<Closed>, LabError> {
        let Bench::Actions(actions) = &self.bench else { return Ok(Vec::new()) };
        let drive = |values: &Flat| {
            let key = Key::of("closed", &[&self.context, ValuesHash::of(values).bytes()]);
            if let Some(closed) = self.store.get(&key).and_then(|bytes| Closed::read(&bytes)) {
                return Ok(Some(closed));
            }
            let closed = actions.closed(self.base, values)?;
            if let Some(closed) = closed {
                self.store.put(&key, &closed.to_bytes())?;
            }
            Ok::<_, LabError>(closed)
        };
        Ok(in_parallel(self.jobs, asked, drive)?.into_iter().flatten().collect())
    }

    /// The class of who tunes, if it is one that can less.
    fn class(&self, who: Who) -> Option<&Class> {
        match who {
            Who::Vehicle(vehicle) => self.classes.get(vehicle as usize)?.as_ref(),
            Who::All | Who::Part(_) => None,
        }
    }

    fn steps(&self, night: &Tune) -> u32 {
        let steps = self.class(night.who).map_or(self.night.steps, |class| class.steps);
        match night.who {
            Who::Vehicle(vehicle) => self.habits.steps(vehicle, night.window, steps),
            Who::All | Who::Part(_) => steps,
        }
    }

    fn tuned(&self, night: &Tune) -> Result<Flat, LabError> {
        let (who, window) = (night.who.named().to_le_bytes(), night.window.to_le_bytes());
        let seed = night.seed.to_le_bytes();
        let from = ValuesHash::of(&night.from);
        let mut parts: Vec<&[u8]> = vec![&self.context, &who, &window, from.bytes(), &seed];
        let class = self.class(night.who);
        parts.extend(class.map(|class| &class.name[..]));
        let steps = self.steps(night);
        let managed = (steps < self.night.steps).then(|| steps.to_le_bytes());
        parts.extend(managed.iter().filter(|_| self.habits.limit()).map(|of| &of[..]));
        let pull = night.pull.as_ref().map(Pull::parts).unwrap_or_default();
        parts.extend(pull.iter().map(Vec::as_slice));
        let teacher = night.teacher.as_ref().map(|values| ValuesHash::of(values));
        parts.extend(teacher.iter().flat_map(|teacher| [&b"teacher"[..], teacher.bytes()]));
        let key = Key::of("tune", &parts);
        let layout = &self.base.layout;
        if let Some(values) = self.store.get(&key).map(|bytes| flat(&bytes))
            && values.len() == layout.values()
        {
            return Ok(values);
        }
        let batch = class.and_then(|class| class.batch).unwrap_or(self.night.batch);
        let nights = NightConfig { steps, batch, ..self.night };
        let values = self.bench.train(self.base, &nights, night)?;
        // The graph trains the whole rank: what this vehicle does not have stays as it was.
        let values = match class.and_then(|class| class.trained.as_ref()) {
            Some(trained) => rank::kept(&values, &night.from, trained),
            None => values,
        };
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store.put(&key, &bytes)?;
        Ok(values)
    }

    /// Kind and number of what is measured on, in the phase of the journey.
    fn place(&self, on: On) -> (u8, u32) {
        match on {
            On::Part { term, part } => (0, u32::from(term) * u32::from(PARTS) + u32::from(part)),
            On::Pack { term } => (1, term.into()),
            On::HeldOut => (2, 0),
            On::HeldOutOf(vehicle) => (3, self.own(vehicle)),
            On::OwnPack(vehicle) => (4, self.own(vehicle)),
            On::TunedOn(vehicle) => (5, self.own(vehicle)),
        }
    }

    fn measured(&self, values: &Flat, on: On, jobs: usize) -> Result<Measurement, LabError> {
        let (kind, of) = self.place(on);
        let key = Key::of(
            "measure",
            &[&self.context, &[kind], &of.to_le_bytes(), ValuesHash::of(values).bytes()],
        );
        if let Some(measured) = self.store.get(&key).and_then(|bytes| measured::read(&bytes)) {
            return Ok(measured);
        }
        let measured = self.bench.measure(self.base, values, (on, self.phase), jobs)?;
        self.store.put(&key, &measured::write(&measured))?;
        Ok(measured)
    }

    /// What names a vehicle's own roads.
    fn own(&self, vehicle: u32) -> u32 {
        vehicle + ((self.phase as u32) << 16)
    }
}

/// Held-out skill by road, of the roads that are counted: at least [`SKILL_MIN`].
#[must_use]
pub fn skills(measured: &Measurement) -> BTreeMap<String, f64> {
    let counted = measured.drives.iter().filter(|drive| drive.counted);
    counted
        .filter_map(|drive| Some((drive.name.clone(), drive.next.skill()?.max(SKILL_MIN))))
        .collect()
}

fn context(base: &Base, bench: &Bench<'_>, config: &SimConfig) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(base.contents);
    hasher.update(base.layout.hash());
    hasher.update(base.engine());
    bench.digest(config, &mut hasher);
    hasher.finalize().into()
}

fn digest_night(night: &NightConfig, hasher: &mut Sha256) {
    let NightConfig { steps, batch, learning_rate, replay: _, ewc: _, distilled: _, .. } = night;
    hasher.update(steps.to_le_bytes());
    hasher.update(batch.to_le_bytes());
    hasher.update(learning_rate.to_le_bytes());
}

fn flat(bytes: &[u8]) -> Flat {
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// Does `work` on all of `asked`, so many at a time; the first error in their order ends it. What comes out does not depend
/// on how many work.
fn in_parallel<T: Sync, R: Send, E: Send>(
    jobs: usize,
    asked: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<R, E>>>> = asked.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _job in 0..jobs.min(asked.len()) {
            scope.spawn(|| {
                while let Some((asked, done)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    asked.get(index).zip(done.get(index))
                } {
                    let result = work(asked);
                    let failed = result.is_err();
                    *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    if failed {
                        // Nobody begins anything more.
                        next.store(usize::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let results =
        done.into_iter().map(|done| done.into_inner().unwrap_or_else(PoisonError::into_inner));
    // What was not begun stands after an error.
    results.map_while(|result| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A class is held against the file's night; a method may have a smaller batch of its own.
    #[test]
    fn no_class_has_a_larger_batch_than_all_others() {
        let layout = trivial::layout(4);
        let file = "[roads]\nregions = [\"snow\"]\n[night]\nbatch = 8\n[[hardware]]\nname = \"small\"\n\
            vehicles = 1\nbatch = 6\n[[methods]]\nname = \"a\"\nkind = \"local\"\nnight = { batch = 4 }\n\
            [[methods]]\nname = \"b\"\nkind = \"local\"\n";
        let config = SimConfig::parse("fleet.toml", file).unwrap();
        let batch = |method: usize| {
            let night = config.under(&config.methods[method]).night;
            Class::new(&config.hardware[0], &night, &layout).batch
        };
        assert_eq!([batch(0), batch(1)], [Some(4), Some(6)]);
    }

    #[test]
    fn work_is_done_in_order_and_an_error_ends_it() {
        let asked: Vec<u32> = (0..100).collect();
        for jobs in [1, 2, 7] {
            let doubled = in_parallel(jobs, &asked, |n| Ok::<_, ()>(2 * n)).unwrap();
            assert_eq!(doubled, asked.iter().map(|n| 2 * n).collect::<Vec<_>>());
            let failed = in_parallel(jobs, &asked, |n| if *n == 40 { Err(*n) } else { Ok(*n) });
            assert_eq!(failed, Err(40));
        }
        assert_eq!(in_parallel(2, &[] as &[u32], |n| Ok::<_, ()>(*n)), Ok(Vec::new()));
    }
}
