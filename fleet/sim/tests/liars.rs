//! Whole runs in which vehicles lie.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use shoal_sim::compare::{Place, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Record;

mod small;

use small::{methods, model, of, read};

const AVERAGE: &str = "kind = \"average\"\nup_bits = 4\ndown_bits = 4";

#[test]
fn every_lie_is_told_to_every_kind_of_method_and_tells_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let clients = "vehicles = 3\nwindows = 3\nseed = 3\n[trivial]\nvalues = 60\n";
    let ours = [
        ("consensus", "kind = \"consensus\""),
        ("believing", "kind = \"consensus\"\nmeasure = false"),
    ];
    let others = [
        ("fedavg", AVERAGE),
        ("uniform", "kind = \"soup\"\nmerge = \"uniform\""),
        ("paper", "kind = \"paper\""),
        ("coefficients", "kind = \"coefficients\""),
    ];
    let out = folder.path().join("out");
    let run = |lie: &str, of: &[(&str, &str)]| {
        let liars = format!("[liars]\nshare = 0.34\nlie = \"{lie}\"\n");
        let liars = if lie == "none" { "" } else { &liars };
        read(folder.path(), &format!("{clients}{liars}{}", methods(of)))
    };
    let start = |config: &SimConfig, folder: &Path, part: Option<&str>| {
        let engine = shoal_sim::lab::engine(config).unwrap();
        compare(config, [config.seed], Place { folder, part }, engine, |_tell| {}).unwrap()
    };
    let told = |lie: &str, of: &[(&str, &str)]| start(&run(lie, of), &out, Some(lie));
    let honest = told("none", &[&ours[..], &others[..2]].concat());
    let evaluations =
        |name: &str| of(&honest, name).rows.iter().map(|row| row.evaluations).sum::<u64>();
    assert!(evaluations("believing") < evaluations("consensus"), "who believes measures less");
    for (lie, also) in [
        ("random", &others[..2]),
        ("inflated", &others[..2]),
        ("copied", &others[..]),
        ("colluding", &others[..]),
        ("forged_worst", &others[..]),
        ("withheld", &others[..2]),
        ("equivocating", &others[..2]),
        ("overfitting", &others[..]),
    ] {
        let told = told(lie, &[&ours[..1], also].concat());
        assert!(told.iter().all(|record| record.rows.len() == 4), "{lie}");
        // Who inflates claims, or fits what it claims, has nobody to claim to.
        let moved = |name: &str| of(&told, name).rows[3].skill != of(&honest, name).rows[3].skill;
        let heard = !["inflated", "equivocating", "overfitting"].contains(&lie);
        assert_eq!((moved("fedavg"), moved("uniform")), (heard, heard), "{lie}");
        let rejected = |record: &Record| -> f64 {
            record.rows.iter().filter_map(|row| row.also.get("rejected")).sum()
        };
        assert!(told.iter().map(rejected).sum::<f64>() < 30.0, "{lie}: records are well-formed");
    }
    let once = told("colluding", &ours);
    let config = SimConfig { jobs: 1, ..run("colluding", &ours) };
    assert_eq!(start(&config, &folder.path().join("other"), None), once);
}

/// A real model: a liar tunes on frames of the pack, so what it claims is true there.
#[test]
fn what_is_fitted_to_a_part_of_the_pack_is_claimed_as_it_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let file = |share: f64, rest: &str| {
        format!(
            "vehicles = 3\nwindows = 3\nseed = 5\nmeasure_every = 3\n[model]\npackage = \"model\"\n\
             [engine]\nkind = \"tract\"\n[roads]\nregions = [\"highway\", \"rural\"]\nframes = 60\n\
             windows_to_drive = 2\n[night]\nsteps = 3\nbatch = 4\nlearning_rate = 1e-2\n\
             [liars]\nshare = {share}\nlie = \"overfitting\"\nfrom_window = 2\n{rest}"
        )
    };
    let of_methods =
        methods(&[("consensus", "kind = \"consensus\""), ("paper", "kind = \"paper\"")]);
    let run = |share: f64, part: &str| {
        let config = read(folder.path(), &file(share, &of_methods));
        let engine = shoal_sim::lab::engine(&config).unwrap();
        let place = Place { folder: folder.path(), part: Some(part) };
        compare(&config, [config.seed], place, engine, |_tell| {}).unwrap()
    };
    let (honest, told) = (run(0.0, "honest"), run(0.34, "told"));
    for name in ["consensus", "paper"] {
        let (honest, told) = (&of(&honest, name).rows, &of(&told, name).rows);
        assert_eq!(
            told[1].steps, honest[1].steps,
            "{name}: until the second window it does as all do"
        );
        // Its night, and another one on the pack.
        assert_eq!(told[2].steps, honest[2].steps + 3, "{name}");
        let rejected: f64 = told.iter().filter_map(|row| row.also.get("rejected")).sum();
        assert!(rejected < 30.0, "{name}: records are well-formed");
    }
}
