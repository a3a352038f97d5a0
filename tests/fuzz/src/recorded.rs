//! The entry of the target `recorded`: drives and logs, in the files in which others left them.

use std::fs;
use std::path::Path;

use shoal_hal::FrameShape;
use shoal_hal::backend::recorded::comma::Log;
use shoal_hal::backend::recorded::npy::{Array, Data, read_npy};
use shoal_hal::backend::recorded::{Drives, RecordedOptions, codes::read_codes};

const SHAPE: FrameShape = FrameShape { width: 8, height: 4 };
const RATE_HZ: f64 = 10.0;
/// Most bytes of frames of a drive here: a catalog may name one picture many times.
const DECODED_BYTES_MAX: u64 = 1 << 20;

/// Lays the bytes down as what the first of them says: an array, a log as a table or as a segment of arrays, a folder of pictures, or a
/// tub; in files that end where two bytes before each say. Reads what then lies there.
///
/// # Panics
/// If what is read is not as long as it says, or not finite.
pub fn recorded(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let around = tempfile::tempdir().expect("the system has a folder for such");
    let folder = around.path();
    match kind % 5 {
        0 => array(folder, rest),
        1 => {
            lay(folder, rest, &["log.csv"]);
            Log::read_csv(&folder.join("log.csv")).iter().for_each(log);
        }
        2 => {
            let signals = ["CAN/speed", "CAN/steering_angle", "IMU/gyro", "GNSS/live_gnss_ublox"];
            let of =
                |signal: &str| ["t", "value"].map(|file| format!("processed_log/{signal}/{file}"));
            let names: Vec<String> = signals.iter().flat_map(|signal| of(signal)).collect();
            lay(folder, rest, &names.iter().map(String::as_str).collect::<Vec<_>>());
            Log::read_segment(folder).iter().for_each(log);
        }
        3 => {
            lay(folder, rest, &["1.png", "2.jpg", "10.jpeg", "poses.txt"]);
            drives(folder);
        }
        _tub => {
            let names = ["manifest.json", "catalog_0.catalog", "images/0.jpg", "images/1.jpg"];
            lay(folder, rest, &names);
            drives(folder);
        }
    }
}

/// Writes one file after another; those for which no bytes are left are not there.
fn lay(folder: &Path, mut bytes: &[u8], names: &[&str]) {
    for name in names {
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (file, rest) = rest.split_at(length);
        bytes = rest;
        let path = folder.join(name);
        let above = path.parent().unwrap_or(folder);
        fs::create_dir_all(above)
            .and_then(|()| fs::write(&path, file))
            .expect("the folder is ours");
    }
}

fn array(folder: &Path, bytes: &[u8]) {
    let path = folder.join("array.npy");
    fs::write(&path, bytes).expect("the folder is ours");
    let codes = read_codes(&path, 2).unwrap_or_default();
    assert!(codes.len().is_multiple_of(2), "frames are whole");
    let Ok(Array { dims, data }) = read_npy(&path) else { return };
    let count = match data {
        Data::F64(values) => values.len(),
        Data::F32(values) => values.len(),
        Data::I64(values) => values.len(),
    };
    assert_eq!(dims.iter().product::<usize>(), count, "as many values as the dimensions say");
}

fn log(log: &Log) {
    let columns = [
        &log.speed_m_s,
        &log.acceleration_m_s2,
        &log.steering_rad,
        &log.yaw_rate_rad_s,
        &log.lateral_acceleration_m_s2,
    ];
    for column in columns {
        assert_eq!(column.len(), log.t_s.len(), "one value at every time");
    }
    assert!(log.t_s.is_sorted(), "time goes on");
}

fn drives(folder: &Path) {
    let options = RecordedOptions {
        context: None,
        decoded_bytes_max: DECODED_BYTES_MAX,
        ffmpeg: "no-such-program".into(),
        ..RecordedOptions::default()
    };
    let Ok(read) = Drives::open(folder, SHAPE, RATE_HZ, &options) else { return };
    for drive in &read.drives {
        assert!(!drive.is_empty(), "a drive has frames");
        assert_eq!(drive.frames(0..drive.len()).len(), drive.len() * SHAPE.bytes());
        let mut motions = (0..drive.len()).filter_map(|index| drive.motion(index));
        assert!(motions.all(|motion| motion.is_finite()));
    }
}
