//! gzip: torn, altered and bombs. The first bytes are the format's own, the rest is hostile.
#![no_main]

use instructgpt::data::source::MAX_RATIO;
use instructgpt::data::{Source, read_documents, read_text_records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = [&[0x1f, 0x8b, 8], bytes].concat();
    if let Ok(loaded) = Source::from_bytes("x", &bytes).and_then(read_documents) {
        let size: usize = loaded.records.iter().map(String::len).sum();
        assert!(size as u64 <= (bytes.len() as u64 * MAX_RATIO).max(16 << 20));
    }
    let _ = Source::from_bytes("x", &bytes).and_then(read_text_records);
});
