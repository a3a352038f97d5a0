//! Waiting, until a signal or whoever sits at the terminal says that it is enough.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{Done, Failure};

/// Ctrl-C, SIGTERM and a terminal that is closed, from now on.
pub(super) struct Stop {
    sender: Sender<()>,
    told: Receiver<()>,
}

impl Stop {
    pub(super) fn listen() -> Done<Self> {
        let (sender, told) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map_err(|error| Failure(format!("cannot listen to signals: {error}")))?;
        let tell = sender.clone();
        thread::spawn(move || {
            for _signal in signals.forever() {
                // Nobody listens any more: the program is ending.
                let _told = tell.send(());
            }
        });
        Ok(Self { sender, told })
    }

    /// Waits so long; a failure when told to stop before.
    pub(super) fn wait(&self, long: Duration) -> Done {
        match self.told.recv_timeout(long) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Failure::new("stopped")),
        }
    }

    /// From here on a line on standard input, or its end, means the same as a signal.
    pub(super) fn at_enter(&self) {
        let tell = self.sender.clone();
        thread::spawn(move || {
            let mut line = String::new();
            let _read = io::stdin().read_line(&mut line);
            let _told = tell.send(());
        });
    }
}
