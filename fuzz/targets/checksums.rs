//! The checksums of a model directory's text files.
#![no_main]

use instructgpt::checkpoint::manifest::parse_manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = parse_manifest(bytes, "x") {
        let text = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(parse_manifest(&text, "x"), Ok(manifest));
    }
});
