//! `cargo xtask oracle forms`: what each command makes of models that ONNX Runtime's own tools fused and quantised, as a page.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::{Done, Failure, root, test, tools};

const HEAD: &str = "\
# Forms that ONNX Runtime's tools write, and what each command makes of them

Written by `cargo xtask oracle forms`; not by hand. *fused*: saved by the optimiser at level EXTENDED. *qoperator*, *qdq*: quantised by
`quantize_static` on drawn inputs, weights of int8 with a scale for each channel where the name says so, activations uint8 but where it says *signed*.
*dynamic*: by `quantize_dynamic`, convolutions too. Every command is given the path alone, `bake` the adapter beside it. *Loss*: before and
after ten steps. *Apart*: the greatest difference between the baked model and the one with the adapter beside it, over the greatest value of that
output, and how much of it can be rounding.

| model | form | inspect | graft | differentiate | train | loss | bake | apart |
|---|---|---|---|---|---|---|---|---|
";

/// What each form is given to.
const COMMANDS: [&str; 5] = ["inspect", "graft", "differentiate", "train", "bake"];

/// What a command did: its lines, and whether it ended well.
struct Said {
    is_done: bool,
    lines: Vec<String>,
}

pub(super) fn run() -> Done {
    println!("installs ONNX Runtime's Python into target/tools/forms");
    let python = super::install_into(&tools().join("forms"), &["forms.txt"])?;
    let program = super::built_shoal()?;
    let mut page = HEAD.to_owned();
    let mut reasons = Vec::new();
    for model in models()? {
        let name = stem(&model);
        let folder = root().join("target/oracle/forms").join(&name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|why| unusable(&folder, &why))?;
        }
        let script = root().join("xtask/oracle/forms.py");
        let mut not_made = Vec::new();
        let made = Run::new(&python).arg(script).arg(&model).arg(&folder).lines(|line| {
            if let Some((form, why)) = line.split_once(": not made: ") {
                not_made.push((form.to_owned(), why.to_owned()));
            }
        })?;
        if !made {
            return Err(Failure(format!("no forms of {name}")));
        }
        for form in files(&folder)? {
            row(&mut page, &mut reasons, &program, (&name, &folder, &form))?;
        }
        for (form, why) in not_made {
            reasons.push(why);
            let number = reasons.len();
            let _ = writeln!(page, "| {name} | {form} | not made ({number}) | | | | | | |");
        }
    }
    if !reasons.is_empty() {
        page.push_str("\nWhy not:\n\n");
    }
    for (number, why) in reasons.iter().enumerate() {
        let _ = writeln!(page, "{}. {why}", number + 1);
    }
    let to = root().join("docs/evidence/forms.md");
    fs::write(&to, page).map_err(|why| unusable(&to, &why))?;
    println!("{}", to.display());
    Ok(())
}

/// One form: every command, as far as they need each other.
fn row(
    page: &mut String,
    reasons: &mut Vec<String>,
    program: &Path,
    (name, folder, form): (&str, &Path, &Path),
) -> Done {
    let label = stem(form);
    let (adapter, baked) = (folder.join("adapter"), folder.join("baked"));
    if adapter.exists() {
        fs::remove_dir_all(&adapter).map_err(|why| unusable(&adapter, &why))?;
    }
    let mut cells = Vec::new();
    let (mut loss, mut apart) = (String::new(), String::new());
    for command in COMMANDS {
        let mut run = Run::new(program).args(["model", command]).arg(form);
        run = match command {
            "graft" | "differentiate" => run.arg("-o").arg(&baked),
            "train" => run.arg("-o").arg(&adapter),
            "bake" if !adapter.exists() => {
                cells.push(String::new());
                continue;
            }
            "bake" => run.arg(&adapter).arg("-o").arg(&baked),
            _ => run,
        };
        let said = said(run.envs(&test::variables()).at(folder))?;
        let line = |start: &str| said.lines.iter().find_map(|line| line.strip_prefix(start));
        if let Some(told) = line("loss ") {
            loss = told.split(" steps").next().unwrap_or_default().to_owned();
        }
        if let Some(told) = line("greatest difference of ") {
            apart = told.split(": ").nth(1).unwrap_or_default().to_owned();
        }
        let refused = line("factors cannot be trained: ");
        let is_whole = said.is_done && refused.is_none() && line("without a gradient:").is_none();
        let why = match (said.is_done, refused) {
            (true, Some(why)) => Some(why),
            (true, None) => line_behind(&said, "without a gradient:"),
            (false, _) => {
                said.lines.iter().rev().find(|line| !line.trim().is_empty()).map(String::as_str)
            }
        };
        if is_whole {
            cells.push("yes".to_owned());
        } else {
            let why = why.map_or("", |why| why.trim());
            reasons.push(why.replace(&format!("{}/", folder.display()), ""));
            cells.push(format!("no ({})", reasons.len()));
        }
    }
    if let [inspect, graft, differentiate, train, bake] = cells.as_slice() {
        let _ = writeln!(
            page,
            "| {name} | {label} | {inspect} | {graft} | {differentiate} | {train} | {loss} | {bake} | {apart} |"
        );
    }
    Ok(())
}

fn line_behind<'a>(said: &'a Said, heading: &str) -> Option<&'a str> {
    said.lines.iter().skip_while(|line| *line != heading).nth(1).map(String::as_str)
}

fn said(run: Run) -> Done<Said> {
    let mut lines = Vec::new();
    let is_done = run.lines(|line| lines.push(line.to_owned()))?;
    Ok(Said { is_done, lines })
}

/// The models of others that tests use, and those that ship.
pub(super) fn models() -> Done<Vec<PathBuf>> {
    let mut models = vec![];
    if let Some(data) = test::data() {
        models.extend(files(&data.join("models"))?);
    }
    models.extend(
        ["world", "policy"].map(|name| root().join("models").join(name).join("model.onnx")),
    );
    Ok(models)
}

/// The ONNX files of a folder, by name.
fn files(folder: &Path) -> Done<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|why| unusable(folder, &why))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    Ok(files)
}

/// What a file is called on the page: those called as all of a folder are, by the folder.
pub(super) fn stem(file: &Path) -> String {
    let named =
        |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
    match named(file.file_stem()) {
        name if name == "model" => named(file.parent().and_then(Path::file_name)),
        name => name,
    }
}

pub(super) fn unusable(path: &Path, why: &std::io::Error) -> Failure {
    Failure(format!("cannot use {}: {why}", path.display()))
}
