//! A gateway in memory.

use embassy_time::Instant;
use shoal_gateway::{Decoder, FRAME_BYTES_MAX, Shell, Stack};

use crate::common::client::Port;
use crate::common::flash::Memory;
use crate::common::fleet::sector;

pub(crate) struct Host {
    pub(crate) shell: Option<Shell<Memory>>,
    pub(crate) ms: u64,
}

impl Host {
    pub(crate) fn new() -> Self {
        let mut flash = Memory::erased();
        flash.bytes[..sector().len()].copy_from_slice(&sector());
        Self::on(flash)
    }

    pub(crate) fn on(flash: Memory) -> Self {
        let mut shell = Shell::new(flash);
        shell.start();
        Self { shell: Some(shell), ms: 0 }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.ms)
    }

    pub(crate) fn into_flash(mut self) -> Memory {
        self.shell.take().unwrap().into_flash()
    }

    /// As the firmware's loop: from one timeout to the next.
    pub(crate) fn run_to_ms(&mut self, ms: u64) {
        while let Some(at) = self.shell.as_ref().unwrap().poll_timeout()
            && at <= Instant::from_millis(ms)
        {
            self.ms = self.ms.max(at.as_millis());
            let now = self.now();
            let shell = self.shell.as_mut().unwrap();
            shell.timeout(now);
            assert_ne!(shell.poll_timeout(), Some(at), "a timeout that does not end");
        }
        self.ms = ms;
    }
}

impl Port for Host {
    fn ask(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let now = self.now();
        let mut back = Vec::new();
        for piece in line.chunks(61) {
            let mut rest = piece;
            while !rest.is_empty() {
                let agent = self.shell.as_mut().unwrap().agent(now, rest, Stack::default());
                rest = &rest[agent.taken..];
                back.extend_from_slice(agent.reply.unwrap_or_default());
            }
        }
        let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
        let taken = decoder.push(&back);
        assert_eq!(taken, back.len(), "one answer");
        decoder.message().map(<[u8]>::to_vec)
    }

    fn noise(&mut self, line: &[u8]) {
        assert_eq!(self.ask(line), None);
    }

    fn vehicle(&mut self, line: &[u8]) {
        let now = self.now();
        self.shell.as_mut().unwrap().vehicle(now, line);
    }

    fn power_cut(&mut self) {
        let flash = self.shell.take().unwrap().into_flash().power_on();
        *self = Self::on(flash);
    }

    fn wait(&mut self, ms: u64) {
        self.run_to_ms(self.ms + ms);
    }
}
