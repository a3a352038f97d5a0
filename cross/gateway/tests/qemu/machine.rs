//! One emulated board, and what scenarios do with it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use shoal_gateway::{Decoder, FRAME_BYTES_MAX};
use tempfile::TempDir;

use crate::common::client::Port;
use crate::common::fleet::sector;
use crate::emulated::{Board, Running, erased, firmware, wait};

/// An answer comes within so long, or not at all.
const ANSWER: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(100);

pub(crate) struct Machine {
    board: Board,
    options: &'static [&'static str],
    firmware: PathBuf,
    folder: TempDir,
    running: Option<Running>,
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
        let firmware = firmware()?;
        let folder = TempDir::new().unwrap();
        erased(folder.path(), &sector());
        let mut machine = Self { board, options, firmware, folder, running: None };
        machine.power_on();
        Some(machine)
    }

    fn power_on(&mut self) {
        let folder = self.folder.path();
        self.running = Some(Running::start(self.board, &self.firmware, folder, self.options));
    }

    /// The board's reset: memory stays, the processor starts anew.
    pub(crate) fn reset(&mut self) {
        let mut monitor = self.running().monitor();
        monitor.write_all(b"system_reset\n").unwrap();
        wait(&mut monitor, SILENCE);
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
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
