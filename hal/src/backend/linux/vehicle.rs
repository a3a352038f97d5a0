//! The state of the vehicle: what its bus says and what Linux says of the computer.
//!
//! | condition | from |
//! |---|---|
//! | parked | the speed on the bus has been nothing for a while, and the gear or ignition signal says so |
//! | external power, charge | signals on the bus, else `class/power_supply`; once the bus has said them and then sleeps, none |
//! | temperature | the warmest of `class/thermal/thermal_zone*` |
//! | network | the default routes, and `class/net/*/operstate` |
//!
//! What nothing says is as the configuration has it, else an error: then nothing is allowed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dbc::Dbc;
use super::monotonic;
use super::network::network;
use super::signals::{MappingError, Outside, Reading, Said, Source};
use super::socketcan::Bus;
use crate::{Conditions, Vehicle};

/// Speed below which a vehicle stands, m/s: wheel sensors give nothing below a walking pace.
const STANDING_M_S: f64 = 0.2;
/// A bus that is awake says the speed at least so often.
const AWAKE: Duration = Duration::from_secs(2);
/// Longest time without a look at the bus after which it is taken to have said all the while what it said before.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a frame on a bus that may sleep.
const WAIT: Duration = Duration::from_millis(300);
/// Entries of one folder of `/sys` that are looked at.
const ENTRIES_MAX: usize = 256;

/// Where the vehicle's state is on the bus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateSources {
    /// The speed, m/s. Without it the vehicle is never known to be parked.
    pub speed: Option<Source>,
    /// Gear, ignition or the like, and its values while parked.
    pub parked: Option<(Source, Vec<f64>)>,
    /// Not 0 while supplied from outside.
    pub external_power: Option<Source>,
    /// Charge of the battery, percent.
    pub battery_soc_percent: Option<Source>,
}

/// What holds where nothing on this computer or its bus says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// Supplied from outside.
    pub external_power: Option<bool>,
    /// Charge of the battery, percent.
    pub battery_soc_percent: Option<u8>,
    /// Temperature of the computer, °C.
    pub temperature_c: Option<i16>,
}

/// How the state is read.
#[derive(Clone, Debug, PartialEq)]
pub struct StateOptions {
    /// Where sysfs is, `/sys`. Beside it lies `proc`.
    pub sysfs: PathBuf,
    /// Time of standing after which the vehicle is parked.
    pub parked_after: Duration,
    /// Time after which what the bus said of power and charge does not hold any more: a bus that sleeps says nothing while the charge
    /// falls. Then there is no power from outside and no charge, whatever the computer's own supply says.
    pub power_age: Duration,
    /// Interfaces of the network that are paid by the byte.
    pub metered: Vec<String>,
    /// What nothing says.
    pub assumed: Assumed,
}

/// Why the state is not known.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The bus has not said the speed since the start, or was silent while moving.
    #[error(
        "the bus {interface} does not say how fast the vehicle is: it is not known to be parked"
    )]
    Speed { interface: String },
    /// The bus has not said the signal that tells whether the vehicle is parked.
    #[error("the bus {interface} has not said `parked`: the vehicle is not known to be parked")]
    Parked { interface: String },
    /// Nothing tells of the power.
    #[error(
        "neither {} nor the bus tells of {what}: say it as `{what}` under [conditions]", path.display()
    )]
    Unknown { what: &'static str, path: PathBuf },
    /// A folder of sysfs cannot be read.
    #[error("cannot list {}", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The signals of [`StateSources`], found in a DBC file.
#[derive(Debug)]
pub struct HeardState {
    speed: Option<Reading>,
    parked: Option<(Reading, Vec<f64>)>,
    external_power: Option<Reading>,
    battery_soc_percent: Option<Reading>,
    standing: Standing,
}

/// Since when the vehicle has been standing, by what was said of its speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    since: Option<Duration>,
    heard: Option<Duration>,
    /// From when to when nobody listened, the last time that it was for long.
    away: Option<(Duration, Duration)>,
}

impl Standing {
    /// A bus that slept and is awake again tells of no time in between: standing begins anew.
    fn hear(&mut self, speed_m_s: f64, at: Duration) {
        let unheard = self.heard.map(|heard| at.saturating_sub(heard));
        let slept = unheard.is_none_or(|unheard| unheard > AWAKE);
        let missed = slept && self.missed(at);
        self.heard = Some(at);
        if speed_m_s.abs() >= STANDING_M_S {
            self.since = None;
        } else if missed && let (Some(since), Some(unheard)) = (self.since, unheard) {
            // It goes on; what was not heard is no time of standing.
            self.since = Some(since + unheard);
        } else if slept || self.since.is_none() {
            self.since = Some(at);
        }
    }

    /// A frame that should have said the speed and did not: the vehicle is not known to stand. Where another signal says whether it
    /// is parked, one that stood goes on: many cars say no speed once they are switched off.
    fn hear_nothing(&mut self, another: bool, at: Duration) {
        let slept = self.heard.is_none_or(|heard| at.saturating_sub(heard) > AWAKE);
        self.heard = Some(at);
        self.since = self.since.filter(|_since| another);
        if slept {
            self.since = self.since.map(|_since| at);
        }
    }

    /// Whether the silence before a frame at `at` is that of a listener who was away. What was sent meanwhile is kept until
    /// there is no room; so frames are missed only between the last that was kept and the first after the return.
    fn missed(&self, at: Duration) -> bool {
        let (Some((from, to)), Some(heard)) = (self.away, self.heard) else { return false };
        let was_awake = heard + AWAKE >= from && heard <= to;
        let is_awake = at >= to && at - to <= AWAKE;
        was_awake && is_awake && to.saturating_sub(from) <= AWAY_MAX
    }

    /// Whether it has been standing for `long`; `None` if it is not known: never heard, or silent while
    /// moving. A bus that falls silent while the vehicle stands sleeps: it goes on standing. One that was lost says nothing of the
    /// time since.
    fn for_so_long(
        &self,
        now: Duration,
        lost_at: Option<Duration>,
        long: Duration,
    ) -> Option<bool> {
        let heard = self.heard?;
        // Heard after it was lost: it is back.
        let lost_at = lost_at.filter(|lost_at| *lost_at >= heard);
        let told = lost_at.map_or(now, |lost_at| now.min(lost_at));
        match self.since {
            Some(since) => Some(told.saturating_sub(since) >= long),
            None if now.saturating_sub(heard) > AWAKE => None,
            None => Some(false),
        }
    }
}

impl HeardState {
    /// Finds the sources in a DBC file.
    ///
    /// # Errors
    /// [`MappingError`].
    pub fn new(dbc: &Dbc, sources: &StateSources) -> Result<Self, MappingError> {
        let reading = |what, source: &Option<Source>| {
            source.as_ref().map(|source| Reading::new(dbc, what, source)).transpose()
        };
        let parked = match &sources.parked {
            // Some files give a range without the values of a gear that are special.
            Some((source, values)) => {
                Some((Reading::new(dbc, "parked", source)?.unbounded(), values.clone()))
            }
            None => None,
        };
        Ok(Self {
            speed: reading("speed", &sources.speed)?,
            parked,
            external_power: reading("external_power", &sources.external_power)?,
            battery_soc_percent: reading("battery_soc_percent", &sources.battery_soc_percent)?,
            standing: Standing::default(),
        })
    }

    /// The frames that hold any of it, each once.
    #[must_use]
    pub fn ids(&self) -> Vec<super::dbc::FrameId> {
        let mut ids: Vec<_> = self.readings().map(Reading::id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn readings(&self) -> impl Iterator<Item = &Reading> {
        let parked = self.parked.as_ref().map(|(reading, _)| reading);
        let speed = self.speed.as_ref();
        [speed, parked, self.external_power.as_ref(), self.battery_soc_percent.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Hears a frame that came at `at`.
    pub fn hear(&mut self, id: super::dbc::FrameId, data: &[u8], at: Duration) {
        match self.speed.as_mut().map(|speed| speed.hear(id, data, at)) {
            Some(Said::Value(value)) => self.standing.hear(value, at),
            Some(Said::Nothing) => self.standing.hear_nothing(self.parked.is_some(), at),
            Some(Said::Other) | None => {}
        }
        let parked = self.parked.as_mut().map(|(reading, _)| reading);
        let others = [parked, self.external_power.as_mut(), self.battery_soc_percent.as_mut()];
        for reading in others.into_iter().flatten() {
            reading.hear(id, data, at);
        }
    }

    /// External power and charge at `now`, where they were ever said: none, where that is longer ago than `age_max`.
    fn power(&self, now: Duration, age_max: Duration) -> (Option<bool>, Option<u8>) {
        let said = |reading: &Option<Reading>| {
            let reading = reading.as_ref().filter(|reading| reading.last().is_some())?;
            Some(reading.fresh(now, age_max).unwrap_or(0.0))
        };
        let external = said(&self.external_power).map(|value| value != 0.0);
        let charge = said(&self.battery_soc_percent);
        (external, charge.map(|value| value.clamp(0.0, 100.0) as u8))
    }

    /// Whether the vehicle is parked at `now`.
    fn parked(
        &self,
        (now, lost_at): (Duration, Option<Duration>),
        after: Duration,
        interface: &str,
    ) -> Result<bool, StateError> {
        let interface = || interface.to_owned();
        let stands = self.standing.for_so_long(now, lost_at, after);
        if !stands.ok_or_else(|| StateError::Speed { interface: interface() })? {
            return Ok(false);
        }
        let Some((reading, values)) = &self.parked else { return Ok(true) };
        let (value, _) =
            reading.last().ok_or_else(|| StateError::Parked { interface: interface() })?;
        Ok(values.iter().any(|parked| (parked - value).abs() < 1e-6))
    }
}

/// The conditions of the vehicle this program runs in.
#[derive(Debug)]
pub struct LinuxVehicle {
    options: StateOptions,
    bus: Option<(Bus, HeardState)>,
    /// When everything that had come on the bus was last heard.
    listened: Option<Duration>,
}

impl LinuxVehicle {
    /// Reads sysfs as `options` say, and listens to `bus`. Without a bus the vehicle never moves: it is a
    /// computer on a bench.
    #[must_use]
    pub const fn new(options: StateOptions, bus: Option<(Bus, HeardState)>) -> Self {
        Self { options, bus, listened: None }
    }

    /// What was outside of its range on the bus, each once.
    pub fn outside(&self) -> impl Iterator<Item = Outside> + '_ {
        let readings = self.bus.iter().flat_map(|(_, heard)| heard.readings());
        readings.filter_map(Reading::outside)
    }

    /// Listens until the bus has said the speed anew, or seems to sleep.
    fn listen(&mut self) {
        let Some((bus, heard)) = &mut self.bus else { return };
        let begun = monotonic();
        if let Some(listened) = self.listened
            && begun.saturating_sub(listened) > AWAKE
        {
            heard.standing.away = Some((listened, begun));
        }
        loop {
            bus.drain(|frame| heard.hear(frame.id, frame.data, frame.at));
            let now = monotonic();
            self.listened = Some(now);
            let fresh = heard.standing.heard.is_some_and(|at| now.saturating_sub(at) < WAIT);
            match WAIT.checked_sub(now.saturating_sub(begun)) {
                Some(left) if !fresh => bus.wait(left),
                Some(_) | None => return,
            }
        }
    }

    /// External power and charge as the bus has said them.
    fn said(&self) -> (Option<bool>, Option<u8>) {
        let Some((_, heard)) = &self.bus else { return (None, None) };
        heard.power(monotonic(), self.options.power_age)
    }
}

impl Vehicle for LinuxVehicle {
    type Error = StateError;

    fn conditions(&mut self) -> Result<Conditions, StateError> {
        self.listen();
        let options = &self.options;
        let parked = match &self.bus {
            Some((bus, heard)) => {
                let times = (monotonic(), bus.lost_at());
                heard.parked(times, options.parked_after, bus.interface())?
            }
            None => true,
        };
        let supplies = options.sysfs.join("class/power_supply");
        let power = Power::read(&supplies)?;
        let unknown = |what, path: &Path| StateError::Unknown { what, path: path.to_owned() };
        let (external, charge) = self.said();
        let external_power = external
            .or(power.external)
            .or(options.assumed.external_power)
            .ok_or_else(|| unknown("external_power", &supplies))?;
        let battery_soc_percent = charge
            .or(power.charge_percent)
            .or(options.assumed.battery_soc_percent)
            .ok_or_else(|| unknown("battery_soc_percent", &supplies))?;
        let zones = options.sysfs.join("class/thermal");
        let temperature_c = warmest_c(&zones)?
            .or(options.assumed.temperature_c)
            .ok_or_else(|| unknown("temperature_c", &zones))?;
        let network = network(&options.sysfs, &options.metered)?;
        Ok(Conditions { parked, external_power, battery_soc_percent, temperature_c, network })
    }
}

/// What `class/power_supply` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Power {
    external: Option<bool>,
    charge_percent: Option<u8>,
}

impl Power {
    /// Any charger that is online; the emptiest battery that is the computer's own.
    fn read(supplies: &Path) -> Result<Self, StateError> {
        let mut power = Self::default();
        for supply in entries(supplies)? {
            // The battery of a mouse or a headset says `Device`.
            if text(&supply.join("scope")).is_some_and(|scope| scope == "Device") {
                continue;
            }
            if text(&supply.join("type")).is_some_and(|kind| kind == "Battery") {
                let charge = number(&supply.join("capacity")).map(|percent| percent.clamp(0, 100));
                let charge = charge.map(|percent| percent as u8);
                power.charge_percent = [power.charge_percent, charge].into_iter().flatten().min();
            } else if let Some(online) = number(&supply.join("online")) {
                power.external = Some(power.external.unwrap_or(false) || online > 0);
            }
        }
        Ok(power)
    }
}

/// The warmest zone, °C, rounded up; `None` if there is none.
fn warmest_c(zones: &Path) -> Result<Option<i16>, StateError> {
    let mut warmest = None;
    for zone in entries(zones)? {
        let name = zone.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("thermal_zone") {
            continue;
        }
        // A zone whose sensor is off says so by an error: it is none.
        let celsius = number(&zone.join("temp"))
            .map(|milli| milli.div_euclid(1000) + i64::from(milli.rem_euclid(1000) > 0));
        let celsius = celsius.map(|celsius| celsius.clamp(i16::MIN.into(), i16::MAX.into()) as i16);
        warmest = warmest.max(celsius);
    }
    Ok(warmest)
}

/// What is in a folder, by name; nothing if there is no such folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let failed = |source| StateError::List { path: folder.to_owned(), source };
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let paths: io::Result<Vec<PathBuf>> =
        listed.take(ENTRIES_MAX).map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort_unstable();
    Ok(paths)
}

/// The one line of a file of sysfs; `None` if it cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut line = String::new();
    fs::File::open(path).ok()?.take(256).read_to_string(&mut line).ok()?;
    Some(line.trim().to_owned())
}

pub(super) fn number(path: &Path) -> Option<i64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join("sys/class").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn read(files: &[(&str, &str)], assumed: Assumed) -> Result<Conditions, StateError> {
        let root = tree(files);
        let options = StateOptions {
            sysfs: root.path().join("sys"),
            parked_after: Duration::from_secs(60),
            power_age: Duration::from_secs(900),
            metered: vec!["wwan0".to_owned()],
            assumed,
        };
        LinuxVehicle::new(options, None).conditions()
    }

    const LAPTOP: [(&str, &str); 12] = [
        ("power_supply/AC/type", "Mains\n"),
        ("power_supply/AC/online", "1\n"),
        ("power_supply/BAT0/type", "Battery\n"),
        ("power_supply/BAT0/capacity", "73\n"),
        ("power_supply/BAT1/type", "Battery\n"),
        ("power_supply/BAT1/capacity", "81\n"),
        ("thermal/thermal_zone0/temp", "41000\n"),
        ("thermal/thermal_zone1/temp", "52001\n"),
        ("thermal/cooling_device0/temp", "99000\n"),
        ("net/eth0/operstate", "up\n"),
        ("net/eth0/type", "1\n"),
        ("net/lo/operstate", "unknown\n"),
    ];

    #[test]
    fn a_computers_state_is_read_from_its_tree() {
        let want = Conditions {
            parked: true,
            external_power: true,
            battery_soc_percent: 73,
            temperature_c: 53,
            network: Network::Unmetered,
        };
        assert_eq!(read(&LAPTOP, Assumed::default()).unwrap(), want);
    }

    #[test]
    fn what_nothing_says_is_assumed_or_an_error_that_names_the_key() {
        let assumed = Assumed {
            external_power: Some(true),
            battery_soc_percent: Some(80),
            temperature_c: Some(40),
        };
        let conditions = read(&[], assumed).unwrap();
        assert_eq!((conditions.temperature_c, conditions.network), (40, Network::None));
        for (key, assumed) in [
            ("external_power", Assumed { external_power: None, ..assumed }),
            ("battery_soc_percent", Assumed { battery_soc_percent: None, ..assumed }),
            ("temperature_c", Assumed { temperature_c: None, ..assumed }),
        ] {
            let error = read(&[], assumed).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}` under [conditions]")), "{error}");
        }
        // What the tree says goes before what is assumed.
        assert_eq!(read(&LAPTOP, assumed).unwrap().battery_soc_percent, 73);
    }

    #[test]
    fn a_tree_of_nonsense_is_as_none() {
        let files = [
            ("power_supply/AC/online", "yes"),
            ("power_supply/BAT0/type", "Battery"),
            ("power_supply/BAT0/capacity", ""),
            ("power_supply/mouse/type", "Battery"),
            ("power_supply/mouse/scope", "Device"),
            ("power_supply/mouse/capacity", "3"),
            ("thermal/thermal_zone0/temp", "warm"),
            ("net/eth0/operstate", "down"),
        ];
        let assumed = Assumed {
            external_power: Some(false),
            battery_soc_percent: Some(9),
            temperature_c: Some(-5),
        };
        let conditions = read(&files, assumed).unwrap();
        assert_eq!((conditions.battery_soc_percent, conditions.temperature_c), (9, -5));
        assert!(!conditions.external_power);
        assert_eq!(
            read(&[("thermal/thermal_zone0/temp", "-1")], assumed).unwrap().temperature_c,
            0
        );
    }

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn parked_is_standing_for_long_enough_and_a_silent_bus_while_standing() {
        let mut standing = Standing::default();
        assert_eq!(standing.for_so_long(S(9), None, S(5)), None);
        for (second, speed) in [(10, 8.0), (11, 0.1), (12, -0.1), (13, 0.0), (14, 0.0)] {
            standing.hear(speed, S(second));
        }
        assert_eq!(standing.for_so_long(S(15), None, S(5)), Some(false));
        assert_eq!(standing.for_so_long(S(16), None, S(5)), Some(true));
        // The bus sleeps: the vehicle goes on standing; when it wakes, standing begins anew.
        assert_eq!(standing.for_so_long(S(5000), None, S(5)), Some(true));
        standing.hear(0.0, S(6000));
        assert_eq!(standing.for_so_long(S(6001), None, S(5)), Some(false));
    }

    #[test]
    fn a_listener_who_was_away_does_not_take_the_bus_for_asleep() {
        /// Heard every second from 10 to 20, away until `to`, then heard at `at`, and parked 60 s later?
        fn parked(away: Option<(u64, u64)>, last_s: u64, at_s: u64) -> Option<bool> {
            let mut standing = Standing::default();
            (10..=last_s).for_each(|second| standing.hear(0.0, S(second)));
            standing.away = away.map(|(from, to)| (S(from), S(to)));
            standing.hear(0.0, S(at_s));
            // 60 s after the first frame, and all that was not heard.
            let now = S(70 + (at_s - last_s));
            (at_s..=now.as_secs()).for_each(|second| standing.hear(0.0, S(second)));
            standing.for_so_long(now, None, S(60))
        }
        assert_eq!(parked(Some((20, 25)), 20, 25), Some(true));
        // What the kernel kept meanwhile was heard first.
        assert_eq!(parked(Some((20, 25)), 22, 25), Some(true));
        // The bus slept while somebody listened, before that, or after; or nobody knows for how long.
        assert_eq!(parked(None, 20, 25), Some(false));
        assert_eq!(parked(Some((20, 25)), 17, 25), Some(false));
        assert_eq!(parked(Some((20, 25)), 20, 28), Some(false));
        assert_eq!(parked(Some((20, 25)), 20, 24), Some(false));
        assert_eq!(parked(Some((20, 31)), 20, 31), Some(false));
        // What was not heard is no time of standing.
        let mut standing = Standing::default();
        standing.hear(0.0, S(10));
        standing.away = Some((S(10), S(16)));
        standing.hear(0.0, S(16));
        assert_eq!(standing.for_so_long(S(20), None, S(5)), Some(false));
        assert_eq!(standing.for_so_long(S(21), None, S(5)), Some(true));
        // One that moves when it is heard again moved.
        standing.away = Some((S(16), S(20)));
        standing.hear(3.0, S(20));
        assert_eq!(standing.for_so_long(S(21), None, S(5)), Some(false));
    }

    #[test]
    fn a_speed_that_is_not_said_is_not_that_of_a_vehicle_that_stands() {
        let dbc = b"BO_ 1 M: 2 X\n SG_ V : 0|16@1+ (0.01,0) [0|250] \"\" X\n";
        let speed = Source { signal: "M.V".to_owned(), scale: 1.0 };
        let sources = StateSources { speed: Some(speed), ..StateSources::default() };
        let mut heard = HeardState::new(&Dbc::parse("t", dbc).unwrap(), &sources).unwrap();
        let id = super::super::dbc::FrameId { number: 1, extended: false };
        let parked = |heard: &HeardState, now| heard.parked((now, None), S(1), "can0").ok();
        for (second, data) in [(10, [0, 0]), (11, [0, 0])] {
            heard.hear(id, &data, S(second));
        }
        assert_eq!(parked(&heard, S(11)), Some(true));
        // Not available; and a frame that is cut off.
        for data in [&[0xff, 0xff][..], &[0]] {
            heard.hear(id, data, S(12));
            assert_eq!(parked(&heard, S(13)), Some(false), "{data:?}");
            assert_eq!(parked(&heard, S(1000)), None, "{data:?}");
            heard.hear(id, &[0, 0], S(12));
        }
        let told: Vec<Outside> = heard.readings().filter_map(Reading::outside).collect();
        assert_eq!(told, [Outside { what: "speed", value: 655.35 }]);
    }

    /// Switched off, its gear in P.
    #[test]
    fn a_vehicle_that_stood_and_says_no_speed_any_more_is_parked_by_its_gear() {
        let mut standing = Standing::default();
        standing.hear_nothing(true, S(1));
        assert_eq!(standing.since, None, "nothing was known before");
        standing.hear(0.0, S(2));
        standing.hear_nothing(true, S(3));
        assert_eq!(standing.for_so_long(S(7), None, S(5)), Some(true));
        // The bus wakes, and still says none: standing begins anew.
        standing.hear_nothing(true, S(100));
        assert_eq!(standing.for_so_long(S(101), None, S(5)), Some(false));
        standing.hear_nothing(true, S(102));
        assert_eq!(standing.for_so_long(S(105), None, S(5)), Some(true));
        standing.hear(9.0, S(106));
        standing.hear_nothing(true, S(107));
        assert_eq!(standing.for_so_long(S(108), None, S(5)), Some(false));
    }

    #[test]
    fn a_bus_that_is_lost_while_standing_says_nothing_of_the_time_since() {
        let mut standing = Standing::default();
        standing.hear(0.0, S(10));
        let parked = |standing: &Standing, lost_s| standing.for_so_long(S(100), lost_s, S(5));
        assert_eq!(parked(&standing, Some(S(12))), Some(false));
        // It was parked when the bus went, and stays so.
        assert_eq!(parked(&standing, Some(S(20))), Some(true));
        assert_eq!(parked(&standing, None), Some(true));
        // A bus that is back tells anew.
        standing.hear(0.0, S(90));
        assert_eq!(parked(&standing, Some(S(12))), Some(true));
        standing.hear(9.0, S(99));
        assert_eq!(parked(&standing, Some(S(12))), Some(false));
    }

    #[test]
    fn a_bus_that_falls_silent_while_moving_says_nothing() {
        let mut standing = Standing::default();
        standing.hear(20.0, S(10));
        assert_eq!(standing.for_so_long(S(11), None, S(5)), Some(false));
        assert_eq!(standing.for_so_long(S(13), None, S(5)), None);
    }

    #[test]
    fn the_gear_must_say_so_too() {
        let dbc = b"BO_ 1 M: 8 X\n SG_ V : 0|8@1+ (1,0) [0|0] \"\" X\nBO_ 2 N: 8 X\n SG_ G : 0|8@1+ (1,0) [0|0] \"\" X\n";
        let source = |signal: &str| Source { signal: signal.to_owned(), scale: 1.0 };
        let sources = StateSources {
            speed: Some(source("M.V")),
            parked: Some((source("N.G"), vec![32.0])),
            ..StateSources::default()
        };
        let mut heard = HeardState::new(&Dbc::parse("t", dbc).unwrap(), &sources).unwrap();
        let id = |number| super::super::dbc::FrameId { number, extended: false };
        let parked = |heard: &HeardState| heard.parked((S(20), None), S(5), "can0");
        assert!(matches!(parked(&heard), Err(StateError::Speed { .. })));
        heard.hear(id(1), &[0], S(10));
        assert!(matches!(parked(&heard), Err(StateError::Parked { .. })));
        heard.hear(id(2), &[1], S(11));
        assert!(!parked(&heard).unwrap());
        heard.hear(id(2), &[32], S(12));
        assert!(parked(&heard).unwrap());
    }

    /// A bus that sleeps says nothing while the charge falls, or the plug is pulled.
    #[test]
    fn what_a_bus_said_of_the_power_long_ago_is_none() {
        let dbc = b"BO_ 1 M: 8 X\n SG_ C : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ P : 8|8@1+ (1,0) [0|0] \"\" X\n";
        let source = |signal: &str| Source { signal: signal.to_owned(), scale: 1.0 };
        let sources = StateSources {
            external_power: Some(source("M.P")),
            battery_soc_percent: Some(source("M.C")),
            ..StateSources::default()
        };
        let mut heard = HeardState::new(&Dbc::parse("t", dbc).unwrap(), &sources).unwrap();
        let id = super::super::dbc::FrameId { number: 1, extended: false };
        assert_eq!(heard.power(S(9), S(900)), (None, None));
        heard.hear(id, &[62, 1], S(10));
        assert_eq!(heard.power(S(910), S(900)), (Some(true), Some(62)));
        assert_eq!(heard.power(S(911), S(900)), (Some(false), Some(0)));
    }
}
