//! The replay store on a real folder: what it promises to who drives, and to who trains.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shoal_hal::{FrameShape, Motion};
use shoal_shadow::clip::Footage;
use shoal_shadow::replay::{
    Damage, FRAMES_MAX, NewSpan, OpenReplayError, Priority, PutError, ReadReplayError, Reason,
    Replay, ReplayOptions, Stored, StoredMoment,
};
use tempfile::TempDir;

const SHAPE: FrameShape = FrameShape { width: 16, height: 8 };
const DAY_S: u64 = 24 * 60 * 60;
const ROOMY: ReplayOptions = ReplayOptions { bytes_max: 1 << 30, days_max: 30 };

fn open(dir: &TempDir) -> Replay {
    Replay::open(dir.path(), &ROOMY).unwrap().0
}

fn frame(seed: u64) -> Vec<u8> {
    (0..SHAPE.bytes() as u64).map(|at| (seed * 97 + at * 13 + at * at) as u8).collect()
}

fn motion(seed: u64) -> Option<Motion> {
    let motion = Motion { speed_m_s: Some(seed as f32), ..Motion::default() };
    (!seed.is_multiple_of(3)).then_some(motion)
}

/// Stores a span of `count` frames, from frame `seed` on.
fn put_at(
    replay: &mut Replay,
    seed: u64,
    count: u64,
    share: f64,
    recorded_at_s: u64,
) -> Result<Stored, PutError> {
    let frames: Vec<Vec<u8>> = (seed..seed + count).map(frame).collect();
    let moments: Vec<StoredMoment<'_>> =
        frames.iter().zip(seed..).map(|(frame, seed)| (&frame[..], motion(seed))).collect();
    replay.put(&NewSpan {
        recorded_at_s,
        rate_hz: 10.0,
        shape: SHAPE,
        reason: Reason::Surprise,
        priority: Priority::from_share(share),
        moments: &moments,
    })
}

fn put(replay: &mut Replay, seed: u64, count: u64) -> u64 {
    put_at(replay, seed, count, 0.5, 1000).unwrap().id
}

fn path_of(dir: &TempDir, replay: &Replay, id: u64) -> PathBuf {
    let span = replay.spans().find(|span| span.id == id).unwrap();
    dir.path().join(span.file_name())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn span_reads_as_it_was_written_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let id = put(&mut replay, 5, 9);
    drop(replay);

    let (mut replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
    assert_eq!(report, Default::default());
    let read = replay.read(id, 2..6).unwrap();
    assert_eq!((read.len(), read.shape(), read.rate_hz()), (4, SHAPE, 10.0));
    for index in 0..4 {
        assert_eq!(read.frame(index), frame(7 + index as u64));
        assert_eq!(read.motion(index), motion(7 + index as u64));
    }
    let span = replay.spans().next().unwrap();
    assert_eq!((span.recorded_at_s, span.reason), (1000, Reason::Surprise));
    assert_eq!(span.priority, Priority::from_share(0.5));
}

#[test]
fn frames_that_a_span_does_not_have_are_an_error_and_not_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let id = put(&mut replay, 5, 9);
    for range in [9..10, 5..10, 3..3] {
        let error = replay.read(id, range).unwrap_err();
        assert!(matches!(error, ReadReplayError::Range { .. }), "{error}");
    }
    assert!(matches!(replay.read(id + 1, 0..1), Err(ReadReplayError::NoSpan { .. })));
    assert_eq!(replay.unreadable().count(), 0);
}

#[test]
fn what_cannot_be_a_span_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let good = frame(1);
    fn new<'a>(moments: &'a [StoredMoment<'a>]) -> NewSpan<'a> {
        let (reason, priority) = (Reason::Ordinary, Priority::from_share(0.5));
        NewSpan { recorded_at_s: 0, rate_hz: 10.0, shape: SHAPE, reason, priority, moments }
    }
    let error = replay.put(&new(&[])).unwrap_err();
    assert!(matches!(error, PutError::Frames { frames: 0 }));
    let many = vec![(&good[..], None); FRAMES_MAX as usize + 1];
    assert!(matches!(replay.put(&new(&many)).unwrap_err(), PutError::Frames { .. }));
    let error = replay.put(&new(&[(&good, None), (&good[1..], None)])).unwrap_err();
    assert_eq!(error.to_string(), "frame 1 has 383 bytes, expected 384");
    let nan = Motion { speed_m_s: Some(f32::NAN), ..Motion::default() };
    let error = replay.put(&new(&[(&good, Some(nan))])).unwrap_err();
    assert!(matches!(error, PutError::Motion { index: 0 }));
    let one = [(&good[..], None)];
    let error = replay.put(&NewSpan { rate_hz: f64::INFINITY, ..new(&one) }).unwrap_err();
    assert!(matches!(error, PutError::Rate { .. }));
    let shape = FrameShape { width: 0, height: 8 };
    let error = replay.put(&NewSpan { shape, ..new(&[(&[], None)]) }).unwrap_err();
    assert!(matches!(error, PutError::FrameBytes { .. }));
    assert_eq!(replay.filled().spans, 0);
}

#[test]
fn span_larger_than_the_store_is_refused_and_nothing_is_evicted_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReplayOptions { bytes_max: 4000, ..ROOMY };
    let (mut replay, _) = Replay::open(dir.path(), &options).unwrap();
    put(&mut replay, 0, 2);
    let error = put_at(&mut replay, 9, 10, 1.0, 0).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { bytes: 4234, bytes_max: 4000 }), "{error:?}");
    assert_eq!(replay.filled().spans, 1);
}

#[test]
fn filled_is_what_lies_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReplayOptions { bytes_max: 10_000, ..ROOMY };
    let (mut replay, _) = Replay::open(dir.path(), &options).unwrap();
    put(&mut replay, 0, 3);
    put(&mut replay, 3, 5);
    let files = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    let spans = files.filter(|file| file.path().extension().is_some_and(|end| end == "span"));
    let bytes: u64 = spans.map(|file| file.metadata().unwrap().len()).sum();
    let filled = replay.filled();
    assert_eq!((filled.spans, filled.frames, filled.bytes), (2, 8, bytes));
    assert_eq!(filled.share(), bytes as f64 / 10_000.0);
}

#[test]
fn smaller_bound_is_kept_from_the_next_open_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    for (seed, share) in [(0, 0.3), (10, 0.9), (20, 0.1), (30, 0.5)] {
        put_at(&mut replay, seed, 3, share, 1000).unwrap();
    }
    let bytes = replay.filled().bytes;
    drop(replay);
    let options = ReplayOptions { bytes_max: bytes / 2, ..ROOMY };
    let (replay, report) = Replay::open(dir.path(), &options).unwrap();
    assert_eq!(replay.spans().map(|span| span.id).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((report.evicted.spans, report.evicted.bytes), (2, bytes / 2));
}

#[test]
fn no_frame_lies_on_the_disk_in_the_clear_and_equal_spans_look_different() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let (first, second) = (put(&mut replay, 5, 3), put(&mut replay, 5, 3));
    let (first, second) = (path_of(&dir, &replay, first), path_of(&dir, &replay, second));
    drop(replay);
    let pixels = frame(6);
    for file in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| pixels.windows(16).any(|some| some == window)));
    }
    let (first, second) = (fs::read(first).unwrap(), fs::read(second).unwrap());
    let equal = first.iter().zip(&second).skip(44).filter(|(a, b)| a == b).count();
    assert!(equal < first.len() / 50, "{equal} of {} bytes", first.len()); // chance: 1 in 256
}

#[test]
fn key_is_a_file_that_only_its_owner_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("replay");
    drop(Replay::open(&folder, &ROOMY).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.join("key")), 0o600);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(fs::metadata(folder.join("key")).unwrap().len(), 32);

    fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Replay::open(&folder, &ROOMY).unwrap_err();
    assert!(matches!(error, OpenReplayError::KeyNotPrivate { .. }), "{error}");
}

#[test]
fn key_of_another_store_and_what_is_no_key_are_refused_with_nothing_removed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut replay = open(&dir);
    let id = put(&mut replay, 5, 3);
    drop(replay);
    drop(open(&other));
    let key = fs::read(dir.path().join("key")).unwrap();

    fs::copy(other.path().join("key"), dir.path().join("key")).unwrap();
    let error = Replay::open(dir.path(), &ROOMY).unwrap_err();
    assert!(matches!(error, OpenReplayError::KeyOther { .. }), "{error}");
    fs::write(dir.path().join("key"), b"short").unwrap();
    let error = Replay::open(dir.path(), &ROOMY).unwrap_err();
    assert!(matches!(error, OpenReplayError::KeyLength { bytes: 5, .. }), "{error}");

    fs::write(dir.path().join("key"), key).unwrap();
    assert_eq!(open(&dir).read(id, 0..3).unwrap().len(), 3);
}

#[test]
fn store_is_open_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let replay = open(&dir);
    let error = Replay::open(dir.path(), &ROOMY).unwrap_err();
    assert!(matches!(error, OpenReplayError::Held { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(replay);
    drop(open(&dir));
}

#[test]
fn flipped_bit_anywhere_in_a_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let id = put(&mut replay, 5, 3);
    let path = path_of(&dir, &replay, id);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        flip(&path, at);
        let error = replay.read(id, 0..3).unwrap_err();
        let frame = (at.max(64) - 64) / (17 + SHAPE.bytes() + 16);
        let want = match at {
            0..44 => Damage::Header,
            44..64 => Damage::Frame(0), // The nonce prefix: noticed by the first frame.
            _ => Damage::Frame(frame as u32),
        };
        assert!(
            matches!(&error, ReadReplayError::Damaged { damage, .. } if *damage == want),
            "byte {at}: {error}"
        );
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(replay.read(id, 0..3).unwrap().len(), 3);
}

#[test]
fn damaged_span_is_named_skipped_and_counted_and_training_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let (first, second) = (put(&mut replay, 5, 9), put(&mut replay, 50, 9));
    let path = path_of(&dir, &replay, first);
    for frame in 0..9 {
        flip(&path, 64 + frame * (17 + SHAPE.bytes() + 16) + 40);
    }
    assert_eq!(replay.clips(5), 10);
    assert!(replay.read(first, 0..5).is_err());
    assert_eq!(replay.read(second, 0..5).unwrap().frame(4), frame(50 + 4));
    let unreadable: Vec<_> = replay.unreadable().cloned().collect();
    assert_eq!(unreadable.len(), 1);
    assert_eq!((unreadable[0].id, &unreadable[0].path), (first, &path));
    assert!(unreadable[0].why.contains("is not what was written"), "{}", unreadable[0].why);
    assert_eq!(replay.filled().unreadable, 1);
    assert_eq!((replay.clips(5), replay.clips(9), replay.clips(10)), (5, 1, 0));
    assert_eq!(replay.verify(), 1);
}

#[test]
fn damaged_span_is_the_first_to_be_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReplayOptions { bytes_max: 3000, ..ROOMY };
    let (mut replay, _) = Replay::open(dir.path(), &options).unwrap();
    let low = put_at(&mut replay, 0, 3, 0.1, 0).unwrap().id;
    let high = put_at(&mut replay, 10, 3, 0.9, 0).unwrap().id;
    flip(&path_of(&dir, &replay, high), 100);
    assert_eq!(replay.verify(), 1);
    let evicted = put_at(&mut replay, 20, 3, 0.5, 0).unwrap().evicted;
    assert_eq!(evicted.iter().map(|span| span.id).collect::<Vec<_>>(), [high]);
    assert!(replay.spans().any(|span| span.id == low));
    assert_eq!(replay.filled().unreadable, 0);
}

#[test]
fn file_put_in_the_place_of_another_span_does_not_decrypt() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let (first, second) = (put(&mut replay, 5, 3), put(&mut replay, 50, 3));
    let (first_path, second_path) = (path_of(&dir, &replay, first), path_of(&dir, &replay, second));
    fs::copy(&second_path, &first_path).unwrap();
    let error = replay.read(first, 0..1).unwrap_err();
    assert!(matches!(error, ReadReplayError::Damaged { damage: Damage::Header, .. }), "{error}");

    // With the header of the span it stands for, and the frames of the other.
    let mut bytes = fs::read(&second_path).unwrap();
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    fs::write(&first_path, bytes).unwrap();
    let error = replay.read(first, 0..1).unwrap_err();
    assert!(matches!(error, ReadReplayError::Damaged { damage: Damage::Frame(0), .. }), "{error}");
}

#[test]
fn frames_that_changed_places_do_not_decrypt() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let id = put(&mut replay, 5, 3);
    let path = path_of(&dir, &replay, id);
    let mut bytes = fs::read(&path).unwrap();
    let frame_bytes = 17 + SHAPE.bytes() + 16;
    let (first, second) = bytes[64..64 + 2 * frame_bytes].split_at_mut(frame_bytes);
    first.swap_with_slice(second);
    fs::write(&path, bytes).unwrap();
    assert!(replay.read(id, 0..1).is_err());
    assert!(replay.read(id, 1..2).is_err());
    assert!(replay.read(id, 2..3).is_ok());
}

#[test]
fn missing_and_truncated_files_are_named_and_dropped_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let ids: Vec<u64> = (0..3).map(|index| put(&mut replay, index * 10, 3)).collect();
    let paths: Vec<PathBuf> = ids.iter().map(|id| path_of(&dir, &replay, *id)).collect();
    fs::remove_file(&paths[0]).unwrap();
    let error = replay.read(ids[0], 0..1).unwrap_err();
    assert!(matches!(error, ReadReplayError::Damaged { damage: Damage::Missing, .. }), "{error}");
    drop(replay);
    let cut = fs::OpenOptions::new().write(true).open(&paths[1]).unwrap();
    cut.set_len(1000).unwrap();

    let (replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
    assert_eq!(replay.spans().map(|span| span.id).collect::<Vec<_>>(), [ids[2]]);
    let dropped: Vec<&PathBuf> = report.dropped.iter().map(|dropped| &dropped.path).collect();
    assert_eq!(dropped, [&paths[0], &paths[1]]);
    assert!(!paths[1].exists());
}

#[test]
fn leftovers_of_a_cut_are_removed_and_files_of_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    put(&mut replay, 5, 3);
    drop(replay);
    fs::write(dir.path().join("tmp-span"), b"half").unwrap();
    fs::write(dir.path().join(format!("{}.span", "0".repeat(64))), b"nobody's").unwrap();
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    let (replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
    assert_eq!((report.partial, report.orphans, replay.filled().spans), (1, 1, 1));
    assert!(dir.path().join("notes.txt").exists());
}

#[test]
fn an_index_of_noise_is_made_again_of_the_spans_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    for (seed, share) in [(0, 0.3), (10, 0.9), (20, 0.1)] {
        put_at(&mut replay, seed, 3, share, 1000 + seed).unwrap();
    }
    let paths = [1, 2].map(|id| path_of(&dir, &replay, id));
    let spans: Vec<_> = replay.spans().copied().collect();
    drop(replay);
    let index = dir.path().join("index.redb");
    let noise: Vec<u8> = (0..20_000_u32).map(|at| ((at * at) >> 3) as u8).collect();
    for damage in [Some(noise), Some(Vec::new()), None] {
        damage.map_or_else(|| fs::remove_file(&index), |damage| fs::write(&index, damage)).unwrap();
        let (mut replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
        assert!(report.damaged.is_some());
        assert_eq!(replay.spans().copied().collect::<Vec<_>>(), spans);
        assert_eq!((replay.verify(), report.orphans), (3, 0));
    }
    // Of a file that is another's, and of one whose first frame is damaged.
    fs::write(&index, b"noise").unwrap();
    flip(&paths[0], 100);
    flip(&paths[1], 20);
    let (mut replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
    assert_eq!(replay.spans().map(|span| span.id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((report.orphans, replay.read(1, 1..3).unwrap().len()), (1, 2));
    assert_eq!(put(&mut replay, 5, 3), 2);
}

#[test]
fn an_index_of_noise_beside_another_key_is_refused_with_nothing_removed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut replay = open(&dir);
    let id = put(&mut replay, 5, 3);
    drop((replay, open(&other)));
    let key = fs::read(dir.path().join("key")).unwrap();
    let index = dir.path().join("index.redb");
    fs::copy(other.path().join("key"), dir.path().join("key")).unwrap();
    for lost in [false, true] {
        fs::write(&index, b"noise").unwrap();
        if lost {
            fs::remove_file(&index).unwrap();
        }
        let error = Replay::open(dir.path(), &ROOMY).unwrap_err();
        assert!(matches!(error, OpenReplayError::KeyOther { .. }), "{error}");
    }
    fs::write(dir.path().join("key"), key).unwrap();
    assert_eq!(open(&dir).read(id, 0..3).unwrap().len(), 3);
}

#[test]
fn span_stamped_by_a_clock_that_ran_ahead_goes_with_those_recorded_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    let now_s = 1_700_000_000;
    put_at(&mut replay, 0, 3, 0.9, now_s + 365 * DAY_S).unwrap();
    put_at(&mut replay, 5, 3, 0.1, now_s).unwrap();
    let young = put_at(&mut replay, 9, 3, 0.1, now_s + 20 * DAY_S).unwrap().id;
    assert_eq!(replay.retain(now_s + 31 * DAY_S).unwrap().spans, 2);
    assert_eq!(replay.spans().map(|span| span.id).collect::<Vec<_>>(), [young]);
}

#[test]
fn span_is_kept_for_the_days_allowed_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let options = ReplayOptions { days_max: 2, ..ROOMY };
    let (mut replay, _) = Replay::open(dir.path(), &options).unwrap();
    let now_s = 1_700_000_000;
    let old = put_at(&mut replay, 0, 3, 0.9, now_s - 2 * DAY_S - 2).unwrap().id;
    let young = put_at(&mut replay, 5, 3, 0.1, now_s - 2 * DAY_S).unwrap().id;
    let path = path_of(&dir, &replay, old);
    let removed = replay.retain(now_s).unwrap();
    assert_eq!(removed.spans, 1);
    assert!(!path.exists());
    assert_eq!(replay.spans().map(|span| span.id).collect::<Vec<_>>(), [young]);
    assert_eq!(replay.retain(now_s).unwrap().spans, 0);
    drop(replay);
    assert_eq!(open(&dir).filled().spans, 1);
}

#[test]
fn erasing_a_stretch_of_time_removes_every_span_that_touches_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    // Spans of 25 frames at 10 Hz: seconds 1000–1003, 1010–1013, 1020–1023.
    for second in [1000, 1010, 1020] {
        put_at(&mut replay, second, 25, 0.5, second).unwrap();
    }
    assert_eq!(replay.erase_between(1004, 1009).unwrap().spans, 0);
    assert_eq!(replay.erase_between(1013, 1020).unwrap().spans, 2);
    assert_eq!(replay.spans().map(|span| span.recorded_at_s).collect::<Vec<_>>(), [1000]);
    drop(replay);
    let (replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
    assert_eq!((replay.filled().spans, report.orphans), (1, 0));
}

#[test]
fn after_erasing_all_not_even_a_copy_of_the_files_can_be_read() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut replay = open(&dir);
    put(&mut replay, 5, 3);
    for file in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if file.file_name() != "key" {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    let old_key = fs::read(dir.path().join("key")).unwrap();
    assert_eq!(replay.erase_all().unwrap().spans, 1);
    assert_eq!(replay.filled().spans, 0);
    let new_key = fs::read(dir.path().join("key")).unwrap();
    assert_ne!(old_key, new_key);
    assert!(!dir.path().join("key.erased").exists());

    // The store goes on, with the key it has now.
    let id = put(&mut replay, 7, 3);
    assert_eq!(replay.read(id, 0..1).unwrap().frame(0), frame(7));

    fs::copy(dir.path().join("key"), copy.path().join("key")).unwrap();
    let error = Replay::open(copy.path(), &ROOMY).unwrap_err();
    assert!(matches!(error, OpenReplayError::KeyOther { .. }), "{error}");
}

#[test]
fn erase_that_was_cut_after_the_key_went_is_finished_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    put(&mut replay, 5, 3);
    drop(replay);
    fs::rename(dir.path().join("key"), dir.path().join("key.erased")).unwrap();
    let (replay, report) = Replay::open(dir.path(), &ROOMY).unwrap();
    assert!(report.erased);
    assert_eq!(replay.filled().spans, 0);
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index.redb", "key", "lock"]);
}

#[test]
fn number_of_a_span_is_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = open(&dir);
    assert_eq!((put(&mut replay, 5, 3), put(&mut replay, 6, 3)), (0, 1));
    replay.erase_between(0, u64::MAX).unwrap();
    drop(replay);
    assert_eq!(put(&mut open(&dir), 7, 3), 2);
}

/// Does not compile if the type can be serialised: then both implementations of `check` fit.
macro_rules! assert_cannot_be_sent {
    ($($type:ty),+ $(,)?) => {$({
        trait Fits<Which> {
            fn check() {}
        }
        struct AnyType;
        struct Serialisable;
        impl<T: ?Sized> Fits<AnyType> for T {}
        impl<T: ?Sized + serde::Serialize> Fits<Serialisable> for T {}
        <$type as Fits<_>>::check();
    })+};
}

/// Nothing raw leaves: no type with frames, motion or what was computed from one frame.
#[test]
fn no_type_of_one_vehicles_driving_can_be_serialised() {
    assert_cannot_be_sent!(
        shoal_hal::Drive,
        Motion,
        shoal_hal::Moment<'static>,
        shoal_shadow::clip::Frames,
        shoal_shadow::observe::Surprise,
        shoal_shadow::quantile::Quantiles,
        shoal_shadow::quantile::Calibrated,
        shoal_shadow::trigger::Capture,
        shoal_shadow::replay::Recent,
        Replay,
        NewSpan<'static>,
        shoal_shadow::replay::StoredSpan,
    );
}
