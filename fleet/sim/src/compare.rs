//! Runs in a folder: each method with each seed, one after the other; what is done is not done again.
//!
//! ```text
//! seed-<seed>/pack/            the evaluation pack
//! seed-<seed>/results/         what was tuned and measured, by what it was made of
//! seed-<seed>/<method>/windows.jsonl
//! seed-<seed>/<part>/<method>/windows.jsonl    of one part of several: a rung of a sweep
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use shoal_hal::backend::hold::{Hold, HoldError};
use shoal_runtime::engine::Engine;

use crate::config::{MethodConfig, SimConfig};
use crate::data::{Data, DataError};
use crate::lab::{Base, LabError};
use crate::record::file::{RecordError, Writer, read};
use crate::record::{Head, Record, Row};
use crate::run::{RunError, run};

const FILE: &str = "windows.jsonl";

/// Why a comparison does not go on.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("cannot make {}", path.display())]
    Make { path: PathBuf, source: std::io::Error },
    #[error("runs of one folder come one after the other: name another folder, or come back later")]
    Held(#[from] HoldError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("{method}, seed {seed}")]
    Run { method: String, seed: u64, source: Box<RunError> },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{} is of another {what}: name another folder, or remove it", path.display())]
    Other { path: PathBuf, what: &'static str },
    #[error(
        "{}: window {window} came out otherwise than it was written: another build of the program, or of the engine, wrote it; \
         name another folder", path.display()
    )]
    Differs { path: PathBuf, window: u32 },
}

/// Where runs are.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The folder of all.
    pub folder: &'a Path,
    /// The part of it that these runs' records are in; results are shared by all parts.
    pub part: Option<&'a str>,
}

/// What a comparison tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Tell<'a> {
    /// A recorded drive cannot be used, and why.
    Skipped(&'a str),
    /// A run begins; so many of its windows were written before.
    Begins {
        /// Its method.
        method: &'a str,
        /// Its seed.
        seed: u64,
        /// Windows that are there already, x_p's included.
        written: usize,
    },
    /// A window of it is over.
    Window(&'a Head, &'a Row),
}

/// Runs every method with every seed, and reads back all records, in the order of seeds and then of methods.
///
/// # Errors
/// [`CompareError`]: what was done until then is kept.
pub fn compare(
    config: &SimConfig,
    seeds: impl IntoIterator<Item = u64>,
    place: Place<'_>,
    engine: Box<dyn Engine>,
    mut tell: impl FnMut(Tell<'_>),
) -> Result<Vec<Record>, CompareError> {
    let _alone = alone(place.folder)?;
    let mut records = Vec::new();
    let base = Base::open(config, engine)?;
    for seed in seeds {
        let config = SimConfig { seed, ..config.clone() };
        let of_seed = place.folder.join(format!("seed-{seed}"));
        let records_in = place.part.map_or_else(|| of_seed.clone(), |part| of_seed.join(part));
        make(&of_seed)?;
        let mut data: Option<Data> = None;
        for method in &config.methods {
            let of_method = records_in.join(&method.name);
            make(&of_method)?;
            let path = of_method.join(FILE);
            if let Some(record) = whole(&config, method, &base, &path)? {
                records.push(record);
                continue;
            }
            let data = match &mut data {
                Some(data) => data,
                None => {
                    let opened = Data::open(&config, &base.task, &of_seed.join("pack"))?;
                    opened.skipped().iter().for_each(|skipped| tell(Tell::Skipped(skipped)));
                    data.insert(opened)
                }
            };
            records.push(one(&config, method, &base, data, &of_seed, &path, &mut tell)?);
        }
    }
    Ok(records)
}

/// Makes a folder of runs if it is missing, and takes it: two at a time would write the same packs and results.
///
/// # Errors
/// [`CompareError::Make`], [`CompareError::Held`].
pub fn alone(folder: &Path) -> Result<Hold, CompareError> {
    make(folder)?;
    Ok(Hold::take(folder, "a run of `shoal sim`")?)
}

/// A record with all its windows, if it is there.
fn whole(
    config: &SimConfig,
    method: &MethodConfig,
    base: &Base,
    path: &Path,
) -> Result<Option<Record>, CompareError> {
    if !path.is_file() {
        return Ok(None);
    }
    let found = match read(path) {
        Ok(found) => found,
        // Cut before its first line was whole.
        Err(RecordError::Empty { .. }) => {
            fs::remove_file(path)
                .map_err(|source| CompareError::Make { path: path.to_owned(), source })?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let Head { config: of, model, engine, .. } = &found.record.head;
    let differs = [
        ("configuration", *of != config.hash(method)),
        // An older record says nothing of its model.
        ("model, model.toml or footage", model.as_ref().is_some_and(|of| *of != base.contents())),
        ("engine", *engine != base.engine()),
    ];
    if let Some((what, _)) = differs.into_iter().find(|(_what, differs)| *differs) {
        return Err(CompareError::Other { path: path.to_owned(), what });
    }
    let windows = config.windows as usize + 1;
    Ok((found.record.rows.len() == windows).then_some(found.record))
}

fn one(
    config: &SimConfig,
    method: &MethodConfig,
    base: &Base,
    data: &Data,
    of_seed: &Path,
    path: &Path,
    tell: &mut impl FnMut(Tell<'_>),
) -> Result<Record, CompareError> {
    let (mut written, mut writer) = (Vec::new(), None);
    if path.is_file() {
        let (found, resumed) = Writer::resume(path)?;
        (written, writer) = (found.record.rows, Some(resumed));
    }
    tell(Tell::Begins { method: &method.name, seed: config.seed, written: written.len() });
    let mut failed = None;
    let ran = run(config, method, base, data, &of_seed.join("results"), |head, row| {
        let result = match written.get(row.window as usize) {
            Some(before) if before == row => Ok(()),
            Some(_) => Err(CompareError::Differs { path: path.to_owned(), window: row.window }),
            None => {
                let writing = match &mut writer {
                    Some(writer) => Ok(writer),
                    None => Writer::create(path, head).map(|created| writer.insert(created)),
                };
                writing.and_then(|writer| writer.append(row)).map_err(CompareError::from)
            }
        };
        if failed.is_none() {
            failed = result.err();
        }
        tell(Tell::Window(head, row));
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error);
    }
    ran.map_err(|source| CompareError::Run {
        method: method.name.clone(),
        seed: config.seed,
        source: Box::new(source),
    })?;
    Ok(read(path)?.record)
}

fn make(folder: &Path) -> Result<(), CompareError> {
    fs::create_dir_all(folder)
        .map_err(|source| CompareError::Make { path: folder.to_owned(), source })
}
