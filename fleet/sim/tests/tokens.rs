//! Whole runs of small models of tokens: generated cars, and streams of codes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use shoal_shadow::package::{DESCRIPTION_FILE, Description};
use shoal_shadow::tokenmodel::{self, Architecture};
use shoal_sim::compare::{CompareError, Place, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::{Record, RoadKind};
use shoal_sim::report::markdown;

const FLEET: &str = "\
vehicles = 3
windows = 3
seed = 5
measure_every = 3
[model]
package = \"model\"
[engine]
kind = \"tract\"
[night]
steps = 10
batch = 16
learning_rate = 1e-2
[calendar]
absent = 0.2
[[methods]]
name = \"alone\"
kind = \"local\"
[[methods]]
name = \"fedavg-2\"
kind = \"average\"
up_bits = 2
down_bits = 2
[[methods]]
name = \"ties\"
kind = \"soup\"
merge = \"ties\"
[[methods]]
name = \"pooled\"
kind = \"pooled\"
[[methods]]
name = \"consensus\"
kind = \"consensus\"
[[methods]]
name = \"paper\"
kind = \"paper\"
";

const CARS: &str = "\
[logs]
regions = [\"rural\", \"mountain\"]
unseen = [\"city\"]
rows = 150
windows_to_drive = 2
[[utility]]
name = \"all\"
[[utility]]
name = \"rural\"
roads = [\"generated/rural\"]
windows = [1, 3]
weights = [0.0, 1.0]
";

const OF_MOTION: &str = "\
rate_hz = 10.0
[signals]
input = \"signals\"
rows = 4
lag = 0
columns = [{ field = \"steering_rad\" }, { field = \"speed_m_s\", scale = 0.05 }, { field = \"acceleration_m_s2\" }]
[tokens]
input = \"tokens\"
rows = 4
field = \"lateral_acceleration_m_s2\"
low = -5.0
high = 5.0
bins = 64
[next_token]
output = \"logits\"
[adapter]
targets = [\"!copy.*\"]
rank = 4
";

const OF_CODES: &str = "\
rate_hz = 10.0
[tokens]
input = \"tokens\"
rows = 8
vocabulary = 16
frame = 8
place = \"place\"
[next_token]
output = \"logits\"
[adapter]
rank = 4
";

fn architecture(signals: [usize; 2], places: usize) -> Architecture {
    let (tokens, rows, picks) = if places > 0 { (16, 8, vec![8, 1]) } else { (64, 4, vec![1, 2]) };
    Architecture { tokens, rows, picks, places, signals, embedding: 8, hidden: 16 }
}

/// The file beside a model.
fn config(folder: &Path, logs: &str, description: &str, architecture: &Architecture) -> SimConfig {
    let model = tokenmodel::build(architecture, 1).unwrap();
    let description = Description::parse("model.toml", description, "tokens").unwrap();
    let package = folder.join("model");
    fs::create_dir(&package).unwrap();
    model.write(&package.join(&description.model)).unwrap();
    fs::write(package.join(DESCRIPTION_FILE), description.to_toml()).unwrap();
    let file = folder.join("fleet.toml");
    fs::write(&file, format!("{FLEET}{logs}")).unwrap();
    SimConfig::read(&file).unwrap()
}

fn all(config: &SimConfig, folder: &Path) -> Result<Vec<Record>, CompareError> {
    let engine = shoal_vehicle::engine::open(&config.engine).unwrap();
    compare(config, [config.seed], Place { folder, part: None }, engine, |_tell| {})
}

fn of<'a>(records: &'a [Record], name: &str) -> &'a Record {
    records.iter().find(|record| record.head.method == name).unwrap()
}

#[test]
fn every_method_runs_on_generated_cars_and_repeats_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), CARS, OF_MOTION, &architecture([4, 3], 0));
    config.jobs = 2;
    let records = all(&config, &folder.path().join("out")).unwrap();
    let start = &of(&records, "alone").rows[0];
    for record in &records {
        assert_eq!((record.rows.len(), &record.rows[0]), (4, start));
        let last = &record.rows[3];
        assert_eq!((last.skill.len(), last.own.len()), (4, 3), "three cars are driven, one is not");
        let (nats, baseline) = (last.also["nats"], last.also["nats_baseline"]);
        assert_eq!(baseline, start.also["nats_baseline"], "what skill is counted from stays");
        assert!(nats > 0.0 && last.also["nats_unseen"] > 0.0);
    }
    let kinds = &of(&records, "alone").head.roads;
    let seed = config.seed;
    let kind = |car: &str| kinds[&format!("generated/{car}/{seed}")];
    assert_eq!(kind("rural/0"), RoadKind::Driven(0));
    assert_eq!(kind("mountain/1"), RoadKind::Driven(1));
    assert_eq!(kind("city/3"), RoadKind::Unseen);
    let others = SimConfig { seed: seed + 1, windows: 1, ..config.clone() };
    let others = SimConfig { methods: config.methods[..1].to_vec(), ..others };
    let others = all(&others, &folder.path().join("others")).unwrap().remove(0).head.roads;
    assert!(others.keys().all(|car| !kinds.contains_key(car)), "each seed has cars of its own");
    let pooled = &of(&records, "pooled").rows;
    assert!(pooled[3].also["nats"] < pooled[0].also["nats"], "{pooled:?}");
    assert!(of(&records, "consensus").rows[1..].iter().any(|row| row.bytes.up > 0.0));
    let rejected = |name: &str| {
        of(&records, name).rows.iter().filter_map(|row| row.also.get("rejected")).sum::<f64>()
    };
    assert!(rejected("consensus") + rejected("paper") < 20.0, "cores refuse only what is old");
    assert!(markdown(&records, "alone").unwrap().contains("nats a token on driven logs: "));

    config.jobs = 1;
    config.methods.retain(|method| matches!(method.name.as_str(), "fedavg-2" | "consensus"));
    for record in &all(&config, &folder.path().join("other")).unwrap() {
        assert!(records.contains(record), "{} by one", record.head.method);
    }
}

/// Codes of so many frames of 8: the left half stays, the right half counts up.
fn codes(frames: i64) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({frames}, 8), }}\n");
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    for frame in 0..frames {
        let code = |place| if place < 4 { place } else { (frame + place) % 16 };
        file.extend((0..8).map(code).flat_map(i64::to_le_bytes));
    }
    file
}

#[test]
fn codes_are_learnt_from_stretches_of_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let logs =
        "[logs]\nrecorded = [\"codes.npy\"]\nfrom = 0.2\nstretches = 4\nunseen_stretches = 1\n";
    fs::write(folder.path().join("codes.npy"), codes(100)).unwrap();
    let config = config(folder.path(), logs, OF_CODES, &architecture([0, 0], 8));
    let records = all(&config, &folder.path().join("out")).unwrap();
    let pooled = of(&records, "pooled");
    let names: Vec<&str> = pooled.head.roads.keys().map(String::as_str).collect();
    assert_eq!(names, ["codes.npy/0", "codes.npy/1", "codes.npy/2", "codes.npy/3"]);
    assert_eq!(pooled.head.roads["codes.npy/3"], RoadKind::Unseen);
    let first = &pooled.rows[0].also;
    // Half of the codes come again: 1 bit for which, and the other 15 are alike.
    assert!((first["bits_baseline"] - (1.0 + 0.5 * 15_f64.log2())).abs() < 0.05, "{first:?}");
    let bits = |name: &str| of(&records, name).rows[3].also["bits"];
    assert!(bits("pooled") < first["bits"] && bits("fedavg-2") < first["bits"]);
}

#[test]
fn logs_and_roads_are_not_taken_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let roads = "[roads]\nregions = [\"rural\"]\n";
    let mut config = config(folder.path(), roads, OF_MOTION, &architecture([4, 3], 0));
    let out = folder.path().join("out");
    let said = all(&config, &out).unwrap_err().to_string();
    assert!(said.contains("it reads [logs]"), "{said}");
    let toml = format!("{FLEET}[logs]\nrecorded = [\"none.csv\"]\n");
    config.logs = SimConfig::parse("fleet.toml", &toml).unwrap().logs;
    assert!(all(&config, &out).is_err());
}
