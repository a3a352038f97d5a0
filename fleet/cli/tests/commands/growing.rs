//! `shoal fleet enroll`: more vehicles in a fleet's folder.

use std::path::Path;

use shoal_keys::KeyAt;
use shoal_vehicle::config::Config;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::SecretKey;
use shoal_wire::v1::{Growth, Roster, RosterPage};

use super::campaign::{done, refused};
use super::fleet::fleet_at;
use super::lasting::{names, now_s, of_days};
use super::text;

/// The roster as it is signed: of each vehicle its key and its region, and what it grew by.
fn roster(fleet: &Path) -> (Vec<([u8; 32], u16)>, Vec<Growth>) {
    let own = Own(shoal_keys::read(&fleet.join("authority.key")).unwrap().public());
    let read = |name: &str| std::fs::read(fleet.join("documents").join(name)).unwrap();
    let (head, page) = (read("roster.shl"), read("rosterpage-0.shl"));
    let head = verified::<Roster<'_>>(&head, &own).unwrap();
    let page = verified::<RosterPage<'_>>(&page, &own).unwrap();
    head.body().check(&page).unwrap();
    let rows = page.body().vehicles().map(|row| (row.public_key, row.region));
    (rows.collect(), head.body().growths().collect())
}

fn named(fleet: &Path) -> bool {
    let targets = std::fs::read_to_string(fleet.join("repositories/image/targets.json")).unwrap();
    names(&targets, fleet, "roster")
}

fn vehicles(fleet: &Path) -> String {
    let toml = std::fs::read_to_string(fleet.join("fleet.toml")).unwrap();
    toml.lines().find(|line| line.starts_with("vehicles")).unwrap().to_owned()
}

#[test]
fn a_fleet_takes_more_vehicles_in() {
    let folder = tempfile::tempdir().unwrap();
    // Windows 0 to 9 have opened, or are about to.
    let fleet = of_days(folder.path(), 9);
    let dir = text(&fleet);
    let (before, grown) = roster(&fleet);
    assert_eq!(grown, []);
    let said = done(&["fleet", "enroll", dir, "--vehicles", "2"]);
    assert!(said.contains("from window 11 on"), "{said}");
    let (rows, grown) = roster(&fleet);
    let places = before.len() as u32;
    assert_eq!((rows.len(), &rows[..before.len()]), (before.len() + 2, before.as_slice()));
    assert_eq!(grown, [Growth { window: 11, places }]);
    assert!(named(&fleet), "metadata name it");
    assert_eq!(vehicles(&fleet), format!("vehicles = {}", rows.len()));
    let first = Config::read(&fleet.join("vehicle-0/vehicle.toml")).unwrap();
    for (number, (key, _region)) in (0..).zip(&rows).skip(before.len()) {
        let own = fleet.join(format!("vehicle-{number}"));
        let config = Config::read(&own.join("vehicle.toml")).unwrap();
        let told = config.fleet.unwrap();
        let KeyAt::File(file) = &told.key else { panic!("its key is a file") };
        assert_eq!(shoal_keys::read(file).unwrap().public().bytes(), key);
        assert_eq!((config.drives.vehicle, config.drives.vehicles), (number, rows.len()));
        assert_eq!(
            (&config.name, &config.state),
            (&format!("vehicle-{number}"), &own.join("state"))
        );
        let of_first = first.fleet.clone().unwrap();
        assert_eq!(
            (told.packs, told.trust, told.broker),
            (of_first.packs, of_first.trust, of_first.broker)
        );
        assert_eq!(config.model.package, first.model.package);
        done(&[
            "fleet",
            "provision",
            dir,
            &number.to_string(),
            "-o",
            text(&folder.path().join(format!("for-{number}"))),
        ]);
    }
    // In the same window, by a key that a vehicle made; and the same again.
    let key = SecretKey::from_seed(&[77; 32]).public();
    let hex: String = key.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    done(&["fleet", "enroll", dir, "--public", &hex]);
    let (rows, grown) = roster(&fleet);
    assert_eq!((rows.last().unwrap().0, grown.len()), (*key.bytes(), 1));
    let again = refused(&["fleet", "enroll", dir, "--public", &hex]);
    assert!(again.contains("is, or was, one of the roster's"), "{again}");
    // What is signed again says so, too.
    done(&["fleet", "revoke", dir, "1"]);
    done(&["fleet", "plan", dir, "--renew"]);
    assert_eq!(roster(&fleet).1, grown);
    for (args, said) in [
        (&["--vehicles", "1", "--region", "asia"][..], "has no region asia"),
        (&["--vehicles", "1", "--like", "nowhere.toml"], "--like FILE"),
        (&["--public", "12"], "64 hexadecimal digits"),
        (&[], "--vehicles"),
    ] {
        let refused = refused(&[&["fleet", "enroll", dir], args].concat());
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(vehicles(&fleet), format!("vehicles = {}", rows.len()), "nothing is half done");
}

/// Who is in which region stands in the roster; and before the first window nothing was drawn of anybody.
#[test]
fn vehicles_are_given_to_the_regions_in_turn_or_to_the_one_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let regions = ["--region", "eu", "--region", "us"];
    let fleet = fleet_at(folder.path(), &regions, now_s() + 86_400);
    let dir = text(&fleet);
    let count = roster(&fleet).0.len();
    done(&["fleet", "enroll", dir, "--vehicles", "2"]);
    done(&["fleet", "enroll", dir, "--vehicles", "2", "--region", "us"]);
    let (rows, grown) = roster(&fleet);
    let regions: Vec<u16> = rows.iter().map(|(_key, region)| *region).collect();
    let turn = |number: usize| (number % 2) as u16;
    assert_eq!(regions[count..], [turn(count), turn(count + 1), 1, 1]);
    assert_eq!(grown, []);
    let told = Config::read(&fleet.join(format!("vehicle-{}/vehicle.toml", count + 3))).unwrap();
    let told = told.fleet.unwrap();
    assert_eq!(told.region, "us");
    assert!(told.trust.unwrap().ends_with("trust/us"));
}

/// The power goes: before the roster is signed, and before the folder says how many there are.
#[test]
fn a_command_that_was_cut_short_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = of_days(folder.path(), 9);
    let dir = text(&fleet);
    let (before, number) = (vehicles(&fleet), roster(&fleet).0.len());
    let made = fleet.join(format!("vehicle-{number}"));
    std::fs::create_dir(&made).unwrap();
    let key = shoal_keys::create(&made.join("vehicle.key"), &[9; 32]).unwrap();
    done(&["fleet", "enroll", dir, "--vehicles", "1"]);
    let (rows, grown) = roster(&fleet);
    assert_eq!(rows.last().unwrap().0, *key.public().bytes(), "it has the key that it was given");
    let toml = std::fs::read_to_string(fleet.join("fleet.toml")).unwrap();
    let after = vehicles(&fleet);
    std::fs::write(fleet.join("fleet.toml"), toml.replace(&after, &before)).unwrap();
    let said = done(&["fleet", "enroll", dir, "--vehicles", "1"]);
    assert!(said.contains("already"), "{said}");
    assert_eq!((vehicles(&fleet), roster(&fleet)), (after, (rows, grown)));
}
