//! What needs a clock that is turned: turns, and conditions that grow old.

use embassy_time::Duration;
use shoal_gateway::{PhaseName, Refusal, Request, VehicleSays};
use shoal_window::jitter;
use shoal_wire::v1::WindowPlan;

use crate::common::client::{Client, Port, READY};
use crate::common::flash::Memory;
use crate::common::fleet::{Particle, UTC_SECONDS, plan, plan_fields, provision};
use crate::port::Host;

fn open() -> Client<Host> {
    let mut client = Client::new(Host::new());
    client.done(Request::Plan(&plan(plan_fields(), 1)));
    client.open();
    client
}

#[test]
fn conditions_count_for_ten_seconds() {
    let mut client = open();
    client.port.wait(9_900);
    assert_eq!(client.phase(), PhaseName::Open);
    client.vehicle(READY);
    client.port.wait(9_900);
    assert_eq!(client.phase(), PhaseName::Open);
    client.port.wait(200);
    assert_eq!(client.phase(), PhaseName::Closing);
}

#[test]
fn the_gateway_waits_for_its_turn() {
    let mut fields = plan_fields();
    (fields.jitter_ms_max, fields.epoch_seconds) = (60_000, UTC_SECONDS - 3_000);
    let turn = jitter(&WindowPlan::new(fields).unwrap(), provision().vehicle, 3);
    assert!(turn > Duration::from_secs(5));
    let mut client = Client::new(Host::new());
    client.done(Request::Plan(&plan(fields, 1)));
    client.vehicle(VehicleSays::Time { seconds: UTC_SECONDS + 2, uncertainty_seconds: 0 });
    client.vehicle(READY);
    assert_eq!(client.phase(), PhaseName::Waiting);
    // The earliest that it can be decides: a second of doubt is a second more.
    while client.port.ms + 3_000 < turn.as_millis() {
        client.vehicle(READY);
        assert_eq!(client.phase(), PhaseName::Waiting);
        client.port.wait(1_000);
    }
    client.vehicle(READY);
    client.port.wait(3_000);
    assert_eq!(client.phase(), PhaseName::Open);
}

/// A chunk may end while the window closes; nothing begins then, and at the end nothing goes on.
#[test]
fn a_window_that_closes_lets_a_chunk_end_and_none_begin() {
    let particle = Particle::new(1, &[2048, 7]);
    let mut client = open();
    client.done(Request::Header(&particle.envelope));
    client.done(Request::Begin { index: 0, bytes: 2048 });
    client.done(Request::Piece { offset: 0, bytes: &particle.chunks[0][..1024] });
    client.port.wait(10_000);
    assert_eq!(client.phase(), PhaseName::Closing);
    client.done(Request::Piece { offset: 1024, bytes: &particle.chunks[0][1024..] });
    client.done(Request::End);
    assert_eq!(client.refused(Request::Begin { index: 1, bytes: 7 }), Refusal::Closed);
    client.port.wait(10_000);
    assert_eq!(client.phase(), PhaseName::Waiting);
    assert_eq!(client.ask(Request::Status).wants, shoal_gateway::Wants::default());
    client.vehicle(READY);
    assert_eq!(client.phase(), PhaseName::Open);
    assert_eq!(client.bring(&particle), [1]);
    assert_eq!(client.read(0), particle.bytes());
}

#[test]
fn an_agent_that_stops_loses_its_attempt_and_none_of_its_chunks() {
    let particle = Particle::new(1, &[2048, 7]);
    let mut client = open();
    client.done(Request::Header(&particle.envelope));
    client.chunk(1, &particle.chunks[1]).unwrap();
    for _second in 0..61 {
        client.vehicle(READY);
        client.port.wait(1_000);
    }
    assert_eq!(client.ask(Request::Status).wants.chunks, 0);
    assert_eq!(client.bring(&particle), [0]);
}

#[test]
fn without_provision_nobody_is_believed() {
    let mut client = Client::new(Host::on(Memory::erased()));
    assert_eq!(client.refused(Request::Status), Refusal::NotProvisioned);
    let why = client.refused(Request::Plan(&plan(plan_fields(), 1)));
    assert_eq!(why, Refusal::NotProvisioned);
}
