//! A night of a vehicle that carries a world model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use shoal_hal::backend::files::DirStore;
use shoal_hal::backend::synthetic::{Region, Road};
use shoal_hal::{Drive, Span, Store as _};
use shoal_shadow::pack::{Footages, Pack, PackOptions, build};
use shoal_vehicle::agent::{Agent, Tell};
use shoal_vehicle::config::{Config, EngineKind};
use shoal_vehicle::exchange::look::Look;
use shoal_vehicle::night::Record;

/// A vehicle that has driven a road, and the pack that it is measured on.
fn driven(folder: &Path, change: impl FnOnce(&mut Config)) -> (Agent, Footages) {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
    config.state = folder.join("state");
    (config.night.steps, config.night.slice, config.night.batch) = (2, 2, 4);
    config.night.clips_min = 1;
    change(&mut config);
    let mut agent = Agent::open(config).unwrap();
    let road = |seed: u64| {
        let form = agent.form();
        Road { region: Region::TightCurves, seed }.render(form.shape, form.rate_hz, 60)
    };
    let (own, others): (Drive, Drive) = (road(7), road(8));
    let context = agent.form().context;
    let (id, licence) = ("roads".into(), "CC0-1.0".into());
    let options = PackOptions { id, version: 1, licence, context };
    build(&[others], &options, &folder.join("pack")).unwrap();
    let pack = Pack::open(&folder.join("pack")).unwrap();
    let all = [Span { first: 0, last: own.len() - 1 }];
    agent.drive(&own, &all, 1_000_000, |_tell| {}).unwrap();
    let pack = pack.read(&pack.parts()).unwrap();
    (agent, pack)
}

/// The losses of a night's steps, each the mean over what is predicted in a row.
fn losses(folder: &Path, ahead: usize) -> Vec<f32> {
    let (mut agent, pack) = driven(folder, |config| config.night.ahead = ahead);
    let mut losses = Vec::new();
    let tell = |tell: Tell<'_>| {
        if let Tell::Trained { loss, .. } = tell {
            losses.push(loss);
        }
    };
    agent.night(&pack, || Look::recorded().conditions, tell).unwrap();
    losses
}

/// What a night tells of its core, steps and failures of training.
fn told(agent: &mut Agent, pack: &Footages) -> Vec<String> {
    let mut told = Vec::new();
    let tell = |tell: Tell<'_>| match tell {
        Tell::Night(event) => told.push(format!("{event:?}")),
        Tell::Trained { step, .. } => told.push(format!("step {step}")),
        Tell::TrainingFailed(error) => told.push(error.to_string()),
        Tell::Moment { .. }
        | Tell::NotStored(_)
        | Tell::Trial { .. }
        | Tell::Tried(_)
        | Tell::Measured { .. }
        | Tell::Unreadable(_) => {}
    };
    agent.night(pack, || Look::recorded().conditions, tell).unwrap();
    told
}

/// Leaves this record of a night that was cut.
fn leave(config: &Config, cut: &Record) {
    let mut records = DirStore::open(&config.state.join("records")).unwrap();
    records.put("night", &serde_json::to_vec(cut).unwrap()).unwrap();
}

#[test]
fn a_night_with_too_few_clips_in_replay_says_so_once_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut agent, pack) = driven(folder.path(), |config| config.night.clips_min = 10_000);
    assert_eq!(told(&mut agent, &pack), ["Waiting(Replay)"]);
}

#[test]
fn a_checkpoint_that_cannot_be_used_ends_its_night_and_the_next_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, pack) = driven(folder.path(), |_| {});
    let config = agent.config().clone();
    drop(agent);
    // The power went after the first of two steps.
    let cut = Record { steps: 1, measured: 1, active: Some(0.1), best: None, done: false };
    leave(&config, &cut);
    let checkpoint = config.state.join("checkpoint");
    std::fs::write(&checkpoint, b"SHTCxxxx").unwrap();
    let mut agent = Agent::open(config).unwrap();
    let first = told(&mut agent, &pack);
    assert!(first.iter().any(|told| told == "TrainingFailed"), "{first:?}");
    assert!(!checkpoint.exists());
    let next = told(&mut agent, &pack);
    assert!(next.iter().any(|told| told == "step 2"), "{next:?}");
}

#[test]
fn a_night_that_was_cut_and_lost_its_best_candidate_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, pack) = driven(folder.path(), |_| {});
    let config = agent.config().clone();
    drop(agent);
    let candidate = config.state.join("candidate-1");
    for damaged in [Some(&b"noise"[..]), None] {
        let (active, best) = (Some(0.1), Some((1, 0.2)));
        let cut = Record { steps: 1, measured: 1, active, best, done: false };
        leave(&config, &cut);
        if let Some(damaged) = damaged {
            std::fs::write(&candidate, damaged).unwrap();
        }
        let told = told(&mut Agent::open(config.clone()).unwrap(), &pack);
        assert!(told.iter().any(|told| told == "step 1"), "{told:?}");
        assert!(told.iter().any(|told| told == "step 2"), "{told:?}");
        assert!(!candidate.exists());
    }
}

#[test]
fn a_night_trains_on_as_many_frames_in_a_row_as_it_is_told() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [next, ahead] = [(0, 1), (1, 3)].map(|(of, ahead)| losses(folders[of].path(), ahead));
    assert_eq!((next.len(), ahead.len()), (2, 2));
    // What is predicted from predictions is further from the truth.
    assert!(ahead[0] > next[0], "{ahead:?} {next:?}");
}

#[test]
fn a_candidate_whose_staging_was_cut_before_it_was_noted_is_staged_again() {
    let folder = tempfile::tempdir().unwrap();
    // Anything is good enough.
    let (mut agent, pack) = driven(folder.path(), |config| config.night.margin = -10.0);
    let staged = |told: Vec<String>| told.last().unwrap().starts_with("Staged");
    assert!(staged(told(&mut agent, &pack)));
    let config = agent.config().clone();
    let trial = agent.on_trial().unwrap().unwrap();
    drop(agent);
    let (active, best) = (Some(0.4), Some((2, 0.5)));
    let cut = Record { steps: 2, measured: 2, active, best, done: false };
    leave(&config, &cut);
    std::fs::copy(config.state.join("slots/a"), config.state.join("candidate-2")).unwrap();
    let mut agent = Agent::open(config).unwrap();
    assert!(staged(told(&mut agent, &pack)));
    assert_eq!(agent.on_trial().unwrap().unwrap().values(), trial.values());
}
