//! CRC-64/XZ (polynomial 0x42F0E1EBA9EA3693, reflected): finds torn, cut and altered files, whatever
//! the alteration up to 64 bits in a row and all but one in 2^64 of the others. It is no signature.
//!
//! The definition works bit by bit; eight tables let the loop take eight bytes at a time.

/// The reflected polynomial.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// `TABLES[k][b]`: the checksum's change by byte `b` followed by `k` zero bytes.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (if value & 1 == 1 { POLYNOMIAL } else { 0 });
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = tables[0][(before & 255) as usize] ^ (before >> 8);
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// A checksum being computed over a stream of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Crc64(u64);

impl Default for Crc64 {
    fn default() -> Self {
        Crc64(!0)
    }
}

impl Crc64 {
    /// Takes in further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let mixed = (self.0 ^ u64::from_le_bytes(*word)).to_le_bytes();
            self.0 = (0..8).fold(0, |sum, i| sum ^ TABLES[7 - i][mixed[i] as usize]);
        }
        for byte in rest {
            self.0 = TABLES[0][((self.0 ^ u64::from(*byte)) & 255) as usize] ^ (self.0 >> 8);
        }
    }

    /// The checksum of everything so far.
    pub fn value(&self) -> u64 {
        !self.0
    }

    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Crc64::default();
        crc.update(bytes);
        crc.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_published_check_value() {
        assert_eq!(Crc64::of(b"123456789"), 0x995D_C9BB_DF19_39FA);
    }

    proptest! {
        #[test]
        fn tables_equal_the_bitwise_definition(bytes in proptest::collection::vec(any::<u8>(), 0..100), cut in 0usize..100) {
            let mut bitwise = !0u64;
            for byte in &bytes {
                bitwise ^= u64::from(*byte);
                for _ in 0..8 {
                    bitwise = (bitwise >> 1) ^ (if bitwise & 1 == 1 { POLYNOMIAL } else { 0 });
                }
            }
            let mut split = Crc64::default();
            let cut = cut.min(bytes.len());
            split.update(&bytes[..cut]);
            split.update(&bytes[cut..]);
            prop_assert_eq!(split.value(), !bitwise);
        }
    }
}
