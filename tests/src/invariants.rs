//! What holds for a vehicle however its programs and its computer ended.

use std::collections::BTreeMap;

use shoal_swarm::inbox::{Record, read};
use shoal_vehicle::exchange::log::{RerunError, Signers, Values, kept, rerun, runs};
use shoal_vehicle::exchange::vault::Vault;
use shoal_wire::{KeyId, Keys, Kind, PublicKey, Topic};

use crate::fleet::Fleet;
use crate::observer::Observer;

/// The keys of vehicles that run.
pub(crate) struct Vehicles(pub(crate) Vec<PublicKey>);

impl Keys for Vehicles {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        self.0.iter().find(|key| key.id() == id).copied()
    }
}

/// Every window has one line at most, the earlier first.
///
/// # Panics
/// When that is not so.
pub fn no_window_is_counted_twice(fleet: &Fleet, number: u32) {
    let lines = fleet.windows(number);
    let windows: Vec<u64> =
        lines.iter().map(|line| line["window"].as_u64().expect("a whole record")).collect();
    assert!(windows.is_sorted_by(|one, next| one < next), "{windows:?}");
}

/// What was heard of one signer so far.
#[derive(Debug, Default)]
pub struct Heard {
    of_counter: BTreeMap<u64, Vec<u8>>,
    of_topic: BTreeMap<String, u64>,
    said: BTreeMap<String, String>,
}

impl Heard {
    /// How many records.
    pub fn count(&self) -> usize {
        self.of_counter.len()
    }

    /// All claims, votes, particles and nonces, by what they are and of which window.
    pub fn said(&self) -> impl Iterator<Item = (&str, &str)> {
        self.said.iter().map(|(what, body)| (what.as_str(), body.as_str()))
    }

    /// One more record at this topic: no number is used for two records, none is lower than an earlier one at its topic, and
    /// nothing is said twice and differently. The same again is no news: a broker that was killed may tell what it told
    /// before, and so may a vehicle.
    ///
    /// # Panics
    /// When that is not so.
    pub fn hear(&mut self, text: &str, bytes: &[u8], record: &Record<'_>) {
        let counter = record.head().counter;
        if let Some(before) = self.of_counter.insert(counter, bytes.to_vec()) {
            assert_eq!(before, bytes, "{text}: counter {counter}");
            return;
        }
        let before = self.of_topic.insert(text.to_owned(), counter);
        assert!(before <= Some(counter), "{text}: {counter} after {before:?}");
        let (what, body) = match record {
            Record::Claim(claim) => {
                let fields = claim.body().fields();
                (format!("claim {}", fields.window), format!("{fields:?}"))
            }
            Record::Vote(vote) => {
                let fields = vote.body().fields();
                (format!("vote {} {}", fields.window, fields.place), format!("{fields:?}"))
            }
            Record::ParticleHeader(header) => {
                let fields = header.body().fields();
                (format!("{:?} {}", fields.role, fields.window), format!("{fields:?}"))
            }
            Record::Nonce(nonce) => {
                let fields = nonce.body().fields();
                (format!("nonce {}", fields.window), format!("{fields:?}"))
            }
            Record::Presence(_)
            | Record::WindowPlan(_)
            | Record::Roster(_)
            | Record::RosterPage(_)
            | Record::UtilityDocument(_)
            | Record::SwarmDocument(_)
            | Record::Refusal(_)
            | Record::Document(_) => return,
        };
        assert_eq!(self.said.entry(what.clone()).or_insert(body.clone()), &body, "{text}: {what}");
    }
}

/// What a vehicle signed, as [`Heard::hear`] says. How many claims, votes, particles and nonces it was.
///
/// # Panics
/// When that is not so.
pub fn no_record_contradicts_another(fleet: &Fleet, number: u32, observer: &Observer) -> usize {
    let keys = Vehicles(vec![fleet.key(number).public()]);
    let mut heard = Heard::default();
    for (text, bytes) in observer.seen() {
        let Ok(topic) = Topic::decode(&text) else { continue };
        let Ok(record) = read(&topic, &bytes, &keys) else { continue };
        heard.hear(&text, &bytes, &record);
    }
    heard.said.len()
}

/// Fresh cores say what those of the vehicle said in the life that has just ended. How many lives it had.
///
/// # Panics
/// When that is not so.
pub fn the_log_reruns(fleet: &Fleet, number: u32) -> usize {
    let (lives, outputs) = the_log_agrees(fleet, number);
    assert!(outputs > 0, "it said something");
    lives
}

/// The same of what a cut of power has left of the log: its end may be gone. How many lives it had, and what the cores
/// said in the last.
///
/// # Panics
/// When that is not so.
pub fn the_log_agrees(fleet: &Fleet, number: u32) -> (usize, usize) {
    reran(fleet, number).expect("a whole log")
}

/// The same, as far as it can be said: whether all that the log names was kept.
///
/// # Panics
/// When that is not so.
pub fn the_log_agrees_if_all_is_there(fleet: &Fleet, number: u32) -> bool {
    match reran(fleet, number) {
        Err(RerunError::Missing { .. }) => false,
        done => done.map(|_lives_and_outputs| true).expect("a whole log"),
    }
}

fn reran(fleet: &Fleet, number: u32) -> Result<(usize, usize), RerunError> {
    let folder = fleet.vehicle_path(number).join("state/exchange");
    let mut vault = Vault::open(&folder).expect("a whole record");
    let signers = Signers::of(&fleet.told(number), &vault).expect("its own keys");
    let values = |values: &Values, header: Option<&_>| {
        kept(&mut vault, values, header).expect("a whole record")
    };
    let log = folder.join("log");
    let runs = runs(&log).expect("a whole record");
    let last = *runs.last().expect("it ran");
    let again = rerun(&log, last, &signers, values, &mut |_step| {})?;
    assert_eq!(again.difference, None);
    Ok((runs.len(), again.outputs))
}
