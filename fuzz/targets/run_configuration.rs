//! A run's TOML, and after a zero byte an override as in `--set`: what is accepted is written and read back
//! unchanged.
#![no_main]

use instructgpt::app::config::parse;
use instructgpt::settings::Section;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (text, set) = match text.split_once('\0') {
        Some((text, set)) => (text, vec![set.to_string()]),
        None => (text, vec![]),
    };
    if let Ok(settings) = parse(text, "x", &set) {
        assert_eq!(parse(&settings.to_toml(), "x", &[]), Ok(settings));
    }
});
