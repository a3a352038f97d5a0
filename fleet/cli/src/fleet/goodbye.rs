//! The end of a program that publishes.

use std::time::Duration;

use shoal_link::{Broker as _, Event, Link};

/// The longest wait for one event.
const TICK: Duration = Duration::from_millis(200);
/// How long the last publications may take.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// Lets what is in flight arrive, then says goodbye.
pub(super) fn goodbye(mut link: Link) {
    link.finish();
    let mut silent = Duration::ZERO;
    while silent < SILENT_MAX {
        match link.next(TICK) {
            Some(Event::Drained) => break,
            Some(_event) => {}
            None => silent += TICK,
        }
    }
    link.close();
}
