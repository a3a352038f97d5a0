//! A drawn from a shared seed, B trained alone, and ranks in one another.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::Value;
use shoal_runtime::adapter::{Adapter, Factor, Layout, NestedError, OnnxAdapter, Site};
use shoal_runtime::engine::testing::{noise, ort_or_skip, small_model};
use shoal_runtime::engine::{Engine, LoadOptions, Session};
use shoal_runtime::fit::{FitOptions, Fitted, Subject, fit};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Grafted, Profile, SiteNode, graft};
use shoal_runtime::onnx::Folded;

const BASE: [u8; 32] = [5; 32];

fn grafted(rank: usize, alpha: f32) -> Grafted {
    let options = GraftOptions { rank, alpha, ..GraftOptions::default() };
    graft(&small_model().unwrap(), &options).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Trains B by forty steps; `seed` draws the inputs.
fn trained(grafted: &Grafted, start: &Adapter, seed: u64) -> Option<Fitted> {
    let ort = ort_or_skip()?;
    let options = FitOptions { steps: 40, learning_rate: 3e-3, seed, ..FitOptions::default() };
    let subject = Subject::Adapter { grafted, start, frozen_a: true };
    Some(fit(subject, &ort, &options, None, |_| {}).unwrap())
}

/// So many sites whose A are `[rank, columns]`.
fn sites(count: usize, rank: usize, columns: usize) -> Layout {
    let each = (rank * columns, rank);
    let site = |number: usize| {
        let from = number * (each.0 + each.1);
        let factor = |dims: &[usize], start: usize| {
            let range = start..start + dims.iter().product::<usize>();
            Factor { input: String::new(), dims: dims.to_vec(), range }
        };
        Site {
            name: format!("s{number}"),
            module: None,
            weight: format!("s{number}"),
            nodes: vec![SiteNode { index: number, input: 1, output: String::new() }],
            operator: "MatMul".into(),
            base_sha256: [0; 32],
            a: factor(&[rank, columns], from),
            b: factor(&[1, rank], from + each.0),
            alpha: 16.0,
        }
    };
    Layout { sites: (0..count).map(site).collect(), rank, alpha: 16.0 }
}

/// Written by xtask/oracle/frozen_a.py, which has the formula, SHA-256 and ChaCha8 without a crate of ours.
#[test]
fn rows_are_those_of_the_formula() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frozen_a.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let base = recorded["base_model"].as_str().unwrap();
    let base: Vec<u8> = (0..32)
        .map(|byte| u8::from_str_radix(&base[2 * byte..2 * byte + 2], 16).unwrap())
        .collect();
    let base: [u8; 32] = base.try_into().unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap();
        let rows = case["rows"].as_array().unwrap();
        let want: Vec<u32> = rows
            .iter()
            .flat_map(|row| row.as_array().unwrap())
            .map(|word| u32::from_str_radix(word.as_str().unwrap(), 16).unwrap())
            .collect();
        let (site, columns) = (number("site") as usize, number("columns") as usize);
        let layout = sites(site + 1, rows.len(), columns);
        let drawn = Adapter::start_frozen(layout, &base, number("seed"));
        let site = &drawn.layout().sites[site];
        assert_eq!(bits(drawn.factor(&site.a)), want, "{case}");
        assert!(drawn.factor(&site.b).iter().all(|value| *value == 0.0));
    }
}

#[test]
fn a_smaller_rank_is_a_prefix_of_a_larger() {
    let of = |rank| Adapter::start_frozen(grafted(rank, 16.0).layout, &BASE, 9);
    let wide = of(8);
    for rank in [1, 3, 4, 8] {
        let small = of(rank);
        small.is_within(&wide).unwrap();
        for (a, b) in small.layout().sites.iter().zip(&wide.layout().sites) {
            let values = small.factor(&a.a);
            assert_eq!(bits(values), bits(&wide.factor(&b.a)[..values.len()]), "{}", a.name);
        }
        // The values that the simulator lets a vehicle of this rank train are those of its adapter.
        let has = wide.layout().of_rank(rank);
        let kept = wide.values().iter().zip(&has).filter(|(_, has)| **has);
        assert_eq!(kept.map(|(value, _)| *value).collect::<Vec<f32>>(), small.values());
    }
}

#[test]
fn another_seed_another_model_and_other_sites_are_refused_by_name() {
    let start =
        |rank, base: &[u8; 32], seed| Adapter::start_frozen(grafted(rank, 16.0).layout, base, seed);
    let wide = start(8, &BASE, 9);
    for other in [start(4, &BASE, 10), start(4, &[6; 32], 9)] {
        let why = other.is_within(&wide).unwrap_err();
        assert!(matches!(&why, NestedError::OtherA { site, row: 0 } if site == "conv"), "{why}");
        assert!(other.widened(&wide).is_err());
    }
    let mut moved = start(4, &BASE, 9);
    let place = moved.layout().sites[2].a.range.start + 20;
    moved.values_mut()[place] += 1.0;
    let why = moved.is_within(&wide).unwrap_err();
    assert!(matches!(&why, NestedError::OtherA { site, row: 1 } if site == "mix"), "{why}");
    let why = wide.is_within(&start(4, &BASE, 9)).unwrap_err();
    assert!(matches!(why, NestedError::Shape { .. }), "{why}");
    let few = GraftOptions { targets: vec!["conv".into()], ..GraftOptions::default() };
    let few = graft(&small_model().unwrap(), &few).unwrap().layout;
    let why = Adapter::start_frozen(few, &BASE, 9).is_within(&wide).unwrap_err();
    assert!(matches!(&why, NestedError::Sites { .. }) && why.to_string().contains("mix"), "{why}");
}

#[test]
fn b_alone_is_trained_and_a_stays_to_the_bit() {
    let grafted = grafted(4, 16.0);
    let start = Adapter::start_frozen(grafted.layout.clone(), &BASE, 9);
    let Some(fitted) = trained(&grafted, &start, 1) else { return };
    assert!(fitted.after < 0.9 * fitted.before, "{} to {}", fitted.before, fitted.after);
    for site in &start.layout().sites {
        let (before, after) =
            (start.factor(&site.a), fitted.trained.adapter().unwrap().factor(&site.a));
        assert_eq!(bits(before), bits(after), "{}", site.name);
        assert!(
            fitted.trained.adapter().unwrap().factor(&site.b).iter().any(|value| *value != 0.0)
        );
    }
}

#[test]
fn adapters_of_two_ranks_add_up_by_their_padded_b() {
    let (narrow, wide) = (grafted(4, 8.0), grafted(8, 16.0));
    let start = |of: &Grafted| Adapter::start_frozen(of.layout.clone(), &BASE, 9);
    let Some(small) = trained(&narrow, &start(&narrow), 1) else { return };
    let large = trained(&wide, &start(&wide), 2).unwrap().trained.adapter().unwrap().clone();
    let small = small.trained.adapter().unwrap().clone();
    let padded = small.widened(&large).unwrap();
    let mut sum = large.clone();
    for site in &large.layout().sites {
        let b = &padded.values()[site.b.range.clone()];
        let both = sum.values_mut()[site.b.range.clone()].iter_mut();
        both.zip(b).for_each(|(sum, b)| *sum += b);
    }
    for (site, narrow) in large.layout().sites.iter().zip(&small.layout().sites) {
        let (of_small, of_large) = (small.delta(narrow), large.delta(site));
        // α/r differ by nothing here: padding alone changes no bit.
        assert_eq!(bits(&padded.delta(site)), bits(&of_small), "{}", site.name);
        let scale = of_large.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(scale > 0.0 && of_small.iter().any(|value| *value != 0.0));
        for ((got, a), b) in sum.delta(site).iter().zip(&of_small).zip(&of_large) {
            assert!((got - (a + b)).abs() <= 1e-6 * scale, "{}: {got}, {a} + {b}", site.name);
        }
    }
}

/// α/r of 4/4 in a layout of 16/8: B is halved.
#[test]
fn a_widened_adapter_keeps_its_delta_where_the_scale_differs() {
    let mut small = Adapter::start_frozen(grafted(4, 4.0).layout, &BASE, 9);
    let values = noise(3, small.values().len());
    for site in small.layout().clone().sites.iter() {
        small.values_mut()[site.b.range.clone()].copy_from_slice(&values[site.b.range.clone()]);
    }
    let wide = Adapter::start_frozen(grafted(8, 16.0).layout, &BASE, 9);
    let widened = small.widened(&wide).unwrap();
    for (site, narrow) in wide.layout().sites.iter().zip(&small.layout().sites) {
        assert_eq!(widened.delta(site), small.delta(narrow), "{}", site.name);
        assert_eq!(widened.factor(&site.b)[0], 0.5 * small.factor(&narrow.b)[0]);
    }
}

#[test]
fn files_of_every_kind_bring_back_the_same_a() {
    let grafted = grafted(4, 16.0);
    let start = Adapter::start_frozen(grafted.layout.clone(), &BASE, 9);
    let folder = tempfile::tempdir().unwrap();
    let (peft, file) = (folder.path().join("peft"), folder.path().join("a.onnx_adapter"));
    start.write(&peft).unwrap();
    start.write(&file).unwrap();
    let read = [
        Adapter::read_peft(&peft, grafted.layout.clone()).unwrap(),
        OnnxAdapter::read(&file).unwrap().adapter(grafted.layout.clone()).unwrap(),
        Adapter::from_values(grafted.layout.clone(), start.values().to_vec()).unwrap(),
    ];
    for read in read {
        assert_eq!(bits(read.values()), bits(start.values()));
        read.is_within(&start).unwrap();
    }
}

/// Writes an adapter, and drawn values into every other input of a session.
fn write_drawn(session: &mut dyn Session, adapter: &Adapter) {
    let ports: Vec<(String, usize)> =
        session.inputs().iter().map(|port| (port.name.clone(), port.ty.values())).collect();
    for (index, (name, count)) in ports.into_iter().enumerate() {
        let factor = adapter.layout().factors().find(|factor| factor.input == name);
        match factor {
            Some(factor) => session.write_f32(index, adapter.factor(factor)).unwrap(),
            None => session.write_f32(index, &noise(name.len(), count)).unwrap(),
        }
    }
}

/// Loss and gradients of B.
fn gradients(folded: &Folded, wrt: &[String], adapter: &Adapter) -> Option<Vec<Vec<f32>>> {
    let ort = ort_or_skip()?;
    let (losses, wrt) = (Vec::new(), wrt.to_vec());
    let options = DifferentiateOptions { losses, wrt, strict: false, profile: Profile::Cpu };
    let training = differentiate(folded, &options).unwrap().folded;
    let load = LoadOptions::training(NonZeroUsize::MIN);
    let mut session = ort.load(&training.model, &load).unwrap();
    write_drawn(&mut *session, adapter);
    session.run().unwrap();
    let outputs = 0..session.outputs().len();
    let found: Vec<(String, Vec<f32>)> = outputs
        .map(|at| (session.outputs()[at].name.clone(), session.output_f32(at).unwrap().to_vec()))
        .filter(|(name, _)| name.starts_with("grad.") || name == "loss")
        .collect();
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.iter().all(|name| *name == "loss" || name.ends_with(".B")), "{names:?}");
    Some(found.into_iter().map(|(_, values)| values).collect())
}

#[test]
fn a_graph_with_a_stored_takes_b_alone_and_has_the_same_gradients() {
    let grafted = grafted(4, 16.0);
    let mut adapter = Adapter::start_frozen(grafted.layout.clone(), &BASE, 9);
    for site in grafted.layout.sites.iter() {
        let b = noise(7, site.b.range.len());
        adapter.values_mut()[site.b.range.clone()].copy_from_slice(&b);
    }
    let stored = grafted.with_stored_a(&adapter);
    let inputs: Vec<&str> = stored.model.graph().input.iter().map(|input| input.name()).collect();
    let wrt: Vec<String> = grafted.layout.trained(true).map(|f| f.input.clone()).collect();
    assert!(wrt.iter().all(|name| inputs.contains(&name.as_str())), "{inputs:?}");
    assert!(!inputs.iter().any(|name| name.starts_with("lora.") && name.ends_with(".A")));
    let Some(want) = gradients(&grafted.folded, &wrt, &adapter) else { return };
    assert_eq!(want.len(), 1 + grafted.layout.sites.len());
    // The engine packs a stored factor, and sums in another order.
    for (got, want) in gradients(&stored, &wrt, &adapter).unwrap().iter().zip(&want) {
        let scale = want.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(scale > 0.0 && got.len() == want.len());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-5 * scale));
    }
}
