//! Recorded drives and logs, which the repository does not hold.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of recorded data, `drives` or `logs`; `None` on a machine without any.
pub fn folder(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("SHOAL_DATA").map_or_else(beside, PathBuf::from);
    Some(data.join(name)).filter(|folder| folder.is_dir())
}

/// Copies every other frame of the recorded tub, which are ten in a second, to a folder a vehicle.
///
/// # Panics
/// When they cannot be copied.
pub fn copy_frames(tub: &Path, vehicles: u32, frames: usize, to: &Path) {
    let mut first = 0;
    for vehicle in 0..vehicles {
        let folder = to.join(format!("tub-{vehicle}"));
        fs::create_dir_all(&folder).expect("a folder");
        for frame in 0..frames {
            let number = first + 2 * frame;
            let image = tub.join(format!("images/{number}_cam_image_array_.jpg"));
            fs::copy(&image, folder.join(format!("{frame:06}.jpg"))).expect("a frame");
        }
        first += 2 * frames;
    }
}
