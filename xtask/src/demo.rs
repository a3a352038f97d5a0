//! `cargo xtask demo`: one vehicle on its roads, watched in the terminal.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::flags::Flags;
use crate::process::Run;
use crate::{Done, Failure, onnxruntime, root};

const HELP: &str = "\
cargo xtask demo [--drives DIR] [--pretrain DIR] [--engine ort|tract] [--seed N] [--headless]

One vehicle drives generated roads in shadow mode, tunes an adapter on its own next frames, and measures
itself before and after on frames it has not seen. Writes to target/demo.

--drives DIR     recorded drives instead of generated roads
--pretrain DIR   pretrains the model on this footage too, before the drive
--engine         ort: ONNX Runtime, fetched by pip when it is not there; tract: pure Rust, three to four
                 times slower. Without it: ort when it can be had, else tract
--seed N         of roads, draws and keys (default 1)
--headless       plain lines, ends by itself";

const VALUED: [&str; 4] = ["--drives", "--pretrain", "--engine", "--seed"];
/// The model that ships.
const PACKAGE: &str = "models/world";
const PRETRAIN_STEPS: &str = "2000";

pub(crate) fn run(args: &[String]) -> Done {
    let flags = Flags::parse(args, &VALUED, &["--headless", "--help"])?;
    if flags.has("--help") {
        println!("{HELP}");
        return Ok(());
    }
    let asked = Asked::parse(&flags)?;
    let folder = root().join("target/demo");
    fs::create_dir_all(&folder)
        .map_err(|error| Failure(format!("cannot make {}: {error}", folder.display())))?;
    let engine = engine(asked.engine)?;

    println!("building; the first time takes minutes");
    let package = match &asked.pretrain {
        None => root().join(PACKAGE),
        Some(footage) => {
            let package = folder.join("model");
            remove(&package)?;
            shoal(engine)
                .args(["model", "pretrain"])
                .arg(root().join(PACKAGE))
                .arg("--data")
                .arg(footage)
                .args(["--engine", engine.name(), "--steps", PRETRAIN_STEPS, "-o"])
                .arg(&package)
                .run()?;
            package
        }
    };
    let vehicle = folder.join("vehicle.toml");
    let text = vehicle_toml(&package, asked.drives.as_deref(), engine, asked.seed);
    fs::write(&vehicle, text)
        .map_err(|error| Failure(format!("cannot write {}: {error}", vehicle.display())))?;
    // A demo begins with a vehicle that has learnt nothing yet.
    remove(&folder.join("state"))?;
    let picture = folder.join("predicted.png");
    let drive = shoal(engine).arg("drive").arg(&vehicle).arg("--picture").arg(&picture);
    if asked.headless {
        drive.run()?
    } else {
        drive.interactive().run()?
    }
    println!("predicted and seen frames: {}", picture.display());
    Ok(())
}

/// The command line, checked before anything is fetched or built.
#[derive(Debug)]
struct Asked {
    drives: Option<PathBuf>,
    pretrain: Option<PathBuf>,
    engine: Option<Engine>,
    seed: u32,
    headless: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Ort,
    Tract,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Ort => "ort",
            Self::Tract => "tract",
        }
    }
}

impl Asked {
    fn parse(flags: &Flags) -> Done<Self> {
        if let Some(stray) = flags.rest.first() {
            return Err(Failure(format!("{stray} is no flag\n\n{HELP}")));
        }
        let engine = match flags.value("--engine") {
            None => None,
            Some("ort") => Some(Engine::Ort),
            Some("tract") => Some(Engine::Tract),
            Some(other) => return Err(Failure(format!("no engine {other}: ort or tract"))),
        };
        let seed = flags.value("--seed").unwrap_or("1");
        Ok(Self {
            drives: flags.value("--drives").map(absolute).transpose()?,
            pretrain: flags.value("--pretrain").map(absolute).transpose()?,
            engine,
            seed: seed.parse().map_err(|_error| Failure(format!("--seed {seed} is no number")))?,
            headless: flags.has("--headless"),
        })
    }
}

/// The `shoal` command, built when it has to be.
fn shoal(engine: Engine) -> Run {
    let run = Run::cargo().args(["run", "--quiet", "--package", "shoal", "--"]);
    let library = onnxruntime::library().filter(|_library| engine == Engine::Ort);
    library.iter().fold(run, |run, library| run.env("SHOAL_ONNXRUNTIME", library))
}

/// The engine that was asked for, or the best that can be had.
fn engine(asked: Option<Engine>) -> Done<Engine> {
    if asked == Some(Engine::Tract) {
        return Ok(Engine::Tract);
    }
    let fetched = match onnxruntime::library() {
        Some(_library) => Ok(()),
        None => onnxruntime::install(),
    };
    match (fetched, asked) {
        (Ok(()), _) => Ok(Engine::Ort),
        (Err(failure), Some(_asked)) => Err(failure),
        (Err(Failure(why)), None) => {
            println!("{why}\nno ONNX Runtime: tract runs the model, three to four times slower");
            Ok(Engine::Tract)
        }
    }
}

fn vehicle_toml(package: &Path, drives: Option<&Path>, engine: Engine, seed: u32) -> String {
    let engine = engine.name();
    let mut text = format!(
        "# Written by `cargo xtask demo`.\nname = \"demo\"\nseed = {seed}\nstate = \"state\"\n\n\
         [model]\npackage = {:?}\n\n[engine]\nkind = \"{engine}\"\n\n\
         # The drives are short: everything is kept.\n[replay]\nordinary_share = 1.0\n",
        shown(package)
    );
    if let Some(drives) = drives {
        let _infallible = write!(text, "\n[drives]\ndirectory = {:?}\n", shown(drives));
    }
    text
}

/// Removes what an earlier demo left.
fn remove(folder: &Path) -> Done {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder)
        .map_err(|error| Failure(format!("cannot remove {}: {error}", folder.display())))
}

/// The path as the caller means it: relative to where they are.
fn absolute(path: &str) -> Done<PathBuf> {
    fs::canonicalize(path).map_err(|error| Failure(format!("{path}: {error}")))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vehicle_is_valid_toml_with_what_was_asked_for() {
        let text = vehicle_toml(Path::new("a \"b\""), Some(Path::new("c")), Engine::Tract, 7);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["seed"].as_integer(), Some(7));
        assert_eq!(table["model"]["package"].as_str(), Some("a \"b\""));
        assert_eq!(table["engine"]["kind"].as_str(), Some("tract"));
        assert_eq!(table["drives"]["directory"].as_str(), Some("c"));
    }

    #[test]
    fn flags_that_mean_nothing_are_refused() {
        for args in [&["--engine", "cuda"][..], &["--seed", "x"], &["road"], &["--vehicles", "4"]] {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            let asked = Flags::parse(&args, &VALUED, &[]).and_then(|flags| Asked::parse(&flags));
            assert!(asked.is_err(), "{args:?}");
        }
    }
}
