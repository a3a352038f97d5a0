//! A vehicle whose shell answers at once, and logs.

#[path = "../../../../ota/swarm/tests/swarm/make.rs"]
#[expect(dead_code, reason = "makes more than is needed here")]
pub(crate) mod make;

use std::collections::BTreeMap;
use std::path::Path;

use embassy_time::{Duration, Instant};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::swarm::{
    Conduct, Flat, Input, Keep, Output, Phase, STATE_KEY, Saved, Setup, Swarm, TermResult,
    ValuesHash,
};
use shoal_vehicle::exchange::log::{Log, Rerun, RerunError, Values, rerun};
use shoal_window::{Bytes, Conditions, LEDGER_KEY, Network, PLAN_KEY, Policy, Window};
use shoal_wire::v1::{
    Claim, ConsensusRule, ParticleHeader, Role, Rule, SwarmDocument, SwarmDocumentFields, Vote,
    WindowPlan, WindowPlanFields,
};
use shoal_wire::{Now, ParticleId, SecretKey, Unverified, Utc, seal};

use make::{SHAPE, document, header, header_of, nonce, roster, signed, utility, vehicle};

pub(crate) const POLICY: Policy =
    Policy { metered: false, driving: false, battery_soc_percent_min: 20, temperature_c_max: 85 };
pub(crate) const PERIOD: u64 = 100;

pub(crate) fn authority() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub(crate) fn keys() -> Keyring {
    Keyring::new(authority().public(), SecretKey::from_seed(&[2; 32]).public())
}

pub(crate) fn setup() -> Setup {
    let rule = ConsensusRule {
        inertia: 0.5,
        up_bits: 2,
        down_bits: 8,
        brake: 0.01,
        clip: true,
        mean_last: 5,
        mix: false,
    };
    let document = SwarmDocument::new(SwarmDocumentFields {
        version: 1,
        seed: 42,
        base_model: SHAPE.base_model,
        layout: SHAPE.layout,
        values: SHAPE.values,
        rank: 8,
        start_seed: 0,
        asked: 16,
        rule: Rule::Consensus(rule),
    });
    Setup {
        vehicle: vehicle(0),
        document: document.unwrap(),
        start: vec![0.5, 0.0, 0.0].into(),
        utility: utility(),
        roster: roster(4),
        period_seconds: PERIOD as u32,
        conduct: Conduct::default(),
        private: None,
    }
}

/// A vehicle whose shell answers at once, and logs.
pub(crate) struct Vehicle {
    pub(crate) window: Window,
    pub(crate) swarm: Swarm,
    pub(crate) log: Log,
    pub(crate) seconds: u64,
    // Durable:
    pub(crate) store: BTreeMap<&'static str, Vec<u8>>,
    pub(crate) values: BTreeMap<ValuesHash, Flat>,
    /// Of the particles that it knows in this life.
    pub(crate) chunks: BTreeMap<ParticleId, Vec<[u8; 32]>>,
}

impl Vehicle {
    pub(crate) fn start(
        folder: &Path,
        store: BTreeMap<&'static str, Vec<u8>>,
        values: BTreeMap<ValuesHash, Flat>,
        seconds: u64,
    ) -> Self {
        let mut log = Log::open(folder).unwrap();
        let get = |key: &str| store.get(key).map(Vec::as_slice);
        let (plan, ledger, state) = (get(PLAN_KEY), get(LEDGER_KEY), get(STATE_KEY));
        log.begin_window(vehicle(0), &POLICY, plan, ledger);
        let saved = shoal_window::Saved::decode(plan, ledger, &keys()).unwrap();
        let window = Window::new(vehicle(0), POLICY, saved);
        log.begin_swarm(&setup(), &document(1, &[&[(0, 1.0)]], None), state);
        let saved = Saved::decode(state).unwrap();
        let swarm = Swarm::new(setup(), saved, |hash| values.get(hash).cloned()).unwrap();
        let mut values = values;
        values.insert(ValuesHash::of(&setup().start), setup().start);
        Self { window, swarm, log, seconds, store, values, chunks: BTreeMap::new() }
    }

    pub(crate) fn now(&self) -> Now {
        let utc = Utc::Known { seconds: self.seconds, uncertainty_seconds: 0 };
        Now { since_boot: Instant::MIN + Duration::from_secs(self.seconds), utc }
    }

    pub(crate) fn tell_window(&mut self, input: shoal_window::Input<'_>) {
        self.log.window_input(self.now(), &input);
        let _taken = self.window.handle_input(self.now(), input);
        self.drain_window();
    }

    pub(crate) fn tell(&mut self, input: Input<'_>) {
        if let Input::Tuned(values) | Input::Fetched { values, .. } | Input::Coded { values, .. } =
            input
        {
            self.values.insert(ValuesHash::of(values), values.clone());
        }
        if let Input::Header { header, .. } = input {
            self.know(&header.body);
        }
        let mut chunks = Vec::new();
        if let Input::Fetched { particle, .. } | Input::Coded { particle, .. } = input {
            chunks.extend(self.chunks.get(&particle).into_iter().flatten().copied());
        }
        self.log.swarm_input(self.now(), &input, &chunks);
        let _taken = self.swarm.handle_input(self.now(), input);
        self.drain();
    }

    /// A header that it has, and with it the names of the particle's chunks.
    fn know(&mut self, header: &ParticleHeader) {
        let chunks = header.fields().chunks.iter().map(|chunk| *chunk.hash.bytes());
        self.chunks.insert(header.id(), chunks.collect());
    }

    pub(crate) fn to(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.log.window_timeout(self.now());
        self.window.handle_timeout(self.now());
        self.drain_window();
        self.log.swarm_timeout(self.now());
        self.swarm.handle_timeout(self.now());
        self.drain();
    }

    pub(crate) fn drain_window(&mut self) {
        while let Some(record) = self.window.poll_persist() {
            self.store.insert(record.key, record.bytes.to_vec());
        }
        while let Some(output) = self.window.poll_output() {
            self.log.window_output(&output);
            let shoal_window::Output::Phase(phase) = output;
            match phase {
                shoal_window::Phase::Open { window, closes_at, .. } => {
                    self.tell(Input::Phase(Phase::Open { window, closes_at }));
                }
                shoal_window::Phase::Closing { .. } => self.tell(Input::Phase(Phase::Closing)),
                shoal_window::Phase::Closed { .. } => self.tell(Input::Phase(Phase::Closed)),
                shoal_window::Phase::Waiting { .. } => {}
            }
        }
    }

    pub(crate) fn drain(&mut self) {
        loop {
            while let Some(keep) = self.swarm.poll_persist() {
                match keep {
                    Keep::Values { hash, values } => drop(self.values.insert(hash, values)),
                    Keep::State { key, bytes } => drop(self.store.insert(key, bytes)),
                }
            }
            let Some(output) = self.swarm.poll_output() else { return };
            self.log.swarm_output(&output);
            self.act(output);
        }
    }

    pub(crate) fn act(&mut self, output: Output) {
        match output {
            Output::Measure { job, .. } => {
                let (value, beside) = (job as i16 * 37 % 900, job as i16 * 11 % 500);
                let term = TermResult { value, beside, value_error: 9, difference_error: 3 };
                self.tell(Input::Measured { job, terms: &[term] });
            }
            Output::Code { job, particle } => {
                let inputs: Vec<_> = particle.inputs.iter().map(|one| one.particle).collect();
                let mark = 50_u8.wrapping_add(job as u8);
                let header =
                    header_of(particle.role, particle.window, mark, particle.anchor, &inputs);
                let (name, values) = (header.id(), &particle.difference);
                self.know(&header);
                self.log.sealed(&header);
                self.tell(Input::Coded { job, particle: name, values, slot: Some(0) });
                self.tell(Input::Header { header: &signed(0, 0, header), slot: 0 });
            }
            Output::Fetch { particle, .. } if self.seconds % 300 < 100 => {
                self.tell(Input::Missing { particle });
            }
            Output::Fetch { particle, .. } => {
                let values: Flat = vec![0.1, 0.2, self.seconds as f32 / 1000.0].into();
                self.tell(Input::Fetched { particle, values: &values });
            }
            Output::Claim(fields) => {
                self.tell(Input::Claim(&signed(0, 1, Claim::new(fields).unwrap())));
            }
            Output::Vote(fields) => {
                self.tell(Input::Vote(&signed(0, 2, Vote::new(fields).unwrap())));
            }
            Output::Publish { .. }
            | Output::Refusal(_)
            | Output::Tune { .. }
            | Output::Stage(_)
            | Output::Event(_) => {}
        }
    }

    /// One window, from before it opens until after it closed.
    pub(crate) fn night(&mut self, window: u32) {
        let opens = u64::from(window) * PERIOD;
        self.tell(Input::Tuned(&vec![0.5, 0.1 * window as f32, -0.2].into()));
        self.to(opens + 1);
        self.tell(Input::Nonce(&nonce(window)));
        for peer in 1..4 {
            let header = signed(peer, 0, header(Role::Contribution, window, peer));
            self.tell(Input::Header { header: &header, slot: 1 });
            let merge = header_of(Role::Merge, window, 20 + peer, None, &[]);
            let terms = [make::measured(0.1 * f64::from(peer), 0.01)];
            let claim = signed(peer, 0, make::claim(&merge, &terms));
            self.tell(Input::Header { header: &signed(peer, 3, merge), slot: 1 });
            self.tell(Input::Claim(&claim));
        }
        self.tell(Input::Current);
        self.tell_window(shoal_window::Input::Used(Bytes { up: 500, down: 700 }));
        for seconds in (opens + 10..opens + 60).step_by(10) {
            self.to(seconds);
        }
        self.tell_window(shoal_window::Input::Drained);
        self.to(opens + 70);
    }

    /// The first start of a vehicle: it gets its plan and is ready.
    pub(crate) fn joins(folder: &Path) -> Self {
        let mut vehicle = Self::start(folder, BTreeMap::new(), BTreeMap::new(), 1);
        let plan = WindowPlan::new(WindowPlanFields {
            epoch_seconds: 0,
            period_seconds: PERIOD as u32,
            open_seconds: 60,
            jitter_ms_max: 0,
            up_bytes_max: 1 << 20,
            down_bytes_max: 1 << 20,
        });
        let mut buffer = vec![0; 1024];
        let sealed = seal(&plan.unwrap(), 1, u64::MAX, &authority(), &mut buffer).unwrap();
        let plan = Unverified::decode(sealed.bytes()).unwrap().verify(&keys()).unwrap();
        vehicle.tell_window(shoal_window::Input::Plan(plan));
        let ready = Conditions {
            network: Network::Unmetered,
            parked: true,
            external_power: true,
            battery_soc_percent: 80,
            temperature_c: 20,
        };
        vehicle.tell_window(shoal_window::Input::Conditions(ready));
        vehicle
    }

    pub(crate) fn rerun(&self, folder: &Path, run: u32) -> Result<Rerun, RerunError> {
        let values = |values: &Values, _header: Option<&_>| self.values.get(&values.hash).cloned();
        rerun(folder, run, &keys(), values, &mut |_step| {})
    }
}
