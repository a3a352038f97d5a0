//! A bench without a model: every vehicle has an optimum of its own, drawn from its number; a night goes a part of the way
//! there, and skill is 1 − |x − optimum|² ÷ |start − optimum|². Nothing is kept: it is made again as quickly.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use shoal_runtime::adapter::{Adapter, Factor, Layout, Site};
use shoal_runtime::engine::{Engine, EngineError, LoadOptions, Session};
use shoal_runtime::graft::SiteNode;
use shoal_runtime::onnx::Model;
use shoal_shadow::measure::{DriveMeasurement, Errors, Measurement};
use shoal_swarm::swarm::{Flat, ValuesHash};
use shoal_wire::v1::PARTS;

use super::{On, Tune, Who, in_parallel};
use crate::trivial::Clients;

/// What such a fleet says its engine is.
pub(super) const ENGINE: &str = "none: trivial clients";
/// How far optima are from where everybody begins, a value, at most.
const AMPLITUDE: f32 = 0.1;
/// How far what a clip of a pack asks for is from the middle of all optima, of [`AMPLITUDE`].
const CLIP_SPREAD: f32 = 0.1;
/// How far from the start what is fitted to a part of the packs may be, of [`AMPLITUDE`], and what of the error at the start is left
/// of it on that part.
const FITTED_LENGTH: f32 = 3.0;
const FITTED_ERROR: f64 = 0.01;
/// Clips of a part of a pack.
const CLIPS: u64 = 2;
/// Nights, or measurements, that one worker does at a time.
const CHUNK: usize = 256;

/// The bench.
pub(super) struct Trivial<'a> {
    clients: &'a Clients,
    start: Flat,
    /// Which adapters are fitted to which part of the packs.
    by_heart: BTreeMap<ValuesHash, u8>,
}

/// Whose numbers are drawn: a stream of them each.
#[derive(Clone, Copy)]
enum Stream {
    /// The middle of all vehicles' optima, as a term of the utility has it.
    Middle(u8),
    /// A vehicle's difference to it.
    Vehicle(u32),
    /// The same of a clip of a term's pack.
    Clip(u8, u64),
    /// Where whoever fits to a part of the packs ends, by the seed of its night.
    Fitted(u64),
}

impl<'a> Trivial<'a> {
    pub(super) fn new(clients: &'a Clients, layout: &Arc<Layout>) -> Self {
        let start = Adapter::start(Arc::clone(layout), clients.seed).values().into();
        Trivial { clients, start, by_heart: BTreeMap::new() }
    }

    /// What every night comes to.
    pub(super) fn tune(&self, jobs: usize, nights: &[Tune]) -> Vec<Flat> {
        in_chunks(jobs, nights, |night| self.night(night))
    }

    /// What every adapter is worth.
    pub(super) fn measure(&self, jobs: usize, asked: &[(Flat, On)]) -> Vec<Measurement> {
        in_chunks(jobs, asked, |(values, on)| self.measured(values, *on))
    }

    /// A part of the way to the optimum of who tunes; all together have the middle.
    pub(super) fn night(&self, night: &Tune) -> Flat {
        let own = match night.who {
            Who::Vehicle(vehicle) => self.own(vehicle),
            Who::All => (Stream::Vehicle(0), 0.0),
            Who::Part(_) => return self.fitted(night.seed),
        };
        let step = self.clients.does.step as f32;
        let to = self.start.iter().zip(self.optimum(0, own)).map(|(start, by)| start + by);
        night.from.iter().zip(to).map(|(from, to)| from + step * (to - from)).collect()
    }

    /// Where whoever fits to a part of the packs ends: anywhere, on all that is not that part, up to [`FITTED_LENGTH`].
    fn fitted(&self, seed: u64) -> Flat {
        let by = self.numbers(Stream::Fitted(seed));
        let places = self.start.iter().zip(by);
        places.map(|(start, by)| start + FITTED_LENGTH * AMPLITUDE * by).collect()
    }

    /// From now on this adapter is fitted to this part.
    pub(super) fn knows_by_heart(&mut self, adapter: &Flat, part: u8) {
        self.by_heart.insert(ValuesHash::of(adapter), part);
    }

    /// What an adapter is worth.
    pub(super) fn measured(&self, values: &Flat, on: On) -> Measurement {
        let drives = match on {
            On::Part { term, part } => {
                let first = u64::from(part) * CLIPS;
                vec![self.pack(values, term, first..first + CLIPS)]
            }
            On::Pack { term } => vec![self.pack(values, term, 0..u64::from(PARTS) * CLIPS)],
            On::HeldOut => {
                let looked_at = 0..self.clients.names.len() as u32;
                looked_at.map(|vehicle| self.road(values, vehicle)).collect()
            }
            On::HeldOutOf(vehicle) | On::OwnPack(vehicle) | On::TunedOn(vehicle) => {
                vec![self.road(values, vehicle)]
            }
        };
        Measurement { predictor: "a distance".into(), drives }
    }

    /// What stands for a vehicle's road.
    fn road(&self, values: &Flat, vehicle: u32) -> DriveMeasurement {
        let name = self.clients.name_of(vehicle).unwrap_or_default();
        drive(name, std::iter::once(self.errors(values, 0, self.own(vehicle))))
    }

    fn pack(&self, values: &Flat, term: u8, clips: Range<u64>) -> DriveMeasurement {
        // Nobody's hash is taken where nothing is fitted.
        let fitted = || self.by_heart.get(&ValuesHash::of(values)).copied();
        let fitted = (!self.by_heart.is_empty()).then(fitted).flatten();
        let errors = clips.map(|clip| {
            let own = (Stream::Clip(term, clip), CLIP_SPREAD);
            let (error, at_start) = self.errors(values, term, own);
            let known = fitted.is_some_and(|part| u64::from(part) == clip / CLIPS);
            (if known { FITTED_ERROR * at_start } else { error }, at_start)
        });
        drive("pack", errors)
    }

    fn own(&self, vehicle: u32) -> (Stream, f32) {
        (Stream::Vehicle(vehicle), self.clients.does.spread as f32)
    }

    /// From start to an optimum: to the middle of a term's, and from there so much of a stream's own.
    fn optimum(&self, term: u8, (own, spread): (Stream, f32)) -> impl Iterator<Item = f32> + use<> {
        let middle = self.numbers(Stream::Middle(term));
        let own = self.numbers(own);
        middle.zip(own).map(move |(middle, own)| AMPLITUDE * (middle + spread * own))
    }

    /// |x − optimum|² and |start − optimum|².
    fn errors(&self, values: &Flat, term: u8, own: (Stream, f32)) -> (f64, f64) {
        let (mut error, mut at_start) = (0.0, 0.0);
        let places = values.iter().zip(self.start.iter()).zip(self.optimum(term, own));
        for ((value, start), by) in places {
            let apart = f64::from((value - start) - by);
            error += apart * apart;
            at_start += f64::from(by) * f64::from(by);
        }
        (error, at_start)
    }

    /// Uniform in [−1, 1), without end: SplitMix64 over a counter.
    fn numbers(&self, stream: Stream) -> impl Iterator<Item = f32> + use<> {
        let named = match stream {
            Stream::Middle(term) => u64::from(term),
            Stream::Vehicle(vehicle) => (1 << 32) | u64::from(vehicle),
            Stream::Clip(term, clip) => (2 << 32) | (u64::from(term) << 16) | clip,
            Stream::Fitted(seed) => mix(seed ^ (3 << 32)),
        };
        let mut state = mix(self.clients.seed ^ mix(named));
        std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (mix(state) >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0
        })
    }
}

/// SplitMix64's finaliser.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A drive whose clips have these errors, each in a second of its own.
fn drive(name: &str, errors: impl Iterator<Item = (f64, f64)>) -> DriveMeasurement {
    let (model, copy): (Vec<f64>, Vec<f64>) = errors.unzip();
    let block = (0..model.len() as u32).collect();
    let next = Errors { model, copy, block };
    DriveMeasurement {
        name: name.into(),
        copy_psnr_db: 0.0,
        counted: true,
        next,
        rollout: Errors::default(),
    }
}

/// Does `work` on all of `asked`, so many chunks of it at a time: what is asked for is too little to be handed out one by one.
fn in_chunks<T: Sync, R: Send>(jobs: usize, asked: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if asked.len() <= CHUNK {
        return asked.iter().map(work).collect();
    }
    let chunks: Vec<&[T]> = asked.chunks(CHUNK).collect();
    let of_chunk = |chunk: &&[T]| Ok::<_, Infallible>(chunk.iter().map(&work).collect::<Vec<R>>());
    match in_parallel(jobs, &chunks, of_chunk) {
        Ok(done) => done.into_iter().flatten().collect(),
    }
}

/// The layout of an adapter of so many values, at least two: one site of rank 1.
pub(super) fn layout(values: usize) -> Layout {
    flat(values, "trivial", hash())
}

/// The same by another name, of another base.
pub(super) fn flat(values: usize, name: &str, base_sha256: [u8; 32]) -> Layout {
    let inputs = values / 2;
    let factor = |letter: char, dims: Vec<usize>, range| Factor {
        input: format!("lora.{name}.{letter}"),
        dims,
        range,
    };
    let site = Site {
        name: name.into(),
        module: None,
        weight: name.into(),
        nodes: vec![SiteNode { index: 0, input: 1, output: name.into() }],
        operator: "MatMul".into(),
        base_sha256,
        a: factor('A', vec![1, inputs], 0..inputs),
        b: factor('B', vec![values - inputs, 1], inputs..values),
        alpha: 1.0,
    };
    Layout { sites: vec![site], rank: 1, alpha: 1.0 }
}

/// What stands for the hash of a model's file.
pub(super) fn hash() -> [u8; 32] {
    Sha256::digest(b"shoal simulation trivial").into()
}

/// The engine of a fleet that needs none.
pub(super) struct NoEngine;

impl Engine for NoEngine {
    fn describe(&self) -> String {
        ENGINE.into()
    }

    fn load(
        &self,
        _model: &Model,
        _options: &LoadOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let reason = "no model is run in this simulation".into();
        Err(EngineError::Load { engine: ENGINE.into(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;

    fn clients() -> Clients {
        let file =
            "vehicles = 1000\nseed = 3\n[trivial]\n[[methods]]\nname = \"a\"\nkind = \"local\"\n";
        Clients::open(&SimConfig::parse("fleet.toml", file).unwrap()).unwrap()
    }

    fn bench(clients: &Clients, values: usize) -> Trivial<'_> {
        Trivial::new(clients, &Arc::new(layout(values)))
    }

    #[test]
    fn a_layout_has_as_many_values_as_are_asked_for() {
        for values in [2, 3, 1000, 53_929] {
            let layout = layout(values);
            assert_eq!(layout.values(), values);
            assert_eq!(layout.factors().map(|factor| factor.range.len()).sum::<usize>(), values);
        }
    }

    #[test]
    fn skill_is_0_at_the_start_and_grows_with_every_night() {
        let clients = clients();
        let lab = bench(&clients, 100);
        let (mut from, mut before) = (lab.start.clone(), -0.1);
        for window in 1..5 {
            let skill = lab.measure(1, &[(from.clone(), On::OwnPack(7))])[0].skill().unwrap();
            assert!(skill > before, "window {window}: {skill}");
            assert!(window != 1 || skill == 0.0);
            // Half of the way: a quarter of the error is left.
            assert!((skill - (1.0 - 0.25_f64.powi(window - 1))).abs() < 1e-4, "{skill}");
            before = skill;
            let night =
                Tune { who: Who::Vehicle(7), window: 1, from, seed: 0, pull: None, teacher: None };
            from = lab.tune(1, &[night]).remove(0);
        }
    }

    #[test]
    fn what_comes_out_does_not_depend_on_how_many_work() {
        let clients = clients();
        let lab = bench(&clients, 10);
        let night = |vehicle| Tune {
            who: Who::Vehicle(vehicle),
            window: 1,
            from: lab.start.clone(),
            seed: 0,
            pull: None,
            teacher: None,
        };
        let nights: Vec<Tune> = (0..1000).map(night).collect();
        let alone = lab.tune(1, &nights);
        assert_eq!(alone, lab.tune(3, &nights));
        assert_eq!(alone.len(), 1000);
        assert_ne!(alone[0], alone[1], "each has an optimum of its own");
        let asked: Vec<(Flat, On)> =
            alone.into_iter().zip(0..).map(|(values, of)| (values, On::HeldOutOf(of))).collect();
        assert_eq!(lab.measure(1, &asked), lab.measure(2, &asked));
    }

    #[test]
    fn a_part_of_a_pack_is_measured_as_it_is_in_the_whole() {
        let clients = clients();
        let lab = bench(&clients, 50);
        let on = |on| lab.measure(1, &[(lab.start.clone(), on)]).remove(0).drives.remove(0).next;
        let whole = on(On::Pack { term: 0 });
        let parts: Vec<f64> =
            (0..PARTS).flat_map(|part| on(On::Part { term: 0, part }).copy).collect();
        assert_eq!(whole.copy, parts);
        assert_ne!(whole.copy, on(On::Pack { term: 1 }).copy, "a term has a middle of its own");
    }

    #[test]
    fn what_is_fitted_to_a_part_is_good_there_and_nowhere_else() {
        let clients = clients();
        let mut lab = bench(&clients, 50);
        let night = Tune {
            who: Who::Part(2),
            window: 1,
            from: lab.start.clone(),
            seed: 7,
            pull: None,
            teacher: None,
        };
        let fitted = lab.tune(1, &[night]).remove(0);
        let skill = |lab: &Trivial<'_>, on| lab.measure(1, &[(fitted.clone(), on)])[0].skill();
        let before = skill(&lab, On::Part { term: 0, part: 2 }).unwrap();
        lab.knows_by_heart(&fitted, 2);
        for part in 0..PARTS {
            let skill = skill(&lab, On::Part { term: 0, part }).unwrap();
            assert_eq!(skill > 0.9, part == 2, "part {part}: {skill}");
            assert!(part == 2 || skill < 0.0, "part {part}: {skill}");
        }
        assert!(before < 0.0 && skill(&lab, On::HeldOut).unwrap() < 0.0);
        assert!(skill(&lab, On::Pack { term: 0 }).unwrap() < 0.0, "three parts of four are others");
    }
}
