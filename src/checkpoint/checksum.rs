//! CRC-64/XZ (polynomial 0x42F0E1EBA9EA3693, reflected): finds torn, cut and altered files, whatever
//! the alteration up to 64 bits in a row and all but one in 2^64 of the others. It is no signature.
//!
//! The definition works bit by bit; eight tables let the loop take eight bytes at a time.
//!
//! A safetensors file of ours carries it among the strings of its header, under [`CHECKSUM`]: 16 hexadecimal
//! digits, the sum of the whole file with zeros in their place. Files without it are read unchecked. A JSON
//! object can carry it in the same way.

use alloc::format;
use alloc::string::String;

use crate::error::{Error, Result};

/// The string of a safetensors header, or field of a JSON object, that holds the file's checksum.
pub const CHECKSUM: &str = "crc64";
/// What stands there while the sum is made.
pub const UNSET: &str = "0000000000000000";

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

/// Puts the sum of a file into its `header`, which has [`UNSET`] there.
pub(super) fn set(header: &mut [u8], sum: Crc64) {
    let at = place(header).expect("a header with room for a checksum");
    header[at..at + UNSET.len()].copy_from_slice(digits(sum.value()).as_bytes());
}

/// Gives a whole file that was altered on purpose its right checksum; without any it stays without.
pub fn renew(file: &mut [u8]) {
    let Some(at) = place(file).filter(|at| at + UNSET.len() <= file.len()) else { return };
    file[at..at + UNSET.len()].copy_from_slice(UNSET.as_bytes());
    let mut sum = Crc64::default();
    sum.update(file);
    set(file, sum);
}

/// Compares the sum of a file with the one `stored` in it; `origin` names it in messages.
///
/// # Errors
/// [`Error::Format`].
pub fn verify(file: &[u8], stored: &str, origin: &str) -> Result<()> {
    let bad = |found: &str| {
        let hint = "the file was cut short or altered after it was written";
        Err(Error::format(origin, "checksum", stored, found, hint))
    };
    let Some((before, rest)) = place(file).and_then(|at| file.split_at_checked(at)) else {
        return bad("no 16 digits in their place");
    };
    let Some(after) = rest.strip_prefix(stored.as_bytes()).filter(|_| stored.len() == UNSET.len()) else {
        return bad("no 16 digits in their place");
    };
    let mut sum = Crc64::default();
    [before, UNSET.as_bytes(), after].into_iter().for_each(|piece| sum.update(piece));
    let found = digits(sum.value());
    if found == stored { Ok(()) } else { bad(&found) }
}

/// Where the digits begin. (Within a name or another string the quotation marks would be escaped.)
fn place(file: &[u8]) -> Option<usize> {
    let key = format!("\"{CHECKSUM}\":\"");
    file.windows(key.len()).position(|window| window == key.as_bytes()).map(|at| at + key.len())
}

/// A sum as it is written.
pub fn digits(sum: u64) -> String {
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::{TensorView, encode, parse};
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn every_changed_byte_of_a_file_is_found_but_in_the_name_of_the_checksum() {
        let tensor = TensorView { name: "w", shape: &[2], values: &[1.0, 2.0] };
        let notes = BTreeMap::from([("a".to_string(), "\"crc64\":\"0\"".to_string())]);
        let file = encode(&[tensor], &notes);
        let expected = parse(&file, "x").unwrap();
        let name = place(&file).unwrap() - CHECKSUM.len() - 3..place(&file).unwrap() - 3;
        for at in 0..file.len() {
            let mut altered = file.clone();
            altered[at] ^= 0x04;
            match parse(&altered, "x") {
                Err(error) => assert!(error.to_string().starts_with("x: "), "byte {at}: {error}"),
                Ok(found) => assert!(name.contains(&at) && found.tensors == expected.tensors, "byte {at}"),
            }
        }
        let mut altered = file.clone();
        *altered.last_mut().unwrap() ^= 1;
        let error = parse(&altered, "w.safetensors").unwrap_err().to_string();
        let mut renewed = altered.clone();
        renew(&mut renewed);
        let [stored, computed] =
            [&file, &renewed].map(|file| parse(file, "x").unwrap().metadata[CHECKSUM].clone());
        assert!(error.contains(&format!("checksum: expected {stored}, found {computed}")), "{error}");
    }

    #[test]
    fn a_checksum_that_is_none_is_refused() {
        let tensor = TensorView { name: "w", shape: &[1], values: &[1.0] };
        let file = encode(&[tensor], &BTreeMap::new());
        let at = place(&file).unwrap();
        let text = core::str::from_utf8(&file[8..file.len() - 4]).unwrap();
        let stored = &text[at - 8..at + 8];
        for wrong in ["", "0", "zzzzzzzzzzzzzzzz", "00000000000000000"] {
            let header = text.replace(stored, wrong);
            let file =
                [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &1f32.to_le_bytes()].concat();
            assert!(parse(&file, "x").unwrap_err().to_string().contains("checksum"), "{wrong:?}");
        }
        // As another program may write it: with a blank, which ours never has.
        let header = text.replace("\"crc64\":", "\"crc64\": ");
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &1f32.to_le_bytes()].concat();
        assert!(parse(&file, "x").unwrap_err().to_string().contains("checksum"));
    }

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
