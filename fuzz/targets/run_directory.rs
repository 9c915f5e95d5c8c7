//! What `report` reads of a run directory: `metrics.jsonl`, `results.json`, `samples.jsonl` and
//! `config.toml`, with zero bytes between them.
#![no_main]

use instructgpt::report::{page, record};
use instructgpt::text::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut files = text.split('\0');
    let mut file = || files.next().unwrap_or_default();
    let stages = record::metrics(file(), "x").unwrap_or_default();
    let results = json::parse(file().as_bytes()).ok().and_then(|json| record::results(&json, "x").ok());
    let samples = record::samples(file(), "x").unwrap_or_default();
    let html = page(&stages, &results.unwrap_or_default(), &samples, Some(file()));
    assert!(html.ends_with("</html>\n"));
    // Whatever is in the files is text, never a program.
    assert!(!html.contains("<script"));
});
