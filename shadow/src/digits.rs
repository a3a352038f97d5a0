//! Hexadecimal digits of hashes.

use std::fmt::Write;

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// Exactly 64 digits of either case as 32 bytes.
pub fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_and_hex_are_inverse() {
        let bytes: [u8; 32] = std::array::from_fn(|index| index as u8 * 8 + 7);
        assert_eq!(hash(&hex(&bytes)), Some(bytes));
        assert_eq!(hash(&hex(&bytes).to_uppercase()), Some(bytes));
    }

    #[test]
    fn hash_of_another_length_or_with_another_sign_is_none() {
        assert_eq!(hash(&"0".repeat(63)), None);
        assert_eq!(hash(&"0".repeat(65)), None);
        assert_eq!(hash(&"g".repeat(64)), None);
        assert_eq!(hash(&"é".repeat(32)), None);
    }
}
