//! The line to the gateway: a thread that asks what the core asks, over a serial port.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use embassy_time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tracing::warn;

use super::{Asker, Guard, Input, Standing, Tell};
use crate::config::GatewayConfig;
use crate::exchange::around::{Clocks, Time};

/// How long is waited for an answer before it is looked at what is told.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Time between two tries to open a line that is gone.
const RETRY: embassy_time::Duration = embassy_time::Duration::from_secs(1);

/// Why the line cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("gateway.line: {} is no serial line that can be used", path.display())]
pub struct OpenSerialError {
    path: PathBuf,
    source: io::Error,
}

/// The thread; dropped, it ends after the answer that it waits for.
#[derive(Debug)]
pub struct SerialGateway {
    tells: Option<Sender<Tell>>,
    standing: Arc<Mutex<Standing>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SerialGateway {
    /// Opens the line, and begins to ask: with `number` first, drawn anew for each start.
    ///
    /// # Errors
    /// [`OpenSerialError`]: no terminal, or another program has it. A device that is not there may come yet.
    pub fn open(config: &GatewayConfig, number: u16) -> Result<Self, OpenSerialError> {
        let GatewayConfig { line, baud } = config.clone();
        let failed = |source| OpenSerialError { path: line.clone(), source };
        let port = match open(&line, baud) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                warn!(line = %line.display(), "the gateway's line is not there: no window opens before it is");
                None
            }
            opened => Some(opened.map_err(failed)?),
        };
        let (tells, told) = mpsc::channel();
        let (standing, ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let work = Work {
            line: line.clone(),
            baud,
            told,
            asker: Asker::new(number),
            clocks: Clocks::start(),
            standing: Arc::clone(&standing),
            ended: Arc::clone(&ended),
            again_at: Instant::MIN,
        };
        let thread = thread::Builder::new().name("gateway".to_owned());
        let thread = thread.spawn(move || work.run(port)).map_err(failed)?;
        Ok(SerialGateway { tells: Some(tells), standing, ended, thread: Some(thread) })
    }
}

impl Guard for SerialGateway {
    fn tell(&mut self, tell: Tell) {
        if let Some(tells) = &self.tells {
            // A thread that has ended answers nothing: no window is open.
            let _ended = tells.send(tell);
        }
    }

    fn standing(&self) -> Standing {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Standing::default();
        }
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for SerialGateway {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.tells = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The thread's own.
struct Work {
    line: PathBuf,
    baud: u32,
    told: Receiver<Tell>,
    asker: Asker,
    clocks: Clocks,
    standing: Arc<Mutex<Standing>>,
    ended: Arc<AtomicBool>,
    /// When a line that is gone is opened again.
    again_at: Instant,
}

impl Work {
    fn run(mut self, mut port: Option<File>) {
        while !self.ended.load(Ordering::Relaxed) {
            let Some(open_port) = &mut port else {
                port = self.reopen();
                continue;
            };
            if let Err(error) = self.turn(open_port) {
                warn!(line = %self.line.display(), %error, "the gateway's line is gone");
                port = None;
            }
            self.tell_standing();
        }
    }

    /// Writes what is to be asked, and reads what comes for a moment.
    fn turn(&mut self, port: &mut File) -> io::Result<()> {
        while let Ok(tell) = self.told.try_recv() {
            self.asker.handle_input(self.clocks.since_start(), Input::Tell(tell));
        }
        let now = self.clocks.since_start();
        self.asker.handle_timeout(now);
        if let Some(bytes) = self.asker.poll_output(now) {
            write(port, bytes, &self.ended)?;
        }
        let mut bytes = [0; 256];
        if !is_ready(port, PollFlags::IN)? {
            return Ok(());
        }
        let came = port.read(&mut bytes)?;
        if came == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = bytes.get(..came).unwrap_or_default();
        self.asker.handle_input(self.clocks.since_start(), Input::Bytes(bytes));
        Ok(())
    }

    /// Opens the line again, after a while; what is told meanwhile is kept.
    fn reopen(&mut self) -> Option<File> {
        let left = self.again_at.saturating_duration_since(self.clocks.since_start());
        let told = self.told.recv_timeout(Duration::from_micros(left.as_micros()));
        let now = self.clocks.since_start();
        self.asker.handle_timeout(now);
        self.tell_standing();
        match told {
            Ok(tell) => self.asker.handle_input(now, Input::Tell(tell)),
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody tells any more: the program ends.
            Err(RecvTimeoutError::Disconnected) => self.ended.store(true, Ordering::Relaxed),
        }
        // However much is told meanwhile.
        if now < self.again_at {
            return None;
        }
        self.again_at = now.saturating_add(RETRY);
        open(&self.line, self.baud).ok()
    }

    fn tell_standing(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if *standing != *self.asker.standing() {
            standing.clone_from(self.asker.standing());
        }
    }
}

/// The port: bytes as they are, at this speed, for this program alone.
fn open(line: &Path, baud: u32) -> io::Result<File> {
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(line)?;
    let mut told = tcgetattr(&port)?;
    port.try_lock().map_err(io::Error::from)?;
    told.make_raw();
    told.set_speed(baud)?;
    tcsetattr(&port, OptionalActions::Flush, &told)?;
    Ok(port)
}

/// Writes all of it, unless the program ends before the line takes it.
fn write(mut port: &File, bytes: &[u8], ended: &AtomicBool) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() && !ended.load(Ordering::Relaxed) {
        match port.write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                is_ready(port, PollFlags::OUT)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits a moment for the line.
fn is_ready(port: &File, wanted: PollFlags) -> io::Result<bool> {
    let mut polled = [PollFd::new(port, wanted)];
    match poll(&mut polled, Some(&WAIT)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
