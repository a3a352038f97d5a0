//! comma2k19: what a real car's sensors said for a minute, at 10 Hz.
//!
//! A segment is a folder with `processed_log/<source>/<signal>/t` and `…/value`, numpy arrays without
//! an ending. Times are seconds since the recorder started.
//!
//! # How signals come to 10 Hz
//! Ticks start at the first fix of the GNSS receiver (`live_gnss_ublox`), every 0.1 s to its last; without
//! one, where speed, steering angle and gyroscope all began. A signal at a tick is the mean of its
//! samples within 0.25 s before and after. Acceleration is the central difference of that speed, one-sided
//! at both ends; the yaw rate is −z of the gyroscope, whose axes are forward, right, down; lateral
//! acceleration is speed times yaw rate.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ReadError;
use super::npy::{Array, Data, NpyError, read_npy};
use super::picture::read_file;
use crate::{FrameShape, Moment, Moments, Motion};

/// Ticks in a second.
pub const LOG_RATE_HZ: f64 = 10.0;

/// Half of the time a signal is averaged over, seconds.
const HALF_WIDTH_S: f64 = 0.25;

/// Longest log, ticks: over eleven days.
const TICKS_MAX: usize = 10_000_000;

/// How far the step of a CSV's time may be from 0.1 s, s: files round it to milliseconds.
const STEP_OFF_MAX_S: f64 = 0.005;

/// Longest CSV read, bytes.
const CSV_BYTES_MAX: u64 = 1 << 30;

/// Motion without frames, at [`LOG_RATE_HZ`]. All vectors have one length; every value is finite, also in single precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Time since the first tick, s.
    pub t_s: Vec<f64>,
    /// Speed, m/s.
    pub speed_m_s: Vec<f64>,
    /// Acceleration, m/s², positive forward.
    pub acceleration_m_s2: Vec<f64>,
    /// Angle of the steering wheel, rad, positive to the left.
    pub steering_rad: Vec<f64>,
    /// Yaw rate, rad/s, positive to the left.
    pub yaw_rate_rad_s: Vec<f64>,
    /// Lateral acceleration, m/s², positive to the left.
    pub lateral_acceleration_m_s2: Vec<f64>,
}

/// Why a log could not be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Times and values of a signal do not belong together.
    #[error("the signal {} is no series of times and values: {what}", path.display())]
    Signal { path: PathBuf, what: &'static str },
    /// The signals have no time in common, or more than we read.
    #[error("the signals of {} have {ticks} ticks in common, 2 to {TICKS_MAX} are read", path.display())]
    Length { path: PathBuf, ticks: usize },
    /// A signal is silent for longer than it is averaged over.
    #[error("the signal {} is silent around {t_s:.1} s", path.display())]
    Gap { path: PathBuf, t_s: f64 },
    /// A line of a CSV is not what its first line promises.
    #[error("{}, line {line}: {what}", path.display())]
    Csv { path: PathBuf, line: usize, what: &'static str },
}

impl Log {
    /// Reads the comma2k19 segment in `dir`.
    ///
    /// # Errors
    /// When a signal is missing, is no array, has times that go back or values that are not finite, or
    /// is silent for half a second.
    pub fn read_segment(dir: &Path) -> Result<Self, LogError> {
        let log = dir.join("processed_log");
        let speed = Signal::read(&log.join("CAN/speed"), 0)?;
        let steering = Signal::read(&log.join("CAN/steering_angle"), 0)?;
        let gyro_down = Signal::read(&log.join("IMU/gyro"), 2)?;
        let gnss = log.join("GNSS/live_gnss_ublox");
        let (start, end) = if gnss.join("t").is_file() {
            let t = read_times(&gnss)?;
            (t[0], t[t.len() - 1])
        } else {
            let all = [&speed, &steering, &gyro_down];
            let start = all.map(|s| s.t[0]).into_iter().fold(f64::MIN, f64::max);
            let end = all.map(|s| s.t[s.t.len() - 1]).into_iter().fold(f64::MAX, f64::min);
            (start, end)
        };
        // Saturates; a NaN cannot be: times are finite. A hair for the last tick's rounding.
        let ticks = ((end - start) * LOG_RATE_HZ + 1e-6 + 1.0).max(0.0) as usize;
        if !(2..=TICKS_MAX).contains(&ticks) {
            return Err(LogError::Length { path: dir.to_owned(), ticks });
        }
        let t_s: Vec<f64> = (0..ticks).map(|k| k as f64 / LOG_RATE_HZ).collect();
        let speed_m_s = speed.means(start, &t_s)?;
        let steering_deg = steering.means(start, &t_s)?;
        let down_rad_s = gyro_down.means(start, &t_s)?;
        let yaw_rate_rad_s: Vec<f64> = down_rad_s.iter().map(|down| -down).collect();
        let lateral = speed_m_s.iter().zip(&yaw_rate_rad_s).map(|(speed, yaw)| speed * yaw);
        let lateral_acceleration_m_s2: Vec<f64> = lateral.collect();
        let acceleration_m_s2 = differences(&speed_m_s, 1, LOG_RATE_HZ);
        if !acceleration_m_s2.iter().chain(&lateral_acceleration_m_s2).all(|n| is_motion(*n)) {
            let what = "an acceleration that follows from it is not finite";
            return Err(LogError::Signal { path: log.join("CAN/speed"), what });
        }
        Ok(Self {
            acceleration_m_s2,
            steering_rad: steering_deg.into_iter().map(f64::to_radians).collect(),
            lateral_acceleration_m_s2,
            t_s,
            speed_m_s,
            yaw_rate_rad_s,
        })
    }

    /// Reads a log from CSV with the columns `t_s`, `v_ego_mps`, `a_ego_mps2`, `steering_angle_deg`,
    /// `yaw_rate_radps` and `lat_accel_mps2`, in any order, others beside them. Lines are 0.1 s apart: what is learnt and
    /// measured takes them so.
    ///
    /// # Errors
    /// When the file cannot be read, a column is missing, a line has another number of fields or another time than 0.1 s after
    /// the line above, or a field is not a finite number.
    pub fn read_csv(path: &Path) -> Result<Self, LogError> {
        let content = read_file(path, CSV_BYTES_MAX)?;
        parse_csv(&content).map_err(|(line, what)| LogError::Csv {
            path: path.to_owned(),
            line,
            what,
        })
    }

    /// Ticks of this log.
    #[must_use]
    pub fn len(&self) -> usize {
        self.t_s.len()
    }

    /// Whether this log has no tick.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.t_s.is_empty()
    }

    /// The motion at tick `index`.
    ///
    /// # Panics
    /// If there is no such tick.
    #[must_use]
    pub fn motion(&self, index: usize) -> Motion {
        Motion {
            speed_m_s: Some(self.speed_m_s[index] as f32),
            steering_rad: Some(self.steering_rad[index] as f32),
            acceleration_m_s2: Some(self.acceleration_m_s2[index] as f32),
            lateral_acceleration_m_s2: Some(self.lateral_acceleration_m_s2[index] as f32),
        }
    }

    /// The log as a source of moments without frames.
    #[must_use]
    pub fn moments(&self) -> LogMoments<'_> {
        LogMoments { log: self, index: 0 }
    }
}

/// The moments of a [`Log`]: motion only, of an empty frame shape.
#[derive(Clone, Debug)]
pub struct LogMoments<'a> {
    log: &'a Log,
    index: usize,
}

impl Moments for LogMoments<'_> {
    type Error = Infallible;

    fn shape(&self) -> FrameShape {
        FrameShape { width: 0, height: 0 }
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, Infallible> {
        let index = self.index;
        if index >= self.log.len() {
            return Ok(None);
        }
        self.index += 1;
        let since_start =
            Duration::try_from_secs_f64(self.log.t_s[index] - self.log.t_s[0]).unwrap_or_default();
        Ok(Some(Moment { frame: None, motion: Some(self.log.motion(index)), since_start }))
    }
}

/// One column of a signal.
struct Signal {
    path: PathBuf,
    t: Vec<f64>,
    values: Vec<f64>,
}

impl Signal {
    /// Column `column` of the signal in the folder `path`.
    fn read(path: &Path, column: usize) -> Result<Self, LogError> {
        let wrong = |what| LogError::Signal { path: path.to_owned(), what };
        let t = read_times(path)?;
        let Array { dims, data } = read_npy(&path.join("value"))?;
        let Data::F64(all) = data else { return Err(wrong("its values are not float64")) };
        let columns = match dims[..] {
            [rows] if rows == t.len() => 1,
            [rows, columns] if rows == t.len() => columns,
            _ => return Err(wrong("it has not one row of values for each time")),
        };
        if column >= columns {
            return Err(wrong("it has too few columns"));
        }
        let values: Vec<f64> = all.chunks_exact(columns).map(|row| row[column]).collect();
        if !values.iter().all(|value| is_motion(*value)) {
            return Err(wrong("a value is not finite"));
        }
        Ok(Self { path: path.to_owned(), t, values })
    }

    /// Mean within [`HALF_WIDTH_S`] of each time, `start` being time zero; `t_s` increases.
    fn means(&self, start: f64, t_s: &[f64]) -> Result<Vec<f64>, LogError> {
        let (mut from, mut to) = (0, 0);
        let mean = |&t_s: &f64| {
            let t = start + t_s;
            while to < self.t.len() && self.t[to] <= t + HALF_WIDTH_S {
                to += 1;
            }
            while from < to && self.t[from] < t - HALF_WIDTH_S {
                from += 1;
            }
            let samples = &self.values[from..to];
            if samples.is_empty() {
                return Err(LogError::Gap { path: self.path.clone(), t_s });
            }
            Ok(samples.iter().sum::<f64>() / samples.len() as f64)
        };
        t_s.iter().map(mean).collect()
    }
}

/// Whether a value is finite, and still is in the single precision of [`Motion`].
const fn is_motion(value: f64) -> bool {
    (value as f32).is_finite()
}

/// The times of the signal in the folder `path`: at least one, finite, never going back.
fn read_times(path: &Path) -> Result<Vec<f64>, LogError> {
    let wrong = |what| LogError::Signal { path: path.to_owned(), what };
    let Array { dims, data } = read_npy(&path.join("t"))?;
    let Data::F64(t) = data else { return Err(wrong("its times are not float64")) };
    let is_column = matches!(dims[..], [_] | [_, 1]);
    if !is_column || t.is_empty() {
        return Err(wrong("it has no times"));
    }
    if !t.iter().all(|t| t.is_finite()) || !t.is_sorted() {
        return Err(wrong("its times go back"));
    }
    Ok(t)
}

/// Differences per second of values that come `rate_hz` times in one, over `half` of them before and after; as far as there are any at
/// both ends. At least two values.
pub(super) fn differences(values: &[f64], half: usize, rate_hz: f64) -> Vec<f64> {
    let last = values.len() - 1;
    (0..=last)
        .map(|k| {
            let (before, after) = (k.saturating_sub(half), (k + half).min(last));
            (values[after] - values[before]) * rate_hz / (after - before) as f64
        })
        .collect()
}

const CSV_COLUMNS: [&str; 6] =
    ["t_s", "v_ego_mps", "a_ego_mps2", "steering_angle_deg", "yaw_rate_radps", "lat_accel_mps2"];

fn parse_csv(content: &[u8]) -> Result<Log, (usize, &'static str)> {
    let text = str::from_utf8(content).map_err(|_| (1, "the file is not text"))?;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, head) = lines.next().ok_or((1, "the file is empty"))?;
    let names: Vec<&str> = head.split(',').map(str::trim).collect();
    let mut places = [0; CSV_COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(CSV_COLUMNS) {
        *place = names.iter().position(|name| *name == column).ok_or((1, "a column is missing"))?;
    }
    let mut log = Log::default();
    for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
        let fields: Vec<&str> = row.split(',').collect();
        if fields.len() != names.len() {
            return Err((line, "it has another number of fields than the first line"));
        }
        let mut values = [0.0; CSV_COLUMNS.len()];
        for (value, &place) in values.iter_mut().zip(&places) {
            let number: f64 =
                fields[place].trim().parse().map_err(|_| (line, "a field is not a number"))?;
            *value =
                Some(number).filter(|n| is_motion(*n)).ok_or((line, "a field is not finite"))?;
        }
        let [t, speed, acceleration, steering_deg, yaw, lateral] = values;
        if log.t_s.last().is_some_and(|&before| t < before) {
            return Err((line, "its time is before the line above"));
        }
        let step = |before: &f64| t - before - 1.0 / LOG_RATE_HZ;
        if log.t_s.last().is_some_and(|before| step(before).abs() > STEP_OFF_MAX_S) {
            return Err((
                line,
                "its time is not 0.1 s after the line above: logs are read at 10 Hz",
            ));
        }
        log.t_s.push(t);
        log.speed_m_s.push(speed);
        log.acceleration_m_s2.push(acceleration);
        log.steering_rad.push(steering_deg.to_radians());
        log.yaw_rate_rad_s.push(yaw);
        log.lateral_acceleration_m_s2.push(lateral);
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_csv_are_found_by_name() {
        let csv = "lat_deg,lat_accel_mps2,t_s,v_ego_mps,a_ego_mps2,steering_angle_deg,\
                   yaw_rate_radps\n52,6,0,1,2,180,5\n\n";
        let log = parse_csv(csv.as_bytes()).unwrap();
        let motion = Motion {
            speed_m_s: Some(1.0),
            steering_rad: Some(std::f32::consts::PI),
            acceleration_m_s2: Some(2.0),
            lateral_acceleration_m_s2: Some(6.0),
        };
        assert_eq!((log.len(), log.motion(0)), (1, motion));
    }

    #[test]
    fn a_wrong_line_of_a_csv_is_named() {
        let head = CSV_COLUMNS.join(",");
        for (rows, line) in [
            ("0,1,2,3,4", 2),
            ("0,1,2,3,4,5\n0,1,2,3,4,x", 3),
            ("0,1,2,3,4,NaN", 2),
            ("0,1,2,3,4,inf", 2),
            ("0,1e300,2,3,4,5", 2),
            ("1,1,2,3,4,5\n0,1,2,3,4,5", 3),
        ] {
            assert_eq!(parse_csv(format!("{head}\n{rows}").as_bytes()).unwrap_err().0, line);
        }
        assert!(parse_csv(b"").is_err());
        assert!(parse_csv(b"t_s,v_ego_mps").is_err());
        assert!(parse_csv(b"\xff").is_err());
    }

    /// What took 0.01 s or 3 s would be learnt and measured as if it took 0.1 s.
    #[test]
    fn a_csv_of_another_rate_or_with_rows_missing_is_refused_at_its_line() {
        let parsed = |times: &[f64]| {
            let rows = times.iter().map(|t| format!("{t},1,2,3,4,5\n")).collect::<String>();
            parse_csv(format!("{}\n{rows}", CSV_COLUMNS.join(",")).as_bytes())
        };
        assert_eq!(parsed(&[3.0, 3.1, 3.2004, 3.2998]).unwrap().len(), 4, "rounded times");
        for (times, line) in
            [(&[0.0, 0.01][..], 3), (&[0.0, 0.1, 0.1], 4), (&[0.0, 0.1, 0.2, 3.2], 5)]
        {
            let (at, what) = parsed(times).unwrap_err();
            assert_eq!(at, line);
            assert!(what.contains("0.1 s after"), "{what}");
        }
    }

    #[test]
    fn differences_are_central_and_one_sided_at_the_ends() {
        let differences = differences(&[0.0, 1.0, 4.0, 4.0], 1, 10.0);
        assert_eq!(differences, [10.0, 20.0, 15.0, 0.0]);
    }
}
