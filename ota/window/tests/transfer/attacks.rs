//! Attacks by their names in TUF and Uptane: `tests/data/<attack>/script.txt` says what a broker or a publisher
//! does and how each step is answered.

use shoal_window::{Ended, RejectTransfer, TransferInput, TransferOutput};

use crate::shell::{Particle, Shell};

/// Bytes of a chunk, before its index is taken off.
const CHUNK_BYTES: usize = 1000;

/// The answer to one line: the error by its name, else what is new in the log, else `ok`.
fn answer(shell: &mut Shell, words: &[&str]) -> String {
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let particle = |at: usize| Particle::new(number(at) as u8, 3, CHUNK_BYTES);
    shell.log.clear();
    let result = match words[0] {
        "start" => shell.input(TransferInput::Start),
        "cut" => shell.input(TransferInput::Cut),
        "header" => shell.header(&particle(1)),
        // chunk INDEX of PARTICLE
        "chunk" => {
            let index = number(1) as u8;
            let bytes = particle(3).chunks[usize::from(index) % 3].clone();
            shell.message(index, &bytes)
        }
        "begin" => shell.begin(number(1) as u8, number(2)),
        "piece" => shell.piece(&vec![0; number(1) as usize]),
        "end" => shell.input(TransferInput::End),
        "seconds" => {
            shell.run_to_ms(shell.ms + 1000 * number(1));
            Ok(())
        }
        other => panic!("no step {other}"),
    };
    let error = result.err().map(|reject| name(&reject));
    let told = shell.log.iter().filter_map(|output| match output {
        TransferOutput::Ended(Ended::Cut) => Some("ended: cut"),
        TransferOutput::Ended(Ended::TooSlow) => Some("ended: too slow"),
        TransferOutput::Ended(Ended::Mismatch) => Some("ended: mismatch"),
        TransferOutput::Complete => Some("complete"),
        TransferOutput::Gone => Some("gone"),
        TransferOutput::AskHeader
        | TransferOutput::LeaveHeader
        | TransferOutput::Ask { .. }
        | TransferOutput::Leave { .. } => None,
    });
    let answers: Vec<&str> = error.into_iter().chain(told).collect();
    if answers.is_empty() { "ok".to_owned() } else { answers.join(", ") }
}

fn name(reject: &RejectTransfer) -> &'static str {
    match reject {
        RejectTransfer::HeaderNotAsked => "HeaderNotAsked",
        RejectTransfer::OtherParticle { .. } => "OtherParticle",
        RejectTransfer::TooMany { .. } => "TooMany",
        RejectTransfer::NotAsked { .. } => "NotAsked",
        RejectTransfer::Length { .. } => "Length",
        RejectTransfer::TooLong { .. } => "TooLong",
        RejectTransfer::Hash { .. } => "Hash",
        RejectTransfer::NoChunk => "NoChunk",
    }
}

/// Plays a script against the transfer of particle 1; every line is `step => answer`.
fn play(script: &str) {
    let mut shell = Shell::new(Particle::new(1, 3, CHUNK_BYTES).id());
    let lines = script.lines().enumerate();
    let steps = lines.filter(|(_index, line)| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for (index, line) in steps {
        let (step, expected) = line.split_once(" => ").unwrap();
        let words: Vec<&str> = step.split_whitespace().collect();
        assert_eq!(answer(&mut shell, &words), expected.trim(), "line {}: {step}", index + 1);
        count += 1;
    }
    assert!(count > 0, "an empty script");
}

#[test]
fn endless_data_is_refused() {
    play(include_str!("../data/endless-data/script.txt"));
}

#[test]
fn mix_and_match_is_refused() {
    play(include_str!("../data/mix-and-match/script.txt"));
}

#[test]
fn rollback_is_refused() {
    play(include_str!("../data/rollback/script.txt"));
}

#[test]
fn a_freeze_ends_the_attempt() {
    play(include_str!("../data/freeze/script.txt"));
}

#[test]
fn slow_retrieval_ends_the_attempt() {
    play(include_str!("../data/slow-retrieval/script.txt"));
}

#[test]
fn a_withheld_chunk_costs_no_other() {
    play(include_str!("../data/withheld-chunk/script.txt"));
}
