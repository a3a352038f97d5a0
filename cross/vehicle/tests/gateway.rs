//! What asks, against the library that is flashed: in virtual time, over a line that loses what it is told to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use embassy_time::Instant;
use shoal_gateway::{
    Decoder, FRAME_BYTES_MAX, LINE_BYTES_MAX, PhaseName, Refusal, Request, Shell, Stack,
    VehicleSays, encode_request, encode_vehicle,
};
use shoal_vehicle::gateway::{Asker, Input, Judged, Sealed, Standing, Tell};
use shoal_window::Bytes;
use shoal_wire::v1::RefusalCode;

#[path = "../../gateway/tests/common/flash.rs"]
mod flash;
#[path = "../../gateway/tests/common/fleet.rs"]
#[expect(dead_code, reason = "its own tests need more of it")]
mod fleet;

use flash::Memory;
use fleet::{Particle, STRANGER, UTC_SECONDS, nonce, plan, plan_fields, sector};

/// A step of the clock.
const STEP_MS: u64 = 10;
/// What the vehicle's line says: it stands, at its charger.
const STANDS: VehicleSays = VehicleSays::Conditions {
    parked: true,
    external_power: true,
    battery_soc_percent: 80,
    temperature_c: 20,
    network: 2,
};
/// Three chunks: of many sectors, of one piece and an odd rest, of a few bytes.
const LENGTHS: [usize; 3] = [20_000, 1_037, 5];

/// A vehicle and its gateway, with the line between them.
struct Both {
    asker: Asker,
    shell: Option<Shell<Memory>>,
    ms: u64,
    /// Of so many frames one is lost, each way; 0: none.
    lost_of: u64,
    frames: u64,
    dead: bool,
    number: u32,
}

impl Both {
    fn new() -> Self {
        let mut flash = Memory::erased();
        flash.bytes[..sector().len()].copy_from_slice(&sector());
        let mut shell = Shell::new(flash);
        shell.start();
        let asker = Asker::new(u16::MAX);
        Both { asker, shell: Some(shell), ms: 0, lost_of: 0, frames: 0, dead: false, number: 0 }
    }

    /// The same with the plan told, and an open window.
    fn open() -> Self {
        let mut both = Both::new();
        both.tell(Tell::Plan(plan(plan_fields(), 1)));
        both.until("an open window", |standing| standing.phase == Some(PhaseName::Open));
        both
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.ms)
    }

    fn tell(&mut self, tell: Tell) {
        self.asker.handle_input(self.now(), Input::Tell(tell));
    }

    fn bring(&mut self, particle: &Particle) -> u32 {
        self.number += 1;
        let (header, chunks) = (particle.envelope.clone(), particle.chunks.clone());
        let (number, particle) = (self.number, particle.id);
        self.tell(Tell::Bring(Sealed { number, particle, header, chunks }));
        self.number
    }

    fn is_lost(&mut self) -> bool {
        self.frames += 1;
        self.dead || self.lost_of > 0 && self.frames.is_multiple_of(self.lost_of)
    }

    fn step(&mut self) {
        self.ms += STEP_MS;
        let now = self.now();
        if self.ms.is_multiple_of(1000) || self.ms == STEP_MS {
            let seconds = UTC_SECONDS + self.ms / 1000;
            self.vehicle(VehicleSays::Time { seconds, uncertainty_seconds: 1 });
            self.vehicle(STANDS);
        }
        let shell = self.shell.as_mut().unwrap();
        if shell.poll_timeout().is_some_and(|at| at <= now) {
            shell.timeout(now);
        }
        self.asker.handle_timeout(now);
        let Some(question) = self.asker.poll_output(now).map(<[u8]>::to_vec) else { return };
        if self.is_lost() {
            return;
        }
        let answer = self.ask(&question);
        if !self.is_lost() {
            // In pieces, as a line has them.
            for piece in answer.chunks(7) {
                self.asker.handle_input(self.now(), Input::Bytes(piece));
            }
        }
    }

    fn ask(&mut self, frame: &[u8]) -> Vec<u8> {
        let now = self.now();
        let agent = self.shell.as_mut().unwrap().agent(now, frame, Stack::default());
        assert_eq!(agent.taken, frame.len());
        agent.reply.unwrap_or_default().to_vec()
    }

    fn vehicle(&mut self, says: VehicleSays) {
        let (mut message, mut line) = ([0; 64], [0; LINE_BYTES_MAX]);
        let frame = encode_vehicle(says, &mut message, &mut line).unwrap();
        let now = self.now();
        self.shell.as_mut().unwrap().vehicle(now, frame);
    }

    fn power_cut(&mut self) {
        let flash = self.shell.take().unwrap().into_flash().power_on();
        let mut shell = Shell::new(flash);
        shell.start();
        self.shell = Some(shell);
    }

    fn until(&mut self, what: &str, is_it: impl Fn(&Standing) -> bool) -> Standing {
        for _step in 0..50_000 {
            self.step();
            if is_it(self.asker.standing()) {
                return self.asker.standing().clone();
            }
        }
        panic!("{what}: {:?}", self.asker.standing());
    }

    fn brought(&mut self, number: u32) -> Result<(), Refusal> {
        let is_it = |standing: &Standing| {
            standing.brought.is_some_and(|(brought, _result)| brought == number)
        };
        self.until("what came of it", is_it).brought.unwrap().1
    }

    /// Bytes down that the window has left.
    fn left(&mut self) -> u64 {
        let (mut message, mut line) = ([0; FRAME_BYTES_MAX], [0; LINE_BYTES_MAX]);
        let frame = encode_request(9, Request::Status, &mut message, &mut line).unwrap().to_vec();
        let answer = self.ask(&frame);
        let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
        decoder.push(&answer);
        let reply = shoal_gateway::decode_reply(decoder.message().unwrap()).unwrap();
        let shoal_gateway::Answer::Status(status) = reply.answer else { panic!("{reply:?}") };
        status.left.down
    }
}

fn judged(kept: bool, frames: u32, gain: i64) -> Tell {
    Tell::Judged(Judged { kept, frames, gain })
}

#[test]
fn a_vehicle_exchanges_while_its_gateway_has_the_window_open() {
    let mut both = Both::new();
    let standing = both.until("an answer", |standing| standing.phase.is_some());
    assert_eq!(standing.phase, Some(PhaseName::NoPlan));
    assert!(standing.joins() && !standing.exchanges(), "a plan is to be had nowhere else");

    both.tell(Tell::Plan(plan(plan_fields(), 1)));
    let standing = both.until("an open window", |standing| standing.exchanges());
    assert_eq!(standing.refused, None);
    both.tell(Tell::Nonce(nonce(UTC_SECONDS, 1)));
    both.tell(Tell::Plan(plan(plan_fields(), 0)));
    let standing = both.until("a refusal", |standing| standing.refused.is_some());
    let old = Refusal::Record { code: RefusalCode::OldCounter.number() };
    assert_eq!((standing.refused, standing.phase), (Some(old), Some(PhaseName::Open)));

    both.dead = true;
    let (since, standing) = (both.ms, both.until("silence", |standing| standing.phase.is_none()));
    assert!(!standing.joins() && !standing.exchanges());
    assert!((9_000..=11_000).contains(&(both.ms - since)), "{}", both.ms - since);
    both.dead = false;
    both.until("an open window", |standing| standing.exchanges());
    both.power_cut();
    both.until("a gateway that starts", |standing| !standing.exchanges());
}

#[test]
fn what_was_used_counts_once_whatever_the_line_loses() {
    let mut both = Both::open();
    let before = both.left();
    both.lost_of = 3;
    for _time in 0..40 {
        both.tell(Tell::Used(Bytes { up: 3, down: 100 }));
        for _step in 0..20 {
            both.step();
        }
    }
    both.lost_of = 0;
    for _step in 0..200 {
        both.step();
    }
    // It counts what is granted, which grows with what is used.
    let used = before - both.left();
    assert!((1..=4_000).contains(&used), "{used}");
    both.tell(Tell::Used(Bytes { up: 0, down: 10_000_000 }));
    both.until("a window whose bytes are used up", |standing| {
        matches!(standing.phase, Some(PhaseName::Closing | PhaseName::Spent))
    });
    both.tell(Tell::Drained);
    both.until("a window that is over", |standing| standing.phase == Some(PhaseName::Spent));
}

#[test]
fn a_particle_is_brought_over_a_bad_line_and_a_gateway_that_starts_anew() {
    for lost_of in [0, 3, 5, 7] {
        let mut both = Both::open();
        both.lost_of = lost_of;
        let particle = Particle::new(1, &LENGTHS);
        let number = both.bring(&particle);
        for _step in 0..500 {
            both.step();
        }
        both.power_cut();
        assert_eq!(both.brought(number), Ok(()), "one of {lost_of}");
        let standing = both.until("a trial", |standing| standing.on_trial.is_some());
        assert_eq!(standing.on_trial, Some(particle.id));
        // Once more: it is there.
        let number = both.bring(&particle);
        assert_eq!(both.brought(number), Ok(()));
    }
}

#[test]
fn what_became_of_it_is_told_and_the_next_one_may_come() {
    let mut both = Both::open();
    let [first, second, third, fourth] =
        [1, 2, 3, 4].map(|counter| Particle::new(counter, &[4_096, 70]));
    let no_trial = |standing: &Standing| standing.on_trial.is_none();
    let trial = |both: &mut Both, particle: &Particle| {
        let number = both.bring(particle);
        assert_eq!(both.brought(number), Ok(()));
        let id = Some(particle.id);
        both.until("a trial", |standing| standing.on_trial == id);
    };
    trial(&mut both, &first);
    // Fewer frames than the gateway itself would watch: the campaign decides.
    both.tell(judged(true, 40, 12));
    assert_eq!(both.until("no trial", no_trial).rolled_back, None);
    trial(&mut both, &second);
    both.tell(judged(false, 40, 12));
    assert_eq!(both.until("no trial", no_trial).rolled_back, Some(second.id));
    trial(&mut both, &third);
    // It loses more than the gateway bears.
    both.tell(judged(true, 40, -1_001));
    assert_eq!(both.until("no trial", no_trial).rolled_back, Some(third.id));
    // Whose trial nobody ended is over when the next one is to be tried.
    trial(&mut both, &fourth);
    trial(&mut both, &Particle::new(5, &[700]));
}

#[test]
fn what_the_gateway_does_not_believe_is_not_taken() {
    let mut both = Both::open();
    let strange = Particle::signed(1, &LENGTHS, STRANGER);
    let number = both.bring(&strange);
    let unknown = Refusal::Record { code: RefusalCode::UnknownKey.number() };
    assert_eq!(both.brought(number), Err(unknown));
    let mut tampered = Particle::new(1, &LENGTHS);
    tampered.chunks[0][777] ^= 1;
    let number = both.bring(&tampered);
    let hash = Refusal::Record { code: RefusalCode::ChunkHash.number() };
    assert_eq!(both.brought(number), Err(hash));
    let mut short = Particle::new(1, &LENGTHS);
    short.chunks.pop();
    let number = both.bring(&short);
    assert_eq!(both.brought(number), Err(Refusal::NotAsked { index: 2 }));
    assert_eq!(both.asker.standing().on_trial, None);
    // One that takes its place on the way.
    both.bring(&Particle::new(1, &LENGTHS));
    for _step in 0..5 {
        both.step();
    }
    let number = both.bring(&Particle::new(2, &LENGTHS));
    assert_eq!(both.brought(number), Ok(()));
}

#[test]
fn a_gateway_without_a_provision_lets_nothing_happen() {
    let mut both = Both::new();
    let mut shell = Shell::new(Memory::erased());
    shell.start();
    both.shell = Some(shell);
    let standing = both.until("a refusal", |standing| standing.refused.is_some());
    assert_eq!(standing.refused, Some(Refusal::NotProvisioned));
    assert!(!standing.joins() && !standing.exchanges());
}

#[test]
fn noise_and_answers_to_others_are_none() {
    let mut asker = Asker::new(7);
    let asked = asker.poll_output(Instant::MIN).unwrap().to_vec();
    for noise in [&b"AT+CGMI\r\n\0"[..], &[0xff; 3000], &[0], &[1, 2, 0], &asked] {
        asker.handle_input(Instant::MIN, Input::Bytes(noise));
        assert_eq!(asker.standing(), &Standing::default());
    }
    assert!(asker.poll_output(Instant::MIN).is_none(), "it waits for the answer");
    let later = Instant::from_secs(1);
    assert_eq!(asker.poll_output(later).unwrap(), asked, "and asks the same again");
}
