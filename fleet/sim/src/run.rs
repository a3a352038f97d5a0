//! One run: a method on a fleet's roads, window after window, written down as it goes.

use std::collections::BTreeMap;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use shoal_shadow::measure::Measurement;
use shoal_swarm::swarm::Flat;
use shoal_swarm::utility::Utility;

use crate::config::{Habits, MethodConfig, SimConfig, Teacher};
use crate::data::{Data, DataError};
use crate::lab::{Base, Ensemble, Lab, LabError, On, Who, skills, tell_rollouts};
use crate::lifelong;
use crate::method::{self, Method, MethodError, Window};
use crate::record::{Changes, Head, Phase, RoadKind, Row, SCHEMA};
use crate::statistics::{NOT_YET, WITHOUT_MERGE};
use crate::store::{Store, StoreError};
use crate::style;
use crate::traffic::{Traffic, mean};

/// How far a personal adapter may be from the fleet's towards what the vehicle tuned.
const MIXES: [f32; 3] = [0.0, 0.5, 1.0];

/// Why a run does not go on.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs a method and tells of every window. What was tuned and measured before is read back from `folder`'s store, so a run
/// that was cut goes on where it was, and comes to the same rows. What `tell` answers is whether to go on.
///
/// # Errors
/// [`RunError`]: what was done until then is kept.
pub fn run(
    config: &SimConfig,
    method: &MethodConfig,
    base: &Base,
    data: &Data,
    folder: &Path,
    mut tell: impl FnMut(&Head, &Row) -> bool,
) -> Result<(), RunError> {
    let config = &config.under(method);
    let store = Store::open(folder)?;
    let mut lab = Lab::new(base, data, config, store)?;
    let head = Head {
        schema: SCHEMA,
        method: method.name.clone(),
        seed: config.seed,
        vehicles: config.vehicles,
        windows: config.windows,
        engine: base.engine(),
        config: config.hash(method),
        model: Some(base.contents()),
        values: base.layout.values() as u64,
        roads: data.kinds(),
        changes: changes(config, data),
    };
    let mut way = method::open(method, config, base, data.utility())?;
    let start = base.start(config.seed);
    let mut row = Row::default();
    let at_start = |_vehicle| Own { tuned: start.clone(), given: start.clone(), personal: None };
    look(&mut lab, config, &start, &at_start, &mut row)?;
    style::closed(&lab, std::slice::from_ref(&start), &mut row)?;
    if config.roads.rollouts {
        tell_rollouts(&lab, std::slice::from_ref(&start), &mut row)?;
    }
    let policies = lab.policies().into_iter();
    row.also.extend(policies.map(|(name, skill)| (format!("policy.{name}"), skill)));
    of_honest(config, &head, &mut row);
    lab.take_counts();
    if !tell(&head, &row) {
        return Ok(());
    }
    for number in 1..=config.windows {
        let mut row = window(&mut lab, config, &mut *way, number)?;
        measure(&mut lab, config, &*way, &head, &mut row)?;
        of_honest(config, &head, &mut row);
        // Looking is not the method's own work.
        lab.take_counts();
        if !tell(&head, &row) {
            break;
        }
    }
    Ok(())
}

/// One window: everybody tunes, and what came of it is exchanged.
pub(crate) fn window(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &mut dyn Method,
    number: u32,
) -> Result<Row, RunError> {
    lab.begin(number);
    let mut nights = lab.consolidated(way.nights(number))?;
    if config.night.teacher == Teacher::Best && number > 1 {
        for night in &mut nights {
            night.teacher = match night.who {
                Who::Vehicle(vehicle) => way.teacher(vehicle),
                Who::All => way.fleet(),
                Who::Part(_) => None,
            };
        }
    }
    let tuned = lab.tune(&nights)?;
    let present = present(config, number);
    let mut traffic = vec![Traffic::default(); config.vehicles as usize];
    let mut also = BTreeMap::new();
    let mut window = Window {
        number,
        last: number == config.windows,
        present: &present,
        lab,
        traffic: &mut traffic,
        also: &mut also,
    };
    way.exchange(&mut window, tuned)?;
    let counts = lab.take_counts();
    Ok(Row {
        window: number,
        present: present.iter().filter(|present| **present).count() as u32,
        bytes: mean(&traffic),
        evaluations: counts.evaluations,
        steps: counts.steps,
        also,
        ..Row::default()
    })
}

/// What changes in the windows of a run.
fn changes(config: &SimConfig, data: &Data) -> Changes {
    let utility = Utility::new(data.utility());
    let shares = |window: u32| utility.at(window).map(|weighing| weighing.shares().to_vec());
    let moves = |window: &u32| shares(*window) != shares(window - 1);
    let ends = config.roads.journey.iter().skip(1).map(|phase| phase.from_window - 1);
    let phases = ends.chain([config.windows]).zip(data.by_phase());
    Changes {
        weights: (1..=config.windows).filter(moves).collect(),
        phases: phases.map(|(ends, roads)| Phase { ends, roads }).collect(),
    }
}

/// What the fleet and its vehicles have after a window.
fn measure(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &dyn Method,
    head: &Head,
    row: &mut Row,
) -> Result<(), RunError> {
    let changes = &head.changes;
    let ends = changes.phases.iter().position(|phase| phase.ends == row.window);
    let due = row.window.is_multiple_of(config.measure_every) || row.window == config.windows;
    if !due && ends.is_none() {
        return Ok(());
    }
    if let Some(phase) = ends {
        let alone = lifelong::alone(lab, config, changes, phase)?;
        row.also.extend(alone.map(|skill| (lifelong::ALONE.to_owned(), skill)));
    }
    if let Some(ensemble) = way.ensemble() {
        return together(lab, config, way, ensemble, row);
    }
    if row.window == config.windows {
        let everybody = (0..config.looked_at()).map(|of| lab.at_home(of, &way.tuned(of)));
        let of: Vec<Flat> = way.fleet().map_or_else(|| everybody.collect(), |fleet| vec![fleet]);
        style::closed(lab, &of, row)?;
        if config.roads.rollouts {
            tell_rollouts(lab, &of, row)?;
        }
        style::of_drivers(lab, config, way, row)?;
    }
    match way.fleet() {
        Some(fleet) => {
            if way.is_looked_at() {
                let (_everybody, found) = everybody(lab, config, way)?;
                let without = Row { skill: mean_skills(&found), ..Row::default() }.driven(head);
                row.also.extend(without.map(|skill| (WITHOUT_MERGE.to_owned(), skill)));
            }
            let own = |vehicle| Own {
                tuned: way.tuned(vehicle),
                given: way.given(vehicle).unwrap_or_else(|| fleet.clone()),
                personal: way.personal(vehicle),
            };
            look(lab, config, &fleet, &own, row)
        }
        None => {
            if way.waits() {
                row.also.insert(NOT_YET.to_owned(), 1.0);
            }
            alone(lab, config, way, row)
        }
    }
}

/// Where there are liars: mean held-out skill over the roads that honest vehicles drive. What is on a liar's road nobody learns.
fn of_honest(config: &SimConfig, head: &Head, row: &mut Row) {
    let liars = config.liars.of(config.vehicles, config.seed);
    let honest = |vehicle: u32| liars.get(vehicle as usize) == Some(&false);
    let of = row.mean(head, |kind| matches!(kind, RoadKind::Driven(by) if honest(by)));
    let of = of.filter(|_skill| liars.contains(&true));
    row.also.extend(of.map(|skill| ("driven_by_honest".to_owned(), skill)));
}

/// What a vehicle has of its own.
struct Own {
    tuned: Flat,
    /// What it was given.
    given: Flat,
    /// What the method itself would have it drive with.
    personal: Option<Flat>,
}

/// A fleet's adapter, and what vehicles make of it on their own roads.
fn look(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    fleet: &Flat,
    own: &dyn Fn(u32) -> Own,
    row: &mut Row,
) -> Result<(), RunError> {
    let found = lab.measure(&[(fleet.clone(), On::HeldOut)])?;
    for held_out in &found {
        row.skill = skills(held_out);
        row.also.extend(lab.figures(held_out));
    }
    let utility = lab.utility(std::slice::from_ref(fleet), row.window)?;
    row.utility = utility.first().copied().unwrap_or(0.0);
    if row.window != config.windows && row.window != 0 {
        return Ok(());
    }
    // All vehicles at a time: what each mixes at home, and then what it drives with.
    let mut personal: Vec<(Flat, On)> = Vec::new();
    let mut mixed: Vec<(Flat, On)> = Vec::new();
    for vehicle in 0..config.looked_at() {
        let own = own(vehicle);
        if let Some(values) = own.personal {
            personal.push((values, On::HeldOutOf(vehicle)));
            continue;
        }
        mixed.extend(MIXES.iter().map(|part| {
            let mixed = own.given.iter().zip(own.tuned.iter()).map(|(f, m)| f + part * (m - f));
            (lab.at_home(vehicle, &mixed.collect()), On::OwnPack(vehicle))
        }));
    }
    let found = lab.measure(&mixed)?;
    for (mixed, found) in mixed.chunks(MIXES.len()).zip(found.chunks(MIXES.len())) {
        let best = best_of(found).and_then(|best| mixed.get(best));
        if let Some((values, On::OwnPack(vehicle))) = best {
            personal.push((values.clone(), On::HeldOutOf(*vehicle)));
        }
    }
    let own = lab.measure(&personal)?;
    own.iter().for_each(|own| row.own.extend(skills(own)));
    Ok(())
}

/// The first of the best.
fn best_of(found: &[Measurement]) -> Option<usize> {
    let skill = |index: usize| found.get(index).and_then(Measurement::skill).unwrap_or(f64::MIN);
    (0..found.len()).rev().max_by(|a, b| skill(*a).total_cmp(&skill(*b)))
}

/// Adapters whose predictions are mixed, on every road; a vehicle has the mixture or what it tuned, whichever is better on the
/// pack's frames of its own road.
fn together(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &dyn Method,
    ensemble: &Ensemble,
    row: &mut Row,
) -> Result<(), RunError> {
    let found = lab.measure_ensemble(ensemble, &[On::HeldOut])?;
    found.iter().for_each(|held_out| row.skill = skills(held_out));
    row.utility = lab.ensemble_utility(ensemble, row.window)?;
    for vehicle in 0..config.vehicles {
        let alone = way.tuned(vehicle);
        let mut on_pack = lab.measure_ensemble(ensemble, &[On::OwnPack(vehicle)])?;
        on_pack.extend(lab.measure(&[(alone.clone(), On::OwnPack(vehicle))])?);
        let own = if best_of(&on_pack) == Some(0) {
            lab.measure_ensemble(ensemble, &[On::HeldOutOf(vehicle)])?
        } else {
            lab.measure(&[(alone, On::HeldOutOf(vehicle))])?
        };
        own.iter().for_each(|own| row.own.extend(skills(own)));
    }
    Ok(())
}

/// Vehicles without anything in common: their mean on every road, and each on its own.
fn alone(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &dyn Method,
    row: &mut Row,
) -> Result<(), RunError> {
    let (all, found) = everybody(lab, config, way)?;
    let vehicles = f64::from(config.looked_at());
    row.utility = lab.utility(&all, row.window)?.iter().sum::<f64>() / vehicles;
    row.skill = mean_skills(&found);
    for (vehicle, held_out) in (0..).zip(&found) {
        let skills = skills(held_out);
        for (name, figure) in lab.figures(held_out) {
            *row.also.entry(name).or_default() += figure / vehicles;
        }
        let mine = lab.data().names_of(vehicle, row.window).into_iter();
        let mine = mine.filter_map(|name| Some((name.to_owned(), *skills.get(name)?)));
        row.own.extend(mine);
    }
    Ok(())
}

/// What each vehicle has tuned by itself, and what that is on what is held out of every road.
fn everybody(
    lab: &mut Lab<'_>,
    config: &SimConfig,
    way: &dyn Method,
) -> Result<(Vec<Flat>, Vec<Measurement>), RunError> {
    let all = (0..config.looked_at()).map(|vehicle| lab.at_home(vehicle, &way.tuned(vehicle)));
    let all: Vec<Flat> = all.collect();
    let asked: Vec<(Flat, On)> = all.iter().map(|values| (values.clone(), On::HeldOut)).collect();
    let found = lab.measure(&asked)?;
    Ok((all, found))
}

/// By road, the mean over who was measured.
fn mean_skills(found: &[Measurement]) -> BTreeMap<String, f64> {
    let mut mean = BTreeMap::new();
    for (road, skill) in found.iter().flat_map(skills) {
        *mean.entry(road).or_default() += skill / found.len() as f64;
    }
    mean
}

/// Who takes part in a window: the same for every method.
pub(crate) fn present(config: &SimConfig, window: u32) -> Vec<bool> {
    let mut seed = [0; 32];
    let parts = config.seed.to_le_bytes().into_iter().chain(window.to_le_bytes());
    seed.iter_mut().zip(parts).for_each(|(seed, byte)| *seed = byte);
    let mut chance = ChaCha8Rng::from_seed(seed);
    let draw = |_vehicle| f64::from(chance.next_u32() >> 8) / f64::from(1 << 24);
    let drawn = (0..config.vehicles).map(draw).map(|unit| unit >= config.calendar.absent);
    let habits = Habits::new(config.calendar, &config.habits, config.vehicles, config.seed);
    let there = drawn.zip(0..).map(|(drawn, vehicle)| drawn && habits.attends(vehicle, window));
    let liars = config.liars.of(config.vehicles, config.seed);
    there.zip(liars).map(|(there, liar)| there && (!liar || config.liars.come(window))).collect()
}
