//! `shoal eval` of a policy.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shoal_runtime::onnx::{Attr, Builder, TensorType};

use super::{drives, engine, misfits, schema, shoal, text};

/// A policy that steers by how bright the frame is: an angle in radians from −0.5 to 0.5.
fn package(folder: &Path) -> PathBuf {
    let package = folder.join("bright");
    std::fs::create_dir_all(&package).unwrap();
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let axes = [("axes", Attr::Ints(vec![1, 2, 3])), ("keepdims", Attr::Int(0))];
    let mean = b.op("ReduceMean", &[&x], &axes).unwrap();
    let half = b.scalar(0.5);
    let angle = b.op("Sub", &[&mean, &half], &[]).unwrap();
    b.output("angle", &angle);
    b.into_model().write(&package.join("model.onnx")).unwrap();
    let grid = "81df86badc75689c82687ea45c15406f141126a5b4ffe436a36955b316c70f80";
    let toml = format!(
        "rate_hz = 20.0\n[frames]\ninput = \"x\"\ncount = 1\nwidth = 8\nheight = 4\n[action]\noutput = \"angle\"\n\
         grid = \"{grid}\"\nfield = \"steering_rad\"\nwheelbase_m = 2.7\nsteering_ratio = 1.0\nwidth_per_m = 0.004\n"
    );
    std::fs::write(package.join("model.toml"), toml).unwrap();
    package
}

/// A tub whose driver steers left on bright frames and right on dark ones, sixteen of each in turn.
pub(super) fn tub(folder: &Path) -> PathBuf {
    let drives = folder.join("tubs");
    let tub = drives.join("tub");
    std::fs::create_dir_all(tub.join("images")).unwrap();
    let mut catalog = String::new();
    for index in 0..200_u32 {
        let bright = (index / 16).is_multiple_of(2);
        let image = format!("{index}.png");
        let light = if bright { 160 } else { 95 };
        let frame = image::RgbImage::from_pixel(16, 8, image::Rgb([light; 3]));
        frame.save(tub.join("images").join(&image)).unwrap();
        let angle = if bright { -0.3 } else { 0.3 };
        let record = json!({ "_index": index, "cam/image_array": image, "user/angle": angle });
        catalog += &format!("{record}\n");
    }
    std::fs::write(tub.join("catalog_0.catalog"), catalog).unwrap();
    let manifest = json!({ "paths": ["catalog_0.catalog"], "deleted_indexes": [] });
    std::fs::write(tub.join("manifest.json"), format!("{manifest}\n")).unwrap();
    drives
}

#[test]
fn a_policy_is_compared_with_the_driver_and_reports_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let (package, tubs) = (package(folder.path()), tub(folder.path()));
    let eval = ["eval", text(&package), "--engine", engine(), "--data"];
    let vehicle = ["--wheelbase", "2.7", "--steering-ratio", "1"];
    let output = shoal(&[&eval[..], &[text(&tubs), "--json"], &vehicle].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(misfits(&schema("eval-policy.schema.json"), &report, "$"), Vec::<String>::new());
    let skill = |place: usize| report["drives"][0]["predictors"][place]["skill"].as_f64().unwrap();
    assert!(skill(0) > 0.5 && skill(1) == 0.0, "{report}");
    assert_eq!(report["skill"].as_f64(), Some(skill(0)));

    // The same driver in a vehicle whose wheel is geared down steers nowhere near as far.
    let output = shoal(&[&eval[..], &[text(&tubs), "--json"]].concat());
    let geared: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(geared["skill"].as_f64().unwrap() < skill(0), "{geared}");

    let frames = drives(folder.path(), 60);
    let output = shoal(&[&eval[..], &[text(&frames)]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("the driver's action is not known"), "{said}");
}

/// The network of the default policy, drawn and not trained, imitates the driver of a tub, and is nearer to him afterwards.
#[test]
fn a_policy_is_tuned_on_what_a_driver_did() {
    let folder = tempfile::tempdir().unwrap();
    let (tubs, policy) = (tub(folder.path()), folder.path().join("policy"));
    let adapter = folder.path().join("adapter");
    let done = |args: &[&str]| {
        let output = shoal(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };
    done(&["model", "init", text(&policy), "--policy"]);
    let vehicle = ["--wheelbase", "2.7", "--steering-ratio", "1", "--engine", engine()];
    let train = ["model", "train", text(&policy), "--data", text(&tubs), "--steps", "30"];
    let output = done(&[&train[..], &["-o", text(&adapter)], &vehicle].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("tub knows no acceleration") && said.contains("hindsight"), "{said}");
    let eval = ["eval", text(&policy), "--data", text(&tubs), "--json"];
    let nats = |more: &[&str]| {
        let output = done(&[&eval[..], &vehicle, more].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["drives"][0]["predictors"][0]["nats"].as_f64().unwrap()
    };
    let (before, after) = (nats(&[]), nats(&["--adapter", text(&adapter)]));
    assert!(after < before - 0.3, "{after} nats from {before}");

    let refuses = |more: &[&str], why: &str| {
        let output =
            shoal(&[&train[..], &["-o", text(&folder.path().join("none"))], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
    };
    refuses(&["--roll-out", "2"], "packages of frames");
    refuses(&["--steering-ratio", "0"], "above 0");
}

#[test]
fn a_pack_of_attentive_drivers_is_built_checked_and_measured_on() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, pack) = (package(folder.path()), folder.path().join("pack"));
    let build = [
        "pack",
        "build",
        "--attentive",
        "2",
        "--reckless",
        "2",
        "--metric",
        "imitation",
        "--package",
    ];
    let output = shoal(&[&build[..], &[text(&policy), "-o", text(&pack)]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = shoal(&["pack", "check", text(&pack)]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("4 drives in 4 parts, every hash holds"), "{said}");
    assert!(said.contains("metric imitation") && said.contains("action_grid/v1"), "{said}");
    assert!(said.contains("/attentive/") && said.contains("mean weight"), "{said}");
    assert!(said.contains("frames of mean weight 0.000"), "nobody imitates the reckless: {said}");
    assert!(said.contains("tells imitation, comfort, distance, progress"), "{said}");

    let eval = ["eval", text(&policy), "--engine", engine(), "--pack", text(&pack)];
    let output = shoal(&[&eval[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(misfits(&schema("eval-pack.schema.json"), &report, "$"), Vec::<String>::new());
    let value = report["value"].as_f64().unwrap();
    assert!(value < 1.0 && report["drives"][0]["moments"].as_u64().unwrap() > 100, "{report}");
    let term = (value.clamp(-1.0, 1.0) * 1e4).round();
    assert_eq!(report["term_value"].as_f64(), Some(term));
    let terms: Vec<&str> =
        report["terms"].as_array().unwrap().iter().filter_map(|of| of["metric"].as_str()).collect();
    assert_eq!(terms, ["imitation", "comfort", "distance", "progress"]);

    // A gate is of what a pack tells, and a value that a term can have.
    let wrong = [
        ("speed=0.1", "no metric"),
        ("skill=0.1", "no pack tells"),
        ("comfort=2", "within"),
        ("comfort", "VALUE"),
    ];
    for (gate, why) in wrong {
        let asked = ["fleet", "init", "never", "--vehicles", "1", "--pack", text(&pack), "--gate"];
        let said = shoal(&[&asked[..], &[gate]].concat());
        assert!(!said.status.success());
        assert!(String::from_utf8_lossy(&said.stderr).contains(why), "{said:?}");
    }

    // The same roads as a pack of skill are no pack to be imitated on.
    let tubs = tub(folder.path());
    let skill = folder.path().join("skill");
    let world = super::package();
    let output =
        shoal(&["pack", "build", text(&tubs), "--package", text(&world), "-o", text(&skill)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = shoal(&["eval", text(&policy), "--engine", engine(), "--pack", text(&skill)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is a pack of skill"), "{said}");
}
