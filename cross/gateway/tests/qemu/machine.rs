//! One emulated board: its lines are sockets in a folder of its own, its flash is a file there.

use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shoal_gateway::{Decoder, FLASH_BYTES, FRAME_BYTES_MAX};
use tempfile::TempDir;

use crate::common::client::Port;
use crate::common::fleet::sector;

const FLASH_FILE_BYTES: u64 = 16 << 20;
/// An answer comes within so long, or not at all.
const ANSWER: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(100);
const ATTEMPTS_MAX: u32 = 200;

#[derive(Clone, Copy, Debug)]
#[expect(non_camel_case_types, reason = "the names of the boards")]
pub(crate) enum Board {
    an386,
    an505,
}

pub(crate) struct Machine {
    board: Board,
    options: &'static [&'static str],
    elf: PathBuf,
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    child: Child,
    agent: UnixStream,
    vehicle: UnixStream,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Machine {
    /// A board with an erased, provisioned flash; `None` where no firmware is named.
    pub(crate) fn start(board: Board) -> Option<Self> {
        Self::start_with(board, &[])
    }

    /// A board whose time is its instructions: one takes a nanosecond.
    pub(crate) fn start_counting(board: Board) -> Option<Self> {
        Self::start_with(board, &["-icount", "shift=0"])
    }

    fn start_with(board: Board, options: &'static [&'static str]) -> Option<Self> {
        let elf =
            PathBuf::from(env::var_os("SHOAL_GATEWAY_FIRMWARE")?).join(format!("{board:?}.elf"));
        let folder = TempDir::new().unwrap();
        let mut flash = vec![0xff; FLASH_BYTES as usize];
        flash[..sector().len()].copy_from_slice(&sector());
        let path = folder.path().join("flash");
        fs::write(&path, flash).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(FLASH_FILE_BYTES).unwrap();
        let mut machine = Self { board, options, elf, folder, running: None };
        machine.power_on();
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn power_on(&mut self) {
        let sockets = ["agent", "vehicle", "monitor"];
        sockets.iter().for_each(|name| drop(fs::remove_file(self.path(name))));
        let line = |name: &str| format!("unix:{},server=on,wait=off", self.path(name).display());
        let memory = format!(
            "memory-backend-file,id=flash,mem-path={},size={FLASH_FILE_BYTES},share=on",
            self.path("flash").display()
        );
        let mut child = Command::new("qemu-system-arm")
            .args(["-object", &memory])
            .arg("-machine")
            .arg(format!("mps2-{:?},memory-backend=flash", self.board))
            .args(["-display", "none", "-nodefaults", "-no-user-config"])
            // What the emulator says of itself (a network that is not there) is not of interest.
            .stderr(Stdio::null())
            .args(["-serial", &line("agent"), "-serial", &line("vehicle")])
            .args(["-monitor", &line("monitor")])
            .args(self.options)
            .arg("-kernel")
            .arg(&self.elf)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let agent = connect(&self.path("agent"), &mut child);
        let vehicle = connect(&self.path("vehicle"), &mut child);
        self.running = Some(Running { child, agent, vehicle });
    }

    /// The board's reset: memory stays, the processor starts anew.
    pub(crate) fn reset(&mut self) {
        let mut monitor = connect(&self.path("monitor"), &mut self.running().child);
        monitor.write_all(b"system_reset\n").unwrap();
        wait(&mut monitor, SILENCE);
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }
}

/// QEMU makes its sockets as it starts.
fn connect(path: &Path, child: &mut Child) -> UnixStream {
    let (pause, _other) = UnixStream::pair().unwrap();
    let mut pause = pause;
    for _attempt in 0..ATTEMPTS_MAX {
        if let Ok(stream) = UnixStream::connect(path) {
            return stream;
        }
        assert_eq!(child.try_wait().unwrap(), None, "QEMU ended");
        wait(&mut pause, Duration::from_millis(20));
    }
    panic!("no socket {}", path.display());
}

/// Waits, and throws away what comes.
fn wait(stream: &mut UnixStream, long: Duration) -> usize {
    stream.set_read_timeout(Some(long)).unwrap();
    let mut came = 0;
    loop {
        match stream.read(&mut [0; 256]) {
            Ok(0) => return came,
            Ok(bytes) => came += bytes,
            Err(why) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&why.kind()) => {
                return came;
            }
            Err(why) => panic!("{why}"),
        }
    }
}

impl Port for Machine {
    fn ask(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let agent = &mut self.running().agent;
        agent.write_all(line).unwrap();
        agent.set_read_timeout(Some(ANSWER)).unwrap();
        let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
        loop {
            let mut buffer = [0; 2048];
            let bytes = agent.read(&mut buffer).ok()?;
            let taken = decoder.push(&buffer[..bytes]);
            if let Some(message) = decoder.message() {
                assert_eq!(taken, bytes, "one answer");
                return Some(message.to_vec());
            }
            assert!(bytes > 0 && decoder.dropped() == 0, "the line is whole");
        }
    }

    fn noise(&mut self, line: &[u8]) {
        let agent = &mut self.running().agent;
        agent.write_all(line).unwrap();
        assert_eq!(wait(agent, SILENCE), 0);
    }

    fn vehicle(&mut self, line: &[u8]) {
        self.running().vehicle.write_all(line).unwrap();
    }

    fn power_cut(&mut self) {
        self.running = None;
        self.power_on();
    }

    fn wait(&mut self, ms: u64) {
        wait(&mut self.running().vehicle, Duration::from_millis(ms));
    }
}
