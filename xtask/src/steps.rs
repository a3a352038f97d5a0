//! Steps one after the other: each with its name, its time and how it ended; all of it again at the end.

use std::time::Duration;

use crate::clock::{Watch, shown};
use crate::{Done, Failure};

/// How a step ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// Passed, with a line worth seeing again at the end.
    PassedWith(String),
    Skipped(Skip),
}

/// What was not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) why: String,
    excused: bool,
}

impl Skip {
    /// Something could be there and is not: a failure in CI.
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), excused: false }
    }

    /// Out of our reach: said, never a failure.
    pub(crate) fn excused(why: impl Into<String>) -> Self {
        Self { why: why.into(), excused: true }
    }
}

/// Runs steps and keeps the account of them.
pub(crate) struct Steps {
    ci: bool,
    watch: Watch,
    done: Vec<(&'static str, Duration, Result<Outcome, Failure>)>,
}

impl Steps {
    /// `ci`: what is skipped without an excuse is a failure.
    pub(crate) fn new(ci: bool) -> Self {
        Self { ci, watch: Watch::start(), done: Vec::new() }
    }

    pub(crate) fn ci(&self) -> bool {
        self.ci
    }

    /// Runs one step; the next runs whether it fails or not, so that one run shows every fault.
    pub(crate) fn step(&mut self, name: &'static str, step: impl FnOnce() -> Done<Outcome>) {
        println!("\n── {name}  (after {})", shown(self.watch.elapsed()));
        let watch = Watch::start();
        let result = step();
        if let Err(Failure(why)) = &result {
            println!("{why}");
        }
        self.note(name, watch.elapsed(), result);
    }

    /// Something that is not checked, outside of any step.
    pub(crate) fn skip(&mut self, name: &'static str, skip: Skip) {
        self.note(name, Duration::ZERO, Ok(Outcome::Skipped(skip)));
    }

    fn note(&mut self, name: &'static str, took: Duration, result: Result<Outcome, Failure>) {
        println!("{}", line(name, took, &result));
        self.done.push((name, took, result));
    }

    /// Says how everything ended.
    pub(crate) fn finish(self) -> Done {
        println!("\n══ {} in all", shown(self.watch.elapsed()));
        for (name, took, result) in &self.done {
            println!("{}", line(name, *took, result));
        }
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|(_name, _took, result)| result.is_err())
            .map(|(name, _took, _result)| *name)
            .collect();
        let skipped: Vec<&str> = self
            .done
            .iter()
            .filter(|(_name, _took, result)| matches!(result, Ok(Outcome::Skipped(skip)) if !skip.excused))
            .map(|(name, _took, _result)| *name)
            .collect();
        if !failed.is_empty() {
            return Err(Failure(format!("failed: {}", failed.join(", "))));
        }
        if self.ci && !skipped.is_empty() {
            let why = format!("skipped, which with CI=true is a failure: {}", skipped.join(", "));
            return Err(Failure(why));
        }
        println!("all that ran passed");
        Ok(())
    }
}

fn line(name: &str, took: Duration, result: &Result<Outcome, Failure>) -> String {
    let took = shown(took);
    match result {
        Ok(Outcome::Passed) => format!("  passed   {name:<22} {took}"),
        Ok(Outcome::PassedWith(note)) => format!("  passed   {name:<22} {took}: {note}"),
        Ok(Outcome::Skipped(skip)) => format!("  SKIPPED  {name:<22} {}", skip.why),
        Err(Failure(why)) => {
            let first = why.lines().next().unwrap_or_default();
            format!("  FAILED   {name:<22} {took}: {first}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(ci: bool, result: Done<Outcome>) -> Done {
        let mut steps = Steps::new(ci);
        steps.step("first", || Ok(Outcome::Passed));
        steps.step("second", || result);
        steps.finish()
    }

    #[test]
    fn a_failed_step_fails_the_whole_and_is_named() {
        let Failure(why) = finish(false, Err(Failure::new("why"))).unwrap_err();
        assert_eq!(why, "failed: second");
    }

    #[test]
    fn a_skip_fails_in_ci_unless_it_is_excused() {
        let skip = || Ok(Outcome::Skipped(Skip::because("no tool")));
        assert!(finish(false, skip()).is_ok());
        assert!(finish(true, skip()).is_err());
        assert!(finish(true, Ok(Outcome::Skipped(Skip::excused("no GPU")))).is_ok());
    }
}
