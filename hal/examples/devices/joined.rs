//! Camera and bus together, and the vehicle's conditions.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use shoal_hal::backend::linux::dbc::Dbc;
use shoal_hal::backend::linux::live::Live;
use shoal_hal::backend::linux::monotonic;
use shoal_hal::backend::linux::socketcan::Bus;
use shoal_hal::backend::linux::vehicle::{
    Assumed, HeardState, LinuxVehicle, StateOptions, StateSources,
};
use shoal_hal::{Moments as _, Vehicle as _, conformance};

use super::bus::{TOYOTA, heard, sources, speed, steering};
use super::camera::{RATE_HZ, SHAPE, options};
use super::send::{all, start};
use super::{Checks, Outcome, must};

pub(crate) fn check(checks: &mut Checks, camera: &str, can: &str, candump: Option<&str>) {
    checks.check("moments have frames and the motion of their time", || joined(camera, can));
    if let Some(file) = candump {
        checks.check("a real car's bus is replayed and decoded", || replayed(can, file));
    }
    checks.check("the vehicle is parked by its bus alone", || parked(can));
}

fn joined(camera: &str, can: &str) -> Outcome {
    let motion = heard(Duration::from_millis(500))?;
    let bus = Bus::open(can, &motion.ids(), None)?;
    let mut live = Live::open(options(camera), Some((bus, motion)), SHAPE, RATE_HZ)?;
    let frames: Vec<String> = (0..200)
        .flat_map(|step| [speed(f64::from(step) / 2.0), steering(f64::from(step) / 10.0)])
        .collect();
    let mut sender = start(can, 10, &frames)?;
    let seen = conformance::check(&mut live, 30).map_err(|broken| format!("{broken:?}"));
    let mut speeds = Vec::new();
    while sender.try_wait()?.is_none() {
        let moment = live.next()?.ok_or("the end")?;
        speeds.extend(moment.motion.and_then(|motion| motion.speed_m_s));
    }
    let seen = seen?;
    must(seen.motions >= 20, format_args!("{seen:?}"))?;
    must(speeds.is_sorted(), format_args!("{speeds:?}"))?;
    // Long after the last frame of the bus nothing is known of the motion.
    let mut last = None;
    for _ in 0..10 {
        last = live.next()?.ok_or("the end")?.motion;
    }
    must(last.is_none(), format_args!("{last:?}"))?;
    let (moments, motions, count) = (seen.moments, seen.motions, live.bus().map(Bus::count));
    Ok(format!(
        "{motions} of {moments} moments with motion, {count:?}; none after the bus fell silent"
    ))
}

/// Source: the first frames of speed and steering in a candump file of the car; what is sent is what comes.
fn replayed(can: &str, file: &str) -> Outcome {
    let text = fs::read_to_string(file)?;
    let mut frames = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(bus), Some(frame)) = (words.next(), words.next()) else { continue };
        if bus == "can0" && (frame.starts_with("0B4#") || frame.starts_with("025#")) {
            frames.push(frame.to_owned());
        }
    }
    frames.truncate(200);
    must(!frames.is_empty(), "no frames of speed and steering on can0")?;
    let mut motion = heard(Duration::from_secs(5))?;
    let mut bus = Bus::open(can, &motion.ids(), None)?;
    let mut sender = start(can, 2, &frames)?;
    let (mut speeds, mut angles) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let ended = sender.try_wait()?.is_some();
        bus.wait(Duration::from_millis(50));
        bus.drain(|frame| motion.hear(frame.id, frame.data, frame.at));
        if let Some(motion) = motion.motion(monotonic()) {
            speeds.extend(motion.speed_m_s.map(|speed| (speed * 3600.0).round() as i64));
            angles.extend(
                motion.steering_rad.map(|angle| (angle.to_degrees() * 10.0).round() as i64),
            );
        }
        if ended {
            break;
        }
    }
    let count = bus.count().frames;
    must(count == frames.len() as u64, format_args!("{count} of {} came", frames.len()))?;
    must(speeds.len() > 5, format_args!("{speeds:?}"))?;
    let range = |values: &BTreeSet<i64>, unit: f64| {
        let end = |value: Option<&i64>| value.map_or(f64::NAN, |value| *value as f64 / unit);
        (end(values.first()), end(values.last()))
    };
    let (slow, fast) = range(&speeds, 3600.0);
    let (right, left) = range(&angles, 10.0);
    Ok(format!("{count} frames: {slow:.2} to {fast:.2} m/s, {right:.1} to {left:.1} degrees"))
}

#[expect(clippy::disallowed_methods, reason = "a vehicle is parked after a time")]
fn parked(can: &str) -> Outcome {
    let state = StateSources { speed: sources().speed, ..StateSources::default() };
    let heard = HeardState::new(&Dbc::parse("toyota.dbc", TOYOTA)?, &state)?;
    let bus = Bus::open(can, &heard.ids(), None)?;
    let options = StateOptions {
        sysfs: "/sys".into(),
        parked_after: Duration::from_secs(1),
        power_age: Duration::from_secs(900),
        metered: Vec::new(),
        assumed: Assumed {
            external_power: Some(true),
            battery_soc_percent: Some(80),
            temperature_c: Some(30),
        },
    };
    let mut vehicle = LinuxVehicle::new(options, Some((bus, heard)));
    let unknown = vehicle.conditions();
    let Err(unknown) = unknown else { return Err("a silent bus is known to be parked".into()) };
    all(can, 20, &vec![speed(40.0); 20])?;
    must(!vehicle.conditions()?.parked, "40 km/h is parked")?;
    all(can, 20, &vec![speed(0.0); 20])?;
    must(!vehicle.conditions()?.parked, "a stop is parked")?;
    all(can, 20, &vec![speed(0.0); 40])?;
    std::thread::sleep(Duration::from_millis(500));
    let conditions = vehicle.conditions()?;
    must(conditions.parked, "standing for a second is not parked")?;
    all(can, 20, &vec![speed(12.0); 5])?;
    must(!vehicle.conditions()?.parked, "12 km/h is parked")?;
    Ok(format!("{unknown}; then {conditions:?}"))
}
