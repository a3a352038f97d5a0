//! Adapters measured together are measured as each is alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use shoal_hal::{FrameShape, Motion};
use shoal_runtime::adapter::{Adapter, Layout};
use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{noise, ort_or_skip};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::clip::{Clips, Frames};
use shoal_shadow::fit::{
    graft_package, load_policy, load_policy_of_many, load_predictor, load_predictor_of_many,
};
use shoal_shadow::grid::Geometry;
use shoal_shadow::measure::driving::{DrivingMetric, driving, driving_together};
use shoal_shadow::measure::imitation::{ActedRun, DriveActs, judged};
use shoal_shadow::measure::{
    DriveClips, Horizon, Measurement, Predictor, copy_psnr_db, measure, measure_together,
};
use shoal_shadow::package::Package;

/// Frames of a pattern that moves to the left.
fn road(shape: FrameShape, frames: usize) -> Frames {
    let (width, pixels) = (shape.width as usize, shape.bytes());
    let pattern: Vec<u8> = noise(3, pixels).iter().map(|v| (v * 90.0 + 128.0) as u8).collect();
    let smooth =
        |at: usize| (0..24).map(|k| u32::from(pattern[(at + k) % pixels])).sum::<u32>() / 24;
    let bytes = (0..frames).flat_map(|frame| {
        (0..pixels)
            .map(move |at| (at / (3 * width), at % (3 * width), frame))
            .map(|(row, column, frame)| smooth(row * 3 * width + column + 6 * frame) as u8)
    });
    let motion = Motion { speed_m_s: Some(8.0), steering_rad: Some(0.05), ..Motion::default() };
    Frames::new(shape, 10.0, bytes.collect(), vec![Some(motion); frames]).unwrap()
}

/// Three adapters whose values are this far from 0.
fn adapters(layout: &Arc<Layout>, scale: f32) -> Vec<Adapter> {
    let adapter = |seed| {
        let values = noise(seed, layout.values()).iter().map(|v| v * scale).collect();
        Adapter::from_values(Arc::clone(layout), values).unwrap()
    };
    (0..3).map(adapter).collect()
}

#[test]
fn adapters_measured_together_are_measured_as_each_alone() {
    let Some(ort) = ort_or_skip() else { return };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/world");
    let package = Package::open(&dir).unwrap();
    let model = Model::read(&dir.join("model.onnx")).unwrap();
    let (description, one) = (package.description(), NonZeroUsize::MIN);
    let engine: &dyn Engine = &ort;
    let layout = graft_package(&model, description, 1, Profile::Cpu).unwrap().layout;
    let adapters = adapters(&layout, 0.03);
    let alone =
        |adapter, batch| load_predictor(&model, description, engine, one, adapter, batch).unwrap();
    let mut first = alone(None, 1);
    let form = first.form().clone();
    let road = road(form.shape, 16);
    let drives = [DriveClips {
        name: "pattern".into(),
        copy_psnr_db: copy_psnr_db(&road),
        clips: vec![Clips::of_all(&road, form.context, 1)],
    }];
    let plain = measure(&mut first, &drives, Horizon::Next).unwrap();
    let all: Vec<&Adapter> = adapters.iter().collect();
    // The last batch of five is not full.
    for batch in [1, 5] {
        let many = load_predictor_of_many(&model, description, engine, one, &all, batch);
        let together = measure_together(&mut many.unwrap(), &drives).unwrap();
        assert_eq!(together.len(), 3);
        for (adapter, together) in adapters.iter().zip(&together) {
            let single = measure(&mut alone(Some(adapter), batch), &drives, Horizon::Next).unwrap();
            let (one, all) = (&single.drives[0].next, &together.drives[0].next);
            assert_eq!((&one.copy, &one.block), (&all.copy, &all.block));
            for (one, all) in one.model.iter().zip(&all.model) {
                assert!((one - all).abs() < 1e-5 * one.abs(), "{one} and {all}");
            }
            let [one, all] = [&single, together].map(|measured| measured.skill().unwrap());
            assert!((one - all).abs() < 1e-5, "{one} and {all}: a term counts in steps of 1e-4");
            assert!((one - plain.skill().unwrap()).abs() > 1e-3, "the adapter changes nothing");
        }
    }
}

#[test]
fn a_policy_measured_with_several_adapters_is_measured_as_with_each_alone() {
    let Some(ort) = ort_or_skip() else { return };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/policy");
    let package = Package::open(&dir).unwrap();
    let model = Model::read(&dir.join("model.onnx")).unwrap();
    let (description, one) = (package.description(), NonZeroUsize::MIN);
    let engine: &dyn Engine = &ort;
    let layout = graft_package(&model, description, 1, Profile::Cpu).unwrap().layout;
    let adapters = adapters(&layout, 0.1);
    let alone = |adapter| load_policy(&model, description, engine, one, adapter).unwrap();
    let mut first = alone(None);
    let road = [road(first.form().shape, 30)];
    let geometry = Geometry::default();
    let (habits, weights) = judged(&road, &geometry);
    let drives = [DriveActs {
        name: "pattern".into(),
        copy_psnr_db: 0.0,
        geometry,
        habits: &habits,
        runs: vec![ActedRun { footage: &road[0], weights: &weights[0], leaders: &[] }],
    }];
    let all: Vec<&Adapter> = adapters.iter().collect();
    let mut many = load_policy_of_many(&model, description, engine, one, &all).unwrap();
    let together = driving_together(&mut many, &drives, &DrivingMetric::ALL).unwrap();
    let plain = driving(&mut first, &drives, &DrivingMetric::ALL).unwrap();
    assert_eq!(together.len(), 3);
    let own = |measured: &Measurement| measured.drives[0].next.clone();
    for (adapter, together) in adapters.iter().zip(&together) {
        let single = driving(&mut alone(Some(adapter)), &drives, &DrivingMetric::ALL).unwrap();
        for (one, all) in single.iter().map(own).zip(together.iter().map(own)) {
            assert_eq!((&one.copy, &one.block), (&all.copy, &all.block));
            for (one, all) in one.model.iter().zip(&all.model) {
                assert!((one - all).abs() < 1e-5, "{one} and {all}");
            }
        }
        let [one, none] = [&single[0], &plain[0]].map(|measured| own(measured).model);
        assert!(one.iter().zip(&none).any(|(one, none)| (one - none).abs() > 1e-3), "no change");
    }
}
