//! A gateway at a vehicle computer, at the other end of a terminal, with a vehicle's line that says what a test wants: the library that is
//! flashed, with a flash in memory, or the firmware in its emulator.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use embassy_time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use shoal_gateway::{
    Answer, Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, Shell, Stack, Status, VehicleSays,
    decode_reply, encode_vehicle,
};
use tempfile::TempDir;

use crate::clock::Stopwatch;
use crate::fleet::{say, utc_ms};

#[path = "../../cross/gateway/tests/common/flash.rs"]
#[expect(dead_code, reason = "nothing is cut here")]
mod flash;

#[path = "../../cross/gateway/tests/qemu/emulated.rs"]
#[expect(dead_code, reason = "nobody presses its reset")]
mod emulated;

use emulated::{Board, Running, erased, firmware};
use flash::Memory;

/// From one word of the vehicle's line to the next, in milliseconds.
const SAYS_MS: u64 = 200;
/// For so long what comes is waited for.
const WAITS_MS: i64 = 10;

/// What a test wants of it, and sees.
#[derive(Debug, Default)]
struct Shared {
    parked: AtomicBool,
    silent: AtomicBool,
    ended: AtomicBool,
    /// The first sector of another one's flash, which takes its place.
    replaced: Mutex<Option<Vec<u8>>>,
    status: Mutex<Option<Status>>,
}

/// The folder with the firmware. `None`, said aloud: `SHOAL_GATEWAY_FIRMWARE` names none.
pub fn firmware_or_skip() -> Option<PathBuf> {
    let named = firmware();
    if named.is_none() {
        say(
            "passed over: SHOAL_GATEWAY_FIRMWARE names none (`cargo xtask test gateway` builds it)",
        );
    }
    named
}

/// The gateway; dropped, it ends.
#[derive(Debug)]
pub struct Gateway {
    line: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The vehicle's end, so that the line stands while no program has it.
    _held: File,
}

impl Gateway {
    /// Starts one whose flash begins with this sector. Its vehicle drives.
    ///
    /// # Panics
    /// When there is no terminal.
    pub fn start(sector: &[u8]) -> Self {
        Self::start_with(Device::library(sector))
    }

    /// The same, of the firmware in this folder, in its emulator.
    ///
    /// # Panics
    /// When there is no terminal, or no emulator.
    pub fn emulated(sector: &[u8], firmware: PathBuf) -> Self {
        Self::start_with(Device::firmware(sector, firmware))
    }

    fn start_with(device: Device) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let own = File::from(openpt(flags).expect("a terminal"));
        grantpt(&own).expect("a terminal");
        unlockpt(&own).expect("a terminal");
        let name = ptsname(&own, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).expect("a flag");
        let held = OpenOptions::new().read(true).write(true).custom_flags(no_terminal).open(&name);
        let held = held.expect("its other end");
        let mut told = tcgetattr(&held).expect("a terminal");
        // Until the vehicle has it, nothing is sent back.
        told.make_raw();
        tcsetattr(&held, OptionalActions::Now, &told).expect("a terminal");

        let shared = Arc::<Shared>::default();
        let work = Work { port: own, device, shared: Arc::clone(&shared) };
        let thread = thread::spawn(move || work.run());
        Self { line: name.into(), shared, thread: Some(thread), _held: held }
    }

    /// The vehicle's end of the line.
    pub fn line(&self) -> &Path {
        &self.line
    }

    /// What the vehicle's line says from now on.
    pub fn park(&self, parked: bool) {
        self.shared.parked.store(parked, Ordering::Relaxed);
    }

    /// Whether it hears and says nothing from now on.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// Another one takes its place, whose flash begins with this sector and holds nothing else.
    ///
    /// # Panics
    /// When its thread did.
    pub fn replace(&self, sector: &[u8]) {
        *self.shared.replaced.lock().expect("a gateway that runs") = Some(sector.to_vec());
    }

    /// How it stood when the vehicle asked last.
    ///
    /// # Panics
    /// When its thread did.
    pub fn status(&self) -> Option<Status> {
        *self.shared.status.lock().expect("a gateway that runs")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What is at the other end.
enum Device {
    Library(Box<Shell<Memory>>),
    Firmware {
        running: Running,
        /// What it runs.
        firmware: PathBuf,
        /// Its flash is here.
        _folder: TempDir,
    },
}

impl Device {
    /// One that was never told anything, like all that follow.
    fn library(sector: &[u8]) -> Self {
        let mut flash = Memory::erased();
        flash.bytes[..sector.len()].copy_from_slice(sector);
        let mut shell = Shell::new(flash);
        shell.start();
        Self::Library(Box::new(shell))
    }

    fn firmware(sector: &[u8], firmware: PathBuf) -> Self {
        let folder = TempDir::new().expect("a folder");
        erased(folder.path(), sector);
        let running = Running::start(Board::an386, &firmware, folder.path(), &[]);
        Self::Firmware { running, firmware, _folder: folder }
    }

    /// Another one of its kind.
    fn another(&self, sector: &[u8]) -> Self {
        match self {
            Self::Library(_) => Self::library(sector),
            Self::Firmware { firmware, .. } => Self::firmware(sector, firmware.clone()),
        }
    }

    /// What it answers to these bytes of the agent's, or by now to those of before.
    fn agent(&mut self, now: Instant, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Library(shell) => {
                if shell.poll_timeout().is_some_and(|at| at <= now) {
                    shell.timeout(now);
                }
                let (mut replies, mut rest) = (Vec::new(), bytes);
                while !rest.is_empty() {
                    let agent = shell.agent(now, rest, Stack::default());
                    rest = &rest[agent.taken..];
                    replies.extend_from_slice(agent.reply.unwrap_or_default());
                }
                replies
            }
            Self::Firmware { running, .. } => {
                running.agent.write_all(bytes).expect("the line takes it");
                came(&mut running.agent, 1)
            }
        }
    }

    fn vehicle(&mut self, now: Instant, frame: &[u8]) {
        match self {
            Self::Library(shell) => shell.vehicle(now, frame),
            Self::Firmware { running, .. } => {
                running.vehicle.write_all(frame).expect("the line takes it");
            }
        }
    }
}

struct Work {
    port: File,
    device: Device,
    shared: Arc<Shared>,
}

impl Work {
    fn run(mut self) {
        let clock = Stopwatch::start();
        let now = || Instant::from_millis(u64::try_from(clock.elapsed().as_millis()).unwrap_or(0));
        let mut said_ms = None;
        let mut heard = Decoder::<FRAME_BYTES_MAX>::new();
        while !self.shared.ended.load(Ordering::Relaxed) {
            let other = self.shared.replaced.lock().expect("nobody panics with it").take();
            if let Some(sector) = other {
                self.device = self.device.another(&sector);
            }
            let ms = now().as_millis();
            if said_ms.is_none_or(|said: u64| ms >= said + SAYS_MS) {
                said_ms = Some(ms);
                self.vehicle_says(now());
            }
            let mut bytes = came(&mut self.port, WAITS_MS);
            if self.shared.silent.load(Ordering::Relaxed) {
                bytes.clear();
            }
            let replies = self.device.agent(now(), &bytes);
            self.port.write_all(&replies).expect("the line takes it");
            let mut rest = replies.as_slice();
            while !rest.is_empty() {
                let taken = heard.push(rest);
                rest = &rest[taken..];
                let reply = heard.message().and_then(decode_reply);
                if let Some(Answer::Status(status)) = reply.map(|reply| reply.answer) {
                    *self.shared.status.lock().expect("nobody panics with it") = Some(status);
                }
            }
        }
    }

    fn vehicle_says(&mut self, now: Instant) {
        let parked = self.shared.parked.load(Ordering::Relaxed);
        let conditions = VehicleSays::Conditions {
            parked,
            external_power: true,
            battery_soc_percent: 80,
            temperature_c: 30,
            network: 2,
        };
        let time = VehicleSays::Time { seconds: utc_ms() / 1000, uncertainty_seconds: 0 };
        for says in [time, conditions] {
            let (mut message, mut line) = ([0; 64], [0; LINE_BYTES_MAX]);
            let frame = encode_vehicle(says, &mut message, &mut line).expect("it has room");
            self.device.vehicle(now, frame);
        }
    }
}

/// What came within so many milliseconds.
fn came<Port: Read + AsFd>(port: &mut Port, wait_ms: i64) -> Vec<u8> {
    let wait = Timespec { tv_sec: 0, tv_nsec: wait_ms * 1_000_000 };
    if poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&wait)).unwrap_or(0) == 0 {
        return Vec::new();
    }
    let mut bytes = vec![0; 4096];
    match port.read(&mut bytes) {
        Ok(came) => bytes.truncate(came),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => bytes.clear(),
        Err(error) => panic!("the line: {error}"),
    }
    bytes
}
