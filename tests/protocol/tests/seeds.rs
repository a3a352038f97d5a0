//! Worlds by their seeds: each runs twice and comes to the same.

use shoal_protocol::weather::Weather;
use shoal_protocol::world::World;

fn run(seed: u64) -> ([u8; 32], u64) {
    let mut world = World::new(seed, Weather::of(seed));
    world.run();
    (world.name(), world.happened)
}

#[test]
fn a_fair_world_learns() {
    let mut world = World::new(1, Weather::fair(4, 4));
    world.run();
    println!("{} happened, {:?}", world.happened, world.troubles);
}

#[test]
fn whatever_happens_what_must_hold_holds() {
    let seeds: u64 = std::env::var("SHOAL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let first: u64 = std::env::var("SHOAL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        eprintln!("seed {seed}: {:?}", Weather::of(seed));
        assert_eq!(run(seed), run(seed), "seed {seed} repeats");
    }
}
