//! A vehicle around one window: a clock that the test turns, a store that forgets nothing but can be cut
//! from power.

use std::collections::BTreeMap;

use embassy_time::{Duration, Instant};
use shoal_window::{
    Bytes, Conditions, Input, LEDGER_KEY, Network, Output, PLAN_KEY, Phase, Policy, Reject, Saved,
    Window,
};
use shoal_wire::v1::{WindowPlan, WindowPlanFields};
use shoal_wire::{KeyId, Keys, Kind, Now, PublicKey, SecretKey, Unverified, Utc, seal};

pub(crate) const EPOCH: u64 = 1_000_000;
pub(crate) const VEHICLE: KeyId = KeyId::new([1; 8]);
pub(crate) const POLICY: Policy =
    Policy { metered: false, driving: false, battery_soc_percent_min: 40, temperature_c_max: 85 };
pub(crate) const READY: Conditions = Conditions {
    network: Network::Unmetered,
    parked: true,
    external_power: false,
    battery_soc_percent: 80,
    temperature_c: 85,
};

struct Authority(PublicKey);

impl Keys for Authority {
    fn find(&self, _id: KeyId, kind: Kind) -> Option<PublicKey> {
        (kind == Kind::WindowPlan).then_some(self.0)
    }
}

pub(crate) fn plan() -> WindowPlan {
    WindowPlan::new(plan_fields()).unwrap()
}

/// 100 s of windows, open 40 s, 5 s of them for closing; jitter off.
pub(crate) fn plan_fields() -> WindowPlanFields {
    WindowPlanFields {
        epoch_seconds: EPOCH,
        period_seconds: 100,
        open_seconds: 40,
        jitter_ms_max: 0,
        up_bytes_max: 800,
        down_bytes_max: 8_000,
    }
}

pub(crate) struct Shell {
    pub(crate) window: Window,
    pub(crate) store: BTreeMap<&'static str, Vec<u8>>,
    pub(crate) log: Vec<Phase>,
    /// Milliseconds since [`EPOCH`], and since boot: a vehicle that started at the epoch.
    pub(crate) ms: u64,
    pub(crate) uncertainty_seconds: u32,
}

impl Shell {
    /// A first start at the epoch's second 50, between windows 0 and 1, with plan and conditions.
    pub(crate) fn ready() -> Self {
        let mut shell = Self::blank();
        shell.plan(&plan(), 1).unwrap();
        shell.input(Input::Conditions(READY)).unwrap();
        shell
    }

    pub(crate) fn blank() -> Self {
        Self::of(POLICY)
    }

    /// Of a vehicle with this policy: no plan, no conditions.
    pub(crate) fn of(policy: Policy) -> Self {
        Self {
            window: Window::new(VEHICLE, policy, Saved::default()),
            store: BTreeMap::new(),
            log: Vec::new(),
            ms: 50_000,
            uncertainty_seconds: 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            since_boot: Instant::from_millis(self.ms),
            utc: Utc::Known {
                seconds: EPOCH + self.ms / 1000,
                uncertainty_seconds: self.uncertainty_seconds,
            },
        }
    }

    pub(crate) fn plan(&mut self, plan: &WindowPlan, counter: u64) -> Result<(), Reject> {
        self.plan_until(plan, counter, u64::MAX)
    }

    pub(crate) fn plan_until(
        &mut self,
        plan: &WindowPlan,
        counter: u64,
        not_after_seconds: u64,
    ) -> Result<(), Reject> {
        let key = SecretKey::from_seed(&[9; 32]);
        let mut buffer = [0; 256];
        let bytes = seal(plan, counter, not_after_seconds, &key, &mut buffer).unwrap().bytes();
        let verified = Unverified::decode(bytes).unwrap().verify(&Authority(key.public())).unwrap();
        self.input(Input::Plan(verified))
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Result<(), Reject> {
        let result = self.window.handle_input(self.now(), input);
        self.drain();
        result
    }

    pub(crate) fn used(&mut self, up: u64, down: u64) {
        self.input(Input::Used(Bytes { up, down })).unwrap();
    }

    /// Lets time pass as a shell does: from one timeout to the next.
    pub(crate) fn run_to_ms(&mut self, ms: u64) {
        while let Some(at) = self.window.poll_timeout()
            && at <= Instant::from_millis(ms)
        {
            assert!(at > Instant::from_millis(self.ms), "a timeout that does not advance: {at:?}");
            self.ms = at.as_millis();
            self.window.handle_timeout(self.now());
            self.drain();
        }
        self.ms = ms;
    }

    pub(crate) fn run_to(&mut self, seconds: u64) {
        self.run_to_ms(seconds * 1000);
    }

    fn drain(&mut self) {
        while let Some(record) = self.window.poll_persist() {
            self.store.insert(record.key, record.bytes.to_vec());
        }
        while let Some(Output::Phase(phase)) = self.window.poll_output() {
            self.log.push(phase);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.log.last().unwrap()
    }

    pub(crate) fn saved(&self) -> Saved {
        let key = Authority(SecretKey::from_seed(&[9; 32]).public());
        let get = |key| self.store.get(key).map(Vec::as_slice);
        Saved::decode(get(PLAN_KEY), get(LEDGER_KEY), &key).unwrap()
    }

    /// Starts anew from what the store holds, at the same moment.
    pub(crate) fn power_cut(&mut self) {
        self.window = Window::new(VEHICLE, POLICY, self.saved());
        self.log.clear();
        self.input(Input::Conditions(READY)).unwrap();
    }
}

pub(crate) fn at(seconds: u64) -> Instant {
    Instant::MIN + Duration::from_secs(seconds)
}
