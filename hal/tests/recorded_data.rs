//! The real drives beside the workspace, read as the measured figures were.

#[cfg(test)]
mod common;

use shoal_hal::backend::recorded::comma::Log;
use shoal_hal::backend::recorded::{Drives, RecordedOptions};
use shoal_hal::{Drive, FrameShape, Part, conformance};

const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };

fn open(folder: &str, options: &RecordedOptions) -> Option<Drives> {
    let dir = common::data()?.join(folder);
    common::ffmpeg().then(|| Drives::open(&dir, SHAPE, 10.0, options).expect("the drives open"))
}

/// −10·log10 of the mean squared error of the last frame shown again, RGB in [0, 1].
fn copy_psnr(drive: &Drive) -> f64 {
    let mut sum = 0u64;
    for index in 1..drive.len() {
        for (&a, &b) in drive.frame(index - 1).iter().zip(drive.frame(index)) {
            sum += u64::from(a.abs_diff(b)).pow(2);
        }
    }
    let mean = sum as f64 / ((drive.len() - 1) * SHAPE.bytes()) as f64 / (255.0 * 255.0);
    -10.0 * mean.log10()
}

/// Source: DATA.md, 'Nothing moves' at 128×64, 10 Hz, and clips by the protocol.
#[test]
fn real_drives_give_the_measured_figures() {
    let Some(opened) = open("drives", &RecordedOptions::default()) else { return };
    assert!(opened.skipped.is_empty(), "{:?}", opened.skipped);
    let want = [
        ("donkeycar_tub", 500, 17.4, 68, 68),
        ("dusk_highway.mp4", 123, 35.8, 17, 17),
        ("green_autobahn.mp4", 130, 21.5, 18, 18),
        ("i280_day_lanes.mp4", 88, 28.9, 10, 10),
        ("kitti_seq2", 51, 17.2, 2, 3),
        ("korea_expressway_short.mp4", 66, 28.2, 5, 6),
    ];
    let names: Vec<&str> = opened.drives.iter().map(|drive| drive.name.as_str()).collect();
    assert_eq!(names, want.map(|w| w.0));
    for (drive, (name, frames, psnr, pack, held_out)) in opened.drives.iter().zip(want) {
        let split = drive.split(4);
        let clips = |part| split.clips(part, 4, 1).count();
        let got = (drive.len(), clips(Part::Pack), clips(Part::HeldOut));
        assert_eq!(got, (frames, pack, held_out), "{name}");
        let measured = copy_psnr(drive);
        eprintln!("{name}: {frames} frames, copy PSNR {measured:.2} dB");
        assert!((measured - psnr).abs() < 0.3, "{name}: {measured:.2} dB, want {psnr}");
        let seen = conformance::check(&mut drive.moments(), usize::MAX).unwrap();
        assert_eq!(seen.moments, frames);
    }
}

/// Source: the CSV beside the segment, six digits after the point.
#[test]
fn a_comma2k19_segment_gives_the_resampled_log_beside_it() {
    let Some(dir) = common::data() else { return };
    let log = Log::read_segment(&dir.join("logs/comma2k19_example1")).unwrap();
    let csv = Log::read_csv(&dir.join("logs/comma2k19_example1_10hz.csv")).unwrap();
    assert_eq!(log.len(), 598);
    let close = |name: &str, ours: &[f64], theirs: &[f64], tolerance: f64| {
        assert_eq!(ours.len(), theirs.len());
        let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off <= tolerance, "{name}: off by {off}");
    };
    close("time", &log.t_s, &csv.t_s, 1e-6);
    close("speed", &log.speed_m_s, &csv.speed_m_s, 1e-6);
    close("acceleration", &log.acceleration_m_s2, &csv.acceleration_m_s2, 1e-6);
    close("steering", &log.steering_rad, &csv.steering_rad, 1e-6f64.to_radians());
    close("yaw rate", &log.yaw_rate_rad_s, &csv.yaw_rate_rad_s, 1e-6);
    let lateral = &csv.lateral_acceleration_m_s2;
    close("lateral", &log.lateral_acceleration_m_s2, lateral, 1e-6);
    let seen = conformance::check(&mut log.moments(), usize::MAX).unwrap();
    assert_eq!((seen.moments, seen.frames, seen.motions), (598, 0, 598));
}

/// Source: DATA.md: 23.976 and 25 frames a second, at their own size.
#[test]
fn originals_at_their_own_rate_and_size_give_the_same_road() {
    let Some(opened) = open("originals", &RecordedOptions::default()) else { return };
    let figures: Vec<(usize, f64)> =
        opened.drives.iter().map(|drive| (drive.len(), copy_psnr(drive))).collect();
    // Ticks up to the last frame's own time: 295·1001/24000 s and 220/25 s.
    assert_eq!((figures[0].0, figures[1].0), (124, 89));
    // The same scenes as the resampled drives, cut less at top and bottom.
    for ((_, measured), want) in figures.into_iter().zip([35.8, 28.9]) {
        assert!((measured - want).abs() < 1.5, "{measured:.2} dB, about {want} wanted");
    }
}

#[test]
fn opening_twice_gives_the_same_bytes() {
    let Some(first) = open("drives", &RecordedOptions::default()) else { return };
    let second = open("drives", &RecordedOptions::default()).unwrap();
    assert_eq!(first.drives, second.drives);
}
