//! The safetensors container: 8 bytes of header length, a JSON header, then the tensors' bytes.
//!
//! A file is opened, which reads and checks its header, and then read once, straight into the caller's memory,
//! checksum and all. Opening allocates only for the header, so one that claims 2^60 elements
//! costs nothing: the `safetensors` crate checks that offsets follow each other without gap or overlap, that
//! every shape fills its range exactly, and we check that the last one ends with the file and that no name comes
//! twice. Values are f32, f16 or bf16 and become f32 exactly.
//!
//! Writing keeps the order it is given, so equal tensors give equal bytes, and adds a checksum to the
//! header's strings, which any other reader passes over (see [`super::checksum`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::checksum::{self, CHECKSUM, Crc64, UNSET};
use super::read_at::ReadAt;
use crate::error::{Error, Result};
use crate::text::json::Strict;

/// Longest header that is read, in bytes (the format's own limit).
const MAX_HEADER: u64 = 100_000_000;

/// Bytes of a file that are read at once.
const PIECE: usize = 1 << 16;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Row-major shape.
    pub shape: Vec<usize>,
    dtype: Dtype,
    /// First byte in the file.
    start: u64,
    /// Number of bytes.
    bytes: u64,
}

impl Tensor {
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

    /// Whether its element type is one that is read.
    pub fn is_readable(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }
}

/// An open file: tensors by name, and the header's free-form strings.
pub struct TensorFile<'a> {
    /// All tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    source: &'a dyn ReadAt,
    origin: &'a str,
    /// The sum of all that stands before the tensors, if the file has a checksum.
    sum: Option<Crc64>,
}

impl<'a> TensorFile<'a> {
    /// Reads and checks a file's header; `origin` names it in messages. What stands there is sure only when
    /// [`TensorFile::read`] has compared the checksum.
    ///
    /// # Errors
    /// [`Error::Format`] for anything that is not exactly one safetensors file; [`Error::Io`].
    pub fn open(source: &'a dyn ReadAt, origin: &'a str) -> Result<Self> {
        let bad = |at: &str, expected: &str, found: String| {
            Error::format(origin, at, expected, found, "is the file complete, and is it safetensors?")
        };
        let mut length = [0; 8];
        let Some(rest) = source.size().checked_sub(8) else {
            return Err(bad("header length", "8 bytes", format!("{} bytes in all", source.size())));
        };
        source.read_at(0, &mut length)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length > rest {
            let found = format!("a header of {length} bytes in a file of {}", source.size());
            return Err(bad("header length", "a header inside the file", found));
        }
        let data = 8 + length;
        let mut beginning = vec![0; data as usize];
        source.read_at(0, &mut beginning)?;
        let Header { mut tensors, metadata } = serde_json::from_slice(&beginning[8..])
            .map_err(|error| bad("header", "a JSON object", error.to_string()))?;
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let checked = Metadata::new(None, tensors.clone()).map_err(|error| {
            bad("header", "tensors back to back whose shapes fill their bytes", error.to_string())
        })?;
        if checked.data_len() as u64 != rest - length {
            let found = format!("{} bytes after the header", rest - length);
            return Err(bad("tensors", &format!("{} bytes", checked.data_len()), found));
        }
        let stored = metadata.get(CHECKSUM);
        let sum = stored.map(|stored| checksum::unset(&beginning, stored, origin)).transpose()?;
        let place = |(name, info): (String, TensorInfo)| {
            let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            (name, Tensor { shape: info.shape, dtype: info.dtype, start: data + start, bytes: end - start })
        };
        Ok(TensorFile { tensors: tensors.into_iter().map(place).collect(), metadata, source, origin, sum })
    }

    /// The file's name in messages.
    pub fn origin(&self) -> &'a str {
        self.origin
    }

    /// Reads the whole file once: into each place (one slot per element) the values of the tensor of that name,
    /// widened exactly to f32, and everything into the checksum, which is compared. A file without one is read
    /// unchecked. Returns the first tensor with a place and a number that is not finite, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a file that was altered, and for a tensor with a place that is none
    /// of `F32`, `F16`, `BF16`. What is in the places then is of no use.
    ///
    /// # Panics
    /// If a place has no tensor, or another length.
    pub fn read(&self, mut places: BTreeMap<&str, &mut [f32]>) -> Result<Option<&str>> {
        let mut tensors: Vec<(&String, &Tensor)> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, tensor)| tensor.start);
        let (mut sum, mut broken, mut unreadable) = (self.sum.clone(), None, None);
        for (name, tensor) in tensors {
            let place = places.remove(name.as_str());
            if let Some(place) = &place {
                assert_eq!(place.len(), tensor.len(), "{name}: the place against the tensor");
                unreadable = unreadable.or((!tensor.is_readable()).then_some((name, tensor)));
            }
            let finite = self.read_tensor(tensor, place, &mut sum)?;
            broken = broken.or((!finite).then_some(name.as_str()));
        }
        assert!(places.is_empty(), "no tensors {:?}", places.keys());
        if let Some(sum) = sum {
            checksum::compare(sum, &self.metadata[CHECKSUM], self.origin)?;
        }
        match unreadable {
            None => Ok(broken),
            Some((name, tensor)) => {
                let at = format!("tensor \"{name}\"");
                Err(Error::format(self.origin, at, "F32, F16 or BF16", tensor.dtype, ""))
            }
        }
    }

    /// Reads a tensor piece by piece, so that each is summed and widened in the nearest cache. Returns whether all
    /// values in the place are finite.
    fn read_tensor(
        &self,
        tensor: &Tensor,
        place: Option<&mut [f32]>,
        sum: &mut Option<Crc64>,
    ) -> Result<bool> {
        let mut piece = [0; PIECE];
        let Tensor { start, bytes, dtype, .. } = *tensor;
        let at_once = PIECE / if dtype == Dtype::F32 { 4 } else { 2 };
        let mut slots = place.unwrap_or_default().chunks_mut(at_once);
        let mut finite = true;
        for at in (0..bytes).step_by(PIECE) {
            let piece = &mut piece[..(bytes - at).min(PIECE as u64) as usize];
            self.source.read_at(start + at, piece)?;
            sum.iter_mut().for_each(|sum| sum.update(piece));
            if let Some(slots) = slots.next() {
                widen(dtype, piece, slots);
                // Without a way out of the loop it runs over whole vectors.
                finite &= slots.iter().fold(true, |all, value| all & value.is_finite());
            }
        }
        Ok(finite)
    }
}

/// Little-endian `bytes` of that type as f32s. (Of another, none: [`TensorFile::read`] refuses them.)
fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (slot, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *slot = f32::from_le_bytes(*bytes);
            }
        }
        Dtype::F16 => {
            for (slot, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *slot = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Dtype::BF16 => {
            for (slot, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *slot = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        _ => {}
    }
}

/// So many zeros to read into, or `None` where there is no memory for them.
pub fn zeros(len: usize) -> Option<Vec<f32>> {
    // `vec!` alone takes zeros from the system untouched; but where there is no memory it ends the process, and this
    // does not.
    Vec::<f32>::new().try_reserve_exact(len).is_ok().then(|| vec![0.0; len])
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
        let file = TensorFile::open(&bytes, "x").unwrap();
        assert_eq!(file.metadata["format"], "pt");
        assert_eq!(file.tensors["b"].shape, [2, 3]);
        assert_eq!(file.tensors["a\"\n"].len(), 1);
        let (mut values, mut one) = ([9.0; 6], [9.0]);
        file.read(BTreeMap::from([("b", &mut values[..]), ("a\"\n", &mut one[..])])).unwrap();
        assert_eq!(values.map(f32::to_bits), [1.0, -0.0, 3.5, f32::MIN_POSITIVE, 5.0, 6.0].map(f32::to_bits));
        assert_eq!(one, [7.0]);
        // Some alone.
        let mut values = [9.0; 6];
        file.read(BTreeMap::from([("b", &mut values[..])])).unwrap();
        assert_eq!(values[5], 6.0);
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
        let (mut h, mut b) = ([0.0; 5], [0.0; 5]);
        let file = TensorFile::open(&bytes, "x").unwrap();
        file.read(BTreeMap::from([("h", &mut h[..]), ("b", &mut b[..])])).unwrap();
        assert_eq!(h, values.map(|v| f16::from_f32(v).to_f32()));
        assert_eq!(b, values.map(|v| bf16::from_f32(v).to_f32()));
    }

    #[test]
    fn tensors_of_several_pieces_are_read_whole() {
        // Lengths around those of a piece in either format.
        for count in [PIECE / 4 - 1, PIECE / 4, PIECE / 2 + 1, PIECE + 3] {
            let values: Vec<f32> = (0..count).map(|i| (i % 251) as f32).collect();
            let mut found = vec![9.0; count];
            let bytes =
                encode(&[TensorView { name: "w", shape: &[count], values: &values }], &BTreeMap::new());
            read_all(&bytes, &mut found).unwrap();
            assert_eq!(found, values);
            // Every byte of each piece is in the sum.
            for at in [1, PIECE, bytes.len() / 2, bytes.len() - 1] {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                assert!(read_all(&altered, &mut found).is_err(), "byte {at}");
            }
            let halves: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
            let end = halves.len();
            let header = format!(r#"{{"w":{{"dtype":"BF16","shape":[{count}],"data_offsets":[0,{end}]}}}}"#);
            found.fill(9.0);
            read_all(&file(&header, &halves), &mut found).unwrap();
            assert_eq!(found, values);
        }
    }

    /// Reads a file whose one tensor has so many elements.
    fn read_all(bytes: &[u8], out: &mut [f32]) -> Result<()> {
        let file = TensorFile::open(&bytes, "x")?;
        file.read(file.tensors.keys().map(|name| name.as_str()).zip([out]).collect()).map(drop)
    }

    #[test]
    fn other_element_types_are_named() {
        let bytes = file(r#"{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
        let error = read_all(&bytes, &mut [0.0]).unwrap_err().to_string();
        assert!(error.contains("x: tensor \"i\": expected F32, F16 or BF16, found I64"), "{error}");
        // Where nobody wants it, it may be there.
        TensorFile::open(&bytes, "x").unwrap().read(BTreeMap::new()).unwrap();
    }

    #[test]
    fn zeros_that_no_memory_holds_do_not_end_the_process() {
        assert_eq!(zeros(3), Some(vec![0.0; 3]));
        assert_eq!(zeros(isize::MAX as usize / 4), None);
        assert_eq!(zeros(usize::MAX), None);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        for end in 0..bytes.len() {
            assert!(TensorFile::open(&&bytes[..end], "x").is_err(), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = TensorFile::open(&bytes, "x");
            let _ = TensorFile::open(&file(&String::from_utf8_lossy(&bytes), &bytes), "x");
        }

        #[test]
        fn mutated_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = sample();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(file) = TensorFile::open(&bytes, "x") {
                let mut values: Vec<Vec<f32>> = file.tensors.values().map(|t| vec![0.0; t.len()]).collect();
                let places = file.tensors.keys().zip(&mut values);
                let _ = file.read(places.map(|(name, values)| (name.as_str(), &mut values[..])).collect());
            }
        }
    }
}
