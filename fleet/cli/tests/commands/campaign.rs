//! `shoal campaign` and `shoal evidence`: what two people sign, and the record of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use shoal_runtime::adapter::Adapter;
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::graft_package;
use shoal_shadow::package::Package;
use shoal_wire::Unverified;
use shoal_wire::v1::Document;

use super::fleet::{fleet, fleet_at};
use super::lasting::{again, begin};
use super::serving::{Running, any, broker};
use super::{misfits, package, schema, shoal, text};

/// By when a journal is written.
const PATIENCE: Duration = Duration::from_secs(30);

/// An adapter of the package that ships, as a PEFT directory.
pub(crate) fn adapter(folder: &Path) -> PathBuf {
    adapter_of(folder, 3)
}

/// One of several, by its number.
fn adapter_of(folder: &Path, seed: u64) -> PathBuf {
    let package = Package::open(&package()).unwrap();
    let model = Model::read(&package.model_path()).unwrap();
    let layout = graft_package(&model, package.description(), 1, Profile::Cpu).unwrap().layout;
    let path = folder.join(format!("adapter-{seed}"));
    Adapter::start(layout, seed).write_peft(&path).unwrap();
    path
}

/// What a command says is wrong.
pub(crate) fn refused(args: &[&str]) -> String {
    let output = shoal(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn done(args: &[&str]) -> String {
    let output = shoal(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_campaign_is_what_two_people_signed_and_its_record_has_the_form_of_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let (dir, package) = (text(&fleet), package());
    let new = ["campaign", "new", dir, "--adapter", text(&adapter), "--package", text(&package)];
    what_is_of_no_use_is_refused(dir, &new);
    let new_stages = shoal(&[&new[..], &["--stages", "50"]].concat());
    assert!(String::from_utf8_lossy(&new_stages.stderr).contains("the last stage is 50 %"));
    std::fs::remove_dir_all(fleet.join("campaigns/1")).unwrap();
    let made = done(&[&new[..], &["--stages", "50,100"]].concat());
    assert!(refused(&["campaign", "start", dir, "1"]).contains("approve"));
    let none_such = refused(&["campaign", "start", dir, "2"]);
    assert!(none_such.contains("no campaign 2") && none_such.contains("there are: 1"));

    let key = fleet.join("approver.key");
    let next = made.lines().last().and_then(|line| line.split_once(": shoal ")).unwrap().1;
    done(&next.split(' ').collect::<Vec<_>>());
    // Whoever changes the plan after that has no approval any more.
    let plan = fleet.join("campaigns/1/plan.bin");
    let signed = std::fs::read(&plan).unwrap();
    let mut changed = signed.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&plan, &changed).unwrap();
    assert!(refused(&["campaign", "start", dir, "1"]).contains("another plan"));
    std::fs::write(&plan, &signed).unwrap();
    done(&["campaign", "start", dir, "1"]);
    // Of two, the first is stopped for good, also when the other has taken its place.
    done(&[&new[..], &["--stages", "100"]].concat());
    done(&["campaign", "approve", dir, "2", "--key", text(&key)]);
    done(&["campaign", "abort", dir, "1"]);
    done(&["campaign", "start", dir, "2"]);
    assert!(refused(&["campaign", "start", dir, "1"]).contains("for good"));

    done(&["fleet", "reinstate", dir, "--vehicle", "1"]);
    done(&["fleet", "reinstate", dir, "--vehicle", "0"]);
    let record = folder.path().join("record");
    let image = folder.path().join("vehicle-0.cdx.json");
    std::fs::write(&image, r#"{"bomFormat": "CycloneDX"}"#).unwrap();
    let write = ["evidence", "write", dir, "1", "-o", text(&record), "--bill", text(&image)];
    assert!(refused(&write).contains("journal.jsonl"), "nobody has served it yet");
    let broker = broker(any());
    let program = Running::start(&["fleet", "serve", dir, "--broker", &broker.url()]);
    wait_for_journal(&fleet);
    what_stands_is_shown_and_what_does_not_is_told_of(dir, &broker.url());
    assert!(program.terminate());
    what_no_serve_has_seen_is_said_and_in_no_record(&fleet, &broker.url(), &write);
    done(&["evidence", "check", text(&record)]);
    let said = std::fs::read_to_string(record.join("record.json")).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(misfits(&schema("evidence.schema.json"), &said, "$"), Vec::<String>::new());
    assert_eq!(said["compatibility"]["compatible"], true);
    assert_eq!(said["orders"][0]["order"], "run");
    assert_eq!(said["other_bills"][0]["file"], "vehicle-0.cdx.json");
    let reinstated = said["reinstated"].as_array().unwrap();
    let of = |one: &Value| (one["id"].clone(), one["from_window"].as_u64().unwrap() > 0);
    let mut ids: Vec<_> = reinstated.iter().map(of).collect();
    let mut want: Vec<_> = [0, 1].map(|at| (said["targets"][at]["id"].clone(), true)).into();
    ids.sort_by_key(|(id, _window)| id.to_string());
    want.sort_by_key(|(id, _window)| id.to_string());
    assert_eq!(ids, want);
    let page = std::fs::read_to_string(record.join("record.md")).unwrap();
    assert!(page.contains("## Reinstated"), "{page}");
    let stages: Vec<&Value> =
        said["targets"].as_array().unwrap().iter().map(|target| &target["stage"]).collect();
    assert!(stages.contains(&&Value::from(0)) && stages.contains(&&Value::from(1)), "{stages:?}");
    let bill = std::fs::read_to_string(record.join("sbom.cdx.json")).unwrap();
    let bill: Value = serde_json::from_str(&bill).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
}

/// Limits that keep the adapter from everybody, or hold nothing back, before a broker is asked.
fn what_is_of_no_use_is_refused(dir: &str, new: &[&str]) {
    let wide = refused(&[new, &["--stages", "30,30"]].concat());
    assert!(wide.contains("stage 1 is for 30 % of the vehicles and comes after 30 %"), "{wide}");
    let wide = refused(&[new, &["--stages", "30,5"]].concat());
    assert!(wide.contains("--stages") && wide.contains("5 %") && !wide.contains("mille"), "{wide}");
    let much = refused(&[new, &["--worse", "9"]].concat());
    assert!(much.contains("--worse"), "{much}");
    let useless = [
        ["--latency", "0"],
        ["--apart", "0"],
        ["--kept", "0"],
        ["--worse", "2.5"],
        ["--moments", "0"],
    ];
    for limit in useless {
        let said = refused(
            &[&["campaign", "new", dir, "--broker", "mqtt://127.0.0.1:9"], &limit[..]].concat(),
        );
        assert!(said.contains(&limit[0][2..]), "{said}");
    }
}

/// Campaign 2 has taken the place of 1, which was aborted.
fn what_stands_is_shown_and_what_does_not_is_told_of(dir: &str, broker: &str) {
    let show = ["campaign", "show", dir, "--broker", broker, "--json"];
    // A broker may be asked before it was told.
    let mut asked = (0..20).map(|_again| shoal(&show));
    let shown = asked.find_map(|output| {
        let shown: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        shown.filter(|shown| !shown.is_null())
    });
    let shown = shown.unwrap();
    assert_eq!(misfits(&schema("campaign.schema.json"), &shown, "$"), Vec::<String>::new());
    assert_eq!((&shown["number"], &shown["state"]), (&Value::from(2), &Value::from("runs")));
    let of = |number| ["campaign", "show", dir, number, "--broker", broker];
    let said = done(&of("2"));
    assert!(
        said.starts_with("campaign 2  runs") && said.contains("nobody begins after that"),
        "{said}"
    );
    let gone = refused(&of("1"));
    assert!(gone.contains("campaign 2 does") && gone.contains("it was aborted"), "{gone}");
    assert!(refused(&of("3")).contains("no campaign 3"));
}

/// What an order is for stands in the region's own topic, where it stays when another region's campaign takes its place.
#[test]
fn of_several_regions_the_campaigns_own_is_shown_and_what_took_its_place_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let regions = ["--region", "eu", "--region", "us"];
    let fleet = fleet_at(folder.path(), &regions, 1_800_000_000);
    let (adapter, dir, package) = (adapter(folder.path()), text(&fleet), package());
    let key = fleet.join("approver.key");
    let begin = |number: &str, region: &str| {
        let new = ["campaign", "new", dir, "--region", region, "--adapter", text(&adapter)];
        done(&[&new[..], &["--package", text(&package)]].concat());
        done(&["campaign", "approve", dir, number, "--key", text(&key)]);
        done(&["campaign", "start", dir, number]);
    };
    begin("1", "us");
    let broker = broker(any());
    let url = broker.url();
    let program = Running::start(&["fleet", "serve", dir, "--broker", &url]);
    let shown = |number: &str, more: &[&str]| {
        let show = [&["campaign", "show", dir, "--broker", &url][..], more].concat();
        // A broker may be asked before it was told.
        let mut asked = (0..20).map(|_again| shoal(&show));
        let head = format!("campaign {number}  runs");
        let said = asked.find(|said| String::from_utf8_lossy(&said.stdout).starts_with(&head));
        String::from_utf8(said.unwrap().stderr).unwrap()
    };
    assert_eq!(shown("1", &[]), "");
    assert_eq!(shown("1", &["1"]), "");
    begin("2", "eu");
    assert_eq!(shown("2", &[]), "");
    let said = shown("1", &["--region", "us"]);
    assert!(said.contains("campaign 2 of eu has taken the place of campaign 1"), "{said}");
    assert!(!said.contains("has not heard"), "{said}");
    assert!(program.terminate());
    let record = folder.path().join("record");
    done(&["evidence", "write", dir, "1", "-o", text(&record)]);
    let again = refused(&["evidence", "write", dir, "1", "-o", text(&record)]);
    assert!(again.contains("name a folder that is not"), "{again}");
    done(&["evidence", "check", text(&record)]);
}

/// Campaign 2 is paused while nobody serves, and then somebody does.
#[expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]
fn what_no_serve_has_seen_is_said_and_in_no_record(fleet: &Path, broker: &str, write: &[&str]) {
    let dir = text(fleet);
    assert!(done(&["campaign", "pause", dir, "2"]).contains("nobody hears of it until one does"));
    let said = refused(write);
    assert!(said.contains("/orders/") && said.contains("shoal fleet serve"), "{said}");
    assert_eq!(said.matches("-campaign.shl").count(), 1, "{said}");
    let shown = shoal(&["campaign", "show", dir, "--broker", broker]);
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(
        shown.status.success() && said.contains("campaign 2 is paused, and the broker"),
        "{said}"
    );
    let program = Running::start(&["fleet", "serve", dir, "--broker", broker]);
    let mut looked = (0..20).map(|_again| {
        std::thread::sleep(PATIENCE / 100);
        shoal(write).status.success()
    });
    assert!(looked.any(|written| written), "it is in the journal when serve has looked");
    assert!(program.terminate());
}

/// Its key was stolen and is gone: two others name another authority, which signs again what the old one signed. The approval stays
/// the approver's, and the campaign goes on.
#[test]
fn a_campaign_goes_on_under_another_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let (dir, package) = (text(&fleet), package());
    done(&["campaign", "new", dir, "--adapter", text(&adapter), "--package", text(&package)]);
    let key = fleet.join("approver.key");
    done(&["campaign", "approve", dir, "1", "--key", text(&key)]);
    done(&["campaign", "start", dir, "1"]);
    let signer = |name: &str| {
        let bytes = std::fs::read(fleet.join("documents").join(name)).unwrap();
        let head = *Unverified::decode(&bytes).unwrap().head();
        (head.key, head.counter)
    };
    let documents = ["plan.shl", "roster.shl", "rosterpage-0.shl", "utility.shl", "swarm.shl"];
    let promoted = ["pack.shl", "campaign.shl", "campaign-particle.shl"];
    let named = documents.iter().chain(&promoted);
    let before: Vec<_> = named.clone().map(|name| signer(name)).collect();

    std::fs::remove_file(fleet.join("authority.key")).unwrap();
    // As a command leaves it that was cut short before anything had changed its place.
    let next = shoal_keys::create(&fleet.join("authority.key.next"), &[9; 32]).unwrap();
    std::fs::write(fleet.join("journal.jsonl"), "").unwrap();
    let of_a_vehicle = refused(&["key", "rotate", dir, "authority", "--number", "1"]);
    assert!(of_a_vehicle.contains("--number is of a vehicle's key"), "{of_a_vehicle}");
    let rotated = done(&["key", "rotate", dir, "authority"]);
    assert!(rotated.contains("the journal begins anew") && rotated.contains("journal-until-"));
    assert!(!fleet.join("authority.key.next").exists());
    assert_eq!(shoal_keys::read(&fleet.join("authority.key")).unwrap().public(), next.public());
    let newest = before.iter().map(|(_key, counter)| *counter).max().unwrap();
    for name in named {
        let (key, counter) = signer(name);
        assert_eq!(key, next.public().id(), "{name}");
        assert!(counter > newest, "{name}: {counter} of {newest}");
    }
    assert_eq!(signer("tuf-image.shl").0, signer("roots-timekeeper.shl").0);
    done(&["campaign", "pause", dir, "1"]);

    std::fs::remove_file(fleet.join("recovery.key")).unwrap();
    std::fs::remove_file(fleet.join("approver.key")).unwrap();
    assert!(refused(&["key", "rotate", dir, "approver"]).contains("there is 1 of them"));
}

/// Vehicles go by one campaign. Of a later one that goes on nobody would begin any more, and no order would say so.
#[test]
fn an_order_for_an_earlier_campaign_takes_the_place_of_none_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let dir = text(&fleet);
    let standing = || std::fs::read(fleet.join("documents/campaign.shl")).unwrap();
    begin(&fleet, &adapter, "1");
    done(&["campaign", "abort", dir, "1"]);
    begin(&fleet, &adapter, "2");
    let before = standing();
    let said = refused(&["campaign", "roll-back", dir, "1"]);
    assert!(said.contains("campaign 2 runs") && said.contains("shoal campaign abort"), "{said}");
    assert_eq!(standing(), before);
    done(&["campaign", "pause", dir, "2"]);
    let said = refused(&["campaign", "roll-back", dir, "1"]);
    assert!(said.contains("campaign 2 is paused"), "{said}");
    done(&["campaign", "resume", dir, "2"]);
    done(&["campaign", "abort", dir, "2"]);
    done(&["campaign", "roll-back", dir, "1"]);

    // The later one was begun while the earlier one ran.
    begin(&fleet, &adapter, "3");
    begin(&fleet, &adapter, "4");
    for order in ["pause", "abort", "roll-back"] {
        let said = refused(&["campaign", order, dir, "3"]);
        assert!(said.contains("campaign 4 runs"), "{order}: {said}");
    }
    done(&["campaign", "roll-back", dir, "4"]);
    done(&["campaign", "abort", dir, "3"]);
}

/// Vehicles begin while it is approved, and stop at any time.
#[test]
fn what_is_approved_no_more_is_not_begun_and_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, adapter) = (fleet(folder.path()), adapter(folder.path()));
    let (dir, package, key) = (text(&fleet), package(), fleet.join("approver.key"));
    let order = |order: &str| done(&["campaign", order, dir, "1"]);
    let approve = || done(&["campaign", "approve", dir, "1", "--key", text(&key)]);
    let expire = || {
        let path = fleet.join("campaigns/1/approval.shl");
        let (bytes, key) = (std::fs::read(&path).unwrap(), shoal_keys::read(&key).unwrap());
        let counter = Unverified::decode(&bytes).unwrap().head().counter;
        let ended = again::<Document<'_>>(&bytes, &key, (counter + 1, 1_000));
        std::fs::write(&path, ended).unwrap();
    };
    let is_refused = |order: &str| {
        let said = refused(&["campaign", order, dir, "1"]);
        assert!(said.contains("approved until 1970-01-01T00:16:40Z"), "{said}");
        assert!(said.contains(&format!("shoal campaign approve {dir} 1")), "{said}");
    };
    done(&["campaign", "new", dir, "--adapter", text(&adapter), "--package", text(&package)]);
    approve();
    expire();
    is_refused("start");
    assert!(!fleet.join("documents/campaign.shl").exists());
    approve();
    order("start");
    expire();
    order("pause");
    is_refused("resume");
    approve();
    order("resume");
    expire();
    order("abort");
    order("roll-back");
}

/// A gateway takes no second header of one counter, and nobody an older one: of two campaigns that were made one after the other
/// either may be begun first.
#[test]
fn what_a_campaign_promotes_is_signed_anew_when_it_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path());
    let (dir, package, key) = (text(&fleet), package(), fleet.join("approver.key"));
    for (number, seed) in [("1", 3), ("2", 4)] {
        let adapter = adapter_of(folder.path(), seed);
        let adapter = ["--adapter", text(&adapter), "--package", text(&package)];
        done(&[&["campaign", "new", dir][..], &adapter].concat());
        done(&["campaign", "approve", dir, number, "--key", text(&key)]);
    }
    let promoted = || std::fs::read(fleet.join("documents/campaign-particle.shl")).unwrap();
    let mut newest = 0;
    let orders =
        [("start", "2"), ("abort", "2"), ("start", "1"), ("abort", "1"), ("roll-back", "2")];
    for (order, number) in orders {
        let before = (newest > 0).then(promoted);
        done(&["campaign", order, dir, number]);
        let header = promoted();
        if order == "abort" {
            assert_eq!(Some(header), before, "it stands already");
            continue;
        }
        let counter = Unverified::decode(&header).unwrap().head().counter;
        assert!(counter > newest, "{order} {number}: {counter} of {newest}");
        newest = counter;
    }
}

#[expect(clippy::disallowed_methods, reason = "a test against real programs has their time")]
fn wait_for_journal(fleet: &Path) {
    let began = std::time::Instant::now();
    // The campaign's document is the first by name, the swarm's the last but one.
    let whole = |text: String| text.contains("/document/") && text.contains("/swarm/");
    while !std::fs::read_to_string(fleet.join("journal.jsonl")).is_ok_and(whole) {
        assert!(began.elapsed() < PATIENCE, "no journal");
        std::thread::sleep(Duration::from_millis(50));
    }
}
