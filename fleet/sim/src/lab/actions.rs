//! A policy and its drivers: tuned on what a vehicle's own driver did, measured by what it proposes on the pack, and at the end
//! by how it drives in the closed loop.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use shoal_hal::{Part, Span};
use shoal_shadow::batch::{HORIZON_S, Lessons};
use shoal_shadow::clip::Frames;
use shoal_shadow::fit::load_policy;
use shoal_shadow::form::Form;
use shoal_shadow::hindsight::{Known, weights};
use shoal_shadow::measure::Measurement;
use shoal_shadow::measure::driving::{DrivingMetric, driving};
use shoal_shadow::measure::imitation::{ActedRun, DriveActs, Habits};
use shoal_shadow::measure::policy::PolicyPredictor;
use shoal_shadow::opinion::Did;
use shoal_shadow::pack::Footages;
use shoal_shadow::policymodel::{PolicySession, Reflex, Rehearsal, Rehearsed};
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions};
use shoal_swarm::swarm::{Flat, ValuesHash};
use shoal_vehicle::exchange::measured::driven_as;
use shoal_wire::v1::PARTS;

use super::pool::Pool;
use super::{Base, LabError, Modelled, On, Tune, Who};
use crate::config::{NightConfig, SimConfig};
use crate::drivers::{Driver, Drivers};

/// Adapters whose measurements by all metrics are remembered: the terms of one are asked for together.
const REMEMBERED: usize = 64;

/// What results are of beside what else names them: how long steps are by weight, and what comfort counts (decision 92).
const MEANS: &[u8] = b"steps by weight, comfort beyond the driver";

/// By each metric of the pack.
type All = Arc<OnceLock<Vec<Measurement>>>;

/// What is tuned and measured.
pub(super) struct Actions<'a> {
    form: &'a Form,
    pub(super) drivers: &'a Drivers,
    /// The parts, and after them all of it.
    pack: Vec<Footages>,
    /// Share of a night's samples that are rehearsed.
    rehearsal: f32,
    remembered: Mutex<BTreeMap<(ValuesHash, usize), All>>,
    tuners: Pool<PolicyTuneOptions, PolicyTuner>,
}

/// How an adapter drives in the closed loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closed {
    /// Lanes and roads left and vehicles hit, a kilometre.
    pub interventions_per_km: f64,
    /// Share of the time with less than 4 s to a collision.
    pub conflict: f64,
    /// The terms of the drive.
    pub comfort: f64,
    /// See [`shoal_shadow::term::distance`].
    pub distance: f64,
    /// Metres a second.
    pub speed: f64,
}

impl Closed {
    /// Values by name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 5] {
        let Closed { interventions_per_km, conflict, comfort, distance, speed } = *self;
        [
            ("interventions_per_km", interventions_per_km),
            ("conflict", conflict),
            ("comfort", comfort),
            ("distance", distance),
            ("speed", speed),
        ]
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.named().iter().flat_map(|(_name, value)| value.to_le_bytes()).collect()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (values, rest) = bytes.as_chunks::<8>();
        let values: Vec<f64> = values.iter().map(|value| f64::from_le_bytes(*value)).collect();
        let [interventions_per_km, conflict, comfort, distance, speed] = values.try_into().ok()?;
        rest.is_empty().then_some(Closed {
            interventions_per_km,
            conflict,
            comfort,
            distance,
            speed,
        })
    }
}

impl<'a> Actions<'a> {
    pub(super) fn new(base: &Base, form: &'a Form, drivers: &'a Drivers) -> Result<Self, LabError> {
        let parts = (0..PARTS).map(|part| drivers.pack.read_turn(usize::from(part)));
        let mut pack = parts.collect::<Result<Vec<_>, _>>()?;
        pack.push(drivers.pack.read(&drivers.pack.parts())?);
        let rehearsal = base.modelled()?.package.description().rehearsal(drivers.does.rehearsal);
        let (remembered, tuners) = (Mutex::default(), Pool::default());
        Ok(Actions { form, drivers, rehearsal, pack, remembered, tuners })
    }

    pub(super) fn train(
        &self,
        base: &Base,
        nights: &NightConfig,
        night: &Tune,
    ) -> Result<Flat, LabError> {
        let mut lessons =
            Lessons::new(self.form.clone(), night.seed).turning(self.drivers.does.turn_rad);
        let own = |driver: &&Driver| match night.who {
            Who::Vehicle(vehicle) => driver.vehicle == vehicle,
            Who::All => true,
            Who::Part(_) => false,
        };
        if let Who::Part(_) = night.who {
            return Err(LabError::Unfitted);
        }
        for driver in self.drivers.all.iter().filter(own) {
            let spans = driver.split.spans(Part::Tuning);
            // What nobody knows is held against nobody.
            let unknown = vec![Known::default(); driver.drive.len()];
            let known = if self.drivers.does.hindsight { &driver.acted.known } else { &unknown };
            lessons.add(&driver.drive, spans, known, &driver.acted.geometry, &[]);
        }
        if lessons.is_empty() {
            return Err(LabError::Nothing { vehicle: night.who.number() });
        }
        let options = PolicyTuneOptions {
            samples: nights.batch,
            pull: None,
            steps: StepOptions {
                learning_rate: nights.learning_rate,
                threads: NonZeroUsize::MIN,
                ..StepOptions::default()
            },
        };
        let start = base.adapter(&night.from)?;
        let Modelled { package, model, engine } = base.modelled()?;
        let description = package.description();
        let load = || PolicyTuner::new(model, description, &**engine, Some(&start), &options);
        let (steps, samples, seed) = (nights.steps, nights.batch, night.seed);
        let rehearsal = Rehearsal { share: self.rehearsal, samples, steps, seed };
        let wheel = || at_the_wheel(base, &night.from);
        let learning_rate = lessons.learning_rate(nights.learning_rate);
        let mut lessons = Rehearsed::new(lessons, self.form, &rehearsal, wheel)?;
        self.tuners.night(options, &start, load, |tuner| {
            // A trainer serves many, each at the rate that the own lessons are worth.
            tuner.set_learning_rate(learning_rate);
            tuner.run(&mut lessons, nights.steps, |_report| {})?;
            Ok(())
        })
    }

    pub(super) fn measure(
        &self,
        base: &Base,
        values: &Flat,
        on: On,
    ) -> Result<Measurement, LabError> {
        let part = match on {
            On::Part { term, part } => (term, usize::from(part)),
            On::Pack { term } => (term, usize::from(PARTS)),
            On::HeldOut => return self.own(base, values, None, Part::HeldOut),
            On::HeldOutOf(vehicle) => return self.own(base, values, Some(vehicle), Part::HeldOut),
            On::OwnPack(vehicle) => return self.own(base, values, Some(vehicle), Part::Pack),
            On::TunedOn(vehicle) => return self.own(base, values, Some(vehicle), Part::Tuning),
        };
        let (term, part) = part;
        let metrics = self.drivers.pack.manifest().driving();
        let asked = self.drivers.metrics.get(usize::from(term)).and_then(|of| driven_as(*of));
        let place = metrics.iter().position(|metric| Some(*metric) == asked);
        let (Some(place), Some(footages)) = (place, self.pack.get(part)) else {
            return Ok(Measurement { predictor: String::new(), drives: Vec::new() });
        };
        let all = {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (ValuesHash::of(values), part);
            if remembered.len() >= REMEMBERED && !remembered.contains_key(&key) {
                remembered.clear();
            }
            Arc::clone(remembered.entry(key).or_default())
        };
        let of_all = match all.get() {
            Some(known) => known,
            None => {
                let mut policy = predictor(base, values)?;
                let measured = driving(&mut policy, &footages.acts(), &metrics)?;
                all.get_or_init(|| measured)
            }
        };
        Ok(of_all
            .get(place)
            .cloned()
            .unwrap_or_else(|| Measurement { predictor: String::new(), drives: Vec::new() }))
    }

    /// How near to the vehicles' own drivers an adapter is, every moment with the same weight: good drivers or not.
    fn own(
        &self,
        base: &Base,
        values: &Flat,
        vehicle: Option<u32>,
        part: Part,
    ) -> Result<Measurement, LabError> {
        let of = self.drivers.all.iter();
        let of = of.filter(|driver| vehicle.is_none_or(|vehicle| driver.vehicle == vehicle));
        let known = of.map(|driver| Own::of(driver, part)).collect::<Result<Vec<_>, _>>()?;
        let acts: Vec<DriveActs<'_>> = known.iter().map(Own::acts).collect();
        let mut policy = predictor(base, values)?;
        let mut all = driving(&mut policy, &acts, &[DrivingMetric::Imitation])?;
        Ok(all.swap_remove(0))
    }

    /// Drives in the closed loop; `None` where the file asks for none.
    pub(super) fn closed(&self, base: &Base, values: &Flat) -> Result<Option<Closed>, LabError> {
        let Some(roads) = &self.drivers.closed else { return Ok(None) };
        let mut session = at_the_wheel(base, values)?;
        let shape = session.shape();
        let report = roads.drive(shape, &mut Reflex::Policy(&mut session), |_road| {})?;
        Ok(Some(Closed {
            interventions_per_km: report.interventions() as f64 / report.km.max(1e-3),
            conflict: report.conflict,
            // In no more than a second nothing is felt.
            comfort: report.comfort.unwrap_or(0.0),
            distance: report.distance,
            speed: 1e3 * report.km / report.seconds.max(1e-3),
        }))
    }

    /// What decides results beside what is asked, model and engine: drives, pack, night.
    pub(super) fn digest(&self, config: &SimConfig, hasher: &mut Sha256) {
        for driver in &self.drivers.all {
            hasher.update(driver.drive.source_sha256);
            hasher.update(driver.drive.len().to_le_bytes());
            hasher.update(&driver.drive.name);
        }
        super::digest_night(&config.night, hasher);
        hasher.update(MEANS);
        hasher.update(self.drivers.pack.sha256());
        hasher.update([u8::from(self.drivers.does.hindsight)]);
        hasher.update(self.drivers.does.perturbed.to_le_bytes());
        hasher.update(self.drivers.does.turn_rad.to_le_bytes());
        hasher.update(self.rehearsal.to_le_bytes());
        // A term's number is part of a result's name: what it measures is part of them all.
        hasher.update(format!("{:?}", self.drivers.metrics));
        let closed = self.drivers.closed.as_ref().map(|roads| roads.sha256());
        hasher.update(closed.unwrap_or_default());
    }
}

/// A part of a vehicle's own drive, as it is measured on.
pub(super) struct Own<'a> {
    driver: &'a Driver,
    habits: Habits,
    /// Pieces, each with the weight of its frames.
    runs: Vec<(Frames, Vec<f32>)>,
}

impl<'a> Own<'a> {
    /// Every moment with the same weight.
    pub(super) fn of(driver: &'a Driver, part: Part) -> Result<Self, LabError> {
        Self::weighed(driver, part, |span| vec![1.0; span.len()])
    }

    /// Every moment by what came of it.
    pub(super) fn judged(driver: &'a Driver, part: Part) -> Result<Self, LabError> {
        let (known, rate_hz) = (&driver.acted.known, driver.drive.rate_hz);
        Self::weighed(driver, part, |span| {
            weights(known.get(span.first..=span.last).unwrap_or_default(), rate_hz, HORIZON_S)
        })
    }

    fn weighed(
        driver: &'a Driver,
        part: Part,
        weights: impl Fn(&Span) -> Vec<f32>,
    ) -> Result<Self, LabError> {
        let (drive, geometry) = (&driver.drive, &driver.acted.geometry);
        let mut habits = Habits::default();
        for at in 0..drive.len() {
            let did = drive.motion(at).map(|motion| Did::of(&motion, geometry));
            habits.add(&did.unwrap_or_default(), 1.0);
        }
        let mut runs = Vec::new();
        for span in driver.split.spans(part) {
            let rows = span.first..span.last + 1;
            let motion = rows.clone().map(|at| drive.motion(at)).collect();
            let bytes = drive.frames(rows).to_vec();
            let frames = Frames::new(drive.shape, drive.rate_hz, bytes, motion)?;
            runs.push((frames, weights(span)));
        }
        Ok(Own { driver, habits, runs })
    }

    pub(super) fn acts(&self) -> DriveActs<'_> {
        let runs =
            self.runs.iter().map(|(footage, weights)| ActedRun { footage, weights, leaders: &[] });
        DriveActs {
            name: self.driver.drive.name.clone(),
            copy_psnr_db: 0.0,
            geometry: self.driver.acted.geometry,
            habits: &self.habits,
            runs: runs.collect(),
        }
    }
}

/// The policy with an adapter, to drive.
fn at_the_wheel(base: &Base, values: &Flat) -> Result<PolicySession, LabError> {
    let Modelled { package, model, engine } = base.modelled()?;
    let adapter = base.adapter(values)?;
    let description = package.description();
    Ok(PolicySession::load(model, description, &**engine, NonZeroUsize::MIN, Some(&adapter))?)
}

/// The policy with an adapter, to be measured.
fn predictor(base: &Base, values: &Flat) -> Result<PolicyPredictor, LabError> {
    let adapter = base.adapter(values)?;
    let Modelled { package, model, engine } = base.modelled()?;
    let description = package.description();
    Ok(load_policy(model, description, &**engine, NonZeroUsize::MIN, Some(&adapter))?)
}
