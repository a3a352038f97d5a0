//! From where a vehicle goes on that is started again: only what it wrote down is left, and what it tuned is handed in once more.

use std::collections::BTreeMap;

use shoal_swarm::swarm::{
    Conduct, Flat, Input, Keep, Output, Phase, STATE_KEY, Saved, Setup, Swarm, ValuesHash,
};
use shoal_wire::ParticleId;
use shoal_wire::v1::{ConsensusRule, PaperRule, Role, Rule};

use crate::doors::{RULE, at, code, measure, setup, term};
use crate::make::{header_of, nonce, signed, utility_of};

/// One vehicle over many lives; windows are open for 40 s, from 100·w s on.
struct Lives {
    setup: Setup,
    swarm: Swarm,
    seconds: u64,
    state: Option<Vec<u8>>,
    /// The one before.
    before: Option<Vec<u8>>,
    values: BTreeMap<ValuesHash, Flat>,
    /// What it coded.
    particles: BTreeMap<ParticleId, Flat>,
    /// What it said in the window that was looked at last.
    said: Vec<Output>,
}

impl Lives {
    fn new(rule: Rule) -> Self {
        Self::of(Setup {
            conduct: Conduct { folders: usize::MAX, ..Conduct::default() },
            ..setup(rule)
        })
    }

    fn of(setup: Setup) -> Self {
        let swarm = Swarm::new(setup.clone(), Saved::default(), |_| None).unwrap();
        let (values, particles, said) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { setup, swarm, seconds: 0, state: None, before: None, values, particles, said }
    }

    /// The power goes, and comes back.
    fn start(&mut self) {
        let saved = Saved::decode(self.state.as_deref()).unwrap();
        let values = |hash: &ValuesHash| self.values.get(hash).cloned();
        self.swarm = Swarm::new(self.setup.clone(), saved, values).unwrap();
    }

    fn give(&mut self, input: Input<'_>) {
        self.swarm.handle_input(at(self.seconds), input).unwrap();
    }

    fn tuned(&mut self, values: [f32; 3]) {
        self.give(Input::Tuned(&values.into()));
    }

    fn outputs(&mut self) -> Vec<Output> {
        while let Some(keep) = self.swarm.poll_persist() {
            match keep {
                Keep::Values { hash, values } => drop(self.values.insert(hash, values)),
                Keep::State { key, bytes } => {
                    assert_eq!(key, STATE_KEY);
                    self.before = self.state.replace(bytes);
                }
            }
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| self.swarm.poll_output()).collect();
        self.said.extend(outputs.iter().cloned());
        outputs
    }

    fn open(&mut self, window: u32) {
        self.said.clear();
        self.seconds = 100 * u64::from(window);
        let closes_at = at(self.seconds + 40).since_boot;
        self.give(Input::Phase(Phase::Open { window, closes_at }));
        self.give(Input::Nonce(&nonce(window)));
        self.give(Input::Current);
    }

    /// Goes through a window in which every particle is measured to be so much better than what it is beside, until it is decided from
    /// where to tune: that. `until`: it ends before, once this was said.
    fn decides(&mut self, window: u32, gain: i16, until: impl Fn(&Output) -> bool) -> Option<Flat> {
        self.open(window);
        for _ in 0..40 {
            let outputs = self.outputs();
            if outputs.iter().any(&until) {
                return None;
            }
            let tunes = outputs.iter().find_map(|output| {
                let Output::Tune { from, .. } = output else { return None };
                Some(from.clone())
            });
            if tunes.is_some() {
                return tunes;
            }
            for output in &outputs {
                if let Output::Fetch { particle, .. } = *output {
                    let values = self.particles[&particle].clone();
                    self.give(Input::Fetched { particle, values: &values });
                }
            }
            if outputs.iter().any(|output| matches!(output, Output::Code { .. })) {
                let (job, particle) = code(&outputs);
                let inputs: Vec<_> = particle.inputs.iter().map(|one| one.particle).collect();
                let header =
                    header_of(particle.role, window, window as u8, particle.anchor, &inputs);
                let (name, values) = (header.id(), particle.difference.clone());
                let slot = u8::from(particle.role == Role::Merge);
                self.particles.insert(name, values.clone());
                self.give(Input::Coded { job, particle: name, values: &values, slot: Some(slot) });
                let header = signed(0, 0, header);
                self.give(Input::Header { header: &header, slot });
            } else if outputs.iter().any(|output| matches!(output, Output::Measure { .. })) {
                let (job, ..) = measure(&outputs);
                self.give(Input::Measured { job, terms: &term(gain, 0) });
            } else {
                self.seconds += 25;
                self.swarm.handle_timeout(at(self.seconds));
            }
        }
        panic!("nothing is decided in window {window}: {:#?}", self.said)
    }

    fn contributes(&self) -> bool {
        let is_one = |output: &Output| matches!(output, Output::Code { particle, .. } if particle.role == Role::Contribution);
        self.said.iter().any(is_one)
    }

    fn keeps(&self, values: &[f32]) -> bool {
        let saved = Saved::decode(self.state.as_deref()).unwrap();
        saved.values().contains(&ValuesHash::of(values))
    }
}

fn never(_output: &Output) -> bool {
    false
}

/// It said that it stands on what it moved to, tuned from where all began, and took back with its next contribution what it had moved.
#[test]
fn who_moved_and_has_not_tuned_yet_stands_where_it_moved() {
    for starts in [true, false] {
        let mut lives = Lives::new(Rule::Consensus(RULE));
        lives.tuned([1.5, 0.0, 0.0]);
        let moved = lives.decides(1, 10, never).unwrap();
        assert!(lives.swarm.base().is_some() && *moved != [0.5, 0.0, 0.0]);
        if starts {
            lives.start();
        }
        assert_eq!(lives.swarm.position(), &moved);
        // Nothing was tuned since: neither what was tuned before nor x_p is where it goes on.
        assert_eq!(lives.decides(2, -10, never), Some(moved.clone()), "starts: {starts}");
        assert!(!lives.contributes());
        lives.tuned([2.0, 0.0, 0.0]);
        assert_eq!(lives.decides(3, -10, never), Some([2.0, 0.0, 0.0].into()));
        assert!(lives.contributes());
    }
}

#[test]
fn what_was_contributed_is_not_contributed_again_by_who_starts() {
    for starts in [true, false] {
        let mut lives = Lives::new(Rule::Consensus(RULE));
        lives.tuned([1.5, 0.0, 0.0]);
        lives.decides(1, -10, |output| matches!(output, Output::Publish { .. }));
        assert!(lives.contributes());
        if starts {
            lives.start();
            lives.tuned([1.5, 0.0, 0.0]);
        }
        assert_eq!(lives.decides(2, -10, never), Some([1.5, 0.0, 0.0].into()));
        assert!(!lives.contributes(), "starts: {starts}");
    }
}

/// A vehicle with a camera begins anew with each time it is parked: its own steps would never have been kept.
#[test]
fn own_steps_add_up_over_starts_and_none_counts_twice() {
    let rule = ConsensusRule { mix: true, ..RULE };
    let mut lives = Lives::new(Rule::Consensus(rule));
    lives.tuned([1.5, 0.0, 0.0]);
    lives.start();
    lives.tuned([1.5, 0.0, 0.0]);
    lives.decides(1, -10, never).unwrap();
    assert!(lives.keeps(&[1.0, 0.0, 0.0]));
    for _ in 0..3 {
        lives.start();
        lives.tuned([1.75, 0.0, 0.0]);
    }
    lives.decides(2, -10, never).unwrap();
    assert!(lives.keeps(&[0.8_f32 * 1.0 + 0.25, 0.0, 0.0]));
}

/// By the paper's rule, which may have the vehicle start between its claim and its step.
#[test]
fn a_better_personal_best_is_known_after_a_start() {
    let mut lives = Lives::new(Rule::Paper(PaperRule::USUAL));
    lives.tuned([1.5, 0.0, 0.0]);
    lives.decides(1, 10, |output| matches!(output, Output::Claim(_)));
    // The power goes before the step is written down.
    lives.state = lives.before.take();
    assert!(lives.keeps(&[1.5, 0.0, 0.0]), "x_p + 1.0 is its own best");
    lives.start();
    lives.tuned([1.5, 0.0, 0.0]);
    lives.open(2);
    let stepped = |outputs: &[Output]| outputs.iter().any(|one| matches!(one, Output::Tune { .. }));
    let outputs = lives.outputs();
    assert!(stepped(&outputs), "it is claimed already: {outputs:?}");
}

/// swarm.md §7.1, step 5: where the utility moves by more than ramps do, a particle is at half its velocity, and what counts windows
/// without an improvement begins anew.
#[test]
fn a_utility_that_moves_excites_a_particle() {
    let steps = |moves: bool| {
        let second: &[(u32, f32)] =
            if moves { &[(8, 0.0), (9, 1.0)] } else { &[(8, 0.0), (90, 1.0)] };
        let utility = utility_of(&[&[(0, 1.0)], second], None);
        let mut lives = Lives::of(Setup { utility, ..setup(Rule::Paper(PaperRule::USUAL)) });
        let mut restarts = Vec::new();
        for window in 1..=9 {
            lives.open(window);
            lives.tuned([window as f32, 0.0, 0.0]);
            for _ in 0..20 {
                let outputs = lives.outputs();
                if outputs.iter().any(|output| matches!(output, Output::Code { .. })) {
                    let (job, particle) = code(&outputs);
                    let header = header_of(particle.role, window, window as u8, None, &[]);
                    let values = particle.difference.clone();
                    let slot = Some(0);
                    lives.give(Input::Coded { job, particle: header.id(), values: &values, slot });
                } else if outputs.iter().any(|output| matches!(output, Output::Measure { .. })) {
                    let (job, ..) = measure(&outputs);
                    let terms = [term(-1, 0)[0], term(-1, 0)[0]];
                    lives.give(Input::Measured { job, terms: &terms });
                }
            }
            let restarted = lives.said.iter().find_map(|output| {
                let Output::Event(shoal_swarm::swarm::Event::Stepped { restarted, .. }) = output
                else {
                    return None;
                };
                Some(*restarted)
            });
            restarts.push(restarted.unwrap());
        }
        restarts
    };
    assert_eq!(steps(false)[5..], [true; 4]);
    assert_eq!(steps(true)[5..], [true, true, true, false], "in the last one it moves");
}
