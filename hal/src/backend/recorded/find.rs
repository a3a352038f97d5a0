//! Which files and folders below a directory are drives.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::OpenError;

/// Files and folders looked at, at most.
const ENTRIES_MAX: usize = 2_000_000;

/// Folders within folders, at most; deeper ones are not looked into.
const DEPTH_MAX: usize = 8;

/// A drive that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Path relative to the directory searched, `/` between names; `.` for the directory itself.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    /// A folder of frames: their file names, in order.
    Folder(Vec<OsString>),
    Tub,
    /// A tub as donkeycar wrote it before 4.0: a JSON file beside each picture.
    OldTub,
}

/// Every drive below `dir`, sorted by path, bytewise.
///
/// A folder with `manifest.json` and a catalog or a folder `images` is a tub, and its pictures are no drive of their own.
/// A folder with PNG or JPEG files in it is one drive of frames; the videos and folders beside them
/// are looked at too. Links are followed; names that start with a dot are not looked at.
pub(super) fn find(dir: &Path) -> Result<Vec<Found>, OpenError> {
    let mut search = Search { dir, entries_left: ENTRIES_MAX, found: Vec::new() };
    search.folder(dir, &mut Vec::new())?;
    let mut found = search.found;
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

struct Search<'a> {
    dir: &'a Path,
    entries_left: usize,
    /// With the bytes of the relative path, to sort by.
    found: Vec<(Vec<u8>, Found)>,
}

impl Search<'_> {
    /// Looks into `folder`; `above` are the folders it is in, links resolved.
    fn folder(&mut self, folder: &Path, above: &mut Vec<PathBuf>) -> Result<(), OpenError> {
        let failed = |source| OpenError::List { path: folder.to_owned(), source };
        let real = fs::canonicalize(folder).map_err(failed)?;
        if above.len() > DEPTH_MAX || above.contains(&real) {
            return Ok(());
        }
        let (mut frames, mut folders) = (Vec::new(), Vec::new());
        let (mut manifest, mut catalog, mut pictures) = (false, false, false);
        let mut old_record = false;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            self.entries_left = self.entries_left.checked_sub(1).ok_or_else(|| {
                OpenError::TooManyFiles { path: self.dir.to_owned(), entries_max: ENTRIES_MAX }
            })?;
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(&name);
            // A link to nothing is nothing.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                pictures |= name == "images";
                folders.push(path);
            } else if metadata.is_file() {
                manifest |= name == "manifest.json";
                old_record |= name == "record_0.json" || name == "record_1.json";
                catalog |= has_extension(&name, &["catalog"]);
                if has_extension(&name, &["mp4"]) {
                    self.add(path, Kind::Video);
                } else if has_extension(&name, &["png", "jpg", "jpeg"]) {
                    frames.push(name);
                }
            }
        }
        if manifest && (catalog || pictures) {
            self.add(folder.to_owned(), Kind::Tub);
            return Ok(());
        }
        if old_record {
            self.add(folder.to_owned(), Kind::OldTub);
            return Ok(());
        }
        if !frames.is_empty() {
            frames.sort_by(|a, b| frame_order(a, b));
            self.add(folder.to_owned(), Kind::Folder(frames));
        }
        above.push(real);
        for folder in folders {
            self.folder(&folder, above)?;
        }
        above.pop();
        Ok(())
    }

    fn add(&mut self, path: PathBuf, kind: Kind) {
        let relative = path.strip_prefix(self.dir).unwrap_or(&path);
        let names: Vec<&[u8]> = relative.iter().map(OsStr::as_encoded_bytes).collect();
        let key = names.join(&b'/');
        let name = if key.is_empty() { ".".into() } else { String::from_utf8_lossy(&key).into() };
        self.found.push((key, Found { name, path, kind }));
    }
}

fn has_extension(name: &OsStr, extensions: &[&str]) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| extensions.iter().any(|wanted| found.eq_ignore_ascii_case(wanted)))
}

/// Order of the frames of a folder: runs of digits by their number, all else bytewise. Where every
/// number has as many digits this is bytewise order; `frame_9.png` comes before `frame_10.png`.
fn frame_order(a: &OsStr, b: &OsStr) -> Ordering {
    let (mut a_left, mut b_left) = (a.as_encoded_bytes(), b.as_encoded_bytes());
    loop {
        let (Some(x), Some(y)) = (a_left.first(), b_left.first()) else {
            // Equal but for leading zeros, or one is the start of the other.
            return a_left.len().cmp(&b_left.len()).then_with(|| a.cmp(b));
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, y) = (take_number(&mut a_left), take_number(&mut b_left));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (a_left, b_left) = (&a_left[1..], &b_left[1..]);
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits that `name` starts with, without leading zeros.
fn take_number<'a>(name: &mut &'a [u8]) -> &'a [u8] {
    let end = name.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len());
    let (digits, rest) = name.split_at(end);
    *name = rest;
    &digits[digits.iter().position(|&digit| digit != b'0').unwrap_or(end)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        find(dir).unwrap().into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn drives_are_sorted_by_path_bytewise() {
        let dir = tree(&["b.mp4", "a/1.png", "a.MP4", "a0/x/f.JPEG", "B.mp4", "notes.txt"]);
        // Capitals come first; the end of a name before '.' before '0'.
        assert_eq!(names(dir.path()), ["B.mp4", "a", "a.MP4", "a0/x", "b.mp4"]);
    }

    #[test]
    fn a_tub_is_one_drive_and_its_pictures_are_none() {
        let dir = tree(&["t/manifest.json", "t/catalog_0.catalog", "t/images/0_cam.jpg"]);
        let found = find(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), &found[0].kind), ("t", &Kind::Tub));
    }

    #[test]
    fn frames_of_a_folder_are_in_the_order_of_their_numbers() {
        let dir = tree(&["f10.png", "f9.png", "f009.png", "f1.jpg", "g.png", ".f0.png"]);
        let found = find(dir.path()).unwrap();
        let want = ["f1.jpg", "f009.png", "f9.png", "f10.png", "g.png"].map(OsString::from);
        assert_eq!(found[0].kind, Kind::Folder(want.to_vec()));
        assert_eq!(found[0].name, ".");
    }

    #[test]
    fn a_link_to_a_folder_above_ends_the_search() {
        let dir = tree(&["a/b/c.mp4"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/b/up")).unwrap();
        assert_eq!(names(dir.path()), ["a/b/c.mp4"]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = find(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
