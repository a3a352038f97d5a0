//! `shoal fleet`: what the authority signs, and what each vehicle is told.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use shoal_gateway::Provision;
use shoal_hal::backend::hold::Hold;
use shoal_keys::KeyAt;
use shoal_shadow::digits::hash;
use shoal_shadow::pack::Pack;
use shoal_swarm::reinstated::{ORDERS_MAX, Reinstated};
use shoal_trust::{Metadata, Trust, document_name};
use shoal_vehicle::config::Config;
use shoal_wire::v1::{
    Document, DocumentFields, Roster, RosterPage, SwarmDocument, UtilityDocument, WindowPlan,
};
use shoal_wire::{
    Body, KeyId, Keys, Kind, PackHash, PublicKey, SecretKey, Unverified, Verified, seal,
};

use super::{SHOAL, drives, package, shoal, text};

/// A key that may sign everything.
struct Authority(PublicKey);

impl Keys for Authority {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (id == self.0.id()).then_some(self.0)
    }
}

/// A fleet of two vehicles in `folder`/fleet, made from number 7.
pub(crate) fn fleet(folder: &Path) -> PathBuf {
    fleet_with(folder, &[])
}

fn fleet_with(folder: &Path, more: &[&str]) -> PathBuf {
    fleet_at(folder, more, 1_800_000_000)
}

/// The same, whose window 0 opens then.
pub(crate) fn fleet_at(folder: &Path, more: &[&str], epoch_s: u64) -> PathBuf {
    let (pack, fleet) = (folder.join("pack"), folder.join("fleet"));
    let (package, drives) = (package(), drives(folder, 120));
    let build = ["pack", "build", text(&drives), "--package", text(&package), "-o", text(&pack)];
    assert!(shoal(&build).status.success());
    let init =
        ["fleet", "init", text(&fleet), "--vehicles", "2", "--pack", text(&pack), "--seed", "7"];
    let epoch = epoch_s.to_string();
    let output =
        shoal(&[&init[..], &["--package", text(&package), "--epoch", &epoch], more].concat());
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

/// What is flashed is what a gateway reads: the fleet's keys, the vehicle's conditions, and whose particles it takes.
#[test]
fn a_gateway_is_told_whose_it_is_and_whom_it_believes() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let told = Config::read(&fleet.join("vehicle-1/vehicle.toml")).unwrap().fleet.unwrap();
    let file = folder.path().join("gateway.bin");
    // As its help has it: by bare names, from where the fleet is.
    let args = ["fleet", "gateway", "fleet", "1", "-o", "gateway.bin"];
    let mut gateway = Command::new(SHOAL);
    gateway.current_dir(folder.path()).args(args);
    let output = gateway.args(["--publisher", "0", "--trial-frames", "70"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = Provision::decode(&std::fs::read(&file).unwrap()).unwrap();
    let keys = [told.authority, told.timekeeper].map(|key| *key.bytes());
    assert_eq!([read.authority, read.timekeeper], keys);
    let policy = (read.metered, read.driving, read.battery_soc_percent_min, read.temperature_c_max);
    let asked = (told.metered, told.while_driving, told.battery_soc_min_percent);
    assert_eq!(policy, (asked.0, asked.1, asked.2, told.temperature_max_c));
    assert_eq!((read.trial_frames_min, read.trial_loss_max), (70, 100_000));
    let public = |number: u32| {
        let seed = fleet.join(format!("vehicle-{number}/vehicle.key"));
        let seed = std::fs::read_to_string(seed).unwrap();
        SecretKey::from_seed(&hash(seed.trim_end()).unwrap()).public()
    };
    assert_eq!(read.vehicle, public(1).id());
    assert_eq!(read.publishers, [*told.authority.bytes(), *public(0).bytes()]);
    let gone = shoal(&["fleet", "gateway", text(&fleet), "7", "-o", text(&file)]);
    assert!(
        String::from_utf8_lossy(&gone.stderr).contains("no vehicle 7: the roster has 2 places")
    );
}

#[test]
fn a_vehicle_is_provisioned_with_a_folder_that_points_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let like = folder.path().join("like.toml");
    let looks_on = format!("[model]\nbeside = {:?}\n", text(&package()));
    std::fs::write(&like, looks_on).unwrap();
    let fleet = fleet_with(folder.path(), &["--vehicle", text(&like)]);
    let equipped = folder.path().join("equipped");
    let args = ["fleet", "provision", text(&fleet), "1", "-o", text(&equipped)];
    let output = shoal(&[&args[..], &["--broker", "mqtt://10.0.2.2:1884"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // Wherever it is put: the old places are gone.
    let moved = folder.path().join("moved");
    std::fs::rename(&equipped, &moved).unwrap();
    let told = Config::read(&fleet.join("vehicle-1/vehicle.toml")).unwrap();
    let config = Config::read(&moved.join("vehicle.toml")).unwrap();
    let (of_fleet, was) = (config.fleet.unwrap(), told.fleet.unwrap());
    let (KeyAt::File(key), KeyAt::File(was_key)) = (&of_fleet.key, &was.key) else {
        panic!("keys in files")
    };
    assert_eq!(*key, moved.join("keys/vehicle.key"));
    // Whoever runs the agent may read what it is told, and nobody else its key.
    for (name, mode) in
        [("keys", 0o700), ("keys/vehicle.key", 0o600), ("vehicle.toml", 0o644), ("pack", 0o755)]
    {
        let found = std::fs::metadata(moved.join(name)).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&found) & 0o777, mode, "{name}");
    }
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read(key).unwrap(), std::fs::read(was_key).unwrap());
    assert_eq!(
        Pack::open(&of_fleet.packs[0]).unwrap().sha256(),
        Pack::open(&was.packs[0]).unwrap().sha256()
    );
    assert_eq!(config.model.package, moved.join("model"));
    assert!(config.model.package.join("model.toml").is_file());
    assert_eq!(config.model.beside, Some(moved.join("beside")));
    assert!(moved.join("beside/model.toml").is_file());
    assert_eq!(of_fleet.broker, "mqtt://10.0.2.2:1884");
    assert_eq!((of_fleet.authority, config.drives.vehicle), (was.authority, 1));

    let again = shoal(&["fleet", "provision", text(&fleet), "1", "-o", text(&moved)]);
    assert!(!again.status.success(), "a folder is made once");
    let nowhere = folder.path().join("nowhere");
    let args = ["fleet", "provision", text(&fleet), "1", "-o", text(&nowhere)];
    let with_tls = shoal(&[&args[..], &["--broker", "mqtts://broker:8883"]].concat());
    assert!(String::from_utf8_lossy(&with_tls.stderr).contains("needs certificates"));
    std::fs::remove_dir_all(&was.packs[0]).unwrap();
    let without_pack = shoal(&args);
    assert!(String::from_utf8_lossy(&without_pack.stderr).contains("cannot copy"));
    assert!(!nowhere.exists(), "what could not be collected whole is not there");
}

#[test]
fn a_fleet_is_made_whose_documents_the_vehicles_can_verify() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let config = Config::read(&fleet.join("vehicle-1/vehicle.toml")).unwrap();
    let told = config.fleet.unwrap();
    assert!(told.exchange && told.key.open().is_ok() && told.packs[0].is_dir());
    assert_eq!(config.state, fleet.join("vehicle-1/state"));
    assert_ne!(told.authority, told.timekeeper);
    let keys = Authority(told.authority);
    let read = |name: &str| std::fs::read(fleet.join("documents").join(name)).unwrap();

    let (head, page) = (read("roster.shl"), read("rosterpage-0.shl"));
    let page = verified::<RosterPage<'_>>(&page, &keys);
    verified::<Roster<'_>>(&head, &keys).body().check(&page).unwrap();
    assert_eq!(page.body().vehicles().len(), 2);
    let pack = Pack::open(&told.packs[0]).unwrap();
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
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is there already"));
    assert_eq!(files(&fleet), before);

    std::fs::remove_dir_all(&fleet).unwrap();
    std::fs::remove_dir_all(pack).unwrap();
    self::fleet(folder.path());
    assert_eq!(files(&fleet), before);
}

/// `pack-night.v1.shl` is before `pack.shl` by name, and what follows a dot in an id is of the id.
#[test]
fn a_term_without_a_pack_is_of_the_first_one_and_every_pack_has_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let (package, drives) = (package(), drives(folder.path(), 120));
    let (fleet, file) = (folder.path().join("fleet"), folder.path().join("utility.toml"));
    let packs = ["day", "night.v1", "night.v2"].map(|id| {
        let pack = folder.path().join(id);
        let build = ["pack", "build", text(&drives), "--package", text(&package), "--id", id];
        assert!(shoal(&[&build[..], &["-o", text(&pack)]].concat()).status.success());
        pack
    });
    let succeeds = |args: &[&str]| {
        let output = shoal(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let init = ["fleet", "init", text(&fleet), "--vehicles", "2", "--package", text(&package)];
    let of: Vec<&str> = packs.iter().flat_map(|pack| ["--pack", text(pack)]).collect();
    succeeds(&[&init[..], &of].concat());
    let toml = "[[term]]\nname = \"day\"\n[[term]]\nname = \"night.v1\"\npack = \"night.v1\"\n\
                [[term]]\nname = \"night.v2\"\npack = \"night.v2\"\nweights = [0.5]\n";
    std::fs::write(&file, toml).unwrap();
    succeeds(&["fleet", "utility", text(&fleet), text(&file)]);

    let told = Config::read(&fleet.join("vehicle-0/vehicle.toml")).unwrap().fleet.unwrap();
    let keys = Authority(told.authority);
    let read = |name: &str| std::fs::read(fleet.join("documents").join(name)).unwrap();
    let packs = packs.map(|pack| Pack::open(&pack).unwrap());
    let signed = read("utility.shl");
    let signed = verified::<UtilityDocument>(&signed, &keys);
    let of: Vec<PackHash> = signed.body().fields().terms.iter().map(|term| term.pack).collect();
    assert_eq!(of, packs.each_ref().map(|pack| PackHash::new(pack.sha256())));
    for (name, pack) in ["pack.shl", "pack-night.v1.shl", "pack-night.v2.shl"].iter().zip(&packs) {
        let manifest = read(name);
        let manifest = verified::<Document<'_>>(&manifest, &keys);
        assert_eq!(manifest.body().fields().bytes, pack.manifest_bytes(), "{name}");
    }
}

#[test]
fn every_vehicle_gets_the_tables_of_the_file_that_init_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("like.toml");
    let toml = "name = \"x\"\n[drives]\ndirectory = \"drives\"\nvehicle = 2\nvehicles = 3\n\
                [night]\nsteps = 20\nlearning_rate = 1e-3\n[replay]\nordinary_share = 1.0\n";
    std::fs::write(&file, toml).unwrap();
    let fleet = fleet_with(folder.path(), &["--vehicle", text(&file)]);
    let config = Config::read(&fleet.join("vehicle-1/vehicle.toml")).unwrap();
    let like = Config::read(&file).unwrap();
    assert_eq!((&config.night, &config.replay), (&like.night, &like.replay));
    assert_eq!(config.drives.directory, like.drives.directory);
    assert_eq!((config.drives.vehicle, config.drives.vehicles), (1, 2));
    assert_eq!(config.name, "vehicle-1");
}

#[test]
fn a_new_plan_keeps_what_is_not_named_and_counts_above_every_document() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let keys = Authority(
        Config::read(&fleet.join("vehicle-0/vehicle.toml")).unwrap().fleet.unwrap().authority,
    );
    let newest = files(&fleet.join("documents"))
        .values()
        .map(|bytes| Unverified::decode(bytes).unwrap().head().counter)
        .max();
    let plan = |args: &[&str]| shoal(&[&["fleet", "plan", text(&fleet)], args].concat());
    assert!(plan(&["--period", "20", "--open", "15"]).status.success());
    let signed = std::fs::read(fleet.join("documents/plan.shl")).unwrap();
    let signed = verified::<WindowPlan>(&signed, &keys);
    let fields = signed.body().fields();
    assert_eq!(
        (fields.epoch_seconds, fields.period_seconds, fields.open_seconds),
        (1_800_000_000, 20, 15)
    );
    assert_eq!(fields.up_bytes_max, 4 << 20);
    assert_eq!(Some(signed.head().counter), newest.map(|newest| newest + 1));

    let before = files(&fleet.join("documents"));
    let shown = plan(&[]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && said.contains("one every 20 s, open for 15 s"), "{said}");
    assert!(said.contains("at most 0 ms") && said.contains("receives at most 16777216"), "{said}");
    let few = plan(&["--bytes-up", "1", "--bytes-down", "1"]);
    assert!(String::from_utf8_lossy(&few.stderr).contains("--bytes-up 65536 at least"));
    let after = files(&fleet.join("documents"));
    assert!(after == before, "what is shown or refused signs nothing");
    assert!(plan(&["--bytes-down", "1", "--few-bytes"]).status.success());
    let (none, pack, package) = (folder.path().join("none"), folder.path().join("pack"), package());
    let init = ["fleet", "init", text(&none), "--vehicles", "2", "--pack", text(&pack)];
    let init = [&init[..], &["--package", text(&package), "--bytes-down", "9000"]].concat();
    assert!(self::refused(&init).contains("strands vehicles") && !none.exists());

    let refused = plan(&["--period", "10"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("open for 15 s of 10 s"));
}

/// What `trust` a vehicle is given names what the folder has, after each command that signs; and a fleet from before goes on.
#[test]
fn metadata_name_the_documents_after_each_command_that_signs_them() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let plan = || std::fs::read(fleet.join("documents/plan.shl")).unwrap();
    let counts = |bytes: &[u8]| {
        let mut trust = Trust::open(&fleet.join("trust")).unwrap();
        for name in ["image", "region-0"] {
            let read = |file: &str| {
                std::fs::read_to_string(fleet.join("repositories").join(name).join(file)).unwrap()
            };
            let metadata = Metadata {
                timestamp: read("timestamp.json"),
                snapshot: read("snapshot.json"),
                targets: read("targets.json"),
            };
            let metadata = serde_json::to_vec(&metadata).unwrap();
            // Until the timekeeper has signed, they do not fit together.
            if trust.take(&document_name(name), &metadata, 1).is_err() {
                return false;
            }
        }
        trust.check("documents/plan", bytes).is_ok()
    };
    let first = plan();
    assert!(counts(&first));
    let command = ["fleet", "plan", text(&fleet), "--period", "20", "--open", "15"];
    assert!(shoal(&command).status.success());
    // The authority names it; the region follows when the timekeeper signs, here for a new key.
    assert!(!counts(&first) && !counts(&plan()));
    assert!(shoal(&["key", "rotate", text(&fleet), "timekeeper"]).status.success());
    assert!(!counts(&first) && counts(&plan()));
}

/// Vehicles that follow metadata would hear of nothing that is signed beside them.
#[test]
fn a_part_of_a_fleets_folder_signs_nothing_and_a_fleet_from_before_metadata_does() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, documents) = (text(&fleet), fleet.join("documents"));
    let command = ["fleet", "plan", dir, "--period", "20", "--open", "15"];
    let before = files(&documents);
    let timestamp = fleet.join("repositories/region-0/timestamp.json");
    let kept = std::fs::read(&timestamp).unwrap();
    std::fs::remove_file(&timestamp).unwrap();
    let said = refused(&["fleet", "serve", dir, "--broker", "mqtt://127.0.0.1:9"]);
    assert!(said.contains(text(&timestamp)), "it would begin anew: {said}");
    std::fs::write(&timestamp, kept).unwrap();
    std::fs::remove_dir_all(fleet.join("repositories")).unwrap();
    let orders =
        [&["fleet", "revoke", dir, "1"][..], &["fleet", "reinstate", dir, "--vehicle", "1"]];
    let rotate = ["key", "rotate", dir, "timekeeper"];
    for signs in [&command[..], &rotate].iter().chain(&orders) {
        let said = refused(signs);
        assert!(said.contains("is a part of a fleet's folder"), "{signs:?}: {said}");
    }
    std::fs::remove_dir_all(fleet.join("trust")).unwrap();
    assert!(refused(&command).contains("tuf-image.shl is there"));
    assert_eq!(files(&documents), before);

    for metadata in ["tuf-image.shl", "tuf-region-0.shl"] {
        std::fs::remove_file(documents.join(metadata)).unwrap();
    }
    assert!(shoal(&command).status.success(), "a fleet from before there were any");
    assert!(refused(&rotate).contains("has no repositories"));
}

/// A vehicle is named by its number or by its key, windows that have opened are not, and metadata name what is signed.
#[test]
fn a_vehicle_is_reinstated_from_a_window_that_has_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let told = Config::read(&fleet.join("vehicle-1/vehicle.toml")).unwrap().fleet.unwrap();
    let (keys, id) = (Authority(told.authority), told.key.open().unwrap().public().id());
    // Window 100 is open now, for some hours.
    #[expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let epoch = (now - 100 * 86_400 - 600).to_string();
    assert!(shoal(&["fleet", "plan", text(&fleet), "--epoch", &epoch]).status.success());
    let reinstate =
        |args: &[&str]| shoal(&[&["fleet", "reinstate", text(&fleet), "--vehicle"], args].concat());
    let refused = |args: &[&str]| {
        let output = reinstate(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["2"]).contains("no vehicle 2"));
    assert!(refused(&["0011223344556677"]).contains("by its number or key id"));
    assert!(refused(&["1", "--from", "100"]).contains("101 is the first to name"));
    assert!(refused(&["1", "--from", "110"]).contains("109 is the last to name"));
    let path = fleet.join("documents/reinstated.shl");
    assert!(!path.exists(), "what is refused signs nothing");
    let signed = || {
        let bytes = std::fs::read(&path).unwrap();
        let document = verified::<Document<'_>>(&bytes, &keys);
        let fields = document.body().fields();
        let orders = Reinstated::decode(fields.bytes).unwrap().orders().to_vec();
        (fields.name.to_owned(), fields.version, document.head().counter, orders)
    };
    assert!(reinstate(&["1"]).status.success());
    let (name, version, counter, orders) = signed();
    assert_eq!((name.as_str(), version, orders), ("reinstated", 1, vec![(id, 102)]));
    let output = reinstate(&[&id.to_string(), "--from", "101"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("from window 101 on"));
    let (_name, version, newer, orders) = signed();
    assert_eq!((version, orders), (2, vec![(id, 101), (id, 102)]));
    assert!(newer > counter, "vehicles refuse an older one by its counter");
    let targets = std::fs::read_to_string(fleet.join("repositories/image/targets.json")).unwrap();
    assert!(targets.contains("documents/reinstated"));

    // There is no room for one more: the window of each is another.
    let full = (0..ORDERS_MAX as u32).map(|number| (id, 103 + number)).collect();
    let bytes = Reinstated::new(full).unwrap().encode();
    let fields = DocumentFields { name: "reinstated", version: 3, bytes: &bytes };
    let key = KeyAt::File(fleet.join("authority.key")).open().unwrap();
    let mut buffer = vec![0; Kind::Document.envelope_bytes_max()];
    let body = Document::new(fields).unwrap();
    let sealed = seal(&body, newer + 1, u64::MAX, &*key, &mut buffer).unwrap();
    std::fs::write(&path, sealed.bytes()).unwrap();
    assert!(refused(&["1"]).contains("at most 4096 allowed"));
}

/// What a command says is wrong.
fn refused(args: &[&str]) -> String {
    let output = shoal(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two orders would number what they sign alike, and write the same files.
#[test]
fn one_order_at_a_time_and_the_other_is_told_which() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let before = files(&fleet.join("documents"));
    let held = Hold::take(&fleet, "`shoal campaign new`").unwrap();
    let plan = ["fleet", "plan", text(&fleet), "--period", "20", "--open", "15"];
    let said = refused(&plan);
    assert!(said.contains("in use by `shoal campaign new` (process"), "{said}");
    assert_eq!(files(&fleet.join("documents")), before);
    assert!(shoal(&["fleet", "utility", text(&fleet)]).status.success(), "it only reads");
    let provision = folder.path().join("gateway.bin");
    let said = refused(&["fleet", "gateway", text(&fleet), "0", "-o", text(&provision)]);
    assert!(said.contains("in use by `shoal campaign new` (process"), "it may move pages: {said}");
    drop(held);
    // Whoever signs is told whether anybody hears of it.
    let told = || String::from_utf8(shoal(&plan).stdout).unwrap();
    assert!(told().contains("signed; no `shoal fleet serve` runs on this folder"));

    std::fs::create_dir_all(fleet.join("timekeeper")).unwrap();
    let _served = Hold::take(&fleet.join("timekeeper"), "`shoal fleet serve`").unwrap();
    assert!(told().contains("a running `shoal fleet serve` publishes it"));
    assert!(refused(&["fleet", "serve", text(&fleet)]).contains("in use by `shoal fleet serve`"));
}

/// Each error names the file, what is wrong with it, and what is to be done.
#[test]
fn what_is_wrong_in_a_fleets_folder_is_named_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let says = |args: &[&str], file: &str, what: &[&str]| {
        let said = refused(args);
        assert!(said.contains(file) && what.iter().all(|what| said.contains(what)), "{said}");
    };
    let serve = ["fleet", "serve", text(&fleet), "--broker", "mqtt://127.0.0.1:9"];
    let damaged = |file: &str, what: &[&str]| {
        let path = fleet.join(file);
        let whole = std::fs::read(&path).ok();
        std::fs::write(&path, b"garbage").unwrap();
        says(&serve, text(&path), what);
        match whole {
            Some(whole) => std::fs::write(&path, whole).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    };
    for file in ["image/snapshot.json", "region-0/timestamp.json", "region-0/targets.json"] {
        damaged(&format!("repositories/{file}"), &["is damaged", "put a copy"]);
    }
    damaged("documents/utility.shl", &["put a copy"]);
    std::fs::create_dir_all(fleet.join("timekeeper")).unwrap();
    damaged("timekeeper/nonce-3.shl", &["remove the file"]);
    let provision = ["fleet", "provision", text(&fleet), "17", "-o", "nowhere"];
    says(&provision, "vehicle-17/vehicle.toml", &["0 to 1"]);

    let like = folder.path().join("like.toml");
    let (other, pack, package) =
        (folder.path().join("other"), folder.path().join("pack"), package());
    let init = ["fleet", "init", text(&other), "--vehicles", "2", "--pack", text(&pack)];
    let init = [&init[..], &["--package", text(&package), "--vehicle", text(&like)]].concat();
    std::fs::write(&like, "[fleet]\nbeacons = true\n").unwrap();
    says(&init, text(&like), &["[fleet]", "leave it out"]);
}

/// A folder that is there is no new one: what was made of it is gone, and the command can be given again.
#[test]
fn a_fleet_that_could_not_be_made_whole_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    fleet(folder.path());
    let (other, package) = (folder.path().join("other"), package());
    // No vehicle.toml can name it.
    let odd = folder.path().join(OsStr::from_bytes(b"pack-\xff"));
    std::fs::rename(folder.path().join("pack"), &odd).unwrap();
    let mut init = Command::new(SHOAL);
    init.args(["fleet", "init", text(&other), "--vehicles", "2", "--package", text(&package)]);
    let output = init.arg("--pack").arg(&odd).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no UTF-8"), "{said}");
    assert!(!other.exists());
}

/// As ssh has it.
#[test]
fn a_key_that_others_can_read_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let key = fleet.join("authority.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&["fleet", "plan", text(&fleet), "--period", "20", "--open", "15"]);
    assert!(said.contains(&format!("chmod 600 {}", key.display())), "{said}");
}
