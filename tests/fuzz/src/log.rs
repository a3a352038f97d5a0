//! The entry of the target `log`: the event log of a vehicle, read by who runs it again at a desk.

use sha2::{Digest, Sha256};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::swarm::{Flat, ValuesHash};
use shoal_vehicle::exchange::log::{Rerun, Values, rerun_part};
use shoal_wire::SecretKey;

/// What stands before the entries of a log.
const MAGIC_BYTES: usize = 8;
/// What stands before an entry: its length, and the first bytes of its digest.
const LENGTH_BYTES: usize = 4;
const CHECK_BYTES: usize = 8;

/// Runs the bytes again as a log, as they are and with the digests of their entries put right: what a digest stops is not what
/// somebody writes who knows it.
///
/// # Panics
/// If one log gives two stories.
pub fn log(bytes: &[u8]) {
    for bytes in [bytes, &mended(bytes)] {
        assert_eq!(again(bytes), again(bytes), "the same inputs give the same outputs");
    }
}

fn again(bytes: &[u8]) -> Option<Rerun> {
    let [authority, timekeeper] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
    let keys = Keyring::new(authority, timekeeper);
    rerun_part(bytes, &keys, |values, _header| known(values)).ok()
}

/// The values that logs of the corpus name.
fn known(values: &Values) -> Option<Flat> {
    let start = [0.5, 0.0, 0.0];
    let tuned = (0..8_u8).map(|window| [0.5, 0.1 * f32::from(window), -0.2]);
    let fetched = (0..40_u8).map(|tens| [0.1, 0.2, f32::from(tens) / 100.0]);
    let mut all = std::iter::once(start).chain(tuned).chain(fetched);
    all.find(|one| ValuesHash::of(one) == values.hash).map(|one| one.to_vec().into())
}

/// The log with every entry's digest as it should be, and its beginning as it should be.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut mended = b"SHLLOG02".to_vec();
    let mut rest = bytes.get(MAGIC_BYTES..).unwrap_or_default();
    while let Some((length, payload, next)) = entry(rest) {
        mended.extend(length);
        mended.extend(Sha256::digest(payload).iter().take(CHECK_BYTES));
        mended.extend(payload);
        rest = next;
    }
    mended.extend(rest);
    mended
}

/// Length and payload of the first entry, and what follows it; the payload ends where the bytes end.
fn entry(bytes: &[u8]) -> Option<([u8; LENGTH_BYTES], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let (_check, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
    let count = usize::try_from(u32::from_le_bytes(*length)).ok()?.min(rest.len());
    let (payload, next) = rest.split_at_checked(count)?;
    Some((u32::try_from(count).ok()?.to_le_bytes(), payload, next))
}
