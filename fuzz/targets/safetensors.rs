//! The safetensors container: every tensor that a file is said to hold can be read.
#![no_main]

use instructgpt::checkpoint::safetensors::TensorFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TensorFile::open(&bytes, "x") else { return };
    // No tensor is larger than the file: each element has half a byte or more.
    assert!(file.tensors.values().all(|tensor| tensor.len() <= 2 * bytes.len()));
    let readable = || file.tensors.iter().filter(|(_, tensor)| tensor.is_readable());
    let mut values: Vec<_> = readable().map(|(_, tensor)| vec![0.0; tensor.len()]).collect();
    let places = readable().zip(&mut values);
    let _ = file.read(places.map(|((name, _), values)| (name.as_str(), values.as_mut_slice())).collect());
});
