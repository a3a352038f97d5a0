//! One claim a test.

use shoal_window::{
    ASKED_MAX, Ended, RejectSavedTransfer, RejectTransfer, SavedTransfer, Transfer, TransferInput,
    TransferOutput,
};
use shoal_wire::Unverified;

use crate::shell::{PACE, Particle, Shell, keys};

#[test]
fn a_particle_arrives_chunk_by_chunk_in_any_order() {
    let particle = Particle::new(1, 6, 200);
    let mut shell = Shell::with_header(&particle);
    while let Some(index) = shell.topics.last().copied() {
        shell.message(index, &particle.chunks[usize::from(index)]).unwrap();
    }
    assert!(shell.is_complete());
    assert_eq!(shell.stored.into_values().collect::<Vec<_>>(), particle.chunks);
    assert!(!shell.header_topic, "nothing stays subscribed to");
}

#[test]
fn a_header_that_is_known_is_kept_and_not_asked_for() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::new(particle.id());
    let header = Unverified::decode(&particle.envelope).unwrap();
    shell.transfer = Transfer::with_header(&header.verify(&keys()).unwrap(), PACE);
    shell.input(TransferInput::Start).unwrap();
    assert!(!shell.header_topic);
    shell.message(0, &particle.chunks[0]).unwrap();
    shell.power_cut();
    assert_eq!(shell.transfer.progress(), Some((1, 2)));
}

#[test]
fn only_a_few_chunks_are_asked_for_at_a_time() {
    let particle = Particle::new(1, 20, 200);
    let mut shell = Shell::with_header(&particle);
    assert_eq!(shell.topics.len(), ASKED_MAX);
    shell.message(2, &particle.chunks[2]).unwrap();
    assert_eq!(shell.topics.iter().copied().collect::<Vec<_>>(), [0, 1, 3, 4]);
}

#[test]
fn what_is_asked_for_says_what_it_costs() {
    let particle = Particle::new(1, 2, 200);
    let shell = Shell::with_header(&particle);
    assert!(shell.log.contains(&TransferOutput::Ask { index: 1, bytes: 199 }));
}

#[test]
fn a_cut_link_costs_no_chunk_that_arrived() {
    let particle = Particle::new(1, 3, 200);
    let mut shell = Shell::with_header(&particle);
    shell.message(1, &particle.chunks[1]).unwrap();
    shell.begin(0, 200).unwrap();
    shell.piece(&particle.chunks[0][..150]).unwrap();
    shell.input(TransferInput::Cut).unwrap();
    assert_eq!(shell.ended(), Some(Ended::Cut));

    shell.input(TransferInput::Start).unwrap();
    assert_eq!(shell.topics.iter().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(shell.input(TransferInput::End), Err(RejectTransfer::NoChunk));
}

#[test]
fn a_restart_goes_on_where_the_store_is() {
    let particle = Particle::new(1, 3, 200);
    let mut shell = Shell::with_header(&particle);
    shell.message(2, &particle.chunks[2]).unwrap();
    shell.power_cut();
    assert_eq!(shell.transfer.progress(), Some((1, 3)));
    shell.input(TransferInput::Start).unwrap();
    assert!(!shell.header_topic, "the header is known");
    for index in [0, 1] {
        shell.message(index, &particle.chunks[usize::from(index)]).unwrap();
    }
    assert!(shell.is_complete());
}

#[test]
fn a_complete_transfer_is_complete_after_a_restart() {
    let particle = Particle::new(1, 1, 200);
    let mut shell = Shell::with_header(&particle);
    shell.message(0, &particle.chunks[0]).unwrap();
    shell.log.clear();
    shell.power_cut();
    assert_eq!(shell.log, [TransferOutput::Complete]);
}

#[test]
fn nothing_is_left_or_complete_before_it_is_durable() {
    let particle = Particle::new(1, 1, 200);
    let mut shell = Shell::with_header(&particle);
    let now = shell.now();
    shell.begin(0, 200).unwrap();
    shell.piece(&particle.chunks[0]).unwrap();
    shell.transfer.handle_input(now, TransferInput::End).unwrap();
    assert_eq!(shell.transfer.poll_output(), None);
    assert!(shell.transfer.poll_persist().is_some(), "the chunk");
    assert_eq!(shell.transfer.poll_output(), None);
    assert!(shell.transfer.poll_persist().is_some(), "the progress");
    assert_eq!(shell.transfer.poll_output(), Some(TransferOutput::Leave { index: 0 }));
    assert_eq!(shell.transfer.poll_output(), Some(TransferOutput::Complete));
}

#[test]
fn too_little_progress_ends_the_attempt_and_not_the_transfer() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::with_header(&particle);
    shell.message(0, &particle.chunks[0]).unwrap();
    shell.run_to_ms(10_000);
    assert_eq!(shell.ended(), None, "200 bytes came in this period");
    shell.begin(1, 199).unwrap();
    shell.piece(&particle.chunks[1][..99]).unwrap();
    shell.run_to_ms(20_000);
    assert_eq!(shell.ended(), Some(Ended::TooSlow));
    assert!(shell.topics.is_empty(), "nothing more is asked of that link");

    shell.input(TransferInput::Start).unwrap();
    shell.message(1, &particle.chunks[1]).unwrap();
    assert!(shell.is_complete());
}

#[test]
fn a_chunk_that_does_not_come_is_asked_for_again() {
    let particle = Particle::new(1, 6, 200);
    let mut shell = Shell::with_header(&particle);
    for (round, index) in [1, 2, 3].into_iter().enumerate() {
        shell.message(index, &particle.chunks[usize::from(index)]).unwrap();
        shell.log.clear();
        shell.run_to_ms(10_000 * (round as u64 + 1));
        let again = shell.log.contains(&TransferOutput::Ask { index: 0, bytes: 200 });
        assert_eq!(again, round == 1, "asked at 0 s; one whole period is from 10 s to 20 s");
    }
}

#[test]
fn a_chunk_that_is_coming_is_not_asked_for_again() {
    let particle = Particle::new(1, 1, 60_000);
    let mut shell = Shell::with_header(&particle);
    shell.begin(0, 60_000).unwrap();
    for (second, piece) in particle.chunks[0].chunks(100).take(30).enumerate() {
        shell.run_to_ms(second as u64 * 1000);
        shell.piece(piece).unwrap();
    }
    shell.run_to_ms(30_000);
    let asked = shell.log.iter().filter(|output| matches!(output, TransferOutput::Ask { .. }));
    assert_eq!(asked.count(), 1);
}

#[test]
fn after_bytes_that_are_not_the_headers_the_header_is_read_again() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::with_header(&particle);
    let other = Particle::new(2, 2, 200);
    let hash = shell.message(0, &other.chunks[0]);
    assert_eq!(hash, Err(RejectTransfer::Hash { index: 0 }));
    assert!(shell.header_topic);
    assert!(!shell.topics.contains(&0), "no chunk is asked for while the header is in doubt");

    shell.header(&particle).unwrap();
    assert!(shell.topics.contains(&0), "it is the same: ask again");
    shell.message(0, &particle.chunks[0]).unwrap();
}

#[test]
fn a_slot_that_is_overwritten_under_way_is_doubted_once() {
    let (old, new) = (Particle::new(1, 8, 200), Particle::new(2, 8, 200));
    let mut shell = Shell::with_header(&old);
    for index in 0..4 {
        shell.message(index, &new.chunks[usize::from(index)]).unwrap_err();
    }
    assert_eq!(shell.ended(), None, "its header is about to say what happened");
    shell.header(&new).unwrap_err();
    assert_eq!(shell.log.last(), Some(&TransferOutput::Gone));
}

#[test]
fn a_slot_with_another_particle_ends_the_transfer() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::with_header(&particle);
    let other = Particle::new(2, 2, 200);
    shell.message(0, &other.chunks[0]).unwrap_err();
    let gone = RejectTransfer::OtherParticle { got: other.id(), want: particle.id() };
    assert_eq!(shell.header(&other), Err(gone));
    assert_eq!(shell.log.last(), Some(&TransferOutput::Gone));
    assert!(shell.topics.is_empty() && !shell.header_topic);
    shell.input(TransferInput::Start).unwrap();
    assert!(shell.topics.is_empty());
}

#[test]
fn a_duplicate_is_refused_before_it_is_hashed() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::with_header(&particle);
    shell.message(0, &particle.chunks[0]).unwrap();
    assert_eq!(shell.begin(0, 200), Err(RejectTransfer::NotAsked { index: 0 }));
    assert_eq!(shell.piece(&[0]), Err(RejectTransfer::NoChunk));
}

#[test]
fn a_chunk_the_store_lost_is_fetched_again() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::with_header(&particle);
    for (index, chunk) in (0..).zip(&particle.chunks) {
        shell.message(index, chunk).unwrap();
    }
    shell.input(TransferInput::Lost { index: 1 }).unwrap();
    shell.input(TransferInput::Start).unwrap();
    assert_eq!(shell.topics.iter().copied().collect::<Vec<_>>(), [1]);
    shell.log.clear();
    shell.message(1, &particle.chunks[1]).unwrap();
    assert!(shell.is_complete());
}

#[test]
fn a_store_of_another_particle_is_refused() {
    let (one, two) = (Particle::new(1, 2, 200), Particle::new(2, 2, 200));
    let other = RejectSavedTransfer::OtherParticle { got: two.id(), want: one.id() };
    let header = SavedTransfer::decode(one.id(), Some(&two.envelope), None, &keys());
    assert_eq!(header.unwrap_err(), other);

    let mut shell = Shell::with_header(&two);
    shell.message(0, &two.chunks[0]).unwrap();
    let progress = shell.records["transfer/progress"].clone();
    let mixed = SavedTransfer::decode(one.id(), Some(&one.envelope), Some(&progress), &keys());
    assert_eq!(mixed.unwrap_err(), other);
}

#[test]
fn progress_without_its_header_is_refused() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::with_header(&particle);
    shell.message(0, &particle.chunks[0]).unwrap();
    let progress = &shell.records["transfer/progress"];
    let alone = SavedTransfer::decode(particle.id(), None, Some(progress), &keys());
    assert!(matches!(alone, Err(RejectSavedTransfer::Progress { .. })), "{alone:?}");
}

#[test]
fn a_transfer_that_rests_does_nothing() {
    let particle = Particle::new(1, 2, 200);
    let mut shell = Shell::new(particle.id());
    shell.transfer.handle_timeout(shell.now());
    assert_eq!(shell.transfer.poll_output(), None);
    assert_eq!(shell.transfer.poll_timeout(), None);
    assert_eq!(shell.header(&particle), Err(RejectTransfer::HeaderNotAsked));
    let nothing = Transfer::new(particle.id(), PACE);
    assert!(nothing.header().is_none() && nothing.progress().is_none());
}
