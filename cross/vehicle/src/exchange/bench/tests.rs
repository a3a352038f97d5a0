use std::path::Path;

use shoal_hal::Drive;
use shoal_hal::backend::synthetic::{Region, Road};
use shoal_runtime::onnx::{Builder, TensorType};
use shoal_shadow::grid::{self, ACCELERATION_BINS, Action, ActionGrid};
use shoal_shadow::pack::{Acted, PackOptions, build, build_imitation};

use super::*;
use crate::config::{Config, EngineKind};

#[test]
fn a_span_holds_back_its_end_and_keeps_enough_to_tune_on() {
    for frames in 0..200 {
        let Some(first) = held_back(frames, 4) else {
            assert!(frames < 15, "{frames} frames can spare a clip");
            continue;
        };
        // A clip has four past frames and the next.
        assert!(frames - first >= 5 && first >= 10, "{frames} frames held back from {first}");
    }
    assert_eq!(held_back(120, 4), Some(100));
}

/// A bench with the default model on tract and packs of one generated road each.
fn benches(directory: &Path, roads: &[(&str, Region)]) -> Bench {
    benches_of(directory, roads, |_config| {})
}

/// The same, of a vehicle that is told something else.
pub(in crate::exchange) fn benches_of(
    directory: &Path,
    roads: &[(&str, Region)],
    change: impl FnOnce(&mut Config),
) -> Bench {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    config.engine.together = 3;
    config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
    config.state = directory.join("state");
    change(&mut config);
    let agent = Agent::open(config).unwrap();
    let form = agent.form();
    let packs = roads.iter().map(|&(id, region)| {
        let road = Road { region, seed: 7 };
        let drives = [road.render(form.shape, form.rate_hz, 300)];
        let (version, licence) = (1, "CC0-1.0".into());
        let options = PackOptions { id: id.into(), version, licence, context: form.context };
        build(&drives, &options, &directory.join(id)).unwrap();
        directory.join(id)
    });
    let packs: Vec<PathBuf> = packs.collect();
    Bench::open(agent, &packs).unwrap()
}

fn bench(directory: &Path) -> Bench {
    benches(directory, &[("road", Region::ALL[0])])
}

/// A package whose model both foresees and acts, 8×4 at 10 Hz: black frames, and straight on at one speed, unless an adapter
/// says otherwise.
fn acting(directory: &Path) -> PathBuf {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let rows = b.i64s(&[1, -1]);
    let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
    let mut matrix = |columns: usize| {
        let weight = b.f32s(&[96, columns], &vec![0.0; 96 * columns]);
        b.op("MatMul", &[&flat, &weight], &[]).unwrap()
    };
    let (next, seen) = (matrix(96), matrix(grid::BINS));
    let straight = ActionGrid::v1().bin(Action::default());
    let (column, row) = (straight / ACCELERATION_BINS, straight % ACCELERATION_BINS);
    let away = |bin: usize| {
        let (x, y) = (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
        -0.4 * (x.abs_diff(column) + y.abs_diff(row)) as f32
    };
    let bias: Vec<f32> = (0..grid::BINS).map(away).collect();
    let bias = b.f32s(&[grid::BINS], &bias);
    let logits = b.op("Add", &[&seen, &bias], &[]).unwrap();
    let shape = b.i64s(&[1, 3, 4, 8]);
    let next = b.op("Reshape", &[&next, &shape], &[]).unwrap();
    b.output("next", &next);
    b.output("logits", &logits);
    let package = directory.join("acting");
    std::fs::create_dir(&package).unwrap();
    b.into_model().write(&package.join("model.onnx")).unwrap();
    let grid: String = grid::SHA256.iter().map(|byte| format!("{byte:02x}")).collect();
    let toml = format!(
        "rate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
         [next_frame]\noutput = 'next'\n[action]\noutput = 'logits'\ngrid = '{grid}'\n\
         [adapter]\nrank = 2\nalpha = 2.0\n"
    );
    std::fs::write(package.join("model.toml"), toml).unwrap();
    package
}

/// An agent of a package, and a pack of attentive drivers for it.
fn imitates(directory: &Path, package: PathBuf) -> Result<Bench, BenchError> {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    config.model.package = package;
    config.state = directory.join("state");
    let agent = Agent::open(config).unwrap();
    let form = agent.form();
    // The fourth road has tight curves.
    let mut driven = vec![crate::drives::attentive(4, 400, form, 0).remove(3)];
    driven.extend(crate::drives::reckless((4, 6), 400, form, 0));
    let acted = driven.iter().map(Acted::of_driven);
    let mut acted: Vec<Acted> = acted.map(Option::unwrap).collect();
    acted[1..].iter_mut().for_each(|acted| acted.imitated = false);
    let drives: Vec<Drive> = driven.into_iter().map(|driven| driven.drive).collect();
    let options = PackOptions {
        id: "drivers".into(),
        version: 1,
        licence: "CC0-1.0".into(),
        context: form.context,
    };
    build_imitation(&drives, &acted, &options, &directory.join("pack")).unwrap();
    Bench::open(agent, &[directory.join("pack")])
}

#[test]
fn a_pack_of_imitation_is_measured_by_what_the_model_would_do() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = imitates(directory.path(), acting(directory.path())).unwrap();
    assert_eq!(bench.measures()[0], (bench.hash(0), By::Imitation));
    let count = bench.agent().layout().values();
    let flat = |more: f32| -> Flat {
        (0..count).map(|i| more * ((i * 7919 % 1009) as f32 / 1009.0 - 0.5)).collect()
    };
    let (one, other) = (flat(1.0), flat(0.3));
    let on = On::Part(1);
    let compared = bench.measure(&one, Some(&other), on, &[]).unwrap()[0].1;
    let alone = bench.measure(&other, None, on, &[]).unwrap()[0].1;
    assert_eq!(compared.beside, alone.value);
    assert_ne!(compared.value, alone.value, "adapters that all do the same show nothing");
    assert!(compared.value_error > 0 && compared.difference_error > 0, "{compared:?}");
    let again = bench.measure(&one, Some(&other), on, &[]).unwrap();
    assert_eq!(again[0].1, compared);
    // Where nothing is asked for it is what is gained at it, whose scale does not end where the package is.
    let gained = [(bench.hash(0), By::ImitationGain)];
    let gained = bench.measure(&one, Some(&other), on, &gained).unwrap()[0].1;
    assert_eq!(compared, gained);
    let imitated = [(bench.hash(0), By::Imitation)];
    assert_ne!(bench.measure(&one, Some(&other), on, &imitated).unwrap()[0].1, gained);
}

/// Half a second behind someone, and closing: who is tuned to go on as fast as it can is gated, who brakes passes.
#[test]
fn an_adapter_that_closes_up_on_who_is_ahead_is_below_the_gate() {
    use shoal_wire::v1::{Knot, Term, UtilityDocument, UtilityDocumentFields};
    let directory = tempfile::tempdir().unwrap();
    let mut bench = imitates(directory.path(), acting(directory.path())).unwrap();
    let (layout, grid) = (Arc::clone(bench.agent().layout()), ActionGrid::v1());
    // The logits of this acceleration grow with how bright the picture is.
    let proposes = |acceleration_m_s2: f64| -> Flat {
        let mut values = vec![0.0; layout.values()];
        let site = layout.sites.iter().find(|site| site.b.dims.contains(&grid::BINS)).unwrap();
        values[site.a.range.start..][..96].fill(1.0);
        let row = grid.acceleration_bin(acceleration_m_s2);
        for (place, value) in values[site.b.range.clone()].chunks_exact_mut(2).enumerate() {
            value[0] = if place % ACCELERATION_BINS == row { 1.0 } else { 0.0 };
        }
        values.into()
    };
    // What ships holds the speed: nobody may be nearer to danger than that.
    let asked = [By::Imitation, By::Distance, By::DistanceGain].map(|by| (bench.hash(0), by));
    let gated = |gates: [Option<i16>; 3]| {
        let terms = asked.iter().zip([1.0, 0.0, 0.0]).zip(gates);
        terms.map(|((asked, weight), gate)| (*asked, weight, gate))
    };
    let term = |((pack, metric), weight, gate): (Asked, _, _)| Term {
        name: format!("{metric:?}").as_str().try_into().unwrap(),
        pack,
        metric,
        knots: [Knot { window: 0, weight }].into_iter().collect(),
        gate,
    };
    let weighing = |gates| {
        let terms = gated(gates).map(term).collect();
        let fields = UtilityDocumentFields { version: 1, terms };
        let document = UtilityDocument::new(fields).unwrap();
        shoal_swarm::utility::Utility::new(&document).at(1).unwrap()
    };
    let (absolute, relative) =
        (weighing([None, Some(5_000), None]), weighing([None, None, Some(-100)]));
    let mut values = |candidate: &Flat| -> Vec<i16> {
        let on = On::Part(0);
        let measured = bench.measure(candidate, None, on, &asked).unwrap();
        let terms = measured::in_order(&measured, &asked).unwrap();
        terms.iter().map(|term| term.value).collect()
    };
    let (brakes, closes) = (values(&proposes(-4.0)), values(&proposes(2.5)));
    let shipped = values(&vec![0.0; layout.values()].into());
    for gate in [absolute, relative] {
        assert!(gate.passes(&brakes) && !gate.passes(&closes), "{brakes:?} {closes:?}");
    }
    assert_eq!(shipped[2], 0, "what ships gains nothing over itself");
    for values in [brakes, closes] {
        let difference = values[1] - shipped[1];
        assert!(values[2].abs_diff(difference) <= 1, "{values:?} beside {shipped:?}");
    }
}

#[test]
fn the_fifth_frame_and_what_is_gained_are_measured_where_they_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = bench(directory.path());
    let all = [By::Skill, By::Rollout, By::SkillGain, By::RolloutGain];
    let all = all.map(|by| (bench.hash(0), by));
    assert_eq!(bench.measures(), all);
    let on = On::Part(0);
    let zeros: Flat = vec![0.0; bench.agent().layout().values()].into();
    let other: Flat = (0..zeros.len()).map(|i| 0.02 * ((i % 7) as f32 - 3.0)).collect();
    let values = |terms: &Terms| terms.iter().map(|(_, term)| term.value).collect::<Vec<_>>();
    let near = bench.measure(&other, None, on, &[]).unwrap();
    assert_eq!(near.len(), 1);
    let shipped = values(&bench.measure(&zeros, None, on, &all).unwrap());
    let compared = bench.measure(&other, Some(&zeros), on, &all).unwrap();
    let own = values(&compared);
    assert_eq!((own[0], &shipped[2..]), (near[0].1.value, &[0, 0][..]));
    assert_ne!(own[0], own[1], "the fifth frame is another one");
    for (plain, gain) in [(0, 2), (1, 3)] {
        assert!((own[plain] - shipped[plain]).abs_diff(own[gain]) <= 1, "{own:?} {shipped:?}");
        let (plain, gain) = (compared[plain].1, compared[gain].1);
        assert_eq!(plain.difference_error, gain.difference_error);
        assert_eq!(gain.beside, 0);
    }
}

#[test]
fn each_term_is_measured_on_its_own_pack() {
    let directory = tempfile::tempdir().unwrap();
    let roads = [("city", Region::City), ("forest", Region::Forest)];
    let mut both = benches(directory.path(), &roads);
    let (city, forest) = (both.hash(0), both.hash(1));
    let values: Flat =
        (0..both.agent().layout().values()).map(|i| 0.02 * ((i % 7) as f32 - 3.0)).collect();
    let on = On::Part(2);
    let asked = [(forest, By::SkillGain), (city, By::Skill), (forest, By::Skill)];
    both.measure_ahead(&[&values, &values], on, &asked).unwrap();
    let terms = both.measure(&values, None, on, &asked).unwrap();
    let terms = measured::in_order(&terms, &asked).unwrap();
    assert_ne!(terms[1].value, terms[2].value, "two roads are not alike");
    let alone = tempfile::tempdir().unwrap();
    for ((id, region), together) in roads.into_iter().zip(&terms[1..]) {
        let folder = alone.path().join(format!("alone-{id}"));
        std::fs::create_dir(&folder).unwrap();
        let mut one = benches(&folder, &[(id, region)]);
        assert_eq!(one.measure(&values, None, on, &[]).unwrap()[0].1, *together, "{id}");
    }
    let usual = both.measure(&values, None, on, &[]).unwrap();
    assert_eq!(usual, [((city, By::Skill), terms[1])], "what is not asked for: the first pack");
}

#[test]
fn a_vehicle_whose_model_has_no_opinion_refuses_a_pack_of_imitation() {
    let directory = tempfile::tempdir().unwrap();
    let world = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
    let refused = imitates(directory.path(), world).err().unwrap().to_string();
    assert!(refused.contains("one of imitation") && refused.contains("grid"), "{refused}");
}

#[test]
fn adapters_measured_in_one_run_count_as_much_as_each_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = bench(directory.path());
    let count = bench.agent().layout().values();
    let flat = |more: f32| -> Flat {
        (0..count).map(|i| more * ((i * 7919 % 1009) as f32 / 1009.0 - 0.5)).collect()
    };
    let adapters = [flat(0.05), flat(0.02), flat(-0.04), flat(0.03)];
    let on = On::Part(1);
    let alone = adapters.each_ref().map(|one| bench.measure(one, None, on, &[]).unwrap()[0].1);
    bench.remembered.clear();
    bench.together_pays = vec![(Metric::Skill, 2, true)];
    let all: Vec<&Flat> = adapters.iter().chain(&adapters).collect();
    bench.measure_ahead(&all, on, &[]).unwrap();
    assert_eq!(bench.remembered.len(), 3, "as many as are allowed, each once");
    for (one, alone) in adapters.iter().zip(alone) {
        let together = bench.measure(one, None, on, &[]).unwrap()[0].1;
        assert!(together.value.abs_diff(alone.value) <= 1, "{together:?} and {alone:?}");
        assert!(together.value_error.abs_diff(alone.value_error) <= 1);
    }
    assert_eq!(bench.remembered.len(), 4);
    assert_ne!(alone[0].value, alone[1].value, "adapters that all do the same show nothing");

    bench.together_pays = vec![(Metric::Skill, 3, false)];
    bench.measure_ahead(&all, On::Part(2), &[]).unwrap();
    assert_eq!(bench.remembered.len(), 4, "where it does not pay, each is measured in its turn");
}

#[test]
fn what_pays_with_some_pays_with_more_and_what_does_not_may_with_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = bench(directory.path());
    bench.together_pays = vec![(Metric::Skill, 2, false), (Metric::Skill, 4, true)];
    let pays = [2, 3, 4, 5].map(|count| bench.pays(Metric::Skill, count));
    assert_eq!(pays, [Some(false), None, Some(true), Some(true)]);
    assert_eq!(bench.pays(Metric::Imitation, 4), None, "another graph");
}

/// By all that a pack of drivers tells.
#[test]
fn policies_measured_in_one_run_count_as_much_as_each_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = imitates(directory.path(), acting(directory.path())).unwrap();
    let count = bench.agent().layout().values();
    let flat = |more: f32| -> Flat {
        (0..count).map(|i| more * ((i * 7919 % 1009) as f32 / 1009.0 - 0.5)).collect()
    };
    let adapters = [flat(1.0), flat(0.3)];
    let (on, asked) = (On::Part(1), bench.measures());
    let measured =
        |bench: &mut Bench| adapters.each_ref().map(|one| bench.measure(one, None, on, &asked));
    let alone = measured(&mut bench).map(Result::unwrap);
    assert!(alone[0].len() > 3 && alone[0] != alone[1], "{alone:?}");
    bench.remembered.clear();
    bench.together_pays = vec![(Metric::Imitation, 2, true)];
    let all: Vec<&Flat> = adapters.iter().collect();
    bench.measure_ahead(&all, on, &asked).unwrap();
    assert_eq!(bench.remembered.len(), 2);
    for (together, alone) in measured(&mut bench).map(Result::unwrap).iter().zip(&alone) {
        assert_eq!(together.len(), alone.len());
        for ((of, together), (other, alone)) in together.iter().zip(alone) {
            assert_eq!(of, other);
            assert!(together.value.abs_diff(alone.value) <= 1, "{of:?} {together:?} {alone:?}");
        }
    }
}

#[test]
fn a_span_that_cannot_be_read_back_is_counted_once_and_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let road = [("road", Region::ALL[0])];
    let metrics = Metrics::default();
    let bench = benches_of(directory.path(), &road, |config| config.replay.ordinary_share = 1.0);
    let mut bench = bench.counting(&metrics);
    let agent = bench.agent();
    let form = agent.form();
    let road = Road { region: Region::ALL[0], seed: 3 }.render(form.shape, form.rate_hz, 60);
    let all = [shoal_hal::Span { first: 0, last: 59 }];
    agent.drive(&road, &all, 1_000_000, |_tell| {}).unwrap();
    agent.drive(&road, &all, 1_000_100, |_tell| {}).unwrap();
    let spans = agent.replay().spans;
    assert_eq!(bench.roads().unwrap().spans.len(), spans);
    let files = std::fs::read_dir(directory.path().join("state/replay")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let path = paths.filter(|path| path.extension().is_some_and(|end| end == "span")).min();
    let path = path.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for _night in 0..2 {
        assert_eq!(bench.roads().unwrap().spans.len(), spans - 1);
        assert_eq!(metrics.replay_unreadable.get(), 1);
    }
}

#[test]
fn a_pack_on_which_nothing_is_counted_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let agent = {
        let mut config = Config::default();
        config.engine.kind = EngineKind::Tract;
        config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
        config.state = directory.path().join("state");
        Agent::open(config).unwrap()
    };
    let (shape, rate_hz, context) =
        (agent.form().shape, agent.form().rate_hz, agent.form().context);
    let still = Drive::new(
        "still".into(),
        [1; 32],
        rate_hz,
        shape,
        vec![90; 200 * shape.bytes()],
        vec![None; 200],
    );
    let options =
        PackOptions { id: "parked".into(), version: 1, licence: "CC0-1.0".into(), context };
    build(&[still], &options, &directory.path().join("pack")).unwrap();
    let refused = Bench::open(agent, &[directory.path().join("pack")]).err().unwrap().to_string();
    assert!(refused.contains("parked") && refused.contains("counted"), "{refused}");
}
