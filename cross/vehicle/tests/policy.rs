//! A vehicle that carries a policy: watched beside its driver, tuned on what the driver did, and beside a world model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_hal::backend::synthetic::Style;
use shoal_hal::{Conditions, Drive, Network, Span};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::onnx::Model;
use shoal_shadow::measure::imitation::{DriveActs, imitation};
use shoal_shadow::pack::{Acted, Footages, Pack, PackOptions, build_imitation};
use shoal_shadow::policymodel::{Architecture, build, description};
use shoal_swarm::campaign::{Mine, Watch};
use shoal_vehicle::agent::{Agent, AgentError, Ask, BesideError, Tell, Why};
use shoal_vehicle::config::{Config, EngineKind};
use shoal_vehicle::drives;
use shoal_vehicle::night::Event;
use shoal_wire::{ParticleId, RecordId};

const SMALL: Architecture =
    Architecture { width: 32, height: 16, channels: [4, 6, 8, 12], hidden: 24, joint: 0 };
/// As large as the default world model's frames.
const WIDE: Architecture = Architecture { width: 128, height: 64, ..SMALL };

/// An untrained policy's package.
fn policy(folder: &Path, architecture: &Architecture) -> PathBuf {
    let package = folder.join("policy");
    std::fs::create_dir_all(&package).unwrap();
    let model: Model = build(architecture, 1).unwrap();
    model.write(&package.join("model.onnx")).unwrap();
    let toml = description(architecture).to_toml();
    std::fs::write(package.join("model.toml"), toml).unwrap();
    package
}

fn world() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world")
}

fn config(folder: &Path, package: PathBuf, beside: Option<PathBuf>) -> Config {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    (config.model.package, config.model.beside) = (package, beside);
    config.state = folder.join("state");
    config.replay.seconds_around = 0.5;
    config.drives.driver = Some(Style::Attentive);
    config.drives.frames = 240;
    (config.drives.vehicle, config.drives.vehicles) = (1, 5);
    config.night.clips_min = 4;
    config
}

/// The vehicle's drive in the hands of an attentive driver.
fn drive(agent: &Agent) -> Drive {
    let config = agent.config();
    let own = drives::open(&config.drives, &config.geometry, agent.form(), 3).unwrap();
    own.drives.into_iter().next().unwrap()
}

fn watch(agent: &mut Agent, drive: &Drive) -> Vec<[Option<f32>; 3]> {
    let all = [Span { first: 0, last: drive.len() - 1 }];
    let mut seen = Vec::new();
    agent
        .drive(drive, &all, 1_000_000, |tell| {
            if let Tell::Moment { surprise, rank, disagreement, .. } = tell {
                seen.push([surprise, rank, disagreement]);
            }
        })
        .unwrap();
    seen
}

fn known(seen: &[[Option<f32>; 3]], which: usize) -> usize {
    seen.iter().filter(|moment| moment[which].is_some()).count()
}

/// What attentive drivers do on roads that the vehicle does not drive.
fn pack(folder: &Path, agent: &Agent) -> Pack {
    let driven = drives::attentive(4, 300, agent.form(), 1);
    let acted: Vec<Acted> = driven.iter().map(|one| Acted::of_driven(one).unwrap()).collect();
    let drives: Vec<Drive> = driven.into_iter().map(|one| one.drive).collect();
    let options = PackOptions {
        id: "drivers".into(),
        version: 1,
        licence: "CC0-1.0".into(),
        context: agent.form().context,
    };
    let path = folder.join("pack");
    build_imitation(&drives, &acted, &options, &path).unwrap();
    Pack::open(&path).unwrap()
}

fn parked() -> Conditions {
    Conditions {
        parked: true,
        external_power: true,
        battery_soc_percent: 80,
        temperature_c: 30,
        network: Network::None,
    }
}

/// How near to the pack's drivers the vehicle is with this adapter.
fn value(agent: &Agent, footages: &Footages, adapter: Option<&Adapter>) -> f64 {
    let acts: Vec<DriveActs<'_>> = footages.acts();
    imitation(&mut agent.policy(adapter).unwrap(), &acts).unwrap().skill().unwrap()
}

#[test]
fn a_policy_alone_is_held_against_its_driver_and_learns_from_him_at_night() {
    let folder = tempfile::tempdir().unwrap();
    let package = policy(folder.path(), &SMALL);
    let mut config = config(folder.path(), package, None);
    (config.night.steps, config.night.slice) = (60, 30);
    let mut agent = Agent::open(config).unwrap();
    agent.try_model().unwrap();
    let drive = drive(&agent);
    let seen = watch(&mut agent, &drive);
    assert_eq!(known(&seen, 0), 0, "nothing is foreseen");
    // It sees three frames, that of the moment among them.
    assert_eq!(known(&seen, 2), drive.len() - 2);
    assert!(agent.replay().spans > 0, "what it disagreed about is remembered");

    let footages = pack(folder.path(), &agent);
    let footages = footages.read(&footages.parts()).unwrap();
    let before = value(&agent, &footages, None);
    let mut staged = None;
    let tell = |tell: Tell<'_>| {
        if let Tell::Night(Event::Staged { value, active, .. }) = tell {
            staged = Some((f64::from(value), f64::from(active)));
        }
    };
    agent.night(&footages, parked, tell).unwrap();
    let (told, active) = staged.expect("an untrained policy becomes better");
    let adapter = agent.on_trial().unwrap().unwrap();
    let after = value(&agent, &footages, Some(&adapter));
    assert!((told - after).abs() < 1e-6 && (active - before).abs() < 1e-6);
    assert!(after > before + 0.1, "{after} from {before}");

    // On the road the two are held against the driver, and the better one stays.
    let mut judged = None;
    let all = [Span { first: 0, last: drive.len() - 1 }];
    agent
        .drive(&drive, &all, 2_000_000, |tell| {
            if let Tell::Trial { trial, active, confirmed } = tell {
                judged = Some((trial, active, confirmed));
            }
        })
        .unwrap();
    let (trial, active, confirmed) = judged.unwrap();
    assert!(confirmed && trial < active, "{trial} against {active}");
    assert!(agent.active().unwrap().is_some());
}

#[test]
fn an_adapter_that_drives_worse_than_the_active_one_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let package = policy(folder.path(), &SMALL);
    let mut config = config(folder.path(), package, None);
    (config.night.steps, config.night.slice) = (30, 30);
    let mut agent = Agent::open(config.clone()).unwrap();
    let drive = drive(&agent);
    watch(&mut agent, &drive);
    let pack = pack(folder.path(), &agent);
    agent.night(&pack.read(&pack.parts()).unwrap(), parked, |_tell| {}).unwrap();
    watch(&mut agent, &drive);
    let good = agent.active().unwrap().expect("confirmed on the road");

    // A campaign's, that steers the other way.
    let values = good.values().iter().map(|value| -3.0 * value).collect();
    let bad = Adapter::from_values(Arc::clone(agent.layout()), values).unwrap();
    let watch =
        Watch { moments_min: 50, worse_max: 500, apart_max: u16::MAX, latency_max: u16::MAX };
    let (particle, approval) = (ParticleId::new([1; 32]), RecordId::new([9; 32]));
    agent.put_on_trial(&bad, Ask { number: 1, particle, approval, watch }).unwrap();
    let all = [Span { first: 0, last: drive.len() - 1 }];
    agent.drive_again(&drive, &all, |_tell| {}).unwrap();
    let tried = agent.tried().unwrap().unwrap();
    assert_eq!((tried.mine, tried.why), (Mine::GoneBack, Some(Why::Worse)));
    assert_eq!(agent.active().unwrap().unwrap().values(), good.values());
}

#[test]
fn a_policy_beside_a_world_model_disagrees_while_the_world_model_is_surprised() {
    let folder = tempfile::tempdir().unwrap();
    let beside = policy(folder.path(), &WIDE);
    let mut agent = Agent::open(config(folder.path(), world(), Some(beside.clone()))).unwrap();
    let drive = drive(&agent);
    let seen = watch(&mut agent, &drive);
    assert_eq!(known(&seen, 0), drive.len() - 4, "a world model sees four frames before");
    assert_eq!(known(&seen, 2), drive.len() - 2);

    // The other way round: the policy is what learns, and the world model looks on.
    let other = tempfile::tempdir().unwrap();
    let mut config = config(other.path(), beside, Some(world()));
    (config.night.steps, config.night.slice) = (4, 4);
    let mut second = Agent::open(config).unwrap();
    let again = watch(&mut second, &drive);
    assert_eq!(seen, again, "both see the same, whichever of the two learns");
    assert_ne!(agent.layout().values(), second.layout().values());
    let pack = pack(other.path(), &second);
    let mut steps = 0;
    let count = |tell: Tell<'_>| steps += u32::from(matches!(tell, Tell::Trained { .. }));
    second.night(&pack.read(&pack.parts()).unwrap(), parked, count).unwrap();
    assert_eq!(steps, 4, "what the world model foresaw weighs the lessons");
}

#[test]
fn what_cannot_look_beside_another_package_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |package: PathBuf, beside: PathBuf| match Agent::open(config(
        folder.path(),
        package,
        Some(beside),
    ))
    .err()
    .unwrap()
    {
        AgentError::Beside(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(refused(world(), world()), BesideError::AddsNothing);
    let small = policy(folder.path(), &SMALL);
    assert_eq!(refused(small.clone(), small.clone()), BesideError::AddsNothing);
    let other = refused(world(), small);
    assert!(matches!(other, BesideError::OtherFrames { .. }), "{other}");
    assert!(other.to_string().contains("32×16") && other.to_string().contains("128×64"));
}
