//! The vault on a disk that loses power at every possible moment, on one that is full, and damaged.

#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

#[path = "../../../../shadow/tests/replay_faults/sim_disk.rs"]
mod sim_disk;

use std::collections::{BTreeMap, BTreeSet};

use shoal_shadow::replay::Disk;
use shoal_vehicle::exchange::vault::{KeptRecord, Vault, VaultError};

use sim_disk::SimDisk;

/// Steps of [`step`] that a test takes.
const STEPS: u64 = 24;

fn open(disk: &SimDisk) -> Result<Vault, VaultError> {
    Vault::on(Box::new(disk.clone()), Box::new(disk.clone()))
}

/// What a vault must hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: BTreeMap<String, Vec<u8>>,
    records: Vec<KeptRecord>,
    utc: u64,
    blobs: BTreeSet<Vec<u8>>,
}

fn blob(index: u64) -> Vec<u8> {
    (0..600 + index).map(|at| (at * 7 + index * 31) as u8).collect()
}

fn record(index: u64) -> KeptRecord {
    let bytes = (0..150).map(|at| (at * 3 + index) as u8).collect();
    KeptRecord { window: index as u32 / 8, topic: format!("shoal/1/{index}"), bytes }
}

/// What step `index` does, every kind of change among it, to a vault.
fn step(vault: &mut Vault, index: u64) -> Result<(), VaultError> {
    match index % 6 {
        0 => vault.put(&format!("value/{}", index % 4), &blob(index)),
        1 => {
            let KeptRecord { window, topic, bytes } = record(index);
            vault.keep_record(window, &topic, &bytes)
        }
        2 => vault.accept_utc(1000 + index),
        3 => vault.keep_blob(&blob(index)).map(drop),
        4 => vault.counter(1000 * index).map(drop),
        _ if index % 12 == 5 => vault.remove("value/0"),
        _ => vault.forget_records(|record| record.window == 0).map(drop),
    }
}

/// The same to the model.
fn step_model(model: &mut Model, index: u64) {
    match index % 6 {
        0 => drop(model.values.insert(format!("value/{}", index % 4), blob(index))),
        1 => model.records.push(record(index)),
        2 => model.utc = 1000 + index,
        3 => drop(model.blobs.insert(blob(index))),
        4 => {}
        _ if index % 12 == 5 => drop(model.values.remove("value/0")),
        _ => model.records.retain(|record| record.window != 0),
    }
}

/// What must be there after each number of steps.
fn models() -> Vec<Model> {
    let mut model = Model::default();
    let mut models = vec![model.clone()];
    for index in 0..STEPS {
        step_model(&mut model, index);
        models.push(model.clone());
    }
    models
}

fn holds(vault: &mut Vault) -> Model {
    let mut values = BTreeMap::new();
    for key in vault.keys("").unwrap() {
        let value = vault.get(&key).unwrap().unwrap();
        values.insert(key, value);
    }
    let all = (0..STEPS).map(blob);
    let blobs = all.filter(|bytes| vault.blob(&hash(bytes)).unwrap().as_ref() == Some(bytes));
    let blobs = blobs.collect();
    let utc = vault.utc_at_least().unwrap();
    Model { values, records: vault.records().unwrap(), utc, blobs }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(bytes)).into()
}

/// Takes steps until they are done or the power goes; how many were acknowledged.
fn work(disk: &SimDisk) -> u64 {
    let Ok(mut vault) = open(disk) else { return 0 };
    (0..STEPS).take_while(|index| step(&mut vault, *index).is_ok()).count() as u64
}

/// Of all counters that steps may have been given, the highest.
fn counter_max(steps: u64) -> u64 {
    (0..steps).filter(|index| index % 6 == 4).map(|index| 1000 * index + 1).max().unwrap_or(0)
}

#[test]
fn no_cut_of_power_loses_what_was_acknowledged_or_leaves_half_of_a_change() {
    let whole = SimDisk::default();
    assert_eq!(work(&whole), STEPS);
    let models = models();
    let (mut under_way, mut partial) = (0, 0);
    for cut_at in 0..whole.operations() {
        for seed in 0..2 {
            let context = format!("cut before operation {cut_at}, seed {seed}");
            let disk = SimDisk::default();
            disk.cut_at(cut_at);
            let done = work(&disk) as usize;
            assert!(disk.is_cut(), "{context}: {} of {}", disk.operations(), whole.operations());

            let disk = disk.after_cut(seed);
            let mut vault = open(&disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert!(vault.found().set_aside.is_none(), "{context}: {:?}", vault.found());
            let (now, next) = (holds(&mut vault), models.get(done + 1).unwrap_or(&models[done]));
            assert!(now == models[done] || now == *next, "{context}: {now:?}");
            under_way += u64::from(now != models[done]);
            partial += vault.found().partial;
            assert!(vault.counter(0).unwrap() > counter_max(done as u64), "{context}");
            assert!(disk.names().iter().all(|name| !name.starts_with("tmp-")), "{context}");
        }
    }
    // Cuts hit before and after the commit, and within a file.
    assert!(under_way > 0 && partial > 0, "{under_way} {partial}");
}

#[test]
fn full_disk_is_an_error_that_leaves_the_vault_as_it_was() {
    let disk = SimDisk::default();
    let mut vault = open(&disk).unwrap();
    let mut model = Model::default();
    let mut errors = 0;
    for index in 0..STEPS {
        for room in [0, 1, 511, 700] {
            disk.allow(Some(disk.used() + room));
            // A value that no page has room for.
            let error = vault.put("large", &vec![index as u8; 1 << 20]).unwrap_err();
            assert!(error.to_string().contains("free space"), "{error}");
            errors += 1;
            assert_eq!(holds(&mut vault), model, "step {index}, room {room}");
        }
        let full = disk.full();
        if let Err(error) = step(&mut vault, index) {
            assert!(disk.full() > full, "step {index}: {error:?}");
            assert_eq!(holds(&mut vault), model, "step {index}");
            disk.allow(None);
            step(&mut vault, index).unwrap();
        }
        step_model(&mut model, index);
        assert_eq!(holds(&mut vault), model, "step {index}");
    }
    assert_eq!(errors, 4 * STEPS);
    disk.allow(None);
    vault.put("large", &[7; 1 << 20]).unwrap();
    drop(vault);
    assert_eq!(open(&disk).unwrap().get("large").unwrap().unwrap().len(), 1 << 20);
}

/// No byte of the tables, wherever it is flipped, stops the vehicle or makes it believe what was not written.
#[test]
fn damaged_tables_are_harmless_or_set_aside() {
    let disk = SimDisk::default();
    assert_eq!(work(&disk), STEPS);
    disk.sync().unwrap();
    let models = models();
    let (last, before) = (&models[STEPS as usize], &models[STEPS as usize - 1]);
    let length = disk.open("vault.redb").and_then(|file| file.len()).unwrap();
    let mut aside = 0;
    for at in (0..512).step_by(3).chain((512..length as usize).step_by(1201)) {
        let disk = disk.flipped("vault.redb", at);
        let mut vault = open(&disk).unwrap_or_else(|error| panic!("byte {at}: {error:?}"));
        let counter = vault.counter(counter_max(STEPS)).unwrap();
        assert!(counter > counter_max(STEPS), "byte {at}");
        let now = holds(&mut vault);
        if let Some(set_aside) = &vault.found().set_aside {
            aside += 1;
            assert!(set_aside.path.ends_with("vault.redb.damaged"), "byte {at}");
            // Blobs prove themselves, and are still there.
            assert_eq!(now, Model { blobs: last.blobs.clone(), ..Model::default() }, "byte {at}");
            drop(vault);
            assert!(open(&disk).unwrap().found().set_aside.is_none(), "byte {at}: said once");
        } else {
            assert!(now == *last || now == *before, "byte {at}: {now:?}");
        }
    }
    assert!(aside > 0);
}

/// Setting aside is cut at each of its operations.
#[test]
fn cut_while_setting_aside_stops_no_vehicle_and_loses_no_damaged_tables() {
    let damaged = SimDisk::default();
    damaged.create("vault.redb").and_then(|file| file.write_at(0, b"no database")).unwrap();
    damaged.open("vault.redb").and_then(|file| file.sync()).unwrap();
    damaged.sync().unwrap();
    let whole = damaged.after_cut(0);
    drop(open(&whole).unwrap());
    let mut told = 0;
    for cut_at in 0..whole.operations() {
        for seed in 0..4 {
            let disk = damaged.after_cut(0);
            disk.cut_at(cut_at);
            drop(open(&disk));
            assert!(disk.is_cut(), "cut at {cut_at}");
            let disk = disk.after_cut(seed);
            let mut vault = open(&disk).unwrap();
            told += u64::from(vault.found().set_aside.is_some());
            vault.put("goes", b"on").unwrap();
            drop(vault);
            let vault = open(&disk).unwrap();
            assert_eq!(vault.get("goes").unwrap().unwrap(), b"on");
            assert!(vault.found().set_aside.is_none());
            assert!(disk.names().contains(&"vault.redb.damaged".into()), "it is kept");
        }
    }
    assert!(told > 0);
}

/// A database, but not ours.
#[test]
fn unknown_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.redb");
    let table = redb::TableDefinition::<u64, u64>::new("values");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();

    let mut vault = Vault::open(dir.path()).unwrap();

    let aside = vault.found().set_aside.as_ref().unwrap();
    assert!(aside.why.is_some());
    assert_eq!(std::fs::read(&aside.path).unwrap().len(), before.len());
    assert_eq!(vault.keys("").unwrap(), [""; 0]);
    vault.put("goes", b"on").unwrap();
}

#[test]
fn damaged_blob_is_none_and_can_be_kept_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = Vault::open(dir.path()).unwrap();
    let bytes = blob(5);
    let hash = vault.keep_blob(&bytes).unwrap();
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = dir.path().join("blobs").join(name);
    for damaged in [&bytes[..17], &[], &[&bytes[..], b"more"].concat(), &vec![0; bytes.len()]] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(vault.blob(&hash).unwrap(), None);
        assert!(!path.exists(), "removed");
        assert_eq!(vault.keep_blob(&bytes).unwrap(), hash);
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(vault.keep_blob(&bytes).unwrap(), hash, "kept over a damaged one");
        assert_eq!(vault.blob(&hash).unwrap().unwrap(), bytes);
    }
}
