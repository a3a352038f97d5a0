//! One claim a test.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_swarm::draws::Chance;
use shoal_swarm::swarm::{Conduct, Event, Flat, Setup};
use shoal_wire::v1::{
    ConsensusRule, PaperRule, RefusalCode, Role, Rule, SwarmDocument, SwarmDocumentFields,
};
use shoal_wire::{KeyId, ParticleId};

use super::shell::{Character, Shell};
use super::world::{DIM, OPEN_MS, PERIOD_MS, Roads, Weather, World, draws};
use crate::make::{SHAPE, roster, utility, utility_of, vehicle};

/// The defaults of swarm-science-2.md.
const CONSENSUS: Rule = Rule::Consensus(ConsensusRule {
    inertia: 0.5,
    up_bits: 2,
    down_bits: 8,
    brake: 0.01,
    clip: true,
    mean_last: 5,
    mix: true,
});

const PAPER: Rule = Rule::Paper(PaperRule {
    inertia: 0.2,
    cognitive: 0.3,
    social: 0.4,
    repel: 0.05,
    step_length: 0.8,
    step_length_decay: 0.95,
    step_length_min: 0.1,
    patience: 10,
    restart_patience: 5,
});

struct Fleet {
    vehicles: u8,
    rule: Rule,
    conduct: Conduct,
    seed: u64,
    apart: f32,
    windows: u32,
    liars: Vec<u8>,
    withholders: Vec<u8>,
    drifters: Vec<u8>,
    broken: Option<u8>,
    doubter: Option<u8>,
    weather: Weather,
}

impl Fleet {
    fn of(vehicles: u8, rule: Rule) -> Self {
        Self {
            vehicles,
            rule,
            conduct: Conduct::default(),
            seed: 1,
            apart: 0.7,
            windows: 10,
            liars: Vec::new(),
            withholders: Vec::new(),
            drifters: Vec::new(),
            broken: None,
            doubter: None,
            weather: Weather::fair(),
        }
    }

    fn setup(&self) -> Setup {
        let document = SwarmDocument::new(SwarmDocumentFields {
            version: 1,
            seed: 42,
            base_model: SHAPE.base_model,
            layout: SHAPE.layout,
            values: DIM as u32,
            rank: 8,
            start_seed: 0,
            asked: 16,
            rule: self.rule,
        })
        .unwrap();
        let start: Flat = vec![0.0; DIM].into();
        Setup {
            vehicle: vehicle(0),
            document,
            start,
            utility: utility(),
            roster: roster(self.vehicles),
            period_seconds: 100,
            conduct: self.conduct,
            private: None,
        }
    }

    fn world(&self) -> World {
        self.world_of(&self.setup(), 1)
    }

    fn world_of(&self, setup: &Setup, terms: usize) -> World {
        let roads = Roads::new(self.seed, self.vehicles, self.apart, terms);
        let character = |number: &u8| {
            if self.liars.contains(number) {
                Character::Liar
            } else if self.withholders.contains(number) {
                Character::Withholder
            } else if self.drifters.contains(number) {
                Character::Drifter
            } else if self.broken == Some(*number) {
                Character::Broken
            } else if self.doubter == Some(*number) {
                Character::Doubter
            } else {
                Character::Honest
            }
        };
        let shells = (0..self.vehicles)
            .map(|number| Shell::new(number, setup.clone(), character(&number)))
            .collect();
        World::new(self.seed, roads, shells, self.weather.clone())
    }

    fn run(&self) -> World {
        let mut world = self.world();
        world.run(1..=self.windows);
        world
    }

    /// What the best vehicle alone reaches in as many nights, by the pack.
    fn alone(&self) -> f64 {
        let roads = Roads::new(self.seed, self.vehicles, self.apart, 1);
        let of = |number: u8| {
            let mut adapter: Flat = vec![0.0; DIM].into();
            let mut best = f64::MIN;
            for night in 1..=self.windows {
                adapter = roads.tune(number, night, &adapter);
                best = best.max(roads.truth(0, &adapter));
            }
            best
        };
        (0..self.vehicles).map(of).fold(f64::MIN, f64::max)
    }

    /// What x_p is worth.
    fn start(&self) -> f64 {
        Roads::new(self.seed, self.vehicles, self.apart, 1).truth(0, &[0.0; DIM])
    }

    /// What best is worth after the last window, as this vehicle sees it.
    fn best(&self, world: &World, number: u8) -> f64 {
        world.best_truth(number, self.windows + 2)
    }
}

/// No record of anybody was found to contradict another, and nothing was rejected.
fn assert_no_rejects(world: &World) {
    let rejects: Vec<&String> = world.log.iter().filter(|line| line.contains("rejects")).collect();
    assert!(rejects.is_empty(), "{:?}", rejects.first());
}

/// Nobody spoke twice under one key.
fn assert_said_once(shell: &Shell) {
    for (what, mut said) in [("claimed", shell.claimed()), ("contributed", shell.contributed())] {
        said.dedup();
        let windows: BTreeSet<u32> = said.iter().map(|(window, _)| *window).collect();
        assert_eq!(windows.len(), said.len(), "{what} twice in a window");
    }
    let voted = shell.voted();
    let once: BTreeSet<&(u32, ParticleId)> = voted.iter().collect();
    assert_eq!(once.len(), voted.len(), "voted twice on a nominee");
}

fn moves(shell: &Shell) -> usize {
    shell.events.iter().filter(|event| matches!(event, Event::Moved { .. })).count()
}

#[test]
fn a_fleet_gets_better_than_any_of_its_vehicles_alone() {
    for rule in [CONSENSUS, PAPER] {
        for vehicles in [2, 4, 8] {
            for seed in 1..=3 {
                let fleet = Fleet { seed, ..Fleet::of(vehicles, rule) };
                let world = fleet.run();
                assert_no_rejects(&world);
                for number in 0..vehicles {
                    let (best, alone) = (fleet.best(&world, number), fleet.alone());
                    assert!(
                        best > alone + 0.005,
                        "{rule:?}: {vehicles}, seed {seed}: {best} {alone}"
                    );
                }
            }
        }
    }
}

/// Nobody can vote on the claims of a vehicle that is alone: best stays x_p, and the vehicle goes by its own measurements.
#[test]
fn a_vehicle_alone_learns_and_elects_nothing() {
    let fleet = Fleet::of(1, CONSENSUS);
    let world = fleet.run();
    assert_no_rejects(&world);
    assert_eq!(fleet.best(&world, 0), fleet.start());
    assert!(moves(&world.shells[0]) > 2);
    assert!(world.shells[0].staged.is_some());
}

/// Loss, delay and repetition of what is not retained: slower, and the same in the end.
#[test]
fn a_bad_network_costs_little_and_divides_nobody() {
    for seed in 1..=3 {
        let mut fleet = Fleet { seed, ..Fleet::of(6, CONSENSUS) };
        let fair = fleet.best(&fleet.run(), 0);
        fleet.weather = Weather { loss: 0.3, repeat: 0.3, ..Weather::fair() };
        let mut world = fleet.run();
        // One more window, in which everyone hears what it has missed.
        world.weather.loss = 0.0;
        world.run(fleet.windows + 1..=fleet.windows + 1);
        assert_no_rejects(&world);
        let window = fleet.windows + 1;
        let bests: BTreeSet<Option<ParticleId>> = world
            .shells
            .iter()
            .map(|shell| shell.swarm.best(window).map(|elected| elected.particle))
            .collect();
        assert_eq!(bests.len(), 1, "seed {seed}");
        let (best, start) = (world.best_truth(0, window), fleet.start());
        assert!(best - start > 0.9 * (fair - start), "seed {seed}: {best} of {fair}");
    }
}

#[test]
fn half_of_the_fleet_absent_in_every_window_costs_little() {
    for seed in 1..=3 {
        let mut fleet = Fleet { seed, windows: 16, ..Fleet::of(8, CONSENSUS) };
        let full = fleet.best(&fleet.run(), 0);
        let away = |number: u8, window: u32| {
            draws(5, number, window / 2).unit() < 0.5 && number > 0 || window == 3 && number == 0
        };
        fleet.weather.absent = Arc::new(away);
        let world = fleet.run();
        let (best, start) = (fleet.best(&world, 0), fleet.start());
        assert!(best - start > 0.9 * (full - start), "seed {seed}: {best} of {full} from {start}");
    }
}

/// One of four, and two of eight: their particles are claimed as perfect and are never best.
#[test]
fn what_liars_claim_never_becomes_best() {
    for (vehicles, liars) in [(4, vec![2]), (8, vec![1, 6])] {
        for seed in 1..=3 {
            for rule in [CONSENSUS, PAPER] {
                // Long enough that who stood aside comes back, and tries again.
                let mut fleet = Fleet { seed, windows: 20, ..Fleet::of(vehicles, rule) };
                let honest_best = fleet.best(&fleet.run(), 0);
                fleet.liars = liars.clone();
                let world = fleet.run();
                let lies: BTreeSet<ParticleId> = liars
                    .iter()
                    .flat_map(|liar| world.shells[usize::from(*liar)].claimed())
                    .map(|(_window, particle)| particle)
                    .collect();
                assert!(lies.len() > 3, "they tried");
                for number in (0..vehicles).filter(|number| !liars.contains(number)) {
                    let swarm = &world.shells[usize::from(number)].swarm;
                    for window in 1..=fleet.windows + 2 {
                        let best = swarm.best(window).map(|elected| elected.particle);
                        assert!(best.is_none_or(|best| !lies.contains(&best)));
                    }
                    for liar in &liars {
                        assert!(swarm.quarantined(fleet.windows).contains(&vehicle(*liar)));
                    }
                    let honest = swarm.quarantined(fleet.windows).len() - liars.len();
                    assert_eq!(honest, 0, "nobody else is");
                }
                let (best, start) = (fleet.best(&world, 0), fleet.start());
                let kept = (best - start) / (honest_best - start);
                assert!(kept > 0.85, "{rule:?}: {vehicles}, seed {seed}: {kept} of the gain");
            }
        }
    }
}

/// What is claimed as perfect and never served cannot be found to be less: it takes nobody's place for long, and costs each vehicle
/// two fetches of each particle at most: one in its window, to move to it, and one to vote on it.
#[test]
fn who_claims_and_never_serves_stands_aside() {
    for (vehicles, withholders) in [(4, vec![2]), (8, vec![1, 6])] {
        for rule in [CONSENSUS, PAPER] {
            let mut fleet = Fleet::of(vehicles, rule);
            let honest_best = fleet.best(&fleet.run(), 0);
            fleet.withholders = withholders.clone();
            let world = fleet.run();
            let stands_aside: BTreeSet<KeyId> =
                withholders.iter().map(|number| vehicle(*number)).collect();
            for number in (0..vehicles).filter(|number| !withholders.contains(number)) {
                let swarm = &world.shells[usize::from(number)].swarm;
                // In the first window they claimed, in the second nobody could vote; for eight windows that counts.
                for window in 3..=9 {
                    assert_eq!(swarm.quarantined(window), stands_aside, "{rule:?}, {vehicles}");
                }
            }
            let claimed =
                withholders.iter().flat_map(|one| world.shells[usize::from(*one)].claimed());
            let mut asked = 0;
            for (_window, particle) in claimed {
                for number in 0..vehicles {
                    let fetch = format!(" {number} Fetch {{ particle: {particle:?}");
                    let fetches = world.log.iter().filter(|line| line.contains(&fetch)).count();
                    assert!(fetches <= 2, "{rule:?}: {number} asks {fetches} times for {particle}");
                    asked += fetches;
                }
            }
            assert!(asked > 0, "somebody wanted what they claimed");
            let (best, start) = (fleet.best(&world, 0), fleet.start());
            let kept = (best - start) / (honest_best - start);
            assert!(kept > 0.85, "{rule:?}, {vehicles}: {kept} of the gain");
        }
    }
}

/// The same fleet, but that nobody could ask for what was claimed: that says nothing of who claimed it.
#[test]
fn who_could_not_be_asked_keeps_its_standing() {
    for rule in [CONSENSUS, PAPER] {
        let weather = Weather { deaf: true, ..Weather::fair() };
        let fleet = Fleet { withholders: vec![2], weather, ..Fleet::of(4, rule) };
        let world = fleet.run();
        for shell in &world.shells {
            for window in 1..=9 {
                assert_eq!(shell.swarm.quarantined(window), BTreeSet::new(), "{rule:?}");
            }
        }
        let missing = format!("code: {} }}", RefusalCode::Missing.number());
        assert!(!world.log.iter().any(|line| line.contains(&missing)));
    }
}

#[test]
fn contributions_of_liars_are_measured_and_dropped() {
    // Steps as they are, on roads that are alike: there is something to gain after the first.
    let conduct = Conduct { line_search: false, ..Conduct::default() };
    let fleet = Fleet { liars: vec![2], conduct, apart: 0.3, ..Fleet::of(4, CONSENSUS) };
    let world = fleet.run();
    let mut folded = Vec::new();
    for shell in [0, 1, 3].map(|number| &world.shells[number]) {
        let mut now = 0;
        for event in &shell.events {
            match event {
                Event::Began { window, .. } => now = *window,
                Event::Merged { dropped, .. } => folded.push((now, *dropped)),
                Event::Moved { .. }
                | Event::Stayed
                | Event::Stepped { .. }
                | Event::Paid { .. }
                | Event::Withheld { .. } => {}
            }
        }
    }
    // While the fleet gains; later the clipped noise is no worse than roads that differ.
    assert!(folded.len() >= 6, "{folded:?}");
    let early: Vec<_> = folded.iter().filter(|(window, _)| *window <= 3).collect();
    assert!(early.len() >= 2 && early.iter().all(|(_, dropped)| *dropped == 1), "{folded:?}");
    let refused = |code: RefusalCode| {
        let what = format!("code: {} }}", code.number());
        world.log.iter().filter(|line| line.contains("Refusal") && line.contains(&what)).count()
    };
    assert!(refused(RefusalCode::Loss) >= early.len());
    assert!(refused(RefusalCode::FalseClaim) > 5);
}

/// Two of eight push what they send a little the same way, in every window, and claim nothing false: each push is smaller than
/// what roads differ by. All that is moved to is measured, so it costs a little of the gain and carries nobody away.
#[test]
fn slow_drift() {
    for seed in 1..=3 {
        let mut fleet = Fleet { seed, windows: 20, ..Fleet::of(8, CONSENSUS) };
        let honest = fleet.best(&fleet.run(), 0);
        fleet.drifters = vec![1, 6];
        let world = fleet.run();
        let (best, start) = (fleet.best(&world, 0), fleet.start());
        let kept = (best - start) / (honest - start);
        assert!(kept > 0.9, "seed {seed}: {kept} of the gain");
        for window in 2..=fleet.windows + 2 {
            let (now, then) = (world.best_truth(0, window), world.best_truth(0, window - 1));
            assert!(now > then - 0.02, "seed {seed}: best fell from {then} to {now} in {window}");
        }
    }
}

#[test]
fn what_is_not_a_number_is_refused_and_the_fleet_goes_on() {
    let mut fleet = Fleet::of(4, CONSENSUS);
    fleet.broken = Some(1);
    let world = fleet.run();
    let code = format!("code: {} }}", RefusalCode::NotFinite.number());
    assert!(world.log.iter().any(|line| line.contains("Refusal") && line.contains(&code)));
    assert!(fleet.best(&world, 0) > fleet.alone());
}

/// The guarantee, whatever the quorum says.
#[test]
fn a_vehicle_does_not_move_to_what_it_measures_to_be_worse() {
    let mut fleet = Fleet::of(4, CONSENSUS);
    fleet.doubter = Some(3);
    let world = fleet.run();
    assert_eq!(moves(&world.shells[3]), 0);
    assert!(moves(&world.shells[0]) > 3);
    assert!(world.shells[0].swarm.best(fleet.windows).is_some(), "and prevents nothing");
}

#[test]
fn two_runs_give_equal_event_logs() {
    for rule in [CONSENSUS, PAPER] {
        let weather = Weather { loss: 0.2, repeat: 0.2, cuts: Some((1, 13)), ..Weather::fair() };
        let run = || Fleet { weather: weather.clone(), ..Fleet::of(5, rule) }.run().log;
        let log = run();
        assert!(log.len() > 300);
        assert_eq!(log, run());
    }
}

/// Power cuts after every kind of act: nothing is said twice, and nobody else suffers.
#[test]
fn a_power_cut_at_any_moment_counts_nothing_twice() {
    for rule in [CONSENSUS, PAPER] {
        for every in 2..40 {
            let weather = Weather { cuts: Some((1, every)), ..Weather::fair() };
            let fleet = Fleet { weather, windows: 5, ..Fleet::of(4, rule) };
            let world = fleet.run();
            let restarts = world.log.iter().filter(|line| line.contains("restarts")).count();
            assert!(restarts > 1, "{restarts} restarts");
            let contradicted = world.log.iter().any(|line| line.contains("Contradicted"));
            assert!(!contradicted, "after {every} acts");
            for shell in &world.shells {
                assert_said_once(shell);
            }
            let lost = world.best_truth(0, 7) <= fleet.start();
            assert!(!lost, "after {every} acts");
        }
    }
}

/// What the vehicle rounded away is not lost by a power cut.
#[test]
fn the_remainder_of_a_contribution_survives_a_power_cut() {
    let fleet = Fleet::of(4, CONSENSUS);
    let mut world = fleet.world();
    world.run(1..=3);
    let (before, after) = (world.shells[1].kept_values(), {
        world.power_cut(1);
        world.shells[1].kept_values()
    });
    assert!(!before.is_empty());
    assert_eq!(before, after);
}

/// Records live for 72 windows of this length; what is best lives until something better comes.
#[test]
fn what_was_best_for_long_is_best_after_a_power_cut() {
    let fleet = Fleet::of(4, CONSENSUS);
    let mut world = fleet.world();
    world.run(1..=6);
    world.run(100..=101);
    let best = |world: &World| {
        let best = world.shells[1].swarm.best(101).unwrap();
        (best.window, best.particle)
    };
    let before = best(&world);
    assert!(before.0 < 7, "nothing that was claimed since is elected yet: {}", before.0);
    world.power_cut(1);
    assert_eq!(best(&world), before);
}

/// A merge has room for fourteen; the others have contributed as well.
#[test]
fn who_folds_waits_for_nobody_where_all_have_contributed() {
    for vehicles in [12, 16] {
        let world = Fleet { windows: 4, ..Fleet::of(vehicles, CONSENSUS) }.run();
        let merges =
            world.log.iter().filter(|line| line.contains("code") && line.contains("Merge 4"));
        let begun: Vec<u64> =
            merges.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        let first = begun.iter().min().unwrap() - 4 * PERIOD_MS;
        assert!(first < OPEN_MS / 2, "{vehicles} vehicles: the first merge after {first} ms");
    }
}

#[test]
fn a_window_without_a_nonce_loses_nothing() {
    let mut fleet = Fleet { windows: 12, ..Fleet::of(4, CONSENSUS) };
    fleet.weather.no_nonce = vec![3, 4, 8];
    let world = fleet.run();
    assert_no_rejects(&world);
    let claims = world.shells.iter().flat_map(|shell| shell.claimed());
    let windows: BTreeSet<u32> = claims.map(|(window, _)| window).collect();
    assert!(!windows.contains(&3) && !windows.contains(&4) && windows.contains(&5));
    assert!(fleet.best(&world, 0) > fleet.alone());
}

/// The utility ramps to the second half of the roads: weights are searched for, and best follows.
#[test]
fn a_fleet_follows_a_moving_utility() {
    let fleet = Fleet { windows: 14, ..Fleet::of(6, CONSENSUS) };
    let mut setup = fleet.setup();
    setup.utility = utility_of(&[&[(5, 1.0), (9, 0.0)], &[(5, 0.0), (9, 1.0)]], None);
    let mut moving = fleet.world_of(&setup, 2);
    moving.run(1..=fleet.windows);
    let steady = fleet.run();
    let second = |world: &World| {
        let shell = &world.shells[0];
        let best = shell.swarm.best(fleet.windows + 1).unwrap().particle;
        world.roads.truth(1, &shell.particles[&best])
    };
    assert!(second(&moving) > second(&steady) + 0.01, "{} {}", second(&moving), second(&steady));
    let events = moving.shells.iter().flat_map(|shell| &shell.events);
    let searched = events.filter(|event| matches!(event, Event::Merged { searched: true, .. }));
    assert!(searched.count() >= 4, "in each window of the ramp");
}

/// A vehicle that was away for long moves to best by its own measurement, though it voted on nothing.
/// After days, and after weeks, when nothing that it knew is on the board any more.
#[test]
fn who_returns_moves_to_best() {
    for windows in [6, 45] {
        let mut fleet = Fleet { windows, ..Fleet::of(5, CONSENSUS) };
        let away = move |number, window| number == 4 && window < windows;
        fleet.weather.absent = Arc::new(away);
        let world = fleet.run();
        let shell = &world.shells[4];
        let base = shell.swarm.base().unwrap();
        assert_eq!(moves(shell), 1, "after {windows} windows");
        assert!(world.roads.truth(0, &shell.particles[&base]) > fleet.alone());
    }
}

/// Who stands by has found what it moves to before its time comes.
#[test]
fn one_folds_and_the_others_follow() {
    let fleet = Fleet::of(4, CONSENSUS);
    let world = fleet.run();
    let claims = |window: u32| {
        let claims = world.shells.iter().flat_map(|shell| shell.claimed());
        claims.filter(|(claimed, _)| *claimed == window).count()
    };
    let alone = (1..=fleet.windows).filter(|window| claims(*window) == 1).count();
    assert!(alone >= 7, "{alone} of {} windows", fleet.windows);
    assert!((1..=fleet.windows).all(|window| claims(window) <= 2));
}

/// What is staged is not worse for the vehicle's own road than what it tuned alone.
#[test]
fn what_is_staged_serves_the_own_road() {
    let fleet = Fleet::of(4, CONSENSUS);
    let world = fleet.run();
    for (number, shell) in (0..4).zip(&world.shells) {
        let own = |adapter: &[f32]| world.roads.measure_own(number, adapter)[0].value;
        let staged = shell.staged.as_ref().unwrap();
        assert!(own(staged) >= own(&shell.checkpoint));
    }
}
/// A merge is coded whole, its coding is not fed back: what a contribution may lose, a merge may not.
#[test]
fn a_merge_needs_more_bits_than_a_contribution() {
    let with = |up_bits, down_bits| {
        let Rule::Consensus(rule) = CONSENSUS else { unreachable!() };
        let rule = Rule::Consensus(ConsensusRule { up_bits, down_bits, ..rule });
        let bests = (1..=3).map(|seed| {
            let fleet = Fleet { seed, ..Fleet::of(4, rule) };
            fleet.best(&fleet.run(), 0)
        });
        bests.sum::<f64>() / 3.0
    };
    let fine = with(8, 8);
    assert!(fine - with(2, 8) < 0.02);
    assert!(fine - with(2, 6) < 0.02);
    assert!(fine - with(2, 2) > 0.05);
}

/// The velocity is the last step of who folds: it begins where the vehicle stood before, an input of the merge by name, and ends at
/// the anchor.
#[test]
fn a_merge_lists_the_step_that_it_takes_again() {
    let conduct = Conduct { line_search: false, ..Conduct::default() };
    let world = Fleet { conduct, ..Fleet::of(4, CONSENSUS) }.run();
    let published = world.shells.iter().flat_map(|shell| &shell.published);
    let merges: Vec<_> = published
        .map(|header| header.body.fields())
        .filter(|fields| fields.role == Role::Merge)
        .collect();
    let before: Vec<_> = world.shells.iter().flat_map(|shell| shell.claimed()).collect();
    let with_inertia = merges.iter().filter(|merge| {
        merge.inputs.iter().any(|input| {
            let moved_to = before.iter().find(|(_, particle)| *particle == input.particle);
            input.weight == -0.5 && moved_to.is_some_and(|(window, _)| window + 2 == merge.window)
        })
    });
    assert!(with_inertia.count() >= 3);
    let first = merges.iter().min_by_key(|merge| merge.window).unwrap();
    assert!(first.inputs.iter().all(|input| input.weight > 0.0), "the first has none");
}
