//! What a fleet's timekeeper saw, as auditors need it: signed records in the order in which they came, each line with the hash
//! of the line before. Nothing of it is believed for where it lies: every record is checked again by whoever reads it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shoal_shadow::digits::hex;

use crate::output::{Failure, Outcome};

/// The file in a fleet's folder.
const FILE: &str = "journal.jsonl";
/// Before the first line.
const NOTHING: &str = "";

/// A line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// From 0 on.
    pub(crate) number: u64,
    /// When it was written, by the timekeeper's clock: UTC in milliseconds.
    pub(crate) at_ms: u64,
    /// The topic that it stands at, or is to stand at.
    pub(crate) topic: String,
    /// The record's envelope, in hexadecimal digits.
    pub(crate) envelope: String,
    /// SHA-256 of the line before, without its end; empty in the first.
    pub(crate) before: String,
}

/// A journal that is being written.
pub(crate) struct Journal {
    file: File,
    /// Bytes of whole lines.
    bytes: u64,
    number: u64,
    before: String,
    /// What was written last of a topic.
    last: BTreeMap<String, Vec<u8>>,
}

/// A journal as it was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) lines: Vec<Line>,
    /// SHA-256 of the last line.
    pub(crate) head: String,
    /// Bytes of whole lines.
    bytes: usize,
}

impl Journal {
    /// Opens the journal of a fleet, after its last whole line. Each line that is there already is shown once.
    ///
    /// # Errors
    /// When a line is not what followed on the one before: nothing is written then.
    pub(crate) fn open(fleet: &Path, mut show: impl FnMut(&Line)) -> Result<Self, Failure> {
        let path = path(fleet);
        let read = if path.exists() {
            read_file(&path)?
        } else {
            Read { lines: Vec::new(), head: NOTHING.into(), bytes: 0 }
        };
        let Read { lines, head, bytes } = read;
        lines.iter().for_each(&mut show);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        // A line that a cut left half was never there.
        file.set_len(bytes as u64)?;
        let number = lines.len() as u64;
        let last = lines.into_iter().map(|line| (line.topic, unhex(&line.envelope)));
        Ok(Journal { file, bytes: bytes as u64, number, before: head, last: last.collect() })
    }

    /// What was written last of a topic.
    pub(crate) fn last(&self, topic: &str) -> Option<&[u8]> {
        self.last.get(topic).map(Vec::as_slice)
    }

    /// Writes a record, unless it is the last that was written of its topic; durable when this returns.
    ///
    /// # Errors
    /// When the disk does not take it, as a full one: then no part of it stays.
    pub(crate) fn write(&mut self, at_ms: u64, topic: &str, envelope: &[u8]) -> Outcome {
        if self.last(topic) == Some(envelope) {
            return Ok(());
        }
        let line = Line {
            number: self.number,
            at_ms,
            topic: topic.to_owned(),
            envelope: hex(envelope),
            before: self.before.clone(),
        };
        let text = serde_json::to_string(&line)?;
        let whole = format!("{text}\n");
        if let Err(error) = self.append(whole.as_bytes()) {
            // What came of it before, or the next line would not follow on the last.
            self.file.set_len(self.bytes)?;
            return Err(format!("the journal does not grow: {error}").into());
        }
        self.bytes += whole.len() as u64;
        self.before = hash(text.as_bytes());
        self.number += 1;
        self.last.insert(topic.to_owned(), envelope.to_vec());
        Ok(())
    }

    /// Writes to another file from now on, as one on a disk that is full; the file so far.
    #[cfg(test)]
    pub(crate) const fn put(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }
}

impl Line {
    /// The record's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        unhex(&self.envelope)
    }
}

/// Where a fleet's journal is.
pub(crate) fn path(fleet: &Path) -> PathBuf {
    fleet.join(FILE)
}

/// Reads a journal and checks its chain. A last line without its end is left out.
///
/// # Errors
/// When it cannot be read, or a line is not what followed on the one before; the line is named.
pub(crate) fn read_file(path: &Path) -> Result<Read, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    read_text(&text, path)
}

/// As [`read_file`], of the text of the file at `path`.
pub(crate) fn read_text(text: &str, path: &Path) -> Result<Read, Failure> {
    let (mut lines, mut head, mut bytes) = (Vec::new(), NOTHING.to_owned(), 0);
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let Some(text) = whole.strip_suffix('\n') else { break };
        let broken = |what: &str| {
            format!("{}:{}: {what}: the journal was changed", path.display(), index + 1)
        };
        let line: Line = serde_json::from_str(text).map_err(|error| broken(&error.to_string()))?;
        if line.before != head {
            return Err(broken("its hash of the line before is another").into());
        }
        if line.number != index as u64 || unhex(&line.envelope).is_empty() {
            return Err(broken("its number or record is none").into());
        }
        // What is written of it again, as in a campaign's record, has the same hash.
        if serde_json::to_string(&line)? != text {
            return Err(broken("it is not as the timekeeper writes it").into());
        }
        head = hash(text.as_bytes());
        bytes += whole.len();
        lines.push(line);
    }
    Ok(Read { lines, head, bytes })
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes of hexadecimal digits as [`hex`] writes them; none, if they are not.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let pairs = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    let bytes = pairs.collect::<Option<Vec<u8>>>().filter(|_bytes| rest.is_empty());
    bytes.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), |_line| {}).unwrap();
        for (at, topic, envelope) in
            [(1, "a", "one"), (2, "b", "two"), (3, "a", "one"), (4, "a", "new")]
        {
            journal.write(at, topic, envelope.as_bytes()).unwrap();
        }
        let path = path(folder.path());
        (folder, path)
    }

    #[test]
    fn what_is_written_is_read_and_goes_on_after_a_start() {
        let (folder, path) = written();
        let read = read_file(&path).unwrap();
        let said: Vec<_> = read.lines.iter().map(|line| (line.at_ms, line.bytes())).collect();
        assert_eq!(said, [(1, b"one".to_vec()), (2, b"two".to_vec()), (4, b"new".to_vec())]);
        let mut journal = Journal::open(folder.path(), |_line| {}).unwrap();
        assert_eq!(journal.last("a"), Some(&b"new"[..]));
        journal.write(5, "a", b"new").unwrap();
        journal.write(6, "a", b"last").unwrap();
        assert_eq!(read_file(&path).unwrap().lines.len(), 4);
    }

    #[test]
    fn a_line_that_a_cut_left_half_was_never_there() {
        let (folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut journal = Journal::open(folder.path(), |_line| {}).unwrap();
        journal.write(7, "c", b"after").unwrap();
        let lines = read_file(&path).unwrap().lines;
        assert_eq!(lines.iter().map(|line| line.at_ms).collect::<Vec<_>>(), [1, 2, 7]);
    }

    /// `/dev/full` is a disk that is full.
    #[test]
    fn a_line_that_does_not_fit_leaves_no_part_of_it() {
        let (folder, path) = written();
        let mut journal = Journal::open(folder.path(), |_line| {}).unwrap();
        let file = journal.put(OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert!(journal.write(5, "a", b"lost").is_err());
        journal.put(file);
        assert_eq!(journal.last("a"), Some(&b"new"[..]), "it was not written");
        journal.write(6, "a", b"after").unwrap();
        let times =
            read_file(&path).unwrap().lines.iter().map(|line| line.at_ms).collect::<Vec<_>>();
        assert_eq!(times, [1, 2, 4, 6]);
    }

    /// The same line in other letters, whose hash the next one names.
    #[test]
    fn a_line_has_one_form() {
        let (_folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        assert!(read_text(&format!("{first}\n"), &path).is_ok());
        for (is, other) in [
            ("\"number\":0", "\"number\": 0"),
            ("\"topic\":\"a\"", "\"topic\":\"\\u0061\""),
            ("6f6e65", "6F6e65"),
            ("6f6e65", "+f6e65"),
            ("6f6e65", "6f6e6"),
        ] {
            let other = format!("{}\n", first.replace(is, other));
            let refused = read_text(&other, &path).unwrap_err().to_string();
            assert!(refused.contains("the journal was changed"), "{other}: {refused}");
        }
    }

    #[test]
    fn whatever_is_changed_or_taken_out_breaks_the_chain() {
        let (_folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let others = [
            text.replace("\"at_ms\":1", "\"at_ms\":9"),
            format!("{}\n{}\n", lines[0], lines[2]),
            format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]),
            text.replace("\"number\":2", "\"number\":3"),
        ];
        for other in others {
            std::fs::write(&path, &other).unwrap();
            let refused = read_file(&path).unwrap_err().to_string();
            assert!(refused.contains("the journal was changed"), "{refused}");
            assert!(
                Journal::open(path.parent().unwrap(), |_line| {}).is_err(),
                "nothing is written after it"
            );
        }
    }
}
