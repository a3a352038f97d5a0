//! The event log: what a vehicle's cores were told makes fresh ones say the same.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

#[path = "../../../ota/swarm/tests/swarm/make.rs"]
#[expect(dead_code, reason = "makes more than is needed here")]
mod make;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use embassy_time::{Duration, Instant};
use proptest::prelude::*;
use shoal_swarm::keyring::Keyring;
use shoal_swarm::swarm::{
    Conduct, Flat, Input, Keep, Output, Phase, STATE_KEY, Saved, Setup, Swarm, TermResult,
    ValuesHash,
};
use shoal_vehicle::exchange::log::{Core, Log, PARTS_KEPT, Rerun, RerunError, rerun, runs};
use shoal_window::{Bytes, Conditions, LEDGER_KEY, Network, PLAN_KEY, Policy, Window};
use shoal_wire::v1::{
    Claim, ConsensusRule, Role, Rule, SwarmDocument, SwarmDocumentFields, Vote, WindowPlan,
    WindowPlanFields,
};
use shoal_wire::{Now, SecretKey, Unverified, Utc, seal};

use make::{SHAPE, document, header, header_of, nonce, roster, signed, utility, vehicle};

const POLICY: Policy = Policy { metered: false, driving: false, battery_soc_percent_min: 20 };
const PERIOD: u64 = 100;

fn authority() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn keys() -> Keyring {
    Keyring::new(authority().public(), SecretKey::from_seed(&[2; 32]).public())
}

fn setup() -> Setup {
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
struct Vehicle {
    window: Window,
    swarm: Swarm,
    log: Log,
    seconds: u64,
    // Durable:
    store: BTreeMap<&'static str, Vec<u8>>,
    values: BTreeMap<ValuesHash, Flat>,
}

impl Vehicle {
    fn start(
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
        Self { window, swarm, log, seconds, store, values }
    }

    fn now(&self) -> Now {
        let utc = Utc::Known { seconds: self.seconds, uncertainty_seconds: 0 };
        Now { since_boot: Instant::MIN + Duration::from_secs(self.seconds), utc }
    }

    fn tell_window(&mut self, input: shoal_window::Input<'_>) {
        self.log.window_input(self.now(), &input);
        let _taken = self.window.handle_input(self.now(), input);
        self.drain_window();
    }

    fn tell(&mut self, input: Input<'_>) {
        if let Input::Tuned(values) | Input::Fetched { values, .. } | Input::Coded { values, .. } =
            input
        {
            self.values.insert(ValuesHash::of(values), values.clone());
        }
        self.log.swarm_input(self.now(), &input);
        let _taken = self.swarm.handle_input(self.now(), input);
        self.drain();
    }

    fn to(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.log.window_timeout(self.now());
        self.window.handle_timeout(self.now());
        self.drain_window();
        self.log.swarm_timeout(self.now());
        self.swarm.handle_timeout(self.now());
        self.drain();
    }

    fn drain_window(&mut self) {
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

    fn drain(&mut self) {
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

    fn act(&mut self, output: Output) {
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
    fn night(&mut self, window: u32) {
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
    fn joins(folder: &Path) -> Self {
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
        };
        vehicle.tell_window(shoal_window::Input::Conditions(ready));
        vehicle
    }

    fn rerun(&self, folder: &Path, run: u32) -> Result<Rerun, RerunError> {
        rerun(folder, run, &keys(), |values| self.values.get(&values.hash).cloned())
    }
}

fn part(folder: &Path, run: u32, part: u32) -> PathBuf {
    folder.join(format!("{run:010}-{part:06}.log"))
}

#[test]
fn cores_say_again_what_they_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    // In the last of these the nonce draws this vehicle to fold.
    (1..13).for_each(|window| vehicle.night(window));
    vehicle.log.end();
    assert!(vehicle.log.failure().is_none());
    let done = vehicle.rerun(dir.path(), 0).unwrap();
    assert_eq!(done.difference, None);
    assert!(done.whole && done.skipped == 0, "{done:?}");
    // Windows opened, particles were coded, measured, claimed and voted on: it is no empty log.
    assert!(done.inputs > 200 && done.outputs > 100, "{done:?}");
    let named: Vec<_> = vehicle.log.named().collect();
    assert!(named.len() > 10 && named.iter().any(|values| values.particle.is_some()));
    let text: Vec<u8> =
        (0..13).flat_map(|number| fs::read(part(dir.path(), 0, number)).unwrap()).collect();
    let text = String::from_utf8_lossy(&text);
    for said in ["open 2 ", "code ", "measure ", "Claim(", "Vote(", "tune "] {
        assert!(text.contains(said), "{said}");
    }
}

/// After a restart a log begins with what the store held.
#[test]
fn each_run_is_rerun_from_its_own_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Vehicle::joins(dir.path());
    (1..3).for_each(|window| first.night(window));
    let Vehicle { store, values, seconds, .. } = first;
    let mut second = Vehicle::start(dir.path(), store, values, seconds);
    (3..5).for_each(|window| second.night(window));
    assert_eq!(runs(dir.path()).unwrap(), [0, 1]);
    for run in 0..2 {
        let done = second.rerun(dir.path(), run).unwrap();
        assert!(done.difference.is_none() && done.whole, "{run}: {done:?}");
    }
    assert!(matches!(second.rerun(dir.path(), 2), Err(RerunError::NoRun { run: 2, .. })));
}

#[test]
fn another_measurement_shows_as_the_first_output_that_differs() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    vehicle.night(1);
    // What the core is told is not what the log says it was told.
    let now = vehicle.now();
    vehicle.log.swarm_input(now, &Input::Tuned(&vec![9.0, 9.0, 9.0].into()));
    vehicle.values.insert(ValuesHash::of(&[9.0; 3]), vec![9.0; 3].into());
    let honest: Flat = vec![0.5, 0.2, -0.2].into();
    let _taken = vehicle.swarm.handle_input(now, Input::Tuned(&honest));
    vehicle.seconds = 2 * PERIOD;
    vehicle.to(2 * PERIOD + 1);
    vehicle.tell(Input::Nonce(&nonce(2)));
    vehicle.tell(Input::Current);
    let done = vehicle.rerun(dir.path(), 0).unwrap();
    let difference = done.difference.unwrap();
    assert_eq!(difference.core, Core::Swarm);
    assert_ne!(difference.logged, difference.rerun);
    assert!(difference.logged.unwrap().starts_with("code "));
}

/// The core would have said more than the log says.
#[test]
fn output_that_is_missing_at_the_end_is_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    vehicle.seconds = PERIOD + 1;
    let now = vehicle.now();
    vehicle.log.window_timeout(now);
    vehicle.log.end();
    let difference = vehicle.rerun(dir.path(), 0).unwrap().difference.unwrap();
    assert_eq!((difference.core, difference.logged.as_ref()), (Core::Window, None));
    assert!(difference.rerun.as_ref().unwrap().contains("closing 0 "), "{difference:?}");
}

#[test]
fn swept_values_are_an_error_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    vehicle.night(1);
    let tuned = ValuesHash::of(&[0.5, 0.1, -0.2]);
    vehicle.values.remove(&tuned).unwrap();
    let missing = vehicle.rerun(dir.path(), 0);
    assert!(matches!(missing, Err(RerunError::Missing { values }) if values.hash == tuned));
    // Others under its name are none.
    vehicle.values.insert(tuned, vec![1.0; 3].into());
    assert!(matches!(vehicle.rerun(dir.path(), 0), Err(RerunError::Missing { .. })));
}

#[test]
fn the_newest_parts_are_kept_and_what_has_no_beginning_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    (1..20).for_each(|window| vehicle.night(window));
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, PARTS_KEPT);
    assert!(!part(dir.path(), 0, 0).exists() && part(dir.path(), 0, 18).exists());
    let done = vehicle.rerun(dir.path(), 0).unwrap();
    assert!(done.whole && done.inputs == 0 && done.skipped > 200, "{done:?}");
}

/// Killed, or cut from power: the end of the last part is lost, the rest is as good as ever.
#[test]
fn torn_log_is_rerun_to_where_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    (1..3).for_each(|window| vehicle.night(window));
    let whole = vehicle.rerun(dir.path(), 0).unwrap();
    let path = part(dir.path(), 0, 2);
    assert!(!part(dir.path(), 0, 3).exists());
    let bytes = fs::read(&path).unwrap();
    let mut inputs = Vec::new();
    for length in (0..bytes.len()).step_by(bytes.len() / 40) {
        fs::write(&path, &bytes[..length]).unwrap();
        let torn = vehicle.rerun(dir.path(), 0).unwrap();
        assert_eq!(torn.difference, None);
        inputs.push(torn.inputs);
    }
    assert!(inputs.is_sorted() && inputs[0] < inputs[39] && inputs[39] < whole.inputs);
}

/// The vehicle goes on without a log.
#[test]
fn log_that_cannot_be_written_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    let mut log = Log::open(&folder).unwrap();
    fs::remove_dir(&folder).unwrap();
    let now = Now { since_boot: Instant::MIN, utc: Utc::AtLeast { seconds: 0 } };
    log.swarm_timeout(now);
    assert!(log.failure().unwrap().to_string().contains("free space"));
    fs::create_dir(&folder).unwrap();
    log.swarm_timeout(now);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a log with a gap is no log");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A damaged log is cut short; whatever its bytes, it is never a panic, and never another story.
    #[test]
    fn damaged_log_is_cut_short(at in 0usize..100_000, flip in 1u8..=255, tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut vehicle = Vehicle::joins(dir.path());
        vehicle.night(1);
        let path = part(dir.path(), 0, 0);
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        bytes.extend(tail);
        fs::write(&path, &bytes).unwrap();
        let done = vehicle.rerun(dir.path(), 0).unwrap();
        prop_assert!(!done.whole && done.difference.is_none(), "{:?}", done);
    }
}
