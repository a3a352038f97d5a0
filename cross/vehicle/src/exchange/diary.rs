//! What came of every window, for people and programs outside: a line each, and the adapters of that moment.
//!
//! ```text
//! windows.jsonl        a line a window, appended when it is over
//! windows/<w>/own/     PEFT directory: what the vehicle would drive with
//! windows/<w>/best/    PEFT directory: best by the records; absent while that is x_p
//! ```

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_runtime::adapter::{Adapter, AdapterError, Layout, WriteAdapterError};
use shoal_window::Bytes;
use tracing::warn;

use super::line::For;

/// Windows whose adapters are kept: with a window's line those of the window so many before are removed.
pub const KEPT: u32 = 64;

/// Why a window's adapters or line could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DiaryError {
    /// A file or folder.
    #[error("cannot write {}: free space on the disk", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not an adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// An adapter's directory.
    #[error("cannot write an adapter")]
    Peft(#[from] WriteAdapterError),
}

/// How long the stages of a window took, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Training, before the window and in it.
    pub tuning: f64,
    /// Measuring.
    pub measuring: f64,
    /// Coding.
    pub coding: f64,
    /// From the opening to its end, or to the last thing done after it.
    pub window: f64,
}

/// One window of one vehicle. Values are skills in units of 1e-4; hashes are in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; of a vehicle that learns alone, the night's.
    pub window: u32,
    /// Whether the vehicle was connected at any moment of it.
    pub took_part: bool,
    /// Whether it published a contribution.
    pub contributed: bool,
    /// Whether it claimed a particle.
    pub claimed: bool,
    /// Best by the records at its end; none: x_p.
    pub best: Option<String>,
    /// What the vehicle moved to.
    pub moved_to: Option<String>,
    /// The part of the pack on which it was measured.
    pub part: Option<u8>,
    /// What the vehicle would drive with, measured on it: its utility in this window.
    pub value: Option<i16>,
    /// Best, measured on it.
    pub best_value: Option<i16>,
    /// Of the utility in `value`, every term in the document's order; empty where it was not measured.
    pub terms: Vec<i16>,
    /// Of that in `best_value`.
    pub best_terms: Vec<i16>,
    /// MQTT bytes sent.
    pub bytes_up: u64,
    /// MQTT bytes received.
    pub bytes_down: u64,
    /// Of those sent, what learning what the fleet agreed on took, since the window before: no window's budget pays for it.
    #[serde(default)]
    pub joining_up: u64,
    /// Of those received.
    #[serde(default)]
    pub joining_down: u64,
    /// Steps of training since the window before.
    pub steps: u32,
    /// Their mean loss.
    pub loss: Option<f32>,
    /// How often something was refused, by code.
    pub rejected: BTreeMap<String, u32>,
    /// Stages.
    pub seconds: Seconds,
    /// Memory of the process at its highest so far, in bytes; none where the system does not say.
    pub memory_bytes: Option<u64>,
}

impl Entry {
    /// A window that begins.
    pub fn new(window: u32) -> Self {
        Entry { window, ..Entry::default() }
    }

    /// Counts a refusal.
    pub fn refuse(&mut self, code: &str) {
        let times = self.rejected.entry(code.to_owned()).or_default();
        *times = times.saturating_add(1);
    }

    /// Counts what crossed the socket of a line for this.
    pub fn crossed(&mut self, bytes: Bytes, purpose: For) {
        self.bytes_up = self.bytes_up.saturating_add(bytes.up);
        self.bytes_down = self.bytes_down.saturating_add(bytes.down);
        if purpose == For::Joining {
            self.joining_up = self.joining_up.saturating_add(bytes.up);
            self.joining_down = self.joining_down.saturating_add(bytes.down);
        }
    }
}

/// The diary of one vehicle.
#[derive(Debug)]
pub struct Diary {
    folder: PathBuf,
    layout: Arc<Layout>,
    /// The newest window with a line.
    written: Option<u32>,
}

impl Diary {
    /// Opens the diary in a vehicle's state folder. A last line that a cut left half written is removed; what is damaged before it
    /// stays, and is not read.
    ///
    /// # Errors
    /// [`DiaryError::Write`].
    pub fn open(folder: &Path, layout: Arc<Layout>) -> Result<Self, DiaryError> {
        let mut diary = Diary { folder: folder.to_path_buf(), layout, written: None };
        let path = diary.lines();
        let cannot = |source| DiaryError::Write { path: path.clone(), source };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(diary),
            Err(source) => return Err(cannot(source)),
        };
        let mut reader = BufReader::new(file);
        let (mut whole, mut line) = (0_u64, Vec::new());
        for number in 1_u64.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(cannot)?;
            if !line.ends_with(b"\n") {
                break;
            }
            match serde_json::from_slice::<Entry>(&line) {
                Ok(entry) => diary.written = diary.written.max(Some(entry.window)),
                Err(error) => {
                    warn!(path = %path.display(), line = number, %error, "no window can be read in this line");
                }
            }
            whole = whole.saturating_add(read as u64);
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(cannot)?;
        file.set_len(whole).map_err(cannot)?;
        Ok(diary)
    }

    /// The newest window with a line.
    pub const fn written(&self) -> Option<u32> {
        self.written
    }

    /// Writes a window down, once; first its adapters, so that who reads the line finds them.
    ///
    /// # Errors
    /// [`DiaryError`].
    pub fn write(
        &mut self,
        entry: &Entry,
        own: &[f32],
        best: Option<&[f32]>,
    ) -> Result<(), DiaryError> {
        if self.written.is_some_and(|written| entry.window <= written) {
            return Ok(());
        }
        let folder = self.folder.join("windows").join(entry.window.to_string());
        let write = |name: &str, values: &[f32]| -> Result<(), DiaryError> {
            let folder = folder.join(name);
            let adapter = Adapter::from_values(Arc::clone(&self.layout), values.to_vec())?;
            fs::create_dir_all(&folder)
                .map_err(|source| DiaryError::Write { path: folder.clone(), source })?;
            Ok(adapter.write_peft(&folder)?)
        };
        write("own", own)?;
        if let Some(best) = best {
            write("best", best)?;
        }
        self.append(entry)?;
        self.written = Some(entry.window);
        match entry.window.checked_sub(KEPT) {
            Some(last) => self.forget(last),
            None => Ok(()),
        }
    }

    /// Removes the adapters of this window and of all before it, also of such as were passed over for being away.
    fn forget(&self, last: u32) -> Result<(), DiaryError> {
        let folder = self.folder.join("windows");
        let cannot = |source| DiaryError::Write { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let window = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if window.is_some_and(|window| window <= last) {
                fs::remove_dir_all(entry.path()).map_err(cannot)?;
            }
        }
        Ok(())
    }

    fn append(&self, entry: &Entry) -> Result<(), DiaryError> {
        let path = self.lines();
        // Numbers, texts and maps by text can be written.
        let mut line = serde_json::to_string(entry).unwrap_or_default();
        line.push('\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_data()))
            .map_err(|source| DiaryError::Write { path, source })
    }

    fn lines(&self) -> PathBuf {
        self.folder.join("windows.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diary(folder: &Path) -> Diary {
        let layout = Layout { sites: Vec::new(), rank: 1, alpha: 1.0 };
        Diary::open(folder, Arc::new(layout)).unwrap()
    }

    fn windows(folder: &Path) -> Vec<u32> {
        let text = fs::read_to_string(folder.join("windows.jsonl")).unwrap();
        let entry = |line: &str| serde_json::from_str::<Entry>(line).unwrap().window;
        text.lines().map(entry).collect()
    }

    #[test]
    fn the_page_of_lines_names_every_key() {
        let page = include_str!("../../../../docs/windows.md");
        let keys = |entry: serde_json::Value| -> Vec<String> {
            entry.as_object().unwrap().keys().cloned().collect()
        };
        let entry = keys(serde_json::to_value(Entry::default()).unwrap());
        let seconds = keys(serde_json::to_value(Seconds::default()).unwrap());
        assert!(entry.len() > 18 && seconds.len() == 4, "{entry:?} {seconds:?}");
        for key in entry.iter().chain(&seconds) {
            assert!(page.contains(&format!("`{key}`")), "docs/windows.md does not name {key}");
        }
    }

    #[test]
    fn a_window_is_written_down_once_with_the_adapters_of_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = diary(folder.path());
        first.write(&Entry::new(0), &[], None).unwrap();
        first.write(&Entry::new(2), &[], Some(&[])).unwrap();
        let mut again = diary(folder.path());
        assert_eq!(again.written(), Some(2));
        again.write(&Entry::new(2), &[], None).unwrap();
        again.write(&Entry::new(1), &[], None).unwrap();
        assert_eq!(windows(folder.path()), [0, 2]);
        let adapters = folder.path().join("windows/2");
        assert!(adapters.join("own/adapter_config.json").is_file());
        assert!(adapters.join("best/adapter_config.json").is_file());
        assert!(!folder.path().join("windows/0/best").exists());
    }

    #[test]
    fn a_line_that_a_cut_left_half_written_is_removed_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = diary(folder.path());
        first.write(&Entry::new(0), &[], None).unwrap();
        first.write(&Entry::new(1), &[], None).unwrap();
        let path = folder.path().join("windows.jsonl");
        let text = fs::read(&path).unwrap();
        let line = text.len() / 2;
        for cut in line..text.len() {
            fs::write(&path, &text[..cut]).unwrap();
            let mut again = diary(folder.path());
            again.write(&Entry::new(1), &[], None).unwrap();
            assert_eq!(windows(folder.path()), [0, 1], "cut to {cut}");
        }
        fs::write(&path, [&text[..], b"{\"window\":2,\"took_part\":tr\xff"].concat()).unwrap();
        assert_eq!(diary(folder.path()).written(), Some(1));
    }

    #[test]
    fn a_damaged_byte_takes_no_window_but_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = diary(folder.path());
        for window in 0..3 {
            first.write(&Entry::new(window), &[], None).unwrap();
        }
        let path = folder.path().join("windows.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        bytes[second + 1] = 0xff;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(diary(folder.path()).written(), Some(2));
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is cut");
    }

    #[test]
    fn adapters_of_long_ago_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut diary = diary(folder.path());
        for window in 0..=KEPT {
            diary.write(&Entry::new(window), &[], None).unwrap();
        }
        assert!(!folder.path().join("windows/0").exists());
        assert!(folder.path().join("windows/1").exists());
        // After a long time away no line passes over the windows in between one by one.
        diary.write(&Entry::new(5 * KEPT), &[], None).unwrap();
        let left = fs::read_dir(folder.path().join("windows")).unwrap().count();
        assert_eq!(left, 1);
    }
}
