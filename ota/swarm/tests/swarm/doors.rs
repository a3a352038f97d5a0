//! One core, input by input: what each door does and refuses.

use std::collections::BTreeSet;

use embassy_time::{Duration, Instant};
use shoal_swarm::records::RejectRecord;
use shoal_swarm::swarm::{
    Conduct, Flat, Input, Keep, On, Output, Particle, Phase, Reject, RejectSetup, RejectValues,
    Saved, Setup, Swarm, TermResult,
};
use shoal_swarm::utility::RejectSuccessor;
use shoal_wire::v1::{
    ConsensusRule, ParticleHeader, RefusalCode, Role, Rule, SwarmDocument, SwarmDocumentFields,
};
use shoal_wire::{Now, ParticleId, Utc};

use crate::make::{
    SHAPE, document, header_of, nonce, nonce_bytes, roster, signed, utility, vehicle,
};

pub(crate) const RULE: ConsensusRule = ConsensusRule {
    inertia: 0.5,
    up_bits: 2,
    down_bits: 8,
    brake: 0.01,
    clip: true,
    mean_last: 5,
    mix: false,
};

pub(crate) fn setup(rule: Rule) -> Setup {
    let document = SwarmDocument::new(SwarmDocumentFields {
        version: 1,
        seed: 42,
        base_model: SHAPE.base_model,
        layout: SHAPE.layout,
        values: SHAPE.values,
        rank: 8,
        start_seed: 0,
        asked: 16,
        rule,
    });
    Setup {
        vehicle: vehicle(0),
        document: document.unwrap(),
        start: vec![0.5, 0.0, 0.0].into(),
        utility: utility(),
        roster: roster(4),
        period_seconds: 100,
        conduct: Conduct { folders: usize::MAX, ..Conduct::default() },
        private: None,
    }
}

pub(crate) fn at(seconds: u64) -> Now {
    Now {
        since_boot: Instant::MIN + Duration::from_secs(seconds),
        utc: Utc::Known { seconds, uncertainty_seconds: 0 },
    }
}

/// A core whose outputs are looked at one by one. Windows are open for 40 s, from 100·w s on.
pub(crate) struct Solo {
    pub(crate) swarm: Swarm,
    pub(crate) seconds: u64,
}

impl Solo {
    fn new() -> Self {
        let swarm = Swarm::new(setup(Rule::Consensus(RULE)), Saved::default(), |_| None).unwrap();
        Self { swarm, seconds: 0 }
    }

    pub(crate) fn with_folders(folders: usize, standby: usize) -> Self {
        let conduct = Conduct { folders, standby, ..Conduct::default() };
        let setup = Setup { conduct, ..setup(Rule::Consensus(RULE)) };
        Self { swarm: Swarm::new(setup, Saved::default(), |_| None).unwrap(), seconds: 0 }
    }

    /// Whether it has been decided, since the outputs were looked at, where to tune from.
    pub(crate) fn decided(&mut self) -> bool {
        self.outputs().iter().any(|output| matches!(output, Output::Tune { .. }))
    }

    pub(crate) fn give(&mut self, input: Input<'_>) -> Result<bool, Reject> {
        self.swarm.handle_input(at(self.seconds), input)
    }

    /// Everything that comes out, after all that is to be kept.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        while self.swarm.poll_persist().is_some() {}
        std::iter::from_fn(|| self.swarm.poll_output())
            .filter(|output| !matches!(output, Output::Event(_)))
            .collect()
    }

    /// Opens a window with its nonce and nothing else.
    pub(crate) fn open(&mut self, window: u32) {
        self.seconds = 100 * u64::from(window);
        let closes_at = at(self.seconds + 40).since_boot;
        self.give(Input::Phase(Phase::Open { window, closes_at })).unwrap();
        self.give(Input::Nonce(&nonce(window))).unwrap();
        self.give(Input::Current).unwrap();
    }

    pub(crate) fn tuned(&mut self, values: [f32; 3]) {
        self.give(Input::Tuned(&values.into())).unwrap();
    }

    /// Takes what was asked to be coded as it is, under a name of its own.
    pub(crate) fn coded(&mut self, job: u64, particle: &Particle, slot: Option<u8>) -> ParticleId {
        let inputs: Vec<ParticleId> = particle.inputs.iter().map(|one| one.particle).collect();
        let header = header_of(particle.role, particle.window, 50, particle.anchor, &inputs);
        let name = header.id();
        self.give(Input::Coded { job, particle: name, values: &particle.difference, slot })
            .unwrap();
        let header = signed(0, 0, header);
        self.give(Input::Header { header: &header, slot: 0 }).unwrap();
        name
    }

    pub(crate) fn header(&mut self, by: u8, header: &ParticleHeader) {
        let header = signed(by, 0, header.clone());
        self.give(Input::Header { header: &header, slot: 1 }).unwrap();
    }
}

pub(crate) fn code(outputs: &[Output]) -> (u64, Particle) {
    let code = outputs.iter().find_map(|output| {
        let Output::Code { job, particle } = output else { return None };
        Some((*job, particle.clone()))
    });
    code.unwrap_or_else(|| panic!("nothing to code in {outputs:?}"))
}

pub(crate) fn measure(outputs: &[Output]) -> (u64, Flat, Option<Flat>, On) {
    let measure = outputs.iter().find_map(|output| {
        let Output::Measure { job, candidate, beside, on, .. } = output else { return None };
        Some((*job, candidate.clone(), beside.clone(), *on))
    });
    measure.unwrap_or_else(|| panic!("nothing to measure in {outputs:?}"))
}

pub(crate) fn term(value: i16, beside: i16) -> [TermResult; 1] {
    [TermResult { value, beside, value_error: 100, difference_error: 10 }]
}

#[test]
fn a_contribution_is_the_displacement_since_the_anchor() {
    let mut solo = Solo::new();
    solo.tuned([1.5, -1.0, 0.0]);
    solo.open(1);
    let (_job, particle) = code(&solo.outputs());
    assert_eq!((particle.role, particle.anchor, particle.bits), (Role::Contribution, None, 2));
    assert_eq!(*particle.difference, [1.0, -1.0, 0.0]);
}

#[test]
fn who_has_not_tuned_or_is_not_asked_contributes_nothing() {
    let mut solo = Solo::new();
    solo.open(1);
    assert_eq!(solo.outputs(), []);

    let mut rule = setup(Rule::Consensus(RULE));
    let mut fields = *rule.document.fields();
    fields.asked = 1;
    rule.document = SwarmDocument::new(fields).unwrap();
    let asked: Vec<u32> = (1..30)
        .filter(|window| {
            roster(4)
                .at(*window)
                .asked(&nonce_bytes(*window), 1, &BTreeSet::new())
                .contains(&vehicle(0))
        })
        .collect();
    let swarm = Swarm::new(rule, Saved::default(), |_| None).unwrap();
    let mut solo = Solo { swarm, seconds: 0 };
    let contributed: Vec<u32> = (1..30)
        .filter(|window| {
            solo.tuned([*window as f32, 0.0, 0.0]);
            solo.open(*window);
            solo.outputs().iter().any(|output| matches!(output, Output::Code { .. }))
        })
        .collect();
    assert!(contributed.len() > 3);
    assert_eq!(contributed, asked);
}

/// Error feedback: what coding kept back is brought by the next contribution, but only once the vehicle stands on a merge
/// of the one before.
#[test]
fn a_remainder_is_owed_once_its_contribution_is_merged() {
    for moves in [true, false] {
        let mut solo = Solo::new();
        solo.tuned([1.5, 0.0, 0.0]);
        solo.open(1);
        let (job, mut particle) = code(&solo.outputs());
        // 0.75 of 1.0 is sent.
        particle.difference = vec![0.75, 0.0, 0.0].into();
        solo.coded(job, &particle, Some(0));
        // Nobody else contributes: it is late, and the merge is that of one.
        solo.seconds += 25;
        solo.swarm.handle_timeout(at(solo.seconds));
        let value = if moves { 10 } else { -10 };
        for _ in 0..20 {
            let outputs = solo.outputs();
            if outputs.iter().any(|output| matches!(output, Output::Code { .. })) {
                let (job, particle) = code(&outputs);
                solo.coded(job, &particle, Some(1));
            } else if outputs.iter().any(|output| matches!(output, Output::Measure { .. })) {
                let (job, ..) = measure(&outputs);
                solo.give(Input::Measured { job, terms: &term(value, 0) }).unwrap();
            }
        }
        assert_eq!(solo.swarm.base().is_some(), moves);
        solo.tuned([1.75, 0.0, 0.0]);
        solo.open(2);
        let (_job, particle) = code(&solo.outputs());
        // From where it tuned, the merge 0.5 + 0.75, and 0.25 that was kept back; or from x_p, 0.5.
        let expected = if moves { 0.75 } else { 1.25 };
        assert_eq!(*particle.difference, [expected, 0.0, 0.0]);
    }
}

/// What is measured when a window is over decides in it, and what is tuned from there has its draws.
#[test]
fn what_is_decided_when_a_window_is_over_is_tuned_as_of_that_window() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(3);
    let (job, particle) = code(&solo.outputs());
    solo.coded(job, &particle, Some(0));
    solo.seconds += 25;
    solo.swarm.handle_timeout(at(solo.seconds));
    let (mut over, mut said) = (false, Vec::new());
    for _ in 0..20 {
        let outputs = solo.outputs();
        said.push(outputs.clone());
        let tunes = |output: &Output| {
            let Output::Tune { window, .. } = output else { return None };
            Some(*window)
        };
        if let Some(window) = outputs.iter().find_map(tunes) {
            return assert_eq!((over, window), (true, 3));
        }
        if outputs.iter().any(|output| matches!(output, Output::Code { .. })) {
            let (job, merge) = code(&outputs);
            solo.coded(job, &merge, Some(1));
            for phase in [Phase::Closing, Phase::Closed] {
                solo.give(Input::Phase(phase)).unwrap();
            }
            over = true;
        } else {
            let (job, ..) = measure(&outputs);
            solo.give(Input::Measured { job, terms: &term(10, 0) }).unwrap();
        }
    }
    panic!("nothing was decided: {said:?}");
}

#[test]
fn only_contributions_of_who_was_asked_to_this_anchor_are_fetched() {
    let mut solo = Solo::new();
    solo.open(1);
    let other = Some(ParticleId::new([9; 32]));
    let (right, wrong) = (
        header_of(Role::Contribution, 1, 1, None, &[]),
        header_of(Role::Contribution, 1, 2, other, &[]),
    );
    solo.header(1, &right);
    solo.header(2, &wrong);
    solo.header(3, &header_of(Role::Merge, 1, 3, None, &[]));
    let fetched: Vec<ParticleId> = solo
        .outputs()
        .iter()
        .filter_map(|output| {
            let Output::Fetch { particle, .. } = output else { return None };
            Some(*particle)
        })
        .collect();
    assert_eq!(fetched, [right.id()]);
}

#[test]
fn values_that_are_not_admitted_are_refused_by_their_own_code() {
    let cases: [(&[f32], RejectValues, RefusalCode); 2] = [
        (&[1.0], RejectValues::Length { got: 1, want: 3 }, RefusalCode::WrongLayout),
        (&[1.0, f32::NAN, 0.0], RejectValues::NotFinite { index: 1 }, RefusalCode::NotFinite),
    ];
    for (values, reject, code) in cases {
        let mut solo = Solo::new();
        solo.open(1);
        let header = header_of(Role::Contribution, 1, 1, None, &[]);
        solo.header(1, &header);
        solo.outputs();
        let values: Flat = values.into();
        let fetched = Input::Fetched { particle: header.id(), values: &values };
        assert_eq!(solo.give(fetched), Err(Reject::Values(reject)));
        let refused = solo.outputs().iter().any(
            |output| matches!(output, Output::Refusal(refusal) if refusal.code == code.number()),
        );
        assert!(refused, "{code:?}");
    }
}

/// Longer than any honest displacement: known from how far this vehicle went itself.
#[test]
fn a_contribution_far_longer_than_ones_own_is_refused() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(1);
    let (job, particle) = code(&solo.outputs());
    solo.coded(job, &particle, Some(0));
    let header = header_of(Role::Contribution, 1, 1, None, &[]);
    solo.header(1, &header);
    solo.outputs();
    let long: Flat = vec![33.0, 0.0, 0.0].into();
    let rejected = solo.give(Input::Fetched { particle: header.id(), values: &long });
    let norm = RejectValues::Norm { norm: 33.0, max: 32.0 };
    assert_eq!(rejected, Err(Reject::Values(norm)));
    assert_eq!(norm.code(), RefusalCode::Norm);
}

/// Who has it is known when it is asked for: both who published it are asked once, one after the other, then each at length, and only
/// then is it missing.
#[test]
fn a_particle_is_asked_of_the_next_who_has_it() {
    let mut solo = Solo::new();
    solo.seconds = 100;
    let closes_at = at(solo.seconds + 40).since_boot;
    solo.give(Input::Phase(Phase::Open { window: 1, closes_at })).unwrap();
    solo.give(Input::Nonce(&nonce(1))).unwrap();
    let header = header_of(Role::Contribution, 1, 1, None, &[]);
    solo.header(1, &header);
    solo.header(2, &header);
    solo.give(Input::Current).unwrap();
    let particle = header.id();
    let mut asked = BTreeSet::new();
    for want in [true, true, false, false] {
        let outputs = solo.outputs();
        let [Output::Fetch { particle: of, publisher, once, .. }] = outputs.as_slice() else {
            panic!("{outputs:?}")
        };
        assert_eq!((*of, *once), (particle, want));
        assert!(asked.insert((*publisher, *once)), "asked twice");
        solo.give(Input::Missing { particle }).unwrap();
    }
    let outputs = solo.outputs();
    assert!(outputs.iter().any(|output| matches!(output, Output::Refusal(_))), "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Fetch { .. })), "{outputs:?}");
}

/// Persist before you speak.
#[test]
fn an_output_waits_for_what_it_rests_on() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(1);
    let (job, particle) = code(&solo.outputs());
    let name = header_of(Role::Contribution, 1, 50, None, &[]).id();
    let values = particle.difference.clone();
    solo.give(Input::Coded { job, particle: name, values: &values, slot: Some(0) }).unwrap();
    assert_eq!(solo.swarm.poll_output(), None);
    let kept: Vec<Keep> = std::iter::from_fn(|| {
        assert!(matches!(solo.swarm.poll_output(), None | Some(Output::Publish { .. })));
        solo.swarm.poll_persist()
    })
    .collect();
    let Some((Keep::State { bytes, .. }, values)) = kept.split_last() else { panic!("{kept:?}") };
    let named = Saved::decode(Some(bytes)).unwrap().values();
    assert!(matches!(values, [Keep::Values { hash, .. }] if named == [*hash]));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut solo = Solo::new();
    let values: Flat = vec![0.0; 3].into();
    let particle = ParticleId::new([1; 32]);
    for window in [None, Some(1)] {
        if let Some(window) = window {
            solo.open(window);
        }
        let stray = [
            Input::Measured { job: 7, terms: &[] },
            Input::Unmeasured { job: 7 },
            Input::Coded { job: 7, particle, values: &values, slot: None },
            Input::Uncoded { job: 7 },
            Input::Fetched { particle, values: &values },
            Input::Missing { particle },
            Input::Unreached { particle },
        ];
        for input in stray {
            assert_eq!(solo.give(input), Err(Reject::NotAsked), "{input:?}");
        }
        assert_eq!(solo.outputs(), []);
    }
}

#[test]
fn a_tuned_adapter_that_is_none_is_rejected() {
    let mut solo = Solo::new();
    let short: Flat = vec![0.0; 2].into();
    let length = RejectValues::Length { got: 2, want: 3 };
    assert_eq!(solo.give(Input::Tuned(&short)), Err(Reject::Values(length)));
    let diverged: Flat = vec![0.0, f32::INFINITY, 0.0].into();
    let not_finite = RejectValues::NotFinite { index: 1 };
    assert_eq!(solo.give(Input::Tuned(&diverged)), Err(Reject::Values(not_finite)));
}

#[test]
fn what_cannot_be_a_swarm_is_refused_at_the_start() {
    let new = |setup: Setup| Swarm::new(setup, Saved::default(), |_| None).unwrap_err();
    assert_eq!(new(setup(Rule::Coefficients)), RejectSetup::UnknownRule);
    let mut short = setup(Rule::Consensus(RULE));
    short.start = vec![0.0; 2].into();
    let length = RejectValues::Length { got: 2, want: 3 };
    assert_eq!(new(short), RejectSetup::Start(length));
}

/// A store that gives back the state, but not what it names, is damaged: not a first start.
#[test]
fn a_state_without_its_values_is_refused() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(1);
    let (job, particle) = code(&solo.outputs());
    let name = header_of(Role::Contribution, 1, 50, None, &[]).id();
    let values = particle.difference.clone();
    solo.give(Input::Coded { job, particle: name, values: &values, slot: Some(0) }).unwrap();
    let mut state = None;
    while let Some(keep) = solo.swarm.poll_persist() {
        if let Keep::State { bytes, .. } = keep {
            state = Some(bytes);
        }
    }
    let saved = Saved::decode(state.as_deref()).unwrap();
    let missing = Swarm::new(setup(Rule::Consensus(RULE)), saved, |_| None).unwrap_err();
    assert!(matches!(missing, RejectSetup::MissingValues { .. }));
}

#[test]
fn early_and_repeated_timeouts_do_nothing() {
    let mut solo = Solo::new();
    assert_eq!(solo.swarm.poll_timeout(), None);
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(1);
    solo.outputs();
    let folds_at = solo.swarm.poll_timeout();
    assert_eq!(folds_at, Some(at(120).since_boot), "half of the window");
    for seconds in 100..120 {
        solo.swarm.handle_timeout(at(seconds));
        assert_eq!(solo.outputs(), []);
    }
    solo.give(Input::Phase(Phase::Closed)).unwrap();
    assert_eq!(solo.swarm.poll_timeout(), None);
}

/// Nobody says that all records are there: after a quarter of its time it begins with what it has.
#[test]
fn a_window_begins_without_the_last_record() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.seconds = 100;
    solo.give(Input::Nonce(&nonce(1))).unwrap();
    let closes_at = at(140).since_boot;
    solo.give(Input::Phase(Phase::Open { window: 1, closes_at })).unwrap();
    assert_eq!(solo.outputs(), []);
    assert_eq!(solo.swarm.poll_timeout(), Some(at(110).since_boot));
    solo.swarm.handle_timeout(at(110));
    code(&solo.outputs());
}

#[test]
fn a_closed_window_is_silent() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(1);
    let (job, particle) = code(&solo.outputs());
    solo.give(Input::Phase(Phase::Closed)).unwrap();
    solo.coded(job, &particle, Some(0));
    solo.header(1, &header_of(Role::Contribution, 1, 1, None, &[]));
    let talks = |output: &Output| {
        matches!(
            output,
            Output::Publish { .. } | Output::Claim(_) | Output::Vote(_) | Output::Fetch { .. }
        )
    };
    assert!(!solo.outputs().iter().any(talks));
}

/// What is older than the last window that the vehicle has seen comes too late: it took in all that stood there. A window that by
/// the timekeeper never was is none of these.
#[test]
fn a_window_that_only_a_wrong_clock_has_seen_makes_nothing_late() {
    let late = |solo: &mut Solo, window: u32| {
        let header = header_of(Role::Merge, window, 9, None, &[]);
        let taken = solo.give(Input::Header { header: &signed(2, 0, header), slot: 1 });
        matches!(taken, Err(Reject::Record(RejectRecord::WrongWindow { .. })))
    };
    let close = |solo: &mut Solo| solo.give(Input::Phase(Phase::Closed)).unwrap();
    let mut solo = Solo::new();
    solo.open(2);
    close(&mut solo);
    // Its clock is ahead: there is no nonce yet.
    solo.seconds = 1_000;
    let closes_at = at(1_040).since_boot;
    solo.give(Input::Phase(Phase::Open { window: 4, closes_at })).unwrap();
    assert!(late(&mut solo, 1), "it was there in window 2");
    solo.give(Input::Current).unwrap();
    close(&mut solo);
    solo.seconds = 2_000;
    solo.open(5);
    assert!(!late(&mut solo, 3), "nobody opened window 4");
    close(&mut solo);
    solo.open(6);
    assert!(late(&mut solo, 4), "it was there in window 5");
}

#[test]
fn a_clock_that_goes_back_opens_no_older_window() {
    let mut solo = Solo::new();
    solo.open(5);
    solo.outputs();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.outputs();
    let closes_at = at(1000).since_boot;
    solo.give(Input::Phase(Phase::Open { window: 4, closes_at })).unwrap();
    solo.give(Input::Current).unwrap();
    assert_eq!(solo.outputs(), []);
}

#[test]
fn a_utility_document_that_cannot_follow_is_rejected() {
    let mut solo = Solo::new();
    let same = document(1, &[&[(0, 1.0)]], None);
    assert_eq!(solo.give(Input::Utility(&same)), Ok(false), "it is in force");
    let other = document(1, &[&[(0, 2.0)]], None);
    let version = RejectSuccessor::Version { got: 1, newest: 1 };
    assert_eq!(solo.give(Input::Utility(&other)), Err(Reject::Utility(version)));
    let next = document(2, &[&[(0, 1.0)], &[(9, 0.0), (12, 1.0)]], None);
    assert_eq!(solo.give(Input::Utility(&next)), Ok(true));
}

/// The claim is measured on the part of the nonce, the merge is chosen on the next, moved to by one after that.
#[test]
fn what_is_chosen_claimed_and_moved_to_is_measured_on_three_parts() {
    let mut solo = Solo::new();
    solo.tuned([1.5, 0.0, 0.0]);
    solo.open(1);
    let (job, particle) = code(&solo.outputs());
    solo.coded(job, &particle, Some(0));
    solo.seconds += 25;
    solo.swarm.handle_timeout(at(solo.seconds));
    let mut parts = Vec::new();
    for _ in 0..9 {
        let outputs = solo.outputs();
        if let Some(Output::Code { .. }) =
            outputs.iter().find(|one| matches!(one, Output::Code { .. }))
        {
            let (job, particle) = code(&outputs);
            solo.coded(job, &particle, Some(1));
        } else if outputs.iter().any(|one| matches!(one, Output::Measure { .. })) {
            let (job, _candidate, beside, on) = measure(&outputs);
            parts.push((on, beside.is_some()));
            solo.give(Input::Measured { job, terms: &term(10, 0) }).unwrap();
        }
    }
    let a = shoal_swarm::roster::part(&nonce_bytes(1));
    let part = |parts: u8| On::Part((a + parts) % 4);
    let chosen = (part(1), false);
    // Each contribution, what it has, and the merge at three lengths.
    let expected = [chosen, chosen, chosen, chosen, chosen, (part(0), false), (part(2), true)];
    assert_eq!(parts[..7], expected);
}
