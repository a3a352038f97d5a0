//! The event log: what a vehicle's cores were told makes fresh ones say the same.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

mod logged;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use embassy_time::Instant;
use proptest::prelude::*;
use shoal_swarm::swarm::{Flat, Input, ValuesHash};
use shoal_vehicle::exchange::log::{Core, Log, PARTS_KEPT, RerunError, runs};
use shoal_wire::{Now, Utc};

use logged::make::nonce;
use logged::{PERIOD, Vehicle};

fn part(folder: &Path, run: u32, part: u32) -> PathBuf {
    folder.join(format!("{run:010}-{part:06}.log"))
}

#[test]
fn cores_say_again_what_they_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    // In the last of these the nonce draws this vehicle to fold.
    (1..13).for_each(|window| vehicle.night(window));
    vehicle.log.end();
    assert!(vehicle.log.failure().is_none());
    let done = vehicle.rerun(dir.path(), 0).unwrap();
    assert_eq!(done.difference, None);
    assert!(done.whole && done.skipped == 0, "{done:?}");
    // Windows opened, particles were coded, measured, claimed and voted on: it is no empty log.
    assert!(done.inputs > 200 && done.outputs > 100, "{done:?}");
    assert!(vehicle.log.needed().count() > 10);
    let text: Vec<u8> =
        (0..13).flat_map(|number| fs::read(part(dir.path(), 0, number)).unwrap()).collect();
    let text = String::from_utf8_lossy(&text);
    for said in ["open 2 ", "code ", "measure ", "Claim(", "Vote(", "tune "] {
        assert!(text.contains(said), "{said}");
    }
}

/// After a restart a log begins with what the store held.
#[test]
fn each_run_is_rerun_from_its_own_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Vehicle::joins(dir.path());
    (1..3).for_each(|window| first.night(window));
    let Vehicle { store, values, seconds, .. } = first;
    let mut second = Vehicle::start(dir.path(), store, values, seconds);
    (3..5).for_each(|window| second.night(window));
    assert_eq!(runs(dir.path()).unwrap(), [0, 1]);
    for run in 0..2 {
        let done = second.rerun(dir.path(), run).unwrap();
        assert!(done.difference.is_none() && done.whole, "{run}: {done:?}");
    }
    assert!(matches!(second.rerun(dir.path(), 2), Err(RerunError::NoRun { run: 2, .. })));
    // What another version wrote says so, instead of nothing; a part that was cut in its first bytes is an end.
    let path = part(dir.path(), 1, 0);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [b"SHLLOG99", &bytes[8..]].concat()).unwrap();
    assert!(matches!(second.rerun(dir.path(), 1), Err(RerunError::Version { .. })));
    fs::write(&path, &bytes[..7]).unwrap();
    assert!(!second.rerun(dir.path(), 1).unwrap().whole);
}

/// What an earlier run needs is not swept by the next one, for as long as all of its log is there.
#[test]
fn what_an_earlier_run_needs_is_named_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Vehicle::joins(dir.path());
    first.night(1);
    let needed: BTreeSet<_> = first.log.needed().collect();
    // The values that it names, and the chunks of what it fetched and of what it made.
    let chunks: BTreeSet<_> = first.chunks.values().flatten().copied().collect();
    let values: BTreeSet<_> = first.values.keys().map(|hash| *hash.bytes()).collect();
    assert!(needed.intersection(&chunks).count() > 1 && needed.intersection(&values).count() > 3);
    let Vehicle { store, values, seconds, .. } = first;
    let mut second = Vehicle::start(dir.path(), store, values, seconds);
    assert!(second.log.needed().collect::<BTreeSet<_>>().is_superset(&needed));
    (2..3 + PARTS_KEPT as u32).for_each(|window| second.night(window));
    let own = needed.intersection(&second.log.needed().collect()).count();
    assert!(own < needed.len(), "its log is gone");
}

#[test]
fn another_measurement_shows_as_the_first_output_that_differs() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    vehicle.night(1);
    // What the core is told is not what the log says it was told.
    let now = vehicle.now();
    vehicle.log.swarm_input(now, &Input::Tuned(&vec![9.0, 9.0, 9.0].into()), &[]);
    vehicle.values.insert(ValuesHash::of(&[9.0; 3]), vec![9.0; 3].into());
    let honest: Flat = vec![0.5, 0.2, -0.2].into();
    let _taken = vehicle.swarm.handle_input(now, Input::Tuned(&honest));
    vehicle.seconds = 2 * PERIOD;
    vehicle.to(2 * PERIOD + 1);
    vehicle.tell(Input::Nonce(&nonce(2)));
    vehicle.tell(Input::Current);
    let done = vehicle.rerun(dir.path(), 0).unwrap();
    let difference = done.difference.unwrap();
    assert_eq!(difference.core, Core::Swarm);
    assert_ne!(difference.logged, difference.rerun);
    assert!(difference.logged.unwrap().starts_with("code "));
}

/// The core would have said more than the log says.
#[test]
fn output_that_is_missing_at_the_end_is_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    vehicle.seconds = PERIOD + 1;
    let now = vehicle.now();
    vehicle.log.window_timeout(now);
    vehicle.log.end();
    let difference = vehicle.rerun(dir.path(), 0).unwrap().difference.unwrap();
    assert_eq!((difference.core, difference.logged.as_ref()), (Core::Window, None));
    assert!(difference.rerun.as_ref().unwrap().contains("closing 0 "), "{difference:?}");
}

#[test]
fn swept_values_are_an_error_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    vehicle.night(1);
    let tuned = ValuesHash::of(&[0.5, 0.1, -0.2]);
    vehicle.values.remove(&tuned).unwrap();
    let missing = vehicle.rerun(dir.path(), 0);
    assert!(matches!(missing, Err(RerunError::Missing { values }) if values.hash == tuned));
    // Others under its name are none.
    vehicle.values.insert(tuned, vec![1.0; 3].into());
    assert!(matches!(vehicle.rerun(dir.path(), 0), Err(RerunError::Missing { .. })));
}

#[test]
fn the_newest_parts_are_kept_and_what_has_no_beginning_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    let kept = PARTS_KEPT as u32;
    (1..kept + 4).for_each(|window| vehicle.night(window));
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, PARTS_KEPT);
    assert!(!part(dir.path(), 0, 0).exists() && part(dir.path(), 0, kept + 2).exists());
    let done = vehicle.rerun(dir.path(), 0).unwrap();
    assert!(done.whole && done.inputs == 0 && done.skipped > 200, "{done:?}");
}

/// Killed, or cut from power: the end of the last part is lost, the rest is as good as ever.
#[test]
fn torn_log_is_rerun_to_where_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicle = Vehicle::joins(dir.path());
    (1..3).for_each(|window| vehicle.night(window));
    let whole = vehicle.rerun(dir.path(), 0).unwrap();
    let path = part(dir.path(), 0, 2);
    assert!(!part(dir.path(), 0, 3).exists());
    let bytes = fs::read(&path).unwrap();
    let mut inputs = Vec::new();
    for length in (0..bytes.len()).step_by(bytes.len() / 40) {
        fs::write(&path, &bytes[..length]).unwrap();
        let torn = vehicle.rerun(dir.path(), 0).unwrap();
        assert_eq!(torn.difference, None);
        inputs.push(torn.inputs);
    }
    assert!(inputs.is_sorted() && inputs[0] < inputs[39] && inputs[39] < whole.inputs);
}

/// The vehicle goes on without a log.
#[test]
fn log_that_cannot_be_written_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    let mut log = Log::open(&folder).unwrap();
    fs::remove_dir(&folder).unwrap();
    let now = Now { since_boot: Instant::MIN, utc: Utc::AtLeast { seconds: 0 } };
    log.swarm_timeout(now);
    assert!(log.failure().unwrap().to_string().contains("free space"));
    fs::create_dir(&folder).unwrap();
    log.swarm_timeout(now);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a log with a gap is no log");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A damaged log is cut short; whatever its bytes, it is never a panic, and never another story.
    #[test]
    fn damaged_log_is_cut_short(at in 0usize..100_000, flip in 1u8..=255, tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut vehicle = Vehicle::joins(dir.path());
        vehicle.night(1);
        let path = part(dir.path(), 0, 0);
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        bytes.extend(tail);
        fs::write(&path, &bytes).unwrap();
        let done = vehicle.rerun(dir.path(), 0);
        // The name's last two bytes are the version: damaged there, the log is of another one.
        if (6..8).contains(&at) {
            prop_assert!(matches!(done, Err(RerunError::Version { .. })), "{:?}", done);
        } else {
            let done = done.unwrap();
            prop_assert!(!done.whole && done.difference.is_none(), "{:?}", done);
        }
    }
}
