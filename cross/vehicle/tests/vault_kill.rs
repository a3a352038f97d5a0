//! `kill -9` at random moments: the vault keeps every change that it acknowledged, and no half of one.
//!
//! This program starts itself as a child that changes a vault and says so, kills it with SIGKILL, opens
//! the vault and compares it with what the child said. `SHOAL_VAULT_KILLS` kills more often.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_vehicle::exchange::vault::{KeptRecord, Vault};

const NAME: &str = "killed_vault_keeps_every_change_it_acknowledged";
const CHILD_FOLDER: &str = "SHOAL_VAULT_KILL_FOLDER";
const KILLS: &str = "SHOAL_VAULT_KILLS";

/// Blobs and records that are kept: older ones are removed.
const KEPT: u64 = 6;

fn main() {
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        child(Path::new(&folder));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = io::stdout();
    if arguments.iter().any(|argument| argument == "--list") {
        writeln!(out, "{NAME}: test").unwrap();
    } else if arguments.iter().all(|argument| argument.starts_with('-') || NAME.contains(argument))
    {
        let kills = std::env::var(KILLS).map_or(24, |kills| kills.parse().unwrap());
        let seen = killed_vault_keeps_every_change_it_acknowledged(kills);
        writeln!(out, "test {NAME} ... ok ({kills} kills: {seen:?})").unwrap();
    }
}

/// Where the kills hit.
#[derive(Debug, Default)]
struct Seen {
    /// Changes acknowledged before the kills, in all.
    acknowledged: u64,
    /// While a change was being made: begun and not acknowledged.
    while_changing: u32,
    /// Of those: it is there, only the acknowledgement was cut off.
    committed: u32,
    /// Of those: half a file was left.
    left_partial: u32,
}

/// What the vault must hold after this many steps: one step is one change, and says its number.
fn model(steps: u64) -> BTreeMap<&'static str, Vec<u64>> {
    let newest = |kind: u64| (0..steps).rev().find(|step| step % 5 == kind);
    let last = |kind: u64| {
        let mut all: Vec<u64> = (0..steps).filter(|step| step % 5 == kind).collect();
        all.drain(..all.len().saturating_sub(KEPT as usize));
        all
    };
    BTreeMap::from([
        ("value", newest(0).into_iter().collect()),
        ("records", last(1)),
        ("utc", newest(2).into_iter().collect()),
        ("blobs", last(3)),
    ])
}

fn holds(vault: &mut Vault, steps: u64) -> BTreeMap<&'static str, Vec<u64>> {
    let number = |bytes: Vec<u8>| {
        let step = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, bytes_of(step), "what was written, whole");
        step
    };
    let value = vault.get("value").unwrap().map(number);
    let records =
        vault.records().unwrap().into_iter().map(|KeptRecord { window, topic, bytes }| {
            assert_eq!((window, topic), (7, "topic".into()));
            number(bytes)
        });
    let utc = vault.utc_at_least().unwrap().checked_sub(1);
    let mut blobs = Vec::new();
    for step in (0..steps).filter(|step| step % 5 == 3) {
        blobs.extend(vault.blob(&Sha256::digest(bytes_of(step)).into()).unwrap().map(number));
    }
    BTreeMap::from([
        ("value", value.into_iter().collect()),
        ("records", records.collect()),
        ("utc", utc.into_iter().collect()),
        ("blobs", blobs),
    ])
}

/// Its number, and some that follow from it.
fn bytes_of(step: u64) -> Vec<u8> {
    let rest = (0..400_000).map(|at: u64| (at * 13 + step * 5) as u8);
    step.to_le_bytes().into_iter().chain(rest).collect()
}

fn killed_vault_keeps_every_change_it_acknowledged(kills: u32) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let (mut steps, mut counter) = (0, 0);
    for kill in 0..kills {
        let mut draws = Draws::new(Purpose::Tuning, 4, kill.into(), 0);
        let acknowledged = run_and_kill(dir.path(), steps, &mut draws);
        steps += acknowledged.done;
        seen.acknowledged += acknowledged.done;
        for given in acknowledged.counters {
            assert!(given > counter, "kill {kill}: {given} after {counter}");
            counter = given;
        }
        let mut vault = Vault::open(dir.path()).unwrap();
        assert!(vault.found().set_aside.is_none(), "kill {kill}: {:?}", vault.found());
        let now = holds(&mut vault, steps + 1);
        // Sweeping and forgetting come after a step's own change: either may be under way.
        let with_older = |step: u64| {
            let mut model = model(step);
            let kind = (step - 1) % 5;
            let list = match kind {
                1 => model.get_mut("records").unwrap(),
                3 => model.get_mut("blobs").unwrap(),
                _ => return model,
            };
            if let Some(older) = list[0].checked_sub(5).filter(|_| list.len() == KEPT as usize) {
                list.insert(0, older);
            }
            model
        };
        if acknowledged.under_way {
            seen.while_changing += 1;
            seen.left_partial += u32::from(vault.found().partial > 0);
            if now == model(steps + 1) || now == with_older(steps + 1) {
                seen.committed += u32::from(now != model(steps));
                // The next child does it again, which is no change.
            } else {
                assert_eq!(now, model(steps), "kill {kill}");
            }
        } else {
            assert_eq!(now, model(steps), "kill {kill}");
        }
    }
    // The kills have to hit the vault at work, or they prove nothing.
    assert!(seen.while_changing >= kills / 2 && seen.acknowledged > u64::from(kills), "{seen:?}");
    assert!(0 < seen.committed && seen.committed < seen.while_changing, "{seen:?}");
    seen
}

/// What a child said before it was killed.
#[derive(Default)]
struct Acknowledged {
    done: u64,
    under_way: bool,
    counters: Vec<u64>,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("begin", _)) => self.under_way = true,
            Some(("counter", counter)) => self.counters.push(counter.parse().unwrap()),
            Some(("done", _)) => {
                self.done += 1;
                self.under_way = false;
            }
            Some(_) | None => panic!("the child said {line:?}"),
        }
    }
}

/// Starts a child, waits for some acknowledgements and a random time more, and kills it.
fn run_and_kill(folder: &Path, from: u64, draws: &mut Draws) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD_FOLDER, folder)
        .env("SHOAL_VAULT_KILL_FROM", from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = listen(&mut child);
    let mut heard = Acknowledged::default();
    let wait_for = draws.index(7) as u64;
    while heard.done < wait_for || !heard.under_way {
        heard.hear(&lines.recv_timeout(Duration::from_secs(60)).expect("the child goes on"));
    }
    // Some moment within this change, or within a later one on a disk that is faster than the wait.
    loop {
        match lines.recv_timeout(Duration::from_secs_f32(draws.between(0.0, 0.02))) {
            Ok(line) => heard.hear(&line),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
        }
        if heard.done > wait_for + 60 {
            break;
        }
    }
    child.kill().unwrap(); // SIGKILL
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    lines.iter().for_each(|line| heard.hear(&line));
    heard
}

/// The child's lines as they come. A line cut in the middle was not said.
fn listen(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        loop {
            let mut line = String::new();
            match out.read_line(&mut line) {
                Ok(_) if line.ends_with('\n') => {
                    if sender.send(line.trim_end().into()).is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    });
    lines
}

/// Changes the vault and says so until it is killed.
fn child(folder: &Path) -> ! {
    let mut vault = Vault::open(folder).unwrap();
    let from = std::env::var("SHOAL_VAULT_KILL_FROM").unwrap().parse().unwrap();
    let mut out = io::stdout();
    let mut say = |line: String| writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    for step in from.. {
        let bytes = bytes_of(step);
        say(format!("begin {step}"));
        match step % 5 {
            0 => vault.put("value", &bytes).unwrap(),
            1 => {
                vault.keep_record(7, "topic", &bytes).unwrap();
                let old = |record: &KeptRecord| {
                    let kept = u64::from_le_bytes(record.bytes[..8].try_into().unwrap());
                    kept + 5 * KEPT <= step
                };
                vault.forget_records(old).unwrap();
            }
            2 => vault.accept_utc(step + 1).unwrap(),
            3 => {
                vault.keep_blob(&bytes).unwrap();
                let kept = (0..=step).rev().filter(|step| step % 5 == 3).take(KEPT as usize);
                let kept = kept.map(|step| Sha256::digest(bytes_of(step)).into()).collect();
                vault.sweep(&kept).unwrap();
            }
            _ => say(format!("counter {}", vault.counter(0).unwrap())),
        }
        say(format!("done {step}"));
    }
    unreachable!("it is killed before")
}
