//! Small records by key that outlive a cut of power.

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 64;

/// Longest record, bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Whether `key` may name a record: 1 to [`KEY_BYTES_MAX`] characters of `a-z 0-9 - _ .`, the first
/// no dot. So a key is a file name on every system, and stands for one record on all of them.
#[must_use]
pub const fn is_key(key: &str) -> bool {
    let key = key.as_bytes();
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key[0] == b'.' {
        return false;
    }
    let mut index = 0;
    while index < key.len() {
        if !matches!(key[index], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.') {
            return false;
        }
        index += 1;
    }
    true
}

/// Atomic small records by key: after a cut of power each record is wholly the one before the last
/// `put` or wholly the one after it, and one that `put` answered for is there.
pub trait Store {
    /// Why the store failed.
    type Error;

    /// Copies the record of `key` to the start of `buffer` and returns its length; `None` when there
    /// is none.
    ///
    /// # Errors
    /// When `key` is not one ([`is_key`]), `buffer` is shorter than the record, or storage fails.
    fn get(&self, key: &str, buffer: &mut [u8]) -> Result<Option<usize>, Self::Error>;

    /// Sets the record of `key`; durable when this returns.
    ///
    /// # Errors
    /// When `key` is not one, `record` exceeds [`RECORD_BYTES_MAX`], or storage fails: the record is
    /// then wholly the former or wholly the latter.
    fn put(&mut self, key: &str, record: &[u8]) -> Result<(), Self::Error>;

    /// Removes the record of `key`; durable when this returns. No record is no error.
    ///
    /// # Errors
    /// When `key` is not one, or storage fails.
    fn remove(&mut self, key: &str) -> Result<(), Self::Error>;

    /// Calls `visit` with every key that starts with `prefix`, in bytewise order.
    ///
    /// # Errors
    /// When storage cannot be read.
    fn keys(&self, prefix: &str, visit: &mut dyn FnMut(&str)) -> Result<(), Self::Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_plain_file_name() {
        assert!(is_key("record-7.v1_x"));
        for not in ["", ".", "..", ".hidden", "a/b", "A", "ä", "a b", "a\0"] {
            assert!(!is_key(not), "{not:?}");
        }
        assert!(is_key(&"k".repeat(KEY_BYTES_MAX)));
        assert!(!is_key(&"k".repeat(KEY_BYTES_MAX + 1)));
    }
}
