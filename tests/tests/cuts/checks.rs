//! What must hold, seen from outside: by what stands and passes on the broker, by what vehicles leave on their disks and say in
//! their logs, by what crosses the network. The same as in the fleet in virtual time (tests/protocol), as far as it can be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;
use shoal_swarm::inbox::read;
use shoal_tests::fleet::say;
use shoal_tests::invariants::{Heard, no_window_is_counted_twice};
use shoal_vehicle::exchange::vault::Vault;
use shoal_wire::{KeyId, Keys, Kind, PublicKey, Topic};
use tempfile::TempDir;

use crate::draw::{PERIOD_S, Target, VEHICLES};
use crate::stage::{DOWN_BYTES_MAX, Stage, UP_BYTES_MAX, name, targets};

/// What joining may cost beside a window's budget (the vehicle's `JOINING`).
const JOINING_UP_BYTES: u64 = 64 << 10;
const JOINING_DOWN_BYTES: u64 = 4 << 20;

/// What a program says that has lost something which it had acknowledged.
const LOST: [&str; 5] = [
    "the vault was damaged and begins anew",
    "the window begins anew",
    "the swarm begins anew",
    "the slots begin anew",
    "what was tuned is of no use",
];

/// What was seen so far.
pub(crate) struct Checks {
    keys: Everybody,
    seen: usize,
    heard: BTreeMap<(KeyId, String), Heard>,
    read: BTreeMap<Target, u64>,
    /// What each vehicle said that it began windows with; the last that it said of each.
    began: BTreeMap<usize, BTreeMap<u64, Began>>,
    /// Moves to what others had found.
    pub(crate) moves: u64,
    /// Forged records that were refused aloud.
    pub(crate) refused: u64,
    /// Who was in quarantine anywhere, and in which windows.
    pub(crate) quarantined: BTreeMap<String, BTreeSet<u64>>,
    /// What was best at any time.
    pub(crate) bests: BTreeSet<String>,
}

/// What a vehicle begins a window with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Began {
    pub(crate) best: String,
    worst: String,
    quarantined: String,
}

impl Checks {
    pub(crate) fn new(stage: &Stage) -> Self {
        Self {
            keys: Everybody::of(stage),
            seen: 0,
            heard: BTreeMap::new(),
            read: BTreeMap::new(),
            began: BTreeMap::new(),
            moves: 0,
            refused: 0,
            quarantined: BTreeMap::new(),
            bests: BTreeSet::new(),
        }
    }

    /// Genuine records that the observer heard.
    pub(crate) fn records(&self) -> usize {
        self.heard.values().map(Heard::count).sum()
    }

    /// After every cut.
    ///
    /// # Panics
    /// When something does not hold.
    pub(crate) fn after(&mut self, stage: &Stage) {
        for (text, bytes) in stage.observer.seen_after(self.seen) {
            self.seen += 1;
            let Ok(topic) = Topic::decode(&text) else { continue };
            let Ok(record) = read(&topic, &bytes, &self.keys) else { continue };
            // A vehicle has one counter; who signs documents and nonces has one for each place.
            let signer = record.head().key;
            let place = if self.keys.is_vehicle(signer) { String::new() } else { text.clone() };
            self.heard.entry((signer, place)).or_default().hear(&text, &bytes, &record);
        }
        for target in targets() {
            let from = self.read.get(&target).copied().unwrap_or(0);
            let (said, to) = stage.said_after(target, from);
            self.read.insert(target, to);
            for line in said.lines() {
                let who = name(target);
                assert!(!line.contains("panicked at"), "{who} panicked: {line}");
                if let (Target::Vehicle(number), Ok(line)) = (target, serde_json::from_str(line)) {
                    self.says(number, &line);
                }
            }
        }
        (0..VEHICLES).for_each(|number| budget_is_kept(stage, number));
    }

    /// All claims and votes of these windows, for who looks for the reason of a quarantine.
    fn said_in(&self, windows: RangeInclusive<u64>) -> String {
        let all = self.heard.iter().flat_map(|((signer, _), heard)| {
            heard.said().map(move |(what, body)| (signer, what, body))
        });
        let lines = all.filter(|(_, what, _)| {
            let mut words = what.split(' ');
            let spoken = words.next().is_some_and(|kind| ["claim", "vote"].contains(&kind));
            let of = words.next().and_then(|window| window.parse().ok());
            spoken && of.is_some_and(|of| windows.contains(&of))
        });
        lines.map(|(signer, what, body)| format!("  {signer} {what}: {body}\n")).collect()
    }

    fn says(&mut self, number: usize, line: &Value) {
        let fields = &line["fields"];
        let message = fields["message"].as_str().unwrap_or_default();
        assert!(line["level"] != "ERROR", "vehicle {number}: {line}");
        assert!(!LOST.contains(&message), "vehicle {number} has lost something: {line}");
        match message {
            "moved" => {
                self.moves += 1;
                let gain = fields["gain"].as_f64();
                assert!(
                    gain >= Some(0.0),
                    "vehicle {number} moved to what it measured as worse: {line}"
                );
            }
            "refused" => self.refused += 1,
            "began" => {
                let text = |field: &str| fields[field].as_str().unwrap_or_default().to_owned();
                let (best, worst) = (text("best"), text("worst"));
                let began = Began { best, worst, quarantined: text("quarantined") };
                // A claim is held against what others measured on another part of the pack. With a model and a pack so small an
                // honest one can be off by more than its error, without a single cut: it is told, and all must say the same.
                if let (false, Some(window)) =
                    (began.quarantined == "{}", fields["window"].as_u64())
                {
                    let spell = self.quarantined.entry(began.quarantined.clone()).or_default();
                    if spell.insert(window) && spell.len() == 1 {
                        let all = self.said_in(window.saturating_sub(3)..=window);
                        say(&format!(
                            "{window}: at {number} {} is in quarantine:\n{all}",
                            began.quarantined
                        ));
                    }
                }
                if began.best.starts_with("Some") {
                    self.bests.insert(began.best.clone());
                }
                if let Some(window) = fields["window"].as_u64() {
                    self.began.entry(number).or_default().insert(window, began);
                }
            }
            _ => {}
        }
    }

    /// The newest window after this one that all began, and the one before it, if they began both with the same.
    pub(crate) fn agreed(&self, after: u64) -> Option<(u64, Began)> {
        let window = (0..VEHICLES)
            .map(|number| self.began.get(&number).and_then(|began| began.keys().next_back()))
            .min()??;
        let all = |window: u64| -> Option<Began> {
            let mut all = (0..VEHICLES).map(|number| self.began.get(&number)?.get(&window));
            let first = all.next()??;
            all.all(|other| other == Some(first)).then(|| first.clone())
        };
        let (before, last) = (all(window.checked_sub(1)?)?, all(*window)?);
        let elected = before.best.starts_with("Some") && last.best.starts_with("Some");
        (*window > after + 1 && elected).then_some((*window, last))
    }

    /// What each began its last windows with, for who looks for the reason of a disagreement.
    pub(crate) fn known(&self) -> String {
        let last = |began: &BTreeMap<u64, Began>| {
            began
                .iter()
                .rev()
                .take(4)
                .map(|(window, began)| format!("\n  {window}: {began:?}"))
                .collect()
        };
        let all = self.began.iter();
        let lines: Vec<String> = all
            .map(|(number, began)| {
                let last: String = last(began);
                format!("vehicle {number}:{last}")
            })
            .collect();
        lines.join("\n")
    }
}

/// The keys of the fleet, each for what it signs.
pub(crate) struct Everybody {
    vehicles: Vec<PublicKey>,
    timekeeper: PublicKey,
    documents: [PublicKey; 3],
}

impl Everybody {
    fn of(stage: &Stage) -> Self {
        let told = stage.fleet.told(0);
        Self {
            vehicles: (0..VEHICLES).map(|number| stage.fleet.key(number as u32).public()).collect(),
            timekeeper: told.timekeeper,
            documents: [told.authority, told.timekeeper, told.approver],
        }
    }
}

impl Everybody {
    fn is_vehicle(&self, id: KeyId) -> bool {
        self.vehicles.iter().any(|key| key.id() == id)
    }
}

impl Keys for Everybody {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        let keys = match kind {
            Kind::Claim | Kind::Vote | Kind::ParticleHeader | Kind::Presence | Kind::Refusal => {
                self.vehicles.as_slice()
            }
            Kind::Nonce => std::slice::from_ref(&self.timekeeper),
            Kind::WindowPlan
            | Kind::Roster
            | Kind::RosterPage
            | Kind::UtilityDocument
            | Kind::SwarmDocument
            | Kind::Document => &self.documents,
        };
        keys.iter().find(|key| key.id() == id).copied()
    }
}

/// What a vehicle that does not run has left: nothing of it is damaged, and every record in it is of who may have signed it, at
/// its place. A copy is looked at, so that the vehicle finds all as it was. How many records there are.
pub(crate) fn vault_is_whole(stage: &Stage, number: usize) -> Result<usize, String> {
    let copy = TempDir::new().map_err(|error| error.to_string())?;
    let from = stage.disk(number).join("exchange");
    if !from.join("vault.redb").is_file() {
        // It was killed before it had made one.
        return Ok(0);
    }
    copied(&from, copy.path()).map_err(|error| error.to_string())?;
    let wrong = |what: String| format!("the vault of vehicle {number}: {what}");
    let vault = Vault::open(copy.path()).map_err(|error| wrong(error.to_string()))?;
    if let Some(aside) = &vault.found().set_aside {
        return Err(wrong(format!("{aside:?}")));
    }
    let keys = Everybody::of(stage);
    let records = vault.records().map_err(|error| wrong(error.to_string()))?;
    for record in &records {
        let topic = &record.topic;
        let place = Topic::decode(topic).map_err(|error| wrong(format!("{topic}: {error:?}")))?;
        read(&place, &record.bytes, &keys).map_err(|reject| wrong(format!("{topic}: {reject}")))?;
    }
    Ok(records.len())
}

fn copied(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// In no window does a vehicle say that more crossed than may, beside what joining took: at the first window, and again where a clock
/// was moved so far that it knew no time.
fn budget_is_kept(stage: &Stage, number: usize) {
    no_window_is_counted_twice(&stage.fleet, number as u32);
    for line in stage.fleet.windows(number as u32) {
        let bytes = |name: &str| line[name].as_u64().expect("a whole record");
        let (up, down) = (bytes("joining_up"), bytes("joining_down"));
        let within = up <= JOINING_UP_BYTES
            && down <= JOINING_DOWN_BYTES
            && bytes("bytes_up") <= UP_BYTES_MAX + up
            && bytes("bytes_down") <= DOWN_BYTES_MAX + down;
        assert!(within, "vehicle {number}: {line}");
    }
}

/// Nor is it seen to send more on the connections of one window, in however many lives; where its clock was moved, nobody knows which
/// window a connection was for. The most that was seen.
pub(crate) fn budget_was_kept(
    stage: &Stage,
    number: usize,
    moved_ms: &[(u64, u64)],
) -> Result<u64, String> {
    let mut sent = BTreeMap::<u64, u64>::new();
    let near = 1000 * u64::from(PERIOD_S);
    for flow in stage.shaper.flows(number) {
        let at_ms = flow.at.as_millis() as u64;
        let moved = |(from, to): &(u64, u64)| (*from..to + near).contains(&at_ms);
        if !moved_ms.iter().any(moved) {
            *sent.entry(stage.window(stage.began_ms + at_ms)).or_default() += u64::from(flow.bytes);
        }
    }
    let most = sent.into_iter().max_by_key(|(_window, bytes)| *bytes).unwrap_or_default();
    match most {
        (_window, bytes) if bytes <= UP_BYTES_MAX => Ok(bytes),
        (window, bytes) => Err(format!("vehicle {number} sent {bytes} bytes in window {window}")),
    }
}

/// Seconds since 1970 of a time as logs write it: 2026-11-22T09:16:28.123456Z (RFC 3339).
pub(crate) fn utc_seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Years begin in March: then the day that is there every fourth year is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?)
}
