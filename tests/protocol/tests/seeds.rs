//! Worlds by their seeds: each runs twice and comes to the same. `SHOAL_SEED` and `SHOAL_SEEDS` say which, and how many.

use std::io::Write;

use shoal_protocol::weather::Weather;
use shoal_protocol::world::World;

/// Worlds of a test, unless it is told otherwise.
const SEEDS: u64 = 50;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn run(seed: u64) -> ([u8; 32], u64) {
    let mut world = World::new(seed, Weather::of(seed));
    world.run();
    (world.name(), world.happened)
}

/// Every second seed from `from` on.
fn whatever_happens(from: u64) {
    let (first, seeds) = (number("SHOAL_SEED", 0), number("SHOAL_SEEDS", SEEDS));
    for seed in (first..first + seeds).filter(|seed| seed % 2 == from) {
        // What a failure shows.
        let _said = writeln!(std::io::stdout(), "seed {seed}: {:?}", Weather::of(seed));
        assert_eq!(run(seed), run(seed), "seed {seed} repeats");
    }
}

#[test]
fn what_must_hold_holds_in_even_worlds() {
    whatever_happens(0);
}

#[test]
fn what_must_hold_holds_in_odd_worlds() {
    whatever_happens(1);
}

#[test]
fn a_fair_fleet_elects_what_is_better() {
    let mut world = World::new(1, Weather::fair(4, 4));
    world.run();
    assert!(world.troubles.is_empty());
    let swarm = world.vehicles[0].exchange.as_ref().and_then(|exchange| exchange.swarm());
    let best = swarm.and_then(|swarm| swarm.best(world.weather.all_windows()));
    assert!(best.is_some_and(|best| best.ballot.better > 0.0));
}

/// Trouble that never comes proves nothing.
#[test]
fn every_trouble_comes_in_some_world() {
    let mut came = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mut world = World::new(seed, Weather::of(seed));
        world.run();
        came.extend(world.troubles.keys().copied());
    }
    let all = ["absent", "broker", "budget", "clock", "cut", "power"];
    assert_eq!(came.into_iter().collect::<Vec<_>>(), all);
}
