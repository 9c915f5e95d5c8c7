//! A model's `config.json`: what is accepted is written and read back unchanged.
#![no_main]

use instructgpt::checkpoint::config_json::{config_json, parse_config};
use instructgpt::model::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((config, head)) = parse_config(bytes, "x") {
        let head = head.unwrap_or(Head::LanguageModel);
        let text = config_json(&config, head, None);
        assert_eq!(parse_config(text.as_bytes(), "x"), Ok((config, Some(head))));
    }
});
