//! CRC-32 (ISO-HDLC, as Ethernet's): finds noise and torn writes. Against who forges there are signatures.

const POLYNOMIAL: u32 = 0xedb8_8320;

/// Of half a byte: 64 bytes of table, where one of whole bytes has 1,024.
const TABLE: [u32; 16] = table();

const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut index = 0;
    #[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "at compile time")]
    while index < 16 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 4 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crc(u32);

impl Crc {
    pub(crate) const fn new() -> Self {
        Self(u32::MAX)
    }

    pub(crate) fn push(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| half(half(crc ^ u32::from(*byte)))))
    }

    pub(crate) const fn value(self) -> u32 {
        !self.0
    }

    pub(crate) fn of(bytes: &[u8]) -> u32 {
        Self::new().push(bytes).value()
    }
}

fn half(crc: u32) -> u32 {
    (crc >> 4) ^ TABLE.get((crc & 15) as usize).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs.
    #[test]
    fn it_is_the_crc_that_others_know() {
        assert_eq!(Crc::of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Crc::new().push(b"1234").push(b"56789").value(), 0xcbf4_3926);
    }
}
