//! What commands print: failures with their causes, progress, JSON.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

/// As the standard library's, which panics where nobody reads on.
macro_rules! print {
    ($($said:tt)*) => { $crate::output::say(std::io::stdout(), format_args!($($said)*)) };
}

/// Likewise.
macro_rules! println {
    ($($said:tt)*) => {
        $crate::output::say(std::io::stdout(), format_args!("{}\n", format_args!($($said)*)))
    };
}

/// Likewise.
macro_rules! eprintln {
    ($($said:tt)*) => {
        $crate::output::say(std::io::stderr(), format_args!("{}\n", format_args!($($said)*)))
    };
}

/// What a shell says of a program that SIGPIPE ended. The signal itself stays ignored: it would end `serve` and `broker` when a peer
/// hangs up.
const CUT_OFF: i32 = 141;

/// Writes what there is to say; ends the program where that cannot be written, quietly where nobody reads on.
pub(crate) fn say(mut to: impl Write, said: fmt::Arguments<'_>) {
    let Err(error) = to.write_fmt(said) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(CUT_OFF);
    }
    let _unsaid = writeln!(io::stderr(), "error: cannot write what there is to say: {error}");
    std::process::exit(1);
}

/// Any error, printed with all its causes.
#[derive(Debug)]
pub(crate) struct Failure(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            // A transparent error says what its cause says.
            let text = error.to_string();
            if text != said {
                write!(formatter, "\n  because: {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// What a command's `run` returns.
pub(crate) type Outcome = Result<(), Failure>;

/// Prints a report as pretty JSON.
pub(crate) fn json(report: &impl serde::Serialize) -> Outcome {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

/// Progress of long work on standard error: one line that is rewritten on a terminal, a line every few
/// seconds elsewhere.
pub(crate) struct Progress {
    terminal: bool,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Starts the clock of the estimate.
    #[expect(clippy::disallowed_methods, reason = "progress is for people and decides nothing")]
    pub(crate) fn new() -> Self {
        Progress { terminal: io::stderr().is_terminal(), started: Instant::now(), shown: None }
    }

    /// Shows that `done` of `all` is done; the last one is always shown.
    #[expect(clippy::disallowed_methods, reason = "progress is for people and decides nothing")]
    pub(crate) fn show(&mut self, done: u64, all: u64, text: impl fmt::Display) {
        let every = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(5) };
        let now = Instant::now();
        let due = self.shown.is_none_or(|shown| now - shown >= every);
        if due || done >= all {
            self.show_now(done, all, text);
        }
    }

    /// As [`Progress::show`], however short the last one is ago: where each of few parts is told.
    #[expect(clippy::disallowed_methods, reason = "progress is for people and decides nothing")]
    pub(crate) fn show_now(&mut self, done: u64, all: u64, text: impl fmt::Display) {
        let now = Instant::now();
        self.shown = Some(now);
        let spent = now - self.started;
        let left = match done {
            0 => String::from("-"),
            _ => clock(spent.mul_f64((all - done.min(all)) as f64 / done as f64)),
        };
        let (start, end) = if self.terminal { ("\r\x1b[2K", "") } else { ("", "\n") };
        let line =
            format!("{start}{done}/{all}  {text}  {} so far, {left} left{end}", clock(spent));
        let mut err = io::stderr().lock();
        // A closed terminal is no reason to stop the work.
        let _ = err.write_all(line.as_bytes()).and_then(|()| err.flush());
        if self.terminal && done >= all {
            let _ = err.write_all(b"\n");
        }
    }
}

/// Minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn a_failure_is_printed_with_its_causes() {
        let cause = "x".parse::<u8>().unwrap_err();
        let failure = Failure::from(Outer(cause));
        assert_eq!(failure.to_string(), "outer\n  because: invalid digit found in string");
    }
}
