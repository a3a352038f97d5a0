//! What is drawn and tabulated from records: pictures (SVG and PNG), one page that needs nothing else, a table for documents,
//! and all figures in columns.
//!
//! | file | of | what |
//! |---|---|---|
//! | `report.html` | both | one page: what was run, pictures, tables; opens from a disk, asks nothing of a network |
//! | `run.svg`, `run.png` | a run | skill over windows, bytes below |
//! | `skill.*`, `bytes.*`, `methods.*` | a comparison | skill over windows; over bytes, with the front; every method against the reference |
//! | `table.md` | a comparison | the table of methods; of a moving utility and of a journey one each |
//! | `windows.parquet` | both | every figure, one a row |
//!
//! The same records give the same bytes. A picture of which nothing was measured is left out.

mod comparison;
mod escape;
mod figures;
mod long;
mod page;
mod picture;
mod plot;
mod special;
mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoal_hal::backend::files::{FilesError, write_whole};

use self::picture::Picture;
pub use self::picture::png::PngError;
use crate::record::Record;

/// Why there is no report.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Nothing to report on.
    #[error("no record was given; name at least one windows.jsonl")]
    NoRecord,
    /// No whole run of the method that all others are compared with.
    #[error("no whole run of the reference {reference:?}; there are whole runs of: {have}")]
    NoReference { reference: String, have: String },
    /// One method has a seed twice.
    #[error("{method} has two runs of seed {seed}; leave one out")]
    Twice { method: String, seed: u64 },
    /// Runs that differ in what has to be the same.
    #[error("{one} and {other} have other {what}; compare runs of one fleet")]
    NotComparable { what: &'static str, one: String, other: String },
    /// The folder cannot be made.
    #[error("cannot make {}", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file was not written; what was there before is still there.
    #[error(transparent)]
    Write(#[from] FilesError),
    /// A picture was not drawn.
    #[error("cannot draw {name}")]
    Picture {
        name: &'static str,
        #[source]
        source: PngError,
    },
    /// The columns were not written.
    #[error("cannot put the windows into columns")]
    Columns(#[from] parquet::errors::ParquetError),
}

/// Reports on one run, into a folder that is made if it is not there. Each file is whole or as it was before.
///
/// Returns the files, in order of their making; `report.html` is the last.
///
/// # Errors
/// [`ReportError`]: when a file cannot be made.
pub fn run(record: &Record, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let picture = plot::run::run(record);
    let mut out = Out::new(folder)?;
    out.write("windows.parquet", &long::bytes(std::slice::from_ref(record))?)?;
    out.picture("run", picture.as_ref())?;
    out.write("report.html", page::run::page(record, picture.as_ref()).as_bytes())?;
    Ok(out.files)
}

/// Reports on several methods, each of one or several seeds: the same fleet, and in each seed the same roads. A road's name stands
/// for one road in every seed. Runs that stopped before their last window are left out, and the page says so.
///
/// `reference` is the method that all others are compared with. Files as for [`run`].
///
/// # Errors
/// [`ReportError`]: records that cannot stand beside each other, no whole run of the reference, a file that cannot be made.
pub fn compare(
    records: &[Record],
    reference: &str,
    folder: &Path,
) -> Result<Vec<PathBuf>, ReportError> {
    let comparison = comparison::compare(records, reference)?;
    let pictures = [
        ("skill", plot::over::windows(&comparison)),
        ("bytes", plot::over::bytes(&comparison)),
        ("methods", plot::methods::methods(&comparison)),
    ];
    let mut out = Out::new(folder)?;
    out.write("windows.parquet", &long::bytes(records)?)?;
    for (name, picture) in &pictures {
        out.picture(name, picture.as_ref())?;
    }
    out.write("table.md", table::markdown(&comparison).as_bytes())?;
    let pictures: Vec<&Picture> = pictures.iter().filter_map(|(_name, of)| of.as_ref()).collect();
    out.write("report.html", page::compare::page(&comparison, &pictures).as_bytes())?;
    Ok(out.files)
}

/// The table of methods as Markdown, for a document: what [`compare`] writes as `table.md`.
///
/// # Errors
/// As [`compare`], but for files.
pub fn markdown(records: &[Record], reference: &str) -> Result<String, ReportError> {
    Ok(table::markdown(&comparison::compare(records, reference)?))
}

/// Where files go, and which went there.
struct Out<'a> {
    folder: &'a Path,
    files: Vec<PathBuf>,
}

impl<'a> Out<'a> {
    fn new(folder: &'a Path) -> Result<Self, ReportError> {
        let failed = |source| ReportError::Folder { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        Ok(Out { folder, files: Vec::new() })
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Result<(), ReportError> {
        let path = self.folder.join(name);
        write_whole(&path, content)?;
        self.files.push(path);
        Ok(())
    }

    fn picture(
        &mut self,
        name: &'static str,
        picture: Option<&Picture>,
    ) -> Result<(), ReportError> {
        let Some(picture) = picture else { return Ok(()) };
        self.write(&format!("{name}.svg"), picture::svg::file(picture).as_bytes())?;
        let failed = |source| ReportError::Picture { name, source };
        self.write(&format!("{name}.png"), &picture::png::bytes(picture).map_err(failed)?)
    }
}
