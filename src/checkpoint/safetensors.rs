//! The safetensors container: 8 bytes of header length, a JSON header, then the tensors' bytes.
//!
//! Reading borrows from the file's bytes and allocates only for the header, so a header that claims
//! 2^60 elements costs nothing: the `safetensors` crate checks that offsets follow each other without
//! gap or overlap, that every shape fills its range exactly, and we check that the last one ends with
//! the file and that no name comes twice. Values are f32, f16 or bf16 and become f32 exactly.
//! Writing keeps the order it is given, so equal tensors give equal bytes, and adds a checksum to the
//! header's strings, which any other reader passes over (see [`super::checksum`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::checksum::{self, CHECKSUM, Crc64, UNSET};
use crate::error::{Error, Result};
use crate::text::json::Strict;

/// Longest header that is read, in bytes (the format's own limit).
const MAX_HEADER: u64 = 100_000_000;

/// One tensor of a file, its bytes borrowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a> {
    /// Row-major shape.
    pub shape: Vec<usize>,
    dtype: Dtype,
    bytes: &'a [u8],
}

/// A parsed file: tensors by name, and the header's free-form strings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorFile<'a> {
    /// All tensors.
    pub tensors: BTreeMap<String, Tensor<'a>>,
    /// `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

/// Parses a whole file; `origin` names it in messages.
///
/// # Errors
/// [`Error::Format`] for anything that is not exactly one safetensors file.
pub fn parse<'a>(bytes: &'a [u8], origin: &str) -> Result<TensorFile<'a>> {
    let bad = |at: &str, expected: &str, found: String| {
        Error::format(origin, at, expected, found, "is the file complete, and is it safetensors?")
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(bad("header length", "8 bytes", format!("{} bytes in all", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER || length > rest.len() as u64 {
        let found = format!("a header of {length} bytes in a file of {}", bytes.len());
        return Err(bad("header length", "a header inside the file", found));
    }
    let (header, data) = rest.split_at(length as usize);
    let header: Header =
        serde_json::from_slice(header).map_err(|error| bad("header", "a JSON object", error.to_string()))?;
    let mut entries = header.tensors;
    entries.sort_by_key(|(_, info)| info.data_offsets);
    let checked = Metadata::new(None, entries.clone()).map_err(|error| {
        bad("header", "tensors back to back whose shapes fill their bytes", error.to_string())
    })?;
    if checked.data_len() != data.len() {
        let found = format!("{} bytes after the header", data.len());
        return Err(bad("tensors", &format!("{} bytes", checked.data_len()), found));
    }
    if let Some(stored) = header.metadata.get(CHECKSUM) {
        checksum::verify(bytes, stored, origin)?;
    }
    let tensors = entries
        .into_iter()
        .map(|(name, info)| {
            let bytes = &data[info.data_offsets.0..info.data_offsets.1];
            (name, Tensor { shape: info.shape, dtype: info.dtype, bytes })
        })
        .collect();
    Ok(TensorFile { tensors, metadata: header.metadata })
}

impl<'a> Tensor<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a tensor with a zero in its shape.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type as the format spells it: `F32`, `BF16` ...
    pub fn dtype(&self) -> String {
        self.dtype.to_string()
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Writes the values, widened exactly to f32, into `out` (one slot per element).
    ///
    /// # Errors
    /// The element type's name, when it is none of `F32`, `F16`, `BF16`.
    pub fn copy_to(&self, out: &mut [f32]) -> core::result::Result<(), String> {
        assert_eq!(out.len(), self.len(), "output and tensor {:?} differ in length", self.shape);
        let halves = self.bytes.as_chunks::<2>().0;
        match self.dtype {
            Dtype::F32 => {
                for (slot, bytes) in out.iter_mut().zip(self.bytes.as_chunks::<4>().0) {
                    *slot = f32::from_le_bytes(*bytes);
                }
            }
            Dtype::F16 => {
                for (slot, bytes) in out.iter_mut().zip(halves) {
                    *slot = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Dtype::BF16 => {
                for (slot, bytes) in out.iter_mut().zip(halves) {
                    *slot = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
            other => return Err(other.to_string()),
        }
        Ok(())
    }
}

/// The JSON header, with duplicate names refused (`serde`'s maps would keep the last one silently).
struct Header {
    tensors: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> core::result::Result<Header, A::Error> {
        let mut names = BTreeSet::new();
        let mut header = Header { tensors: Vec::new(), metadata: BTreeMap::new() };
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("the name {name:?} twice")));
            }
            match name.as_str() {
                "__metadata__" => {
                    let Strict(value) = map.next_value()?;
                    header.metadata = serde_json::from_value(value).map_err(A::Error::custom)?;
                }
                _ => header.tensors.push((name, map.next_value()?)),
            }
        }
        Ok(header)
    }
}

/// One f32 tensor to be written.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its key in the file.
    pub name: &'a str,
    /// Row-major shape, whose product is `values.len()`.
    pub shape: &'a [usize],
    /// The values.
    pub values: &'a [f32],
}

/// The length field and the header, padded with spaces to a multiple of 8 so that the data is aligned.
/// Each entry is (name, element type, shape, bytes); names must differ.
fn header(entries: &[(&str, &str, &[usize], usize)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let quoted = |text: &str| serde_json::to_string(text).expect("a string is valid JSON");
    let mut fields = Vec::with_capacity(entries.len() + 1);
    if !metadata.is_empty() {
        let metadata = serde_json::to_string(metadata).expect("strings are valid JSON");
        fields.push(format!("\"__metadata__\":{metadata}"));
    }
    let mut names = BTreeSet::from(["__metadata__"]);
    let mut start = 0;
    for (name, dtype, shape, length) in entries {
        assert!(names.insert(name), "two tensors named {name:?}");
        let end = start + length;
        let name = quoted(name);
        fields.push(format!(
            "{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        ));
        start = end;
    }
    let mut json = format!("{{{}}}", fields.join(",")).into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}

/// Hands a whole file, piece by piece, to `emit`. Tensors keep their order; metadata is sorted by key.
///
/// # Errors
/// The first one that `emit` returns.
///
/// # Panics
/// If two tensors have one name, or `metadata` has the name [`CHECKSUM`].
pub fn encode_to<E>(
    tensors: &[TensorView],
    metadata: &BTreeMap<String, String>,
    mut emit: impl FnMut(&[u8]) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    let mut metadata = metadata.clone();
    let reserved = metadata.insert(CHECKSUM.to_string(), UNSET.to_string());
    assert!(reserved.is_none(), "the name {CHECKSUM:?} is reserved");
    let entries: Vec<_> = tensors.iter().map(TensorView::entry).collect();
    let mut header = header(&entries, &metadata);

    let mut crc = Crc64::default();
    crc.update(&header);
    tensors.iter().for_each(|tensor| {
        let Ok(()) = emit_values(tensor.values, &mut |piece| {
            crc.update(piece);
            Ok::<(), Infallible>(())
        });
    });
    checksum::set(&mut header, crc);

    emit(&header)?;
    tensors.iter().try_for_each(|tensor| emit_values(tensor.values, &mut emit))
}

impl<'a> TensorView<'a> {
    fn entry(&self) -> (&'a str, &'static str, &'a [usize], usize) {
        let length: usize = self.shape.iter().product();
        assert_eq!(length, self.values.len(), "{}: shape {:?} and values differ", self.name, self.shape);
        (self.name, "F32", self.shape, 4 * length)
    }
}

/// Little-endian bytes of `values`, in pieces of 16 KiB (no second copy of a large buffer).
fn emit_values<E>(
    values: &[f32],
    emit: &mut impl FnMut(&[u8]) -> core::result::Result<(), E>,
) -> core::result::Result<(), E> {
    let mut piece = [0u8; 1 << 14];
    for values in values.chunks(piece.len() / 4) {
        for (slot, value) in piece.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *slot = value.to_le_bytes();
        }
        emit(&piece[..4 * values.len()])?;
    }
    Ok(())
}

/// A whole file as bytes.
pub fn encode(tensors: &[TensorView], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written: core::result::Result<(), Infallible> = encode_to(tensors, metadata, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    let Ok(()) = written;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn sample() -> Vec<u8> {
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        let a =
            TensorView { name: "b", shape: &[2, 3], values: &[1.0, -0.0, 3.5, f32::MIN_POSITIVE, 5.0, 6.0] };
        let b = TensorView { name: "a\"\n", shape: &[], values: &[7.0] };
        encode(&[a, b], &metadata)
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit() {
        let bytes = sample();
        let file = parse(&bytes, "x").unwrap();
        assert_eq!(file.metadata["format"], "pt");
        let tensor = &file.tensors["b"];
        assert_eq!(tensor.shape, [2, 3]);
        let mut values = [0.0; 6];
        tensor.copy_to(&mut values).unwrap();
        assert_eq!(values[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(values[3], f32::MIN_POSITIVE);
        assert_eq!(file.tensors["a\"\n"].len(), 1);
        // The crate's own reader agrees that the file is valid.
        assert_eq!(::safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), 2);
    }

    #[test]
    fn half_precision_widens_exactly() {
        let values = [1.0f32, -2.5, 65504.0, 6e-8, f32::INFINITY];
        let f16s: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let bf16s: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let header = r#"{"h":{"dtype":"F16","shape":[5],"data_offsets":[0,10]},"b":{"dtype":"BF16","shape":[5],"data_offsets":[10,20]}}"#;
        let bytes = file(header, &[f16s, bf16s].concat());
        let parsed = parse(&bytes, "x").unwrap();
        let mut out = [0.0; 5];
        parsed.tensors["h"].copy_to(&mut out).unwrap();
        assert_eq!(out, values.map(|v| f16::from_f32(v).to_f32()));
        parsed.tensors["b"].copy_to(&mut out).unwrap();
        assert_eq!(out, values.map(|v| bf16::from_f32(v).to_f32()));
    }

    #[test]
    fn other_element_types_are_named() {
        let bytes = file(r#"{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
        assert_eq!(parse(&bytes, "x").unwrap().tensors["i"].copy_to(&mut [0.0]), Err("I64".to_string()));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end], "x").is_err(), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, "x");
            let _ = parse(&file(&String::from_utf8_lossy(&bytes), &bytes), "x");
        }

        #[test]
        fn mutated_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = sample();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(file) = parse(&bytes, "x") {
                for tensor in file.tensors.values() {
                    let _ = tensor.copy_to(&mut vec![0.0; tensor.len()]);
                }
            }
        }
    }
}
