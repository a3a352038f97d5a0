//! Claims on packs of imitation.

use sha2::{Digest, Sha256};
use shoal_hal::Motion;
use shoal_hal::backend::synthetic::{Region, Road, Start, Style};

use super::*;
use crate::grid::{self, Geometry};
use crate::hindsight::WEIGHT_MIN;
use crate::measure::driving::DrivingMetric;
use crate::measure::imitation::ActedRun;

/// Half a second to the left, half a second to the right, at 10 m/s; in frame `brakes` the driver brakes as hard as can be.
fn driven(name: &str, frames: usize, brakes: Option<usize>) -> Drive {
    let motion = |at: usize| Motion {
        speed_m_s: Some(10.0),
        steering_rad: Some(if (at / 5).is_multiple_of(2) { 0.2 } else { -0.2 }),
        acceleration_m_s2: Some(if Some(at) == brakes { -7.0 } else { 0.0 }),
        lateral_acceleration_m_s2: None,
    };
    let plain = drive(name, frames);
    let bytes = plain.frames(0..frames).to_vec();
    let motion = (0..frames).map(|at| (at != 60).then(|| motion(at))).collect();
    Drive::new(name.into(), [7; 32], 10.0, SHAPE, bytes, motion)
}

fn built(drives: &[Drive], directory: &Path) -> Manifest {
    let geometry = Geometry::new(2.6, 16.0).unwrap();
    let acted: Vec<Acted> = drives.iter().map(|drive| Acted::of(drive, geometry)).collect();
    build_imitation(drives, &acted, &options(), directory).unwrap()
}

#[test]
fn a_pack_of_imitation_gives_back_motion_geometry_and_what_each_moment_weighs() {
    let directory = tempfile::tempdir().unwrap();
    // Of 88 frames 56 to 69 are the pack's, in runs from 56 and 63.
    let road = driven("a", 88, Some(68));
    let manifest = built(&[road.clone(), drive("says nothing", 300)], directory.path());
    let acted = [&road, &drive("says nothing", 300)]
        .map(|of| Acted::of(of, Geometry::new(2.6, 16.0).unwrap()));
    let drives = [road.clone(), drive("says nothing", 300)];
    assert_eq!(manifest_imitation(&drives, &acted, &options()).unwrap(), manifest);
    assert_eq!(manifest.drives.len(), 1, "a drive without motion gives nothing");
    assert_eq!(manifest.grid, Some(crate::digits::hex(&grid::SHA256)));
    let pack = Pack::open(directory.path()).unwrap();
    assert_eq!(pack.manifest(), &manifest);

    let footages = pack.read(&[0, 1]).unwrap();
    let acts = footages.acts();
    assert_eq!((acts.len(), acts[0].geometry.steering_ratio()), (1, 16.0));
    for (piece, ActedRun { footage, weights, leaders }) in acts[0].runs.iter().enumerate() {
        assert!(leaders.is_empty(), "the drive knows nobody ahead");
        assert_eq!((footage.len(), weights.len()), (7, 7));
        for at in 0..7 {
            let whole = 56 + 7 * piece + at;
            assert_eq!(footage.motion(at), Some(road.motion(whole).unwrap_or_default()));
            assert_eq!(footage.frame(at), road.frame(whole));
            let low = f64::from(weights[at]) < 2.0 * WEIGHT_MIN;
            assert_eq!(low, whole <= 68, "frame {whole}, before the harsh brake or after");
        }
    }
    // The habits are of all parts, whichever is read.
    let of_one = pack.read_turn(1).unwrap();
    assert_eq!(of_one.acts()[0].habits, acts[0].habits);
    assert!(
        Pack::open(directory.path()).unwrap().read_turn(1).unwrap().acts()[0].habits
            == acts[0].habits
    );
    let skill = tempfile::tempdir().unwrap();
    build(&[road], &options(), skill.path()).unwrap();
    assert!(Pack::open(skill.path()).unwrap().read(&[0]).unwrap().acts().is_empty());
}

#[test]
fn drives_that_say_nothing_of_their_drivers_make_no_pack_of_imitation() {
    let directory = tempfile::tempdir().unwrap();
    let silent = [drive("a", 300)];
    let acted = [Acted::of(&silent[0], Geometry::default())];
    let refused = build_imitation(&silent, &acted, &options(), directory.path()).unwrap_err();
    assert!(matches!(refused, BuildPackError::NoActions { drives: 1 }), "{refused}");
}

/// A pack whose manifest was changed from `from` to `to`.
fn refused(from: &str, to: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    built(&[driven("a", 300, None)], directory.path());
    let path = directory.path().join(MANIFEST_FILE);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    let error = Manifest::from_bytes(text.replacen(from, to, 1).as_bytes()).unwrap_err();
    error.to_string()
}

#[test]
fn another_grid_is_refused_by_its_name() {
    let own = crate::digits::hex(&grid::SHA256);
    let other = "00".repeat(32);
    let said = refused(&own, &other);
    assert!(said.starts_with("grid: ") && said.contains("action_grid/v1"), "{said}");
    assert!(said.contains(&own) && said.contains(&other), "{said}");
    assert!(refused(&own, "v1").starts_with("grid: v1 is not allowed"));
}

#[test]
fn a_manifest_says_all_of_actions_or_nothing() {
    let own = format!("\"grid\":\"{}\",", crate::digits::hex(&grid::SHA256));
    assert_eq!(
        refused(&own, ""),
        "grid: none is not allowed, expected one, as a pack of imitation has"
    );
    let said = refused("\"imitation\"", "\"skill\"");
    assert_eq!(said, "grid: one is not allowed, expected none, as a pack of skill has");
    let geometry = r#","geometry":{"wheelbase_m":2.6,"steering_ratio":16.0}"#;
    assert!(refused(geometry, "").starts_with("drives[0].geometry: none is not allowed"));
    let said = refused("\"wheelbase_m\":2.6", "\"wheelbase_m\":0.01");
    assert!(said.starts_with("drives[0].geometry.wheelbase_m: 0.01 is not allowed"), "{said}");
    let said = refused("\"steering_ratio\":16.0", "\"steering_ratio\":1e9");
    assert!(said.starts_with("drives[0].geometry.steering_ratio: "), "{said}");
    let said = refused("\"bytes\":", "\"bytes\":1");
    assert!(said.starts_with("parts[0].bytes: "), "{said}");
}

/// The hash holds, and yet: a pack is only as good as its authority.
#[test]
fn a_row_that_is_not_allowed_is_refused_with_file_run_and_row() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = built(&[driven("a", 300, None)], directory.path());
    let path = directory.path().join("part-1.bin");
    let mut bytes = fs::read(&path).unwrap();
    let run = manifest.parts[1].runs[0];
    let row = run.frames * SHAPE.bytes() + 2 * Row::BYTES;
    bytes[row + 16..row + 20].copy_from_slice(&2.0_f32.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let read = |directory: &Path| Pack::open(directory).and_then(|pack| pack.read(&[0]));
    let error = read(directory.path()).unwrap_err();
    assert!(matches!(error, ReadPackError::Hash { .. }), "the habits are of all parts: {error}");

    manifest.parts[1].sha256 = crate::digits::hex(&Sha256::digest(&bytes));
    fs::write(directory.path().join(MANIFEST_FILE), manifest.to_bytes()).unwrap();
    let error = read(directory.path()).unwrap_err();
    assert!(error.to_string().ends_with("part-1.bin, run 0, row 2"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "weight is 2, expected 0 to 1");
}

/// What a generated road's truth tells beside the motion is judged too.
#[test]
fn attentive_drivers_of_generated_roads_weigh_more_than_reckless_ones() {
    let road = Road { region: Region::DenseTraffic, seed: 3_000_017 };
    let mean = |style| {
        let driven = road.driven((style, 1), Start::default(), (SHAPE, 10.0, 600)).unwrap();
        let acted = Acted::of_driven(&driven).unwrap();
        let own = driven.drive.motion(300).unwrap().steering_rad.unwrap();
        let told = acted.geometry.curvature_per_m(own.into());
        let was = f64::from(driven.truth[300].curvature_1_m);
        assert!((told - was).abs() < 1e-4, "its geometry: {told} from the wheel, {was} was driven");
        let directory = tempfile::tempdir().unwrap();
        let manifest =
            build_imitation(&[driven.drive], &[acted], &options(), directory.path()).unwrap();
        let footages = Pack::open(directory.path()).unwrap().read(&[0, 1, 2, 3]).unwrap();
        let acts = footages.acts();
        assert_eq!(manifest.driving(), DrivingMetric::ALL);
        for (piece, run) in manifest.parts.iter().flat_map(|part| &part.runs).enumerate() {
            let truth = driven.truth[run.first..].iter().map(|truth| truth.leader);
            assert!(acts[0].runs[piece].leaders.iter().copied().eq(truth.take(run.frames)));
        }
        let weights = || acts[0].runs.iter().flat_map(|run| run.weights.iter());
        weights().map(|weight| f64::from(*weight)).sum::<f64>() / weights().count() as f64
    };
    let (attentive, reckless) = (mean(Style::Attentive), mean(Style::Reckless));
    assert!(attentive > 0.7 && reckless < attentive - 0.1, "{attentive} {reckless}");
}
