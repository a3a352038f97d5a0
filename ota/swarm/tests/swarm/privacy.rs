//! Contributions with noise: paid for before anything else, and nothing of the vehicle's own without it.

use std::collections::BTreeMap;

use shoal_swarm::fold::norm;
use shoal_swarm::privacy::{Ledger, Noise, PRIVACY_KEY, Privacy, Private};
use shoal_swarm::swarm::{
    Event, Flat, Input, Keep, Output, Particle, Phase, RejectSetup, STATE_KEY, Saved, Setup, Swarm,
    ValuesHash,
};
use shoal_wire::v1::{PaperRule, Role, Rule};

use crate::doors::{RULE, at, measure, setup, term};
use crate::make::{header_of, nonce, signed};

/// ρ is 1/2 a contribution; ε at 1e-5 of two is 7.08, of three 9.04.
const PRIVACY: Privacy = Privacy { clip: 0.5, noise: 2.0, delta: 1e-5, epsilon_max: 8.0 };

/// A vehicle with a disk: each life has noise of its own.
struct Vehicle {
    privacy: Option<Privacy>,
    swarm: Swarm,
    lives: u8,
    seconds: u64,
    store: BTreeMap<&'static str, Vec<u8>>,
    values: BTreeMap<ValuesHash, Flat>,
    events: Vec<Event>,
}

fn told(privacy: Option<Privacy>, ledger: Ledger, life: u8) -> Setup {
    let noise = Noise::new([life; 32]);
    let private = privacy.map(|privacy| Private { privacy, ledger, noise });
    Setup { private, ..setup(Rule::Consensus(RULE)) }
}

impl Vehicle {
    fn new(privacy: Option<Privacy>) -> Self {
        let swarm = Swarm::new(told(privacy, Ledger::default(), 0), Saved::default(), |_| None);
        let (store, values) = (BTreeMap::new(), BTreeMap::new());
        let (swarm, events) = (swarm.unwrap(), Vec::new());
        Self { privacy, swarm, lives: 0, seconds: 0, store, values, events }
    }

    /// The power goes and comes back.
    fn restart(&mut self) {
        self.lives += 1;
        let get = |key: &str| self.store.get(key).map(Vec::as_slice);
        let setup = told(self.privacy, Ledger::decode(get(PRIVACY_KEY)), self.lives);
        let saved = Saved::decode(get(STATE_KEY)).unwrap();
        self.swarm = Swarm::new(setup, saved, |hash| self.values.get(hash).cloned()).unwrap();
    }

    fn ledger(&self) -> Ledger {
        Ledger::decode(self.store.get(PRIVACY_KEY).map(Vec::as_slice))
    }

    fn give(&mut self, input: Input<'_>) {
        self.swarm.handle_input(at(self.seconds), input).unwrap();
    }

    fn open(&mut self, window: u32, tuned: [f32; 3]) {
        self.give(Input::Tuned(&tuned.into()));
        self.seconds = 100 * u64::from(window);
        let closes_at = at(self.seconds + 40).since_boot;
        self.give(Input::Phase(Phase::Open { window, closes_at }));
        self.give(Input::Nonce(&nonce(window)));
        self.give(Input::Current);
    }

    fn close(&mut self) {
        self.give(Input::Phase(Phase::Closed));
        self.outputs();
    }

    /// What comes out, after all that is to be kept is.
    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        loop {
            match self.swarm.poll_persist() {
                Some(Keep::Values { hash, values }) => drop(self.values.insert(hash, values)),
                Some(Keep::State { key, bytes }) => drop(self.store.insert(key, bytes)),
                None => match self.swarm.poll_output() {
                    Some(Output::Event(event)) => self.events.push(event),
                    Some(output) => outputs.push(output),
                    None => return outputs,
                },
            }
        }
    }

    fn contribution(&mut self) -> Option<(u64, Particle)> {
        self.outputs().into_iter().find_map(|output| {
            let Output::Code { job, particle } = output else { return None };
            (particle.role == Role::Contribution).then_some((job, particle))
        })
    }

    /// The contribution is coded so, published, folded alone and moved to.
    fn merged(&mut self, (job, particle): (u64, Particle), sent: &Flat) {
        let header = header_of(particle.role, particle.window, 50, particle.anchor, &[]);
        self.give(Input::Coded { job, particle: header.id(), values: sent, slot: Some(0) });
        self.give(Input::Header { header: &signed(0, 0, header), slot: 0 });
        self.seconds += 25;
        self.swarm.handle_timeout(at(self.seconds));
        for _ in 0..10 {
            let outputs = self.outputs();
            let code = outputs.iter().find_map(|output| {
                let Output::Code { job, particle } = output else { return None };
                Some((*job, particle.clone()))
            });
            if let Some((job, particle)) = code {
                let inputs: Vec<_> = particle.inputs.iter().map(|one| one.particle).collect();
                let header = header_of(particle.role, particle.window, 51, None, &inputs);
                let values = &particle.difference;
                self.give(Input::Coded { job, particle: header.id(), values, slot: Some(1) });
                self.give(Input::Header { header: &signed(0, 1, header), slot: 1 });
            } else if outputs.iter().any(|output| matches!(output, Output::Measure { .. })) {
                let (job, ..) = measure(&outputs);
                self.give(Input::Measured { job, terms: &term(100, 0) });
            }
        }
        assert!(self.events.iter().any(|event| matches!(event, Event::Moved { .. })));
    }
}

/// Source: `docs/decisions/0027-privacy.md`.
#[test]
fn what_is_contributed_is_clipped_and_noised() {
    let (mut honest, mut private) = (Vehicle::new(None), Vehicle::new(Some(PRIVACY)));
    for vehicle in [&mut honest, &mut private] {
        vehicle.open(1, [300.5, -400.0, 0.0]);
    }
    let (_job, plain) = honest.contribution().unwrap();
    assert!(!plain.noised);
    assert_eq!(*plain.difference, [300.0, -400.0, 0.0]);
    let (_job, noised) = private.contribution().unwrap();
    assert!(noised.noised);
    // 0.5 long, in noise of deviation 1.
    assert!(noised.difference.iter().all(|value| *value != 0.0 && value.abs() < 6.0));
    assert_eq!(honest.ledger(), Ledger::default());
}

/// Nothing comes out, and so nothing is published, before it is paid for durably.
#[test]
fn a_contribution_is_paid_for_before_anything_is_done_with_it() {
    let mut vehicle = Vehicle::new(Some(PRIVACY));
    vehicle.open(1, [1.5, 0.0, 0.0]);
    let mut kept = Ledger::default();
    loop {
        if let Some(keep) = vehicle.swarm.poll_persist() {
            if let Keep::State { key: PRIVACY_KEY, bytes } = keep {
                kept = Ledger::decode(Some(&bytes));
            }
            continue;
        }
        match vehicle.swarm.poll_output() {
            Some(Output::Code { .. }) => break,
            Some(_before) => {}
            None => panic!("nothing is contributed"),
        }
    }
    assert!((kept.epsilon(1e-5) - 4.728).abs() < 1e-3, "{kept:?}");
}

/// A power cut between noise and publishing: other noise is drawn, and paid for again; the budget holds over all lives.
#[test]
fn what_is_noised_again_after_a_power_cut_is_paid_for_again() {
    let mut vehicle = Vehicle::new(Some(PRIVACY));
    let mut drawn = Vec::new();
    for _life in 0..5 {
        vehicle.open(1, [1.5, 0.0, 0.0]);
        drawn.extend(vehicle.contribution().map(|(_job, particle)| particle.difference));
        vehicle.restart();
    }
    assert_eq!(drawn.len(), 2, "two can be paid for");
    assert_ne!(drawn[0], drawn[1]);
    assert!((vehicle.ledger().epsilon(1e-5) - 7.077).abs() < 1e-3);
    let withheld = vehicle.events.iter().filter(|event| matches!(event, Event::Withheld { .. }));
    assert_eq!(withheld.count(), 3);
}

/// The budget is spent: it goes on with everything but contributing.
#[test]
fn a_vehicle_without_budget_contributes_no_more_and_decides_as_before() {
    let mut vehicle = Vehicle::new(Some(PRIVACY));
    for window in 1..=4 {
        vehicle.open(window, [1.5, window as f32, 0.0]);
        let contributes = vehicle.contribution().is_some();
        assert_eq!(contributes, window <= 2, "window {window}");
        if !contributes {
            vehicle.seconds += 41;
            vehicle.swarm.handle_timeout(at(vehicle.seconds));
            vehicle.give(Input::Phase(Phase::Closing));
            let outputs = vehicle.outputs();
            let decided = outputs.iter().any(|output| matches!(output, Output::Tune { .. }));
            assert!(decided, "window {window}: {outputs:?}");
        }
        vehicle.close();
    }
    let last = vehicle.events.iter().rev().find_map(|event| {
        let Event::Withheld { epsilon } = event else { return None };
        Some(*epsilon)
    });
    assert!((last.unwrap() - 7.077).abs() < 1e-3);
}

/// That a vehicle has nothing to say is not to be seen.
#[test]
fn a_private_vehicle_that_tuned_nothing_contributes_noise() {
    let (mut honest, mut private) = (Vehicle::new(None), Vehicle::new(Some(PRIVACY)));
    for (vehicle, contributes) in [(&mut honest, false), (&mut private, true)] {
        vehicle.open(1, [0.5, 0.0, 0.0]);
        assert_eq!(vehicle.contribution().is_some(), contributes);
    }
}

/// What coding kept back of a noised contribution is brought by the next; it holds the noise, and not what the noise hid.
#[test]
fn error_feedback_brings_what_is_left_of_the_noised_run_alone() {
    let mut vehicle = Vehicle::new(Some(Privacy { epsilon_max: 1e9, ..PRIVACY }));
    vehicle.open(1, [100.5, 0.0, 0.0]);
    let (job, particle) = vehicle.contribution().unwrap();
    // All but a little of it is sent: 100.0 was meant, and 0.5 of it is left of the clip.
    let sent: Flat = particle.difference.iter().map(|value| value - 0.01).collect();
    vehicle.merged((job, particle), &sent);
    let kept: Vec<&Flat> = vehicle.values.values().filter(|kept| norm(kept) < 0.1).collect();
    assert_eq!(kept.len(), 1, "what is kept back is what coding left: {:?}", vehicle.values);
    assert!(kept[0].iter().all(|value| (value - 0.01).abs() < 1e-5));
}

/// Switched on after a contribution without noise: what coding kept back of that one never crosses.
#[test]
fn what_was_kept_back_before_the_noise_is_dropped() {
    for privacy in [None, Some(Privacy { noise: 1e-6, clip: 1e-3, delta: 0.1, epsilon_max: 1e15 })]
    {
        let mut vehicle = Vehicle::new(None);
        vehicle.open(1, [100.5, 0.0, 0.0]);
        let coded = vehicle.contribution().unwrap();
        vehicle.merged(coded, &vec![1.0, 0.0, 0.0].into());
        vehicle.close();
        vehicle.privacy = privacy;
        vehicle.restart();
        vehicle.open(2, [1.5, 0.0, 0.0]);
        let (_job, particle) = vehicle.contribution().unwrap();
        let brought = norm(&particle.difference) > 50.0;
        assert_eq!(brought, privacy.is_none(), "{particle:?}");
    }
}

/// A rule by which a vehicle claims what it tuned, as it is, cannot be made private: it is refused, not done without noise.
#[test]
fn privacy_is_refused_where_it_cannot_be_kept() {
    let noise = Noise::new([0; 32]);
    let private = Some(Private { privacy: PRIVACY, ledger: Ledger::default(), noise });
    let setup = Setup { private, ..setup(Rule::Paper(PaperRule::USUAL)) };
    let refused = Swarm::new(setup, Saved::default(), |_| None);
    assert_eq!(refused.err(), Some(RejectSetup::NotPrivate));
}
