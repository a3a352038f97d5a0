//! The firmware itself, in QEMU's `mps2-an386` and `mps2-an505`: the scenarios of the host, over real serial lines, with
//! power cuts that are a SIGKILL. `cargo xtask test gateway` builds the firmware and names it in `SHOAL_GATEWAY_FIRMWARE`:
//! a folder with `an386.elf` and `an505.elf`. Without it nothing is tested here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod emulated;
mod machine;

use common::client::{Client, Port};
use common::fleet::{Particle, plan, plan_fields};
use common::{every_scenario, scenarios};
use emulated::Board;
use machine::Machine;
use shoal_gateway::{PhaseName, Request, TrialName};

fn on(board: Board, scenario: fn(&mut Client<Machine>)) {
    if let Some(machine) = Machine::start(board) {
        let mut client = Client::new(machine);
        scenario(&mut client);
        let stack = client.status().stack;
        eprintln!("{board:?}: stack {} of {} bytes", stack.bytes_max, stack.bytes);
        assert!(stack.bytes_max + 1024 < stack.bytes, "less than 1 KiB of the stack is left");
    }
}

macro_rules! scenarios {
    ($board:ident: $($name:ident)*) => {
        mod $board {
            use super::*;

            const BOARD: Board = Board::$board;
            $(
                #[test]
                fn $name() {
                    on(BOARD, scenarios::$name);
                }
            )*

            #[test]
            fn a_reset_button() {
                on(BOARD, super::a_reset_button);
            }

            #[test]
            fn the_largest_header() {
                on(BOARD, super::the_largest_header);
            }

            #[test]
            fn a_signature_takes_less_than_a_blink() {
                if let Some(machine) = Machine::start_counting(BOARD) {
                    super::a_signature_takes_less_than_a_blink(&mut Client::new(machine));
                }
            }
        }
    };
}

every_scenario! { scenarios! an386: }
every_scenario! { scenarios! an505: }

/// A reset of the processor alone, in the middle of a chunk.
fn a_reset_button(client: &mut Client<Machine>) {
    client.done(Request::Plan(&plan(plan_fields(), 1)));
    client.open();
    let particle = Particle::new(1, &scenarios::LENGTHS);
    client.done(Request::Header(&particle.envelope));
    client.chunk(2, &particle.chunks[2]).unwrap();
    client.done(Request::Begin { index: 1, bytes: 1_037 });
    client.port.reset();
    client.until(PhaseName::NoTime);
    client.open();
    assert_eq!(client.bring(&particle), [0, 1]);
    assert_eq!(client.read(0), particle.bytes());
}

/// What takes the most stack: a header of twenty chunks, and everything after a start that finds one.
fn the_largest_header(client: &mut Client<Machine>) {
    client.done(Request::Plan(&plan(plan_fields(), 1)));
    client.open();
    let particle = Particle::new(1, &[1024; 20]);
    client.done(Request::Header(&particle.envelope));
    client.chunk(3, &particle.chunks[3]).unwrap();
    client.power_cut();
    client.open();
    assert_eq!(client.bring(&particle).len(), 19);
    assert_eq!(client.read(0), particle.bytes());
    client.port.wait(1_000);
    assert_eq!(client.status().trial, TrialName::OnTrial);
}

/// Of the processor's instructions, by its own clock: the same plan is verified again and again, which changes nothing.
fn a_signature_takes_less_than_a_blink(client: &mut Client<Machine>) {
    const TIMES: u64 = 8;
    let plan = plan(plan_fields(), 1);
    client.done(Request::Plan(&plan));
    let mut took_ms = |request| {
        let before = client.status().up_ms;
        for _time in 0..TIMES {
            let _heard = client.ask(request);
        }
        client.status().up_ms - before
    };
    let (plan_ms, status_ms) = (took_ms(Request::Plan(&plan)), took_ms(Request::Status));
    let each = plan_ms.saturating_sub(status_ms) / TIMES;
    eprintln!("{each} million instructions to verify a window plan");
    assert!(each < 30, "{each} million instructions");
}
