//! The event log of the cores: what each was told and when, and what it said, so that a report from the
//! road can be run again, step by step.
//!
//! The loop writes every input before it hands it in, every call of `handle_timeout`, and every output when
//! it is polled; [`rerun`] feeds the same to fresh cores. Values are named, not written: [`Log::needed`] says
//! which have to stay where they are. The log helps people and is no part of the exchange: it is not synced,
//! and where it cannot be written it ends ([`Log::failure`]) and the vehicle goes on.
//!
//! ```text
//! <run, 10 digits>-<part, 6 digits>.log    a part a window; one of PART_BYTES_MAX goes on in the next
//!     "SHLLOG04" ‖ entries: length u32 (of the payload) ‖ first 8 bytes of its SHA-256 ‖ payload (postcard)
//! ```

mod entry;
mod kept;
mod needed;
mod rerun;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shoal_swarm::swarm::{self, Output, Setup, ValuesHash};
use shoal_window::Policy;
use shoal_wire::v1::{ParticleHeader, UtilityDocument};
use shoal_wire::{KeyId, Now};

pub use self::entry::Values;
use self::entry::{BeginSwarm, BeginWindow, Entry, SwarmInput, WindowInput};
pub use self::kept::{KeptError, Signers, kept};
pub(super) use self::rerun::saved_window;
pub use self::rerun::{Core, Difference, Rerun, RerunError, Step, rerun, rerun_part, runs};

/// Parts that are kept, of all runs together: the newest, a window each. A run that is longer cannot be run again: its beginning is gone.
pub const PARTS_KEPT: usize = 64;

/// Bytes of all of them together.
const BYTES_KEPT: u64 = 64 << 20;

/// Bytes of a part after which the next begins.
pub const PART_BYTES_MAX: u64 = 4 << 20;

/// Longest payload of an entry, bytes: a roster of half a million vehicles.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

const NAME: &[u8] = b"SHLLOG";
/// The name, then the version: one of another is not read.
const MAGIC: [u8; 8] = *b"SHLLOG04";
const CHECK_BYTES: usize = 8;

/// Why a log cannot be written.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot write the event log in {}: free space on the disk", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("an entry of the event log has {bytes} bytes, at most {PAYLOAD_BYTES_MAX} are written")]
    TooLarge { bytes: usize },
}

/// The log of one run of the program.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    run: u32,
    part: u32,
    file: Option<File>,
    bytes: u64,
    window: Option<u32>,
    failure: Option<LogError>,
    /// What a rerun of this run needs, by part.
    own: BTreeMap<u32, BTreeSet<[u8; 32]>>,
    /// What one of an earlier run needs, by that run's number.
    earlier: BTreeMap<u32, BTreeSet<[u8; 32]>>,
}

impl Log {
    /// Begins the log of a run in `folder`, made when it is missing.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::Disk { path: folder.into(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let kept = parts(folder).map_err(failed)?;
        let run = kept.last().map_or(0, |(run, _)| run.wrapping_add(1));
        Ok(Self {
            folder: folder.into(),
            run,
            part: 0,
            file: None,
            bytes: 0,
            window: None,
            failure: None,
            own: BTreeMap::new(),
            earlier: needed::by_runs(folder, &kept),
        })
    }

    /// The number of this run.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Why nothing is written any more in this run, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&LogError> {
        self.failure.as_ref()
    }

    /// SHA-256 of the blobs that a rerun of what is kept needs, of this run and of earlier ones: of values, and of chunks that
    /// hold them.
    pub fn needed(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        self.own.values().chain(self.earlier.values()).flatten().copied()
    }

    /// A window's core begins: with what the store held.
    pub fn begin_window(
        &mut self,
        vehicle: KeyId,
        policy: &Policy,
        plan: Option<&[u8]>,
        ledger: Option<&[u8]>,
    ) {
        self.write(&Entry::BeginWindow(BeginWindow {
            vehicle,
            metered: policy.metered,
            driving: policy.driving,
            battery_soc_percent_min: policy.battery_soc_percent_min,
            temperature_c_max: policy.temperature_c_max,
            plan: plan.map(<[u8]>::to_vec),
            ledger: ledger.map(<[u8]>::to_vec),
        }));
    }

    /// A swarm's core begins. `utility` is the document that `setup` holds, `state` what the store held under
    /// [`swarm::STATE_KEY`].
    pub fn begin_swarm(&mut self, setup: &Setup, utility: &UtilityDocument, state: Option<&[u8]>) {
        let start = ValuesHash::of(&setup.start);
        if let Some(private) = &setup.private {
            self.write(&Entry::Private(private.into()));
        }
        self.write(&Entry::BeginSwarm(BeginSwarm {
            vehicle: setup.vehicle,
            document: entry::encode(setup.document.fields()),
            start,
            utility: entry::utility(utility),
            roster: (&setup.roster).into(),
            period_seconds: setup.period_seconds,
            state: state.map(<[u8]>::to_vec),
        }));
        let saved = swarm::Saved::decode(state).map(|saved| saved.values()).unwrap_or_default();
        self.need([start].into_iter().chain(saved).map(|hash| *hash.bytes()));
    }

    /// Before the window's core is told.
    pub fn window_input(&mut self, now: Now, input: &shoal_window::Input<'_>) {
        self.write(&Entry::WindowInput(now.into(), WindowInput::from(input)));
    }

    /// Before the window's core is told that time has passed.
    pub fn window_timeout(&mut self, now: Now) {
        self.write(&Entry::WindowTimeout(now.into()));
    }

    /// When the window's core said it.
    pub fn window_output(&mut self, output: &shoal_window::Output) {
        use shoal_window::{Output, Phase};
        match *output {
            Output::Phase(Phase::Waiting { window, .. } | Phase::Open { window, .. }) => {
                self.turn(window);
            }
            Output::Phase(Phase::Closed { .. } | Phase::Closing { .. }) => {}
        }
        self.write(&Entry::WindowOutput(describe_window(output)));
    }

    /// A particle that this vehicle made, before the swarm's core is told.
    pub fn sealed(&mut self, header: &ParticleHeader) {
        self.write(&Entry::Sealed(entry::header(header)));
    }

    /// Before the swarm's core is told. `chunks` names those of the particle whose values the input has, if it has any: SHA-256 of each.
    pub fn swarm_input(&mut self, now: Now, input: &swarm::Input<'_>, chunks: &[[u8; 32]]) {
        let input = SwarmInput::from(input);
        let values = input.values();
        self.write(&Entry::SwarmInput(now.into(), input));
        if let Some(values) = values {
            self.need(chunks.iter().copied().chain([*values.hash.bytes()]));
        }
    }

    /// Before the swarm's core is told that time has passed.
    pub fn swarm_timeout(&mut self, now: Now) {
        self.write(&Entry::SwarmTimeout(now.into()));
    }

    /// When the swarm's core said it.
    pub fn swarm_output(&mut self, output: &Output) {
        self.write(&Entry::SwarmOutput(output.to_string()));
    }

    /// The program ends by itself, and both cores have nothing more to say.
    pub fn end(&mut self) {
        self.write(&Entry::End);
    }

    fn need(&mut self, blobs: impl Iterator<Item = [u8; 32]>) {
        if self.failure.is_none() {
            self.own.entry(self.part).or_default().extend(blobs);
        }
    }

    /// Another window has another part.
    fn turn(&mut self, window: u32) {
        if self.window.replace(window).is_some_and(|before| before != window) {
            self.file = None;
        }
    }

    fn write(&mut self, entry: &Entry) {
        if self.failure.is_none()
            && let Err(error) = self.try_write(entry)
        {
            // A log with a gap is no log: it ends here.
            (self.failure, self.file) = (Some(error), None);
        }
    }

    fn try_write(&mut self, entry: &Entry) -> Result<(), LogError> {
        let payload = entry::encode(entry);
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(LogError::TooLarge { bytes: payload.len() });
        }
        let frame = frame(&payload);
        let folder = self.folder.clone();
        let failed = |source| LogError::Disk { path: folder.clone(), source };
        let full = self.bytes + frame.len() as u64 > PART_BYTES_MAX && self.bytes > 0;
        let mut file = match self.file.take().filter(|_| !full) {
            Some(file) => file,
            None => self.next_part().map_err(failed)?,
        };
        // One write an entry: a kill leaves whole ones.
        file.write_all(&frame).map_err(failed)?;
        self.bytes += frame.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn next_part(&mut self) -> io::Result<File> {
        let kept = parts(&self.folder)?;
        let own = |(run, part): &(u32, u32)| (*run == self.run).then_some(part + 1);
        self.part = kept.iter().rev().find_map(own).unwrap_or(0);
        let mut bytes = PART_BYTES_MAX;
        for (index, (run, part)) in kept.iter().rev().enumerate() {
            let path = path(&self.folder, *run, *part);
            bytes = bytes.saturating_add(fs::metadata(&path)?.len());
            if index + 1 < PARTS_KEPT && bytes <= BYTES_KEPT {
                continue;
            }
            fs::remove_file(path)?;
            if *run == self.run {
                self.own.remove(part);
            } else {
                // Without one part it cannot be run again to its end, or at all.
                self.earlier.remove(run);
            }
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.append(true).create_new(true).open(path(&self.folder, self.run, self.part))?;
        file.write_all(&MAGIC)?;
        self.bytes = 0;
        Ok(file)
    }
}

fn path(folder: &Path, run: u32, part: u32) -> PathBuf {
    folder.join(format!("{run:010}-{part:06}.log"))
}

/// Run and part of every file, sorted.
fn parts(folder: &Path) -> io::Result<Vec<(u32, u32)>> {
    let mut parts = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        let numbers = name.to_str().and_then(|name| name.strip_suffix(".log")?.split_once('-'));
        let Some((run, part)) = numbers else { continue };
        if let (Ok(run), Ok(part)) = (run.parse(), part.parse()) {
            parts.push((run, part));
        }
    }
    parts.sort_unstable();
    Ok(parts)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload has at most PAYLOAD_BYTES_MAX");
    let mut frame = Vec::with_capacity(4 + CHECK_BYTES + payload.len());
    frame.extend(length.to_le_bytes());
    frame.extend(check(payload));
    frame.extend(payload);
    frame
}

fn check(payload: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = Sha256::digest(payload);
    let mut check = [0; CHECK_BYTES];
    check.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    check
}

/// The next entry, which it cuts off; `None` at the end, or where the bytes are none of ours.
fn next_entry(bytes: &mut &[u8]) -> Option<Entry> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (want, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    if check(payload) != *want {
        return None;
    }
    let (entry, left) = postcard::take_from_bytes(payload).ok()?;
    *bytes = rest;
    left.is_empty().then_some(entry)
}

/// An output with its times in microseconds since the start of the machine.
fn describe_window(output: &shoal_window::Output) -> String {
    use shoal_window::{Output, Phase};
    let Output::Phase(phase) = output;
    match phase {
        Phase::Closed { because } => format!("closed {because:?}"),
        Phase::Waiting { window, opens_at } => {
            format!("waiting {window} to {} us", opens_at.as_micros())
        }
        Phase::Open { window, closes_at, granted } => {
            format!("open {window} to {} us {granted:?}", closes_at.as_micros())
        }
        Phase::Closing { window, until, why } => {
            format!("closing {window} to {} us {why:?}", until.as_micros())
        }
    }
}
