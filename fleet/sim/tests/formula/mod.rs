//! Records that a formula makes, to see what a report looks like. Nothing was trained and nothing measured: these are no results,
//! and every page that is made of them says so.

use std::collections::BTreeMap;

use shoal_sim::record::{Changes, Head, Record, RoadKind, Row, SCHEMA, UpDown};

/// What a method of the formula is like.
pub(crate) struct Shape {
    /// Its name.
    pub(crate) name: String,
    /// Gain that it tends to.
    pub(crate) gain: f64,
    /// Windows until it has most of it.
    pub(crate) pace: f64,
    /// Bytes of a vehicle and window, sent and received.
    pub(crate) bytes: (f64, f64),
}

/// So many methods, as different as real ones may be: the first exchanges nothing, the last loses more than it had.
pub(crate) fn shapes(count: u32) -> Vec<Shape> {
    let shape = |at: u32| {
        let share = f64::from(at) / f64::from(count.max(2) - 1);
        let lost = at + 1 == count && count > 2;
        let kilobytes = if at == 0 { 0.0 } else { 4.0 * 300_f64.powf(wave(at, 3).abs()) };
        Shape {
            name: format!(
                "{} {at:02}",
                ["made-up", "made-up averaging", "made-up consensus of many"][at as usize % 3]
            ),
            gain: if lost { -2.0 } else { 0.004 + 0.09 * share.sqrt() * (0.6 + 0.4 * wave(at, 1)) },
            pace: 4.0 + 20.0 * wave(at, 2).abs(),
            bytes: (1e3 * kilobytes, 2.6e3 * kilobytes),
        }
    };
    (0..count).map(shape).collect()
}

/// Between −1 and 1, without a pattern to the eye.
fn wave(at: u32, salt: u32) -> f64 {
    let phase = f64::from(at) * 12.9898 + f64::from(salt) * 78.233;
    2.0 * (phase.sin() * 43_758.545_3).fract().abs() - 1.0
}

/// One run of a shape.
pub(crate) fn record(shape: &Shape, seed: u64, vehicles: u32, windows: u32) -> Record {
    let mut roads: BTreeMap<String, RoadKind> = (0..vehicles)
        .map(|vehicle| (format!("road-{vehicle:02}"), RoadKind::Driven(vehicle)))
        .collect();
    for at in 0..vehicles.div_ceil(3) {
        roads.insert(format!("far-{at:02}"), RoadKind::Unseen);
        roads.insert(format!("pack-{at:02}"), RoadKind::Listed);
    }
    let salt = seed as u32 * 7919;
    let rows = (0..=windows).map(|window| row(shape, salt, window, &roads));
    let rows = rows.collect();
    let head = Head {
        schema: SCHEMA,
        method: shape.name.clone(),
        seed,
        vehicles,
        windows,
        engine: "a formula: no model was run, these are no results".to_owned(),
        config: format!("{:064x}", seed * 31 + u64::from(vehicles)),
        model: None,
        values: 24_576,
        roads,
        changes: Changes::default(),
    };
    Record { head, rows }
}

fn row(shape: &Shape, salt: u32, window: u32, roads: &BTreeMap<String, RoadKind>) -> Row {
    let gone = 1.0 - (-f64::from(window) / shape.pace).exp();
    let noise = |at: u32, size: f64| {
        if window == 0 { 0.0 } else { size * wave(salt + at * 131 + window, at) }
    };
    let (mut skill, mut own) = (BTreeMap::new(), BTreeMap::new());
    for (at, (road, kind)) in (0..).zip(roads) {
        let (base, of_road) = (0.55 + 0.15 * wave(at, 9), 1.0 + 0.4 * wave(at, 10));
        let learnt = match kind {
            RoadKind::Driven(_) => shape.gain * of_road,
            RoadKind::Listed => 0.8 * shape.gain * of_road,
            RoadKind::Unseen => 0.5 * shape.gain * of_road,
        };
        let value = base + gone * learnt + noise(at, 0.008) + gone * 0.004 * wave(salt, at);
        skill.insert(road.clone(), value);
        if matches!(kind, RoadKind::Driven(_)) {
            own.insert(road.clone(), value + gone * 0.02 + noise(at + 500, 0.004));
        }
    }
    let first = f64::from(u32::from(window > 0));
    let bytes = |size: f64, at: u32| first * size * (1.0 + 0.1 * wave(window + salt, at));
    let vehicles = own.len() as u64;
    Row {
        window,
        present: own.len() as u32,
        utility: 0.5 + gone * shape.gain,
        skill,
        own,
        bytes: UpDown { up: bytes(shape.bytes.0, 1), down: bytes(shape.bytes.1, 2) },
        evaluations: 6 * vehicles * u64::from(window > 0),
        steps: 20 * vehicles * u64::from(window > 0),
        also: [("velocity".to_owned(), 1.0 - gone)].into(),
    }
}

/// Every shape with every seed.
pub(crate) fn records(count: u32, seeds: u64, vehicles: u32, windows: u32) -> Vec<Record> {
    let of = |shape: &Shape| -> Vec<Record> {
        (1..=seeds).map(|seed| record(shape, seed, vehicles, windows)).collect()
    };
    shapes(count).iter().flat_map(of).collect()
}
