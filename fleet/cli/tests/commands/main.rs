//! The `shoal` command from outside, on the package that ships and on generated roads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bring;
mod campaign;
mod driving;
mod fleet;
mod growing;
mod lasting;
mod losses;
mod odd;
mod policy;
mod refused;
mod report;
mod serving;
mod simulated;
mod tokens;
mod training;
mod warm;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use shoal_hal::AdapterSlots as _;
use shoal_hal::backend::files::DirSlots;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::graft_package;
use shoal_shadow::package::Package;

const SHOAL: &str = env!("CARGO_BIN_EXE_shoal");

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world")
}

/// ONNX Runtime where it is there; tract always is.
fn engine() -> &'static str {
    if ort_or_skip().is_some() { "ort" } else { "tract" }
}

fn shoal(args: &[&str]) -> Output {
    Command::new(SHOAL).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A vehicle with one short generated road and a short night.
fn vehicle(folder: &Path, steps: u32) -> PathBuf {
    let file = folder.join("vehicle.toml");
    let toml = format!(
        "state = \"state\"\n[model]\npackage = {:?}\n[engine]\nkind = \"{}\"\n\
         [drives]\nregions = [\"snow\"]\nframes = 120\n[replay]\nordinary_share = 1.0\n\
         [night]\nsteps = {steps}\nslice = 4\nclips_min = 4\n",
        text(&package()),
        engine()
    );
    std::fs::write(&file, toml).unwrap();
    file
}

#[test]
fn the_engine_keeps_nothing_of_its_own_and_makes_no_device_id() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = vehicle(folder.path(), 4);
    let done = Command::new(SHOAL)
        .args(["drive", text(&file), "--json"])
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

/// As what SIGPIPE ends: quietly.
#[test]
fn who_reads_no_further_ends_a_command_quietly() {
    let cut_off = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let broker = ["broker", "--listen", "127.0.0.1:0"];
    let said = Command::new(SHOAL).args(broker).stdout(cut_off()).output().unwrap();
    assert_eq!((said.status.code(), said.stderr.as_slice()), (Some(141), &b""[..]));
    let failed = ["drive", "nowhere.toml"];
    let said = Command::new(SHOAL).args(failed).stderr(cut_off()).output().unwrap();
    assert_eq!(said.status.code(), Some(141));
}

#[test]
fn a_vehicle_drives_tunes_and_reports_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("adapter");
    let file = vehicle(folder.path(), 8);
    let output = shoal(&["drive", text(&file), "--json", "--export", text(&export), "--seed", "3"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let result: Value = serde_json::from_slice(&output.stdout).expect(&said);
    assert_eq!(output.status.success(), result["staged"] == true, "{said}");
    assert!(said.contains("pack skill of the candidate after 8 steps"), "{said}");
    assert_eq!(misfits(&schema("drive.schema.json"), &result, "$"), Vec::<String>::new());
    assert_eq!(result["seed"], 3);
    assert!(result["replay"]["frames"].as_u64().unwrap() > 50, "{}", result["replay"]);
    let looked = &result["looked"];
    assert!(looked["frames"].as_u64().unwrap() > 50 && looked["shed"] == 0, "{looked}");
    let (before, after) = (&result["own"]["before"], &result["own"]["after"]);
    assert!(before.as_f64().unwrap() > 0.3 && after.as_f64().unwrap() > 0.3, "{}", result["own"]);
    if result["staged"] == true {
        assert_ne!(before, after);
        assert!(export.join("adapter_model.safetensors").is_file());
    } else {
        assert_eq!(before, after);
    }
    assert!(folder.path().join("state/split.json").is_file());
}

/// A night that stages nothing leaves what is in use; driving may have made that another than before.
#[test]
fn what_is_measured_after_and_exported_is_what_the_vehicle_has_then() {
    let folder = tempfile::tempdir().unwrap();
    let (file, export) = (vehicle(folder.path(), 4), folder.path().join("adapter"));
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, toml + "margin = 1.0\n").unwrap();
    let drive = || {
        let output = shoal(&["drive", text(&file), "--json", "--export", text(&export)]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let result: Value = serde_json::from_slice(&output.stdout).expect(&said);
        assert_eq!(result["staged"], false, "{said}");
        (output.status.success(), said, result["own"].clone())
    };
    let (done, said, shipped) = drive();
    assert!(!done && said.contains(&format!("nothing was written to {}", text(&export))), "{said}");
    assert!(!export.exists());

    // In use is one that is far off, on trial one that changes nothing: on the road it is the better one.
    let package = Package::open(&package()).unwrap();
    let model = Model::read(&package.model_path()).unwrap();
    let layout = graft_package(&model, package.description(), 1, Profile::Cpu).unwrap().layout;
    let good = Adapter::start(Arc::clone(&layout), 1);
    let mut bad = good.clone();
    for (index, value) in bad.values_mut().iter_mut().enumerate() {
        *value += 0.05 * (index as f32).sin();
    }
    let mut slots = DirSlots::open(&folder.path().join("state/slots")).unwrap();
    put_on_trial(&mut slots, &bad);
    slots.confirm().unwrap();
    put_on_trial(&mut slots, &good);
    drop(slots);
    let (done, said, own) = drive();
    assert!(done && said.contains(": confirmed"), "{said}");
    let [before, after] = ["before", "after"].map(|name| own[name].as_f64().unwrap());
    assert!(before < after, "{own}");
    assert!((after - shipped["after"].as_f64().unwrap()).abs() < 1e-6, "{own} {shipped}");
    let exported = Adapter::read_peft(&export, Arc::clone(&layout)).unwrap();
    assert_eq!(exported.values(), good.values());
}

fn put_on_trial(slots: &mut DirSlots, adapter: &Adapter) {
    let values = adapter.values().iter().flat_map(|value| value.to_le_bytes());
    let bytes: Vec<u8> = adapter.layout().hash().into_iter().chain(values).collect();
    slots.begin(bytes.len() as u64).unwrap();
    slots.append(&bytes).unwrap();
    slots.seal().unwrap();
    slots.start_trial().unwrap();
}

#[test]
fn a_vehicle_killed_in_its_night_goes_on_and_loses_no_span() {
    use std::io::{BufRead, BufReader};

    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 16);
    let mut child = Command::new(SHOAL)
        .args(["drive", text(&file), "--json"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // Killed when the second slice was measured: the first is durable, two are left.
    let reached = lines.map_while(Result::ok).any(|line| line.contains("candidate after 8 steps"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reached, "the night was not reached");

    let output = shoal(&["drive", text(&file), "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("candidate after 4 steps"), "measured twice:\n{said}");
    assert!(!said.contains("pack skill of the active adapter"), "measured twice:\n{said}");
    assert!(said.contains("candidate after 16 steps"), "{said}");
    assert!(!said.contains("left out"), "{said}");
}

#[test]
fn a_study_of_generated_roads_gives_each_seed_roads_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let output =
        shoal(&["study", text(&file), "--vehicles", "1", "--seeds", "2", "--seed", "5", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seeds = result["seeds"].as_array().unwrap();
    assert_eq!(seeds.len(), 2);
    assert_ne!(seeds[0][0]["name"], seeds[1][0]["name"]);
    assert!(result["difference"]["pairs"]["mean"].is_number(), "{result}");
    assert!(result["difference"]["drives"].is_null(), "{result}");
    assert_eq!(misfits(&schema("study.schema.json"), &result, "$"), Vec::<String>::new());
}

#[test]
fn a_study_has_a_drive_for_each_vehicle_or_does_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let drives = drives(folder.path(), 60);
    for (vehicles, why) in [("0", "0 is not in 1.."), ("2", "there are only 1")] {
        let study = ["study", text(&file), "--drives", text(&drives), "--vehicles", vehicles];
        let output = shoal(&study);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
        assert!(said.contains("--vehicles") && !said.contains("measuring"), "{said}");
    }
}

/// The shipped package, whose model also says how it would steer: as the driver did a moment before.
fn acting_package(folder: &Path) -> PathBuf {
    use shoal_runtime::onnx::proto::NodeProto;
    use shoal_runtime::onnx::{Attr, Tensor, TensorType};

    let acting = folder.join("acting");
    std::fs::create_dir(&acting).unwrap();
    let toml = std::fs::read_to_string(package().join("model.toml")).unwrap();
    let toml = toml.replace("footage = \"footage\"\n", "")
        + "\n[action]\noutput = \"would\"\nfield = \"steering_rad\"\ntolerance = 0.05\n";
    std::fs::write(acting.join("model.toml"), toml).unwrap();
    let mut model = Model::read(&package().join("model.onnx")).unwrap();
    let graph = model.graph_mut();
    graph.initializer.push(Tensor::i64s(&[1]).to_proto("steering"));
    graph.node.push(NodeProto {
        input: vec!["motion".into(), "steering".into()],
        output: vec!["would".into()],
        op_type: Some("Gather".into()),
        attribute: vec![Attr::Int(-1).to_proto("axis")],
        ..NodeProto::default()
    });
    let would = TensorType::f32(&[1, 1]).to_value_info("would");
    graph.output.push(would);
    model.write(&acting.join("model.onnx")).unwrap();
    acting
}

#[test]
fn a_model_that_would_steer_is_compared_with_the_driver() {
    let folder = tempfile::tempdir().unwrap();
    let file = vehicle(folder.path(), 4);
    let acting = acting_package(folder.path());
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, toml.replace(text(&package()), text(&acting))).unwrap();
    let output = shoal(&["drive", text(&file), "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("disagreement 0.00"), "{said}");
}

/// A directory of drives: a folder of frames whose stripes move two pixels a frame.
fn drives(folder: &Path, frames: u32) -> PathBuf {
    let drives = folder.join("drives");
    std::fs::create_dir_all(drives.join("stripes")).unwrap();
    for index in 0..frames {
        let stripe = |x: u32, y: u32| {
            image::Rgb([
                if ((x + 2 * index) / 8).is_multiple_of(2) { 220 } else { 40 },
                y as u8,
                90,
            ])
        };
        let frame = image::RgbImage::from_fn(128, 64, stripe);
        frame.save(drives.join("stripes").join(format!("{index:04}.png"))).unwrap();
    }
    drives
}

#[test]
fn a_model_is_measured_on_a_folder_of_frames_and_reports_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let drives = drives(folder.path(), 60);
    let output =
        shoal(&["eval", text(&package()), "--data", text(&drives), "--engine", engine(), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(misfits(&schema("eval.schema.json"), &report, "$"), Vec::<String>::new());
    assert_eq!(report["drives"][0]["name"], "stripes");
    // Constant velocity: matching blocks again predicts such a road almost wholly.
    assert!(report["baselines"][1]["skill"].as_f64().unwrap() > 0.8, "{report}");
}

#[test]
fn what_an_adapter_costs_on_the_air_is_reported_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let (drives, adapter) = (drives(folder.path(), 60), folder.path().join("adapter"));
    let shipped = Package::open(&package()).unwrap();
    let model = Model::read(&shipped.model_path()).unwrap();
    let layout = graft_package(&model, shipped.description(), 1, Profile::Cpu).unwrap().layout;
    Adapter::start(layout, 1).write(&adapter).unwrap();
    let package = package();
    let cost = ["particle", "cost", text(&package), text(&adapter), "--data", text(&drives)];
    let output = shoal(&[&cost[..], &["--engine", engine(), "--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(misfits(&schema("particle-cost.schema.json"), &report, "$"), Vec::<String>::new());
    let rows = report["coded"].as_array().unwrap();
    assert!(rows[0]["bytes"].as_u64() > rows[rows.len() - 1]["bytes"].as_u64(), "{report}");
}

#[test]
fn a_drive_that_lacks_a_frame_or_changes_its_size_is_named_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let drives = drives(folder.path(), 60);
    image::RgbImage::new(64, 64).save(drives.join("stripes/0031.png")).unwrap();
    let output = shoal(&["eval", text(&package()), "--data", text(&drives), "--engine", engine()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("stripes/0031.png") && said.contains("64×64"), "{said}");
}

#[test]
fn an_unknown_key_of_a_vehicle_names_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vehicle.toml");
    std::fs::write(&file, "[night]\nstep = 3\n").unwrap();
    let output = shoal(&["drive", text(&file)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("vehicle.toml:2") && said.contains("`steps`"), "{said}");
}

#[test]
fn a_model_is_grafted_differentiated_and_inspected_with_no_flag_beyond_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let model = package().join("model.onnx");
    for command in ["graft", "differentiate"] {
        let out = folder.path().join(command);
        let output = shoal(&["model", command, text(&model), "-o", text(&out)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(out.is_file());
    }
    let output = shoal(&["model", "inspect", text(&model), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(misfits(&schema("inspect.schema.json"), &report, "$"), Vec::<String>::new());
    let gradients = &report["gradients"];
    assert_eq!(gradients["obstacles"].as_array().unwrap().len(), 0);
    assert!(gradients["refusal"].is_null() && !gradients["losses"].as_array().unwrap().is_empty());
}

#[test]
fn a_training_graph_goes_where_its_caller_stands_and_never_over_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("world.onnx");
    std::fs::copy(package().join("model.onnx"), &model).unwrap();
    let before = std::fs::read(&model).unwrap();
    let differentiate = |flags: &[&str]| {
        let mut command = Command::new(SHOAL);
        command.current_dir(folder.path()).args(["model", "differentiate", text(&model)]);
        command.args(flags).output().unwrap()
    };
    let output = differentiate(&["--roll-out", "2", "--feed", "next=frames"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the newest of 4 along axis 1, oldest first"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("MiB, by plan"));
    assert!(folder.path().join("world.training.onnx").is_file());

    let over = differentiate(&["-o", "world.onnx"]);
    assert!(!over.status.success());
    assert!(String::from_utf8_lossy(&over.stderr).contains("is the model itself"));
    let little = differentiate(&["--memory-limit", "1000"]);
    assert!(!little.status.success());
    assert!(String::from_utf8_lossy(&little.stderr).contains("a smaller --batch takes less"));
    assert_eq!(std::fs::read(&model).unwrap(), before);
}

#[test]
fn what_is_no_model_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("noise.onnx");
    std::fs::write(&file, [0xff; 300]).unwrap();
    let output = shoal(&["model", "inspect", text(&file)]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("noise.onnx"));
}

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Where a value does not fit a schema, of which types, properties, maps and items are understood.
fn misfits(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let types: Vec<&str> = match schema["type"].as_str() {
        Some(one) => vec![one],
        None => schema["type"].as_array().unwrap().iter().filter_map(Value::as_str).collect(),
    };
    let fits = types.iter().any(|name| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{at}: unknown type {other}"),
    });
    if !fits {
        return vec![format!("{at} is {value}, not {types:?}")];
    }
    let mut found = Vec::new();
    if let Value::Object(fields) = value {
        // A map of any keys has one schema for all its values.
        let any =
            schema["additionalProperties"].as_object().map(|_map| &schema["additionalProperties"]);
        let none = serde_json::Map::new();
        let known = schema["properties"].as_object().unwrap_or(&none);
        let missing = known.keys().filter(|key| !fields.contains_key(*key));
        found.extend(missing.map(|key| format!("{at}.{key} is missing")));
        for (key, field) in fields {
            match known.get(key).or(any) {
                Some(schema) => found.extend(misfits(schema, field, &format!("{at}.{key}"))),
                None => found.push(format!("{at}.{key} is not in the schema")),
            }
        }
    }
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            found.extend(misfits(&schema["items"], item, &format!("{at}[{index}]")));
        }
    }
    found
}
