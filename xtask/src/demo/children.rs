//! Programs that run beside us. However we end, they end before us.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::stop::Stop;
use crate::clock::Watch;
use crate::{Done, Failure, root};

/// How long a program that is asked to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// From one look at programs to the next.
const TICK: Duration = Duration::from_millis(100);
/// Of the log of a program that failed, so many lines are shown.
const LINES_SHOWN: usize = 15;

/// How long a program is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// Until it is ended: ending by itself is a failure.
    UntilEnded,
    /// Until its work is done.
    ByItself,
}

/// Programs with their logs, ended when this is dropped.
pub(super) struct Children {
    logs: PathBuf,
    grace: Duration,
    running: Vec<Running>,
}

struct Running {
    name: String,
    log: PathBuf,
    child: Child,
    runs: Runs,
    ended: bool,
}

impl Children {
    /// Nothing yet; logs will be in this folder.
    pub(super) fn new(logs: &Path) -> Done<Self> {
        fs::create_dir_all(logs)
            .map_err(|error| Failure(format!("cannot make {}: {error}", logs.display())))?;
        Ok(Self { logs: logs.to_owned(), grace: GRACE, running: Vec::new() })
    }

    /// Starts a program; what it writes goes to `NAME.log`.
    pub(super) fn start(&mut self, name: &str, runs: Runs, command: &mut Command) -> Done {
        let log = self.logs.join(name).with_extension("log");
        let cannot = |error| Failure(format!("cannot write {}: {error}", log.display()));
        let out = File::create(&log).map_err(cannot)?;
        let errors = out.try_clone().map_err(cannot)?;
        // A group of its own: Ctrl-C comes to us alone, and we end programs in order.
        command.current_dir(root()).process_group(0);
        let command = command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let child = command.spawn().map_err(|error| {
            Failure(format!("cannot run {}: {error}", command.get_program().display()))
        })?;
        self.running.push(Running { name: name.to_owned(), log, child, runs, ended: false });
        Ok(())
    }

    /// Finds who failed. True when every program that ends by itself has ended.
    pub(super) fn all_done(&mut self) -> Done<bool> {
        let mut done = true;
        for running in &mut self.running {
            done &= running.look()? || running.runs == Runs::UntilEnded;
        }
        Ok(done)
    }

    /// The first line of a program's output that begins so, waited for this long.
    pub(super) fn said(
        &mut self,
        name: &str,
        start: &str,
        long: Duration,
        stop: &Stop,
    ) -> Done<String> {
        let watch = Watch::start();
        loop {
            self.all_done()?;
            let running = self.running.iter().find(|running| running.name == name);
            let log = running.map(Running::text).unwrap_or_default();
            let line = log.split_inclusive('\n').find(|line| line.starts_with(start));
            if let Some(line) = line.filter(|line| line.ends_with('\n')) {
                return Ok(line.trim_end().to_owned());
            }
            if watch.elapsed() > long {
                let why = format!("{name} did not say {start}…\n{}", last_lines(&log));
                return Err(Failure(why));
            }
            stop.wait(TICK)?;
        }
    }

    /// Asks all to end, and after a grace ends them.
    pub(super) fn end(&mut self) {
        for running in &mut self.running {
            if !running.gone() {
                // Gone in the meantime is as good.
                let _sent = kill_process(Pid::from_child(&running.child), Signal::TERM);
            }
        }
        let watch = Watch::start();
        while watch.elapsed() < self.grace && !self.running.iter_mut().all(Running::gone) {
            std::thread::park_timeout(TICK);
        }
        for mut running in self.running.drain(..) {
            if !running.gone() {
                let _killed = running.child.kill();
            }
            let _reaped = running.child.wait();
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    /// Whether it has ended, well.
    fn look(&mut self) -> Done<bool> {
        if self.ended {
            return Ok(true);
        }
        let status = self.child.try_wait();
        let status = status.map_err(|error| Failure(format!("{}: {error}", self.name)))?;
        match status {
            None => Ok(false),
            Some(status) if status.success() && self.runs == Runs::ByItself => {
                self.ended = true;
                Ok(true)
            }
            Some(status) => Err(self.failed(status)),
        }
    }

    fn failed(&self, status: ExitStatus) -> Failure {
        let (name, log) = (&self.name, self.log.display());
        Failure(format!(
            "{name} ended too early: {status}; {log} ends with\n{}",
            last_lines(&self.text())
        ))
    }

    /// Whether there is no such process any more.
    fn gone(&mut self) -> bool {
        self.ended || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
    shown.iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn children(name: &str) -> Children {
        Children::new(&root().join("target/children-tests").join(name)).unwrap()
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn wait(children: &mut Children) -> Done {
        while !children.all_done()? {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }

    #[test]
    fn a_program_that_fails_is_named_with_the_end_of_its_log() {
        let mut children = children("fails");
        children.start("agent", Runs::ByItself, &mut sh("echo why >&2; exit 3")).unwrap();
        let Failure(why) = wait(&mut children).unwrap_err();
        assert!(why.starts_with("agent ended too early") && why.contains("  why\n"), "{why}");
        assert!(why.contains("agent.log"), "{why}");
    }

    #[test]
    fn a_program_that_should_stay_fails_by_ending_well() {
        let mut children = children("stays");
        children.start("broker", Runs::UntilEnded, &mut sh("exit 0")).unwrap();
        let looked = (0..2000).map(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            children.all_done()
        });
        assert!(looked.into_iter().any(|looked| looked.is_err()));
    }

    #[test]
    fn programs_end_with_the_guard_even_those_that_do_not_listen() {
        let mut guard = children("guard");
        guard.grace = Duration::from_millis(300);
        guard.start("polite", Runs::UntilEnded, &mut sh("echo up; exec sleep 1000")).unwrap();
        let deaf = "trap '' TERM; echo up; while true; do sleep 0.1; done";
        guard.start("deaf", Runs::UntilEnded, &mut sh(deaf)).unwrap();
        let stop = Stop::listen().unwrap();
        for name in ["polite", "deaf"] {
            assert_eq!(guard.said(name, "up", LONG, &stop).unwrap(), "up");
        }
        let pids: Vec<u32> = guard.running.iter().map(|running| running.child.id()).collect();
        drop(guard);
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
        }
    }
}
