//! A vehicle that carries a policy: watched beside its driver, tuned on what the driver did, and beside a world model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_hal::backend::synthetic::Style;
use shoal_hal::{Drive, Motion, Span};
use shoal_runtime::adapter::Adapter;
use shoal_runtime::onnx::{Builder, TensorType};
use shoal_shadow::grid::{ACCELERATION_BINS, Action, ActionGrid, BINS, SHA256};
use shoal_shadow::measure::imitation::{DriveActs, imitation};
use shoal_shadow::pack::{Acted, Footages, Pack, PackOptions, build_imitation};
use shoal_shadow::policymodel::{Architecture, build, description};
use shoal_swarm::campaign::{Mine, Watch};
use shoal_vehicle::agent::{Agent, AgentError, Ask, BesideError, Tell, Why};
use shoal_vehicle::config::{Config, EngineKind};
use shoal_vehicle::drives;
use shoal_vehicle::exchange::look::Look;
use shoal_vehicle::night::Event;
use shoal_wire::{ParticleId, RecordId};

/// The default policy, untrained.
fn policy(folder: &Path) -> PathBuf {
    let architecture = Architecture::default();
    let package = folder.join("policy");
    std::fs::create_dir_all(&package).unwrap();
    build(&architecture, 1).unwrap().write(&package.join("model.onnx")).unwrap();
    std::fs::write(package.join("model.toml"), description(&architecture).to_toml()).unwrap();
    package
}

/// One that goes straight on at its speed, unless an adapter sees something in its 8×4 frames.
fn straight(folder: &Path) -> PathBuf {
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 3, 4, 8]));
    let rows = b.i64s(&[1, -1]);
    let flat = b.op("Reshape", &[&x, &rows], &[]).unwrap();
    let weight = b.f32s(&[96, BINS], &vec![0.0; 96 * BINS]);
    let seen = b.op("MatMul", &[&flat, &weight], &[]).unwrap();
    let straight = ActionGrid::v1().bin(Action::default());
    let place = |bin: usize| (bin / ACCELERATION_BINS, bin % ACCELERATION_BINS);
    let ((column, row), away) = (place(straight), |a: usize, b: usize| a.abs_diff(b) as f32);
    let bias = (0..BINS).map(|bin| -0.4 * (away(place(bin).0, column) + away(place(bin).1, row)));
    let bias = b.f32s(&[BINS], &bias.collect::<Vec<f32>>());
    let logits = b.op("Add", &[&seen, &bias], &[]).unwrap();
    b.output("logits", &logits);
    let package = folder.join("straight");
    std::fs::create_dir_all(&package).unwrap();
    b.into_model().write(&package.join("model.onnx")).unwrap();
    let grid: String = SHA256.iter().map(|byte| format!("{byte:02x}")).collect();
    let toml = format!(
        "rate_hz = 10.0\n[frames]\ninput = 'x'\ncount = 1\nwidth = 8\nheight = 4\n\
         [action]\noutput = 'logits'\ngrid = '{grid}'\n[adapter]\nrank = 2\nalpha = 2.0\n"
    );
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
    // As tight curves as on the pack's road.
    config.drives.regions = vec!["tight_curves".into()];
    config.drives.frames = 400;
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
    pack_of(folder, agent, 400)
}

fn pack_of(folder: &Path, agent: &Agent, frames: usize) -> Pack {
    // The fourth road has tight curves: there is something to be seen.
    let driven = drives::attentive(4, frames, agent.form(), 0).split_off(3);
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

/// How near to the pack's drivers the vehicle is with this adapter.
fn value(agent: &Agent, footages: &Footages, adapter: Option<&Adapter>) -> f64 {
    let acts: Vec<DriveActs<'_>> = footages.acts();
    imitation(&mut agent.policy(adapter).unwrap(), &acts).unwrap().skill().unwrap()
}

#[test]
fn a_policy_alone_is_held_against_its_driver_and_learns_from_him_at_night() {
    let folder = tempfile::tempdir().unwrap();
    let package = straight(folder.path());
    let mut config = config(folder.path(), package, None);
    (config.night.steps, config.night.slice, config.night.learning_rate) = (80, 40, 1e-2);
    // Nothing is remembered by chance.
    config.replay.ordinary_share = 0.0;
    let mut agent = Agent::open(config).unwrap();
    agent.try_model().unwrap();
    let drive = drive(&agent);
    let seen = watch(&mut agent, &drive);
    assert_eq!(known(&seen, 0), 0, "nothing is foreseen");
    assert_eq!(known(&seen, 2), drive.len(), "it sees the moment's own frame and no other");
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
    agent.night(&footages, || Look::recorded().conditions, tell).unwrap();
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

/// The same drive of a vehicle whose bus tells less.
fn silent(drive: &Drive, of: impl Fn(Motion) -> Motion) -> Drive {
    let frames = drive.frames(0..drive.len()).to_vec();
    let motion = (0..drive.len()).map(|at| drive.motion(at).map(&of)).collect();
    Drive::new("silent".into(), [0; 32], drive.rate_hz, drive.shape, frames, motion)
}

/// What is told of a night on a drive: steps, and why training failed.
fn night_on(change: fn(Motion) -> Motion) -> (u32, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let package = straight(folder.path());
    let mut config = config(folder.path(), package, None);
    (config.night.steps, config.night.slice) = (4, 4);
    config.replay.ordinary_share = 1.0;
    let mut agent = Agent::open(config).unwrap();
    let drive = silent(&drive(&agent), change);
    watch(&mut agent, &drive);
    let pack = pack(folder.path(), &agent);
    let (mut steps, mut failed) = (0, Vec::new());
    let tell = |tell: Tell<'_>| {
        if let Tell::Trained { step, .. } = tell {
            steps = step;
        } else if let Tell::TrainingFailed(error) = tell {
            failed.push(error.to_string());
        }
    };
    let footages = pack.read(&pack.parts()).unwrap();
    agent.night(&footages, || Look::recorded().conditions, tell).unwrap();
    (steps, failed)
}

/// Speed and steering, as a bus may tell no more, and a tub never does.
#[test]
fn a_vehicle_that_knows_no_acceleration_learns_to_steer() {
    let without = |motion| Motion { acceleration_m_s2: None, ..motion };
    assert_eq!(night_on(without), (4, Vec::new()));
}

#[test]
fn a_night_that_has_nothing_to_learn_from_says_why() {
    let (steps, failed) =
        night_on(|motion| Motion { speed_m_s: motion.speed_m_s, ..Motion::default() });
    assert_eq!((steps, failed.len()), (0, 1), "{failed:?}");
    assert!(failed[0].contains("does not tell how the driver steered"), "{failed:?}");
}

#[test]
fn an_adapter_that_drives_worse_than_the_active_one_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let package = straight(folder.path());
    let mut config = config(folder.path(), package, None);
    (config.night.steps, config.night.slice, config.night.learning_rate) = (40, 40, 1e-2);
    let mut agent = Agent::open(config.clone()).unwrap();
    let drive = drive(&agent);
    watch(&mut agent, &drive);
    let pack = pack(folder.path(), &agent);
    agent
        .night(&pack.read(&pack.parts()).unwrap(), || Look::recorded().conditions, |_tell| {})
        .unwrap();
    watch(&mut agent, &drive);
    let good = agent.active().unwrap().expect("confirmed on the road");

    // A campaign's, that steers the other way.
    let mut values = good.values().to_vec();
    for second in agent.layout().factors().skip(1).step_by(2) {
        values[second.range.clone()].iter_mut().for_each(|value| *value *= -1.0);
    }
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
    let beside = policy(folder.path());
    let mut config_1 = config(folder.path(), world(), Some(beside.clone()));
    config_1.drives.frames = 120;
    let mut agent = Agent::open(config_1).unwrap();
    let drive = drive(&agent);
    let seen = watch(&mut agent, &drive);
    assert_eq!(known(&seen, 0), drive.len() - 4, "a world model sees four frames before");
    assert_eq!(known(&seen, 2), drive.len() - 2, "a policy three, that of the moment among them");

    // The other way round: the policy is what learns, and the world model looks on.
    let other = tempfile::tempdir().unwrap();
    let mut config = config(other.path(), beside, Some(world()));
    (config.night.steps, config.night.slice) = (4, 4);
    let mut second = Agent::open(config).unwrap();
    let again = watch(&mut second, &drive);
    assert_eq!(seen, again, "both see the same, whichever of the two learns");
    assert_ne!(agent.layout().values(), second.layout().values());
    let pack = pack_of(other.path(), &second, 60);
    let mut steps = 0;
    let count = |tell: Tell<'_>| steps += u32::from(matches!(tell, Tell::Trained { .. }));
    second
        .night(&pack.read(&pack.parts()).unwrap(), || Look::recorded().conditions, count)
        .unwrap();
    assert_eq!(steps, 4, "what the world model foresaw weighs the lessons");
}

#[test]
fn what_cannot_look_beside_another_package_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |package: PathBuf, beside: PathBuf| {
        let opened = Agent::open(config(folder.path(), package, Some(beside)));
        let Err(AgentError::Beside(error)) = opened else { panic!("opened") };
        error
    };
    assert_eq!(refused(world(), world()), BesideError::AddsNothing);
    let small = straight(folder.path());
    assert_eq!(refused(small.clone(), small.clone()), BesideError::AddsNothing);
    let other = refused(world(), small);
    assert!(matches!(other, BesideError::OtherFrames { .. }), "{other}");
    assert!(other.to_string().contains("8×4") && other.to_string().contains("128×64"));
}
