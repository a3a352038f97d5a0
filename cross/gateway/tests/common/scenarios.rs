//! What must hold, told once: each scenario begins with an erased, provisioned gateway.

use shoal_gateway::{
    BytesBoth, Part, PhaseName, Refusal, Request, SlotStatus, TrialName, UtcSeconds, VehicleSays,
};
use shoal_wire::v1::RefusalCode;

use super::client::{Client, Port, READY};
use super::fleet::{
    OTHER_PUBLISHER, Particle, STRANGER, UTC_SECONDS, nonce, plan, plan_fields, sealed,
};

/// Three chunks: of many sectors, of one piece and an odd rest, of a few bytes.
pub(crate) const LENGTHS: [usize; 3] = [20_000, 1_037, 5];

fn record(code: RefusalCode) -> Refusal {
    Refusal::Record { code: code.number() }
}

fn planned<P: Port>(client: &mut Client<P>) {
    client.done(Request::Plan(&plan(plan_fields(), 1)));
    client.open();
}

/// From the first plan to an adapter in use, and a second one that is rolled back.
pub(crate) fn a_full_window<P: Port>(client: &mut Client<P>) {
    let first = Particle::new(1, &LENGTHS);
    assert_eq!(client.refused(Request::Header(&first.envelope)), Refusal::Closed);
    planned(client);
    assert_eq!(client.bring(&first), [0, 1, 2]);
    let on_trial = SlotStatus { active: None, trial: true, sealed: [Some(first.id), None] };
    assert_eq!(client.status().slots, on_trial);
    assert_eq!(client.read(0), first.bytes());

    let second = Particle::new(2, &[4096, 70]);
    assert_eq!(client.refused(Request::Header(&second.envelope)), Refusal::OnTrial);
    client.done(Request::Watched { frames: 100, gain: 7 });
    let status = client.status();
    assert_eq!((status.trial, status.slots.active), (TrialName::Confirmed, Some(0)));

    client.vehicle(READY);
    assert_eq!(client.bring(&second), [0, 1]);
    client.done(Request::Watched { frames: 10, gain: -1001 });
    let rolled_back =
        SlotStatus { active: Some(0), trial: false, sealed: [Some(first.id), Some(second.id)] };
    let status = client.status();
    assert_eq!((status.trial, status.slots), (TrialName::RolledBack, rolled_back));
    assert_eq!(client.read(0), first.bytes(), "what is in use was never touched");
    client.power_cut();
    assert_eq!(client.status().slots, rolled_back);
    client.open();
    let third = Particle::new(3, &[900]);
    assert_eq!(client.bring(&third), [0]);
    client.done(Request::Watched { frames: 10, gain: 3 });
    client.done(Request::Judged { kept: true });
    let status = client.status();
    assert_eq!((status.trial, status.slots.active), (TrialName::Confirmed, Some(1)));
    assert_eq!(client.refused(Request::Judged { kept: false }), Refusal::NoTrial);
    client.done(Request::Used(BytesBoth { up: 100_000, down: 0 }));
    assert!([PhaseName::Closing, PhaseName::Spent].contains(&client.phase()));
    client.done(Request::Drained);
    assert_eq!(client.phase(), PhaseName::Spent);
}

/// Signatures, keys and counters: nothing of what is refused changes anything.
pub(crate) fn a_header_that_is_not_to_be_believed<P: Port>(client: &mut Client<P>) {
    planned(client);
    let particle = Particle::new(5, &LENGTHS);
    for at in [5, 40, 200, particle.envelope.len() - 1] {
        let mut tampered = particle.envelope.clone();
        tampered[at] ^= 0x10;
        let why = client.refused(Request::Header(&tampered));
        assert!(matches!(why, Refusal::Record { .. }), "byte {at}: {why:?}");
    }
    let mut tampered = particle.envelope.clone();
    tampered[200] ^= 1;
    let why = client.refused(Request::Header(&tampered));
    assert_eq!(why, record(RefusalCode::Signature));
    let strange = Particle::signed(6, &LENGTHS, STRANGER);
    let why = client.refused(Request::Header(&strange.envelope));
    assert_eq!(why, record(RefusalCode::UnknownKey));
    let why = client.refused(Request::Plan(&particle.envelope));
    assert!(matches!(why, Refusal::Record { .. }), "{why:?}");
    assert_eq!(client.status().receiving, None);

    client.done(Request::Header(&particle.envelope));
    let older = Particle::new(4, &[10]);
    let why = client.refused(Request::Header(&older.envelope));
    assert_eq!(why, record(RefusalCode::OldCounter));
    let same_counter = Particle::new(5, &[10]);
    let why = client.refused(Request::Header(&same_counter.envelope));
    assert_eq!(why, record(RefusalCode::OldCounter));
    client.power_cut();
    client.open();
    let why = client.refused(Request::Header(&older.envelope));
    assert_eq!(why, record(RefusalCode::OldCounter), "after a reset too");
    // Of another publisher: counters are a key's own.
    let other = Particle::signed(1, &[10], OTHER_PUBLISHER);
    client.bring(&other);
    assert_eq!(client.status().slots.sealed[0], Some(other.id));
}

/// A chunk that is not the header's is taken again, and only from the header.
pub(crate) fn a_flipped_byte<P: Port>(client: &mut Client<P>) {
    planned(client);
    let particle = Particle::new(1, &LENGTHS);
    client.done(Request::Header(&particle.envelope));
    let mut flipped = particle.chunks[0].clone();
    flipped[12_345] ^= 4;
    assert_eq!(client.chunk(0, &flipped), Err(record(RefusalCode::ChunkHash)));
    let heard = client.ask(Request::Status);
    assert!(heard.wants.header, "it asks whether the particle still stands there");
    assert_eq!(client.status().receiving.unwrap().have, 0);
    assert_eq!(client.bring(&particle).len(), 3);
    assert_eq!(client.read(0), particle.bytes());
}

/// What is missing is never made up: a skipped chunk is still wanted, a skipped piece is a gap.
pub(crate) fn a_skipped_chunk<P: Port>(client: &mut Client<P>) {
    planned(client);
    let particle = Particle::new(1, &LENGTHS);
    client.done(Request::Header(&particle.envelope));
    client.chunk(0, &particle.chunks[0]).unwrap();
    client.chunk(2, &particle.chunks[2]).unwrap();
    let heard = client.ask(Request::Status);
    assert_eq!(heard.wants.chunks, 0b010);
    assert_eq!(client.status().slots.sealed, [None, None]);
    assert_eq!(client.refused(Request::Read { slot: 0, part: Part::Header }), Refusal::NoAdapter);
    assert_eq!(client.refused(Request::End), Refusal::NoChunk);
    assert_eq!(client.chunk(0, &particle.chunks[0]), Err(Refusal::NotAsked { index: 0 }));
    assert_eq!(client.chunk(3, &[0; 5]), Err(Refusal::NotAsked { index: 3 }));

    let chunk = &particle.chunks[1];
    client.done(Request::Begin { index: 1, bytes: chunk.len() as u32 });
    let later = Request::Piece { offset: 1024, bytes: &chunk[1024..] };
    assert_eq!(client.refused(later), Refusal::Gap { expected: 0 });
    assert_eq!(
        client.refused(Request::Piece { offset: 0, bytes: &chunk[..33] }),
        Refusal::Piece { bytes: 33 }
    );
    assert_eq!(client.refused(Request::End), Refusal::Length { index: 1 });
    assert_eq!(client.bring(&particle), [1]);
    assert_eq!(client.read(0), particle.bytes());
}

/// After a power cut only what was not durable is asked for again.
pub(crate) fn a_reset_in_the_middle<P: Port>(client: &mut Client<P>) {
    planned(client);
    let particle = Particle::new(1, &LENGTHS);
    client.done(Request::Header(&particle.envelope));
    client.chunk(1, &particle.chunks[1]).unwrap();
    client.done(Request::Needed(BytesBoth { up: 0, down: 20_000 }));
    client.done(Request::Begin { index: 0, bytes: 20_000 });
    client.done(Request::Piece { offset: 0, bytes: &particle.chunks[0][..1024] });
    client.power_cut();
    let receiving = client.status().receiving.unwrap();
    assert_eq!((receiving.particle, receiving.have, receiving.count), (particle.id, 1, 3));
    assert_eq!(client.phase(), PhaseName::NoTime, "a clock does not outlive the power");
    client.open();
    assert_eq!(client.bring(&particle), [0, 2]);
    assert_eq!(client.read(0), particle.bytes());
    client.power_cut();
    assert_eq!(client.status().trial, TrialName::OnTrial);
}

/// More than was announced, than was granted, than a frame holds.
pub(crate) fn endless_data<P: Port>(client: &mut Client<P>) {
    let mut fields = plan_fields();
    fields.down_bytes_max = 24_000;
    client.done(Request::Plan(&plan(fields, 1)));
    client.open();
    let particle = Particle::new(1, &LENGTHS);
    client.done(Request::Header(&particle.envelope));
    assert_eq!(
        client.refused(Request::Begin { index: 0, bytes: 20_000 }),
        Refusal::Budget { left: 3_000 }
    );
    assert_eq!(
        client.refused(Request::Begin { index: 1, bytes: 1_000 }),
        Refusal::Length { index: 1 }
    );
    client.done(Request::Header(&particle.envelope));
    client.done(Request::Begin { index: 1, bytes: 1_037 });
    client.done(Request::Piece { offset: 0, bytes: &[0; 1024] });
    let too_much = Request::Piece { offset: 1024, bytes: &[0; 1024] };
    assert_eq!(client.refused(too_much), Refusal::Length { index: 1 });
    client.done(Request::Header(&particle.envelope));
    client.chunk(0, &particle.chunks[0]).unwrap();
    // The agent said nothing of these bytes: the gateway counted them.
    let left = client.status().left.down;
    assert!(left < 4_000, "{left}");
    let endless = vec![0x55; 5_000];
    client.port.noise(&endless);
    client.port.noise(&[0]);
    assert_eq!(client.status().dropped, 1);
    client.done(Request::Used(BytesBoth { up: 0, down: 30_000 }));
    assert_eq!(client.refused(Request::Header(&Particle::new(2, &[5]).envelope)), Refusal::Closed);
}

/// Noise costs the frame it is in, and a question that is asked twice happens once.
pub(crate) fn garbage_on_the_line<P: Port>(client: &mut Client<P>) {
    planned(client);
    for garbage in [&b"AT+CGMI\r\n\0"[..], &[0xff; 300], &[0], &[1, 2, 0], &[0, 0, 0]] {
        client.port.noise(garbage);
    }
    let frame = client.frame(Request::Status);
    let (start, _rest) = frame.split_at(frame.len() / 2);
    client.port.noise(start);
    client.port.noise(&[0]);
    let before = client.status();
    let frame = client.frame(Request::Used(BytesBoth { up: 1, down: 10 }));
    let answers = [client.port.ask(&frame), client.port.ask(&frame)];
    assert!(answers[0].is_some() && answers[0] == answers[1]);
    assert_eq!(client.status().left.down, before.left.down - 10);
    let mut noise = client.frame(Request::Drained);
    noise[3] ^= 2;
    client.port.noise(&noise);
}

/// What the agent says of the vehicle counts nothing; what is signed keeps the clock from going back.
pub(crate) fn conditions_are_the_vehicles<P: Port>(client: &mut Client<P>) {
    assert_eq!(client.phase(), PhaseName::NoPlan);
    client.done(Request::Plan(&plan(plan_fields(), 3)));
    assert_eq!(client.phase(), PhaseName::NoTime);
    client.vehicle(VehicleSays::Time { seconds: UTC_SECONDS, uncertainty_seconds: 1 });
    client.until(PhaseName::Waiting);
    let why = client.refused(Request::Plan(&plan(plan_fields(), 2)));
    assert_eq!(why, record(RefusalCode::OldCounter));
    let VehicleSays::Conditions {
        external_power, battery_soc_percent, temperature_c, network, ..
    } = READY
    else {
        unreachable!()
    };
    let driving = VehicleSays::Conditions {
        parked: false,
        external_power,
        battery_soc_percent,
        temperature_c,
        network,
    };
    client.vehicle(driving);
    client.port.wait(100);
    assert_eq!(client.phase(), PhaseName::Waiting);
    client.vehicle(READY);
    client.until(PhaseName::Open);
    client.vehicle(driving);
    client.until(PhaseName::Closing);

    client.done(Request::Nonce(&nonce(UTC_SECONDS + 50, 1)));
    client.power_cut();
    client.vehicle(VehicleSays::Time { seconds: UTC_SECONDS, uncertainty_seconds: 1 });
    client.port.wait(100);
    assert_eq!(client.status().utc, UtcSeconds::AtLeast { seconds: UTC_SECONDS + 50 });
    assert_eq!(client.phase(), PhaseName::NoTime, "a clock that is behind what was signed is none");
    let why = client.refused(Request::Nonce(&sealed_by_a_stranger()));
    assert_eq!(why, record(RefusalCode::UnknownKey));
}

fn sealed_by_a_stranger() -> Vec<u8> {
    use shoal_wire::v1::{Nonce, NonceFields};
    let fields = NonceFields { window: 9, nonce: [1; 32], utc_seconds: u64::MAX };
    sealed(&Nonce::new(fields).unwrap(), 9, STRANGER)
}
