//! The safetensors container: every tensor that a file is said to hold can be read.
#![no_main]

use instructgpt::checkpoint::safetensors::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = parse(bytes, "x") else { return };
    for tensor in file.tensors.values() {
        // No tensor is larger than the file: each element has a byte or more.
        assert!(tensor.len() <= bytes.len());
        let _ = tensor.copy_to(&mut vec![0.0; tensor.len()]);
    }
});
