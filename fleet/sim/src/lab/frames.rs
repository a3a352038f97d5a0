//! A model of frames on roads: tuned on clips, measured against 'nothing moves'.

use std::num::NonZeroUsize;

use sha2::{Digest, Sha256};
use shoal_hal::{Drive, Part};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::gradient::Pull as Term;
use shoal_shadow::batch::{Distilled, Mix, MixedBatch, Road as Clipped};
use shoal_shadow::clip::Clips;
use shoal_shadow::fit::load_predictor;
use shoal_shadow::form::Form;
use shoal_shadow::grid::Geometry;
use shoal_shadow::measure::{
    DriveClips, Horizon, Measurement, Predictor, SessionPredictor, measure,
};
use shoal_shadow::pack::Footages;
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuner};
use shoal_swarm::swarm::Flat;
use shoal_vehicle::exchange::measured::rolls_out;
use shoal_wire::v1::PARTS;

use super::pool::Pool;
use super::{Base, LabError, Modelled, On, Pull, Tune, Who};
use crate::config::{NightConfig, SimConfig};
use crate::record::RoadKind;
use crate::roads::{Road, Roads};

/// Clips predicted at a time, as a vehicle measures.
pub(super) const BATCH: usize = 1;

/// What is tuned and measured.
pub(super) struct Frames<'a> {
    pub(super) form: &'a Form,
    pub(super) footage: &'a [Drive],
    pub(super) roads: &'a Roads,
    /// By term: its parts, and all of them.
    packs: Vec<(Vec<Footages>, Footages)>,
    tuners: Pool<TuneOptions, Tuner>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(
        form: &'a Form,
        footage: &'a [Drive],
        roads: &'a Roads,
    ) -> Result<Self, LabError> {
        let packs = roads.packs.iter().map(|pack| {
            let parts = (0..PARTS).map(|part| pack.read_turn(usize::from(part)));
            Ok((parts.collect::<Result<Vec<_>, _>>()?, pack.read(&pack.parts())?))
        });
        let packs = packs.collect::<Result<Vec<_>, LabError>>()?;
        Ok(Frames { form, footage, roads, packs, tuners: Pool::default() })
    }

    pub(super) fn train(
        &self,
        base: &Base,
        nights: &NightConfig,
        night: &Tune,
    ) -> Result<Flat, LabError> {
        let mut source = self.source(base, nights, night)?;
        let options = TuneOptions {
            mix: Mix::of(nights.batch),
            ahead: nights.ahead,
            pull: night.pull.as_ref().map(|pull| match pull.importance {
                Some(_) => Term::ByImportance,
                None => Term::Even,
            }),
            steps: StepOptions {
                learning_rate: nights.learning_rate,
                threads: NonZeroUsize::MIN,
                ..StepOptions::default()
            },
        };
        let start = base.adapter(&night.from)?;
        let Modelled { package, model, engine } = base.modelled()?;
        let description = package.description();
        let load = || Tuner::new(model, description, &**engine, Some(&start), &options);
        self.tuners.night(options, &start, load, |tuner| {
            if let Some(Pull { towards, mu, importance }) = &night.pull {
                let place = base.adapter(towards)?;
                match importance {
                    Some(importance) => tuner.hold(&place, importance, *mu)?,
                    None => tuner.pull(&place, *mu)?,
                }
            }
            if nights.distilled == 0 {
                tuner.run(&mut source, nights.steps, |_report| {})?;
            } else {
                let (asked, most) = (nights.distilled, source.augmented().len());
                let teacher =
                    night.teacher.as_ref().map(|values| base.adapter(values)).transpose()?;
                let teacher = predictor(base, teacher.as_ref(), asked)?;
                let source = Distilled::new(source, teacher);
                let mut source = source.ok_or(LabError::Distilled { asked, most })?;
                tuner.run(&mut source, nights.steps, |_report| {})?;
            }
            Ok(())
        })
    }

    /// What a night draws its batches from: the roads of who tunes, as far as they are driven, and the shipped footage.
    fn source(
        &self,
        base: &Base,
        nights: &NightConfig,
        night: &Tune,
    ) -> Result<MixedBatch<'_>, LabError> {
        let mix = Mix::of(nights.batch);
        let of_one: Vec<&Road> = match night.who {
            Who::Part(_) => Vec::new(),
            Who::Vehicle(vehicle) => {
                self.roads.of(vehicle, self.roads.phase(night.window)).collect()
            }
            Who::All => {
                let phase = self.roads.phase(night.window);
                let driven = |road: &&Road| matches!(road.kind, RoadKind::Driven(_));
                self.roads.all.iter().filter(driven).filter(|road| road.phase == phase).collect()
            }
        };
        let mut own: Vec<Clipped<'_>> = of_one
            .into_iter()
            .filter_map(|road| {
                let clips = self.roads.clips(road, self.roads.seen(road, night.window));
                Clipped::new(&[clips], self.form)
            })
            .collect();
        if let Who::Part(part) = night.who {
            let terms = 0..self.packs.len().min(usize::from(u8::MAX)) as u8;
            let of_packs = terms.flat_map(|term| self.clips(On::Part { term, part }, 0));
            own.extend(of_packs.filter_map(|drive| Clipped::new(&drive.clips, self.form)));
        }
        let replayed = self.footage.iter().filter(|_| nights.replay);
        let footage = replayed.filter_map(|drive| {
            let clips = Clips::of_all(drive, self.form.context, 1);
            Clipped::new(&[clips], self.form)
        });
        let source = MixedBatch::new(self.form.clone(), mix, own, footage.collect(), night.seed);
        let vehicle = night.who.number();
        let source = source.ok_or(LabError::Nothing { vehicle })?;
        // Generated roads are driven by a vehicle of the usual geometry.
        let package = base.modelled()?.package.description();
        let source = source.imitating(package, &Geometry::default());
        let ahead = nights.ahead;
        source.with_ahead(ahead).ok_or(LabError::Ahead { vehicle, ahead })
    }

    pub(super) fn measure(
        &self,
        base: &Base,
        values: &Flat,
        on: On,
        phase: usize,
    ) -> Result<Measurement, LabError> {
        let adapter = base.adapter(values)?;
        self.measure_by(&mut predictor(base, Some(&adapter), BATCH)?, on, phase)
    }

    /// What a predictor is worth there: by next frames, or by roll-outs where that is what a term measures.
    pub(super) fn measure_by(
        &self,
        predictor: &mut dyn Predictor,
        on: On,
        phase: usize,
    ) -> Result<Measurement, LabError> {
        let clips = self.clips(on, phase);
        if self.rolls_out(on) {
            return Ok(measure(predictor, &clips, Horizon::NextAndRollout)?.of_rollouts());
        }
        Ok(measure(predictor, &clips, Horizon::Next)?)
    }

    /// Whether the fifth frame is what a term measures.
    fn rolls_out(&self, on: On) -> bool {
        let (On::Part { term, .. } | On::Pack { term }) = on else { return false };
        let terms = &self.roads.utility.fields().terms;
        terms.get(usize::from(term)).is_some_and(|term| rolls_out(term.metric))
    }

    /// Of the roads of this phase of a journey, where they are a vehicle's own.
    pub(super) fn clips(&self, on: On, phase: usize) -> Vec<DriveClips<'_>> {
        let of_part = |roads: &mut dyn Iterator<Item = &'a Road>, part| {
            let clips =
                |road: &'a Road| DriveClips::of_part(&road.drive, &road.split, part, self.form);
            roads.map(clips).collect()
        };
        let (roads, context) = (self.roads, self.form.context);
        match on {
            On::Part { term, part } => {
                let parts = self.packs.get(usize::from(term)).map(|(parts, _whole)| parts);
                let footages = parts.and_then(|parts| parts.get(usize::from(part)));
                footages.map(|footages| footages.clips(context)).unwrap_or_default()
            }
            On::Pack { term } => {
                let whole = self.packs.get(usize::from(term)).map(|(_parts, whole)| whole);
                whole.map(|whole| whole.clips(context)).unwrap_or_default()
            }
            On::HeldOut => of_part(&mut roads.all.iter(), Part::HeldOut),
            On::HeldOutOf(vehicle) => of_part(&mut roads.of(vehicle, phase), Part::HeldOut),
            On::OwnPack(vehicle) => of_part(&mut roads.of(vehicle, phase), Part::Pack),
            On::TunedOn(vehicle) => of_part(&mut roads.of(vehicle, phase), Part::Tuning),
        }
    }

    /// What decides results beside what is asked, model and engine: roads, night.
    pub(super) fn digest(&self, config: &SimConfig, hasher: &mut Sha256) {
        let roads = self.roads.all.iter().map(|road| (&road.drive, road.kind));
        let footage = self.footage.iter().map(|drive| (drive, RoadKind::Listed));
        for (drive, kind) in roads.chain(footage) {
            hasher.update(drive.source_sha256);
            hasher.update(drive.len().to_le_bytes());
            hasher.update(drive.rate_hz.to_le_bytes());
            hasher.update(format!("{}{kind:?}", drive.name));
        }
        super::digest_night(&config.night, hasher);
        hasher.update(config.roads.windows_to_drive.to_le_bytes());
        self.roads.packs.iter().for_each(|pack| hasher.update(pack.sha256()));
        // What came later decides only where it is used.
        if !config.night.replay {
            hasher.update(b"without replay");
        }
        if config.night.distilled > 0 {
            hasher.update(format!("distilled {}", config.night.distilled));
        }
        if config.night.ahead > 1 {
            hasher.update(format!("ahead {}", config.night.ahead));
        }
        // A term's number is part of a result's name: what it measures is part of them all.
        let metrics: Vec<_> = config.utility.iter().map(|term| term.metric).collect();
        if metrics.iter().any(Option::is_some) {
            hasher.update(format!("metrics {metrics:?}"));
        }
        for phase in &config.roads.journey {
            hasher.update(format!("phase from {}", phase.from_window));
        }
    }
}

/// The model with an adapter, or as it ships, for so many clips at a time.
pub(super) fn predictor(
    base: &Base,
    adapter: Option<&Adapter>,
    batch: usize,
) -> Result<SessionPredictor, LabError> {
    let Modelled { package, model, engine } = base.modelled()?;
    let description = package.description();
    Ok(load_predictor(model, description, &**engine, NonZeroUsize::MIN, adapter, batch)?)
}
