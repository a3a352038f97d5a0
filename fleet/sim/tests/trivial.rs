//! Whole runs of clients without a model: the methods are those of real ones, and what comes out repeats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use shoal_sim::compare::{Place, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Record;
use shoal_sim::statistics::{Figure, Of, When, spent};

const FILE: &str = "\
vehicles = 300
windows = 4
seed = 5
measure_every = 2
[trivial]
values = 60
[calendar]
absent = 0.1
[[methods]]
name = \"alone\"
kind = \"local\"
[[methods]]
name = \"fedavg\"
kind = \"average\"
[[methods]]
name = \"fedavg-2\"
kind = \"average\"
up_bits = 2
down_bits = 6
[[methods]]
name = \"median\"
kind = \"average\"
server = \"median\"
[[methods]]
name = \"pooled\"
kind = \"pooled\"
[[methods]]
name = \"soup\"
kind = \"soup\"
merge = \"uniform\"
[[methods]]
name = \"consensus\"
kind = \"consensus\"
[[methods]]
name = \"coefficients\"
kind = \"coefficients\"
every = 2
[[methods]]
name = \"paper\"
kind = \"paper\"
";

fn all(config: &SimConfig, folder: &Path) -> Vec<Record> {
    with_seeds(config, [config.seed], folder)
}

fn with_seeds(
    config: &SimConfig,
    seeds: impl IntoIterator<Item = u64>,
    folder: &Path,
) -> Vec<Record> {
    let engine = shoal_sim::lab::engine(config).unwrap();
    let place = Place { folder, part: None };
    compare(config, seeds, place, engine, |_tell| {}).unwrap()
}

#[test]
fn every_method_learns_and_a_run_repeats_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = SimConfig::parse("fleet.toml", FILE).unwrap();
    // Where everybody hears of everybody the work grows with the square.
    let board = config.methods.split_off(config.methods.len() - 3);
    let mut small = SimConfig { vehicles: 20, methods: board, ..config.clone() };
    let records = all(&config, &folder.path().join("two"));
    let few = all(&small, &folder.path().join("few"));
    (config.jobs, small.jobs) = (1, 1);
    assert_eq!(records, all(&config, &folder.path().join("one")));
    assert_eq!(few, all(&small, &folder.path().join("few by one")));

    for record in records.iter().chain(&few) {
        let name = &record.head.method;
        let (start, end) = (record.rows.first().unwrap(), record.rows.last().unwrap());
        let driven = |row: &shoal_sim::record::Row| row.driven(&record.head).unwrap();
        assert_eq!(driven(start), 0.0, "{name} begins where skill is 0");
        assert!(driven(end) > 0.1, "{name}: {}", driven(end));
        assert!(record.rows[1].skill.is_empty(), "{name} looks where it is due");
        let looked_at = record.head.vehicles.min(64) as usize;
        assert_eq!((end.skill.len(), end.own.len()), (looked_at, looked_at), "{name}");
    }
    let of = |name: &str| records.iter().find(|record| record.head.method == name).unwrap();
    let sent = |name: &str| of(name).rows[1..].iter().map(|row| row.bytes.up).sum::<f64>();
    assert!(sent("alone") == 0.0 && sent("fedavg-2") < sent("fedavg"));
    let last = |name: &str| of(name).rows.last().unwrap().utility;
    assert!(last("fedavg") > last("alone"), "the middle of all optima is what the pack asks for");
    assert!(of("median").rows[1..].iter().all(|row| row.steps == 300));
}

#[test]
fn nothing_is_kept_of_what_is_made_again_as_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = SimConfig::parse("fleet.toml", FILE).unwrap();
    config.methods.truncate(2);
    let records = all(&config, folder.path());
    let results = folder.path().join("seed-5/results");
    assert!(fs::read_dir(&results).unwrap().next().is_none());
    // A run that was cut is gone on with all the same.
    let path = folder.path().join("seed-5/fedavg/windows.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert_eq!(all(&config, folder.path()), records);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// Without noise ε has no end, and with next to none it is no figure: it is not told, and the run can be read.
#[test]
fn what_privacy_costs_is_told_where_it_is_a_figure() {
    let folder = tempfile::tempdir().unwrap();
    let private = |noise: &str| {
        let method = |kind: &str| {
            format!(
                "[[methods]]\nname = \"{kind}-{noise}\"\nkind = \"{kind}\"\nprivacy = {{ clip = 0.5, noise = {noise} }}\n"
            )
        };
        ["average", "consensus"].map(method).concat()
    };
    let methods = ["2.0", "0.0", "0.00000001"].map(private).concat();
    let file = format!("vehicles = 5\nwindows = 2\n[trivial]\nvalues = 60\n{methods}");
    let config = SimConfig::parse("fleet.toml", &file).unwrap();
    for record in all(&config, folder.path()) {
        let name = &record.head.method;
        let told = record.rows[2].also.contains_key("epsilon");
        assert_eq!(told, name.ends_with("2.0"), "{name}");
    }
}

/// A third of the fleet has agreed on a noise that each claims as perfect, on votes for it, and against all else. Who votes is drawn: of
/// one seed nothing follows.
#[test]
fn a_third_that_colludes_is_found_out_in_three_windows_and_costs_little() {
    const SEEDS: std::ops::Range<u64> = 0..4;
    let run = |share: f64, from: usize| {
        let folder = tempfile::tempdir().unwrap();
        let file = format!(
            "vehicles = 32\nwindows = 12\nmeasure_every = 12\n[trivial]\nvalues = 60\n\
             [liars]\nshare = {share}\nlie = \"colluding\"\nfrom_window = {from}\n\
             [[methods]]\nname = \"consensus\"\nkind = \"consensus\"\n"
        );
        with_seeds(&SimConfig::parse("fleet.toml", &file).unwrap(), SEEDS, folder.path())
    };
    let gain = |record: &Record| record.rows.last().unwrap().driven(&record.head).unwrap();
    let without = run(0.0, 1);
    let mut found = Vec::new();
    // From the beginning, and after they behaved for half a dozen windows.
    for from in [1, 7] {
        for (with, without) in run(0.33, from).iter().zip(&without) {
            let told = format!("from {from}, seed {}", with.head.seed);
            let kept = gain(with) / gain(without);
            assert!(kept > 0.93, "{told}: {kept} of the gain is kept");
            let aside = |name: &str| {
                let rows = with.rows.iter().skip(1);
                rows.map(|row| row.also.get(name).copied().unwrap()).collect::<Vec<f64>>()
            };
            let (honest, liars) = (aside("quarantined"), aside("quarantined_liars"));
            assert!(honest.iter().sum::<f64>() <= 0.01 * 21.0 * 12.0, "{told}: {honest:?}");
            // What they voted in the first window in which they lie is held against them in it.
            assert!(liars[..from - 1].iter().all(|aside| *aside == 0.0), "{told}: {liars:?}");
            if with.head.seed == SEEDS.start {
                // Two of eleven voted in it, and against what all others found.
                let at_once = if from == 1 { 0.0 } else { 2.0 };
                assert_eq!(liars[from - 1], at_once, "{told}: {liars:?}");
                assert!(liars[from + 1] >= 5.0, "half of eleven after three windows: {liars:?}");
            }
            found.push(liars.iter().position(|aside| *aside >= 5.0).unwrap() + 2 - from);
        }
    }
    found.sort_unstable();
    assert!(found[found.len() / 2] <= 3, "half of eleven after so many windows: {found:?}");
}

/// Of two claims that contradict each other neither counts, whatever either says: nobody follows a liar that would please everybody.
#[test]
fn a_third_that_claims_twice_and_differently_costs_little() {
    let run = |share: f64| {
        let folder = tempfile::tempdir().unwrap();
        let file = format!(
            "vehicles = 16\nwindows = 8\nmeasure_every = 8\n[trivial]\nvalues = 60\n\
             [liars]\nshare = {share}\nlie = \"equivocating\"\n\
             [[methods]]\nname = \"consensus\"\nkind = \"consensus\"\n"
        );
        with_seeds(&SimConfig::parse("fleet.toml", &file).unwrap(), 0..2, folder.path())
    };
    let gain = |record: &Record| record.rows.last().unwrap().driven(&record.head).unwrap();
    let sum = |record: &Record, name: &str| -> f64 {
        record.rows.iter().filter_map(|row| row.also.get(name)).sum()
    };
    for (with, without) in run(0.33).iter().zip(&run(0.0)) {
        let seed = with.head.seed;
        assert_eq!(sum(without, "rejected"), 0.0, "seed {seed}: nobody contradicts itself");
        assert!(sum(with, "rejected") > 0.0, "seed {seed}: who hears both refuses the second");
        assert!(sum(with, "quarantined") <= 0.01 * 11.0 * 8.0, "seed {seed}: of the honest");
        let kept = gain(with) / gain(without);
        assert!(kept > 0.93, "seed {seed}: {kept} of the gain is kept");
    }
}

/// What is fitted to one part of the pack is true there, and the votes are on another part: whoever claims it is found out.
#[test]
fn a_fifth_that_fits_what_it_claims_to_one_part_of_the_pack_costs_little() {
    let run = |share: f64| {
        let folder = tempfile::tempdir().unwrap();
        let file = format!(
            "vehicles = 32\nwindows = 12\nmeasure_every = 12\n[trivial]\nvalues = 60\n\
             [liars]\nshare = {share}\nlie = \"overfitting\"\n\
             [[methods]]\nname = \"consensus\"\nkind = \"consensus\"\n"
        );
        with_seeds(&SimConfig::parse("fleet.toml", &file).unwrap(), 0..3, folder.path())
    };
    let gain = |record: &Record| record.rows.last().unwrap().driven(&record.head).unwrap();
    let (told, honest) = (run(0.2), run(0.0));
    let sum = |record: &Record, name: &str| -> f64 {
        record.rows.iter().filter_map(|row| row.also.get(name)).sum()
    };
    // Where the votes are on the part of the claim it is true for them, too, and what comes after is measured beside it.
    let aside: f64 = told.iter().map(|record| sum(record, "quarantined")).sum();
    assert!(aside <= 0.01 * 26.0 * 12.0 * 3.0, "{aside} vehicle-windows of the honest");
    for (with, without) in told.iter().zip(&honest) {
        let seed = with.head.seed;
        assert!(sum(with, "quarantined_liars") > 10.0, "seed {seed}: claims are broken");
        let kept = gain(with) / gain(without);
        assert!(kept > 0.93, "seed {seed}: {kept} of the gain is kept");
    }
}

#[test]
fn without_a_model_there_is_no_engine_either() {
    let config = SimConfig::parse("fleet.toml", FILE).unwrap();
    let engine = shoal_sim::lab::engine(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder: folder.path(), part: None };
    let one = SimConfig { methods: config.methods[..1].to_vec(), ..config };
    let records = compare(&one, [5], place, engine, |_tell| {}).unwrap();
    assert_eq!(records[0].head.engine, "none: trivial clients");
    assert_eq!(records[0].head.values, 60);
}

/// Sixteen that are away as often as is said, each method of these.
fn absent(share: f64, windows: u32, methods: &str) -> SimConfig {
    let file = format!(
        "vehicles = 16\nwindows = {windows}\nmeasure_every = {windows}\n[trivial]\nvalues = 60\nspread = 1.0\n\
         [calendar]\nabsent = {share}\n{methods}"
    );
    SimConfig::parse("fleet.toml", &file).unwrap()
}

#[test]
fn a_merge_has_of_whoever_is_away_what_it_handed_in_last_and_of_others_nothing() {
    let soup = "[[methods]]\nname = \"soup\"\nkind = \"soup\"\nmerge = \"uniform\"\n";
    let run = |share| {
        let folder = tempfile::tempdir().unwrap();
        all(&absent(share, 4, soup), folder.path()).remove(0)
    };
    let (there, away) = (run(0.0), run(0.7));
    let sent = |record: &Record| record.rows.iter().map(|row| row.bytes.up).collect::<Vec<f64>>();
    let all_sent = sent(&there)[4];
    assert_eq!(sent(&there)[..4], [0.0; 4], "who stays hands in at the end");
    // In units of what a vehicle hands in.
    let handed: Vec<f64> = sent(&away).iter().map(|sent| 16.0 * sent / all_sent).collect();
    assert!(handed[1..4].iter().all(|handed| *handed > 0.9), "{handed:?}");
    let ever: f64 = handed.iter().sum();
    assert!((8.0..15.5).contains(&ever), "{ever} of 16 were ever there, each once");
    let received = |record: &Record| record.rows[4].bytes.down;
    assert!(received(&away) < 0.6 * received(&there), "whoever is away is given nothing");
    let skill = |record: &Record| record.rows[4].driven(&record.head).unwrap();
    assert!(skill(&away) < skill(&there), "{} {}", skill(&away), skill(&there));
}

/// Before the last window nobody has what a cheap merge would be, as nobody has what a costly one is.
#[test]
fn a_merge_that_is_looked_at_says_what_vehicles_have_without_it() {
    let soup = |name: &str, more: &str| {
        format!("[[methods]]\nname = \"{name}\"\nkind = \"soup\"\nmerge = \"{name}\"\n{more}")
    };
    let methods = soup("uniform", "") + &soup("greedy", "budget = 20\n");
    let file = format!(
        "vehicles = 8\nwindows = 3\n[trivial]\nvalues = 60\nspread = 1.0\n{methods}\
         [[methods]]\nname = \"alone\"\nkind = \"local\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let records = all(&SimConfig::parse("fleet.toml", &file).unwrap(), folder.path());
    let points = |name: &str| {
        let record = records.iter().find(|record| record.head.method == name).unwrap();
        spent(record)
    };
    let (cheap, costly, alone) = (points("uniform"), points("greedy"), points("alone"));
    for (window, (bytes, skill)) in alone.iter().take(3).enumerate() {
        for points in [&cheap, &costly] {
            let same = points[window].0 == *bytes && (points[window].1 - skill).abs() < 1e-9;
            assert!(same, "window {window}: {points:?} {alone:?}");
        }
    }
    assert!(cheap[3].0 > 0.0 && cheap[3].1 > alone[3].1, "{cheap:?} {alone:?}");
}

/// The mean of a tenth of the windows is of what the fleet has: before, vehicles were each alone.
#[test]
fn a_final_figure_of_what_is_made_at_the_end_is_of_the_end() {
    let soup = "[[methods]]\nname = \"greedy\"\nkind = \"soup\"\nmerge = \"greedy\"\nbudget = 20\n";
    let file = format!(
        "vehicles = 8\nwindows = 11\n[trivial]\nvalues = 60\nspread = 1.0\n{soup}\
         [[methods]]\nname = \"alone\"\nkind = \"local\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let records = all(&SimConfig::parse("fleet.toml", &file).unwrap(), folder.path());
    let figure = |of, last: u32| {
        let when = When::Last(NonZeroU32::new(last).unwrap());
        move |record: &Record| Figure { of, when }.mean(record).unwrap()
    };
    for record in &records {
        let rows = &record.rows;
        let end = rows[11].driven(&record.head).unwrap();
        let before = rows[10].driven(&record.head).unwrap();
        let driven = figure(Of::Driven, 2)(record);
        if record.head.method == "greedy" {
            assert!(before < end - 0.01, "{before} {end}");
            assert!((driven - end).abs() < 1e-9, "{driven} {end}");
        } else {
            assert!((driven - f64::midpoint(before, end)).abs() < 1e-9, "{driven} {before} {end}");
        }
        assert_eq!(figure(Of::Own, 2)(record), figure(Of::Own, 1)(record));
    }
}

/// A mean of positions is between them: however long who comes was away, it goes no farther than that.
#[test]
fn a_server_of_few_who_come_stays_among_them() {
    let average = |name: &str, more: &str| {
        format!("[[methods]]\nname = \"{name}\"\nkind = \"average\"\n{more}\n")
    };
    let methods = average("mean", "")
        + &average("median", "server = \"median\"")
        + &average("multi-krum", "server = \"multi_krum\"\nliars = 4")
        + &average("coded", "up_bits = 4\ndown_bits = 4");
    let folder = tempfile::tempdir().unwrap();
    for record in all(&absent(0.9, 25, &methods), folder.path()) {
        let skill = record.rows[25].driven(&record.head).unwrap();
        assert!(skill > -0.5, "{}: {skill}", record.head.method);
    }
}

/// What is learnt without those who would lie is the most that can be kept beside them.
#[test]
fn who_would_lie_can_stay_away() {
    let run = |liars: &str| {
        let file = format!(
            "vehicles = 16\nwindows = 8\nmeasure_every = 8\n[trivial]\nvalues = 60\nspread = 1.0\n{liars}\n\
             [[methods]]\nname = \"consensus\"\nkind = \"consensus\"\n"
        );
        let folder = tempfile::tempdir().unwrap();
        all(&SimConfig::parse("fleet.toml", &file).unwrap(), folder.path()).remove(0)
    };
    let lying = run("[liars]\nshare = 0.25\nlie = \"colluding\"");
    let away = run("[liars]\nshare = 0.25\naway = true");
    let late = run("[liars]\nshare = 0.25\naway = true\nfrom_window = 5");
    let present = |record: &Record| -> Vec<u32> {
        record.rows.iter().skip(1).map(|row| row.present).collect()
    };
    assert_eq!(present(&lying), [16; 8]);
    assert_eq!(present(&away), [12; 8]);
    assert_eq!(present(&late), [[16; 4], [12; 4]].concat());
    let honest = |record: &Record| record.rows[8].also["driven_by_honest"];
    let everywhere = |record: &Record| record.rows[8].driven(&record.head).unwrap();
    assert!(honest(&away) > everywhere(&away), "nobody learns where nobody drives");
    let kept = honest(&lying) / honest(&away);
    assert!((0.9..1.1).contains(&kept), "{kept} of what is learnt without them");
    assert!(
        !run("").rows[8].also.contains_key("driven_by_honest"),
        "of all vehicles nothing is apart"
    );
}

/// Who is late is late by every method that has something of it to send.
#[test]
fn who_is_late_is_late_whatever_the_method() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        ("alone", "local"),
        ("fedavg", "average"),
        ("gossip", "gossip"),
        ("coefficients", "coefficients"),
        ("consensus", "consensus"),
        ("uniform", "soup\"\nmerge = \"uniform"),
    ];
    let methods =
        kinds.map(|(name, kind)| format!("[[methods]]\nname = \"{name}\"\nkind = \"{kind}\"\n"));
    let run = |stale: f64| {
        let file = format!(
            "vehicles = 4\nwindows = 3\nseed = 5\n[trivial]\nvalues = 40\n[calendar]\nstale = {stale}\n{}",
            methods.concat()
        );
        let config = SimConfig::parse("fleet.toml", &file).unwrap();
        all(&config, &folder.path().join(format!("{stale}")))
    };
    for (late, on_time) in run(0.5).iter().zip(&run(0.0)) {
        let name = &late.head.method;
        let differ = late.rows[3].skill != on_time.rows[3].skill;
        assert_eq!(differ, name != "alone", "{name}");
        let sent = |record: &Record| record.rows[1].bytes.up;
        let sends_nothing = ["fedavg", "gossip", "coefficients"].contains(&&name[..]);
        assert_eq!(sent(late) < sent(on_time), sends_nothing || name == "consensus", "{name}");
    }
}

/// Where nothing but the start is above a gate, whoever measures stays there; who averages does not measure.
#[test]
fn a_gate_holds_for_whoever_chooses_by_the_pack() {
    let folder = tempfile::tempdir().unwrap();
    let soup = |merge: &str| {
        format!("[[methods]]\nname = \"{merge}\"\nkind = \"soup\"\nmerge = \"{merge}\"\n")
    };
    let merges = ["greedy", "cma_affine", "random_affine", "model_swarms", "uniform"].map(soup);
    let run = |gate: &str| {
        let file = format!(
            "vehicles = 4\nwindows = 3\nseed = 5\n[trivial]\nvalues = 40\nspread = 0.1\n\
             [[utility]]\nname = \"day\"\n[[utility]]\nname = \"night\"\nwindows = [0]\nweights = [0.0]\n{gate}\
             {}[[methods]]\nname = \"coefficients\"\nkind = \"coefficients\"\n",
            merges.concat()
        );
        let config = SimConfig::parse("fleet.toml", &file).unwrap();
        all(&config, &folder.path().join(if gate.is_empty() { "free" } else { "gated" }))
    };
    for (gated, free) in run("gate = 0.0\n").iter().zip(&run("")) {
        let name = &gated.head.method;
        let stays = |record: &Record| record.rows[3].skill == record.rows[0].skill;
        assert_eq!((stays(free), stays(gated)), (false, name != "uniform"), "{name}");
        let evaluations = |record: &Record| record.rows[3].evaluations;
        assert!(name == "model_swarms" || evaluations(gated) == evaluations(free), "{name}");
        assert!(gated.rows.iter().all(|row| row.utility.is_finite()), "{name}");
    }
}
