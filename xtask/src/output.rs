//! What commands say to who runs them.

use std::fmt;
use std::io::Write;
use std::panic::{catch_unwind, resume_unwind};
use std::process::ExitCode;

/// As the standard library's, which panics aloud where nobody reads on.
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

/// What a shell says of a program that SIGPIPE ended.
const CUT_OFF: u8 = 141;

/// Nobody reads on.
struct CutOff;

/// Writes what there is to say. Where that cannot be written the command ends, quietly, and what it started with it: programs that run
/// beside us are ended as their guard is dropped.
pub(crate) fn say(mut to: impl Write, said: fmt::Arguments<'_>) {
    if to.write_fmt(said).is_err() && !std::thread::panicking() {
        resume_unwind(Box::new(CutOff));
    }
}

/// Runs a command to its end, or until nobody reads what it says.
pub(crate) fn until_cut_off(command: fn() -> ExitCode) -> ExitCode {
    match catch_unwind(command) {
        Ok(code) => code,
        Err(cause) if cause.is::<CutOff>() => ExitCode::from(CUT_OFF),
        Err(cause) => resume_unwind(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A pipe whose other end is closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    static ENDED: AtomicBool = AtomicBool::new(false);

    struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            say(Closed, format_args!("the programs are ended"));
            ENDED.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_reads_no_further_ends_a_command_and_what_it_started() {
        let code = until_cut_off(|| {
            let _guard = Guard;
            say(Closed, format_args!("said"));
            ExitCode::SUCCESS
        });
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(CUT_OFF)));
        assert!(ENDED.load(Ordering::Relaxed));
    }
}
