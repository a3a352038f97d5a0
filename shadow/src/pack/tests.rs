//! Claims on packs built from drives whose every frame is known.

use super::build::runs;
use super::*;
use crate::baseline::{BlockMatching, Copy};
use crate::clip::Footage;
use crate::form::{Form, MotionInput};
use crate::measure::{Horizon, measure};
use shoal_hal::{Drive, FrameShape, Part, Span, Split};
use std::fs;
use std::path::Path;

mod actions;

const SHAPE: FrameShape = FrameShape { width: 16, height: 8 };

/// Frame k begins with k as two bytes, the rest is a ramp that moves.
fn drive(name: &str, frames: usize) -> Drive {
    let bytes = (0..frames)
        .flat_map(|k| {
            let mut frame = vec![(k >> 8) as u8, k as u8];
            frame.extend((2..SHAPE.bytes()).map(|place| (place * 5 + k * 15) as u8));
            frame
        })
        .collect();
    Drive::new(name.into(), [7; 32], 10.0, SHAPE, bytes, vec![None; frames])
}

fn options() -> PackOptions {
    PackOptions { id: "roads".into(), version: 1, licence: "CC0-1.0".into(), context: 4 }
}

/// Indexes of the frames of one drive in one part.
fn indexes(pack: &Pack, part: usize, name: &str) -> Vec<usize> {
    let footages = pack.read(&[part]).unwrap();
    let Some(drive) = footages.drives().iter().find(|drive| drive.name() == name) else {
        return Vec::new();
    };
    let runs = drive.runs().iter();
    runs.flat_map(|run| (0..run.len()).map(|index| run.frame(index)))
        .map(|frame| usize::from(frame[0]) << 8 | usize::from(frame[1]))
        .collect()
}

#[test]
fn parts_are_runs_of_time_and_never_share_a_frame() {
    for frames in [500, 123, 130, 88, 300, 1000] {
        let directory = tempfile::tempdir().unwrap();
        build(&[drive("a", frames)], &options(), directory.path()).unwrap();
        let pack = Pack::open(directory.path()).unwrap();
        let all: Vec<usize> = (0..PARTS).flat_map(|part| indexes(&pack, part, "a")).collect();
        assert!(all.is_sorted_by(|a, b| a < b), "{frames}: {all:?}");
        let split = Split::new(frames, 4);
        let owned = |index: &usize| {
            split.spans(Part::Pack).iter().any(|span| (span.first..=span.last).contains(index))
        };
        assert!(all.iter().all(owned), "{frames}: only pack frames");
    }
}

/// Names of the drives that are measured on, and the first frame of each.
fn measured(pack: &Pack, part: usize) -> Vec<(String, usize)> {
    let footages = pack.read_turn(part).unwrap();
    let first = |drive: &PackFootage| {
        let frame = drive.runs()[0].frame(0);
        usize::from(frame[0]) << 8 | usize::from(frame[1])
    };
    footages.drives().iter().map(|drive| (drive.name().to_owned(), first(drive))).collect()
}

#[test]
fn every_drive_is_measured_on_in_every_part_a_short_one_by_turns() {
    let directory = tempfile::tempdir().unwrap();
    build(&[drive("long", 1000), drive("short", 88)], &options(), directory.path()).unwrap();
    let pack = Pack::open(directory.path()).unwrap();
    let short = (0..PARTS).filter(|part| !indexes(&pack, *part, "short").is_empty()).count();
    assert!((1..PARTS).contains(&short), "{short} parts");
    let parts: Vec<_> = (0..PARTS).map(|part| measured(&pack, part)).collect();
    for (part, drives) in parts.iter().enumerate() {
        let names: Vec<&str> = drives.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["long", "short"], "part {part}");
        assert_eq!(drives[0].1, indexes(&pack, part, "long")[0], "part {part}");
        assert_eq!(drives[1], parts[part % short][1], "part {part}");
    }
    assert!(matches!(pack.read_turn(PARTS), Err(ReadPackError::NoPart { part: PARTS })));
}

/// The real drives of the protocol: frames of the pack, and the clips that each part gets.
#[test]
fn a_drive_too_short_for_four_gives_its_clips_to_the_first_parts() {
    let clips = |frames: usize| -> Vec<usize> {
        let runs = runs(Split::new(frames, 4).spans(Part::Pack), 4);
        runs.iter().map(|run| run.iter().map(|span| span.len() - 4).sum()).collect()
    };
    assert_eq!(clips(500), [17, 17, 17, 17]); // Four cycles: cut where they are.
    assert_eq!(clips(130), [3, 3, 4]);
    assert_eq!(clips(88), [3, 3]);
    assert_eq!(clips(66), [5]);
    assert_eq!(clips(51), [2]);
    assert_eq!(clips(40), [] as [usize; 0]); // Three frames without a clip.
}

#[test]
fn a_cut_near_the_end_of_a_span_moves_there() {
    let spans = [Span { first: 0, last: 20 }, Span { first: 40, last: 58 }];
    let runs = runs(&spans, 4);
    // 40 frames in four: 10, 20 (moved to 21), 30.
    let span = |first, last| vec![Span { first, last }];
    assert_eq!(runs, [span(0, 9), span(10, 20), span(40, 48), span(49, 58)]);
}

#[test]
fn drives_of_a_pack_are_measured_one_by_one_as_on_the_drive_itself() {
    let directory = tempfile::tempdir().unwrap();
    let drives = [drive("long", 500), drive("short", 66)];
    build(&drives, &options(), directory.path()).unwrap();
    let pack = Pack::open(directory.path()).unwrap();
    assert_eq!(pack.parts(), [0, 1, 2, 3]);

    let motion = MotionInput::speed_and_steering();
    let form = Form { shape: SHAPE, frames: 4, context: 4, rate_hz: 10.0, motion };
    let mut block = BlockMatching::new(form.clone());
    let measured = |parts: &[usize], block: &mut BlockMatching| {
        let footages = pack.read(parts).unwrap();
        measure(block, &footages.clips(4), Horizon::Next).unwrap()
    };
    let all = measured(&[0, 1, 2, 3], &mut block);
    assert_eq!(all.drives.iter().map(|drive| drive.next.clips()).collect::<Vec<_>>(), [68, 5]);
    assert_eq!(measured(&[2], &mut block).drives.len(), 1);

    let split = drives[0].split(4);
    let clips = crate::measure::DriveClips::of_part(&drives[0], &split, Part::Pack, &form);
    let own = measure(&mut block, &[clips], Horizon::Next).unwrap();
    assert_eq!(own.drives[0].next, all.drives[0].next);
    assert_eq!(own.drives[0].copy_psnr_db, all.drives[0].copy_psnr_db);
    assert_eq!(measured(&[0], &mut block), measured(&[0], &mut block));

    let footages = pack.read(&[1]).unwrap();
    let copied = measure(&mut Copy::new(form), &footages.clips(4), Horizon::Next).unwrap();
    assert_eq!(copied.term_value(), Some(0));
}

/// A pack whose file `name` was changed after it was built.
fn refused(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let directory = tempfile::tempdir().unwrap();
    build(&[drive("a", 300), drive("b", 300)], &options(), directory.path()).unwrap();
    let path = directory.path().join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = Pack::open(directory.path()).and_then(|pack| pack.read(&[0, 1, 2, 3])).unwrap_err();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        said += &format!(": {source}");
        cause = source.source();
    }
    said.replace(&*directory.path().to_string_lossy(), "PACK")
}

fn replaced(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(bytes)).unwrap();
    assert!(text.contains(from), "{text}");
    *bytes = text.replacen(from, to, 1).into_bytes();
}

#[test]
fn a_corrupt_part_is_refused_by_its_name() {
    let said = refused("part-2.bin", |bytes| bytes[100] ^= 1);
    assert!(said.starts_with("PACK/part-2.bin has SHA-256 "), "{said}");
    let said = refused("part-1.bin", |bytes| bytes.truncate(bytes.len() - 1));
    assert!(said.starts_with("PACK/part-1.bin has 9") && said.contains("pack.json says"), "{said}");
    let said = refused("part-3.bin", |bytes| bytes.push(0));
    assert!(said.starts_with("PACK/part-3.bin has "), "{said}");
}

#[test]
fn a_wrong_manifest_is_refused_with_the_place() {
    let with = |from: &str, to: &str| refused("pack.json", |bytes| replaced(bytes, from, to));
    let said = with("\"schema\":1", "\"schema\":2");
    assert_eq!(said, "PACK/pack.json: schema: 2 is not allowed, expected 1");
    let said = with("\"drive\":1", "\"drive\":2");
    assert_eq!(said, "PACK/pack.json: parts[0].runs[1].drive: 2 is not allowed, expected below 2");
    let said = with("\"width\":16", "\"width\":65535");
    assert!(said.starts_with("PACK/pack.json: parts[0].bytes: "), "{said}");
    let said = with("\"rate_hz\":10.0", "\"rate_hz\":1e999");
    assert!(
        said.starts_with("PACK/pack.json: not a manifest of schema 1: number out of"),
        "{said}"
    );
    let said = with("\"id\":\"roads\"", "\"id\":\"../roads\"");
    assert!(said.contains("id: ../roads is not allowed"), "{said}");
    let said = with("\"context\":4", "\"context\":4,\"signed\":true");
    assert!(said.contains("unknown field `signed`"), "{said}");
    let said = with("\"name\":\"b\"", "\"name\":\"a\"");
    assert!(said.contains("drives[1].name: a is not allowed"), "{said}");
    let said = refused("pack.json", |bytes| bytes.resize(60_001, b' '));
    assert_eq!(said, "PACK/pack.json: more than 60000 bytes");
}

/// What is built can be signed.
#[test]
fn more_drives_than_a_signed_document_names_are_no_pack() {
    let directory = tempfile::tempdir().unwrap();
    let drives: Vec<Drive> = (0..400).map(|k| drive(&format!("drive-{k:03}"), 130)).collect();
    let said = build(&drives, &options(), directory.path()).unwrap_err().to_string();
    assert!(said.contains("at most 60000 fit into a signed document: build several"), "{said}");
    let few = drives.get(..100).unwrap();
    build(few, &options(), directory.path()).unwrap();
    assert!(Pack::open(directory.path()).unwrap().manifest_bytes().len() <= MANIFEST_BYTES_MAX);
}

/// Signed manifests name their bytes: those of a pack of skill stay what they are.
#[test]
fn a_pack_of_skill_is_byte_for_byte_what_it_was_before_there_were_others() {
    use sha2::{Digest, Sha256};

    let directory = tempfile::tempdir().unwrap();
    let road = drive("a", 88);
    build(std::slice::from_ref(&road), &options(), directory.path()).unwrap();
    let hash = |bytes: &[u8]| crate::digits::hex(&Sha256::digest(bytes));
    // Frames 56 to 69 are the pack's, in two runs.
    let part = |first: usize, frames: usize| {
        let bytes = road.frames(first..first + frames);
        assert_eq!(fs::read(directory.path().join(part_file((first - 56) / 7))).unwrap(), bytes);
        format!(
            r#"{{"bytes":{},"sha256":"{}","runs":[{{"drive":0,"first":{first},"frames":{frames}}}]}}"#,
            bytes.len(),
            hash(bytes)
        )
    };
    let none = format!(r#"{{"bytes":0,"sha256":"{}","runs":[]}}"#, hash(&[]));
    let (first, second) = (part(56, 7), part(63, 7));
    let psnr = serde_json::to_string(&crate::measure::copy_psnr_db(&road)).unwrap();
    let source = "07".repeat(32);
    let golden = format!(
        r#"{{"schema":1,"id":"roads","version":1,"metric":"skill","licence":"CC0-1.0","width":16,"height":8,"rate_hz":10.0,"context":4,"drives":[{{"name":"a","source_sha256":"{source}","copy_psnr_db":{psnr}}}],"parts":[{first},{second},{none},{none}]}}"#
    ) + "\n";
    let written = fs::read_to_string(directory.path().join(MANIFEST_FILE)).unwrap();
    assert_eq!(written, golden);
}

#[test]
fn runs_that_share_a_frame_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = build(&[drive("a", 300)], &options(), directory.path()).unwrap();
    let (first, runs) = (manifest.parts[0].runs[0].first, manifest.parts[0].runs[0].frames);
    manifest.parts[1].runs[0].first = first + runs - 1;
    let error = Manifest::from_bytes(&manifest.to_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parts[1].runs[0]: shares frames with parts[0].runs[0]; two parts never share a frame"
    );
}

#[test]
fn a_pack_is_built_into_an_empty_directory_only_and_of_like_drives() {
    let directory = tempfile::tempdir().unwrap();
    let built = build(&[drive("a", 300)], &options(), directory.path()).unwrap();
    assert_eq!(Pack::open(directory.path()).unwrap().manifest(), &built);
    assert_eq!(manifest(&[drive("a", 300)], &options()).unwrap(), built, "said without writing");
    let again = build(&[drive("a", 300)], &options(), directory.path());
    assert!(matches!(again, Err(BuildPackError::NotEmpty { .. })));

    let out = directory.path().join("new");
    let mut other = drive("b", 300);
    other.rate_hz = 20.0;
    let mixed = build(&[drive("a", 300), other], &options(), &out).unwrap_err();
    assert_eq!(
        mixed.to_string(),
        "b has 16×8 at 20 Hz, the drives before it 16×8 at 10 Hz: open all at one size and rate"
    );
    let none = build(&[drive("a", 20)], &options(), &out);
    assert!(matches!(none, Err(BuildPackError::NoClips { drives: 1 })));
    let unnamed = PackOptions { id: String::new(), ..options() };
    assert!(matches!(build(&[drive("a", 300)], &unnamed, &out), Err(BuildPackError::Manifest(_))));
    assert!(!out.exists());
}

#[test]
fn a_directory_without_a_manifest_is_no_pack() {
    let error = Pack::open(Path::new("no/such/pack")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read no/such/pack/pack.json");
    let directory = tempfile::tempdir().unwrap();
    build(&[drive("a", 300)], &options(), directory.path()).unwrap();
    let pack = Pack::open(directory.path()).unwrap();
    assert!(matches!(pack.read(&[4]), Err(ReadPackError::NoPart { part: 4 })));
}

/// Every byte of the manifest changed in turn: it is refused or still a pack, and nothing panics.
#[test]
fn no_manifest_panics() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = build(&[drive("a", 120)], &options(), directory.path()).unwrap();
    let bytes = manifest.to_bytes();
    let mut refused = 0;
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] = [b'9', b'-', b'"', b'}', b'e'][place % 5];
        fs::write(directory.path().join(MANIFEST_FILE), changed).unwrap();
        let read = Pack::open(directory.path()).and_then(|pack| pack.read(&pack.parts()));
        refused += usize::from(read.is_err());
    }
    assert!(refused > bytes.len() / 3, "{refused} of {}", bytes.len());
}
