//! `shoal model train` of packages by the losses that their model.toml asks for, and of what holds an adapter of any kind of
//! package where it started.

use std::path::{Path, PathBuf};

use shoal_runtime::engine::testing::noise;
use shoal_runtime::onnx::{Attr, Builder, Model, Tensor, TensorType, Value};
use shoal_shadow::worldmodel::free_batch;

use super::bring::{length, model, succeeds};
use super::{engine, package, policy, shoal, text, tokens};

const GRID: &str = "81df86badc75689c82687ea45c15406f141126a5b4ffe436a36955b316c70f80";

/// The next frame of 8 × 4 pixels, the logarithm of its variance and logits of the grid.
fn acting() -> Model {
    let mut b = Builder::new(17);
    let x = b.input("frames", TensorType::f32(&[1, 6, 4, 8]));
    let stored = |b: &mut Builder, name: &str, dims: &[usize]| -> Value {
        let values = noise(name.len(), dims.iter().product());
        let values: Vec<f32> = values.iter().map(|value| value * 0.1).collect();
        b.initializer(name, &Tensor::f32(dims, &values))
    };
    let pads = [("pads", Attr::Ints(vec![1; 4])), ("kernel_shape", Attr::Ints(vec![3, 3]))];
    let w = stored(&mut b, "first", &[8, 6, 3, 3]);
    let h = b.op("Conv", &[&x, &w], &pads).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    for (output, name) in [("next", "of.next"), ("doubt", "of.doubts")] {
        let w = stored(&mut b, name, &[3, 8, 3, 3]);
        let y = b.op("Conv", &[&h, &w], &pads).unwrap();
        b.output(output, &y);
    }
    let flat = b.op("Flatten", &[&h], &[("axis", Attr::Int(1))]).unwrap();
    let w = stored(&mut b, "of.actions", &[256, 1281]);
    let logits = b.op("MatMul", &[&flat, &w], &[]).unwrap();
    b.output("logits", &logits);
    let mut model = b.into_model();
    free_batch(&mut model);
    model
}

/// A package of it whose `model.toml` asks for these losses: kind, output and weight.
fn world(folder: &Path, losses: &[(&str, &str, f64)]) -> PathBuf {
    let package = folder.join("acting");
    std::fs::create_dir_all(&package).unwrap();
    acting().write(&package.join("model.onnx")).unwrap();
    let mut toml = format!(
        "rate_hz = 20.0\n[frames]\ninput = \"frames\"\ncount = 2\nwidth = 8\nheight = 4\n\
         [next_frame]\noutput = \"next\"\n[action]\noutput = \"logits\"\ngrid = \"{GRID}\"\n\
         [adapter]\ntargets = [\"first\"]\n"
    );
    for (kind, output, weight) in losses {
        let doubt = if *kind == "gaussian-nll" { "log_variance = \"doubt\"\n" } else { "" };
        toml += &format!(
            "[[loss]]\nkind = \"{kind}\"\noutput = \"{output}\"\nweight = {weight}\n{doubt}"
        );
    }
    std::fs::write(package.join("model.toml"), toml).unwrap();
    package
}

/// The loss of the first step and how far the adapter came.
fn trained(folder: &Path, package: &Path, data: &Path, how: &[&str]) -> (f64, f64) {
    let given = ["train", text(package), "--data", text(data), "--steps", "3", "-o", "made"];
    let output = model(folder, &[&given[..], how].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let first = said.lines().find(|line| line.starts_with("1/3  steps")).unwrap();
    let loss = first.split_once("loss ").unwrap().1.split_whitespace().next().unwrap();
    (loss.parse().unwrap(), length(&folder.join("made")))
}

/// Of frames alone, of frames with their variance, and of frames and what the driver did: each falls on both engines.
#[test]
fn a_package_is_trained_by_the_weighted_sum_that_its_description_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tubs = policy::tub(at);
    for engine in ["tract", engine()] {
        let of = |losses: &[(&str, &str, f64)]| {
            let package = world(at, losses);
            let (loss, came) = trained(at, &package, &tubs, &["--engine", engine]);
            assert!(came > 0.0, "{losses:?}");
            loss
        };
        let charbonnier = of(&[("charbonnier", "next", 1.0)]);
        let gaussian = of(&[("gaussian-nll", "next", 1.0)]);
        let driver = of(&[("cross-entropy", "logits", 1.0)]);
        let sum = of(&[
            ("charbonnier", "next", 0.5),
            ("gaussian-nll", "next", 0.25),
            ("cross-entropy", "logits", 3.0),
        ]);
        let want = 0.5 * charbonnier + 0.25 * gaussian + 3.0 * driver;
        // Losses are told to four digits behind the point.
        assert!((sum - want).abs() < 1e-3 + 1e-5 * want, "{engine}: {sum}, not {want}");
    }
}

#[test]
fn a_package_that_acts_learns_of_the_vehicle_that_was_driven_if_a_loss_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tubs = policy::tub(at);
    let vehicle = ["--steering-ratio", "1", "--engine", engine()];
    let both = world(at, &[("mse", "next", 1.0), ("cross-entropy", "logits", 1.0)]);
    let (geared, _) = trained(at, &both, &tubs, &vehicle[2..]);
    let (direct, _) = trained(at, &both, &tubs, &vehicle);
    assert_ne!(geared, direct, "other bins cost otherwise");
    let train = ["train", text(&both), "--data"];
    let said = |args: &[&str]| {
        let output = model(at, &[&train[..], args].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let frames = super::drives(at, 60);
    assert!(said(&[text(&frames)]).contains("no drive tells how it was steered"));

    // What cannot be trained is said before the data are looked for.
    world(at, &[("mse", "next", 1.0), ("mse", "logits", 0.5)]);
    let refused = said(&["nowhere"]);
    let parts = ["the loss mse on `logits`", "ask for cross-entropy"];
    assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    world(at, &[("mse", "next", 1.0), ("charbonnier", "doubt", 0.5)]);
    assert!(said(&["nowhere"]).contains("charbonnier on `doubt`"));
    world(at, &[("mse", "next", 1.0)]);
    assert!(said(&[&[text(&tubs)][..], &vehicle[..2]].concat()).contains("learn what drivers do"));
}

/// A policy is held by what matters on the roads that it was taught on, tokens by the logs that ship with them.
#[test]
fn adapters_of_tokens_and_of_policies_are_held_where_they_started() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let [of_tokens, file, log] = tokens::material(at);
    let (driver, tubs) = (at.join("driver"), policy::tub(at));
    assert!(shoal(&["model", "init", text(&driver), "--policy"]).status.success());
    let train = |package: &Path, data: &[&str], how: &[&str]| {
        let given = ["train", text(package), "--engine", engine(), "--steps", "6", "-o", "made"];
        succeeds(at, &[&given[..], data, how].concat());
        length(&at.join("made"))
    };
    let refused = |package: &Path, data: &[&str], how: &[&str]| {
        let output = model(at, &[&["train", text(package)][..], data, how].concat());
        assert!(!output.status.success(), "{how:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let logs = ["--model", text(&file), "--data", text(&log)];
    let (driven, last) = (["--data", text(&tubs)], ["--every", "6", "--learning-rate", "3e-3"]);
    let free = train(&of_tokens, &logs, &last);
    let held = train(&of_tokens, &logs, &[&last[..], &["--pull", "1000"]].concat());
    assert!(held > 0.0 && held < 0.9 * free, "tokens: {held} of {free}");
    assert!(refused(&of_tokens, &logs, &["--ewc", "1"]).contains("footage of the package"));
    std::fs::create_dir(of_tokens.join("footage")).unwrap();
    std::fs::copy(&log, of_tokens.join("footage/log.csv")).unwrap();
    let toml = std::fs::read_to_string(of_tokens.join("model.toml")).unwrap();
    std::fs::write(of_tokens.join("model.toml"), format!("footage = 'footage'\n{toml}")).unwrap();
    let held = train(&of_tokens, &logs, &[&last[..], &["--ewc", "1000"]].concat());
    assert!(held > 0.0 && held < 0.9 * free, "tokens: {held} of {free}");

    let free = train(&driver, &driven, &[]);
    for how in [["--pull", "1000"], ["--ewc", "1000"]] {
        let held = train(&driver, &driven, &how);
        assert!(held > 0.0 && held < 0.9 * free, "policy, {how:?}: {held} of {free}");
    }
    for (package, data) in [(&of_tokens, &logs[..]), (&driver, &driven)] {
        for how in [["--distil", "2"], ["--roll-out", "2"]] {
            assert!(refused(package, data, &how).contains("is for packages of frames"));
        }
    }
    let toml = std::fs::read_to_string(driver.join("model.toml")).unwrap();
    std::fs::write(driver.join("model.toml"), toml.replace("rehearsal = 0.5\n", "")).unwrap();
    assert!(refused(&driver, &driven, &["--ewc", "1"]).contains("`rehearsal` of [action]"));
    let world = package();
    assert!(refused(&world, &driven, &["--every", "2"]).contains("packages of tokens"));
}
