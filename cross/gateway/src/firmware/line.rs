//! A serial line: an interrupt takes bytes into a ring, a task takes them out.

use core::future::poll_fn;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use core::task::{Poll, Waker};

use embassy_sync::waitqueue::AtomicWaker;
use shoal_gateway::LINE_BYTES_MAX;

use crate::board::{AGENT_UART, Uart, VEHICLE_UART};

/// The agent's line. The agent waits for an answer before it asks again: there is room for the longest frame, and none is lost
/// however seldom the task has its turn while it comes.
pub(crate) static AGENT: Line<AGENT_UART, { LINE_BYTES_MAX + 1 }> = Line::new();
/// The vehicle's line.
pub(crate) static VEHICLE: Line<VEHICLE_UART, 128> = Line::new();

pub(crate) struct Line<const AT: usize, const BYTES: usize> {
    pub(crate) uart: Uart<AT>,
    ring: [AtomicU8; BYTES],
    /// Counts of bytes that came and that were taken, modulo the ring. Only the interrupt writes the first, only the
    /// task the second.
    came: AtomicUsize,
    taken: AtomicUsize,
    received: AtomicWaker,
    sent: AtomicWaker,
}

impl<const AT: usize, const BYTES: usize> Line<AT, BYTES> {
    const fn new() -> Self {
        Self {
            uart: Uart,
            ring: [const { AtomicU8::new(0) }; BYTES],
            came: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            received: AtomicWaker::new(),
            sent: AtomicWaker::new(),
        }
    }

    /// Either interrupt of the line. A byte without room is lost: its frame is dropped by its CRC.
    pub(crate) fn interrupt(&self) {
        self.uart.clear_interrupts();
        while let Some(byte) = self.uart.receive() {
            let came = self.came.load(Ordering::Relaxed);
            let after = next::<BYTES>(came);
            if after != self.taken.load(Ordering::Acquire)
                && let Some(place) = self.ring.get(came)
            {
                place.store(byte, Ordering::Relaxed);
                self.came.store(after, Ordering::Release);
            }
        }
        self.received.wake();
        self.sent.wake();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.came.load(Ordering::Acquire) == self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        self.received.register(waker);
    }

    /// The bytes that came, as many as there is room for.
    pub(crate) fn take<'a>(&self, buffer: &'a mut [u8]) -> &'a [u8] {
        let mut count = 0_usize;
        for to in buffer.iter_mut() {
            let taken = self.taken.load(Ordering::Relaxed);
            if taken == self.came.load(Ordering::Acquire) {
                break;
            }
            *to = self.ring.get(taken).map_or(0, |place| place.load(Ordering::Relaxed));
            self.taken.store(next::<BYTES>(taken), Ordering::Release);
            count = count.saturating_add(1);
        }
        buffer.get(..count).unwrap_or_default()
    }

    pub(crate) async fn send(&self, bytes: &[u8]) {
        for byte in bytes {
            poll_fn(|context| {
                if self.uart.send(*byte) {
                    return Poll::Ready(());
                }
                self.sent.register(context.waker());
                // The line may have become free before the waker was there.
                if self.uart.send(*byte) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}

fn next<const BYTES: usize>(place: usize) -> usize {
    let after = place.saturating_add(1);
    if after >= BYTES { 0 } else { after }
}
