//! CRC-64/XZ of a file, in the file: it detects corruption (torn, cut and altered files), not tampering.
//!
//! A safetensors file of ours carries it among the strings of its header, under [`CHECKSUM`]: 16 hexadecimal
//! digits, the sum of the whole file with zeros in their place. Files without it are read unchecked. A JSON
//! object can carry it in the same way.

use alloc::format;
use alloc::string::String;
use core::ops::Range;

use crc::{CRC_64_XZ, Crc, Digest, Table};

use crate::error::{Error, Result};

/// The string of a safetensors header, or field of a JSON object, that holds the file's checksum.
pub const CHECKSUM: &str = "crc64";
/// What stands there while the sum is made.
pub const UNSET: &str = "0000000000000000";

static XZ: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// A checksum being computed over a stream of bytes.
#[derive(Clone)]
pub struct Crc64(Digest<'static, u64, Table<16>>);

impl core::fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.debug_tuple("Crc64").field(&digits(self.value())).finish()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Crc64(XZ.digest())
    }
}

impl Crc64 {
    /// Takes in further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of everything so far.
    pub fn value(&self) -> u64 {
        self.0.clone().finalize()
    }

    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> u64 {
        XZ.checksum(bytes)
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
}
