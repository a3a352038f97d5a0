//! The baselines on real recorded roads, where these are at hand (`../shared/data`, or `SHOAL_DATA`).

#![expect(clippy::unwrap_used, reason = "a test")]

use shoal_hal::backend::recorded::{Drives, RecordedOptions};
use shoal_hal::{FrameShape, Part};
use shoal_shadow::baseline::{BlockMatching, baselines};
use shoal_shadow::form::{Form, MotionInput};
use shoal_shadow::measure::{DriveClips, Horizon, Report, measure};
use shoal_shadow::pack::{Pack, PackOptions, build};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

fn form() -> Form {
    let shape = FrameShape { width: 128, height: 64 };
    let motion = MotionInput::speed_and_steering();
    Form { shape, frames: 4, context: 4, rate_hz: 10.0, motion }
}

/// The real drives, or `None`, said past the capture of the harness, where there are none.
fn drives() -> Option<Drives> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = std::env::var_os("SHOAL_DATA").map_or(beside, PathBuf::from).join("drives");
    if !dir.is_dir() {
        let required = std::env::var_os("SHOAL_REQUIRE_DATA").is_some_and(|value| value == "1");
        assert!(!required, "no folder of real drives, and SHOAL_REQUIRE_DATA=1");
        let line = b"SKIPPED real_baselines: no folder of real drives; SHOAL_DATA names one\n";
        std::io::stderr().write_all(line).expect("stderr is open");
        return None;
    }
    let form = form();
    Some(Drives::open(&dir, form.shape, form.rate_hz, &RecordedOptions::default()).unwrap())
}

fn report(drives: &Drives, part: Part) -> Report {
    let form = form();
    let splits: Vec<_> = drives.drives.iter().map(|drive| drive.split(form.context)).collect();
    let clips: Vec<_> = drives
        .drives
        .iter()
        .zip(&splits)
        .map(|(drive, split)| DriveClips::of_part(drive, split, part, &form))
        .collect();
    let all = baselines(&form, &clips, Horizon::NextAndRollout).unwrap();
    let report = Report::of(&all[1], &all[..1]);
    for drive in &report.drives {
        eprintln!(
            "{:32} {:3} clips, copy {:5.2} dB whole{}: blur {:+.3} / {:+.3}, block matching {:+.3} / {:+.3}",
            drive.name,
            drive.clips,
            drive.copy_psnr_db_whole.unwrap_or(f64::INFINITY),
            if drive.counted { "" } else { " (not counted)" },
            drive.baselines[0].skill.unwrap_or(f64::NAN),
            drive.baselines[0].rollout_skill.unwrap_or(f64::NAN),
            drive.skill.unwrap_or(f64::NAN),
            drive.rollout.skill.unwrap_or(f64::NAN),
        );
    }
    eprintln!(
        "{} counted: {} {:.3} / {:.3}; {} {:.3} / {:.3} ({} drives roll out)",
        report.counted,
        report.baselines[0].predictor,
        report.baselines[0].skill.unwrap(),
        report.baselines[0].rollout_skill.unwrap(),
        report.predictor,
        report.skill.unwrap(),
        report.rollout.skill.unwrap(),
        report.rollout.drives,
    );
    report
}

/// Source: the table of clips and PSNR in the data's own description, and what the baselines reached
/// when the default model was chosen (block matching about .40, .58 on other roads; blur about .09).
#[test]
fn real_drives_have_the_clips_copy_psnr_and_baselines_measured_before() {
    let Some(drives) = drives() else { return };
    let report = report(&drives, Part::HeldOut);
    let expected = [
        ("donkeycar", 68, 17.4),
        ("dusk_highway", 17, 35.8),
        ("green_autobahn", 18, 21.5),
        ("i280_day_lanes", 10, 28.9),
        ("kitti_seq2", 3, 17.2),
        ("korea_expressway_short", 6, 28.2),
    ];
    let known = expected.map(|(name, ..)| name);
    if !report.drives.iter().map(|drive| &drive.name).zip(known).all(|(a, b)| a.starts_with(b)) {
        return; // SHOAL_DATA names other drives, of which nothing is known here.
    }
    for (drive, (name, clips, psnr_db)) in report.drives.iter().zip(expected) {
        assert_eq!(drive.clips, clips, "{name}");
        let got = drive.copy_psnr_db_whole.unwrap();
        assert!((got - psnr_db).abs() < 0.15, "{name}: {got} dB, expected {psnr_db}");
        assert_eq!(drive.counted, name != "dusk_highway");
    }
    let (blur, block) = (report.baselines[0].skill.unwrap(), report.skill.unwrap());
    assert!((0.05..0.12).contains(&blur), "{blur}");
    assert!((0.40..0.58).contains(&block), "{block}");
    assert_eq!(report.rollout.drives, 4);
}

#[test]
fn a_pack_of_real_drives_gives_its_clips_in_parts_and_each_drive_its_own_value() {
    let Some(drives) = drives() else { return };
    let directory = tempfile::tempdir().unwrap();
    let options = PackOptions {
        id: "real".into(),
        version: 1,
        licence: "local use only".into(),
        context: form().context,
    };
    build(&drives.drives, &options, directory.path()).unwrap();
    let pack = Pack::open(directory.path()).unwrap();
    let mut clips_by_drive: BTreeMap<String, usize> = BTreeMap::new();
    for part in pack.parts() {
        let footages = pack.read(&[part]).unwrap();
        let clips = footages.clips(form().context);
        let measured = measure(&mut BlockMatching::new(form()), &clips, Horizon::Next).unwrap();
        for drive in &measured.drives {
            let (clips, skill) = (drive.next.clips(), drive.next.skill().unwrap());
            eprintln!("part {part}: {:32} {clips:3} clips, block matching {skill:+.3}", drive.name);
            assert!(clips >= 2);
            *clips_by_drive.entry(drive.name.clone()).or_default() += clips;
        }
    }
    assert_eq!(clips_by_drive.len(), drives.drives.len(), "every drive is in the pack");
    for drive in &drives.drives {
        let split = drive.split(form().context);
        let all = split.clips(Part::Pack, form().context, 1).count();
        let most = clips_by_drive[&drive.name];
        assert!(most <= all && most + 3 * form().context >= all, "{}", drive.name);
    }
}
