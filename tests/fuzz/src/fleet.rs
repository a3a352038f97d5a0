//! The reader of a fleet's journal, as `shoal` has it: a program has no library.

#[path = "../../../fleet/cli/src/fleet/journal.rs"]
#[allow(dead_code, reason = "it is written by the program alone")]
pub(crate) mod journal;
