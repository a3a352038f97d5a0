//! Vehicles of two networks that share a matrix on the grid's logits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::onnx::{Builder, PinOptions, TensorType, fold, pin};
use shoal_shadow::grid::{ACCELERATION_BINS, Action, ActionGrid, BINS, SHA256};
use shoal_shadow::package::DESCRIPTION_FILE;
use shoal_shadow::policymodel::transformer::{self, Transformer};
use shoal_sim::compare::{Place, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Record;
use shoal_sim::report::markdown;

const FLEET: &str = "\
vehicles = 4
windows = 3
measure_every = 3
[engine]
kind = \"tract\"
[drivers]
regions = [\"dense_traffic\", \"tight_curves\"]
frames = 400
hindsight = false
attentive_roads = 4
reckless_roads = 1
closed_roads = 0
[drivers.matrix]
policies = [\"left\", \"fast\"]
[night]
steps = 4
[[methods]]
name = \"swarm\"
kind = \"paper\"
[[methods]]
name = \"alone\"
kind = \"local\"
";

/// A package of a network that goes straight on at its speed but for an error of so many bins of the curvature and of the acceleration,
/// whatever it sees.
fn erring(folder: &Path, name: &str, off: [usize; 2]) {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let rows = b.i64s(&[1, -1]);
    let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
    let weight = b.f32s(&[96, BINS], &vec![0.0; 96 * BINS]);
    let seen = b.op("MatMul", &[&flat, &weight], &[]).unwrap();
    let place = |bin: usize| [bin / ACCELERATION_BINS, bin % ACCELERATION_BINS];
    let straight = place(ActionGrid::v1().bin(Action::default()));
    let bias = (0..BINS).map(|bin| {
        let axes = place(bin).into_iter().zip(straight).zip(off);
        axes.map(|((at, straight), off)| -2.0 * at.abs_diff(straight + off) as f32).sum()
    });
    let bias = b.f32s(&[BINS], &bias.collect::<Vec<f32>>());
    let logits = b.op("Add", &[&seen, &bias], &[]).unwrap();
    b.output("logits", &logits);
    let package = folder.join(name);
    fs::create_dir(&package).unwrap();
    b.into_model().write(&package.join("model.onnx")).unwrap();
    let grid: String = SHA256.iter().map(|byte| format!("{byte:02x}")).collect();
    let toml = format!(
        "name = '{name}'\nrate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
         [action]\noutput = 'logits'\ngrid = '{grid}'\n"
    );
    fs::write(package.join(DESCRIPTION_FILE), toml).unwrap();
}

fn records(folder: &Path, fleet: &str) -> Vec<Record> {
    fs::write(folder.join("fleet.toml"), fleet).unwrap();
    erring(folder, "left", [1, 0]);
    erring(folder, "fast", [0, 1]);
    let config = SimConfig::read(&folder.join("fleet.toml")).unwrap();
    let engine = shoal_sim::lab::engine(&config).unwrap();
    let out = folder.join("out");
    compare(&config, [0], Place { folder: &out, part: None }, engine, |_tell| {}).unwrap()
}

/// What is exchanged moves: with a value that ends where both networks are, a fleet stayed with the uniform pool to the bit.
#[test]
fn a_swarm_of_matrices_leaves_the_uniform_pool_and_so_do_nights_alone() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path(), FLEET);
    let [swarm, alone] = &records[..] else { panic!("two methods") };
    for record in [swarm, alone] {
        let first = record.rows.first().unwrap();
        for policy in ["policy.left.0", "policy.fast.1"] {
            assert!(first.also.contains_key(policy), "{policy} is not in {:?}", first.also);
        }
        assert_eq!(record.head.values, 3296);
        let last = record.rows.last().unwrap();
        assert!(last.utility > first.utility, "{} is not above {}", last.utility, first.utility);
    }
    let bytes = swarm.rows.last().unwrap().bytes;
    assert!(bytes.up > 0.0 && bytes.down > 0.0, "matrices are exchanged: {bytes:?}");
    assert!(markdown(&records, "swarm").unwrap().contains("Several networks"));
}

/// One of two vehicles has a reckless driver: its night counts less where what came of it is looked at.
#[test]
fn hindsight_weighs_what_a_matrix_counts() {
    let fleet = |hindsight: &str| {
        FLEET
            .replace("vehicles = 4", "vehicles = 2")
            .replace("windows = 3\nmeasure_every = 3", "windows = 1\nmeasure_every = 1")
            .replace("hindsight = false", hindsight)
            .replace("frames = 400", "frames = 400\nreckless = 1")
    };
    let utility = |hindsight: &str| {
        let folder = tempfile::tempdir().unwrap();
        let records = records(folder.path(), &fleet(hindsight));
        records.last().unwrap().rows.last().unwrap().utility
    };
    assert_ne!(utility("hindsight = true"), utility("hindsight = false"));
}

/// What every graph of this project is held to: the largest difference, relative to the largest value of the output.
#[test]
fn the_transformer_is_the_same_on_tract_and_onnx_runtime() {
    let Some(ort) = ort_or_skip() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fleet.toml"), FLEET).unwrap();
    let config = SimConfig::read(&folder.path().join("fleet.toml")).unwrap();
    let tract = shoal_sim::lab::engine(&config).unwrap();
    let model = transformer::build(&Transformer::default(), 5).unwrap();
    let options = PinOptions { batch: Some(1), ..PinOptions::default() };
    let folded = fold(&pin(&model, &options).unwrap()).unwrap();
    let engines: [&dyn Engine; 2] = [&ort, &*tract];
    let outputs = engines.map(|engine| {
        let mut session = engine.load(&folded.model, &LoadOptions::default()).unwrap();
        for index in 0..session.inputs().len() {
            let count = session.inputs()[index].ty.values();
            let values: Vec<f32> = noise(index, count).iter().map(|v| 0.5 + 0.5 * v).collect();
            session.write_f32(index, &values).unwrap();
        }
        session.run().unwrap();
        session.output_f32(0).unwrap().to_vec()
    });
    let largest = outputs[0].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(largest > 0.01, "{largest}");
    for (a, b) in outputs[0].iter().zip(&outputs[1]) {
        assert!((a - b).abs() <= 1e-4 * largest, "{a} and {b}");
    }
}
