//! Packs that an output folder has already: they are used again if they are what would be built.

use std::path::{Path, PathBuf};

use shoal_shadow::pack::{Manifest, Pack};

/// A pack in the folder of a run was made of something else.
#[derive(Debug, thiserror::Error)]
#[error("{} is of another configuration: name another folder, or remove it", path.display())]
pub struct OtherPack {
    /// Where it is.
    pub path: PathBuf,
}

/// The pack in `folder` if there is one, which has to be the one that would be built.
///
/// # Errors
/// [`OtherPack`].
pub(crate) fn there(folder: &Path, would_be: &Manifest) -> Result<Option<Pack>, OtherPack> {
    match Pack::open(folder) {
        Ok(pack) if pack.manifest_bytes() == would_be.to_bytes() => Ok(Some(pack)),
        Ok(_other) => Err(OtherPack { path: folder.to_owned() }),
        Err(_not_there) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use shoal_hal::FrameShape;
    use shoal_shadow::form::{Form, MotionInput};

    use crate::config::SimConfig;
    use crate::roads::{Roads, RoadsError};

    fn open(frames: u32, folder: &std::path::Path) -> Result<Roads, RoadsError> {
        let text = format!(
            "vehicles = 1\nwindows = 1\n[roads]\nregions = [\"snow\"]\nframes = {frames}\n[[methods]]\n\
             name = \"alone\"\nkind = \"local\"\n"
        );
        let shape = FrameShape { width: 16, height: 8 };
        let form = Form { shape, frames: 2, context: 2, rate_hz: 10.0, motion: MotionInput::NONE };
        Roads::open(&SimConfig::parse("fleet.toml", &text).unwrap(), &form, folder)
    }

    #[test]
    fn a_pack_of_other_roads_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(120, folder.path()).unwrap();
        let again = open(120, folder.path()).unwrap();
        assert_eq!(first.packs[0].sha256(), again.packs[0].sha256());
        let other = open(160, folder.path());
        assert!(matches!(other, Err(RoadsError::Other(_))), "{:?}", other.err());
    }
}
