//! The JSON Lines that `logprobs`, `score` and `tokenize` read.
#![no_main]

use std::io::Cursor;

use instructgpt::app::jsonl::Lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = Lines::new(Box::new(Cursor::new(bytes.to_vec())), "x");
    let mut count = 0;
    // An error ends the program's loop as well.
    while let Ok(Some(_)) = lines.input() {
        count += 1;
    }
    assert!(count <= bytes.len());
});
