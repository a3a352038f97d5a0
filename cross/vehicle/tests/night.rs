//! A night of a vehicle that carries a world model.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use shoal_hal::backend::synthetic::{Region, Road};
use shoal_hal::{Drive, Span};
use shoal_shadow::pack::{Pack, PackOptions, build};
use shoal_vehicle::agent::{Agent, Tell};
use shoal_vehicle::config::{Config, EngineKind};
use shoal_vehicle::exchange::look::Look;

/// The losses of a night's steps, each the mean over what is predicted in a row.
fn losses(folder: &Path, ahead: usize) -> Vec<f32> {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
    config.state = folder.join("state");
    (config.night.steps, config.night.slice, config.night.batch) = (2, 2, 4);
    (config.night.ahead, config.night.clips_min) = (ahead, 1);
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
    let mut losses = Vec::new();
    let tell = |tell: Tell<'_>| {
        if let Tell::Trained { loss, .. } = tell {
            losses.push(loss);
        }
    };
    agent.night(&pack.read(&pack.parts()).unwrap(), || Look::recorded().conditions, tell).unwrap();
    losses
}

#[test]
fn a_night_trains_on_as_many_frames_in_a_row_as_it_is_told() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [next, ahead] = [(0, 1), (1, 3)].map(|(of, ahead)| losses(folders[of].path(), ahead));
    assert_eq!((next.len(), ahead.len()), (2, 2));
    // What is predicted from predictions is further from the truth.
    assert!(ahead[0] > next[0], "{ahead:?} {next:?}");
}
