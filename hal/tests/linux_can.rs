//! A real car's bus, by a DBC file of our own, against the log that was made of the same minute.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(test)]
mod common;

use std::path::Path;
use std::time::Duration;

use shoal_hal::Motion;
use shoal_hal::backend::linux::dbc::{Dbc, FrameId};
use shoal_hal::backend::linux::signals::{DEGREE, HeardMotion, KM_H, MotionSources, Source};
use shoal_hal::backend::recorded::comma::Log;
use shoal_hal::backend::recorded::npy::{Data, read_npy};

const AGE_MAX: Duration = Duration::from_millis(500);

/// One frame of a candump file.
struct Line {
    at: Duration,
    id: FrameId,
    data: Vec<u8>,
}

/// The frames that a bus of the car received itself. Trailing zeros were lost in that text: every frame is
/// filled up to the eight bytes that those looked at here have.
fn candump(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let time = words.next()?.trim_matches(['(', ')']);
        // `can128` is the echo of what the computer sent on bus 0.
        words.next().filter(|bus| *bus == "can0")?;
        let (id, hex) = words.next()?.split_once('#')?;
        let mut data: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        data.resize(8, 0);
        let id = FrameId { number: u32::from_str_radix(id, 16).unwrap(), extended: false };
        Some(Line { at: Duration::from_secs_f64(time.parse().unwrap()), id, data })
    };
    text.lines().filter_map(line).collect()
}

fn source(signal: &str, scale: f64) -> Option<Source> {
    Some(Source { signal: signal.to_owned(), scale })
}

fn dbc() -> Dbc {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toyota_2017.dbc");
    Dbc::read(&path).unwrap()
}

const STEERING: &str = "STEER_ANGLE_SENSOR.STEER_ANGLE + STEER_ANGLE_SENSOR.STEER_FRACTION";

/// The motion after every frame of the candump that holds some of it.
fn motions(lines: &[Line], sources: &MotionSources) -> Vec<(Duration, FrameId, Motion)> {
    let mut heard = HeardMotion::new(&dbc(), sources, AGE_MAX).unwrap();
    let ids = heard.ids();
    let mut motions = Vec::new();
    for line in lines.iter().filter(|line| ids.contains(&line.id)) {
        heard.hear(line.id, &line.data, line.at);
        motions.extend(heard.motion(line.at).map(|motion| (line.at, line.id, motion)));
    }
    motions
}

/// Times and values of a signal of the log, `columns` of them at each time.
fn numpy(folder: &Path, columns: usize) -> Vec<(f64, Vec<f64>)> {
    let read = |name: &str| match read_npy(&folder.join(name)).unwrap().data {
        Data::F64(values) => values,
        other @ (Data::F32(_) | Data::I64(_)) => panic!("{other:?}"),
    };
    let (times, values) = (read("t"), read("value"));
    times.into_iter().zip(values.chunks(columns).map(<[f64]>::to_vec)).collect()
}

/// Source: comma2k19, processed_log/CAN/steering_angle and wheel_speed, which comma.ai decoded.
#[test]
fn every_frame_says_what_the_log_says() {
    let Some(dir) = common::data() else { return };
    let lines = candump(&dir.join("logs/comma2k19_example1_first5s.candump"));
    let can = dir.join("logs/comma2k19_example1/processed_log/CAN");
    let (steering, wheels) =
        (numpy(&can.join("steering_angle"), 1), numpy(&can.join("wheel_speed"), 4));

    let sources = MotionSources { steering: source(STEERING, DEGREE), ..MotionSources::default() };
    let ours: Vec<f64> = motions(&lines, &sources)
        .iter()
        .map(|(_, _, motion)| f64::from(motion.steering_rad.unwrap()).to_degrees())
        .collect();
    assert_eq!(ours.len(), 415);
    let theirs = steering.iter().map(|(_, value)| value[0]);
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-4, "steering is off by {off} degrees");

    // Each wheel by itself, frame by frame.
    for (wheel, column) in
        [("FRONT_LEFT", 0), ("FRONT_RIGHT", 1), ("REAR_LEFT", 2), ("REAR_RIGHT", 3)]
    {
        let signal = format!("WHEEL_SPEEDS.{wheel}");
        let sources = MotionSources { speed: source(&signal, KM_H), ..MotionSources::default() };
        let ours = motions(&lines, &sources);
        assert_eq!(ours.len(), 414);
        let near = |value: f64, row: &[f64]| (value - row[column]).abs();
        let off = ours
            .iter()
            .zip(&wheels)
            .map(|((_, _, motion), (_, row))| near(f64::from(motion.speed_m_s.unwrap()), row));
        let off = off.fold(0.0, f64::max);
        assert!(off < 1e-4, "{wheel} is off by {off} m/s");
    }
}

/// Source: the CSV beside the log, at 10 Hz: means over half a second that count from the first fix of GNSS. Its
/// speed is the mean of the four wheels; the bus's own is the tachometer's, which shows a little more or less.
#[test]
fn speed_and_steering_agree_with_the_resampled_log() {
    let Some(dir) = common::data() else { return };
    let lines = candump(&dir.join("logs/comma2k19_example1_first5s.candump"));
    let csv = Log::read_csv(&dir.join("logs/comma2k19_example1_10hz.csv")).unwrap();
    let gnss = dir.join("logs/comma2k19_example1/processed_log/GNSS/live_gnss_ublox/t");
    let Data::F64(fixes) = read_npy(&gnss).unwrap().data else { panic!("no times") };
    let wheels = ["FRONT_LEFT", "FRONT_RIGHT", "REAR_LEFT", "REAR_RIGHT"];
    let wheels = wheels.map(|wheel| format!("WHEEL_SPEEDS.{wheel}")).join(" + ");
    let off = |speed, speed_id| {
        let steering = source(STEERING, DEGREE);
        let sources = MotionSources { speed, steering, ..MotionSources::default() };
        compare(&motions(&lines, &sources), speed_id, fixes[0], &csv)
    };
    let (ticks, speed_off, steering_off) = off(source(&wheels, KM_H / 4.0), 0x0aa);
    let (_, tachometer_off, _) = off(source("SPEED.SPEED", KM_H), 0x0b4);
    let steering_off = steering_off.to_degrees();
    eprintln!(
        "{ticks} ticks: wheels {speed_off:.4} m/s, tachometer {tachometer_off:.3} m/s, steering \
         {steering_off:.5} degrees"
    );
    assert!(ticks > 40, "{ticks} ticks");
    assert!(speed_off < 0.02, "speed is off by {speed_off} m/s");
    assert!(steering_off < 0.001, "steering is off by {steering_off} degrees");
    assert!(tachometer_off < 0.4, "the tachometer is off by {tachometer_off} m/s");
}

/// Ticks that were compared, and how far speed (m/s, of the frames `speed_id`) and steering (rad) are off at most.
fn compare(
    motions: &[(Duration, FrameId, Motion)],
    speed_id: u32,
    start_s: f64,
    csv: &Log,
) -> (usize, f64, f64) {
    let end = motions.last().unwrap().0.as_secs_f64();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mut ticks, mut speed_off, mut steering_off) = (0, 0.0f64, 0.0f64);
    for (index, t_s) in csv.t_s.iter().enumerate() {
        let tick = start_s + t_s;
        if tick + 0.25 > end {
            break;
        }
        let around = motions.iter().filter(|(at, ..)| (at.as_secs_f64() - tick).abs() <= 0.25);
        let (mut speeds, mut angles) = (Vec::new(), Vec::new());
        for (_, id, motion) in around {
            if id.number == speed_id {
                speeds.push(f64::from(motion.speed_m_s.unwrap()));
            } else {
                angles.extend(motion.steering_rad.map(f64::from));
            }
        }
        speed_off = speed_off.max((mean(&speeds) - csv.speed_m_s[index]).abs());
        steering_off = steering_off.max((mean(&angles) - csv.steering_rad[index]).abs());
        ticks += 1;
    }
    (ticks, speed_off, steering_off)
}

#[test]
fn the_file_has_the_signals_that_are_read() {
    let names: Vec<String> = dbc().names().collect();
    assert_eq!(names.len(), 7, "{names:?}");
}
