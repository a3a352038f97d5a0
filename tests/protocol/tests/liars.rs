//! What a liar of each newer kind does, and what the protocol answers: it stands aside, and nobody honest goes anywhere that it has
//! not itself measured to be no worse (which every world checks).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use shoal_protocol::engine::{Character, Lie};
use shoal_protocol::weather::Weather;
use shoal_protocol::world::World;

/// The first window in which a liar lies that behaves before.
const LATER: u32 = 10;

/// A world in which nothing goes wrong but that the last vehicles lie; what must hold in every world held in it.
fn world(seed: u64, vehicles: usize, windows: u32, lies: &[Lie]) -> World {
    let weather = Weather { lies: lies.to_vec(), ..Weather::fair(vehicles, windows) };
    let mut world = World::new(seed, weather);
    world.run();
    world
}

fn liars(world: &World) -> impl Iterator<Item = usize> {
    let liars = world.vehicles.iter().filter(|one| one.character != Character::Honest);
    liars.map(|one| one.number)
}

/// Best is worth more than what everybody began with, and nobody honest tunes from what a liar made.
fn best_is_not_moved(world: &World, is_lie: impl Fn(shoal_swarm::swarm::ValuesHash) -> bool) {
    let honest = world.vehicles.iter().filter(|one| one.character == Character::Honest);
    for vehicle in honest {
        let seen = vehicle.engine.seen();
        assert!(!seen.tuned_from.iter().any(|from| is_lie(*from)), "{} moved", vehicle.number);
        let swarm = vehicle.exchange.as_ref().and_then(|exchange| exchange.swarm()).unwrap();
        let best = swarm.best(world.weather.all_windows()).expect("it is elected");
        assert!(best.values.iter().all(|value| *value > 0), "{best:?}");
    }
}

#[test]
fn who_behaves_for_ten_windows_first_stands_aside_soon_after() {
    for seed in 0..3 {
        let world = world(seed, 6, 4, &[Lie::Later]);
        for liar in liars(&world) {
            let aside = world.first_aside(liar).expect("it is found out");
            assert!((LATER..LATER + 4).contains(&aside), "seed {seed}: in window {aside}");
        }
        best_is_not_moved(&world, |_| false);
    }
}

#[test]
fn who_overfits_what_its_claim_is_measured_on_stands_aside_and_is_followed_by_nobody() {
    // Who follows what others found claims nothing itself; and where two nonces in a row name one part, those who vote find what it
    // claims: what keeps them from going there is that each measures on another part before.
    let (mut claimed, mut found) = (0, 0);
    for seed in 0..4 {
        let world = world(seed, 6, 8, &[Lie::Overfits]);
        best_is_not_moved(&world, |from| world.roads.is_by_heart(from));
        claimed += usize::from(world.roads.count_by_heart() > 0);
        found += liars(&world).filter(|liar| world.first_aside(*liar).is_some()).count();
    }
    assert!(claimed >= 2 && found >= 1, "in {claimed} worlds it claimed, {found} were found out");
}

#[test]
fn who_collude_on_one_noise_stand_aside_and_are_followed_by_nobody() {
    for seed in 0..3 {
        let world = world(seed, 7, 4, &[Lie::Colludes; 2]);
        assert!(world.roads.count_agreed() > 0, "they agreed on what they sent");
        for liar in liars(&world) {
            let aside = world.first_aside(liar).expect("it is found out");
            assert!(aside < 8, "seed {seed}: in window {aside}");
        }
        best_is_not_moved(&world, |from| world.roads.is_agreed(from));
    }
}

#[test]
fn what_is_claimed_when_its_window_is_over_moves_nobody() {
    for seed in 0..3 {
        let world = world(seed, 5, 4, &[Lie::Late]);
        assert!(world.troubles["late"] > 0, "it came late");
        best_is_not_moved(&world, |_| false);
    }
}
