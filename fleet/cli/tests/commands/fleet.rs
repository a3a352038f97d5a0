//! `shoal fleet`: what the authority signs, and what each vehicle is told.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use shoal_shadow::pack::Pack;
use shoal_vehicle::config::Config;
use shoal_wire::v1::{Document, Roster, RosterPage, SwarmDocument, UtilityDocument, WindowPlan};
use shoal_wire::{Body, KeyId, Keys, Kind, PackHash, PublicKey, Unverified, Verified};

use super::{drives, package, shoal, text};

/// A key that may sign everything.
struct Authority(PublicKey);

impl Keys for Authority {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (id == self.0.id()).then_some(self.0)
    }
}

/// A fleet of two vehicles in `folder`/fleet, made from number 7.
fn fleet(folder: &Path) -> PathBuf {
    let (pack, fleet) = (folder.join("pack"), folder.join("fleet"));
    let (package, drives) = (package(), drives(folder, 120));
    let build = ["pack", "build", text(&drives), "--package", text(&package), "-o", text(&pack)];
    assert!(shoal(&build).status.success());
    let init =
        ["fleet", "init", text(&fleet), "--vehicles", "2", "--pack", text(&pack), "--seed", "7"];
    let output =
        shoal(&[&init[..], &["--package", text(&package), "--epoch", "1800000000"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fleet
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(path).unwrap())),
        }
    }
    found
}

fn verified<'a, T: Body<'a>>(bytes: &'a [u8], keys: &Authority) -> Verified<'a, T> {
    Unverified::decode(bytes).unwrap().verify(keys).unwrap()
}

#[test]
fn a_fleet_is_made_whose_documents_the_vehicles_can_verify() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let config = Config::read(&fleet.join("vehicle-1/vehicle.toml")).unwrap();
    let told = config.fleet.unwrap();
    assert!(told.exchange && told.key.is_file() && told.pack.is_dir());
    assert_ne!(told.authority, told.timekeeper);
    let keys = Authority(told.authority);
    let read = |name: &str| std::fs::read(fleet.join("documents").join(name)).unwrap();

    let (head, page) = (read("roster.shl"), read("rosterpage-0.shl"));
    let page = verified::<RosterPage<'_>>(&page, &keys);
    verified::<Roster<'_>>(&head, &keys).body().check(&page).unwrap();
    assert_eq!(page.body().vehicles().len(), 2);
    let pack = Pack::open(&told.pack).unwrap();
    let manifest = read("pack.shl");
    let manifest = verified::<Document<'_>>(&manifest, &keys);
    assert_eq!(manifest.body().fields().bytes, pack.manifest_bytes());
    let (utility, plan, swarm) = (read("utility.shl"), read("plan.shl"), read("swarm.shl"));
    let utility = verified::<UtilityDocument>(&utility, &keys);
    assert_eq!(utility.body().fields().terms[0].pack, PackHash::new(pack.sha256()));
    assert_eq!(verified::<WindowPlan>(&plan, &keys).body().fields().epoch_seconds, 1_800_000_000);
    assert_eq!(verified::<SwarmDocument>(&swarm, &keys).body().fields().rank, 8);
}

#[test]
fn a_fleet_made_twice_from_one_number_is_the_same_and_its_keys_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let before = files(&fleet);
    let key = fleet.join("vehicle-0/vehicle.key");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let (pack, package) = (folder.path().join("pack"), package());
    let again = ["fleet", "init", text(&fleet), "--vehicles", "2", "--pack", text(&pack)];
    let again = shoal(&[&again[..], &["--package", text(&package)]].concat());
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot make"));
    assert_eq!(files(&fleet), before);

    std::fs::remove_dir_all(&fleet).unwrap();
    std::fs::remove_dir_all(pack).unwrap();
    self::fleet(folder.path());
    assert_eq!(files(&fleet), before);
}
