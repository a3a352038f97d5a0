//! A model and a file beside it, in a folder with neighbours.

use std::fs;

use shoal_runtime::onnx::Model;

/// What stands in a file outside the model's folder.
const SECRET: [u8; 32] = *b"what lies outside stays outside.";

/// Reads a model together with the file `w.bin` beside it: two bytes of the length of the model, the model, the file. In its folder
/// is a link to a file outside, which must never be read.
///
/// # Panics
/// If what was gathered holds the file outside, or is no model.
pub fn external(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((model, beside)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else {
        return;
    };
    let holds = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|part| part == SECRET);
    if holds(bytes) {
        return;
    }
    let around = tempfile::tempdir().expect("the system has a folder for such");
    let [secret, folder] = ["secret", "model"].map(|name| around.path().join(name));
    let file = folder.join("model.onnx");
    fs::write(&secret, SECRET)
        .and_then(|()| fs::create_dir(&folder))
        .and_then(|()| fs::write(&file, model))
        .and_then(|()| fs::write(folder.join("w.bin"), beside))
        .expect("the folder is ours");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, folder.join("link")).expect("the folder is ours");
    let Ok(read) = Model::read_with_data(&file) else { return };
    let Ok(written) = read.to_bytes() else { return };
    assert!(!holds(&written), "a file outside the model's folder was read");
    Model::from_bytes(written).expect("what was gathered is one file");
}
