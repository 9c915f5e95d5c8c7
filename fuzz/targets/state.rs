//! The state a run resumes from, behind a right checksum: what is accepted is whole.
#![no_main]

use instructgpt::checkpoint::checksum::renew;
use instructgpt::checkpoint::state::parse_state;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    renew(&mut bytes);
    if let Ok(state) = parse_state(&bytes, "x", 3) {
        let numbers: usize = state.buffers.values().map(Vec::len).sum();
        assert!(4 * numbers <= bytes.len());
    }
});
