//! What the corpora begin with, as what is read there is written: golden bytes of the format, plans and campaigns, metadata, models
//! that keep values beside them, manifests and rows of packs, records of a store, windows of insiders, recorded drives, what brokers
//! say, event logs, and what lies on disks, is asked or comes of cameras (`outside`). `SHOAL_WRITE_VECTORS=1 cargo test -p shoal-fuzz
//! --test seeds` writes them anew, as it does the golden bytes in ota/wire.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../../cross/vehicle/tests/logged/mod.rs"]
#[expect(dead_code, reason = "tells a vehicle more than is needed here")]
mod logged;
mod outside;

use std::path::{Path, PathBuf};

use serde_json::Value;
use shoal_hal::Motion;
use shoal_runtime::onnx::proto::StringStringEntryProto;
use shoal_runtime::onnx::{Builder, Tensor, TensorType};
use shoal_shadow::pack::{Manifest, Metric, PackDrive, PackGeometry, PackPart, PackRun, Row};
use shoal_shadow::{digits, grid};
use shoal_swarm::campaign::{APPROVAL, Campaign, Order, Plan, Stage, Watch};
use shoal_swarm::privacy::{Ledger, Privacy};
use shoal_swarm::reinstated::Reinstated;
use shoal_trust::Target;
use shoal_trust::author::{self, Roles};
use shoal_window::{Slots, Trial, TrialInput, TrialPolicy};
use shoal_wire::v1::{DOCUMENT_BYTES_MAX, Document, DocumentFields, SLOTS};
use shoal_wire::{KeyId, Kind, LayoutHash, ModelHash, ParticleId, SecretKey, seal};

fn vectors(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ota/wire/tests/vectors");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    vectors["accepted"].as_array().unwrap().clone()
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let text = case[field].as_str().unwrap();
    let pairs = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Every golden envelope, every body behind the number of its kind, and every topic: name and bytes.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (index, case) in vectors("bodies.json").iter().enumerate() {
        let kind = case["kind"].as_u64().unwrap();
        seeds.push((format!("envelope-{index:02}-kind-{kind:02}"), bytes(case, "envelope")));
        let mut body = vec![u8::try_from(kind).unwrap()];
        body.extend(bytes(case, "body"));
        seeds.push((format!("body-{index:02}-kind-{kind:02}"), body));
    }
    // What a beacon passes on: a claim, and after it a header.
    let cases = vectors("bodies.json");
    let of = |kind: u64| cases.iter().find(|case| case["kind"].as_u64() == Some(kind)).unwrap();
    let [claim, header] = [1, 3].map(|kind| bytes(of(kind), "envelope"));
    seeds.push(("relayed-claim-header".to_owned(), [claim.clone(), header].concat()));
    seeds.push(("relayed-two-claims".to_owned(), [claim.clone(), claim].concat()));
    for case in vectors("topics.json") {
        let topic = case["topic"].as_str().unwrap();
        seeds.push((format!("topic-{}", case["name"].as_str().unwrap()), topic.into()));
    }
    seeds
}

/// A plan of so many stages.
fn plan(stages: u16) -> Plan {
    let stage = |index| Stage { share: 1_000 * index / stages, kept_min: 800, gone_back_max: 100 };
    Plan {
        number: stages.into(),
        fleet: "fleet".to_owned(),
        region: "region-0".to_owned(),
        particle: ParticleId::new([1; 32]),
        base_model: ModelHash::new([2; 32]),
        layout: LayoutHash::new([3; 32]),
        stages: (1..=stages).map(stage).collect(),
        watch: Watch { moments_min: 600, worse_max: 20, apart_max: 5_000, latency_max: 1_500 },
    }
}

/// Plans of one to eight stages, campaigns of each order, and up to 300 reinstatements.
fn campaigns() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for stages in 1..=8 {
        seeds.push((format!("plan-of-{stages}-stages"), plan(stages).encode()));
    }
    let key = SecretKey::from_seed(&[2; 32]);
    let digest = plan(3).digest();
    let fields = DocumentFields { name: APPROVAL, version: 3, bytes: &digest };
    let mut buffer = vec![0; DOCUMENT_BYTES_MAX];
    let approval = seal(&Document::new(fields).unwrap(), 1, 2, &key, &mut buffer).unwrap();
    for (name, order) in [
        ("run", Order::Run),
        ("pause", Order::Pause),
        ("abort", Order::Abort),
        ("roll-back", Order::RollBack),
    ] {
        let campaign = Campaign::new(plan(3), order, approval.bytes(), key.public()).unwrap();
        seeds.push((format!("campaign-{name}"), campaign.encode()));
    }
    for count in [0, 1, 3, 300] {
        let order = |number: u64| (KeyId::new((number / 2).to_be_bytes()), number as u32);
        let reinstated = Reinstated::new((0..count).map(order).collect()).unwrap();
        seeds.push((format!("reinstated-{count}"), reinstated.encode()));
    }
    seeds
}

/// Roots, metadata of none to three targets, and map files.
fn metadata() -> Vec<(String, Vec<u8>)> {
    const ENDS_S: u64 = 1_800_000_001;
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    let roles = Roles {
        root: (vec![key(1).public(), key(2).public()], 2),
        targets: key(1).public(),
        timestamp: key(3).public(),
    };
    let mut seeds = Vec::new();
    for version in 1..=3 {
        let root = author::root(version, ENDS_S, &roles, &[&key(1), &key(2)]).unwrap();
        seeds.push((format!("root-{version}"), root.into_bytes()));
        let named = (0..version).map(|n| (format!("documents/{n}"), Target::of(&[n as u8])));
        let targets = author::targets(version, ENDS_S, &named.collect(), &key(1)).unwrap();
        let files = author::metadata(version, ENDS_S, (targets, version), &key(3)).unwrap();
        seeds.push((format!("targets-{version}"), files.targets.into_bytes()));
        seeds.push((format!("snapshot-{version}"), files.snapshot.into_bytes()));
        seeds.push((format!("timestamp-{version}"), files.timestamp.into_bytes()));
    }
    let map = r#"{"repositories":{"image":[]},"mapping":[{"paths":["*"],"repositories":["image"],"threshold":1,"terminating":true}]}"#;
    seeds.push(("map".to_owned(), map.into()));
    seeds
}

/// A model whose weight lies at one place after another of the file beside it, or where it may not.
fn external() -> Vec<(String, Vec<u8>)> {
    let places: [(&str, &[(&str, &str)]); 15] = [
        ("whole", &[("location", "w.bin"), ("offset", "0"), ("length", "16")]),
        ("without-length", &[("location", "w.bin"), ("offset", "16")]),
        ("without-offset", &[("location", "./w.bin")]),
        ("at-the-end", &[("location", "w.bin"), ("offset", "32"), ("length", "0")]),
        ("beyond-the-end", &[("location", "w.bin"), ("offset", "33"), ("length", "16")]),
        ("too-long", &[("location", "w.bin"), ("offset", "24"), ("length", "16")]),
        ("far", &[("location", "w.bin"), ("offset", "18446744073709551615"), ("length", "16")]),
        ("long", &[("location", "w.bin"), ("length", "18446744073709551615")]),
        ("negative", &[("location", "w.bin"), ("offset", "-1")]),
        ("nowhere", &[("offset", "0")]),
        ("itself", &[("location", "model.onnx"), ("length", "16")]),
        ("folder", &[("location", ".")]),
        ("above", &[("location", "../secret"), ("length", "16")]),
        ("link", &[("location", "link"), ("length", "16")]),
        ("absolute", &[("location", "/dev/zero"), ("length", "16")]),
    ];
    let seed = |(name, place): (&str, &[(&str, &str)])| {
        let mut b = Builder::new(17);
        let x = b.input("x", TensorType::f32(&[1, 2]));
        let w = b.initializer("w", &Tensor::f32(&[2, 2], &[1.0; 4]));
        let y = b.op("MatMul", &[&x, &w], &[]).unwrap();
        b.output("y", &y);
        let mut model = b.into_model();
        let weight = &mut model.graph_mut().initializer[0];
        weight.raw_data = None;
        weight.data_location = Some(1);
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        };
        weight.external_data = place.iter().map(entry).collect();
        let model = model.to_bytes().unwrap();
        let mut bytes = u16::try_from(model.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(model);
        bytes.extend([1.0f32; 8].iter().flat_map(|value| value.to_le_bytes()));
        (name.to_owned(), bytes)
    };
    places.into_iter().map(seed).collect()
}

/// Manifests of frames and of actions with zero to three drives, and rows of motion.
fn packs() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for drives in 0..4_usize {
        for metric in [Metric::Skill, Metric::Imitation] {
            let actions = metric == Metric::Imitation;
            let drive = |index: usize| PackDrive {
                name: format!("drive-{index}"),
                source_sha256: format!("{index}").repeat(64),
                copy_psnr_db: (index > 0).then_some(20.0 + 10.0 * index as f64),
                geometry: actions
                    .then_some(PackGeometry { wheelbase_m: 2.7, steering_ratio: 15.0 }),
            };
            let part = |part: usize| PackPart {
                bytes: 0,
                sha256: "0".repeat(64),
                runs: (0..drives)
                    .map(|drive| PackRun { drive, first: 20 * part, frames: 10 + drive })
                    .collect(),
            };
            let mut manifest = Manifest {
                schema: 1,
                id: format!("pack-{drives}"),
                version: 1,
                metric,
                grid: actions.then(|| digits::hex(&grid::SHA256)),
                leaders: actions && drives > 1,
                licence: "CC0-1.0".to_owned(),
                width: 8,
                height: 4,
                rate_hz: 10.0,
                context: 3,
                drives: (0..drives).map(drive).collect(),
                parts: (0..4).map(part).collect(),
            };
            let row = if !actions {
                0
            } else if manifest.leaders {
                28
            } else {
                20
            };
            for part in &mut manifest.parts {
                let frames: usize = part.runs.iter().map(|run| run.frames).sum();
                part.bytes = (frames * (8 * 4 * 3 + row)) as u64;
            }
            let name = format!("{}-of-{drives}-drives", metric.name());
            let bytes = manifest.to_bytes();
            let read = Manifest::from_bytes(&bytes);
            assert!(read.as_ref().is_ok_and(|read| *read == manifest), "{name}: {read:?}");
            seeds.push((name, bytes));
        }
    }
    let motion = |speed_m_s, steering_rad| Motion { speed_m_s, steering_rad, ..Motion::default() };
    let rows = [motion(None, None), motion(Some(12.5), Some(-0.1)), motion(Some(0.0), None)];
    for (index, motion) in rows.into_iter().enumerate() {
        let row = Row { motion, weight: 0.5 };
        seeds.push((format!("row-{index}"), row.to_bytes().to_vec()));
    }
    let two = rows.map(|motion| Row { motion, weight: 1.0 }.to_bytes());
    seeds.push(("rows".to_owned(), two.concat()));
    seeds
}

/// Records as a vehicle writes them, empty and filled.
fn saved() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut slots = Slots::new();
    for taken in 1..=SLOTS {
        slots.take(ParticleId::new([taken; 32]), &[]).unwrap();
        let record = slots.poll_persist().unwrap().bytes.to_vec();
        seeds.push((format!("slots-{taken}"), record));
    }
    let mut trial = Trial::new(TrialPolicy { frames_min: 100, loss_max: 1000 });
    let inputs = [
        TrialInput::Staged(ParticleId::new([1; 32])),
        TrialInput::Watched { frames: 10, gain: -5 },
        TrialInput::Failed,
        TrialInput::Watched { frames: 200, gain: 500 },
    ];
    for (index, input) in inputs.into_iter().enumerate() {
        trial.handle_input(input).unwrap();
        let record = trial.poll_persist().unwrap().bytes.to_vec();
        seeds.push((format!("trial-{index}"), record));
    }
    let mut spent = Ledger::default();
    let privacy = Privacy { clip: 1.0, noise: 4.0, delta: 1e-5, epsilon_max: 8.0 };
    for paid in 0..3 {
        seeds.push((format!("privacy-{paid}"), spent.encode()));
        assert!(spent.pay(&privacy));
    }
    seeds.push(("nothing".to_owned(), Vec::new()));
    seeds
}

/// How an event log of two nights begins, and how one begins after a restart: so many entries of them.
fn logs() -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let mut first = logged::Vehicle::joins(dir.path());
    (1..3).for_each(|window| first.night(window));
    let logged::Vehicle { store, values, seconds, .. } = first;
    let mut second = logged::Vehicle::start(dir.path(), store, values, seconds);
    second.night(3);
    let mut seeds = Vec::new();
    for (run, name) in [(0, "joined"), (1, "restarted")] {
        let part = |part| std::fs::read(dir.path().join(format!("{run:010}-{part:06}.log")));
        let mut bytes = part(0).unwrap();
        // What follows in the next part goes on where this one ends.
        bytes.extend(part(1).unwrap_or_default().get(8..).unwrap_or_default());
        for entries in [1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 96, 192] {
            let mut end = 8;
            for _entry in 0..entries {
                let Some(length) = bytes[end..].first_chunk() else { break };
                end += 4 + 8 + u32::from_le_bytes(*length) as usize;
            }
            seeds.push((format!("{name}-{entries}-entries"), bytes[..end].to_vec()));
            if end == bytes.len() {
                break;
            }
        }
    }
    seeds
}

/// Windows of vehicles that sign what they like, as the target `insider` reads them.
fn plays() -> Vec<(String, Vec<u8>)> {
    const NOBODY: u8 = 99;
    let header = |who: u8, role: u8, window: u8, inputs: &[u8]| {
        let head = [0, who - 1, window % SLOTS, role, window, 10 * window + who, NOBODY];
        [&head[..], &[inputs.len() as u8], inputs, &[3, 1]].concat()
    };
    let claim = |who: u8, role: u8, window: u8, particle: u8, value: i16| {
        let [low, high] = value.to_le_bytes();
        let head = [1, who - 1, window % SLOTS, role, window, particle, 0, 1, 1];
        [&head[..], &[low, high, 20, 0, 1]].concat()
    };
    let vote = |who: u8, place: u8, window: u8, nominee: u8, value: i16| {
        let [low, high] = value.to_le_bytes();
        vec![2, who - 1, place, window, nominee, NOBODY, 0, 1, low, high, 100, 0, 20, 0, 1]
    };
    let opens = |window: u8| vec![3, window, 7, 4, window, 7, 0, window, 7, 3, 0];
    let closes = || vec![6, 60, 7, 1, 0, 6, 10, 7, 2, 0, 6, 30];
    let mut seeds = Vec::new();
    for role in 0..4 {
        let mut play = vec![7, 6, 0];
        for window in 1..4 {
            play.extend(opens(window));
            let first = 3 * (window - 1);
            for who in 1..4 {
                let inputs: &[u8] = if role == 3 { &[0, 1] } else { &[] };
                play.extend(header(who, role, window, inputs));
                let value = 100 * i16::from(who + window);
                play.extend(claim(who, role, window, first + who - 1, value));
                if window > 1 {
                    let value = 100 * i16::from(window);
                    play.extend(vote(who, 0, window, first - 3 + who % 3, value));
                }
            }
            play.extend(closes());
        }
        for windows in 1..4 {
            let end = play.len() * windows / 3;
            seeds.push((format!("role-{role}-to-{windows}"), play[..end].to_vec()));
        }
    }
    // What else there is: a presence, a refusal, each of the documents, and a beacon that is cut off.
    let of = |kind: u64| {
        let cases = vectors("bodies.json");
        let case = cases.iter().find(|case| case["kind"].as_u64() == Some(kind)).unwrap();
        let body = bytes(case, "body");
        assert!(body.len() < 256, "kind {kind}: {}", body.len());
        [&[body.len() as u8][..], &body].concat()
    };
    for (name, head, kind) in [
        ("presence", &[4, 0, 0][..], Kind::Presence),
        ("refusal", &[4, 0, 0], Kind::Refusal),
        ("plan", &[5, 0], Kind::WindowPlan),
        ("utility", &[5, 1], Kind::UtilityDocument),
        ("swarm", &[5, 2], Kind::SwarmDocument),
        ("document", &[5, 3], Kind::Document),
    ] {
        let told = [head, &of(kind.number().into()), &[1, 6, 30, 7, 5, 0, 7, 7, 1]].concat();
        seeds.push((name.to_owned(), [opens(1), told, closes()].concat()));
    }
    seeds
}

/// An array as numpy writes it.
fn npy<const N: usize>(descr: &str, shape: &str, data: &[[u8; N]]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &data.concat()].concat()
}

/// Files one after another, each behind its length.
fn laid(kind: u8, files: &[Vec<u8>]) -> Vec<u8> {
    let file = |file: &Vec<u8>| {
        let length = u16::try_from(file.len()).unwrap().to_le_bytes();
        [&length[..], file].concat()
    };
    let files: Vec<u8> = files.iter().flat_map(file).collect();
    [&[kind][..], &files].concat()
}

/// Recorded drives and logs, as the target `recorded` lays them down.
fn drives() -> Vec<(String, Vec<u8>)> {
    let numbers = |values: &[f64]| -> Vec<[u8; 8]> {
        values.iter().map(|value| value.to_le_bytes()).collect()
    };
    let times: Vec<f64> = (0..20).map(|k| 0.1 * f64::from(k)).collect();
    let column = npy("<f8", "(20,)", &numbers(&times));
    let axes = npy("<f8", "(20, 3)", &numbers(&[0.25; 60]));
    let segment = [&column, &column, &column, &column, &column, &axes].map(Clone::clone);
    let gnss = [&segment[..], &[column.clone(), axes.clone()]].concat();
    let codes: Vec<[u8; 8]> = (0..8_i64).map(i64::to_le_bytes).collect();
    let singles = [0.5_f32.to_le_bytes(); 6];
    let mut seeds = vec![
        ("array-f64".to_owned(), [&[0][..], &axes].concat()),
        ("array-f32".to_owned(), [&[0][..], &npy("<f4", "(2, 3)", &singles)].concat()),
        ("codes".to_owned(), [&[0][..], &npy("<i8", "(4, 2)", &codes)].concat()),
        ("segment".to_owned(), laid(2, &segment)),
        ("segment-with-fixes".to_owned(), laid(2, &gnss)),
    ];
    let head = "t_s,v_ego_mps,a_ego_mps2,steering_angle_deg,yaw_rate_radps,lat_accel_mps2\n";
    for rows in [0, 1, 3] {
        let row = |k| format!("{},{},0.5,-3.0,0.01,0.2\n", f64::from(k) / 10.0, 10 + k);
        let table: String = (0..rows).map(row).collect();
        let table = format!("{head}{table}").into_bytes();
        seeds.push((format!("table-of-{rows}"), laid(1, &[table])));
    }
    let picture = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture =
            image::RgbImage::from_fn(12, 6, |x, y| image::Rgb([20 * x as u8, 40 * y as u8, 99]));
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let (png, jpeg) = (picture(image::ImageFormat::Png), picture(image::ImageFormat::Jpeg));
    seeds.push(("folder".to_owned(), laid(3, &[png.clone(), jpeg.clone(), jpeg.clone()])));
    seeds.push(("folder-of-one".to_owned(), laid(3, &[png])));
    let manifest = |deleted: &str| {
        let last = format!(r#"{{"paths": ["catalog_0.catalog"], "deleted_indexes": [{deleted}]}}"#);
        format!("[\"cam/image_array\"]\n{{}}\n{last}\n").into_bytes()
    };
    let record = |index: u32, angle: f64| {
        format!(
            "{{\"_index\": {index}, \"cam/image_array\": \"{index}.jpg\", \"user/angle\": {angle}}}\n"
        )
    };
    let catalog = [record(0, -0.5), record(1, 1.0)].concat().into_bytes();
    for deleted in ["", "1", "0, 1"] {
        let files = [manifest(deleted), catalog.clone(), jpeg.clone(), jpeg.clone()];
        let name = format!("tub-without-{}", deleted.replace(", ", "-"));
        seeds.push((name, laid(4, &files)));
    }
    seeds
}

/// What brokers say, by MQTT 5 and 3.1.1, as the target `mqtt` reads it.
fn packets() -> Vec<(String, Vec<u8>)> {
    let piece = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let published = |version: u8, flags: u8, payload: &[u8]| {
        let topic = b"shoal/1/fleet/region/presence/0011223344556677";
        let number: &[u8] = if flags & 0b110 == 0 { &[] } else { &[0, 9] };
        let none: &[u8] = if version == 0 { &[0] } else { &[] };
        let body = [&[0, topic.len() as u8], &topic[..], number, none, payload].concat();
        piece(&[&[0x30 | flags, body.len() as u8][..], &body].concat())
    };
    let mut seeds = Vec::new();
    for (version, name, connack, suback) in [
        (0_u8, "v5", &[0x20, 3, 0, 0, 0][..], &[0x90, 4, 0, 1, 0, 1][..]),
        (1, "v311", &[0x20, 2, 0, 0], &[0x90, 3, 0, 1, 1]),
    ] {
        let begins = [&[version][..], &piece(connack), &[250]].concat();
        let mut add = |what: &str, rest: &[u8]| {
            seeds.push((format!("{name}-{what}"), [&begins[..], rest].concat()));
        };
        add("asks", &piece(suback));
        add("hears", &published(version, 0b0001, b"stands"));
        add("hears-acknowledged", &published(version, 0b0011, b"comes"));
        add("publishes", &[&[251][..], &piece(&[0x40, 2, 0, 1])].concat());
        add("waits", &[&[253, 254, 255][..], &piece(&[0xd0, 0])].concat());
        add("is-cut", &[&[251, 252][..], &piece(connack)].concat());
        add("goodbye", &piece(&[0xe0, 2, 0x8e, 0]));
        add("refused", &piece(&[0x90, 4, 0, 1, 0, 0x87]));
    }
    seeds
}

/// The corpus of a target holds these, or is written anew.
fn holds(target: &str, seeds: Vec<(String, Vec<u8>)>) {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    for (name, bytes) in seeds {
        let path = folder.join(&name);
        if std::env::var_os("SHOAL_WRITE_VECTORS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        assert!(kept == bytes, "{name} is not golden: SHOAL_WRITE_VECTORS=1 writes it anew");
    }
}

#[test]
fn the_corpus_of_wire_holds_the_golden_bytes() {
    holds("wire", seeds());
}

#[test]
fn the_corpus_of_campaign_holds_plans_and_campaigns() {
    holds("campaign", campaigns());
}

#[test]
fn the_corpus_of_external_holds_models_with_values_beside_them() {
    holds("external", external());
}

#[test]
fn the_corpus_of_metadata_holds_metadata() {
    holds("metadata", metadata());
}

#[test]
fn the_corpus_of_pack_holds_manifests_and_rows() {
    holds("pack", packs());
}

#[test]
fn the_corpus_of_saved_holds_records_of_a_store() {
    holds("saved", saved());
}

#[test]
fn the_corpus_of_insider_holds_windows_of_insiders() {
    holds("insider", plays());
}

#[test]
fn the_corpus_of_recorded_holds_drives_and_logs() {
    holds("recorded", drives());
}

#[test]
fn the_corpus_of_mqtt_holds_what_brokers_say() {
    holds("mqtt", packets());
}

#[test]
fn the_corpus_of_stored_holds_what_lies_on_disks() {
    holds("stored", outside::stored());
}

#[test]
fn the_corpus_of_asked_holds_what_is_asked() {
    holds("asked", outside::asked());
}

#[test]
fn the_corpus_of_camera_holds_pictures() {
    holds("camera", outside::camera());
}

#[test]
fn the_corpus_of_gateway_holds_flashes() {
    holds("gateway", outside::flash());
}

#[test]
fn the_corpus_of_log_holds_event_logs() {
    holds("log", logs());
}
