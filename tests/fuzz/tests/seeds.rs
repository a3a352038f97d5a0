//! The corpus of `wire` begins with the golden bytes of the format: `SHOAL_WRITE_VECTORS=1 cargo test -p shoal-fuzz
//! --test seeds` writes it anew, as it does the golden bytes in ota/wire.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use serde_json::Value;

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
    for case in vectors("topics.json") {
        let topic = case["topic"].as_str().unwrap();
        seeds.push((format!("topic-{}", case["name"].as_str().unwrap()), topic.into()));
    }
    seeds
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/wire").join(name)
}

#[test]
fn the_corpus_of_wire_holds_the_golden_bytes() {
    for (name, bytes) in seeds() {
        if std::env::var_os("SHOAL_WRITE_VECTORS").is_some() {
            std::fs::create_dir_all(path("")).unwrap();
            std::fs::write(path(&name), &bytes).unwrap();
        }
        let kept = std::fs::read(path(&name)).unwrap();
        assert!(kept == bytes, "{name} is not golden: SHOAL_WRITE_VECTORS=1 writes it anew");
    }
}
