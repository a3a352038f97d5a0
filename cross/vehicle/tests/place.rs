//! The program takes the place on the computer that it is told, before it reads anything else.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity};

const AGENT: &str = env!("CARGO_BIN_EXE_shoal-vehicle");

/// A point of the curve that is a key: what a vehicle is told of its authority.
const KEY: &str = "5866666666666666666666666666666666666666666666666666666666666666";

/// A vehicle whose package is a pipe into which nobody writes: it waits there, in its place.
fn waiting(folder: &Path, engine: &str) -> Child {
    waiting_as(Command::new(AGENT), folder, engine)
}

fn waiting_as(program: Command, folder: &Path, engine: &str) -> Child {
    std::fs::create_dir(folder.join("model")).unwrap();
    let pipe = folder.join("model/model.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    start(program, folder, engine)
}

fn start(mut program: Command, folder: &Path, engine: &str) -> Child {
    let toml = format!(
        "[model]\npackage = \"model\"\n[engine]\n{engine}\n[fleet]\nname = \"f\"\nregion = \"r\"\n\
         broker = \"mqtt://127.0.0.1:1\"\nkey = \"key\"\npack = \"pack\"\nauthority = \"{KEY}\"\n\
         timekeeper = \"{KEY}\"\napprover = \"{KEY}\"\n"
    );
    let file = folder.join("vehicle.toml");
    std::fs::write(&file, toml).unwrap();
    program.arg("--config").arg(file).stderr(Stdio::piped()).spawn().unwrap()
}

/// The processors of a process, and its nice value.
fn place(id: u32) -> (String, i64) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // proc(5): nice is field 19, the 17th behind the name in brackets.
    let (_name, fields) = stat.rsplit_once(") ").unwrap();
    let nice = fields.split(' ').nth(16).unwrap().parse().unwrap();
    (cpus.trim().to_owned(), nice)
}

fn settled(folder: &Path, child: Child) -> (String, i64) {
    seen(folder, child, place)
}

/// What is seen of the program once it waits for its package: whoever opens a pipe to write waits for its reader.
fn seen<T>(folder: &Path, mut child: Child, look: impl Fn(u32) -> T) -> T {
    let pipe = folder.join("model/model.toml");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(File::options().write(true).open(pipe)));
    loop {
        match told.recv_timeout(Duration::from_millis(100)) {
            Ok(opened) => {
                let _held = opened.unwrap();
                let at = look(child.id());
                child.kill().unwrap();
                child.wait().unwrap();
                return at;
            }
            Err(_none) => assert!(child.try_wait().unwrap().is_none(), "{}", said(child)),
        }
    }
}

fn said(child: Child) -> String {
    let Output { stderr, .. } = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&stderr).into_owned()
}

#[test]
fn the_agent_runs_at_the_lowest_priority_on_the_processors_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let given = sched_getaffinity(None).unwrap();
    let last = (0..CpuSet::MAX_CPU).rfind(|cpu| given.is_set(*cpu)).unwrap().to_string();
    let child = waiting(folder.path(), &format!("cpus = \"{last}\""));
    assert_eq!(settled(folder.path(), child), (last.clone(), 19));

    let folder = tempfile::tempdir().unwrap();
    let child = waiting(folder.path(), "cores = 1");
    assert_eq!(settled(folder.path(), child), (last, 19));

    let folder = tempfile::tempdir().unwrap();
    let child = waiting(folder.path(), "");
    let (all, _nice) = place(std::process::id());
    assert_eq!(settled(folder.path(), child), (all, 19));
}

/// As a service is started, in a session of its own: nice counts among the programs of one session, and each session has its part, so
/// that this one has the lowest. What it shares a session with is not slowed down, nor is one that leads it from outside its container.
#[test]
fn a_session_of_its_own_gives_way_to_all_others() {
    let enabled = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    if !enabled.is_ok_and(|enabled| enabled.trim() == "1") {
        // Then nice is all there is.
        return;
    }
    let group = |id: u32| {
        let group = std::fs::read_to_string(format!("/proc/{id}/autogroup")).unwrap();
        // Nothing stands there of what was begun before any session.
        group.trim_end().rsplit_once(" nice ").map(|(_name, nice)| nice.to_owned())
    };
    let own = group(std::process::id());
    let contained = ["--pid", "--fork", "--kill-child", AGENT];
    let lowest = Some("19".to_owned());
    let mut cases = vec![("setsid", &[AGENT][..], &lowest), (AGENT, &[], &own)];
    // Root's alone: tests/tests/cuts runs whole fleets so, and says where it cannot.
    if Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .status()
        .is_ok_and(|ran| ran.success())
    {
        cases.push(("unshare", &contained, &own));
    }
    for (program, arguments, nice) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Command::new(program);
        program.args(arguments);
        let child = waiting_as(program, folder.path(), "");
        assert_eq!(&seen(folder.path(), child, group), nice);
    }
}

#[test]
fn processors_that_are_not_there_are_an_error_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    for (engine, named) in [("cpus = \"1023\"", "processor 1023 of"), ("cores = 1024", "1024 of")] {
        let mut child = start(Command::new(AGENT), folder.path(), engine);
        // EX_CONFIG: whoever supervises it need not start it again.
        assert_eq!(child.wait().unwrap().code(), Some(78));
        let said = said(child);
        assert!(said.contains(&format!("[engine] asks for {named}")), "{said}");
    }
}

#[test]
fn a_vehicle_that_is_told_of_no_fleet_is_told_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vehicle.toml");
    std::fs::write(&file, "").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_shoal-vehicle"));
    let output = program.arg("--config").arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no table [fleet]"));
}

#[test]
fn what_cannot_both_be_done_is_not_half_done() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_shoal-vehicle"));
    let both = ["--config", "nowhere.toml", "--next-key", "--erase"];
    let output = program.args(both).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--next-key and --erase: one of them")
    );
}

#[test]
fn who_reads_no_further_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut program = Command::new(env!("CARGO_BIN_EXE_shoal-vehicle"));
    let output = program.arg("--help").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(said(output), "");
}
