//! What is asked for and cannot be had, or would change nothing, is refused in words that say what to do instead, before any work.

use std::path::{Path, PathBuf};
use std::process::Command;

use shoal_vehicle::config::Config;

use super::{SHOAL, drives, engine, package, shoal, text, vehicle};

/// What a command says is wrong.
fn refused(args: &[&str]) -> String {
    let output = shoal(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?}: {said}");
    said
}

fn policy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/policy")
}

/// A pack of a folder of frames.
fn pack(folder: &Path) -> PathBuf {
    let (drives, package, pack) = (drives(folder, 120), package(), folder.join("pack"));
    let build = ["pack", "build", text(&drives), "--package", text(&package), "-o", text(&pack)];
    assert!(shoal(&build).status.success());
    pack
}

/// After the night it is too late.
#[test]
fn where_an_adapter_and_a_picture_go_is_looked_at_before_the_drive() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("folder.onnx_adapter")).unwrap();
    for (flag, place, why) in [
        ("--export", "vehicle.toml", "is a file where its name ends in .onnx_adapter"),
        ("--export", "folder.onnx_adapter", "is a file where its name ends in .onnx_adapter"),
        ("--export", "vehicle.toml/adapter", "vehicle.toml is no folder"),
        ("--export", "none/a.onnx_adapter", "none is no folder"),
        ("--picture", "none/frames.png", "none is no folder"),
        ("--picture", "frames", "ends in .png or .jpg"),
    ] {
        let said = refused(&["drive", text(&file), flag, text(&at(place))]);
        assert!(said.contains(flag) && said.contains(why), "{place}: {said}");
        assert!(!said.contains("measuring"), "{place}: {said}");
    }
    assert!(!at("state").exists());
}

/// Nothing that a recorded night waited for would ever come.
#[test]
fn a_recorded_night_waits_for_no_weather_and_no_charge() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let bounds = "temperature_max_c = 10\nbattery_soc_min_percent = 101\n";
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, toml + bounds).unwrap();
    let output = shoal(&["drive", text(&file), "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("waiting"), "{said}");
    assert!(said.contains("candidate after 4 steps"), "{said}");
}

#[test]
fn a_vehicle_with_a_camera_has_no_footage_unless_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, toml + "[camera]\ndevice = \"/dev/video0\"\n").unwrap();
    let (package, pack) = (package(), folder.path().join("pack"));
    let build = ["pack", "build", "--package", text(&package), "-o", text(&pack)];
    let said = refused(&[&build[..], &["--vehicle", text(&file)]].concat());
    assert!(said.contains("[camera]") && said.contains("DRIVES"), "{said}");
    assert!(!pack.exists());
    for command in [&["drive", text(&file)][..], &["study", text(&file), "--vehicles", "1"]] {
        let said = refused(command);
        assert!(said.contains("[camera]") && said.contains("--drives DIR"), "{said}");
    }
    let drives = drives(folder.path(), 60);
    let output = shoal(&["drive", text(&file), "--drives", text(&drives), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_study_counts_its_seeds_to_the_last_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let last = u64::MAX.to_string();
    let said = refused(&["study", text(&file), "--vehicles", "1", "--seed", &last, "--seeds", "2"]);
    assert!(said.contains("--seeds 2: there are not so many from seed"), "{said}");
}

#[test]
fn a_pack_is_of_something_and_its_flags_are_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, drives) = (vehicle(folder.path(), 4), drives(folder.path(), 60));
    let (file, drives) = (text(&file), text(&drives));
    let none = folder.path().join("none");
    for (more, why) in [
        (&[][..], &["DRIVES", "--vehicle", "--attentive"][..]),
        (&["--reckless", "3"], &["--reckless is of generated roads: --attentive"]),
        (&["--vehicle", file, "--reckless", "3"], &["--reckless is of generated roads"]),
        (&["--vehicle", file, "--seconds", "5"], &["--seconds is of generated roads"]),
        (&["--vehicle", file, "--seed", "9"], &["--seed is of generated roads"]),
        (&[drives, "--seed", "9"], &["--seed is of generated roads"]),
        (&[drives, "--wheelbase", "3"], &["--wheelbase is for packs of --metric imitation"]),
        (&["--attentive", "2", "--steering-ratio", "1"], &["--steering-ratio", "it is known"]),
    ] {
        let said = refused(&[&["pack", "build", "-o", text(&none)][..], more].concat());
        assert!(why.iter().all(|why| said.contains(why)), "{more:?}: {said}");
        assert!(!none.exists());
    }
}

/// A fleet that is not named otherwise is called as its folder; two of one name on a broker would have every topic in common.
#[test]
fn a_fleet_has_the_name_of_its_folder_and_what_goes_together_is_known_before() {
    let folder = tempfile::tempdir().unwrap();
    let (pack, package) = (pack(folder.path()), package());
    let init = |dir: &str, more: &[&str]| {
        let made = ["fleet", "init", dir, "--vehicles", "1", "--package", text(&package)];
        let mut command = Command::new(SHOAL);
        command.current_dir(folder.path()).args(made).args(["--pack", text(&pack)]).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), folder.path().join(dir).exists(), "{said}");
        said
    };
    let name = |dir: &str| {
        let file = folder.path().join(dir).join("vehicle-0/vehicle.toml");
        Config::read(&file).unwrap().fleet.unwrap().name
    };
    init("trial", &[]);
    assert_eq!(name("trial"), "trial");
    let said = init("Trial_2", &[]);
    assert!(said.contains("`Trial_2`") && said.contains("--name"), "{said}");
    init("Trial_2", &["--name", "second"]);
    assert_eq!(name("Trial_2"), "second");

    let said = init("twice", &["--pack", text(&pack)]);
    assert!(said.contains("two packs are called pack"), "{said}");
    for (flags, cure) in [
        (&["--period", "10", "--open", "20"][..], "open for 20 s of 10 s: --open is 1 to --period"),
        (&["--period", "0"], "--period is 1 at least"),
        (&["--period", "9", "--open", "4", "--jitter", "2001"], "--jitter is half of --open"),
    ] {
        let said = init("none", flags);
        assert!(said.contains(cure), "{said}");
    }
    let said = refused(&["evidence", "write", text(&folder.path().join("trial")), "1", "-o", "r"]);
    assert!(said.contains("journal.jsonl") && said.contains("shoal fleet serve"), "{said}");
}

#[test]
fn what_is_of_policies_alone_is_refused_for_a_model_of_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (package, drives) = (package(), drives(folder.path(), 60));
    for flag in ["--wheelbase", "--steering-ratio"] {
        let said = refused(&["eval", text(&package), "--data", text(&drives), flag, "3"]);
        assert!(said.contains(&format!("{flag} is for packages of a policy")), "{said}");
    }
}

/// The log is looked at before anybody drives.
#[test]
fn a_log_that_is_too_short_is_said_before_the_roads_are_driven() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("tiny.csv");
    let head = "t_s,v_ego_mps,a_ego_mps2,steering_angle_deg,yaw_rate_radps,lat_accel_mps2\n";
    std::fs::write(&log, format!("{head}0,1,0,0,0,0\n0.1,1,0,0,0,0\n")).unwrap();
    let args = ["--roads", "1", "--seconds", "1", "--engine", engine(), "--physics", "none.onnx"];
    let said = refused(&[&["terms", text(&policy()), "--log", text(&log)][..], &args].concat());
    assert!(said.contains("tiny.csv has 2 rows, the challenge needs 500"), "{said}");
    assert!(!said.contains("1/1"), "{said}");
}

#[test]
fn a_package_is_no_file_and_a_rank_has_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let (package, world) = (package(), package().join("model.onnx"));
    let bake = ["model", "bake", text(&package), "adapter"];
    for args in
        [&["model", "inspect", text(&package)][..], &["model", "graft", text(&package)], &bake]
    {
        let said = refused(args);
        assert!(said.contains("is a package: name the model in it") && said.contains("model.onnx"));
    }
    let said = refused(&["model", "inspect", text(folder.path())]);
    assert!(said.contains("is a folder: name an ONNX file"), "{said}");
    for rank in ["0", "1025"] {
        let said = refused(&["model", "inspect", text(&world), "--rank", rank]);
        assert!(said.contains("1..=1024"), "{said}");
    }
}
