//! Whole runs of a small model: what comes out does not depend on how many work, nor on cuts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use shoal_shadow::package::DESCRIPTION_FILE;
use shoal_shadow::worldmodel::{self, Architecture};
use shoal_sim::compare::{CompareError, Place, Tell, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Record;

const FILE: &str = "\
vehicles = 3
windows = 3
seed = 5
measure_every = 3
[model]
package = \"model\"
[engine]
kind = \"tract\"
[roads]
regions = [\"highway\", \"rural\"]
unseen = [\"coast\"]
frames = 60
windows_to_drive = 2
[night]
steps = 3
batch = 4
learning_rate = 1e-2
[calendar]
absent = 0.2
[[utility]]
name = \"all\"
[[utility]]
name = \"rural\"
roads = [\"rural\"]
windows = [1, 3]
weights = [0.0, 1.0]
[[methods]]
name = \"alone\"
kind = \"local\"
[[methods]]
name = \"fedavg-2\"
kind = \"average\"
up_bits = 2
down_bits = 2
[[methods]]
name = \"diloco-32\"
kind = \"average\"
server = \"momentum\"
[[methods]]
name = \"ties\"
kind = \"soup\"
merge = \"ties\"
[[methods]]
name = \"cma\"
kind = \"soup\"
merge = \"cma_affine\"
budget = 6
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

/// The file beside a model that learns from a step.
fn config(folder: &Path) -> SimConfig {
    let architecture = Architecture {
        width: 32,
        height: 16,
        channels: [8, 12, 16],
        pairs_half: 1,
        pairs_full: 0,
        differences: false,
    };
    let model = worldmodel::build(&architecture, 1).unwrap();
    let mut description = worldmodel::description(&architecture);
    description.adapter.rank = 4;
    let package = folder.join("model");
    fs::create_dir(&package).unwrap();
    model.write(&package.join(&description.model)).unwrap();
    fs::write(package.join(DESCRIPTION_FILE), description.to_toml()).unwrap();
    let file = folder.join("fleet.toml");
    fs::write(&file, FILE).unwrap();
    SimConfig::read(&file).unwrap()
}

fn all(config: &SimConfig, folder: &Path) -> Result<Vec<Record>, CompareError> {
    let engine = shoal_vehicle::engine::open(&config.engine).unwrap();
    compare(config, [config.seed], Place { folder, part: None }, engine, |_tell| {})
}

#[test]
fn the_fleets_that_ship_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleets");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let config = SimConfig::read(&entry.unwrap().path()).unwrap();
        assert!(config.package.join(DESCRIPTION_FILE).is_file(), "{}", config.package.display());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn a_comparison_is_the_same_whoever_works_and_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.jobs = 2;
    let out = folder.path().join("out");
    let records = all(&config, &out).unwrap();
    let named: Vec<&str> = records.iter().map(|record| record.head.method.as_str()).collect();
    let wanted: Vec<&str> = config.methods.iter().map(|method| method.name.as_str()).collect();
    assert_eq!(named, wanted);
    check(&records);

    // One at a time, in another folder.
    config.jobs = 1;
    let other = folder.path().join("other");
    config.methods.retain(|method| matches!(method.name.as_str(), "fedavg-2" | "consensus"));
    let few = all(&config, &other).unwrap();
    for record in &few {
        assert!(records.contains(record), "{} by one", record.head.method);
    }

    // Cut in the middle of a line, and without what was measured last.
    let path = other.join("seed-5/consensus/windows.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let third = text.match_indices('\n').nth(2).unwrap().0;
    fs::write(&path, &text[..third + 20]).unwrap();
    fs::remove_dir_all(other.join("seed-5/results")).unwrap();
    let (mut written, mut begun) = (0, 0);
    let engine = shoal_vehicle::engine::open(&config.engine).unwrap();
    let place = Place { folder: &other, part: None };
    let resumed = compare(&config, [5], place, engine, |tell| match tell {
        Tell::Begins { written: there, .. } => (written, begun) = (there, begun + 1),
        Tell::Skipped(_) | Tell::Window(..) => {}
    });
    assert_eq!(resumed.unwrap(), few);
    assert_eq!((begun, written), (1, 2), "what is whole is not run again");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // A window that was written by something else is not gone on from.
    let other_way = text.replacen("\"steps\":9", "\"steps\":8", 1);
    assert_ne!(other_way, text);
    let cut = other_way.match_indices('\n').nth(2).unwrap().0;
    fs::write(&path, &other_way[..=cut]).unwrap();
    assert!(matches!(all(&config, &other), Err(CompareError::Differs { window: 1, .. })));
    config.night.steps = 4;
    assert!(matches!(all(&config, &other), Err(CompareError::Other { .. })));
}

/// What must hold of every comparison.
fn check(records: &[Record]) {
    let of = |name: &str| records.iter().find(|record| record.head.method == name).unwrap();
    let start = &of("alone").rows[0];
    for record in records {
        assert_eq!(record.rows.len(), 4);
        assert_eq!(record.rows[0], *start, "everyone begins with x_p");
        let present: Vec<u32> = record.rows[1..].iter().map(|row| row.present).collect();
        let alone: Vec<u32> = of("alone").rows[1..].iter().map(|row| row.present).collect();
        assert_eq!(present, alone, "who is there does not depend on the method");
        assert_eq!(record.rows[3].skill.len(), 4, "three roads are driven, one is not");
        assert_eq!(record.rows[3].own.len(), 3);
    }
    let sent = |name: &str| of(name).rows[1..].iter().map(|row| row.bytes.up).sum::<f64>();
    assert!(sent("alone") == 0.0 && sent("pooled") == 0.0);
    let ties = &of("ties").rows;
    assert_eq!(ties[2].bytes.up, 0.0);
    assert!(sent("ties") > 0.9 * sent("diloco-32") / 3.0, "a soup is carried once, not coded");
    assert!(sent("fedavg-2") > 0.0 && sent("fedavg-2") < sent("diloco-32") / 4.0);
    assert!(sent("consensus") > 0.0 && sent("paper") > 0.0);
    assert!(of("fedavg-2").rows[1..].iter().all(|row| row.steps == 9));
    assert!(of("fedavg-2").rows[1].skill.is_empty(), "it is not looked at");
    assert_ne!(of("fedavg-2").rows[3].skill, start.skill, "the mean of what was tuned is not x_p");
    let rejected =
        |name: &str| of(name).rows.iter().filter_map(|row| row.also.get("rejected")).sum::<f64>();
    assert!(rejected("consensus") + rejected("paper") < 20.0, "cores refuse only what is old");
}
