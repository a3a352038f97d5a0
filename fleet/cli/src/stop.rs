//! The end of a command that runs until it is told to end: SIGINT (Ctrl-C) or SIGTERM.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::output::Failure;

/// Whether the command was told to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Listens for signals from now on, for as long as the program lives.
    ///
    /// # Errors
    /// When the system gives no thread, or no signals.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let stop = Self::default();
        let of_thread = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _told = interrupt.recv() => {}
                    _told = terminate.recv() => {}
                }
            });
            of_thread.tell();
        })?;
        Ok(stop)
    }

    fn tell(&self) {
        let (told, changed) = &*self.0;
        *told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it was told to end, waiting this long for it.
    pub(crate) fn told_within(&self, wait: Duration) -> bool {
        let (told, changed) = &*self.0;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(told, wait, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until it is told to end.
    pub(crate) fn wait(&self) {
        let (told, changed) = &*self.0;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let _told = changed.wait_while(told, |told| !*told).unwrap_or_else(PoisonError::into_inner);
    }
}
