//! The entry of the target `pack`: what an evaluation pack says of itself, and what stands beside its frames. Packs come from others.

use shoal_shadow::pack::{Manifest, Row};

/// Reads the bytes as a manifest and as rows of motion.
///
/// # Panics
/// If what is accepted is not what it is written as again.
pub fn pack(bytes: &[u8]) {
    let (rows, _rest) = bytes.as_chunks::<{ Row::BYTES }>();
    for row in rows {
        let Ok(row) = Row::from_bytes(row) else { continue };
        assert_eq!(Row::from_bytes(&row.to_bytes()), Ok(row), "a row is what it is written as");
    }
    let Ok(manifest) = Manifest::from_bytes(bytes) else { return };
    let again = Manifest::from_bytes(&manifest.to_bytes());
    assert!(again.is_ok_and(|again| again == manifest), "a manifest is what it is written as");
    let _counted = manifest.is_counted();
    let _measured = manifest.driving();
    let _rollouts = manifest.has_rollouts();
    let _shape = manifest.shape();
}
