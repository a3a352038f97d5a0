//! The eight reference models, where they are at hand (`../shared/data`, or `SHOAL_DATA`).

use std::path::PathBuf;

use shoal_runtime::onnx::{Model, PinOptions, fold, pin};

fn models() -> Vec<PathBuf> {
    let data = std::env::var_os("SHOAL_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(data.join("models")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    files
}

#[test]
fn every_model_is_written_as_it_was_read() {
    for file in models() {
        let bytes = std::fs::read(&file).unwrap();
        let model = Model::read(&file).unwrap();
        assert_eq!(model.unknown_field(), None, "{}", file.display());
        assert!(model.to_bytes().unwrap() == bytes, "{}", file.display());
    }
}

#[test]
fn every_model_folds() {
    for file in models() {
        let model = Model::read(&file).unwrap();
        let folded = match fold(&pin(&model, &PinOptions::default()).unwrap()) {
            Ok(folded) => folded,
            Err(why) => panic!("{}: {why}", file.display()),
        };
        eprintln!(
            "{}: {} -> {}",
            file.display(),
            model.graph().node.len(),
            folded.model.graph().node.len()
        );
        folded
            .model
            .write(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file.file_name().unwrap()))
            .unwrap();
    }
}
