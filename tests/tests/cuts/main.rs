//! The invariants of the protocol with real programs: a fleet of `shoal-vehicle`, its timekeeper and Mosquitto, each in a network
//! namespace, over lines that are cut, lossy and slow; processes that are killed and stopped, disks that are full, clocks that
//! are moved. All choices are drawn from `SHOAL_SEED`, `SHOAL_CUTS` says how many cuts there are, `SHOAL_CUTS_LOG` where each is
//! written down with what shows that it happened.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod act;
mod checks;
mod draw;
mod inside;
mod shaper;
mod stage;
mod tun;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use act::Made;
use checks::Checks;
use draw::{Cut, Kind, PERIOD_S, Target, VEHICLES};
use serde_json::{Value, json};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_tests::fleet::{say, utc_ms};
use shoal_tests::invariants::the_log_agrees_if_all_is_there;
use shoal_tests::publisher::Publisher;
use shoal_wire::Topic;
use stage::{Stage, name, node, rest, targets, within};

const TEST: &str = "what_must_hold_holds_with_real_programs";
/// Cuts of a test that has to be short: one of each kind.
const CUTS: usize = 10;
/// By when those who can talk agree: a lie would be forgotten after eight windows, who was ahead waits for some.
const AGREED_WINDOWS: u64 = 20;
/// Who forges changes one of the last so many messages.
const RECENT: usize = 200;

#[test]
fn what_must_hold_holds_with_real_programs() {
    if !inside::is_inside(TEST) {
        return;
    }
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (number("SHOAL_CUTS", CUTS as u64) as usize, number("SHOAL_SEED", 1));
    let faketime = inside::faketime();
    if faketime.is_none() {
        let why = "no libfaketime (Debian: faketime)";
        inside::skipped("clocks that are moved", why, inside::REQUIRE_FAKETIME);
    }
    let cuts = draw::cuts(count, seed, faketime.is_some());
    let Some(stage) = Stage::set(TEST, seed, faketime) else { return };
    let play = Play::new(&stage, count);
    play.all(&cuts, seed);
    let agreed = play.ends();
    let summary = play.summary(seed, agreed);
    say(&format!("cuts: {summary}"));
    let failures = stage.failures();
    assert!(failures.is_empty(), "SHOAL_SEED={seed} SHOAL_CUTS={count}: {failures:#?}");
}

/// A run.
struct Play<'a> {
    stage: &'a Stage,
    count: usize,
    checks: Mutex<Checks>,
    made: Mutex<Vec<Made>>,
    log: Mutex<File>,
    forged: AtomicU64,
    /// The most that was seen to leave a vehicle in a window.
    sent_most: AtomicU64,
    /// Vehicles whose event log was run again to its end.
    reran: AtomicU64,
    over: AtomicBool,
}

impl<'a> Play<'a> {
    fn new(stage: &'a Stage, count: usize) -> Self {
        let beside = || stage.fleet.path().join("cuts.jsonl");
        let log = std::env::var_os("SHOAL_CUTS_LOG").map_or_else(beside, PathBuf::from);
        Self {
            stage,
            count,
            checks: Mutex::new(Checks::new(stage)),
            made: Mutex::new(Vec::new()),
            log: Mutex::new(File::create(log).unwrap()),
            forged: AtomicU64::new(0),
            sent_most: AtomicU64::new(0),
            reran: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Every target has its cuts one after the other; those of several targets overlap.
    fn all(&self, cuts: &[Cut], seed: u64) {
        thread::scope(|scope| {
            let forger = scope.spawn(|| self.forge(seed));
            let workers: Vec<_> = targets()
                .into_iter()
                .map(|target| {
                    let own = cuts.iter().filter(move |cut| cut.target == target);
                    scope.spawn(move || own.for_each(|cut| self.one(cut)))
                })
                .collect();
            let ended: Vec<bool> =
                workers.into_iter().map(|worker| worker.join().is_ok()).collect();
            self.over.store(true, Ordering::Relaxed);
            forger.join().unwrap();
            assert!(ended.into_iter().all(|well| well), "no worker panics");
        });
    }

    fn one(&self, cut: &Cut) {
        if !self.stage.failures().is_empty() {
            return;
        }
        let made = act::make(self.stage, cut);
        let who = name(cut.target);
        self.checked(&format!("after cut {} ({:?} of {who})", cut.number, cut.kind));
        let line = serde_json::to_string(&made).unwrap();
        writeln!(lock(&self.log), "{line}").unwrap();
        let mut all = lock(&self.made);
        all.push(made.clone());
        let (nth, at) = (all.len(), made.from_ms / 1000);
        let fired = made.proof.as_ref().map(Value::to_string);
        let shown = fired.as_deref().unwrap_or("NOT SHOWN").chars().take(120).collect::<String>();
        say(&format!(
            "{nth}/{} at {at} s: {who} {:?} at {:?}: {shown}",
            self.count, cut.kind, cut.moment
        ));
        if let Some(wrong) = made.wrong {
            self.stage.fails(format!("cut {} ({:?} of {who}): {wrong}", cut.number, cut.kind));
        }
    }

    /// What must hold now.
    fn checked(&self, when: &str) {
        let mut checks = lock(&self.checks);
        self.holds(when, || checks.after(self.stage));
    }

    fn holds(&self, when: &str, check: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
            let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let why: String = why.chars().take(2_000).collect();
            self.stage.fails(format!("{when}: {why}"));
        }
    }

    /// When the clock of a vehicle was moved.
    fn moved_ms(&self, number: usize) -> Vec<(u64, u64)> {
        let made = lock(&self.made);
        let moved = made
            .iter()
            .filter(|one| (one.cut.target, one.cut.kind) == (Target::Vehicle(number), Kind::Clock));
        moved.map(|one| (one.from_ms, one.to_ms)).collect()
    }

    /// Somebody without a key says what others said, changed, or in another's place.
    fn forge(&self, seed: u64) {
        let broker: SocketAddr =
            format!("{}:1883", shaper::address(node(Target::Broker))).parse().unwrap();
        let mut draws = Draws::new(Purpose::World, seed, 79, 0);
        let keys: Vec<String> = (0..VEHICLES as u32)
            .map(|number| self.stage.fleet.key(number).public().id().to_string())
            .collect();
        let (mut publisher, mut old) = (None, 0);
        while !self.over.load(Ordering::Relaxed) {
            rest(500);
            let seen = self.stage.observer.seen_after(old);
            old += seen.len().saturating_sub(RECENT);
            let Some((topic, bytes)) = seen.get(draws.index(seen.len().max(1))) else { continue };
            let (mut topic, mut bytes) = (topic.clone(), bytes.clone());
            let Ok(place) = Topic::decode(&topic) else { continue };
            if draws.happens(0.5) {
                let at = draws.index(bytes.len());
                bytes[at] ^= 1 << draws.index(8);
            } else {
                let of = place.publisher().to_string();
                let other = keys.iter().filter(|key| **key != of).nth(draws.index(VEHICLES - 1));
                topic = topic.replace(&of, other.unwrap());
            }
            publisher = publisher.or_else(|| Publisher::reach_for(broker, 10));
            let passed = publisher.as_mut().and_then(|to: &mut Publisher| to.pass(&topic, &bytes));
            match passed {
                Some(()) => _ = self.forged.fetch_add(1, Ordering::Relaxed),
                None => publisher = None,
            }
        }
    }

    /// After the last cut: all agree before long, and end as they should. The window in which they agreed, and in how many windows.
    fn ends(&self) -> Option<(u64, u64)> {
        let stage = self.stage;
        let last = stage.window(utc_ms());
        let agreed = within(AGREED_WINDOWS * u64::from(PERIOD_S) * 1000, || {
            rest(500);
            self.checked("after the last cut");
            let failed = !stage.failures().is_empty();
            let agreed = lock(&self.checks).agreed(last);
            (failed || agreed.is_some()).then_some(agreed)
        });
        let agreed = agreed.flatten();
        if let Some((window, began)) = &agreed {
            say(&format!("all agree in window {window}: {began:?}"));
        } else if stage.failures().is_empty() {
            let known = lock(&self.checks).known();
            stage.fails(format!("they do not agree after window {last}:\n{known}"));
        }
        for target in targets().into_iter().filter(|target| *target != Target::Broker) {
            let Some(program) = stage.program(target).take() else { continue };
            let code = program.terminate().code();
            if code != Some(0) {
                stage.fails(format!("{} was asked to end, and ended with {code:?}", name(target)));
            }
        }
        for number in 0..VEHICLES {
            if let Err(wrong) = checks::vault_is_whole(stage, number) {
                stage.fails(wrong);
            }
            match checks::budget_was_kept(stage, number, &self.moved_ms(number)) {
                Ok(bytes) => self.sent_most.fetch_max(bytes, Ordering::Relaxed),
                Err(wrong) => {
                    stage.fails(wrong);
                    0
                }
            };
            // What it logged of its last life, fresh cores say again.
            self.holds(&format!("the event log of vehicle {number}"), || {
                let all = the_log_agrees_if_all_is_there(&stage.fleet, number as u32);
                self.reran.fetch_add(u64::from(all), Ordering::Relaxed);
            });
        }
        self.checked("at the end");
        agreed.map(|(window, _began)| (window, window - last))
    }

    fn summary(&self, seed: u64, agreed: Option<(u64, u64)>) -> Value {
        let (stage, made) = (self.stage, lock(&self.made));
        let (mut kinds, mut reached) = (BTreeMap::new(), 0_u64);
        for one in made.iter() {
            let what = match one.cut.target {
                Target::Vehicle(_) => "vehicle",
                Target::Broker => "broker",
                Target::Timekeeper => "timekeeper",
            };
            let kind: Kind = one.cut.kind;
            let counts: &mut (u64, u64) = kinds.entry(format!("{what} {kind:?}")).or_default();
            counts.0 += 1;
            counts.1 += u64::from(one.proof.is_some());
            reached += u64::from(one.reached);
        }
        let checks = lock(&self.checks);
        let windows: Vec<Vec<Value>> =
            (0..VEHICLES as u32).map(|number| stage.fleet.windows(number)).collect();
        let of = |field: &str| {
            let count =
                |lines: &Vec<Value>| lines.iter().filter(|line| line[field] == true).count();
            windows.iter().map(count).collect::<Vec<_>>()
        };
        let most =
            |field: &str| windows.iter().flatten().filter_map(|line| line[field].as_u64()).max();
        let fired = made.iter().filter(|one| one.proof.is_some()).count();
        json!({
            "seed": seed,
            "cuts": self.count,
            "fired": fired,
            "at_the_instant_waited_for": reached,
            "kinds": kinds.into_iter().map(|(kind, (made, fired))| (kind, json!({"made": made, "fired": fired}))).collect::<BTreeMap<_, _>>(),
            "seconds": stage.now_ms() / 1000,
            "vehicles": VEHICLES,
            "windows": windows.iter().map(Vec::len).max(),
            "took_part": of("took_part"),
            "contributed": of("contributed"),
            "bests": checks.bests.len(),
            "moves": checks.moves,
            "windows_with_a_quarantine": checks.quarantined.values().flatten().collect::<BTreeSet<_>>().len(),
            "records": checks.records(),
            "forged": self.forged.load(Ordering::Relaxed),
            "refused": checks.refused,
            "bytes_up_most": most("bytes_up"),
            "bytes_down_most": most("bytes_down"),
            "agreed_after_windows": agreed.map(|(_window, after)| after),
            "logs_rerun": self.reran.load(Ordering::Relaxed),
            "sent_most_seen": self.sent_most.load(Ordering::Relaxed),
            "budget_bytes": [stage::UP_BYTES_MAX, stage::DOWN_BYTES_MAX],
            "failures": stage.failures(),
        })
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
