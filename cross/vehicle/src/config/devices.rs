//! The vehicle's own devices, as `vehicle.toml` tells them: its camera, its CAN bus, its conditions.

use std::path::{Path, PathBuf};

use shoal_shadow::document::{DocumentError, Table};

use super::take;

/// The keys of the tables.
pub(super) const CAMERA_KEYS: [&str; 6] =
    ["device", "width", "height", "format", "read_write", "silence_s"];
pub(super) const CAN_KEYS: [&str; 22] = [
    "interface",
    "bit_rate",
    "data_bit_rate",
    "listen_only",
    "dbc",
    "age_s",
    "speed",
    "speed_unit",
    "speed_scale",
    "steering",
    "steering_unit",
    "steering_scale",
    "acceleration",
    "acceleration_unit",
    "acceleration_scale",
    "lateral_acceleration",
    "lateral_acceleration_unit",
    "lateral_acceleration_scale",
    "parked",
    "parked_values",
    "external_power",
    "battery_soc_percent",
];
pub(super) const CONDITIONS_KEYS: [&str; 7] = [
    "parked_after_s",
    "power_age_s",
    "metered_interfaces",
    "external_power",
    "battery_soc_percent",
    "temperature_c",
    "sysfs",
];

/// The camera: with it, the vehicle drives what happens instead of recorded or generated roads.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraConfig {
    /// Its node.
    pub device: PathBuf,
    /// Width and height to ask for, pixels; without them the camera's own.
    pub size: Option<(u32, u32)>,
    /// Layout of pixels to ask for; without it the first that is offered.
    pub format: Option<PixelLayout>,
    /// Open it for writing, too, for drivers that need it. Nothing is ever written.
    pub read_write: bool,
    /// Seconds without a picture after which it counts as lost.
    pub silence_s: f64,
}

/// A layout of pixels by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the formats")]
pub enum PixelLayout {
    Rgb24,
    Yuyv,
    Nv12,
    Mjpeg,
    Grey,
}

/// The CAN bus, and where on it is what.
#[derive(Clone, Debug, PartialEq)]
pub struct CanConfig {
    /// Its interface, `can0`.
    pub interface: String,
    /// Bits in a second, to bring the interface up with; without it something else brings it up.
    pub bit_rate: Option<u32>,
    /// The same, within the data of CAN FD.
    pub data_bit_rate: Option<u32>,
    /// The controller does not even acknowledge what it receives.
    pub listen_only: bool,
    /// The DBC file that says what its frames mean.
    pub dbc: PathBuf,
    /// Seconds after which a value is not known any more.
    pub age_s: f64,
    /// `Vehicle.Speed`, to m/s.
    pub speed: Option<SignalConfig>,
    /// `Vehicle.Chassis.SteeringWheel.Angle`, to rad, positive to the left.
    pub steering: Option<SignalConfig>,
    /// `Vehicle.Acceleration.Longitudinal`, to m/s², positive forward.
    pub acceleration: Option<SignalConfig>,
    /// `Vehicle.Acceleration.Lateral`, to m/s², positive to the left.
    pub lateral_acceleration: Option<SignalConfig>,
    /// Gear, ignition or the like, and its values while parked.
    pub parked: Option<(SignalConfig, Vec<f64>)>,
    /// Not 0 while supplied from outside.
    pub external_power: Option<SignalConfig>,
    /// Charge of the battery, percent.
    pub battery_soc_percent: Option<SignalConfig>,
}

/// One value on the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalConfig {
    /// `MESSAGE.SIGNAL`, or several of one message joined by `+`.
    pub signal: String,
    /// What one of its units is in ours.
    pub scale: f64,
}

/// How the vehicle's conditions are told, and what holds where nothing says.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionsConfig {
    /// Seconds of standing after which the vehicle is parked.
    pub parked_after_s: u64,
    /// Seconds after which what the bus said of power and charge does not hold any more: then there is none.
    pub power_age_s: u64,
    /// Network interfaces that are paid by the byte.
    pub metered_interfaces: Vec<String>,
    /// Supplied from outside.
    pub external_power: Option<bool>,
    /// Charge of the battery, percent.
    pub battery_soc_percent: Option<u8>,
    /// Temperature of the computer, °C.
    pub temperature_c: Option<i16>,
    /// Where sysfs is.
    pub sysfs: PathBuf,
}

impl Default for ConditionsConfig {
    fn default() -> Self {
        ConditionsConfig {
            parked_after_s: 60,
            power_age_s: 900,
            metered_interfaces: Vec::new(),
            external_power: None,
            battery_soc_percent: None,
            temperature_c: None,
            sysfs: "/sys".into(),
        }
    }
}

impl CameraConfig {
    pub(super) fn read(table: &Table<'_>) -> Result<Self, DocumentError> {
        let side = |key| Ok(table.integer(key, 1..=8192)?.map(|side| side as u32));
        let size = match (side("width")?, side("height")?) {
            (Some(width), Some(height)) => Some((width, height)),
            (None, None) => None,
            (Some(_), None) => return Err(table.missing("height")),
            (None, Some(_)) => return Err(table.missing("width")),
        };
        let layouts = [
            ("rgb24", PixelLayout::Rgb24),
            ("yuyv", PixelLayout::Yuyv),
            ("nv12", PixelLayout::Nv12),
            ("mjpeg", PixelLayout::Mjpeg),
            ("grey", PixelLayout::Grey),
        ];
        Ok(CameraConfig {
            device: table.text("device")?.unwrap_or("/dev/video0").into(),
            size,
            format: table.choice("format", &layouts)?,
            read_write: table.boolean("read_write")?.unwrap_or(false),
            silence_s: table.number("silence_s", 0.1..=600.0)?.unwrap_or(3.0),
        })
    }
}

/// Units by name, each in that of the motion.
const SPEED: [(&str, f64); 3] = [("km/h", 1.0 / 3.6), ("m/s", 1.0), ("mph", 0.447_04)];
const ANGLE: [(&str, f64); 2] = [("deg", std::f64::consts::PI / 180.0), ("rad", 1.0)];
const ACCELERATION: [(&str, f64); 2] = [("m/s2", 1.0), ("g", 9.806_65)];

impl CanConfig {
    pub(super) fn read(table: &Table<'_>) -> Result<Self, DocumentError> {
        let plain = |key| signal(table, key, &[]);
        let parked = match plain("parked")? {
            None if table.has("parked_values") => return Err(table.missing("parked")),
            None => None,
            Some(signal) => {
                let values = table.numbers("parked_values")?;
                let values = values.ok_or_else(|| table.missing("parked_values"))?;
                if values.is_empty() {
                    let want = "at least one value: by none the vehicle is never parked";
                    return Err(table.refuse("parked_values", "an empty list", want));
                }
                Some((signal, values))
            }
        };
        let rate = |key, most| Ok(table.integer(key, 10_000..=most)?.map(|rate| rate as u32));
        let (bit_rate, data_bit_rate) =
            (rate("bit_rate", 1_000_000)?, rate("data_bit_rate", 16_000_000)?);
        let listen_only = table.boolean("listen_only")?;
        if bit_rate.is_none() && (data_bit_rate.is_some() || listen_only.is_some()) {
            return Err(table.missing("bit_rate"));
        }
        Ok(CanConfig {
            interface: table.text("interface")?.unwrap_or("can0").into(),
            bit_rate,
            data_bit_rate,
            listen_only: listen_only.unwrap_or(true),
            dbc: table.text_required("dbc")?.into(),
            age_s: table.number("age_s", 0.01..=60.0)?.unwrap_or(0.5),
            speed: signal(table, "speed", &SPEED)?,
            steering: signal(table, "steering", &ANGLE)?,
            acceleration: signal(table, "acceleration", &ACCELERATION)?,
            lateral_acceleration: signal(table, "lateral_acceleration", &ACCELERATION)?,
            parked,
            external_power: plain("external_power")?,
            battery_soc_percent: plain("battery_soc_percent")?,
        })
    }

    /// The file of signals beside the configuration, where it is given relative to it.
    pub(super) fn beside(&mut self, directory: &Path) {
        self.dbc = directory.join(&self.dbc);
    }
}

/// The signal `key`, with `key_unit` (the first of `units` unless said) and `key_scale` (1).
fn signal(
    table: &Table<'_>,
    key: &str,
    units: &[(&str, f64)],
) -> Result<Option<SignalConfig>, DocumentError> {
    let (unit, scale) = (format!("{key}_unit"), format!("{key}_scale"));
    let Some(signal) = table.text(key)? else {
        let alone = [unit, scale].into_iter().find(|more| table.has(more));
        return alone.map_or(Ok(None), |_more| Err(table.missing(key)));
    };
    let usual = units.first().map_or(1.0, |(_, scale)| *scale);
    let unit = if units.is_empty() { None } else { table.choice(&unit, units)? };
    let times = table.number(&scale, -1e6..=1e6)?.unwrap_or(1.0);
    if times == 0.0 {
        return Err(table.refuse(&scale, times, "a number that is not 0"));
    }
    Ok(Some(SignalConfig { signal: signal.into(), scale: unit.unwrap_or(usual) * times }))
}

impl ConditionsConfig {
    pub(super) fn fill(&mut self, table: &Table<'_>) -> Result<(), DocumentError> {
        let after = table.integer("parked_after_s", 0..=86_400)?;
        take(&mut self.parked_after_s, after.map(|seconds| seconds as u64));
        let age = table.integer("power_age_s", 1..=86_400)?;
        take(&mut self.power_age_s, age.map(|seconds| seconds as u64));
        self.metered_interfaces =
            table.texts("metered_interfaces")?.into_iter().map(String::from).collect();
        self.external_power = table.boolean("external_power")?;
        let charge = table.integer("battery_soc_percent", 0..=100)?;
        self.battery_soc_percent = charge.map(|percent| percent as u8);
        let temperature = table.integer("temperature_c", -60..=150)?;
        self.temperature_c = temperature.map(|celsius| celsius as i16);
        take(&mut self.sysfs, table.text("sysfs")?.map(PathBuf::from));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn refused(toml: &str) -> String {
        Config::parse("vehicle.toml", toml).unwrap_err().to_string()
    }

    #[test]
    fn a_camera_and_a_bus_are_read_with_their_units() {
        let toml = "[camera]\n[can]\ndbc = \"car.dbc\"\nspeed = \"A.B\"\nsteering = \"C.D + C.E\"\n\
            steering_unit = \"rad\"\nsteering_scale = -16.0\nparked = \"G.H\"\nparked_values = [32]\n";
        let config = Config::parse("vehicle.toml", toml).unwrap();
        assert_eq!(config.camera.unwrap().device.to_str(), Some("/dev/video0"));
        let can = config.can.unwrap();
        assert!((can.speed.unwrap().scale - 1.0 / 3.6).abs() < 1e-12);
        assert!((can.steering.unwrap().scale + 16.0).abs() < 1e-12);
        assert_eq!(can.parked.unwrap().1, [32.0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_nearest() {
        for (toml, said) in [
            ("[camera]\ndevise = \"x\"\n", "`device`"),
            ("[camera]\nformat = \"yuv\"\n", "`yuyv`"),
            ("[camera]\nwidth = 640\n", "height"),
            ("[can]\nspeed = \"A.B\"\n", "dbc"),
            ("[can]\ndbc = \"x\"\nsteer = \"A.B\"\n", "`speed`"),
            ("[can]\ndbc = \"x\"\nspeed = \"A.B\"\nspeed_unit = \"kmh\"\n", "`km/h`"),
            ("[can]\ndbc = \"x\"\nspeed_scale = 2.0\n", "can.speed"),
            ("[can]\ndbc = \"x\"\nspeed = \"A.B\"\nspeed_scale = 0.0\n", "not 0"),
            ("[can]\ndbc = \"x\"\nlisten_only = false\n", "bit_rate"),
            ("[can]\ndbc = \"x\"\nbit_rate = 500\n", "10000"),
            ("[can]\ndbc = \"x\"\nparked = \"A.B\"\n", "parked_values"),
            ("[can]\ndbc = \"x\"\nparked = \"A.B\"\nparked_values = []\n", "never parked"),
            ("[conditions]\nparked_after = 3\n", "`parked_after_s`"),
        ] {
            let error = refused(toml);
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
