use std::fs;

use shoal_hal::Span;
use shoal_hal::backend::synthetic::{Region, Road};

use super::*;
use crate::config::Config;
use crate::exchange::bench::tests::benches_of;

/// When the roads were driven.
const DRIVEN_S: u64 = 1_800_000_000;
const STEPS: u32 = 3;

/// A worker whose vehicle remembers all of a road.
fn worker(folder: &Path, change: impl FnOnce(&mut Config)) -> (Worker, Flat) {
    let mut bench = benches_of(folder, &[("road", Region::ALL[0])], |config| {
        (config.night.steps, config.night.slice, config.night.batch) = (STEPS, 1, 2);
        config.replay.ordinary_share = 1.0;
        change(config);
    });
    let agent = bench.agent();
    let form = agent.form();
    let road = Road { region: Region::ALL[0], seed: 3 }.render(form.shape, form.rate_hz, 60);
    agent.drive(&road, &[Span { first: 0, last: 59 }], DRIVEN_S, |_tell| {}).unwrap();
    assert!(agent.replay().spans > 0);
    let zeros = vec![0.0; agent.layout().values()].into();
    (Worker::start(bench, folder).unwrap(), zeros)
}

fn tune(worker: &mut Worker, from: &Flat, passed_s: u64) -> (u32, Option<f32>) {
    worker.give(Job::Tune { from: Arc::clone(from), window: 4, seed: 5, passed_s });
    loop {
        match worker.next(Duration::from_secs(600)).unwrap().unwrap() {
            Done::Tuned { steps, loss, .. } => return (steps, loss),
            Done::Step { .. } => {}
            done @ (Done::Measured { .. }
            | Done::Coded { .. }
            | Done::Tried(_)
            | Done::Failed { .. }) => panic!("{done:?}"),
        }
    }
}

fn spans(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("state/replay")).unwrap().map(Result::unwrap);
    files.filter(|file| file.path().extension().is_some_and(|end| end == "span")).count()
}

#[test]
fn what_is_too_old_is_forgotten_before_a_vehicle_that_stays_parked_trains() {
    let folder = tempfile::tempdir().unwrap();
    let (mut worker, zeros) = worker(folder.path(), |_| {});
    let day_s = 24 * 60 * 60;
    assert_eq!(tune(&mut worker, &zeros, DRIVEN_S + 29 * day_s).0, STEPS);
    assert!(spans(folder.path()) > 0);
    assert_eq!(tune(&mut worker, &zeros, DRIVEN_S + 31 * day_s), (0, None));
    assert_eq!(spans(folder.path()), 0);
}

#[test]
fn with_fewer_clips_than_it_is_told_a_vehicle_does_not_train() {
    let folder = tempfile::tempdir().unwrap();
    let (mut worker, zeros) = worker(folder.path(), |config| config.night.clips_min = 10_000);
    assert_eq!(tune(&mut worker, &zeros, DRIVEN_S), (0, None));
    assert!(spans(folder.path()) > 0);
}

#[test]
fn a_checkpoint_that_cannot_be_used_or_kept_costs_no_training() {
    let folder = tempfile::tempdir().unwrap();
    let (mut worker, zeros) = worker(folder.path(), |_| {});
    let path = folder.path().join("tuning");
    let head = [&ValuesHash::of(&zeros).bytes()[..], &4_u32.to_le_bytes()].concat();
    fs::write(&path, [&head[..], b"SHTCxxxx"].concat()).unwrap();
    let (steps, loss) = tune(&mut worker, &zeros, DRIVEN_S);
    assert!(steps == STEPS && loss.is_some());
    assert!(fs::metadata(&path).unwrap().len() > 44, "the next one is kept");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(tune(&mut worker, &zeros, DRIVEN_S), (STEPS, loss));
}

#[test]
fn a_worker_that_is_dropped_begins_nothing_of_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (mut worker, zeros) = worker(folder.path(), |_| {});
    for job in 0..30 {
        let candidate = zeros.iter().map(|_| 1e-3 * job as f32).collect();
        let (on, asked) = (On::Part(0), Vec::new());
        worker.give(Job::Measure { job, candidate, beside: None, on, asked, awaited: true });
    }
    let (_nobody, none) = mpsc::channel();
    let done = std::mem::replace(&mut worker.done, none);
    drop(worker);
    assert!(done.into_iter().count() <= 1, "what it was at, and no more");
}
