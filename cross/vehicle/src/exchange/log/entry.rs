//! What a log holds: inputs of the cores, whole or by name, and their outputs as descriptions.

use embassy_time::{Duration, Instant};
use serde::{Deserialize, Serialize};
use shoal_swarm::privacy::{self, Ledger, Noise, Privacy};
use shoal_swarm::records::Signed;
use shoal_swarm::roster::{RejectRoster, Roster};
use shoal_swarm::swarm::{self, Flat, TermResult, ValuesHash};
use shoal_wire::v1::{Growth, ParticleHeader, UtilityDocument};
use shoal_wire::{Body, KeyId, Now, ParticleId, RecordId, RejectBody, Utc, decode_body};

// Times are written in microseconds, ticks never: one must be the other.
const _: () = assert!(embassy_time::TICK_HZ == 1_000_000);

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    BeginWindow(BeginWindow),
    BeginSwarm(BeginSwarm),
    WindowInput(Time, WindowInput),
    WindowTimeout(Time),
    WindowOutput(String),
    SwarmInput(Time, SwarmInput),
    SwarmTimeout(Time),
    SwarmOutput(String),
    /// The program ended by itself: nothing was left to be said.
    End,
    /// The swarm's core that begins next makes its contributions private.
    Private(Private),
    /// The body of the header of a particle that the vehicle made: what its chunks are read by.
    Sealed(Vec<u8>),
}

/// With what a window's core began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BeginWindow {
    pub(super) vehicle: KeyId,
    pub(super) metered: bool,
    pub(super) driving: bool,
    pub(super) battery_soc_percent_min: u8,
    pub(super) temperature_c_max: i16,
    pub(super) plan: Option<Vec<u8>>,
    pub(super) ledger: Option<Vec<u8>>,
}

/// With what a swarm's core began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BeginSwarm {
    pub(super) vehicle: KeyId,
    pub(super) document: Vec<u8>,
    pub(super) start: ValuesHash,
    pub(super) utility: Vec<u8>,
    pub(super) roster: Vehicles,
    pub(super) period_seconds: u32,
    pub(super) state: Option<Vec<u8>>,
}

/// The roster: its rows, and what it grew by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Vehicles {
    pub(super) rows: Vec<(KeyId, u16)>,
    growths: Vec<Growth>,
}

/// How contributions are made private, and the ledger. The noise is nowhere: who had it could take it off again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Private {
    clip: f64,
    noise: f64,
    delta: f64,
    epsilon_max: f64,
    ledger: Vec<u8>,
}

impl From<&privacy::Private> for Private {
    fn from(private: &privacy::Private) -> Self {
        let Privacy { clip, noise, delta, epsilon_max } = private.privacy;
        Self { clip, noise, delta, epsilon_max, ledger: private.ledger.encode() }
    }
}

impl From<&Private> for privacy::Private {
    /// With other noise than there was.
    fn from(private: &Private) -> Self {
        let Private { clip, noise, delta, epsilon_max, ref ledger } = *private;
        Self {
            privacy: Privacy { clip, noise, delta, epsilon_max },
            ledger: Ledger::decode(Some(ledger)),
            noise: Noise::new([0; 32]),
        }
    }
}

/// A [`Now`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Time {
    since_boot_us: u64,
    utc: LoggedUtc,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum LoggedUtc {
    Known { seconds: u64, uncertainty_seconds: u32 },
    AtLeast { seconds: u64 },
}

impl From<Now> for Time {
    fn from(now: Now) -> Self {
        let utc = match now.utc {
            Utc::Known { seconds, uncertainty_seconds } => {
                LoggedUtc::Known { seconds, uncertainty_seconds }
            }
            Utc::AtLeast { seconds } => LoggedUtc::AtLeast { seconds },
        };
        Self { since_boot_us: now.since_boot.as_micros(), utc }
    }
}

impl From<Time> for Now {
    fn from(time: Time) -> Self {
        let utc = match time.utc {
            LoggedUtc::Known { seconds, uncertainty_seconds } => {
                Utc::Known { seconds, uncertainty_seconds }
            }
            LoggedUtc::AtLeast { seconds } => Utc::AtLeast { seconds },
        };
        Self { since_boot: instant(time.since_boot_us), utc }
    }
}

pub(super) fn instant(us: u64) -> Instant {
    Instant::MIN + Duration::from_micros(us)
}

/// An input of the window's core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum WindowInput {
    /// Its envelope.
    Plan(Vec<u8>),
    Conditions {
        network: Network,
        parked: bool,
        external_power: bool,
        battery_soc_percent: u8,
        temperature_c: i16,
    },
    Used {
        up: u64,
        down: u64,
    },
    Needed {
        up: u64,
        down: u64,
    },
    Drained,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Network {
    None,
    Metered,
    Unmetered,
}

impl From<shoal_window::Network> for Network {
    fn from(network: shoal_window::Network) -> Self {
        match network {
            shoal_window::Network::None => Self::None,
            shoal_window::Network::Metered => Self::Metered,
            shoal_window::Network::Unmetered => Self::Unmetered,
        }
    }
}

impl From<Network> for shoal_window::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::None => Self::None,
            Network::Metered => Self::Metered,
            Network::Unmetered => Self::Unmetered,
        }
    }
}

impl From<&shoal_window::Input<'_>> for WindowInput {
    fn from(input: &shoal_window::Input<'_>) -> Self {
        use shoal_window::Input;
        match input {
            Input::Plan(plan) => Self::Plan(plan.bytes().to_vec()),
            Input::Conditions(conditions) => Self::Conditions {
                network: conditions.network.into(),
                parked: conditions.parked,
                external_power: conditions.external_power,
                battery_soc_percent: conditions.battery_soc_percent,
                temperature_c: conditions.temperature_c,
            },
            Input::Used(bytes) => Self::Used { up: bytes.up, down: bytes.down },
            Input::Needed(bytes) => Self::Needed { up: bytes.up, down: bytes.down },
            Input::Drained => Self::Drained,
        }
    }
}

/// A record as the swarm's core takes it: its signature was checked before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    id: RecordId,
    signer: KeyId,
    counter: u64,
    not_after_seconds: u64,
    body: Vec<u8>,
}

impl Record {
    fn of<T>(signed: &Signed<T>, fields: &impl Serialize) -> Self {
        let Signed { id, signer, counter, not_after_seconds, .. } = *signed;
        Self { id, signer, counter, not_after_seconds, body: encode(fields) }
    }

    pub(super) fn signed<'a, T: Body<'a>>(&'a self) -> Result<Signed<T>, RejectBody> {
        let Self { id, signer, counter, not_after_seconds, ref body } = *self;
        Ok(Signed { id, signer, counter, not_after_seconds, body: decode_body(body)? })
    }
}

/// Values by their name, and by whose they are where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Values {
    /// Their name.
    pub hash: ValuesHash,
    /// The particle whose chunks hold them.
    pub particle: Option<ParticleId>,
}

impl Values {
    fn of(values: &Flat, particle: Option<ParticleId>) -> Self {
        Self { hash: ValuesHash::of(values), particle }
    }
}

/// An input of the swarm's core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum SwarmInput {
    Claim(Record),
    Vote(Record),
    Header { header: Record, slot: u8 },
    Nonce(Record),
    Utility(Vec<u8>),
    Roster(Vehicles),
    Open { window: u32, closes_at_us: u64 },
    Closing,
    Closed,
    Current,
    Tuned(Values),
    Fetched(ParticleId, Values),
    Missing(ParticleId),
    Measured { job: u64, terms: Vec<(i16, i16, u16, u16)> },
    Unmeasured { job: u64 },
    Coded { job: u64, particle: ParticleId, values: Values, slot: Option<u8> },
    Uncoded { job: u64 },
    Unreached(ParticleId),
    Reinstated(Vec<(KeyId, u32)>),
}

impl From<&swarm::Input<'_>> for SwarmInput {
    fn from(input: &swarm::Input<'_>) -> Self {
        use shoal_swarm::swarm::{Input, Phase};
        match *input {
            Input::Claim(claim) => Self::Claim(Record::of(claim, claim.body.fields())),
            Input::Vote(vote) => Self::Vote(Record::of(vote, vote.body.fields())),
            Input::Header { header, slot } => {
                Self::Header { header: Record::of(header, header.body.fields()), slot }
            }
            Input::Nonce(nonce) => Self::Nonce(Record::of(nonce, nonce.body.fields())),
            Input::Utility(document) => Self::Utility(utility(document)),
            Input::Roster(all) => Self::Roster(all.into()),
            Input::Reinstated(all) => Self::Reinstated(all.orders().to_vec()),
            Input::Phase(Phase::Open { window, closes_at }) => {
                Self::Open { window, closes_at_us: closes_at.as_micros() }
            }
            Input::Phase(Phase::Closing) => Self::Closing,
            Input::Phase(Phase::Closed) => Self::Closed,
            Input::Current => Self::Current,
            Input::Tuned(values) => Self::Tuned(Values::of(values, None)),
            Input::Fetched { particle, values } => {
                Self::Fetched(particle, Values::of(values, Some(particle)))
            }
            Input::Missing { particle } => Self::Missing(particle),
            Input::Unreached { particle } => Self::Unreached(particle),
            Input::Measured { job, terms } => {
                let fields = |term: &TermResult| {
                    (term.value, term.beside, term.value_error, term.difference_error)
                };
                Self::Measured { job, terms: terms.iter().map(fields).collect() }
            }
            Input::Unmeasured { job } => Self::Unmeasured { job },
            Input::Coded { job, particle, values, slot } => {
                let values = Values::of(values, Some(particle));
                Self::Coded { job, particle, values, slot }
            }
            Input::Uncoded { job } => Self::Uncoded { job },
        }
    }
}

impl SwarmInput {
    /// The values that it names.
    pub(super) fn values(&self) -> Option<Values> {
        match self {
            Self::Tuned(values) | Self::Fetched(_, values) | Self::Coded { values, .. } => {
                Some(*values)
            }
            Self::Claim(_)
            | Self::Vote(_)
            | Self::Header { .. }
            | Self::Nonce(_)
            | Self::Utility(_)
            | Self::Roster(_)
            | Self::Reinstated(_)
            | Self::Open { .. }
            | Self::Closing
            | Self::Closed
            | Self::Current
            | Self::Missing(_)
            | Self::Unreached(_)
            | Self::Measured { .. }
            | Self::Unmeasured { .. }
            | Self::Uncoded { .. } => None,
        }
    }
}

/// A header's body.
pub(super) fn header(header: &ParticleHeader) -> Vec<u8> {
    encode(header.fields())
}

/// A utility document's body.
pub(super) fn utility(document: &UtilityDocument) -> Vec<u8> {
    encode(document.fields())
}

impl From<&Roster> for Vehicles {
    fn from(roster: &Roster) -> Self {
        Vehicles { rows: roster.rows().to_vec(), growths: roster.growths().collect() }
    }
}

impl Vehicles {
    /// The roster that this was.
    pub(super) fn roster(&self) -> Result<Roster, RejectRoster> {
        Ok(Roster::of_rows(self.rows.clone())?.grown(self.growths.iter().copied()))
    }
}

/// What postcard writes of it: of a body's fields, the body.
pub(super) fn encode(fields: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(fields, Vec::new()).expect("a vector takes all that is written")
}
