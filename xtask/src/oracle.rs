//! `cargo xtask oracle`: installs PyTorch and records anew what the tests compare with; with Flower, whose engine is compared; with rmqtt,
//! which links are tested on.

mod adapters;
mod conformance;
mod flower;
mod forms;
mod onnxsim;
mod rmqtt;

use std::path::{Path, PathBuf};

use crate::cargo::target_dir;
use crate::flags::Flags;
use crate::process::Run;
use crate::{Done, Failure, onnxruntime, root, tools};

const HELP: &str = "\
cargo xtask oracle [world|tinyphysics]... | models | operators | exporters | adapters | conformance | forms | peft | onnxsim | rmqtt | flower [engine|training]...

Installs PyTorch into target/tools/oracle (gigabytes), and records gradients of whole models by its autograd
as fixtures. Nothing of `cargo xtask test` needs it. tinyphysics reads SHOAL_DATA or ../shared/data.

`models` records gradients, in float64, of factors at every layer of the models in SHOAL_DATA and of the two that Shoal ships.

`operators` draws a few thousand graphs of single operators, records their gradients by autograd in float64, and writes
docs/operators.md: which operator has a gradient, in which version, on which engine.

`exporters` has both of PyTorch's exporters, TensorFlow's (tf2onnx) and JAX's (jax2onnx) write a hundred functions, and records
their own gradients in float64. The last two are installed into target/tools/oracle-tensorflow and oracle-jax.

`adapters` lets ONNX Runtime's own Python run a grafted model with an adapter file of ours, and reads back what it writes.

`conformance` runs ONNX's own conformance suite, and writes docs/evidence/conformance.md: what folding, both engines and gradients make of
each case, beside what the standard says. Minutes; no PyTorch.

`forms` has ONNX Runtime's Python fuse and quantise every model at hand, and writes docs/evidence/forms.md: what each command makes of them.

`peft` loads an adapter of ours by Hugging Face's PEFT and bakes one that PEFT trained; outputs are compared.

`onnxsim` lets the other program that trains adapters by an inference engine try every model at hand, and writes docs/evidence/onnxsim.md.

`rmqtt` builds one node of an rmqtt cluster (about ten minutes; installs protoc) and runs the brokers' suite on three of it.

`flower` compares `shoal sim` with Flower's simulation engine: `cargo xtask oracle flower --help`.";

/// Kind, its model, and the fixture, as xtask/oracle/fixtures.py takes them.
const FIXTURES: [(&str, &str, &str); 2] = [
    ("world", "target/oracle/world/model.onnx", "shadow/tests/fixtures/world.safetensors"),
    (
        "tinyphysics",
        "DATA/models/tinyphysics.onnx",
        "runtime/tests/fixtures/tinyphysics.safetensors",
    ),
];

/// What xtask/oracle/models.py calls a model, and its file.
const MODELS: [(&str, &str); 9] = [
    ("dave_small", "DATA/models/dave_small.onnx"),
    ("pilotnet_classifier512", "DATA/models/e2e_pilotnet_classifier512.onnx"),
    ("pilotnet_mae", "DATA/models/e2e_pilotnet_mae.onnx"),
    ("pilotnet_vanilla", "DATA/models/e2e_pilotnet_vanilla_dynbatch.onnx"),
    ("pilotnet_gray", "DATA/models/pilotnet_gray_66x200.onnx"),
    ("twinlitenet", "DATA/models/twinlitenet_360x640.onnx"),
    ("yolox_nano", "DATA/models/yolox_nano_416.onnx"),
    ("world", "models/world/model.onnx"),
    ("policy", "models/policy/model.onnx"),
];

/// The Python of the oracle, once PyTorch is installed.
pub(crate) fn python() -> Option<PathBuf> {
    python_with("torch", &environment())
}

/// The Python of a virtual environment, if it runs and has this module: making one can end half-way.
fn python_with(module: &str, environment: &Path) -> Option<PathBuf> {
    let python = environment.join("bin/python3");
    let imports = Run::new(&python).args(["-c", &format!("import {module}")]);
    imports.succeeds().then_some(python)
}

fn environment() -> PathBuf {
    tools().join("oracle")
}

pub(crate) fn run(args: &[String]) -> Done {
    if let Some((_flower, rest)) = args.split_first().filter(|(first, _rest)| *first == "flower") {
        return flower::run(rest);
    }
    let flags = Flags::with_words(args, &[], &["--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    if flags.rest == ["adapters"] {
        return adapters::onnxruntime();
    }
    if flags.rest == ["conformance"] {
        return conformance::run();
    }
    if flags.rest == ["forms"] {
        return forms::run();
    }
    if flags.rest == ["peft"] {
        return adapters::peft();
    }
    if flags.rest == ["onnxsim"] {
        return onnxsim::run();
    }
    if flags.rest == ["rmqtt"] {
        return rmqtt::run();
    }
    if flags.rest == ["models"] {
        return models();
    }
    if flags.rest == ["operators"] {
        return operators();
    }
    if flags.rest == ["exporters"] {
        return exporters();
    }
    if let Some(other) =
        flags.rest.iter().find(|name| FIXTURES.iter().all(|(kind, ..)| kind != name))
    {
        return Err(Failure(format!("no fixture {other}\n\n{HELP}")));
    }
    let python = install(&["requirements.txt"])?;
    untrained_world()?;
    for (kind, model, fixture) in FIXTURES {
        if !flags.rest.is_empty() && !flags.rest.iter().any(|name| name == kind) {
            continue;
        }
        let model = at_hand(kind, model)?;
        let fixture = root().join(fixture);
        Run::new(&python)
            .arg("fixtures.py")
            .arg(&model)
            .arg(kind)
            .arg(&fixture)
            .at(&root().join("xtask/oracle"))
            .run()?;
    }
    Ok(())
}

/// The file of a model, if it is there.
fn at_hand(kind: &str, file: &str) -> Done<PathBuf> {
    let data = std::env::var("SHOAL_DATA").unwrap_or_else(|_none| "../shared/data".to_owned());
    let model = root().join(file.replace("DATA", &data));
    if !model.is_file() {
        return Err(Failure(format!("no model {} to record {kind} of", model.display())));
    }
    Ok(model)
}

/// Gradients of models as others trained them.
fn models() -> Done {
    let python = install(&["requirements.txt"])?;
    let fixture = root().join("runtime/tests/fixtures/models.safetensors");
    let mut record = Run::new(&python).arg("models.py").arg(fixture);
    for (kind, file) in MODELS {
        record = record.arg(format!("{kind}={}", at_hand(kind, file)?.display()));
    }
    record.at(&root().join("xtask/oracle")).run()
}

/// Cases by Rust, their gradients by PyTorch, and the page of what both engines make of them.
fn operators() -> Done {
    let python = install(&["requirements.txt"])?;
    let coverage = |rest: &[&str]| {
        let test = ["test", "--workspace", "--test", "coverage", "--"];
        Run::cargo().args(test).args(rest.iter().copied())
    };
    coverage(&["--ignored", "--exact", "write_the_cases"]).run()?;
    Run::new(&python)
        .arg("operators.py")
        .arg(root().join("target/oracle/operators.safetensors"))
        .arg(root().join("runtime/tests/fixtures/operators.safetensors"))
        .at(&root().join("xtask/oracle"))
        .run()?;
    coverage(&["--nocapture"]).env("SHOAL_RECORD", "1").run()
}

/// What exporters make of functions, and what those functions' own libraries say of their gradients.
fn exporters() -> Done {
    let pytorch = install(&["requirements.txt"])?;
    let tensorflow = install_into(&tools().join("oracle-tensorflow"), &["tensorflow.txt"])?;
    let jax = install_into(&tools().join("oracle-jax"), &["jax.txt"])?;
    for (python, script, fixture) in [
        (pytorch, "exporters.py", "exported.safetensors"),
        (tensorflow, "exporters_tensorflow.py", "exported_tensorflow.safetensors"),
        (jax, "exporters_jax.py", "exported_jax.safetensors"),
    ] {
        Run::new(&python)
            .arg(script)
            .arg(root().join("runtime/tests/fixtures").join(fixture))
            .at(&root().join("xtask/oracle"))
            .run()?;
    }
    let tests = ["test", "--workspace", "--test", "coverage", "exporter", "--", "--nocapture"];
    Run::cargo().args(tests).run()
}

/// Installs what these files of xtask/oracle name; the Python that has it.
fn install(requirements: &[&str]) -> Done<PathBuf> {
    println!("installs PyTorch into target/tools/oracle: gigabytes, minutes");
    install_into(&environment(), requirements)
}

/// `shoal`, built, with the library of ONNX Runtime at hand.
fn built_shoal() -> Done<PathBuf> {
    if onnxruntime::library().is_none() {
        onnxruntime::install()?;
    }
    Run::cargo().args(["build", "--quiet", "--workspace", "--bin", "shoal"]).run()?;
    Ok(target_dir().join("debug/shoal"))
}

fn install_into(environment: &Path, requirements: &[&str]) -> Done<PathBuf> {
    let python = environment.join("bin/python3");
    if python_with("pip", environment).is_none() {
        Run::new("python3").args(["-m", "venv", "--clear"]).arg(environment).run()?;
    }
    let folder = root().join("xtask/oracle");
    let files = requirements.iter().map(|file| folder.join(file));
    files
        .fold(Run::new(&python).args(["-m", "pip", "install", "--quiet"]), |run, file| {
            run.arg("--requirement").arg(file)
        })
        .run()?;
    Ok(python)
}

/// Writes the untrained world model of seed 1, which the tests build, too.
fn untrained_world() -> Done {
    let folder = root().join("target/oracle");
    let package = folder.join("world");
    std::fs::create_dir_all(&folder)
        .and_then(|()| if package.exists() { std::fs::remove_dir_all(&package) } else { Ok(()) })
        .map_err(|error| Failure(format!("cannot use {}: {error}", folder.display())))?;
    Run::cargo()
        .args(["run", "--quiet", "--package", "shoal", "--", "model", "init", "--seed", "1"])
        .arg(&package)
        .run()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn half_an_environment_is_none() {
        let folder = std::env::temp_dir().join(format!("shoal-oracle-{}", std::process::id()));
        let python = folder.join("bin/python3");
        fs::create_dir_all(folder.join("bin")).unwrap();
        symlink("/bin/false", &python).unwrap();
        assert_eq!(python_with("pip", &folder), None);
        fs::remove_file(&python).unwrap();
        symlink("/bin/true", &python).unwrap();
        assert_eq!(python_with("pip", &folder), Some(python));
        fs::remove_dir_all(&folder).unwrap();
    }
}
