//! The state a run resumes from, behind a right checksum: what is accepted is whole.
#![no_main]

use instructgpt::checkpoint::checksum::Crc64;
use instructgpt::checkpoint::state::parse_state;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = [bytes, &Crc64::of(bytes).to_le_bytes()].concat();
    let _ = parse_state(&whole, "x", 3);
});
