//! CRC-64/XZ (polynomial 0x42F0E1EBA9EA3693, reflected): finds torn, cut and altered files, whatever
//! the alteration up to 64 bits in a row and all but one in 2^64 of the others. It is no signature.
//!
//! The definition works bit by bit; eight tables let the loop take eight bytes at a time. The sum is the
//! remainder of a division of polynomials, so it is linear: parts of a file can be summed apart, side by side,
//! and appended to each other.
//!
//! A safetensors file of ours carries it among the strings of its header, under [`CHECKSUM`]: 16 hexadecimal
//! digits, the sum of the whole file with zeros in their place. Files without it are read unchecked. A JSON
//! object can carry it in the same way.

use alloc::format;
use alloc::string::String;
use core::ops::Range;

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
            value = times_x(value);
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

/// A remainder times x. Reflected: the lowest bit is x^63, the highest 1.
const fn times_x(value: u64) -> u64 {
    (value >> 1) ^ (if value & 1 == 1 { POLYNOMIAL } else { 0 })
}

/// The product of two remainders.
const fn product(a: u64, mut b: u64) -> u64 {
    let (mut product, mut bit) = (0, 64);
    while bit > 0 {
        bit -= 1;
        product ^= if (a >> bit) & 1 == 1 { b } else { 0 };
        b = times_x(b);
    }
    product
}

/// x to that power, by repeated squaring: what a remainder is multiplied with by so many further bits.
const fn power_of_x(mut exponent: u64) -> u64 {
    let (mut power, mut square) = (1 << 63, 1 << 62);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        exponent >>= 1;
    }
    power
}

/// One step: eight bytes.
#[inline(always)]
fn step(sum: u64, word: [u8; 8]) -> u64 {
    let mixed = (sum ^ u64::from_le_bytes(word)).to_le_bytes();
    (0..8).fold(0, |sum, i| sum ^ TABLES[7 - i][mixed[i] as usize])
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
    /// Begins the sum of bytes that stand behind others, to be appended to theirs.
    pub fn part() -> Self {
        Crc64(0)
    }

    /// Takes in the sum of the next `bytes` bytes, made apart.
    pub fn append(&mut self, part: Crc64, bytes: u64) {
        self.0 = product(self.0, power_of_x(8 * bytes)) ^ part.0;
    }

    /// Takes in further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        #[cfg(target_feature = "pclmulqdq")]
        let bytes = carry_less::fold(&mut self.0, bytes);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = step(self.0, *word);
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

/// Where the processor multiplies polynomials (11 GB/s on a Zen 3 core, where the tables reach 1.6): a long run
/// of bytes is a polynomial, and of its remainder only the last step needs the tables.
///
/// Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009.
#[cfg(target_feature = "pclmulqdq")]
mod carry_less {
    use super::{power_of_x, step};
    use safe_arch::{load_unaligned_m128i, m128i, mul_i64_carryless_m128i};

    /// Vectors that are folded side by side, each into the one as many further on.
    const STREAMS: usize = 4;

    /// Takes the longest run of whole blocks off the front of `bytes` into `sum`; returns the rest.
    pub fn fold<'a>(sum: &mut u64, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks::<{ 16 * STREAMS }>();
        let Some((first, blocks)) = blocks.split_first() else { return bytes };
        let mut streams = load(first);
        streams[0] ^= m128i::from([*sum, 0]);
        for block in blocks {
            let next = load(block);
            for i in 0..STREAMS {
                streams[i] = moved::<{ 128 * STREAMS as u64 }>(streams[i]) ^ next[i];
            }
        }
        let whole = streams.into_iter().reduce(|before, next| moved::<128>(before) ^ next).expect("four");
        let [low, high]: [u64; 2] = whole.into();
        *sum = step(step(0, low.to_le_bytes()), high.to_le_bytes());
        rest
    }

    fn load(block: &[u8; 16 * STREAMS]) -> [m128i; STREAMS] {
        let vectors = block.as_chunks::<16>().0;
        core::array::from_fn(|i| load_unaligned_m128i(&vectors[i]))
    }

    /// A vector that leaves the same remainder `BITS` bits further on. Its first half is 64 bits further from
    /// there; that a product of reflected polynomials comes out multiplied by x is taken off beforehand.
    #[inline(always)]
    fn moved<const BITS: u64>(vector: m128i) -> m128i {
        let by = const { [power_of_x(BITS + 63), power_of_x(BITS - 1)] };
        let by = m128i::from(by);
        mul_i64_carryless_m128i::<0x00>(vector, by) ^ mul_i64_carryless_m128i::<0x11>(vector, by)
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
    compare(unset(file, stored, origin)?, stored, origin)
}

/// The sum of a file's beginning, with zeros in place of the one `stored` in it.
///
/// # Errors
/// [`Error::Format`] when that one does not stand there in its 16 digits.
pub(super) fn unset(beginning: &[u8], stored: &str, origin: &str) -> Result<Crc64> {
    let digits = place(beginning).map(|at| at..at + UNSET.len());
    let is_stored = |digits: &Range<usize>| beginning.get(digits.clone()) == Some(stored.as_bytes());
    let Some(digits) = digits.filter(is_stored) else {
        return Err(mismatch(stored, "no 16 digits in their place", origin));
    };
    let mut sum = Crc64::default();
    sum.update(&beginning[..digits.start]);
    sum.update(UNSET.as_bytes());
    sum.update(&beginning[digits.end..]);
    Ok(sum)
}

/// Compares the sum of a whole file with the one `stored` in it.
///
/// # Errors
/// [`Error::Format`].
pub(super) fn compare(sum: Crc64, stored: &str, origin: &str) -> Result<()> {
    let found = digits(sum.value());
    if found == stored { Ok(()) } else { Err(mismatch(stored, &found, origin)) }
}

fn mismatch(stored: &str, found: &str, origin: &str) -> Error {
    Error::format(origin, "checksum", stored, found, "the file was cut short or altered after it was written")
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
    use super::super::safetensors::{TensorFile, TensorView, encode};
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::ToString;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// The values of a file with one tensor, and its strings.
    fn read(bytes: &[u8], origin: &str) -> Result<(Vec<f32>, BTreeMap<String, String>)> {
        let file = TensorFile::open(&bytes, origin)?;
        let mut values = vec![0.0; file.tensors.values().next().unwrap().len()];
        let places = file.tensors.keys().map(|name| name.as_str()).zip([&mut values[..]]);
        file.read(places.collect())?;
        Ok((values, file.metadata))
    }

    #[test]
    fn every_changed_byte_of_a_file_is_found_but_in_the_name_of_the_checksum() {
        let tensor = TensorView { name: "w", shape: &[2], values: &[1.0, 2.0] };
        let notes = BTreeMap::from([("a".to_string(), "\"crc64\":\"0\"".to_string())]);
        let file = encode(&[tensor], &notes);
        let expected = read(&file, "x").unwrap();
        let name = place(&file).unwrap() - CHECKSUM.len() - 3..place(&file).unwrap() - 3;
        for at in 0..file.len() {
            let mut altered = file.clone();
            altered[at] ^= 0x04;
            match read(&altered, "x") {
                Err(error) => assert!(error.to_string().starts_with("x: "), "byte {at}: {error}"),
                Ok(found) => assert!(name.contains(&at) && found.0 == expected.0, "byte {at}"),
            }
        }
        let mut altered = file.clone();
        *altered.last_mut().unwrap() ^= 1;
        let error = read(&altered, "w.safetensors").unwrap_err().to_string();
        let mut renewed = altered.clone();
        renew(&mut renewed);
        let [stored, computed] = [&file, &renewed].map(|file| read(file, "x").unwrap().1[CHECKSUM].clone());
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
            assert!(read(&file, "x").unwrap_err().to_string().contains("checksum"), "{wrong:?}");
        }
        // As another program may write it: with a blank, which ours never has.
        let header = text.replace("\"crc64\":", "\"crc64\": ");
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &1f32.to_le_bytes()].concat();
        assert!(read(&file, "x").unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn the_published_check_value() {
        assert_eq!(Crc64::of(b"123456789"), 0x995D_C9BB_DF19_39FA);
    }

    proptest! {
        #[test]
        fn every_way_equals_the_bitwise_definition(bytes in proptest::collection::vec(any::<u8>(), 0..500), cut in 0usize..500) {
            let mut bitwise = !0u64;
            for byte in &bytes {
                bitwise ^= u64::from(*byte);
                for _ in 0..8 {
                    bitwise = (bitwise >> 1) ^ (if bitwise & 1 == 1 { POLYNOMIAL } else { 0 });
                }
            }
            let (before, behind) = bytes.split_at(cut.min(bytes.len()));
            let mut split = Crc64::default();
            split.update(before);
            let mut appended = split;
            split.update(behind);
            prop_assert_eq!(split.value(), !bitwise);
            let mut part = Crc64::part();
            part.update(behind);
            appended.append(part, behind.len() as u64);
            prop_assert_eq!(appended.value(), !bitwise);
        }
    }
}
