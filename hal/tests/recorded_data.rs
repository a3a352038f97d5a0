//! The real drives beside the workspace, read as the measured figures were.

mod common;

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
