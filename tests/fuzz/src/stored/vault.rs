//! A vehicle's vault.

use std::sync::OnceLock;

use redb::{Builder, Database, TableDefinition};
use shoal_shadow::replay::{Disk as _, TablesFile};
use shoal_vehicle::exchange::vault::{Vault, VaultError};

use crate::disk::Memory;
use crate::parts::{parts, written_over};

const FILE: &str = "vault.redb";
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const RECORD_IDS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("record ids");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Longer inputs say nothing more.
const ROWS_MAX: usize = 16;

/// The tables as a file that was written over.
pub(super) fn file(bytes: &[u8]) {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| {
        let disk = Memory::default();
        make(&disk, &[]).expect("the disk has room");
        goes_on(&disk);
        disk.bytes(FILE)
    });
    let disk = Memory::default();
    disk.lay(FILE, &written_over(whole, bytes));
    goes_on(&disk);
}

/// Tables that a database takes for its own, with these rows: what a digest of its pages stops is not what somebody writes who
/// has the database. In each part the first byte says which table.
pub(super) fn rows(bytes: &[u8]) {
    let disk = Memory::default();
    if make(&disk, bytes).is_ok() {
        goes_on(&disk);
    }
}

fn make(disk: &Memory, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let database: Database = Builder::new().create_with_backend(TablesFile(disk.create(FILE)?))?;
    let transaction = database.begin_write()?;
    {
        let mut values = transaction.open_table(VALUES)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut ids = transaction.open_table(RECORD_IDS)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert("format", 1)?;
        for (index, part) in parts(bytes).take(ROWS_MAX).enumerate() {
            let Some(([table, key @ ..], row)) = part.split_first_chunk::<9>() else { continue };
            let (key, index) = (u64::from_le_bytes(*key), index as u64);
            match table % 6 {
                0 => drop(records.insert(index, row)?),
                // The last there is, or one with room after it for what a vehicle adds in its life.
                1 if key == u64::MAX => drop(records.insert(key, row)?),
                1 => drop(records.insert(key / 2, row)?),
                2 => drop(values.insert(&*String::from_utf8_lossy(row), &part[1..9])?),
                3 => drop(numbers.insert("counter", key)?),
                4 => drop(numbers.insert("utc", key)?),
                _id => drop(ids.insert(&std::array::from_fn(|_byte| *table), key)?),
            }
        }
    }
    Ok(transaction.commit()?)
}

/// Damage stops no vehicle; and what is acknowledged from then on is there when the vault is opened again.
fn goes_on(disk: &Memory) {
    let open = || Vault::on(Box::new(disk.clone()), Box::new(Memory::default()));
    let mut vault = open().expect("damaged tables are set aside");
    let before = vault.records().expect("what was opened was checked");
    let utc = vault.utc_at_least().expect("it is known");
    vault.put("key", b"value").expect("the disk has room");
    vault.accept_utc(utc.saturating_add(1)).expect("the disk has room");
    vault.keep_record(7, "topic", b"envelope").expect("the disk has room");
    let counter = match vault.counter(3) {
        Ok(counter) => {
            assert!(counter > 3);
            counter
        }
        Err(VaultError::CounterSpent { .. }) => u64::MAX,
        Err(why) => panic!("the disk has room: {why}"),
    };
    drop(vault);
    let mut again = open().expect("a vault is opened again");
    assert!(again.found().set_aside.is_none(), "what was set aside once is gone");
    assert_eq!(again.get("key").ok().flatten().as_deref(), Some(&b"value"[..]));
    assert_eq!(again.utc_at_least().ok(), Some(utc.saturating_add(1)));
    let records = again.records().expect("what was opened was checked");
    assert!(records.starts_with(&before), "records keep their order");
    // A start skips those that were reserved: of the last, all.
    assert!(again.counter(3).ok().is_none_or(|next| next > counter), "no counter is given twice");
}
