//! The whole system from outside: what only shows when the programs run together. Few, and only the wiring: what
//! a crate promises is tested in that crate.
