//! The fast code against a slow and obvious swarm in f64, which keeps every history and divides last.

use shoal_swarm::search::{Chances, Search, Settings};
use shoal_swarm::step::{Landmarks, StepLength, Weights, step};

const SETTINGS: Settings = Settings {
    weights: Weights { inertia: 0.3, cognitive: 0.2, social: 0.3, repel: 0.1 },
    step_length: StepLength { first: 0.9, decay: 0.9, floor: 0.1 },
    patience: 8,
    restart_patience: 4.0,
    dropout_iterations: 0.1,
    dropout_particles: 0.2,
};

/// As the formulas are written: whole histories, one coordinate after the other.
struct Slow {
    x: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
    p: Vec<Vec<f64>>,
    utilities: Vec<Vec<f64>>,
    best: Vec<f64>,
    worst: Vec<f64>,
    best_utilities: Vec<f64>,
    worst_utility: f64,
    step_length: f64,
}

impl Slow {
    fn new(x: Vec<Vec<f64>>, v: Vec<Vec<f64>>) -> Self {
        let first: Vec<f64> = x.iter().map(|x| hills(x)).collect();
        let highest = first.iter().copied().fold(f64::MIN, f64::max);
        let lowest = first.iter().copied().fold(f64::MAX, f64::min);
        let at = |utility| first.iter().position(|one| *one == utility).unwrap();
        Self {
            best: x[at(highest)].clone(),
            worst: x[at(lowest)].clone(),
            best_utilities: vec![highest],
            worst_utility: lowest,
            utilities: first.iter().map(|one| vec![*one]).collect(),
            p: x.clone(),
            x,
            v,
            step_length: SETTINGS.step_length.first,
        }
    }

    fn personal_best_utility(&self, i: usize) -> f64 {
        self.utilities[i].iter().copied().fold(f64::MIN, f64::max)
    }

    fn ended(&self) -> bool {
        let (values, patience) = (&self.best_utilities, SETTINGS.patience as usize);
        let last = values.last().unwrap();
        values.len() > patience && values[values.len() - patience..].iter().all(|one| one == last)
    }

    fn iterate(&mut self, chances: &Chances) {
        for i in 0..self.x.len() {
            let best = self.personal_best_utility(i);
            let first = self.utilities[i].iter().position(|one| *one == best).unwrap();
            if (self.utilities[i].len() - first) as f64 >= SETTINGS.restart_patience {
                self.x[i] = self.p[i].clone();
                self.v[i] = vec![0.0; self.x[i].len()];
            }
            let [r_v, r_p, r_g, r_w] = chances.draws[i];
            let w = SETTINGS.weights;
            let (a_v, a_p) = (r_v * w.inertia, r_p * w.cognitive);
            let (a_g, a_w) = (r_g * w.social, r_w * w.repel);
            for d in 0..self.x[i].len() {
                let x = self.x[i][d];
                let towards = a_p * (self.p[i][d] - x) + a_g * (self.best[d] - x);
                let sum = a_v * self.v[i][d] + towards + a_w * (x - self.worst[d]);
                self.v[i][d] = sum / (a_v + a_p + a_g + a_w);
                self.x[i][d] = x + self.step_length * self.v[i][d];
            }
        }
        for i in 0..self.x.len() {
            let before = *self.utilities[i].last().unwrap();
            let utility = if chances.skipped[i] { before } else { hills(&self.x[i]) };
            if utility > self.personal_best_utility(i) {
                self.p[i] = self.x[i].clone();
            }
            self.utilities[i].push(utility);
        }
        let last: Vec<f64> = self.utilities.iter().map(|all| *all.last().unwrap()).collect();
        let highest = last.iter().copied().fold(f64::MIN, f64::max);
        let lowest = last.iter().copied().fold(f64::MAX, f64::min);
        let best = *self.best_utilities.last().unwrap();
        if highest > best {
            self.best = self.x[last.iter().position(|one| *one == highest).unwrap()].clone();
        }
        self.best_utilities.push(best.max(highest));
        if lowest < self.worst_utility {
            self.worst = self.x[last.iter().rposition(|one| *one == lowest).unwrap()].clone();
            self.worst_utility = lowest;
        }
        let shorter = self.step_length * SETTINGS.step_length.decay;
        self.step_length = shorter.max(SETTINGS.step_length.floor);
    }
}

/// Several peaks, so that best and worst move often; steps, so that values are equal often.
fn hills(x: &[f64]) -> f64 {
    let smooth: f64 = x.iter().map(|x| (2.0 * x).sin() - 0.1 * x * x).sum();
    (smooth * 8.0).round() / 8.0
}

fn begin(seed: u64) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let draws = Chances::new(seed, u32::MAX, 12, &SETTINGS).draws;
    let rows: Vec<Vec<f64>> = draws.iter().map(|row| row.map(|u| 6.0 * u - 3.0).to_vec()).collect();
    (rows[..6].to_vec(), rows[6..].to_vec())
}

#[test]
fn a_search_is_that_of_the_slow_swarm() {
    let mut restarted = 0;
    for seed in 0..40 {
        let (x, v) = begin(seed);
        let utilities: Vec<f64> = x.iter().map(|x| hills(x)).collect();
        let mut slow = Slow::new(x.clone(), v.clone());
        let mut fast = Search::new(SETTINGS, x, v, &utilities).unwrap();
        for iteration in 0..40 {
            assert_eq!(fast.ended(), slow.ended(), "seed {seed}, iteration {iteration}");
            if fast.ended() {
                break;
            }
            restarted += (0..6).filter(|particle| fast.restarts(*particle)).count();
            let chances = Chances::new(seed, iteration, 6, &SETTINGS);
            slow.iterate(&chances);
            fast.iterate(&chances, |_index, x| hills(x));
            let what = format!("seed {seed}, iteration {iteration}");
            for (i, particle) in fast.particles().iter().enumerate() {
                crate::json::near(&what, &particle.position, &slow.x[i], 1e-9);
                crate::json::near(&what, &particle.velocity, &slow.v[i], 1e-9);
                crate::json::near(&what, &particle.personal_best, &slow.p[i], 1e-9);
            }
            crate::json::near(&what, &fast.best().position, &slow.best, 1e-9);
            crate::json::near(&what, &fast.worst().position, &slow.worst, 1e-9);
        }
    }
    assert!(restarted > 100, "restarts were seen: {restarted}");
}

/// One step of a large particle in f32 is that in f64, to the rounding of its numbers.
#[test]
fn a_step_in_f32_is_that_in_f64() {
    const DIM: usize = 10_000;
    let values = |offset: f64| (0..DIM).map(|i| (0.37 * i as f64 + offset).sin()).collect();
    let [x, v, p, g, w]: [Vec<f64>; 5] = [0.0, 1.0, 2.0, 3.0, 4.0].map(values);
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let pull = SETTINGS.weights.pull([0.2, 0.9, 0.6, 0.4]);

    let (mut x64, mut v64) = (x.clone(), v.clone());
    let at = Landmarks { personal_best: &p, global_best: &g, global_worst: &w };
    step(&mut x64, &mut v64, at, pull, 0.8).unwrap();
    let (mut x32, mut v32) = (narrow(&x), narrow(&v));
    let [p, g, w] = [&p, &g, &w].map(|values| narrow(values));
    let at = Landmarks { personal_best: &p, global_best: &g, global_worst: &w };
    step(&mut x32, &mut v32, at, pull, 0.8).unwrap();

    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    crate::json::near("x", &wide(&x32), &x64, 5e-7);
    crate::json::near("v", &wide(&v32), &v64, 5e-7);
}
