//! The entry of the target `metadata`: documents of roots and of metadata, and map files.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use shoal_trust::author::{self, Roles};
use shoal_trust::{Map, Metadata, Repository};
use shoal_wire::SecretKey;

/// Some time before the metadata end, in seconds of UTC.
const NOW_S: u64 = 1_800_000_000;

/// Reads the bytes as a map file, as a newer root, and as each of the three files beside two that are good.
///
/// # Panics
/// If what is no root is followed, or what nobody signed is taken.
pub fn metadata(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _map = Map::parse(text);
    let Some((mut repository, good)) = repository() else { return };
    if let Ok(followed) = repository.follow(&[text.to_owned()]) {
        assert!(!followed || Repository::new(text).is_ok(), "a root is signed by its own keys");
    }
    let bad = |file: fn(&mut Metadata) -> &mut String| {
        let mut bad = good.clone();
        *file(&mut bad) = text.to_owned();
        bad
    };
    let all = [
        bad(|metadata| &mut metadata.timestamp),
        bad(|metadata| &mut metadata.snapshot),
        bad(|metadata| &mut metadata.targets),
    ];
    for bad in all {
        let same = bad == good;
        let taken = repository.take(bad, NOW_S);
        assert!(
            taken.is_err() || same || repository.targets().next().is_none(),
            "no signature can be guessed"
        );
    }
}

/// A vehicle's folder: a map of one repository, and its root.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("the system has a folder for such");
        let map = r#"{"repositories":{"image":[]},"mapping":[{"paths":["*"],"repositories":["image"],"threshold":1,"terminating":true}]}"#;
        fs::write(folder.path().join("map.json"), map)
            .and_then(|()| fs::write(folder.path().join("image.root.json"), root().0))
            .expect("the folder is ours");
        folder
    });
    folder.path()
}

/// A repository that names nothing, and its metadata.
fn repository() -> Option<(Repository, Metadata)> {
    let (root, metadata) = root();
    Some((Repository::new(&root).ok()?, metadata))
}

fn root() -> (String, Metadata) {
    let (people, keeper) =
        ([1, 2].map(|seed| SecretKey::from_seed(&[seed; 32])), SecretKey::from_seed(&[3; 32]));
    let [first, second] = &people;
    let roles = Roles {
        root: (people.iter().map(SecretKey::public).collect(), 2),
        targets: first.public(),
        timestamp: keeper.public(),
    };
    let ends_s = NOW_S + 1;
    let root = author::root(1, ends_s, &roles, &[first, second]).expect("they may sign it");
    let targets = author::targets(1, ends_s, &std::collections::BTreeMap::new(), first);
    let metadata = author::metadata(1, ends_s, (targets.expect("it may sign them"), 1), &keeper);
    (root, metadata.expect("it may sign them"))
}
