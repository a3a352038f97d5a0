//! The checks, one file each for what they look at.

pub(crate) mod bus;
pub(crate) mod camera;
pub(crate) mod controllers;
pub(crate) mod joined;
pub(crate) mod send;

use std::error::Error;
use std::fmt::Display;

/// A check's outcome: what was seen, or why it failed.
pub(crate) type Outcome = Result<String, Box<dyn Error>>;

/// What was checked.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
}

impl Checks {
    /// Runs a check and prints its line.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Outcome) {
        match check() {
            Ok(seen) => {
                self.passed += 1;
                println!("ok: {name}: {seen}");
            }
            Err(error) => {
                println!("FAILED: {name}: {}", chain(&*error));
                self.failed.push(name.to_owned());
            }
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// An error unless `holds`.
pub(crate) fn must(holds: bool, what: impl Display) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}
