//! Packages of token models: trained, measured, baked and pretrained from outside.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shoal_runtime::onnx::{Attr, Builder, Element, Model, Tensor, TensorType};
use shoal_shadow::worldmodel::free_batch;

use super::{engine, misfits, schema, shoal, text};

const PACKAGE: &str = "
    model = 'elsewhere.onnx'
    rate_hz = 10.0
    [tokens]
    input = 'tokens'
    rows = 3
    field = 'lateral_acceleration_m_s2'
    low = 0.0
    high = 15.0
    bins = 16
    [next_token]
    output = 'logits'
";

/// Logits of 16 bins at each of three positions, of the token there: noise that knows nothing.
fn model() -> Model {
    let noise = |seed: usize, count: usize| -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed) % 2003) as f32 / 1001.0 - 1.0).collect()
    };
    let mut b = Builder::new(17);
    let tokens = b.input("tokens", TensorType::new(Element::I64, &[1, 3]));
    let embedding = b.initializer("embedding", &Tensor::f32(&[16, 32], &noise(3, 512)));
    let head = b.initializer("head", &Tensor::f32(&[32, 16], &noise(5, 512)));
    let seen = b.op("Gather", &[&embedding, &tokens], &[("axis", Attr::Int(0))]).unwrap();
    let logits = b.op("MatMul", &[&seen, &head], &[]).unwrap();
    b.output("logits", &logits);
    let mut model = b.into_model();
    free_batch(&mut model);
    model
}

/// A package, its model elsewhere, and a log in which every token is the one before it plus one.
pub(super) fn material(folder: &Path) -> [PathBuf; 3] {
    let [package, file, log] = ["package", "model.onnx", "log.csv"].map(|name| folder.join(name));
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("model.toml"), PACKAGE).unwrap();
    model().write(&file).unwrap();
    let head = "t_s,v_ego_mps,a_ego_mps2,steering_angle_deg,yaw_rate_radps,lat_accel_mps2\n";
    let rows = (0..300).map(|row| format!("{}.{},9,0,0,0,{}\n", row / 10, row % 10, row % 16));
    std::fs::write(&log, head.to_owned() + &rows.collect::<String>()).unwrap();
    [package, file, log]
}

fn succeeds(args: &[&str]) -> Vec<u8> {
    let mut args = args.to_vec();
    if args[1] != "bake" {
        args.extend(["--engine", engine()]);
    }
    let output = shoal(&args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn held_out(report: &Value, predictor: usize) -> f64 {
    report["predictors"][predictor]["nats"]["held_out"].as_f64().unwrap()
}

#[test]
fn a_token_package_is_trained_measured_baked_and_pretrained_with_its_model_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let [package, file, log] = material(folder.path());
    let [adapter, baked, whole] = ["adapter", "baked.onnx", "whole"].map(|n| folder.path().join(n));
    let on = ["--model", text(&file), "--data", text(&log)];
    let run = |args: &[&str]| {
        let output = succeeds(&[args, &on].concat());
        String::from_utf8(output).unwrap()
    };

    let steps = ["--steps", "40", "--learning-rate", "0.03", "--every", "8"];
    let train = ["model", "train", text(&package), "-o", text(&adapter)];
    let said = run(&[&train[..], &steps].concat());
    assert!(said.contains("nats on the pack part"), "{said}");

    let eval = ["eval", text(&package), "--json"];
    let with = [&eval[..], &["--adapter", text(&adapter)]].concat();
    let report: Value = serde_json::from_str(&run(&with)).unwrap();
    assert_eq!(misfits(&schema("eval-tokens.schema.json"), &report, "$"), Vec::<String>::new());
    let (untuned, tuned) = (held_out(&report, 0), held_out(&report, 3));
    assert!(tuned < untuned - 1.0, "{report}");
    assert_eq!(report["saved"][0]["nats"]["blocks"], 3);

    succeeds(&["model", "bake", text(&file), text(&adapter), "-o", text(&baked)]);
    let on_baked = [&eval[..], &["--model", text(&baked), "--data", text(&log)]].concat();
    let report: Value = serde_json::from_slice(&succeeds(&on_baked)).unwrap();
    assert!((held_out(&report, 0) - tuned).abs() < 1e-5, "{report}");

    run(&[
        "model",
        "pretrain",
        text(&package),
        "-o",
        text(&whole),
        "--steps",
        "20",
        "--learning-rate",
        "0.03",
    ]);
    let output = succeeds(&["eval", text(&whole), "--json", "--data", text(&log)]);
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert!(held_out(&report, 0) < untuned, "{report}");
}

#[test]
fn a_package_without_its_model_says_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let [package, _, log] = material(folder.path());
    let output = shoal(&["eval", text(&package), "--data", text(&log)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("elsewhere.onnx") && said.contains("--model"), "{said}");
}
