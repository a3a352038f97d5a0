//! What the corpora of `stored`, `asked` and `camera` begin with, and what that of `gateway` has of its flash: one of everything
//! that is read there, as it is written.

use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use shoal_gateway::{PROVISION_BYTES_MAX, Provision};
use shoal_shadow::digits::hex;
use shoal_swarm::campaign::{self, Campaign, Order, Watch};
use shoal_swarm::reinstated::{self, Reinstated};
use shoal_trust::author::{self, Roles};
use shoal_wire::v1::{DOCUMENT_BYTES_MAX, Document, DocumentFields};
use shoal_wire::{KeyId, Label, Leaf, ParticleId, RecordId, SecretKey, Topic, seal};

type Seeds = Vec<(String, Vec<u8>)>;

/// Parts, each behind its length, behind the number of what is read.
fn laid(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut laid = vec![kind];
    for part in parts {
        laid.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
        laid.extend(*part);
    }
    laid
}

/// Everything on a disk.
pub(crate) fn stored() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push((name.to_owned(), bytes));
    for (kind, what) in [(0, "vault"), (2, "index")] {
        let at = |offset: u32, bytes: &[u8]| [&offset.to_le_bytes()[..], bytes].concat();
        add(&format!("{what}-whole"), laid(kind, &[]));
        add(&format!("{what}-empty"), laid(kind, &[&at(0, &[])]));
        add(&format!("{what}-cut"), laid(kind, &[&at(4096, &[])]));
        add(&format!("{what}-other"), laid(kind, &[&at(0, &[]), &at(0, b"no database")]));
        add(&format!("{what}-flipped"), laid(kind, &[&at(9, &[0xff]), &at(5000, &[1])]));
    }
    let row = |table: u8, key: u64, row: &[u8]| [&[table][..], &key.to_le_bytes(), row].concat();
    let record = [&7_u32.to_le_bytes()[..], &5_u16.to_le_bytes(), b"topic", b"envelope"].concat();
    let many = [row(0, 0, &record), row(2, 9, b"key"), row(3, 70, &[]), row(4, 1_800_000_000, &[])];
    add("vault-rows", laid(1, &many.each_ref().map(|row| &row[..])));
    add("vault-last-counter", laid(1, &[&row(3, u64::MAX, &[])]));
    add("vault-last-place", laid(1, &[&row(1, u64::MAX, &record), &row(5, 3, &[])]));
    replay(&mut add);
    checkpoints(&mut add);
    adapters(&mut add);
    settings(&mut add);
    kept(&mut add);
    seeds
}

fn replay(add: &mut impl FnMut(&str, Vec<u8>)) {
    // A span of two frames of 2 × 1 pixels, 10 Hz.
    let span = |id: u64, frames: u32| {
        let head = [&b"SHLR\x01\x02\0\0"[..], &id.to_le_bytes(), &1_800_000_000_u64.to_le_bytes()];
        let shape = [2_u16, 1].map(u16::to_le_bytes).concat();
        let rest = [&10_f64.to_le_bytes()[..], &shape, &frames.to_le_bytes(), &[9; 4], &[5; 20]];
        [head.concat(), rest.concat()].concat()
    };
    let still = [&[0; 17][..], &[40; 6]].concat();
    let speed = [&[3][..], &12.5_f32.to_le_bytes(), &[0; 12], &[80; 6]].concat();
    let no_number = [&[3][..], &f32::NAN.to_le_bytes(), &[0; 12], &[80; 6]].concat();
    let file = |id, frames: &[&[u8]]| [span(id, frames.len() as u32), frames.concat()].concat();
    add("span", laid(4, &[&file(1, &[&still, &speed])]));
    add("spans", laid(4, &[&file(0, &[&still]), &file(4, &[&speed, &speed])]));
    add("span-no-number", laid(4, &[&file(1, &[&no_number])]));
    add("span-last", laid(4, &[&file(u64::MAX, &[&still])]));
    add("span-large", laid(4, &[&[&span(1, 1)[..32], &[0xff; 4], &span(1, 1)[36..]].concat()]));
    let bytes = vec![1; 64 + 2 * (17 + 6 + 16)];
    let row = [
        &[1][..],
        &1_800_000_000_u64.to_le_bytes(),
        &10_f64.to_le_bytes(),
        &[2, 0, 1, 0, 2, 0, 0, 0, 2, 9, 9, 9, 9],
        &Sha256::digest(&bytes),
    ];
    let row = [&3_u64.to_le_bytes()[..], &row.concat()].concat();
    add("index-row", laid(3, &[&4_u64.to_le_bytes(), &row, &bytes]));
    add("index-no-next", laid(3, &[&3_u64.to_le_bytes(), &row, &bytes]));
    add("index-last", laid(3, &[&u64::MAX.to_le_bytes(), &row, &bytes]));
}

fn checkpoints(add: &mut impl FnMut(&str, Vec<u8>)) {
    let state = |values: f32, square: f32, average: &[u8]| {
        let runs = [values, 0.25, square].map(|value| value.to_le_bytes().repeat(3)).concat();
        [&[5][..], &17_u64.to_le_bytes(), &runs, average].concat()
    };
    let average = [&[1][..], &0.5_f32.to_le_bytes().repeat(3)].concat();
    add("checkpoint", state(0.5, 0.1, &[0]));
    add("checkpoint-average", state(0.5, 0.1, &average));
    add("checkpoint-neither", state(0.5, 0.1, &[2]));
    add("checkpoint-no-number", state(f32::NAN, 0.1, &[0]));
    add("checkpoint-negative", state(0.5, -0.1, &average));
}

fn adapters(add: &mut impl FnMut(&str, Vec<u8>)) {
    let config = |rank: usize, alpha: &str, more: &str| {
        format!("{{\"peft_type\": \"LORA\", \"r\": {rank}, \"lora_alpha\": {alpha}{more}}}")
    };
    let tensors = ["full", "f16"].map(|name| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/safetensors");
        std::fs::read(folder.join(name)).unwrap()
    });
    for (name, config) in [
        ("peft", config(1, "16", "")),
        ("peft-root", config(1, "16", ", \"use_rslora\": true, \"init_lora_weights\": \"eva\"")),
        ("peft-patterns", config(1, "8", ", \"alpha_pattern\": {\"enc\": 16, \"^head\": 16}")),
        ("peft-ranks", config(2, "1e300", ", \"rank_pattern\": {\"enc\": 1, \"head\": 1}")),
        ("peft-huge", config(usize::MAX, "16", "")),
        ("peft-others", config(1, "16", ", \"bias\": \"all\", \"use_dora\": false")),
    ] {
        add(name, laid(6, &[config.as_bytes(), &tensors[0]]));
    }
    add("peft-half", laid(6, &[config(1, "16", "").as_bytes(), &tensors[1]]));
    // Of the layout that the target has: 14 values.
    let values = |value: f32| [&[7][..], &value.to_le_bytes().repeat(14)].concat();
    add("slot", values(0.5));
    add("slot-no-number", values(f32::INFINITY));
    let watch = Watch { moments_min: 600, worse_max: 20, apart_max: 5_000, latency_max: 1_500 };
    let (particle, approval) = (ParticleId::new([1; 32]), RecordId::new([2; 32]));
    let sums = |trial: f64| (300_u32, 0.5, trial, 1.0, 0.1, 3.0, 3.5);
    let before = Some(ParticleId::new([9; 32]));
    for (name, stage, before, sums) in [
        ("trial", &[1][..], None, sums(0.4)),
        ("trial-kept", &[2], before, sums(0.4)),
        ("trial-gone-back", &[3, 1], before, sums(0.6)),
        ("trial-no-number", &[1], None, sums(f64::NAN)),
    ] {
        let mut buffer = [0; 512];
        let ask = postcard::to_slice(&(3_u32, particle, approval, watch), &mut buffer).unwrap();
        let mut bytes = [&[8], &*ask, stage].concat();
        let rest = (true, before, sums, false, 1_u8);
        bytes.extend(&*postcard::to_slice(&rest, &mut buffer).unwrap());
        add(name, bytes);
    }
}

fn settings(add: &mut impl FnMut(&str, Vec<u8>)) {
    let camera = "rate_hz = 10.0\n[frames]\ninput = \"frames\"\nwidth = 128\nheight = 64\n";
    let next = "[next_frame]\noutput = \"next\"\n";
    let grid = hex(&shoal_shadow::grid::SHA256);
    let action = format!("[action]\noutput = \"angle\"\ngrid = \"{grid}\"\n");
    let steers = "field = \"steering_rad\"\nwheelbase_m = 2.79\nsteering_ratio = 14.7\nwidth_per_m = 0.003\n";
    let tokens = "rate_hz = 10.0\n[signals]\ninput = \"states\"\nrows = 20\nlag = 0\ncolumns = [{ field = \"steering_deg\", scale = 0.01 }, { constant = 0.0 }]\n[tokens]\ninput = \"tokens\"\nrows = 20\nfield = \"lateral_acceleration_m_s2\"\nlow = -5.0\nhigh = 5.0\nbins = 1024\n[next_token]\noutput = \"output\"\n";
    let codes = "rate_hz = 20.0\n[tokens]\ninput = \"tokens\"\nrows = 256\nvocabulary = 1024\nframe = 128\nplace = \"place\"\n[next_token]\noutput = \"logits\"\n";
    let losses = "[[loss]]\nkind = \"gaussian-nll\"\noutput = \"next\"\nlog_variance = \"v\"\nweight = 0.5\n[adapter]\ntargets = [\"*\"]\nrank = 4\nalpha = 8.0\n";
    for (name, text) in [
        ("package-camera", [camera, next].concat()),
        ("package-losses", [camera, next, losses].concat()),
        ("package-near", [camera, "range = [0.0, 1e-60]\n", next].concat()),
        ("package-grid", [camera, &action, "rehearsal = 0.5\n"].concat()),
        ("package-steers", [camera, &action, steers].concat()),
        ("package-tokens", tokens.to_owned()),
        ("package-codes", codes.to_owned()),
    ] {
        add(name, [&[9], text.as_bytes()].concat());
    }
    let vehicle = "name = \"one\"\nseed = 3\n[model]\npackage = \"world\"\n[replay]\nbytes_max = 1000000\nretention_days = 30\nordinary_share = 0.1\n";
    let fleet = "[fleet]\nbroker = \"mqtt://broker\"\nname = \"fleet\"\nregion = \"region\"\nkey = \"pkcs11:token=a?module-path=/m\"\n[privacy]\nclip = 1.0\nnoise = 4.0\n";
    let devices = "[camera]\ndevice = \"/dev/video0\"\nwidth = 640\nheight = 480\n[can]\ninterface = \"can0\"\ndbc = \"car.dbc\"\n[can.speed]\nsignal = \"Speed.speed\"\nscale = 0.1\n[gateway]\nline = \"/dev/ttyS1\"\n";
    add("vehicle", [&[10], vehicle.as_bytes()].concat());
    add("vehicle-fleet", [&[10], vehicle.as_bytes(), fleet.as_bytes()].concat());
    add("vehicle-devices", [&[10], vehicle.as_bytes(), devices.as_bytes()].concat());
}

fn kept(add: &mut impl FnMut(&str, Vec<u8>)) {
    let people = [1, 2].map(key);
    let roles = Roles {
        root: (people.iter().map(SecretKey::public).collect(), 2),
        targets: key(1).public(),
        timestamp: key(3).public(),
    };
    let root =
        |version| author::root(version, 1_800_000_001, &roles, &[&people[0], &people[1]]).unwrap();
    let targets = author::targets(1, 1_800_000_001, &[].into(), &people[0]).unwrap();
    let files = author::metadata(1, 1_800_000_001, (targets, 1), &key(3)).unwrap();
    for (name, root, metadata) in [
        ("trust", root(1), None),
        ("trust-newer", root(2), None),
        ("trust-metadata", root(1), Some(&files)),
        ("trust-of-both", root(3), Some(&files)),
    ] {
        let kept = json!({"image": {"root": root, "metadata": metadata}});
        add(name, [&[11], kept.to_string().as_bytes()].concat());
    }
    for (name, record) in [
        ("night", json!({"steps": 0, "measured": 0, "active": null, "best": null, "done": false})),
        (
            "night-half",
            json!({"steps": 40, "measured": 40, "active": 0.1, "best": [40, 0.2], "done": false}),
        ),
        (
            "night-tuned",
            json!({"steps": 80, "measured": 40, "active": 0.1, "best": [40, 0.05], "done": false}),
        ),
        (
            "night-no-number",
            json!({"steps": 80, "measured": 80, "active": 0.1, "best": [40, 1e300], "done": false}),
        ),
        (
            "night-far",
            json!({"steps": u32::MAX, "measured": 9, "active": 0.1, "best": null, "done": false}),
        ),
    ] {
        add(name, [&[12], record.to_string().as_bytes()].concat());
    }
}

/// Requests, hosts, keys, and a campaign's record.
pub(crate) fn asked() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push((name.to_owned(), bytes));
    let head = &b"GET /metrics HTTP/1.1\r\n"[..];
    add("metrics", laid(0, &[head, b"Host: vehicle\r\n\r\n"]));
    add("metrics-with-query", laid(0, &[b"GET /metrics?a=b HTTP/1.0\r\n\r\n"]));
    add("metrics-elsewhere", laid(0, &[b"GET / HTTP/1.1\r\n\r\n"]));
    add("metrics-posted", laid(0, &[b"POST /metrics HTTP/1.1\r\n\r\n"]));
    add("metrics-unfinished", laid(0, &[head]));
    add("metrics-in-crumbs", laid(0, &[&b"G"[..]; 12]));
    add("metrics-too-long", laid(0, &[&[b'a'; 9000]]));
    for (name, host) in [
        ("address", "127.0.0.1:7070"),
        ("address-of-six", "[::1]:80"),
        ("name", "LocalHost:1"),
        ("name-below", "a.localhost"),
        ("elsewhere", "localhost:evil.example"),
    ] {
        add(&format!("host-{name}"), [&[1], host.as_bytes()].concat());
    }
    let token = "pkcs11:token=The%20Fleet;object=vehicle-7;id=%01%ff;type=private";
    for (name, text) in [
        ("token", format!("{token}?module-path=/usr/lib/m.so&pin-source=file:/etc/pin")),
        ("serial", "pkcs11:serial=1?module-path=/m&pin-source=/a%20b".to_owned()),
        ("pin", format!("{token};pin-value=1234?module-path=/m")),
        ("pin-no-text", format!("{token}?module-path=/m&pin-value=%ff")),
        ("file", "keys/vehicle.key".to_owned()),
    ] {
        add(&format!("key-{name}"), [&[2], text.as_bytes()].concat());
    }
    let journal = journal();
    let record = record();
    for lines in 1..=journal.len() {
        let journal = journal[..lines].concat();
        let bytes = [&[3], record.as_bytes(), &[0], journal.as_bytes()].concat();
        add(&format!("evidence-of-{lines}-lines"), bytes);
    }
    let odd = journal[0]
        .replace("\"number\":0", "\"number\": 0")
        .replace("envelope\":\"5", "envelope\":\"+");
    add("evidence-odd", [&[3, 0], odd.as_bytes()].concat());
    seeds
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Whose keys they are, and what was said of a campaign: everything but what the journal says of it.
fn record() -> String {
    let [authority, timekeeper, approver] = [1, 2, 3].map(|seed| hex(key(seed).public().bytes()));
    let zero = "0".repeat(64);
    format!(
        "{{\"schema\":1,\"keys\":{{\"fleet\":\"fleet\",\"region\":\"region-0\",\"authority\":\"{authority}\",\
         \"timekeeper\":\"{timekeeper}\",\"approver\":\"{approver}\"}},\"campaign\":{{\"number\":3,\"particle\":\"{zero}\",\
         \"digest\":\"{zero}\",\"moments_min\":600,\"worse_max\":0.002,\"apart_max\":0.5,\"latency_max\":1.5}},\
         \"compatibility\":{{\"base_model\":\"{zero}\",\"layout\":\"{zero}\",\"fleet_base_model\":null,\"fleet_layout\":null,\
         \"compatible\":false}},\"approval\":{{\"key\":\"0303\",\"record\":\"{zero}\",\"signed_at_ms\":1,\"until_s\":2}},\
         \"orders\":[{{\"at_ms\":1,\"counter\":1,\"order\":\"run\"}}],\"stages\":[{{\"share\":1000,\"kept_min\":800,\
         \"gone_back_max\":100,\"vehicles\":0,\"kept\":0,\"gone_back\":0}}],\"targets\":[{{\"number\":0,\"id\":\"00\",\"stage\":null,\
         \"said\":[{{\"at_ms\":1,\"what\":\"kept\",\"software\":null}}]}}],\"journal\":{{\"lines\":1,\"first_ms\":1,\"last_ms\":1,\
         \"head\":\"{zero}\"}},\"bill_of_materials\":\"sbom.cdx.json\"}}"
    )
}

/// Lines of a journal: a campaign's orders, and reinstatements.
fn journal() -> Vec<String> {
    let authority = key(1);
    let document = |name: &str, slot: u8, counter: u64, bytes: &[u8]| {
        let fields = DocumentFields { name, version: 1, bytes };
        let mut buffer = vec![0; DOCUMENT_BYTES_MAX];
        let body = Document::new(fields).unwrap();
        let sealed = seal(&body, counter, u64::MAX, &authority, &mut buffer).unwrap();
        let [fleet, region] = ["fleet", "region-0"].map(|text| Label::new(text).unwrap());
        let topic = Topic::new(fleet, region, authority.public().id(), Leaf::Document { slot });
        (topic.unwrap().text().to_string(), hex(sealed.bytes()))
    };
    let plan = super::plan(3);
    let digest = plan.digest();
    let fields = DocumentFields { name: campaign::APPROVAL, version: 3, bytes: &digest };
    let mut buffer = vec![0; DOCUMENT_BYTES_MAX];
    let approval = seal(&Document::new(fields).unwrap(), 1, 2, &key(3), &mut buffer).unwrap();
    let orders = [Order::Run, Order::Pause, Order::RollBack];
    let orders = (1..).zip(orders).map(|(counter, order)| {
        let campaign =
            Campaign::new(super::plan(3), order, approval.bytes(), key(3).public()).unwrap();
        document(campaign::NAME, 0, counter, &campaign.encode())
    });
    let reinstated = Reinstated::new(vec![(KeyId::new([4; 8]), 7)]).unwrap();
    let reinstated = document(reinstated::NAME, reinstated::SLOT, 9, &reinstated.encode());
    let mut before = String::new();
    let line = |(number, (topic, envelope)): (usize, (String, String))| {
        let text = format!(
            "{{\"number\":{number},\"at_ms\":{},\"topic\":\"{topic}\",\"envelope\":\"{envelope}\",\"before\":\"{before}\"}}",
            1_800_000_000_000_u64 + number as u64
        );
        before = hex(&Sha256::digest(&text));
        text + "\n"
    };
    orders.chain([reinstated]).enumerate().map(line).collect()
}

/// Pictures of every layout, and logs of decoders.
pub(crate) fn camera() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push((name.to_owned(), bytes));
    // 4 × 2 pixels, without gaps and with one.
    for (index, name, bytes) in [(0, "rgb24", 24), (1, "yuyv", 16), (2, "nv12", 12), (4, "grey", 8)]
    {
        let picture: Vec<u8> = (0..bytes).map(|byte| 16 + 9 * byte).collect();
        let head = |gap: u8| vec![0, index, 0x13, gap, index];
        add(name, [head(0), laid(0, &[&picture, &picture[1..], &picture])[1..].to_vec()].concat());
        let apart = [picture, vec![7; 20]].concat();
        add(&format!("{name}-apart"), [head(14), laid(0, &[&apart])[1..].to_vec()].concat());
    }
    let picture = |width, height| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let colour = |x: u32, y: u32| image::Rgb([20 * x as u8, 40 * y as u8, 99]);
        let picture = image::RgbImage::from_fn(width, height, colour);
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    };
    let jpeg = laid(0, &[&picture(4, 2), &picture(8, 2)]);
    add("mjpeg", [&[0, 3, 0x13, 0, 0], &jpeg[1..]].concat());
    let says = |text: &str| format!("[Parsed_showinfo_0 @ 0x56] [info] {text}\n");
    let unit = |unit: &str| says(&format!("config in time_base: {unit}, frame_rate: 10/1"));
    let frame = |n: usize, pts: &str, size: &str| {
        says(&format!("n:{n:4} pts:{pts:>7} pts_time:0.1 fmt:yuv420p sar:0/1 s:{size} i:P"))
    };
    let two = [unit("1/10"), frame(0, "0", "2x1"), frame(1, "1", "2x1")].concat();
    let many =
        [unit("1/1"), frame(0, "-9223372036854775808", "1x1"), frame(1, "0", "1x1")].concat();
    for (name, log, pictures) in [
        ("video", two.clone(), 12),
        ("video-short", two.clone(), 11),
        ("video-gap", [unit("1/10"), frame(0, "5", "1x1"), frame(1, "65", "1x1")].concat(), 6),
        ("video-far", many, 6),
        ("video-back", [unit("1/10"), frame(0, "5", "1x1"), frame(1, "4", "1x1")].concat(), 6),
        ("video-no-time", [unit("1/10"), frame(0, "NOPTS", "1x1")].concat(), 3),
        ("video-large", [unit("1/10"), frame(0, "0", "8192x8192")].concat(), 3),
        ("video-failed", format!("{two}[mov @ 0x5] [error] moov atom not found\n"), 12),
    ] {
        let pictures: Vec<u8> = (0..pictures).map(|byte| 20 * byte).collect();
        add(name, laid(1, &[log.as_bytes(), &pictures]));
    }
    seeds
}

/// A flash that somebody wrote.
pub(crate) fn flash() -> Seeds {
    let public = *key(7).public().bytes();
    let provision = Provision {
        authority: public,
        timekeeper: public,
        vehicle: KeyId::new([7; 8]),
        metered: true,
        driving: false,
        battery_soc_percent_min: 40,
        temperature_c_max: -1,
        trial_frames_min: 10,
        trial_loss_max: u64::MAX,
        publishers: [public; 2].into_iter().collect(),
    };
    let mut sector = [0; PROVISION_BYTES_MAX];
    let fields = provision.encode(&mut sector).unwrap()[10..].to_vec();
    let said = |line: u8, message: &[u8]| laid(line, &[message]);
    // Heads of both areas: the last number that there is, and the one after it.
    let head = |number: u32, crc: u32| [0x5348_4731, number, crc].map(u32::to_le_bytes).concat();
    let heads = [
        said(5, &[&[0, 16][..], &head(u32::MAX, 0xffff_ffff)].concat()),
        said(5, &[&[0, 48][..], &head(0, 0x2144_df1c)].concat()),
    ];
    let kept = |key: u8, bytes: &[u8]| said(7, &[&[key], bytes].concat());
    let slots = [&[1, 1, 0, 0, 0, 1][..], &[3; 32], &[0, 0]].concat();
    vec![
        ("flash-provision".to_owned(), said(6, &fields)),
        ("flash-provision-long".to_owned(), said(6, &[&fields[..], &[0]].concat())),
        ("flash-heads".to_owned(), [heads.concat(), kept(0, b"plan"), kept(0, b"plan")].concat()),
        ("flash-slots".to_owned(), [kept(4, &slots), said(0, &[1, 0, 0])].concat()),
        ("flash-noise".to_owned(), [said(5, &[32, 16, 1, 2, 3, 4]), kept(3, &[1, 5, 0])].concat()),
    ]
}
