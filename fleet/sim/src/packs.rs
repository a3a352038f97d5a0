//! Packs that an output folder has already: they are used again if they are what would be built.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use shoal_shadow::pack::{MANIFEST_FILE, Manifest, ManifestError, PARTS, Pack, ReadPackError};

/// A pack in the folder of a run was made of something else.
#[derive(Debug, thiserror::Error)]
#[error("{} is of another configuration: name another folder, or remove it", path.display())]
pub struct OtherPack {
    /// Where it is.
    pub path: PathBuf,
}

/// The pack in `folder` if there is one, which has to be the one that would be built. Of one that was cut while it was built the files
/// are removed, so that it can be.
///
/// # Errors
/// [`OtherPack`].
pub(crate) fn there(folder: &Path, would_be: &Manifest) -> Result<Option<Pack>, OtherPack> {
    let wanted = would_be.to_bytes();
    let cut = match Pack::open(folder) {
        Ok(pack) if pack.manifest_bytes() == wanted => return Ok(Some(pack)),
        // Without its last line's end.
        Ok(pack) if wanted.starts_with(pack.manifest_bytes()) => true,
        Ok(_other) => return Err(OtherPack { path: folder.to_owned() }),
        Err(error) => was_cut(&error),
    };
    if cut {
        remove_parts(folder);
    }
    Ok(None)
}

/// Whether there is no manifest, which is written last, or not all of it.
fn was_cut(error: &ReadPackError) -> bool {
    match error {
        ReadPackError::Read { source, .. } => source.kind() == ErrorKind::NotFound,
        ReadPackError::Manifest { source: ManifestError::Json(source), .. } => {
            source.is_eof() || source.is_syntax()
        }
        ReadPackError::Manifest { .. }
        | ReadPackError::Length { .. }
        | ReadPackError::Hash { .. }
        | ReadPackError::Frames { .. }
        | ReadPackError::Row { .. }
        | ReadPackError::NoPart { .. } => false,
    }
}

/// Removes the files of a pack, and nothing else that is there: what stays is said by who builds.
fn remove_parts(folder: &Path) {
    let parts = (0..PARTS).map(|part| format!("part-{part}.bin"));
    for name in parts.chain([MANIFEST_FILE.to_owned()]) {
        let _stays = fs::remove_file(folder.join(name));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    #[test]
    fn a_pack_that_was_cut_while_it_was_built_is_built_anew() {
        let folder = tempfile::tempdir().unwrap();
        let whole = open(120, folder.path()).unwrap().packs[0].sha256();
        let pack = folder.path().join("pack");
        let (part, manifest) = (pack.join("part-0.bin"), pack.join("pack.json"));
        let (frames, bytes) = (fs::read(&part).unwrap(), fs::read(&manifest).unwrap());

        fs::remove_dir_all(&pack).unwrap();
        fs::create_dir(&pack).unwrap();
        fs::write(&part, &frames[..frames.len() / 2]).unwrap();
        assert_eq!(open(120, folder.path()).unwrap().packs[0].sha256(), whole, "a part alone");
        for cut in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&manifest, &bytes[..cut]).unwrap();
            let again = open(120, folder.path()).unwrap();
            assert_eq!(again.packs[0].sha256(), whole, "{cut} bytes of the manifest");
            assert_eq!(fs::read(&part).unwrap(), frames);
        }

        // What no build wrote is somebody's.
        fs::remove_file(&manifest).unwrap();
        fs::write(pack.join("notes.txt"), "mine").unwrap();
        assert!(matches!(open(120, folder.path()), Err(RoadsError::Build(_))));
        assert!(pack.join("notes.txt").is_file());
    }
}
