//! One claim of the paper, or of its code, a test. Source of all: Model Swarms, arXiv 2410.11163, and
//! `BunsenFeng/model_swarm`, `search.py`; swarm.md §1.3 names the lines.

use shoal_swarm::populate::{child, populate, velocity};
use shoal_swarm::search::{Chances, History, Search, Settings};
use shoal_swarm::step::{Landmarks, Pull, StepLength, Weights, restart, step};

const NONE: Pull = Pull { inertia: 0.0, cognitive: 0.0, social: 0.0, repel: 0.0 };

/// The starter scripts' grid, in its middle.
const SETTINGS: Settings = Settings {
    weights: Weights { inertia: 0.2, cognitive: 0.3, social: 0.4, repel: 0.05 },
    step_length: StepLength { first: 0.8, decay: 0.95, floor: 0.1 },
    patience: 10,
    restart_patience: 6.7,
    dropout_iterations: 0.0,
    dropout_particles: 0.0,
};

/// The repel term moves a particle away from the global worst.
#[test]
fn repel_moves_away_from_global_worst() {
    // At rest on its own best and on the global best: only the worst can move it.
    let (mut x, mut v, best) = ([1.0, 1.0], [0.0, 0.0], [1.0, 1.0]);
    let at = Landmarks { personal_best: &best, global_best: &best, global_worst: &[0.0, 3.0] };

    step(&mut x, &mut v, at, Pull { repel: 1.0, ..NONE }, 0.5).unwrap();

    assert_eq!(v, [1.0, -2.0]); // x − g_w
    assert_eq!(x, [1.5, 0.0]); // half of it travelled
}

#[test]
fn social_and_cognitive_terms_move_towards_global_and_personal_best() {
    for (pull, towards) in
        [(Pull { social: 0.3, ..NONE }, [4.0, 0.0]), (Pull { cognitive: 0.3, ..NONE }, [0.0, 8.0])]
    {
        let (mut x, mut v) = ([0.0_f32; 2], [9.0; 2]);
        let at = Landmarks {
            personal_best: &[0.0, 8.0],
            global_best: &[4.0, 0.0],
            global_worst: &[7.0, 7.0],
        };
        step(&mut x, &mut v, at, pull, 0.25).unwrap();
        assert_eq!(x, towards.map(|to| to / 4.0));
    }
}

/// The four weights are at least 0 and sum to 1: no velocity is longer than the longest of what it is made of,
/// and none needs to be clamped.
#[test]
fn no_velocity_is_longer_than_what_it_is_made_of() {
    let chances = Chances::new(11, 0, 200, &SETTINGS);
    for (index, draws) in chances.draws.iter().enumerate() {
        let at = |offset: f64| [(index as f64 + offset).sin(), (1.7 * index as f64 + offset).cos()];
        let (mut x, mut v) = (at(0.0), at(1.0));
        let (p, g, worst) = (at(2.0), at(3.0), at(4.0));
        let length = |a: [f64; 2]| a[0].hypot(a[1]);
        let between = |a: [f64; 2], b: [f64; 2]| length([a[0] - b[0], a[1] - b[1]]);
        let parts = [length(v), between(p, x), between(g, x), between(x, worst)];
        let longest = parts.into_iter().fold(0.0, f64::max);
        let landmarks = Landmarks { personal_best: &p, global_best: &g, global_worst: &worst };
        step(&mut x, &mut v, landmarks, SETTINGS.weights.pull(*draws), 1.0).unwrap();
        assert!(length(v) <= longest * (1.0 + 1e-12), "particle {index}");
    }
}

/// One draw a term, not one a coordinate: what is the same for two coordinates stays the same.
#[test]
fn a_draw_is_for_all_coordinates() {
    let chances = Chances::new(3, 0, 20, &SETTINGS);
    for draws in chances.draws {
        let (mut x, mut v) = ([1.0_f32; 3], [0.5; 3]);
        let at = Landmarks {
            personal_best: &[2.0; 3],
            global_best: &[-1.0; 3],
            global_worst: &[0.3; 3],
        };
        step(&mut x, &mut v, at, SETTINGS.weights.pull(draws), 0.7).unwrap();
        assert!(x.iter().all(|value| value.to_bits() == x[0].to_bits()));
    }
}

/// Inertia counts in the divisor although there is no velocity after a restart.
#[test]
fn a_restarted_particle_takes_a_shorter_step() {
    let travelled = |inertia| {
        let (mut x, mut v) = ([5.0], [3.0]);
        restart(&mut x, &mut v, &[1.0]);
        let at = Landmarks { personal_best: &[1.0], global_best: &[2.0], global_worst: &[1.0] };
        step(&mut x, &mut v, at, Pull { inertia, social: 0.4, ..NONE }, 1.0).unwrap();
        x[0] - 1.0
    };
    assert_eq!(travelled(0.0), 1.0);
    assert_eq!(travelled(0.4), 0.5);
}

#[test]
fn only_repel_moves_the_owner_of_the_global_best_after_a_restart() {
    let moved = |repel| {
        let (mut x, mut v) = ([5.0], [3.0]);
        restart(&mut x, &mut v, &[1.0]);
        let at = Landmarks { personal_best: &[1.0], global_best: &[1.0], global_worst: &[0.0] };
        let pull = Pull { inertia: 0.2, cognitive: 0.3, social: 0.4, repel };
        step(&mut x, &mut v, at, pull, 1.0).unwrap();
        x[0]
    };
    assert_eq!(moved(0.0), 1.0);
    assert!(moved(0.1) > 1.0);
}

/// Half of the children lie past their first parent.
#[test]
fn a_child_interpolates_up_to_weight_1_and_extrapolates_past_it() {
    let (first, second) = ([1.0], [0.0]);
    let at = [0.0, 0.5, 1.0, 1.5].map(|w| child(&first, &second, w)[0]);
    assert_eq!(at, [0.0, 0.5, 1.0, 1.5]);
}

/// After the last improvement c − 1 iterations without a better one end the search; without any improvement, c do.
#[test]
fn patience_counts_the_improving_iteration() {
    let mut improved = History::new(0.4);
    improved.append(0.5);
    let mut never = History::new(0.5);
    let mut ran = (0, 0);
    while !improved.stops(10) {
        improved.append(0.5);
        ran.0 += 1;
    }
    while !never.stops(10) {
        never.append(0.5);
        ran.1 += 1;
    }
    assert_eq!(ran, (9, 10));
}

/// Nothing but a better value resets it: an equal one does not.
#[test]
fn a_restart_repeats_until_a_better_value() {
    let mut history = History::new(0.5);
    let mut restarts = Vec::new();
    for value in [0.4, 0.4, 0.5, 0.5, 0.4, 0.4, 0.4, 0.5, 0.6] {
        history.append(value);
        restarts.push(history.restarts(6.7));
    }
    assert_eq!(restarts, [false, false, false, false, false, true, true, true, false]);
}

/// From 1.0 with factor 0.95, the floor 0.1 is first used in iteration 46.
#[test]
fn the_step_length_reaches_its_floor_in_iteration_46() {
    let schedule = StepLength { first: 1.0, decay: 0.95, floor: 0.1 };
    let first = (0..100).find(|index| schedule.at(*index) <= 0.1);
    assert_eq!(first, Some(45));
}

fn swarm(settings: Settings) -> Search<f64> {
    let x = vec![vec![0.0, 0.0], vec![4.0, 1.0], vec![-2.0, 4.0]];
    let v = vec![velocity(&x[0], &x[1]), velocity(&x[1], &x[2]), velocity(&x[2], &x[0])];
    let utilities: Vec<f64> = x.iter().map(|x| valley(x)).collect();
    Search::new(settings, x, v, &utilities).unwrap()
}

/// Highest, 0, at (1, 2), which no particle of [`swarm`] holds.
fn valley(x: &[f64]) -> f64 {
    -((x[0] - 1.0).powi(2) + (x[1] - 2.0).powi(2))
}

/// Best and worst are of all history, not of the iteration.
#[test]
fn best_and_worst_are_never_forgotten() {
    let mut search = swarm(SETTINGS);
    let (mut best, mut worst) = (search.best().utility, search.worst().utility);
    for iteration in 0..60 {
        let chances = Chances::new(1, iteration, 3, &SETTINGS);
        search.iterate(&chances, |_index, x| valley(x));
        let now = search.particles().iter().map(|particle| particle.utility);
        best = now.clone().fold(best, f64::max);
        worst = now.fold(worst, f64::min);
        assert_eq!((search.best().utility, search.worst().utility), (best, worst));
        assert_eq!(valley(&search.best().position), best);
        assert_eq!(valley(&search.worst().position), worst);
    }
    let here = search.particles().iter().map(|particle| particle.utility).fold(0.0, f64::min);
    assert!(worst < here, "the worst lies behind them");
}

/// All particles move by the best and worst of the iteration before: their order does not matter.
#[test]
fn an_iteration_is_synchronous() {
    let chances = Chances::new(2, 0, 3, &SETTINGS);
    let mut forward = swarm(SETTINGS);
    forward.iterate(&chances, |_index, x| valley(x));

    let particles = swarm(SETTINGS).particles().to_vec();
    let of = |index: usize| &particles[2 - index];
    let mut backward = Search::new(
        SETTINGS,
        (0..3).map(|index| of(index).position.clone()).collect(),
        (0..3).map(|index| of(index).velocity.clone()).collect(),
        &[of(0).utility, of(1).utility, of(2).utility],
    )
    .unwrap();
    let draws = chances.draws.iter().rev().copied().collect();
    backward.iterate(&Chances { draws, ..chances }, |_index, x| valley(x));
    for index in 0..3 {
        assert_eq!(forward.particles()[index], backward.particles()[2 - index]);
    }
}

#[test]
fn a_particle_that_is_not_measured_moves_and_repeats_its_utility() {
    let mut search = swarm(SETTINGS);
    let before = search.particles()[1].clone();
    let chances = Chances { skipped: vec![false, true, false], ..Chances::new(2, 0, 3, &SETTINGS) };
    search.iterate(&chances, |index, x| {
        assert_ne!(index, 1, "it is not measured");
        valley(x)
    });
    let after = &search.particles()[1];
    assert_ne!(after.position, before.position);
    assert_eq!(after.utility, before.utility);
    assert_eq!(after.history.stagnation(), 2, "and it counts for patience");
}

#[test]
fn dropout_leaves_out_measurements_as_often_as_it_says() {
    let settings = Settings { dropout_iterations: 0.3, dropout_particles: 0.4, ..SETTINGS };
    let skipped = |iteration| Chances::new(9, iteration, 20, &settings).skipped;
    let all = (0..500).filter(|i| skipped(*i).iter().all(|skip| *skip)).count();
    let some = (0..500).map(|i| skipped(i).iter().filter(|skip| **skip).count()).sum::<usize>();
    assert!((120..180).contains(&all), "{all} iterations of 500");
    // 1 − (1 − 0.3)·(1 − 0.4) = 0.58 of 10,000.
    assert!((5500..6100).contains(&some), "{some} measurements of 10,000");
}

/// What the swarm finds is better than any expert it began with.
#[test]
fn a_search_ends_better_than_its_best_expert() {
    let experts = vec![vec![0.0, 0.0], vec![4.0, 1.0], vec![-2.0, 4.0]];
    let before = experts.iter().map(|x| valley(x)).fold(f64::MIN, f64::max);
    let mut gains = Vec::new();
    for seed in 0..20 {
        let mut x = experts.clone();
        populate(&mut x, 8, &mut stream(seed));
        let v: Vec<Vec<f64>> = (0..8).map(|i| velocity(&x[i], &x[(i + 1) % 8])).collect();
        let utilities: Vec<f64> = x.iter().map(|x| valley(x)).collect();
        let mut search = Search::new(SETTINGS, x, v, &utilities).unwrap();
        search.run(seed, 50, |_index, x| valley(x));
        gains.push(search.best().utility - before);
    }
    assert!(gains.iter().all(|gain| *gain > 0.0), "{gains:?}");
}

fn stream(seed: u64) -> shoal_swarm::draws::Draws {
    use shoal_swarm::draws::{Draws, Key, Term};
    Draws::new(Key { seed, vehicle: None, window: 0, step: 0, term: Term::Parents })
}

/// The official code cannot: its factors are drawn in a worker that is never seeded.
#[test]
fn a_run_repeats_from_its_seed() {
    let run = |seed| {
        let mut search = swarm(SETTINGS);
        let iterations = search.run(seed, 40, |_index, x| valley(x));
        (iterations, search)
    };
    assert_eq!(run(4), run(4));
    assert_ne!(run(4), run(5));
}
