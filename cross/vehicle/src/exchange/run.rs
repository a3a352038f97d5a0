//! The loop of a vehicle in a fleet: window, swarm, line, engine and vault, one after the other, never waiting for one
//! while another has something to say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use embassy_time::Instant;
use shoal_link::Version;
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_swarm::privacy::{Ledger, Noise, PRIVACY_KEY, Privacy, Private};
use shoal_swarm::swarm::{self, Conduct, Flat, Input, STATE_KEY, Setup, Swarm, ValuesHash};
use shoal_swarm::utility::Utility;
use shoal_window::{Bytes, LEDGER_KEY, PLAN_KEY, Phase, Policy, SLOTS_KEY, Slots, Window};
use shoal_wire::v1::{Metric, NonceFields};
use shoal_wire::{KeyId, Kind, LayoutHash, ModelHash, Now, PackHash, RecordId, Signer, Utc};
use tracing::{info, warn};

use super::around::{Around, Dial, Engine};
use super::beacons::Beacons;
use super::bench::{Bench, BenchError};
use super::campaign::Promotion;
use super::certificates::Certificates;
use super::clock::Clock;
use super::diary::{Diary, DiaryError, Entry};
use super::documents::Documents;
use super::guarded::Guarded;
use super::key::Own;
use super::line::{Board, Line, LineError};
use super::log::{Log, LogError};
use super::look::{Look, Looking};
use super::measured::{self, Asked};
use super::metrics::Metrics;
use super::particles::Particles;
use super::said::Said;
use super::unsigned::Waiting;
use super::vault::{Vault, VaultError};
use super::worker::EngineEnded;
use crate::agent::Tried;
use crate::config::FleetConfig;

/// The longest the loop waits: a request to stop is seen so soon.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// The same while the engine works and may answer.
const WAIT_BUSY: Duration = Duration::from_millis(5);
/// More records than a vehicle signs in a second.
const COUNTERS_A_SECOND: u64 = 1 << 16;
/// What joining a fleet may cost: its documents, and what this vehicle published in an earlier life.
pub(super) const JOINING: Bytes = Bytes { up: 64 << 10, down: 4 << 20 };

/// Why a vehicle cannot exchange, or cannot go on.
#[expect(missing_docs, reason = "each says what its source says")]
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Key(#[from] shoal_keys::KeyError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Diary(#[from] DiaryError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Trust(#[from] shoal_trust::TrustError),
    #[error(transparent)]
    Engine(#[from] EngineEnded),
    #[error("no thread for the engine")]
    Thread(#[source] io::Error),
    #[error("the system gives no random bytes")]
    Noise(#[source] getrandom::Error),
    #[cfg(all(feature = "linux", target_os = "linux"))]
    #[error(transparent)]
    Gateway(#[from] crate::gateway::OpenSerialError),
    #[cfg(not(all(feature = "linux", target_os = "linux")))]
    #[error(
        "this program was built without serial lines: build shoal-vehicle with the feature `linux`, or leave out [gateway]"
    )]
    NoGateway,
    #[error("the vehicle's stored swarm state is rejected")]
    Swarm(#[from] shoal_swarm::swarm::RejectSetup),
    /// The fleet adapts another model than this vehicle carries.
    #[error(
        "the fleet's model has SHA-256 {fleet}, this vehicle's has {own}: install the fleet's package"
    )]
    OtherModel { fleet: ModelHash, own: ModelHash },
    /// The fleet adapts other weights of the model, or at another rank.
    #[error(
        "the fleet's adapters have layout {fleet}, this vehicle's {own}: install the fleet's package"
    )]
    OtherLayout { fleet: LayoutHash, own: LayoutHash },
    /// The utility document names another pack.
    #[error(
        "the fleet measures on pack {fleet}, this vehicle has {}: stage the fleet's packs and name them in [fleet] pack",
        measured::packs(own)
    )]
    OtherPack { fleet: PackHash, own: Vec<PackHash> },
    /// The utility document measures something else on the pack than its manifest says.
    #[error(
        "the fleet's utility asks for {} on pack {pack}, which tells {}: sign a utility document of what the pack tells",
        measured::name(*fleet),
        measured::names(own)
    )]
    OtherMetric { pack: PackHash, fleet: Metric, own: Vec<Metric> },
}

/// How a run is to go.
#[derive(Clone, Debug)]
pub struct Run {
    /// Windows after which it ends by itself; `None`: never.
    pub windows: Option<u32>,
    /// Set from outside to end it.
    pub stop: Arc<AtomicBool>,
    /// The vehicle's state folder.
    pub state: PathBuf,
    /// Seed of the vehicle's draws.
    pub seed: u64,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether its roads are recorded: it drives them again when something is on trial.
    pub recorded: bool,
    /// How its contributions are made private; `None`: they are not.
    pub privacy: Option<Privacy>,
}

/// The model that a vehicle carries.
#[derive(Clone, Debug)]
pub struct Carried {
    /// How its adapters are laid out.
    pub layout: Arc<Layout>,
    /// SHA-256 of its file.
    pub base_model: ModelHash,
    /// What can be measured on its evaluation packs.
    pub measures: Vec<Asked>,
    /// How the vehicle stands to the last campaign that it had a part in.
    pub tried: Option<Tried>,
}

/// What a turn of the loop came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do, now or later.
    Goes,
    /// It was told to stop, or the last window is over.
    Over,
    /// The vehicle is not parked any more, or begins anew.
    Drives,
}

/// What lasts for a window, or for the time before the first.
#[derive(Default)]
pub(super) struct Tonight {
    pub(super) entry: Option<Entry>,
    /// What the vehicle says of itself, to come back when all that was there before has come.
    pub(super) echo: Option<RecordId>,
    /// The window whose records the vehicle published again, on this line.
    pub(super) republished: Option<u32>,
    /// Of what is kept until it has come back, what has, and when.
    pub(super) came_back: BTreeMap<String, Instant>,
    /// Regions in which the vehicle was before, and what it said of itself there is taken away.
    pub(super) left: BTreeSet<String>,
    /// Whether the next line of a window goes on with what the broker keeps: a session that was begun in this life.
    pub(super) resumes: bool,
    /// Whether something came in it of a later window than the clock knew of: it was refused, and the broker does not send it again.
    pub(super) ahead: bool,
    /// Lines of windows in a row that ended before all that stood there had come.
    pub(super) behind: u8,
    /// What is being measured: candidate and what it stands beside, on which part.
    pub(super) measuring: BTreeMap<u64, (ValuesHash, Option<ValuesHash>, Option<u8>)>,
    /// What was measured in this window, by part.
    pub(super) values: BTreeMap<ValuesHash, (u8, Vec<i16>)>,
    pub(super) refused: BTreeSet<RecordId>,
    pub(super) steps: u32,
    pub(super) opened: Option<Instant>,
    /// What crossed a line before the first window.
    pub(super) before_line: Bytes,
    /// Whether the line begins nothing more.
    pub(super) finishing: bool,
    /// What the metrics were told crossed this line.
    pub(super) counted: Bytes,
    /// Seconds and mean loss of what was tuned before a window.
    pub(super) before_window: (f64, Option<f32>),
}

/// One vehicle of a fleet.
pub struct Exchange {
    pub(super) run: Run,
    pub(super) fleet: FleetConfig,
    pub(super) clock: Clock,
    /// What the broker speaks.
    pub(super) version: Version,
    /// What is shown to it.
    pub(super) certificates: Certificates,
    /// By when the vehicle has joined, or asks once more; and how often it has asked.
    pub(super) joins: Option<(Instant, u32)>,
    pub(super) key: Box<dyn Signer>,
    /// What waits for the key.
    pub(super) waiting: Waiting,
    pub(super) me: KeyId,
    /// Whether it was not looked yet whom it names.
    pub(super) roster_is_new: bool,
    /// When the next key is tried again, which could not be opened.
    pub(super) next_key_again: Option<Instant>,
    pub(super) board: Board,
    pub(super) layout: Arc<Layout>,
    pub(super) base_model: ModelHash,
    pub(super) measures: Vec<Asked>,
    pub(super) vault: Vault,
    pub(super) documents: Documents,
    pub(super) window: Window,
    pub(super) phase: Option<Phase>,
    pub(super) swarm: Option<Swarm>,
    pub(super) start: Option<Flat>,
    pub(super) slots: Slots,
    pub(super) engine: Box<dyn Engine>,
    pub(super) dial: Box<dyn Dial>,
    /// The gateway, if one guards the window.
    pub(super) gateway: Option<Guarded>,
    /// Until the swarm's core has it.
    noise: Option<Noise>,
    pub(super) particles: Particles,
    pub(super) line: Option<Line>,
    pub(super) beacons: Beacons,
    pub(super) diary: Diary,
    /// Inputs and outputs of both cores, for reruns.
    pub(super) log: Log,
    pub(super) said: Said,
    pub(super) staged: Option<Flat>,
    pub(super) tuning: Option<ValuesHash>,
    pub(super) promotion: Promotion,
    pub(super) look: Look,
    pub(super) tonight: Tonight,
    /// Nonces that came before the plan: what they say of time is still to be taken.
    pub(super) early: Vec<NonceFields>,
    /// Terms of the utility document; `None`: there is none yet, or the vehicle lacks what it asks for.
    pub(super) terms: Option<Vec<Asked>>,
    /// UTC of the program's start, as it was believed last; `None`: UTC was not known.
    zero_seconds: Option<u64>,
}

impl Run {
    /// Of what the exchange keeps.
    fn folder(&self) -> PathBuf {
        self.state.join("exchange")
    }

    /// The folder of what the exchange keeps, made if it is not there, and the vault in it.
    pub(super) fn open_vault(&self) -> Result<(PathBuf, Vault), ExchangeError> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder)
            .map_err(|source| DiaryError::Write { path: folder.clone(), source })?;
        let mut vault = Vault::open(&folder)?;
        if let Some(aside) = &vault.found().set_aside {
            warn!(path = %aside.path.display(), "the vault was damaged and begins anew");
        }
        let counted = || vault.get(PRIVACY_KEY).map(|ledger| ledger.is_some());
        if self.privacy.is_some() && vault.was_set_aside()? && !counted()? {
            // What was paid before is not known: it counts as all, also where a cut came before this was written.
            vault.put(PRIVACY_KEY, &Ledger::EXHAUSTED.encode())?;
        }
        Ok((folder, vault))
    }
}

impl Exchange {
    /// Opens what the vehicle keeps and starts its engine. `look` is what the vehicle is at the moment.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn open(
        run: Run,
        fleet: FleetConfig,
        mut bench: Bench,
        look: Look,
    ) -> Result<Self, ExchangeError> {
        let layout = Arc::clone(bench.agent().layout());
        let tried = bench.agent().tried().map_err(BenchError::from)?;
        let (base_model, measures) = (bench.base_model()?, bench.measures());
        let carried = Carried { layout, base_model, measures, tried };
        let (folder, vault) = run.open_vault()?;
        let around = Around::computer(bench, &folder, vault.utc_at_least()?)?;
        Exchange::on(run, fleet, carried, vault, around, look)
    }

    /// The same, with what is given in place of this computer's.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn on(
        run: Run,
        mut fleet: FleetConfig,
        carried: Carried,
        mut vault: Vault,
        around: Around,
        look: Look,
    ) -> Result<Self, ExchangeError> {
        let key = super::identity::open(&fleet, &vault)?;
        let (me, trust) = (key.public().id(), super::keep::trust(&mut fleet, &vault)?);
        let Carried { layout, base_model, measures, tried } = carried;
        let Around { mut clock, dial, engine, noise, guard } = around;
        if super::keep::settle_clock(&mut vault, fleet.timekeeper)? {
            clock.forget();
        }
        let (board, documents) = (Board::of(&fleet, me), Documents::new(&fleet, trust));
        let policy = policy(&fleet);
        let (slots, diary) = (saved_slots(&vault)?, Diary::open(&run.state, Arc::clone(&layout))?);
        let log = Log::open(&run.folder().join("log"))?;
        let beacons = Beacons::restore(fleet.beacons, &vault)?;
        let particles = Particles::new(board.clone(), layout.values());
        let mut exchange = Exchange {
            run,
            fleet,
            clock,
            version: Version::V5,
            certificates: Certificates::default(),
            joins: None,
            me,
            roster_is_new: true,
            next_key_again: None,
            key,
            waiting: Waiting::default(),
            board,
            layout,
            base_model,
            measures,
            vault,
            documents,
            window: Window::new(me, policy, shoal_window::Saved::default()),
            phase: None,
            swarm: None,
            start: None,
            slots,
            engine,
            dial,
            gateway: guard.map(Guarded::new),
            noise: Some(noise),
            particles,
            line: None,
            beacons,
            diary,
            log,
            said: Said::begin(0),
            staged: None,
            tuning: None,
            promotion: Promotion::new(tried),
            look,
            terms: None,
            zero_seconds: None,
            tonight: Tonight::default(),
            early: Vec::new(),
        };
        exchange.read_documents()?;
        exchange.begin_counter();
        exchange.read_window(&policy)?;
        // The power may have gone after the plan was kept among the documents and before the window's core had kept it.
        exchange.tell_plan();
        exchange.restore_staged()?;
        Ok(exchange)
    }

    /// A first start, or a store that was lost: seconds of UTC, which grow faster than records are signed, are above every counter of
    /// an earlier life, before what it left on the broker is read.
    fn begin_counter(&mut self) {
        let mut least = self.vault.counter_next();
        if !self.documents.whole() {
            let seconds = self.clock.now().utc.earliest_seconds();
            least = least.max(seconds.saturating_mul(COUNTERS_A_SECOND).saturating_add(1));
        }
        self.said = Said::begin(least);
    }

    /// The window as it was before the start.
    fn read_window(&mut self, policy: &Policy) -> Result<(), ExchangeError> {
        let (plan, ledger) = (self.vault.get(PLAN_KEY)?, self.vault.get(LEDGER_KEY)?);
        let keys = self.documents.keyring();
        let (saved, why) = super::log::saved_window(plan.as_deref(), ledger.as_deref(), keys);
        if let Some(error) = why {
            warn!(%error, "the window begins anew");
        }
        self.log.begin_window(self.me, policy, plan.as_deref(), ledger.as_deref());
        self.window = Window::new(self.me, *policy, saved);
        Ok(())
    }

    /// Takes part in windows until it is told to stop, or the last window is over, or the vehicle, which `looking`
    /// looks at, is not parked any more. Whether it was that: then there is more to do.
    ///
    /// # Errors
    /// [`ExchangeError`]: what was done until then is durable.
    pub fn run(&mut self, looking: &mut Looking<'_>) -> Result<bool, ExchangeError> {
        self.begin();
        let turn = loop {
            let turn = self.turn(looking())?;
            if turn != Turn::Goes {
                break turn;
            }
            let longest = if self.engine.busy() { WAIT_BUSY } else { WAIT_MAX };
            let due = self.poll_timeout().map(|at| self.clock.until(at));
            self.wait(due.map_or(longest, |due| due.min(longest)))?;
        };
        self.leave()?;
        Ok(turn == Turn::Drives)
    }

    /// Begins the run: before the first turn.
    pub fn begin(&mut self) {
        info!(vehicle = %self.me, "started");
        self.zero_seconds = zero_seconds(self.clock.now());
        self.mind_clock();
        self.tell_conditions();
    }

    /// Does what there is to do at this moment; `None`: the vehicle is not parked any more.
    ///
    /// # Errors
    /// [`ExchangeError`]: what was done until then is durable.
    pub fn turn(&mut self, look: Option<Look>) -> Result<Turn, ExchangeError> {
        if self.run.stop.load(Ordering::Relaxed) {
            info!("told to stop");
            return Ok(Turn::Over);
        }
        let Some(look) = look else {
            info!("not parked any more");
            return Ok(Turn::Drives);
        };
        if look != self.look {
            self.look = look;
            self.tell_conditions();
        }
        let now = self.clock.now();
        let set = self.clock_was_set(now);
        if set || self.window.poll_timeout().is_some_and(|at| at <= now.since_boot) {
            self.log.window_timeout(now);
            self.window.handle_timeout(now);
            if set {
                // By a clock that was ahead it may have been one that is over.
                self.tell_plan();
            }
        }
        self.mind_gateway()?;
        self.drain_window()?;
        self.begin_swarm()?;
        self.join_if_needed()?;
        self.timeouts()?;
        self.settle_outgoing()?;
        self.mind_beacons();
        self.keep_beacons()?;
        self.promote()?;
        self.seal_what_waits()?;
        self.drain_swarm()?;
        self.meter()?;
        self.finish()?;
        self.end_of_window()?;
        if self.over() {
            return Ok(Turn::Over);
        }
        let drives = self.is_renamed()? || (self.run.recorded && self.waits_for_road());
        Ok(if drives { Turn::Drives } else { Turn::Goes })
    }

    /// Whether UTC has moved otherwise than time has passed: somebody set the clock, or it is believed again. The window's core
    /// waits for moments since the start, and would sleep through that.
    fn clock_was_set(&mut self, now: Now) -> bool {
        let zero = zero_seconds(now);
        let same = match (self.zero_seconds, zero) {
            (Some(before), Some(zero)) => before.abs_diff(zero) <= 1,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            self.zero_seconds = zero;
            self.tonight.resumes &= !self.tonight.ahead;
            self.mind_clock();
        }
        !same
    }

    /// The swarm's core, once it has begun: the fleet's documents were all there.
    #[must_use]
    pub fn swarm(&self) -> Option<&Swarm> {
        self.swarm.as_ref()
    }

    /// The newest envelope of this kind of document.
    #[must_use]
    pub fn goes_by(&self, kind: Kind) -> Option<&[u8]> {
        // Until all pages are there it goes by the roster before.
        let whole = kind != Kind::Roster || self.documents.keyring().missing().next().is_none();
        self.documents.envelope(kind).filter(|_envelope| whole)
    }

    /// The earliest that true time can be, as this vehicle believes it: UTC in seconds.
    #[must_use]
    pub fn utc_seconds(&self) -> u64 {
        self.clock.now().utc.earliest_seconds()
    }

    /// When there is something to do again, if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [
            self.window.poll_timeout(),
            self.swarm.as_ref().and_then(Swarm::poll_timeout),
            self.particles.poll_timeout(),
            self.joins.map(|(again, _asked)| again),
            self.waiting.poll_timeout(),
        ];
        due.into_iter().flatten().min()
    }

    /// Whether the last window is over, and all of it done.
    fn over(&self) -> bool {
        let Some(windows) = self.run.windows else { return false };
        let last = windows.checked_sub(1);
        last.is_none_or(|last| self.diary.written().is_some_and(|written| written >= last))
    }

    /// Waits so long for the broker or the engine, whichever can speak, and takes what they say.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn wait(&mut self, wait: Duration) -> Result<(), ExchangeError> {
        if let Some(line) = &mut self.line {
            if let Some(event) = line.next(wait) {
                self.event(&event)?;
                // What has come already is taken before anything is decided.
                while let Some(event) =
                    self.line.as_mut().and_then(|line| line.next(Duration::ZERO))
                {
                    self.event(&event)?;
                }
            }
            while let Some(done) = self.engine.next(Duration::ZERO)? {
                self.done(done)?;
            }
        } else if let Some(done) = self.engine.next(wait)? {
            self.done(done)?;
        }
        Ok(())
    }

    /// Once all documents are there, the vehicle takes part: its stored state and records are read back.
    fn begin_swarm(&mut self) -> Result<(), ExchangeError> {
        if self.swarm.is_some() || !self.documents.whole() {
            return Ok(());
        }
        let (Some(document), Some(utility), Some(plan)) =
            (self.documents.swarm(), self.documents.utility(), self.documents.plan())
        else {
            return Ok(());
        };
        let (document, fields) = (*document, *document.fields());
        let period_seconds = plan.fields().period_seconds;
        let own = LayoutHash::new(self.layout.hash());
        if fields.base_model != self.base_model {
            return Err(ExchangeError::OtherModel {
                fleet: fields.base_model,
                own: self.base_model,
            });
        }
        if fields.layout != own {
            return Err(ExchangeError::OtherLayout { fleet: fields.layout, own });
        }
        let utility = Utility::new(utility);
        self.terms = Some(measured::fits(&utility, &self.measures)?);
        let start = Adapter::start(Arc::clone(&self.layout), fields.start_seed);
        let start: Flat = start.values().into();
        let (saved, named) = self.restore_swarm(start.len())?;
        let setup = Setup {
            vehicle: self.me,
            document,
            start: start.clone(),
            utility,
            roster: self.documents.keyring().roster().clone(),
            period_seconds,
            conduct: Conduct::default(),
            private: self.private()?,
        };
        let state = self.vault.get(STATE_KEY)?.map(|_as_it_lay| saved.encode());
        if let Some(document) = self.documents.utility() {
            self.log.begin_swarm(&setup, document, state.as_deref());
        }
        let swarm = Swarm::new(setup, saved, |hash| named.get(hash).cloned())?;
        self.swarm = Some(swarm);
        self.start = Some(start);
        info!(vehicles = self.documents.keyring().roster().count(), "joined");
        self.tell_reinstated();
        self.read_records()?;
        self.resume_tuning()?;
        // The window may have opened before.
        if let Some(Phase::Open { window, closes_at, .. }) = self.phase {
            self.tell_swarm(Input::Phase(swarm::Phase::Open { window, closes_at }));
        }
        Ok(())
    }

    /// How contributions are made private, with what was paid before.
    fn private(&mut self) -> Result<Option<Private>, ExchangeError> {
        let Some((privacy, noise)) = self.run.privacy.zip(self.noise.take()) else {
            return Ok(None);
        };
        let ledger = Ledger::decode(self.vault.get(PRIVACY_KEY)?.as_deref());
        self.run.metrics.privacy_epsilon(privacy.delta, ledger.epsilon(privacy.delta));
        Ok(Some(Private { privacy, ledger, noise }))
    }

    fn timeouts(&mut self) -> Result<(), ExchangeError> {
        let now = self.clock.now();
        if let Some(swarm) = &mut self.swarm
            && swarm.poll_timeout().is_some_and(|at| at <= now.since_boot)
        {
            self.log.swarm_timeout(now);
            swarm.handle_timeout(now);
        }
        let Some(line) = &mut self.line else { return Ok(()) };
        let keys = self.documents.keyring();
        let got = self.particles.timeout(now, keys, &mut self.vault, line.link())?;
        self.got(got)
    }

    /// Between budget and socket.
    fn meter(&mut self) -> Result<(), ExchangeError> {
        let inputs = self.line.as_mut().map(Line::inputs);
        for input in inputs.into_iter().flatten().flatten() {
            self.tell_window(input);
        }
        if let Some(line) = &mut self.line {
            let (used, purpose) = (line.used(), line.purpose());
            self.count_bytes(used, purpose);
        }
        self.drain_window()?;
        if let Some(line) = &mut self.line {
            line.grant(&self.window);
        }
        Ok(())
    }

    /// Ends the run: what is in flight is left, what was done is durable.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn leave(&mut self) -> Result<(), ExchangeError> {
        // The log ends where the cores have nothing more to say.
        self.drain_window()?;
        self.drain_swarm()?;
        self.hang_up();
        self.log.end();
        if let Some(failure) = self.log.failure() {
            warn!(%failure, "the event log is not whole");
        }
        info!("ended");
        Ok(())
    }

    pub(super) fn own(&self) -> Own {
        Own(self.key.public())
    }
}

/// UTC of the program's start; `None`: UTC is not known.
fn zero_seconds(now: Now) -> Option<u64> {
    match now.utc {
        Utc::Known { seconds, .. } => Some(seconds.saturating_sub(now.since_boot.as_secs())),
        Utc::AtLeast { .. } => None,
    }
}

/// What the vehicle asks of itself before it exchanges.
fn policy(fleet: &FleetConfig) -> Policy {
    Policy {
        metered: fleet.metered,
        driving: fleet.while_driving,
        battery_soc_percent_min: fleet.battery_soc_min_percent,
        temperature_c_max: fleet.temperature_max_c,
    }
}

fn saved_slots(vault: &Vault) -> Result<Slots, ExchangeError> {
    let Some(bytes) = vault.get(SLOTS_KEY)? else { return Ok(Slots::new()) };
    Ok(Slots::decode(&bytes).unwrap_or_else(|error| {
        warn!(%error, "the slots begin anew");
        Slots::new()
    }))
}

/// Values as the vault holds them: f32, little-endian.
pub(super) fn flat(bytes: &[u8]) -> Flat {
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// The bytes of values; their SHA-256 is [`ValuesHash::of`] them.
pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
