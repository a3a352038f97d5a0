//! `windows.jsonl` on disk: read back with what is wrong by line, written a line at a time and durably.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Head, Record, RoadKind, Row, SCHEMA};

/// Longest line, bytes: ten thousand roads with room to spare.
pub const LINE_BYTES_MAX: u64 = 4 << 20;
/// Longest name of a method, a road or a figure, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// No figure is further from 0 than this; what is, would draw every picture as one line.
pub const FIGURE_MAX: f64 = 1e15;

/// Why a record was not read or written.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// No line is whole.
    #[error("{} has no whole line; remove it and run again", path.display())]
    Empty { path: PathBuf },
    /// Longer than [`LINE_BYTES_MAX`]; the rest was not read.
    #[error("{}:{line}: longer than {LINE_BYTES_MAX} bytes; this is no windows.jsonl", path.display())]
    LineTooLong { path: PathBuf, line: u64 },
    /// Written by another version.
    #[error("{}:1: schema {got}, this program reads {SCHEMA}; read it with the version that wrote it", path.display())]
    Schema { path: PathBuf, got: u64 },
    /// Not the JSON that belongs there, or with a field that nobody knows.
    #[error("{}:{line}: no {what}; remove the run's folder and run again", path.display())]
    Json {
        path: PathBuf,
        line: u64,
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// A window is missing, doubled or one too many.
    #[error("{}:{line}: window {got}, expected {want} of at most {windows}; was the file edited?", path.display())]
    Order { path: PathBuf, line: u64, got: u32, want: u32, windows: u32 },
    /// A road that the head does not list.
    #[error("{}:{line}: the head lists no road {road:?}; was the file edited?", path.display())]
    Road { path: PathBuf, line: u64, road: String },
    /// Empty, longer than [`NAME_BYTES_MAX`], or with a control character.
    #[error("{}:{line}: {name:?} is no name: 1 to {NAME_BYTES_MAX} bytes, no control characters", path.display())]
    Name { path: PathBuf, line: u64, name: String },
    /// Beyond [`FIGURE_MAX`], or negative where it counts something.
    #[error("{}:{line}: {name} is {value}, which no run gives", path.display())]
    Figure { path: PathBuf, line: u64, name: String, value: f64 },
    /// A row that was to be appended is not the next.
    #[error("cannot append window {got} to {}: the next is {want} of at most {windows}", path.display())]
    NotNext { path: PathBuf, got: u32, want: u32, windows: u32 },
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// All whole lines.
    pub record: Record,
    /// The last line, where it was only half written: it is not in the record. Say so to whoever reads the record.
    pub cut: Option<Cut>,
}

/// A line without its end: the run was stopped while it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its number, from 1 on.
    pub line: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} was half written ({} bytes) and is left out", self.line, self.bytes)
    }
}

/// Reads a `windows.jsonl`.
///
/// # Errors
/// [`RecordError`], with the file and the line. A last line without its end is no error, see [`Found::cut`].
pub fn read(path: &Path) -> Result<Found, RecordError> {
    let (found, _whole) = read_whole(path)?;
    Ok(found)
}

/// The record, and how many bytes its whole lines have.
fn read_whole(path: &Path) -> Result<(Found, u64), RecordError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let mut lines =
        Lines { input: BufReader::new(file), path, line: 0, whole: 0, text: Vec::new() };
    let mut cut = None;
    let mut record: Option<Record> = None;
    while let Some(next) = lines.next()? {
        match (next, &mut record) {
            (Next::Cut(of), _) => cut = Some(of),
            (Next::Whole, None) => record = Some(Record { head: lines.head()?, rows: Vec::new() }),
            (Next::Whole, Some(Record { head, rows })) => {
                let row = lines.row(head, rows.len())?;
                rows.push(row);
            }
        }
    }
    let record = record.ok_or_else(|| RecordError::Empty { path: path.to_owned() })?;
    Ok((Found { record, cut }, lines.whole))
}

/// Where a file is read.
struct Lines<'a> {
    input: BufReader<File>,
    path: &'a Path,
    /// Number of the line in `text`, from 1 on.
    line: u64,
    /// Bytes of all whole lines.
    whole: u64,
    text: Vec<u8>,
}

enum Next {
    Whole,
    Cut(Cut),
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Next>, RecordError> {
        self.text.clear();
        self.line += 1;
        let mut limited = self.input.by_ref().take(LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut self.text).map_err(failed("read", self.path))?;
        let bytes = read as u64;
        if bytes == 0 {
            return Ok(None);
        }
        if bytes > LINE_BYTES_MAX {
            return Err(RecordError::LineTooLong { path: self.path.to_owned(), line: self.line });
        }
        if self.text.last() != Some(&b'\n') {
            return Ok(Some(Next::Cut(Cut { line: self.line, bytes })));
        }
        self.whole += bytes;
        Ok(Some(Next::Whole))
    }

    fn parse<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, RecordError> {
        let json = |source| {
            let path = self.path.to_owned();
            RecordError::Json { path, line: self.line, what, source }
        };
        serde_json::from_slice(&self.text).map_err(json)
    }

    fn head(&self) -> Result<Head, RecordError> {
        // The version first: another one has other fields.
        let Version { schema } = self.parse("head of a run")?;
        if schema != u64::from(SCHEMA) {
            return Err(RecordError::Schema { path: self.path.to_owned(), got: schema });
        }
        let head: Head = self.parse("head of a run")?;
        Place { path: self.path, line: self.line }.head(&head)?;
        Ok(head)
    }

    fn row(&self, head: &Head, rows: usize) -> Result<Row, RecordError> {
        let row: Row = self.parse("row of a window")?;
        let (path, line) = (self.path, self.line);
        let (got, windows) = (row.window, head.windows);
        if got as usize != rows || got > windows {
            let want = u32::try_from(rows).unwrap_or(u32::MAX);
            return Err(RecordError::Order { path: path.to_owned(), line, got, want, windows });
        }
        Place { path, line }.row(&head.roads, &row)?;
        Ok(row)
    }
}

/// Where something stands, or is to stand: what is wrong there is refused by who reads it and by who writes it.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    /// From 1 on.
    line: u64,
}

impl Place<'_> {
    fn head(self, head: &Head) -> Result<(), RecordError> {
        let of_phases = head.changes.phases.iter().flat_map(|phase| &phase.roads);
        let named = head.roads.keys().chain(of_phases).chain(&head.model);
        let mut named = named.chain([&head.method, &head.engine, &head.config]);
        named.try_for_each(|name| self.name(name))
    }

    fn row(self, roads: &BTreeMap<String, RoadKind>, row: &Row) -> Result<(), RecordError> {
        let (path, line) = (self.path, self.line);
        for road in row.skill.keys().chain(row.own.keys()) {
            if !roads.contains_key(road) {
                return Err(RecordError::Road { path: path.to_owned(), line, road: road.clone() });
            }
        }
        for name in row.also.keys() {
            self.name(name)?;
        }
        let named = row.skill.iter().chain(&row.own).chain(&row.also);
        let figures = named.map(|(name, value)| (name.as_str(), *value, -FIGURE_MAX));
        let bytes = [("bytes.up", row.bytes.up, 0.0), ("bytes.down", row.bytes.down, 0.0)];
        for (name, value, low) in
            figures.chain([("utility", row.utility, -FIGURE_MAX)]).chain(bytes)
        {
            if !(low..=FIGURE_MAX).contains(&value) {
                let (path, name) = (path.to_owned(), name.to_owned());
                return Err(RecordError::Figure { path, line, name, value });
            }
        }
        Ok(())
    }

    fn name(self, name: &str) -> Result<(), RecordError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            let path = self.path.to_owned();
            return Err(RecordError::Name { path, line: self.line, name: name.to_owned() });
        }
        Ok(())
    }
}

/// Of a head of any version.
#[derive(Deserialize)]
struct Version {
    schema: u64,
}

/// A `windows.jsonl` that is being written. What [`Writer::append`] has returned from outlives a cut of power.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    windows: u32,
    /// Of the head.
    roads: BTreeMap<String, RoadKind>,
    next: u32,
}

impl Writer {
    /// Begins a file with its head. One that is there already is not touched: see [`Writer::resume`].
    ///
    /// # Errors
    /// [`RecordError::Io`], also where there is such a file; [`RecordError::Name`], as [`read`] refuses it.
    pub fn create(path: &Path, head: &Head) -> Result<Self, RecordError> {
        Place { path, line: 1 }.head(head)?;
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(failed("begin", path))?;
        let mut writer = Writer {
            file,
            path: path.to_owned(),
            windows: head.windows,
            roads: head.roads.clone(),
            next: 0,
        };
        writer.line(head)?;
        // The name itself must be there after a cut.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))?;
        Ok(writer)
    }

    /// Goes on with a file: what was found in it, and its writer. A half-written last line is cut off.
    ///
    /// # Errors
    /// As [`read`].
    pub fn resume(path: &Path) -> Result<(Found, Self), RecordError> {
        let (found, whole) = read_whole(path)?;
        let mut file = OpenOptions::new().write(true).open(path).map_err(failed("open", path))?;
        file.set_len(whole).map_err(failed("cut", path))?;
        file.seek(SeekFrom::Start(whole)).map_err(failed("go on with", path))?;
        let next = u32::try_from(found.record.rows.len()).unwrap_or(u32::MAX);
        let Head { windows, roads, .. } = &found.record.head;
        let (windows, roads) = (*windows, roads.clone());
        Ok((found, Writer { file, path: path.to_owned(), windows, roads, next }))
    }

    /// Writes the next window's line, whole and synced.
    ///
    /// # Errors
    /// [`RecordError::NotNext`] if it is not the next, and what [`read`] refuses in a row: then nothing is written. [`RecordError::Io`].
    pub fn append(&mut self, row: &Row) -> Result<(), RecordError> {
        if row.window != self.next || row.window > self.windows {
            let (path, windows) = (self.path.clone(), self.windows);
            return Err(RecordError::NotNext { path, got: row.window, want: self.next, windows });
        }
        // The head is the first line, window 0 the second.
        let line = u64::from(self.next) + 2;
        Place { path: &self.path, line }.row(&self.roads, row)?;
        self.line(row)?;
        self.next += 1;
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), RecordError> {
        let failed = |source| failed("write", &self.path)(source);
        let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).and_then(|()| self.file.sync_data()).map_err(failed)
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    move |source| RecordError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Changes;

    fn head() -> Head {
        Head {
            schema: SCHEMA,
            method: "swarm".to_owned(),
            seed: 3,
            vehicles: 1,
            windows: 2,
            engine: "none".to_owned(),
            config: "00".to_owned(),
            model: None,
            values: 4,
            roads: [("a".to_owned(), RoadKind::Driven(0))].into(),
            changes: Changes::default(),
        }
    }

    fn row(window: u32) -> Row {
        let skill = [("a".to_owned(), 0.5)].into();
        Row { window, present: 1, skill, ..Row::default() }
    }

    fn written(rows: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("windows.jsonl");
        let mut writer = Writer::create(&path, &head()).unwrap();
        for window in 0..rows {
            writer.append(&row(window)).unwrap();
        }
        (folder, path)
    }

    fn add(path: &Path, text: &str) {
        OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_was_written_is_read() {
        let (_folder, path) = written(3);
        let found = read(&path).unwrap();
        assert_eq!(found.cut, None);
        assert_eq!(found.record, Record { head: head(), rows: (0..3).map(row).collect() });
    }

    #[test]
    fn no_figure_is_another_one_when_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("windows.jsonl");
        let figure = |n: u32| (n.to_string(), f64::from(n * 7919) / 3.0 / 1024.0);
        let row = Row { also: (1..2000).map(figure).collect(), ..row(0) };
        Writer::create(&path, &head()).unwrap().append(&row).unwrap();
        assert_eq!(read(&path).unwrap().record.rows, [row]);
    }

    #[test]
    fn a_half_written_line_is_said_and_cut_off_on_resuming() {
        let (_folder, path) = written(2);
        add(&path, "{\"window\":2,\"pre");
        let found = read(&path).unwrap();
        assert_eq!((found.record.rows.len(), found.cut), (2, Some(Cut { line: 4, bytes: 16 })));
        let (_found, mut writer) = Writer::resume(&path).unwrap();
        writer.append(&row(2)).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found.record.rows.len(), found.cut), (3, None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let line = |row: &Row| serde_json::to_string(row).unwrap() + "\n";
        let mut wild = row(1);
        wild.skill.insert("a".to_owned(), 1e20);
        let mut elsewhere = row(1);
        elsewhere.own.insert("b".to_owned(), 0.1);
        let cases = [
            ("noise\n".to_owned(), "no row"),
            (line(&row(1)).replacen("{", "{\"more\":1,", 1), "no row"),
            (line(&row(2)), "window 2, expected 1"),
            (line(&wild), "a is 1"),
            (line(&elsewhere), "no road \"b\""),
            (format!("{}\n", " ".repeat(LINE_BYTES_MAX as usize)), "longer than"),
        ];
        for (text, want) in cases {
            let (_folder, path) = written(1);
            add(&path, &text);
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("windows.jsonl:3: ") && error.contains(want), "{error}");
        }
    }

    #[test]
    fn another_schema_and_a_file_without_a_whole_line_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("windows.jsonl");
        std::fs::write(&path, "{\"schema\":2,\"fields\":\"other\"}\n").unwrap();
        assert!(matches!(read(&path), Err(RecordError::Schema { got: 2, .. })));
        std::fs::write(&path, "{\"sch").unwrap();
        assert!(matches!(read(&path), Err(RecordError::Empty { .. })));
    }

    #[test]
    fn rows_out_of_turn_and_a_second_file_are_not_written() {
        let (_folder, path) = written(1);
        let (_found, mut writer) = Writer::resume(&path).unwrap();
        assert!(matches!(writer.append(&row(2)), Err(RecordError::NotNext { want: 1, .. })));
        assert!(matches!(Writer::create(&path, &head()), Err(RecordError::Io { .. })));
        assert_eq!(read(&path).unwrap().record.rows.len(), 1);
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let (_folder, path) = written(1);
        let (_found, mut writer) = Writer::resume(&path).unwrap();
        for value in [f64::INFINITY, f64::NAN, 2.0 * FIGURE_MAX] {
            let row = Row { also: [("epsilon".to_owned(), value)].into(), ..row(1) };
            let error = writer.append(&row).unwrap_err().to_string();
            assert!(error.contains("windows.jsonl:3: epsilon is"), "{error}");
        }
        let nameless = Row { also: [(String::new(), 1.0)].into(), ..row(1) };
        assert!(matches!(writer.append(&nameless), Err(RecordError::Name { line: 3, .. })));
        writer.append(&row(1)).unwrap();
        assert_eq!(read(&path).unwrap().record.rows.len(), 2);
        let long = Head { engine: "e".repeat(NAME_BYTES_MAX + 1), ..head() };
        let path = path.with_file_name("other.jsonl");
        assert!(matches!(Writer::create(&path, &long), Err(RecordError::Name { line: 1, .. })));
        assert!(!path.exists());
    }
}
