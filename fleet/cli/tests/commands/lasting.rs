//! What a fleet's folder goes through in years: plans that end, keys that change often, commands that are cut short.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use shoal_hal::backend::hold::Hold;
use shoal_trust::{Target, Trust, author, document_name};
use shoal_vehicle::config::{Config, FleetConfig};
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{Document, Roster, RosterPage, SwarmDocument, UtilityDocument, WindowPlan};
use shoal_wire::{Body, PublicKey, SecretKey, Unverified, seal};

use super::campaign::{adapter, done, refused};
use super::fleet::{fleet, fleet_at};
use super::serving::{Running, any, broker};
use super::{drives, package, shoal, text};

const DAY_S: u64 = 86_400;

#[expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A fleet whose window 0 opened so many days ago.
pub(crate) fn of_days(folder: &Path, days: u64) -> PathBuf {
    fleet_at(folder, &[], now_s() - days * DAY_S - 600)
}

fn end_of(fleet: &Path, document: &str) -> u64 {
    let bytes = std::fs::read(fleet.join("documents").join(document)).unwrap();
    Unverified::decode(&bytes).unwrap().head().not_after_seconds
}

fn counter_of(fleet: &Path, document: &str) -> u64 {
    let bytes = std::fs::read(fleet.join("documents").join(document)).unwrap();
    Unverified::decode(&bytes).unwrap().head().counter
}

fn told(fleet: &Path) -> FleetConfig {
    Config::read(&fleet.join("vehicle-0/vehicle.toml")).unwrap().fleet.unwrap()
}

/// What a folder has beside it, as it was before a command that is cut short.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// A calendar is as old as its window 0, and what is signed by it counts from when it is signed.
#[test]
fn a_fleet_goes_on_for_longer_than_a_year() {
    let far = || now_s() + 300 * DAY_S;
    let folder = tempfile::tempdir().unwrap();
    let fleet = of_days(folder.path(), 400);
    for document in ["plan.shl", "roster.shl", "utility.shl", "swarm.shl"] {
        assert!(end_of(&fleet, document) > far(), "{document} of a fleet that is made now");
    }
    let dir = text(&fleet);
    // Signed when window 0 was young, as it seems 310 days later.
    for document in ["plan", "roster", "rosterpage-0", "utility", "swarm", "pack"] {
        age(&fleet, document, now_s() + 55 * DAY_S);
    }
    done(&["fleet", "revoke", dir, "1"]);
    age(&fleet, "roster", now_s() + 55 * DAY_S);
    let shown = shoal(&["fleet", "plan", dir]);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains(" more days") && said.contains("--renew"), "{said}");
    done(&["fleet", "plan", dir, "--period", "172800"]);
    assert!(end_of(&fleet, "plan.shl") > far(), "by the calendar's new window 0");
    assert!(end_of(&fleet, "utility.shl") < far());
    let before = counter_of(&fleet, "plan.shl");
    done(&["fleet", "plan", dir, "--renew"]);
    for document in
        ["plan.shl", "roster.shl", "rosterpage-0.shl", "utility.shl", "swarm.shl", "pack.shl"]
    {
        assert!(end_of(&fleet, document) > far(), "{document}");
        assert!(counter_of(&fleet, document) > before, "{document}");
    }
    let shown = shoal(&["fleet", "plan", dir]);
    assert!(!String::from_utf8_lossy(&shown.stderr).contains("--renew"));
    let named = std::fs::read_to_string(fleet.join("repositories/image/targets.json")).unwrap();
    assert!(names(&named, &fleet, "roster") && names(&named, &fleet, "swarm"));
    // As what they say is the same, vehicles follow.
    done(&["fleet", "revoke", dir, "0"]);
}

/// Signs a document of the folder again, to end then.
fn age(fleet: &Path, document: &str, until: u64) {
    let path = fleet.join("documents").join(document).with_extension("shl");
    let key = shoal_keys::read(&fleet.join("authority.key")).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let head = *Unverified::decode(&bytes).unwrap().head();
    let sealed = match document {
        "plan" => again::<WindowPlan>(&bytes, &key, (head.counter, until)),
        "utility" => again::<UtilityDocument>(&bytes, &key, (head.counter, until)),
        "swarm" => again::<SwarmDocument>(&bytes, &key, (head.counter, until)),
        "roster" => again::<Roster<'_>>(&bytes, &key, (head.counter, until)),
        "pack" => again::<Document<'_>>(&bytes, &key, (head.counter, until)),
        // The head names it.
        _ => return,
    };
    std::fs::write(path, sealed).unwrap();
}

/// What this key signed, signed again with this counter, until then.
pub(crate) fn again<'a, T: Body<'a>>(
    bytes: &'a [u8],
    key: &SecretKey,
    (counter, until): (u64, u64),
) -> Vec<u8> {
    let record = verified::<T>(bytes, &Own(key.public())).unwrap();
    let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
    seal(record.body(), counter, until, key, &mut buffer).unwrap().bytes().to_vec()
}

/// Whether metadata name a document as it is.
pub(crate) fn names(targets: &str, fleet: &Path, document: &str) -> bool {
    let (_version, named) = author::read_targets(targets).unwrap();
    let bytes = std::fs::read(fleet.join("documents").join(document).with_extension("shl"));
    named.get(&format!("documents/{document}")) == Some(&Target::of(&bytes.unwrap()))
}

/// Keys change for as long as the fleet is there; a vehicle that was away while ten did follows.
#[test]
fn keys_are_replaced_any_number_of_times_and_who_was_away_for_ten_follows() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, mut trusts) = (text(&fleet), Vec::new());
    for time in 0..30 {
        let role = if time == 20 { "timekeeper" } else { "recovery" };
        trusts.push(Trust::open(&fleet.join("trust")).unwrap());
        done(&["key", "rotate", dir, role]);
        if time < 10 {
            continue;
        }
        let trust = &mut trusts[time - 9];
        for by in ["timekeeper", "authority"] {
            let bytes = std::fs::read(fleet.join(format!("documents/roots-{by}.shl"))).unwrap();
            let key = shoal_keys::read(&fleet.join(format!("{by}.key"))).unwrap().public();
            let document = verified::<Document<'_>>(&bytes, &Own(key)).unwrap();
            let fields = document.body().fields();
            trust.take(fields.name, fields.bytes, 1).unwrap();
        }
        let versions: Vec<u64> = trust.repositories().map(|(_name, of)| of.versions().0).collect();
        assert_eq!(versions, [time as u64 + 2, time as u64 + 2]);
    }
}

/// The keys of those who sign: authority, timekeeper, approver and recovery.
fn signers(fleet: &Path) -> [SecretKey; 4] {
    ["authority", "timekeeper", "approver", "recovery"]
        .map(|role| shoal_keys::read(&fleet.join(role).with_extension("key")).unwrap())
}

/// The first roots of a fleet, as people signed them long ago: until then.
fn sign_roots_until(fleet: &Path, end_s: u64) {
    let keys = signers(fleet);
    let [authority, timekeeper, approver, recovery] = keys.each_ref().map(SecretKey::public);
    for (name, targets) in [("image", authority), ("region-0", timekeeper)] {
        let people = vec![authority, approver, recovery];
        let roles = author::Roles { root: (people, 2), targets, timestamp: timekeeper };
        let root = author::root(1, end_s, &roles, &[&keys[0], &keys[2], &keys[3]]).unwrap();
        let repository = fleet.join("repositories").join(name).join("1.root.json");
        for file in [repository, fleet.join("trust").join(format!("{name}.root.json"))] {
            std::fs::write(file, &root).unwrap();
        }
    }
}

/// Roots count for three years, and vehicles take nothing once theirs have ended. Who renews the plan renews them, where people's keys are.
#[test]
fn roots_are_renewed_with_the_plan_and_else_it_is_said_that_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = of_days(folder.path(), 0);
    let (dir, end_s) = (text(&fleet), now_s() + 5 * DAY_S);
    sign_roots_until(&fleet, end_s);
    let [authority, timekeeper, ..] = signers(&fleet).map(|key| key.public());
    let trust = || Trust::open(&fleet.join("trust")).unwrap();
    let (mut follows, mut stays) = (trust(), trust());
    let says = |args: &[&str]| {
        let output = shoal(&[&["fleet", "plan", dir], args].concat());
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let newest = |version: u32| {
        let of = |name| fleet.join(format!("repositories/{name}/{version}.root.json"));
        ["image", "region-0"].map(of).iter().all(|path| path.exists())
    };
    let ends = "/repositories count until ";
    assert!(says(&[]).contains(ends) && says(&[]).contains("--renew"));
    let away = |key: &str| std::fs::rename(fleet.join(key), folder.path().join(key)).unwrap();
    ["approver.key", "recovery.key"].into_iter().for_each(away);
    assert!(says(&["--renew"]).contains(ends) && !newest(2), "the authority's key is one of two");
    std::fs::rename(folder.path().join("approver.key"), fleet.join("approver.key")).unwrap();
    assert_eq!(says(&["--renew"]), "");
    assert!(newest(2));
    assert_eq!((says(&["--renew"]), newest(3)), (String::new(), false), "they last for years");

    let roots = std::fs::read(fleet.join("documents/roots-authority.shl")).unwrap();
    let roots = verified::<Document<'_>>(&roots, &Own(authority)).unwrap();
    follows.take(roots.body().fields().name, roots.body().fields().bytes, 1).unwrap();
    for name in ["image", "region-0"] {
        let bytes = std::fs::read(fleet.join(format!("documents/tuf-{name}.shl"))).unwrap();
        let document = verified::<Document<'_>>(&bytes, &Own(timekeeper)).unwrap();
        let (name, bytes) = (document_name(name), document.body().fields().bytes);
        assert!(stays.take(&name, bytes, end_s + 1).is_err());
        follows.take(&name, bytes, end_s + 1).unwrap();
    }
}

/// Its page was written and its head was not: the roster is the one that was.
#[test]
fn a_roster_whose_head_was_not_written_is_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, head) = (text(&fleet), fleet.join("documents/roster.shl"));
    let before = std::fs::read(&head).unwrap();
    for command in [&["fleet", "revoke", dir, "1"][..], &["key", "rotate", dir, "authority"]] {
        done(&["fleet", "revoke", dir, "0"]);
        std::fs::write(&head, &before).unwrap();
        done(command);
        if command[0] == "fleet" {
            std::fs::write(&head, &before).unwrap();
        }
    }
    let authority = shoal_keys::read(&fleet.join("authority.key")).unwrap().public();
    assert!(is_whole(&fleet, authority));
    // The other cut: the head was written, and its page waits beside.
    let documents = fleet.join("documents");
    done(&["fleet", "plan", dir, "--renew"]);
    let (page, next) = (documents.join("rosterpage-0.shl"), documents.join("rosterpage-0.next"));
    std::fs::rename(&page, &next).unwrap();
    std::fs::copy(documents.join("rosterpage-0.before"), &page).unwrap();
    let broker = broker(any());
    let mut program = Running::start(&["fleet", "serve", dir, "--broker", &broker.url()]);
    program.says("connected");
    assert!(program.terminate());
    let journal = std::fs::read_to_string(fleet.join("journal.jsonl")).unwrap();
    let waits = std::fs::read(&next).unwrap();
    assert!(journal.contains(&hex(&waits)), "what serve tells is what the head names");
    done(&["fleet", "revoke", dir, "1"]);
    assert!(is_whole(&fleet, authority));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_whole(fleet: &Path, authority: PublicKey) -> bool {
    let read = |name: &str| std::fs::read(fleet.join("documents").join(name)).unwrap();
    let (head, page) = (read("roster.shl"), read("rosterpage-0.shl"));
    let head = verified::<Roster<'_>>(&head, &Own(authority)).unwrap();
    let page = verified::<RosterPage<'_>>(&page, &Own(authority)).unwrap();
    head.body().check(&page).is_ok()
}

/// The description names the key that still waits for its place: people have signed for it, and need not be there again.
#[test]
fn a_key_that_did_not_come_to_its_place_comes_there_by_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let dir = text(&fleet);
    let at = |name: &str| fleet.join(name);
    for role in ["authority", "approver"] {
        let (key, next) = (at(&format!("{role}.key")), at(&format!("{role}.key.next")));
        for is_gone in [false, true] {
            let old = at("old");
            std::fs::copy(&key, &old).unwrap();
            done(&["key", "rotate", dir, role]);
            let new = shoal_keys::read(&key).unwrap().public();
            std::fs::rename(&key, &next).unwrap();
            if !is_gone {
                std::fs::rename(&old, &key).unwrap();
            }
            std::fs::rename(at("recovery.key"), at("away")).unwrap();
            done(&["key", "rotate", dir, role]);
            assert_eq!(shoal_keys::read(&key).unwrap().public(), new);
            assert!(!next.exists());
            std::fs::rename(at("away"), at("recovery.key")).unwrap();
        }
    }
    std::fs::write(at("timekeeper.key.next"), "").unwrap();
    let said = refused(&["key", "rotate", dir, "timekeeper"]);
    assert!(said.contains("timekeeper.key.next is empty") && said.contains("remove the file"));
}

/// A `serve` that goes on would sign with the key before, in the folder that the next one reads.
#[test]
fn a_timekeepers_key_is_not_replaced_while_it_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, drawn) = (text(&fleet), fleet.join("timekeeper"));
    std::fs::create_dir(&drawn).unwrap();
    let serves = Hold::take(&drawn, "`shoal fleet serve`").unwrap();
    let rotate = ["key", "rotate", dir, "timekeeper"];
    let key = std::fs::read(fleet.join("timekeeper.key")).unwrap();
    let said = refused(&rotate);
    assert!(said.contains("in use by `shoal fleet serve` (process"), "{said}");
    assert!(said.contains("end `shoal fleet serve` first"), "{said}");
    assert_eq!(std::fs::read(fleet.join("timekeeper.key")).unwrap(), key);
    // Of another key it reads again what it signs.
    done(&["key", "rotate", dir, "recovery"]);
    drop(serves);
    done(&rotate);
    assert_ne!(std::fs::read(fleet.join("timekeeper.key")).unwrap(), key);
}

/// The disk was full between one file of metadata and the next.
#[test]
fn metadata_that_were_not_written_whole_are_signed_again() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let dir = text(&fleet);
    let broker = broker(any());
    let serve = || {
        let mut program = Running::start(&["fleet", "serve", dir, "--broker", &broker.url()]);
        program.says("connected");
        assert!(program.terminate());
    };
    let last = ["documents/tuf-image.shl", "repositories/image/timestamp.json"];
    for (files, open) in [(&last[..1], "15001"), (&last[..], "15002"), (&last[1..], "15003")] {
        let read = |file: &&str| std::fs::read(fleet.join(file)).unwrap();
        let before: Vec<_> = files.iter().map(read).collect();
        done(&["fleet", "plan", dir, "--open", open]);
        serve();
        assert!(counts(&fleet), "{files:?}");
        for (file, before) in files.iter().zip(before) {
            std::fs::write(fleet.join(file), before).unwrap();
        }
        serve();
        assert!(counts(&fleet), "{files:?}");
    }
}

/// Whether what vehicles are told names the plan of the folder.
fn counts(fleet: &Path) -> bool {
    let mut trust = Trust::open(&fleet.join("trust")).unwrap();
    let timekeeper = told(fleet).timekeeper;
    for name in ["image", "region-0"] {
        let bytes = std::fs::read(fleet.join(format!("documents/tuf-{name}.shl"))).unwrap();
        let document = verified::<Document<'_>>(&bytes, &Own(timekeeper)).unwrap();
        trust.take(&document_name(name), document.body().fields().bytes, 1).unwrap();
    }
    trust.check("documents/plan", &std::fs::read(fleet.join("documents/plan.shl")).unwrap()).is_ok()
}

/// Metadata do not name the roster yet: the command is given again.
#[test]
fn a_revocation_that_metadata_do_not_name_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, repositories) = (text(&fleet), fleet.join("repositories"));
    let key = SecretKey::from_seed(&[9; 32]).public();
    let public = hex(key.bytes());
    let rotate = ["key", "rotate", dir, "vehicle", "--number", "0", "--public", &public];
    for command in [&["fleet", "revoke", dir, "1"][..], &rotate] {
        let before = folder.path().join(format!("before-{}", command[0]));
        copy(&repositories, &before);
        done(command);
        let signed = counter_of(&fleet, "roster.shl");
        std::fs::remove_dir_all(&repositories).unwrap();
        copy(&before, &repositories);
        let targets = repositories.join("image/targets.json");
        assert!(!names(&std::fs::read_to_string(&targets).unwrap(), &fleet, "roster"));
        done(command);
        assert!(names(&std::fs::read_to_string(&targets).unwrap(), &fleet, "roster"));
        assert_eq!(counter_of(&fleet, "roster.shl"), signed, "nothing is signed twice");
        refused(command);
    }
}

/// The pack is signed, and so is the utility that names it; metadata name neither yet.
#[test]
fn a_pack_that_metadata_do_not_name_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, repositories) = (text(&fleet), fleet.join("repositories"));
    let (night, before) = (folder.path().join("night"), folder.path().join("before"));
    let (drives, package) = (drives(folder.path(), 140), package());
    let build = ["pack", "build", text(&drives), "--package", text(&package), "--id", "night"];
    done(&[&build[..], &["-o", text(&night)]].concat());
    let file = folder.path().join("utility.toml");
    let shown = done(&["fleet", "utility", dir]);
    let first = shown.lines().nth(2).unwrap().split_whitespace().next().unwrap();
    let toml = format!(
        "[[term]]\nname = \"{first}\"\n[[term]]\nname = \"night\"\npack = \"night\"\nweights = [0.0]\n"
    );
    std::fs::write(&file, toml).unwrap();
    let command = ["fleet", "utility", dir, text(&file), "--pack", text(&night)];
    copy(&repositories, &before);
    done(&command);
    std::fs::remove_dir_all(&repositories).unwrap();
    copy(&before, &repositories);
    done(&command);
    let targets = repositories.join("image/targets.json");
    let targets = std::fs::read_to_string(targets).unwrap();
    assert!(names(&targets, &fleet, "utility") && targets.contains("packs/night/pack.json"));
    assert!(refused(&command).contains("the fleet has a pack night already"));
}

/// A fleet's folder as an order changes it: metadata, and the document, if there is one.
struct Told {
    fleet: PathBuf,
    repositories: PathBuf,
    document: Option<Vec<u8>>,
}

impl Told {
    fn of(fleet: &Path, kept: PathBuf) -> Self {
        copy(&fleet.join("repositories"), &kept);
        let document = std::fs::read(fleet.join("documents/campaign.shl")).ok();
        Told { fleet: fleet.to_path_buf(), repositories: kept, document }
    }

    /// Puts it back: the order stands in `orders/`, and behind that its command was cut short.
    fn put_back(&self, document_too: bool) {
        let (repositories, document) =
            (self.fleet.join("repositories"), self.fleet.join("documents/campaign.shl"));
        std::fs::remove_dir_all(&repositories).unwrap();
        copy(&self.repositories, &repositories);
        match &self.document {
            _ if !document_too => {}
            Some(bytes) => std::fs::write(document, bytes).unwrap(),
            None => std::fs::remove_file(document).unwrap(),
        }
    }
}

/// The counters of all that was ordered.
fn orders(fleet: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(fleet.join("orders")).unwrap();
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    let of = |bytes: Vec<u8>| Unverified::decode(&bytes).unwrap().head().counter;
    let mut all: Vec<u64> = entries.map(|entry| of(read(entry.unwrap().path()))).collect();
    all.sort_unstable();
    all
}

/// An order is in `orders/`, then a document, then named by metadata: vehicles follow the last alone.
#[test]
fn an_order_that_vehicles_cannot_hear_of_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let (dir, key) = (text(&fleet), fleet.join("approver.key"));
    let package = package();
    done(&["campaign", "new", dir, "--adapter", text(&adapter), "--package", text(&package)]);
    done(&["campaign", "approve", dir, "1", "--key", text(&key)]);
    let targets = fleet.join("repositories/image/targets.json");
    for order in ["start", "pause", "resume", "abort", "roll-back"] {
        let command = ["campaign", order, dir, "1"];
        let before = Told::of(&fleet, folder.path().join(order));
        done(&command);
        let (document, given) = (counter_of(&fleet, "campaign.shl"), orders(&fleet));
        for document_too in [false, true] {
            before.put_back(document_too);
            assert!(done(&command).contains("ordered: campaign 1"));
            assert!(names(&std::fs::read_to_string(&targets).unwrap(), &fleet, "campaign"));
            assert_eq!(counter_of(&fleet, "campaign.shl"), document, "{order}");
            assert_eq!(orders(&fleet), given, "{order}: nothing is signed twice");
        }
        refused(&command);
    }
}

/// What was signed and not told has its counter all the same: of two orders of one counter no journal would have the second.
#[test]
fn an_order_after_one_that_was_cut_short_has_a_counter_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let (dir, record) = (text(&fleet), folder.path().join("record"));
    begin(&fleet, &adapter, "1");
    let before = Told::of(&fleet, folder.path().join("before"));
    done(&["campaign", "abort", dir, "1"]);
    before.put_back(true);
    done(&["campaign", "roll-back", dir, "1"]);
    let counters = orders(&fleet);
    assert!(counters.len() == 3 && counters.is_sorted_by(|one, next| one < next), "{counters:?}");
    let broker = broker(any());
    let mut program = Running::start(&["fleet", "serve", dir, "--broker", &broker.url()]);
    program.says("connected");
    assert!(program.terminate());
    done(&["evidence", "write", dir, "1", "-o", text(&record)]);
    let said = std::fs::read_to_string(record.join("record.json")).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["orders"].as_array().unwrap().len(), 3, "{said}");
}

/// A campaign of this number, begun.
pub(crate) fn begin(fleet: &Path, adapter: &Path, number: &str) {
    let (dir, package) = (text(fleet), package());
    done(&["campaign", "new", dir, "--adapter", text(adapter), "--package", text(&package)]);
    let key = fleet.join("approver.key");
    done(&["campaign", "approve", dir, number, "--key", text(&key)]);
    done(&["campaign", "start", dir, number]);
}

/// No order stops a campaign once whoever approved it is another.
#[test]
fn an_approver_is_not_replaced_under_a_campaign_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let dir = text(&fleet);
    begin(&fleet, &adapter, "1");
    let rotate = ["key", "rotate", dir, "approver"];
    let said = refused(&rotate);
    assert!(said.contains("campaign 1 goes on") && said.contains("--anyway"), "{said}");
    done(&["campaign", "pause", dir, "1"]);
    assert!(refused(&rotate).contains("campaign 1 goes on"));
    let flag = refused(&["key", "rotate", dir, "timekeeper", "--anyway"]);
    assert!(flag.contains("--anyway is of the approver's key"), "{flag}");
    done(&[&rotate[..], &["--anyway"]].concat());
    for order in ["roll-back", "start"] {
        let said = refused(&["campaign", order, dir, "1"]);
        assert!(said.contains("by an approver before this one"), "{said}");
        assert!(!said.contains("has not begun"), "{said}");
    }
    begin(&fleet, &adapter, "2");
    done(&["campaign", "abort", dir, "2"]);
    done(&rotate);
}

/// What was stopped for good is, whoever is the authority.
#[test]
fn a_campaign_that_was_rolled_back_stays_so_under_another_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let dir = text(&fleet);
    begin(&fleet, &adapter, "1");
    done(&["campaign", "roll-back", dir, "1"]);
    begin(&fleet, &adapter, "2");
    done(&["key", "rotate", dir, "authority"]);
    let said = refused(&["campaign", "start", dir, "1"]);
    assert!(said.contains("was rolled back, which is for good"), "{said}");
    done(&["campaign", "pause", dir, "2"]);
}
