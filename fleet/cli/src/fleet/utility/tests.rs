use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{Region, Road};
use shoal_shadow::form::{Form, MotionInput};
use shoal_shadow::pack::{Acted, PackOptions, build, build_imitation};
use shoal_vehicle::drives::attentive;

use super::*;

const SHAPE: FrameShape = FrameShape { width: 64, height: 32 };

fn options(id: &str, context: usize) -> PackOptions {
    PackOptions { id: id.into(), version: 1, licence: "CC0-1.0".into(), context }
}

/// A pack of one attentive driver.
fn drivers(folder: &Path) -> Known {
    let form =
        Form { shape: SHAPE, frames: 1, context: 1, rate_hz: 10.0, motion: MotionInput::NONE };
    let driven = attentive(1, 200, &form, 0).remove(0);
    let acted = [Acted::of_driven(&driven).unwrap()];
    let folder = folder.join("drivers");
    build_imitation(&[driven.drive], &acted, &options("drivers", 1), &folder).unwrap();
    Known::of(Pack::open(&folder).unwrap().manifest_bytes()).unwrap()
}

/// Packs of frames, by these names.
fn roads(folder: &Path, ids: &[&str]) -> Vec<Known> {
    let of = |(seed, id): (u64, &&str)| {
        let drive = Road { region: Region::City, seed }.render(SHAPE, 10.0, 300);
        build(&[drive], &options(id, 4), &folder.join(id)).unwrap();
        Known::of(Pack::open(&folder.join(id)).unwrap().manifest_bytes()).unwrap()
    };
    (1..).zip(ids).map(of).collect()
}

/// What a file says of these packs.
fn said(folder: &Path, packs: &[Known], toml: &str) -> Result<UtilityDocument, String> {
    let file = folder.join("utility.toml");
    std::fs::write(&file, toml).unwrap();
    read(&file, packs, 2).map_err(|error| error.to_string())
}

#[test]
fn a_gate_is_a_term_without_weight_on_the_pack_that_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let packs = [drivers(folder.path())];
    let gates = [gate("distance=0.9").unwrap(), gate("imitation=-0.5").unwrap()];
    let document = usual(&packs, &gates).unwrap();
    let terms = &document.fields().terms;
    let gated: Vec<_> = terms.iter().map(|term| (term.metric, term.gate)).collect();
    let asked = [
        (Metric::ImitationGain, None),
        (Metric::Distance, Some(9_000)),
        (Metric::Imitation, Some(-5_000)),
    ];
    assert_eq!(gated, asked);
    let weighing = Utility::new(&document).at(1).unwrap();
    assert_eq!(weighing.shares(), [1.0, 0.0, 0.0]);
    assert!(weighing.passes(&[0, 9_500, 0]) && !weighing.passes(&[10_000, 8_900, 0]));
    assert!(!weighing.passes(&[10_000, 9_500, -5_100]));

    let behind = usual(&packs, &[gate("distance_gain=-0.02").unwrap()]).unwrap();
    let last = behind.fields().terms.last().unwrap();
    let told = (last.metric, last.gate, last.name.as_str());
    assert_eq!(told, (Metric::DistanceGain, Some(-200), "distance_gain"));
    let said = usual(&packs, &[gate("rollout=0.1").unwrap()]).unwrap_err().to_string();
    assert!(said.contains("--gate rollout") && said.contains("drivers"), "{said}");
    assert!(gate("speed=1").unwrap_err().contains("skill_gain"));
}

/// As a value imitation ends at −1, and policies that know nothing of a pack's drivers are below it.
#[test]
fn who_names_no_metric_asks_what_is_gained_in_imitation() {
    let folder = tempfile::tempdir().unwrap();
    let packs = [drivers(folder.path())];
    let of = |document: UtilityDocument| {
        document.fields().terms.iter().map(|term| term.metric).collect::<Vec<_>>()
    };
    assert_eq!(of(usual(&packs, &[]).unwrap()), [Metric::ImitationGain]);
    let file = said(folder.path(), &packs, "[[term]]\nname = \"near\"\n").unwrap();
    assert_eq!(of(file), [Metric::ImitationGain]);
    let asked = "[[term]]\nname = \"near\"\nmetric = \"imitation\"\n";
    assert_eq!(of(said(folder.path(), &packs, asked).unwrap()), [Metric::Imitation]);
}

#[test]
fn without_a_file_every_pack_counts_as_much() {
    let folder = tempfile::tempdir().unwrap();
    let packs = roads(folder.path(), &["day", "night"]);
    let document = usual(&packs, &[]).unwrap();
    let terms: Vec<_> =
        document.fields().terms.iter().map(|term| (term.name.as_str(), term.pack)).collect();
    assert_eq!(terms, [("day", packs[0].hash), ("night", packs[1].hash)]);
    assert_eq!(Utility::new(&document).at(0).unwrap().shares(), [0.5, 0.5]);
}

/// A pack's id may be longer than a term's name.
#[test]
fn a_term_has_as_much_of_its_packs_id_as_a_name_has_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let [long, other] = ["a-pack-of-roads-in-the-north-of-2026", "day"];
    let packs = roads(folder.path(), &[long, other]);
    let document = usual(&packs, &[]).unwrap();
    let names: Vec<_> = document.fields().terms.iter().map(|term| term.name.as_str()).collect();
    assert_eq!(names, ["a-pack-of-roads-in-the-north-of-", "day"]);
}

#[test]
fn a_file_says_what_counts_and_when() {
    let folder = tempfile::tempdir().unwrap();
    let packs = roads(folder.path(), &["day", "night"]);
    let toml = "[[term]]\nname = \"day\"\nwindows = [10, 20]\nweights = [1.0, 0.5]\n\
                [[term]]\nname = \"far by night\"\npack = \"night\"\nmetric = \"rollout\"\nwindows = [10, 20]\nweights = [0.0, 1.5]\n\
                [[term]]\nname = \"kept\"\nmetric = \"skill_gain\"\nwindows = [0]\nweights = [0.0]\ngate = -0.01\n";
    let document = said(folder.path(), &packs, toml).unwrap();
    let terms: Vec<_> =
        document.fields().terms.iter().map(|term| (term.pack, term.metric, term.gate)).collect();
    let (day, night) = (packs[0].hash, packs[1].hash);
    let asked = [
        (day, Metric::Skill, None),
        (night, Metric::Rollout, None),
        (day, Metric::SkillGain, Some(-100)),
    ];
    assert_eq!(terms, asked);
    let utility = Utility::new(&document);
    assert_eq!(utility.at(15).unwrap().shares(), [0.5, 0.5, 0.0]);
    assert_eq!(utility.at(99).unwrap().shares(), [0.25, 0.75, 0.0]);
}

#[test]
fn what_is_wrong_with_a_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let packs = roads(folder.path(), &["day", "night"]);
    for (toml, said_of_it) in [
        ("[[term]]\nname = \"a\"\npack = \"fog\"\n", "day, night"),
        ("[[term]]\nname = \"a\"\nmetric = \"comfort\"\n", "skill, rollout"),
        ("[[term]]\nname = \"a\"\nwindow = [1]\n", "did you mean `windows`"),
        ("[[term]]\nname = \"a\"\nwindows = [2, 1]\nweights = [1, 1]\n", "growing"),
        ("[[term]]\nname = \"a\"\nweights = [-1.0]\n", "0 to 1000"),
        ("[[term]]\nname = \"a\"\ngate = 2.0\n", "gate"),
        ("[[term]]\nname = \"a\"\n[[term]]\nname = \"a\"\n", "utility.toml"),
        ("", "utility.toml"),
    ] {
        let error = said(folder.path(), &packs, toml).unwrap_err();
        assert!(error.contains(said_of_it), "{toml}: {error}");
    }
}

#[test]
fn what_vehicles_would_not_follow_is_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let packs = roads(folder.path(), &["day", "night"]);
    let old = usual(&packs[..1], &[]).unwrap();
    let checked = |toml: &str, window: u32| {
        let new = said(folder.path(), &packs, toml)?;
        check(&new, &old, window).map_err(|error| error.to_string())
    };
    let day = "[[term]]\nname = \"day\"\n";
    let night = |knots: &str| format!("{day}[[term]]\nname = \"night\"\npack = \"night\"\n{knots}");
    assert_eq!(checked(&night("windows = [10, 20]\nweights = [0, 1]\n"), 10), Ok(()));
    let loud = checked(&night("windows = [10, 20]\nweights = [0, 1]\n"), 11).unwrap_err();
    assert!(loud.contains("window 11") && loud.contains("night"), "{loud}");
    let never = checked(&night(""), 5).unwrap_err();
    assert!(never.contains("would not follow"), "{never}");
    let moved = checked("[[term]]\nname = \"day\"\npack = \"night\"\n", 5).unwrap_err();
    assert!(moved.contains("would not follow"), "{moved}");
    let nothing = checked("[[term]]\nname = \"day\"\nweights = [0]\n", 5).unwrap_err();
    assert!(nothing.contains("nothing counts"), "{nothing}");
}

#[test]
fn the_next_window_is_the_first_that_nobody_has_begun() {
    let plan = WindowPlanFields {
        epoch_seconds: 1000,
        period_seconds: 60,
        open_seconds: 30,
        jitter_ms_max: 0,
        up_bytes_max: 1,
        down_bytes_max: 1,
    };
    let at = [0, 999, 1000, 1059, 1060].map(|now| next_window(&plan, now));
    assert_eq!(at, [0, 0, 1, 1, 2]);
}

#[test]
fn a_pack_on_which_nothing_is_counted_is_no_term() {
    let folder = tempfile::tempdir().unwrap();
    let shape = FrameShape { width: 8, height: 4 };
    let still = Road { region: Region::Highway, seed: 1 }.render(shape, 10.0, 300);
    build(&[still], &options("night", 4), folder.path()).unwrap();
    let known = Known::of(Pack::open(folder.path()).unwrap().manifest_bytes());
    assert!(known.err().unwrap().to_string().contains("pack night moves enough"));
}
