//! `shoal model train`, of packages and of bare files alike: what is trained, from where, and how it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use shoal_runtime::onnx::{Builder, Model, Tensor, TensorType};

use super::bring::{losses, model, succeeds};
use super::{SHOAL, engine, package, policy, shoal, text, tokens};

/// The tensors of a PEFT directory, by name.
fn tensors(adapter: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let told: serde_json::Value = serde_json::from_slice(&bytes[8..8 + head]).unwrap();
    let told = told.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let of = |(name, of): (&String, &serde_json::Value)| {
        let at = |end: usize| 8 + head + of["data_offsets"][end].as_u64().unwrap() as usize;
        let values = bytes[at(0)..at(1)].chunks_exact(4);
        let values = values.map(|value| f32::from_le_bytes(value.try_into().unwrap()));
        (name.clone(), values.collect())
    };
    told.map(of).collect()
}

fn downs(adapter: &Path) -> BTreeMap<String, Vec<f32>> {
    let mut of = tensors(adapter);
    of.retain(|name, _| name.contains("lora_A"));
    of
}

fn is_trained(adapter: &Path) -> bool {
    let ups = tensors(adapter).into_iter().filter(|(name, _)| name.contains("lora_B"));
    ups.flat_map(|(_, values)| values).any(|value| value != 0.0)
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = model(folder, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn adapters_of_one_seed_share_their_a_whatever_their_rank() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let world = package().join("model.onnx");
    for (rank, made) in [("2", "small"), ("4", "large")] {
        let given = ["train", text(&world), "--engine", engine(), "--steps", "3"];
        let how = ["--freeze-a", "5", "--rank", rank, "-o", made];
        succeeds(folder.path(), &[&given[..], &how].concat());
        assert!(is_trained(&at(made)));
    }
    let (small, large) = (downs(&at("small")), downs(&at("large")));
    assert!(!small.is_empty() && small.keys().eq(large.keys()));
    for (name, a) in &small {
        assert_eq!(large[name][..a.len()], a[..], "{name}");
    }
}

#[test]
fn a_package_trains_b_alone_and_goes_on_with_the_same_seed_only() {
    let folder = tempfile::tempdir().unwrap();
    let frames = super::drives(folder.path(), 60);
    let world = package();
    let given = ["train", text(&world), "--data", text(&frames), "--engine", engine()];
    let given = [&given[..], &["--steps", "3"]].concat();
    succeeds(folder.path(), &[&given[..], &["--freeze-a", "5", "-o", "first"]].concat());
    let more = ["--freeze-a", "5", "--adapter", "first", "--roll-out", "2", "-o", "second"];
    succeeds(folder.path(), &[&given[..], &more].concat());
    let at = |name: &str| folder.path().join(name);
    assert!(is_trained(&at("first")) && downs(&at("first")) == downs(&at("second")));
    assert_ne!(tensors(&at("first")), tensors(&at("second")));
    let other = ["--freeze-a", "6", "--adapter", "first", "-o", "third"];
    let said = refused(folder.path(), &[&given[..], &other].concat());
    assert!(said.contains("row 0 of A") && said.contains("another seed"), "{said}");
    assert!(!at("third").exists());
}

#[test]
fn graphs_of_a_frozen_a_take_b_alone() {
    let folder = tempfile::tempdir().unwrap();
    let world = package().join("model.onnx");
    let path = text(&world);
    succeeds(folder.path(), &["graft", path, "--freeze-a", "5", "-o", "grafted.onnx"]);
    succeeds(folder.path(), &["differentiate", path, "--freeze-a", "5", "-o", "one.onnx"]);
    succeeds(folder.path(), &["differentiate", "grafted.onnx", "-o", "two.onnx"]);
    for made in ["grafted.onnx", "one.onnx", "two.onnx"] {
        let made_model = Model::read(&folder.path().join(made)).unwrap();
        let graph = made_model.graph();
        let of = |name: &&str| name.starts_with("lora.");
        let inputs: Vec<&str> = graph.input.iter().map(|i| i.name()).filter(of).collect();
        let stored = graph.initializer.iter().map(|t| t.name()).filter(of);
        let stored = stored.filter(|name| name.ends_with(".A")).count();
        assert!(!inputs.is_empty() && inputs.iter().all(|name| name.ends_with(".B")), "{made}");
        assert_eq!(stored, inputs.len(), "{made}");
        let outputs = graph.output.iter().map(|o| o.name());
        let gradients = outputs.filter(|name| name.starts_with("grad.")).count();
        assert_eq!(gradients, if made == "grafted.onnx" { 0 } else { inputs.len() }, "{made}");
    }
    succeeds(folder.path(), &["graft", path, "--optional", "--freeze-a", "5", "-o", "open.onnx"]);
    let open = Model::read(&folder.path().join("open.onnx")).unwrap();
    let drawn = open.graph().initializer.iter().find(|t| t.name().ends_with(".A")).unwrap();
    let drawn = Tensor::from_proto(drawn).unwrap();
    assert!(drawn.as_f32().unwrap().iter().all(|value| *value != 0.0));
    let said = refused(folder.path(), &["differentiate", path, "--all-weights", "--freeze-a", "5"]);
    assert!(said.contains("cannot be used with"), "{said}");
    let again = ["differentiate", "grafted.onnx", "--freeze-a", "5", "-o", "three.onnx"];
    assert!(refused(folder.path(), &again).contains("has factors already"));
}

/// Packages of all kinds with their data: of frames, of tokens, of a policy; steps that are quick for each.
fn packages(folder: &Path) -> [(PathBuf, Vec<String>); 3] {
    let frames = super::drives(folder, 60);
    let [package_of_tokens, file, log] = tokens::material(folder);
    let (driver, tubs) = (folder.join("driver"), policy::tub(folder));
    assert!(shoal(&["model", "init", text(&driver), "--policy"]).status.success());
    let of = |data: &Path| vec!["--data".to_owned(), text(data).to_owned()];
    let mut of_tokens = of(&log);
    of_tokens.extend(["--model".to_owned(), text(&file).to_owned()]);
    [(package(), of(&frames)), (package_of_tokens, of_tokens), (driver, of(&tubs))]
}

fn train<'a>(package: &'a Path, data: &'a [String], how: &[&'a str]) -> Vec<&'a str> {
    let given = ["train", text(package), "--engine", engine()].into_iter();
    given.chain(data.iter().map(String::as_str)).chain(how.iter().copied()).collect()
}

/// How often what is trained is measured: of tokens alone, which are told their file.
fn every<'a>(data: &[String], steps: &'a str) -> Vec<&'a str> {
    if data.iter().any(|flag| flag == "--model") { vec!["--every", steps] } else { Vec::new() }
}

/// What is told of training that stopped: which step, which output, and where what was good is.
fn stops(folder: &Path, args: &[&str], (step, left): (&str, &str), made: &str) -> String {
    let said = refused(folder, args);
    let told =
        [&format!("step {step}: `"), "the step was not taken", &format!("{made} has {left}")];
    assert!(told.iter().all(|part| said.contains(*part)), "{args:?}: {said}");
    let values: Vec<f32> = tensors(&folder.join(made)).into_values().flatten().collect();
    assert!(!values.is_empty() && values.iter().all(|value| value.is_finite()), "{args:?}");
    said
}

const LAST: &str = "what the last good step left";

/// `exp` of what one matrix makes of the input: a step that is too long overflows.
fn exponential(folder: &Path) -> PathBuf {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[2, 4]));
    let w: Vec<f32> = (0..12).map(|i| (i % 5) as f32 * 0.2 - 0.4).collect();
    let w = b.initializer("w", &Tensor::f32(&[4, 3], &w));
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let y = b.op("Exp", &[&h], &[]).unwrap();
    b.output("y", &y);
    let file = folder.join("exponential.onnx");
    b.into_model().write(&file).unwrap();
    file
}

#[test]
fn a_bare_file_that_overflows_says_the_step_and_the_output_and_keeps_what_was_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = exponential(folder.path());
    let how = ["--learning-rate", "1e4", "--engine", engine(), "-o", "made"];
    let args = [&["train", text(&file)], &how[..]].concat();
    assert!(stops(folder.path(), &args, ("2", LAST), "made").contains("`loss` holds inf"));
    // One step was good.
    assert!(is_trained(&folder.path().join("made")));
    let whole =
        [&["train", text(&file), "--all-weights"], &how[..4], &["-o", "made.onnx"]].concat();
    assert!(refused(folder.path(), &whole).contains("made.onnx has what the last good step left"));
    succeeds(folder.path(), &["inspect", "made.onnx"]);
}

#[test]
fn packages_that_overflow_say_the_step_and_the_output_and_keep_what_was_good() {
    let folder = tempfile::tempdir().unwrap();
    // Of tokens what step 2 left gives no number on the pack part: of what does, the best is kept.
    let told = [("2", LAST), ("3", "the adapter after 0 steps"), ("2", LAST)];
    for (at, ((package, data), told)) in packages(folder.path()).iter().zip(told).enumerate() {
        let made = format!("made{at}");
        let how = ["--learning-rate", "1e30", "--steps", "6", "-o", &made];
        let args = train(package, data, &[&how[..], &every(data, "3")].concat());
        stops(folder.path(), &args, told, &made);
    }
}

fn bytes(folder: &Path, adapter: &str) -> Vec<u8> {
    std::fs::read(folder.join(adapter).join("adapter_model.safetensors")).unwrap()
}

#[test]
fn packages_of_every_kind_take_parts_a_limit_and_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (package, data) in &packages(at) {
        let run = |steps: &str, made: &str, how: &[&str]| {
            let how = [&["--steps", steps, "-o", made][..], &every(data, "2"), how].concat();
            succeeds(at, &train(package, data, &how));
        };
        run("6", "whole", &[]);
        run("4", "first", &["--checkpoint", "state"]);
        run("6", "rest", &["--checkpoint", "state"]);
        assert_eq!(bytes(at, "whole"), bytes(at, "rest"), "{}", package.display());
        let other = ["--steps", "6", "--checkpoint", "state", "--seed", "1", "-o", "other"];
        let said = refused(at, &train(package, data, &other));
        assert!(said.contains("state is of another seed"), "{said}");
        std::fs::remove_file(at.join("state")).unwrap();

        // Parts are the same step, but for rounding.
        run("6", "parts", &["--parts", "4"]);
        let (whole, parts) = (tensors(&at.join("whole")), tensors(&at.join("parts")));
        let largest = whole.values().flatten().fold(0.0_f32, |most, value| most.max(value.abs()));
        let apart = whole.iter().flat_map(|(name, of)| of.iter().zip(&parts[name]));
        let apart = apart.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart < 0.02 * largest, "{}: {apart} of {largest}", package.display());

        let little = ["--steps", "1", "--memory-limit", "1000", "-o", "little"];
        let said = refused(at, &train(package, data, &little));
        assert!(said.contains("bytes by plan"), "{said}");
        let three = ["--parts", "5", "-o", "three"];
        assert!(refused(at, &train(package, data, &three)).contains("no 5 equal parts"));
    }
}

#[test]
fn a_bare_file_goes_on_from_a_checkpoint_to_the_bit_and_from_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = package().join("model.onnx");
    let given = ["train", text(&world), "--engine", engine(), "--learning-rate", "3e-3"];
    let run = |how: &[&str]| succeeds(at, &[&given[..], how].concat());
    let said = run(&["--steps", "8", "-o", "whole"]);
    run(&["--steps", "5", "-o", "first", "--checkpoint", "state"]);
    assert_ne!(bytes(at, "whole"), bytes(at, "first"));
    run(&["--steps", "8", "-o", "rest", "--checkpoint", "state"]);
    assert_eq!(bytes(at, "whole"), bytes(at, "rest"));
    for other in [["--seed", "1"], ["--rank", "4"]] {
        let how = [&given[..], &other, &["--checkpoint", "state", "-o", "other"]].concat();
        assert!(refused(at, &how).contains("state is of another seed"));
    }
    let mut damaged = std::fs::read(at.join("state")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(at.join("state"), damaged).unwrap();
    let how = [&given[..], &["--steps", "9", "--checkpoint", "state", "-o", "other"]].concat();
    assert!(refused(at, &how).contains("is damaged"));

    // It begins where the other ended, and is measured by the same untuned model.
    let (_, after) = losses(&said);
    let said = run(&["--steps", "8", "--adapter", "whole", "-o", "more"]);
    let (before, further) = losses(&said);
    assert!((before - after).abs() < 1e-3 && further < before, "{after}: {said}");
    let how = [&given[..], &["--adapter", "whole", "--rank", "4", "-o", "other"]].concat();
    assert!(refused(at, &how).contains("--targets, --rank and --alpha are not for --adapter"));
}

/// What cannot be written is known before the first step, and named.
#[test]
fn a_place_that_takes_no_result_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = package().join("model.onnx");
    std::fs::write(at.join("file"), "kept").unwrap();
    std::fs::create_dir(at.join("folder")).unwrap();
    let none = ["--checkpoint", "none/state"];
    let inside = ["--checkpoint", "folder"];
    let all = ["--all-weights", "-o", "folder"];
    let places = [
        (&none[..], "cannot write the checkpoint none/state"),
        (&inside, "folder is a folder"),
        (&["-o", "file"], "file is a file"),
        (&["-o", "file/below"], "file is no folder"),
        (&["-o", "none/x.onnx_adapter"], "none is no folder"),
        (&all, "folder is a folder"),
    ];
    for (place, why) in places {
        let how = [&["train", text(&world), "--engine", engine()][..], place].concat();
        let said = refused(at, &how);
        assert!(said.contains(why) && !said.contains("a step takes"), "{said}");
    }
    assert_eq!(std::fs::read(at.join("file")).unwrap(), b"kept");
    let package = package();
    let pretrain = ["pretrain", text(&package), "--steps", "1", "-o", "folder"];
    assert!(refused(at, &pretrain).contains("folder is there already"));
}

/// A disk that is full by then takes the adapter, which is smaller.
#[test]
fn a_checkpoint_that_is_not_written_costs_no_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = package().join("model.onnx");
    let mut all = packages(at).map(|(package, data)| (package, data)).to_vec();
    all.push((world, Vec::new()));
    for (package, data) in &all {
        let how = ["--steps", "2", "--checkpoint", "state", "-o", "made"];
        succeeds(at, &train(package, data, &how));
        let of = |file: &str| std::fs::metadata(at.join(file)).unwrap().len();
        let (whole, least) = (of("state"), of("made/adapter_model.safetensors"));
        let blocks = (whole - 1) / 512;
        assert!(blocks * 512 > least, "{whole} {least}");
        let before = bytes(at, "made");
        std::fs::remove_file(at.join("state")).unwrap();
        std::fs::remove_dir_all(at.join("made")).unwrap();
        let mut limited = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        limited.current_dir(at).args(["-c", &script, "sh", SHOAL, "model"]);
        let output = limited.args(train(package, data, &how)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("the checkpoint state: "), "{said}");
        assert!(!at.join("state").exists() && bytes(at, "made") == before, "{said}");
    }
}

#[test]
fn all_weights_of_a_bare_file_come_out_as_the_same_graph_with_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let world = package().join("model.onnx");
    let given = ["train", text(&world), "--engine", engine(), "--all-weights"];
    let said = succeeds(at, &[&given[..], &["--steps", "4"]].concat());
    let (before, after) = losses(&said);
    assert!(after < before && said.ends_with("model.tuned.onnx\n"), "{said}");
    let (old, new) =
        (Model::read(&world).unwrap(), Model::read(&at.join("model.tuned.onnx")).unwrap());
    assert_eq!(old.graph().node, new.graph().node);
    let pairs = old.graph().initializer.iter().zip(&new.graph().initializer);
    assert!(pairs.filter(|(old, new)| old != new).count() > 5);
    succeeds(at, &["train", "model.tuned.onnx", "--engine", engine(), "--steps", "1"]);
    succeeds(at, &["bake", "model.tuned.onnx", "model.tuned.adapter", "--engine", engine()]);

    let how = ["--checkpoint", "state", "--steps"];
    succeeds(at, &[&given[..], &how, &["2", "-o", "half.onnx"]].concat());
    succeeds(at, &[&given[..], &how, &["4", "-o", "rest.onnx"]].concat());
    let of = |name: &str| std::fs::read(at.join(name)).unwrap();
    assert!(of("rest.onnx") == of("model.tuned.onnx") && of("half.onnx") != of("rest.onnx"));
    assert!(refused(at, &[&given[..], &["--rank", "2"]].concat()).contains("are of factors"));
    for other in [["--adapter", "x"], ["--freeze-a", "1"]] {
        assert!(refused(at, &[&given[..], &other].concat()).contains("cannot be used with"));
    }
}

#[test]
fn all_weights_of_a_package_come_out_as_a_package() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (number, (package, data)) in packages(at).iter().enumerate() {
        let made = format!("tuned{number}");
        let how = ["--all-weights", "--steps", "4", "-o", &made];
        succeeds(at, &train(package, data, &how));
        let tuned = at.join(&made);
        let eval = ["eval", text(&tuned), "--json", "--engine", engine(), &data[0], &data[1]];
        let output = shoal(&eval);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let before = ["eval", text(package), "--json", "--engine", engine()];
        let before: Vec<&str> = before.into_iter().chain(data.iter().map(String::as_str)).collect();
        assert_ne!(shoal(&before).stdout, output.stdout, "{made}: the weights are others");
        assert_eq!(package.join("footage").is_dir(), tuned.join("footage").is_dir());
        assert!(refused(at, &train(package, data, &how)).contains("is there already"));
    }
    let world = package();
    let how = ["train", text(&world), "--data", ".", "--all-weights", "--pull", "1", "-o", "none"];
    assert!(refused(at, &how).contains("--pull holds an adapter"));
}

#[test]
fn dropout_is_drawn_by_step_and_said_in_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = |adapter: &str| -> f64 {
        let config = std::fs::read(at.join(adapter).join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        config["lora_dropout"].as_f64().unwrap()
    };
    for (package, data) in &packages(at) {
        let run = |steps: &str, made: &str, how: &[&str]| {
            let how = [&["--steps", steps, "-o", made][..], &every(data, "2"), how].concat();
            succeeds(at, &train(package, data, &how));
        };
        run("4", "plain", &[]);
        run("4", "dropped", &["--dropout", "0.25"]);
        assert!(said("plain") == 0.0 && said("dropped") == 0.25);
        assert_ne!(bytes(at, "plain"), bytes(at, "dropped"), "{}", package.display());
        run("2", "first", &["--dropout", "0.25", "--checkpoint", "state"]);
        run("4", "rest", &["--dropout", "0.25", "--checkpoint", "state"]);
        assert_eq!(bytes(at, "dropped"), bytes(at, "rest"), "{}", package.display());
        let other = ["--checkpoint", "state", "-o", "other"];
        assert!(refused(at, &train(package, data, &other)).contains("state is of another seed"));
        std::fs::remove_file(at.join("state")).unwrap();
    }
    let world = package().join("model.onnx");
    let given = ["train", text(&world), "--engine", engine(), "--steps", "2", "-o", "bare"];
    succeeds(at, &[&given[..], &["--targets", "enc*", "--dropout", "0.5"]].concat());
    assert_eq!(said("bare"), 0.5);
    assert!(refused(at, &[&given[..], &["--dropout", "1"]].concat()).contains("below 1"));
    let held = [&given[..], &["--batch", "2", "--distil", "1", "--dropout", "0.5"]].concat();
    assert!(refused(at, &held).contains("--dropout would drop there"));
    let whole = [&given[..], &["--dropout", "0.5", "--all-weights"]].concat();
    assert!(refused(at, &whole).contains("cannot be used with"));
}

/// Next values with the logarithm of their variance, and bins, of one layer: what several losses are asked for on.
fn forked(folder: &Path) -> PathBuf {
    let mut b = Builder::new(17);
    let noise = |seed: usize, count: usize| -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed) % 2003) as f32 / 2002.0 - 0.5).collect()
    };
    let x = b.input("x", TensorType::f32(&[4, 6]));
    let w = b.initializer("w", &Tensor::f32(&[6, 8], &noise(3, 48)));
    let h = b.op("MatMul", &[&x, &w], &[]).unwrap();
    let h = b.op("Tanh", &[&h], &[]).unwrap();
    for (seed, (output, name)) in [("next", "a"), ("doubt", "b"), ("bins", "c")].iter().enumerate()
    {
        let w = b.initializer(name, &Tensor::f32(&[8, 5], &noise(11 * seed, 40)));
        let y = b.op("MatMul", &[&h, &w], &[]).unwrap();
        b.output(output, &y);
    }
    let file = folder.join("forked.onnx");
    b.into_model().write(&file).unwrap();
    file
}

/// The loss is the sum of what each would be by itself, times its weight, on every engine; what is asked for is said.
#[test]
fn a_bare_file_is_trained_by_the_weighted_sum_of_losses_that_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = forked(at);
    for engine in ["tract", engine()] {
        let run = |asked: &[&str]| {
            let given = ["train", text(&file), "--engine", engine, "--steps", "8"];
            let asked = asked.iter().flat_map(|loss| ["--loss", loss]);
            let how = ["--learning-rate", "3e-3", "-o", "made"];
            let args: Vec<&str> = given.into_iter().chain(how).chain(asked).collect();
            succeeds(at, &args)
        };
        let alone = |loss: &str| losses(&run(&[loss])).0;
        let each = ["charbonnier:next", "gaussian_nll:next,doubt", "cross_entropy:bins"].map(alone);
        let said =
            run(&["charbonnier:next*2", "gaussian_nll:next,doubt*0.25", "cross_entropy:bins*0.5"]);
        let (before, after) = losses(&said);
        let sum = 2.0 * each[0] + 0.25 * each[1] + 0.5 * each[2];
        assert!((before - sum).abs() < 5e-4, "{engine}: {before}, not {sum} of {each:?}");
        assert!(after < before && is_trained(&at.join("made")), "{said}");
        for told in [
            "output next: charbonnier, counts 2\n",
            "output next: gaussian_nll, counts 0.25\n",
            "output bins: cross_entropy, counts 0.5\n",
        ] {
            assert!(said.contains(told), "{said}");
        }
    }
}

#[test]
fn a_loss_that_a_bare_file_has_no_place_for_is_refused_by_its_option() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = forked(at);
    for command in ["train", "differentiate"] {
        let said = |asked: &[&str]| refused(at, &[&[command, text(&file)], asked].concat());
        let missing = said(&["--loss", "mse:next", "--loss", "mse:nxt*2"]);
        let parts = ["forked.onnx: --loss mse:nxt*2: ", "outputs are next, doubt, bins"];
        assert!(parts.iter().all(|part| missing.contains(part)), "{missing}");
        let twice = said(&["--loss", "mse:next", "--loss", "mse:next*3"]);
        assert!(twice.contains("--loss mse:next*1") && twice.contains("twice"), "{twice}");
        let variance = said(&["--loss", "gaussian_nll:next,x"]);
        assert!(variance.contains("`x`, is float32[4, 6], not float32[4, 5]"), "{variance}");
        assert!(said(&["--loss", "huber:next"]).contains("unknown loss `huber`"));
    }
    let (world, given) = (package(), ["--data", ".", "--loss", "mse:next"]);
    let said = refused(at, &[&["train", text(&world)], &given[..]].concat());
    assert!(said.contains("[[loss]] of its model.toml"), "{said}");

    let train = ["train", text(&file), "--engine", engine(), "--checkpoint", "state"];
    let of = |loss: &'static str| [&train[..], &["--loss", loss]].concat();
    succeeds(at, &of("charbonnier:next"));
    assert!(refused(at, &of("charbonnier:next*2")).contains("state is of another"));
}
