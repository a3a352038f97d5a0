//! Records against the obvious: a map that is cut whenever the flash is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_gateway::{FlashError, Key, Records};

use crate::common::flash::Memory;

fn get(flash: &mut Memory, key: Key) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    let records = Records::open(flash).unwrap();
    records.get(flash, key, &mut buffer).unwrap().map(<[u8]>::to_vec)
}

fn record(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + number * 13) as u8).collect()
}

#[test]
fn an_erased_flash_holds_nothing() {
    let mut flash = Memory::erased();
    assert!(Key::ALL.iter().all(|key| get(&mut flash, *key).is_none()));
}

#[test]
fn a_record_that_is_too_long_is_refused_and_the_former_stays() {
    let mut flash = Memory::erased();
    let mut records = Records::open(&mut flash).unwrap();
    records.put(&mut flash, Key::Plan, b"before").unwrap();
    let long = vec![1; 9000];
    assert_eq!(records.put(&mut flash, Key::Plan, &long), Err(FlashError::Full));
    assert_eq!(get(&mut flash, Key::Plan), Some(b"before".to_vec()));
    records.put(&mut flash, Key::Plan, b"after").unwrap();
    assert_eq!(get(&mut flash, Key::Plan), Some(b"after".to_vec()));
}

/// Heads of areas as somebody left them who wrote the flash.
#[test]
fn what_is_put_counts_whatever_the_number_of_its_area() {
    let mut flash = Memory::erased();
    let mut records = Records::open(&mut flash).unwrap();
    records.put(&mut flash, Key::Plan, b"before").unwrap();
    for number in [0, i32::MAX as u32, u32::MAX - 1, u32::MAX] {
        let mut flash = flash.clone();
        let number = number.to_le_bytes();
        flash.bytes[4096 + 4..][..4].copy_from_slice(&number);
        flash.bytes[4096 + 8..][..4].copy_from_slice(&crc(&number).to_le_bytes());
        assert_eq!(get(&mut flash, Key::Plan), Some(b"before".to_vec()), "{number:?}");
        for put in 0..40 {
            let mut records = Records::open(&mut flash).unwrap();
            let bytes = record(put, 1000);
            records.put(&mut flash, Key::Plan, &bytes).unwrap();
            assert_eq!(get(&mut flash, Key::Plan), Some(bytes), "{number:?}, {put}");
        }
    }
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _bit| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// Cut at every word and every sector of a long life: each record is the former or the latter, and what was answered
/// for is there.
#[test]
fn a_cut_at_any_step_tears_nothing() {
    let life: Vec<(Key, Vec<u8>)> = (0..60)
        .map(|number| {
            let len = [5, 37, 300, 1024, 0, 29][number % 6];
            (Key::ALL[number * 5 % 8], record(number, len))
        })
        .collect();
    let mut whole = Memory::erased();
    let mut records = Records::open(&mut whole).unwrap();
    life.iter().for_each(|(key, bytes)| records.put(&mut whole, *key, bytes).unwrap());
    assert!(whole.steps > 2_000, "{}: areas change sides", whole.steps);

    for cut in (0..whole.steps).step_by(3) {
        let mut flash = Memory::erased();
        flash.left = Some(cut);
        let mut records = Records::open(&mut flash).unwrap();
        let mut held = BTreeMap::new();
        let mut cut_at = None;
        for (key, bytes) in &life {
            if records.put(&mut flash, *key, bytes).is_err() {
                cut_at = Some((*key, bytes.clone()));
                break;
            }
            held.insert(*key as u8, bytes.clone());
        }
        let (torn, latter) = cut_at.unwrap();
        flash = flash.power_on();
        for key in Key::ALL {
            let former = held.get(&(key as u8)).cloned();
            let got = get(&mut flash, key);
            let fits = got == former || key as u8 == torn as u8 && got.as_ref() == Some(&latter);
            assert!(fits, "cut {cut}: {key:?}");
        }
        // Life goes on: nothing that was touched is programmed again without an erase.
        let mut records = Records::open(&mut flash).unwrap();
        records.put(&mut flash, torn, b"again").unwrap();
        assert_eq!(get(&mut flash, torn), Some(b"again".to_vec()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_are_a_map(
        puts in prop::collection::vec((0..8_usize, 0..700_usize, any::<bool>()), 1..60),
    ) {
        let mut flash = Memory::erased();
        let mut records = Records::open(&mut flash).unwrap();
        let mut map = BTreeMap::new();
        for (number, (key, len, reopen)) in puts.into_iter().enumerate() {
            let bytes = record(number, len);
            if reopen {
                records = Records::open(&mut flash).unwrap();
            }
            records.put(&mut flash, Key::ALL[key], &bytes).unwrap();
            map.insert(key, bytes);
        }
        for (key, bytes) in map {
            prop_assert_eq!(get(&mut flash, Key::ALL[key]), Some(bytes));
        }
    }

    /// A flash that somebody else wrote.
    #[test]
    fn any_bytes_in_flash_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 20_480), magic in any::<bool>(),
    ) {
        let mut flash = Memory::erased();
        flash.bytes[..bytes.len()].copy_from_slice(&bytes);
        if magic {
            flash.bytes[4096..4100].copy_from_slice(&0x5348_4731_u32.to_le_bytes());
        }
        for key in Key::ALL {
            let mut buffer = [0; 64];
            if let Ok(records) = Records::open(&mut flash) {
                let _any = records.get(&mut flash, key, &mut buffer);
            }
        }
    }
}
