//! `shoal fleet report` on a fleet whose state was written by hand.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::graft_package;
use shoal_shadow::package::Package;

use super::{drives, engine, misfits, package, schema, shoal, text};

/// A fleet of two vehicles on one road each, before it has run.
fn fleet(folder: &Path) -> PathBuf {
    let drives = drives(folder, 120);
    let (first, second) = (drives.join("stripes"), drives.join("more-stripes"));
    std::fs::create_dir(&second).unwrap();
    for entry in std::fs::read_dir(&first).unwrap() {
        let file = entry.unwrap();
        std::fs::copy(file.path(), second.join(file.file_name())).unwrap();
    }
    let vehicle = folder.join("vehicle.toml");
    let toml = format!("[engine]\nkind = {:?}\n[drives]\ndirectory = \"drives\"\n", engine());
    std::fs::write(&vehicle, toml).unwrap();
    let (pack, fleet, package) = (folder.join("pack"), folder.join("fleet"), package());
    let shared = ["--package", text(&package), "--vehicle", text(&vehicle)];
    let build = ["pack", "build", "-o", text(&pack)];
    let init = ["fleet", "init", text(&fleet), "--vehicles", "2", "--pack", text(&pack)];
    for command in [&build[..], &init[..]] {
        let output = shoal(&[command, &shared].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fleet
}

/// An adapter that changes what the model predicts, as much as `much`.
fn adapter(folder: &Path, much: f32) {
    let package = Package::open(&package()).unwrap();
    let model = Model::read(&package.model_path()).unwrap();
    let layout = graft_package(&model, package.description(), 1, Profile::Cpu).unwrap().layout;
    let mut adapter = Adapter::start(layout, 1);
    for (index, value) in adapter.values_mut().iter_mut().enumerate() {
        *value += much * (index as f32).sin();
    }
    adapter.write_peft(folder).unwrap();
}

/// Lines of a run's three windows, each changed as `change` says.
fn lines(run: &Path, change: impl Fn(u32, &mut Value)) {
    lines_of(run, 3, change);
}

fn lines_of(run: &Path, windows: u32, change: impl Fn(u32, &mut Value)) {
    std::fs::create_dir_all(run.join("windows")).unwrap();
    let mut text = String::new();
    for window in 0..windows {
        let mut line = json!({
            "window": window, "took_part": true, "contributed": true, "claimed": true, "best": null,
            "moved_to": null, "part": 1, "value": 5631, "best_value": null, "bytes_up": 100,
            "bytes_down": 400, "steps": 20, "loss": 0.01, "rejected": {}, "memory_bytes": 1000,
            "seconds": {"tuning": 2.0, "window": 5.0},
        });
        change(window, &mut line);
        text += &format!("{line}\n");
    }
    std::fs::write(run.join("windows.jsonl"), text).unwrap();
}

fn report(fleet: &Path, out: &Path) -> Value {
    let output = shoal(&["fleet", "report", text(fleet), "-o", text(out), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file: Value =
        serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!(result, file);
    assert_eq!(misfits(&schema("result.schema.json"), &result, "$"), Vec::<String>::new());
    result
}

#[test]
fn a_fleets_report_measures_what_eval_does_and_names_who_was_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, out) = (fleet(folder.path()), folder.path().join("out"));
    let run = |number: u32, run: &str| fleet.join(format!("vehicle-{number}")).join(run);
    for number in [0, 1] {
        lines(&run(number, "state"), |window, line| match (number, window) {
            (1, 1) => (line["took_part"], line["bytes_up"]) = (json!(false), json!(0)),
            (_, 2) => (line["best"], line["rejected"]) = (json!("ab"), json!({"signature": 2})),
            _ => {}
        });
        lines(&run(number, "alone"), |_window, _line| {});
    }
    let best = run(1, "state").join("windows/2/best");
    adapter(&best, 0.002);
    adapter(&run(0, "alone").join("windows/0/own"), 0.05);
    adapter(&run(1, "alone").join("windows/1/own"), 0.003);
    let result = report(&fleet, &out);

    let skill = &result["skill"];
    let (pretrained, swarm) = (&skill["pretrained"], &skill["swarm_best"]);
    let package = package();
    let drives = folder.path().join("drives");
    let eval = ["eval", text(&package), "--data", text(&drives), "--engine", engine(), "--json"];
    for (adapter, measured) in [(None, pretrained), (Some(best.as_path()), swarm)] {
        let adapter: Vec<&str> = adapter.map_or(vec![], |path| vec!["--adapter", text(path)]);
        let output = shoal(&[&eval[..], &adapter].concat());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["skill"], *measured);
    }
    let rows = &skill["by_window"];
    assert_eq!((&rows[0]["swarm_best"], &rows[1]["swarm_best"]), (pretrained, pretrained));
    assert_ne!(pretrained, swarm);
    // The first vehicle's adapter is far off: on the pack, too. The second had none after its first night.
    assert_eq!((&rows[0]["alone_best"], &rows[2]["alone"][1]), (pretrained, &skill["alone_best"]));
    assert!(skill["alone_mean"].as_f64() < skill["alone_best"].as_f64(), "{skill}");
    assert_eq!(skill["swarm_own"], skill["pretrained_own"]);

    assert_eq!((&result["missed"], &result["by_vehicle"][1]["missed"]), (&json!(1), &json!(1)));
    assert_eq!(result["rejected"], json!({"signature": 4}));
    assert_eq!(result["bytes"]["down_per_vehicle_window"], 400.0);
    assert_eq!(result["seconds"]["night_tuning"], 2.0);
    let drawn = std::fs::read_to_string(out.join("skill.svg")).unwrap();
    assert!(drawn.contains("the swarm's best") || drawn.contains("the swarm&apos;s best"));
    assert!(out.join("split.json").is_file());
    seeds_say_how_sure_it_is(folder.path(), &result);
}

/// Three results like this one, in which the swarm gained .01, .02 and .03 on every drive over lone vehicles.
fn seeds_say_how_sure_it_is(folder: &Path, result: &Value) {
    let of_seed = |seed: u32| {
        let mut result = result.clone();
        let gained = 0.5 + 0.01 * f64::from(seed);
        result["seed"] = json!(seed);
        for (name, skill) in [("pretrained", 0.49), ("alone_best", 0.5), ("swarm_best", gained)] {
            result["skill"][name] = json!(skill);
        }
        for drive in result["drives"].as_array_mut().unwrap() {
            drive["pretrained"] = json!(0.49);
        }
        let last = result["skill"]["by_window"].as_array_mut().unwrap().last_mut().unwrap();
        for skills in last["by_drive"].as_object_mut().unwrap().values_mut() {
            (skills["alone_best"], skills["swarm_best"]) = (json!(0.5), json!(gained));
        }
        let path = folder.join(format!("result-{seed}.json"));
        std::fs::write(&path, result.to_string()).unwrap();
        path
    };
    let paths = [1, 2, 3].map(of_seed);
    let (summary, paths) = (folder.join("seeds.json"), paths.each_ref().map(|path| text(path)));
    let output = shoal(&[&["fleet", "seeds", "-o", text(&summary)][..], &paths].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("above both in 3 of 3 seeds"), "{said}");
    let seeds: Value = serde_json::from_slice(&std::fs::read(&summary).unwrap()).unwrap();
    assert_eq!(misfits(&schema("seeds.schema.json"), &seeds, "$"), Vec::<String>::new());
    assert_eq!((&seeds["better"], seeds["mean"]["swarm_best"].as_f64()), (&json!(3), Some(0.52)));
    let over = &seeds["swarm_best_less_better"]["seeds"];
    // Mean .02, s = .01, t(2) = 4.303: ± .0248.
    assert!((over["mean"].as_f64().unwrap() - 0.02).abs() < 1e-12, "{over}");
    assert!((over["low"].as_f64().unwrap() + 0.0048).abs() < 1e-4, "{over}");

    let refused = |paths: &[&str], why: &str| {
        let output = shoal(&[&["fleet", "seeds"], paths].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
    };
    refused(&[paths[0], paths[0]], "seed 1 is there twice");
    refused(&[paths[0], text(&summary)], "seeds.json is no result");
    let mut other: Value = serde_json::from_slice(&std::fs::read(paths[1]).unwrap()).unwrap();
    other["rule"] = json!("paper");
    std::fs::write(paths[1], other.to_string()).unwrap();
    refused(&paths, "not of one study");
}

#[test]
fn a_fleet_that_never_ran_has_nothing_to_report() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let out = folder.path().join("out");
    let output = shoal(&["fleet", "report", text(&fleet), "-o", text(&out)]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no vehicle") && said.contains("through a window"), "{said}");

    // It ran, and the report is to go where a file is.
    for number in 0..2 {
        lines(&fleet.join(format!("vehicle-{number}/state")), |_window, _line| {});
    }
    std::fs::write(&out, "a file").unwrap();
    let output = shoal(&["fleet", "report", text(&fleet), "-o", text(&out)]);
    let said = String::from_utf8_lossy(&output.stderr);
    let named = format!("cannot make {}", text(&out));
    assert!(!output.status.success() && said.contains(&named), "{said}");
    assert!(!said.contains("measuring"), "{said}");
}

/// Where nobody took part it is not known what was best: that is not x_p.
#[test]
fn a_fleet_without_lone_runs_and_windows_without_vehicles_are_reported_with_nulls() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let state = fleet.join("vehicle-0/state");
    lines(&state, |window, line| match window {
        0 => line["best"] = json!("ab"),
        _ => line["took_part"] = json!(false),
    });
    adapter(&state.join("windows/0/best"), 0.002);
    let result = report(&fleet, &folder.path().join("out"));
    let skill = &result["skill"];
    assert_eq!(skill["alone_best"], Value::Null);
    let rows = skill["by_window"].as_array().unwrap();
    let best: Vec<&Value> = rows.iter().map(|row| &row["swarm_best"]).collect();
    assert_eq!(best, [&skill["swarm_best"], &Value::Null, &Value::Null]);
    assert!(skill["swarm_best"].is_number() && skill["swarm_best"] != skill["pretrained"]);
    assert!(result["difference"]["swarm_best_pretrained"]["mean"] != 0.0);
    assert_eq!(result["missed"], 5);
}

/// Of 66 windows the adapters of the first two are removed: a vehicle keeps those of 64.
#[test]
fn what_no_vehicle_keeps_any_more_is_not_known_and_is_not_x_p() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, out) = (fleet(folder.path()), folder.path().join("out"));
    let of = |run: &str| fleet.join("vehicle-0").join(run);
    lines_of(&of("state"), 66, |window, line| match window {
        0 => {}
        1 | 65 => line["best"] = json!("ab"),
        _ => line["took_part"] = json!(false),
    });
    lines_of(&of("alone"), 66, |_window, _line| {});
    let best = of("state").join("windows/65/best");
    adapter(&best, 0.002);
    adapter(&of("alone").join("windows/2/own"), 0.003);
    let output = shoal(&["fleet", "report", text(&fleet), "-o", text(&out)]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("no vehicle keeps it any more: 1, up to window 1"), "{said}");

    let result = std::fs::read(out.join("result.json")).unwrap();
    let result: Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(misfits(&schema("result.schema.json"), &result, "$"), Vec::<String>::new());
    let skill = &result["skill"];
    let rows = &skill["by_window"];
    assert_eq!(rows[0]["swarm_best"], skill["pretrained"], "its line says x_p");
    assert_eq!(
        (&rows[1]["swarm_best"], &rows[1]["best_is_pretrained"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!((&rows[1]["agreed"], &rows[1]["took_part"]), (&json!(1), &json!(1)));
    assert_eq!(rows[65]["swarm_best"], skill["swarm_best"]);
    assert!(skill["swarm_best"].is_number() && skill["swarm_best"] != skill["pretrained"]);
    let alone = [0_usize, 1, 2, 65].map(|window| &rows[window]["alone"][0]);
    assert_eq!(alone[..2], [&Value::Null, &Value::Null]);
    assert_eq!((alone[2], alone[3]), (&skill["alone_best"], &skill["alone_best"]));
    assert!(skill["alone_best"].is_number() && skill["alone_best"] != skill["pretrained"]);

    std::fs::remove_dir_all(best).unwrap();
    let output = shoal(&["fleet", "report", text(&fleet), "-o", text(&out)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("windows/65/best is missing"), "{said}");
}
