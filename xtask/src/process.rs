//! Running other programs: what fails says which program, and how it failed.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::{Done, Failure, root};

/// A program with its arguments, to be run at the root of the repository.
pub(crate) struct Run {
    command: Command,
    shown: String,
}

impl Run {
    /// Nothing is told of the package that runs us: cargo, and what calls it, would take it for another reason to build what asks
    /// for it (ring does, and all that is above it) each time the command line and `cargo xtask` take turns.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.current_dir(root()).stdin(Stdio::null()).env("PATH", path());
        for (name, _value) in std::env::vars_os().filter(|(name, _value)| is_of_us(name)) {
            command.env_remove(name);
        }
        Self { command, shown: name(program.as_ref()) }
    }

    /// Cargo, the one that runs us.
    pub(crate) fn cargo() -> Self {
        let mut run = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        run.shown = "cargo".to_owned();
        run
    }

    /// A program that is a subcommand of cargo too, called by its own name. cargo-machete takes itself for the subcommand, and its
    /// first argument for the subcommand's name, where there is `CARGO` and no `CARGO_PKG_NAME`: as `new` leaves it.
    pub(crate) fn by_own_name(program: impl AsRef<OsStr>) -> Self {
        let mut run = Self::new(program);
        run.command.env_remove("CARGO");
        run
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn envs(mut self, variables: &[(&'static str, OsString)]) -> Self {
        self.command.envs(variables.iter().map(|(name, value)| (name, value)));
        self
    }

    pub(crate) fn at(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// It reads what is typed here.
    pub(crate) fn on_terminal(mut self) -> Self {
        self.command.stdin(Stdio::inherit());
        self
    }

    /// What it writes to its standard output is not shown.
    pub(crate) fn quiet(mut self) -> Self {
        self.command.stdout(Stdio::null());
        self
    }

    /// Runs to the end; output goes where ours goes.
    pub(crate) fn run(mut self) -> Done {
        println!("  $ {}", self.shown);
        let status = self.command.status().map_err(|error| self.cannot_start(&error))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure(format!("`{}` failed: {status}", self.shown)))
    }

    /// Whether the program is there and ends well; its output is thrown away.
    pub(crate) fn succeeds(mut self) -> bool {
        let silent = self.command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    }

    /// What it wrote to its standard output, trimmed.
    pub(crate) fn output(mut self) -> Done<String> {
        let output = self.command.output().map_err(|error| self.cannot_start(&error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Failure(format!("`{}` failed: {}\n{}", self.shown, output.status, errors.trim())))
    }

    /// Runs to the end, showing every line as it comes and handing it over; whether it ended well.
    pub(crate) fn lines(mut self, mut line: impl FnMut(&str)) -> Done<bool> {
        println!("  $ {}", self.shown);
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|error| self.cannot_start(&error))?;
        let (sender, receiver) = mpsc::channel();
        let readers: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|out| Box::new(out) as _),
            child.stderr.take().map(|err| Box::new(err) as _),
        ];
        for reader in readers.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for text in receiver {
            println!("{text}");
            line(&text);
        }
        let status = child.wait().map_err(|error| self.cannot_start(&error))?;
        Ok(status.success())
    }

    fn cannot_start(&self, error: &std::io::Error) -> Failure {
        Failure(format!("cannot run `{}`: {error}", self.shown))
    }
}

/// PATH, and where Debian keeps the programs that make file systems: anybody may run them.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Whether a program can be found on PATH.
pub(crate) fn found(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// Whether cargo says by this variable which package it runs.
fn is_of_us(variable: &OsStr) -> bool {
    let of_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    variable.to_str().is_some_and(of_package)
}

fn name(program: &OsStr) -> String {
    let path = Path::new(program);
    path.file_name().unwrap_or(program).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let Failure(why) = Run::new("no-such-program-7").arg("--flag").run().unwrap_err();
        assert!(why.starts_with("cannot run `no-such-program-7 --flag`"), "{why}");
    }

    /// Tests have these variables, as `cargo xtask` has.
    #[test]
    fn no_program_is_told_which_package_runs_it() {
        let is_there = |name| std::env::var_os(name).is_some();
        assert!(is_there("CARGO_MANIFEST_DIR") && is_there("CARGO_PKG_NAME"));
        let told = Run::new("env").output().unwrap();
        assert!(!told.contains("CARGO_MANIFEST_") && !told.contains("CARGO_PKG_"), "{told}");
    }

    #[test]
    fn what_is_called_by_its_own_name_is_told_of_no_cargo() {
        let is_told =
            |run: Run| run.output().unwrap().lines().any(|line| line.starts_with("CARGO="));
        assert!(is_told(Run::new("env")));
        assert!(!is_told(Run::by_own_name("env")));
    }

    #[test]
    fn every_line_of_both_streams_is_handed_over() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; exit 3";
        let well = Run::new("sh").args(["-c", script]).lines(|line| lines.push(line.to_owned()));
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(well, Ok(false));
    }
}
