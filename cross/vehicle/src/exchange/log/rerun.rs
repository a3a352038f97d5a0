//! A log through fresh cores: they must say what they said on the road.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use shoal_swarm::privacy::Private;
use shoal_swarm::reinstated::{Reinstated, RejectReinstated};
use shoal_swarm::roster::RejectRoster;
use shoal_swarm::swarm::{
    self, Conduct, Flat, Input, Phase, RejectSetup, Setup, Swarm, TermResult, ValuesHash,
};
use shoal_swarm::utility::Utility;
use shoal_window::{Bytes, Conditions, Policy, RejectSaved, Window};
use shoal_wire::v1::{ParticleHeader, WindowPlan};
use shoal_wire::{Keys, Now, ParticleId, RejectBody, RejectEnvelope, Unverified, decode_body};

use super::entry::{self, BeginSwarm, BeginWindow, Entry, SwarmInput, Time, Values, WindowInput};
use super::{
    MAGIC, NAME, PART_BYTES_MAX, PARTS_KEPT, PAYLOAD_BYTES_MAX, describe_window, next_entry, parts,
    path,
};

/// Which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The window's.
    Window,
    /// The swarm's.
    Swarm,
}

/// What a core was told, or said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the machine started, in microseconds; of an output when the core was told what it answers.
    pub since_boot_us: u64,
    /// True time as the vehicle knew it then, or before which it was not: UTC in seconds.
    pub utc_seconds: u64,
    /// Which core.
    pub core: Core,
    /// Whether it was told this; else it said it.
    pub told: bool,
    /// In words, without values.
    pub text: String,
}

/// The first output that is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The part of the log.
    pub path: PathBuf,
    /// Its entry, from 0.
    pub index: usize,
    /// Whose output.
    pub core: Core,
    /// What the log says; `None`: nothing more.
    pub logged: Option<String>,
    /// What the fresh core says; `None`: nothing.
    pub rerun: Option<String>,
}

/// How a rerun went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rerun {
    /// Inputs and timeouts that were handed in.
    pub inputs: usize,
    /// Outputs that were compared.
    pub outputs: usize,
    /// Entries of a core whose beginning is not in the log any more.
    pub skipped: usize,
    /// Whether the log was read to its end; else it is cut short, or damaged, after what is counted here.
    pub whole: bool,
    /// The first output that is another; there must be none.
    pub difference: Option<Difference>,
}

/// Why a log cannot be run again.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has no log of run {run}", folder.display())]
    NoRun { folder: PathBuf, run: u32 },
    #[error("{} is the log of another version of this program: rerun it with that one", path.display())]
    Version { path: PathBuf },
    /// They were swept: the log names what the vault does not hold any more.
    #[error(
        "the values {:?} were swept: those of the newest {PARTS_KEPT} windows are kept; take a copy of the folder sooner after what is \
         to be looked at",
        values.hash
    )]
    Missing { values: Values },
    #[error("a record or document of the log does not decode")]
    Body(#[from] RejectBody),
    #[error("the roster of the log is none")]
    Roster(#[from] RejectRoster),
    #[error("the reinstatements of the log are none")]
    Reinstated(#[from] RejectReinstated),
    #[error("the window plan of the log is rejected: give the keys of its fleet")]
    Plan(#[from] RejectEnvelope),
    #[error("the state that the swarm's core began with is rejected")]
    State(#[from] swarm::RejectSaved),
    #[error("what the swarm's core began with is rejected")]
    Setup(#[from] RejectSetup),
}

/// The runs that `folder` has logs of, in order.
///
/// # Errors
/// What the system says.
pub fn runs(folder: &Path) -> io::Result<Vec<u32>> {
    let mut runs: Vec<u32> = parts(folder)?.into_iter().map(|(run, _)| run).collect();
    runs.dedup();
    Ok(runs)
}

/// Runs a log again, to the first output that differs. `keys` are those that signed the window plan; `values`
/// finds what the log names: blobs of the vault, or what the chunks of a particle hold whose header, from the log, stands
/// beside ([`kept`](super::kept)). `steps` hears what the cores were told and said, but for the passing of time.
///
/// # Errors
/// [`RerunError`]: the log cannot be run again, or not to its end.
/// # Panics
/// Where the core does: then that is what the log is for.
pub fn rerun(
    folder: &Path,
    run: u32,
    keys: &impl Keys,
    values: impl FnMut(&Values, Option<&ParticleHeader>) -> Option<Flat>,
    steps: &mut dyn FnMut(Step),
) -> Result<Rerun, RerunError> {
    let all = parts(folder).map_err(|source| RerunError::Read { path: folder.into(), source })?;
    let own: Vec<u32> =
        all.into_iter().filter(|(one, _)| *one == run).map(|(_, part)| part).collect();
    if own.is_empty() {
        return Err(RerunError::NoRun { folder: folder.into(), run });
    }
    let mut cores = Cores::new(keys, values, steps);
    for (part, next) in own.iter().zip(own.iter().skip(1).map(Some).chain([None])) {
        let path = path(folder, run, *part);
        let bytes =
            read(&path).map_err(|source| RerunError::Read { path: path.clone(), source })?;
        let whole = cores.part(&path, &bytes)?;
        if cores.done.difference.is_some() || !whole || next.is_some_and(|next| *next != part + 1) {
            return Ok(cores.done);
        }
    }
    cores.done.whole = true;
    Ok(cores.done)
}

/// What a part can hold; one that is longer is cut short there.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = PART_BYTES_MAX.saturating_add(PAYLOAD_BYTES_MAX as u64);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Runs one part again that the caller has read, from fresh cores: entries before a beginning are skipped.
///
/// # Errors
/// [`RerunError`]: it cannot be run again, or not to its end.
/// # Panics
/// As [`rerun`].
pub fn rerun_part(
    bytes: &[u8],
    keys: &impl Keys,
    values: impl FnMut(&Values, Option<&ParticleHeader>) -> Option<Flat>,
) -> Result<Rerun, RerunError> {
    let steps = &mut |_step| {};
    let mut cores = Cores::new(keys, values, steps);
    let whole = cores.part(Path::new(""), bytes)?;
    cores.done.whole = whole && cores.done.difference.is_none();
    Ok(cores.done)
}

struct Cores<'a, K, V> {
    keys: &'a K,
    values: V,
    steps: &'a mut dyn FnMut(Step),
    /// The last that was told.
    now: Option<Now>,
    window: Option<Window>,
    swarm: Option<Swarm>,
    /// Of the swarm's core that begins next.
    private: Option<Private>,
    /// Those that the log has.
    headers: BTreeMap<ParticleId, ParticleHeader>,
    done: Rerun,
}

impl<'a, K: Keys, V: FnMut(&Values, Option<&ParticleHeader>) -> Option<Flat>> Cores<'a, K, V> {
    fn new(keys: &'a K, values: V, steps: &'a mut dyn FnMut(Step)) -> Self {
        let (now, window, swarm, private) = (None, None, None, None);
        let (headers, done) = (BTreeMap::new(), Rerun::default());
        Self { keys, values, steps, now, window, swarm, private, headers, done }
    }

    /// One part; whether it was read to its end.
    fn part(&mut self, path: &Path, bytes: &[u8]) -> Result<bool, RerunError> {
        let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
            let another = bytes.len() >= MAGIC.len() && bytes.starts_with(NAME);
            return if another {
                Err(RerunError::Version { path: path.into() })
            } else {
                Ok(false)
            };
        };
        let mut index = 0;
        while let Some(entry) = next_entry(&mut rest) {
            if let Some((core, logged, rerun)) = self.entry(entry)? {
                let path = path.into();
                self.done.difference = Some(Difference { path, index, core, logged, rerun });
                return Ok(true);
            }
            index += 1;
        }
        Ok(rest.is_empty())
    }

    /// Tells of an entry that a core is there for.
    fn step(&mut self, core: Core, told: bool, text: String) {
        let since_boot_us = self.now.map_or(0, |now| now.since_boot.as_micros());
        let utc_seconds = self.now.map_or(0, |now| now.utc.earliest_seconds());
        (self.steps)(Step { since_boot_us, utc_seconds, core, told, text });
    }

    fn at(&mut self, time: Time) -> Now {
        let now = Now::from(time);
        self.now = Some(now);
        now
    }

    /// One entry; what differs.
    fn entry(&mut self, entry: Entry) -> Result<Option<Other>, RerunError> {
        match entry {
            Entry::BeginWindow(begin) => self.window = Some(begin_window(&begin, self.keys)),
            Entry::BeginSwarm(begin) => self.swarm = Some(self.begin_swarm(&begin)?),
            Entry::WindowInput(time, input) => {
                let now = self.at(time);
                self.window_input(now, &input)?;
            }
            Entry::WindowTimeout(time) => {
                let now = self.at(time);
                match &mut self.window {
                    Some(window) => {
                        window.handle_timeout(now);
                        self.done.inputs += 1;
                    }
                    None => self.done.skipped += 1,
                }
            }
            Entry::SwarmInput(time, input) => {
                let now = self.at(time);
                self.swarm_input(now, &input)?;
            }
            Entry::SwarmTimeout(time) => {
                let now = self.at(time);
                match &mut self.swarm {
                    Some(swarm) => {
                        swarm.handle_timeout(now);
                        self.done.inputs += 1;
                    }
                    None => self.done.skipped += 1,
                }
            }
            Entry::WindowOutput(logged) => {
                let Some(window) = &mut self.window else { return Ok(self.skip()) };
                let said = said_by_window(window);
                return Ok(self.compare(Core::Window, logged, said));
            }
            Entry::SwarmOutput(logged) => {
                let Some(swarm) = &mut self.swarm else { return Ok(self.skip()) };
                let said = said_by_swarm(swarm);
                return Ok(self.compare(Core::Swarm, logged, said));
            }
            Entry::Private(private) => self.private = Some((&private).into()),
            Entry::Sealed(body) => {
                let header = decode_body::<ParticleHeader>(&body)?;
                self.headers.insert(header.id(), header);
            }
            Entry::End => {
                let window = self.window.as_mut().and_then(said_by_window);
                let swarm = self.swarm.as_mut().and_then(said_by_swarm);
                let left = window.map(|said| (Core::Window, said));
                let left = left.or(swarm.map(|said| (Core::Swarm, said)));
                return Ok(left.map(|(core, said)| (core, None, Some(said))));
            }
        }
        Ok(None)
    }

    fn skip(&mut self) -> Option<Other> {
        self.done.skipped += 1;
        None
    }

    fn compare(&mut self, core: Core, logged: String, said: Option<String>) -> Option<Other> {
        if said.as_ref() == Some(&logged) {
            self.done.outputs += 1;
            self.step(core, false, logged);
            return None;
        }
        Some((core, Some(logged), said))
    }

    fn begin_swarm(&mut self, begin: &BeginSwarm) -> Result<Swarm, RerunError> {
        let saved = swarm::Saved::decode(begin.state.as_deref())?;
        let mut named = std::collections::BTreeMap::new();
        for hash in saved.values() {
            named.insert(hash, self.find(Values { hash, particle: None })?);
        }
        let setup = Setup {
            vehicle: begin.vehicle,
            document: decode_body(&begin.document)?,
            start: self.find(Values { hash: begin.start, particle: None })?,
            utility: Utility::new(&decode_body(&begin.utility)?),
            roster: begin.roster.roster()?,
            period_seconds: begin.period_seconds,
            conduct: Conduct::default(),
            private: self.private.take(),
        };
        Ok(Swarm::new(setup, saved, |hash| named.get(hash).cloned())?)
    }

    fn find(&mut self, values: Values) -> Result<Flat, RerunError> {
        let header = values.particle.and_then(|particle| self.headers.get(&particle));
        let found = (self.values)(&values, header);
        let found = found.filter(|found| ValuesHash::of(found) == values.hash);
        found.ok_or(RerunError::Missing { values })
    }

    fn window_input(&mut self, now: Now, input: &WindowInput) -> Result<(), RerunError> {
        if self.window.is_none() {
            self.done.skipped += 1;
            return Ok(());
        }
        self.done.inputs += 1;
        self.step(Core::Window, true, input.to_string());
        let Some(window) = &mut self.window else { return Ok(()) };
        let input = match *input {
            WindowInput::Plan(ref envelope) => {
                let plan = Unverified::decode(envelope)?.verify::<WindowPlan>(self.keys)?;
                shoal_window::Input::Plan(plan)
            }
            WindowInput::Conditions {
                network,
                parked,
                external_power,
                battery_soc_percent,
                temperature_c,
            } => shoal_window::Input::Conditions(Conditions {
                network: network.into(),
                parked,
                external_power,
                battery_soc_percent,
                temperature_c,
            }),
            WindowInput::Used { up, down } => shoal_window::Input::Used(Bytes { up, down }),
            WindowInput::Needed { up, down } => shoal_window::Input::Needed(Bytes { up, down }),
            WindowInput::Drained => shoal_window::Input::Drained,
        };
        // What was rejected on the road is rejected again.
        let _taken = window.handle_input(now, input);
        Ok(())
    }

    fn swarm_input(&mut self, now: Now, input: &SwarmInput) -> Result<(), RerunError> {
        if self.swarm.is_none() {
            self.done.skipped += 1;
            return Ok(());
        }
        if let SwarmInput::Header { header, .. } = input {
            let header = header.signed::<ParticleHeader>()?.body;
            self.headers.insert(header.id(), header);
        }
        self.step(Core::Swarm, true, input.to_string());
        let values = input.values().map(|values| self.find(values)).transpose()?;
        let Some(swarm) = &mut self.swarm else { return Ok(()) };
        self.done.inputs += 1;
        hand_in(swarm, now, input, values.unwrap_or_default())
    }
}

/// Core, what the log says, what the rerun says.
type Other = (Core, Option<String>, Option<String>);

/// The window as it was before a start. What another authority signs by now is not there yet, and what was spent is spent; what is damaged
/// begins anew: then why.
pub(in crate::exchange) fn saved_window(
    plan: Option<&[u8]>,
    ledger: Option<&[u8]>,
    keys: &impl Keys,
) -> (shoal_window::Saved, Option<RejectSaved>) {
    let saved = shoal_window::Saved::decode(plan, ledger, keys).or_else(|error| match error {
        RejectSaved::Plan(_) => shoal_window::Saved::decode(None, ledger, keys),
        RejectSaved::Ledger { .. } => Err(error),
    });
    match saved {
        Ok(saved) => (saved, None),
        Err(why) => (shoal_window::Saved::default(), Some(why)),
    }
}

fn begin_window(begin: &BeginWindow, keys: &impl Keys) -> Window {
    // As the vehicle began.
    let (saved, _why) = saved_window(begin.plan.as_deref(), begin.ledger.as_deref(), keys);
    let policy = Policy {
        metered: begin.metered,
        driving: begin.driving,
        battery_soc_percent_min: begin.battery_soc_percent_min,
        temperature_c_max: begin.temperature_c_max,
    };
    Window::new(begin.vehicle, policy, saved)
}

fn said_by_window(window: &mut Window) -> Option<String> {
    while window.poll_persist().is_some() {}
    window.poll_output().as_ref().map(describe_window)
}

fn said_by_swarm(swarm: &mut Swarm) -> Option<String> {
    while swarm.poll_persist().is_some() {}
    swarm.poll_output().map(|output| output.to_string())
}

fn hand_in(
    swarm: &mut Swarm,
    now: Now,
    input: &SwarmInput,
    values: Flat,
) -> Result<(), RerunError> {
    let mut take = |input: Input<'_>| {
        // What was rejected on the road is rejected again.
        let _taken = swarm.handle_input(now, input);
    };
    match *input {
        SwarmInput::Claim(ref record) => take(Input::Claim(&record.signed()?)),
        SwarmInput::Vote(ref record) => take(Input::Vote(&record.signed()?)),
        SwarmInput::Header { ref header, slot } => {
            take(Input::Header { header: &header.signed()?, slot });
        }
        SwarmInput::Nonce(ref record) => take(Input::Nonce(&record.signed()?)),
        SwarmInput::Utility(ref document) => take(Input::Utility(&decode_body(document)?)),
        SwarmInput::Roster(ref vehicles) => take(Input::Roster(&vehicles.roster()?)),
        SwarmInput::Reinstated(ref orders) => {
            take(Input::Reinstated(&Reinstated::new(orders.clone())?));
        }
        SwarmInput::Open { window, closes_at_us } => {
            let closes_at = entry::instant(closes_at_us);
            take(Input::Phase(Phase::Open { window, closes_at }));
        }
        SwarmInput::Closing => take(Input::Phase(Phase::Closing)),
        SwarmInput::Closed => take(Input::Phase(Phase::Closed)),
        SwarmInput::Current => take(Input::Current),
        SwarmInput::Tuned(_) => take(Input::Tuned(&values)),
        SwarmInput::Fetched(particle, _) => take(Input::Fetched { particle, values: &values }),
        SwarmInput::Missing(particle) => take(Input::Missing { particle }),
        SwarmInput::Unreached(particle) => take(Input::Unreached { particle }),
        SwarmInput::Measured { job, ref terms } => {
            let fields = |&(value, beside, value_error, difference_error): &_| TermResult {
                value,
                beside,
                value_error,
                difference_error,
            };
            let terms: Vec<TermResult> = terms.iter().map(fields).collect();
            take(Input::Measured { job, terms: &terms });
        }
        SwarmInput::Unmeasured { job } => take(Input::Unmeasured { job }),
        SwarmInput::Coded { job, particle, slot, .. } => {
            take(Input::Coded { job, particle, values: &values, slot });
        }
        SwarmInput::Uncoded { job } => take(Input::Uncoded { job }),
    }
    Ok(())
}
