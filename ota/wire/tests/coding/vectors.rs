//! Golden bytes: runs with their chunks and what every receiver sees of them, and bytes that are refused. A change
//! here is a change of the format, or of the encoder's choices: equal merges would have other hashes.
//! `SHOAL_WRITE_VECTORS=1 cargo test -p shoal-wire` writes the file anew.

use std::path::PathBuf;

use crate::chance::ADAPTER;
use crate::common::{bits, decode, encode_into};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shoal_wire::coding::RejectChunk;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/coding.json")
}

fn golden() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// f32 as its bits.
fn words(values: &[f32]) -> String {
    let words: Vec<String> =
        values.iter().map(|value| format!("{:08x}", value.to_bits())).collect();
    words.join(" ")
}

fn from_words(text: &str) -> Vec<f32> {
    let words = text.split_whitespace();
    words.map(|word| f32::from_bits(u32::from_str_radix(word, 16).unwrap())).collect()
}

/// A bell without a logarithm: the same bits everywhere.
fn bell(seed: u32, count: u32, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        i32::try_from(state >> 16).unwrap()
    };
    (0..count).map(|_i| (next() + next() + next() + next() - 131_070) as f32 * scale).collect()
}

fn run(name: &str, quality: u8, tensors: &[u32], values: &[f32], chunk_bytes_max: usize) -> Value {
    let coded = encode_into(quality, tensors, values, chunk_bytes_max).unwrap();
    let chunks: Vec<Value> = coded
        .chunks
        .iter()
        .map(|(first, values, bytes)| {
            json!({ "first_value": first, "values": values, "bytes": hex(bytes) })
        })
        .collect();
    json!({
        "name": name, "quality": quality, "tensors": tensors, "values": words(values),
        "chunk_bytes_max": chunk_bytes_max, "chunks": chunks, "received": words(&coded.received),
    })
}

/// A whole adapter: too long to list, so by the SHA-256 of its chunks one after the other, and of the bits, little-endian,
/// of what is received. A machine with another order of arithmetic is found here.
fn hashed(quality: u8) -> Value {
    let tensors = (1..).zip(ADAPTER).map(|(seed, len)| bell(seed, len, seed as f32 * 1e-8));
    let values = tensors.collect::<Vec<_>>().concat();
    let coded = encode_into(quality, &ADAPTER, &values, 1 << 12).unwrap();
    let (mut chunks, mut received) = (Sha256::new(), Sha256::new());
    coded.chunks.iter().for_each(|(_first, _values, bytes)| chunks.update(bytes));
    coded.received.iter().for_each(|value| received.update(value.to_le_bytes()));
    json!({
        "name": "an adapter", "quality": quality, "count": coded.chunks.len(),
        "sha256_chunks": hex(&chunks.finalize()), "sha256_received": hex(&received.finalize()),
    })
}

fn refused(name: &str, announced: u32, bytes: &[u8], outcome: &str) -> Value {
    json!({ "name": name, "announced": announced, "bytes": hex(bytes), "outcome": outcome })
}

fn cases() -> Value {
    let bells = [bell(1, 150, 1e-6), bell(2, 40, 3e-7), bell(3, 90, 2e-6)].concat();
    let tensors = [150, 40, 90];
    let mut cases: Vec<Value> =
        (1..=8).map(|quality| run("three bells", quality, &tensors, &bells, 1 << 16)).collect();
    let mut outlier = bell(4, 120, 1e-6);
    outlier[17] = -40.0;
    let signs: Vec<f32> =
        bell(5, 100, 1.0).iter().map(|value| 0.003_f32.copysign(*value)).collect();
    let mut sparse = vec![0.0; 200];
    sparse[3] = 0.5;
    sparse[190] = -0.25;
    cases.extend([
        run("several chunks", 4, &[150, 40, 90], &bells, 60),
        run("an outlier", 8, &[120], &outlier, 1 << 16),
        run("one magnitude", 1, &[100], &signs, 1 << 16),
        run("sparse", 3, &[200], &sparse, 1 << 16),
        run("one value", 4, &[1], &[-0.7], 1 << 16),
        run(
            "zeros, then values",
            2,
            &[70, 0, 4],
            &[&[0.0; 70][..], &[1.0, -1.0, 0.5, 0.1]].concat(),
            1 << 16,
        ),
        run(
            "extremes",
            4,
            &[5],
            &[f32::MAX, -f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), -0.0],
            1 << 16,
        ),
    ]);
    cases.extend((1..=8).map(hashed));
    let good = encode_into(4, &tensors, &bells, 1 << 16).unwrap().chunks.remove(0).2;
    let (last, cut) = good.split_last().unwrap();
    let other_end = [cut, &[last ^ 1]].concat();
    cases.extend([
        refused("cut off", 280, cut, "cut off"),
        refused("a byte too many", 280, &[&good[..], &[0]].concat(), "trailing"),
        refused("fewer announced", 279, &good, "too many values"),
        refused("more announced", 281, &good, "end"),
        refused("another end", 280, &other_end, "end"),
        refused("all ones", 280, &[0xff; 40], "no symbol"),
        refused("no bytes", 280, &[], "cut off"),
        // Written by another implementation of SPEC.md than this one.
        refused(
            "a block of 32767 values",
            40_000,
            &from_hex("e3ffafc90eff100000"),
            "too many values",
        ),
        refused("a scale over 2^100", 1, &from_hex("038b24be100000"), "scale"),
        refused("a scale under 2^-126", 1, &from_hex("0003fec0100000"), "scale"),
        refused("a table past the grid", 1, &from_hex("01e38a9f1bbf100000"), "table"),
        refused("a level over 2^20", 1, &from_hex("01e388d6ea27f502c003bf100000"), "level"),
    ]);
    cases.into()
}

fn outcome(reject: RejectChunk) -> &'static str {
    match reject {
        RejectChunk::NoSymbol { .. } => "no symbol",
        RejectChunk::TooManyValues { .. } => "too many values",
        RejectChunk::Scale { .. } => "scale",
        RejectChunk::Table { .. } => "table",
        RejectChunk::Level { .. } => "level",
        RejectChunk::End { .. } => "end",
        RejectChunk::Trailing => "trailing",
        RejectChunk::CutOff { .. } => "cut off",
    }
}

#[test]
fn the_code_writes_the_golden_bytes() {
    let cases = cases();
    if std::env::var_os("SHOAL_WRITE_VECTORS").is_some() {
        std::fs::write(path(), format!("{cases:#}\n")).unwrap();
    }
    assert_eq!(cases, golden());
}

#[test]
fn the_code_reads_and_refuses_as_the_vectors_say() {
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    for case in golden().as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        if case["sha256_chunks"].is_string() {
            continue; // by what the code writes
        }
        let Some(chunks) = case["chunks"].as_array() else {
            let refused = decode(number(&case["announced"]), &from_hex(text("bytes")), &[7]);
            assert_eq!(refused.map_err(outcome), Err(text("outcome")), "{}", text("name"));
            continue;
        };
        let received = from_words(text("received"));
        for chunk in chunks {
            let (first, values) = (number(&chunk["first_value"]), number(&chunk["values"]));
            let decoded =
                decode(values, &from_hex(chunk["bytes"].as_str().unwrap()), &[7]).unwrap();
            let range = first as usize..(first + values) as usize;
            assert_eq!(bits(&decoded), bits(&received[range]), "{}", text("name"));
        }
    }
}
