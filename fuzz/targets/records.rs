//! JSON Lines and JSON arrays of demonstrations, comparisons, prompts and text.
#![no_main]

use instructgpt::data::{
    InstructionTemplate, Source, read_comparisons, read_demonstrations, read_prompts, read_text_records,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let template = InstructionTemplate::default();
    let source = || Source::from_bytes("x", bytes);
    if let Ok(loaded) = source().and_then(|source| read_demonstrations(source, &template)) {
        assert!(loaded.records.iter().all(|r| !r.prompt.trim().is_empty() && !r.response.trim().is_empty()));
    }
    if let Ok(loaded) = source().and_then(|source| read_comparisons(source, &template)) {
        assert!(loaded.records.iter().all(|r| r.responses.len() >= 2 && r.responses.len() == r.ranks.len()));
    }
    let _ = source().and_then(|source| read_prompts(source, &template));
    let _ = source().and_then(read_text_records);
});
