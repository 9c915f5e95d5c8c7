//! The fuzz target: hands every input to the reader that the environment variable READER names.
#![no_main]

mod readers;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static READER: LazyLock<readers::Reader> = LazyLock::new(|| {
    let name = std::env::var("READER").unwrap_or_default();
    let known = readers::READERS.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = readers::READERS.iter().map(|(name, _)| *name).collect();
    known.unwrap_or_else(|| panic!("READER is {name:?}; it can be {}", names.join(", "))).1
});

fuzz_target!(|bytes: &[u8]| {
    READER(bytes);
});
