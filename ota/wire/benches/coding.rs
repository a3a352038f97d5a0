//! Coding: bits against the rate-distortion bound and the entropy of the levels, and values a second on one core:
//! `cargo bench -p shoal-wire --profile dev --bench coding -- [BEFORE AFTER]...`, each pair two safetensors files of an
//! adapter.
#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail by panicking")]

#[path = "../tests/coding/chance.rs"]
mod chance;

use std::collections::BTreeMap;
use std::hint::black_box;

use chance::{ADAPTER, Chance, bound_bits, entropies, snr_db};
use serde_json::Value;
use shoal_wire::coding::{ChunkDecoder, Encoder, Quality};

/// How long each measurement of time goes on, at least.
const SECONDS: f64 = 0.2;

fn main() {
    let mut chance = Chance(1);
    report("10⁶ Gaussian values", &Run::million(|| chance.gauss()));
    report("10⁶ Laplacian values", &Run::million(|| chance.laplace()));
    let values = Chance(3).displacement(&ADAPTER);
    report("Gaussian values in 26 tensors", &Run { values, tensors: ADAPTER.into() });
    let paths: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for pair in paths.chunks_exact(2) {
        report(&format!("{} → {}", pair[0], pair[1]), &Run::between(&pair[0], &pair[1]));
    }
}

/// Of one call.
fn seconds(mut call: impl FnMut()) -> f64 {
    let start = cpu_seconds();
    let mut calls = 0.0;
    loop {
        call();
        calls += 1.0;
        let passed = cpu_seconds() - start;
        if passed > SECONDS {
            return passed / calls;
        }
    }
}

/// Of this thread, as Linux counts it: what other programs do meanwhile does not count.
fn cpu_seconds() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = schedule.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}

struct Run {
    tensors: Vec<u32>,
    values: Vec<f32>,
}

impl Run {
    /// In tensors of one block each, so that each has one scale and its levels can be told.
    fn million(mut value: impl FnMut() -> f64) -> Self {
        Self {
            tensors: vec![10_000; 100],
            values: (0..1_000_000).map(|_i| value() as f32).collect(),
        }
    }

    /// What an adapter has moved by between two safetensors files with the same tensors of f32.
    fn between(before: &str, after: &str) -> Self {
        let (before, after) = (tensors(before), tensors(after));
        assert!(before.keys().eq(after.keys()), "other tensors");
        let moved = before.values().flatten().zip(after.values().flatten()).map(|(a, b)| b - a);
        let len = |values: &Vec<f32>| u32::try_from(values.len()).unwrap();
        Self { tensors: before.values().map(len).collect(), values: moved.collect() }
    }
}

fn tensors(path: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let (len, rest) = bytes.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*len)).unwrap());
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensor = |value: &Value| {
        let at = |index: usize| usize::try_from(value[index].as_u64().unwrap()).unwrap();
        let words = data[at(0)..at(1)].as_chunks::<4>().0.iter();
        words.map(|word| f32::from_le_bytes(*word)).collect()
    };
    let named = header.into_iter().filter(|(name, _value)| name != "__metadata__");
    named.map(|(name, value)| (name, tensor(&value["data_offsets"]))).collect()
}

/// One row a quality.
fn report(what: &str, run: &Run) {
    println!("\n{what}: {} values, {} tensors", run.values.len(), run.tensors.len());
    println!(
        "quality | bytes | of float32 | bit a value | SNR dB | over R(D) | over the entropy by tensor | of all | Mvalues/s encode | decode"
    );
    for bits in (1..=8).rev() {
        let quality = Quality::new(bits).unwrap();
        let coded = encode(quality, run);
        let encode_seconds = seconds(|| drop(black_box(encode(quality, run))));
        let decode_seconds = seconds(|| drop(black_box(decode(&coded))));
        assert!(decode(&coded) == coded.received, "a receiver sees what the encoder said");
        let values = run.values.len() as f64;
        let bytes: usize = coded.chunks.iter().map(|(_values, bytes)| bytes.len()).sum();
        let rate = 8.0 * bytes as f64 / values;
        let snr_db = snr_db(&run.values, &coded.received);
        let (each, all) = entropies(&run.tensors, &coded.received);
        println!(
            "{bits} | {bytes} | 1/{:.1} | {rate:.3} | {snr_db:.2} | {:.3} | {:.4} | {:.4} | {:.0} | {:.0}",
            32.0 / rate,
            rate - bound_bits(snr_db),
            rate - each / values,
            rate - all / values,
            values / encode_seconds / 1e6,
            values / decode_seconds / 1e6,
        );
    }
}

struct Coded {
    chunks: Vec<(u32, Vec<u8>)>,
    received: Vec<f32>,
}

fn encode(quality: Quality, run: &Run) -> Coded {
    let mut carried = run.values.clone();
    let mut received = vec![0.0; carried.len()];
    let mut buffer = vec![0; 1 << 16];
    let mut chunks = Vec::new();
    let mut encoder = Encoder::new(quality, &run.tensors, &mut carried, &mut received).unwrap();
    while let Some(chunk) = encoder.next_chunk(&mut buffer).unwrap() {
        chunks.push((chunk.values, chunk.bytes.to_vec()));
    }
    Coded { chunks, received }
}

fn decode(coded: &Coded) -> Vec<f32> {
    let mut values = Vec::with_capacity(coded.received.len());
    for (count, bytes) in &coded.chunks {
        let mut decoder = ChunkDecoder::new(*count);
        for piece in bytes.chunks(4096) {
            decoder.push(piece, |_index, value| values.push(value)).unwrap();
        }
        decoder.finish().unwrap();
    }
    values
}
