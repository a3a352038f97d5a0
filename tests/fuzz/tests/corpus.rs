//! The corpus of every fuzz target runs as a test: yesterday's findings stay found.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

fn each(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    assert!(files.len() > 10, "{target}: {} files", files.len());
    for file in files {
        eprintln!("{}", file.display());
        entry(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn no_file_of_the_onnx_corpus_panics() {
    each("onnx", shoal_fuzz::onnx);
}

#[test]
fn no_file_of_the_safetensors_corpus_panics() {
    each("safetensors", shoal_fuzz::safetensors);
}

#[test]
fn no_file_of_the_onnx_adapter_corpus_panics() {
    each("onnx_adapter", shoal_fuzz::onnx_adapter);
}

#[test]
fn no_file_of_the_external_corpus_panics() {
    each("external", shoal_fuzz::external);
}

#[test]
fn no_file_of_the_coding_corpus_panics() {
    each("coding", shoal_fuzz::coding);
}

#[test]
fn no_file_of_the_wire_corpus_panics() {
    each("wire", shoal_fuzz::wire);
}

#[test]
fn no_file_of_the_campaign_corpus_panics() {
    each("campaign", shoal_fuzz::campaign);
}

#[test]
fn no_file_of_the_metadata_corpus_panics() {
    each("metadata", shoal_fuzz::metadata);
}

#[test]
fn no_file_of_the_gateway_corpus_panics() {
    each("gateway", shoal_fuzz::gateway);
}

#[test]
fn no_file_of_the_dbc_corpus_panics() {
    each("dbc", shoal_fuzz::dbc);
}

#[test]
fn no_file_of_the_pack_corpus_panics() {
    each("pack", shoal_fuzz::pack);
}

#[test]
fn no_file_of_the_saved_corpus_panics() {
    each("saved", shoal_fuzz::saved);
}

#[test]
fn no_file_of_the_log_corpus_panics() {
    each("log", shoal_fuzz::log);
}

#[test]
fn no_file_of_the_insider_corpus_panics() {
    each("insider", shoal_fuzz::insider);
}

#[test]
fn no_file_of_the_recorded_corpus_panics() {
    each("recorded", shoal_fuzz::recorded);
}

#[test]
fn no_file_of_the_mqtt_corpus_panics() {
    each("mqtt", shoal_fuzz::mqtt);
}

#[test]
fn no_file_of_the_stored_corpus_panics() {
    each("stored", shoal_fuzz::stored);
}

#[test]
fn no_file_of_the_asked_corpus_panics() {
    each("asked", shoal_fuzz::asked);
}

#[test]
fn no_file_of_the_camera_corpus_panics() {
    each("camera", shoal_fuzz::camera);
}

/// What the documents promise: docs/security.md names every target, with what it feeds.
#[test]
fn every_target_is_in_the_table_of_decoders() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let security = std::fs::read_to_string(package.join("../../docs/security.md")).unwrap();
    let table = security.split("\n## ").find(|section| section.starts_with("Decoders\n")).unwrap();
    let names = |folder: &str| -> Vec<String> {
        let files = std::fs::read_dir(package.join(folder)).unwrap().flatten();
        let name =
            |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = files.map(|file| name(file.path())).collect();
        names.sort();
        names
    };
    let targets = names("src/bin");
    assert_eq!(names("corpus"), targets, "each target has a corpus");
    for target in targets {
        let named = format!("[`{target}`](../tests/fuzz/src/");
        assert!(table.contains(&named), "{target} feeds nothing that the table names");
    }
}
