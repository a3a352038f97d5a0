//! The driver of embassy-time: SysTick, a thousand times a second.

use core::cell::{Cell, RefCell};
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// Interrupts a second: one a tick of embassy-time.
pub(crate) const HZ: u32 = embassy_time_driver::TICK_HZ as u32;

struct Ticks {
    now: Mutex<Cell<u64>>,
    /// When the first timer is due.
    due: Mutex<Cell<u64>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static TICKS: Ticks = Ticks {
    now: Mutex::new(Cell::new(0)),
    due: Mutex::new(Cell::new(u64::MAX)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for Ticks {
    fn now(&self) -> u64 {
        critical_section::with(|section| self.now.borrow(section).get())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            if self.queue.borrow_ref_mut(section).schedule_wake(at, waker) {
                self.wake(section);
            }
        });
    }
}

impl Ticks {
    /// Wakes what is due.
    fn wake(&self, section: CriticalSection<'_>) {
        let now = self.now.borrow(section).get();
        let due = self.queue.borrow_ref_mut(section).next_expiration(now);
        self.due.borrow(section).set(due);
    }
}

/// The interrupt.
pub(crate) fn tick() {
    critical_section::with(|section| {
        let now = TICKS.now.borrow(section).get().saturating_add(1);
        TICKS.now.borrow(section).set(now);
        if TICKS.due.borrow(section).get() <= now {
            TICKS.wake(section);
        }
    });
}
