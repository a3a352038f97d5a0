//! The states of one window after the other: closed → waiting → open → closing → closed.

use embassy_time::{Duration, Instant};
use shoal_wire::v1::WindowPlan;
use shoal_wire::{KeyId, Now, Verified};

use crate::budget::{Bytes, granted};
use crate::calendar::{Span, jitter, next_opening_seconds, open_span};
use crate::saved::{Kept, LEDGER_BYTES, LEDGER_KEY, Ledger, PLAN_KEY, Record, Saved};

/// An exchange is asked to end this part of the window before its end…
const CLOSING_PART: u64 = 8;
/// …but not more than this before it.
const CLOSING_MS_MAX: u64 = 10_000;
/// More transitions than one call can cause: closing → closed → waiting → open.
const TRANSITIONS_MAX: u8 = 4;

/// What the vehicle asks of itself before it exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a network that is paid by the byte may be used.
    pub metered: bool,
    /// Whether to exchange while driving.
    pub driving: bool,
    /// The lowest state of charge at which to exchange without external power, in percent.
    pub battery_soc_percent_min: u8,
    /// The highest temperature of the computer at which to exchange, °C.
    pub temperature_c_max: i16,
}

/// The network, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// None: not connected.
    None,
    /// Paid by the byte.
    Metered,
    /// Free.
    Unmetered,
}

/// What the vehicle is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Which network is there.
    pub network: Network,
    /// Standing, ignition off.
    pub parked: bool,
    /// Charging or plugged in.
    pub external_power: bool,
    /// State of charge of the battery, in percent.
    pub battery_soc_percent: u8,
    /// Temperature of the computer, °C.
    pub temperature_c: i16,
}

impl Policy {
    fn allows(&self, conditions: &Conditions) -> bool {
        let network = match conditions.network {
            Network::None => false,
            Network::Metered => self.metered,
            Network::Unmetered => true,
        };
        let power = conditions.external_power
            || conditions.battery_soc_percent >= self.battery_soc_percent_min;
        let cool = conditions.temperature_c <= self.temperature_c_max;
        network && power && cool && (conditions.parked || self.driving)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A window plan came. Its envelope is kept as it is.
    Plan(Verified<'a, WindowPlan>),
    /// The vehicle's conditions are these.
    Conditions(Conditions),
    /// This much more crossed the socket, all of it: acknowledgements and repetitions too.
    Used(Bytes),
    /// The next exchange takes this much more, with its answer: it is granted if the budget has it. Counts
    /// until something is used.
    Needed(Bytes),
    /// Nothing is in flight any more.
    Drained,
}

/// Why an input was rejected.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Another plan with this counter or a later one was accepted before: a rollback.
    #[error("counter {got} is not after {newest}")]
    NotNewer { got: u64, newest: u64 },
    /// Over when it came: a freeze.
    #[error("counts until {not_after_seconds}, and it is {utc_seconds} or later")]
    Expired { not_after_seconds: u64, utc_seconds: u64 },
}

/// Why no window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// No plan came yet.
    NoPlan,
    /// The plan counts no more.
    PlanExpired,
    /// UTC is not known.
    NoTime,
    /// Between two windows, or too near to a border for the uncertainty of UTC.
    Between,
    /// This window's bytes are used up.
    Spent,
    /// The clock went back: a later window was taken part in before.
    Past,
}

/// Why an open window closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time is over, or cannot be told any more.
    Over,
    /// The policy does not allow it under these conditions; it may open again.
    Conditions,
    /// Its bytes are used up.
    Budget,
}

/// Where the vehicle is in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing may be sent or asked for.
    Closed {
        /// What is missing.
        because: Because,
    },
    /// The window is open to the fleet; this vehicle waits for its turn, then for its conditions.
    Waiting {
        /// The window's number.
        window: u32,
        /// The vehicle's turn.
        opens_at: Instant,
    },
    /// Exchange.
    Open {
        /// The window's number.
        window: u32,
        /// When to begin to end.
        closes_at: Instant,
        /// How much may have crossed the socket in this window, as told by [`Input::Used`]. It grows.
        granted: Bytes,
    },
    /// Finish what is in flight, begin nothing.
    Closing {
        /// The window's number.
        window: u32,
        /// When it is closed, drained or not.
        until: Instant,
        /// What ends it.
        why: Why,
    },
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Be in this phase from this moment on.
    Phase(Phase),
}

/// One vehicle's window: the five doors.
#[derive(Clone, Debug)]
pub struct Window {
    vehicle: KeyId,
    policy: Policy,
    conditions: Conditions,
    plan: Option<Kept>,
    ledger: Ledger,
    used: Bytes,
    needed: Bytes,
    phase: Phase,
    /// The window whose end was reached, with the plan's counter: the last fraction of its last second opens nothing. One whose
    /// time could only not be told for a while is not over.
    over: Option<(u64, u32)>,
    wake: Option<Instant>,
    told: Option<Phase>,
    plan_stored: bool,
    ledger_stored: Ledger,
    ledger_bytes: [u8; LEDGER_BYTES],
}

impl Window {
    /// The window of this vehicle, after a start with what the store held. Closed until it is told the time.
    pub fn new(vehicle: KeyId, policy: Policy, saved: Saved) -> Self {
        let Saved { plan, ledger } = saved;
        Self {
            vehicle,
            policy,
            conditions: Conditions {
                network: Network::None,
                parked: false,
                external_power: false,
                battery_soc_percent: 0,
                temperature_c: i16::MAX,
            },
            plan,
            ledger,
            // How much of the grant was used before the start is not known: all of it may have been.
            used: ledger.granted,
            needed: Bytes::default(),
            phase: Phase::Closed { because: Because::NoTime },
            over: None,
            wake: None,
            told: None,
            plan_stored: true,
            ledger_stored: ledger,
            ledger_bytes: [0; LEDGER_BYTES],
        }
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// [`Reject`]: the input changed nothing. The same plan again is no error.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) -> Result<(), Reject> {
        match input {
            Input::Plan(plan) => self.accept(now, &plan)?,
            Input::Conditions(conditions) => self.conditions = conditions,
            Input::Used(bytes) => {
                self.used = self.used.plus(bytes);
                self.needed = Bytes::default();
            }
            Input::Needed(bytes) => self.needed = bytes,
            Input::Drained => {
                if let Phase::Closing { .. } = self.phase {
                    self.phase = Phase::Closed { because: Because::Between };
                }
            }
        }
        self.settle(now);
        Ok(())
    }

    /// Takes that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.settle(now);
    }

    /// The next record to make durable. What rests on it comes out of [`Window::poll_output`] only after.
    pub fn poll_persist(&mut self) -> Option<Record<'_>> {
        if !self.plan_stored {
            self.plan_stored = true;
            return self.plan.as_ref().map(|kept| Record { key: PLAN_KEY, bytes: &kept.bytes });
        }
        if self.ledger_stored == self.ledger {
            return None;
        }
        self.ledger_stored = self.ledger;
        self.ledger_bytes = self.ledger.encode();
        Some(Record { key: LEDGER_KEY, bytes: &self.ledger_bytes })
    }

    /// What to do. An open window only when plan and grant are durable: after a power cut no byte is
    /// granted twice. The end of one waits for nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        let durable = self.plan_stored && self.ledger_stored == self.ledger;
        let withheld = matches!(self.phase, Phase::Open { .. }) && !durable;
        if withheld || self.told == Some(self.phase) {
            return None;
        }
        self.told = Some(self.phase);
        Some(Output::Phase(self.phase))
    }

    /// When to call [`Window::handle_timeout`]; `None`: only an input can change anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// How much more may cross the socket: what is left of the grant that is durable, while the window is open
    /// or closes.
    pub fn left(&self) -> Bytes {
        match self.told {
            Some(Phase::Open { .. } | Phase::Closing { .. }) => {
                self.ledger_stored.granted.minus(self.used)
            }
            Some(Phase::Closed { .. } | Phase::Waiting { .. }) | None => Bytes::default(),
        }
    }

    fn accept(&mut self, now: Now, plan: &Verified<'_, WindowPlan>) -> Result<(), Reject> {
        let head = plan.head();
        let utc_seconds = now.utc.earliest_seconds();
        let not_after_seconds = head.not_after_seconds;
        if not_after_seconds < utc_seconds {
            return Err(Reject::Expired { not_after_seconds, utc_seconds });
        }
        if self.plan.as_ref().is_some_and(|kept| kept.bytes == plan.bytes()) {
            return Ok(());
        }
        // A store that was put back to an older plan still has its ledger, and the other way round.
        let kept = self.plan.as_ref().map_or(0, |kept| kept.counter);
        let newest = kept.max(self.ledger.plan_counter);
        if head.counter <= newest {
            return Err(Reject::NotNewer { got: head.counter, newest });
        }
        self.plan = Some(Kept::new(plan));
        self.plan_stored = false;
        Ok(())
    }

    fn settle(&mut self, now: Now) {
        for _ in 0..TRANSITIONS_MAX {
            let next = self.next(now);
            if next == self.phase {
                break;
            }
            if let Phase::Open { window, closes_at, .. } = self.phase
                && now.since_boot >= closes_at
            {
                self.over = Some((self.ledger.plan_counter, window));
            }
            if let Phase::Open { window, granted, .. } = next {
                let plan_counter = self.plan.as_ref().map_or(0, |kept| kept.counter);
                self.ledger = Ledger { plan_counter, window, granted };
            }
            self.phase = next;
        }
        self.wake = self.next_wake(now);
    }

    /// The phase after this one, or the same.
    fn next(&mut self, now: Now) -> Phase {
        let chance = self.chance(now);
        match (self.phase, chance) {
            (Phase::Closing { until, .. }, _) if now.since_boot < until => self.phase,
            (Phase::Closed { .. } | Phase::Closing { .. }, Ok(chance)) => self.wait(now, &chance),
            (
                Phase::Closed { .. } | Phase::Closing { .. } | Phase::Waiting { .. },
                Err(because),
            ) => Phase::Closed { because },
            (Phase::Waiting { window, opens_at }, Ok(chance)) => {
                if window != chance.span.window {
                    return self.wait(now, &chance);
                }
                let turn = now.since_boot >= opens_at && self.policy.allows(&self.conditions);
                if turn { self.open(now, &chance) } else { self.phase }
            }
            (Phase::Open { window, .. }, Err(because)) => {
                let why = if because == Because::Spent { Why::Budget } else { Why::Over };
                self.close(now, window, why)
            }
            (Phase::Open { window, closes_at, .. }, Ok(chance)) => {
                let same =
                    chance.span.window == window && chance.counter == self.ledger.plan_counter;
                if !same || now.since_boot >= closes_at {
                    self.close(now, window, Why::Over)
                } else if !self.policy.allows(&self.conditions) {
                    self.close(now, window, Why::Conditions)
                } else {
                    let granted =
                        granted(self.ledger.granted, self.used, self.needed, chance.budget);
                    Phase::Open { window, closes_at, granted }
                }
            }
        }
    }

    /// Whether there is a window to take part in, by calendar and budget.
    fn chance(&self, now: Now) -> Result<Chance, Because> {
        let kept = self.plan.as_ref().ok_or(Because::NoPlan)?;
        let latest_seconds = now.utc.latest_seconds().ok_or(Because::NoTime)?;
        if now.utc.earliest_seconds() > kept.not_after_seconds {
            return Err(Because::PlanExpired);
        }
        let span = open_span(&kept.plan, now.utc).ok_or(Because::Between)?;
        let (counter, budget) = (kept.counter, kept.budget());
        if self.ledger.plan_counter == counter && self.ledger.window >= span.window {
            if self.ledger.window > span.window {
                return Err(Because::Past);
            }
            if self.used.spends(budget) {
                return Err(Because::Spent);
            }
        }
        if self.over == Some((counter, span.window)) {
            return Err(Because::Between);
        }
        let left = millis(span.closes_seconds.saturating_sub(latest_seconds));
        let open_ms = left.saturating_sub(closing_ms(&kept.plan));
        if open_ms == 0 {
            return Err(Because::Between);
        }
        Ok(Chance { span, counter, budget, open_ms })
    }

    fn wait(&self, now: Now, chance: &Chance) -> Phase {
        let Span { window, opens_seconds, .. } = chance.span;
        let waits = self
            .plan
            .as_ref()
            .map_or(Duration::MIN, |kept| jitter(&kept.plan, self.vehicle, window));
        let elapsed_ms = millis(now.utc.earliest_seconds().saturating_sub(opens_seconds));
        let left_ms = waits.as_millis().saturating_sub(elapsed_ms);
        Phase::Waiting { window, opens_at: after_ms(now.since_boot, left_ms) }
    }

    fn open(&mut self, now: Now, chance: &Chance) -> Phase {
        let Span { window, .. } = chance.span;
        let resumes = self.ledger.plan_counter == chance.counter && self.ledger.window == window;
        let before = if resumes { self.ledger.granted } else { Bytes::default() };
        if !resumes {
            self.used = Bytes::default();
        }
        Phase::Open {
            window,
            closes_at: after_ms(now.since_boot, chance.open_ms),
            granted: granted(before, self.used, self.needed, chance.budget),
        }
    }

    fn close(&self, now: Now, window: u32, why: Why) -> Phase {
        let closing_ms = self.plan.as_ref().map_or(0, |kept| closing_ms(&kept.plan));
        Phase::Closing { window, until: after_ms(now.since_boot, closing_ms), why }
    }

    fn next_wake(&self, now: Now) -> Option<Instant> {
        match self.phase {
            Phase::Closed { .. } => {
                let plan = &self.plan.as_ref()?.plan;
                now.utc.latest_seconds()?;
                let earliest_seconds = now.utc.earliest_seconds();
                let opening_seconds = next_opening_seconds(plan, earliest_seconds)?;
                let left = Duration::try_from_secs(opening_seconds.checked_sub(earliest_seconds)?)?;
                now.since_boot.checked_add(left)
            }
            Phase::Waiting { opens_at, .. } if now.since_boot < opens_at => Some(opens_at),
            // Its turn has come, its conditions have not: until there is no time left.
            Phase::Waiting { .. } => {
                let chance = self.chance(now).ok()?;
                Some(after_ms(now.since_boot, chance.open_ms))
            }
            Phase::Open { closes_at, .. } => Some(closes_at),
            Phase::Closing { until, .. } => Some(until),
        }
    }
}

/// A window to take part in.
struct Chance {
    span: Span,
    /// Of the plan.
    counter: u64,
    budget: Bytes,
    /// How long an exchange may last from this moment on.
    open_ms: u64,
}

/// How long before its end an exchange is asked to finish.
fn closing_ms(plan: &WindowPlan) -> u64 {
    let open_ms = millis(u64::from(plan.fields().open_seconds));
    open_ms.div_ceil(CLOSING_PART).min(CLOSING_MS_MAX)
}

fn millis(seconds: u64) -> u64 {
    seconds.saturating_mul(1000)
}

fn after_ms(instant: Instant, ms: u64) -> Instant {
    let wait = Duration::try_from_millis(ms).unwrap_or(Duration::MAX);
    instant.checked_add(wait).unwrap_or(Instant::MAX)
}
