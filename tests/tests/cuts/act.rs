//! One cut: the moment is waited for, it happens, that it did is shown, and all is put right again.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::checks;
use crate::draw::{Cut, Kind, Moment, PERIOD_S, Target};
use crate::shaper::{Way, Weather};
use crate::stage::{Stage, name, node, rest, within};

/// How long an instant is waited for: it may not come, then the cut is at some other one.
const MOMENT_MS: u64 = 3_000 * PERIOD_S as u64;
/// By when a cut must have been seen.
const FIRED_MS: u64 = 60_000;
/// By when a program that was started says so.
const STARTED_MS: u64 = 60_000;

/// A cut that was made, as the log has it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Made {
    #[serde(skip)]
    pub(crate) cut: Cut,
    pub(crate) number: usize,
    pub(crate) to: String,
    pub(crate) what: Kind,
    pub(crate) at: Moment,
    /// Whether the instant that was waited for came.
    pub(crate) reached: bool,
    /// From when to when, in milliseconds since the start.
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    /// What was seen of it; none: it did not happen.
    pub(crate) proof: Option<Value>,
    /// What else is wrong.
    pub(crate) wrong: Option<String>,
}

/// Makes a cut, from the rest before it to when all is right again.
pub(crate) fn make(stage: &Stage, cut: &Cut) -> Made {
    rest(cut.rest_ms);
    let target = cut.target;
    let ended = end(stage, target);
    let reached = ended.is_none() && comes(stage, cut);
    stage.shaper.forget(node(target));
    rest(cut.later_ms);
    let from_ms = stage.now_ms();
    let done = match ended {
        Some(status) => Err(format!("{} ended by itself: {status:?}", name(target))),
        None => match cut.kind {
            Kind::Kill | Kind::Forget => kill(stage, cut),
            Kind::Stop => stop(stage, cut),
            Kind::Cut | Kind::Lossy | Kind::Slow => weather(stage, cut),
            Kind::Full => fill(stage, cut),
            Kind::Clock => clock(stage, cut),
        },
    };
    stage.shaper.set(node(target), Weather::default(), Weather::default());
    let (proof, wrong) = match done {
        Ok(proof) => (Some(proof), None),
        Err(wrong) => (None, Some(wrong)),
    };
    let (number, to, what, at) = (cut.number, name(target), cut.kind, cut.moment);
    Made {
        cut: cut.clone(),
        number,
        to,
        what,
        at,
        reached,
        from_ms,
        to_ms: stage.now_ms(),
        proof,
        wrong,
    }
}

/// Waits for the moment of a cut; whether it came.
fn comes(stage: &Stage, cut: &Cut) -> bool {
    let target = cut.target;
    match cut.moment {
        Moment::Any => true,
        Moment::Says(what) => {
            let mut from = stage.said_bytes(target);
            let said = within(MOMENT_MS, || {
                let (said, to) = stage.said_after(target, from);
                from = to;
                said.contains(what).then_some(())
            });
            said.is_some()
        }
        Moment::Passes(way, topic, holds) => {
            let bytes = match (target, way) {
                (Target::Vehicle(number), Way::Up) => {
                    format!("{topic}{}", stage.fleet.key(number as u32).public().id())
                }
                (Target::Timekeeper, Way::Up) => {
                    format!("{topic}{}", stage.fleet.told(0).timekeeper.id())
                }
                (Target::Vehicle(_) | Target::Timekeeper, Way::Down) | (Target::Broker, _) => {
                    topic.to_owned()
                }
            };
            let told = stage.shaper.watch(node(target), way, &bytes, holds);
            told.recv_timeout(Duration::from_millis(MOMENT_MS)).is_ok()
        }
        Moment::Writes => {
            let Target::Vehicle(number) = target else { return false };
            let file = stage.disk(number).join("exchange/vault.redb");
            let changed = || fs::metadata(&file).and_then(|file| file.modified()).ok();
            let before = changed();
            within(MOMENT_MS, || (changed() != before).then_some(())).is_some()
        }
    }
}

fn kill(stage: &Stage, cut: &Cut) -> Result<Value, String> {
    let target = cut.target;
    let program = stage.program(target).take().ok_or("it does not run")?;
    let signal = program.kill().signal();
    if signal != Some(9) {
        return Err(format!("{} was killed and ended otherwise: {signal:?}", name(target)));
    }
    // What was left behind is looked at as it was left.
    let vault = match target {
        Target::Vehicle(number) => Some(checks::vault_is_whole(stage, number)?),
        Target::Broker | Target::Timekeeper => None,
    };
    let forgot_bytes = match cut.kind {
        Kind::Forget => {
            let kept = fs::metadata(stage.kept()).map_or(0, |kept| kept.len());
            let _gone_if_it_was_there = fs::remove_file(stage.kept());
            Some(kept)
        }
        Kind::Kill
        | Kind::Stop
        | Kind::Cut
        | Kind::Lossy
        | Kind::Slow
        | Kind::Full
        | Kind::Clock => None,
    };
    rest(cut.lasts_ms);
    stage.shaper.set(node(target), Weather::default(), Weather::default());
    start(stage, target)?;
    Ok(json!({"signal": signal, "records_in_vault": vault, "forgot_bytes": forgot_bytes}))
}

/// Starts it, until it says so.
fn start(stage: &Stage, target: Target) -> Result<(), String> {
    let from = stage.said_bytes(target);
    stage.start(target);
    let what = match target {
        Target::Vehicle(_) => "\"message\":\"started\"",
        Target::Broker => " running",
        Target::Timekeeper => " on mqtt://",
    };
    let says = || stage.said_after(target, from).0.contains(what).then_some(());
    within(STARTED_MS, says).ok_or_else(|| format!("{} does not start again", name(target)))
}

/// What the system says of a process: R, S, T …
fn state(id: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it may hold anything but what ends it.
    stat.rsplit(") ").next()?.chars().next()
}

fn stop(stage: &Stage, cut: &Cut) -> Result<Value, String> {
    let id = stage.id(cut.target);
    signal(id, "-STOP")?;
    let stopped = within(FIRED_MS, || state(id).filter(|state| *state == 'T'));
    rest(cut.lasts_ms);
    let still = state(id);
    signal(id, "-CONT")?;
    let goes = within(FIRED_MS, || state(id).filter(|state| *state != 'T'));
    if (stopped, still) != (Some('T'), Some('T')) || goes.is_none() {
        return Err(format!("{}: {stopped:?}, {still:?}, {goes:?}", name(cut.target)));
    }
    Ok(json!({"state": stopped, "then": goes, "stopped_ms": cut.lasts_ms}))
}

fn signal(id: u32, signal: &str) -> Result<(), String> {
    let done = Command::new("kill").args([signal, &id.to_string()]).status();
    let sent = done.is_ok_and(|done| done.success());
    if sent { Ok(()) } else { Err(format!("kill {signal} {id} fails")) }
}

fn weather(stage: &Stage, cut: &Cut) -> Result<Value, String> {
    let node = node(cut.target);
    let before = stage.shaper.counts(node);
    stage.shaper.set(node, cut.up, cut.down);
    rest(cut.lasts_ms);
    // As long as nothing tries to cross, nothing has happened.
    let seen = within(FIRED_MS, || {
        let counts = stage.shaper.counts(node);
        let (dropped, delayed) = (counts.dropped - before.dropped, counts.delayed - before.delayed);
        let seen = if cut.kind == Kind::Slow { delayed } else { dropped };
        (seen > 0).then(|| {
            json!({
                "passed": counts.passed - before.passed,
                "dropped": dropped,
                "doubled": counts.doubled - before.doubled,
                "delayed": delayed,
                "longest_ms": counts.longest_ms,
            })
        })
    });
    seen.ok_or_else(|| format!("{}: no packet met the weather", name(cut.target)))
}

fn fill(stage: &Stage, cut: &Cut) -> Result<Value, String> {
    let Target::Vehicle(number) = cut.target else { return Err("it has no disk".into()) };
    let target = cut.target;
    let mut from = stage.said_bytes(target);
    let filled = stage.fill(number)?;
    let line = within(FIRED_MS, || {
        let (said, to) = stage.said_after(target, from);
        from = to;
        said.lines().find(|line| line.contains("No space left")).map(str::to_owned)
    });
    rest(cut.lasts_ms);
    let ended = end(stage, target);
    let mut again = None;
    if ended.is_some() && cut.again {
        // Started on a full disk it may end again, or go on as far as it comes.
        stage.start(target);
        rest(1_000);
        again = Some(end(stage, target).map_or("goes on", |_code| "ended again"));
    }
    stage.free(number);
    // What it began on the full disk may still end it.
    rest(1_000);
    if end(stage, target).is_some() {
        checks::vault_is_whole(stage, number)?;
        start(stage, target)?;
    }
    let Some(line) = line else { return Err(format!("{}: no ENOSPC", name(target))) };
    Ok(json!({"filled_bytes": filled, "said": line, "ended": ended, "started_on_it": again}))
}

/// The code with which it ended, if it did.
fn end(stage: &Stage, target: Target) -> Option<Option<i32>> {
    stage.program(target).as_mut()?.end().map(|status| status.code())
}

fn clock(stage: &Stage, cut: &Cut) -> Result<Value, String> {
    let target = cut.target;
    let moved = |seconds: i64| {
        let mut from = stage.said_bytes(target);
        stage.move_clock(target, seconds);
        // What the process itself believes stands at the beginning of its lines.
        let read = within(FIRED_MS, || {
            let (said, to) = stage.said_after(target, from);
            from = to;
            let mut off = said.lines().rev().filter_map(off_seconds);
            off.find(|off| off.abs_diff(seconds) <= 2)
        });
        let who = name(target);
        read.ok_or_else(|| format!("{who}: its clock was not seen to be off by {seconds} s"))
    };
    let off = moved(cut.clock_s)?;
    rest(cut.lasts_ms);
    let then = moved(0)?;
    Ok(json!({"moved_s": cut.clock_s, "read_back_s": off, "then_s": then}))
}

/// How far the time at the beginning of a line is off, in seconds.
fn off_seconds(line: &str) -> Option<i64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let told = checks::utc_seconds(line["timestamp"].as_str()?)?;
    Some(told - (shoal_tests::fleet::utc_ms() / 1000) as i64)
}
