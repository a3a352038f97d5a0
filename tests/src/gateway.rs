//! A gateway at a vehicle computer: the library that is flashed, at the other end of a terminal, with a flash in memory and a vehicle's line
//! that says what a test wants.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use embassy_time::Instant;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use shoal_gateway::{
    Answer, Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, Shell, Stack, Status, VehicleSays,
    decode_reply, encode_vehicle,
};

use crate::clock::Stopwatch;
use crate::fleet::utc_ms;

#[path = "../../cross/gateway/tests/common/flash.rs"]
#[expect(dead_code, reason = "nothing is cut here")]
mod flash;

use flash::Memory;

/// From one word of the vehicle's line to the next, in milliseconds.
const SAYS_MS: u64 = 200;

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

        let shell = provisioned(sector);
        let shared = Arc::<Shared>::default();
        let work = Work { port: own, shell, shared: Arc::clone(&shared) };
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

/// One that was never told anything.
fn provisioned(sector: &[u8]) -> Shell<Memory> {
    let mut flash = Memory::erased();
    flash.bytes[..sector.len()].copy_from_slice(sector);
    let mut shell = Shell::new(flash);
    shell.start();
    shell
}

struct Work {
    port: File,
    shell: Shell<Memory>,
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
                self.shell = provisioned(&sector);
            }
            let ms = now().as_millis();
            if said_ms.is_none_or(|said: u64| ms >= said + SAYS_MS) {
                said_ms = Some(ms);
                self.vehicle_says(now());
            }
            if self.shell.poll_timeout().is_some_and(|at| at <= now()) {
                self.shell.timeout(now());
            }
            let bytes = read(&mut self.port);
            if self.shared.silent.load(Ordering::Relaxed) {
                continue;
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let agent = self.shell.agent(now(), rest, Stack::default());
                rest = &rest[agent.taken..];
                let reply = agent.reply.unwrap_or_default();
                self.port.write_all(reply).expect("the line takes it");
                heard.push(reply);
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
            self.shell.vehicle(now, frame);
        }
    }
}

/// What came in a moment.
fn read(port: &mut File) -> Vec<u8> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let mut polled = [PollFd::new(port, PollFlags::IN)];
    if poll(&mut polled, Some(&wait)).unwrap_or(0) == 0 {
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
