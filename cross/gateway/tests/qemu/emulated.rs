//! An emulated board that runs the firmware: its lines are sockets in a folder, its flash is a file there.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shoal_gateway::FLASH_BYTES;

const FLASH_FILE_BYTES: u64 = 16 << 20;
const ATTEMPTS_MAX: u32 = 200;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// What the emulator has.
#[derive(Clone, Copy, Debug)]
#[expect(non_camel_case_types, reason = "the names of the boards")]
pub(crate) enum Board {
    an386,
    an505,
}

/// The folder with `an386.elf` and `an505.elf`, if `SHOAL_GATEWAY_FIRMWARE` names one.
pub(crate) fn firmware() -> Option<PathBuf> {
    std::env::var_os("SHOAL_GATEWAY_FIRMWARE").map(PathBuf::from)
}

/// An erased flash in this folder that begins with these bytes.
pub(crate) fn erased(folder: &Path, sector: &[u8]) {
    let mut flash = vec![0xff; FLASH_BYTES as usize];
    flash[..sector.len()].copy_from_slice(sector);
    let path = folder.join("flash");
    fs::write(&path, flash).expect("a file");
    let flash = OpenOptions::new().write(true).open(&path).expect("a file");
    flash.set_len(FLASH_FILE_BYTES).expect("a file");
}

/// A board that runs; dropped, its power is cut.
#[derive(Debug)]
pub(crate) struct Running {
    folder: PathBuf,
    child: Child,
    /// The agent's line.
    pub(crate) agent: UnixStream,
    /// The vehicle's line.
    pub(crate) vehicle: UnixStream,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Running {
    /// Turns on a board that has the flash in this folder.
    pub(crate) fn start(board: Board, firmware: &Path, folder: &Path, options: &[&str]) -> Self {
        let sockets = ["agent", "vehicle", "monitor"];
        sockets.iter().for_each(|name| drop(fs::remove_file(folder.join(name))));
        let line = |name: &str| format!("unix:{},server=on,wait=off", folder.join(name).display());
        let memory = format!(
            "memory-backend-file,id=flash,mem-path={},size={FLASH_FILE_BYTES},share=on",
            folder.join("flash").display()
        );
        let mut child = Command::new("qemu-system-arm")
            .args(["-object", &memory])
            .arg("-machine")
            .arg(format!("mps2-{board:?},memory-backend=flash"))
            .args(["-display", "none", "-nodefaults", "-no-user-config"])
            // What the emulator says of itself (a network that is not there) is not of interest.
            .stderr(Stdio::null())
            .args(["-serial", &line("agent"), "-serial", &line("vehicle")])
            .args(["-monitor", &line("monitor")])
            .args(options)
            .arg("-kernel")
            .arg(firmware.join(format!("{board:?}.elf")))
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-arm");
        let agent = connect(&folder.join("agent"), &mut child);
        let vehicle = connect(&folder.join("vehicle"), &mut child);
        Self { folder: folder.to_owned(), child, agent, vehicle }
    }

    /// A line to the emulator itself.
    pub(crate) fn monitor(&mut self) -> UnixStream {
        connect(&self.folder.join("monitor"), &mut self.child)
    }
}

/// QEMU makes its sockets as it starts.
fn connect(path: &Path, child: &mut Child) -> UnixStream {
    let (mut pause, _other) = UnixStream::pair().expect("a pair of sockets");
    for _attempt in 0..ATTEMPTS_MAX {
        if let Ok(stream) = UnixStream::connect(path) {
            return stream;
        }
        assert_eq!(child.try_wait().expect("a child"), None, "QEMU ended");
        wait(&mut pause, BETWEEN_ATTEMPTS);
    }
    panic!("no socket {}", path.display());
}

/// Waits, and throws away what comes: how many bytes that was.
pub(crate) fn wait(stream: &mut UnixStream, long: Duration) -> usize {
    stream.set_read_timeout(Some(long)).expect("a socket");
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
