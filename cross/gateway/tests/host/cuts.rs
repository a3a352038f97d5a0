//! Power that is cut at every step of the flash, and flashes that fail.

use shoal_gateway::{PhaseName, Refusal, Request, TrialName, chunk_offset};
use shoal_hal::Slot;

use crate::common::client::{Client, READY};
use crate::common::flash::Memory;
use crate::common::fleet::{Particle, plan, plan_fields, sector};
use crate::port::Host;

fn provisioned() -> Memory {
    let mut flash = Memory::erased();
    flash.bytes[..sector().len()].copy_from_slice(&sector());
    flash
}

/// One life: two adapters, the first confirmed. Ends where the flash does.
fn live(client: &mut Client<Host>, particles: &[Particle; 2]) -> Result<(), Refusal> {
    if client.phase() == PhaseName::NoPlan {
        client.result(Request::Plan(&plan(plan_fields(), 1)))?;
    }
    client.vehicle(shoal_gateway::VehicleSays::Time {
        seconds: crate::common::fleet::UTC_SECONDS,
        uncertainty_seconds: 1,
    });
    client.vehicle(READY);
    for particle in particles {
        let status = client.status();
        if status.slots.sealed.contains(&Some(particle.id)) {
            confirm(client)?;
            continue;
        }
        client.result(Request::Header(&particle.envelope))?;
        loop {
            let wants = client.ask(Request::Status).wants;
            if wants.chunks == 0 {
                break;
            }
            let index = wants.chunks.trailing_zeros() as u8;
            client.chunk(index, &particle.chunks[usize::from(index)])?;
        }
        confirm(client)?;
    }
    Ok(())
}

fn confirm(client: &mut Client<Host>) -> Result<(), Refusal> {
    if client.status().trial == TrialName::OnTrial {
        client.result(Request::Watched { frames: 100, gain: 1 })?;
    }
    Ok(())
}

fn particles() -> [Particle; 2] {
    [Particle::new(1, &[4200, 40]), Particle::new(2, &[130, 33])]
}

/// Whatever the step, the gateway starts, holds nothing it did not verify, keeps what is in use, and the same agent ends
/// where it wanted to.
#[test]
fn a_cut_at_any_step_of_two_transfers_costs_only_what_was_not_durable() {
    let particles = particles();
    let mut client = Client::new(Host::on(provisioned()));
    live(&mut client, &particles).unwrap();
    let steps = client.port.into_flash().steps;
    assert!(steps > 700, "{steps}");
    for cut in 1..=steps {
        let mut flash = provisioned();
        flash.left = Some(cut);
        let mut client = Client::new(Host::on(flash));
        let ended = live(&mut client, &particles);
        assert!(ended.is_err() || cut + 1 >= steps, "cut {cut}: {ended:?}");
        client.power_cut();
        let status = client.status();
        for (slot, sealed) in (0..).zip(status.slots.sealed) {
            let Some(id) = sealed else { continue };
            let whole = particles.iter().find(|particle| particle.id == id).unwrap();
            assert_eq!(client.read(slot), whole.bytes(), "cut {cut}: slot {slot}");
        }
        live(&mut client, &particles).unwrap();
        assert_eq!(client.status().slots.active, Some(1), "cut {cut}");
        assert_eq!((client.read(0), client.read(1)), (particles[0].bytes(), particles[1].bytes()));
    }
}

#[test]
fn a_chunk_that_is_there_is_never_asked_for_again() {
    let particle = Particle::new(1, &[64; 20]);
    for present in 0..20_u8 {
        let mut client = Client::new(Host::new());
        client.done(Request::Plan(&plan(plan_fields(), 1)));
        client.open();
        client.done(Request::Header(&particle.envelope));
        for index in 0..present {
            client.chunk(index, &particle.chunks[usize::from(index)]).unwrap();
        }
        client.power_cut();
        client.open();
        assert_eq!(client.bring(&particle), (present..20).collect::<Vec<u8>>());
    }
}

#[test]
fn a_place_that_does_not_hold_what_was_written_is_no_chunk() {
    let particle = Particle::new(1, &[2048, 64]);
    let mut flash = provisioned();
    let at = chunk_offset(Slot::A, 0) as usize;
    flash.weak = Some(at + 1024..at + 1032);
    let mut client = Client::new(Host::on(flash));
    client.done(Request::Plan(&plan(plan_fields(), 1)));
    client.open();
    client.done(Request::Header(&particle.envelope));
    assert_eq!(client.chunk(0, &particle.chunks[0]), Err(Refusal::Flash));
    let heard = client.ask(Request::Status);
    assert_eq!(heard.wants.chunks, 0b11, "it is asked for again");
    assert_eq!(client.status().receiving.unwrap().have, 0);
}

/// What is not durable is not said, and nothing is taken until the next start.
#[test]
fn a_flash_that_fails_ends_in_a_refusal() {
    let mut client = Client::new(Host::on({
        let mut flash = provisioned();
        flash.broken = true;
        flash
    }));
    assert_eq!(client.refused(Request::Plan(&plan(plan_fields(), 1))), Refusal::Flash);
    assert_eq!(client.refused(Request::Plan(&plan(plan_fields(), 1))), Refusal::Flash);
    assert_ne!(client.phase(), PhaseName::Open);
    let mut flash = client.port.into_flash();
    flash.broken = false;
    let mut client = Client::new(Host::on(flash));
    client.done(Request::Plan(&plan(plan_fields(), 1)));
    client.open();
}

/// What is said of a transfer and of a trial after a particle's header, and how often the flash was erased and written for it.
fn wear(say: impl Fn(&mut Client<Host>, &Particle)) -> (u64, u64) {
    let costs = |say: &dyn Fn(&mut Client<Host>, &Particle)| {
        let particle = Particle::new(1, &[65_536, 5]);
        let mut client = Client::new(Host::on(provisioned()));
        client.done(Request::Plan(&plan(plan_fields(), 1)));
        client.open();
        client.done(Request::Header(&particle.envelope));
        say(&mut client, &particle);
        let flash = client.port.into_flash();
        (flash.erased, flash.steps - flash.erased)
    };
    let (before, after) = (costs(&|_client, _particle| {}), costs(&say));
    (after.0 - before.0, after.1 - before.1)
}

/// No byte is counted for a question: who asks for ever wears no flash out.
#[test]
fn what_costs_no_byte_costs_no_flash() {
    let begin = |client: &mut Client<Host>| client.done(Request::Begin { index: 0, bytes: 65_536 });
    let begun = wear(|client, _particle| {
        for _ in 0..1000 {
            begin(client);
            client.done(Request::Begin { index: 1, bytes: 5 });
        }
    });
    assert_eq!(begun, (16 + 1, 0));
    // A piece is counted: the sector that it was written to is erased for it and no other, and that counts, too.
    let (erased, _words) = wear(|client, particle| {
        let before = client.status().left.down;
        for _ in 0..10 {
            begin(client);
            client.done(Request::Piece { offset: 0, bytes: &particle.chunks[0][..32] });
        }
        assert_eq!(before - client.status().left.down, 10 * 32 + 9 * 4096);
    });
    assert_eq!(erased, 16 + 9);
    let bring = |client: &mut Client<Host>, particle: &Particle| {
        client.bring(particle);
        assert_eq!(client.read(0), particle.bytes());
    };
    let watched = |frames, gain, times| {
        wear(move |client, particle| {
            bring(client, particle);
            for _ in 0..times {
                client.done(Request::Watched { frames, gain });
            }
        })
    };
    let nothing = watched(0, 0, 0);
    assert_eq!((watched(0, 0, 1000), watched(0, 1, 1000)), (nothing, nothing));
    assert!(watched(99, 0, 1).1 > nothing.1, "frames are kept");
}

/// The largest particle there can be, in a slot beside one as large.
#[test]
fn the_largest_particles_have_room() {
    let mut client = Client::new(Host::new());
    let mut fields = plan_fields();
    fields.down_bytes_max = 1 << 24;
    client.done(Request::Plan(&plan(fields, 1)));
    client.open();
    for counter in 1..3 {
        let particle = Particle::new(counter, &[65_536; 20]);
        assert_eq!(client.bring(&particle).len(), 20);
        client.done(Request::Watched { frames: 100, gain: 0 });
        assert!(client.read(counter as u8 - 1) == particle.bytes());
    }
}
