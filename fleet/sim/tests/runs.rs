//! Whole runs of a small model: what comes out does not depend on how many work, nor on cuts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod small;

use std::fs;
use std::path::Path;

use shoal_runtime::graft::Profile;
use shoal_shadow::fit::graft_package;
use shoal_shadow::package::DESCRIPTION_FILE;
use shoal_shadow::worldmodel;
use shoal_sim::compare::{CompareError, Place, Tell, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::lifelong::lifelong;
use shoal_sim::record::Record;
use shoal_sim::report;

use small::{SMALL, methods, model, of, read};

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

/// Every other way of learning together, on two windows of two roads.
const OTHERS: &str = "\
vehicles = 3
windows = 2
seed = 5
measure_every = 2
[model]
package = \"model\"
[engine]
kind = \"tract\"
[roads]
regions = [\"highway\", \"rural\"]
frames = 60
windows_to_drive = 2
[night]
steps = 2
batch = 4
learning_rate = 1e-2
[[methods]]
name = \"alone\"
kind = \"local\"
[[methods]]
name = \"fedavg-32\"
kind = \"average\"
[[methods]]
name = \"ties\"
kind = \"soup\"
merge = \"ties\"
[[methods]]
name = \"fedprox\"
kind = \"average\"
server = \"fedprox\"
mu = 100.0
[[methods]]
name = \"flexlora\"
kind = \"average\"
server = \"flexlora\"
[[methods]]
name = \"cocktail\"
kind = \"cocktail\"
[[methods]]
name = \"gossip\"
kind = \"gossip\"
[[methods]]
name = \"gossip-8\"
kind = \"gossip\"
bits = 8
[[methods]]
name = \"es\"
kind = \"es\"
pairs = 2
[[methods]]
name = \"es-own\"
kind = \"es\"
pairs = 1
on = \"own\"
[[methods]]
name = \"lorahub\"
kind = \"soup\"
merge = \"lorahub\"
budget = 6
[[methods]]
name = \"lego\"
kind = \"soup\"
merge = \"lego\"
[[methods]]
name = \"evo-merge\"
kind = \"soup\"
merge = \"evo_merge\"
layers = 2
budget = 6
[[methods]]
name = \"genome\"
kind = \"soup\"
merge = \"genome\"
budget = 6
[[methods]]
name = \"pso-merging\"
kind = \"soup\"
merge = \"pso_merging\"
budget = 9
[[methods]]
name = \"fisher\"
kind = \"soup\"
merge = \"fisher\"
samples = 3
[[methods]]
name = \"regmean\"
kind = \"soup\"
merge = \"regmean\"
samples = 2
[[methods]]
name = \"top-k\"
kind = \"ensemble\"
weights = \"top_k\"
keep = 2
[[methods]]
name = \"pack-llm\"
kind = \"ensemble\"
weights = \"pack_llm\"
[[methods]]
name = \"cbtm\"
kind = \"ensemble\"
weights = \"cbtm\"
";

/// The file beside a model that learns from a step.
fn config(folder: &Path, source: &str) -> SimConfig {
    model(folder);
    read(folder, source)
}

/// This file beside the model; by the engine that is quick to load graphs, where it is there: what shall hold, holds with either.
fn all(config: &SimConfig, folder: &Path) -> Result<Vec<Record>, CompareError> {
    part(config, folder, None)
}

fn part(
    config: &SimConfig,
    folder: &Path,
    part: Option<&str>,
) -> Result<Vec<Record>, CompareError> {
    let engine = shoal_vehicle::engine::open(&config.engine).unwrap();
    compare(config, [config.seed], Place { folder, part }, engine, |_tell| {})
}

#[test]
fn the_fleets_that_ship_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fleets");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let config = SimConfig::read(&entry.unwrap().path()).unwrap();
        // A matrix has no model of its own; what is in `target` is taught by whoever runs it.
        let matrix = config.drivers.as_ref().is_some_and(|drivers| drivers.matrix.is_some());
        let taught = config.package.components().any(|part| part.as_os_str() == "target");
        let model = config.trivial.is_none() && !matrix && !taught;
        assert!(
            !model || config.package.join(DESCRIPTION_FILE).is_file(),
            "{}",
            config.package.display()
        );
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn a_key_of_another_method_is_refused() {
    const ROADS: &str = "[roads]\nregions = [\"rural\"]\n";
    for (method, key) in [
        ("kind = \"soup\"\nmerge = \"lego\"\nprice = 0.1", "price"),
        ("kind = \"soup\"\nmerge = \"ties\"\nsamples = 3", "samples"),
        ("kind = \"soup\"\nmerge = \"fisher\"\nshrink = 0.5", "shrink"),
        ("kind = \"soup\"\nmerge = \"regmean\"\nshrink = 1.5", "shrink"),
        ("kind = \"soup\"\nmerge = \"regmean\"\nsamples = 0", "samples"),
        ("kind = \"average\"\nmu = 0.1", "mu"),
        ("kind = \"ensemble\"\nweights = \"pack_llm\"\nkeep = 3", "keep"),
        ("kind = \"gossip\"\nup_bits = 2", "up_bits"),
        ("kind = \"es\"\nmomentum = 0.5", "momentum"),
        ("kind = \"consensus\"\nevery = 3", "every"),
        ("kind = \"coefficients\"\ngroups = 17", "groups"),
    ] {
        let file = format!("{ROADS}[[methods]]\nname = \"one\"\n{method}\n");
        let said = SimConfig::parse("f.toml", &file).unwrap_err().to_string();
        assert!(said.contains(key), "{said}");
    }
    for data in ["[trivial]\nvalues = 60\n", "[logs]\nregions = [\"rural\"]\n"] {
        let of_frames = format!(
            "{data}[[methods]]\nname = \"by-inputs\"\nkind = \"soup\"\nmerge = \"regmean\"\n"
        );
        let said = SimConfig::parse("f.toml", &of_frames).unwrap_err().to_string();
        assert!(said.contains("by-inputs") && said.contains("no frames"), "{said}");
    }
    let method = "[[methods]]\nname = \"de\"\nkind = \"soup\"\nmerge = \"differential\"\n";
    let few = format!("vehicles = 3\n{ROADS}{method}");
    let said = SimConfig::parse("f.toml", &few).unwrap_err().to_string();
    assert!(said.contains("4 vehicles"), "{said}");
}

#[test]
fn a_comparison_is_the_same_whoever_works_and_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), FILE);
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

/// A fleet of vehicles that are all there, with these conditions; `more` comes before the first list of tables.
fn under(more: &str, methods: &str) -> String {
    let (head, _methods) = FILE.split_once("[[methods]]").unwrap();
    let (head, utility) = head.split_once("[[utility]]").unwrap();
    let head = head.replace("absent = 0.2\n", "");
    format!("{head}{more}[[utility]]{utility}{methods}")
}

const AVERAGE: &str = "kind = \"average\"\nup_bits = 4\ndown_bits = 4";

#[test]
fn smaller_ranks_fewer_steps_and_late_vehicles_stay_in_their_bounds() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let classes = "[[hardware]]\nname = \"small\"\nvehicles = 1\nrank = 1\n\
                   [[hardware]]\nname = \"slow\"\nvehicles = 1\nspeed = 0.34\nbatch = 4\n";
    let by_rank = format!("{AVERAGE}\nby_rank = true");
    let of_methods = methods(&[
        ("alone", "kind = \"local\""),
        ("fedavg", AVERAGE),
        ("by-rank", &by_rank),
        ("consensus", "kind = \"consensus\""),
        ("uniform", "kind = \"soup\"\nmerge = \"uniform\""),
        ("gossip", "kind = \"gossip\""),
        ("top-k", "kind = \"ensemble\"\nweights = \"top_k\""),
    ]);
    let out = folder.path().join("out");
    let classed = read(folder.path(), &under(classes, &of_methods));
    let records = part(&classed, &out, Some("classes")).unwrap();
    for record in &records {
        assert!(record.rows[1..].iter().all(|row| row.steps == 3 + 3 + 1), "one takes a third");
    }
    assert_ne!(of(&records, "fedavg").rows[3].skill, of(&records, "by-rank").rows[3].skill);
    let again = all(&SimConfig { jobs: 1, ..classed.clone() }, &folder.path().join("other"));
    assert_eq!(again.unwrap(), records);

    let plain = of_methods.replace("\nby_rank = true", "");
    let on_time = part(&read(folder.path(), &under("", &plain)), &out, Some("plain")).unwrap();
    let late = under("", &plain).replace("[calendar]\n", "[calendar]\nstale = 0.34\n");
    let late = part(&read(folder.path(), &late), &out, Some("late")).unwrap();
    let up = |records: &[Record], name: &str| of(records, name).rows[1].bytes.up;
    assert!(
        up(&late, "fedavg") < up(&on_time, "fedavg"),
        "the first night comes in the second window"
    );
    for name in ["fedavg", "consensus", "uniform", "gossip", "top-k"] {
        assert_ne!(of(&late, name).rows[3], of(&on_time, name).rows[3], "{name}");
    }
    assert_eq!(of(&late, "alone").rows, of(&on_time, "alone").rows, "alone nothing is late");

    let high = under(&classes.replace("rank = 1", "rank = 5"), &of_methods);
    let refused = all(&read(folder.path(), &high), &folder.path().join("high")).unwrap_err();
    assert!(format!("{refused:?}").contains("Rank"), "{refused:?}");
    let at_home = format!("{AVERAGE}\nnight = {{ home = 99 }}");
    let at_home = under("", &methods(&[("first", AVERAGE), ("home", &at_home)]));
    let out = folder.path().join("home");
    let refused = all(&read(folder.path(), &at_home), &out).unwrap_err();
    assert!(format!("{refused:?}").contains("Home"), "{refused:?}");
    assert!(!out.join("seed-5/first").exists(), "said before anything runs");
}

#[test]
fn a_journey_is_measured_on_all_its_roads_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let journey = "[[roads.journey]]\nfrom_window = 1\nregions = [\"highway\", \"rural\"]\n\
                   [[roads.journey]]\nfrom_window = 3\nregions = [\"snow\"]\n";
    let of_methods = methods(&[
        ("alone", "kind = \"local\""),
        ("pooled", "kind = \"pooled\""),
        ("fedavg", AVERAGE),
        ("consensus", "kind = \"consensus\""),
    ]);
    let text = under("", &of_methods)
        .replace("regions = [\"highway\", \"rural\"]\n", "")
        .replace("[night]\n", &format!("{journey}[night]\nreplay = false\n"))
        .replace("windows = 3\n", "windows = 4\n");
    let config = read(folder.path(), &text);
    let out = folder.path().join("out");
    let records = all(&config, &out).unwrap();
    for record in &records {
        let phases = &record.head.changes.phases;
        assert_eq!(phases.iter().map(|phase| phase.ends).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(record.rows[2].skill.len(), 3 + 3 + 1, "looked at where a phase ends");
        let own: Vec<&String> = record.rows[4].own.keys().collect();
        assert!(own.iter().all(|road| phases[1].roads.contains(road)), "{own:?}");
        let found = lifelong(record).unwrap();
        assert!(found.forgetting.is_some() && found.forward_plasticity.is_some());
        assert_eq!(record.head.changes.weights, [2, 3]);
    }
    // In the first phase both are tuned alike.
    let pooled = lifelong(of(&records, "pooled")).unwrap();
    assert!(pooled.forward_plasticity.unwrap().is_finite());
    let again = all(&SimConfig { jobs: 1, ..config }, &folder.path().join("other")).unwrap();
    assert_eq!(again, records);
    let report = folder.path().join("report");
    report::compare(&records, "fedavg", &report).unwrap();
    let table = fs::read_to_string(report.join("table.md")).unwrap();
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    for shown in ["Moving utility", "windows to recover", "Journey", "FWD, plasticity"] {
        assert!(table.contains(shown) && page.contains(shown), "{shown}");
    }
}

#[test]
fn switches_against_forgetting_repeat_and_go_on_from_kept_results() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let journey = "[[roads.journey]]\nfrom_window = 1\nregions = [\"highway\"]\n\
                   [[roads.journey]]\nfrom_window = 2\nregions = [\"snow\"]\n";
    let of_methods = methods(&[("alone", "kind = \"local\""), ("fedavg", AVERAGE)]);
    let file = |night: &str| {
        let text = under("", &of_methods)
            .replace("regions = [\"highway\", \"rural\"]\nunseen = [\"coast\"]\n", "")
            .replace("[night]\nsteps = 3\n", &format!("{journey}[night]\nsteps = 2\n{night}"))
            .replace("vehicles = 3\nwindows = 3\n", "vehicles = 2\nwindows = 2\n")
            .replace("windows = [1, 3]\nweights = [0.0, 1.0]\n", "")
            .replace(
                "name = \"rural\"\nroads = [\"rural\"]\n",
                "name = \"snow\"\nroads = [\"snow\"]\n",
            );
        read(folder.path(), &text)
    };
    let out = folder.path().join("out");
    let plain = part(&file(""), &out, Some("plain")).unwrap();
    // The package has no footage: before the first phase there is nothing to hold to.
    for (name, night, from) in [("held", "ewc = 1e3\n", 2), ("distilled", "distilled = 1\n", 1)] {
        let config = file(night);
        let records = part(&config, &out, Some(name)).unwrap();
        for record in &records {
            let without = of(&plain, &record.head.method);
            let mut rows = record.rows.iter().zip(&without.rows);
            let differs = rows.position(|(row, without)| row.skill != without.skill);
            assert_eq!(differs, Some(from), "{name}, {}", record.head.method);
            let alone = |record: &Record| record.rows[2].also["phase_alone"];
            assert_eq!(alone(record) == alone(without), name == "held", "held to nothing");
        }
        // Cut in the second phase: nights are read back, and so is what they are held to.
        let path = out.join(format!("seed-5/{name}/fedavg/windows.jsonl"));
        let text = fs::read_to_string(&path).unwrap();
        let cut = text.match_indices('\n').nth(2).unwrap().0;
        fs::write(&path, &text[..cut + 20]).unwrap();
        assert_eq!(part(&config, &out, Some(name)).unwrap(), records);
        let one = SimConfig { jobs: 1, ..config };
        assert_eq!(all(&one, &folder.path().join(name)).unwrap(), records);
    }
}

/// What roll-outs of the fleet's model are worth is told at the beginning, where all methods have the shipped one, and at the end.
#[test]
fn a_method_may_have_nights_of_its_own_that_roll_out_or_are_taught_by_the_fleet() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let nights = [
        ("next", ""),
        ("ahead", "night = { ahead = 3 }"),
        ("shipped", "night = { distilled = 1 }"),
        ("best", "night = { distilled = 1, teacher = \"best\" }"),
    ];
    let merged = ["shipped", "best"].map(|teacher| {
        let night = format!("night = {{ distilled = 1, teacher = \"{teacher}\" }}");
        (format!("merged-{teacher}"), format!("kind = \"soup\"\nmerge = \"uniform\"\n{night}"))
    });
    let nights = nights.map(|(name, night)| (name.to_owned(), format!("{AVERAGE}\n{night}")));
    let nights = [&nights[..], &merged].concat();
    let nights: Vec<(&str, &str)> =
        nights.iter().map(|(name, kind)| (&name[..], &kind[..])).collect();
    let of_methods = methods(&nights);
    let text = under("", &of_methods)
        .replace("measure_every = 3\n", "")
        .replace("frames = 60\n", "frames = 120\nrollouts = true\n")
        .replace("vehicles = 3\nwindows = 3\n", "vehicles = 2\nwindows = 2\n")
        .replace("windows = [1, 3]\nweights = [0.0, 1.0]\n", "");
    let records = all(&read(folder.path(), &text), &folder.path().join("out")).unwrap();
    let [next, ahead, shipped, best] =
        ["next", "ahead", "shipped", "best"].map(|name| of(&records, name));
    for record in &records {
        let told = |row: usize| {
            ["driven", "others"].map(|of| record.rows[row].also[&format!("rollout.{of}")])
        };
        assert!(told(0).iter().chain(&told(2)).all(|skill| skill.is_finite() && *skill < 1.0));
        assert_eq!(record.rows[0].also, next.rows[0].also);
        assert_ne!(told(0), told(2), "{}", record.head.method);
        assert!(!record.rows[1].also.contains_key("rollout.driven"));
    }
    let first = |of: &Record, than: &Record| {
        of.rows.iter().zip(&than.rows).position(|(row, other)| row.skill != other.skill)
    };
    assert_eq!([ahead, shipped, best].map(|of| first(of, next)), [Some(1); 3]);
    assert_eq!(first(best, shipped), Some(2), "there is no best before the first window");
    let [shipped, best] = ["merged-shipped", "merged-best"].map(|name| of(&records, name));
    assert_eq!(best.rows, shipped.rows, "nobody was given a merge to be taught by");
}

/// The fifth frame, and what is gained over the model as it ships, are terms like others; where a part is too short for five frames in
/// a row, nothing runs.
#[test]
fn the_fifth_frame_and_gains_are_terms_where_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let run = |metric: &str, frames: u32| {
        let text = under("", &methods(&[("average", AVERAGE)]));
        let (head, _terms) = text.split_once("[[utility]]").unwrap();
        let head = head.replace("frames = 60", &format!("frames = {frames}"));
        let term = format!("[[utility]]\nname = \"a\"\nmetric = \"{metric}\"\n");
        let text = head + &term + &methods(&[("average", AVERAGE)]);
        let text =
            text.replace("windows = 3\n", "windows = 1\n").replace("measure_every = 3\n", "");
        let out = folder.path().join(format!("{metric}-{frames}"));
        Ok::<_, CompareError>(all(&read(folder.path(), &text), &out)?.remove(0).rows)
    };
    let short = run("rollout", 60).unwrap_err().to_string();
    assert!(short.contains("utility.a") && short.contains("in a row"), "{short}");
    let utilities = |metric| run(metric, 500).unwrap().into_iter().map(|row| row.utility);
    let [next, far, gain, far_gain] = ["skill", "rollout", "skill_gain", "rollout_gain"]
        .map(|metric| utilities(metric).collect::<Vec<f64>>());
    for (plain, gain) in [(&next, &gain), (&far, &far_gain)] {
        assert_eq!(gain[0], 0.0, "the shipped model gains nothing over itself");
        assert!(gain[1] != 0.0 && (plain[1] - plain[0] - gain[1]).abs() < 1e-9);
    }
    assert_ne!(next[0], far[0]);
}

/// A record is of the model that it was run with, and what was tuned is kept by that and by what its description says.
#[test]
fn another_model_at_the_same_path_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let text = under("", &methods(&[("alone", "kind = \"local\"")]));
    let config = read(folder.path(), &text.replace("windows = 3\n", "windows = 1\n"));
    let out = folder.path().join("out");
    let run = |name: &str| part(&config, &out, Some(name));
    let refused = |of: &str| {
        let error = run("first").unwrap_err();
        assert!(matches!(error, CompareError::Other { what, .. } if what == of), "{error:?}");
    };
    let first = run("first").unwrap();
    assert_eq!(run("first").unwrap(), first);

    let path = out.join("seed-5/first/alone/windows.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let of_model = format!("\"model\":\"{}\",", first[0].head.model.as_ref().unwrap());
    fs::write(&path, text.replacen(&of_model, "", 1)).unwrap();
    let older = run("first").unwrap();
    assert_eq!((&older[0].head.model, &older[0].rows), (&None, &first[0].rows));
    fs::write(&path, text.replacen(&first[0].head.engine, "another/cpu", 1)).unwrap();
    refused("engine");
    fs::write(&path, &text).unwrap();

    // Another loss trains otherwise; other weights are another model.
    const MODEL: &str = "model, model.toml or footage";
    let description = folder.path().join("model").join(DESCRIPTION_FILE);
    let said = fs::read_to_string(&description).unwrap();
    fs::write(&description, said.replace("\"mse\"", "\"charbonnier\"")).unwrap();
    refused(MODEL);
    let second = run("second").unwrap();
    assert_eq!(second[0].rows[0], first[0].rows[0]);
    assert_ne!(second[0].rows[1].skill, first[0].rows[1].skill);
    fs::write(&description, &said).unwrap();
    assert_eq!(run("first").unwrap(), first);
    let weights = folder.path().join("model/model.onnx");
    worldmodel::build(&SMALL, 2).unwrap().write(&weights).unwrap();
    refused(MODEL);
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

/// What must hold of exchanges and merges that are compared with ours, beside that they run.
fn check_others(records: &[Record]) {
    let of = |name: &str| records.iter().find(|record| record.head.method == name).unwrap();
    let bytes = |name: &str| {
        let rows = of(name).rows[1..].iter().map(|row| (row.bytes.up, row.bytes.down));
        rows.fold((0.0, 0.0), |(up, down), row| (up + row.0, down + row.1))
    };
    let last = |name: &str| &of(name).rows[2];
    let start = &of("alone").rows[0].skill;
    for name in ["fedprox", "flexlora", "cocktail", "gossip", "gossip-8", "es", "es-own"] {
        assert_ne!(last(name).skill, *start, "{name} moves");
    }
    let (sent, whole) = (|name| bytes(name).0, bytes("fedavg-32").0);
    assert_eq!(sent("fedprox"), whole, "the pull costs nothing to send");
    assert!(sent("cocktail") < whole / 10.0, "{} of {whole}", sent("cocktail"));
    assert!(sent("gossip") > 1.2 * whole, "two runs each, but for the odd one of three");
    assert!(sent("gossip-8") < sent("gossip") / 2.0);
    assert!(sent("es") < 1000.0 && sent("es") > 0.0, "{}", sent("es"));
    assert!(of("es").rows[1..].iter().all(|row| row.steps == 0 && row.evaluations > 0));
    assert!(last("es").utility.is_finite());

    let once = bytes("ties").0;
    for name in ["lorahub", "lego", "evo-merge", "genome", "pso-merging"] {
        assert_eq!(bytes(name), bytes("ties"), "{name} is carried once, as any soup");
    }
    for (name, budget) in [("lorahub", 6), ("evo-merge", 6), ("genome", 6), ("pso-merging", 9)] {
        assert_eq!(last(name).evaluations, budget, "{name}");
    }
    assert!(bytes("fisher").0 > 1.9 * once, "the diagonal goes up, too");
    assert_eq!(bytes("fisher").1, bytes("ties").1);
    let (regmean, grams) = (bytes("regmean"), 4.0 * gram_values());
    assert!(regmean.0 > once + grams && regmean.0 < once + 1.01 * grams, "{}", regmean.0);
    let more = regmean.1 - bytes("ties").1;
    assert!((0.0..100.0).contains(&more), "only acknowledgements come down more: {more}");
    assert!(of("regmean").rows[1].skill.is_empty(), "only in the last window");
    let merged = &last("regmean").skill;
    assert!(merged.values().all(|skill| skill.is_finite()) && merged != start);
    assert_ne!(*merged, last("ties").skill);
    for name in ["top-k", "pack-llm", "cbtm"] {
        assert!(bytes(name).0 >= once, "{name}");
        assert!(last(name).skill.values().all(|skill| skill.is_finite()), "{name}");
        assert_ne!(last(name).skill, last("alone").skill, "{name}");
    }
    assert!(bytes("pack-llm").1 > 1.9 * bytes("ties").1, "both others' adapters");
    assert!(bytes("top-k").1 < 0.9 * bytes("pack-llm").1, "only the best go out");
}

/// Values of the triangles of in·(in + 1)/2 of every site of the small model's adapter.
fn gram_values() -> f64 {
    let model = worldmodel::build(&SMALL, 1).unwrap();
    let description = worldmodel::description(&SMALL);
    let layout = graft_package(&model, &description, 1, Profile::Cpu).unwrap().layout;
    let inputs = layout.sites.iter().map(|site| site.a.dims[1..].iter().product::<usize>());
    inputs.map(|inputs| (inputs * (inputs + 1) / 2) as f64).sum()
}

#[test]
fn other_ways_of_learning_together_run_and_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), OTHERS);
    config.jobs = 2;
    let records = all(&config, &folder.path().join("out")).unwrap();
    check_others(&records);
    // Nothing but what is new to a fleet: the rest is made of the same nights.
    const AGAIN: [&str; 6] = ["cocktail", "gossip", "es", "fisher", "regmean", "cbtm"];
    config.methods.retain(|method| AGAIN.contains(&method.name.as_str()));
    config.jobs = 1;
    for record in all(&config, &folder.path().join("other")).unwrap() {
        assert!(records.contains(&record), "{} by one", record.head.method);
    }
}
