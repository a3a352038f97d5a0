//! Configuration as text: what [`Config::read`](shoal_vehicle::config::Config::read) reads.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use shoal_keys::KeyAt;
use shoal_shadow::digits::hex;
use shoal_swarm::privacy::Privacy;
use shoal_vehicle::budget::Cpus;
use shoal_vehicle::config::{
    CameraConfig, CanConfig, ConditionsConfig, Config, DRIVERS, DrivesConfig, EngineConfig,
    EngineKind, FleetConfig, GatewayConfig, NightConfig, PixelLayout, SignalConfig,
};

use super::init::path;
use crate::output::Failure;

/// A string, quoted.
pub(super) fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a String does not fail; every control character has four digits or fewer.
                let _written = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// One vehicle's file, every key of it. `place` says how a path is written.
pub(super) fn vehicle(
    config: &Config,
    place: impl Fn(&Path) -> Result<PathBuf, Failure>,
) -> Result<String, Failure> {
    // All of them by name: a key that is added has to be written, too.
    let Config {
        name,
        seed,
        model,
        engine,
        geometry,
        drives,
        camera,
        can,
        conditions,
        replay,
        night,
        state,
        fleet,
        privacy,
        gateway,
    } = config;
    let place = |file: &Path| Ok::<_, Failure>(text(path(&place(file)?)?));
    let mut toml = format!("name = {}\nseed = {seed}\nstate = {}\n", text(name), place(state)?);
    writeln!(toml, "\n[model]\npackage = {}", place(&model.package)?)?;
    if let Some(beside) = &model.beside {
        writeln!(toml, "beside = {}", place(beside)?)?;
    }
    writeln!(toml, "\n[geometry]\nwheelbase_m = {:?}", geometry.wheelbase_m())?;
    writeln!(toml, "steering_ratio = {:?}", geometry.steering_ratio())?;
    if let Some(fleet) = fleet {
        toml.push_str(&of_fleet(fleet, place)?);
    }
    if let Some(gateway) = gateway {
        toml.push_str(&of_gateway(gateway)?);
    }
    if let Some(camera) = camera {
        toml.push_str(&of_camera(camera)?);
        toml.push_str(&of_conditions(conditions)?);
    }
    if let Some(can) = can {
        toml.push_str(&of_can(can, place)?);
    }
    toml.push_str(&of_drives(drives, place)?);
    toml.push_str(&of_engine(engine, place)?);
    writeln!(toml, "\n[replay]\nbytes_max = {}", replay.bytes_max)?;
    writeln!(toml, "retention_days = {}", replay.retention_days)?;
    writeln!(toml, "ordinary_share = {:?}", replay.ordinary_share)?;
    writeln!(toml, "surprise_quantile = {:?}", replay.surprise_quantile)?;
    writeln!(toml, "seconds_around = {:?}", replay.seconds_around)?;
    toml.push_str(&of_night(night)?);
    if let Some(Privacy { clip, noise, delta, epsilon_max }) = privacy {
        writeln!(toml, "\n[privacy]\nclip = {clip:?}\nnoise = {noise:?}")?;
        writeln!(toml, "delta = {delta:?}\nepsilon_max = {epsilon_max:?}")?;
    }
    Ok(toml)
}

fn of_drives(
    drives: &DrivesConfig,
    place: impl Fn(&Path) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let DrivesConfig { directory, regions, driver, frames, vehicle, vehicles, folder_rate_hz } =
        drives;
    let mut toml = format!("\n[drives]\nvehicle = {vehicle}\nvehicles = {vehicles}\n");
    if let Some(directory) = directory {
        writeln!(toml, "directory = {}", place(directory)?)?;
    }
    let regions: Vec<String> = regions.iter().map(|region| text(region)).collect();
    writeln!(toml, "regions = [{}]", regions.join(", "))?;
    if let Some((name, _)) = DRIVERS.iter().find(|(_, style)| Some(*style) == *driver) {
        writeln!(toml, "driver = {}", text(name))?;
    }
    writeln!(toml, "frames = {frames}\nfolder_rate_hz = {folder_rate_hz:?}")?;
    Ok(toml)
}

fn of_night(night: &NightConfig) -> Result<String, Failure> {
    // All of them by name: a key that is added has to be written, too.
    let NightConfig {
        steps,
        slice,
        batch,
        learning_rate,
        ahead,
        turn_rad,
        rehearsal,
        clips_min,
        margin,
        temperature_max_c,
        battery_soc_min_percent,
    } = night;
    let mut toml = format!("\n[night]\nsteps = {steps}\nslice = {slice}\nbatch = {batch}\n");
    writeln!(toml, "learning_rate = {learning_rate:?}\nahead = {ahead}\nturn_rad = {turn_rad:?}")?;
    if let Some(share) = rehearsal {
        writeln!(toml, "rehearsal = {share:?}")?;
    }
    writeln!(toml, "clips_min = {clips_min}\nmargin = {margin:?}")?;
    writeln!(toml, "temperature_max_c = {temperature_max_c}")?;
    writeln!(toml, "battery_soc_min_percent = {battery_soc_min_percent}")?;
    Ok(toml)
}

fn of_engine(
    engine: &EngineConfig,
    place: impl Fn(&Path) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let EngineConfig { kind, threads, library, together, providers, cpus, frame_time_max } = engine;
    let kind = match kind {
        EngineKind::Ort => "ort",
        EngineKind::Tract => "tract",
    };
    let mut toml = format!("\n[engine]\nkind = {}\nthreads = {threads}\n", text(kind));
    writeln!(toml, "together = {together}")?;
    if let Some(library) = library {
        writeln!(toml, "library = {}", place(library)?)?;
    }
    if providers.accelerated() {
        let names: Vec<String> =
            providers.order().iter().map(|provider| text(provider.name())).collect();
        writeln!(toml, "providers = [{}]\ndevice = {}", names.join(", "), providers.device)?;
        writeln!(toml, "fp16 = {}", providers.fp16)?;
        writeln!(toml, "cuda_graphs = {}", providers.cuda_graphs)?;
    }
    if let Some(cache) = &providers.cache {
        writeln!(toml, "cache = {}", place(cache)?)?;
    }
    match cpus {
        Some(Cpus::Count(count)) => writeln!(toml, "cores = {count}")?,
        Some(Cpus::These(cpus)) => {
            let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
            writeln!(toml, "cpus = {}", text(&cpus.join(",")))?;
        }
        None => {}
    }
    if let Some(time) = frame_time_max {
        writeln!(toml, "milliseconds_a_frame = {}", time.as_millis())?;
    }
    Ok(toml)
}

fn of_fleet(
    fleet: &FleetConfig,
    place: impl Fn(&Path) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let FleetConfig {
        name,
        region,
        regions,
        broker,
        certificates,
        key,
        next_key,
        packs,
        authority,
        timekeeper,
        approver,
        trust,
        exchange,
        beacons,
        metered,
        while_driving,
        battery_soc_min_percent,
        temperature_max_c,
    } = fleet;
    let mut toml = format!(
        "\n[fleet]\nname = {}\nregion = {}\nbroker = {}\n",
        text(name),
        text(region),
        text(broker)
    );
    toml += &of_regions(regions);
    if let Some(certificates) = certificates {
        writeln!(toml, "# With authority.pem, certificate.pem and key.pem.")?;
        writeln!(toml, "certificates = {}", place(certificates)?)?;
    }
    let at = |key: &KeyAt| match key {
        KeyAt::File(path) => place(path),
        KeyAt::Token(uri) => Ok(text(&uri.to_string())),
    };
    writeln!(toml, "key = {}", at(key)?)?;
    if let Some(key) = next_key {
        writeln!(toml, "next_key = {}", at(key)?)?;
    }
    match &packs[..] {
        [pack] => writeln!(toml, "pack = {}", place(pack)?)?,
        packs => {
            let packs = packs.iter().map(|pack| place(pack)).collect::<Result<Vec<_>, _>>()?;
            writeln!(toml, "pack = [{}]", packs.join(", "))?;
        }
    }
    writeln!(toml, "authority = \"{}\"", hex(authority.bytes()))?;
    writeln!(toml, "timekeeper = \"{}\"", hex(timekeeper.bytes()))?;
    writeln!(toml, "# Without its signature no campaign puts what was learned to use.")?;
    writeln!(toml, "approver = \"{}\"", hex(approver.bytes()))?;
    if let Some(trust) = trust {
        writeln!(
            toml,
            "# Which documents count (TUF): a map file, and roots whose successors say who the three above are."
        )?;
        writeln!(toml, "trust = {}", place(trust)?)?;
    }
    writeln!(toml, "exchange = {exchange}\nbeacons = {beacons}")?;
    writeln!(toml, "metered = {metered}\nwhile_driving = {while_driving}")?;
    writeln!(toml, "battery_soc_min_percent = {battery_soc_min_percent}")?;
    writeln!(toml, "temperature_max_c = {temperature_max_c}")?;
    Ok(toml)
}

/// All regions, where there are several.
fn of_regions(regions: &[String]) -> String {
    if regions.is_empty() {
        return String::new();
    }
    let regions: Vec<String> = regions.iter().map(|region| text(region)).collect();
    let list = regions.join(", ");
    format!("# All of the fleet, as the roster counts them.\nregions = [{list}]\n")
}

/// A device is where it is, whichever folder the file lies in.
fn of_gateway(gateway: &GatewayConfig) -> Result<String, Failure> {
    let GatewayConfig { line, baud } = gateway;
    Ok(format!("\n[gateway]\nline = {}\nbaud = {baud}\n", text(path(line)?)))
}

fn of_camera(camera: &CameraConfig) -> Result<String, Failure> {
    let CameraConfig { device, size, format, read_write, silence_s } = camera;
    let mut toml = format!("\n[camera]\ndevice = {}\n", text(path(device)?));
    if let Some((width, height)) = size {
        writeln!(toml, "width = {width}\nheight = {height}")?;
    }
    if let Some(format) = format {
        let name = match format {
            PixelLayout::Rgb24 => "rgb24",
            PixelLayout::Yuyv => "yuyv",
            PixelLayout::Nv12 => "nv12",
            PixelLayout::Mjpeg => "mjpeg",
            PixelLayout::Grey => "grey",
        };
        writeln!(toml, "format = {}", text(name))?;
    }
    writeln!(toml, "read_write = {read_write}\nsilence_s = {silence_s:?}")?;
    Ok(toml)
}

fn of_can(
    can: &CanConfig,
    place: impl Fn(&Path) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let mut toml = format!("\n[can]\ninterface = {}\n", text(&can.interface));
    writeln!(toml, "dbc = {}\nage_s = {:?}", place(&can.dbc)?, can.age_s)?;
    if let Some(rate) = can.bit_rate {
        writeln!(toml, "bit_rate = {rate}\nlisten_only = {}", can.listen_only)?;
    }
    if let Some(rate) = can.data_bit_rate {
        writeln!(toml, "data_bit_rate = {rate}")?;
    }
    // In our own units, so that the scale is the whole of what is written.
    for (key, unit, signal) in [
        ("speed", "m/s", &can.speed),
        ("steering", "rad", &can.steering),
        ("acceleration", "m/s2", &can.acceleration),
        ("lateral_acceleration", "m/s2", &can.lateral_acceleration),
    ] {
        if let Some(SignalConfig { signal, scale }) = signal {
            writeln!(toml, "{key} = {}\n{key}_unit = {}", text(signal), text(unit))?;
            writeln!(toml, "{key}_scale = {scale:?}")?;
        }
    }
    if let Some((signal, values)) = &can.parked {
        writeln!(toml, "parked = {}\nparked_values = {values:?}", text(&signal.signal))?;
    }
    for (key, signal) in
        [("external_power", &can.external_power), ("battery_soc_percent", &can.battery_soc_percent)]
    {
        if let Some(signal) = signal {
            writeln!(toml, "{key} = {}", text(&signal.signal))?;
        }
    }
    Ok(toml)
}

fn of_conditions(conditions: &ConditionsConfig) -> Result<String, Failure> {
    let ConditionsConfig { parked_after_s, power_age_s, .. } = conditions;
    let mut toml =
        format!("\n[conditions]\nparked_after_s = {parked_after_s}\npower_age_s = {power_age_s}\n");
    let metered: Vec<String> =
        conditions.metered_interfaces.iter().map(|name| text(name)).collect();
    writeln!(toml, "metered_interfaces = [{}]", metered.join(", "))?;
    if let Some(power) = conditions.external_power {
        writeln!(toml, "external_power = {power}")?;
    }
    if let Some(percent) = conditions.battery_soc_percent {
        writeln!(toml, "battery_soc_percent = {percent}")?;
    }
    if let Some(celsius) = conditions.temperature_c {
        writeln!(toml, "temperature_c = {celsius}")?;
    }
    writeln!(toml, "sysfs = {}", text(path(&conditions.sysfs)?))?;
    Ok(toml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_vehicle_is_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vehicle.toml");
        let toml = "[engine]\nkind = \"tract\"\nthreads = 3\ntogether = 7\nlibrary = \"a \\\"b\\\" \\\\ c\"\n\
                    [model]\nbeside = \"policy\"\n[geometry]\nwheelbase_m = 2.9\nsteering_ratio = 14.2\n\
                    [drives]\ndirectory = \"roads\"\ndriver = \"reckless\"\nregions = [\"snow\", \"alps\"]\nframes = 120\n\
                    folder_rate_hz = 7.5\n[replay]\nbytes_max = 2000000\nretention_days = 3\n\
                    ordinary_share = 1.0\nsurprise_quantile = 0.15\nseconds_around = 2\n\
                    [night]\nsteps = 20\nslice = 5\nbatch = 4\nlearning_rate = 1e-3\nahead = 2\nturn_rad = 0.03\nrehearsal = 0.25\nclips_min = 4\n\
                    margin = 0.01\ntemperature_max_c = -5\nbattery_soc_min_percent = 7\n\
                    [fleet]\nname = \"f\"\nregion = \"r\"\nregions = [\"q\", \"r\"]\nbroker = \"mqtts://b:1\"\n\
                    certificates = \"tls\"\nkey = \"k\"\npack = [\"p\", \"q\"]\ntrust = \"t\"\nexchange = false\nbeacons = true\nmetered = true\n\
                    while_driving = true\nbattery_soc_min_percent = 9\ntemperature_max_c = -6\n";
        let devices = "[camera]\ndevice = \"/dev/video2\"\nwidth = 640\nheight = 480\nformat = \"nv12\"\n\
                       read_write = true\nsilence_s = 4\n[can]\ninterface = \"can1\"\ndbc = \"car.dbc\"\n\
                       bit_rate = 500000\ndata_bit_rate = 2000000\nlisten_only = false\n\
                       age_s = 0.25\nspeed = \"A.B\"\nsteering = \"C.D + C.E\"\nsteering_unit = \"deg\"\n\
                       steering_scale = -0.0625\nacceleration = \"F.G\"\nacceleration_unit = \"g\"\n\
                       parked = \"H.I\"\nparked_values = [32, 0.5]\nexternal_power = \"J.K\"\n\
                       battery_soc_percent = \"L.M\"\n[conditions]\nparked_after_s = 7\npower_age_s = 600\n\
                       metered_interfaces = [\"wwan0\"]\nexternal_power = true\n\
                       battery_soc_percent = 55\ntemperature_c = 21\nsysfs = \"/other\"\n\
                       [gateway]\nline = \"/dev/ttyS1\"\nbaud = 921600\n";
        let keys = ["authority", "timekeeper", "approver"].map(|name| {
            let key = shoal_wire::SecretKey::from_seed(&[name.len() as u8; 32]);
            format!("{name} = \"{}\"\n", hex(key.public().bytes()))
        });
        let toml = format!("{toml}{}{devices}", keys.concat());
        std::fs::write(&file, &toml).unwrap();
        let read = Config::read(&file).unwrap();
        assert!(read.gateway.is_some(), "the guard that the operator asked for");
        let again = |read: &Config| {
            let written = vehicle(read, |path| Ok(path.to_path_buf())).unwrap();
            std::fs::write(&file, written).unwrap();
            Config::read(&file).unwrap()
        };
        assert_eq!(again(&read), read);
        let engine = "kind = \"ort\"\nproviders = [\"tensorrt\", \"cpu\"]\ndevice = 2\nfp16 = true\n\
                      cache = \"e\"\ncpus = \"1,3-4\"\nmilliseconds_a_frame = 20";
        std::fs::write(&file, toml.replace("kind = \"tract\"", engine)).unwrap();
        let read = Config::read(&file).unwrap();
        assert_eq!(again(&read), read);
        assert!(read.engine.providers.fp16 && read.engine.frame_time_max.is_some());
        let engine = "kind = \"ort\"\nproviders = [\"cuda\", \"cpu\"]\ncuda_graphs = true";
        std::fs::write(&file, toml.replace("kind = \"tract\"", engine)).unwrap();
        let read = Config::read(&file).unwrap();
        assert_eq!(again(&read), read);
        assert!(read.engine.providers.cuda_graphs);
    }

    #[test]
    fn a_quoted_text_holds_what_ends_a_text() {
        assert_eq!(text("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
