//! Plain text: documents, their separators, Project Gutenberg's markers, byte order marks.
#![no_main]

use instructgpt::data::corpus::SEPARATOR;
use instructgpt::data::{Source, read_documents};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(loaded) = Source::from_bytes("x", bytes).and_then(read_documents) {
        assert!(loaded.records.iter().all(|d| !d.trim().is_empty() && !d.contains(SEPARATOR)));
    }
});
