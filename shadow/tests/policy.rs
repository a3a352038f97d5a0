//! Policies: tuned on what drivers did, weighted by what came of it; and real ones served as they are, on real drives.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use shoal_hal::backend::recorded::comma::{LOG_RATE_HZ, Log};
use shoal_hal::backend::recorded::npy::{Array, Data, read_npy};
use shoal_hal::backend::recorded::{Drives, RecordedOptions};
use shoal_hal::backend::synthetic::{Region, Road, Start, Style};
use shoal_hal::{Drive, FrameShape, Motion, Part, Span};
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::bake::bake;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Builder, Model, TensorType};
use shoal_shadow::batch::{HORIZON_S, LessonBatch, Lessons, TURN_RAD};
use shoal_shadow::clip::Frames;
use shoal_shadow::fit::{FitError, Source as _, graft_package, load_policy};
use shoal_shadow::form::Form;
use shoal_shadow::grid::{ActionGrid, BINS, Geometry, SHA256};
use shoal_shadow::hindsight::{Known, weights};
use shoal_shadow::measure::Measurement;
use shoal_shadow::measure::imitation::imitation;
use shoal_shadow::measure::policy::{AgreementReport, agreement};
use shoal_shadow::opinion::Did;
use shoal_shadow::pack::{Acted, Pack, PackOptions, build_imitation};
use shoal_shadow::package::{Description, Package};
use shoal_shadow::policymodel::{PolicySession, REHEARSAL, Reflex, Rehearsal, Rehearsed};
use shoal_shadow::stats::BOOTSTRAP_DRAWS;
use shoal_shadow::term::roads::Roads;
use shoal_shadow::tune::{PolicyTuneOptions, PolicyTuner, StepOptions};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const SHAPE: FrameShape = FrameShape { width: 8, height: 4 };
const PIXELS: usize = 96;

fn hash() -> String {
    SHA256.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn package() -> Description {
    let toml = format!(
        "rate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
         [action]\noutput = 'logits'\ngrid = '{}'\n[adapter]\nrank = 4\nalpha = 8.0\n",
        hash()
    );
    Description::parse("model.toml", &toml, "small").unwrap()
}

/// Logits linear in the pixels, of so many samples at once.
fn model(samples: usize) -> Model {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[samples, 3, 4, 8]));
    let rows = b.i64s(&[0, -1]);
    let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
    let values: Vec<f32> = (0..PIXELS * BINS).map(|k| ((k * 37) % 101) as f32 * 1e-4).collect();
    let weight = b.f32s(&[PIXELS, BINS], &values);
    let logits = b.op("MatMul", &[&flat, &weight], &[]).unwrap();
    b.output("logits", &logits);
    b.into_model()
}

/// Light comes from the left or from the right, half a second each; the driver steers towards it, or, if `wrong`, away from
/// it, and then brakes as hard as that deserves.
fn road(wrong: bool) -> Frames {
    let (mut bytes, mut motion) = (Vec::new(), Vec::new());
    for k in 0..200_usize {
        let left = (k / 5).is_multiple_of(2);
        let side = |x: usize| if (x < 4) == left { 220 } else { 20 };
        bytes.extend((0..32).flat_map(|pixel| [side(pixel % 8); 3]));
        let steering = if left == wrong { -0.5 } else { 0.5 };
        let acceleration = if wrong && k % 20 >= 15 { -6.5 } else { 0.0 };
        motion.push(Some(Motion {
            speed_m_s: Some(10.0),
            steering_rad: Some(steering),
            acceleration_m_s2: Some(acceleration),
            ..Motion::default()
        }));
    }
    Frames::new(SHAPE, 10.0, bytes, motion).unwrap()
}

fn known(road: &Frames, hindsight: bool) -> Vec<Known> {
    use shoal_shadow::clip::Footage;
    let of = |at| Known::of(&road.motion(at).unwrap(), &Geometry::default());
    let blind = |_| Known::default();
    if hindsight { (0..road.len()).map(of).collect() } else { (0..road.len()).map(blind).collect() }
}

fn at_rate(learning_rate: f64) -> PolicyTuneOptions {
    let steps = StepOptions { learning_rate, ..StepOptions::default() };
    PolicyTuneOptions { steps, ..PolicyTuneOptions::default() }
}

fn tuned(ort: &Ort, roads: &[(&Frames, bool)]) -> Adapter {
    let package = package();
    let mut lessons = Lessons::new(Form::of_policy(&package).unwrap(), 3);
    for (road, hindsight) in roads {
        let span = Span { first: 0, last: 199 };
        lessons.add(*road, &[span], &known(road, *hindsight), &Geometry::default(), &[]);
    }
    let options = at_rate(1e-2);
    let mut tuner =
        PolicyTuner::new(&model(options.samples), &package, ort, None, &options).unwrap();
    tuner.run(&mut lessons, 150, |_| {}).unwrap();
    tuner.adapter().unwrap()
}

/// Another α would train factors of another scale than they are used with, and values of a site more would have no place.
#[test]
fn an_adapter_of_another_layout_is_no_start() {
    let Some(ort) = ort_or_skip() else { return };
    let (package, options) = (package(), at_rate(1e-2));
    let model = model(options.samples);
    let own = graft_package(&model, &package, 1, Profile::Cpu).unwrap().layout;
    let refused = |change: &dyn Fn(&mut Layout)| {
        let mut layout = (*own).clone();
        change(&mut layout);
        let start = Adapter::zero(layout);
        let tuner = PolicyTuner::new(&model, &package, &ort, Some(&start), &options);
        tuner.err().map(|why| why.to_string())
    };
    assert_eq!(refused(&|_| {}), None);
    let other_alpha = refused(&|layout| layout.sites[0].alpha = 32.0).unwrap();
    assert!(other_alpha.contains("has alpha 32 there and 8 here"), "{other_alpha}");
    let one_more = refused(&|layout| {
        let (mut site, end) = (layout.sites[0].clone(), layout.values());
        site.name = "more".to_owned();
        for factor in [&mut site.a, &mut site.b] {
            factor.input = factor.input.replace("lora.", "lora.more.");
            factor.range = end + factor.range.start..end + factor.range.end;
        }
        layout.sites.push(site);
    });
    let one_more = one_more.unwrap();
    assert!(one_more.contains("factors for `more`, which has none here"), "{one_more}");
    let fewer = refused(&|layout| layout.sites.clear()).unwrap();
    assert!(fewer.contains("it has no factors for"), "{fewer}");
}

/// Mean nats of a good driver's actions.
fn nats(ort: &Ort, adapter: Option<&Adapter>) -> f64 {
    use shoal_shadow::clip::Footage;
    let road = road(false);
    let mut policy = load_policy(&model(1), &package(), ort, NonZeroUsize::MIN, adapter).unwrap();
    let of = |at: usize| {
        let did = Did::of(&road.motion(at).unwrap(), &Geometry::default());
        policy.act_at(&road, at).unwrap().unwrap().nats(&did).unwrap()
    };
    (0..100).map(of).sum::<f64>() / 100.0
}

/// AdamW takes no notice of a factor that all gradients have: a night of lessons that hardly count is one of small steps by its rate.
#[test]
fn a_bad_drivers_night_is_a_night_of_small_steps() {
    let Some(ort) = ort_or_skip() else { return };
    let (road, package) = (road(false), package());
    let moved = |known: Known| {
        let mut lessons = Lessons::new(Form::of_policy(&package).unwrap(), 3);
        let span = Span { first: 0, last: 199 };
        lessons.add(&road, &[span], &[known; 200], &Geometry::default(), &[]);
        let options = at_rate(lessons.learning_rate(1e-2));
        let model = model(options.samples);
        let mut tuner = PolicyTuner::new(&model, &package, &ort, None, &options).unwrap();
        let start = tuner.adapter().unwrap();
        tuner.run(&mut lessons, 40, |_| {}).unwrap();
        let tuned = tuner.adapter().unwrap();
        let moved = tuned.values().iter().zip(start.values()).map(|(to, from)| (to - from).powi(2));
        (lessons.weight_mean(), moved.sum::<f32>().sqrt())
    };
    let (full, trusting) = moved(Known::default());
    let (little, judging) = moved(Known { edge_m: Some(0.0), ..Known::default() });
    assert!(full == 1.0 && (little - 0.02).abs() < 1e-6, "{full} {little}");
    assert!(judging < 0.2 * trusting, "{judging} with hindsight, {trusting} without");
}

/// Cross-entropy on the driver's bins is learnt; a reckless driver beside the good one confuses a policy that trusts everybody,
/// and hardly one that looks at what came.
#[test]
fn hindsight_keeps_a_bad_driver_from_teaching() {
    let Some(ort) = ort_or_skip() else { return };
    let (good, bad) = (road(false), road(true));
    let untuned = nats(&ort, None);
    let alone = nats(&ort, Some(&tuned(&ort, &[(&good, true)])));
    let trusting = nats(&ort, Some(&tuned(&ort, &[(&good, false), (&bad, false)])));
    let judging = nats(&ort, Some(&tuned(&ort, &[(&good, true), (&bad, true)])));
    assert!((untuned - (BINS as f64).ln()).abs() < 0.2, "{untuned}");
    assert!(alone < 0.5, "{alone} from {untuned}");
    assert!(
        judging < trusting - 0.3,
        "{judging} with hindsight, {trusting} without, {alone} alone"
    );
}

/// The value of a pack of a good driver, of an adapter; with it that of another beside it, and of the pack read again.
#[test]
fn a_policy_that_learnt_from_the_driver_imitates_him_on_a_pack() {
    let Some(ort) = ort_or_skip() else { return };
    let (good, geometry) = (road(false), Geometry::default());
    let drive = |road: &Frames, name: &str| {
        use shoal_shadow::clip::Footage;
        let bytes = (0..road.len()).flat_map(|at| road.frame(at).to_vec()).collect();
        let motion = (0..road.len()).map(|at| road.motion(at)).collect();
        Drive::new(name.into(), [1; 32], 10.0, SHAPE, bytes, motion)
    };
    let still =
        Motion { acceleration_m_s2: Some(0.0), steering_rad: Some(0.0), ..Motion::default() };
    let bytes = vec![90; 200 * PIXELS];
    let straight =
        Drive::new("straight".into(), [1; 32], 10.0, SHAPE, bytes, vec![Some(still); 200]);
    let drives = [drive(&good, "good"), drive(&road(true), "wrong"), straight];
    let acted = drives.each_ref().map(|drive| Acted::of(drive, geometry));
    let licence = "CC0-1.0".into();
    let options = PackOptions { id: "drivers".into(), version: 1, licence, context: 1 };
    let folder = tempfile::tempdir().unwrap();
    build_imitation(&drives, &acted, &options, folder.path()).unwrap();
    let pack = Pack::open(folder.path()).unwrap();
    let footages = pack.read(&pack.parts()).unwrap();
    let measured = |adapter: Option<&Adapter>| {
        let mut policy =
            load_policy(&model(1), &package(), &ort, NonZeroUsize::MIN, adapter).unwrap();
        imitation(&mut policy, &footages.acts()).unwrap()
    };
    let (untuned, learnt) = (measured(None), measured(Some(&tuned(&ort, &[(&good, true)]))));
    let value = |of: &Measurement, drive: usize| of.drives[drive].next.skill().unwrap();
    assert!(value(&learnt, 0) > 0.8, "{} of the driver it learnt from", value(&learnt, 0));
    assert!(value(&untuned, 0) < 0.1, "{} untuned", value(&untuned, 0));
    assert!(value(&learnt, 1) < 0.0, "{} of the one who does the opposite", value(&learnt, 1));
    let counted: Vec<bool> = learnt.drives.iter().map(|drive| drive.counted).collect();
    assert_eq!(counted, [true, true, false], "on a straight road there is nothing to be seen");
    let mean = (value(&learnt, 0) + value(&learnt, 1)) / 2.0;
    assert_eq!(learnt.skill(), Some(mean));
    let difference = learnt.difference(&untuned, BOOTSTRAP_DRAWS, 0).unwrap();
    let by = learnt.skill().unwrap() - untuned.skill().unwrap();
    assert!((difference.mean - by).abs() < 1e-9, "{difference:?} and {by}");
    // Hindsight: the moments before the harsh brakes hardly count.
    let sum = |drive: usize| untuned.drives[drive].next.copy.iter().sum::<f64>();
    assert!(sum(1) < 0.1 * sum(0), "{} and {}", sum(1), sum(0));
    assert_eq!(measured(None), untuned);
}

fn data() -> Option<PathBuf> {
    let beside = Path::new(ROOT).join("../shared/data");
    let data = std::env::var_os("SHOAL_DATA").map_or(beside, PathBuf::from);
    if data.join("models/dave_small.onnx").is_file() && data.join("drives/donkeycar_tub").is_dir() {
        return Some(data);
    }
    let required = std::env::var_os("SHOAL_REQUIRE_DATA").is_some_and(|value| value == "1");
    assert!(!required, "no real policies or no tub, and SHOAL_REQUIRE_DATA=1");
    let line = b"SKIPPED policy: real policies or the tub are missing; SHOAL_DATA names both\n";
    std::io::stderr().write_all(line).expect("stderr is open");
    None
}

/// The value that ONNX Runtime recorded for a real frame, told on the grid, is the opinion of the package.
#[test]
fn a_real_policy_says_on_the_grid_what_its_recorded_output_was() {
    let (Some(ort), Some(data)) = (ort_or_skip(), data()) else { return };
    // Of these cars: the distance between their axles, and their steering ratio.
    let (lexus, lincoln) = ([2.79, 14.7], [2.85, 14.8]);
    for (name, file, golden, output, car) in [
        ("pilotnet_mae", "e2e_pilotnet_mae", "in_x.npy", -1.535_975_6, lexus),
        ("pilotnet_vanilla", "e2e_pilotnet_vanilla_dynbatch", "in_x.npy", -0.243_630_9, lexus),
        ("pilotnet_classifier512", "e2e_pilotnet_classifier512", "in_x.npy", 4.5, lexus),
        ("dave_small", "dave_small", "in_input_1.npy", -3.112_324, lincoln),
    ] {
        let onnx = data.join("models").join(format!("{file}.onnx"));
        let described = Path::new(ROOT).join("models").join(name);
        let package = Package::open_with(&described, Some(&onnx)).unwrap();
        let model = Model::read(&onnx).unwrap();
        let mut policy =
            load_policy(&model, package.description(), &ort, NonZeroUsize::MIN, None).unwrap();
        let frame = data.join("models").join(format!("{file}.golden")).join(golden);
        let Array { data: Data::F32(frame), .. } = read_npy(&frame).unwrap() else { panic!() };
        let opinion = policy.act(&frame, &[]).unwrap().unwrap();
        let [wheelbase_m, steering_ratio] = car;
        let car = Geometry::new(wheelbase_m, steering_ratio).unwrap();
        let want = ActionGrid::v1().curvature_bin(car.curvature_per_m(output));
        assert_eq!(opinion.curvature_median(), want, "{name}");
    }
}

/// Nothing is claimed of how good they are: other cameras, another road. The baselines stand beside them, the last action is
/// nearer than habit, and every moment of the part is compared.
#[test]
fn real_policies_are_compared_with_the_driver_of_a_real_tub() {
    let (Some(ort), Some(data)) = (ort_or_skip(), data()) else { return };
    let onnx = data.join("models/dave_small.onnx");
    let described = Path::new(ROOT).join("models/dave_small");
    let package = Package::open_with(&described, Some(&onnx)).unwrap();
    let description = package.description();
    let form = Form::of_policy(description).unwrap();
    let options = RecordedOptions { context: Some(form.context), ..RecordedOptions::default() };
    let tub = data.join("drives/donkeycar_tub");
    let drives = Drives::open(&tub, form.shape, form.rate_hz, &options).unwrap().drives;
    let model = Model::read(&onnx).unwrap();
    let mut policy = load_policy(&model, description, &ort, NonZeroUsize::MIN, None).unwrap();
    // A tub tells the angle of the front wheels; a model car is read as the car that it is a model of.
    let geometry = Geometry::new(2.7, 1.0).unwrap();
    let report = agreement(&mut policy, &drives, Part::HeldOut, &geometry).unwrap();
    let [policy, often, last] = &report.drives[0].predictors[..] else { panic!("{report:?}") };
    assert!(report.drives[0].moments > 50 && report.drives[0].not_finite == 0, "{report:?}");
    assert!(last.distance < often.distance, "{report:?}");
    assert_eq!(often.skill, Some(0.0));
    assert!(policy.skill.is_some_and(|skill| skill < last.skill.unwrap()), "{report:?}");
}

/// A policy that holds what came for impossible is infinitely many nats from it: no number, and as such a report is read again.
#[test]
fn a_policy_that_is_sure_and_wrong_has_a_distance_and_no_nats() {
    let Some(ort) = ort_or_skip() else { return };
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let rows = b.i64s(&[1, -1]);
    let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
    let weight = b.f32s(&[PIXELS, BINS], &vec![0.0; PIXELS * BINS]);
    let seen = b.op("MatMul", &[&flat, &weight], &[]).unwrap();
    let sure: Vec<f32> = (0..BINS).map(|bin| if bin == 0 { 1e4 } else { -1e4 }).collect();
    let bias = b.f32s(&[BINS], &sure);
    let logits = b.op("Add", &[&seen, &bias], &[]).unwrap();
    b.output("logits", &logits);
    let sure = b.into_model();
    let mut policy = load_policy(&sure, &package(), &ort, NonZeroUsize::MIN, None).unwrap();
    let driven = {
        use shoal_shadow::clip::Footage;
        let road = road(false);
        let bytes = (0..road.len()).flat_map(|at| road.frame(at).to_vec()).collect();
        let motion = (0..road.len()).map(|at| road.motion(at)).collect();
        Drive::new("good".into(), [1; 32], 10.0, SHAPE, bytes, motion)
    };
    let report = agreement(&mut policy, &[driven], Part::HeldOut, &Geometry::default()).unwrap();
    let [policy, often, _last] = &report.drives[0].predictors[..] else { panic!("{report:?}") };
    assert_eq!(policy.nats, None);
    assert!(policy.distance.is_finite() && often.nats.is_some(), "{report:?}");
    let told = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<AgreementReport>(&told).unwrap(), report);
}

/// A policy that is linear in a few pixels and knows nothing is tuned on three fifths of a real tub: on the last fifths of its
/// cycles it is nearer to the driver than before.
#[test]
fn a_policy_tuned_on_a_real_tub_comes_nearer_to_its_driver() {
    let (Some(ort), Some(data)) = (ort_or_skip(), data()) else { return };
    let package = package();
    let form = Form::of_policy(&package).unwrap();
    let options = RecordedOptions { context: Some(form.context), ..RecordedOptions::default() };
    let tub = data.join("drives/donkeycar_tub");
    let drives = Drives::open(&tub, form.shape, form.rate_hz, &options).unwrap().drives;
    let (drive, geometry) = (&drives[0], Geometry::new(2.7, 1.0).unwrap());
    let split = drive.split(form.context);
    let motion = |at| drive.motion(at).unwrap_or_default();
    let known: Vec<Known> = (0..drive.len()).map(|at| Known::of(&motion(at), &geometry)).collect();
    let mut lessons = Lessons::new(form, 0).holding_speed();
    lessons.add(drive, split.spans(Part::Tuning), &known, &geometry, &[]);
    let options = at_rate(1e-2);
    let mut tuner =
        PolicyTuner::new(&model(options.samples), &package, &ort, None, &options).unwrap();
    tuner.run(&mut lessons, 300, |_| {}).unwrap();
    let adapter = tuner.adapter().unwrap();
    let skill = |adapter: Option<&Adapter>| {
        let mut policy =
            load_policy(&model(1), &package, &ort, NonZeroUsize::MIN, adapter).unwrap();
        agreement(&mut policy, &drives, Part::HeldOut, &geometry).unwrap().skill.unwrap()
    };
    let (before, after) = (skill(None), skill(Some(&adapter)));
    writeln!(std::io::stderr(), "skill on the tub: {before:.3} before, {after:.3} after").unwrap();
    assert!(after > before + 0.05, "{before} {after}");
}

/// KITTI tells where its camera was, and not how anybody steered: what its driver did is the path. Of a bend to the right at ten
/// metres a second every moment is a lesson, and says right.
#[test]
fn the_path_of_a_real_camera_teaches_where_nobody_knows_the_steering() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    for frame in std::fs::read_dir(data.join("drives/kitti_seq2")).unwrap() {
        let frame = frame.unwrap();
        std::os::unix::fs::symlink(frame.path(), folder.path().join(frame.file_name())).unwrap();
    }
    let poses = data.join("logs/kitti_seq2/poses.txt");
    std::os::unix::fs::symlink(poses, folder.path().join("poses.txt")).unwrap();
    let form = Form::of_policy(&package()).unwrap();
    let options = RecordedOptions { context: Some(form.context), ..RecordedOptions::default() };
    let drives = Drives::open(folder.path(), form.shape, form.rate_hz, &options).unwrap().drives;
    let (drive, geometry) = (&drives[0], Geometry::default());
    let motion = |at| drive.motion(at).unwrap();
    let speeds: Vec<f32> = (0..drive.len()).filter_map(|at| motion(at).speed_m_s).collect();
    assert!(speeds.len() == 51 && speeds.iter().all(|speed| (9.5..13.0).contains(speed)));
    let (grid, straight) = (ActionGrid::v1(), ActionGrid::v1().curvature_bin(0.0));
    for at in 0..drive.len() {
        let did = Did::of(&motion(at), &geometry);
        assert!(did.bin().is_some() && did.curvature < Some(straight), "frame {at}: {did:?}");
        let curvature = geometry.curvature_of(&motion(at)).unwrap();
        assert!((-0.05..-0.004).contains(&curvature), "frame {at}: {curvature} 1/m");
        assert_eq!(did.curvature, Some(grid.curvature_bin(curvature)));
    }
    let split = drive.split(form.context);
    let known: Vec<Known> = (0..drive.len()).map(|at| Known::of(&motion(at), &geometry)).collect();
    let mut lessons = Lessons::new(form, 0);
    let taught = lessons.add(drive, split.spans(Part::Tuning), &known, &geometry, &[]);
    let frames: usize =
        split.spans(Part::Tuning).iter().map(|span| span.last - span.first + 1).sum();
    assert_eq!(taught, frames);
    // The bend is driven with up to 4.7 m/s² across.
    assert!(lessons.weight_mean() > 0.1, "{}", lessons.weight_mean());
}

/// A real minute on a motorway holds nothing against its driver; with a brake of 7 m/s² written into it, the seconds before
/// that weigh little.
#[test]
fn a_calm_real_minute_teaches_in_full_and_a_harsh_brake_in_it_does_not() {
    let Some(data) = data() else { return };
    let log = Log::read_csv(&data.join("logs/comma2k19_example1_10hz.csv")).unwrap();
    let geometry = Geometry::new(2.66, 16.88).unwrap();
    let mut known: Vec<Known> =
        (0..log.len()).map(|row| Known::of(&log.motion(row), &geometry)).collect();
    let calm = weights(&known, LOG_RATE_HZ, HORIZON_S);
    let mean = calm.iter().sum::<f32>() / calm.len() as f32;
    assert!(mean > 0.95, "{mean}");
    known[300].acceleration_m_s2 = Some(-7.0);
    let harsh = weights(&known, LOG_RATE_HZ, HORIZON_S);
    assert!(harsh[270..=300].iter().all(|weight| *weight < 0.05));
    assert_eq!(harsh[..260], calm[..260]);
    assert_eq!(harsh[301..], calm[301..]);
}

/// The policy that ships, after a night on the road of a driver who keeps to the middle of his lane: with turned cameras, rehearsing or not, it keeps to the
/// middle about as well as before, and nearer than after a night without. Interventions are told, and too few to hold.
#[test]
fn a_night_that_turns_the_camera_or_rehearses_stays_near_the_middle_of_the_lane() {
    let Some(ort) = ort_or_skip() else { return };
    let package = Package::open(&Path::new(ROOT).join("models/policy")).unwrap();
    let (description, one) = (package.description(), NonZeroUsize::MIN);
    let form = Form::of_policy(description).unwrap();
    let model = Model::read(&package.model_path()).unwrap();
    let drive = |model: &Model| {
        let mut session = PolicySession::load(model, description, &ort, one, None).unwrap();
        let shape = session.shape();
        Roads::unseen(10, 20).drive(shape, &mut Reflex::Policy(&mut session), |_| {}).unwrap()
    };
    let road = Road { region: Region::DenseTraffic, seed: 3_000_000 };
    let (style, form_of) = ((Style::Attentive, road.seed), (form.shape, form.rate_hz, 900));
    let driven = road.driven(style, Start::default(), form_of).unwrap();
    let acted = Acted::of_driven(&driven).unwrap();
    let all = [Span { first: 0, last: driven.drive.len() - 1 }];
    let options = at_rate(1e-3);
    let after = |turn, share| {
        let mut lessons = Lessons::new(form.clone(), 5).turning(turn);
        lessons.add(&driven.drive, &all, &acted.known, &acted.geometry, &[]);
        let rehearsal = Rehearsal { share, samples: options.samples, steps: 120, seed: 5 };
        let wheel = || PolicySession::load(&model, description, &ort, one, None);
        let mut lessons = Rehearsed::new(lessons, &form, &rehearsal, wheel).unwrap();
        let mut tuner = PolicyTuner::new(&model, description, &ort, None, &options).unwrap();
        tuner.run(&mut lessons, 120, |_| {}).unwrap();
        drive(&bake(&model, &tuner.adapter().unwrap()).unwrap())
    };
    let before = drive(&model);
    let [rehearsed, turned, plain] = [(TURN_RAD, REHEARSAL), (TURN_RAD, 0.0), (0.0, 0.0)]
        .map(|(turn, share)| after(turn, share));
    let [before, rehearsed, turned, plain] =
        [before, rehearsed, turned, plain].map(|report| (report.offset_m, report.interventions()));
    let told = format!("{before:?} before, {rehearsed:?} rehearsed, {turned:?} turned, {plain:?}");
    writeln!(std::io::stderr(), "{told} plain").unwrap();
    assert!(rehearsed.0 < 1.2 * before.0 && turned.0 < 1.2 * before.0, "{told}");
    assert!(turned.0 < 0.8 * plain.0, "{told}");
}

/// In the first places stand moments of generated roads, the same for the same seed; the others are as without them.
#[test]
fn a_rehearsing_night_keeps_its_own_lessons_as_they_are_in_the_places_that_are_left() {
    let Some(ort) = ort_or_skip() else { return };
    let package = Package::open(&Path::new(ROOT).join("models/policy")).unwrap();
    let (description, one) = (package.description(), NonZeroUsize::MIN);
    let form = Form::of_policy(description).unwrap();
    let model = Model::read(&package.model_path()).unwrap();
    let road = Road { region: Region::Rural, seed: 3_000_001 };
    let form_of = (form.shape, form.rate_hz, 60);
    let driven = road.driven((Style::Attentive, 1), Start::default(), form_of).unwrap();
    let acted = Acted::of_driven(&driven).unwrap();
    let all = [Span { first: 0, last: 59 }];
    let own = || {
        let mut lessons = Lessons::new(form.clone(), 5).turning(TURN_RAD);
        lessons.add(&driven.drive, &all, &acted.known, &acted.geometry, &[]);
        lessons
    };
    let (mut alone, mut batch) =
        (LessonBatch::new(form.clone(), 8), LessonBatch::new(form.clone(), 8));
    own().fill(3, &mut alone).unwrap();
    let mut filled = |share| {
        let rehearsal = Rehearsal { share, samples: 8, steps: 12, seed: 7 };
        let wheel = || PolicySession::load(&model, description, &ort, one, None);
        let mut lessons = Rehearsed::new(own(), &form, &rehearsal, wheel).unwrap();
        lessons.fill(3, &mut batch).unwrap();
        (batch.frames().to_vec(), batch.target().to_vec())
    };
    assert_eq!(filled(0.0), (alone.frames().to_vec(), alone.target().to_vec()));
    // A policy that cannot drive on generated roads is not asked to where nothing is rehearsed.
    let nothing = Rehearsal { share: 0.0, samples: 8, steps: 12, seed: 7 };
    let none = || -> Result<PolicySession, FitError> { unreachable!("nobody is at the wheel") };
    assert!(Rehearsed::new(own(), &form, &nothing, none).is_ok());
    let (frames, target) = filled(0.4);
    let sample = form.frames_len();
    let same =
        |at: usize| frames[at * sample..][..sample] == alone.frames()[at * sample..][..sample];
    assert!((0..3).all(|at| !same(at)) && (3..8).all(same), "three of eight are rehearsed");
    assert_eq!(target[3..], alone.target()[3..]);
    assert_eq!(filled(0.4), (frames, target));
}
