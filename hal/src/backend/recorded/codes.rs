//! Streams of codes: a camera's frames as a tokenizer wrote them, a numpy array `[frames, …]` of int64.
//!
//! commaVQ's are `[1200, 128]` at 20 Hz.

use std::path::Path;

use super::npy::{Array, Data, NpyError, read_npy};

/// The codes at `path`, frame by frame, `frame` codes each.
///
/// # Errors
/// [`NpyError`]: no array, not int64, or of another number of codes a frame.
pub fn read_codes(path: &Path, frame: usize) -> Result<Vec<i64>, NpyError> {
    let Array { dims, data } = read_npy(path)?;
    let wrong = |what| NpyError::Format { path: path.to_owned(), what };
    let Data::I64(codes) = data else { return Err(wrong("its codes are not int64")) };
    // A header without data can name any dimensions.
    let product =
        |of_one: &[usize]| of_one.iter().try_fold(1, |all: usize, dim| all.checked_mul(*dim));
    match dims.split_first() {
        Some((_frames, of_one)) if product(of_one) == Some(frame) => Ok(codes),
        Some(_) | None => Err(wrong("its frames have another number of codes than the model's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_whole_frames_are_read_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.npy");
        let write = |shape: &str, codes: std::ops::Range<i64>| {
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            let header =
                format!("{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}\n");
            file.extend((header.len() as u16).to_le_bytes());
            file.extend(header.as_bytes());
            file.extend(codes.flat_map(i64::to_le_bytes));
            std::fs::write(&path, file).unwrap();
        };
        write("(2, 3)", 0..6);
        assert_eq!(read_codes(&path, 3).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert!(read_codes(&path, 2).is_err());
        // No frame, and codes of one beyond any count.
        write("(0, 4294967296, 4294967296)", 0..0);
        assert!(read_codes(&path, 3).is_err());
    }
}
