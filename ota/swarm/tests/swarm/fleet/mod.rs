//! Fleets of cores under virtual time: a broker that retains what a real one would, a network that loses, delays and
//! repeats, roads that each prefer another adapter, absent vehicles, power cuts, liars.

mod claims;
mod shell;
mod world;
