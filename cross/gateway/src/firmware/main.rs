//! The firmware: two serial lines, a flash and a clock around [`Shell`]. One task; interrupts move bytes and time.
#![no_std]
#![no_main]
#![warn(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod board;
mod flash;
mod line;
mod stack;
mod ticks;

use core::future::poll_fn;
use core::panic::PanicInfo;
use core::task::Poll;

use cortex_m::peripheral::SCB;
use embassy_executor::Spawner;
use embassy_futures::select::select;
use embassy_time::{Instant, Timer};
use shoal_gateway::Shell;
use static_cell::ConstStaticCell;

use crate::line::{AGENT, VEHICLE};

/// Bytes that are taken from a line at once.
const PIECE_BYTES: usize = 64;

/// In its place from the beginning: too large to pass over the stack.
static SHELL: ConstStaticCell<Shell<flash::Mapped>> =
    ConstStaticCell::new(Shell::new(flash::Mapped));

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    board::start();
    let shell = SHELL.take();
    shell.start();
    loop {
        let mut piece = [0; PIECE_BYTES];
        let mut rest = AGENT.take(&mut piece);
        while !rest.is_empty() {
            let agent = shell.agent(now(), rest, stack::used());
            rest = rest.get(agent.taken..).unwrap_or_default();
            if let Some(reply) = agent.reply {
                AGENT.send(reply).await;
            }
        }
        let said = VEHICLE.take(&mut piece);
        if !said.is_empty() {
            shell.vehicle(now(), said);
        }
        let until = shell.poll_timeout();
        if until.is_some_and(|until| until <= now()) {
            shell.timeout(now());
        }
        let bytes = poll_fn(|context| {
            AGENT.listen(context.waker());
            VEHICLE.listen(context.waker());
            let came = !AGENT.is_empty() || !VEHICLE.is_empty();
            if came { Poll::Ready(()) } else { Poll::Pending }
        });
        match shell.poll_timeout() {
            Some(until) => {
                select(bytes, Timer::at(until)).await;
            }
            None => bytes.await,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell is where time comes from")]
fn now() -> Instant {
    Instant::now()
}

/// What is left that can panic is not in the receive code. A reset takes up what is durable.
#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    SCB::sys_reset()
}
