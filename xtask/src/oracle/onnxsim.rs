//! `cargo xtask oracle onnxsim`: the other program that tunes a model by its inference engine (`onnxsim.lora`, `graph_grad`), beside Shoal,
//! as a page.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;

use serde_json::Value;

use super::forms::{models, stem, unusable};
use crate::clock::Watch;
use crate::process::Run;
use crate::{Done, Failure, root, test, tools};

const HEAD: &str = "\
# Beside onnxsim

Written by `cargo xtask oracle onnxsim`; not by hand. onnxsim 0.8.1 is the other program at hand that grafts LoRA onto an ONNX model and
trains it by an inference engine alone. Both are given each model as it is, rank 8 and α 16; onnxsim simplifies it first. *Layers* get factors;
*learns*: ten steps on the model's own first output, moved, lower the loss. *Step*: seconds of one on ONNX Runtime 1.31.1 with as many threads as
there are processors, of the layers that both take, from the difference of 420 and 20 steps; Shoal draws and labels another sample for each step,
onnxsim has one.

";

const TABLE: &str = "\
| model | layers: onnxsim | Shoal | learns: onnxsim | Shoal | step: onnxsim | Shoal |
|---|---|---|---|---|---|---|
";

/// What onnxsim's side says.
struct Theirs {
    /// Operators it differentiates.
    rules: u64,
    sites: Vec<String>,
    learns: bool,
    step_s: Option<f64>,
    /// Why it does not learn.
    why: Option<String>,
}

impl Theirs {
    /// One line of JSON.
    fn read(line: &str) -> Option<Self> {
        let said: Value = serde_json::from_str(line).ok()?;
        let sites = said.get("sites")?.as_array()?.iter();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Theirs {
            rules: said.get("rules")?.as_u64()?,
            sites: sites.map(text).collect::<Option<_>>()?,
            learns: said.get("learns").and_then(Value::as_bool).unwrap_or_default(),
            step_s: said.get("step_s").and_then(Value::as_f64),
            why: said.get("why").and_then(text),
        })
    }
}

/// The sites that `shoal model inspect --json` names.
fn sites(said: &str) -> Option<Vec<String>> {
    let said: Value = serde_json::from_str(said).ok()?;
    let sites = said.get("sites")?.as_array()?.iter();
    sites.map(|site| Some(site.get("name")?.as_str()?.to_owned())).collect()
}

pub(super) fn run() -> Done {
    println!("installs onnxsim into target/tools/onnxsim");
    let python = super::install_into(&tools().join("onnxsim"), &["onnxsim.txt"])?;
    let program = super::built_shoal()?;
    let folder = root().join("target/oracle/onnxsim");
    fs::create_dir_all(&folder).map_err(|why| unusable(&folder, &why))?;
    let (mut table, mut rules) = (TABLE.to_owned(), 0);
    for model in models()? {
        println!("{}", model.display());
        let script = root().join("xtask/oracle/onnxsim_beside.py");
        let said = Run::new(&python).arg(script).arg(&model).output()?;
        let last = said.lines().last().unwrap_or_default();
        let theirs = Theirs::read(last).ok_or_else(|| not_said("onnxsim", &model))?;
        rules = theirs.rules;
        row(&mut table, &program, (&model, &theirs), &folder)?;
    }
    let to = root().join("docs/evidence/onnxsim.md");
    let page = format!(
        "{HEAD}It differentiates {rules} operators; Shoal's are the table in docs/operators.md.\n\n{table}"
    );
    fs::write(&to, page).map_err(|why| unusable(&to, &why))?;
    println!("{}", to.display());
    Ok(())
}

fn row(
    table: &mut String,
    program: &Path,
    (model, theirs): (&Path, &Theirs),
    folder: &Path,
) -> Done {
    let said = shoal(program, "inspect", model, &["--json"]).output()?;
    let ours = sites(&said).ok_or_else(|| not_said("shoal model inspect", model))?;
    let seconds = |steps: &str, targets: &[String]| -> Done<f64> {
        let adapter = folder.join("adapter");
        if adapter.exists() {
            fs::remove_dir_all(&adapter).map_err(|why| unusable(&adapter, &why))?;
        }
        let run = shoal(program, "train", model, &["--steps", steps])
            .args(targets)
            .arg("-o")
            .arg(&adapter);
        let begun = Watch::start();
        run.output()?;
        Ok(begun.elapsed().as_secs_f64())
    };
    // Ends badly where the loss does not fall.
    seconds("10", &[])?;
    let both: Vec<&String> = theirs.sites.iter().filter(|site| ours.contains(*site)).collect();
    let mut steps = [String::new(), String::new()];
    if let Some(step_s) = theirs.step_s.filter(|_| both.len() == theirs.sites.len()) {
        let threads = thread::available_parallelism().map_or(1, usize::from).to_string();
        let mut flags = vec!["--threads".to_owned(), threads];
        flags.extend(both.iter().flat_map(|site| ["--targets".to_owned(), (*site).clone()]));
        let own = (seconds("420", &flags)? - seconds("20", &flags)?) / 400.0;
        steps = [step_s, own].map(|of| format!("{:.2} ms", 1e3 * of));
    }
    let learns = match (&theirs.why, theirs.learns) {
        (Some(why), _) => format!("no: {}", why.replace(['[', ']', '\''], "")),
        (None, true) => "yes".to_owned(),
        (None, false) => "the loss does not fall".to_owned(),
    };
    let [step, own] = steps;
    let (layers, own_layers) = (theirs.sites.len(), ours.len());
    let name = stem(model);
    let _ =
        writeln!(table, "| {name} | {layers} | {own_layers} | {learns} | yes | {step} | {own} |");
    Ok(())
}

fn shoal(program: &Path, command: &str, model: &Path, rest: &[&str]) -> Run {
    let run = Run::new(program).args(["model", command]).arg(model);
    run.args(rest).envs(&test::variables())
}

fn not_said(program: &str, model: &Path) -> Failure {
    Failure(format!("{program} of {} says nothing that is understood", model.display()))
}
