//! A measurement as bytes, for the store.

use serde::{Deserialize, Serialize};
use shoal_shadow::measure::{DriveMeasurement, Errors, Measurement};

/// One drive: its name, copy PSNR in dB, whether it is counted, and of each clip error, copy error and block.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    copy_psnr_db: f64,
    counted: bool,
    model: Vec<f64>,
    copy: Vec<f64>,
    block: Vec<u32>,
}

/// The bytes of what was measured of next frames; roll-outs are not kept.
pub(super) fn write(measured: &Measurement) -> Vec<u8> {
    let drive = |drive: &DriveMeasurement| Written {
        name: drive.name.clone(),
        copy_psnr_db: drive.copy_psnr_db,
        counted: drive.counted,
        model: drive.next.model.clone(),
        copy: drive.next.copy.clone(),
        block: drive.next.block.clone(),
    };
    let drives: Vec<Written> = measured.drives.iter().map(drive).collect();
    // Numbers and names can be written.
    postcard::to_stdvec(&(&measured.predictor, drives)).unwrap_or_default()
}

/// Reads it back; `None`: it is none.
pub(super) fn read(bytes: &[u8]) -> Option<Measurement> {
    let (predictor, drives): (String, Vec<Written>) = postcard::from_bytes(bytes).ok()?;
    let drives = drives.into_iter().map(|drive| {
        let Written { name, copy_psnr_db, counted, model, copy, block } = drive;
        let same = model.len() == copy.len() && copy.len() == block.len();
        same.then(|| DriveMeasurement {
            name,
            copy_psnr_db,
            counted,
            next: Errors { model, copy, block },
            rollout: Errors::default(),
        })
    });
    Some(Measurement { predictor, drives: drives.collect::<Option<Vec<_>>>()? })
}
