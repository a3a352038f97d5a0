//! `shoal sim` on clients without a model: what is set beside the file, sweeps, and a run that is killed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{SHOAL, shoal, text};

const FLEET: &str = "\
vehicles = 8
windows = 6
[trivial]
values = 50
[[methods]]
name = \"ours\"
kind = \"consensus\"
[[methods]]
name = \"mean\"
kind = \"average\"
";

fn file(folder: &Path, source: &str) -> PathBuf {
    let file = folder.join("fleet.toml");
    fs::write(&file, source).unwrap();
    file
}

#[test]
fn what_is_set_beside_the_file_is_what_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), FLEET);
    let run = |to: &str, sets: &[&str]| {
        let output = folder.path().join(to);
        let set = sets.iter().flat_map(|set| ["--set", set]);
        let args = ["sim", "compare", text(&file), "-o", text(&output)];
        let done = shoal(&args.into_iter().chain(set).collect::<Vec<_>>());
        (done, output)
    };
    let (done, plain) = run("plain", &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (done, other) = run("other", &["calendar.absent=0.5", "methods.ours.up_bits=8"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for method in ["ours", "mean"] {
        let rows = |folder: &Path| fs::read(folder.join(format!("seed-0/{method}/windows.jsonl")));
        assert_ne!(rows(&plain).unwrap(), rows(&other).unwrap(), "{method}");
    }
    for (set, named) in [
        ("calendar.absnet=0.5", "absent"),
        ("calendar.absent=2", "calendar.absent"),
        ("methods.theirs.up_bits=8", "theirs"),
        ("calendar", "key=value"),
    ] {
        let (done, _folder) = run("refused", &[set]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(named), "{set}: {said}");
    }
    assert!(!folder.path().join("refused").exists(), "before anything runs");
}

#[test]
fn a_sweep_varies_the_fleet_as_well_as_the_method() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), FLEET);
    let output = folder.path().join("sweep");
    let args = ["sim", "sweep", text(&file), "-o", text(&output), "--method", "ours"];
    let keys = ["--key", "calendar.absent=0.0,0.5", "--key", "up_bits=1,8", "--halving"];
    let done = shoal(&[&args[..], &keys[..]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let names = |windows: u32| {
        let part = output.join(format!("seed-0/sweep-{windows}"));
        fs::read_dir(part).unwrap().count()
    };
    assert_eq!((names(3), names(6)), (4, 2), "the better half goes on");
    let table = fs::read_to_string(output.join("table.md")).unwrap();
    assert!(table.contains("absent-0.0"), "{table}");
}

/// What is not in the file is another mistake than what was left out of the run.
#[test]
fn a_reference_is_one_of_the_methods_that_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), FLEET);
    let output = folder.path().join("out");
    let compare = |more: &[&str]| {
        let args = ["sim", "compare", text(&file), "-o", text(&output), "--method", "ours"];
        let done = shoal(&[&args[..], more].concat());
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (done, said) = compare(&["--reference", "mean"]);
    assert!(!done && said.contains("`mean` is not among --method"), "{said}");
    let (done, said) = compare(&["--reference", "none"]);
    assert!(!done && said.contains("no method `none` in"), "{said}");
    assert!(!output.exists());

    // One method alone is paired with nothing: of intervals there is nothing to say.
    assert!(compare(&[]).0);
    for name in ["table.md", "report.html"] {
        let text = fs::read_to_string(output.join(name)).unwrap();
        assert!(text.contains("eld-out") || text.contains("held out"), "{name}");
        assert!(!text.contains("are paired") && !text.contains("stands for itself"), "{name}");
    }
}

#[test]
fn a_sweep_of_no_variant_or_of_one_key_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), FLEET);
    let output = folder.path().join("sweep");
    for (more, why) in [
        (&["--key", "up_bits=1,2", "--draws", "0"][..], "0 is not in 1.."),
        (&["--key", "up_bits=1", "--key", "up_bits=2"], "--key up_bits is given twice"),
        (&["--key", "inertia=0.1,9"], "variant ours_inertia-9: inertia: 9"),
    ] {
        let args = ["sim", "sweep", text(&file), "-o", text(&output), "--method", "ours"];
        let done = shoal(&[&args[..], more].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(why), "{said}");
        assert!(!said.contains("fleet.toml:"), "a place in a text that nobody wrote: {said}");
    }
    assert!(!output.exists());
}

/// Killed with kill −9 in the middle of its windows, the same command comes to what an undisturbed run comes to, to the byte.
#[test]
fn a_run_that_is_killed_goes_on_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), &FLEET.replace("windows = 6", "windows = 40"));
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let command = |output: &Path| {
        let mut command = Command::new(SHOAL);
        command.args(["sim", "compare", text(&file), "-o", text(output)]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let rows = |output: &Path| fs::read(output.join("seed-0/ours/windows.jsonl"));
    let mut run = command(&killed).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("window  10 of 40")), "it ended before");
    run.kill().unwrap();
    run.wait().unwrap();
    let lines = || rows(&killed).unwrap().split(|byte| *byte == b'\n').count();
    assert!((11..41).contains(&lines()), "killed in the middle: {} lines", lines());
    for output in [&killed, &whole] {
        assert!(command(output).status().unwrap().success());
    }
    assert_eq!(rows(&killed).unwrap(), rows(&whole).unwrap());
    let parquet = |output: &Path| fs::read(output.join("windows.parquet")).unwrap();
    assert_eq!(parquet(&killed), parquet(&whole));
}
