//! What holds for every run: a broker that loses, repeats, reorders, cuts and lies, and a store that is cut
//! from power, from a seed that proptest prints.

use proptest::prelude::*;
use shoal_window::{ASKED_MAX, RejectTransfer, Transfer, TransferInput};

use crate::shell::{PACE, Particle, Shell};

#[derive(Clone, Debug)]
enum Step {
    /// One of the topics subscribed to delivers; `at` picks which.
    Deliver {
        at: usize,
    },
    /// Something arrives that nobody may have asked for.
    Stray {
        index: u8,
    },
    /// A chunk of another particle arrives.
    Mixed {
        index: u8,
    },
    /// A message breaks off in the middle.
    Broken {
        at: usize,
        bytes: usize,
    },
    Wait {
        ms: u64,
    },
    Cut,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any::<usize>().prop_map(|at| Step::Deliver { at }),
        1 => any::<u8>().prop_map(|index| Step::Stray { index: index % 40 }),
        1 => any::<u8>().prop_map(|index| Step::Mixed { index: index % 20 }),
        1 => (any::<usize>(), 0..300_usize).prop_map(|(at, bytes)| Step::Broken { at, bytes }),
        2 => (0..12_000_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Cut),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 0..120)
}

/// The topic that delivers, among those subscribed to.
fn asked(shell: &Shell, at: usize) -> Option<u8> {
    let count = shell.topics.len();
    shell.topics.iter().copied().nth(at.checked_rem(count)?)
}

fn run(shell: &mut Shell, particle: &Particle, other: &Particle, step: &Step) {
    match *step {
        Step::Deliver { at } => {
            if shell.header_topic {
                shell.header(particle).unwrap();
            } else if let Some(index) = asked(shell, at) {
                shell.message(index, &particle.chunks[usize::from(index)]).unwrap();
            }
        }
        Step::Stray { index } => {
            let chunk = particle.chunks.get(usize::from(index)).map_or(&[][..], Vec::as_slice);
            let _asked_or_not = shell.message(index, chunk);
        }
        Step::Mixed { index } => {
            let chunk = other.chunks.get(usize::from(index)).map_or(&[][..], Vec::as_slice);
            shell.message(index, chunk).unwrap_err();
        }
        Step::Broken { at, bytes } => {
            if let Some(index) = asked(shell, at) {
                let chunk = &particle.chunks[usize::from(index)];
                shell.begin(index, chunk.len() as u64).unwrap();
                shell.piece(&chunk[..bytes.min(chunk.len() - 1)]).unwrap();
                shell.input(TransferInput::End).unwrap_err();
            }
        }
        Step::Wait { ms } => shell.run_to_ms(shell.ms + ms),
        Step::Cut => shell.input(TransferInput::Cut).unwrap(),
        Step::PowerCut => shell.power_cut(),
    }
}

proptest! {
    #[test]
    fn whatever_happens_what_is_stored_is_the_particle(steps in steps(), chunks in 1..=20_u8) {
        let (particle, other) = (Particle::new(1, chunks, 250), Particle::new(2, chunks, 250));
        let mut shell = Shell::new(particle.id());
        for step in &steps {
            let before = shell.stored.len();
            run(&mut shell, &particle, &other, step);
            prop_assert!(shell.stored.len() >= before, "nothing that arrived is lost");
            prop_assert!(shell.topics.len() <= ASKED_MAX);
            for (index, stored) in &shell.stored {
                prop_assert_eq!(stored, &particle.chunks[usize::from(*index)]);
                prop_assert!(!shell.topics.contains(index), "asked for twice");
            }
            prop_assert_eq!(shell.is_complete(), shell.stored.len() == usize::from(chunks));
            if !shell.is_complete() {
                let _resting_or_not = shell.input(TransferInput::Start);
            }
        }
    }

    #[test]
    fn after_anything_an_honest_broker_ends_it(steps in steps(), chunks in 1..=20_u8) {
        let (particle, other) = (Particle::new(1, chunks, 250), Particle::new(2, chunks, 250));
        let mut shell = Shell::new(particle.id());
        for step in &steps {
            run(&mut shell, &particle, &other, step);
        }
        let missing = usize::from(chunks) - shell.stored.len();
        shell.input(TransferInput::Start).unwrap();
        for _delivery in 0..=missing {
            run(&mut shell, &particle, &other, &Step::Deliver { at: 0 });
        }
        prop_assert!(shell.is_complete());
    }

    /// No index, length or piece can panic it, and none is believed.
    #[test]
    fn no_bytes_panic_it(
        messages in prop::collection::vec(
            (any::<u8>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..400), any::<bool>()),
            0..40,
        ),
        ms in prop::collection::vec(any::<u64>(), 0..40),
    ) {
        let particle = Particle::new(1, 20, 300);
        let mut shell = Shell::with_header(&particle);
        for ((index, bytes, piece, end), ms) in messages.into_iter().zip(ms) {
            let _any = shell.begin(index, bytes);
            let _any = shell.piece(&piece);
            if end {
                prop_assert!(shell.input(TransferInput::End).is_err());
            }
            shell.ms = ms / 1000;
            shell.transfer.handle_timeout(shell.now());
            let _any = shell.input(TransferInput::Lost { index });
            prop_assert!(shell.stored.is_empty());
        }
    }

    #[test]
    fn a_length_is_refused_unless_it_is_the_headers(bytes: u64) {
        prop_assume!(bytes != 300);
        let particle = Particle::new(1, 1, 300);
        let mut shell = Shell::with_header(&particle);
        let refused = RejectTransfer::Length { index: 0, got: bytes, want: 300 };
        prop_assert_eq!(shell.begin(0, bytes), Err(refused));
    }

    #[test]
    fn no_stored_bytes_panic_it(header: Vec<u8>, progress: Vec<u8>) {
        let particle = Particle::new(1, 3, 300);
        let decode = |header, progress| {
            shoal_window::SavedTransfer::decode(particle.id(), header, progress, &crate::shell::keys())
        };
        prop_assert!(decode(Some(&header[..]), None).is_err());
        if let Ok(saved) = decode(Some(&particle.envelope[..]), Some(&progress[..])) {
            let _resumed = Transfer::resume(saved, PACE);
        }
    }
}
