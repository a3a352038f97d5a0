//! Between the window's budget and the broker's socket.

use shoal_window::{Bytes, Input, Window};

use crate::broker::Broker;

/// Tells a window what crossed one broker's socket, and the broker what may. A new broker, a new meter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// What the window was told.
    told: Bytes,
}

impl Meter {
    /// What to tell the window, in this order: what crossed since the last call, and what waits for more. Call it after
    /// every event; then drain the window, and call [`Meter::grant`]. None of these inputs is ever rejected.
    pub fn inputs(&mut self, broker: &(impl Broker + ?Sized)) -> [Option<Input<'static>>; 2] {
        let used = broker.used();
        let since = minus(used, self.told);
        self.told = used;
        let crossed = (since != Bytes::default()).then_some(Input::Used(since));
        [crossed, broker.needs().map(|needs| Input::Needed(minus(needs, used)))]
    }

    /// Lets cross what the window has granted durably. Call it after the window's records are stored.
    pub fn grant(&self, window: &Window, broker: &mut (impl Broker + ?Sized)) {
        let left = window.left();
        broker.limit(Bytes {
            up: self.told.up.saturating_add(left.up),
            down: self.told.down.saturating_add(left.down),
        });
    }
}

fn minus(from: Bytes, less: Bytes) -> Bytes {
    Bytes { up: from.up.saturating_sub(less.up), down: from.down.saturating_sub(less.down) }
}
