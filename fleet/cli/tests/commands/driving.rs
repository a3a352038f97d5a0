//! The default policy from outside: made, pretrained a little, and driven.

use std::path::Path;

use serde_json::Value;

use super::{engine, misfits, schema, shoal, text};

fn done(args: &[&str]) -> Vec<u8> {
    let output = shoal(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn drive(package: &Path) -> Value {
    let args = ["terms", text(package), "--roads", "3", "--seconds", "4", "--json"];
    serde_json::from_slice(&done(&[&args[..], &["--engine", engine()]].concat())).unwrap()
}

#[test]
fn a_policy_is_made_pretrained_and_drives() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, trained) = (folder.path().join("policy"), folder.path().join("trained"));
    done(&["model", "init", text(&policy), "--policy"]);
    let few = ["--steps", "3", "--pool", "2", "--batch", "2", "--engine", engine()];
    done(&[&["model", "pretrain", text(&policy), "-o", text(&trained)][..], &few].concat());
    assert!(!trained.join("footage").exists());
    let (before, after) = (drive(&policy), drive(&trained));
    for printed in [&before, &after] {
        assert_eq!(misfits(&schema("terms.schema.json"), printed, "$"), Vec::<String>::new());
    }
    assert_eq!(before["roads_sha256"], after["roads_sha256"]);
    assert_ne!(before["drivers"][0], after["drivers"][0], "it learnt something else to do");
    let attentive = &after["drivers"][1];
    assert_eq!((&attentive["driver"], &attentive["crashes"]), (&"attentive".into(), &0.into()));
    assert_eq!(before["drivers"][1], *attentive, "who knows the truth drives as ever");
}

/// One vehicle with a policy, in the hands of an attentive driver: what `shoal drive` says of it.
#[test]
fn a_vehicle_with_a_policy_drives_tunes_and_is_nearer_to_its_driver() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, file) = (folder.path().join("policy"), folder.path().join("vehicle.toml"));
    done(&["model", "init", text(&policy), "--policy"]);
    let toml = |drives: &str| {
        format!(
            "state = \"state\"\n[model]\npackage = \"policy\"\n[engine]\nkind = \"{}\"\n[drives]\n{drives}\n\
             regions = [\"forest\"]\nframes = 300\n[replay]\nordinary_share = 1.0\n\
             [night]\nsteps = 20\nslice = 10\nclips_min = 4\n",
            engine()
        )
    };
    std::fs::write(&file, toml("driver = \"attentive\"")).unwrap();
    let result: Value = serde_json::from_slice(&done(&["drive", text(&file), "--json"])).unwrap();
    assert_eq!(misfits(&schema("drive.schema.json"), &result, "$"), Vec::<String>::new());
    assert_eq!(result["metric"], "imitation");
    let [before, after] = ["before", "after"].map(|when| result["own"][when].as_f64().unwrap());
    assert!(result["staged"] == true && after > before, "{after} from {before}");
    assert_eq!(result["after"]["drives"][0]["psnr_db"], Value::Null);

    let refuses = |args: &[&str], why: &str| {
        let output = shoal(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
    };
    let picture = folder.path().join("picture.png");
    refuses(&["drive", text(&file), "--picture", text(&picture)], "foresees none");
    std::fs::write(&file, toml("driver = \"atentive\"")).unwrap();
    refuses(&["drive", text(&file)], "attentive");
}

/// What is known of a second is told, and what is not known is no 0.
#[test]
fn roads_of_a_second_are_too_short_for_comfort() {
    let policy = super::package().with_file_name("policy");
    let args = ["terms", text(&policy), "--roads", "1", "--seconds", "1", "--engine", engine()];
    let printed: Value = serde_json::from_slice(&done(&[&args[..], &["--json"]].concat())).unwrap();
    assert_eq!(misfits(&schema("terms.schema.json"), &printed, "$"), Vec::<String>::new());
    let terms = &printed["drivers"][1]["terms"];
    assert_eq!((&terms["comfort"], terms["lane_keeping"].as_f64()), (&Value::Null, Some(1.0)));
    assert!(String::from_utf8_lossy(&done(&args)).contains(" - "));
}

#[test]
fn a_policy_of_another_rate_drives_no_generated_roads_and_is_not_taught_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy");
    done(&["model", "init", text(&policy), "--policy"]);
    let file = policy.join("model.toml");
    let toml = std::fs::read_to_string(&file).unwrap();
    let fast = toml.replace("rate_hz = 10.0", "rate_hz = 20.0");
    assert_ne!(toml, fast);
    std::fs::write(&file, fast).unwrap();
    let (engine, trained) = (["--engine", engine()], folder.path().join("trained"));
    let terms = ["terms", text(&policy), "--roads", "1"];
    let pretrain = ["model", "pretrain", text(&policy), "-o", text(&trained), "--steps", "1"];
    for args in [&terms[..], &pretrain] {
        let output = shoal(&[args, &engine].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("the policy reads 20"), "{said}");
    }
}

#[test]
fn a_world_model_is_no_policy() {
    let output = shoal(&["terms", text(&super::package()), "--roads", "1", "--engine", engine()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("[action]"), "{said}");
}
