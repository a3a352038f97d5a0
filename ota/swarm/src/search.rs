//! The whole search as the paper's code runs it: synchronous, on one machine. The reference that the fleet's
//! windows are compared with, and what a simulator runs beside them.

use alloc::vec::Vec;

use crate::draws::{Chance, Draws, Key, Term, pull_draws};
use crate::real::Real;
use crate::step::{Landmarks, StepLength, Weights, restart, step};
use shoal_wire::KeyId;

/// How a search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// φ of each term.
    pub weights: Weights,
    /// λ over the iterations.
    pub step_length: StepLength,
    /// c: a search ends after this many values of the global best in a row that are equal, at least 1.
    pub patience: u32,
    /// c_r·c: a particle starts again from its personal best after this many values in a row without a
    /// better one. Not a whole number in the paper's code: 0.67 × 10.
    pub restart_patience: f64,
    /// d_K: how often nothing is measured in an iteration, 0 to 1.
    pub dropout_iterations: f64,
    /// d_N: how often a particle is not measured, 0 to 1.
    pub dropout_particles: f64,
}

/// The values of one thing over time, as far as patience needs them: how many, and since when the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct History {
    best: f64,
    count: u32,
    /// Values since the first that equals the best, itself included.
    since_best: u32,
}

impl History {
    /// A history of one value, the first.
    pub const fn new(first: f64) -> Self {
        Self { best: first, count: 1, since_best: 1 }
    }

    /// Takes the next value. True: it is better than all before. An equal one is not.
    pub fn append(&mut self, value: f64) -> bool {
        self.count = self.count.saturating_add(1);
        let better = value > self.best;
        if better {
            self.best = value;
            self.since_best = 1;
        } else {
            self.since_best = self.since_best.saturating_add(1);
        }
        better
    }

    /// The best value.
    pub const fn best(&self) -> f64 {
        self.best
    }

    /// Values from the best on, the best included: 1 right after a better one.
    pub const fn stagnation(&self) -> u32 {
        self.since_best
    }

    /// Whether a search with these values of its global best ends: more values than `patience`, and the last
    /// `patience` of them equal.
    pub const fn stops(&self, patience: u32) -> bool {
        self.count > patience && self.since_best >= patience
    }

    /// Whether a particle with these values starts again from its personal best. It stays so, iteration after
    /// iteration, until a better value.
    pub fn restarts(&self, restart_patience: f64) -> bool {
        f64::from(self.since_best) >= restart_patience
    }
}

/// One particle of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Particle<T> {
    /// x
    pub position: Vec<T>,
    /// v
    pub velocity: Vec<T>,
    /// p
    pub personal_best: Vec<T>,
    /// Utilities, measured or repeated. Its best is that of p.
    pub history: History,
    /// Of the last measurement: what is repeated while it is not measured.
    pub utility: f64,
}

/// A position with its utility.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<T> {
    /// Where.
    pub position: Vec<T>,
    /// How good, as measured there.
    pub utility: f64,
}

/// A search between two iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct Search<T> {
    settings: Settings,
    particles: Vec<Particle<T>>,
    best: Known<T>,
    worst: Known<T>,
    history: History,
    step_length: f64,
}

/// What chance decides in one iteration; one element a particle.
#[derive(Clone, Debug, PartialEq)]
pub struct Chances {
    /// r: inertia, cognitive, social, repel, each in `[0, 1)`.
    pub draws: Vec<[f64; 4]>,
    /// Which are not measured.
    pub skipped: Vec<bool>,
}

impl Chances {
    /// The draws of one iteration, by key: its number is the window, the particle's index the vehicle.
    pub fn new(seed: u64, iteration: u32, particles: usize, settings: &Settings) -> Self {
        let vehicle = |index: usize| Some(KeyId::new((index as u64).to_le_bytes()));
        let dropout = |vehicle, step| {
            Draws::new(Key { seed, vehicle, window: iteration, step, term: Term::Dropout }).unit()
        };
        let all = dropout(None, 1) < settings.dropout_iterations;
        let skips = |index| all || dropout(vehicle(index), 0) < settings.dropout_particles;
        let draws = |index| pull_draws(seed, vehicle(index), iteration, 0);
        Self {
            draws: (0..particles).map(draws).collect(),
            skipped: (0..particles).map(skips).collect(),
        }
    }
}

impl<T: Real> Search<T> {
    /// A search at these positions with these velocities, after the first measurement of each: best is
    /// the first of the highest, worst the first of the lowest.
    ///
    /// `None` without particles.
    ///
    /// # Panics
    /// If there are not as many velocities and utilities as positions, or two positions differ in length.
    pub fn new(
        settings: Settings,
        positions: Vec<Vec<T>>,
        velocities: Vec<Vec<T>>,
        utilities: &[f64],
    ) -> Option<Self> {
        assert_eq!((velocities.len(), utilities.len()), (positions.len(), positions.len()));
        let of = |position: Vec<T>, velocity: Vec<T>, utility: f64| {
            assert_eq!(position.len(), velocity.len(), "particles of one layout");
            let personal_best = position.clone();
            Particle { position, velocity, personal_best, history: History::new(utility), utility }
        };
        let particles: Vec<Particle<T>> = positions
            .into_iter()
            .zip(velocities)
            .zip(utilities)
            .map(|((position, velocity), &utility)| of(position, velocity, utility))
            .collect();
        let (mut best, mut worst) = (particles.first()?, particles.first()?);
        for particle in &particles {
            if particle.utility > best.utility {
                best = particle;
            }
            if particle.utility < worst.utility {
                worst = particle;
            }
        }
        let known = |particle: &Particle<T>| Known {
            position: particle.position.clone(),
            utility: particle.utility,
        };
        Some(Self {
            best: known(best),
            worst: known(worst),
            history: History::new(best.utility),
            step_length: settings.step_length.first,
            settings,
            particles,
        })
    }

    /// Whether the search has ended.
    pub const fn ended(&self) -> bool {
        self.history.stops(self.settings.patience)
    }

    /// Whether that particle starts again from its personal best in the next iteration.
    pub fn restarts(&self, particle: usize) -> bool {
        let restarts = |one: &Particle<T>| one.history.restarts(self.settings.restart_patience);
        self.particles.get(particle).is_some_and(restarts)
    }

    /// One iteration: all particles move with the same best, worst and step length; those not skipped are
    /// measured; then best and worst are known again. Best moves to the first of the highest when that is
    /// higher than ever, worst to the last of the lowest when that is lower than ever.
    ///
    /// A particle that nothing pulls (every weight or draw 0) stays where it is.
    ///
    /// # Panics
    /// If there are not as many chances as particles.
    pub fn iterate(&mut self, chances: &Chances, mut measure: impl FnMut(usize, &[T]) -> f64) {
        assert_eq!(chances.draws.len(), self.particles.len(), "draws of every particle");
        assert_eq!(chances.skipped.len(), self.particles.len(), "flags of every particle");
        for (particle, draws) in self.particles.iter_mut().zip(&chances.draws) {
            let Particle { position, velocity, personal_best, history, .. } = particle;
            if history.restarts(self.settings.restart_patience) {
                restart(position, velocity, personal_best);
            }
            let at = Landmarks {
                personal_best,
                global_best: &self.best.position,
                global_worst: &self.worst.position,
            };
            let pull = self.settings.weights.pull(*draws);
            // Nothing pulls: it stays, as documented.
            let _unmoved = step(position, velocity, at, pull, T::nearest(self.step_length));
        }
        for (index, (particle, skipped)) in
            self.particles.iter_mut().zip(&chances.skipped).enumerate()
        {
            if !skipped {
                particle.utility = measure(index, &particle.position);
            }
            if particle.history.append(particle.utility) {
                particle.personal_best.copy_from_slice(&particle.position);
            }
        }
        self.know_best_and_worst();
        self.step_length = self.settings.step_length.after(self.step_length);
    }

    fn know_best_and_worst(&mut self) {
        for particle in &self.particles {
            if particle.utility > self.best.utility {
                self.best.utility = particle.utility;
                self.best.position.copy_from_slice(&particle.position);
            }
        }
        self.history.append(self.best.utility);
        let worst_before = self.worst.utility;
        for particle in &self.particles {
            if particle.utility < worst_before && particle.utility <= self.worst.utility {
                self.worst.utility = particle.utility;
                self.worst.position.copy_from_slice(&particle.position);
            }
        }
    }

    /// Iterates until patience ends the search, at most `iterations_max` times, with draws by key. Returns how
    /// many iterations ran.
    pub fn run(
        &mut self,
        seed: u64,
        iterations_max: u32,
        mut measure: impl FnMut(usize, &[T]) -> f64,
    ) -> u32 {
        for iteration in 0..iterations_max {
            if self.ended() {
                return iteration;
            }
            let chances = Chances::new(seed, iteration, self.particles.len(), &self.settings);
            self.iterate(&chances, &mut measure);
        }
        iterations_max
    }

    /// The particles, in the order they were given.
    pub fn particles(&self) -> &[Particle<T>] {
        &self.particles
    }

    /// g: the best ever.
    pub const fn best(&self) -> &Known<T> {
        &self.best
    }

    /// g_w: the worst ever.
    pub const fn worst(&self) -> &Known<T> {
        &self.worst
    }

    /// λ of the next iteration.
    pub const fn step_length(&self) -> f64 {
        self.step_length
    }
}
