//! The replay store on a disk that loses power at every possible moment, and on one that is full.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

mod sim_disk;

use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_hal::{FrameShape, Motion};
use shoal_shadow::clip::Footage;
use shoal_shadow::replay::{
    Disk, NewSpan, Priority, PutError, Reason, Replay, ReplayOptions, StoredMoment,
};

use sim_disk::SimDisk;

const SHAPE: FrameShape = FrameShape { width: 13, height: 7 };

/// Three spans of [`span`]'s size fit, a fourth pushes one out.
const OPTIONS: ReplayOptions = ReplayOptions { bytes_max: 4000, days_max: 30 };

/// The frames of span `id`: no two frames of any two spans are equal.
fn frames(id: u64) -> Vec<Vec<u8>> {
    let frame = |index: u64| {
        (0..SHAPE.bytes() as u64).map(|at| (id * 89 + index * 31 + at * 7) as u8).collect()
    };
    (0..4).map(frame).collect()
}

fn motion(id: u64) -> Option<Motion> {
    Some(Motion { speed_m_s: Some(id as f32), ..Motion::default() })
}

fn priority(id: u64) -> Priority {
    Priority::from_share([0.7, 0.2, 0.9, 0.5, 0.3, 0.8][(id % 6) as usize])
}

fn put(replay: &mut Replay, id: u64) -> Result<Vec<u64>, PutError> {
    put_some(replay, id, 4, priority(id))
}

/// Stores the first `count` frames of span `id`; gives the spans that were evicted.
fn put_some(
    replay: &mut Replay,
    id: u64,
    count: usize,
    priority: Priority,
) -> Result<Vec<u64>, PutError> {
    let frames = frames(id);
    let moments: Vec<StoredMoment<'_>> =
        frames.iter().take(count).map(|frame| (&frame[..], motion(id))).collect();
    let new = NewSpan {
        recorded_at_s: 1000 + id,
        rate_hz: 10.0,
        shape: SHAPE,
        reason: Reason::Surprise,
        priority,
        moments: &moments,
    };
    let stored = replay.put(&new)?;
    assert_eq!(stored.id, id);
    Ok(stored.evicted.iter().map(|span| span.id).collect())
}

/// What every span that is there must hold, and that nothing else is on the disk.
fn assert_intact(replay: &mut Replay, disk: &SimDisk, context: &str) {
    let spans: BTreeMap<u64, String> =
        replay.spans().map(|span| (span.id, span.file_name())).collect();
    for id in spans.keys() {
        let read = replay.read(*id, 0..4).unwrap_or_else(|error| panic!("{context}: {error}"));
        for (index, frame) in frames(*id).iter().enumerate() {
            assert_eq!(read.frame(index), frame, "{context}: span {id}, frame {index}");
            assert_eq!(read.motion(index), motion(*id), "{context}: span {id}");
        }
    }
    let mut names: Vec<String> = spans.into_values().collect();
    names.extend(["index.redb".into(), "key".into()]);
    names.sort();
    assert_eq!(disk.names(), names, "{context}: nothing half there");
}

/// Which spans are in the store after each step of [`work`].
type Steps = Vec<Vec<u64>>;

/// Stores spans, removes some, erases all, stores again: until it is done or the power goes.
fn work(disk: &SimDisk) -> Steps {
    let mut steps = vec![vec![]];
    let Ok((mut replay, _)) = Replay::on(Box::new(disk.clone()), &OPTIONS) else { return steps };
    let ids = |replay: &Replay| replay.spans().map(|span| span.id).collect::<Vec<u64>>();
    for id in 0..6 {
        let Ok(_) = put(&mut replay, id) else { return steps };
        steps.push(ids(&replay));
    }
    let Ok(_) = replay.erase_between(1002, 1002) else { return steps };
    steps.push(ids(&replay));
    let Ok(_) = put(&mut replay, 6) else { return steps };
    steps.push(ids(&replay));
    let Ok(_) = replay.erase_all() else { return steps };
    steps.push(ids(&replay));
    steps
}

/// Every acknowledged step is there after a cut, and at most the one under way beside it.
#[test]
fn no_cut_of_power_loses_a_span_or_leaves_half_of_one() {
    let whole = SimDisk::default();
    let steps = work(&whole);
    assert_eq!(steps.len(), 10, "{steps:?}");
    let (mut under_way, mut partial, mut orphans) = (0, 0, 0);
    for cut_at in 0..whole.operations() {
        for seed in 0..seeds() {
            let context = format!("cut before operation {cut_at}, seed {seed}");
            let disk = SimDisk::default();
            disk.cut_at(cut_at);
            let done = work(&disk).len() - 1;
            assert!(disk.is_cut(), "{context}");

            let disk = disk.after_cut(seed);
            let (mut replay, report) = Replay::on(Box::new(disk.clone()), &OPTIONS)
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            let ids: Vec<u64> = replay.spans().map(|span| span.id).collect();
            let next = steps.get(done + 1).unwrap_or(&steps[done]);
            assert!(ids == steps[done] || ids == *next, "{context}: {ids:?}, {:?}", steps[done]);
            assert_eq!(report.dropped, [], "{context}");
            assert_intact(&mut replay, &disk, &context);

            under_way += u64::from(ids != steps[done]);
            partial += report.partial;
            orphans += report.orphans;
            let next = replay.spans().map(|span| span.id + 1).max().unwrap_or(0);
            if ids.len() == done.min(3) && done < 6 {
                put(&mut replay, next).unwrap_or_else(|error| panic!("{context}: {error:?}"));
                assert_intact(&mut replay, &disk, &context);
            }
        }
    }
    // Cuts hit every stage: before and after the commit, within a file, between file and commit.
    assert!(under_way > 0 && partial > 0 && orphans > 0, "{under_way} {partial} {orphans}");
}

fn seeds() -> u64 {
    std::env::var("SHOAL_REPLAY_CUT_SEEDS").map_or(3, |seeds| seeds.parse().unwrap())
}

/// Room for any number of bytes less than a span needs: an error, and all is as it was.
#[test]
fn full_disk_is_an_error_that_leaves_the_store_as_it_was() {
    let disk = SimDisk::default();
    let options = ReplayOptions { bytes_max: 1 << 30, ..OPTIONS };
    let (mut replay, _) = Replay::on(Box::new(disk.clone()), &options).unwrap();
    (0..3).for_each(|id| drop(put(&mut replay, id).unwrap()));
    let mut id = 3;
    for room in (0..2000).step_by(13) {
        let (used, full) = (disk.used(), disk.full());
        disk.allow(Some(used + room));
        match put(&mut replay, id) {
            Ok(_) => id += 1,
            Err(error) => {
                assert!(disk.full() > full, "room {room}: {error:?}");
                assert!(error.to_string().contains("free space"), "room {room}: {error}");
            }
        }
        assert_eq!(replay.filled().spans as u64, id, "room {room}");
        assert_intact(&mut replay, &disk, &format!("room {room}"));
    }
    assert!(id > 3, "with room for a span it is stored");
    assert!(disk.full() > 50);
    disk.allow(None);
    put(&mut replay, id).unwrap();
    assert_intact(&mut replay, &disk, "when space returned");
}

/// The index grows too: with no room for its next page the commit fails, not the store.
#[test]
fn full_disk_while_the_index_grows_is_an_error_that_leaves_the_store_as_it_was() {
    let disk = SimDisk::default();
    let options = ReplayOptions { bytes_max: 1 << 30, ..OPTIONS };
    let (mut replay, _) = Replay::on(Box::new(disk.clone()), &options).unwrap();
    let bytes = put(&mut replay, 0).map(|_| replay.filled().bytes).unwrap() as usize;
    for id in 1..10_000 {
        disk.allow(Some(disk.used() + bytes)); // Room for the file and not a byte more.
        match put(&mut replay, id) {
            Ok(_) => {}
            Err(PutError::Index { .. } | PutError::Open(_)) => {
                assert_eq!(replay.filled().spans as u64, id);
                assert_intact(&mut replay, &disk, "with a full disk");
                disk.allow(None);
                put(&mut replay, id).unwrap();
                assert_intact(&mut replay, &disk, "when space returned");
                return;
            }
            Err(error) => panic!("span {id}: {error:?}"),
        }
    }
    panic!("the index never grew");
}

/// An index that was damaged is put right, or made again of the spans' files; never a panic, and what
/// is given back is what was written.
#[test]
fn damaged_index_is_put_right_or_made_again() {
    let disk = SimDisk::default();
    let (mut replay, _) = Replay::on(Box::new(disk.clone()), &OPTIONS).unwrap();
    (0..3).for_each(|id| drop(put(&mut replay, id).unwrap()));
    drop(replay);
    disk.sync().unwrap();
    let len = disk.open("index.redb").and_then(|file| file.len()).unwrap();
    let mut again = 0;
    for at in (0..512).chain((512..len as usize).step_by(61)) {
        let disk = disk.flipped("index.redb", at);
        let (mut replay, report) = Replay::on(Box::new(disk.clone()), &OPTIONS)
            .unwrap_or_else(|error| panic!("byte {at}: {error:?}"));
        assert_intact(&mut replay, &disk, &format!("byte {at}"));
        let next = replay.spans().map(|span| span.id + 1).max().unwrap_or(0);
        assert!(next >= 2, "byte {at}: at most the last commit is lost");
        if report.damaged.is_some() {
            assert_eq!((next, report.orphans), (3, 0), "byte {at}: no span is lost");
            again += 1;
        }
    }
    assert!(again > 0);
}

proptest! {
    /// Against the slow, obvious form: sort all, drop the lowest until the rest fits.
    #[test]
    fn store_keeps_the_highest_priorities_that_fit_and_always_the_newest(
        spans in prop::collection::vec((1usize..5, 0u32..8), 1..20),
    ) {
        let disk = SimDisk::default();
        let (mut replay, _) = Replay::on(Box::new(disk.clone()), &OPTIONS).unwrap();
        let bytes = |count: usize| 64 + count * (17 + SHAPE.bytes() + 16);
        let mut model: Vec<(u32, u64, usize)> = Vec::new();
        for (id, (count, share)) in (0_u64..).zip(spans) {
            put_some(&mut replay, id, count, Priority::from_share(f64::from(share) / 8.0)).unwrap();
            model.sort_unstable();
            let mut total: usize = model.iter().map(|(_, _, count)| bytes(*count)).sum();
            while total + bytes(count) > OPTIONS.bytes_max as usize {
                total -= bytes(model.remove(0).2);
            }
            model.push((share, id, count));
            let mut ids: Vec<u64> = model.iter().map(|(_, id, _)| *id).collect();
            ids.sort_unstable();
            prop_assert_eq!(replay.spans().map(|span| span.id).collect::<Vec<_>>(), ids);
            prop_assert!(replay.filled().bytes <= OPTIONS.bytes_max);
        }
    }
}
