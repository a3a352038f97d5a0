//! An output in words, for logs: what it says, without its values, which are named by their hash.

use core::fmt;

use super::{Flat, Output, Particle, ValuesHash};

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |values: &Flat| ValuesHash::of(values);
        match self {
            Self::Measure { job, candidate, beside, on, awaited } => {
                let beside = beside.as_ref().map(name);
                let when = if *awaited { "" } else { " later" };
                write!(f, "measure {job} {:?} {beside:?} {on:?}{when}", name(candidate))
            }
            Self::Code { job, particle } => {
                let Particle { role, window, anchor, inputs, difference, bits, noised } = particle;
                write!(f, "code {job} {role:?} {window} {anchor:?} {inputs:?} ")?;
                match noised {
                    true => write!(f, "noised {bits}"),
                    false => write!(f, "{:?} {bits}", name(difference)),
                }
            }
            Self::Tune { from, particle, window: _ } => {
                write!(f, "tune {:?} {particle:?}", name(from))
            }
            Self::Stage(adapter) => write!(f, "stage {:?}", name(adapter)),
            other @ (Self::Fetch { .. }
            | Self::Publish { .. }
            | Self::Claim(_)
            | Self::Vote(_)
            | Self::Refusal(_)
            | Self::Event(_)) => write!(f, "{other:?}"),
        }
    }
}
