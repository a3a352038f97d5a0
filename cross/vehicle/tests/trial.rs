//! An adapter that a campaign put on trial, with a real model: watched beside the active one, kept, left, gone back from.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use shoal_hal::backend::synthetic::{Region, Road};
use shoal_hal::{Drive, Span};
use shoal_runtime::adapter::Adapter;
use shoal_swarm::campaign::{Mine, Watch};
use shoal_vehicle::agent::{About, Agent, Ask, Tell, Why};
use shoal_vehicle::config::{Config, EngineKind};
use shoal_wire::{ParticleId, RecordId};

const FRAMES: usize = 40;

fn agent(state: &Path) -> Agent {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
    config.state = state.to_owned();
    Agent::open(config).unwrap()
}

fn drive_again(agent: &mut Agent) {
    let form = agent.form();
    let road: Drive =
        Road { region: Region::ALL[0], seed: 7 }.render(form.shape, form.rate_hz, FRAMES);
    let all = [Span { first: 0, last: FRAMES - 1 }];
    let mut told = 0;
    agent
        .drive_again(&road, &all, |tell| told += u32::from(matches!(tell, Tell::Tried(_))))
        .unwrap();
    assert_eq!(told, 1);
    assert_eq!(agent.replay().spans, 0, "nothing of it is kept");
}

/// The start adapter, every value of whose last factors is this much more: with 0 it is the base model.
fn adapter(agent: &Agent, more: f32) -> Adapter {
    let start = Adapter::start(Arc::clone(agent.layout()), 3);
    let values = start.values().iter().map(|value| value + more);
    Adapter::from_values(Arc::clone(agent.layout()), values.collect()).unwrap()
}

/// How long anything takes decides nothing here.
fn ask(number: u32, moments_min: u32, apart_max: u16) -> Ask {
    Ask {
        number,
        particle: ParticleId::new([number as u8; 32]),
        approval: RecordId::new([9; 32]),
        watch: Watch { moments_min, worse_max: u16::MAX, apart_max, latency_max: u16::MAX },
    }
}

fn values(adapter: Option<Adapter>) -> Option<Vec<f32>> {
    adapter.map(|adapter| adapter.values().to_vec())
}

#[test]
fn what_is_watched_for_long_enough_is_kept_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent_1 = agent(folder.path());
    let candidate = adapter(&agent_1, 0.0);
    let tried = agent_1.put_on_trial(&candidate, ask(1, 50, 0)).unwrap();
    assert_eq!((tried.mine, tried.active), (Mine::Watching, None));
    drive_again(&mut agent_1);
    assert_eq!(agent_1.tried().unwrap().unwrap().mine, Mine::Watching, "36 moments are not 50");
    assert!(agent_1.active().unwrap().is_none());
    drop(agent_1);
    // What was seen before a start counts.
    let mut agent_1 = agent(folder.path());
    drive_again(&mut agent_1);
    let kept = agent_1.tried().unwrap().unwrap();
    assert_eq!((kept.mine, kept.active), (Mine::Kept, Some(kept.ask.particle)));
    assert_eq!(values(agent_1.active().unwrap()), values(Some(candidate)));
    assert!(
        agent_1.go_back(7, Why::Told).unwrap().is_none(),
        "another campaign's is none of its business"
    );
    let back = agent_1.go_back(1, Why::Told).unwrap().unwrap();
    assert_eq!((back.mine, back.why, back.active), (Mine::GoneBack, Some(Why::Told), None));
    drop(agent_1);
    assert!(agent(folder.path()).active().unwrap().is_none());
}

#[test]
fn what_is_found_wanting_leaves_what_was_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = agent(folder.path());
    let first = adapter(&agent, 0.0);
    agent.put_on_trial(&first, ask(1, 30, 0)).unwrap();
    drive_again(&mut agent);
    // It predicts otherwise, and may not.
    agent.put_on_trial(&adapter(&agent, 0.002), ask(2, 30, 0)).unwrap();
    drive_again(&mut agent);
    let tried = agent.tried().unwrap().unwrap();
    assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Apart)));
    assert_eq!(tried.active, Some(ParticleId::new([1; 32])));
    assert_eq!(values(agent.active().unwrap()), values(Some(first.clone())));
    // Its numbers are none any more: driving goes on, the trial does not.
    agent.put_on_trial(&adapter(&agent, 1e30), ask(3, 30, u16::MAX)).unwrap();
    drive_again(&mut agent);
    let tried = agent.tried().unwrap().unwrap();
    assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Failed)));
    assert_eq!(values(agent.active().unwrap()), values(Some(first)));
}

/// What lies on the disk at this moment.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The power goes after so many moments of a drive, three times; how the vehicle stands then.
fn after_three_cuts(moments: usize) -> Mine {
    let folder = tempfile::tempdir().unwrap();
    let mut state = folder.path().join("0");
    let mut first = agent(&state);
    let candidate = adapter(&first, 0.0);
    first.put_on_trial(&candidate, ask(1, 100_000, 0)).unwrap();
    drop(first);
    for life in 1..=3 {
        let mut agent = agent(&state);
        let form = agent.form();
        let road = Road { region: Region::ALL[0], seed: 7 };
        let road = road.render(form.shape, form.rate_hz, moments);
        let about = About { name: "a road", of: None, rate_hz: road.rate_hz, recorded_at_s: None };
        let left = folder.path().join(life.to_string());
        let mut seen = 0;
        let mut goes_on = |_since| {
            seen += 1;
            if seen == moments {
                copy(&state, &left);
            }
            true
        };
        agent.watch(&mut road.moments(), &about, &mut goes_on, |_tell| {}).unwrap();
        state = left;
    }
    agent(&state).tried().unwrap().unwrap().mine
}

#[test]
fn a_vehicle_that_always_loses_its_power_at_once_goes_back_and_one_that_drives_does_not() {
    assert_eq!(after_three_cuts(20), Mine::GoneBack);
    // Four moments have no past; a hundred were kept.
    assert_eq!(after_three_cuts(106), Mine::Watching);
}

/// A vehicle that kept an adapter, and then something befell the slot.
fn after(damage: impl Fn(&mut Vec<u8>)) -> (tempfile::TempDir, Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let mut first = agent(folder.path());
    let kept = adapter(&first, 0.0);
    first.put_on_trial(&kept, ask(1, 30, 0)).unwrap();
    drive_again(&mut first);
    assert_eq!(first.tried().unwrap().unwrap().mine, Mine::Kept);
    drop(first);
    let slot = folder.path().join("slots/a");
    let mut bytes = std::fs::read(&slot).unwrap();
    damage(&mut bytes);
    std::fs::write(&slot, bytes).unwrap();
    (folder, kept)
}

#[test]
fn an_adapter_in_use_that_cannot_be_used_is_left_for_the_base_model() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(100),
        |bytes| bytes.clear(),
        // Of another package; a value that was flipped.
        |bytes| bytes[3] ^= 1,
        |bytes| bytes[200] ^= 1,
    ];
    for damage in damages {
        let (folder, _kept) = after(damage);
        for _start in 0..2 {
            let agent = agent(folder.path());
            agent.try_model().unwrap();
            assert!(agent.active().unwrap().is_none());
            let tried = agent.tried().unwrap().unwrap();
            assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Failed)));
            assert_eq!(tried.active, None);
        }
        // The next one finds its place.
        let mut agent = agent(folder.path());
        let next = adapter(&agent, 0.0);
        agent.put_on_trial(&next, ask(2, 30, 0)).unwrap();
        drive_again(&mut agent);
        assert_eq!(values(agent.active().unwrap()), values(Some(next)));
    }
}

#[test]
fn an_adapter_whose_file_is_gone_is_left_for_what_there_is() {
    // The one in use.
    let (folder, _kept) = after(|_bytes| {});
    std::fs::remove_file(folder.path().join("slots/a")).unwrap();
    for _start in 0..2 {
        let tried = agent(folder.path()).tried().unwrap().unwrap();
        assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Failed)));
        assert_eq!(tried.active, None);
    }

    // The one on trial: the other stays in use.
    let (folder, kept) = after(|_bytes| {});
    let mut second = agent(folder.path());
    second.put_on_trial(&adapter(&second, 0.001), ask(2, 30, 0)).unwrap();
    drop(second);
    std::fs::remove_file(folder.path().join("slots/b")).unwrap();
    let mut second = agent(folder.path());
    drive_again(&mut second);
    let tried = second.tried().unwrap().unwrap();
    assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Failed)));
    assert_eq!(tried.active, Some(ParticleId::new([1; 32])));
    assert_eq!(values(second.active().unwrap()), values(Some(kept)));

    // The one to go back to.
    second.put_on_trial(&adapter(&second, 0.0), ask(3, 30, 0)).unwrap();
    drive_again(&mut second);
    assert_eq!(second.tried().unwrap().unwrap().mine, Mine::Kept);
    std::fs::remove_file(folder.path().join("slots/a")).unwrap();
    let tried = second.go_back(3, Why::Told).unwrap().unwrap();
    assert_eq!((tried.mine, tried.active), (Mine::GoneBack, None));
    drop(second);
    let again = agent(folder.path());
    assert_eq!(again.tried().unwrap().unwrap().active, None);
    assert!(again.active().unwrap().is_none());
}

#[test]
fn a_vehicle_whose_slots_lost_their_state_says_that_it_drives_on_the_base_model() {
    let lost = |folder: &Path, damaged: bool| {
        let state = folder.join("slots/state");
        if damaged {
            std::fs::write(state, b"\xff").unwrap();
        } else {
            std::fs::remove_file(state).unwrap();
        }
        for _start in 0..2 {
            let again = agent(folder);
            again.try_model().unwrap();
            assert!(again.active().unwrap().is_none() && again.on_trial().unwrap().is_none());
            let tried = again.tried().unwrap().unwrap();
            assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Failed)));
            assert_eq!(tried.active, None);
        }
    };
    for damaged in [true, false] {
        let (kept, _adapter) = after(|_bytes| {});
        lost(kept.path(), damaged);
        // In the middle of the next one's trial.
        let (watching, _adapter) = after(|_bytes| {});
        let mut second = agent(watching.path());
        second.put_on_trial(&adapter(&second, 0.001), ask(2, 30, 0)).unwrap();
        drop(second);
        lost(watching.path(), damaged);
    }
}

#[test]
fn an_adapter_that_was_kept_without_its_hash_is_read() {
    let (folder, kept) = after(|bytes| bytes.truncate(bytes.len() - 32));
    assert_eq!(values(agent(folder.path()).active().unwrap()), values(Some(kept)));
}
